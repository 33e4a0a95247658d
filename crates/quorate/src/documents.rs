//! Resource files as documents of a cluster.
//!
//! The same code reads them that a node reads its files with, so that what is wrong in itself is told here, with file and
//! line, before anything is sent. What only the whole set shows is told by the cluster.

use std::io::Read as _;
use std::path::PathBuf;

use quorate_config::Source;
use quorate_config::document::{self, Document};
use quorate_proto::admin::v1 as proto;

use crate::exit::{Exit, Failure};
use crate::run::of_config;

/// What standard input is called among the files.
const STDIN: &str = "-";
/// The largest standard input: as a file.
const STDIN_BYTES_MAX: u64 = quorate_config::FILE_BYTES_MAX.0;

/// Reads the documents of files, folders and, for `-`, standard input.
///
/// # Errors
/// [`Failure`] with every problem of every file.
pub(crate) fn read(files: &[PathBuf]) -> Result<Vec<proto::Document>, Failure> {
    let (stdin, files): (Vec<&PathBuf>, Vec<&PathBuf>) = files.iter().partition(|file| file.as_os_str() == STDIN);
    let files: Vec<PathBuf> = files.into_iter().cloned().collect();
    let mut documents = Vec::new();
    if !files.is_empty() {
        documents = document::read(&files).map_err(|errors| of_config(&errors))?;
    }
    if !stdin.is_empty() {
        let source = Source { file: PathBuf::from(STDIN), text: read_stdin()? };
        documents.extend(document::of_sources(&[source]).map_err(|errors| of_config(&errors))?);
    }
    Ok(documents.into_iter().map(to_proto).collect())
}

fn read_stdin() -> Result<String, Failure> {
    let failed = |error: std::io::Error| Failure::new(Exit::Config, format!("cannot read standard input: {error}"));
    let mut text = String::new();
    std::io::stdin().lock().take(STDIN_BYTES_MAX + 1).read_to_string(&mut text).map_err(failed)?;
    if text.len() as u64 > STDIN_BYTES_MAX {
        let message = format!("standard input is larger than {}", quorate_config::FILE_BYTES_MAX);
        return Err(Failure::new(Exit::Config, message));
    }
    Ok(text)
}

pub(crate) fn to_proto(document: Document) -> proto::Document {
    proto::Document {
        kind: document.key.kind().to_owned(),
        tenant: document.key.tenant().to_string(),
        name: document.key.name().to_string(),
        json: document.content,
        origin: document.origin,
    }
}
