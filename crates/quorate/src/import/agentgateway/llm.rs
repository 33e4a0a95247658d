//! The short form `llm`: models by name, each with its provider.
//!
//! In: the section. Out: a `Listener`, a `Provider` for each entry and a `Model` for each name. Entries of one name are told apart by
//! headers, and the one without a condition is asked last.

use serde_json::{Map, Value, json};

use super::super::Import;
use super::super::source::Part;
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
    targets: Vec<Value>,
    policies: Policies,
}

/// Takes the section.
pub(super) fn import(mut part: Part, import: &mut Import<'_>) {
    listener(&mut part, "llm", import);
    let given = part.part("policies", &mut import.notes);
    let outer = given.map(|given| Policies::take(given, import)).unwrap_or_default();
    let mut models = Vec::<Model>::new();
    for entry in part.parts("models", &mut import.notes) {
        let at = entry.at().to_owned();
        let Some((name, target, policies)) = model(entry, &outer, import) else { continue };
        match models.iter_mut().find(|model| model.name == name) {
            Some(model) => {
                if (&model.policies.defaults, &model.policies.overrides) != (&policies.defaults, &policies.overrides) {
                    import.notes.say(&at, "parameters are of a Model, not of a target: those of the first entry hold");
                }
                model.targets.push(target);
            }
            None => models.push(Model { name, at, targets: vec![target], policies }),
        }
    }
    for mut model in models {
        // Entries with a condition are asked before the one without.
        if model.targets.iter().any(|target| target.get("when").is_some()) {
            let plain = model.targets.iter_mut().filter(|target| target.get("when").is_none());
            plain.for_each(|target| target["priority"] = 1.into());
        }
        let mut spec = json!({ "names": [model.name], "targets": model.targets });
        model.policies.of_model(&mut spec);
        import.documents.add("Model", &model.name, spec, &model.at);
    }
    part.end(SECTION, &mut import.notes);
}

fn model(mut entry: Part, outer: &Policies, import: &mut Import<'_>) -> Option<(String, Value, Policies)> {
    let at = entry.at().to_owned();
    let name = entry.text("name", &mut import.notes).unwrap_or_else(|| "*".to_owned());
    let word = entry.text("provider", &mut import.notes);
    let mut policies = outer.clone();
    for (key, values) in [("defaults", &mut policies.defaults), ("overrides", &mut policies.overrides)] {
        let Some(mut given) = entry.part(key, &mut import.notes) else { continue };
        for name in given.keys() {
            values.extend(given.take(&name).map(|value| (name, value)));
        }
    }
    policies.key = policies::key(&mut entry, "auth", import).or(policies.key);
    for key in ["tls", "backendTLS"] {
        if let Some(tls) = entry.part(key, &mut import.notes) {
            policies.tls = Some(policies::tls(tls, import));
        }
    }
    let when = when(&mut entry, import);
    let mut params = match entry.part("params", &mut import.notes) {
        Some(params) => params,
        None => Part::of(json!({}), &entry.path("params"), &mut import.notes)?,
    };
    let key_at = params.path("apiKey");
    if let Some(key) = params.text("apiKey", &mut import.notes) {
        let wanted = format!("{} key", word.as_deref().unwrap_or("model"));
        policies.key = Some(import.secrets.write(&key, &key_at, &wanted, &mut import.notes));
    }
    entry.end(ROWS, &mut import.notes);
    let place = ai::place(&mut params, import);
    let Some(word) = word else {
        import.notes.say(&at, "it names no provider: it is left out");
        params.end_with(&[], "goes with its model", &mut import.notes);
        return None;
    };
    let (provider, model) = ai::document(&word, params, place, &policies, None, &at, import)?;
    let mut target = json!({ "provider": provider });
    if let Some(model) = model {
        target["model"] = model.into();
    }
    if !when.is_empty() {
        target["when"] = json!({ "headers": when });
    }
    Some((name, target, policies))
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
                headers.insert(name, exact.into());
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
