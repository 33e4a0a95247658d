//! The legs of one session: which backend each stands for, and its present upstream session.
//!
//! The machine names legs by number; this table gives each backend of the session its number
//! when it is first needed, and keeps it as long as the session lives, whatever the
//! configuration does meanwhile.

use quorate_session::{LegEpoch, LegKey};
use quorate_types::ResourceName;
use tokio::sync::mpsc;
use tokio::task::AbortHandle;

use crate::backend::{self, Leg};

/// The legs of one session.
#[derive(Default)]
pub(super) struct Legs {
    slots: Vec<Slot>,
    /// The backends of the present configuration, once it has changed under the session.
    present: Vec<backend::Handle>,
}

/// One leg.
pub(super) struct Slot {
    /// The backend as last configured.
    pub(super) server: backend::Handle,
    /// The present upstream session and its opening.
    pub(super) open: Option<OpenLeg>,
    /// The task that reads the leg's own stream.
    pub(super) listen: Option<AbortHandle>,
    /// The configuration no longer has the backend.
    pub(super) removed: bool,
    /// It had none any more when the session came here from another node: `server` is another one.
    pub(super) nobody: bool,
    /// The backend was replaced while a session at the one before may have been opening.
    pub(super) stale: bool,
}

/// One upstream session.
#[derive(Clone)]
pub(super) struct OpenLeg {
    /// Which opening it is.
    pub(super) epoch: LegEpoch,
    /// The session, or the bridge in its place.
    pub(super) session: Leg,
    /// What waits to be sent to it, in order; its task is made when there is something.
    pub(super) outbox: Option<mpsc::Sender<super::pump::Outgoing>>,
}

// === impl Slot ===

impl Slot {
    const fn of(server: backend::Handle) -> Self {
        Self { server, open: None, listen: None, removed: false, nobody: false, stale: false }
    }
}

// === impl Legs ===

impl Legs {
    /// Returns the number of a backend's leg, making one when it is new.
    ///
    /// # Panics
    /// When a session meets more than 65,536 backends: toolsets have far fewer.
    pub(super) fn intern(&mut self, server: &backend::Handle) -> LegKey {
        // A request that was routed before a change may come after it, with the backend of then.
        let server = self.present.iter().find(|present| present.name() == server.name()).unwrap_or(server);
        let known = self.slots.iter().position(|slot| !slot.nobody && slot.server.name() == server.name());
        let index = known.unwrap_or(self.slots.len());
        match self.slots.get_mut(index) {
            // A changed backend reaches the session by `servers_changed`, with its old leg.
            Some(slot) if slot.open.is_none() => slot.server = server.clone(),
            Some(_) => {}
            None => self.slots.push(Slot::of(server.clone())),
        }
        LegKey(u16::try_from(index).expect("a toolset has fewer than 65,536 servers"))
    }

    /// Gives backends the numbers that they had on another node. Of one that is not configured any more the slot stays, so
    /// that its calls can be answered.
    pub(super) fn restored<'a>(named: impl Iterator<Item = (LegKey, &'a str)>, servers: &[backend::Handle]) -> Self {
        let mut legs = Self { slots: Vec::new(), present: servers.to_vec() };
        for (key, name) in named {
            let known = servers.iter().find(|server| server.name().as_str() == name);
            // The first of them stands where there is none: it is marked as removed, and nothing is sent to it.
            let Some(server) = known.or(servers.first()) else { break };
            while legs.slots.len() < usize::from(key.0) {
                legs.slots.push(Slot { removed: true, nobody: true, ..Slot::of(server.clone()) });
            }
            let nobody = known.is_none();
            legs.slots.push(Slot { removed: nobody, nobody, ..Slot::of(server.clone()) });
        }
        legs
    }

    /// Returns the number of a backend's leg, if it has one.
    pub(super) fn place(&self, server: &ResourceName) -> Option<LegKey> {
        let index = self.slots.iter().position(|slot| !slot.nobody && slot.server.name() == server)?;
        u16::try_from(index).ok().map(LegKey)
    }

    pub(super) fn get(&self, leg: LegKey) -> Option<&Slot> {
        self.slots.get(usize::from(leg.0))
    }

    pub(super) fn get_mut(&mut self, leg: LegKey) -> Option<&mut Slot> {
        self.slots.get_mut(usize::from(leg.0))
    }

    /// Returns the upstream session of this opening, if it is still the present one.
    pub(super) fn open(&self, leg: LegKey, epoch: LegEpoch) -> Option<(&backend::Handle, &OpenLeg)> {
        let slot = self.get(leg)?;
        let open = slot.open.as_ref()?;
        (open.epoch == epoch).then_some((&slot.server, open))
    }

    /// Takes over the present backends; returns the legs whose backend is not the same any more.
    pub(super) fn servers_changed(&mut self, servers: &[backend::Handle]) -> Vec<LegKey> {
        self.present = servers.to_vec();
        let mut changed = Vec::new();
        for (index, slot) in self.slots.iter_mut().enumerate().filter(|(_, slot)| !slot.nobody) {
            let now = servers.iter().find(|server| server.name() == slot.server.name());
            slot.removed = now.is_none();
            if now.is_some_and(|now| now.is_same(&slot.server)) {
                continue;
            }
            if let Some(now) = now {
                slot.server = now.clone();
            }
            slot.stale = slot.open.is_none();
            changed.push(LegKey(u16::try_from(index).expect("a toolset has fewer than 65,536 servers")));
        }
        changed
    }

    /// Takes everything apart when the session ends.
    pub(super) fn drain(&mut self) -> impl Iterator<Item = Slot> + '_ {
        self.slots.drain(..)
    }
}
