//! Records of calls, from our events to a real receiver.
//!
//! What is a record and what is none, its fields by the names that they have in the log, and that what gets to no collector is
//! counted.

use std::time::Duration;

use opentelemetry_proto::tonic::common::v1::any_value::Value;

use super::{SAMPLED, context, hex, text, with_export};
use crate::Metrics;
use crate::names::RECORD_TARGET;
use crate::setup::{self, Config, Otlp};

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

#[tokio::test(flavor = "multi_thread")]
async fn records_that_do_not_get_to_a_collector_are_counted() {
    let otlp = Otlp {
        timeout: Duration::from_millis(200),
        records_delay: Duration::from_millis(10),
        ..Otlp::new("http://127.0.0.1:9")
    };
    let config = Config { log_filter: "off".to_owned(), otlp: Some(otlp), ..Config::default() };
    let (subscriber, guard) = setup::build(&config).expect("the configuration is valid");
    tracing::subscriber::with_default(subscriber, || {
        for _ in 0..3 {
            tracing::info!(target: RECORD_TARGET, "a model was called");
        }
    });

    let metrics = guard.metrics().clone();
    let expected = "quorate_records_dropped_total{quorate_reason=\"export\"} 3";
    let counted = async {
        while !metrics.render().contains(expected) {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    let in_time = tokio::time::timeout(Duration::from_secs(20), counted).await;
    assert!(in_time.is_ok(), "{}", metrics.render());
    guard.shutdown().await;
    assert!(!Metrics::new("0").render().contains("quorate_records"), "a node without a collector has none");
}
