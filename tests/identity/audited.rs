//! What operators see of callers: records that name credentials and traces, changes of trust, last use of keys, and a log
//! that nobody can fill.

use std::{fs, net::SocketAddr, path::Path, process::Command, time::Instant};

use anyhow::{Context as _, ensure};
use quorate_tests::{
    http, paths,
    raw::{PATIENCE, backend::Backend, gateway::Gateway, mcp::Mcp},
    wait,
};
use serde_json::{Value, json};

use crate::{
    caller::Caller,
    certificates::{Authority, Identity},
    site::Site,
};

const PATH: &str = "/mcp/tools";
const RUNNER: &str = "spiffe://mesh.test/runner";
/// The data directory of the node.
const DATA: &str = "data";
const POLICY: &str = r#"
permit(principal in Agent::"ci", action in [Action::"mcp:connect", Action::"mcp:list"], resource);
permit(principal in Agent::"ci", action == Action::"mcp:call", resource == Tool::"clock/now");
"#;

/// A gateway with an audit log, for the holders of two keys and the workloads of a domain.
struct Ground {
    _clock: Backend,
    authority: Authority,
    gateway: Gateway,
    site: Site,
    /// The documents of keys, which stand beside the site's.
    key_documents: String,
    /// A good key, one that has ended, and one that no document has.
    keys: [String; 3],
}

// === impl Ground ===

impl Ground {
    fn new() -> anyhow::Result<Self> {
        let clock = Mcp::new("clock").tools(&["now", "later"]).start()?;
        let folder = tempfile::tempdir()?;
        let file = |name: &str| folder.path().join(name);
        let authority = Authority::new()?;
        authority.write_bundle(&file("mesh.pem"))?;
        authority.write_crl(&file("mesh.crl"), false)?;
        authority.write_server(&file("cert.pem"), &file("key.pem"))?;
        let (good, ci) = new_key(folder.path(), "ci")?;
        let (ended, old) = new_key(folder.path(), "old")?;
        let (foreign, _) = new_key(folder.path(), "foreign")?;
        let old = format!("{}\n      expires: \"2020-01-01T00:00:00Z\"\n", old.trim_end());
        let tls = json!({ "certificate": "cert.pem", "key": "key.pem", "clients": {} });
        let mesh = json!({ "trustDomain": "mesh.test", "bundle": ["mesh.pem"], "crls": ["mesh.crl"] });
        let site = Site::default()
            .with("Listener", "data", json!({ "address": "127.0.0.1:0", "tls": tls }))
            .with("Issuer", "mesh", json!({ "spiffe": mesh }))
            .with("ToolServer", "clock", json!({ "urls": [clock.url()] }))
            .with("Toolset", "tools", json!({ "servers": ["clock"], "naming": "bare" }))
            .policy(POLICY);
        let key_documents = format!("\n---\n{ci}\n---\n{old}");
        fs::write(file("resources.yaml"), site.text() + &key_documents)?;
        let data = file(DATA).to_str().context("a temporary folder has a plain name")?.to_owned();
        let gateway = Gateway::start_in(folder, &["--data-dir", &data])?;
        Ok(Self { _clock: clock, authority, gateway, site, key_documents, keys: [good, ended, foreign] })
    }

    fn caller(&self, own: Option<Identity>) -> anyhow::Result<Caller> {
        Caller::stranger().tls(self.authority.certificate(), own)
    }

    fn holder(&self, key: usize) -> anyhow::Result<Caller> {
        Ok(self.caller(None)?.key(&self.keys[key]))
    }

    fn call(&self, caller: &Caller, tool: &str) -> anyhow::Result<u16> {
        Ok(caller.call(self.gateway.address, PATH, tool, &json!({}))?.status)
    }

    /// What the records with these members say, the last first.
    fn events(&self, members: &Value) -> anyhow::Result<Vec<Value>> {
        let log = self.gateway.folder.path().join(DATA).join("audit/audit-00000000000000000001.jsonl");
        let text = fs::read_to_string(log)?;
        let lines = text.lines().map(|line| Ok(serde_json::from_str::<Value>(line)?["event"].clone()));
        let mut events = lines.collect::<anyhow::Result<Vec<_>>>()?;
        let wanted = members.as_object().context("members")?;
        events.retain(|event| wanted.iter().all(|(key, value)| event[key] == *value));
        events.reverse();
        Ok(events)
    }

    /// Waits for a record with these members.
    fn event(&self, members: &Value) -> anyhow::Result<Value> {
        wait::until("a record", PATIENCE, || {
            self.events(members)?.into_iter().next().with_context(|| format!("there is no record with {members}"))
        })
    }
}

/// Makes an API key as an operator does: the key, and the document that knows it.
fn new_key(folder: &Path, name: &str) -> anyhow::Result<(String, String)> {
    let secret = folder.join(name);
    let mut command = Command::new(paths::binary("quorate")?);
    command.args(["keys", "new", "--name", name, "--scope", "tools:read", "--data-dir"]).arg(folder.join(DATA));
    let made = command.arg("--secret-out").arg(&secret).output()?;
    ensure!(made.status.success(), "no key: {}", String::from_utf8_lossy(&made.stderr));
    Ok((fs::read_to_string(&secret)?.trim().to_owned(), String::from_utf8(made.stdout)?))
}

/// The visible part of a key.
fn id(key: &str) -> &str {
    &key[3..15]
}

fn is_of_loopback(event: &Value) -> bool {
    event["peer"].as_str().and_then(|peer| peer.parse::<SocketAddr>().ok()).is_some_and(|peer| peer.ip().is_loopback())
}

#[test]
fn records_name_the_credential_the_peer_and_the_trace_of_who_was_refused() -> anyhow::Result<()> {
    let ground = Ground::new()?;
    let [good, ended, foreign] = &ground.keys;
    let (of_headers, of_message) = ("4bf92f3577b34da6a3ce929d0e0e4736", "0af7651916cd43dd8448eb211c80319c");
    let parent = |trace: &str| format!("00-{trace}-00f067aa0ba902b7-00");
    let holder = ground.holder(0)?.header("traceparent", parent(of_headers));
    ensure!(ground.call(&holder, "now")? == 200, "the holder is not served");
    ensure!(ground.events(&json!({ "agent": "ci" }))?.is_empty(), "what is allowed is recorded");

    let unknown = ground.call(&holder, "later")?;
    let denied = ground.event(&json!({ "kind": "denied", "resource": "Tool::\"clock/later\"" }))?;
    assert_eq!(denied["credential"], format!("ApiKey/ci {}", id(good)), "{unknown}: {denied}");
    assert!(denied["trace"] == of_headers && is_of_loopback(&denied), "{denied}");

    let params = json!({ "name": "later", "arguments": {}, "_meta": { "traceparent": parent(of_message) } });
    holder.request(ground.gateway.address, PATH, "tools/call", params)?;
    ground.event(&json!({ "kind": "denied", "trace": of_message }))?;

    let failed = |reason: &str| ground.event(&json!({ "kind": "authentication_failed", "reason": reason }));
    assert_eq!(ground.call(&ground.holder(1)?, "now")?, 401);
    let expired = failed("expired")?;
    assert_eq!(expired["credential"], format!("ApiKey/old {}", id(ended)), "{expired}");
    assert!(expired["method"] == "api_key" && is_of_loopback(&expired), "{expired}");
    assert_eq!(expired["trace"].as_str().map(str::len), Some(32), "{expired}");

    assert_eq!(ground.call(&ground.holder(2)?, "now")?, 401);
    let made_up = failed("unknown")?;
    assert!(made_up.get("credential").is_none() && made_up["method"] == "api_key", "{made_up}");

    let strange = ground.caller(Some(Authority::new()?.workload(RUNNER)?))?;
    assert!(ground.call(&strange, "now").is_err(), "the handshake is refused");
    let claimed = failed("unknown_issuer")?;
    assert!(claimed["credential"] == RUNNER && claimed["method"] == "certificate", "{claimed}");
    assert!(claimed["at"] == "data" && is_of_loopback(&claimed), "{claimed}");

    let elsewhere = ground.caller(Some(ground.authority.workload("spiffe://none.test/runner")?))?;
    assert!(ground.call(&elsewhere, "now").is_err(), "the handshake is refused");
    let nobodys = failed("unknown_trust_domain")?;
    assert!(nobodys.get("credential").is_none() && is_of_loopback(&nobodys), "{nobodys}");

    let all = json!(ground.events(&json!({}))?).to_string();
    for key in [good, ended, foreign] {
        assert!(!all.contains(&key[16..]), "a secret is in the audit log");
    }
    let written = ground.gateway.metric("quorate_audit_records_total", "")?;
    let bytes = ground.gateway.metric("quorate_audit_size_bytes", "")?;
    assert!(written >= 6.0 && bytes > 1_000.0, "{written} records in {bytes} bytes");
    Ok(())
}

#[test]
fn changes_of_trust_and_resources_are_on_record_also_when_they_are_refused() -> anyhow::Result<()> {
    let ground = Ground::new()?;
    let path = |name: &str| ground.gateway.folder.path().join(name);
    let change = |file: &str, outcome: &str| {
        let file = path(file).display().to_string();
        ground.event(&json!({ "kind": "admin_change", "file": file, "outcome": outcome }))
    };
    let first = ground.event(&json!({ "kind": "admin_change", "by": "resource files" }))?;
    assert!(first["outcome"] == "applied" && first["added"]["total"] == 7, "{first}");

    ground.authority.write_crl(&path("mesh.crl"), true)?;
    let taken_back = change("mesh.crl", "applied")?;
    let expected = "trust domain mesh.test: authorities 1 (0 added, 0 removed), revocation lists 1 (before 1), \
                    revoked certificates 1 (before 0)";
    assert_eq!(taken_back["detail"], expected);
    assert_eq!(taken_back["changed"], json!({ "total": 1, "names": ["Listener/data"] }));

    fs::write(path("mesh.pem"), "rubbish")?;
    let refused = change("mesh.pem", "refused")?;
    assert!(refused["detail"].as_str().is_some_and(|why| why.starts_with("has no certificate")), "{refused}");

    ground.authority.write_server(&path("cert.pem"), &path("key.pem"))?;
    change("cert.pem", "applied")?;

    let without_servers = ground.site.clone().with("Toolset", "tools", json!({})).text();
    ground.gateway.rewrite(&(without_servers + &ground.key_documents))?;
    let refused = ground.event(&json!({ "kind": "admin_change", "by": "resource files", "outcome": "refused" }))?;
    assert!(refused["detail"].as_str().is_some_and(|why| why.contains("tools")), "{refused}");
    Ok(())
}

#[test]
fn a_node_that_opens_itself_or_makes_a_root_key_says_so_in_its_first_records() -> anyhow::Result<()> {
    let folder = tempfile::tempdir()?;
    fs::write(folder.path().join("resources.yaml"), Site::new().text())?;
    let data = folder.path().join(DATA).to_str().context("a plain name")?.to_owned();
    let mut gateway = Gateway::start_in(folder, &["--data-dir", &data, "--development-identity", "--allow-all"])?;
    gateway.process.terminate(PATIENCE)?;

    let mut show = Command::new(paths::binary("quorate")?);
    let shown = show.args(["audit", "show"]).arg(Path::new(&data).join("audit")).output()?;
    let shown = String::from_utf8(shown.stdout)?;
    assert!(shown.contains("'a root key was made: "), "{shown}");
    let opened = "'callers on loopback are the development identity; everything is allowed, whatever policies say'";
    assert!(shown.contains(opened), "{shown}");
    Ok(())
}

#[test]
fn keys_are_listed_with_their_last_use_and_without_their_secrets() -> anyhow::Result<()> {
    let ground = Ground::new()?;
    assert_eq!(ground.call(&ground.holder(0)?, "now")?, 200);
    assert_eq!(ground.call(&ground.holder(1)?, "now")?, 401);
    let list = |more: &[&str]| {
        let mut command = Command::new(paths::binary("quorate")?);
        let listed =
            command.args(["keys", "list", "--admin", &ground.gateway.admin.to_string()]).args(more).output()?;
        let said = String::from_utf8(listed.stderr)?;
        ensure!(listed.status.success(), "{said}");
        Ok((String::from_utf8(listed.stdout)?, said))
    };

    let (json, _) = list(&["--json"])?;
    let listed: Value = serde_json::from_str(&json)?;
    let keys = listed["keys"].as_array().context("keys")?;
    let key = |name: &str| keys.iter().find(|key| key["name"] == name).cloned().unwrap_or_default();
    let (ci, old) = (key("ci"), key("old"));
    assert_eq!((keys.len(), &ci["id"], &ci["agent"]), (2, &json!(id(&ground.keys[0])), &json!("ci")));
    assert_eq!((&ci["tenant"], &ci["scopes"]), (&json!("default"), &json!(["tools:read"])));
    assert!(ci["lastUsed"].as_str() >= listed["since"].as_str() && ci.get("expires").is_none(), "{json}");
    assert!(old.get("lastUsed").is_none() && old["expires"] == "2020-01-01T00:00:00Z", "{json}");

    let (table, said) = list(&[])?;
    let lines: Vec<&str> = table.lines().collect();
    assert!(lines.len() == 3 && lines[0].starts_with("NAME"), "{table}");
    assert!(lines[1].contains(&format!("qk_{}", id(&ground.keys[0]))) && lines[1].ends_with('Z'), "{table}");
    assert!(lines[2].ends_with('-') && said.contains("last use is known since"), "{table}{said}");

    let documents = fs::read_to_string(ground.gateway.file())?;
    let hmac = documents.lines().find_map(|line| line.trim().strip_prefix("hmac: ")).context("a document")?;
    for secret in [&ground.keys[0][16..], hmac.trim_matches('"')] {
        assert!(!json.contains(secret) && !table.contains(secret), "a secret is listed");
    }
    assert_eq!(http::get(ground.gateway.admin, "/keys?after=nonsense")?.status, 400);
    Ok(())
}

#[test]
fn what_callers_do_again_and_again_is_not_written_to_the_log_each_time() -> anyhow::Result<()> {
    const TRIES: usize = 300;

    let clock = Mcp::new("clock").tools(&["now", "later"]).start()?;
    let folder = tempfile::tempdir()?;
    let (key, ci) = new_key(folder.path(), "ci")?;
    let site = Site::new()
        .with("ToolServer", "clock", json!({ "urls": [clock.url()] }))
        .with("Toolset", "tools", json!({ "servers": ["clock"], "naming": "bare" }))
        .policy(POLICY);
    fs::write(folder.path().join("resources.yaml"), format!("{}\n---\n{ci}", site.text()))?;
    let data = folder.path().join(DATA).to_str().context("a temporary folder has a plain name")?.to_owned();
    let mut gateway = Gateway::start_in(folder, &["--data-dir", &data])?;
    let (stranger, holder) = (Caller::stranger(), Caller::stranger().key(&key));
    let began = Instant::now();
    for _ in 0..TRIES {
        assert_eq!(stranger.call(gateway.address, PATH, "now", &json!({}))?.status, 401);
        holder.call(gateway.address, PATH, "later", &json!({}))?;
    }
    let seconds = began.elapsed().as_secs() as usize + 1;
    let hits = gateway.metric("quorate_limit_hits_total", "log_lines")?;
    gateway.process.terminate(PATIENCE)?;

    let lines = gateway.process.output();
    let about = |text: &str| lines.iter().filter(|line| line.contains(text)).count();
    let written = about("a caller is not known") + about("denied: a Policy");
    assert!(written > 0 && written <= 10 * (seconds + 1), "{written} lines in {seconds} s");
    assert_eq!(written + hits as usize, 2 * TRIES, "what was not written is counted");
    Ok(())
}
