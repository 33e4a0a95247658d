//! Resource files while the process runs, what is denied by default, and what the commands answer.

use std::process::Command;

use quorate_tests::{paths, process::Process, wait};
use serde_json::{Value, json};

use crate::support::{
    PATIENCE,
    backend::Backend,
    client,
    gateway::{Documents, Gateway, OPEN},
    mcp::Mcp,
    session::{Session, initialize},
};

/// Runs the binary to its end: its exit code and its output.
fn run(arguments: &[&str]) -> anyhow::Result<(Option<i32>, String)> {
    let mut process = Process::start("quorate", Command::new(paths::binary("quorate")?).args(arguments))?;
    let status = process.end(PATIENCE)?;
    Ok((status.code(), process.output().join("\n")))
}

fn two() -> anyhow::Result<(Backend, Backend)> {
    Ok((Mcp::new("a").tools(&["from-a"]).start()?, Mcp::new("b").tools(&["from-b"]).start()?))
}

#[test]
fn a_changed_file_is_in_force_without_a_restart_and_keeps_sessions() -> anyhow::Result<()> {
    let (a, b) = two()?;
    let one = Documents::new().server("a", &a.url());
    let mut gateway = one.start()?;
    let session = Session::open(&gateway, "2025-11-25")?;
    assert_eq!(session.call(1, "from-a")?["result"]["content"][0]["text"], "a:from-a");

    // The listener says port 0 again, and must stay where it is.
    gateway.rewrite(&one.clone().server("b", &b.url()).text())?;

    gateway.logged("in force")?;
    wait::until("the new tool", PATIENCE, || {
        let tools = gateway.tools()?;
        anyhow::ensure!(tools == ["from-a", "from-b"], "{tools:?}");
        Ok(())
    })?;
    assert_eq!(gateway.call("from-b")?, "b:from-b");
    assert_eq!(session.call(2, "from-a")?["result"]["content"][0]["text"], "a:from-a", "the session lives on");
    assert_eq!(session.call(3, "from-b")?["result"]["content"][0]["text"], "b:from-b", "and sees the new server");

    gateway.rewrite(&Documents::new().server("b", &b.url()).text())?;
    wait::until("the end of the old tool", PATIENCE, || {
        let tools = gateway.tools()?;
        anyhow::ensure!(tools == ["from-b"], "{tools:?}");
        Ok(())
    })?;
    Ok(())
}

#[test]
fn a_bad_change_leaves_the_running_set_and_says_why() -> anyhow::Result<()> {
    let (a, b) = two()?;
    let good = Documents::new().server("a", &a.url());
    let mut gateway = good.start()?;
    let session = Session::open(&gateway, "2025-11-25")?;

    let bad = good.text().replace("\"servers\"", "\"serverz\"");
    gateway.rewrite(&bad)?;
    let refused = gateway.logged("refused; the running set stays")?;

    assert!(refused.contains("resources.yaml") && refused.contains("serverz"), "{refused}");
    assert_eq!(gateway.call("from-a")?, "a:from-a");
    assert_eq!(session.call(1, "from-a")?["id"], 1);

    gateway.rewrite(&good.clone().server("b", &b.url()).text())?;
    wait::until("the good change after it", PATIENCE, || {
        anyhow::ensure!(gateway.tools()?.len() == 2, "one tool");
        Ok(())
    })?;
    Ok(())
}

#[test]
fn an_address_that_is_taken_leaves_the_running_set() -> anyhow::Result<()> {
    let (a, _b) = two()?;
    let good = Documents::new().server("a", &a.url());
    let mut gateway = good.start()?;
    let taken = json!({ "kind": "Listener", "name": "second", "spec": { "address": a.address.to_string() } });

    gateway.rewrite(&format!("{}\n---\n{taken}", good.text()))?;

    let refused = gateway.logged("refused; the running set stays")?;
    assert!(refused.contains("second") || refused.contains(&a.address.to_string()), "{refused}");
    assert_eq!(gateway.call("from-a")?, "a:from-a");
    Ok(())
}

#[test]
fn changed_limits_of_a_listener_are_in_force_at_the_same_address() -> anyhow::Result<()> {
    let (a, _b) = two()?;
    let mut documents = Documents::new().server("a", &a.url());
    documents.listener["address"] = json!(format!("127.0.0.1:{}", quorate_tests::http::free_port()?));
    let mut gateway = documents.start()?;
    let large = json!({ "name": "from-a", "arguments": { "x": "y".repeat(20 * 1024) } });
    assert_eq!(gateway.modern(1, "tools/call", large.clone())?.status, 200);

    gateway.rewrite(&documents.clone().limit("body", "16KiB").text())?;

    gateway.logged("in force")?;
    wait::until("the new limit", PATIENCE, || {
        let status = gateway.modern(1, "tools/call", large.clone())?.status;
        anyhow::ensure!(status == 413, "{status}");
        Ok(())
    })?;
    assert_eq!(gateway.call("from-a")?, "a:from-a");
    Ok(())
}

#[test]
fn listeners_come_and_go_with_their_documents() -> anyhow::Result<()> {
    let (a, _b) = two()?;
    let good = Documents::new().server("a", &a.url());
    let gateway = good.start()?;
    let port = quorate_tests::http::free_port()?;
    let address = std::net::SocketAddr::from(([127, 0, 0, 1], port));
    let second = json!({ "kind": "Listener", "name": "second", "spec": { "address": address.to_string() } });

    gateway.rewrite(&format!("{}\n---\n{second}", good.text()))?;
    wait::until("the second listener", PATIENCE, || {
        let answer = client::send(address, "GET", "/mcp", &[], b"")?;
        anyhow::ensure!(answer.status == 405, "{}", answer.status);
        Ok(())
    })?;

    gateway.rewrite(&good.text())?;
    wait::until("its end", PATIENCE, || {
        anyhow::ensure!(std::net::TcpStream::connect(address).is_err(), "it accepts");
        Ok(())
    })?;
    assert_eq!(gateway.call("from-a")?, "a:from-a");
    Ok(())
}

#[test]
fn a_toolset_that_is_removed_is_404_and_its_sessions_end() -> anyhow::Result<()> {
    let (a, _b) = two()?;
    let good = Documents::new().server("a", &a.url());
    let second = json!({ "kind": "Toolset", "name": "second", "spec": { "servers": ["a"] } });
    let gateway = Gateway::start(&format!("{}\n---\n{second}", good.text()), OPEN)?;
    let status = || client::send(gateway.address, "GET", "/mcp/second", &[], b"").map(|answer| answer.status);
    assert_eq!(status()?, 405);

    gateway.rewrite(&good.text())?;

    wait::until("the end of the toolset", PATIENCE, || {
        let status = status()?;
        anyhow::ensure!(status == 404, "{status}");
        Ok(())
    })?;
    Ok(())
}

#[test]
fn nobody_is_served_without_an_identity_and_nothing_allowed_without_a_policy() -> anyhow::Result<()> {
    let (a, _b) = two()?;
    let text = Documents::new().server("a", &a.url()).text();
    let nobody = Gateway::start(&text, &[])?;
    let unidentified = Gateway::start(&text, &["--allow-all"])?;
    let unauthorized = Gateway::start(&text, &["--development-identity"])?;

    for gateway in [&nobody, &unidentified] {
        let refused = gateway.modern("q", "tools/list", json!({}))?;
        assert_eq!(refused.status, 401);
        assert!(refused.header("www-authenticate").is_some_and(|value| value.starts_with("Bearer")));
        assert_eq!(initialize(gateway, "2025-11-25")?.status, 401);
        let sse = client::send(gateway.address, "GET", "/sse", &[("accept", "text/event-stream")], b"")?;
        assert_eq!(sse.status, 401);
    }
    let refused = unauthorized.modern("q", "tools/list", json!({}))?;
    assert_eq!(refused.status, 403);
    assert_eq!(refused.message()?["id"], "q");
    let refused = initialize(&unauthorized, "2025-11-25")?;
    assert_eq!((refused.status, refused.header("mcp-session-id")), (403, None));
    assert_eq!(a.count("tools/list") + a.count("tools/call"), 0);
    Ok(())
}

#[test]
fn validate_says_what_is_there_or_everything_that_is_wrong() -> anyhow::Result<()> {
    let folder = tempfile::tempdir()?;
    let (good, bad) = (folder.path().join("good.yaml"), folder.path().join("bad.yaml"));
    std::fs::write(&good, Documents::new().server("a", "http://127.0.0.1:9/mcp").text())?;
    let wrong = Documents::new().server("a", "ftp://x").limit("body", "1TB").text();
    std::fs::write(&bad, format!("{wrong}\n---\nkind: Toolset\nname: second\nspec: {{ servers: [nobody] }}\n"))?;

    let (code, said) = run(&["validate", "-f", &good.to_string_lossy()])?;
    assert_eq!(code, Some(0), "{said}");
    assert!(said.contains("ToolServer") && said.contains("default"), "{said}");

    let (code, said) = run(&["validate", "-f", &bad.to_string_lossy()])?;
    assert_eq!(code, Some(3), "{said}");
    for part in ["bad.yaml", "spec.urls", "spec.limits.body", "1TB", "nobody", "Toolset/second"] {
        assert!(said.contains(part), "{part} is not in: {said}");
    }
    let (code, said) = run(&["validate", "-f", &folder.path().join("none.yaml").to_string_lossy()])?;
    assert_eq!(code, Some(3), "{said}");
    assert!(said.contains("none.yaml"), "{said}");
    Ok(())
}

#[test]
fn schema_is_json_that_names_every_kind() -> anyhow::Result<()> {
    // Whole, and not only its last lines: it has thousands.
    let output = Command::new(paths::binary("quorate")?).arg("schema").output()?;

    assert!(output.status.success(), "{output:?}");
    let schema: Value = serde_json::from_slice(&output.stdout)?;
    let text = schema.to_string();
    for part in ["Listener", "ToolServer", "Toolset", "Issuer", "ApiKey", "Tenant", "Policy", "address", "jsonDepth"] {
        assert!(text.contains(part), "{part}");
    }
    Ok(())
}

#[test]
fn a_wrong_start_ends_with_its_own_exit_code_and_advice() -> anyhow::Result<()> {
    let folder = tempfile::tempdir()?;
    let file = |name: &str, text: &str| -> anyhow::Result<String> {
        let path = folder.path().join(name);
        std::fs::write(&path, text)?;
        Ok(path.to_string_lossy().into_owned())
    };
    let a = Mcp::new("a").start()?;
    let mut taken = Documents::new().server("a", &a.url());
    taken.listener = json!({ "address": a.address.to_string() });
    let mut tls = Documents::new().server("a", &a.url());
    tls.listener = json!({ "address": "127.0.0.1:0", "tls": { "certificate": "none.pem", "key": "none.key" } });
    let broken = file("broken.yaml", "kind: [")?;
    let taken = file("taken.yaml", &taken.text())?;
    let tls = file("tls.yaml", &tls.text())?;

    for (arguments, expected, part) in [
        (vec!["serve"], 2, "-f"),
        (vec!["serve", "-f", &broken], 3, "broken.yaml"),
        (vec!["serve", "-f", &taken], 1, "address"),
        (vec!["serve", "-f", &tls], 3, "none.pem"),
        (vec!["up", "--listen", "0.0.0.0:0"], 2, "loopback"),
        (vec!["up", "--mcp", "NAME"], 2, "NAME=URL"),
        (vec!["nonsense"], 2, "nonsense"),
    ] {
        let (code, said) = run(&arguments)?;
        assert_eq!(code, Some(expected), "{arguments:?}: {said}");
        assert!(said.contains(part), "{arguments:?} does not say {part:?}: {said}");
    }
    Ok(())
}

#[test]
fn the_admin_address_serves_health_readiness_and_metrics() -> anyhow::Result<()> {
    let (a, _b) = two()?;
    let gateway = Documents::new().server("a", &a.url()).start()?;
    gateway.call("from-a")?;

    let get = |path| quorate_tests::http::get(gateway.admin, path);
    assert_eq!(get("/healthz")?.status, 200);
    assert_eq!(get("/readyz")?.status, 200);
    let metrics = get("/metrics")?;
    assert_eq!(metrics.status, 200);
    assert!(metrics.body.contains("mcp_server_operation_duration"), "{}", metrics.body);
    assert!(metrics.body.contains("tools/call"), "{}", metrics.body);
    assert_eq!(get("/nothing")?.status, 404);
    Ok(())
}

#[test]
fn a_server_that_moves_takes_its_sessions_along() -> anyhow::Result<()> {
    let old = Mcp::new("old").era(crate::support::mcp::Era::Legacy).start()?;
    let new = Mcp::new("new").era(crate::support::mcp::Era::Legacy).start()?;
    let mut gateway = Documents::new().server("a", &old.url()).start()?;
    let session = Session::open(&gateway, "2025-11-25")?;
    assert_eq!(session.call(1, "echo")?["result"]["content"][0]["text"], "old:echo");

    gateway.rewrite(&Documents::new().server("a", &new.url()).text())?;

    gateway.logged("in force")?;
    wait::until("calls at the new address", PATIENCE, || {
        let answer = session.call(2, "echo")?;
        anyhow::ensure!(answer["result"]["content"][0]["text"] == "new:echo", "{answer}");
        Ok(())
    })?;
    Ok(())
}
