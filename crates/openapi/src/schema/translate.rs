//! One schema into JSON Schema 2020-12.
//!
//! Only keywords that are known and well-formed come out, so that whatever a document holds, the result is a valid
//! schema: a client that compiles it must not trip over a stranger's typing error. OpenAPI 3.0's own dialect
//! (`nullable`, boolean `exclusiveMinimum`, `example`, `format: byte`) is put into the standard's words.

use std::collections::{HashMap, HashSet, VecDeque};

use serde_json::{Map, Value, json};

use super::{Direction, Schemas, definitions, facts};
use crate::document::{Document, Version};
use crate::name;
use crate::node::Node;
use crate::problem::{Fault, Reason, shown};
use crate::text::clean;

/// The types of JSON Schema.
const TYPES: [&str; 7] = ["null", "boolean", "object", "array", "number", "string", "integer"];
/// The most bytes of a default or example; a longer one costs more than it explains.
const SAMPLE_BYTES_MAX: usize = 200;
/// The most characters of a pattern.
const PATTERN_CHARS_MAX: usize = 500;
/// The most choices that an output schema shows as examples.
const EXAMPLES_MAX: usize = 10;

/// The least bytes of a property, beside its name: `"":{},`.
const NODE_BYTES: usize = 6;

/// Why a translation ended.
pub(super) enum Stop {
    Fault(Box<Fault>),
    TooLarge,
}

/// The translation of one tool's schemas.
pub(super) struct Translator<'d> {
    document: &'d Document,
    direction: Direction,
    depth_max: usize,
    /// Whether nothing is left open. Where something may be, keywords that turn open into closed (`not`, `if`,
    /// `oneOf`, `unevaluated…`) are left out.
    exact: bool,
    nodes_left: usize,
    /// What is left of the bytes that may come out. Less is taken than is written, so that nothing that fits is stopped.
    bytes_left: usize,
    loosened: bool,
    /// The definitions so far, by the pointer of what they define.
    names: HashMap<String, String>,
    taken: HashSet<String>,
    /// The last number that each name got.
    counts: HashMap<String, usize>,
    waiting: VecDeque<(String, Node<'d>, usize)>,
    /// Which definition refers to which about the same value.
    links: Vec<(String, String)>,
    current: Option<String>,
    notes: Vec<Fault>,
}

// === impl Stop ===

impl From<Fault> for Stop {
    fn from(fault: Fault) -> Self {
        Self::Fault(Box::new(fault))
    }
}

// === impl Translator ===

impl<'d> Translator<'d> {
    pub(super) fn new(
        document: &'d Document,
        direction: Direction,
        depth_max: usize,
        exact: bool,
        bytes_max: usize,
    ) -> Self {
        Self {
            document,
            direction,
            depth_max,
            exact,
            nodes_left: document.limits.schema_nodes_max,
            bytes_left: bytes_max,
            loosened: false,
            names: HashMap::new(),
            taken: HashSet::new(),
            counts: HashMap::new(),
            waiting: VecDeque::new(),
            links: Vec::new(),
            current: None,
            notes: Vec::new(),
        }
    }

    /// Translates the parts and all that they refer to; tells whether something was left open.
    pub(super) fn run(&mut self, parts: &[Node<'d>]) -> Result<(Schemas, bool), Stop> {
        let parts: Vec<Value> = parts.iter().map(|part| self.schema(part, 0, true)).collect::<Result<_, _>>()?;
        let mut defined = Map::new();
        while let Some((name, node, level)) = self.waiting.pop_front() {
            self.current = Some(name.clone());
            let schema = self.schema(&node, level, true)?;
            defined.insert(name, schema);
        }
        if let Some(name) = definitions::endless(&self.links) {
            let pointer = self.names.iter().find(|(_, known)| **known == name).map(|(pointer, _)| pointer.clone());
            let target = format!("{:?}", pointer.clone().unwrap_or_default());
            let pointer = pointer.unwrap_or_default();
            return Err(Fault { pointer, reason: Reason::EndlessRef { target } }.into());
        }
        let (parts, definitions) = definitions::inline(parts, defined);
        Ok((Schemas { parts, definitions, notes: std::mem::take(&mut self.notes) }, self.loosened))
    }

    /// Translates one schema. `same` tells whether it is about the same value as the definition that it is in.
    fn schema(&mut self, node: &Node<'d>, level: usize, same: bool) -> Result<Value, Stop> {
        self.nodes_left = self.nodes_left.checked_sub(1).ok_or(Stop::TooLarge)?;
        if let Some(allowed) = node.value.as_bool() {
            let nothing = !allowed && self.direction == Direction::Input;
            return Ok(if nothing { json!({ "not": {} }) } else { json!({}) });
        }
        let object = node.object()?;
        if level > self.depth_max {
            return self.open(node);
        }
        let Some(_) = node.get("$ref") else { return self.keywords(node, level, same) };
        // OpenAPI 3.0 ignores what stands beside a reference.
        let beside = self.document.version == Version::V3_1 && object.len() > 1;
        let target = facts::target(self.document, node)?;
        if level + 1 > self.depth_max {
            return self.open(&target);
        }
        let name = self.define(target, level + 1);
        if let (true, Some(current)) = (same, &self.current) {
            self.links.push((current.clone(), name.clone()));
        }
        let reference = Value::String(format!("{}{name}", definitions::PREFIX));
        let mut schema = if beside { self.keywords(node, level, same)? } else { json!({}) };
        if let Value::Object(schema) = &mut schema {
            schema.insert("$ref".to_owned(), reference);
        }
        Ok(schema)
    }

    fn spend(&mut self, bytes: usize) -> Result<(), Stop> {
        self.bytes_left = self.bytes_left.checked_sub(bytes).ok_or(Stop::TooLarge)?;
        Ok(())
    }

    /// Leaves a schema open, but for its type.
    fn open(&mut self, node: &Node<'d>) -> Result<Value, Stop> {
        self.loosened = true;
        let node = facts::target(self.document, node)?;
        let mut out = Map::new();
        self.types(&node, &mut out)?;
        Ok(Value::Object(out))
    }

    /// Names what a reference leads to, and puts it in line when it is new.
    fn define(&mut self, target: Node<'d>, level: usize) -> String {
        let pointer = target.pointer();
        if let Some(name) = self.names.get(&pointer) {
            return name.clone();
        }
        let last = pointer.rsplit('/').next().map(name::sanitised).filter(|name| !name.is_empty());
        let base = last.unwrap_or_else(|| "schema".to_owned());
        let mut name = base.clone();
        while !self.taken.insert(name.clone()) {
            let count = self.counts.entry(base.clone()).or_insert(1);
            *count += 1;
            name = format!("{base}_{count}");
        }
        self.names.insert(pointer, name.clone());
        self.waiting.push_back((name.clone(), target, level));
        name
    }

    fn keywords(&mut self, node: &Node<'d>, level: usize, same: bool) -> Result<Value, Stop> {
        let mut out = Map::new();
        let nullable = self.types(node, &mut out)?;
        for (key, value) in node.members()? {
            // A key without a value is how YAML has one that was left empty; only these mean null by it.
            if value.value.is_null() && !matches!(key, "const" | "default") {
                continue;
            }
            match key {
                "description" => self.description(&value, &mut out)?,
                "properties" => self.properties(node, &value, level, &mut out)?,
                "additionalProperties" => self.additional(&value, level, &mut out)?,
                "items" => self.items(&value, level, &mut out)?,
                "allOf" | "anyOf" | "oneOf" => self.branches(node, key, &value, level, same, &mut out)?,
                "enum" => self.choices(&value, nullable, &mut out)?,
                _ if self.direction == Direction::Input => {
                    self.input_keyword(node, key, &value, level, same, &mut out)?
                }
                _ => {}
            }
        }
        let composed = ["allOf", "anyOf", "oneOf"].iter().any(|key| out.contains_key(*key));
        // Where null is allowed, it must not be the branches that refuse it.
        if nullable && composed && self.direction == Direction::Input {
            return Ok(json!({ "anyOf": [Value::Object(out), { "type": "null" }] }));
        }
        Ok(Value::Object(out))
    }

    /// Writes the type; tells whether the document allows null beside it.
    fn types(&mut self, node: &Node<'d>, out: &mut Map<String, Value>) -> Result<bool, Stop> {
        let nullable = self.document.version == Version::V3_0 && node.flag_of("nullable")? == Some(true);
        let Some(at) = node.get("type") else { return Ok(nullable) };
        let given: Vec<&str> = if at.value.is_array() {
            // YAML reads an unquoted null as nothing.
            let text = |item: Node<'d>| if item.value.is_null() { Ok("null") } else { item.text() };
            at.items()?.map(text).collect::<Result<_, _>>()?
        } else {
            vec![at.text()?]
        };
        let mut types: Vec<&str> = given.iter().copied().filter(|one| TYPES.contains(one)).collect();
        if types.len() < given.len() {
            let unknown = given.iter().find(|one| !TYPES.contains(one)).copied().unwrap_or_default();
            self.note(
                &at,
                format!("the type {}", shown(unknown)),
                "it is none of JSON Schema, so any value is allowed",
            );
            return Ok(nullable);
        }
        if (nullable || self.direction == Direction::Output) && !types.contains(&"null") {
            types.push("null");
        }
        let mut seen = HashSet::new();
        types.retain(|one| seen.insert(*one));
        let value = match types[..] {
            [] => return Ok(nullable),
            [only] => json!(only),
            _ => json!(types),
        };
        out.insert("type".to_owned(), value);
        Ok(nullable)
    }

    fn description(&mut self, value: &Node<'d>, out: &mut Map<String, Value>) -> Result<(), Stop> {
        let text = value.value.as_str().map(|text| clean(text, self.document.limits.note_chars_max));
        if let Some(text) = text.filter(|text| !text.is_empty()) {
            self.spend(text.len())?;
            out.insert("description".to_owned(), Value::String(text));
        }
        Ok(())
    }

    fn properties(
        &mut self,
        node: &Node<'d>,
        value: &Node<'d>,
        level: usize,
        out: &mut Map<String, Value>,
    ) -> Result<(), Stop> {
        let mut properties = Map::new();
        for (name, property) in value.members()? {
            if property.value.is_null() || facts::is_hidden(self.document, &property, self.direction)? {
                continue;
            }
            self.spend(name.len() + NODE_BYTES)?;
            properties.insert(name.to_owned(), self.schema(&property, level + 1, false)?);
        }
        if self.direction == Direction::Input {
            let required = facts::required(self.document, node)?;
            let hidden = |name: &&str| value.value.get(name).is_some() && !properties.contains_key(*name);
            let required: Vec<&str> = required.into_iter().filter(|name| !hidden(name)).collect();
            self.spend(required.iter().map(|name| name.len()).sum())?;
            if !required.is_empty() {
                out.insert("required".to_owned(), json!(required));
            }
        }
        out.insert("properties".to_owned(), Value::Object(properties));
        Ok(())
    }

    fn additional(&mut self, value: &Node<'d>, level: usize, out: &mut Map<String, Value>) -> Result<(), Stop> {
        let schema = match value.value.as_bool() {
            Some(true) => return Ok(()),
            Some(false) if self.direction == Direction::Output => return Ok(()),
            Some(false) => Value::Bool(false),
            None => self.schema(value, level + 1, false)?,
        };
        out.insert("additionalProperties".to_owned(), schema);
        Ok(())
    }

    fn items(&mut self, value: &Node<'d>, level: usize, out: &mut Map<String, Value>) -> Result<(), Stop> {
        // A list of schemas is how earlier drafts described tuples; what it says of each place is left open.
        if value.value.is_array() {
            self.note(value, "a list under items".to_owned(), "it is none of this version of JSON Schema");
            return Ok(());
        }
        let schema = self.schema(value, level + 1, false)?;
        out.insert("items".to_owned(), schema);
        Ok(())
    }

    fn branches(
        &mut self,
        node: &Node<'d>,
        key: &str,
        value: &Node<'d>,
        level: usize,
        same: bool,
        out: &mut Map<String, Value>,
    ) -> Result<(), Stop> {
        let mut branches = Vec::new();
        for branch in value.items()? {
            branches.push(self.schema(&branch, level + 1, same)?);
        }
        if branches.is_empty() {
            return Ok(());
        }
        // One of several, told apart by a discriminator or seen only in outline, may match more than one.
        let overlap = !self.exact || self.direction == Direction::Output || node.get("discriminator").is_some();
        let key = if key == "oneOf" && overlap { "anyOf" } else { key };
        if out.contains_key(key) {
            // Both `anyOf` and such a `oneOf`: the second goes under an `allOf`, beside whatever is there.
            let all = out.entry("allOf").or_insert_with(|| json!([]));
            if let Value::Array(all) = all {
                all.push(json!({ key: branches }));
            }
        } else {
            out.insert(key.to_owned(), Value::Array(branches));
        }
        Ok(())
    }

    fn choices(&mut self, value: &Node<'d>, nullable: bool, out: &mut Map<String, Value>) -> Result<(), Stop> {
        let mut choices: Vec<Value> = Vec::new();
        for choice in value.items()? {
            if !choices.contains(choice.value) {
                choices.push(choice.value.clone());
            }
            if choices.len() > self.document.limits.choices_max {
                let max = self.document.limits.choices_max;
                let found = format!("more than {max} values");
                self.notes.push(value.fault(Reason::TooMuch { what: "the enum", found, max: max.to_string() }));
                return Ok(());
            }
        }
        if choices.is_empty() {
            return Ok(());
        }
        if self.direction == Direction::Output {
            choices.truncate(EXAMPLES_MAX);
            out.insert("examples".to_owned(), Value::Array(choices));
            return Ok(());
        }
        if nullable && !choices.contains(&Value::Null) {
            choices.push(Value::Null);
        }
        out.insert("enum".to_owned(), Value::Array(choices));
        Ok(())
    }

    fn input_keyword(
        &mut self,
        node: &Node<'d>,
        key: &str,
        value: &Node<'d>,
        level: usize,
        same: bool,
        out: &mut Map<String, Value>,
    ) -> Result<(), Stop> {
        let given = value.value;
        let keep = match key {
            "required" => !out.contains_key("required") && node.get("properties").is_none(),
            "minLength" | "maxLength" | "minItems" | "maxItems" | "minProperties" | "maxProperties" | "minContains"
            | "maxContains" => given.is_u64(),
            "minimum" | "maximum" => given.is_number() && !exclusive(node, key),
            "exclusiveMinimum" | "exclusiveMaximum" => given.is_number(),
            "multipleOf" => given.as_f64().is_some_and(|number| number > 0.0),
            "uniqueItems" | "deprecated" => given.as_bool() == Some(true),
            "contentMediaType" | "contentEncoding" => given.is_string(),
            "pattern" => given.as_str().is_some_and(|text| text.chars().count() <= PATTERN_CHARS_MAX),
            "const" | "default" => given.to_string().len() <= SAMPLE_BYTES_MAX,
            _ => false,
        };
        if key == "required" && keep {
            let required = facts::required(self.document, node)?;
            if !required.is_empty() {
                out.insert(key.to_owned(), json!(required));
            }
            return Ok(());
        }
        if keep {
            out.insert(key.to_owned(), given.clone());
            return Ok(());
        }
        match key {
            "minimum" | "maximum" if given.is_number() => {
                let key = if key == "minimum" { "exclusiveMinimum" } else { "exclusiveMaximum" };
                out.insert(key.to_owned(), given.clone());
            }
            "format" => format(value, self.document.version, out),
            "example" => sample(given, out),
            "examples" => given.as_array().and_then(|list| list.first()).into_iter().for_each(|one| sample(one, out)),
            "prefixItems" => {
                let items = value.items()?.collect::<Vec<_>>();
                let items =
                    items.iter().map(|item| self.schema(item, level + 1, false)).collect::<Result<Vec<_>, _>>()?;
                if !items.is_empty() {
                    out.insert(key.to_owned(), Value::Array(items));
                }
            }
            "propertyNames" | "contains" => {
                let schema = self.schema(value, level + 1, false)?;
                out.insert(key.to_owned(), schema);
            }
            "patternProperties" => {
                let mut schemas = Map::new();
                for (pattern, schema) in value.members()? {
                    schemas.insert(pattern.to_owned(), self.schema(&schema, level + 1, false)?);
                }
                out.insert(key.to_owned(), Value::Object(schemas));
            }
            "not" | "if" | "then" | "else" | "unevaluatedProperties" | "unevaluatedItems" if self.exact => {
                let same = same && !key.starts_with("unevaluated");
                let schema = self.schema(value, level + 1, same)?;
                out.insert(key.to_owned(), schema);
            }
            _ => {}
        }
        Ok(())
    }

    /// Notes what was passed over, the first of a tool only: one is enough to look.
    fn note(&mut self, at: &Node<'_>, what: String, why: &'static str) {
        if self.notes.is_empty() {
            self.notes.push(at.fault(Reason::PassedOver { what, why }));
        }
    }
}

/// Tells whether a 3.0 schema says by a flag that its bound itself is not allowed.
fn exclusive(node: &Node<'_>, bound: &str) -> bool {
    let flag = if bound == "minimum" { "exclusiveMinimum" } else { "exclusiveMaximum" };
    node.value.get(flag).and_then(Value::as_bool) == Some(true)
}

/// Writes a format; those of 3.0 that stand for bytes become the encoding that carries them in JSON.
fn format(value: &Node<'_>, version: Version, out: &mut Map<String, Value>) {
    let Some(text) = value.value.as_str() else { return };
    match (text, version) {
        ("binary" | "byte", Version::V3_0) | ("binary", Version::V3_1) => {
            out.insert("contentEncoding".to_owned(), json!("base64"));
        }
        _ if text.len() <= SAMPLE_BYTES_MAX => {
            out.insert("format".to_owned(), json!(text));
        }
        _ => {}
    }
}

fn sample(value: &Value, out: &mut Map<String, Value>) {
    if value.to_string().len() <= SAMPLE_BYTES_MAX {
        out.insert("examples".to_owned(), json!([value]));
    }
}
