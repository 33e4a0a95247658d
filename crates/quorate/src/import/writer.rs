//! The documents that are made of a source.
//!
//! Kinds, wanted names and specs go in; names that nobody else has come out at once, and at the end one text that `quorate validate`
//! accepts. What it would not accept is taken out of the text again, and noted with the place of the source that it was made of.

use std::collections::BTreeSet;

use quorate_config::Source;
use serde_json::{Value, json};

use super::notes::Notes;
use crate::answer;
use crate::exit::{Exit, Failure};

/// The most characters of a name that is made of a text; numbers come behind it.
const NAME_CHARS_MAX: usize = 48;
/// The kinds in the order of the output.
const KINDS: [&str; 6] = ["Listener", "Issuer", "ToolServer", "Toolset", "Provider", "Model"];

/// Documents in the order in which they were made.
#[derive(Debug, Default)]
pub(super) struct Documents {
    all: Vec<Document>,
}

/// One document, and where it is from.
#[derive(Debug)]
struct Document {
    kind: &'static str,
    name: String,
    spec: Value,
    from: String,
}

// === impl Documents ===

impl Documents {
    /// Adds a document under a name like `wanted`, which is returned.
    pub(super) fn add(&mut self, kind: &'static str, wanted: &str, spec: Value, from: &str) -> String {
        let taken: BTreeSet<&str> = self.of(kind).map(|document| document.name.as_str()).collect();
        let plain = plain(wanted);
        let names = (1_u32..).map(|number| if number == 1 { plain.clone() } else { format!("{plain}-{number}") });
        let name = names.into_iter().find(|name| !taken.contains(name.as_str())).expect("numbers have no end");
        self.all.push(Document { kind, name: name.clone(), spec, from: from.to_owned() });
        name
    }

    /// As [`Self::add`], unless there is a document of the same kind that says the same: then its name is returned.
    pub(super) fn share(&mut self, kind: &'static str, wanted: &str, spec: Value, from: &str) -> String {
        let same = self.of(kind).find(|document| document.spec == spec).map(|document| document.name.clone());
        same.unwrap_or_else(|| self.add(kind, wanted, spec, from))
    }

    pub(super) fn is_empty(&self) -> bool {
        self.all.is_empty()
    }

    /// Writes the documents behind a comment; what is not valid is left out and noted.
    ///
    /// # Errors
    /// [`Failure`] when something is wrong that no document can be blamed for.
    pub(super) fn write(mut self, comment: &str, notes: &mut Notes) -> Result<String, Failure> {
        // Stable: within a kind they stay in the order of the source.
        self.all.sort_by_key(|document| KINDS.iter().position(|kind| *kind == document.kind));
        loop {
            let text = self.text(comment)?;
            let source = Source { file: "import.yaml".into(), text: text.clone() };
            let Err(errors) = quorate_config::parse(&[source]) else { return Ok(text) };
            let mut refused = BTreeSet::new();
            for problem in errors.problems() {
                let by_index = problem.place.document.and_then(|number| number.checked_sub(1));
                let named = |document: &Document| {
                    problem.place.kind.is_some_and(|kind| kind.as_str() == document.kind)
                        && problem.place.name.as_deref() == Some(&document.name)
                };
                let found = by_index.or_else(|| self.all.iter().position(named));
                let Some(document) = found.and_then(|index| self.all.get(index)) else { continue };
                let Document { kind, name, from, .. } = document;
                let at = if problem.path.is_empty() { String::new() } else { format!("{} ", problem.path) };
                notes.say(from, format!("{kind}/{name} is left out, for it would be refused: {at}{}", problem.reason));
                refused.extend(found);
            }
            if refused.is_empty() {
                let message = format!("what was made of it is refused, which is a defect of this program: {errors}");
                return Err(Failure::new(Exit::Failure, message));
            }
            let mut index = 0;
            self.all.retain(|_| {
                index += 1;
                !refused.contains(&(index - 1))
            });
        }
    }

    /// The documents as they are, valid or not.
    #[cfg(test)]
    pub(super) fn draft(&self) -> String {
        self.text("").expect("specs are written")
    }

    fn of(&self, kind: &str) -> impl Iterator<Item = &Document> {
        self.all.iter().filter(move |document| document.kind == kind)
    }

    fn text(&self, comment: &str) -> Result<String, Failure> {
        let mut text: String = comment.lines().map(|line| format!("# {line}\n")).collect();
        for (index, Document { kind, name, spec, .. }) in self.all.iter().enumerate() {
            text.push_str(if index == 0 { "" } else { "---\n" });
            let document = answer::yaml(&json!({ "kind": kind, "name": name, "spec": spec }))?;
            text.push_str(&document);
            text.push_str(if document.ends_with('\n') { "" } else { "\n" });
        }
        Ok(text)
    }
}

/// A name of a resource that is like a text.
fn plain(text: &str) -> String {
    let plain = |each: char| if each.is_ascii_alphanumeric() { each.to_ascii_lowercase() } else { '-' };
    let mut name = String::new();
    for each in text.chars().map(plain) {
        if each != '-' || !name.ends_with('-') {
            name.push(each);
        }
    }
    let name: String = name.trim_matches('-').chars().take(NAME_CHARS_MAX).collect();
    let name = name.trim_end_matches('-');
    if name.is_empty() { "any".to_owned() } else { name.to_owned() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_ones_and_nobody_elses() {
        for (text, name) in [("GPT-4o (eu)", "gpt-4o-eu"), ("*", "any"), ("", "any"), ("ä/b", "b"), ("a//b", "a-b")] {
            assert_eq!(plain(text), name, "{text}");
        }
        let mut documents = Documents::default();
        let names = ["A", "a", "a "].map(|wanted| documents.add("Model", wanted, json!({}), "here"));
        assert_eq!(names, ["a", "a-2", "a-3"]);
        assert_eq!(documents.add("Provider", "a", json!({ "x": 1 }), "here"), "a");
        assert_eq!(documents.share("Provider", "b", json!({ "x": 1 }), "there"), "a");
        assert_eq!(documents.share("Provider", "a", json!({ "x": 2 }), "there"), "a-2");
    }

    #[test]
    fn what_would_be_refused_is_left_out_with_what_needs_it() {
        let mut documents = Documents::default();
        let mut notes = Notes::default();
        documents.add("Provider", "good", json!({ "preset": "openai", "keys": ["env:A"] }), "x[0]");
        documents.add("Provider", "bad", json!({ "preset": "openai", "url": "ftp://x", "keys": ["env:A"] }), "x[1]");
        documents.add("Model", "one", json!({ "targets": [{ "provider": "bad" }] }), "y[0]");
        documents.add("Model", "two", json!({ "targets": [{ "provider": "good" }] }), "y[1]");

        let text = documents.write("Made here.", &mut notes).unwrap();

        assert!(text.starts_with("# Made here.\nkind: Provider\nname: good\n"), "{text}");
        assert!(text.contains("name: two") && !text.contains("name: one") && !text.contains("bad"), "{text}");
        assert!(notes.covers("x[1]") && notes.covers("y[0]") && notes.len() == 2, "{}", notes.text());
    }
}
