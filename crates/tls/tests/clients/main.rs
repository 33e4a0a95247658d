//! Client certificates with SPIFFE ids: real authorities, real handshakes in TLS 1.2 and 1.3.
//!
//! `certificates` has one test per thing that can be wrong with a certificate, `revocation` those about lists, `reload`
//! what changes under open connections, `outgoing` our own client.

#![cfg(test)]

mod authority;
mod certificates;
mod outgoing;
mod reload;
mod revocation;
mod world;
