//! Clusters of real processes, made and operated by the command line, and what happens to them: kills, pauses, cuts.
//!
//! Each test has a cluster of its own. A node is killed as a lost machine is, and what was acknowledged before must be there
//! after: nothing here knows how. Tests wait for what nodes say, and never for a time.

mod certificates;
mod clocks;
mod disks;
mod faults;
mod recovery;
mod skew;
mod world;

use std::fs;

use anyhow::{Context as _, ensure};
use quorate_cluster::{Cluster, Options, nodes, wait};
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, DnType, IsCa, KeyPair, KeyUsagePurpose};
use serde_json::Value;

use crate::world::{PATIENCE, Source, applied, document, names, there};

#[test]
fn three_nodes_become_a_cluster_that_keeps_its_resources_over_a_restart_of_all() -> anyhow::Result<()> {
    let mut cluster = Cluster::start(Options::default())?;
    let status = cluster.status(1)?;
    ensure!(names(&status) == ["node-1", "node-2", "node-3"], "{status:#}");

    document(&cluster, "one")?;
    for place in cluster.places() {
        applied(&cluster, place, &["one"])?;
    }
    for place in cluster.places() {
        cluster.stop(place)?;
    }
    for place in cluster.places() {
        cluster.begin(place)?;
    }
    cluster.leader()?;
    for place in cluster.places() {
        applied(&cluster, place, &["one"])?;
    }
    document(&cluster, "two")?;
    for place in cluster.places() {
        applied(&cluster, place, &["one", "two"])?;
    }
    Ok(())
}

#[test]
fn a_node_that_is_gone_for_good_is_replaced_by_a_new_one() -> anyhow::Result<()> {
    let mut cluster = Cluster::start(Options { nodes: 4, ..Options::default() })?;
    document(&cluster, "one")?;
    cluster.kill(0);
    cluster.leader()?;

    cluster.local(1, &["cluster", "replace", "node-1", "--by", "node-4"])?.success()?;

    cluster.until("the old node is gone", 1, |status| {
        nodes(status).all(|node| node["name"] != "node-1" || node["state"] == "removed" || node["state"] == "leaving")
            && status["shards"].as_array().is_some_and(|shards| {
                shards.iter().all(|shard| shard["voters"].as_array().is_some_and(|voters| voters.len() == 3))
            })
    })?;
    applied(&cluster, 3, &["one"])?;
    Ok(())
}

#[test]
fn a_token_is_good_for_one_node_and_for_its_time() -> anyhow::Result<()> {
    let mut cluster = Cluster::waiting(Options { nodes: 3, ..Options::default() })?;
    cluster.init(0)?;
    let token = cluster.token()?;
    cluster.local(1, &["cluster", "join", &token])?.success()?;

    let used = cluster.local(2, &["cluster", "join", &token])?.failure()?;
    ensure!(used.contains("used"), "{used}");

    let forged = format!("{}{}", &token[..token.len() - 4], "aaaa");
    let refused = cluster.local(2, &["cluster", "join", &forged])?.failure()?;
    ensure!(!refused.contains("panicked"), "{refused}");

    let revoked = cluster.token()?;
    let listed = cluster.operate(&["cluster", "token", "list", "-o", "json"])?.success()?;
    let listed: Value = serde_json::from_str(&listed)?;
    let id = listed["tokens"][0]["id"].as_str().with_context(|| format!("{listed}"))?.to_owned();
    cluster.operate(&["cluster", "token", "revoke", &id])?.success()?;
    let refused = cluster.local(2, &["cluster", "join", &revoked])?.failure()?;
    ensure!(refused.contains("revoked") || refused.contains("token"), "{refused}");

    cluster.join(2)
}

#[test]
fn an_operator_of_another_cluster_is_a_stranger() -> anyhow::Result<()> {
    let one = Cluster::start(Options { nodes: 1, shards: 1, ..Options::default() })?;
    let other = Cluster::start(Options { nodes: 1, shards: 1, ..Options::default() })?;
    let context = fs::read_to_string(one.context())?;
    let (mine, theirs) = (one.admin(0).to_string(), other.admin(0).to_string());
    ensure!(context.contains(&mine), "{context}");
    let crossed = one.folder().join("crossed.yaml");
    fs::write(&crossed, context.replace(&mine, &theirs))?;

    let crossed = crossed.to_str().context("it is UTF-8")?;
    let refused = one.quorate(&["--context", crossed, "cluster", "status"])?.failure()?;

    ensure!(refused.contains("certificate") || refused.contains("another cluster"), "{refused}");
    Ok(())
}

#[test]
fn an_authority_that_an_enterprise_signed_is_that_of_the_cluster() -> anyhow::Result<()> {
    let folder = tempfile::tempdir()?;
    let (chain, key) = (folder.path().join("authority.pem"), folder.path().join("authority.key"));
    let (certificate, private) = enterprise()?;
    fs::write(&chain, &certificate)?;
    fs::write(&key, enterprise()?.1)?;
    let flags = [&chain, &key].map(|file| file.to_str().expect("it is UTF-8").to_owned());
    let init =
        vec!["--authority-certificate".to_owned(), flags[0].clone(), "--authority-key".to_owned(), flags[1].clone()];
    let mut cluster = Cluster::waiting(Options { nodes: 2, shards: 1, init, ..Options::default() })?;
    let refused = cluster.init(0).expect_err("the key is another's").to_string();
    ensure!(refused.contains("does not belong to the first certificate"), "{refused}");
    ensure!(!refused.contains("PRIVATE KEY"), "{refused}");

    fs::write(&key, private)?;
    cluster.init(0)?;
    cluster.join(1)?;

    // What operators show ends with it, and nodes are trusted by it.
    let shown = fs::read_dir(cluster.folder())?.flatten().filter_map(|entry| fs::read_to_string(entry.path()).ok());
    ensure!(shown.filter(|text| text.contains(certificate.trim())).count() >= 2, "{:?}", cluster.folder());
    Ok(())
}

/// What an enterprise signs for a cluster: a certificate and its key.
fn enterprise() -> anyhow::Result<(String, String)> {
    let authority = |name: &str, below| {
        let mut params = CertificateParams::default();
        params.distinguished_name.push(DnType::CommonName, name);
        params.is_ca = IsCa::Ca(BasicConstraints::Constrained(below));
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign];
        params
    };
    let root = CertifiedIssuer::self_signed(authority("Example Root", 1), KeyPair::generate()?)?;
    let key = KeyPair::generate()?;
    Ok((authority("Example Quorate", 0).signed_by(&key, &root)?.pem(), key.serialize_pem()))
}

#[test]
fn of_two_operators_who_apply_at_once_one_is_told_of_the_other() -> anyhow::Result<()> {
    let cluster = Cluster::start(Options { nodes: 1, shards: 1, ..Options::default() })?;
    let source = Source::of(&cluster);
    // The revision that the answer names: a node that was asked might not have it active yet.
    let first = source.operator.run(&["apply", "-f", &source.file(&["one"])?, "-o", "json"])?.success()?;
    let revision = serde_json::from_str::<Value>(&first)?["revision"].clone();
    let revision = revision.as_str().map_or_else(|| revision.to_string(), str::to_owned);
    ensure!(revision != "0", "{first}");
    let files = [source.file(&["two"])?, source.file(&["three"])?];

    let apply = |file: &str| source.operator.run(&["apply", "-f", file, "--expected-revision", &revision]);
    let said = std::thread::scope(|scope| {
        let applies: Vec<_> = files.iter().map(|file| scope.spawn(|| apply(file))).collect();
        applies.into_iter().map(|apply| apply.join().expect("it does not panic")).collect::<anyhow::Result<Vec<_>>>()
    })?;

    let (won, lost): (Vec<_>, Vec<_>) = said.into_iter().partition(|said| said.status.success());
    ensure!(won.len() == 1, "{won:?} {lost:?}");
    ensure!(lost[0].errors.contains("revision 2 is by"), "{lost:?}");
    Ok(())
}

#[test]
fn a_document_that_no_entry_can_hold_is_refused_by_name_and_a_set_that_is_larger_is_taken() -> anyhow::Result<()> {
    let cluster = Cluster::start(Options::default())?;
    let source = Source::of(&cluster);
    let policy = |name: &str, bytes: usize| {
        let comment = "x".repeat(bytes);
        format!(
            "kind: Policy\nname: {name}\nspec:\n  cedar: |\n    // {comment}\n    permit (principal, action, resource);\n"
        )
    };
    let apply = |text: String| {
        let file = cluster.folder().join("policies.yaml");
        fs::write(&file, text)?;
        source.operator.run(&["apply", "-f", file.to_str().context("it is UTF-8")?])
    };

    let refused = apply(policy("large", 300_000))?.failure()?;
    ensure!(refused.contains("Policy/large") && refused.contains("262144"), "{refused}");

    let set = ["a", "b", "c"].map(|name| policy(name, 200_000));
    apply(set.join("---\n"))?.success()?;
    document(&cluster, "one")?;
    for place in cluster.places() {
        applied(&cluster, place, &["one"])?;
        let policies = cluster.local(place, &["get", "policy", "-o", "json"])?.success()?;
        ensure!(["a", "b", "c"].iter().all(|name| policies.contains(&format!("\"{name}\""))), "{}", policies.len());
    }
    Ok(())
}

#[test]
fn a_set_of_five_thousand_documents_is_applied_as_a_whole_or_not_at_all() -> anyhow::Result<()> {
    const COUNT: usize = 5_000;
    let cluster = Cluster::start(Options { nodes: 1, shards: 1, ..Options::default() })?;
    let operator = cluster.operator();
    let file = cluster.folder().join("set.yaml");
    let apply = |middle: &str| {
        let document = |number: usize| {
            let url = if number == COUNT / 2 { middle.to_owned() } else { format!("http://127.0.0.1:9/{number}") };
            format!("kind: ToolServer\nname: server-{number:04}\nspec:\n  urls: [\"{url}\"]\n")
        };
        fs::write(&file, (0..COUNT).map(document).collect::<Vec<_>>().join("---\n"))?;
        operator.run(&["apply", "-f", file.to_str().context("it is UTF-8")?])
    };

    let refused = apply("gopher://127.0.0.1/")?.failure()?;
    ensure!(refused.contains("server-2500") && refused.contains("gopher"), "{refused}");
    ensure!(!refused.contains("server-2501"), "the others are right: {refused}");
    let said = operator.run(&["get", "toolserver", "-o", "json"])?.success()?;
    ensure!(!said.contains("server-"), "nothing is there: {}", said.len());

    let said = apply("http://127.0.0.1:9/2500")?.success()?;
    ensure!(said.contains("5000 added"), "{}", said.len());
    let said = apply("http://127.0.0.1:9/other")?.success()?;
    ensure!(said.contains("1 changed") && said.contains("server-2500 changed"), "{}", said.len());
    wait::until("the changed set", PATIENCE, || {
        let changed = cluster.local(0, &["get", "toolserver", "server-2500", "-o", "json"])?.success()?;
        ensure!(changed.contains("127.0.0.1:9/other"), "{changed}");
        Ok(())
    })?;
    let there = there(&cluster, 0)?;
    ensure!(there.len() == COUNT, "{} are there", there.len());
    Ok(())
}
