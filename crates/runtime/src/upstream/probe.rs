//! Finds out which eras and transports a tool server speaks.
//!
//! Modern first: a POST of `server/discover`. A result, or HTTP 400 with an error that only the
//! modern era has, proves modern; any other 4xx, a JSON-RPC error or an answer that is no MCP
//! means legacy, and `initialize` is tried, over streamable HTTP and then over HTTP+SSE. 401,
//! 403, 5xx, redirects, timeouts and broken connections are no evidence of an era: they are
//! returned as errors, and whoever asked keeps what it knew (mcp.md, "Era probe").
//!
//! A server that proved modern is not asked for the legacy era too, because that would leave
//! a session behind at every probe: [`LegacySupport::Unknown`] until somebody opens one.

use std::time::Duration;

use bytes::Bytes;
use http::{HeaderMap, StatusCode};
use quorate_jsonrpc::{Frame, Id, Kind, Span, build, elements, pick, text};
use quorate_mcp::dialect::{legacy, v2026_07_28};
use quorate_mcp::{Era, Method, Version};

use super::answer::Answer;
use super::endpoint::Endpoint;
use super::error::{self, Error, Nonsense};
use super::legacy::{InitializeResult, Leg, Transport};
use super::{modern, stdio};

/// Which eras are tried.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum EraSetting {
    /// Modern, then legacy.
    #[default]
    Auto,
    /// Only sessions (up to 2025-11-25).
    Legacy,
    /// Only stateless calls (2026-07-28).
    Modern,
}

/// Which transports of the legacy era are tried.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum TransportSetting {
    /// Streamable HTTP, then HTTP+SSE.
    #[default]
    Auto,
    /// Only streamable HTTP.
    StreamableHttp,
    /// Only HTTP+SSE.
    Sse,
}

/// What a server speaks.
#[derive(Clone, Debug)]
pub struct Probe {
    /// The stateless era, when it is spoken.
    pub modern: Option<ModernInfo>,
    /// The era of sessions.
    pub legacy: LegacySupport,
}

/// What a server says about itself in the modern era.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ModernInfo {
    /// The modern versions that both sides speak, best first; never empty.
    pub versions: Vec<Version>,
    /// The raw `capabilities`; none when the server proved modern by refusing to discover.
    pub capabilities: Option<Bytes>,
    /// The raw `serverInfo`, if it is given.
    pub server_info: Option<Bytes>,
    /// The decoded `instructions`, if there are any.
    pub instructions: Option<String>,
    /// How long this may be believed; zero when the server does not say.
    pub ttl: Duration,
}

/// What is known about a server and sessions.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum LegacySupport {
    /// Nobody tried.
    #[default]
    Unknown,
    /// A session could be opened.
    Supported {
        /// The version that the server chose.
        version: Version,
        /// The transport that worked.
        transport: Transport,
        /// The raw `capabilities`.
        capabilities: Bytes,
        /// The raw `serverInfo`, if it is given.
        server_info: Option<Bytes>,
        /// The decoded `instructions`, if there are any.
        instructions: Option<String>,
    },
    /// The server does not speak it, or must not be asked.
    Unsupported,
}

/// What `server/discover` showed.
pub(super) enum Discovered {
    Modern(ModernInfo),
    /// The server is not modern; this is how it refused.
    NotModern(Error),
}

/// The method that only modern servers know.
pub const DISCOVER: &str = Method::Discover.as_str();

/// Probes `endpoint` within the given settings.
///
/// # Errors
/// The failure that is no evidence of an era, or how the last thing tried was refused.
pub async fn probe(endpoint: &Endpoint, era: EraSetting, transport: TransportSetting) -> Result<Probe, Error> {
    if let Endpoint::Stdio(endpoint) = endpoint {
        return stdio::probe(endpoint, era).await;
    }
    if era != EraSetting::Legacy {
        match discover(endpoint, era).await? {
            Discovered::Modern(info) => {
                let legacy =
                    if era == EraSetting::Modern { LegacySupport::Unsupported } else { LegacySupport::Unknown };
                return Ok(Probe { modern: Some(info), legacy });
            }
            Discovered::NotModern(refusal) if era == EraSetting::Modern => return Err(refusal),
            Discovered::NotModern(refusal) => {
                tracing::debug!(%endpoint, %refusal, "probe.discover: not modern");
            }
        }
    }
    Ok(Probe { modern: None, legacy: probe_legacy(endpoint, transport).await? })
}

/// Opens a session to see whether it can be done, and ends it.
///
/// # Errors
/// As [`Leg::open`]; the caller decides which of them mean [`LegacySupport::Unsupported`].
pub async fn probe_legacy(endpoint: &Endpoint, transport: TransportSetting) -> Result<LegacySupport, Error> {
    let params = initialize_params();
    let (leg, initialized) = Leg::open(endpoint, transport, HeaderMap::new(), &params).await?;
    let support = LegacySupport::of_session(&leg, &initialized);
    leg.close().await;
    Ok(support)
}

/// Builds a `server/discover` of our own; it goes with [`modern::own_headers`] of that method.
#[must_use]
pub fn discover_request() -> Bytes {
    let params = format!("{{\"_meta\":{}}}", modern::meta(Version::LATEST, None, None));
    build::request(&Id::from(0), DISCOVER, Some(&params))
}

/// Asks a server what it is in the modern era; the setting says which others it may be of.
pub(super) async fn discover(endpoint: &Endpoint, era: EraSetting) -> Result<Discovered, Error> {
    if let Endpoint::Stdio(endpoint) = endpoint {
        return stdio::discover(endpoint, era).await;
    }
    let (status, frame) = match modern::send(endpoint, modern::own_headers(DISCOVER), discover_request()).await {
        Ok(answer) => match status_and_response(answer).await {
            Ok(answered) => answered,
            Err(error) => return not_modern(error),
        },
        Err(Error::Status { status, fault: Some(frame) }) if status == StatusCode::BAD_REQUEST => (status, *frame),
        Err(error) => return not_modern(error),
    };
    Ok(judge(status, frame))
}

/// Judges the answer to `server/discover`.
pub(super) fn judge(status: StatusCode, frame: Frame) -> Discovered {
    if frame.kind() == Kind::Error {
        return judge_refusal(status, frame);
    }
    match info(&frame) {
        Ok(Some(info)) => Discovered::Modern(info),
        // Only legacy versions are on offer: an odd but valid way to say so.
        Ok(None) => Discovered::NotModern(Error::fault(status, frame)),
        Err(nonsense) => Discovered::NotModern(nonsense),
    }
}

/// Builds the parameters of our own `initialize`: the newest legacy version first.
#[must_use]
pub fn initialize_params() -> String {
    legacy::initialize_params(Version::LATEST_LEGACY, modern::NO_CAPABILITIES, &super::SELF.to_json())
}

// === impl LegacySupport ===

impl LegacySupport {
    /// Describes a session that was opened.
    #[must_use]
    pub fn of_session(leg: &Leg, initialized: &InitializeResult) -> Self {
        Self::Supported {
            version: initialized.version,
            transport: leg.transport(),
            capabilities: initialized.capabilities.clone(),
            server_info: initialized.server_info.clone(),
            instructions: initialized.instructions.clone(),
        }
    }

    /// Returns the transport that worked, as a setting that saves trying the other.
    #[must_use]
    pub fn transport(&self) -> Option<TransportSetting> {
        match self {
            Self::Supported { transport, .. } => Some((*transport).into()),
            Self::Unknown | Self::Unsupported => None,
        }
    }
}

// === impl TransportSetting ===

impl From<Transport> for TransportSetting {
    fn from(transport: Transport) -> Self {
        match transport {
            Transport::StreamableHttp => Self::StreamableHttp,
            Transport::Sse => Self::Sse,
            // There is no other.
            Transport::Stdio => Self::Auto,
        }
    }
}

/// Sorts out which failures say something about the era.
fn not_modern(error: Error) -> Result<Discovered, Error> {
    match error {
        Error::Status { status, .. } if !status.is_client_error() => Err(error),
        Error::Status { status, .. } if matches!(status.as_u16(), 401 | 403 | 407 | 408 | 429) => Err(error),
        Error::Status { .. } | Error::Malformed(_) | Error::TooLarge { .. } => Ok(Discovered::NotModern(error)),
        other => Err(other),
    }
}

async fn status_and_response(answer: Answer) -> Result<(StatusCode, Frame), Error> {
    match answer {
        Answer::Json { status, frame } => Ok((status, frame)),
        stream @ Answer::Stream(_) => Ok((StatusCode::OK, stream.finish(drop).await?)),
    }
}

/// Judges a JSON-RPC error: the modern codes with HTTP 400 are proof, everything else is not.
fn judge_refusal(status: StatusCode, frame: Frame) -> Discovered {
    use quorate_mcp::error::{HEADER_MISMATCH, MISSING_CAPABILITY, UNSUPPORTED_VERSION};

    let code = error::fault_code(&frame).filter(|_| status == StatusCode::BAD_REQUEST);
    let proven = |versions| ModernInfo {
        versions,
        capabilities: None,
        server_info: None,
        instructions: None,
        ttl: Duration::ZERO,
    };
    match code {
        Some(HEADER_MISMATCH | MISSING_CAPABILITY) => Discovered::Modern(proven(vec![Version::LATEST])),
        Some(UNSUPPORTED_VERSION) => {
            let offered = supported_by_refusal(&frame);
            match modern_versions(&offered) {
                versions if !versions.is_empty() => Discovered::Modern(proven(versions)),
                _ => Discovered::NotModern(Error::unknown_versions(offered.iter().map(String::as_str))),
            }
        }
        _ => Discovered::NotModern(Error::fault(status, frame)),
    }
}

fn supported_by_refusal(frame: &Frame) -> Vec<String> {
    let Some(data) = error::member(frame, "data") else { return Vec::new() };
    let Ok([Some(supported)]) = pick(data, 0, ["supported"]) else { return Vec::new() };
    texts(data, supported)
}

/// Reads a discover result; none when it offers no modern version of ours.
fn info(frame: &Frame) -> Result<Option<ModernInfo>, Error> {
    let invalid = |member| Error::from(Nonsense::Result { method: DISCOVER, member });
    let span = frame.result_span().ok_or_else(|| invalid("result"))?;
    let keys = ["supportedVersions", "capabilities", "instructions", "ttlMs", "_meta"];
    let whole = frame.text();
    let [versions, capabilities, instructions, ttl, meta] =
        pick(frame.text_of(span), span.start, keys).map_err(|_| invalid("result"))?;
    let offered = texts(whole, versions.ok_or_else(|| invalid(keys[0]))?);
    if offered.is_empty() {
        return Err(invalid(keys[0]));
    }
    let versions = modern_versions(&offered);
    if versions.is_empty() {
        return Ok(None);
    }
    let raw = |span: Span| frame.bytes().slice(span.range());
    let capabilities = capabilities.filter(|span| span.of(whole).starts_with('{')).map(raw);
    let server_info = meta.and_then(|meta| {
        let [info] = pick(meta.of(whole), meta.start, [v2026_07_28::META_SERVER_INFO]).ok()?;
        info.map(raw)
    });
    let ttl = ttl.and_then(|span| span.of(whole).parse().ok()).map_or(Duration::ZERO, Duration::from_millis);
    Ok(Some(ModernInfo {
        versions,
        capabilities: Some(capabilities.ok_or_else(|| invalid(keys[1]))?),
        server_info,
        instructions: instructions.and_then(|span| text(span.of(whole)).map(Into::into)),
        ttl,
    }))
}

/// Reads an array of strings; other elements are left out.
fn texts(whole: &str, array: Span) -> Vec<String> {
    const COUNT_MAX: usize = 64;
    let mut found = Vec::new();
    let read = elements(array.of(whole), array.start, |span| {
        if let (true, Some(text)) = (found.len() < COUNT_MAX, text(span.of(whole))) {
            found.push(text.into_owned());
        }
    });
    if read.is_ok() { found } else { Vec::new() }
}

/// Returns the modern versions of ours among `offered`, newest first.
fn modern_versions(offered: &[String]) -> Vec<Version> {
    let known = offered.iter().filter_map(|offered| Version::parse(offered));
    let mut versions: Vec<Version> = known.filter(|version| version.era() == Era::Modern).collect();
    versions.sort_unstable_by(|a, b| b.cmp(a));
    versions.dedup();
    versions
}
