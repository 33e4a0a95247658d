//! The gateway, its servers and its two tenants.

use std::{path::Path, process::Command, sync::Arc};

use anyhow::{Context as _, ensure};
use quorate_tests::{
    paths,
    raw::{backend::Backend, gateway::Gateway},
};
use serde_json::{Value, json};

use crate::{
    party::Party,
    servers::{self, Book},
};

/// The tenants. Names of all that is a tenant's begin with its own; [`COUNTERFEIT`] is as long.
pub(crate) const TENANTS: [&str; 2] = ["acmeco", "globex"];
/// What stands for a tenant in a counterfeit.
pub(crate) const COUNTERFEIT: &str = "nobody";
/// The toolset of the operator's that both use.
pub(crate) const COMMON: &str = "/mcp/common";
/// The toolset of the operator's whose lists have pages.
pub(crate) const WIDE: &str = "/mcp/wide";

/// Everything that runs.
pub(crate) struct World {
    pub(crate) parties: [Party; 2],
    pub(crate) desk: Arc<Book>,
    books: Vec<Arc<Book>>,
    _gateway: Gateway,
    _servers: Vec<Backend>,
}

// === impl World ===

impl World {
    pub(crate) fn start() -> anyhow::Result<Self> {
        let ((hub, hubs), (desk, desks), wide) = (servers::hub()?, servers::desk()?, servers::wide()?);
        let mut documents = vec![
            document(None, "Listener", "data", json!({ "address": "127.0.0.1:0" })),
            document(None, "ToolServer", "hub", json!({ "urls": [hub.url()] })),
            document(None, "ToolServer", "desk", json!({ "urls": [desk.url()] })),
            document(None, "ToolServer", "wide", json!({ "urls": [wide.url()] })),
            document(None, "Toolset", "common", json!({ "servers": ["hub", "desk"], "search": {} })),
            document(None, "Toolset", "wide", json!({ "servers": ["wide"] })),
            document(None, "Policy", "operator", json!({ "cedar": TENANTS.map(permits).concat() })),
        ];
        let (mut servers, mut books) = (vec![hub, desk, wide], vec![hubs, Arc::clone(&desks)]);
        let (folder, mut keys) = (tempfile::tempdir()?, Vec::new());
        for tenant in TENANTS {
            let (own, book) = servers::own(tenant)?;
            let (name, of) = (format!("{tenant}-files"), Some(tenant));
            documents.push(document(of, "ToolServer", &name, json!({ "urls": [own.url()] })));
            documents.push(document(of, "Toolset", &format!("{tenant}-tools"), json!({ "servers": [name] })));
            let policy = format!("permit(principal, action, resource in Toolset::\"{tenant}-tools\");");
            documents.push(document(of, "Policy", tenant, json!({ "cedar": policy })));
            let (key, text) = new_key(folder.path(), tenant)?;
            keys.push(key);
            documents.push(text);
            servers.push(own);
            books.push(book);
        }
        std::fs::write(folder.path().join("resources.yaml"), documents.join("\n---\n"))?;
        let data = folder.path().join("data").to_str().context("a temporary folder has a plain name")?.to_owned();
        let gateway = Gateway::start_in(folder, &["--data-dir", &data])?;
        let address = gateway.address;
        let mut keys = keys.into_iter();
        let parties = TENANTS.map(|tenant| Party { address, tenant, key: keys.next().unwrap_or_default() });
        Ok(Self { parties, desk: desks, books, _gateway: gateway, _servers: servers })
    }

    /// How many requests named something of this tenant, at servers that are not its rival's own.
    pub(crate) fn mentions(&self, tenant: &str) -> usize {
        let rivals = TENANTS.iter().position(|known| *known != tenant).expect("there are two");
        let of_rival = 2 + rivals; // After the operator's two, in the order of the tenants.
        let others = self.books.iter().enumerate().filter(|(place, _)| *place != of_rival);
        others.map(|(_, book)| book.mentions(tenant)).sum()
    }
}

/// What the operator lets a tenant do on its toolsets: with what begins with the tenant's name.
fn permits(tenant: &str) -> String {
    let who = format!("principal in Tenant::\"{tenant}\"");
    let own = format!("when {{ resource has exposed && resource.exposed like \"{tenant}*\" }}");
    format!(
        r#"
        permit({who}, action in [Action::"mcp:connect", Action::"mcp:list", Action::"mcp:subscribe"],
            resource == Toolset::"common");
        permit({who}, action in [Action::"mcp:call", Action::"mcp:get", Action::"mcp:read", Action::"mcp:complete"],
            resource in Toolset::"common") {own};
        permit({who}, action == Action::"mcp:subscribe", resource in Toolset::"common") {own};
        permit({who}, action == Action::"mcp:elicit", resource == ToolServer::"desk");
        permit({who}, action in [Action::"mcp:connect", Action::"mcp:list"], resource == Toolset::"wide");
        permit({who}, action == Action::"mcp:get", resource in ToolServer::"wide");
        "#
    )
}

pub(crate) fn document(tenant: Option<&str>, kind: &str, name: &str, spec: Value) -> String {
    let mut document = json!({ "kind": kind, "name": name, "spec": spec });
    if let Some(tenant) = tenant {
        document["tenant"] = json!(tenant);
    }
    document.to_string()
}

/// Makes the API key of a tenant's agent as an operator does: the key, and the document that knows it.
pub(crate) fn new_key(folder: &Path, tenant: &str) -> anyhow::Result<(String, String)> {
    let secret = folder.join(format!("{tenant}.key"));
    let made = Command::new(paths::binary("quorate")?)
        .args(["keys", "new", "--name", &format!("{tenant}-agent"), "--tenant", tenant, "--data-dir"])
        .arg(folder.join("data"))
        .arg("--secret-out")
        .arg(&secret)
        .output()?;
    ensure!(made.status.success(), "no key: {}", String::from_utf8_lossy(&made.stderr));
    Ok((std::fs::read_to_string(&secret)?.trim().to_owned(), String::from_utf8(made.stdout)?))
}
