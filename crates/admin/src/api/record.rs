//! Records in the audit log: who changed what, who was refused what, and who could not be identified.
//!
//! A change has the method, what the service said it is about, the documents that it changed, and what became of it; a refusal has the action and the reason.
//! No request and no answer is recorded. How many are kept is the log's to say.

use std::net::SocketAddr;

use quorate_audit::{Audit, Change, Decision, Event, Failure, Who};
use tonic::{Code, Status};
use tonic_types::StatusExt as _;

use super::caller::{Caller, Noted};
use super::roles::{Access, Method};

/// Where a connection came from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Origin {
    /// The Unix socket of the node.
    Local,
    /// This address.
    Remote(SocketAddr),
}

// === impl Origin ===

impl Origin {
    fn to_audit(self) -> quorate_audit::Origin {
        let peer = match self {
            Self::Local => None,
            Self::Remote(peer) => Some(peer),
        };
        quorate_audit::Origin { peer, trace: None }
    }
}

/// Records a call that was done, or was refused by its service.
pub(crate) fn changed(
    audit: &Audit,
    caller: &Caller,
    origin: &Origin,
    method: &Method,
    noted: Noted,
    status: Option<&Status>,
) {
    if *caller == Caller::Nobody && status.is_some() {
        // What strangers cause has a rate of its own, and pushes no change of an operator out.
        failed(audit, origin, "join_refused", "token");
        return;
    }
    let from = match origin {
        Origin::Local => "admin.sock".to_owned(),
        Origin::Remote(peer) => peer.to_string(),
    };
    let Noted { about, added, changed, removed, .. } = noted;
    let what = [name(method), &about, &from].into_iter().filter(|part| !part.is_empty()).collect::<Vec<_>>().join(" ");
    let detail = match status {
        None => what,
        Some(status) => format!("{what}: {}", status.message()),
    };
    audit.record(Event::AdminChange(Change {
        by: caller.to_string().into(),
        outcome: outcome(status),
        file: None,
        detail: Some(detail.into()),
        added,
        changed,
        removed,
    }));
}

/// Records a call that did not get to its service.
pub(crate) fn refused(audit: &Audit, caller: &Caller, origin: &Origin, method: &Method, status: &Status) {
    if status.code() == Code::Unauthenticated {
        failed(audit, origin, "no_certificate", "none");
        return;
    }
    let action = match method.access {
        Access::Permitted(action) => action.as_str(),
        Access::Local => "admin:local",
        Access::Anyone => "admin:join",
    };
    let reason = status.get_details_error_info().map_or_else(String::new, |info| info.reason);
    audit.record(Event::Denied(Decision {
        who: Who { tenant: None, agent: Some(caller.to_string().into()), user: None },
        credential: None,
        action: action.into(),
        resource: name(method).into(),
        policy: None,
        reason: reason.as_str().into(),
        origin: origin.to_audit(),
    }));
}

/// Records who could not be identified; `reason` and `method` are labels.
pub(crate) fn failed(audit: &Audit, origin: &Origin, reason: &'static str, method: &'static str) {
    audit.record(Event::AuthenticationFailed(Failure {
        reason,
        method,
        credential: None,
        at: Some("admin".into()),
        origin: origin.to_audit(),
    }));
}

/// The method without its package.
fn name(method: &Method) -> &'static str {
    method.path.rsplit_once(".v1.").map_or(method.path, |(_, name)| name)
}

fn outcome(status: Option<&Status>) -> &'static str {
    match status.map(Status::code) {
        None => "applied",
        // Where the node failed, nobody knows how far it came.
        Some(Code::Unknown | Code::DeadlineExceeded | Code::Internal) => "unknown",
        Some(_) => "refused",
    }
}
