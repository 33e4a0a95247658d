//! HTTP/1.1 on plain connections that hold next to nothing while they wait.
//!
//! An answer may be a stream that is silent for minutes, because a person is asked something, and there may be thousands
//! of those. A connection of the pool holds its buffers all that time, some 25 KB; one of these holds its socket. The
//! protocol is `ureq-proto`'s, which knows no sockets; here are the sockets, the limits, and what is kept for the next
//! request. Reading needs no task of its own: who polls the body reads the socket.
//!
//! ```text
//!   send ─▶ an idle connection, or a new one ─▶ head ─▶ Body ─▶ idle again, or closed
//! ```
//!
//! A request is sent a second time only when a connection that was idle did not take all of it: a server cannot act on
//! a part. Dropping a body that has not ended closes its connection.

use std::collections::{HashMap, VecDeque};
use std::io::{self, ErrorKind};
use std::mem::MaybeUninit;
use std::pin::{Pin, pin};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::{Buf, Bytes, BytesMut};
use http::header::{CONTENT_LENGTH, HeaderValue};
use http::uri::Authority;
use http::{Request, Response};
use http_body::Frame;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWriteExt, ReadBuf};
use tokio::net::TcpStream;
use tokio::net::tcp::ReadHalf;
use tokio::time::Instant;
use tower_service::Service;
use ureq_proto::BodyMode;
use ureq_proto::client::{Call, RecvBodyResult, RecvResponseResult, SendRequestResult, state};

use super::connect::{ConnectTimeout, Connector, Stream};
use super::error::{Error, HeadTooLarge, TooManyHeaders};

/// Bytes that are read at once; on the stack, so that nobody holds them while there is nothing to read.
const READ_BYTES: usize = 8 << 10;
/// Room for a request's head beyond its fields: request line, `host`, line ends.
const HEAD_SPARE_BYTES: usize = 512;
/// Bytes of a chunk's head, or of what follows the last chunk. Servers write a few; more is never waited for.
const CHUNK_HEAD_BYTES_MAX: usize = 8 << 10;

type Source = Box<dyn std::error::Error + Send + Sync>;

/// Sends requests to `http` URIs. Clones share the idle connections.
#[derive(Clone)]
pub(super) struct Client {
    connector: Connector,
    idle: Arc<Idle>,
    header_bytes_max: usize,
    headers_max: usize,
}

/// The body of an answer.
pub(super) struct Body {
    state: State,
    /// Where the connection goes when the body has ended.
    home: Home,
}

enum State {
    Open(Box<Open>),
    Ended,
}

struct Open {
    stream: TcpStream,
    call: Call<state::RecvBody>,
    /// What was read and cannot be decoded yet: the beginning of a chunk's head.
    input: BytesMut,
}

#[derive(Clone)]
struct Home {
    idle: Weak<Idle>,
    authority: Authority,
}

/// Connections that wait for a request, the longest idle first.
struct Idle {
    connections: Mutex<Connections>,
    timeout: Duration,
    per_host_max: usize,
}

#[derive(Default)]
struct Connections {
    hosts: HashMap<Authority, VecDeque<(Instant, TcpStream)>>,
    /// A task ends those that are idle for too long.
    is_swept: bool,
}

/// Why an exchange ended before the head of an answer.
enum Failed {
    /// The connection took a part of the request at most.
    NotTaken(io::Error),
    /// Nothing of it was written.
    Unsendable(Source),
    Broken(Source),
}

// === impl Client ===

impl Client {
    pub(super) fn new(connector: Connector, config: &super::Config, header_bytes_max: usize) -> Self {
        let (timeout, per_host_max) = (config.idle_timeout, config.idle_per_host_max);
        let idle = Idle { connections: Mutex::default(), timeout, per_host_max };
        Self { connector, idle: Arc::new(idle), header_bytes_max, headers_max: config.headers_max }
    }

    /// Sends a request and waits for the head of its answer.
    pub(super) async fn send(&self, head: Request<()>, body: Bytes) -> Result<Response<Body>, Error> {
        let authority = head.uri().authority().cloned();
        let authority = authority.ok_or_else(|| Error::Unsendable("the URI has no authority".into()))?;
        let home = Home { idle: Arc::downgrade(&self.idle), authority };
        if let Some(stream) = self.idle.take(&home.authority) {
            match self.exchange(stream, head.clone(), body.clone(), &home).await {
                Err(Failed::NotTaken(_)) => {}
                done => return done.map_err(Error::from),
            }
        }
        let stream = self.connect(head.uri().clone()).await?;
        self.exchange(stream, head, body, &home).await.map_err(Error::from)
    }

    async fn connect(&self, uri: http::Uri) -> Result<TcpStream, Error> {
        let opened = self.connector.clone().call(uri).await;
        match opened {
            Ok(Stream::Plain(stream)) => Ok(stream.into_inner()),
            Ok(Stream::Tls(_)) => Err(Error::Unsendable("the scheme is not http".into())),
            Err(error) => match error.downcast_ref() {
                Some(ConnectTimeout(timeout)) => Err(Error::ConnectTimeout { timeout: *timeout }),
                None => Err(Error::Connect(error)),
            },
        }
    }

    async fn exchange(
        &self,
        mut stream: TcpStream,
        mut head: Request<()>,
        body: Bytes,
        home: &Home,
    ) -> Result<Response<Body>, Failed> {
        if !body.is_empty() || head.method() == http::Method::POST {
            head.headers_mut().insert(CONTENT_LENGTH, HeaderValue::from(body.len()));
        }
        let (call, head) = write_head(head, body.len()).map_err(|error| Failed::Unsendable(error.into()))?;
        let (mut reader, mut writer) = stream.split();
        let (mut written, mut read) = (None, None);
        {
            let (mut request, mut reading) = (head.chain(body), pin!(self.read_head(&mut reader, call)));
            let mut writing = pin!(writer.write_all_buf(&mut request));
            // A server may answer before it has read everything: a success is of a request that it goes on to read, any
            // other status may be of one that it does not.
            while written.is_none() || read.is_none() {
                tokio::select! {
                    biased;
                    ended = &mut writing, if written.is_none() => written = Some(ended),
                    ended = &mut reading, if read.is_none() => {
                        let is_success = ended.as_ref().is_ok_and(|(response, ..)| response.status().is_success());
                        read = Some(ended);
                        if !is_success {
                            break;
                        }
                    }
                }
            }
        }
        let read = read.unwrap_or_else(|| Err(ended_early().into()));
        match (read, written) {
            (Ok((response, next, input)), Some(Ok(()))) => Ok(response.map(|()| Body::new(next, stream, input, home))),
            (Ok((response, next, input)), _) => {
                let nowhere = Home { idle: Weak::new(), ..home.clone() };
                Ok(response.map(|()| Body::new(next, stream, input, &nowhere)))
            }
            (Err(_), Some(Err(error))) => Err(Failed::NotTaken(error)),
            (Err(source), _) => Err(Failed::Broken(source)),
        }
    }

    async fn read_head(
        &self,
        stream: &mut ReadHalf<'_>,
        mut call: Call<state::RecvResponse>,
    ) -> Result<(Response<()>, RecvResponseResult, BytesMut), Source> {
        let mut input = BytesMut::new();
        loop {
            input.reserve(READ_BYTES);
            if stream.read_buf(&mut input).await? == 0 {
                return Err(ended_early().into());
            }
            loop {
                let (used, response) = call.try_response(&input, false)?;
                input.advance(used);
                if let Some(response) = response {
                    if response.headers().len() > self.headers_max {
                        return Err(TooManyHeaders { max: self.headers_max }.into());
                    }
                    let next = call.proceed().ok_or_else(ended_early)?;
                    // What is left is small, and must not hold the buffer.
                    return Ok((response, next, BytesMut::from(&input[..])));
                }
                if used == 0 {
                    break;
                }
            }
            if input.len() > self.header_bytes_max {
                return Err(HeadTooLarge { max: self.header_bytes_max }.into());
            }
        }
    }
}

impl From<Failed> for Error {
    fn from(failed: Failed) -> Self {
        match failed {
            Failed::NotTaken(error) => Self::Broken(error.into()),
            Failed::Unsendable(source) => Self::Unsendable(source),
            Failed::Broken(source) => Self::Broken(source),
        }
    }
}

// === impl Body ===

impl Body {
    fn new(next: RecvResponseResult, stream: TcpStream, input: BytesMut, home: &Home) -> Self {
        let state = match next {
            RecvResponseResult::RecvBody(mut call) => {
                // So that a chunk is not lost with a bad one after it.
                call.stop_on_chunk_boundary(true);
                State::Open(Box::new(Open { stream, call, input }))
            }
            RecvResponseResult::Cleanup(call) => {
                home.take_back(stream, call.must_close_connection() || !input.is_empty());
                State::Ended
            }
            RecvResponseResult::Redirect(call) => {
                home.take_back(stream, call.must_close_connection() || !input.is_empty());
                State::Ended
            }
        };
        Self { state, home: home.clone() }
    }

    /// Takes the connection back when the body has ended.
    fn end(&mut self) {
        let State::Open(open) = std::mem::replace(&mut self.state, State::Ended) else { return };
        let Open { stream, call, input } = *open;
        let must_close = match call.proceed() {
            Some(RecvBodyResult::Cleanup(call)) => call.must_close_connection(),
            Some(RecvBodyResult::Redirect(call)) => call.must_close_connection(),
            None => true,
        };
        self.home.take_back(stream, must_close || !input.is_empty());
    }
}

impl http_body::Body for Body {
    type Data = Bytes;
    type Error = Source;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Source>>> {
        loop {
            let State::Open(open) = &mut self.state else { return Poll::Ready(None) };
            let polled = match open.decode_rest() {
                Ok(data) if data.is_empty() && !open.is_ended() => ready!(open.poll_more(cx)),
                decoded => decoded.map(Some),
            };
            let is_ended = open.is_ended();
            match polled {
                Ok(Some(data)) => {
                    if is_ended {
                        self.end();
                    }
                    if !data.is_empty() {
                        return Poll::Ready(Some(Ok(Frame::data(data))));
                    }
                }
                Ok(None) => {
                    self.state = State::Ended;
                    return Poll::Ready(None);
                }
                Err(source) => {
                    self.state = State::Ended;
                    return Poll::Ready(Some(Err(source)));
                }
            }
        }
    }

    fn is_end_stream(&self) -> bool {
        matches!(self.state, State::Ended)
    }
}

// === impl Open ===

impl Open {
    fn is_close_delimited(&self) -> bool {
        matches!(self.call.body_mode(), BodyMode::CloseDelimited)
    }

    fn is_ended(&self) -> bool {
        self.call.can_proceed() && !self.is_close_delimited()
    }

    /// Reads what has arrived and decodes it; none at the end of a body that ends with its connection.
    fn poll_more(&mut self, cx: &mut Context<'_>) -> Poll<Result<Option<Bytes>, Source>> {
        let mut room = [MaybeUninit::uninit(); READ_BYTES];
        let mut read = ReadBuf::uninit(&mut room);
        ready!(Pin::new(&mut self.stream).poll_read(cx, &mut read))?;
        Poll::Ready(match read.filled() {
            [] if self.is_close_delimited() => Ok(None),
            [] => Err(ended_early().into()),
            filled => self.decode_with(filled).map(Some),
        })
    }

    /// Decodes what was left behind the last time.
    fn decode_rest(&mut self) -> Result<Bytes, Source> {
        if self.input.is_empty() { Ok(Bytes::new()) } else { self.decode_with(&[]) }
    }

    fn decode_with(&mut self, more: &[u8]) -> Result<Bytes, Source> {
        let (data, left) = if self.input.is_empty() {
            let (used, data) = decode(&mut self.call, more)?;
            (data, BytesMut::from(&more[used..]))
        } else {
            self.input.extend_from_slice(more);
            let (used, data) = decode(&mut self.call, &self.input)?;
            (data, BytesMut::from(&self.input[used..]))
        };
        if left.len() > CHUNK_HEAD_BYTES_MAX {
            return Err(io::Error::new(ErrorKind::InvalidData, "the head of a chunk is too long").into());
        }
        self.input = left;
        Ok(data)
    }
}

// === impl Home ===

impl Home {
    fn take_back(&self, stream: TcpStream, must_close: bool) {
        if let Some(idle) = self.idle.upgrade().filter(|_| !must_close) {
            idle.put(&self.authority, stream);
        }
    }
}

// === impl Idle ===

impl Idle {
    /// Takes the connection that was used last, if it is still open.
    fn take(&self, authority: &Authority) -> Option<TcpStream> {
        let mut connections = self.lock();
        let host = connections.hosts.get_mut(authority)?;
        while let Some((since, stream)) = host.pop_back() {
            if since.elapsed() >= self.timeout {
                host.clear(); // The others are older.
                break;
            }
            if is_quiet(&stream) {
                return Some(stream);
            }
        }
        None
    }

    fn put(self: Arc<Self>, authority: &Authority, stream: TcpStream) {
        let mut connections = self.lock();
        let host = connections.hosts.entry(authority.clone()).or_default();
        if host.len() >= self.per_host_max {
            host.pop_front();
        }
        host.push_back((Instant::now(), stream));
        if !std::mem::replace(&mut connections.is_swept, true) {
            tokio::spawn(sweep(Arc::downgrade(&self), self.timeout));
        }
    }

    /// Ends what is idle for too long; false when nothing is left.
    fn end_old(&self) -> bool {
        let mut connections = self.lock();
        connections.hosts.retain(|_, host| {
            while host.front().is_some_and(|(since, _)| since.elapsed() >= self.timeout) {
                host.pop_front();
            }
            !host.is_empty()
        });
        connections.is_swept = !connections.hosts.is_empty();
        connections.is_swept
    }

    fn lock(&self) -> MutexGuard<'_, Connections> {
        self.connections.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Ends idle connections in time, until there are none.
async fn sweep(idle: Weak<Idle>, timeout: Duration) {
    loop {
        tokio::time::sleep(timeout / 2).await;
        let goes_on = idle.upgrade().is_some_and(|idle| idle.end_old());
        if !goes_on {
            return;
        }
    }
}

/// Tells whether an idle connection is open, and its server has said nothing on its own.
fn is_quiet(stream: &TcpStream) -> bool {
    stream.try_read(&mut [0]).is_err_and(|error| error.kind() == ErrorKind::WouldBlock)
}

/// Writes the head of a request; returns what follows, and the head.
fn write_head(head: Request<()>, body_bytes: usize) -> Result<(Call<state::RecvResponse>, Bytes), ureq_proto::Error> {
    let fields = head.headers().iter().map(|(name, value)| name.as_str().len() + value.len() + 4);
    let size = fields.sum::<usize>() + head.uri().to_string().len() * 2 + HEAD_SPARE_BYTES;
    let mut call = Call::new(head)?.proceed();
    let (mut out, mut used) = (vec![0; size], 0);
    while !call.can_proceed() {
        match call.write(&mut out[used..]) {
            Ok(written) => used += written,
            Err(ureq_proto::Error::OutputOverflow) => out.resize(out.len() * 2, 0),
            Err(error) => return Err(error),
        }
    }
    out.truncate(used);
    let next = match call.proceed()? {
        Some(SendRequestResult::RecvResponse(call)) => Some(call),
        Some(SendRequestResult::SendBody(mut call)) => {
            call.consume_direct_write(body_bytes)?;
            call.proceed()
        }
        Some(SendRequestResult::Await100(_)) | None => None,
    };
    next.map(|next| (next, out.into())).ok_or(ureq_proto::Error::OutputOverflow)
}

/// Decodes a part of a body; returns how many bytes that took.
fn decode(call: &mut Call<state::RecvBody>, input: &[u8]) -> Result<(usize, Bytes), Source> {
    // What is decoded is never longer than what it was made of.
    let mut out = vec![0; input.len()];
    let (mut used, mut made) = (0, 0);
    while used < input.len() {
        let (took, gave) = match call.read(&input[used..], &mut out[made..]) {
            Ok(read) => read,
            // What came before it counts; the error comes again with the next look at the rest.
            Err(_) if made > 0 => break,
            Err(error) => return Err(error.into()),
        };
        used += took;
        made += gave;
        if took + gave == 0 {
            break;
        }
    }
    out.truncate(made);
    Ok((used, out.into()))
}

fn ended_early() -> io::Error {
    io::Error::new(ErrorKind::UnexpectedEof, "the connection ended before the answer did")
}
