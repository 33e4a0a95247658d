//! Interoperability: which client shows which feature of which server, directly and through the gateway.
//!
//! A [`Plan`] names what a server offers to show each feature with; a [`Client`] is a library in one of its modes; a
//! [`Job`] is one client's features with one server, which one of the [`Drivers`] does, printing a line of JSON for each;
//! a [`Matrix`] collects the [`Outcome`]s; [`render`] makes the page of them. Starting servers and deciding who calls
//! whom is the test's part (`interop/main.rs`); the rules for red cells are pure and tested without a process.

mod client;
mod driver;
mod matrix;
mod page;
mod plan;

pub use client::{Client, Library, Mode, clients};
pub use driver::{Child, Driver, Drivers, Job, Target};
pub use matrix::{Cell, Known, Matrix, Outcome, Verdict, Way};
pub use page::{Section, render, version};
pub use plan::{FEATURES, Feature, Plan};
