//! What the rules of a toolset do to one listed item, all of them together.
//!
//! In: the rules that may concern one server's items of one kind, and the item's name. Out: one
//! [`Treatment`]. The earlier rule wins where two change the same thing; tags add up.

use std::sync::Arc;
use std::time::Duration;

use super::marks::Marks;
use super::rule::{ArgumentChange, Rule};
use super::spelling::{Readings, UriPattern};
use super::terms::Terms;

/// What is done to one item.
#[derive(Clone, Debug, Default)]
pub(crate) struct Treatment<'a> {
    /// The name that it is exposed under.
    pub(crate) name: Option<String>,
    pub(crate) title: Option<&'a str>,
    pub(crate) description: Option<&'a str>,
    pub(crate) arguments: Vec<Treated<'a>>,
    pub(crate) tags: Vec<&'a str>,
    pub(crate) annotations: Vec<(&'a str, &'a str)>,
    pub(crate) timeout: Option<Duration>,
    pub(crate) concurrency: Option<u32>,
    pub(crate) replayable: Option<bool>,
}

/// What is done to one argument.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Treated<'a> {
    pub(crate) name: &'a str,
    pub(crate) change: &'a ArgumentChange,
    /// The number under which it is watched.
    pub(crate) watched: usize,
}

/// A rule that may concern the items of one server.
#[derive(Clone, Debug)]
pub(super) struct Applicable {
    pub(super) rule: Arc<Rule>,
    /// Its pattern as URIs are read, where it is for resources.
    uris: Option<UriPattern>,
    /// The number under which its pattern is watched; those of its arguments follow, in order.
    watched: usize,
}

// === impl Treatment ===

impl Treatment<'_> {
    /// What holds for calls, but for arguments: those depend on the definition.
    pub(crate) fn terms(&self) -> Terms {
        Terms {
            timeout: self.timeout,
            concurrency: self.concurrency,
            replayable: self.replayable.unwrap_or(false),
            ..Terms::default()
        }
    }
}

// === impl Applicable ===

impl Applicable {
    /// Makes it of a rule for resources, or for something else, whose pattern is watched under a number.
    pub(super) fn of(rule: &Arc<Rule>, is_for_resources: bool, watched: usize) -> Self {
        let uris = is_for_resources.then(|| UriPattern::of(&rule.subject.pattern));
        Self { rule: Arc::clone(rule), uris, watched }
    }

    /// Adds what the rule does to the item `name`; false when it is not for it.
    fn apply<'a>(&'a self, name: &str, treatment: &mut Treatment<'a>) -> bool {
        let Some(captured) = self.rule.subject.pattern.captures(name) else { return false };
        let changes = &self.rule.changes;
        if let (None, Some(renaming)) = (&treatment.name, &changes.rename) {
            treatment.name = Some(renaming.apply(&captured));
        }
        treatment.title = treatment.title.or(changes.title.as_deref());
        treatment.description = treatment.description.or(changes.description.as_deref());
        for (index, (name, change)) in changes.arguments.iter().enumerate() {
            if !treatment.arguments.iter().any(|treated| treated.name == name) {
                treatment.arguments.push(Treated { name, change, watched: self.watched + 1 + index });
            }
        }
        for tag in &changes.tags {
            if !treatment.tags.contains(&tag.as_str()) {
                treatment.tags.push(tag);
            }
        }
        for (key, value) in &changes.annotations {
            if !treatment.annotations.iter().any(|(known, _)| known == key) {
                treatment.annotations.push((key, value));
            }
        }
        treatment.timeout = treatment.timeout.or(changes.timeout);
        treatment.concurrency = treatment.concurrency.or(changes.concurrency);
        treatment.replayable = treatment.replayable.or(changes.replayable);
        true
    }
}

/// The tags of those `rules` for resources that are for some reading of a URI.
pub(super) fn tags_touching(rules: &[Applicable], uri: &Readings) -> Vec<String> {
    let mut tags: Vec<String> = Vec::new();
    let is_meant = |rule: &&Applicable| rule.uris.as_ref().is_some_and(|pattern| pattern.touches(uri));
    for tag in rules.iter().filter(is_meant).flat_map(|applicable| &applicable.rule.changes.tags) {
        if !tags.contains(tag) {
            tags.push(tag.clone());
        }
    }
    tags
}

/// Puts together what `rules` do to the item `name`; nothing when none is for it.
pub(super) fn treat<'a>(rules: &'a [Applicable], name: &str, marks: &mut Marks) -> Option<Treatment<'a>> {
    let mut treatment = Treatment::default();
    let mut is_treated = false;
    for rule in rules.iter().filter(|rule| rule.apply(name, &mut treatment)) {
        marks.mark(rule.watched);
        is_treated = true;
    }
    is_treated.then_some(treatment)
}
