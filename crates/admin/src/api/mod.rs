//! The API that operators use: gRPC over TLS on the admin address, and on a Unix socket in the data folder.
//!
//! ```text
//!  admin address ─▶ TLS ─┐
//!  DATA_DIR/admin.sock ──┴▶ server ─▶ gate (method, caller, role, deadline, record) ─▶ Cluster, Resources, Keys,
//!                                                                                      Sessions, Audit, health, reflection
//! ```
//!
//! Every service holds a [`Node`] and answers with errors of [`mod@errors`]; who calls and whether it may is decided before a
//! service hears of a call. A service that is added needs a row for each of its methods in [`mod@roles`].

pub mod audit;
mod authority;
mod bodies;
pub mod caller;
mod cluster;
pub mod errors;
mod gate;
mod health;
pub mod keys;
mod latest;
mod level;
pub mod load;
mod member;
pub mod node;
pub mod paging;
mod record;
pub mod resources;
pub mod roles;
mod server;
pub mod service;
pub mod sessions;
mod socket;

use std::net::SocketAddr;
use std::sync::Arc;

use tokio::net::TcpStream;
use tokio::task::AbortHandle;
use tokio_util::sync::CancellationToken;
use tonic::service::Routes;

pub use caller::{Caller, Note};
pub use cluster::timestamp;
pub use health::CLUSTER as HEALTH_CLUSTER;
pub use node::{Documents, Node, Standing};
pub(crate) use server::HANDSHAKE;
pub use server::{MESSAGE_BYTES_MAX, TIMES, Times};
pub use socket::{FILE as SOCKET_FILE, Socket, SocketError};

use cluster::{Cluster, Seen};
use gate::Gate;
use server::{Server, Unserved};
use service::cluster_server::ClusterServer;

/// The API of a node; cheap to clone. What it looks after ends with its last clone.
#[derive(Clone)]
pub struct Api {
    server: Server,
    _loops: Arc<Loops>,
}

/// What runs beside the calls.
struct Loops([AbortHandle; 2]);

// === impl Api ===

impl Api {
    /// Makes the API of a node: its own services, health and reflection beside those of `routes`. Needs a runtime of tokio.
    ///
    /// # Panics
    /// Never: the descriptors are those that the compiler made.
    #[must_use]
    pub fn new(node: Node, documents: Arc<dyn Documents>, routes: Routes, times: Times) -> Self {
        let seen = Seen::default();
        let cluster = Cluster::new(node.clone(), seen.clone(), documents);
        let cluster = ClusterServer::new(cluster).max_decoding_message_size(MESSAGE_BYTES_MAX);
        let reporter = tonic_health::server::HealthReporter::new();
        let health = tonic_health::server::HealthService::from_health_reporter(reporter.clone());
        let reflection = tonic_reflection::server::Builder::configure()
            .register_encoded_file_descriptor_set(service::DESCRIPTORS)
            .register_encoded_file_descriptor_set(tonic_health::pb::FILE_DESCRIPTOR_SET)
            .build_v1()
            .expect("they are descriptors");
        let routes = routes
            .add_service(cluster)
            .add_service(tonic_health::pb::health_server::HealthServer::new(health))
            .add_service(reflection);
        let loops = [
            tokio::spawn(health::report(node.clone(), reporter)).abort_handle(),
            tokio::spawn(seen.watch(node.clone())).abort_handle(),
        ];
        let server = Server::new(Gate::new(node, routes), times);
        Self { server, _loops: Arc::new(Loops(loops)) }
    }

    /// Serves the Unix socket, until `stop` is cancelled.
    pub async fn serve_socket(&self, socket: Socket, stop: CancellationToken) {
        loop {
            let accepted = tokio::select! {
                accepted = socket.accept() => accepted,
                () = stop.cancelled() => return,
            };
            match accepted {
                Ok(stream) => {
                    let (server, stop) = (self.server.clone(), stop.clone());
                    tokio::spawn(async move {
                        if let Err(error) = server.serve_local(stream, &stop).await {
                            tracing::debug!(%error, "a connection of the Unix socket ended badly");
                        }
                    });
                }
                Err(error) => {
                    tracing::warn!(%error, "cannot accept on the Unix socket");
                    tokio::time::sleep(socket::PAUSE).await;
                }
            }
        }
    }

    /// Serves a socket that begins a handshake, to its end.
    pub(crate) async fn serve_tls(
        &self,
        socket: TcpStream,
        peer: SocketAddr,
        stop: &CancellationToken,
    ) -> Result<(), Unserved> {
        self.server.serve_tls(socket, peer, stop).await
    }
}

impl Drop for Loops {
    fn drop(&mut self) {
        self.0.iter().for_each(AbortHandle::abort);
    }
}
