//! Recoveries that are ended at every step, of folders with real logs, and folders that are refused.
//!
//! A cluster of one node stands for what is left of a larger one: what it has is the same, and who else was in it is tested
//! over real processes.

use std::time::Instant;

use bytes::Bytes;
use quorate_catalog::DocumentKey;
use quorate_control::META;
use quorate_types::Incarnation;
use quorate_wal::Op;

use super::*;
use crate::bootstrap::tests::{opened, settings};
use crate::nothing;
use crate::settings::BootstrapSettings;
use crate::waiting::{Opened, open};
use crate::{Member, Waiting};

const PATIENCE: Duration = Duration::from_secs(60);
const SHARD: GroupId = GroupId(2);

fn key() -> DocumentKey {
    DocumentKey::new("Tool", "default", "kept").unwrap()
}

fn name(text: &str) -> ResourceName {
    ResourceName::new(text).unwrap()
}

async fn waiting(folder: &Path) -> Waiting {
    match opened(folder).await {
        Opened::Waiting(waiting) => waiting,
        Opened::Member(member) => panic!("it is {}", member.identity()),
    }
}

async fn member(folder: &Path) -> Member {
    match opened(folder).await {
        Opened::Member(member) => member,
        Opened::Waiting(_) => panic!("it is nobody's"),
    }
}

/// A folder of a node that has a document and a key, and was ended.
async fn ended() -> (tempfile::TempDir, Identity) {
    let folder = tempfile::tempdir().unwrap();
    let waiting = waiting(folder.path()).await;
    let asked = BootstrapSettings { name: None, shards: 2, replicas: 1, authority: None };
    let (member, _) = waiting.bootstrap(asked).await.unwrap();
    let upsert =
        proto::Upsert { key: Some(key().to_proto()), labels: Vec::new(), content: Bytes::from_static(b"{\"a\":1}") };
    let apply = proto::Apply { upserts: vec![upsert], author: "a test".to_owned(), ..proto::Apply::default() };
    member.control().command(proto::command::Kind::Apply(apply)).await.unwrap();
    let sealed = Bytes::from_static(b"sealed");
    let rotate = proto::RotateKey { purpose: "webhook".to_owned(), id: "one".to_owned(), expected_version: 0, sealed };
    member.control().command(proto::command::Kind::RotateKey(rotate)).await.unwrap();
    serves(&member, SHARD).await;
    let identity = member.identity().clone();
    member.shutdown().await;
    drop(waiting);
    (folder, identity)
}

async fn serves(member: &Member, group: GroupId) {
    let begun = Instant::now();
    while member.control().host().group(group).is_none_or(|group| group.role().borrow().serves().is_none()) {
        assert!(begun.elapsed() < PATIENCE, "{group} has no leader");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

async fn recoverable(folder: &Path) -> Result<Recoverable, RecoverError> {
    let begun = Instant::now();
    loop {
        match recover(folder.to_owned(), nothing(), (1, 1), Duration::from_hours(24), None).await {
            Err(RecoverError::Open(OpenError::Locked { .. })) if begun.elapsed() < PATIENCE => {
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
            other => return other,
        }
    }
}

async fn survivor(folder: &Path) -> Survivor {
    match recoverable(folder).await.unwrap() {
        Recoverable::Survivor(survivor) => *survivor,
        Recoverable::Halfway(halfway) => panic!("{} is halfway", halfway.old()),
    }
}

async fn halfway(folder: &Path) -> Halfway {
    match recoverable(folder).await.unwrap() {
        Recoverable::Halfway(halfway) => halfway,
        Recoverable::Survivor(survivor) => panic!("{} is whole", survivor.identity()),
    }
}

/// Starts a node that was recovered, and ends it: everything is there, and it can be changed and asked for tokens.
async fn is_whole(folder: &Path, old: &Identity) -> Identity {
    let member = member(folder).await;
    let identity = member.identity().clone();
    assert!(identity.cluster != old.cluster && identity.node == old.node && identity.name == old.name);
    assert!(identity.incarnation > old.incarnation, "{identity} after {old}");
    let catalog = member.control().latest().await.unwrap();
    assert_eq!(catalog.cluster().map(|cluster| (cluster.id, cluster.groups)), Some((identity.cluster, 2)));
    assert_eq!(catalog.nodes().map(|node| node.id).collect::<Vec<_>>(), [identity.node]);
    assert!(
        catalog.document(&key()).is_some() && catalog.revision() == 1 && catalog.history(&key(), None, 9).count() == 1
    );
    assert!(catalog.active_key(&name("webhook"), &name("one")).is_some());
    serves(&member, META).await;
    for group in [GroupId(1), SHARD] {
        serves(&member, group).await;
    }
    let operator = member.issue_operator(
        name("anna"),
        quorate_membership::identity::Role::Admin,
        Duration::from_hours(1),
        "a test",
    );
    operator.await.unwrap();
    member.shutdown().await;
    identity
}

#[tokio::test(flavor = "multi_thread")]
async fn a_recovery_that_is_ended_at_any_step_goes_on_and_no_node_starts_meanwhile() {
    let (folder, mut identity) = ended().await;
    let path = folder.path();
    let mut steps = 0;
    loop {
        let before = Known::read(path).unwrap().unwrap();
        let halfway_there = survivor(path).await.draft().await.unwrap();
        let (old, mut taken) = (halfway_there.old(), 0);
        assert_eq!(old, identity.cluster);
        while let Some(step) = (taken < steps).then(|| swap::next(path, old)).flatten() {
            swap::take(path, &step).unwrap();
            taken += 1;
        }
        let is_done = swap::next(path, old).is_none();
        drop(halfway_there);
        if !is_done {
            let refused = open(settings(path), nothing()).await.map(drop).unwrap_err();
            assert!(matches!(refused, OpenError::Recovering { .. }), "{refused}");
            assert!(refused.to_string().contains("quorate recover --unsafe"), "{refused}");
            let recovered = halfway(path).await.finish().unwrap();
            assert_eq!(recovered.old, old);
            assert_eq!(Known::read(&recovered.kept).unwrap(), Some(before), "the old parts are kept");
        }
        identity = is_whole(path, &identity).await;
        fs::remove_dir_all(path.join(format!("before-recovery-{old}"))).unwrap();
        if is_done {
            break;
        }
        steps += 1;
    }
    assert!(steps > 10, "five parts that are moved twice, and two folders: {steps}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_crash_before_the_draft_is_whole_leaves_the_old_node() {
    let (folder, identity) = ended().await;
    let draft = folder.path().join(DRAFT);
    fs::create_dir(&draft).unwrap();
    fs::write(draft.join(home::FILE), "a part").unwrap();

    let member = member(folder.path()).await;
    assert_eq!(member.identity().cluster, identity.cluster);
    let identity = member.identity().clone();
    member.shutdown().await;

    let recovered = survivor(folder.path()).await.make().await.unwrap();
    assert_eq!(recovered.identity.node, identity.node);
    is_whole(folder.path(), &identity).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_shard_without_a_replica_begins_empty_and_is_named() {
    let (folder, identity) = ended().await;
    let (failed, _) = watch::channel(None);
    let disk = folder.path().join(LOG_FOLDER);
    let log = Log::open(disk, &identity, true, failed).await.unwrap();
    log.wal.submit(SHARD, vec![Op::Forget], None).unwrap();
    log.close().await;

    let survivor = survivor(folder.path()).await;
    assert_eq!(survivor.missing(), [SHARD].into());
    assert_eq!(survivor.found().map(|found| found.group).collect::<Vec<_>>(), [META, GroupId(1)]);
    let meta = survivor.found().next().unwrap().clone();
    assert!(
        meta.last >= meta.committed && meta.committed > 0 && meta.time.is_some() && meta.voters == [NodeId(1)].into()
    );
    survivor.make().await.unwrap();

    is_whole(folder.path(), &identity).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_nobodys_or_in_use_or_damaged_is_refused_as_it_is() {
    let (folder, identity) = ended().await;
    let absent = folder.path().join("absent");
    let refused = recoverable(&absent).await.map(drop).unwrap_err();
    assert!(matches!(refused, RecoverError::NotMember { .. }) && !absent.exists(), "{refused}");
    let empty = tempfile::tempdir().unwrap();
    let refused = recoverable(empty.path()).await.map(drop).unwrap_err();
    assert!(matches!(refused, RecoverError::NotMember { .. }), "{refused}");

    let running = member(folder.path()).await;
    let refused = recover(folder.path().to_owned(), nothing(), (1, 1), Duration::from_hours(24), None).await.map(drop);
    assert!(matches!(refused, Err(RecoverError::Open(OpenError::Locked { .. }))));
    running.shutdown().await;

    let refused = recoverable_at(folder.path(), (2, 3)).await;
    assert!(refused.contains("feature level 1") && refused.contains("2 to 3"), "{refused}");

    let [certificate, key, authorities] = ["node.pem", "node.key", "ca.pem"].map(PathBuf::from);
    let files = Files { certificate, key, authorities };
    let refused = recover(folder.path().to_owned(), nothing(), (1, 1), Duration::from_hours(24), Some(&files)).await;
    let refused = refused.map(drop).unwrap_err();
    assert!(matches!(refused, RecoverError::FilesUnused { .. }), "{refused}");
    let told = refused.to_string();
    assert!(told.contains("node.pem") && told.contains("leave `--peer-certificate`"), "{told}");

    let segment = fs::read_dir(folder.path().join(LOG_FOLDER)).unwrap().map(|entry| entry.unwrap().path());
    let is_segment = |path: &PathBuf| path.file_name().is_some_and(|name| name.to_string_lossy().starts_with("wal-"));
    let segment = segment.filter(is_segment).min().unwrap();
    let mut bytes = fs::read(&segment).unwrap();
    bytes[300] ^= 1;
    fs::write(&segment, bytes).unwrap();
    let refused = recoverable(folder.path()).await.map(drop).unwrap_err().to_string();
    assert!(refused.contains("corrupt at byte"), "{refused}");
    let found = Home::open(Arc::new(Folder::new(folder.path()).unwrap())).unwrap();
    let home::Opened::Joined(home) = found else { panic!("it is a node's") };
    assert!(home.identity().cluster == identity.cluster && home.identity().incarnation > Incarnation(0));
}

async fn recoverable_at(folder: &Path, levels: (u32, u32)) -> String {
    let begun = Instant::now();
    loop {
        match recover(folder.to_owned(), nothing(), levels, Duration::from_hours(24), None).await.map(drop) {
            Err(RecoverError::Open(OpenError::Locked { .. })) if begun.elapsed() < PATIENCE => {
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
            other => return other.unwrap_err().to_string(),
        }
    }
}
