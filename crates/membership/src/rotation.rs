//! How one authority of a cluster takes the place of another, without a moment in which two nodes refuse each other.
//!
//! ```text
//!                    announce                    switch                     retire
//!   Steady{signing} ─────────▶ Announced{signing, ─────▶ Switched{signing,  ─────▶ Steady{signing}
//!          ▲────── cancel ──── next}: both trusted      retired}: both trusted
//! ```
//!
//! | Step | Waits until every member said that |
//! |---|---|
//! | switch | it saw that the next one is announced, and so trusts it |
//! | retire | it saw the switch, and uses a certificate of the new one |
//!
//! The state is in the catalog, and nodes see it at different times. **Law:** each certificate in use verifies under each
//! node's trust, however far behind nodes are, when a node takes a certificate only as [`Rotation::takes`] says and what
//! members said ([`Report`]) was true at some time before. Members say which state they saw by its number and not whom they
//! trust: an authority that comes back after it went would find what was said of it the first time.
//!
//! Pure: knows authorities by their ids alone. Certificates of operators are not waited for: they end with the authority
//! that signed them.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use quorate_types::NodeId;

use crate::trust::AuthorityId;

/// Where a cluster is on the way from one authority to another.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Rotation {
    /// How many steps were ever taken: the number of this state.
    pub revision: u64,
    /// Which authorities there are.
    pub phase: Phase,
}

/// Which authorities a cluster has.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Phase {
    /// One.
    Steady {
        /// It signs and is trusted.
        signing: AuthorityId,
    },
    /// Another one is trusted, and signs nothing yet.
    Announced {
        /// It signs.
        signing: AuthorityId,
        /// It will.
        next: AuthorityId,
    },
    /// The new one signs, and the old one is still trusted.
    Switched {
        /// It signs.
        signing: AuthorityId,
        /// It signed before.
        retired: AuthorityId,
    },
}

/// What an operator asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    /// Trust another authority.
    Announce(AuthorityId),
    /// Do not, after all.
    Cancel,
    /// Sign with it.
    Switch,
    /// Trust the old one no more.
    Retire,
}

/// What a member said of itself, at some time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Report {
    /// The newest state that it saw, whose [`Rotation::trusted`] it trusts.
    pub revision: u64,
    /// Who signed the certificate that it uses.
    pub certified_by: AuthorityId,
}

/// A step is not taken; nothing changed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Rejected {
    /// It is not the next one.
    #[error("{step} is not possible now: {phase}")]
    OutOfOrder {
        /// What was asked for.
        step: Step,
        /// Where the rotation is.
        phase: Phase,
    },
    /// The authority is the one that signs already.
    #[error("the authority {0} signs already")]
    Same(AuthorityId),
    /// Members are not as far.
    #[error(transparent)]
    Behind(#[from] Behind),
}

/// Members that the next step waits for.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("waiting for nodes {}: {what}", numbers(nodes))]
pub struct Behind {
    /// Who: one at least.
    pub nodes: BTreeSet<NodeId>,
    /// What they have not said.
    pub what: &'static str,
}

// === impl Rotation ===

impl Rotation {
    /// Begins with one authority.
    #[must_use]
    pub fn new(signing: AuthorityId) -> Self {
        Self { revision: 0, phase: Phase::Steady { signing } }
    }

    /// Who signs.
    #[must_use]
    pub fn signing(&self) -> AuthorityId {
        match self.phase {
            Phase::Steady { signing } | Phase::Announced { signing, .. } | Phase::Switched { signing, .. } => signing,
        }
    }

    /// Whom nodes trust: one or two.
    #[must_use]
    pub fn trusted(&self) -> BTreeSet<AuthorityId> {
        match self.phase {
            Phase::Steady { signing } => [signing].into(),
            Phase::Announced { signing, next: other } | Phase::Switched { signing, retired: other } => {
                [signing, other].into()
            }
        }
    }

    /// Whether a node that sees this state takes a certificate that this authority signed: never one whose authority it
    /// does not trust, or that is about to go. Who issued the next one's is ahead of the node.
    #[must_use]
    pub fn takes(&self, authority: AuthorityId) -> bool {
        match self.phase {
            Phase::Steady { signing } | Phase::Switched { signing, .. } => authority == signing,
            Phase::Announced { signing, next } => authority == signing || authority == next,
        }
    }

    /// Takes a step, when all members are ready for it.
    ///
    /// # Errors
    /// [`Rejected`] says why not.
    pub fn step(
        &mut self,
        step: Step,
        members: &BTreeSet<NodeId>,
        reports: &BTreeMap<NodeId, Report>,
    ) -> Result<(), Rejected> {
        let phase = match (self.phase, step) {
            (Phase::Steady { signing }, Step::Announce(next)) if signing == next => return Err(Rejected::Same(next)),
            (Phase::Steady { signing }, Step::Announce(next)) => Phase::Announced { signing, next },
            (Phase::Announced { signing, .. }, Step::Cancel) => Phase::Steady { signing },
            (Phase::Announced { signing, next }, Step::Switch) => {
                self.ready(members, reports)?;
                Phase::Switched { signing: next, retired: signing }
            }
            (Phase::Switched { signing, .. }, Step::Retire) => {
                self.ready(members, reports)?;
                Phase::Steady { signing }
            }
            (phase @ Phase::Steady { .. }, Step::Cancel | Step::Switch | Step::Retire)
            | (phase @ Phase::Announced { .. }, Step::Announce(_) | Step::Retire)
            | (phase @ Phase::Switched { .. }, Step::Announce(_) | Step::Cancel | Step::Switch) => {
                return Err(Rejected::OutOfOrder { step, phase });
            }
        };
        *self = Self { revision: self.revision + 1, phase };
        Ok(())
    }

    /// Whether every member is ready for the step that completes this phase; nobody has to be for a beginning.
    ///
    /// # Errors
    /// [`Behind`] names those that are not.
    pub fn ready(&self, members: &BTreeSet<NodeId>, reports: &BTreeMap<NodeId, Report>) -> Result<(), Behind> {
        let (certified_by, what) = match self.phase {
            Phase::Steady { .. } => return Ok(()),
            Phase::Announced { .. } => (None, "they have not said that they trust the next authority"),
            Phase::Switched { signing, .. } => {
                (Some(signing), "they have not said that they use a certificate of the new authority")
            }
        };
        let is_ready = |report: &Report| {
            report.revision >= self.revision && certified_by.is_none_or(|signing| report.certified_by == signing)
        };
        let is_behind = |node: &&NodeId| !reports.get(node).is_some_and(is_ready);
        let nodes: BTreeSet<_> = members.iter().filter(is_behind).copied().collect();
        if nodes.is_empty() { Ok(()) } else { Err(Behind { nodes, what }) }
    }
}

// === impl Phase, Step ===

impl fmt::Display for Phase {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Steady { signing } => write!(f, "authority {signing} signs, and no other one is announced"),
            Self::Announced { next, .. } => {
                write!(f, "authority {next} is announced, and to be switched to or cancelled")
            }
            Self::Switched { retired, .. } => write!(f, "authority {retired} signs no more, and is to be retired"),
        }
    }
}

impl fmt::Display for Step {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Announce(_) => "announce",
            Self::Cancel => "cancel",
            Self::Switch => "switch",
            Self::Retire => "retire",
        })
    }
}

fn numbers(nodes: &BTreeSet<NodeId>) -> String {
    nodes.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ")
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const OLD: AuthorityId = AuthorityId([1; 32]);
    const NEW: AuthorityId = AuthorityId([2; 32]);

    fn report(revision: u64, certified_by: AuthorityId) -> Report {
        Report { revision, certified_by }
    }

    #[test]
    fn each_step_waits_for_every_member() {
        let members = [NodeId(1), NodeId(2)].into();
        let mut reports = BTreeMap::from([(NodeId(1), report(1, OLD))]);
        let mut rotation = Rotation::new(OLD);
        rotation.step(Step::Announce(NEW), &members, &reports).unwrap();

        let refused = rotation.step(Step::Switch, &members, &reports).unwrap_err();
        assert!(refused.to_string().starts_with("waiting for nodes 2: "), "{refused}");
        reports.insert(NodeId(2), report(0, OLD));
        assert!(rotation.step(Step::Switch, &members, &reports).is_err());
        reports.insert(NodeId(2), report(1, OLD));
        rotation.step(Step::Switch, &members, &reports).unwrap();
        assert_eq!((rotation.signing(), rotation.trusted()), (NEW, [OLD, NEW].into()));

        reports.insert(NodeId(1), report(2, NEW));
        // It has the new one's certificate, and may take the old one's again: it has not seen the switch.
        for behind in [report(2, OLD), report(1, NEW)] {
            reports.insert(NodeId(2), behind);
            let refused = rotation.step(Step::Retire, &members, &reports);
            assert!(matches!(refused, Err(Rejected::Behind(Behind { nodes, .. })) if nodes == [NodeId(2)].into()));
        }
        reports.insert(NodeId(2), report(2, NEW));
        rotation.step(Step::Retire, &members, &reports).unwrap();
        assert_eq!(rotation, Rotation { revision: 3, phase: Phase::Steady { signing: NEW } });
    }

    #[test]
    fn steps_out_of_order_change_nothing() {
        let phases = [
            (Phase::Steady { signing: OLD }, vec![Step::Cancel, Step::Switch, Step::Retire]),
            (Phase::Announced { signing: OLD, next: NEW }, vec![Step::Announce(NEW), Step::Retire]),
            (Phase::Switched { signing: NEW, retired: OLD }, vec![Step::Announce(OLD), Step::Cancel, Step::Switch]),
        ];
        for (phase, steps) in phases {
            for step in steps {
                let mut rotation = Rotation { revision: 7, phase };
                let refused = rotation.step(step, &BTreeSet::new(), &BTreeMap::new());
                assert_eq!((refused, rotation.revision), (Err(Rejected::OutOfOrder { step, phase }), 7));
            }
        }
        let refused = Rotation::new(OLD).step(Step::Announce(OLD), &BTreeSet::new(), &BTreeMap::new());
        assert_eq!(refused, Err(Rejected::Same(OLD)));
    }

    #[test]
    fn what_was_said_of_an_authority_before_it_went_does_not_count_when_it_comes_back() {
        let members = [NodeId(1)].into();
        let said = BTreeMap::from([(NodeId(1), report(1, OLD))]);
        let mut rotation = Rotation::new(OLD);
        for step in [Step::Announce(NEW), Step::Cancel, Step::Announce(NEW)] {
            rotation.step(step, &members, &said).unwrap();
        }

        // Meanwhile it saw the second state, in which it trusts the old one alone.
        assert!(matches!(rotation.step(Step::Switch, &members, &said), Err(Rejected::Behind(_))));
    }

    #[test]
    fn a_node_takes_only_what_is_not_about_to_go() {
        const OTHER: AuthorityId = AuthorityId([3; 32]);
        let cases = [
            (Phase::Steady { signing: NEW }, [false, true, false]),
            (Phase::Announced { signing: OLD, next: NEW }, [true, true, false]),
            (Phase::Switched { signing: NEW, retired: OLD }, [false, true, false]),
        ];
        for (phase, expected) in cases {
            let rotation = Rotation { revision: 1, phase };
            assert_eq!([OLD, NEW, OTHER].map(|authority| rotation.takes(authority)), expected, "{phase:?}");
        }
    }

    /// A node: how much of the log it has seen, and who signed its certificate.
    #[derive(Clone, Copy, Debug)]
    struct Member {
        seen: usize,
        certified_by: AuthorityId,
    }

    #[derive(Clone, Debug)]
    enum Event {
        Step(usize, u8),
        See(usize),
        Renew { node: usize, issuer: usize },
        Say(usize),
        Join,
        Leave(usize),
    }

    fn event() -> impl Strategy<Value = Event> {
        let node = 0..3_usize;
        let step = prop_oneof![4 => Just(0_usize), 1 => Just(1), 8 => Just(2), 8 => Just(3)];
        // Steps wait for everybody: histories get far because nodes see, renew and speak often, and few come and go.
        prop_oneof![
            20 => (step, 0..3_u8).prop_map(|(step, id)| Event::Step(step, id)),
            20 => node.clone().prop_map(Event::See),
            30 => (node.clone(), node.clone()).prop_map(|(node, issuer)| Event::Renew { node, issuer }),
            30 => node.clone().prop_map(Event::Say),
            1 => Just(Event::Join),
            1 => node.prop_map(Event::Leave),
        ]
    }

    /// A cluster whose nodes see the states of the log late, say late what they are, and renew at nodes that are late too.
    struct Model {
        log: Vec<Rotation>,
        members: BTreeMap<NodeId, Member>,
        reports: BTreeMap<NodeId, Report>,
        last: u64,
    }

    impl Model {
        fn new() -> Self {
            let log = vec![Rotation::new(AuthorityId([0; 32]))];
            let mut model = Self { log, members: BTreeMap::new(), reports: BTreeMap::new(), last: 0 };
            (0..2).for_each(|_| model.take(&Event::Join));
            model
        }

        fn pick(&self, index: usize) -> NodeId {
            *self.members.keys().nth(index % self.members.len()).unwrap()
        }

        fn take(&mut self, event: &Event) {
            let newest = *self.log.last().unwrap();
            match *event {
                Event::Step(step, id) => {
                    let steps = [Step::Announce(AuthorityId([id; 32])), Step::Cancel, Step::Switch, Step::Retire];
                    let (mut rotation, members) = (newest, self.members.keys().copied().collect());
                    if rotation.step(steps[step], &members, &self.reports).is_ok() {
                        self.log.push(rotation);
                    }
                }
                Event::See(node) => {
                    let (node, end) = (self.pick(node), self.log.len() - 1);
                    let member = self.members.get_mut(&node).unwrap();
                    member.seen = end.min(member.seen + 1);
                }
                Event::Renew { node, issuer } => {
                    let offered = self.log[self.members[&self.pick(issuer)].seen].signing();
                    let node = self.pick(node);
                    let view = self.log[self.members[&node].seen];
                    let member = self.members.get_mut(&node).unwrap();
                    if view.takes(offered) {
                        member.certified_by = offered;
                    }
                }
                Event::Say(node) => {
                    let node = self.pick(node);
                    let Member { seen, certified_by } = self.members[&node];
                    self.reports.insert(node, Report { revision: self.log[seen].revision, certified_by });
                }
                Event::Join => {
                    self.last += 1;
                    let member = Member { seen: self.log.len() - 1, certified_by: newest.signing() };
                    self.members.insert(NodeId(self.last), member);
                }
                Event::Leave(node) => {
                    if self.members.len() > 1 {
                        let node = self.pick(node);
                        self.members.remove(&node);
                        self.reports.remove(&node);
                    }
                }
            }
        }

        fn check(&self) {
            for (other, peer) in &self.members {
                let trusted = self.log[peer.seen].trusted();
                for (node, member) in &self.members {
                    assert!(trusted.contains(&member.certified_by), "{other} refuses {node} after {:?}", self.log);
                }
            }
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(256))]

        #[test]
        fn every_certificate_in_use_verifies_under_every_nodes_trust(events in prop::collection::vec(event(), 100..200)) {
            let mut model = Model::new();
            for event in &events {
                model.take(event);
                model.check();
            }
        }

        #[test]
        fn a_rotation_ends_when_every_member_sees_and_says_it(events in prop::collection::vec(event(), 0..60)) {
            let mut model = Model::new();
            events.iter().for_each(|event| model.take(event));
            let all = 0..model.members.len();
            for _ in 0..3 {
                for node in all.clone() {
                    (0..model.log.len()).for_each(|_| model.take(&Event::See(node)));
                    model.take(&Event::Renew { node, issuer: node });
                    model.take(&Event::Say(node));
                }
                let is_announced = matches!(model.log.last().unwrap().phase, Phase::Announced { .. });
                let step = if is_announced { 2 } else { 3 };
                model.take(&Event::Step(step, 0));
            }
            let last = model.log.last().unwrap();
            prop_assert!(matches!(last.phase, Phase::Steady { .. }), "{:?}", last);
        }
    }
}
