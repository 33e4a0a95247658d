//! The machine: its state, and which handler takes which command.
//!
//! `apply` decodes and dispatches; the handlers live beside it by what they change: `cluster`, `nodes`, `tokens`, `shards`,
//! `resources` (documents and stages), `keys`, `alarms`, `operators`. Each first checks everything, then changes: nothing is checked
//! after the first change, so that a refused command changes nothing. `reads` is what others ask.
//!
//! Time is the log's: the latest that a command came with. It stands still when a command is refused, and what time alone
//! ends (tokens, stages, certificates) is swept only after a command that changed something; until then it counts as gone.

mod alarms;
mod check;
mod cluster;
mod keys;
mod nodes;
mod operators;
mod reads;
mod recover;
mod resources;
mod shards;
mod tokens;

pub(crate) use keys::key_id;
pub use recover::Recovery;

use std::collections::BTreeMap;
use std::sync::Arc;

use bytes::Bytes;
use prost::Message as _;
use quorate_types::{NodeId, ResourceName, Timestamp};

use crate::alarm::Alarm;
use crate::check::Checked;
use crate::cluster::Cluster;
use crate::documents::Documents;
use crate::effect::Effect;
use crate::key::Key;
use crate::limits::COMMAND_BYTES_MAX;
use crate::node::Node;
use crate::operator::{Operator, OperatorId};
use crate::plan::StageId;
use crate::proto::{self, Reason, command, outcome};
use crate::refusal::Refusal;
use crate::shard::Shard;
use crate::stage::Stage;
use crate::token::{Token, TokenId};

/// The state that all nodes share. Clones share everything with their original.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Catalog {
    /// None until it is bootstrapped; then everything else is empty too.
    pub(crate) cluster: Option<Cluster>,
    /// The time of the last command that changed something.
    pub(crate) time: Timestamp,
    pub(crate) nodes: Arc<BTreeMap<NodeId, Node>>,
    /// The number that the next node gets.
    pub(crate) next_node: u64,
    /// The highest number of the removed nodes that were forgotten, from the level on at which nodes have numbers of their own;
    /// 0 when none was.
    pub(crate) forgotten: u64,
    pub(crate) tokens: Arc<BTreeMap<TokenId, Token>>,
    /// By number.
    pub(crate) shards: Arc<BTreeMap<u32, Shard>>,
    /// Grows with each change of a shard.
    pub(crate) map_version: u64,
    pub(crate) documents: Documents,
    pub(crate) stages: Arc<BTreeMap<StageId, Stage>>,
    pub(crate) keys: Arc<BTreeMap<KeyId, Key>>,
    pub(crate) alarms: Arc<BTreeMap<(NodeId, ResourceName), Alarm>>,
    pub(crate) operators: Arc<BTreeMap<OperatorId, Operator>>,
}

/// Purpose, id and version.
pub(crate) type KeyId = (ResourceName, ResourceName, u32);

/// What a command came to.
#[derive(Clone, Debug, PartialEq)]
pub struct Applied {
    /// The encoded [`proto::Outcome`].
    pub outcome: Bytes,
    /// What was changed, for observers; nothing of a refused command.
    pub effects: Vec<Effect>,
}

/// One command being applied.
pub(crate) struct Step {
    /// The time of the log.
    pub(crate) now: Timestamp,
    pub(crate) effects: Vec<Effect>,
}

type Answer = Checked<outcome::Kind>;

const DONE: Answer = Ok(outcome::Kind::Done(proto::Done {}));

// === impl Catalog ===

impl Catalog {
    /// A state without a cluster.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Applies a command of the log, at the log's time, and returns the encoded outcome and what was changed.
    ///
    /// Total and deterministic. Commands come in the log's order; a time that steps back counts as the latest one.
    pub fn apply(&mut self, now: Timestamp, command: &[u8]) -> Applied {
        let mut step = Step { now: self.time.max(now), effects: Vec::new() };
        let answer = decode(command).and_then(|command| self.dispatch(command, &mut step));
        let kind = match answer {
            Ok(kind) => {
                self.time = step.now;
                self.sweep(&mut step);
                kind
            }
            Err(refusal) => {
                step.effects.clear();
                outcome::Kind::Refusal(refusal.into_proto())
            }
        };
        let outcome = proto::Outcome { kind: Some(kind) }.encode_to_vec().into();
        Applied { outcome, effects: step.effects }
    }

    fn dispatch(&mut self, command: proto::Command, step: &mut Step) -> Answer {
        let unknown = || Refusal::new(Reason::Malformed, "command", "nothing that is known here", "a command");
        let kind = command.kind.ok_or_else(unknown)?;
        if let command::Kind::Bootstrap(bootstrap) = kind {
            return self.bootstrap(command.level, &bootstrap, step);
        }
        self.check_level(command.level)?;
        match kind {
            command::Kind::Bootstrap(_) => unreachable!("it was taken above"),
            command::Kind::RaiseLevel(raise) => self.raise_level(&raise, step),
            command::Kind::SetLimits(set) => self.set_limits(&set, step),
            command::Kind::AddNode(add) => self.add_node(&add, step),
            command::Kind::NodeStarted(started) => self.node_started(&started, step),
            command::Kind::UpdateNode(update) => self.update_node(&update, step),
            command::Kind::SetNodeState(set) => self.set_node_state(&set, step),
            command::Kind::SetCertificates(set) => self.set_certificates(&set, step),
            command::Kind::ReplaceNode(replace) => self.replace_node(&replace, step),
            command::Kind::RemoveNode(remove) => self.remove_node(&remove, step),
            command::Kind::IssueToken(issue) => self.issue_token(&issue, step),
            command::Kind::RevokeToken(revoke) => self.revoke_token(&revoke, step),
            command::Kind::SetReplicas(set) => self.set_replicas(&set, step),
            command::Kind::Apply(apply) => self.apply_documents(&apply, step),
            command::Kind::Rollback(rollback) => self.rollback(&rollback, step),
            command::Kind::StageBegin(begin) => self.begin_stage(&begin, step),
            command::Kind::StagePart(part) => self.grow_stage(&part, step),
            command::Kind::StageCommit(commit) => self.commit_stage(&commit, step),
            command::Kind::StageAbort(abort) => self.abort_stage(&abort),
            command::Kind::RotateKey(rotate) => self.rotate_key(&rotate, step),
            command::Kind::RetireKey(retire) => self.retire_key(&retire, step),
            command::Kind::RewrapKey(rewrap) => self.rewrap_key(&rewrap, step),
            command::Kind::RaiseAlarm(raise) => self.raise_alarm(&raise, step),
            command::Kind::ClearAlarm(clear) => self.clear_alarm(&clear, step),
            command::Kind::IssueOperator(issue) => self.issue_operator(&issue, step),
            command::Kind::RevokeOperator(revoke) => self.revoke_operator(&revoke, step),
        }
    }

    /// Whether the cluster can do what a command needs.
    fn check_level(&self, needed: u32) -> Checked<()> {
        let Some(cluster) = &self.cluster else {
            return Err(Refusal::new(Reason::NotBootstrapped, "command", "any", "bootstrap first"));
        };
        if needed > cluster.level {
            let allowed = format_args!("at most {}, the cluster's", cluster.level);
            return Err(Refusal::new(Reason::Level, "level", needed, allowed));
        }
        Ok(())
    }

    /// The cluster that `check_level` found.
    pub(crate) fn this_cluster(&self) -> &Cluster {
        self.cluster.as_ref().expect("commands but the first are refused without a cluster")
    }

    /// Lets go what time has ended.
    fn sweep(&mut self, step: &mut Step) {
        self.sweep_tokens(step);
        self.sweep_operators(step);
        if self.stages.values().any(|stage| stage.is_forgotten(step.now)) {
            Arc::make_mut(&mut self.stages).retain(|_, stage| !stage.is_forgotten(step.now));
        }
    }
}

fn decode(command: &[u8]) -> Checked<proto::Command> {
    if command.len() > COMMAND_BYTES_MAX {
        return Err(Refusal::limit("command", format_args!("{} bytes", command.len()), COMMAND_BYTES_MAX));
    }
    let refuse = |_| Refusal::new(Reason::Malformed, "command", format_args!("{} bytes", command.len()), "a command");
    proto::Command::decode(command).map_err(refuse)
}
