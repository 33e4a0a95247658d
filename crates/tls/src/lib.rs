//! TLS configurations from certificate files, reloaded when they change.
//!
//! [`ServerTls`] encrypts accepted sockets with a certificate and key that may be replaced while
//! connections are open, and knows clients by their certificates ([`ClientAuth`], [`PeerIdentity`]);
//! [`ClientTls`] encrypts connections to backends, and may prove itself to them; [`NodeTls`] does both among
//! the nodes of a cluster. In flow PEM files or texts, out flow streams. All use rustls with ring, passed
//! explicitly: nothing depends on a process-wide default.
//!
//! **Invariant:** a private key is never printed; `Debug` shows paths and counts only. Errors
//! name the file and the reason. TLS 1.2 and 1.3 (RFC 5246, RFC 8446).

mod certificate;
mod client;
mod clients;
mod der;
mod error;
mod files;
mod nodes;
mod server;
mod spiffe;
mod watch;
pub mod x509;

pub use client::{ClientCertificate, ClientOptions, ClientTls};
pub use clients::{Cause, ClientAuth, DomainFiles, PeerIdentity, Refusal, TrustChange, claimed_id};
pub use error::{LoadError, Reason};
pub use nodes::{CredentialsError, CredentialsPart, NodeCredentials, NodeHandshakeError, NodeTls, Proven};
pub use server::{Accepted, HandshakeError, ServerTls};
pub use spiffe::{InvalidSpiffeId, SPIFFE_ID_BYTES_MAX, SpiffeId, TRUST_DOMAIN_BYTES_MAX, TrustDomain};
pub use watch::{Reload, Watch, WatchConfig};

/// The ALPN name of HTTP/2 (RFC 9113 §3.1).
pub const ALPN_H2: &[u8] = b"h2";
/// The ALPN name of a connection of exchanges between nodes: HTTP/2 with settings of its own.
pub const ALPN_EXCHANGES: &[u8] = b"quorate-exchanges";
/// The ALPN name of HTTP/1.1 (RFC 7301 §6).
pub const ALPN_HTTP1: &[u8] = b"http/1.1";

fn alpn_protocols() -> Vec<Vec<u8>> {
    vec![ALPN_H2.to_vec(), ALPN_HTTP1.to_vec()]
}
