//! Commands about alarms.
//!
//! Raising one again only changes what it says, so that whoever notices may say so as often as it likes; when it was raised
//! first stays. A node's alarms go with it.

use std::sync::Arc;

use quorate_types::NodeId;

use super::{Answer, Catalog, DONE, Step};
use crate::alarm::Alarm;
use crate::check;
use crate::effect::Effect;
use crate::limits::ALARMS_MAX;
use crate::proto;
use crate::refusal::Refusal;

// === impl Catalog ===

impl Catalog {
    pub(super) fn raise_alarm(&mut self, raise: &proto::RaiseAlarm, step: &mut Step) -> Answer {
        self.living_node("node", raise.node)?;
        let alarm = Alarm::from_proto(&proto::Alarm {
            node: raise.node,
            kind: raise.kind.clone(),
            message: raise.message.clone(),
            since: step.now.as_millis(),
        })?;
        let key = (alarm.node, alarm.kind.clone());
        let standing = self.alarms.get(&key);
        if standing.is_none() && self.alarms.len() >= ALARMS_MAX {
            return Err(Refusal::limit("kind", &alarm.kind, format_args!("{ALARMS_MAX} alarms")));
        }
        let since = standing.map_or(alarm.since, |standing| standing.since);
        Arc::make_mut(&mut self.alarms).insert(key, Alarm { since, ..alarm });
        step.effects.push(Effect::Alarms);
        DONE
    }

    pub(super) fn clear_alarm(&mut self, clear: &proto::ClearAlarm, step: &mut Step) -> Answer {
        let key = (NodeId(clear.node), check::name("kind", &clear.kind)?);
        if !self.alarms.contains_key(&key) {
            return Err(Refusal::unknown("kind", &clear.kind, "an alarm of this node that is on"));
        }
        Arc::make_mut(&mut self.alarms).remove(&key);
        step.effects.push(Effect::Alarms);
        DONE
    }
}
