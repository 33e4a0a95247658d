//! APIs behind OpenAPI documents as tool servers of a gateway: a real process in front of a real HTTP API.
//!
//! One file per topic. Each test starts its own `quorate serve` and its own API, and the documents of public APIs come
//! from packages that `cargo xtask test` installs.

mod api;
mod calls;
mod configuration;
mod credentials;
mod documents;
