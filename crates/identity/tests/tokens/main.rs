//! Tokens of issuers, whole: `Issuers` with real signatures, real sockets, and a clock that the test moves.
//!
//! `signed` is about tokens, `keys` about where keys come from, `introspection` about tokens that only their issuer can
//! read; `support` is an issuer that the tests control.

mod introspection;
mod keys;
mod signed;
mod support;
