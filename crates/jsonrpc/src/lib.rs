//! JSON-RPC 2.0 frames as byte spans: parsed once, spliced, never re-serialised.
//!
//! Bytes come in from a stranger, a [`Frame`] comes out: the validated bytes and where in them the
//! id, the method and the payload are. Whoever changes something replaces a [`Span`] with
//! [`Splice`]; everything else keeps its key order, number text and unknown members. Nothing here
//! knows a protocol: method names and parameters are for the crates above.
//!
//! The invariant that all of it keeps: two readers of the same accepted bytes cannot disagree on
//! what they say. Duplicate and case-folded twins of the members that decide are refused.
//!
//! Specification: <https://www.jsonrpc.org/specification>, RFC 8259 for the text.
#![warn(clippy::wildcard_enum_match_arm)]

pub mod build;
mod cut;
mod envelope;
mod frame;
mod id;
mod limits;
mod malformed;
mod members;
mod scan;
mod span;
mod splice;

pub use build::quote;
pub use cut::{cut_elements, cut_members};
pub use frame::{Frame, Kind, is_batch};
pub use id::{ID_BYTES_MAX, Id, NotAnId};
pub use limits::Limits;
pub use malformed::{Malformed, Reason};
pub use members::{MembersError, elements, eq_folded, keyed_members, members, pick, pick_exact, text};
pub use span::Span;
pub use splice::Splice;
