//! Which cluster, which node, and which life of a node.
//!
//! A node's number is given by its cluster when it joins and never given again, also not to the node that replaces it. Its
//! incarnation grows with each start, so that a copy of an older disk is known as one.

use std::fmt::{self, Write as _};
use std::str::FromStr;

/// The number of a node in its cluster; from 1.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct NodeId(pub u64);

/// How often a node has been started on its disk; from 1.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Incarnation(pub u64);

/// The random id of a cluster: 128 bits, written as 32 hexadecimal digits.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ClusterId(pub [u8; 16]);

/// What is no id of a cluster.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct InvalidClusterId;

// === impl NodeId ===

impl fmt::Display for NodeId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

// === impl Incarnation ===

impl fmt::Display for Incarnation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl From<u64> for NodeId {
    fn from(number: u64) -> Self {
        Self(number)
    }
}

// === impl ClusterId ===

impl ClusterId {
    /// Reads the 16 bytes of an id.
    ///
    /// # Errors
    /// There are not 16.
    pub fn from_slice(bytes: &[u8]) -> Result<Self, InvalidClusterId> {
        bytes.try_into().map(Self).map_err(|_| InvalidClusterId)
    }
}

impl FromStr for ClusterId {
    type Err = InvalidClusterId;

    fn from_str(text: &str) -> Result<Self, InvalidClusterId> {
        let digits = text.as_bytes();
        if digits.len() != 32 || !digits.iter().all(u8::is_ascii_hexdigit) {
            return Err(InvalidClusterId);
        }
        u128::from_str_radix(text, 16).map(|id| Self(id.to_be_bytes())).map_err(|_| InvalidClusterId)
    }
}

impl fmt::Display for ClusterId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl fmt::Debug for ClusterId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("ClusterId(")?;
        fmt::Display::fmt(self, f)?;
        f.write_char(')')
    }
}

// === impl InvalidClusterId ===

impl fmt::Display for InvalidClusterId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the id of a cluster is 32 hexadecimal digits")
    }
}

impl std::error::Error for InvalidClusterId {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_of_a_cluster_is_read_as_it_is_written() {
        let id = ClusterId([0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 254, 255]);

        assert_eq!(id.to_string(), "000102030405060708090a0b0c0dfeff");
        assert_eq!(id.to_string().parse(), Ok(id));
    }

    #[test]
    fn what_is_no_id_of_a_cluster_is_refused() {
        for text in ["", "0001", "+00102030405060708090a0b0c0dfeff", "000102030405060708090a0b0c0dfefg"] {
            assert_eq!(text.parse::<ClusterId>(), Err(InvalidClusterId), "{text}");
        }
        assert_eq!(ClusterId::from_slice(&[0; 15]), Err(InvalidClusterId));
    }
}
