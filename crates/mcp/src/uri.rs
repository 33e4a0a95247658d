//! Decides which server a resource URI belongs to, and how it is exposed.
//!
//! URIs are opaque and appear in results, links and UI metadata, so they stay as they are while
//! they are unique; a URI that two servers list is exposed as `quorate://SERVER/URI` for both.
//! [`Router::route`] goes from what a client sends to a server and that server's own URI,
//! [`Router::expose`] is the way back for URIs in results. Invariant: whatever is listed or matches
//! a template routes, as it is exposed for a server, to that server and no other. Under
//! [`Naming::Bare`] nothing is rewritten. What a toolset does not choose of a server is nowhere.

use std::borrow::Cow;
use std::collections::HashMap;
use std::sync::Arc;

use quorate_types::ResourceName;

use crate::curate::Curation;
use crate::listing::{Entry, Merged, Resolution, ServerIndex};
use crate::message::ListKind;
use crate::naming::{self, Assignment, Claim, Naming, Rung, skeleton};

pub use quorate_types::uri_template as template;
use template::{Template, Work};

/// What exposed URIs start with that name their server.
pub const SCHEME_PREFIX: &str = "quorate://";
/// The longest URI that a client may ask for, in bytes: what servers accept in a request line,
/// and room for the server's name.
pub const URI_BYTES_MAX: usize = crate::listing::NAME_BYTES_MAX + 128;
const _: () = assert!(SCHEME_PREFIX.len() + quorate_types::name::NAME_BYTES_MAX < 128);
/// The work that matching all templates of one server may cost per URI, about a tenth of a
/// millisecond: per server, so that none can spend the others'.
const TEMPLATE_WORK_MAX: usize = 100_000;

/// Finds the server of a resource URI.
#[derive(Clone, Debug)]
pub struct Router {
    naming: Naming,
    servers: Vec<Server>,
    resources: Arc<Merged>,
    templates: Arc<Merged>,
    /// Servers by `scheme://authority` and by `scheme` of what they list, in toolset order.
    authorities: HashMap<Box<str>, Vec<ServerIndex>>,
    unmatchable: usize,
    /// What servers may be asked for; everything where there is none.
    curation: Option<Arc<Curation>>,
}

/// Where a request for a resource goes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Route<'a> {
    /// To one server.
    To {
        /// The server.
        server: ServerIndex,
        /// The URI as that server knows it.
        uri: &'a str,
    },
    /// To these servers in turn, unchanged, until one has it. Empty when there are none.
    Ask(Vec<ServerIndex>),
    /// Several servers list it, so it stands for none of them.
    Ambiguous {
        /// The URIs that name a server.
        alternatives: Vec<&'a str>,
    },
}

/// A URI is longer than [`URI_BYTES_MAX`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a resource URI has at most {URI_BYTES_MAX} bytes")]
pub struct UriTooLong;

#[derive(Clone, Debug)]
struct Server {
    index: ServerIndex,
    name: ResourceName,
    templates: Vec<Template>,
}

/// Assigns exposed URIs (or URI templates) to what servers list.
///
/// A server's own `quorate:` URIs are always rewritten, so that it cannot name another.
#[must_use]
pub fn assign<'a>(naming: Naming, claims: &[Claim<'a>]) -> Assignment<'a> {
    match naming {
        Naming::Bare => naming::assign(Naming::Bare, claims, naming::Names::default()),
        Naming::Prefix | Naming::OnCollision => naming::settle(
            claims,
            naming::Given::of(claims, naming::Names::default()),
            |_| None,
            |claim, level| match level {
                0 if is_ours(claim.name) => Rung::Skip,
                0 => Rung::Own(Cow::Borrowed(claim.name)),
                1 => Rung::Own(Cow::Owned(named(claim.server_name, claim.name))),
                _ => Rung::End,
            },
        ),
    }
}

// === impl Router ===

impl Router {
    /// Makes a router for the servers that offer resources, in toolset order.
    ///
    /// # Panics
    /// When the merged lists are not of resources and of resource templates.
    #[must_use]
    pub fn new(
        naming: Naming,
        servers: &[(ServerIndex, ResourceName)],
        resources: Arc<Merged>,
        templates: Arc<Merged>,
    ) -> Self {
        assert_eq!(resources.kind(), ListKind::Resources, "the first list is of resources");
        assert_eq!(templates.kind(), ListKind::ResourceTemplates, "the second list is of templates");
        let servers =
            servers.iter().map(|(index, name)| Server { index: *index, name: name.clone(), templates: Vec::new() });
        let mut router = Self {
            naming,
            servers: servers.collect(),
            resources,
            templates,
            authorities: HashMap::new(),
            unmatchable: 0,
            curation: None,
        };
        router.learn();
        router
    }

    /// Returns the router that leads to nothing that the toolset does not choose.
    #[must_use]
    pub fn curated(mut self, curation: Option<Arc<Curation>>) -> Self {
        self.curation = curation;
        self
    }

    /// Returns how many templates are listed but cannot be matched: invalid or beyond a bound.
    #[must_use]
    pub const fn unmatchable(&self) -> usize {
        self.unmatchable
    }

    /// Tells whether URIs in results may have to be rewritten: else results need not be read.
    #[must_use]
    pub fn rewrites(&self) -> bool {
        self.naming != Naming::Bare
    }

    /// Finds where a request for `uri` goes: to the server that lists it, else the one that it
    /// names, else those with a template that matches, else those that list others of its authority
    /// or scheme, else to everybody.
    ///
    /// # Errors
    /// [`UriTooLong`].
    pub fn route<'a>(&'a self, uri: &'a str) -> Result<Route<'a>, UriTooLong> {
        if uri.len() > URI_BYTES_MAX {
            return Err(UriTooLong);
        }
        match self.resources.resolve(uri) {
            Resolution::Found(entry) => return Ok(Route::To { server: entry.server, uri: &entry.upstream }),
            Resolution::Ambiguous { alternatives } => return Ok(Route::Ambiguous { alternatives }),
            Resolution::Unknown => {}
        }
        if let Some((server, uri)) = self.named(uri) {
            let is_chosen = self.is_chosen(server, uri);
            return Ok(if is_chosen { Route::To { server, uri } } else { Route::Ask(Vec::new()) });
        }
        let chosen = |servers: Vec<ServerIndex>| -> Vec<ServerIndex> {
            servers.into_iter().filter(|server| self.is_chosen(*server, uri)).collect()
        };
        let mut servers = chosen(self.matching(uri));
        if servers.is_empty() {
            servers = chosen(self.of_authority(uri));
        }
        if servers.is_empty() {
            servers = chosen(self.servers.iter().map(|server| server.index).collect());
        }
        Ok(match servers[..] {
            [server] => Route::To { server, uri },
            [] | [_, _, ..] => Route::Ask(servers),
        })
    }

    /// Finds where a completion for `uri` goes, which is a listed template or a resource.
    ///
    /// # Errors
    /// [`UriTooLong`].
    pub fn route_reference<'a>(&'a self, uri: &'a str) -> Result<Route<'a>, UriTooLong> {
        match self.templates.resolve(uri) {
            Resolution::Found(entry) => Ok(Route::To { server: entry.server, uri: &entry.upstream }),
            Resolution::Ambiguous { alternatives } => Ok(Route::Ambiguous { alternatives }),
            Resolution::Unknown => self.route(uri),
        }
    }

    /// Returns what `server` lists as `uri`: a resource, or a template of some.
    #[must_use]
    pub fn listed(&self, kind: ListKind, server: ServerIndex, uri: &str) -> Option<&Entry> {
        let list = if kind == ListKind::ResourceTemplates { &self.templates } else { &self.resources };
        let found = |name: &str| match list.resolve(name) {
            Resolution::Found(entry) if entry.server == server && *entry.upstream == *uri => Some(entry),
            Resolution::Found(_) | Resolution::Ambiguous { .. } | Resolution::Unknown => None,
        };
        let under_its_server = || {
            let known = self.servers.iter().find(|known| known.index == server)?;
            found(&named(known.name.as_str(), uri))
        };
        found(uri).or_else(under_its_server)
    }

    /// Returns how the URI `uri` of `server` is exposed; borrowed when it stays as it is.
    ///
    /// A URI that nobody lists and no template explains stays, because it may well be one that
    /// the client can fetch itself.
    #[must_use]
    pub fn expose<'a>(&self, server: ServerIndex, uri: &'a str) -> Cow<'a, str> {
        if !self.rewrites() || (self.servers.len() < 2 && !is_ours(uri)) {
            return Cow::Borrowed(uri);
        }
        let stays = match self.resources.resolve(uri) {
            _ if is_ours(uri) => false,
            Resolution::Found(entry) => entry.server == server,
            Resolution::Ambiguous { .. } => false,
            Resolution::Unknown => {
                let matching = if uri.len() > URI_BYTES_MAX { Vec::new() } else { self.matching(uri) };
                matching.is_empty() || matching == [server]
            }
        };
        match self.servers.iter().find(|known| known.index == server) {
            Some(known) if !stays => Cow::Owned(named(known.name.as_str(), uri)),
            Some(_) | None => Cow::Borrowed(uri),
        }
    }

    fn is_chosen(&self, server: ServerIndex, uri: &str) -> bool {
        self.curation.as_ref().is_none_or(|curation| curation.has_uri(server, uri))
    }

    /// The server that a `quorate:` URI names, and that server's own URI.
    fn named<'a>(&self, uri: &'a str) -> Option<(ServerIndex, &'a str)> {
        if !self.rewrites() {
            return None;
        }
        let (name, uri) = uri.strip_prefix(SCHEME_PREFIX)?.split_once('/')?;
        let server = self.servers.iter().find(|server| server.name.as_str() == name)?;
        Some((server.index, uri))
    }

    /// The servers with a template that `uri` could be an expansion of.
    fn matching(&self, uri: &str) -> Vec<ServerIndex> {
        let matches = |server: &&Server| {
            let mut work = Work::new(TEMPLATE_WORK_MAX);
            // A server that spends its work has templates that could match anything; it is as
            // if they did not.
            server.templates.iter().any(|template| template.matches(uri, &mut work).unwrap_or(false))
        };
        self.servers.iter().filter(matches).map(|server| server.index).collect()
    }

    /// The servers that list something of the same authority, else of the same scheme.
    fn of_authority(&self, uri: &str) -> Vec<ServerIndex> {
        let Some((scheme, authority)) = scheme_and_authority(uri) else { return Vec::new() };
        let by_authority = authority.and_then(|authority| self.authorities.get(authority));
        by_authority.or_else(|| self.authorities.get(scheme)).cloned().unwrap_or_default()
    }

    /// Compiles the templates, and notes which authorities and schemes belong to whom.
    fn learn(&mut self) {
        for entry in self.templates.entries() {
            let Some(server) = self.servers.iter_mut().find(|server| server.index == entry.server) else { continue };
            match Template::parse(&entry.upstream) {
                Ok(template) => server.templates.push(template),
                Err(_) => self.unmatchable += 1,
            }
        }
        let resources = self.resources.entries().iter().map(|entry| (entry.server, &*entry.upstream));
        let templates = self.templates.entries().iter().map(|entry| {
            // Only what stands before the first expression is part of every expansion, and an
            // authority only when it ends there.
            let fixed = entry.upstream.split('{').next().unwrap_or_default();
            (entry.server, if fixed.len() == entry.upstream.len() { fixed } else { without_open_end(fixed) })
        });
        let mut authorities: HashMap<Box<str>, Vec<ServerIndex>> = HashMap::new();
        for (server, uri) in resources.chain(templates) {
            let Some((scheme, authority)) = scheme_and_authority(uri) else { continue };
            for key in [Some(scheme), authority].into_iter().flatten() {
                let owners = authorities.entry(key.into()).or_default();
                if let Err(place) = owners.binary_search(&server) {
                    owners.insert(place, server);
                }
            }
        }
        self.authorities = authorities;
    }
}

/// `quorate://SERVER/URI`, with the URI unchanged behind the slash.
///
/// Percent-encoding it could not be undone after a client has expanded a URI template, because the
/// expansion brings escapes of its own.
fn named(server: &str, uri: &str) -> String {
    format!("{SCHEME_PREFIX}{server}/{uri}")
}

/// Whether `uri` is, or looks, as if we had made it.
fn is_ours(uri: &str) -> bool {
    let seen = skeleton::of(uri);
    seen.get(..SCHEME_PREFIX.len()).is_some_and(|start| start.eq_ignore_ascii_case(SCHEME_PREFIX))
}

/// The scheme, and `scheme://authority` when there is one (RFC 3986 §3).
fn scheme_and_authority(uri: &str) -> Option<(&str, Option<&str>)> {
    let (scheme, rest) = uri.split_once(':')?;
    let valid = scheme.starts_with(|c: char| c.is_ascii_alphabetic())
        && scheme.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"+-.".contains(&byte));
    if !valid {
        return None;
    }
    let authority = rest.strip_prefix("//").and_then(|rest| {
        let length = rest.find(['/', '?', '#']).unwrap_or(rest.len());
        (length > 0).then(|| &uri[..scheme.len() + "://".len() + length])
    });
    Some((scheme, authority))
}

/// The fixed start of a template without an authority that an expression may go on with.
fn without_open_end(fixed: &str) -> &str {
    match fixed.split_once("://") {
        Some((scheme, rest)) if !rest.contains(['/', '?', '#']) => &fixed[..=scheme.len()],
        Some(_) | None => fixed,
    }
}

#[cfg(test)]
mod tests;
