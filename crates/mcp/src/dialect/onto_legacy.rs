//! A stateless client (2026-07-28) on a server of sessions (up to 2025-11-25): what is translated.
//!
//! ```text
//!   request  ── without `_meta` of the era, `inputResponses`, `requestState` ──▶ legacy request
//!   answer   ◀── `resultType`, `ttlMs`, `cacheScope`, codes ──────────────────── legacy answer
//!   input_required ◀── elicitation/create, sampling/createMessage, roots/list ── server's request
//!   inputResponses ── one result each ────────────────────────────────────────▶ its answer
//! ```
//!
//! In: frames of one era, out: frames of the other; whatever the eras share passes byte for byte.
//! Which session a call belongs to, and where it waits, is for others to know.
//! Specification: 2026-07-28 `basic/patterns/mrtr`; 2025-11-25 `client/*`.

use std::borrow::Cow;

use quorate_jsonrpc::{Frame, Span, Splice, elements, members, pick_exact, quote, text};

use crate::codec::ViewError;
use crate::error::{INVALID_PARAMS, RESOURCE_NOT_FOUND};
use crate::method::Method;

/// What only results of the modern era have.
const MODERN_MEMBERS: [&str; 5] = ["resultType", "ttlMs", "cacheScope", "inputRequests", "requestState"];
/// What every `_meta` key of the modern era begins with; sessions have other ways to say the same.
const META_PREFIX: &str = "io.modelcontextprotocol/";
/// A URL has to be visited before the call can go on (2025-11-25 `client/elicitation`).
const URL_ELICITATION_REQUIRED: i64 = -32042;
/// The `_meta` key of the server that a request comes from.
pub const META_SERVER: &str = "quorate/server";

/// What a client declares that a server of sessions may ask of it, as a set.
///
/// Sessions freeze it when they open, so that it is part of what tells them apart. Only what the
/// bridge can carry is kept: that bounds how many there are.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Declared(u8);

/// A request of a server to the client that can be asked for as input.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Question {
    /// `elicitation/create` with a form.
    Form,
    /// `elicitation/create` with a URL.
    Url,
    /// `sampling/createMessage`.
    Sampling,
    /// `roots/list`.
    Roots,
}

/// One of the `inputRequests` of a result.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct InputRequest {
    /// The key that the client answers under.
    pub key: String,
    /// What is asked.
    pub question: Question,
    /// The raw parameters.
    pub params: String,
}

/// What a retry brings.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Retry {
    /// The decoded `requestState`.
    pub state: Option<String>,
    /// The keys of `inputResponses` with their raw values.
    pub responses: Vec<(String, Span)>,
}

// === impl Declared ===

impl Declared {
    const ROOTS: u8 = 1 << 5;
    const SAMPLING: u8 = 1 << 2;
    const SAMPLING_CONTEXT: u8 = 1 << 4;
    const SAMPLING_TOOLS: u8 = 1 << 3;

    /// Reads a raw `clientCapabilities` object; what is no object is not declared.
    #[must_use]
    pub fn read(capabilities: &str) -> Self {
        let Ok([elicitation, sampling, roots]) = pick_exact(capabilities, 0, ["elicitation", "sampling", "roots"])
        else {
            return Self::default();
        };
        let object = |span: Option<Span>| span.map(|span| span.of(capabilities)).filter(|raw| raw.starts_with('{'));
        let mut bits = 0;
        if let Some(raw) = object(elicitation) {
            let [form, url] = pick_exact(raw, 0, ["form", "url"]).unwrap_or_default();
            // An empty object means forms, as it did before there were URLs.
            bits |= if form.is_some() || url.is_none() { Question::Form.bit() } else { 0 };
            bits |= if url.is_some() { Question::Url.bit() } else { 0 };
        }
        if let Some(raw) = object(sampling) {
            let [tools, context] = pick_exact(raw, 0, ["tools", "context"]).unwrap_or_default();
            bits |= Self::SAMPLING;
            bits |= if tools.is_some() { Self::SAMPLING_TOOLS } else { 0 };
            bits |= if context.is_some() { Self::SAMPLING_CONTEXT } else { 0 };
        }
        bits |= if object(roots).is_some() { Self::ROOTS } else { 0 };
        Self(bits)
    }

    /// Returns a number that is the same for the same set, below 64.
    #[must_use]
    pub const fn bits(self) -> u8 {
        self.0
    }

    /// Tells whether the client can be asked this.
    #[must_use]
    pub const fn answers(self, question: Question) -> bool {
        self.0 & question.bit() != 0
    }

    /// Tells whether a sampling request may bring tools for the client's model.
    #[must_use]
    pub const fn takes_tools(self) -> bool {
        self.0 & Self::SAMPLING_TOOLS != 0
    }

    /// Writes the capabilities that a session is opened with.
    #[must_use]
    pub fn to_json(self) -> String {
        let mut parts = Vec::new();
        let elicitation: Vec<&str> = [(Question::Form, "\"form\":{}"), (Question::Url, "\"url\":{}")]
            .into_iter()
            .filter_map(|(question, member)| self.answers(question).then_some(member))
            .collect();
        if !elicitation.is_empty() {
            parts.push(format!("\"elicitation\":{{{}}}", elicitation.join(",")));
        }
        if self.answers(Question::Sampling) {
            let sampling: Vec<&str> =
                [(Self::SAMPLING_TOOLS, "\"tools\":{}"), (Self::SAMPLING_CONTEXT, "\"context\":{}")]
                    .into_iter()
                    .filter_map(|(bit, member)| (self.0 & bit != 0).then_some(member))
                    .collect();
            parts.push(format!("\"sampling\":{{{}}}", sampling.join(",")));
        }
        if self.answers(Question::Roots) {
            parts.push("\"roots\":{}".to_owned());
        }
        format!("{{{}}}", parts.join(","))
    }
}

// === impl Question ===

impl Question {
    /// All questions.
    pub const ALL: [Self; 4] = [Self::Form, Self::Url, Self::Sampling, Self::Roots];

    const fn bit(self) -> u8 {
        match self {
            Self::Form => 1,
            Self::Url => 1 << 1,
            Self::Sampling => Declared::SAMPLING,
            Self::Roots => Declared::ROOTS,
        }
    }

    /// Returns what a server's request asks; `None` for what cannot be asked of a client.
    #[must_use]
    pub fn of(frame: &Frame) -> Option<Self> {
        let method = frame.method().and_then(Method::parse)?;
        if method == Method::CreateMessage {
            return Some(Self::Sampling);
        }
        if method == Method::ListRoots {
            return Some(Self::Roots);
        }
        if method != Method::Elicit {
            return None;
        }
        let raw = frame.params_span().map(|span| frame.text_of(span)).unwrap_or("{}");
        let mode = pick_exact(raw, 0, ["mode"]).ok().and_then(|[mode]| text(mode?.of(raw)));
        // Whatever it calls itself, it asks a person.
        Some(if mode.as_deref() == Some("url") { Self::Url } else { Self::Form })
    }

    /// Returns the method that asks it.
    #[must_use]
    pub const fn method(self) -> Method {
        match self {
            Self::Form | Self::Url => Method::Elicit,
            Self::Sampling => Method::CreateMessage,
            Self::Roots => Method::ListRoots,
        }
    }

    /// Returns the part of `ClientCapabilities` that it needs, as JSON.
    #[must_use]
    pub const fn required(self) -> &'static str {
        match self {
            Self::Form => r#"{"elicitation":{"form":{}}}"#,
            Self::Url => r#"{"elicitation":{"url":{}}}"#,
            Self::Sampling => r#"{"sampling":{}}"#,
            Self::Roots => r#"{"roots":{}}"#,
        }
    }

    /// Returns what an answer to it must be, where `raw` is not that.
    ///
    /// # Errors
    /// The expected form, for people.
    pub fn check(self, raw: &str) -> Result<(), &'static str> {
        match self {
            Self::Form | Self::Url => {
                let action = pick_exact(raw, 0, ["action"]).ok().and_then(|[action]| action);
                match action.map(|span| span.of(raw)) {
                    Some("\"accept\"" | "\"decline\"" | "\"cancel\"") => Ok(()),
                    _ => Err("an object whose `action` is \"accept\", \"decline\" or \"cancel\""),
                }
            }
            Self::Sampling => {
                let found = pick_exact(raw, 0, ["role", "content", "model"]);
                if matches!(found, Ok([Some(_), Some(_), Some(_)])) {
                    Ok(())
                } else {
                    Err("an object with `role`, `content` and `model`")
                }
            }
            Self::Roots => {
                let roots = pick_exact(raw, 0, ["roots"]).ok().and_then(|[roots]| roots);
                match roots {
                    Some(span) if span.of(raw).starts_with('[') => Ok(()),
                    Some(_) | None => Err("an object whose `roots` is a list"),
                }
            }
        }
    }
}

// === impl InputRequest ===

impl InputRequest {
    /// Makes the input request of a server's request; `None` for what cannot be asked of a client.
    ///
    /// # Errors
    /// [`ViewError`] when its parameters are no object.
    pub fn of(frame: &Frame, key: String) -> Result<Option<Self>, ViewError> {
        let Some(question) = Question::of(frame) else { return Ok(None) };
        let params = match frame.params_span() {
            Some(span) => without(frame.text_of(span), |key| matches!(key, "elicitationId" | "task"))?,
            None => "{}".to_owned(),
        };
        Ok(Some(Self { key, question, params }))
    }
}

/// Names the server that a request to the client comes from: in its `_meta`, and with `label` in
/// the message that a person reads.
///
/// # Errors
/// [`ViewError`] when its parameters or their `_meta` are no object.
pub fn labelled(frame: &Frame, server: &str, label: bool) -> Result<Frame, ViewError> {
    let frame = crate::codec::with_meta(frame, &[(META_SERVER, &quote(server))])?;
    if !label || frame.method().and_then(Method::parse) != Some(Method::Elicit) {
        return Ok(frame);
    }
    let Some(params) = frame.params_span() else { return Ok(frame) };
    let type_error = |_| ViewError::Type { field: "params" };
    let [message] = pick_exact(frame.text_of(params), params.start, ["message"]).map_err(type_error)?;
    let message = message.and_then(|span| Some((span, text(frame.text_of(span))?)));
    let Some((span, message)) = message else { return Ok(frame) };
    let mut splice = Splice::new(frame.bytes());
    splice.replace(span, quote(&format!("[{server}] {message}")).into_bytes());
    Ok(frame.spliced(&splice))
}

/// Takes the answers out of a request, and the state that they go with: for a server that asked nothing.
///
/// # Errors
/// [`ViewError`] when its parameters are no object.
pub fn unanswered(frame: &Frame) -> Result<Frame, ViewError> {
    without_params(frame, |key| matches!(key, "inputResponses" | "requestState"))
}

/// Takes out of a request what makes a task of it (2025-11-25): its receiver declared no tasks, and answers at once.
///
/// # Errors
/// [`ViewError`] when its parameters are no object.
pub fn untasked(frame: &Frame) -> Result<Frame, ViewError> {
    without_params(frame, |key| key == "task")
}

/// Makes the request that a server of sessions gets.
///
/// # Errors
/// [`ViewError`] when parameters or `_meta` are no object.
pub fn request(frame: &Frame) -> Result<Frame, ViewError> {
    let Some(params) = frame.params_span() else { return Ok(frame.clone()) };
    let raw = frame.text_of(params);
    let [meta] = pick_exact(raw, 0, ["_meta"]).map_err(|_| ViewError::Type { field: "params" })?;
    let meta = meta.map(|span| without(span.of(raw), |key| key.starts_with(META_PREFIX))).transpose()?;
    let meta = meta.filter(|meta| meta != "{}");
    let mut kept = without(raw, |key| matches!(key, "_meta" | "inputResponses" | "requestState"))?;
    if let Some(meta) = meta {
        let comma = if kept == "{}" { "" } else { "," };
        kept.insert_str(1, &format!("\"_meta\":{meta}{comma}"));
    }
    let mut splice = Splice::new(frame.bytes());
    splice.replace(params, kept.into_bytes());
    Ok(frame.spliced(&splice))
}

/// Makes the answer that a stateless client gets; `method` is that of its request. An answer that
/// cannot be read passes as it is.
#[must_use]
pub fn answer(frame: Frame, method: Option<Method>) -> Frame {
    if let Some(result) = frame.result_span() {
        return completed(&frame, result, method).unwrap_or(frame);
    }
    let Some(error) = frame.error_span() else { return frame };
    match pick_exact(frame.text_of(error), error.start, ["code"]) {
        Ok([Some(code)])
            if matches!(code_of(frame.text_of(code)), Some(RESOURCE_NOT_FOUND | URL_ELICITATION_REQUIRED)) =>
        {
            let mut splice = Splice::new(frame.bytes());
            splice.replace(code, INVALID_PARAMS.to_string().into_bytes());
            frame.spliced(&splice)
        }
        Ok(_) | Err(_) => frame,
    }
}

/// Finds what an error asks a person to visit before the call is made again (2025-11-25): the entries of its
/// `elicitations`, each as it stands in the frame. None where it asks nothing.
///
/// # Errors
/// [`ViewError`] when it asks for visits that cannot be read one by one.
pub fn visits(frame: &Frame) -> Result<Vec<Span>, ViewError> {
    let Some(error) = frame.error_span() else { return Ok(Vec::new()) };
    let unreadable = |field| move |_| ViewError::Type { field };
    let found = pick_exact(frame.text_of(error), error.start, ["code", "data"]);
    let [code, data] = found.map_err(unreadable("error"))?;
    let asks = code.and_then(|code| code_of(frame.text_of(code))) == Some(URL_ELICITATION_REQUIRED);
    let Some(data) = data.filter(|data| asks && frame.text_of(*data).starts_with('{')) else { return Ok(Vec::new()) };
    let found = pick_exact(frame.text_of(data), data.start, ["elicitations"]);
    let [elicitations] = found.map_err(unreadable("error.data"))?;
    let mut spans = Vec::new();
    if let Some(array) = elicitations {
        elements(frame.text_of(array), array.start, |span| spans.push(span))
            .map_err(unreadable("error.data.elicitations"))?;
    }
    Ok(spans)
}

/// Reads an error that asks for visits of URLs before the call is made again (2025-11-25).
///
/// Their keys are numbers, from 0 on.
#[must_use]
pub fn url_elicitations(frame: &Frame) -> Option<Vec<InputRequest>> {
    let mut found = Vec::new();
    for span in visits(frame).ok()? {
        let key = found.len().to_string();
        let entry = frame.text_of(span);
        let mode = pick_exact(entry, 0, ["mode"]).ok().and_then(|[mode]| text(mode?.of(entry)));
        if let (Some("url"), Ok(params)) = (mode.as_deref(), without(entry, |key| key == "elicitationId")) {
            found.push(InputRequest { key, question: Question::Url, params });
        }
    }
    (!found.is_empty()).then_some(found)
}

/// Builds the result that asks a client for input.
#[must_use]
pub fn input_required(requests: &[InputRequest], state: &str) -> String {
    let requests: Vec<String> = requests
        .iter()
        .map(|request| {
            let method = request.question.method().as_str();
            format!("{}:{{\"method\":\"{method}\",\"params\":{}}}", quote(&request.key), request.params)
        })
        .collect();
    format!(
        "{{\"resultType\":\"input_required\",\"inputRequests\":{{{}}},\"requestState\":{}}}",
        requests.join(","),
        quote(state)
    )
}

/// The most keys of `inputResponses` that are read.
pub const RESPONSES_MAX: usize = 64;

/// Reads what a retry brings; responses beyond [`RESPONSES_MAX`] are left out.
///
/// # Errors
/// [`ViewError`] when one of them is of another type.
pub fn retry(frame: &Frame) -> Result<Retry, ViewError> {
    let Some(params) = frame.params_span() else { return Ok(Retry::default()) };
    let found = pick_exact(frame.text_of(params), params.start, ["requestState", "inputResponses"]);
    let [state, responses] = found.map_err(|_| ViewError::Type { field: "params" })?;
    let state = match state {
        None => None,
        Some(span) => {
            let text = text(frame.text_of(span)).ok_or(ViewError::Type { field: "params.requestState" })?;
            Some(text.into_owned())
        }
    };
    let mut retry = Retry { state, responses: Vec::new() };
    if let Some(span) = responses {
        members(frame.text_of(span), span.start, |key, value| {
            if retry.responses.len() < RESPONSES_MAX {
                retry.responses.push((key.to_owned(), value));
            }
        })
        .map_err(|_| ViewError::Type { field: "params.inputResponses" })?;
    }
    Ok(retry)
}

/// Adds what every result of the modern era has.
fn completed(frame: &Frame, result: Span, method: Option<Method>) -> Option<Frame> {
    let raw = frame.text_of(result);
    let mut kept = Cow::Borrowed(raw.strip_prefix('{')?);
    let mut said = false;
    members(raw, 0, |key, _| said |= MODERN_MEMBERS.contains(&key)).ok()?;
    if said {
        // A server of sessions that writes them means something else, or no good.
        kept = Cow::Owned(without(raw, |key| MODERN_MEMBERS.contains(&key)).ok()?.split_off(1));
    }
    let mut added = String::from("{\"resultType\":\"complete\"");
    if method == Some(Method::ReadResource) {
        // Sessions say nothing of caching, so that nothing may be kept.
        added.push_str(",\"ttlMs\":0,\"cacheScope\":\"private\"");
    }
    if !kept.trim_start().starts_with('}') {
        added.push(',');
    }
    let mut splice = Splice::new(frame.bytes());
    if said {
        splice.replace(result, format!("{added}{kept}").into_bytes());
    } else {
        splice.replace(Span::new(result.start, result.start + 1), added.into_bytes());
    }
    Some(frame.spliced(&splice))
}

/// Reads the code of an error as clients do, to whom `-3.2042e4` is `-32042`.
fn code_of(raw: &str) -> Option<i64> {
    let whole = |number: f64| number.fract() == 0.0 && number.abs() < f64::from(i32::MAX);
    #[expect(clippy::cast_possible_truncation, reason = "it is whole and small")]
    raw.parse().ok().or_else(|| raw.parse().ok().filter(|number| whole(*number)).map(|number| number as i64))
}

/// Makes a request without some of its parameters; one that has none of them stays as it is.
fn without_params(frame: &Frame, drops: impl Fn(&str) -> bool) -> Result<Frame, ViewError> {
    let Some(params) = frame.params_span() else { return Ok(frame.clone()) };
    let (raw, mut dropped) = (frame.text_of(params), false);
    let kept = without(raw, |key| {
        let drop = drops(key);
        dropped |= drop;
        drop
    })?;
    if !dropped {
        return Ok(frame.clone());
    }
    let mut splice = Splice::new(frame.bytes());
    splice.replace(params, kept.into_bytes());
    Ok(frame.spliced(&splice))
}

/// Takes the capability of tasks out of a raw `capabilities` object: no server may ask for the tasks of a client, which
/// have ids that say nothing of the server that began them.
#[must_use]
pub fn without_tasks(capabilities: &str) -> Cow<'_, str> {
    match pick_exact(capabilities, 0, ["tasks"]) {
        Ok([None]) => Cow::Borrowed(capabilities),
        Ok([Some(_)]) | Err(_) => match without(capabilities, |key| key == "tasks") {
            Ok(kept) => Cow::Owned(kept),
            // No object, or one that says it twice: nothing is declared.
            Err(_) => Cow::Borrowed("{}"),
        },
    }
}

/// Writes the object `raw` without some of its members; the others stay as they are, in order.
fn without(raw: &str, mut drops: impl FnMut(&str) -> bool) -> Result<String, ViewError> {
    let mut kept = String::with_capacity(raw.len());
    kept.push('{');
    members(raw, 0, |key, span| {
        if drops(key) {
            return;
        }
        if kept.len() > 1 {
            kept.push(',');
        }
        kept.push_str(&quote(key));
        kept.push(':');
        kept.push_str(span.of(raw));
    })
    .map_err(|_| ViewError::Type { field: "params" })?;
    kept.push('}');
    Ok(kept)
}
