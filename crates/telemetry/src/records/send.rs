//! Sends batches of records, one after the other, over a gRPC channel of its own.
//!
//! A batch is sent when it is closed, and whatever there is at each tick. What a collector cannot take now is tried again as OTLP says
//! (its codes that may be retried, ever longer pauses) for as long as one export may take; what it still does not take then, or rejects,
//! is dropped and counted. A line in the log says when that begins, and when it ends.

use std::error::Error as _;
use std::sync::Arc;
use std::time::Duration;

use bytes::{BufMut, Bytes};
use http::uri::PathAndQuery;
use opentelemetry_proto::tonic::collector::logs::v1::ExportLogsServiceResponse;
use prost::Message;
use tokio::sync::oneshot;
use tokio::time::{Instant, MissedTickBehavior};
use tonic::client::Grpc;
use tonic::codec::{Codec, DecodeBuf, Decoder, EncodeBuf, Encoder};
use tonic::metadata::MetadataMap;
use tonic::transport::Channel;
use tonic::{Code, Request, Status};

use super::queue::{Batch, Queue};
use super::wire::Envelope;

/// The method that takes records (`opentelemetry.proto.collector.logs.v1`).
const EXPORT: &str = "/opentelemetry.proto.collector.logs.v1.LogsService/Export";
/// The pause before a batch is tried again, for the first time; each is twice as long as the one before.
const PAUSE_FIRST: Duration = Duration::from_millis(500);

/// Sends what is in a queue.
#[derive(Debug)]
pub(super) struct Sender {
    pub(super) grpc: Grpc<Channel>,
    pub(super) headers: MetadataMap,
    pub(super) envelope: Envelope,
    pub(super) queue: Arc<Queue>,
    /// The longest that a record waits for its batch.
    pub(super) delay: Duration,
    /// How long a batch may take, with all that is tried.
    pub(super) timeout: Duration,
    /// What became of the last batch.
    pub(super) trouble: Option<Trouble>,
}

/// Why records are lost.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Trouble {
    /// The collector is away, or takes no records.
    Away,
    /// It takes requests, and rejects some of their records.
    Rejects,
}

/// Messages that are encoded already, and what is answered to them.
#[derive(Clone, Copy, Debug, Default)]
struct Encoded;

// === impl Sender ===

impl Sender {
    /// Sends until it is told to stop, and what there is then.
    pub(super) async fn run(mut self, mut stop: oneshot::Receiver<()>) {
        let mut ticks = tokio::time::interval_at(Instant::now() + self.delay, self.delay);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let queue = Arc::clone(&self.queue);
        loop {
            let is_last = tokio::select! {
                () = queue.closed.notified() => false,
                _ = ticks.tick() => {
                    queue.close();
                    false
                }
                // An error says that nobody can tell us any more.
                _ = &mut stop => {
                    queue.close();
                    true
                }
            };
            while let Some(batch) = queue.take() {
                self.send(batch).await;
            }
            if is_last {
                return;
            }
        }
    }

    async fn send(&mut self, batch: Batch) {
        let request = Bytes::from(self.envelope.seal(&batch.bytes));
        let before = self.trouble;
        let lost = match self.try_to_send(&request).await {
            Ok(response) => {
                let told = response.partial_success.unwrap_or_default();
                let rejected = u64::try_from(told.rejected_log_records).unwrap_or(0).min(batch.records);
                self.trouble = (rejected > 0).then_some(Trouble::Rejects);
                if self.trouble.is_some() && self.trouble != before {
                    tracing::warn!(rejected, reason = told.error_message, "the collector rejects records of calls");
                }
                rejected
            }
            Err(status) => {
                self.trouble = Some(Trouble::Away);
                if self.trouble != before {
                    let (code, reason) = (status.code(), status.message());
                    tracing::warn!(?code, reason, "records of calls do not get to the collector");
                }
                batch.records
            }
        };
        if self.trouble.is_none() && before.is_some() {
            tracing::info!("records of calls get to the collector again");
        }
        self.queue.done(&batch, lost);
    }

    /// Tries until it is sent, may not be tried again, or time is up.
    async fn try_to_send(&mut self, request: &Bytes) -> Result<ExportLogsServiceResponse, Status> {
        let until = Instant::now() + self.timeout;
        let mut pause = PAUSE_FIRST;
        loop {
            let late = || Status::deadline_exceeded("no answer in time");
            let tried = tokio::time::timeout_at(until, self.try_once(request.clone())).await;
            let status = match tried.unwrap_or_else(|_| Err(late())) {
                Ok(response) => return Ok(response),
                Err(status) => status,
            };
            if !may_be_retried(&status) || Instant::now() + pause >= until {
                return Err(status);
            }
            tokio::time::sleep(pause).await;
            pause *= 2;
        }
    }

    async fn try_once(&mut self, message: Bytes) -> Result<ExportLogsServiceResponse, Status> {
        self.grpc.ready().await.map_err(|error| Status::from_error(error.into()))?;
        let request = Request::from_parts(self.headers.clone(), Default::default(), message);
        let answer = self.grpc.unary(request, PathAndQuery::from_static(EXPORT), Encoded).await?;
        Ok(answer.into_inner())
    }
}

/// Whether OTLP/gRPC says that a request may be sent again. One for which a collector has no room is, whether or not it says when, and
/// one whose connection broke, which is no word of the collector's.
fn may_be_retried(status: &Status) -> bool {
    let is_broken = status.source().is_some() && matches!(status.code(), Code::Unknown | Code::Internal);
    let may_be = matches!(
        status.code(),
        Code::Cancelled
            | Code::DeadlineExceeded
            | Code::ResourceExhausted
            | Code::Aborted
            | Code::OutOfRange
            | Code::Unavailable
            | Code::DataLoss
    );
    may_be || is_broken
}

// === impl Encoded ===

impl Codec for Encoded {
    type Encode = Bytes;
    type Decode = ExportLogsServiceResponse;
    type Encoder = Self;
    type Decoder = Self;

    fn encoder(&mut self) -> Self {
        Self
    }

    fn decoder(&mut self) -> Self {
        Self
    }
}

impl Encoder for Encoded {
    type Item = Bytes;
    type Error = Status;

    fn encode(&mut self, message: Bytes, out: &mut EncodeBuf<'_>) -> Result<(), Status> {
        out.put(message);
        Ok(())
    }
}

impl Decoder for Encoded {
    type Item = ExportLogsServiceResponse;
    type Error = Status;

    fn decode(&mut self, bytes: &mut DecodeBuf<'_>) -> Result<Option<ExportLogsServiceResponse>, Status> {
        let response = ExportLogsServiceResponse::decode(bytes);
        response.map(Some).map_err(|error| Status::internal(format!("the collector's answer: {error}")))
    }
}
