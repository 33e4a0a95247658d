//! What tool servers and providers are reached by: an HTTP client and a credential each, and an endpoint per replica.
//!
//! The certificates that they are held against are loaded once, when the first of them speaks TLS. One that has
//! files of its own has a client of its own, which loads them again when they change, for new connections.

use http::HeaderMap;
use quorate_config::{HttpConnection, OpenApiConnection, OutgoingTls, Provider, ToolServer};
use quorate_http::client;
use quorate_openapi::Api;
use quorate_runtime::upstream;
use quorate_runtime::upstream::credential::Unreadable;
use quorate_tls::{ClientCertificate, ClientOptions, ClientTls, Reload, WatchConfig};
use quorate_types::ResourceName;

use super::{Error, Gateway};

/// Whom something is for, in messages.
pub(super) struct Owner<'a> {
    what: &'static str,
    pub(super) name: &'a ResourceName,
}

// === impl Owner ===

impl<'a> Owner<'a> {
    pub(super) const fn of_server(server: &'a ToolServer) -> Self {
        Self { what: "tool server", name: &server.name }
    }

    pub(super) const fn of_provider(provider: &'a Provider) -> Self {
        Self { what: "provider", name: &provider.name }
    }
}

impl std::fmt::Display for Owner<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} `{}`", self.what, self.name)
    }
}

// === impl Gateway ===

impl Gateway {
    pub(super) fn http_endpoints(
        &self,
        server: &ToolServer,
        http: &HttpConnection,
        limits: upstream::Limits,
    ) -> Result<Vec<upstream::Endpoint>, Error> {
        let owner = Owner::of_server(server);
        let client = self.client(server, &http.urls)?;
        let credential = self.credential(&owner, &http.headers, &http.credential)?;
        let endpoint = |url: &url::Url| {
            let endpoint = upstream::HttpEndpoint::new(url.as_str(), client.clone(), HeaderMap::new(), limits)
                .map_err(|source| Error::Address { of: owner.to_string(), source })?;
            Ok(upstream::Endpoint::Http(match &credential {
                Some(credential) => endpoint.with_credential(credential.clone()),
                None => endpoint,
            }))
        };
        http.urls.iter().map(endpoint).collect()
    }

    pub(super) fn api_endpoint(
        &self,
        server: &ToolServer,
        connection: &OpenApiConnection,
        api: Api,
        limits: upstream::Limits,
    ) -> Result<upstream::Endpoint, Error> {
        let urls: Vec<url::Url> = api.bases().iter().filter_map(|base| url::Url::parse(base).ok()).collect();
        let client = self.client(server, &urls)?;
        let label = connection.document.display().to_string();
        Ok(upstream::Endpoint::Api(upstream::ApiEndpoint::new(&label, api, client, limits)))
    }

    fn client(&self, server: &ToolServer, urls: &[url::Url]) -> Result<client::Client, Error> {
        let config = client::Config {
            connect_timeout: server.limits.connect,
            head_timeout: server.limits.first_byte,
            idle_per_host_max: usize::try_from(server.limits.connections).unwrap_or(usize::MAX),
            ..client::DEFAULTS
        };
        Ok(client::Client::new(&config, self.outgoing(&Owner::of_server(server), &server.tls, urls)?))
    }

    /// What connections to somebody are made with.
    pub(super) fn outgoing(
        &self,
        owner: &Owner<'_>,
        files: &OutgoingTls,
        urls: &[url::Url],
    ) -> Result<ClientTls, Error> {
        let OutgoingTls { ca, certificate } = files;
        if ca.is_none() && certificate.is_none() {
            return self.client_tls(urls);
        }
        let options = match ca {
            Some(ca) => ClientOptions { native_roots: false, extra_roots: Some(ca.clone()) },
            None => self.shared.tls.clone(),
        };
        let loaded = match certificate.clone() {
            Some((certificate, key)) => ClientTls::load_mutual(&options, ClientCertificate { certificate, key }),
            None => ClientTls::load(&options),
        };
        let tls = loaded.map_err(|error| Error::Credential {
            of: owner.to_string(),
            source: Unreadable { message: format!("spec.tls: {error}") },
        })?;
        let of = owner.to_string();
        Ok(tls.watched(WatchConfig::default(), move |reload| match reload {
            Reload::Refused(error) => {
                tracing::error!(of, %error, "a changed file of tls is refused; what was in use stays in use");
            }
            Reload::Replaced | Reload::TrustReplaced(_) | Reload::CrlExpired { .. } => {
                tracing::info!(of, "the changed files of tls are in use for new connections");
            }
        }))
    }

    /// What the certificates of `urls` are held against; nothing where they have none.
    pub(super) fn client_tls(&self, urls: &[url::Url]) -> Result<ClientTls, Error> {
        if !urls.iter().any(|url| url.scheme() == "https") {
            let nobody = ClientOptions { native_roots: false, extra_roots: None };
            return ClientTls::load(&nobody).map_err(Error::Roots);
        }
        self.trusted()
    }

    /// What certificates of servers are held against; loaded when the first of them speaks TLS.
    pub(super) fn trusted(&self) -> Result<ClientTls, Error> {
        if let Some(trusted) = self.shared.trusted.get() {
            return Ok(trusted.clone());
        }
        let trusted = ClientTls::load(&self.shared.tls).map_err(Error::Roots)?;
        for failure in trusted.native_failures() {
            tracing::warn!(%failure, "a trusted certificate of the system cannot be used");
        }
        Ok(self.shared.trusted.get_or_init(|| trusted).clone())
    }
}
