//! Reading certificates strictly, for whoever gives their names another meaning than a SPIFFE id.
//!
//! In flow bytes of a stranger, out flows what a certificate says of itself; nothing is verified here. One reader for all
//! identities of the workspace, so that no two parts disagree about what a certificate says.

pub use crate::certificate::{Facts, KeyUsage};
pub use crate::der::{BIT_STRING, BOOLEAN, INTEGER, Malformed, OCTET_STRING, OID, Reader, SEQUENCE, SET};
