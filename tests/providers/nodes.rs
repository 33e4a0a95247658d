//! Three nodes that serve models: one is lost again and again, and no client of the others notices.
//!
//! Each client stays with its node. A client of the node that is lost comes back when the node does; what it sees meanwhile is no error
//! of the others.

use std::{
    fs,
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    thread,
    time::Duration,
};

use anyhow::{Context as _, ensure};
use quorate_cluster::{Cluster, Options, Place, free_address};
use quorate_tests::{http, raw::client, wait};
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::ground::{Provider, Shape, model};

/// Longer than anything takes here on a loaded machine.
const PATIENCE: Duration = Duration::from_secs(120);
/// How long all nodes serve before one of them is lost.
const WHOLE: Duration = Duration::from_secs(2);
/// How often one is lost.
const KILLS: usize = 4;

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

#[test]
fn clients_of_the_other_nodes_see_nothing_of_one_that_is_lost() -> anyhow::Result<()> {
    let (first, second) = (Provider::start(&[])?, Provider::start(&[])?);
    let mut nodes = Nodes::start(&documents(&first, &second))?;
    let victim: Place = 2;
    let (ending, asked) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU64::new(0)));
    let clients: Vec<_> = (0..4)
        .map(|number| {
            let (address, ending, asked) = (nodes.listens[number % 2], Arc::clone(&ending), Arc::clone(&asked));
            thread::spawn(move || {
                while !ending.load(Ordering::Relaxed) {
                    ask(address, number < 2)?;
                    asked.fetch_add(1, Ordering::Relaxed);
                }
                anyhow::Ok(())
            })
        })
        .collect();

    for kill in 0..KILLS {
        let before = asked.load(Ordering::Relaxed);
        nodes.cluster.kill(victim);
        wait::until("calls at the others", PATIENCE, || {
            let now = asked.load(Ordering::Relaxed);
            ensure!(now > before + 50 || clients.iter().any(thread::JoinHandle::is_finished), "{before}, {now}");
            Ok(())
        })?;
        nodes.cluster.begin(victim)?;
        nodes.serves(victim)?;
        ask(nodes.listens[victim], kill % 2 == 0)?;
        thread::park_timeout(WHOLE);
    }

    ending.store(true, Ordering::Relaxed);
    for client in clients {
        client.join().expect("it does not panic")?;
    }
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
