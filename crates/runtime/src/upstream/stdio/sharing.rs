//! Legacy sessions that share one process.
//!
//! The process is initialized once, by us and without client capabilities: it can ask nobody, since it could not say
//! whom. Each session is a [`SharedSession`]: its requests go out under ids and progress tokens of ours; changed lists
//! go to every session that listens, updates of resources to those that subscribed to them, and the logging level is
//! the lowest that a session asks for. Nothing of one session ever reaches another one.
//!
//! A resource stays subscribed at the process until the last session has left it.

use std::collections::{HashMap, HashSet};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bytes::Bytes;
use http::StatusCode;
use quorate_jsonrpc::{Frame, Id, build, pick, quote, text};
use quorate_mcp::{Level, Method, codec};

use super::super::answer::{Answer, Awaits, FrameStream};
use super::super::error::Error;
use super::super::legacy::{InitializeResult, initialize_request};
use super::super::probe;
use super::super::shared::{Hub, Outbox, inbox};
use super::super::wire;
use super::StdioEndpoint;
use super::calls::{STALL, anonymous, shared_limits};
use super::connection::{Connection, cancelled, keep};
use super::server::{Living, Server, Use};

/// A process with the sessions that share it.
#[derive(Debug)]
pub(super) struct Sharing {
    connection: Connection,
    initialized: InitializeResult,
    next: AtomicU64,
    sharers: Arc<Mutex<Sharers>>,
}

/// A session at a shared process.
#[derive(Debug)]
pub(in super::super) struct SharedSession {
    sharing: Arc<Sharing>,
    user: u64,
    closed: AtomicBool,
}

/// Who shares the process; each session once, those that are gone not at all.
#[derive(Debug, Default)]
struct Sharers {
    of: HashMap<u64, Sharer>,
}

#[derive(Debug, Default)]
struct Sharer {
    level: Option<Level>,
    uris: HashSet<String>,
    /// Where its own stream goes, while it listens.
    listener: Option<Outbox>,
}

// === impl Sharing ===

impl Sharing {
    pub(super) async fn start(server: &Arc<Server>) -> Result<Arc<Self>, Error> {
        let fresh = server.fresh(Use::Starting).await?;
        let hub = Hub::of_many(shared_limits(server.limits()));
        let connection = Connection::new(server, fresh, Arc::clone(&hub));
        let sharers = Arc::new(Mutex::new(Sharers::default()));
        let notified = {
            let sharers = Arc::clone(&sharers);
            move |frame| lock(&sharers).notify(&frame)
        };
        tokio::spawn(keep(hub.listen()?, connection.child().watch(), Arc::clone(server), notified));
        let params = probe::initialize_params();
        let initialized = connection.initialize(initialize_request(&params)).await?;
        connection.send(build::notification("notifications/initialized", None)).await?;
        connection.employ(Use::Everybody);
        Ok(Arc::new(Self { connection, initialized, next: AtomicU64::new(1), sharers }))
    }

    fn mint(&self) -> Id {
        Id::from(self.next.fetch_add(1, Ordering::Relaxed))
    }

    /// Sends a request of our own whose answer nobody needs.
    fn tell(&self, method: Method, params: &str) {
        // A process that does not take it is ending, or reads nothing: then there is nothing to tell.
        let _untold = self.connection.child().try_send(build::request(&self.mint(), method.as_str(), Some(params)));
    }
}

impl Living for Sharing {
    fn lives(&self) -> bool {
        self.connection.lives()
    }
}

// === impl SharedSession ===

impl SharedSession {
    /// Joins those who share the server's process, which is started when there is none.
    pub(in super::super) async fn open(endpoint: &StdioEndpoint) -> Result<(Self, InitializeResult), Error> {
        let sharing = endpoint.server().sharing().await?;
        let initialized = sharing.initialized.clone();
        let user = sharing.next.fetch_add(1, Ordering::Relaxed);
        lock(&sharing.sharers).of.insert(user, Sharer::default());
        Ok((Self { sharing, user, closed: AtomicBool::new(false) }, initialized))
    }

    pub(in super::super) async fn request(&self, frame: Frame) -> Result<Answer, Error> {
        self.check_open()?;
        let frame = match frame.method().and_then(Method::parse) {
            Some(Method::SetLevel) => self.with_lowest_level(frame),
            Some(Method::Subscribe) => {
                self.of_sharer(|sharer| param(&frame, "uri").is_some_and(|uri| sharer.uris.insert(uri)));
                frame
            }
            Some(Method::Unsubscribe) => {
                let uri = param(&frame, "uri").unwrap_or_default();
                self.of_sharer(|sharer| sharer.uris.remove(&uri));
                if let (true, Some(id)) = (lock(&self.sharing.sharers).is_wanted(&uri), frame.id()) {
                    // Others go on: what the server would say is said here.
                    let frame = wire::parse(build::result(id, "{}"), usize::MAX)?;
                    return Ok(Answer::Json { status: StatusCode::OK, frame });
                }
                frame
            }
            _ => frame,
        };
        let (frame, origin) = anonymous(&frame, &self.sharing.mint(), self.user, true)?;
        let mut inbox = self.sharing.connection.hub().register_of(&frame, origin)?;
        let process = self.sharing.connection.child().watch();
        inbox.when_abandoned(move |id| {
            // A process that reads nothing any more is not cancelled; its queue is bounded.
            let _stalled = process.try_send(cancelled(id));
        });
        self.sharing.connection.exchange(frame, inbox).await.map(Answer::Stream)
    }

    /// Passes what concerns this session's own requests; the rest concerns a process of one's own.
    pub(in super::super) async fn notify(&self, message: Bytes) -> Result<(), Error> {
        self.check_open()?;
        let frame = wire::parse(message, self.sharing.connection.limits().answer_bytes_max)?;
        if frame.method() != Some("notifications/cancelled") {
            return Ok(());
        }
        let Ok(Some((id, _))) = codec::cancelled_request(&frame) else { return Ok(()) };
        match self.sharing.connection.hub().find(self.user, &id) {
            Some(ours) => self.sharing.connection.send(cancelled(&ours)).await,
            None => Ok(()), // It was answered meanwhile.
        }
    }

    pub(in super::super) fn listen(&self) -> Result<FrameStream, Error> {
        self.check_open()?;
        let limits = self.sharing.connection.limits();
        let (outbox, inbox) = inbox(limits);
        self.of_sharer(|sharer| sharer.listener.replace(outbox));
        Ok(FrameStream::of_inbox(inbox, Awaits::Nothing, limits, None))
    }

    /// Leaves; the process goes on for the others.
    pub(in super::super) fn close(&self) {
        if self.closed.swap(true, Ordering::SeqCst) {
            return;
        }
        let (left, level) = lock(&self.sharing.sharers).leave(self.user);
        for uri in left {
            self.sharing.tell(Method::Unsubscribe, &format!("{{\"uri\":{}}}", quote(&uri)));
        }
        if let Some(level) = level {
            self.sharing.tell(Method::SetLevel, &level_params(level));
        }
    }

    /// Takes over the session's level; returns the request with the lowest one of all.
    fn with_lowest_level(&self, frame: Frame) -> Frame {
        let (Some(id), Some(level)) = (frame.id(), param(&frame, "level").and_then(|level| Level::parse(&level)))
        else {
            return frame; // The server says what is wrong with it.
        };
        let lowest = {
            let mut sharers = lock(&self.sharing.sharers);
            if let Some(sharer) = sharers.of.get_mut(&self.user) {
                sharer.level = Some(level);
            }
            sharers.lowest_level().unwrap_or(level)
        };
        let request = build::request(id, Method::SetLevel.as_str(), Some(&level_params(lowest)));
        wire::parse(request, usize::MAX).unwrap_or(frame)
    }

    fn of_sharer<T>(&self, of: impl FnOnce(&mut Sharer) -> T) -> Option<T> {
        lock(&self.sharing.sharers).of.get_mut(&self.user).map(of)
    }

    fn check_open(&self) -> Result<(), Error> {
        let is_open = !self.closed.load(Ordering::SeqCst) && self.sharing.connection.lives();
        if is_open { Ok(()) } else { Err(Error::SessionLost) }
    }
}

impl Drop for SharedSession {
    fn drop(&mut self) {
        self.close();
    }
}

// === impl Sharers ===

impl Sharers {
    /// Hands a notification to the sessions that it is for.
    fn notify(&mut self, frame: &Frame) {
        let uri = match frame.method().and_then(Method::parse) {
            Some(Method::ToolsListChanged | Method::PromptsListChanged | Method::ResourcesListChanged) => None,
            Some(Method::ResourceUpdated) => match param(frame, "uri") {
                Some(uri) => Some(uri),
                None => return,
            },
            _ => return,
        };
        for sharer in self.of.values_mut() {
            if uri.as_ref().is_some_and(|uri| !sharer.subscribes(uri)) {
                continue;
            }
            if sharer.listener.as_ref().is_some_and(|listener| !listener.offer(frame.clone()))
                && let Some(listener) = sharer.listener.take()
            {
                // It may listen anew; a process that many share waits for nobody's list of changes.
                listener.end(Error::Stalled { after: STALL });
            }
        }
    }

    /// Forgets a session; returns what nobody wants any more, and the level if it is another one now.
    fn leave(&mut self, user: u64) -> (Vec<String>, Option<Level>) {
        let before = self.lowest_level();
        let Some(gone) = self.of.remove(&user) else { return (Vec::new(), None) };
        let left = gone.uris.into_iter().filter(|uri| !self.is_wanted(uri)).collect();
        (left, self.lowest_level().filter(|level| Some(*level) != before))
    }

    fn is_wanted(&self, uri: &str) -> bool {
        self.of.values().any(|sharer| sharer.uris.contains(uri))
    }

    fn lowest_level(&self) -> Option<Level> {
        self.of.values().filter_map(|sharer| sharer.level).min()
    }
}

// === impl Sharer ===

impl Sharer {
    /// Tells whether an update of this resource is for it: servers may name a part of what was subscribed to.
    fn subscribes(&self, uri: &str) -> bool {
        let is_part =
            |of: &String| uri.strip_prefix(of.trim_end_matches('/')).is_some_and(|rest| rest.starts_with('/'));
        self.uris.contains(uri) || self.uris.iter().filter(|uri| !uri.is_empty()).any(is_part)
    }
}

fn level_params(level: Level) -> String {
    format!("{{\"level\":\"{}\"}}", level.as_str())
}

/// Reads a text parameter.
fn param(frame: &Frame, key: &str) -> Option<String> {
    let params = frame.params_span()?;
    let [found] = pick(frame.text_of(params), params.start, [key]).ok()?;
    text(frame.text_of(found?)).map(Into::into)
}

fn lock(sharers: &Mutex<Sharers>) -> MutexGuard<'_, Sharers> {
    // No panic happens under this lock; a poisoned one would still hold consistent state.
    sharers.lock().unwrap_or_else(PoisonError::into_inner)
}
