//! The ractor actors: thin shells around the pure machines, and their supervisors.
//!
//! ```text
//! Node ─┬─ Supervisor<Ingress> ── Ingress        one per listener
//!       ├─ Supervisor<Backend> ── Backend        one per tool server
//!       └─ Shard (Sessions) ───── Session        one per live MCP session
//! ```
//!
//! Every actor exposes a cloneable handle with methods; channels stay private. Mailboxes of
//! ractor are unbounded, so whatever adds work is bounded before it is sent: requests by the
//! listener's and the tool server's concurrency, frames by the permit to read on.
//! [`upstream`] is our MCP client towards tool servers; [`listing`] caches what they list;
//! [`bridge`] keeps upstream sessions on behalf of stateless clients.

pub mod backend;
pub mod bridge;
pub mod clock;
pub mod entropy;
pub mod ingress;
pub mod listing;
pub mod node;
pub mod places;
pub mod provider;
pub mod restarts;
pub mod session;
pub mod shard;
pub mod shards;
pub mod supervisor;
pub mod upstream;
