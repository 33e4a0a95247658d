//! The state that all nodes share: the pure machine of the meta group.
//!
//! ```text
//!   command (bytes) ─▶ ┌─────────┐ ─▶ outcome (bytes), effects
//!   time of the log ─▶ │ Catalog │ ─▶ reads: nodes, shards, documents of now and of history, …
//!   snapshot ◀───────▶ └─────────┘ ─▶ hash
//! ```
//!
//! [`Catalog::apply`] takes the commands of the meta group's log. It is total and deterministic: the same commands make the
//! same state, outcomes and [`Catalog::hash`] on every node. Whatever breaks a rule of
//! `proto/quorate/catalog/v1/catalog.proto` is refused, and a [`Refusal`] changes nothing.
//!
//! A clone shares everything with its original: it is how readers and snapshots get a state that stays as it is. A change
//! copies the table that it changes while a clone still has it, and never a document.
//!
//! Unknown here: consensus, clocks (`now` is the log's), what documents mean, and secrets (keys are sealed, tokens hashed).

#![warn(clippy::wildcard_enum_match_arm)]

mod alarm;
mod catalog;
mod check;
mod cluster;
mod content;
mod diff;
mod document;
mod documents;
mod effect;
mod json;
mod key;
mod limits;
mod list;
mod moves;
mod node;
mod operator;
mod plan;
mod refusal;
mod revision;
mod shard;
mod snapshot;
mod stage;
mod token;

pub use quorate_proto::catalog::v1 as proto;

pub use alarm::Alarm;
pub use catalog::{Applied, Catalog, Recovery};
pub use cluster::Cluster;
pub use content::{Content, Digest};
pub use diff::{Changed, Diff, Edit, HIDDEN};
pub use document::{DocumentKey, Labels, Version};
pub use effect::Effect;
pub use json::{NotCanonical, canonical};
pub use key::{Key, KeyState};
pub use limits::{
    ALARMS_MAX, COMMAND_BYTES_MAX, DEFAULTS, DOCUMENT_BYTES_MAX, DURABILITY_LEVEL, GROUPS_DEFAULT, GROUPS_MAX,
    KEY_VERSIONS_MAX, KEYS_MAX, Limits, MODELS_LEVEL, NODE_NUMBER_MAX, NODES_MAX, NUMBERS_LEVEL, OPERATORS_KEPT_FOR,
    OPERATORS_LEVEL, OPERATORS_MAX, PAGE_MAX, REMOVED_NODES_MAX, REPLICATION_DEFAULT, REPLICATION_MAX,
    SEALED_BYTES_MAX, STAGE_IDLE_MAX, STAGE_PART_BYTES_MAX, STAGED_BYTES_MAX, STAGES_MAX, TOKENS_MAX, TOKENS_TOLD_FOR,
};
pub use list::{Page, Query};
pub use moves::Move;
pub use node::{Addresses, Certificate, Levels, Life, Node, NodeState};
pub use operator::{Operator, OperatorId};
pub use plan::{StageId, commands, outcome};
pub use refusal::Refusal;
pub use revision::{Change, Revision};
pub use shard::Shard;
pub use snapshot::RestoreError;
pub use token::{Token, TokenId, TokenState};
