//! The gateway before the mock provider, as a team would run it: a caller with a key, 200 policies, prices, metrics, and traces of one
//! request in a hundred.
//!
//! The provider is two of its providers, one for each shape. Out: a [`Known`] gateway that answers chat completions.

use std::net::SocketAddr;
use std::path::Path;

use anyhow::Result;
use serde_json::{Value, json};

use crate::message::Measure;
use crate::prompt::{MODELS, Prompt};
use crate::run::known::Known;

/// Policies of the node: as many as the numbers of tools have.
const POLICIES: usize = 200;
/// Streams that are open at once, and some more.
const CONCURRENCY: u32 = 20_000;

/// Starts one.
///
/// # Errors
/// When it does not start.
pub(super) async fn start(quorate: &Path, provider: SocketAddr, sink: Option<&str>) -> Result<Known> {
    Known::start(quorate, &documents(provider), &[], sink, Measure::Model(Prompt::Chat)).await
}

fn documents(provider: SocketAddr) -> Vec<Value> {
    let limits = json!({ "concurrency": CONCURRENCY, "connections": 1000 });
    let mut documents = vec![
        json!({ "kind": "Provider", "name": "gpt", "spec": {
            "preset": "openai-compatible", "url": format!("http://{provider}/v1"), "keys": ["bench"], "limits": limits,
        }}),
        json!({ "kind": "Provider", "name": "claude", "spec": {
            "preset": "anthropic", "url": format!("http://{provider}"), "keys": ["bench"], "limits": limits,
        }}),
        json!({ "kind": "Policy", "name": "bench", "spec": { "cedar": policies() } }),
        json!({ "kind": "Tenant", "name": "default", "spec": { "groups": groups() } }),
    ];
    documents.extend(MODELS.iter().enumerate().map(|(number, name)| {
        let target = json!({
            "provider": if name.is_anthropic { "claude" } else { "gpt" },
            "model": name.of_provider,
            "price": { "input": 0.25, "output": 2, "cachedInput": 0.025 },
        });
        json!({ "kind": "Model", "name": format!("bench-{number}"), "spec": { "names": [name.asked], "targets": [target] } })
    }));
    documents.push(json!({ "kind": "Model", "name": "bench-any", "spec": {
        "names": ["mock*"], "targets": [{ "provider": "gpt", "model": "mock*" }],
    }}));
    documents
}

fn policies() -> String {
    let own = "permit(principal in Agent::\"bench\", action == Action::\"llm:invoke\", resource is Model) \
               when { context.request.bytes < 10000000 };";
    let others = (1..POLICIES).map(|number| {
        format!(
            "permit(principal in Group::\"team-{number}\", action == Action::\"llm:invoke\", \
             resource == Model::\"bench-any\") when {{ principal has user }};"
        )
    });
    std::iter::once(own.to_owned()).chain(others).collect::<Vec<_>>().join("\n")
}

fn groups() -> Value {
    (1..POLICIES).map(|number| (format!("team-{number}"), json!({}))).collect::<serde_json::Map<_, _>>().into()
}
