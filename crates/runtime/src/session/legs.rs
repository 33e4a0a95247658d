//! The legs of one session: which backend each stands for, and its present upstream session.
//!
//! The machine names legs by number; this table gives each backend of the session its number
//! when it is first needed, and keeps it as long as the session lives, whatever the
//! configuration does meanwhile.

use quorate_session::{LegEpoch, LegKey};
use tokio::task::AbortHandle;

use crate::backend;
use crate::upstream::legacy::Leg;

/// The legs of one session.
#[derive(Default)]
pub(super) struct Legs {
    slots: Vec<Slot>,
}

/// One leg.
pub(super) struct Slot {
    /// The backend as last configured.
    pub(super) server: backend::Handle,
    /// The present upstream session and its opening.
    pub(super) open: Option<OpenLeg>,
    /// The task that reads the leg's own stream.
    pub(super) listen: Option<AbortHandle>,
}

/// One upstream session.
#[derive(Clone)]
pub(super) struct OpenLeg {
    /// Which opening it is.
    pub(super) epoch: LegEpoch,
    /// The session.
    pub(super) session: Leg,
    /// The replica that it stays with.
    pub(super) replica: usize,
}

// === impl Legs ===

impl Legs {
    /// Returns the number of a backend's leg, making one when it is new.
    ///
    /// # Panics
    /// When a session meets more than 65,536 backends: toolsets have far fewer.
    pub(super) fn intern(&mut self, server: &backend::Handle) -> LegKey {
        let known = self.slots.iter().position(|slot| slot.server.name() == server.name());
        let index = known.unwrap_or(self.slots.len());
        match self.slots.get_mut(index) {
            Some(slot) => slot.server = server.clone(),
            None => self.slots.push(Slot { server: server.clone(), open: None, listen: None }),
        }
        LegKey(u16::try_from(index).expect("a toolset has fewer than 65,536 servers"))
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

    /// Takes everything apart when the session ends.
    pub(super) fn drain(&mut self) -> impl Iterator<Item = Slot> + '_ {
        self.slots.drain(..)
    }
}
