//! One caller at the servers of the operator, through two toolsets that have the same, with policies that change.

use std::sync::Arc;

use anyhow::{Context as _, ensure};
use quorate_tests::{
    raw::{PATIENCE, backend::Backend, gateway::Gateway},
    wait,
};
use serde_json::{Value, json};

use crate::{
    party::Party,
    servers::{self, Book},
    world::{document, new_key},
};

/// The tenant of the caller: the names of what the servers have for it begin so.
pub(crate) const TENANT: &str = "acmeco";
/// The two toolsets.
pub(crate) const COMMON: &str = "/mcp/common";
pub(crate) const TWIN: &str = "/mcp/twin";
/// Everything is allowed.
pub(crate) const ALL: &str = "permit(principal, action, resource);";

/// A gateway, and its one caller.
pub(crate) struct Ground {
    pub(crate) gateway: Gateway,
    pub(crate) party: Party,
    pub(crate) hub: Backend,
    pub(crate) desk: (Backend, Arc<Book>),
    key: String,
}

// === impl Ground ===

impl Ground {
    /// Starts with this policy.
    pub(crate) fn start(policy: &str) -> anyhow::Result<Self> {
        Self::start_with(policy, &json!({}))
    }

    /// Starts with this policy, which reads these arguments.
    pub(crate) fn start_with(policy: &str, arguments: &Value) -> anyhow::Result<Self> {
        let ((hub, _), desk) = (servers::hub()?, servers::desk()?);
        let folder = tempfile::tempdir()?;
        let (key, document) = new_key(folder.path(), TENANT)?;
        let data = folder.path().join("data").to_str().context("a temporary folder has a plain name")?.to_owned();
        std::fs::write(folder.path().join("resources.yaml"), documents(&hub, &desk.0, &document, policy, arguments))?;
        let gateway = Gateway::start_in(folder, &["--data-dir", &data])?;
        let party = Party { address: gateway.address, tenant: TENANT, key };
        Ok(Self { gateway, party, hub, desk, key: document })
    }

    /// Lets another policy hold, and waits until `holds` says that it does.
    pub(crate) fn change(&self, policy: &str, holds: impl Fn() -> anyhow::Result<bool>) -> anyhow::Result<()> {
        self.gateway.rewrite(&documents(&self.hub, &self.desk.0, &self.key, policy, &json!({})))?;
        wait::until("the changed policy", PATIENCE, || {
            ensure!(holds()?, "it does not hold yet");
            Ok(())
        })
    }
}

fn documents(hub: &Backend, desk: &Backend, key: &str, policy: &str, arguments: &Value) -> String {
    let toolset: Value = json!({ "servers": ["hub", "desk"] });
    [
        document(None, "Listener", "data", json!({ "address": "127.0.0.1:0" })),
        document(None, "ToolServer", "hub", json!({ "urls": [hub.url()] })),
        document(None, "ToolServer", "desk", json!({ "urls": [desk.url()] })),
        document(None, "Toolset", "common", toolset.clone()),
        document(None, "Toolset", "twin", toolset),
        document(None, "Policy", "access", json!({ "cedar": policy, "arguments": arguments })),
        key.to_owned(),
    ]
    .join("\n---\n")
}
