//! Stateless requests of the gateway's own towards a server: lists, checks, listens.
//!
//! They are made in the latest revision, under our own name, and declare only the capabilities
//! that their answer may need.

use std::sync::atomic::{AtomicU64, Ordering};

use bytes::Bytes;
use quorate_jsonrpc::{Id, build};
use quorate_mcp::Version;
use quorate_mcp::dialect::v2026_07_28::request_meta;

use crate::upstream::SELF;

/// Builds the body of a request of our own in the latest version.
///
/// `capabilities` is a raw object; `members` is JSON text of further members of the parameters,
/// for example `"cursor":"a"`.
#[must_use]
pub fn request(id: u64, method: &str, capabilities: &str, members: Option<&str>) -> Bytes {
    let meta = request_meta(Version::LATEST, capabilities, SELF);
    let params = match members {
        Some(members) => format!("{{\"_meta\":{meta},{members}}}"),
        None => format!("{{\"_meta\":{meta}}}"),
    };
    build::request(&Id::from(id), method, Some(&params))
}

/// Mints a number for the id of a request to a server: unique in this process.
#[must_use]
pub fn mint() -> u64 {
    static NEXT: AtomicU64 = AtomicU64::new(1);
    NEXT.fetch_add(1, Ordering::Relaxed)
}
