//! What is different between two sets: for the audit log, and for whoever changes a running one.
//!
//! In: the set that ran and the one that comes. Out: the resources that came, that changed and that went, as
//! `Kind/name`. Nothing of their content is told.

use quorate_types::ResourceName;

use super::ResourceSet;
use crate::resource::Kind;

/// What is different between two sets, each list as `Kind/name`, in the order of kinds and names.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Difference {
    /// Resources that only the later set has.
    pub added: Vec<String>,
    /// Resources that both have, with another content.
    pub changed: Vec<String>,
    /// Resources that only the earlier set has.
    pub removed: Vec<String>,
}

// === impl ResourceSet ===

impl ResourceSet {
    /// Tells what `later` has that is different.
    #[must_use]
    pub fn difference(&self, later: &Self) -> Difference {
        let mut difference = Difference::default();
        difference.of(Kind::Listener, self.listeners(), later.listeners(), |one| &one.name);
        difference.of(Kind::ToolServer, self.tool_servers(), later.tool_servers(), |one| &one.name);
        difference.of(Kind::Toolset, self.toolsets(), later.toolsets(), |one| &one.name);
        difference.of(Kind::Provider, self.providers(), later.providers(), |one| &one.name);
        difference.of(Kind::Model, self.models(), later.models(), |one| &one.name);
        difference.of(Kind::Issuer, self.issuers(), later.issuers(), |one| &one.name);
        difference.of(Kind::ApiKey, self.api_keys(), later.api_keys(), |one| &one.name);
        difference.of(Kind::Tenant, self.tenants(), later.tenants(), |one| &one.name);
        difference.of(Kind::Policy, self.policies(), later.policies(), |one| &one.name);
        difference
    }
}

// === impl Difference ===

impl Difference {
    /// Whether there is none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.added.is_empty() && self.changed.is_empty() && self.removed.is_empty()
    }

    /// Both lists are sorted by name.
    fn of<T: PartialEq>(&mut self, kind: Kind, before: &[T], later: &[T], name: impl Fn(&T) -> &ResourceName) {
        let known = |set: &[T], one: &T| set.binary_search_by(|other| name(other).cmp(name(one))).ok();
        for one in later {
            let shown = || format!("{kind}/{}", name(one));
            match known(before, one).map(|place| &before[place]) {
                None => self.added.push(shown()),
                Some(earlier) if earlier != one => self.changed.push(shown()),
                Some(_) => {}
            }
        }
        let gone = before.iter().filter(|one| known(later, one).is_none());
        self.removed.extend(gone.map(|one| format!("{kind}/{}", name(one))));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::read::{Source, parse};
    use crate::resource::{Listener, Toolset};
    use crate::set::Resources;

    fn name(text: &str) -> ResourceName {
        ResourceName::new(text).expect("is a name")
    }

    fn set(listeners: &[(&str, &str)], toolsets: &[&str]) -> ResourceSet {
        let listener = |(text, address): &(&str, &str)| Listener::new(name(text), address.parse().expect("an address"));
        ResourceSet::new(Resources {
            listeners: listeners.iter().map(listener).collect(),
            toolsets: toolsets.iter().map(|text| Toolset::new(name(text), Vec::new())).collect(),
            ..Resources::default()
        })
        .expect("they fit together")
    }

    #[test]
    fn what_came_changed_and_went_is_told_by_kind_and_name() {
        let before = set(&[("data", "127.0.0.1:1"), ("more", "127.0.0.1:2")], &["b", "a"]);
        let later = set(&[("data", "127.0.0.1:3"), ("more", "127.0.0.1:2")], &["c", "b"]);

        let difference = before.difference(&later);

        assert_eq!(difference.added, ["Toolset/c"]);
        assert_eq!(difference.changed, ["Listener/data"]);
        assert_eq!(difference.removed, ["Toolset/a"]);
        assert!(before.difference(&before).is_empty() && !difference.is_empty());
    }

    #[test]
    fn what_is_kept_of_a_flight_and_what_may_be_sent_again_are_differences() {
        let of = |more: &str| {
            let text = format!(
                "kind: ToolServer\nname: files\nspec: {{ urls: [\"http://127.0.0.1:1/mcp\"] }}\n---\n\
                 kind: Toolset\nname: tools\nspec: {{ servers: [files]{more} }}\n"
            );
            parse(&[Source { file: "set.yaml".into(), text }]).expect("is valid")
        };
        let rule = |changes: &str| format!(", tools: [{{ match: {{ name: a }}, title: A{changes} }}]");
        let cases = [
            ("", ", durability: strict".to_owned(), false),
            ("", ", durability: ephemeral".to_owned(), true),
            (", durability: ephemeral", ", durability: strict".to_owned(), true),
            (&rule(""), rule(", replayable: true"), true),
            (&rule(", replayable: false"), rule(", replayable: true"), true),
        ];
        for (before, later, is_changed) in cases {
            let changed: &[&str] = if is_changed { &["Toolset/tools"] } else { &[] };
            assert_eq!(of(before).difference(&of(&later)).changed, changed, "{before:?} to {later:?}");
        }
    }
}
