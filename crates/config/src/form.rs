//! The documents as serde and the JSON schema see them.
//!
//! One struct per object of a document; nothing is checked here beyond its type. Doc comments
//! become descriptions in the schema, so they are written for whoever writes the file. Fields
//! that must be there are options with `#[schemars(required)]`: a missing one is reported among
//! all other problems instead of ending the reading. For the same reason items of lists are
//! options: one that was reported is `None`, so that the others keep their index.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::Deserialize;

use crate::limits::{HealthForm, ListenerLimitsForm, ToolServerLimitsForm};
use crate::resource::{Era, Naming, Transport};

/// The most URLs of one tool server.
pub(crate) const URLS_MAX: usize = 64;
/// The most tool servers of one toolset.
pub(crate) const SERVERS_MAX: usize = 256;
/// The most names in any other list.
pub(crate) const LIST_MAX: usize = 256;
/// The most headers that are added to requests to one tool server.
pub(crate) const HEADERS_MAX: usize = 32;

/// An address that clients connect to.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(crate) struct ListenerForm {
    /// The IP address and port to listen on, such as `127.0.0.1:4190` or `[::]:4190`. Port 0
    /// lets the system choose one.
    #[schemars(required)]
    pub(crate) address: Option<String>,
    /// Serve TLS with this certificate.
    pub(crate) tls: Option<TlsForm>,
    /// Serve without TLS also to other machines. A loopback address needs no such permission.
    #[schemars(extend("default" = false))]
    pub(crate) plaintext: Option<bool>,
    /// What must be known of a caller. By default what authentication finds is enough, which on
    /// a loopback address may be the development identity.
    #[schemars(extend("default" = [], "maxItems" = 2, "uniqueItems" = true))]
    pub(crate) requires: Option<Vec<Option<RequirementForm>>>,
    /// The `Host` headers that are answered, each `HOST` or `HOST:PORT`, or `*` for any. By
    /// default `localhost`, `127.0.0.1` and `[::1]` on a loopback address, else any.
    #[schemars(extend("minItems" = 1, "maxItems" = LIST_MAX, "uniqueItems" = true))]
    pub(crate) hosts: Option<Vec<Option<String>>>,
    /// The `Origin` headers of browser pages that are answered, each `SCHEME://HOST[:PORT]`, or
    /// `*` for any. By default pages of this machine on a loopback address, else none.
    #[schemars(extend("maxItems" = LIST_MAX, "uniqueItems" = true))]
    pub(crate) origins: Option<Vec<Option<String>>>,
    /// The names of the toolsets that are served here. By default all of them.
    #[schemars(extend("minItems" = 1, "maxItems" = LIST_MAX, "uniqueItems" = true))]
    pub(crate) toolsets: Option<Vec<Option<String>>>,
    /// The limits of this listener.
    pub(crate) limits: Option<ListenerLimitsForm>,
}

/// The files of a server certificate. They are loaded again when they change. A relative path
/// begins at the folder of the document's file.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(crate) struct TlsForm {
    /// A PEM file with the certificate chain, the leaf first.
    #[schemars(required)]
    pub(crate) certificate: Option<String>,
    /// A PEM file with the private key.
    #[schemars(required)]
    pub(crate) key: Option<String>,
}

/// A part of a principal that must be known.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum RequirementForm {
    /// The workload that calls.
    Agent,
    /// The user on whose behalf it calls.
    User,
}

/// An MCP server behind the mesh.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(crate) struct ToolServerForm {
    /// The URLs of the server's MCP endpoint. Several are replicas of each other.
    #[schemars(required, extend("minItems" = 1, "maxItems" = URLS_MAX, "uniqueItems" = true))]
    pub(crate) urls: Option<Vec<Option<String>>>,
    /// The era of MCP that the server speaks. By default it is found out.
    #[schemars(extend("default" = "auto"))]
    pub(crate) era: Option<EraForm>,
    /// The transport of a server of the legacy era. By default it is found out.
    #[schemars(extend("default" = "auto"))]
    pub(crate) transport: Option<TransportForm>,
    /// How the health of the replicas is judged.
    pub(crate) health: Option<HealthForm>,
    /// The limits towards this server.
    pub(crate) limits: Option<ToolServerLimitsForm>,
    /// Headers that are added to each request, such as an API key. Values never appear in logs
    /// or errors. Headers that the protocol itself sets are refused.
    #[schemars(extend("maxProperties" = HEADERS_MAX, "x-secret" = true))]
    pub(crate) headers: Option<BTreeMap<String, String>>,
}

/// An era of MCP.
#[derive(Clone, Copy, Debug, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum EraForm {
    /// Found out, remembered, and found out again when the server changes.
    Auto,
    /// The revisions with sessions, 2024-11-05 to 2025-11-25.
    Legacy,
    /// The revision without sessions, 2026-07-28.
    Modern,
}

/// A transport of the legacy era.
#[derive(Clone, Copy, Debug, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum TransportForm {
    /// Streamable HTTP, and HTTP+SSE where the server does not know it.
    Auto,
    /// Streamable HTTP (2025-03-26 and later).
    StreamableHttp,
    /// HTTP+SSE (2024-11-05).
    Sse,
}

/// A virtual MCP endpoint over one or more tool servers. The one named `default` is served at
/// `/mcp`, any other at `/mcp/NAME`.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(crate) struct ToolsetForm {
    /// The names of the tool servers, in the order in which their tools are listed.
    #[schemars(required, extend("minItems" = 1, "maxItems" = SERVERS_MAX, "uniqueItems" = true))]
    pub(crate) servers: Option<Vec<Option<String>>>,
    /// How the names of tools and prompts are made. By default `bare` with one server, else
    /// `on-collision`.
    pub(crate) naming: Option<NamingForm>,
}

/// A way to make names.
#[derive(Clone, Copy, Debug, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum NamingForm {
    /// As the server names them; of two servers with the same name the first one has it.
    Bare,
    /// With the server's name in front, always.
    Prefix,
    /// With the server's name in front of those that two servers have.
    OnCollision,
}

// === impl EraForm ===

impl From<EraForm> for Era {
    fn from(form: EraForm) -> Self {
        match form {
            EraForm::Auto => Self::Auto,
            EraForm::Legacy => Self::Legacy,
            EraForm::Modern => Self::Modern,
        }
    }
}

// === impl TransportForm ===

impl From<TransportForm> for Transport {
    fn from(form: TransportForm) -> Self {
        match form {
            TransportForm::Auto => Self::Auto,
            TransportForm::StreamableHttp => Self::StreamableHttp,
            TransportForm::Sse => Self::Sse,
        }
    }
}

// === impl NamingForm ===

impl From<NamingForm> for Naming {
    fn from(form: NamingForm) -> Self {
        match form {
            NamingForm::Bare => Self::Bare,
            NamingForm::Prefix => Self::Prefix,
            NamingForm::OnCollision => Self::OnCollision,
        }
    }
}
