//! Interoperability: which client shows which feature of which server, directly and through the gateway.
//!
//! A [`Plan`] names what a server offers to show each feature with; a [`Client`] is a driver process that tries the
//! features and prints one JSON line each; a [`Matrix`] collects the [`Outcome`]s; [`render`] makes the page of them. Starting
//! servers and drivers is the test's part (`interop/main.rs`); everything here but [`Client::command`] is pure, so
//! that the rules for red cells are tested without a process.

mod client;
mod matrix;
mod page;
mod plan;

pub use client::{Client, Library, Mode, clients};
pub use matrix::{Cell, Known, Matrix, Outcome, Verdict, Way};
pub use page::render;
pub use plan::{FEATURES, Feature, Plan};
