//! The rewriting of backends' frames for a client: ids of tasks, and resource URIs.
//!
//! A backend's task id goes out sealed ([`crate::tasks`]). Resource URIs are rewritten only where two servers claim them.
//! A frame without either passes unchanged.

use std::borrow::Cow;
use std::sync::Arc;

use quorate_jsonrpc::{Frame, Kind};
use quorate_mcp::uri::Router;
use quorate_mcp::{Era, Method, codec};
use quorate_runtime::session::Tool;
use quorate_types::{ResourceName, Sealer};

use crate::snapshot::ToolsetTable;
use crate::tasks::{Holder, Owners, Task};

/// What rewrites frames of one server for one caller.
pub struct Outbound<'a> {
    /// Seals task ids.
    pub sealer: &'a Sealer,
    /// Notes who began which task.
    pub owners: &'a Owners,
    /// Who gets the frame, and through which toolset.
    pub holder: Holder<'a>,
    /// The tool that is called, or whose task is followed, where the frame belongs to such a request.
    pub tool: Option<&'a Arc<Tool>>,
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
                let sealed = self.task(server, method, &frame, &handle.text);
                edits.extend(sealed.map(|text| (handle.span, text)));
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

    /// The id of a task as the client knows it; none where nothing tells that it is the client's, who then gets an id that
    /// opens as nothing.
    fn task(&self, server: &ResourceName, method: Method, frame: &Frame, id: &str) -> Option<String> {
        let own = self.tool.map(|tool| Task { server: server.clone(), tool: Arc::clone(tool), id: id.to_owned() });
        let is_result = frame.kind() == Kind::Result;
        // What answers the caller's own request is about that; what a server tells beside it may be about any task.
        let task = match own.filter(|_| is_result) {
            Some(task) => task,
            None => self.owners.task(self.holder, server, id)?,
        };
        let sealed = self.holder.seal(self.sealer, &task)?;
        // Only what can be handed out is remembered: so its length has a bound.
        if is_result && method == Method::CallTool && self.tool.is_some() {
            self.owners.note(self.holder, &task);
        }
        Some(sealed)
    }
}

/// Tells whether a task may be named at all: most frames name none, and are not read again.
fn mentions_task(bytes: &[u8]) -> bool {
    memchr::memmem::find(bytes, b"task").is_some()
}
