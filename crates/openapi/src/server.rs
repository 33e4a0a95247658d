//! Where an operation's requests go: scheme, host, port and the path in front of all paths.
//!
//! The document names servers for itself, for a path or for an operation; the nearest wins. Whoever configures a URL
//! replaces them all, so that a test system is never left by one operation that names another host. What comes out is
//! fixed: no argument of a call can change where it goes.

use std::collections::BTreeMap;
use std::sync::Arc;

use url::Url;

use crate::document::Document;
use crate::node::Node;
use crate::operation::Operation;
use crate::problem::{Fault, Reason, shown};

/// Which of the document's servers is used.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Server {
    /// The first that the document names, per operation, path or document.
    #[default]
    First,
    /// The one at this index, from 0, of the document's own list; operations and paths with servers of their own keep
    /// the first of those.
    Index(usize),
    /// This URL for everything, whatever the document names.
    Url(Url),
}

/// The beginning of request URIs: scheme, authority and path, without a slash at its end. Clones share it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Base(Arc<str>);

/// How servers are chosen and filled in.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Choice<'a> {
    pub(crate) server: &'a Server,
    pub(crate) variables: &'a BTreeMap<String, String>,
}

// === impl Base ===

impl Base {
    pub(crate) fn as_str(&self) -> &str {
        &self.0
    }

    /// Tells whether both are at the same scheme, host and port.
    pub(crate) fn has_origin_of(&self, other: &Self) -> bool {
        let origin = |base: &Self| Url::parse(&base.0).ok().map(|url| url.origin());
        origin(self).is_some_and(|own| origin(other) == Some(own))
    }

    fn of(url: &Url, at: impl Fn(Reason) -> Fault) -> Result<Self, Fault> {
        let invalid = |message: &str| at(Reason::Invalid { value: shown(&hidden(url)), message: message.to_owned() });
        if !matches!(url.scheme(), "http" | "https") || url.host_str().is_none_or(str::is_empty) {
            return Err(invalid("a server is an http:// or https:// URL with a host"));
        }
        if !url.username().is_empty() || url.password().is_some() {
            return Err(invalid("credentials do not belong into a server's URL"));
        }
        if url.query().is_some() || url.fragment().is_some() {
            return Err(invalid("a server's URL has neither ? nor #"));
        }
        Ok(Self(Arc::from(url.as_str().trim_end_matches('/'))))
    }
}

fn hidden(url: &Url) -> String {
    let mut url = url.clone();
    // A URL without a host has no credentials to take out.
    let _ = url.set_password(None);
    url.to_string()
}

// === impl Choice ===

impl Choice<'_> {
    /// Finds the base of the document's own operations.
    ///
    /// # Errors
    /// A fault when no absolute URL comes out, or the configuration names a server or variable that does not exist.
    pub(crate) fn of_document(&self, document: &Document) -> Result<Base, Fault> {
        self.check_variables(document)?;
        let root = document.node();
        if let Server::Url(url) = self.server {
            return Base::of(url, |reason| root.fault(reason));
        }
        let Some(servers) = root.get("servers").filter(|servers| servers.value.as_array() != Some(&Vec::new())) else {
            let what = "the key servers, with the URL that requests go to (or a server in the configuration),";
            return Err(root.fault(Reason::Missing { what: what.to_owned() }));
        };
        let index = if let Server::Index(index) = self.server { *index } else { 0 };
        let count = servers.items()?.count();
        let Some(server) = servers.items()?.nth(index) else {
            let allowed = (0..count).map(|index| index.to_string()).collect();
            return Err(servers.fault(Reason::NotAChoice { value: index.to_string(), allowed }));
        };
        self.fill(&server, None)
    }

    /// Finds the base of one operation; `default` is the document's.
    ///
    /// # Errors
    /// A fault when the servers of the operation or of its path give no URL.
    pub(crate) fn of_operation(&self, operation: &Operation<'_>, default: &Base) -> Result<Base, Fault> {
        if matches!(self.server, Server::Url(_)) {
            return Ok(default.clone());
        }
        for node in [&operation.node, &operation.item] {
            let Some(servers) = node.get("servers") else { continue };
            let first = servers.items()?.next();
            if let Some(server) = first {
                return self.fill(&server, Some(default));
            }
        }
        Ok(default.clone())
    }

    /// Puts the variables into a server's URL; a relative one begins at `default`.
    fn fill(&self, server: &Node<'_>, default: Option<&Base>) -> Result<Base, Fault> {
        let missing = || server.fault(Reason::Missing { what: "the key url".to_owned() });
        let at = server.get("url").ok_or_else(missing)?;
        let mut rest = at.text()?;
        let mut filled = String::with_capacity(rest.len());
        while let Some((before, after)) = rest.split_once('{') {
            let Some((name, after)) = after.split_once('}') else {
                let message = "a { is not closed".to_owned();
                return Err(at.fault(Reason::Invalid { value: shown(rest), message }));
            };
            filled.push_str(before);
            filled.push_str(&self.value(server, name)?);
            rest = after;
        }
        filled.push_str(rest);
        let parsed = match default.and_then(|base| Url::parse(&format!("{}/", base.as_str())).ok()) {
            Some(base) => base.join(&filled),
            None => Url::parse(&filled),
        };
        let url = parsed.map_err(|error| {
            let message = format!("{error}; name the server's URL in the configuration");
            at.fault(Reason::Invalid { value: shown(&filled), message })
        })?;
        Base::of(&url, |reason| at.fault(reason))
    }

    fn value(&self, server: &Node<'_>, name: &str) -> Result<String, Fault> {
        let missing = |what: String| server.fault(Reason::Missing { what });
        let variable = server.get("variables").and_then(|variables| variables.get(name));
        let variable = variable.ok_or_else(|| missing(format!("the server variable {}", shown(name))))?;
        let value = match self.variables.get(name) {
            Some(value) => value.clone(),
            None => text_or_number(&variable, "default")?
                .ok_or_else(|| missing(format!("a default of the server variable {}", shown(name))))?,
        };
        if let Some(choices) = variable.get("enum") {
            let allowed: Vec<String> =
                choices.items()?.map(|choice| choice.text().map(str::to_owned)).collect::<Result<_, _>>()?;
            if !allowed.is_empty() && !allowed.contains(&value) {
                return Err(choices.fault(Reason::NotAChoice { value: shown(&value), allowed }));
            }
        }
        Ok(value)
    }

    /// Every configured variable is one of some server of the document.
    fn check_variables(&self, document: &Document) -> Result<(), Fault> {
        let root = document.node();
        let mut known: Vec<String> = Vec::new();
        let mut collect = |node: &Node<'_>| {
            let servers = node.value.get("servers").and_then(|servers| servers.as_array()).into_iter().flatten();
            let variables = servers.filter_map(|server| server.get("variables")?.as_object());
            known.extend(variables.flat_map(|variables| variables.keys().cloned()));
        };
        collect(&root);
        if let Some(paths) = root.get("paths").filter(|paths| paths.value.is_object()) {
            for (_, item) in paths.members()? {
                collect(&item);
                if item.value.is_object() {
                    item.members()?.for_each(|(_, operation)| collect(&operation));
                }
            }
        }
        known.sort_unstable();
        known.dedup();
        match self.variables.keys().find(|name| !known.contains(name)) {
            Some(unknown) => {
                let pointer = "#/servers".to_owned();
                Err(Fault { pointer, reason: Reason::NotAChoice { value: shown(unknown), allowed: known } })
            }
            None => Ok(()),
        }
    }
}

/// Defaults such as `8443` are often written without quotes.
fn text_or_number(node: &Node<'_>, key: &str) -> Result<Option<String>, Fault> {
    match node.get(key) {
        None => Ok(None),
        Some(value) if value.value.is_number() => Ok(Some(value.value.to_string())),
        Some(value) => value.text().map(|text| Some(text.to_owned())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::document::Format;
    use crate::limits::DEFAULTS;
    use crate::operation;

    const DOCUMENT: &str = "
openapi: 3.0.0
servers:
  - url: 'https://{region}.example.com:{port}/v1/'
    variables: {region: {default: eu, enum: [eu, us]}, port: {default: 8443}}
  - url: http://127.0.0.1:9000
  - url: /relative
  - url: 'ftp://example.com'
  - url: 'https://user:secret@example.com'
paths:
  /a: {get: {}}
  /b: {servers: [{url: https://b.example.com}], get: {}, post: {servers: [{url: ../v2}]}}
";

    fn bases(server: &Server, variables: &[(&str, &str)]) -> Result<Vec<String>, String> {
        let variables = variables.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
        let document = Document::read(DOCUMENT, Format::Yaml, &DEFAULTS).expect("is read");
        let choice = Choice { server, variables: &variables };
        let shown = |fault: Fault| fault.refused().to_string();
        let default = choice.of_document(&document).map_err(shown)?;
        let (operations, _) = operation::all(&document).expect("has paths");
        let base = |operation| choice.of_operation(operation, &default).map(|base| base.as_str().to_owned());
        operations.iter().map(base).collect::<Result<_, _>>().map_err(shown)
    }

    #[test]
    fn the_nearest_server_wins_and_a_configured_url_wins_over_all() {
        let first = ["https://eu.example.com:8443/v1", "https://b.example.com", "https://eu.example.com:8443/v2"];
        assert_eq!(bases(&Server::First, &[]), Ok(first.map(str::to_owned).to_vec()));
        let local = ["http://127.0.0.1:9000", "https://b.example.com", "http://127.0.0.1:9000/v2"];
        assert_eq!(bases(&Server::Index(1), &[]), Ok(local.map(str::to_owned).to_vec()));
        let url = Url::parse("http://127.0.0.1:1/x/").expect("is a URL");
        assert_eq!(bases(&Server::Url(url), &[]), Ok(vec!["http://127.0.0.1:1/x".to_owned(); 3]));
    }

    #[test]
    fn variables_come_from_the_configuration_or_their_default_and_are_checked() {
        let us = bases(&Server::First, &[("region", "us"), ("port", "1")]).expect("are valid");
        assert_eq!(us[0], "https://us.example.com:1/v1");
        let cases = [
            (
                bases(&Server::First, &[("region", "mars")]),
                "#/servers/0/variables/region/enum: \"mars\" is not a choice; allowed: eu, us",
            ),
            (bases(&Server::First, &[("zone", "1")]), "#/servers: \"zone\" is not a choice; allowed: port, region"),
            (bases(&Server::Index(9), &[]), "#/servers: 9 is not a choice; allowed: 0, 1, 2, 3, 4"),
        ];
        for (found, expected) in cases {
            assert_eq!(found, Err(expected.to_owned()));
        }
    }

    #[test]
    fn what_is_no_absolute_http_url_is_refused_without_its_password() {
        for (index, expected) in [(2, "relative URL"), (3, "http:// or https://"), (4, "credentials")] {
            let found = bases(&Server::Index(index), &[]).expect_err("is refused");
            assert!(found.contains(expected) && !found.contains("secret"), "{found}");
        }
    }
}
