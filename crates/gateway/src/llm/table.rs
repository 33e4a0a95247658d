//! The models and providers of one configuration, as stages see them.
//!
//! A name by which a client asks leads to one model: of those that its tenant may use, the one that has the name itself, else the one
//! with the longest pattern that fits. What is known of targets (their health, their load) outlives a change of the configuration for
//! as long as the model's document stays the same.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use quorate_config::{Model, Provider};
use quorate_llm::Api;
use quorate_llm::cache::{Cache, Limits};
use quorate_llm::price::Catalog;
use quorate_runtime::provider;
use quorate_scheduler::{Budget, Targets, Terms};
use quorate_telemetry::ModelMetrics;
use quorate_types::{ResourceName, TenantId};

use super::cache::Stored;

/// The models of one configuration.
#[derive(Default)]
pub struct Models {
    all: Vec<Arc<ModelTable>>,
    /// Those that have a name itself, by it: of several tenants, who do not see each other's.
    exact: HashMap<String, Vec<usize>>,
    /// Those that have a pattern.
    patterns: Vec<usize>,
    prices: Prices,
}

/// What the files with prices say that providers name, by the names of the providers.
pub(crate) type Prices = HashMap<ResourceName, Arc<Catalog>>;

/// One model.
pub struct ModelTable {
    /// Its configuration.
    pub(crate) config: Model,
    /// The providers of its targets, in their order.
    pub(crate) providers: Vec<Arc<ProviderTable>>,
    /// What its calls are counted by, per target.
    pub(crate) metrics: Vec<ModelMetrics>,
    targets: Mutex<Targets>,
    budget: Mutex<Budget>,
    /// Answers that are kept, where any are.
    cache: Option<Mutex<Cache<Stored>>>,
}

/// One provider.
pub struct ProviderTable {
    /// Its configuration.
    pub(crate) config: Provider,
    /// What asks it.
    pub(crate) provider: provider::Provider,
}

// === impl Models ===

impl Models {
    /// Makes the table of all models of a configuration.
    pub(crate) fn new(all: Vec<Arc<ModelTable>>, prices: Prices) -> Self {
        let mut exact: HashMap<String, Vec<usize>> = HashMap::new();
        let mut patterns = Vec::new();
        for (index, model) in all.iter().enumerate() {
            let is_pattern = |name: &&quorate_mcp::curate::pattern::Pattern| name.wildcards() > 0;
            for name in model.config.names.iter().filter(|name| !is_pattern(name)) {
                exact.entry(name.as_str().to_owned()).or_default().push(index);
            }
            if model.config.names.iter().any(|name| is_pattern(&name)) {
                patterns.push(index);
            }
        }
        Self { all, exact, patterns, prices }
    }

    /// The prices that a provider's file says, where it names one.
    pub(super) fn prices(&self, provider: &ResourceName) -> Option<&Arc<Catalog>> {
        self.prices.get(provider)
    }

    /// All of them.
    pub(crate) fn iter(&self) -> impl Iterator<Item = &Arc<ModelTable>> {
        self.all.iter()
    }

    /// Finds the one that a caller of a tenant asks for by a name, at a listener of another.
    pub(crate) fn find(&self, asked: &str, caller: &TenantId, listener: &TenantId) -> Option<&Arc<ModelTable>> {
        let is_there = |model: &&Arc<ModelTable>| model.is_for(caller, listener);
        let of = |index: &usize| &self.all[*index];
        if let Some(model) = self.exact.get(asked).and_then(|found| found.iter().map(of).find(is_there)) {
            return Some(model);
        }
        let fitting = self.patterns.iter().map(of).filter(is_there);
        let fitting = fitting.filter_map(|model| Some((model.config.fits(asked)?, model)));
        fitting.max_by_key(|(fit, _)| *fit).map(|(_, model)| model)
    }
}

// === impl ModelTable ===

impl ModelTable {
    /// Makes one whose targets have not been asked.
    pub(crate) fn new(config: Model, providers: Vec<Arc<ProviderTable>>, metrics: Vec<ModelMetrics>) -> Self {
        let terms = config.targets.iter().map(|target| Terms { weight: target.weight, priority: target.priority });
        let breaker = quorate_scheduler::Config {
            call_failures_max: config.breaker.failures,
            ejection_min: config.breaker.eject_base,
            ejection_max: config.breaker.eject_max,
            ..quorate_scheduler::Config::DEFAULTS
        };
        let targets = Mutex::new(Targets::new(terms, breaker));
        let budget = Mutex::new(Budget::new(config.limits.retry_percent));
        let cache = config.cache.as_ref().map(|cache| {
            Mutex::new(Cache::new(Limits {
                ttl: cache.ttl,
                answer_bytes_max: cache.answer.as_usize(),
                total_bytes_max: cache.total.as_usize(),
            }))
        });
        Self { config, providers, metrics, targets, budget, cache }
    }

    /// Whether callers of a tenant may know of it, at a listener of another.
    pub(crate) fn is_for(&self, caller: &TenantId, listener: &TenantId) -> bool {
        caller.reaches(&self.config.tenant) && listener.meets(&self.config.tenant)
    }

    /// What is known of its targets. Held for the time of a look.
    pub(crate) fn targets(&self) -> MutexGuard<'_, Targets> {
        self.targets.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Its kept answers, where it keeps any. Held for the time of a look.
    pub(super) fn cache(&self) -> Option<MutexGuard<'_, Cache<Stored>>> {
        self.cache.as_ref().map(|cache| cache.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Counts a call.
    pub(crate) fn count_call(&self) {
        self.budget.lock().unwrap_or_else(PoisonError::into_inner).call();
    }

    /// Takes one of the retries, if there is one.
    pub(crate) fn take_retry(&self) -> bool {
        self.budget.lock().unwrap_or_else(PoisonError::into_inner).retry()
    }
}

// === impl ProviderTable ===

impl ProviderTable {
    /// The API by which it can answer what is asked in another: the same, else the first that can be translated.
    pub(crate) fn api_for(&self, asked: Api) -> Option<Api> {
        let apis = &self.config.apis;
        if apis.contains(&asked) {
            return Some(asked);
        }
        quorate_llm::Dialect::of(asked)?;
        apis.iter().copied().find(|api| quorate_llm::Dialect::of(*api).is_some())
    }
}

impl std::fmt::Debug for ModelTable {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("ModelTable").field("name", &self.config.name).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use quorate_config::Source;

    use super::*;

    fn models(text: &str) -> Models {
        let text =
            format!("kind: Provider\nname: p\nspec: {{ preset: vllm, url: \"http://127.0.0.1:1/v1\" }}\n---\n{text}");
        let set = quorate_config::parse(&[Source { file: "models.yaml".into(), text }]).expect("good documents");
        let table = |model: &Model| Arc::new(ModelTable::new(model.clone(), Vec::new(), Vec::new()));
        Models::new(set.models().iter().map(table).collect(), Prices::new())
    }

    #[test]
    fn a_name_leads_to_the_model_that_has_it_or_else_to_the_longest_pattern() {
        let model = |name: &str, tenant: &str, names: &str| {
            format!(
                "kind: Model\nname: {name}\ntenant: {tenant}\nspec: {{ names: {names}, targets: [{{ provider: p }}] }}\n---\n"
            )
        };
        let text = model("any", "default", "[\"*\"]")
            + &model("gpt", "default", "[\"gpt-*\"]")
            + &model("five", "default", "[\"gpt-5*\", best]")
            + &model("own", "acme", "[private]")
            + &model("other", "globex", "[private]");
        let models = models(&text);
        let tenant = |name: &str| TenantId::new(name).expect("a tenant");
        let found = |asked: &str, caller: &str, listener: &str| {
            models.find(asked, &tenant(caller), &tenant(listener)).map(|model| model.config.name.as_str().to_owned())
        };

        for (asked, caller, expected) in [
            ("best", "default", "five"),
            ("gpt-5-mini", "default", "five"),
            ("gpt-4o", "acme", "gpt"),
            ("claude", "default", "any"),
            ("private", "acme", "own"),
            ("private", "globex", "other"),
            ("private", "default", "any"),
        ] {
            assert_eq!(found(asked, caller, "default").as_deref(), Some(expected), "{asked} of {caller}");
        }
        assert_eq!(found("private", "acme", "globex").as_deref(), Some("any"), "it is not for that listener");
        assert!(Models::default().find("gpt", &TenantId::default(), &TenantId::default()).is_none());
    }
}
