//! Asks servers for the pages of their lists, as the era of the asking client demands.
//!
//! A stateless client's lists come by stateless requests of our own, or from a server of sessions
//! through the session that is kept on the client's behalf. A session's lists come
//! through its own upstream sessions, because servers may list by what the client declared. An
//! HTTP+SSE session has only one stream, which must not carry answers that its client never asked
//! for: its lists come through an upstream session that is opened for them and closed again.
//! What a server asks in return is refused at once: nobody is there to answer it.

use std::sync::atomic::{AtomicU64, Ordering};

use bytes::Bytes;
use futures_util::StreamExt;
use http::HeaderMap;
use quorate_jsonrpc::{Frame, Id, Kind, Limits, Span, Splice, build, elements, pick, quote, text};
use quorate_mcp::capabilities::Capabilities;
use quorate_mcp::{ListKind, codec};
use quorate_runtime::backend::{self, Asked, Leg, own};
use quorate_runtime::listing::{Ask, Fetch};
use quorate_runtime::session::{self, Outgoing, Reply, Terms};
use quorate_runtime::upstream::{LegacySupport, StreamItem, modern};
use quorate_session::{Event, Purpose};

use crate::behalf::Behalf;

/// The method that lists tasks (2025-11-25).
const LIST_TASKS: &str = "tasks/list";

/// JSON-RPC 2.0, section 5.1.
const METHOD_NOT_FOUND: i64 = -32601;

/// Who asks.
pub(crate) enum Fetcher<'a> {
    /// A stateless client.
    Modern(&'a Behalf),
    /// A session with streams.
    Session(&'a session::Handle),
    /// An HTTP+SSE session.
    Single(&'a session::Handle),
}

/// Who asks, for as long as servers take.
pub(crate) enum Detached {
    /// A stateless client.
    Modern(Behalf),
    /// A session with streams.
    Session(session::Handle),
    /// An HTTP+SSE session.
    Single(session::Handle),
}

/// An upstream session beside those of its client; closed when dropped.
pub(crate) struct Beside {
    leg: Leg,
}

// === impl Fetcher ===

impl Ask for Fetcher<'_> {
    type Fetch = Detached;

    fn detached(&self) -> Detached {
        match self {
            Self::Modern(behalf) => Detached::Modern((*behalf).clone()),
            Self::Session(session) => Detached::Session((*session).clone()),
            Self::Single(session) => Detached::Single((*session).clone()),
        }
    }
}

// === impl Detached ===

impl Fetch for Detached {
    /// Of an HTTP+SSE session.
    type Line = Option<Beside>;

    fn speaks(&self, server: &backend::Handle) -> bool {
        let support = server.support();
        match self {
            Self::Modern(_) => support.speaks_modern() || server.needs_session(),
            Self::Session(_) | Self::Single(_) => support.serves_sessions() && support.probed,
        }
    }

    fn offers(&self, server: &backend::Handle, kind: ListKind) -> bool {
        let support = server.support();
        let modern = support.modern.as_ref().and_then(|info| info.capabilities.clone());
        let capabilities = match (self, &support.legacy) {
            (Self::Modern(_), _) if support.speaks_modern() => modern,
            (Self::Modern(_), LegacySupport::Unknown | LegacySupport::Unsupported) => return false,
            (_, LegacySupport::Supported { capabilities, .. }) => Some(capabilities.clone()),
            (Self::Session(_) | Self::Single(_), _) if !support.serves_sessions() => return false,
            // Through a bridge it is the same; and what a server offers in one era it mostly offers in
            // the other.
            (Self::Session(_) | Self::Single(_), LegacySupport::Unsupported | LegacySupport::Unknown) => modern,
        };
        let Some(raw) = capabilities else { return true };
        let mut known = Capabilities::new();
        match std::str::from_utf8(&raw).map(|raw| known.add(raw)) {
            Ok(Ok(())) => known.lists(kind),
            Ok(Err(_)) | Err(_) => true,
        }
    }

    fn has_left(&self) -> bool {
        match self {
            Self::Modern(_) => false,
            Self::Session(session) | Self::Single(session) => session.is_moved(),
        }
    }

    async fn open(&self, server: &backend::Handle) -> Result<Self::Line, String> {
        match self {
            Self::Modern(_) | Self::Session(_) => Ok(None),
            Self::Single(session) => Beside::open(session, server).await.map(Some),
        }
    }

    async fn page(
        &self,
        server: &backend::Handle,
        line: &Self::Line,
        kind: ListKind,
        cursor: Option<&str>,
    ) -> Result<Bytes, String> {
        let answer = match (self, line) {
            (Self::Modern(behalf), _) if server.needs_session() => {
                let session = behalf.session(server).await.map_err(|error| error.to_string())?;
                ask_in_session(&session, server, frame(kind.method().as_str(), cursor)?).await?
            }
            (Self::Modern(_), _) => page_modern(server, kind, cursor).await?,
            (Self::Session(_) | Self::Single(_), Some(beside)) => {
                beside.ask(frame(kind.method().as_str(), cursor)?).await?
            }
            (Self::Session(session) | Self::Single(session), None) => {
                ask_in_session(session, server, frame(kind.method().as_str(), cursor)?).await?
            }
        };
        match answer.result() {
            Some(result) => Ok(result),
            None => Err(match codec::ErrorView::read(&answer) {
                Ok(error) => format!("the server answered error {}: {}", error.code, error.message),
                Err(_) => "the server answered neither result nor error".to_owned(),
            }),
        }
    }
}

// === impl Beside ===

impl Beside {
    /// Opens an upstream session. Whoever stops waiting for it leaves nothing behind: the opening
    /// goes on to its end, and what it opened is dropped, which closes it.
    async fn open(session: &session::Handle, server: &backend::Handle) -> Result<Self, String> {
        let client = session.client().ok_or("the session is not initialized")?;
        let (server, principal) = (server.clone(), session.principal());
        let params = client.initialize_params.clone();
        let opening =
            tokio::spawn(
                async move { server.open_leg(principal, &params).await.map(|opened| Self { leg: opened.leg }) },
            );
        opening.await.map_err(|error| error.to_string())?.map_err(|error| error.to_string())
    }

    async fn ask(&self, frame: Frame) -> Result<Frame, String> {
        let asked = self.leg.request(HeaderMap::new(), frame).await.map_err(|error| error.to_string())?;
        // The load lasts until the answer has been read.
        let Asked { answer, load: _load } = asked;
        let refuse = |item: StreamItem| {
            if let Some(refusal) = refusal(&item.frame) {
                let leg = self.leg.clone();
                // In a task, because the stream with our answer has to be read meanwhile. A server
                // that does not take it has to live without.
                tokio::spawn(async move { leg.notify(HeaderMap::new(), refusal).await.ok() });
            }
        };
        answer.finish(refuse).await.map_err(|error| error.to_string())
    }
}

impl Drop for Beside {
    fn drop(&mut self) {
        let leg = self.leg.clone();
        // Without a runtime the process ends, and its connections with it.
        if let Ok(runtime) = tokio::runtime::Handle::try_current() {
            runtime.spawn(async move { leg.close().await });
        }
    }
}

/// A task of a server, as it lists it.
pub(crate) struct ListedTask {
    /// The server's id of the task.
    pub(crate) id: String,
    raw: Bytes,
    span: Span,
}

// === impl ListedTask ===

impl ListedTask {
    /// Returns the task's JSON with another id.
    #[must_use]
    pub(crate) fn with_id(&self, id: &str) -> String {
        let mut splice = Splice::new(&self.raw);
        splice.replace(self.span, quote(id).into_bytes());
        String::from_utf8_lossy(&splice.finish()).into_owned()
    }
}

impl Fetcher<'_> {
    /// Lists the tasks of a server, at most `pages_max` pages of them.
    ///
    /// # Errors
    /// What went wrong, for the log.
    pub(crate) async fn tasks(&self, server: &backend::Handle, pages_max: usize) -> Result<Vec<ListedTask>, String> {
        let mut tasks = Vec::new();
        let mut cursor: Option<String> = None;
        let line = self.detached().open(server).await?;
        for _ in 0..pages_max {
            let request = frame(LIST_TASKS, cursor.as_deref())?;
            let answer = match (self, &line) {
                (Self::Modern(_), _) => return Ok(tasks), // The modern era has no list of tasks.
                (Self::Session(_) | Self::Single(_), Some(beside)) => beside.ask(request).await?,
                (Self::Session(session) | Self::Single(session), None) => {
                    ask_in_session(session, server, request).await?
                }
            };
            let result = answer.result().ok_or("the server answered with an error")?;
            let raw = std::str::from_utf8(&result).map_err(|error| error.to_string())?;
            let [listed, next] = pick(raw, 0, ["tasks", "nextCursor"]).map_err(|error| error.to_string())?;
            let listed = listed.ok_or("the result has no tasks")?;
            elements(listed.of(raw), listed.start, |span| tasks.extend(listed_task(&result.slice(span.range()))))
                .map_err(|error| error.to_string())?;
            cursor = next.and_then(|span| text(span.of(raw)).map(std::borrow::Cow::into_owned));
            if cursor.is_none() {
                break;
            }
        }
        Ok(tasks)
    }
}

fn listed_task(raw: &Bytes) -> Option<ListedTask> {
    let json = std::str::from_utf8(raw).ok()?;
    let [span] = pick(json, 0, ["taskId"]).ok()?;
    let span = span?;
    Some(ListedTask { id: text(span.of(json))?.into_owned(), raw: raw.clone(), span })
}

async fn page_modern(server: &backend::Handle, kind: ListKind, cursor: Option<&str>) -> Result<Frame, String> {
    let method = kind.method().as_str();
    let extra = cursor.map(|cursor| format!("\"cursor\":{}", quote(cursor)));
    let body = own::request(1, method, "{}", extra.as_deref());
    let sent = server.send(&modern::own_headers(method), &body).await.map_err(|error| error.to_string())?;
    sent.answer.finish(|_| {}).await.map_err(|error| error.to_string())
}

async fn ask_in_session(session: &session::Handle, server: &backend::Handle, frame: Frame) -> Result<Frame, String> {
    let outgoing = Outgoing {
        frame,
        server: Some(server.clone()),
        progress_token: None,
        purpose: Purpose::Unaskable,
        headers: HeaderMap::new(),
        prime_after: None,
        terms: Terms::default(),
        key: None,
    };
    let reply = session.post(vec![outgoing], false).await.map_err(|refused| refused.to_string())?;
    let body = match reply {
        Reply::Json(body) => body,
        Reply::Stream(mut connection) => loop {
            // Notifications may come before the answer, which is the last event.
            let event = connection.next().await.ok_or("the stream ended before the list")?;
            let Ok(frame) = Frame::parse(event.data.clone(), &Limits::ANSWER) else { continue };
            if frame.method().is_none() {
                break event.data;
            }
            if let Some(refusal) = refusal(&frame).and_then(|refusal| Frame::parse(refusal, &Limits::ANSWER).ok()) {
                session.tell(Event::ClientResponse { frame: refusal });
            }
        },
        Reply::Nothing | Reply::Elsewhere => return Err("the request was cancelled".to_owned()),
    };
    Frame::parse(body, &Limits::ANSWER).map_err(|malformed| malformed.to_string())
}

/// What a server is answered that asks something while it lists; none for a notification.
fn refusal(frame: &Frame) -> Option<Bytes> {
    match (frame.kind(), frame.id()) {
        (Kind::Request, Some(id)) if frame.method() == Some("ping") => Some(build::result(id, "{}")),
        (Kind::Request, Some(id)) => {
            Some(build::error(Some(id), METHOD_NOT_FOUND, "Not available during a list", None))
        }
        (Kind::Request | Kind::Notification | Kind::Result | Kind::Error, _) => None,
    }
}

/// Builds a list request under an id that no client of ours uses.
fn frame(method: &str, cursor: Option<&str>) -> Result<Frame, String> {
    static NEXT: AtomicU64 = AtomicU64::new(0);
    let number = NEXT.fetch_add(1, Ordering::Relaxed);
    let id = Id::from_text(&format!("quorate-list-{number}")).map_err(|error| error.to_string())?;
    let params = cursor.map(|cursor| format!("{{\"cursor\":{}}}", quote(cursor)));
    let request = build::request(&id, method, params.as_deref());
    Frame::parse(request, &Limits::REQUEST).map_err(|malformed| malformed.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_server_asks_during_a_list_is_refused_and_its_pings_are_answered() {
        let refused = |text: &'static str| {
            let frame = Frame::parse(Bytes::from_static(text.as_bytes()), &Limits::ANSWER).expect("a frame");
            refusal(&frame).map(|bytes| String::from_utf8(bytes.to_vec()).expect("text"))
        };
        let sampling = refused(r#"{"jsonrpc":"2.0","id":"s","method":"sampling/createMessage","params":{}}"#);
        assert!(sampling.is_some_and(|text| text.contains("-32601") && text.contains(r#""id":"s""#)));
        let ping = refused(r#"{"jsonrpc":"2.0","id":7,"method":"ping"}"#);
        assert!(ping.is_some_and(|text| text.contains(r#""result":{}"#) && text.contains(r#""id":7"#)));
        assert_eq!(refused(r#"{"jsonrpc":"2.0","method":"notifications/progress","params":{}}"#), None);
        assert_eq!(refused(r#"{"jsonrpc":"2.0","id":1,"result":{}}"#), None);
    }
}
