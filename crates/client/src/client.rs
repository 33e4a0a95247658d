//! Calls of the admin API: which endpoint is asked, how long, and when it is asked again.
//!
//! Endpoints are tried in turn, beginning with the one that answered last. A call goes to the next one while nothing was
//! sent; after that only when it changes nothing ([`Safety::Reads`]), or when the node itself says that it did nothing and
//! that trying again helps (`RetryInfo`): the next one is asked then. Everything together ends with the deadline, which is told to the node as well.

use std::path::Path;
use std::time::Duration;

use http::uri::PathAndQuery;
use prost::Message;
use quorate_membership::address::Address;
use quorate_types::ClusterId;
use tokio::sync::Mutex;
use tokio::time::{Instant, sleep, timeout_at};
use tonic::client::Grpc;
use tonic::{Code, Request, Status, Streaming};
use tonic_prost::ProstCodec;

use crate::connection::{Connection, Endpoint, Operator};
use crate::context::{Context, ContextError};
use crate::error::{Error, Refused};
use crate::method::{Method, Safety, Upload, Watch};

/// Bytes of an answer: a page of the most documents has some 10 MiB, a status of the largest cluster 1 MiB.
const MESSAGE_BYTES_MAX: usize = 64 << 20;
/// How long one endpoint may take to be connected to: a host that is gone must not use up the deadline of all.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(3);
/// What a node is given beyond the deadline to say that it passed, because it knows more about it.
const GRACE: Duration = Duration::from_millis(500);
/// The least and the most that is waited before a node is asked again.
const RETRY: (Duration, Duration) = (Duration::from_millis(50), Duration::from_secs(2));

/// The reason of a node that does not know itself whether a call was done.
const OUTCOME_UNKNOWN: &str = "OUTCOME_UNKNOWN";

/// Asks a cluster, or a node through its socket.
#[derive(Debug)]
pub struct Client {
    endpoints: Vec<Endpoint>,
    operator: Option<Operator>,
    timeout: Duration,
    /// The endpoint that answered last, and the connection to it.
    current: Mutex<(usize, Option<Connection>)>,
}

/// Answers of a watch; they end when it is dropped.
#[derive(Debug)]
pub struct Answers<A> {
    stream: Streaming<A>,
    endpoint: String,
    /// Keeps the connection open.
    _connection: Connection,
}

/// What came of one attempt.
enum Attempt {
    /// The node, or the connection, says so.
    Failed(Status),
    /// No answer until the deadline.
    TimedOut,
}

/// What follows from it.
enum Next {
    /// Ask the next endpoint: this one did not answer.
    Other(String),
    /// Ask again, later: this one will answer.
    Wait(Duration, Error),
    End(Error),
}

// === impl Client ===

impl Client {
    /// Makes a client of the cluster of a context; every call ends within `timeout`.
    ///
    /// # Errors
    /// [`ContextError`] when the files of the context cannot be used.
    pub fn of_context(context: &Context, timeout: Duration) -> Result<Self, ContextError> {
        let operator = context.operator()?;
        let endpoints = context.endpoints.iter().cloned().map(Endpoint::Tls).collect();
        Ok(Self::new(endpoints, Some(operator), timeout))
    }

    /// Makes a client of the node whose socket this is.
    #[must_use]
    pub fn of_socket(socket: &Path, timeout: Duration) -> Self {
        Self::new(vec![Endpoint::Socket(socket.to_owned())], None, timeout)
    }

    /// Returns a client of one node, shown and trusted as this one.
    #[must_use]
    pub fn at(&self, address: &Address) -> Self {
        Self::new(vec![Endpoint::Tls(address.clone())], self.operator.clone(), self.timeout)
    }

    /// Returns the same client with another time limit.
    #[must_use]
    pub fn within(&self, timeout: Duration) -> Self {
        Self::new(self.endpoints.clone(), self.operator.clone(), timeout)
    }

    /// Tells whether calls go through the socket of a data folder.
    #[must_use]
    pub fn is_local(&self) -> bool {
        matches!(self.endpoints.as_slice(), [Endpoint::Socket(_)])
    }

    /// The cluster whose nodes are taken; none for a socket.
    #[must_use]
    pub fn cluster(&self) -> Option<ClusterId> {
        self.operator.as_ref().map(|operator| operator.trust.cluster())
    }

    fn new(endpoints: Vec<Endpoint>, operator: Option<Operator>, timeout: Duration) -> Self {
        Self { endpoints, operator, timeout, current: Mutex::new((0, None)) }
    }

    /// Makes a call.
    ///
    /// # Errors
    /// [`Error`] tells whether it may have been done.
    pub async fn call<M: Method>(&self, request: M) -> Result<M::Answer, Error> {
        let deadline = Instant::now() + self.timeout;
        let mut failed = 0;
        let mut tried = Vec::new();
        loop {
            let (at, connection) = self.connected(deadline, &mut tried).await?;
            let endpoint = self.endpoints[at].to_string();
            let attempt = match unary(connection, &request, deadline).await {
                Ok(answer) => return Ok(answer),
                Err(attempt) => attempt,
            };
            match next(M::SAFETY, attempt, &endpoint, self.timeout) {
                Next::End(error) => return Err(error),
                Next::Other(reason) => {
                    self.leave(at).await;
                    tried.push((endpoint, reason));
                    failed += 1;
                    if failed >= self.endpoints.len() {
                        return Err(Error::Unreachable { tried });
                    }
                }
                Next::Wait(after, error) => {
                    let after = after.clamp(RETRY.0, RETRY.1);
                    if Instant::now() + after >= deadline {
                        return Err(error);
                    }
                    // It may be this node alone that cannot: it is cut off, or knows no leader yet.
                    self.leave(at).await;
                    sleep(after).await;
                }
            }
        }
    }

    /// Begins a call with many answers; the time limit is for its beginning, and there is none for its end.
    ///
    /// # Errors
    /// [`Error`] when no node takes it.
    pub async fn watch<M: Watch>(&self, request: M) -> Result<Answers<M::Answer>, Error> {
        let deadline = Instant::now() + self.timeout;
        let mut tried = Vec::new();
        loop {
            let (at, connection) = self.connected(deadline, &mut tried).await?;
            let endpoint = self.endpoints[at].to_string();
            let mut grpc = grpc(connection.clone());
            let path = PathAndQuery::from_static(M::PATH);
            let codec = ProstCodec::<M, M::Answer>::default();
            let begin = async {
                ready(&mut grpc).await?;
                grpc.server_streaming(Request::new(request.clone()), path, codec).await
            };
            let attempt = match timeout_at(deadline, begin).await {
                Ok(Ok(stream)) => {
                    return Ok(Answers { stream: stream.into_inner(), endpoint, _connection: connection });
                }
                Ok(Err(status)) => Attempt::Failed(status),
                Err(_) => Attempt::TimedOut,
            };
            match next(Safety::Reads, attempt, &endpoint, self.timeout) {
                Next::End(error) | Next::Wait(_, error) => return Err(error),
                Next::Other(reason) => {
                    self.leave(at).await;
                    tried.push((endpoint, reason));
                    if tried.len() >= self.endpoints.len() {
                        return Err(Error::Unreachable { tried });
                    }
                }
            }
        }
    }

    /// Makes a call with many requests, in this order; it is sent once. The time limit is for each wait for the answer.
    ///
    /// # Errors
    /// [`Error`] tells whether it may have been done.
    pub async fn upload<M: Upload>(&self, requests: Vec<M>) -> Result<M::Answer, Error> {
        let deadline = Instant::now() + self.timeout;
        let (at, connection) = self.connected(deadline, &mut Vec::new()).await?;
        let endpoint = self.endpoints[at].to_string();
        let mut grpc = grpc(connection);
        let codec = ProstCodec::<M, M::Answer>::default();
        let call = async {
            ready(&mut grpc).await?;
            let mut request = Request::new(tonic::codegen::tokio_stream::iter(requests));
            request.set_timeout(self.timeout);
            grpc.client_streaming(request, PathAndQuery::from_static(M::PATH), codec).await
        };
        let attempt = match timeout_at(deadline + GRACE, call).await {
            Ok(Ok(answer)) => return Ok(answer.into_inner()),
            Ok(Err(status)) => Attempt::Failed(status),
            Err(_) => Attempt::TimedOut,
        };
        Err(match next(Safety::Changes, attempt, &endpoint, self.timeout) {
            Next::End(error) | Next::Wait(_, error) => error,
            Next::Other(reason) => Error::Unreachable { tried: vec![(endpoint, reason)] },
        })
    }

    /// Returns a connection that works, with the number of its endpoint.
    async fn connected(
        &self,
        deadline: Instant,
        tried: &mut Vec<(String, String)>,
    ) -> Result<(usize, Connection), Error> {
        let mut current = self.current.lock().await;
        if let (at, Some(connection)) = &*current
            && !connection.is_closed()
        {
            return Ok((*at, connection.clone()));
        }
        let first = current.0;
        for step in 0..self.endpoints.len() {
            let at = (first + step) % self.endpoints.len();
            let left = deadline.saturating_duration_since(Instant::now());
            let endpoint = &self.endpoints[at];
            match endpoint.connect(self.operator.as_ref(), CONNECT_TIMEOUT.min(left)).await {
                Ok(connection) => {
                    *current = (at, Some(connection.clone()));
                    return Ok((at, connection));
                }
                Err(error) => tried.push((endpoint.to_string(), error.to_string())),
            }
        }
        Err(Error::Unreachable { tried: std::mem::take(tried) })
    }

    /// Goes on to the next endpoint, unless somebody did already.
    async fn leave(&self, at: usize) {
        let mut current = self.current.lock().await;
        if current.0 == at {
            *current = ((at + 1) % self.endpoints.len(), None);
        }
    }
}

// === impl Answers ===

impl<A: Message + Default + 'static> Answers<A> {
    /// Waits for the next answer; none when the node ended the watch.
    ///
    /// # Errors
    /// [`Error`] when the connection broke, or the node refuses to go on.
    pub async fn next(&mut self) -> Result<Option<A>, Error> {
        let endpoint = || self.endpoint.clone();
        match self.stream.message().await {
            Ok(answer) => Ok(answer),
            Err(status) if is_local(&status) => Err(Error::Unreachable { tried: vec![(endpoint(), words(&status))] }),
            Err(status) => Err(Error::Refused { endpoint: endpoint(), refused: Box::new(Refused::of_status(&status)) }),
        }
    }
}

fn grpc(connection: Connection) -> Grpc<Connection> {
    let origin = http::Uri::from_static("https://node.invalid");
    Grpc::with_origin(connection, origin)
        .max_decoding_message_size(MESSAGE_BYTES_MAX)
        .max_encoding_message_size(MESSAGE_BYTES_MAX)
}

async fn ready(grpc: &mut Grpc<Connection>) -> Result<(), Status> {
    grpc.ready().await.map_err(|error| Status::from_error(Box::new(error)))
}

async fn unary<M: Method>(connection: Connection, request: &M, deadline: Instant) -> Result<M::Answer, Attempt> {
    let mut grpc = grpc(connection);
    let call = async {
        ready(&mut grpc).await?;
        let mut request = Request::new(request.clone());
        request.set_timeout(deadline.saturating_duration_since(Instant::now()));
        let codec = ProstCodec::<M, M::Answer>::default();
        grpc.unary(request, PathAndQuery::from_static(M::PATH), codec).await
    };
    match timeout_at(deadline + GRACE, call).await {
        Ok(Ok(answer)) => Ok(answer.into_inner()),
        Ok(Err(status)) => Err(Attempt::Failed(status)),
        Err(_) => Err(Attempt::TimedOut),
    }
}

/// Decides what follows from an attempt that failed.
fn next(safety: Safety, attempt: Attempt, endpoint: &str, timeout: Duration) -> Next {
    let endpoint = endpoint.to_owned();
    let unknown = |reason: String| Next::End(Error::OutcomeUnknown { endpoint: endpoint.clone(), reason });
    let status = match attempt {
        Attempt::Failed(status) => status,
        Attempt::TimedOut => {
            return match safety {
                Safety::Reads => Next::End(Error::TimedOut { endpoint, after: timeout }),
                Safety::Changes => unknown(format!("no answer within {:.1} s", timeout.as_secs_f64())),
            };
        }
    };
    if is_local(&status) {
        return match safety {
            Safety::Reads => Next::Other(words(&status)),
            Safety::Changes => unknown(words(&status)),
        };
    }
    let refused = Box::new(Refused::of_status(&status));
    if refused.reason == OUTCOME_UNKNOWN {
        return unknown(refused.to_string());
    }
    match (status.code(), safety) {
        (Code::DeadlineExceeded, Safety::Reads) => Next::End(Error::TimedOut { endpoint, after: timeout }),
        // Codes with which a node says that it failed, and not that it refused: something may have been done.
        (
            Code::DeadlineExceeded
            | Code::Unknown
            | Code::Internal
            | Code::OutOfRange
            | Code::DataLoss
            | Code::Cancelled,
            Safety::Changes,
        ) => unknown(refused.to_string()),
        (Code::Unavailable | Code::ResourceExhausted, _) if refused.retry_after.is_some() => {
            let after = refused.retry_after.unwrap_or_default();
            Next::Wait(after, Error::Refused { endpoint, refused })
        }
        (Code::Unavailable, Safety::Reads) => Next::Other(refused.to_string()),
        _ => Next::End(Error::Refused { endpoint, refused }),
    }
}

/// Tells whether a status is of this side: the connection broke, and no node said anything.
fn is_local(status: &Status) -> bool {
    std::error::Error::source(status).is_some()
}

/// Writes a broken connection with its causes.
fn words(status: &Status) -> String {
    let mut text = String::from("the connection broke");
    let mut cause = std::error::Error::source(status);
    while let Some(error) = cause {
        text = format!("{text}: {error}");
        cause = error.source();
    }
    text
}

#[cfg(test)]
mod tests {
    use tonic_types::{ErrorDetails, StatusExt};

    use super::*;

    fn follows(safety: Safety, attempt: Attempt) -> &'static str {
        match next(safety, attempt, "a:1", Duration::from_secs(1)) {
            Next::Other(_) => "other",
            Next::Wait(..) => "wait",
            Next::End(Error::Refused { .. }) => "refused",
            Next::End(Error::OutcomeUnknown { .. }) => "unknown",
            Next::End(Error::TimedOut { .. }) => "timed out",
            Next::End(Error::Unreachable { .. } | Error::OtherCluster { .. }) => "unreachable",
        }
    }

    #[test]
    fn what_changes_something_is_sent_again_only_when_the_node_did_nothing() {
        let broken = || Status::from_error(Box::new(std::io::Error::other("reset")));
        let plain = |code| Status::new(code, "x");
        let later = || {
            let details = ErrorDetails::with_retry_info(Some(Duration::from_millis(10)));
            Status::with_error_details(Code::Unavailable, "x", details)
        };
        let lost = || {
            let mut details = ErrorDetails::new();
            details.set_error_info(OUTCOME_UNKNOWN, "quorate", []);
            Status::with_error_details(Code::Unknown, "the leader changed", details)
        };
        let cases: [(Attempt, Attempt, &str, &str); 7] = [
            (Attempt::Failed(lost()), Attempt::Failed(lost()), "unknown", "unknown"),
            (Attempt::TimedOut, Attempt::TimedOut, "timed out", "unknown"),
            (Attempt::Failed(broken()), Attempt::Failed(broken()), "other", "unknown"),
            (Attempt::Failed(later()), Attempt::Failed(later()), "wait", "wait"),
            (Attempt::Failed(plain(Code::Unavailable)), Attempt::Failed(plain(Code::Unavailable)), "other", "refused"),
            (
                Attempt::Failed(plain(Code::DeadlineExceeded)),
                Attempt::Failed(plain(Code::DeadlineExceeded)),
                "timed out",
                "unknown",
            ),
            (
                Attempt::Failed(plain(Code::PermissionDenied)),
                Attempt::Failed(plain(Code::PermissionDenied)),
                "refused",
                "refused",
            ),
        ];
        for (number, (of_read, of_change, reading, changing)) in cases.into_iter().enumerate() {
            assert_eq!(follows(Safety::Reads, of_read), reading, "{number}");
            assert_eq!(follows(Safety::Changes, of_change), changing, "{number}");
        }
    }
}
