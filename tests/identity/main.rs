//! Who callers are and what they may do, with an identity provider and OAuth clients that nobody here wrote.
//!
//! The identity provider is npm `oidc-provider` ([`idp`]), the clients are those of the SDKs ([`client`]) and raw HTTP. Each
//! test has a provider and a gateway of its own, as processes on loopback; nothing is shared but installed packages.

mod audited;
mod bound;
mod caller;
mod certificates;
mod changes;
mod client;
mod combinations;
mod dance;
mod ends;
mod flood;
mod front;
mod ground;
mod idp;
mod keys;
mod opaque;
mod outage;
mod outgoing;
mod page;
mod provider;
mod sessions;
mod site;
mod streams;
mod tokens;
mod workloads;
