//! Context files: where a cluster is, and what an operator shows there.
//!
//! ```yaml
//! cluster: 000102030405060708090a0b0c0d0eff
//! endpoints: ["node-1:4191", "node-2:4191"]
//! ca: ca.pem
//! certificate: operator.pem
//! key: operator-key.pem
//! ```
//!
//! Paths are relative to the file. A key that others can read is refused, as ssh does it. What is written is new: no file of
//! another context is replaced, and the key is nobody else's from its first byte on. Only the list of endpoints and the
//! authorities change later: a context learns where the nodes are, and whom the cluster trusts.

mod error;
mod named;

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::time::{SystemTime, UNIX_EPOCH};

use quorate_membership::address::{Address, InvalidAddress};
use quorate_membership::handshake::{Credentials, FilesError, Trust};
use quorate_membership::identity::PeerIdentity;
use quorate_membership::pem::of_certificates;
use quorate_membership::trust::{Bundle, Side};
use quorate_tls::x509::Facts;
use quorate_types::{ClusterId, Timestamp};
use serde::Deserialize;

pub use self::error::ContextError;
pub use self::named::OperatorFiles;
use crate::connection::Operator;

/// Bytes of a context file; one has some hundred.
const FILE_BYTES_MAX: u64 = 64 << 10;
/// Endpoints of a context: as many as a cluster has nodes that one would name.
pub const ENDPOINTS_MAX: usize = 64;
/// The files beside a context that is written.
const NAMES: [&str; 3] = ["ca.pem", "operator.pem", "operator-key.pem"];

/// A context, its paths resolved.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Context {
    /// The file that it was read from.
    pub file: PathBuf,
    /// The cluster; nodes of others are refused.
    pub cluster: ClusterId,
    /// Admin addresses of nodes, tried in turn; one at least.
    pub endpoints: Vec<Address>,
    /// The authorities of the cluster, in PEM.
    pub ca: PathBuf,
    /// The operator's certificate, in PEM.
    pub certificate: PathBuf,
    /// Its key, in PEM; readable by its owner alone.
    pub key: PathBuf,
}

/// What a new context is made of; a key is in it, so that it has no `Debug`.
pub struct Material<'a> {
    /// The cluster.
    pub cluster: ClusterId,
    /// Admin addresses of nodes.
    pub endpoints: &'a [Address],
    /// The authorities of the cluster, in PEM.
    pub ca_pem: &'a str,
    /// The operator's certificate, in PEM.
    pub certificate_pem: &'a str,
    /// Its key, in PEM.
    pub key_pem: &'a str,
}

/// From when to when a certificate is good.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Life {
    /// Its beginning.
    pub begins: Timestamp,
    /// Its end.
    pub ends: Timestamp,
}

/// A place where a context can be written.
#[derive(Debug)]
pub struct Draft {
    file: PathBuf,
    folder: PathBuf,
}

#[derive(Deserialize, PartialEq, Eq)]
#[serde(deny_unknown_fields)]
struct Written {
    cluster: String,
    endpoints: Vec<String>,
    ca: PathBuf,
    certificate: PathBuf,
    key: PathBuf,
}

// === impl Context ===

impl Context {
    /// Reads a context file.
    ///
    /// # Errors
    /// [`ContextError`] names the file and what is wrong with it.
    pub fn read(file: &Path) -> Result<Self, ContextError> {
        let failed = |source| ContextError::Read { file: file.to_owned(), source };
        let invalid = |reason: String| ContextError::Invalid { file: file.to_owned(), reason };
        let opened = File::open(file).map_err(|error| match error.kind() {
            io::ErrorKind::NotFound => ContextError::Missing { file: file.to_owned() },
            _ => failed(error),
        })?;
        let mut text = String::new();
        opened.take(FILE_BYTES_MAX + 1).read_to_string(&mut text).map_err(failed)?;
        if text.len() as u64 > FILE_BYTES_MAX {
            return Err(invalid(format!("it is larger than {FILE_BYTES_MAX} bytes")));
        }
        let Written { cluster, endpoints, ca, certificate, key } = parse(&text).map_err(invalid)?;
        let cluster =
            cluster.parse().map_err(|_| invalid(format!("cluster is {cluster:?}, and must be 32 hex digits")))?;
        check_endpoints(file, endpoints.len())?;
        let address = |text: &String| {
            text.parse().map_err(|error: InvalidAddress| invalid(format!("endpoints has {text:?}: {error}")))
        };
        let endpoints = endpoints.iter().map(address).collect::<Result<_, _>>()?;
        let folder = file.parent().unwrap_or(Path::new(""));
        let at = |path: PathBuf| folder.join(path);
        Ok(Self { file: file.to_owned(), cluster, endpoints, ca: at(ca), certificate: at(certificate), key: at(key) })
    }

    /// Learns where the nodes of the cluster are, and writes that to its file, in one step: new addresses are tried after
    /// those that are there, and addresses of nodes that are gone no more. What else stands in the file stays as it is. A
    /// list of endpoints that is written over several lines is somebody's own, and is left alone.
    ///
    /// # Errors
    /// [`ContextError`] when the file cannot be read or replaced; it is then as it was.
    pub fn learn(&self, members: &[Address], gone: &[Address]) -> Result<(), ContextError> {
        let endpoints = learned(&self.endpoints, members, gone);
        if endpoints == self.endpoints {
            return Ok(());
        }
        let failed = |source| ContextError::Write { file: self.file.clone(), source };
        let text = fs::read_to_string(&self.file).map_err(failed)?;
        let Some(text) = with_endpoints(&text, &endpoints) else { return Ok(()) };
        replace(&self.file, &text)
    }

    /// Learns whom the cluster trusts (certificates in PEM), as a node of it told over TLS that hears of its leader, and
    /// writes that to the file of authorities, in one step. A file with none of those authorities is somebody's own, and is
    /// left alone; so is one that has the same.
    ///
    /// # Errors
    /// [`ContextError`] when the file cannot be read or replaced, or the certificates are no authorities; also when one has to
    /// be added to a file that was not written with the context, and may be others' too. It is then as it was.
    pub fn learn_authorities(&self, certificates: &str) -> Result<(), ContextError> {
        let (known, told) = self.authorities(certificates)?;
        if known == told || known.authorities().is_disjoint(&told.authorities()) {
            return Ok(());
        }
        if !self.has_own_files() {
            if told.authorities().is_subset(&known.authorities()) {
                return Ok(());
            }
            let reason = "it was not written with the context: add the cluster's other authority to it yourself";
            return Err(ContextError::Write { file: self.ca.clone(), source: io::Error::other(reason) });
        }
        replace(&self.ca, &of_certificates(&told.certificates().cloned().collect::<Vec<_>>()))
    }

    /// Tells whether who trusts these authorities (certificates in PEM) takes the certificate of the context.
    ///
    /// # Errors
    /// [`ContextError`] when its files cannot be used, or the certificates are no authorities.
    pub fn is_taken_by(&self, certificates: &str) -> Result<bool, ContextError> {
        let (operator, _) = self.identity()?;
        let bundle = Bundle::of_pem(certificates).map_err(|source| self.unusable(source))?;
        let trust = Trust::new(self.cluster, bundle);
        Ok(trust.verify(&operator.credentials.chain(), Side::Client, now()).is_ok())
    }

    /// Tells whether the context trusts all these authorities (certificates in PEM).
    ///
    /// # Errors
    /// [`ContextError`] when its file cannot be read, or the certificates are no authorities.
    pub fn trusts(&self, certificates: &str) -> Result<bool, ContextError> {
        let (known, told) = self.authorities(certificates)?;
        Ok(told.authorities().is_subset(&known.authorities()))
    }

    /// Reads what the operator shows, and whom to trust.
    pub(crate) fn operator(&self) -> Result<Operator, ContextError> {
        self.identity().map(|(operator, _)| operator)
    }

    /// Returns who the certificate of the context is for.
    ///
    /// # Errors
    /// [`ContextError`] when its files cannot be used.
    pub fn who(&self) -> Result<PeerIdentity, ContextError> {
        self.identity().map(|(_, identity)| identity)
    }

    /// From when to when the certificate of the context is good; none when it cannot be read.
    #[must_use]
    pub fn life(&self) -> Option<Life> {
        let (operator, _) = self.identity().ok()?;
        let chain = operator.credentials.chain();
        let facts = Facts::read(chain.first()?).ok()?;
        Some(Life { begins: facts.not_before, ends: facts.not_after })
    }

    /// Whether its files were written with it; otherwise somebody else makes them, and renews them where they are.
    #[must_use]
    pub fn has_own_files(&self) -> bool {
        self.ca == self.file.with_file_name(NAMES[0])
    }

    /// Whom it trusts, and who is told to be trusted.
    fn authorities(&self, certificates: &str) -> Result<(Bundle, Bundle), ContextError> {
        let both = Bundle::of_file(&self.ca).and_then(|known| Ok((known, Bundle::of_pem(certificates)?)));
        both.map_err(|source| self.unusable(source))
    }

    fn unusable(&self, source: FilesError) -> ContextError {
        ContextError::Files { are_own: self.has_own_files(), source }
    }

    fn identity(&self) -> Result<(Operator, PeerIdentity), ContextError> {
        // What cannot be looked at cannot be read either, and that is said with its name.
        if let Ok(metadata) = fs::metadata(&self.key)
            && metadata.mode() & 0o077 != 0
        {
            return Err(ContextError::Exposed { file: self.key.clone(), mode: metadata.mode() & 0o777 });
        }
        let read = || {
            let trust = Trust::new(self.cluster, Bundle::of_file(&self.ca)?);
            let (credentials, identity) = Credentials::of_operator_files(&trust, &self.certificate, &self.key, now())?;
            Ok((Operator { credentials, trust }, identity))
        };
        read().map_err(|source| self.unusable(source))
    }
}

// === impl Draft ===

impl Draft {
    /// Makes sure that a context can be written to a file: before what goes into it is made, because it is made once.
    ///
    /// # Errors
    /// [`ContextError`] when a file is there already, or none can be written.
    pub fn new(file: &Path) -> Result<Self, ContextError> {
        let folder = match file.parent() {
            Some(folder) if folder != Path::new("") => folder.to_owned(),
            _ => PathBuf::from("."),
        };
        let failed = |file: &Path, source| ContextError::Write { file: file.to_owned(), source };
        fs::create_dir_all(&folder).map_err(|error| failed(&folder, error))?;
        let draft = Self { file: file.to_owned(), folder };
        for file in draft.files() {
            // A link that leads nowhere is something, too.
            if fs::symlink_metadata(&file).is_ok() {
                return Err(ContextError::Exists { file });
            }
        }
        let probe = draft.folder.join(format!(".quorate-{}", std::process::id()));
        create(&probe, 0o600).map_err(|error| failed(&probe, error))?;
        fs::remove_file(&probe).map_err(|error| failed(&probe, error))?;
        Ok(draft)
    }

    /// Writes the context and what belongs to it.
    ///
    /// # Errors
    /// [`ContextError`] names the file that cannot be written.
    pub fn write(self, material: &Material<'_>) -> Result<Context, ContextError> {
        let text = format!(
            "cluster: \"{}\"\nendpoints: {}\nca: {}\ncertificate: {}\nkey: {}\n",
            material.cluster,
            listed(material.endpoints),
            NAMES[0],
            NAMES[1],
            NAMES[2],
        );
        let [file, ca, certificate, key] = self.files();
        // The context is last: whoever finds it finds all of it.
        let contents = [
            (&key, material.key_pem, 0o600),
            (&certificate, material.certificate_pem, 0o644),
            (&ca, material.ca_pem, 0o644),
            (&file, text.as_str(), 0o600),
        ];
        for (file, content, mode) in contents {
            write_new(file, content, mode)?;
        }
        Context::read(&self.file)
    }

    fn files(&self) -> [PathBuf; 4] {
        let [ca, certificate, key] = NAMES.map(|name| self.folder.join(name));
        [self.file.clone(), ca, certificate, key]
    }
}

/// Replaces a file in one step, with the mode that it had.
fn replace(file: &Path, text: &str) -> Result<(), ContextError> {
    let failed = |source| ContextError::Write { file: file.to_owned(), source };
    // A link leads to the file that is meant.
    let file = fs::canonicalize(file).map_err(failed)?;
    let mode = fs::metadata(&file).map_err(failed)?.mode() & 0o777;
    let draft = file.with_file_name(format!(".quorate-context-{}", std::process::id()));
    let replaced = create_with(&draft, text, mode).and_then(|()| fs::rename(&draft, &file));
    if replaced.is_err() {
        // It may never have been there.
        let _gone = fs::remove_file(&draft);
    }
    replaced.map_err(failed)
}

/// Addresses to try: those that are known first, as they are.
fn learned(known: &[Address], members: &[Address], gone: &[Address]) -> Vec<Address> {
    let stays = |address: &&Address| members.contains(address) || !gone.contains(address);
    let mut endpoints: Vec<Address> = known.iter().filter(stays).cloned().collect();
    let new = members.iter().filter(|address| !known.contains(address));
    endpoints.extend(new.cloned());
    endpoints.truncate(ENDPOINTS_MAX);
    // Somebody has to be asked.
    if endpoints.is_empty() { known.to_vec() } else { endpoints }
}

/// A context with other endpoints and nothing else changed; none when that cannot be done by changing one line.
fn with_endpoints(text: &str, endpoints: &[Address]) -> Option<String> {
    let list = listed(endpoints);
    let is_list = |line: &&str| line.starts_with("endpoints: [") && line.trim_end().ends_with(']');
    let line = text.lines().find(is_list)?;
    let changed = text.replacen(line, &format!("endpoints: {list}"), 1);
    let (before, after) = (parse(text).ok()?, parse(&changed).ok()?);
    let told = endpoints.iter().map(ToString::to_string).collect::<Vec<_>>();
    let is_same = Written { endpoints: told, ..before } == after;
    is_same.then_some(changed)
}

fn listed(endpoints: &[Address]) -> String {
    let quoted: Vec<String> = endpoints.iter().map(|address| format!("\"{address}\"")).collect();
    format!("[{}]", quoted.join(", "))
}

fn check_endpoints(file: &Path, count: usize) -> Result<(), ContextError> {
    if (1..=ENDPOINTS_MAX).contains(&count) {
        return Ok(());
    }
    let reason = format!("endpoints are {count}, and must be 1 to {ENDPOINTS_MAX}");
    Err(ContextError::Invalid { file: file.to_owned(), reason })
}

/// Writes a file that is not there yet.
fn write_new(file: &Path, text: &str, mode: u32) -> Result<(), ContextError> {
    create_with(file, text, mode).map_err(|source| match source.kind() {
        io::ErrorKind::AlreadyExists => ContextError::Exists { file: file.to_owned() },
        _ => ContextError::Write { file: file.to_owned(), source },
    })
}

fn create_with(file: &Path, text: &str, mode: u32) -> io::Result<()> {
    let mut opened = create(file, mode)?;
    opened.write_all(text.as_bytes())?;
    opened.sync_all()
}

fn create(file: &Path, mode: u32) -> io::Result<File> {
    OpenOptions::new().write(true).create_new(true).mode(mode).open(file)
}

fn parse(text: &str) -> Result<Written, String> {
    let options = serde_saphyr::options! {
        duplicate_keys: serde_saphyr::DuplicateKeyPolicy::Error,
        with_snippet: false,
    };
    serde_saphyr::from_str_with_options(text, options)
        .map_err(|error| error.render_with_formatter(&serde_saphyr::UserMessageFormatter))
}

fn now() -> Timestamp {
    // A clock before 1970 makes every certificate one of the future, which is said then.
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    Timestamp::from_millis(u64::try_from(since.as_millis()).unwrap_or(u64::MAX))
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use quorate_membership::authority::{Authority, MemberKey, OPERATOR_LIFETIME_MIN};
    use quorate_membership::identity::Role;
    use quorate_types::ResourceName;

    use super::*;

    const CLUSTER: ClusterId = ClusterId([7; 16]);

    fn write(file: &Path) -> Result<Context, ContextError> {
        let authority = Authority::mint(CLUSTER, now()).unwrap();
        let (key, name) = (MemberKey::draw(), ResourceName::new("ana").unwrap());
        let issued = authority.issue_operator(name, Role::Admin, OPERATOR_LIFETIME_MIN, &key.public(), now()).unwrap();
        let endpoints = ["127.0.0.1:4191".parse().unwrap(), "node-2:4191".parse().unwrap()];
        let material = Material {
            cluster: CLUSTER,
            endpoints: &endpoints,
            ca_pem: &of_certificates([authority.anchor()]),
            certificate_pem: &of_certificates(&issued.chain),
            key_pem: &key.to_pem(),
        };
        Draft::new(file)?.write(&material)
    }

    #[test]
    fn what_is_written_is_read_again_and_shows_who_it_is_for() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("new/context.yaml");

        let context = write(&file).unwrap();

        assert_eq!(Context::read(&file).unwrap(), context);
        assert_eq!((context.cluster, context.endpoints.len()), (CLUSTER, 2));
        assert!(context.has_own_files());
        let left = context.life().unwrap().ends.since(now());
        assert!(left <= OPERATOR_LIFETIME_MIN && left * 2 > OPERATOR_LIFETIME_MIN, "{left:?}");
        assert_eq!(context.who().unwrap().to_string(), format!("quorate://{CLUSTER}/operator/ana/admin"));
        let mode = |path: &Path| fs::metadata(path).unwrap().mode() & 0o777;
        assert_eq!((mode(&context.key), mode(&file)), (0o600, 0o600));
    }

    #[test]
    fn a_context_learns_where_nodes_are_and_keeps_all_else() {
        let folder = tempfile::tempdir().unwrap();
        let context = write(&folder.path().join("context.yaml")).unwrap();
        let address = |text: &str| text.parse::<Address>().unwrap();
        let text = fs::read_to_string(&context.file).unwrap();
        fs::write(&context.file, format!("# Ana's own.\n{text}")).unwrap();
        let before = fs::read(&context.key).unwrap();

        context.learn(&[address("node-3:4191"), address("node-2:4191")], &[address("127.0.0.1:4191")]).unwrap();

        let after = Context::read(&context.file).unwrap();
        assert_eq!(after.endpoints, [address("node-2:4191"), address("node-3:4191")]);
        assert_eq!(after, Context { endpoints: after.endpoints.clone(), ..context.clone() });
        assert!(fs::read_to_string(&context.file).unwrap().starts_with("# Ana's own.\n"));
        assert_eq!(fs::read(&context.key).unwrap(), before);
        assert_eq!(fs::metadata(&context.file).unwrap().permissions().mode() & 0o777, 0o600);
        assert!(after.who().is_ok());
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 4, "nothing is left over");
    }

    #[test]
    fn a_context_learns_whom_its_cluster_trusts_and_nothing_of_strangers() {
        let folder = tempfile::tempdir().unwrap();
        let context = write(&folder.path().join("context.yaml")).unwrap();
        let known = Bundle::of_file(&context.ca).unwrap();
        let next = Authority::mint(CLUSTER, now()).unwrap();
        let both = format!("{}{}", fs::read_to_string(&context.ca).unwrap(), of_certificates([next.anchor()]));

        context.learn_authorities(&both).unwrap();

        let learned = Bundle::of_file(&context.ca).unwrap();
        assert_eq!(learned.authorities(), known.authorities().into_iter().chain([next.id()]).collect());
        let own = of_certificates(&known.certificates().cloned().collect::<Vec<_>>());
        assert!(context.is_taken_by(&own).unwrap() && !context.is_taken_by(&of_certificates([next.anchor()])).unwrap());
        assert!(context.trusts(&both).unwrap());
        assert!(context.who().is_ok());
        assert_eq!(fs::metadata(&context.ca).unwrap().permissions().mode() & 0o777, 0o644);
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 4, "nothing is left over");

        let stranger = Authority::mint(CLUSTER, now()).unwrap();
        context.learn_authorities(&of_certificates([stranger.anchor()])).unwrap();
        assert_eq!(Bundle::of_file(&context.ca).unwrap(), learned, "it has none of those that are known");
        assert!(context.learn_authorities("nothing").is_err());

        // A file that others may use, too, is theirs to change.
        let shared = Context { ca: folder.path().join("all.pem"), ..context };
        fs::write(&shared.ca, &both).unwrap();
        shared.learn_authorities(&own).unwrap();
        assert_eq!(fs::read_to_string(&shared.ca).unwrap(), both, "nothing is missing in it");
        fs::write(&shared.ca, &own).unwrap();
        let refused = shared.learn_authorities(&both).unwrap_err().to_string();
        assert!(refused.contains("all.pem") && refused.contains("not written with the context"), "{refused}");
        assert_eq!(fs::read_to_string(&shared.ca).unwrap(), own);
    }

    #[test]
    fn endpoints_that_somebody_wrote_in_another_form_stay() {
        let addresses = ["b:1".parse().unwrap()];
        let rest = format!("cluster: \"{CLUSTER}\"\nca: a\ncertificate: b\nkey: c\n");

        assert_eq!(with_endpoints(&format!("endpoints:\n  - \"a:1\"\n{rest}"), &addresses), None);
        let one_line = format!("endpoints: [\"a:1\"]\n{rest}");
        assert_eq!(with_endpoints(&one_line, &addresses), Some(one_line.replace("a:1", "b:1")));
    }

    #[test]
    fn a_context_whose_nodes_are_all_gone_keeps_whom_it_knows() {
        let [a, b]: [Address; 2] = ["a:1", "b:1"].map(|text| text.parse().unwrap());

        let own = std::slice::from_ref(&a);
        assert_eq!(learned(own, &[], own), own);
        assert_eq!(learned(std::slice::from_ref(&a), std::slice::from_ref(&b), &[]), [a, b]);
    }

    #[test]
    fn no_file_of_another_context_is_replaced() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("context.yaml");
        fs::write(folder.path().join("operator-key.pem"), "another one's").unwrap();

        let refused = write(&file).unwrap_err();

        assert!(matches!(&refused, ContextError::Exists { file } if file.ends_with("operator-key.pem")), "{refused}");
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1, "nothing else was made");
    }

    #[test]
    fn a_key_that_others_can_read_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        let context = write(&folder.path().join("context.yaml")).unwrap();
        fs::set_permissions(&context.key, fs::Permissions::from_mode(0o640)).unwrap();

        let refused = context.who().unwrap_err();

        assert!(matches!(refused, ContextError::Exposed { mode: 0o640, .. }), "{refused}");
    }

    #[test]
    fn what_is_no_context_says_what_is_wrong() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("context.yaml");
        let rest = "ca: a\ncertificate: b\nkey: c\n";
        let cases = [
            (format!("cluster: x\nendpoints: [\"a:1\"]\n{rest}"), "32 hex digits"),
            (format!("cluster: \"{CLUSTER}\"\nendpoints: []\n{rest}"), "endpoints are 0, and must be 1 to 64"),
            (format!("cluster: \"{CLUSTER}\"\nendpoints: [\"a\"]\n{rest}"), "an address ends with `:PORT`"),
            (format!("cluster: \"{CLUSTER}\"\n{rest}"), "endpoints"),
            (format!("cluster: \"{CLUSTER}\"\nendpoints: [\"a:1\"]\nextra: 1\n{rest}"), "extra"),
            ("]".to_owned(), "context.yaml"),
        ];
        for (text, expected) in cases {
            fs::write(&file, &text).unwrap();
            let error = Context::read(&file).unwrap_err().to_string();
            assert!(error.contains(expected), "{expected}: {error}");
        }
        let missing = Context::read(&folder.path().join("none.yaml")).unwrap_err();
        assert!(matches!(missing, ContextError::Missing { .. }));
    }
}
