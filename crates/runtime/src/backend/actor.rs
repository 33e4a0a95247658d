//! The actor of one backend: probes its eras and checks its replicas' health.
//!
//! Probes and checks run in tasks of their own, so that a hanging server never blocks the
//! mailbox; each reports back with one message. A server whose eras are not known is probed with
//! a back-off; one that is known is probed again every [`REPROBE_AFTER`], and at once when an
//! answer contradicts what is known.
//!
//! Supervision: `Backends` restarts it with a back-off; the state in [`Shared`] survives.

use std::sync::Arc;
use std::time::Duration;

use quorate_mcp::subscription::{Interest, ListenId, Rejection, SubscriberId};
use quorate_scheduler::Outcome;
use quorate_types::PrincipalDigest;
use ractor::{Actor, ActorCell, ActorProcessingErr, ActorRef, SupervisionEvent};
use tokio::sync::oneshot;
use tokio::task::AbortHandle;
use tracing::{debug, info, warn};

use super::hub::{Heard, HubShell, Subscription};
use super::{Shared, Support, lock, own};
use crate::clock;
use crate::upstream::{self, Endpoint, LegacySupport, Probe, modern, probe, stdio};

/// How long what a server speaks is believed: 10 min. Servers change eras when they are upgraded,
/// which mostly shows as failed checks first; this bounds the rest.
const REPROBE_AFTER: Duration = Duration::from_secs(600);
/// First delay after a failed probe, then doubled: 500 ms, so that a server that starts together
/// with the node is found soon.
const PROBE_BACKOFF_BASE: Duration = Duration::from_millis(500);
/// What a check asks: servers of every era answer it without side effects.
const DISCOVER: &str = "server/discover";
/// Longest delay between failed probes.
const PROBE_BACKOFF_MAX: Duration = Duration::from_secs(30);

/// The messages of a backend's actor; see the table in the parent module.
pub(super) enum Message {
    /// Check every replica whose check is due.
    Check,
    /// A check of a replica ended.
    Checked { replica: usize, outcome: Outcome },
    /// Probe the eras.
    Probe,
    /// A probe ended.
    Probed { result: Result<Probe, upstream::Error> },
    /// A client wants change notifications.
    Join { principal: PrincipalDigest, interest: Interest, reply: oneshot::Sender<Result<Subscription, Rejection>> },
    /// A client wants no more of them.
    Leave { subscriber: SubscriberId },
    /// An upstream listen said something.
    Heard { listen: ListenId, heard: Heard, read_on: Option<oneshot::Sender<()>> },
    /// The hub's timer is due.
    HubTick,
}

struct BackendActor;

struct State {
    shared: Arc<Shared>,
    probing: bool,
    /// The timer of the next probe: one, whoever asked for the last.
    reprobe: Option<AbortHandle>,
    failures: u32,
    hub: HubShell,
}

/// Spawns the actor, linked to `supervisor`.
pub(super) async fn spawn(shared: Arc<Shared>, supervisor: ActorCell) -> Result<ActorRef<Message>, ActorProcessingErr> {
    let (actor, _task) = Actor::spawn_linked(None, BackendActor, shared, supervisor).await?;
    Ok(actor)
}

impl Actor for BackendActor {
    type Msg = Message;
    type State = State;
    type Arguments = Arc<Shared>;

    async fn pre_start(&self, myself: ActorRef<Message>, shared: Arc<Shared>) -> Result<State, ActorProcessingErr> {
        for endpoint in &shared.config.endpoints {
            if let Endpoint::Stdio(endpoint) = endpoint {
                stdio::actor::spawn(Arc::clone(endpoint.server()), myself.get_cell()).await?;
            }
        }
        myself.cast(Message::Probe)?;
        myself.send_after(shared.config.health.check_interval, || Message::Check);
        Ok(State::new(shared))
    }

    async fn handle(
        &self,
        myself: ActorRef<Message>,
        message: Message,
        state: &mut State,
    ) -> Result<(), ActorProcessingErr> {
        match message {
            Message::Check => state.check(&myself),
            Message::Checked { replica, outcome } => state.checked(replica, outcome),
            Message::Probe => state.probe(&myself),
            Message::Probed { result } => state.probed(&myself, result),
            Message::Join { principal, interest, reply } => {
                state.hub.join(&state.shared, &myself, (principal, interest), reply);
            }
            Message::Leave { subscriber } => state.hub.leave(&state.shared, &myself, subscriber),
            Message::Heard { listen, heard, read_on } => {
                state.hub.heard(&state.shared, &myself, listen, heard);
                if let Some(read_on) = read_on {
                    // A listen that was closed meanwhile reads no more.
                    let _closed = read_on.send(());
                }
            }
            Message::HubTick => state.hub.tick(&state.shared, &myself),
        }
        Ok(())
    }

    /// An actor of a child process that fails takes this one along: both are started again.
    async fn handle_supervisor_evt(
        &self,
        _myself: ActorRef<Message>,
        event: SupervisionEvent,
        _state: &mut State,
    ) -> Result<(), ActorProcessingErr> {
        match event {
            SupervisionEvent::ActorFailed(_, reason) => Err(reason),
            SupervisionEvent::ActorTerminated(..)
            | SupervisionEvent::ActorStarted(_)
            | SupervisionEvent::ProcessGroupChanged(_) => Ok(()),
        }
    }
}

// === impl State ===

impl State {
    fn new(shared: Arc<Shared>) -> Self {
        Self { shared, probing: false, reprobe: None, failures: 0, hub: HubShell::new() }
    }

    fn check(&mut self, myself: &ActorRef<Message>) {
        let due = lock(&self.shared.replicas).due_checks(clock::now());
        for replica in due {
            let endpoint = self.shared.config.endpoints[replica].clone();
            let patience = self.shared.config.check_timeout;
            let actor = myself.clone();
            tokio::spawn(async move {
                let outcome = check(&endpoint, patience).await;
                // The actor may be gone by now: then nobody wants the outcome.
                let _gone = actor.cast(Message::Checked { replica, outcome });
            });
        }
        myself.send_after(self.shared.config.health.check_interval, || Message::Check);
    }

    fn checked(&mut self, replica: usize, outcome: Outcome) {
        let changed = lock(&self.shared.replicas).check_ended(replica, outcome, clock::now());
        let server = &self.shared.config.name;
        if let Some(change) = changed {
            let healthy = change.healthy();
            let endpoint = &self.shared.config.endpoints[replica];
            info!(%server, %endpoint, healthy, "the health of a replica changed");
        }
        self.shared.report_health();
    }

    fn probe(&mut self, myself: &ActorRef<Message>) {
        if self.probing {
            return;
        }
        self.probing = true;
        let replica = lock(&self.shared.replicas).pick(clock::now(), crate::entropy::spread(), &[]);
        let replica = replica.map_or(0, |pick| pick.replica);
        let endpoint = self.shared.config.endpoints[replica].clone();
        let (era, transport) = (self.shared.config.era, self.shared.config.transport);
        let actor = myself.clone();
        tokio::spawn(async move {
            let result = probe(&endpoint, era, transport).await;
            // As above: a gone actor wants no result.
            let _gone = actor.cast(Message::Probed { result });
        });
    }

    fn probed(&mut self, myself: &ActorRef<Message>, result: Result<Probe, upstream::Error>) {
        self.probing = false;
        if let Some(timer) = self.reprobe.take() {
            timer.abort();
        }
        let server = &self.shared.config.name;
        let again = match result {
            Ok(probe) => {
                self.failures = 0;
                let mut support = Support::from(probe);
                if support.legacy == LegacySupport::Unknown {
                    // A probe that did not ask takes nothing back of what sessions have shown.
                    support.legacy = self.shared.support.borrow().legacy.clone();
                }
                debug!(%server, modern = support.speaks_modern(), legacy = ?support.legacy, "probed");
                self.shared.support.send_replace(support);
                if self.shared.config.endpoints.iter().all(|endpoint| matches!(endpoint, Endpoint::Stdio(_))) {
                    return; // The same program speaks the same eras: no process is started to ask it again.
                }
                REPROBE_AFTER
            }
            Err(error) => {
                self.failures = self.failures.saturating_add(1);
                if self.failures == 1 {
                    warn!(%server, %error, "the server's protocol era is not known: it does not answer as an MCP server");
                }
                // What was known stays: an outage is no evidence of another era.
                self.shared.support.send_modify(|support| {
                    support.probed = true;
                    support.failure = Some(error.to_string());
                });
                backoff(self.failures)
            }
        };
        self.reprobe = Some(myself.send_after(again, || Message::Probe).abort_handle());
    }
}

/// Any answer that is not a server fault shows that the replica is alive, whatever it speaks.
async fn check(endpoint: &Endpoint, patience: Duration) -> Outcome {
    if let Endpoint::Stdio(process) = endpoint {
        // Checks start no processes: what ends or does not start is counted where it happens.
        return if process.is_down() { Outcome::Failure } else { Outcome::Success };
    }
    let body = own::request(1, DISCOVER, "{}", None);
    let answer = tokio::time::timeout(patience, modern::send(endpoint, modern::own_headers(DISCOVER), body)).await;
    match answer {
        Ok(Ok(_)) => Outcome::Success,
        Ok(Err(error)) if !error.counts_against_health() => Outcome::Success,
        // What is no MCP is still an answer of a live server, for example of an HTTP+SSE one.
        Ok(Err(upstream::Error::Malformed(_))) => Outcome::Success,
        Ok(Err(_)) | Err(_) => Outcome::Failure,
    }
}

fn backoff(failures: u32) -> Duration {
    let factor = 1_u32 << failures.saturating_sub(1).min(10);
    PROBE_BACKOFF_BASE.saturating_mul(factor).min(PROBE_BACKOFF_MAX)
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::Ordering;

    use super::*;
    use crate::backend::support::{actor, backend};

    #[tokio::test(start_paused = true)]
    async fn probes_that_are_asked_for_leave_one_timer() {
        let (counter, probes) = actor().await;
        let mut state = State::new(Arc::clone(&backend().shared));
        let refused = || Err(upstream::Error::Connect { reason: "refused".to_owned() });
        let probed = || Ok(Probe { modern: None, legacy: LegacySupport::Unsupported });

        state.probed(&counter, refused());
        for _ in 0..10 {
            state.probed(&counter, probed());
        }
        tokio::time::sleep(REPROBE_AFTER + Duration::from_secs(1)).await;

        assert_eq!(probes.load(Ordering::Relaxed), 1);
        counter.stop(None);
    }

    #[test]
    fn the_back_off_doubles_up_to_its_bound() {
        let delays: Vec<u128> = (1..=9).map(|failures| backoff(failures).as_millis()).collect();
        assert_eq!(delays, [500, 1_000, 2_000, 4_000, 8_000, 16_000, 30_000, 30_000, 30_000]);
        assert_eq!(backoff(u32::MAX), PROBE_BACKOFF_MAX);
    }
}
