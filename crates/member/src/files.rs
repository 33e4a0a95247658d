//! Follows the files of a node's certificate: what is new in them is used at once, and what cannot be used is told.
//!
//! ```text
//! files ─▶ read ─┬▶ fit, and are this node's ──▶ trusted and shown from now on; is the certificate near its end?
//!                └▶ do not ──▶ twice in a row? ──▶ told; what was used before is used further on
//! ```
//!
//! They are looked at, and not waited for: a notification does not come from network mounts, and three small files cost nothing.
//! Files that belong together are not written in one instant, so that what does not fit once may be about to. A finding stays in
//! the same words as long as the same is wrong.

use std::path::Path;
use std::time::{Duration, Instant};

use quorate_membership::handshake::{Files, FilesError, Loaded};
use quorate_membership::identity::PeerIdentity;
use quorate_tls::x509::Facts;
use quorate_types::{Timestamp, rfc3339};

use crate::clock::now;
use crate::health::FindingKind;
use crate::member::Inner;

/// How often the files are looked at, at most.
const LOOK: Duration = Duration::from_secs(1);
/// The part of its life at whose end a certificate should have been renewed: cert-manager and others renew after two thirds.
const LATE: u32 = 6;
/// Bytes of what is told of a problem: an alarm has 512.
const TOLD_BYTES_MAX: usize = 300;

/// What is known of the files from the looks before.
#[derive(Debug, Default)]
pub(crate) struct Followed {
    looked: Option<Instant>,
    /// What was wrong at the last look.
    problem: Option<String>,
}

/// The certificate that a node shows.
struct Shown {
    not_before: Timestamp,
    not_after: Timestamp,
}

/// Looks at the files, and takes what is new in them.
pub(crate) async fn follow(inner: &Inner, files: &Files, followed: &mut Followed) {
    if followed.looked.is_some_and(|looked| looked.elapsed() < LOOK) {
        return;
    }
    followed.looked = Some(Instant::now());
    let reading = files.clone();
    let Ok(read) = tokio::task::spawn_blocking(move || reading.read(now())).await else { return };
    let own = PeerIdentity::Node { cluster: inner.identity.cluster, node: inner.identity.node };
    let problem = match of_node(read, &files.certificate, &own) {
        Ok(loaded) => {
            take(inner, &loaded);
            None
        }
        Err(problem) => Some(problem),
    };
    let chain = inner.credentials.chain();
    let Some(facts) = chain.first().and_then(|leaf| Facts::read(leaf).ok()) else { return };
    let shown = Shown { not_before: facts.not_before, not_after: facts.not_after };
    if let Some(finding) = followed.judge(problem, &shown, &files.certificate, now()) {
        inner.findings.set(FindingKind::Certificate, finding);
    }
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
}
