//! Certificates of the bench's nodes: a root of half a day, and one for each node.
//!
//! As the product's, but for who signs them: the node and its cluster are in a URI, and both sides of a stream prove theirs.
//! Keys lie in the folders of the nodes, which go with the run.

use std::fs;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::Path;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use anyhow::Result;
use quorate_peer::NodeName;
use quorate_types::NodeId;
use rcgen::{
    BasicConstraints, CertificateParams, CertifiedIssuer, ExtendedKeyUsagePurpose, IsCa, KeyPair, KeyUsagePurpose,
    SanType,
};

use super::node::CLUSTER;

/// How long certificates are good for, before and after now: longer than any run.
const VALID: Duration = Duration::from_secs(12 * 3600);

/// Who signs them.
pub(super) struct Authority {
    root: CertifiedIssuer<'static, KeyPair>,
}

// === impl Authority ===

impl Authority {
    /// Makes a root.
    ///
    /// # Errors
    /// When there is no randomness.
    pub(super) fn new() -> Result<Self> {
        let mut params = CertificateParams::default();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign];
        Ok(Self { root: CertifiedIssuer::self_signed(params, KeyPair::generate()?)? })
    }

    /// Writes what a node needs into its folder.
    ///
    /// # Errors
    /// When the disk does not take it.
    pub(super) fn write(&self, node: u64, folder: &Path) -> Result<()> {
        let mut params = CertificateParams::default();
        let name = NodeName { cluster: CLUSTER, node: NodeId(node) }.to_string();
        params.subject_alt_names = vec![SanType::URI(name.as_str().try_into()?)];
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth, ExtendedKeyUsagePurpose::ClientAuth];
        let now = SystemTime::now().duration_since(UNIX_EPOCH)?;
        params.not_before = rcgen::date_time_ymd(1970, 1, 1) + now - VALID;
        params.not_after = rcgen::date_time_ymd(1970, 1, 1) + now + VALID;
        let key = KeyPair::generate()?;
        let certificate = params.signed_by(&key, &self.root)?.pem();
        fs::write(folder.join("ca.pem"), self.root.pem())?;
        fs::write(folder.join("node.pem"), certificate)?;
        let mut file = fs::OpenOptions::new();
        let mut file = file.write(true).create(true).truncate(true).mode(0o600).open(folder.join("node-key.pem"))?;
        Ok(std::io::Write::write_all(&mut file, key.serialize_pem().as_bytes())?)
    }
}
