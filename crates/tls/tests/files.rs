//! Certificate files that are wrong, replaced, or replaced by wrong ones.
//!
//! Real files, a real watch and real handshakes (over a pipe in memory).

#![cfg(test)]

use std::path::{Path, PathBuf};
use std::time::Duration;

use quorate_tls::{ClientOptions, ClientTls, Reason, Reload, ServerTls, Watch, WatchConfig};
use tempfile::TempDir;
use tokio::sync::mpsc;

/// Longer than anything takes: a wait that reaches it has failed.
const PATIENCE: Duration = Duration::from_secs(20);

struct Made {
    certificate: String,
    key: String,
}

fn make() -> Made {
    let made = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
    Made { certificate: made.cert.pem(), key: made.signing_key.serialize_pem() }
}

/// A folder with a certificate and its key.
struct Files {
    folder: TempDir,
}

impl Files {
    fn new(made: &Made) -> Self {
        let files = Self { folder: TempDir::new().unwrap() };
        files.write(made);
        files
    }

    fn certificate(&self) -> PathBuf {
        self.folder.path().join("cert.pem")
    }

    fn key(&self) -> PathBuf {
        self.folder.path().join("key.pem")
    }

    fn write(&self, made: &Made) {
        self.replace(&self.certificate(), &made.certificate);
        self.replace(&self.key(), &made.key);
    }

    /// Replaces a file in one step, so that nobody sees half of it.
    fn replace(&self, path: &Path, text: &str) {
        let new = self.folder.path().join("new");
        std::fs::write(&new, text).unwrap();
        std::fs::rename(new, path).unwrap();
    }

    fn load(&self) -> ServerTls {
        ServerTls::load(self.certificate(), self.key()).unwrap()
    }
}

/// Returns whether the server proves to be the owner of a certificate.
async fn proves(server: &ServerTls, made: &Made) -> bool {
    let folder = TempDir::new().unwrap();
    let path = folder.path().join("roots.pem");
    std::fs::write(&path, &made.certificate).unwrap();
    let client = ClientTls::load(&ClientOptions { native_roots: false, extra_roots: Some(path) }).unwrap();
    let (near, far) = tokio::io::duplex(64 << 10);
    let (client, server) = tokio::join!(client.connect("localhost", near), server.accept(far));
    assert_eq!(client.is_ok(), server.is_ok());
    client.is_ok()
}

fn watch(server: &ServerTls, config: WatchConfig) -> (Watch, mpsc::Receiver<Reload>) {
    let (sender, reports) = mpsc::channel(64);
    let watch = server.watch(config, move |reload| sender.try_send(reload).unwrap_or_default());
    (watch, reports)
}

async fn next(reports: &mut mpsc::Receiver<Reload>) -> Reload {
    tokio::time::timeout(PATIENCE, reports.recv()).await.expect("a change is noticed").expect("the watch runs")
}

/// Only notifications count: no look at the files comes in a test's time.
const NOTIFIED: WatchConfig =
    WatchConfig { poll_interval: Duration::from_secs(3600), quiet: Duration::from_millis(50) };

/// Only looks count, wherever notifications do not come.
const POLLED: WatchConfig = WatchConfig { poll_interval: Duration::from_millis(20), quiet: Duration::from_millis(1) };

#[test]
fn every_unusable_file_is_named_with_its_reason() {
    let (good, other) = (make(), make());
    let damaged = |pem: &str| pem.replacen("MI", "!!", 1);
    let not_a_key = "-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n".to_owned();
    let not_a_certificate = "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n".to_owned();
    let unended = good.key.replace("-----END", "-----");
    let encrypted = "-----BEGIN ENCRYPTED PRIVATE KEY-----\nAAAA\n-----END ENCRYPTED PRIVATE KEY-----\n".to_owned();
    let large = "#".repeat((4 << 20) + 1);
    let cases = [
        (String::new(), good.key.clone(), "cert.pem", "has no certificate"),
        (good.key.clone(), good.key.clone(), "cert.pem", "has no certificate"),
        (damaged(&good.certificate), good.key.clone(), "cert.pem", "not valid base64"),
        (not_a_certificate, good.key.clone(), "cert.pem", "holds a certificate that cannot be used"),
        (large, good.key.clone(), "cert.pem", "has more than 4194304 bytes"),
        (good.certificate.clone(), String::new(), "key.pem", "has no unencrypted private key"),
        (good.certificate.clone(), good.certificate.clone(), "key.pem", "has no unencrypted private key"),
        (good.certificate.clone(), encrypted, "key.pem", "has no unencrypted private key"),
        (good.certificate.clone(), damaged(&good.key), "key.pem", "not valid base64"),
        (good.certificate.clone(), unended, "key.pem", "no end marker"),
        (good.certificate.clone(), not_a_key, "key.pem", "holds a private key that cannot be used"),
        (good.certificate.clone(), other.key, "key.pem", "does not hold the key of the certificate in "),
    ];
    for (certificate, key, file, reason) in cases {
        let files = Files::new(&Made { certificate, key });
        let error = ServerTls::load(files.certificate(), files.key()).unwrap_err();
        let message = error.to_string();
        assert!(error.path.ends_with(file) && message.contains(reason), "{file}, {reason}: {message}");
    }

    let missing = ServerTls::load("/nonexistent/cert.pem", "/nonexistent/key.pem").unwrap_err();
    assert!(matches!(missing.reason, Reason::Read(_)));
    assert!(missing.to_string().starts_with("/nonexistent/cert.pem: cannot be read: "), "{missing}");
}

#[test]
fn no_error_and_no_debug_output_shows_a_key() {
    let made = make();
    let secret: Vec<&str> = made.key.lines().filter(|line| !line.starts_with("-----")).collect();
    let files = Files::new(&made);
    let server = files.load();
    let client = ClientTls::load(&ClientOptions { native_roots: false, extra_roots: None }).unwrap();
    let mut shown = vec![format!("{server:?} {server:#?} {client:?}")];
    // A damaged line, a key where the certificate belongs, a cut marker.
    for key in [made.key.replacen('A', "!", 1), made.key.replacen("-----END", "----END", 1), format!("x{}", made.key)] {
        std::fs::write(files.key(), key).unwrap();
        for news in server.reload() {
            let Reload::Refused(error) = news else { panic!("the damage is noticed") };
            shown.push(format!("{error} {error:?} {error:#?}"));
        }
    }
    assert!(shown.len() >= 3, "the damage is noticed");
    for text in shown {
        for line in &secret {
            assert!(!text.contains(&line[..16]), "{text}");
        }
    }
}

#[tokio::test]
async fn a_reload_replaces_the_certificate_and_a_bad_one_keeps_it() {
    let (first, second, third) = (make(), make(), make());
    let files = Files::new(&first);
    let server = files.load();
    assert!(proves(&server, &first).await && !proves(&server, &second).await);

    files.write(&second);
    assert!(proves(&server, &first).await, "nothing changes before the reload");
    assert!(matches!(*server.reload(), [Reload::Replaced]));
    assert!(proves(&server, &second).await && !proves(&server, &first).await);

    std::fs::write(files.certificate(), &third.certificate).unwrap();
    let refused = server.reload();
    let [Reload::Refused(error)] = refused.as_slice() else { panic!("{refused:?}") };
    assert!(matches!(error.reason, Reason::Mismatch { .. }), "{error}");
    assert!(server.reload().is_empty(), "the same failure is told once");
    assert!(proves(&server, &second).await);
    std::fs::write(files.key(), &third.key).unwrap();
    assert!(matches!(*server.reload(), [Reload::Replaced]));
    assert!(proves(&server, &third).await);
}

#[tokio::test]
async fn files_that_are_renamed_or_written_are_noticed_at_once() {
    let (first, second, third) = (make(), make(), make());
    let files = Files::new(&first);
    let server = files.load();
    let (_watch, mut reports) = watch(&server, NOTIFIED);
    // The watch begins in a task of its own: it is on once it notices something.
    let noticed = async {
        while !proves(&server, &second).await {
            files.write(&first);
            files.write(&second);
            // Either a report, or time for the watch to begin.
            let _ = tokio::time::timeout(Duration::from_millis(200), reports.recv()).await;
        }
    };
    tokio::time::timeout(PATIENCE, noticed).await.expect("a renamed pair is noticed");

    std::fs::write(files.certificate(), &third.certificate).unwrap();
    std::fs::write(files.key(), &third.key).unwrap();
    let noticed = async {
        while !proves(&server, &third).await {
            reports.recv().await.expect("the watch runs");
        }
    };
    tokio::time::timeout(PATIENCE, noticed).await.expect("a written pair is noticed");
}

#[cfg(unix)]
#[tokio::test]
async fn files_behind_links_are_noticed_by_looking() {
    // As Kubernetes mounts secrets: cert.pem -> data/cert.pem, data -> a folder that is replaced.
    let (first, second) = (make(), make());
    let (old, new) = (Files::new(&first), Files::new(&second));
    let mount = TempDir::new().unwrap();
    let data = mount.path().join("data");
    std::os::unix::fs::symlink(old.folder.path(), &data).unwrap();
    let (certificate, key) = (mount.path().join("cert.pem"), mount.path().join("key.pem"));
    std::os::unix::fs::symlink("data/cert.pem", &certificate).unwrap();
    std::os::unix::fs::symlink("data/key.pem", &key).unwrap();
    let server = ServerTls::load(&certificate, &key).unwrap();
    let (_watch, mut reports) = watch(&server, POLLED);

    let swapped = mount.path().join("data-new");
    std::os::unix::fs::symlink(new.folder.path(), &swapped).unwrap();
    std::fs::rename(swapped, &data).unwrap();
    assert!(matches!(next(&mut reports).await, Reload::Replaced));
    assert!(proves(&server, &second).await);

    // Written in place, where no notification comes from.
    new.write(&first);
    let replaced = async { while !matches!(next(&mut reports).await, Reload::Replaced) {} };
    tokio::time::timeout(PATIENCE, replaced).await.expect("the whole pair is read in the end");
    assert!(proves(&server, &first).await);
}

#[tokio::test]
async fn a_bad_change_is_reported_once_and_recovery_too() {
    let (first, second) = (make(), make());
    let files = Files::new(&first);
    let server = files.load();
    let (watch, mut reports) = watch(&server, POLLED);

    std::fs::remove_file(files.key()).unwrap();
    let Reload::Refused(error) = next(&mut reports).await else { panic!("the key is gone") };
    assert!(matches!(error.reason, Reason::Read(_)) && error.path == files.key(), "{error}");
    files.replace(&files.key(), "rubbish");
    let Reload::Refused(error) = next(&mut reports).await else { panic!("there is no key") };
    assert!(matches!(error.reason, Reason::NoKey), "{error}");
    assert!(proves(&server, &first).await);

    files.replace(&files.key(), &second.key);
    let Reload::Refused(error) = next(&mut reports).await else { panic!("the certificate is another's") };
    assert!(matches!(error.reason, Reason::Mismatch { .. }), "{error}");
    files.replace(&files.certificate(), &second.certificate);
    assert!(matches!(next(&mut reports).await, Reload::Replaced));
    assert!(proves(&server, &second).await);

    drop(watch);
    let end = tokio::time::timeout(PATIENCE, reports.recv()).await.expect("the watch ends");
    assert!(end.is_none(), "{end:?}");
}

#[test]
fn a_client_may_trust_nobody_but_not_a_bad_file() {
    let nobody = ClientTls::load(&ClientOptions { native_roots: false, extra_roots: None }).unwrap();
    assert_eq!(nobody.roots(), 0);

    let files = Files::new(&make());
    let trusting = |path: PathBuf| ClientTls::load(&ClientOptions { native_roots: false, extra_roots: Some(path) });
    assert_eq!(trusting(files.certificate()).unwrap().roots(), 1);
    assert!(matches!(trusting(files.key()).unwrap_err().reason, Reason::NoCertificate));
    let missing = trusting(files.folder.path().join("missing.pem")).unwrap_err();
    assert!(matches!(missing.reason, Reason::Read(_)) && missing.path.ends_with("missing.pem"));
}

#[tokio::test]
async fn a_host_that_is_neither_name_nor_address_is_refused() {
    let client = ClientTls::load(&ClientOptions { native_roots: false, extra_roots: None }).unwrap();
    let (near, _far) = tokio::io::duplex(64);
    let error = client.connect("not a host", near).await.unwrap_err();
    assert_eq!(error.kind(), std::io::ErrorKind::InvalidInput);
}
