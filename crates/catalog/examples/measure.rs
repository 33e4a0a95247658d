//! What the machine takes: time for changes, clones, hashes and snapshots of a large state. Build it optimised:
//! `CARGO_PROFILE_DEV_OPT_LEVEL=3 cargo run -p quorate-catalog --example measure`.
//!
//! Prints one line for each figure; nothing is held against a limit here.

#![expect(clippy::disallowed_methods, clippy::disallowed_types, clippy::print_stdout, reason = "it measures and tells")]

use std::time::Instant;

use prost::Message as _;
use quorate_catalog::proto::{self, command::Kind, outcome};
use quorate_catalog::{Catalog, DocumentKey, StageId, commands};
use quorate_types::Timestamp;

fn main() {
    let mut catalog = Catalog::new();
    apply(&mut catalog, proto::Command { level: 1, kind: Some(Kind::Bootstrap(bootstrap())) });
    let five_thousand = commands(1, documents(0..5_000, 1_000, 0), StageId([1; 16]));
    println!("5,000 documents of 1 KiB are {} commands", five_thousand.len());
    time("apply 5,000 new documents of 1 KiB", || run(&mut catalog, five_thousand));
    let again = commands(1, documents(0..5_000, 1_000, 0), StageId([2; 16]));
    time("apply the same 5,000 again", || run(&mut catalog, again));

    let many = commands(1, documents(5_000..99_000, 370, 0), StageId([3; 16]));
    time("apply 94,000 new documents of 400 bytes", || run(&mut catalog, many));
    println!("{} documents take {} bytes", catalog.documents().len(), catalog.documents_bytes());
    let one = |at: u32| commands(1, documents(0..1, 1_000, at), StageId([4; 16]));
    time("change 1 of 99,000, nobody has a clone", || run(&mut catalog, one(1)));
    let clone = time("clone", || catalog.clone());
    time("change 1 of 99,000 while somebody has a clone", || run(&mut catalog, one(2)));
    time("change 1 of 99,000 again", || run(&mut catalog, one(3)));
    drop(clone);
    let renamed = proto::Command { level: 1, kind: Some(Kind::SetLimits(proto::SetLimits { limits: limits() })) };
    let clone = catalog.clone();
    time("change the limits while somebody has a clone", || apply(&mut catalog, renamed));
    drop(clone);

    let key = DocumentKey::new("ToolServer", "default", "n50000").expect("a key");
    time("get 1", || assert!(catalog.document(&key).is_some()));
    time("read the first revision of 5", || assert!(catalog.at_revision(1).is_some()));
    time("hash", || catalog.hash());
    let mut bytes = Vec::new();
    time("write a snapshot", || catalog.write_snapshot(&mut bytes).expect("a vector takes everything"));
    println!("a snapshot has {} bytes", bytes.len());
    let restored = time("restore it", || Catalog::restore(&mut &bytes[..]).expect("it was written"));
    assert_eq!(restored.hash(), catalog.hash());
}

fn time<T>(what: &str, work: impl FnOnce() -> T) -> T {
    let start = Instant::now();
    let result = work();
    println!("{what}: {:.3} ms", start.elapsed().as_secs_f64() * 1_000.0);
    result
}

fn run(catalog: &mut Catalog, commands: Vec<proto::Command>) {
    commands.into_iter().for_each(|command| apply(catalog, command));
}

fn apply(catalog: &mut Catalog, command: proto::Command) {
    let applied = catalog.apply(Timestamp::from_millis(1_000_000), &command.encode_to_vec());
    let outcome = proto::Outcome::decode(&applied.outcome[..]).expect("an outcome");
    assert!(!matches!(outcome.kind, Some(outcome::Kind::Refusal(_))), "{outcome:?}");
}

fn documents(numbers: std::ops::Range<u32>, bytes: usize, salt: u32) -> proto::Apply {
    let upsert = |number: u32| {
        let (kind, tenant, name) = ("ToolServer".to_owned(), "default".to_owned(), format!("n{number}"));
        let content = format!("{{\"number\":{number},\"salt\":{salt},\"text\":\"{}\"}}", "x".repeat(bytes));
        proto::Upsert {
            key: Some(proto::DocumentKey { kind, tenant, name }),
            labels: Vec::new(),
            content: content.into(),
        }
    };
    proto::Apply { upserts: numbers.map(upsert).collect(), author: "measure".to_owned(), ..proto::Apply::default() }
}

fn limits() -> Option<proto::Limits> {
    Some(quorate_catalog::DEFAULTS.to_proto())
}

fn bootstrap() -> proto::Bootstrap {
    let node = proto::NewNode {
        name: "n1".to_owned(),
        peer_address: "n1:4192".to_owned(),
        level_min: 1,
        level_max: 1,
        ..proto::NewNode::default()
    };
    let cluster = vec![7; 16].into();
    proto::Bootstrap { cluster, level: 1, node: Some(node), ..proto::Bootstrap::default() }
}
