//! Which sessions a page has: those that a request wants, in the order of their names.
//!
//! Records are looked at in small parts, since the log waits for whoever reads them. A page looks at [`LOOKED_MAX`] at most:
//! one that wants what is rare ends early, and the next goes on behind what was looked at.

use std::collections::BTreeSet;
use std::sync::Arc;

use quorate_proto::admin::v1;
use quorate_runtime::shards::Shards;
use quorate_session::record::{Record, proto};
use quorate_types::{ResourceName, TenantId};
use tonic::Status;

use super::super::{caller, errors};
use super::name::Name;

/// Records that are read at a time.
const PART: usize = 256;
/// Records that one page looks at.
const LOOKED_MAX: usize = 1 << 16;
/// Bytes of an agent's name.
const AGENT_BYTES_MAX: usize = 2_048;

/// Where sessions are.
pub(super) trait Records {
    /// The shards, in order.
    fn shards(&self) -> Vec<u32>;
    /// At most `count` sessions of a shard, those that ended or the others, in order, from a key on.
    fn read(&self, shard: u32, first: u128, count: usize, has_ended: bool) -> Vec<(u128, Row)>;
    /// One session.
    fn find(&self, name: Name) -> Option<Row>;
}

/// What is known of a session.
#[derive(Clone, Debug)]
pub(super) enum Row {
    /// It goes on.
    Live(Arc<Record>),
    /// It ended lately.
    Ended(Arc<proto::Ended>),
}

/// What a session must have.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Wanted {
    tenant: Option<TenantId>,
    toolset: Option<ResourceName>,
    server: Option<ResourceName>,
    agent: Option<String>,
    is_busy: bool,
    has_ended: bool,
    /// All where there are none.
    shards: BTreeSet<u32>,
}

/// A page, and the last session that was looked at where there are others behind it.
#[derive(Debug, Default)]
pub(super) struct Page {
    pub(super) found: Vec<(Name, Row)>,
    pub(super) next: Option<Name>,
}

/// What sessions are chosen by.
struct Traits<'a> {
    tenant: &'a str,
    toolset: Option<&'a str>,
    server: Option<&'a str>,
    agent: &'a str,
    is_busy: bool,
}

// === impl Records ===

impl Records for Shards {
    fn shards(&self) -> Vec<u32> {
        self.held()
    }

    fn read(&self, shard: u32, first: u128, count: usize, has_ended: bool) -> Vec<(u128, Row)> {
        if has_ended {
            self.ended_from(shard, first, count).into_iter().map(|(key, ended)| (key, Row::Ended(ended))).collect()
        } else {
            self.records_from(shard, first, count).into_iter().map(|(key, record)| (key, Row::Live(record))).collect()
        }
    }

    fn find(&self, Name { shard, key }: Name) -> Option<Row> {
        let live = self.record(shard, key).map(Row::Live);
        live.or_else(|| self.ended(shard, key).map(Row::Ended))
    }
}

// === impl Row ===

impl Row {
    fn traits(&self) -> Traits<'_> {
        match self {
            Self::Live(record) => {
                let charter = record.charter();
                let (toolset, server) = match &charter.scope {
                    Some(proto::charter::Scope::Toolset(name)) => (Some(&**name), None),
                    Some(proto::charter::Scope::Server(name)) => (None, Some(&**name)),
                    None => (None, None),
                };
                let agent = charter.owner.as_ref().and_then(|owner| owner.agent.as_deref()).unwrap_or_default();
                Traits { tenant: &charter.tenant, toolset, server, agent, is_busy: record.holds().is_busy() }
            }
            Self::Ended(ended) => {
                let (toolset, server) = match &ended.scope {
                    Some(proto::ended::Scope::Toolset(name)) => (Some(&**name), None),
                    Some(proto::ended::Scope::Server(name)) => (None, Some(&**name)),
                    None => (None, None),
                };
                Traits { tenant: &ended.tenant, toolset, server, agent: &ended.agent, is_busy: false }
            }
        }
    }
}

// === impl Wanted ===

impl Wanted {
    /// Reads what a request wants, of a cluster with so many shards.
    ///
    /// # Errors
    /// INVALID_ARGUMENT for what is no name and no shard, and for a toolset together with a server.
    pub(super) fn read(request: v1::ListSessionsRequest, shards_max: u32) -> Result<Self, Status> {
        let v1::ListSessionsRequest { tenant, toolset, server, agent, busy, ended, shards, .. } = request;
        let name = |field: &str, value: &str| -> Result<Option<ResourceName>, Status> {
            if value.is_empty() { Ok(None) } else { caller::name(field, value).map(Some) }
        };
        let (toolset, server) = (name("toolset", &toolset)?, name("server", &server)?);
        if let (Some(_), Some(server)) = (&toolset, &server) {
            return Err(errors::invalid("server", server, "a toolset or a server, not both"));
        }
        let tenant = Some(tenant).filter(|tenant| !tenant.is_empty());
        let tenant = tenant.map(|tenant| {
            TenantId::new(&tenant)
                .map_err(|error| errors::invalid("tenant", format_args!("{tenant:?}"), error.to_string()))
        });
        if agent.len() > AGENT_BYTES_MAX {
            return Err(errors::invalid("agent", &agent, format_args!("at most {AGENT_BYTES_MAX} bytes")));
        }
        if busy && ended {
            return Err(errors::invalid("busy", busy, "not together with `ended`: nothing waits in what has ended"));
        }
        if let Some(other) = shards.iter().find(|shard| !(1..=shards_max).contains(*shard)) {
            return Err(errors::invalid("shards", other, format_args!("shards of the cluster, 1 to {shards_max}")));
        }
        let agent = Some(agent).filter(|agent| !agent.is_empty());
        let shards = shards.into_iter().collect();
        Ok(Self { tenant: tenant.transpose()?, toolset, server, agent, is_busy: busy, has_ended: ended, shards })
    }

    /// Whether sessions must be busy.
    pub(super) const fn is_busy(&self) -> bool {
        self.is_busy
    }

    /// The shards that are asked for and not among these, of a cluster with so many.
    pub(super) fn elsewhere(&self, held: &[u32], shards_max: u32) -> Vec<u32> {
        (1..=shards_max).filter(|shard| self.has_shard(*shard) && held.binary_search(shard).is_err()).collect()
    }

    pub(super) fn has_shard(&self, shard: u32) -> bool {
        self.shards.is_empty() || self.shards.contains(&shard)
    }

    pub(super) fn matches(&self, row: &Row) -> bool {
        let traits = row.traits();
        let is = |wanted: &Option<ResourceName>, name: Option<&str>| {
            wanted.as_ref().is_none_or(|wanted| Some(wanted.as_str()) == name)
        };
        self.tenant.as_ref().is_none_or(|tenant| tenant.as_str() == traits.tenant)
            && is(&self.toolset, traits.toolset)
            && is(&self.server, traits.server)
            && self.agent.as_deref().is_none_or(|wanted| wanted == traits.agent)
            && (!self.is_busy || traits.is_busy)
    }
}

/// Returns the sessions behind `after` that are wanted, at most `size`.
pub(super) fn page(records: &impl Records, wanted: &Wanted, after: Option<Name>, size: usize) -> Page {
    let mut found = Vec::new();
    let (mut looked, mut last) = (0, after);
    for shard in records.shards().into_iter().filter(|shard| wanted.has_shard(*shard)) {
        let mut from = match after {
            Some(after) if shard < after.shard => None,
            Some(after) if shard == after.shard => after.key.checked_add(1),
            Some(_) | None => Some(0),
        };
        while let Some(first) = from {
            let part = records.read(shard, first, PART, wanted.has_ended);
            from = part.last().filter(|_| part.len() == PART).and_then(|(key, _)| key.checked_add(1));
            for (key, row) in part {
                if found.len() == size || looked == LOOKED_MAX {
                    return Page { found, next: last };
                }
                let name = Name { shard, key };
                (looked, last) = (looked + 1, Some(name));
                if wanted.matches(&row) {
                    found.push((name, row));
                }
            }
        }
    }
    Page { found, next: None }
}

#[cfg(test)]
pub(super) mod tests {
    use std::collections::BTreeMap;

    use quorate_session::shard::{Shard, command, parts};
    use quorate_types::NodeId;

    use super::*;

    const SHARDS: u32 = 16;

    /// Shards without consensus.
    #[derive(Default)]
    pub(in super::super) struct World {
        held: BTreeMap<u32, Shard>,
        pub(in super::super) owners: BTreeMap<u32, NodeId>,
    }

    impl Records for World {
        fn shards(&self) -> Vec<u32> {
            self.held.keys().copied().collect()
        }

        fn read(&self, shard: u32, first: u128, count: usize, has_ended: bool) -> Vec<(u128, Row)> {
            let held = &self.held[&shard];
            if has_ended {
                let mut ended: Vec<_> = held.ended_last().filter(|(key, _)| *key >= first).collect();
                ended.sort_by_key(|(key, _)| *key);
                return ended
                    .into_iter()
                    .take(count)
                    .map(|(key, ended)| (key, Row::Ended(Arc::clone(ended))))
                    .collect();
            }
            held.from(first).take(count).map(|(key, record)| (key, Row::Live(Arc::clone(record)))).collect()
        }

        fn find(&self, Name { shard, key }: Name) -> Option<Row> {
            let held = self.held.get(&shard)?;
            let live = held.get(key).map(|(_, record)| Row::Live(Arc::clone(record)));
            live.or_else(|| held.ended(key).map(|ended| Row::Ended(Arc::clone(ended))))
        }
    }

    impl World {
        pub(in super::super) fn add(
            &mut self,
            shard: u32,
            key: u128,
            charter: proto::Charter,
            more: Vec<proto::op::Kind>,
        ) {
            let ops = std::iter::once(proto::op::Kind::Open(charter)).chain(more);
            self.change(shard, key, ops.collect());
        }

        pub(in super::super) fn change(&mut self, shard: u32, key: u128, kinds: Vec<proto::op::Kind>) {
            let ops = kinds.into_iter().map(|kind| proto::Op { kind: Some(kind) }).collect();
            let change = proto::Change { time_ms: 1, ops };
            let held = self.held.entry(shard).or_default();
            let version = held.get(key).map_or(0, |(version, _)| version);
            let applied = held.apply(&command(&parts(key, version, &change)));
            assert_eq!(applied.touched, [key], "it is applied");
        }

        pub(in super::super) fn end(&mut self, shard: u32, key: u128) {
            let end = quorate_session::EndReason::Operator { by: "operator ana (operator)".into() }.written(2);
            self.change(shard, key, vec![proto::op::Kind::End(end)]);
        }
    }

    pub(in super::super) fn charter(tenant: &str, agent: &str) -> proto::Charter {
        proto::Charter {
            principal: vec![1; 16].into(),
            tenant: tenant.to_owned(),
            scope: Some(proto::charter::Scope::Toolset("all".to_owned())),
            owner: Some(proto::Owner { agent: Some(agent.to_owned()), ..proto::Owner::default() }),
            ..proto::Charter::default()
        }
    }

    fn names(page: &Page) -> Vec<(u32, u128)> {
        page.found.iter().map(|(name, _)| (name.shard, name.key)).collect()
    }

    #[test]
    fn pages_follow_each_other_by_shard_and_key_without_a_gap() {
        let mut world = World::default();
        let many = u128::try_from(PART).expect("it is small") + 3;
        let keys: Vec<(u32, u128)> = (0..many).map(|key| (2, key)).chain([(9, 0), (9, u128::MAX), (11, 5)]).collect();
        for (shard, key) in &keys {
            world.add(*shard, *key, charter("default", "a"), Vec::new());
        }
        for size in [1, 2, PART, 1_000] {
            let (mut seen, mut after) = (Vec::new(), None);
            loop {
                let page = page(&world, &Wanted::default(), after, size);
                assert!(page.found.len() <= size);
                seen.extend(names(&page));
                after = page.next;
                if after.is_none() {
                    break;
                }
            }
            assert_eq!(seen, keys, "in pages of {size}");
        }
    }

    #[test]
    fn a_page_goes_on_behind_a_session_that_is_gone() {
        let mut world = World::default();
        for key in [1, 5] {
            world.add(3, key, charter("default", "a"), Vec::new());
        }

        let rest = page(&world, &Wanted::default(), Some(Name { shard: 3, key: 4 }), 10);

        assert_eq!(names(&rest), [(3, 5)]);
        assert_eq!(rest.next, None);
    }

    #[test]
    fn what_is_rare_ends_a_page_early_and_is_found_by_the_next() {
        let mut world = World::default();
        let most = u128::try_from(LOOKED_MAX).expect("it is small");
        for key in 0..most {
            world.add(1, key, charter("default", "a"), Vec::new());
        }
        world.add(2, 7, charter("rare", "a"), Vec::new());
        let wanted = Wanted { tenant: Some(TenantId::new("rare").expect("a tenant")), ..Wanted::default() };

        let first = page(&world, &wanted, None, 10);
        let second = page(&world, &wanted, first.next, 10);

        assert_eq!((names(&first), first.next), (Vec::new(), Some(Name { shard: 1, key: most - 1 })));
        assert_eq!((names(&second), second.next), (vec![(2, 7)], None));
    }

    #[test]
    fn each_filter_leaves_those_that_have_it() {
        let mut world = World::default();
        let served = proto::Charter {
            scope: Some(proto::charter::Scope::Server("all".to_owned())),
            ..charter("default", "ann")
        };
        let call = proto::op::Kind::Call(proto::Call { call: 1, ..proto::Call::default() });
        world.add(1, 1, charter("default", "ann"), Vec::new());
        world.add(1, 2, charter("acme", "bob"), Vec::new());
        world.add(2, 3, served, Vec::new());
        world.add(2, 4, charter("default", "bob"), vec![call]);
        for (shard, key, agent) in [(2, 9, "ann"), (1, 8, "bob"), (2, 6, "bob")] {
            world.add(shard, key, charter("default", agent), Vec::new());
            world.end(shard, key);
        }
        let request = v1::ListSessionsRequest::default;
        let cases = [
            (request(), vec![1, 2, 3, 4]),
            (v1::ListSessionsRequest { tenant: "acme".to_owned(), ..request() }, vec![2]),
            (v1::ListSessionsRequest { toolset: "all".to_owned(), ..request() }, vec![1, 2, 4]),
            (v1::ListSessionsRequest { server: "all".to_owned(), ..request() }, vec![3]),
            (v1::ListSessionsRequest { agent: "bob".to_owned(), ..request() }, vec![2, 4]),
            (v1::ListSessionsRequest { busy: true, ..request() }, vec![4]),
            (v1::ListSessionsRequest { busy: true, agent: "ann".to_owned(), ..request() }, vec![]),
            (v1::ListSessionsRequest { shards: vec![2, 9], ..request() }, vec![3, 4]),
            (v1::ListSessionsRequest { ended: true, ..request() }, vec![8, 6, 9]),
            (v1::ListSessionsRequest { ended: true, agent: "bob".to_owned(), shards: vec![2], ..request() }, vec![6]),
        ];
        for (request, expected) in cases {
            let wanted = Wanted::read(request, SHARDS).expect("it can be wanted");
            let found: Vec<u128> = page(&world, &wanted, None, 10).found.iter().map(|(name, _)| name.key).collect();
            assert_eq!(found, expected, "{wanted:?}");
        }
    }

    #[test]
    fn shards_that_the_node_does_not_have_are_told() {
        let of = |shards| v1::ListSessionsRequest { shards, ..v1::ListSessionsRequest::default() };
        let all = Wanted::read(of(Vec::new()), 5).expect("it can be wanted");
        assert_eq!(all.elsewhere(&[1, 2, 4], 5), [3, 5]);
        let some = Wanted::read(of(vec![5, 2]), 5).expect("it can be wanted");
        assert_eq!(some.elsewhere(&[1, 2, 4], 5), [5]);
    }

    #[test]
    fn a_filter_that_is_none_is_told_by_its_field() {
        let request = v1::ListSessionsRequest::default;
        let cases = [
            ("tenant", v1::ListSessionsRequest { tenant: "No Name".to_owned(), ..request() }),
            ("toolset", v1::ListSessionsRequest { toolset: "No Name".to_owned(), ..request() }),
            ("server", v1::ListSessionsRequest { server: "a/b".to_owned(), ..request() }),
            ("server", v1::ListSessionsRequest { toolset: "a".to_owned(), server: "b".to_owned(), ..request() }),
            ("busy", v1::ListSessionsRequest { busy: true, ended: true, ..request() }),
            ("shards 0", v1::ListSessionsRequest { shards: vec![1, 0], ..request() }),
            ("shards 17", v1::ListSessionsRequest { shards: vec![SHARDS + 1], ..request() }),
            ("agent", v1::ListSessionsRequest { agent: "a".repeat(AGENT_BYTES_MAX + 1), ..request() }),
        ];
        for (field, request) in cases {
            let refused = Wanted::read(request, SHARDS).expect_err(field);
            assert!(refused.message().starts_with(field), "{refused}");
        }
    }
}
