//! The world of these tests: clusters, their authorities, nodes with what they show, and handshakes on 127.0.0.1.
//!
//! A handshake is looked at from both ends, because with TLS 1.3 a client is done before the server has seen who it is:
//! only what it reads says whether it was taken.

use std::io;
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use quorate_membership::authority::{Authority, MemberKey};
use quorate_membership::handshake::Credentials;
use quorate_membership::identity::{PeerIdentity, peer_identity};
use quorate_membership::trust::{Bundle, Refusal};
use quorate_types::{ClusterId, NodeId, Timestamp};
use rustls::pki_types::ServerName;
use rustls::{ClientConfig, ServerConfig};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::{TlsAcceptor, TlsConnector};

pub(crate) const CLUSTER: ClusterId = ClusterId([7; 16]);
pub(crate) const DAY: Duration = Duration::from_secs(86_400);

/// What both ends say of a handshake.
#[derive(Debug)]
pub(crate) struct Outcome {
    /// What the client read after it.
    pub(crate) client: io::Result<Vec<u8>>,
    /// Who the server took.
    pub(crate) server: io::Result<Option<PeerIdentity>>,
}

impl Outcome {
    /// Who was taken, when both ends were content.
    pub(crate) fn taken(self) -> Option<PeerIdentity> {
        assert_eq!(self.client.expect("the client is content"), b"taken");
        self.server.expect("the server is content")
    }

    /// Why the server refused.
    pub(crate) fn refused_by_server(self) -> Refusal {
        assert!(self.client.is_err(), "the client went on");
        Refusal::find(&self.server.expect_err("the server went on")).expect("a reason of ours").clone()
    }

    /// Why the client refused.
    pub(crate) fn refused_by_client(self) -> Refusal {
        assert!(self.server.is_err(), "the server went on");
        Refusal::find(&self.client.expect_err("the client went on")).expect("a reason of ours").clone()
    }
}

pub(crate) fn now() -> Timestamp {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
    Timestamp::from_millis(since.as_millis().try_into().unwrap())
}

pub(crate) fn ago(duration: Duration) -> Timestamp {
    Timestamp::from_millis(now().as_millis() - u64::try_from(duration.as_millis()).unwrap())
}

pub(crate) fn mint() -> Authority {
    Authority::mint(CLUSTER, now()).unwrap()
}

pub(crate) fn bundle(authorities: &[&Authority]) -> Bundle {
    Bundle::new(authorities.iter().map(|authority| authority.anchor().clone())).unwrap()
}

/// What a node shows that was certified at a time.
pub(crate) fn certified(authority: &Authority, node: u64, at: Timestamp) -> Credentials {
    let key = MemberKey::draw();
    let issued = authority.issue_node(NodeId(node), &[], &key.public(), at).unwrap();
    Credentials::new(issued.chain, &key).unwrap()
}

pub(crate) async fn shake(client: Arc<ClientConfig>, server: Arc<ServerConfig>) -> Outcome {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let connect = async {
        let socket = TcpStream::connect(address).await?;
        let name = ServerName::try_from("node.invalid").unwrap();
        let mut stream = TlsConnector::from(client).connect(name, socket).await?;
        let mut read = Vec::new();
        stream.read_to_end(&mut read).await?;
        Ok(read)
    };
    let accept = async {
        let (socket, _) = listener.accept().await?;
        let mut stream = TlsAcceptor::from(server).accept(socket).await?;
        let leaf = stream.get_ref().1.peer_certificates().map(|chain| peer_identity(&chain[0]).unwrap());
        stream.write_all(b"taken").await?;
        stream.shutdown().await?;
        Ok(leaf)
    };
    let (client, server) = tokio::join!(connect, accept);
    Outcome { client, server }
}
