//! Records of calls, from our events to a real receiver.
//!
//! What is a record and what is none, its fields by the names that they have in the log, and that what gets to no collector is
//! counted.

use std::time::Duration;

use opentelemetry_proto::tonic::collector::logs::v1::{ExportLogsPartialSuccess, ExportLogsServiceResponse};
use opentelemetry_proto::tonic::common::v1::any_value::Value;
use opentelemetry_proto::tonic::logs::v1::LogRecord;
use tonic::Status;

use super::{Collector, SAMPLED, context, hex, text, with_export};
use crate::Metrics;
use crate::names::RECORD_TARGET;
use crate::setup::{self, Config, Guard, Otlp};

#[tokio::test(flavor = "multi_thread")]
async fn what_is_logged_as_a_record_is_exported_as_one_and_nothing_else_is() {
    let collector = with_export(0.0, 0, |_| {
        tracing::info!(
            target: RECORD_TARGET,
            trace = %context(SAMPLED, None).trace_id(),
            model = "small",
            user = None::<&str>,
            streamed = true,
            input_tokens = Some(7_u64),
            "a model was called"
        );
        tracing::info!(model = "small", "no record");
        tracing::error!(target: "quorate::calls", "no record either");
    })
    .await;

    let records = collector.records();
    let [record] = &records[..] else { panic!("one record: {records:?}") };
    let body = record.body.clone().and_then(|body| body.value);
    assert_eq!(body, Some(Value::StringValue("a model was called".to_owned())));
    assert_eq!((record.event_name.as_str(), record.severity_text.as_str()), ("quorate.model.call", "INFO"));
    assert_eq!(hex(&record.trace_id), "4bf92f3577b34da6a3ce929d0e0e4736");
    let keys: Vec<&str> = record.attributes.iter().map(|one| one.key.as_str()).collect();
    assert_eq!(keys, ["trace", "model", "streamed", "input_tokens"], "what is not there is left out");
    assert_eq!(text(&record.attributes, "model").as_deref(), Some("small"));
    assert_eq!(text(&record.attributes, "input_tokens").as_deref(), Some("IntValue(7)"));
    assert_eq!(text(&record.attributes, "streamed").as_deref(), Some("BoolValue(true)"));
}

/// Telemetry that sends records to an endpoint, and what it counts of them.
fn sending(otlp: Otlp) -> (impl tracing::Subscriber + Send + Sync, Guard) {
    let config = Config { log_filter: "off".to_owned(), otlp: Some(otlp), ..Config::default() };
    setup::build(&config).expect("the configuration is valid")
}

async fn until(what: impl Fn() -> bool, otherwise: impl Fn() -> String) {
    let waiting = async {
        while !what() {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    assert!(tokio::time::timeout(Duration::from_secs(20), waiting).await.is_ok(), "{}", otherwise());
}

fn call(number: u64) {
    tracing::info!(target: RECORD_TARGET, number, "a model was called");
}

fn numbers(collector: &Collector) -> Vec<u64> {
    let number = |record: &LogRecord| match record.attributes[0].value.clone().and_then(|value| value.value) {
        Some(Value::IntValue(number)) => number.unsigned_abs(),
        other => panic!("{other:?}"),
    };
    collector.records().iter().map(number).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn records_that_do_not_get_to_a_collector_are_counted() {
    let (subscriber, guard) = sending(Otlp {
        timeout: Duration::from_millis(200),
        records_delay: Duration::from_millis(10),
        ..Otlp::new("http://127.0.0.1:9")
    });
    tracing::subscriber::with_default(subscriber, || (0..3).for_each(call));

    let metrics = guard.metrics().clone();
    let expected = "quorate_records_dropped_total{quorate_reason=\"export\"} 3";
    until(|| metrics.render().contains(expected), || metrics.render()).await;
    guard.shutdown().await;
    assert!(!Metrics::new("0").render().contains("quorate_records"), "a node without a collector has none");
}

#[tokio::test(flavor = "multi_thread")]
async fn batches_are_sent_when_they_are_full_and_the_rest_at_the_end() {
    let collector = Collector::default();
    let endpoint = collector.serve().await;
    let (subscriber, guard) = sending(Otlp { records_delay: Duration::from_secs(3600), ..Otlp::new(endpoint) });
    tracing::subscriber::with_default(subscriber, || (0..300).for_each(call));

    until(|| collector.records().len() >= 256, || format!("{:?}", numbers(&collector))).await;
    assert_eq!(collector.records().len(), 256, "two batches; nothing else is due");
    guard.shutdown().await;
    assert_eq!(numbers(&collector), (0..300).collect::<Vec<_>>(), "all of them, as they came");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_collector_cannot_take_now_is_sent_again_and_what_it_rejects_is_counted() {
    let collector = Collector::default();
    let endpoint = collector.serve().await;
    let partly = ExportLogsPartialSuccess { rejected_log_records: 2, error_message: "too old".to_owned() };
    collector.answers.lock().expect("no test panics with it").extend([
        Err(Status::unavailable("starting")),
        Err(Status::resource_exhausted("full")),
        Ok(ExportLogsServiceResponse { partial_success: Some(partly) }),
        Err(Status::unimplemented("no logs here")),
    ]);
    let (subscriber, guard) = sending(Otlp { records_delay: Duration::from_millis(10), ..Otlp::new(endpoint) });
    let metrics = guard.metrics().clone();
    let lost = |count: u64| format!("quorate_records_dropped_total{{quorate_reason=\"export\"}} {count}");
    let subscriber = tracing::Dispatch::new(subscriber);

    tracing::dispatcher::with_default(&subscriber, || (0..5).for_each(call));
    until(|| metrics.render().contains(&lost(2)), || metrics.render()).await;
    assert_eq!(numbers(&collector), [0, 1, 2, 3, 4], "after two refusals, once");

    tracing::dispatcher::with_default(&subscriber, || call(5));
    until(|| metrics.render().contains(&lost(3)), || metrics.render()).await;
    tracing::dispatcher::with_default(&subscriber, || call(6));
    guard.shutdown().await;
    assert_eq!(numbers(&collector), [0, 1, 2, 3, 4, 6], "what may not be sent again is not, and the next is sent");
}
