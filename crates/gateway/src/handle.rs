//! Task ids that leave the node, and the rewriting of backends' frames for a client.
//!
//! A backend's task id goes out sealed with its server and the caller, so that any node can route
//! it and nobody else can use it; the same task always has the same text. Resource URIs are
//! rewritten only where two servers claim them. A frame without either passes unchanged.

use std::borrow::Cow;
use std::collections::{HashMap, VecDeque};
use std::sync::{Mutex, MutexGuard, PoisonError};

use quorate_jsonrpc::{Frame, Kind};
use quorate_mcp::uri::Router;
use quorate_mcp::{Era, Method, codec};
use quorate_types::seal::Purpose;
use quorate_types::{PrincipalDigest, ResourceName, Sealer};

use crate::snapshot::ToolsetTable;

/// The longest task id of a backend that is handed on, in bytes: the sealed text has to fit into
/// a header line.
pub const TASK_ID_BYTES_MAX: usize = 1024;

/// Seals the task id of a backend for its caller.
#[must_use]
pub fn seal_task(sealer: &Sealer, server: &ResourceName, caller: PrincipalDigest, id: &str) -> String {
    let mut plaintext = Vec::with_capacity(16 + 1 + server.as_str().len() + id.len());
    plaintext.extend_from_slice(&caller.0);
    plaintext.extend_from_slice(server.as_str().as_bytes());
    plaintext.push(0);
    plaintext.extend_from_slice(id.as_bytes());
    sealer.seal_stable(Purpose::Task, &plaintext)
}

/// Opens a task id that `caller` presents: the server's name and its own id.
#[must_use]
pub fn open_task(sealer: &Sealer, caller: PrincipalDigest, text: &str) -> Option<(ResourceName, String)> {
    let plaintext = sealer.open(Purpose::Task, text).ok()?;
    let (owner, rest) = plaintext.split_at_checked(16)?;
    if owner != caller.0 {
        return None;
    }
    let separator = rest.iter().position(|byte| *byte == 0)?;
    let server = std::str::from_utf8(&rest[..separator]).ok()?;
    let id = String::from_utf8(rest[separator + 1..].to_vec()).ok()?;
    Some((ResourceName::new(server).ok()?, id))
}

/// Tasks whose owners are known: beyond it the oldest is forgotten, and is in no list any more. One takes about 150 bytes.
const OWNED_MAX: usize = 100_000;

/// Who began which task, as far as this node saw it begin. Servers list the tasks of everybody who uses our credential.
#[derive(Debug, Default)]
pub struct Owners {
    known: Mutex<Known>,
}

#[derive(Debug, Default)]
struct Known {
    owners: HashMap<(ResourceName, Box<str>), PrincipalDigest>,
    oldest: VecDeque<(ResourceName, Box<str>)>,
}

// === impl Owners ===

impl Owners {
    /// Notes that `caller` began a task; who began it first stays its owner.
    pub(crate) fn began(&self, server: &ResourceName, id: &str, caller: PrincipalDigest) {
        let mut known = self.lock();
        let key = (server.clone(), Box::from(id));
        if known.owners.contains_key(&key) {
            return;
        }
        if known.oldest.len() >= OWNED_MAX
            && let Some(oldest) = known.oldest.pop_front()
        {
            known.owners.remove(&oldest);
        }
        known.oldest.push_back(key.clone());
        known.owners.insert(key, caller);
    }

    /// Tells whether `caller` began a task.
    pub(crate) fn owns(&self, server: &ResourceName, id: &str, caller: PrincipalDigest) -> bool {
        self.lock().owners.get(&(server.clone(), Box::from(id))) == Some(&caller)
    }

    fn lock(&self) -> MutexGuard<'_, Known> {
        // What somebody panicked over still has only whole entries.
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What rewrites frames of one server for one caller.
pub struct Outbound<'a> {
    /// Seals task ids.
    pub sealer: &'a Sealer,
    /// Notes who began which task.
    pub owners: &'a Owners,
    /// Who gets the frame.
    pub caller: PrincipalDigest,
    /// The toolset that it is seen through.
    pub toolset: &'a ToolsetTable,
    /// Where resource URIs went, if that is known.
    pub router: Option<&'a Router>,
    /// The era of both sides.
    pub era: Era,
}

// === impl Outbound ===

impl Outbound<'_> {
    /// Rewrites what has to be rewritten in `frame`; a frame that cannot be read passes as it is.
    #[must_use]
    pub fn rewrite(&self, server: &ResourceName, method: Option<Method>, frame: Frame) -> Frame {
        let Some(method) = method else { return frame };
        let mut edits = Vec::new();
        // Lists of tasks are asked for by the gateway, which has to read the ids.
        if method != Method::ListTasks && mentions_task(frame.bytes()) {
            for handle in codec::task_ids(&frame, method, self.era).unwrap_or_default() {
                if handle.text.len() <= TASK_ID_BYTES_MAX {
                    if method == Method::CallTool && frame.kind() == Kind::Result {
                        self.owners.began(server, &handle.text, self.caller);
                    }
                    edits.push((handle.span, seal_task(self.sealer, server, self.caller, &handle.text)));
                }
            }
        }
        if let (Some(router), Some(index)) = (self.router, self.toolset.listing.index_of(server)) {
            for handle in codec::resource_uris(&frame, method).unwrap_or_default() {
                if let Cow::Owned(uri) = router.expose(index, &handle.text) {
                    edits.push((handle.span, uri));
                }
            }
        }
        if edits.is_empty() {
            return frame;
        }
        codec::rewrite(&frame, edits.iter().map(|(span, text)| (*span, text.as_str())))
    }
}

/// Tells whether a task may be named at all: most frames name none, and are not read again.
fn mentions_task(bytes: &[u8]) -> bool {
    memchr::memmem::find(bytes, b"task").is_some()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_task_belongs_to_whoever_began_it_first() {
        let (owners, server) = (Owners::default(), ResourceName::new("jobs").expect("a valid name"));
        let (mine, other) = (PrincipalDigest([1; 16]), PrincipalDigest([2; 16]));

        owners.began(&server, "t1", mine);
        owners.began(&server, "t1", other);

        assert!(owners.owns(&server, "t1", mine) && !owners.owns(&server, "t1", other));
        assert!(!owners.owns(&server, "t2", mine), "nobody began it here");
    }

    #[test]
    fn so_many_tasks_are_known_and_the_oldest_is_forgotten() {
        let (owners, server) = (Owners::default(), ResourceName::new("jobs").expect("a valid name"));
        let mine = PrincipalDigest([1; 16]);
        for number in 0..=OWNED_MAX {
            owners.began(&server, &number.to_string(), mine);
        }
        assert!(!owners.owns(&server, "0", mine) && owners.owns(&server, "1", mine));
        assert_eq!(owners.lock().owners.len(), OWNED_MAX);
    }

    #[test]
    fn a_task_id_opens_only_for_its_caller() {
        let sealer = Sealer::new(&[1; 32]);
        let server = ResourceName::new("jobs").expect("a valid name");
        let (mine, other) = (PrincipalDigest([1; 16]), PrincipalDigest([2; 16]));

        let text = seal_task(&sealer, &server, mine, "7\u{0}x");

        assert_eq!(open_task(&sealer, mine, &text), Some((server, "7\u{0}x".to_owned())));
        assert_eq!(open_task(&sealer, other, &text), None);
        assert_eq!(open_task(&sealer, mine, "7"), None);
    }
}
