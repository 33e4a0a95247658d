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

use crate::limits::{HealthForm, ListenerLimitsForm, StdioLimitsForm, ToolServerLimitsForm};
use crate::resource::{Era, Naming, Transport};
use crate::stdio::Isolation;

pub(crate) mod credential;
pub(crate) mod identity;
pub(crate) mod issuer;
pub(crate) mod model;
pub(crate) mod toolset;

pub(crate) use credential::CredentialForm;
pub(crate) use identity::{ApiKeyForm, PolicyForm, TenantForm};
pub(crate) use issuer::IssuerForm;
pub(crate) use model::{ModelForm, ProviderForm};
pub(crate) use toolset::ToolsetForm;

/// The most URLs of one tool server.
pub(crate) const URLS_MAX: usize = 64;
/// The most names in any other list.
pub(crate) const LIST_MAX: usize = 256;
/// The largest index of a document's server; documents have a handful.
pub(crate) const SERVER_INDEX_MAX: u32 = 1_000;
/// The most headers that are added to requests to one tool server.
pub(crate) const HEADERS_MAX: usize = 32;

/// An address that clients connect to.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(crate) struct ListenerForm {
    /// The IP address and port to listen on, such as `127.0.0.1:4290` or `[::]:4290`. Port 0
    /// lets the system choose one.
    #[schemars(required)]
    pub(crate) address: Option<String>,
    /// Serve TLS with this certificate.
    pub(crate) tls: Option<TlsForm>,
    /// Serve without TLS also to other machines. A loopback address needs no such permission.
    #[schemars(extend("default" = false))]
    pub(crate) plaintext: Option<bool>,
    /// The URL that clients know this listener by, without a path: `https`, or `http` on a loopback
    /// address or with `plaintext`. Tokens for the toolsets here name it with the toolset's path,
    /// such as `https://mesh.example/mcp`. By default it is what the `Host` header says.
    pub(crate) public_url: Option<String>,
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
    /// Ask clients for certificates with SPIFFE ids. By default they are not asked.
    pub(crate) clients: Option<ClientsForm>,
}

/// Certificates that clients show.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(crate) struct ClientsForm {
    /// The names of the issuers, of the kind `spiffe`, whose certificates are taken. By default all
    /// that the listener's tenant may use.
    #[schemars(extend("minItems" = 1, "maxItems" = LIST_MAX, "uniqueItems" = true))]
    pub(crate) issuers: Option<Vec<Option<String>>>,
    /// Turn clients without a certificate away at the handshake. By default they may show something
    /// else, such as a token.
    #[schemars(extend("default" = false))]
    pub(crate) required: Option<bool>,
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
    #[schemars(extend("minItems" = 1, "maxItems" = URLS_MAX, "uniqueItems" = true))]
    pub(crate) urls: Option<Vec<Option<String>>>,
    /// An API that an OpenAPI document describes, instead of `urls`.
    pub(crate) openapi: Option<OpenApiForm>,
    /// A program that is started and spoken to over its standard streams.
    pub(crate) stdio: Option<StdioForm>,
    /// The era of MCP that the server speaks. By default it is found out.
    #[schemars(extend("default" = "auto"))]
    pub(crate) era: Option<EraForm>,
    /// The transport of a server of the legacy era at `urls`. By default it is found out.
    #[schemars(extend("default" = "auto"))]
    pub(crate) transport: Option<TransportForm>,
    /// How the health of the replicas is judged.
    pub(crate) health: Option<HealthForm>,
    /// The limits towards this server.
    pub(crate) limits: Option<ToolServerLimitsForm>,
    /// What a server at `urls` is shown of this node, so that it lets it in. By default nothing.
    #[schemars(extend("default" = "none"))]
    pub(crate) credential: Option<CredentialForm>,
    /// What holds for servers over `https`: whom they are held against, and the certificate that they are shown.
    pub(crate) tls: Option<OutgoingTlsForm>,
    /// Headers that are added to each request to the server, such as an API key. Each value is the text itself, `env:NAME`
    /// for an environment variable, or `file:PATH` for a file, which is read again when it changes; values never appear
    /// in logs or errors. Headers that the protocol itself sets are refused.
    #[schemars(extend("maxProperties" = HEADERS_MAX, "x-secret" = true))]
    pub(crate) headers: Option<BTreeMap<String, String>>,
}

/// The files of connections to a server. They are loaded again when they change. A relative path begins at the folder of
/// the document's file.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(crate) struct OutgoingTlsForm {
    /// A PEM file with the certificate chain that the server is shown where it asks for one, the leaf first.
    pub(crate) certificate: Option<String>,
    /// A PEM file with the private key of `certificate`.
    pub(crate) key: Option<String>,
    /// A PEM file with the certificates that the server's is held against, instead of the system's.
    #[schemars(extend("x-file" = true))]
    pub(crate) ca: Option<String>,
}

/// An API that an OpenAPI document describes: its operations become tools.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(crate) struct OpenApiForm {
    /// The file with the document, OpenAPI 3.0 or 3.1; `.json` is read as JSON, everything else as YAML. A relative
    /// path begins at the folder of this file.
    #[schemars(required, extend("x-file" = true))]
    pub(crate) document: Option<String>,
    /// The URL that all requests go to, instead of the servers that the document names.
    pub(crate) server: Option<String>,
    /// Which of the document's own servers is used, from 0.
    #[schemars(range(min = 0, max = SERVER_INDEX_MAX), extend("default" = 0))]
    pub(crate) server_index: Option<u32>,
    /// Values of the variables in servers' URLs. By default the document's own.
    #[schemars(extend("maxProperties" = LIST_MAX))]
    pub(crate) variables: Option<BTreeMap<String, String>>,
    /// Which operations become tools: those for which one of these rules holds. By default all.
    #[schemars(extend("minItems" = 1, "maxItems" = LIST_MAX))]
    pub(crate) include: Option<Vec<Option<RuleForm>>>,
    /// Which operations do not: those for which one of these rules holds.
    #[schemars(extend("minItems" = 1, "maxItems" = LIST_MAX))]
    pub(crate) exclude: Option<Vec<Option<RuleForm>>>,
    /// Credentials, by the names of the document's security schemes, or by any name where it declares none.
    #[schemars(extend("maxProperties" = HEADERS_MAX, "x-secret" = true))]
    pub(crate) auth: Option<BTreeMap<String, AuthForm>>,
    /// Refuse the document when an operation that is asked for cannot be offered. By default it is left out.
    #[schemars(extend("default" = false))]
    pub(crate) strict: Option<bool>,
}

/// A description of operations. It holds for those that match each of its keys, and a key is matched by one of its
/// texts, in which `*` stands for any characters.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(crate) struct RuleForm {
    /// Tags.
    #[schemars(extend("minItems" = 1, "maxItems" = LIST_MAX, "uniqueItems" = true))]
    pub(crate) tags: Option<Vec<Option<String>>>,
    /// Operation ids, or names of tools.
    #[schemars(extend("minItems" = 1, "maxItems" = LIST_MAX, "uniqueItems" = true))]
    pub(crate) operations: Option<Vec<Option<String>>>,
    /// Paths as the document writes them.
    #[schemars(extend("minItems" = 1, "maxItems" = LIST_MAX, "uniqueItems" = true))]
    pub(crate) paths: Option<Vec<Option<String>>>,
    /// Methods.
    #[schemars(extend("minItems" = 1, "maxItems" = LIST_MAX, "uniqueItems" = true))]
    pub(crate) methods: Option<Vec<Option<MethodForm>>>,
}

/// A method of an operation.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum MethodForm {
    /// Reads.
    Get,
    /// Replaces.
    Put,
    /// Adds or acts.
    Post,
    /// Removes.
    Delete,
    /// Asks what is possible.
    Options,
    /// Reads without the content.
    Head,
    /// Changes a part.
    Patch,
}

/// A credential for one security scheme. Each text is the secret itself, `env:NAME` for an environment variable, or
/// `file:PATH` for a file; secrets never appear in logs or errors.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(crate) struct AuthForm {
    /// A token: for schemes of type `http` bearer, `oauth2` and `openIdConnect`.
    #[schemars(extend("x-secret" = true))]
    pub(crate) token: Option<String>,
    /// A value: for schemes of type `apiKey`.
    #[schemars(extend("x-secret" = true))]
    pub(crate) value: Option<String>,
    /// A user name: for schemes of type `http` basic.
    #[schemars(extend("x-secret" = true))]
    pub(crate) username: Option<String>,
    /// The password that goes with the user name.
    #[schemars(extend("x-secret" = true))]
    pub(crate) password: Option<String>,
}

/// A program that is started as a child process. There is no shell, and nothing is expanded. A
/// relative path begins at the folder of the document's file.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(crate) struct StdioForm {
    /// The program, then its arguments, each an item of its own. A program without a slash is
    /// looked up in the `PATH` of the process.
    #[schemars(required, extend("minItems" = 1, "maxItems" = LIST_MAX))]
    pub(crate) command: Option<Vec<Option<String>>>,
    /// Variables of the process, by name. Values never appear in logs or errors.
    #[schemars(extend("maxProperties" = LIST_MAX, "x-secret" = true))]
    pub(crate) env: Option<BTreeMap<String, String>>,
    /// Files whose content becomes a variable, by the variable's name. They are read at each start.
    #[schemars(extend("maxProperties" = LIST_MAX))]
    pub(crate) env_files: Option<BTreeMap<String, String>>,
    /// The node's variables that the process gets; all others are kept from it. By default
    /// `HOME`, `LANG`, `LC_ALL`, `LC_CTYPE`, `LOGNAME`, `PATH`, `TMPDIR`, `TZ` and `USER`.
    #[schemars(extend("maxItems" = LIST_MAX, "uniqueItems" = true))]
    pub(crate) inherit: Option<Vec<Option<String>>>,
    /// The working folder, which has to exist. By default a new, empty one for each process, which
    /// is removed with it.
    pub(crate) folder: Option<String>,
    /// Whether sessions share a process. Stateless calls always share one.
    #[schemars(extend("default" = "session"))]
    pub(crate) isolation: Option<IsolationForm>,
    /// The most private writable memory of each process (`RLIMIT_DATA`). By default there is no
    /// limit.
    #[schemars(extend("x-unit" = "bytes", "x-minimum" = "16MiB", "x-maximum" = "1024GiB"))]
    pub(crate) memory: Option<String>,
    /// The most processor time of each process in its whole life (`RLIMIT_CPU`). By default there
    /// is no limit.
    #[schemars(extend("x-unit" = "time", "x-minimum" = "1s", "x-maximum" = "365d"))]
    pub(crate) cpu: Option<String>,
    /// The limits of the processes.
    pub(crate) limits: Option<StdioLimitsForm>,
}

/// Whether sessions share a process.
#[derive(Clone, Copy, Debug, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum IsolationForm {
    /// Each session has a process of its own.
    Session,
    /// All sessions share one: for servers that keep no state per session.
    Shared,
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

// === impl IsolationForm ===

impl From<IsolationForm> for Isolation {
    fn from(form: IsolationForm) -> Self {
        match form {
            IsolationForm::Session => Self::Session,
            IsolationForm::Shared => Self::Shared,
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
