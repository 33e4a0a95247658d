//! Asks servers for the pages of their lists, as the era of the asking client demands.
//!
//! A stateless client's lists come by stateless requests of our own. A session's lists come
//! through its own upstream sessions, because servers may list by what the client declared. An
//! HTTP+SSE session has only one stream, which must not carry answers that its client never asked
//! for: its lists come through an upstream session that is opened for them and closed again.

use std::sync::atomic::{AtomicU64, Ordering};

use bytes::Bytes;
use futures_util::StreamExt;
use http::HeaderMap;
use quorate_jsonrpc::{Frame, Id, Limits, Span, Splice, build, elements, pick, quote, text};
use quorate_mcp::capabilities::Capabilities;
use quorate_mcp::{ListKind, codec};
use quorate_runtime::backend::{self, own};
use quorate_runtime::listing::Fetch;
use quorate_runtime::session::{self, Outgoing, Reply};
use quorate_runtime::upstream::{LegacySupport, modern};
use quorate_session::Purpose;

/// The method that lists tasks (2025-11-25).
const LIST_TASKS: &str = "tasks/list";

/// Who asks.
pub(crate) enum Fetcher<'a> {
    /// A stateless client.
    Modern,
    /// A session with streams.
    Session(&'a session::Handle),
    /// An HTTP+SSE session.
    Single(&'a session::Handle),
}

// === impl Fetcher ===

impl Fetch for Fetcher<'_> {
    fn offers(&self, server: &backend::Handle, kind: ListKind) -> bool {
        let support = server.support();
        let modern = support.modern.as_ref().and_then(|info| info.capabilities.clone());
        let capabilities = match (self, &support.legacy) {
            (Self::Modern, _) if !support.speaks_modern() => return false,
            (Self::Modern, _) => modern,
            (Self::Session(_) | Self::Single(_), LegacySupport::Unsupported) => return false,
            (Self::Session(_) | Self::Single(_), LegacySupport::Supported { capabilities, .. }) => {
                Some(capabilities.clone())
            }
            // What a server offers in one era it mostly offers in the other.
            (Self::Session(_) | Self::Single(_), LegacySupport::Unknown) => modern,
        };
        let Some(raw) = capabilities else { return true };
        let mut known = Capabilities::new();
        match std::str::from_utf8(&raw).map(|raw| known.add(raw)) {
            Ok(Ok(())) => known.lists(kind),
            Ok(Err(_)) | Err(_) => true,
        }
    }

    async fn page(&self, server: &backend::Handle, kind: ListKind, cursor: Option<&str>) -> Result<Bytes, String> {
        let answer = match self {
            Self::Modern => page_modern(server, kind, cursor).await?,
            Self::Session(session) => ask_in_session(session, server, frame(kind.method().as_str(), cursor)?).await?,
            Self::Single(session) => ask_beside(session, server, frame(kind.method().as_str(), cursor)?).await?,
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
        for _ in 0..pages_max {
            let request = frame(LIST_TASKS, cursor.as_deref())?;
            let answer = match self {
                Self::Modern => return Ok(tasks), // The modern era has no list of tasks.
                Self::Session(session) => ask_in_session(session, server, request).await?,
                Self::Single(session) => ask_beside(session, server, request).await?,
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
        purpose: Purpose::Plain,
        headers: HeaderMap::new(),
        prime_after: None,
    };
    let reply = session.post(vec![outgoing], false).await.map_err(|refused| refused.to_string())?;
    let body = match reply {
        Reply::Json(body) => body,
        Reply::Stream(mut connection) => loop {
            // Notifications may come before the answer, which is the last event.
            let event = connection.next().await.ok_or("the stream ended before the list")?;
            if Frame::parse(event.data.clone(), &Limits::ANSWER).is_ok_and(|frame| frame.method().is_none()) {
                break event.data;
            }
        },
        Reply::Nothing | Reply::Elsewhere => return Err("the request was cancelled".to_owned()),
    };
    Frame::parse(body, &Limits::ANSWER).map_err(|malformed| malformed.to_string())
}

async fn ask_beside(session: &session::Handle, server: &backend::Handle, frame: Frame) -> Result<Frame, String> {
    let client = session.client().ok_or("the session is not initialized")?;
    let opened = server.open_leg(&client.initialize_params).await.map_err(|error| error.to_string())?;
    let leg = opened.leg;
    let answer = match leg.request(HeaderMap::new(), frame).await {
        Ok(answer) => answer.finish(|_| {}).await,
        Err(error) => Err(error),
    };
    leg.close().await;
    answer.map_err(|error| error.to_string())
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
