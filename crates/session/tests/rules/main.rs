//! The rules of a session, one by one: an event, and exactly the effects that it has.
//!
//! One file per party: how POSTs are answered, what clients may resume, what backends may ask, how
//! calls are parked, how legs come and go, how a session ends. The numbers in lines are minted in order: calls, streams
//! (`s`), attachments (`a`), epochs of legs (`@`).

mod answers;
mod asks;
mod ends;
mod legs;
mod parking;
mod regressions;
mod resting;
mod resumption;
#[path = "../support/mod.rs"]
mod support;
mod upstream;
