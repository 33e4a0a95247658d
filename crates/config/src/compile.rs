//! From a document's tree to a valid resource.
//!
//! First the shape is checked against the schema of the document's kind, then the values that the
//! shape cannot judge: names, addresses, URLs, ranges, and keys that contradict each other. Every
//! check reports and goes on; a resource comes out only when nothing was reported.

use std::path::{Path as FilePath, PathBuf};
use std::time::Duration;

use quorate_types::units::format_duration;
use quorate_types::{ResourceName, TenantId};
use serde::de::DeserializeOwned;
use serde_json::Value as Json;

use crate::error::{Place, Problem, Reason, shown};
use crate::inline::Inline;
use crate::node::{Node, Path};
use crate::report::Report;
use crate::resource::{ApiKey, Issuer, Kind, Listener, Model, Policy, Provider, Tenant, ToolServer, Toolset};
use crate::suggest::nearest;
use crate::{schema, shape};

mod api_key;
mod credential;
mod issuer;
mod listener;
pub(crate) mod model;
mod openapi;
mod policy;
mod provider;
mod scopes;
mod secret;
mod stdio;
mod tenant;
mod tool_server;
mod toolset;
mod trusted_url;

pub use tool_server::check_url;

/// What a document turned out to be.
#[derive(Debug)]
pub(crate) struct Compiled {
    /// Its place, with kind and name as far as they are known.
    pub(crate) place: Place,
    /// Its kind and name, when both are valid; known even when the rest is not, so that whoever
    /// refers to it is not blamed.
    pub(crate) identity: Option<(Kind, ResourceName)>,
    /// The resource, when the whole document is valid.
    pub(crate) resource: Option<Resource>,
}

/// A resource of any kind.
#[derive(Debug)]
pub(crate) enum Resource {
    Listener(Listener),
    ToolServer(ToolServer),
    Toolset(Toolset),
    Provider(Box<Provider>),
    Model(Box<Model>),
    Issuer(Issuer),
    ApiKey(ApiKey),
    Tenant(Tenant),
    Policy(Policy),
}

/// What every kind has beside its spec.
#[derive(Clone, Debug)]
struct Head {
    name: ResourceName,
    tenant: TenantId,
}

/// Where a document lives, which says what a path in it means.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Home<'a> {
    /// In a file of this folder, where relative paths begin.
    Folder(&'a FilePath),
    /// In a cluster, where a path is one on each node, and texts of files that came along are put into this folder.
    Cluster(&'a FilePath),
}

/// Where a spec stands: its key path, and where its document lives.
#[derive(Clone, Debug)]
struct Site<'a> {
    at: Path,
    home: Home<'a>,
}

/// Compiles one document; what is wrong is added to `problems`.
pub(crate) fn compile(node: &Node, mut place: Place, home: Home<'_>, problems: &mut Vec<Problem>) -> Compiled {
    let before = problems.len();
    let given_name = node.get("name").and_then(Node::as_text);
    place.name = given_name.map(str::to_owned);
    place.line = node.line;
    let Some(kind) = kind_of(node, &mut Report::new(place.clone(), node, problems)) else {
        return Compiled { place, identity: None, resource: None };
    };
    place.kind = Some(kind);

    let mut report = Report::new(place.clone(), node, problems);
    let rest = shape::check(node, schema::of_kind(kind), &Path::default(), &mut report);
    let name = rest.as_ref().and_then(|rest| text_key(rest, "name", ResourceName::new, &mut report));
    let tenant = rest.as_ref().and_then(|rest| tenant_of(rest, &mut report));
    let site = Site { at: Path::default().key("spec"), home };
    let spec = rest.and_then(|mut rest| rest.get_mut("spec").map(Json::take)).filter(Json::is_object);
    let compiled = spec.and_then(|spec| {
        // The spec is checked even when the head is not valid, under a name that goes nowhere.
        let head = Head { name: name.clone().unwrap_or_else(unnamed), tenant: tenant.unwrap_or_default() };
        resource(kind, head, spec, &site, &mut report)
    });
    let resource = compiled.filter(|_| problems.len() == before);
    Compiled { place, identity: name.map(|name| (kind, name)), resource }
}

/// Compiles a spec that has the shape of its kind.
fn resource(kind: Kind, head: Head, spec: Json, site: &Site<'_>, report: &mut Report<'_>) -> Option<Resource> {
    match kind {
        Kind::Listener => listener::compile(head, &read(spec, report)?, site, report).map(Resource::Listener),
        Kind::ToolServer => tool_server::compile(head, read(spec, report)?, site, report).map(Resource::ToolServer),
        Kind::Toolset => toolset::compile(head, &read(spec, report)?, site, report).map(Resource::Toolset),
        Kind::Provider => {
            provider::compile(head, &read(spec, report)?, site, report).map(|one| Resource::Provider(Box::new(one)))
        }
        Kind::Model => {
            model::compile(head, &read(spec, report)?, site, report).map(|one| Resource::Model(Box::new(one)))
        }
        Kind::Issuer => issuer::compile(head, &read(spec, report)?, site, report).map(Resource::Issuer),
        Kind::ApiKey => api_key::compile(head, &read(spec, report)?, site, report).map(Resource::ApiKey),
        Kind::Tenant => tenant::compile(head, &read(spec, report)?, site, report).map(Resource::Tenant),
        Kind::Policy => policy::compile(head, read(spec, report)?, site, report).map(Resource::Policy),
    }
}

/// Finds out the kind, which decides on everything else.
fn kind_of(node: &Node, report: &mut Report<'_>) -> Option<Kind> {
    let words = Kind::ALL.map(Kind::as_str);
    let at = Path::default().key("kind");
    let Some(given) = node.get("kind") else {
        let description = format!("a document has kind, name and spec; kinds are {}", words.join(", "));
        report.push(&at, Reason::Missing { description });
        return None;
    };
    let text = given.as_text().unwrap_or_default();
    let kind = Kind::of(text);
    if kind.is_none() {
        let suggestion = nearest(text, words).map(str::to_owned);
        let allowed = words.map(str::to_owned).to_vec();
        report.push(&at, Reason::NotAChoice { value: shown(text), suggestion, allowed });
    }
    kind
}

fn tenant_of(rest: &Json, report: &mut Report<'_>) -> Option<TenantId> {
    text_key(rest, "tenant", TenantId::new, report)
}

fn text_key<T, E: ToString>(
    rest: &Json,
    key: &str,
    make: impl FnOnce(&str) -> Result<T, E>,
    report: &mut Report<'_>,
) -> Option<T> {
    let text = rest.get(key)?.as_str()?;
    report.accept(&Path::default().key(key), parsed(text, make))
}

/// Parses a text, and makes the error one that shows it.
fn parsed<T, E: ToString>(text: &str, make: impl FnOnce(&str) -> Result<T, E>) -> Result<T, Reason> {
    make(text).map_err(|error| Reason::Invalid { value: shown(text), message: error.to_string() })
}

/// Parses a list of names; those that are none are reported.
fn names(given: &[Option<String>], at: &Path, report: &mut Report<'_>) -> Vec<ResourceName> {
    let texts = given.iter().enumerate().filter_map(|(index, text)| Some((index, text.as_deref()?)));
    texts.filter_map(|(index, text)| report.accept(&at.index(index), parsed(text, ResourceName::new))).collect()
}

/// Parses where a file is: one that stays where it is, such as a private key.
fn file(text: &str, site: &Site<'_>) -> Result<PathBuf, Reason> {
    site.home.path(text).map_err(|message| Reason::Invalid { value: shown(text), message: message.to_owned() })
}

/// Parses where a file is whose text may be in the document itself ([`crate::inline`]).
fn content(text: &str, site: &Site<'_>) -> Result<PathBuf, Reason> {
    let Home::Cluster(folder) = site.home else { return file(text, site) };
    match Inline::of(text) {
        Some(inline) => {
            let refuse = |message: &str| Reason::Invalid { value: shown(text), message: message.to_owned() };
            Ok(folder.join(inline.map_err(refuse)?.file_name()))
        }
        None => file(text, site),
    }
}

/// Parses a list of files, as [`content`] does; those that are none are reported.
fn files(given: Option<&[Option<String>]>, at: &Path, site: &Site<'_>, report: &mut Report<'_>) -> Vec<PathBuf> {
    let texts = given.into_iter().flatten().enumerate().filter_map(|(index, text)| Some((index, text.as_deref()?)));
    texts.filter_map(|(index, text)| report.accept(&at.index(index), content(text, site))).collect()
}

/// Two times of which the first must not be longer than the second.
struct Order<'a> {
    lesser: &'static str,
    greater: &'static str,
    at: &'a Path,
}

// === impl Home ===

impl Home<'_> {
    /// Finds out which file a path means.
    pub(crate) fn path(self, text: &str) -> Result<PathBuf, &'static str> {
        if text.is_empty() {
            return Err("a file name must not be empty");
        }
        match self {
            // An absolute path replaces the folder.
            Home::Folder(folder) => Ok(folder.join(text)),
            Home::Cluster(_) if FilePath::new(text).is_absolute() => Ok(PathBuf::from(text)),
            Home::Cluster(_) => Err("in a cluster a path must be absolute: each node reads its own file there"),
        }
    }
}

// === impl Order ===

impl Order<'_> {
    /// Reports a lesser time that the document gives too long. One that it does not give is a
    /// default, which follows the greater time down.
    fn check(&self, lesser: &mut Duration, given: bool, greater: Duration, report: &mut Report<'_>) {
        if *lesser <= greater {
            return;
        }
        if !given {
            *lesser = greater;
            return;
        }
        let (longer, shorter) = (format_duration(*lesser), format_duration(greater));
        let message = format!("{longer} is longer than {} ({shorter}): it must not be", self.greater);
        report.push(&self.at.key(self.lesser), Reason::Conflict { message });
    }
}

/// Reads what the shape left over. It cannot fail unless schema and forms disagree, and then the
/// document is refused rather than misread.
fn read<T: DeserializeOwned>(spec: Json, report: &mut Report<'_>) -> Option<T> {
    let result = serde_path_to_error::deserialize(spec).map_err(|error| Reason::Invalid {
        value: "the spec".to_owned(),
        message: format!("{} at {}", error.inner(), error.path()),
    });
    report.accept(&Path::default().key("spec"), result)
}

fn unnamed() -> ResourceName {
    ResourceName::new("unnamed").expect("it is a valid name")
}
