//! The gateway as a client that proves itself: tool servers that ask for a certificate are shown the one they are to see.

use std::path::PathBuf;

use anyhow::ensure;
use quorate_tests::{
    raw::{
        PATIENCE,
        backend::Backend,
        gateway::{Documents, Gateway, replace},
        mcp::Mcp,
    },
    wait,
};
use rustls::pki_types::CertificateDer;
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::{certificates::Authority, front::Front};

const OWN: &str = "spiffe://mesh.test/gateway";

/// A tool server that says `clock:now`, behind a door that asks for certificates, and the files of a gateway to be.
struct Ground {
    authority: Authority,
    clock: Backend,
    front: Front,
    folder: TempDir,
    shown: CertificateDer<'static>,
}

// === impl Ground ===

impl Ground {
    fn new() -> anyhow::Result<Self> {
        let clock = Mcp::new("clock").tools(&["now"]).start()?;
        let authority = Authority::new()?;
        let front = Front::open(&authority, clock.address)?;
        let folder = tempfile::tempdir()?;
        let file = |name: &str| folder.path().join(name);
        authority.write_bundle(&file("ca.pem"))?;
        let shown = authority.write_workload(OWN, &file("own.pem"), &file("own.key"))?;
        Ok(Self { authority, clock, front, folder, shown })
    }

    /// The gateway, whose connections to the tool server are made with these files.
    fn start(&self, tls: &[(&str, &str)]) -> anyhow::Result<Gateway> {
        // The gateway has a folder of its own, so that paths are whole.
        let tls: Value = tls.iter().map(|(key, name)| ((*key).to_owned(), json!(self.file(name)))).collect();
        Documents::new().server_with("clock", json!({ "urls": [self.front.url()], "tls": tls })).start()
    }

    fn file(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }
}

fn check_served(gateway: &Gateway) -> anyhow::Result<()> {
    let text = gateway.call("now")?;
    ensure!(text == "clock:now", "answered {text}");
    Ok(())
}

/// The files of a client that proves itself.
const MUTUAL: [(&str, &str); 3] = [("certificate", "own.pem"), ("key", "own.key"), ("ca", "ca.pem")];

#[test]
fn a_tool_server_that_asks_is_shown_the_certificate_and_others_nothing() -> anyhow::Result<()> {
    let ground = Ground::new()?;
    let gateway = ground.start(&MUTUAL)?;
    check_served(&gateway)?;
    assert_eq!(ground.front.last().as_ref(), Some(&ground.shown));
    assert_eq!(ground.front.counts().1, 0, "nobody was refused");
    drop(gateway);

    // Without it the same server lets nobody in.
    let calls = ground.clock.count("tools/call");
    let bare = ground.start(&[("ca", "ca.pem")])?;
    let told = bare.call("now").expect_err("the door is shut").to_string();
    ensure!(!told.contains("ertificate"), "a caller is told of it: {told}");
    ensure!(ground.front.counts().1 > 0, "the door was not tried");
    assert_eq!(ground.clock.count("tools/call"), calls);
    Ok(())
}

#[test]
fn a_server_is_held_against_its_own_ca_before_anything_is_shown() -> anyhow::Result<()> {
    let ground = Ground::new()?;
    Authority::new()?.write_bundle(&ground.file("other.pem"))?;

    let gateway = ground.start(&[("certificate", "own.pem"), ("key", "own.key"), ("ca", "other.pem")])?;

    gateway.call("now").expect_err("the server is not trusted");
    let (let_in, refused) = ground.front.counts();
    ensure!(let_in == 0 && refused > 0, "{let_in} were let in, {refused} were not");
    Ok(())
}

#[test]
fn a_renewed_certificate_is_shown_without_a_restart_and_a_broken_one_never() -> anyhow::Result<()> {
    let ground = Ground::new()?;
    let mut gateway = ground.start(&MUTUAL)?;
    check_served(&gateway)?;
    assert_eq!(ground.front.last().as_ref(), Some(&ground.shown));

    let renewed = ground.authority.write_workload(OWN, &ground.file("own.pem"), &ground.file("own.key"))?;
    wait::until("the renewed certificate", PATIENCE, || {
        check_served(&gateway)?;
        ensure!(ground.front.last().as_ref() == Some(&renewed), "the old one is shown");
        Ok(())
    })?;

    // A key that does not fit, and then one that does: only the last is shown.
    replace(&ground.file("own.key"), "broken")?;
    gateway.logged("a changed file of tls is refused")?;
    check_served(&gateway)?;
    assert_eq!(ground.front.last().as_ref(), Some(&renewed));
    let last = ground.authority.write_workload(OWN, &ground.file("own.pem"), &ground.file("own.key"))?;
    wait::until("the last certificate", PATIENCE, || {
        check_served(&gateway)?;
        ensure!(ground.front.last().as_ref() == Some(&last), "the one before is shown");
        Ok(())
    })?;
    assert_eq!(ground.front.counts().1, 0, "nobody was refused");
    Ok(())
}
