//! The actor of a tool server that is a child process: it keeps as many spares ready as are configured.
//!
//! | Message | Effect | Reply | Overload |
//! |---|---|---|---|
//! | `Refill` | starts the spares that are missing | none | at most [`STARTING_MAX`] starts are under way |
//! | `Started` | a start has ended; refills, later after a failure | none | one per start |
//!
//! Supervision: its `Backend` fails with it, and is restarted by `Backends` with a back-off; the spares and everything
//! else survive in [`Server`].

use std::sync::Arc;
use std::time::Duration;

use ractor::{Actor, ActorCell, ActorProcessingErr, ActorRef};

use super::server::Server;

/// Starts under way at once: 4, so that a thousand spares do not keep the machine from everything else.
const STARTING_MAX: usize = 4;
/// Pause after a start that failed; the server's own back-off comes on top of it.
const PAUSE: Duration = Duration::from_secs(1);

/// The messages of the actor; see the table above.
pub(crate) enum Message {
    /// Start the spares that are missing.
    Refill,
    /// A start has ended.
    Started {
        /// Whether there is one spare more.
        is_there: bool,
    },
}

struct StdioServer;

struct State {
    server: Arc<Server>,
    starting: usize,
}

/// Spawns the actor, linked to `supervisor`.
pub(crate) async fn spawn(server: Arc<Server>, supervisor: ActorCell) -> Result<(), ActorProcessingErr> {
    let (actor, _task) = Actor::spawn_linked(None, StdioServer, Arc::clone(&server), supervisor).await?;
    server.attach(actor);
    Ok(())
}

impl Actor for StdioServer {
    type Msg = Message;
    type State = State;
    type Arguments = Arc<Server>;

    async fn pre_start(&self, myself: ActorRef<Message>, server: Arc<Server>) -> Result<State, ActorProcessingErr> {
        myself.cast(Message::Refill)?;
        Ok(State { server, starting: 0 })
    }

    async fn handle(
        &self,
        myself: ActorRef<Message>,
        message: Message,
        state: &mut State,
    ) -> Result<(), ActorProcessingErr> {
        match message {
            Message::Refill => state.refill(&myself),
            Message::Started { is_there } => {
                state.starting -= 1;
                if is_there {
                    state.refill(&myself);
                } else {
                    myself.send_after(PAUSE, || Message::Refill);
                }
            }
        }
        Ok(())
    }
}

// === impl State ===

impl State {
    fn refill(&mut self, myself: &ActorRef<Message>) {
        let missing = self.server.spares_missing().min(STARTING_MAX);
        while self.starting < missing {
            self.starting += 1;
            let (server, actor) = (Arc::clone(&self.server), myself.clone());
            tokio::spawn(async move {
                let started = server.start_spare().await;
                if let Err(error) = &started {
                    tracing::debug!(server = %server.name(), %error, "no spare process");
                }
                // A stopped actor keeps no spares.
                let _stopped = actor.cast(Message::Started { is_there: started.is_ok() });
            });
        }
    }
}
