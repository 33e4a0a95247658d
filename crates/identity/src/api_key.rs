//! API keys: their text, what is kept of them, and the table that a presented one is looked up in.
//!
//! A key is `qk_ID_SECRETCHECK` ([`text`]): the id is visible and names it, 256 random bits are the secret, and a
//! checksum lets everything that was mistyped or guessed be refused before any cryptography. What a document keeps is the
//! id with an HMAC of the secret under a key that only nodes have ([`mac`]), so that a stolen document is of no use to
//! test guesses with. A table ([`Keys`]) is made of all documents at once and never changes, but for when each key was
//! last used.
//!
//! Where keys are presented, what an agent may do, and metrics are the callers' part.

mod config;
mod keys;
mod mac;
mod text;

pub use config::{Config, Invalid, SCOPE_BYTES_MAX, SCOPES_MAX, SECRETS_MAX, Secret, is_scope};
pub use keys::{KEYS_MAX, Keys, Known, Observed, Refused};
pub use mac::{InvalidMac, MAC_BYTES, Mac, MacKey};
pub use text::{Fresh, Id, InvalidId, PREFIX, looks_like};
