//! Two tenants, three agents, two people, an identity provider and four tool servers: who may do what, as one table.
//!
//! The agents show who they are in three ways: `builder` by an API key, `runner` by a client certificate with a SPIFFE id,
//! `robot` by a token that it gets with its own credentials. The people are alice of `acme` and bob of `globex`, each alone
//! or through an agent. A denied call is held against one of a tool that does not exist, and a toolset of another tenant
//! against one that does not exist: the answers may not differ.

use std::{fmt, io::Write as _, path::Path, process::Command};

use anyhow::{Context as _, bail, ensure};
use quorate_tests::{
    paths,
    raw::{PATIENCE, backend::Backend, gateway::Gateway, mcp::Mcp},
};
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::{
    caller::{Answer, Caller},
    certificates::Authority,
    idp::Idp,
    site::Site,
};

/// The data directory of the node, below the folder with its resources.
const DATA: &str = "data";

const RUNNER: &str = "spiffe://mesh.test/runner";

const ACME: &str = r#"
    permit(principal, action in [Action::"mcp:connect", Action::"mcp:list"], resource == Toolset::"work");
    permit(principal in Agent::"builder", action == Action::"mcp:call", resource == Tool::"files/read");
    permit(principal in Agent::"people/robot", action == Action::"mcp:call", resource == Tool::"deploy/plan");
    permit(
        principal in Group::"engineers",
        action in [Action::"mcp:call", Action::"mcp:get", Action::"mcp:read"],
        resource in ToolServer::"files"
    );
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
    permit(principal in User::"people/bob", action == Action::"mcp:call", resource == Tool::"ledger/post")
    when { principal in Agent::"spiffe://mesh.test/runner" };
"#;

const OPERATOR: &str = r#"
    permit(principal, action in [Action::"mcp:connect", Action::"mcp:list"], resource == Toolset::"common");
    permit(principal, action == Action::"mcp:call", resource == Tool::"clock/hour") when { principal has user };
"#;

/// Who tries.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Who {
    Nobody,
    Builder,
    Runner,
    Robot,
    Alice,
    Bob,
    AliceThroughBuilder,
    BobThroughRunner,
    BobThroughBuilder,
}

/// What is tried.
#[derive(Clone, Copy, Debug)]
enum Try {
    Tools,
    Prompts,
    Resources,
    Call(&'static str),
    Write(&'static str),
    Prompt(&'static str),
    Read(&'static str),
}

/// How it must end.
#[derive(Clone, Copy, Debug)]
enum End {
    /// A list with exactly these entries.
    Lists(&'static [&'static str]),
    /// The tool server answers.
    Allowed,
    /// As if there were no such tool, prompt or resource.
    Unknown,
    /// As if there were no such toolset.
    Absent,
    /// 401.
    Challenged,
}

use End::{Absent, Allowed, Challenged, Lists, Unknown};
use Try::{Call, Prompt, Prompts, Read, Resources, Tools, Write};
use Who::{Alice, AliceThroughBuilder, Bob, BobThroughBuilder, BobThroughRunner, Builder, Nobody, Robot, Runner};

const TABLE: [(Who, &str, Try, End); 52] = [
    (Nobody, "work", Tools, Challenged),
    (Nobody, "work", Call("read"), Challenged),
    (Nobody, "books", Call("balance"), Challenged),
    (Nobody, "common", Call("hour"), Challenged),
    (Builder, "work", Tools, Lists(&["read"])),
    (Builder, "work", Prompts, Lists(&[])),
    (Builder, "work", Resources, Lists(&[])),
    (Builder, "work", Call("read"), Allowed),
    (Builder, "work", Write("notes"), Unknown),
    (Builder, "work", Call("release"), Unknown),
    (Builder, "work", Read("file:///readme"), Unknown),
    (Builder, "books", Tools, Absent),
    (Builder, "books", Call("balance"), Absent),
    (Builder, "common", Tools, Lists(&[])),
    (Builder, "common", Call("hour"), Unknown),
    (Robot, "work", Tools, Lists(&["plan"])),
    (Robot, "work", Call("plan"), Allowed),
    (Robot, "work", Call("release"), Unknown),
    (Robot, "work", Call("read"), Unknown),
    (Robot, "work", Prompt("review"), Unknown),
    (Robot, "books", Call("balance"), Absent),
    (Robot, "common", Call("hour"), Unknown),
    (Runner, "books", Tools, Lists(&["balance"])),
    (Runner, "books", Call("balance"), Allowed),
    (Runner, "books", Call("post"), Unknown),
    (Runner, "work", Tools, Absent),
    (Runner, "work", Call("read"), Absent),
    (Runner, "common", Call("hour"), Unknown),
    (Alice, "work", Tools, Lists(&["read", "write"])),
    (Alice, "work", Call("read"), Allowed),
    (Alice, "work", Write("notes"), Allowed),
    (Alice, "work", Write("/etc/passwd"), Unknown),
    (Alice, "work", Call("release"), Unknown),
    (Alice, "work", Prompts, Lists(&["review"])),
    (Alice, "work", Prompt("review"), Allowed),
    (Alice, "work", Resources, Lists(&["file:///readme"])),
    (Alice, "work", Read("file:///readme"), Allowed),
    (Alice, "books", Tools, Absent),
    (Alice, "common", Tools, Lists(&["hour"])),
    (Alice, "common", Call("hour"), Allowed),
    (Bob, "books", Tools, Lists(&["balance"])),
    (Bob, "books", Call("balance"), Allowed),
    (Bob, "books", Call("post"), Unknown),
    (Bob, "work", Call("read"), Absent),
    (Bob, "common", Call("hour"), Allowed),
    (AliceThroughBuilder, "work", Tools, Lists(&["read", "release", "write"])),
    (AliceThroughBuilder, "work", Call("release"), Allowed),
    (AliceThroughBuilder, "work", Call("plan"), Unknown),
    (BobThroughRunner, "books", Tools, Lists(&["balance", "post"])),
    (BobThroughRunner, "books", Call("post"), Allowed),
    (BobThroughBuilder, "work", Call("read"), Challenged),
    (BobThroughBuilder, "books", Call("balance"), Challenged),
];

/// Everything that runs, and what callers show.
struct Ground {
    idp: Idp,
    authority: Authority,
    key: String,
    gateway: Gateway,
    _servers: [Backend; 4],
}

// === impl Ground ===

impl Ground {
    fn new() -> anyhow::Result<Self> {
        let idp = Idp::start()?;
        let files = Mcp::new("files").tools(&["read", "write"]).prompts(&["review"]).resources(&["file:///readme"]);
        let others = [("deploy", ["plan", "release"]), ("ledger", ["balance", "post"])];
        let [deploy, ledger] = others.map(|(name, tools)| Mcp::new(name).tools(&tools).start());
        let servers = [files.start()?, deploy?, ledger?, Mcp::new("clock").tools(&["hour"]).start()?];
        let folder = tempfile::tempdir()?;
        let authority = Authority::new()?;
        authority.write_bundle(&folder.path().join("mesh.pem"))?;
        authority.write_server(&folder.path().join("cert.pem"), &folder.path().join("key.pem"))?;
        let (key, document) = new_key(folder.path())?;
        let text = [site(&idp, &servers).text(), document].join("\n---\n");
        let gateway = start(folder, &text)?;
        Ok(Self { idp, authority, key, gateway, _servers: servers })
    }

    /// What this caller shows to this toolset.
    fn caller(&self, who: Who, toolset: &str) -> anyhow::Result<Caller> {
        let resource = format!("https://{}/mcp/{toolset}", self.gateway.address);
        let person = |name| self.idp.token_of(name, &resource, "mcp");
        let runner = matches!(who, Runner | BobThroughRunner).then(|| self.authority.workload(RUNNER)).transpose()?;
        let caller = Caller::stranger().tls(self.authority.certificate(), runner)?;
        Ok(match who {
            Nobody | Runner => caller,
            Builder => caller.key(&self.key),
            Robot => caller.token(&self.idp.own_token("robot", &resource, "mcp")?),
            Alice => caller.token(&person("alice")?),
            Bob | BobThroughRunner => caller.token(&person("bob")?),
            AliceThroughBuilder => caller.key(&self.key).token(&person("alice")?),
            BobThroughBuilder => caller.key(&self.key).token(&person("bob")?),
        })
    }

    fn attempt(&self, who: Who, toolset: &str, tries: Try) -> anyhow::Result<Answer> {
        let (method, params) = tries.request();
        self.caller(who, toolset)?.request(self.gateway.address, &format!("/mcp/{toolset}"), method, params)
    }

    /// How it ended, as a word of the table; an answer that fits no word is an error.
    fn ends(&self, who: Who, toolset: &str, tries: Try) -> anyhow::Result<String> {
        let answer = self.attempt(who, toolset, tries)?;
        if answer.status == 401 {
            ensure!(answer.challenge.is_some(), "401 without a challenge");
            return Ok("challenged".to_owned());
        }
        if let Some(names) = tries.names(&answer.message["result"]) {
            return Ok(format!("lists [{}]", names.join(", ")));
        }
        if answer.message.get("result").is_some() {
            return Ok("allowed".to_owned());
        }
        let nowhere = self.attempt(who, "nothing", tries)?;
        if said(&answer, toolset) == said(&nowhere, "nothing") {
            return Ok("absent".to_owned());
        }
        let (name, other) = tries.missing().context("a list was not answered with one")?;
        let missing = self.attempt(who, toolset, other)?;
        if said(&answer, name) == said(&missing, MISSING) {
            return Ok("unknown".to_owned());
        }
        bail!("answered {}: {}", answer.status, answer.message)
    }
}

/// Ends the node and looks at its audit log: whole, with what was denied, and without a credential.
fn check_audit(mut ground: Ground) -> anyhow::Result<()> {
    ground.gateway.process.terminate(PATIENCE)?;
    let folder = ground.gateway.folder.path().join(DATA).join("audit");
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
    ensure!(records.contains("\"authentication_failed\""), "refused callers are not recorded: {records}");
    let secret = ground.key.rsplit('_').next().unwrap_or_default();
    ensure!(!records.contains(secret) && !records.contains("eyJ"), "a credential is in the audit log");
    Ok(())
}

/// The name of something that is nowhere.
const MISSING: &str = "file:///nonesuch";

/// Status and error, without the name that was asked for. The id of the request is not in it: what is refused before its
/// body is read is refused without.
fn said(answer: &Answer, name: &str) -> (u16, String) {
    (answer.status, answer.message["error"].to_string().replace(name, "…"))
}

// === impl Try ===

impl Try {
    fn request(self) -> (&'static str, Value) {
        match self {
            Tools => ("tools/list", json!({})),
            Prompts => ("prompts/list", json!({})),
            Resources => ("resources/list", json!({})),
            Call(tool) => ("tools/call", json!({ "name": tool, "arguments": {} })),
            Write(path) => ("tools/call", json!({ "name": "write", "arguments": { "path": path } })),
            Prompt(name) => ("prompts/get", json!({ "name": name })),
            Read(uri) => ("resources/read", json!({ "uri": uri })),
        }
    }

    /// What it names, and the same with the name of what is nowhere.
    fn missing(self) -> Option<(&'static str, Self)> {
        match self {
            Tools | Prompts | Resources => None,
            Call(tool) => Some((tool, Call(MISSING))),
            Write(_) => Some(("write", Call(MISSING))),
            Prompt(name) => Some((name, Prompt(MISSING))),
            Read(uri) => Some((uri, Read(MISSING))),
        }
    }

    /// The names in a list, in order.
    fn names(self, result: &Value) -> Option<Vec<String>> {
        let (items, key) = match self {
            Tools => ("tools", "name"),
            Prompts => ("prompts", "name"),
            Resources => ("resources", "uri"),
            Call(_) | Write(_) | Prompt(_) | Read(_) => return None,
        };
        let items = result[items].as_array()?;
        let mut names: Vec<_> = items.iter().filter_map(|item| item[key].as_str().map(str::to_owned)).collect();
        names.sort();
        Some(names)
    }
}

impl fmt::Display for Try {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Tools => f.write_str("list tools"),
            Prompts => f.write_str("list prompts"),
            Resources => f.write_str("list resources"),
            Call(tool) => write!(f, "call {tool}"),
            Write(path) => write!(f, "call write {path}"),
            Prompt(name) => write!(f, "get {name}"),
            Read(uri) => write!(f, "read {uri}"),
        }
    }
}

impl fmt::Display for End {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Lists(names) => write!(f, "lists [{}]", names.join(", ")),
            Allowed => f.write_str("allowed"),
            Unknown => f.write_str("unknown"),
            Absent => f.write_str("absent"),
            Challenged => f.write_str("challenged"),
        }
    }
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
        .of(acme, "Toolset", "work", json!({ "servers": ["files", "deploy"], "naming": "bare" }))
        .of(globex, "Toolset", "books", json!({ "servers": ["ledger"], "naming": "bare" }))
        .with("Toolset", "common", json!({ "servers": ["clock"], "naming": "bare" }))
        .of(acme, "Policy", "acme", json!({ "cedar": ACME, "arguments": { "path": "string" } }))
        .of(globex, "Policy", "globex", json!({ "cedar": GLOBEX }))
        .with("Policy", "operator", json!({ "cedar": OPERATOR }))
}

/// Makes the API key of `builder` as an operator does: the key, and the document that knows it.
fn new_key(folder: &Path) -> anyhow::Result<(String, String)> {
    let secret = folder.join("builder.key");
    let made = Command::new(paths::binary("quorate")?)
        .args(["keys", "new", "--name", "builder", "--tenant", "acme", "--data-dir"])
        .arg(folder.join(DATA))
        .arg("--secret-out")
        .arg(&secret)
        .output()?;
    ensure!(made.status.success(), "no key: {}", String::from_utf8_lossy(&made.stderr));
    let key = std::fs::read_to_string(&secret)?.trim().to_owned();
    let document = String::from_utf8(made.stdout)?;
    ensure!(!document.contains(&key), "the document shows the key");
    Ok((key, document))
}

fn start(folder: TempDir, text: &str) -> anyhow::Result<Gateway> {
    std::fs::write(folder.path().join("resources.yaml"), text)?;
    let data = folder.path().join(DATA);
    let data = data.to_str().context("a temporary folder has a plain name")?.to_owned();
    Gateway::start_in(folder, &["--data-dir", &data])
}

#[test]
fn each_caller_may_do_what_policy_says_and_nothing_else() -> anyhow::Result<()> {
    let ground = Ground::new()?;

    let mut page = String::from("\ncaller              | toolset | tried                  | ends\n");
    let mut wrong = Vec::new();
    for (who, toolset, tries, expected) in TABLE {
        let ends = ground.ends(who, toolset, tries).unwrap_or_else(|error| format!("{error:#}"));
        let line = format!("{:<19} | {toolset:<7} | {:<22} | {ends}", format!("{who:?}"), tries.to_string());
        if ends != expected.to_string() {
            wrong.push(format!("{line}, not {expected}"));
        }
        page.push_str(&format!("{line}\n"));
    }

    std::io::stdout().write_all(page.as_bytes())?;
    ensure!(wrong.is_empty(), "{} of {} end otherwise:\n{}", wrong.len(), TABLE.len(), wrong.join("\n"));
    check_audit(ground)
}
