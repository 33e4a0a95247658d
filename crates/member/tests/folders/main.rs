//! What a data folder becomes, and what it never becomes: real sockets, real disks, the cluster's own certificates.

mod files;
mod joining;
mod lasting;
mod world;
