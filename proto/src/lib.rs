//! What nodes say to each other, to operators and to their own disks, in protobuf: the only forms that outlive a process.
//!
//! Nodes of two successive versions work together, and a disk outlives many: fields are added, never changed or reused.
//! Nothing here decides anything; who reads a message checks it.

#![allow(
    missing_docs,
    clippy::missing_errors_doc,
    clippy::large_enum_variant,
    reason = "generated from the comments of the .proto files"
)]

/// The API that operators use.
pub mod admin {
    /// Version 1.
    pub mod v1 {
        include!(concat!(env!("OUT_DIR"), "/quorate.admin.v1.rs"));
    }
}

/// What the meta group's machine takes and keeps.
pub mod catalog {
    /// Version 1.
    pub mod v1 {
        include!(concat!(env!("OUT_DIR"), "/quorate.catalog.v1.rs"));
    }
}

/// The identity of a data folder, and what a node gets when it joins.
pub mod membership {
    /// Version 1.
    pub mod v1 {
        include!(concat!(env!("OUT_DIR"), "/quorate.membership.v1.rs"));
    }
}

/// What nodes say to each other.
pub mod peer {
    /// Version 1.
    pub mod v1 {
        include!(concat!(env!("OUT_DIR"), "/quorate.peer.v1.rs"));
    }
}

/// What consensus keeps in the log and says to its peers.
pub mod raft {
    /// Version 1.
    pub mod v1 {
        include!(concat!(env!("OUT_DIR"), "/quorate.raft.v1.rs"));
    }
}

/// What a client's node and the owner of its session say to each other.
pub mod relay {
    /// Version 1.
    pub mod v1 {
        include!(concat!(env!("OUT_DIR"), "/quorate.relay.v1.rs"));
    }
}

/// What the shard groups keep of sessions.
pub mod session {
    /// Version 1.
    pub mod v1 {
        include!(concat!(env!("OUT_DIR"), "/quorate.session.v1.rs"));
    }
}
