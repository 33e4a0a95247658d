//! What tool servers at URLs and providers are shown of us: the configuration's credential becomes the runtime's.
//!
//! What is in a file is read again as long as the server runs; what the document or the environment has is read once. All
//! of it is read when a set of resources is applied, so that a set whose secrets are not there is refused whole.

use std::sync::Arc;

use http::{HeaderName, HeaderValue, Uri};
use quorate_config::{ClientAuth, ClientCredentials, Credential, HeaderSource, SecretSource};
use quorate_http::client::{self, Client};
use quorate_runtime::upstream;
use quorate_runtime::upstream::credential::{self, Config, Grant, Source, Unreadable};
use quorate_runtime::upstream::endpoint::InvalidEndpoint;
use quorate_tls::{ClientOptions, ClientTls};
use quorate_types::Secret;

use super::endpoints::Owner;
use super::{Error, Gateway};

/// How a token endpoint is spoken to: once in minutes, so that one connection is kept, and that for seconds.
const TOKEN_CLIENT: client::Config = client::Config { idle_per_host_max: 1, ..client::DEFAULTS };

// === impl Gateway ===

impl Gateway {
    /// Makes what somebody is shown; none when it is shown nothing.
    pub(super) fn credential(
        &self,
        owner: &Owner<'_>,
        headers: &[HeaderSource],
        shown: &Credential,
    ) -> Result<Option<upstream::Credential>, Error> {
        let unreadable = |source| Error::Credential { of: owner.to_string(), source };
        let sources = headers.iter().map(|header| ("spec.headers", header));
        let of_credential = match shown {
            Credential::Header(header) => Some(("spec.credential.header", header)),
            Credential::None | Credential::ClientCredentials(_) => None,
        };
        let headers = sources.chain(of_credential).map(|(key, source)| header(key, source));
        let headers: Vec<_> = headers.collect::<Result<_, _>>().map_err(unreadable)?;
        let grant = match shown {
            Credential::ClientCredentials(given) => Some(self.grant(owner, given)?),
            Credential::None | Credential::Header(_) => None,
        };
        if headers.is_empty() && grant.is_none() {
            return Ok(None);
        }
        let metrics = self.shared.services.metrics.token(owner.name.as_str());
        let config = Config { server: owner.name.clone(), headers, grant };
        upstream::Credential::new(config, metrics).map(Some).map_err(unreadable)
    }

    fn grant(&self, owner: &Owner<'_>, given: &ClientCredentials) -> Result<Grant, Error> {
        let url = given.token_url.as_str();
        let token_url: Uri = url.parse().map_err(|_| Error::Address {
            of: owner.to_string(),
            source: InvalidEndpoint::Url { url: url.to_owned() },
        })?;
        let secret = secret(&given.client_secret);
        let secret = secret.map_err(|source| Error::Credential { of: owner.to_string(), source })?;
        let http = match &given.tls_ca {
            None => Source::Fixed(Client::new(&TOKEN_CLIENT, self.client_tls(std::slice::from_ref(&given.token_url))?)),
            Some(file) => {
                let native_roots = self.shared.tls.native_roots;
                let options = ClientOptions { native_roots, extra_roots: Some(file.clone()) };
                Source::Changing(Arc::new(move || {
                    let key = "spec.credential.clientCredentials.tlsCa";
                    let tls = ClientTls::load(&options).map_err(|error| under(key, &error))?;
                    Ok(Client::new(&TOKEN_CLIENT, tls))
                }))
            }
        };
        let client = credential::Client {
            token_url,
            client_id: given.client_id.clone(),
            scopes: given.scopes.clone(),
            audience: given.audience.clone(),
            resource: given.resource.clone(),
            auth: match given.auth {
                ClientAuth::Basic => credential::ClientAuth::Basic,
                ClientAuth::Post => credential::ClientAuth::Post,
            },
        };
        Ok(Grant { client, secret, http })
    }
}

pub(super) fn header(key: &str, source: &HeaderSource) -> Result<(HeaderName, Source<HeaderValue>), Unreadable> {
    let key = format!("{key} ({})", source.name);
    let name = source.name.clone();
    if source.value.file().is_none() {
        return source.read().map(|value| (name, Source::Fixed(value))).map_err(|error| under(&key, &error));
    }
    let source = source.clone();
    let read = move || source.read().map_err(|error| under(&key, &error));
    Ok((name, Source::Changing(Arc::new(read))))
}

fn secret(source: &SecretSource) -> Result<Source<Secret>, Unreadable> {
    let read = |source: &SecretSource| {
        source.read().map_err(|error| under("spec.credential.clientCredentials.clientSecret", &error))
    };
    if source.file().is_none() {
        return read(source).map(Source::Fixed);
    }
    let source = source.clone();
    Ok(Source::Changing(Arc::new(move || read(&source))))
}

/// Says under which key it is that something cannot be read.
fn under(key: &str, error: &dyn std::error::Error) -> Unreadable {
    Unreadable { message: format!("{key}: {error}") }
}
