//! What is wrong with a node, until it is not.
//!
//! An alarm is raised by whoever notices and cleared by whoever sees that it is over; here it only stands.

use quorate_types::{NodeId, ResourceName, Timestamp};

use crate::check::{self, Checked};
use crate::limits::ALARM_BYTES_MAX;
use crate::proto;
use crate::refusal::Refusal;

/// An alarm that is on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Alarm {
    /// The node that it is about.
    pub node: NodeId,
    /// What kind of alarm it is.
    pub kind: ResourceName,
    /// What is wrong, for operators.
    pub message: String,
    /// When it was raised first.
    pub since: Timestamp,
}

// === impl Alarm ===

impl Alarm {
    pub(crate) fn from_proto(alarm: &proto::Alarm) -> Checked<Self> {
        Ok(Self {
            node: check::node_or_none(alarm.node).ok_or_else(|| Refusal::invalid("node", 0, "1 or more"))?,
            kind: check::name("kind", &alarm.kind)?,
            message: check::prose("message", &alarm.message, ALARM_BYTES_MAX)?,
            since: Timestamp::from_millis(alarm.since),
        })
    }

    pub(crate) fn to_proto(&self) -> proto::Alarm {
        proto::Alarm {
            node: self.node.0,
            kind: self.kind.as_str().to_owned(),
            message: self.message.clone(),
            since: self.since.as_millis(),
        }
    }
}
