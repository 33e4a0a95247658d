//! Ports of nodes, which stay theirs while they are down.
//!
//! A system gives connections ports of its own choice. A node that was killed and comes back must not find its port with one
//! of them, so its ports are chosen where no system looks.

use std::{
    net::{SocketAddr, TcpListener},
    sync::{
        OnceLock,
        atomic::{AtomicU16, Ordering},
    },
};

use anyhow::{Context as _, bail};

/// The ports of nodes: below those that systems give to connections.
const PORT_MIN: u16 = 12_000;
const PORTS: u16 = 20_000;

/// An address of loopback that nothing listens on, and that no connection gets by itself: systems take the ports of those from
/// 32768 on, and would take one of a node that is down. Another process may listen there before it is used; the node says so
/// then.
///
/// # Errors
///
/// There is none.
pub fn free_address() -> anyhow::Result<SocketAddr> {
    // From somewhere else in each process, far from where the next one begins, and never twice in one.
    static NEXT: OnceLock<AtomicU16> = OnceLock::new();
    let of_process = std::process::id().wrapping_mul(7_919) % u32::from(PORTS);
    let of_process = u16::try_from(of_process).context("it is within the range")?;
    let next = NEXT.get_or_init(|| AtomicU16::new(of_process));
    for _ in 0..PORTS {
        let port = PORT_MIN + next.fetch_add(1, Ordering::Relaxed) % PORTS;
        if let Ok(listener) = TcpListener::bind(("127.0.0.1", port)) {
            return listener.local_addr().context("a bound socket has an address");
        }
    }
    bail!("no port of loopback from {PORT_MIN} on is free")
}
