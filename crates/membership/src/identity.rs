//! Who presents a certificate: a node of a cluster, or somebody who operates it.
//!
//! ```text
//! quorate://CLUSTER/node/NUMBER
//! quorate://CLUSTER/operator/NAME/ROLE
//! ```
//!
//! The one URI among the certificate's alternative names says it, in one spelling: two texts are never the same member.
//! Nothing is verified here; who asks has a certificate that [`crate::trust`] or a handshake verified.

use std::fmt;
use std::str::FromStr;

use quorate_tls::x509::Facts;
use quorate_types::{ClusterId, NodeId, ResourceName};

const SCHEME: &str = "quorate://";
/// The longest URI: cluster, `operator`, the longest name and role.
const URI_BYTES_MAX: usize = 256;

/// Who a certificate is for.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum PeerIdentity {
    /// A node.
    Node {
        /// The cluster that it is in.
        cluster: ClusterId,
        /// Its number, from 1.
        node: NodeId,
    },
    /// Somebody who operates the cluster, or a program that does.
    Operator {
        /// The cluster.
        cluster: ClusterId,
        /// What it is called.
        name: ResourceName,
        /// What it may do.
        role: Role,
    },
}

/// What an operator may do, from less to more; what each action needs is decided by policy.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Role {
    /// Looks.
    Viewer,
    /// Works with resources, and moves what nodes have.
    Operator,
    /// Changes who is in the cluster and who may do what.
    Admin,
}

/// A certificate does not say who presents it.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum InvalidIdentity {
    /// It cannot be read.
    #[error("the certificate cannot be read")]
    Malformed,
    /// It is an authority's, or its key must not be used in handshakes.
    #[error("the certificate is not for handshakes: {0}")]
    Usage(&'static str),
    /// It has no URI, or several.
    #[error("the certificate has {count} uris among its alternative names, and must have 1")]
    Uris {
        /// How many.
        count: usize,
    },
    /// Its URI is none of ours.
    #[error(
        "the certificate's uri {uri:?} is not of the form `quorate://CLUSTER/node/NUMBER` or \
         `quorate://CLUSTER/operator/NAME/ROLE`"
    )]
    Uri {
        /// The URI, cut to the length that one may have.
        uri: String,
    },
}

/// A text is no role.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a role is `viewer`, `operator` or `admin`")]
pub struct InvalidRole;

/// Reads who a certificate in DER is for. It must have been verified, or be meant to be.
///
/// # Errors
/// [`InvalidIdentity`] says what it lacks.
pub fn peer_identity(certificate: &[u8]) -> Result<PeerIdentity, InvalidIdentity> {
    let facts = Facts::read(certificate).map_err(|_| InvalidIdentity::Malformed)?;
    match facts.key_usage {
        _ if facts.is_authority => return Err(InvalidIdentity::Usage("it is an authority's")),
        None => return Err(InvalidIdentity::Usage("it has no key usage")),
        Some(usage) if !usage.signs_handshakes() => return Err(InvalidIdentity::Usage("it lacks digitalSignature")),
        Some(usage) if usage.signs_certificates() => return Err(InvalidIdentity::Usage("it has keyCertSign")),
        Some(_) => {}
    }
    let [uri] = facts.uris.as_slice() else { return Err(InvalidIdentity::Uris { count: facts.uris.len() }) };
    // What is not text has a character that none of ours has.
    String::from_utf8_lossy(uri).parse()
}

// === impl PeerIdentity ===

impl PeerIdentity {
    /// The cluster.
    #[must_use]
    pub fn cluster(&self) -> ClusterId {
        match self {
            Self::Node { cluster, .. } | Self::Operator { cluster, .. } => *cluster,
        }
    }

    /// The node, if it is one.
    #[must_use]
    pub fn node(&self) -> Option<NodeId> {
        match self {
            Self::Node { node, .. } => Some(*node),
            Self::Operator { .. } => None,
        }
    }
}

impl fmt::Display for PeerIdentity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Node { cluster, node } => write!(f, "{SCHEME}{cluster}/node/{node}"),
            Self::Operator { cluster, name, role } => write!(f, "{SCHEME}{cluster}/operator/{}/{role}", name.as_str()),
        }
    }
}

impl FromStr for PeerIdentity {
    type Err = InvalidIdentity;

    fn from_str(text: &str) -> Result<Self, InvalidIdentity> {
        let refused = || InvalidIdentity::Uri { uri: text.chars().take(URI_BYTES_MAX).collect() };
        let identity = read(text).ok_or_else(refused)?;
        // One spelling: no capitals in the cluster, no zeros before a number.
        if identity.to_string() == text { Ok(identity) } else { Err(refused()) }
    }
}

fn read(text: &str) -> Option<PeerIdentity> {
    let rest = text.strip_prefix(SCHEME).filter(|_| text.len() <= URI_BYTES_MAX)?;
    let (cluster, path) = rest.split_once('/')?;
    let cluster = cluster.parse().ok()?;
    if let Some(node) = path.strip_prefix("node/") {
        let node = node.parse().ok().filter(|node| *node > 0).map(NodeId)?;
        return Some(PeerIdentity::Node { cluster, node });
    }
    let (name, role) = path.strip_prefix("operator/")?.split_once('/')?;
    Some(PeerIdentity::Operator { cluster, name: ResourceName::new(name).ok()?, role: role.parse().ok()? })
}

// === impl Role ===

impl Role {
    /// Its name, as it stands in certificates.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Viewer => "viewer",
            Self::Operator => "operator",
            Self::Admin => "admin",
        }
    }
}

impl FromStr for Role {
    type Err = InvalidRole;

    fn from_str(text: &str) -> Result<Self, InvalidRole> {
        let roles = [Self::Viewer, Self::Operator, Self::Admin];
        roles.into_iter().find(|role| role.as_str() == text).ok_or(InvalidRole)
    }
}

impl fmt::Display for Role {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use rcgen::{CertificateParams, IsCa, KeyPair, KeyUsagePurpose, SanType};

    use super::*;

    const CLUSTER: &str = "000102030405060708090a0b0c0d0eff";

    #[test]
    fn uris_are_read_in_one_spelling() {
        let taken = ["node/1", "node/18446744073709551615", "operator/ana/viewer", "operator/ci-1_x/admin"];
        for path in taken {
            let text = format!("quorate://{CLUSTER}/{path}");
            let identity: PeerIdentity = text.parse().unwrap();
            assert_eq!((identity.to_string(), identity.cluster()), (text, CLUSTER.parse().unwrap()));
        }
        let refused = [
            "",
            "quorate://",
            "spiffe://000102030405060708090a0b0c0d0eff/node/1",
            "QUORATE://000102030405060708090a0b0c0d0eff/node/1",
            "quorate://000102030405060708090A0B0C0D0EFF/node/1",
            "quorate://000102030405060708090a0b0c0d0e/node/1",
            "quorate://000102030405060708090a0b0c0d0eff",
            "quorate://000102030405060708090a0b0c0d0eff/node/0",
            "quorate://000102030405060708090a0b0c0d0eff/node/01",
            "quorate://000102030405060708090a0b0c0d0eff/node/+1",
            "quorate://000102030405060708090a0b0c0d0eff/node/18446744073709551616",
            "quorate://000102030405060708090a0b0c0d0eff/node/1/",
            "quorate://000102030405060708090a0b0c0d0eff//node/1",
            "quorate://000102030405060708090a0b0c0d0eff/node/1?a",
            "quorate://000102030405060708090a0b0c0d0eff:1/node/1",
            "quorate://000102030405060708090a0b0c0d0eff/operator/ana",
            "quorate://000102030405060708090a0b0c0d0eff/operator/ana/root",
            "quorate://000102030405060708090a0b0c0d0eff/operator/Ana/admin",
            "quorate://000102030405060708090a0b0c0d0eff/operator//admin",
            "quorate://000102030405060708090a0b0c0d0eff/operator/ana/admin/",
        ];
        for text in refused {
            assert_eq!(text.parse::<PeerIdentity>(), Err(InvalidIdentity::Uri { uri: text.to_owned() }), "{text}");
        }
    }

    fn certificate(change: impl FnOnce(&mut CertificateParams)) -> Vec<u8> {
        let mut params = CertificateParams::default();
        let uri = format!("quorate://{CLUSTER}/node/7").as_str().try_into().unwrap();
        params.subject_alt_names = vec![SanType::URI(uri)];
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        change(&mut params);
        params.self_signed(&KeyPair::generate().unwrap()).unwrap().der().to_vec()
    }

    #[test]
    fn a_certificate_is_for_the_one_member_that_its_uri_names() {
        let node = PeerIdentity::Node { cluster: CLUSTER.parse().unwrap(), node: NodeId(7) };
        assert_eq!(peer_identity(&certificate(|_| {})), Ok(node.clone()));
        let named = |params: &mut CertificateParams| {
            params.subject_alt_names.push(SanType::DnsName("a.test".try_into().unwrap()));
        };
        assert_eq!(peer_identity(&certificate(named)), Ok(node));

        let twice = |params: &mut CertificateParams| params.subject_alt_names.push(params.subject_alt_names[0].clone());
        assert_eq!(peer_identity(&certificate(twice)), Err(InvalidIdentity::Uris { count: 2 }));
        let none = |params: &mut CertificateParams| params.subject_alt_names.clear();
        assert_eq!(peer_identity(&certificate(none)), Err(InvalidIdentity::Uris { count: 0 }));
        let authority =
            |params: &mut CertificateParams| params.is_ca = IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
        assert!(matches!(peer_identity(&certificate(authority)), Err(InvalidIdentity::Usage(_))));
        for usages in [
            vec![],
            vec![KeyUsagePurpose::KeyEncipherment],
            vec![KeyUsagePurpose::DigitalSignature, KeyUsagePurpose::KeyCertSign],
        ] {
            let usage = |params: &mut CertificateParams| params.key_usages = usages;
            assert!(matches!(peer_identity(&certificate(usage)), Err(InvalidIdentity::Usage(_))));
        }
        assert_eq!(peer_identity(b"no certificate"), Err(InvalidIdentity::Malformed));
    }

    proptest! {
        #[test]
        fn what_is_read_is_written_the_same(text in "quorate://[0-9a-f]{30,34}/(node|operator)/[0-9a-z/]{0,12}") {
            if let Ok(identity) = text.parse::<PeerIdentity>() {
                prop_assert_eq!(identity.to_string(), text);
            }
        }

        #[test]
        fn arbitrary_bytes_are_no_certificate(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            prop_assert!(peer_identity(&bytes).is_err());
        }
    }
}
