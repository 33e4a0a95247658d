//! `quorate validate --probe`: what toolsets make of what their servers list now.
//!
//! A node without listeners runs the resources for a moment, as a serving one would, and asks every
//! tool server for its lists. Out: a page per toolset, and a failure where something was written in
//! vain: a pattern that matches nothing, two things of one name, a policy that does not fit what is
//! there ([`fit`]); or where a server did not answer.

mod fit;

use std::time::Duration;

use quorate_audit::Audit;
use quorate_config::ResourceSet;
use quorate_gateway::authenticate::Development;
use quorate_gateway::node::{Config, Gateway};
use quorate_gateway::survey::Survey;
use quorate_identity::api_key::MacKey;
use quorate_mcp::ListKind;
use quorate_mcp::curate::Terms;
use quorate_mcp::listing::{Entry, Merged, ServerIndex};
use quorate_runtime::shards::Shards;
use quorate_stdio::Guard;
use quorate_telemetry::{Metrics, Tracer};
use quorate_tls::ClientOptions;
use quorate_types::Sealer;
use quorate_types::units::format_duration;

use crate::exit::{Exit, Failure};
use crate::output;
use crate::run::of_gateway;

/// How long sessions that were opened for the lists may take to end.
const END_PATIENCE: Duration = Duration::from_secs(2);
/// The most things of one list that are printed.
const SHOWN_MAX: usize = 200;

/// Asks the servers of `resources`, prints what toolsets make of them, and judges it.
///
/// # Errors
/// [`Failure`] when a server did not answer, or something of a toolset has no effect.
pub(crate) async fn run(resources: ResourceSet) -> Result<(), Failure> {
    let config = Config {
        development: Development::Off,
        allow_all: false,
        mac_key: Some(MacKey::of_root(&quorate_runtime::entropy::secret())),
        audit: Audit::disabled(),
        sealer: Sealer::new(&quorate_runtime::entropy::secret()),
        metrics: Metrics::new(env!("CARGO_PKG_VERSION")),
        tracer: Tracer::disabled(),
        tls: ClientOptions::default(),
        drain_timeout: END_PATIENCE,
        guard: Guard::of_this_program()
            .map_err(|error| Failure::new(Exit::Failure, format!("cannot tell which program this is: {error}")))?,
        shards: Shards::new(),
    };
    let gateway = Gateway::start(config).await.map_err(of_gateway)?;
    let resources = resources.without_listeners();
    let applied = gateway.apply(&resources).await.map_err(of_gateway);
    let surveys = match applied {
        Ok(()) => Ok(gateway.survey().await),
        Err(failure) => Err(failure),
    };
    // Nothing listens, so that nothing can be cut.
    let _cut = gateway.drain().await;
    let surveys = surveys?;
    let doubts = fit::doubts(&resources, &surveys);
    let pages = surveys.iter().map(page).chain(std::iter::once(fit::page(&doubts)));
    output::print(&output::visible(&pages.collect::<String>()))?;
    judge(&surveys, doubts.len())
}

/// What one toolset makes of its servers, for people.
fn page(survey: &Survey) -> String {
    let versions = survey.members.iter().map(|(name, server)| match name == server {
        true => name.to_string(),
        false => format!("{name} = {server}"),
    });
    let mut page = format!("\nToolset {} ({})\n", survey.toolset, versions.collect::<Vec<_>>().join(", "));
    for list in &survey.lists {
        page.push_str(&of_list(survey, list));
    }
    for watched in &survey.unmatched {
        page.push_str(&format!("  matches nothing: {} {:?}\n", watched.path, watched.text));
    }
    for (server, reason) in &survey.unreached {
        page.push_str(&format!("  not asked: {server}: {reason}\n"));
    }
    page
}

fn of_list(survey: &Survey, list: &Merged) -> String {
    let (entries, hidden, excluded) = (list.entries(), list.hidden(), list.excluded());
    if entries.is_empty() && hidden.is_empty() && excluded == 0 {
        return String::new();
    }
    let unlisted = entries.len() - list.listed();
    let counts = [(unlisted, "to be found"), (excluded, "not chosen"), (hidden.len(), "not exposed")];
    let counts: String =
        counts.iter().filter(|(count, _)| *count > 0).map(|(count, what)| format!(", {count} {what}")).collect();
    let mut text = format!("  {}: {} listed{counts}\n", title(list.kind()), list.listed());
    let width = entries.iter().take(SHOWN_MAX).map(|entry| entry.exposed.chars().count()).max().unwrap_or(0).min(64);
    for entry in entries.iter().take(SHOWN_MAX) {
        text.push_str(&format!("    {:width$}  {}\n", entry.exposed, origin(survey, entry)));
    }
    if let Some(more) = entries.len().checked_sub(SHOWN_MAX).filter(|more| *more > 0) {
        text.push_str(&format!("    and {more} more\n"));
    }
    for hidden in hidden.iter().take(SHOWN_MAX) {
        let server = server(survey, hidden.server);
        text.push_str(&format!("    not exposed: {} of {server}: {}\n", hidden.name, hidden.reason));
    }
    text
}

/// Where an item comes from, and what it is held to.
fn origin(survey: &Survey, entry: &Entry) -> String {
    if entry.server == ServerIndex::OURS {
        return "Quorate's own".to_owned();
    }
    let server = server(survey, entry.server);
    let mut parts = vec![if entry.upstream == entry.exposed {
        format!("of {server}")
    } else {
        format!("{} of {server}", entry.upstream)
    }];
    if let Some(terms) = &entry.terms {
        parts.extend(terms_of(terms));
    }
    parts.join("; ")
}

fn terms_of(terms: &Terms) -> Vec<String> {
    let withheld = |fixed: bool| -> Vec<&str> {
        terms.withheld().filter(|(_, has_value)| *has_value == fixed).map(|(name, _)| name).collect()
    };
    let mut parts = Vec::new();
    for (what, names) in [("fixed", withheld(true)), ("withheld", withheld(false))] {
        if !names.is_empty() {
            parts.push(format!("{what}: {}", names.join(", ")));
        }
    }
    parts.extend(terms.timeout.map(|timeout| format!("within {}", format_duration(timeout))));
    parts.extend(terms.concurrency.map(|count| format!("{count} at once")));
    parts.extend(terms.replayable.then(|| "replayable".to_owned()));
    parts
}

fn server(survey: &Survey, index: ServerIndex) -> String {
    let member = survey.members.get(usize::from(index.0));
    member.map(|(name, _)| name.to_string()).unwrap_or_default()
}

const fn title(kind: ListKind) -> &'static str {
    match kind {
        ListKind::Tools => "tools",
        ListKind::Prompts => "prompts",
        ListKind::Resources => "resources",
        ListKind::ResourceTemplates => "resource templates",
    }
}

fn judge(surveys: &[Survey], doubts: usize) -> Result<(), Failure> {
    let unreached: Vec<&str> =
        surveys.iter().flat_map(|survey| &survey.unreached).map(|(server, _)| server.as_str()).collect();
    if !unreached.is_empty() {
        let message = format!("not every tool server could be asked: {}", unreached.join(", "));
        return Err(Failure::new(Exit::Unreachable, message));
    }
    let unmatched: usize = surveys.iter().map(|survey| survey.unmatched.len()).sum();
    let hidden: usize = surveys.iter().flat_map(|survey| &survey.lists).map(|list| list.hidden().len()).sum();
    if unmatched + hidden == 0 {
        let message = || format!("policies do not fit what there is in {doubts} places: see above");
        return if doubts == 0 { Ok(()) } else { Err(Failure::new(Exit::Config, message())) };
    }
    let unmatched = if unmatched == 1 { "1 pattern matches".to_owned() } else { format!("{unmatched} patterns match") };
    let hidden = if hidden == 1 { "1 thing is".to_owned() } else { format!("{hidden} things are") };
    let message = format!("{unmatched} nothing, {hidden} not exposed: see above");
    Err(Failure::new(Exit::Config, message))
}
