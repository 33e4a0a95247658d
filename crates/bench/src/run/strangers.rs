//! Good callers beside strangers: what 5,000 wrong keys or tokens a second do to the latency of others, and what they cost.
//!
//! A gateway that knows its callers is called at a low, fixed rate. Beside it the same number of strangers comes twice: once to
//! a mock backend that nobody else uses, and once to the gateway. So the CPU time of their generator, of the kernel for their
//! connections, and of an HTTP server that refuses them are in both; what differs is what the gateway makes of them. The two are
//! measured one after the other in each round, and the ratio of a round is what counts.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use serde::Serialize;
use serde_json::json;

use super::child::Child;
use super::gateway::Gateway;
use super::guarded;
use super::identity::Signer;
use super::process::Cpu;
use super::report::Row;
use super::resources::Setting;
use super::speed::{Plan, load, median};
use crate::load::flood::{AUDIENCE, Flooded, ISSUER, Shown};
use crate::load::{READY, Report};
use crate::message::Measure;

/// Strangers per second: what the project's issue "Identity and policy" names.
const STRANGERS: u32 = 5_000;
/// The share of them that must have come, in both places: with fewer something else was measured.
const SHARE_MIN: f64 = 0.8;
/// Good calls per second: enough for a 99th percentile, and so few that they do not wait for each other.
const GOOD: f64 = 500.0;
/// How long strangers may take to connect, or to end.
const PATIENCE: Duration = Duration::from_secs(30);
/// Status of a stranger at the gateway, and at the mock backend, which wants a session.
const REFUSED: u16 = 401;
const REFUSED_ELSEWHERE: u16 = 400;
/// Microseconds of a millisecond.
const US_PER_MS: f64 = 1000.0;

/// Everything that was found.
#[derive(Debug, Serialize)]
pub(crate) struct Strangers {
    /// Rounds with wrong keys.
    pub(crate) keys: Vec<Round>,
    /// Rounds with wrong tokens.
    pub(crate) tokens: Vec<Round>,
}

/// One round.
#[derive(Debug, Serialize)]
pub(crate) struct Round {
    /// While the strangers were at the mock backend.
    pub(crate) elsewhere: Side,
    /// While they were at the gateway.
    pub(crate) here: Side,
}

/// Good callers and strangers, for some seconds.
#[derive(Debug, Serialize)]
pub(crate) struct Side {
    /// The good callers.
    pub(crate) good: Report,
    /// The strangers.
    pub(crate) strangers: Flooded,
    /// CPU time of the gateway meanwhile, per second.
    pub(crate) cpu: Cpu,
}

/// What takes part.
struct Parts<'a> {
    setting: &'a Setting<'a>,
    gateway: &'a Gateway,
    /// Where the gateway serves, without a credential.
    here: &'a str,
    /// Where strangers are who are not at the gateway.
    elsewhere: &'a str,
    plan: Plan,
}

// === impl Strangers ===

impl Strangers {
    /// Measures.
    ///
    /// # Errors
    /// When a process does not start, a load fails, or a stranger is let in.
    pub(crate) async fn measure(setting: &Setting<'_>) -> Result<Self> {
        let issuer = json!({ "kind": "Issuer", "name": "people", "spec": { "oidc": {
            "issuer": ISSUER, "jwksFile": "jwks.json", "audiences": [AUDIENCE],
        }}});
        let jwks = Signer::new()?.jwks();
        let known = guarded::start(setting, &[issuer], &[("jwks.json", &jwks)]).await?;
        let mut other = Child::start("the backend of strangers", setting.bench, &["backend".to_owned()])?;
        let elsewhere = other.line(PATIENCE).await?;
        let plan = Plan { requests: (GOOD * f64::from(setting.plan.seconds)) as u64, ..*setting.plan };
        let here = format!("http://{}/mcp", known.address);
        let parts = Parts { setting, gateway: &known.gateway, here: &here, elsewhere: &elsewhere, plan };
        let this = Self { keys: parts.rounds(Shown::Keys).await?, tokens: parts.rounds(Shown::Tokens).await? };
        known.gateway.end().await?;
        other.end().await?;
        Ok(this)
    }

    /// The lines of the table.
    pub(crate) fn rows(&self) -> Vec<Row> {
        // Good callers must not notice: half as long again is within what a shared machine does by itself, and three times as
        // long is what a request takes that waits for two others. A wrong token costs a signature more than a key.
        let [keys, tokens] = [&self.keys, &self.tokens].map(Vec::as_slice);
        vec![
            latency("p50 of good calls beside 5,000 wrong keys/s (direct: elsewhere)", keys, p50, 1.25, 2.0),
            latency("p99 of good calls beside 5,000 wrong keys/s (direct: elsewhere)", keys, p99, 1.5, 3.0),
            latency("p50 of good calls beside 5,000 wrong tokens/s (direct: elsewhere)", tokens, p50, 1.25, 2.0),
            latency("p99 of good calls beside 5,000 wrong tokens/s (direct: elsewhere)", tokens, p99, 2.0, 4.0),
            // No goal of their own: an HTTP exchange may cost what a list from the cache does, and a wrong signature comes
            // to it with what it may cost alone.
            Row::of_gateway("CPU time of the gateway, a wrong key over HTTP", "µs", cost_us(keys), 50.0, 80.0),
            Row::of_gateway("CPU time of the gateway, a wrong token over HTTP", "µs", cost_us(tokens), 200.0, 230.0),
        ]
    }
}

fn latency(measure: &'static str, rounds: &[Round], of: fn(&Report) -> f64, goal: f64, floor: f64) -> Row {
    let pairs: Vec<[f64; 2]> = rounds.iter().map(|round| [of(&round.elsewhere.good), of(&round.here.good)]).collect();
    Row::of_ratio(measure, &pairs, goal, floor)
}

fn p50(report: &Report) -> f64 {
    report.p50_ms
}

fn p99(report: &Report) -> f64 {
    report.p99_ms
}

/// CPU time of the gateway per stranger: what it took more while they came to it, good callers being as many.
fn cost_us(rounds: &[Round]) -> f64 {
    median(rounds.iter().map(|round| {
        let more_ms = round.here.cpu.total_ms() - round.elsewhere.cpu.total_ms();
        more_ms * US_PER_MS / round.here.strangers.rate
    }))
}

// === impl Parts ===

impl Parts<'_> {
    async fn rounds(&self, shown: Shown) -> Result<Vec<Round>> {
        let mut rounds = Vec::new();
        for round in 1..=self.plan.rounds {
            let elsewhere = self.side(shown, self.elsewhere, REFUSED_ELSEWHERE).await?;
            let here = self.side(shown, self.here, REFUSED).await?;
            eprintln!(
                "{STRANGERS} wrong {} a second {round}/{}: p50 {:.3} ms elsewhere, {:.3} ms here; p99 {:.3} and {:.3} ms; \
                 gateway {:.0} and {:.0} ms of CPU time a second; {:.0} and {:.0} of them a second",
                shown.name(),
                self.plan.rounds,
                elsewhere.good.p50_ms,
                here.good.p50_ms,
                elsewhere.good.p99_ms,
                here.good.p99_ms,
                elsewhere.cpu.total_ms(),
                here.cpu.total_ms(),
                elsewhere.strangers.rate,
                here.strangers.rate,
            );
            rounds.push(Round { elsewhere, here });
        }
        Ok(rounds)
    }

    /// Calls the gateway as a good caller while strangers come to `url`.
    async fn side(&self, shown: Shown, url: &str, status: u16) -> Result<Side> {
        let Setting { bench, .. } = self.setting;
        let arguments = [
            "flood".to_owned(),
            format!("--url={url}"),
            format!("--shown={}", shown.name()),
            format!("--status={status}"),
            format!("--rate={STRANGERS}"),
            format!("--connections={}", self.plan.connections),
        ];
        let mut flood = Child::start("the strangers", bench, &arguments)?;
        let line = flood.line(PATIENCE).await?;
        ensure!(line == READY, "the strangers said {line:?}");
        flood.tell("go").await?;
        let cpu = || self.gateway.cpu();
        let call = Measure::ModernCall;
        let (good, before, after) = load(bench, call, &self.plan, Some(GOOD), self.gateway.url(), cpu).await?;
        flood.tell("enough").await?;
        let line = flood.line(PATIENCE).await?;
        let strangers: Flooded = serde_json::from_str(&line).with_context(|| format!("the strangers said {line:?}"))?;
        flood.finish(PATIENCE).await?;
        let at_least = f64::from(STRANGERS) * SHARE_MIN;
        ensure!(
            strangers.rate >= at_least,
            "only {:.0} strangers a second were refused at {url}, and not {at_least:.0}: this machine is too busy, or they wait",
            strangers.rate
        );
        let used = after.per_request_since(before, 1);
        let cpu = Cpu { user_ms: used.user_ms / good.seconds, system_ms: used.system_ms / good.seconds };
        Ok(Side { good, strangers, cpu })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn side(p99_ms: f64, cpu_ms: f64) -> Side {
        let good = Report { requests: 2_500, seconds: 5.0, rate: GOOD, p50_ms: p99_ms / 2.0, p99_ms, max_ms: p99_ms };
        let strangers = Flooded { requests: 25_000, rate: 5_000.0, reopened: 0 };
        Side { good, strangers, cpu: Cpu { user_ms: cpu_ms, system_ms: 0.0 } }
    }

    #[test]
    fn what_strangers_cost_is_what_the_gateway_takes_more_for_each() {
        let rounds = [Round { elsewhere: side(1.0, 50.0), here: side(2.0, 250.0) }];

        assert!((cost_us(&rounds) - 40.0).abs() < 1e-9);
        let row = latency("p99", &rounds, p99, 1.5, 3.0);
        assert_eq!((row.direct, row.through, row.gateway), (Some(1.0), Some(2.0), 2.0));
    }
}
