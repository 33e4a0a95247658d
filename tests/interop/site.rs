//! A web site on loopback with three pages, for the server that fetches: the test reaches out to nobody else.
//!
//! `/robots.txt` forbids `/private/`, which is there to be refused. One thread answers one request after the other,
//! each on a connection of its own; dropping the [`Site`] ends the thread.

use std::{
    io::{BufRead as _, BufReader, Read as _, Write as _},
    net::{SocketAddr, TcpListener, TcpStream},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    thread::{self, JoinHandle},
    time::Duration,
};

use anyhow::Context as _;

/// The largest head of a request.
const HEAD_BYTES_MAX: u64 = 64 * 1024;

/// How long a request may take to arrive and an answer to leave.
const PATIENCE: Duration = Duration::from_secs(10);

/// Paths, media types and bodies.
const PAGES: [(&str, &str, &str); 3] = [
    ("/robots.txt", "text/plain", "User-agent: *\nDisallow: /private/\n"),
    (
        "/page",
        "text/html",
        "<html><head><title>Gateways</title></head><body><article><h1>Gateways</h1>\
         <p>A gateway stands between agents and what they call.</p></article></body></html>",
    ),
    ("/private/page", "text/html", "<html><body><p>Not for robots.</p></body></html>"),
];

/// A running site.
#[derive(Debug)]
pub(crate) struct Site {
    address: SocketAddr,
    ends: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

// === impl Site ===

impl Site {
    /// Serves on a free port.
    ///
    /// # Errors
    ///
    /// No port can be listened on.
    pub(crate) fn start() -> anyhow::Result<Self> {
        let listener = TcpListener::bind(("127.0.0.1", 0)).context("no port for the site")?;
        let address = listener.local_addr()?;
        let ends = Arc::new(AtomicBool::new(false));
        let seen = Arc::clone(&ends);
        let thread = thread::spawn(move || {
            for socket in listener.incoming() {
                if seen.load(Ordering::Acquire) {
                    break;
                }
                // A client that went away needs no answer.
                let _ = socket.and_then(|socket| answer(&socket));
            }
        });
        Ok(Self { address, ends, thread: Some(thread) })
    }

    /// Its URL, without a slash at the end.
    pub(crate) fn url(&self) -> String {
        format!("http://{}", self.address)
    }
}

impl Drop for Site {
    fn drop(&mut self) {
        self.ends.store(true, Ordering::Release);
        // The connection wakes the thread; without one it would wait for the next request for ever.
        let woken = TcpStream::connect(self.address).is_ok();
        if let Some(thread) = self.thread.take().filter(|_| woken) {
            let _ = thread.join();
        }
    }
}

fn answer(socket: &TcpStream) -> std::io::Result<()> {
    socket.set_read_timeout(Some(PATIENCE))?;
    socket.set_write_timeout(Some(PATIENCE))?;
    let mut head = BufReader::new(socket.take(HEAD_BYTES_MAX)).lines();
    let line = head.next().transpose()?.unwrap_or_default();
    for line in head {
        if line?.is_empty() {
            break;
        }
    }
    let path = line.split(' ').nth(1).unwrap_or_default();
    let page = PAGES.iter().find(|(known, ..)| *known == path);
    let (status, kind, body) =
        page.map_or(("404 Not Found", "text/plain", ""), |(_, kind, body)| ("200 OK", *kind, *body));
    let length = body.len();
    let mut socket = socket;
    write!(
        socket,
        "HTTP/1.1 {status}\r\nContent-Type: {kind}; charset=utf-8\r\nContent-Length: {length}\r\nConnection: close\r\n\r\n{body}"
    )
}
