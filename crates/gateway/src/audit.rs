//! What is told of refused callers: to the log, to the metrics, and to the node's audit log.
//!
//! In: refusals of authenticate and decisions of authorize. Out: a record each in the audit log, which bounds what a
//! stranger can make it write, a count each, and log lines at a bounded rate. A line says which resource would have
//! allowed what was tried. Nothing of a payload or a credential is told, only names: of actions, items, policies and
//! those who called.

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::path::Path;

use quorate_audit::{Audit, Cause, Change, Decision as Decided, Event, Failure, Names, Origin, Text, Who};
use quorate_config::Difference;
use quorate_policy::{Action, Decision, PolicyRef, Resource, Verdict};
use quorate_telemetry::{AuditNumbers, Metrics, TraceId};
use quorate_tls::{Refusal, Reload};
use quorate_types::units::format_duration;
use quorate_types::{Principal, ResourceName, TenantId};

use crate::ask::Asked;
use crate::authenticate::{self, Caller, Development};
use crate::classify::Request;
use crate::listener::{Accepted, Connection};
use crate::llm;
use crate::named::Named;
use crate::snapshot::Services;

/// The limit of log lines about refused callers, in metrics.
const LOG_LINES: &str = "log_lines";
/// Where changes come from.
const FILES: &str = "resource files";
const CERTIFICATES: &str = "certificate files";
const COMMAND_LINE: &str = "command line";

/// Shows the numbers of an audit log among the metrics, if there is one.
pub(crate) fn observe(audit: &Audit, metrics: &Metrics) {
    if audit.volume().is_none() {
        return;
    }
    let audit = audit.clone();
    metrics.observe_audit(move || {
        let (counted, volume) = (audit.counters(), audit.volume().unwrap_or_default());
        AuditNumbers {
            records: counted.recorded,
            suppressed: [
                (Cause::Rate.as_str(), counted.suppressed_by_rate),
                (Cause::Queue.as_str(), counted.suppressed_by_queue),
                (Cause::Failed.as_str(), counted.suppressed_by_failure),
            ],
            write_errors: counted.write_errors,
            written_bytes: volume.written_bytes,
            size_bytes: volume.bytes,
            segments: volume.segments,
            segments_begun: volume.segments_begun,
            segments_deleted: volume.segments_deleted,
        }
    });
}

/// Tells of a caller who stays unknown.
pub(crate) fn unknown(services: &Services, connection: &Connection, trace: TraceId, error: &authenticate::Error) {
    let (reason, peer) = (error.reason(), connection.peer);
    let shown = error.named().map(|named| named.name);
    if admits(services) {
        let shown = shown.as_ref().map(tracing::field::display);
        tracing::info!(listener = %connection.listener, %peer, %trace, reason, shown, %error, "a caller is not known");
    }
    services.audit.record(Event::AuthenticationFailed(Failure {
        reason,
        method: error.method(),
        credential: shown,
        at: Some(connection.listener.as_str().into()),
        origin: origin(peer, trace),
    }));
}

/// Tells of a stream whose caller may not go on. What is refused is recorded when the client comes again.
pub(crate) fn stream_refused(
    services: &Services,
    listener: &ResourceName,
    peer: SocketAddr,
    reason: &'static str,
    over: &dyn std::fmt::Display,
) {
    services.metrics.rejected("stream", reason);
    if admits(services) {
        tracing::info!(%listener, %peer, reason, %over, "the stream of a caller ends");
    }
}

/// Tells of a client whose certificate was refused in its handshake, or who had none and needs one.
pub(crate) fn certificate_refused(services: &Services, listener: &ResourceName, peer: SocketAddr, refusal: &Refusal) {
    let reason = refusal.reason();
    services.metrics.rejected("handshake", reason);
    services.audit.record(Event::AuthenticationFailed(Failure {
        reason,
        method: if matches!(refusal.cause, quorate_tls::Cause::Missing) { "none" } else { "certificate" },
        credential: Named::of_refusal(refusal).map(|named| named.name),
        at: Some(listener.as_str().into()),
        // There is no request yet that could be traced.
        origin: Origin { peer: Some(peer), trace: None },
    }));
    if admits(services) {
        tracing::info!(%listener, %peer, reason, %refusal, "a client is refused in its handshake");
    }
}

/// Tells of a decision on a request, if it is denied, or if a policy on trial would deny it.
pub(crate) fn decided(request: &Request, action: Action, resource: &Resource<'_>, decision: &Decision) {
    let services = &request.snapshot().services;
    let (connection, trace) = (&request.accepted.connection, request.accepted.trace);
    let asker = Asker { principal: &request.caller().principal, by: Some((request.caller(), connection.peer, trace)) };
    tell(services, &asker, action, resource, decision);
}

/// The same of a request of a model.
pub(crate) fn model_decided(accepted: &llm::Accepted, caller: &Caller, resource: &Resource<'_>, decision: &Decision) {
    let by = Some((caller, accepted.connection.peer, accepted.trace));
    let asker = Asker { principal: &caller.principal, by };
    tell(&accepted.snapshot.services, &asker, Action::Invoke, resource, decision);
}

/// Tells of a caller at a toolset of another tenant.
pub(crate) fn walled(accepted: &Accepted, caller: &Caller, resource: &Resource<'_>, decision: &Decision) {
    let asker =
        Asker { principal: &caller.principal, by: Some((caller, accepted.connection().peer, accepted.trace())) };
    tell(&accepted.snapshot().services, &asker, Action::Connect, resource, decision);
}

/// Tells of a decision on what a server asks of a client.
pub(crate) fn ask_decided(asked: &Asked<'_>, action: Action, resource: &Resource<'_>, decision: &Decision) {
    let asker = Asker { principal: asked.principal, by: None };
    tell(asked.services, &asker, action, resource, decision);
}

/// Tells of a caller who lacks scopes that a toolset demands of everybody.
pub(crate) fn lacks_scopes(request: &Request, demanded: &BTreeSet<String>) {
    let services = &request.snapshot().services;
    let (caller, toolset) = (&request.caller().principal, &request.toolset().name);
    let action = Action::Connect.as_str();
    services.metrics.denied(action, "missing_scopes", caller.tenant.as_str());
    services.audit.record(Event::Denied(Decided {
        who: Who::of(caller),
        credential: shown_of(request.caller()),
        action: action.into(),
        resource: format!("Toolset::\"{toolset}\"").into(),
        policy: None,
        reason: "missing_scopes".into(),
        origin: origin_of(request),
    }));
    if admits(services) {
        let demanded = demanded.iter().map(String::as_str).collect::<Vec<_>>().join(" ");
        let trace = request.accepted.trace;
        tracing::info!(caller = %Shown(caller), %toolset, demanded, %trace,
            "denied: the caller lacks scopes (spec.scopes)");
    }
}

/// Tells that a node was started with less protection than its resources give.
pub(crate) fn started(services: &Services, development: Development, allow_all: bool) {
    let development =
        (development == Development::Loopback).then_some("callers on loopback are the development identity");
    let allow_all = allow_all.then_some("everything is allowed, whatever policies say");
    let opened: Vec<_> = [development, allow_all].into_iter().flatten().collect();
    if !opened.is_empty() {
        let opened = Change { detail: Some(opened.join("; ").into()), ..change(COMMAND_LINE, "applied") };
        services.audit.record(Event::AdminChange(opened));
    }
}

/// Tells that the running set of resources has changed.
pub(crate) fn changed(services: &Services, difference: &Difference) {
    if difference.is_empty() {
        return;
    }
    let names = |names: &[String]| names.iter().map(String::as_str).collect();
    services.audit.record(Event::AdminChange(Change {
        added: names(&difference.added),
        changed: names(&difference.changed),
        removed: names(&difference.removed),
        ..change(FILES, "applied")
    }));
}

/// Tells that a change of the running set was refused, and why.
pub(crate) fn change_refused(services: &Services, why: &str) {
    let refused = Change { detail: Some(why.into()), ..change(FILES, "refused") };
    services.audit.record(Event::AdminChange(refused));
}

/// Tells what became of changed files of certificates that `of` (`Kind/name`) works with; its own is in `certificate`.
pub(crate) fn reloaded(services: &Services, (of, certificate): (&str, &Path), reload: &Reload) {
    let changed = |file: String, detail: Option<Text>| Change {
        file: Some(file.into()),
        detail,
        changed: std::iter::once(of).collect(),
        ..change(CERTIFICATES, "applied")
    };
    let event = match reload {
        Reload::Replaced => {
            tracing::info!(of, "the changed certificate is in use");
            changed(certificate.display().to_string(), None)
        }
        Reload::TrustReplaced(change) => {
            tracing::info!(of, %change, "the changed authorities and revocation lists of clients are in use");
            let files = change.files.iter().map(|file| file.display().to_string()).collect::<Vec<_>>().join(", ");
            changed(files, Some(change.to_string().into()))
        }
        Reload::CrlExpired { domain, path, since } => {
            let (path, since) = (path.display(), format_duration(*since));
            tracing::error!(of, %domain, %path, %since, "a revocation list expired: its clients are refused");
            // Nobody changed anything; refused clients are recorded one by one.
            return;
        }
        Reload::Refused(error) => {
            tracing::error!(of, %error, "a changed file is refused; what was in use stays in use");
            let detail = Some(error.reason.to_string().into());
            Change { outcome: "refused", ..changed(error.path.display().to_string(), detail) }
        }
    };
    services.audit.record(Event::AdminChange(event));
}

/// A change of nothing yet.
fn change(by: &'static str, outcome: &'static str) -> Change {
    let nothing = Names::default;
    Change {
        by: by.into(),
        outcome,
        file: None,
        detail: None,
        added: nothing(),
        changed: nothing(),
        removed: nothing(),
    }
}

/// Whom a decision is about.
struct Asker<'a> {
    principal: &'a Principal,
    /// The caller that asked, from where, and of which trace; none for what a server asks of it.
    by: Option<(&'a Caller, SocketAddr, TraceId)>,
}

fn tell(services: &Services, asker: &Asker<'_>, action: Action, resource: &Resource<'_>, decision: &Decision) {
    if decision.verdict.is_allowed() && decision.would_deny.is_empty() {
        return;
    }
    let principal = asker.principal;
    let named = format!("{}::{:?}", resource.kind().as_str(), resource.id());
    let action_name = action.as_str();
    for policy in &decision.would_deny {
        services.metrics.would_deny(action_name, policy.document.as_str());
    }
    let decided = |policies: &[PolicyRef], reason: &str| Decided {
        who: Who::of(principal),
        credential: asker.by.and_then(|(caller, ..)| shown_of(caller)),
        action: action_name.into(),
        resource: named.as_str().into(),
        policy: (!policies.is_empty()).then(|| listed(policies).into()),
        reason: reason.into(),
        origin: asker.by.map(|(_, peer, trace)| origin(peer, trace)).unwrap_or_default(),
    };
    if !decision.would_deny.is_empty() {
        services.audit.record(Event::WouldDeny(decided(&decision.would_deny, "dry_run")));
    }
    let Verdict::Deny(denial) = &decision.verdict else { return };
    services.metrics.denied(action_name, denial.reason(), principal.tenant.as_str());
    let reason = denial.reason();
    services.audit.record(Event::Denied(decided(&decision.by, reason)));
    if admits(services) {
        let by = listed(&decision.by);
        let toolset = resource.toolset;
        let trace = asker.by.map(|(_, _, trace)| tracing::field::display(trace));
        if by.is_empty() {
            let (permit, tenant) = (permit(principal, action, &named), of_tenant(principal));
            tracing::info!(caller = %Shown(principal), action = action_name, resource = %named, toolset, reason, trace,
                "denied: a Policy{tenant} with `{permit}` would allow it");
        } else {
            tracing::info!(caller = %Shown(principal), action = action_name, resource = %named, toolset, reason, trace,
                by, "denied");
        }
    }
}

/// What names the credentials of a caller.
fn shown_of(caller: &Caller) -> Option<Text> {
    caller.named.as_ref().map(|named| named.name.clone())
}

fn origin_of(request: &Request) -> Origin {
    origin(request.accepted.connection.peer, request.accepted.trace)
}

fn origin(peer: SocketAddr, trace: TraceId) -> Origin {
    Origin { peer: Some(peer), trace: Some(trace.to_string().into()) }
}

/// The policy that would allow exactly this.
fn permit(principal: &Principal, action: Action, resource: &str) -> String {
    let principal = match (&principal.user, &principal.agent) {
        (Some(user), _) => format!("User::{:?}", format!("{}/{}", user.source, user.subject)),
        (None, Some(agent)) => format!("Agent::{agent:?}"),
        (None, None) => format!("Tenant::{:?}", principal.tenant.as_str()),
    };
    format!("permit(principal in {principal}, action == Action::{:?}, resource == {resource});", action.as_str())
}

/// The tenant that a document about a principal has.
fn of_tenant(principal: &Principal) -> String {
    match principal.tenant.as_str() {
        TenantId::DEFAULT => String::new(),
        tenant => format!(" of tenant {tenant}"),
    }
}

/// Whether a line about a refused caller may be written; one that may not is counted.
fn admits(services: &Services) -> bool {
    let is_admitted = services.throttle.admits();
    if !is_admitted {
        services.metrics.limit_hit(LOG_LINES);
    }
    is_admitted
}

fn listed(policies: &[PolicyRef]) -> String {
    policies.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ")
}

/// A principal as log lines name it.
struct Shown<'a>(&'a Principal);

// === impl Shown ===

impl std::fmt::Display for Shown<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Principal { tenant, agent, user, .. } = self.0;
        write!(f, "tenant={tenant}")?;
        if let Some(agent) = agent {
            write!(f, " agent={agent:?}")?;
        }
        if let Some(user) = user {
            write!(f, " user={:?}", format!("{}/{}", user.source, user.subject))?;
        }
        Ok(())
    }
}
