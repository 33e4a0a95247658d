//! A tool server that is a child process, spoken to over its standard streams, in both eras.
//!
//! ```text
//!                     ┌── spares: started ahead, not initialized
//! StdioEndpoint ─ Server ── Session   a child of its own per legacy session (isolation: session)
//!                     ├── Sharing     one child for all legacy sessions       (isolation: shared)
//!                     └── Calls       one child for all stateless calls
//! ```
//!
//! Whoever needs a child takes a spare or starts one, in its own task; the actor [`actor`] only keeps spares ready. A
//! process that keeps failing is started again with a back-off and then rests (`crate::restarts`). Children end with
//! whoever uses them, and with this process: that is the work of `quorate_stdio`.
//!
//! Spec: MCP, "Transports", stdio; 2026-07-28 "Versioning" for the order in which eras are tried.

pub(crate) mod actor;
mod calls;
mod connection;
mod gate;
mod probe;
mod recipe;
mod server;
mod session;
mod sharing;

use std::sync::Arc;
use std::time::Duration;

use quorate_stdio::Guard;
use quorate_telemetry::StdioMetrics;

pub(super) use self::probe::{discover, probe};
pub use self::recipe::{Recipe, Value};
pub(crate) use self::server::Server;
pub(super) use self::session::Session;
pub(super) use self::sharing::SharedSession;
use super::endpoint::Limits;
use crate::restarts::Policy;

/// A tool server as a child process; already valid.
#[derive(Clone, Debug)]
pub struct Config {
    /// What is run.
    pub recipe: Recipe,
    /// Whether legacy sessions share a process.
    pub isolation: Isolation,
    /// Processes that are started ahead; at most `children_max`.
    pub spares: usize,
    /// Processes at once, those that are ending included.
    pub children_max: usize,
    /// How long a process may take from its start to its answer to `initialize`.
    pub start_timeout: Duration,
    /// How often it may fail, and when it is started again.
    pub restarts: Policy,
    /// How guards are started.
    pub guard: Guard,
}

/// Whether legacy sessions share a process.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Isolation {
    /// Each session has a process of its own.
    #[default]
    Session,
    /// All sessions share one.
    Shared,
}

/// A tool server that is a child process. Clones are cheap.
#[derive(Clone)]
pub struct StdioEndpoint {
    server: Arc<Server>,
}

// === impl StdioEndpoint ===

impl StdioEndpoint {
    /// Makes an endpoint; nothing is started before it is used, or its actor keeps spares.
    #[must_use]
    pub fn new(config: Config, limits: Limits, metrics: StdioMetrics) -> Self {
        Self { server: Server::new(config, limits, metrics) }
    }

    /// Returns the limits.
    #[must_use]
    pub fn limits(&self) -> &Limits {
        self.server.limits()
    }

    /// Tells whether the process failed so often that it rests.
    #[must_use]
    pub fn is_down(&self) -> bool {
        self.server.is_down()
    }

    /// Ends what nobody uses, and starts nothing any more; what is in use ends with its user.
    pub fn close(&self) {
        self.server.close();
    }

    /// Closes, and waits until no process is left, at most for as long as ending one takes.
    pub(crate) async fn end(&self) {
        self.close();
        let ended = tokio::time::timeout(quorate_stdio::ENDING_MAX, self.server.none_left()).await;
        if ended.is_err() {
            tracing::warn!(server = %self.server.name(), "processes are still in use, and end with the node");
        }
    }

    pub(crate) fn server(&self) -> &Arc<Server> {
        &self.server
    }
}

impl std::fmt::Debug for StdioEndpoint {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("StdioEndpoint").field("server", &self.server.name()).finish_non_exhaustive()
    }
}

impl std::fmt::Display for StdioEndpoint {
    /// Writes the program, without its arguments: they may hold secrets.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "stdio:{}", self.server.program().display())
    }
}
