//! The pure machine of one stateful session: streams, calls, server requests, subscriptions.
//!
//! ```text
//!   client                        ┌─────────┐                       backends
//!   ClientRequest, ClientResponse │ Session │ OpenLeg, Dispatch, SendUpstream
//!   Attach, Detach, Cancel      ─▶│         │─▶
//!                               ◀─│  step   │◀─
//!   AnswerJson, BeginStream, Emit │         │ LegOpened, LegLost, UpstreamFrame
//!                                 └─────────┘
//! ```
//!
//! One [`Session`] stands between one client of the legacy eras (2024-11-05 to 2025-11-25) and
//! one upstream session (a *leg*) per backend of its toolset. It decides on which stream each
//! message goes, maps ids both ways, retains what a client may resume, holds back sources that
//! are faster than the client, and re-opens legs that are lost. Rules:
//! - MCP 2025-11-25, "Transports" (streams, resumption, session management), "Cancellation",
//!   "Progress".
//! - Each message is on exactly one stream, and sequence numbers of a stream have no gaps.
//! - A call is dispatched at most once, but for one more time when it certainly never ran.
//! - A disconnect of a client never cancels a call.
//!
//! It has no clock, no IO and no entropy: `now` is an argument, and what it wants done comes back
//! as [`Effects`]. It knows ids and spans of JSON-RPC frames, and of MCP only the name of the
//! cancel notification, since it alone knows who has to be told.
//!
//! A call's life:
//!
//! ```text
//! ClientRequest ─▶ queued ──LegOpened──▶ dispatched ──final frame / failure──▶ answered
//!                    │                       │ ▲
//!                    │ Cancel, LegFailed     │ └── never executed: queued again, once
//!                    ▼                       ▼
//!                  closed ◀──────────────  Cancel (notifies the backend, abandons)
//! ```

#![warn(clippy::wildcard_enum_match_arm)]

mod asks;
mod calls;
mod config;
mod effect;
mod event;
mod ids;
mod legs;
mod observe;
mod rejection;
mod ring;
mod session;
mod streams;
mod table;
mod text;
mod violation;

pub use config::{Config, Delivery, Durability};
pub use effect::{Effect, Effects, Emission, Note, Refusal, Source};
pub use event::{
    Answer, Audience, Content, EndReason, Event, Failure, Fault, Features, Listen, Purpose, Request, Target,
};
pub use ids::{Attachment, CallKey, EventId, InvalidEventId, LegEpoch, LegKey, StreamId};
pub use observe::Snapshot;
pub use rejection::Rejection;
pub use session::Session;
pub use violation::Violation;
