//! One HTTP/1.1 request over a socket of the standard library: enough to ask a process whether it is ready.
//!
//! Not a client: one request, `Connection: close`, the whole answer read as text with a bound. Tests of the
//! protocol itself use real clients.

use std::{
    io::{Read, Write},
    net::{SocketAddr, TcpListener, TcpStream},
    time::Duration,
};

use anyhow::Context as _;

/// The largest answer that is read.
const ANSWER_BYTES_MAX: u64 = 4 * 1024 * 1024;

/// How long one request may take.
const TIMEOUT: Duration = Duration::from_secs(10);

/// An HTTP answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Answer {
    /// The status code.
    pub status: u16,
    /// The head, with the status line.
    pub head: String,
    /// The body; chunked bodies with their chunk sizes, as they came.
    pub body: String,
}

/// Sends `GET path` to `address`.
///
/// # Errors
///
/// No connection, no answer in time, or no HTTP.
pub fn get(address: SocketAddr, path: &str) -> anyhow::Result<Answer> {
    send(address, &format!("GET {path} HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n\r\n"))
}

/// Sends the bytes of one request and reads the answer to its end.
///
/// # Errors
///
/// No connection, no answer in time, or no HTTP.
pub fn send(address: SocketAddr, request: &str) -> anyhow::Result<Answer> {
    let mut socket =
        TcpStream::connect_timeout(&address, TIMEOUT).with_context(|| format!("cannot connect to {address}"))?;
    socket.set_read_timeout(Some(TIMEOUT))?;
    socket.write_all(request.as_bytes())?;
    let mut bytes = Vec::new();
    socket.take(ANSWER_BYTES_MAX).read_to_end(&mut bytes)?;
    parse(&String::from_utf8_lossy(&bytes)).with_context(|| format!("{address} does not speak HTTP"))
}

/// A TCP port of the loopback interface that nobody listens on now.
///
/// Another process may take it before the caller does; a caller that cannot pass port 0 has to live with that.
///
/// # Errors
///
/// No port is free.
pub fn free_port() -> anyhow::Result<u16> {
    let listener = TcpListener::bind(("127.0.0.1", 0)).context("no free port")?;
    Ok(listener.local_addr()?.port())
}

fn parse(text: &str) -> Option<Answer> {
    let (head, body) = text.split_once("\r\n\r\n")?;
    let status = head.strip_prefix("HTTP/1.")?.get(2..5)?.parse().ok()?;
    Some(Answer { status, head: head.to_owned(), body: body.to_owned() })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_has_status_head_and_body() {
        let answer = parse("HTTP/1.1 503 Service Unavailable\r\nx: y\r\n\r\nnot yet").expect("it is HTTP");

        assert_eq!((answer.status, answer.body.as_str()), (503, "not yet"));
        assert!(parse("SSH-2.0-x\r\n\r\n").is_none());
    }
}
