//! The demo tool server and model that `quorate up` starts when it is given nothing else.
//!
//! A small MCP server of our own, so that a first try needs nothing else: tools that show a plain
//! answer, structured content, an error and progress, one prompt and one resource; and a model that says what was said ([`model`]). It speaks every
//! revision, keeps no sessions (which legacy servers need not), and listens on a free port of
//! loopback only.
//!
//! It deliberately does not offer completion, tasks or cancellation: the longest call ends by
//! itself within [`tools::COUNT_TIME_MAX`]. Subscriptions are accepted, and nothing ever changes.

mod answer;
mod content;
pub(crate) mod http;
pub(crate) mod model;
mod tools;

use std::net::SocketAddr;
use std::sync::Arc;

use ::http::{Request, Response};
use quorate_http::server::{Limits, Listener, Server};
use quorate_http::{RequestBody, ResponseBody};
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;

use crate::exit::{Exit, Failure};

/// Connections that are served at once; more wait. The demo has one client: the node it runs in.
const CONNECTIONS_MAX: usize = 256;

/// A running demo server; it runs until the token that it was started with is cancelled.
#[derive(Debug)]
pub(crate) struct DemoServer {
    address: SocketAddr,
}

// === impl DemoServer ===

impl DemoServer {
    /// Starts the server on a free port of loopback.
    ///
    /// # Errors
    /// [`Failure`] when no port can be listened on.
    pub(crate) fn start(stop: CancellationToken) -> Result<Self, Failure> {
        let address = serve(SocketAddr::from(([127, 0, 0, 1], 0)), stop, http::handle)?;
        Ok(Self { address })
    }

    /// Returns the address of its MCP endpoint.
    pub(crate) fn url(&self) -> String {
        format!("http://{}{}", self.address, http::PATH)
    }

    /// Returns the address of its model's provider.
    pub(crate) fn model_url(&self) -> String {
        format!("http://{}{}", self.address, model::PATH)
    }
}

/// Has `handle` answer what comes to an address until the token is cancelled, and returns the address with the port that it
/// really has.
///
/// # Errors
/// [`Failure`] when the address cannot be listened on.
pub(crate) fn serve<H, F>(address: SocketAddr, stop: CancellationToken, handle: H) -> Result<SocketAddr, Failure>
where
    H: Fn(Request<RequestBody>) -> F + Clone + Send + 'static,
    F: Future<Output = Response<ResponseBody>> + Send + 'static,
{
    let observer = Arc::new(());
    let failed = |what: String| Failure::new(Exit::Failure, format!("cannot start the demo tool server: {what}"));
    let listener =
        Listener::bind(address, observer.clone()).map_err(|error| failed(format!("{error}: {}", error.source)))?;
    let address = listener.local_address().map_err(|error| failed(error.to_string()))?;
    let server = Server::new(Limits::default(), None, observer).map_err(|error| failed(error.to_string()))?;
    tokio::spawn(accept(listener, server, stop, handle));
    Ok(address)
}

async fn accept<H, F>(listener: Listener, server: Server, stop: CancellationToken, handle: H)
where
    H: Fn(Request<RequestBody>) -> F + Clone + Send + 'static,
    F: Future<Output = Response<ResponseBody>> + Send + 'static,
{
    let permits = Arc::new(Semaphore::new(CONNECTIONS_MAX));
    while let Some(Ok(permit)) = stop.run_until_cancelled(Arc::clone(&permits).acquire_owned()).await {
        let Some((socket, peer)) = stop.run_until_cancelled(listener.accept()).await else { break };
        let (server, stop, handle) = (server.clone(), stop.clone(), handle.clone());
        tokio::spawn(async move {
            if let Err(error) = server.serve(socket, peer, &stop, move |request, _| handle(request)).await {
                tracing::debug!(%error, "demo: a connection ended");
            }
            drop(permit);
        });
    }
}

#[cfg(test)]
mod tests {
    use ::http::HeaderMap;
    use quorate_http::client;
    use quorate_mcp::{ListKind, Method, Version};
    use quorate_runtime::upstream::legacy::Leg;
    use quorate_runtime::upstream::{
        Client, Endpoint, EraSetting, Error, Limits as ClientLimits, ToolCall, TransportSetting,
    };
    use quorate_tls::{ClientOptions, ClientTls};

    use super::*;

    fn endpoint(demo: &DemoServer) -> Endpoint {
        let tls = ClientTls::load(&ClientOptions { native_roots: false, extra_roots: None }).unwrap();
        let client = client::Client::new(&client::DEFAULTS, tls);
        Endpoint::http(&demo.url(), client, HeaderMap::new(), ClientLimits::default()).unwrap()
    }

    fn tool<'a>(name: &'a str, arguments: &'a str) -> ToolCall<'a> {
        ToolCall { name, arguments, definition: None, log_level: None }
    }

    async fn start(era: EraSetting) -> (Client, CancellationToken) {
        let stop = CancellationToken::new();
        let demo = DemoServer::start(stop.clone()).unwrap();
        (Client::connect(endpoint(&demo), era, TransportSetting::Auto).await.unwrap(), stop)
    }

    #[tokio::test]
    async fn both_eras_are_served_with_everything_that_is_listed() {
        for (era, version) in [(EraSetting::Modern, Version::LATEST), (EraSetting::Legacy, Version::LATEST_LEGACY)] {
            let (client, _stop) = start(era).await;
            assert_eq!(client.about().version, version);
            let mut counts = Vec::new();
            for kind in ListKind::ALL {
                counts.push(client.list(kind).await.unwrap().len());
            }
            assert_eq!(counts, [4, 1, 1, 0], "{era:?}");

            let result = client.call_tool(&tool("add", r#"{"a":1,"b":2}"#), |_| {}).await.unwrap();
            let result = String::from_utf8(result.to_vec()).unwrap();
            assert!(result.contains(r#""structuredContent":{"sum":3}"#), "{result}");
            assert_eq!(result.contains("resultType"), era == EraSetting::Modern, "{result}");
        }
    }

    #[tokio::test]
    async fn counting_reports_each_step_in_both_eras() {
        for era in [EraSetting::Modern, EraSetting::Legacy] {
            let (client, _stop) = start(era).await;
            let mut steps = Vec::new();
            let seen = |frame: &quorate_jsonrpc::Frame| steps.push(frame.text().contains(r#""total":3"#));
            let result = client.call_tool(&tool("count", r#"{"to":3,"pause_ms":0}"#), seen).await.unwrap();
            assert_eq!(steps, [true; 3], "{era:?}");
            assert!(String::from_utf8_lossy(&result).contains("counted to 3"));
        }
    }

    #[tokio::test]
    async fn prompts_resources_and_faults_answer_in_both_eras() {
        for era in [EraSetting::Modern, EraSetting::Legacy] {
            let (client, _stop) = start(era).await;
            // The client mirrors names itself for tools only.
            let named = |name: &'static str| match era {
                EraSetting::Modern => {
                    HeaderMap::from_iter([(quorate_mcp::header::NAME, ::http::HeaderValue::from_static(name))])
                }
                EraSetting::Auto | EraSetting::Legacy => HeaderMap::new(),
            };
            let ask = async |method, name, params: &str| client.request(method, params, named(name), |_| {}).await;

            let prompt =
                ask(Method::GetPrompt, "explain", r#""name":"explain","arguments":{"topic":"tides"}"#).await.unwrap();
            assert!(String::from_utf8_lossy(&prompt).contains("Explain tides"));
            let read = ask(Method::ReadResource, "demo://about", r#""uri":"demo://about""#).await.unwrap();
            assert!(String::from_utf8_lossy(&read).contains("# The demo server"));
            for (method, name, params) in [
                (Method::GetPrompt, "explain", r#""name":"explain""#),
                (Method::GetPrompt, "other", r#""name":"other""#),
                (Method::ReadResource, "demo://other", r#""uri":"demo://other""#),
                (Method::ListTools, "", r#""cursor":"x""#),
                (
                    Method::Complete,
                    "",
                    r#""ref":{"type":"ref/prompt","name":"explain"},"argument":{"name":"topic","value":""}"#,
                ),
            ] {
                let refused = ask(method, name, params).await;
                assert!(matches!(refused, Err(Error::Fault { .. })), "{era:?} {params}: {refused:?}");
            }
            let unknown = client.call_tool(&tool("nothing", "{}"), |_| {}).await;
            assert!(matches!(unknown, Err(Error::Fault { .. })), "{unknown:?}");
        }
    }

    #[tokio::test]
    async fn a_session_needs_no_get_stream_and_ends_with_the_server() {
        let stop = CancellationToken::new();
        let demo = DemoServer::start(stop.clone()).unwrap();
        let params = r#"{"protocolVersion":"2025-03-26","capabilities":{},"clientInfo":{"name":"t","version":"1"}}"#;
        let opened = Leg::open(&endpoint(&demo), TransportSetting::StreamableHttp, HeaderMap::new(), params).await;
        let (leg, initialized) = opened.unwrap();
        assert_eq!(initialized.version, Version::V2025_03_26);
        assert!(leg.listen(HeaderMap::new(), None).await.unwrap().is_none());

        stop.cancel();
        let address = demo.address;
        for _ in 0..1_000 {
            if tokio::net::TcpStream::connect(address).await.is_err() {
                return;
            }
            tokio::task::yield_now().await;
        }
        panic!("the server still listens at {address}");
    }
}
