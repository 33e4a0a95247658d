//! The authority of a cluster: signs the certificates of its nodes and operators.
//!
//! Either the cluster's own (a root that nobody else knows) or one that an enterprise's authority signed for it. A
//! cluster without one takes certificates from files, per node, and needs none of this. Certificates live 90 days and are
//! renewed after two thirds of that; nothing is revoked, nodes are removed.
//!
//! **Invariants:** no certificate leaves that peers would refuse: each is held against the authority's own chain first. The
//! private key leaves sealed under the root key only ([`Authority::seal`]).

mod error;
mod given;
mod name;
mod request;

use std::fmt;
use std::time::Duration;

use bytes::Bytes;
use prost::Message;
use quorate_proto::membership::v1;
use quorate_tls::x509::Facts;
use quorate_types::{ClusterId, NodeId, ResourceName, Timestamp, rfc3339};
use rcgen::{
    BasicConstraints, CertificateParams, DistinguishedName, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyIdMethod,
    KeyPair, KeyUsagePurpose, SanType, SerialNumber,
};
use ring::digest::{SHA256, digest};
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use zeroize::Zeroizing;

pub use self::error::{AuthorityError, IssueError};
pub use self::given::AuthorityPem;
pub use self::request::{InvalidKey, InvalidRequest, MemberKey, ProvenKey, REQUEST_BYTES_MAX};
use crate::address::Host;
use crate::entropy;
use crate::identity::{InvalidIdentity, PeerIdentity, Role};
use crate::root::{Material, NotOpened, RootKey};
use crate::trust::{AuthorityId, CHAIN_MAX, Side, check_authority, verify_path};

/// How long a cluster's own root lives: ten years, long enough to be replaced by plan and not by alarm.
pub const ROOT_LIFETIME: Duration = Duration::from_secs(3652 * DAY_SECONDS);
/// How long a node's certificate lives: 90 days, as certificates of the web do; a node that is away for a month is renewed.
pub const NODE_LIFETIME: Duration = Duration::from_secs(90 * DAY_SECONDS);
/// The shortest life of an operator's certificate: an hour, for one task.
pub const OPERATOR_LIFETIME_MIN: Duration = Duration::from_secs(3600);
/// The longest life of an operator's certificate: a year, because nothing revokes it.
pub const OPERATOR_LIFETIME_MAX: Duration = Duration::from_secs(366 * DAY_SECONDS);
/// How much before its issue a certificate begins: what clocks of nodes may differ by.
pub const BACKDATE: Duration = Duration::from_secs(5 * 60);
/// Hosts of one certificate: the names and addresses under which one node is reached.
pub const HOSTS_MAX: usize = 16;

const DAY_SECONDS: u64 = 86_400;
/// The last moment for which certificates are issued, 9980-01-01: what they end with is before 9999.
const CLOCK_MAX: Timestamp = Timestamp::from_millis(252_771_753_600_000);
/// What the authority's key is sealed as.
const PURPOSE: &str = "authority";

/// Signs certificates.
pub struct Authority {
    cluster: ClusterId,
    id: AuthorityId,
    /// Its own certificate, then those above it.
    chain: Vec<CertificateDer<'static>>,
    not_before: Timestamp,
    not_after: Timestamp,
    issuer: Issuer<'static, KeyPair>,
}

/// A certificate that was issued.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Issued {
    /// In DER: the certificate, its authority's, and those above it.
    pub chain: Vec<CertificateDer<'static>>,
    /// When it ends.
    pub not_after: Timestamp,
}

/// What a certificate is to say.
struct Order<'a> {
    identity: PeerIdentity,
    hosts: &'a [Host],
    lifetime: Duration,
    usages: Vec<ExtendedKeyUsagePurpose>,
}

// === impl Authority ===

impl Authority {
    /// Makes a root of the cluster's own.
    ///
    /// # Errors
    /// [`AuthorityError::Issue`] when the clock is out of bounds.
    ///
    /// # Panics
    /// When the operating system has no randomness.
    pub fn mint(cluster: ClusterId, now: Timestamp) -> Result<Self, AuthorityError> {
        let key = request::generate();
        let mut params = validity(now, ROOT_LIFETIME)?;
        // Keys are told apart by name too: two roots of a cluster are trusted while one replaces the other.
        let number = u32::from_be_bytes(entropy::draw());
        params.distinguished_name = common_name(&format!("Quorate cluster {cluster} root {number:08x}"));
        params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
        let root = params.self_signed(&key).map_err(|_| IssueError::Sign)?;
        Self::assemble(cluster, vec![root.der().clone()], key)
    }

    /// Takes what was made or read, when its parts belong together.
    fn assemble(cluster: ClusterId, chain: Vec<CertificateDer<'static>>, key: KeyPair) -> Result<Self, AuthorityError> {
        check_chain(&chain)?;
        let facts = Facts::read(&chain[0]).expect("it was read when the chain was checked");
        if rcgen::PublicKeyData::subject_public_key_info(&key) != facts.public_key {
            return Err(AuthorityError::Mismatch);
        }
        check_path_lengths(&chain)?;
        let mut params = CertificateParams::default();
        params.distinguished_name = name::copy(facts.subject).map_err(AuthorityError::Subject)?;
        // The identifier that its certificate has, which may be made in another way than ours.
        params.key_identifier_method = KeyIdMethod::PreSpecified(facts.subject_key_id.unwrap_or_default().to_vec());
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign];
        let id = AuthorityId::of_certificate(&chain[0]).expect("it was read before");
        let (not_before, not_after) = (facts.not_before, facts.not_after);
        Ok(Self { cluster, id, chain, not_before, not_after, issuer: Issuer::new(params, key) })
    }

    /// Issues a certificate and throws it away: what the authority issues is taken as far as the whole chain reaches.
    fn probe(&self, now: Timestamp) -> Result<(), AuthorityError> {
        let identity = PeerIdentity::Node { cluster: self.cluster, node: NodeId(1) };
        let usages = vec![ExtendedKeyUsagePurpose::ServerAuth, ExtendedKeyUsagePurpose::ClientAuth];
        let order = Order { identity, hosts: &[], lifetime: NODE_LIFETIME, usages };
        let issued = match self.issue(&order, &MemberKey::draw().public(), now) {
            Ok(issued) => issued,
            Err(IssueError::Refused(reason)) => return Err(AuthorityError::Unusable(reason)),
            Err(error) => return Err(error.into()),
        };
        let top = self.chain.last().expect("a chain has one certificate at least");
        let path = verify_path([top].into_iter(), &issued.chain[0], &self.chain, Side::Server, now);
        path.map_err(AuthorityError::Unusable)
    }

    /// Issues the certificate of a node, for both sides of its connections and for the hosts under which it is reached. It
    /// lives for [`NODE_LIFETIME`].
    ///
    /// # Errors
    /// [`IssueError`] when the authority ended or may not, or something is out of bounds.
    pub fn issue_node(
        &self,
        node: NodeId,
        hosts: &[Host],
        key: &ProvenKey,
        now: Timestamp,
    ) -> Result<Issued, IssueError> {
        self.issue_node_for(NODE_LIFETIME, node, hosts, key, now)
    }

    /// Issues the certificate of a node that lives for `lifetime`, at most [`NODE_LIFETIME`].
    ///
    /// # Errors
    /// As [`Self::issue_node`].
    pub fn issue_node_for(
        &self,
        lifetime: Duration,
        node: NodeId,
        hosts: &[Host],
        key: &ProvenKey,
        now: Timestamp,
    ) -> Result<Issued, IssueError> {
        let identity = PeerIdentity::Node { cluster: self.cluster, node };
        let usages = vec![ExtendedKeyUsagePurpose::ServerAuth, ExtendedKeyUsagePurpose::ClientAuth];
        self.issue(&Order { identity, hosts, lifetime: lifetime.min(NODE_LIFETIME), usages }, key, now)
    }

    /// Issues the certificate of an operator, which opens connections only.
    ///
    /// # Errors
    /// [`IssueError`] when the authority ended or may not, or the lifetime is out of bounds.
    pub fn issue_operator(
        &self,
        name: ResourceName,
        role: Role,
        lifetime: Duration,
        key: &ProvenKey,
        now: Timestamp,
    ) -> Result<Issued, IssueError> {
        if !(OPERATOR_LIFETIME_MIN..=OPERATOR_LIFETIME_MAX).contains(&lifetime) {
            return Err(IssueError::Lifetime { lifetime });
        }
        let identity = PeerIdentity::Operator { cluster: self.cluster, name, role };
        let usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
        self.issue(&Order { identity, hosts: &[], lifetime, usages }, key, now)
    }

    /// Tells whether it can sign at a time.
    ///
    /// # Errors
    /// [`IssueError::Ended`] when it has not begun, or has ended.
    pub fn lives(&self, now: Timestamp) -> Result<(), IssueError> {
        if now < self.not_before || now > self.not_after {
            let (from, to) = (rfc3339::format(self.not_before), rfc3339::format(self.not_after));
            return Err(IssueError::Ended { from, to });
        }
        Ok(())
    }

    fn issue(&self, order: &Order<'_>, key: &ProvenKey, now: Timestamp) -> Result<Issued, IssueError> {
        if order.hosts.len() > HOSTS_MAX {
            return Err(IssueError::Hosts { count: order.hosts.len() });
        }
        self.lives(now)?;
        // A certificate that outlived its authority would look valid where it is not.
        let lifetime = order.lifetime.min(self.not_after.since(now));
        let mut params = validity(now, lifetime)?;
        params.distinguished_name = common_name(&match &order.identity {
            PeerIdentity::Node { node, .. } => format!("node {node}"),
            PeerIdentity::Operator { name, .. } => name.as_str().to_owned(),
        });
        params.subject_alt_names = alternative_names(&order.identity, order.hosts);
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        params.extended_key_usages.clone_from(&order.usages);
        params.use_authority_key_identifier_extension =
            Facts::read(&self.chain[0]).is_ok_and(|facts| facts.subject_key_id.is_some());
        let leaf = params.signed_by(key, &self.issuer).map_err(|_| IssueError::Sign)?.der().clone();
        verify_path([&self.chain[0]].into_iter(), &leaf, &[], Side::Client, now).map_err(IssueError::Refused)?;
        let chain = [leaf].into_iter().chain(self.chain.iter().cloned()).collect();
        Ok(Issued { chain, not_after: Timestamp::from_millis((now + lifetime).as_millis() / 1000 * 1000) })
    }

    /// Whose certificates it signs.
    #[must_use]
    pub fn cluster(&self) -> ClusterId {
        self.cluster
    }

    /// Who it is.
    #[must_use]
    pub fn id(&self) -> AuthorityId {
        self.id
    }

    /// The certificate that the cluster trusts for it.
    #[must_use]
    pub fn anchor(&self) -> &CertificateDer<'static> {
        &self.chain[0]
    }

    /// The last moment at which it can issue.
    #[must_use]
    pub fn not_after(&self) -> Timestamp {
        self.not_after
    }

    /// Seals it for the catalog under its id, as its `version`.
    #[must_use]
    pub fn seal(&self, root: &RootKey, version: u64) -> Vec<u8> {
        self.seal_as(root, &self.id.to_string(), version)
    }

    /// Seals it for the catalog under any name, as the `version` of what has that name.
    #[must_use]
    pub fn seal_as(&self, root: &RootKey, name: &str, version: u64) -> Vec<u8> {
        // Overwritten with the message.
        let key = Bytes::from_owner(Zeroizing::new(self.issuer.key().serialize_der()));
        let chain = self.chain.iter().map(|certificate| certificate.to_vec().into()).collect();
        let message = v1::AuthorityKey { cluster: self.cluster.0.to_vec().into(), chain, key };
        let plain = Zeroizing::new(message.encode_to_vec());
        root.seal(Material { purpose: PURPOSE, id: name, version }, &plain)
    }

    /// Opens what [`Self::seal`] made of this authority of this cluster, as the same version.
    ///
    /// # Errors
    /// [`NotOpened`] for everything else.
    pub fn open(
        root: &RootKey,
        cluster: ClusterId,
        id: AuthorityId,
        version: u64,
        sealed: &[u8],
    ) -> Result<Self, NotOpened> {
        let authority = Self::open_as(root, cluster, &id.to_string(), version, sealed)?;
        if authority.id == id { Ok(authority) } else { Err(NotOpened) }
    }

    /// Opens what [`Self::seal_as`] made of an authority of this cluster under this name, as the same version.
    ///
    /// # Errors
    /// [`NotOpened`] for everything else.
    pub fn open_as(
        root: &RootKey,
        cluster: ClusterId,
        name: &str,
        version: u64,
        sealed: &[u8],
    ) -> Result<Self, NotOpened> {
        let plain = root.open(Material { purpose: PURPOSE, id: name, version }, sealed)?;
        let message = v1::AuthorityKey::decode(Bytes::from_owner(plain)).map_err(|_| NotOpened)?;
        let key = PrivateKeyDer::Pkcs8(message.key.as_ref().into());
        let key = KeyPair::try_from(&key).map_err(|_| NotOpened)?;
        let chain = message.chain.iter().map(|certificate| CertificateDer::from(certificate.to_vec())).collect();
        let authority = Self::assemble(cluster, chain, key).map_err(|_| NotOpened)?;
        if message.cluster == cluster.0.as_slice() { Ok(authority) } else { Err(NotOpened) }
    }
}

impl fmt::Debug for Authority {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Authority").field("cluster", &self.cluster).field("id", &self.id).finish_non_exhaustive()
    }
}

// === impl Issued ===

impl Issued {
    /// The serial number of the certificate, 16 bytes.
    ///
    /// # Panics
    /// Never for what an authority issued.
    #[must_use]
    pub fn serial(&self) -> Vec<u8> {
        Facts::read(&self.chain[0]).expect("it was verified before it was given").serial.to_vec()
    }

    /// The SHA-256 of the certificate in DER.
    #[must_use]
    pub fn fingerprint(&self) -> [u8; 32] {
        digest(&SHA256, &self.chain[0]).as_ref().try_into().expect("SHA-256 has 32 bytes")
    }
}

/// Returns when a certificate is to be renewed: after two thirds of its life, so that a third is left for trouble.
///
/// # Errors
/// [`InvalidIdentity::Malformed`] when it cannot be read.
pub fn renewal_at(certificate: &[u8]) -> Result<Timestamp, InvalidIdentity> {
    let facts = Facts::read(certificate).map_err(|_| InvalidIdentity::Malformed)?;
    Ok(facts.not_before + facts.not_after.since(facts.not_before) / 3 * 2)
}

/// Checks that there are not too many certificates, and that each may sign.
fn check_chain(chain: &[CertificateDer<'static>]) -> Result<(), AuthorityError> {
    if !(1..CHAIN_MAX).contains(&chain.len()) {
        return Err(AuthorityError::Chain { count: chain.len() });
    }
    for (position, certificate) in (1..).zip(chain) {
        check_authority(certificate).map_err(|what| AuthorityError::NoAuthority { position, what })?;
    }
    Ok(())
}

/// Checks that each certificate allows those below it, which rustls-webpki does not ask of the one that is trusted.
fn check_path_lengths(chain: &[CertificateDer<'static>]) -> Result<(), AuthorityError> {
    for (position, certificate) in (1..).zip(chain) {
        let below = position as u64 - 1;
        let allowed = Facts::read(certificate).ok().and_then(|facts| facts.path_length);
        if let Some(allowed) = allowed.filter(|allowed| *allowed < below) {
            return Err(AuthorityError::PathLength { position, allowed, below });
        }
    }
    Ok(())
}

/// Begins a certificate that is valid from a little before now.
fn validity(now: Timestamp, lifetime: Duration) -> Result<CertificateParams, IssueError> {
    if now > CLOCK_MAX {
        return Err(IssueError::Clock { now });
    }
    let mut params = CertificateParams::default();
    let epoch = rcgen::date_time_ymd(1970, 1, 1);
    let begin = Duration::from_millis(now.as_millis()).saturating_sub(BACKDATE);
    params.not_before = epoch + Duration::from_secs(begin.as_secs());
    params.not_after = epoch + Duration::from_secs((now + lifetime).as_millis() / 1000);
    let mut serial: [u8; 16] = entropy::draw();
    // 128 bits of which none is a sign and the first is set, so that all are written (RFC 5280 §4.1.2.2).
    serial[0] = serial[0] & 0x7f | 0x40;
    params.serial_number = Some(SerialNumber::from_slice(&serial));
    Ok(params)
}

fn common_name(text: &str) -> DistinguishedName {
    let mut name = DistinguishedName::new();
    name.push(DnType::CommonName, text);
    name
}

fn alternative_names(identity: &PeerIdentity, hosts: &[Host]) -> Vec<SanType> {
    let uri = identity.to_string().as_str().try_into().expect("the uri of a member is ascii");
    let mut names = vec![SanType::URI(uri)];
    for host in hosts {
        let name = match host {
            Host::Name(name) => SanType::DnsName(name.as_str().try_into().expect("the name of a host is ascii")),
            Host::Ip(ip) => SanType::IpAddress(*ip),
        };
        if !names.contains(&name) {
            names.push(name);
        }
    }
    names
}
