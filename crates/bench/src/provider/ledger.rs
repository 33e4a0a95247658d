//! What came and what went, for whoever tests: counters, and the last request of each model.
//!
//! In: each request and each end of an answer. Out: JSON. Credentials never come here: of a key its number, of a request the names of
//! its headers, of a URL its path. Bounded: so many models and paths have rows of their own, and what comes after is counted together.

use std::collections::{BTreeMap, HashMap};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

use http::header::{CONTENT_TYPE, HeaderName};
use http::{HeaderMap, StatusCode};
use serde::Serialize;
use serde_json::{Value, json};

/// Most models that have rows.
const MODELS_MAX: usize = 256;
/// Most paths that have rows.
const PATHS_MAX: usize = 256;
/// Most of a body that is kept: 64 KiB.
const BODY_BYTES_MAX: usize = 64 << 10;
/// The row of those that have none.
const OTHERS: &str = "(others)";

/// The counters.
pub(super) struct Ledger {
    /// By the number of the key.
    keys: Vec<AtomicU64>,
    /// By status, from 100.
    statuses: Vec<AtomicU64>,
    streams: Ends,
    wholes: Ends,
    unanswered: AtomicU64,
    bytes_in: AtomicU64,
    bytes_out: AtomicU64,
    rows: Mutex<Rows>,
}

/// How answers ended.
#[derive(Default)]
struct Ends {
    begun: AtomicU64,
    whole: AtomicU64,
    cut: AtomicU64,
    abandoned: AtomicU64,
}

#[derive(Default)]
struct Rows {
    paths: BTreeMap<String, u64>,
    models: HashMap<String, Model>,
}

/// A model.
#[derive(Default, Serialize)]
struct Model {
    requests: u64,
    last: Last,
}

/// The last request of a model.
#[derive(Default, Serialize)]
struct Last {
    path: String,
    #[serde(serialize_with = "names")]
    headers: Vec<HeaderName>,
    content_type: Option<String>,
    #[serde(serialize_with = "lossy")]
    body: Vec<u8>,
    body_bytes: usize,
}

/// How an answer ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum End {
    /// With its last word.
    Whole,
    /// As the plan cuts it.
    Cut,
    /// Its client left.
    Abandoned,
}

/// A request that has no response yet; dropped before, it was left by its client.
pub(super) struct Open<'a> {
    ledger: &'a Ledger,
    is_answered: bool,
}

// === impl Ledger ===

impl Ledger {
    /// Empty, for so many keys.
    pub(super) fn new(keys: usize) -> Self {
        let counters = |count| std::iter::repeat_with(AtomicU64::default).take(count).collect();
        Self {
            keys: counters(keys),
            statuses: counters(500),
            streams: Ends::default(),
            wholes: Ends::default(),
            unanswered: AtomicU64::new(0),
            bytes_in: AtomicU64::new(0),
            bytes_out: AtomicU64::new(0),
            rows: Mutex::default(),
        }
    }

    /// A request begins.
    pub(super) fn open(&self) -> Open<'_> {
        Open { ledger: self, is_answered: false }
    }

    /// A request shows a key.
    pub(super) fn key(&self, number: usize) {
        add(&self.keys[number], 1);
    }

    /// A request goes to a path.
    pub(super) fn path(&self, path: &str) {
        let mut rows = self.rows();
        let path = if rows.paths.len() < PATHS_MAX || rows.paths.contains_key(path) { path } else { OTHERS };
        match rows.paths.get_mut(path) {
            Some(count) => *count += 1,
            None => drop(rows.paths.insert(path.to_owned(), 1)),
        }
    }

    /// A request asks for a model; returns the how many-th it is of this exact name, unless there is no row for it.
    pub(super) fn model(&self, name: &str, path: &str, headers: &HeaderMap, body: &[u8]) -> Option<u64> {
        add(&self.bytes_in, body.len() as u64);
        let mut rows = self.rows();
        let has_row = rows.models.len() < MODELS_MAX || rows.models.contains_key(name);
        let name = if has_row { name } else { OTHERS };
        if !rows.models.contains_key(name) {
            rows.models.insert(name.to_owned(), Model::default());
        }
        let model = rows.models.get_mut(name)?;
        model.requests += 1;
        // What is kept is kept in place, so that a model that is asked for again and again costs no memory.
        let last = &mut model.last;
        last.path.clear();
        last.path.push_str(path);
        last.headers.clear();
        last.headers.extend(headers.keys().cloned());
        last.content_type = headers.get(CONTENT_TYPE).and_then(|value| value.to_str().ok()).map(str::to_owned);
        last.body.clear();
        last.body.extend_from_slice(&body[..body.len().min(BODY_BYTES_MAX)]);
        last.body_bytes = body.len();
        has_row.then_some(model.requests)
    }

    /// The body of a stream begins.
    pub(super) fn stream_begun(&self) {
        add(&self.streams.begun, 1);
    }

    /// A body ends.
    pub(super) fn body_ended(&self, end: End, is_stream: bool, bytes: u64) {
        let ends = if is_stream { &self.streams } else { &self.wholes };
        add(&self.bytes_out, bytes);
        match end {
            End::Whole => add(&ends.whole, 1),
            End::Cut => add(&ends.cut, 1),
            End::Abandoned => add(&ends.abandoned, 1),
        }
    }

    /// Forgets everything.
    pub(super) fn reset(&self) {
        *self.rows() = Rows::default();
        let ends = [&self.streams, &self.wholes].into_iter().flat_map(Ends::all);
        let counters = [&self.unanswered, &self.bytes_in, &self.bytes_out];
        for counter in self.keys.iter().chain(&self.statuses).chain(ends).chain(counters) {
            counter.store(0, Ordering::Relaxed);
        }
    }

    /// Tells everything.
    pub(super) fn tell(&self) -> String {
        let rows = self.rows();
        let statuses = (100..600).zip(self.statuses.iter().map(get)).filter(|(_, count)| *count > 0);
        let statuses: serde_json::Map<String, Value> =
            statuses.map(|(status, count): (u32, u64)| (status.to_string(), json!(count))).collect();
        let ledger = json!({
            "requests": rows.paths.values().sum::<u64>(),
            "paths": rows.paths,
            "keys": self.keys.iter().map(get).collect::<Vec<_>>(),
            "statuses": statuses,
            "streams": self.streams.tell(),
            "wholes": { "whole": get(&self.wholes.whole), "cut": get(&self.wholes.cut), "abandoned": get(&self.wholes.abandoned) },
            "unanswered": get(&self.unanswered),
            "bytes_in": get(&self.bytes_in),
            "bytes_out": get(&self.bytes_out),
            "models": rows.models,
        });
        ledger.to_string()
    }

    fn rows(&self) -> MutexGuard<'_, Rows> {
        // Counters that a panic left are still counters.
        self.rows.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

// === impl Ends ===

impl Ends {
    fn all(&self) -> [&AtomicU64; 4] {
        [&self.begun, &self.whole, &self.cut, &self.abandoned]
    }

    fn tell(&self) -> Value {
        json!({ "begun": get(&self.begun), "whole": get(&self.whole), "cut": get(&self.cut), "abandoned": get(&self.abandoned) })
    }
}

// === impl Open ===

impl Open<'_> {
    /// There is a response.
    pub(super) fn answered(mut self, status: StatusCode) {
        self.is_answered = true;
        if let Some(counter) = self.ledger.statuses.get(usize::from(status.as_u16() - 100)) {
            add(counter, 1);
        }
    }

    /// There is none, as the plan says.
    pub(super) fn closed(mut self) {
        self.is_answered = true;
        add(&self.ledger.wholes.cut, 1);
    }
}

impl Drop for Open<'_> {
    fn drop(&mut self) {
        if !self.is_answered {
            add(&self.ledger.unanswered, 1);
        }
    }
}

fn add(counter: &AtomicU64, count: u64) {
    counter.fetch_add(count, Ordering::Relaxed);
}

fn get(counter: &AtomicU64) -> u64 {
    counter.load(Ordering::Relaxed)
}

fn names<S: serde::Serializer>(headers: &[HeaderName], serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_seq(headers.iter().map(HeaderName::as_str))
}

fn lossy<S: serde::Serializer>(body: &[u8], serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(&String::from_utf8_lossy(body))
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;

    use super::*;

    #[test]
    fn the_last_request_is_told_without_what_its_headers_say() {
        let ledger = Ledger::new(1);
        let mut headers = HeaderMap::new();
        headers.insert("authorization", HeaderValue::from_static("Bearer secret"));
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));

        ledger.path("/v1/responses");
        assert_eq!(ledger.model("m", "/v1/responses", &headers, &[b'x'; 70_000]), Some(1));

        let told: Value = serde_json::from_str(&ledger.tell()).unwrap();
        let last = &told["models"]["m"]["last"];
        assert_eq!(last["headers"], json!(["authorization", "content-type"]));
        assert_eq!((&last["content_type"], &last["body_bytes"]), (&json!("application/json"), &json!(70_000)));
        assert_eq!(last["body"].as_str().unwrap().len(), BODY_BYTES_MAX);
        assert!(!ledger.tell().contains("secret"));
    }

    #[test]
    fn models_beyond_the_bound_are_counted_together_until_it_is_emptied() {
        let ledger = Ledger::new(0);
        let ask = |name: &str| ledger.model(name, "/", &HeaderMap::new(), b"");
        for number in 0..MODELS_MAX {
            assert_eq!(ask(&format!("m{number}")), Some(1));
        }

        assert_eq!((ask("one more"), ask("m0")), (None, Some(2)));
        ledger.reset();

        assert_eq!((ask("one more"), ask("m0")), (Some(1), Some(1)));
    }
}
