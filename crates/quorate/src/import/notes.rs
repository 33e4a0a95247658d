//! What of a source could not be taken over, for people.
//!
//! In: a path in the source, its value, and why. Out: a list for stderr. No value gets into a note that may be a secret: neither under a
//! key that sounds like one, nor a text that looks like one.
//!
//! Of what holds for whatever is within a part of the source it is not known at once whether anything uses it: such a note is a doubt, and
//! is taken back by whoever does.

use std::collections::BTreeMap;

use serde_json::Value;

/// The longest value that a note shows, in characters.
const SHOWN_CHARS_MAX: usize = 60;
/// From how many characters on a text of letters and digits looks like a key.
const KEY_CHARS_MIN: usize = 20;
/// What is shown instead of a secret.
const HIDDEN: &str = "(hidden)";
/// Parts of keys whose texts are not shown.
const SECRET_WORDS: [&str; 11] =
    ["key", "secret", "token", "password", "passwd", "credential", "auth", "dsn", "cookie", "database_url", "private"];

/// Notes in the order in which they were made.
#[derive(Debug, Default)]
pub(super) struct Notes {
    all: Vec<Note>,
    /// Where the notes are that may be taken back, by their places.
    doubts: BTreeMap<String, usize>,
}

/// Something to know about one place of the source.
#[derive(Debug)]
struct Note {
    at: String,
    value: Option<String>,
    why: String,
    /// Whether it was taken back.
    is_settled: bool,
}

// === impl Notes ===

impl Notes {
    /// Notes a value that is not taken over.
    pub(super) fn add(&mut self, at: &str, value: &Value, why: impl Into<String>) {
        let key = at.rsplit('.').next().unwrap_or(at);
        let value = Some(shown(key, value)).filter(|shown| !shown.is_empty());
        self.push(at, value, why.into());
    }

    /// Notes something of a place whose value is of no use to its reader, or a secret.
    pub(super) fn say(&mut self, at: &str, why: impl Into<String>) {
        self.push(at, None, why.into());
    }

    /// Notes a value that is not taken over unless somebody says so with [`Self::settle`].
    pub(super) fn doubt(&mut self, at: &str, value: &Value, why: &str) {
        self.doubts.insert(at.to_owned(), self.all.len());
        self.add(at, value, why);
    }

    /// Takes the doubt about a place back, if there is one: its value is taken over, or something else was said of it.
    pub(super) fn settle(&mut self, at: &str) {
        if let Some(note) = self.doubts.remove(at).and_then(|index| self.all.get_mut(index)) {
            note.is_settled = true;
        }
    }

    pub(super) fn len(&self) -> usize {
        self.standing().count()
    }

    /// Whether there is a note of a place, or of what it is part of.
    #[cfg(test)]
    pub(super) fn covers(&self, at: &str) -> bool {
        self.standing().any(|note| {
            at.strip_prefix(note.at.as_str()).is_some_and(|rest| rest.is_empty() || rest.starts_with(['.', '[']))
        })
    }

    /// Writes the list.
    pub(super) fn text(&self) -> String {
        let mut text = String::new();
        for Note { at, value, why, .. } in self.standing() {
            let value = value.as_ref().map(|value| format!(" = {value}")).unwrap_or_default();
            text.push_str(&format!("  {at}{value}\n      {why}\n"));
        }
        text
    }

    fn push(&mut self, at: &str, value: Option<String>, why: String) {
        self.all.push(Note { at: at.to_owned(), value, why, is_settled: false });
    }

    fn standing(&self) -> impl Iterator<Item = &Note> {
        self.all.iter().filter(|note| !note.is_settled)
    }
}

/// A value without its secrets, cut where it is too long.
fn shown(key: &str, value: &Value) -> String {
    let text = match value {
        Value::Null => return String::new(),
        _ => hidden(key, value).to_string(),
    };
    if text.chars().count() <= SHOWN_CHARS_MAX {
        return text;
    }
    let cut: String = text.chars().take(SHOWN_CHARS_MAX - 1).collect();
    cut + "…"
}

/// The same value with secrets replaced.
fn hidden(key: &str, value: &Value) -> Value {
    match value {
        Value::Object(members) => {
            let members = members.iter().map(|(name, value)| {
                // What is within a secret is one.
                let key = if is_secret_key(key) { key } else { name };
                (name.clone(), hidden(key, value))
            });
            Value::Object(members.collect())
        }
        Value::Array(items) => Value::Array(items.iter().map(|item| hidden(key, item)).collect()),
        Value::String(text) if !is_reference(text) && (is_secret_key(key) || is_secret_text(text)) => HIDDEN.into(),
        _ => value.clone(),
    }
}

fn is_secret_key(key: &str) -> bool {
    let key = key.to_ascii_lowercase();
    SECRET_WORDS.iter().any(|word| key.contains(word))
}

/// Whether a text says where a secret is, instead of being one.
fn is_reference(text: &str) -> bool {
    let is_name =
        |name: &str| !name.is_empty() && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_');
    let braced = text.strip_prefix("${").and_then(|rest| rest.strip_suffix('}'));
    let name = text.strip_prefix("os.environ/").or(braced).or(text.strip_prefix('$'));
    name.is_some_and(is_name)
}

/// Whether a text looks like a secret: a known beginning, a URL with a user, or a long word with letters and digits.
pub(super) fn is_secret_text(text: &str) -> bool {
    let begins = ["sk-", "sk_", "Bearer ", "Basic ", "gsk_", "xai-", "AIza", "ghp_", "eyJ"];
    let has_user = text.split_once("://").is_some_and(|(_, rest)| rest.split('/').next().unwrap_or("").contains('@'));
    let is_long_word = |word: &str| {
        let is_key = word.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_+=".contains(&byte));
        let (digits, letters) = (|byte: u8| byte.is_ascii_digit(), |byte: u8| byte.is_ascii_alphabetic());
        word.len() >= KEY_CHARS_MIN && is_key && word.bytes().any(digits) && word.bytes().any(letters)
    };
    has_user
        || text
            .split([' ', '/', '?', '&', ',', ':', '"'])
            .any(|word| is_long_word(word) || begins.iter().any(|begin| word.starts_with(begin)))
        || begins.iter().any(|begin| text.starts_with(begin))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn no_secret_is_shown() {
        let cases = [
            ("api_key", json!("hunter2"), "\"(hidden)\""),
            ("api_key", json!("os.environ/OPENAI_API_KEY"), "\"os.environ/OPENAI_API_KEY\""),
            ("key", json!("$OPENAI_API_KEY"), "\"$OPENAI_API_KEY\""),
            ("key", json!("$not a name"), "\"(hidden)\""),
            ("url", json!("postgres://me:pw@db/x"), "\"(hidden)\""),
            ("note", json!("sk-1234"), "\"(hidden)\""),
            ("note", json!("use sk-1234 here"), "\"(hidden)\""),
            ("note", json!("abcdefghijklmnopqrst1"), "\"(hidden)\""),
            (
                "headers",
                json!({ "Authorization": "x", "x": ["Basic abc"] }),
                r#"{"Authorization":"(hidden)","x":["(hidden)"]}"#,
            ),
            ("credentials", json!({ "user": "me" }), r#"{"user":"(hidden)"}"#),
            ("max_tokens", json!(100), "100"),
            ("model", json!("anthropic/claude-haiku-4-5"), "\"anthropic/claude-haiku-4-5\""),
            ("nothing", Value::Null, ""),
        ];
        for (key, value, expected) in cases {
            assert_eq!(shown(key, &value), expected, "{key} {value}");
        }
        assert_eq!(shown("x", &json!("é ".repeat(60))).chars().count(), SHOWN_CHARS_MAX);
    }

    #[test]
    fn a_note_covers_what_is_within_its_place() {
        let mut notes = Notes::default();
        notes.add("a.b", &json!({ "c": [1] }), "why");

        assert!(notes.covers("a.b") && notes.covers("a.b.c[0]") && notes.covers("a.b[1]"));
        assert!(!notes.covers("a") && !notes.covers("a.bc"));
        assert_eq!((notes.len(), notes.text().as_str()), (1, "  a.b = {\"c\":[1]}\n      why\n"));
    }

    #[test]
    fn a_doubt_is_a_note_until_it_is_settled() {
        let mut notes = Notes::default();
        notes.doubt("a.used", &json!(1), "nobody uses it");
        notes.doubt("a.unused", &json!(2), "nobody uses it");
        notes.say("a.used", "something else");

        notes.settle("a.used");
        notes.settle("a.used");
        notes.settle("b");

        assert_eq!(notes.text(), "  a.unused = 2\n      nobody uses it\n  a.used\n      something else\n");
        assert_eq!(notes.len(), 2);
    }
}
