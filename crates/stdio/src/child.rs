//! A running program: how it is started, told things, and ended.
//!
//! [`Child`] is a handle that is shared freely; the work is done by its attendant, a task, and by its guard, a
//! process. What flows in are messages, one line each; what flows out are [`Lines`] and, once, an [`Exit`].
//! It does not restart anything: who needs another child starts one.

use std::hash::{BuildHasher, RandomState};
use std::io;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use bytes::Bytes;
use tokio::net::unix::pipe;
use tokio::sync::watch;

use crate::attendant::{self, Attendant};
use crate::exit::Exit;
use crate::guard::{self, Guard, Launched, Order};
use crate::lines::Lines;
use crate::outgoing::{Outgoing, SendError};
use crate::program::{Folder, Program};
use crate::stderr::Stderr;

/// A running child. Clones share it; it is ended when the last one is dropped.
#[derive(Clone, Debug)]
pub struct Child {
    inner: Arc<Inner>,
    _ends: Arc<EndsWhenDropped>,
}

/// Sees a child end, and does not keep it alive. It may have something to say to it until then.
#[derive(Clone, Debug)]
pub struct Watch(Arc<Inner>);

/// A child could not be started: the system has no process, pipe or file descriptor left, or the arguments are too
/// long for it.
#[derive(Debug, thiserror::Error)]
#[error("no process can be started: {0}")]
pub struct StartError(#[source] io::Error);

/// What a child and its attendant share.
#[derive(Debug)]
pub(crate) struct Inner {
    pub(crate) outgoing: Outgoing,
    /// Whether it is being ended.
    pub(crate) ending: watch::Sender<bool>,
    /// Whether its user wanted that, and it was of use until then.
    pub(crate) asked: AtomicBool,
    pub(crate) exit: watch::Sender<Option<Arc<Exit>>>,
    guard: u32,
}

#[derive(Debug)]
struct EndsWhenDropped(Arc<Inner>);

// === impl Child ===

impl Child {
    /// Starts a program. Whether the program itself exists, and its folder, shows later: as its [`Exit`].
    ///
    /// # Errors
    /// [`StartError`] when there is no process for it.
    pub async fn start(program: &Arc<Program>, guard: &Guard) -> Result<(Self, Lines), StartError> {
        let (program, guard) = (Arc::clone(program), guard.clone());
        // A task of its own: whoever leaves meanwhile leaves a child behind that is ended, and no half of one.
        let started = tokio::spawn(async move {
            let for_thread = Arc::clone(&program);
            // Starting a process blocks until its `exec`: not on a thread of the runtime.
            let launched = tokio::task::spawn_blocking(move || launch(&for_thread, &guard)).await;
            let (launched, folder) = launched.map_err(io::Error::other).and_then(|launched| launched)?;
            Self::attended(&program, launched, folder)
        });
        started.await.map_err(io::Error::other).and_then(|started| started).map_err(StartError)
    }

    fn attended(program: &Arc<Program>, launched: Launched, folder: Option<PathBuf>) -> io::Result<(Self, Lines)> {
        let Launched { process, control, stdin, stdout, stderr } = launched;
        let limits = &program.limits;
        let registered = || -> io::Result<_> {
            control.set_nonblocking(true)?;
            let control = tokio::net::UnixStream::from_std(control)?;
            let stdin = pipe::Sender::from_owned_fd(stdin.into())?;
            let stdout = pipe::Receiver::from_owned_fd(stdout.into())?;
            let stderr = pipe::Receiver::from_owned_fd(stderr.into())?;
            Ok((control, stdin, stdout, stderr))
        };
        let (control, stdin, stdout, stderr) = match registered() {
            Ok(registered) => registered,
            Err(error) => {
                // Its socket is closed, at which the guard ends everything; it must be waited for all the same.
                let name = Arc::clone(&program.name);
                drop(tokio::task::spawn_blocking(move || attendant::clear(process, folder, &name)));
                return Err(error);
            }
        };
        let inner = Arc::new(Inner {
            outgoing: Outgoing::new(stdin, limits),
            ending: watch::Sender::new(false),
            asked: AtomicBool::new(false),
            exit: watch::Sender::new(None),
            guard: process.id(),
        });
        let attendant = Attendant {
            inner: Arc::clone(&inner),
            process,
            control,
            stderr: Stderr::new(stderr, Arc::clone(&program.name), limits),
            folder,
            program: Arc::clone(program),
        };
        tokio::spawn(attendant::run(attendant));
        let child = Self { _ends: Arc::new(EndsWhenDropped(Arc::clone(&inner))), inner };
        Ok((child, Lines::new(stdout, limits)))
    }

    /// Sends one message as a line; line ends inside of it become spaces.
    ///
    /// # Errors
    /// [`SendError::Stalled`] when the child does not read, [`SendError::Ended`] when it has ended.
    pub async fn send(&self, message: Bytes) -> Result<(), SendError> {
        self.inner.outgoing.send(message).await
    }

    /// Begins to end the child: its standard input is closed; after a grace it is killed, and all that it started.
    pub fn end(&self) {
        self.inner.end();
    }

    /// Sends one message as [`Child::send`] does, without waiting for room.
    ///
    /// # Errors
    /// As [`Child::send`]; a wait of no time is what a full queue stalls for.
    pub fn try_send(&self, message: Bytes) -> Result<(), SendError> {
        self.inner.outgoing.try_send(message)
    }

    /// Waits until nothing of the child is left, or its guard is late. After [`Child::end`] that takes at most
    /// [`crate::ENDING_MAX`].
    pub async fn exited(&self) -> Arc<Exit> {
        self.inner.exited().await
    }

    /// Returns a handle that sees the child end without keeping it alive.
    #[must_use]
    pub fn watch(&self) -> Watch {
        Watch(Arc::clone(&self.inner))
    }

    /// Tells whether the child can be sent messages, as far as has shown: it has not ended, nor closed its standard
    /// input, nor is it being ended.
    #[must_use]
    pub fn is_open(&self) -> bool {
        self.inner.outgoing.is_open()
    }

    /// Returns how the child ended, if it has.
    #[must_use]
    pub fn exit(&self) -> Option<Arc<Exit>> {
        self.inner.exit.borrow().clone()
    }

    /// Returns the process id of the child's guard, the root of all its processes.
    #[must_use]
    pub fn guard_id(&self) -> u32 {
        self.inner.guard
    }
}

// === impl Watch ===

impl Watch {
    /// As [`Child::try_send`].
    ///
    /// # Errors
    /// As [`Child::try_send`].
    pub fn try_send(&self, message: Bytes) -> Result<(), SendError> {
        self.0.outgoing.try_send(message)
    }

    /// As [`Child::end`], of a child that is of no use any more: that is not to have been asked to end.
    pub fn discard(&self) {
        self.0.discard();
    }

    /// As [`Child::exited`].
    pub async fn exited(&self) -> Arc<Exit> {
        self.0.exited().await
    }
}

// === impl Inner ===

impl Inner {
    async fn exited(&self) -> Arc<Exit> {
        let mut exits = self.exit.subscribe();
        // The attendant sets it before it goes, unless the runtime itself is shut down: then nobody waits for long.
        let exit = exits.wait_for(Option::is_some).await.ok().and_then(|exit| exit.clone());
        match exit {
            Some(exit) => exit,
            None => std::future::pending().await,
        }
    }

    fn end(&self) {
        // Before its input is closed: a program may be gone, and seen to be gone, before this thread gets on.
        let was_asked = self.asked.swap(true, Ordering::SeqCst);
        // Whoever gives up a child that has broken its input, or was discarded, has not ended it.
        if !self.outgoing.close() && !was_asked {
            self.asked.store(false, Ordering::SeqCst);
        }
        self.ending.send_replace(true);
    }

    fn discard(&self) {
        self.outgoing.close();
        self.ending.send_replace(true);
    }
}

impl Drop for EndsWhenDropped {
    fn drop(&mut self) {
        self.0.end();
    }
}

/// Starts the guard; blocks. Returns the folder that goes with the child, if it has one of its own.
fn launch(program: &Program, guard: &Guard) -> io::Result<(Launched, Option<PathBuf>)> {
    let (folder, is_private) = match &program.folder {
        Folder::At(folder) => (folder.clone(), false),
        Folder::Private => (new_folder(), true),
    };
    let order = Order {
        argv: program.argv.clone(),
        environment: program.environment.clone(),
        folder: folder.clone(),
        is_private,
        resources: program.resources,
    };
    let launched = guard::launch(guard, &program.name, &order)?;
    Ok((launched, is_private.then_some(folder)))
}

/// Names a folder that does not exist: the guard makes it, and fails if somebody else was faster.
fn new_folder() -> PathBuf {
    // The standard library's hashers are seeded at random, which is all that a name needs.
    let random = RandomState::new().hash_one(std::process::id());
    std::env::temp_dir().join(format!("quorate-{random:016x}"))
}
