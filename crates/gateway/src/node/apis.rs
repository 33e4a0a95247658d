//! APIs behind OpenAPI documents: read at each change of the configuration, compiled when something has changed.
//!
//! A document and its secrets can change while the resource stays the same, so they are read whenever resources are
//! applied, away from the threads that serve requests, and compared by a fingerprint. What an operation was left out
//! for is logged; a document that cannot be offered refuses the whole set, as any other invalid resource does.

use std::collections::HashMap;

use quorate_config::openapi::{Error as ReadError, OpenApiConnection, Refused};
use quorate_config::{Connection, ResourceSet, ToolServer};
use quorate_openapi::{Api, Compiled, Effect};
use quorate_types::ResourceName;

/// The most operations of one document that are named in the log when they are left out.
const LOGGED_MAX: usize = 20;

/// The APIs of a set of resources.
#[derive(Debug, Default)]
pub(crate) struct Apis {
    /// Of each API, what it was made of.
    pub(crate) fingerprints: HashMap<ResourceName, u64>,
    /// Those that are new or have changed.
    pub(crate) fresh: HashMap<ResourceName, Api>,
}

/// An API cannot be made.
#[derive(Debug, thiserror::Error)]
#[error("tool server `{server}`: {source}")]
pub struct Error {
    /// The tool server.
    pub server: ResourceName,
    /// Why.
    pub source: ReadError,
}

/// Reads the documents of all APIs, and compiles those that are not what `known` says of a server that is the same.
///
/// # Errors
/// [`Error`] names the server, and everything that is wrong with its document.
pub(crate) async fn load(resources: &ResourceSet, known: impl Fn(&ToolServer) -> Option<u64>) -> Result<Apis, Error> {
    let mut apis = Apis::default();
    for server in resources.tool_servers() {
        let Connection::OpenApi(connection) = &server.connection else { continue };
        let (connection, before) = (connection.clone(), known(server));
        let made = tokio::task::spawn_blocking(move || make(&connection, before)).await;
        // The work of the task does not panic; a runtime that ends takes the node with it.
        let made = made.unwrap_or_else(|panic| std::panic::resume_unwind(panic.into_panic()));
        let (fingerprint, compiled) = made.map_err(|source| Error { server: server.name.clone(), source })?;
        apis.fingerprints.insert(server.name.clone(), fingerprint);
        if let Some(compiled) = compiled {
            log(&server.name, &compiled);
            apis.fresh.insert(server.name.clone(), compiled.api);
        }
    }
    Ok(apis)
}

fn make(connection: &OpenApiConnection, before: Option<u64>) -> Result<(u64, Option<Compiled>), ReadError> {
    let material = connection.read()?;
    if before == Some(material.fingerprint) {
        return Ok((material.fingerprint, None));
    }
    let compiled = material.compile();
    let compiled = compiled.map_err(|problems| Refused { file: connection.document.clone(), problems })?;
    Ok((material.fingerprint, Some(compiled)))
}

fn log(server: &ResourceName, compiled: &Compiled) {
    let left_out = |effect: &Effect| matches!(effect, Effect::LeftOut { .. });
    let (lost, noted): (Vec<_>, Vec<_>) = compiled.problems.iter().partition(|problem| left_out(&problem.effect));
    for problem in lost.iter().take(LOGGED_MAX) {
        tracing::warn!(%server, %problem, "an operation is left out");
    }
    for problem in noted.iter().take(LOGGED_MAX) {
        tracing::debug!(%server, %problem, "a document is not followed to the letter");
    }
    let (tools, lost, noted) = (compiled.api.tools().len(), lost.len(), noted.len());
    tracing::info!(%server, tools, left_out = lost, notes = noted, "an OpenAPI document was compiled");
}
