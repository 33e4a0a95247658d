//! How much of requests a node holds: bytes of all calls in flight together, and of a stranger's call.
//!
//! Each body is counted as it is read. The first [`FREE_BYTES`] are for nothing, so that a small call is answered whatever
//! large ones are under way; what is beyond takes from one budget of the node, and is given back when the call is answered. When
//! there is no more, the call that wants it ends, and says when to try again: nobody waits while holding a part.
//!
//! A backup is read as it comes and held by nobody; of these one is taken at a time, which its service sees to.

use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tonic::{Code, Status};

use super::errors;
use super::roles::{Access, Method, Pace};

/// Bytes of the bodies of all calls that are in flight: three sets of the largest size. A set takes several times as much
/// while it is read and compiled.
const BUDGET_BYTES: usize = 96 << 20;
/// Bytes of each body that are not counted; all streams of all connections together have 160 MiB of them at the most.
const FREE_BYTES: usize = 16 << 10;
/// Bytes of a body that anybody may send, and of one whose answer goes on: a request to join has 12 KiB, its proof and what is
/// around it; one to watch has less.
const SMALL_BYTES_MAX: usize = FREE_BYTES;
/// When to try again: a set is read and compiled within that.
const AGAIN: Duration = Duration::from_secs(2);
/// What is not held: its service reads it as it comes.
const RESTORE: &str = "/quorate.admin.v1.Cluster/Restore";

/// What the bodies of a node's calls may have; clones share it.
#[derive(Clone)]
pub(crate) struct Budget(Arc<Semaphore>);

/// What a call has of it, until the last clone is dropped.
#[derive(Clone, Default)]
pub(crate) struct Share(Arc<Mutex<Option<OwnedSemaphorePermit>>>);

/// The body of a request, counted.
pub(crate) struct Counted<B> {
    body: B,
    read: usize,
    bytes_max: Option<usize>,
    /// None for what is not held.
    from: Option<(Budget, Share)>,
}

// === impl Budget ===

impl Budget {
    pub(crate) fn new() -> Self {
        Self(Arc::new(Semaphore::new(BUDGET_BYTES)))
    }

    /// Counts the body of a call, on its share.
    pub(crate) fn count<B>(&self, method: &Method, body: B, share: &Share) -> Counted<B> {
        let is_small = matches!(method.access, Access::Anyone) || method.pace == Pace::Watch;
        let bytes_max = is_small.then_some(SMALL_BYTES_MAX);
        let from = (method.path != RESTORE).then(|| (self.clone(), share.clone()));
        Counted { body, read: 0, bytes_max, from }
    }

    fn take(&self, bytes: usize, share: &Share) -> Result<(), Status> {
        let taken = u32::try_from(bytes).ok().and_then(|bytes| Arc::clone(&self.0).try_acquire_many_owned(bytes).ok());
        let taken = taken.ok_or_else(|| {
            let message =
                format!("the requests that are under way on this node have {BUDGET_BYTES} bytes together, the most");
            errors::retry(Code::ResourceExhausted, "BODIES", message, AGAIN)
        })?;
        let mut held = share.0.lock().unwrap_or_else(PoisonError::into_inner);
        match &mut *held {
            Some(held) => held.merge(taken),
            none @ None => *none = Some(taken),
        }
        Ok(())
    }
}

// === impl Counted ===

impl<B> Counted<B> {
    /// Counts what was read.
    fn grow(&mut self, bytes: usize) -> Result<(), Status> {
        let before = self.read;
        self.read += bytes;
        if let Some(most) = self.bytes_max.filter(|most| self.read > *most) {
            let message = format!("the request has more than {most} bytes, the most that this call takes");
            return Err(errors::error(Code::OutOfRange, "TOO_LARGE", message));
        }
        let counted = self.read.saturating_sub(FREE_BYTES.max(before));
        match &self.from {
            Some((budget, share)) if counted > 0 => budget.take(counted, share),
            Some(_) | None => Ok(()),
        }
    }
}

impl<B> Body for Counted<B>
where
    B: Body<Data = Bytes> + Unpin,
    B::Error: std::error::Error + Send + Sync + 'static,
{
    type Data = Bytes;
    type Error = Status;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Status>>> {
        let frame = match std::task::ready!(Pin::new(&mut self.body).poll_frame(cx)) {
            None => return Poll::Ready(None),
            Some(Err(error)) => return Poll::Ready(Some(Err(Status::from_error(Box::new(error))))),
            Some(Ok(frame)) => frame,
        };
        let bytes = frame.data_ref().map_or(0, Bytes::len);
        Poll::Ready(Some(self.grow(bytes).map(|()| frame)))
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

#[cfg(test)]
mod tests {
    use tonic_types::StatusExt as _;

    use super::*;
    use crate::api::roles::{self, METHODS};

    fn counted(budget: &Budget, path: &str) -> (Counted<()>, Share) {
        let share = Share::default();
        (budget.count(roles::method(path).expect("it is served"), (), &share), share)
    }

    #[test]
    fn what_large_calls_hold_is_refused_to_others_until_they_are_over_and_small_ones_are_answered() {
        let budget = Budget::new();
        let (mut apply, held) = counted(&budget, "/quorate.admin.v1.Resources/Apply");
        for _ in 0..BUDGET_BYTES / FREE_BYTES + 1 {
            apply.grow(FREE_BYTES).expect("there is room");
        }

        let (mut diff, _share) = counted(&budget, "/quorate.admin.v1.Resources/Diff");
        diff.grow(FREE_BYTES).expect("it is small so far");
        let refused = diff.grow(1).expect_err("nothing is left");
        assert_eq!(refused.code(), Code::ResourceExhausted, "{refused}");
        assert_eq!(refused.get_details_retry_info().and_then(|info| info.retry_delay), Some(AGAIN));
        let (mut restore, _share) = counted(&budget, "/quorate.admin.v1.Cluster/Restore");
        restore.grow(BUDGET_BYTES).expect("nobody holds it");
        // The body was read, and what it said is still there.
        drop(apply);
        let (mut again, _share) = counted(&budget, "/quorate.admin.v1.Resources/Diff");
        again.grow(2 * FREE_BYTES).expect_err("its call is not over");
        drop(held);
        let (mut again, _share) = counted(&budget, "/quorate.admin.v1.Resources/Diff");
        again.grow(2 * FREE_BYTES).expect("its call is over");
    }

    #[test]
    fn what_anybody_may_call_and_what_goes_on_for_long_takes_little() {
        let budget = Budget::new();
        for method in METHODS {
            let (mut body, _share) = counted(&budget, method.path);
            body.grow(SMALL_BYTES_MAX).expect("it is little");
            let more = body.grow(1).err().map(|status| status.code());
            let is_small = matches!(method.access, Access::Anyone) || method.pace == Pace::Watch;
            let expected = is_small.then_some(Code::OutOfRange);
            assert_eq!(more, expected, "{}", method.path);
        }
    }
}
