//! Laws of the replicas' machine over random histories.
//!
//! A history is a list of picks, outcomes, checks and pauses; after each step the laws hold. What
//! a failing case prints is the history itself, which replays it.

use std::time::Duration;

use proptest::prelude::*;
use quorate_scheduler::{Change, Config, Outcome, ReplicaState, Replicas};
use quorate_types::Timestamp;

/// One thing that happens; `usize` and `u8` values are reduced to what exists at that moment.
#[derive(Clone, Debug)]
enum Action {
    Pick { entropy: u64, exclude: Vec<usize> },
    EndCall { which: usize, outcome: Option<Outcome> },
    Check,
    EndCheck { which: usize, outcome: Outcome },
    Wait { millis: u64 },
}

fn outcomes() -> impl Strategy<Value = Outcome> {
    prop_oneof![Just(Outcome::Success), Just(Outcome::Failure)]
}

fn actions(count: usize) -> impl Strategy<Value = Action> {
    prop_oneof![
        4 => (any::<u64>(), prop::collection::vec(0..count, 0..3))
            .prop_map(|(entropy, exclude)| Action::Pick { entropy, exclude }),
        6 => (any::<usize>(), prop::option::weighted(0.9, outcomes()))
            .prop_map(|(which, outcome)| Action::EndCall { which, outcome }),
        1 => Just(Action::Check),
        2 => (any::<usize>(), outcomes()).prop_map(|(which, outcome)| Action::EndCheck { which, outcome }),
        2 => prop_oneof![0..2_000_u64, 0..400_000_u64].prop_map(|millis| Action::Wait { millis }),
    ]
}

/// The machine beside what its owner knows.
struct Owner {
    replicas: Replicas,
    now: Timestamp,
    calls: Vec<usize>,
    checks: Vec<usize>,
}

impl Owner {
    fn states(&self) -> Vec<ReplicaState> {
        self.replicas.observe(self.now).replicas.iter().map(|replica| replica.state).collect()
    }

    fn pick(&mut self, entropy: u64, exclude: &[usize]) -> Result<(), TestCaseError> {
        let before = self.replicas.observe(self.now);
        let pick = self.replicas.pick(self.now, entropy, exclude);
        let Some(pick) = pick else {
            prop_assert!((0..before.total()).all(|index| exclude.contains(&index)), "none only when all are excluded");
            return Ok(());
        };
        prop_assert!(!exclude.contains(&pick.replica));
        if !pick.panic {
            prop_assert_ne!(before.replicas[pick.replica].state, ReplicaState::Ejected);
        }
        let healthy = (0..before.total())
            .filter(|index| !exclude.contains(index))
            .any(|index| before.replicas[index].state == ReplicaState::Healthy);
        prop_assert!(!(pick.panic && healthy), "panic although a healthy replica was allowed");
        self.replicas.begin(pick.replica);
        self.calls.push(pick.replica);
        Ok(())
    }

    fn act(&mut self, action: &Action) -> Result<(), TestCaseError> {
        match action {
            Action::Pick { entropy, exclude } => self.pick(*entropy, exclude)?,
            Action::EndCall { which, outcome } if !self.calls.is_empty() => {
                let replica = self.calls.swap_remove(which % self.calls.len());
                if let Some(outcome) = outcome {
                    let change = self.replicas.report(replica, *outcome, self.now);
                    self.verify(replica, *outcome, change)?;
                }
                self.replicas.end(replica);
            }
            Action::Check => {
                let due = self.replicas.due_checks(self.now);
                // A check that was out for two intervals is due again: its first one is forgotten.
                self.checks.retain(|replica| !due.contains(replica));
                self.checks.extend(due);
            }
            Action::EndCheck { which, outcome } if !self.checks.is_empty() => {
                let replica = self.checks.swap_remove(which % self.checks.len());
                let change = self.replicas.check_ended(replica, *outcome, self.now);
                if !(*outcome == Outcome::Success && change.is_some_and(|change| !change.healthy())) {
                    self.verify(replica, *outcome, change)?;
                }
            }
            Action::Wait { millis } => self.now = self.now + Duration::from_millis(*millis),
            Action::EndCall { .. } | Action::EndCheck { .. } => {}
        }
        Ok(())
    }

    fn verify(&self, replica: usize, outcome: Outcome, change: Option<Change>) -> Result<(), TestCaseError> {
        let state = self.states()[replica];
        match change {
            None => {}
            Some(Change::Reinstated) => {
                prop_assert_eq!((outcome, state), (Outcome::Success, ReplicaState::Healthy));
            }
            Some(Change::Ejected { until, usable_left }) => {
                prop_assert_eq!((outcome, state), (Outcome::Failure, ReplicaState::Ejected));
                let length = until.since(self.now);
                prop_assert!(length >= Config::DEFAULTS.ejection_min && length <= Config::DEFAULTS.ejection_max);
                prop_assert_eq!(usable_left, self.replicas.observe(self.now).usable());
            }
        }
        Ok(())
    }
}

fn histories() -> impl Strategy<Value = (usize, Vec<Action>)> {
    (1..6_usize).prop_flat_map(|count| (Just(count), prop::collection::vec(actions(count), 0..200)))
}

proptest! {
    #[test]
    fn any_history_keeps_the_laws((count, history) in histories()) {
        let replicas = Replicas::new(count, Config::DEFAULTS);
        let mut owner = Owner { replicas, now: Timestamp::from_millis(1_000), calls: Vec::new(), checks: Vec::new() };
        for action in &history {
            owner.act(action)?;
            let snapshot = owner.replicas.observe(owner.now);
            for (index, replica) in snapshot.replicas.iter().enumerate() {
                let out = owner.calls.iter().filter(|call| **call == index).count();
                prop_assert_eq!(replica.in_flight as usize, out, "in-flight of {}", index);
            }
            prop_assert!(owner.replicas.next_check().is_some());
        }
    }

    #[test]
    fn every_replica_comes_back_when_it_answers_again((count, history) in histories()) {
        let replicas = Replicas::new(count, Config::DEFAULTS);
        let mut owner = Owner { replicas, now: Timestamp::from_millis(1_000), calls: Vec::new(), checks: Vec::new() };
        for action in &history {
            owner.act(action)?;
        }

        owner.now = owner.now + Config::DEFAULTS.ejection_max;
        for index in 0..count {
            let others: Vec<usize> = (0..count).filter(|other| *other != index).collect();
            let pick = owner.replicas.pick(owner.now, 0, &others);
            prop_assert_eq!(pick.map(|pick| pick.replica), Some(index));
            owner.replicas.begin(index);
            owner.replicas.report(index, Outcome::Success, owner.now);
            owner.replicas.end(index);
        }
        prop_assert!(owner.states().iter().all(|state| *state == ReplicaState::Healthy));
    }

    #[test]
    fn idle_equal_replicas_share_picks_evenly(count in 1..9_usize, seed: u64) {
        let mut replicas = Replicas::new(count, Config::DEFAULTS);
        let mut picks = vec![0_u32; count];
        let rounds = 4_000;
        for round in 0..rounds {
            // SplitMix64: enough for a histogram.
            let mut entropy = seed.wrapping_add(0x9E37_79B9_7F4A_7C15_u64.wrapping_mul(round + 1));
            entropy = (entropy ^ (entropy >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
            entropy = (entropy ^ (entropy >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
            let pick = replicas.pick(Timestamp::from_millis(0), entropy ^ (entropy >> 31), &[]);
            picks[pick.expect("there are replicas").replica] += 1;
        }
        let fair = f64::from(u32::try_from(rounds).expect("few")) / count as f64;
        for count in picks {
            prop_assert!((f64::from(count) - fair).abs() < fair * 0.3, "{} of {}", count, fair);
        }
    }
}
