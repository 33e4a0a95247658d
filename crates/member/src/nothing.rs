//! The machine of a shard that nothing is kept in yet: it takes no command and has no state.
//!
//! Shard groups run with it, elect their leaders and move over the nodes, so that what is put on them next finds them
//! proven. A command is refused by name, the same on every replica; nothing proposes one.

use std::io::{self, Read, Write};
use std::sync::Arc;

use bytes::Bytes;
use prost::Message;
use quorate_catalog::proto;
use quorate_control::Machines;
use quorate_raft::{Applied, Frozen, Machine, RestoreError};

/// Takes nothing.
struct Nothing;

/// Makes machines for shards in which nothing is kept.
#[must_use]
pub fn nothing() -> Machines {
    Arc::new(|_| Box::new(Nothing))
}

impl Machine for Nothing {
    fn apply(&mut self, _context: &Applied, command: &[u8]) -> Bytes {
        let refusal = proto::Refusal {
            reason: proto::Reason::Level.into(),
            field: "command".to_owned(),
            value: format!("{} bytes", command.len()),
            allowed: "no command: this version keeps nothing in shards".to_owned(),
            conflict: None,
        };
        proto::Outcome { kind: Some(proto::outcome::Kind::Refusal(refusal)) }.encode_to_vec().into()
    }

    fn freeze(&self) -> Box<dyn Frozen> {
        Box::new(Self)
    }

    fn restore(&mut self, from: &mut dyn Read) -> Result<(), RestoreError> {
        match from.read(&mut [0])? {
            0 => Ok(()),
            _ => Err(RestoreError::Invalid { reason: "a shard of this version has no state".to_owned() }),
        }
    }
}

impl Frozen for Nothing {
    fn hash(&self) -> u64 {
        0
    }

    fn write(&self, _to: &mut dyn Write) -> io::Result<()> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use quorate_types::Timestamp;

    use super::*;

    #[test]
    fn a_command_is_refused_by_name_and_a_state_of_another_version_too() {
        let context = Applied { index: 1, term: 1, time: Timestamp::from_millis(1) };

        let refusal = quorate_catalog::outcome(&Nothing.apply(&context, b"open a session")).unwrap_err();
        assert_eq!((refusal.field(), refusal.value()), ("command", "14 bytes"));
        assert!(Nothing.restore(&mut io::empty()).is_ok());
        assert!(Nothing.restore(&mut b"a session".as_slice()).is_err());
    }
}
