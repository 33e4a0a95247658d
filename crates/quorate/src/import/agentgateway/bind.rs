//! Binds: ports, their listeners, and the routes of those.
//!
//! In: one bind. Out: a `Listener` for its port, with what all listeners there say together, and what its routes lead to. A port is one
//! listener here, so that what two of them there say differently is noted.

use std::collections::BTreeSet;

use serde_json::{Value, json};

use super::super::Import;
use super::super::source::Part;
use super::policies::{Policies, Said};
use super::{Made, ai, mcp};

/// What is said of backends that are neither tool servers nor models.
const BACKENDS: &[(&str, &str)] = &[
    ("host", "only tool servers and models are served: write it as `mcp` or `ai` and import again"),
    ("service", "only tool servers and models are served: write it as `mcp` or `ai` and import again"),
    ("backend", "backends that are named are not followed: write it here and import again"),
    ("dynamic", "requests are not forwarded to where they want"),
    ("aws", "requests are not signed"),
    ("a2a", "agents are not served"),
    ("routeGroup", "groups of routes are not followed: write them here and import again"),
];

/// What is said of a weight of a backend that is no target of a model by itself.
const WEIGHT: &str = "weights are of a Model's targets, which those of groups have themselves; for tools see `versions` of a Toolset's member";

/// What is said of routes.
const ROUTES: &[(&str, &str)] = &[
    ("ruleName", "rules have no names"),
    ("hostnames", "requests are told apart by toolset and model: see `hosts` of the Listener"),
];

/// What the listeners of a port say together.
#[derive(Debug, Default)]
struct Port {
    name: Option<String>,
    tls: Option<Value>,
    hosts: Vec<Said<String>>,
    /// Whether one of them answers all hosts.
    is_open: bool,
}

/// Takes a bind.
pub(super) fn import(mut bind: Part, made: &mut Made, import: &mut Import<'_>) {
    let at = bind.at().to_owned();
    let number = bind.count("port", &mut import.notes);
    let listeners = bind.parts("listeners", &mut import.notes);
    bind.end(&[("tunnelProtocol", "only HTTP is served")], &mut import.notes);
    let before = made.toolsets.len();
    let mut port = Port::default();
    for mut listener in listeners {
        port.take(&mut listener, import);
        let given = listener.part("policies", &mut import.notes);
        let policies = given.map(|given| Policies::take(given, import)).unwrap_or_default();
        for part in listener.parts("routes", &mut import.notes) {
            route(part, &policies, made, import);
        }
        listener.end(
            &[("tcpRoutes", "only HTTP is served"), ("gatewayName", "listeners have names only")],
            &mut import.notes,
        );
    }
    let Some(number) = number else {
        import.notes.say(&at, "it names no port: write a Listener, or serve with `--listen`");
        return;
    };
    let mut spec = json!({ "address": format!("0.0.0.0:{number}") });
    match port.tls {
        Some(tls) => spec["tls"] = tls,
        None => {
            spec["plaintext"] = true.into();
            import.notes.say(&at, "it is served without TLS to other machines, as before: see `tls` of the Listener");
        }
    }
    if port.is_open {
        for Said { value, at } in port.hosts {
            import.notes.add(&at, &value.into(), "another listener of the port answers all hosts: so does this one");
        }
    } else if !port.hosts.is_empty() {
        let hosts: BTreeSet<String> = port.hosts.into_iter().map(|host| host.value).collect();
        spec["hosts"] = json!(hosts);
    }
    match made.toolsets.get(before..) {
        Some(served) if !served.is_empty() => spec["toolsets"] = json!(served),
        _ => made.without.push(at.clone()),
    }
    let wanted = port.name.unwrap_or_else(|| format!("port-{number}"));
    import.documents.add("Listener", &wanted, spec, &at);
}

// === impl Port ===

impl Port {
    /// Takes what a listener says of the port; what another one said already is noted.
    fn take(&mut self, listener: &mut Part, import: &mut Import<'_>) {
        let at = listener.path("name");
        match listener.text("name", &mut import.notes) {
            Some(other) if self.name.is_some() => {
                import.notes.add(&at, &other.into(), "a port is one Listener, which has the first name");
            }
            Some(name) => self.name = Some(name),
            None => {}
        }
        let at = listener.path("hostname");
        match listener.text("hostname", &mut import.notes) {
            Some(value) if !value.contains('*') => self.hosts.push(Said { value, at }),
            Some(host) => {
                self.is_open = true;
                import.notes.add(&at, &host.into(), "`hosts` of a Listener have no wildcards: any is answered");
            }
            None => self.is_open = true,
        }
        let protocol = listener.text("protocol", &mut import.notes);
        if let Some(protocol) = protocol.filter(|protocol| !matches!(protocol.as_str(), "HTTP" | "HTTPS")) {
            import.notes.add(&listener.path("protocol"), &protocol.into(), "only HTTP and HTTPS are served");
        }
        let own = listener.part("tls", &mut import.notes).and_then(|part| tls(part, import));
        match (&self.tls, own) {
            (Some(_), Some(_)) => {
                import.notes.say(listener.at(), "a Listener has one certificate: that of the first is written");
            }
            (None, own) => self.tls = own,
            (Some(_), None) => {}
        }
    }
}

fn tls(mut part: Part, import: &mut Import<'_>) -> Option<Value> {
    let (certificate, key) = (part.text("cert", &mut import.notes), part.text("key", &mut import.notes));
    let at = part.at().to_owned();
    part.end(&[("root", "client certificates are those of an Issuer with `spiffe`")], &mut import.notes);
    match (certificate, key) {
        (Some(certificate), Some(key)) => Some(json!({ "certificate": certificate, "key": key })),
        _ => {
            import.notes.say(&at, "a certificate and its key are needed");
            None
        }
    }
}

fn route(mut route: Part, outer: &Policies, made: &mut Made, import: &mut Import<'_>) {
    let name = route.text("name", &mut import.notes);
    let path = matched(&mut route, import);
    let given = route.part("policies", &mut import.notes);
    let policies = given.map(|given| Policies::take(given, import)).unwrap_or_default().within(outer);
    let mut targets = Vec::new();
    for mut backend in route.parts("backends", &mut import.notes) {
        let weight_at = backend.path("weight");
        let weight = backend.count("weight", &mut import.notes).map(|value| Said { value, at: weight_at });
        if let Some(Said { value, at }) = &weight {
            import.notes.doubt(at, &(*value).into(), WEIGHT);
        }
        let given = backend.part("policies", &mut import.notes);
        let policies = given.map_or_else(|| policies.clone(), |given| Policies::take(given, import).within(&policies));
        if let Some(part) = backend.part("mcp", &mut import.notes) {
            mcp::import(part, name.as_deref().unwrap_or_default(), path.as_ref(), &policies, made, import);
        }
        if let Some(part) = backend.part("ai", &mut import.notes) {
            ai::import(part, weight.as_ref(), &policies, &mut targets, import);
        }
        backend.end(BACKENDS, &mut import.notes);
    }
    if !targets.is_empty() {
        ai::model(targets, name.as_deref(), path.as_ref(), route.at(), made, import);
    }
    route.end(ROUTES, &mut import.notes);
}

/// Takes what a route matches, and returns the first path.
fn matched(route: &mut Part, import: &mut Import<'_>) -> Option<Said<String>> {
    let mut found = None;
    for mut one in route.parts("matches", &mut import.notes) {
        if let Some(mut path) = one.part("path", &mut import.notes) {
            for key in ["exact", "pathPrefix"] {
                let text = path.text(key, &mut import.notes);
                // Where clients find metadata is what the protocol says.
                let Some(value) = text.filter(|text| !text.contains("/.well-known/")) else { continue };
                if found.is_some() {
                    import.notes.add(&path.path(key), &value.into(), "paths are those of toolsets and APIs");
                } else {
                    found = Some(Said { value, at: path.path(key) });
                }
            }
            path.end(&[("regex", "paths are those of toolsets and APIs")], &mut import.notes);
        }
        let otherwise = "requests are told apart by toolset and model: see `when.headers` of a Model's target";
        one.end_with(&[("method", "methods are those of the protocols")], otherwise, &mut import.notes);
    }
    found
}
