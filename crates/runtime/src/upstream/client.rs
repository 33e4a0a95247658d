//! A whole MCP client over one endpoint: for the command line, health tools and tests.
//!
//! It finds out what the server speaks, keeps a session where one is needed, pages through lists
//! and calls tools; the gateway itself uses the parts below it. It declares no capabilities: a
//! server that asks for sampling, elicitation or roots is told that they are not offered, and its
//! pings are answered. Answers come back as the raw JSON that the server sent.

use std::sync::atomic::{AtomicU64, Ordering};

use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue, StatusCode};
use quorate_jsonrpc::{Frame, Id, Kind, build, elements, pick, quote, text};
use quorate_mcp::param::ParamRules;
use quorate_mcp::{Level, ListKind, Method, Version, header};

use super::answer::{Answer, FrameStream};
use super::endpoint::Endpoint;
use super::error::{Error, Nonsense};
use super::legacy::{Leg, Transport};
use super::probe::{self, Discovered, EraSetting, TransportSetting};
use super::{modern, wire};

/// Pages of one list that are fetched at most: 1000, so that a server whose cursor never ends
/// cannot keep us.
const PAGES_MAX: usize = 1000;
/// Items of one list that are kept at most: 10,000, as the gateway keeps of one server.
const ITEMS_MAX: usize = 10_000;

/// A client of one MCP server. Concurrent calls are fine.
#[derive(Debug)]
pub struct Client {
    endpoint: Endpoint,
    speech: Speech,
    about: About,
    next_id: AtomicU64,
}

/// What the server says about itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct About {
    /// The revision that is spoken.
    pub version: Version,
    /// The legacy transport; none in the modern era.
    pub transport: Option<Transport>,
    /// The raw `capabilities`, unless the server did not tell.
    pub capabilities: Option<Bytes>,
    /// The raw `serverInfo`, if it is given.
    pub server_info: Option<Bytes>,
    /// The decoded `instructions`, if there are any.
    pub instructions: Option<String>,
}

/// A tool call.
#[derive(Clone, Copy, Debug)]
pub struct ToolCall<'a> {
    /// The tool's name.
    pub name: &'a str,
    /// The arguments, a JSON object.
    pub arguments: &'a str,
    /// The tool's raw item of [`Client::list`], if it is known: it says which arguments a modern
    /// call has to mirror into `Mcp-Param-*` headers.
    pub definition: Option<&'a str>,
    /// From which level on log messages are wanted; none wants none, or what the server likes.
    pub log_level: Option<Level>,
}

#[derive(Debug)]
enum Speech {
    Modern,
    Legacy(Leg),
}

// === impl Client ===

impl Client {
    /// Connects: finds the era within the settings, and opens a session if the era has them.
    ///
    /// # Errors
    /// Any [`Error`]; see [`probe::probe`].
    pub async fn connect(endpoint: Endpoint, era: EraSetting, transport: TransportSetting) -> Result<Self, Error> {
        if era != EraSetting::Legacy {
            match probe::discover(&endpoint, era).await? {
                Discovered::Modern(info) => {
                    let about = About {
                        version: info.versions.first().copied().unwrap_or(Version::LATEST),
                        transport: None,
                        capabilities: info.capabilities,
                        server_info: info.server_info,
                        instructions: info.instructions,
                    };
                    return Ok(Self { endpoint, speech: Speech::Modern, about, next_id: AtomicU64::new(1) });
                }
                Discovered::NotModern(refusal) if era == EraSetting::Modern => return Err(refusal),
                Discovered::NotModern(_) => {}
            }
        }
        let params = probe::initialize_params();
        let (leg, initialized) = Leg::open(&endpoint, transport, HeaderMap::new(), &params).await?;
        let about = About {
            version: initialized.version,
            transport: Some(leg.transport()),
            capabilities: Some(initialized.capabilities),
            server_info: initialized.server_info,
            instructions: initialized.instructions,
        };
        Ok(Self { endpoint, speech: Speech::Legacy(leg), about, next_id: AtomicU64::new(1) })
    }

    /// Returns what the server says about itself.
    #[must_use]
    pub fn about(&self) -> &About {
        &self.about
    }

    /// Tells whether the server announces a capability such as `tools`; true when it told nothing.
    #[must_use]
    pub fn announces(&self, capability: &str) -> bool {
        let Some(capabilities) = &self.about.capabilities else { return true };
        let raw = std::str::from_utf8(capabilities).unwrap_or_default();
        matches!(pick(raw, 0, [capability]), Ok([Some(span)]) if span.of(raw) != "null")
    }

    /// Lists everything of one kind, in the server's order: the raw items.
    ///
    /// A server that does not announce the kind, or does not know its method, has none of it.
    ///
    /// # Errors
    /// [`Error::Fault`] when the server refuses, and whatever else a call can meet.
    pub async fn list(&self, kind: ListKind) -> Result<Vec<Bytes>, Error> {
        let mut items = Vec::new();
        if !self.announces(kind.capability()) {
            return Ok(items);
        }
        let mut cursor: Option<String> = None;
        for _page in 0..PAGES_MAX {
            let params = cursor.take().map(|cursor| format!("\"cursor\":{}", quote(&cursor))).unwrap_or_default();
            let result = match self.request(kind.method(), &params, HeaderMap::new(), |_| {}).await {
                Err(Error::Fault { frame, .. }) if is_method_not_found(&frame) => return Ok(items),
                result => result?,
            };
            let (page, next) = read_page(kind, &result)?;
            items.extend(page);
            if items.len() > ITEMS_MAX {
                return Err(Error::TooMany { max: ITEMS_MAX });
            }
            match next {
                Some(next) => cursor = Some(next),
                None => return Ok(items),
            }
        }
        Err(Error::TooMany { max: PAGES_MAX })
    }

    /// Calls a tool and returns the raw result; `seen` gets every notification that comes before it.
    ///
    /// # Errors
    /// [`Error::Fault`] when the server refuses, and whatever else a call can meet.
    pub async fn call_tool(&self, call: &ToolCall<'_>, seen: impl FnMut(&Frame)) -> Result<Bytes, Error> {
        let mut headers = HeaderMap::new();
        match &self.speech {
            Speech::Modern => {
                headers.insert(header::NAME, header::encode(call.name));
                if let Some(definition) = call.definition {
                    headers.extend(mirrored(definition, call.arguments));
                }
            }
            Speech::Legacy(_) => self.set_level(call.log_level).await?,
        }
        let params = format!("\"name\":{},\"arguments\":{}", quote(call.name), call.arguments);
        self.exchange(Method::CallTool, &params, headers, call.log_level, seen).await
    }

    /// Sets the session's log level; a server that declines still serves the call.
    async fn set_level(&self, level: Option<Level>) -> Result<(), Error> {
        let Some(level) = level.filter(|_| self.announces("logging")) else { return Ok(()) };
        let params = format!("\"level\":\"{}\"", level.as_str());
        match self.request(Method::SetLevel, &params, HeaderMap::new(), |_| {}).await {
            Ok(_) | Err(Error::Fault { .. }) => Ok(()),
            Err(error) => Err(error),
        }
    }

    /// Sends a request of any method; `params` are the members of its parameters, without braces
    /// and without `_meta`. Returns the raw result.
    ///
    /// # Errors
    /// [`Error::Fault`] when the server refuses, and whatever else a call can meet.
    pub async fn request(
        &self,
        method: Method,
        params: &str,
        headers: HeaderMap,
        seen: impl FnMut(&Frame),
    ) -> Result<Bytes, Error> {
        self.exchange(method, params, headers, None, seen).await
    }

    async fn exchange(
        &self,
        method: Method,
        params: &str,
        headers: HeaderMap,
        log_level: Option<Level>,
        mut seen: impl FnMut(&Frame),
    ) -> Result<Bytes, Error> {
        let id = Id::from(self.next_id.fetch_add(1, Ordering::Relaxed));
        let answer = self.send(method, &id, params, headers, log_level).await?;
        let (status, frame) = match answer {
            Answer::Json { status, frame } => (status, frame),
            Answer::Stream(stream) => (StatusCode::OK, self.read(stream, &mut seen).await?),
        };
        if frame.id().is_some_and(|found| *found != id) {
            return Err(Nonsense::WrongId.into());
        }
        match frame.result() {
            Some(result) => Ok(result),
            None => Err(Error::fault(status, frame)),
        }
    }

    /// Ends the session, if there is one.
    pub async fn close(&self) {
        if let Speech::Legacy(leg) = &self.speech {
            leg.close().await;
        }
    }

    async fn send(
        &self,
        method: Method,
        id: &Id,
        params: &str,
        headers: HeaderMap,
        log_level: Option<Level>,
    ) -> Result<Answer, Error> {
        let comma = if params.is_empty() { "" } else { "," };
        let token = id.as_json();
        match &self.speech {
            Speech::Modern => {
                let meta = modern::meta(self.about.version, Some(token), log_level);
                let params = format!("{{{params}{comma}\"_meta\":{meta}}}");
                let mut all = modern::own_headers(method.as_str());
                all.insert(header::PROTOCOL_VERSION, HeaderValue::from_static(self.about.version.as_str()));
                all.extend(headers);
                modern::send(&self.endpoint, all, build::request(id, method.as_str(), Some(&params))).await
            }
            Speech::Legacy(leg) => {
                let params = format!("{{{params}{comma}\"_meta\":{{\"progressToken\":{token}}}}}");
                let body = build::request(id, method.as_str(), Some(&params));
                leg.request(headers, wire::parse(body, self.endpoint.limits().answer_bytes_max)?).await
            }
        }
    }

    /// Reads a stream to its response, answering what the server asks meanwhile.
    async fn read(&self, mut stream: FrameStream, seen: &mut impl FnMut(&Frame)) -> Result<Frame, Error> {
        while let Some(item) = stream.next().await {
            let frame = item?.frame;
            match frame.kind() {
                Kind::Result | Kind::Error => return Ok(frame),
                Kind::Notification => seen(&frame),
                Kind::Request => self.reply(&frame).await?,
            }
        }
        Err(Error::Broken { reason: "the stream ended before the answer".to_owned() })
    }

    /// Answers a request of a legacy server; the modern era has none, so there it is ignored.
    async fn reply(&self, request: &Frame) -> Result<(), Error> {
        let (Speech::Legacy(leg), Some(id)) = (&self.speech, request.id()) else { return Ok(()) };
        let reply = if request.method() == Some(Method::Ping.as_str()) {
            build::result(id, "{}")
        } else {
            let message = "this client offers no sampling, elicitation or roots";
            build::error(Some(id), quorate_mcp::error::METHOD_NOT_FOUND, message, None)
        };
        leg.notify(HeaderMap::new(), reply).await
    }
}

fn is_method_not_found(frame: &Frame) -> bool {
    super::error::fault_code(frame) == Some(quorate_mcp::error::METHOD_NOT_FOUND)
}

/// Makes the `Mcp-Param-*` headers of a call. A definition that breaks the rules has none: the
/// specification wants such a tool dropped, and the server will refuse the call.
fn mirrored(definition: &str, arguments: &str) -> Vec<(HeaderName, HeaderValue)> {
    let Ok([Some(schema)]) = pick(definition, 0, ["inputSchema"]) else { return Vec::new() };
    let rules = ParamRules::of(schema.of(definition)).unwrap_or_default();
    rules.headers(Some(arguments))
}

/// Reads one page: its raw items and the cursor of the next one.
fn read_page(kind: ListKind, result: &Bytes) -> Result<(Vec<Bytes>, Option<String>), Error> {
    let invalid = |member| Error::from(Nonsense::Result { method: kind.method().as_str(), member });
    let raw = std::str::from_utf8(result).map_err(|_| invalid("result"))?;
    let [items, next] = pick(raw, 0, [kind.result_key(), "nextCursor"]).map_err(|_| invalid("result"))?;
    let items = items.ok_or_else(|| invalid(kind.result_key()))?;
    let mut page = Vec::new();
    elements(items.of(raw), items.start, |span| page.push(result.slice(span.range())))
        .map_err(|_| invalid(kind.result_key()))?;
    let next = match next.map(|span| span.of(raw)) {
        None | Some("null") => None,
        Some(cursor) => Some(text(cursor).ok_or_else(|| invalid("nextCursor"))?.into_owned()),
    };
    Ok((page, next))
}
