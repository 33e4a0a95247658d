//! The file form of declarative resources, validated into plain configurations.
//!
//! Files or folders go in, a [`ResourceSet`] comes out, or every problem at once as [`Errors`]:
//! each with file, document, line, resource, key path, the value given and what is allowed. The
//! way of a document is `read → node → shape → form → compile → set`; the JSON schema that
//! [`schema()`] returns is generated from the same types that `shape` checks documents against.
//!
//! Invariant: whoever holds a resource need not check it again, and all links within a
//! [`ResourceSet`] resolve. Deliberately unknown here: whether an address can be bound, a
//! certificate file be read or a server be reached.
//!
//! A cluster keeps documents instead of files: [`document`] makes them of files, a [`Compiler`] makes the set of them.
//!
//! Keys are camelCase, values of choices kebab-case.

pub mod access;
pub mod credential;
pub mod document;
pub mod error;
pub mod inline;
pub mod limits;
pub mod openapi;
pub mod prices;
pub mod resource;
pub mod secret;
pub mod set;
pub mod stdio;
pub mod watch;

mod compile;
mod compiler;
mod form;
mod level;
mod node;
mod read;
mod report;
mod schema;
mod shape;
mod suggest;

pub use access::{Hosts, Origins};
pub use compile::check_url;
pub use compile::model::check_parameter;
pub use compiler::{Compiled, Compiler};
pub use credential::{ClientAuth, ClientCredentials, Credential, HeaderSource};
pub use document::Document;
pub use error::{Errors, Problem, Reason};
pub use level::Needed;
pub use limits::{
    BreakerConfig, CacheConfig, HealthConfig, ListenerLimits, ModelLimits, ProviderLimits, StdioLimits,
    ToolServerLimits,
};
pub use openapi::OpenApiConnection;
pub use read::{API_KEYS_MAX, DOCUMENTS_MAX, FILE_BYTES_MAX, FILES_MAX, Loader, Source, TOTAL_BYTES_MAX, load, parse};
pub use resource::{
    Access, ApiKey, ClientCertificates, Condition, Connection, Denied, Draw, Era, Fit, HttpConnection, Issuer, Kind,
    Listener, Member, Model, Naming, OutgoingTls, Policy, Prompt, Provider, Requires, Target, TargetModel, Tenant,
    TlsFiles, ToolServer, Toolset, Toolsets, Transport, TrustedIssuers, Version, identity,
};
pub use schema::{is_secret, schema};
pub use secret::SecretSource;
pub use set::{Difference, ResourceSet, Resources};
pub use stdio::{Isolation, StdioConnection};
pub use watch::Watcher;
