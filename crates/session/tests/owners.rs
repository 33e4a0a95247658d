//! The machine of a shard against a model that knows only versions, streams and lengths: two owners write the same sessions,
//! each believing that it alone owns them, over two replicas of which one is now and then made of the other's snapshot.
//!
//! | What must hold | Where |
//! |---|---|
//! | a session has one owner: of two who know the same version one is heard | `Model::apply` |
//! | events of a stream have no gaps and go from the front, nothing stays of what has ended | `Owners::check_invariants` |
//! | replicas are equal, whatever they were made of | the same |

use std::collections::BTreeMap;

use proptest::prelude::*;
use proptest_state_machine::{ReferenceStateMachine, StateMachineTest, prop_state_machine};
use quorate_session::EndReason;
use quorate_session::record::proto::{self, Refusal, op::Kind};
use quorate_session::shard::{PART_BYTES_MAX, Part, Shard, command, outcome, parts};
use quorate_types::PrincipalDigest;

const OWNERS: usize = 2;
const SESSIONS: u8 = 3;
const PRINCIPALS: u8 = 2;
const STREAMS: u32 = 2;
/// A change with such an event is applied in parts.
const LARGE: usize = 2 * PART_BYTES_MAX;

/// What is known of a shard without looking into it.
#[derive(Clone, Debug, Default)]
struct Model {
    sessions: BTreeMap<u8, Kept>,
    /// The version of each session that each owner believes to be the present one.
    believed: [BTreeMap<u8, u64>; OWNERS],
    /// What the last change met, and the change.
    last: Option<(Result<(), Refusal>, Sent)>,
}

#[derive(Clone, Debug, Default)]
struct Kept {
    version: u64,
    principal: u8,
    /// Of each stream the sequence before its first event, and the lengths of its events.
    streams: BTreeMap<u32, (u64, Vec<usize>)>,
}

/// A change as it goes to the log.
#[derive(Clone, Debug)]
struct Sent {
    session: u8,
    version: u64,
    change: proto::Change,
    /// All of its parts, or all but the last: its owner has given up.
    is_whole: bool,
}

#[derive(Clone, Debug)]
enum Step {
    /// An owner writes what it believes to be the next change.
    Write { owner: usize, session: u8, what: What, is_whole: bool },
    /// An owner reads the record, as one does that takes a session over.
    TakeOver { owner: usize, session: u8 },
    /// A replica is made of the other's snapshot.
    Install,
}

#[derive(Clone, Copy, Debug)]
enum What {
    Open { principal: u8 },
    Event { stream: u32, bytes: usize },
    Forget { stream: u32 },
    Close { stream: u32 },
    End,
}

// === impl Model ===

impl Model {
    fn version(&self, session: u8) -> u64 {
        self.sessions.get(&session).map_or(0, |kept| kept.version)
    }

    /// The change that does this, of an owner that knows the session as it is.
    fn change(&self, session: u8, what: What) -> proto::Change {
        let streams = self.sessions.get(&session).map(|kept| &kept.streams);
        let oldest = |stream| streams.and_then(|streams| streams.get(&stream)).map(|(oldest, _)| *oldest);
        let put = |stream, oldest| Kind::Stream(proto::Stream { stream, oldest, ..proto::Stream::default() });
        let kinds = match what {
            What::Open { principal } => vec![Kind::Open(charter(principal)), Kind::Ids(1_024)],
            What::Event { stream, bytes } => {
                let begins = oldest(stream).is_none().then(|| put(stream, 0));
                let append = Kind::Append(proto::Append { stream, data: vec![b'x'; bytes].into() });
                begins.into_iter().chain([append]).collect()
            }
            What::Forget { stream } => vec![put(stream, oldest(stream).map_or(0, |oldest| oldest + 1))],
            What::Close { stream } => vec![Kind::StreamEnd(stream)],
            What::End => vec![Kind::End(EndReason::Deleted.written(1))],
        };
        let ops = kinds.into_iter().map(|kind| proto::Op { kind: Some(kind) }).collect();
        proto::Change { time_ms: 1_000, ops }
    }

    /// Applies a change of an owner that knows the session as it is.
    fn apply(&mut self, session: u8, what: What) -> Result<(), Refusal> {
        if let What::Open { principal } = what {
            if self.sessions.contains_key(&session) {
                return Err(Refusal::Malformed);
            }
            self.sessions.insert(session, Kept { version: 1, principal, ..Kept::default() });
            return Ok(());
        }
        let kept = self.sessions.get_mut(&session).ok_or(Refusal::Malformed)?;
        match what {
            What::Open { .. } => {}
            What::Event { stream, bytes } => kept.streams.entry(stream).or_default().1.push(bytes),
            What::Forget { stream } => {
                let (oldest, events) = kept.streams.entry(stream).or_default();
                if !events.is_empty() {
                    events.remove(0);
                    *oldest += 1;
                }
            }
            What::Close { stream } => drop(kept.streams.remove(&stream)),
            What::End => drop(self.sessions.remove(&session)),
        }
        if let Some(kept) = self.sessions.get_mut(&session) {
            kept.version += 1;
        }
        Ok(())
    }

    /// Whether a stream has an event that can go.
    fn has_events(&self, session: u8, stream: u32) -> bool {
        let streams = self.sessions.get(&session).map(|kept| &kept.streams);
        streams.and_then(|streams| streams.get(&stream)).is_some_and(|(_, events)| !events.is_empty())
    }
}

impl ReferenceStateMachine for Model {
    type State = Self;
    type Transition = Step;

    fn init_state() -> BoxedStrategy<Self> {
        Just(Self::default()).boxed()
    }

    fn transitions(_state: &Self) -> BoxedStrategy<Step> {
        let what = prop_oneof![
            3 => (0..PRINCIPALS).prop_map(|principal| What::Open { principal }),
            6 => (0..STREAMS, prop_oneof![8 => 1..64_usize, 1 => Just(LARGE)])
                .prop_map(|(stream, bytes)| What::Event { stream, bytes }),
            3 => (0..STREAMS).prop_map(|stream| What::Forget { stream }),
            1 => (0..STREAMS).prop_map(|stream| What::Close { stream }),
            1 => Just(What::End),
        ];
        let write = (0..OWNERS, 0..SESSIONS, what, prop::bool::weighted(0.9));
        prop_oneof![
            8 => write.prop_map(|(owner, session, what, is_whole)| Step::Write { owner, session, what, is_whole }),
            3 => (0..OWNERS, 0..SESSIONS).prop_map(|(owner, session)| Step::TakeOver { owner, session }),
            1 => Just(Step::Install),
        ]
        .boxed()
    }

    fn preconditions(state: &Self, step: &Step) -> bool {
        match step {
            // Owners never make an event older than the first.
            Step::Write { session, what: What::Forget { stream }, .. } => state.has_events(*session, *stream),
            Step::Write { .. } | Step::TakeOver { .. } | Step::Install => true,
        }
    }

    fn apply(mut state: Self, step: &Step) -> Self {
        state.last = None;
        match *step {
            Step::Write { owner, session, what, is_whole } => {
                let version = state.believed[owner].get(&session).copied().unwrap_or(0);
                let change = state.change(session, what);
                let is_split = parts(u128::from(session), version, &change).len() > 1;
                let is_whole = is_whole || !is_split;
                let met = match version == state.version(session) {
                    false => Err(Refusal::Stale),
                    true if !is_whole => Ok(()),
                    true => state.apply(session, what),
                };
                if met.is_ok() && is_whole {
                    let version = state.version(session);
                    state.believed[owner].insert(session, version);
                }
                state.last = Some((met, Sent { session, version, change, is_whole }));
            }
            Step::TakeOver { owner, session } => {
                let version = state.version(session);
                state.believed[owner].insert(session, version);
            }
            Step::Install => {}
        }
        state
    }
}

fn charter(principal: u8) -> proto::Charter {
    proto::Charter {
        principal: vec![principal; 16].into(),
        scope: Some(proto::charter::Scope::Toolset("tools".to_owned())),
        owner: Some(proto::Owner::default()),
        opened_ms: 1_000,
        ..proto::Charter::default()
    }
}

/// Two replicas of a shard.
struct Owners {
    replicas: [Shard; 2],
}

fn snapshot(shard: &Shard) -> Vec<u8> {
    let mut bytes = Vec::new();
    shard.write_snapshot(&mut bytes).expect("a vector grows");
    bytes
}

impl StateMachineTest for Owners {
    type SystemUnderTest = Self;
    type Reference = Model;

    fn init_test(_state: &Model) -> Self {
        Self { replicas: [Shard::new(), Shard::new()] }
    }

    fn apply(mut owners: Self, state: &Model, step: Step) -> Self {
        if let (Step::Write { .. }, Some((met, sent))) = (&step, &state.last) {
            let mut all: Vec<Part> = parts(u128::from(sent.session), sent.version, &sent.change);
            if !sent.is_whole {
                all.pop();
            }
            let command = command(&all);
            for shard in &mut owners.replicas {
                let outcomes = outcome(&shard.apply(&command).outcome, all.len());
                assert_eq!(outcomes.last(), Some(met), "{step:?}");
            }
        }
        if matches!(step, Step::Install) {
            let bytes = snapshot(&owners.replicas[0]);
            owners.replicas[1] = Shard::restore(&mut bytes.as_slice()).expect("it is one");
        }
        owners
    }

    fn check_invariants(owners: &Self, state: &Model) {
        let [shard, copy] = &owners.replicas;
        assert_eq!((shard.hash(), snapshot(shard)), (copy.hash(), snapshot(copy)), "replicas are equal");
        assert_eq!(shard.len(), state.sessions.len());
        for session in 0..SESSIONS {
            let kept = state.sessions.get(&session);
            let record = shard.get(u128::from(session));
            assert_eq!(record.map(|(version, _)| version), kept.map(|kept| kept.version));
            let (Some((_, record)), Some(kept)) = (record, kept) else { continue };
            let events = || kept.streams.values().flat_map(|(_, events)| events);
            let holds = record.holds();
            assert_eq!(
                (holds.streams, holds.events, holds.event_bytes),
                (kept.streams.len(), events().count(), events().sum())
            );
        }
        for principal in 0..PRINCIPALS {
            let owned = state.sessions.values().filter(|kept| kept.principal == principal).count();
            assert_eq!(shard.owned_by(PrincipalDigest([principal; 16])), owned);
        }
    }
}

prop_state_machine! {
    #![proptest_config(ProptestConfig { cases: 64, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn a_shard_is_what_a_simple_model_says(sequential 1..60 => Owners);
}
