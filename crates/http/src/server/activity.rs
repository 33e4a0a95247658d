//! What a connection is doing, and until when it may go on doing so.
//!
//! One [`Activity`] per connection, shared by the socket wrapper (bytes read, writes that stall),
//! the requests (begun, ended) and the loop that drives the connection, which asks for the next
//! [`Deadline`]. Times are milliseconds since the connection began, in relaxed atomics: an
//! HTTP/1.1 connection is one task, and on HTTP/2 a deadline that is seen late is only late.
//!
//! ```text
//!            first byte            head complete
//!   Idle ─────────────▶ Heading ─────────────▶ Busy(open requests)
//!    ▲   idle_timeout            header_read_timeout     │ last request ends
//!    └───────────────────────────────────────────────────┘
//!   beside it: Stalled since a write found no room (write_stall_timeout)
//! ```
//!
//! hyper has a header timeout of its own; it is not used, because it also runs while a kept-alive
//! connection waits for its next request (so a 10 s header timeout would close idle connections
//! after 10 s), and because it allocates and registers a timer for each request.

use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use hyper::body::Incoming;
use tokio::time::Instant;

use super::limits::Limits;
use crate::observe::limit;

/// The state of one connection.
#[derive(Debug)]
pub(super) struct Activity {
    began: Instant,
    /// HTTP/2: bytes do not mean that a head is on its way.
    multiplexed: AtomicBool,
    open_requests: AtomicU32,
    /// When the head being read began; [`NEVER`] when none is.
    heading_since: AtomicU64,
    /// Bytes that arrived since then, to tell which limit a head broke.
    heading_bytes: AtomicU64,
    /// When the last request ended.
    idle_since: AtomicU64,
    /// When a write first found no room; [`NEVER`] when writes go through.
    stalled_since: AtomicU64,
    /// When lingering began; [`NEVER`] before that.
    lingering_since: AtomicU64,
    /// The socket may be closed without waiting for the client.
    linger_ended: AtomicBool,
    /// HTTP/1.1: what the handler of the open request left unread of its body.
    rest: Mutex<Option<Incoming>>,
    /// When an answer began to wait for that rest; [`NEVER`] when none does.
    rest_since: AtomicU64,
    /// That answer waits no longer.
    rest_given_up: AtomicBool,
}

/// A moment at which something happens to the connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Deadline {
    pub(super) at: Instant,
    pub(super) then: Then,
}

/// What happens at a [`Deadline`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Then {
    /// The client did not keep within this limit: the connection is cut.
    Cut(&'static str),
    /// Nobody used the connection: it is closed in an orderly way.
    CloseIdle,
    /// The rest of a body that nobody reads did not come: the answer goes out as the last one.
    GiveUpRest,
    /// The answer was sent and the client had its time to read it: the connection is over.
    EndLinger,
}

const NEVER: u64 = u64::MAX;

/// Time in which a client may read the last answer, while what it still sends is thrown away.
///
/// Closing a socket with unread bytes makes the kernel send RST, which can destroy the answer
/// (413, 431) before the client reads it (RFC 9112 §9.6). Two round trips of the slowest links.
const LINGER: Duration = Duration::from_secs(2);

/// Time that an answer waits for the rest of a body that nobody reads: clients send it right behind the head, so that
/// this too is two round trips of the slowest links.
const REST_TIMEOUT: Duration = Duration::from_secs(2);

// === impl Activity ===

impl Activity {
    /// Makes the state of a connection that begins now: the head of its first request is due.
    pub(super) fn new(began: Instant) -> Self {
        Self {
            began,
            multiplexed: AtomicBool::new(false),
            open_requests: AtomicU32::new(0),
            heading_since: AtomicU64::new(0),
            heading_bytes: AtomicU64::new(0),
            idle_since: AtomicU64::new(0),
            stalled_since: AtomicU64::new(NEVER),
            lingering_since: AtomicU64::new(NEVER),
            linger_ended: AtomicBool::new(false),
            rest: Mutex::new(None),
            rest_since: AtomicU64::new(NEVER),
            rest_given_up: AtomicBool::new(false),
        }
    }

    /// The TLS handshake is over: only now can the client begin its first head.
    pub(super) fn handshake_ended(&self) {
        self.heading_since.store(self.now(), Ordering::Relaxed);
    }

    /// The client speaks HTTP/2.
    pub(super) fn set_multiplexed(&self) {
        self.multiplexed.store(true, Ordering::Relaxed);
    }

    pub(super) fn is_multiplexed(&self) -> bool {
        self.multiplexed.load(Ordering::Relaxed)
    }

    pub(super) fn open_requests(&self) -> u32 {
        self.open_requests.load(Ordering::Relaxed)
    }

    /// Bytes arrived from the client.
    pub(super) fn bytes_read(&self, count: usize) {
        if self.open_requests() > 0 || self.is_multiplexed() {
            return;
        }
        if self.heading_since.load(Ordering::Relaxed) == NEVER {
            self.heading_since.store(self.now(), Ordering::Relaxed);
        }
        self.heading_bytes.fetch_add(count as u64, Ordering::Relaxed);
    }

    /// Returns the limit that a head broke which hyper refused as too large.
    pub(super) fn head_limit_hit(&self, limits: &Limits) -> &'static str {
        let few_bytes = self.heading_bytes.load(Ordering::Relaxed) < limits.header_bytes_max as u64;
        if few_bytes { limit::HEADERS_MAX } else { limit::HEADER_BYTES_MAX }
    }

    /// A request's head is complete. Returns how many requests are open with it.
    pub(super) fn request_began(&self) -> u32 {
        self.heading_since.store(NEVER, Ordering::Relaxed);
        self.heading_bytes.store(0, Ordering::Relaxed);
        self.linger_ended.store(false, Ordering::Relaxed);
        self.open_requests.fetch_add(1, Ordering::Relaxed) + 1
    }

    /// A request's answer is handed to the socket, or given up.
    pub(super) fn request_ended(&self) {
        // Written before the count falls, so that whoever sees zero sees this time too.
        self.idle_since.store(self.now(), Ordering::Relaxed);
        self.open_requests.fetch_sub(1, Ordering::Release);
    }

    /// The handler of the open request left this of its body unread.
    pub(super) fn leave_rest(&self, body: Incoming) {
        *self.rest.lock().unwrap_or_else(PoisonError::into_inner) = Some(body);
    }

    /// Takes what the handler of the open request left of its body: its answer waits for it from now on.
    pub(super) fn take_rest(&self) -> Option<Incoming> {
        let rest = self.rest.lock().unwrap_or_else(PoisonError::into_inner).take()?;
        self.rest_given_up.store(false, Ordering::Relaxed);
        self.rest_since.store(self.now(), Ordering::Relaxed);
        Some(rest)
    }

    /// The answer waits no longer for the rest of its request's body.
    pub(super) fn rest_ended(&self) {
        self.rest_since.store(NEVER, Ordering::Relaxed);
    }

    /// The client had its time to send the rest of a body.
    pub(super) fn give_up_rest(&self) {
        self.rest_given_up.store(true, Ordering::Relaxed);
        self.rest_ended();
    }

    pub(super) fn is_rest_given_up(&self) -> bool {
        self.rest_given_up.load(Ordering::Relaxed)
    }

    /// A write found no room in the socket.
    pub(super) fn write_stalled(&self) {
        if self.stalled_since.load(Ordering::Relaxed) == NEVER {
            self.stalled_since.store(self.now(), Ordering::Relaxed);
        }
    }

    /// The socket took some bytes.
    pub(super) fn write_progressed(&self) {
        if self.stalled_since.load(Ordering::Relaxed) != NEVER {
            self.stalled_since.store(NEVER, Ordering::Relaxed);
        }
    }

    /// The connection is asked to close; when it is unused, nobody waits for an answer.
    pub(super) fn closing(&self) {
        self.linger_ended.store(self.open_requests() == 0, Ordering::Relaxed);
    }

    /// The client had its time to read the last answer.
    pub(super) fn end_linger(&self) {
        self.linger_ended.store(true, Ordering::Relaxed);
        self.lingering_since.store(NEVER, Ordering::Relaxed);
    }

    /// Returns whether the socket waits for the client before it closes. On HTTP/2 the client was
    /// told by GOAWAY, and reads what was sent before it closes.
    pub(super) fn may_linger(&self) -> bool {
        !self.is_multiplexed() && !self.linger_ended.load(Ordering::Relaxed)
    }

    /// Our side of the connection is closed, and the client's bytes are thrown away from now on.
    pub(super) fn lingering(&self) {
        if self.lingering_since.load(Ordering::Relaxed) == NEVER {
            self.lingering_since.store(self.now(), Ordering::Relaxed);
        }
    }

    /// Returns the next moment at which something is due if nothing changes until then; `None`
    /// while requests are with their handlers. On HTTP/2 the last request may end without waking the task that
    /// asks, so it has to look again in a while.
    pub(super) fn deadline(&self, limits: &Limits) -> Option<Deadline> {
        let after = |since: u64, timeout| self.began + Duration::from_millis(since) + timeout;
        let lingering = self.lingering_since.load(Ordering::Relaxed);
        if lingering != NEVER {
            return Some(Deadline { at: after(lingering, LINGER), then: Then::EndLinger });
        }
        let heading = self.heading_since.load(Ordering::Relaxed);
        let stalled = self.stalled_since.load(Ordering::Relaxed);
        if stalled != NEVER {
            let at = after(stalled, limits.write_stall_timeout);
            Some(Deadline { at, then: Then::Cut(limit::WRITE_STALL_TIMEOUT) })
        } else if self.open_requests.load(Ordering::Acquire) > 0 {
            let rest = self.rest_since.load(Ordering::Relaxed);
            (rest != NEVER).then(|| Deadline { at: after(rest, REST_TIMEOUT), then: Then::GiveUpRest })
        } else if heading != NEVER {
            let at = after(heading, limits.header_read_timeout);
            Some(Deadline { at, then: Then::Cut(limit::HEADER_READ_TIMEOUT) })
        } else {
            let idle = self.idle_since.load(Ordering::Relaxed);
            Some(Deadline { at: after(idle, limits.idle_timeout), then: Then::CloseIdle })
        }
    }

    fn now(&self) -> u64 {
        u64::try_from(self.began.elapsed().as_millis()).unwrap_or(NEVER - 1)
    }
}

#[cfg(test)]
mod tests {
    use tokio::time::advance;

    use super::*;
    use crate::server::limits::DEFAULTS;

    fn seconds(activity: &Activity) -> (u64, Then) {
        let deadline = activity.deadline(&DEFAULTS).expect("no request is open");
        ((deadline.at - activity.began).as_secs(), deadline.then)
    }

    #[tokio::test(start_paused = true)]
    async fn each_state_has_its_own_deadline() {
        let activity = Activity::new(Instant::now());
        assert_eq!(seconds(&activity), (10, Then::Cut("header_read_timeout")));

        advance(Duration::from_secs(3)).await;
        activity.bytes_read(1);
        assert_eq!(seconds(&activity), (10, Then::Cut("header_read_timeout")), "bytes do not extend it");

        assert_eq!(activity.request_began(), 1);
        assert_eq!(activity.deadline(&DEFAULTS), None);
        activity.bytes_read(1);
        activity.request_ended();
        assert_eq!(seconds(&activity), (123, Then::CloseIdle), "bytes of a body begin no head");

        advance(Duration::from_secs(50)).await;
        activity.bytes_read(1);
        assert_eq!(seconds(&activity), (63, Then::Cut("header_read_timeout")));
    }

    #[tokio::test(start_paused = true)]
    async fn a_stall_ends_with_progress_only() {
        let activity = Activity::new(Instant::now());
        activity.request_began();
        advance(Duration::from_secs(5)).await;
        activity.write_stalled();
        advance(Duration::from_secs(5)).await;
        activity.write_stalled();
        assert_eq!(seconds(&activity), (35, Then::Cut("write_stall_timeout")));

        activity.request_ended();
        assert_eq!(seconds(&activity), (35, Then::Cut("write_stall_timeout")), "an unsent answer is not idle");

        activity.write_progressed();
        assert_eq!(seconds(&activity), (130, Then::CloseIdle));
    }

    #[tokio::test(start_paused = true)]
    async fn bytes_on_a_multiplexed_connection_are_not_a_head() {
        let activity = Activity::new(Instant::now());
        activity.set_multiplexed();
        assert_eq!(seconds(&activity), (10, Then::Cut("header_read_timeout")), "the first request is due");
        activity.request_began();
        activity.request_began();
        activity.request_ended();
        assert_eq!(activity.deadline(&DEFAULTS), None);
        activity.request_ended();
        activity.bytes_read(1);
        assert_eq!(seconds(&activity), (120, Then::CloseIdle));
    }

    #[tokio::test(start_paused = true)]
    async fn lingering_ends_soon_whatever_the_client_sends() {
        let activity = Activity::new(Instant::now());
        activity.lingering();
        advance(Duration::from_secs(1)).await;
        activity.lingering();
        activity.bytes_read(1);
        assert_eq!(seconds(&activity), (2, Then::EndLinger));
        assert!(activity.may_linger());
        activity.end_linger();
        assert!(!activity.may_linger());
    }
}
