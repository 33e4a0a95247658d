//! The numbers of one target of a model: a provider's answers for it.
//!
//! Names and attributes are those of the OpenTelemetry semantic conventions for generative AI, as far as they have them: what the mesh
//! serves is `gen_ai.server.*`, what it asks providers is `gen_ai.client.*`. Models and providers are named as in the configuration and
//! never as clients write them, so that nobody who calls can add a series. What an ordinary call counts is bound to its attributes at
//! first use; what fails is looked up.

use std::sync::{Arc, OnceLock};
use std::time::Duration;

use opentelemetry::KeyValue;
use opentelemetry::metrics::{BoundCounter, BoundHistogram, Counter, Histogram, Meter};

use super::duration;
use crate::names::{attribute, metric};

/// Bounds of numbers of tokens: of the semantic conventions.
const TOKEN_BUCKETS: [f64; 14] = [
    1.0,
    4.0,
    16.0,
    64.0,
    256.0,
    1_024.0,
    4_096.0,
    16_384.0,
    65_536.0,
    262_144.0,
    1_048_576.0,
    4_194_304.0,
    16_777_216.0,
    67_108_864.0,
];

/// What is asked of a model, as the conventions name it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum ModelOperation {
    /// An answer in a conversation.
    Chat,
    /// The same in Gemini's shape.
    GenerateContent,
    /// Embeddings.
    Embeddings,
    /// A count of tokens, for which the conventions have no name.
    CountTokens,
}

/// What one call of a client came to.
#[derive(Clone, Copy, Debug)]
pub struct ModelCall {
    /// What was asked.
    pub operation: ModelOperation,
    /// How it failed, if it did; of a closed set.
    pub error: Option<&'static str>,
    /// From the request to the end of the answer.
    pub elapsed: Duration,
    /// From the request to the first token, of a stream.
    pub first_token: Option<Duration>,
    /// Between two tokens of a stream, in the mean.
    pub per_token: Option<Duration>,
    /// Tokens of the input and the output, where they are known.
    pub tokens: Option<(u64, u64)>,
    /// Whether the gateway has counted them, at least in part, since the provider did not tell.
    pub is_counted: bool,
    /// What it cost in billionths of a dollar, where its price is known.
    pub cost: Option<u64>,
}

/// What is counted about one target of a model. Clones are one.
#[derive(Clone)]
pub struct ModelMetrics {
    inner: Arc<Inner>,
}

#[derive(Clone)]
pub(super) struct Instruments {
    asked: Histogram<f64>,
    tokens: Histogram<u64>,
    served: Histogram<f64>,
    first_token: Histogram<f64>,
    per_token: Histogram<f64>,
    cost: Counter<f64>,
    cost_unknown: Counter<u64>,
    counted: Counter<u64>,
    retries: Counter<u64>,
    cache: Counter<u64>,
}

struct Inner {
    instruments: Instruments,
    names: [KeyValue; 2],
    cells: [OnceLock<Cells>; ModelOperation::ALL.len()],
    cost: BoundCounter<f64>,
    cost_unknown: BoundCounter<u64>,
}

/// What calls of one operation count that come to a good end.
struct Cells {
    asked: BoundHistogram<f64>,
    served: BoundHistogram<f64>,
    first_token: BoundHistogram<f64>,
    per_token: BoundHistogram<f64>,
    tokens: [BoundHistogram<u64>; 2],
}

// === impl ModelOperation ===

impl ModelOperation {
    const ALL: [Self; 4] = [Self::Chat, Self::GenerateContent, Self::Embeddings, Self::CountTokens];

    /// Its name in the conventions.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Chat => "chat",
            Self::GenerateContent => "generate_content",
            Self::Embeddings => "embeddings",
            Self::CountTokens => "count_tokens",
        }
    }
}

// === impl Instruments ===

impl Instruments {
    pub(super) fn new(meter: &Meter) -> Self {
        let counter = |name, description| meter.u64_counter(name).with_description(description).build();
        let tokens = meter.u64_histogram(metric::TOKEN_USAGE).with_unit("{token}");
        let tokens = tokens.with_description("Tokens of calls of models, by their provider's count where it tells one");
        Self {
            asked: duration(
                meter,
                metric::MODEL_OPERATION_DURATION,
                "Time from asking a provider to the end of its answer",
            ),
            tokens: tokens.with_boundaries(TOKEN_BUCKETS.to_vec()).build(),
            served: duration(
                meter,
                metric::MODEL_REQUEST_DURATION,
                "Time from a client's request of a model to the end of its answer",
            ),
            first_token: duration(
                meter,
                metric::TIME_TO_FIRST_TOKEN,
                "Time from a client's request of a model to the first token of a stream",
            ),
            per_token: duration(
                meter,
                metric::TIME_PER_OUTPUT_TOKEN,
                "Time between two tokens of a stream, in the mean of a call",
            ),
            cost: meter
                .f64_counter(metric::MODEL_COST)
                .with_description("What calls of models cost, in dollars, where that is known")
                .build(),
            cost_unknown: counter(metric::MODEL_COST_UNKNOWN, "Answers of models whose cost is not known"),
            counted: counter(metric::MODEL_COUNTED, "Calls of models whose tokens the gateway counted itself"),
            retries: counter(metric::MODEL_RETRIES, "Calls of models that were tried again"),
            cache: counter(metric::MODEL_CACHE, "Calls of models that could be answered from the cache"),
        }
    }
}

// === impl ModelMetrics ===

impl ModelMetrics {
    pub(super) fn new(model: &str, provider: &str, instruments: &Instruments) -> Self {
        let names = [
            KeyValue::new(attribute::REQUEST_MODEL, model.to_owned()),
            KeyValue::new(attribute::PROVIDER, provider.to_owned()),
        ];
        let (cost, cost_unknown) = (instruments.cost.bind(&names), instruments.cost_unknown.bind(&names));
        let cells = std::array::from_fn(|_| OnceLock::new());
        let inner = Inner { instruments: instruments.clone(), names, cells, cost, cost_unknown };
        Self { inner: Arc::new(inner) }
    }

    /// Counts one question to the provider, which may be one of several that a call needs.
    pub fn asked(&self, operation: ModelOperation, error: Option<&'static str>, elapsed: Duration) {
        let seconds = elapsed.as_secs_f64();
        match error {
            None => self.cells(operation).asked.record(seconds),
            Some(error) => self.inner.instruments.asked.record(seconds, &self.inner.failed(operation, error)),
        }
    }

    /// Counts a call that this target was the last to be asked for.
    pub fn called(&self, call: &ModelCall) {
        let (cells, seconds) = (self.cells(call.operation), call.elapsed.as_secs_f64());
        match call.error {
            None => cells.served.record(seconds),
            Some(error) => self.inner.instruments.served.record(seconds, &self.inner.failed(call.operation, error)),
        }
        if let Some(elapsed) = call.first_token {
            cells.first_token.record(elapsed.as_secs_f64());
        }
        if let Some(elapsed) = call.per_token {
            cells.per_token.record(elapsed.as_secs_f64());
        }
        if let Some((input, output)) = call.tokens {
            cells.tokens[0].record(input);
            cells.tokens[1].record(output);
        }
        if call.is_counted {
            self.inner.instruments.counted.add(1, &self.inner.names);
        }
        match call.cost {
            #[expect(clippy::cast_precision_loss, reason = "a million dollars have 15 digits in billionths")]
            Some(cost) => self.inner.cost.add(cost as f64 / 1e9),
            // To count is free.
            None if call.error.is_none() && call.operation != ModelOperation::CountTokens => {
                self.inner.cost_unknown.add(1);
            }
            None => {}
        }
    }

    /// Counts a call that is tried again after this target.
    pub fn retried(&self, reason: &'static str) {
        self.inner.instruments.retries.add(1, &self.inner.with(attribute::REASON, reason));
    }

    fn cells(&self, operation: ModelOperation) -> &Cells {
        self.inner.cells[operation as usize].get_or_init(|| {
            let inner = &self.inner;
            let names = inner.with(attribute::GEN_AI_OPERATION, operation.as_str());
            let tokens = |kind: &'static str| {
                let mut all = names.to_vec();
                all.push(KeyValue::new(attribute::TOKEN_TYPE, kind));
                inner.instruments.tokens.bind(&all)
            };
            Cells {
                asked: inner.instruments.asked.bind(&names),
                served: inner.instruments.served.bind(&names),
                first_token: inner.instruments.first_token.bind(&names),
                per_token: inner.instruments.per_token.bind(&names),
                tokens: [tokens("input"), tokens("output")],
            }
        })
    }
}

impl std::fmt::Debug for ModelMetrics {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let [model, provider] = &self.inner.names;
        write!(f, "ModelMetrics({} at {})", model.value, provider.value)
    }
}

// === impl Inner ===

impl Inner {
    fn with(&self, key: &'static str, value: &'static str) -> [KeyValue; 3] {
        let [model, provider] = self.names.clone();
        [model, provider, KeyValue::new(key, value)]
    }

    fn failed(&self, operation: ModelOperation, error: &'static str) -> [KeyValue; 4] {
        let [model, provider, operation] = self.with(attribute::GEN_AI_OPERATION, operation.as_str());
        [model, provider, operation, KeyValue::new(attribute::ERROR_TYPE, error)]
    }
}

// === impl super::Metrics ===

impl super::Metrics {
    /// Makes the numbers of a target: of a model at a provider, both by their names in the configuration.
    #[must_use]
    pub fn model(&self, model: &str, provider: &str) -> ModelMetrics {
        ModelMetrics::new(model, provider, &self.inner.model)
    }

    /// Counts a call that could be answered from a model's cache: `hit`, `miss`, or why it was not looked there.
    pub fn model_cache(&self, model: &str, result: &'static str) {
        let attributes =
            [KeyValue::new(attribute::REQUEST_MODEL, model.to_owned()), KeyValue::new(attribute::RESULT, result)];
        self.inner.model.cache.add(1, &attributes);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::metrics::Metrics;

    /// The value of the series with this name and these labels.
    fn series(text: &str, name: &str, labels: &[&str]) -> Option<f64> {
        let is_it = |line: &&str| line.starts_with(name) && labels.iter().all(|label| line.contains(label));
        text.lines().find(is_it)?.rsplit_once(' ')?.1.parse().ok()
    }

    #[test]
    fn metrics_of_models_have_the_names_of_the_conventions() {
        let metrics = Metrics::new("1.2.3");
        let target = metrics.model("small", "gpus");
        let call = ModelCall {
            operation: ModelOperation::Chat,
            error: None,
            elapsed: Duration::from_secs(1),
            first_token: Some(Duration::from_millis(50)),
            per_token: Some(Duration::from_millis(10)),
            tokens: Some((1, 1)),
            is_counted: false,
            cost: Some(1_000_000_000),
        };
        target.called(&call);
        target.called(&ModelCall {
            error: Some("timeout"),
            first_token: None,
            per_token: None,
            tokens: None,
            cost: None,
            ..call
        });
        target.called(&ModelCall { first_token: None, per_token: None, tokens: None, cost: None, ..call });
        target.called(&ModelCall { operation: ModelOperation::CountTokens, cost: None, is_counted: true, ..call });
        target.asked(ModelOperation::Chat, None, Duration::from_secs(1));
        target.retried("overloaded");
        metrics.model_cache("small", "hit");

        let named = ["gen_ai_request_model=\"small\"", "gen_ai_provider_name=\"gpus\""];
        let one = |name: &str, more: &str| {
            let labels = [named[0], named[1], more];
            assert_eq!(series(&metrics.render(), name, &labels), Some(1.0), "{name} {more}\n{}", metrics.render());
        };
        one("gen_ai_server_request_duration_seconds_count", "error_type=\"timeout\"");
        one("gen_ai_server_time_to_first_token_seconds_count", "gen_ai_operation_name=\"chat\"");
        one("gen_ai_server_time_per_output_token_seconds_count", "gen_ai_operation_name=\"chat\"");
        one("gen_ai_client_operation_duration_seconds_count", "gen_ai_operation_name=\"chat\"");
        one("gen_ai_client_token_usage_count", "gen_ai_token_type=\"input\"");
        one("gen_ai_client_token_usage_count", "gen_ai_token_type=\"output\"");
        one("quorate_model_retries_total", "quorate_reason=\"overloaded\"");
        assert_eq!(series(&metrics.render(), "quorate_model_cost_total", &named), Some(1.0));
        assert_eq!(series(&metrics.render(), "quorate_model_cost_unknown_total", &named), Some(1.0));
        assert_eq!(series(&metrics.render(), "quorate_model_counted_total", &named), Some(1.0));
        assert_eq!(series(&metrics.render(), "quorate_model_cache_total", &["quorate_result=\"hit\""]), Some(1.0));
    }
}
