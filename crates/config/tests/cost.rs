//! What compiling the documents of a cluster costs: as many times more as there are more of them, and a change little.
//!
//! The time of the thread's own work is measured, which a busy machine does not change; ratios have room.

use std::fmt::Write as _;
use std::time::Duration;

use prost::Message as _;
use quorate_catalog::{Catalog, StageId, commands, outcome, proto};
use quorate_config::{Compiler, Source, document};
use quorate_types::Timestamp;
use rustix::time::{ClockId, clock_gettime};

/// What this thread has worked.
fn worked<T>(work: impl FnOnce() -> T) -> (T, Duration) {
    let now = || {
        let now = clock_gettime(ClockId::ThreadCPUTime);
        Duration::new(now.tv_sec.try_into().expect("it is positive"), now.tv_nsec.try_into().expect("it is positive"))
    };
    let begun = now();
    let done = work();
    (done, now() - begun)
}

/// Servers, toolsets over them and policies about them: three parts, one and one.
fn documents(count: usize, port: u16) -> String {
    let (servers, others) = (count * 3 / 5, count / 5);
    let mut text = String::new();
    for number in 0..servers {
        let spec = format!(r#"{{"urls": ["http://127.0.0.1:{port}/"], "headers": {{"x-key": "env:KEY"}}}}"#);
        let _ = write!(text, r#"{{"kind": "ToolServer", "name": "s{number}", "spec": {spec}}}"#);
    }
    for number in 0..others {
        let members: Vec<String> = (0..5).map(|member| format!("\"s{}\"", (number * 5 + member) % servers)).collect();
        let spec = format!(r#"{{"servers": [{}]}}"#, members.join(", "));
        let _ = write!(text, r#"{{"kind": "Toolset", "name": "t{number}", "spec": {spec}}}"#);
        let cedar =
            format!(r#"permit (principal, action == Action::\"mcp:call\", resource in Toolset::\"t{number}\");"#);
        let _ = write!(text, r#"{{"kind": "Policy", "name": "p{number}", "spec": {{"cedar": "{cedar}"}}}}"#);
    }
    text
}

fn catalog_with(text: String) -> Catalog {
    let mut catalog = Catalog::default();
    let node = proto::NewNode {
        name: "one".to_owned(),
        peer_address: "one.example:4192".to_owned(),
        level_min: 1,
        level_max: 1,
        ..proto::NewNode::default()
    };
    let bootstrap = proto::Bootstrap { cluster: vec![7; 16].into(), level: 1, node: Some(node), ..Default::default() };
    let mut take = |command: proto::Command| {
        let applied = catalog.apply(Timestamp::from_millis(1), &command.encode_to_vec());
        outcome(&applied.outcome).unwrap_or_else(|refusal| panic!("{refusal}"));
    };
    take(proto::Command { level: 1, kind: Some(proto::command::Kind::Bootstrap(bootstrap)) });
    let documents = document::of_sources(&[Source { file: "mesh.json".into(), text }]);
    let upserts = documents.unwrap_or_else(|errors| panic!("{errors}")).into_iter().map(|one| proto::Upsert {
        key: Some(one.key.to_proto()),
        labels: Vec::new(),
        content: one.content,
    });
    let apply = proto::Apply { upserts: upserts.collect(), ..proto::Apply::default() };
    commands(1, apply, StageId([1; 16])).into_iter().for_each(&mut take);
    catalog
}

#[test]
fn five_times_as_many_documents_cost_about_five_times_as_much_and_a_change_little() {
    let (few, many) = (catalog_with(documents(1_000, 1)), catalog_with(documents(5_000, 1)));
    let compile = |compiler: &mut Compiler, catalog: &Catalog| {
        let (compiled, cost) = worked(|| compiler.compile(catalog.documents()));
        (compiled.unwrap_or_else(|errors| panic!("{errors}")).resources, cost)
    };

    let (_, of_few) = compile(&mut Compiler::new("/x".into()), &few);
    let mut compiler = Compiler::new("/x".into());
    let (set, of_many) = compile(&mut compiler, &many);
    let (again, of_known) = compile(&mut compiler, &many);

    eprintln!("CPU time: 1,000 documents {of_few:?}, 5,000 {of_many:?}, again {of_known:?}");
    assert!(set == again && set.tool_servers().len() == 3_000 && set.toolsets().len() == 1_000);
    assert!(of_many < of_few * 12, "{of_few:?} for 1,000, {of_many:?} for 5,000");
    assert!(of_known < of_many, "{of_many:?} at first, {of_known:?} when all are known");
}

#[test]
fn a_set_whose_servers_were_forgotten_is_refused_soon() {
    let text = documents(5_000, 1);
    let (servers, others) = text.split_at(text.find(r#"{"kind": "Toolset""#).expect("there are some"));
    let half: String = servers.split_inclusive("}}}").step_by(2).collect();
    let catalog = catalog_with(format!("{half}{others}"));

    let (refused, cost) = worked(|| Compiler::new("/x".into()).compile(catalog.documents()));

    let problems = refused.expect_err("half of the servers are not there").problems().len();
    eprintln!("CPU time of {problems} links to nothing: {cost:?}");
    assert!(problems > 1_000, "{problems}");
    assert!(cost < Duration::from_secs(20), "{cost:?}");
}
