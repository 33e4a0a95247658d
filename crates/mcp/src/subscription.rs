//! The hub that shares one upstream `subscriptions/listen` of a backend among many subscribers.
//!
//! A pure machine. Events say who joins and leaves and what the upstream streams do; effects say
//! what to open, close, acknowledge and deliver, and when to come back.
//!
//! ```text
//! upstream listens:   pending ──Acknowledged──▶ current ──replaced──▶ draining ──overlap over──▶ closed
//!                        └─Ended, too slow: back-off  └─Ended: open again
//! a subscriber:       Waiting ──upstream covers it, or failed, or too slow──▶ Live
//! ```
//!
//! Invariants ([`Hub::check`]): a listen's filter is immutable, so a wider union opens a new listen
//! before the old one closes; a subscriber is acknowledged once, with no more than a live listen
//! honours, and delivered nothing before; what it may have missed is announced to it once a listen
//! serves it again. While two listens overlap a change may be delivered twice, never lost.
//! No principal has more than its part of what all subscribers share, so that none can keep the others out.
//! The hub knows neither clients' names nor frames: see [`Notification`].

use std::time::Duration;

use quorate_types::{PrincipalDigest, Timestamp};

use crate::message::Filter;

mod gather;
mod hub;
mod interest;
mod notification;

pub use gather::Gather;
pub use hub::Hub;
pub use interest::{Index, Interest};
pub use notification::{Change, Notification, NotificationError};

/// One client's listen stream, as its owner numbers it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct SubscriberId(pub u64);

/// One upstream listen request, as the hub numbers it; never used twice.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ListenId(pub u64);

/// Bounds and delays of a hub.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Config {
    /// The most subscribers of one backend.
    pub subscribers_max: usize,
    /// The most URIs and tasks of all subscribers of one backend together.
    pub items_max: usize,
    /// The most subscribers of one principal at one backend.
    pub principal_subscribers_max: usize,
    /// The most URIs and tasks of all subscribers of one principal at one backend together.
    pub principal_items_max: usize,
    /// How long a subscriber waits for the upstream before it is acknowledged with less.
    pub acknowledge_timeout: Duration,
    /// How long the upstream may take to acknowledge a listen.
    pub open_timeout: Duration,
    /// How long a replaced listen stays open, for what is still on its way.
    pub overlap: Duration,
    /// How long a listen stays wider than the union before it is replaced.
    pub shrink_delay: Duration,
    /// The first delay after a failure; each further one doubles it.
    pub retry_delay_min: Duration,
    /// The longest delay after failures, and the delay when the backend does not know `listen`.
    pub retry_delay_max: Duration,
    /// How long a listen must have lived for its end not to count as a failure.
    pub stable_after: Duration,
}

/// The defaults of [`Config`].
pub const DEFAULTS: Config = Config {
    subscribers_max: 1024,
    // Sixteen per subscriber on average, or a few with the most that one filter may have.
    items_max: 16 * 1024,
    // A quarter of each: enough for an agent that serves many people, which may be one principal, and room for others
    // beside three that take all they can.
    principal_subscribers_max: 256,
    principal_items_max: 4 * 1024,
    // Clients take an acknowledgement that does not come for a dead server; they wait 60 s at most.
    acknowledge_timeout: Duration::from_secs(3),
    open_timeout: Duration::from_secs(10),
    // More than a round trip between any two places.
    overlap: Duration::from_secs(1),
    // A client that reconnects comes back within its retry delay; its interest is then still open.
    shrink_delay: Duration::from_secs(30),
    retry_delay_min: Duration::from_millis(500),
    retry_delay_max: Duration::from_secs(60),
    stable_after: Duration::from_secs(10),
};
const _: () = assert!(DEFAULTS.principal_subscribers_max <= DEFAULTS.subscribers_max);
const _: () = assert!(DEFAULTS.principal_items_max <= DEFAULTS.items_max);
// Whoever has nothing yet is given the largest filter.
const _: () = assert!(Filter::ITEMS_MAX <= DEFAULTS.principal_items_max);
const _: () = assert!(DEFAULTS.retry_delay_min.as_millis() <= DEFAULTS.retry_delay_max.as_millis());

/// What happened.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Event {
    /// A client's stream wants to be notified.
    Join {
        /// The stream.
        subscriber: SubscriberId,
        /// Whose it is.
        principal: PrincipalDigest,
        /// Of what, in the backend's terms.
        interest: Interest,
    },
    /// A client's stream has ended.
    Leave {
        /// The stream.
        subscriber: SubscriberId,
    },
    /// The backend acknowledged a listen.
    Acknowledged {
        /// The listen.
        listen: ListenId,
        /// What it honours.
        honoured: Interest,
    },
    /// The backend notified on a listen.
    Notified {
        /// The listen.
        listen: ListenId,
        /// Of what.
        change: Change,
    },
    /// A listen ended, or could not be opened.
    Ended {
        /// The listen.
        listen: ListenId,
        /// How.
        end: End,
    },
    /// The time of a [`Effect::WakeAt`] has come.
    Tick,
}

/// How a listen ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    /// The connection could not be made, broke, or the backend ended the stream.
    Lost,
    /// The backend does not know `subscriptions/listen`, or refuses it for good.
    Unsupported,
}

/// What to do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Effect {
    /// Send `subscriptions/listen` to the backend.
    Open {
        /// The number to report on it with.
        listen: ListenId,
        /// Its filter.
        interest: Interest,
    },
    /// End a listen by closing its stream. Nothing more is reported on it.
    Close {
        /// The listen.
        listen: ListenId,
    },
    /// Tell a subscriber what is honoured.
    Acknowledge {
        /// The subscriber.
        subscriber: SubscriberId,
        /// The part of its interest that is honoured now.
        honoured: Interest,
    },
    /// Pass on the notification of this event.
    Deliver {
        /// To these, in order.
        subscribers: Vec<SubscriberId>,
    },
    /// Announce changes that a subscriber may have missed.
    Announce {
        /// The subscriber.
        subscriber: SubscriberId,
        /// The changes.
        changes: Vec<Change>,
    },
    /// Send a [`Event::Tick`] at this time; replaces every earlier wish.
    WakeAt {
        /// When.
        at: Timestamp,
    },
}

/// An event that cannot be; the hub is as before.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Rejection {
    /// There are [`Config::subscribers_max`] subscribers.
    #[error("a backend has at most {max} subscribers")]
    TooManySubscribers {
        /// The bound.
        max: usize,
    },
    /// There would be more than [`Config::items_max`] URIs and tasks.
    #[error("the subscribers of a backend have at most {max} resources and tasks")]
    TooManyItems {
        /// The bound.
        max: usize,
    },
    /// The principal has [`Config::principal_subscribers_max`] subscribers.
    #[error("a principal has at most {max} subscribers at a backend")]
    TooManyOfPrincipal {
        /// The bound.
        max: usize,
    },
    /// The principal would have more than [`Config::principal_items_max`] URIs and tasks.
    #[error("the subscribers of a principal have at most {max} resources and tasks at a backend")]
    TooManyItemsOfPrincipal {
        /// The bound.
        max: usize,
    },
    /// The subscriber has joined before.
    #[error("subscriber {} has joined before", subscriber.0)]
    DuplicateSubscriber {
        /// The subscriber.
        subscriber: SubscriberId,
    },
    /// The subscriber has not joined, or has left.
    #[error("subscriber {} is unknown", subscriber.0)]
    UnknownSubscriber {
        /// The subscriber.
        subscriber: SubscriberId,
    },
    /// The listen is over, or was never opened: its last words crossed its end.
    #[error("listen {} is over", listen.0)]
    StaleListen {
        /// The listen.
        listen: ListenId,
    },
    /// The backend said something on a listen that it may not say there: a notification before
    /// the acknowledgement, or a second acknowledgement.
    #[error("listen {} is not in a state for this", listen.0)]
    OutOfOrder {
        /// The listen.
        listen: ListenId,
    },
}

/// An invariant that does not hold; its text says which.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct Violation(pub &'static str);

// === impl Rejection ===

impl Rejection {
    /// Returns the label of the bound that was met, and the bound; `None` when it was none.
    #[must_use]
    pub const fn limit(self) -> Option<(&'static str, usize)> {
        match self {
            Self::TooManySubscribers { max } => Some(("subscribers", max)),
            Self::TooManyItems { max } => Some(("subscribed_items", max)),
            Self::TooManyOfPrincipal { max } => Some(("principal_subscribers", max)),
            Self::TooManyItemsOfPrincipal { max } => Some(("principal_subscribed_items", max)),
            Self::DuplicateSubscriber { .. }
            | Self::UnknownSubscriber { .. }
            | Self::StaleListen { .. }
            | Self::OutOfOrder { .. } => None,
        }
    }
}

// === impl Config ===

impl Default for Config {
    fn default() -> Self {
        DEFAULTS
    }
}
