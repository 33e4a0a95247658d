//! What a node has of its cluster, read without the others, and made a cluster of that node alone.
//!
//! The meta group's replica has the catalog; each shard's has what its machine keeps. A shard without a replica here is not
//! read and not written: it begins empty when the node is started. Knows nothing of folders but where logs and snapshots are.

use std::collections::BTreeSet;
use std::path::Path;

use quorate_catalog::{Catalog, Recovery, Refusal};
use quorate_raft::{Found, RecoverError, Survivor};
use quorate_wal::{GroupId, Wal};

use crate::control::{META, Machines};
use crate::meta::{Meta, Shared};

/// What a node has of its cluster.
pub struct Survey {
    shared: Shared,
    /// The meta group, then the shards.
    replicas: Vec<Survivor>,
}

/// A node has no cluster that can be made one of its own.
#[derive(Debug, thiserror::Error)]
pub enum SurveyError {
    /// A replica cannot be read or written.
    #[error(transparent)]
    Replica(#[from] RecoverError),
    /// The node never had the catalog.
    #[error(
        "the node has no catalog: it was never told what the cluster has, so that there is nothing to recover. Recover \
         another node, or start this one with an empty folder"
    )]
    NoCatalog,
    /// The catalog cannot be that of the new cluster.
    #[error("the catalog cannot be made that of a new cluster: {0}")]
    Catalog(#[from] Refusal),
}

// === impl Survey ===

impl Survey {
    /// Reads all replicas of a node that does not run.
    ///
    /// # Errors
    /// [`SurveyError`] when one is not what was written, or there is no catalog.
    pub async fn read(wal: &Wal, snapshots: &Path, machines: &Machines, level_max: u32) -> Result<Self, SurveyError> {
        let shared = Shared::new();
        let meta = Survivor::read(wal, META, snapshots, Box::new(Meta(shared.clone())), level_max).await?;
        let (Some(meta), Some(_)) = (meta, shared.catalog().cluster()) else { return Err(SurveyError::NoCatalog) };
        let mut replicas = vec![meta];
        for group in wal.groups().into_iter().filter(|group| *group != META) {
            let machine = machines(group);
            replicas.extend(Survivor::read(wal, group, snapshots, machine, level_max).await?);
        }
        Ok(Self { shared, replicas })
    }

    /// The catalog, as far as the node has it.
    #[must_use]
    pub fn catalog(&self) -> Catalog {
        self.shared.catalog()
    }

    /// How far each replica is: the meta group, then the shards by number.
    pub fn found(&self) -> impl Iterator<Item = &Found> {
        self.replicas.iter().map(Survivor::found)
    }

    /// The shards that the node has no replica of.
    #[must_use]
    pub fn missing(&self) -> BTreeSet<GroupId> {
        let here: BTreeSet<GroupId> = self.found().map(|found| found.group).collect();
        let shards = self.catalog().shards().map(|shard| GroupId(shard.number)).collect::<BTreeSet<_>>();
        shards.difference(&here).copied().collect()
    }

    /// Writes all replicas as those of a new cluster of one node, whose catalog `change` completes, into a log and a folder
    /// that are empty; durable when this returns.
    ///
    /// # Errors
    /// [`SurveyError`]; what was written is of no use then.
    pub async fn write(
        self,
        recovery: &Recovery,
        change: impl FnOnce(&mut Catalog) -> Result<(), Refusal>,
        wal: &Wal,
        snapshots: &Path,
    ) -> Result<(), SurveyError> {
        let mut catalog = self.shared.catalog().recovered(recovery)?;
        change(&mut catalog)?;
        self.shared.replace(catalog);
        for replica in self.replicas {
            replica.write(recovery.node, wal, snapshots).await?;
        }
        Ok(())
    }
}
