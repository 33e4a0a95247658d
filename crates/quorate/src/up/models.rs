//! Models of the flags of `quorate up`, as documents.
//!
//! In: `--llm MODEL=URL[,key-env=NAME]`, and the embedded model. Out: a `Provider` for each, and a `Model` for each name by which clients
//! ask, whose targets are asked in the order of the flags. Providers that are known by their address have what is known of them.

use std::collections::BTreeSet;

use quorate_llm::preset::Preset;
use serde_json::{Value, json};
use url::Url;

use super::DEMO;
use crate::cli::NamedModel;

/// The most characters of a name that is made of a model's.
const NAME_CHARS_MAX: usize = 40;

/// Makes the documents; `demo` is the address of the embedded model, if there is one.
pub(crate) fn documents(flags: &[NamedModel], demo: Option<&str>) -> Vec<Value> {
    let (mut names, mut providers, mut models) = (BTreeSet::new(), Vec::new(), Vec::<(String, Value)>::new());
    for NamedModel { model, url, key_env } in flags {
        let name = unused(model, &mut names);
        let mut spec = json!({ "preset": preset_of(url).known().name, "url": url.as_str() });
        if let Some(variable) = key_env {
            spec["keys"] = json!([format!("env:{variable}")]);
        }
        providers.push(json!({ "kind": "Provider", "name": name, "spec": spec }));
        let known = models.iter().position(|(asked, _)| asked == model);
        let place = known.unwrap_or_else(|| {
            let spec = json!({ "names": [model], "targets": [] });
            models.push((model.clone(), json!({ "kind": "Model", "name": name, "spec": spec })));
            models.len() - 1
        });
        if let Some(targets) = models[place].1["spec"]["targets"].as_array_mut() {
            let priority = targets.len();
            targets.push(json!({ "provider": name, "priority": priority }));
        }
    }
    if let Some(url) = demo {
        let spec = json!({ "preset": "openai-compatible", "url": url, "apis": ["chat", "embeddings"] });
        providers.push(json!({ "kind": "Provider", "name": DEMO, "spec": spec }));
        let spec = json!({ "targets": [{ "provider": DEMO }] });
        models.push((DEMO.to_owned(), json!({ "kind": "Model", "name": DEMO, "spec": spec })));
    }
    providers.extend(models.into_iter().map(|(_, model)| model));
    providers
}

/// What is known of a provider at an address.
fn preset_of(url: &Url) -> Preset {
    let is_there = |preset: &Preset| {
        let own = preset.known().url.and_then(|own| Url::parse(own).ok());
        own.is_some_and(|own| own.host_str() == url.host_str())
    };
    Preset::ALL.into_iter().find(is_there).unwrap_or(Preset::Compatible)
}

/// The name of a resource that is made of a model's, and that no other has.
fn unused(model: &str, names: &mut BTreeSet<String>) -> String {
    let plain = |each: char| if each.is_ascii_alphanumeric() { each.to_ascii_lowercase() } else { '-' };
    let name: String = model.chars().map(plain).take(NAME_CHARS_MAX).collect();
    let name = name.trim_matches('-').to_owned();
    let name = if name.is_empty() { "any".to_owned() } else { name };
    let name = (1..).map(|number| if number == 1 { name.clone() } else { format!("{name}-{number}") });
    let unused = name.into_iter().find(|name| !names.contains(name)).expect("numbers have no end");
    names.insert(unused.clone());
    unused
}

#[cfg(test)]
mod tests {
    use quorate_config::Source;

    use super::*;

    fn flag(model: &str, url: &str) -> NamedModel {
        NamedModel { model: model.to_owned(), url: url.parse().unwrap(), key_env: None }
    }

    #[test]
    fn a_model_that_is_given_twice_has_two_targets_in_their_order() {
        let all = documents(
            &[
                flag("Llama3:8b", "http://127.0.0.1:8000/v1"),
                flag("Llama3:8b", "https://api.groq.com/openai/v1"),
                flag("*", "https://api.anthropic.com"),
            ],
            Some("http://127.0.0.1:1/v1"),
        );

        let text: Vec<String> = all.iter().map(Value::to_string).collect();
        let set = quorate_config::parse(&[Source { file: "flags.yaml".into(), text: text.join("\n---\n") }]).unwrap();
        let names: Vec<&str> = set.models().iter().map(|model| model.name.as_str()).collect();
        assert_eq!(names, ["any", "demo", "llama3-8b"]);
        let presets: Vec<&str> = set.providers().iter().map(|one| one.preset.known().name).collect();
        assert_eq!(presets, ["anthropic", "openai-compatible", "openai-compatible", "groq"]);
        let targets: Vec<_> = set.models()[2].targets.iter().map(|target| target.priority).collect();
        assert_eq!(targets, [0, 1]);
    }
}
