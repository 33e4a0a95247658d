//! What one call is held to beyond what its server allows: a time, a place among the calls of its
//! tool, and whether it may be sent twice.
//!
//! The time is the server's own: while it waits for an answer of the client (an elicitation, say),
//! and while the client does not read, the clock stands. For as long as the client is asked the
//! places are free as well, the tool's and the server's; then the call has them again, whether or
//! not others took them meanwhile, until its exchange has ended.

use std::sync::Arc;
use std::time::Duration;

use quorate_mcp::Fault;
use quorate_session::record::proto;
use quorate_telemetry::Metrics;
use quorate_types::units::format_duration;
use tokio::sync::watch;
use tokio::time::Instant;

use crate::backend::Load;
use crate::places::Place;

/// What a call is held to.
#[derive(Debug, Default)]
pub struct Terms {
    /// How long the server may take; nothing where only the server's limits hold.
    pub timeout: Option<Timeout>,
    /// The place among the calls of the tool, given back when dropped.
    pub place: Option<Place>,
    /// The tool that is called, or that began the task which the call is about.
    pub tool: Option<Arc<Tool>>,
    /// Whether the operator says that sending the call twice does no harm: one that was in flight on a node that was lost
    /// may then be sent again. False for whatever no rule of the toolset is for.
    pub replayable: bool,
}

/// A tool, as both sides know it.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Tool {
    /// Its name, as its server knows it.
    pub upstream: Arc<str>,
    /// Its name, as clients know it.
    pub exposed: Arc<str>,
}

/// How long a server may take for a call.
#[derive(Clone, Debug)]
pub struct Timeout {
    /// The time.
    pub after: Duration,
    /// What the client is told when the server takes longer.
    pub fault: quorate_session::Fault,
    /// Where that is counted.
    pub metrics: Metrics,
}

/// The time is over.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Late;

/// What an exchange is held to, and what it takes from others while its server works.
pub(super) struct Held<'a> {
    clock: Clock,
    /// Whether the server waits for the client: as the session says.
    paused: watch::Receiver<bool>,
    /// The load at the server, once the answer has begun.
    pub(super) load: Option<Load>,
    place: &'a mut Option<Place>,
}

/// The time that a server has left.
#[derive(Clone, Copy, Debug)]
pub struct Clock {
    left: Option<Duration>,
}

/// A clock that runs until dropped, so that a wait that is given up counts as well.
struct Running<'a> {
    clock: &'a mut Clock,
    since: Instant,
}

// === impl Terms ===

impl Terms {
    /// What of it whoever sends the call next has to know; none where there is nothing.
    pub(super) fn kept(&self) -> Option<Arc<proto::Terms>> {
        let timeout_ms =
            self.timeout.as_ref().map(|timeout| u64::try_from(timeout.after.as_millis()).unwrap_or(u64::MAX));
        if self.tool.is_none() && timeout_ms.is_none() {
            return None;
        }
        let (upstream, exposed) = self.tool.as_ref().map_or(("", ""), |tool| (&*tool.upstream, &*tool.exposed));
        Some(Arc::new(proto::Terms { upstream: upstream.to_owned(), exposed: exposed.to_owned(), timeout_ms }))
    }

    /// The same, read back.
    pub(super) fn restored(kept: &proto::Terms, metrics: &Metrics) -> Self {
        let tool = || Tool { upstream: kept.upstream.as_str().into(), exposed: kept.exposed.as_str().into() };
        let timeout = kept.timeout_ms.map(Duration::from_millis).map(|after| {
            let fault = Fault::ToolTimeout { tool: kept.exposed.clone(), after: format_duration(after) };
            Timeout { after, fault: super::fault(fault), metrics: metrics.clone() }
        });
        Self { timeout, tool: (!kept.upstream.is_empty()).then(tool).map(Arc::new), ..Self::default() }
    }
}

// === impl Timeout ===

impl Timeout {
    /// Counts that a server took longer, and returns what the client is told.
    #[must_use]
    pub fn late(&self) -> quorate_session::Fault {
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
        let _running = Running { clock: self, since: Instant::now() };
        tokio::time::timeout(left, future).await.map_err(|_| Late)
    }
}

impl Drop for Running<'_> {
    fn drop(&mut self) {
        self.clock.left = self.clock.left.map(|left| left.saturating_sub(self.since.elapsed()));
    }
}

// === impl Held ===

impl<'a> Held<'a> {
    /// Begins with all of the time, and with the place of the tool.
    pub(super) fn new(terms: &'a mut Terms, paused: watch::Receiver<bool>) -> Self {
        Self { clock: Clock::start(terms.timeout.as_ref()), paused, load: None, place: &mut terms.place }
    }

    /// Waits for the server, as long as it has time; what the client takes does not count.
    ///
    /// # Errors
    /// [`Late`] when the time is over.
    pub(super) fn wait<T>(&mut self, future: impl Future<Output = T>) -> impl Future<Output = Result<T, Late>> {
        self.run(true, future)
    }

    /// Waits for the client to read what was sent, which is no time of the server's.
    ///
    /// # Errors
    /// None: no time counts.
    pub(super) fn stand<T>(&mut self, future: impl Future<Output = T>) -> impl Future<Output = Result<T, Late>> {
        self.run(false, future)
    }

    async fn run<T>(&mut self, counts: bool, future: impl Future<Output = T>) -> Result<T, Late> {
        let mut future = std::pin::pin!(future);
        loop {
            let paused = *self.paused.borrow_and_update();
            self.share(paused);
            tokio::select! {
                biased;
                done = self.clock.wait(counts && !paused, future.as_mut()) => return done,
                () = changed(&mut self.paused) => {}
            }
        }
    }

    /// Leaves the places to others while the server is `paused`.
    fn share(&mut self, paused: bool) {
        match (paused, &mut self.load) {
            (true, Some(load)) => load.rest(),
            (false, Some(load)) => load.work(),
            (true | false, None) => {}
        }
        match (paused, &mut self.place) {
            (true, Some(place)) => place.rest(),
            (false, Some(place)) => place.work(),
            (true | false, None) => {}
        }
    }
}

/// Waits for a change; for ever once nobody tells any more.
async fn changed(paused: &mut watch::Receiver<bool>) {
    if paused.changed().await.is_err() {
        std::future::pending().await
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::places::Places;

    fn timeout(after: Duration) -> Timeout {
        let fault = quorate_session::Fault { code: 1, message: "late".into(), data: None };
        Timeout { after, fault, metrics: Metrics::new("0") }
    }

    #[tokio::test(start_paused = true)]
    async fn a_server_has_its_time_and_its_place_but_while_the_client_is_asked() {
        let places = Places::new(1);
        let mut terms =
            Terms { timeout: Some(timeout(Duration::from_secs(2))), place: places.enter(), ..Terms::default() };
        let (pause, paused) = watch::channel(false);
        let mut held = Held::new(&mut terms, paused);
        let pauses = async {
            tokio::time::sleep(Duration::from_secs(1)).await;
            assert!(places.enter().is_none());
            pause.send_replace(true);
            tokio::time::sleep(Duration::from_secs(3600)).await;
            let other = places.enter();
            assert!(other.is_some(), "others work while a person thinks");
            pause.send_replace(false);
            tokio::time::sleep(Duration::from_millis(900)).await;
            drop(other);
            assert!(places.enter().is_none(), "the server works again");
        };

        assert_eq!(held.wait(pauses).await, Ok(()));
        let asked = held.wait(std::future::pending::<()>());
        let started = Instant::now();
        assert_eq!(asked.await, Err(Late));
        assert_eq!(started.elapsed(), Duration::from_millis(100), "what was left of it");
    }

    #[test]
    fn what_a_call_is_held_to_reads_back_but_for_its_place() {
        let metrics = Metrics::new("0");
        let tool = Arc::new(Tool { upstream: "a".into(), exposed: "x_a".into() });
        let after = Duration::from_millis(1_500);
        let terms = Terms { timeout: Some(timeout(after)), tool: Some(Arc::clone(&tool)), ..Terms::default() };

        let restored = Terms::restored(&terms.kept().unwrap(), &metrics);

        assert_eq!((restored.tool, restored.timeout.as_ref().map(|timeout| timeout.after)), (Some(tool), Some(after)));
        let late = restored.timeout.unwrap().late();
        assert_eq!(late.message, "tool x_a did not answer within 1500ms, which is its time in this toolset");
        assert!(Terms::default().kept().is_none());
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
