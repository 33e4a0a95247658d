//! Stage 5: who answers.
//!
//! In: a permitted request, with the item that it is about. Out: [`Routed`]: the gateway itself, one server of the
//! toolset with the request as that server knows it, or several to be asked in turn. Calls are held to what the toolset
//! says of their tool, and go out with the arguments that it has fixed. Knows no names: what they stand for was found
//! out before policy decided ([`crate::resolve`]).
//! Spec: mcp.md section 2, "Naming", "Resources", "Tasks".

use std::sync::Arc;

use quorate_jsonrpc::{Frame, Span};
use quorate_mcp::curate::{self, Terms, find};
use quorate_mcp::listing::{Entry, Merged};
use quorate_mcp::{Call, Fault, Operation, Reference, Rejected, Version, codec};
use quorate_runtime::backend;
use quorate_runtime::session::Tool;

use crate::authorize::Permitted;
use crate::classify::{Request, Work};
use crate::held::Held;
use crate::listener::Endpoint;
use crate::resolve::Resolved;

/// A request with its destination.
pub struct Routed {
    request: Arc<Request>,
    work: Work,
    target: Target,
}

/// Who answers.
pub enum Target {
    /// The gateway.
    Here,
    /// One server, with the request as it knows it.
    Server {
        /// The server.
        server: backend::Handle,
        /// The request.
        frame: Frame,
        /// The name, URI or task id that it asks for, as the server knows it.
        name: Option<String>,
        /// What the toolset holds the call to.
        held: Option<Held>,
        /// The tool that is called, or whose task is followed.
        tool: Option<Arc<Tool>>,
    },
    /// The gateway, by a search of these tools.
    Find {
        /// The tools.
        tools: Arc<Merged>,
    },
    /// The gateway, with this result of a tool.
    Told {
        /// The JSON text of the result.
        result: String,
    },
    /// The gateway, with this fault: of a session without an answer to a POST.
    Refused {
        /// The fault.
        fault: Fault,
    },
    /// These servers in turn, unchanged, until one has it.
    Ask {
        /// The servers.
        servers: Vec<backend::Handle>,
        /// The URI.
        uri: String,
    },
}

/// Nobody answers.
pub type Error = Rejected;

// === impl Routed ===

impl Routed {
    /// What all work of the HTTP request shares.
    #[must_use]
    pub fn request(&self) -> &Arc<Request> {
        &self.request
    }

    /// What there is to do.
    #[must_use]
    pub fn work(&self) -> &Work {
        &self.work
    }

    pub(crate) fn into_parts(self) -> (Arc<Request>, Work, Target) {
        (self.request, self.work, self.target)
    }
}

/// Finds who answers `permitted`.
///
/// # Errors
/// [`Rejected`] when the arguments of a request are not what its toolset takes.
pub fn select(permitted: Permitted) -> Result<Routed, Error> {
    let (classified, resolved) = permitted.into_parts();
    let (request, work) = classified.into_parts();
    let target = match &work {
        Work::Modern(call) => target(resolved, call, Version::LATEST).map_err(|fault| Rejected {
            era: Version::LATEST.era(),
            id: call.frame.id().cloned(),
            fault,
        })?,
        Work::InSession { session, call } => {
            let version = session.client().map_or(Version::ASSUMED, |client| client.version);
            match (target(resolved, call, version), request.endpoint()) {
                (Ok(target), _) => target,
                // Its client reads answers from its stream alone.
                (Err(fault), Endpoint::Sse) => Target::Refused { fault },
                (Err(fault), Endpoint::Mcp) => {
                    return Err(Rejected { era: version.era(), id: call.frame.id().cloned(), fault });
                }
            }
        }
        Work::Open { .. } | Work::Listen { .. } | Work::End { .. } | Work::OpenSse => Target::Here,
    };
    Ok(Routed { request, work, target })
}

/// Who answers a call that is about this.
fn target(resolved: Resolved, call: &Call, version: Version) -> Result<Target, Fault> {
    let frame = &call.frame;
    Ok(match resolved {
        Resolved::Here => Target::Here,
        Resolved::Only { server, name } => {
            let tool = called(&call.operation, &Arc::from(name.as_str()), None);
            Target::Server { server, frame: frame.clone(), name: Some(name), held: None, tool }
        }
        Resolved::Listed { server, list, place } => match list.entries().get(place) {
            Some(entry) => listed(server, entry, call, version)?,
            None => Target::Here, // A place of a list is one of its entries.
        },
        Resolved::Find { tools } => Target::Find { tools },
        Resolved::Resource { server, uri, .. } => to(server, uri, &call.operation, frame, None),
        Resolved::Subscribed { servers, uri } | Resolved::Unlisted { servers, uri, .. } => Target::Ask { servers, uri },
        Resolved::Task { server, task, .. } => to(server, task.id, &call.operation, frame, Some(task.tool)),
        Resolved::Refused { fault } => Target::Refused { fault },
    })
}

/// The request for the server of a listed tool or prompt, held to what the toolset says of it.
fn listed(server: backend::Handle, entry: &Entry, call: &Call, version: Version) -> Result<Target, Fault> {
    let tool = called(&call.operation, &entry.upstream, Some(&entry.exposed));
    let Some(terms) = &entry.terms else {
        return Ok(to(server, entry.upstream.to_string(), &call.operation, &call.frame, tool));
    };
    let frame = match apply(terms, call, &entry.upstream) {
        Ok(frame) => frame,
        // Models correct themselves by results, not by errors (2025-11-25, SEP-1303).
        Err(refused) if version >= Version::V2025_11_25 && matches!(call.operation, Operation::CallTool { .. }) => {
            return Ok(Target::Told { result: find::refusal(&refused.to_string(), version.era()) });
        }
        Err(refused) => return Err(Fault::Withheld { refused }),
    };
    let held =
        Held { terms: Arc::clone(terms), exposed: Arc::clone(&entry.exposed), upstream: Arc::clone(&entry.upstream) };
    Ok(Target::Server { server, frame, name: Some(entry.upstream.to_string()), held: Some(held), tool })
}

/// Returns the request as the server gets it under these terms.
fn apply(terms: &Terms, call: &Call, upstream: &str) -> Result<Frame, curate::Refused> {
    let frame = &call.frame;
    match &call.operation {
        Operation::CallTool { name_span, arguments, .. } | Operation::GetPrompt { name_span, arguments, .. } => {
            terms.apply(frame, curate::Place { name: *name_span, arguments: *arguments }, upstream)
        }
        Operation::Complete { reference: Reference::Prompt { span, .. } } => terms.complete(frame, *span, upstream),
        _ => Ok(frame.clone()), // Nothing else has terms.
    }
}

/// The tool that an operation calls, by its names at the server and, where that is another, in the toolset.
fn called(operation: &Operation, upstream: &Arc<str>, exposed: Option<&Arc<str>>) -> Option<Arc<Tool>> {
    let exposed = Arc::clone(exposed.unwrap_or(upstream));
    let is_call = matches!(operation, Operation::CallTool { .. });
    is_call.then(|| Arc::new(Tool { upstream: Arc::clone(upstream), exposed }))
}

/// The request for `server`, which knows what it names as `upstream`.
fn to(
    server: backend::Handle,
    upstream: String,
    operation: &Operation,
    frame: &Frame,
    tool: Option<Arc<Tool>>,
) -> Target {
    let frame = match named(operation) {
        Some((name, span)) if upstream != name => codec::rename(frame, span, &upstream),
        Some(_) | None => frame.clone(),
    };
    Target::Server { server, frame, name: Some(upstream), held: None, tool }
}

/// What an operation names, and where.
fn named(operation: &Operation) -> Option<(&str, Span)> {
    match operation {
        Operation::CallTool { name, name_span, .. } | Operation::GetPrompt { name, name_span, .. } => {
            Some((name, *name_span))
        }
        Operation::Complete { reference: Reference::Prompt { name, span } } => Some((name, *span)),
        Operation::Complete { reference: Reference::Resource { uri, span } }
        | Operation::ReadResource { uri, span }
        | Operation::Subscribe { uri, span }
        | Operation::Unsubscribe { uri, span } => Some((uri, *span)),
        Operation::Task { id, span, .. } => Some((id, *span)),
        _ => None,
    }
}
