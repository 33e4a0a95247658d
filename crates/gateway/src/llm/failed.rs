//! Why a target did not answer: what its client would be told, and who is to blame.
//!
//! In: what a provider refused with, or what was wrong with its answer. Out: a [`Failed`], by which [`dispatch`](super::dispatch)
//! decides whether another target is asked, and whether this one rests. Pure.

use std::time::Duration;

use quorate_llm::Fault;
use quorate_llm::error::Kind;
use quorate_runtime::provider::{Blame, Refused};
use quorate_types::units::format_duration;

/// A target did not answer.
pub(super) struct Failed {
    /// What the client is told where nobody else is asked.
    pub(super) fault: Fault,
    /// Who is to blame.
    pub(super) blame: Blame,
    /// Whether another target may well answer what is to blame on the request.
    pub(super) may_differ: bool,
}

// === impl Failed ===

impl Failed {
    /// What the target answered is none.
    pub(super) fn broken(message: &str) -> Self {
        Self::of_provider(Fault::new(Kind::Provider, message))
    }

    /// The provider is to blame.
    pub(super) const fn of_provider(fault: Fault) -> Self {
        Self { fault, blame: Blame::Provider, may_differ: false }
    }

    /// What is no conversation came as a stream.
    pub(super) fn not_streamed() -> Self {
        Self::broken("what is asked is never answered as a stream")
    }

    /// The target cannot be told what the request says.
    pub(super) const fn untold(fault: Fault) -> Self {
        Self { fault, blame: Blame::Request, may_differ: true }
    }

    /// The client cannot be told what the target answered.
    pub(super) const fn unsaid(fault: Fault) -> Self {
        Self { fault, blame: Blame::Request, may_differ: false }
    }

    /// Nothing of the answer came in time.
    pub(super) fn late(patience: Duration) -> Self {
        let message = format!("the provider said nothing within {}", format_duration(patience));
        Self::of_provider(Fault::new(Kind::Timeout, message))
    }
}

impl From<Refused> for Failed {
    fn from(Refused { fault, blame }: Refused) -> Self {
        let may_differ = matches!(fault.kind, Kind::NotFound | Kind::ContextLength | Kind::TooLarge);
        Self { fault, blame, may_differ }
    }
}
