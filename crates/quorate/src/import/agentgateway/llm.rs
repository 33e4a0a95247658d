//! The short form `llm`: models by name, each with its provider.
//!
//! In: the section. Out: a `Listener`, a `Provider` for each entry and a `Model` for each name. Entries of one name are told apart by
//! headers, and the one without a condition is asked last.

use quorate_llm::preset::Preset;
use serde_json::{Map, Value, json};

use super::super::Import;
use super::super::source::Part;
use super::model_policies::ModelPolicies;
use super::policies::{self, Policies};
use super::{ai, listener};

/// What is said of the section.
const SECTION: &[(&str, &str)] = &[
    ("virtualModels", "write several entries of one name into `models` and import again, or targets into a Model"),
    ("providers", "write the provider into each of `models` and import again"),
];

/// What is said of models.
const ROWS: &[(&str, &str)] = &[
    ("guardrails", "there are no guardrails for texts of models"),
    ("transformation", "requests are changed by `parameters` of a Model"),
    ("requestHeaders", "see `headers` of the Provider"),
    ("promptCaching", "clients mark what providers keep; nothing is added"),
    ("health", "see `breaker` of a Model"),
    ("visibility", "all names are listed"),
];

/// The entries of one name.
#[derive(Debug)]
struct Model {
    name: String,
    at: String,
    entries: Vec<Entry>,
}

/// One of them.
#[derive(Debug)]
struct Entry {
    preset: Preset,
    target: Value,
    policies: ModelPolicies,
}

/// Takes the section.
pub(super) fn import(mut part: Part, import: &mut Import<'_>) {
    listener(&mut part, "llm", import);
    let given = part.part("policies", &mut import.notes);
    let outer = given.map(|given| Policies::take(given, import)).unwrap_or_default();
    if outer.needs_user {
        import.notes.say(&part.path("policies"), ai::NEEDS_USER);
    }
    let mut models = Vec::<Model>::new();
    for given in part.parts("models", &mut import.notes) {
        let at = given.at().to_owned();
        let Some((name, entry)) = entry(given, &outer, import) else { continue };
        match models.iter_mut().find(|model| model.name == name) {
            Some(model) => model.entries.push(entry),
            None => models.push(Model { name, at, entries: vec![entry] }),
        }
    }
    for model in models {
        model.document(import);
    }
    part.end(SECTION, &mut import.notes);
}

fn entry(mut entry: Part, outer: &Policies, import: &mut Import<'_>) -> Option<(String, Entry)> {
    let at = entry.at().to_owned();
    let name = entry.text("name", &mut import.notes).unwrap_or_else(|| "*".to_owned());
    let word = entry.text("provider", &mut import.notes);
    let mut policies = outer.clone();
    policies.models.take_parameters(&mut entry, import);
    policies.key = policies::key(&mut entry, "auth", import).or(policies.key);
    for key in ["tls", "backendTLS"] {
        policies.tls = policies::tls(&mut entry, key, import).or(policies.tls);
    }
    let when = when(&mut entry, import);
    let mut params = match entry.part("params", &mut import.notes) {
        Some(params) => params,
        None => Part::of(json!({}), &entry.path("params"), &mut import.notes)?,
    };
    let key_at = params.path("apiKey");
    if let Some(key) = params.text("apiKey", &mut import.notes) {
        let wanted = format!("{} key", word.as_deref().unwrap_or("model"));
        let key = import.secrets.write(&key, &key_at, &wanted, &mut import.notes);
        policies.key = Some(policies::said_key(key, key_at, import));
    }
    entry.end(ROWS, &mut import.notes);
    let place = ai::place(&mut params, import);
    let Some(word) = word else {
        import.notes.say(&at, "it names no provider: it is left out");
        params.end_with(&[], "goes with its model", &mut import.notes);
        return None;
    };
    let ai::Placed { preset, provider, model } = ai::document(&word, params, place, &policies, None, &at, import)?;
    let mut target = json!({ "provider": provider });
    if let Some(model) = model {
        target["model"] = model.into();
    }
    if !when.is_empty() {
        target["when"] = json!({ "headers": when });
    }
    Some((name, Entry { preset, target, policies: policies.models }))
}

// === impl Model ===

impl Model {
    /// Makes the document.
    fn document(self, import: &mut Import<'_>) {
        let said: Vec<(Preset, &ModelPolicies)> =
            self.entries.iter().map(|entry| (entry.preset, &entry.policies)).collect();
        let common = ModelPolicies::common(&said, &mut import.notes);
        let mut targets: Vec<Value> = self.entries.iter().map(|entry| entry.target.clone()).collect();
        // Entries with a condition are asked before the one without.
        if targets.iter().any(|target| target.get("when").is_some()) {
            let plain = targets.iter_mut().filter(|target| target.get("when").is_none());
            plain.for_each(|target| target["priority"] = 1.into());
        }
        let mut spec = json!({ "names": [self.name], "targets": targets });
        common.write(&mut spec);
        import.documents.add("Model", &self.name, spec, &self.at);
    }
}

/// Headers that a model is for, by their exact values.
fn when(entry: &mut Part, import: &mut Import<'_>) -> Map<String, Value> {
    let mut headers = Map::new();
    for (index, mut one) in entry.parts("matches", &mut import.notes).into_iter().enumerate() {
        if index > 0 {
            import.notes.say(one.at(), "a target has one condition: the first is written");
        }
        for mut header in one.parts("headers", &mut import.notes) {
            let name = header.text("name", &mut import.notes);
            let mut value = header.part("value", &mut import.notes);
            let exact = value.as_mut().and_then(|value| value.text("exact", &mut import.notes));
            // A star would stand for any characters.
            if let (Some(name), Some(exact), 0) = (name, exact.filter(|exact| !exact.contains('*')), index) {
                if headers.insert(name, exact.into()).is_some() {
                    import.notes.say(header.at(), "a header has one value: the last one is written");
                }
            } else if index == 0 {
                import.notes.say(header.at(), "only exact values of headers are compared: it is left out");
            }
            if let Some(value) = value {
                value.end(
                    &[("regex", "see `when.headers` of a Model's target, with `*` for any characters")],
                    &mut import.notes,
                );
            }
            header.end(&[], &mut import.notes);
        }
        one.end(&[], &mut import.notes);
    }
    headers
}
