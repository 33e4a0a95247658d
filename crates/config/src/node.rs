//! A document as a tree that still knows its lines.
//!
//! Text goes in, one [`Node`] per document comes out; YAML and JSON give the same tree. What
//! makes a text ambiguous or costly is refused here: a key twice in one object, deep nesting,
//! aliases that multiply, custom tags. The meaning of keys is not known here.

use std::fmt;

use serde::de::{self, Deserialize, Deserializer, MapAccess, SeqAccess, Visitor};
use serde_json::Number;
use serde_saphyr::Spanned;

/// The deepest nesting of a document; the deepest key of a resource is at 8, and a fixed argument may be nested there.
const DEPTH_MAX: usize = 32;
/// The most nodes of one document after aliases: the groups of a large tenant.
const NODES_MAX: usize = 200_000;
/// The most nodes that aliases may add in one document; a set needs few anchors.
const ALIAS_NODES_MAX: usize = 20_000;

/// A value and where it stands.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Node {
    /// The line in the file, from 1; `None` in JSON files.
    pub(crate) line: Option<usize>,
    pub(crate) value: Value,
}

/// The values that YAML and JSON share.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Value {
    Null,
    Bool(bool),
    Number(Number),
    Text(String),
    List(Vec<Node>),
    /// In the order of the text; no key is there twice.
    Object(Vec<(String, Node)>),
}

/// The way from a document's root to one of its values.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Path(Vec<Segment>);

/// The form of a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Format {
    Yaml,
    Json,
}

/// A text that is not a sequence of documents.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct SyntaxError {
    /// The document that it is in, from 1.
    pub(crate) document: usize,
    pub(crate) line: Option<usize>,
    pub(crate) message: String,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Segment {
    Key(String),
    Index(usize),
}

/// Parses the documents of a text one after the other, so that only one is held; those before and after a broken one are
/// kept where the parser can go on.
pub(crate) fn each(text: &str, format: Format, take: impl FnMut(Result<Node, SyntaxError>)) {
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    match format {
        Format::Yaml => each_of_yaml(text, take),
        Format::Json => each_of_json(text, take),
    }
}

/// Parses all documents of a text.
pub(crate) fn parse(text: &str, format: Format) -> Vec<Result<Node, SyntaxError>> {
    let mut documents = Vec::new();
    each(text, format, |document| documents.push(document));
    documents
}

// === impl Node ===

impl Node {
    /// Returns the value of a key of an object.
    pub(crate) fn get(&self, key: &str) -> Option<&Self> {
        match &self.value {
            Value::Object(members) => members.iter().find(|(name, _)| name == key).map(|(_, node)| node),
            Value::Null | Value::Bool(_) | Value::Number(_) | Value::Text(_) | Value::List(_) => None,
        }
    }

    /// Returns the text of a text.
    pub(crate) fn as_text(&self) -> Option<&str> {
        match &self.value {
            Value::Text(text) => Some(text),
            Value::Null | Value::Bool(_) | Value::Number(_) | Value::List(_) | Value::Object(_) => None,
        }
    }

    /// Returns the line of what `path` leads to, or of the last value on the way that exists.
    pub(crate) fn line_at(&self, path: &Path) -> Option<usize> {
        self.nearest(path).line
    }

    /// Returns the line in the file of a line, from 1, of the text that `path` leads to; `source` is the whole file. Where
    /// lines of the text are not lines of the file (folded, or in quotes), it is where the text begins.
    pub(crate) fn line_within(&self, path: &Path, line: usize, source: &str) -> Option<usize> {
        let node = self.nearest(path);
        let (begin, text) = (node.line?, node.as_text().unwrap_or_default());
        // The parser says where the first word of a block is; lines without one before it are part of the text.
        let blank = text.lines().take_while(|line| line.trim().is_empty()).count();
        let found = (begin + line).checked_sub(blank + 1)?;
        let said = found.checked_sub(1).and_then(|index| source.lines().nth(index));
        let meant = text.lines().nth(line.saturating_sub(1)).unwrap_or_default().trim();
        Some(if said.is_some_and(|said| said.contains(meant)) { found } else { begin })
    }

    /// Follows `path` as far as it leads.
    fn nearest(&self, path: &Path) -> &Self {
        let mut node = self;
        for segment in &path.0 {
            let next = match (segment, &node.value) {
                (Segment::Key(key), _) => node.get(key),
                (Segment::Index(index), Value::List(items)) => items.get(*index),
                (Segment::Index(_), _) => None,
            };
            let Some(next) = next else { break };
            node = next;
        }
        node
    }
}

impl<'de> Deserialize<'de> for Node {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let spanned = Spanned::<Value>::deserialize(deserializer)?;
        let line = usize::try_from(spanned.referenced.line()).unwrap_or(0);
        Ok(Self { line: (line > 0).then_some(line), value: spanned.value })
    }
}

// === impl Value ===

impl<'de> Deserialize<'de> for Value {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(ValueVisitor)
    }
}

struct ValueVisitor;

impl<'de> Visitor<'de> for ValueVisitor {
    type Value = Value;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a value that JSON has too")
    }

    fn visit_unit<E: de::Error>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_none<E: de::Error>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_some<D: Deserializer<'de>>(self, deserializer: D) -> Result<Value, D::Error> {
        Value::deserialize(deserializer)
    }

    fn visit_bool<E: de::Error>(self, value: bool) -> Result<Value, E> {
        Ok(Value::Bool(value))
    }

    fn visit_u64<E: de::Error>(self, value: u64) -> Result<Value, E> {
        Ok(Value::Number(value.into()))
    }

    fn visit_i64<E: de::Error>(self, value: i64) -> Result<Value, E> {
        Ok(Value::Number(value.into()))
    }

    fn visit_f64<E: de::Error>(self, value: f64) -> Result<Value, E> {
        Number::from_f64(value).map(Value::Number).ok_or_else(|| E::custom("a number must be finite"))
    }

    fn visit_str<E: de::Error>(self, value: &str) -> Result<Value, E> {
        Ok(Value::Text(value.to_owned()))
    }

    fn visit_string<E: de::Error>(self, value: String) -> Result<Value, E> {
        Ok(Value::Text(value))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Value, A::Error> {
        let mut list = Vec::new();
        while let Some(item) = items.next_element()? {
            list.push(item);
        }
        Ok(Value::List(list))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut members: A) -> Result<Value, A::Error> {
        let mut object: Vec<(String, Node)> = Vec::new();
        let mut seen = std::collections::HashSet::new();
        while let Some(key) = members.next_key::<String>()? {
            if !seen.insert(key.clone()) {
                return Err(de::Error::custom(format_args!("the key {key:?} is there twice")));
            }
            object.push((key, members.next_value()?));
        }
        Ok(Value::Object(object))
    }
}

// === impl Path ===

impl Path {
    /// Returns the path to a key of the object that this one leads to.
    pub(crate) fn key(&self, key: &str) -> Self {
        self.with(Segment::Key(key.to_owned()))
    }

    /// Returns the path to an item of the list that this one leads to.
    pub(crate) fn index(&self, index: usize) -> Self {
        self.with(Segment::Index(index))
    }

    fn with(&self, segment: Segment) -> Self {
        let mut segments = self.0.clone();
        segments.push(segment);
        Self(segments)
    }
}

impl fmt::Display for Path {
    /// Writes `spec.urls[1]`; a key that is not a plain word is quoted: `spec.headers["X-Key"]`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (position, segment) in self.0.iter().enumerate() {
            match segment {
                Segment::Index(index) => write!(f, "[{index}]")?,
                Segment::Key(key) if !is_word(key) => write!(f, "[{}]", crate::error::shown(key))?,
                Segment::Key(key) if position == 0 => f.write_str(key)?,
                Segment::Key(key) => write!(f, ".{key}")?,
            }
        }
        Ok(())
    }
}

fn is_word(key: &str) -> bool {
    !key.is_empty() && key.len() <= 64 && key.bytes().all(|byte| byte.is_ascii_alphanumeric())
}

fn each_of_yaml(text: &str, mut take: impl FnMut(Result<Node, SyntaxError>)) {
    let options = serde_saphyr::options! {
        budget: serde_saphyr::budget! {
            max_depth: DEPTH_MAX,
            max_nodes: NODES_MAX,
            max_recorded_anchor_events: ALIAS_NODES_MAX,
        },
        alias_limits: serde_saphyr::alias_limits! {
            max_total_replayed_events: ALIAS_NODES_MAX,
            max_replay_stack_depth: DEPTH_MAX,
        },
        duplicate_keys: serde_saphyr::DuplicateKeyPolicy::Error,
        reject_unsupported_tags: true,
        strict_booleans: true,
        with_snippet: false,
    };
    let mut reader = text.as_bytes();
    for (index, result) in serde_saphyr::read_with_options::<_, Node>(&mut reader, options).enumerate() {
        take(result.map_err(|error| yaml_error(index + 1, &error)));
    }
}

fn yaml_error(document: usize, error: &serde_saphyr::Error) -> SyntaxError {
    // The other formatters speak to whoever programs the parser.
    let text = error.render_with_formatter(&serde_saphyr::UserMessageFormatter);
    let line = error.location().and_then(|location| usize::try_from(location.line()).ok());
    SyntaxError { document, line, message: format!("is not valid YAML: {text}") }
}

fn each_of_json(text: &str, mut take: impl FnMut(Result<Node, SyntaxError>)) {
    for (index, result) in serde_json::Deserializer::from_str(text).into_iter::<Node>().enumerate() {
        let document = index + 1;
        let result = result.map_err(|error| SyntaxError {
            document,
            line: Some(error.line()).filter(|line| *line > 0),
            message: format!("is not valid JSON: {error}"),
        });
        take(result.and_then(|node| within_depth(node, document)));
    }
}

/// Holds JSON to the depth that YAML has; the parser itself stops at 128.
fn within_depth(node: Node, document: usize) -> Result<Node, SyntaxError> {
    if depth(&node) <= DEPTH_MAX {
        return Ok(node);
    }
    Err(SyntaxError { document, line: node.line, message: format!("is nested deeper than {DEPTH_MAX} levels") })
}

fn depth(node: &Node) -> usize {
    match &node.value {
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::Text(_) => 0,
        Value::List(items) => 1 + items.iter().map(depth).max().unwrap_or(0),
        Value::Object(members) => 1 + members.iter().map(|(_, node)| depth(node)).max().unwrap_or(0),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn one(text: &str, format: Format) -> Result<Node, SyntaxError> {
        let mut documents = parse(text, format);
        assert_eq!(documents.len(), 1, "{text:?} gives {documents:?}");
        documents.remove(0)
    }

    fn without_lines(mut node: Node) -> Node {
        node.line = None;
        match &mut node.value {
            Value::Null | Value::Bool(_) | Value::Number(_) | Value::Text(_) => {}
            Value::List(items) => items.iter_mut().for_each(|item| *item = without_lines(item.clone())),
            Value::Object(members) => members.iter_mut().for_each(|(_, value)| *value = without_lines(value.clone())),
        }
        node
    }

    #[test]
    fn yaml_and_json_give_the_same_tree() {
        let yaml = "a: [1, -2, 2.5, true, null, text]\nb: {c: \"1\"}\n";
        let json = r#"{"a": [1, -2, 2.5, true, null, "text"], "b": {"c": "1"}}"#;
        let from_yaml = one(yaml, Format::Yaml).expect("is valid");
        let from_json = one(json, Format::Json).expect("is valid");
        assert_eq!(without_lines(from_yaml), from_json);
    }

    #[test]
    fn values_know_their_lines_across_documents() {
        let text = "kind: A\n---\n# comment\nkind: B\nspec:\n  urls:\n    - one\n    - two\n";
        let documents = parse(text, Format::Yaml);
        let second = documents[1].as_ref().expect("is valid");

        let root = Path::default();
        let spec = root.key("spec");
        let line = |path: &Path| second.line_at(path);
        assert_eq!(line(&root.key("kind")), Some(4));
        assert_eq!(line(&spec.key("urls").index(1)), Some(8));
        // What is missing is where its parent begins.
        assert_eq!(line(&spec.key("era")), Some(6));
    }

    #[test]
    fn lines_of_a_text_are_lines_of_the_file_where_they_can_be() {
        let cases = [
            ("a: |\n  one\n  two\nb: 1\n", 2, 3),
            ("a: |- # comment\n\n  one\n  two\n", 3, 4),
            ("a: |\n\n\n  one\n\n  two\n", 1, 2),
            ("# first\n---\na: 1\n", 1, 3),
            ("a:\n  |\n  one\n  two\n", 2, 4),
            ("a: &text !!str |\n  one\n  two\n", 1, 2),
            ("a: \"one\\ntwo\"\n", 2, 1),
            ("a: {b: one}\n", 7, 1),
            // Folded, and elsewhere: it begins there.
            ("a: >\n  one\n\n  two\n", 2, 2),
            ("x: &text |\n  one\n  two\na: *text\n", 2, 4),
        ];
        for (source, line, expected) in cases {
            let node = one(source, Format::Yaml).expect("is valid");
            assert_eq!(node.line_within(&Path::default().key("a"), line, source), Some(expected), "{source:?}");
        }
        let source = "{\"a\": \"one\\ntwo\"}";
        let node = one(source, Format::Json).expect("is valid");
        assert_eq!(node.line_within(&Path::default().key("a"), 2, source), None, "JSON has no lines");
    }

    #[test]
    fn a_key_twice_is_an_error_with_its_line() {
        for (text, format) in [("a: 1\nb: 2\na: 3\n", Format::Yaml), ("{\"a\": 1,\n\"b\": 2,\n\"a\": 3}", Format::Json)]
        {
            let error = one(text, format).expect_err("a is there twice");
            assert_eq!(error.line, Some(3), "{error:?}");
            assert!(error.message.contains('a'), "{error:?}");
        }
    }

    #[test]
    fn aliases_that_multiply_are_refused_quickly() {
        let mut bomb = "a0: &a0 [x, x, x, x, x, x, x, x, x, x]\n".to_owned();
        for level in 1..12 {
            let previous = vec![format!("*a{}", level - 1); 10].join(", ");
            bomb.push_str(&format!("a{level}: &a{level} [{previous}]\n"));
        }
        let started = std::time::Instant::now();
        let error = one(&bomb, Format::Yaml).expect_err("it has 10^12 values");
        assert!(error.message.starts_with("is not valid YAML: "), "{error:?}");
        assert!(started.elapsed().as_secs() < 5);
    }

    #[test]
    fn anchors_in_modest_use_are_resolved() {
        let node = one("a: &limits {total: 5m}\nb: *limits\n", Format::Yaml).expect("is valid");
        let total = |key: &str| node.get(key).and_then(|one| one.get("total")).and_then(Node::as_text);
        assert_eq!(total("a"), Some("5m"));
        assert_eq!(total("b"), Some("5m"));
    }

    #[test]
    fn deep_nesting_is_refused_in_both_formats() {
        for depth in [DEPTH_MAX + 1, 100, 100_000] {
            let text = format!("{}{}", "[".repeat(depth), "]".repeat(depth));
            for format in [Format::Yaml, Format::Json] {
                let error = one(&text, format).expect_err("it is too deep");
                assert!(!error.message.is_empty());
            }
        }
        let allowed = format!("{}{}", "[".repeat(DEPTH_MAX - 1), "]".repeat(DEPTH_MAX - 1));
        for format in [Format::Yaml, Format::Json] {
            assert!(one(&allowed, format).is_ok(), "{format:?}");
        }
    }

    #[test]
    fn custom_tags_and_broken_text_are_refused() {
        for text in ["a: !python/object:os.system x", "a: [", "a: b: c", "a: \"unclosed", "%BAD"] {
            let broken = parse(text, Format::Yaml).into_iter().any(|result| result.is_err());
            assert!(broken, "{text:?} was accepted");
        }
        for text in ["{", "{\"a\": }", "{\"a\": 1} x", "nul"] {
            let broken = parse(text, Format::Json).into_iter().any(|result| result.is_err());
            assert!(broken, "{text:?} was accepted");
        }
    }

    #[test]
    fn empty_documents_are_skipped_and_a_bom_is_not_text() {
        assert_eq!(parse("", Format::Yaml).len(), 0);
        assert_eq!(parse("---\n---\n# nothing\n", Format::Yaml).len(), 0);
        assert_eq!(parse("---\na: 1\n---\n---\nb: 2\n", Format::Yaml).len(), 2);
        assert_eq!(parse("\u{feff}{\"a\": 1}", Format::Json).len(), 1);
        assert_eq!(parse("{\"a\": 1}\n{\"b\": 2}", Format::Json).len(), 2);
    }

    #[test]
    fn words_of_other_yaml_dialects_stay_text() {
        let node = one("a: yes\nb: off\nc: 0o17\nd: 1_000\ne: 2024-01-01\n", Format::Yaml).expect("is valid");
        assert_eq!(node.get("a").and_then(Node::as_text), Some("yes"));
        assert_eq!(node.get("b").and_then(Node::as_text), Some("off"));
        assert_eq!(node.get("e").and_then(Node::as_text), Some("2024-01-01"));
    }

    #[test]
    fn paths_read_like_code() {
        let path = Path::default().key("spec").key("urls").index(1);
        assert_eq!(path.to_string(), "spec.urls[1]");
        assert_eq!(Path::default().key("spec").key("headers").key("X-Key").to_string(), "spec.headers[\"X-Key\"]");
    }
}
