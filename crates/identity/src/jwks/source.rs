//! Fetches the keys of an issuer: its metadata first where that says where they are, then the key set.
//!
//! Follows OpenID Connect Discovery §4, RFC 8414 §3 and RFC 7517 §5. The metadata is asked for each time, because an
//! issuer may move its keys. It must be of exactly the issuer that was asked, and an issuer of the network cannot send
//! us to plain `http`, not even of this machine.

use std::time::Duration;

use quorate_http::client::Client;
use serde_json::Value;

use super::set::{KeySet, SET_BYTES_MAX};
use crate::endpoint::{Endpoint, InvalidEndpoint};
use crate::fetch::{self, FetchError};
use crate::json;

/// The most bytes of an issuer's metadata: common ones have 2 to 8 KiB.
const METADATA_BYTES_MAX: usize = 256 << 10;

const OPENID_SUFFIX: &str = "/.well-known/openid-configuration";
const OAUTH_PREFIX: &str = "/.well-known/oauth-authorization-server";

/// Where the keys of one issuer come from.
#[derive(Clone, Debug)]
pub(crate) struct Source {
    client: Client,
    /// The issuer as it calls itself.
    iss: String,
    place: Place,
}

/// Where its keys are.
#[derive(Clone, Debug)]
pub(crate) enum Place {
    /// Named by the metadata of this issuer, of whichever kind it has.
    Metadata(Endpoint),
    /// Named by the metadata of this issuer, as OpenID Connect has it.
    OpenId(Endpoint),
    /// Named by the metadata of this issuer, as RFC 8414 has it.
    OAuth(Endpoint),
    /// Here.
    Url(Endpoint),
}

/// A key set, and for how long it is fresh.
#[derive(Debug)]
pub(crate) struct Fetched {
    pub(crate) keys: KeySet,
    pub(crate) fresh_for: Option<Duration>,
}

// === impl Source ===

impl Source {
    pub(crate) fn new(client: Client, iss: String, place: Place) -> Self {
        Self { client, iss, place }
    }

    pub(crate) async fn fetch(&self) -> Result<Fetched, FetchError> {
        let found;
        let endpoint = match &self.place {
            Place::Url(endpoint) => endpoint,
            Place::Metadata(issuer) => {
                found = match self.find(issuer, &issuer.after_path(OPENID_SUFFIX)).await {
                    // Only where there is none: one that is there and wrong is not passed over.
                    Err(FetchError::Status { status, .. }) if status.is_client_error() => {
                        self.find(issuer, &issuer.before_path(OAUTH_PREFIX)).await?
                    }
                    other => other?,
                };
                &found
            }
            Place::OpenId(issuer) => {
                found = self.find(issuer, &issuer.after_path(OPENID_SUFFIX)).await?;
                &found
            }
            Place::OAuth(issuer) => {
                found = self.find(issuer, &issuer.before_path(OAUTH_PREFIX)).await?;
                &found
            }
        };
        let document = fetch::get(&self.client, endpoint, SET_BYTES_MAX).await?;
        let keys = KeySet::parse(&document.text)
            .map_err(|source| FetchError::Keys { url: endpoint.shown().to_owned(), source })?;
        Ok(Fetched { keys, fresh_for: document.fresh_for })
    }

    /// Asks the metadata where the keys are.
    async fn find(&self, issuer: &Endpoint, metadata: &Endpoint) -> Result<Endpoint, FetchError> {
        let document = fetch::get(&self.client, metadata, METADATA_BYTES_MAX).await?;
        keys_url(&document.text, &self.iss, issuer, metadata.shown())
    }
}

fn keys_url(text: &[u8], iss: &str, issuer: &Endpoint, url: &str) -> Result<Endpoint, FetchError> {
    let lacks = |member| FetchError::Metadata { url: url.to_owned(), member };
    let members = json::object(text).map_err(|_| lacks("issuer"))?;
    let text = |name| members.get(name).and_then(Value::as_str).ok_or_else(|| lacks(name));
    if text("issuer")? != iss {
        return Err(FetchError::Issuer { url: url.to_owned(), expected: iss.to_owned() });
    }
    let refuse = |source| FetchError::KeysUrl { url: url.to_owned(), source };
    let keys = Endpoint::new(text("jwks_uri")?).map_err(refuse)?;
    match keys.is_secure() || issuer.is_loopback() {
        true => Ok(keys),
        false => Err(refuse(InvalidEndpoint::Scheme)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(metadata: &str, iss: &str) -> Result<String, String> {
        let issuer = Endpoint::new(iss).expect("a URL");
        let found = keys_url(metadata.as_bytes(), iss, &issuer, "URL");
        found.map(|endpoint| endpoint.as_str().to_owned()).map_err(|error| error.to_string())
    }

    #[test]
    fn metadata_must_be_the_issuers_own_and_send_us_nowhere_else() {
        let of = |issuer: &str, keys: &str| format!(r#"{{"issuer":"{issuer}","jwks_uri":"{keys}","x":1}}"#);
        assert_eq!(found(&of("https://a", "https://b/k"), "https://a"), Ok("https://b/k".to_owned()));
        let local = of("http://localhost:1", "http://127.0.0.1:2/k");
        assert_eq!(found(&local, "http://localhost:1"), Ok("http://127.0.0.1:2/k".to_owned()));

        for (metadata, expected) in [
            (of("https://a/", "https://a/k"), "is not of the issuer"),
            (of("https://A", "https://a/k"), "is not of the issuer"),
            (of("https://evil", "https://evil/k"), "is not of the issuer"),
            (of("https://a", "http://127.0.0.1/k"), "jwks_uri"),
            (of("https://a", "http://b/k"), "jwks_uri"),
            (of("https://a", "file:///etc/passwd"), "jwks_uri"),
            (of("https://a", "/k"), "jwks_uri"),
            (r#"{"issuer":"https://a"}"#.to_owned(), "lacks \"jwks_uri\""),
            (r#"{"issuer":"https://a","issuer":"https://a","jwks_uri":"https://a/k"}"#.to_owned(), "lacks"),
            ("<html>".to_owned(), "lacks \"issuer\""),
        ] {
            let error = found(&metadata, "https://a").expect_err(&metadata);
            assert!(error.contains(expected), "{metadata}: {error}");
        }
    }
}
