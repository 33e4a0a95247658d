//! What a call of a model came to: counted, and written down once, however it ends.
//!
//! A [`Record`] begins when it is known what is asked, travels with the call into the body of its answer, and is written when it is
//! dropped: what nobody finished was given up by its client, or ran out of time. Payloads are no part of it. Tokens are the provider's
//! count; their price is the target's own, else that of its provider's file, else unknown, which is never a cost of 0.

use std::ops::{Deref, DerefMut};
use std::sync::Arc;
use std::time::{Duration, Instant};

use quorate_llm::Api;
use quorate_llm::answer::{Stop, Usage};
use quorate_llm::error::Kind;
use quorate_llm::meter::{Meter, Outcome};
use quorate_llm::price::{Catalog, Cost, Price};
use quorate_telemetry::names::{RECORD_TARGET, attribute};
use quorate_telemetry::trace::{StringValue, Value};
use quorate_telemetry::{ModelCall, ModelOperation, Trace, TraceId, trace};
use quorate_types::Principal;
use tracing::Span;

use super::authorize::Permitted;
use super::classify::Classified;
use super::count::{self, Uncounted};
use super::refusal::Refusal;
use super::table::ModelTable;
use crate::listener;
use crate::snapshot::Services;

const UNTIL_DROPPED: &str = "facts are there until the record is dropped";

/// One call, from the moment that it is understood. It is written when it is dropped.
pub(crate) struct Record(Option<Box<Facts>>);

/// What is known of a call.
pub(crate) struct Facts {
    services: Arc<Services>,
    principal: Arc<Principal>,
    trace: TraceId,
    started: Instant,
    api: Api,
    asked: String,
    is_streamed: bool,
    model: Option<Arc<ModelTable>>,
    /// The target that was asked last, and the model as it is called there.
    target: Option<(usize, String)>,
    /// The prices of its provider, as they were when it was asked.
    prices: Option<Arc<Catalog>>,
    attempts: u32,
    first_token: Option<Duration>,
    /// What went back and forth.
    pub(super) meter: Meter,
    /// What its tokens are counted of, where its provider tells none.
    pub(super) uncounted: Option<Uncounted>,
    /// Whether the gateway has counted its tokens.
    is_counted: bool,
    /// How long it took, once it is over.
    elapsed: Option<Duration>,
    /// How it failed before anybody was asked.
    refused: Option<&'static str>,
    /// What the cache said, where it was asked.
    cache: Option<&'static str>,
    outcome: Option<Outcome>,
    /// The span of a call that is sampled.
    span: Span,
    /// How long the listener lets it take until its answer is there or begins.
    total: Option<Duration>,
}

// === impl Record ===

impl Record {
    pub(super) fn new(classified: &Classified) -> Self {
        let (accepted, call) = (classified.accepted(), classified.call());
        Self(Some(Box::new(Facts {
            services: Arc::clone(&accepted.snapshot.services),
            principal: Arc::clone(&classified.caller().principal),
            trace: accepted.trace,
            started: classified.started(),
            api: call.api,
            asked: call.model.clone(),
            is_streamed: call.is_streamed,
            model: None,
            target: None,
            prices: None,
            attempts: 0,
            first_token: None,
            meter: Meter::new(&call.body),
            uncounted: None,
            is_counted: false,
            elapsed: None,
            refused: None,
            cache: None,
            outcome: None,
            span: Span::none(),
            total: accepted.listener().map(|listener| listener.config.limits.total),
        })))
    }
}

impl Deref for Record {
    type Target = Facts;

    fn deref(&self) -> &Facts {
        self.0.as_deref().expect(UNTIL_DROPPED)
    }
}

impl DerefMut for Record {
    fn deref_mut(&mut self) -> &mut Facts {
        self.0.as_deref_mut().expect(UNTIL_DROPPED)
    }
}

impl Drop for Record {
    fn drop(&mut self) {
        let Some(mut facts) = self.0.take() else { return };
        facts.close();
        let Some(uncounted) = facts.uncounted.take() else { return facts.write() };
        let Some(place) = facts.services.counting.place() else {
            facts.services.metrics.limit_hit(count::LIMIT);
            return facts.write();
        };
        let mut later = Self(Some(facts));
        place.run(move || later.count(&uncounted));
    }
}

// === impl Facts ===

impl Facts {
    /// Begins the span of the call, where it is sampled, with what is asked.
    pub(super) fn begin(&mut self, trace: &mut Trace, permitted: &Permitted) {
        if trace.is_sampled() {
            let (call, name) = (permitted.classified().call(), permitted.model().config.name.as_str());
            self.span = trace.call(operation_of(call.api).as_str(), name);
            trace.set(attribute::REQUEST_MODEL, call.model.clone());
            trace.set(attribute::MODEL, name.to_owned());
        }
    }

    /// Notes in a sampled span what its provider says of an answer, other than the answer.
    pub(super) fn answered<'a>(&self, id: &str, model: &str, stops: impl Iterator<Item = &'a Stop>) {
        if self.span.is_none() {
            return;
        }
        for (key, said) in [(attribute::RESPONSE_ID, id), (attribute::RESPONSE_MODEL, model)] {
            if !said.is_empty() {
                trace::set(&self.span, key, listener::shortened(said));
            }
        }
        let reasons: Vec<StringValue> = stops.map(|stop| stop.label().into()).collect();
        if !reasons.is_empty() {
            trace::set(&self.span, attribute::FINISH_REASONS, Value::Array(reasons.into()));
        }
    }

    /// Notes that a stage turned the call away.
    pub(super) fn refuse(&mut self, refusal: &Refusal) {
        self.refused = Some(refusal.label().1);
    }

    /// Notes that a target is asked, whose provider has these prices.
    pub(super) fn ask(&mut self, model: &Arc<ModelTable>, target: usize, named: &str, prices: Option<&Arc<Catalog>>) {
        self.model.get_or_insert_with(|| Arc::clone(model));
        self.target = Some((target, named.to_owned()));
        self.prices = prices.map(Arc::clone);
        self.attempts += 1;
    }

    /// Notes which model is asked, where none of its targets is.
    pub(super) fn named(&mut self, model: &Arc<ModelTable>) {
        self.model.get_or_insert_with(|| Arc::clone(model));
    }

    /// Notes that the cache was asked, and what it said.
    pub(super) fn looked(&mut self, model: &Arc<ModelTable>, said: &'static str) {
        self.model.get_or_insert_with(|| Arc::clone(model));
        self.cache = Some(said);
    }

    /// Notes that the answer has begun.
    pub(super) fn begun(&mut self) {
        self.first_token.get_or_insert_with(|| self.started.elapsed());
    }

    /// Notes how the call ended, and what it cost by its provider.
    pub(super) fn end(&mut self, outcome: Outcome, usage: Option<Usage>) {
        self.outcome.get_or_insert(outcome);
        self.meter.usage = usage.or(self.meter.usage);
    }

    /// Notes that it failed.
    pub(super) fn fail(&mut self, kind: Kind) {
        self.end(Outcome::Fault(kind), None);
    }

    /// Whether it came to a good end.
    pub(super) fn is_ok(&self) -> bool {
        self.outcome == Some(Outcome::Ok)
    }

    /// How many targets were asked.
    pub(super) const fn attempts(&self) -> u32 {
        self.attempts
    }

    /// What tokens cost at the target that was asked last, and what says so.
    fn price(&self) -> Option<(Option<Price>, &'static str)> {
        let (model, (target, named)) = (self.model.as_ref()?, self.target.as_ref()?);
        if let Some(own) = model.config.targets.get(*target)?.price {
            return Some((Some(own), "target"));
        }
        let listed = self.prices.as_ref().and_then(|prices| prices.price(named));
        Some((listed, if listed.is_some() { "file" } else { "unknown" }))
    }

    /// Notes in a sampled span what the call came to.
    fn describe(&self, outcome: Outcome, label: &'static str, cost: Option<Cost>) {
        let set = |key, value: Option<Value>| {
            if let Some(value) = value {
                trace::set(&self.span, key, value);
            }
        };
        let count = |count: u64| Value::from(i64::try_from(count).unwrap_or(i64::MAX));
        let usage = self.meter.usage;
        if let (Some(model), Some((target, named))) = (&self.model, &self.target) {
            let provider = model.config.targets[*target].provider.to_string();
            set(attribute::PROVIDER, Some(provider.into()));
            set(attribute::TARGET_MODEL, Some(named.clone().into()));
        }
        set(attribute::ATTEMPTS, Some(i64::from(self.attempts).into()));
        set(attribute::CACHE, self.cache.map(Value::from));
        set(attribute::INPUT_TOKENS, usage.map(|usage| count(usage.input)));
        set(attribute::CACHED_TOKENS, usage.map(|usage| usage.cached).filter(|told| *told > 0).map(count));
        set(
            attribute::CACHE_WRITTEN_TOKENS,
            usage.map(|usage| usage.cache_written).filter(|told| *told > 0).map(count),
        );
        set(attribute::OUTPUT_TOKENS, usage.map(|usage| count(usage.output)));
        set(attribute::COST, cost.map(|cost| cost.dollars().into()));
        if !outcome.is_answer() {
            trace::fail(&self.span, label);
        }
    }

    /// The time between two tokens, in the mean of those after the first.
    fn per_token(&self, elapsed: Duration) -> Option<Duration> {
        let later = u32::try_from(self.meter.usage?.output).ok()?.checked_sub(1).filter(|later| *later > 0)?;
        Some(elapsed.saturating_sub(self.first_token?) / later)
    }

    /// Notes that it is over, and how it ended where nobody has said.
    fn close(&mut self) {
        let elapsed = match self.elapsed {
            // It is only recorded now.
            Some(_) => return,
            None => *self.elapsed.insert(self.started.elapsed()),
        };
        trace::end(&self.span);
        let is_late = self.total.is_some_and(|total| elapsed >= total) && self.first_token.is_none();
        let given_up = if is_late { Outcome::Fault(Kind::Timeout) } else { Outcome::Abandoned };
        self.outcome.get_or_insert(given_up);
    }

    /// Counts its tokens, as far as its provider has not told them.
    fn count(&mut self, uncounted: &Uncounted) {
        let Some((_, named)) = &self.target else { return };
        if let Some(usage) = uncounted.count(named, self.meter.usage) {
            self.is_counted = self.meter.usage != Some(usage);
            self.meter.usage = Some(usage);
        }
    }

    /// Writes what is known.
    fn write(&self) {
        let (Some(elapsed), Some(outcome)) = (self.elapsed, self.outcome) else { return };
        let (usage, priced) = (self.meter.usage.filter(|usage| !usage.is_nothing()), self.price());
        let counted_by = usage.map(|_| if self.is_counted { "gateway" } else { "provider" });
        let cost = priced.and_then(|(price, _)| Some(price?.cost(&usage?)));
        let label = self.refused.unwrap_or(outcome.label());
        let first_token = self.first_token.filter(|_| self.is_streamed);
        if !self.span.is_none() {
            self.describe(outcome, label, cost);
        }
        if let (Some(model), Some((target, _))) = (&self.model, &self.target)
            && let Some(metrics) = model.metrics.get(*target)
        {
            metrics.called(&ModelCall {
                operation: operation_of(self.api),
                error: (!outcome.is_answer()).then_some(label),
                elapsed,
                first_token,
                per_token: self.per_token(elapsed).filter(|_| self.is_streamed),
                tokens: usage.map(|usage| (usage.input, usage.output)),
                is_counted: self.is_counted,
                cost: cost.map(|cost| cost.0),
            });
        }
        if let (Some(model), Some(said)) = (&self.model, self.cache) {
            self.services.metrics.model_cache(model.config.name.as_str(), said);
        }
        let provider = self.model.as_ref().zip(self.target.as_ref());
        let provider = provider.map(|(model, (target, _))| model.config.targets[*target].provider.as_str());
        tracing::info!(
            target: RECORD_TARGET,
            trace = %self.trace,
            tenant = %self.principal.tenant,
            agent = self.principal.agent.as_deref(),
            user = self.principal.user.as_ref().map(|user| user.subject.as_str()),
            api = self.api.word(),
            asked = self.asked,
            model = self.model.as_ref().map(|model| model.config.name.as_str()),
            provider,
            provider_model = self.target.as_ref().map(|(_, named)| named.as_str()),
            streamed = self.is_streamed,
            result = label,
            cache = self.cache,
            attempts = self.attempts,
            duration_ms = millis(elapsed),
            first_token_ms = first_token.map(millis),
            request_bytes = self.meter.request_bytes,
            answer_bytes = self.meter.answer_bytes,
            input_tokens = usage.map(|usage| usage.input),
            cached_tokens = usage.map(|usage| usage.cached),
            output_tokens = usage.map(|usage| usage.output),
            reasoning_tokens = usage.map(|usage| usage.reasoning),
            counted_by,
            price = priced.map(|(_, by)| by),
            cost_nanodollars = cost.map(|cost| cost.0),
            "a model was called"
        );
    }
}

/// What is asked, as metrics name it.
pub(super) const fn operation_of(api: Api) -> ModelOperation {
    match api {
        Api::Chat | Api::Responses | Api::Messages => ModelOperation::Chat,
        Api::Generate => ModelOperation::GenerateContent,
        Api::Embeddings => ModelOperation::Embeddings,
        Api::CountTokens => ModelOperation::CountTokens,
    }
}

fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}
