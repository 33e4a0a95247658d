//! Which `Host` and `Origin` headers a listener answers.
//!
//! A browser page may name this machine under a host name of its own (DNS rebinding) and then
//! talk to a loopback listener. The check of `Host` and `Origin` against a list is the defence
//! that the MCP specification demands (2025-11-25, transports, security warning). Comparison is
//! on lower-case host and optional port; nothing is resolved.

/// Which `Host` headers are answered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Hosts {
    /// Every host name.
    Any,
    /// Only these.
    Only(Vec<Authority>),
}

/// Which `Origin` headers are answered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Origins {
    /// Every origin.
    Any,
    /// Only these.
    Only(Vec<Origin>),
}

/// A host with an optional port; without one it stands for the host at every port.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Authority {
    host: String,
    port: Option<u16>,
}

/// A scheme with an authority, as a browser sends it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Origin {
    scheme: Scheme,
    authority: Authority,
}

/// The schemes that an origin may have.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Scheme {
    Http,
    Https,
}

/// A text is not a host or an origin.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum InvalidAccess {
    /// The host part is empty or has a character that no host has.
    #[error("the host must be a DNS name, an IPv4 address or an IPv6 address in brackets")]
    Host,
    /// The port is not a number from 1 to 65535.
    #[error("the port must be a number from 1 to 65535")]
    Port,
    /// The origin does not start with `http://` or `https://`.
    #[error("an origin starts with http:// or https://")]
    Scheme,
    /// Something follows the authority.
    #[error("an origin ends after its host and port")]
    Path,
}

/// The names of this machine for itself.
const LOOPBACK_HOSTS: [&str; 3] = ["localhost", "127.0.0.1", "[::1]"];
/// The longest DNS name (RFC 1035 §2.3.4).
const HOST_BYTES_MAX: usize = 253;

// === impl Hosts ===

impl Hosts {
    /// Returns what a listener answers that lists nothing: on loopback only loopback names.
    #[must_use]
    pub fn default_for(loopback: bool) -> Self {
        if !loopback {
            return Self::Any;
        }
        Self::Only(LOOPBACK_HOSTS.map(Authority::any_port).to_vec())
    }

    /// Tells whether a `Host` header (or `:authority`) is answered.
    #[must_use]
    pub fn allows(&self, host: &str) -> bool {
        match self {
            Self::Any => true,
            Self::Only(allowed) => {
                Authority::parse(host).is_ok_and(|given| allowed.iter().any(|one| one.covers(&given, None)))
            }
        }
    }
}

// === impl Origins ===

impl Origins {
    /// Returns what a listener answers that lists nothing: on loopback only loopback pages, else
    /// no page at all.
    #[must_use]
    pub fn default_for(loopback: bool) -> Self {
        if !loopback {
            return Self::Only(Vec::new());
        }
        let of = |scheme| LOOPBACK_HOSTS.map(|host| Origin { scheme, authority: Authority::any_port(host) });
        Self::Only([of(Scheme::Http), of(Scheme::Https)].concat())
    }

    /// Tells whether an `Origin` header is answered; `null` and other opaque origins only by `Any`.
    #[must_use]
    pub fn allows(&self, origin: &str) -> bool {
        match self {
            Self::Any => true,
            Self::Only(allowed) => Origin::parse(origin).is_ok_and(|given| {
                let default_port = Some(given.scheme.default_port());
                allowed
                    .iter()
                    .any(|one| one.scheme == given.scheme && one.authority.covers(&given.authority, default_port))
            }),
        }
    }
}

// === impl Authority ===

impl Authority {
    /// Parses `HOST` or `HOST:PORT`.
    ///
    /// # Errors
    /// [`InvalidAccess::Host`] or [`InvalidAccess::Port`].
    pub fn parse(text: &str) -> Result<Self, InvalidAccess> {
        let host_end = match text.strip_prefix('[') {
            Some(rest) => rest.find(']').ok_or(InvalidAccess::Host)? + 2,
            None => text.find(':').unwrap_or(text.len()),
        };
        let (host, rest) = text.split_at(host_end);
        let port = match rest.strip_prefix(':') {
            Some(digits) => Some(parse_port(digits)?),
            None if rest.is_empty() => None,
            None => return Err(InvalidAccess::Host),
        };
        if !is_host(host) {
            return Err(InvalidAccess::Host);
        }
        Ok(Self { host: host.to_ascii_lowercase(), port })
    }

    fn any_port(host: &str) -> Self {
        Self { host: host.to_owned(), port: None }
    }

    /// Tells whether this entry of a list covers `given`, whose missing port is `default_port`.
    fn covers(&self, given: &Self, default_port: Option<u16>) -> bool {
        self.host == given.host && (self.port.is_none() || self.port == given.port.or(default_port))
    }
}

// === impl Origin ===

impl Origin {
    /// Parses `http://HOST[:PORT]` or `https://HOST[:PORT]`.
    ///
    /// # Errors
    /// [`InvalidAccess`] says which part is wrong.
    pub fn parse(text: &str) -> Result<Self, InvalidAccess> {
        let (scheme, rest) = text.split_once("://").ok_or(InvalidAccess::Scheme)?;
        let scheme = match scheme {
            "http" => Scheme::Http,
            "https" => Scheme::Https,
            _ => return Err(InvalidAccess::Scheme),
        };
        if rest.contains(['/', '?', '#']) {
            return Err(InvalidAccess::Path);
        }
        Ok(Self { scheme, authority: Authority::parse(rest)? })
    }
}

// === impl Scheme ===

impl Scheme {
    const fn default_port(self) -> u16 {
        match self {
            Self::Http => 80,
            Self::Https => 443,
        }
    }
}

fn parse_port(digits: &str) -> Result<u16, InvalidAccess> {
    let number = digits.bytes().all(|byte| byte.is_ascii_digit()).then(|| digits.parse().ok()).flatten();
    number.filter(|port| *port != 0).ok_or(InvalidAccess::Port)
}

fn is_host(text: &str) -> bool {
    if let Some(address) = text.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')) {
        return address.parse::<std::net::Ipv6Addr>().is_ok();
    }
    let allowed = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_');
    !text.is_empty() && text.len() <= HOST_BYTES_MAX && text.bytes().all(allowed)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_loopback_listener_answers_only_loopback_names() {
        let hosts = Hosts::default_for(true);
        for host in ["localhost", "LOCALHOST:4290", "127.0.0.1:1", "[::1]:4290"] {
            assert!(hosts.allows(host), "{host}");
        }
        for host in
            ["", "evil.example", "localhost.evil.example", "127.0.0.1.evil.example", "[::2]", "localhost:", "a b"]
        {
            assert!(!hosts.allows(host), "{host}");
        }
        assert!(Hosts::default_for(false).allows("anything.example"));
    }

    #[test]
    fn a_page_is_answered_only_from_an_allowed_origin() {
        let origins = Origins::default_for(true);
        for origin in ["http://localhost:5173", "https://127.0.0.1", "http://[::1]:80"] {
            assert!(origins.allows(origin), "{origin}");
        }
        for origin in ["null", "http://evil.example", "http://localhost.evil.example", "file://", "http://localhost/x"]
        {
            assert!(!origins.allows(origin), "{origin}");
        }
        assert!(!Origins::default_for(false).allows("http://localhost"));
        assert!(Origins::Any.allows("null"));
    }

    #[test]
    fn an_entry_with_a_port_is_for_that_port() {
        let hosts = Hosts::Only(vec![Authority::parse("mesh.example:443").expect("is valid")]);
        assert!(hosts.allows("mesh.example:443"));
        assert!(!hosts.allows("mesh.example:444"));
        assert!(!hosts.allows("mesh.example"));

        let origins = Origins::Only(vec![Origin::parse("https://mesh.example:443").expect("is valid")]);
        assert!(origins.allows("https://mesh.example"), "browsers leave out the default port");
        assert!(!origins.allows("http://mesh.example:443"));
    }

    #[test]
    fn what_is_no_host_or_origin_is_refused_with_its_reason() {
        let host = |text: &str| Authority::parse(text).expect_err("is not valid");
        assert_eq!(host(""), InvalidAccess::Host);
        assert_eq!(host("http://a"), InvalidAccess::Port);
        assert_eq!(host("a:0"), InvalidAccess::Port);
        assert_eq!(host("a:65536"), InvalidAccess::Port);
        assert_eq!(host("a:+1"), InvalidAccess::Port);
        assert_eq!(host("[::1"), InvalidAccess::Host);
        assert_eq!(host("::1"), InvalidAccess::Port);
        let origin = |text: &str| Origin::parse(text).expect_err("is not valid");
        assert_eq!(origin("mesh.example"), InvalidAccess::Scheme);
        assert_eq!(origin("ftp://mesh.example"), InvalidAccess::Scheme);
        assert_eq!(origin("http://mesh.example/"), InvalidAccess::Path);
    }

    proptest! {
        #[test]
        fn a_listed_host_is_answered_at_its_port_in_any_case(host in "[a-z][a-z0-9.-]{0,20}", port in 1_u16..) {
            let entry = format!("{host}:{port}");
            let hosts = Hosts::Only(vec![Authority::parse(&entry).expect("is valid")]);
            prop_assert!(hosts.allows(&entry.to_ascii_uppercase()));
        }

        #[test]
        fn arbitrary_text_never_panics(text: String) {
            let _ = (Hosts::default_for(true).allows(&text), Origins::default_for(true).allows(&text));
        }
    }
}
