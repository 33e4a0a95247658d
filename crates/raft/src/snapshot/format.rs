//! A snapshot's file: written once from front to back, and read with every byte checked.
//!
//! ```text
//! head    "QRMSNAPS" │ version u32 │ length u32 │ meta (protobuf) │ crc u32      (little endian)
//! chunk   length u32 │ crc u32 │ bytes…                                          (any number)
//! end     0 u32 │ SHA-256 of all before it
//! ```
//!
//! A chunk's checksum is checked before the machine sees it; the digest is over all, also over the order of the chunks.

use std::io::{self, Read, Write};
use std::sync::Arc;

use quorate_wal::{File, read_exact_at, write_all_at};
use sha2::{Digest, Sha256};

use super::{DIGEST_BYTES, Identity, Meta, SNAPSHOT_BYTES_MAX, SnapshotError, disk_error};
use crate::codec::Wire;
use crate::machine::Frozen;

/// What a snapshot begins with.
const MAGIC: &[u8; 8] = b"QRMSNAPS";

/// The format of what is written.
const VERSION: u32 = 1;

/// Bytes of a head before its meta.
const HEAD_BYTES: usize = 16;

/// Bytes of the largest meta: 64 KiB, as of a membership of thousands of nodes.
const META_BYTES_MAX: usize = 64 << 10;

/// Bytes of the largest chunk: 64 KiB, which a machine reads and writes at once.
const CHUNK_BYTES_MAX: usize = 64 << 10;

/// A machine's state as it is read from a file.
pub(crate) struct Contents {
    source: Source,
    chunk: Vec<u8>,
    /// How many bytes of the chunk were read.
    at: usize,
    is_at_end: bool,
}

/// A file as it is read from front to back.
struct Source {
    file: Arc<dyn File>,
    name: String,
    offset: u64,
    /// Bytes before the digest.
    end: u64,
    hasher: Sha256,
}

/// A file as it is written from front to back.
struct Sink<'a> {
    file: &'a dyn File,
    offset: u64,
    hasher: Sha256,
    chunk: Vec<u8>,
}

/// Writes a snapshot into an empty file, and makes it durable.
pub(crate) fn write(file: &dyn File, meta: Meta, frozen: &dyn Frozen) -> io::Result<Identity> {
    let mut sink = Sink { file, offset: 0, hasher: Sha256::new(), chunk: Vec::with_capacity(CHUNK_BYTES_MAX) };
    let encoded = meta.encode();
    if encoded.len() > META_BYTES_MAX {
        let what = format!("a snapshot's meta has {} bytes, at most {META_BYTES_MAX} are allowed", encoded.len());
        return Err(io::Error::new(io::ErrorKind::InvalidInput, what));
    }
    let length = u32::try_from(encoded.len()).expect("it was just compared");
    let mut head = [&MAGIC[..], &VERSION.to_le_bytes(), &length.to_le_bytes(), &encoded].concat();
    head.extend(crc32fast::hash(&head).to_le_bytes());
    sink.put(&head)?;
    frozen.write(&mut sink)?;
    sink.flush()?;
    sink.put(&0_u32.to_le_bytes())?;
    let digest: [u8; 32] = sink.hasher.finalize_reset().into();
    sink.put(&digest)?;
    file.sync()?;
    Ok(Identity { meta, bytes: sink.offset, digest })
}

/// Reads all of a file and tells what it is.
pub(crate) fn verify(file: &Arc<dyn File>, name: &str) -> Result<Identity, SnapshotError> {
    let (identity, mut contents) = Contents::open(Arc::clone(file), name)?;
    while contents.next_chunk()? {}
    let Source { offset, end, hasher, .. } = contents.source;
    let damaged = |offset, what| Err(SnapshotError::Damaged { file: name.to_owned(), offset, what });
    if offset != end {
        return damaged(offset, "there is more behind its end");
    }
    if <[u8; 32]>::from(hasher.finalize()) != identity.digest {
        return damaged(end, "its digest is another");
    }
    Ok(identity)
}

// === impl Contents ===

impl Contents {
    /// Reads a file's head, and its digest from its end.
    pub(crate) fn open(file: Arc<dyn File>, name: &str) -> Result<(Identity, Self), SnapshotError> {
        let bytes = file.bytes().map_err(disk_error(name))?;
        let damaged = |offset, what| SnapshotError::Damaged { file: name.to_owned(), offset, what };
        let end = bytes.checked_sub(DIGEST_BYTES).ok_or_else(|| damaged(0, "it is too short"))?;
        if bytes > SNAPSHOT_BYTES_MAX {
            return Err(damaged(0, "it is too long"));
        }
        let mut source = Source { file, name: name.to_owned(), offset: 0, end, hasher: Sha256::new() };
        let mut head = source.take(HEAD_BYTES)?;
        if head[..8] != *MAGIC {
            return Err(damaged(0, "it does not begin as a snapshot"));
        }
        let found = word(&head, 8);
        let length = word(&head, 12) as usize;
        if length > META_BYTES_MAX {
            return Err(damaged(12, "its meta is too long"));
        }
        head.extend(source.take(length)?);
        if source.take(4)? != crc32fast::hash(&head).to_le_bytes() {
            return Err(damaged(0, "the checksum of its head is another"));
        }
        if found != VERSION {
            return Err(SnapshotError::Version { file: name.to_owned(), found, known: VERSION });
        }
        let meta = Meta::decode(head.split_off(HEAD_BYTES).into());
        let meta = meta.map_err(|_| damaged(HEAD_BYTES as u64, "its meta is none"))?;
        let mut digest = [0; 32];
        read_exact_at(&*source.file, &mut digest, end).map_err(disk_error(name))?;
        Ok((Identity { meta, bytes, digest }, Self { source, chunk: Vec::new(), at: 0, is_at_end: false }))
    }

    /// Reads the next chunk; false at the end.
    fn next_chunk(&mut self) -> Result<bool, SnapshotError> {
        let begin = self.source.offset;
        if self.is_at_end {
            return Ok(false);
        }
        let length = word(&self.source.take(4)?, 0) as usize;
        if length == 0 {
            self.is_at_end = true;
            return Ok(false);
        }
        if length > CHUNK_BYTES_MAX {
            return Err(self.source.damaged(begin, "a chunk is too long"));
        }
        let crc = self.source.take(4)?;
        self.chunk = self.source.take(length)?;
        self.at = 0;
        if crc != crc32fast::hash(&self.chunk).to_le_bytes() {
            return Err(self.source.damaged(begin, "the checksum of a chunk is another"));
        }
        Ok(true)
    }
}

impl Read for Contents {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let invalid = |error| io::Error::new(io::ErrorKind::InvalidData, error);
        if self.at == self.chunk.len() && !self.next_chunk().map_err(invalid)? {
            return Ok(0);
        }
        let rest = &self.chunk[self.at..];
        let read = rest.len().min(buffer.len());
        buffer[..read].copy_from_slice(&rest[..read]);
        self.at += read;
        Ok(read)
    }
}

// === impl Source ===

impl Source {
    fn take(&mut self, bytes: usize) -> Result<Vec<u8>, SnapshotError> {
        if self.end - self.offset < bytes as u64 {
            return Err(self.damaged(self.offset, "it ends too soon"));
        }
        let mut taken = vec![0; bytes];
        read_exact_at(&*self.file, &mut taken, self.offset).map_err(disk_error(&self.name))?;
        self.hasher.update(&taken);
        self.offset += bytes as u64;
        Ok(taken)
    }

    fn damaged(&self, offset: u64, what: &'static str) -> SnapshotError {
        SnapshotError::Damaged { file: self.name.clone(), offset, what }
    }
}

// === impl Sink ===

impl Sink<'_> {
    fn put(&mut self, bytes: &[u8]) -> io::Result<()> {
        if self.offset + bytes.len() as u64 > SNAPSHOT_BYTES_MAX {
            return Err(io::Error::new(io::ErrorKind::FileTooLarge, "a snapshot has more than 4 GiB"));
        }
        write_all_at(self.file, bytes, self.offset)?;
        self.hasher.update(bytes);
        self.offset += bytes.len() as u64;
        Ok(())
    }
}

impl Write for Sink<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let taken = bytes.len().min(CHUNK_BYTES_MAX - self.chunk.len());
        self.chunk.extend(&bytes[..taken]);
        if self.chunk.len() == CHUNK_BYTES_MAX {
            self.flush()?;
        }
        Ok(taken)
    }

    /// Ends the chunk, if it has anything.
    fn flush(&mut self) -> io::Result<()> {
        if self.chunk.is_empty() {
            return Ok(());
        }
        let chunk = std::mem::take(&mut self.chunk);
        let length = u32::try_from(chunk.len()).expect("a chunk is small");
        self.put(&length.to_le_bytes())?;
        self.put(&crc32fast::hash(&chunk).to_le_bytes())?;
        self.put(&chunk)?;
        self.chunk = chunk;
        self.chunk.clear();
        Ok(())
    }
}

fn word(bytes: &[u8], at: usize) -> u32 {
    u32::from_le_bytes([bytes[at], bytes[at + 1], bytes[at + 2], bytes[at + 3]])
}
