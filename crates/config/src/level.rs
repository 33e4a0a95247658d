//! What a document takes of a cluster's nodes that not every earlier program knows.
//!
//! In: a document's tree. Out: the feature level that its keys need, and the key that needs it. A program that does not know a
//! key refuses the document, so that a key which is added after a release gets a row here, and a cluster has to be at that
//! level before the document is in its catalog. Files are for the one node that reads them, and need none.

use quorate_catalog::{DURABILITY_LEVEL, DocumentKey, MODELS_LEVEL};

use crate::node::Node;
use crate::resource::Kind;

/// The keys that came after documents did, as the way to each from its document, with their feature levels.
const KEYS: &[(Kind, [&str; 2], u32)] = &[
    (Kind::Toolset, ["spec", "durability"], DURABILITY_LEVEL),
    (Kind::Provider, ["spec", "preset"], MODELS_LEVEL),
    (Kind::Model, ["spec", "targets"], MODELS_LEVEL),
];

/// A document with a key that takes a feature level.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Needed {
    /// The lowest level of a cluster that has the document.
    pub level: u32,
    /// The document.
    pub document: DocumentKey,
    /// The path of the key in it, such as `spec.durability`.
    pub path: String,
}

// === impl Needed ===

impl Needed {
    /// Finds out what takes the highest level in a document; none where every program reads all of it.
    pub(crate) fn of(document: &DocumentKey, node: &Node) -> Option<Self> {
        let kind = Kind::of(document.kind())?;
        let is_there = |way: &[&str]| way.iter().try_fold(node, |node, key| node.get(key)).is_some();
        let found = KEYS.iter().filter(|(of, way, _)| *of == kind && is_there(way));
        let (_, way, level) = found.max_by_key(|(_, _, level)| *level)?;
        Some(Self { level: *level, document: document.clone(), path: way.join(".") })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{node, schema};

    #[test]
    fn every_key_that_takes_a_level_is_one_of_its_kind() {
        for (kind, way, level) in KEYS {
            let place = way.iter().fold(schema::of_kind(*kind), |at, key| &at["properties"][key]);
            assert!(place.is_object(), "{kind} has no {way:?}");
            assert!(*level > 1, "every cluster is at level 1");
        }
    }

    #[test]
    fn a_document_takes_the_level_of_the_keys_that_it_has_whatever_they_say() {
        let needed = |kind: &str, spec: &str| {
            let key = DocumentKey::new(kind, "default", "tools").expect("is a key");
            let text = format!(r#"{{"kind": "{kind}", "name": "tools", "spec": {spec}}}"#);
            let node = node::parse(&text, node::Format::Json).pop().expect("is one").expect("is JSON");
            Needed::of(&key, &node).map(|needed| (needed.level, needed.path))
        };
        let at_three = Some((DURABILITY_LEVEL, "spec.durability".to_owned()));

        assert_eq!(needed("Toolset", r#"{"servers": ["a"]}"#), None);
        assert_eq!(needed("Toolset", r#"{"tools": [{"match": {"name": "a"}, "replayable": true}]}"#), None);
        assert_eq!(needed("Toolset", r#"{"durability": "ephemeral"}"#), at_three);
        assert_eq!(needed("Toolset", r#"{"durability": "strict"}"#), at_three, "the default is a key as well");
        let models = |path: &str| Some((MODELS_LEVEL, path.to_owned()));
        assert_eq!(needed("Provider", r#"{"preset": "openai"}"#), models("spec.preset"), "the kind is new");
        assert_eq!(needed("Model", r#"{"targets": []}"#), models("spec.targets"));
        assert_eq!(needed("ToolServer", r#"{"durability": "strict"}"#), None, "no such key");
    }
}
