//! One call of a tool: one HTTP request to the API, and its answer as a result.
//!
//! Of the caller's headers only the trace context goes along; everything else was made with the request. An answer that is too large is a result too, an error that says so: the call has run.

use http::{HeaderMap, HeaderValue, Request};
use http_body_util::Full;
use quorate_openapi::{Answer, Tool, failure};
use quorate_telemetry::context::{TRACEPARENT, TRACESTATE};

use super::ApiEndpoint;
use crate::upstream::error::Error;
use crate::upstream::wire::{self, Patience};

/// How many times the bytes of an answer its result may have: JSON is in it twice, once as escaped text, and base64
/// adds a third.
const RESULT_FACTOR: usize = 4;
/// Who asks. Some APIs refuse requests without it.
const USER_AGENT: HeaderValue = HeaderValue::from_static(concat!("quorate/", env!("CARGO_PKG_VERSION")));

// === impl ApiEndpoint ===

impl ApiEndpoint {
    /// Calls a tool; the arguments are JSON text, or nothing at all.
    ///
    /// # Errors
    /// [`Error`] when no connection can be made, it breaks, or time runs out.
    pub(super) async fn call(
        &self,
        tool: &Tool,
        arguments: &str,
        headers: &HeaderMap,
        patience: Patience,
    ) -> Result<String, Error> {
        let arguments = if arguments.is_empty() { "{}" } else { arguments };
        let mut request = match tool.call(arguments) {
            Ok(request) => request.map(Full::new),
            Err(refusal) => return Ok(failure(&format!("The arguments are not valid.\n{refusal}"))),
        };
        complete(&mut request, headers);
        let uri = request.uri().clone();
        let (_, after) = patience.first_byte;
        let response = self.shared.client.send_within(request, after).await.map_err(wire::of_client)?;
        let (head, body) = response.into_parts();
        let result_bytes_max = self.shared.limits.answer_bytes_max;
        let body = match wire::body(body, result_bytes_max / RESULT_FACTOR, patience).await {
            Ok(body) => body,
            Err(Error::TooLarge { max }) => return Ok(too_large(max)),
            Err(error) => return Err(error),
        };
        let answer = Answer { status: head.status, headers: &head.headers, uri: &uri, body: &body };
        let result = tool.result(&answer);
        Ok(if result.len() > result_bytes_max { too_large(body.len()) } else { result })
    }
}

/// Adds what is the same for all requests.
fn complete(request: &mut Request<Full<bytes::Bytes>>, caller: &HeaderMap) {
    let headers = request.headers_mut();
    for name in [TRACEPARENT, TRACESTATE] {
        if let Some(value) = caller.get(&name) {
            headers.insert(name, value.clone());
        }
    }
    headers.entry(http::header::USER_AGENT).or_insert(USER_AGENT);
}

fn too_large(bytes: usize) -> String {
    failure(&format!(
        "The call was made, but its answer is larger than {bytes} bytes and was not read: ask for less at once."
    ))
}
