//! What one replica of a tool server is reached by, and the limits of talking to it.
//!
//! An [`Endpoint`] is made once per replica and shared. One over HTTP carries the client (and with
//! it the connection pool), fixed headers, the server's [`Credential`] and the [`Limits`]. Everything
//! that varies per call (trace context, `Mcp-*` headers, sessions) comes with the call.

use std::sync::Arc;
use std::time::Duration;

use http::header::{CONNECTION, CONTENT_LENGTH, CONTENT_TYPE, HOST, TRANSFER_ENCODING};
use http::{HeaderMap, Uri};
use quorate_http::client;

use super::credential::Credential;
use super::openapi::ApiEndpoint;
use super::stdio::StdioEndpoint;

/// The limits of calls to one tool server.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Largest JSON answer in bytes: 16 MiB, what a stream's ring can carry as one result.
    pub answer_bytes_max: usize,
    /// Largest single event of a stream in bytes; the same, since an event can be an answer.
    pub event_bytes_max: usize,
    /// Time until the head of a response: 60 s, the request timeout of the TypeScript SDK.
    pub first_byte: Duration,
    /// Longest silence (not even a comment) of a response stream: 2 min, eight keep-alives.
    pub idle: Duration,
    /// Longest time of one call, whatever its progress: 5 min.
    pub total: Duration,
    /// Longest silence of a stream that only listens: 1 h; its reader opens a new one then.
    pub listen_idle: Duration,
    /// How many times in a row a broken stream is resumed without a new event: 3.
    pub resumes_max: u32,
    /// First delay before a resume when the server gave no `retry`: 500 ms, then doubled.
    pub resume_delay: Duration,
    /// Longest `retry` of a server that is honoured: 30 s, so that it cannot park a call.
    pub resume_delay_max: Duration,
    /// Open requests of one HTTP+SSE session, which share one stream: 256, as of one session.
    pub shared_requests_max: usize,
    /// Frames that wait for the reader of one answer of a shared stream: 64, as a stream's ring.
    pub shared_frames_max: usize,
    /// How long a shared stream waits for one slow reader before it is cut off: 10 s.
    pub shared_stall: Duration,
}

/// The defaults of [`Limits`]; the reasons are at its fields.
pub const DEFAULTS: Limits = Limits {
    answer_bytes_max: 16 << 20,
    event_bytes_max: 16 << 20,
    first_byte: Duration::from_secs(60),
    idle: Duration::from_secs(120),
    total: Duration::from_secs(300),
    listen_idle: Duration::from_secs(3600),
    resumes_max: 3,
    resume_delay: Duration::from_millis(500),
    resume_delay_max: Duration::from_secs(30),
    shared_requests_max: 256,
    shared_frames_max: 64,
    shared_stall: Duration::from_secs(10),
};

/// An address or header that cannot be used towards a tool server.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum InvalidEndpoint {
    /// The address is not an absolute `http` or `https` URL.
    #[error("{url:?} is not an http:// or https:// URL with a host")]
    Url {
        /// The address as given.
        url: String,
    },
    /// The address holds a user name or password, which would show up in logs.
    #[error("the address holds credentials: give them as a header instead")]
    Credentials,
    /// A fixed header would break the transport.
    #[error("the header {name:?} is set by the transport and cannot be fixed")]
    Header {
        /// The header's name.
        name: String,
    },
}

/// What one replica of a tool server is reached by. Clones are cheap.
#[derive(Clone, Debug)]
pub enum Endpoint {
    /// An address over HTTP.
    Http(HttpEndpoint),
    /// An API that an OpenAPI document describes.
    Api(ApiEndpoint),
    /// A child process.
    Stdio(StdioEndpoint),
}

/// One address of a tool server over HTTP. Clones are cheap.
#[derive(Clone)]
pub struct HttpEndpoint {
    shared: Arc<Shared>,
}

struct Shared {
    uri: Uri,
    client: client::Client,
    limits: Limits,
    headers: HeaderMap,
    credential: Option<Credential>,
}

// === impl Limits ===

impl Default for Limits {
    fn default() -> Self {
        DEFAULTS
    }
}

// === impl Endpoint ===

impl Endpoint {
    /// Makes an endpoint over HTTP: see [`HttpEndpoint::new`].
    ///
    /// # Errors
    /// As [`HttpEndpoint::new`].
    pub fn http(
        url: &str,
        client: client::Client,
        headers: HeaderMap,
        limits: Limits,
    ) -> Result<Self, InvalidEndpoint> {
        HttpEndpoint::new(url, client, headers, limits).map(Self::Http)
    }

    /// Gives up what is kept for calls to come; calls under way go on.
    pub fn close(&self) {
        match self {
            Self::Http(endpoint) => endpoint.credential().into_iter().for_each(Credential::close),
            Self::Api(_) => {}
            Self::Stdio(endpoint) => endpoint.close(),
        }
    }

    /// Closes, and waits until nothing of it is left.
    pub(crate) async fn end(&self) {
        match self {
            Self::Http(_) | Self::Api(_) => {}
            Self::Stdio(endpoint) => endpoint.end().await,
        }
    }

    /// Returns the limits.
    #[must_use]
    pub fn limits(&self) -> &Limits {
        match self {
            Self::Http(endpoint) => endpoint.limits(),
            Self::Api(endpoint) => endpoint.limits(),
            Self::Stdio(endpoint) => endpoint.limits(),
        }
    }
}

impl std::fmt::Display for Endpoint {
    /// Writes what an operator knows the endpoint by; no secrets.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Http(endpoint) => endpoint.uri().fmt(f),
            Self::Api(endpoint) => endpoint.fmt(f),
            Self::Stdio(endpoint) => endpoint.fmt(f),
        }
    }
}

// === impl HttpEndpoint ===

impl HttpEndpoint {
    /// Makes an endpoint of `url`; `headers` go with every request to it.
    ///
    /// # Errors
    /// [`InvalidEndpoint`] when the address is no HTTP URL or has credentials in it, or when a header
    /// belongs to the transport.
    pub fn new(url: &str, client: client::Client, headers: HeaderMap, limits: Limits) -> Result<Self, InvalidEndpoint> {
        let invalid = || InvalidEndpoint::Url { url: url.to_owned() };
        let uri: Uri = url.parse().map_err(|_| invalid())?;
        let scheme_known = matches!(uri.scheme_str(), Some("http" | "https"));
        if !scheme_known || uri.host().is_none_or(str::is_empty) {
            return Err(invalid());
        }
        if uri.authority().is_some_and(|authority| authority.as_str().contains('@')) {
            return Err(InvalidEndpoint::Credentials);
        }
        for name in [HOST, CONTENT_LENGTH, CONTENT_TYPE, TRANSFER_ENCODING, CONNECTION] {
            if headers.contains_key(&name) {
                return Err(InvalidEndpoint::Header { name: name.to_string() });
            }
        }
        Ok(Self { shared: Arc::new(Shared { uri, client, limits, headers, credential: None }) })
    }

    /// Makes the same endpoint with what its server is shown of us.
    #[must_use]
    pub fn with_credential(&self, credential: Credential) -> Self {
        let Shared { uri, client, limits, headers, .. } = &*self.shared;
        let (uri, client, headers) = (uri.clone(), client.clone(), headers.clone());
        Self { shared: Arc::new(Shared { uri, client, limits: *limits, headers, credential: Some(credential) }) }
    }

    /// Returns the address.
    #[must_use]
    pub fn uri(&self) -> &Uri {
        &self.shared.uri
    }

    /// Returns the limits.
    #[must_use]
    pub fn limits(&self) -> &Limits {
        &self.shared.limits
    }

    /// Returns the fixed headers.
    #[must_use]
    pub fn headers(&self) -> &HeaderMap {
        &self.shared.headers
    }

    pub(super) fn client(&self) -> &client::Client {
        &self.shared.client
    }

    pub(super) fn credential(&self) -> Option<&Credential> {
        self.shared.credential.as_ref()
    }
}

impl std::fmt::Debug for HttpEndpoint {
    /// Writes the address only: headers hold credentials.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("HttpEndpoint").field("uri", &self.shared.uri).finish_non_exhaustive()
    }
}
