//! The name that a certificate gives a node: `quorate://CLUSTER/node/ID`.
//!
//! In flow URI names of a verified leaf, out flows which node of which cluster its holder is. There is one spelling of
//! each name: 32 hexadecimal digits in lower case, and a decimal number without leading zeros; another is no name.

use std::fmt;
use std::str::FromStr;

use quorate_types::{ClusterId, NodeId};

const SCHEME: &str = "quorate://";

/// Which node of which cluster.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct NodeName {
    /// The cluster.
    pub cluster: ClusterId,
    /// The node's number in it.
    pub node: NodeId,
}

/// What is no name of a node.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the name of a node is `quorate://CLUSTER/node/ID`")]
pub struct InvalidNodeName;

// === impl NodeName ===

impl NodeName {
    /// Returns the one name of a node among the URI names of its certificate; others may stand beside it.
    pub(crate) fn among(uris: &[String]) -> Result<Self, InvalidNodeName> {
        let mut ours = uris.iter().filter(|uri| uri.starts_with(SCHEME));
        match (ours.next(), ours.next()) {
            (Some(uri), None) => uri.parse(),
            _ => Err(InvalidNodeName),
        }
    }
}

impl fmt::Display for NodeName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{SCHEME}{}/node/{}", self.cluster, self.node)
    }
}

impl FromStr for NodeName {
    type Err = InvalidNodeName;

    fn from_str(text: &str) -> Result<Self, InvalidNodeName> {
        let parts = text.strip_prefix(SCHEME).and_then(|rest| rest.split_once("/node/"));
        let (cluster, node) = parts.ok_or(InvalidNodeName)?;
        let cluster = cluster.parse().map_err(|_| InvalidNodeName)?;
        let node = node.parse().map(NodeId).map_err(|_| InvalidNodeName)?;
        let name = Self { cluster, node };
        // Capitals, leading zeros and signs are other spellings; numbers of nodes begin with 1.
        if node == NodeId(0) || name.to_string() != text { Err(InvalidNodeName) } else { Ok(name) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const CLUSTER: &str = "000102030405060708090a0b0c0dfeff";

    #[test]
    fn a_name_is_read_as_it_is_written() {
        let name: NodeName = format!("quorate://{CLUSTER}/node/18446744073709551615").parse().unwrap();

        assert_eq!(name.node, NodeId(u64::MAX));
        assert_eq!(name.cluster.to_string(), CLUSTER);
        assert_eq!(name.to_string(), format!("quorate://{CLUSTER}/node/18446744073709551615"));
    }

    #[test]
    fn another_spelling_is_no_name() {
        let upper = CLUSTER.to_uppercase();
        let cases = [
            String::new(),
            format!("spiffe://{CLUSTER}/node/1"),
            format!("quorate://{CLUSTER}"),
            format!("quorate://{CLUSTER}/node/"),
            format!("quorate://{CLUSTER}/node/0"),
            format!("quorate://{CLUSTER}/node/01"),
            format!("quorate://{CLUSTER}/node/+1"),
            format!("quorate://{CLUSTER}/node/1/"),
            format!("quorate://{CLUSTER}/node/18446744073709551616"),
            format!("quorate://{upper}/node/1"),
            format!("quorate://{}/node/1", &CLUSTER[1..]),
        ];
        for text in cases {
            assert_eq!(text.parse::<NodeName>(), Err(InvalidNodeName), "{text}");
        }
    }

    #[test]
    fn a_certificate_names_one_node() {
        let name = |node: u32| format!("quorate://{CLUSTER}/node/{node}");
        let other = "spiffe://example.com/node".to_owned();

        assert_eq!(NodeName::among(&[other.clone(), name(3)]).map(|name| name.node), Ok(NodeId(3)));
        assert_eq!(NodeName::among(&[other]), Err(InvalidNodeName));
        assert_eq!(NodeName::among(&[name(3), name(3)]), Err(InvalidNodeName));
    }
}
