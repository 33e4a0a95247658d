//! Sessions of a node without a cluster: limits of principals, over real actors and the gateway's own answers. What a cluster
//! keeps is tested with nodes.
//! Frames pass as they are.

use bytes::Bytes;
use http::HeaderMap;
use quorate_jsonrpc::Frame;
use quorate_mcp::{ListKind, Method};
use quorate_session::{Answer, Purpose, Rejection};

use super::*;
use crate::session::{Outgoing, Refused, Terms, Tool};

/// Leaves every frame as it is.
struct Plain;

impl Translate for Plain {
    fn inbound(&self, _: &ResourceName, _: Option<Method>, _: Option<&Arc<Tool>>, frame: Frame) -> Frame {
        frame
    }

    fn ask(&self, _server: &ResourceName, frame: Frame) -> Result<Frame, Bytes> {
        Ok(frame)
    }

    fn list_changed(&self, _server: &ResourceName, _kind: ListKind) {}
}

fn sessions(limits: Limits) -> Sessions {
    let sealer = Sealer::new(&[0; quorate_types::seal::KEY_BYTES]);
    Sessions::new(Config::DEFAULTS, limits, sealer, Metrics::new("0"), Shards::new())
}

/// Opens a session whose answers wait in its one stream.
async fn opened(sessions: &Sessions, principal: u8) -> Handle {
    let open = Open {
        principal: PrincipalDigest([principal; 16]),
        tenant: TenantId::default(),
        scope: Scope::Toolset(ResourceName::new("all").expect("a valid name")),
        delivery: Delivery::Single,
        client: None,
        translate: Arc::new(Plain),
        memory: Arc::default(),
        durability: Durability::Strict,
        owner: Arc::new(Principal::agent(TenantId::default(), "agent")),
    };
    sessions.open(open).await.expect("there is room")
}

/// Posts a request that the gateway answers.
async fn post(session: &Handle, id: u32) -> Result<Vec<quorate_session::CallKey>, Refused> {
    let text = format!(r#"{{"jsonrpc":"2.0","id":{id},"method":"ping"}}"#);
    let outgoing = Outgoing {
        frame: Frame::parse(text.into(), &quorate_jsonrpc::Limits::ANSWER).expect("a frame"),
        server: None,
        progress_token: None,
        purpose: Purpose::Plain,
        headers: HeaderMap::new(),
        prime_after: None,
        terms: Terms::default(),
        key: None,
    };
    session.begin(vec![outgoing], false).await.map(|(keys, _)| keys)
}

#[tokio::test]
async fn what_one_principal_does_not_read_stops_the_calls_of_all_its_sessions_and_of_no_other() {
    let limits = Limits { sessions_max: 9, principal_sessions_max: 9, principal_unread_bytes_max: 200 };
    let sessions = sessions(limits);
    let (actor, _task) = Actor::spawn(None, ShardActor, sessions.clone()).await.expect("it starts");
    *sessions.shared.supervisor.write().expect("nobody panicked") = Some(actor.get_cell());
    let (one, two, other) = (opened(&sessions, 1).await, opened(&sessions, 1).await, opened(&sessions, 2).await);

    let _unread = one.attach(None).await.expect("a connection");
    let calls = post(&one, 1).await.expect("nothing is unread");
    one.answer(calls[0], answer());
    let calls = post(&one, 2).await.expect("not too much is unread");
    post(&two, 1).await.expect("nor for the other one");
    one.answer(calls[0], answer());

    let full = Rejection::LimitReached { limit: "principal_undelivered_bytes", max: 200 };
    assert!(matches!(post(&one, 3).await, Err(Refused::Rejected(rejection)) if rejection == full));
    assert!(matches!(post(&two, 3).await, Err(Refused::Rejected(rejection)) if rejection == full));
    post(&other, 1).await.expect("it is nothing of its own");
    actor.stop(None);
}

/// About 150 bytes.
fn answer() -> Answer {
    Answer::Result(format!("{:?}", "x".repeat(110)).into())
}

#[test]
fn a_full_node_opens_no_session_until_there_is_room() {
    let sessions = sessions(Limits { sessions_max: 3, principal_sessions_max: 2, principal_unread_bytes_max: 0 });
    let principal = PrincipalDigest([1; 16]);
    let open = sessions.take_place(principal).expect("there is room");

    sessions.set_full(true);
    assert!(matches!(sessions.take_place(principal), Err(Error::Full)));
    assert_eq!(sessions.count(), 1, "what is open stays");

    sessions.set_full(false);
    assert!(sessions.take_place(principal).is_ok());
    drop(open);
}

#[test]
fn one_principal_does_not_take_the_sessions_of_all() {
    let sessions = sessions(Limits { sessions_max: 3, principal_sessions_max: 2, principal_unread_bytes_max: 0 });
    let [one, other] = [1, 2].map(|byte| PrincipalDigest([byte; 16]));
    let mut places: Vec<Place> = (0..2).map(|_| sessions.take_place(one).expect("there is room")).collect();

    assert!(matches!(sessions.take_place(one), Err(Error::TooManyOfPrincipal { max: 2 })));
    let last = sessions.take_place(other).expect("there is room for others");
    assert!(matches!(sessions.take_place(other), Err(Error::TooMany { max: 3 })));
    assert_eq!(sessions.count(), 3, "who was refused is not counted");

    places.pop();
    drop(last);
    let again = sessions.take_place(one).expect("a place was given back");
    assert_eq!(sessions.count(), 2);
    drop((places, again));
    assert!(sessions.shared.owned.lock().expect("nobody panicked").is_empty());
}
