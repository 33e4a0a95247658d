//! The resources of this node as plain, already valid data.
//!
//! What the compiler of documents produces and the node consumes. A resource made in code (by
//! `quorate up`) starts from its `new`, which fills in the same defaults that a document gets.
//! Links between resources are checked by [`crate::ResourceSet`], not here.

use std::fmt;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use quorate_types::{ResourceName, TenantId};
use url::Url;

use crate::access::{Hosts, Origins};
use crate::credential::{Credential, HeaderSource};
use crate::limits::{HealthConfig, ListenerLimits, ToolServerLimits};
use crate::openapi::OpenApiConnection;
use crate::stdio::StdioConnection;

pub mod identity;
mod model;
mod toolset;

pub use identity::{ApiKey, Issuer, Policy, Tenant};
pub use model::{Condition, Fit, Model, Prompt, Provider, Target, TargetModel};
pub use toolset::{Access, Denied, Draw, Member, Toolset, Version};

/// The kinds of resources that a document may have.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Kind {
    /// An address that clients connect to.
    Listener,
    /// An MCP server behind the mesh, with one or more replicas.
    ToolServer,
    /// A virtual MCP endpoint over one or more tool servers.
    Toolset,
    /// Where answers of models come from.
    Provider,
    /// A model that clients ask for.
    Model,
    /// One that vouches for callers.
    Issuer,
    /// What lets an agent in by itself.
    ApiKey,
    /// What an operator says of a tenant.
    Tenant,
    /// What callers may do.
    Policy,
}

/// An address that clients connect to.
#[derive(Clone, Debug, PartialEq)]
pub struct Listener {
    /// Its name, unique among listeners.
    pub name: ResourceName,
    /// The tenant it belongs to; the default tenant's listeners serve every tenant's toolsets.
    pub tenant: TenantId,
    /// The address to bind; port 0 lets the system choose.
    pub address: SocketAddr,
    /// TLS for every connection; `None` only on loopback or where the document says `plaintext`.
    pub tls: Option<TlsFiles>,
    /// The URL that clients know this listener by, without a path; without one it is what their `Host` header says.
    /// Toolsets are at `/mcp/NAME` below it, which is the audience of tokens for them (RFC 8707).
    pub public_url: Option<Url>,
    /// What a caller must prove beyond what authentication can give by default.
    pub requires: Requires,
    /// Which `Host` headers are answered (protection against DNS rebinding).
    pub hosts: Hosts,
    /// Which `Origin` headers are answered; a request without one is always let through.
    pub origins: Origins,
    /// Which toolsets are served here.
    pub toolsets: Toolsets,
    /// The limits of this listener.
    pub limits: ListenerLimits,
}

/// The files of a server certificate, PEM-encoded; the TLS layer reads and reloads them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TlsFiles {
    /// The certificate chain, leaf first.
    pub certificate: PathBuf,
    /// The private key of the leaf.
    pub key: PathBuf,
    /// Whether clients show certificates, too.
    pub clients: Option<ClientCertificates>,
}

/// Certificates that clients show.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ClientCertificates {
    /// The SPIFFE issuers whose certificates are taken.
    pub issuers: TrustedIssuers,
    /// Whether a client without one is turned away at the handshake.
    pub required: bool,
}

/// Which SPIFFE issuers are trusted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum TrustedIssuers {
    /// All that the listener's tenant may use.
    All,
    /// Only these.
    Only(Vec<ResourceName>),
}

/// Parts of a principal without which a caller is turned away.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Requires {
    /// A workload identity must be known.
    pub agent: bool,
    /// A user must be known.
    pub user: bool,
}

/// Which toolsets a listener serves.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Toolsets {
    /// All that the listener's tenant may use.
    All,
    /// Only these, in the document's order.
    Only(Vec<ResourceName>),
}

/// An MCP server behind the mesh.
#[derive(Clone, Debug, PartialEq)]
pub struct ToolServer {
    /// Its name, unique among tool servers.
    pub name: ResourceName,
    /// The tenant it belongs to; the default tenant's servers may be used by every tenant.
    pub tenant: TenantId,
    /// Where it is.
    pub connection: Connection,
    /// What connections to it are made with.
    pub tls: OutgoingTls,
    /// The protocol era it speaks.
    pub era: Era,
    /// How its replicas' health is judged.
    pub health: HealthConfig,
    /// The limits towards it.
    pub limits: ToolServerLimits,
}

/// The files of connections to a server over TLS.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct OutgoingTls {
    /// The certificates that the server's is held against, instead of the node's.
    pub ca: Option<PathBuf>,
    /// The certificate chain that it is shown where it asks for one, and its key.
    pub certificate: Option<(PathBuf, PathBuf)>,
}

/// Where a tool server is, and how it is spoken to.
#[derive(Clone, Debug, PartialEq)]
pub enum Connection {
    /// At addresses over HTTP.
    Http(HttpConnection),
    /// An API that an OpenAPI document describes.
    OpenApi(Box<OpenApiConnection>),
    /// In a child process.
    Stdio(Box<StdioConnection>),
}

/// A tool server over HTTP.
#[derive(Clone, Debug, PartialEq)]
pub struct HttpConnection {
    /// Its replicas: one to 64 different absolute `http` or `https` URLs.
    pub urls: Vec<Url>,
    /// The transport of its legacy era.
    pub transport: Transport,
    /// What the server is shown of us.
    pub credential: Credential,
    /// Headers added to each request, of different names; none is the credential's.
    pub headers: Vec<HeaderSource>,
}

/// The protocol era of a tool server.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Era {
    /// Probed, cached and probed again.
    #[default]
    Auto,
    /// Session-ful revisions up to 2025-11-25.
    Legacy,
    /// The stateless revision 2026-07-28.
    Modern,
}

/// The transport of a tool server's legacy era.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Transport {
    /// Streamable HTTP first, HTTP+SSE when the server does not know it.
    #[default]
    Auto,
    /// Streamable HTTP (2025-03-26 and later).
    StreamableHttp,
    /// HTTP+SSE (2024-11-05).
    Sse,
}

/// How a toolset exposes the names of its servers' tools and prompts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Naming {
    /// As the server names them.
    Bare,
    /// With the server's name in front.
    Prefix,
    /// Bare, and prefixed where a name exists twice.
    OnCollision,
}

// === impl Kind ===

impl Kind {
    /// All kinds, in the order in which resources are listed.
    pub const ALL: [Self; 9] = [
        Self::Listener,
        Self::ToolServer,
        Self::Toolset,
        Self::Provider,
        Self::Model,
        Self::Issuer,
        Self::ApiKey,
        Self::Tenant,
        Self::Policy,
    ];

    /// Returns the kind that this text of `kind` in a document means.
    #[must_use]
    pub fn of(text: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| kind.as_str() == text)
    }

    /// Returns the text of `kind` in a document.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Listener => "Listener",
            Self::ToolServer => "ToolServer",
            Self::Toolset => "Toolset",
            Self::Provider => "Provider",
            Self::Model => "Model",
            Self::Issuer => "Issuer",
            Self::ApiKey => "ApiKey",
            Self::Tenant => "Tenant",
            Self::Policy => "Policy",
        }
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

// === impl Listener ===

impl Listener {
    /// Makes a listener of the default tenant with every default, in plain text.
    ///
    /// A document cannot say this of an address beyond loopback without `plaintext: true`; code
    /// that calls this takes that decision itself.
    #[must_use]
    pub fn new(name: ResourceName, address: SocketAddr) -> Self {
        let loopback = address.ip().is_loopback();
        Self {
            name,
            tenant: TenantId::default(),
            address,
            tls: None,
            public_url: None,
            requires: Requires::default(),
            hosts: Hosts::default_for(loopback),
            origins: Origins::default_for(loopback),
            toolsets: Toolsets::All,
            limits: ListenerLimits::DEFAULTS,
        }
    }

    /// Tells whether only programs of this machine can connect.
    #[must_use]
    pub fn is_loopback(&self) -> bool {
        self.address.ip().is_loopback()
    }
}

// === impl ToolServer ===

impl ToolServer {
    /// Makes a tool server of the default tenant with every default.
    #[must_use]
    pub fn new(name: ResourceName, connection: Connection) -> Self {
        let era = Era::default_for(&connection);
        Self {
            name,
            tenant: TenantId::default(),
            connection,
            tls: OutgoingTls::default(),
            era,
            health: HealthConfig::DEFAULTS,
            limits: ToolServerLimits::DEFAULTS,
        }
    }
}

// === impl OutgoingTls ===

impl OutgoingTls {
    /// Lists its files.
    pub fn files(&self) -> impl Iterator<Item = &Path> {
        let pair = self.certificate.iter().flat_map(|(certificate, key)| [certificate, key]);
        self.ca.iter().chain(pair).map(PathBuf::as_path)
    }
}

// === impl Era ===

impl Era {
    /// Returns the era of a tool server that says nothing about it: we are ourselves the server in front of an API.
    #[must_use]
    pub const fn default_for(connection: &Connection) -> Self {
        match connection {
            Connection::Http(_) | Connection::Stdio(_) => Self::Auto,
            Connection::OpenApi(_) => Self::Modern,
        }
    }
}

// === impl Connection ===

impl Connection {
    /// Makes a connection to HTTP addresses with every default.
    #[must_use]
    pub fn http(urls: Vec<Url>) -> Self {
        let (credential, headers) = (Credential::None, Vec::new());
        Self::Http(HttpConnection { urls, transport: Transport::default(), credential, headers })
    }

    /// Lists the files that it is made of, beside the resource's own.
    pub fn files(&self) -> impl Iterator<Item = &Path> {
        let (http, api) = match self {
            // Files of a process's variables are read at each of its starts.
            Self::Stdio(_) => (None, None),
            Self::Http(http) => (Some(http), None),
            Self::OpenApi(api) => (None, Some(&**api)),
        };
        let http = http.into_iter().flat_map(HttpConnection::files);
        http.chain(api.into_iter().flat_map(OpenApiConnection::files))
    }
}

impl fmt::Display for Connection {
    /// Writes what an operator knows it by; no secrets.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Http(http) => {
                let urls: Vec<&str> = http.urls.iter().map(Url::as_str).collect();
                f.write_str(&urls.join(", "))
            }
            Self::OpenApi(api) => write!(f, "{}", api.document.display()),
            // Arguments may hold secrets.
            Self::Stdio(stdio) => {
                write!(f, "stdio:{}", stdio.command.first().map(String::as_str).unwrap_or_default())
            }
        }
    }
}

// === impl HttpConnection ===

impl HttpConnection {
    fn files(&self) -> impl Iterator<Item = &Path> {
        let headers = self.headers.iter().filter_map(|header| header.value.file());
        headers.chain(self.credential.files())
    }
}

// === impl Naming ===

impl Naming {
    /// Returns the naming of a toolset that asks for none: bare names need no change while one
    /// server owns them all, and with several only a collision forces one.
    #[must_use]
    pub const fn default_for(servers: usize) -> Self {
        if servers <= 1 { Self::Bare } else { Self::OnCollision }
    }

    /// Returns the text of `naming` in a document.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Bare => "bare",
            Self::Prefix => "prefix",
            Self::OnCollision => "on-collision",
        }
    }
}
