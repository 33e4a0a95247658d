//! What the kernel knows about a process tree: CPU time and resident memory, from `/proc`.
//!
//! CPU time includes children that ended, so that a gateway which hands work to helpers does not
//! look cheap. Linux only. `/proc/PID/stat` is described in proc_pid_stat(5).

use std::collections::HashMap;
use std::fs;

use anyhow::{Context, Result, bail};
use serde::Serialize;

/// Ticks per second of the times in `/proc`: `USER_HZ`, which is 100 on every architecture that
/// Rust has Linux for. The kernel scales them from the scheduler's exact time, so a tick is the
/// resolution of a reading, not of the accounting.
const TICKS_PER_SECOND: u64 = 100;

/// Places of the fields after the name, which may itself contain spaces and parentheses.
const PARENT: usize = 1;
const USER: usize = 11;
const SYSTEM: usize = 12;
const CHILDREN_USER: usize = 13;
const CHILDREN_SYSTEM: usize = 14;

/// CPU time since a process began, in milliseconds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize)]
pub(crate) struct Cpu {
    /// In the program.
    pub(crate) user_ms: f64,
    /// In the kernel on its behalf.
    pub(crate) system_ms: f64,
}

/// One process, as `/proc/PID/stat` has it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Stat {
    parent: u32,
    user: u64,
    system: u64,
}

// === impl Cpu ===

impl Cpu {
    /// Reads the CPU time of a process and all its descendants.
    ///
    /// # Errors
    /// When the process is gone.
    pub(crate) fn of_tree(root: u32) -> Result<Self> {
        let tree = tree(root)?;
        let (user, system) =
            tree.iter().fold((0, 0), |(user, system), (_, stat)| (user + stat.user, system + stat.system));
        Ok(Self { user_ms: of_ticks(user), system_ms: of_ticks(system) })
    }

    /// Reads the CPU time of a process alone, without its descendants.
    ///
    /// # Errors
    /// When the process is gone.
    pub(crate) fn of_process(pid: u32) -> Result<Self> {
        let text = fs::read_to_string(format!("/proc/{pid}/stat")).with_context(|| format!("process {pid}"))?;
        let stat = parse(&text).with_context(|| format!("process {pid} has an odd stat"))?;
        Ok(Self { user_ms: of_ticks(stat.user), system_ms: of_ticks(stat.system) })
    }

    /// Returns what was spent since an earlier reading, for each of `requests`.
    pub(crate) fn per_request_since(self, before: Self, requests: u64) -> Self {
        let share = 1.0 / requests as f64;
        Self {
            user_ms: (self.user_ms - before.user_ms) * share,
            system_ms: (self.system_ms - before.system_ms) * share,
        }
    }

    /// Returns both parts together.
    pub(crate) fn total_ms(self) -> f64 {
        self.user_ms + self.system_ms
    }
}

/// Reads the resident memory of a process and all its descendants, in bytes.
///
/// From `smaps_rollup`, which walks the page tables: the counters of `status` are kept per CPU
/// and may be off by hundreds of kilobytes.
///
/// # Errors
/// When a process is gone, or the kernel does not show its memory.
pub(crate) fn resident_bytes(root: u32) -> Result<u64> {
    tree(root)?.into_iter().map(|(pid, _)| memory(pid, "Rss:")).sum()
}

/// Reads the proportional memory of one process in bytes: what it shares with others counts in part.
///
/// # Errors
/// When the process is gone, or the kernel does not show its memory.
pub(crate) fn proportional_bytes(pid: u32) -> Result<u64> {
    memory(pid, "Pss:")
}

/// Returns the ids of a process and its descendants.
///
/// # Errors
/// When the process is gone.
pub(crate) fn tree_pids(root: u32) -> Result<Vec<u32>> {
    Ok(tree(root)?.into_iter().map(|(pid, _)| pid).collect())
}

fn memory(pid: u32, key: &str) -> Result<u64> {
    let path = format!("/proc/{pid}/smaps_rollup");
    let text = fs::read_to_string(&path).with_context(|| path.clone())?;
    let line = text.lines().find_map(|line| line.strip_prefix(key)).with_context(|| path.clone())?;
    let kilobytes: u64 = line.trim().trim_end_matches("kB").trim().parse().with_context(|| path.clone())?;
    Ok(kilobytes * 1024)
}

/// Returns a process and its descendants.
fn tree(root: u32) -> Result<Vec<(u32, Stat)>> {
    let mut all = HashMap::new();
    for entry in fs::read_dir("/proc").context("/proc")? {
        let Some(pid) = entry?.file_name().to_str().and_then(|name| name.parse::<u32>().ok()) else { continue };
        // Others may end while this looks at them.
        if let Some(stat) = fs::read_to_string(format!("/proc/{pid}/stat")).ok().and_then(|text| parse(&text)) {
            all.insert(pid, stat);
        }
    }
    let Some(stat) = all.get(&root) else { bail!("process {root} is gone") };
    let mut found = vec![(root, *stat)];
    let mut next = 0;
    // Ends: a process has one parent, so it is found once.
    while let Some((parent, _)) = found.get(next).copied() {
        found.extend(all.iter().filter(|(_, stat)| stat.parent == parent).map(|(pid, stat)| (*pid, *stat)));
        next += 1;
    }
    Ok(found)
}

fn parse(text: &str) -> Option<Stat> {
    let (_, fields) = text.rsplit_once(')')?;
    let fields: Vec<&str> = fields.split_ascii_whitespace().collect();
    let number = |place: usize| fields.get(place)?.parse::<u64>().ok();
    Some(Stat {
        parent: fields.get(PARENT)?.parse().ok()?,
        user: number(USER)? + number(CHILDREN_USER)?,
        system: number(SYSTEM)? + number(CHILDREN_SYSTEM)?,
    })
}

fn of_ticks(ticks: u64) -> f64 {
    ticks as f64 * 1000.0 / TICKS_PER_SECOND as f64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_with_parentheses_does_not_shift_the_fields() {
        let text = "42 (a) b (c)) S 7 42 42 0 -1 4194304 1 2 3 4 100 20 3 4 20 0 5 0 1 2 3";

        assert_eq!(parse(text), Some(Stat { parent: 7, user: 103, system: 24 }));
    }

    #[test]
    fn what_is_no_stat_is_not_read() {
        for text in ["", "1 (x", "1 (x) S", "1 (x) S a b c d e f g h i j k l m n o p"] {
            assert_eq!(parse(text), None, "{text:?}");
        }
    }

    #[test]
    fn this_process_has_memory_and_its_time_grows_with_work() {
        let pid = std::process::id();
        let before = Cpu::of_tree(pid).unwrap();
        assert!(resident_bytes(pid).unwrap() > 100 << 10);

        // Bounded by the time limit of the test runner, should the kernel not count.
        let mut sum = 0_u64;
        while Cpu::of_tree(pid).unwrap().total_ms() < before.total_ms() + 30.0 {
            sum = (0..100_000_u64).fold(sum, |sum, number| sum.wrapping_mul(31).wrapping_add(number));
        }
        assert_ne!(sum, 0);
    }

    #[test]
    fn a_process_that_is_not_there_is_an_error() {
        assert!(Cpu::of_tree(u32::MAX).is_err());
        assert!(resident_bytes(u32::MAX).is_err());
    }
}
