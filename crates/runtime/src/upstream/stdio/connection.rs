//! A process as a JSON-RPC connection: what it writes goes to the hub, what is sent to it is a line.
//!
//! One task reads the process's output and puts each message where it belongs. Output that is no message is counted,
//! logged once per process, and skipped: many servers greet on the wrong stream. A ping is answered at once: it asks
//! whether we are there. When the output ends, the connection has ended: open requests are told how the process ended,
//! later ones find the session lost.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::StatusCode;
use quorate_jsonrpc::{self as jsonrpc, Frame, Id, Kind, build};
use quorate_mcp::Method;
use quorate_mcp::error::METHOD_NOT_FOUND;
use quorate_stdio::{Child, Line, Lines, SendError, Watch};
use quorate_telemetry::Throttle;
use quorate_telemetry::metrics::DroppedLine;

use super::super::answer::{Answer, Awaits, FrameStream};
use super::super::endpoint::Limits;
use super::super::error::{Error, Phase};
use super::super::legacy::InitializeResult;
use super::super::shared::{Hub, Inbox};
use super::super::wire::{self, Patience};
use super::server::{Employment, Failure, Fresh, Server, Use};

/// How long a process may live on after it closed its output: 1 s, then it is ended. It is of no use any more.
const AFTER_OUTPUT: Duration = Duration::from_secs(1);
/// Bounds lines about what is no message: each session may have a process that writes some.
static COMPLAINTS: Throttle = Throttle::new();

/// A process that is spoken to. It is ended when the connection is dropped.
pub(super) struct Connection {
    child: Child,
    hub: Arc<Hub>,
    employment: Arc<Employment>,
    limits: Limits,
    server: Arc<Server>,
}

// === impl Connection ===

impl Connection {
    pub(super) fn new(server: &Arc<Server>, fresh: Fresh, hub: Arc<Hub>) -> Self {
        let Fresh { child, lines, employment } = fresh;
        tokio::spawn(read(lines, Arc::clone(&hub), child.watch(), Arc::clone(server)));
        Self { child, hub, employment, limits: *server.limits(), server: Arc::clone(server) }
    }

    pub(super) fn hub(&self) -> &Arc<Hub> {
        &self.hub
    }

    pub(super) fn child(&self) -> &Child {
        &self.child
    }

    pub(super) fn limits(&self) -> &Limits {
        &self.limits
    }

    /// Tells whether its process can be used: one that takes nothing any more is ending, though that is not told yet.
    pub(super) fn lives(&self) -> bool {
        !self.hub.is_ended() && self.child.is_open()
    }

    /// Says what the process, which has answered, is used for from now on.
    pub(super) fn employ(&self, use_: Use) {
        self.employment.now(use_);
        self.is_of_use();
    }

    /// Says that the process has answered.
    pub(super) fn is_of_use(&self) {
        self.employment.is_of_use();
    }

    /// Sends one message.
    pub(super) async fn send(&self, message: Bytes) -> Result<(), Error> {
        self.child.send(message).await.map_err(|error| match error {
            SendError::Ended => Error::SessionLost,
            SendError::Stalled { after } => {
                Failure::plain(&format!("its process did not read its input for {after:?}")).into()
            }
        })
    }

    /// Sends a request whose place is made, and returns its answer as a stream.
    pub(super) async fn exchange(&self, frame: Frame, inbox: Inbox) -> Result<FrameStream, Error> {
        let patience = Patience::of_call(&self.limits);
        self.send(frame.into_bytes()).await?;
        Ok(FrameStream::of_inbox(inbox, Awaits::Answer, &self.limits, patience.total_at()))
    }

    /// Sends `initialize`, under the id that it has.
    ///
    /// # Errors
    /// [`Error::Process`] when the process ends at that, or takes too long; else what the server says.
    pub(super) async fn initialize(&self, body: Bytes) -> Result<InitializeResult, Error> {
        let patience = self.server.start_timeout();
        let answered = tokio::time::timeout(patience, async {
            let frame = wire::parse(body, self.limits.answer_bytes_max)?;
            let inbox = self.hub.register(&frame)?;
            Answer::Stream(self.exchange(frame, inbox).await?).finish(drop).await
        });
        let answer = match answered.await {
            Ok(Ok(answer)) => {
                // Also one that refuses: the program starts, and others need not wait to see that.
                self.is_of_use();
                answer
            }
            Ok(Err(Error::Broken { .. } | Error::SessionLost)) => return Err(self.ended().await),
            Ok(Err(error)) => return Err(error),
            Err(_) => {
                let silent = format!("its process did not answer `initialize` within {patience:?}");
                self.server.useless(&self.employment, &Failure::plain(&silent));
                return Err(Error::Timeout { phase: Phase::FirstByte, after: patience });
            }
        };
        InitializeResult::of_answer(StatusCode::OK, answer)
    }

    /// The error of a process that has ended before it was of use.
    async fn ended(&self) -> Error {
        if tokio::time::timeout(AFTER_OUTPUT, self.child.exited()).await.is_err() {
            // It has closed its standard input and lives on, for nobody.
            self.child.watch().discard();
        }
        let exit = self.child.exited().await;
        Failure::of_exit(&exit).into()
    }

    /// Ends the process, and waits until nothing of it is left. Open requests may have run: they fail as such.
    pub(super) async fn close(&self) {
        self.hub.close();
        self.child.end();
        self.child.exited().await;
    }
}

impl std::fmt::Debug for Connection {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Connection").field("child", &self.child).finish_non_exhaustive()
    }
}

/// The id of a message that a user cancels, in the server's form.
pub(super) fn cancelled(id: &Id) -> Bytes {
    let params = format!("{{\"requestId\":{},\"reason\":\"nobody waits for the answer\"}}", id.as_json());
    build::notification("notifications/cancelled", Some(&params))
}

/// Takes what a process that many share says to nobody in particular: its requests are refused, since there is nobody
/// whom it could ask; log messages that belong to no single call reach nobody, since they may be about another user;
/// other notifications go to `notified`.
pub(super) async fn keep(mut unclaimed: Inbox, process: Watch, server: Arc<Server>, mut notified: impl FnMut(Frame)) {
    while let Ok(Some(frame)) = unclaimed.next().await {
        match (frame.kind(), frame.method(), frame.id()) {
            (Kind::Request, _, Some(id)) => {
                let message = "a process that many share can ask nobody";
                let answer = build::error(Some(id), METHOD_NOT_FOUND, message, None);
                // A process that reads nothing any more gets no answers; its queue is bounded.
                let _stalled = process.try_send(answer);
            }
            (_, Some("notifications/message"), _) => server.metrics().line_dropped(DroppedLine::Unattributed),
            _ => notified(frame),
        }
    }
}

/// Reads a process's output into the hub until it ends.
async fn read(mut lines: Lines, hub: Arc<Hub>, process: Watch, server: Arc<Server>) {
    let mut complained = false;
    let mut drop_line = |reason: DroppedLine, shown: &str| {
        server.metrics().line_dropped(reason);
        if !std::mem::replace(&mut complained, true) && COMPLAINTS.admits() {
            tracing::warn!(server = %server.name(), ?reason, line = shown,
                "the process writes to its standard output what is no message; further lines are only counted");
        }
    };
    while let Some(line) = lines.next().await {
        match line {
            Line::Message(bytes) => match parse(bytes, server.limits().event_bytes_max) {
                Ok(frames) => {
                    for frame in frames {
                        match ping(&frame) {
                            // A process that reads nothing any more gets no answers; its queue is bounded.
                            Some(answer) => drop(process.try_send(answer)),
                            None => hub.route(frame).await,
                        }
                    }
                }
                Err(error) => drop_line(DroppedLine::Malformed, &error.to_string()),
            },
            Line::Garbage { shown, .. } => drop_line(DroppedLine::Garbage, &shown),
            Line::TooLong { bytes } => drop_line(DroppedLine::TooLong, &format!("{bytes} bytes")),
        }
    }
    if tokio::time::timeout(AFTER_OUTPUT, process.exited()).await.is_err() {
        process.discard();
    }
    let exit = process.exited().await;
    hub.end(&Error::Broken { reason: exit.to_string() });
}

/// Answers a ping; none when it is another message.
fn ping(frame: &Frame) -> Option<Bytes> {
    let is_ping = frame.kind() == Kind::Request && frame.method().and_then(Method::parse) == Some(Method::Ping);
    frame.id().filter(|_| is_ping).map(|id| build::result(id, "{}"))
}

/// Parses a line: a message, or a batch as revision 2025-03-26 allows.
fn parse(line: Bytes, bytes_max: usize) -> Result<Vec<Frame>, Error> {
    if jsonrpc::is_batch(&line) {
        return wire::parse_batch(&line, bytes_max);
    }
    wire::parse(line, bytes_max).map(|frame| vec![frame])
}
