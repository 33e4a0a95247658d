//! Accepts sockets, and survives the moments when the process has none left.
//!
//! Errors of `accept` belong either to the connection that was about to be accepted (it is gone:
//! go on) or to the process (no file descriptor, no memory: wait, growing to a second, and report
//! it, instead of spinning).
//!
//! Sockets come with `TCP_NODELAY`: answers are written whole, and waiting for more of them costs
//! 40 ms on a client that delays its acknowledgements. And they notice a client that vanished
//! without a word (a laptop that sleeps): the few bytes of an event stream's comments never fill
//! a send buffer, and TCP alone would resend them for a quarter of an hour.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use socket2::{SockRef, TcpKeepalive};
use tokio::net::{TcpListener, TcpSocket, TcpStream};

use crate::observe::{Observer, limit};

/// Connections that wait in the kernel to be accepted: as many as Linux allows by default
/// (`net.core.somaxconn`), for bursts of reconnecting clients.
const BACKLOG: u32 = 4096;

/// Silence after which TCP probes the client, how often, and how often in vain.
const PROBE_AFTER: Duration = Duration::from_secs(60);
const PROBE_INTERVAL: Duration = Duration::from_secs(15);
const PROBES: u32 = 4;
/// How long sent bytes may stay unacknowledged. Above [`super::Limits::write_stall_timeout`]'s
/// default, which is about clients that are there and do not read.
#[cfg(target_os = "linux")]
const UNACKNOWLEDGED_MAX: Duration = Duration::from_secs(60);
#[cfg(target_os = "linux")]
const _: () = assert!(
    UNACKNOWLEDGED_MAX.as_secs() > super::DEFAULTS.write_stall_timeout.as_secs(),
    "a client that does not read is cut, and reported, by our own limit"
);

const PAUSE_MIN: Duration = Duration::from_millis(5);
const PAUSE_MAX: Duration = Duration::from_secs(1);

/// A listening socket.
pub struct Listener {
    socket: TcpListener,
    observer: Arc<dyn Observer>,
}

/// An address cannot be listened on.
#[derive(Debug, thiserror::Error)]
#[error("cannot listen on {address}")]
pub struct BindError {
    /// The address.
    pub address: SocketAddr,
    /// Why not.
    #[source]
    pub source: io::Error,
}

// === impl Listener ===

impl Listener {
    /// Listens on `address`; port 0 takes a free one.
    ///
    /// # Errors
    /// [`BindError`] with the system's reason, for example that the address is in use.
    pub fn bind(address: SocketAddr, observer: Arc<dyn Observer>) -> Result<Self, BindError> {
        let bind = || {
            let socket = if address.is_ipv4() { TcpSocket::new_v4()? } else { TcpSocket::new_v6()? };
            // Without it a restart would wait for the connections of the process before.
            socket.set_reuseaddr(true)?;
            socket.bind(address)?;
            socket.listen(BACKLOG)
        };
        match bind() {
            Ok(socket) => Ok(Self { socket, observer }),
            Err(source) => Err(BindError { address, source }),
        }
    }

    /// Returns the address, with the port that was taken.
    ///
    /// # Errors
    /// The system does not tell; it does for every socket that listens.
    pub fn local_address(&self) -> io::Result<SocketAddr> {
        self.socket.local_addr()
    }

    /// Waits for the next connection. Cancel-safe.
    pub async fn accept(&self) -> (TcpStream, SocketAddr) {
        let mut pause = PAUSE_MIN;
        loop {
            match self.socket.accept().await {
                Ok((stream, address)) => {
                    // Fails only for a socket that is closed already, which its first read tells.
                    let _ = set_options(&stream);
                    return (stream, address);
                }
                Err(error) if concerns_one_connection(&error) => {}
                Err(error) => {
                    self.observer.limit_hit(limit::OPEN_FILES);
                    tracing::warn!(%error, pause_ms = pause.as_millis() as u64, "cannot accept connections");
                    tokio::time::sleep(pause).await;
                    pause = (pause * 2).min(PAUSE_MAX);
                }
            }
        }
    }
}

fn set_options(stream: &TcpStream) -> io::Result<()> {
    stream.set_nodelay(true)?;
    let socket = SockRef::from(stream);
    let probes = TcpKeepalive::new().with_time(PROBE_AFTER).with_interval(PROBE_INTERVAL).with_retries(PROBES);
    socket.set_tcp_keepalive(&probes)?;
    #[cfg(target_os = "linux")]
    socket.set_tcp_user_timeout(Some(UNACKNOWLEDGED_MAX))?;
    Ok(())
}

fn concerns_one_connection(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::ConnectionAborted | io::ErrorKind::ConnectionReset | io::ErrorKind::Interrupted
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_taken_address_is_named() {
        let first = Listener::bind("127.0.0.1:0".parse().unwrap(), Arc::new(())).unwrap();
        let address = first.local_address().unwrap();
        let error = Listener::bind(address, Arc::new(())).err().unwrap();
        assert_eq!(error.to_string(), format!("cannot listen on {address}"));
        assert_eq!(error.source.kind(), io::ErrorKind::AddrInUse);
    }

    #[tokio::test]
    async fn accepted_sockets_do_not_delay_small_writes_and_notice_dead_clients() {
        let listener = Listener::bind("127.0.0.1:0".parse().unwrap(), Arc::new(())).unwrap();
        let client = TcpStream::connect(listener.local_address().unwrap()).await.unwrap();
        let (stream, address) = listener.accept().await;
        assert_eq!(address, client.local_addr().unwrap());
        assert!(stream.nodelay().unwrap());
        let socket = SockRef::from(&stream);
        assert_eq!(socket.tcp_keepalive_time().unwrap(), PROBE_AFTER);
        #[cfg(target_os = "linux")]
        assert_eq!(socket.tcp_user_timeout().unwrap(), Some(UNACKNOWLEDGED_MAX));
    }
}
