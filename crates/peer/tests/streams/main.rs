//! Streams between nodes over real sockets with real certificates.
//!
//! Each node has a runtime of its own, so that it can be killed. `carrying` is about requests and answers, `takeover` about
//! ends and beginnings of streams, `refusals` about members that are not wanted, `strangers` about who is no member,
//! `rotation` about certificates that change, `board` about what spreads, `exchanges` about long streams of messages.

#![cfg(test)]

mod board;
mod carrying;
mod exchanges;
mod proxy;
mod refusals;
mod rotation;
mod strangers;
mod takeover;
mod world;
