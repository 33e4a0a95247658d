//! The server and the client on real sockets and with real TLS, over loopback.
//!
//! One file per concern; `support` has what they share. Nothing here waits for a fixed time to
//! "make sure": tests wait for what has to happen, and where a limit is a time, for the limit.

#![cfg(test)]

mod client;
mod drain;
mod http1;
mod http2;
mod mutual;
mod support;
mod tls;
