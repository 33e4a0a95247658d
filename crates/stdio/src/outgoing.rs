//! Messages on their way into a child's standard input.
//!
//! Whoever sends writes, when the pipe takes it: no task is woken for the usual message. Who comes while another one
//! writes leaves its message in the queue, and the writer takes everything that waits with its next `writev`. When
//! the pipe is full, the child's attendant goes on as soon as it takes more.
//!
//! Invariant: at most `outgoing_bytes_max` bytes wait (one larger message may be there alone). A sender waits for
//! room as long as `outgoing_stall`; messages of one sender keep their order.

use std::collections::VecDeque;
use std::io::{self, ErrorKind, IoSlice};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use bytes::{Buf, Bytes};
use tokio::net::unix::pipe;
use tokio::sync::{Notify, Semaphore, TryAcquireError};
use tokio::time::timeout;

use crate::program::Limits;

/// Messages that one `writev` takes: 32, with their line ends 64 slices of the 1,024 that a system takes at least.
const BATCH_MAX: usize = 32;
const LINE_END: &[u8] = b"\n";

/// A message could not be handed to a child.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SendError {
    /// The child has ended, or closed its input, or was asked to end; nothing of the message was sent.
    #[error("the process has ended")]
    Ended,
    /// It has read nothing for as long as a sender waits; nothing of the message was sent.
    #[error("the process did not read its input for {after:?}")]
    Stalled {
        /// How long the sender waited.
        after: Duration,
    },
}

/// The way into one child.
#[derive(Debug)]
pub(crate) struct Outgoing {
    state: Mutex<State>,
    room: Semaphore,
    bytes_max: usize,
    stall: Duration,
    blocked: Notify,
}

#[derive(Debug)]
struct State {
    /// None when it is closed.
    pipe: Option<Arc<pipe::Sender>>,
    queue: VecDeque<Bytes>,
    /// Messages that were ever queued, and those of them that are written.
    queued: u64,
    sent: u64,
    /// Bytes of the first message and its line end that are written already.
    written: usize,
    /// The first message of which nothing was written, once the pipe is broken.
    unsent: Option<u64>,
    writer: Writer,
}

/// Who writes what is in the queue.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Writer {
    Nobody,
    /// A sender, right now.
    Sender,
    /// The attendant, as soon as the pipe takes more.
    Attendant,
}

enum Wrote {
    All,
    Blocked,
    Broken,
}

// === impl Outgoing ===

impl Outgoing {
    pub(crate) fn new(pipe: pipe::Sender, limits: &Limits) -> Self {
        let bytes_max = limits.outgoing_bytes_max.clamp(1, Semaphore::MAX_PERMITS.min(u32::MAX as usize));
        Self {
            state: Mutex::new(State {
                pipe: Some(Arc::new(pipe)),
                queue: VecDeque::new(),
                queued: 0,
                sent: 0,
                written: 0,
                unsent: None,
                writer: Writer::Nobody,
            }),
            room: Semaphore::new(bytes_max),
            bytes_max,
            stall: limits.outgoing_stall,
            blocked: Notify::new(),
        }
    }

    /// Sends one message, waiting for room among those that wait.
    pub(crate) async fn send(&self, message: Bytes) -> Result<(), SendError> {
        let message = on_one_line(message);
        if let Ok(permit) = self.room.try_acquire_many(self.weight(&message)) {
            permit.forget();
            return self.push(message);
        }
        match timeout(self.stall, self.room.acquire_many(self.weight(&message))).await {
            Ok(Ok(permit)) => permit.forget(),
            Ok(Err(_closed)) => return Err(SendError::Ended),
            Err(_) => return Err(SendError::Stalled { after: self.stall }),
        }
        self.push(message)
    }

    /// Sends one message if there is room for it.
    pub(crate) fn try_send(&self, message: Bytes) -> Result<(), SendError> {
        let message = on_one_line(message);
        match self.room.try_acquire_many(self.weight(&message)) {
            Ok(permit) => permit.forget(),
            Err(TryAcquireError::Closed) => return Err(SendError::Ended),
            Err(TryAcquireError::NoPermits) => return Err(SendError::Stalled { after: Duration::ZERO }),
        }
        self.push(message)
    }

    /// Queues a message that has its room, and writes unless another one does.
    fn push(&self, message: Bytes) -> Result<(), SendError> {
        let number = {
            let mut state = self.lock();
            if state.pipe.is_none() {
                return Err(SendError::Ended);
            }
            let number = state.queued;
            state.queued += 1;
            state.queue.push_back(message);
            if state.writer != Writer::Nobody {
                return Ok(());
            }
            state.writer = Writer::Sender;
            number
        };
        self.write();
        // Where a part of it was written, the child may have taken it.
        let is_unsent = self.lock().unsent.is_some_and(|first| number >= first);
        if is_unsent { Err(SendError::Ended) } else { Ok(()) }
    }

    /// Writes for as long as the pipe was full; never returns. Dropping the future loses nothing.
    pub(crate) async fn attend(&self) -> std::convert::Infallible {
        loop {
            let pipe = {
                let state = self.lock();
                state.pipe.clone().filter(|_| state.writer == Writer::Attendant)
            };
            match pipe {
                Some(pipe) => {
                    // A broken pipe shows when it is written to.
                    let _either = pipe.writable().await;
                    self.write();
                }
                None => self.blocked.notified().await,
            }
        }
    }

    /// Closes the child's standard input; what waits is dropped, because a child that ends reads no more. Returns
    /// whether it was open until now.
    pub(crate) fn close(&self) -> bool {
        let mut state = self.lock();
        let was_open = state.pipe.take().is_some();
        state.queue = VecDeque::new();
        self.room.close();
        was_open
    }

    /// Tells whether it is not closed, as far as that has shown.
    pub(crate) fn is_open(&self) -> bool {
        !self.room.is_closed()
    }

    /// Writes the queue until it is empty or the pipe is full. The caller is the writer.
    fn write(&self) {
        loop {
            let mut state = self.lock();
            let Some(pipe) = state.pipe.clone().filter(|_| !state.queue.is_empty()) else {
                state.writer = Writer::Nobody;
                if state.queue.is_empty() {
                    state.queue.shrink_to(BATCH_MAX);
                }
                return;
            };
            let mut batch = std::mem::take(&mut state.queue);
            let (mut written, waited) = (state.written, batch.len());
            drop(state);

            let wrote = self.write_batch(&pipe, &mut batch, &mut written);

            let mut state = self.lock();
            state.written = written;
            state.sent += (waited - batch.len()) as u64;
            batch.append(&mut state.queue);
            state.queue = batch;
            match wrote {
                Wrote::All => {}
                Wrote::Blocked => {
                    state.writer = Writer::Attendant;
                    drop(state);
                    self.blocked.notify_one();
                    return;
                }
                Wrote::Broken => {
                    state.writer = Writer::Nobody;
                    state.unsent = Some(state.sent + u64::from(written > 0));
                    drop(state);
                    self.close();
                    return;
                }
            }
        }
    }

    fn write_batch(&self, pipe: &pipe::Sender, batch: &mut VecDeque<Bytes>, written: &mut usize) -> Wrote {
        while !batch.is_empty() {
            match write_some(pipe, batch, *written) {
                Ok(count) => *written += count,
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) if error.kind() == ErrorKind::WouldBlock => return Wrote::Blocked,
                Err(_) => return Wrote::Broken,
            }
            while let Some(first) = batch.front().filter(|first| *written > first.len()) {
                *written -= first.len() + LINE_END.len();
                self.room.add_permits(self.weight(first) as usize);
                batch.pop_front();
            }
        }
        Wrote::All
    }

    fn weight(&self, message: &Bytes) -> u32 {
        u32::try_from(message.len().clamp(1, self.bytes_max)).unwrap_or(u32::MAX)
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        // No panic happens under this lock; a poisoned one would still hold consistent state.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Writes the first messages, less what is written of the first one, with one system call.
fn write_some(pipe: &pipe::Sender, batch: &VecDeque<Bytes>, written: usize) -> io::Result<usize> {
    let mut slices = [IoSlice::new(&[]); 2 * BATCH_MAX];
    let mut count = 0;
    for message in batch.iter().take(BATCH_MAX) {
        slices[count] = IoSlice::new(message);
        slices[count + 1] = IoSlice::new(LINE_END);
        count += 2;
    }
    let mut rest = &mut slices[..count];
    IoSlice::advance_slices(&mut rest, written);
    pipe.try_write_vectored(rest)
}

/// Takes line ends out of a message: between JSON's tokens they are as good as spaces, and nowhere else allowed.
fn on_one_line(message: Bytes) -> Bytes {
    if memchr::memchr2(b'\n', b'\r', message.chunk()).is_none() {
        return message;
    }
    message.iter().map(|byte| if matches!(byte, b'\n' | b'\r') { b' ' } else { *byte }).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::program::DEFAULTS;

    fn outgoing(limits: Limits) -> (Outgoing, pipe::Receiver) {
        let (sender, receiver) = pipe::pipe().expect("a pipe");
        (Outgoing::new(sender, &limits), receiver)
    }

    async fn read(receiver: &mut pipe::Receiver, bytes: usize) -> Vec<u8> {
        let mut read = vec![0; bytes];
        tokio::io::AsyncReadExt::read_exact(receiver, &mut read).await.expect("the bytes come");
        read
    }

    #[tokio::test]
    async fn messages_are_lines_whatever_line_ends_they_have_inside() {
        let (outgoing, mut receiver) = outgoing(DEFAULTS);
        let write = async {
            outgoing.send(Bytes::from_static(b"{\r\n\"a\":1}")).await.expect("it is sent");
            outgoing.send(Bytes::from_static(b"{}")).await.expect("it is sent");
        };
        let read = async {
            tokio::select! {
                read = read(&mut receiver, 13) => read,
                _ = outgoing.attend() => unreachable!("it never returns"),
            }
        };
        let ((), read) = tokio::join!(write, read);
        assert_eq!(String::from_utf8(read).expect("text"), "{  \"a\":1}\n{}\n");
    }

    #[tokio::test]
    async fn what_the_pipe_does_not_take_follows_in_order_when_it_is_read() {
        let (outgoing, mut receiver) = outgoing(DEFAULTS);
        let message = |index: usize| Bytes::from(format!("{{\"index\":{index},\"pad\":\"{}\"}}", "x".repeat(999)));
        for index in 0..300 {
            outgoing.send(message(index)).await.expect("there is room");
        }
        let expected: Vec<u8> = (0..300).flat_map(|index| [message(index).to_vec(), b"\n".to_vec()].concat()).collect();
        let read = tokio::select! {
            read = read(&mut receiver, expected.len()) => read,
            _ = outgoing.attend() => unreachable!("it never returns"),
        };
        assert!(read == expected, "every message once, in order");
        assert_eq!(outgoing.room.available_permits(), DEFAULTS.outgoing_bytes_max);
    }

    #[tokio::test(start_paused = true)]
    async fn a_child_that_never_reads_is_an_error_after_a_while() {
        let limits = Limits { outgoing_bytes_max: 1_000, ..DEFAULTS };
        let (outgoing, _receiver) = outgoing(limits);
        let large = Bytes::from(vec![b'x'; 100_000]);
        outgoing.send(large).await.expect("one larger message may be there alone");
        let started = tokio::time::Instant::now();

        let refused = outgoing.send(Bytes::from_static(b"{}")).await;

        assert_eq!(refused, Err(SendError::Stalled { after: limits.outgoing_stall }));
        assert_eq!(started.elapsed(), limits.outgoing_stall);
    }

    #[tokio::test]
    async fn a_closed_pipe_ends_who_waits_and_who_comes() {
        let limits = Limits { outgoing_bytes_max: 1_000, ..DEFAULTS };
        let (outgoing, receiver) = outgoing(limits);
        outgoing.send(Bytes::from(vec![b'x'; 100_000])).await.expect("there is room");
        let (waiting, ()) = tokio::join!(outgoing.send(Bytes::from_static(b"{}")), async {
            drop(receiver);
            tokio::select! {
                biased;
                _ = outgoing.attend() => unreachable!("it never returns"),
                () = outgoing_closed(&outgoing) => {}
            }
        });
        assert_eq!(waiting, Err(SendError::Ended));
        assert_eq!(outgoing.send(Bytes::from_static(b"{}")).await, Err(SendError::Ended));
    }

    #[tokio::test]
    async fn a_message_of_which_a_broken_pipe_took_nothing_is_not_sent() {
        let (outgoing, mut receiver) = outgoing(DEFAULTS);
        outgoing.send(Bytes::from_static(b"{}")).await.expect("it is sent");
        tokio::select! {
            read = read(&mut receiver, 3) => assert_eq!(read, b"{}\n"),
            _ = outgoing.attend() => unreachable!("it never returns"),
        }
        drop(receiver);

        assert!(outgoing.is_open(), "it does not show before something is written");
        assert_eq!(outgoing.send(Bytes::from_static(b"{}")).await, Err(SendError::Ended));
        assert!(!outgoing.is_open());
    }

    async fn outgoing_closed(outgoing: &Outgoing) {
        while outgoing.is_open() {
            tokio::task::yield_now().await;
        }
    }
}
