//! Who calls: tokens of issuers and API keys, checked.
//!
//! Credentials come in as a request carries them, a checked identity or a refusal with its class comes out. Nothing here
//! knows MCP, listeners or policy, and no credential is ever in an error, a log line or a `Debug` text.

pub mod api_key;
mod cache;
mod endpoint;
mod fetch;
mod introspect;
pub mod issuer;
mod issuers;
mod json;
mod jwks;
mod observe;
mod refused;
mod token;
mod verified;

pub use endpoint::{Endpoint, InvalidEndpoint, URL_BYTES_MAX};
pub use fetch::FetchError;
pub use issuers::{ISSUERS_MAX, Invalid, Issuers, Presented, State};
pub use jwks::{InvalidKeys, KEYS_MAX, KID_BYTES_MAX, KeySet, SET_BYTES_MAX};
pub use observe::Observer;
pub use refused::{Refused, Why};
pub use token::TOKEN_BYTES_MAX;
pub use token::algorithm::Algorithm;
pub use token::claims::{ClaimPath, DELEGATION_MAX, InvalidPath, LIST_MAX, NAME_BYTES_MAX, PATH_BYTES_MAX};
pub use verified::{THUMBPRINT_BYTES, Verified};
