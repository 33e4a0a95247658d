//! The legs of a session: one upstream session per backend that was needed so far.
//!
//! ```text
//!            demand                 LegOpened            level is known
//!   Closed ──────────▶ Opening ───────────────▶ Preparing ────────────▶ Open
//!     ▲                   │ LegFailed              │ LegLost              │ LegLost
//!     └───────────────────┴────────────────────────┴──────────────────────┘
//! ```
//!
//! Each opening has an epoch of its own; a report with another epoch is about the past. Plain
//! data; the session's handlers say when a leg opens and what happens to its calls.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use quorate_jsonrpc::Frame;
use quorate_types::Timestamp;

use crate::config::Config;
use crate::event::{Features, Listen};
use crate::ids::{LegEpoch, LegKey};
use crate::record::proto;

/// How often in a row a leg may be lost without an answer in between until its waiting calls fail
/// instead of waiting for yet another opening: once by chance, once for a replica that took over
/// and went too, and then it is broken.
pub(crate) const LOSSES_MAX: u32 = 3;

/// How often in a row one subscription cannot be restored until it is given up: over some 30 s, in
/// which a backend that just came back has found itself.
pub(crate) const RESTORES_MAX: u32 = 6;

#[derive(Debug)]
pub(crate) struct Leg {
    pub(crate) state: LegState,
    pub(crate) epoch: LegEpoch,
    pub(crate) features: Features,
    /// Whether it was open before, so that something may be missed while it is not.
    pub(crate) reopened: bool,
    /// Failures and losses since it last answered.
    pub(crate) failures: u32,
    /// When it is opened again for its standing demand.
    pub(crate) retry_at: Option<Timestamp>,
    /// Notifications of the client that wait until it is open.
    pub(crate) notifications: Vec<Bytes>,
    /// Whether its own stream is read.
    pub(crate) listening: bool,
    /// The version of the logging level that it was told, and answered.
    pub(crate) level: u32,
    /// Its resource subscriptions.
    pub(crate) subscriptions: BTreeMap<Arc<str>, Subscription>,
    /// When subscriptions that could not be restored are tried again.
    pub(crate) restore_at: Option<Timestamp>,
    /// Its name, once it was given.
    pub(crate) server: Option<Arc<str>>,
    /// How its upstream session is found again.
    pub(crate) upstream: Option<Arc<proto::Upstream>>,
    /// It opens by taking over the upstream session that another node had.
    pub(crate) adopting: bool,
    /// Up to where its own stream was read.
    pub(crate) mark: Option<Arc<str>>,
}

#[derive(Debug)]
pub(crate) struct Subscription {
    /// The request that made it.
    pub(crate) frame: Frame,
    /// Whether the present upstream session has it.
    pub(crate) is_live: bool,
    /// How often in a row it could not be restored.
    pub(crate) failures: u32,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum LegState {
    Closed,
    Opening,
    /// Initialized, and being told the logging level: calls wait, so that their log messages are
    /// filtered as the client wants from the first one on.
    Preparing,
    Open,
}

// === impl Leg ===

impl Leg {
    pub(crate) const fn new() -> Self {
        Self {
            state: LegState::Closed,
            epoch: LegEpoch(0),
            features: Features { logging: false, listen: Listen::Separate, bridged: false },
            reopened: false,
            failures: 0,
            retry_at: None,
            notifications: Vec::new(),
            listening: false,
            level: 0,
            subscriptions: BTreeMap::new(),
            restore_at: None,
            server: None,
            upstream: None,
            adopting: false,
            mark: None,
        }
    }

    /// Whether it can be sent to.
    pub(crate) const fn is_up(&self) -> bool {
        match self.state {
            LegState::Preparing | LegState::Open => true,
            LegState::Closed | LegState::Opening => false,
        }
    }

    pub(crate) const fn is_up_as(&self, epoch: LegEpoch) -> bool {
        self.is_up() && self.epoch.0 == epoch.0
    }

    /// Whether this opening is being taken over from another node.
    pub(crate) const fn is_adopted_as(&self, epoch: LegEpoch) -> bool {
        self.adopting && self.epoch.0 == epoch.0
    }

    /// Whether its own messages come between the answers. Then they are always read: nobody else is there to refuse
    /// requests of a server whose client reads no stream.
    pub(crate) fn shares_one_stream(&self) -> bool {
        self.features.listen == Listen::Shared
    }

    /// Returns how long to wait before it is opened again without a call that needs it.
    pub(crate) fn pause(&self, config: &Config) -> Duration {
        pause(self.failures, config)
    }

    /// Forgets what the upstream session had that is gone.
    pub(crate) fn unsubscribe_all(&mut self) {
        self.restore_at = None;
        for subscription in self.subscriptions.values_mut() {
            subscription.is_live = false;
            subscription.failures = 0;
        }
    }

    /// Returns how long to wait before what could not be restored is tried again; none where all is.
    pub(crate) fn restore_pause(&self, config: &Config) -> Option<Duration> {
        let failed = self.subscriptions.values().filter(|subscription| !subscription.is_live);
        failed.map(|subscription| subscription.failures).min().map(|failures| pause(failures, config))
    }
}

/// The pause after this many failures in a row.
fn pause(failures: u32, config: &Config) -> Duration {
    let factor = 1_u32.checked_shl(failures.saturating_sub(1)).unwrap_or(u32::MAX);
    config.leg_retry_min.saturating_mul(factor).min(config.leg_retry_max)
}

/// A leg's name with one of its openings.
pub(crate) type LegAt = (LegKey, LegEpoch);
