//! What an earlier version wrote of sessions is read by this one, and means the same: commands, their outcomes, a snapshot, and
//! the sessions that are made of it.
//!
//! The files were written by the first version of their feature level and stay as they are: a cluster that is upgraded has such
//! commands in its logs and such snapshots on its disks. With `WRITE_GOLDEN=1` in the environment they are written anew; that
//! is right only as long as no version with the form is in anybody's hands.

#![expect(clippy::disallowed_methods, reason = "files are written where somebody asks for it")]

use std::collections::HashSet;
use std::mem::discriminant;

use bytes::Bytes;
use prost::Message as _;
use quorate_session::record::proto::{self, op::Kind};
use quorate_session::shard::{Shard, outcome};
use quorate_session::{Config, Delivery, Session};
use quorate_types::{PrincipalDigest, Timestamp};

const FOLDER: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/golden/v3");
const COMMANDS: &[u8] = include_bytes!("golden/v3/commands.bin");
const SNAPSHOT: &[u8] = include_bytes!("golden/v3/snapshot.bin");
/// The hash of the state that the snapshot holds.
const HASH: u64 = 0x3e45_87d1_f031_b2d3;
/// Which commands were refused, and why.
const REFUSED: [(usize, proto::Refusal); 2] = [(4, proto::Refusal::Stale), (6, proto::Refusal::Malformed)];
/// The kinds of changes that there are.
const KINDS: usize = 26;

/// A session with everything that one can have.
const FULL: u128 = 7;
/// One that ended.
const ENDED: u128 = 8;
/// One of a stateless client, with a parked call.
const PARKED: u128 = 9;

fn charter(scope: proto::charter::Scope, delivery: proto::Delivery) -> Kind {
    let owner = proto::Owner {
        agent: Some("ci".to_owned()),
        user: Some(proto::User {
            source: "oidc".to_owned(),
            issuer: "https://id".to_owned(),
            subject: "ana".to_owned(),
        }),
        delegation: vec![proto::Actor { issuer: "https://id".to_owned(), subject: "bot".to_owned() }],
        groups: vec!["dev".to_owned()],
        scopes: vec!["tools".to_owned()],
    };
    Kind::Open(proto::Charter {
        principal: vec![1; 16].into(),
        tenant: "acme".to_owned(),
        scope: Some(scope),
        delivery: delivery.into(),
        durability: proto::Durability::Strict.into(),
        client: Some(client(1)),
        versions: vec![proto::Version { member: "files".to_owned(), server: "files-2".to_owned() }],
        opened_ms: 1_000,
        owner: Some(owner),
    })
}

fn client(view: u64) -> proto::Client {
    proto::Client { version: "2025-11-25".to_owned(), initialize_params: r#"{"capabilities":{}}"#.to_owned(), view }
}

fn leg(leg: u32, upstream: Option<proto::Upstream>) -> Kind {
    Kind::Leg(proto::Leg {
        leg,
        server: format!("server-{leg}"),
        epoch: 2,
        is_up: true,
        logging: true,
        is_shared: upstream.is_none(),
        was_open: true,
        upstream,
    })
}

fn call(call: u64, leg: Option<u32>, post: u64) -> Kind {
    let terms = proto::Terms { upstream: "read".to_owned(), exposed: "files_read".to_owned(), timeout_ms: Some(9_000) };
    Kind::Call(proto::Call {
        call,
        id: format!("\"c{call}\""),
        post,
        purpose: proto::Purpose::Plain.into(),
        uri: String::new(),
        leg,
        frame: leg.map(|_| request(call)).unwrap_or_default(),
        progress_token: Some(Bytes::from_static(b"7")),
        replay: proto::Replay::Marked.into(),
        terms: leg.map(|_| terms),
    })
}

fn request(id: u64) -> Bytes {
    format!(r#"{{"jsonrpc":"2.0","id":{id},"method":"tools/call","params":{{"name":"read"}}}}"#).into()
}

fn post(post: u64, key: u8, reply: proto::post::Reply) -> Kind {
    let key = vec![key; 16].into();
    Kind::Post(proto::Post { post, calls: 1, batch: false, reply: Some(reply), key, keeps: true })
}

fn stream(stream: u32, closed: bool, parked: Option<proto::Parked>) -> Kind {
    Kind::Stream(proto::Stream { stream, oldest: 0, delivered: 0, closed, parked, key: vec![3; 16].into() })
}

fn append(stream: u32, data: &'static str) -> Kind {
    Kind::Append(proto::Append { stream, data: Bytes::from_static(data.as_bytes()) })
}

fn subscription(uri: &str) -> Kind {
    let frame = Bytes::from_static(br#"{"jsonrpc":"2.0","id":3,"method":"resources/subscribe","params":{"uri":"a"}}"#);
    Kind::Subscription(proto::Subscription { leg: 0, uri: uri.to_owned(), frame, is_live: true })
}

fn moment(happening: proto::Happening) -> Kind {
    Kind::Moment(proto::Moment { at_ms: 2_500, happening: happening.into(), node: 2 })
}

fn end(reason: proto::EndReason, by: &str) -> Kind {
    Kind::End(proto::End { reason: reason.into(), by: by.to_owned(), node: 2 })
}

/// What came first in the life of a session that has everything.
fn opening() -> Vec<Kind> {
    let upstream = proto::Upstream {
        url: "http://files/mcp".to_owned(),
        session: Some("s1".to_owned()),
        version: "2025-11-25".to_owned(),
        capabilities: Bytes::from_static(br#"{"tools":{}}"#),
    };
    let severity =
        Bytes::from_static(br#"{"jsonrpc":"2.0","id":2,"method":"logging/setLevel","params":{"level":"info"}}"#);
    vec![
        charter(proto::charter::Scope::Toolset("tools".to_owned()), proto::Delivery::Streams),
        Kind::Ids(1_024),
        leg(0, Some(upstream)),
        leg(1, None),
        Kind::Level(proto::Level { severity: 1, frame: severity }),
        Kind::ListenMark(proto::ListenMark { leg: 0, event_id: "e1".to_owned() }),
        subscription("file:///a"),
        subscription("file:///b"),
        Kind::SubscriptionEnd(proto::SubscriptionEnd { leg: 0, uri: "file:///b".to_owned() }),
        moment(proto::Happening::Opened),
    ]
}

/// Calls, questions and answers of which some are over.
fn work() -> Vec<Kind> {
    let state = |call| {
        let (event_id, told) = (Some("e7".to_owned()), Some(2.5));
        Kind::CallState(proto::CallState { call, dispatched: Some(2), again: false, event_id, told })
    };
    let ask = |ask| {
        Kind::Ask(proto::Ask {
            ask,
            leg: 0,
            epoch: 2,
            upstream_id: "41".to_owned(),
            token: Some(Bytes::from_static(b"\"t\"")),
            call: Some(1),
            pauses: Some(1),
            stream: 1,
            deadline_ms: 90_000,
        })
    };
    let answering = |ask| {
        let frame = Bytes::from_static(br#"{"jsonrpc":"2.0","id":41,"result":{}}"#);
        Kind::Answering(proto::Answering { ask, leg: 0, epoch: 2, frame })
    };
    let kept = |post: u64| {
        let body = Bytes::from_static(br#"{"jsonrpc":"2.0","id":5,"result":{}}"#);
        Kind::Kept(proto::Kept { post, key: vec![5; 16].into(), body, until_ms: 301_000 })
    };
    let waiting = proto::Waiting { answers: vec![Bytes::from_static(b"{}")] };
    vec![
        Kind::Client(client(2)),
        Kind::ActiveMs(2_000),
        post(1, 3, proto::post::Reply::Stream(1)),
        call(1, Some(0), 1),
        state(1),
        post(2, 4, proto::post::Reply::Waiting(waiting)),
        call(2, None, 2),
        post(3, 6, proto::post::Reply::Broken(proto::Broken {})),
        call(3, Some(1), 3),
        call(4, Some(1), 3),
        Kind::CallEnd(4),
        stream(1, false, None),
        append(1, r#"{"jsonrpc":"2.0","method":"notifications/progress"}"#),
        append(1, r#"{"jsonrpc":"2.0","id":6,"method":"elicitation/create"}"#),
        stream(2, true, None),
        append(2, "{}"),
        ask(6),
        ask(7),
        Kind::AskEnd(7),
        answering(8),
        answering(9),
        Kind::AnsweringEnd(9),
        kept(10),
        kept(11),
        Kind::KeptEnd(11),
    ]
}

/// Commands of every kind of change, of which two are refused and one is not complete.
fn history() -> Vec<proto::Command> {
    let change = |time_ms, ops: Vec<Kind>| proto::Change {
        time_ms,
        ops: ops.into_iter().map(|kind| proto::Op { kind: Some(kind) }).collect(),
    };
    let part = |session: u128, version, time_ms, ops| proto::Part {
        session: session.to_be_bytes().to_vec().into(),
        version,
        index: 0,
        more: false,
        change: change(time_ms, ops).encode_to_vec().into(),
    };
    let parked = Some(proto::Parked { token: 77, sequence: 1, until_ms: 600_000 });
    let server = proto::charter::Scope::Server("files".to_owned());
    let commands = vec![
        vec![
            part(FULL, 0, 1_000, opening()),
            part(ENDED, 0, 1_000, vec![charter(server.clone(), proto::Delivery::Streams)]),
        ],
        vec![part(FULL, 1, 2_000, work())],
        vec![part(
            PARKED,
            0,
            2_000,
            vec![
                charter(server, proto::Delivery::Calls),
                leg(0, None),
                post(1, 7, proto::post::Reply::Stream(1)),
                call(1, Some(0), 1),
                stream(1, false, parked),
                append(1, r#"{"jsonrpc":"2.0","id":6,"method":"elicitation/create"}"#),
            ],
        )],
        vec![
            part(FULL, 2, 3_000, vec![Kind::PostEnd(4), stream(3, true, None), append(3, "{}"), Kind::StreamEnd(3)]),
            part(
                FULL,
                3,
                3_000,
                vec![Kind::Owner(proto::Owner { agent: Some("cd".to_owned()), ..Default::default() })],
            ),
        ],
        vec![part(FULL, 1, 3_000, vec![Kind::Ids(9_999)])],
        vec![part(ENDED, 1, 4_000, vec![end(proto::EndReason::Operator, "operator ana (operator)")])],
        vec![part(PARKED, 1, 4_000, vec![append(9, "{}")])],
        vec![proto::Part { more: true, ..part(PARKED, 1, 4_000, vec![moment(proto::Happening::Parked)]) }],
    ];
    commands.into_iter().map(|parts| proto::Command { parts }).collect()
}

/// Applies commands, and returns the state and those that were refused.
fn run(commands: &[proto::Command]) -> (Shard, Vec<(usize, proto::Refusal)>) {
    let (mut shard, mut refused) = (Shard::new(), Vec::new());
    for (place, command) in commands.iter().enumerate() {
        let applied = shard.apply(&command.encode_to_vec());
        let outcomes = outcome(&applied.outcome, command.parts.len());
        refused.extend(outcomes.into_iter().filter_map(|outcome| Some((place, outcome.err()?))));
    }
    (shard, refused)
}

fn written() -> Vec<proto::Command> {
    let mut bytes = COMMANDS;
    std::iter::from_fn(|| (!bytes.is_empty()).then(|| proto::Command::decode_length_delimited(&mut bytes)))
        .map(|command| command.expect("it was written"))
        .collect()
}

fn snapshot(shard: &Shard) -> Vec<u8> {
    let mut bytes = Vec::new();
    shard.write_snapshot(&mut bytes).expect("a vector takes everything");
    bytes
}

#[test]
fn commands_of_an_earlier_version_come_to_what_they_came_to() {
    if std::env::var_os("WRITE_GOLDEN").is_some() {
        let commands = history();
        let (shard, refused) = run(&commands);
        let framed: Vec<u8> = commands.iter().flat_map(prost::Message::encode_length_delimited_to_vec).collect();
        for (name, bytes) in [("commands", framed), ("snapshot", snapshot(&shard))] {
            std::fs::write(format!("{FOLDER}/{name}.bin"), bytes).expect("the folder is there");
        }
        panic!("written; the hash is {:#x}, {refused:?}: now run without WRITE_GOLDEN", shard.hash());
    }

    let (shard, refused) = run(&written());

    assert_eq!(refused, REFUSED);
    assert_eq!(snapshot(&shard), SNAPSHOT, "the form of snapshots is kept");
    assert_eq!(shard.hash(), HASH);
}

#[test]
fn a_snapshot_of_an_earlier_version_is_restored_and_its_sessions_go_on() {
    let shard = Shard::restore(&mut &SNAPSHOT[..]).expect("it was written");
    assert_eq!(shard.hash(), HASH);
    assert_eq!((shard.len(), shard.owned_by(PrincipalDigest([1; 16]))), (2, 2));
    assert_eq!(shard.ended(ENDED).map(|ended| ended.at_ms), Some(4_000));

    let now = Timestamp::from_millis(5_000);
    let made = |key, config| {
        let (_, record) = shard.get(key).expect("it goes on");
        Session::restore(config, record, 3, now).expect("a session wrote it").observe()
    };
    let full = made(FULL, Config::DEFAULTS);
    assert_eq!((full.calls, full.server_requests, full.subscriptions), (3, 1, 1), "{full:?}");
    assert_eq!((full.streams_open, full.streams_retained, full.retained_events), (1, 1, 3), "{full:?}");
    let parked = made(PARKED, Config { delivery: Delivery::Calls, ..Config::DEFAULTS });
    assert_eq!((parked.parked, parked.calls), (1, 1), "{parked:?}");
}

#[test]
fn there_is_a_change_of_every_kind() {
    let parts = written().into_iter().flat_map(|command| command.parts);
    let changes = parts.map(|part| proto::Change::decode(part.change).expect("it was written"));
    let kinds: HashSet<_> =
        changes.flat_map(|change| change.ops).map(|op| discriminant(&op.kind.expect("it is known"))).collect();
    assert_eq!(kinds.len(), KINDS);
}
