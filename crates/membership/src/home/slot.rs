//! How an identity lies in its file: two slots, written in turn.
//!
//! ```text
//! slot ::= "QHOM" ‖ format ‖ length ‖ crc32(format ‖ length ‖ Home) ‖ Home in protobuf ‖ zeros     (u32 little-endian)
//! ```
//!
//! A slot has a page of its own, so that a write that is torn, of whatever a disk writes as a whole, leaves the other slot
//! alone. Reading is strict: a slot is what was written, or it says why not.

use prost::Message;
use quorate_proto::membership::v1;
use quorate_types::{ClusterId, Incarnation, NodeId, ResourceName, Timestamp};

use super::Identity;

/// Bytes of a slot: no disk in use writes more at once.
pub(super) const SLOT_BYTES: usize = 4096;
/// The only format so far.
pub(super) const FORMAT: u32 = 1;
const MAGIC: &[u8; 4] = b"QHOM";
const HEADER_BYTES: usize = 16;

/// What is read from a slot.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Slot {
    /// An identity.
    Valid(Identity),
    /// Nothing was ever written.
    Blank,
    /// It is whole, and a newer program wrote it.
    Newer(u32),
    /// It is not what was written.
    Bad,
}

pub(super) fn encode(identity: &Identity) -> Vec<u8> {
    let home = v1::Home {
        cluster: identity.cluster.0.to_vec().into(),
        node: identity.node.0,
        incarnation: identity.incarnation.0,
        created_ms: identity.created.as_millis(),
        name: identity.name.as_str().to_owned(),
    };
    seal(FORMAT, &home.encode_to_vec())
}

fn seal(format: u32, payload: &[u8]) -> Vec<u8> {
    let length = u32::try_from(payload.len()).expect("an identity is bounded by the length of a name");
    let mut bytes = Vec::with_capacity(SLOT_BYTES);
    bytes.extend_from_slice(MAGIC);
    bytes.extend_from_slice(&format.to_le_bytes());
    bytes.extend_from_slice(&length.to_le_bytes());
    bytes.extend_from_slice(&checksum(&bytes[4..12], payload).to_le_bytes());
    bytes.extend_from_slice(payload);
    assert!(bytes.len() <= SLOT_BYTES, "an identity fits a slot: its name is bounded");
    bytes.resize(SLOT_BYTES, 0);
    bytes
}

pub(super) fn decode(bytes: &[u8]) -> Slot {
    if bytes.iter().all(|byte| *byte == 0) {
        return Slot::Blank;
    }
    match open(bytes) {
        Some((FORMAT, payload)) => read(payload).map_or(Slot::Bad, Slot::Valid),
        Some((newer, _)) if newer > FORMAT => Slot::Newer(newer),
        Some(_) | None => Slot::Bad,
    }
}

fn open(bytes: &[u8]) -> Option<(u32, &[u8])> {
    let (header, rest) = bytes.split_at_checked(HEADER_BYTES)?;
    let number = |at: usize| u32::from_le_bytes(header[at..at + 4].try_into().expect("four bytes"));
    let payload = rest.get(..usize::try_from(number(8)).ok()?)?;
    let zeros = &rest[payload.len()..];
    let is_whole = &header[..4] == MAGIC && checksum(&header[4..12], payload) == number(12);
    (is_whole && zeros.iter().all(|byte| *byte == 0)).then_some((number(4), payload))
}

fn read(payload: &[u8]) -> Option<Identity> {
    let home = v1::Home::decode(payload).ok()?;
    Some(Identity {
        cluster: ClusterId::from_slice(&home.cluster).ok()?,
        node: Some(NodeId(home.node)).filter(|node| node.0 > 0)?,
        incarnation: Incarnation(home.incarnation),
        created: Timestamp::from_millis(home.created_ms),
        name: ResourceName::new(&home.name).ok()?,
    })
}

fn checksum(header: &[u8], payload: &[u8]) -> u32 {
    let mut hasher = crc32fast::Hasher::new();
    hasher.update(header);
    hasher.update(payload);
    hasher.finalize()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn identity() -> impl Strategy<Value = Identity> {
        (any::<[u8; 16]>(), 1..u64::MAX, any::<u64>(), any::<u64>(), "[a-z0-9][a-z0-9_-]{0,62}").prop_map(
            |(cluster, node, incarnation, created, name)| Identity {
                cluster: ClusterId(cluster),
                node: NodeId(node),
                incarnation: Incarnation(incarnation),
                created: Timestamp::from_millis(created),
                name: ResourceName::new(&name).unwrap(),
            },
        )
    }

    #[test]
    fn a_slot_of_a_newer_format_is_told_from_a_damaged_one() {
        let mut newer = seal(FORMAT + 1, b"whatever it has");

        assert_eq!(decode(&newer), Slot::Newer(FORMAT + 1));
        newer[20] ^= 1;
        assert_eq!(decode(&newer), Slot::Bad);
        assert_eq!(decode(&seal(0, b"")), Slot::Bad);
        assert_eq!(decode(&[0; SLOT_BYTES]), Slot::Blank);
    }

    proptest! {
        #[test]
        fn an_identity_is_read_as_it_was_written(identity in identity()) {
            let bytes = encode(&identity);
            prop_assert_eq!(bytes.len(), SLOT_BYTES);
            prop_assert_eq!(decode(&bytes), Slot::Valid(identity));
        }

        #[test]
        fn a_slot_with_one_bit_changed_is_bad(identity in identity(), bit in 0..SLOT_BYTES * 8) {
            let mut bytes = encode(&identity);
            bytes[bit / 8] ^= 1 << (bit % 8);
            prop_assert_eq!(decode(&bytes), Slot::Bad);
        }

        #[test]
        fn arbitrary_bytes_are_never_an_identity(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            prop_assert!(!matches!(decode(&bytes), Slot::Valid(_)));
        }
    }
}
