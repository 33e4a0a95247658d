//! Where an issuer's server is: an `https` URL, or plain `http` on this machine.
//!
//! Keys that came over an open wire could be anybody's, so plain `http` is for loopback only (a sidecar, a test). No
//! credentials and no fragment stand in such a URL.

use std::fmt;
use std::net::IpAddr;

use http::Uri;
use url::{Host, Url};

/// The longest URL of an issuer, in bytes: what servers commonly take.
pub const URL_BYTES_MAX: usize = 2048;

/// The URL of an issuer, its metadata, its keys or its introspection.
#[derive(Clone, PartialEq, Eq)]
pub struct Endpoint {
    url: Url,
    uri: Uri,
}

/// A text is not a URL that is asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum InvalidEndpoint {
    /// It is not an absolute URL, or too long.
    #[error("not an absolute URL of at most {URL_BYTES_MAX} bytes")]
    Url,
    /// It is neither `https`, nor `http` of a loopback address or `localhost`.
    #[error("only https, and http on loopback, is asked")]
    Scheme,
    /// It has a user name, a password or a fragment.
    #[error("a user name, password or fragment has no place in it")]
    Extra,
}

// === impl Endpoint ===

impl Endpoint {
    /// Checks a URL.
    ///
    /// # Errors
    /// [`InvalidEndpoint`] says what is wrong with it.
    pub fn new(text: &str) -> Result<Self, InvalidEndpoint> {
        if text.len() > URL_BYTES_MAX {
            return Err(InvalidEndpoint::Url);
        }
        Self::of(Url::parse(text).map_err(|_| InvalidEndpoint::Url)?)
    }

    fn of(url: Url) -> Result<Self, InvalidEndpoint> {
        if !url.username().is_empty() || url.password().is_some() || url.fragment().is_some() {
            return Err(InvalidEndpoint::Extra);
        }
        match url.scheme() {
            "https" => {}
            "http" if is_loopback(&url) => {}
            _ => return Err(InvalidEndpoint::Scheme),
        }
        let uri = url.as_str().parse().map_err(|_| InvalidEndpoint::Url)?;
        Ok(Self { url, uri })
    }

    /// Returns the URL of a document that stands at a well-known place after the path (OpenID Connect Discovery §4.1).
    pub(crate) fn after_path(&self, suffix: &str) -> Self {
        let path = format!("{}{suffix}", self.url.path().trim_end_matches('/'));
        self.with_path(&path)
    }

    /// Returns the URL of a document that stands at a well-known place before the path (RFC 8414 §3.1).
    pub(crate) fn before_path(&self, prefix: &str) -> Self {
        let path = format!("{prefix}{}", self.url.path().trim_end_matches('/'));
        self.with_path(&path)
    }

    fn with_path(&self, path: &str) -> Self {
        let mut url = self.url.clone();
        url.set_path(path);
        url.set_query(None);
        Self::of(url).expect("another path changes neither scheme nor host")
    }

    /// Returns whether it is on this machine.
    pub(crate) fn is_loopback(&self) -> bool {
        is_loopback(&self.url)
    }

    /// Returns whether it is asked over TLS.
    pub(crate) fn is_secure(&self) -> bool {
        self.url.scheme() == "https"
    }

    /// Returns the URL as a request names it.
    pub(crate) fn uri(&self) -> &Uri {
        &self.uri
    }

    /// Returns the URL without its query, for errors and logs: some servers take keys there.
    #[must_use]
    pub fn shown(&self) -> &str {
        self.as_str().split('?').next().unwrap_or_default()
    }

    /// Returns the URL's text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        self.url.as_str()
    }
}

impl fmt::Debug for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}", self.shown())
    }
}

fn is_loopback(url: &Url) -> bool {
    match url.host() {
        Some(Host::Ipv4(address)) => address.is_loopback(),
        Some(Host::Ipv6(address)) => IpAddr::V6(address).to_canonical().is_loopback(),
        // RFC 6761 §6.3: the name never leaves the machine.
        Some(Host::Domain(name)) => name == "localhost",
        None => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_https_and_plain_loopback_are_asked() {
        for text in [
            "https://idp.example.com",
            "https://idp.example.com:8443/realms/a?x=y",
            "https://10.0.0.1/",
            "http://localhost:9000/keys",
            "http://127.0.0.2/keys",
            "http://[::1]:9000/",
        ] {
            assert!(Endpoint::new(text).is_ok(), "{text}");
        }
        for (text, expected) in [
            ("http://idp.example.com", InvalidEndpoint::Scheme),
            ("http://localhost.example.com", InvalidEndpoint::Scheme),
            ("http://127.0.0.1.example.com", InvalidEndpoint::Scheme),
            ("http://10.0.0.1/", InvalidEndpoint::Scheme),
            ("file:///etc/passwd", InvalidEndpoint::Scheme),
            ("ftp://localhost/", InvalidEndpoint::Scheme),
            ("https://user@idp.example.com", InvalidEndpoint::Extra),
            ("https://:secret@idp.example.com", InvalidEndpoint::Extra),
            ("https://idp.example.com/#keys", InvalidEndpoint::Extra),
            ("idp.example.com", InvalidEndpoint::Url),
            ("/keys", InvalidEndpoint::Url),
            ("https://", InvalidEndpoint::Url),
            ("", InvalidEndpoint::Url),
            (&format!("https://a/{}", "x".repeat(URL_BYTES_MAX)), InvalidEndpoint::Url),
        ] {
            assert_eq!(Endpoint::new(text), Err(expected), "{text:.60}");
        }
    }

    #[test]
    fn a_query_is_asked_with_and_never_shown() {
        let endpoint = Endpoint::new("https://a/keys?key=s3cret").expect("a URL");
        assert_eq!(endpoint.uri().to_string(), "https://a/keys?key=s3cret");
        assert_eq!(format!("{endpoint:?} {}", endpoint.shown()), "\"https://a/keys\" https://a/keys");
    }

    #[test]
    fn well_known_places_are_where_their_specifications_say() {
        for (issuer, after, before) in [
            ("https://a", "https://a/.well-known/x", "https://a/.well-known/x"),
            ("https://a/", "https://a/.well-known/x", "https://a/.well-known/x"),
            ("https://a/b/c", "https://a/b/c/.well-known/x", "https://a/.well-known/x/b/c"),
            ("https://a/b/", "https://a/b/.well-known/x", "https://a/.well-known/x/b"),
            ("https://a/b?q", "https://a/b/.well-known/x", "https://a/.well-known/x/b"),
        ] {
            let issuer = Endpoint::new(issuer).expect("a URL");
            assert_eq!(issuer.after_path("/.well-known/x").as_str(), after);
            assert_eq!(issuer.before_path("/.well-known/x").as_str(), before);
        }
    }
}
