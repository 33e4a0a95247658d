//! What `quorate top` shows: lines made of the latest answers, and of how they differ from those before.
//!
//! Nodes tell counts since they started, with the time at which they did. A rate is the difference of two of them by the time
//! between; there is none where a node started anew in between or told nothing new. What a node told that does not answer any
//! more is not shown.

use std::collections::VecDeque;
use std::time::Duration;

use quorate_proto::admin::v1 as proto;
use quorate_proto::admin::v1::{NodeHealth, NodeState};
use quorate_types::{Timestamp, rfc3339};

use super::screen::Size;
use crate::answer::{self, counted};
use crate::check::{self, Finding, Reports, judge};
use crate::cluster::status;
use crate::output;
use crate::sessions::show;
use crate::table::Table;

/// Lines of what is wrong.
const FINDINGS_MAX: usize = 5;
/// For how long takeovers are shown as new.
const LATELY: Duration = Duration::from_secs(60);

/// What was asked for at one time.
#[derive(Clone, Debug, Default)]
pub(super) struct Seen {
    pub(super) status: proto::GetStatusResponse,
    pub(super) busy: proto::ListSessionsResponse,
    pub(super) at: Timestamp,
}

/// The latest answers, and what is left of those before.
#[derive(Debug, Default)]
pub(super) struct History {
    before: Option<Seen>,
    now: Seen,
    /// Takeovers of the last minute, with when they were seen.
    takeovers: VecDeque<(Timestamp, u64)>,
}

/// What a node does, each second.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
struct Rates {
    requests: f64,
    events: f64,
}

// === impl History ===

impl History {
    /// Takes answers in.
    pub(super) fn see(&mut self, seen: Seen) {
        let before = std::mem::replace(&mut self.now, seen);
        self.before = Some(before).filter(|before| !before.status.nodes.is_empty());
        let fresh = self.now.status.nodes.iter().filter_map(|node| self.taken_over(node)).sum();
        if fresh > 0 {
            self.takeovers.push_back((self.now.at, fresh));
        }
        while self.takeovers.front().is_some_and(|(at, _)| self.now.at.since(*at) > LATELY) {
            self.takeovers.pop_front();
        }
    }

    /// The frame, no larger than `size`; `trouble` is why there is nothing newer.
    pub(super) fn frame(&self, size: Size, trouble: Option<&str>) -> String {
        let mut lines: Vec<String> = self.head().into();
        if let Some(trouble) = trouble {
            lines.push(format!("NO ANSWER: {}", output::visible(&trouble.replace('\n', " "))));
        }
        let mut part = |text: &str| {
            lines.push(String::new());
            lines.extend(text.lines().map(str::to_owned));
        };
        part(&self.nodes());
        part(&self.findings());
        match &self.now.busy.sessions[..] {
            [] => part("no session is busy: nothing waits for an answer"),
            busy => part(&format!(
                "busy sessions, in which something waits for an answer:\n{}",
                show::table(busy, self.now.at)
            )),
        }
        let more = if self.now.busy.next_page_token.is_empty() { None } else { Some("and others") };
        lines.extend(more.map(str::to_owned));
        lines.truncate(size.lines);
        let cut = |line: &String| line.chars().take(size.columns).collect::<String>();
        lines.iter().map(cut).collect::<Vec<_>>().join("\n")
    }

    fn head(&self) -> [String; 3] {
        let status = &self.now.status;
        let nodes = || status.nodes.iter().filter(|node| is_member(node));
        let rates = nodes().filter_map(|node| self.rates(node));
        let sum = rates.fold(Rates::default(), |sum, rates| Rates {
            requests: sum.requests + rates.requests,
            events: sum.events + rates.events,
        });
        let loads = || nodes().filter_map(load);
        let (sessions, awake): (u64, u64) =
            (loads().map(|load| load.sessions).sum(), loads().map(|load| load.sessions_awake).sum());
        let (all, lately): (u64, u64) =
            (loads().map(|load| load.takeovers).sum(), self.takeovers.iter().map(|(_, count)| count).sum());
        let leader = status.meta.as_ref().map_or(0, |meta| meta.leader);
        let leader = if leader == 0 { "nobody".to_owned() } else { format!("node {leader}") };
        let time = rfc3339::format(Timestamp::from_millis(self.now.at.as_millis() / 1_000 * 1_000));
        let name = status.nodes.iter().find(|node| node.id == status.node).map_or("", |node| node.name.as_str());
        let who = output::visible(&answer::node(status.node, name)).into_owned();
        [
            format!("{time}  {}, as node {who} knows them, led by {leader}", counted(nodes().count(), "node")),
            format!(
                "requests {}/s   events {}/s   sessions {sessions}, {awake} awake   takeovers {all}, {lately} in the last minute",
                rate(sum.requests),
                rate(sum.events),
            ),
            status::shards(status).trim_end().to_owned(),
        ]
    }

    fn nodes(&self) -> String {
        let mut table = Table::new([
            "NODE",
            "NAME",
            "STATUS",
            "LED",
            "SESSIONS",
            "AWAKE",
            "REQUESTS/S",
            "EVENTS/S",
            "TAKEOVERS",
            "TOLD",
        ]);
        for node in self.now.status.nodes.iter().filter(|node| is_member(node)) {
            let (load, rates) = (load(node), self.rates(node));
            let count = |of: fn(&proto::NodeLoad) -> u64| load.map_or_else(dash, |load| of(load).to_string());
            let shown = |of: fn(&Rates) -> f64| rates.map_or_else(dash, |rates| rate(of(&rates)));
            let told = load.and_then(|load| answer::time(load.at.as_ref())).map_or_else(dash, |at| {
                let age = self.now.at.as_millis().saturating_sub(at.as_millis());
                format!("{} ago", answer::span(Duration::from_millis(age)))
            });
            table.row([
                node.id.to_string(),
                node.name.clone(),
                state(node).to_owned(),
                node.groups_led.to_string(),
                count(|load| load.sessions),
                count(|load| load.sessions_awake),
                shown(|rates| rates.requests),
                shown(|rates| rates.events),
                count(|load| load.takeovers),
                told,
            ]);
        }
        table.render()
    }

    /// What is wrong, a line each; what to do about it says `quorate check`.
    fn findings(&self) -> String {
        let findings = judge(&Reports::of_one(&self.now.status, self.now.at));
        if findings.is_empty() {
            return "nothing is wrong".to_owned();
        }
        let shown = findings.iter().take(FINDINGS_MAX);
        let line = |finding: &Finding| format!("{}  {}", check::word(finding.severity), output::visible(&finding.what));
        let mut lines: Vec<String> = shown.map(line).collect();
        let more = findings.len() - lines.len();
        lines.extend((more > 0).then(|| format!("and {more} more: `quorate check`")));
        lines.join("\n")
    }

    /// What a node told before, in the same life.
    fn before(&self, node: &proto::Node, load: &proto::NodeLoad) -> Option<&proto::NodeLoad> {
        let known = self.before.as_ref()?.status.nodes.iter().find(|known| known.id == node.id)?;
        known.load.as_ref().filter(|before| before.incarnation == load.incarnation)
    }

    fn rates(&self, node: &proto::Node) -> Option<Rates> {
        let load = load(node)?;
        let before = self.before(node, load)?;
        let at = |load: &proto::NodeLoad| answer::time(load.at.as_ref());
        let span = at(load)?.as_millis().checked_sub(at(before)?.as_millis()).filter(|span| *span > 0)?;
        let rate = |now: u64, before: u64| per_second(now.saturating_sub(before), span);
        Some(Rates { requests: rate(load.requests, before.requests), events: rate(load.events, before.events) })
    }

    /// Sessions that a node took over since it was seen before; all of its life where that began since.
    fn taken_over(&self, node: &proto::Node) -> Option<u64> {
        let load = load(node)?;
        let was_there =
            self.before.as_ref()?.status.nodes.iter().any(|known| known.id == node.id && known.load.is_some());
        let before = self.before(node, load).map_or(0, |before| before.takeovers);
        was_there.then(|| load.takeovers.saturating_sub(before))
    }
}

fn is_member(node: &proto::Node) -> bool {
    node.state() != NodeState::Removed
}

/// What a node told that is there.
fn load(node: &proto::Node) -> Option<&proto::NodeLoad> {
    node.load.as_ref().filter(|_| node.health() != NodeHealth::Unreachable)
}

/// How a node does, and what it is about to become where that is more telling.
fn state(node: &proto::Node) -> &'static str {
    match node.state() {
        NodeState::Active | NodeState::Unspecified => status::health(node.health()),
        _ if node.health() == NodeHealth::Unreachable => status::health(node.health()),
        other => status::state(other),
    }
}

#[expect(clippy::cast_precision_loss, reason = "rates are shown with a few digits")]
fn per_second(count: u64, span_ms: u64) -> f64 {
    count as f64 * 1_000.0 / span_ms as f64
}

fn rate(rate: f64) -> String {
    if rate > 0.0 && rate < 10.0 { format!("{rate:.1}") } else { format!("{rate:.0}") }
}

fn dash() -> String {
    "-".to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    const SIZE: Size = Size { columns: 100, lines: 60 };

    fn node(id: u64, seconds: i64, requests: u64, takeovers: u64) -> proto::Node {
        let load = proto::NodeLoad {
            at: Some(prost_types::Timestamp { seconds, nanos: 0 }),
            incarnation: 1,
            requests,
            events: requests * 2,
            takeovers,
            sessions: 100 + id,
            sessions_awake: id,
        };
        proto::Node {
            id,
            name: format!("node-{id}"),
            state: NodeState::Active.into(),
            health: NodeHealth::Healthy.into(),
            groups_led: 11,
            load: Some(load),
            ..proto::Node::default()
        }
    }

    fn seen(seconds: i64, nodes: Vec<proto::Node>) -> Seen {
        let shard =
            |number| proto::ShardStatus { shard: number, leader: 1, voters: vec![1, 2, 3], ..Default::default() };
        let status = proto::GetStatusResponse {
            node: 1,
            mode: proto::NodeMode::Member.into(),
            nodes,
            meta: Some(proto::MetaStatus { leader: 2, voters: vec![1, 2, 3], ..Default::default() }),
            shards: (1..=8).map(shard).collect(),
            ..proto::GetStatusResponse::default()
        };
        let session = proto::Session {
            name: format!("7-{}", "0f".repeat(16)),
            tenant: "acme".to_owned(),
            agent: "ci\u{1b}[2J".to_owned(),
            node: 2,
            calls: 3,
            ..proto::Session::default()
        };
        let busy = proto::ListSessionsResponse { sessions: vec![session], ..proto::ListSessionsResponse::default() };
        Seen { status, busy, at: Timestamp::from_millis(u64::try_from(seconds).unwrap() * 1_000 + 300) }
    }

    fn row(frame: &str, node: u64) -> Vec<String> {
        let is_row = |line: &&str| line.starts_with(&format!("{node} "));
        frame.lines().find(is_row).unwrap().split_whitespace().map(str::to_owned).collect()
    }

    #[test]
    fn rates_are_by_the_times_at_which_nodes_told() {
        let mut history = History::default();
        history.see(seen(1_000, vec![node(1, 1_000, 100, 0), node(2, 998, 50, 4)]));
        let first = history.frame(SIZE, None);
        assert_eq!(row(&first, 1)[3..], ["11", "101", "1", "-", "-", "0", "0.3", "s", "ago"], "{first}");

        history.see(seen(1_004, vec![node(1, 1_004, 500, 0), node(2, 1_003, 55, 6)]));
        let frame = history.frame(SIZE, None);

        assert_eq!(row(&frame, 1)[6..9], ["100", "200", "0"], "{frame}");
        assert_eq!(row(&frame, 2)[6..9], ["1.0", "2.0", "6"], "{frame}");
        let sums = "requests 101/s   events 202/s   sessions 203, 3 awake   takeovers 6, 2 in the last minute";
        assert_eq!(frame.lines().nth(1), Some(sums));
        assert!(frame.contains("\n\nnothing is wrong\n\n"), "{frame}");
        assert!(frame.contains("8 shards: 8 with a leader, 3 replicas each"), "{frame}");
        assert!(frame.lines().all(|line| line.chars().count() <= 100) && !frame.contains('\u{1b}'), "{frame}");
    }

    #[test]
    fn a_node_that_is_started_again_or_gone_has_no_rate() {
        let mut history = History::default();
        history.see(seen(1_000, vec![node(1, 1_000, 100, 9), node(2, 1_000, 50, 4)]));
        let mut again = node(1, 1_002, 30, 5);
        again.load.as_mut().unwrap().incarnation = 2;
        let mut gone = node(2, 1_000, 50, 4);
        gone.health = NodeHealth::Unreachable.into();
        history.see(seen(1_002, vec![again, gone]));

        let frame = history.frame(SIZE, None);

        assert_eq!(row(&frame, 1)[6..9], ["-", "-", "5"], "{frame}");
        assert_eq!(row(&frame, 2)[2..], ["unreachable", "11", "-", "-", "-", "-", "-", "-"], "{frame}");
        assert!(frame.contains("\n\nproblem  node 2") && !frame.contains('→'), "{frame}");
        assert!(frame.contains("sessions 101, 1 awake   takeovers 5, 5 in the last minute"), "{frame}");
        for later in 1..=31 {
            history.see(seen(1_002 + 2 * later, vec![node(1, 1_002 + 2 * later, 100, 9)]));
        }
        assert!(history.takeovers.len() <= 1, "what is long past is forgotten: {:?}", history.takeovers);
    }

    #[test]
    fn a_frame_is_no_larger_than_its_screen_and_says_when_nobody_answers() {
        let mut history = History::default();
        history.see(seen(1_000, vec![node(1, 1_000, 100, 0)]));

        let small = history.frame(Size { columns: 40, lines: 6 }, Some("10.0.0.1:4191: no\nroute"));

        let lines: Vec<&str> = small.lines().collect();
        assert_eq!(lines.len(), 6, "{small}");
        assert!(lines.iter().all(|line| line.chars().count() <= 40), "{small}");
        assert_eq!(lines[3], "NO ANSWER: 10.0.0.1:4191: no route");
    }
}
