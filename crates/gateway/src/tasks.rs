//! Tasks of tool servers: the ids that leave the node, and who began what.
//!
//! A task's id goes out sealed with all that decides whether it may be followed: who began it, through which toolset, at
//! which server, and with which tool. So any node can route it, nobody else can use it, it means nothing on another
//! toolset, and policy decides on the tool whenever the task is asked about. The same task always has the same text.
//! Servers list the tasks of everybody who uses our credential, and tell of them: [`Owners`] knows which are whose.
//! Spec: 2025-11-25 `basic/utilities/tasks`; SEP-2663.

use std::collections::{HashMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use quorate_runtime::session::Tool;
use quorate_types::seal::{Purpose, SEALED_BYTES_MAX};
use quorate_types::{PrincipalDigest, ResourceName, Sealer};

/// The longest task id of a backend that is handed on, in bytes: the sealed text has to fit into
/// a header line.
pub const TASK_ID_BYTES_MAX: usize = 1024;
/// The longest names of a tool whose tasks are handed on, both together, in bytes: for the same reason. Names of tools have
/// at most 128 characters (2025-11-25, SEP-986).
pub const TOOL_BYTES_MAX: usize = 1024;
/// Tasks whose owners are known: beyond it the oldest is forgotten, and is in no list any more. One takes about 300 bytes.
const OWNED_MAX: usize = 100_000;

/// The form of the sealed bytes.
const FORM: u8 = 2;
/// Form, principal, and the lengths of four names.
const HEAD_BYTES: usize = 1 + 16 + 4 * 2;

// The longest names of all kinds, sealed (version, nonce, tag) and in base64, are still opened again.
const _: () = assert!(
    (HEAD_BYTES + 2 * quorate_types::name::NAME_BYTES_MAX + TOOL_BYTES_MAX + TASK_ID_BYTES_MAX + 41) * 4 / 3
        < SEALED_BYTES_MAX
);

/// A task of a tool server.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Task {
    /// The server.
    pub server: ResourceName,
    /// The tool whose call began it.
    pub tool: Arc<Tool>,
    /// Its id there.
    pub id: String,
}

/// Who may use a task's id, and where.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Holder<'a> {
    /// Who began the task.
    pub caller: PrincipalDigest,
    /// The toolset through which it was begun.
    pub toolset: &'a ResourceName,
}

// === impl Holder ===

impl Holder<'_> {
    /// Seals the id of a task for its holder; none where the names are longer than those of any tool.
    #[must_use]
    pub fn seal(&self, sealer: &Sealer, task: &Task) -> Option<String> {
        let Task { server, tool, id } = task;
        if id.len() > TASK_ID_BYTES_MAX || tool.upstream.len() + tool.exposed.len() > TOOL_BYTES_MAX {
            return None;
        }
        let names = [self.toolset.as_str(), server.as_str(), &tool.upstream, &tool.exposed];
        let mut plaintext =
            Vec::with_capacity(HEAD_BYTES + names.iter().map(|name| name.len()).sum::<usize>() + id.len());
        plaintext.push(FORM);
        plaintext.extend_from_slice(&self.caller.0);
        for name in names {
            let length = u16::try_from(name.len()).expect("names are bounded above");
            plaintext.extend_from_slice(&length.to_be_bytes());
            plaintext.extend_from_slice(name.as_bytes());
        }
        plaintext.extend_from_slice(id.as_bytes());
        Some(sealer.seal_stable(Purpose::Task, &plaintext))
    }

    /// Opens the id of a task that was sealed for this holder.
    #[must_use]
    pub fn open(&self, sealer: &Sealer, text: &str) -> Option<Task> {
        let plaintext = sealer.open(Purpose::Task, text).ok()?;
        let (&form, rest) = plaintext.split_first()?;
        let (owner, mut rest) = rest.split_at_checked(16)?;
        if form != FORM || owner != self.caller.0 {
            return None;
        }
        let mut name = || {
            let (length, after) = rest.split_first_chunk()?;
            let (name, after) = after.split_at_checked(usize::from(u16::from_be_bytes(*length)))?;
            rest = after;
            std::str::from_utf8(name).ok()
        };
        let (toolset, server, upstream, exposed) = (name()?, name()?, name()?, name()?);
        if toolset != self.toolset.as_str() {
            return None;
        }
        let tool = Arc::new(Tool { upstream: upstream.into(), exposed: exposed.into() });
        Some(Task { server: ResourceName::new(server).ok()?, tool, id: std::str::from_utf8(rest).ok()?.to_owned() })
    }
}

/// Who began which task, as far as this node saw it begin, or be asked about by who began it.
#[derive(Debug, Default)]
pub struct Owners {
    known: Mutex<Known>,
}

#[derive(Debug, Default)]
struct Known {
    owners: HashMap<Key, Owner>,
    oldest: VecDeque<Key>,
}

/// The server, and the task's id there.
type Key = (ResourceName, Box<str>);

#[derive(Debug)]
struct Owner {
    caller: PrincipalDigest,
    toolset: ResourceName,
    tool: Arc<Tool>,
}

// === impl Owners ===

impl Owners {
    /// Notes that a task is its holder's; who began it first stays its owner, whatever its server says to others.
    pub(crate) fn note(&self, holder: Holder<'_>, task: &Task) {
        let mut known = self.lock();
        let key = (task.server.clone(), Box::from(task.id.as_str()));
        let owner = Owner { caller: holder.caller, toolset: holder.toolset.clone(), tool: Arc::clone(&task.tool) };
        if let Some(present) = known.owners.get_mut(&key) {
            if present.caller == holder.caller {
                *present = owner;
            }
            return;
        }
        if known.oldest.len() >= OWNED_MAX
            && let Some(oldest) = known.oldest.pop_front()
        {
            known.owners.remove(&oldest);
        }
        known.oldest.push_back(key.clone());
        known.owners.insert(key, owner);
    }

    /// Returns the task of a server's id, if it is known to be this holder's.
    pub(crate) fn task(&self, holder: Holder<'_>, server: &ResourceName, id: &str) -> Option<Task> {
        let known = self.lock();
        let owner = known.owners.get(&(server.clone(), Box::from(id)))?;
        if owner.caller != holder.caller || owner.toolset != *holder.toolset {
            return None;
        }
        Some(Task { server: server.clone(), tool: Arc::clone(&owner.tool), id: id.to_owned() })
    }

    fn lock(&self) -> MutexGuard<'_, Known> {
        // What somebody panicked over still has only whole entries.
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const MINE: PrincipalDigest = PrincipalDigest([1; 16]);
    const OTHER: PrincipalDigest = PrincipalDigest([2; 16]);

    fn name(name: &str) -> ResourceName {
        ResourceName::new(name).expect("a valid name")
    }

    fn task(tool: &str, id: &str) -> Task {
        let tool = Arc::new(Tool { upstream: tool.into(), exposed: format!("jobs__{tool}").into() });
        Task { server: name("jobs"), tool, id: id.to_owned() }
    }

    #[test]
    fn a_task_belongs_to_whoever_began_it_first_and_to_the_toolset_it_was_begun_through() {
        let (owners, toolset, elsewhere) = (Owners::default(), name("tools"), name("others"));
        let mine = Holder { caller: MINE, toolset: &toolset };
        let other = Holder { caller: OTHER, toolset: &toolset };

        owners.note(mine, &task("run", "t1"));
        owners.note(other, &task("walk", "t1"));

        assert_eq!(owners.task(mine, &name("jobs"), "t1"), Some(task("run", "t1")));
        assert_eq!(owners.task(other, &name("jobs"), "t1"), None);
        assert_eq!(owners.task(Holder { toolset: &elsewhere, ..mine }, &name("jobs"), "t1"), None);
        assert_eq!(owners.task(mine, &name("jobs"), "t2"), None, "nobody began it here");
    }

    #[test]
    fn so_many_tasks_are_known_and_the_oldest_is_forgotten() {
        let (owners, toolset, jobs) = (Owners::default(), name("tools"), name("jobs"));
        let mine = Holder { caller: MINE, toolset: &toolset };
        for number in 0..=OWNED_MAX {
            owners.note(mine, &task("run", &number.to_string()));
        }
        assert!(owners.task(mine, &jobs, "0").is_none() && owners.task(mine, &jobs, "1").is_some());
        assert_eq!(owners.lock().owners.len(), OWNED_MAX);
    }

    #[test]
    fn a_task_id_opens_only_for_its_caller_on_its_toolset_and_tells_its_tool() {
        let (sealer, toolset, elsewhere) = (Sealer::new(&[1; 32]), name("tools"), name("others"));
        let mine = Holder { caller: MINE, toolset: &toolset };
        let task = task("a\u{0}b", "7\u{0}x");

        let text = mine.seal(&sealer, &task).expect("it is short");

        assert_eq!(mine.seal(&sealer, &task).as_ref(), Some(&text), "the same task has the same text");
        assert_eq!(mine.open(&sealer, &text), Some(task));
        assert_eq!(Holder { caller: OTHER, ..mine }.open(&sealer, &text), None);
        assert_eq!(Holder { toolset: &elsewhere, ..mine }.open(&sealer, &text), None);
        assert_eq!(mine.open(&sealer, "7"), None);
    }

    #[test]
    fn the_longest_names_can_be_opened_again_and_longer_ones_are_not_sealed() {
        let (sealer, toolset) = (Sealer::new(&[1; 32]), name(&"t".repeat(63)));
        let mine = Holder { caller: MINE, toolset: &toolset };
        let longest = |tool: usize, id: usize| {
            let half = "x".repeat(tool / 2);
            let tool = Arc::new(Tool { upstream: half.as_str().into(), exposed: half.as_str().into() });
            Task { server: name(&"s".repeat(63)), tool, id: "i".repeat(id) }
        };

        let task = longest(TOOL_BYTES_MAX, TASK_ID_BYTES_MAX);
        let text = mine.seal(&sealer, &task).expect("it is as long as may be");
        assert_eq!(mine.open(&sealer, &text), Some(task));
        assert_eq!(mine.seal(&sealer, &longest(TOOL_BYTES_MAX + 2, 1)), None);
        assert_eq!(mine.seal(&sealer, &longest(2, TASK_ID_BYTES_MAX + 1)), None);
    }

    proptest! {
        #[test]
        fn different_tasks_have_different_ids(one in ("[ab]{0,3}", "[ab]{0,3}"), other in ("[ab]{0,3}", "[ab]{0,3}")) {
            let (sealer, toolset) = (Sealer::new(&[1; 32]), name("tools"));
            let mine = Holder { caller: MINE, toolset: &toolset };
            let text = |(tool, id): &(String, String)| mine.seal(&sealer, &task(tool, id));
            prop_assert_eq!(text(&one) == text(&other), one == other);
        }
    }
}
