//! The spec of a `Toolset` as serde and the JSON schema see it.
//!
//! As in the parent module: types only, descriptions for whoever writes the file.

use std::collections::BTreeMap;

use quorate_mcp::curate::PATTERNS_MAX;
use quorate_mcp::curate::pattern::PATTERN_BYTES_MAX;
use quorate_mcp::curate::version::WEIGHT_MAX;
use quorate_session::Durability;
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Deserializer};
use serde_json::{Number, Value};

use super::identity::SCOPES_MAX;
use super::{NamingForm, RequirementForm};
use crate::resource::{Denied, Draw};

/// The most members of one toolset.
pub(crate) const SERVERS_MAX: usize = 256;
/// The most versions of one member: the old one, the new one, and some that are tried.
pub(crate) const VERSIONS_MAX: usize = 8;
/// The most rules of one kind. Each is held against each item when lists are made.
pub(crate) const RULES_MAX: usize = 128;
/// The most arguments of one rule.
pub(crate) const ARGUMENTS_MAX: usize = 64;
/// The most tags of one rule: models read them with every tool.
pub(crate) const TAGS_MAX: usize = 16;

/// A virtual MCP endpoint over one or more tool servers. The one named `default` is served at
/// `/mcp`, any other at `/mcp/NAME`.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(crate) struct ToolsetForm {
    /// The tool servers, in the order in which their tools are listed: each by its name, or with what
    /// of it is exposed.
    #[schemars(required, extend("minItems" = 1, "maxItems" = SERVERS_MAX, "uniqueItems" = true))]
    pub(crate) servers: Option<Vec<Option<MemberForm>>>,
    /// How the names of tools and prompts are made. By default `bare` with one server, else
    /// `on-collision`.
    pub(crate) naming: Option<NamingForm>,
    /// What clients are told of the toolset, before what its servers tell them.
    pub(crate) instructions: Option<String>,
    /// Changes of tools. Every rule that matches applies; of two that change the same thing, the
    /// earlier one wins.
    #[schemars(extend("maxItems" = RULES_MAX))]
    pub(crate) tools: Option<Vec<Option<ToolRuleForm>>>,
    /// Changes of prompts, as of tools.
    #[schemars(extend("maxItems" = RULES_MAX))]
    pub(crate) prompts: Option<Vec<Option<PromptRuleForm>>>,
    /// Changes of resources and resource templates, as of tools.
    #[schemars(extend("maxItems" = RULES_MAX))]
    pub(crate) resources: Option<Vec<Option<ResourceRuleForm>>>,
    /// Gives the toolset a tool `find_tools` that searches its tools. By default there is none.
    pub(crate) search: Option<SearchForm>,
    /// What must be known of a caller. By default what the listener requires is enough.
    #[schemars(extend("default" = [], "maxItems" = 2, "uniqueItems" = true))]
    pub(crate) requires: Option<Vec<Option<RequirementForm>>>,
    /// The OAuth scopes that a caller must have for anything here; clients are told to ask for them.
    #[schemars(extend("default" = [], "maxItems" = SCOPES_MAX, "uniqueItems" = true))]
    pub(crate) scopes: Option<Vec<Option<String>>>,
    /// What a caller is told of a tool, prompt or resource that it may not use.
    #[schemars(extend("default" = "unknown"))]
    pub(crate) denied: Option<DeniedForm>,
    /// What a cluster keeps of what is in flight in a session. The session itself is kept either way, and without a cluster
    /// both are the same. A session has what held when it was opened.
    #[schemars(extend("default" = "strict"))]
    pub(crate) durability: Option<DurabilityForm>,
}

/// What a denied caller is told.
#[derive(Clone, Copy, Debug, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum DeniedForm {
    /// That it does not exist, so that nobody learns what there is.
    Unknown,
    /// That it is denied.
    Forbidden,
}

/// What a cluster keeps of what is in flight.
#[derive(Clone, Copy, Debug, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum DurabilityForm {
    /// Each event before the client gets it, and each call before it is sent.
    Strict,
    /// Nothing; when a node is lost, the outcome of what was in flight there is not known.
    Ephemeral,
}

/// A tool server by its name, or a member with more to say.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(untagged)]
pub(crate) enum MemberForm {
    /// A tool server, of which everything is exposed.
    Name(String),
    /// A tool server, or versions of one, with what of it is exposed.
    Full(Box<FullMemberForm>),
}

/// A tool server, or versions of one, with what of it is exposed.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(crate) struct FullMemberForm {
    /// The tool server. Either this or `versions`.
    pub(crate) server: Option<String>,
    /// The name in this toolset, which exposed names may have in front of them. By default the
    /// server's own; with `versions` it has to be given.
    pub(crate) name: Option<String>,
    /// Tool servers that are versions of one: each client has one of them, by weight, and keeps it.
    #[schemars(extend("minItems" = 1, "maxItems" = VERSIONS_MAX))]
    pub(crate) versions: Option<Vec<Option<VersionForm>>>,
    /// Who keeps a version.
    #[schemars(extend("default" = "principal"))]
    pub(crate) draw: Option<DrawForm>,
    /// Which tools are exposed, by name. By default all.
    pub(crate) tools: Option<SelectionForm>,
    /// Which prompts are exposed, by name. By default all.
    pub(crate) prompts: Option<SelectionForm>,
    /// Which resources and resource templates are exposed, by URI. By default all.
    pub(crate) resources: Option<SelectionForm>,
    /// What becomes of the server's instructions.
    #[schemars(extend("default" = "keep"))]
    pub(crate) instructions: Option<InstructionsForm>,
}

/// A version of a member.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(crate) struct VersionForm {
    /// The tool server.
    #[schemars(required)]
    pub(crate) server: Option<String>,
    /// Its share of clients, beside the weights of the others. With 0 it gets no new ones, and
    /// sessions that have it keep it.
    #[serde(default)]
    #[schemars(schema_with = "weight", extend("default" = 1))]
    pub(crate) weight: Option<Number>,
}

/// Who keeps a version.
#[derive(Clone, Copy, Debug, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum DrawForm {
    /// Each principal, in all of its sessions and without one.
    Principal,
    /// Each session draws for itself; stateless clients have their principal's.
    Session,
}

/// What becomes of a server's instructions.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum InstructionsForm {
    /// They are part of the toolset's.
    Keep,
    /// They are left out.
    Omit,
}

/// A choice by patterns, in which `*` stands for any characters: what some `include` matches and no
/// `exclude` does.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(crate) struct SelectionForm {
    /// What is exposed. By default everything; an empty list is nothing.
    #[schemars(extend("maxItems" = PATTERNS_MAX, "uniqueItems" = true))]
    pub(crate) include: Option<Vec<Option<String>>>,
    /// What of it is not, and cannot be called either.
    #[schemars(extend("maxItems" = PATTERNS_MAX, "uniqueItems" = true))]
    pub(crate) exclude: Option<Vec<Option<String>>>,
}

/// What a rule of tools or prompts is for.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(crate) struct NameMatchForm {
    /// The member whose they are, by its name in `servers`. By default any.
    pub(crate) server: Option<String>,
    /// The tool server, where only one version of the member is meant.
    pub(crate) version: Option<String>,
    /// A pattern of their names, as the server lists them; `*` stands for any characters.
    #[schemars(required, extend("minLength" = 1, "maxLength" = PATTERN_BYTES_MAX))]
    pub(crate) name: Option<String>,
}

/// What a rule of resources is for.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(crate) struct UriMatchForm {
    /// The member whose they are, by its name in `servers`. By default any.
    pub(crate) server: Option<String>,
    /// The tool server, where only one version of the member is meant.
    pub(crate) version: Option<String>,
    /// A pattern of their URIs or URI templates, as the server lists them; `*` stands for any
    /// characters.
    #[schemars(required, extend("minLength" = 1, "maxLength" = PATTERN_BYTES_MAX))]
    pub(crate) uri: Option<String>,
}

/// A change of some tools.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(crate) struct ToolRuleForm {
    /// Which tools.
    #[schemars(required)]
    pub(crate) r#match: Option<NameMatchForm>,
    /// The name that clients see, exactly so whatever the naming. Each `*` stands for what the same
    /// `*` of the pattern stood for.
    pub(crate) rename: Option<String>,
    /// The title instead of the server's.
    pub(crate) title: Option<String>,
    /// The description instead of the server's.
    pub(crate) description: Option<String>,
    /// Changes of arguments, by name.
    #[schemars(extend("maxProperties" = ARGUMENTS_MAX))]
    pub(crate) arguments: Option<BTreeMap<String, ArgumentForm>>,
    /// Tags, which clients see under `_meta` as `quorate/tags`.
    #[schemars(extend("maxItems" = TAGS_MAX, "uniqueItems" = true))]
    pub(crate) tags: Option<Vec<Option<String>>>,
    /// Annotations instead of the server's.
    pub(crate) annotations: Option<ToolAnnotationsForm>,
    /// How long a call may take, if that is shorter than what the server may take.
    #[serde(default)]
    #[schemars(schema_with = "timeout")]
    pub(crate) timeout: Option<String>,
    /// Calls of each tool in progress at once; more are refused.
    #[serde(default)]
    #[schemars(schema_with = "concurrency")]
    pub(crate) concurrency: Option<Number>,
    /// A second call with the same arguments does no harm, so that one that was in flight on a node
    /// that was lost may be sent again. What servers say of that themselves is not trusted.
    #[schemars(extend("default" = false))]
    pub(crate) replayable: Option<bool>,
}

/// A change of some prompts.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(crate) struct PromptRuleForm {
    /// Which prompts.
    #[schemars(required)]
    pub(crate) r#match: Option<NameMatchForm>,
    /// The name that clients see, as of tools.
    pub(crate) rename: Option<String>,
    /// The title instead of the server's.
    pub(crate) title: Option<String>,
    /// The description instead of the server's.
    pub(crate) description: Option<String>,
    /// Changes of arguments, by name; a fixed one is a text.
    #[schemars(extend("maxProperties" = ARGUMENTS_MAX))]
    pub(crate) arguments: Option<BTreeMap<String, ArgumentForm>>,
    /// Tags, as of tools.
    #[schemars(extend("maxItems" = TAGS_MAX, "uniqueItems" = true))]
    pub(crate) tags: Option<Vec<Option<String>>>,
}

/// A change of some resources or resource templates.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(crate) struct ResourceRuleForm {
    /// Which resources and resource templates.
    #[schemars(required)]
    pub(crate) r#match: Option<UriMatchForm>,
    /// The title instead of the server's.
    pub(crate) title: Option<String>,
    /// The description instead of the server's.
    pub(crate) description: Option<String>,
    /// Tags, as of tools.
    #[schemars(extend("maxItems" = TAGS_MAX, "uniqueItems" = true))]
    pub(crate) tags: Option<Vec<Option<String>>>,
    /// Annotations instead of the server's.
    pub(crate) annotations: Option<ResourceAnnotationsForm>,
}

/// A change of an argument: one of its keys.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(crate) struct ArgumentForm {
    /// Clients neither see nor send it. What requires it has to have it fixed instead.
    pub(crate) hide: Option<bool>,
    /// As `hide`, and the server always gets this value, of any type.
    #[serde(default, deserialize_with = "given")]
    #[schemars(schema_with = "any")]
    pub(crate) fix: Option<Value>,
    /// The description instead of the server's.
    pub(crate) description: Option<String>,
}

/// Hints of what a tool does, for clients that ask people before a call.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(crate) struct ToolAnnotationsForm {
    /// It changes nothing.
    pub(crate) read_only_hint: Option<bool>,
    /// What it changes may be lost.
    pub(crate) destructive_hint: Option<bool>,
    /// A second call with the same arguments changes nothing more.
    pub(crate) idempotent_hint: Option<bool>,
    /// It reaches beyond what the server keeps.
    pub(crate) open_world_hint: Option<bool>,
}

/// Whom a resource is for.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(crate) struct ResourceAnnotationsForm {
    /// Who is meant to read it.
    #[schemars(extend("maxItems" = 2, "uniqueItems" = true))]
    pub(crate) audience: Option<Vec<Option<RoleForm>>>,
}

/// Who reads a resource.
#[derive(Clone, Copy, Debug, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum RoleForm {
    /// The person.
    User,
    /// The model.
    Assistant,
}

/// How the tools of a toolset are searched.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(crate) struct SearchForm {
    /// Which tools are listed without being searched for.
    #[schemars(extend("default" = "all"))]
    pub(crate) disclosure: Option<DisclosureForm>,
    /// With `progressive`, patterns of the names, as clients see them, of tools that are always
    /// listed. By default none.
    #[schemars(extend("maxItems" = PATTERNS_MAX, "uniqueItems" = true))]
    pub(crate) pinned: Option<Vec<Option<String>>>,
    /// The most tools that one search returns.
    #[serde(default)]
    #[schemars(schema_with = "results", extend("default" = RESULTS.1))]
    pub(crate) results: Option<Number>,
}

/// Which tools are listed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum DisclosureForm {
    /// All of them.
    All,
    /// `find_tools`, the pinned ones, and in a session what it has found. The others can be called.
    Progressive,
}

/// The longest and shortest timeout of a tool, in seconds and as documents write it.
pub(crate) const TIMEOUT_SECONDS: (u64, u64) = (1, 24 * 3600);
/// The fewest and most calls of a tool at once.
pub(crate) const CONCURRENCY: (u32, u32) = (1, 100_000);
/// The fewest, default and most tools of one search: definitions are long, and models read them all.
pub(crate) const RESULTS: (u32, u32, u32) = (1, 5, 50);

// === impl DeniedForm ===

impl From<DeniedForm> for Denied {
    fn from(form: DeniedForm) -> Self {
        match form {
            DeniedForm::Unknown => Self::Unknown,
            DeniedForm::Forbidden => Self::Forbidden,
        }
    }
}

// === impl DurabilityForm ===

impl From<DurabilityForm> for Durability {
    fn from(form: DurabilityForm) -> Self {
        match form {
            DurabilityForm::Strict => Self::Strict,
            DurabilityForm::Ephemeral => Self::Ephemeral,
        }
    }
}

// === impl DrawForm ===

impl From<DrawForm> for Draw {
    fn from(form: DrawForm) -> Self {
        match form {
            DrawForm::Principal => Self::Principal,
            DrawForm::Session => Self::Session,
        }
    }
}

/// Reads a value that may be null: a key that is not there is another thing.
fn given<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Value>, D::Error> {
    Value::deserialize(deserializer).map(Some)
}

fn any(_: &mut SchemaGenerator) -> Schema {
    // A fixed argument may be a credential.
    json_schema!({ "x-any": true, "x-secret": true })
}

fn weight(_: &mut SchemaGenerator) -> Schema {
    json_schema!({ "type": "integer", "minimum": 0, "maximum": WEIGHT_MAX })
}

fn results(_: &mut SchemaGenerator) -> Schema {
    let (min, _, max) = RESULTS;
    json_schema!({ "type": "integer", "minimum": min, "maximum": max })
}

fn concurrency(_: &mut SchemaGenerator) -> Schema {
    json_schema!({ "type": "integer", "minimum": CONCURRENCY.0, "maximum": CONCURRENCY.1 })
}

fn timeout(_: &mut SchemaGenerator) -> Schema {
    json_schema!({
        "type": "string", "pattern": "^[0-9]+ ?(ms|s|m|h|d)$", "x-unit": "time", "x-minimum": "1s", "x-maximum": "1d",
    })
}
