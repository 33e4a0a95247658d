//! One-for-one supervision with back-off and a meltdown window.
//!
//! A [`Supervisor`] adopts children of one kind and restarts each that fails, after a delay that
//! doubles with every failure inside the window. A child that fails more often than
//! [`RESTARTS_MAX`] within [`WINDOW`] melted down: it stays stopped, loudly, and the others go
//! on. A child's failure never takes the supervisor down, and each restart is logged with its
//! reason.
//!
//! | Message | Effect | Reply | Overload |
//! |---|---|---|---|
//! | `Adopt` | starts a child, replacing one of the same name | whether it started | bounded by the configuration's size |
//! | `Dismiss` | stops a child | when it was told to stop | same |
//! | `Restart` | starts a child again after its back-off | none | one timer per failed child |

use std::collections::HashMap;
use std::future::Future;
use std::marker::PhantomData;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use ractor::{Actor, ActorCell, ActorId, ActorProcessingErr, ActorRef, RpcReplyPort, SupervisionEvent};
use tracing::{error, warn};

use crate::clock;
use crate::restarts::{Policy, Restarts, Verdict};

/// Failures within [`WINDOW`] after which a child stays stopped.
pub const RESTARTS_MAX: usize = 10;
/// The window in which failures count: a child that lives longer starts afresh.
pub const WINDOW: Duration = Duration::from_secs(60);
/// Delay before the first restart, doubled for each failure in the window: 10 ms to 5 s.
const BACKOFF_BASE: Duration = Duration::from_millis(10);
const BACKOFF_MAX: Duration = Duration::from_secs(5);
const POLICY: Policy =
    Policy { failures_max: RESTARTS_MAX, window: WINDOW, delay: BACKOFF_BASE, delay_max: BACKOFF_MAX };

/// Returns a name that no other child of this process has, for one that stands beside another of its name for a while: the
/// one that it is going to replace.
pub(crate) fn unique(name: &str) -> String {
    static NEXT: AtomicU64 = AtomicU64::new(1);
    format!("{name}#{}", NEXT.fetch_add(1, Ordering::Relaxed))
}

/// Something that can be started again after it failed.
pub trait Child: Clone + Send + Sync + 'static {
    /// Its name, unique under its supervisor.
    fn name(&self) -> String;

    /// Starts its actor, linked to `supervisor`.
    fn start(&self, supervisor: ActorCell) -> impl Future<Output = Result<ActorCell, ActorProcessingErr>> + Send;

    /// Tells its actor to stop.
    fn stop(&self);
}

/// The messages of a supervisor; see the table above.
pub enum Message<C> {
    /// Start a child.
    Adopt {
        /// The child.
        child: C,
        /// The reason when it did not start.
        reply: RpcReplyPort<Result<(), String>>,
    },
    /// Stop a child.
    Dismiss {
        /// The child's name.
        name: String,
        /// Answered when it was told to stop.
        reply: RpcReplyPort<()>,
    },
    /// Start a failed child again.
    Restart {
        /// The child's name.
        name: String,
        /// Which adoption of that name: a restart of a child that was replaced is void.
        adoption: u64,
    },
}

/// Supervises children of one kind.
pub struct Supervisor<C> {
    kind: PhantomData<fn() -> C>,
}

/// The children of a supervisor.
pub struct State<C> {
    children: HashMap<String, Entry<C>>,
    names: HashMap<ActorId, String>,
    adoptions: u64,
}

struct Entry<C> {
    child: C,
    adoption: u64,
    running: Option<ActorId>,
    restarts: Restarts,
}

// === impl Supervisor ===

impl<C: Child> Supervisor<C> {
    /// Spawns a supervisor, linked to `parent`.
    ///
    /// # Errors
    /// When the actor cannot be spawned.
    pub async fn spawn(parent: ActorCell) -> Result<ActorRef<Message<C>>, ActorProcessingErr> {
        let (actor, _task) = Actor::spawn_linked(None, Self { kind: PhantomData }, (), parent).await?;
        Ok(actor)
    }
}

impl<C: Child> Actor for Supervisor<C> {
    type Msg = Message<C>;
    type State = State<C>;
    type Arguments = ();

    async fn pre_start(&self, _myself: ActorRef<Message<C>>, (): ()) -> Result<State<C>, ActorProcessingErr> {
        Ok(State { children: HashMap::new(), names: HashMap::new(), adoptions: 0 })
    }

    async fn handle(
        &self,
        myself: ActorRef<Message<C>>,
        message: Message<C>,
        state: &mut State<C>,
    ) -> Result<(), ActorProcessingErr> {
        match message {
            Message::Adopt { child, reply } => {
                let name = child.name();
                state.dismiss(&name);
                state.adoptions += 1;
                let entry = Entry { child, adoption: state.adoptions, running: None, restarts: Restarts::new(POLICY) };
                state.children.insert(name.clone(), entry);
                let started = state.start(&myself, &name).await;
                if started.is_err() {
                    state.children.remove(&name);
                }
                // A caller that no longer waits has given up on its change.
                let _abandoned = reply.send(started);
            }
            Message::Dismiss { name, reply } => {
                state.dismiss(&name);
                // As above.
                let _abandoned = reply.send(());
            }
            Message::Restart { name, adoption } => {
                let is_present = state.children.get(&name).is_some_and(|entry| entry.adoption == adoption);
                if is_present && let Err(reason) = state.start(&myself, &name).await {
                    state.failed(&myself, &name, &reason);
                }
            }
        }
        Ok(())
    }

    async fn handle_supervisor_evt(
        &self,
        myself: ActorRef<Message<C>>,
        event: SupervisionEvent,
        state: &mut State<C>,
    ) -> Result<(), ActorProcessingErr> {
        match event {
            SupervisionEvent::ActorFailed(cell, reason) => {
                if let Some(name) = state.names.remove(&cell.get_id()) {
                    state.failed(&myself, &name, &reason.to_string());
                }
            }
            SupervisionEvent::ActorTerminated(cell, _, _) => {
                state.names.remove(&cell.get_id());
            }
            SupervisionEvent::ActorStarted(_) | SupervisionEvent::ProcessGroupChanged(_) => {}
        }
        Ok(())
    }
}

// === impl State ===

impl<C: Child> State<C> {
    async fn start(&mut self, myself: &ActorRef<Message<C>>, name: &str) -> Result<(), String> {
        let Some(entry) = self.children.get_mut(name) else {
            return Ok(()); // Dismissed while its restart was pending.
        };
        let cell = entry.child.start(myself.get_cell()).await.map_err(|reason| reason.to_string())?;
        entry.running = Some(cell.get_id());
        self.names.insert(cell.get_id(), name.to_owned());
        Ok(())
    }

    fn dismiss(&mut self, name: &str) {
        if let Some(entry) = self.children.remove(name) {
            if let Some(id) = entry.running {
                self.names.remove(&id);
            }
            entry.child.stop();
        }
    }

    fn failed(&mut self, myself: &ActorRef<Message<C>>, name: &str, reason: &str) {
        let Some(entry) = self.children.get_mut(name) else {
            return;
        };
        entry.running = None;
        match entry.restarts.failed(clock::now()) {
            Verdict::Melted { failures } => {
                error!(
                    child = name,
                    reason, failures, "melted down: the actor stays stopped until its resource changes"
                );
            }
            Verdict::Again { after, failures } => {
                warn!(child = name, reason, failures, delay = ?after, "an actor failed and is restarted");
                let (name, adoption) = (name.to_owned(), entry.adoption);
                myself.send_after(after, move || Message::Restart { name, adoption });
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::sync::atomic::{AtomicUsize, Ordering};

    use super::*;

    /// A child whose actor panics on its first message, a given number of times.
    #[derive(Clone)]
    struct Fragile {
        starts: Arc<AtomicUsize>,
        panics: usize,
    }

    struct FragileActor;

    impl Actor for FragileActor {
        type Msg = ();
        type State = bool;
        type Arguments = bool;

        async fn pre_start(&self, myself: ActorRef<()>, panics: bool) -> Result<bool, ActorProcessingErr> {
            myself.cast(())?;
            Ok(panics)
        }

        async fn handle(&self, _: ActorRef<()>, (): (), panics: &mut bool) -> Result<(), ActorProcessingErr> {
            if *panics { Err("as told".into()) } else { Ok(()) }
        }
    }

    impl Child for Fragile {
        fn name(&self) -> String {
            "fragile".to_owned()
        }

        async fn start(&self, supervisor: ActorCell) -> Result<ActorCell, ActorProcessingErr> {
            let start = self.starts.fetch_add(1, Ordering::SeqCst);
            let (actor, _task) = Actor::spawn_linked(None, FragileActor, start < self.panics, supervisor).await?;
            Ok(actor.get_cell())
        }

        fn stop(&self) {}
    }

    struct Root;

    impl Actor for Root {
        type Msg = ();
        type State = ();
        type Arguments = ();

        async fn pre_start(&self, _: ActorRef<()>, (): ()) -> Result<(), ActorProcessingErr> {
            Ok(())
        }
    }

    async fn starts_of(panics: usize) -> usize {
        let (root, _task) = Actor::spawn(None, Root, ()).await.expect("the root starts");
        let supervisor = Supervisor::<Fragile>::spawn(root.get_cell()).await.expect("the supervisor starts");
        let starts = Arc::new(AtomicUsize::new(0));
        let child = Fragile { starts: Arc::clone(&starts), panics };

        ractor::call!(supervisor, |reply| Message::Adopt { child, reply })
            .expect("the supervisor answers")
            .expect("the child starts");

        // Paused time runs to the last timer: all restarts have happened when this returns.
        tokio::time::sleep(WINDOW).await;
        root.stop(None);
        starts.load(Ordering::SeqCst)
    }

    #[tokio::test(start_paused = true)]
    async fn a_failed_child_is_started_again_until_it_stays_up() {
        assert_eq!(starts_of(3).await, 4);
    }

    #[tokio::test(start_paused = true)]
    async fn a_child_that_keeps_failing_melts_down_and_stays_stopped() {
        assert_eq!(starts_of(usize::MAX).await, 1 + RESTARTS_MAX);
    }

    #[tokio::test(start_paused = true)]
    async fn a_restart_that_is_pending_when_its_child_is_replaced_starts_nothing() {
        let (root, _task) = Actor::spawn(None, Root, ()).await.expect("the root starts");
        let supervisor = Supervisor::<Fragile>::spawn(root.get_cell()).await.expect("the supervisor starts");
        let (before, after) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
        for (starts, panics) in [(&before, 1), (&after, 0)] {
            let child = Fragile { starts: Arc::clone(starts), panics };
            ractor::call!(supervisor, |reply| Message::Adopt { child, reply })
                .expect("the supervisor answers")
                .expect("the child starts");
            // Long enough for the first one to fail, too short for its restart.
            tokio::time::sleep(BACKOFF_BASE / 2).await;
        }

        tokio::time::sleep(WINDOW).await;
        root.stop(None);

        assert_eq!(before.load(Ordering::SeqCst), 1);
        assert_eq!(after.load(Ordering::SeqCst), 1, "the restart of the one before is void");
    }
}
