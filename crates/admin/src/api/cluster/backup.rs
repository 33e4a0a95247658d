//! The catalog as a file, and documents put back from one.
//!
//! A backup is a snapshot of the catalog as `proto/quorate/catalog/v1/catalog.proto` has it, with a checksum at its end. What is put
//! back is its documents alone and of these no API keys, as one new revision; it may be of another cluster, so that a lost one
//! can be set up again.
//!
//! Neither way holds the file in memory: parts go through a queue of a few, between a thread that encodes and the connection.

use std::io::{self, BufReader, BufWriter, Read, Write};
use std::sync::atomic::{AtomicUsize, Ordering};

use bytes::{Buf as _, Bytes};
use futures_util::Stream;
use quorate_catalog::{Catalog, proto};
use quorate_proto::admin::v1;
use tokio::sync::mpsc;
use tonic::{Code, Status, Streaming};

use super::super::caller::Caller;
use super::super::errors;
use super::super::latest::latest;
use super::super::node::{Documents, Membership};
use super::super::resources::withheld;

/// Bytes of a part that is sent.
const PART_BYTES: usize = 256 << 10;
/// Bytes of a part that is taken.
const PART_BYTES_MAX: usize = 1 << 20;
/// Bytes of a whole file: documents and history may have 1 GiB each, and usually have some MiB.
const FILE_BYTES_MAX: u64 = 1 << 30;
/// Parts that wait.
const PARTS_MAX: usize = 4;

/// Takes bytes to a queue.
struct Sink(mpsc::Sender<Bytes>);

/// Reads bytes of a queue.
struct Source {
    parts: mpsc::Receiver<Bytes>,
    part: Bytes,
}

/// Writes the catalog, with everything that was changed before.
pub(super) async fn write(
    member: &dyn Membership,
) -> Result<impl Stream<Item = Result<v1::BackupChunk, Status>> + Send + use<>, Status> {
    let catalog = latest(member.control()).await.map_err(|error| errors::read(&error))?;
    let (sender, parts) = mpsc::channel(PARTS_MAX);
    let writing = tokio::task::spawn_blocking(move || {
        let mut to = BufWriter::with_capacity(PART_BYTES, Sink(sender));
        catalog.write_snapshot(&mut to).and_then(|()| to.flush())
    });
    Ok(futures_util::stream::unfold((parts, Some(writing)), |(mut parts, mut writing)| async move {
        if let Some(data) = parts.recv().await {
            return Some((Ok(v1::BackupChunk { data }), (parts, writing)));
        }
        // A file that lacks its end must not look whole: the stream then ends in an error.
        match writing.take()?.await {
            Ok(Ok(())) => None,
            Ok(Err(_)) | Err(_) => {
                let status = errors::error(Code::Internal, "BACKUP", "the catalog could not be written to its end");
                Some((Err(status), (parts, None)))
            }
        }
    }))
}

/// Puts the documents of a backup back, as `caller`.
pub(super) async fn restore(
    member: &dyn Membership,
    documents: &dyn Documents,
    caller: &Caller,
    mut chunks: Streaming<v1::RestoreChunk>,
) -> Result<v1::RestoreResponse, Status> {
    let (sender, parts) = mpsc::channel(PARTS_MAX);
    let reading = tokio::task::spawn_blocking(move || {
        Catalog::restore(&mut BufReader::new(Source { parts, part: Bytes::new() }))
    });
    let mut total = 0;
    while let Some(v1::RestoreChunk { data }) = chunks.message().await? {
        total += data.len() as u64;
        if data.len() > PART_BYTES_MAX {
            return Err(errors::invalid(
                "data",
                format_args!("{} bytes", data.len()),
                format_args!("at most {PART_BYTES_MAX}"),
            ));
        }
        if total > FILE_BYTES_MAX {
            return Err(errors::invalid(
                "data",
                format_args!("{total} bytes together"),
                format_args!("at most {FILE_BYTES_MAX}"),
            ));
        }
        if sender.send(data).await.is_err() {
            // It found what is wrong and reads no more.
            break;
        }
    }
    drop(sender);
    let read = reading.await.map_err(|_| errors::error(Code::Internal, "RESTORE", "the backup could not be read"))?;
    let backup = read.map_err(|error| {
        errors::invalid("data", format_args!("of {total} bytes"), format_args!("a backup: {error}"))
    })?;
    // Of the documents that the change was made of, which may be others than those that were there at first.
    let differing = AtomicUsize::new(0);
    let wish = |now: &Catalog| {
        differing.store(withheld::differing(now.documents(), backup.documents()), Ordering::Relaxed);
        put_back(now, &backup, caller)
    };
    let applied = documents.change(member, &wish).await;
    let explained = |status| withheld::explained(status, differing.load(Ordering::Relaxed), "the backup");
    let applied = applied.map_err(explained)?;
    let proto::Applied { revision, added, changed, deleted, .. } = applied;
    let warnings = withheld::warning(differing.into_inner(), "the backup").into_iter().collect();
    Ok(v1::RestoreResponse { revision, added, changed, deleted, warnings })
}

/// What makes documents those of a backup, but for API keys: one that was revoked since would be good again.
fn put_back(now: &Catalog, backup: &Catalog, caller: &Caller) -> proto::Apply {
    let (upserts, deletes) = withheld::back(now.documents(), backup.documents());
    let of = backup.cluster().map_or_else(String::new, |cluster| format!(" of cluster {}", cluster.id));
    proto::Apply {
        expected_revision: None,
        upserts,
        deletes,
        prune_source: None,
        author: caller.to_string(),
        message: format!("restored from a backup{of}, revision {}", backup.revision()),
    }
}

// === impl Sink ===

impl Write for Sink {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let part = &bytes[..bytes.len().min(PART_BYTES)];
        let sent = self.0.blocking_send(Bytes::copy_from_slice(part));
        sent.map(|()| part.len()).map_err(|_| io::ErrorKind::BrokenPipe.into())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

// === impl Source ===

impl Read for Source {
    fn read(&mut self, to: &mut [u8]) -> io::Result<usize> {
        while self.part.is_empty() {
            match self.parts.blocking_recv() {
                Some(part) => self.part = part,
                None => return Ok(0),
            }
        }
        let count = to.len().min(self.part.len());
        self.part.copy_to_slice(&mut to[..count]);
        Ok(count)
    }
}
