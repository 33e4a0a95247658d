//! Has the node of a folder taken into the cluster of a token.
//!
//! One request is made, with keys of its own, and sent to the addresses of the token in turn until one answers: asked again
//! with the same, the cluster answers the same, so that an answer that was lost costs nothing while this process lives. When
//! it ends in between, its keys are gone: the token is used up, and the node that never came is removed by an operator.
//!
//! A node whose certificate comes from files shows that in its request, and finds out who the members are by its own file of
//! authorities: the token pins those too, but nobody has to send a root along. It gets the number of its certificate.
//!
//! The order in which the folder is written: root key, certificate (unless it has files), cluster file, identity. A crash before
//! the last leaves a folder that waits.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use http::uri::PathAndQuery;
use hyper_util::rt::{TokioExecutor, TokioIo};
use prost::Message;
use quorate_catalog::NodeState;
use quorate_membership::address::Address;
use quorate_membership::handshake::{Loaded, Trust, stranger};
use quorate_membership::home::{Home, Vacant};
use quorate_membership::join::{Admission, Applicant, Joiner};
use quorate_membership::kept::Kept;
use quorate_membership::root;
use quorate_membership::token::JoinToken;
use quorate_membership::trust::Refusal;
use quorate_proto::admin::v1::{JoinRequest, JoinResponse};
use quorate_proto::membership::v1;
use rustls::ClientConfig;
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_util::task::AbortOnDropHandle;
use tonic::body::Body;
use tonic::client::Grpc;
use tonic::{Code, Request, Status};
use tonic_prost::ProstCodec;

use crate::clock::now;
use crate::error::{JoinError, OWN_FILES, OpenError};
use crate::known::Known;
use crate::member::Member;
use crate::start::Ground;

/// How long one member may take to answer: a command of the meta group waits up to 10 s for a leader.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(15);
/// How long a connection may take.
const DIAL_TIMEOUT: Duration = Duration::from_secs(5);
/// How often each address is tried.
const ROUNDS: usize = 3;
/// The pause between rounds: an election takes less.
const PAUSE: Duration = Duration::from_secs(1);
/// How long a node may take until it has the catalog and is active: what its log and the snapshot need.
const ACTIVE_TIMEOUT: Duration = Duration::from_secs(60);
/// Bytes of an answer: a grant, sealed, and its frame.
const ANSWER_BYTES_MAX: usize = 256 << 10;

/// The call of the API that operators use, of which a joiner needs no other.
const JOIN: &str = "/quorate.admin.v1.Cluster/Join";

/// Why one member did not take the node.
enum Unanswered {
    /// Another one may.
    Elsewhere(String),
    /// The cluster does not.
    Refused(String),
}

/// Has the node taken in, and makes the folder its.
pub(crate) async fn join(ground: &Ground, vacant: Vacant, token: JoinToken) -> Result<Home, JoinError> {
    let (folder, settings) = (ground.disk.path(), &ground.settings);
    let own = settings.certificates.as_ref().map(|files| files.read(now())).transpose().map_err(OpenError::from)?;
    check_root_key(ground, &token, own.as_ref())?;
    let expects = match &own {
        Some(own) if own.bundle.authorities().is_disjoint(&token.pins().iter().copied().collect()) => {
            return Err(JoinError::Authorities { of_token: token.pins().to_vec() });
        }
        Some(own) => stranger(&Trust::new(own.cluster, own.bundle.clone())),
        None => token.client(),
    };
    let applicant = Applicant {
        name: settings.name.clone(),
        peer: settings.peer_address().map_err(OpenError::from)?,
        admin: settings.admin_address.clone(),
        rack: settings.rack.clone(),
        features: settings.levels.0..=settings.levels.1,
    };
    let (joiner, request) = Joiner::begin(token.clone(), &applicant, own.as_ref().map(|own| &own.credentials))?;
    let response = ask(&token, &expects, &request).await?;
    let Admission { grant, key } = joiner.finish(&response, now())?;
    grant.root_key.keep(folder).map_err(OpenError::from)?;
    let from_files = key.is_none();
    if let Some(key) = key {
        Kept { chain: grant.chain, key }.keep(folder).map_err(OpenError::from)?;
    }
    let (cluster, bundle, members) = (grant.cluster, grant.bundle, grant.voters.into_iter().collect());
    let known = Known { cluster, bundle, members, beginning: None, has_log: false, from_files };
    known.keep(folder).map_err(OpenError::from)?;
    Ok(vacant.begin(grant.cluster, grant.node, settings.name.clone(), now())?)
}

/// Waits until the cluster has the node as one that serves.
pub(crate) async fn until_active(member: &Member) -> Result<(), JoinError> {
    let node = member.identity().node;
    let mut changed = member.control().changed();
    let active = async {
        loop {
            changed.borrow_and_update();
            let state = member.control().catalog().node(node).map(|node| node.state);
            if state == Some(NodeState::Active) || changed.changed().await.is_err() {
                return;
            }
        }
    };
    let waited = ACTIVE_TIMEOUT;
    tokio::time::timeout(waited, active).await.map_err(|_| JoinError::Inactive { waited })
}

/// Refuses a folder with the root key of somebody else, before the token is used. One of an attempt to join that ended halfway
/// is the cluster's, when the cluster file beside it is of the token's cluster. Who is trusted does not tell that alone: one
/// authority of an enterprise may be trusted by many clusters, and by one that was begun here and not finished.
fn check_root_key(ground: &Ground, token: &JoinToken, own: Option<&Loaded>) -> Result<(), JoinError> {
    let folder = ground.disk.path();
    if !folder.join(root::FILE).exists() {
        return Ok(());
    }
    let known = Known::read(folder).map_err(OpenError::from)?;
    let is_of_token = |known: &Known| {
        let is_pinned = token.pins().iter().any(|pin| known.bundle.authorities().contains(pin));
        is_pinned && known.beginning.is_none() && own.is_none_or(|own| own.cluster == known.cluster)
    };
    if known.as_ref().is_some_and(is_of_token) { Ok(()) } else { Err(JoinError::RootKey) }
}

/// Asks the members of a token in turn.
async fn ask(
    token: &JoinToken,
    expects: &Arc<ClientConfig>,
    request: &v1::JoinRequest,
) -> Result<v1::JoinResponse, JoinError> {
    let request = request.encode_to_vec();
    let mut tried = Vec::new();
    for round in 0..ROUNDS {
        if round > 0 {
            tokio::time::sleep(PAUSE).await;
        }
        tried.clear();
        for address in token.addresses() {
            match ask_one(expects, address, &request).await {
                Ok(response) => return Ok(response),
                Err(Unanswered::Refused(reason)) => return Err(JoinError::Refused { reason }),
                Err(Unanswered::Elsewhere(reason)) => {
                    tracing::info!(%address, reason, "a member did not answer");
                    tried.push(format!("{address}: {reason}"));
                }
            }
        }
    }
    Err(JoinError::Unreachable { tried })
}

async fn ask_one(
    expects: &Arc<ClientConfig>,
    address: &Address,
    request: &[u8],
) -> Result<v1::JoinResponse, Unanswered> {
    let elsewhere = |reason: String| Unanswered::Elsewhere(reason);
    let dialed = tokio::time::timeout(DIAL_TIMEOUT, dial(expects, address)).await;
    let dialed = dialed.map_err(|_| elsewhere(format!("no connection in {DIAL_TIMEOUT:?}")))?;
    let (sender, _connection) = dialed.map_err(|error| elsewhere(of_dialing(&error)))?;
    let origin = http::Uri::from_static("https://node.invalid");
    let mut client = Grpc::with_origin(sender, origin).max_decoding_message_size(ANSWER_BYTES_MAX);
    let asked = async {
        client.ready().await.map_err(|error| Status::unavailable(error.to_string()))?;
        let request = Request::new(JoinRequest { request: request.to_vec().into() });
        client.unary(request, PathAndQuery::from_static(JOIN), ProstCodec::<_, JoinResponse>::default()).await
    };
    let answered = tokio::time::timeout(ANSWER_TIMEOUT, asked).await;
    let answered = answered.map_err(|_| elsewhere(format!("no answer in {ANSWER_TIMEOUT:?}")))?;
    let JoinResponse { response } = answered.map_err(|status| of_status(&status))?.into_inner();
    v1::JoinResponse::decode(response).map_err(|_| elsewhere("its answer cannot be read".to_owned()))
}

/// Why a member was not taken, with what may be the matter when it is one all the same.
fn of_dialing(error: &io::Error) -> String {
    match Refusal::find(error) {
        Some(Refusal::Untrusted { .. }) => format!("{error}. {OWN_FILES}"),
        Some(_) | None => error.to_string(),
    }
}

/// Connects to a member that is taken. The connection ends with the handle.
async fn dial(
    expects: &Arc<ClientConfig>,
    address: &Address,
) -> io::Result<(crate::sender::Sender, AbortOnDropHandle<hyper::Result<()>>)> {
    let socket = TcpStream::connect(address.to_string()).await?;
    socket.set_nodelay(true)?;
    // Who answers is known by what the token pins, or by the node's own file, and not by a name.
    let name = rustls::pki_types::ServerName::try_from("node.invalid").expect("it is a name");
    let stream = TlsConnector::from(Arc::clone(expects)).connect(name, socket).await?;
    let handshake = hyper::client::conn::http2::handshake::<_, _, Body>(TokioExecutor::new(), TokioIo::new(stream));
    let (sender, connection) = handshake.await.map_err(io::Error::other)?;
    Ok((crate::sender::Sender(sender), AbortOnDropHandle::new(tokio::spawn(connection))))
}

/// Whether another member may answer otherwise.
fn of_status(status: &Status) -> Unanswered {
    let reason = status.message().to_owned();
    match status.code() {
        Code::Unauthenticated
        | Code::PermissionDenied
        | Code::FailedPrecondition
        | Code::InvalidArgument
        | Code::AlreadyExists
        | Code::NotFound => Unanswered::Refused(reason),
        code => Unanswered::Elsewhere(format!("{code}: {reason}")),
    }
}
