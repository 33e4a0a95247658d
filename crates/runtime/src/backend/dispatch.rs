//! The request path of a backend: pick a replica, send, report, try another where that is safe.
//!
//! A call goes to at most [`ATTEMPTS_MAX`] replicas, and to another one only when the failed
//! attempt certainly did not run there. Every attempt reports its outcome to the replicas'
//! machine, and counts as load until its answer has been read to the end: a [`Load`] guard rides
//! with the answer.

use std::sync::Arc;

use bytes::Bytes;
use http::HeaderMap;
use quorate_mcp::Fault;
use quorate_scheduler::Outcome;
use quorate_telemetry::metrics::ReplicaState;
use quorate_types::{Code, ResourceName};

use super::{Handle, Shared, lock};
use crate::places::Place;
use crate::upstream::{self, Answer, modern};
use crate::{clock, entropy};

/// Replicas that one call tries at most: the usual bound of gateways, first try and two more.
const ATTEMPTS_MAX: usize = 3;

/// An answer, with the load that it is until it has been read.
pub struct Sent {
    /// What the server answered.
    pub answer: Answer,
    /// Counts as load of the replica until dropped.
    pub load: Load,
}

/// A call in progress at a replica; ends when dropped.
pub struct Load {
    shared: Arc<Shared>,
    replica: usize,
    place: Place,
}

/// A call to a backend failed.
#[derive(Clone, Debug, thiserror::Error)]
pub enum Error {
    /// As many calls as allowed are under way.
    #[error("tool server `{server}` is busy: {max} calls are under way, which is its limit (limits.concurrency)")]
    Busy {
        /// The tool server.
        server: ResourceName,
        /// Its limit.
        max: usize,
    },
    /// No replica could take it, or the one that did failed.
    #[error("tool server `{server}` failed: {source}")]
    Failed {
        /// The tool server.
        server: ResourceName,
        /// The last attempt's error.
        #[source]
        source: upstream::Error,
    },
}

// === impl Error ===

impl Error {
    /// The class of this failure.
    #[must_use]
    pub fn code(&self) -> Code {
        match self {
            Self::Busy { .. } => Code::ResourceExhausted,
            Self::Failed { source, .. } => source.code(),
        }
    }

    /// What a client is told of it.
    #[must_use]
    pub fn to_fault(&self) -> Fault {
        match self {
            Self::Busy { max, .. } => Fault::LimitExceeded { limit: "concurrency", max: *max as u64 },
            Self::Failed { server, source } => fault_of(server, source),
        }
    }
}

/// What a client is told of an upstream error: without addresses, bodies or secrets.
#[must_use]
pub fn fault_of(server: &ResourceName, error: &upstream::Error) -> Fault {
    let server = server.to_string();
    match error {
        upstream::Error::Timeout { .. } => Fault::BackendTimeout { server },
        upstream::Error::Broken { .. } | upstream::Error::Stalled { .. } => Fault::OutcomeUnknown { server },
        upstream::Error::Connect { .. } => {
            Fault::BackendFailed { server, reason: "it cannot be connected to".to_owned() }
        }
        upstream::Error::Process { reason, .. } => Fault::BackendFailed { server, reason: reason.clone() },
        upstream::Error::Credential { failure } => {
            // The authorization server's words are for the operator, whose log has them.
            Fault::BackendFailed { server, reason: format!("there is no token for it ({})", failure.reason()) }
        }
        upstream::Error::Children { max } => Fault::LimitExceeded { limit: "children", max: *max as u64 },
        upstream::Error::Status { .. }
        | upstream::Error::Fault { .. }
        | upstream::Error::Redirect { .. }
        | upstream::Error::SessionLost
        | upstream::Error::Malformed(_)
        | upstream::Error::Version { .. }
        | upstream::Error::TooLarge { .. }
        | upstream::Error::TooMany { .. }
        | upstream::Error::Busy { .. } => Fault::BackendFailed { server, reason: error.to_string() },
    }
}

// === impl Handle ===

impl Handle {
    /// Sends one stateless request and returns when its answer begins.
    ///
    /// # Errors
    /// [`Error::Busy`] at the concurrency limit, [`Error::Failed`] with the last attempt's error.
    pub async fn send(&self, headers: &HeaderMap, body: &Bytes) -> Result<Sent, Error> {
        let mut place = Some(self.place()?);
        let mut tried = Vec::new();
        loop {
            let (endpoint, load) = self.pick(&tried, &mut place)?;
            match modern::send(&endpoint, headers.clone(), body.clone()).await {
                Ok(answer) => {
                    load.succeeded();
                    return Ok(Sent { answer, load });
                }
                Err(source) => {
                    load.failed(&source);
                    tried.push(load.replica);
                    if !self.try_another(&source, &tried) {
                        return Err(self.failed(source));
                    }
                    place = Some(self.place()?);
                }
            }
        }
    }

    pub(super) fn place(&self) -> Result<Place, Error> {
        self.shared.places.enter().ok_or_else(|| {
            self.shared.metrics.limit_hit("concurrency");
            Error::Busy { server: self.name().clone(), max: self.shared.config.concurrency_max }
        })
    }

    /// Counts a call through a leg as load of the leg's replica, within the concurrency limit.
    ///
    /// # Errors
    /// [`Error::Busy`] at the limit.
    pub(super) fn load(&self, replica: usize) -> Result<Load, Error> {
        let place = self.place()?;
        lock(&self.shared.replicas).begin(replica);
        Ok(Load { shared: Arc::clone(&self.shared), replica, place })
    }

    pub(super) fn pick(&self, tried: &[usize], place: &mut Option<Place>) -> Result<(upstream::Endpoint, Load), Error> {
        let pick = lock(&self.shared.replicas).pick(clock::now(), entropy::spread(), tried);
        let no_replica = || self.failed(upstream::Error::Connect { reason: "no replica is left to try".to_owned() });
        let replica = pick.ok_or_else(no_replica)?.replica;
        lock(&self.shared.replicas).begin(replica);
        let endpoint = self.shared.config.endpoints[replica].clone();
        let place = place.take().ok_or_else(no_replica)?;
        Ok((endpoint, Load { shared: Arc::clone(&self.shared), replica, place }))
    }

    fn try_another(&self, source: &upstream::Error, tried: &[usize]) -> bool {
        source.never_executed() && outcome(source) == Outcome::Failure && tried.len() < self.attempts()
    }

    pub(super) fn attempts(&self) -> usize {
        self.shared.config.endpoints.len().min(ATTEMPTS_MAX)
    }

    pub(super) fn failed(&self, source: upstream::Error) -> Error {
        Error::Failed { server: self.name().clone(), source }
    }
}

// === impl Shared ===

impl Shared {
    fn report(&self, replica: usize, outcome: Outcome) {
        let changed = lock(&self.replicas).report(replica, outcome, clock::now());
        if changed.is_some() {
            self.report_health();
        }
    }

    pub(super) fn report_health(&self) {
        let snapshot = lock(&self.replicas).observe(clock::now());
        let usable = snapshot.usable();
        self.numbers.replicas(ReplicaState::Healthy, usable);
        self.numbers.replicas(ReplicaState::Ejected, snapshot.total() - usable);
    }
}

// === impl Load ===

impl Load {
    /// The replica.
    pub(super) const fn replica(&self) -> usize {
        self.replica
    }

    /// Reports that the replica answered.
    pub fn succeeded(&self) {
        self.shared.report(self.replica, Outcome::Success);
    }

    /// Gives its place within the concurrency limit up for now: the server waits for the client, who
    /// may take minutes, and others must not wait with it.
    pub fn rest(&mut self) {
        self.place.rest();
    }

    /// Takes its place again, beyond the limit where none is free: the server goes on.
    pub fn work(&mut self) {
        self.place.work();
    }

    /// Reports how the replica failed.
    pub fn failed(&self, error: &upstream::Error) {
        self.shared.report(self.replica, outcome(error));
    }
}

impl Drop for Load {
    fn drop(&mut self) {
        lock(&self.shared.replicas).end(self.replica);
    }
}

/// An error that the server itself produced in the protocol's form shows that it is alive.
pub(super) fn outcome(error: &upstream::Error) -> Outcome {
    if error.counts_against_health() { Outcome::Failure } else { Outcome::Success }
}
