//! Follows the files of a node's certificate: what is new in them is used at once, and what cannot be used is told.
//!
//! ```text
//! files ─▶ read ─┬▶ fit, and are this node's ──▶ trusted and shown from now on; is the certificate near its end?
//!                └▶ do not ──▶ twice in a row? ──▶ told; what was used before is used further on
//! ```
//!
//! They are looked at, and not waited for: a notification does not come from network mounts, and three small files cost nothing.
//! Files that belong together are not written in one instant, so that what does not fit once may be about to, and what fits may
//! be the half of it: it is taken when two looks in a row read the same bytes. A finding stays in the same words as long as the
//! same is wrong.
//!
//! A mount may not answer. What reads the files is a thread of its own, one at most, for which nobody waits: not the rest of the
//! upkeep, and not the end of the process. That it takes too long is told.

use std::io;
use std::path::Path;
use std::time::{Duration, Instant};

use quorate_membership::handshake::{Files, FilesError, Loaded};
use quorate_membership::identity::PeerIdentity;
use quorate_tls::x509::Facts;
use quorate_types::{Timestamp, rfc3339};
use tokio::sync::oneshot;

use crate::clock::now;
use crate::health::FindingKind;
use crate::member::Inner;

/// How often the files are looked at, at most.
const LOOK: Duration = Duration::from_secs(1);
/// How long a look is waited for before what else there is to do goes on: from a disk it takes less.
const GRACE: Duration = Duration::from_millis(100);
/// How long a look may take until that is a problem.
const LIMIT: Duration = Duration::from_secs(5);
/// The part of its life at whose end a certificate should have been renewed: cert-manager and others renew after two thirds.
const LATE: u32 = 6;
/// Bytes of what is told of a problem: an alarm has 512.
const TOLD_BYTES_MAX: usize = 300;

/// What is known of the files from the looks before.
#[derive(Debug, Default)]
pub(crate) struct Followed {
    looked: Option<Instant>,
    under_way: Option<UnderWay>,
    /// What the last look read, by its digest.
    before: Option<[u8; 32]>,
    /// What was wrong at the last look.
    problem: Option<String>,
}

/// A look that was begun.
#[derive(Debug)]
struct UnderWay {
    begun: Instant,
    answer: oneshot::Receiver<Look>,
}

/// What a look found.
#[derive(Debug)]
struct Look {
    /// Of what was read, whatever it is; nothing where a file could not be.
    digest: Option<[u8; 32]>,
    loaded: Result<Loaded, FilesError>,
}

/// The certificate that a node shows.
struct Shown {
    not_before: Timestamp,
    not_after: Timestamp,
}

/// Looks at the files, and takes what is new in them.
pub(crate) async fn follow(inner: &Inner, files: &Files, followed: &mut Followed) {
    let Some(look) = followed.look(|| begin(files.clone())).await else { return };
    let own = PeerIdentity::Node { cluster: inner.identity.cluster, node: inner.identity.node };
    let problem = match followed.settle(look, &files.certificate, &own) {
        Ok(Some(loaded)) => {
            take(inner, &loaded);
            None
        }
        Ok(None) => None,
        Err(problem) => Some(problem),
    };
    let chain = inner.credentials.chain();
    let Some(facts) = chain.first().and_then(|leaf| Facts::read(leaf).ok()) else { return };
    let shown = Shown { not_before: facts.not_before, not_after: facts.not_after };
    if let Some(finding) = followed.judge(problem, &shown, &files.certificate, now()) {
        inner.findings.set(FindingKind::Certificate, finding);
    }
}

/// Begins to read the files. The thread ends with that, or never where they are on something that does not answer: the runtime
/// would wait for one of its own when it ends.
fn begin(files: Files) -> io::Result<oneshot::Receiver<Look>> {
    let (tell, answer) = oneshot::channel();
    let read = move || {
        let look = match files.content() {
            Ok(content) => Look { digest: Some(content.digest()), loaded: files.load(&content, now()) },
            Err(error) => Look { digest: None, loaded: Err(error) },
        };
        // Who asked may be gone.
        let _ = tell.send(look);
    };
    std::thread::Builder::new().name("certificate-files".to_owned()).spawn(read)?;
    Ok(answer)
}

/// What was read, when it is of this node.
fn of_node(read: Result<Loaded, FilesError>, file: &Path, own: &PeerIdentity) -> Result<Loaded, String> {
    let loaded = read.map_err(|error| error.to_string())?;
    if loaded.identity() == *own {
        return Ok(loaded);
    }
    Err(format!("{} is of {}, and this node is {own}", file.display(), loaded.identity()))
}

/// Trusts and shows what was read, where that is new.
fn take(inner: &Inner, loaded: &Loaded) {
    if *inner.trust.bundle() != loaded.bundle {
        tracing::info!(bundle = ?loaded.bundle, "the file of authorities has others: they are trusted from now on");
        inner.trust.replace(loaded.bundle.clone());
    }
    if inner.credentials.chain() != loaded.credentials.chain() {
        tracing::info!(node = %inner.identity.node, "the files have another certificate: it is shown from now on");
        inner.credentials.adopt(&loaded.credentials);
    }
}

// === impl Followed ===

impl Followed {
    /// Looks at the files when it is time, by what `begin` begins: what they have, or why that is not known; nothing while it is
    /// read.
    async fn look(
        &mut self,
        begin: impl FnOnce() -> io::Result<oneshot::Receiver<Look>>,
    ) -> Option<Result<Look, String>> {
        if self.under_way.is_none() {
            if self.looked.is_some_and(|looked| looked.elapsed() < LOOK) {
                return None;
            }
            self.looked = Some(Instant::now());
            match begin() {
                Ok(answer) => self.under_way = Some(UnderWay { begun: Instant::now(), answer }),
                Err(error) => return Some(Err(format!("no thread can be made that reads them: {error}"))),
            }
        }
        let under_way = self.under_way.as_mut()?;
        match tokio::time::timeout(GRACE, &mut under_way.answer).await {
            Ok(answer) => {
                self.under_way = None;
                Some(answer.map_err(|_| "what read them ended without an answer".to_owned()))
            }
            Err(_) if under_way.begun.elapsed() < LIMIT => None,
            Err(_) => {
                Some(Err(format!("they are not read within {} s: what they are on does not answer", LIMIT.as_secs())))
            }
        }
    }

    /// What is to be taken of a look: something when it has what the one before had, and is of this node.
    fn settle(
        &mut self,
        look: Result<Look, String>,
        file: &Path,
        own: &PeerIdentity,
    ) -> Result<Option<Loaded>, String> {
        let before = self.before.take();
        let Look { digest, loaded } = look?;
        self.before = digest;
        let loaded = of_node(loaded, file, own)?;
        Ok(Some(loaded).filter(|_| digest == before))
    }

    /// What is to be told: that nothing is wrong, or what; none as long as that is open.
    fn judge(&mut self, problem: Option<String>, shown: &Shown, file: &Path, now: Timestamp) -> Option<Option<String>> {
        let is_open = problem.is_some() && self.problem.is_none();
        self.problem.clone_from(&problem);
        if is_open {
            return None;
        }
        let ends = rfc3339::format(shown.not_after);
        Some(match problem {
            Some(problem) => {
                let problem = printable(&problem);
                Some(format!(
                    "the files of this node's certificate cannot be used, so that it shows further on the one that ends at \
                     {ends}: {problem}"
                ))
            }
            None if shown.is_late(now) => Some(format!(
                "the certificate of this node ends at {ends}, and there is no later one in {}",
                printable(&file.display().to_string())
            )),
            None => None,
        })
    }
}

// === impl Shown ===

impl Shown {
    fn is_late(&self, now: Timestamp) -> bool {
        self.not_after.since(now) < self.not_after.since(self.not_before) / LATE
    }
}

/// A text with the names of files in it as an alarm takes it: not too long, and on one line.
fn printable(text: &str) -> String {
    let mut shown: String = text.chars().map(|one| if one.is_control() { '?' } else { one }).collect();
    if shown.len() > TOLD_BYTES_MAX {
        shown.truncate(shown.floor_char_boundary(TOLD_BYTES_MAX));
        shown.push('…');
    }
    shown
}

#[cfg(test)]
mod tests {
    use quorate_types::{ClusterId, NodeId};
    use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair, KeyUsagePurpose, SanType};

    use super::*;

    const FILE: &str = "/etc/quorate/node.pem";

    fn at(seconds: u64) -> Timestamp {
        Timestamp::from_millis(seconds * 1000)
    }

    #[test]
    fn what_does_not_fit_is_told_when_it_is_found_twice_and_is_over_at_once() {
        let (mut followed, shown) = (Followed::default(), Shown { not_before: at(0), not_after: at(600) });
        let mut judge =
            |problem: Option<&str>| followed.judge(problem.map(str::to_owned), &shown, FILE.as_ref(), at(9));

        assert_eq!(judge(None), Some(None));
        assert_eq!(judge(Some("half")), None, "the other half may be on its way");
        assert_eq!(judge(None), Some(None));
        assert_eq!(judge(Some("half")), None);
        let told = judge(Some("half")).flatten().expect("it stays");
        assert!(told.ends_with("ends at 1970-01-01T00:10:00Z: half"), "{told}");
        assert_eq!(judge(Some("half")), Some(Some(told)), "in the same words");
        assert!(judge(Some("another")).flatten().is_some_and(|told| told.ends_with("another")));
        assert_eq!(judge(None), Some(None));
    }

    #[test]
    fn a_certificate_that_nobody_renews_is_told_before_it_ends_and_afterwards() {
        let shown = Shown { not_before: at(0), not_after: at(600) };
        for (now, is_late) in [(0, false), (499, false), (501, true), (601, true)] {
            let told = Followed::default().judge(None, &shown, FILE.as_ref(), at(now)).expect("it is judged");
            assert_eq!(told.is_some(), is_late, "{now}");
            assert!(told.is_none_or(|told| told.contains(FILE)), "{now}");
        }
    }

    #[test]
    fn what_is_told_fits_into_an_alarm_and_on_a_line() {
        let long = format!("{}\n{}", "\u{7}", "ü".repeat(1_000));
        let (mut followed, shown) = (Followed::default(), Shown { not_before: at(0), not_after: at(600) });
        let told: Vec<_> = (0..2).map(|_| followed.judge(Some(long.clone()), &shown, FILE.as_ref(), at(9))).collect();
        let told = told[1].clone().flatten().expect("it stays");
        assert!(told.chars().all(|one| !one.is_control()) && told.len() <= 512, "{told}");
    }

    const OWN: PeerIdentity = PeerIdentity::Node { cluster: ClusterId([9; 16]), node: NodeId(1) };

    /// Files of a node in a folder, and the text of another authority.
    fn files(folder: &Path) -> (Files, String) {
        let authority = || {
            let mut params = CertificateParams::default();
            params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
            params.key_usages = vec![KeyUsagePurpose::KeyCertSign];
            CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap()
        };
        let (root, mut params, key) = (authority(), CertificateParams::default(), KeyPair::generate().unwrap());
        params.subject_alt_names = vec![SanType::URI(OWN.to_string().as_str().try_into().unwrap())];
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        let [certificate, key_file, authorities] = ["node.pem", "node.key", "ca.pem"].map(|name| folder.join(name));
        std::fs::write(&certificate, params.signed_by(&key, &root).unwrap().pem()).unwrap();
        std::fs::write(&key_file, key.serialize_pem()).unwrap();
        std::fs::write(&authorities, root.pem()).unwrap();
        (Files { certificate, key: key_file, authorities }, authority().pem())
    }

    #[tokio::test]
    async fn what_is_new_is_taken_when_two_looks_in_a_row_read_the_same() {
        let folder = tempfile::tempdir().unwrap();
        let (files, other) = files(folder.path());
        let mut followed = Followed::default();
        let mut trusted = async || {
            let look = begin(files.clone()).unwrap().await.unwrap();
            let taken = followed.settle(Ok(look), &files.certificate, &OWN).unwrap();
            taken.map(|loaded| loaded.bundle.authorities().len())
        };
        let one = std::fs::read_to_string(&files.authorities).unwrap();
        assert_eq!((trusted().await, trusted().await, trusted().await), (None, Some(1), Some(1)));

        let whole = format!("{one}{other}");
        std::fs::write(&files.authorities, &whole).unwrap();
        assert_eq!((trusted().await, trusted().await), (None, Some(2)));
        // Cut between two blocks, as it is while somebody writes it anew: good by itself, and not what is meant.
        std::fs::write(&files.authorities, &whole[..one.len()]).unwrap();
        assert_eq!(trusted().await, None);
        std::fs::write(&files.authorities, &whole).unwrap();
        assert_eq!((trusted().await, trusted().await), (None, Some(2)));
        // So it is with another file, and after a look that read nothing.
        let key = std::fs::read_to_string(&files.key).unwrap();
        std::fs::write(&files.key, format!("{key}\n")).unwrap();
        assert_eq!((trusted().await, trusted().await), (None, Some(2)));
        assert!(followed.settle(Err("nothing".to_owned()), &files.certificate, &OWN).is_err());
        let look = begin(files.clone()).unwrap().await.unwrap();
        assert!(followed.settle(Ok(look), &files.certificate, &OWN).unwrap().is_none());
    }

    #[tokio::test]
    async fn files_that_are_not_read_in_time_are_told_and_held_up_nothing() {
        let mut followed = Followed::default();
        let (tell, answer) = oneshot::channel();
        assert!(followed.look(|| Ok(answer)).await.is_none(), "it may take some time");

        let second = || -> io::Result<_> { panic!("one look is under way") };
        followed.under_way.as_mut().unwrap().begun = Instant::now().checked_sub(LIMIT).unwrap();
        let told = followed.look(second).await.unwrap().unwrap_err();
        assert_eq!(told, "they are not read within 5 s: what they are on does not answer");
        assert_eq!(followed.look(second).await.unwrap().unwrap_err(), told, "in the same words");

        let folder = tempfile::tempdir().unwrap();
        let (files, _) = files(folder.path());
        tell.send(begin(files.clone()).unwrap().await.unwrap()).unwrap();
        assert!(followed.look(second).await.unwrap().unwrap().loaded.is_ok(), "it answers after all");
        assert!(followed.look(second).await.is_none(), "it is not time for another");
        followed.looked = None;
        let mut look = followed.look(|| begin(files)).await;
        while look.is_none() {
            look = followed.look(second).await;
        }
        assert!(look.unwrap().unwrap().loaded.is_ok());
    }
}
