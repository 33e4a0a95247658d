//! The file of cases, and callers as the command line and the file write them.
//!
//! ```yaml
//! cases:
//!   - name: engineers read public files
//!     as: { agent: ci, user: corp/ann, groups: [engineers], scopes: [files] }
//!     do: mcp:call
//!     on: Tool::"files/read"
//!     arguments: { path: /pub/a }
//!     expect: allow
//! ```
//!
//! JSON is YAML. A key that is not known, or there twice, is an error: a case that is misread proves nothing.

use std::fs::File;
use std::io::Read as _;
use std::path::Path;

use quorate_config::ResourceSet;
use quorate_policy::{Action, Case, Expected};
use quorate_types::{Principal, ResourceName, TenantId, User};
use serde::{Deserialize, Deserializer, de};

use crate::run::shown;

/// The largest file: ten thousand cases.
const FILE_BYTES_MAX: u64 = 4 * 1024 * 1024;

/// The deepest nesting: arguments of tools are no deeper.
const DEPTH_MAX: usize = 64;

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Cases {
    cases: Vec<Form>,
}

/// A case, as it is written.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Form {
    pub(super) name: String,
    #[serde(rename = "as", default)]
    pub(super) who: Caller,
    #[serde(rename = "do", deserialize_with = "action")]
    pub(super) action: Action,
    pub(super) on: String,
    #[serde(default = "default_toolset")]
    pub(super) toolset: ResourceName,
    #[serde(default)]
    pub(super) tags: Vec<String>,
    #[serde(default)]
    pub(super) arguments: Option<serde_json::Value>,
    #[serde(rename = "expect", deserialize_with = "expected")]
    pub(super) expected: Expected,
}

/// A caller, as it is written.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct Caller {
    tenant: Option<TenantId>,
    agent: Option<String>,
    user: Option<String>,
    groups: Vec<String>,
    scopes: Vec<String>,
}

/// Reads the cases of a file.
///
/// # Errors
/// What is wrong, with the file and the case.
pub(super) fn read(path: &Path, resources: &ResourceSet) -> Result<Vec<Case>, String> {
    let at = |message: String| format!("{}: {message}", shown(path));
    let file = File::open(path).map_err(|error| at(format!("cannot be opened: {error}")))?;
    let mut text = String::new();
    let read = file.take(FILE_BYTES_MAX + 1).read_to_string(&mut text);
    if read.map_err(|error| at(format!("cannot be read: {error}")))? as u64 > FILE_BYTES_MAX {
        return Err(at(format!("has more than {FILE_BYTES_MAX} bytes")));
    }
    let forms = parse(&text).map_err(at)?;
    let case = |form: Form| {
        let name = form.name.clone();
        super::case(resources, form).map_err(|message| at(format!("case {name:?}: {message}")))
    };
    forms.into_iter().map(case).collect()
}

fn parse(text: &str) -> Result<Vec<Form>, String> {
    let options = serde_saphyr::options! {
        budget: serde_saphyr::budget! { max_depth: DEPTH_MAX },
        duplicate_keys: serde_saphyr::DuplicateKeyPolicy::Error,
        strict_booleans: true,
        with_snippet: false,
    };
    let parsed: Result<Cases, _> = serde_saphyr::from_str_with_options(text, options);
    match parsed {
        Ok(Cases { cases }) if cases.is_empty() => Err("has no cases".to_owned()),
        Ok(Cases { cases }) => Ok(cases),
        Err(error) => Err(error.render_with_formatter(&serde_saphyr::UserMessageFormatter)),
    }
}

/// Reads a caller from `KEY=VALUE` texts.
///
/// # Errors
/// The text that is none, and what may be written.
pub(super) fn principal(words: &[String]) -> Result<Principal, String> {
    let mut caller = Caller::default();
    for word in words {
        let (key, value) = word.split_once('=').unwrap_or((word, ""));
        match (key, value) {
            (_, "") => return Err(format!("--as {word:?} is not KEY=VALUE")),
            ("tenant", name) => {
                caller.tenant = Some(TenantId::new(name).map_err(|error| format!("--as {word:?}: {error}"))?);
            }
            ("agent", id) => caller.agent = Some(id.to_owned()),
            ("user", id) => caller.user = Some(id.to_owned()),
            ("group", name) => caller.groups.push(name.to_owned()),
            ("scope", name) => caller.scopes.push(name.to_owned()),
            _ => return Err(format!("--as {word:?}: known are tenant, agent, user, group and scope")),
        }
    }
    caller.principal()
}

// === impl Caller ===

impl Caller {
    pub(super) fn principal(self) -> Result<Principal, String> {
        let user = self.user.map(|user| {
            let named =
                user.split_once('/').and_then(|(issuer, subject)| Some((ResourceName::new(issuer).ok()?, subject)));
            let (source, subject) = named.ok_or_else(|| format!("user {user:?} is not ISSUER/SUBJECT"))?;
            // How the issuer calls itself is nothing that policies see.
            Ok::<_, String>(User { issuer: source.to_string(), subject: subject.to_owned(), source })
        });
        Ok(Principal {
            agent: self.agent,
            user: user.transpose()?,
            groups: self.groups.into_iter().collect(),
            scopes: self.scopes.into_iter().collect(),
            ..Principal::agent(self.tenant.unwrap_or_default(), "")
        })
    }
}

fn default_toolset() -> ResourceName {
    ResourceName::new("default").expect("it is a name")
}

fn action<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Action, D::Error> {
    let text = String::deserialize(deserializer)?;
    Action::parse(&text).ok_or_else(|| de::Error::custom(format!("there is no action {text:?}")))
}

fn expected<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Expected, D::Error> {
    let text = String::deserialize(deserializer)?;
    let allowed = || format!("allow, deny, or one of {}", quorate_policy::Denial::REASONS.join(", "));
    Expected::parse(&text).ok_or_else(|| de::Error::custom(format!("{text:?} is no decision: write {}", allowed())))
}
