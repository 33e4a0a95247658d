//! The loop that runs the newest revision of the documents.
//!
//! | It finds | It does |
//! |---|---|
//! | another revision | compiles it, writes its files, runs it; then looks again |
//! | one that does not compile, or cannot be run | keeps what runs, says why, and tries again later, more and more seldom |
//! | changed files that the running set names | runs the same set again |
//!
//! It works on one revision at a time and takes the newest when it is done, so that a burst of changes costs two. Whatever
//! it does, requests go on with what ran before. It ends with its handle.

use std::path::PathBuf;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use quorate_catalog::Catalog;
use quorate_config::inline::File;
use quorate_config::{ResourceSet, Resources, Watcher, watch};
use quorate_control::Control;
use tokio::sync::watch as channel;
use tokio::task::AbortHandle;
use tokio::time::Instant;

use crate::sets::Sets;
use crate::standing::{self, Refused, Standing};

/// Runs a set instead of what ran before; why not, where that cannot be done, and then nothing has changed.
pub type Run = Arc<dyn Fn(ResourceSet) -> Pin<Box<dyn Future<Output = Result<(), String>> + Send>> + Send + Sync>;

/// What is followed, and who runs it.
pub struct Config {
    /// The catalog of this node.
    pub control: Arc<Control>,
    /// The compiler of this node.
    pub sets: Sets,
    /// What this node has beside the documents of the cluster: the listener of a flag.
    pub local: Resources,
    /// Who runs sets.
    pub run: Run,
    /// How often it looks.
    pub timing: Timing,
}

/// How often it looks.
#[derive(Clone, Copy, Debug)]
pub struct Timing {
    /// How long a change is left to be followed by another: one apply in several commands is one change.
    pub quiet: Duration,
    /// When what could not be run is tried again first; each time later, twice as long.
    pub retry: Duration,
    /// The longest time until it is tried again: what kept it from running may be repaired on the node.
    pub retry_max: Duration,
    /// How files that resources name are watched.
    pub files: watch::Timing,
}

/// Times for production: a change is active a tenth of a second after it is committed, or sooner.
pub const TIMING: Timing = Timing {
    quiet: Duration::from_millis(10),
    retry: Duration::from_secs(1),
    retry_max: Duration::from_secs(30),
    files: watch::Timing::DEFAULTS,
};

/// A running follower; it ends when this is dropped.
#[derive(Debug)]
pub struct Follower {
    status: channel::Receiver<Standing>,
    task: AbortHandle,
}

/// The loop.
struct Loop {
    config: Config,
    status: channel::Sender<Standing>,
    watcher: Watcher,
    /// What runs, to be run again when files change.
    running: Option<ResourceSet>,
    /// When what was refused is tried again, and how long the next wait is.
    again: Option<(Instant, Duration)>,
}

// === impl Follower ===

impl Follower {
    /// Begins to follow, on the current runtime: with the node's copy of the catalog, whether or not there is a quorum.
    #[must_use]
    pub fn spawn(config: Config) -> Self {
        let (status, received) = channel::channel(Standing::default());
        let watcher = Watcher::new(&[], config.timing.files);
        let follow = Loop { config, status, watcher, running: None, again: None };
        Self { status: received, task: tokio::spawn(follow.run()).abort_handle() }
    }

    /// Returns which revision is active on this node, as it changes.
    #[must_use]
    pub fn status(&self) -> channel::Receiver<Standing> {
        self.status.clone()
    }
}

impl Drop for Follower {
    fn drop(&mut self) {
        self.task.abort();
    }
}

// === impl Loop ===

impl Loop {
    async fn run(mut self) {
        let mut changed = self.config.control.changed();
        loop {
            changed.borrow_and_update();
            self.look().await;
            let again = self.again.map(|(at, _)| at);
            tokio::select! {
                seen = changed.changed() => match seen {
                    Ok(()) => tokio::time::sleep(self.config.timing.quiet).await,
                    // The control plane is gone, and with it what there is to follow.
                    Err(_) => return,
                },
                () = self.watcher.changed(), if !self.watcher.is_idle() => self.run_again().await,
                () = tokio::time::sleep_until(again.unwrap_or_else(Instant::now)), if again.is_some() => {}
            }
        }
    }

    /// Runs the newest revision, when it is another than what runs.
    async fn look(&mut self) {
        let catalog = self.config.control.catalog();
        let revision = catalog.revision();
        let (is_active, is_refused) = {
            let status = self.status.borrow();
            (status.active == Some(revision), status.refused.as_ref().is_some_and(|one| one.revision == revision))
        };
        let is_due = self.again.is_some_and(|(at, _)| at <= Instant::now());
        if is_active || is_refused && !is_due {
            return;
        }
        match self.attempt(catalog).await {
            Ok(()) => {
                tracing::info!(revision, "the revision is active");
                self.again = None;
                self.tell(Standing { active: Some(revision), refused: None });
            }
            Err(reason) => {
                let timing = self.config.timing;
                let wait = self.again.filter(|_| is_refused).map_or(timing.retry, |(_, wait)| wait);
                self.again = Some((Instant::now() + wait, (wait * 2).min(timing.retry_max)));
                if !is_refused {
                    tracing::error!(revision, %reason, "the revision cannot be run here; what ran before goes on");
                }
                let active = self.status.borrow().active;
                self.tell(Standing { active, refused: Some(Refused { revision, reason }) });
            }
        }
    }

    /// Compiles and runs what the catalog says.
    async fn attempt(&mut self, catalog: Catalog) -> Result<(), String> {
        let compiled = self.config.sets.compile(catalog).await.map_err(|errors| errors.to_string())?;
        let mut resources = compiled.resources;
        if self.config.local != Resources::default() {
            let mut all = resources.into_resources();
            all.append(self.config.local.clone());
            resources = ResourceSet::new(all).map_err(|errors| format!("with what this node has itself: {errors}"))?;
        }
        let files: Vec<File> = compiled.files;
        self.config.sets.write(files.clone()).await.map_err(|error| error.to_string())?;
        let named: Vec<PathBuf> = resources.named_files();
        self.watcher.also(named);
        (self.config.run)(resources.clone()).await?;
        self.running = Some(resources);
        self.config.sets.prune(files).await;
        Ok(())
    }

    /// Runs what runs again, because files that it names have changed.
    async fn run_again(&mut self) {
        let Some(running) = self.running.clone() else { return };
        match (self.config.run)(running).await {
            Ok(()) => tracing::info!("the changed files that resources name are in force"),
            Err(reason) => {
                tracing::error!(%reason, "the changed files that resources name are refused; what runs stays")
            }
        }
        // What was refused may have been about these files.
        self.again = self.again.map(|(_, wait)| (Instant::now(), wait));
    }

    fn tell(&self, standing: Standing) {
        let changed = self.status.send_if_modified(|before| {
            let changed = *before != standing;
            before.clone_from(&standing);
            changed
        });
        if changed {
            standing::say(&self.config.control, &standing);
        }
    }
}
