//! The Model Context Protocol: classification, views, rewrites, naming and listings, without IO.
//!
//! A request's headers and body come in; what it asks for comes out ([`classify()`]), with byte spans
//! of everything that a gateway replaces: names, URIs, task ids, tokens. Answers are read and
//! rewritten the same way ([`codec`]), one call's frames are held to the protocol by an
//! [`exchange::Exchange`], and what differs between revisions is data ([`dialect`]).
//!
//! ```text
//!  headers, body ──classify──▶ Call ──codec──▶ upstream frame ─┐
//!                                                              ▼ Exchange: Open ─▶ Done
//!  answer to the client ◀──codec── frame with the client's id ─┘
//! ```
//!
//! Revisions: 2024-11-05, 2025-03-26, 2025-06-18, 2025-11-25 (legacy, with sessions) and 2026-07-28
//! (modern, stateless). Specification: <https://modelcontextprotocol.io/specification>.
#![warn(clippy::wildcard_enum_match_arm)]

pub mod capabilities;
pub mod classify;
pub mod codec;
pub mod curate;
pub mod cursor;
pub mod dialect;
pub mod error;
pub mod exchange;
pub mod header;
pub mod listing;
pub mod message;
pub mod meter;
mod method;
pub mod naming;
pub mod param;
mod read;
pub mod subscription;
pub mod uri;
mod version;

pub use classify::{Classified, classify, classify_batch, classify_legacy};
pub use error::{Fault, Rejected};
pub use message::{Call, Filter, Level, ListKind, Meta, Operation, Reference, TaskVerb};
pub use method::Method;
pub use version::{Era, Version};
