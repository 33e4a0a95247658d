//! The network between the nodes of a cluster on one machine: every byte between two of them goes through here, and can be
//! held up or delayed, each way on its own.
//!
//! A node dials from an address of its own of 127/8, so that its proxies know who calls, and is dialed at the address of its
//! proxy. What is cut is held, not lost: TCP would send it again, so a healed link goes on where it stood. What is dropped
//! ends, as when the kernel of a dead machine's neighbour gives up. No privileges are needed, and nothing of this touches
//! the machine's own network.

use std::{
    collections::HashMap,
    io,
    net::{IpAddr, Ipv4Addr, SocketAddr},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use anyhow::{Context as _, ensure};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{
        TcpListener, TcpStream,
        tcp::{OwnedReadHalf, OwnedWriteHalf},
    },
    runtime::Runtime,
    sync::{mpsc, watch},
    task::JoinHandle,
    time::Instant,
};

/// Nodes of a network: as many as fit behind the numbers below.
const NODES_MAX: usize = 99;

/// Bytes that are read at once.
const CHUNK_BYTES: usize = 64 * 1024;

/// Chunks that are under way in one direction of one connection: 4 MiB, about what a fast link with 50 ms holds.
const CHUNKS_MAX: usize = 64;

/// A node of the network, from 0.
pub type Place = usize;

/// The network of a cluster.
#[derive(Debug)]
pub struct Net {
    links: Arc<Links>,
    ports: Vec<Port>,
    /// The proxies that are up.
    proxies: HashMap<Place, JoinHandle<()>>,
    // Ends the proxies when it is dropped.
    runtime: Runtime,
}

/// Where a node is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Port {
    /// Where it listens, and from where it dials.
    pub listen: SocketAddr,
    /// Where others dial it.
    pub advertise: SocketAddr,
}

/// How one direction between two nodes is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Link {
    cut: bool,
    delay: Duration,
    /// Grows when open connections are to end.
    drops: u64,
}

/// All directions; one that is not listed is fine.
#[derive(Debug, Default)]
struct Links {
    links: Mutex<HashMap<(Place, Place), watch::Sender<Link>>>,
}

// === impl Net ===

impl Net {
    /// Makes a network of so many nodes, with a free port for each.
    ///
    /// # Errors
    ///
    /// There are too many, or the machine gives no addresses.
    pub fn new(nodes: usize) -> anyhow::Result<Self> {
        ensure!((1..=NODES_MAX).contains(&nodes), "a network has 1 to {NODES_MAX} nodes, not {nodes}");
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(1)
            .thread_name("net")
            .enable_all()
            .build()
            .context("cannot start the network's runtime")?;
        let mut net = Self { links: Arc::default(), ports: Vec::new(), proxies: HashMap::new(), runtime };
        for _ in 0..nodes {
            net.add()?;
        }
        Ok(net)
    }

    /// Adds a node.
    ///
    /// # Errors
    ///
    /// There are too many, or the machine gives no addresses.
    pub fn add(&mut self) -> anyhow::Result<Place> {
        let place = self.ports.len();
        ensure!(place < NODES_MAX, "a network has at most {NODES_MAX} nodes");
        let [listen, advertise] = [0, 1].map(|side| {
            let host = host(side, place);
            free_port(host).map(|port| SocketAddr::new(host.into(), port))
        });
        self.ports.push(Port { listen: listen?, advertise: advertise? });
        self.up(place)?;
        Ok(place)
    }

    /// Takes calls for a node. It is so from the beginning, and until [`Self::down`].
    ///
    /// # Errors
    ///
    /// The machine does not give the address again.
    pub fn up(&mut self, place: Place) -> anyhow::Result<()> {
        if self.proxies.contains_key(&place) {
            return Ok(());
        }
        let Port { listen, advertise } = self.ports[place];
        let bound = self.runtime.block_on(TcpListener::bind(advertise));
        let proxy = bound.with_context(|| format!("cannot listen on {advertise}"))?;
        let accepts = self.runtime.spawn(accept(proxy, place, listen, Arc::clone(&self.links)));
        self.proxies.insert(place, accepts);
        Ok(())
    }

    /// Refuses calls for a node, as the kernel does for a process that is gone. Open connections are not touched.
    pub fn down(&mut self, place: Place) {
        if let Some(accepts) = self.proxies.remove(&place) {
            accepts.abort();
            // The address is free once the task is gone.
            let _ = self.runtime.block_on(accepts);
        }
    }

    /// Where a node is.
    ///
    /// # Panics
    ///
    /// There is none at this place.
    #[must_use]
    pub fn port(&self, place: Place) -> Port {
        self.ports[place]
    }

    /// How many nodes there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.ports.len()
    }

    /// Whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.ports.is_empty()
    }

    /// Holds up everything that goes from one node to another; the other way stays as it is.
    pub fn cut_one_way(&self, from: Place, to: Place) {
        self.links.change(from, to, |link| link.cut = true);
    }

    /// Holds up everything between two nodes.
    pub fn cut(&self, one: Place, other: Place) {
        self.cut_one_way(one, other);
        self.cut_one_way(other, one);
    }

    /// Holds up everything from and to a node.
    pub fn isolate(&self, place: Place) {
        (0..self.len()).filter(|other| *other != place).for_each(|other| self.cut(place, other));
    }

    /// Lets everything pass again, at once: what was held up first.
    pub fn heal(&self) {
        self.links.change_all(|link| {
            link.cut = false;
            link.delay = Duration::ZERO;
        });
    }

    /// Delays everything between two nodes, each way by this much.
    pub fn delay(&self, one: Place, other: Place, by: Duration) {
        self.links.change(one, other, |link| link.delay = by);
        self.links.change(other, one, |link| link.delay = by);
    }

    /// Ends the open connections between two nodes; new ones can be made.
    pub fn drop_connections(&self, one: Place, other: Place) {
        self.links.change(one, other, |link| link.drops += 1);
        self.links.change(other, one, |link| link.drops += 1);
    }
}

// === impl Links ===

impl Links {
    fn lock(&self) -> MutexGuard<'_, HashMap<(Place, Place), watch::Sender<Link>>> {
        self.links.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn watch(&self, from: Place, to: Place) -> watch::Receiver<Link> {
        self.lock().entry((from, to)).or_default().subscribe()
    }

    fn change(&self, from: Place, to: Place, change: impl FnOnce(&mut Link)) {
        self.lock().entry((from, to)).or_default().send_modify(change);
    }

    fn change_all(&self, change: impl Fn(&mut Link)) {
        self.lock().values().for_each(|link| link.send_modify(&change));
    }
}

/// The address of a node's sockets (`side` 0) or of its proxy (`side` 1).
fn host(side: u8, place: Place) -> Ipv4Addr {
    Ipv4Addr::new(127, 0, side, u8::try_from(place + 10).expect("there are at most 99 nodes"))
}

/// The node whose sockets have this address.
fn place_of(address: IpAddr) -> Option<Place> {
    match address {
        IpAddr::V4(address) => match address.octets() {
            [127, 0, 0, host] => usize::from(host).checked_sub(10),
            _ => None,
        },
        IpAddr::V6(_) => None,
    }
}

/// A port that is free now; the address is the node's alone, so that nobody else takes it.
fn free_port(host: Ipv4Addr) -> anyhow::Result<u16> {
    let probe = std::net::TcpListener::bind((host, 0)).with_context(|| format!("no port on {host}"))?;
    Ok(probe.local_addr()?.port())
}

/// Accepts those who dial a node. One that does not say who it is by its address is nobody's, and its connection ends.
async fn accept(proxy: TcpListener, to: Place, target: SocketAddr, links: Arc<Links>) {
    loop {
        let Ok((caller, address)) = proxy.accept().await else { continue };
        let Some(from) = place_of(address.ip()) else { continue };
        let (there, back) = (links.watch(from, to), links.watch(to, from));
        tokio::spawn(async move {
            // A node that refuses is told to the caller by the end of the connection.
            drop(connect(caller, target, there, back).await);
        });
    }
}

async fn connect(
    caller: TcpStream,
    target: SocketAddr,
    there: watch::Receiver<Link>,
    back: watch::Receiver<Link>,
) -> io::Result<()> {
    let called = TcpStream::connect(target).await?;
    caller.set_nodelay(true)?;
    called.set_nodelay(true)?;
    let ((caller_reads, caller_writes), (called_reads, called_writes)) = (caller.into_split(), called.into_split());
    tokio::select! {
        () = carry(caller_reads, called_writes, there) => {}
        () = carry(called_reads, caller_writes, back) => {}
    }
    Ok(())
}

/// Carries one direction of a connection until one of its ends is gone, or it is dropped.
async fn carry(mut from: OwnedReadHalf, to: OwnedWriteHalf, mut link: watch::Receiver<Link>) {
    let drops = link.borrow_and_update().drops;
    let (chunks, under_way) = mpsc::channel(CHUNKS_MAX);
    let read = async {
        loop {
            let mut chunk = vec![0; CHUNK_BYTES];
            match from.read(&mut chunk).await {
                Ok(bytes @ 1..) => {
                    chunk.truncate(bytes);
                    if chunks.send((Instant::now(), chunk)).await.is_err() {
                        return;
                    }
                }
                Ok(0) | Err(_) => return,
            }
        }
    };
    let mut watched = link.clone();
    let dropped = async { drop(watched.wait_for(|link| link.drops != drops).await) };
    tokio::select! {
        () = read => {}
        () = deliver(under_way, to, link) => {}
        () = dropped => {}
    }
}

async fn deliver(
    mut chunks: mpsc::Receiver<(Instant, Vec<u8>)>,
    mut to: OwnedWriteHalf,
    mut link: watch::Receiver<Link>,
) {
    while let Some((read, chunk)) = chunks.recv().await {
        let delay = link.borrow().delay;
        tokio::time::sleep_until(read + delay).await;
        if link.wait_for(|link| !link.cut).await.is_err() || to.write_all(&chunk).await.is_err() {
            return;
        }
    }
}

#[cfg(test)]
mod tests {
    use std::{
        io::{Read as _, Write as _},
        net::{TcpListener, TcpStream},
        thread,
    };

    use super::*;

    /// Long enough for what comes, short enough for what must not.
    const MOMENT: Duration = Duration::from_millis(200);
    const LONG: Duration = Duration::from_secs(20);

    /// Answers each byte with the next one.
    fn serve(port: Port) {
        let listener = TcpListener::bind(port.listen).expect("the port is free");
        thread::spawn(move || {
            for stream in listener.incoming() {
                let mut stream = stream.expect("somebody calls");
                thread::spawn(move || {
                    let mut byte = [0];
                    while stream.read_exact(&mut byte).is_ok() && stream.write_all(&[byte[0] + 1]).is_ok() {}
                });
            }
        });
    }

    /// Dials from a node's address.
    fn dial(net: &Net, from: Place, to: Place) -> anyhow::Result<TcpStream> {
        let socket = net.runtime.block_on(async {
            let socket = tokio::net::TcpSocket::new_v4()?;
            socket.bind(SocketAddr::new(net.port(from).listen.ip(), 0))?;
            socket.connect(net.port(to).advertise).await
        })?;
        let stream = socket.into_std()?;
        stream.set_nonblocking(false)?;
        Ok(stream)
    }

    fn ask(stream: &mut TcpStream, within: Duration) -> io::Result<u8> {
        stream.write_all(&[7])?;
        hear(stream, within)
    }

    fn hear(stream: &mut TcpStream, within: Duration) -> io::Result<u8> {
        stream.set_read_timeout(Some(within))?;
        let mut byte = [0];
        stream.read_exact(&mut byte).map(|()| byte[0])
    }

    #[test]
    fn what_is_cut_comes_when_it_is_healed() -> anyhow::Result<()> {
        let net = Net::new(2)?;
        serve(net.port(1));
        let mut stream = dial(&net, 0, 1)?;
        assert_eq!(ask(&mut stream, LONG)?, 8);

        // The question arrives and the answer does not.
        net.cut_one_way(1, 0);
        assert!(ask(&mut stream, MOMENT).is_err());
        net.heal();

        assert_eq!(hear(&mut stream, LONG)?, 8);
        Ok(())
    }

    #[test]
    fn an_isolated_node_is_cut_from_all_and_the_others_are_not() -> anyhow::Result<()> {
        let net = Net::new(3)?;
        serve(net.port(1));
        let (mut from_0, mut from_2) = (dial(&net, 0, 1)?, dial(&net, 2, 1)?);

        net.isolate(0);

        assert!(ask(&mut from_0, MOMENT).is_err());
        assert_eq!(ask(&mut from_2, LONG)?, 8);
        Ok(())
    }

    #[test]
    fn what_is_delayed_comes_later() -> anyhow::Result<()> {
        let net = Net::new(2)?;
        serve(net.port(1));
        let mut stream = dial(&net, 0, 1)?;

        net.delay(0, 1, MOMENT);
        let asked = std::time::Instant::now();

        assert_eq!(ask(&mut stream, LONG)?, 8);
        assert!(asked.elapsed() >= 2 * MOMENT);
        Ok(())
    }

    #[test]
    fn dropped_connections_end_and_new_ones_can_be_made() -> anyhow::Result<()> {
        let net = Net::new(2)?;
        serve(net.port(1));
        let mut stream = dial(&net, 0, 1)?;
        assert_eq!(ask(&mut stream, LONG)?, 8);

        net.drop_connections(0, 1);

        assert!(hear(&mut stream, LONG).is_err_and(|error| error.kind() == io::ErrorKind::UnexpectedEof));
        assert_eq!(ask(&mut dial(&net, 0, 1)?, LONG)?, 8);
        Ok(())
    }

    #[test]
    fn a_node_that_is_down_refuses_and_is_there_again_when_it_is_up() -> anyhow::Result<()> {
        let mut net = Net::new(2)?;
        serve(net.port(1));

        net.down(1);
        let refused = dial(&net, 0, 1).expect_err("nobody listens");
        net.up(1)?;

        let kind = refused.downcast_ref::<io::Error>().map(io::Error::kind);
        assert_eq!(kind, Some(io::ErrorKind::ConnectionRefused));
        assert_eq!(ask(&mut dial(&net, 0, 1)?, LONG)?, 8);
        Ok(())
    }
}
