//! What can go wrong with a log, one enum per operation.
//!
//! Errors name the file, the place in it or the limit, and say what an operator can do where there is something to do. That
//! a log has failed is final: whoever holds it is told the first reason, and the same one each time.

use std::io;

use crate::block::GroupId;
use crate::config::InvalidConfig;
use crate::space::Space;

/// A log could not be opened.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// The settings cannot work.
    #[error(transparent)]
    Config(#[from] InvalidConfig),
    /// The disk failed: nothing is known of the log, which may be good.
    #[error("{file} cannot be read or made")]
    Disk {
        /// The file, or the folder.
        file: String,
        /// What the system says.
        #[source]
        source: io::Error,
    },
    /// What is written is not what was: the log must not be used, and its replicas must not vote.
    #[error(
        "{file} is corrupt at byte {offset}: {what}. Nothing of this log can be trusted any more: keep the folder for \
         an inquiry, start the node with an empty one, and let it join as a new replica"
    )]
    Corrupt {
        /// The file.
        file: String,
        /// Where in it.
        offset: u64,
        /// What does not hold.
        what: &'static str,
    },
    /// The folder has the log of another node, or of an older life of this one.
    #[error("{file} belongs to another log ({found:032x}, expected {expected:032x})")]
    Foreign {
        /// The file.
        file: String,
        /// The log it belongs to.
        found: u128,
        /// The one that was to be opened.
        expected: u128,
    },
    /// The folder has no log, and the caller said that there must be one.
    #[error("there is no log")]
    Missing,
    /// A newer program wrote it.
    #[error("{file} has format {found}, and this program knows {known}")]
    Version {
        /// The file.
        file: String,
        /// Its format.
        found: u32,
        /// The newest one known.
        known: u32,
    },
}

/// Something was not taken. Nothing of it is in the log.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SubmitError {
    /// An entry is not the one behind the last: the caller's view of the log is wrong.
    #[error("{group}: entry {index} was submitted, {expected} is the next")]
    NotNext {
        /// The group.
        group: GroupId,
        /// The entry's index.
        index: u64,
        /// What would be the next.
        expected: u64,
    },
    /// What is to be truncated was purged before, or is beyond the log.
    #[error("{group}: cannot truncate from {from} on, the log is {first} to before {next}")]
    Outside {
        /// The group.
        group: GroupId,
        /// The first that was to go.
        from: u64,
        /// The first entry.
        first: u64,
        /// The index behind the last.
        next: u64,
    },
    /// An entry or slot is larger than allowed.
    #[error("{group}: a payload of {bytes} bytes, at most {max} are allowed")]
    TooLarge {
        /// The group.
        group: GroupId,
        /// Its size.
        bytes: usize,
        /// The limit.
        max: usize,
    },
    /// More waits to be written than allowed: the disk is slower than the caller.
    #[error("{bytes} bytes wait to be written, at most {max} are allowed")]
    QueueFull {
        /// What waits.
        bytes: usize,
        /// The limit.
        max: usize,
    },
    /// There is no room for new entries, for now: everything else is taken, and entries are again once there is.
    #[error("{group}: no new entries while the disk is full: space is {space:?}, {} bytes are free", shown(*free))]
    DiskFull {
        /// The group.
        group: GroupId,
        /// How scarce space is.
        space: Space,
        /// Bytes that the file system has free; none when it does not say. May be many, where a quota is used up.
        free: Option<u64>,
    },
    /// The log failed, or was closed.
    #[error(transparent)]
    Failed(#[from] Failed),
}

/// Entries could not be read.
#[derive(Debug, thiserror::Error)]
pub enum ReadError {
    /// The log does not have them.
    #[error("{group}: entries {from} to before {to} were asked for, the log is {first} to before {next}")]
    Outside {
        /// The group.
        group: GroupId,
        /// The first that was asked for.
        from: u64,
        /// The one behind the last.
        to: u64,
        /// The first entry there is.
        first: u64,
        /// The index behind the last.
        next: u64,
    },
    /// The disk failed.
    #[error("{file} cannot be read")]
    Disk {
        /// The file.
        file: String,
        /// What the system says.
        #[source]
        source: io::Error,
    },
    /// What was read is not what was written: the replica must not be used any more.
    #[error("{file} is corrupt at byte {offset}: entry {index} of {group} has another checksum")]
    Corrupt {
        /// The file.
        file: String,
        /// Where in it.
        offset: u64,
        /// The group.
        group: GroupId,
        /// The entry.
        index: u64,
    },
}

/// The log takes nothing more, for good. What was submitted and not reported done may or may not be on the disk.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the log ended: {reason}")]
pub struct Failed {
    /// Why: what failed, or that it was closed.
    pub reason: String,
}

fn shown(bytes: Option<u64>) -> String {
    bytes.map_or_else(|| "unknown".to_owned(), |bytes| bytes.to_string())
}
