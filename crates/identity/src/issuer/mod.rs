//! One issuer of tokens: what is demanded of them ([`Config`]), and what they mean (`rules`).
//!
//! Configurations come in from whoever reads documents, claims from a checked token or from the issuer's own answer; a
//! principal goes out. Nothing here asks a server or reads a clock.

pub(crate) mod config;
pub(crate) mod rules;

pub use config::{
    CLOCK_SKEW_DEFAULT, CLOCK_SKEW_MAX, Check, ClientAuthentication, Config, INTROSPECTION_CACHE_DEFAULT,
    INTROSPECTION_CACHE_MAX, Introspected, Keys, OUTAGE_TOLERANCE_DEFAULT, OUTAGE_TOLERANCE_MAX, Rules, Signed,
    Subject, TenantRule,
};
