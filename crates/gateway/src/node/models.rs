//! Providers and models of a configuration become what requests are served by.
//!
//! A provider that stays as it is keeps its connections, its keys' rests and the calls in progress; a model that stays as it is, with
//! the providers that it names, keeps what is known of its targets. All secrets are read here, so that a set whose secrets are not
//! there is refused whole.

use std::collections::HashMap;
use std::sync::Arc;

use http::HeaderName;
use quorate_config::{HeaderSource, Model, Provider, ResourceSet, SecretSource};
use quorate_http::client;
use quorate_runtime::{clock, provider, upstream};
use quorate_scheduler::{Elsewhere, TargetSnapshot};
use quorate_types::ResourceName;

use super::endpoints::Owner;
use super::{Error, Gateway};
use crate::llm::{self, ModelTable, Prices, ProviderTable};

/// The providers and models that run, by name.
#[derive(Default)]
pub(super) struct Models {
    providers: HashMap<ResourceName, Arc<ProviderTable>>,
    models: HashMap<ResourceName, Arc<ModelTable>>,
    prices: Prices,
}

// === impl Models ===

impl Models {
    /// What stages see of them.
    pub(super) fn table(&self) -> llm::Models {
        let mut models: Vec<_> = self.models.values().cloned().collect();
        models.sort_by(|one, other| one.config.name.cmp(&other.config.name));
        llm::Models::new(models, self.prices.clone())
    }
}

/// A model as this node sees it.
#[derive(Clone, Debug)]
pub struct ModelObserved {
    /// Its name.
    pub name: ResourceName,
    /// Its targets in their order: the provider of each, and what is known of it.
    pub targets: Vec<(ResourceName, TargetSnapshot)>,
}

// === impl Gateway ===

impl Gateway {
    /// Makes the providers and models of a configuration; those of `running` that are the same go on.
    pub(super) fn models(&self, resources: &ResourceSet, running: &Models, prices: Prices) -> Result<Models, Error> {
        let mut providers = HashMap::new();
        for config in resources.providers() {
            let kept = running.providers.get(&config.name).filter(|known| known.config == *config);
            let provider = match kept {
                Some(known) => Arc::clone(known),
                None => Arc::new(ProviderTable { config: config.clone(), provider: self.provider(config)? }),
            };
            providers.insert(config.name.clone(), provider);
        }
        let models = resources.models().iter().map(|config| {
            let named = config.targets.iter().filter_map(|target| providers.get(&target.provider).cloned());
            let model = self.model(config, named.collect(), running.models.get(&config.name));
            (config.name.clone(), model)
        });
        let models = models.collect();
        Ok(Models { providers, models, prices })
    }

    /// What is known of the targets of all models.
    #[must_use]
    pub fn models_observed(&self) -> Vec<ModelObserved> {
        let (snapshot, now) = (self.shared.snapshot.load(), clock::now());
        let observe = |model: &Arc<ModelTable>| {
            let providers = model.config.targets.iter().map(|target| target.provider.clone());
            let targets = providers.zip(model.targets().observe(now)).collect();
            ModelObserved { name: model.config.name.clone(), targets }
        };
        snapshot.models.iter().map(observe).collect()
    }

    /// Takes what other nodes say of the targets of a model, in their order, in place of what they said before.
    pub fn models_elsewhere(&self, name: &ResourceName, said: &[Elsewhere]) {
        let snapshot = self.shared.snapshot.load();
        let Some(model) = snapshot.models.iter().find(|model| model.config.name == *name) else { return };
        let mut targets = model.targets();
        for (target, elsewhere) in said.iter().enumerate() {
            targets.elsewhere(target, *elsewhere);
        }
    }

    fn model(
        &self,
        config: &Model,
        providers: Vec<Arc<ProviderTable>>,
        running: Option<&Arc<ModelTable>>,
    ) -> Arc<ModelTable> {
        let has_same = |known: &&Arc<ModelTable>| {
            let mut pairs = known.providers.iter().zip(&providers);
            known.config == *config && pairs.all(|(one, other)| Arc::ptr_eq(one, other))
        };
        if let Some(known) = running.filter(has_same) {
            return Arc::clone(known);
        }
        let metrics = &self.shared.services.metrics;
        let metrics = providers.iter().map(|one| metrics.model(config.name.as_str(), one.config.name.as_str()));
        Arc::new(ModelTable::new(config.clone(), providers.clone(), metrics.collect()))
    }

    fn provider(&self, config: &Provider) -> Result<provider::Provider, Error> {
        let (owner, limits) = (Owner::of_provider(config), &config.limits);
        let tls = self.outgoing(&owner, &config.tls, std::slice::from_ref(&config.url))?;
        let client = client::Config {
            connect_timeout: limits.connect,
            head_timeout: limits.first_token,
            idle_per_host_max: usize::try_from(limits.connections).unwrap_or(usize::MAX),
            ..client::DEFAULTS
        };
        let shown = self.shown(&owner, config)?;
        Ok(provider::Provider::new(provider::Config {
            name: config.name.clone(),
            url: config.url.as_str().trim_end_matches('/').to_owned(),
            client: client::Client::new(&client, tls),
            shown,
            limits: provider::Limits {
                answer_bytes_max: limits.answer.as_usize(),
                event_bytes_max: limits.event.as_usize(),
                first_token: limits.first_token,
                between_tokens: limits.between_tokens,
                concurrency: usize::try_from(limits.concurrency).unwrap_or(usize::MAX),
                key_cooldown: limits.key_cooldown,
            },
        }))
    }

    /// What a provider is shown with each of its keys; where it has none, with all calls.
    fn shown(&self, owner: &Owner<'_>, config: &Provider) -> Result<Vec<upstream::Credential>, Error> {
        let with = |key: Option<&SecretSource>| {
            let mut headers = config.headers.clone();
            headers.extend(key.map(|key| key_header(config, key)));
            let shown = self.credential(owner, &headers, &config.credential)?;
            shown.map_or_else(|| self.nothing(owner), Ok)
        };
        if config.keys.is_empty() {
            return Ok(vec![with(None)?]);
        }
        config.keys.iter().map(|key| with(Some(key))).collect()
    }

    /// What somebody is shown who lets everybody in.
    fn nothing(&self, owner: &Owner<'_>) -> Result<upstream::Credential, Error> {
        let config = upstream::credential::Config { server: owner.name.clone(), headers: Vec::new(), grant: None };
        let metrics = self.shared.services.metrics.token(owner.name.as_str());
        upstream::Credential::new(config, metrics).map_err(|source| Error::Credential { of: owner.to_string(), source })
    }
}

/// The header in which a provider takes a key.
fn key_header(config: &Provider, key: &SecretSource) -> HeaderSource {
    let header = config.preset.known().key;
    let scheme = Some(header.before().trim_end().to_owned()).filter(|scheme| !scheme.is_empty());
    HeaderSource { name: HeaderName::from_static(header.name()), scheme, value: key.clone() }
}
