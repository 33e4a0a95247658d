//! A gateway with resources that a test puts together, document by document.

use quorate_tests::raw::{backend::Backend, gateway::Gateway, mcp::Mcp};
use serde_json::{Value, json};

use crate::{
    caller::{Answer, Caller},
    idp::Idp,
};

/// Where the toolset of [`Site::start_with_clock`] is.
const TOOLS: &str = "/mcp/tools";

/// Resources to be.
#[derive(Clone, Debug, Default)]
pub(crate) struct Site {
    documents: Vec<Value>,
}

// === impl Site ===

impl Site {
    /// Resources with a listener on a free port of loopback.
    pub(crate) fn new() -> Self {
        Self::default().with("Listener", "data", json!({ "address": "127.0.0.1:0" }))
    }

    /// Adds a document of the operator.
    pub(crate) fn with(self, kind: &str, name: &str, spec: Value) -> Self {
        self.of(None, kind, name, spec)
    }

    /// Adds a document of a tenant.
    pub(crate) fn of(mut self, tenant: Option<&str>, kind: &str, name: &str, spec: Value) -> Self {
        let mut document = json!({ "kind": kind, "name": name, "spec": spec });
        if let Some(tenant) = tenant {
            document["tenant"] = json!(tenant);
        }
        self.documents.push(document);
        self
    }

    /// Adds an issuer whose tokens carry groups: the identity provider, by its signed tokens.
    pub(crate) fn signed_by(self, idp: &Idp) -> Self {
        self.with("Issuer", "people", json!({ "oidc": { "issuer": idp.issuer, "groupsClaim": "groups" } }))
    }

    /// Adds a policy in Cedar.
    pub(crate) fn policy(self, cedar: &str) -> Self {
        self.with("Policy", "access", json!({ "cedar": cedar }))
    }

    /// The text of the file. JSON is YAML, and documents are separated as in YAML.
    pub(crate) fn text(&self) -> String {
        self.documents.iter().map(Value::to_string).collect::<Vec<_>>().join("\n---\n")
    }

    /// Starts the gateway, which denies what no policy allows.
    pub(crate) fn start(&self) -> anyhow::Result<Gateway> {
        Gateway::start(&self.text(), &[])
    }

    /// Starts it with a clock, which says `clock:now`, as the only server of its only toolset: the clock, the gateway, and
    /// the URL that tokens have to be for.
    pub(crate) fn start_with_clock(self) -> anyhow::Result<(Backend, Gateway, String)> {
        let clock = Mcp::new("clock").tools(&["now"]).start()?;
        let site = self.with("ToolServer", "clock", json!({ "urls": [clock.url()] })).with(
            "Toolset",
            "tools",
            json!({ "servers": ["clock"], "naming": "bare" }),
        );
        let gateway = site.start()?;
        let resource = format!("http://{}{TOOLS}", gateway.address);
        Ok((clock, gateway, resource))
    }
}

/// Asks the clock, with a token.
pub(crate) fn call(gateway: &Gateway, token: &str) -> anyhow::Result<Answer> {
    Caller::stranger().token(token).call(gateway.address, TOOLS, "now", &json!({}))
}
