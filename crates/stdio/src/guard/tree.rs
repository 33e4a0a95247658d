//! Everything that a program has started: found, and signalled.
//!
//! On Linux the guard is a subreaper, and the kernel lists the children of each of its threads in
//! `/proc/PID/task/TID/children`; the walk costs what the program started and not what the machine runs. A kernel
//! without that file (`CONFIG_PROC_CHILDREN`) has its whole process table read instead. Both are snapshots: whoever
//! forks meanwhile is found by the next round, and the guard makes rounds until it has no child. Who forks faster than
//! rounds are made is stopped first: a process with a pending SIGSTOP starts no other one, so that only what was being
//! started at that moment is left to the next round.

use rustix::process::{Pid, Signal, kill_process};

/// Processes that one round signals at most: 65,536; what is beyond them has its turn in the next one.
#[cfg(target_os = "linux")]
const PROCESSES_MAX: usize = 1 << 16;
/// How often new processes are looked for before those that were found are killed: 32 times. A program that forks has
/// no new ones after two or three; one that starts its successor and ends may always have one.
#[cfg(target_os = "linux")]
const STOPS_MAX: usize = 32;

#[cfg(target_os = "linux")]
pub(super) fn adopt_orphans() -> std::io::Result<()> {
    Ok(rustix::process::set_child_subreaper(Some(rustix::process::getpid()))?)
}

#[cfg(not(target_os = "linux"))]
pub(super) fn adopt_orphans() -> std::io::Result<()> {
    Ok(())
}

/// Sends a signal to the program and to all that came of it.
#[cfg(target_os = "linux")]
pub(super) fn signal_all(_program: Pid, signal: Signal) {
    signal_each(&linux::all_below(), signal);
}

/// The killing of everything, round by round. Between rounds the guard has to reap: who ended makes each one longer.
#[derive(Default)]
pub(super) struct Hunt {
    #[cfg(target_os = "linux")]
    stopped: std::collections::HashSet<Pid>,
    #[cfg(target_os = "linux")]
    rounds: usize,
}

#[cfg(target_os = "linux")]
impl Hunt {
    /// Stops what is new, or kills all when nothing is. Returns whether it has killed; who is started meanwhile is left
    /// to the next round.
    pub(super) fn round(&mut self, _program: Pid) -> bool {
        let found = linux::all_below();
        let new: Vec<Pid> = found.iter().copied().filter(|pid| self.stopped.insert(*pid)).collect();
        self.rounds += 1;
        if !new.is_empty() && self.rounds < STOPS_MAX {
            signal_each(&new, Signal::STOP);
            return false;
        }
        signal_each(&found, Signal::KILL);
        *self = Self::default();
        true
    }
}

#[cfg(target_os = "linux")]
fn signal_each(pids: &[Pid], signal: Signal) {
    for pid in pids {
        // Who has ended since needs no signal. Its number is not another's yet: the guard has not reaped it, or its
        // parent is gone and the guard has not reaped it either.
        let _ended = kill_process(*pid, signal);
    }
}

/// Sends a signal to the program's process group, and to the program.
#[cfg(not(target_os = "linux"))]
pub(super) fn signal_all(program: Pid, signal: Signal) {
    // Whoever has ended needs no signal.
    let _ended = rustix::process::kill_process_group(program, signal);
    let _ended = kill_process(program, signal);
}

#[cfg(not(target_os = "linux"))]
impl Hunt {
    /// Kills the program's process group, and the program.
    pub(super) fn round(&mut self, program: Pid) -> bool {
        signal_all(program, Signal::KILL);
        true
    }
}

#[cfg(target_os = "linux")]
mod linux {
    use std::collections::HashMap;
    use std::fs;

    use super::{PROCESSES_MAX, Pid};

    /// Finds whatever came of this process.
    pub(super) fn all_below() -> Vec<Pid> {
        let myself = rustix::process::getpid();
        by_lists(myself).unwrap_or_else(|| by_table(myself))
    }

    /// Walks down from a process by the kernel's lists of children; none when the kernel makes no such lists.
    pub(super) fn by_lists(top: Pid) -> Option<Vec<Pid>> {
        let mut found = children(top)?;
        let mut next = 0;
        while let Some(pid) = found.get(next) {
            // A process that has ended has no list and no children.
            let below = children(*pid).unwrap_or_default();
            found.extend(below.into_iter().take(PROCESSES_MAX.saturating_sub(found.len())));
            next += 1;
        }
        Some(found)
    }

    /// Finds the same in the table of all processes.
    pub(super) fn by_table(top: Pid) -> Vec<Pid> {
        let mut of_parent: HashMap<i32, Vec<Pid>> = HashMap::new();
        for entry in fs::read_dir("/proc").into_iter().flatten().flatten() {
            let Some(pid) = entry.file_name().to_str().and_then(pid) else { continue };
            let Ok(stat) = fs::read_to_string(entry.path().join("stat")) else { continue };
            if let Some(parent) = parent(&stat) {
                of_parent.entry(parent).or_default().push(pid);
            }
        }
        let mut found = of_parent.remove(&top.as_raw_nonzero().get()).unwrap_or_default();
        let mut next = 0;
        while let Some(pid) = found.get(next) {
            // Removed, so that a table that changed while it was read makes no circle.
            let below = of_parent.remove(&pid.as_raw_nonzero().get()).unwrap_or_default();
            found.extend(below.into_iter().take(PROCESSES_MAX.saturating_sub(found.len())));
            next += 1;
        }
        found
    }

    fn children(of: Pid) -> Option<Vec<Pid>> {
        let threads = fs::read_dir(format!("/proc/{}/task", of.as_raw_nonzero())).ok()?;
        let mut found = Vec::new();
        let mut has_list = false;
        for thread in threads.flatten() {
            let Ok(list) = fs::read_to_string(thread.path().join("children")) else { continue };
            has_list = true;
            found.extend(list.split_ascii_whitespace().filter_map(pid));
        }
        has_list.then_some(found)
    }

    fn pid(text: &str) -> Option<Pid> {
        Pid::from_raw(text.parse().ok()?)
    }

    /// Reads the parent out of `/proc/PID/stat`: `PID (NAME) STATE PARENT …`, where a name may hold anything.
    fn parent(stat: &str) -> Option<i32> {
        let (_, after_name) = stat.rsplit_once(')')?;
        after_name.split_ascii_whitespace().nth(1)?.parse().ok()
    }

    #[cfg(test)]
    mod tests {
        use std::process::{Command, Stdio};

        use super::*;

        #[test]
        fn a_parent_is_read_behind_whatever_name() {
            assert_eq!(parent("12 (a b) S 34 5 6"), Some(34));
            assert_eq!(parent("12 (x) R 1 (y)) S 56 7"), Some(56));
            assert_eq!(parent("12 no name"), None);
        }

        #[test]
        fn the_lists_and_the_table_find_the_same_processes() {
            // The shell is a child, its `cat` a grandchild; both wait for the end of the pipe.
            let mut shell =
                Command::new("sh").args(["-c", "cat; :"]).stdin(Stdio::piped()).spawn().expect("a shell starts");
            let myself = rustix::process::getpid();
            let of_shell = Pid::from_child(&shell);
            let below = |found: Vec<Pid>| {
                let mut below: Vec<i32> = found.into_iter().map(|pid| pid.as_raw_nonzero().get()).collect();
                below.sort_unstable();
                below
            };
            let mut rounds = 0;
            while by_lists(of_shell).is_none_or(|found| found.is_empty()) && rounds < 1_000 {
                rounds += 1;
                std::thread::yield_now();
                std::thread::park_timeout(std::time::Duration::from_millis(5));
            }

            let by_lists_found = by_lists(of_shell).map(below).expect("this kernel makes the lists");
            assert_eq!(by_lists_found.len(), 1, "the shell has one child");
            assert_eq!(below(by_table(of_shell)), by_lists_found);
            assert!(by_table(myself).contains(&of_shell));

            drop(shell.stdin.take());
            shell.wait().expect("the shell ends");
        }
    }
}
