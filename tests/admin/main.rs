//! The admin API of a cluster of real processes, call by call, over TLS as its clients have it.
//!
//! | file         | what is in it                                                                       |
//! |--------------|-------------------------------------------------------------------------------------|
//! | `proto.rs`   | which calls there are and who may make them, as `admin.proto` tells its readers      |
//! | `callers.rs` | operators of each role, those of another cluster, and who has no certificate        |
//! | `verbs.rs`   | each call with a real request: refused to the role below, then made and looked at    |
//! | `sessions.rs`| sessions of clients, as a part of `verbs.rs`                                         |
//! | `refused.rs` | each call by everybody who may not make it, on each node                             |
//!
//! What is expected stands in the comments of `admin.proto`, so that the page that users read is what is tested. A call
//! that is added to it and not made here fails `verbs`.

mod callers;
mod proto;
mod refused;
mod sessions;
mod verbs;
