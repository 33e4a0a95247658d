//! One conversation: what was said, and how more is asked.
//!
//! In: what somebody says. Out: the answer, in pieces as it comes and as a whole. What was said and answered goes with each question; the
//! oldest is forgotten where that is too much, the instructions never. A question without an answer leaves no trace.

use std::time::Duration;

use bytes::Bytes;
use http::header::{AUTHORIZATION, CONTENT_TYPE};
use http::{HeaderMap, HeaderValue, Method, Request, StatusCode, Uri};
use http_body_util::Full;
use quorate_http::client::{self, Body, Client};
use quorate_http::sse::EventStream;
use serde_json::{Value, json};

use crate::cli::chat::ChatArgs;
use crate::connect;
use crate::exit::{Exit, Failure};

/// The most messages that go with a question.
const MESSAGES_MAX: usize = 200;
/// The most bytes of them.
const BYTES_MAX: usize = 1 << 20;
/// The largest answer that is read whole, and the longest that is kept of a stream.
const ANSWER_BYTES_MAX: usize = 8 << 20;
/// The largest event of a stream.
const EVENT_BYTES_MAX: usize = 1 << 20;
/// The most characters of an error that nobody made for us.
const ERROR_CHARS_MAX: usize = 500;
/// What ends a stream.
const DONE: &[u8] = b"[DONE]";

/// A conversation.
pub(super) struct Talk {
    client: Client,
    url: Uri,
    headers: HeaderMap,
    model: String,
    system: Option<String>,
    is_streamed: bool,
    timeout: Duration,
    /// What was said and answered, in turn.
    messages: Vec<Value>,
}

/// An answer.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Answer {
    pub(super) text: String,
    /// Tokens of the question and of the answer, where the server says so.
    pub(super) tokens: Option<(u64, u64)>,
    finish: Option<String>,
}

// === impl Talk ===

impl Talk {
    /// Begins a conversation; nothing is sent yet.
    ///
    /// # Errors
    /// [`Failure`] with [`Exit::Usage`] for an address, a variable or a file that cannot be used.
    pub(super) fn new(args: &ChatArgs) -> Result<Self, Failure> {
        let base = args.url.trim_end_matches('/');
        let base = base.strip_suffix("/chat/completions").unwrap_or(base);
        let base = base.strip_suffix("/v1").unwrap_or(base);
        let url: Option<Uri> = format!("{base}/v1/chat/completions").parse().ok();
        let is_http = |url: &Uri| matches!(url.scheme_str(), Some("http" | "https")) && url.host().is_some();
        let url = url.filter(is_http).ok_or_else(|| {
            Failure::new(Exit::Usage, format!("{} is no address of a server", args.url))
                .advise("write an address like http://127.0.0.1:4290")
        })?;
        let mut headers = HeaderMap::new();
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
        if let Some(name) = &args.api_key_env {
            headers.insert(AUTHORIZATION, key(name)?);
        }
        for (name, value) in &args.headers {
            headers.append(name.clone(), value.clone());
        }
        let config =
            client::Config { connect_timeout: args.connect_timeout, head_timeout: args.timeout, ..client::DEFAULTS };
        Ok(Self {
            client: Client::new(&config, connect::tls(&args.url, args.ca.as_ref())?),
            url,
            headers,
            model: args.model.clone(),
            system: args.system.clone(),
            is_streamed: !args.no_stream,
            timeout: args.timeout,
            messages: Vec::new(),
        })
    }

    /// Forgets what was said.
    pub(super) fn reset(&mut self) {
        self.messages.clear();
    }

    /// Takes back a question that has no answer.
    pub(super) fn take_back(&mut self) {
        if self.messages.last().is_some_and(|message| message["role"] == "user") {
            self.messages.pop();
        }
    }

    /// Says something; `print` gets the pieces of the answer as they come. Dropping the future gives the answer up, and
    /// [`Self::take_back`] the question.
    ///
    /// # Errors
    /// [`Failure`] with what the server says of it; the question is taken back.
    pub(super) async fn ask(&mut self, text: &str, print: &mut impl FnMut(&str)) -> Result<Answer, Failure> {
        self.messages.push(json!({ "role": "user", "content": text }));
        self.forget();
        let answer = self.answer(print).await;
        match &answer {
            Ok(answer) => self.messages.push(json!({ "role": "assistant", "content": answer.text })),
            Err(_) => self.take_back(),
        }
        answer
    }

    /// Forgets the oldest where there is too much, but never the last.
    fn forget(&mut self) {
        let size = |message: &Value| message["content"].as_str().map_or(0, str::len);
        let mut bytes: usize = self.messages.iter().map(size).sum();
        let mut first = 0;
        while first + 1 < self.messages.len() && (self.messages.len() - first > MESSAGES_MAX || bytes > BYTES_MAX) {
            bytes -= size(&self.messages[first]);
            first += 1;
        }
        // What is left begins with a question.
        while first > 0 && first + 1 < self.messages.len() && self.messages[first]["role"] != "user" {
            first += 1;
        }
        self.messages.drain(..first);
    }

    fn body(&self) -> Value {
        let system = self.system.iter().map(|text| json!({ "role": "system", "content": text }));
        let messages: Vec<Value> = system.chain(self.messages.iter().cloned()).collect();
        let mut body = json!({ "model": self.model, "messages": messages });
        if self.is_streamed {
            body["stream"] = true.into();
            body["stream_options"] = json!({ "include_usage": true });
        }
        body
    }

    async fn answer(&self, print: &mut impl FnMut(&str)) -> Result<Answer, Failure> {
        let body = Full::new(Bytes::from(self.body().to_string()));
        let mut request = Request::builder()
            .method(Method::POST)
            .uri(self.url.clone())
            .body(body)
            .map_err(|error| Failure::new(Exit::Usage, format!("the request cannot be made: {error}")))?;
        *request.headers_mut() = self.headers.clone();
        let response = self.client.send(request).await.map_err(|error| self.unreachable(&error))?;
        let status = response.status();
        let media = response.headers().get(CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or_default();
        if status.is_success() && media.starts_with("text/event-stream") {
            return self.stream(response.into_body(), print).await;
        }
        let collected = quorate_http::collect(response.into_body(), ANSWER_BYTES_MAX, self.timeout).await;
        let body = collected.map_err(|error| self.cut(&error.to_string()))?;
        if !status.is_success() {
            return Err(self.refused(status, &body));
        }
        let value: Value = serde_json::from_slice(&body).map_err(|_| self.cut("it is not JSON"))?;
        let choice = &value["choices"][0];
        if !choice.is_object() {
            return Err(self.cut("it has no choices"));
        }
        let text = choice["message"]["content"].as_str().unwrap_or_default().to_owned();
        print(&text);
        let finish = choice["finish_reason"].as_str().map(str::to_owned);
        Ok(Answer { text, tokens: tokens(&value["usage"]), finish })
    }

    async fn stream(&self, body: Body, print: &mut impl FnMut(&str)) -> Result<Answer, Failure> {
        let mut events = EventStream::new(body, EVENT_BYTES_MAX);
        let mut answer = Answer::default();
        loop {
            let next = tokio::time::timeout(self.timeout, events.next()).await;
            let next = next.map_err(|_| self.cut("nothing came for too long"))?;
            let Some(event) = next else { return Err(self.cut("the connection ended before it did")) };
            let event = event.map_err(|error| self.cut(&error.to_string()))?;
            if event.data == DONE {
                return Ok(answer);
            }
            let chunk: Value = serde_json::from_slice(&event.data).map_err(|_| self.cut("a piece is not JSON"))?;
            if chunk.get("error").is_some_and(|error| !error.is_null()) {
                return Err(Failure::new(Exit::Refused, message(&event.data)));
            }
            let choice = &chunk["choices"][0];
            let piece = choice["delta"]["content"].as_str().unwrap_or_default();
            if answer.text.len() + piece.len() > ANSWER_BYTES_MAX {
                return Err(self.cut("it is too long"));
            }
            print(piece);
            answer.text.push_str(piece);
            answer.finish = choice["finish_reason"].as_str().map(str::to_owned).or(answer.finish);
            answer.tokens = tokens(&chunk["usage"]).or(answer.tokens);
        }
    }

    fn unreachable(&self, error: &client::Error) -> Failure {
        let message = format!("{}: {:#}", self.url, anyhow::anyhow!("{error}"));
        let failure = Failure::new(Exit::Unreachable, message);
        match error {
            client::Error::Timeout { .. } => failure.advise("raise `--timeout` if the model is slow"),
            _ => failure
                .advise("start a gateway there (`quorate up` has a demo model), or name another address with `--url`"),
        }
    }

    fn cut(&self, reason: &str) -> Failure {
        Failure::new(Exit::Failure, format!("{}: the answer cannot be read: {reason}", self.url))
    }

    fn refused(&self, status: StatusCode, body: &[u8]) -> Failure {
        let failure = Failure::new(Exit::Refused, format!("{status}: {}", message(body)));
        match status {
            StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN => {
                failure.advise("give credentials with `--api-key-env NAME` or `--header 'Authorization: Bearer …'`")
            }
            StatusCode::NOT_FOUND => failure
                .advise(format!("`{}` lists the models", self.url.to_string().replace("chat/completions", "models"))),
            _ => failure,
        }
    }
}

// === impl Answer ===

impl Answer {
    /// Why it ended, where that is not because all was said.
    pub(super) fn ended_early(&self) -> Option<&str> {
        self.finish.as_deref().filter(|reason| *reason != "stop")
    }
}

/// The header with the key of a variable.
fn key(name: &str) -> Result<HeaderValue, Failure> {
    let unusable = |what: &str| Failure::new(Exit::Usage, format!("the variable {name} {what}"));
    let key = std::env::var(name).map_err(|_| unusable("is not set"))?;
    let value = HeaderValue::from_str(&format!("Bearer {}", key.trim()));
    let mut value = value.map_err(|_| unusable("has what no header may have"))?;
    value.set_sensitive(true);
    Ok(value)
}

fn tokens(usage: &Value) -> Option<(u64, u64)> {
    Some((usage["prompt_tokens"].as_u64()?, usage["completion_tokens"].as_u64()?))
}

/// What a server says of an error: the message of OpenAI's form, or the beginning of what there is.
fn message(body: &[u8]) -> String {
    let value: Value = serde_json::from_slice(body).unwrap_or_default();
    if let Some(message) = value["error"]["message"].as_str() {
        return message.to_owned();
    }
    let text = String::from_utf8_lossy(body);
    let text = text.trim();
    if text.is_empty() { "without a word about why".to_owned() } else { text.chars().take(ERROR_CHARS_MAX).collect() }
}

#[cfg(test)]
mod tests {
    use clap::Parser;
    use tokio_util::sync::CancellationToken;

    use super::*;
    use crate::cli::{Cli, Command};
    use crate::demo_server::DemoServer;

    fn talk(line: &[&str]) -> Result<Talk, Failure> {
        match Cli::try_parse_from([&["quorate", "chat"], line].concat()).unwrap().command {
            Command::Chat(args) => Talk::new(&args),
            other => panic!("expected chat, got {other:?}"),
        }
    }

    #[tokio::test]
    async fn an_answer_comes_in_pieces_or_whole_and_is_remembered() {
        let stop = CancellationToken::new();
        let _guard = stop.clone().drop_guard();
        let url = DemoServer::start(stop).unwrap().model_url();
        for (flag, is_streamed) in [(&[][..], true), (&["--no-stream"][..], false)] {
            let mut talk = talk(&[&["demo", "--url", &url, "--system", "Be brief."], flag].concat()).unwrap();
            let mut pieces = Vec::new();

            let answer = talk.ask("well met", &mut |piece| pieces.push(piece.to_owned())).await.unwrap();

            assert!(answer.text.ends_with("well met"), "{answer:?}");
            assert_eq!(pieces.concat(), answer.text);
            assert_eq!(pieces.iter().filter(|piece| !piece.is_empty()).count() > 1, is_streamed, "{pieces:?}");
            assert!(answer.tokens.is_some_and(|(input, output)| input > 0 && output > 0), "{answer:?}");
            assert_eq!(answer.ended_early(), None);
            let body = talk.body();
            let roles: Vec<&str> =
                body["messages"].as_array().unwrap().iter().flat_map(|one| one["role"].as_str()).collect();
            assert_eq!(roles, ["system", "user", "assistant"]);
            talk.reset();
            assert_eq!(talk.body()["messages"].as_array().unwrap().len(), 1);
        }
    }

    #[tokio::test]
    async fn what_the_server_refuses_is_told_and_taken_back() {
        let stop = CancellationToken::new();
        let _guard = stop.clone().drop_guard();
        let url = DemoServer::start(stop).unwrap().model_url();
        let mut talk = talk(&["", "--url", &url]).unwrap();

        let failure = talk.ask("hello", &mut |_| {}).await.unwrap_err();

        assert_eq!(failure.exit, Exit::Refused, "{failure}");
        assert!(failure.message.starts_with("4") && failure.message.contains("model"), "{failure}");
        assert!(talk.messages.is_empty());
    }

    #[tokio::test]
    async fn nobody_at_the_address_is_another_failure() {
        let mut talk = talk(&["demo", "--url", "http://127.0.0.1:1"]).unwrap();
        let failure = talk.ask("hello", &mut |_| {}).await.unwrap_err();
        assert_eq!(failure.exit, Exit::Unreachable, "{failure}");
        assert!(failure.advice.is_some());
    }

    #[test]
    fn the_address_may_have_more_of_the_path() {
        for url in ["http://h:1", "http://h:1/", "http://h:1/v1", "http://h:1/v1/chat/completions"] {
            assert_eq!(talk(&["m", "--url", url]).unwrap().url, "http://h:1/v1/chat/completions", "{url}");
        }
        for line in
            [&["m", "--url", "ftp://h"][..], &["m", "--url", "h"], &["m", "--api-key-env", "QUORATE_NO_SUCH_KEY"]]
        {
            assert_eq!(talk(line).err().unwrap().exit, Exit::Usage, "{line:?}");
        }
    }

    #[test]
    fn the_oldest_is_forgotten_and_a_question_comes_first() {
        let mut talk = talk(&["m"]).unwrap();
        for _ in 0..MESSAGES_MAX {
            talk.messages.push(json!({ "role": "user", "content": "q" }));
            talk.messages.push(json!({ "role": "assistant", "content": "a" }));
        }
        talk.messages.push(json!({ "role": "user", "content": "last" }));
        talk.forget();
        assert!(talk.messages.len() <= MESSAGES_MAX && talk.messages[0]["role"] == "user");

        talk.messages.push(json!({ "role": "user", "content": "x".repeat(BYTES_MAX + 1) }));
        talk.forget();
        assert_eq!(talk.messages.len(), 1);
    }

    #[test]
    fn errors_are_told_in_the_words_of_the_server() {
        let cases = [
            (&br#"{"error":{"message":"no such model"}}"#[..], "no such model"),
            (b"plain", "plain"),
            (b" ", "without a word about why"),
        ];
        for (body, expected) in cases {
            assert_eq!(message(body), expected);
        }
    }
}
