//! One live session of a legacy client: a ractor actor around the pure machine of `crates/session`.
//!
//! A [`Handle`] is what the gateway holds; channels and the actor stay private. The machine
//! decides, the actor carries out its effects: it opens legs (upstream sessions), spawns a task
//! for each upstream exchange, and writes events to the client's connections.
//!
//! | Message | Effect | Reply | Overload |
//! |---|---|---|---|
//! | `Post` | opens calls | keys at once, the answer when it begins | the machine's `calls_max` |
//! | `Attach` | connects a reader to a stream | its connection, or why not | `streams_max` |
//! | `Park` | leaves a call's stream until its client answers | whether it could | the principal's limit, and `parked_max` |
//! | `Resume` | hands the client's answers over and reads on | its connection, or why not | one per parking |
//! | `Tell` | hands one event of the client to the machine | none | bounded by the listener's concurrency |
//! | `Prime` | turns a POST that waits into a stream | none | one per exchange |
//! | `Poll` | ends a call's stream to be polled, as its backend did | none | the pace of the backend |
//! | `Upstream` | a frame of a backend | a permit to read on | one per source: readers wait for it |
//! | `Answer` | answers a server's request that may not reach the client | none | the pace of the server |
//! | `Opened`, `OpenFailed` | an upstream session was opened, or not | none | one per leg |
//! | `Failed`, `Lost` | an exchange or leg ended early | none | one per exchange |
//! | `Delivered`, `Detached` | a connection wrote, or ended | none | one per window of events |
//! | `Servers` | gives up legs of replaced and removed backends | none | one per configuration |
//! | `Subscriber` | finds out which backend holds a subscription | that backend, if any | the machine's `subscriptions_max` |
//! | `Knows` | finds out whether a request was taken | that | one per request that is asked again |
//! | `Rejoin` | goes on with a stream for a connection that has lasted | its connection, or why not | one per connection |
//! | `Take` | hands one event of the client to the machine | when it is committed | bounded by the listener's concurrency |
//! | `Mark` | notes from where a call's stream can be resumed | none | the pace of the backend |
//! | `Sent` | an answer of the client was sent to its backend | none | one per answer |
//! | `Written` | a change is in the record, or not | none | one at a time |
//! | `Flush`, `OfferAgain` | writes what nobody waits for, or what there was no room for | none | one timer each |
//! | `GiveAway` | another node owns the session | none | one |
//! | `Rest` | ends the actor of a session that is its record alone | none | one per sweep |
//! | `Observe` | shows what the session holds | a snapshot | the admin's pace |
//!
//! Supervision: linked to the `Shard`; a session whose actor fails is gone where nothing else holds its state (its client
//! gets 404 and initializes again); in a cluster it is made again of its record when somebody asks for it.

mod actor;
mod connection;
mod content;
mod effects;
mod handle;
mod inherit;
mod ledger;
mod legs;
pub mod memory;
mod message;
mod opening;
mod orphans;
mod posts;
mod pump;
pub mod terms;
mod translate;
mod unread;

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::HeaderMap;
use quorate_jsonrpc::Frame;
use quorate_mcp::Version;
use quorate_session::record::proto;
use quorate_session::{Purpose, Rejection, RequestKey};
use quorate_types::ResourceName;

pub use self::connection::{Connection, event};
pub use self::content::severity;
pub use self::handle::Handle;
pub(crate) use self::handle::{OnGone, Shared};
pub(crate) use self::inherit::{CLAIM_MAX, PROTOCOL as HANDOVER, write as left};
pub use self::memory::Memory;
pub use self::opening::Opening;
pub(crate) use self::opening::{Begins, Keeping};
pub(crate) use self::orphans::{Left, Orphan, Orphans, What};
pub use self::pump::fault;
pub use self::terms::{Terms, Timeout, Tool};
pub use self::translate::Translate;
pub use self::unread::Unread;
use crate::backend;

/// How long a POST waits for an answer in JSON before it becomes a stream, so that the client
/// gets an event id that it can resume from: 250 ms, well below what a person notices and well
/// above what a quick tool takes.
pub const PRIME_AFTER: Duration = Duration::from_millis(250);

/// How long nobody has asked a session for anything when it is put to rest: longer than the pauses of a conversation, since
/// who comes back sooner finds its actor, and shorter than most sessions are idle.
const REST_AFTER: Duration = Duration::from_secs(30);

/// What a session knows of its client from `initialize`.
#[derive(Clone, Debug)]
pub struct Client {
    /// The revision of the session.
    pub version: Version,
    /// The parameters for `initialize` upstream: the client's capabilities and name.
    pub initialize_params: Arc<str>,
    /// A digest of what lists may depend on: revision and capabilities.
    pub view: u64,
}

// === impl Client ===

impl Client {
    /// The same, written down.
    pub(crate) fn to_proto(&self) -> proto::Client {
        proto::Client {
            version: self.version.as_str().to_owned(),
            initialize_params: self.initialize_params.to_string(),
            view: self.view,
        }
    }
}

/// What a session was opened on, and ends with.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Scope {
    /// A toolset, by a client of sessions.
    Toolset(ResourceName),
    /// A tool server, by the gateway on behalf of a stateless client.
    Server(ResourceName),
}

/// One request of a client, ready to be sent.
pub struct Outgoing {
    /// The request, with names as the backend knows them and the client's id.
    pub frame: Frame,
    /// The backend that answers it; none when the gateway does, by [`Handle::answer`].
    pub server: Option<backend::Handle>,
    /// The JSON text of its progress token.
    pub progress_token: Option<Bytes>,
    /// What the machine has to remember of it.
    pub purpose: Purpose,
    /// Names it wherever it is sent again; none where it never is.
    pub key: Option<RequestKey>,
    /// Headers for the backend: trace context.
    pub headers: HeaderMap,
    /// When the POST turns into a stream, if its answer has not come: mostly [`PRIME_AFTER`];
    /// `None` waits for the answer.
    pub prime_after: Option<Duration>,
    /// What the call is held to beyond what its server allows.
    pub terms: Terms,
}

/// How a POST is answered.
pub enum Reply {
    /// With JSON.
    Json(Bytes),
    /// With a stream.
    Stream(Connection),
    /// With an empty stream: all its requests were cancelled.
    Nothing,
    /// The answers go to the session's one stream (HTTP+SSE).
    Elsewhere,
}

/// The session's actor is gone.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the session has ended")]
pub struct Gone;

/// Why a POST or GET was not taken.
#[derive(Clone, Debug, thiserror::Error)]
pub enum Refused {
    /// The session is gone.
    #[error(transparent)]
    Gone(#[from] Gone),
    /// The machine refused it.
    #[error(transparent)]
    Rejected(#[from] Rejection),
    /// Another node owns the session now; what was asked for may have been done, and is asked for there again.
    #[error("another node owns the session")]
    Moved,
    /// The session was put to rest just then: nothing was done, and it is made again of its record.
    #[error("the session was put to rest")]
    Rested,
}
