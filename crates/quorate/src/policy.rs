//! `quorate policy test` and `quorate policy explain`: what policies decide, without a node.
//!
//! Both compile the policies of resource files with the code that a node compiles them with, so what is decided here is
//! decided there. A toolset is looked up in the files for its tenant; servers are asked nothing, so that tools need not
//! be there, have the names that their servers give them, and no tags but those that a case gives.

mod cases;

use quorate_config::ResourceSet;
use quorate_policy::{Case, Explanation, Judgement, Policies, Question, Target, judge};
use quorate_types::{ResourceName, TenantId};

use crate::cli::policy::{ExplainArgs, PolicyCommand, TestArgs};
use crate::exit::{Exit, Failure};
use crate::output;
use crate::run::load_files;

/// Runs the command.
///
/// # Errors
/// [`Failure`] when files are not valid, or a case is decided otherwise than expected.
pub(crate) fn run(command: &PolicyCommand) -> Result<(), Failure> {
    match command {
        PolicyCommand::Test(args) => test(args),
        PolicyCommand::Explain(args) => explain(args),
    }
}

fn test(args: &TestArgs) -> Result<(), Failure> {
    let resources = load_files(&args.files)?;
    let cases = cases::read(&args.cases, &resources).map_err(|message| Failure::new(Exit::Config, message))?;
    let judged = judge(resources.compiled_policies(), &cases);
    let failed = judged.iter().filter(|judgement| !judgement.passed()).count();
    output::print(&output::visible(&report(&judged, failed)))?;
    if failed == 0 {
        Ok(())
    } else {
        Err(Failure::new(Exit::Failure, format!("{failed} of {} cases failed", cases.len())))
    }
}

fn report(judged: &[Judgement<'_>], failed: usize) -> String {
    let lines: Vec<String> = judged.iter().map(ToString::to_string).collect();
    format!("{}\n{} passed, {failed} failed\n", lines.join("\n"), judged.len() - failed)
}

fn explain(args: &ExplainArgs) -> Result<(), Failure> {
    let usage = |message: String| Failure::new(Exit::Usage, message);
    let resources = load_files(&args.files)?;
    let principal = cases::principal(&args.who).map_err(usage)?;
    let target = target(&resources, &args.target, &args.toolset).map_err(usage)?;
    let policies = resources.compiled_policies();
    let arguments = args.arguments.as_deref();
    let question = Question { action: args.action, resource: target.resource(), arguments, request: None };
    let explanation = policies.explain(&policies.subject(&principal), &question);
    output::print(&output::visible(&explained(policies, &explanation)))
}

/// Says what was decided, then what became of each policy: those whose scope matches first.
fn explained(policies: &Policies, explanation: &Explanation) -> String {
    let decision = &explanation.decision;
    let mut text = decision.verdict.reason().to_owned();
    for policy in &decision.by {
        text.push_str(&format!(" by {policy}"));
    }
    text.push('\n');
    for policy in &decision.would_deny {
        text.push_str(&format!("  in dry run, {policy} would deny it\n"));
    }
    let (candidates, others): (Vec<_>, Vec<_>) =
        explanation.considered.iter().partition(|considered| considered.finding.in_scope());
    for considered in candidates.into_iter().chain(others) {
        text.push_str(&format!("  {considered}\n"));
    }
    if policies.is_empty() {
        text.push_str("  there is no policy\n");
    }
    text
}

/// Reads what a question is about, in a toolset of the files or, for a toolset itself, in that one.
fn target(resources: &ResourceSet, text: &str, toolset: &ResourceName) -> Result<Target, String> {
    let parse = |tenant: TenantId| Target::parse(text, tenant, toolset).map_err(|error| error.to_string());
    let first = parse(TenantId::default())?;
    let named = first.resource().toolset;
    let found = resources.toolsets().iter().find(|toolset| toolset.name.as_str() == named);
    let found = found.ok_or_else(|| format!("there is no Toolset/{named} in the files"))?;
    parse(found.tenant.clone())
}

/// A case of the file, with everything that it names looked up.
fn case(resources: &ResourceSet, form: cases::Form) -> Result<Case, String> {
    let target = target(resources, &form.on, &form.toolset)?.tagged(form.tags);
    Ok(Case {
        name: form.name,
        principal: form.who.principal()?,
        action: form.action,
        target,
        arguments: form.arguments.map(|arguments| arguments.to_string()),
        expected: form.expected,
    })
}
