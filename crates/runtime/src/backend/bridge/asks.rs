//! The server's requests that wait for the client: from the id of each to the call that asked.
//!
//! A call registers what it asks before the client can hear of it, and takes it back by dropping
//! what it got. A response that nobody waits for (any more) is dropped. How many there are is
//! bounded by the session above, which refuses more than it allows with an error response.

use std::collections::HashMap;
use std::sync::{Arc, Mutex};

use quorate_jsonrpc::{Frame, Id, Kind};
use tokio::sync::mpsc;

use crate::backend::lock;

/// The requests of one leg that have no response.
#[derive(Default)]
pub(super) struct Asks {
    waiting: Mutex<HashMap<u64, mpsc::Sender<Frame>>>,
}

/// What one call waits for; dropping it takes the requests back.
pub(super) struct Waiting {
    asks: Arc<Asks>,
    ids: Vec<u64>,
    responses: mpsc::Receiver<Frame>,
}

// === impl Asks ===

impl Asks {
    /// Registers requests with these ids.
    pub(super) fn wait_for(self: &Arc<Self>, ids: Vec<u64>) -> Waiting {
        let (sender, responses) = mpsc::channel(ids.len().max(1));
        let mut waiting = lock(&self.waiting);
        waiting.extend(ids.iter().map(|id| (*id, sender.clone())));
        Waiting { asks: Arc::clone(self), ids, responses }
    }

    /// Hands a response to whoever waits for it.
    pub(super) fn deliver(&self, frame: Frame) {
        if !matches!(frame.kind(), Kind::Result | Kind::Error) {
            return;
        }
        let Some(sender) = frame.id().and_then(Id::as_u64).and_then(|id| lock(&self.waiting).remove(&id)) else {
            return;
        };
        // There is room for one response to each request; a call that has ended wants none.
        let _ended = sender.try_send(frame);
    }
}

// === impl Waiting ===

impl Waiting {
    /// Returns the next response.
    pub(super) async fn next(&mut self) -> Option<Frame> {
        self.responses.recv().await
    }
}

impl Drop for Waiting {
    fn drop(&mut self) {
        let mut waiting = lock(&self.asks.waiting);
        for id in &self.ids {
            waiting.remove(id);
        }
        if waiting.is_empty() {
            waiting.shrink_to_fit();
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
        let (mut one, mut other) = (asks.wait_for(vec![1, 2]), asks.wait_for(vec![3]));

        for id in [3, 1, 1, 9] {
            asks.deliver(response(id));
        }

        assert_eq!(one.next().await.and_then(|frame| frame.id().and_then(Id::as_u64)), Some(1));
        assert_eq!(other.next().await.and_then(|frame| frame.id().and_then(Id::as_u64)), Some(3));
        assert_eq!(lock(&asks.waiting).len(), 1);
        drop(one);
        assert!(lock(&asks.waiting).is_empty());
    }
}
