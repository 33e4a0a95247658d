//! Curation: what a toolset makes of the lists of its servers before it exposes them.
//!
//! ```text
//!  Rules, Selections ── compile ──▶ Curation ─┬─ judge ─▶ excluded, or a Treatment of the item
//!  (of a document)      (once per            ├─ define ─▶ its definition changed, its Terms
//!                        configuration)      └─ has_uri ▶ whether an unlisted URI may be asked for
//!
//!  a call ── Terms::apply ──▶ the server's name for the tool, fixed arguments in, hidden ones refused
//! ```
//!
//! Lists are curated when they are merged ([`crate::listing`]), never per request; calls are held to
//! the [`Terms`] of the exposed item that they name. What is not exposed cannot be called.
//! A toolset that changes nothing has no [`Curation`] at all.

use std::sync::Arc;

use quorate_types::ResourceName;

use crate::listing::ServerIndex;
use crate::message::ListKind;

pub(crate) mod define;
mod edit;
pub mod find;
mod fixed;
pub mod instructions;
mod marks;
pub mod pattern;
mod rule;
pub mod search;
mod select;
mod spelling;
mod terms;
pub(crate) mod treatment;
pub mod version;

pub use define::META_TAGS;
pub use marks::{Marks, Watched};
pub use pattern::{InvalidPattern, Pattern, Renaming};
pub use rule::{ArgumentChange, Changes, Listed, Rule, Rules, Search, Selections, Subject};
use select::UriSelection;
pub use select::{PATTERNS_MAX, Selection};
pub use spelling::{InvalidUriPattern, Spelled, check_uri_pattern};
pub use terms::{Place, Refused, Terms};
use treatment::{Applicable, Treatment};

/// A member of a toolset, with the tool server that stands for it.
#[derive(Clone, Copy, Debug)]
pub struct Member<'a> {
    /// Its name in the toolset.
    pub name: &'a ResourceName,
    /// The tool server: its only one, or one of its versions.
    pub server: &'a ResourceName,
    /// What of it the toolset has.
    pub selections: &'a Selections,
}

/// The rules of a toolset, ready for the lists of its servers.
#[derive(Clone, Debug)]
pub struct Curation {
    /// By the members' place in the toolset.
    members: Vec<[OfKind; 3]>,
    search: Option<Search>,
    /// The number of the first pinned pattern.
    pinned: usize,
    watched: Vec<Watched>,
}

/// What becomes of an item.
#[derive(Debug)]
pub(crate) enum Judged<'a> {
    /// It is not chosen.
    Excluded,
    /// It is exposed, and changed where a rule is for it.
    Exposed(Option<Treatment<'a>>),
}

/// What concerns the items of one member and kind.
#[derive(Clone, Debug)]
struct OfKind {
    selection: Selection,
    /// The selection as it chooses resources, where it is of those.
    uris: Option<UriSelection>,
    /// The numbers of the selection's first `include` and first `exclude`; none where everything
    /// is chosen, or nothing.
    watched: Option<(usize, usize)>,
    rules: Vec<Applicable>,
}

// === impl Curation ===

impl Curation {
    /// Compiles the rules of a toolset with these members; nothing where they change nothing.
    ///
    /// Numbers of watched patterns do not depend on which versions stand for members.
    #[must_use]
    pub fn compile(members: &[Member<'_>], rules: &Rules) -> Option<Self> {
        let is_plain = members.iter().all(|member| member.selections.are_everything());
        if is_plain && *rules == Rules::default() {
            return None;
        }
        let mut compiler = Compiler { members, watched: Vec::new() };
        let mut compiled: Vec<[OfKind; 3]> =
            members.iter().enumerate().map(|(index, member)| compiler.selections(index, member)).collect();
        for (kind, rules) in
            [(Kind::Tools, &rules.tools), (Kind::Prompts, &rules.prompts), (Kind::Resources, &rules.resources)]
        {
            for (index, rule) in rules.iter().enumerate() {
                compiler.rule(&mut compiled, kind, index, rule);
            }
        }
        let pinned = compiler.watched.len();
        if let Some(Search { listed: Listed::Pinned(patterns), .. }) = &rules.search {
            for (index, pattern) in patterns.iter().enumerate() {
                compiler.watch(format!("spec.search.pinned[{index}]"), pattern.as_str(), Kind::Tools, None);
            }
        }
        Some(Self { members: compiled, search: rules.search.clone(), pinned, watched: compiler.watched })
    }

    /// Returns the patterns that are expected to match something, by number.
    #[must_use]
    pub fn watched(&self) -> &[Watched] {
        &self.watched
    }

    /// Returns how tools are searched.
    #[must_use]
    pub const fn search(&self) -> Option<&Search> {
        self.search.as_ref()
    }

    /// Tells whether names and URIs of this kind mean what servers mean by them: everything is chosen,
    /// and no rule is for any of it. Also a rule of texts alone may hide what it cannot change.
    #[must_use]
    pub fn leaves(&self, kind: ListKind) -> bool {
        let is_searched = kind == ListKind::Tools && self.search.is_some();
        let mut kinds = self.members.iter().map(|kinds| &kinds[Kind::of(kind) as usize]);
        !is_searched && kinds.all(|of_kind| of_kind.selection.is_everything() && of_kind.rules.is_empty())
    }

    /// Returns the names that rules give to exactly one item of this kind, listed or not.
    #[must_use]
    pub fn given(&self, kind: ListKind) -> Vec<&str> {
        let rules = self.members.iter().flat_map(|kinds| &kinds[Kind::of(kind) as usize].rules);
        rules.filter_map(|applicable| applicable.rule.changes.rename.as_ref()?.as_name()).collect()
    }

    /// Tells whether the toolset may have something of a server's list at all.
    #[must_use]
    pub fn has_any(&self, kind: ListKind, server: ServerIndex) -> bool {
        self.of(kind, server).is_none_or(|of_kind| !of_kind.selection.is_nothing())
    }

    /// Tells whether a tool of a server is chosen, listed or not.
    #[must_use]
    pub fn has_tool(&self, server: ServerIndex, name: &str) -> bool {
        self.of(ListKind::Tools, server).is_none_or(|of_kind| of_kind.has(name))
    }

    /// Tells whether a resource of a server may be asked for, listed or not.
    #[must_use]
    pub fn has_uri(&self, server: ServerIndex, uri: &str) -> bool {
        self.of(ListKind::Resources, server).is_none_or(|of_kind| of_kind.has(uri))
    }

    /// Returns the tags that the rules give an item of a server under exactly this name, listed or not.
    #[must_use]
    pub fn tags(&self, kind: ListKind, server: ServerIndex, name: &str) -> Vec<String> {
        let Some(of_kind) = self.of(kind, server) else { return Vec::new() };
        let mut unmarked = Marks::new(self.watched().len());
        let treatment = treatment::treat(&of_kind.rules, name, &mut unmarked);
        treatment.map_or_else(Vec::new, |treatment| treatment.tags.into_iter().map(str::to_owned).collect())
    }

    /// Returns the tags that the rules give a resource of a server in any way that the server may read its URI.
    #[must_use]
    pub fn tags_touching(&self, server: ServerIndex, spelled: &Spelled) -> Vec<String> {
        let Some(of_kind) = self.of(ListKind::Resources, server) else { return Vec::new() };
        treatment::tags_touching(&of_kind.rules, spelled.readings())
    }

    /// Decides about an item that a server lists as `name`.
    pub(crate) fn judge(&self, kind: ListKind, server: ServerIndex, name: &str, marks: &mut Marks) -> Judged<'_> {
        let Some(of_kind) = self.of(kind, server) else { return Judged::Exposed(None) };
        of_kind.mark(name, marks);
        if !of_kind.has(name) {
            return Judged::Excluded;
        }
        Judged::Exposed(treatment::treat(&of_kind.rules, name, marks))
    }

    /// Tells whether a tool is listed that is exposed as `name`.
    pub(crate) fn lists(&self, name: &str, marks: &mut Marks) -> bool {
        let Some(Search { listed: Listed::Pinned(patterns), .. }) = &self.search else { return true };
        let mut is_listed = false;
        for (index, _) in patterns.iter().enumerate().filter(|(_, pattern)| pattern.matches(name)) {
            marks.mark(self.pinned + index);
            is_listed = true;
        }
        is_listed
    }

    fn of(&self, kind: ListKind, server: ServerIndex) -> Option<&OfKind> {
        self.members.get(usize::from(server.0)).map(|kinds| &kinds[Kind::of(kind) as usize])
    }
}

// === impl OfKind ===

impl OfKind {
    /// Tells whether the name or URI is chosen.
    fn has(&self, name: &str) -> bool {
        match &self.uris {
            Some(uris) => uris.has(name),
            None => self.selection.has(name),
        }
    }

    /// Marks the patterns of the selection that are for `name`.
    fn mark(&self, name: &str, marks: &mut Marks) {
        let Some((include, exclude)) = self.watched else { return };
        for (first, patterns) in [(include, &self.selection.include), (exclude, &self.selection.exclude)] {
            for (index, _) in patterns.iter().enumerate().filter(|(_, pattern)| pattern.matches(name)) {
                marks.mark(first + index);
            }
        }
        for index in self.uris.iter().flat_map(|uris| uris.excluding(name)) {
            marks.mark(exclude + index);
        }
    }
}

/// The kinds of rules: resource templates are curated as resources are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Tools,
    Prompts,
    Resources,
}

// === impl Kind ===

impl Kind {
    const ALL: [Self; 3] = [Self::Tools, Self::Prompts, Self::Resources];

    const fn of(kind: ListKind) -> Self {
        match kind {
            ListKind::Tools => Self::Tools,
            ListKind::Prompts => Self::Prompts,
            ListKind::Resources | ListKind::ResourceTemplates => Self::Resources,
        }
    }

    const fn list(self) -> ListKind {
        match self {
            Self::Tools => ListKind::Tools,
            Self::Prompts => ListKind::Prompts,
            Self::Resources => ListKind::Resources,
        }
    }

    /// The key of the kind in a document.
    const fn key(self) -> &'static str {
        match self {
            Self::Tools => "tools",
            Self::Prompts => "prompts",
            Self::Resources => "resources",
        }
    }

    /// The key of a rule's pattern in a document.
    const fn subject(self) -> &'static str {
        match self {
            Self::Tools | Self::Prompts => "name",
            Self::Resources => "uri",
        }
    }
}

/// Puts a [`Curation`] together.
struct Compiler<'a> {
    members: &'a [Member<'a>],
    watched: Vec<Watched>,
}

// === impl Compiler ===

impl Compiler<'_> {
    fn selections(&mut self, index: usize, member: &Member<'_>) -> [OfKind; 3] {
        Kind::ALL.map(|kind| {
            let selection = match kind {
                Kind::Tools => &member.selections.tools,
                Kind::Prompts => &member.selections.prompts,
                Kind::Resources => &member.selections.resources,
            };
            // Of what is not wanted at all nothing is asked that could match.
            let watched = (!selection.is_everything() && !selection.is_nothing()).then(|| {
                let mut watch = |key: &str, patterns: &[Pattern]| {
                    let first = self.watched.len();
                    for (place, pattern) in patterns.iter().enumerate() {
                        let path = format!("spec.servers[{index}].{}.{key}[{place}]", kind.key());
                        self.watch(path, pattern.as_str(), kind, Some(ServerIndex::at(index)));
                    }
                    first
                };
                (watch("include", &selection.include), watch("exclude", &selection.exclude))
            });
            let uris = (kind == Kind::Resources).then(|| UriSelection::of(selection));
            OfKind { selection: selection.clone(), uris, watched, rules: Vec::new() }
        })
    }

    fn rule(&mut self, compiled: &mut [[OfKind; 3]], kind: Kind, index: usize, rule: &Rule) {
        let first = self.watched.len();
        let subject = &rule.subject;
        let member = subject.member.as_ref().and_then(|name| self.members.iter().position(|one| one.name == name));
        let path = format!("spec.{}[{index}]", kind.key());
        self.watch(
            format!("{path}.match.{}", kind.subject()),
            subject.pattern.as_str(),
            kind,
            member.map(ServerIndex::at),
        );
        for name in rule.changes.arguments.keys() {
            self.watch(format!("{path}.arguments.{name}"), name, kind, member.map(ServerIndex::at));
        }
        let is_elsewhere =
            subject.version.as_ref().is_some_and(|name| !self.members.iter().any(|member| member.server == name));
        self.watched[first..].iter_mut().for_each(|watched| watched.is_elsewhere = is_elsewhere);
        let rule = Arc::new(rule.clone());
        for (member, kinds) in self.members.iter().zip(compiled) {
            let is_meant = subject.member.as_ref().is_none_or(|name| name == member.name)
                && subject.version.as_ref().is_none_or(|name| name == member.server);
            if is_meant {
                kinds[kind as usize].rules.push(Applicable::of(&rule, kind == Kind::Resources, first));
            }
        }
    }

    fn watch(&mut self, path: String, text: &str, kind: Kind, server: Option<ServerIndex>) {
        let text = text.to_owned();
        let is_idle = text == "*";
        self.watched.push(Watched { path, text, kind: kind.list(), server, is_idle, is_elsewhere: false });
    }
}

#[cfg(test)]
mod tests;
