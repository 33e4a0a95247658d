//! Where a document says that a secret is: `env:NAME`, `file:PATH`, or the text itself.
//!
//! Nothing is read here, but headers that the document has whole are held against what a header may be. A secret's text
//! is shown by no problem.

use std::collections::BTreeMap;

use http::HeaderName;

use super::Site;
use crate::credential::HeaderSource;
use crate::error::{Reason, shown};
use crate::node::Path;
use crate::report::Report;
use crate::secret::SecretSource;

/// What comes before the name of an environment variable that holds a secret.
const ENV: &str = "env:";
/// What comes before the name of a file that holds a secret.
const FILE: &str = "file:";

/// Headers that a request to a tool server gets from us, whatever a document says.
const RESERVED: [&str; 16] = [
    "accept",
    "accept-encoding",
    "connection",
    "content-length",
    "content-type",
    "expect",
    "host",
    "keep-alive",
    "last-event-id",
    "proxy-connection",
    "te",
    "traceparent",
    "tracestate",
    "trailer",
    "transfer-encoding",
    "upgrade",
];
/// The beginning of the headers that belong to MCP (2025-06-18 and later).
const RESERVED_PREFIX: &str = "mcp-";

/// Reads where a secret is from; its text is never shown.
pub(super) fn source(text: &str, site: &Site<'_>) -> Result<SecretSource, Reason> {
    if let Some(name) = text.strip_prefix(ENV) {
        let valid = !name.is_empty() && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_');
        let message = "a variable's name has letters, digits and _ only".to_owned();
        return if valid {
            Ok(SecretSource::Env(name.to_owned()))
        } else {
            Err(Reason::Invalid { value: shown(text), message })
        };
    }
    if let Some(path) = text.strip_prefix(FILE) {
        if path.is_empty() {
            return Err(hidden("a file name must follow file:"));
        }
        let refuse = |message: &str| Reason::Invalid { value: shown(text), message: message.to_owned() };
        return site.home.path(path).map(SecretSource::File).map_err(refuse);
    }
    if text.is_empty() { Err(hidden("it is empty")) } else { Ok(SecretSource::literal(text)) }
}

/// Reads `spec.headers`.
pub(super) fn headers(
    given: &BTreeMap<String, String>,
    at: &Path,
    site: &Site<'_>,
    report: &mut Report<'_>,
) -> Vec<HeaderSource> {
    let mut headers: Vec<HeaderSource> = Vec::with_capacity(given.len());
    for (name, value) in given {
        let Some(header) = report.accept(&at.key(name), header(name, None, value, site)) else { continue };
        if headers.iter().any(|other| other.name == header.name) {
            let message = format!("the header {} is there twice: names are the same in any case", header.name);
            report.push(at, Reason::Conflict { message });
        }
        headers.push(header);
    }
    headers
}

/// Reads one header; a value that the document has whole must be one.
pub(super) fn header(name: &str, scheme: Option<&str>, value: &str, site: &Site<'_>) -> Result<HeaderSource, Reason> {
    let name = header_name(name)?;
    let header = HeaderSource { name, scheme: scheme.map(str::to_owned), value: source(value, site)? };
    if matches!(header.value, SecretSource::Literal(_)) {
        header.read().map_err(|error| hidden(&error.to_string()))?;
    }
    Ok(header)
}

/// Reads the name of a header that is not ours to set.
pub(super) fn header_name(name: &str) -> Result<HeaderName, Reason> {
    let invalid = |message: &str| Reason::Invalid { value: shown(name), message: message.to_owned() };
    let name = HeaderName::from_bytes(name.as_bytes()).map_err(|_| invalid("it is not a header name"))?;
    if RESERVED.contains(&name.as_str()) || name.as_str().starts_with(RESERVED_PREFIX) {
        return Err(invalid("this header is set by the protocol and cannot be chosen"));
    }
    Ok(name)
}

fn hidden(message: &str) -> Reason {
    Reason::Invalid { value: "the value (hidden)".to_owned(), message: message.to_owned() }
}
