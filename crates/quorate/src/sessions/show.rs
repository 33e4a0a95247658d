//! Sessions for people: in a list, one with all that is known of it, and how it ended.
//!
//! Texts of clients and nodes come in, lines that cannot steer the terminal go out, by [`Table`] and [`output::visible`].

use std::time::Duration;

use quorate_proto::admin::v1 as proto;
use quorate_proto::admin::v1::{SessionEndReason, SessionHappening};
use quorate_types::Timestamp;

use crate::answer::{self, shown_time, span};
use crate::output;
use crate::table::Table;

/// Characters of columns beside the names of sessions, so that no line is wider than a table.
const TENANT_WIDTH: usize = 10;
const SCOPE_WIDTH: usize = 13;
const AGENT_WIDTH: usize = 12;
const HOW_WIDTH: usize = 26;

/// Sessions that go on.
pub(crate) fn table(sessions: &[proto::Session], now: Timestamp) -> String {
    let mut table = Table::new(["SESSION", "TENANT", "FOR", "AGENT", "NODE", "CALLS", "ACTIVE"]);
    for session in sessions {
        table.row([
            session.name.clone(),
            output::first_line(&session.tenant, TENANT_WIDTH),
            output::first_line(&scope(session), SCOPE_WIDTH),
            output::first_line(or_dash(&session.agent), AGENT_WIDTH),
            node(session.node),
            session.calls.to_string(),
            ago(answer::time(session.active.as_ref()), now),
        ]);
    }
    if table.is_empty() { "no sessions\n".to_owned() } else { table.render() }
}

/// Sessions that ended.
pub(super) fn ended_table(sessions: &[proto::Session], now: Timestamp) -> String {
    let mut table = Table::new(["SESSION", "TENANT", "FOR", "ENDED", "BY"]);
    for session in sessions {
        table.row([
            session.name.clone(),
            output::first_line(&session.tenant, TENANT_WIDTH),
            output::first_line(&scope(session), SCOPE_WIDTH),
            ago(ended_at(session), now),
            output::first_line(&session.end.as_ref().map_or_else(String::new, by), HOW_WIDTH),
        ]);
    }
    if table.is_empty() { "no session has ended lately\n".to_owned() } else { table.render() }
}

/// When a session ended.
pub(super) fn ended_at(session: &proto::Session) -> Option<Timestamp> {
    answer::time(session.end.as_ref()?.at.as_ref())
}

/// One session.
pub(super) fn details(answer: &proto::GetSessionResponse) -> String {
    let session = answer.session.clone().unwrap_or_default();
    let mut text = String::new();
    for (name, value) in fields(&session) {
        text.push_str(&format!("{name:<11} {}\n", output::visible(or_dash(&value))));
    }
    let mut legs = Table::new(["SERVER", "UP", "PROTOCOL", "OPENED"]);
    for leg in &answer.legs {
        let up = if leg.up { "yes" } else { "no" }.to_owned();
        let times = if leg.epoch == 1 { "once".to_owned() } else { format!("{} times", leg.epoch) };
        legs.row([leg.server.clone(), up, or_dash(&leg.revision).to_owned(), times]);
    }
    let mut timeline = Table::new(["TIME", "WHAT"]);
    for moment in &answer.timeline {
        timeline.row([shown_time(moment.at.as_ref()), happened(moment, &session)]);
    }
    for table in [legs, timeline].iter().filter(|table| !table.is_empty()) {
        text.push('\n');
        text.push_str(&table.render());
    }
    text
}

/// What a session is for; a server's name says that it is one.
pub(super) fn scope(session: &proto::Session) -> String {
    match &session.scope {
        Some(proto::session::Scope::Toolset(name)) => name.clone(),
        Some(proto::session::Scope::Server(name)) => format!("server {name}"),
        None => "-".to_owned(),
    }
}

/// Who ended a session, and why.
pub(super) fn by(end: &proto::SessionEnd) -> String {
    match end.reason() {
        SessionEndReason::Unspecified => "unknown".to_owned(),
        SessionEndReason::Deleted => "its client".to_owned(),
        SessionEndReason::Idle => "the idle timeout".to_owned(),
        SessionEndReason::ClientGone => "its client, which left".to_owned(),
        SessionEndReason::Shutdown => "a change of configuration".to_owned(),
        SessionEndReason::Revoked => "a change of rights".to_owned(),
        SessionEndReason::Operator => or_dash(&end.by).to_owned(),
    }
}

pub(super) fn or_dash(text: &str) -> &str {
    if text.is_empty() { "-" } else { text }
}

pub(super) fn node(node: u64) -> String {
    if node == 0 { "-".to_owned() } else { node.to_string() }
}

fn fields(session: &proto::Session) -> Vec<(&'static str, String)> {
    let whose = [
        ("session", session.name.clone()),
        ("tenant", session.tenant.clone()),
        ("for", scope(session)),
        ("agent", session.agent.clone()),
    ];
    if let Some(end) = &session.end {
        let ended = format!("{} by {}", shown_time(end.at.as_ref()), by(end));
        let ends = [("opened", shown_time(session.opened.as_ref())), ("ended", ended)];
        return whose.into_iter().chain(ends).collect();
    }
    let user = session.user.as_ref().map_or_else(String::new, |user| format!("{} ({})", user.subject, user.issuer));
    let client = [session.client_name.as_str(), session.client_version.as_str()].join(" ");
    let is = [
        ("user", user),
        ("client", client.trim().to_owned()),
        ("protocol", session.revision.clone()),
        ("delivery", word(session.delivery().as_str_name(), "SESSION_DELIVERY_")),
        ("durability", word(session.durability().as_str_name(), "SESSION_DURABILITY_")),
        ("node", node(session.node)),
        ("opened", shown_time(session.opened.as_ref())),
        ("active", shown_time(session.active.as_ref())),
        ("holds", holds(session)),
    ];
    whose.into_iter().chain(is).collect()
}

fn holds(session: &proto::Session) -> String {
    if [session.calls, session.asks, session.streams, session.subscriptions].iter().all(|count| *count == 0) {
        return "nothing".to_owned();
    }
    let some = |count: u32, what: &str| answer::counted(usize::try_from(count).unwrap_or(usize::MAX), what);
    format!(
        "{} ({} parked), {}, {} with {} ({} bytes), {}",
        some(session.calls, "call"),
        session.parked,
        some(session.asks, "question"),
        some(session.streams, "stream"),
        some(session.events, "event"),
        session.event_bytes,
        some(session.subscriptions, "subscription"),
    )
}

fn happened(moment: &proto::SessionMoment, session: &proto::Session) -> String {
    let on = if moment.node == 0 { String::new() } else { format!(" on node {}", moment.node) };
    match moment.happening() {
        SessionHappening::Unspecified => format!("something that this program does not know{on}"),
        SessionHappening::Opened => format!("opened{on}"),
        SessionHappening::Moved => format!("moved to node {}", node(moment.node)),
        SessionHappening::Resumed => format!("a client came back for a stream{on}"),
        SessionHappening::Parked => format!("a call was parked{on}"),
        SessionHappening::Replayed => format!("a call was sent again{on}"),
        SessionHappening::Unknown => format!("the outcome of a call became unknown{on}"),
        SessionHappening::Ended => {
            format!("ended{on} by {}", session.end.as_ref().map_or_else(|| "-".to_owned(), by))
        }
    }
}

fn ago(at: Option<Timestamp>, now: Timestamp) -> String {
    at.map_or_else(|| "-".to_owned(), |at| span(Duration::from_millis(now.as_millis().saturating_sub(at.as_millis()))))
}

/// A choice of the API as a word; one that is unspecified is none.
fn word(name: &str, prefix: &str) -> String {
    let word = name.strip_prefix(prefix).unwrap_or(name).to_lowercase();
    if word == "unspecified" { "-".to_owned() } else { word }
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    pub(in super::super) fn session() -> proto::Session {
        let at = |seconds| Some(prost_types::Timestamp { seconds, nanos: 0 });
        proto::Session {
            name: format!("256-{}", "0f".repeat(16)),
            tenant: "acme".to_owned(),
            scope: Some(proto::session::Scope::Toolset("all".to_owned())),
            delivery: proto::SessionDelivery::Streams.into(),
            durability: proto::SessionDurability::Strict.into(),
            agent: "ci".to_owned(),
            revision: "2025-11-25".to_owned(),
            client_name: "c\u{1b}[2J".to_owned(),
            client_version: "1".to_owned(),
            opened: at(1_700_000_000),
            active: at(1_700_000_060),
            node: 2,
            calls: 1,
            ..proto::Session::default()
        }
    }

    pub(in super::super) fn ended() -> proto::Session {
        let end = proto::SessionEnd {
            at: Some(prost_types::Timestamp { seconds: 1_700_000_070, nanos: 0 }),
            reason: SessionEndReason::Operator.into(),
            by: "operator ci (operator)".to_owned(),
            node: 3,
        };
        proto::Session { end: Some(end), ..session() }
    }

    fn long() -> proto::Session {
        proto::Session {
            tenant: "t".repeat(60),
            scope: Some(proto::session::Scope::Server("s".repeat(60))),
            agent: "spiffe://acme.example/".to_owned() + &"a".repeat(900),
            ..session()
        }
    }

    #[test]
    fn a_list_has_whole_names_whatever_is_beside_them() {
        let now = Timestamp::from_millis(1_700_000_075_000);
        let far =
            proto::Session { end: ended().end.map(|end| proto::SessionEnd { by: "b".repeat(90), ..end }), ..long() };
        for text in [table(&[session(), long()], now), ended_table(&[ended(), far], now)] {
            let lines: Vec<&str> = text.lines().collect();
            assert_eq!(lines.len(), 3, "{text}");
            assert!(lines.iter().skip(1).all(|line| line.starts_with(&session().name)), "{text}");
            assert!(lines.iter().all(|line| line.chars().count() <= crate::table::WIDTH), "{text}");
        }

        let text = table(&[session()], now);
        let cells: Vec<&str> = text.lines().nth(1).unwrap().split_whitespace().collect();
        assert_eq!(cells[1..], ["acme", "all", "ci", "2", "1", "15", "s"]);
        assert!(ended_table(&[ended()], now).ends_with("acme    all  5.0 s  operator ci (operator)\n"));
        assert_eq!(table(&[], now), "no sessions\n");
    }

    #[test]
    fn one_session_is_told_with_its_servers_and_its_moments_and_steers_no_terminal() {
        let leg = proto::SessionLeg { server: "files".to_owned(), up: true, revision: String::new(), epoch: 2 };
        let at = Some(prost_types::Timestamp { seconds: 1_700_000_000, nanos: 0 });
        let moved = proto::SessionMoment { at, happening: SessionHappening::Moved.into(), node: 3 };
        let answer = proto::GetSessionResponse { session: Some(session()), legs: vec![leg], timeline: vec![moved] };

        let text = details(&answer);

        assert!(!text.contains('\u{1b}'), "{text:?}");
        let expected =
            ["delivery    streams\n", "user        -\n", "files   yes  -         2 times", "Z  moved to node 3"];
        for expected in expected {
            assert!(text.contains(expected), "{expected:?} in {text}");
        }
    }

    #[test]
    fn a_session_that_ended_is_told_with_who_ended_it() {
        let moment = |happening: SessionHappening, node| proto::SessionMoment {
            at: Some(prost_types::Timestamp { seconds: 1_700_000_000, nanos: 0 }),
            happening: happening.into(),
            node,
        };
        let timeline = vec![moment(SessionHappening::Opened, 1), moment(SessionHappening::Ended, 3)];
        let answer = proto::GetSessionResponse { session: Some(ended()), legs: Vec::new(), timeline };

        let text = details(&answer);

        assert!(text.contains("ended       2023-11-14T22:14:30Z by operator ci (operator)\n"), "{text}");
        assert!(text.ends_with("ended on node 3 by operator ci (operator)\n"), "{text}");
        assert!(text.contains("opened on node 1\n") && !text.contains("holds"), "{text}");
    }
}
