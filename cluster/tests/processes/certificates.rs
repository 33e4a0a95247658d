//! Clusters whose certificates somebody else makes: an enterprise's authority, and files that are renewed where they are.
//!
//! The files are made here as a certificate manager makes them, for nodes whose numbers are in no order. What becomes of a node
//! with files that are of no use is told by the commands that an operator has.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use anyhow::{Context as _, ensure};
use quorate_cluster::{Cluster, Options, nodes, nothing_is_wrong, wait};
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, DnType, IsCa, KeyPair, KeyUsagePurpose, SanType};
use tempfile::TempDir;

use crate::world::{PATIENCE, applied, document, there};

const CLUSTER: &str = "0a1b2c3d4e5f60718293a4b5c6d7e8f9";
/// How long certificates live: operators' may for 366 days.
const LIFETIME: Duration = Duration::from_hours(90 * 24);
/// The numbers of the nodes, by place.
const NUMBERS: [u64; 3] = [7, 1, 3];

/// An enterprise: an authority, one below it that signs, and a folder for what is made.
struct Enterprise {
    root: CertifiedIssuer<'static, KeyPair>,
    below: CertifiedIssuer<'static, KeyPair>,
    folder: TempDir,
}

// === impl Enterprise ===

impl Enterprise {
    fn new(name: &str) -> anyhow::Result<Self> {
        let params = |name: String| {
            let mut params = CertificateParams::default();
            params.distinguished_name.push(DnType::CommonName, name);
            params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
            params.key_usages = vec![KeyUsagePurpose::KeyCertSign];
            params
        };
        let root = CertifiedIssuer::self_signed(params(format!("{name} root")), KeyPair::generate()?)?;
        let below = CertifiedIssuer::signed_by(params(format!("{name} issuing")), KeyPair::generate()?, &root)?;
        let enterprise = Self { root, below, folder: tempfile::tempdir()? };
        enterprise.trust(&[&enterprise])?;
        Ok(enterprise)
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// Writes the file of authorities that all of its nodes have.
    fn trust(&self, all: &[&Self]) -> anyhow::Result<()> {
        self.write_roots("ca.pem", all)
    }

    fn write_roots(&self, name: &str, all: &[&Self]) -> anyhow::Result<()> {
        let roots: String = all.iter().map(|one| one.root.pem()).collect();
        replace(&self.path(name), &roots)
    }

    /// Has the files of somebody be new ones of `of`: the key first, as managers that write one file after the other do.
    fn renew(&self, of: &Self, who: &str, uri: &str) -> anyhow::Result<()> {
        let mut params = CertificateParams::default();
        params.subject_alt_names = vec![SanType::URI(uri.try_into()?)];
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        params.not_before = SystemTime::now().into();
        params.not_after = params.not_before + LIFETIME;
        let key = KeyPair::generate()?;
        let certificate = params.signed_by(&key, &of.below)?;
        replace(&self.path(&format!("{who}.key")), &key.serialize_pem())?;
        replace(&self.path(&format!("{who}.pem")), &format!("{}{}", certificate.pem(), of.below.pem()))
    }

    fn renew_node(&self, of: &Self, number: u64) -> anyhow::Result<()> {
        self.renew(of, &format!("node-{number}"), &format!("quorate://{CLUSTER}/node/{number}"))
    }

    /// The flags of the node with a number.
    fn flags(&self, number: u64) -> anyhow::Result<Vec<String>> {
        let [certificate, key] = ["pem", "key"].map(|kind| self.path(&format!("node-{number}.{kind}")));
        let files = [("certificate", certificate), ("key", key), ("authorities", self.path("ca.pem"))];
        let named = |(flag, file): &(&str, PathBuf)| Ok([format!("--peer-{flag}"), text(file)?.to_owned()]);
        Ok(files.iter().map(named).collect::<anyhow::Result<Vec<_>>>()?.concat())
    }

    /// Has the cluster be operated by an admin with a certificate of `of`, who trusts nodes of `all`.
    fn operate(&self, cluster: &mut Cluster, of: &Self, all: &[&Self], name: &str) -> anyhow::Result<()> {
        self.renew(of, name, &format!("quorate://{CLUSTER}/operator/{name}/admin"))?;
        let [certificate, key] = ["pem", "key"].map(|kind| self.path(&format!("{name}.{kind}")));
        let authorities = self.path(&format!("{name}.ca.pem"));
        self.write_roots(&format!("{name}.ca.pem"), all)?;
        let (out, endpoint) = (self.path(&format!("{name}.context")), cluster.admin(0).to_string());
        let made = cluster.quorate(&[
            "cluster",
            "operator",
            "context",
            "--certificate",
            text(&certificate)?,
            "--key",
            text(&key)?,
            "--authorities",
            text(&authorities)?,
            "--endpoint",
            &endpoint,
            "--out",
            text(&out)?,
        ])?;
        ensure!(made.errors.contains(&format!("operator/{name}/admin")), "{made:?}");
        made.success()?;
        cluster.operate_with(out.join("context.yaml"));
        Ok(())
    }

    /// A cluster of the first of [`NUMBERS`].
    fn cluster(&self, count: usize) -> anyhow::Result<Cluster> {
        let numbers = &NUMBERS[..count];
        numbers.iter().try_for_each(|number| self.renew_node(self, *number))?;
        let own_flags = numbers.iter().map(|number| self.flags(*number)).collect::<anyhow::Result<_>>()?;
        let mut cluster = Cluster::waiting(Options { nodes: count, own_flags, ..Options::default() })?;
        cluster.init(0)?;
        self.operate(&mut cluster, self, &[self], "ana")?;
        for place in 1..count {
            cluster.join(place)?;
        }
        cluster.settled(0)?;
        Ok(cluster)
    }
}

/// Replaces a file in one step, as its owner's alone.
fn replace(path: &Path, content: &str) -> anyhow::Result<()> {
    let draft = path.with_extension("new");
    fs::write(&draft, content)?;
    fs::set_permissions(&draft, fs::Permissions::from_mode(0o600))?;
    Ok(fs::rename(&draft, path)?)
}

fn text(path: &Path) -> anyhow::Result<&str> {
    path.to_str().context("it is UTF-8")
}

#[test]
fn nodes_with_files_are_a_cluster_that_survives_a_kill_and_takes_another_authority_from_them() -> anyhow::Result<()> {
    let (old, next) = (Enterprise::new("Old")?, Enterprise::new("Next")?);
    let mut cluster = old.cluster(3)?;
    let status = cluster.status(1)?;
    ensure!(status["clusterId"] == CLUSTER && status["certificatesFromFiles"] == true, "{status:#}");
    let numbers: Vec<_> = nodes(&status).map(|node| node["id"].to_string().replace('"', "")).collect();
    ensure!(numbers == ["1", "3", "7"], "{numbers:?}");

    document(&cluster, "one")?;
    cluster.kill(1);
    cluster.leader()?;
    document(&cluster, "two")?;
    cluster.begin(1)?;
    applied(&cluster, 1, &["one", "two"])?;

    // Both are trusted, then all show certificates of the next one, then the old one is not trusted any more.
    old.trust(&[&old, &next])?;
    for place in cluster.places() {
        cluster.process(place).line(PATIENCE, |line| line.contains("authorities has others").then_some(()))?;
    }
    for number in NUMBERS {
        old.renew_node(&next, number)?;
    }
    for place in cluster.places() {
        cluster.process(place).line(PATIENCE, |line| line.contains("is shown from now on").then_some(()))?;
    }
    old.operate(&mut cluster, &old, &[&old, &next], "cat")?;
    let of_old = cluster.operator();
    of_old.run(&["cluster", "status"])?.success()?;
    old.operate(&mut cluster, &next, &[&next], "ben")?;
    old.trust(&[&next])?;
    let said = "does not take the certificate that was shown";
    wait::until("end of what the old authority signed", PATIENCE, || {
        let refused = of_old.run(&["cluster", "status"])?;
        ensure!(refused.status.code() == Some(4) && refused.errors.contains(said), "{refused:?}");
        Ok(())
    })?;
    cluster.kill(2);
    cluster.begin(2)?;
    cluster.leader()?;
    document(&cluster, "three")?;
    for place in cluster.places() {
        applied(&cluster, place, &["one", "two", "three"])?;
    }
    wait::until("a cluster with which nothing is wrong", PATIENCE, || {
        let check = cluster.operate(&["check"])?;
        ensure!(!check.output.contains("certificate"), "{check:?}");
        nothing_is_wrong(check.status.code(), &check.output)
    })
}

#[test]
fn a_renewal_that_is_of_no_use_is_told_by_check_and_status_and_once_in_the_log_and_the_node_goes_on()
-> anyhow::Result<()> {
    let enterprise = Enterprise::new("Example")?;
    let mut cluster = enterprise.cluster(1)?;
    let said = "files of this node's certificate cannot be used";

    // Somebody else's, as when two secrets are swapped.
    let uri = format!("quorate://{CLUSTER}/node/9");
    enterprise.renew(&enterprise, "node-7", &uri)?;
    cluster.until("an alarm", 0, |status| status["alarms"].to_string().contains("node/9, and this node is"))?;
    let check = cluster.operate(&["check"])?;
    ensure!(check.status.code() == Some(1) && check.output.contains(said), "{check:?}");
    document(&cluster, "one")?;
    let refused = cluster.operate(&["cluster", "status"])?.success()?;
    ensure!(refused.contains("node/9"), "{refused}");
    let told: Vec<_> = cluster.process(0).output().into_iter().filter(|line| line.contains(said)).collect();
    ensure!(told.len() == 1, "{told:#?}");

    cluster.stop(0)?;
    let refused = cluster.refused(0)?;
    ensure!(refused.contains("node/9") && refused.contains("the data folder of"), "{refused}");
    enterprise.renew_node(&enterprise, 7)?;
    cluster.begin(0)?;
    cluster.until("end of the alarm", 0, |status| !status["alarms"].to_string().contains("node/9"))?;
    ensure!(there(&cluster, 0)?.contains("one"), "it was acknowledged");
    Ok(())
}

#[test]
fn init_with_files_makes_no_context_and_minds_none_that_is_there() -> anyhow::Result<()> {
    let enterprise = Enterprise::new("acme")?;
    enterprise.renew_node(&enterprise, 7)?;
    let own_flags = vec![enterprise.flags(7)?];
    let cluster = Cluster::waiting(Options { nodes: 1, own_flags, ..Options::default() })?;
    let context = cluster.folder().join("context.yaml");
    fs::write(&context, "of another cluster")?;

    let init = ["cluster", "init", "--shards", "1", "--context-out", text(&context)?];
    let made = cluster.local(0, &init)?.success()?;

    ensure!(made.contains("quorate cluster operator context"), "{made}");
    ensure!(fs::read_to_string(&context)? == "of another cluster");
    Ok(())
}

#[test]
fn what_only_an_authority_of_the_cluster_can_do_is_refused_and_folders_are_not_mixed() -> anyhow::Result<()> {
    let enterprise = Enterprise::new("Example")?;
    let mut cluster = enterprise.cluster(1)?;
    let out = cluster.folder().join("new");
    let new = ["cluster", "operator", "new", "--name", "ben", "--role", "admin", "--out", text(&out)?];
    for (args, expected) in [
        (&new[..], "its certificates come from files"),
        (&["cluster", "rotate-authority"], "come from files"),
        (&["cluster", "rotate-authority", "--step", "announce"], "its certificates come from files"),
    ] {
        let refused = cluster.operate(args)?;
        ensure!(refused.status.code() == Some(6) && refused.errors.contains(expected), "{args:?}: {refused:?}");
    }

    // A node whose number is taken; it is made a node of a cluster of its own then.
    let token = cluster.token()?;
    let place = cluster.add()?;
    cluster.stop(place)?;
    cluster.set_own_flags(place, enterprise.flags(7)?);
    cluster.begin(place)?;
    let refused = cluster.local(place, &["cluster", "join", &token])?.failure()?;
    ensure!(refused.contains("no node has or had"), "{refused}");
    cluster.stop(place)?;
    cluster.set_own_flags(place, Vec::new());
    cluster.begin(place)?;
    let context = cluster.folder().join("other/context.yaml");
    cluster.local(place, &["cluster", "init", "--shards", "1", "--context-out", text(&context)?])?.success()?;
    cluster.stop(place)?;
    cluster.set_own_flags(place, enterprise.flags(7)?);
    let refused = cluster.refused(place)?;
    ensure!(refused.contains("signs its certificates itself"), "{refused}");
    cluster.stop(0)?;
    cluster.set_own_flags(0, Vec::new());
    let refused = cluster.refused(0)?;
    ensure!(refused.contains("start the node with `--peer-certificate`"), "{refused}");
    Ok(())
}
