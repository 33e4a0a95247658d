//! From documents and groups to a set that decides, or to everything that is wrong.
//!
//! ```text
//!  Document ─limits─▶ scan ─▶ Cedar's parser ─▶ check, annotations ─▶ Cedar's validator (strict) ─▶ Rule ─▶ Index
//! ```
//!
//! A document goes as far as it can, so that each problem is told once and those of one step do not hide those of other
//! documents. The result depends on what is given and not on its order: documents are taken by name.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;

use cedar_policy::{Policy, PolicySet, Schema, ValidationMode, ValidationWarning, Validator};
use quorate_types::TenantId;

use crate::action::{Action, Knows};
use crate::arguments::{Declared, Reads};
use crate::check;
use crate::document::{ArgumentType, Document, PolicyRef};
use crate::group::{Group, Groups};
use crate::index::Index;
use crate::limits::{
    ARGUMENT_NAME_BYTES_MAX, ARGUMENTS_MAX, DOCUMENT_BYTES_MAX, DOCUMENTS_MAX, POLICIES_MAX, PROBLEMS_MAX,
    TOTAL_BYTES_MAX,
};
use crate::mention::{Mention, mentions};
use crate::problem::{Place, Problem, Text};
use crate::rule::{self, Rule};
use crate::scan;
use crate::schema::schema_text;
use crate::templates::Templates;

/// A compiled set: the rules in the order of their evaluation, and by tenant those that its documents have.
#[derive(Debug, Default)]
pub(crate) struct Compiled {
    pub(crate) rules: Vec<Rule>,
    pub(crate) indexes: HashMap<TenantId, Index>,
    pub(crate) groups: Groups,
    pub(crate) templates: Templates,
    /// What policies read of what a model is asked.
    pub(crate) request_reads: Reads,
    /// What policies name of the configuration, in the order of documents.
    pub(crate) mentions: Vec<Mention>,
}

/// Validators and declarations by what documents declare.
#[derive(Default)]
struct Schemas(BTreeMap<BTreeMap<String, ArgumentType>, (Validator, Arc<Declared>, usize)>);

/// Compiles everything.
///
/// # Errors
/// The first [`PROBLEMS_MAX`] problems, by place.
pub(crate) fn compile(documents: &[Document], groups: &[Group]) -> Result<Compiled, Vec<Problem>> {
    let mut problems = Vec::new();
    let mut documents: Vec<&Document> = documents.iter().collect();
    documents.sort_by(|left, right| left.name.cmp(&right.name));
    check_totals(&documents)?;
    let groups = Groups::compile(groups).map_err(|found| problems.extend(found)).unwrap_or_default();
    let mut schemas = Schemas::default();
    let (mut rules, mut mentions): (Vec<Rule>, Vec<Mention>) = Default::default();
    for document in documents {
        match compile_document(document, &mut schemas) {
            Ok(compiled) => {
                for (rule, named) in compiled {
                    rules.push(rule);
                    mentions.extend(named);
                }
            }
            Err(found) => problems.extend(found),
        }
    }
    if rules.len() > POLICIES_MAX {
        let message = format!("there are {} policies, at most {POLICIES_MAX}", rules.len());
        problems.push(Problem::new(Place::All, message, None));
    }
    if !problems.is_empty() {
        problems.sort();
        problems.truncate(PROBLEMS_MAX);
        return Err(problems);
    }
    // Stable: what is equal stays in the order of documents and of their text.
    rules.sort_by_key(|rule| (rule.class, rule.cost()));
    let mut indexes: HashMap<TenantId, Index> = HashMap::new();
    for (number, rule) in rules.iter().enumerate() {
        indexes.entry(rule.tenant.clone()).or_default().insert(number, rule);
    }
    let templates = Templates::of(&rules).map_err(|problem| vec![problem])?;
    let of_models = rules.iter().filter(|rule| rule.actions.iter().any(|action| action.knows() == Knows::Request));
    let request_reads = of_models.filter_map(|rule| rule.reading.as_ref());
    let request_reads = request_reads.fold(Reads::default(), |all, reading| all.and(&reading.reads));
    Ok(Compiled { rules, indexes, groups, templates, request_reads, mentions })
}

/// Checks what needs no look into any text.
fn check_totals(documents: &[&Document]) -> Result<(), Vec<Problem>> {
    let bytes: usize = documents.iter().map(|document| document.text.len()).sum();
    let mut problems = Vec::new();
    let totals = [(documents.len(), "documents", DOCUMENTS_MAX), (bytes, "bytes of documents", TOTAL_BYTES_MAX)];
    for (count, what, most) in totals.into_iter().filter(|(count, _, most)| count > most) {
        problems.push(Problem::new(Place::All, format!("there are {count} {what}, at most {most}"), None));
    }
    for pair in documents.windows(2) {
        if let [first, second] = pair
            && first.name == second.name
        {
            problems.push(Problem::new(text(second).place(0), "is there twice", None));
        }
    }
    problems.extend(documents.iter().filter(|document| document.text.len() > DOCUMENT_BYTES_MAX).map(|document| {
        let message = format!("has {} bytes, at most {DOCUMENT_BYTES_MAX}", document.text.len());
        Problem::new(text(document).place(0), message, Some("write several documents".to_owned()))
    }));
    problems.sort();
    if problems.is_empty() { Ok(()) } else { Err(problems) }
}

/// The rules of a document, each with what it names.
fn compile_document(document: &Document, schemas: &mut Schemas) -> Result<Vec<(Rule, Vec<Mention>)>, Vec<Problem>> {
    let text = text(document);
    check_arguments(document)?;
    scan::check(text.text)
        .map_err(|excess| vec![Problem::new(text.place(excess.at), excess.message, Some(excess.help.to_owned()))])?;
    let parsed: PolicySet = text.text.parse().map_err(|errors: cedar_policy::ParseErrors| {
        errors.iter().map(|error| Problem::of(&text, error, 0)).collect::<Vec<_>>()
    })?;
    let policies = in_order(&parsed);
    let mut problems = templates(&text, &parsed);
    let mut named: Vec<(PolicyRef, BTreeSet<String>)> = Vec::new();
    let mut remarked = BTreeSet::new();
    for (index, policy) in policies.iter().enumerate() {
        let mut remarks = check::check(policy);
        match check::annotations(policy) {
            Ok((id, scopes)) => {
                let id = id.map_or_else(|| format!("policy{}", index + 1), str::to_owned);
                if named.iter().any(|(name, _)| *name.id == *id) {
                    remarks.push((format!("there are two policies {id:?}"), None));
                }
                named.push((PolicyRef { document: document.name.clone(), id: id.into() }, scopes));
            }
            Err(found) => remarks.extend(found),
        }
        if !remarks.is_empty() {
            remarked.insert(policy.id().clone());
        }
        problems
            .extend(remarks.into_iter().map(|(message, help)| Problem::new(text.place(start(policy)), message, help)));
    }
    let (validator, declared, declaration) = schemas.of(&document.arguments);
    problems.extend(validate(&text, &parsed, validator, &remarked));
    if !problems.is_empty() {
        return Err(problems);
    }
    let rules = named.into_iter().zip(policies).map(|((name, scopes), policy)| {
        let wrong = |(message, help)| Problem::new(text.place(start(policy)), message, help);
        let lost = |message| wrong((message, None));
        let json = rule::json(policy).map_err(lost)?;
        check::compared(&json).map_err(wrong)?;
        let named = mentions(document, policy, &json, start(policy));
        let rule = Rule::new(name, document, policy, json, scopes, (declared, *declaration)).map_err(lost)?;
        Ok((rule, named))
    });
    rules.collect::<Result<Vec<_>, _>>().map_err(|problem| vec![problem])
}

fn check_arguments(document: &Document) -> Result<(), Vec<Problem>> {
    let place = || Place::Arguments { name: document.name.clone() };
    let mut problems = Vec::new();
    if document.arguments.len() > ARGUMENTS_MAX {
        let message = format!("there are {}, at most {ARGUMENTS_MAX}", document.arguments.len());
        problems.push(Problem::new(place(), message, None));
    }
    for name in document.arguments.keys() {
        if name.is_empty() || name.len() > ARGUMENT_NAME_BYTES_MAX || name.chars().any(char::is_control) {
            let message =
                format!("{name:?} is no name: allowed are 1 to {ARGUMENT_NAME_BYTES_MAX} bytes without controls");
            problems.push(Problem::new(place(), message, None));
        }
    }
    if problems.is_empty() { Ok(()) } else { Err(problems) }
}

/// The static policies in the order of the text.
fn in_order(parsed: &PolicySet) -> Vec<&Policy> {
    let mut policies: Vec<&Policy> = parsed.policies().collect();
    policies.sort_by_key(|policy| start(policy));
    policies
}

fn start(policy: &Policy) -> usize {
    policy.as_ref().loc().map_or(0, |loc| loc.start())
}

fn templates(text: &Text<'_>, parsed: &PolicySet) -> Vec<Problem> {
    let place = |template: &cedar_policy::Template| text.place(template.as_ref().loc().map_or(0, |loc| loc.start()));
    let help = "write what stands for `?principal` or `?resource`";
    let problem =
        |template| Problem::new(place(template), "is a template, which nothing fills in", Some(help.to_owned()));
    parsed.templates().map(problem).collect()
}

fn validate(
    text: &Text<'_>,
    parsed: &PolicySet,
    validator: &Validator,
    remarked: &BTreeSet<cedar_policy::PolicyId>,
) -> Vec<Problem> {
    let found = validator.validate(parsed, ValidationMode::Strict);
    let start = |id: &cedar_policy::PolicyId| parsed.policy(id).map_or(0, start);
    let told = |id: &cedar_policy::PolicyId, found: &dyn miette::Diagnostic| {
        // Cedar's own name of the policy says nothing to whoever wrote it; the place does.
        let problem = Problem::of(text, found, start(id));
        let message = problem.message.strip_prefix(&format!("for policy `{id}`, ")).map(str::to_owned);
        let message = message.unwrap_or(problem.message);
        let help = meant_action(&message).or(problem.help);
        Problem { message, help, ..problem }
    };
    let mut problems: Vec<Problem> = found.validation_errors().map(|error| told(error.policy_id(), error)).collect();
    let mut wrong: BTreeSet<_> = found.validation_errors().map(|error| error.policy_id()).chain(remarked).collect();
    problems.extend(found.validation_warnings().filter_map(|warning| {
        let id = warning.policy_id();
        let problem = told(id, warning);
        match remark(warning) {
            Remark::None => None,
            Remark::Same => Some(problem),
            // It was said already, and better.
            Remark::Impossible if !wrong.insert(id) => None,
            Remark::Impossible => Some(Problem { help: parsed.policy(id).and_then(check::meant), ..problem }),
        }
    }));
    problems
}

/// The action that one was probably meant to be that is none. Cedar's own guess compares more than the names, and changes from run to
/// run where two are equally far.
fn meant_action(message: &str) -> Option<String> {
    let given = message.strip_prefix("unrecognized action `Action::\"")?.split('"').next()?;
    let known = Action::ALL.into_iter().map(Action::as_str);
    let nearest = known.min_by_key(|name| (strsim::osa_distance(given, name), *name))?;
    Some(format!("did you mean `Action::\"{nearest}\"`?"))
}

/// What a warning of the validator is to us.
enum Remark {
    None,
    Same,
    Impossible,
}

#[expect(clippy::wildcard_enum_match_arm, reason = "a warning of a later Cedar is told as it is")]
fn remark(warning: &ValidationWarning) -> Remark {
    match warning {
        ValidationWarning::ImpossiblePolicy(_) | ValidationWarning::InvalidActionApplication(_) => Remark::Impossible,
        // Names in several scripts are legitimate, and an identifier that is not ours is an error already.
        ValidationWarning::MixedScriptString(_)
        | ValidationWarning::MixedScriptIdentifier(_)
        | ValidationWarning::ConfusableIdentifier(_) => Remark::None,
        _ => Remark::Same,
    }
}

fn text(document: &Document) -> Text<'_> {
    Text { name: &document.name, text: &document.text }
}

// === impl Schemas ===

impl Schemas {
    fn of(&mut self, arguments: &BTreeMap<String, ArgumentType>) -> &(Validator, Arc<Declared>, usize) {
        let next = self.0.len();
        self.0.entry(arguments.clone()).or_insert_with(|| {
            let schema = Schema::from_cedarschema_str(&schema_text(arguments));
            let (schema, _warnings) = schema.expect("the schema is ours, and names of arguments are quoted");
            (Validator::new(schema), Arc::new(Declared::new(arguments.clone())), next)
        })
    }
}
