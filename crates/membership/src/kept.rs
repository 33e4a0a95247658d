//! The certificate and key of a node, kept in its data folder: the file `node.pem`.
//!
//! Chain and key are one file, so that a crash while they are renewed leaves the old pair or the new one and never a key
//! beside another's certificate. It is written beside its place, synced and renamed, and is its owner's alone (0600). Kept
//! before the folder becomes a node's ([`crate::home::Vacant::begin`]), so that a node that joined can always start.

use std::fs::{self, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use rustls::pki_types::{CertificateDer, PrivateKeyDer};

use crate::authority::MemberKey;
use crate::pem::{self, PemError, read_certificates, read_key};

/// The name of the file in a data folder.
pub const FILE: &str = "node.pem";

const MODE: u32 = 0o600;

/// What a node shows, as it is kept.
#[derive(Debug)]
pub struct Kept {
    /// In DER, the node's own certificate first.
    pub chain: Vec<CertificateDer<'static>>,
    /// The key of the first.
    pub key: MemberKey,
}

/// The file cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum KeptError {
    /// It cannot be read, or has not what it should have.
    #[error(transparent)]
    Pem(#[from] PemError),
    /// Others can read it, or its owner cannot write it.
    #[error("{0} has mode {mode:04o}, and must have 0600: chmod 600 {0}", path.display())]
    Mode {
        /// The file.
        path: PathBuf,
        /// What it has.
        mode: u32,
    },
    /// It cannot be written.
    #[error("{} cannot be written: {source}", path.display())]
    Write {
        /// The file.
        path: PathBuf,
        /// What the system says.
        #[source]
        source: io::Error,
    },
}

// === impl Kept ===

impl Kept {
    /// Reads what was kept, if anything was.
    ///
    /// # Errors
    /// [`KeptError`] when it is there and cannot be used.
    pub fn read(folder: &Path) -> Result<Option<Self>, KeptError> {
        let path = folder.join(FILE);
        let mode = match fs::metadata(&path) {
            Ok(metadata) => metadata.mode() & 0o7777,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(source) => return Err(PemError::Read { path, source }.into()),
        };
        if mode != MODE {
            return Err(KeptError::Mode { path, mode });
        }
        let chain = read_certificates(&path)?;
        let key = match read_key(&path)? {
            PrivateKeyDer::Pkcs8(key) => MemberKey::of_pkcs8(key.secret_pkcs8_der()).ok(),
            _ => None,
        };
        let what = "has a private key that is not ecdsa on p-256 in pkcs #8";
        let key = key.ok_or(PemError::Content { name: path.display().to_string(), what })?;
        Ok(Some(Self { chain, key }))
    }

    /// Keeps it in the place of what was kept before; durable when this returns.
    ///
    /// # Errors
    /// [`KeptError::Write`] when the system refuses: what was kept before is there, or this.
    pub fn keep(&self, folder: &Path) -> Result<(), KeptError> {
        let path = folder.join(FILE);
        self.write(folder, &path).map_err(|source| KeptError::Write { path, source })
    }

    fn write(&self, folder: &Path, path: &Path) -> io::Result<()> {
        let draft = folder.join(format!("{FILE}.{}.new", std::process::id()));
        match fs::remove_file(&draft) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            Ok(()) | Err(_) => {} // One of a process that crashed, or none.
        }
        let mut file = OpenOptions::new().write(true).create_new(true).mode(MODE).open(&draft)?;
        file.write_all(pem::of_certificates(&self.chain).as_bytes())?;
        file.write_all(self.key.to_pem().as_bytes())?;
        file.sync_all()?;
        fs::rename(&draft, path)?;
        fs::File::open(folder)?.sync_all()
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use quorate_types::{ClusterId, NodeId, Timestamp};

    use super::*;
    use crate::authority::Authority;
    use crate::handshake::Credentials;

    const AT: Timestamp = Timestamp::from_millis(1_795_673_237_000);

    fn kept() -> Kept {
        let authority = Authority::mint(ClusterId([7; 16]), AT).unwrap();
        let key = MemberKey::draw();
        Kept { chain: authority.issue_node(NodeId(1), &[], &key.public(), AT).unwrap().chain, key }
    }

    #[test]
    fn a_pair_is_read_as_it_was_kept_and_a_renewed_one_replaces_it() {
        let folder = tempfile::tempdir().unwrap();
        assert!(Kept::read(folder.path()).unwrap().is_none());
        fs::write(folder.path().join(format!("node.pem.{}.new", std::process::id())), "of a crash").unwrap();

        for kept in [kept(), kept()] {
            kept.keep(folder.path()).unwrap();
            let read = Kept::read(folder.path()).unwrap().unwrap();
            assert_eq!((&read.chain, read.key.public()), (&kept.chain, kept.key.public()));
            assert!(Credentials::new(read.chain, &read.key).is_ok());
            assert_eq!(fs::metadata(folder.path().join(FILE)).unwrap().mode() & 0o7777, 0o600);
        }
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1, "no draft is left");
    }

    #[test]
    fn a_file_that_others_read_or_that_is_no_pair_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        kept().keep(folder.path()).unwrap();
        let path = folder.path().join(FILE);
        let whole = fs::read_to_string(&path).unwrap();
        let refusal = || Kept::read(folder.path()).unwrap_err().to_string();

        fs::set_permissions(&path, fs::Permissions::from_mode(0o640)).unwrap();
        assert!(refusal().contains("has mode 0640, and must have 0600"));
        fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).unwrap();
        let key_at = whole.find("-----BEGIN PRIVATE").unwrap();
        let other = rcgen::KeyPair::generate_for(&rcgen::PKCS_ED25519).unwrap().serialize_pem();
        let cases = [
            (&whole[..key_at], "has no unencrypted private key"),
            (&whole[key_at..], "has no certificate"),
            (&format!("{}{other}", &whole[..key_at]), "not ecdsa on p-256"),
        ];
        for (text, expected) in cases {
            fs::write(&path, text).unwrap();
            assert!(refusal().contains(expected), "{expected}: {}", refusal());
        }
        let gone = kept().keep(&folder.path().join("none")).unwrap_err().to_string();
        assert!(gone.contains("none/node.pem cannot be written"), "{gone}");
    }
}
