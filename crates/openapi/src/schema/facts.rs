//! What a schema says about its values, as far as it decides how they travel.
//!
//! Questions that are asked of the document before anything is translated: what a reference leads to, whether only
//! objects are meant, which properties there are, whether a text stands for bytes.

use std::collections::hash_map::Entry;
use std::collections::{HashMap, HashSet};

use serde_json::{Map, Value};

use super::Direction;
use crate::document::{Document, Version};
use crate::node::Node;
use crate::problem::{Fault, Reason};

/// The deepest composition that is looked into; documents have two or three levels.
const COMPOSITION_MAX: usize = 16;
/// The most schemas that one question looks at.
const LOOKED_AT_MAX: usize = 500;

/// A property of an object.
#[derive(Clone, Debug)]
pub(crate) struct Field<'d> {
    pub(crate) name: &'d str,
    pub(crate) node: Node<'d>,
    pub(crate) required: bool,
}

/// What a schema says of the members of an object, wherever it says it.
#[derive(Clone, Debug, Default)]
pub(crate) struct Described<'d> {
    /// Properties by their names; of several descriptions the first.
    pub(crate) fields: Vec<Field<'d>>,
    /// What holds for the others.
    pub(crate) others: Option<Node<'d>>,
}

/// Returns what a schema means: itself, or what its `$ref` leads to. In 3.1 a reference with something beside it
/// means more than what it leads to, so only its own hop is made.
pub(crate) fn target<'d>(document: &'d Document, node: &Node<'d>) -> Result<Node<'d>, Fault> {
    let mut current = node.clone();
    for hop in 0..=document.limits.ref_hops_max {
        let Some(reference) = current.get("$ref") else { return Ok(current) };
        let alone = document.version == Version::V3_0 || current.object()?.len() == 1;
        if hop > 0 && !alone {
            return Ok(current);
        }
        current = document.follow(&reference)?;
    }
    let target = node.value.get("$ref").and_then(Value::as_str).unwrap_or_default();
    Err(node.fault(Reason::EndlessRef { target: crate::problem::shown(target) }))
}

/// Tells whether a property is not for this direction: `readOnly` for input, `writeOnly` for output.
pub(super) fn is_hidden(document: &Document, node: &Node<'_>, direction: Direction) -> Result<bool, Fault> {
    let key = match direction {
        Direction::Input => "readOnly",
        Direction::Output => "writeOnly",
    };
    let flagged = |node: &Node<'_>| node.value.get(key).and_then(Value::as_bool) == Some(true);
    Ok(flagged(node) || (node.value.get("$ref").is_some() && flagged(&target(document, node)?)))
}

/// The names under `required`, each once; what is no text there is passed over.
pub(super) fn required<'d>(document: &Document, node: &Node<'d>) -> Result<Vec<&'d str>, Fault> {
    let Some(required) = node.get("required") else { return Ok(Vec::new()) };
    // Drafts before 4 had a flag here, and documents still do.
    if required.value.is_boolean() {
        return Ok(Vec::new());
    }
    if required.value.as_array().is_some_and(|names| names.len() > document.limits.schema_nodes_max) {
        return Err(too_many_names(&required, document.limits.schema_nodes_max));
    }
    let mut seen = HashSet::new();
    Ok(required.items()?.filter_map(|name| name.value.as_str()).filter(|name| seen.insert(*name)).collect())
}

fn too_many_names(node: &Node<'_>, max: usize) -> Fault {
    let found = format!("more than {max} names of properties");
    node.fault(Reason::TooMuch { what: "the schema", found, max: max.to_string() })
}

/// Tells whether every value of a schema is an object, null aside.
pub(crate) fn is_object(document: &Document, node: &Node<'_>) -> Result<bool, Fault> {
    Look::new(document).is_object(node, 0)
}

/// Lists the properties of an object that is described by nothing else, so that each of them can be an argument.
/// `None` when the schema is more than that: alternatives, free keys, or no properties at all.
pub(crate) fn fields<'d>(document: &'d Document, node: &Node<'d>) -> Result<Option<Vec<Field<'d>>>, Fault> {
    let mut fields = Vec::new();
    let mut look = Look::new(document);
    let plain = look.collect(node, 0, &mut fields)?;
    if !plain || fields.is_empty() {
        return Ok(None);
    }
    let required: HashSet<&str> = fields.iter().filter(|field| field.required).map(|field| field.name).collect();
    // A property that several parts describe is the last one's, at the place of the first.
    let mut kept: Vec<Field<'d>> = Vec::with_capacity(fields.len());
    let mut places: HashMap<&str, usize> = HashMap::with_capacity(fields.len());
    for mut field in fields {
        field.required = required.contains(field.name);
        match places.entry(field.name) {
            Entry::Occupied(place) => kept[*place.get()] = field,
            Entry::Vacant(place) => {
                place.insert(kept.len());
                kept.push(field);
            }
        }
    }
    kept.retain(|field| field.node.value.is_object() || field.node.value.is_boolean());
    let mut shown = Vec::with_capacity(kept.len());
    for field in kept {
        if !is_hidden(document, &field.node, Direction::Input)? {
            shown.push(field);
        }
    }
    Ok((!shown.is_empty()).then_some(shown))
}

/// Lists what a schema describes, alternatives included: for whoever asks how a member is written, not whether it may
/// be there.
pub(crate) fn described<'d>(document: &'d Document, node: &Node<'d>) -> Result<Described<'d>, Fault> {
    let mut found = Described::default();
    Look::new(document).describe(node, 0, &mut found)?;
    let mut seen = HashSet::new();
    found.fields.retain(|field| seen.insert(field.name));
    Ok(found)
}

/// Tells whether a schema is of lists.
pub(crate) fn is_list(document: &Document, node: &Node<'_>) -> Result<bool, Fault> {
    let node = target(document, node)?;
    Ok(types(&node).map_or_else(|| node.get("items").is_some(), |types| types.contains(&"array")))
}

/// Tells whether a schema stands for bytes rather than for text: a file of a form, or a body.
pub(crate) fn is_binary(document: &Document, node: &Node<'_>) -> Result<bool, Fault> {
    let node = target(document, node)?;
    let text = |key: &str| node.value.get(key).and_then(Value::as_str);
    let typed = types(&node).is_none_or(|types| types.contains(&"string"));
    let by_format = matches!(text("format"), Some("binary")) && typed;
    // 3.1 describes bytes by their media type; with an encoding they are text already.
    let by_content = document.version == Version::V3_1
        && typed
        && text("contentEncoding").is_none()
        && text("contentMediaType").is_some_and(|media| !media.starts_with("text/") && !media.contains("json"));
    Ok(by_format || by_content)
}

/// The types that a schema names.
fn types<'d>(node: &Node<'d>) -> Option<Vec<&'d str>> {
    match node.value.get("type")? {
        Value::String(one) => Some(vec![one]),
        Value::Array(several) => Some(several.iter().filter_map(Value::as_str).collect()),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::Object(_) => None,
    }
}

/// The most names of properties that one question reads: each property may be described and required.
fn names_max(document: &Document) -> usize {
    document.limits.schema_nodes_max.saturating_mul(2)
}

/// A bounded look around.
struct Look<'d> {
    document: &'d Document,
    left: usize,
    /// How many more names of properties are read.
    names_left: usize,
}

// === impl Look ===

impl<'d> Look<'d> {
    fn new(document: &'d Document) -> Self {
        Self { document, left: LOOKED_AT_MAX, names_left: names_max(document) }
    }

    /// Tells whether there is room for one more schema at this depth of composition.
    fn may(&mut self, depth: usize) -> bool {
        self.left = self.left.saturating_sub(1);
        self.left > 0 && depth < COMPOSITION_MAX
    }

    fn is_object(&mut self, node: &Node<'_>, depth: usize) -> Result<bool, Fault> {
        if !self.may(depth) {
            return Ok(false);
        }
        let node = target(self.document, node)?;
        if let Some(types) = types(&node) {
            return Ok(types.contains(&"object") && types.iter().all(|one| matches!(*one, "object" | "null")));
        }
        if node.get("properties").is_some()
            || node.get("additionalProperties").is_some_and(|node| node.value.is_object())
        {
            return Ok(true);
        }
        for key in ["oneOf", "anyOf"] {
            let Some(branches) = node.get(key) else { continue };
            let mut all = branches.items()?.next().is_some();
            for branch in branches.items()? {
                all = all && self.is_object(&branch, depth + 1)?;
            }
            if all {
                return Ok(true);
            }
        }
        if let Some(branches) = node.get("allOf") {
            for branch in branches.items()? {
                if self.is_object(&branch, depth + 1)? {
                    return Ok(true);
                }
            }
        }
        Ok(false)
    }

    /// Adds the properties of a schema; false when it is more than properties.
    fn collect(&mut self, node: &Node<'d>, depth: usize, fields: &mut Vec<Field<'d>>) -> Result<bool, Fault> {
        if !self.may(depth) {
            return Ok(false);
        }
        let node = target(self.document, node)?;
        let more = ["oneOf", "anyOf", "not", "if", "patternProperties", "propertyNames", "dependentSchemas", "$ref"];
        let free = node.get("additionalProperties").is_some_and(|node| node.value != &Value::Bool(false));
        let typed = types(&node).is_none_or(|types| types.contains(&"object"));
        if !node.value.is_object() || !typed || free || more.iter().any(|key| node.get(key).is_some()) {
            return Ok(false);
        }
        if let Some(branches) = node.get("allOf") {
            for branch in branches.items()? {
                if !self.collect(&branch, depth + 1, fields)? {
                    return Ok(false);
                }
            }
        }
        self.spend_names(&node)?;
        let required: HashSet<&str> = required(self.document, &node)?.into_iter().collect();
        if let Some(properties) = node.get("properties") {
            fields.extend(properties.members()?.map(|(name, node)| Field { name, node, required: false }));
        }
        // A part may require what another part describes.
        for field in fields.iter_mut().filter(|field| required.contains(field.name)) {
            field.required = true;
        }
        Ok(true)
    }

    /// Adds what a schema and everything about the same value describe.
    fn describe(&mut self, node: &Node<'d>, depth: usize, found: &mut Described<'d>) -> Result<(), Fault> {
        if !self.may(depth) {
            return Ok(());
        }
        self.spend_names(node)?;
        if let Some(properties) = node.get("properties") {
            let fields = properties.members()?.filter(|(_, node)| node.value.is_object());
            found.fields.extend(fields.map(|(name, node)| Field { name, node, required: false }));
        }
        if found.others.is_none() {
            found.others = node.get("additionalProperties").filter(|node| node.value.is_object());
        }
        if let Some(reference) = node.get("$ref") {
            self.describe(&self.document.follow(&reference)?, depth + 1, found)?;
        }
        for branches in ["allOf", "anyOf", "oneOf"].iter().filter_map(|key| node.get(key)) {
            for branch in branches.items()? {
                self.describe(&branch, depth + 1, found)?;
            }
        }
        Ok(())
    }

    /// Takes the names that a schema has from those that are left.
    fn spend_names(&mut self, node: &Node<'_>) -> Result<(), Fault> {
        let described = node.value.get("properties").and_then(Value::as_object).map_or(0, Map::len);
        let required = node.value.get("required").and_then(Value::as_array).map_or(0, Vec::len);
        let left = self.names_left.checked_sub(described.saturating_add(required));
        self.names_left = left.ok_or_else(|| too_many_names(node, names_max(self.document)))?;
        Ok(())
    }
}
