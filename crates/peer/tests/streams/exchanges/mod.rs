//! Exchanges over real sockets: `carrying` is about messages and who holds back whom, `ends` about how exchanges end,
//! `refusals` about those that are not taken, `cost` measures.

mod carrying;
mod cost;
mod ends;
mod refusals;

use std::sync::Arc;

use bytes::Bytes;
use quorate_peer::{Exchange, ExchangeError, ExchangeHandler, NodeId, Offer, Protocol};
use tokio::sync::mpsc;

use super::world::{Authority, Node};

/// An exchange that a node took.
pub(super) struct Taken {
    pub(super) from: NodeId,
    pub(super) head: Bytes,
    pub(super) exchange: Exchange,
}

/// Takes what it is offered, unless its head says otherwise.
struct Relay(mpsc::Sender<Taken>);

impl ExchangeHandler for Relay {
    fn exchange(&self, from: NodeId, protocol: Protocol, head: Bytes, offer: Offer) {
        assert_eq!(protocol, Protocol::RELAY);
        match &*head {
            b"refuse" => offer.refuse("not the owner"),
            b"drop" => drop(offer),
            b"panic" => panic!("a handler that is broken"),
            _ => {
                // Given up while it was offered: there is nothing to take.
                if let Ok(exchange) = offer.accept() {
                    let _ = self.0.try_send(Taken { from, head, exchange });
                }
            }
        }
    }
}

/// Makes a node take exchanges.
pub(super) fn serve(node: &Node) -> mpsc::Receiver<Taken> {
    let (sender, taken) = mpsc::channel(20_000);
    let _inside = node.runtime().enter();
    node.peers.serve_exchanges(Protocol::RELAY, Arc::new(Relay(sender)));
    taken
}

/// Opens an exchange, on the runtime of who opens it.
pub(super) async fn open(from: &Node, to: NodeId, head: impl Into<Bytes>) -> Result<Exchange, ExchangeError> {
    let (peers, head) = (from.peers.clone(), head.into());
    from.runtime().spawn(async move { peers.exchange(to, Protocol::RELAY, head).await }).await.unwrap()
}

/// Opens an exchange that is taken; returns both ends.
pub(super) async fn pair(from: &Node, to: NodeId, taken: &mut mpsc::Receiver<Taken>) -> (Exchange, Exchange) {
    let opened = open(from, to, "head").await.unwrap();
    (opened, taken.recv().await.unwrap().exchange)
}

/// Starts two nodes that know each other, of which the second takes exchanges.
pub(super) async fn two(authority: &Authority) -> (Node, Node, mpsc::Receiver<Taken>) {
    let mut nodes = super::world::cluster(authority, 2).await.into_iter();
    let (one, two) = (nodes.next().unwrap(), nodes.next().unwrap());
    let taken = serve(&two);
    (one, two, taken)
}

/// A message that tells which it is.
pub(super) fn event(number: u32) -> Bytes {
    let mut event = number.to_be_bytes().to_vec();
    event.resize(300, b'.');
    event.into()
}
