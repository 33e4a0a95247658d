//! The capabilities that a toolset announces: the union of its backends'.
//!
//! In: each backend's raw `capabilities`, in the toolset's order. Out: one object per revision. A
//! list or feature is there when any backend has it; where two backends disagree on a value, the
//! earlier one wins, and a flag is set when anybody sets it. `listChanged` and `subscribe` are
//! always announced with their lists, because the gateway itself notices changes (it polls where a
//! backend does not tell).
//!
//! Not on the path of a call: this is the one place that builds JSON values.

use serde_json::{Map, Value};

use crate::dialect::Dialect;
use crate::message::ListKind;
use crate::version::Version;

/// The union of several servers' capabilities.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Capabilities {
    members: Map<String, Value>,
}

/// A backend's `capabilities` are not a JSON object.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("capabilities must be an object")]
pub struct NotCapabilities;

// === impl Capabilities ===

impl Capabilities {
    /// Makes the union of nothing.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds one server's raw capabilities.
    ///
    /// # Errors
    /// [`NotCapabilities`] when they are no object; then nothing is added.
    pub fn add(&mut self, raw: &str) -> Result<(), NotCapabilities> {
        let added: Map<String, Value> = serde_json::from_str(raw).map_err(|_| NotCapabilities)?;
        unite(&mut self.members, added);
        Ok(())
    }

    /// Adds one server's raw capabilities but for lists that are not `chosen`.
    ///
    /// # Errors
    /// As [`Capabilities::add`].
    pub fn add_chosen(&mut self, raw: &str, chosen: impl Fn(ListKind) -> bool) -> Result<(), NotCapabilities> {
        let mut added: Map<String, Value> = serde_json::from_str(raw).map_err(|_| NotCapabilities)?;
        for kind in ListKind::ALL.into_iter().filter(|kind| !chosen(*kind)) {
            added.shift_remove(kind.capability());
        }
        unite(&mut self.members, added);
        Ok(())
    }

    /// Tells whether anybody has the capability `name`.
    #[must_use]
    pub fn has(&self, name: &str) -> bool {
        self.members.contains_key(name)
    }

    /// Tells whether anybody sets the flag `flag` of the capability `name`.
    #[must_use]
    pub fn has_flag(&self, name: &str, flag: &str) -> bool {
        self.members.get(name).and_then(|value| value.get(flag)) == Some(&Value::Bool(true))
    }

    /// Tells whether anybody has the extension `name`.
    #[must_use]
    pub fn has_extension(&self, name: &str) -> bool {
        self.members.get("extensions").is_some_and(|extensions| extensions.get(name).is_some())
    }

    /// Tells whether anybody has the list `kind`.
    #[must_use]
    pub fn lists(&self, kind: ListKind) -> bool {
        self.has(kind.capability())
    }

    /// Returns the object that a client of `version` is shown.
    #[must_use]
    pub fn to_json(&self, version: Version) -> String {
        let foreign = Dialect::of(version).foreign_capabilities;
        let mut shown: Map<String, Value> = Map::new();
        for (name, value) in &self.members {
            if foreign.contains(&name.as_str()) {
                continue;
            }
            let mut value = value.clone();
            if let (Some(object), Some(flags)) = (value.as_object_mut(), announced(name)) {
                object.extend(flags.iter().map(|flag| ((*flag).to_owned(), Value::Bool(true))));
            }
            shown.insert(name.clone(), value);
        }
        Value::Object(shown).to_string()
    }
}

/// Returns the flags that the gateway honours by itself for a capability.
fn announced(capability: &str) -> Option<&'static [&'static str]> {
    match capability {
        "tools" | "prompts" => Some(&["listChanged"]),
        "resources" => Some(&["listChanged", "subscribe"]),
        _ => None,
    }
}

/// Adds what `target` does not have; recursion is bounded by the nesting that parsing allows.
fn unite(target: &mut Map<String, Value>, added: Map<String, Value>) {
    for (name, value) in added {
        match (target.get_mut(&name), value) {
            (None, value) => {
                target.insert(name, value);
            }
            (Some(Value::Object(ours)), Value::Object(theirs)) => unite(ours, theirs),
            (Some(ours @ Value::Bool(false)), Value::Bool(true)) => *ours = Value::Bool(true),
            (Some(_), _) => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn union(raws: &[&str]) -> Capabilities {
        let mut union = Capabilities::new();
        for raw in raws {
            union.add(raw).expect("an object");
        }
        union
    }

    #[test]
    fn what_anybody_has_is_announced_with_the_flags_that_the_gateway_honours() {
        let union = union(&[
            r#"{"tools":{"listChanged":false},"experimental":{"a":{"x":1}}}"#,
            r#"{"resources":{},"experimental":{"a":{"x":2},"b":{}},"logging":{}}"#,
        ]);

        let json = union.to_json(Version::V2025_06_18);

        let expected = r#"{"tools":{"listChanged":true},"experimental":{"a":{"x":1},"b":{}},"resources":{"listChanged":true,"subscribe":true},"logging":{}}"#;
        assert_eq!(json, expected);
        assert!(union.lists(ListKind::Tools) && union.lists(ListKind::ResourceTemplates));
        assert!(!union.lists(ListKind::Prompts));
        assert!(!union.has_flag("tools", "listChanged") && !union.has_flag("prompts", "listChanged"));
    }

    #[test]
    fn lists_that_are_not_chosen_are_not_announced() {
        let mut union = Capabilities::new();
        let raw = r#"{"prompts":{},"tools":{},"logging":{},"resources":{}}"#;

        union.add_chosen(raw, |kind| kind == ListKind::Tools).expect("an object");

        assert_eq!(union.to_json(Version::V2025_06_18), r#"{"tools":{"listChanged":true},"logging":{}}"#);
    }

    #[test]
    fn capabilities_of_other_revisions_are_not_announced() {
        let union =
            union(&[r#"{"tasks":{"list":{}},"completions":{},"extensions":{"io.modelcontextprotocol/tasks":{}}}"#]);
        let cases = [
            (Version::V2024_11_05, r#"{"extensions":{"io.modelcontextprotocol/tasks":{}}}"#),
            (Version::V2025_06_18, r#"{"completions":{},"extensions":{"io.modelcontextprotocol/tasks":{}}}"#),
            (Version::V2026_07_28, r#"{"completions":{},"extensions":{"io.modelcontextprotocol/tasks":{}}}"#),
        ];
        for (version, expected) in cases {
            assert_eq!(union.to_json(version), expected, "{version}");
        }
        assert!(union.to_json(Version::V2025_11_25).starts_with(r#"{"tasks":{"list":{}}"#));
        assert!(union.has_extension("io.modelcontextprotocol/tasks"));
    }

    #[test]
    fn what_is_no_object_adds_nothing() {
        let mut union = union(&[r#"{"tools":{}}"#]);
        for raw in ["", "[]", "null", "{", "\"tools\""] {
            assert_eq!(union.add(raw), Err(NotCapabilities), "{raw}");
        }
        assert_eq!(union.to_json(Version::V2026_07_28), r#"{"tools":{"listChanged":true}}"#);
    }
}
