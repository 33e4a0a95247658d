//! Stage 8: ask targets until one answers.
//!
//! ```text
//!           ┌──────────── another target, or the same after a while: as retries and their budget allow ───────────┐
//!           ▼                                                                                                       │
//!  choose ─▶ write ─▶ ask ─┬─ whole answer ─▶ read, translate ─┬─ fine ─▶ Dispatched::Whole                         │
//!     ▲        │           ├─ events ─▶ first of the answer ───┼─ fine ─▶ Dispatched::Events                        │
//!     │        │           ├─ whole, asked as a stream ─▶ its events ─▶ as above                                     │
//!     │        │ cannot    └─ refused, late, broken ───────────┴─ not ──▶ the request's fault? ─ no ────────────────┘
//!     └────────┘ be said                                                       └─ yes ─▶ Refusal
//! ```
//!
//! Until the first piece of an answer is there, nothing was said to the client: whoever fails before that is replaced without its notice.
//! After it nobody is. A target that fails often is left out for a while, one that asks for it until then ([`quorate_scheduler::Targets`]).

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use quorate_config::TargetModel;
use quorate_http::client::Body;
use quorate_http::sse::{self, Event, EventStream};
use quorate_llm::error::Kind;
use quorate_llm::exchange::{Asked, Exchange, Sent, State};
use quorate_llm::meter::{self, Outcome};
use quorate_llm::tokens::Sample;
use quorate_llm::{Api, Call, Dialect, Fault, Losses, codec, dialect, pieces};
use quorate_runtime::provider::{Answer, Ask, Blame, Held, Refused, Reply};
use quorate_runtime::{clock, entropy};
use quorate_scheduler::{Change, Choice};
use quorate_telemetry::TraceContext;
use tokio::time::{Instant, timeout_at};

use super::admit::Admitted;
use super::cache::{self, Content, Looked};
use super::count::{self, Counting, Kept, Uncounted};
use super::failed::Failed;
use super::record::{Record, operation_of};
use super::refusal::Refusal;
use super::rewrite::{self, Written};
use super::route::{Candidate, Routed};
use super::stream::{self, Answering, Minted};
use super::table::ModelTable;
use super::waits::{Nobody, Waits};

/// Events that are kept back at most while none of them says anything of the answer.
const KEPT_BACK_MAX: usize = 64;

/// The bytes of events that are kept back at most.
const KEPT_BACK_BYTES_MAX: usize = 1 << 20;

/// How long a target seems to take at least that fails: else it would be chosen for its speed.
const FAILS: Duration = Duration::from_secs(1);

/// After how long a target hangs whose client did not wait for its end.
const HANGS: Duration = Duration::from_secs(30);

/// An answer that is there, or begins.
pub(super) enum Dispatched {
    /// One that was kept.
    Kept {
        /// In the client's shape.
        content: Content,
        /// What its provider was not told.
        losses: Losses,
        /// How old it is.
        age: Duration,
    },
    /// The tokens of a request, counted here.
    Counted(u64),
    /// All of it.
    Whole {
        /// In the client's shape.
        body: Bytes,
        /// What the provider was not told.
        losses: Losses,
        /// Whether it could have been one that was kept.
        is_miss: bool,
    },
    /// Its events.
    Events {
        /// In the client's shape.
        answering: Box<Answering>,
        /// What the provider was not told.
        losses: Losses,
        /// Whether it could have been one that was kept.
        is_miss: bool,
    },
}

/// A stream whose first piece of an answer is there.
pub(super) struct Begun {
    /// What follows.
    pub(super) events: EventStream<Body>,
    /// What has been read of it.
    pub(super) exchange: Exchange,
    /// What the client gets first.
    pub(super) ready: VecDeque<Event>,
    /// What it gets where its provider gave nothing.
    pub(super) mint: Minted,
    /// The longest silence.
    pub(super) between: Duration,
    /// When patience ends altogether.
    pub(super) until: Instant,
    /// When the provider was asked.
    pub(super) asked: Instant,
    /// Whether the provider said all at once.
    pub(super) is_whole: bool,
    /// The call's place at its provider.
    pub(super) held: Held,
    /// The call's place at its target.
    pub(super) lease: Lease,
}

/// A call's place among those in progress at a target.
pub(super) struct Lease {
    model: Arc<ModelTable>,
    target: usize,
    api: Api,
}

/// What was got of a target.
enum Got {
    Whole {
        body: Bytes,
        losses: Losses,
        /// Whether the model ended it itself, as far as that can be told.
        is_ended: bool,
    },
    Events(Box<Begun>, Losses),
}

/// A call that is asked.
struct Asking<'a> {
    routed: &'a Routed,
    outgoing: &'a TraceContext,
}

/// Asks targets for an answer.
///
/// # Errors
/// [`Refusal::Dispatch`] with what the last one that was asked said.
pub(super) async fn ask(
    admitted: Admitted,
    mut record: Record,
    outgoing: &TraceContext,
) -> Result<Dispatched, Refusal> {
    let (routed, _permit) = admitted.into_parts();
    if routed.candidates().is_empty() {
        return count(&routed, record).await;
    }
    let place = match cache::look(&routed) {
        Looked::Off => None,
        Looked::Hit { content, losses, age } => {
            record.looked(routed.permitted().model(), "hit");
            record.end(Outcome::Ok, None);
            return Ok(Dispatched::Kept { content, losses, age });
        }
        Looked::Miss(place) => Some(place),
    };
    let is_miss = place.is_some();
    if is_miss {
        record.looked(routed.permitted().model(), "miss");
    }
    let asking = Asking { routed: &routed, outgoing };
    match asking.run(&mut record).await {
        Ok(Got::Whole { body, losses, is_ended }) => {
            if let Some(place) = place.filter(|_| is_ended && record.is_ok()) {
                place.with_losses(&losses).keep(Content::Whole(body.clone()));
            }
            Ok(Dispatched::Whole { body, losses, is_miss })
        }
        Ok(Got::Events(begun, losses)) => {
            let asked = asking.keep();
            let place = place.map(|place| place.with_losses(&losses));
            let answering = Box::new(Answering::new(*begun, record, asked, place));
            Ok(Dispatched::Events { answering, losses, is_miss })
        }
        Err(fault) => {
            record.fail(fault.kind);
            Err(Refusal::Dispatch(fault))
        }
    }
}

/// Counts the tokens of a request whose model has no provider that counts.
async fn count(routed: &Routed, mut record: Record) -> Result<Dispatched, Refusal> {
    let (call, model) = (routed.permitted().classified().call(), routed.permitted().model());
    let target = model.config.targets.first();
    let named =
        target.map_or(call.model.as_str().into(), |target| rewrite::name_at(&model.config, target, &call.model));
    record.named(model);
    let counted = counting(routed).count(&named, call).await;
    match counted {
        Ok(tokens) => {
            record.end(Outcome::Ok, None);
            Ok(Dispatched::Counted(tokens))
        }
        Err(fault) => {
            record.fail(fault.kind);
            Err(Refusal::Dispatch(fault))
        }
    }
}

fn counting(routed: &Routed) -> &Counting {
    &routed.permitted().classified().accepted().snapshot.services.counting
}

// === impl Asking ===

impl Asking<'_> {
    fn call(&self) -> &Call {
        self.routed.permitted().classified().call()
    }

    fn model(&self) -> &Arc<ModelTable> {
        self.routed.permitted().model()
    }

    /// Keeps the request for its tokens to be counted, if there is room.
    fn keep(&self) -> Option<Kept> {
        let kept = counting(self.routed).keep(self.call());
        if kept.is_none() {
            self.routed.permitted().classified().accepted().snapshot.services.metrics.limit_hit(count::LIMIT);
        }
        kept
    }

    async fn run(&self, record: &mut Record) -> Result<Got, Fault> {
        let model = self.model();
        model.count_call();
        let (mut tried, mut last) = (Vec::new(), None);
        let mut waits = Waits::new(model.config.limits.retry_delay_max);
        loop {
            let lease = match self.choose(&tried) {
                Ok(lease) => lease,
                Err(none) => {
                    let said = last.as_ref().map(|last: &Failed| &last.fault);
                    waits.wait(none, said, !tried.is_empty()).await?;
                    tried.clear();
                    continue;
                }
            };
            let target = lease.target;
            let failed = match self.attempt(lease, record).await {
                Ok(got) => return Ok(got),
                Err(failed) => failed,
            };
            tried.push(target);
            if !self.may_retry(&failed, record, &tried) {
                return Err(failed.fault);
            }
            model.metrics[target].retried(failed.fault.kind.label());
            last = Some(failed);
        }
    }

    /// Whether another target, or the same one again, may be asked after a failure.
    fn may_retry(&self, failed: &Failed, record: &Record, tried: &[usize]) -> bool {
        let model = self.model();
        if record.attempts() > model.config.limits.retries {
            return false;
        }
        let has_others = self.routed.candidates().iter().any(|one| !tried.contains(&one.target));
        let is_whole = !self.call().is_streamed;
        match failed.blame {
            // What was made so slowly once was paid for, and is as slow again.
            Blame::Provider if is_whole && failed.fault.kind == Kind::Timeout => false,
            // Nobody was asked for it.
            Blame::Load { was_asked: false, .. } if has_others => true,
            Blame::Provider | Blame::Load { .. } | Blame::Busy => {
                (failed.fault.kind.may_pass() || has_others) && model.take_retry()
            }
            // A key that is refused did nothing, and each target is asked once.
            Blame::Keys { .. } => has_others,
            // Another model may have more room, or be there at all, and another shape other words. That costs nobody else a retry:
            // each target is asked once.
            Blame::Request => has_others && failed.may_differ,
        }
    }

    /// Chooses a target that was not tried, and takes a place there.
    fn choose(&self, tried: &[usize]) -> Result<Lease, Nobody> {
        let candidate = |target: usize| self.routed.candidates().iter().find(|one| one.target == target);
        let is_open = |target| candidate(target).is_some() && !tried.contains(&target);
        let now = clock::now();
        let mut targets = self.model().targets();
        match targets.choose(now, entropy::spread(), is_open) {
            Choice::Target { target, .. } => {
                targets.begin(target);
                let api = candidate(target).map_or(self.call().api, |one: &Candidate| one.api);
                Ok(Lease { model: Arc::clone(self.model()), target, api })
            }
            Choice::Resting { until } => Err(Nobody::Rests { retry_after: until.since(now) }),
            Choice::Nobody => Err(Nobody::Left),
        }
    }

    /// Asks one target, and takes note of how it did.
    async fn attempt(&self, lease: Lease, record: &mut Record) -> Result<Got, Failed> {
        let (model, target, begun) = (Arc::clone(&lease.model), lease.target, Instant::now());
        let mut pending = Pending { model: Arc::clone(&model), target, begun, is_over: false };
        let result = self.ask(lease, record).await;
        pending.is_over = true;
        let operation = operation_of(self.call().api);
        match &result {
            Ok(Got::Whole { .. }) => {
                model.targets().answered_after(target, begun.elapsed());
                note(&model, target, quorate_scheduler::Outcome::Success);
                model.metrics[target].asked(operation, None, begun.elapsed());
            }
            // How it ends is noted when it does.
            Ok(Got::Events(..)) => model.targets().answered_after(target, begun.elapsed()),
            Err(failed) => {
                // One limit of many names is the provider's affair, which lets its keys rest for that name.
                let is_of_one = failed.fault.kind != Kind::RateLimited || has_one_name(&model.config, target);
                match failed.blame {
                    Blame::Provider | Blame::Load { .. } if !is_of_one => {}
                    Blame::Provider | Blame::Keys { is_refused: true } => {
                        // Who fails fast is not the fastest.
                        model.targets().answered_after(target, begun.elapsed().max(FAILS));
                        note(&model, target, quorate_scheduler::Outcome::Failure);
                    }
                    Blame::Load { until, .. } => model.targets().rest(target, until),
                    // It may take the next request, but is not the fastest.
                    Blame::Keys { is_refused: false } => {
                        model.targets().answered_after(target, begun.elapsed().max(FAILS));
                    }
                    Blame::Request | Blame::Busy => {}
                }
                model.metrics[target].asked(operation, Some(failed.fault.kind.label()), begun.elapsed());
            }
        }
        result
    }

    async fn ask(&self, lease: Lease, record: &mut Record) -> Result<Got, Failed> {
        let (call, config) = (self.call(), &self.model().config);
        let (target, provider) = (&config.targets[lease.target], &self.model().providers[lease.target]);
        let named = rewrite::name_at(config, target, &call.model);
        let accepted = self.routed.permitted().classified().accepted();
        record.ask(self.model(), lease.target, &named, accepted.snapshot.models.prices(&target.provider));
        let client_headers = &accepted.head.headers;
        let written = rewrite::write(call, client_headers, config, (&provider.config, lease.api, &named));
        let mut written = written.map_err(Failed::untold)?;
        self.outgoing.inject(&mut written.headers);
        // What others of the mesh say of a trace is nothing to a provider.
        written.headers.remove(quorate_telemetry::context::TRACESTATE);
        let until = Instant::now() + provider.config.limits.total;
        let is_streamed = call.is_streamed && Dialect::of(call.api).is_some();
        let asked = Instant::now();
        let ask = Ask {
            model: &named,
            path: &written.path,
            headers: &written.headers,
            body: &written.body,
            is_streamed,
            until,
        };
        let Reply { answer, held } = provider.provider.ask(&ask).await.map_err(Failed::from)?;
        let is_whole = matches!(answer, Answer::Whole(_));
        let (first, events) = match (answer, is_streamed) {
            (Answer::Whole(body), false) => return self.whole(&lease, body, written, record),
            (Answer::Whole(body), true) => pieces_of(lease.api, &body)?,
            (Answer::Events(first, events), true) => (first, events),
            (Answer::Events(..), false) => {
                return Err(Failed::broken("the provider answered as a stream what was asked whole"));
            }
        };
        let between = provider.config.limits.between_tokens;
        let patience = (asked + provider.config.limits.first_token).min(until);
        let begun = self.begin((first, events, is_whole), (between, until, asked), (held, lease));
        let late = || Failed::late(provider.config.limits.first_token);
        let begun = timeout_at(patience, begun).await.map_err(|_| late())??;
        Ok(Got::Events(Box::new(begun), written.losses))
    }

    /// The provider's shape, and how the client asks in its own; nothing for what is no conversation.
    fn conversation(&self, lease: &Lease) -> Option<(Dialect, Asked<'_>)> {
        let call = self.call();
        let (provider, client) = Dialect::of(lease.api).zip(Dialect::of(call.api))?;
        let body = std::str::from_utf8(&call.body).expect("it was classified");
        Some((provider, Asked { client, body, wants_usage: call.wants_usage }))
    }

    /// Reads a whole answer, and says it in the client's shape.
    fn whole(&self, lease: &Lease, body: Bytes, written: Written, record: &mut Record) -> Result<Got, Failed> {
        let call = self.call();
        let Some((provider, asked)) = self.conversation(lease) else {
            let usage = meter::usage_of(call.api, &body).map_err(Failed::of_provider)?;
            record.meter.count(&body);
            if call.api == Api::Embeddings && usage.is_none_or(|usage| usage.is_nothing()) {
                record.uncounted = Some(Uncounted { asked: self.keep(), said: Sample::default() });
            }
            record.end(Outcome::Ok, usage);
            return Ok(Got::Whole { body, losses: written.losses, is_ended: true });
        };
        let client = asked.client;
        let (answer, is_read) = match read_whole(provider, &body) {
            Ok(answer) => (answer, true),
            // The client may know more of its shape than the view does.
            Err(_) if provider == client && dialect::is_answer(client, &body) => {
                (quorate_llm::Answer { usage: dialect::usage_of(client, &body), ..Default::default() }, false)
            }
            Err(fault) => return Err(Refused::by_event(fault).into()),
        };
        let body = match provider == client {
            true => body,
            false => {
                let mint = Minted::new();
                // The provider has answered, and would again.
                codec::write_answer(&answer, &asked, &mint.mint()).map_err(Failed::unsaid)?.into()
            }
        };
        record.meter.count(&body);
        record.answered(&answer.id, &answer.model, answer.choices.iter().map(|choice| &choice.stop));
        if is_read && answer.usage.is_none_or(|usage| usage.is_nothing()) {
            record.uncounted = Some(Uncounted { asked: self.keep(), said: Sample::of(&answer.choices) });
        }
        let outcome = |stop| Outcome::of(&State::Done, stop);
        let mut stops = answer.choices.iter().map(|choice| Some(&choice.stop));
        let is_ended = is_read && stops.clone().all(|stop| outcome(stop) == Outcome::Ok);
        record.end(outcome(stops.next().flatten()), answer.usage);
        Ok(Got::Whole { body, losses: written.losses, is_ended })
    }

    /// Reads a stream until it says something of the answer.
    async fn begin(
        &self,
        (first, mut events, is_whole): (Event, EventStream<Body>, bool),
        (between, until, asked): (Duration, Instant, Instant),
        (held, lease): (Held, Lease),
    ) -> Result<Begun, Failed> {
        let (provider, asked_as) = self.conversation(&lease).ok_or_else(Failed::not_streamed)?;
        let mut exchange = Exchange::new(provider, &asked_as);
        let (mint, mut ready, mut next) = (Minted::new(), VecDeque::new(), Some(first));
        loop {
            match next {
                Some(event) => match exchange.take(&stream::received(&event), &mint.mint()) {
                    Sent::Same => ready.push_back(event),
                    Sent::Events(sent) => ready.extend(sent.into_iter().map(stream::event)),
                },
                None => ready.extend(exchange.end(&mint.mint()).into_iter().map(stream::event)),
            }
            if let State::Failed(fault) = exchange.state()
                && !exchange.has_said()
            {
                return Err(Refused::by_event(fault.clone()).into());
            }
            let is_over = matches!(exchange.state(), State::Done | State::Failed(_));
            let kept_back: usize = ready.iter().map(|event: &Event| event.data.len()).sum();
            let is_too_much = ready.len() >= KEPT_BACK_MAX || kept_back >= KEPT_BACK_BYTES_MAX;
            if is_over || exchange.has_said() || is_too_much {
                return Ok(Begun { events, exchange, ready, mint, between, until, asked, is_whole, held, lease });
            }
            next = match events.next().await {
                Some(Ok(event)) => Some(event),
                Some(Err(error)) => {
                    return Err(Failed::of_provider(stream::broken(&error)));
                }
                None => None,
            };
        }
    }
}

/// Reads a whole answer of a conversation.
fn read_whole(provider: Dialect, body: &[u8]) -> Result<quorate_llm::Answer, Fault> {
    let answer = codec::read_answer(provider, body)?;
    // Gemini may have nothing to say, and says why; all others have the member that makes it an answer.
    if provider == Dialect::Generate || dialect::is_answer(provider, body) {
        Ok(answer)
    } else {
        Err(dialect::no_answer())
    }
}

/// Spells a whole answer as the stream that was asked for: some servers do not stream.
fn pieces_of(api: Api, body: &[u8]) -> Result<(Event, EventStream<Body>), Failed> {
    let provider = Dialect::of(api).ok_or_else(Failed::not_streamed)?;
    let events = pieces::of_whole(provider, body).map_err(Failed::of_provider)?;
    let mut events = events.into_iter().map(stream::event);
    let first = events.next().expect("there is one at least");
    let mut rest = Vec::new();
    events.for_each(|event| rest.extend_from_slice(&sse::encode(&event)));
    // Their size is bounded by the answer's, which has a bound.
    Ok((first, EventStream::new(Body::full(rest.into()), usize::MAX)))
}

/// A place at a target whose call goes on; what is given up by its client is noted as well.
struct Pending {
    model: Arc<ModelTable>,
    target: usize,
    begun: Instant,
    is_over: bool,
}

// === impl Pending ===

impl Drop for Pending {
    fn drop(&mut self) {
        if self.is_over {
            return;
        }
        // Nobody waited for the end: what is known is that it took so long at least.
        let elapsed = self.begun.elapsed();
        self.model.targets().answered_after(self.target, elapsed);
        if elapsed >= HANGS {
            note(&self.model, self.target, quorate_scheduler::Outcome::Failure);
        }
    }
}

// === impl Lease ===

impl Lease {
    /// Notes how a stream ended, which had begun well.
    pub(super) fn ended(&self, error: Option<Kind>, elapsed: Duration) {
        let outcome = match error {
            None => quorate_scheduler::Outcome::Success,
            Some(_) => quorate_scheduler::Outcome::Failure,
        };
        note(&self.model, self.target, outcome);
        let operation = operation_of(self.api);
        self.model.metrics[self.target].asked(operation, error.map(Kind::label), elapsed);
    }
}

impl Drop for Lease {
    fn drop(&mut self) {
        self.model.targets().end(self.target);
    }
}

/// Whether a target is called by one name there, so that what limits the name limits the target.
fn has_one_name(config: &quorate_config::Model, target: usize) -> bool {
    match config.targets[target].model {
        TargetModel::Named(_) => true,
        TargetModel::AsAsked | TargetModel::Renamed(_) => {
            matches!(&config.names[..], [name] if name.wildcards() == 0)
        }
    }
}

/// Notes how a target did, and tells of what that changes.
fn note(model: &ModelTable, target: usize, outcome: quorate_scheduler::Outcome) {
    let changed = model.targets().report(target, outcome, clock::now());
    let provider = &model.config.targets[target].provider;
    match changed {
        Some(Change::Ejected { until, usable_left }) => {
            let model = &model.config.name;
            tracing::warn!(%model, target, %provider, %until, usable_left, "a target of a model is left out: it failed too often");
        }
        Some(Change::Reinstated) => {
            tracing::info!(model = %model.config.name, target, %provider, "a target of a model answers again");
        }
        None => {}
    }
}
