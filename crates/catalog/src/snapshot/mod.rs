//! Snapshots: the state as records that are written one by one, and its hash.
//!
//! A record is a protobuf message with its length before it, as in `proto/quorate/catalog/v1/catalog.proto`, so that
//! neither who writes nor who reads holds a second copy of the state. The order is fixed, so equal states are equal bytes.
//!
//! [`Catalog::hash`] runs over the same records, but takes texts by their digests: its time grows with the number of
//! documents and changes, not with their bytes.

mod restore;
mod write;

pub use restore::RestoreError;

use std::io;

use crate::catalog::Catalog;
use crate::proto::{self, record};

/// The version of the form.
pub(crate) const VERSION: u32 = 1;
/// The largest record: a document, a part of a stage, or what else is smaller, with room for what is around it.
pub(crate) const RECORD_BYTES_MAX: u64 = 512 * 1024;

/// Takes the records of a state.
type Sink<'a> = &'a mut dyn FnMut(record::Kind) -> io::Result<()>;

// === impl Catalog ===

impl Catalog {
    /// Hands out every record but the trailer, in order.
    fn visit(&self, sink: Sink<'_>) -> io::Result<()> {
        sink(record::Kind::Header(self.header()))?;
        self.nodes.values().try_for_each(|node| sink(record::Kind::Node(node.to_proto())))?;
        self.tokens.values().try_for_each(|token| sink(record::Kind::Token(token.to_proto())))?;
        self.shards.values().try_for_each(|shard| sink(record::Kind::Shard(shard.to_proto())))?;
        self.keys.values().try_for_each(|key| sink(record::Kind::Key(key.to_proto())))?;
        self.alarms.values().try_for_each(|alarm| sink(record::Kind::Alarm(alarm.to_proto())))?;
        for content in self.documents.contents().iter() {
            sink(record::Kind::Content(proto::Content { data: content.data().clone() }))?;
        }
        for (key, version) in self.documents.current() {
            let (key, version) = (Some(key.to_proto()), Some(version.to_proto()));
            sink(record::Kind::Document(proto::Document { key, version }))?;
        }
        for revision in self.documents.history() {
            sink(record::Kind::Revision(revision.to_proto()))?;
            revision.changes.iter().try_for_each(|change| sink(record::Kind::Change(change.to_proto())))?;
        }
        for stage in self.stages.values() {
            sink(record::Kind::Stage(stage.to_proto()))?;
            for (_, data) in &stage.parts {
                sink(record::Kind::StageData(proto::StageData { data: data.clone() }))?;
            }
        }
        self.operators.values().try_for_each(|operator| sink(record::Kind::Operator(operator.to_proto())))
    }

    fn header(&self) -> proto::Header {
        let header = proto::Header {
            version: VERSION,
            time: self.time.as_millis(),
            next_node: self.next_node,
            forgotten: self.forgotten,
            map_version: self.map_version,
            revision: self.documents.revision(),
            ..proto::Header::default()
        };
        let Some(cluster) = &self.cluster else { return header };
        proto::Header {
            cluster: cluster.id.0.to_vec().into(),
            level: cluster.level,
            created_at: cluster.created_at.as_millis(),
            groups: cluster.groups,
            replication: cluster.replication,
            limits: Some(cluster.limits.to_proto()),
            ..header
        }
    }
}
