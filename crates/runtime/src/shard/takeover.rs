//! What a node does when it owns other shards than before.
//!
//! Sessions of a shard that is not owned here any more are given away: their clients' connections go on at the new owner.
//! Of a shard that is owned here now, those are made of their records at once in which something is under way; the others
//! are asleep until somebody asks for them, or something of them runs out.
//!
//! A leader whose quorum is late to acknowledge it owns nothing meanwhile. Its sessions wait for a while: nothing of them is
//! committed by anybody else before another node leads, and to make them of their records costs more than a late answer.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::sync::PoisonError;
use std::time::{Duration, Instant};

use quorate_session::EndReason;
use quorate_types::Timestamp;

use super::Sessions;
use crate::clock;
use crate::session::Handle;
use crate::shards::{Owned, Where};

/// Sessions that are made of their records at the same moment: each may begin exchanges with backends.
const WAKING_MAX: usize = 64;
/// Between looks at shards that wait.
const LOOK: Duration = Duration::from_millis(100);
/// Before a session is tried again that could not be made of its record.
const WAKE_PAUSE: Duration = Duration::from_secs(15);

/// How long sessions wait for a quorum before their clients' connections end, which may find another node.
const WAITS_MAX: Duration = Duration::from_secs(1);

/// A shard that is owned here, or was a moment ago.
struct Tenure {
    epoch: u64,
    /// Since when it waits for a quorum.
    waits: Option<Instant>,
}

/// Follows which shards are owned here.
pub(super) async fn follow(sessions: Sessions) {
    let mut changed = sessions.shared.shards.changed();
    let mut owned: HashMap<u32, Tenure> = HashMap::new();
    loop {
        changed.borrow_and_update();
        let shards = &sessions.shared.shards;
        let now: HashMap<u32, Owned> = shards.all_owned().into_iter().map(|owned| (owned.shard, owned)).collect();
        owned.retain(|shard, tenure| {
            let epoch = tenure.epoch;
            tenure.lasts(now.get(shard).is_some_and(|owned| owned.epoch == epoch), || shards.waits(*shard, epoch))
        });
        for (shard, taken) in &now {
            if let Entry::Vacant(vacant) = owned.entry(*shard) {
                vacant.insert(Tenure { epoch: taken.epoch, waits: None });
                let (sessions, taken) = (sessions.clone(), taken.clone());
                tokio::spawn(async move { sessions.take_over(taken).await });
            }
        }
        sessions.give_away(|shard| owned.get(&shard).map(|tenure| tenure.epoch));
        let waits = owned.values().any(|tenure| tenure.waits.is_some());
        let changes = changed.changed();
        let ended = match waits {
            true => tokio::time::timeout(LOOK, changes).await.is_ok_and(|changed| changed.is_err()),
            false => changes.await.is_err(),
        };
        if ended {
            return;
        }
    }
}

// === impl Tenure ===

impl Tenure {
    /// Whether it goes on: it is owned, or waits for a quorum, and not for too long.
    fn lasts(&mut self, is_owned: bool, waits: impl FnOnce() -> bool) -> bool {
        if is_owned {
            self.waits = None;
            return true;
        }
        let since = *self.waits.get_or_insert_with(Instant::now);
        since.elapsed() < WAITS_MAX && waits()
    }
}

/// Makes sessions of their records that something of runs out.
pub(super) fn wake(sessions: &Sessions, now: Timestamp) {
    let due: Vec<(u128, u32)> = {
        let mut asleep = sessions.shared.asleep.lock().unwrap_or_else(PoisonError::into_inner);
        let due = asleep.iter().filter(|(_, (_, at))| *at <= now).map(|(key, (shard, _))| (*key, *shard));
        let due: Vec<(u128, u32)> = due.take(WAKING_MAX).collect();
        for (key, _) in &due {
            asleep.remove(key);
        }
        sessions.shared.metrics.sessions_resting(asleep.len());
        due
    };
    for (key, shard) in due {
        let sessions = sessions.clone();
        tokio::spawn(async move {
            let Some(owned) = sessions.shared.shards.owned(shard) else { return };
            if sessions.revive(owned.clone(), key).await.is_err() {
                sessions.cannot_wake(&owned, key, now);
            }
        });
    }
}

// === impl Sessions ===

impl Sessions {
    /// Gives all sessions away but those of shards in the terms in which they are owned here.
    fn give_away(&self, owned: impl Fn(u32) -> Option<u64>) {
        // Those of a shard that came a moment ago are looked up.
        let shards = &self.shared.shards;
        let is_here = |shard, epoch| owned(shard) == Some(epoch) || shards.locate(shard) == Where::Here(epoch);
        for session in self.all() {
            if session.owned_in().is_some_and(|(shard, epoch)| !is_here(shard, epoch)) {
                session.give_away();
            }
        }
        let mut asleep = self.shared.asleep.lock().unwrap_or_else(PoisonError::into_inner);
        asleep.retain(|_, (shard, _)| owned(*shard).is_some() || matches!(shards.locate(*shard), Where::Here(_)));
    }

    /// Notes when somebody has to look at a session that was put to rest.
    pub(super) fn lay_down(&self, session: &Handle) {
        let Some((shard, epoch)) = session.owned_in() else { return };
        let Some(owned) = self.shared.shards.owned(shard).filter(|owned| owned.epoch == epoch) else { return };
        let Some((_, record)) = owned.record(session.key()) else { return };
        let at = record.wakes_at(&self.shared.config);
        self.shared.asleep.lock().unwrap_or_else(PoisonError::into_inner).insert(session.key(), (shard, at));
    }

    /// No session can be made of a record: mostly since its toolset is not configured any more. It is asked again, and is
    /// over when it has been idle for as long as a session may.
    fn cannot_wake(&self, owned: &Owned, key: u128, now: Timestamp) {
        let Some((version, record)) = owned.record(key) else { return };
        let over = record.active() + self.shared.config.idle_timeout;
        if over <= now {
            tracing::info!(session = %key, shard = owned.shard, "a session that nothing stands behind any more is over");
            return owned.end(key, version, &EndReason::Idle);
        }
        let at = over.min(now + WAKE_PAUSE);
        self.shared.asleep.lock().unwrap_or_else(PoisonError::into_inner).insert(key, (owned.shard, at));
    }

    /// Takes a shard over: what is under way in it goes on here.
    async fn take_over(&self, owned: Owned) {
        let (now, began) = (clock::now(), Instant::now());
        let mut due = Vec::new();
        {
            let config = &self.shared.config;
            let mut asleep = self.shared.asleep.lock().unwrap_or_else(PoisonError::into_inner);
            for (key, record) in owned.records() {
                let at = record.wakes_at(config);
                asleep.insert(key, (owned.shard, at));
                if at <= now {
                    due.push(key);
                }
            }
        }
        if !due.is_empty() {
            tracing::info!(shard = owned.shard, sessions = due.len(), "takes over sessions with something under way");
        }
        for keys in due.chunks(WAKING_MAX) {
            let revivals = keys.iter().map(|key| self.revive(owned.clone(), *key));
            // Whoever cannot be made is asked for by its client, or not.
            futures_util::future::join_all(revivals).await;
        }
        if !due.is_empty() {
            self.shared.metrics.shard_taken_over(began.elapsed());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_quorum_that_is_late_is_waited_for_and_one_that_does_not_come_is_not() {
        let mut tenure = Tenure { epoch: 3, waits: None };
        assert!(tenure.lasts(false, || true), "it is waited for");
        assert!(tenure.lasts(true, || unreachable!()) && tenure.waits.is_none(), "it came");
        assert!(!tenure.lasts(false, || false), "another node leads");

        tenure.waits = Instant::now().checked_sub(WAITS_MAX);
        assert!(!tenure.lasts(false, || true), "it is late for too long");
    }
}
