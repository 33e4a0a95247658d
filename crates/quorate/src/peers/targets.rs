//! What nodes of a cluster tell each other of the targets of models, on the board.
//!
//! Each node tells its own calls in progress, its latencies, whom it leaves out and who asked it to be left alone, once a second as long
//! as there is anything to tell. Each takes what the others tell for its own choice: load and latency count as its own, a target that
//! somebody leaves out is doubted, one that asked somebody to be left alone is. A node tells what it was asked itself, not what it heard:
//! a rest is over with the configuration that it was asked under. What a node told last before it was lost counts for seconds, but for
//! rests.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use prost::Message as _;
use quorate_gateway::node::{Gateway, ModelObserved};
use quorate_member::Member;
use quorate_proto::peer::v1::{ModelLoad, TargetLoad};
use quorate_runtime::clock;
use quorate_scheduler::{Elsewhere, ReplicaState};
use quorate_types::Timestamp;

/// How often a node tells.
const EVERY: Duration = Duration::from_secs(1);
/// How long what a node told counts that tells nothing any more.
const STALE: Duration = Duration::from_secs(5);
/// Models that a node tells of: it has other keys on the board, too.
const MODELS_MAX: usize = 128;

/// Tells, and takes what others tell, until the gateway fails.
pub(super) async fn tell(member: Member, gateway: Gateway) {
    let mut told = BTreeMap::new();
    while !gateway.failed().is_cancelled() {
        let models = gateway.models_observed();
        for model in models.iter().take(MODELS_MAX) {
            post(&member, model, &mut told);
            gateway.models_elsewhere(&model.name, &heard(&member, model));
        }
        tokio::time::sleep(EVERY).await;
    }
}

/// Tells of a model, where that is anything new or still going on.
fn post(member: &Member, model: &ModelObserved, told: &mut BTreeMap<String, Vec<TargetLoad>>) {
    let targets: Vec<TargetLoad> = model.targets.iter().enumerate().map(said).collect();
    let key = key(model);
    let is_quiet = targets.iter().all(|target| target.in_flight == 0);
    if is_quiet && told.get(&key).map_or(targets.iter().all(is_nothing), |before| *before == targets) {
        return;
    }
    let load = ModelLoad { at_ms: clock::now().as_millis(), targets: targets.clone() };
    // A model with as many targets as there may be fits; a node without room for one more key tells nothing of it.
    if member.control().host().peers().board().put(&key, load.encode_to_vec()).is_ok() {
        told.insert(key, targets);
    }
}

fn key(model: &ModelObserved) -> String {
    format!("model.{}", model.name)
}

fn said(
    (place, (provider, seen)): (usize, &(quorate_types::ResourceName, quorate_scheduler::TargetSnapshot)),
) -> TargetLoad {
    TargetLoad {
        target: u32::try_from(place).unwrap_or(u32::MAX),
        provider: provider.to_string(),
        in_flight: seen.in_flight,
        // Whole milliseconds: what is the same but for noise is not told again.
        latency_ms: seen.latency_ms.map(f64::round),
        rests_until_ms: seen.rests_until.map_or(0, Timestamp::as_millis),
        ejected: seen.state == ReplicaState::Ejected,
    }
}

fn is_nothing(target: &TargetLoad) -> bool {
    target.in_flight == 0 && target.latency_ms.is_none() && target.rests_until_ms == 0 && !target.ejected
}

/// What the others say of the targets of a model.
fn heard(member: &Member, model: &ModelObserved) -> Vec<Elsewhere> {
    let (control, own) = (member.control(), member.identity().node);
    let board = control.host().peers().board();
    let mut all = vec![Elsewhere::NOTHING; model.targets.len()];
    for node in control.catalog().nodes().map(|node| node.id).filter(|node| *node != own) {
        let Some(posted) = board.get(node, &key(model)) else { continue };
        // What cannot be read is of a later version.
        let Ok(load) = ModelLoad::decode(&posted.value[..]) else { continue };
        let is_fresh = Instant::now().saturating_duration_since(posted.received) < STALE;
        for target in load.targets {
            let place = usize::try_from(target.target).unwrap_or(usize::MAX);
            let is_same = model.targets.get(place).is_some_and(|(provider, _)| provider.as_str() == target.provider);
            if is_same {
                join(&mut all[place], &target, is_fresh);
            }
        }
    }
    all
}

/// Adds what one node says of a target.
fn join(elsewhere: &mut Elsewhere, target: &TargetLoad, is_fresh: bool) {
    if is_fresh {
        elsewhere.in_flight = elsewhere.in_flight.saturating_add(target.in_flight);
        elsewhere.is_ejected |= target.ejected;
    }
    let latency = target.latency_ms.filter(|latency| latency.is_finite() && *latency >= 0.0);
    elsewhere.latency_ms = match (elsewhere.latency_ms, latency) {
        (Some(one), Some(other)) => Some(one.min(other)),
        (one, other) => one.or(other),
    };
    let until = Some(Timestamp::from_millis(target.rests_until_ms)).filter(|until| *until > clock::now());
    elsewhere.rests_until = elsewhere.rests_until.max(until);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_several_nodes_say_is_one_view() {
        let mut all = Elsewhere::NOTHING;
        let later = clock::now() + Duration::from_secs(60);
        let said = |in_flight, latency_ms, ejected, rests_until_ms| TargetLoad {
            target: 0,
            provider: "p".to_owned(),
            in_flight,
            latency_ms,
            rests_until_ms,
            ejected,
        };

        join(&mut all, &said(3, Some(20.0), false, 0), true);
        join(&mut all, &said(4, Some(10.0), true, later.as_millis()), true);
        join(&mut all, &said(100, Some(f64::NAN), true, 1), false);

        let expected = Elsewhere { in_flight: 7, latency_ms: Some(10.0), is_ejected: true, rests_until: Some(later) };
        assert_eq!(all, expected);
    }
}
