//! Begun.
//!
//! See Cargo.toml.
