//! Exchanges: long streams of messages from one node to another, thousands at once, beside the one stream of consensus.
//!
//! The node that opens one dials the other when there is no connection yet; each exchange is a stream of HTTP/2 on it. Both
//! sides send messages and are held back by who does not read. An exchange ends in order, or it is known that it did not.
//!
//! ```text
//! Peers::exchange ─▶ dial: TCP, TLS, HTTP/2, Hello ═▶ serve: Hello ─▶ Opening, head ─▶ ExchangeHandler(Offer)
//!        ▼                                                                                    ▼ accept
//!     Exchange { Sending, Receiving } ◀════════════ messages ════════════▶ Exchange { Sending, Receiving }
//! ```
//!
//! **Invariants:** as for consensus, a peer is who its certificate names, and a member. Consensus has another connection, so
//! that it never waits behind exchanges. Who dies closes its sockets, which ends its exchanges at the other side at once.
//! HTTP/2 is `h2` itself and not hyper over it: there a stream cannot be reset while its body waits for the window, so that
//! who reads nothing would not hear that the other side has gone.

mod dial;
mod error;
mod halves;
mod line;
mod places;
mod serve;
mod socket;
mod stream;
mod wire;

use std::time::Duration;

use bytes::Bytes;
use quorate_types::NodeId;

use crate::Protocol;

pub use error::{Declined, Ended, ExchangeError, SendError};
pub use halves::{Exchange, Receiving, Sending};
pub use serve::Offer;

pub(crate) use dial::open;
pub(crate) use places::Sides;
pub(crate) use serve::{Handlers, serve};

/// Largest message: the largest body of a request that a listener can be configured to take (64 MiB) is one.
pub const EXCHANGE_BYTES_MAX: usize = 64 << 20;
/// Most exchanges that one node may have open at another: streams of 16,000 clients of one ingress whose sessions one other
/// node owns. With [`STREAM_WINDOW_BYTES`] each, they fit into [`CONNECTION_WINDOW_BYTES`].
pub const EXCHANGES_MAX: usize = 1 << 14;
/// What may be in flight on one exchange and what waits for who does not read it: the smallest that an idle network of
/// 1 ms fills with 64 MB/s, and 200 events of a usual size.
const STREAM_WINDOW_BYTES: u32 = 64 << 10;
/// The same for a whole connection: the most that HTTP/2 allows (RFC 9113 §6.9.1). All exchanges together may leave
/// 16,384 × 64 KiB = 1 GiB unread, and another GiB is left for those that are read: nobody is held back by another's window.
const CONNECTION_WINDOW_BYTES: u32 = (1 << 31) - 1;
/// What an exchange has encoded before the socket has room. As much as its window.
const SEND_BUFFER_BYTES: usize = STREAM_WINDOW_BYTES as usize;
/// What frames of less than 256 bytes may cost beside their bytes while they wait to be read: a thousand of them on each
/// exchange. A peer that leaves more there is cut off by `h2`; windows do not count it.
const SMALL_FRAMES_BYTES: usize = EXCHANGES_MAX * (256 << 10);
/// Headers of a request or an answer; ours have some hundreds of bytes, and a reason for a refusal of three times 1 KiB.
const HEADERS_BYTES_MAX: u32 = 16 << 10;
/// What messages that are larger than a window may take together while they are put together, on one connection: four of
/// the largest. Others wait, and are not read on meanwhile.
const ASSEMBLED_BYTES_MAX: usize = 4 * EXCHANGE_BYTES_MAX;
/// How long a connection stays without an exchange, at most twice: a dial costs two round trips and a signature.
pub(crate) const IDLE: Duration = Duration::from_secs(60);

const _: () = assert!(EXCHANGES_MAX * (STREAM_WINDOW_BYTES as usize) + (1 << 29) <= CONNECTION_WINDOW_BYTES as usize);

/// Takes the exchanges that peers open.
pub trait ExchangeHandler: Send + Sync + 'static {
    /// Takes an exchange whose first message is `head`, or refuses it. Must not block: it spawns what goes on with it. An
    /// offer that is dropped is refused, so that whoever opened it knows that nothing was done.
    fn exchange(&self, from: NodeId, protocol: Protocol, head: Bytes, offer: Offer);
}
