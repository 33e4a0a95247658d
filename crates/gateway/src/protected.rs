//! A toolset as an OAuth protected resource: its URL, its metadata, and the challenges that send clients there.
//!
//! In: a listener, a toolset's name and what the toolset demands. Out: the resource URL that tokens have to be for
//! (RFC 8707), the metadata document (RFC 9728) at `/.well-known/oauth-protected-resource/mcp/TOOLSET`, and
//! `WWW-Authenticate` (RFC 6750 §3, RFC 9728 §5.1). Metadata is public: it says where to get a token and nothing else.
//! Clients of 2025-03-26 ask the server itself for the authorization server's metadata, and are sent on to it.
//! Spec: mcp.md section 1, "Auth".

use std::collections::BTreeSet;
use std::fmt::Write as _;

use bytes::Bytes;
use http::header::HOST;
use http::{HeaderMap, HeaderValue, Uri, request};
use quorate_config::Access;
use serde_json::json;

use crate::listener::{self, Accepted, AcceptedHead, Connection, DEFAULT_TOOLSET, Endpoint};
use crate::snapshot::{ListenerTable, Snapshot};

/// Where metadata of protected resources is (RFC 9728 §3).
const RESOURCE_METADATA: &str = "/.well-known/oauth-protected-resource";
/// Where clients before RFC 9728 look for the authorization server's metadata (RFC 8414 §3, 2025-03-26).
const SERVER_METADATA: &str = "/.well-known/oauth-authorization-server";

/// What a toolset demands of its callers, and where they get what it demands.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Demands {
    /// What its configuration says.
    pub access: Access,
    /// The issuers that clients are sent to for tokens, by URL, sorted.
    pub authorization_servers: Vec<String>,
    /// The scopes that may be of use here: those that it demands, and those that policies demand.
    pub scopes_supported: BTreeSet<String>,
}

/// Where a caller stands that is challenged.
pub(crate) struct Site<'a> {
    /// The URL of the listener, as clients know it.
    pub(crate) base: Option<String>,
    /// The endpoint.
    pub(crate) endpoint: Endpoint,
    /// The toolset.
    pub(crate) toolset: &'a str,
    /// What it demands.
    pub(crate) demands: &'a Demands,
}

/// What anybody is told.
pub(crate) enum Public {
    /// The metadata of a toolset.
    Metadata(Bytes),
    /// To ask there.
    Elsewhere(HeaderValue),
}

/// What a path below `/.well-known/` asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum WellKnown<'a> {
    /// The metadata of a toolset behind an endpoint.
    Resource {
        /// The endpoint.
        endpoint: Endpoint,
        /// The toolset.
        toolset: &'a str,
    },
    /// The metadata of the authorization server, of a client before RFC 9728.
    AuthorizationServer {
        /// The toolset.
        toolset: &'a str,
    },
}

/// Why a caller is challenged.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Challenge<'a> {
    /// It showed nothing.
    Unknown,
    /// It showed something in a way that is not taken.
    InvalidRequest,
    /// What it showed is refused.
    InvalidToken,
    /// Its token lacks scopes: all that it needs.
    InsufficientScope(&'a BTreeSet<String>),
}

// === impl WellKnown ===

impl<'a> WellKnown<'a> {
    /// Reads a path; none when it asks for neither.
    pub(crate) fn parse(path: &'a str) -> Option<Self> {
        if let Some(rest) = path.strip_prefix(RESOURCE_METADATA) {
            let (endpoint, toolset) = below(rest)?;
            return Some(Self::Resource { endpoint, toolset });
        }
        let (_, toolset) = below(path.strip_prefix(SERVER_METADATA)?)?;
        Some(Self::AuthorizationServer { toolset })
    }

    /// The toolset that it is about.
    pub(crate) const fn toolset(self) -> &'a str {
        match self {
            Self::Resource { toolset, .. } | Self::AuthorizationServer { toolset } => toolset,
        }
    }
}

/// The endpoint and toolset of what stands behind the well-known prefix: nothing, or the path of an endpoint.
fn below(rest: &str) -> Option<(Endpoint, &str)> {
    match rest {
        "" | "/" => Some((Endpoint::Mcp, DEFAULT_TOOLSET)),
        path => listener::endpoint(path).ok(),
    }
}

/// The URL of the listener as its clients know it: configured, or what this request says.
///
/// What a request says has passed the listener's list of hosts.
pub(crate) fn base(
    listener: &ListenerTable,
    connection: &Connection,
    uri: &Uri,
    headers: &HeaderMap,
) -> Option<String> {
    if let Some(url) = &listener.config.public_url {
        return Some(url.as_str().trim_end_matches('/').to_owned());
    }
    let host = match uri.authority() {
        Some(authority) => authority.as_str(),
        None => headers.get(HOST)?.to_str().ok()?,
    };
    // The port is ours and not the caller's: what is elsewhere on the host must not be taken for this listener.
    let name = match host.rsplit_once(':') {
        Some((name, port)) if port.bytes().all(|byte| byte.is_ascii_digit()) => name,
        Some(_) | None => host,
    };
    let (scheme, own_port) = if connection.is_encrypted { ("https", 443) } else { ("http", 80) };
    match connection.local.port() {
        port if port == own_port => Some(format!("{scheme}://{name}")),
        port => Some(format!("{scheme}://{name}:{port}")),
    }
}

/// The URL of the toolset that a request is for: what its tokens have to be for.
pub(crate) fn resource(accepted: &Accepted) -> Option<String> {
    let head = accepted.head();
    let base = base(accepted.listener()?, accepted.connection(), &head.uri, &head.headers)?;
    Some(base + &path(accepted.endpoint(), accepted.toolset().name().as_str()))
}

/// The same of a request whose body has been taken.
pub(crate) fn resource_of(accepted: &AcceptedHead) -> Option<String> {
    let site = accepted.site();
    Some(site.base? + &path(site.endpoint, site.toolset))
}

/// The path of a toolset at an endpoint.
pub(crate) fn path(endpoint: Endpoint, toolset: &str) -> String {
    let root = match endpoint {
        Endpoint::Mcp => "/mcp",
        Endpoint::Sse => "/sse",
    };
    if toolset == DEFAULT_TOOLSET { root.to_owned() } else { format!("{root}/{toolset}") }
}

/// The metadata document of a toolset at `base` (RFC 9728 §2); `certificates` where callers may show them.
fn metadata(base: &str, endpoint: Endpoint, toolset: &str, demands: &Demands, certificates: bool) -> Bytes {
    let mut document = json!({
        "resource": format!("{base}{}", path(endpoint, toolset)),
        "resource_name": toolset,
        "authorization_servers": demands.authorization_servers,
        "bearer_methods_supported": ["header"],
    });
    if !demands.scopes_supported.is_empty() {
        document["scopes_supported"] = json!(demands.scopes_supported);
    }
    if certificates {
        // Tokens may be bound to what a caller shows (RFC 8705 §3).
        document["tls_client_certificate_bound_access_tokens"] = json!(true);
    }
    Bytes::from(document.to_string())
}

/// Where the metadata of the one authorization server of a toolset is, for clients that do not ask for a resource's.
/// With several there is no telling which one such a client should use.
pub(crate) fn server_metadata(demands: &Demands) -> Option<HeaderValue> {
    let [issuer] = &demands.authorization_servers[..] else { return None };
    let issuer = url::Url::parse(issuer).ok()?;
    let path = issuer.path().trim_end_matches('/');
    let mut at = issuer.clone();
    at.set_path(&format!("{SERVER_METADATA}{path}"));
    HeaderValue::from_str(at.as_str()).ok()
}

/// What is public at a path below `/.well-known/`.
///
/// # Errors
/// [`listener::Error`] of a host, page or toolset that is not served, or where nobody is to be asked for a token.
pub(crate) fn public(
    snapshot: &Snapshot,
    connection: &Connection,
    head: &request::Parts,
) -> Result<Public, listener::Error> {
    let table = listener::visit(snapshot, connection, head)?;
    let nothing = || listener::Error::nothing_at(head.uri.path());
    let asked = WellKnown::parse(head.uri.path()).ok_or_else(nothing)?;
    let toolset = snapshot.toolset(table, asked.toolset()).ok_or_else(nothing)?;
    let demands = snapshot.demands(toolset.name());
    if demands.authorization_servers.is_empty() {
        return Err(nothing());
    }
    match asked {
        WellKnown::Resource { endpoint, toolset } => {
            let base = base(table, connection, &head.uri, &head.headers).ok_or_else(nothing)?;
            let certificates = table.config.tls.as_ref().is_some_and(|tls| tls.clients.is_some());
            Ok(Public::Metadata(metadata(&base, endpoint, toolset, demands, certificates)))
        }
        WellKnown::AuthorizationServer { .. } => server_metadata(demands).map(Public::Elsewhere).ok_or_else(nothing),
    }
}

/// `WWW-Authenticate` for a caller of a toolset.
pub(crate) fn challenge(site: Site<'_>, challenge: Challenge<'_>) -> HeaderValue {
    let Site { base, endpoint, toolset, demands } = site;
    let mut text = "Bearer realm=\"quorate\"".to_owned();
    let error = match challenge {
        Challenge::Unknown => None,
        Challenge::InvalidRequest => Some("invalid_request"),
        Challenge::InvalidToken => Some("invalid_token"),
        Challenge::InsufficientScope(_) => Some("insufficient_scope"),
    };
    // Writing to a string does not fail.
    if let Some(error) = error {
        let _ = write!(text, ", error=\"{error}\"");
    }
    let scopes = match challenge {
        Challenge::InsufficientScope(scopes) => scopes,
        Challenge::Unknown | Challenge::InvalidRequest | Challenge::InvalidToken => &demands.access.scopes,
    };
    if !scopes.is_empty() {
        let scopes: Vec<&str> = scopes.iter().map(String::as_str).collect();
        let _ = write!(text, ", scope=\"{}\"", scopes.join(" "));
    }
    if let Some(base) = base.as_deref().filter(|_| !demands.authorization_servers.is_empty()) {
        let _ = write!(text, ", resource_metadata=\"{base}{RESOURCE_METADATA}{}\"", path(endpoint, toolset));
    }
    HeaderValue::from_str(&text).unwrap_or(HeaderValue::from_static("Bearer realm=\"quorate\""))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn demands(issuers: &[&str], scopes: &[&str]) -> Demands {
        let scopes: BTreeSet<String> = scopes.iter().map(|scope| (*scope).to_owned()).collect();
        Demands {
            access: Access { scopes: scopes.clone(), ..Access::default() },
            authorization_servers: issuers.iter().map(|issuer| (*issuer).to_owned()).collect(),
            scopes_supported: scopes,
        }
    }

    #[test]
    fn a_well_known_path_names_an_endpoint_and_a_toolset() {
        let resource = |endpoint, toolset| Some(WellKnown::Resource { endpoint, toolset });
        for (path, expected) in [
            ("/.well-known/oauth-protected-resource", resource(Endpoint::Mcp, "default")),
            ("/.well-known/oauth-protected-resource/", resource(Endpoint::Mcp, "default")),
            ("/.well-known/oauth-protected-resource/mcp", resource(Endpoint::Mcp, "default")),
            ("/.well-known/oauth-protected-resource/mcp/files", resource(Endpoint::Mcp, "files")),
            ("/.well-known/oauth-protected-resource/sse/files", resource(Endpoint::Sse, "files")),
            ("/.well-known/oauth-authorization-server", Some(WellKnown::AuthorizationServer { toolset: "default" })),
            (
                "/.well-known/oauth-authorization-server/mcp/files",
                Some(WellKnown::AuthorizationServer { toolset: "files" }),
            ),
            ("/.well-known/oauth-protected-resourcex", None),
            ("/.well-known/oauth-protected-resource/v1", None),
            ("/.well-known/openid-configuration", None),
            ("/mcp", None),
        ] {
            assert_eq!(WellKnown::parse(path), expected, "{path}");
        }
    }

    #[test]
    fn metadata_names_the_resource_and_who_gives_tokens() {
        let body = metadata(
            "https://mesh.example",
            Endpoint::Mcp,
            "files",
            &demands(&["https://id.example/a"], &["files:read"]),
            true,
        );
        let body: serde_json::Value = serde_json::from_slice(&body).expect("JSON");
        assert_eq!(
            body,
            json!({
                "resource": "https://mesh.example/mcp/files",
                "resource_name": "files",
                "authorization_servers": ["https://id.example/a"],
                "bearer_methods_supported": ["header"],
                "scopes_supported": ["files:read"],
                "tls_client_certificate_bound_access_tokens": true,
            })
        );
        let body = metadata("http://127.0.0.1:4290", Endpoint::Sse, "default", &demands(&[], &[]), false);
        let body = String::from_utf8_lossy(&body);
        assert!(body.contains("\"resource\":\"http://127.0.0.1:4290/sse\"") && !body.contains("tls_client"), "{body}");
    }

    #[test]
    fn a_challenge_says_what_is_wrong_and_where_to_go_and_no_more() {
        let some = demands(&["https://id.example"], &["a", "b"]);
        let more: BTreeSet<String> = ["c".to_owned()].into();
        let text = |base: Option<&str>, demands: &Demands, why| {
            let base = base.map(str::to_owned);
            let value = challenge(Site { base, endpoint: Endpoint::Mcp, toolset: "files", demands }, why);
            value.to_str().expect("text").to_owned()
        };
        let metadata = "resource_metadata=\"https://mesh.example/.well-known/oauth-protected-resource/mcp/files\"";
        let base = Some("https://mesh.example");
        assert_eq!(
            text(base, &some, Challenge::Unknown),
            format!("Bearer realm=\"quorate\", scope=\"a b\", {metadata}")
        );
        assert_eq!(
            text(base, &some, Challenge::InvalidToken),
            format!("Bearer realm=\"quorate\", error=\"invalid_token\", scope=\"a b\", {metadata}")
        );
        assert_eq!(
            text(base, &some, Challenge::InsufficientScope(&more)),
            format!("Bearer realm=\"quorate\", error=\"insufficient_scope\", scope=\"c\", {metadata}")
        );
        assert_eq!(text(base, &demands(&[], &[]), Challenge::Unknown), "Bearer realm=\"quorate\"");
    }

    #[test]
    fn an_old_client_is_sent_to_the_only_authorization_server() {
        let at = |issuers: &[&str]| {
            server_metadata(&demands(issuers, &[])).map(|value| value.to_str().expect("text").to_owned())
        };
        assert_eq!(
            at(&["https://id.example"]).as_deref(),
            Some("https://id.example/.well-known/oauth-authorization-server")
        );
        assert_eq!(
            at(&["https://id.example/realms/a"]).as_deref(),
            Some("https://id.example/.well-known/oauth-authorization-server/realms/a")
        );
        assert_eq!(at(&[]), None);
        assert_eq!(at(&["https://a.example", "https://b.example"]), None);
    }
}
