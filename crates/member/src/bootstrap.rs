//! Makes a new cluster of one node.
//!
//! | Step | After a crash behind it |
//! |---|---|
//! | the root key, unless the folder has one | the folder waits |
//! | the node's certificate, of a new authority or the one that was given; unless it has files | the folder waits; the next attempt makes others |
//! | the cluster file, with the sealed authority, if any, and what was asked for | the folder waits; the next attempt makes others |
//! | the identity: from now on it is a node | the node goes on with all that follows when it is started |
//! | the meta group, the cluster, the authority's key in the catalog | as before: each is done once |
//! | the cluster file without what was asked for | the node is a member |
//!
//! What is to be done is kept before the identity is, so that a node that is begun can always go on. The certificate of
//! the first operator comes last and is not kept: who lost it asks for another one on the node itself. Where certificates come
//! from files, the first node's names the cluster and its number, and nobody gets one from the cluster.

use std::sync::Arc;

use quorate_catalog::proto::Reason;
use quorate_catalog::proto::command::Kind as Command;
use quorate_catalog::{NODE_NUMBER_MAX, NUMBERS_LEVEL, proto};
use quorate_control::{CommandError, Control};
use quorate_membership::authority::{Authority, MemberKey};
use quorate_membership::handshake::{Files, Loaded};
use quorate_membership::home::{Home, Identity, Vacant};
use quorate_membership::kept::Kept;
use quorate_membership::root::{self, RootKey};
use quorate_membership::trust::Bundle;
use quorate_tls::x509::Facts;
use quorate_types::{ClusterId, NodeId};
use ring::digest::{SHA256, digest};
use rustls::pki_types::CertificateDer;

use crate::authorities::{Authorities, seal_first};
use crate::clock::{draw, now};
use crate::error::{BootstrapError, OpenError};
use crate::known::{Beginning, Known, Sealed};
use crate::settings::{BootstrapSettings, InvalidSettings, Settings};
use crate::start::Ground;

/// The first node of a cluster that gives the numbers.
const FIRST: NodeId = NodeId(1);

/// The first node of a new cluster.
struct First {
    cluster: ClusterId,
    node: NodeId,
    /// Whom it trusts.
    bundle: Bundle,
    /// Who signs certificates; nobody where they come from files.
    authority: Option<Sealed>,
}

/// Makes the folder that of the first node of a new cluster. What is done then is [`finish`].
pub(crate) fn begin(ground: &Ground, vacant: Vacant, asked: &BootstrapSettings) -> Result<Home, BootstrapError> {
    check(asked)?;
    let (folder, settings) = (ground.disk.path(), &ground.settings);
    if let Some(files) = &settings.certificates {
        return begin_with(ground, vacant, asked, files);
    }
    let cluster = ClusterId(draw());
    let root = keep_root_key(ground)?;
    let authority = match &asked.authority {
        Some(given) => Authority::of_pem(cluster, given, now())?,
        None => Authority::mint(cluster, now())?,
    };
    let sealed = seal_first(&authority, &root)?;
    let key = MemberKey::draw();
    let hosts = settings.hosts().map_err(OpenError::from)?;
    let issued = authority.issue_node_for(settings.certificate_lifetime, FIRST, &hosts, &key.public(), now());
    let issued = issued.map_err(quorate_membership::authority::AuthorityError::from)?;
    Kept { chain: issued.chain, key }.keep(folder).map_err(OpenError::from)?;
    let bundle = Bundle::new([authority.anchor().clone()]).expect("an authority was checked to be one");
    let first = First { cluster, node: FIRST, bundle, authority: Some(Sealed { id: authority.id(), sealed }) };
    first.begin(ground, vacant, asked)
}

/// The same where the node's certificate comes from files, and says what the cluster and the node are.
fn begin_with(
    ground: &Ground,
    vacant: Vacant,
    asked: &BootstrapSettings,
    files: &Files,
) -> Result<Home, BootstrapError> {
    if asked.authority.is_some() {
        return Err(BootstrapError::AuthorityGiven);
    }
    let level = ground.settings.levels.1;
    if level < NUMBERS_LEVEL {
        return Err(BootstrapError::Level { level });
    }
    let Loaded { cluster, node, bundle, .. } = files.read(now()).map_err(OpenError::from)?;
    if node.0 > NODE_NUMBER_MAX {
        let (field, value) = ("peer_certificate", format!("of node {node}"));
        return Err(InvalidSettings { field, value, allowed: "of a node from 1 to 4294967295" }.into());
    }
    keep_root_key(ground)?;
    First { cluster, node, bundle, authority: None }.begin(ground, vacant, asked)
}

// === impl First ===

impl First {
    /// Keeps what is to be done, and makes the folder the node's.
    fn begin(self, ground: &Ground, vacant: Vacant, asked: &BootstrapSettings) -> Result<Home, BootstrapError> {
        let (settings, Self { cluster, node, bundle, authority }) = (&ground.settings, self);
        let from_files = authority.is_none();
        let (groups, replication, level) = (asked.shards, asked.replicas, settings.levels.1);
        let beginning = Some(Beginning { groups, replication, level, authority });
        let members = [(node, settings.peer_address().map_err(OpenError::from)?)].into();
        let known = Known { cluster, bundle, members, beginning, has_log: false, from_files };
        known.keep(ground.disk.path()).map_err(OpenError::from)?;
        let name = asked.name.clone().unwrap_or_else(|| settings.name.clone());
        Ok(vacant.begin(cluster, node, name, now())?)
    }
}

/// Keeps a root key, unless the folder has one: what was sealed under it by a node alone is good further on.
fn keep_root_key(ground: &Ground) -> Result<RootKey, OpenError> {
    let folder = ground.disk.path();
    let path = folder.join(root::FILE);
    if !path.exists() {
        RootKey::draw().keep(folder)?;
    }
    Ok(RootKey::of_file(&path)?)
}

/// Does what is left of a cluster that was begun. Each step may have been done before.
pub(crate) async fn finish(
    ground: &Ground,
    identity: &Identity,
    control: &Arc<Control>,
    shown: &[CertificateDer<'static>],
    known: &mut Known,
) -> Result<(), OpenError> {
    let Some(beginning) = known.beginning.clone() else { return Ok(()) };
    // Of the cluster where it gives them, of the certificate where that does.
    let number = if known.from_files { identity.node.0 } else { 0 };
    let bootstrap = proto::Bootstrap {
        cluster: identity.cluster.0.to_vec().into(),
        level: beginning.level,
        groups: beginning.groups,
        replication: beginning.replication,
        node: Some(proto::NewNode { number, ..new_node(&ground.settings, identity, shown)? }),
        limits: None,
    };
    done_or(control.bootstrap(bootstrap).await, Reason::Bootstrapped)?;
    if let Some(Sealed { id, sealed }) = beginning.authority {
        let put = Authorities::put(id, sealed);
        done_or(control.command(Command::RotateKey(put)).await.map(drop), Reason::Conflict)?;
    }
    (known.beginning, known.has_log) = (None, true);
    known.keep(ground.disk.path())?;
    tracing::info!(cluster = %identity.cluster, "the cluster is made: this is its first node");
    Ok(())
}

/// Takes a step as done that was done before.
fn done_or(done: Result<(), CommandError>, before: Reason) -> Result<(), CommandError> {
    match done {
        Err(CommandError::Refused(refusal)) if refusal.reason() == before => Ok(()),
        done => done,
    }
}

fn new_node(
    settings: &Settings,
    identity: &Identity,
    shown: &[CertificateDer<'static>],
) -> Result<proto::NewNode, OpenError> {
    Ok(proto::NewNode {
        name: identity.name.as_str().to_owned(),
        peer_address: settings.peer_address()?.to_string(),
        admin_address: settings.admin_address.to_string(),
        data_address: settings.data_address.as_ref().map(ToString::to_string).unwrap_or_default(),
        rack: settings.rack.as_ref().map(|rack| rack.as_str().to_owned()).unwrap_or_default(),
        level_min: settings.levels.0,
        level_max: settings.levels.1,
        certificates: certificates(shown),
        ..proto::NewNode::default()
    })
}

/// What the catalog keeps of the certificate of a chain; nothing of one that cannot be read.
pub(crate) fn certificates(chain: &[CertificateDer<'_>]) -> Vec<proto::Certificate> {
    chain.first().and_then(|leaf| certificate(leaf)).into_iter().collect()
}

/// What the catalog keeps of a certificate; nothing of one that cannot be read.
pub(crate) fn certificate(leaf: &[u8]) -> Option<proto::Certificate> {
    let facts = Facts::read(leaf).ok()?;
    Some(proto::Certificate {
        serial: facts.serial.to_vec().into(),
        fingerprint: digest(&SHA256, leaf).as_ref().to_vec().into(),
        not_after: facts.not_after.as_millis(),
    })
}

fn check(asked: &BootstrapSettings) -> Result<(), InvalidSettings> {
    let invalid = |field, value: u32, allowed| Err(InvalidSettings { field, value: value.to_string(), allowed });
    if !(1..=quorate_catalog::GROUPS_MAX).contains(&asked.shards) {
        return invalid("shards", asked.shards, "1 to 256");
    }
    if !(1..=quorate_catalog::REPLICATION_MAX).contains(&asked.replicas) {
        return invalid("replicas", asked.replicas, "1 to 9");
    }
    Ok(())
}

#[cfg(test)]
pub(crate) mod tests {
    use std::net::TcpListener;
    use std::path::Path;
    use std::time::Duration;

    use quorate_membership::home;
    use quorate_membership::kept;
    use quorate_raft::TIMING;
    use quorate_types::ResourceName;
    use quorate_wal::Folder;

    use super::*;
    use crate::waiting::{Opened, open};

    pub(crate) fn settings(folder: &Path) -> Settings {
        let free = || TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
        Settings {
            data_dir: folder.to_owned(),
            name: ResourceName::new("one").unwrap(),
            rack: None,
            peer_listen: free(),
            peer_advertise: None,
            admin_address: free().to_string().parse().unwrap(),
            data_address: None,
            levels: (1, 1),
            timing: TIMING,
            certificate_lifetime: Duration::from_hours(24),
            certificates: None,
            cluster: None,
            ends_process: false,
        }
    }

    fn ground(folder: &Path) -> Ground {
        let disk = Arc::new(Folder::new(folder).unwrap());
        Ground { disk, settings: Arc::new(settings(folder)), machines: crate::nothing() }
    }

    /// A folder in which a cluster was begun, and nothing done that follows.
    fn begun() -> (tempfile::TempDir, Identity) {
        let folder = tempfile::tempdir().unwrap();
        let ground = ground(folder.path());
        let Ok(home::Opened::Empty(vacant)) = Home::open(Arc::clone(&ground.disk) as Arc<_>) else {
            panic!("it is new")
        };
        let home =
            begin(&ground, vacant, &BootstrapSettings { name: None, shards: 2, replicas: 1, authority: None }).unwrap();
        let identity = home.identity().clone();
        (folder, identity)
    }

    pub(crate) async fn opened(folder: &Path) -> Opened {
        let begun = std::time::Instant::now();
        loop {
            match open(settings(folder), crate::nothing()).await {
                Err(OpenError::Locked { .. }) if begun.elapsed() < Duration::from_secs(60) => {
                    tokio::task::yield_now().await
                }
                opened => return opened.unwrap(),
            }
        }
    }

    async fn is_whole(folder: &Path, identity: &Identity) {
        let Opened::Member(member) = opened(folder).await else { panic!("it was begun") };
        assert_eq!(member.identity().cluster, identity.cluster);
        let catalog = member.control().latest().await.unwrap();
        assert_eq!(catalog.cluster().map(|cluster| (cluster.id, cluster.groups)), Some((identity.cluster, 2)));
        let name = ResourceName::new("anna").unwrap();
        let operator =
            member.issue_operator(name, quorate_membership::identity::Role::Admin, Duration::from_hours(1), "a test");
        assert!(operator.await.is_ok(), "the authority's key is in the catalog");
        assert_eq!(Known::read(folder).unwrap().unwrap().beginning, None);
        member.shutdown().await;
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn a_crash_before_the_identity_leaves_a_folder_that_waits_and_can_be_bootstrapped() {
        // In the order in which they are written, each with what was written before.
        let written = [root::FILE, kept::FILE, home::CLUSTER_FILE];
        for count in 0..=written.len() {
            let (folder, abandoned) = begun();
            std::fs::remove_file(folder.path().join(home::FILE)).unwrap();
            for name in &written[count..] {
                std::fs::remove_file(folder.path().join(name)).unwrap();
            }
            std::fs::write(folder.path().join("cluster.1.new"), "of a crash").unwrap();

            let Opened::Waiting(waiting) = opened(folder.path()).await else { panic!("it became a node by itself") };
            let asked = BootstrapSettings { name: None, shards: 2, replicas: 1, authority: None };
            let (member, _) = waiting.bootstrap(asked).await.unwrap();
            assert_ne!(member.identity().cluster, abandoned.cluster);
            let identity = member.identity().clone();
            member.shutdown().await;
            drop(waiting);
            is_whole(folder.path(), &identity).await;
        }
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn a_crash_behind_the_identity_leaves_a_node_that_goes_on() {
        let (folder, identity) = begun();
        is_whole(folder.path(), &identity).await;
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn what_was_done_before_a_crash_is_not_done_again() {
        let (folder, identity) = begun();
        let beginning = Known::read(folder.path()).unwrap().unwrap();
        is_whole(folder.path(), &identity).await;

        // As it is when everything is in the catalog, and the cluster file was not written.
        beginning.keep(folder.path()).unwrap();
        is_whole(folder.path(), &identity).await;
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn an_attempt_that_could_not_start_the_node_goes_on_with_the_next() {
        let folder = tempfile::tempdir().unwrap();
        let mut settings = settings(folder.path());
        let taken = TcpListener::bind("127.0.0.1:0").unwrap();
        settings.peer_listen = taken.local_addr().unwrap();
        let Opened::Waiting(waiting) = open(settings, crate::nothing()).await.unwrap() else { panic!("it is new") };
        let asked = BootstrapSettings { name: None, shards: 2, replicas: 1, authority: None };
        let failed = waiting.bootstrap(asked.clone()).await.map(drop).unwrap_err().to_string();
        assert!(failed.contains("cannot listen for peers on"), "{failed}");
        let begun = Known::read(folder.path()).unwrap().unwrap();

        drop(taken);
        let (member, _) = waiting.bootstrap(asked).await.unwrap();

        assert_eq!(member.identity().cluster, begun.cluster);
    }
}
