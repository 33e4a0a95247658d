//! Which arguments of a server's tools travel as headers too (`x-mcp-header`, 2026-07-28).
//!
//! A client of sessions knows no such headers, so the bridge makes them, of the tools' schemas. The
//! server's tools are listed once before its first bridged call, again when a server refuses a
//! header (−32020) or says that its tools changed; every list that passes is read as well. Only
//! annotated tools are kept, and at most as many as the server may list. Calls that are refused at
//! one moment share one list: each says which one its headers were made by.
//!
//! A server that cannot be listed now is called without headers, and asked again after a moment:
//! it refuses a call whose headers are missing, which is then told.

use std::collections::HashMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use quorate_jsonrpc::{Span, elements, pick_exact, quote, text};
use quorate_mcp::Method;
use quorate_mcp::listing::{Collector, Config, DEFAULTS, Progress};
use quorate_mcp::param::ParamRules;
use quorate_mcp::{ListKind, codec};
use tokio::time::Instant;

use crate::backend::{Handle, lock, own};
use crate::clock;
use crate::upstream::modern;

/// Time in which a server has to list its tools: what lists have.
const LIST_TIMEOUT: Duration = Duration::from_secs(5);
/// How long a server that could not be listed is not asked again: 30 s.
const RETRY_AFTER: Duration = Duration::from_secs(30);

/// The annotated tools of one server.
#[derive(Default)]
pub(in crate::backend) struct Schemas {
    known: Mutex<Known>,
    /// One list at a time; whoever waits finds what it brought.
    listing: tokio::sync::Mutex<()>,
}

#[derive(Default)]
struct Known {
    rules: HashMap<Box<str>, Arc<ParamRules>>,
    is_complete: bool,
    retry_at: Option<Instant>,
    listed: Listed,
}

/// How often the tools were listed, or could not be.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Listed(u64);

// === impl Schemas ===

impl Schemas {
    /// Returns the rules of a tool, none where it has no annotations, and the list that they are of.
    pub(super) async fn of(&self, server: &Handle, tool: &str) -> (Option<Arc<ParamRules>>, Listed) {
        if !self.is_settled() {
            let _one = self.listing.lock().await;
            if !self.is_settled() {
                self.list(server).await;
            }
        }
        let known = lock(&self.known);
        (known.rules.get(tool).cloned(), known.listed)
    }

    /// Lists the server's tools, since it does not agree with what the list `seen` said; nothing where
    /// they were listed since.
    pub(super) async fn refresh(&self, server: &Handle, seen: Listed) {
        let _one = self.listing.lock().await;
        if self.is_last(seen) {
            self.list(server).await;
        }
    }

    fn is_last(&self, seen: Listed) -> bool {
        lock(&self.known).listed == seen
    }

    /// Forgets that everything is known: the server's tools have changed.
    pub(super) fn invalidate(&self) {
        let mut known = lock(&self.known);
        known.is_complete = false;
        known.retry_at = None;
    }

    /// Reads the tools of a list that passes.
    pub(super) fn learn(&self, result: &Bytes, tools_max: usize) {
        let mut known = lock(&self.known);
        tools(result, |name, rules| {
            if rules.is_empty() {
                known.rules.remove(name);
            } else if known.rules.len() < tools_max || known.rules.contains_key(name) {
                known.rules.insert(name.into(), Arc::new(rules));
            }
        });
    }

    fn is_settled(&self) -> bool {
        let known = lock(&self.known);
        known.is_complete || known.retry_at.is_some_and(|at| at > Instant::now())
    }

    async fn list(&self, server: &Handle) {
        let listed = tokio::time::timeout(LIST_TIMEOUT, list(server)).await;
        let listed = listed.unwrap_or_else(|_| Err(format!("no list within {LIST_TIMEOUT:?}")));
        let mut known = lock(&self.known);
        let next = Listed(known.listed.0 + 1);
        known.listed = next;
        match listed {
            Ok(rules) => *known = Known { rules, is_complete: true, retry_at: None, listed: next },
            Err(reason) => {
                tracing::warn!(server = %server.name(), reason, "the tools cannot be listed: calls go without Mcp-Param headers");
                known.retry_at = Some(Instant::now() + RETRY_AFTER);
            }
        }
    }
}

/// Lists all tools of a server by stateless requests of our own; returns the annotated ones.
async fn list(server: &Handle) -> Result<HashMap<Box<str>, Arc<ParamRules>>, String> {
    let config = Config { items_max: server.config().items_max, ..DEFAULTS };
    let mut collector = Collector::new(ListKind::Tools, &config);
    let mut found = HashMap::new();
    let mut cursor: Option<String> = None;
    // Bounded by the collector: items, pages, and cursors that go in a circle.
    loop {
        let method = Method::ListTools.as_str();
        let members = cursor.as_deref().map(|cursor| format!("\"cursor\":{}", quote(cursor)));
        let body = own::request(own::mint(), method, "{}", members.as_deref());
        let sent = server.send(&modern::own_headers(method), &body).await.map_err(|error| error.to_string())?;
        let answer = sent.answer.finish(drop).await.map_err(|error| error.to_string())?;
        let Some(page) = answer.result() else {
            let error = codec::ErrorView::read(&answer).map_err(|error| error.to_string())?;
            return Err(format!("the server answered error {}: {}", error.code, error.message));
        };
        tools(&page, |name, rules| {
            if !rules.is_empty() {
                found.insert(name.into(), Arc::new(rules));
            }
        });
        match collector.push(clock::now(), &page).map_err(|error| error.to_string())? {
            Progress::Done => return Ok(found),
            Progress::Next { cursor: next } => cursor = Some(next),
        }
    }
}

/// Visits the tools of a list result that have a name and valid annotations.
fn tools(result: &Bytes, mut visit: impl FnMut(&str, ParamRules)) {
    let Ok(raw) = std::str::from_utf8(result) else { return };
    let Ok([Some(tools)]) = pick_exact(raw, 0, ["tools"]) else { return };
    let read = elements(tools.of(raw), tools.start, |tool: Span| {
        let Ok([Some(name), Some(schema)]) = pick_exact(tool.of(raw), tool.start, ["name", "inputSchema"]) else {
            return;
        };
        if let (Some(name), Ok(rules)) = (text(name.of(raw)), ParamRules::of(schema.of(raw))) {
            visit(&name, rules);
        }
    });
    if let Err(error) = read {
        tracing::debug!(%error, "a list of tools cannot be read for its header annotations");
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::backend::support::backend;

    const PAGE: &[u8] = br#"{"tools":[
        {"name":"plain","inputSchema":{"type":"object"}},
        {"name":"marked","inputSchema":{"type":"object","properties":{"r":{"type":"string","x-mcp-header":"Region"}}}},
        {"name":"also","inputSchema":{"type":"object","properties":{"r":{"type":"string","x-mcp-header":"R"}}}},
        {"name":"broken","inputSchema":{"type":"object","properties":{"r":{"type":"number","x-mcp-header":"R"}}}},
        7]}"#;

    #[tokio::test]
    async fn calls_that_are_refused_at_one_moment_share_one_list() {
        let (schemas, server) = (Schemas::default(), backend());
        let (_, seen) = schemas.of(&server, "marked").await;
        assert_eq!(seen, Listed(1), "nobody listens there, and that was tried");

        tokio::join!(schemas.refresh(&server, seen), schemas.refresh(&server, seen));
        assert_eq!(schemas.of(&server, "marked").await.1, Listed(2));
        schemas.refresh(&server, seen).await;
        assert!(schemas.is_last(Listed(2)), "the list of then was seen by somebody else");
        schemas.refresh(&server, Listed(2)).await;
        assert!(schemas.is_last(Listed(3)));
    }

    #[test]
    fn annotated_tools_are_kept_within_the_bound() {
        let schemas = Schemas::default();
        schemas.learn(&Bytes::from_static(PAGE), 1);
        let names = || lock(&schemas.known).rules.keys().map(|name| name.to_string()).collect::<Vec<_>>();
        assert_eq!(names(), ["marked"]);
        assert!(!schemas.is_settled());

        let unmarked = Bytes::from_static(br#"{"tools":[{"name":"marked","inputSchema":{"type":"object"}}]}"#);
        schemas.learn(&unmarked, 1);
        assert!(names().is_empty());
        for nothing in [&b"[]"[..], b"{}", br#"{"tools":{}}"#, b"\xff"] {
            schemas.learn(&Bytes::from_static(nothing), 1);
        }
        assert!(names().is_empty());
    }
}
