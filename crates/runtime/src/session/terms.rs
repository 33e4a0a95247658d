//! What one call is held to beyond what its server allows: a time, and a place among the calls of
//! its tool.
//!
//! The time is the server's own: while it waits for an answer of the client (an elicitation, say),
//! and while the client does not read, the clock stands. The place is given back when the server
//! asks the client something, or else when the exchange has ended, whatever became of the client.

use std::time::{Duration, Instant};

use quorate_session::Fault;
use quorate_telemetry::Metrics;
use tokio::sync::OwnedSemaphorePermit;

/// What a call is held to.
#[derive(Debug, Default)]
pub struct Terms {
    /// How long the server may take; nothing where only the server's limits hold.
    pub timeout: Option<Timeout>,
    /// The place among the calls of the tool, given back when dropped, or once the client
    /// is asked something.
    pub place: Option<OwnedSemaphorePermit>,
}

/// How long a server may take for a call.
#[derive(Clone, Debug)]
pub struct Timeout {
    /// The time.
    pub after: Duration,
    /// What the client is told when the server takes longer.
    pub fault: Fault,
    /// Where that is counted.
    pub metrics: Metrics,
}

/// The time is over.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Late;

/// The time that a server has left.
#[derive(Clone, Copy, Debug)]
pub struct Clock {
    left: Option<Duration>,
}

// === impl Timeout ===

impl Timeout {
    /// Counts that a server took longer, and returns what the client is told.
    #[must_use]
    pub fn late(&self) -> Fault {
        self.metrics.limit_hit("tool_timeout");
        self.fault.clone()
    }
}

// === impl Clock ===

impl Clock {
    /// Starts with all of the time.
    #[must_use]
    pub fn start(timeout: Option<&Timeout>) -> Self {
        Self { left: timeout.map(|timeout| timeout.after) }
    }

    /// Waits for the server, as long as it has time; for the client where `counts` is false.
    ///
    /// # Errors
    /// [`Late`] when the time is over.
    pub async fn wait<T>(&mut self, counts: bool, future: impl Future<Output = T>) -> Result<T, Late> {
        let Some(left) = self.left.filter(|_| counts) else { return Ok(future.await) };
        let started = Instant::now();
        let waited = tokio::time::timeout(left, future).await.map_err(|_| Late);
        self.left = Some(left.saturating_sub(started.elapsed()));
        waited
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn timeout(after: Duration) -> Timeout {
        let fault = Fault { code: 1, message: "late".into(), data: None };
        Timeout { after, fault, metrics: Metrics::new("0") }
    }

    #[tokio::test]
    async fn the_clock_stands_while_the_client_is_waited_for() {
        let timeout = timeout(Duration::from_millis(200));
        let mut clock = Clock::start(Some(&timeout));
        let pause = |ms| tokio::time::sleep(Duration::from_millis(ms));

        assert_eq!(clock.wait(true, pause(20)).await, Ok(()));
        assert_eq!(clock.wait(false, pause(300)).await, Ok(()), "the client may take its time");
        assert_eq!(clock.wait(true, std::future::pending::<()>()).await, Err(Late));
        assert_eq!(clock.wait(true, std::future::pending::<()>()).await, Err(Late), "the time stays over");
        assert_eq!(Clock::start(None).wait(true, pause(1)).await, Ok(()));
    }
}
