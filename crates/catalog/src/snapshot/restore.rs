//! Reads a snapshot, and believes nothing of it.
//!
//! Every record passes the checks that commands pass, and what belongs together is held against each other: order, numbers,
//! references, limits, and whether history leads to the documents of now. Arbitrary bytes end in an error, never in a panic
//! or in a state that commands could not have made; memory grows with what was read, not with what was announced.

use std::collections::{BTreeMap, VecDeque};
use std::io::{self, Read};
use std::sync::Arc;

use bytes::Bytes;
use prost::Message as _;
use quorate_types::{ClusterId, NodeId, Timestamp};
use sha2::{Digest as _, Sha256};

use super::{RECORD_BYTES_MAX, VERSION};
use crate::alarm::Alarm;
use crate::catalog::{Catalog, key_id};
use crate::check;
use crate::cluster::Cluster;
use crate::content::{Contents, Digest};
use crate::document::{self, DocumentKey, Labels, Version};
use crate::documents::{Documents, Set};
use crate::key::Key;
use crate::limits::{GROUPS_MAX, Limits, REPLICATION_MAX, STAGE_PART_BYTES_MAX};
use crate::node::Node;
use crate::operator::Operator;
use crate::proto::{self, record};
use crate::refusal::Refusal;
use crate::revision::{Change, Revision, Stamp};
use crate::shard::Shard;
use crate::stage::Stage;
use crate::token::Token;

/// Why a snapshot is not taken.
#[derive(Debug, thiserror::Error)]
pub enum RestoreError {
    /// It could not be read, or ends too early.
    #[error("record {record} cannot be read")]
    Read {
        /// How many records were read before.
        record: u64,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// It is not a snapshot of this form.
    #[error("record {record} is not what a snapshot has there: {what}")]
    Form {
        /// How many records were read before.
        record: u64,
        /// What is wrong.
        what: &'static str,
    },
    /// A record breaks a rule for single fields.
    #[error("record {record} is not valid")]
    Invalid {
        /// How many records were read before.
        record: u64,
        /// The rule.
        #[source]
        source: Refusal,
    },
    /// The records are valid and do not fit together.
    #[error("the state is not one that commands make: {what}")]
    Inconsistent {
        /// What does not fit.
        what: &'static str,
    },
}

/// What is wrong with one record.
enum Fault {
    Form(&'static str),
    Invalid(Refusal),
}

/// A state of which some records were read.
#[derive(Default)]
struct Builder {
    /// The field number of the last record: they only grow, but for what belongs to the record before it.
    phase: u32,
    catalog: Catalog,
    revision: u64,
    nodes: BTreeMap<NodeId, Node>,
    contents: Contents,
    current: Set,
    history: VecDeque<Revision>,
    /// A revision of which changes are missing.
    open: Option<(proto::Revision, Vec<Change>)>,
    /// A stage of which parts are missing, and how many.
    open_stage: Option<(Stage, u32)>,
}

// === impl Catalog ===

impl Catalog {
    /// Reads a state that [`Catalog::write_snapshot`] wrote, to the end of `from`. Small pieces are read, so `from` should
    /// be buffered.
    ///
    /// # Errors
    /// [`RestoreError`] says which record is wrong, or what does not fit together.
    pub fn restore(from: &mut dyn Read) -> Result<Self, RestoreError> {
        let mut hash = Sha256::new();
        let mut builder = Builder::default();
        for count in 0.. {
            let frame = read_frame(from).map_err(|source| RestoreError::Read { record: count, source })?;
            let form = |what| RestoreError::Form { record: count, what };
            let record = proto::Record::decode(frame.body.clone()).map_err(|_| form("no record"))?;
            let taken = match record.kind {
                None => Err(Fault::Form("a record of a version to come")),
                Some(record::Kind::Trailer(trailer)) => {
                    let sha256: [u8; 32] = hash.finalize().into();
                    if trailer.records != count || trailer.sha256[..] != sha256 {
                        return Err(form("a trailer of other records"));
                    }
                    return match from.read(&mut [0]) {
                        Ok(0) => builder.finish(),
                        Ok(_) => Err(form("more after the trailer")),
                        Err(source) => Err(RestoreError::Read { record: count, source }),
                    };
                }
                Some(kind) => builder.take(kind),
            };
            taken.map_err(|fault| match fault {
                Fault::Form(what) => form(what),
                Fault::Invalid(source) => RestoreError::Invalid { record: count, source },
            })?;
            hash.update(&frame.length[..frame.length_bytes]);
            hash.update(&frame.body);
        }
        unreachable!("the loop ends with the bytes, at the latest")
    }
}

/// A record with the length before it, as they were read.
struct Frame {
    length: [u8; 10],
    length_bytes: usize,
    body: Bytes,
}

fn read_frame(from: &mut dyn Read) -> io::Result<Frame> {
    let mut length = [0; 10];
    let mut length_bytes = 0;
    let invalid = |what| Err(io::Error::new(io::ErrorKind::InvalidData, what));
    loop {
        let Some(byte) = length.get_mut(length_bytes..=length_bytes) else { return invalid("a length without an end") };
        from.read_exact(byte)?;
        length_bytes += 1;
        if length[length_bytes - 1] < 0x80 {
            break;
        }
    }
    let size = match prost::encoding::decode_varint(&mut &length[..length_bytes]) {
        Ok(size) if size <= RECORD_BYTES_MAX => size,
        Ok(_) | Err(_) => return invalid("a record that is longer than any"),
    };
    // The limit of records is small enough to believe one length at a time.
    let mut body = Vec::with_capacity(usize::try_from(size).unwrap_or_default());
    from.take(size).read_to_end(&mut body)?;
    if (body.len() as u64) < size {
        return Err(io::ErrorKind::UnexpectedEof.into());
    }
    Ok(Frame { length, length_bytes, body: body.into() })
}

// === impl Builder ===

impl Builder {
    fn take(&mut self, kind: record::Kind) -> Result<(), Fault> {
        self.enter(&kind)?;
        match kind {
            record::Kind::Header(header) => self.take_header(&header),
            record::Kind::Node(node) => {
                let node = Node::from_proto(&node)?;
                push(&mut self.nodes, node.id, node)
            }
            record::Kind::Token(token) => {
                let token = Token::from_proto(&token)?;
                push(Arc::make_mut(&mut self.catalog.tokens), token.id, token)
            }
            record::Kind::Shard(shard) => {
                let shard = Shard::from_proto(&shard)?;
                push(Arc::make_mut(&mut self.catalog.shards), shard.number, shard)
            }
            record::Kind::Key(key) => {
                let key = Key::from_proto(&key)?;
                push(Arc::make_mut(&mut self.catalog.keys), key_id(&key), key)
            }
            record::Kind::Alarm(alarm) => {
                let alarm = Alarm::from_proto(&alarm)?;
                push(Arc::make_mut(&mut self.catalog.alarms), (alarm.node, alarm.kind.clone()), alarm)
            }
            record::Kind::Content(content) => self.take_content(&content),
            record::Kind::Document(document) => {
                let key = DocumentKey::from_proto(document.key.as_ref())?;
                let version =
                    self.version(document.version.as_ref().ok_or(Fault::Form("a document without a version"))?)?;
                push(&mut self.current, key, version)
            }
            record::Kind::Revision(revision) => self.take_revision(revision),
            record::Kind::Change(change) => self.take_change(&change),
            record::Kind::Stage(stage) => {
                self.open_stage = Some((Stage::from_proto(&stage)?, stage.parts));
                self.close_stage()
            }
            record::Kind::StageData(data) => self.take_stage_data(&data),
            record::Kind::Operator(operator) => {
                let operator = Operator::from_proto(&operator)?;
                push(Arc::make_mut(&mut self.catalog.operators), operator.id, operator)
            }
            record::Kind::Trailer(_) => Err(Fault::Form("a second trailer")),
        }
    }

    /// Holds the order of records: nothing comes before what it needs, and what was begun is ended first.
    fn enter(&mut self, kind: &record::Kind) -> Result<(), Fault> {
        let phase = match kind {
            record::Kind::Header(_) => 1,
            record::Kind::Node(_) => 2,
            record::Kind::Token(_) => 3,
            record::Kind::Shard(_) => 4,
            record::Kind::Key(_) => 5,
            record::Kind::Alarm(_) => 6,
            record::Kind::Content(_) => 7,
            record::Kind::Document(_) => 8,
            record::Kind::Revision(_) | record::Kind::Change(_) => 9,
            record::Kind::Stage(_) | record::Kind::StageData(_) => 11,
            record::Kind::Operator(_) => 13,
            record::Kind::Trailer(_) => 15,
        };
        let first = self.phase == 0;
        if first != (phase == 1) || phase < self.phase {
            return Err(Fault::Form("a record out of order"));
        }
        if self.open.is_some() != matches!(kind, record::Kind::Change(_)) {
            return Err(Fault::Form("other changes than were announced"));
        }
        if self.open_stage.is_some() != matches!(kind, record::Kind::StageData(_)) {
            return Err(Fault::Form("other parts than were announced"));
        }
        if phase > 1 && self.catalog.cluster.is_none() {
            return Err(Fault::Form("a record without a cluster"));
        }
        self.phase = phase;
        Ok(())
    }

    fn take_header(&mut self, header: &proto::Header) -> Result<(), Fault> {
        if header.version != VERSION {
            return Err(Fault::Form("a snapshot of another form"));
        }
        self.catalog.time = Timestamp::from_millis(header.time);
        self.catalog.next_node = header.next_node;
        self.catalog.forgotten = header.forgotten;
        self.catalog.map_version = header.map_version;
        self.revision = header.revision;
        if header.cluster.is_empty() {
            let empty = proto::Header { version: VERSION, ..proto::Header::default() };
            return if *header == empty { Ok(()) } else { Err(Fault::Form("a state without a cluster")) };
        }
        let limits = header.limits.as_ref().ok_or(Fault::Form("a cluster without limits"))?;
        self.catalog.cluster = Some(Cluster {
            id: ClusterId(check::array("cluster", &header.cluster)?),
            level: check::small("level", header.level, 1..=u32::MAX)?,
            created_at: Timestamp::from_millis(header.created_at),
            groups: check::small("groups", header.groups, 1..=GROUPS_MAX)?,
            replication: check::small("replication", header.replication, 1..=REPLICATION_MAX)?,
            limits: Limits::check(limits)?,
        });
        Ok(())
    }

    fn take_content(&mut self, content: &proto::Content) -> Result<(), Fault> {
        let content = document::content(&content.data)?;
        if self.contents.last().is_some_and(|last| last >= content.digest()) {
            return Err(Fault::Form(UNSORTED));
        }
        self.contents.put(content);
        Ok(())
    }

    fn version(&self, version: &proto::Version) -> Result<Version, Fault> {
        let digest = Digest(check::array("sha256", &version.sha256)?);
        let content = self.contents.get(&digest).ok_or(Fault::Form("a document without its content"))?;
        Ok(Version { revision: version.revision, labels: Labels::from_proto(&version.labels)?, content })
    }

    fn take_revision(&mut self, revision: proto::Revision) -> Result<(), Fault> {
        if revision.changes == 0 {
            return Err(Fault::Form("a revision without changes"));
        }
        self.open = Some((revision, Vec::new()));
        Ok(())
    }

    fn take_change(&mut self, change: &proto::Change) -> Result<(), Fault> {
        let version = |version: &Option<proto::Version>| version.as_ref().map(|one| self.version(one)).transpose();
        let key = DocumentKey::from_proto(change.key.as_ref())?;
        let change = Change { key, before: version(&change.before)?, after: version(&change.after)? };
        let Some((revision, changes)) = &mut self.open else { return Err(Fault::Form("a change of no revision")) };
        changes.push(change);
        if changes.len() < revision.changes as usize {
            return Ok(());
        }
        let at = Timestamp::from_millis(revision.at);
        let stamp = Stamp::check(at, &revision.author, &revision.message, revision.rollback_to)?;
        let changes = std::mem::take(changes).into();
        self.history.push_back(Revision { number: revision.revision, stamp: Arc::new(stamp), changes });
        self.open = None;
        Ok(())
    }

    fn take_stage_data(&mut self, part: &proto::StageData) -> Result<(), Fault> {
        let Some((stage, missing)) = &mut self.open_stage else { return Err(Fault::Form("a part of no stage")) };
        if part.data.is_empty() || part.data.len() > STAGE_PART_BYTES_MAX {
            return Err(Fault::Form("a part that is empty or too large"));
        }
        stage.push(&part.data);
        *missing -= 1;
        self.close_stage()
    }

    /// Puts a stage where it belongs when all its parts are there.
    fn close_stage(&mut self) -> Result<(), Fault> {
        let Some((stage, 0)) = &self.open_stage else { return Ok(()) };
        let stage = stage.clone();
        self.open_stage = None;
        push(Arc::make_mut(&mut self.catalog.stages), stage.id, stage)
    }

    fn finish(mut self) -> Result<Catalog, RestoreError> {
        let inconsistent = |what| RestoreError::Inconsistent { what };
        if self.phase == 0 || self.open.is_some() || self.open_stage.is_some() {
            return Err(inconsistent("an end within something"));
        }
        self.catalog.nodes = Arc::new(self.nodes);
        let documents = Documents::restore(self.contents, self.current, self.history, self.revision);
        self.catalog.documents = documents.map_err(inconsistent)?;
        self.catalog.check().map_err(inconsistent)?;
        Ok(self.catalog)
    }
}

const UNSORTED: &str = "a record that does not come after the one before it";

/// Adds what comes after everything that is there.
fn push<K: Ord, V>(map: &mut BTreeMap<K, V>, key: K, value: V) -> Result<(), Fault> {
    if map.last_key_value().is_some_and(|(last, _)| *last >= key) {
        return Err(Fault::Form(UNSORTED));
    }
    map.insert(key, value);
    Ok(())
}

// === impl Fault ===

impl From<Refusal> for Fault {
    fn from(refusal: Refusal) -> Self {
        Self::Invalid(refusal)
    }
}
