//! The keys of issuers (RFC 7517).
//!
//! What they are (`key`, `set`), where they come from (`source`), when they are fetched (`machine`, pure), and who keeps
//! them and looks them up (`keeper`). Tokens are not known here.

mod keeper;
mod key;
mod machine;
mod set;
mod source;

pub(crate) use keeper::{Found, Keeper, Snapshot};
pub use key::KID_BYTES_MAX;
pub use set::{InvalidKeys, KEYS_MAX, KeySet, SET_BYTES_MAX};
pub(crate) use source::{Place, Source};
