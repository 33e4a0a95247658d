//! Drives one connection to its end: requests, drain and deadlines.
//!
//! In flow a hyper connection and its [`Activity`]; out flows how it ended. One timer per
//! connection, moved only when a deadline comes nearer or fires: a kept-alive connection that
//! serves requests touches no timer.

use std::future::poll_fn;
use std::pin::{Pin, pin};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use tokio::time::{Instant, Sleep, sleep_until};
use tokio_util::sync::CancellationToken;

use super::ConnectionError;
use super::activity::{Activity, Deadline, Then};
use super::limits::Limits;
use crate::observe::{Observer, limit};

/// A connection of either protocol version.
pub(super) trait Graceful: Future<Output = hyper::Result<()>> {
    /// Finishes open requests and takes no new ones.
    fn shut_down(self: Pin<&mut Self>);
}

/// How far the end of the connection has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    Serving,
    /// Asked to close; cut at this moment if it has not.
    Closing(Instant),
}

/// Runs `connection` until it ends by itself, is drained, or breaks a limit.
pub(super) async fn drive(
    mut connection: Pin<&mut (dyn Graceful + Send)>,
    activity: &Activity,
    limits: &Limits,
    observer: &dyn Observer,
    drain: &CancellationToken,
) -> Result<(), ConnectionError> {
    let mut drained = pin!(drain.cancelled());
    let mut timer = pin!(sleep_until(Instant::now() + limits.header_read_timeout));
    let mut phase = Phase::Serving;
    poll_fn(|cx| {
        loop {
            // Before the connection, so that an answer that is written now says it is the last.
            if phase == Phase::Serving && drained.as_mut().poll(cx).is_ready() {
                phase = close(connection.as_mut(), activity, limits.drain_timeout);
            }
            if let Poll::Ready(result) = connection.as_mut().poll(cx) {
                return Poll::Ready(finish(result, activity, limits, observer));
            }
            match poll_deadline(timer.as_mut(), cx, activity, limits, phase) {
                Poll::Pending => return Poll::Pending,
                // What the connection ended with is known when its socket is closed.
                Poll::Ready(Then::EndLinger) => activity.end_linger(),
                Poll::Ready(Then::GiveUpRest) => activity.give_up_rest(),
                Poll::Ready(Then::CloseIdle) => {
                    observer.limit_hit(limit::IDLE_TIMEOUT);
                    phase = close(connection.as_mut(), activity, limits.drain_timeout);
                }
                Poll::Ready(Then::Cut(limit)) => {
                    observer.limit_hit(limit);
                    return Poll::Ready(Err(ConnectionError::Cut { limit }));
                }
            }
        }
    })
    .await
}

fn close(connection: Pin<&mut (dyn Graceful + Send)>, activity: &Activity, timeout: Duration) -> Phase {
    activity.closing();
    connection.shut_down();
    Phase::Closing(Instant::now() + timeout)
}

/// Is ready with what is due now.
fn poll_deadline(
    mut timer: Pin<&mut Sleep>,
    cx: &mut Context<'_>,
    activity: &Activity,
    limits: &Limits,
    phase: Phase,
) -> Poll<Then> {
    loop {
        let next = next_deadline(activity, limits, phase);
        if let Some(next) = next
            && next.at < timer.deadline()
        {
            timer.as_mut().reset(next.at);
        }
        ready!(timer.as_mut().poll(cx));
        let now = Instant::now();
        match next {
            Some(next) if next.at <= now => return Poll::Ready(next.then),
            Some(next) => timer.as_mut().reset(next.at),
            None => timer.as_mut().reset(now + limits.idle_timeout),
        }
    }
}

/// Returns what is due next. A connection that is on its way to its end is not idle, and is given
/// no more time than its phase has.
fn next_deadline(activity: &Activity, limits: &Limits, phase: Phase) -> Option<Deadline> {
    let next = activity.deadline(limits);
    match phase {
        Phase::Serving => next,
        Phase::Closing(at) => match next {
            Some(next) if next.then != Then::CloseIdle && next.at < at => Some(next),
            Some(_) | None => Some(Deadline { at, then: Then::Cut(limit::DRAIN_TIMEOUT) }),
        },
    }
}

/// Reports the limits that hyper enforces by itself.
fn finish(
    result: hyper::Result<()>,
    activity: &Activity,
    limits: &Limits,
    observer: &dyn Observer,
) -> Result<(), ConnectionError> {
    let Err(error) = result else { return Ok(()) };
    if error.is_parse_too_large() {
        let limit = activity.head_limit_hit(limits);
        observer.limit_hit(limit);
        return Err(ConnectionError::Cut { limit });
    }
    Err(ConnectionError::Protocol(error))
}
