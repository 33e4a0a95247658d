//! Client certificates: which a server takes, and whose they are.
//!
//! [`ClientAuth`] says which trust domains may come, by files; [`PeerIdentity`] is what a handshake proved. The
//! authorities and revocation lists of all domains are one set with a generation, swapped as a whole: new handshakes use
//! the new set, and what the old one accepted is verified again when it is asked for next.
//!
//! ```text
//! handshake ─▶ verify ─▶ id ─▶ its trust domain ─▶ that bundle only ─▶ PeerIdentity (generation)
//! reload ───▶ next generation          requests on open connections ─▶ still_trusted: once per generation
//! ```
//!
//! **Invariant:** what cannot be verified is refused. A file that cannot be used leaves its domain as it was; a revocation
//! list that is too old refuses every certificate it speaks of. Sessions are not resumed (see [`crate::ServerTls`]).

mod change;
mod domain;
mod identity;
mod refusal;
mod verify;

use std::collections::{BTreeMap, HashMap};
use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use arc_swap::ArcSwap;
use quorate_types::Timestamp;
use rustls::client::danger::HandshakeSignatureValid;
use rustls::crypto::{CryptoProvider, WebPkiSupportedAlgorithms, verify_tls12_signature, verify_tls13_signature};
use rustls::pki_types::{CertificateDer, UnixTime};
use rustls::server::danger::{ClientCertVerified, ClientCertVerifier};
use rustls::{DigitallySignedStruct, DistinguishedName, SignatureScheme};

pub use self::change::TrustChange;
pub use self::domain::DomainFiles;
use self::domain::{Domain, Sources};
pub use self::identity::PeerIdentity;
pub use self::refusal::{Cause, Refusal};
pub use self::verify::claimed_id;
use crate::error::LoadError;
use crate::files::{self, Seen};
use crate::spiffe::TrustDomain;
use crate::watch::Reload;

/// Which client certificates a server takes.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ClientAuth {
    /// The trust domains whose workloads may come. A certificate of another one is refused.
    pub domains: BTreeMap<TrustDomain, DomainFiles>,
    /// Whether a client without a certificate is refused at the handshake. When not, it comes without an identity; one
    /// with a certificate that is not trusted is refused all the same.
    pub required: bool,
}

/// The trust of a server in its clients, as its files have it now.
pub(crate) struct Trust {
    config: ClientAuth,
    algorithms: WebPkiSupportedAlgorithms,
    current: ArcSwap<Set>,
    /// What is known of the files of each domain, in their order. Held while a reload runs, so that one runs at a time.
    known: Mutex<Vec<Known>>,
}

/// All domains at one time.
pub(crate) struct Set {
    /// Counts the changes.
    pub(crate) generation: u64,
    domains: HashMap<TrustDomain, Arc<Domain>>,
}

/// What is known of a domain's files, so that each state of them is told once.
struct Known {
    seen: Seen,
    /// How many of the domain's lists were told to have expired.
    expired: usize,
}

// === impl Trust ===

impl Trust {
    /// Loads the files of all domains.
    pub(crate) fn load(config: ClientAuth, provider: &CryptoProvider) -> Result<Self, LoadError> {
        let mut domains = HashMap::new();
        let mut known = Vec::new();
        for (name, domain_files) in &config.domains {
            let sources = Sources::read(domain_files)?;
            domains.insert(name.clone(), Arc::new(sources.parse()?));
            known.push(Known { seen: Seen::new(files::fingerprint(&sources)), expired: 0 });
        }
        Ok(Self {
            config,
            algorithms: provider.signature_verification_algorithms,
            current: ArcSwap::from_pointee(Set { generation: 1, domains }),
            known: Mutex::new(known),
        })
    }

    /// Reads the files again and says what is new. Blocks on file reads.
    pub(crate) fn reload(&self, now: Timestamp) -> Vec<Reload> {
        // No panic happens under this lock; a poisoned one would still hold consistent state.
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        let set = self.current.load_full();
        let mut domains = set.domains.clone();
        let mut news = Vec::new();
        for ((name, files), known) in self.config.domains.iter().zip(&mut *known) {
            match known.reread(files) {
                Ok(None) | Err(None) => {}
                Ok(Some(domain)) => {
                    news.push(Reload::TrustReplaced(TrustChange::between(name, &domains[name], &domain)));
                    domains.insert(name.clone(), Arc::new(domain));
                }
                Err(Some(error)) => news.push(Reload::Refused(error)),
            }
            news.extend(known.expired(name, &domains[name], now));
        }
        if news.iter().any(|news| matches!(news, Reload::TrustReplaced(_))) {
            self.current.store(Arc::new(Set { generation: set.generation + 1, domains }));
        }
        news
    }

    /// Returns the generation in use.
    pub(crate) fn generation(&self) -> u64 {
        self.current.load().generation
    }

    /// Returns all files, to watch them.
    pub(crate) fn paths(&self) -> impl Iterator<Item = &Path> {
        let files = self.config.domains.values();
        files.flat_map(|files| files.bundles.iter().chain(&files.crls)).map(PathBuf::as_path)
    }
}

impl fmt::Debug for Trust {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Trust").field("config", &self.config).field("generation", &self.generation()).finish()
    }
}

impl ClientCertVerifier for Trust {
    fn client_auth_mandatory(&self) -> bool {
        self.config.required
    }

    /// None, so that the client sends what it has: the names of authorities change with a reload, and this is asked of
    /// the configuration that does not.
    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        &[]
    }

    fn verify_client_cert(
        &self,
        leaf: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        now: UnixTime,
    ) -> Result<ClientCertVerified, rustls::Error> {
        verify::verify(&self.current.load(), &self.algorithms, leaf, intermediates, now)?;
        Ok(ClientCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        leaf: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls12_signature(message, leaf, signed, &self.algorithms).map_err(|error| not_proven(leaf, error))
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        leaf: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls13_signature(message, leaf, signed, &self.algorithms).map_err(|error| not_proven(leaf, error))
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.algorithms.supported_schemes()
    }
}

/// Names the client that does not hold the key of a certificate that is trusted.
fn not_proven(leaf: &[u8], error: rustls::Error) -> rustls::Error {
    match error {
        rustls::Error::InvalidCertificate(_) => {
            Refusal { claimed: claimed_id(leaf).ok(), cause: Cause::NotProven }.into()
        }
        other => other,
    }
}

// === impl Known ===

impl Known {
    /// Reads a domain again: nothing when its files are as they were, and no error that was told already.
    fn reread(&mut self, files: &DomainFiles) -> Result<Option<Domain>, Option<LoadError>> {
        let Some(sources) = self.seen.changed(Sources::read(files))? else { return Ok(None) };
        let domain = sources.parse()?;
        self.expired = 0;
        Ok(Some(domain))
    }

    /// Returns the lists that expired, when they are more than were told of.
    fn expired(&mut self, name: &TrustDomain, domain: &Domain, now: Timestamp) -> Vec<Reload> {
        let expired: Vec<_> = domain.list_ends.iter().filter(|(end, _)| *end <= now).collect();
        if std::mem::replace(&mut self.expired, expired.len()) >= expired.len() {
            return Vec::new();
        }
        let tell = |(end, path): &(Timestamp, PathBuf)| Reload::CrlExpired {
            domain: name.clone(),
            path: path.clone(),
            since: now.since(*end),
        };
        expired.into_iter().map(tell).collect()
    }
}
