//! Calls of a caller who shows an API key, decided by policies: what identity and policy add to the plain calls.
//!
//! The gateway serves what a folder says: a key, 200 policies of which most are about others, and the backend behind a
//! toolset. Everything that the load does is allowed by two of them.
//!
//! What the two stages take alone is read from their spans, of the requests that are traced: time that passed, which is
//! at least their CPU time (the making of the span included), since nothing in them waits once the caller is known.

use anyhow::Result;
use serde::Serialize;
use serde_json::{Value, json};

use super::known::Known;
use super::report::Row;
use super::resources::Setting;
use super::sink::Sink;
use super::speed::{CpuRound, Parts, median};
use crate::message::Measure;

/// Policies of the node: those that the numbers of policy are promised for.
const POLICIES: usize = 200;

/// The spans of the two stages, as `telemetry` names them.
const STAGES: [&str; 2] = ["authenticate.verify", "authorize.decide"];
/// One in this many requests of a load is expected to be traced at least: half of the ratio.
const TRACED: u64 = 200;

/// Calls under identity and policy.
#[derive(Debug, Serialize)]
pub(crate) struct Guarded {
    /// Rounds of the modern call.
    pub(crate) modern_call: Vec<CpuRound>,
    /// Rounds of the legacy call.
    pub(crate) legacy_call: Vec<CpuRound>,
    /// Rounds of the list.
    pub(crate) tools_list: Vec<CpuRound>,
    /// What the stages of a modern call took, each by its median, in microseconds.
    pub(crate) stages_us: [f64; 2],
}

// === impl Guarded ===

impl Guarded {
    /// Measures.
    ///
    /// # Errors
    /// When the gateway does not start, or a load fails.
    pub(crate) async fn measure(setting: &Setting<'_>, spans: &Sink) -> Result<Self> {
        let Setting { bench, backend, backend_url, plan, .. } = setting;
        let known = start(setting, &[], &[]).await?;
        let parts = Parts { bench, backend, backend_url, gateway: &known.gateway };
        spans.watch(&STAGES);
        let modern_call = parts.cpu(Measure::ModernCall, plan).await?;
        let traced = usize::try_from(u64::from(plan.rounds) * plan.requests / TRACED)?.max(1);
        let mut stages_us = [0.0; 2];
        for (stage, us) in STAGES.into_iter().zip(&mut stages_us) {
            *us = median(spans.stage_us(stage, traced).await?);
        }
        spans.watch(&[]);
        let this = Self {
            modern_call,
            stages_us,
            legacy_call: parts.cpu(Measure::LegacyCall, plan).await?,
            tools_list: parts.cpu(Measure::ToolsList, plan).await?,
        };
        known.gateway.end().await?;
        Ok(this)
    }

    /// The lines of the table. Floors of the calls: those of the plain ones and 15%.
    pub(crate) fn rows(&self) -> [Row; 4] {
        let stages_us = self.stages_us.iter().sum();
        [
            Row::of_cpu("CPU time, modern `tools/call`, API key, 200 policies", &self.modern_call, 0.08, 0.138),
            Row::of_cpu("CPU time, legacy `tools/call`, API key, 200 policies", &self.legacy_call, 0.10, 0.1725),
            Row::of_cpu("CPU time, `tools/list` of 50, API key, 200 policies", &self.tools_list, 0.05, 0.092),
            Row::of_gateway("Authenticate and authorize, API key, 200 policies, warm", "µs", stages_us, 10.0, 20.0),
        ]
    }
}

/// Starts such a gateway, with further resources and files beside them.
///
/// # Errors
/// When it does not start.
pub(super) async fn start(setting: &Setting<'_>, further: &[Value], files: &[(&str, &str)]) -> Result<Known> {
    let resources = [documents(setting.backend_url), further.to_vec()].concat();
    Known::start(setting.quorate, &resources, files, Some(setting.sink), Measure::ModernCall).await
}

fn documents(backend_url: &str) -> Vec<Value> {
    let others: Vec<String> = (2..POLICIES)
        .map(|number| {
            format!(
                "permit(principal in Group::\"team-{number}\", action == Action::\"mcp:call\", \
                 resource == Tool::\"bench/tool-{number}\") when {{ principal has user }};"
            )
        })
        .collect();
    let own = "permit(principal in Agent::\"bench\", action in [Action::\"mcp:connect\", Action::\"mcp:list\"], \
               resource == Toolset::\"default\");\n\
               permit(principal in Agent::\"bench\", action == Action::\"mcp:call\", resource in ToolServer::\"bench\");";
    let groups: serde_json::Map<String, Value> =
        (2..POLICIES).map(|number| (format!("team-{number}"), json!({}))).collect();
    vec![
        json!({ "kind": "Tenant", "name": "default", "spec": { "groups": groups } }),
        json!({ "kind": "ToolServer", "name": "bench", "spec": { "urls": [backend_url] } }),
        json!({ "kind": "Toolset", "name": "default", "spec": { "servers": ["bench"] } }),
        json!({ "kind": "Policy", "name": "bench", "spec": { "cedar": format!("{own}\n{}", others.join("\n")) } }),
    ]
}
