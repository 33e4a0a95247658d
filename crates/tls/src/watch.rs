//! Notices that certificate files changed.
//!
//! The folders of all files are watched, not the files: certificate managers replace files by
//! renaming, and Kubernetes swaps a symlink beside them. Files that a notification cannot reach
//! (network mounts, links to elsewhere, no watches left) are found by looking at them at an
//! interval. Files that belong together are rarely written in one instant, so a change is read after a
//! moment of quiet.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::time::Duration;

use notify::{RecommendedWatcher, RecursiveMode, Watcher};
use tokio::sync::mpsc;
use tokio::task::{AbortHandle, spawn_blocking};
use tokio::time::timeout;

use crate::client::ClientTls;
use crate::clients::TrustChange;
use crate::error::LoadError;
use crate::server::ServerTls;
use crate::spiffe::TrustDomain;

/// Times of a watch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct WatchConfig {
    /// How often the files are read without a notification. Default 30 s: a change is expected
    /// hours before the old certificate ends, and reading two small files costs nothing.
    pub poll_interval: Duration,
    /// How long it must be quiet before changed files are read. Default 200 ms: the second file is
    /// written right after the first.
    pub quiet: Duration,
}

/// What happened to the files of a [`ServerTls`] or a [`ClientTls`].
#[derive(Debug)]
pub enum Reload {
    /// New handshakes use the new certificate, or the new roots of a client.
    Replaced,
    /// The authorities or revocation lists of a trust domain are new: for handshakes, and for the next request on each
    /// open connection.
    TrustReplaced(TrustChange),
    /// A revocation list has to be replaced: until then all certificates that it speaks of are refused.
    CrlExpired {
        /// The domain that it belongs to.
        domain: TrustDomain,
        /// Its file.
        path: PathBuf,
        /// How long ago it should have been replaced.
        since: Duration,
    },
    /// A new file cannot be used; what it was to replace stays in use.
    Refused(LoadError),
}

/// Watches until it is dropped.
#[derive(Debug)]
#[must_use = "dropping it ends the watch"]
pub struct Watch {
    task: AbortHandle,
}

/// The default times; reasons are at the fields.
const DEFAULTS: WatchConfig = WatchConfig { poll_interval: Duration::from_secs(30), quiet: Duration::from_millis(200) };

/// How often quiet is waited for before changing files are read regardless.
const QUIET_ROUNDS_MAX: u32 = 25;

// === impl WatchConfig ===

impl Default for WatchConfig {
    fn default() -> Self {
        DEFAULTS
    }
}

// === impl ServerTls ===

impl ServerTls {
    /// Reloads whenever a file changes, and reports each change once.
    ///
    /// Runs in a task of the current tokio runtime.
    pub fn watch(&self, config: WatchConfig, report: impl Fn(Reload) + Send + 'static) -> Watch {
        let (paths, tls) = (self.paths().map(Path::to_owned).collect(), self.clone());
        start(paths, move || tls.reload(), config, report)
    }
}

// === impl ClientTls ===

impl ClientTls {
    /// Reloads whenever a file changes, and reports each change once.
    ///
    /// Runs in a task of the current tokio runtime.
    pub fn watch(&self, config: WatchConfig, report: impl Fn(Reload) + Send + 'static) -> Watch {
        let (paths, tls) = (self.paths().map(Path::to_owned).collect(), self.clone());
        start(paths, move || tls.reload(), config, report)
    }
}

// === impl Watch ===

impl Drop for Watch {
    fn drop(&mut self) {
        self.task.abort();
    }
}

fn start(
    paths: Vec<PathBuf>,
    reload: impl Fn() -> Vec<Reload> + Clone + Send + 'static,
    config: WatchConfig,
    report: impl Fn(Reload) + Send + 'static,
) -> Watch {
    let task = tokio::spawn(run(paths, reload, config, report));
    Watch { task: task.abort_handle() }
}

async fn run(
    paths: Vec<PathBuf>,
    reload: impl Fn() -> Vec<Reload> + Clone + Send + 'static,
    config: WatchConfig,
    report: impl Fn(Reload),
) {
    // One slot: a change that is already waiting to be read covers all later ones.
    let (sender, mut changes) = mpsc::channel(1);
    let watcher = notifier(&paths, sender.clone());
    if let Err(error) = &watcher {
        tracing::warn!(%error, files = ?paths, "certificate files are polled only");
    }
    loop {
        // At once as well: for what changed since it was loaded, and a list that had expired by then.
        let news = spawn_blocking(reload.clone()).await.expect("reloading does not panic");
        news.into_iter().for_each(&report);
        if let Ok(Some(())) = timeout(config.poll_interval, changes.recv()).await {
            for _ in 0..QUIET_ROUNDS_MAX {
                if timeout(config.quiet, changes.recv()).await.is_err() {
                    break;
                }
            }
        }
    }
}

fn notifier(paths: &[PathBuf], sender: mpsc::Sender<()>) -> notify::Result<RecommendedWatcher> {
    let mut watcher = notify::recommended_watcher(move |event: notify::Result<notify::Event>| {
        // Reading the files is an event too; to act on it would never end.
        if event.is_ok_and(|event| event.kind.is_access()) {
            return;
        }
        // Full means that a change is waiting to be read already.
        let _ = sender.try_send(());
    })?;
    let folder = |path: &PathBuf| match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent.to_owned(),
        _ => Path::new(".").to_owned(),
    };
    let folders: BTreeSet<_> = paths.iter().map(folder).collect();
    for folder in folders {
        watcher.watch(&folder, RecursiveMode::NonRecursive)?;
    }
    Ok(watcher)
}
