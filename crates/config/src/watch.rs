//! Whether the files behind a set have changed.
//!
//! The truth is a hash over the names and contents of all files, computed every
//! [`Timing::poll`]; notifications of the system only make it happen sooner. So a change is seen
//! however it is made: written in place, renamed over (editors), swapped by a symbolic link
//! (Kubernetes `ConfigMap`), on a network file system without notifications. A burst of changes is
//! one change: it is over when two hashes, [`Timing::quiet`] apart, agree. A set may have megabytes, so a file is not
//! read again whose inode the system says is untouched since long before it was read last.
//!
//! The watcher does not load; whoever is told loads, and a set that is refused stays unreported
//! until its files change again. Nothing runs while nobody awaits [`Watcher::changed`].

use std::collections::HashMap;
use std::fs::{File, Metadata};
use std::hash::{DefaultHasher, Hash, Hasher};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use notify::{RecommendedWatcher, RecursiveMode, Watcher as _};
use tokio::sync::Notify;

use crate::read;

/// How often and how patiently files are looked at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Timing {
    /// The time between two looks without a notification.
    pub poll: Duration,
    /// How long files must stay the same before a change is reported.
    pub quiet: Duration,
    /// The most that `quiet` may be awaited: files that never rest are reported as they are.
    pub patience: Duration,
}

/// Watches files and folders.
#[derive(Debug)]
pub struct Watcher {
    paths: Arc<[PathBuf]>,
    /// Files that the resources themselves name.
    named: Arc<[PathBuf]>,
    timing: Timing,
    contents: Arc<Mutex<Contents>>,
    reported: Seen,
    hint: Arc<Notify>,
    /// Keeps the notifications alive; `None` where the system gives none, and polling remains.
    _notifications: Option<RecommendedWatcher>,
}

/// Hashes of the resource files and of the files that they name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Seen {
    paths: u64,
    named: u64,
}

/// Hashes of the contents of files, as far as they need not be read to know them.
#[derive(Debug, Default)]
struct Contents {
    known: HashMap<PathBuf, (Stamp, u64)>,
    /// How many files were read.
    #[cfg(test)]
    reads: usize,
}

/// What changes of a file's inode with its content.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Stamp {
    device: u64,
    inode: u64,
    bytes: u64,
    /// Seconds and nanoseconds; the second pair cannot be set by programs.
    modified: (i64, i64),
    changed: (i64, i64),
}

/// How long a file must be untouched before its times tell it from what it will be: file systems keep times to two
/// seconds at the coarsest, and a server's clock may differ a little.
const SETTLED_SECONDS: i64 = 10;

// === impl Timing ===

impl Timing {
    /// Two seconds is soon enough for a change made by hand and costs a few file reads; a quarter
    /// of a second lets an editor or `kubectl cp` finish writing.
    pub const DEFAULTS: Self =
        Self { poll: Duration::from_secs(2), quiet: Duration::from_millis(250), patience: Duration::from_secs(5) };
}

impl Default for Timing {
    fn default() -> Self {
        Self::DEFAULTS
    }
}

// === impl Watcher ===

impl Watcher {
    /// Begins to watch. Changes from now on are reported, so make it before the first load.
    #[must_use]
    pub fn new(paths: &[PathBuf], timing: Timing) -> Self {
        let hint = Arc::new(Notify::new());
        let notifications = notifications(paths, &hint);
        let (paths, named): (Arc<[PathBuf]>, Arc<[PathBuf]>) = (paths.into(), Arc::from([]));
        let mut contents = Contents::default();
        let reported = Seen { paths: contents.of_paths(&paths), named: of_named(&named) };
        let contents = Arc::new(Mutex::new(contents));
        Self { paths, named, timing, contents, reported, hint, _notifications: notifications }
    }

    /// Watches these files, too, instead of those that were named before: what the loaded resources are made of beside
    /// their own files. Changes from now on are reported, so call it before they are read.
    pub fn also(&mut self, named: Vec<PathBuf>) {
        if *self.named != named[..] {
            self.named = named.into();
            self.reported.named = of_named(&self.named);
        }
    }

    /// Tells whether there is nothing to watch.
    #[must_use]
    pub fn is_idle(&self) -> bool {
        self.paths.is_empty() && self.named.is_empty()
    }

    /// Waits until the files are not what they were when it returned last (or at `new`).
    ///
    /// Dropping the future and calling again loses no change.
    pub async fn changed(&mut self) {
        loop {
            // The timeout is the poll; a notification makes it shorter.
            let _ = tokio::time::timeout(self.timing.poll, self.hint.notified()).await;
            let current = self.look().await;
            if current != self.reported {
                self.reported = self.settled(current).await;
                return;
            }
        }
    }

    /// Waits until two looks agree, or patience is at its end.
    async fn settled(&self, mut current: Seen) -> Seen {
        let started = tokio::time::Instant::now();
        while started.elapsed() < self.timing.patience {
            tokio::time::sleep(self.timing.quiet).await;
            let next = self.look().await;
            if next == current {
                break;
            }
            current = next;
        }
        current
    }

    async fn look(&self) -> Seen {
        let (paths, named) = (Arc::clone(&self.paths), Arc::clone(&self.named));
        let contents = Arc::clone(&self.contents);
        let looked = tokio::task::spawn_blocking(move || {
            // What somebody panicked over is read again at worst.
            let mut contents = contents.lock().unwrap_or_else(PoisonError::into_inner);
            Seen { paths: contents.of_paths(&paths), named: of_named(&named) }
        });
        let looked = looked.await;
        looked.unwrap_or_else(|error| {
            tracing::warn!(%error, "configuration files could not be looked at");
            self.reported
        })
    }
}

// === impl Contents ===

impl Contents {
    /// Hashes what [`crate::load`] would read: names, contents, and what cannot be read.
    fn of_paths(&mut self, paths: &[PathBuf]) -> u64 {
        let mut hasher = DefaultHasher::new();
        let mut problems = Vec::new();
        // Files that are gone are forgotten.
        let mut before = std::mem::take(&mut self.known);
        for file in read::find_files(paths, &mut problems) {
            file.hash(&mut hasher);
            self.of_file(file, &mut before).hash(&mut hasher);
        }
        for problem in problems {
            problem.to_string().hash(&mut hasher);
        }
        hasher.finish()
    }

    fn of_file(&mut self, file: PathBuf, before: &mut HashMap<PathBuf, (Stamp, u64)>) -> u64 {
        // Opened and not only asked about: that is when a network file system looks whether it has changed.
        let stamp = || File::open(&file).and_then(|file| file.metadata()).ok().map(|about| Stamp::of(&about));
        let now = stamp();
        if let Some(known) = before.remove(&file).filter(|(stamp, _)| now.as_ref() == Some(stamp)) {
            self.known.insert(file, known);
            return known.1;
        }
        let settled = now.filter(|stamp| stamp.is_settled(seconds()));
        let mut hasher = DefaultHasher::new();
        #[cfg(test)]
        {
            self.reads += 1;
        }
        match read::read_file(&file) {
            Ok(text) => text.hash(&mut hasher),
            Err(reason) => reason.to_string().hash(&mut hasher),
        }
        let hash = hasher.finish();
        if let Some(stamp) = settled.filter(|settled| stamp() == Some(*settled)) {
            self.known.insert(file, (stamp, hash));
        }
        hash
    }
}

// === impl Stamp ===

impl Stamp {
    fn of(about: &Metadata) -> Self {
        Self {
            device: about.dev(),
            inode: about.ino(),
            bytes: about.size(),
            modified: (about.mtime(), about.mtime_nsec()),
            changed: (about.ctime(), about.ctime_nsec()),
        }
    }

    /// Whether a later change will show.
    fn is_settled(&self, now: i64) -> bool {
        self.modified.0.max(self.changed.0) <= now - SETTLED_SECONDS
    }
}

/// The time by the system's clock, which the times of files are measured by.
fn seconds() -> i64 {
    let elapsed = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    i64::try_from(elapsed.as_secs()).unwrap_or(i64::MAX)
}

/// Hashes names, sizes and times: documents can be large, and this is done every few seconds.
fn of_named(files: &[PathBuf]) -> u64 {
    let mut hasher = DefaultHasher::new();
    for file in files {
        let about = std::fs::metadata(file).ok();
        (file, about.map(|about| (about.len(), about.modified().ok()))).hash(&mut hasher);
    }
    hasher.finish()
}

/// Asks the system to tell of changes in the folders of the paths. What is replaced by a rename or
/// a link swap is a change of its folder, while a watch on the file itself would end with it.
fn notifications(paths: &[PathBuf], hint: &Arc<Notify>) -> Option<RecommendedWatcher> {
    let hint = Arc::clone(hint);
    let told = move |event: notify::Result<notify::Event>| {
        // Our own reading is an access, not a change.
        if !event.is_ok_and(|event| event.kind.is_access()) {
            hint.notify_one();
        }
    };
    let watcher = notify::recommended_watcher(told);
    let mut watcher = watcher.map_err(|error| tracing::debug!(%error, "no file notifications, polling only")).ok()?;
    for path in paths {
        let folder = if path.is_dir() { path.as_path() } else { folder_of(path) };
        if let Err(error) = watcher.watch(folder, RecursiveMode::NonRecursive) {
            tracing::debug!(%error, folder = %folder.display(), "no file notifications here, polling only");
        }
    }
    Some(watcher)
}

fn folder_of(path: &Path) -> &Path {
    match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        _ => Path::new("."),
    }
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::symlink;

    use super::*;

    const FAST: Timing =
        Timing { poll: Duration::from_millis(50), quiet: Duration::from_millis(20), patience: Duration::from_secs(2) };
    /// Far longer than any of these changes takes to be seen on a busy machine.
    const WAIT_MAX: Duration = Duration::from_secs(20);

    async fn expect_change(watcher: &mut Watcher, what: &str) {
        let changed = tokio::time::timeout(WAIT_MAX, watcher.changed()).await;
        assert!(changed.is_ok(), "{what} was not seen");
    }

    async fn expect_rest(watcher: &mut Watcher) {
        let changed = tokio::time::timeout(FAST.poll * 6, watcher.changed()).await;
        assert!(changed.is_err(), "a change was reported without one");
    }

    #[tokio::test]
    async fn every_way_to_change_a_file_is_seen_once() {
        let folder = tempfile::tempdir().expect("a folder");
        let file = folder.path().join("mesh.yaml");
        fs::write(&file, "one").expect("writes");
        let mut watcher = Watcher::new(std::slice::from_ref(&file), FAST);
        expect_rest(&mut watcher).await;

        fs::write(&file, "two").expect("writes");
        expect_change(&mut watcher, "a write in place").await;
        expect_rest(&mut watcher).await;

        let other = folder.path().join("mesh.yaml.swp");
        fs::write(&other, "three").expect("writes");
        fs::rename(&other, &file).expect("renames");
        expect_change(&mut watcher, "a rename over the file").await;

        fs::remove_file(&file).expect("removes");
        expect_change(&mut watcher, "a removal").await;
        fs::write(&file, "three").expect("writes");
        expect_change(&mut watcher, "a file that is there again").await;

        fs::write(&file, "three").expect("writes");
        expect_rest(&mut watcher).await;
    }

    #[tokio::test]
    async fn the_link_swap_of_a_config_map_is_seen() {
        let mount = tempfile::tempdir().expect("a folder");
        let version = |number: u32| {
            let folder = mount.path().join(format!("..2026_{number}"));
            fs::create_dir(&folder).expect("a folder");
            fs::write(folder.join("mesh.yaml"), format!("version {number}")).expect("writes");
            let link = mount.path().join("..data_tmp");
            symlink(folder.file_name().expect("it has a name"), &link).expect("links");
            fs::rename(&link, mount.path().join("..data")).expect("swaps");
        };
        version(1);
        symlink("..data/mesh.yaml", mount.path().join("mesh.yaml")).expect("links");

        for paths in [vec![mount.path().to_path_buf()], vec![mount.path().join("mesh.yaml")]] {
            let mut watcher = Watcher::new(&paths, FAST);
            let next = if paths[0].is_dir() { 2 } else { 3 };
            version(next);
            expect_change(&mut watcher, "the swap of ..data").await;
            expect_rest(&mut watcher).await;
        }
    }

    #[tokio::test]
    async fn files_that_come_and_go_in_a_folder_are_seen_and_others_are_not() {
        let folder = tempfile::tempdir().expect("a folder");
        fs::write(folder.path().join("a.yaml"), "a").expect("writes");
        let mut watcher = Watcher::new(&[folder.path().to_path_buf()], FAST);

        fs::write(folder.path().join("b.json"), "b").expect("writes");
        expect_change(&mut watcher, "a new file").await;
        fs::rename(folder.path().join("b.json"), folder.path().join("c.json")).expect("renames");
        expect_change(&mut watcher, "a new name").await;
        fs::write(folder.path().join("notes.txt"), "c").expect("writes");
        fs::write(folder.path().join(".a.yaml.swp"), "c").expect("writes");
        expect_rest(&mut watcher).await;
    }

    #[test]
    fn a_file_is_not_read_again_once_it_has_rested_and_whatever_changes_it_shows() {
        let folder = tempfile::tempdir().expect("a folder");
        let file = folder.path().join("mesh.yaml");
        let paths = [folder.path().to_path_buf()];
        fs::write(&file, "one").expect("writes");
        let mut contents = Contents::default();

        // It was just written: the next change may have the same times.
        let first = contents.of_paths(&paths);
        assert_eq!((contents.of_paths(&paths), contents.reads), (first, 2));

        // As if it had rested.
        let rest = |contents: &mut Contents, hash: u64| {
            let stamp = Stamp::of(&fs::metadata(&file).expect("it is there"));
            contents.known.insert(file.clone(), (stamp, hash));
        };
        rest(&mut contents, 7);
        let rested = contents.of_paths(&paths);
        assert_eq!((contents.of_paths(&paths), contents.reads), (rested, 2));
        assert_ne!(rested, first, "what is known is taken");
        // The same size, and the time of before. The system's own time of the change has ticks of milliseconds.
        let before = fs::metadata(&file).expect("it is there");
        let changed = || Stamp::of(&fs::metadata(&file).expect("it is there")).changed;
        while changed() == Stamp::of(&before).changed {
            fs::write(&file, "two").expect("writes");
            let modified = before.modified().expect("it has a time");
            let opened = File::options().write(true).open(&file);
            opened.and_then(|file| file.set_modified(modified)).expect("sets its time");
        }
        assert_ne!(contents.of_paths(&paths), rested);
        assert_eq!(contents.reads, 3);

        rest(&mut contents, 7);
        fs::write(folder.path().join("other"), "two").expect("writes");
        fs::rename(folder.path().join("other"), &file).expect("renames");
        contents.of_paths(&paths);
        assert_eq!(contents.reads, 4);
        fs::remove_file(&file).expect("removes");
        contents.of_paths(&paths);
        assert!(contents.known.is_empty(), "a file that is gone is forgotten");
    }

    #[test]
    fn times_settle_when_no_coming_change_can_have_the_same() {
        let stamp =
            |modified, changed| Stamp { device: 0, inode: 0, bytes: 0, modified: (modified, 0), changed: (changed, 0) };
        assert!(stamp(90, 90).is_settled(100));
        assert!(!stamp(91, 0).is_settled(100) && !stamp(0, 91).is_settled(100));
        // A clock that is behind.
        assert!(!stamp(200, 90).is_settled(100));
    }

    #[tokio::test]
    async fn a_change_while_nobody_waits_is_not_lost() {
        let folder = tempfile::tempdir().expect("a folder");
        let file = folder.path().join("mesh.yaml");
        fs::write(&file, "one").expect("writes");
        let mut watcher = Watcher::new(std::slice::from_ref(&file), FAST);

        drop(tokio::time::timeout(Duration::from_millis(1), watcher.changed()).await);
        fs::write(&file, "two").expect("writes");
        expect_change(&mut watcher, "the change before the wait").await;
    }
}
