//! What the owner of issuers hears of their servers, for logs and metrics.
//!
//! The crate knows no telemetry. Calls come from the tasks that fetch: an implementation must not block.

use quorate_types::ResourceName;

use crate::fetch::FetchError;

/// Hears how the keys of issuers are doing.
pub trait Observer: Send + Sync + 'static {
    /// Keys were fetched: how many can check signatures, and how many of the set cannot. None at all means that every
    /// token of the issuer is refused.
    fn keys_fetched(&self, _issuer: &ResourceName, _keys: usize, _skipped: usize) {}

    /// Keys could not be fetched, for the `failures`-th time in a row; the last ones serve on.
    fn keys_failed(&self, _issuer: &ResourceName, _failures: u32, _error: &FetchError) {}

    /// Keys could not be fetched for too long: none are trusted until they can.
    fn keys_forgotten(&self, _issuer: &ResourceName) {}

    /// An introspection endpoint could not be asked, or its answer not be read.
    fn introspection_failed(&self, _issuer: &ResourceName, _error: &FetchError) {}
}

/// Hears nothing: for tests and tools.
impl Observer for () {}
