//! Reads what a session says of one stateless call, and writes it as its client understands it.
//!
//! In: the events of the call's stream in the session. Out: notifications, and one last message:
//! the answer, or what the client is asked. Questions of one moment are asked together: after the
//! first, others are waited for, for a moment that no person notices. What came after the first
//! question is read again when the call goes on, or passed on when its server takes all of them back, so
//! that nothing is lost.

use std::collections::VecDeque;
use std::time::Duration;

use bytes::Bytes;
use http::StatusCode;
use quorate_jsonrpc::{Frame, Id, Kind, build};
use quorate_mcp::codec::{self, ErrorView};
use quorate_mcp::dialect::onto_legacy::{self, InputRequest, Question};
use quorate_mcp::error::{METHOD_NOT_FOUND, status_of};
use quorate_mcp::{Era, Fault, Method};
use quorate_runtime::bridge::PARKED_MAX;
use quorate_runtime::session::Refused;
use quorate_runtime::{clock, entropy};
use quorate_session::{Config, Event, Rejection};
use quorate_telemetry::Outcome;
use tokio::time::Instant;

use super::super::{Operation, modern};
use super::{Opened, Source, is_answer};
use crate::ask::{self, Asked, MESSAGE_LIMITS};
use crate::parking::{Ask, Binding, Parking, Place};
use crate::resolve::holder;

/// How long the first question waits for others: 10 ms.
const LINGER: Duration = Duration::from_millis(10);

/// Reads one call.
pub(super) struct Reader {
    call: Opened,
    operation: Operation,
    /// The questions that the client is going to be asked, with their ids in the session.
    pending: Vec<(u64, InputRequest)>,
    /// Notifications that were read after the first pending one: for now, should all of them be taken back.
    waiting: VecDeque<Bytes>,
    /// Answered questions that were read after the first pending one.
    passed: Vec<u64>,
    /// The last sequence before the first pending question.
    place: Option<u64>,
    /// What the server asked although the client cannot answer it.
    missing: Option<Question>,
    /// When the pending questions are asked.
    asks_at: Option<Instant>,
}

/// The next message for the client.
pub(super) enum Next {
    /// A notification: more follows.
    Forward(Bytes),
    /// The last one.
    Last {
        /// The HTTP status, where it is the whole answer.
        status: StatusCode,
        /// The message.
        body: Bytes,
    },
}

// === impl Reader ===

impl Reader {
    pub(super) fn new(call: Opened, operation: Operation) -> Self {
        Self {
            call,
            operation,
            pending: Vec::new(),
            waiting: VecDeque::new(),
            passed: Vec::new(),
            place: None,
            missing: None,
            asks_at: None,
        }
    }

    /// Returns the next message for the client.
    pub(super) async fn next(&mut self) -> Next {
        loop {
            if self.pending.is_empty()
                && let Some(body) = self.waiting.pop_front()
            {
                return Next::Forward(body);
            }
            let connection = match &mut self.call.source {
                Source::Answer(frame) => {
                    let frame = frame.clone();
                    return self.finish(frame);
                }
                Source::Stream(connection) => connection,
            };
            let received = match self.asks_at {
                None => connection.receive().await,
                Some(at) => match tokio::time::timeout_at(at, connection.receive()).await {
                    Ok(received) => received,
                    Err(_) => return self.park().await,
                },
            };
            let Some(emission) = received else {
                let server = self.call.server.name().to_string();
                return self.fault(&Fault::OutcomeUnknown { server });
            };
            let before = *self.place.get_or_insert(emission.sequence.saturating_sub(1));
            let Ok(frame) = Frame::parse(emission.data, &MESSAGE_LIMITS) else {
                // The session passes on what it could read itself.
                return self.fault(&Fault::Internal);
            };
            if is_answer(&frame) {
                // It did not wait for what it asked.
                self.pending.clear();
                self.call.source = Source::Answer(frame);
                continue;
            }
            match frame.kind() {
                Kind::Request => self.asked(&frame),
                Kind::Notification | Kind::Result | Kind::Error => {
                    let told = self.told(frame);
                    self.waiting.extend(told);
                }
            }
            self.place = Some(if self.pending.is_empty() { emission.sequence } else { before });
            self.asks_at = match (self.pending.is_empty(), self.asks_at) {
                (true, _) => None,
                (false, Some(at)) => Some(at),
                (false, None) => Some(Instant::now() + LINGER),
            };
            if let Source::Stream(connection) = &mut self.call.source {
                connection.keep(self.asks_at.is_some());
            }
        }
    }

    /// Takes a request of the server.
    fn asked(&mut self, frame: &Frame) {
        let Some(id) = frame.id().and_then(Id::as_u64) else { return };
        if self.call.answered.contains(&id) {
            if !self.pending.is_empty() {
                self.passed.push(id);
            }
            return;
        }
        let question = Question::of(frame).filter(|_| may_be_asked(self.call.client.method));
        let Some(question) = question else {
            let answer = match frame.method().and_then(Method::parse) {
                Some(Method::Ping) => build::result(&Id::from(id), "{}"),
                _ => build::error(Some(&Id::from(id)), METHOD_NOT_FOUND, "a client is not asked this", None),
            };
            return self.tell(answer);
        };
        if !self.call.behalf.declared().answers(question) {
            self.missing = Some(question);
            let message = "the client did not declare the capability that this needs";
            return self.tell(build::error(Some(&Id::from(id)), METHOD_NOT_FOUND, message, None));
        }
        match self.permitted(question, frame, id.to_string()) {
            Ok(request) => self.pending.push((id, request)),
            Err(answer) => answer.into_iter().for_each(|answer| self.tell(answer)),
        }
    }

    /// Lets a question pass the stages; else what its server is answered.
    fn permitted(&self, question: Question, frame: &Frame, key: String) -> Result<InputRequest, Option<Bytes>> {
        let request = &self.call.request;
        let services = &request.snapshot().services;
        let (toolset, server) = (request.toolset().as_ref(), self.call.server.name());
        let principal = &*request.caller().principal;
        let asked = Asked { services, toolset, principal, server, question, frame: frame.clone() };
        let refuse = |error: ask::Error| ask::refusal(services, frame, &error);
        let frame = ask::pass(asked).map_err(refuse)?;
        match InputRequest::of(&frame, key) {
            Ok(Some(request)) => Ok(request),
            Ok(None) | Err(_) => Err(ask::refusal(services, &frame, &ask::Error::Malformed)),
        }
    }

    /// Takes a notification of the server; returns it as the client gets it, if it does.
    fn told(&mut self, frame: Frame) -> Option<Bytes> {
        let method = frame.method().and_then(Method::parse);
        if method == Some(Method::Cancelled) {
            let taken_back = codec::cancelled_request(&frame).ok().flatten().and_then(|(id, _)| id.as_u64());
            self.pending.retain(|(id, _)| Some(*id) != taken_back);
            return None;
        }
        let client = &self.call.client;
        let frame = match method {
            Some(Method::Progress) => {
                let (_, span) = codec::progress_token(&frame).ok()?;
                codec::retoken(&frame, span, client.progress_token.as_ref()?)
            }
            Some(Method::Message) if codec::message_level(&frame).ok()? < client.level? => return None,
            Some(Method::Message) | None => frame,
            // Of changes tell listens; other news of sessions have no meaning without them.
            Some(_) => return None,
        };
        Some(self.rewritten(method, frame).into_bytes())
    }

    /// Writes the answer.
    fn finish(&mut self, frame: Frame) -> Next {
        self.call.leash.let_go();
        if let Some(requests) = onto_legacy::url_elicitations(&frame) {
            return self.visits(requests);
        }
        if ask::is_question(&frame) {
            return self.fault(&Fault::PermissionDenied); // It asks something, and nothing can read what.
        }
        let is_error = frame.kind() == Kind::Error;
        if let Some(question) = self.missing.filter(|_| is_error) {
            return self.fault(&Fault::MissingCapability { method: question.method(), required: question.required() });
        }
        let method = self.call.client.method;
        let frame = self.rewritten(method, onto_legacy::answer(frame, method));
        let status = match ErrorView::read(&frame) {
            Ok(error) => status_of(error.code, Era::Modern),
            Err(_) => StatusCode::OK,
        };
        self.operation.end(if is_error { Outcome::RpcError } else { Outcome::Ok });
        Next::Last { status, body: frame.with_id(&self.call.client.id).into_bytes() }
    }

    /// Asks the client to visit what the server wants visited before the call is made again.
    fn visits(&mut self, requests: Vec<InputRequest>) -> Next {
        if !self.call.behalf.declared().answers(Question::Url) {
            let question = Question::Url;
            return self.fault(&Fault::MissingCapability { method: question.method(), required: question.required() });
        }
        let mut permitted = Vec::new();
        for InputRequest { key, question, params } in requests {
            let frame = build::request(&Id::from(0), question.method().as_str(), Some(&params));
            let frame = Frame::parse(frame, &MESSAGE_LIMITS).map_err(|_| ());
            match frame.and_then(|frame| self.permitted(question, &frame, key).map_err(|_| ())) {
                Ok(request) => permitted.push(request),
                Err(()) => return self.fault(&Fault::PermissionDenied),
            }
        }
        self.input_required(&permitted, &Parking::Again)
    }

    /// Leaves the call until its client answers.
    async fn park(&mut self) -> Next {
        let (Source::Stream(connection), Some(call)) = (&self.call.source, self.call.leash.call()) else {
            return self.fault(&Fault::Internal);
        };
        let stream = connection.stream();
        let services = &self.call.request.snapshot().services;
        let Some(parked) = services.bridge.park(self.call.request.caller().digest) else {
            return self.fault(&Fault::LimitExceeded { limit: "parked", max: PARKED_MAX as u64 });
        };
        let token = u64::from_be_bytes(entropy::secret());
        let sequence = self.place.unwrap_or_default();
        if let Err(refused) = self.call.session.park(stream, sequence, token, parked).await {
            tracing::debug!(%refused, "a call cannot be parked");
            let server = self.call.server.name().to_string();
            return self.fault(&match refused {
                Refused::Rejected(Rejection::LimitReached { max, .. }) => {
                    Fault::LimitExceeded { limit: "parked", max: max as u64 }
                }
                Refused::Rejected(_) | Refused::Gone(_) | Refused::Moved | Refused::Rested => {
                    Fault::OutcomeUnknown { server }
                }
            });
        }
        self.call.leash.let_go();
        self.waiting.clear(); // They are read again.
        let place = Place { shard: self.call.session.shard(), session: self.call.session.key(), call, stream, token };
        let passed = self.passed.iter().map(|id| Ask { id: *id, question: None });
        let asked = self.pending.iter().map(|(id, request)| Ask { id: *id, question: Some(request.question) });
        let parking = Parking::Call { place, asks: passed.chain(asked).collect() };
        let requests: Vec<InputRequest> = self.pending.drain(..).map(|(_, request)| request).collect();
        self.input_required(&requests, &parking)
    }

    fn input_required(&mut self, requests: &[InputRequest], parking: &Parking) -> Next {
        let client = &self.call.client;
        let request = &self.call.request;
        let binding = Binding::of(holder(request), &client.frame);
        let until = clock::now() + Config::DEFAULTS.park_timeout;
        let state = binding.seal(&request.snapshot().services.sealer, parking, until, &entropy::secret());
        let body = build::result(&client.id, &onto_legacy::input_required(requests, &state));
        self.operation.end(Outcome::Ok);
        Next::Last { status: StatusCode::OK, body }
    }

    /// Answers a request of the server on the client's behalf.
    fn tell(&self, answer: Bytes) {
        if let Ok(frame) = Frame::parse(answer, &MESSAGE_LIMITS) {
            self.call.session.tell(Event::ClientResponse { frame });
        }
    }

    fn fault(&mut self, fault: &Fault) -> Next {
        self.operation.end(Outcome::Failed(fault.class()));
        let body = fault.to_frame(Era::Modern, Some(&self.call.client.id));
        Next::Last { status: fault.http_status(Era::Modern), body }
    }

    fn rewritten(&self, method: Option<Method>, frame: Frame) -> Frame {
        let Opened { request, server, client, .. } = &self.call;
        // No task is begun through a bridge.
        modern::rewrite(request, client.audience, server.name(), method, None, frame)
    }
}

/// Tells whether a request may be answered with questions (2026-07-28, "Multi Round-Trip Requests").
const fn may_be_asked(method: Option<Method>) -> bool {
    matches!(method, Some(Method::CallTool | Method::GetPrompt | Method::ReadResource))
}
