//! Clusters whose certificates somebody else makes: nodes are who their files say, and follow what becomes of those.

use std::path::Path;
use std::time::{Duration, Instant};

use prost::Message as _;
use quorate_catalog::{Digest, NUMBERS_LEVEL};
use quorate_member::{
    AdmitError, BootstrapError, BootstrapSettings, FindingKind, JoinError, Member, OpenError, RecoverError,
    Recoverable, RotationStep, nothing, recover,
};
use quorate_membership::authority::AuthorityPem;
use quorate_membership::handshake::{Credentials, Files, Trust};
use quorate_membership::identity::{PeerIdentity, Role};
use quorate_membership::join::{Applicant, Joiner};
use quorate_types::{ClusterId, Code, NodeId, ResourceName};
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, DnType, IsCa, KeyPair, KeyUsagePurpose, SanType};
use tempfile::TempDir;

use crate::world::{Live, PATIENCE, Place, free_address, is_active, now, sees, token, until};

const CLUSTER: ClusterId = ClusterId([9; 16]);
const NOT_TAKEN: &str = "members would not take the certificate of the node";
const ONE: BootstrapSettings = BootstrapSettings { name: None, shards: 1, replicas: 3, authority: None };

/// An authority of an enterprise, and a folder for what it makes.
struct Enterprise {
    root: CertifiedIssuer<'static, KeyPair>,
    folder: TempDir,
}

impl Enterprise {
    fn new() -> Self {
        let mut params = CertificateParams::default();
        params.distinguished_name.push(DnType::CommonName, "Example Root");
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign];
        let key = KeyPair::generate().expect("it can be made");
        let root = CertifiedIssuer::self_signed(params, key).expect("it can be made");
        Self { root, folder: tempfile::tempdir().expect("there is a disk") }
    }

    /// Where the node of a place has what was made for it.
    fn files(&self, place: &Place) -> Files {
        let folder = self.folder.path().join(place.settings.name.as_str());
        Files { certificate: folder.join("node.pem"), key: folder.join("node.key"), authorities: folder.join("ca.pem") }
    }

    /// Writes what a node has, in the place of what was there.
    fn write(&self, files: &Files, number: u64) {
        self.write_in(CLUSTER, files, number);
    }

    fn write_in(&self, cluster: ClusterId, files: &Files, number: u64) {
        self.write_of(&PeerIdentity::Node { cluster, node: NodeId(number) }.to_string(), files);
    }

    /// What an operator shows, by files as of a node.
    fn operator(&self, files: &Files, trust: &Trust) -> Credentials {
        self.write_of(&format!("quorate://{CLUSTER}/operator/ana/admin"), files);
        let shown = Credentials::of_operator_files(trust, &files.certificate, &files.key, now());
        shown.expect("it is an operator's").0
    }

    fn write_of(&self, uri: &str, files: &Files) {
        let mut params = CertificateParams::default();
        params.subject_alt_names = vec![SanType::URI(uri.try_into().expect("it is a uri"))];
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        let key = KeyPair::generate().expect("it can be made");
        let certificate = params.signed_by(&key, &self.root).expect("it can be made");
        put(&files.certificate, &certificate.pem());
        put(&files.key, &key.serialize_pem());
        put(&files.authorities, &self.root.pem());
    }

    /// A place whose node has files.
    fn place(&self, name: &str, number: u64) -> Place {
        let mut place = Place::new(name);
        let files = self.files(&place);
        std::fs::create_dir_all(self.folder.path().join(name)).expect("there is a disk");
        self.write(&files, number);
        place.settings.certificates = Some(files);
        place.settings.levels = (1, NUMBERS_LEVEL);
        place
    }
}

fn put(file: &Path, text: &str) {
    std::fs::write(file, text).expect("there is a disk");
}

fn shown(member: &Member) -> [u8; 32] {
    Digest::of(&member.credentials().chain()[0]).0
}

async fn bootstrap(place: &Place) -> Live {
    let (member, operator) = place.waiting().await.bootstrap(ONE).await.expect("it is made");
    assert!(operator.is_none(), "nobody signs one");
    place.with_door(member).await
}

fn finding(member: &Member) -> Option<String> {
    member.health().borrow().findings.get(&FindingKind::Certificate).cloned()
}

#[tokio::test(flavor = "multi_thread")]
async fn nodes_are_the_cluster_and_the_numbers_of_their_certificates_and_nobody_signs_any() {
    let enterprise = Enterprise::new();
    let places = [("one", 7), ("two", 3), ("three", 70_000)].map(|(name, number)| enterprise.place(name, number));
    let given = AuthorityPem { chain: "a chain".to_owned(), key: "a key".to_owned().into() };
    let refused = places[0].waiting().await.bootstrap(BootstrapSettings { authority: Some(given), ..ONE }).await;
    assert!(matches!(refused, Err(BootstrapError::AuthorityGiven)));
    let mut old = enterprise.place("old", 1);
    old.settings.levels = (1, NUMBERS_LEVEL - 1);
    let below = old.waiting().await.bootstrap(ONE).await.map(drop);
    assert!(matches!(below, Err(BootstrapError::Level { level: 2 })), "{below:?}");
    let large = enterprise.place("large", 1 << 32).waiting().await.bootstrap(ONE).await.map(drop).unwrap_err();
    assert!(large.to_string().contains("of node 4294967296; allowed is of a node from 1 to"), "{large}");

    let first = bootstrap(&places[0]).await;
    let second = places[1].join(token(&first).await).await;
    let third = places[2].join(token(&second).await).await;

    for (member, number) in [(&first, 7), (&second, 3), (&third, 70_000)] {
        assert_eq!((member.identity().cluster, member.identity().node), (CLUSTER, NodeId(number)));
        assert_eq!(member.root_key().expose(), first.root_key().expose());
        let own = shown(member);
        sees(member, "three active nodes", |catalog| [7, 3, 70_000].iter().all(|node| is_active(catalog, *node))).await;
        sees(&first, "certificate", |catalog| {
            catalog.node_with_certificate(&own).is_some_and(|node| node.id == NodeId(number))
        })
        .await;
    }
    let name = ResourceName::new("ana").expect("it is a name");
    let operator = first.issue_operator(name, Role::Admin, Duration::from_hours(1), "a test").await.map(drop);
    assert!(matches!(operator, Err(AdmitError::NoAuthority)), "{operator:?}");
    let step = first.rotate_authority(RotationStep::Announce(None)).await.map(drop).unwrap_err();
    assert_eq!((step.code(), first.control().catalog().keys().count()), (Code::FailedPrecondition, 0), "{step}");

    second.shutdown().await;
    let second = places[1].member().await;
    sees(&second, "document of the others", |catalog| is_active(catalog, 70_000)).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_new_in_the_files_is_shown_and_what_is_unusable_is_told_and_changes_nothing() {
    let (enterprise, other) = (Enterprise::new(), Enterprise::new());
    let place = enterprise.place("one", 1);
    let member = bootstrap(&place).await;
    let (files, before) = (enterprise.files(&place), shown(&member));

    enterprise.write(&files, 1);
    until("new certificate", || shown(&member) != before).await;
    let renewed = shown(&member);
    sees(&member, "new certificate in the catalog", |catalog| catalog.node_with_certificate(&renewed).is_some()).await;
    assert_eq!(finding(&member), None);

    let good =
        [&files.certificate, &files.key, &files.authorities].map(|file| std::fs::read(file).expect("it is there"));
    let unusable: [(&str, &dyn Fn()); 5] = [
        ("has no certificate", &|| put(&files.certificate, "")),
        ("node.key cannot be read", &|| std::fs::remove_file(&files.key).expect("it is there")),
        ("does not belong to the certificate", &|| {
            put(&files.key, &KeyPair::generate().expect("it can be made").serialize_pem());
        }),
        ("node/2, and this node is", &|| enterprise.write(&files, 2)),
        ("is not trusted", &|| put(&files.authorities, &other.root.pem())),
    ];
    for (expected, spoil) in unusable {
        spoil();
        until(expected, || finding(&member).is_some_and(|told| told.contains(expected))).await;
        assert_eq!(shown(&member), renewed, "{expected}");
        sees(&member, "alarm", |catalog| catalog.alarms().any(|alarm| alarm.message.contains(expected))).await;
        for (file, content) in [&files.certificate, &files.key, &files.authorities].into_iter().zip(&good) {
            std::fs::write(file, content).expect("there is a disk");
        }
        until("end of the finding", || finding(&member).is_none()).await;
    }
    // Another authority comes beside the old one, makes the certificate, and is then the only one.
    put(&files.authorities, &format!("{}{}", enterprise.root.pem(), other.root.pem()));
    until("two authorities", || member.trust().bundle().authorities().len() == 2).await;
    other.write(&files, 1);
    until("certificate of the other", || shown(&member) != renewed && member.trust().bundle().authorities().len() == 1)
        .await;
    assert_eq!(finding(&member), None);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_folder_is_started_with_its_own_files_or_with_none_and_the_other_way_is_told() {
    let enterprise = Enterprise::new();
    let mut place = enterprise.place("one", 5);
    bootstrap(&place).await.shutdown().await;
    let mut own = Place::new("own");
    own.bootstrap(1).await.0.shutdown().await;

    let with = place.settings.certificates.clone();
    own.settings.certificates.clone_from(&with);
    let refused = own.open().await.map(drop).unwrap_err();
    assert!(matches!(refused, OpenError::FilesUnused { .. }), "{refused}");
    place.settings.certificates = None;
    let refused = place.open().await.map(drop).unwrap_err();
    assert!(matches!(refused, OpenError::FilesMissing), "{refused}");
    place.settings.certificates.clone_from(&with);
    enterprise.write(&enterprise.files(&place), 6);
    let refused = place.open().await.map(drop).unwrap_err();
    assert!(matches!(&refused, OpenError::OthersFiles { .. }), "{refused}");
    let both = refused.to_string();
    assert!(both.contains("node/6") && both.contains("node/5"), "{both}");
    put(&enterprise.files(&place).certificate, "-----BEGIN");
    assert!(matches!(place.open().await.map(drop), Err(OpenError::Files(_))));
    enterprise.write(&enterprise.files(&place), 5);
    drop(place.member().await);
}

/// What can be recovered of a folder, whose node may be ending.
async fn recoverable(place: &Place, files: Option<&Files>) -> Result<Recoverable, RecoverError> {
    let begun = Instant::now();
    loop {
        match recover(place.path().to_owned(), nothing(), (1, NUMBERS_LEVEL), Duration::from_hours(1), files).await {
            Err(RecoverError::Open(OpenError::Locked { .. })) if begun.elapsed() < PATIENCE => {
                tokio::task::yield_now().await;
            }
            other => return other,
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn of_a_lost_cluster_a_new_one_is_made_whose_id_is_in_the_files_that_are_named() {
    let enterprise = Enterprise::new();
    let place = enterprise.place("one", 5);
    bootstrap(&place).await.shutdown().await;
    let files = enterprise.files(&place);

    let Ok(Recoverable::Survivor(survivor)) = recoverable(&place, None).await else { panic!("it survived") };
    let refused = survivor.make().await.unwrap_err();
    assert!(matches!(refused, RecoverError::FilesMissing { node: NodeId(5) }), "{refused}");
    for (cluster, number) in [(CLUSTER, 5), (ClusterId([10; 16]), 6)] {
        enterprise.write_in(cluster, &files, number);
        let refused = recoverable(&place, Some(&files)).await.map(drop).unwrap_err();
        assert!(matches!(refused, RecoverError::OtherFiles { .. }), "{refused}");
    }
    enterprise.write_in(ClusterId([10; 16]), &files, 5);
    let Ok(Recoverable::Survivor(survivor)) = recoverable(&place, Some(&files)).await else { panic!("it survived") };
    let recovered = survivor.make().await.expect("it is made");

    assert!(recovered.from_files && recovered.old == CLUSTER);
    let member = place.member().await;
    assert_eq!((member.identity().cluster, member.identity().node), (ClusterId([10; 16]), NodeId(5)));
    let own = shown(&member);
    sees(&member, "active node with its certificate", |catalog| {
        is_active(catalog, 5) && catalog.node_with_certificate(&own).is_some()
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cluster_that_was_begun_with_files_and_not_finished_goes_on_with_the_next_attempt() {
    let enterprise = Enterprise::new();
    let mut place = enterprise.place("one", 5);
    let taken = std::net::TcpListener::bind("127.0.0.1:0").expect("there is a port");
    place.settings.peer_listen = taken.local_addr().expect("it is bound");
    let waiting = place.waiting().await;
    let failed = waiting.bootstrap(ONE).await.map(drop).unwrap_err().to_string();
    assert!(failed.contains("cannot listen for peers on"), "{failed}");

    drop(taken);
    let (member, _) = waiting.bootstrap(ONE).await.expect("it goes on");

    assert_eq!(member.identity().node, NodeId(5));
    sees(&member, "active node", |catalog| is_active(catalog, 5)).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn who_joins_otherwise_than_its_cluster_is_is_told_and_uses_no_token_up() {
    let (enterprise, other) = (Enterprise::new(), Enterprise::new());
    let (one, own) = (enterprise.place("one", 1), Place::new("own"));
    let (first, (signing, _)) = (bootstrap(&one).await, own.bootstrap(1).await);
    let unused = token(&first).await;

    let without = Place::new("two").waiting().await.join(unused.clone()).await.map(drop).unwrap_err().to_string();
    assert!(without.contains("needs its own (`--peer-certificate`)"), "{without}");
    let foreign = other.place("two", 2).waiting().await.join(unused.clone()).await.map(drop);
    assert!(matches!(foreign, Err(JoinError::Authorities { .. })), "{foreign:?}");
    // A real one that signs itself, where files are in the way.
    let needless = enterprise.place("four", 4).waiting().await.join(token(&signing).await).await.map(drop).unwrap_err();
    assert!(matches!(needless, JoinError::Authorities { .. }), "{needless}");
    let told = needless.to_string();
    assert!(told.contains("needs its own (`--peer-certificate`), and where they do not, none"), "{told}");
    let taken = enterprise.place("two", 1).waiting().await.join(unused.clone()).await.map(drop).unwrap_err();
    assert!(taken.to_string().contains("no node has or had"), "{taken}");

    let two = enterprise.place("two", 2);
    let good = enterprise.files(&two).read(now()).expect("they are good").credentials;
    let (strangers, ana) = (other.place("three", 2), enterprise.place("ana", 2));
    let operator = enterprise.operator(&enterprise.files(&ana), first.trust());
    let not_taken = other.files(&strangers).read(now()).expect("they are good").credentials;
    for (member, own, expected) in [
        (&first, None, AdmitError::NoCertificate.to_string()),
        (&first, Some(not_taken), NOT_TAKEN.to_owned()),
        (&first, Some(operator), format!("{NOT_TAKEN}: quorate://{CLUSTER}/operator/ana/admin is no node")),
        (&signing, Some(good), AdmitError::OwnCertificate.to_string()),
    ] {
        let applicant = Applicant {
            name: ResourceName::new("two").expect("it is a name"),
            peer: free_address().to_string().parse().expect("it is an address"),
            admin: free_address().to_string().parse().expect("it is an address"),
            rack: None,
            features: 1..=NUMBERS_LEVEL,
        };
        let (_, request) = Joiner::begin(token(member).await, &applicant, own.as_ref()).expect("it is small");
        let refused = member.admit(&request.encode_to_vec()).await.unwrap_err();
        assert_eq!(refused.code(), Code::FailedPrecondition);
        assert!(refused.to_string().starts_with(&expected), "{expected}: {refused}");
    }
    let joined = tokio::time::timeout(PATIENCE, two.join(unused)).await.expect("it is in time");
    assert_eq!(joined.identity().node, NodeId(2));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_folder_that_waits_is_opened_with_files_that_are_good_alone() {
    let enterprise = Enterprise::new();
    let place = enterprise.place("one", 1);
    let files = enterprise.files(&place);
    std::fs::remove_file(&files.key).expect("it is there");

    let refused = place.open().await.map(drop);
    assert!(matches!(&refused, Err(OpenError::Files(_))), "{refused:?}");
    assert!(refused.unwrap_err().to_string().contains("node.key cannot be read"));

    enterprise.write(&files, 1);
    drop(bootstrap(&place).await);
}

/// The root key of a folder that was the first of a cluster, or of another one, is not the token's, whoever is trusted.
#[tokio::test(flavor = "multi_thread")]
async fn a_root_key_of_another_cluster_under_the_same_authority_joins_nobody_and_uses_no_token_up() {
    use quorate_membership::home::{FILE, LOG_FOLDER};

    let enterprise = Enterprise::new();
    let (one, two) = (enterprise.place("one", 1), enterprise.place("two", 4));
    let first = bootstrap(&one).await;
    let unused = token(&first).await;
    // One that crashed before it was anybody's, as far as the disk tells; the other left half of a join to another cluster.
    let mut begun = enterprise.place("begun", 2);
    let taken = std::net::TcpListener::bind("127.0.0.1:0").expect("there is a port");
    begun.settings.peer_listen = taken.local_addr().expect("it is bound");
    begun.waiting().await.bootstrap(ONE).await.map(drop).expect_err("its port is taken");
    drop(taken);
    let other = enterprise.place("other", 3);
    enterprise.write_in(ClusterId([10; 16]), &enterprise.files(&other), 3);
    bootstrap(&other).await.shutdown().await;
    enterprise.write(&enterprise.files(&other), 3);

    for place in [&begun, &other] {
        std::fs::remove_file(place.path().join(FILE)).expect("it is there");
        std::fs::remove_dir_all(place.path().join(LOG_FOLDER)).expect("it is there");
        let refused = place.waiting().await.join(unused.clone()).await.map(drop);
        assert!(matches!(refused, Err(JoinError::RootKey)), "{refused:?}");
    }
    let joined = two.join(unused).await;
    assert_eq!(joined.identity().node, NodeId(4));
}
