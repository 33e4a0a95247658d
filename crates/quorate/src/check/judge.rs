//! The judge of a cluster: what its nodes say goes in, what is wrong and what to do about it comes out.
//!
//! Pure: the same reports give the same findings. Each rule is a function over all reports and adds what it finds; a cause
//! is told rather than its effects, so that one node that is down is one finding and not a hundred. Problems need somebody,
//! warnings will, and notes are good to know.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use quorate_proto::admin::v1::{Alarm, Node, NodeHealth, NodeMode, NodeState, ShardStatus};
use serde::Serialize;

use super::report::Reports;
use crate::answer::{self, counted};

/// A certificate that ends within this time should have been renewed: members renew after two thirds of its life.
const CERTIFICATE_WARNING: Duration = Duration::from_secs(7 * 86_400);
/// One that ends so soon stops the node before somebody is back from a weekend.
const CERTIFICATE_PROBLEM: Duration = Duration::from_secs(2 * 86_400);
/// The part of its life at whose end a certificate from files should have been renewed, as its node judges its own.
const LATE: u32 = 6;
/// Clocks that are further apart shift the times of logs and of keys; less is what a machine without NTP has in a day.
const CLOCK_WARNING: Duration = Duration::from_millis(500);
/// Times ride in the log, and the largest counts: a clock so far ahead ages everything.
const CLOCK_PROBLEM: Duration = Duration::from_secs(10);
/// A term that rose by more between two looks: leaders are elected again and again.
const TERMS_CALM: u64 = 1;
/// Shards that are named; more are counted.
const NAMED_MAX: usize = 8;
/// The alarm of a disk that has little room: nothing is refused yet.
const DISK_LOW: &str = "disk-low";

/// How much a finding matters.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Severity {
    /// Somebody has to do something.
    Problem,
    /// It will become a problem.
    Warning,
    /// Good to know.
    Note,
}

/// Something about a cluster.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub(crate) struct Finding {
    pub(crate) severity: Severity,
    /// What it is about, for programs: `node`, `meta`, `shard`, `revision`, `certificate`, `alarm`, `version`, `clock`,
    /// `cluster`.
    pub(crate) kind: &'static str,
    /// The nodes that it is about.
    pub(crate) nodes: Vec<u64>,
    /// What is the case, in one sentence.
    pub(crate) what: String,
    /// What to do about it.
    pub(crate) advice: String,
}

/// Judges a cluster.
pub(crate) fn judge(reports: &Reports) -> Vec<Finding> {
    let mut findings = Findings(Vec::new());
    if reports.best().is_none() {
        nobody(reports, &mut findings);
    } else {
        unreachable(reports, &mut findings);
        meta(reports, &mut findings);
        shards(reports, &mut findings);
        revisions(reports, &mut findings);
        health(reports, &mut findings);
        alarms(reports, &mut findings);
        certificates(reports, &mut findings);
        versions(reports, &mut findings);
        clocks(reports, &mut findings);
        states(reports, &mut findings);
    }
    findings.0.sort_by_key(|finding| finding.severity);
    findings.0
}

/// Tells whether somebody has to do something, now or later.
pub(crate) fn is_ill(findings: &[Finding]) -> bool {
    findings.iter().any(|finding| finding.severity != Severity::Note)
}

/// What was found so far.
struct Findings(Vec<Finding>);

// === impl Findings ===

impl Findings {
    fn add(&mut self, severity: Severity, kind: &'static str, nodes: &[u64], what: String, advice: impl Into<String>) {
        self.0.push(Finding { severity, kind, nodes: nodes.to_vec(), what, advice: advice.into() });
    }
}

fn called(node: &Node) -> String {
    format!("node {}", answer::node(node.id, &node.name))
}

/// Numbers as a list, cut where it gets long.
fn listed<T: ToString>(numbers: &[T]) -> String {
    let shown: Vec<String> = numbers.iter().take(NAMED_MAX).map(ToString::to_string).collect();
    let more = numbers.len().saturating_sub(NAMED_MAX);
    let tail = if more > 0 { format!(" and {more} more") } else { String::new() };
    format!("{}{tail}", shown.join(", "))
}

/// A majority of so many voters.
fn quorum(voters: usize) -> usize {
    voters / 2 + 1
}

/// No node of a cluster answered.
fn nobody(reports: &Reports, findings: &mut Findings) {
    for report in &reports.nodes {
        let Some(sample) = report.last() else {
            let reason = report.failure.as_deref().unwrap_or("no answer");
            let what = format!("{} does not answer: {reason}", report.address);
            findings.add(Severity::Problem, "node", &[], what, "start the node, or correct `endpoints` of the context");
            continue;
        };
        match sample.status.mode() {
            NodeMode::Waiting => findings.add(
                Severity::Problem,
                "node",
                &[],
                format!("{} is no member of a cluster: it waits", report.address),
                "`quorate cluster init --data-dir DIR` makes a new cluster of it; \
                 `quorate cluster join --data-dir DIR TOKEN` lets it join one",
            ),
            NodeMode::Alone => findings.add(
                Severity::Note,
                "node",
                &[],
                format!("{} runs alone, without peers", report.address),
                "start it with `--peer-listen` if it shall be one of a cluster",
            ),
            NodeMode::Member | NodeMode::Unspecified => {}
        }
    }
}

fn unreachable(reports: &Reports, findings: &mut Findings) {
    for node in reports.members() {
        if reports.is_there(node) {
            continue;
        }
        let others: Vec<&Node> = reports
            .answers()
            .filter(|status| status.node != node.id)
            .filter_map(|status| status.nodes.iter().find(|one| one.id == node.id))
            .collect();
        let reached = others.iter().filter(|one| one.health() != NodeHealth::Unreachable).count();
        let report = reports.nodes.iter().find(|report| report.node == Some(node.id));
        let failure = report.and_then(|report| report.failure.as_deref()).unwrap_or("no answer");
        let who = called(node);
        if reports.is_complete && reached > 0 {
            let what = format!(
                "{who} does not answer on its admin address {} ({failure}), but {} it",
                node.admin_address,
                if reached == 1 { "another node reaches".to_owned() } else { format!("{reached} others reach") },
            );
            let advice = "its admin port is blocked from here, or it advertises the wrong address: check `--admin` and firewalls";
            findings.add(Severity::Warning, "node", &[node.id], what, advice);
            continue;
        }
        let heard = answer::time(node.last_heard.as_ref())
            .map(|time| format!("; it was heard last {} ago", answer::span(reports.now.since(time))))
            .unwrap_or_default();
        let what = if reports.is_complete {
            format!("{who} is down or cut off: it does not answer ({failure}), and no other node reaches it{heard}")
        } else {
            format!("{who} is down or cut off: the asked node does not reach it{heard}")
        };
        let advice = format!(
            "start it again with its data directory; if it is gone for good: join a new node and \
             `quorate cluster replace {0} --by NEW`, or `quorate cluster remove {0} --force`",
            node.id
        );
        findings.add(Severity::Problem, "node", &[node.id], what, advice);
    }
}

fn meta(reports: &Reports, findings: &mut Findings) {
    let Some(meta) = reports.best().and_then(|status| status.meta.as_ref()) else { return };
    let present = reports.present();
    let there = meta.voters.iter().filter(|voter| present.contains(voter)).count();
    let needed = quorum(meta.voters.len());
    if !meta.voters.is_empty() && there < needed {
        let missing: Vec<u64> = meta.voters.iter().copied().filter(|voter| !present.contains(voter)).collect();
        let what = format!(
            "the meta group has no quorum: {there} of its {} are there, and {needed} are needed; nothing can be applied, and \
             no node can join",
            counted(meta.voters.len(), "voter")
        );
        let advice = format!(
            "start {} again; nodes go on serving with what they have. Only when a majority is gone for good: \
             `quorate recover --unsafe` on one survivor",
            if missing.len() == 1 { format!("node {}", missing[0]) } else { format!("nodes {}", listed(&missing)) }
        );
        findings.add(Severity::Problem, "meta", &missing, what, advice);
        return;
    }
    leaders(reports, findings);
}

/// Whether the nodes agree on who leads the meta group, and for how long.
fn leaders(reports: &Reports, findings: &mut Findings) {
    let mut by_term: BTreeMap<u64, BTreeSet<u64>> = BTreeMap::new();
    let mut known = false;
    for meta in reports.answers().filter_map(|status| status.meta.as_ref()) {
        known |= meta.leader != 0;
        if meta.leader != 0 {
            by_term.entry(meta.term).or_default().insert(meta.leader);
        }
    }
    if !known {
        let what = "no node knows a leader of the meta group, though a quorum of its voters is there".to_owned();
        let advice = "look again in some seconds; if it stays, the nodes do not reach each other: check their \
                      `--peer-advertise` addresses and firewalls, and their logs for `election`";
        return findings.add(Severity::Problem, "meta", &[], what, advice);
    }
    let terms = |report: &super::report::Report| {
        let term = |sample: &super::report::Sample| sample.status.meta.as_ref().map(|meta| meta.term);
        Some((term(report.samples.first()?)?, term(report.samples.last()?)?))
    };
    let rose = reports.nodes.iter().filter_map(terms).map(|(first, last)| last.saturating_sub(first)).max();
    if let Some(rose) = rose.filter(|rose| *rose > TERMS_CALM) {
        let what = format!("the leader of the meta group changes again and again: {rose} terms between two looks");
        let advice = "nodes are overloaded or their disks or network stall: look at the alarms, at \
                      `quorate_wal_sync_seconds` and at the load of the machines";
        findings.add(Severity::Problem, "meta", &[], what, advice);
    }
    if let Some((term, leaders)) = by_term.iter().find(|(_, leaders)| leaders.len() > 1) {
        let leaders: Vec<u64> = leaders.iter().copied().collect();
        let what = format!("nodes name different leaders of the meta group in term {term}: {}", listed(&leaders));
        let advice = "this must not be: keep the data directories and logs of all nodes, and report it";
        findings.add(Severity::Problem, "meta", &leaders, what, advice);
    }
}

fn shards(reports: &Reports, findings: &mut Findings) {
    let Some(status) = reports.best() else { return };
    let present = reports.present();
    let gone = |shard: &ShardStatus| shard.voters.iter().filter(|voter| !present.contains(voter)).count();
    let has_quorum = |shard: &&ShardStatus| shard.voters.len() - gone(shard) >= quorum(shard.voters.len());
    let names = |shards: &[&ShardStatus]| listed(&shards.iter().map(|shard| shard.shard).collect::<Vec<_>>());

    let placed: Vec<&ShardStatus> = status.shards.iter().filter(|shard| !shard.voters.is_empty()).collect();
    let (live, dead): (Vec<&ShardStatus>, Vec<&ShardStatus>) = placed.iter().copied().partition(has_quorum);
    if !dead.is_empty() {
        let what = format!("{} without a quorum: {}", counted(dead.len(), "shard"), names(&dead));
        let advice = "their sessions stand still until enough of their nodes are back: start the nodes that are down";
        findings.add(Severity::Problem, "shard", &[], what, advice);
    }
    let leaderless: Vec<&ShardStatus> =
        live.iter().copied().filter(|shard| leader(reports, shard.shard) == 0).collect();
    if !leaderless.is_empty() {
        let what = format!("{} without a leader: {}", counted(leaderless.len(), "shard"), names(&leaderless));
        let advice = "look again in some seconds; if it stays, look at the alarms of the nodes that hold them";
        findings.add(Severity::Problem, "shard", &[], what, advice);
    }
    let wanted = wanted_replicas(reports, &placed);
    let thin: Vec<&ShardStatus> =
        live.iter().copied().filter(|shard| shard.voters.len() - gone(shard) < wanted).collect();
    if !thin.is_empty() {
        let what = format!("{} with fewer replicas than {wanted}: {}", counted(thin.len(), "shard"), names(&thin));
        let advice = "the cluster makes new replicas by itself where there are nodes enough; start or replace nodes that are down";
        findings.add(Severity::Warning, "shard", &[], what, advice);
    }
    let moving = placed.iter().filter(|shard| !shard.target.is_empty()).count();
    if moving > 0 {
        let what = format!("{} being moved", counted(moving, "shard"));
        findings.add(Severity::Note, "shard", &[], what, "nothing to do: moves go on one by one");
    }
}

/// The leader of a shard that any node knows; 0 for none.
fn leader(reports: &Reports, number: u32) -> u64 {
    let shards = reports.answers().flat_map(|status| &status.shards);
    shards.filter(|shard| shard.shard == number).map(|shard| shard.leader).find(|leader| *leader != 0).unwrap_or(0)
}

/// How many replicas a shard should have: what most have, as far as there are nodes.
fn wanted_replicas(reports: &Reports, placed: &[&ShardStatus]) -> usize {
    let most = placed.iter().map(|shard| shard.voters.len()).max().unwrap_or_default();
    let takes = |node: &&&Node| matches!(node.state(), NodeState::Active);
    most.min(reports.members().iter().filter(takes).count())
}

fn revisions(reports: &Reports, findings: &mut Findings) {
    let revision = |node: &Node| {
        let own = reports.answers().find(|status| status.node == node.id).map(|status| status.active_revision);
        own.unwrap_or(node.active_revision)
    };
    let members = reports.members();
    let newest = members.iter().map(|node| revision(node)).max().unwrap_or_default();
    for node in members {
        let active = revision(node);
        if active >= newest || !reports.is_there(node) {
            continue;
        }
        let who = called(node);
        let (what, advice) = match reports.refusals.get(&node.id) {
            Some(reason) => (
                format!("{who} still runs revision {active} of {newest}: {reason}"),
                format!("mend the cause on the node and it goes on by itself, or `quorate rollback {active}`"),
            ),
            None => (
                format!("{who} still runs revision {active} of {newest}"),
                "look again in some seconds; if it stays, its log says what it waits for".to_owned(),
            ),
        };
        findings.add(Severity::Warning, "revision", &[node.id], what, advice);
    }
}

fn health(reports: &Reports, findings: &mut Findings) {
    let Some(best) = reports.best() else { return };
    for node in reports.members() {
        // What a node says of itself is worth more than what others heard of it.
        let node = reports.own(node.id).unwrap_or(node);
        if node.health() != NodeHealth::Degraded {
            continue;
        }
        // An alarm of the node says the same, with what to do.
        let is_told =
            |finding: &String| best.alarms.iter().any(|alarm| alarm.node == node.id && alarm.message == *finding);
        let untold: Vec<&str> = node.findings.iter().filter(|finding| !is_told(finding)).map(String::as_str).collect();
        let who = called(node);
        match untold.as_slice() {
            [] if node.findings.is_empty() => {
                let what = format!("{who} is not well");
                findings.add(Severity::Warning, "node", &[node.id], what, "its log says more");
            }
            untold => {
                for finding in untold {
                    findings.add(
                        Severity::Warning,
                        "node",
                        &[node.id],
                        format!("{who}: {finding}"),
                        "its log says more",
                    );
                }
            }
        }
    }
}

fn alarms(reports: &Reports, findings: &mut Findings) {
    let Some(status) = reports.best() else { return };
    // Nodes that say the same are one finding.
    let mut said: BTreeMap<(&str, &str), Vec<u64>> = BTreeMap::new();
    // Who can be asked knows better than what the catalog was told before, which may be full, too.
    let stands = |alarm: &&Alarm| reports.own(alarm.node).is_none_or(|node| node.findings.contains(&alarm.message));
    for alarm in status.alarms.iter().filter(stands) {
        said.entry((&alarm.kind, &alarm.message)).or_default().push(alarm.node);
    }
    for ((kind, message), nodes) in said {
        let of: Vec<&Alarm> = status.alarms.iter().filter(|one| one.kind == kind && one.message == message).collect();
        let since = of.iter().filter_map(|alarm| answer::time(alarm.since.as_ref())).min();
        let since =
            since.map(|since| format!(" (since {})", answer::span(reports.now.since(since)))).unwrap_or_default();
        let name =
            |number: u64| status.nodes.iter().find(|node| node.id == number).map_or("", |node| node.name.as_str());
        let who = match nodes.as_slice() {
            [0] => "the cluster".to_owned(),
            [one] => format!("node {}", answer::node(*one, name(*one))),
            many => format!("nodes {}", listed(many)),
        };
        let nodes: Vec<u64> = nodes.into_iter().filter(|node| *node != 0).collect();
        let what = format!("{who}: {message}{since}");
        findings.add(
            if kind == DISK_LOW { Severity::Warning } else { Severity::Problem },
            "alarm",
            &nodes,
            what,
            remedy(kind, nodes.first().copied().unwrap_or_default(), status.certificates_from_files),
        );
    }
}

/// What to do about an alarm of this kind.
fn remedy(kind: &str, node: u64, from_files: bool) -> String {
    match kind {
        "disk" => {
            "make room on the disk of its data directory, or give it a larger one: new sessions are refused until then, \
                   later documents, too, and nothing is deleted"
                .to_owned()
        }
        DISK_LOW => {
            "make room on the disk of its data directory, or give it a larger one, before new sessions are refused: nothing \
                   is yet"
                .to_owned()
        }
        "log" => format!(
            "its disk stalls: look for other writers and failing hardware; `quorate cluster drain {node}` keeps clients \
             away from it meanwhile"
        ),
        "clock" => "set its clock by NTP, and find out what changed it".to_owned(),
        "runtime" => "its machine has not CPU enough, or is suspended at times: move other work away".to_owned(),
        "group" => format!(
            "a replica stopped rather than differ: keep its logs, and let the node join anew with an empty data directory \
             (`quorate cluster replace {node} --by NEW`)"
        ),
        "certificate" if from_files => {
            "put a certificate for this node, its key and its authorities into the files that it was started with: it takes \
             them within seconds, without a restart"
                .to_owned()
        }
        "certificate" => {
            "it could not renew its certificate: the meta group needs a leader, and the node a way to it".to_owned()
        }
        _ => "its log says more".to_owned(),
    }
}

fn certificates(reports: &Reports, findings: &mut Findings) {
    // Those of files may live for a day, and their nodes raise an alarm when nobody renews them.
    let from_files = reports.best().is_some_and(|status| status.certificates_from_files);
    let level = |left: Duration| match left {
        left if from_files => left.is_zero().then_some(Severity::Problem),
        left if left <= CERTIFICATE_PROBLEM => Some(Severity::Problem),
        left if left <= CERTIFICATE_WARNING => Some(Severity::Warning),
        _ => None,
    };
    let told = |left: Duration| {
        if left.is_zero() { "has ended".to_owned() } else { format!("ends in {}", answer::span(left)) }
    };
    for node in reports.members() {
        let node = reports.own(node.id).unwrap_or(node);
        let Some(expires) = answer::time(node.certificate_expires.as_ref()) else { continue };
        let left = expires.since(reports.now);
        if let Some(severity) = level(left) {
            let what = format!("the certificate of {} {}, and was not renewed", called(node), told(left));
            let advice = if from_files {
                "put a new one, and its key, into the files that the node was started with"
            } else {
                "nodes renew by themselves while the meta group has a leader: mend that first, then restart the node"
            };
            findings.add(severity, "certificate", &[node.id], what, advice);
        }
    }
    let Some(life) = reports.operator else { return };
    let left = life.ends.since(reports.now);
    // One that has ended asks nobody, so that there is nothing to judge.
    let (severity, advice) = if from_files {
        let is_late = left < life.ends.since(life.begins) / LATE;
        (is_late.then_some(Severity::Warning), "put a new one, and its key, into the files that the context names")
    } else {
        (level(left), "an admin makes another: `quorate cluster operator new --name NAME --role ROLE --out DIR`")
    };
    if let Some(severity) = severity {
        findings.add(severity, "certificate", &[], format!("your own certificate {}", told(left)), advice);
    }
}

fn versions(reports: &Reports, findings: &mut Findings) {
    let members = reports.members();
    let mut by_version: BTreeMap<&str, Vec<u64>> = BTreeMap::new();
    for node in members.iter().filter(|node| !node.version.is_empty()) {
        by_version.entry(&node.version).or_default().push(node.id);
    }
    if by_version.len() > 1 {
        let parts: Vec<String> = by_version
            .iter()
            .map(|(version, nodes)| {
                let word = if nodes.len() == 1 { "node" } else { "nodes" };
                format!("{version} on {word} {}", listed(nodes))
            })
            .collect();
        let what = format!("nodes run different versions: {}", parts.join("; "));
        let nodes: Vec<u64> = by_version.values().flatten().copied().collect();
        let advice = "finish the upgrade: new features stay off until all nodes have them";
        findings.add(Severity::Warning, "version", &nodes, what, advice);
    }
    let Some(level) = reports.best().map(|status| status.feature_level).filter(|level| *level > 0) else { return };
    for node in members.iter().filter(|node| node.feature_level_max > 0) {
        if !(node.feature_level_min..=node.feature_level_max).contains(&level) {
            let what = format!(
                "{} knows feature levels {} to {}, and the cluster is at {level}",
                called(node),
                node.feature_level_min,
                node.feature_level_max
            );
            let advice = "run a version on it that knows the cluster's level";
            findings.add(Severity::Problem, "version", &[node.id], what, advice);
        }
    }
}

fn clocks(reports: &Reports, findings: &mut Findings) {
    // How far a node's clock is ahead of the asker's, in milliseconds, and how far that can be off.
    let mut offsets: Vec<(u64, i128, i128)> = Vec::new();
    for sample in reports.nodes.iter().filter_map(|report| report.last()) {
        if let Some(time) = answer::time(sample.status.time.as_ref()) {
            let ahead = i128::from(time.as_millis()) - i128::from(sample.asked_at.as_millis());
            let slack = i128::try_from(sample.round_trip.as_millis() / 2).unwrap_or(i128::MAX);
            offsets.push((sample.status.node, ahead, slack));
        }
    }
    let (Some(least), Some(most)) =
        (offsets.iter().min_by_key(|(_, ahead, _)| *ahead), offsets.iter().max_by_key(|(_, ahead, _)| *ahead))
    else {
        return;
    };
    let apart = most.1 - least.1 - most.2 - least.2;
    let apart = Duration::from_millis(u64::try_from(apart).unwrap_or_default());
    if apart < CLOCK_WARNING {
        return;
    }
    let severity = if apart >= CLOCK_PROBLEM { Severity::Problem } else { Severity::Warning };
    let what = format!("the clocks of nodes {} and {} are at least {} apart", most.0, least.0, answer::span(apart));
    let advice = "set the clocks of all nodes by NTP: keys and certificates begin and end by them";
    findings.add(severity, "clock", &[most.0, least.0], what, advice);
}

fn states(reports: &Reports, findings: &mut Findings) {
    for node in reports.members() {
        let who = called(node);
        match node.state() {
            NodeState::Joining => {
                let what = format!("{who} is joining");
                findings.add(Severity::Note, "node", &[node.id], what, "nothing to do, if it does not stay so");
            }
            NodeState::Draining => {
                let what = format!("{who} is drained: it takes nothing new");
                let advice = format!("`quorate cluster undrain {}` when its maintenance is over", node.id);
                findings.add(Severity::Note, "node", &[node.id], what, advice);
            }
            NodeState::Leaving => {
                let what = format!("{who} is leaving: what it holds is moved away");
                findings.add(Severity::Note, "node", &[node.id], what, "nothing to do: it is removed when it is empty");
            }
            NodeState::Active | NodeState::Removed | NodeState::Unspecified => {}
        }
    }
    let voters = reports.best().and_then(|status| status.meta.as_ref()).map_or(0, |meta| meta.voters.len());
    if matches!(voters, 1 | 2) {
        let what = format!("the meta group has {}: no node may fail", counted(voters, "voter"));
        let advice = "with three nodes one may fail: `quorate cluster token new`, then `quorate cluster join`";
        findings.add(Severity::Note, "cluster", &[], what, advice);
    }
}

#[cfg(test)]
#[path = "judge_tests.rs"]
mod tests;
