//! Nodes that follow a catalog: what is applied runs everywhere, what cannot be run is said, and nothing needs a quorum.
//!
//! Real sockets, logs and consensus in one process, the world of the control plane's own tests; sets are run by a recorder.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use quorate_catalog::proto;
use quorate_catalog::proto::command::Kind as Command;
use quorate_config::watch;
use quorate_config::{Document, Listener, ResourceSet, Resources, Source, document};
use quorate_follow::{Config, Follower, Refused, Run, Sets, Standing, Timing};
use quorate_types::{NodeId, ResourceName};
use tempfile::TempDir;
use world::World;

#[path = "../../../control/tests/nodes/world.rs"]
#[allow(dead_code, reason = "these tests use a part of it")]
mod world;

const FAST: Timing = Timing {
    quiet: Duration::from_millis(1),
    retry: Duration::from_millis(20),
    retry_max: Duration::from_millis(100),
    files: watch::Timing {
        poll: Duration::from_millis(20),
        quiet: Duration::from_millis(5),
        patience: Duration::from_millis(100),
    },
};

/// Runs sets by writing them down.
#[derive(Clone, Default)]
struct Recorder(Arc<Mutex<Recorded>>);

#[derive(Default)]
struct Recorded {
    running: Option<ResourceSet>,
    runs: usize,
    /// Why nothing can be run at present.
    broken: Option<String>,
    /// Files that a set named and that were not there when it was run.
    absent: Vec<String>,
}

/// A node's follower, and what it made of the catalog.
struct Following {
    follower: Follower,
    recorder: Recorder,
    folder: TempDir,
}

// === impl Recorder ===

impl Recorder {
    fn run(&self) -> Run {
        let recorder = self.clone();
        Arc::new(move |set: ResourceSet| {
            let recorder = recorder.clone();
            Box::pin(async move { recorder.take(set) })
        })
    }

    fn take(&self, set: ResourceSet) -> Result<(), String> {
        let mut recorded = self.0.lock().expect("nobody panicked");
        recorded.runs += 1;
        let files = set.named_files().into_iter();
        recorded.absent.extend(files.filter(|file| !file.exists()).map(|file| file.display().to_string()));
        match &recorded.broken {
            Some(why) => Err(why.clone()),
            None => {
                recorded.running = Some(set);
                Ok(())
            }
        }
    }

    fn servers(&self) -> Vec<String> {
        let recorded = self.0.lock().expect("nobody panicked");
        let servers = recorded.running.iter().flat_map(|set| set.tool_servers());
        servers.map(|server| server.name.to_string()).collect()
    }

    fn runs(&self) -> usize {
        self.0.lock().expect("nobody panicked").runs
    }

    fn breaks(&self, why: Option<&str>) {
        self.0.lock().expect("nobody panicked").broken = why.map(str::to_owned);
    }
}

// === impl Following ===

impl Following {
    fn of(world: &World, id: u64) -> Self {
        Self::with(world, id, Resources::default())
    }

    fn with(world: &World, id: u64, local: Resources) -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let recorder = Recorder::default();
        let follower = Follower::spawn(Config {
            control: Arc::clone(world.control(NodeId(id))),
            sets: Sets::new(folder.path().join("inline")),
            local,
            run: recorder.run(),
            timing: FAST,
        });
        Self { follower, recorder, folder }
    }

    fn status(&self) -> Standing {
        self.follower.status().borrow().clone()
    }

    fn is_active(&self, revision: u64) -> bool {
        self.status() == Standing { active: Some(revision), refused: None }
    }
}

fn documents(text: &str) -> Vec<Document> {
    let source = Source { file: "/nowhere/mesh.yaml".into(), text: text.to_owned() };
    document::of_sources(&[source]).unwrap_or_else(|errors| panic!("{errors}"))
}

fn server(name: &str) -> String {
    format!("{{kind: ToolServer, name: {name}, spec: {{urls: [\"http://127.0.0.1:1/\"]}}}}")
}

/// Applies documents, whether or not they fit together; returns the revision.
async fn apply(world: &World, through: u64, documents: Vec<Document>) -> u64 {
    let upserts = documents.into_iter().map(|one| proto::Upsert {
        key: Some(one.key.to_proto()),
        labels: Vec::new(),
        content: one.content,
    });
    let apply = proto::Apply { upserts: upserts.collect(), ..proto::Apply::default() };
    match world.command(NodeId(through), Command::Apply(apply)).await {
        Ok(proto::outcome::Kind::Applied(applied)) => applied.revision,
        other => panic!("{other:?}"),
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_applied_runs_on_every_node_and_all_know_it() {
    let mut world = World::bootstrapped(1).await;
    for id in 2..=3 {
        world.join(NodeId(id)).await;
    }
    let following: BTreeMap<u64, Following> = (1..=3).map(|id| (id, Following::of(&world, id))).collect();

    let revision = apply(&world, 2, documents(&format!("{}\n---\n{}", server("a"), server("b")))).await;

    world.until("revision that is active everywhere", || following.values().all(|one| one.is_active(revision))).await;
    assert!(following.values().all(|one| one.recorder.servers() == ["a", "b"]));
    let active = Standing { active: Some(revision), refused: None };
    let expected: Vec<_> = (1..=3).map(|id| (NodeId(id), active.clone())).collect();
    let all_know = || (1..=3).all(|id| quorate_follow::nodes(world.control(NodeId(id))) == expected);
    world.until("board that says so", all_know).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_cannot_be_run_leaves_what_runs_and_is_said_and_tried_again() {
    let world = World::bootstrapped(1).await;
    let following = Following::of(&world, 1);
    let first = apply(&world, 1, documents(&server("a"))).await;
    world.until("first revision", || following.is_active(first)).await;

    following.recorder.breaks(Some("the address is taken"));
    let second = apply(&world, 1, documents(&server("b"))).await;
    let refused = Some(Refused { revision: second, reason: "the address is taken".to_owned() });
    let expected = Standing { active: Some(first), refused };
    world.until("refusal", || following.status() == expected).await;
    assert_eq!(following.recorder.servers(), ["a"]);
    assert_eq!(quorate_follow::nodes(world.control(NodeId(1))), [(NodeId(1), expected)]);

    following.recorder.breaks(None);
    world.until("second revision", || following.is_active(second)).await;
    assert_eq!(following.recorder.servers(), ["a", "b"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn documents_that_do_not_fit_together_are_not_run_and_the_next_that_do_are() {
    let world = World::bootstrapped(1).await;
    let following = Following::of(&world, 1);
    let first = apply(&world, 1, documents(&server("a"))).await;
    world.until("first revision", || following.is_active(first)).await;
    let runs = following.recorder.runs();

    // Nobody who validates proposes this; an older version may have.
    let second = apply(&world, 1, documents("{kind: Toolset, name: t, spec: {servers: [b]}}")).await;
    let is_refused = || following.status().refused.is_some_and(|one| one.revision == second);
    world.until("refusal", is_refused).await;
    let reason = following.status().refused.expect("it is there").reason;
    assert!(reason.contains("Toolset/t: spec.servers[0]: there is no ToolServer \"b\""), "{reason}");
    assert_eq!(following.recorder.runs(), runs, "what does not compile is not run");

    let third = apply(&world, 1, documents(&server("b"))).await;
    world.until("third revision", || following.is_active(third)).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_without_quorum_runs_what_it_has_also_after_a_restart() {
    let mut world = World::bootstrapped(1).await;
    for id in 2..=3 {
        world.join(NodeId(id)).await;
    }
    world.until("three voters", || world.control(NodeId(1)).meta().members().voters.len() == 3).await;
    let revision = apply(&world, 1, documents(&server("a"))).await;
    world.all("document on all nodes", |catalog| catalog.revision() == revision).await;

    for id in 1..=3 {
        world.kill(NodeId(id)).await;
    }
    world.start(NodeId(2)).await;
    let following = Following::of(&world, 2);

    world.until("revision of the local catalog", || following.is_active(revision)).await;
    assert_eq!(following.recorder.servers(), ["a"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn of_a_burst_of_changes_the_newest_is_run_and_not_each() {
    let world = World::bootstrapped(1).await;
    let following = Following::of(&world, 1);
    let mut last = 0;
    for number in 0..50 {
        last = apply(&world, 1, documents(&server(&format!("s{number}")))).await;
    }
    world.until("last revision", || following.is_active(last)).await;

    assert_eq!(following.recorder.servers().len(), 50);
    assert!(following.recorder.runs() <= 51, "{}", following.recorder.runs());
    assert!(!following.folder.path().join("inline").exists(), "a folder without files in it");
}

#[tokio::test(flavor = "multi_thread")]
async fn files_that_documents_bring_are_there_before_the_set_runs_and_go_with_it() {
    let world = World::bootstrapped(1).await;
    let following = Following::of(&world, 1);
    let text =
        "{kind: ToolServer, name: a, spec: {urls: [\"https://a.example/\"], tls: {ca: \"inline:ca.pem\\nTEXT\"}}}";

    let revision = apply(&world, 1, documents(text)).await;
    world.until("revision", || following.is_active(revision)).await;

    let files = || std::fs::read_dir(following.folder.path().join("inline")).expect("it is there").count();
    assert_eq!((files(), following.recorder.0.lock().expect("nobody panicked").absent.len()), (1, 0));
    let revision = apply(&world, 1, documents(&server("a"))).await;
    world.until("revision", || following.is_active(revision)).await;
    world.until("removed file", || files() == 0).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_file_that_a_resource_names_and_that_changes_has_the_set_run_again() {
    let world = World::bootstrapped(1).await;
    let following = Following::of(&world, 1);
    let file = following.folder.path().join("ca.pem");
    std::fs::write(&file, "one").expect("writes");
    let tls = format!("tls: {{ca: {}}}", file.display());
    let text = format!("{{kind: ToolServer, name: a, spec: {{urls: [\"https://a.example/\"], {tls}}}}}");
    let revision = apply(&world, 1, documents(&text)).await;
    world.until("revision", || following.is_active(revision)).await;
    let runs = following.recorder.runs();

    std::fs::write(&file, "another").expect("writes");

    world.until("another run", || following.recorder.runs() > runs).await;
    assert!(following.is_active(revision));
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_node_has_itself_runs_beside_the_documents_of_the_cluster() {
    let world = World::bootstrapped(1).await;
    let name = ResourceName::new("own").expect("a name");
    let listener = Listener::new(name, "127.0.0.1:0".parse().expect("an address"));
    let local = Resources { listeners: vec![listener], ..Resources::default() };
    let following = Following::with(&world, 1, local);
    // Also before there is any document.
    world.until("empty set", || following.is_active(0)).await;

    let first = apply(&world, 1, documents(&server("a"))).await;
    world.until("first revision", || following.is_active(first)).await;
    let listeners =
        || following.recorder.0.lock().expect("nobody panicked").running.as_ref().map(|set| set.listeners().len());
    assert_eq!(listeners(), Some(1));

    let second = apply(&world, 1, documents("{kind: Listener, name: own, spec: {address: \"127.0.0.1:0\"}}")).await;
    world.until("refusal", || following.status().refused.is_some_and(|one| one.revision == second)).await;
    let reason = following.status().refused.expect("it is there").reason;
    assert!(reason.contains("with what this node has itself") && reason.contains("Listener named \"own\""), "{reason}");
}
