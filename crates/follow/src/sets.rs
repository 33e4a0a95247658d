//! The compiler of a node, which everybody on it shares.
//!
//! Who proposes a change compiles the whole set that it would make, and the follower compiles what was committed, which is
//! mostly the same: what one has looked at the other knows. One compiles at a time, on a thread that may block.

use std::fs;
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use quorate_catalog::Catalog;
use quorate_config::inline::File;
use quorate_config::{Compiled, Compiler, Errors};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// Compiles documents, off the threads that serve requests. Clones share it.
#[derive(Clone, Debug)]
pub struct Sets {
    compiler: Arc<Mutex<Compiler>>,
    previews: Arc<Semaphore>,
    folder: Arc<Path>,
}

/// A file that a set needs cannot be written.
#[derive(Debug, thiserror::Error)]
#[error("{}: {source}", path.display())]
pub struct WriteError {
    path: PathBuf,
    source: io::Error,
}

/// Documents were not compiled.
#[derive(Debug, thiserror::Error)]
pub enum CompileError {
    /// They are not valid.
    #[error(transparent)]
    Documents(Errors),
    /// This version of the program fails at them. Tried again it may know better: it looks at all of them anew.
    #[error("this version of the program fails at these documents, which is a fault of it: its log says where")]
    Panicked,
}

// === impl Sets ===

impl Sets {
    /// Makes a compiler; the files that documents bring with them belong to this folder, which is nobody else's.
    #[must_use]
    pub fn new(folder: PathBuf) -> Self {
        // Without a current folder a relative path leads nowhere, and writing says so.
        let folder = std::path::absolute(&folder).unwrap_or(folder);
        let compiler = Arc::new(Mutex::new(Compiler::new(folder.clone())));
        Self { folder: folder.as_path().into(), compiler, previews: Arc::new(Semaphore::new(1)) }
    }

    /// Compiles and checks the documents that a catalog has now.
    ///
    /// # Errors
    /// [`CompileError::Documents`] has every problem of every document.
    pub async fn compile(&self, catalog: Catalog) -> Result<Compiled, CompileError> {
        self.compile_in(None, catalog).await
    }

    /// Compiles and checks what documents would become, one after another: whoever asks for many, and does not wait for them,
    /// never has more than one in the way of what this node is to run.
    ///
    /// # Errors
    /// As [`Self::compile`].
    pub async fn preview(&self, catalog: Catalog) -> Result<Compiled, CompileError> {
        let turn = Arc::clone(&self.previews).acquire_owned().await.expect("it is never closed");
        self.compile_in(Some(turn), catalog).await
    }

    /// The turn lasts until the work is done, also when nobody waits for it any more.
    async fn compile_in(&self, turn: Option<OwnedSemaphorePermit>, catalog: Catalog) -> Result<Compiled, CompileError> {
        let compiler = Arc::clone(&self.compiler);
        let compile = move || {
            // One that somebody panicked over has forgotten documents, and looks at them again.
            let mut compiler = compiler.lock().unwrap_or_else(PoisonError::into_inner);
            let compiled = compiler.compile(catalog.documents());
            drop(turn);
            compiled
        };
        let compiled = tokio::task::spawn_blocking(compile).await;
        compiled.map_err(|_| CompileError::Panicked)?.map_err(CompileError::Documents)
    }

    /// Writes the files of a set, those that are not there yet.
    ///
    /// # Errors
    /// [`WriteError`] names the file.
    pub async fn write(&self, files: Vec<File>) -> Result<(), WriteError> {
        let folder = Arc::clone(&self.folder);
        let written = tokio::task::spawn_blocking(move || write_all(&folder, &files)).await;
        let failed = |error| WriteError { path: self.folder.to_path_buf(), source: io::Error::other(error) };
        written.map_err(failed)?
    }

    /// Removes the files in the folder that a set does not have, when it runs. What cannot be removed stays.
    pub async fn prune(&self, kept: Vec<File>) {
        let folder = Arc::clone(&self.folder);
        let pruned = tokio::task::spawn_blocking(move || prune(&folder, &kept)).await;
        if let Err(error) = pruned {
            tracing::error!(%error, "files that no document has any more were not removed");
        }
    }
}

fn write_all(folder: &Path, files: &[File]) -> Result<(), WriteError> {
    if files.is_empty() {
        return Ok(());
    }
    let failed = |path: &Path| {
        let path = path.to_path_buf();
        move |source| WriteError { path, source }
    };
    fs::create_dir_all(folder).map_err(failed(folder))?;
    for file in files {
        // The name says what is in it: one that has the length is whole, because it got its name when it was.
        let is_there = fs::metadata(&file.path).is_ok_and(|there| there.len() == file.text.len() as u64);
        if !is_there {
            write(file).map_err(failed(&file.path))?;
        }
    }
    Ok(())
}

fn write(file: &File) -> io::Result<()> {
    let mut name = file.path.file_name().unwrap_or_default().to_os_string();
    name.push(".new");
    let new = file.path.with_file_name(name);
    let mut open = fs::File::create(&new)?;
    open.write_all(file.text.as_bytes())?;
    open.sync_all()?;
    fs::rename(&new, &file.path)
}

fn prune(folder: &Path, kept: &[File]) {
    let entries = fs::read_dir(folder).into_iter().flatten().flatten();
    for path in entries.map(|entry| entry.path()).filter(|path| !kept.iter().any(|file| file.path == *path)) {
        if let Err(error) = fs::remove_file(&path) {
            tracing::debug!(%error, path = %path.display(), "a file that no document has cannot be removed");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn files_are_written_once_and_removed_when_nothing_has_them() {
        let parent = tempfile::tempdir().expect("a folder");
        let folder = parent.path().join("inline");
        let sets = Sets::new(folder.clone());
        let file = |name: &str, text: &str| File { path: folder.join(name), text: text.to_owned() };
        let (one, two) = (file("1-ca.pem", "one"), file("2-ca.pem", "two"));

        sets.write(vec![one.clone(), two.clone()]).await.expect("writes");
        // A write that a crash cut has another length.
        fs::write(&two.path, "t").expect("writes");
        let before = fs::metadata(&one.path).and_then(|data| data.modified()).expect("it is there");
        sets.write(vec![one.clone(), two.clone()]).await.expect("writes");

        assert_eq!(fs::read_to_string(&two.path).expect("it is there"), "two");
        assert_eq!(fs::metadata(&one.path).and_then(|data| data.modified()).expect("it is there"), before);
        sets.prune(vec![two.clone()]).await;
        assert!(!one.path.exists() && two.path.exists());
        // No files need no folder.
        Sets::new(parent.path().join("other")).write(Vec::new()).await.expect("nothing to write");
        assert!(!parent.path().join("other").exists());
    }

    #[tokio::test]
    async fn a_file_that_cannot_be_written_is_named() {
        let parent = tempfile::tempdir().expect("a folder");
        let folder = parent.path().join("inline");
        fs::write(&folder, "no folder").expect("writes");
        let file = File { path: folder.join("a"), text: "a".to_owned() };
        let error = Sets::new(folder).write(vec![file]).await.expect_err("it is no folder").to_string();
        assert!(error.contains("inline: "), "{error}");
    }
}
