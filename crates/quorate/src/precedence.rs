//! Consensus comes before requests: where cores are short, a heartbeat that waits behind requests costs all of them their owner.
//!
//! Threads that serve requests take a higher niceness than those of consensus, of the log and of the watch over the disk; that
//! needs no privilege. A thread has that of the thread that starts it, so that it is taken once the others have started.

use std::cell::Cell;
use std::sync::atomic::{AtomicBool, Ordering};

use tokio::runtime::{Builder, Runtime};

/// The niceness of threads that serve requests: where both want a core, those of consensus get three times their share.
const REQUESTS_NICE: i32 = 5;

/// Whether the threads that come first have started.
static HAS_FIRST: AtomicBool = AtomicBool::new(false);

thread_local! {
    static GIVES_WAY: Cell<bool> = const { Cell::new(false) };
}

/// Makes the runtime of a member of a cluster, which uses all cores.
///
/// # Errors
///
/// The system gives no threads.
pub(crate) fn runtime() -> std::io::Result<Runtime> {
    Builder::new_multi_thread().enable_all().on_thread_start(give_way).on_thread_park(give_way).build()
}

/// Says that the threads that come first have started: those of the runtime give way to them from now on.
pub(crate) fn begin() {
    HAS_FIRST.store(true, Ordering::Relaxed);
}

fn give_way() {
    if HAS_FIRST.load(Ordering::Relaxed)
        && !GIVES_WAY.replace(true)
        && let Err(error) = rustix::process::setpriority_process(None, REQUESTS_NICE)
    {
        tracing::warn!(%error, "a thread of requests cannot give way to consensus");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The niceness of the thread that asks.
    fn niceness() -> i32 {
        rustix::process::getpriority_process(None).unwrap()
    }

    #[test]
    fn threads_of_requests_give_way_once_those_of_consensus_have_started() {
        let runtime = runtime().unwrap();
        let own = || runtime.block_on(async { tokio::spawn(async { niceness() }).await.unwrap() });
        let (first, before) = (std::thread::spawn(niceness).join().unwrap(), own());
        assert_eq!(first, before);

        begin();
        // A thread that did not park yet has its old niceness.
        while own() != first + REQUESTS_NICE {
            std::thread::yield_now();
        }

        assert_eq!(std::thread::spawn(niceness).join().unwrap(), first, "others stay as they are");
    }
}
