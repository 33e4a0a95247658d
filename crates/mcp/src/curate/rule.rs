//! The rules of a toolset as plain, already valid data.
//!
//! A [`Rule`] says for which tools, prompts or resources ([`Subject`]) it is and what it changes
//! ([`Changes`]). Every rule that matches applies: of two that change the same thing the earlier
//! one wins, and tags add up. What a kind cannot have (a resource has no arguments) its rules do
//! not say; whoever builds them checks that.

use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;

use quorate_types::ResourceName;

use super::pattern::{Pattern, Renaming};
use super::select::Selection;

/// What a toolset changes of what its servers list.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Rules {
    /// Changes of tools.
    pub tools: Vec<Rule>,
    /// Changes of prompts.
    pub prompts: Vec<Rule>,
    /// Changes of resources and resource templates.
    pub resources: Vec<Rule>,
    /// How tools are searched; nothing when they are only listed.
    pub search: Option<Search>,
}

/// A change of some tools, prompts or resources.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rule {
    /// What it changes.
    pub subject: Subject,
    /// How.
    pub changes: Changes,
}

/// What a rule is for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Subject {
    /// The member of the toolset whose things they are; every member where there is none.
    pub member: Option<ResourceName>,
    /// The tool server, where only one version of the member is meant.
    pub version: Option<ResourceName>,
    /// Their name, URI or URI template, as the server lists it.
    pub pattern: Pattern,
}

/// What a rule changes.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Changes {
    /// The name, which then is exposed exactly so, whatever the naming of the toolset.
    pub rename: Option<Renaming>,
    /// The `title`.
    pub title: Option<String>,
    /// The `description`.
    pub description: Option<String>,
    /// Arguments by name.
    pub arguments: BTreeMap<String, ArgumentChange>,
    /// Tags to add.
    pub tags: Vec<String>,
    /// Members of `annotations`, as JSON text by key.
    pub annotations: BTreeMap<String, String>,
    /// How long a call may take.
    pub timeout: Option<Duration>,
    /// How many calls may be in progress at once.
    pub concurrency: Option<u32>,
    /// Whether a call that may have run may be sent again.
    pub replayable: Option<bool>,
}

/// What becomes of an argument. `Debug` hides a fixed value, which may be a credential.
#[derive(Clone, PartialEq, Eq)]
pub enum ArgumentChange {
    /// Clients neither see nor send it.
    Hide,
    /// As [`ArgumentChange::Hide`], and every call has it with this value, which is JSON text.
    Fix(String),
    /// It is described in other words.
    Describe(String),
}

/// How the tools of a toolset are searched.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Search {
    /// Which tools are listed without being searched for.
    pub listed: Listed,
    /// The most tools that one search returns.
    pub results_max: usize,
}

/// Which tools a toolset with a search lists.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Listed {
    /// All of them.
    All,
    /// Those whose exposed name one of these matches; sessions also list what they found.
    Pinned(Vec<Pattern>),
}

/// Which things of one member a toolset has.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Selections {
    /// Its tools.
    pub tools: Selection,
    /// Its prompts.
    pub prompts: Selection,
    /// Its resources and resource templates.
    pub resources: Selection,
}

// === impl ArgumentChange ===

impl fmt::Debug for ArgumentChange {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Hide => f.write_str("Hide"),
            Self::Fix(_) => f.write_str("Fix(hidden)"),
            Self::Describe(text) => f.debug_tuple("Describe").field(text).finish(),
        }
    }
}

// === impl Selections ===

impl Selections {
    /// Tells whether everything of the member is chosen.
    #[must_use]
    pub fn are_everything(&self) -> bool {
        [&self.tools, &self.prompts, &self.resources].into_iter().all(Selection::is_everything)
    }
}
