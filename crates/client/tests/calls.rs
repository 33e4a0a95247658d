//! Calls over real sockets: nodes of a cluster with certificates, one that is gone, one of another cluster, a Unix socket.
//!
//! The nodes here answer one call, `GetStatus`, and one that changes something, `DrainNode`, as each test says.

#![expect(clippy::unwrap_used, reason = "a step that fails in a helper is a failed test")]

use std::convert::Infallible;
use std::future::{Ready, ready};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context as TaskContext, Poll};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use hyper::server::conn::http2::Builder;
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo};
use prost::Message;
use quorate_client::context::{Draft, Material};
use quorate_client::{Client, Context, Error};
use quorate_membership::authority::{Authority, MemberKey, OPERATOR_LIFETIME_MIN};
use quorate_membership::handshake::{Accept, Credentials, Trust, server};
use quorate_membership::identity::Role;
use quorate_membership::pem::of_certificates;
use quorate_membership::trust::Bundle;
use quorate_proto::admin::v1 as proto;
use quorate_types::{ClusterId, NodeId, ResourceName, Timestamp};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, UnixListener};
use tokio_rustls::TlsAcceptor;
use tonic::codegen::Service;
use tonic::{Code, Request, Response, Status};
use tonic_prost::ProstCodec;
use tonic_types::{ErrorDetails, StatusExt};

const CLUSTER: ClusterId = ClusterId([7; 16]);
const LIMIT: Duration = Duration::from_secs(10);

type Answer<M> = Arc<dyn Fn() -> Result<M, Status> + Send + Sync>;

/// What a node answers.
#[derive(Clone)]
struct Node {
    status: Answer<proto::GetStatusResponse>,
    drain: Answer<proto::DrainNodeResponse>,
}

/// One method of a node.
#[derive(Clone)]
struct Calls<M>(Answer<M>);

impl<Q, M: Message + 'static> Service<Request<Q>> for Calls<M> {
    type Response = Response<M>;
    type Error = Status;
    type Future = Ready<Result<Response<M>, Status>>;

    fn poll_ready(&mut self, _: &mut TaskContext<'_>) -> Poll<Result<(), Status>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, _: Request<Q>) -> Self::Future {
        ready((self.0)().map(Response::new))
    }
}

impl Node {
    fn numbered(node: u64) -> Self {
        let status = move || Ok(proto::GetStatusResponse { node, ..proto::GetStatusResponse::default() });
        Self { status: Arc::new(status), drain: Arc::new(|| Ok(proto::DrainNodeResponse {})) }
    }

    async fn serve<IO: AsyncRead + AsyncWrite + Unpin + Send + 'static>(self, io: IO) {
        let service = service_fn(move |request: http::Request<hyper::body::Incoming>| {
            let node = self.clone();
            async move {
                let response = if request.uri().path().ends_with("/GetStatus") {
                    let codec = ProstCodec::<proto::GetStatusResponse, proto::GetStatusRequest>::default();
                    tonic::server::Grpc::new(codec).unary(Calls(node.status), request).await
                } else {
                    let codec = ProstCodec::<proto::DrainNodeResponse, proto::DrainNodeRequest>::default();
                    tonic::server::Grpc::new(codec).unary(Calls(node.drain), request).await
                };
                Ok::<_, Infallible>(response)
            }
        });
        // A client that goes away is no error here.
        let _ended = Builder::new(TokioExecutor::new()).serve_connection(TokioIo::new(io), service).await;
    }

    /// Serves as a node of the authority's cluster, and returns where.
    async fn listen(self, authority: &Authority, number: u64) -> String {
        self.listen_to(authority, number, Accept::Members).await
    }

    /// As [`Self::listen`], to those whom it shall take.
    async fn listen_to(self, authority: &Authority, number: u64, accept: Accept) -> String {
        let key = MemberKey::draw();
        let issued = authority.issue_node(NodeId(number), &[], &key.public(), now()).unwrap();
        let trust = Trust::new(CLUSTER, Bundle::new(vec![authority.anchor().clone()]).unwrap());
        let credentials = Credentials::new(issued.chain, &key).unwrap();
        let acceptor = TlsAcceptor::from(server(&credentials, &trust, accept));
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap().to_string();
        tokio::spawn(async move {
            while let Ok((socket, _)) = listener.accept().await {
                let (acceptor, node) = (acceptor.clone(), self.clone());
                tokio::spawn(async move {
                    if let Ok(stream) = acceptor.accept(socket).await {
                        node.serve(stream).await;
                    }
                });
            }
        });
        address
    }
}

fn now() -> Timestamp {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
    Timestamp::from_millis(u64::try_from(since.as_millis()).unwrap())
}

fn authority() -> Authority {
    Authority::mint(CLUSTER, now()).unwrap()
}

fn context(authority: &Authority, folder: &Path, endpoints: &[&str]) -> Context {
    let key = MemberKey::draw();
    let name = ResourceName::new("ana").unwrap();
    let issued = authority.issue_operator(name, Role::Admin, OPERATOR_LIFETIME_MIN, &key.public(), now()).unwrap();
    let endpoints: Vec<_> = endpoints.iter().map(|text| text.parse().unwrap()).collect();
    let material = Material {
        cluster: CLUSTER,
        endpoints: &endpoints,
        ca_pem: &of_certificates([authority.anchor()]),
        certificate_pem: &of_certificates(&issued.chain),
        key_pem: &key.to_pem(),
    };
    Draft::new(&folder.join("context.yaml")).unwrap().write(&material).unwrap()
}

/// An address where nothing listens.
async fn gone() -> String {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    listener.local_addr().unwrap().to_string()
}

#[tokio::test]
async fn endpoints_are_tried_until_one_answers_and_that_one_is_asked_again() {
    let (authority, folder) = (authority(), tempfile::tempdir().unwrap());
    let (first, second) = (gone().await, Node::numbered(2).listen(&authority, 2).await);
    let client = Client::of_context(&context(&authority, folder.path(), &[&first, &second]), LIMIT).unwrap();

    for _ in 0..2 {
        let status = client.call(proto::GetStatusRequest::default()).await.unwrap();
        assert_eq!(status.node, 2);
    }
    client.call(proto::DrainNodeRequest { node: 1 }).await.unwrap();
}

#[tokio::test]
async fn a_node_of_another_cluster_is_never_asked() {
    let (ours, folder) = (authority(), tempfile::tempdir().unwrap());
    let stranger = Node::numbered(1).listen(&authority(), 1).await;
    let client = Client::of_context(&context(&ours, folder.path(), &[&stranger]), LIMIT).unwrap();

    let error = client.call(proto::GetStatusRequest::default()).await.unwrap_err();

    assert!(matches!(&error, Error::Unreachable { tried } if tried.len() == 1 && tried[0].0 == stranger), "{error}");
}

#[tokio::test]
async fn a_node_that_refuses_the_certificate_is_told_as_such_and_was_sent_nothing() {
    let (authority, folder) = (authority(), tempfile::tempdir().unwrap());
    // With TLS 1.3 it looks at it when the client is done with the handshake.
    let node = Node::numbered(1).listen_to(&authority, 1, Accept::Nodes).await;
    let client = Client::of_context(&context(&authority, folder.path(), &[&node]), LIMIT).unwrap();

    let error = client.call(proto::DrainNodeRequest { node: 1 }).await.unwrap_err();

    let Error::Unreachable { tried } = &error else { panic!("{error}") };
    assert!(tried.len() == 1 && tried[0].1.contains("certificate"), "{error}");
}

#[tokio::test]
async fn nobody_there_is_told_with_everyone_that_was_tried() {
    let (authority, folder) = (authority(), tempfile::tempdir().unwrap());
    let (first, second) = (gone().await, gone().await);
    let client = Client::of_context(&context(&authority, folder.path(), &[&first, &second]), LIMIT).unwrap();

    let error = client.call(proto::DrainNodeRequest { node: 1 }).await.unwrap_err();

    let Error::Unreachable { tried } = error else { panic!("{error}") };
    assert_eq!(tried.iter().map(|(endpoint, _)| endpoint.as_str()).collect::<Vec<_>>(), [first, second]);
}

#[tokio::test]
async fn a_node_that_says_later_is_asked_again_and_one_that_says_no_is_not() {
    let (authority, folder) = (authority(), tempfile::tempdir().unwrap());
    let asked = Arc::new(AtomicUsize::new(0));
    let count = Arc::clone(&asked);
    let mut node = Node::numbered(1);
    node.drain = Arc::new(move || match count.fetch_add(1, Ordering::SeqCst) {
        0 => {
            let details = ErrorDetails::with_retry_info(Some(Duration::from_millis(20)));
            Err(Status::with_error_details(Code::Unavailable, "nobody leads", details))
        }
        _ => Err(Status::failed_precondition("node 1 leads the meta group")),
    });
    let address = node.listen(&authority, 1).await;
    let client = Client::of_context(&context(&authority, folder.path(), &[&address]), LIMIT).unwrap();

    let error = client.call(proto::DrainNodeRequest { node: 1 }).await.unwrap_err();

    let Error::Refused { refused, .. } = error else { panic!("{error}") };
    assert_eq!((refused.code, refused.message.as_str()), (Code::FailedPrecondition, "node 1 leads the meta group"));
    assert_eq!(asked.load(Ordering::SeqCst), 2);
}

#[tokio::test]
async fn what_is_sent_to_a_node_that_never_answers_has_an_unknown_outcome() {
    let folder = tempfile::tempdir().unwrap();
    let socket = folder.path().join("admin.sock");
    let listener = UnixListener::bind(&socket).unwrap();
    // It takes connections, and says nothing on them.
    let silent = tokio::spawn(async move {
        let mut held = Vec::new();
        while let Ok((stream, _)) = listener.accept().await {
            held.push(stream);
        }
    });
    let client = Client::of_socket(&socket, Duration::from_millis(200));

    let changing = client.call(proto::DrainNodeRequest { node: 1 }).await.unwrap_err();
    let reading = client.call(proto::GetStatusRequest::default()).await.unwrap_err();

    assert!(matches!(changing, Error::OutcomeUnknown { .. }), "{changing}");
    assert!(matches!(reading, Error::TimedOut { .. }), "{reading}");
    silent.abort();
}

#[tokio::test]
async fn a_socket_needs_no_certificate() {
    let folder = tempfile::tempdir().unwrap();
    let socket = folder.path().join("admin.sock");
    let listener = UnixListener::bind(&socket).unwrap();
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            tokio::spawn(Node::numbered(4).serve(stream));
        }
    });
    let client = Client::of_socket(&socket, LIMIT);

    let status = client.call(proto::GetStatusRequest::default()).await.unwrap();

    assert_eq!(status.node, 4);
    assert!(client.is_local());
}
