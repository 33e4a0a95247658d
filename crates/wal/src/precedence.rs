//! Consensus comes before requests: where cores are short, a heartbeat that waits behind requests costs all of them their owner.
//!
//! The threads of consensus, of the log and of the watch over both take a lower niceness than the others, where the system
//! lets them: to a process with `CAP_SYS_NICE`, or with a limit (`RLIMIT_NICE`) that goes so far. Giving the threads of
//! requests a higher one needs no leave, and is not done: whatever else runs on the machine interrupts them then, at a fifth
//! more CPU a request.

use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, Ordering};

use rustix::process::{getpriority_process, setpriority_process};

/// How much nicer others are: where both want a core, those that come first get three times the share of a thread of requests.
const NICER: i32 = 5;

/// Has the calling thread come before those that do not call this, as far as the system lets it; threads that it starts
/// do, too. Says once when it cannot, and tells whether it could.
pub fn take() -> bool {
    /// The niceness that is taken: a thread that was started by one that has it takes no more.
    static TAKEN: OnceLock<i32> = OnceLock::new();
    static IS_TOLD: AtomicBool = AtomicBool::new(false);
    let niceness = *TAKEN.get_or_init(|| getpriority_process(None).unwrap_or(0) - NICER);
    let result = setpriority_process(None, niceness);
    if let Err(error) = result
        && !IS_TOLD.swap(true, Ordering::Relaxed)
    {
        tracing::info!(
            %error,
            "consensus does not come before requests where cores are short: threads may not lower their niceness without \
             CAP_SYS_NICE"
        );
    }
    result.is_ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_thread_that_comes_first_is_less_nice_and_those_it_starts_are_no_less() {
        let niceness = || getpriority_process(None).unwrap();
        let before = niceness();
        let first = std::thread::spawn(move || {
            let could = take();
            let inherited = std::thread::spawn(move || (take(), niceness())).join().unwrap();
            (could, niceness(), inherited)
        });
        let (could, first, inherited) = first.join().unwrap();

        // A test may run where the system does not let it.
        assert_eq!(first, if could { before - NICER } else { before });
        assert_eq!(inherited, (could, first));
        assert_eq!(niceness(), before, "others stay as they are");
    }
}
