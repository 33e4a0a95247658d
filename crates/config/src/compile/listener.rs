//! What makes the spec of a `Listener` valid.
//!
//! Beyond single values: an address that other machines reach needs TLS or an explicit
//! `plaintext: true`, so that nobody serves credentials in the clear by leaving something out.

use std::net::SocketAddr;

use url::Url;

use super::{Head, Order, Site, file, names, parsed, trusted_url};
use crate::access::{Authority, Hosts, Origin, Origins};
use crate::error::{Reason, shown};
use crate::form::{ClientsForm, ListenerForm, RequirementForm, TlsForm};
use crate::limits::ListenerLimits;
use crate::node::Path;
use crate::report::Report;
use crate::resource::{ClientCertificates, Listener, Requires, TlsFiles, Toolsets, TrustedIssuers};

/// Stands for every host or origin.
const ANY: &str = "*";

pub(super) fn compile(head: Head, form: &ListenerForm, site: &Site<'_>, report: &mut Report<'_>) -> Option<Listener> {
    let at = &site.at;
    let limits = limits(form, &at.key("limits"), report);
    let toolsets = form.toolsets.as_ref().map(|given| names(given, &at.key("toolsets"), report));
    let hosts = form.hosts.as_ref().map(|given| hosts(given, &at.key("hosts"), report));
    let origins = form.origins.as_ref().map(|given| origins(given, &at.key("origins"), report));
    let tls = form.tls.as_ref().and_then(|given| tls(given, site, report));
    let address = form.address.as_deref()?;
    let address = report.accept(&at.key("address"), parsed(address, parse_address))?;
    check_transport(form, address, at, report);
    let public_url = form.public_url.as_deref();
    let public_url = public_url.and_then(|text| report.accept(&at.key("publicUrl"), self::public_url(text, form)));
    let loopback = address.ip().is_loopback();
    Some(Listener {
        name: head.name,
        tenant: head.tenant,
        address,
        tls,
        public_url,
        requires: requires(form.requires.as_deref()),
        hosts: hosts.unwrap_or_else(|| Hosts::default_for(loopback)),
        origins: origins.unwrap_or_else(|| Origins::default_for(loopback)),
        toolsets: toolsets.map_or(Toolsets::All, Toolsets::Only),
        limits,
    })
}

fn parse_address(text: &str) -> Result<SocketAddr, &'static str> {
    text.parse().map_err(|_| match text.rsplit_once(':') {
        None => "an address is IP:PORT, and the port is missing",
        Some((host, _)) if host.parse::<std::net::Ipv6Addr>().is_ok() => {
            "an IPv6 address is written in brackets, such as [::1]:4290"
        }
        Some(("localhost", _)) => "an address is IP:PORT; write 127.0.0.1 instead of localhost",
        Some(_) => "an address is IP:PORT, such as 127.0.0.1:4290 or [::]:4290; host names are not resolved",
    })
}

fn check_transport(form: &ListenerForm, address: SocketAddr, at: &Path, report: &mut Report<'_>) {
    let plaintext = form.plaintext == Some(true);
    let (key, message) = if form.tls.is_some() && plaintext {
        ("plaintext", "plaintext: true contradicts tls: keep one of them".to_owned())
    } else if form.tls.is_none() && !plaintext && !address.ip().is_loopback() {
        let message = format!(
            "{address} is reachable from other machines without TLS: add tls: {{ certificate: FILE, key: FILE }}, \
             or plaintext: true if something in front of it does TLS, or listen on 127.0.0.1"
        );
        ("address", message)
    } else {
        return;
    };
    report.push(&at.key(key), Reason::Conflict { message });
}

/// The URL that clients know a listener by: a scheme, a host and perhaps a port.
fn public_url(text: &str, form: &ListenerForm) -> Result<Url, Reason> {
    let url = if form.plaintext == Some(true) { trusted_url::any(text)? } else { trusted_url::confidential(text)? };
    if url.path() != "/" || url.query().is_some() {
        let message = "it has a path: toolsets are at /mcp and /mcp/NAME below it".to_owned();
        return Err(Reason::Invalid { value: shown(text), message });
    }
    Ok(url)
}

fn tls(form: &TlsForm, site: &Site<'_>, report: &mut Report<'_>) -> Option<TlsFiles> {
    let at = site.at.key("tls");
    let mut one = |key: &str, text: Option<&str>| report.accept(&at.key(key), file(text?, site));
    let (certificate, key) = (one("certificate", form.certificate.as_deref()), one("key", form.key.as_deref()));
    let clients = form.clients.as_ref().map(|given| clients(given, &at.key("clients"), report));
    Some(TlsFiles { certificate: certificate?, key: key?, clients })
}

fn clients(form: &ClientsForm, at: &Path, report: &mut Report<'_>) -> ClientCertificates {
    let issuers = form.issuers.as_ref().map(|given| names(given, &at.key("issuers"), report));
    let issuers = issuers.map_or(TrustedIssuers::All, TrustedIssuers::Only);
    ClientCertificates { issuers, required: form.required.unwrap_or(false) }
}

/// Takes over what must be known of a caller.
pub(super) fn requires(given: Option<&[Option<RequirementForm>]>) -> Requires {
    let mut requires = Requires::default();
    for requirement in given.into_iter().flatten().flatten() {
        match requirement {
            RequirementForm::Agent => requires.agent = true,
            RequirementForm::User => requires.user = true,
        }
    }
    requires
}

fn hosts(given: &[Option<String>], at: &Path, report: &mut Report<'_>) -> Hosts {
    entries(given, at, report, Authority::parse).map_or(Hosts::Any, Hosts::Only)
}

fn origins(given: &[Option<String>], at: &Path, report: &mut Report<'_>) -> Origins {
    entries(given, at, report, Origin::parse).map_or(Origins::Any, Origins::Only)
}

/// Parses the entries of a list; `None` when one of them stands for everything.
fn entries<T, E: ToString>(
    given: &[Option<String>],
    at: &Path,
    report: &mut Report<'_>,
    parse: impl Fn(&str) -> Result<T, E>,
) -> Option<Vec<T>> {
    let mut list = Vec::new();
    let mut any = false;
    for (index, text) in given.iter().enumerate() {
        match text.as_deref() {
            None => {}
            Some(ANY) => any = true,
            Some(text) => list.extend(report.accept(&at.index(index), parsed(text, &parse))),
        }
    }
    if any && given.len() > 1 {
        let message = "\"*\" stands for all, so it must be the only entry".to_owned();
        report.push(at, Reason::Conflict { message });
    }
    (!any).then_some(list)
}

fn limits(form: &ListenerForm, at: &Path, report: &mut Report<'_>) -> ListenerLimits {
    let Some(given) = &form.limits else { return ListenerLimits::DEFAULTS };
    let mut limits = ListenerLimits::compile(given, at, report);
    let order = Order { lesser: "receive", greater: "total", at };
    order.check(&mut limits.receive, given.receive.is_some(), limits.total, report);
    limits
}
