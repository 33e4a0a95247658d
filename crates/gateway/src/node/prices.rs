//! Files with prices that providers name: read at each change of the configuration.
//!
//! A file can change while its provider stays the same, so all are read whenever resources are applied, away from the threads that
//! serve requests, each once however many providers name it. One that is none refuses the whole set. A call keeps the prices of when
//! its target was asked, and neither connections nor what is known of targets end with a change of them.

use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::Arc;

use quorate_config::{Errors, Provider, ResourceSet};
use quorate_llm::price::Catalog;
use quorate_types::ResourceName;

use crate::llm::Prices;

/// A file is none with prices.
#[derive(Debug, thiserror::Error)]
#[error("provider `{provider}`: {source}")]
pub struct Error {
    /// A provider that names it.
    pub provider: ResourceName,
    /// Everything that is wrong with it.
    pub source: Errors,
}

/// Reads the files of all providers.
///
/// # Errors
/// [`Error`] for the first that is none.
pub(crate) async fn load(resources: &ResourceSet) -> Result<Prices, Error> {
    let named = |provider: &Provider| Some((provider.name.clone(), provider.prices.clone()?));
    let named: Vec<(ResourceName, PathBuf)> = resources.providers().iter().filter_map(named).collect();
    if named.is_empty() {
        return Ok(Prices::new());
    }
    let read = tokio::task::spawn_blocking(move || read(named)).await;
    // The work of the task does not panic; a runtime that ends takes the node with it.
    read.unwrap_or_else(|panic| std::panic::resume_unwind(panic.into_panic()))
}

fn read(named: Vec<(ResourceName, PathBuf)>) -> Result<Prices, Error> {
    let mut known: HashMap<PathBuf, Arc<Catalog>> = HashMap::new();
    let mut prices = Prices::new();
    for (provider, file) in named {
        let catalog = match known.get(&file) {
            Some(catalog) => Arc::clone(catalog),
            None => match quorate_config::prices::load(&file) {
                Ok(catalog) => Arc::clone(known.entry(file).or_insert(Arc::new(catalog))),
                Err(source) => return Err(Error { provider, source }),
            },
        };
        prices.insert(provider, catalog);
    }
    Ok(prices)
}
