//! Whether a JSON text fits an output schema, told while it is read: nothing of it is kept.
//!
//! An outline says of each place of a value what holds there: a set of kinds, and what holds for its members or items.
//! References and `allOf` are resolved when it is made. A place with alternatives (`anyOf`) is left open: a text that has
//! something there is said not to fit, and whoever asked has to look closer. So the answer "fits" is always right, and
//! the answer "does not" means that the text has to be read whole.

use std::collections::HashMap;
use std::fmt;

use serde::de::{DeserializeSeed, Deserializer, Error, MapAccess, SeqAccess, Visitor};
use serde_json::Value;

use super::{allows, below};
use crate::kind::Kind;

/// The most places of an outline; what lies beyond is left open.
const PLACES_MAX: usize = 4_096;
/// The most schemas that hold at one place.
const PARTS_MAX: usize = 32;
/// Every kind, in the order of its bit.
const KINDS: [Kind; 7] =
    [Kind::Null, Kind::Boolean, Kind::Integer, Kind::Number, Kind::String, Kind::Array, Kind::Object];

/// An output schema by its places.
#[derive(Clone, Debug)]
pub(super) struct Outline {
    places: Vec<Place>,
}

/// What holds at a place.
#[derive(Clone, Debug, Default)]
struct Place {
    /// The kinds that are allowed, a bit each; none where the place is left open.
    kinds: u8,
    /// Named members, sorted.
    members: Vec<(Box<str>, At)>,
    /// All other members.
    others: At,
    items: At,
}

/// A place by its number; none where everything is allowed.
type At = Option<usize>;

/// Makes an outline.
struct Maker<'s> {
    root: &'s Value,
    places: Vec<Place>,
    /// The places that are made or under way, by the addresses of the schemas that hold there.
    known: HashMap<Vec<*const Value>, usize>,
    /// Those whose members are not made yet.
    open: Vec<(usize, Vec<&'s Value>)>,
}

/// Reads a value at a place.
struct Reading<'o> {
    outline: &'o Outline,
    at: At,
    /// How deep it may nest.
    levels_left: usize,
}

/// Reads a key, and finds the place of its member.
struct Key<'o>(&'o Place);

// === impl Outline ===

impl Outline {
    /// Makes the outline of an output schema as this crate writes it.
    pub(super) fn of(root: &Value) -> Self {
        let mut maker = Maker { root, places: Vec::new(), known: HashMap::new(), open: Vec::new() };
        maker.place(vec![root]);
        while let Some((at, parts)) = maker.open.pop() {
            maker.fill(at, &parts);
        }
        Self { places: maker.places }
    }

    /// Tells whether a text is JSON of at most `levels_max` levels that fits; under `wrapper` where it is to stand there.
    pub(super) fn fits(&self, json: &str, wrapper: Option<&str>, levels_max: usize) -> bool {
        let at = match (wrapper, self.places.first()) {
            (None, _) => Some(0),
            (Some(name), Some(root)) if root.allows(Kind::Object) => root.below(name),
            (Some(_), _) => return false,
        };
        let mut deserializer = serde_json::Deserializer::from_str(json);
        let reading = Reading { outline: self, at, levels_left: levels_max };
        reading.deserialize(&mut deserializer).and_then(|()| deserializer.end()).is_ok()
    }
}

// === impl Place ===

impl Place {
    const fn allows(&self, kind: Kind) -> bool {
        self.kinds & (1 << kind as u8) != 0
    }

    fn below(&self, name: &str) -> At {
        let found = self.members.binary_search_by(|(member, _)| (**member).cmp(name));
        found.map_or(self.others, |index| self.members[index].1)
    }
}

// === impl Maker ===

impl<'s> Maker<'s> {
    /// The number of the place at which all of these schemas hold; none where there are none.
    fn place(&mut self, schemas: Vec<&'s Value>) -> At {
        if schemas.is_empty() {
            return None;
        }
        let mut parts = Vec::new();
        let is_clear = schemas.into_iter().all(|schema| self.collect(schema, &mut parts));
        let is_clear = is_clear && self.places.len() < PLACES_MAX;
        if !is_clear {
            parts.clear();
        }
        let key: Vec<*const Value> = parts.iter().map(|part| std::ptr::from_ref(*part)).collect();
        if let Some(at) = self.known.get(&key) {
            return Some(*at);
        }
        let at = self.places.len();
        self.known.insert(key, at);
        self.places.push(Place::default());
        if is_clear {
            self.open.push((at, parts));
        }
        Some(at)
    }

    /// Collects a schema with those that it refers to and is composed of; false where there are alternatives.
    fn collect(&self, schema: &'s Value, parts: &mut Vec<&'s Value>) -> bool {
        if parts.iter().any(|part| std::ptr::eq(*part, schema)) {
            return true;
        }
        if parts.len() >= PARTS_MAX || schema.get("anyOf").is_some() {
            return false;
        }
        parts.push(schema);
        let target = match schema.get("$ref").and_then(Value::as_str) {
            None => None,
            Some(reference) => match reference.strip_prefix('#').and_then(|pointer| self.root.pointer(pointer)) {
                None => return false,
                target => target,
            },
        };
        let all = schema.get("allOf").and_then(Value::as_array).into_iter().flatten();
        target.into_iter().chain(all).all(|schema| self.collect(schema, parts))
    }

    fn fill(&mut self, at: usize, parts: &[&'s Value]) {
        let is_allowed = |kind: &Kind| parts.iter().all(|part| allows(part, *kind));
        let kinds = KINDS.into_iter().filter(is_allowed).fold(0, |kinds, kind| kinds | (1 << kind as u8));
        let properties = parts.iter().filter_map(|part| part.get("properties")?.as_object());
        let mut names: Vec<&str> = properties.flat_map(|properties| properties.keys().map(String::as_str)).collect();
        names.sort_unstable();
        names.dedup();
        let mut members = Vec::with_capacity(names.len());
        for name in names {
            let place = self.place(parts.iter().filter_map(|part| below(part, name)).collect());
            members.push((Box::from(name), place));
        }
        let other = |part: &&'s Value| part.get("additionalProperties").filter(|schema| schema.is_object());
        let others = self.place(parts.iter().filter_map(other).collect());
        let items = self.place(parts.iter().filter_map(|part| part.get("items")).collect());
        self.places[at] = Place { kinds, members, others, items };
    }
}

// === impl Reading ===

impl Reading<'_> {
    /// What holds here; none where everything is allowed.
    fn place<E: Error>(&self, kind: Kind) -> Result<Option<&Place>, E> {
        let Some(at) = self.at else { return Ok(None) };
        let place = &self.outline.places[at];
        if place.allows(kind) { Ok(Some(place)) } else { Err(E::custom("it does not fit")) }
    }

    fn leaf<E: Error>(&self, kind: Kind) -> Result<(), E> {
        self.place(kind).map(drop)
    }

    fn levels_below<E: Error>(&self) -> Result<usize, E> {
        self.levels_left.checked_sub(1).ok_or_else(|| E::custom("it nests too deep"))
    }
}

impl<'de> DeserializeSeed<'de> for Reading<'_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Reading<'_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("JSON")
    }

    fn visit_unit<E: Error>(self) -> Result<(), E> {
        self.leaf(Kind::Null)
    }

    fn visit_bool<E: Error>(self, _: bool) -> Result<(), E> {
        self.leaf(Kind::Boolean)
    }

    fn visit_i64<E: Error>(self, _: i64) -> Result<(), E> {
        self.leaf(Kind::Integer)
    }

    fn visit_u64<E: Error>(self, _: u64) -> Result<(), E> {
        self.leaf(Kind::Integer)
    }

    fn visit_f64<E: Error>(self, number: f64) -> Result<(), E> {
        self.leaf(if number.fract() == 0.0 { Kind::Integer } else { Kind::Number })
    }

    fn visit_str<E: Error>(self, _: &str) -> Result<(), E> {
        self.leaf(Kind::String)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<(), A::Error> {
        let at = self.place(Kind::Array)?.and_then(|place| place.items);
        let levels_left = self.levels_below()?;
        while items.next_element_seed(Reading { outline: self.outline, at, levels_left })?.is_some() {}
        Ok(())
    }

    fn visit_map<A: MapAccess<'de>>(self, mut members: A) -> Result<(), A::Error> {
        let anything = Place::default();
        let place = self.place(Kind::Object)?.unwrap_or(&anything);
        let levels_left = self.levels_below()?;
        while let Some(at) = members.next_key_seed(Key(place))? {
            members.next_value_seed(Reading { outline: self.outline, at, levels_left })?;
        }
        Ok(())
    }
}

// === impl Key ===

impl<'de> DeserializeSeed<'de> for Key<'_> {
    type Value = At;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<At, D::Error> {
        deserializer.deserialize_str(self)
    }
}

impl Visitor<'_> for Key<'_> {
    type Value = At;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a key")
    }

    fn visit_str<E: Error>(self, name: &str) -> Result<At, E> {
        Ok(self.0.below(name))
    }
}
