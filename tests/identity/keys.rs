//! API keys, made as an operator makes them, and what they are beside a token.

use std::process::Command;

use anyhow::{Context as _, ensure};
use quorate_tests::{
    paths,
    raw::{gateway::Gateway, mcp::Mcp},
};
use serde_json::json;
use tempfile::TempDir;

use crate::{caller::Caller, idp::Idp, site::Site};

/// The data directory of the node, below the folder with its resources.
pub(crate) const DATA: &str = "data";

/// Makes the API key of an agent for the node of this folder: the key, and the document that knows it.
pub(crate) fn make(folder: &TempDir, agent: &str, flags: &[&str]) -> anyhow::Result<(String, String)> {
    let secret = folder.path().join(format!("{agent}.key"));
    let made = Command::new(paths::binary("quorate")?)
        .args(["keys", "new", "--name", agent, "--data-dir"])
        .arg(folder.path().join(DATA))
        .arg("--secret-out")
        .arg(&secret)
        .args(flags)
        .output()?;
    ensure!(made.status.success(), "no key: {}", String::from_utf8_lossy(&made.stderr));
    let key = std::fs::read_to_string(&secret)?.trim().to_owned();
    let document = String::from_utf8(made.stdout)?;
    ensure!(!document.contains(&key), "the document shows the key");
    Ok((key, document))
}

/// Starts a node with these resources and the root key of this folder.
pub(crate) fn start(folder: TempDir, text: &str) -> anyhow::Result<Gateway> {
    std::fs::write(folder.path().join("resources.yaml"), text)?;
    let data = folder.path().join(DATA);
    let data = data.to_str().context("a temporary folder has a plain name")?.to_owned();
    Gateway::start_in(folder, &["--data-dir", &data])
}

#[test]
fn an_agent_with_a_key_does_not_cover_the_agent_that_a_token_names() -> anyhow::Result<()> {
    let (idp, clock) = (Idp::start()?, Mcp::new("clock").tools(&["now"]).start()?);
    let folder = tempfile::tempdir()?;
    let (key, document) = make(&folder, "builder", &[])?;
    let issuer = json!({ "oidc": { "issuer": idp.issuer, "agentClaim": "client_id" } });
    let site = Site::new()
        .with("Issuer", "people", issuer)
        .with("ToolServer", "clock", json!({ "urls": [clock.url()] }))
        .with("Toolset", "tools", json!({ "servers": ["clock"], "naming": "bare" }))
        .policy("permit(principal, action, resource);");
    let gateway = start(folder, &[site.text(), document].join("\n---\n"))?;
    let resource = format!("http://{}/mcp/tools", gateway.address);
    let of_person = idp.token_of("alice", &resource, "mcp")?;
    let of_program = idp.own_token("robot", &resource, "mcp")?;
    let call = |caller: &Caller| caller.call(gateway.address, "/mcp/tools", "now", &json!({}));

    for alone in [Caller::stranger().key(&key), Caller::stranger().token(&of_person)] {
        assert_eq!(call(&alone)?.text(), Some("clock:now"));
    }
    for token in [&of_person, &of_program] {
        let both = call(&Caller::stranger().key(&key).token(token))?;
        assert_eq!(both.status, 401, "{}", both.message);
        ensure!(both.challenge.is_some(), "no challenge");
    }
    assert_eq!(clock.count("tools/call"), 2);
    gateway.metric_until("quorate_rejections_total", "quorate_reason=\"conflict\"", |rejected| rejected == 2.0)?;
    Ok(())
}
