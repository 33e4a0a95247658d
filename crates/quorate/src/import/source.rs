//! A source as a tree that is taken apart.
//!
//! Text goes in, a [`Part`] comes out, which is an object with the path at which it stands. What is taken of it is no longer there, and
//! what is left when it ends ([`Part::end`]) is noted: so nothing is dropped without a word. What has another type than is taken is noted
//! and left out. The meaning of keys is not known here.

use serde_json::{Map, Value};

use super::notes::Notes;

/// The deepest nesting of a source.
const DEPTH_MAX: usize = 64;
/// The most values of a source, aliases included.
const NODES_MAX: usize = 200_000;
/// The most values that aliases may add.
const ALIAS_NODES_MAX: usize = 50_000;

/// What is said of a key that nobody knows.
pub(super) const UNKNOWN: &str = "not known here: nothing is made of it";

/// An object of a source, without what was taken of it.
#[derive(Debug)]
pub(super) struct Part {
    at: String,
    members: Map<String, Value>,
}

/// Parses a source, which is YAML of one document, or JSON.
///
/// # Errors
/// What is wrong with it.
pub(super) fn parse(text: &str) -> Result<Value, String> {
    let options = serde_saphyr::options! {
        budget: serde_saphyr::budget! { max_depth: DEPTH_MAX, max_nodes: NODES_MAX, max_documents: 1 },
        alias_limits: serde_saphyr::alias_limits! { max_total_replayed_events: ALIAS_NODES_MAX },
        duplicate_keys: serde_saphyr::DuplicateKeyPolicy::Error,
        strict_booleans: true,
        with_snippet: false,
    };
    serde_saphyr::from_str_with_options(text.trim_start_matches('\u{feff}'), options).map_err(|error| {
        let text = error.render_with_formatter(&serde_saphyr::UserMessageFormatter);
        format!("is not valid YAML: {text}")
    })
}

/// The path of a key below another path.
pub(super) fn below(at: &str, key: &str) -> String {
    if at.is_empty() { key.to_owned() } else { format!("{at}.{key}") }
}

// === impl Part ===

impl Part {
    /// Makes a part of a value that should be an object.
    pub(super) fn of(value: Value, at: &str, notes: &mut Notes) -> Option<Self> {
        match value {
            Value::Object(members) => Some(Self { at: at.to_owned(), members }),
            Value::Null => None,
            other => {
                notes.add(at, &other, "expected an object");
                None
            }
        }
    }

    /// Where it stands.
    pub(super) fn at(&self) -> &str {
        &self.at
    }

    /// Where one of its keys stands.
    pub(super) fn path(&self, key: &str) -> String {
        below(&self.at, key)
    }

    pub(super) fn has(&self, key: &str) -> bool {
        self.members.contains_key(key)
    }

    /// The keys that are left.
    pub(super) fn keys(&self) -> Vec<String> {
        self.members.keys().cloned().collect()
    }

    /// A value that is left there.
    pub(super) fn peek(&self, key: &str) -> Option<&Value> {
        self.members.get(key)
    }

    /// Takes a value of any type; a null is none.
    pub(super) fn take(&mut self, key: &str) -> Option<Value> {
        self.members.shift_remove(key).filter(|value| !value.is_null())
    }

    /// Takes a text; a number is one where people leave quotes out.
    pub(super) fn text(&mut self, key: &str, notes: &mut Notes) -> Option<String> {
        match self.take(key)? {
            Value::String(text) => Some(text),
            Value::Number(number) => Some(number.to_string()),
            other => self.refuse(key, &other, "a text", notes),
        }
    }

    /// Takes a number; a text is one where it can be read as one.
    pub(super) fn number(&mut self, key: &str, notes: &mut Notes) -> Option<f64> {
        let value = self.take(key)?;
        let read = value.as_f64().or_else(|| value.as_str()?.trim().parse().ok());
        read.filter(|number: &f64| number.is_finite()).or_else(|| self.refuse(key, &value, "a number", notes))
    }

    /// Takes a whole number from 0 on.
    pub(super) fn count(&mut self, key: &str, notes: &mut Notes) -> Option<u32> {
        let value = self.take(key)?;
        let read = value.as_u64().or_else(|| value.as_str()?.trim().parse().ok());
        read.and_then(|count| u32::try_from(count).ok()).or_else(|| self.refuse(key, &value, "a whole number", notes))
    }

    /// Takes true or false.
    pub(super) fn flag(&mut self, key: &str, notes: &mut Notes) -> Option<bool> {
        let value = self.take(key)?;
        value.as_bool().or_else(|| self.refuse(key, &value, "true or false", notes))
    }

    /// Takes an object.
    pub(super) fn part(&mut self, key: &str, notes: &mut Notes) -> Option<Self> {
        let at = self.path(key);
        Self::of(self.take(key)?, &at, notes)
    }

    /// Takes a list, each item with where it stands; what is no list is one of one.
    pub(super) fn items(&mut self, key: &str) -> Vec<(String, Value)> {
        let at = self.path(key);
        match self.take(key) {
            None => Vec::new(),
            Some(Value::Array(items)) => {
                let item = |(index, value)| (format!("{at}[{index}]"), value);
                items.into_iter().enumerate().map(item).collect()
            }
            Some(one) => vec![(at, one)],
        }
    }

    /// Takes a list of objects.
    pub(super) fn parts(&mut self, key: &str, notes: &mut Notes) -> Vec<Self> {
        self.items(key).into_iter().filter_map(|(at, value)| Self::of(value, &at, notes)).collect()
    }

    /// Takes a list of texts.
    pub(super) fn texts(&mut self, key: &str, notes: &mut Notes) -> Vec<String> {
        self.texts_at(key, notes).into_iter().map(|(_, text)| text).collect()
    }

    /// Takes a list of texts, each with where it stands.
    pub(super) fn texts_at(&mut self, key: &str, notes: &mut Notes) -> Vec<(String, String)> {
        let text = |(at, value): (String, Value)| match value {
            Value::String(text) => Some((at, text)),
            other => {
                notes.add(&at, &other, "expected a text");
                None
            }
        };
        self.items(key).into_iter().filter_map(text).collect()
    }

    /// Notes a key and takes it away.
    pub(super) fn lose(&mut self, key: &str, why: &str, notes: &mut Notes) {
        if let Some(value) = self.take(key) {
            notes.add(&self.path(key), &value, why);
        }
    }

    /// Notes everything that is left: by its row, or as unknown.
    pub(super) fn end(self, rows: &[(&str, &str)], notes: &mut Notes) {
        self.end_with(rows, UNKNOWN, notes);
    }

    /// As [`Self::end`], with something else to say of what has no row.
    pub(super) fn end_with(self, rows: &[(&str, &str)], otherwise: &str, notes: &mut Notes) {
        for (key, value) in &self.members {
            let row = rows.iter().find(|(known, _)| known == key);
            notes.add(&self.path(key), value, row.map_or(otherwise, |(_, why)| why));
        }
    }

    fn refuse<T>(&self, key: &str, value: &Value, expected: &str, notes: &mut Notes) -> Option<T> {
        notes.add(&self.path(key), value, format!("expected {expected}"));
        None
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn what_is_neither_taken_nor_of_the_right_type_is_noted() {
        let mut notes = Notes::default();
        let source = json!({ "text": 7, "count": -1, "list": ["a", 1], "one": "x", "left": true, "void": null });
        let mut part = Part::of(source, "top", &mut notes).unwrap();

        assert_eq!(part.text("text", &mut notes).as_deref(), Some("7"));
        assert_eq!(part.count("count", &mut notes), None);
        assert_eq!(part.texts("list", &mut notes), ["a"]);
        assert_eq!(part.texts("one", &mut notes), ["x"]);
        assert_eq!(part.take("void"), None);
        part.end(&[("left", "for a reason")], &mut notes);

        let text = notes.text();
        assert_eq!(notes.len(), 3, "{text}");
        for at in ["top.count", "top.list[1]", "top.left"] {
            assert!(notes.covers(at), "{at}: {text}");
        }
        assert!(text.contains("for a reason"), "{text}");
    }

    #[test]
    fn what_is_ambiguous_or_costly_is_refused() {
        for text in ["a: 1\na: 2", "a: [", "--- 1\n--- 2", &"[".repeat(100)] {
            assert!(parse(text).is_err(), "{text}");
        }
        assert_eq!(parse("{\"a\": [1, yes]}"), Ok(json!({ "a": [1, "yes"] })));
        assert_eq!(parse(""), Ok(Value::Null));
    }
}
