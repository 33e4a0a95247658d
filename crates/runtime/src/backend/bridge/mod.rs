//! What stands for a session with a server that has none: a leg over stateless requests.
//!
//! To the session above it looks like any leg: requests in, answers and the server's requests out,
//! the client's responses in, a stream of what belongs to no call. Each request becomes a stateless
//! one of its own ([`call`]); what only sessions have is kept here: the log level, the requests that
//! wait for the client ([`asks`]), and subscriptions ([`watch`]). All translation is pure and lives
//! in `quorate_mcp::dialect::onto_modern`.
//!
//! Nothing is open upstream between calls but the backend's shared listen, so such a leg is only lost
//! when its server turns out to speak sessions alone; dropping it, or what it gave out, cancels what is
//! under way. When the session gives it up, what was asked of the client ends: the session takes that back, and would know no response. The log level is `info` until
//! the client sets one: the revisions with sessions leave it to the server what it logs unasked.

mod asks;
mod call;
mod schemas;
mod watch;

use std::sync::{Arc, Mutex};

use bytes::Bytes;
use http::{HeaderMap, StatusCode};
use quorate_jsonrpc::{Frame, Id, Limits, build};
use quorate_mcp::capabilities::Capabilities;
use quorate_mcp::dialect::onto_modern::{self, Asked, Caller, NotInitialize, server_capabilities};
use quorate_mcp::{Era, Fault, Level};
use quorate_types::PrincipalDigest;

use self::asks::Asks;
pub(super) use self::schemas::Schemas;
use self::watch::{Refused, Watch};
use super::{Error, Handle, lock};
use crate::upstream::{self, Answer, FrameStream, ModernInfo};

/// What a client of sessions is told of a server's log before it sets a level.
const LEVEL_DEFAULT: Level = Level::Info;

/// One client's leg at one server. Clones share it.
#[derive(Clone)]
pub(super) struct Leg {
    inner: Arc<Inner>,
}

struct Inner {
    server: Handle,
    principal: PrincipalDigest,
    caller: Arc<Caller>,
    offer: Offer,
    level: Mutex<Level>,
    asks: Arc<Asks>,
    watch: Mutex<Option<Watch>>,
}

/// What the server offers, as far as this leg acts on it.
#[derive(Clone, Debug)]
struct Offer {
    /// As a server of sessions would write it.
    capabilities: Bytes,
    logs: bool,
    subscribes: bool,
    has_tools: bool,
}

// === impl Leg ===

impl Leg {
    /// The server that it is at.
    pub(super) fn server(&self) -> &Handle {
        &self.inner.server
    }

    /// Makes the leg of a principal's client that said these parameters at `initialize`, at a server that says
    /// this of itself.
    pub(super) fn open(
        server: Handle,
        principal: PrincipalDigest,
        info: &ModernInfo,
        initialize_params: &str,
    ) -> Result<Self, NotInitialize> {
        let caller = Arc::new(Caller::of_initialize(initialize_params)?);
        let inner = Inner {
            server,
            principal,
            caller,
            offer: Offer::of(info),
            level: Mutex::new(LEVEL_DEFAULT),
            asks: Arc::default(),
            watch: Mutex::new(None),
        };
        Ok(Self { inner: Arc::new(inner) })
    }

    /// What the server offers, as one of sessions would write it.
    pub(super) fn capabilities(&self) -> &Bytes {
        &self.inner.offer.capabilities
    }

    /// Tells whether its server still speaks the era that it needs.
    ///
    /// # Errors
    /// As that of a lost session, which never ran what was to be sent.
    pub(super) fn check(&self) -> Result<(), Error> {
        let server = &self.inner.server;
        if server.speaks_modern() { Ok(()) } else { Err(server.failed(upstream::Error::SessionLost)) }
    }

    /// Answers a request, here or by the server.
    pub(super) async fn request(&self, headers: HeaderMap, frame: Frame) -> Result<Answer, Error> {
        let Some(id) = frame.id().cloned() else { return Ok(refuse(&Id::from(0), &Fault::Internal)) };
        match onto_modern::read(frame) {
            Ok(Asked::Upstream(call)) => call::begin(self, *call, headers).await,
            Ok(Asked::Ping) => Ok(done(&id)),
            Ok(Asked::SetLevel { level }) => {
                *lock(&self.inner.level) = level;
                Ok(done(&id))
            }
            Ok(Asked::Subscribe { uri }) => Ok(match self.subscribe(uri).await {
                Ok(()) => done(&id),
                Err(fault) => refuse(&id, &fault),
            }),
            Ok(Asked::Unsubscribe { uri }) => {
                if let Some(watch) = self.watching() {
                    watch.unsubscribe(uri.into()).await;
                }
                Ok(done(&id))
            }
            Err(fault) => Ok(refuse(&id, &fault)),
        }
    }

    /// Takes a message of the client. Only responses to the server's requests mean something to a
    /// modern server: a call is cancelled by dropping its answer, and progress and changed roots
    /// have nobody to go to.
    pub(super) fn notify(&self, message: Bytes) {
        if let Ok(frame) = Frame::parse(message, &Limits::REQUEST) {
            self.inner.asks.deliver(frame);
        }
    }

    /// Opens the stream of the server's change notifications.
    pub(super) fn listen(&self) -> FrameStream {
        self.watch().listen()
    }

    /// Gives up what is subscribed, and what the client is asked. Calls that read on end by themselves.
    pub(super) fn close(&self) {
        *lock(&self.inner.watch) = None;
        self.inner.asks.close();
    }

    /// Subscribes, and returns when the server's listen is live for it.
    async fn subscribe(&self, uri: String) -> Result<(), Fault> {
        let server = || self.inner.server.name().to_string();
        if !self.inner.offer.subscribes {
            return Err(Fault::MethodNotFound { method: "resources/subscribe".to_owned() });
        }
        self.watch().subscribe(uri.into()).await.map_err(|refused| match refused {
            Refused::NotHonoured => {
                let reason = "it does not tell of changes of this resource".to_owned();
                Fault::BackendFailed { server: server(), reason }
            }
            Refused::TooMany { limit, max } => Fault::LimitExceeded { limit, max: max as u64 },
            Refused::TooLate => Fault::BackendTimeout { server: server() },
            Refused::Gone => Fault::BackendFailed { server: server(), reason: "its session has ended".to_owned() },
        })
    }

    /// The watch, which is started when it is first needed: most sessions never subscribe.
    fn watch(&self) -> Watch {
        let start = || Watch::start(self.inner.server.clone(), self.inner.principal);
        lock(&self.inner.watch).get_or_insert_with(start).clone()
    }

    fn watching(&self) -> Option<Watch> {
        lock(&self.inner.watch).clone()
    }

    /// The level that requests ask for; none where the server does not log.
    fn level(&self) -> Option<Level> {
        self.inner.offer.logs.then(|| *lock(&self.inner.level))
    }
}

// === impl Offer ===

impl Offer {
    /// A server that did not say what it offers is asked for everything.
    fn of(info: &ModernInfo) -> Self {
        let Some(raw) = info.capabilities.as_deref().and_then(|raw| std::str::from_utf8(raw).ok()) else {
            let capabilities = Bytes::from_static(br#"{"logging":{}}"#);
            return Self { capabilities, logs: true, subscribes: true, has_tools: true };
        };
        let capabilities = server_capabilities(raw);
        let mut offered = Capabilities::new();
        // What is no object offers nothing, and was written as an empty one.
        let _is_object = offered.add(&capabilities);
        Self {
            logs: offered.has("logging"),
            subscribes: offered.has_flag("resources", "subscribe"),
            has_tools: offered.has("tools"),
            capabilities: capabilities.into(),
        }
    }
}

fn done(id: &Id) -> Answer {
    Answer::Json { status: StatusCode::OK, frame: own(build::result(id, "{}")) }
}

fn refuse(id: &Id, fault: &Fault) -> Answer {
    Answer::Json { status: StatusCode::OK, frame: error(id, fault) }
}

/// Writes what the client is told of a fault.
fn error(id: &Id, fault: &Fault) -> Frame {
    own(fault.to_frame(Era::Legacy, Some(id)))
}

fn own(bytes: Bytes) -> Frame {
    Frame::parse(bytes, &Limits::ANSWER).expect("a frame that was built here parses")
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use quorate_mcp::Version;

    use super::*;

    fn offer(capabilities: Option<&'static str>) -> Offer {
        Offer::of(&ModernInfo {
            versions: vec![Version::LATEST],
            capabilities: capabilities.map(|raw| Bytes::from_static(raw.as_bytes())),
            server_info: None,
            instructions: None,
            ttl: Duration::ZERO,
        })
    }

    #[test]
    fn a_server_is_asked_for_what_it_offers_and_for_everything_when_it_does_not_say() {
        let cases = [
            (Some("{}"), (false, false, false)),
            (Some(r#"{"logging":{},"tools":{}}"#), (true, false, true)),
            (Some(r#"{"resources":{"subscribe":true}}"#), (false, true, false)),
            (Some(r#"{"resources":{"subscribe":false}}"#), (false, false, false)),
            (Some("[]"), (false, false, false)),
            (None, (true, true, true)),
        ];
        for (raw, expected) in cases {
            let offer = offer(raw);
            assert_eq!((offer.logs, offer.subscribes, offer.has_tools), expected, "{raw:?}");
        }
    }
}
