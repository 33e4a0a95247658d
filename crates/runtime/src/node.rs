//! The root of a node's actors.
//!
//! `Node` supervises three: the supervisor of ingresses, the supervisor of backends, and the
//! shard. They only fail through a bug of ours; then the node stops, and the process with it,
//! because a node without one of them would pretend to work.
//!
//! | Message | Effect | Reply | Overload |
//! |---|---|---|---|
//! | none | | | |

use std::sync::Arc;

use ractor::{Actor, ActorProcessingErr, ActorRef, SupervisionEvent};
use tokio_util::sync::CancellationToken;

use crate::backend;
use crate::ingress::{self, Service};
use crate::shard::Sessions;
use crate::supervisor::{self, Child, Supervisor};

/// A running node. Clones are cheap.
pub struct Node<S> {
    shared: Arc<Shared<S>>,
}

struct Shared<S> {
    root: ActorRef<()>,
    ingresses: ActorRef<supervisor::Message<ingress::Handle<S>>>,
    backends: ActorRef<supervisor::Message<backend::Handle>>,
    sessions: Sessions,
    failed: CancellationToken,
}

/// An actor of the node did not start or answer.
#[derive(Clone, Debug, thiserror::Error)]
#[error("{what} did not start: {reason}")]
pub struct Error {
    /// What should have started.
    pub what: String,
    /// Why it did not.
    pub reason: String,
}

struct NodeActor;

// === impl Node ===

impl<S: Service> Node<S> {
    /// Starts the node's actors; nothing is listened on yet.
    ///
    /// # Errors
    /// [`Error`] names the actor that did not start.
    pub async fn start(sessions: Sessions) -> Result<Self, Error> {
        let failed = CancellationToken::new();
        let named = |what: &str| {
            let what = what.to_owned();
            move |reason: ActorProcessingErr| Error { what, reason: reason.to_string() }
        };
        let (root, _task) = Actor::spawn(None, NodeActor, failed.clone())
            .await
            .map_err(|reason| Error { what: "the node".to_owned(), reason: reason.to_string() })?;
        let ingresses = Supervisor::spawn(root.get_cell()).await.map_err(named("the ingress supervisor"))?;
        let backends = Supervisor::spawn(root.get_cell()).await.map_err(named("the backend supervisor"))?;
        sessions.start(root.get_cell()).await.map_err(named("the shard"))?;
        Ok(Self { shared: Arc::new(Shared { root, ingresses, backends, sessions, failed }) })
    }

    /// The node's sessions.
    #[must_use]
    pub fn sessions(&self) -> &Sessions {
        &self.shared.sessions
    }

    /// Is cancelled when the node has failed and the process should end.
    #[must_use]
    pub fn failed(&self) -> &CancellationToken {
        &self.shared.failed
    }

    /// Starts a listener, which accepts connections when it is [opened](ingress::Handle::open).
    ///
    /// # Errors
    /// [`Error`] when its actor does not start.
    pub async fn add_ingress(&self, ingress: ingress::Handle<S>) -> Result<(), Error> {
        adopt(&self.shared.ingresses, ingress).await
    }

    /// Stops accepting at a listener; its open requests go on.
    pub async fn remove_ingress(&self, ingress: &ingress::Handle<S>) {
        dismiss(&self.shared.ingresses, ingress.name()).await;
    }

    /// Starts a backend.
    ///
    /// # Errors
    /// [`Error`] when its actor does not start.
    pub async fn add_backend(&self, backend: backend::Handle) -> Result<(), Error> {
        adopt(&self.shared.backends, backend).await
    }

    /// Stops a backend's actor; calls under way go on.
    pub async fn remove_backend(&self, backend: &backend::Handle) {
        dismiss(&self.shared.backends, Child::name(backend)).await;
    }

    /// Stops every actor.
    pub fn stop(&self) {
        self.shared.root.stop(Some("node stopped".to_owned()));
    }
}

impl<S> Clone for Node<S> {
    fn clone(&self) -> Self {
        Self { shared: Arc::clone(&self.shared) }
    }
}

impl Actor for NodeActor {
    type Msg = ();
    type State = CancellationToken;
    type Arguments = CancellationToken;

    async fn pre_start(
        &self,
        _: ActorRef<()>,
        failed: CancellationToken,
    ) -> Result<CancellationToken, ActorProcessingErr> {
        Ok(failed)
    }

    async fn handle_supervisor_evt(
        &self,
        _: ActorRef<()>,
        event: SupervisionEvent,
        failed: &mut CancellationToken,
    ) -> Result<(), ActorProcessingErr> {
        match event {
            SupervisionEvent::ActorFailed(cell, reason) => {
                tracing::error!(actor = %cell.get_id(), %reason, "a root actor failed; the node stops");
                failed.cancel();
                Err("a root actor failed".into())
            }
            SupervisionEvent::ActorTerminated(..)
            | SupervisionEvent::ActorStarted(_)
            | SupervisionEvent::ProcessGroupChanged(_) => Ok(()),
        }
    }
}

async fn adopt<C: Child>(supervisor: &ActorRef<supervisor::Message<C>>, child: C) -> Result<(), Error> {
    let what = child.name();
    let started = ractor::call!(supervisor, |reply| supervisor::Message::Adopt { child, reply });
    let reason = match started {
        Ok(Ok(())) => return Ok(()),
        Ok(Err(reason)) => reason,
        Err(gone) => gone.to_string(),
    };
    Err(Error { what, reason })
}

async fn dismiss<C: Child>(supervisor: &ActorRef<supervisor::Message<C>>, name: String) {
    // A supervisor that is gone has no children left to stop.
    let _gone = ractor::call!(supervisor, |reply| supervisor::Message::Dismiss { name, reply });
}
