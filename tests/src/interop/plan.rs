//! Plans: with what a server shows each feature.
//!
//! A plan is a JSON object in `tests/interop/plans`: the eras that the server speaks, and for each feature that it
//! offers the tool, prompt or resource that shows it and the answer to expect. Drivers in three languages are given the
//! same steps. A step may narrow itself to clients of some eras (`eras`), or to those that need no translation between the
//! eras (`"bridged": false`: what shows the feature happens outside of calls, where the other era has nothing). Texts may have variables such as `$FOLDER`, which the
//! test fills in; every text with a `$` is looked at, and a variable without a value is an error.

use std::{fs, path::Path};

use anyhow::{Context as _, bail, ensure};
use serde_json::{Map, Value};

use super::{Client, Mode};

/// A feature and its column in the tables.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Feature {
    /// Its key in plans.
    pub key: &'static str,
    /// Its name to a reader.
    pub title: &'static str,
    /// What the driver saw before it said yes.
    pub seen: &'static str,
}

/// Every feature, in the order of the tables.
pub const FEATURES: [Feature; 20] = [
    Feature { key: "connect", title: "connect", seen: "The connection is open, in a version of the client's era." },
    Feature { key: "tools", title: "list", seen: "The tools are listed, over all pages." },
    Feature { key: "call", title: "call", seen: "A tool's answer has the expected text." },
    Feature { key: "headers", title: "headers", seen: "A call whose arguments are mirrored in headers (2026-07-28)." },
    Feature {
        key: "error",
        title: "error",
        seen: "A tool's own error arrives as such, not as a failure of the protocol.",
    },
    Feature { key: "unknown", title: "unknown", seen: "A tool that does not exist is refused." },
    Feature { key: "structured", title: "structured", seen: "Structured content has the expected fields." },
    Feature { key: "progress", title: "progress", seen: "Every notification of progress arrives, in order." },
    Feature { key: "logging", title: "logging", seen: "Log messages arrive after the client asked for them." },
    Feature { key: "prompts", title: "prompts", seen: "A prompt is listed, and says the expected text." },
    Feature { key: "resources", title: "resources", seen: "A resource is listed, and reads as expected." },
    Feature {
        key: "templates",
        title: "templates",
        seen: "A resource template is listed, and one of its resources reads.",
    },
    Feature {
        key: "completion",
        title: "completion",
        seen: "An argument of a prompt is completed with the expected values.",
    },
    Feature {
        key: "elicitation",
        title: "elicitation",
        seen: "A tool asks the user, and its answer has what the user said.",
    },
    Feature {
        key: "sampling",
        title: "sampling",
        seen: "A tool asks the client's model, and its answer has what that said.",
    },
    Feature { key: "tasks", title: "tasks", seen: "A call runs as a task, and its result is the expected one." },
    Feature { key: "updates", title: "subscription", seen: "A change of a watched resource is told." },
    Feature {
        key: "changes",
        title: "changes",
        seen: "A change of the list of tools is told, and the list is another.",
    },
    Feature {
        key: "cancellation",
        title: "cancel",
        seen: "A running call is given up, the server is told, and the next call works.",
    },
    Feature {
        key: "reconnection",
        title: "resume",
        seen: "A stream breaks before the answer, which comes after `Last-Event-ID`.",
    },
];

/// What one server offers.
#[derive(Debug, Clone, PartialEq)]
pub struct Plan {
    eras: Vec<String>,
    steps: Map<String, Value>,
}

// === impl Plan ===

impl Plan {
    /// Reads a plan.
    ///
    /// # Errors
    ///
    /// The file is not a plan, or names a feature that does not exist.
    pub fn read(path: &Path) -> anyhow::Result<Self> {
        let text = fs::read_to_string(path).with_context(|| format!("cannot read {}", path.display()))?;
        Self::parse(&text).with_context(|| format!("{} is not a plan", path.display()))
    }

    /// Parses a plan.
    ///
    /// # Errors
    ///
    /// It is not an object with `eras`, or names a feature that does not exist.
    pub fn parse(text: &str) -> anyhow::Result<Self> {
        let mut steps: Map<String, Value> = serde_json::from_str(text)?;
        let eras = steps.remove("eras").context("no eras")?;
        let eras = serde_json::from_value(eras).context("eras are strings")?;
        for key in steps.keys() {
            ensure!(FEATURES.iter().any(|feature| feature.key == key), "unknown feature {key}");
        }
        Ok(Self { eras, steps })
    }

    /// With what each feature is shown, with values for the variables of its texts.
    ///
    /// # Errors
    ///
    /// A text has a variable that none of these is.
    pub fn steps(&self, variables: &[(&str, &str)]) -> anyhow::Result<Map<String, Value>> {
        let mut steps = self.steps.clone();
        steps.values_mut().try_for_each(|step| fill(step, variables))?;
        Ok(steps)
    }

    /// The same server when it speaks one era alone.
    #[must_use]
    pub fn limited_to(mut self, era: &str) -> Self {
        self.eras.retain(|known| known == era);
        self
    }

    /// Whether the server speaks the era of this mode.
    #[must_use]
    pub fn speaks(&self, mode: Mode) -> bool {
        self.eras.iter().any(|era| era == mode.era())
    }

    /// Whether the server has something to show the feature with.
    #[must_use]
    pub fn has(&self, feature: &str) -> bool {
        feature == "connect" || self.steps.contains_key(feature)
    }

    /// The features that this client can be shown, in the order of the table; to a client of the other era by a gateway
    /// that translates.
    #[must_use]
    pub fn features(&self, client: Client) -> Vec<Feature> {
        let shown = |feature: &Feature| client.knows(feature.key) && self.offers(feature.key, client.mode);
        FEATURES.into_iter().filter(shown).collect()
    }

    fn offers(&self, feature: &str, mode: Mode) -> bool {
        let part = |key| self.steps.get(feature).and_then(|step| step.get(key));
        let eras = part("eras").and_then(Value::as_array);
        let in_era = eras.is_none_or(|eras| eras.iter().any(|era| era == mode.era()));
        // The eras have different tasks, which nobody translates.
        let bridged = feature != "tasks" && part("bridged") != Some(&Value::Bool(false));
        // Only a stream of streamable HTTP with sessions can be resumed.
        let in_mode = feature != "reconnection" || mode == Mode::Legacy;
        self.has(feature) && in_era && in_mode && (bridged || self.speaks(mode))
    }
}

/// Puts values in the place of variables, in all texts of a value.
fn fill(value: &mut Value, variables: &[(&str, &str)]) -> anyhow::Result<()> {
    match value {
        Value::String(text) if text.contains('$') => {
            for (name, replacement) in variables {
                *text = text.replace(name, replacement);
            }
            match text.find('$') {
                Some(at) => bail!("no value for the variable in {:?}", &text[at..]),
                None => Ok(()),
            }
        }
        Value::Array(items) => items.iter_mut().try_for_each(|item| fill(item, variables)),
        Value::Object(fields) => fields.values_mut().try_for_each(|field| fill(field, variables)),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::interop::Library;

    fn keys(plan: &str, library: Library, mode: Mode) -> Vec<&'static str> {
        let plan = Plan::parse(plan).expect("it is a plan");
        plan.features(Client { library, mode }).iter().map(|feature| feature.key).collect()
    }

    #[test]
    fn a_mode_is_shown_what_the_plan_has_for_its_era() {
        let plan = r#"{
            "eras": ["legacy", "modern"],
            "reconnection": {}, "call": {}, "updates": { "eras": ["modern"] }
        }"#;

        assert_eq!(keys(plan, Library::PythonV2, Mode::Modern), ["connect", "call", "updates"]);
        assert_eq!(keys(plan, Library::PythonV2, Mode::Legacy), ["connect", "call", "reconnection"]);
        assert_eq!(keys(plan, Library::PythonV2, Mode::Sse), ["connect", "call"]);
    }

    #[test]
    fn a_library_is_not_shown_what_it_does_not_know() {
        let plan = r#"{ "eras": ["legacy", "modern"], "tasks": {} }"#;

        assert_eq!(keys(plan, Library::Rmcp, Mode::Modern), ["connect", "tasks"]);
        assert_eq!(keys(plan, Library::Rmcp, Mode::Legacy), ["connect"]);
        assert_eq!(keys(plan, Library::TypeScriptV1, Mode::Legacy), ["connect", "tasks"]);
        assert_eq!(keys(plan, Library::PythonV2, Mode::Modern), ["connect"]);
    }

    #[test]
    fn a_client_of_the_other_era_is_shown_what_can_be_translated() {
        let plan = r#"{ "eras": ["legacy"], "tasks": {}, "call": {}, "updates": { "bridged": false } }"#;

        assert_eq!(keys(plan, Library::Rmcp, Mode::Modern), ["connect", "call"]);
    }

    #[test]
    fn a_plan_with_an_unknown_feature_is_refused() {
        assert!(Plan::parse(r#"{ "eras": [], "telepathy": {} }"#).is_err());
        assert!(Plan::parse(r#"{ "call": {} }"#).is_err());
    }

    #[test]
    fn variables_are_filled_in_everywhere_and_must_have_a_value() {
        let plan = r#"{ "eras": [], "call": { "arguments": { "paths": ["$FOLDER/a"] }, "says": "{id} $SITE" } }"#;
        let plan = Plan::parse(plan).expect("it is a plan");

        let filled = plan.steps(&[("$FOLDER", "/f"), ("$SITE", "http://s")]).expect("both have values");

        assert_eq!(filled["call"], json!({ "arguments": { "paths": ["/f/a"] }, "says": "{id} http://s" }));
        assert!(plan.steps(&[("$FOLDER", "/f")]).is_err());
    }
}
