//! The server's requests that wait for the client: from the id of each to the call that asked.
//!
//! A call registers what it asks before the client can hear of it, and takes it back by dropping
//! what it got. A response that nobody waits for (any more) is dropped. How many there are is
//! bounded by the session above, which refuses more than it allows with an error response.
//!
//! Once closed, nothing is waited for any more: the session has forgotten what was asked, so that
//! no response can come.

use std::collections::HashMap;
use std::sync::{Arc, Mutex};

use quorate_jsonrpc::{Frame, Id, Kind};
use tokio::sync::mpsc;

use crate::backend::lock;

/// The requests of one leg that have no response.
#[derive(Default)]
pub(super) struct Asks {
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    waiting: HashMap<u64, mpsc::Sender<Frame>>,
    is_closed: bool,
}

/// What one call waits for; dropping it takes the requests back.
pub(super) struct Waiting {
    asks: Arc<Asks>,
    ids: Vec<u64>,
    responses: mpsc::Receiver<Frame>,
}

// === impl Asks ===

impl Asks {
    /// Registers requests with these ids; none once closed.
    pub(super) fn wait_for(self: &Arc<Self>, ids: Vec<u64>) -> Option<Waiting> {
        let (sender, responses) = mpsc::channel(ids.len().max(1));
        let mut state = lock(&self.state);
        if state.is_closed {
            return None;
        }
        state.waiting.extend(ids.iter().map(|id| (*id, sender.clone())));
        Some(Waiting { asks: Arc::clone(self), ids, responses })
    }

    /// Hands a response to whoever waits for it.
    pub(super) fn deliver(&self, frame: Frame) {
        if !matches!(frame.kind(), Kind::Result | Kind::Error) {
            return;
        }
        let Some(sender) = frame.id().and_then(Id::as_u64).and_then(|id| lock(&self.state).waiting.remove(&id)) else {
            return;
        };
        // There is room for one response to each request; a call that has ended wants none.
        let _ended = sender.try_send(frame);
    }

    /// Ends the wait of every call, now and from now on.
    pub(super) fn close(&self) {
        let mut state = lock(&self.state);
        state.is_closed = true;
        state.waiting = HashMap::new();
    }
}

// === impl Waiting ===

impl Waiting {
    /// Returns the next response; none once closed.
    pub(super) async fn next(&mut self) -> Option<Frame> {
        self.responses.recv().await
    }
}

impl Drop for Waiting {
    fn drop(&mut self) {
        let mut state = lock(&self.asks.state);
        for id in &self.ids {
            state.waiting.remove(id);
        }
        if state.waiting.is_empty() {
            state.waiting.shrink_to_fit();
        }
    }
}

#[cfg(test)]
mod tests {
    use quorate_jsonrpc::{Limits, build};

    use super::*;

    fn response(id: u64) -> Frame {
        Frame::parse(build::result(&Id::from(id), "{}"), &Limits::REQUEST).expect("a frame")
    }

    #[tokio::test]
    async fn each_response_reaches_the_call_that_asked_once() {
        let asks = Arc::new(Asks::default());
        let wait_for = |ids| asks.wait_for(ids).expect("not closed");
        let (mut one, mut other) = (wait_for(vec![1, 2]), wait_for(vec![3]));

        for id in [3, 1, 1, 9] {
            asks.deliver(response(id));
        }

        assert_eq!(one.next().await.and_then(|frame| frame.id().and_then(Id::as_u64)), Some(1));
        assert_eq!(other.next().await.and_then(|frame| frame.id().and_then(Id::as_u64)), Some(3));
        assert_eq!(lock(&asks.state).waiting.len(), 1);
        drop(one);
        assert!(lock(&asks.state).waiting.is_empty());
    }

    #[tokio::test]
    async fn a_closed_leg_waits_for_nothing() {
        let asks = Arc::new(Asks::default());
        let mut waiting = asks.wait_for(vec![1, 2]).expect("not closed");
        asks.deliver(response(1));

        asks.close();

        assert!(waiting.next().await.is_some(), "what has come is not lost");
        assert!(waiting.next().await.is_none());
        assert!(asks.wait_for(vec![3]).is_none());
        asks.deliver(response(2));
        assert!(lock(&asks.state).waiting.is_empty());
    }
}
