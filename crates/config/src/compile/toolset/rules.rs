//! What makes the rules of a toolset valid.
//!
//! A rule is for members that exist, changes something, and says nothing twice. A new name has the
//! characters that hosts accept and as many `*` as its pattern, and no two rules give the same one:
//! what two tools are both called would be neither.

use std::collections::BTreeMap;
use std::time::Duration;

use quorate_mcp::curate::{ArgumentChange, Changes, InvalidPattern, Pattern, Renaming, Rule, Subject, find};
use quorate_mcp::naming::NAME_BYTES_MAX;
use quorate_types::ResourceName;
use serde_json::{Value, json};

use super::{bounded, count};
use crate::error::{Reason, shown};
use crate::form::toolset::{
    ArgumentForm, CONCURRENCY, NameMatchForm, PromptRuleForm, ResourceAnnotationsForm, ResourceRuleForm, RoleForm,
    TIMEOUT_SECONDS, ToolAnnotationsForm, ToolRuleForm, UriMatchForm,
};
use crate::limits::Limit;
use crate::node::Path;
use crate::report::Report;
use crate::resource::Member;
use crate::suggest::nearest;

/// The longest title in bytes: hosts show it on one line.
const TITLE_BYTES_MAX: usize = 256;
/// The longest description in bytes: models read it with every tool.
const DESCRIPTION_BYTES_MAX: usize = 8 << 10;
/// The longest tag in bytes: a word or two.
const TAG_BYTES_MAX: usize = 64;
/// The longest name of an argument in bytes.
const ARGUMENT_BYTES_MAX: usize = 256;
/// The longest value of a fixed argument, as JSON, in bytes: it goes with every call.
const FIXED_BYTES_MAX: usize = 4 << 10;

/// What rules may refer to.
pub(super) struct Scope<'a> {
    pub(super) members: &'a [Member],
    /// Whether `find_tools` is the toolset's own.
    pub(super) is_searched: bool,
}

/// What a rule is for, as any kind of rule says it.
struct MatchForm<'a> {
    server: Option<&'a str>,
    version: Option<&'a str>,
    /// The pattern's key, and its text.
    pattern: (&'static str, &'a str),
}

/// The rules of one kind, as they are compiled.
#[derive(Default)]
struct Gathered {
    rules: Vec<Rule>,
    subjects: Vec<(Subject, Path)>,
    /// The names that rules give to exactly one thing, with the version that they are for.
    names: Vec<(String, Option<ResourceName>, Path)>,
}

// === impl Scope ===

impl Scope<'_> {
    pub(super) fn tools(&self, given: &[Option<ToolRuleForm>], at: &Path, report: &mut Report<'_>) -> Vec<Rule> {
        let mut gathered = Gathered::default();
        for (index, form) in given.iter().enumerate() {
            let (Some(form), at) = (form, at.index(index)) else { continue };
            let subject = form.r#match.as_ref().and_then(NameMatchForm::read);
            let subject = subject.and_then(|form| self.subject(&form, &at.key("match"), report));
            let pattern = subject.as_ref().map(|subject| &subject.pattern);
            let rename =
                form.rename.as_deref().and_then(|text| self.rename(text, pattern, true, &at.key("rename"), report));
            let timeout = form.timeout.as_ref().and_then(|timeout| {
                let (min, max) = (Duration::from_secs(TIMEOUT_SECONDS.0), Duration::from_secs(TIMEOUT_SECONDS.1));
                report.accept(&at.key("timeout"), Duration::read(timeout, min, max))
            });
            let concurrency = form.concurrency.as_ref();
            let concurrency =
                concurrency.and_then(|concurrency| count(concurrency, CONCURRENCY, &at.key("concurrency"), report));
            let changes = Changes {
                rename,
                title: text(form.title.as_deref(), "a title", TITLE_BYTES_MAX, &at.key("title"), report),
                description: description(form.description.as_deref(), &at, report),
                arguments: arguments(form.arguments.as_ref(), false, &at.key("arguments"), report),
                tags: tags(form.tags.as_deref(), &at.key("tags"), report),
                annotations: form.annotations.as_ref().map(ToolAnnotationsForm::read).unwrap_or_default(),
                timeout,
                concurrency,
                replayable: form.replayable,
            };
            let says = form.says_something();
            gathered.add(subject, changes, (form.rename.as_deref(), says), &at, report);
        }
        gathered.rules
    }

    pub(super) fn prompts(&self, given: &[Option<PromptRuleForm>], at: &Path, report: &mut Report<'_>) -> Vec<Rule> {
        let mut gathered = Gathered::default();
        for (index, form) in given.iter().enumerate() {
            let (Some(form), at) = (form, at.index(index)) else { continue };
            let subject = form.r#match.as_ref().and_then(NameMatchForm::read);
            let subject = subject.and_then(|form| self.subject(&form, &at.key("match"), report));
            let pattern = subject.as_ref().map(|subject| &subject.pattern);
            let rename =
                form.rename.as_deref().and_then(|text| self.rename(text, pattern, false, &at.key("rename"), report));
            let changes = Changes {
                rename,
                title: text(form.title.as_deref(), "a title", TITLE_BYTES_MAX, &at.key("title"), report),
                description: description(form.description.as_deref(), &at, report),
                arguments: arguments(form.arguments.as_ref(), true, &at.key("arguments"), report),
                tags: tags(form.tags.as_deref(), &at.key("tags"), report),
                ..Changes::default()
            };
            let says = form.says_something();
            gathered.add(subject, changes, (form.rename.as_deref(), says), &at, report);
        }
        gathered.rules
    }

    pub(super) fn resources(
        &self,
        given: &[Option<ResourceRuleForm>],
        at: &Path,
        report: &mut Report<'_>,
    ) -> Vec<Rule> {
        let mut gathered = Gathered::default();
        for (index, form) in given.iter().enumerate() {
            let (Some(form), at) = (form, at.index(index)) else { continue };
            let subject = form.r#match.as_ref().and_then(UriMatchForm::read);
            let subject = subject.and_then(|form| self.subject(&form, &at.key("match"), report));
            let changes = Changes {
                title: text(form.title.as_deref(), "a title", TITLE_BYTES_MAX, &at.key("title"), report),
                description: description(form.description.as_deref(), &at, report),
                tags: tags(form.tags.as_deref(), &at.key("tags"), report),
                annotations: form.annotations.as_ref().map(ResourceAnnotationsForm::read).unwrap_or_default(),
                ..Changes::default()
            };
            gathered.add(subject, changes, (None, form.says_something()), &at, report);
        }
        gathered.rules
    }

    fn subject(&self, form: &MatchForm<'_>, at: &Path, report: &mut Report<'_>) -> Option<Subject> {
        let (key, pattern) = form.pattern;
        let pattern = report.accept(&at.key(key), Pattern::parse(pattern).map_err(|error| invalid(pattern, &error)));
        let names: Vec<&str> = self.members.iter().map(|member| member.name.as_str()).collect();
        let member =
            form.server.map(|name| self.members.iter().find(|member| member.name.as_str() == name).ok_or(name));
        let member = match member.transpose() {
            Ok(member) => member,
            Err(name) => {
                report.push(&at.key("server"), not_a_choice(name, &names));
                return None;
            }
        };
        let version = match (form.version, member) {
            (None, _) => None,
            (Some(name), None) => {
                let message = format!("version {name:?} is one of a server: add server, the name of the member");
                report.push(&at.key("version"), Reason::Conflict { message });
                return None;
            }
            (Some(name), Some(member)) => {
                let version = member.versions.iter().find(|version| version.server.as_str() == name);
                if version.is_none() {
                    let servers: Vec<&str> = member.versions.iter().map(|version| version.server.as_str()).collect();
                    report.push(&at.key("version"), not_a_choice(name, &servers));
                    return None;
                }
                version.map(|version| version.server.clone())
            }
        };
        Some(Subject { member: member.map(|member| member.name.clone()), version, pattern: pattern? })
    }

    fn rename(
        &self,
        text: &str,
        pattern: Option<&Pattern>,
        is_tool: bool,
        at: &Path,
        report: &mut Report<'_>,
    ) -> Option<Renaming> {
        let invalid = |message: String| Reason::Invalid { value: shown(text), message };
        let renaming = Renaming::parse(text).map_err(|error| invalid(error.to_string()));
        let renaming = report.accept(at, renaming)?;
        let is_accepted = |c: char| c.is_ascii_alphanumeric() || "_.-".contains(c);
        let mut problem = None;
        if !renaming.fixed_parts().all(|part| part.chars().all(is_accepted)) {
            problem = Some("names have letters, digits, `_`, `.` and `-` only, which every host accepts".to_owned());
        } else if renaming.fixed_parts().map(str::len).sum::<usize>() > NAME_BYTES_MAX {
            problem = Some(format!("names have at most {NAME_BYTES_MAX} bytes"));
        } else if is_tool && self.is_searched && text == find::NAME {
            problem = Some("this name is that of the toolset's search".to_owned());
        } else if let Some(pattern) = pattern.filter(|pattern| pattern.wildcards() != renaming.wildcards()) {
            let (has, wants) = (renaming.wildcards(), pattern.wildcards());
            problem = Some(format!(
                "it has {has} `*` and its pattern {:?} has {wants}: each of the pattern's stands in the new name",
                pattern.as_str()
            ));
        }
        match problem {
            Some(message) => {
                report.push(at, invalid(message));
                None
            }
            None => Some(renaming),
        }
    }
}

// === impl Gathered ===

impl Gathered {
    /// Takes a rule with its new name as written, and whether its document has any change.
    fn add(
        &mut self,
        subject: Option<Subject>,
        changes: Changes,
        (rename, says): (Option<&str>, bool),
        at: &Path,
        report: &mut Report<'_>,
    ) {
        if !says && !report.has_refused_within(at, "match") {
            let message = "the rule changes nothing: say what, or remove it".to_owned();
            report.push(at, Reason::Conflict { message });
        }
        let Some(subject) = subject else { return };
        if let Some((_, first)) = self.subjects.iter().find(|(known, _)| *known == subject) {
            let (value, first) = (shown(subject.pattern.as_str()), first.to_string());
            report.push(&at.key("match"), Reason::Repeated { value, first });
        }
        if let (Some(name), 0, Some(_)) = (rename, subject.pattern.wildcards(), &changes.rename) {
            let version = subject.version.clone();
            // Two versions never stand for their member at once.
            let clashes = |other: &Option<ResourceName>| *other == version || other.is_none() || version.is_none();
            if let Some((_, _, first)) = self.names.iter().find(|(known, of, _)| known == name && clashes(of)) {
                let first = first.to_string();
                report.push(&at.key("rename"), Reason::Repeated { value: shown(name), first });
            }
            self.names.push((name.to_owned(), version, at.key("rename")));
        }
        self.subjects.push((subject.clone(), at.key("match")));
        self.rules.push(Rule { subject, changes });
    }
}

// === impl NameMatchForm ===

impl NameMatchForm {
    fn read(&self) -> Option<MatchForm<'_>> {
        let pattern = ("name", self.name.as_deref()?);
        Some(MatchForm { server: self.server.as_deref(), version: self.version.as_deref(), pattern })
    }
}

// === impl UriMatchForm ===

impl UriMatchForm {
    fn read(&self) -> Option<MatchForm<'_>> {
        let pattern = ("uri", self.uri.as_deref()?);
        Some(MatchForm { server: self.server.as_deref(), version: self.version.as_deref(), pattern })
    }
}

// === impl ToolRuleForm ===

impl ToolRuleForm {
    fn says_something(&self) -> bool {
        [&self.rename, &self.title, &self.description, &self.timeout].into_iter().any(Option::is_some)
            || self.arguments.is_some()
            || self.tags.is_some()
            || self.annotations.is_some()
            || self.concurrency.is_some()
            || self.replayable.is_some()
    }
}

// === impl PromptRuleForm ===

impl PromptRuleForm {
    fn says_something(&self) -> bool {
        [&self.rename, &self.title, &self.description].into_iter().any(Option::is_some)
            || self.arguments.is_some()
            || self.tags.is_some()
    }
}

// === impl ResourceRuleForm ===

impl ResourceRuleForm {
    fn says_something(&self) -> bool {
        self.title.is_some() || self.description.is_some() || self.tags.is_some() || self.annotations.is_some()
    }
}

// === impl ToolAnnotationsForm ===

impl ToolAnnotationsForm {
    fn read(&self) -> BTreeMap<String, String> {
        let hints = [
            ("readOnlyHint", self.read_only_hint),
            ("destructiveHint", self.destructive_hint),
            ("idempotentHint", self.idempotent_hint),
            ("openWorldHint", self.open_world_hint),
        ];
        hints.into_iter().filter_map(|(key, hint)| Some((key.to_owned(), hint?.to_string()))).collect()
    }
}

// === impl ResourceAnnotationsForm ===

impl ResourceAnnotationsForm {
    fn read(&self) -> BTreeMap<String, String> {
        let role = |role: &RoleForm| match role {
            RoleForm::User => "user",
            RoleForm::Assistant => "assistant",
        };
        let audience = self.audience.as_ref().map(|roles| roles.iter().flatten().map(role).collect::<Vec<_>>());
        audience.into_iter().map(|roles| ("audience".to_owned(), json!(roles).to_string())).collect()
    }
}

fn arguments(
    given: Option<&BTreeMap<String, ArgumentForm>>,
    are_texts: bool,
    at: &Path,
    report: &mut Report<'_>,
) -> BTreeMap<String, ArgumentChange> {
    let mut arguments = BTreeMap::new();
    for (name, form) in given.into_iter().flatten() {
        let at = at.key(name);
        let named = report.accept(&at, bounded(name, "an argument's name", ARGUMENT_BYTES_MAX));
        let change = report.accept(&at, form.read(are_texts));
        if let (Some(name), Some(change)) = (named, change) {
            arguments.insert(name, change);
        }
    }
    arguments
}

// === impl ArgumentForm ===

impl ArgumentForm {
    fn read(&self, is_text: bool) -> Result<ArgumentChange, Reason> {
        let hides = self.hide == Some(true);
        match (hides, &self.fix, &self.description) {
            (true, None, None) => Ok(ArgumentChange::Hide),
            (false, Some(value), None) => fixed(value, is_text),
            (false, None, Some(text)) => {
                bounded(text, "a description", DESCRIPTION_BYTES_MAX).map(ArgumentChange::Describe)
            }
            (false, None, None) => {
                let message = "an argument has hide: true, fix or description".to_owned();
                Err(Reason::Conflict { message })
            }
            (true, _, _) | (false, Some(_), Some(_)) => {
                let message =
                    "hide, fix and description exclude each other: what clients do not see needs no words".to_owned();
                Err(Reason::Conflict { message })
            }
        }
    }
}

/// A fixed value. It may be a credential, so errors do not show it.
fn fixed(value: &Value, is_text: bool) -> Result<ArgumentChange, Reason> {
    let invalid = |message: String| Reason::Invalid { value: "its value (hidden)".to_owned(), message };
    if is_text && !value.is_string() {
        return Err(invalid("arguments of prompts are texts: put it in quotes".to_owned()));
    }
    // Keys have no order: the same value is the same text, whatever way the document took.
    let mut value = value.clone();
    value.sort_all_objects();
    let json = value.to_string();
    if json.len() > FIXED_BYTES_MAX {
        return Err(invalid(format!(
            "a fixed value has at most {FIXED_BYTES_MAX} bytes of JSON, this has {}",
            json.len()
        )));
    }
    Ok(ArgumentChange::Fix(json))
}

fn description(text: Option<&str>, at: &Path, report: &mut Report<'_>) -> Option<String> {
    self::text(text, "a description", DESCRIPTION_BYTES_MAX, &at.key("description"), report)
}

fn text(text: Option<&str>, what: &str, max: usize, at: &Path, report: &mut Report<'_>) -> Option<String> {
    report.accept(at, bounded(text?, what, max))
}

fn tags(given: Option<&[Option<String>]>, at: &Path, report: &mut Report<'_>) -> Vec<String> {
    let texts = given.unwrap_or_default().iter().enumerate().filter_map(|(index, tag)| Some((index, tag.as_deref()?)));
    texts.filter_map(|(index, tag)| report.accept(&at.index(index), bounded(tag, "a tag", TAG_BYTES_MAX))).collect()
}

fn invalid(text: &str, error: &InvalidPattern) -> Reason {
    Reason::Invalid { value: shown(text), message: error.to_string() }
}

fn not_a_choice(name: &str, allowed: &[&str]) -> Reason {
    let suggestion = nearest(name, allowed.iter().copied()).map(str::to_owned);
    Reason::NotAChoice {
        value: shown(name),
        suggestion,
        allowed: allowed.iter().map(|one| (*one).to_owned()).collect(),
    }
}
