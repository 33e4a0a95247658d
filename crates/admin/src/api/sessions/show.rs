//! What of a record operators see.
//!
//! In: a record, and who leads its shard. Out: a message of the API. Frames, arguments, results, addresses of replicas and ids
//! of upstream sessions stay where they are. What a client says of itself is cut: nothing limits it but its request.

use quorate_proto::admin::v1;
use quorate_session::record::{Record, proto};
use quorate_types::{NodeId, Timestamp};
use serde_json::Value;

use super::super::timestamp;
use super::list::Row;
use super::name::Name;

/// Bytes of a client's name or version that are shown.
const CLIENT_BYTES_MAX: usize = 128;

/// A session with what it has at tool servers and what happened to it.
pub(super) fn details(name: Name, record: &Record, owner: Option<NodeId>) -> v1::GetSessionResponse {
    let leg = |leg: quorate_session::record::LegHeld<'_>| v1::SessionLeg {
        server: leg.server.to_owned(),
        up: leg.is_up,
        revision: leg.revision.unwrap_or_default().to_owned(),
        epoch: leg.epoch,
    };
    v1::GetSessionResponse {
        session: Some(session(name, record, owner)),
        legs: record.legs().map(leg).collect(),
        timeline: record.timeline().iter().map(moment).collect(),
    }
}

/// What is known of a session that has ended, its end as the last thing that happened to it.
pub(super) fn details_of_ended(name: Name, ended: &proto::Ended) -> v1::GetSessionResponse {
    let session = self::ended(name, ended);
    let last = session.end.as_ref().map(|end| v1::SessionMoment {
        at: end.at,
        happening: v1::SessionHappening::Ended.into(),
        node: end.node,
    });
    let timeline = ended.timeline.iter().map(moment).chain(last).collect();
    v1::GetSessionResponse { session: Some(session), legs: Vec::new(), timeline }
}

/// A session, whatever became of it.
pub(super) fn row(name: Name, row: &Row, owner: Option<NodeId>) -> v1::Session {
    match row {
        Row::Live(record) => session(name, record, owner),
        Row::Ended(ended) => self::ended(name, ended),
    }
}

/// A session that has ended.
fn ended(name: Name, ended: &proto::Ended) -> v1::Session {
    let end = ended.end.as_ref().map(|end| v1::SessionEnd {
        at: Some(timestamp(Timestamp::from_millis(ended.at_ms))),
        reason: reason(end.reason()).into(),
        by: end.by.clone(),
        node: end.node,
    });
    v1::Session {
        name: name.to_string(),
        tenant: ended.tenant.clone(),
        scope: ended.scope.as_ref().map(|scope| match scope {
            proto::ended::Scope::Toolset(name) => v1::session::Scope::Toolset(name.clone()),
            proto::ended::Scope::Server(name) => v1::session::Scope::Server(name.clone()),
        }),
        agent: ended.agent.clone(),
        opened: Some(timestamp(Timestamp::from_millis(ended.opened_ms))),
        end,
        ..v1::Session::default()
    }
}

/// A session.
pub(super) fn session(name: Name, record: &Record, owner: Option<NodeId>) -> v1::Session {
    let (charter, holds) = (record.charter(), record.holds());
    let known = charter.owner.as_ref();
    let user = known.and_then(|known| known.user.as_ref()).map(|user| v1::SessionUser {
        source: user.source.clone(),
        issuer: user.issuer.clone(),
        subject: user.subject.clone(),
    });
    let (client_name, client_version) = charter.client.as_ref().map(said_by).unwrap_or_default();
    v1::Session {
        name: name.to_string(),
        tenant: charter.tenant.clone(),
        scope: charter.scope.as_ref().map(|scope| match scope {
            proto::charter::Scope::Toolset(name) => v1::session::Scope::Toolset(name.clone()),
            proto::charter::Scope::Server(name) => v1::session::Scope::Server(name.clone()),
        }),
        delivery: delivery(charter.delivery()).into(),
        durability: durability(charter.durability()).into(),
        agent: known.and_then(|known| known.agent.clone()).unwrap_or_default(),
        user,
        revision: charter.client.as_ref().map(|client| client.version.clone()).unwrap_or_default(),
        client_name,
        client_version,
        opened: Some(timestamp(record.opened())),
        active: Some(timestamp(record.active())),
        node: owner.map_or(0, |node| node.0),
        calls: count(holds.calls),
        asks: count(holds.asks),
        parked: count(holds.parked),
        streams: count(holds.streams),
        events: count(holds.events),
        event_bytes: u64::try_from(holds.event_bytes).unwrap_or(u64::MAX),
        subscriptions: count(holds.subscriptions),
        servers_up: count(holds.legs),
        end: None,
    }
}

fn moment(moment: &proto::Moment) -> v1::SessionMoment {
    let happening = match moment.happening() {
        proto::Happening::Unspecified => v1::SessionHappening::Unspecified,
        proto::Happening::Opened => v1::SessionHappening::Opened,
        proto::Happening::Moved => v1::SessionHappening::Moved,
        proto::Happening::Resumed => v1::SessionHappening::Resumed,
        proto::Happening::Parked => v1::SessionHappening::Parked,
        proto::Happening::Replayed => v1::SessionHappening::Replayed,
        proto::Happening::Unknown => v1::SessionHappening::Unknown,
    };
    let at = Some(timestamp(Timestamp::from_millis(moment.at_ms)));
    v1::SessionMoment { at, happening: happening.into(), node: moment.node }
}

fn reason(reason: proto::EndReason) -> v1::SessionEndReason {
    match reason {
        // Who is unparked has not ended.
        proto::EndReason::Unspecified | proto::EndReason::Unparked => v1::SessionEndReason::Unspecified,
        proto::EndReason::Deleted => v1::SessionEndReason::Deleted,
        proto::EndReason::Idle => v1::SessionEndReason::Idle,
        proto::EndReason::ClientGone => v1::SessionEndReason::ClientGone,
        proto::EndReason::Shutdown => v1::SessionEndReason::Shutdown,
        proto::EndReason::Revoked => v1::SessionEndReason::Revoked,
        proto::EndReason::Operator => v1::SessionEndReason::Operator,
    }
}

fn delivery(delivery: proto::Delivery) -> v1::SessionDelivery {
    match delivery {
        proto::Delivery::Unspecified => v1::SessionDelivery::Unspecified,
        proto::Delivery::Streams => v1::SessionDelivery::Streams,
        proto::Delivery::Single => v1::SessionDelivery::Single,
        proto::Delivery::Calls => v1::SessionDelivery::Calls,
    }
}

fn durability(durability: proto::Durability) -> v1::SessionDurability {
    match durability {
        proto::Durability::Unspecified => v1::SessionDurability::Unspecified,
        proto::Durability::Strict => v1::SessionDurability::Strict,
        proto::Durability::Ephemeral => v1::SessionDurability::Ephemeral,
    }
}

/// What a client calls itself, and its version.
fn said_by(client: &proto::Client) -> (String, String) {
    let params: Value = serde_json::from_str(&client.initialize_params).unwrap_or_default();
    let said = |member: &str| {
        let text = params["clientInfo"][member].as_str().unwrap_or_default();
        text[..text.floor_char_boundary(CLIENT_BYTES_MAX)].to_owned()
    };
    (said("name"), said("version"))
}

fn count(count: usize) -> u32 {
    u32::try_from(count).unwrap_or(u32::MAX)
}

#[cfg(test)]
mod tests {
    use prost::Message as _;
    use quorate_session::shard::{Shard, command, parts};

    use super::*;

    #[test]
    fn a_session_is_shown_without_what_goes_over_it_and_without_what_opens_it() {
        let params = format!(r#"{{"clientInfo":{{"name":"{}","version":"1.2"}},"x":"SECRET"}}"#, "é".repeat(500));
        let charter = proto::Charter {
            principal: b"SECRET0123456789".to_vec().into(),
            tenant: "acme".to_owned(),
            scope: Some(proto::charter::Scope::Toolset("all".to_owned())),
            delivery: proto::Delivery::Streams.into(),
            durability: proto::Durability::Strict.into(),
            client: Some(proto::Client { version: "2025-11-25".to_owned(), initialize_params: params, view: 1 }),
            opened_ms: 1_000,
            owner: Some(proto::Owner { agent: Some("ci".to_owned()), ..proto::Owner::default() }),
            ..proto::Charter::default()
        };
        let upstream = proto::Upstream {
            url: "http://SECRET/".to_owned(),
            session: Some("SECRET".to_owned()),
            version: "2025-06-18".to_owned(),
            capabilities: b"{}".to_vec().into(),
        };
        let leg = proto::Leg {
            leg: 1,
            server: "files".to_owned(),
            epoch: 2,
            is_up: true,
            upstream: Some(upstream),
            ..proto::Leg::default()
        };
        let call =
            proto::Call { call: 1, id: "\"SECRET\"".into(), frame: b"SECRET".to_vec().into(), ..Default::default() };
        let moved = proto::Moment { at_ms: 2_000, happening: proto::Happening::Moved.into(), node: 3 };
        let kinds = [
            proto::op::Kind::Open(charter),
            proto::op::Kind::Leg(leg),
            proto::op::Kind::Call(call),
            proto::op::Kind::Moment(moved),
        ];
        let ops = kinds.into_iter().map(|kind| proto::Op { kind: Some(kind) }).collect();
        let mut shard = Shard::new();
        shard.apply(&command(&parts(9, 0, &proto::Change { time_ms: 2_000, ops })));
        let (_, record) = shard.get(9).expect("it is there");

        let shown = details(Name { shard: 4, key: 9 }, record, Some(NodeId(3)));

        assert!(!shown.encode_to_vec().windows(6).any(|window| window == b"SECRET"), "{shown:?}");
        let session = shown.session.expect("it is one");
        assert_eq!(session.name, "4-00000000000000000000000000000009");
        assert_eq!((session.tenant.as_str(), session.agent.as_str(), session.node), ("acme", "ci", 3));
        assert_eq!((session.calls, session.servers_up), (1, 1));
        assert_eq!((session.client_name, session.client_version.as_str()), ("é".repeat(64), "1.2"));
        assert_eq!(session.opened.map(|at| at.seconds), Some(1));
        let leg = shown.legs.first().expect("it has one");
        assert_eq!((leg.server.as_str(), leg.up, leg.revision.as_str(), leg.epoch), ("files", true, "2025-06-18", 2));
        let moment = shown.timeline.first().expect("it has one");
        assert_eq!((moment.happening(), moment.node), (v1::SessionHappening::Moved, 3));

        let end = quorate_session::EndReason::Operator { by: "operator ci (operator)".into() }.written(3);
        let ops = vec![proto::Op { kind: Some(proto::op::Kind::End(end)) }];
        shard.apply(&command(&parts(9, 1, &proto::Change { time_ms: 3_000, ops })));
        let told = details_of_ended(Name { shard: 4, key: 9 }, shard.ended(9).expect("it is told of"));

        assert!(!told.encode_to_vec().windows(6).any(|window| window == b"SECRET"), "{told:?}");
        let what: Vec<_> = told.timeline.iter().map(|moment| (moment.happening(), moment.node)).collect();
        assert_eq!(what, [(v1::SessionHappening::Moved, 3), (v1::SessionHappening::Ended, 3)]);
        let end = told.session.and_then(|session| session.end).expect("it says how");
        assert_eq!((end.reason(), end.by.as_str()), (v1::SessionEndReason::Operator, "operator ci (operator)"));
        assert_eq!(end.at.map(|at| at.seconds), Some(3));
    }
}
