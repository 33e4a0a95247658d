//! `quorate cluster backup|restore`: the catalog as a file.
//!
//! A backup is written whole or not at all: under another name first, synced, then put in its place where nothing may be,
//! readable by its owner alone. It is read back in parts of a size that a node takes.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use bytes::Bytes;
use quorate_client::{Answers, Client, Upload, json};
use quorate_proto::admin::v1 as proto;

use crate::answer;
use crate::cli::cluster::{BackupArgs, Output, RestoreArgs};
use crate::exit::{Exit, Failure};
use crate::resources::warn;
use crate::run::shown;
use crate::{output, target};

/// Bytes of a backup: what a node takes.
const FILE_BYTES_MAX: u64 = 1 << 30;
/// Bytes of a part: what a node takes.
const PART_BYTES: usize = 1 << 20;

pub(super) async fn backup(context: Option<&Path>, args: &BackupArgs) -> Result<(), Failure> {
    let client = target::client(context, &args.target)?;
    let name = shown(&args.file);
    let failed = |error: &io::Error| match error.kind() {
        io::ErrorKind::AlreadyExists => {
            Failure::new(Exit::Failure, format!("{name} is there already and is not replaced"))
                .advise("name another file")
        }
        _ => Failure::new(Exit::Failure, format!("cannot write {name}: {error}")),
    };
    // A link that leads nowhere is something, too.
    if fs::symlink_metadata(&args.file).is_ok() {
        return Err(failed(&io::ErrorKind::AlreadyExists.into()));
    }
    let draft = draft(&args.file);
    let mut file = create(&draft).map_err(|error| failed(&error))?;
    let received = receive(&client, &mut file).await;
    // A second name replaces nothing, as a rename would.
    let place = || file.sync_all().and_then(|()| fs::hard_link(&draft, &args.file));
    let written = received.and_then(|bytes| place().map(|()| bytes).map_err(|error| failed(&error)));
    // Its first name: it has its own now, or was never whole.
    let _left = fs::remove_file(&draft);
    let bytes = written?;
    output::note(&format!(
        "{name} has the catalog in {bytes} bytes. Its documents are readable, with the secrets that they have; keys in it \
         need the cluster's root key"
    ));
    Ok(())
}

async fn receive(client: &Client, file: &mut File) -> Result<u64, Failure> {
    let mut parts: Answers<proto::BackupChunk> =
        client.watch(proto::BackupRequest {}).await.map_err(target::of_client)?;
    let mut bytes = 0;
    while let Some(part) = parts.next().await.map_err(target::of_client)? {
        bytes += part.data.len() as u64;
        if bytes > FILE_BYTES_MAX {
            return Err(Failure::new(Exit::Failure, format!("the backup is larger than {FILE_BYTES_MAX} bytes")));
        }
        file.write_all(&part.data)
            .map_err(|error| Failure::new(Exit::Failure, format!("cannot write the backup: {error}")))?;
    }
    if bytes == 0 {
        return Err(Failure::new(Exit::Failure, "the node sent an empty backup"));
    }
    Ok(bytes)
}

pub(super) async fn restore(context: Option<&Path>, args: &RestoreArgs) -> Result<(), Failure> {
    let client = target::client(context, &args.target)?;
    let parts = read(&args.file)?;
    let answer = client.upload(parts).await.map_err(target::of_client)?;
    warn(&answer.warnings);
    match args.output.output {
        Output::Table => output::print(&text(&answer)),
        output => answer::print_value(output, &json::of(proto::RestoreChunk::ANSWER, &answer)),
    }
}

fn text(answer: &proto::RestoreResponse) -> String {
    let proto::RestoreResponse { revision, added, changed, deleted, .. } = answer;
    if added + changed + deleted == 0 {
        return format!("nothing is different from the backup; the revision is still {revision}\n");
    }
    format!("revision {revision}: {added} added, {changed} changed, {deleted} deleted\n")
}

/// Reads a backup in parts.
fn read(path: &Path) -> Result<Vec<proto::RestoreChunk>, Failure> {
    let failed = |error: io::Error| Failure::new(Exit::Config, format!("cannot read {}: {error}", shown(path)));
    let file = File::open(path).map_err(failed)?;
    let mut bytes = Vec::new();
    file.take(FILE_BYTES_MAX + 1).read_to_end(&mut bytes).map_err(failed)?;
    if bytes.is_empty() || bytes.len() as u64 > FILE_BYTES_MAX {
        let message = format!("{} has {} bytes; a backup has 1 to {FILE_BYTES_MAX}", shown(path), bytes.len());
        return Err(Failure::new(Exit::Config, message));
    }
    let mut rest = Bytes::from(bytes);
    let mut parts = Vec::new();
    while !rest.is_empty() {
        parts.push(proto::RestoreChunk { data: rest.split_to(PART_BYTES.min(rest.len())) });
    }
    Ok(parts)
}

fn draft(file: &Path) -> PathBuf {
    let mut name = std::ffi::OsString::from(".");
    name.push(file.file_name().unwrap_or_default());
    name.push(format!(".{}", std::process::id()));
    file.with_file_name(name)
}

fn create(path: &Path) -> io::Result<File> {
    OpenOptions::new().write(true).create_new(true).mode(0o600).open(path)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_backup_is_read_in_parts_that_are_the_file_together() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("backup");
        let content: Vec<u8> = (0..PART_BYTES * 2 + 5).map(|at| u8::try_from(at % 251).unwrap()).collect();
        fs::write(&path, &content).unwrap();

        let parts = read(&path).unwrap();

        assert_eq!(parts.iter().map(|part| part.data.len()).collect::<Vec<_>>(), [PART_BYTES, PART_BYTES, 5]);
        assert_eq!(parts.iter().flat_map(|part| part.data.to_vec()).collect::<Vec<_>>(), content);
        fs::write(&path, "").unwrap();
        assert!(read(&path).unwrap_err().message.contains("has 0 bytes"));
    }

    #[test]
    fn a_restore_says_what_became_different() {
        let answer = proto::RestoreResponse {
            revision: 7,
            added: 1,
            changed: 2,
            deleted: 3,
            ..proto::RestoreResponse::default()
        };

        assert_eq!(text(&answer), "revision 7: 1 added, 2 changed, 3 deleted\n");
        let same = proto::RestoreResponse { revision: 7, ..proto::RestoreResponse::default() };
        assert!(text(&same).starts_with("nothing is different"));
    }
}
