//! Which schemas stay definitions, and which go where they are used.
//!
//! A definition that is used once, or is hardly longer than a reference to it, is put in its place: many hosts show
//! models a schema without its `$defs`. What refers to itself is used at least twice, from outside and from within, so
//! it always stays. Nesting is bounded: below a depth a reference stays a reference.

use std::collections::{HashMap, HashSet};

use serde_json::{Map, Value};

/// What a reference to a definition begins with.
pub(super) const PREFIX: &str = "#/$defs/";

/// A definition up to this many bytes is put in every place: it says more than its name.
const SMALL_BYTES_MAX: usize = 100;
/// The deepest nesting of JSON that putting into place may lead to, half of what requests may have.
const NESTING_MAX: usize = 32;

/// Finds a definition that refers to itself about the same value: no value could be checked against it.
pub(super) fn endless(links: &[(String, String)]) -> Option<String> {
    let mut next: HashMap<&str, Vec<&str>> = HashMap::new();
    for (from, to) in links {
        next.entry(from).or_default().push(to);
    }
    // Names that are known to lead to no circle.
    let mut done: HashSet<&str> = HashSet::new();
    for (start, _) in links {
        if done.contains(start.as_str()) {
            continue;
        }
        let mut path: Vec<(&str, usize)> = vec![(start, 0)];
        while let Some((name, index)) = path.last_mut() {
            let name = *name;
            let step = next.get(name).and_then(|all| all.get(*index)).copied();
            *index += 1;
            match step {
                Some(to) if path.iter().any(|(on_path, _)| *on_path == to) => return Some(to.to_owned()),
                Some(to) if !done.contains(to) => path.push((to, 0)),
                Some(_) => {}
                None => {
                    done.insert(name);
                    path.pop();
                }
            }
        }
    }
    None
}

/// Puts definitions into their places where that is better; returns the parts, and the definitions that stay.
pub(super) fn inline(parts: Vec<Value>, definitions: Map<String, Value>) -> (Vec<Value>, Map<String, Value>) {
    let mut uses: HashMap<String, usize> = HashMap::new();
    parts.iter().chain(definitions.values()).for_each(|value| count(value, &mut uses));
    let moves = |(name, value): &(&String, &Value)| {
        let once = uses.get(*name).copied() == Some(1);
        once || (value.to_string().len() <= SMALL_BYTES_MAX && !refers(value))
    };
    let moved: HashSet<String> = definitions.iter().filter(moves).map(|(name, _)| name.clone()).collect();
    let mut inliner = Inliner { definitions: &definitions, moved: &moved, kept: Vec::new() };
    let parts = parts.into_iter().map(|part| inliner.value(&part, 0)).collect();
    let mut stay = Map::new();
    while let Some(name) = inliner.kept.pop() {
        if let (false, Some(value)) = (stay.contains_key(&name), definitions.get(&name)) {
            // Holds the place, so that a circle ends here.
            stay.insert(name.clone(), Value::Null);
            let value = inliner.value(value, 1);
            stay.insert(name, value);
        }
    }
    stay.sort_keys();
    (parts, stay)
}

struct Inliner<'a> {
    definitions: &'a Map<String, Value>,
    moved: &'a HashSet<String>,
    /// Definitions that something still refers to.
    kept: Vec<String>,
}

// === impl Inliner ===

impl Inliner<'_> {
    fn value(&mut self, value: &Value, depth: usize) -> Value {
        match value {
            Value::Object(object) => {
                if let Some(name) = target(object) {
                    let definition = self
                        .definitions
                        .get(name)
                        .filter(|_| object.len() == 1 && depth < NESTING_MAX && self.moved.contains(name));
                    match definition {
                        Some(definition) => return self.value(definition, depth),
                        None => self.kept.push(name.to_owned()),
                    }
                }
                let members = object.iter().map(|(key, value)| (key.clone(), self.value(value, depth + 1)));
                Value::Object(members.collect())
            }
            Value::Array(items) => Value::Array(items.iter().map(|item| self.value(item, depth + 1)).collect()),
            Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => value.clone(),
        }
    }
}

fn target(object: &Map<String, Value>) -> Option<&str> {
    object.get("$ref")?.as_str()?.strip_prefix(PREFIX)
}

fn count(value: &Value, uses: &mut HashMap<String, usize>) {
    match value {
        Value::Object(object) => {
            if let Some(name) = target(object) {
                // What stands beside a reference must stay beside it.
                *uses.entry(name.to_owned()).or_default() += if object.len() == 1 { 1 } else { 2 };
            }
            object.values().for_each(|value| count(value, uses));
        }
        Value::Array(items) => items.iter().for_each(|item| count(item, uses)),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
    }
}

fn refers(value: &Value) -> bool {
    match value {
        Value::Object(object) => object.contains_key("$ref") || object.values().any(refers),
        Value::Array(items) => items.iter().any(refers),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => false,
    }
}
