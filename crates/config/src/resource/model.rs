//! Providers of models, and the models that clients ask for.
//!
//! As in the parent module: plain, already valid data. A provider is where answers come from; a model is a name under which clients
//! ask, and the targets that may answer.

use std::path::{Path, PathBuf};

use http::HeaderName;
use quorate_llm::Api;
use quorate_llm::edit::Edit;
use quorate_llm::preset::{self, Preset};
use quorate_llm::price::Price;
use quorate_mcp::curate::pattern::{Pattern, Renaming};
use quorate_types::{ByteSize, ResourceName, TenantId};
use url::Url;

use super::OutgoingTls;
use crate::credential::{Credential, HeaderSource};
use crate::limits::{BreakerConfig, CacheConfig, ModelLimits, ProviderLimits};
use crate::secret::SecretSource;

/// Where answers of models come from.
#[derive(Clone, Debug, PartialEq)]
pub struct Provider {
    /// Its name, unique among providers.
    pub name: ResourceName,
    /// The tenant it belongs to; the default tenant's providers may be used by every tenant.
    pub tenant: TenantId,
    /// What is known of it.
    pub preset: Preset,
    /// Its address, below which paths begin; `http` or `https`.
    pub url: Url,
    /// The APIs that it has, each once, at least one; the first to which others can be translated is preferred for that.
    pub apis: Vec<Api>,
    /// The version that is asked for in the query (Azure's older form of paths, with the deployment in them).
    pub api_version: Option<String>,
    /// Its keys, which calls are spread over; none where it lets everybody in, or has a credential.
    pub keys: Vec<SecretSource>,
    /// What it is shown of us instead of a key.
    pub credential: Credential,
    /// Headers added to each request, of different names.
    pub headers: Vec<HeaderSource>,
    /// The file with the prices of its models, by their names there ([`crate::prices`]).
    pub prices: Option<PathBuf>,
    /// What connections to it are made with.
    pub tls: OutgoingTls,
    /// The limits towards it.
    pub limits: ProviderLimits,
}

/// A model that clients ask for.
#[derive(Clone, Debug, PartialEq)]
pub struct Model {
    /// The name of the resource, unique among models.
    pub name: ResourceName,
    /// The tenant it belongs to; the default tenant's models may be used by every tenant.
    pub tenant: TenantId,
    /// The names that clients ask by, at least one. An exact name comes before patterns, of which the longest counts.
    pub names: Vec<Pattern>,
    /// Who may answer: 1 to 64.
    pub targets: Vec<Target>,
    /// What is done with parameters of requests.
    pub parameters: Vec<Edit>,
    /// What is said to the model beside what the client says.
    pub prompt: Prompt,
    /// Answers that are kept, if any are.
    pub cache: Option<CacheConfig>,
    /// How its targets are judged.
    pub breaker: BreakerConfig,
    /// Its limits.
    pub limits: ModelLimits,
}

/// Who may answer for a model.
#[derive(Clone, Debug, PartialEq)]
pub struct Target {
    /// The provider.
    pub provider: ResourceName,
    /// The model's name there.
    pub model: TargetModel,
    /// Its share of calls beside the others of its priority; 0 gets none.
    pub weight: u32,
    /// Targets with a higher number are asked when those with a lower one cannot answer.
    pub priority: u8,
    /// For which calls it is.
    pub when: Condition,
    /// What its tokens cost, whatever the prices of its provider say.
    pub price: Option<Price>,
}

/// A model's name at its provider.
#[derive(Clone, Debug, PartialEq)]
pub enum TargetModel {
    /// As the client asks for it.
    AsAsked,
    /// Always this one.
    Named(String),
    /// By what each `*` of the model's names stands for; it has as many as each of them.
    Renamed(Renaming),
}

/// For which calls a target is: all that is said has to hold.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Condition {
    /// Headers of the client's request, by patterns of their values.
    pub headers: Vec<(HeaderName, Pattern)>,
    /// The smallest body.
    pub body_min: Option<ByteSize>,
    /// The largest body.
    pub body_max: Option<ByteSize>,
    /// Whether it has tools.
    pub tools: Option<bool>,
    /// Whether it has images.
    pub images: Option<bool>,
    /// Whether it has recordings.
    pub audio: Option<bool>,
    /// Whether it has documents.
    pub documents: Option<bool>,
}

/// What is said to a model beside what the client says.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Prompt {
    /// Before the client's own instructions.
    pub before: Option<String>,
    /// After them.
    pub after: Option<String>,
}

// === impl Provider ===

impl Provider {
    /// Lists the files that it names.
    pub fn files(&self) -> impl Iterator<Item = &Path> {
        let keys = self.keys.iter().filter_map(SecretSource::file);
        let headers = self.headers.iter().filter_map(|header| header.value.file());
        keys.chain(headers).chain(self.credential.files()).chain(self.tls.files()).chain(self.prices.as_deref())
    }

    /// The path and query of an API below the address, for a model as it is called there; none where it has no such API.
    #[must_use]
    pub fn path(&self, api: Api, model: &str, is_streamed: bool) -> Option<String> {
        let path = self.preset.known().layout.path(api, model, is_streamed)?;
        Some(match &self.api_version {
            Some(version) => format!("deployments/{}/{path}?api-version={version}", preset::escaped(model)),
            None => path,
        })
    }
}

// === impl Model ===

impl Model {
    /// How well it fits the name that a client asks by: not at all, by a pattern with so many characters, or exactly.
    #[must_use]
    pub fn fits(&self, asked: &str) -> Option<Fit> {
        let fits = self.names.iter().filter(|name| name.matches(asked));
        fits.map(|name| match name.wildcards() {
            0 => Fit::Exactly,
            _ => Fit::ByPattern { characters: name.as_str().len() },
        })
        .max()
    }
}

/// How well a model fits a name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Fit {
    /// By a pattern of so many characters.
    ByPattern {
        /// All of the pattern's.
        characters: usize,
    },
    /// By its name.
    Exactly,
}

// === impl Condition ===

impl Condition {
    /// Whether it holds for every call.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }
}
