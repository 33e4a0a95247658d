//! What the API promises to who operates a cluster, and to everybody else who connects: over real sockets, with real clients.

mod access;
mod client;
mod connections;
mod counter;
mod folders;
mod nodes;
mod operators;
mod world;
