//! One listener: accepts connections, bounds them, and drains them.
//!
//! The accept loop is a task of the actor; connections are tasks tracked by it. Each holds a
//! permit of the listener's connection limit: at the limit the loop stops accepting, and further
//! clients wait in the kernel's queue. The socket belongs to the handle and the loop alone: it
//! survives a restart of the actor, may be handed to the listener that replaces this one, and is
//! closed when draining begins, however long connections go on.
//!
//! | Message | Effect | Reply | Overload |
//! |---|---|---|---|
//! | `Ended` | the accept loop ended without being told: the actor fails | none | once |
//!
//! Supervision: one-for-one with back-off. Neither the socket nor connections end with a restart.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use http::{Request, Response};
use quorate_http::observe::limit;
use quorate_http::server::{BindError, ConnectionError, Listener, Peer, Server};
use quorate_http::{Observer, RequestBody, ResponseBody};
use quorate_telemetry::Metrics;
use quorate_types::ResourceName;
use ractor::{Actor, ActorCell, ActorProcessingErr, ActorRef};
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::supervisor::{self, Child};

/// Answers the requests of a listener's connections.
pub trait Service: Send + Sync + 'static {
    /// Answers one request that came to the listener at `local` from `peer`.
    fn answer(
        self: Arc<Self>,
        local: SocketAddr,
        peer: Peer,
        request: Request<RequestBody>,
    ) -> impl Future<Output = Response<ResponseBody>> + Send;
}

/// What a listener is made of; already valid.
pub struct Config<S> {
    /// Its name.
    pub name: ResourceName,
    /// The address to bind.
    pub address: SocketAddr,
    /// The connections that it serves at once.
    pub connections_max: usize,
    /// Serves one connection, within its limits.
    pub server: Server,
    /// Answers requests.
    pub service: Arc<S>,
    /// Where numbers go.
    pub metrics: Metrics,
}

/// A listener of this node. Clones are cheap.
pub struct Handle<S> {
    shared: Arc<Shared<S>>,
}

/// A bound socket, which the listener that replaces a running one takes over. Clones are cheap.
#[derive(Clone)]
pub struct Socket(Arc<Listener>);

struct Shared<S> {
    /// Its name among its supervisor's children.
    child: String,
    config: Config<S>,
    /// Bound once: a restart of the actor must not lose the port. Gone when the listener stops, so
    /// that the system refuses new connections instead of queueing them for nobody.
    socket: Mutex<Option<Socket>>,
    local: SocketAddr,
    permits: Arc<Semaphore>,
    /// Is cancelled when connections may be accepted.
    opened: CancellationToken,
    drain: CancellationToken,
    connections: TaskTracker,
    /// Connections that were cut because they outlived the draining.
    cut: AtomicUsize,
    actor: Mutex<Option<ActorRef<Message>>>,
}

/// The messages of an ingress's actor; see the table above.
pub(crate) enum Message {
    /// The accept loop ended.
    Ended,
}

struct IngressActor<S>(std::marker::PhantomData<fn() -> S>);

/// Counts limits of a listener in its metrics.
pub struct LimitCounter(pub Metrics);

// === impl LimitCounter ===

impl Observer for LimitCounter {
    fn limit_hit(&self, limit: &'static str) {
        self.0.limit_hit(limit);
    }
}

// === impl Handle ===

impl<S: Service> Handle<S> {
    /// Binds the listener's address; connections are accepted once it is started and [opened](Self::open).
    ///
    /// # Errors
    /// [`BindError`] when the address cannot be bound.
    pub fn bind(config: Config<S>) -> Result<Self, BindError> {
        let observer = Arc::new(LimitCounter(config.metrics.clone()));
        let socket = Socket(Arc::new(Listener::bind(config.address, observer)?));
        Self::on(socket, config)
    }

    /// Listens on a socket that is bound already, instead of the listener that it was bound for.
    ///
    /// # Errors
    /// [`BindError`] when the socket's address cannot be read.
    pub fn on(socket: Socket, config: Config<S>) -> Result<Self, BindError> {
        let local = socket.0.local_address().map_err(|source| BindError { address: config.address, source })?;
        let permits = Arc::new(Semaphore::new(config.connections_max));
        let shared = Shared {
            child: supervisor::unique(config.name.as_str()),
            config,
            socket: Mutex::new(Some(socket)),
            local,
            permits,
            opened: CancellationToken::new(),
            drain: CancellationToken::new(),
            connections: TaskTracker::new(),
            cut: AtomicUsize::new(0),
            actor: Mutex::new(None),
        };
        Ok(Self { shared: Arc::new(shared) })
    }

    /// The address that is listened on, with its real port.
    #[must_use]
    pub fn local(&self) -> SocketAddr {
        self.shared.local
    }

    /// Lets it accept connections: when the listener that it replaces, if any, accepts none any more.
    pub fn open(&self) {
        self.shared.opened.cancel();
    }

    /// Its socket, for the listener that replaces it; `None` once it is stopped.
    #[must_use]
    pub fn socket(&self) -> Option<Socket> {
        self.shared.socket.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Tells whether both are the same running listener.
    #[must_use]
    pub fn is_same(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.shared, &other.shared)
    }

    /// Stops accepting, and waits up to `patience` for open requests to finish. Returns how many
    /// connections did not: those that the server cut meanwhile, and those that are still open.
    pub async fn drain(&self, patience: Duration) -> usize {
        self.stop();
        self.shared.connections.close();
        let _whether_all_ended = tokio::time::timeout(patience, self.shared.connections.wait()).await;
        let open = self.shared.connections.len();
        open + self.shared.cut.load(Ordering::Relaxed)
    }
}

impl<S> Clone for Handle<S> {
    fn clone(&self) -> Self {
        Self { shared: Arc::clone(&self.shared) }
    }
}

impl<S: Service> Child for Handle<S> {
    fn name(&self) -> String {
        self.shared.child.clone()
    }

    async fn start(&self, supervisor: ActorCell) -> Result<ActorCell, ActorProcessingErr> {
        let actor = IngressActor::<S>(std::marker::PhantomData);
        let (actor, _task) = Actor::spawn_linked(None, actor, Arc::clone(&self.shared), supervisor).await?;
        let cell = actor.get_cell();
        *self.shared.actor.lock().unwrap_or_else(PoisonError::into_inner) = Some(actor);
        Ok(cell)
    }

    fn stop(&self) {
        self.shared.drain.cancel();
        // The accept loop holds it for as long as it runs, which the line above ends.
        drop(self.shared.socket.lock().unwrap_or_else(PoisonError::into_inner).take());
        let actor = self.shared.actor.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(actor) = actor {
            actor.stop(Some("drained".to_owned()));
        }
    }
}

impl<S: Service> Actor for IngressActor<S> {
    type Msg = Message;
    type State = CancellationToken;
    type Arguments = Arc<Shared<S>>;

    async fn pre_start(
        &self,
        myself: ActorRef<Message>,
        shared: Arc<Shared<S>>,
    ) -> Result<CancellationToken, ActorProcessingErr> {
        let socket = shared.socket.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let socket = socket.ok_or("the listener was stopped")?;
        let drain = shared.drain.clone();
        let ended = EndOfLoop(myself);
        tokio::spawn(async move {
            let _reports_even_a_panic = &ended;
            accept(&shared, socket).await;
        });
        Ok(drain)
    }

    async fn handle(
        &self,
        myself: ActorRef<Message>,
        message: Message,
        drain: &mut CancellationToken,
    ) -> Result<(), ActorProcessingErr> {
        match message {
            Message::Ended if drain.is_cancelled() => {
                myself.stop(Some("drained".to_owned()));
                Ok(())
            }
            Message::Ended => Err("the accept loop ended".into()),
        }
    }
}

/// Tells the actor when the accept loop is over, however it ended.
struct EndOfLoop(ActorRef<Message>);

impl Drop for EndOfLoop {
    fn drop(&mut self) {
        // A stopped actor expects it.
        let _stopped = self.0.cast(Message::Ended);
    }
}

async fn accept<S: Service>(shared: &Arc<Shared<S>>, socket: Socket) {
    tokio::select! {
        biased;
        () = shared.drain.cancelled() => return,
        () = shared.opened.cancelled() => {}
    }
    loop {
        let permit = match Arc::clone(&shared.permits).try_acquire_owned() {
            Ok(permit) => permit,
            Err(_) => {
                shared.config.metrics.limit_hit("connections");
                tokio::select! {
                    biased;
                    () = shared.drain.cancelled() => return,
                    permit = Arc::clone(&shared.permits).acquire_owned() => permit.expect("the semaphore is never closed"),
                }
            }
        };
        let (stream, peer) = tokio::select! {
            // First, because the next connection may be for the listener that took over the socket.
            biased;
            () = shared.drain.cancelled() => return,
            accepted = socket.0.accept() => accepted,
        };
        let shared = Arc::clone(shared);
        let tracker = shared.connections.clone();
        tracker.spawn(async move {
            let _permit = permit;
            serve(&shared, stream, peer).await;
        });
    }
}

async fn serve<S: Service>(shared: &Shared<S>, stream: tokio::net::TcpStream, peer: SocketAddr) {
    let Config { name, server, service, metrics, .. } = &shared.config;
    let _open = metrics.connection_open(name.as_str());
    let (service, local) = (Arc::clone(service), shared.local);
    let handler = move |request, peer| Arc::clone(&service).answer(local, peer, request);
    if let Err(error) = server.serve(stream, peer, &shared.drain, handler).await {
        let outlived = matches!(error, ConnectionError::Cut { limit: limit::DRAIN_TIMEOUT });
        if outlived && shared.drain.is_cancelled() {
            shared.cut.fetch_add(1, Ordering::Relaxed);
        }
        tracing::debug!(listener = %name, %peer, %error, "a connection ended badly");
    }
}

#[cfg(test)]
mod tests {
    use std::io::ErrorKind;

    use quorate_http::server::Limits;
    use ractor::SupervisionEvent;
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::net::TcpStream;
    use tokio::sync::mpsc;

    use super::*;

    const PATIENCE: Duration = Duration::from_secs(10);
    const NEVER: Duration = Duration::from_secs(3600);

    /// Answers `/hang` never, and everything else at once with the listener's name.
    struct Named {
        name: &'static str,
        hanging: AtomicUsize,
    }

    impl Service for Named {
        async fn answer(
            self: Arc<Self>,
            _: SocketAddr,
            _: Peer,
            request: Request<RequestBody>,
        ) -> Response<ResponseBody> {
            if request.uri().path() == "/hang" {
                self.hanging.fetch_add(1, Ordering::Relaxed);
                std::future::pending::<()>().await;
            }
            Response::new(ResponseBody::Full(self.name.into()))
        }
    }

    /// A supervisor that tells how its children ended: whether they failed.
    struct Witness;

    impl Actor for Witness {
        type Msg = ();
        type State = mpsc::Sender<bool>;
        type Arguments = mpsc::Sender<bool>;

        async fn pre_start(
            &self,
            _: ActorRef<()>,
            ends: mpsc::Sender<bool>,
        ) -> Result<mpsc::Sender<bool>, ActorProcessingErr> {
            Ok(ends)
        }

        async fn handle_supervisor_evt(
            &self,
            _: ActorRef<()>,
            event: SupervisionEvent,
            ends: &mut mpsc::Sender<bool>,
        ) -> Result<(), ActorProcessingErr> {
            let failed = match event {
                SupervisionEvent::ActorFailed(..) => true,
                SupervisionEvent::ActorTerminated(..) => false,
                SupervisionEvent::ActorStarted(_) | SupervisionEvent::ProcessGroupChanged(_) => return Ok(()),
            };
            // Not every test listens.
            let _unheard = ends.try_send(failed);
            Ok(())
        }
    }

    fn config(name: &'static str, drain_timeout: Duration) -> Config<Named> {
        let limits = Limits { drain_timeout, ..Limits::default() };
        let metrics = Metrics::new("test");
        Config {
            name: ResourceName::new(name).expect("a name"),
            address: "127.0.0.1:0".parse().expect("an address"),
            connections_max: 8,
            server: Server::new(limits, None, Arc::new(LimitCounter(metrics.clone()))).expect("valid limits"),
            service: Arc::new(Named { name, hanging: AtomicUsize::new(0) }),
            metrics,
        }
    }

    async fn witness() -> (ActorCell, mpsc::Receiver<bool>) {
        let (ends, seen) = mpsc::channel(8);
        let (actor, _task) = Actor::spawn(None, Witness, ends).await.expect("the witness starts");
        (actor.get_cell(), seen)
    }

    async fn send(local: SocketAddr, path: &str) -> TcpStream {
        let mut stream = TcpStream::connect(local).await.expect("it listens");
        let head = format!("GET {path} HTTP/1.1\r\nhost: h\r\nconnection: close\r\n\r\n");
        stream.write_all(head.as_bytes()).await.expect("written");
        stream
    }

    async fn answer(mut stream: TcpStream) -> String {
        let mut text = String::new();
        stream.read_to_string(&mut text).await.expect("an answer");
        text.rsplit("\r\n").next().unwrap_or_default().to_owned()
    }

    /// Opens a connection whose request never ends, and waits until it is served.
    async fn hang(ingress: &Handle<Named>) -> TcpStream {
        let stream = send(ingress.local(), "/hang").await;
        while ingress.shared.config.service.hanging.load(Ordering::Relaxed) == 0 {
            tokio::task::yield_now().await;
        }
        stream
    }

    #[tokio::test]
    async fn a_stopped_listener_refuses_connections_while_its_open_ones_go_on() {
        let (witness, _) = witness().await;
        let ingress = Handle::bind(config("one", NEVER)).expect("bound");
        ingress.start(witness).await.expect("it starts");
        ingress.open();
        let _open = hang(&ingress).await;

        ingress.stop();

        let refused = async {
            while TcpStream::connect(ingress.local()).await.is_ok() {
                tokio::task::yield_now().await;
            }
        };
        tokio::time::timeout(PATIENCE, refused).await.expect("the socket closes though a connection is open");
        assert_eq!(ingress.shared.connections.len(), 1);
    }

    #[tokio::test]
    async fn a_listener_takes_over_the_socket_of_the_one_that_it_replaces() {
        let (witness, _) = witness().await;
        let before = Handle::bind(config("before", NEVER)).expect("bound");
        before.start(witness.clone()).await.expect("it starts");
        before.open();
        assert_eq!(answer(send(before.local(), "/").await).await, "before");
        let _open = hang(&before).await;

        let taken = Config { address: before.local(), ..config("refused", NEVER) };
        let refused = Handle::bind(taken).err().expect("the address is in use");
        assert_eq!(refused.source.kind(), ErrorKind::AddrInUse);
        let after = Handle::on(before.socket().expect("it runs"), config("after", NEVER)).expect("taken over");
        after.start(witness).await.expect("it starts");
        assert_eq!(answer(send(before.local(), "/").await).await, "before", "it is not open yet");
        before.stop();
        after.open();

        assert_eq!(after.local(), before.local());
        assert!(before.socket().is_none());
        assert_eq!(answer(send(after.local(), "/").await).await, "after");
    }

    #[tokio::test]
    async fn the_end_of_the_accept_loop_is_a_failure_only_before_the_drain() {
        let (witness, mut ends) = witness().await;
        let ingress = Handle::bind(config("one", NEVER)).expect("bound");
        let actor = ingress.start(witness.clone()).await.expect("it starts");
        // As when the loop's message overtakes the order to stop.
        ingress.shared.drain.cancel();
        assert_eq!(tokio::time::timeout(PATIENCE, ends.recv()).await.expect("it ends"), Some(false));
        drop(actor);

        let ingress = Handle::bind(config("two", NEVER)).expect("bound");
        ingress.start(witness).await.expect("it starts");
        let actor = ingress.shared.actor.lock().expect("not poisoned").clone().expect("it runs");
        actor.cast(Message::Ended).expect("it runs");
        assert_eq!(tokio::time::timeout(PATIENCE, ends.recv()).await.expect("it ends"), Some(true));
        assert!(ingress.socket().is_some(), "a restart finds its socket");
    }

    #[tokio::test]
    async fn a_drain_counts_the_connections_that_it_cut() {
        for (server, patience) in [(Duration::from_millis(1), PATIENCE), (NEVER, Duration::from_millis(1))] {
            let (witness, _) = witness().await;
            let ingress = Handle::bind(config("one", server)).expect("bound");
            ingress.start(witness).await.expect("it starts");
            ingress.open();
            assert_eq!(answer(send(ingress.local(), "/").await).await, "one");
            let _open = hang(&ingress).await;

            assert_eq!(ingress.drain(patience).await, 1, "server {server:?}, patience {patience:?}");
        }
    }
}
