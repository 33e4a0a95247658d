//! The control plane of a node: the catalog as all nodes have it, and the groups of the node made what it says.
//!
//! ```text
//! Control::command ─▶ meta group ─▶ Meta (catalog) ─▶ changed ─┬▶ peers: who there is, and where
//!                                                              ├▶ replicas: open what is placed here, forget what is not
//!                                                              ├▶ meta voters (by its leader)
//!                                                              ├▶ placement (by the meta group's leader): one move at a time
//!                                                              ├▶ moves (by each shard's leader): learn, vote, leave
//!                                                              └▶ leaders: level them over the nodes
//! ```
//!
//! Everything is reconciled: what is compared with what shall be, and one step is done; whoever takes over goes on from what
//! it finds. What the steps are is decided by pure functions ([`mod@step`], [`mod@voters`], [`mod@levelling`]). Unknown here:
//! certificates, files, what a shard's machine does, and how an operator asks.

mod control;
mod levelling;
mod meta;
mod reconcile;
mod recover;
mod step;
mod unopened;
mod voters;

pub use control::{CommandError, Config, Control, META, Machines};
pub use recover::{Survey, SurveyError};
