//! Contexts of operators whose certificate somebody else makes, and renews where it is.
//!
//! Such a context has no files of its own: it names those that there are, so that a new certificate counts at once. What it names
//! is looked at before it is written; that the nodes take it is found out with the first command.

use std::fs;
use std::path::{Path, absolute};

use quorate_membership::address::Address;
use quorate_membership::authority::OPERATOR_LIFETIME_MAX;
use quorate_membership::identity::PeerIdentity;

use super::{Context, ContextError, check_endpoints, listed, write_new};

/// What an operator shows and trusts, in PEM.
#[derive(Clone, Copy, Debug)]
pub struct OperatorFiles<'a> {
    /// The authorities of the cluster.
    pub ca: &'a Path,
    /// The operator's certificate, and those above it.
    pub certificate: &'a Path,
    /// Its key; readable by its owner alone.
    pub key: &'a Path,
}

// === impl Context ===

impl Context {
    /// Writes a context that names these files, of the cluster that the certificate names. Nothing is replaced.
    ///
    /// # Errors
    /// [`ContextError`] when a file cannot be used, the certificate is no operator's or lives for more than 366 days, the
    /// authorities do not vouch for it, or the context cannot be written.
    pub fn naming(file: &Path, files: OperatorFiles<'_>, endpoints: &[Address]) -> Result<Self, ContextError> {
        check_endpoints(file, endpoints.len())?;
        let unusable = |source| ContextError::Files { are_own: false, source };
        let at = |path: &Path| absolute(path).map_err(|source| ContextError::Read { file: path.to_owned(), source });
        let context = Self {
            file: file.to_owned(),
            cluster: PeerIdentity::of_file(files.certificate).map_err(unusable)?.cluster(),
            endpoints: endpoints.to_vec(),
            ca: at(files.ca)?,
            certificate: at(files.certificate)?,
            key: at(files.key)?,
        };
        // Said here as well as by the nodes: those that are down are not there to say it.
        context.identity()?;
        let lifetime = context.life().map(|life| life.ends.since(life.begins));
        if let Some(lifetime) = lifetime.filter(|lifetime| *lifetime > OPERATOR_LIFETIME_MAX) {
            return Err(ContextError::LivesTooLong { file: context.certificate, lifetime });
        }
        let text = context.text()?;
        if let Some(folder) = file.parent() {
            let failed = |source| ContextError::Write { file: folder.to_owned(), source };
            fs::create_dir_all(folder).map_err(failed)?;
        }
        write_new(file, &text, 0o600)?;
        Self::read(file)
    }

    fn text(&self) -> Result<String, ContextError> {
        let [ca, certificate, key] = [&self.ca, &self.certificate, &self.key].map(|path| quoted(path.as_path()));
        let (cluster, endpoints) = (self.cluster, listed(&self.endpoints));
        Ok(format!(
            "cluster: \"{cluster}\"\nendpoints: {endpoints}\nca: {}\ncertificate: {}\nkey: {}\n",
            ca?, certificate?, key?
        ))
    }
}

/// A path as YAML has texts with any characters: in double quotes, as JSON.
fn quoted(path: &Path) -> Result<String, ContextError> {
    let invalid = || ContextError::Invalid { file: path.to_owned(), reason: "its name is not UTF-8".to_owned() };
    let text = path.to_str().ok_or_else(invalid)?;
    Ok(serde_json::Value::from(text).to_string())
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;
    use std::path::PathBuf;
    use std::time::{Duration, SystemTime};

    use quorate_membership::authority::{Authority, MemberKey, OPERATOR_LIFETIME_MIN};
    use quorate_membership::identity::Role;
    use quorate_membership::pem::of_certificates;
    use quorate_types::{ClusterId, NodeId, ResourceName};
    use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair, KeyUsagePurpose, SanType};

    use super::super::now;
    use super::*;

    const CLUSTER: ClusterId = ClusterId([7; 16]);

    /// Makes the files of an operator and of a node in a folder, and returns the operator's.
    fn made(folder: &Path) -> [PathBuf; 3] {
        let authority = Authority::mint(CLUSTER, now()).unwrap();
        let (key, name) = (MemberKey::draw(), ResourceName::new("ana").unwrap());
        let issued = authority.issue_operator(name, Role::Admin, OPERATOR_LIFETIME_MIN, &key.public(), now()).unwrap();
        let node = authority.issue_node(NodeId(1), &[], &key.public(), now()).unwrap();
        let path = |name: &str| folder.join(name);
        fs::write(path("their ca: \"1\".pem"), of_certificates([authority.anchor()])).unwrap();
        fs::write(path("ana.pem"), of_certificates(&issued.chain)).unwrap();
        fs::write(path("node.pem"), of_certificates(&node.chain)).unwrap();
        fs::write(path("ana.key"), key.to_pem().as_str()).unwrap();
        fs::set_permissions(path("ana.key"), fs::Permissions::from_mode(0o600)).unwrap();
        ["their ca: \"1\".pem", "ana.pem", "ana.key"].map(path)
    }

    #[test]
    fn a_context_names_the_files_where_they_are_and_learns_addresses_as_others_do() {
        let folder = tempfile::tempdir().unwrap();
        let [ca, certificate, key] = made(folder.path());
        let file = folder.path().join("new/context.yaml");
        let files = OperatorFiles { ca: &ca, certificate: &certificate, key: &key };
        let endpoints = ["10.0.0.1:4191".parse().unwrap()];

        let context = Context::naming(&file, files, &endpoints).unwrap();

        assert_eq!((context.cluster, &context.ca, &context.key), (CLUSTER, &ca, &key));
        assert!(matches!(context.who().unwrap(), PeerIdentity::Operator { role: Role::Admin, .. }));
        assert_eq!(fs::metadata(&file).unwrap().permissions().mode() & 0o777, 0o600);
        context.learn(&["10.0.0.1:4191".parse().unwrap(), "10.0.0.2:4191".parse().unwrap()], &[]).unwrap();
        assert_eq!(Context::read(&file).unwrap().endpoints.len(), 2);
        let again = Context::naming(&file, files, &endpoints).unwrap_err();
        assert!(matches!(again, ContextError::Exists { .. }), "{again}");
    }

    /// Has an enterprise make the certificate of an operator, and returns the operator's files.
    fn made_for(folder: &Path, lifetime: Duration) -> [PathBuf; 3] {
        let mut params = CertificateParams::default();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign];
        let root = CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap();
        let mut params = CertificateParams::default();
        let uri = format!("quorate://{CLUSTER}/operator/ana/viewer");
        params.subject_alt_names = vec![SanType::URI(uri.as_str().try_into().unwrap())];
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        params.not_before = SystemTime::now().into();
        params.not_after = params.not_before + lifetime;
        let key = KeyPair::generate().unwrap();
        let files = ["ca.crt", "ana.crt", "ana.key"].map(|name| folder.join(name));
        let pems = [root.pem(), params.signed_by(&key, &root).unwrap().pem(), key.serialize_pem()];
        for (file, pem) in files.iter().zip(pems) {
            fs::write(file, pem).unwrap();
            fs::set_permissions(file, fs::Permissions::from_mode(0o600)).unwrap();
        }
        files
    }

    #[test]
    fn a_certificate_that_would_outlive_its_revocation_makes_no_context() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("context.yaml");
        let endpoints = ["10.0.0.1:4191".parse().unwrap()];
        let naming = |[ca, certificate, key]: &[PathBuf; 3]| {
            Context::naming(&file, OperatorFiles { ca, certificate, key }, &endpoints)
        };

        let refused = naming(&made_for(folder.path(), OPERATOR_LIFETIME_MAX + Duration::from_secs(1))).unwrap_err();

        assert!(matches!(refused, ContextError::LivesTooLong { .. }) && !file.exists(), "{refused}");
        let told = refused.to_string();
        assert!(told.contains("ana.crt: the certificate lives for 367 days") && told.contains("at most 366"), "{told}");
        let context = naming(&made_for(folder.path(), OPERATOR_LIFETIME_MAX)).unwrap();
        let life = context.life().unwrap();
        assert_eq!(life.ends.since(life.begins), OPERATOR_LIFETIME_MAX);
    }

    #[test]
    fn what_is_wrong_with_files_says_whether_they_are_the_contexts_own() {
        let folder = tempfile::tempdir().unwrap();
        let [ca, certificate, key] = made(folder.path());
        let files = OperatorFiles { ca: &ca, certificate: &certificate, key: &key };
        let context =
            Context::naming(&folder.path().join("context.yaml"), files, &["10.0.0.1:4191".parse().unwrap()]).unwrap();
        let own = Context { ca: folder.path().join("ca.pem"), ..context.clone() };
        assert!(own.has_own_files() && !context.has_own_files());
        for file in [&ca, &own.ca] {
            fs::write(file, "nothing").unwrap();
        }

        for (context, expected) in [(context, false), (own, true)] {
            let refused = context.who().unwrap_err();
            assert!(matches!(refused, ContextError::Files { are_own, .. } if are_own == expected), "{refused}");
            let refused = context.learn_authorities("nothing").unwrap_err();
            assert!(matches!(refused, ContextError::Files { are_own, .. } if are_own == expected), "{refused}");
        }
    }

    #[test]
    fn files_that_no_node_would_take_make_no_context() {
        let (folder, others) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let ([ca, certificate, key], [other, ..]) = (made(folder.path()), made(others.path()));
        let node = folder.path().join("node.pem");
        let open = others.path().join("open.key");
        fs::copy(&key, &open).unwrap();
        fs::set_permissions(&open, fs::Permissions::from_mode(0o640)).unwrap();
        let cases = [
            (OperatorFiles { ca: &ca, certificate: &node, key: &key }, "is no operator"),
            (OperatorFiles { ca: &other, certificate: &certificate, key: &key }, "is not trusted"),
            (OperatorFiles { ca: &ca, certificate: &certificate, key: &open }, "can be read by others"),
            (OperatorFiles { ca: &ca, certificate: &key, key: &key }, "has no certificate"),
        ];
        let file = folder.path().join("context.yaml");
        for (files, expected) in cases {
            let refused = Context::naming(&file, files, &["10.0.0.1:4191".parse().unwrap()]).unwrap_err().to_string();
            assert!(refused.contains(expected), "{expected}: {refused}");
            assert!(!file.exists());
        }
        let nowhere = OperatorFiles { ca: &ca, certificate: &certificate, key: &key };
        assert!(Context::naming(&file, nowhere, &[]).unwrap_err().to_string().contains("1 to 64"));
    }
}
