//! The upstream sessions that the gateway keeps on behalf of stateless clients.
//!
//! A server of sessions freezes at `initialize` what its client can be asked, and keeps state for
//! it; a stateless client has neither. So there is one session per principal, server and set of
//! capabilities, opened by the first call and kept while it is used. Its leg chooses a replica when
//! it opens and stays with it while it lives: a caller's calls meet the state that they left.
//!
//! Calls that wait for their client are counted per principal: [`Parked`] is a place in that count.
//! Knows nothing of what is translated: that is `quorate_mcp::dialect::onto_legacy`.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use quorate_mcp::Version;
use quorate_mcp::dialect::legacy::initialize_params;
use quorate_mcp::dialect::onto_legacy::Declared;
use quorate_session::{Delivery, Durability};
use quorate_telemetry::Metrics;
use quorate_telemetry::metrics::Active;
use quorate_types::{Principal, PrincipalDigest, ResourceName, TenantId};
use tokio::sync::OnceCell;

use crate::backend;
use crate::session::{Client, Handle, Scope, Translate};
use crate::shard::{Error, Open, Sessions};
use crate::upstream::SELF;

/// Parked calls of one principal at once: 256, as one session may have. An agent that serves many
/// people may be one principal, and each costs a few kilobytes.
pub const PARKED_MAX: usize = 256;
/// Entries at which dead ones are looked for.
const SWEEP_AT: usize = 64;

/// The upstream sessions of stateless clients. Clones are cheap.
#[derive(Clone)]
pub struct Bridge {
    shared: Arc<Shared>,
}

/// Whose session at which server.
pub struct Wanted<'a> {
    /// Who calls.
    pub principal: PrincipalDigest,
    /// The tenant that it belongs to.
    pub tenant: &'a TenantId,
    /// The same, as it is known now.
    pub owner: &'a Arc<Principal>,
    /// The server, as the caller's configuration has it.
    pub server: &'a backend::Handle,
    /// What the client can be asked.
    pub declared: Declared,
}

/// A parked call's place in its principal's count, given back when dropped.
#[derive(Debug)]
pub struct Parked {
    shared: Arc<Shared>,
    principal: PrincipalDigest,
    /// How the parking ends; none where it did not begin.
    ended: Option<&'static str>,
    active: Option<Active>,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct Key {
    principal: PrincipalDigest,
    server: ResourceName,
    declared: Declared,
}

struct Shared {
    sessions: Sessions,
    metrics: Metrics,
    open: Mutex<Table>,
    parked: Mutex<HashMap<PrincipalDigest, usize>>,
}

struct Table {
    entries: HashMap<Key, Entry>,
    sweep_at: usize,
}

/// A session, and the backend that it is at: a new configuration may have another of its name.
struct Entry {
    server: backend::Handle,
    cell: Arc<OnceCell<Handle>>,
}

// === impl Bridge ===

impl Bridge {
    /// Makes a bridge whose sessions are among `sessions`.
    #[must_use]
    pub fn new(sessions: Sessions, metrics: Metrics) -> Self {
        let open = Mutex::new(Table { entries: HashMap::new(), sweep_at: SWEEP_AT });
        Self { shared: Arc::new(Shared { sessions, metrics, open, parked: Mutex::default() }) }
    }

    /// Returns the session for `wanted`, opening it when there is none; requests that meet in that
    /// moment get the same one.
    ///
    /// # Errors
    /// As [`Sessions::open`].
    pub async fn session(
        &self,
        wanted: Wanted<'_>,
        translate: impl FnOnce() -> Arc<dyn Translate>,
    ) -> Result<Handle, Error> {
        let key = Key { principal: wanted.principal, server: wanted.server.name().clone(), declared: wanted.declared };
        let cell = self.cell(&key, wanted.server);
        let opened = cell.get_or_try_init(|| self.open(&wanted, translate)).await?;
        Ok(opened.clone())
    }

    /// Takes a place among the parked calls of `principal`; none when all are taken.
    #[must_use]
    pub fn park(&self, principal: PrincipalDigest) -> Option<Parked> {
        let mut parked = lock(&self.shared.parked);
        let count = parked.entry(principal).or_default();
        if *count >= PARKED_MAX {
            self.shared.metrics.limit_hit("parked");
            return None;
        }
        *count += 1;
        Some(Parked { shared: Arc::clone(&self.shared), principal, ended: None, active: None })
    }

    /// Returns the cell of a session that is live or about to be opened.
    fn cell(&self, key: &Key, server: &backend::Handle) -> Arc<OnceCell<Handle>> {
        let mut table = lock(&self.shared.open);
        if let Some(entry) = table.entries.get(key).filter(|entry| entry.is_usable() && entry.server.is_same(server)) {
            return Arc::clone(&entry.cell);
        }
        if table.entries.len() >= table.sweep_at {
            table.entries.retain(|_, entry| entry.is_usable());
            table.sweep_at = SWEEP_AT.max(table.entries.len() * 2);
        }
        let cell = Arc::new(OnceCell::new());
        table.entries.insert(key.clone(), Entry { server: server.clone(), cell: Arc::clone(&cell) });
        cell
    }

    async fn open(&self, wanted: &Wanted<'_>, translate: impl FnOnce() -> Arc<dyn Translate>) -> Result<Handle, Error> {
        let version = Version::LATEST_LEGACY;
        let params = initialize_params(version, &wanted.declared.to_json(), &SELF.to_json());
        let client = Client { version, initialize_params: params.into(), view: u64::from(wanted.declared.bits()) };
        let open = Open {
            principal: wanted.principal,
            tenant: wanted.tenant.clone(),
            scope: Scope::Server(wanted.server.name().clone()),
            delivery: Delivery::Calls,
            client: Some(client),
            translate: translate(),
            memory: Arc::default(),
            durability: Durability::Strict,
            owner: Arc::clone(wanted.owner),
        };
        self.shared.sessions.open(open).await
    }
}

// === impl Entry ===

impl Entry {
    /// One that is being opened counts: whoever opens it holds the cell, too.
    fn is_usable(&self) -> bool {
        match self.cell.get() {
            Some(session) => session.is_live(),
            None => Arc::strong_count(&self.cell) > 1,
        }
    }
}

// === impl Parked ===

impl Parked {
    /// The call is parked.
    pub(crate) fn begun(mut self) -> Self {
        self.active = Some(self.shared.metrics.call_parked());
        self.ended = Some("ended");
        self
    }

    /// Gives the place back, and says how the parking ended.
    pub(crate) fn ended(mut self, result: &'static str) {
        self.ended = Some(result);
    }
}

impl Drop for Parked {
    fn drop(&mut self) {
        if let Some(result) = self.ended {
            self.shared.metrics.parking_ended(result);
        }
        let mut parked = lock(&self.shared.parked);
        if let Some(count) = parked.get_mut(&self.principal) {
            *count -= 1;
            if *count == 0 {
                parked.remove(&self.principal);
            }
        }
    }
}

// === impl Shared ===

impl std::fmt::Debug for Shared {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Bridge")
    }
}

/// Locks a mutex whose critical sections do not panic half-way through a change.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
