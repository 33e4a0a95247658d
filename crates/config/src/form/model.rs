//! The specs of `Provider` and `Model` as serde and the JSON schema see them.
//!
//! As in the parent module: types only, descriptions for whoever writes the file.

use std::borrow::Cow;
use std::collections::BTreeMap;

use quorate_llm::Api;
use quorate_llm::preset::Preset;
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::Deserialize;
use serde_json::{Number, Value, json};

use super::{CredentialForm, HEADERS_MAX, OutgoingTlsForm};
use crate::limits::{BreakerForm, CacheForm, ModelLimitsForm, ProviderLimitsForm};

/// The most keys of one provider.
pub(crate) const KEYS_MAX: usize = 64;
/// The most names of one model.
pub(crate) const NAMES_MAX: usize = 256;
/// The most targets of one model.
pub(crate) const TARGETS_MAX: usize = 64;
/// The most parameters that a model changes.
pub(crate) const PARAMETERS_MAX: usize = 64;
/// The highest weight of a target.
pub(crate) const WEIGHT_MAX: u32 = 1_000;
/// The highest number of a priority.
pub(crate) const PRIORITY_MAX: u32 = 15;

/// Where answers of models come from: a provider that is known by name, or a server that speaks as one does.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(crate) struct ProviderForm {
    /// What is known of it: its address, its APIs, how it is shown a key.
    #[schemars(required)]
    pub(crate) preset: Option<PresetForm>,
    /// Its address, without the path of an API: for OpenAI and everything compatible with it up to the version, such as
    /// `http://127.0.0.1:8000/v1`; for Azure `https://RESOURCE.openai.azure.com/openai/v1`; for Vertex up to the location. By default
    /// the preset's own, if it has one.
    pub(crate) url: Option<String>,
    /// The APIs that it has, the one first that requests of others are translated to. By default the preset's.
    #[schemars(extend("minItems" = 1, "maxItems" = 6, "uniqueItems" = true))]
    pub(crate) apis: Option<Vec<Option<ApiForm>>>,
    /// The version that is asked for at Azure with the older form of paths, which have the deployment in them; `url` ends with
    /// `/openai` then.
    pub(crate) api_version: Option<String>,
    /// Its API keys. Calls are spread over them, and one that is refused or limited rests. Each is the key itself, `env:NAME` for an
    /// environment variable, or `file:PATH` for a file, which is read again when it changes. They never appear in logs or errors.
    #[schemars(extend("minItems" = 1, "maxItems" = KEYS_MAX, "x-secret" = true))]
    pub(crate) keys: Option<Vec<Option<String>>>,
    /// What it is shown instead of a key, such as a token of an authorization server.
    #[schemars(extend("default" = "none"))]
    pub(crate) credential: Option<CredentialForm>,
    /// Headers that are added to each request. Each value is the text itself, `env:NAME` or `file:PATH`, as of keys.
    #[schemars(extend("maxProperties" = HEADERS_MAX, "x-secret" = true))]
    pub(crate) headers: Option<BTreeMap<String, String>>,
    /// The file with what tokens of its models cost, as YAML or (`.json`) JSON: by the name of each model there, or of all that
    /// begin with a text (`gpt-5*`), the prices of `price` of a model's target, which come before it. It is read again when it changes.
    #[schemars(extend("x-file" = true))]
    pub(crate) prices: Option<String>,
    /// What holds for a provider over `https`: whom it is held against, and the certificate that it is shown.
    pub(crate) tls: Option<OutgoingTlsForm>,
    /// The limits towards it.
    pub(crate) limits: Option<ProviderLimitsForm>,
}

/// A model that clients ask for, and who may answer.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(crate) struct ModelForm {
    /// The names by which clients ask, in which `*` stands for any characters. An exact name comes before patterns, of which the
    /// longest counts. By default the name of the resource.
    #[schemars(extend("minItems" = 1, "maxItems" = NAMES_MAX, "uniqueItems" = true))]
    pub(crate) names: Option<Vec<Option<String>>>,
    /// Who may answer.
    #[schemars(required, extend("minItems" = 1, "maxItems" = TARGETS_MAX))]
    pub(crate) targets: Option<Vec<Option<TargetForm>>>,
    /// What is done with parameters of requests, which are named as in the body of the provider's API; one within another with a
    /// dot, such as `generationConfig.temperature`.
    pub(crate) parameters: Option<ParametersForm>,
    /// What is said to the model beside what the client says.
    pub(crate) prompt: Option<PromptForm>,
    /// Keep answers, for requests that say the same (spaces, the order of keys and the spelling of texts are no difference), of callers
    /// of one tenant whom the same policy allows to ask. By default none are kept.
    pub(crate) cache: Option<CacheForm>,
    /// When a target is left out that fails.
    pub(crate) breaker: Option<BreakerForm>,
    /// The limits of this model.
    pub(crate) limits: Option<ModelLimitsForm>,
}

/// Who may answer for a model.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(crate) struct TargetForm {
    /// The provider.
    #[schemars(required)]
    pub(crate) provider: Option<String>,
    /// The model's name there; each `*` is what a `*` of the model's names stands for. By default as the client asks for it.
    pub(crate) model: Option<String>,
    /// Its share of calls beside the others of its priority; with 0 it gets none.
    #[serde(default)]
    #[schemars(schema_with = "weight", extend("default" = 1))]
    pub(crate) weight: Option<Number>,
    /// Targets with a higher number are asked when those with a lower one cannot answer.
    #[serde(default)]
    #[schemars(schema_with = "priority", extend("default" = 0))]
    pub(crate) priority: Option<Number>,
    /// For which calls it is. By default for all.
    pub(crate) when: Option<ConditionForm>,
    /// What its tokens cost, in dollars per million. By default what the provider's `prices` say of the model, and else not known:
    /// calls are recorded without a cost then.
    pub(crate) price: Option<PriceForm>,
}

/// For which calls a target is: everything that is said has to hold.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(crate) struct ConditionForm {
    /// Headers of the request, by what their values are; `*` stands for any characters.
    #[schemars(extend("minProperties" = 1, "maxProperties" = HEADERS_MAX))]
    pub(crate) headers: Option<BTreeMap<String, String>>,
    /// The smallest body of the request, such as `64KiB`.
    pub(crate) body_min: Option<String>,
    /// The largest body of the request.
    pub(crate) body_max: Option<String>,
    /// Whether there are tools.
    pub(crate) tools: Option<bool>,
    /// Whether there are images.
    pub(crate) images: Option<bool>,
    /// Whether there are recordings.
    pub(crate) audio: Option<bool>,
    /// Whether there are documents.
    pub(crate) documents: Option<bool>,
}

/// What tokens cost, in dollars per million. A kind without a price of its own costs what the kind costs that it is part of.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(crate) struct PriceForm {
    /// Of input.
    #[schemars(required)]
    pub(crate) input: Option<f64>,
    /// Of output.
    #[schemars(required)]
    pub(crate) output: Option<f64>,
    /// Of input that is read from the provider's cache.
    pub(crate) cached_input: Option<f64>,
    /// Of input that is written to the provider's cache.
    pub(crate) cache_write: Option<f64>,
    /// Of recordings in the input.
    pub(crate) input_audio: Option<f64>,
    /// Of recordings in the output.
    pub(crate) output_audio: Option<f64>,
    /// Of thoughts.
    pub(crate) reasoning: Option<f64>,
}

/// What is done with parameters of requests.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(crate) struct ParametersForm {
    /// Values where the client says none.
    #[serde(default)]
    #[schemars(schema_with = "values")]
    pub(crate) defaults: Option<BTreeMap<String, Value>>,
    /// Values whatever the client says.
    #[serde(default)]
    #[schemars(schema_with = "values")]
    pub(crate) overrides: Option<BTreeMap<String, Value>>,
    /// Parameters that are taken away.
    #[schemars(extend("maxItems" = PARAMETERS_MAX, "uniqueItems" = true))]
    pub(crate) remove: Option<Vec<Option<String>>>,
}

/// What is said to a model beside what the client says.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(crate) struct PromptForm {
    /// Instructions before the client's own.
    pub(crate) before: Option<String>,
    /// Instructions after them.
    pub(crate) after: Option<String>,
}

/// A provider that is known by name.
#[derive(Clone, Copy, Debug)]
pub(crate) struct PresetForm(pub(crate) Preset);

/// An API of a provider.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct ApiForm(pub(crate) Api);

/// Makes a form of words that something else has a table of.
macro_rules! words {
    ($form:ident, $about:literal, $all:expr, $name:expr) => {
        impl<'de> Deserialize<'de> for $form {
            fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                let text = String::deserialize(deserializer)?;
                let found = $all.into_iter().find(|one| $name(one) == text);
                // The schema has refused it before.
                found.map(Self).ok_or_else(|| serde::de::Error::custom("it is none of the words"))
            }
        }

        impl JsonSchema for $form {
            fn schema_name() -> Cow<'static, str> {
                stringify!($form).into()
            }

            fn json_schema(_: &mut SchemaGenerator) -> Schema {
                json_schema!({ "description": $about, "oneOf": $all.map(|one| json!({ "const": $name(&one) })) })
            }
        }
    };
}

words!(PresetForm, "A provider that is known by name.", Preset::ALL, |one: &Preset| one.known().name);
words!(ApiForm, "An API of a provider.", Api::ALL, |one: &Api| one.word());

/// Values of any type, by name.
fn values(_: &mut SchemaGenerator) -> Schema {
    json_schema!({ "type": "object", "maxProperties": PARAMETERS_MAX, "additionalProperties": { "x-any": true } })
}

fn weight(_: &mut SchemaGenerator) -> Schema {
    whole("Its share of calls beside the others of its priority; with 0 it gets none.", 1, WEIGHT_MAX)
}

fn priority(_: &mut SchemaGenerator) -> Schema {
    whole("Targets with a higher number are asked when those with a lower one cannot answer.", 0, PRIORITY_MAX)
}

fn whole(description: &str, default: u32, max: u32) -> Schema {
    let description = format!("{description} Default {default}; from 0 to {max}.");
    json_schema!({ "description": description, "type": "integer", "default": default, "minimum": 0, "maximum": max })
}
