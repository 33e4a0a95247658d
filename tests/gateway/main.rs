//! Tests of the gateway as a process: bad clients, bad backends, and what has to go on meanwhile.
//!
//! One file per topic. Each test starts its own `quorate serve` on free ports in front of scripted backends or the
//! fixture, speaks plain bytes to it, and waits for conditions, never for a time to pass.

mod asks;
mod backends;
mod bodies;
mod bridged;
mod configuration;
mod credentials;
mod decided;
mod handles;
mod limits;
mod listen;
mod listing;
mod messages;
mod naming;
mod replicas;
mod resumption;
mod smuggling;
mod sse;
mod tls;
mod walls;

use quorate_tests::raw as support;
