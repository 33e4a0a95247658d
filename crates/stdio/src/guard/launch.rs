//! The node's half of a guard: its process, its control socket and the program's pipes.
//!
//! The program's standard input and output travel over the control socket beside the order (`SCM_RIGHTS`), so that
//! no file descriptor is ever left open for `exec` in a process with many threads, where another child could inherit
//! it. The standard error is the guard's own: what goes wrong in a guard is in the log like what its program says.

use std::io::{self, IoSlice, IoSliceMut, PipeReader, PipeWriter, Read, Write};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::os::unix::process::CommandExt;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use rustix::net::{
    RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SendAncillaryBuffer, SendAncillaryMessage, SendFlags,
    recvmsg, sendmsg,
};

use super::{ASKED_TO_GUARD, Guard, Order};

/// How long a guard may take to read its order. It reads at once; only a machine that swaps takes seconds.
const ORDER_TIMEOUT: Duration = Duration::from_secs(10);

/// A guard that has got its order.
pub(crate) struct Launched {
    /// The guard's process, to be waited for.
    pub(crate) process: Child,
    /// Ends when the guard ends; ends the guard when it is closed for writing.
    pub(crate) control: UnixStream,
    /// The program's standard input.
    pub(crate) stdin: PipeWriter,
    /// Its standard output.
    pub(crate) stdout: PipeReader,
    /// Its standard error, and the guard's.
    pub(crate) stderr: PipeReader,
}

/// Starts a guard and gives it its order. Blocks for a millisecond or two. `name` is for process lists.
pub(crate) fn launch(guard: &Guard, name: &str, order: &Order) -> io::Result<Launched> {
    let (stdin_end, stdin) = io::pipe()?;
    let (stdout, stdout_end) = io::pipe()?;
    let (stderr, stderr_end) = io::pipe()?;
    let (control, control_end) = UnixStream::pair()?;
    let mut command = Command::new(&guard.program);
    command
        .arg0("quorate-guard")
        .args([ASKED_TO_GUARD, name])
        .env_clear()
        .current_dir("/")
        // Of its own, so that Ctrl-C in a terminal reaches the node alone, which drains.
        .process_group(0)
        .stdin(OwnedFd::from(control_end))
        .stdout(Stdio::null())
        .stderr(stderr_end);
    let process = command.spawn()?;
    // Our copies of the guard's ends go with it: else its end would not show.
    drop(command);
    let mut launched = Launched { process, control, stdin, stdout, stderr };
    match send(&mut launched.control, [stdin_end.as_fd(), stdout_end.as_fd()], order) {
        Ok(()) => Ok(launched),
        Err(error) => {
            // The guard ends by itself when its socket closes; it must be waited for all the same.
            drop(launched.control);
            launched.process.wait()?;
            Err(error)
        }
    }
}

/// Sends the order's length with the descriptors, then the order.
fn send(control: &mut UnixStream, fds: [std::os::fd::BorrowedFd<'_>; 2], order: &Order) -> io::Result<()> {
    let too_long = || io::Error::new(io::ErrorKind::ArgumentListTooLong, "arguments and environment are too long");
    let bytes = order.encode().ok_or_else(too_long)?;
    let length = u32::try_from(bytes.len()).map_err(|_| too_long())?.to_be_bytes();
    control.set_write_timeout(Some(ORDER_TIMEOUT))?;
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(2))];
    let mut ancillary = SendAncillaryBuffer::new(&mut space);
    if !ancillary.push(SendAncillaryMessage::ScmRights(&fds)) {
        return Err(io::Error::other("the space for descriptors is too small"));
    }
    let sent = sendmsg(&*control, &[IoSlice::new(&length)], &mut ancillary, SendFlags::empty())?;
    control.write_all(&length[sent..])?;
    control.write_all(&bytes)
}

/// Receives what the node sends: the program's standard input and output, and the bytes of the order.
pub(super) fn receive(control: &mut UnixStream, bytes_max: usize) -> io::Result<([OwnedFd; 2], Vec<u8>)> {
    let mut length = [0; 4];
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(2))];
    let mut ancillary = RecvAncillaryBuffer::new(&mut space);
    let received = recvmsg(&*control, &mut [IoSliceMut::new(&mut length)], &mut ancillary, RecvFlags::empty())?.bytes;
    let mut fds = Vec::with_capacity(2);
    for message in ancillary.drain() {
        if let RecvAncillaryMessage::ScmRights(rights) = message {
            fds.extend(rights);
        }
    }
    let fds: [OwnedFd; 2] = fds.try_into().map_err(|_| io::Error::other("the order came without its pipes"))?;
    close_on_exec(&fds)?;
    control.read_exact(&mut length[received..])?;
    let length = u32::from_be_bytes(length) as usize;
    if length > bytes_max {
        return Err(io::Error::other("the order is too long"));
    }
    let mut bytes = vec![0; length];
    control.read_exact(&mut bytes)?;
    Ok((fds, bytes))
}

/// Not all systems have a flag of `recvmsg` for it; a guard has one thread, so that nothing is started in between.
fn close_on_exec(fds: &[OwnedFd; 2]) -> io::Result<()> {
    for fd in fds {
        rustix::io::fcntl_setfd(fd, rustix::io::FdFlags::CLOEXEC)?;
    }
    Ok(())
}
