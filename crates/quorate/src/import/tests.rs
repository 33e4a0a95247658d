//! Whole configurations: what is made of them, word for word, and what holds for any.
//!
//! Samples are in `tests/import`, each beside the resources (`.out.yaml`) and the notes (`.notes.txt`) that it gives. Run with `UPDATE=1` to
//! write them anew. What holds for any source is tried with samples to which something is added everywhere, and with trees that are
//! made of the words of sources.

use std::path::{Path, PathBuf};

use proptest::prelude::*;
use quorate_config::Source;
use serde_json::{Map, Value, json};

use super::*;

const SAMPLES: [(Kind, &str); 5] = [
    (Kind::Litellm, "litellm"),
    (Kind::Litellm, "litellm-providers"),
    (Kind::Agentgateway, "agentgateway"),
    (Kind::Agentgateway, "agentgateway-short"),
    (Kind::Agentgateway, "agentgateway-policies"),
];

/// Members of samples that are taken over, and say what holds without them: the default, the custom, what is said beside as well, or what
/// goes with something that is listed. Names are not among them.
const SAY_NOTHING: [&str; 22] = [
    "litellm: model_list[0].model_info.mode",
    "litellm: model_list[2].litellm_params.api_key",
    "litellm: model_list[2].litellm_params.order",
    "litellm: model_list[3].litellm_params.drop_params",
    "litellm: model_list[6].model_info.mode",
    "litellm: model_list[6].model_info",
    "litellm: model_list[7].litellm_params.api_key",
    "litellm: litellm_settings.drop_params",
    "litellm: mcp_servers.files.transport",
    "litellm-providers: litellm_settings.cache",
    "agentgateway: binds[0].listeners[0].protocol",
    "agentgateway: binds[0].listeners[0].routes[0].matches[0].path.exact",
    "agentgateway: binds[0].listeners[0].routes[0].matches[0].path",
    "agentgateway: binds[0].listeners[0].routes[0].matches[1].path.exact",
    "agentgateway: binds[0].listeners[0].routes[0].matches[1].path",
    "agentgateway: binds[0].listeners[0].routes[0].matches",
    "agentgateway: binds[0].listeners[0].routes[0].policies.jwtAuth.mode",
    "agentgateway: binds[0].listeners[0].routes[1].backends[0].mcp.prefixMode",
    "agentgateway: binds[1].listeners[0].routes[0].policies.ai.prompts.prepend[1].content",
    "agentgateway-short: llm.models[2].params.vertexRegion",
    "agentgateway-short: llm.models[3].params.hostOverride",
    "agentgateway-policies: binds[0].listeners[1].routes",
];

fn path(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/import").join(name)
}

fn sample(name: &str) -> String {
    std::fs::read_to_string(path(&format!("{name}.yaml"))).unwrap()
}

/// The environment of all samples.
fn variable(name: &str) -> Option<String> {
    (name == "OLLAMA_BASE").then(|| "http://laptop.internal:11434".to_owned())
}

fn made(kind: Kind, text: &str, with_secrets: bool) -> (String, Notes) {
    import(kind, text, "config.yaml", with_secrets, &variable).unwrap()
}

/// As [`made`], without a look at whether it is valid, which takes most of the time.
fn drafted(kind: Kind, tree: Value) -> (String, Notes) {
    let Import { documents, notes, .. } = take(kind, tree, false, &variable);
    (documents.draft(), notes)
}

fn compare(name: &str, found: &str) {
    let file = path(name);
    if std::env::var_os("UPDATE").is_some() {
        std::fs::write(&file, found).unwrap();
    }
    let expected = std::fs::read_to_string(&file).unwrap_or_default();
    assert_eq!(found, expected, "{name}: run with UPDATE=1 if this was meant");
}

#[test]
fn samples_give_what_was_agreed() {
    for (kind, name) in SAMPLES {
        let (text, notes) = made(kind, &sample(name), false);

        compare(&format!("{name}.out.yaml"), &text);
        compare(&format!("{name}.notes.txt"), &notes.text());
        let all = text + &notes.text();
        for secret in ["s3cret", "sk-"] {
            assert!(!all.contains(secret), "{name}: {secret} is written");
        }
    }
}

#[test]
fn secrets_are_written_where_that_was_asked_for_and_never_listed() {
    for (kind, name) in SAMPLES {
        let (text, notes) = made(kind, &sample(name), true);

        assert!(text.contains("sk-not-a-real-key"), "{name}");
        for secret in ["s3cret", "sk-"] {
            assert!(!notes.text().contains(secret), "{name}: {secret} is listed");
        }
    }
}

#[test]
fn a_source_that_is_none_is_refused_with_its_name() {
    for text in ["[", "7", "[1]", ""] {
        let failure = import(Kind::Litellm, text, "config.yaml", false, &variable).unwrap_err();
        assert_eq!(failure.exit, Exit::Config, "{text}");
        assert!(failure.message.starts_with("config.yaml: "), "{failure}");
    }
    let (text, notes) = made(Kind::Litellm, "{}", false);
    assert!(text.starts_with("# ") && notes.len() == 1, "{text}");
}

/// The paths of all objects of a tree.
fn objects(value: &Value, at: &str, found: &mut Vec<String>) {
    match value {
        Value::Object(members) => {
            found.push(at.to_owned());
            for (key, value) in members {
                objects(value, &source::below(at, key), found);
            }
        }
        Value::Array(items) => {
            for (index, value) in items.iter().enumerate() {
                objects(value, &format!("{at}[{index}]"), found);
            }
        }
        _ => {}
    }
}

/// Adds a member to the object at a path; returns whether it was found.
fn add(value: &mut Value, at: &str, wanted: &str) -> bool {
    if at == wanted
        && let Value::Object(members) = value
    {
        members.insert("zz_new".to_owned(), json!(1));
        return true;
    }
    match value {
        Value::Object(members) => members.iter_mut().any(|(key, value)| add(value, &source::below(at, key), wanted)),
        Value::Array(items) => {
            items.iter_mut().enumerate().any(|(index, value)| add(value, &format!("{at}[{index}]"), wanted))
        }
        _ => false,
    }
}

#[test]
fn a_new_key_anywhere_is_listed_or_taken_over() {
    for (kind, name) in SAMPLES {
        let tree = source::parse(&sample(name)).unwrap();
        let mut all = Vec::new();
        objects(&tree, "", &mut all);
        assert!(all.len() > 15, "{name}: {all:?}");
        for at in all {
            let mut changed = tree.clone();
            assert!(add(&mut changed, "", &at), "{at}");

            let (text, notes) = drafted(kind, changed);

            let new = source::below(&at, "zz_new");
            assert!(notes.covers(&new) || text.contains("zz_new"), "{name}: nothing is said of {new}");
        }
    }
}

/// Takes the member at a path away; returns whether it was found.
fn remove(value: &mut Value, at: &str, wanted: &str) -> bool {
    match value {
        Value::Object(members) => {
            let found = members.keys().find(|key| source::below(at, key) == wanted).cloned();
            found.is_some_and(|key| members.shift_remove(&key).is_some())
                || members.iter_mut().any(|(key, value)| remove(value, &source::below(at, key), wanted))
        }
        Value::Array(items) => {
            items.iter_mut().enumerate().any(|(index, value)| remove(value, &format!("{at}[{index}]"), wanted))
        }
        _ => false,
    }
}

/// The paths of all members of objects of a tree.
fn members(value: &Value, at: &str, found: &mut Vec<String>) {
    match value {
        Value::Object(all) => {
            for (key, value) in all {
                let at = source::below(at, key);
                members(value, &at, found);
                found.push(at);
            }
        }
        Value::Array(items) => {
            for (index, value) in items.iter().enumerate() {
                members(value, &format!("{at}[{index}]"), found);
            }
        }
        _ => {}
    }
}

#[test]
fn a_key_that_is_taken_away_changes_what_is_made_or_listed() {
    let mut silent = Vec::new();
    for (kind, name) in SAMPLES {
        let tree = source::parse(&sample(name)).unwrap();
        let (text, notes) = drafted(kind, tree.clone());
        let mut all = Vec::new();
        members(&tree, "", &mut all);
        for at in all {
            let mut changed = tree.clone();
            assert!(remove(&mut changed, "", &at), "{at}");
            let (other, listed) = drafted(kind, changed);
            let is_name = matches!(at.rsplit('.').next(), Some("name" | "model_name"));
            if (&other, listed.text()) == (&text, notes.text()) && !is_name {
                silent.push(format!("{name}: {at}"));
            }
        }
    }
    assert_eq!(silent, SAY_NOTHING, "they are dropped without a word");
}

/// Words that sources have, so that trees of them get past the first look.
fn word() -> impl Strategy<Value = String> {
    let words: Vec<String> = SAMPLES
        .iter()
        .flat_map(|(_, name)| {
            let words = sample(name);
            let words = words.split([' ', '\n', ':', '{', '}', '[', ']', ',', '"']).map(str::to_owned);
            words.filter(|word| !word.is_empty() && !word.starts_with('-')).collect::<Vec<_>>()
        })
        .collect();
    prop_oneof![8 => prop::sample::select(words), 1 => "[ -~à-ü]{0,12}", 1 => Just("*".to_owned())]
}

fn tree() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        (-1e6_f64..1e12).prop_map(Value::from),
        (0_u32..100).prop_map(Value::from),
        word().prop_map(Value::from),
    ];
    leaf.prop_recursive(6, 60, 6, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
            prop::collection::vec((word(), inner), 0..6)
                .prop_map(|members| Value::Object(members.into_iter().collect::<Map<_, _>>())),
        ]
    })
}

/// Puts a tree in the place of a value of another, which is chosen by a number.
fn graft(value: &mut Value, place: &mut usize, new: &Value) {
    if *place == 0 {
        *value = new.clone();
        *place = usize::MAX;
        return;
    }
    *place -= 1;
    match value {
        Value::Object(members) => {
            for value in members.values_mut() {
                if *place < usize::MAX / 2 {
                    graft(value, place, new);
                }
            }
        }
        Value::Array(items) => {
            for value in items {
                if *place < usize::MAX / 2 {
                    graft(value, place, new);
                }
            }
        }
        _ => {}
    }
}

/// Whatever comes in, what goes out is valid.
fn is_valid(kind: Kind, text: &str, with_secrets: bool) -> Result<(), TestCaseError> {
    if let Ok((text, _)) = import(kind, text, "config.yaml", with_secrets, &variable) {
        let source = Source { file: "out.yaml".into(), text: text.clone() };
        prop_assert!(quorate_config::parse(&[source]).is_ok(), "{text}");
    }
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 96, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn any_text_is_refused_or_becomes_valid_resources(text in ".{0,200}") {
        for kind in [Kind::Litellm, Kind::Agentgateway] {
            is_valid(kind, &text, true)?;
        }
    }

    #[test]
    fn a_sample_with_anything_in_the_place_of_a_value_becomes_valid_resources(
        (kind, name) in prop::sample::select(&SAMPLES),
        new in tree(),
        place in 0_usize..300,
        with_secrets: bool,
    ) {
        let mut source = source::parse(&sample(name)).unwrap();
        let mut left = place;
        graft(&mut source, &mut left, &new);
        let text = source.to_string();
        let made = import(kind, &text, "config.yaml", with_secrets, &variable);
        prop_assert!(made.is_ok() || !source.is_object(), "{:?}", made.err());
        is_valid(kind, &text, with_secrets)?;
    }
}
