//! What the table of combinations is tried on: a provider, four tool servers, and a node for two tenants.
//!
//! The agents show who they are in three ways: `builder` by an API key, `runner` by a client certificate with a SPIFFE id,
//! `robot` by a token that it gets with its own credentials. The people are alice of `acme` and bob of `globex`, each alone
//! or through an agent. Callers, their sessions and their tasks are made when they are first needed, and kept.

use std::{cell::RefCell, collections::HashMap, process::Command};

use anyhow::{Context as _, bail, ensure};
use quorate_tests::{
    paths,
    raw::{PATIENCE, backend::Backend, gateway::Gateway, mcp::Mcp, session::initialize_message},
};
use serde_json::{Value, json};

use crate::{
    caller::{Answer, Caller, LEGACY},
    certificates::Authority,
    combinations::{Era, Try, Who},
    idp::Idp,
    keys,
    site::Site,
};

const RUNNER: &str = "spiffe://mesh.test/runner";

/// The name of something that is nowhere.
pub(crate) const MISSING: &str = "file:///nonesuch";

const ACME: &str = r#"
    permit(principal, action in [Action::"mcp:connect", Action::"mcp:list"], resource == Toolset::"work");
    permit(principal in Agent::"builder", action == Action::"mcp:connect", resource == Toolset::"desk");
    permit(
        principal in Group::"engineers",
        action in [Action::"mcp:connect", Action::"mcp:list"],
        resource == Toolset::"desk"
    );
    permit(principal in Agent::"builder", action == Action::"mcp:call", resource == Tool::"files/read");
    permit(principal in Agent::"people/robot", action == Action::"mcp:call", resource == Tool::"deploy/plan");
    permit(principal in Agent::"people/robot", action == Action::"mcp:complete", resource == Prompt::"files/review");
    permit(
        principal in Agent::"people/robot",
        action == Action::"mcp:subscribe",
        resource == Resource::"files/file:///readme"
    );
    permit(
        principal in Group::"engineers",
        action in [Action::"mcp:call", Action::"mcp:get", Action::"mcp:read"],
        resource in ToolServer::"files"
    );
    permit(principal in User::"people/alice", action == Action::"mcp:complete", resource == Prompt::"files/review")
    unless { principal in Agent::"builder" };
    permit(
        principal in User::"people/alice",
        action in [Action::"mcp:complete", Action::"mcp:subscribe"],
        resource == Resource::"files/file:///readme"
    ) unless { principal in Agent::"builder" };
    permit(principal in User::"people/alice", action == Action::"mcp:subscribe", resource == Toolset::"work")
    unless { principal in Agent::"builder" };
    permit(
        principal in User::"people/alice",
        action == Action::"mcp:call",
        resource == Tool::"deploy/release"
    ) when { principal in Agent::"builder" };
    forbid(principal, action == Action::"mcp:call", resource == Tool::"files/write")
    when { context.arguments has path && context.arguments.path like "/etc/*" };
"#;

const GLOBEX: &str = r#"
    permit(principal, action in [Action::"mcp:connect", Action::"mcp:list"], resource == Toolset::"books");
    permit(principal, action == Action::"mcp:call", resource == Tool::"ledger/balance");
    permit(principal, action == Action::"mcp:subscribe", resource == Toolset::"books") unless { principal has user };
    permit(principal in User::"people/bob", action == Action::"mcp:call", resource == Tool::"ledger/post")
    when { principal in Agent::"spiffe://mesh.test/runner" };
"#;

const OPERATOR: &str = r#"
    permit(principal, action in [Action::"mcp:connect", Action::"mcp:list"], resource == Toolset::"common");
    permit(principal, action == Action::"mcp:call", resource == Tool::"clock/hour") when { principal has user };
"#;

/// Everything that runs, and what callers show.
pub(crate) struct Ground {
    idp: Idp,
    authority: Authority,
    key: String,
    gateway: Gateway,
    callers: RefCell<HashMap<(Who, String), Caller>>,
    /// The ids of open sessions.
    sessions: RefCell<HashMap<(Who, String), String>>,
    /// The ids of tasks that were begun.
    tasks: RefCell<HashMap<(Era, Who), String>>,
    _servers: [Backend; 4],
}

// === impl Ground ===

impl Ground {
    /// Starts it.
    pub(crate) fn new() -> anyhow::Result<Self> {
        let idp = Idp::start()?;
        let deploy = Mcp::new("deploy").tools(&["plan", "release"]).tasks().listens();
        let ledger = Mcp::new("ledger").tools(&["balance", "post"]).listens();
        let servers = [files().start()?, deploy.start()?, ledger.start()?, Mcp::new("clock").tools(&["hour"]).start()?];
        let folder = tempfile::tempdir()?;
        let authority = Authority::new()?;
        authority.write_bundle(&folder.path().join("mesh.pem"))?;
        authority.write_server(&folder.path().join("cert.pem"), &folder.path().join("key.pem"))?;
        let (key, document) = keys::make(&folder, "builder", &["--tenant", "acme"])?;
        let text = [site(&idp, &servers).text(), document].join("\n---\n");
        let gateway = keys::start(folder, &text)?;
        let (callers, sessions, tasks) = Default::default();
        Ok(Self { idp, authority, key, gateway, callers, sessions, tasks, _servers: servers })
    }

    /// What this caller shows to this toolset.
    fn caller(&self, who: Who, toolset: &str) -> anyhow::Result<Caller> {
        let key = (who, toolset.to_owned());
        if let Some(known) = self.callers.borrow().get(&key) {
            return Ok(known.clone());
        }
        let resource = format!("https://{}/mcp/{toolset}", self.gateway.address);
        let person = |name| self.idp.token_of(name, &resource, "mcp");
        let is_runner = matches!(who, Who::Runner | Who::BobThroughRunner);
        let runner = is_runner.then(|| self.authority.workload(RUNNER)).transpose()?;
        let caller = Caller::stranger().tls(self.authority.certificate(), runner)?;
        let caller = match who {
            Who::Nobody | Who::Runner => caller,
            Who::Builder => caller.key(&self.key),
            Who::Robot => caller.token(&self.idp.own_token("robot", &resource, "mcp")?),
            Who::Alice => caller.token(&person("alice")?),
            Who::Bob | Who::BobThroughRunner => caller.token(&person("bob")?),
            Who::AliceThroughBuilder => caller.key(&self.key).token(&person("alice")?),
            Who::BobThroughBuilder => caller.key(&self.key).token(&person("bob")?),
        };
        self.callers.borrow_mut().insert(key, caller.clone());
        Ok(caller)
    }

    /// The session of this caller, or how it is refused.
    fn session(&self, who: Who, toolset: &str) -> anyhow::Result<Result<String, Answer>> {
        let key = (who, toolset.to_owned());
        if let Some(known) = self.sessions.borrow().get(&key) {
            return Ok(Ok(known.clone()));
        }
        let (caller, to, path) = (self.caller(who, toolset)?, self.gateway.address, format!("/mcp/{toolset}"));
        let answer = caller.tell(to, &path, None, &initialize_message(LEGACY))?;
        let Some(id) = answer.header("mcp-session-id").map(str::to_owned) else { return Ok(Err(answer)) };
        let told = json!({ "jsonrpc": "2.0", "method": "notifications/initialized" });
        let told = caller.tell(to, &path, Some(&id), &told)?;
        ensure!(told.status == 202, "a notification is answered {}", told.status);
        self.sessions.borrow_mut().insert(key, id.clone());
        Ok(Ok(id))
    }

    /// The id of a task that somebody began on `work`; that of nobody is none.
    fn task(&self, era: Era, whose: Who) -> anyhow::Result<String> {
        let tool = match whose {
            Who::Robot => "plan",
            Who::AliceThroughBuilder => "release",
            _ => return Ok(MISSING.to_owned()),
        };
        if let Some(known) = self.tasks.borrow().get(&(era, whose)) {
            return Ok(known.clone());
        }
        let answer = self.attempt(era, whose, "work", Try::Begin(tool))?;
        let result = &answer.message["result"];
        let id = result["taskId"].as_str().or(result["task"]["taskId"].as_str());
        let id = id.with_context(|| format!("{whose:?} begins no task: {}", answer.message))?.to_owned();
        self.tasks.borrow_mut().insert((era, whose), id.clone());
        Ok(id)
    }

    fn attempt(&self, era: Era, who: Who, toolset: &str, tries: Try) -> anyhow::Result<Answer> {
        let task = match tries {
            Try::Follow(whose) => self.task(era, whose)?,
            _ => String::new(),
        };
        let (method, params) = tries.request(era, &task).context("this era has no such request")?;
        let (to, path) = (self.gateway.address, format!("/mcp/{toolset}"));
        let caller = self.caller(who, toolset)?;
        match era {
            Era::Stateless if tries.is_stream(era) => caller.listen(to, &path, method, params),
            Era::Stateless => caller.request(to, &path, method, params),
            Era::Session => match self.session(who, toolset)? {
                Ok(id) => {
                    let message = json!({ "jsonrpc": "2.0", "id": 1, "method": method, "params": params });
                    caller.tell(to, &path, Some(&id), &message)
                }
                Err(refused) => Ok(refused),
            },
        }
    }

    /// How it ended, as a word of the table; an answer that fits no word is an error.
    pub(crate) fn ends(&self, era: Era, who: Who, toolset: &str, tries: Try) -> anyhow::Result<String> {
        // A list of tasks is about those that there are.
        for whose in [Who::Robot, Who::AliceThroughBuilder].into_iter().filter(|_| matches!(tries, Try::Tasks)) {
            self.task(era, whose)?;
        }
        let answer = self.attempt(era, who, toolset, tries)?;
        if answer.status == 401 {
            ensure!(answer.challenge.is_some(), "401 without a challenge");
            return Ok("challenged".to_owned());
        }
        if answer.status == 403 {
            let text = answer.message["error"]["message"].as_str().unwrap_or_default();
            ensure!(text.starts_with("`mcp:") && text.ends_with("` is denied"), "403 says {text:?}");
            return Ok("denied".to_owned());
        }
        if let Some(names) = tries.names(&answer.message["result"]) {
            return Ok(format!("lists [{}]", names.join(", ")));
        }
        if answer.message.get("result").is_some() || is_honoured(&answer) {
            return Ok("allowed".to_owned());
        }
        let nowhere = self.attempt(era, who, "nothing", tries)?;
        if said(&answer, toolset) == said(&nowhere, "nothing") {
            return Ok("absent".to_owned());
        }
        let (name, other) = tries.missing().with_context(|| format!("no list, but {}", answer.message))?;
        let missing = self.attempt(era, who, toolset, other)?;
        if said(&answer, name) == said(&missing, MISSING) {
            return Ok("unknown".to_owned());
        }
        bail!("answered {}: {}", answer.status, answer.message)
    }
}

/// Whether a subscription is taken, for some of what it asks.
fn is_honoured(answer: &Answer) -> bool {
    let honoured = answer.message["params"]["notifications"].as_object();
    let is_some = |value: &Value| value == true || value.as_array().is_some_and(|items| !items.is_empty());
    answer.message["method"] == "notifications/subscriptions/acknowledged"
        && honoured.is_some_and(|honoured| honoured.values().any(is_some))
}

/// Status and error, or what of a subscription is taken, without the name that was asked for. The id of the request is not in
/// it: what is refused before its body is read is refused without.
fn said(answer: &Answer, name: &str) -> (u16, String) {
    let told = answer.message.get("error").unwrap_or(&answer.message["params"]);
    (answer.status, told.to_string().replace(name, "…"))
}

/// Ends the node and looks at its audit log: whole, with what was denied, and without a credential.
pub(crate) fn check_audit(mut ground: Ground) -> anyhow::Result<()> {
    ground.gateway.process.terminate(PATIENCE)?;
    let folder = ground.gateway.folder.path().join(keys::DATA).join("audit");
    let audit = |arguments: &[&str]| {
        let printed = Command::new(paths::binary("quorate")?).arg("audit").args(arguments).arg(&folder).output()?;
        let said = String::from_utf8_lossy(&printed.stderr).into_owned();
        ensure!(printed.status.success(), "audit {arguments:?}: {said}");
        Ok(String::from_utf8(printed.stdout)?)
    };
    audit(&["verify"])?;
    let records = audit(&["show", "--json", "--last", "1000"])?;
    let denied = |of: &str| records.lines().any(|line| line.contains("\"denied\"") && line.contains(of));
    ensure!(denied("\"builder\"") && denied("people/bob"), "denials are not recorded: {records}");
    for action in ["connect", "list", "call", "get", "read", "complete", "subscribe"] {
        ensure!(denied(&format!("\"mcp:{action}\"")), "denials of mcp:{action} are not recorded: {records}");
    }
    ensure!(records.contains("\"authentication_failed\""), "refused callers are not recorded: {records}");
    let secret = ground.key.rsplit('_').next().unwrap_or_default();
    ensure!(!records.contains(secret) && !records.contains("eyJ"), "a credential is in the audit log");
    Ok(())
}

/// The server of files, with a template among its resources.
fn files() -> Mcp {
    let files =
        Mcp::new("files").tools(&["read", "write"]).prompts(&["review"]).resources(&["file:///readme"]).listens();
    files.on("resources/templates/list", |seen, out| {
        let mut result = json!({ "resourceTemplates": [{ "name": "docs", "uriTemplate": "file:///docs/{page}" }] });
        if seen.is_modern() {
            result["resultType"] = json!("complete");
            result["ttlMs"] = json!(60_000);
            result["cacheScope"] = json!("public");
        }
        out.result(seen, &result);
    })
}

/// The resources of both tenants and of the operator.
fn site(idp: &Idp, servers: &[Backend; 4]) -> Site {
    let [acme, globex] = [Some("acme"), Some("globex")];
    let server = |at: usize| json!({ "urls": [servers[at].url()] });
    let people = json!({ "oidc": {
        "issuer": idp.issuer, "groupsClaim": "groups",
        "tenantClaim": { "claim": "org", "values": { "acme": "acme", "globex": "globex" } },
    }});
    let listener = json!({
        "address": "127.0.0.1:0", "tls": { "certificate": "cert.pem", "key": "key.pem", "clients": {} },
    });
    let of_both = json!(["files", "deploy"]);
    Site::default()
        .with("Listener", "data", listener)
        .with("Tenant", "acme", json!({}))
        .with("Tenant", "globex", json!({}))
        .with("Issuer", "people", people)
        .of(globex, "Issuer", "mesh", json!({ "spiffe": { "trustDomain": "mesh.test", "bundle": ["mesh.pem"] } }))
        .of(acme, "ToolServer", "files", server(0))
        .of(acme, "ToolServer", "deploy", server(1))
        .of(globex, "ToolServer", "ledger", server(2))
        .with("ToolServer", "clock", server(3))
        .of(acme, "Toolset", "work", json!({ "servers": of_both, "naming": "bare" }))
        .of(acme, "Toolset", "desk", json!({ "servers": of_both, "naming": "bare", "search": {} }))
        .of(globex, "Toolset", "books", json!({ "servers": ["ledger"], "naming": "bare" }))
        .with("Toolset", "common", json!({ "servers": ["clock"], "naming": "bare" }))
        .of(acme, "Policy", "acme", json!({ "cedar": ACME, "arguments": { "path": "string" } }))
        .of(globex, "Policy", "globex", json!({ "cedar": GLOBEX }))
        .with("Policy", "operator", json!({ "cedar": OPERATOR }))
}
