//! Members over real sockets and real certificates: who is taken, who is refused and why, and how one becomes a member.
//!
//! One program for all of it, because its parts share a small world: authorities, nodes with their credentials, and a
//! handshake whose outcome is looked at from both ends.

#![cfg(test)]

mod authority;
mod files;
mod handshake;
mod home;
mod join;
mod world;
