//! What changes under connections that stay open.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use quorate_tls::{HandshakeError, Reason, Reload, WatchConfig};
use quorate_types::Timestamp;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, DuplexStream, ReadBuf};
use tokio::sync::mpsc;

use crate::authority::{Authority, HOUR, Leaf, at};
use crate::world::{VERSIONS, World, shake};

const ID: &str = "spiffe://one.test/agent";

/// Does something when the server reads for the n-th time.
struct Tripwire {
    io: DuplexStream,
    reads_left: usize,
    action: Option<Box<dyn FnOnce() + Send>>,
}

impl AsyncRead for Tripwire {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        ready!(Pin::new(&mut this.io).poll_read(cx, buf))?;
        match this.reads_left {
            0 => this.action.take().into_iter().for_each(|action| action()),
            _ => this.reads_left -= 1,
        }
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Tripwire {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.get_mut().io).poll_write(cx, buf)
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().io).poll_flush(cx)
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().io).poll_shutdown(cx)
    }
}

/// A time as the gateway has it, `offset` seconds from now.
fn then(offset: i64) -> Timestamp {
    Timestamp::from_millis(at(offset) * 1000)
}

#[tokio::test]
async fn a_revocation_leaves_open_connections_and_tells_their_requests() {
    let root = Authority::root("one");
    let (bad, good) = (root.issue_leaf(Leaf::of(ID).serial(66)), root.issue_leaf(Leaf::of(ID).serial(67)));
    let world = World::new().trusting("one.test", &[&root]).revoking("one.test", "crl", root.crl(&[], HOUR));
    let server = world.load();
    for version in VERSIONS {
        world.write("crl", root.crl(&[], HOUR));
        let _ = server.reload();
        let mut revoked = shake(&server, &world.client(Some(&bad), version)).await.unwrap();
        let mut stays = shake(&server, &world.client(Some(&good), version)).await.unwrap();
        for open in [&revoked, &stays] {
            assert_eq!(open.identity.as_ref().unwrap().still_trusted(then(0)), Ok(()));
        }

        world.write("crl", root.crl(&[66], HOUR));
        assert!(matches!(*server.reload(), [Reload::TrustReplaced(_)]));
        revoked.talk().await;
        stays.talk().await;
        let refusal = revoked.identity.as_ref().unwrap().still_trusted(then(0)).unwrap_err();
        assert_eq!(refusal.reason(), "revoked");
        assert_eq!(revoked.identity.as_ref().unwrap().still_trusted(then(0)), Err(refusal));
        assert_eq!(stays.identity.as_ref().unwrap().still_trusted(then(0)), Ok(()));
    }
}

#[tokio::test]
async fn a_revocation_at_any_moment_of_a_handshake_is_not_missed() {
    /// Little enough that the client's certificate and its proof come with many reads.
    const PIPE_BYTES: usize = 32;

    let root = Authority::root("one");
    let issued = root.issue_leaf(Leaf::of(ID).serial(66));
    let world = Arc::new(World::new().trusting("one.test", &[&root]).revoking("one.test", "crl", root.crl(&[], HOUR)));
    let (good, bad) = (root.crl(&[], HOUR), root.crl(&[66], HOUR));
    let (mut refused, mut accepted) = (0, 0);
    for version in VERSIONS {
        let client = world.client(Some(&issued), version);
        for reads_left in 0.. {
            world.write("crl", &good);
            let server = world.load();
            let (near, far) = tokio::io::duplex(PIPE_BYTES);
            let (reloading, bad, world) = (server.clone(), bad.clone(), Arc::clone(&world));
            let action = move || {
                world.write("crl", bad);
                assert!(matches!(*reloading.reload(), [Reload::TrustReplaced(_)]));
            };
            let wire = Tripwire { io: far, reads_left, action: Some(Box::new(action)) };
            // The client goes on reading, so that the server can write its alert.
            let client = async {
                let mut client = client.connect("localhost".try_into().unwrap(), near).await?;
                client.read_to_end(&mut Vec::new()).await
            };
            let met = async {
                let accepted = server.accept(wire).await?;
                let is_over = accepted.stream.get_ref().0.action.is_none();
                Ok::<_, HandshakeError>((accepted.identity.expect("a certificate was presented"), is_over))
            };
            let (_, met) = tokio::join!(client, met);
            match met {
                Ok((_, false)) => break,
                Ok((identity, true)) => {
                    assert_eq!(identity.still_trusted(then(0)).unwrap_err().reason(), "revoked", "read {reads_left}");
                    accepted += 1;
                }
                Err(HandshakeError::Refused(refusal)) => {
                    assert_eq!(refusal.reason(), "revoked", "read {reads_left}");
                    refused += 1;
                }
                Err(error) => panic!("read {reads_left}: {error}"),
            }
        }
    }
    // In TLS 1.2 the proof comes in a record after the certificate; in TLS 1.3 both are in one.
    assert!(refused > 2 && accepted > 0, "{refused} refused, {accepted} accepted");
}

#[tokio::test]
async fn an_authority_that_is_replaced_ends_its_trust_and_may_come_back() {
    let (old, new) = (Authority::root("old"), Authority::root("new"));
    let world = World::new().trusting("one.test", &[&old]);
    let server = world.load();
    let identity = world.meet(&server, &old.issue(ID)).await.unwrap();
    let both = format!("{}{}", old.pem(), new.pem());

    for (bundle, is_trusted) in [(both, true), (new.pem(), false), (old.pem(), true)] {
        world.write("one.test.bundle.pem", bundle);
        assert!(matches!(*server.reload(), [Reload::TrustReplaced(_)]));
        assert_eq!(identity.still_trusted(then(0)).is_ok(), is_trusted);
        assert_eq!(world.meet(&server, &old.issue(ID)).await.is_ok(), is_trusted);
    }
}

#[tokio::test]
async fn what_ends_with_time_is_noticed_without_a_change_of_files() {
    let root = Authority::root("one");
    let middle = root.below("middle", |params| crate::authority::valid(params, -HOUR, 900));
    let listed = World::new().trusting("one.test", &[&root]).revoking("one.test", "crl", root.crl(&[], 600));
    let plain = World::new().trusting("one.test", &[&root]);

    let leaf = plain.meet(&plain.load(), &root.issue_leaf(Leaf::of(ID).valid(-HOUR, 300))).await.unwrap();
    assert_eq!(leaf.still_trusted(then(299)), Ok(()));
    assert_eq!(leaf.still_trusted(then(310)).unwrap_err().reason(), "expired");
    assert!(leaf.is_expired(then(310)));

    let below = plain.meet(&plain.load(), &middle.issue(ID).with(&middle)).await.unwrap();
    assert_eq!(below.still_trusted(then(890)), Ok(()));
    assert_eq!(below.still_trusted(then(910)).unwrap_err().reason(), "expired");
    assert!(!below.is_expired(then(910)), "the leaf itself is good");

    let listed = listed.meet(&listed.load(), &root.issue(ID)).await.unwrap();
    assert_eq!(listed.still_trusted(then(590)), Ok(()));
    assert_eq!(listed.still_trusted(then(610)).unwrap_err().reason(), "crl_expired");

    let short = Authority::root_with("short", |params| crate::authority::valid(params, -HOUR, 600));
    let world = World::new().trusting("one.test", &[&short]);
    let anchored = world.meet(&world.load(), &short.issue(ID)).await.unwrap();
    assert_eq!(anchored.still_trusted(then(590)), Ok(()));
    assert_eq!(anchored.still_trusted(then(610)).unwrap_err().reason(), "expired");
}

#[tokio::test]
async fn a_refusal_for_the_time_alone_ends_when_the_clock_is_right_again() {
    let root = Authority::root("one");
    let listed = World::new().trusting("one.test", &[&root]).revoking("one.test", "crl", root.crl(&[], 600));
    let plain = World::new().trusting("one.test", &[&root]);
    let of_leaf = plain.meet(&plain.load(), &root.issue_leaf(Leaf::of(ID).valid(-HOUR, 300))).await.unwrap();
    let of_list = listed.meet(&listed.load(), &root.issue(ID)).await.unwrap();

    for (identity, reason) in [(of_leaf, "expired"), (of_list, "crl_expired")] {
        // The clock is half an hour ahead for a moment, then right: in an hour the certificates themselves end.
        assert_eq!(identity.still_trusted(then(HOUR / 2)).unwrap_err().reason(), reason);
        assert_eq!(identity.still_trusted(then(100)), Ok(()), "{reason}");
        // A clock that was far behind says that it begins later; that is looked at again after a minute.
        assert_eq!(identity.still_trusted(then(HOUR / 2)).unwrap_err().reason(), reason);
        assert_eq!(identity.still_trusted(then(-2 * HOUR)).unwrap_err().reason(), "not_yet_valid");
        assert_eq!(identity.still_trusted(then(-2 * HOUR + 59)).unwrap_err().reason(), "not_yet_valid");
        assert_eq!(identity.still_trusted(then(100)), Ok(()), "{reason}");
    }
}

#[tokio::test]
async fn a_bad_file_keeps_its_domain_as_it_was_and_no_other() {
    let (one, two, next) = (Authority::root("one"), Authority::root("two"), Authority::root("next"));
    let world = World::new().trusting("one.test", &[&one]).trusting("two.test", &[&two]);
    let server = world.load();
    let identity = world.meet(&server, &one.issue(ID)).await.unwrap();

    world.write("one.test.bundle.pem", "rubbish");
    world.write("two.test.bundle.pem", next.pem());
    let news = server.reload();
    let [Reload::Refused(error), Reload::TrustReplaced(change)] = news.as_slice() else { panic!("{news:?}") };
    assert!(error.path.ends_with("one.test.bundle.pem") && matches!(error.reason, Reason::NoCertificate), "{error}");
    assert_eq!(change.domain.as_str(), "two.test");
    assert!(server.reload().is_empty(), "each is told once");

    assert_eq!(identity.still_trusted(then(0)), Ok(()));
    world.meet(&server, &one.issue(ID)).await.unwrap();
    world.meet(&server, &next.issue("spiffe://two.test/agent")).await.unwrap();
    assert_eq!(world.refusal(&server, &two.issue("spiffe://two.test/agent")).await, "unknown_issuer");

    std::fs::remove_file(world.path("one.test.bundle.pem")).unwrap();
    assert!(matches!(&*server.reload(), [Reload::Refused(error)] if matches!(error.reason, Reason::Read(_))));
    assert!(server.reload().is_empty());
    world.meet(&server, &one.issue(ID)).await.unwrap();
}

#[test]
fn a_reload_says_which_files_are_others_and_what_is_in_them() {
    let (one, two, next) = (Authority::root("one"), Authority::root("two"), Authority::root("next"));
    let world = World::new()
        .trusting("one.test", &[&one, &two])
        .revoking("one.test", "one.crl", one.crl(&[1, 2], HOUR))
        .revoking("one.test", "two.crl", two.crl(&[], HOUR));
    let server = world.load();

    world.write("one.test.bundle.pem", format!("{}{}{}", two.pem(), next.pem(), two.pem()));
    world.write("one.crl", one.crl(&[1, 2, 3], HOUR));
    let news = server.reload();

    let [Reload::TrustReplaced(change)] = news.as_slice() else { panic!("{news:?}") };
    assert_eq!(change.files, [world.path("one.test.bundle.pem"), world.path("one.crl")]);
    let said = "trust domain one.test: authorities 2 (1 added, 1 removed), revocation lists 2 (before 2), \
                revoked certificates 3 (before 2)";
    assert_eq!(change.to_string(), said);
}

#[tokio::test]
async fn the_files_of_all_domains_are_watched() {
    let (root, next) = (Authority::root("one"), Authority::root("next"));
    let world = World::new().trusting("one.test", &[&root]);
    let server = world.load();
    let (sender, mut reports) = mpsc::channel(64);
    let config = WatchConfig { poll_interval: Duration::from_millis(20), quiet: Duration::from_millis(1) };
    let _watch = server.watch(config, move |reload| sender.try_send(reload).unwrap_or_default());

    world.write("one.test.bundle.pem", next.pem());
    let news = tokio::time::timeout(Duration::from_secs(20), reports.recv()).await.expect("a change is noticed");
    assert!(matches!(news, Some(Reload::TrustReplaced(change)) if change.domain.as_str() == "one.test"));
    world.meet(&server, &next.issue(ID)).await.unwrap();
}

#[tokio::test]
async fn a_list_that_had_expired_when_it_was_loaded_is_told_when_the_watch_begins() {
    let root = Authority::root("one");
    let world = World::new().trusting("one.test", &[&root]).revoking("one.test", "crl", root.crl(&[], -600));
    let (sender, mut reports) = mpsc::channel(64);
    let config = WatchConfig { poll_interval: Duration::from_secs(3600), quiet: Duration::from_secs(3600) };
    let _watch = world.load().watch(config, move |reload| sender.try_send(reload).unwrap_or_default());
    let news = tokio::time::timeout(Duration::from_secs(20), reports.recv()).await.expect("it is told");
    assert!(matches!(news, Some(Reload::CrlExpired { path, .. }) if path == world.path("crl")));
}
