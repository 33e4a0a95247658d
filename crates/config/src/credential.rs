//! What a tool server at `urls` is shown of us: its own credential, and fixed headers.
//!
//! Plain, already valid data; secrets are named by their [`SecretSource`] and read by whoever sends them. A credential
//! belongs to one tool server: it is no part of another one, and nothing that a client sends gets into it.

use std::path::{Path, PathBuf};

use http::{HeaderName, HeaderValue};
use url::Url;

use crate::secret::{SecretSource, Unreadable};

/// The longest header value in bytes; servers refuse headers of about 8 KiB.
pub(crate) const HEADER_BYTES_MAX: usize = 8192;

/// What a tool server is shown so that it lets us in.
#[derive(Clone, Debug, Default, PartialEq)]
pub enum Credential {
    /// Nothing.
    #[default]
    None,
    /// A header, the same in each request until its secret changes.
    Header(HeaderSource),
    /// A bearer token that is asked for with a client's own credentials (RFC 6749 §4.4), and renewed.
    ClientCredentials(Box<ClientCredentials>),
}

/// A header whose value is a secret, or has one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HeaderSource {
    /// Its name: none that the protocol or the connection sets.
    pub name: HeaderName,
    /// What its value begins with, before a space, such as `Bearer`; a token (RFC 9110 §5.6.2).
    pub scheme: Option<String>,
    /// The rest of its value.
    pub value: SecretSource,
}

/// How a token is asked for.
#[derive(Clone, Debug, PartialEq)]
pub struct ClientCredentials {
    /// Where: an `https` URL, or an `http` one on loopback.
    pub token_url: Url,
    /// Who we are there: 1 to 512 visible ASCII characters and spaces.
    pub client_id: String,
    /// The secret that proves it.
    pub client_secret: SecretSource,
    /// What is asked for: at most 64 scope tokens (RFC 6749 §3.3). None leaves it to the server.
    pub scopes: Vec<String>,
    /// For whom the token is to be, where the server takes an `audience`.
    pub audience: Option<String>,
    /// For what the token is to be: an absolute URI (RFC 8707).
    pub resource: Option<String>,
    /// How the secret is sent.
    pub auth: ClientAuth,
    /// A PEM file of authorities that are trusted for `token_url`, beside the system's.
    pub tls_ca: Option<PathBuf>,
}

/// How a client's secret is sent to a token endpoint (RFC 6749 §2.3.1).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum ClientAuth {
    /// In the `Authorization` header.
    #[default]
    Basic,
    /// In the form.
    Post,
}

// === impl Credential ===

impl Credential {
    /// Lists the files that it is made of.
    pub fn files(&self) -> impl Iterator<Item = &Path> {
        let files = match self {
            Self::None => [None, None],
            Self::Header(header) => [header.value.file(), None],
            Self::ClientCredentials(client) => [client.client_secret.file(), client.tls_ca.as_deref()],
        };
        files.into_iter().flatten()
    }
}

// === impl HeaderSource ===

impl HeaderSource {
    /// Reads the value, which is marked sensitive.
    ///
    /// # Errors
    /// [`Unreadable`] when the secret cannot be read, or cannot stand in a header.
    pub fn read(&self) -> Result<HeaderValue, Unreadable> {
        let secret = self.value.read()?;
        let value = match &self.scheme {
            Some(scheme) => HeaderValue::from_str(&format!("{scheme} {}", secret.expose())),
            None => HeaderValue::from_str(secret.expose()),
        };
        let fits = |value: &HeaderValue| !secret.expose().is_empty() && value.len() <= HEADER_BYTES_MAX;
        let mut value = value.ok().filter(fits).ok_or(Unreadable::NoHeader { max: HEADER_BYTES_MAX })?;
        value.set_sensitive(true);
        Ok(value)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn header(scheme: Option<&str>, value: &str) -> HeaderSource {
        let name = HeaderName::from_static("authorization");
        HeaderSource { name, scheme: scheme.map(str::to_owned), value: SecretSource::literal(value) }
    }

    #[test]
    fn a_header_has_its_scheme_in_front_and_hides_its_value() {
        let value = header(Some("Bearer"), "t0ken").read().expect("it is a header");
        assert_eq!(value, "Bearer t0ken");
        assert!(value.is_sensitive());
        assert_eq!(header(None, "t0ken").read().expect("it is a header"), "t0ken");
        let shown = format!("{value:?} {:?}", header(Some("Bearer"), "t0ken"));
        assert!(!shown.contains("t0ken"), "{shown}");
    }

    #[test]
    fn what_cannot_stand_in_a_header_is_refused_without_being_shown() {
        for value in ["a\nx-other: 1", "\u{7f}", "\0", &"a".repeat(HEADER_BYTES_MAX + 1)] {
            let error = header(None, value).read().expect_err("it is no header");
            assert_eq!(error, Unreadable::NoHeader { max: HEADER_BYTES_MAX });
        }
        header(None, &"a".repeat(HEADER_BYTES_MAX)).read().expect("it just fits");
    }
}
