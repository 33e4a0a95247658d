//! How one authority of a cluster takes the place of another, without a moment in which two nodes refuse each other.
//!
//! ```text
//!                    announce                    switch                     retire
//!   Steady{signing} ─────────▶ Announced{signing, ─────▶ Switched{signing,  ─────▶ Steady{signing}
//!          ▲────── cancel ──── next}: both trusted      retired}: both trusted
//! ```
//!
//! | Step | Waits until every member |
//! |---|---|
//! | switch | said that it trusts the next one |
//! | retire | said that it uses a certificate of the new one |
//!
//! The state is in the catalog, and nodes see it at different times. **Law:** each certificate in use verifies under each
//! node's trust, however far behind nodes are, when a node takes a certificate only as [`Rotation::takes`] says and what
//! members said ([`Report`]) was true at some time before. Pure: knows authorities by their ids alone.
//!
//! Certificates of operators are not waited for: they end with the authority that signed them, which `retire` should say.

use std::collections::{BTreeMap, BTreeSet};

use quorate_types::NodeId;

use crate::trust::AuthorityId;

/// Where a cluster is on the way from one authority to another.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Rotation {
    /// One authority.
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
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Report {
    /// Whom it trusts.
    pub trusts: BTreeSet<AuthorityId>,
    /// Who signed the certificate that it uses.
    pub certified_by: AuthorityId,
}

/// A step is not taken; nothing changed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Rejected {
    /// It is not the next one.
    #[error("the rotation cannot {step:?} now: it is {state:?}")]
    OutOfOrder {
        /// What was asked for.
        step: Step,
        /// Where the rotation is.
        state: Rotation,
    },
    /// The authority is the one that signs already.
    #[error("the authority {0} signs already")]
    Same(AuthorityId),
    /// Members are not as far.
    #[error("waiting for nodes {}: {what}", numbers(nodes))]
    Behind {
        /// Who.
        nodes: BTreeSet<NodeId>,
        /// What they have not said.
        what: &'static str,
    },
}

// === impl Rotation ===

impl Rotation {
    /// Who signs.
    #[must_use]
    pub fn signing(&self) -> AuthorityId {
        match *self {
            Self::Steady { signing } | Self::Announced { signing, .. } | Self::Switched { signing, .. } => signing,
        }
    }

    /// Whom nodes trust: one or two.
    #[must_use]
    pub fn trusted(&self) -> BTreeSet<AuthorityId> {
        match *self {
            Self::Steady { signing } => [signing].into(),
            Self::Announced { signing, next: other } | Self::Switched { signing, retired: other } => {
                [signing, other].into()
            }
        }
    }

    /// Whether a node that sees this state takes a certificate of `offered` in the place of one of `current`: never one of
    /// an authority that it does not trust, or that is about to go.
    #[must_use]
    pub fn takes(&self, current: AuthorityId, offered: AuthorityId) -> bool {
        match *self {
            Self::Steady { signing } | Self::Switched { signing, .. } => offered == signing,
            Self::Announced { next, .. } if offered == next => true,
            // Who issued the next one's is ahead of this node; who issues the old one's is behind.
            Self::Announced { signing, next } => offered == signing && current != next,
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
        let behind = |is_ready: &dyn Fn(&Report) -> bool, what| {
            let is_behind = |node: &&NodeId| !reports.get(node).is_some_and(is_ready);
            let nodes: BTreeSet<_> = members.iter().filter(is_behind).copied().collect();
            if nodes.is_empty() { Ok(()) } else { Err(Rejected::Behind { nodes, what }) }
        };
        *self = match (*self, step) {
            (Self::Steady { signing }, Step::Announce(next)) if signing == next => return Err(Rejected::Same(next)),
            (Self::Steady { signing }, Step::Announce(next)) => Self::Announced { signing, next },
            (Self::Announced { signing, .. }, Step::Cancel) => Self::Steady { signing },
            (Self::Announced { signing, next }, Step::Switch) => {
                behind(
                    &|report| report.trusts.contains(&next),
                    "they have not said that they trust the next authority",
                )?;
                Self::Switched { signing: next, retired: signing }
            }
            (Self::Switched { signing, .. }, Step::Retire) => {
                let what = "they have not said that they use a certificate of the new authority";
                behind(&|report| report.certified_by == signing, what)?;
                Self::Steady { signing }
            }
            (state @ Self::Steady { .. }, Step::Cancel | Step::Switch | Step::Retire)
            | (state @ Self::Announced { .. }, Step::Announce(_) | Step::Retire)
            | (state @ Self::Switched { .. }, Step::Announce(_) | Step::Cancel | Step::Switch) => {
                return Err(Rejected::OutOfOrder { step, state });
            }
        };
        Ok(())
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

    fn report(trusts: &[AuthorityId], certified_by: AuthorityId) -> Report {
        Report { trusts: trusts.iter().copied().collect(), certified_by }
    }

    #[test]
    fn each_step_waits_for_every_member() {
        let members = [NodeId(1), NodeId(2)].into();
        let mut reports = BTreeMap::from([(NodeId(1), report(&[OLD, NEW], OLD))]);
        let mut rotation = Rotation::Steady { signing: OLD };
        rotation.step(Step::Announce(NEW), &members, &reports).unwrap();

        let refused = rotation.step(Step::Switch, &members, &reports).unwrap_err();
        assert!(refused.to_string().starts_with("waiting for nodes 2: "), "{refused}");
        reports.insert(NodeId(2), report(&[OLD], OLD));
        assert!(rotation.step(Step::Switch, &members, &reports).is_err());
        reports.insert(NodeId(2), report(&[OLD, NEW], OLD));
        rotation.step(Step::Switch, &members, &reports).unwrap();
        assert_eq!((rotation.signing(), rotation.trusted()), (NEW, [OLD, NEW].into()));

        reports.insert(NodeId(1), report(&[OLD, NEW], NEW));
        let refused = rotation.step(Step::Retire, &members, &reports);
        assert!(matches!(refused, Err(Rejected::Behind { nodes, .. }) if nodes == [NodeId(2)].into()));
        reports.insert(NodeId(2), report(&[OLD, NEW], NEW));
        rotation.step(Step::Retire, &members, &reports).unwrap();
        assert_eq!(rotation, Rotation::Steady { signing: NEW });
    }

    #[test]
    fn steps_out_of_order_change_nothing() {
        let states = [
            (Rotation::Steady { signing: OLD }, vec![Step::Cancel, Step::Switch, Step::Retire]),
            (Rotation::Announced { signing: OLD, next: NEW }, vec![Step::Announce(NEW), Step::Retire]),
            (Rotation::Switched { signing: NEW, retired: OLD }, vec![Step::Announce(OLD), Step::Cancel, Step::Switch]),
        ];
        for (state, steps) in states {
            for step in steps {
                let mut rotation = state;
                let refused = rotation.step(step, &BTreeSet::new(), &BTreeMap::new());
                assert_eq!((refused, rotation), (Err(Rejected::OutOfOrder { step, state }), state));
            }
        }
        let mut rotation = Rotation::Steady { signing: OLD };
        let refused = rotation.step(Step::Announce(OLD), &BTreeSet::new(), &BTreeMap::new());
        assert_eq!(refused, Err(Rejected::Same(OLD)));
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
        let node = 0..6_usize;
        prop_oneof![
            3 => (0..4_usize, any::<u8>()).prop_map(|(step, id)| Event::Step(step, id)),
            4 => node.clone().prop_map(Event::See),
            4 => (node.clone(), node.clone()).prop_map(|(node, issuer)| Event::Renew { node, issuer }),
            4 => node.clone().prop_map(Event::Say),
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
            let log = vec![Rotation::Steady { signing: AuthorityId([0; 32]) }];
            let mut model = Self { log, members: BTreeMap::new(), reports: BTreeMap::new(), last: 0 };
            (0..3).for_each(|_| model.take(&Event::Join));
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
                    if view.takes(member.certified_by, offered) {
                        member.certified_by = offered;
                    }
                }
                Event::Say(node) => {
                    let node = self.pick(node);
                    let Member { seen, certified_by } = self.members[&node];
                    self.reports.insert(node, Report { trusts: self.log[seen].trusted(), certified_by });
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
            for (node, member) in &self.members {
                for (other, peer) in &self.members {
                    let trusted = self.log[peer.seen].trusted();
                    assert!(trusted.contains(&member.certified_by), "{other} refuses {node} after {:?}", self.log);
                }
            }
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(1024))]

        #[test]
        fn every_certificate_in_use_verifies_under_every_nodes_trust(events in prop::collection::vec(event(), 0..120)) {
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
                let step = if matches!(model.log.last(), Some(Rotation::Announced { .. })) { 2 } else { 3 };
                model.take(&Event::Step(step, 0));
            }
            prop_assert!(matches!(model.log.last(), Some(Rotation::Steady { .. })), "{:?}", model.log.last());
        }
    }
}
