//! What makes the spec of a `ToolServer` valid.
//!
//! URLs are absolute `http` or `https` without credentials or fragment: those belong into `credential` or `headers`,
//! whose values are kept out of every log and error. Headers that the protocol or the connection sets are refused,
//! because two parties cannot both set them (see the module `secret`).

use std::collections::BTreeMap;

use url::Url;

use super::{Head, Order, Site, content, credential, file, openapi, secret, stdio};
use crate::credential::{Credential, HeaderSource};
use crate::error::{Reason, shown};
use crate::form::{OutgoingTlsForm, ToolServerForm, URLS_MAX};
use crate::limits::{HealthConfig, ToolServerLimits};
use crate::node::Path;
use crate::report::Report;
use crate::resource::{Connection, Era, HttpConnection, OutgoingTls, ToolServer};

/// The longest URL in characters; servers refuse request lines of about 8 KiB.
const URL_CHARS_MAX: usize = 2048;

pub(super) fn compile(
    head: Head,
    form: ToolServerForm,
    site: &Site<'_>,
    report: &mut Report<'_>,
) -> Option<ToolServer> {
    let at = &site.at;
    let health = health(&form, &at.key("health"), report);
    let limits = limits(&form, &at.key("limits"), report);
    let era = form.era.map(Era::from);
    let tls_given = form.tls.is_some();
    let tls = form.tls.as_ref().map(|given| tls(given, site, report)).unwrap_or_default();
    let connection = connection(form, site, report)?;
    if tls_given {
        check_encrypted(&connection, &at.key("tls"), report);
    }
    let era = era.unwrap_or(Era::default_for(&connection));
    Some(ToolServer { name: head.name, tenant: head.tenant, connection, tls, era, health, limits })
}

/// Where the server is: exactly one of the keys that say so.
fn connection(mut form: ToolServerForm, site: &Site<'_>, report: &mut Report<'_>) -> Option<Connection> {
    let at = &site.at;
    let ways = [("urls", form.urls.is_some()), ("openapi", form.openapi.is_some()), ("stdio", form.stdio.is_some())];
    let given: Vec<&str> = ways.iter().filter(|(_, given)| *given).map(|(key, _)| *key).collect();
    match (given[..].first(), given.len()) {
        (Some(_), 1) => {}
        (Some(_), _) => {
            let message = format!("{} contradict each other: keep one of them", given.join(" and "));
            report.push(at, Reason::Conflict { message });
            return None;
        }
        (None, _) => {
            let description =
                "The URLs of the server's MCP endpoint, or openapi for an API, or stdio for a program.".to_owned();
            report.push(&at.key("urls"), Reason::Missing { description });
            return None;
        }
    }
    let headers_given = form.headers.is_some();
    let headers = secret::headers(form.headers.as_ref().unwrap_or(&BTreeMap::new()), &at.key("headers"), site, report);
    if let Some(given) = &form.openapi {
        for (key, given) in [("era", form.era.is_some()), ("transport", form.transport.is_some())] {
            if given {
                let message = format!("{key} is for MCP servers: an API behind openapi has none");
                report.push(&at.key(key), Reason::Conflict { message });
            }
        }
        if form.credential.is_some() {
            let message = "credential is for servers at urls: those of an API are in openapi.auth".to_owned();
            report.push(&at.key("credential"), Reason::Conflict { message });
        }
        return openapi::compile(given, headers, site, report).map(|api| Connection::OpenApi(Box::new(api)));
    }
    if let Some(given) = form.stdio.take() {
        let credential_given = form.credential.is_some();
        let of_urls =
            [("headers", headers_given), ("transport", form.transport.is_some()), ("credential", credential_given)];
        for (key, given) in of_urls {
            if given {
                let message = format!("{key} is for servers at urls: a program has none");
                report.push(&at.key(key), Reason::Conflict { message });
            }
        }
        return stdio::compile(given, &at.key("stdio"), site, report);
    }
    http(form, headers, site, report)
}

fn http(
    form: ToolServerForm,
    headers: Vec<HeaderSource>,
    site: &Site<'_>,
    report: &mut Report<'_>,
) -> Option<Connection> {
    let urls = urls(&form.urls?, &site.at.key("urls"), report);
    let transport = form.transport.map(Into::into).unwrap_or_default();
    let credential = match &form.credential {
        Some(given) => credential::compile(given, &headers, site, report)?,
        None => Credential::None,
    };
    Some(Connection::Http(HttpConnection { urls, transport, credential, headers }))
}

pub(super) fn tls(form: &OutgoingTlsForm, site: &Site<'_>, report: &mut Report<'_>) -> OutgoingTls {
    let at = site.at.key("tls");
    let ca = form.ca.as_deref().and_then(|text| report.accept(&at.key("ca"), content(text, site)));
    let mut one = |key: &str, text: &Option<String>| report.accept(&at.key(key), file(text.as_deref()?, site));
    let (certificate, key) = (one("certificate", &form.certificate), one("key", &form.key));
    let conflict = |message: &str| Reason::Conflict { message: message.to_owned() };
    match (&form.certificate, &form.key) {
        (Some(_), None) => report.push(&at.key("key"), conflict("a certificate is nothing without its key: name both")),
        (None, Some(_)) => {
            report.push(&at.key("certificate"), conflict("a key is nothing without its certificate: name both"));
        }
        (None, None) if form.ca.is_none() => {
            report.push(&at, conflict("it says nothing: name ca, or certificate and key"))
        }
        (Some(_), Some(_)) | (None, None) => {}
    }
    OutgoingTls { ca, certificate: certificate.zip(key) }
}

/// Whether there is a connection that certificates are for. Where an API is may be in its document.
fn check_encrypted(connection: &Connection, at: &Path, report: &mut Report<'_>) {
    let message = match connection {
        Connection::Stdio(_) => "tls is for servers over https: a program has no connection",
        Connection::Http(http) if http.urls.iter().all(|url| url.scheme() != "https") => {
            "tls is for servers over https, and none of the urls is one"
        }
        Connection::Http(_) | Connection::OpenApi(_) => return,
    };
    report.push(at, Reason::Conflict { message: message.to_owned() });
}

/// Checks the URL of a tool server, as documents and `--mcp NAME=URL` give it.
///
/// # Errors
/// [`Reason::Invalid`] shows the URL without its password and says what is wrong.
pub fn check_url(text: &str) -> Result<Url, Reason> {
    let invalid = |message: &str| Reason::Invalid { value: shown_url(text), message: message.to_owned() };
    if text.chars().count() > URL_CHARS_MAX {
        return Err(invalid(&format!("a URL has at most {URL_CHARS_MAX} characters")));
    }
    let url =
        Url::parse(text).map_err(|error| invalid(&format!("{error}; write it like http://127.0.0.1:9001/mcp")))?;
    if !matches!(url.scheme(), "http" | "https") {
        return Err(invalid("the scheme must be http or https"));
    }
    if !url.username().is_empty() || url.password().is_some() {
        return Err(invalid("credentials do not belong into a URL: they have keys of their own"));
    }
    if url.fragment().is_some() {
        return Err(invalid("a URL that is requested has no fragment (#)"));
    }
    if url.port() == Some(0) {
        return Err(invalid("the port must be a number from 1 to 65535"));
    }
    Ok(url)
}

/// Shows a URL without what may be a password: everything between the scheme and an `@`.
fn shown_url(text: &str) -> String {
    match text.rsplit_once('@') {
        Some((before, after)) => {
            let scheme = before.split_once("://").map_or("", |(scheme, _)| scheme);
            shown(&format!("{scheme}://(hidden)@{after}"))
        }
        None => shown(text),
    }
}

fn urls(given: &[Option<String>], at: &Path, report: &mut Report<'_>) -> Vec<Url> {
    let mut urls: Vec<(usize, Url)> = Vec::with_capacity(given.len().min(URLS_MAX));
    for (index, text) in given.iter().enumerate() {
        let Some(text) = text else { continue };
        let Some(url) = report.accept(&at.index(index), check_url(text)) else { continue };
        // Two spellings of one URL are the same replica.
        if let Some((first, _)) = urls.iter().find(|(_, other)| *other == url) {
            let first = at.index(*first).to_string();
            report.push(&at.index(index), Reason::Repeated { value: shown(text), first });
        }
        urls.push((index, url));
    }
    urls.into_iter().map(|(_, url)| url).collect()
}

fn health(form: &ToolServerForm, at: &Path, report: &mut Report<'_>) -> HealthConfig {
    let Some(given) = &form.health else { return HealthConfig::DEFAULTS };
    let mut health = HealthConfig::compile(given, at, report);
    let order = Order { lesser: "timeout", greater: "interval", at };
    order.check(&mut health.timeout, given.timeout.is_some(), health.interval, report);
    let order = Order { lesser: "ejectBase", greater: "ejectMax", at };
    order.check(&mut health.eject_base, given.eject_base.is_some(), health.eject_max, report);
    health
}

fn limits(form: &ToolServerForm, at: &Path, report: &mut Report<'_>) -> ToolServerLimits {
    let Some(given) = &form.limits else { return ToolServerLimits::DEFAULTS };
    let mut limits = ToolServerLimits::compile(given, at, report);
    let order = Order { lesser: "connect", greater: "total", at };
    order.check(&mut limits.connect, given.connect.is_some(), limits.total, report);
    let order = Order { lesser: "firstByte", greater: "total", at };
    order.check(&mut limits.first_byte, given.first_byte.is_some(), limits.total, report);
    limits
}
