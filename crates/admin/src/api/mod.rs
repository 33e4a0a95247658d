//! The API that operators use: gRPC over TLS on the admin address, and on a Unix socket in the data folder.
//!
//! Every service holds a [`Node`] and answers with errors of [`mod@errors`]; who calls and whether it may is decided before a
//! service hears of a call.

pub mod errors;
pub mod node;
pub mod service;

pub use node::{Node, Standing};
