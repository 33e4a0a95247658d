//! How much of everything there may be, and why.
//!
//! What operators can change is [`Limits`], a part of the state, so that every node has the same; everything else is a
//! constant, and part of what a feature level means: changing one needs a new level.

use std::ops::RangeInclusive;
use std::time::Duration;

use crate::check::{Checked, within};
use crate::proto;

/// The largest command: an entry of the log, behind which others wait.
pub const COMMAND_BYTES_MAX: usize = 256 * 1024;
/// The largest document: it has to be read, compared and shown as one piece.
pub const DOCUMENT_BYTES_MAX: usize = 256 * 1024;
/// Nodes that are not removed: each has a stream to each other one.
pub const NODES_MAX: usize = 128;
/// Removed nodes that are told of; beyond that those with the lowest numbers are forgotten.
pub const REMOVED_NODES_MAX: usize = 1_024;
/// Certificates of a node: one, its successor, and both again under another authority.
pub(crate) const CERTIFICATES_MAX: usize = 4;
/// Shard groups: each costs heartbeats whether it is used or not.
pub const GROUPS_MAX: u32 = 256;
/// Shard groups where nobody says how many.
pub const GROUPS_DEFAULT: u32 = 32;
/// Replicas of a shard; more only make commits slower.
pub const REPLICATION_MAX: u32 = 9;
/// Replicas of a shard where nobody says how many: one node may be lost.
pub const REPLICATION_DEFAULT: u32 = 3;
/// Tokens that can be used: more than anybody adds nodes.
pub const TOKENS_MAX: usize = 1_000;
/// Tokens that are known, those included that cannot be used any more and are only told of.
pub(crate) const TOKENS_KEPT_MAX: usize = 2 * TOKENS_MAX;
/// How long after its expiry a token is told from one that never was.
pub const TOKENS_TOLD_FOR: Duration = Duration::from_hours(24);
/// Sealed bytes of a key: the largest are private keys of authorities (RSA 4096 in DER is 2.4 KiB).
pub const SEALED_BYTES_MAX: usize = 4 * 1024;
/// Versions of all keys.
pub const KEYS_MAX: usize = 1_024;
/// Versions of one key; the retired ones that are oldest go first.
pub const KEY_VERSIONS_MAX: usize = 16;
/// The feature level from which on certificates of operators are listed and taken back.
pub const OPERATORS_LEVEL: u32 = 2;
/// The feature level from which on a node may come with the number of its own certificate.
pub const NUMBERS_LEVEL: u32 = 3;
/// The feature level from which on documents of toolsets may say what is kept of what is in flight: no earlier program reads
/// the key `durability`.
pub const DURABILITY_LEVEL: u32 = 3;
/// The feature level from which on there are documents of the kinds `Provider` and `Model`.
pub const MODELS_LEVEL: u32 = 3;
/// The largest number that a node may come with: far below where numbers end, so that there is always a next one.
pub const NODE_NUMBER_MAX: u64 = u32::MAX as u64;
/// Certificates of operators that are good: programs that get one a day each are among them.
pub const OPERATORS_MAX: usize = 1_000;
/// The same with those that were revoked: to take one back that was never listed must not fail because many were issued.
pub(crate) const OPERATORS_REVOKED_MAX: usize = 2 * OPERATORS_MAX;
/// How long after its end a certificate is listed that was not taken back: clocks do not differ by more.
pub const OPERATORS_KEPT_FOR: Duration = Duration::from_hours(24);
/// The serial number of a certificate (RFC 5280 §4.1.2.2).
pub(crate) const SERIAL_BYTES_MAX: usize = 20;
/// Alarms that are on: two for each node.
pub const ALARMS_MAX: usize = 256;
/// Stages that are open: one for each operator who applies at the moment.
pub const STAGES_MAX: usize = 8;
/// The bytes of all open stages: the largest set by default, its keys and labels, and half of that again.
pub const STAGED_BYTES_MAX: u64 = 96 * 1024 * 1024;
/// A part of a stage: a command with room for what is around it.
pub const STAGE_PART_BYTES_MAX: usize = 192 * 1024;
/// Parts of a stage: four times as many as the largest takes at least.
pub(crate) const STAGE_PARTS_MAX: usize = 2_048;
/// How long a stage waits for its next part: longer than a cluster that elects is away.
pub const STAGE_IDLE_MAX: Duration = Duration::from_mins(10);
/// Documents on a page.
pub const PAGE_MAX: usize = 1_000;
/// Labels of a document.
pub(crate) const LABELS_MAX: usize = 16;
/// The value of a label: a URL of a repository.
pub(crate) const LABEL_VALUE_BYTES_MAX: usize = 256;
/// Who did something: a SPIFFE id or a subject of an issuer.
pub(crate) const AUTHOR_BYTES_MAX: usize = 256;
/// What somebody says about a revision: a commit message.
pub(crate) const MESSAGE_BYTES_MAX: usize = 4 * 1024;
/// What an alarm says.
pub(crate) const ALARM_BYTES_MAX: usize = 512;

/// Numbers that are given in order never get there: a million a second would take 146,000 years. A state that claims to is
/// refused, so that the next number always exists.
pub(crate) const NUMBER_MAX: u64 = 1 << 62;

/// What a document or a change takes beside its texts: pointers, numbers and a digest.
pub(crate) const OVERHEAD_BYTES: u64 = 128;

/// What operators can change.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Documents.
    pub documents_max: u64,
    /// All documents together, in bytes, with their keys and labels.
    pub documents_bytes_max: u64,
    /// Revisions whose changes are kept.
    pub revisions_max: u64,
    /// What only history holds, in bytes. The latest revision is kept whatever its size.
    pub history_bytes_max: u64,
}

/// The limits of a cluster that names none: a hundred thousand API keys are a usual set, and a snapshot of everything is
/// sent within seconds.
pub const DEFAULTS: Limits = Limits {
    documents_max: 100_000,
    documents_bytes_max: 64 * 1024 * 1024,
    revisions_max: 1_000,
    history_bytes_max: 64 * 1024 * 1024,
};

const DOCUMENTS: RangeInclusive<u64> = 1..=1_000_000;
const REVISIONS: RangeInclusive<u64> = 1..=100_000;
const BYTES: RangeInclusive<u64> = 1_024..=1_024 * 1_024 * 1_024;

const _: () = {
    assert!(STAGE_PART_BYTES_MAX + 1_024 <= COMMAND_BYTES_MAX);
    assert!(DEFAULTS.documents_bytes_max + DEFAULTS.documents_bytes_max / 2 <= STAGED_BYTES_MAX);
    assert!(DOCUMENT_BYTES_MAX as u64 <= DEFAULTS.documents_bytes_max);
    assert!(STAGED_BYTES_MAX <= STAGE_PARTS_MAX as u64 * STAGE_PART_BYTES_MAX as u64);
    assert!(TOKENS_MAX < TOKENS_KEPT_MAX);
    assert!(OPERATORS_MAX < OPERATORS_REVOKED_MAX);
};

// === impl Limits ===

impl Limits {
    pub(crate) fn check(limits: &proto::Limits) -> Checked<Self> {
        Ok(Self {
            documents_max: within("limits.documents_max", limits.documents_max, &DOCUMENTS)?,
            documents_bytes_max: within("limits.documents_bytes_max", limits.documents_bytes_max, &BYTES)?,
            revisions_max: within("limits.revisions_max", limits.revisions_max, &REVISIONS)?,
            history_bytes_max: within("limits.history_bytes_max", limits.history_bytes_max, &BYTES)?,
        })
    }

    /// Returns the message that says the same.
    #[must_use]
    pub const fn to_proto(self) -> proto::Limits {
        proto::Limits {
            documents_max: self.documents_max,
            documents_bytes_max: self.documents_bytes_max,
            revisions_max: self.revisions_max,
            history_bytes_max: self.history_bytes_max,
        }
    }
}
