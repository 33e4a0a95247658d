//! An authority of a SPIFFE trust domain, and the certificates that it gives to a server and to workloads.
//!
//! Everything is made anew for each test, and lies in the test's folder as PEM files.

use std::{fs, path::Path};

use quorate_tests::raw::gateway::replace;
use rcgen::{
    BasicConstraints, CertificateParams, CertificateRevocationListParams, ExtendedKeyUsagePurpose, IsCa, Issuer,
    KeyIdMethod, KeyPair, KeyUsagePurpose, RevokedCertParams, SanType, SerialNumber, date_time_ymd,
};
use rustls::pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer};

/// The serial number of clients' certificates.
const SERIAL: u64 = 7;

/// An authority.
pub(crate) struct Authority {
    issuer: Issuer<'static, KeyPair>,
    certificate: CertificateDer<'static>,
    pem: String,
}

/// A certificate with its key, as a TLS client takes them.
pub(crate) struct Identity {
    pub(crate) certificate: CertificateDer<'static>,
    pub(crate) key: PrivateKeyDer<'static>,
}

// === impl Authority ===

impl Authority {
    /// A new one.
    pub(crate) fn new() -> anyhow::Result<Self> {
        let mut params = CertificateParams::default();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
        let key = KeyPair::generate()?;
        let made = params.self_signed(&key)?;
        let (certificate, pem) = (made.der().clone(), made.pem());
        Ok(Self { issuer: Issuer::new(params, key), certificate, pem })
    }

    /// What its certificates are held against.
    pub(crate) fn certificate(&self) -> CertificateDer<'static> {
        self.certificate.clone()
    }

    /// Writes its certificate to a PEM file.
    pub(crate) fn write_bundle(&self, file: &Path) -> anyhow::Result<()> {
        Ok(fs::write(file, &self.pem)?)
    }

    /// Writes a list of what it has taken back: every client's certificate, or none.
    pub(crate) fn write_crl(&self, file: &Path, takes_back: bool) -> anyhow::Result<()> {
        let revoked = RevokedCertParams {
            serial_number: SerialNumber::from(SERIAL),
            revocation_time: date_time_ymd(2020, 1, 1),
            reason_code: None,
            invalidity_date: None,
        };
        let list = CertificateRevocationListParams {
            this_update: date_time_ymd(2020, 1, 1),
            next_update: date_time_ymd(2099, 1, 1),
            crl_number: SerialNumber::from(if takes_back { 2 } else { 1 }),
            issuing_distribution_point: None,
            revoked_certs: takes_back.then_some(revoked).into_iter().collect(),
            key_identifier_method: KeyIdMethod::Sha256,
        };
        replace(file, &list.signed_by(&self.issuer)?.pem()?)
    }

    /// Writes a server's certificate and key for `localhost` and 127.0.0.1 to PEM files.
    pub(crate) fn write_server(&self, certificate: &Path, key: &Path) -> anyhow::Result<()> {
        let params = CertificateParams::new(vec!["localhost".to_owned(), "127.0.0.1".to_owned()])?;
        let own = KeyPair::generate()?;
        fs::write(certificate, params.signed_by(&own, &self.issuer)?.pem())?;
        Ok(fs::write(key, own.serialize_pem())?)
    }

    /// A server's certificate for `localhost` and 127.0.0.1.
    pub(crate) fn server(&self) -> anyhow::Result<Identity> {
        let params = CertificateParams::new(vec!["localhost".to_owned(), "127.0.0.1".to_owned()])?;
        let own = KeyPair::generate()?;
        Ok(Identity { certificate: params.signed_by(&own, &self.issuer)?.der().clone(), key: key_of(&own) })
    }

    /// Writes a workload's certificate and key to PEM files, over what is there.
    pub(crate) fn write_workload(
        &self,
        id: &str,
        certificate: &Path,
        key: &Path,
    ) -> anyhow::Result<CertificateDer<'static>> {
        let mut params = CertificateParams::default();
        params.subject_alt_names = vec![SanType::URI(id.try_into()?)];
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
        let own = KeyPair::generate()?;
        let made = params.signed_by(&own, &self.issuer)?;
        replace(key, &own.serialize_pem())?;
        replace(certificate, &made.pem())?;
        Ok(made.der().clone())
    }

    /// The certificate of the workload with this SPIFFE id.
    pub(crate) fn workload(&self, id: &str) -> anyhow::Result<Identity> {
        self.leaf(vec![SanType::URI(id.try_into()?)])
    }

    /// A certificate of a client with these names.
    pub(crate) fn leaf(&self, names: Vec<SanType>) -> anyhow::Result<Identity> {
        let mut params = CertificateParams::default();
        params.subject_alt_names = names;
        params.serial_number = Some(SerialNumber::from(SERIAL));
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
        let own = KeyPair::generate()?;
        Ok(Identity { certificate: params.signed_by(&own, &self.issuer)?.der().clone(), key: key_of(&own) })
    }
}

fn key_of(pair: &KeyPair) -> PrivateKeyDer<'static> {
    PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(pair.serialize_der()))
}
