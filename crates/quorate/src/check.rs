//! `quorate check`: asks every node of a cluster, and says in plain words what is wrong and what to do.
//!
//! The first node that answers tells who the others are; each is asked at its own admin address, twice, so that what changes
//! all the time shows. What the answers mean is decided by [`judge()`]; the exit code is 1 when somebody has to do something.

mod judge;
mod report;

use std::collections::BTreeMap;
use std::time::Duration;

use quorate_client::{Client, Context};
use quorate_proto::admin::v1::{GetStatusRequest, GetStatusResponse, Node, NodeState, WatchRequest};
use quorate_runtime::clock;
use serde_json::json;
use tokio::task::JoinSet;
use tokio::time::Instant;

pub(crate) use self::judge::{Finding, Severity, is_ill, judge};
pub(crate) use self::report::Reports;
use self::report::{Report, Sample};
use crate::answer::{self, counted};
use crate::cli::cluster::{CheckArgs, Output};
use crate::exit::Failure;
use crate::{output, target};

/// Looks at each node.
const LOOKS: usize = 2;
/// Time between them: several elections fit, and an operator waits for it.
const BETWEEN: Duration = Duration::from_millis(1_500);
/// How long one node may take to answer: it answers from memory.
const NODE_TIMEOUT: Duration = Duration::from_secs(5);
/// How long the reasons of nodes that lag may take.
const REASONS_TIMEOUT: Duration = Duration::from_secs(2);
/// Findings wrap at this width.
const WIDTH: usize = crate::table::WIDTH;

/// Runs the command.
///
/// # Errors
/// [`Failure`]: a silent one with exit code 1 when something is wrong, else why nobody could be asked.
pub(crate) async fn run(context: Option<&std::path::Path>, args: &CheckArgs) -> Result<(), Failure> {
    let client = target::client(context, &args.target)?;
    let timeout = NODE_TIMEOUT.min(args.target.timeout);
    let first = client.call(GetStatusRequest::default()).await.map_err(target::of_client)?;
    target::learn_as(context, &args.target, &first);
    let operator = match &args.target.data_dir {
        Some(_) => None,
        None => target::context(context).as_ref().ok().and_then(Context::life),
    };
    let mut nodes = ask_all(&client.within(timeout), &first).await;
    nodes.sort_by_key(|report| report.node);
    let refusals = reasons(&client, &first).await;
    let is_complete = !client.is_local() && !first.nodes.is_empty();
    let reports = Reports { nodes, refusals, operator, is_complete, now: clock::now() };
    let findings = judge(&reports);
    print(args.output.output, &reports, &findings)?;
    if is_ill(&findings) { Err(Failure::silent()) } else { Ok(()) }
}

/// Asks all members, each at its own address; through a socket, or of a node that waits, only that one.
async fn ask_all(client: &Client, first: &GetStatusResponse) -> Vec<Report> {
    let members: Vec<&Node> = first.nodes.iter().filter(|node| node.state() != NodeState::Removed).collect();
    if client.is_local() || members.is_empty() {
        return vec![ask(client.within(NODE_TIMEOUT), Some(first.node), "the asked node".to_owned()).await];
    }
    let mut asking = JoinSet::new();
    let mut reports = Vec::new();
    for node in members {
        match node.admin_address.parse() {
            Ok(address) => {
                asking.spawn(ask(client.at(&address), Some(node.id), node.admin_address.clone()));
            }
            Err(error) => reports.push(Report {
                node: Some(node.id),
                address: node.admin_address.clone(),
                failure: Some(format!("its admin address {:?} is none: {error}", node.admin_address)),
                ..Report::default()
            }),
        }
    }
    reports.extend(asking.join_all().await);
    reports
}

async fn ask(client: Client, node: Option<u64>, address: String) -> Report {
    let mut report = Report { node, address, ..Report::default() };
    for look in 0..LOOKS {
        if look > 0 {
            tokio::time::sleep(BETWEEN).await;
        }
        let (asked, began) = (clock::now(), Instant::now());
        match client.call(GetStatusRequest::default()).await {
            Ok(status) => {
                let round_trip = began.elapsed();
                report.samples.push(Sample { status, asked_at: asked + round_trip / 2, round_trip });
            }
            Err(error) => {
                report.failure = Some(words(&error, &report.address));
                break;
            }
        }
    }
    report
}

/// The error without the address, which is told beside it.
fn words(error: &quorate_client::Error, address: &str) -> String {
    let text = error.to_string();
    let text = text.strip_prefix(address).and_then(|rest| rest.strip_prefix(": ")).unwrap_or(&text);
    output::visible(&text.replace('\n', " ")).into_owned()
}

/// Why nodes have not the newest revision active, as the asked node heard it; nothing where it cannot tell.
async fn reasons(client: &Client, first: &GetStatusResponse) -> BTreeMap<u64, String> {
    let newest = first.nodes.iter().map(|node| node.active_revision).max().unwrap_or_default();
    if newest == 0 || first.nodes.iter().all(|node| node.active_revision == newest) {
        return BTreeMap::new();
    }
    let asking = async {
        let mut watch = client.watch(WatchRequest { after: Some(newest - 1) }).await.ok()?;
        watch.next().await.ok()?
    };
    let answered = tokio::time::timeout(REASONS_TIMEOUT, asking).await.ok().flatten().unwrap_or_default();
    let told = answered.nodes.into_iter().filter(|node| !node.reason.is_empty());
    told.map(|node| (node.node, node.reason)).collect()
}

fn print(output: Output, reports: &Reports, findings: &[Finding]) -> Result<(), Failure> {
    match output {
        Output::Table => output::print(&text(reports, findings)),
        Output::Json | Output::Yaml => {
            let asked: Vec<_> = reports
                .nodes
                .iter()
                .map(|report| json!({"node": report.node, "address": report.address, "failure": report.failure}))
                .collect();
            let value = json!({"healthy": !is_ill(findings), "findings": findings, "asked": asked});
            answer::print_value(output, &value)
        }
    }
}

fn text(reports: &Reports, findings: &[Finding]) -> String {
    let answered = reports.nodes.iter().filter(|report| report.last().is_some()).count();
    let mut text = format!("asked {}, {answered} answered\n", counted(reports.nodes.len(), "node"));
    if !reports.is_complete && reports.members().len() > 1 {
        text.push_str(
            "a data directory leads to its own node alone: with a context (`--context`) all nodes are asked\n",
        );
    }
    text.push_str(&list(findings));
    if !is_ill(findings) {
        text.push_str("\nnothing is wrong\n");
    }
    text
}

/// Writes findings as paragraphs: what, and below it what to do.
pub(crate) fn list(findings: &[Finding]) -> String {
    let mut text = String::new();
    for finding in findings {
        let word = word(finding.severity);
        let what = output::visible(&finding.what);
        let advice = output::visible(&finding.advice);
        text.push_str(&format!("\n{word}  {}", wrapped(&what, 9)));
        text.push_str(&format!("\n         → {}\n", wrapped(&advice, 11)));
    }
    text
}

/// A severity for people, all of the same width.
pub(crate) const fn word(severity: Severity) -> &'static str {
    match severity {
        Severity::Problem => "problem",
        Severity::Warning => "warning",
        Severity::Note => "note   ",
    }
}

/// Breaks a text at spaces so that no line is longer than the width; further lines are indented.
fn wrapped(text: &str, indent: usize) -> String {
    let mut lines = vec![String::new()];
    for word in text.split_whitespace() {
        let line = lines.last_mut().expect("there is one from the beginning");
        if !line.is_empty() && line.chars().count() + 1 + word.chars().count() > WIDTH - indent {
            lines.push(word.to_owned());
        } else {
            if !line.is_empty() {
                line.push(' ');
            }
            line.push_str(word);
        }
    }
    lines.join(&format!("\n{}", " ".repeat(indent)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn findings_are_paragraphs_that_fit_the_width() {
        let finding = Finding {
            severity: Severity::Problem,
            kind: "node",
            nodes: vec![2],
            what: "node 2 (ber-2) is down or cut off: it does not answer (connection refused), and no other node reaches it"
                .into(),
            advice: "start it again".into(),
        };

        let text = list(&[finding]);

        assert!(text.lines().all(|line| line.chars().count() <= WIDTH), "{text}");
        assert!(text.starts_with("\nproblem  node 2 (ber-2)"), "{text}");
        assert!(text.contains("no other\n         node reaches it\n"), "{text}");
        assert!(text.ends_with("→ start it again\n"), "{text}");
    }

    #[test]
    fn a_healthy_cluster_is_said_to_be_one() {
        let status = GetStatusResponse { cluster_id: "a".into(), node: 1, ..GetStatusResponse::default() };

        let text = text(&Reports::of_one(&status, clock::now()), &[]);

        assert_eq!(text, "asked 1 node, 1 answered\n\nnothing is wrong\n");
    }

    #[test]
    fn that_one_node_was_asked_for_all_of_them_is_said() {
        let nodes = [1, 2].map(|id| Node { id, state: NodeState::Active.into(), ..Node::default() }).to_vec();
        let status = GetStatusResponse { cluster_id: "a".into(), node: 1, nodes, ..GetStatusResponse::default() };
        let alone = Reports::of_one(&status, clock::now());

        assert!(text(&alone, &[]).contains("with a context (`--context`) all nodes are asked"));
        assert!(!text(&Reports { is_complete: true, ..alone }, &[]).contains("--context"));
    }
}
