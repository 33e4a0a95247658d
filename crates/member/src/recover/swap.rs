//! The parts of a data folder change places with those of a draft, one at a time, each durable before the next.
//!
//! ```text
//! recovery.new ── renamed: from here on there is no way back ──▶ recovering-OLD
//! for each part:  PART ─▶ before-recovery-OLD/PART,  recovering-OLD/PART ─▶ PART
//! recovering-OLD, which has nothing more, is removed: the folder is the new node's
//! ```
//!
//! What comes next is read from the folder each time ([`next`]), so that a crash anywhere costs nothing. As long as there is a
//! `recovering-OLD` no node starts on the folder.

use std::fs;
use std::io;
use std::os::unix::fs::DirBuilderExt as _;
use std::path::{Path, PathBuf};

use quorate_membership::home::{CLUSTER_FILE, FILE, LOG_FOLDER};
use quorate_membership::kept;
use quorate_types::ClusterId;

use crate::error::RecoverError;
use crate::start::SNAPSHOTS;

/// What a draft is called that is whole, before the id of the old cluster.
const WHOLE: &str = "recovering-";
/// What the folder is called that has what was there before.
const KEPT: &str = "before-recovery-";
/// What is replaced. The root key, the audit log and the files of documents stay where they are.
const PARTS: [&str; 5] = [LOG_FOLDER, SNAPSHOTS, CLUSTER_FILE, kept::FILE, FILE];

/// One change of a folder.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Step {
    /// Makes the folder in which the old parts are kept.
    Make(PathBuf),
    /// Moves a part; the second has the place free.
    Move(PathBuf, PathBuf),
    /// Removes what is left of the draft, which has no part any more.
    Remove(PathBuf),
}

/// The cluster that a name in a folder says is being replaced.
pub(super) fn old_of(name: &str) -> Option<ClusterId> {
    name.strip_prefix(WHOLE)?.parse().ok()
}

/// Says that a draft is whole: from now on it is what the folder becomes.
pub(super) fn commit(folder: &Path, draft: &str, old: ClusterId) -> Result<(), RecoverError> {
    rename(&folder.join(draft), &folder.join(format!("{WHOLE}{old}")))?;
    sync(folder)
}

/// Does all that is left; returns where the old parts are.
pub(super) fn finish(folder: &Path, old: ClusterId) -> Result<PathBuf, RecoverError> {
    while let Some(step) = next(folder, old) {
        take(folder, &step)?;
    }
    Ok(kept_in(folder, old))
}

/// The next step; none when all is done.
pub(super) fn next(folder: &Path, old: ClusterId) -> Option<Step> {
    let (whole, kept) = (folder.join(format!("{WHOLE}{old}")), kept_in(folder, old));
    if !whole.exists() {
        return None;
    }
    if !kept.exists() {
        return Some(Step::Make(kept));
    }
    let Some(part) = PARTS.iter().find(|part| whole.join(part).exists()) else { return Some(Step::Remove(whole)) };
    let place = folder.join(part);
    Some(if place.exists() { Step::Move(place, kept.join(part)) } else { Step::Move(whole.join(part), place) })
}

/// Takes a step; durable when this returns.
pub(super) fn take(folder: &Path, step: &Step) -> Result<(), RecoverError> {
    let failed = |action, path: &Path| {
        let path = path.to_owned();
        move |source: io::Error| RecoverError::System { action, path, source }
    };
    match step {
        Step::Make(path) => fs::DirBuilder::new().mode(0o700).create(path).map_err(failed("make", path))?,
        Step::Move(_, to) if to.exists() => return Err(RecoverError::InTheWay { path: to.clone() }),
        Step::Move(from, to) => {
            rename(from, to)?;
            for side in [from, to].iter().filter_map(|path| path.parent()) {
                sync(side)?;
            }
        }
        Step::Remove(path) => fs::remove_dir_all(path).map_err(failed("remove", path))?,
    }
    sync(folder)
}

/// Makes the names in a folder durable.
pub(super) fn sync(folder: &Path) -> Result<(), RecoverError> {
    let synced = fs::File::open(folder).and_then(|folder| folder.sync_all());
    synced.map_err(|source| RecoverError::System { action: "sync", path: folder.to_owned(), source })
}

fn kept_in(folder: &Path, old: ClusterId) -> PathBuf {
    folder.join(format!("{KEPT}{old}"))
}

fn rename(from: &Path, to: &Path) -> Result<(), RecoverError> {
    fs::rename(from, to).map_err(|source| RecoverError::System { action: "move", path: from.to_owned(), source })
}
