//! The stream of what becomes of sessions: all that are wanted, then what changes, each session at most once a second.
//!
//! ```text
//!             page by page                          once a second
//!   listing ─────────────────▶ following ─────────────────────────────▶ changes
//!      ▲                           │ more changed than is remembered,
//!      └───────── resync ──────────┘ or the node has other shards
//! ```
//!
//! Nothing is made before it is read: for a reader that is slow, changes are names of sessions in a set that is bounded
//! ([`Touched`]), and when that is full everything is told anew. What was told of a session is
//! remembered as a few numbers, of so many sessions at most; a watch that wants more ends with an error that says so.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::time::Duration;

use futures_util::{Stream, stream};
use quorate_proto::admin::v1::{self, session_change::Kind};
use quorate_runtime::shards::{Shards, Touched};
use quorate_types::NodeId;
use tokio::sync::OwnedSemaphorePermit;
use tonic::{Code, Status};

use super::super::errors;
use super::list::{self, Page, Records, Row, Wanted};
use super::name::Name;
use super::show;

/// How often changes are told.
const EVERY: Duration = Duration::from_secs(1);
/// Sessions in one message.
const CHUNK: usize = 200;
/// Sessions of one watch: more are nothing that somebody looks at, and are counted by metrics.
const WATCHED_MAX: usize = 10_000;

/// Watches sessions, of a cluster with so many shards.
pub(super) fn stream(
    shards: Shards,
    wanted: Wanted,
    shards_max: u32,
    place: OwnedSemaphorePermit,
) -> impl Stream<Item = Result<v1::WatchSessionsResponse, Status>> {
    // Before anything is read, so that nothing is missed.
    let touched = shards.watch();
    let watch = Watch { view: View::new(wanted, shards_max), touched, shards, _place: place };
    stream::unfold(Some(watch), |watch| async move {
        let mut watch = watch?;
        let said = watch.next().await;
        // An error is the last that is said.
        let rest = said.is_ok().then_some(watch);
        Some((said, rest))
    })
}

/// A watch of a node.
struct Watch {
    view: View,
    touched: Touched,
    shards: Shards,
    _place: OwnedSemaphorePermit,
}

/// What a reader has been told.
struct View {
    wanted: Wanted,
    shards_max: u32,
    told: BTreeMap<Name, Told>,
    phase: Phase,
    /// The shards that the node had when everything was told, with their owners.
    owners: BTreeMap<u32, Option<NodeId>>,
}

enum Phase {
    /// Everything is told; from the beginning, or behind a session.
    Listing(Option<Name>),
    /// Changes are told, of these sessions first.
    Following(VecDeque<Name>),
}

/// What was told of a session: what is worth telling when it is another.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Told {
    owner: Option<NodeId>,
    held: [usize; 6],
}

/// Where sessions are, and who owns them.
trait Source: Records {
    fn owner(&self, shard: u32) -> Option<NodeId>;
}

// === impl Source ===

impl Source for Shards {
    fn owner(&self, shard: u32) -> Option<NodeId> {
        Self::owner(self, shard)
    }
}

// === impl Watch ===

impl Watch {
    async fn next(&mut self) -> Result<v1::WatchSessionsResponse, Status> {
        loop {
            if self.view.waits() {
                tokio::time::sleep(EVERY).await;
                self.view.look(&self.shards, self.touched.take());
            }
            // A page looks at many records: not where other calls have their turn.
            if let Some(said) = tokio::task::block_in_place(|| self.view.say(&self.shards))? {
                return Ok(said);
            }
        }
    }
}

// === impl View ===

impl View {
    fn new(wanted: Wanted, shards_max: u32) -> Self {
        let (told, owners) = (BTreeMap::new(), BTreeMap::new());
        Self { wanted, shards_max, told, phase: Phase::Listing(None), owners }
    }

    /// Whether everything was said that is known to have changed.
    fn waits(&self) -> bool {
        matches!(&self.phase, Phase::Following(due) if due.is_empty())
    }

    /// Takes what was touched since; none when that is not known.
    fn look(&mut self, source: &impl Source, touched: Option<BTreeSet<(u32, u128)>>) {
        let owners = owners(source);
        let has_other_shards = !owners.keys().eq(self.owners.keys());
        let (Some(touched), false) = (touched, has_other_shards) else {
            self.phase = Phase::Listing(None);
            return;
        };
        let moved = |name: &Name| owners.get(&name.shard) != self.owners.get(&name.shard);
        let mut due: BTreeSet<Name> = self.told.keys().filter(|name| moved(name)).copied().collect();
        due.extend(touched.into_iter().map(|(shard, key)| Name { shard, key }));
        self.phase = Phase::Following(due.into_iter().collect());
        self.owners = owners;
    }

    /// Says the next part of what is to be said; nothing where no session of it is worth telling.
    fn say(&mut self, source: &impl Source) -> Result<Option<v1::WatchSessionsResponse>, Status> {
        match &mut self.phase {
            Phase::Listing(after) => {
                let after = *after;
                self.list(source, after).map(Some)
            }
            Phase::Following(due) => {
                let names: Vec<Name> = due.drain(..due.len().min(CHUNK)).collect();
                let mut changes = Vec::new();
                for name in names {
                    changes.extend(self.change(source, name)?);
                }
                let said = v1::WatchSessionsResponse { changes, ..v1::WatchSessionsResponse::default() };
                Ok(Some(said).filter(|said| !said.changes.is_empty()))
            }
        }
    }

    fn list(&mut self, source: &impl Source, after: Option<Name>) -> Result<v1::WatchSessionsResponse, Status> {
        let mut said = v1::WatchSessionsResponse { resync: after.is_none(), ..v1::WatchSessionsResponse::default() };
        if said.resync {
            self.told.clear();
            self.owners = owners(source);
            let held: Vec<u32> = self.owners.keys().copied().collect();
            said.elsewhere = self.wanted.elsewhere(&held, self.shards_max);
        }
        let Page { found, next } = list::page(source, &self.wanted, after, CHUNK);
        for (name, row) in found {
            let owner = source.owner(name.shard);
            self.tell(name, Told::of(&row, owner))?;
            said.changes.push(change(Kind::Present, show::row(name, &row, owner)));
        }
        said.complete = next.is_none();
        self.phase = next.map_or_else(|| Phase::Following(VecDeque::new()), |next| Phase::Listing(Some(next)));
        Ok(said)
    }

    /// What is to be said of a session that may have changed.
    fn change(&mut self, source: &impl Source, name: Name) -> Result<Option<v1::SessionChange>, Status> {
        if !self.wanted.has_shard(name.shard) {
            return Ok(None);
        }
        let row = source.find(name);
        let known = self.told.get(&name).copied();
        let owner = source.owner(name.shard);
        let kind = match &row {
            Some(row @ Row::Live(_)) if self.wanted.matches(row) => {
                // While nobody leads, the one who did is no news.
                let now = Told::of(row, owner.or(known.and_then(|known| known.owner)));
                if known == Some(now) {
                    return Ok(None);
                }
                self.tell(name, now)?;
                match known {
                    Some(known) if known.owner.is_some() && known.owner != now.owner => Kind::Moved,
                    Some(_) => Kind::Changed,
                    None => Kind::Opened,
                }
            }
            Some(row @ Row::Ended(_)) => {
                let is_told = self.told.remove(&name).is_some();
                // One that began and ended since the last look has ended all the same.
                if !is_told && (self.wanted.is_busy() || !self.wanted.matches(row)) {
                    return Ok(None);
                }
                Kind::Ended
            }
            Some(Row::Live(_)) | None => match self.told.remove(&name) {
                Some(_) => Kind::Left,
                None => return Ok(None),
            },
        };
        let session = match (kind, &row) {
            (Kind::Left, _) | (_, None) => v1::Session { name: name.to_string(), ..v1::Session::default() },
            (_, Some(row)) => show::row(name, row, owner),
        };
        Ok(Some(change(kind, session)))
    }

    fn tell(&mut self, name: Name, told: Told) -> Result<(), Status> {
        self.told.insert(name, told);
        if self.told.len() <= WATCHED_MAX {
            return Ok(());
        }
        let message = format!(
            "more than {WATCHED_MAX} sessions have what is asked for: watch fewer, by tenant, toolset, agent or shards, or \
             those that are busy"
        );
        Err(errors::error(Code::ResourceExhausted, "WATCHED", message))
    }
}

// === impl Told ===

impl Told {
    fn of(row: &Row, owner: Option<NodeId>) -> Self {
        let held = match row {
            Row::Live(record) => {
                let holds = record.holds();
                [holds.calls, holds.asks, holds.parked, holds.streams, holds.subscriptions, holds.legs]
            }
            Row::Ended(_) => [0; 6],
        };
        Self { owner, held }
    }
}

fn owners(source: &impl Source) -> BTreeMap<u32, Option<NodeId>> {
    source.shards().into_iter().map(|shard| (shard, source.owner(shard))).collect()
}

fn change(kind: Kind, session: v1::Session) -> v1::SessionChange {
    v1::SessionChange { kind: kind.into(), session: Some(session) }
}

#[cfg(test)]
mod tests {
    use quorate_session::record::proto::{self, op};

    use super::super::list::tests::{World, charter};
    use super::*;

    const SHARDS: u32 = 3;

    impl Source for World {
        fn owner(&self, shard: u32) -> Option<NodeId> {
            self.owners.get(&shard).copied()
        }
    }

    fn view(request: v1::ListSessionsRequest) -> View {
        View::new(Wanted::read(request, SHARDS).expect("it can be wanted"), SHARDS)
    }

    fn call(call: u64) -> op::Kind {
        op::Kind::Call(proto::Call { call, ..proto::Call::default() })
    }

    /// All that is said until nothing is left to say.
    fn said(view: &mut View, world: &World) -> Vec<v1::WatchSessionsResponse> {
        let mut all = Vec::new();
        loop {
            all.extend(view.say(world).expect("it is said"));
            if view.waits() {
                return all;
            }
        }
    }

    fn kinds(said: &[v1::WatchSessionsResponse]) -> Vec<(Kind, String)> {
        let changes = said.iter().flat_map(|said| &said.changes);
        let name = |change: &v1::SessionChange| change.session.clone().unwrap_or_default().name;
        changes
            .map(|change| (change.kind(), name(change).trim_start_matches("1-").trim_start_matches('0').to_owned()))
            .collect()
    }

    fn touched(keys: &[u128]) -> Option<BTreeSet<(u32, u128)>> {
        Some(keys.iter().map(|key| (1, *key)).collect())
    }

    #[test]
    fn everything_is_told_in_parts_and_then_what_changes() {
        let mut world = World::default();
        for key in 1..=u128::try_from(CHUNK).expect("it is small") + 1 {
            world.add(1, key, charter("default", "ann"), Vec::new());
        }
        let mut view = view(v1::ListSessionsRequest::default());

        let first = said(&mut view, &world);

        let flags: Vec<_> = first.iter().map(|said| (said.resync, said.complete, said.changes.len())).collect();
        assert_eq!(flags, [(true, false, CHUNK), (false, true, 1)]);
        assert_eq!(first[0].elsewhere, [2, 3]);
        world.change(1, 1, vec![call(7)]);
        world.change(1, 2, vec![op::Kind::ActiveMs(5)]);
        world.end(1, 3);
        world.add(1, 0xabc, charter("default", "ann"), Vec::new());
        world.add(1, 0xabd, charter("default", "ann"), Vec::new());
        world.end(1, 0xabd);

        view.look(&world, touched(&[1, 2, 3, 0xabc, 0xabd]));
        let then = said(&mut view, &world);

        let expected = [(Kind::Changed, "1"), (Kind::Ended, "3"), (Kind::Opened, "abc"), (Kind::Ended, "abd")];
        assert_eq!(kinds(&then), expected.map(|(kind, name)| (kind, name.to_owned())), "nobody sees that 2 was active");
        assert!(then.iter().all(|said| !said.resync && !said.complete));
        let ended = then[0].changes[1].session.as_ref().and_then(|session| session.end.as_ref());
        assert_eq!(ended.map(|end| end.by.as_str()), Some("operator ana (operator)"));
        view.look(&world, touched(&[1, 0xabc]));
        assert_eq!(kinds(&said(&mut view, &world)), [], "it was told");
    }

    #[test]
    fn a_filter_tells_of_sessions_as_they_come_to_have_it_and_lose_it() {
        let mut world = World::default();
        world.add(1, 1, charter("default", "ann"), Vec::new());
        world.add(1, 2, charter("acme", "bob"), vec![call(1)]);
        let mut view = view(v1::ListSessionsRequest { tenant: "default".to_owned(), busy: true, ..Default::default() });
        assert_eq!(kinds(&said(&mut view, &world)), []);

        world.change(1, 1, vec![call(7)]);
        world.change(1, 2, vec![call(8)]);
        view.look(&world, touched(&[1, 2]));
        assert_eq!(kinds(&said(&mut view, &world)), [(Kind::Opened, "1".to_owned())]);

        world.change(1, 1, vec![op::Kind::CallEnd(7)]);
        view.look(&world, touched(&[1]));
        assert_eq!(kinds(&said(&mut view, &world)), [(Kind::Left, "1".to_owned())]);

        world.end(1, 1);
        view.look(&world, touched(&[1]));
        assert_eq!(kinds(&said(&mut view, &world)), [], "it was none of those that are watched");
    }

    #[test]
    fn sessions_of_a_shard_that_moves_are_told_with_their_new_owner() {
        let mut world = World::default();
        world.add(1, 1, charter("default", "ann"), Vec::new());
        world.add(2, 5, charter("default", "ann"), Vec::new());
        world.owners = [(1, NodeId(1)), (2, NodeId(2))].into();
        let mut view = view(v1::ListSessionsRequest::default());
        said(&mut view, &world);

        world.owners.remove(&1);
        view.look(&world, touched(&[]));
        assert_eq!(kinds(&said(&mut view, &world)), [], "an election is no news");
        world.owners.insert(1, NodeId(3));
        view.look(&world, touched(&[]));
        let moved = said(&mut view, &world);

        assert_eq!(kinds(&moved), [(Kind::Moved, "1".to_owned())]);
        assert_eq!(moved[0].changes[0].session.as_ref().map(|session| session.node), Some(3));
    }

    #[test]
    fn who_missed_something_is_told_everything_anew() {
        let mut world = World::default();
        world.add(1, 1, charter("default", "ann"), Vec::new());
        let mut view = view(v1::ListSessionsRequest::default());
        said(&mut view, &world);

        view.look(&world, None);
        let again = said(&mut view, &world);
        assert_eq!(kinds(&again), [(Kind::Present, "1".to_owned())]);
        assert!(again[0].resync && again[0].complete);

        // Also when the node has other shards than before.
        world.add(2, 9, charter("default", "ann"), Vec::new());
        view.look(&world, touched(&[]));
        let again = said(&mut view, &world);
        assert!(again[0].resync && again[0].changes.len() == 2, "{again:?}");
    }

    #[test]
    fn more_sessions_than_a_watch_may_have_end_it_with_what_to_do() {
        let mut world = World::default();
        for key in 0..=u128::try_from(WATCHED_MAX).expect("it is small") {
            world.add(1, key, charter("default", "ann"), Vec::new());
        }
        let mut view = view(v1::ListSessionsRequest::default());

        let refused = loop {
            match view.say(&world) {
                Ok(_) => assert!(!view.waits(), "it told of all of them"),
                Err(refused) => break refused,
            }
        };

        assert_eq!(refused.code(), Code::ResourceExhausted);
        assert!(refused.message().contains("10000 sessions"), "{refused}");
    }
}
