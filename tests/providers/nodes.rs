//! Three nodes that serve models: one after the other is lost, and no client of the others notices.
//!
//! Each client stays with its node. A client of the node that is lost comes back when the node does; what it sees meanwhile is no error
//! of the others. A short run loses a few nodes; with `QUORATE_TEST_KILL_SECONDS=180` one is lost every ten seconds for that time.

use std::{
    env, fs,
    net::SocketAddr,
    sync::atomic::{AtomicBool, AtomicU64, Ordering},
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context as _, ensure};
use quorate_cluster::{Cluster, Options, Place, free_address};
use quorate_tests::{http, raw::client, wait};
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::ground::{Provider, Shape, model};

/// Longer than anything takes here on a loaded machine.
const PATIENCE: Duration = Duration::from_secs(120);
/// For how many seconds nodes are lost in a long run.
const SECONDS: &str = "QUORATE_TEST_KILL_SECONDS";
/// How often one is lost in a long run.
const LONG: Duration = Duration::from_secs(10);
/// How often one is lost in a short run, at most: it is awaited that the last one serves again.
const SHORT: Duration = Duration::from_secs(2);
/// How many are lost in a short run.
const KILLS: u32 = 4;
/// Calls that the others answer before a node that is lost is started again.
const CALLS: u64 = 50;

/// How long nodes are lost, and how often.
struct Plan {
    every: Duration,
    kills: u32,
}

/// What clients have done, and what they are told.
#[derive(Default)]
struct Watch {
    /// How often each node was lost or came back: an odd number while it is not there.
    turns: [AtomicU64; 3],
    is_ending: AtomicBool,
    /// Calls that were answered whole, and as a stream.
    whole: AtomicU64,
    streams: AtomicU64,
    /// Calls that failed with their node.
    lost: AtomicU64,
}

struct Nodes {
    cluster: Cluster,
    listens: Vec<SocketAddr>,
    _folder: TempDir,
}

// === impl Nodes ===

impl Nodes {
    fn start(documents: &[Value]) -> anyhow::Result<Self> {
        let folder = tempfile::tempdir()?;
        let resources = folder.path().join("models.yaml");
        fs::write(&resources, documents.iter().map(Value::to_string).collect::<Vec<_>>().join("\n---\n"))?;
        let listens = (0..3).map(|_| free_address()).collect::<anyhow::Result<Vec<_>>>()?;
        let cluster = Cluster::start(Options {
            shards: 1,
            flags: ["--development-identity", "--allow-all"].map(str::to_owned).to_vec(),
            own_flags: listens.iter().map(|listen| vec!["--listen".to_owned(), listen.to_string()]).collect(),
            init: vec!["-f".to_owned(), resources.to_str().context("it is UTF-8")?.to_owned()],
            ..Options::default()
        })?;
        let nodes = Self { cluster, listens, _folder: folder };
        nodes.cluster.places().try_for_each(|place| nodes.serves(place))?;
        Ok(nodes)
    }

    fn serves(&self, place: Place) -> anyhow::Result<()> {
        wait::until("a node that serves models", PATIENCE, || {
            let answer = http::get(self.listens[place], "/v1/models")?;
            ensure!(answer.status == 200 && answer.body.contains("\"m\""), "{} {}", answer.status, answer.body);
            Ok(())
        })
    }
}

fn documents(first: &Provider, second: &Provider) -> Vec<Value> {
    let targets = json!([{ "provider": "first", "model": "mock" }, { "provider": "second", "model": "mock" }]);
    vec![
        first.document("first", "openai-compatible", &json!({})),
        second.document("second", "openai-compatible", &json!({})),
        model("m", &json!({ "targets": targets })),
    ]
}

/// Asks once, whole or as a stream.
fn ask(address: SocketAddr, is_streamed: bool) -> anyhow::Result<()> {
    let (path, body) = Shape::Chat.request("m", "one two three four", is_streamed);
    let headers = [("content-type", "application/json")];
    let answer = client::send(address, "POST", &path, &headers, body.to_string().as_bytes())?;
    if is_streamed {
        let said = Shape::Chat.read(answer)?;
        ensure!(said.is_whole && said.text == "echo: one two three four", "{}", said.raw);
        return Ok(());
    }
    let (status, text) = (answer.status, answer.text()?);
    ensure!(status == 200 && text.contains("echo: one two three four"), "{status} {text}");
    Ok(())
}

// === impl Plan ===

impl Plan {
    /// The short run, or as long as the environment says.
    fn of_environment() -> anyhow::Result<Self> {
        let Some(seconds) = env::var_os(SECONDS) else { return Ok(Self { every: SHORT, kills: KILLS }) };
        let seconds: u64 =
            seconds.to_str().unwrap_or_default().parse().with_context(|| format!("{SECONDS} is a number"))?;
        Ok(Self { every: LONG, kills: u32::try_from(seconds / LONG.as_secs())? })
    }
}

// === impl Watch ===

impl Watch {
    /// Asks one node until the run ends; an error of a node that is there is one of the run.
    fn client(&self, nodes: &[SocketAddr], place: Place, is_streamed: bool) -> anyhow::Result<()> {
        let turn = || self.turns[place].load(Ordering::SeqCst);
        while !self.is_ending.load(Ordering::Relaxed) {
            let before = turn();
            match ask(nodes[place], is_streamed) {
                Ok(()) => self.answered(is_streamed),
                Err(_) if before % 2 == 1 || turn() != before => {
                    self.lost.fetch_add(1, Ordering::Relaxed);
                    wait::until("the node, or the end", PATIENCE, || {
                        ensure!(turn() % 2 == 0 || self.is_ending.load(Ordering::Relaxed), "it is not there");
                        Ok(())
                    })?;
                }
                Err(error) => return Err(error.context(format!("a client of node {place}, which is there"))),
            }
        }
        Ok(())
    }

    fn answered(&self, is_streamed: bool) {
        let count = if is_streamed { &self.streams } else { &self.whole };
        count.fetch_add(1, Ordering::Relaxed);
    }

    fn calls(&self) -> u64 {
        self.whole.load(Ordering::Relaxed) + self.streams.load(Ordering::Relaxed)
    }

    /// The node is lost, or is back.
    fn turn(&self, place: Place) {
        self.turns[place].fetch_add(1, Ordering::SeqCst);
    }
}

/// Loses a node and has it back, while the others answer.
fn lose(nodes: &mut Nodes, watch: &Watch, victim: Place, is_over: impl Fn() -> bool) -> anyhow::Result<()> {
    watch.turn(victim);
    nodes.cluster.kill(victim);
    let before = watch.calls();
    wait::until("calls at the others", PATIENCE, || {
        let now = watch.calls();
        ensure!(now > before + CALLS || is_over(), "{before}, {now}");
        Ok(())
    })?;
    nodes.cluster.begin(victim)?;
    nodes.serves(victim)?;
    watch.turn(victim);
    Ok(())
}

#[test]
fn clients_of_the_other_nodes_see_nothing_of_one_that_is_lost() -> anyhow::Result<()> {
    let plan = Plan::of_environment()?;
    let (first, second) = (Provider::start(&[])?, Provider::start(&[])?);
    let mut nodes = Nodes::start(&documents(&first, &second))?;
    let (watch, listens) = (Watch::default(), nodes.listens.clone());

    let errors = thread::scope(|scope| {
        let clients: Vec<_> = (0..6)
            .map(|number| (number % 3, number < 3))
            .map(|(place, is_streamed)| {
                scope.spawn({
                    let (watch, listens) = (&watch, &listens);
                    move || watch.client(listens, place, is_streamed)
                })
            })
            .collect();
        let is_over = || clients.iter().any(thread::ScopedJoinHandle::is_finished);
        let lost = (0..plan.kills).try_for_each(|kill| {
            let began = Instant::now();
            lose(&mut nodes, &watch, (kill as Place + 2) % 3, is_over)?;
            thread::park_timeout(plan.every.saturating_sub(began.elapsed()));
            anyhow::Ok(())
        });
        watch.is_ending.store(true, Ordering::Relaxed);
        let ended = clients.into_iter().map(|client| client.join().expect("it does not panic"));
        [lost].into_iter().chain(ended).filter_map(Result::err).collect::<Vec<_>>()
    });

    let Watch { whole, streams, lost, .. } = &watch;
    eprintln!(
        "{} kills, {whole:?} whole answers, {streams:?} streams, {lost:?} lost with their node, {} errors",
        plan.kills,
        errors.len()
    );
    ensure!(errors.is_empty(), "{errors:#?}");
    // Nobody was asked in vain because nobody asked.
    ensure!(watch.calls() > u64::from(plan.kills) * CALLS, "{} calls", watch.calls());
    Ok(())
}

#[test]
fn a_target_that_asked_one_node_to_be_left_alone_is_left_alone_by_all() -> anyhow::Result<()> {
    let provider = Provider::start(&[])?;
    let does = "mock,status=429,retry-after=600";
    let documents = [
        provider.document("p", "openai-compatible", &json!({})),
        model("m", &json!({ "targets": [{ "provider": "p", "model": does }] })),
    ];
    let nodes = Nodes::start(&documents)?;
    ensure!(ask(nodes.listens[0], false).is_err(), "it refuses");
    assert_eq!(provider.requests(does)?, 1);

    // What one node has heard is with the others a second later: then they refuse without asking.
    for place in 1..3 {
        wait::until("a node that knows", PATIENCE, || {
            let before = provider.requests(does)?;
            ensure!(ask(nodes.listens[place], false).is_err(), "it refuses");
            ensure!(provider.requests(does)? == before, "it was asked again by {place}");
            Ok(())
        })?;
    }
    Ok(())
}
