//! The specs of `ApiKey`, `Tenant` and `Policy` as serde and the JSON schema see them.
//!
//! As in the parent module: types only, descriptions for whoever writes the file.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::Deserialize;

use crate::resource::identity::{ArgumentType, Mode};

/// The most scopes of one list.
pub(crate) const SCOPES_MAX: usize = 64;
/// The most keys of one document: the present one, the next, and one of each for who is slow to change.
pub(crate) const KEYS_MAX: usize = 4;
/// The most groups of one tenant.
pub(crate) const GROUPS_MAX: usize = 1_000;
/// The most agents, and the most users, of one group: beyond, an issuer's own groups are the better place.
pub(crate) const MEMBERS_MAX: usize = 10_000;
/// The most groups that one group is directly part of.
pub(crate) const WITHIN_MAX: usize = 32;
/// The most arguments that one policy declares: far more than tools have that are called with typed arguments.
pub(crate) const ARGUMENTS_MAX: usize = 64;

/// What lets an agent in by itself: keys, as `quorate keys new` makes them.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(crate) struct ApiKeyForm {
    /// The agent that callers with these keys are, as policies name it. By default the name of this document.
    pub(crate) agent: Option<String>,
    /// The scopes that the keys give.
    #[schemars(extend("default" = [], "maxItems" = SCOPES_MAX, "uniqueItems" = true))]
    pub(crate) scopes: Option<Vec<Option<String>>>,
    /// The keys, of which each one is enough: several while they are exchanged.
    #[schemars(required, extend("minItems" = 1, "maxItems" = KEYS_MAX))]
    pub(crate) keys: Option<Vec<Option<KeyForm>>>,
}

/// What is kept of a key. The key itself is shown once, when it is made.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(crate) struct KeyForm {
    /// The visible part of the key, between `qk_` and the next `_`: 12 characters of `a-z` and `2-7`.
    #[schemars(required)]
    pub(crate) id: Option<String>,
    /// The HMAC-SHA256 of its secret part, 64 digits of `0-9` and `a-f`. It is made with the node's own key.
    #[schemars(required, extend("x-secret" = true))]
    pub(crate) hmac: Option<String>,
    /// From when on the key is taken, such as `2027-01-31T00:00:00Z` (RFC 3339). By default at once.
    pub(crate) not_before: Option<String>,
    /// From when on the key is no longer taken, such as `2027-12-31T23:59:59Z` (RFC 3339). By default never.
    pub(crate) expires: Option<String>,
}

/// What an operator says of the tenant that has this document's name.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(crate) struct TenantForm {
    /// The groups of its callers, by name, beside those that issuers put them into.
    #[schemars(extend("maxProperties" = GROUPS_MAX))]
    pub(crate) groups: Option<BTreeMap<String, GroupForm>>,
}

/// A group of callers.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(crate) struct GroupForm {
    /// Groups of this document that it is part of: its members are theirs, too.
    #[schemars(extend("default" = [], "maxItems" = WITHIN_MAX, "uniqueItems" = true))]
    pub(crate) within: Option<Vec<Option<String>>>,
    /// Agents in it: the agent of an API key by its name, a workload by its SPIFFE id (`spiffe://DOMAIN/PATH`), that of
    /// a token as `ISSUER/SUBJECT`, where ISSUER is the name of an `Issuer`.
    #[schemars(extend("default" = [], "maxItems" = MEMBERS_MAX, "uniqueItems" = true))]
    pub(crate) agents: Option<Vec<Option<String>>>,
    /// Users in it, as `ISSUER/SUBJECT`, where ISSUER is the name of an `Issuer`.
    #[schemars(extend("default" = [], "maxItems" = MEMBERS_MAX, "uniqueItems" = true))]
    pub(crate) users: Option<Vec<Option<String>>>,
}

/// What callers may do. Nothing is allowed that no policy permits. Policies of tenant `default` are about everybody,
/// those of another tenant about its own callers.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(crate) struct PolicyForm {
    /// Policies in the Cedar language, at most 256 KiB.
    #[schemars(required)]
    pub(crate) cedar: Option<String>,
    /// The arguments of tools that the policies read, as `context.arguments`, and their types. By default none.
    #[schemars(extend("maxProperties" = ARGUMENTS_MAX))]
    pub(crate) arguments: Option<BTreeMap<String, ArgumentTypeForm>>,
    /// Whether the policies hold.
    #[schemars(extend("default" = "enforce"))]
    pub(crate) mode: Option<ModeForm>,
}

/// The type of a tool's argument.
#[derive(Clone, Copy, Debug, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum ArgumentTypeForm {
    /// A text.
    String,
    /// A whole number of 64 bits.
    Integer,
    /// A number of at most four digits behind the point.
    Number,
    /// True or false.
    Boolean,
    /// A list of texts, as a set.
    Strings,
}

/// Whether policies hold.
#[derive(Clone, Copy, Debug, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum ModeForm {
    /// They do.
    Enforce,
    /// They only count what they would deny.
    DryRun,
}

// === impl ArgumentTypeForm ===

impl From<ArgumentTypeForm> for ArgumentType {
    fn from(form: ArgumentTypeForm) -> Self {
        match form {
            ArgumentTypeForm::String => Self::String,
            ArgumentTypeForm::Integer => Self::Integer,
            ArgumentTypeForm::Number => Self::Number,
            ArgumentTypeForm::Boolean => Self::Boolean,
            ArgumentTypeForm::Strings => Self::Strings,
        }
    }
}

// === impl ModeForm ===

impl From<ModeForm> for Mode {
    fn from(form: ModeForm) -> Self {
        match form {
            ModeForm::Enforce => Self::Enforce,
            ModeForm::DryRun => Self::DryRun,
        }
    }
}
