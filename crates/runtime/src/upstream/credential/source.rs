//! Values that may be others tomorrow, and headers that are made of them.
//!
//! A [`Source`] is fixed, or is read again by a function that the configuration gives: a secret in a file, mostly. What
//! reads blocks, so that it runs away from the threads that serve requests, at most one at a time and for a bounded wait;
//! a file system that hangs costs one thread and no request.
//!
//! [`Rotating`] keeps headers fresh: looked at again by the first request after [`LOOK_EVERY`], and at once when a server
//! refuses what it was shown. What cannot be read leaves the value before in use.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use arc_swap::ArcSwap;
use http::{HeaderMap, HeaderName, HeaderValue};
use quorate_types::ResourceName;
use tokio::sync::Mutex;
use tokio::time::{Instant, sleep_until, timeout};

/// How long a value is used before it is looked at again: 1 s, so that a rotated secret is in use within a second, and a
/// busy server costs one small read a second.
const LOOK_EVERY: Duration = Duration::from_secs(1);
/// The shortest time between two looks that refusals ask for: 100 ms, which a refused request waits for at most.
const LOOK_MIN: Duration = Duration::from_millis(100);
/// How long a request waits for a look: 1 s, then it goes with the value before.
const LOOK_TIMEOUT: Duration = Duration::from_secs(1);

/// A value that is the same for good, or is read again.
#[derive(Clone)]
pub enum Source<T> {
    /// It does not change.
    Fixed(T),
    /// It is read by this function, which may block for as long as a file may.
    Changing(Arc<dyn Fn() -> Result<T, Unreadable> + Send + Sync>),
}

/// A value cannot be read.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct Unreadable {
    /// What an operator has to know: the file or variable and what is wrong, never the secret.
    pub message: String,
}

/// Headers whose values are read again.
pub(super) struct Rotating {
    state: Arc<State>,
    /// When the last look began; locked while one is under way.
    looked: Mutex<Instant>,
}

/// The values at one time, under the names of [`State::sources`].
pub(super) type Values = HeaderMap;

struct State {
    server: ResourceName,
    sources: Vec<(HeaderName, Read)>,
    values: ArcSwap<Values>,
    /// A read is under way: one that hangs is waited for by no other.
    reading: AtomicBool,
    /// The last read failed, which is said once.
    failed: AtomicBool,
}

pub(super) type Read = Arc<dyn Fn() -> Result<HeaderValue, Unreadable> + Send + Sync>;

// === impl Source ===

impl<T: Clone + Send + 'static> Source<T> {
    /// Reads the value, blocking.
    ///
    /// # Errors
    /// [`Unreadable`] of the function that reads it.
    pub fn read(&self) -> Result<T, Unreadable> {
        match self {
            Self::Fixed(value) => Ok(value.clone()),
            Self::Changing(read) => read(),
        }
    }

    /// Reads the value away from the threads that serve requests.
    pub(super) async fn read_aside(&self) -> Result<T, Unreadable> {
        let read = match self {
            Self::Fixed(value) => return Ok(value.clone()),
            Self::Changing(read) => Arc::clone(read),
        };
        let lost = |error: tokio::task::JoinError| Unreadable { message: error.to_string() };
        tokio::task::spawn_blocking(move || read()).await.map_err(lost)?
    }
}

impl<T> fmt::Debug for Source<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Fixed(_) => "Fixed(hidden)",
            Self::Changing(_) => "Changing(hidden)",
        })
    }
}

// === impl Rotating ===

impl Rotating {
    /// Reads the headers for the first time.
    ///
    /// # Errors
    /// [`Unreadable`] of the first header that cannot be read.
    pub(super) fn new(server: ResourceName, sources: Vec<(HeaderName, Read)>) -> Result<Self, Unreadable> {
        let values = read_all(&sources).map_err(|(_, error)| error)?;
        let state = State {
            server,
            sources,
            values: ArcSwap::from_pointee(values),
            reading: AtomicBool::new(false),
            failed: AtomicBool::new(false),
        };
        Ok(Self { state: Arc::new(state), looked: Mutex::new(Instant::now()) })
    }

    /// Returns the values, looked at again when it is time.
    pub(super) async fn current(&self) -> Arc<Values> {
        // While somebody looks, the others go with what there is.
        if let Ok(mut looked) = self.looked.try_lock()
            && looked.elapsed() >= LOOK_EVERY
        {
            *looked = Instant::now();
            self.state.look().await;
        }
        self.state.values.load_full()
    }

    /// Returns values that are others than those that were refused, if there are any by now.
    pub(super) async fn instead_of(&self, refused: &Arc<Values>) -> Option<Arc<Values>> {
        let came = Instant::now();
        let is_new = |values: &Arc<Values>| !Arc::ptr_eq(values, refused);
        let mut looked = self.looked.lock().await;
        let values = self.state.values.load_full();
        // A look that began after this refusal saw what this one would see.
        if is_new(&values) || *looked > came {
            return Some(values).filter(is_new);
        }
        sleep_until(*looked + LOOK_MIN).await;
        *looked = Instant::now();
        self.state.look().await;
        Some(self.state.values.load_full()).filter(is_new)
    }
}

// === impl State ===

impl State {
    /// Reads the headers again, and waits for it as long as a request can.
    async fn look(self: &Arc<Self>) {
        if self.reading.swap(true, Ordering::AcqRel) {
            return;
        }
        let state = Arc::clone(self);
        let read = tokio::task::spawn_blocking(move || {
            let read = read_all(&state.sources);
            state.take(read);
            state.reading.store(false, Ordering::Release);
        });
        // A read that takes longer goes on, and whoever comes later finds what it has read.
        let _whether_it_ended = timeout(LOOK_TIMEOUT, read).await;
    }

    fn take(&self, read: Result<Values, (HeaderName, Unreadable)>) {
        let server = &self.server;
        match read {
            Ok(values) => {
                let recovered = self.failed.swap(false, Ordering::AcqRel);
                if recovered || values != **self.values.load() {
                    tracing::info!(%server, "the headers of a tool server were read again and are in use");
                }
                if values != **self.values.load() {
                    self.values.store(Arc::new(values));
                }
            }
            Err((header, error)) => {
                if !self.failed.swap(true, Ordering::AcqRel) {
                    tracing::error!(%server, %header, %error, "a header cannot be read again; the one before stays in use");
                }
            }
        }
    }
}

fn read_all(sources: &[(HeaderName, Read)]) -> Result<Values, (HeaderName, Unreadable)> {
    let read = |(name, read): &(HeaderName, Read)| match read() {
        Ok(value) => Ok((name.clone(), value)),
        Err(error) => Err((name.clone(), error)),
    };
    sources.iter().map(read).collect()
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex as StdMutex;
    use std::sync::atomic::AtomicUsize;

    use super::*;

    /// A header whose value a test may change, and how often it was read.
    struct Changeable {
        value: Arc<StdMutex<Option<&'static str>>>,
        reads: Arc<AtomicUsize>,
        rotating: Rotating,
    }

    fn changeable(first: &'static str) -> Changeable {
        let (value, reads) = (Arc::new(StdMutex::new(Some(first))), Arc::new(AtomicUsize::new(0)));
        let (of_read, count) = (Arc::clone(&value), Arc::clone(&reads));
        let read: Read = Arc::new(move || {
            count.fetch_add(1, Ordering::Relaxed);
            let value = *of_read.lock().unwrap();
            value.map(HeaderValue::from_static).ok_or(Unreadable { message: "gone".to_owned() })
        });
        let server = ResourceName::new("files").unwrap();
        let rotating = Rotating::new(server, vec![(HeaderName::from_static("x-key"), read)]).unwrap();
        Changeable { value, reads, rotating }
    }

    async fn key(rotating: &Rotating) -> HeaderValue {
        rotating.current().await["x-key"].clone()
    }

    #[tokio::test(start_paused = true)]
    async fn a_changed_value_is_in_use_after_a_second_and_read_once_a_second_at_most() {
        let header = changeable("one");
        *header.value.lock().unwrap() = Some("two");

        for _ in 0..100 {
            assert_eq!(key(&header.rotating).await, "one");
        }
        tokio::time::advance(LOOK_EVERY).await;
        for _ in 0..100 {
            assert_eq!(key(&header.rotating).await, "two");
        }

        assert_eq!(header.reads.load(Ordering::Relaxed), 2);
    }

    #[tokio::test(start_paused = true)]
    async fn a_value_that_cannot_be_read_leaves_the_one_before() {
        let header = changeable("one");
        *header.value.lock().unwrap() = None;

        tokio::time::advance(LOOK_EVERY).await;
        assert_eq!(key(&header.rotating).await, "one");
        *header.value.lock().unwrap() = Some("two");
        tokio::time::advance(LOOK_EVERY).await;
        assert_eq!(key(&header.rotating).await, "two");
    }

    #[tokio::test(start_paused = true)]
    async fn a_refusal_looks_again_and_not_more_often_than_ten_times_a_second() {
        let header = changeable("one");
        let refused = header.rotating.current().await;
        let began = Instant::now();

        assert!(header.rotating.instead_of(&refused).await.is_none(), "it is the same");
        *header.value.lock().unwrap() = Some("two");
        let instead = header.rotating.instead_of(&refused).await.expect("there is another");

        assert_eq!((instead["x-key"].to_str().unwrap(), began.elapsed()), ("two", LOOK_MIN * 2));
        assert!(
            header.rotating.instead_of(&refused).await.is_some(),
            "others that were refused find it without a look"
        );
        assert_eq!(header.reads.load(Ordering::Relaxed), 3);
    }

    #[tokio::test(start_paused = true)]
    async fn many_requests_that_are_refused_at_once_look_once() {
        let header = changeable("one");
        let refused = header.rotating.current().await;
        let began = Instant::now();

        let refusals = (0..100).map(|_| header.rotating.instead_of(&refused));
        let found = futures_util::future::join_all(refusals).await;

        assert!(found.iter().all(Option::is_none));
        assert_eq!((header.reads.load(Ordering::Relaxed), began.elapsed()), (2, LOOK_MIN));
    }

    #[tokio::test]
    async fn a_file_system_that_hangs_holds_up_one_request_for_a_second_and_one_thread() {
        let (release, held) = std::sync::mpsc::sync_channel::<()>(1);
        let held = StdMutex::new(held);
        let (first, reads) = (AtomicBool::new(true), Arc::new(AtomicUsize::new(0)));
        let count = Arc::clone(&reads);
        let read: Read = Arc::new(move || {
            count.fetch_add(1, Ordering::Relaxed);
            if !first.swap(false, Ordering::Relaxed) {
                // It ends when the test does.
                let _ = held.lock().unwrap().recv();
            }
            Ok(HeaderValue::from_static("one"))
        });
        let rotating =
            Rotating::new(ResourceName::new("files").unwrap(), vec![(HeaderName::from_static("x-key"), read)]).unwrap();
        let refused = rotating.current().await;

        tokio::time::sleep(LOOK_MIN).await;
        assert!(rotating.instead_of(&refused).await.is_none());
        tokio::time::sleep(LOOK_MIN).await;
        assert!(rotating.instead_of(&refused).await.is_none());

        assert_eq!(reads.load(Ordering::Relaxed), 2, "the second refusal starts no further read");
        drop(release);
    }

    #[test]
    fn a_header_that_cannot_be_read_at_first_is_an_error() {
        let read: Read = Arc::new(|| Err(Unreadable { message: "gone".to_owned() }));
        let made = Rotating::new(ResourceName::new("files").unwrap(), vec![(HeaderName::from_static("x-key"), read)]);
        assert_eq!(made.err(), Some(Unreadable { message: "gone".to_owned() }));
    }
}
