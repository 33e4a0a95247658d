//! Who asks to be taken in, as it says itself: names and addresses, checked when they are read.
//!
//! Nothing of it is believed beyond what is harmless: addresses become names in the certificate of a node that proved a
//! token, and the number of the node is given by the cluster. What it has of a certificate of its own is only read here: that
//! its key is the applicant's is proven elsewhere, and who takes it verifies it.

use std::ops::RangeInclusive;

use quorate_proto::membership::v1;
use quorate_types::ResourceName;
use rustls::pki_types::CertificateDer;

use crate::address::Address;
use crate::trust::CHAIN_MAX;

type Certificate = CertificateDer<'static>;

/// Who asks.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Applicant {
    /// What people call the node.
    pub name: ResourceName,
    /// Where its peers reach it.
    pub peer: Address,
    /// Where operators reach it.
    pub admin: Address,
    /// What fails together with it, where that is known.
    pub rack: Option<ResourceName>,
    /// The feature levels that its program can work at.
    pub features: RangeInclusive<u32>,
}

/// An application has a field that is none.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the field `{field}` of the application is not valid: {problem}")]
pub struct InvalidApplicant {
    /// Which one, as the message calls it.
    pub field: &'static str,
    /// What it must be.
    pub problem: String,
}

// === impl Applicant ===

impl Applicant {
    pub(super) fn to_message(&self, nonce: [u8; 32], request: &[u8], chain: &[Certificate]) -> v1::JoinApplication {
        v1::JoinApplication {
            nonce: nonce.to_vec().into(),
            request: request.to_vec().into(),
            name: self.name.as_str().to_owned(),
            peer_address: self.peer.to_string(),
            admin_address: self.admin.to_string(),
            rack: self.rack.as_ref().map_or_else(String::new, |rack| rack.as_str().to_owned()),
            feature_level_min: *self.features.start(),
            feature_level_max: *self.features.end(),
            chain: chain.iter().map(|certificate| certificate.to_vec().into()).collect(),
        }
    }

    pub(super) fn of_message(message: &v1::JoinApplication) -> Result<Self, InvalidApplicant> {
        let rack = Some(message.rack.as_str()).filter(|rack| !rack.is_empty());
        let features = message.feature_level_min..=message.feature_level_max;
        if features.is_empty() {
            let problem = format!("{} is more than {}", features.start(), features.end());
            return Err(InvalidApplicant { field: "feature_level_min", problem });
        }
        Ok(Self {
            name: field("name", ResourceName::new(&message.name))?,
            peer: field("peer_address", message.peer_address.parse())?,
            admin: field("admin_address", message.admin_address.parse())?,
            rack: rack.map(|rack| field("rack", ResourceName::new(rack))).transpose()?,
            features,
        })
    }
}

/// Reads the certificate that an applicant has from somebody else, and those above it; none where the cluster is to make one.
pub(super) fn chain_of(message: &v1::JoinApplication) -> Result<Vec<Certificate>, InvalidApplicant> {
    if message.chain.len() > CHAIN_MAX {
        let problem = format!("it has {} certificates, and may have {CHAIN_MAX}", message.chain.len());
        return Err(InvalidApplicant { field: "chain", problem });
    }
    Ok(message.chain.iter().map(|der| CertificateDer::from(der.to_vec())).collect())
}

fn field<T, E: ToString>(field: &'static str, read: Result<T, E>) -> Result<T, InvalidApplicant> {
    read.map_err(|error| InvalidApplicant { field, problem: error.to_string() })
}
