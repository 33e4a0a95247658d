//! A value of the document together with its place, and the ways from one to another.
//!
//! A [`Node`] borrows from the document and carries its JSON pointer, so that whatever is wrong can name its place.
//! [`Document::resolve`] follows `$ref`s within the document, with a bound on hops; nothing outside is ever fetched.

use std::rc::Rc;

use percent_encoding::percent_decode_str;
use serde_json::{Map, Value};

use crate::document::{Document, found};
use crate::problem::{Fault, Reason, shown};

/// A value and where it stands.
#[derive(Clone, Debug)]
pub(crate) struct Node<'d> {
    pub(crate) value: &'d Value,
    place: Place<'d>,
}

/// Where a value stands, as a chain of steps: cheap to extend, written out only when somebody asks.
#[derive(Clone, Debug)]
enum Place<'d> {
    Root,
    /// Where a `$ref` led to.
    Pointer(Rc<str>),
    Step(Rc<(Place<'d>, Step<'d>)>),
}

#[derive(Clone, Copy, Debug)]
enum Step<'d> {
    Key(&'d str),
    Index(usize),
}

// === impl Place ===

impl Place<'_> {
    fn write(&self, out: &mut String) {
        match self {
            Self::Root => out.push('#'),
            Self::Pointer(pointer) => out.push_str(pointer),
            Self::Step(step) => {
                step.0.write(out);
                match &step.1 {
                    Step::Key(key) => {
                        out.push('/');
                        out.push_str(&key.replace('~', "~0").replace('/', "~1"));
                    }
                    Step::Index(index) => out.push_str(&format!("/{index}")),
                }
            }
        }
    }
}

// === impl Node ===

impl<'d> Node<'d> {
    pub(crate) fn root(value: &'d Value) -> Self {
        Self { value, place: Place::Root }
    }

    /// Returns the node's JSON pointer.
    pub(crate) fn pointer(&self) -> String {
        let mut out = String::new();
        self.place.write(&mut out);
        out
    }

    /// Makes a fault at this node.
    pub(crate) fn fault(&self, reason: Reason) -> Fault {
        Fault { pointer: self.pointer(), reason }
    }

    /// Makes a fault that says which type this node should have.
    pub(crate) fn wrong_type(&self, expected: &'static str) -> Fault {
        self.fault(Reason::WrongType { expected, found: found(self.value) })
    }

    fn step(&self, value: &'d Value, step: Step<'d>) -> Self {
        Self { value, place: Place::Step(Rc::new((self.place.clone(), step))) }
    }

    /// Returns a member of an object; null counts as absent.
    pub(crate) fn get(&self, key: &str) -> Option<Self> {
        let (key, value) = self.value.as_object()?.get_key_value(key).filter(|(_, value)| !value.is_null())?;
        Some(self.step(value, Step::Key(key)))
    }

    /// Returns the object that this is.
    pub(crate) fn object(&self) -> Result<&'d Map<String, Value>, Fault> {
        self.value.as_object().ok_or_else(|| self.wrong_type("an object"))
    }

    /// Returns the members of the object that this is, in the document's order.
    pub(crate) fn members(&self) -> Result<impl Iterator<Item = (&'d str, Self)>, Fault> {
        let this = self.clone();
        let object = self.object()?;
        Ok(object.iter().map(move |(key, value)| (key.as_str(), this.step(value, Step::Key(key)))))
    }

    /// Returns the items of the list that this is.
    pub(crate) fn items(&self) -> Result<impl Iterator<Item = Self>, Fault> {
        let this = self.clone();
        let list = self.value.as_array().ok_or_else(|| self.wrong_type("a list"))?;
        Ok(list.iter().enumerate().map(move |(index, value)| this.step(value, Step::Index(index))))
    }

    /// Returns the text that this is.
    pub(crate) fn text(&self) -> Result<&'d str, Fault> {
        self.value.as_str().ok_or_else(|| self.wrong_type("a text"))
    }

    /// Returns a member that is a text, if it is there.
    pub(crate) fn text_of(&self, key: &str) -> Result<Option<&'d str>, Fault> {
        self.get(key).map(|node| node.text()).transpose()
    }

    /// Returns a member that is true or false, if it is there.
    pub(crate) fn flag_of(&self, key: &str) -> Result<Option<bool>, Fault> {
        let read = |node: Self| node.value.as_bool().ok_or_else(|| node.wrong_type("true or false"));
        self.get(key).map(read).transpose()
    }
}

// === impl Document ===

impl Document {
    /// Returns what a node means: itself, or what its `$ref` leads to.
    pub(crate) fn resolve<'d>(&'d self, node: Node<'d>) -> Result<Node<'d>, Fault> {
        let mut current = node.clone();
        for _hop in 0..=self.limits.ref_hops_max {
            let Some(reference) = current.get("$ref") else { return Ok(current) };
            current = self.follow(&reference)?;
        }
        Err(node.fault(Reason::EndlessRef { target: target_of(&node) }))
    }

    /// Returns what one `$ref`, given as the node of its text, leads to.
    pub(crate) fn follow<'d>(&'d self, reference: &Node<'d>) -> Result<Node<'d>, Fault> {
        let text = reference.text()?;
        let Some(fragment) = text.strip_prefix('#') else {
            return Err(reference.fault(Reason::RemoteRef { target: shown(text) }));
        };
        let broken = || reference.fault(Reason::BrokenRef { target: shown(text) });
        let fragment = percent_decode_str(fragment).decode_utf8().map_err(|_| broken())?;
        let value = self.root.pointer(&fragment).ok_or_else(broken)?;
        Ok(Node { value, place: Place::Pointer(Rc::from(format!("#{fragment}"))) })
    }
}

fn target_of(node: &Node<'_>) -> String {
    node.get("$ref").and_then(|reference| reference.value.as_str().map(shown)).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::document::Format;
    use crate::limits::DEFAULTS;

    fn document(body: &str) -> Document {
        Document::read(&format!("{{\"openapi\":\"3.0.0\",{body}}}"), Format::Json, &DEFAULTS).expect("is read")
    }

    #[test]
    fn a_reference_is_followed_through_escapes_and_hops() {
        let document = document(
            r##""a":{"b/c":{"~d":{"found":true}}},"one":{"$ref":"#/two"},"two":{"$ref":"#/a/b~1c/~0d"},
               "three":{"$ref":"#/a/b%7E1c/~0d"}"##,
        );
        for key in ["one", "three"] {
            let node = document.node().get(key).expect("is there");
            let resolved = document.resolve(node).expect("is resolved");
            assert_eq!(resolved.pointer(), "#/a/b~1c/~0d");
            assert_eq!(resolved.flag_of("found"), Ok(Some(true)));
        }
    }

    #[test]
    fn references_that_lead_nowhere_out_or_in_circles_name_their_place() {
        let document = document(
            r##""x":[{"$ref":"#/gone"},{"$ref":"other.yaml#/a"},{"$ref":"http://h/a"},{"$ref":"#/x/3"},{"$ref":7}]"##,
        );
        let expected = [
            "#/x/0/$ref: $ref \"#/gone\" leads nowhere: allowed is #/ and a path that exists in the document",
            "#/x/1/$ref: $ref \"other.yaml#/a\" leads out of the document: bundle the document, nothing is fetched",
            "#/x/2/$ref: $ref \"http://h/a\" leads out of the document: bundle the document, nothing is fetched",
            "#/x/3: $ref \"#/x/3\" leads back to itself without a property or item between",
            "#/x/4/$ref: expected a text, found 7",
        ];
        let nodes = document.node().get("x").expect("is there");
        for (node, expected) in nodes.items().expect("a list").zip(expected) {
            let fault = document.resolve(node).expect_err("cannot be resolved");
            assert_eq!(fault.refused().to_string(), expected);
        }
    }

    #[test]
    fn pointers_escape_what_they_must() {
        let document = document(r#""paths":{"/a~b":{"get":[{"k":1}]}}"#);
        let path = document.node().get("paths").and_then(|node| node.get("/a~b")).expect("is there");
        let item = path.get("get").and_then(|node| node.items().ok()?.next()).expect("is there");
        assert_eq!(item.get("k").map(|node| node.pointer()).as_deref(), Some("#/paths/~1a~0b/get/0/k"));
    }
}
