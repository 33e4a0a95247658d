//! What a session begins with: what its owner decides, and how it outlives the node.
//!
//! A session is new, or made of its record on a node that did not open it; either way it gets what it needs beside the
//! machine from the gateway.

use std::sync::Arc;

use quorate_session::Config;
use quorate_session::record::{Record, proto};
use quorate_telemetry::Metrics;
use quorate_types::{Principal, PrincipalDigest, TenantId};
use tokio_util::task::TaskTracker;

use super::{Client, Memory, Scope, Translate, Unread};
use crate::backend;
use crate::shards::Owned;

/// The parts of a session that its owner decides.
pub struct Opening {
    /// Its number, drawn at random: never reused.
    pub key: u128,
    /// Its sealed id, as the client knows it.
    pub id: Arc<str>,
    /// Who owns it.
    pub principal: PrincipalDigest,
    /// The tenant that it belongs to.
    pub tenant: TenantId,
    /// What it was opened on.
    pub scope: Scope,
    /// Its owner as it is known now.
    pub owner: Arc<Principal>,
    /// The machine's configuration.
    pub config: Config,
    /// What outlives the node, where anything does.
    pub(crate) keeping: Option<Keeping>,
    /// What the client said at `initialize`; not yet known for HTTP+SSE.
    pub client: Option<Client>,
    /// What rewrites backends' frames for the client.
    pub translate: Arc<dyn Translate>,
    /// What it remembers of its toolset.
    pub memory: Arc<Memory>,
    /// Its part of what its principal's clients have not read.
    pub unread: Unread,
    /// Where numbers go.
    pub metrics: Metrics,
    /// The tasks that tell tool servers of ended sessions, for whoever waits for them.
    pub closes: TaskTracker,
}

/// How a session outlives the node that owns it.
pub(crate) struct Keeping {
    /// The shard, and the term in which it is owned here.
    pub(crate) owned: Owned,
    /// What the record is opened with, or what there is.
    pub(crate) begins: Begins,
}

/// What a session begins with.
pub(crate) enum Begins {
    /// Nothing: it is opened here.
    New(Arc<proto::Charter>),
    /// A record, and how many changes made it.
    Record {
        /// Its version.
        version: u64,
        /// The record.
        record: Arc<Record>,
        /// The backends of its scope.
        servers: Arc<Vec<backend::Handle>>,
    },
}
