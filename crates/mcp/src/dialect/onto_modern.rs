//! A client of sessions (up to 2025-11-25) on a server of 2026-07-28: every rewrite, both ways.
//!
//! ```text
//! client                                                                                  server
//!   request ──read──▶ Upstream ──Rounds──▶ request with `_meta`, Mcp-* headers by the shell ──▶
//!           └────────▶ Ping, SetLevel, Subscribe, Unsubscribe: answered in between
//!   ◀── answer, without what only the modern era has ◀──Rounds── complete, or an error
//!   ◀── elicitation/create, sampling/createMessage, roots/list ◀──Rounds── input_required
//!   response ──Rounds──▶ the request again, with `inputResponses` and `requestState` ──▶
//! ```
//!
//! What a client said once at `initialize` goes into the `_meta` of each request ([`Caller`]). All
//! rewrites are splices: what both eras have passes byte for byte. Tasks are not bridged: those of
//! 2025-11-25 and those of the extension are different protocols, so neither side is told of the
//! other's. The shell keeps sessions, subscriptions and the log level, and sends.
//!
//! Specification: 2026-07-28 `basic/index`, `basic/patterns/mrtr`, `client/elicitation`; 2025-11-25
//! `client/*`, `server/*`. The opposite direction has rewrites of its own.

mod answer;
mod capabilities;
mod request;
mod rounds;

pub use answer::{Answered, notification, result};
pub use capabilities::{Caller, NotInitialize, server_capabilities};
pub use request::{Asked, read};
pub use rounds::{DEFAULTS, Error, Limits, Mint, Rounds, Step};
