//! A node as the cluster knows it.
//!
//! ```text
//!   joining ──▶ active ◀──▶ draining
//!      │         │  ▲          │
//!      └────▶ leaving ◀────────┘      any of them ──▶ removed (RemoveNode)
//! ```

use std::fmt;

use quorate_types::{Incarnation, NodeId, ResourceName, Timestamp};

use crate::check::{self, Checked, Hex};
use crate::limits::{CERTIFICATES_MAX, SERIAL_BYTES_MAX};
use crate::proto;
use crate::refusal::Refusal;

/// What a rack may be called.
const RACK_BYTES_MAX: usize = 63;

/// A node.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Node {
    /// Its number.
    pub id: NodeId,
    /// Its name, unique among the nodes that are not removed.
    pub name: ResourceName,
    /// Where it is reached.
    pub addresses: Addresses,
    /// What fails together with it.
    pub rack: Option<String>,
    /// The feature levels that it can work at.
    pub levels: Levels,
    /// Its latest start; none until it is started.
    pub life: Option<Life>,
    /// What it is for.
    pub state: NodeState,
    /// When it was added.
    pub joined_at: Timestamp,
    /// The certificates that it may show. No other is its.
    pub certificates: Vec<Certificate>,
    /// The node whose place it took.
    pub replaces: Option<NodeId>,
}

/// Where a node is reached: HOST:PORT each.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Addresses {
    /// By other nodes.
    pub peer: String,
    /// By operators.
    pub admin: Option<String>,
    /// By clients.
    pub data: Option<String>,
}

/// The feature levels that a node can work at, from 1.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Levels {
    /// The lowest.
    pub min: u32,
    /// The highest.
    pub max: u32,
}

/// One run of a node.
#[derive(Clone, PartialEq, Eq)]
pub struct Life {
    /// How often it was started on its disk.
    pub incarnation: Incarnation,
    /// Random, new with each start.
    pub start: [u8; 16],
}

/// A certificate that a node may show.
#[derive(Clone, PartialEq, Eq)]
pub struct Certificate {
    /// Its serial number.
    pub serial: Vec<u8>,
    /// SHA-256 of its DER.
    pub fingerprint: [u8; 32],
    /// When it ends.
    pub not_after: Timestamp,
}

/// What a node is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum NodeState {
    /// Added, and not yet serving.
    Joining,
    /// Serving.
    Active,
    /// Gives its leaders and streams away, and keeps its replicas.
    Draining,
    /// Gives its replicas away too.
    Leaving,
    /// Gone for good.
    Removed,
}

// === impl Node ===

impl Node {
    /// Checks what a node says of itself.
    pub(crate) fn new(id: NodeId, new: &proto::NewNode, now: Timestamp) -> Checked<Self> {
        Ok(Self {
            id,
            name: check::name("name", &new.name)?,
            addresses: Addresses::check(&new.peer_address, &new.admin_address, &new.data_address)?,
            rack: rack(&new.rack)?,
            levels: Levels::check(new.level_min, new.level_max)?,
            life: None,
            state: NodeState::Joining,
            joined_at: now,
            certificates: certificates(&new.certificates)?,
            replaces: None,
        })
    }

    pub(crate) fn from_proto(node: &proto::Node) -> Checked<Self> {
        let life = match (node.incarnation, node.start.as_ref()) {
            (0, []) => None,
            (incarnation, start) => Some(Life::check(incarnation, start)?),
        };
        Ok(Self {
            id: check::node_or_none(node.id).ok_or_else(|| Refusal::invalid("id", 0, "1 or more"))?,
            name: check::name("name", &node.name)?,
            addresses: Addresses::check(&node.peer_address, &node.admin_address, &node.data_address)?,
            rack: rack(&node.rack)?,
            levels: Levels::check(node.level_min, node.level_max)?,
            life,
            state: NodeState::check("state", node.state())?,
            joined_at: Timestamp::from_millis(node.joined_at),
            certificates: certificates(&node.certificates)?,
            replaces: check::node_or_none(node.replaces),
        })
    }

    /// Returns the message that says the same.
    #[must_use]
    pub fn to_proto(&self) -> proto::Node {
        proto::Node {
            id: self.id.0,
            name: self.name.as_str().to_owned(),
            peer_address: self.addresses.peer.clone(),
            admin_address: self.addresses.admin.clone().unwrap_or_default(),
            data_address: self.addresses.data.clone().unwrap_or_default(),
            rack: self.rack.clone().unwrap_or_default(),
            level_min: self.levels.min,
            level_max: self.levels.max,
            incarnation: self.life.as_ref().map_or(0, |life| life.incarnation.0),
            start: self.life.as_ref().map(|life| life.start.to_vec().into()).unwrap_or_default(),
            state: self.state.to_proto().into(),
            joined_at: self.joined_at.as_millis(),
            certificates: self.certificates.iter().map(Certificate::to_proto).collect(),
            replaces: self.replaces.map_or(0, |node| node.0),
        }
    }

    /// Whether it is a node of the cluster: not removed.
    #[must_use]
    pub const fn lives(&self) -> bool {
        !matches!(self.state, NodeState::Removed)
    }
}

// === impl Addresses ===

impl Addresses {
    pub(crate) fn check(peer: &str, admin: &str, data: &str) -> Checked<Self> {
        Ok(Self {
            peer: check::address("peer_address", peer)?,
            admin: check::address_or_none("admin_address", admin)?,
            data: check::address_or_none("data_address", data)?,
        })
    }
}

// === impl Levels ===

impl Levels {
    pub(crate) fn check(min: u32, max: u32) -> Checked<Self> {
        let min = check::small("level_min", min, 1..=u32::MAX)?;
        let max = check::small("level_max", max, min..=u32::MAX)?;
        Ok(Self { min, max })
    }

    /// Whether a node can work at a level.
    #[must_use]
    pub const fn contain(self, level: u32) -> bool {
        self.min <= level && level <= self.max
    }
}

impl fmt::Display for Levels {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} to {}", self.min, self.max)
    }
}

// === impl Life ===

impl Life {
    pub(crate) fn check(incarnation: u64, start: &[u8]) -> Checked<Self> {
        let incarnation = Incarnation(check::within("incarnation", incarnation, &(1..=u64::MAX))?);
        Ok(Self { incarnation, start: check::array("start", start)? })
    }
}

impl fmt::Debug for Life {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Life({}, {})", self.incarnation, Hex(&self.start))
    }
}

// === impl Certificate ===

impl Certificate {
    fn check(certificate: &proto::Certificate) -> Checked<Self> {
        let serial = certificate.serial.to_vec();
        if serial.is_empty() || serial.len() > SERIAL_BYTES_MAX {
            let given = format_args!("{} bytes", serial.len());
            return Err(Refusal::invalid("serial", given, format_args!("1 to {SERIAL_BYTES_MAX} bytes")));
        }
        let fingerprint = check::array("fingerprint", &certificate.fingerprint)?;
        Ok(Self { serial, fingerprint, not_after: Timestamp::from_millis(certificate.not_after) })
    }

    fn to_proto(&self) -> proto::Certificate {
        proto::Certificate {
            serial: self.serial.clone().into(),
            fingerprint: self.fingerprint.to_vec().into(),
            not_after: self.not_after.as_millis(),
        }
    }
}

impl fmt::Debug for Certificate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Certificate")
            .field("serial", &Hex(&self.serial))
            .field("fingerprint", &Hex(&self.fingerprint))
            .field("not_after", &self.not_after)
            .finish()
    }
}

// === impl NodeState ===

impl NodeState {
    pub(crate) fn check(field: &str, state: proto::NodeState) -> Checked<Self> {
        match state {
            proto::NodeState::Unspecified => Err(Refusal::invalid(field, "unspecified", "a state of nodes")),
            proto::NodeState::Joining => Ok(Self::Joining),
            proto::NodeState::Active => Ok(Self::Active),
            proto::NodeState::Draining => Ok(Self::Draining),
            proto::NodeState::Leaving => Ok(Self::Leaving),
            proto::NodeState::Removed => Ok(Self::Removed),
        }
    }

    /// Returns the enum that says the same.
    #[must_use]
    pub const fn to_proto(self) -> proto::NodeState {
        match self {
            Self::Joining => proto::NodeState::Joining,
            Self::Active => proto::NodeState::Active,
            Self::Draining => proto::NodeState::Draining,
            Self::Leaving => proto::NodeState::Leaving,
            Self::Removed => proto::NodeState::Removed,
        }
    }

    /// Returns its name, as operators write it.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Joining => "joining",
            Self::Active => "active",
            Self::Draining => "draining",
            Self::Leaving => "leaving",
            Self::Removed => "removed",
        }
    }

    /// What it may become by `SetNodeState`.
    pub(crate) const fn next(self) -> &'static [Self] {
        match self {
            Self::Joining => &[Self::Active, Self::Leaving],
            Self::Active => &[Self::Draining, Self::Leaving],
            Self::Draining => &[Self::Active, Self::Leaving],
            Self::Leaving => &[Self::Active],
            Self::Removed => &[],
        }
    }
}

impl fmt::Display for NodeState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

pub(crate) fn rack(text: &str) -> Checked<Option<String>> {
    let text = check::line("rack", text, RACK_BYTES_MAX)?;
    Ok(Some(text).filter(|text| !text.is_empty()))
}

pub(crate) fn certificates(all: &[proto::Certificate]) -> Checked<Vec<Certificate>> {
    if all.len() > CERTIFICATES_MAX {
        return Err(Refusal::limit("certificates", all.len(), CERTIFICATES_MAX));
    }
    all.iter().map(Certificate::check).collect()
}
