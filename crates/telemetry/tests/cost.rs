//! What telemetry costs a request, measured: run with
//! `cargo test --release -p quorate-telemetry --test cost -- --ignored --nocapture`.
//!
//! The budget of a whole request is 80 µs of processor time, with metrics on and one trace in a
//! hundred recorded; telemetry may have one of them. The bounds here are several times what is
//! measured on a slow shared core, so that they fail for a reason.

use std::hint::black_box;
use std::time::{Duration, Instant};

use http::{HeaderMap, HeaderValue};
use quorate_telemetry::metrics::{CacheResult, List};
use quorate_telemetry::names::span;
use quorate_telemetry::{Config, Method, Metrics, Otlp, Outcome, Revision, TraceContext, Tracer, init};

/// Returns nanoseconds per call, the best of several rounds.
fn measure(name: &str, mut work: impl FnMut()) -> f64 {
    const CALLS: u32 = 200_000;
    let mut best = f64::MAX;
    for _ in 0..7 {
        let started = Instant::now();
        for _ in 0..CALLS {
            work();
        }
        best = best.min(started.elapsed().as_secs_f64() * 1e9 / f64::from(CALLS));
    }
    eprintln!("{name:<56} {best:>8.1} ns");
    best
}

/// What the pipeline does for one request.
fn one_request(tracer: &Tracer, headers: &HeaderMap, outgoing: &mut HeaderMap) {
    let parent = TraceContext::extract(headers);
    let mut trace = tracer.begin(span::REQUEST, parent);
    for stage in [span::AUTHENTICATE, span::CLASSIFY] {
        drop(black_box(trace.stage(stage)));
    }
    trace.operation("tools/call", Some("echo"), None);
    for stage in [span::AUTHORIZE, span::ROUTE, span::ADMIT, span::INSPECT, span::RESPOND] {
        drop(black_box(trace.stage(stage)));
    }
    let dispatch = trace.stage(span::DISPATCH);
    trace.outgoing(&dispatch).inject(outgoing);
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "measures time; meaningful in a release build on a quiet machine"]
async fn telemetry_takes_its_share_of_a_request() {
    let otlp = Otlp { timeout: Duration::from_millis(100), ..Otlp::new("http://127.0.0.1:9") };
    let config =
        Config { log_filter: "off".to_owned(), otlp: Some(otlp), traces_per_second_max: u32::MAX, ..Config::default() };
    let guard = init(&config).expect("it is the first");
    let metrics = Metrics::new("0");
    let backend = metrics.backend("files");
    let (call, modern) = (Method::of("tools/call"), Revision::of("2026-07-28"));
    let elapsed = Duration::from_micros(80);

    let record = measure("Metrics::operation", || metrics.operation(call, modern, Outcome::Ok, black_box(elapsed)));
    measure("Metrics::operation with OTLP as a second reader", || {
        guard.metrics().operation(call, modern, Outcome::Ok, elapsed)
    });
    measure("Method::of + Revision::of", || {
        black_box((Method::of(black_box("tools/call")), Revision::of(black_box("2026-07-28"))));
    });
    measure("Method::of an unknown method", || {
        black_box(Method::of(black_box("notifications/unheard_of")));
    });
    measure("BackendMetrics::operation", || backend.operation(call, Outcome::Ok, black_box(elapsed)));
    measure("Metrics::request_active and its drop", || drop(metrics.request_active()));
    measure("Metrics::list_cache", || metrics.list_cache(List::Tools, CacheResult::Hit));
    measure("Metrics::limit_hit (cold path)", || metrics.limit_hit("body"));

    let none = HeaderMap::new();
    let mut unsampled = HeaderMap::new();
    unsampled
        .insert("traceparent", HeaderValue::from_static("00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-00"));
    let mut sampled = HeaderMap::new();
    sampled.insert("traceparent", HeaderValue::from_static("00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"));
    let mut outgoing = HeaderMap::new();
    let disabled = Tracer::disabled();
    measure("trace of a request, no export", || one_request(&disabled, &none, &mut outgoing));
    let traced = measure("trace of a request, unsampled by its parent", || {
        one_request(guard.tracer(), &unsampled, &mut outgoing);
    });
    let mixed =
        measure("trace of a request, no parent, 1% sampled", || one_request(guard.tracer(), &none, &mut outgoing));
    measure("trace of a request, sampled", || one_request(guard.tracer(), &sampled, &mut outgoing));

    assert!(record < 200.0, "recording a metric takes {record} ns");
    assert!(traced < 1_000.0, "a request that is not sampled pays {traced} ns");
    assert!(mixed < 4_000.0, "a request pays {mixed} ns at 1%");
}
