//! A raw HTTP/1.1 client: sends any bytes, reads status, headers and body, or a body's events one by one.
//!
//! One connection per exchange, closed when the answer is dropped: that is how a test leaves in mid-stream. Every
//! read has a deadline, and every body a bound.

use std::{
    io::{BufRead, BufReader, Read, Write},
    net::{SocketAddr, TcpStream},
};

use anyhow::{Context as _, bail, ensure};
use serde_json::Value;

use super::PATIENCE;

/// The largest body or event that a test expects.
const BODY_BYTES_MAX: u64 = 64 * 1024 * 1024;

/// An answer whose head has been read.
pub struct Answer {
    /// The HTTP status.
    pub status: u16,
    /// The headers, names in lower case.
    pub headers: Vec<(String, String)>,
    body: Body,
}

/// One server-sent event; comments are skipped.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Event {
    /// Its id.
    pub id: Option<String>,
    /// Its type.
    pub name: Option<String>,
    /// How long to wait before a reconnect, in milliseconds.
    pub retry: Option<u64>,
    /// Its lines of data.
    pub data: String,
}

/// A body as it is framed.
struct Body {
    source: BufReader<TcpStream>,
    framing: Framing,
    /// Bytes of the body that were read, and not yet taken.
    pending: Vec<u8>,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Framing {
    Length(u64),
    Chunked,
    UntilClose,
    Ended,
}

/// Sends `method path` with these headers and this body to `address`, with `Host` unless given.
pub fn send(
    address: SocketAddr,
    method: &str,
    path: &str,
    headers: &[(&str, &str)],
    body: &[u8],
) -> anyhow::Result<Answer> {
    let mut head = format!("{method} {path} HTTP/1.1\r\n");
    if !headers.iter().any(|(name, _)| name.eq_ignore_ascii_case("host")) {
        head.push_str(&format!("host: {address}\r\n"));
    }
    for (name, value) in headers {
        head.push_str(&format!("{name}: {value}\r\n"));
    }
    head.push_str(&format!("content-length: {}\r\n\r\n", body.len()));
    send_raw(address, &[head.as_bytes(), body].concat())
}

/// Sends these bytes and reads the head of the answer.
pub fn send_raw(address: SocketAddr, bytes: &[u8]) -> anyhow::Result<Answer> {
    let mut socket = connect(address)?;
    let mut reading = socket.try_clone()?;
    // A server may answer before it has read everything, and then stop reading: writing must not fail the test.
    let written = socket.write_all(bytes);
    match read_head(&mut reading) {
        Ok(answer) => Ok(answer),
        Err(error) => Err(match written {
            Ok(()) => error,
            Err(writing) => error.context(format!("and writing the request failed: {writing}")),
        }),
    }
}

/// A connection on which every read has a deadline.
pub fn connect(address: SocketAddr) -> anyhow::Result<TcpStream> {
    let socket = TcpStream::connect_timeout(&address, PATIENCE).with_context(|| format!("cannot connect {address}"))?;
    socket.set_read_timeout(Some(PATIENCE))?;
    socket.set_write_timeout(Some(PATIENCE))?;
    socket.set_nodelay(true)?;
    Ok(socket)
}

/// Reads the head of an answer from `socket`.
pub fn read_head(socket: &mut TcpStream) -> anyhow::Result<Answer> {
    let mut source = BufReader::new(socket.try_clone()?);
    let mut line = String::new();
    source.read_line(&mut line).context("no status line came")?;
    let status = line.strip_prefix("HTTP/1.1 ").and_then(|rest| rest.get(..3)).and_then(|code| code.parse().ok());
    let status = status.with_context(|| format!("no status line: {line:?}"))?;
    let mut headers = Vec::new();
    loop {
        line.clear();
        source.read_line(&mut line).context("the head did not end")?;
        let text = line.trim_end();
        if text.is_empty() {
            break;
        }
        let (name, value) = text.split_once(':').with_context(|| format!("no header: {text:?}"))?;
        headers.push((name.to_ascii_lowercase(), value.trim().to_owned()));
    }
    let find = |name: &str| headers.iter().find(|(known, _)| known == name).map(|(_, value)| value.as_str());
    let framing = match (find("transfer-encoding"), find("content-length")) {
        _ if status == 204 => Framing::Ended,
        (Some("chunked"), _) => Framing::Chunked,
        (_, Some(length)) => Framing::Length(length.parse().context("a content length is a number")?),
        _ => Framing::UntilClose,
    };
    Ok(Answer { status, headers, body: Body { source, framing, pending: Vec::new() } })
}

// === impl Answer ===

impl Answer {
    /// The value of a header.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(known, _)| known == name).map(|(_, value)| value.as_str())
    }

    /// Whether the body is an event stream.
    pub fn is_events(&self) -> bool {
        self.header("content-type").is_some_and(|kind| kind.starts_with("text/event-stream"))
    }

    /// The rest of the body as text.
    pub fn text(mut self) -> anyhow::Result<String> {
        while self.body.more()? {
            ensure!(self.body.pending.len() as u64 <= BODY_BYTES_MAX, "the body is larger than any test expects");
        }
        String::from_utf8(self.body.pending).context("the body is text")
    }

    /// The body as the JSON message that it is, or the one that answers in the event stream that it is.
    pub fn message(mut self) -> anyhow::Result<Value> {
        if !self.is_events() {
            let status = self.status;
            let text = self.text()?;
            return serde_json::from_str(&text).with_context(|| format!("{status} without JSON: {text:?}"));
        }
        loop {
            let message = self.next_message()?.context("the stream ended without an answer")?;
            if message.get("method").is_none() {
                return Ok(message);
            }
        }
    }

    /// The next event with data, as JSON; `None` at the end of the stream.
    pub fn next_message(&mut self) -> anyhow::Result<Option<Value>> {
        while let Some(event) = self.next_event()? {
            if !event.data.is_empty() {
                return Ok(Some(
                    serde_json::from_str(&event.data).with_context(|| format!("no JSON: {:?}", event.data))?,
                ));
            }
        }
        Ok(None)
    }

    /// The next event; `None` at the end of the stream.
    pub fn next_event(&mut self) -> anyhow::Result<Option<Event>> {
        let (mut event, mut is_empty) = (Event::default(), true);
        loop {
            let Some(line) = self.body.line()? else {
                ensure!(is_empty, "the stream ended in the middle of {event:?}");
                return Ok(None);
            };
            let (field, value) = line.split_once(':').unwrap_or((&line, ""));
            let value = value.strip_prefix(' ').unwrap_or(value);
            match field {
                "" if line.is_empty() && is_empty => continue,
                "" if line.is_empty() => return Ok(Some(event)),
                // A comment.
                "" => continue,
                "id" => event.id = Some(value.to_owned()),
                "event" => event.name = Some(value.to_owned()),
                "retry" => event.retry = value.parse().ok(),
                "data" if event.data.is_empty() => event.data = value.to_owned(),
                "data" => event.data.push_str(&format!("\n{value}")),
                _ => bail!("a field that no server of ours sends: {line:?}"),
            }
            is_empty = false;
        }
    }
}

// === impl Body ===

impl Body {
    /// Reads some more bytes into `pending`; false at the end.
    fn more(&mut self) -> anyhow::Result<bool> {
        match self.framing {
            Framing::Ended | Framing::Length(0) => return Ok(false),
            Framing::Length(left) => {
                let read = self.fill(left)?;
                ensure!(read > 0, "the connection broke {left} bytes before the end of the body");
                self.framing = Framing::Length(left - read);
            }
            Framing::UntilClose => return Ok(self.fill(64 * 1024)? > 0),
            Framing::Chunked => {
                let mut line = String::new();
                self.source.read_line(&mut line).context("no chunk came")?;
                let size = u64::from_str_radix(line.trim(), 16).with_context(|| format!("no chunk size: {line:?}"))?;
                let mut left = size;
                while left > 0 {
                    let read = self.fill(left)?;
                    ensure!(read > 0, "the connection broke in a chunk");
                    left -= read;
                }
                line.clear();
                self.source.read_line(&mut line)?;
                if size == 0 {
                    self.framing = Framing::Ended;
                    return Ok(false);
                }
            }
        }
        Ok(true)
    }

    fn fill(&mut self, max: u64) -> anyhow::Result<u64> {
        let mut part = vec![0; usize::try_from(max.min(64 * 1024))?];
        let read = self.source.read(&mut part).context("no more of the body came")?;
        self.pending.extend_from_slice(&part[..read]);
        Ok(read as u64)
    }

    /// One line without its end; `None` at the end of the body.
    fn line(&mut self) -> anyhow::Result<Option<String>> {
        loop {
            if let Some(end) = self.pending.iter().position(|byte| *byte == b'\n') {
                let line: Vec<u8> = self.pending.drain(..=end).collect();
                return Ok(Some(String::from_utf8(line)?.trim_end_matches(['\n', '\r']).to_owned()));
            }
            if !self.more()? {
                ensure!(self.pending.is_empty(), "the stream ended in the middle of a line");
                return Ok(None);
            }
        }
    }
}
