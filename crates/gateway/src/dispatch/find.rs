//! The tool `find_tools`, which is the gateway's own.
//!
//! In: a call of it. Out: its result: definitions of tools that the caller may call, listed or not. A
//! session lists from then on what it has found, where its toolset does not list everything, and is
//! told that its list has changed; a stateless client's list depends on nothing that it did, so it
//! calls what it was told of.

use quorate_mcp::curate::{Curation, Listed, find};
use quorate_mcp::listing::Merged;
use quorate_mcp::{Call, Era, Fault, ListKind, Method, Operation as Asked};
use quorate_runtime::session;
use quorate_telemetry::Outcome;

use crate::authorize::Gate;
use crate::classify::Request;
use crate::translate::list_changed;

/// Answers a call: the JSON text of its result, and how it ended.
///
/// # Errors
/// [`Fault`] where it is called as a task, which nothing so quick can be.
pub(super) fn run(
    request: &Request,
    call: &Call,
    tools: &Merged,
    session: Option<&session::Handle>,
) -> Result<(String, Outcome), Fault> {
    let era = if session.is_some() { Era::Legacy } else { Era::Modern };
    let Some(search) = request.toolset().listing.curation().and_then(|curation| Curation::search(curation)) else {
        return Err(Fault::Internal); // A list that has the tool has the search.
    };
    let Asked::CallTool { arguments, task, .. } = &call.operation else { return Err(Fault::Internal) };
    if task.is_some() {
        return Err(Fault::InvalidParams { field: "task", reason: "is not possible for this tool" });
    }
    let query = match find::Query::read(arguments.map(|span| call.raw(span)), search) {
        Ok(query) => query,
        Err(invalid) => return Ok((find::refusal(&invalid.to_string(), era), Outcome::ToolError)),
    };
    let gate = Gate::of(request);
    let found = query.run(tools, |entry| gate.may_use(ListKind::Tools, entry));
    if let (Some(session), Listed::Pinned(_)) = (session, &search.listed) {
        let unlisted = found.iter().filter(|place| **place >= tools.listed());
        let names = unlisted.filter_map(|place| tools.entries().get(*place)).map(|entry| &*entry.exposed);
        if session.memory().find(names) {
            list_changed(session, Method::ToolsListChanged);
        }
    }
    Ok((find::result(tools, &found, era), Outcome::Ok))
}
