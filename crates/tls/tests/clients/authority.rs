//! Authorities of a test: certificates and revocation lists as a test wants them, right or wrong.
//!
//! Made with rcgen, which writes what it is told; times are seconds from now, so that a test reads as a sentence.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use rcgen::{
    BasicConstraints, CertificateParams, CertificateRevocationListParams, CertifiedIssuer, DnType,
    ExtendedKeyUsagePurpose, IsCa, KeyIdMethod, KeyPair, KeyUsagePurpose, RevokedCertParams, SanType, SerialNumber,
};

pub(crate) const HOUR: i64 = 3600;

/// Seconds since 1970, `offset` seconds from now.
pub(crate) fn at(offset: i64) -> u64 {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).expect("the clock is right").as_secs();
    now.checked_add_signed(offset).expect("tests stay in this century")
}

/// The same for rcgen, whose type has no public name of its own.
macro_rules! moment {
    ($offset:expr) => {
        rcgen::date_time_ymd(1970, 1, 1) + Duration::from_secs(at($offset))
    };
}

/// An authority with its key.
pub(crate) struct Authority {
    name: String,
    issuer: CertifiedIssuer<'static, KeyPair>,
}

/// A chain and the key of its leaf, in PEM.
#[derive(Clone)]
pub(crate) struct Issued {
    pub(crate) chain: String,
    pub(crate) key: String,
}

/// What a leaf is made of: by default a good one.
#[derive(Clone)]
pub(crate) struct Leaf {
    pub(crate) params: CertificateParams,
    pub(crate) serial: u64,
}

impl Authority {
    /// Makes an authority that signed itself, good for an hour before and after now.
    pub(crate) fn root(name: &str) -> Self {
        Self::root_with(name, |_| {})
    }

    /// Makes a root whose parameters are changed.
    pub(crate) fn root_with(name: &str, change: impl FnOnce(&mut CertificateParams)) -> Self {
        let mut params = Self::params(name);
        change(&mut params);
        let issuer = CertifiedIssuer::self_signed(params, key()).expect("a root is made");
        Self { name: name.to_owned(), issuer }
    }

    /// Makes an authority below this one, whose parameters may be changed.
    pub(crate) fn below(&self, name: &str, change: impl FnOnce(&mut CertificateParams)) -> Self {
        self.below_with(name, key(), change)
    }

    /// Makes another authority below this one that has the name and the key of `twin`.
    pub(crate) fn below_as(&self, twin: &Self, change: impl FnOnce(&mut CertificateParams)) -> Self {
        let key = KeyPair::from_pem(&twin.issuer.key().serialize_pem()).expect("it was written as pem");
        self.below_with(&twin.name, key, change)
    }

    fn below_with(&self, name: &str, key: KeyPair, change: impl FnOnce(&mut CertificateParams)) -> Self {
        let mut params = Self::params(name);
        change(&mut params);
        let issuer = CertifiedIssuer::signed_by(params, key, &self.issuer).expect("an authority is made");
        Self { name: name.to_owned(), issuer }
    }

    fn params(name: &str) -> CertificateParams {
        let mut params = CertificateParams::default();
        params.distinguished_name = rcgen::DistinguishedName::new();
        params.distinguished_name.push(DnType::CommonName, name);
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
        params.serial_number = Some(SerialNumber::from(1000));
        valid(&mut params, -HOUR, HOUR);
        params
    }

    pub(crate) fn pem(&self) -> String {
        self.issuer.pem()
    }

    /// Issues a good certificate for a workload.
    pub(crate) fn issue(&self, id: &str) -> Issued {
        self.issue_leaf(Leaf::of(id))
    }

    pub(crate) fn issue_leaf(&self, leaf: Leaf) -> Issued {
        let key = key();
        let mut params = leaf.params;
        params.serial_number = Some(SerialNumber::from(leaf.serial));
        let certificate = params.signed_by(&key, &self.issuer).expect("a leaf is made");
        Issued { chain: certificate.pem(), key: key.serialize_pem() }
    }

    /// Makes the list of what this authority revoked, due again `next` seconds from now.
    pub(crate) fn crl(&self, revoked: &[u64], next: i64) -> String {
        self.crl_with(revoked, next, |_| {})
    }

    /// Makes a list whose parameters are changed.
    pub(crate) fn crl_with(
        &self,
        revoked: &[u64],
        next: i64,
        change: impl FnOnce(&mut CertificateRevocationListParams),
    ) -> String {
        let mut params = self.crl_params(revoked, next);
        change(&mut params);
        params.signed_by(&self.issuer).expect("a list is made").pem().expect("it is pem")
    }

    /// The same in DER.
    pub(crate) fn crl_der(&self, revoked: &[u64], next: i64) -> Vec<u8> {
        self.crl_params(revoked, next).signed_by(&self.issuer).expect("a list is made").der().to_vec()
    }

    fn crl_params(&self, revoked: &[u64], next: i64) -> CertificateRevocationListParams {
        let entry = |serial: &u64| RevokedCertParams {
            serial_number: SerialNumber::from(*serial),
            revocation_time: moment!(-HOUR),
            reason_code: None,
            invalidity_date: None,
        };
        CertificateRevocationListParams {
            this_update: moment!(next.min(0) - HOUR),
            next_update: moment!(next),
            crl_number: SerialNumber::from(1),
            issuing_distribution_point: None,
            revoked_certs: revoked.iter().map(entry).collect(),
            key_identifier_method: KeyIdMethod::Sha256,
        }
    }
}

impl Issued {
    /// Sends the certificate of an authority along.
    pub(crate) fn with(mut self, authority: &Authority) -> Self {
        self.chain.push_str(&authority.pem());
        self
    }
}

impl Leaf {
    /// A leaf as SPIRE makes them.
    pub(crate) fn of(id: &str) -> Self {
        let mut params = CertificateParams::default();
        params.distinguished_name = rcgen::DistinguishedName::new();
        params.subject_alt_names = vec![uri(id)];
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature, KeyUsagePurpose::KeyAgreement];
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth, ExtendedKeyUsagePurpose::ClientAuth];
        params.use_authority_key_identifier_extension = true;
        valid(&mut params, -HOUR, HOUR);
        Self { params, serial: 7 }
    }

    pub(crate) fn serial(mut self, serial: u64) -> Self {
        self.serial = serial;
        self
    }

    pub(crate) fn valid(mut self, from: i64, to: i64) -> Self {
        valid(&mut self.params, from, to);
        self
    }

    pub(crate) fn change(mut self, change: impl FnOnce(&mut CertificateParams)) -> Self {
        change(&mut self.params);
        self
    }
}

/// Sets from when to when, in seconds from now.
pub(crate) fn valid(params: &mut CertificateParams, from: i64, to: i64) {
    params.not_before = moment!(from);
    params.not_after = moment!(to);
}

pub(crate) fn uri(text: &str) -> SanType {
    SanType::URI(text.try_into().expect("it is ascii"))
}

fn key() -> KeyPair {
    KeyPair::generate().expect("a key is made")
}
