//! The upstream client against small servers that misbehave in every way that is known to happen.
//!
//! Each server is a script over a raw socket (see [`support`]), so that it can also do what no
//! HTTP library would: stop in the middle of a body, answer rubbish, or say nothing at all.
#![expect(clippy::unwrap_used, reason = "a step that fails in a helper is a failed test")]

mod client;
mod credential;
mod modern;
mod probe;
mod sse;
mod streamable;
mod support;
