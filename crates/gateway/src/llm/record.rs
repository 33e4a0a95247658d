//! What a call of a model came to: counted, and written down once, however it ends.
//!
//! A [`Record`] begins when it is known what is asked, travels with the call into the body of its answer, and is written when it is
//! dropped: what nobody finished was given up by its client, or ran out of time. Payloads are no part of it. Tokens are the provider's
//! count; their price is the target's own, or the catalog's.

use std::sync::Arc;
use std::time::{Duration, Instant};

use quorate_llm::Api;
use quorate_llm::answer::Usage;
use quorate_llm::error::Kind;
use quorate_llm::meter::{Meter, Outcome};
use quorate_llm::price::Cost;
use quorate_telemetry::names::attribute;
use quorate_telemetry::{ModelCall, ModelOperation, Trace, TraceId};
use quorate_types::Principal;

use super::authorize::Permitted;
use super::classify::Classified;
use super::refusal::Refusal;
use super::table::ModelTable;
use crate::snapshot::Services;

/// One call, from the moment that it is understood.
pub(crate) struct Record {
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
    attempts: u32,
    first_token: Option<Duration>,
    /// What went back and forth.
    pub(super) meter: Meter,
    /// How it failed before anybody was asked.
    refused: Option<&'static str>,
    /// What the cache said, where it was asked.
    cache: Option<&'static str>,
    outcome: Option<Outcome>,
    /// How long the listener lets it take until its answer is there or begins.
    total: Option<Duration>,
}

/// Notes in a sampled trace what is asked.
pub(super) fn begin(trace: &mut Trace, permitted: &Permitted) {
    if trace.is_sampled() {
        let call = permitted.classified().call();
        let operation = operation_of(call.api).as_str();
        trace.operation(operation, Some(permitted.model().config.name.as_str()), None);
        trace.set(attribute::GEN_AI_OPERATION, operation);
        trace.set(attribute::REQUEST_MODEL, call.model.clone());
    }
}

// === impl Record ===

impl Record {
    pub(super) fn new(classified: &Classified) -> Self {
        let (accepted, call) = (classified.accepted(), classified.call());
        Self {
            services: Arc::clone(&accepted.snapshot.services),
            principal: Arc::clone(&classified.caller().principal),
            trace: accepted.trace,
            started: classified.started(),
            api: call.api,
            asked: call.model.clone(),
            is_streamed: call.is_streamed,
            model: None,
            target: None,
            attempts: 0,
            first_token: None,
            meter: Meter::new(&call.body),
            refused: None,
            cache: None,
            outcome: None,
            total: accepted.listener().map(|listener| listener.config.limits.total),
        }
    }

    /// Notes that a stage turned the call away.
    pub(super) fn refuse(&mut self, refusal: &Refusal) {
        self.refused = Some(refusal.label().1);
    }

    /// Notes that a target is asked.
    pub(super) fn ask(&mut self, model: &Arc<ModelTable>, target: usize, named: &str) {
        self.model.get_or_insert_with(|| Arc::clone(model));
        self.target = Some((target, named.to_owned()));
        self.attempts += 1;
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

    fn cost(&self) -> Option<Cost> {
        let (model, (target, _)) = (self.model.as_ref()?, self.target.as_ref()?);
        Some(model.config.targets.get(*target)?.price?.cost(&self.meter.usage?))
    }

    /// The time between two tokens, in the mean of those after the first.
    fn per_token(&self, elapsed: Duration) -> Option<Duration> {
        let later = u32::try_from(self.meter.usage?.output).ok()?.checked_sub(1).filter(|later| *later > 0)?;
        Some(elapsed.saturating_sub(self.first_token?) / later)
    }
}

impl Drop for Record {
    fn drop(&mut self) {
        let elapsed = self.started.elapsed();
        let is_late = self.total.is_some_and(|total| elapsed >= total) && self.first_token.is_none();
        let given_up = if is_late { Outcome::Fault(Kind::Timeout) } else { Outcome::Abandoned };
        let outcome = self.outcome.unwrap_or(given_up);
        let (usage, cost) = (self.meter.usage, self.cost());
        let label = self.refused.unwrap_or(outcome.label());
        let first_token = self.first_token.filter(|_| self.is_streamed);
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
                cost: cost.map(|cost| cost.0),
            });
        }
        if let (Some(model), Some(said)) = (&self.model, self.cache) {
            self.services.metrics.model_cache(model.config.name.as_str(), said);
        }
        let provider = self.model.as_ref().zip(self.target.as_ref());
        let provider = provider.map(|(model, (target, _))| model.config.targets[*target].provider.as_str());
        tracing::info!(
            target: "quorate::call",
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
