//! What a node does when it owns other shards than before.
//!
//! Sessions of a shard that is not owned here any more are given away: their clients' connections go on at the new owner.
//! Of a shard that is owned here now, those are made of their records at once in which something is under way; the others
//! are asleep until somebody asks for them, or something of them runs out.

use std::collections::HashMap;
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
/// Before a session is tried again that could not be made of its record.
const WAKE_PAUSE: Duration = Duration::from_secs(15);

/// Follows which shards are owned here.
pub(super) async fn follow(sessions: Sessions) {
    let mut changed = sessions.shared.shards.changed();
    let mut owned: HashMap<u32, u64> = HashMap::new();
    loop {
        changed.borrow_and_update();
        let now: HashMap<u32, Owned> =
            sessions.shared.shards.all_owned().into_iter().map(|owned| (owned.shard, owned)).collect();
        sessions.give_away(|shard, epoch| now.get(&shard).is_none_or(|owned| owned.epoch != epoch));
        owned.retain(|shard, epoch| now.get(shard).is_some_and(|owned| owned.epoch == *epoch));
        for (shard, taken) in &now {
            if owned.insert(*shard, taken.epoch).is_none() {
                let (sessions, taken) = (sessions.clone(), taken.clone());
                tokio::spawn(async move { sessions.take_over(taken).await });
            }
        }
        if changed.changed().await.is_err() {
            return;
        }
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
    /// Gives sessions away whose shard and term `is_lost` says so of.
    fn give_away(&self, is_lost: impl Fn(u32, u64) -> bool) {
        for session in self.all() {
            if session.owned_in().is_some_and(|(shard, epoch)| is_lost(shard, epoch)) {
                session.give_away();
            }
        }
        let shards = &self.shared.shards;
        let mut asleep = self.shared.asleep.lock().unwrap_or_else(PoisonError::into_inner);
        asleep.retain(|_, (shard, _)| matches!(shards.locate(*shard), Where::Here(_)));
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
