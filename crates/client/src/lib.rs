//! A client of the admin API of a cluster: for the command line, and for programs that operate or test clusters.
//!
//! ```text
//! Context (file) ─▶ Client ─▶ endpoint after endpoint ─▶ TLS as an operator, or a Unix socket ─▶ one call, one answer
//! ```
//!
//! | Part | Decides |
//! |---|---|
//! | [`context`] | where a cluster is, and what an operator shows there |
//! | [`method`] | which calls there are, and which of them may be sent twice |
//! | [`client`] | which endpoint is asked, how long, and when again |
//! | [`error`] | what went wrong, in words |
//! | [`json`] | how answers are written as JSON |
//!
//! Knows nothing of terminals and of what a command is for.

pub mod client;
mod connection;
pub mod context;
pub mod error;
pub mod json;
pub mod method;

pub use client::{Answers, Client};
pub use context::{Context, ContextError};
pub use error::{Error, Refused};
pub use method::{Method, Safety, Upload, Watch};
