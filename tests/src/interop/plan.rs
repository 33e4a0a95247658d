//! Plans: with what a server shows each feature.
//!
//! A plan is a JSON object in `tests/interop/plans`: the eras that the server speaks, and for each feature that it
//! offers the tool, prompt or resource that shows it and the answer to expect. Drivers in three languages read the
//! same files. A step may narrow itself to some eras (`eras`).

use std::{fs, path::Path};

use anyhow::{Context as _, ensure};
use serde_json::{Map, Value};

use super::{Client, Mode};

/// A feature and its line in the table.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Feature {
    /// Its key in plans.
    pub key: &'static str,
    /// What it means to a reader.
    pub title: &'static str,
}

/// Every feature, in the order of the table.
pub const FEATURES: [Feature; 20] = [
    Feature { key: "connect", title: "Connect, version negotiated" },
    Feature { key: "tools", title: "List tools" },
    Feature { key: "call", title: "Call a tool" },
    Feature { key: "headers", title: "Arguments mirrored in headers" },
    Feature { key: "error", title: "A tool's own error" },
    Feature { key: "unknown", title: "Unknown tool refused" },
    Feature { key: "structured", title: "Structured content" },
    Feature { key: "progress", title: "Progress" },
    Feature { key: "logging", title: "Log messages" },
    Feature { key: "prompts", title: "Prompts" },
    Feature { key: "resources", title: "Resources" },
    Feature { key: "templates", title: "Resource templates" },
    Feature { key: "completion", title: "Completion" },
    Feature { key: "elicitation", title: "Elicitation" },
    Feature { key: "sampling", title: "Sampling" },
    Feature { key: "tasks", title: "Tasks" },
    Feature { key: "updates", title: "Subscription to a resource" },
    Feature { key: "changes", title: "List changed" },
    Feature { key: "cancellation", title: "Cancellation" },
    Feature { key: "reconnection", title: "Reconnect with Last-Event-ID" },
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

    /// With what the feature is shown; null when it is not.
    #[must_use]
    pub fn step(&self, feature: &str) -> &Value {
        self.steps.get(feature).unwrap_or(&Value::Null)
    }

    /// Whether the server speaks the era of this mode.
    #[must_use]
    pub fn speaks(&self, mode: Mode) -> bool {
        self.eras.iter().any(|era| era == mode.era())
    }

    /// The features that this client can be shown, in the order of the table.
    #[must_use]
    pub fn features(&self, client: Client) -> Vec<Feature> {
        let shown = |feature: &Feature| client.knows(feature.key) && self.offers(feature.key, client.mode);
        FEATURES.into_iter().filter(shown).collect()
    }

    fn offers(&self, feature: &str, mode: Mode) -> bool {
        let step = self.step(feature);
        let eras = step.get("eras").and_then(Value::as_array);
        let in_era = eras.is_none_or(|eras| eras.iter().any(|era| era == mode.era()));
        match feature {
            "connect" => true,
            // Only a stream of streamable HTTP with sessions can be resumed.
            "reconnection" => !step.is_null() && mode == Mode::Legacy,
            _ => !step.is_null() && in_era,
        }
    }
}

#[cfg(test)]
mod tests {
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

        assert_eq!(keys(plan, Library::Python, Mode::Modern), ["connect", "call", "updates"]);
        assert_eq!(keys(plan, Library::Python, Mode::Legacy), ["connect", "call", "reconnection"]);
        assert_eq!(keys(plan, Library::Python, Mode::Sse), ["connect", "call"]);
    }

    #[test]
    fn a_library_is_not_shown_what_it_does_not_know() {
        let plan = r#"{ "eras": ["legacy", "modern"], "tasks": {} }"#;

        assert_eq!(keys(plan, Library::Rmcp, Mode::Modern), ["connect", "tasks"]);
        assert_eq!(keys(plan, Library::Rmcp, Mode::Legacy), ["connect"]);
        assert_eq!(keys(plan, Library::TypeScriptV1, Mode::Legacy), ["connect", "tasks"]);
        assert_eq!(keys(plan, Library::Python, Mode::Modern), ["connect"]);
    }

    #[test]
    fn a_plan_with_an_unknown_feature_is_refused() {
        assert!(Plan::parse(r#"{ "eras": [], "telepathy": {} }"#).is_err());
        assert!(Plan::parse(r#"{ "call": {} }"#).is_err());
    }
}
