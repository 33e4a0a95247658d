//! Keeps a member what it has to be while it runs: its trust, its certificate, what the catalog has of it, its alarms.
//!
//! Reconciled: what is compared with what shall be, when the catalog or the health changes and every few seconds; what
//! failed is found again at the next look. The certificate is renewed by the node itself, which can open the authority: also
//! without the others, from its own copy of the catalog, so that a node that was away until its certificate ended comes back.
//! One from files is renewed by who makes those, and followed ([`files`]).

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, PoisonError, Weak};
use std::time::{Duration, Instant};

use quorate_catalog::proto::command::Kind as Command;
use quorate_catalog::{Catalog, NodeState, proto};
use quorate_control::Control;
use quorate_membership::authority::MemberKey;
use quorate_membership::kept::Kept;
use quorate_membership::rotation::Report;
use quorate_membership::trust::AuthorityId;
use quorate_tls::x509::Facts;
use quorate_types::{NodeId, Timestamp, rfc3339};
use quorate_wal::GroupId;

use crate::bootstrap::certificate;
use crate::clock::now;
use crate::error::AdmitError;
use crate::files::{self, Followed};
use crate::health::FindingKind;
use crate::member::{Failure, Inner, shed};
use crate::rotate;
use crate::shunned::Shunned;

/// How often a member looks without a reason.
const LOOK: Duration = Duration::from_secs(2);
/// The pause between two looks: changes that come together are looked at once.
const PAUSE: Duration = Duration::from_millis(100);
/// Where a node says on the board how far it is with the authorities.
const REPORT: &str = "member.authority";
const REPORT_BYTES: usize = 8 + 32;

/// Looks as long as the member is there.
pub(crate) async fn run(member: Weak<Inner>) {
    let Some((mut changed, mut health, mut refused)) =
        member.upgrade().map(|inner| (inner.control.changed(), inner.findings.watch(), inner.control.refused()))
    else {
        return;
    };
    let (began, mut shunned, mut followed) = (Instant::now(), Shunned::default(), Followed::default());
    loop {
        changed.borrow_and_update();
        health.borrow_and_update();
        refused.borrow_and_update();
        let Some(inner) = member.upgrade() else { return };
        let links: Vec<_> = inner.control.host().peers().observe().peers.into_iter().map(|peer| peer.link).collect();
        if let Some(failure) = shunned.judge(began.elapsed(), &links) {
            inner.fail(failure);
        }
        look(&inner, &mut followed).await;
        drop(inner);
        tokio::time::sleep(PAUSE).await;
        tokio::select! {
            // The end of a sender is the end of the member, which is found above.
            _ = changed.changed() => {}
            _ = health.changed() => {}
            _ = refused.changed() => {}
            () = tokio::time::sleep(LOOK) => {}
        }
    }
}

async fn look(inner: &Arc<Inner>, followed: &mut Followed) {
    // Also without a catalog: it may be the certificate that nobody takes.
    if let Some(files) = &inner.ground.settings.certificates {
        files::follow(inner, files, followed).await;
    }
    if let Some(refusal) = inner.control.refused().borrow().clone() {
        inner.fail(Failure::Refused { reason: refusal.to_string() });
    }
    let catalog = inner.control.catalog();
    if catalog.cluster().is_none() {
        return;
    }
    let stopped = |group: quorate_raft::Group| group.stopped().borrow().is_some().then(|| group.id().to_string());
    let stopped: Vec<String> = inner.control.host().groups().into_iter().filter_map(stopped).collect();
    inner.findings.set(FindingKind::Group, of_groups(&stopped, &inner.control.unopened()));
    note_log(inner);
    follow_trust(inner, &catalog);
    inner.authorities.forget(&catalog);
    if !inner.has_files()
        && let Err(reason) = renew(inner, &catalog)
    {
        tracing::debug!(%reason, "the certificate is not renewed");
    }
    report(inner, &catalog);
    let leads = inner.control.meta().role().borrow().leads();
    if leads && let Err(error) = rotate::settle_left(&inner.control, &inner.authorities).await {
        // It is found again.
        tracing::debug!(%error, "what a rotation of authorities left is not put away");
    }
    let sheds = inner.findings.watch().borrow().sheds;
    inner.control.say_sheds(sheds);
    if sheds {
        shed(&inner.control).await;
    }
    let Some(node) = catalog.node(inner.identity.node) else { return };
    if node.state == NodeState::Removed {
        inner.fail(Failure::Removed);
        return;
    }
    for command in overdue(inner, &catalog) {
        if let Err(error) = inner.control.command(command).await {
            // It is found again; what follows may be taken all the same.
            tracing::debug!(%error, "the catalog was not told");
        }
    }
}

/// What is wrong with groups: those that stopped, and those that cannot be opened.
fn of_groups(stopped: &[String], unopened: &[(GroupId, String)]) -> Option<String> {
    let stopped = (!stopped.is_empty()).then(|| {
        format!(
            "groups stopped on this node: {}. The log says why; this version does not go on with them",
            stopped.join(", ")
        )
    });
    // One reason stands for all: they have it in common, or the next is seen when it is mended.
    let unopened = unopened.first().map(|(group, reason)| {
        let more = if unopened.len() > 1 { format!(" and {} more", unopened.len() - 1) } else { String::new() };
        format!(
            "group {group}{more} cannot be opened on this node, and has a replica less: {reason}. Replace the node \
             (`quorate cluster replace`) if its disk is damaged"
        )
    });
    let found: Vec<String> = stopped.into_iter().chain(unopened).collect();
    (!found.is_empty()).then(|| found.join("; "))
}

/// Notes that the log was written, which it is when there is a catalog: from now on the node is refused without it.
fn note_log(inner: &Inner) {
    let mut known = inner.known.lock().unwrap_or_else(PoisonError::into_inner);
    if known.has_log {
        return;
    }
    known.has_log = true;
    if let Err(error) = known.keep(inner.ground.disk.path()) {
        known.has_log = false;
        tracing::error!(%error, "it cannot be noted that the log was written");
    }
}

/// Trusts whom the catalog says, and keeps it for the next start.
fn follow_trust(inner: &Inner, catalog: &Catalog) {
    let bundle = match inner.authorities.bundle(catalog) {
        Ok(bundle) => bundle,
        // Certificates come from files, or the cluster is being made.
        Err(AdmitError::NoAuthority) => return,
        Err(error) => return tracing::error!(%error, "whom the cluster trusts cannot be read: it stays as it was"),
    };
    if *inner.trust.bundle() == bundle {
        return;
    }
    let mut known = inner.known.lock().unwrap_or_else(PoisonError::into_inner);
    known.bundle = bundle.clone();
    // Kept first: what is trusted now is trusted after a restart.
    if let Err(error) = known.keep(inner.ground.disk.path()) {
        return tracing::error!(%error, "whom the cluster trusts cannot be kept");
    }
    tracing::info!(?bundle, "the cluster trusts others");
    inner.trust.replace(bundle);
}

/// Renews the certificate when it is time, or when another authority signs.
fn renew(inner: &Inner, catalog: &Catalog) -> Result<(), AdmitError> {
    let settings = &inner.ground.settings;
    let chain = inner.credentials.chain();
    let leaf = chain.first().expect("credentials have a certificate");
    let Ok(Facts { not_before, not_after, .. }) = Facts::read(leaf) else { return Ok(()) };
    let authority = inner.authorities.signing(catalog)?;
    let due = Due {
        not_before,
        not_after,
        at: renewal_at(leaf, not_before, not_after),
        authority_ends: authority.not_after(),
        is_of_authority: signer(&chain) == Some(authority.id()),
        jumped: inner.findings.watch().borrow().findings.contains_key(&FindingKind::Clock),
    };
    match due.judge(now()) {
        Judged::Later => {
            inner.findings.set(FindingKind::Certificate, None);
            return Ok(());
        }
        Judged::Never => {
            let ends = rfc3339::format(authority.not_after());
            let message = format!(
                "the authority of the cluster ends at {ends}, and all certificates with it: replace it (`quorate cluster \
                 rotate-authority`)"
            );
            inner.findings.set(FindingKind::Certificate, Some(message));
            return Ok(());
        }
        Judged::Now => {}
    }
    let key = MemberKey::draw();
    let hosts = settings.hosts()?;
    let issued =
        authority.issue_node_for(settings.certificate_lifetime, inner.identity.node, &hosts, &key.public(), now());
    let kept = issued.map_err(AdmitError::from).and_then(|issued| {
        let kept = Kept { chain: issued.chain, key };
        let error = kept.keep(inner.ground.disk.path()).map_err(|error| error.to_string());
        error.map(|()| kept).map_err(AdmitError::Keep)
    });
    match kept {
        Ok(kept) => {
            tracing::info!(node = %inner.identity.node, "the certificate of this node is renewed");
            inner.credentials.replace(kept.chain, &kept.key).expect("they were made for each other");
            inner.findings.set(FindingKind::Certificate, None);
            Ok(())
        }
        Err(error) => {
            let ends = rfc3339::format(not_after);
            let message = format!("the certificate of this node ends at {ends} and cannot be renewed: {error}");
            inner.findings.set(FindingKind::Certificate, Some(message));
            Err(error)
        }
    }
}

/// What decides whether a certificate is renewed.
struct Due {
    not_before: Timestamp,
    not_after: Timestamp,
    /// When it is to be renewed.
    at: Timestamp,
    /// No certificate of this authority ends later.
    authority_ends: Timestamp,
    is_of_authority: bool,
    /// Whether the clock jumped lately: what it says may be taken back.
    jumped: bool,
}

#[derive(Debug, PartialEq, Eq)]
enum Judged {
    Now,
    Later,
    /// Another certificate would end no later, because the authority does.
    Never,
}

impl Due {
    fn judge(&self, now: Timestamp) -> Judged {
        // A new one is good at once: this one is not, or is not taken much longer. One that was made while the clock was ahead
        // begins later than now.
        let is_of_no_use = now < self.not_before || now >= self.not_after || !self.is_of_authority;
        if is_of_no_use {
            return Judged::Now;
        }
        if now < self.at || self.jumped {
            return Judged::Later;
        }
        // Ends are told in whole seconds.
        let gains = self.authority_ends.since(self.not_after) > Duration::from_secs(1);
        if gains { Judged::Now } else { Judged::Never }
    }
}

/// When a certificate is renewed: a third of its life before its end, and up to a tenth earlier, so that nodes that joined
/// together do not all renew at once. The same at each look.
fn renewal_at(leaf: &[u8], not_before: Timestamp, not_after: Timestamp) -> Timestamp {
    let lifetime = not_after.since(not_before);
    let share = u32::from(crc32fast::hash(leaf) as u8);
    let before = lifetime / 3 + lifetime / 10 * share / 255;
    Timestamp::from_millis(not_after.as_millis().saturating_sub(u64::try_from(before.as_millis()).unwrap_or(u64::MAX)))
}

/// Who signed the first certificate of a chain: the second.
fn signer(chain: &[rustls::pki_types::CertificateDer<'static>]) -> Option<AuthorityId> {
    chain.get(1).and_then(|authority| AuthorityId::of_certificate(authority).ok())
}

/// Says how far this node is with the authorities.
fn report(inner: &Inner, catalog: &Catalog) {
    let Ok(Some(rotation)) = inner.authorities.rotation(catalog) else { return };
    // What is not trusted yet was not seen yet.
    if inner.trust.bundle().authorities() != rotation.trusted() {
        return;
    }
    let Some(signer) = signer(&inner.credentials.chain()) else { return };
    let mut said = [0; REPORT_BYTES];
    said[..8].copy_from_slice(&rotation.revision.to_be_bytes());
    said[8..].copy_from_slice(&signer.0);
    let board = inner.control.host().peers().board();
    if board.get(inner.identity.node, REPORT).is_none_or(|posted| posted.value != said.as_slice()) {
        // It fits: it has 40 bytes.
        let _ = board.put(REPORT, said.to_vec());
    }
}

/// What the nodes said of themselves.
pub(crate) fn reports(control: &Control, members: &BTreeSet<NodeId>) -> BTreeMap<NodeId, Report> {
    let board = control.host().peers().board();
    let read = |node: &NodeId| {
        let posted = board.get(*node, REPORT)?;
        let (revision, signer) = posted.value.split_first_chunk::<8>()?;
        let certified_by = AuthorityId(signer.try_into().ok()?);
        Some((*node, Report { revision: u64::from_be_bytes(*revision), certified_by }))
    };
    members.iter().filter_map(read).collect()
}

/// What the catalog has otherwise of this node than it is.
fn overdue(inner: &Inner, catalog: &Catalog) -> Vec<Command> {
    let settings = &inner.ground.settings;
    let Some(node) = catalog.node(inner.identity.node) else { return Vec::new() };
    let mut commands = Vec::new();
    let rack = settings.rack.as_ref().map(|rack| rack.as_str().to_owned());
    let data = settings.data_address.as_ref().map(ToString::to_string);
    if let Ok(peer) = settings.peer_address() {
        let (peer, admin) = (peer.to_string(), settings.admin_address.to_string());
        let is_known = node.addresses.peer == peer
            && node.addresses.admin.as_ref() == Some(&admin)
            && node.addresses.data == data
            && node.rack == rack;
        if !is_known {
            commands.push(Command::UpdateNode(proto::UpdateNode {
                node: node.id.0,
                peer_address: peer,
                admin_address: admin,
                data_address: data.unwrap_or_default(),
                rack: rack.unwrap_or_default(),
            }));
        }
    }
    let chain = inner.credentials.chain();
    if let Some(shown) = chain.first().and_then(|leaf| certificate(leaf)) {
        let is_told = node.certificates.iter().any(|known| known.fingerprint == shown.fingerprint.as_ref());
        if !is_told {
            let told = proto::SetCertificates { node: node.id.0, certificates: vec![shown] };
            commands.push(Command::SetCertificates(told));
        }
    }
    let standing = catalog.alarms().filter(|alarm| alarm.node == node.id);
    let standing = standing.map(|alarm| (alarm.kind.as_str(), alarm.message.as_str())).collect();
    commands.extend(alarms(node.id, &inner.findings.watch().borrow().findings, &standing));
    commands
}

/// What the alarms of a node have to become, so that they are what is found; those that stand are messages by kind.
fn alarms(node: NodeId, found: &BTreeMap<FindingKind, String>, standing: &BTreeMap<&str, &str>) -> Vec<Command> {
    let change = |kind: FindingKind| {
        let name = kind.as_str();
        match (found.get(&kind), standing.get(name)) {
            (Some(message), standing) if standing.is_none_or(|standing| message != standing) => {
                let (kind, message) = (name.to_owned(), message.clone());
                Some(Command::RaiseAlarm(proto::RaiseAlarm { node: node.0, kind, message }))
            }
            (None, Some(_)) => Some(Command::ClearAlarm(proto::ClearAlarm { node: node.0, kind: name.to_owned() })),
            (Some(_) | None, _) => None,
        }
    };
    let is_unknown = |name: &str| FindingKind::ALL.iter().all(|kind| kind.as_str() != name);
    // Of a later version that this node ran before.
    let unknown = standing.keys().filter(|name| is_unknown(name));
    let cleared = unknown.map(|name| Command::ClearAlarm(proto::ClearAlarm { node: node.0, kind: (*name).to_owned() }));
    FindingKind::ALL.into_iter().filter_map(change).chain(cleared).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn alarms_become_what_is_found() {
        let (low, full) = ((FindingKind::DiskLow, "little room"), (FindingKind::Disk, "full"));
        /// What is found, what stands, and what is told.
        type Row<'a> = (&'a [(FindingKind, &'a str)], &'a [(&'a str, &'a str)], &'a [&'a str]);
        let table: [Row<'_>; 7] = [
            (&[], &[], &[]),
            (&[low], &[], &["raise disk-low"]),
            (&[low], &[("disk-low", "little room")], &[]),
            (&[full], &[("disk-low", "little room")], &["raise disk", "clear disk-low"]),
            (&[low], &[("disk", "full")], &["clear disk", "raise disk-low"]),
            (&[full], &[("disk", "of an earlier version")], &["raise disk"]),
            // A later version told of it.
            (&[low], &[("disk-low", "little room"), ("unheard-of", "so")], &["clear unheard-of"]),
        ];
        for (found, standing, expected) in table {
            let found = found.iter().map(|(kind, message)| (*kind, (*message).to_owned())).collect();
            let standing = standing.iter().copied().collect();
            let told: Vec<_> = alarms(NodeId(1), &found, &standing)
                .into_iter()
                .map(|command| match command {
                    Command::RaiseAlarm(raised) => format!("raise {}", raised.kind),
                    Command::ClearAlarm(cleared) => format!("clear {}", cleared.kind),
                    other => panic!("no alarm: {other:?}"),
                })
                .collect();
            assert_eq!(told, expected, "{found:?} {standing:?}");
        }
    }

    #[test]
    fn a_certificate_is_renewed_a_third_before_its_end_and_up_to_a_tenth_earlier() {
        let (begin, end) = (Timestamp::from_millis(700_000), Timestamp::from_millis(1_000_000));

        let all: Vec<u64> = (0..200_u8).map(|leaf| renewal_at(&[leaf], begin, end).as_millis()).collect();
        assert!(all.iter().all(|at| (870_000..=900_000).contains(at)), "{all:?}");
        assert!(all.iter().min() < Some(&875_000) && all.iter().max() > Some(&895_000), "spread: {all:?}");
        assert_eq!(renewal_at(b"a", begin, end), renewal_at(b"a", begin, end));
    }

    #[test]
    fn a_certificate_is_renewed_when_that_helps() {
        let at = |seconds: u64| Timestamp::from_millis(seconds * 1000);
        let due = || Due {
            not_before: at(100),
            not_after: at(400),
            at: at(300),
            authority_ends: at(9000),
            is_of_authority: true,
            jumped: false,
        };
        let cases = [
            ("it is young", due(), 200, Judged::Later),
            ("it is old", due(), 300, Judged::Now),
            ("the clock went back after it was made", due(), 99, Judged::Now),
            ("the clock jumped and may come back", Due { jumped: true, ..due() }, 350, Judged::Later),
            ("it ended, whatever the clock did", Due { jumped: true, ..due() }, 400, Judged::Now),
            ("another authority signs", Due { is_of_authority: false, ..due() }, 200, Judged::Now),
            ("the authority ends with it", Due { authority_ends: at(400), ..due() }, 350, Judged::Never),
            ("the authority ends later", Due { authority_ends: at(500), ..due() }, 350, Judged::Now),
        ];
        for (case, due, now, expected) in cases {
            assert_eq!(due.judge(at(now)), expected, "{case}");
        }
    }

    #[test]
    fn what_is_wrong_with_groups_is_said_with_the_way_out() {
        assert_eq!(of_groups(&[], &[]), None);
        let both =
            of_groups(&["2".to_owned()], &[(GroupId(3), "no".to_owned()), (GroupId(4), "no".to_owned())]).unwrap();
        assert!(
            both.contains("stopped on this node: 2") && both.contains("group 3 and 1 more cannot be opened"),
            "{both}"
        );
    }
}
