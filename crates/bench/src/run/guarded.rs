//! Calls of a caller who shows an API key, decided by policies: what identity and policy add to the plain calls.
//!
//! The gateway serves what a folder says: a key, 200 policies of which most are about others, and the backend behind a
//! toolset. Everything that the load does is allowed by two of them. The key is made as `quorate keys new` makes one.

use std::net::{SocketAddr, TcpListener};
use std::os::unix::fs::PermissionsExt as _;

use anyhow::{Context, Result};
use quorate_identity::api_key::{Fresh, MacKey};
use serde::Serialize;
use serde_json::{Value, json};

use super::gateway::{Gateway, Served};
use super::resources::{Resources, Setting};
use super::speed::{CpuRound, Parts};
use crate::message::Measure;

/// Policies of the node: those that the numbers of policy are promised for.
const POLICIES: usize = 200;
/// The root key of the node.
const ROOT: [u8; 32] = [7; 32];

/// Calls under identity and policy.
#[derive(Debug, Serialize)]
pub(crate) struct Guarded {
    /// Rounds of the modern call.
    pub(crate) modern_call: Vec<CpuRound>,
    /// Rounds of the legacy call.
    pub(crate) legacy_call: Vec<CpuRound>,
    /// Rounds of the list.
    pub(crate) tools_list: Vec<CpuRound>,
}

// === impl Guarded ===

impl Guarded {
    /// Measures.
    ///
    /// # Errors
    /// When the gateway does not start, or a load fails.
    pub(crate) async fn measure(setting: &Setting<'_>) -> Result<Self> {
        let Setting { bench, quorate, backend, backend_url, sink, plan } = setting;
        let (listen, admin) = (free_address()?, free_address()?);
        let key = Fresh::new([5; 8], [6; 32]);
        let resources = Resources::new(&documents(listen, backend_url, &key))?.with("root.key", &hex(&ROOT))?;
        let root = resources.folder().join("root.key");
        std::fs::set_permissions(&root, std::fs::Permissions::from_mode(0o600)).context("the root key")?;
        let served = Served { listen, admin, bearer: key.expose(), data_dir: resources.folder() };
        let gateway = Gateway::serve(quorate, &resources.flags(), served, sink).await?;
        let parts = Parts { bench, backend, backend_url, gateway: &gateway };
        let this = Self {
            modern_call: parts.cpu(Measure::ModernCall, plan).await?,
            legacy_call: parts.cpu(Measure::LegacyCall, plan).await?,
            tools_list: parts.cpu(Measure::ToolsList, plan).await?,
        };
        gateway.end().await?;
        Ok(this)
    }
}

/// An address that nobody listens on at the moment.
fn free_address() -> Result<SocketAddr> {
    Ok(TcpListener::bind("127.0.0.1:0").context("a free port")?.local_addr()?)
}

fn documents(listen: SocketAddr, backend_url: &str, key: &Fresh) -> Vec<Value> {
    let mac = MacKey::of_root(&ROOT).mac(key).to_string();
    let others: Vec<String> = (2..POLICIES)
        .map(|number| {
            format!(
                "permit(principal in Group::\"team-{number}\", action == Action::\"mcp:call\", \
                 resource == Tool::\"bench/tool-{number}\") when {{ principal has user }};"
            )
        })
        .collect();
    let own = "permit(principal in Agent::\"bench\", action in [Action::\"mcp:connect\", Action::\"mcp:list\"], \
               resource == Toolset::\"default\");\n\
               permit(principal in Agent::\"bench\", action == Action::\"mcp:call\", resource in ToolServer::\"bench\");";
    vec![
        json!({ "kind": "Listener", "name": "data", "spec": { "address": listen.to_string() } }),
        json!({ "kind": "ToolServer", "name": "bench", "spec": { "urls": [backend_url] } }),
        json!({ "kind": "Toolset", "name": "default", "spec": { "servers": ["bench"] } }),
        json!({ "kind": "ApiKey", "name": "bench", "spec": { "keys": [{ "id": key.id.to_string(), "hmac": mac }] } }),
        json!({ "kind": "Policy", "name": "bench", "spec": { "cedar": format!("{own}\n{}", others.join("\n")) } }),
    ]
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}
