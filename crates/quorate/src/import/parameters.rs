//! Parameters of requests, by the names that the APIs of providers have for them.
//!
//! In: parameters as a source says them, by OpenAI's names, and the providers that a `Model` may ask. Out: those that are right for all of
//! them, since a `Model` changes the body that goes to the provider, and has one list for all its targets. What an API has no name for, and
//! what targets differ in, is noted. A name that is none of OpenAI's is taken for one of the provider's own.
//!
//! Names are from the public references of the APIs (`max_tokens` of Anthropic's messages, `GenerationConfig` of Gemini).

use std::collections::BTreeSet;

use quorate_llm::Family;
use quorate_llm::preset::Preset;
use serde_json::{Map, Value, json};

use super::notes::Notes;

/// OpenAI's names, and those that others who speak as OpenAI does have beside them.
pub(super) const NAMES: [&str; 25] = [
    "temperature",
    "top_p",
    "top_k",
    "min_p",
    "n",
    "max_tokens",
    "max_completion_tokens",
    "presence_penalty",
    "frequency_penalty",
    "repetition_penalty",
    "seed",
    "stop",
    "user",
    "logit_bias",
    "logprobs",
    "top_logprobs",
    "response_format",
    "reasoning_effort",
    "thinking",
    "service_tier",
    "modalities",
    "tools",
    "tool_choice",
    "parallel_tool_calls",
    "verbosity",
];
/// Those of [`NAMES`] that engines take, and OpenAI itself refuses.
const OF_ENGINES: [&str; 3] = ["top_k", "min_p", "repetition_penalty"];

/// What is said where targets have other values, or none.
const DIFFER: &str =
    "parameters are of a Model, not of a target, and its targets differ in it: make Models of their own";
/// What is said where targets have other names.
const NAMED_OTHERWISE: &str =
    "parameters are of a Model, and its targets have different names for it: make Models of their own";
/// What is said where one that stands in would refuse it, or read something else.
const STANDS_IN: &str =
    "parameters are of a Model, and one of its targets that stand in does not know it: make Models of their own";

/// A parameter as a source says it.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Parameter {
    pub(super) name: String,
    pub(super) value: Value,
    pub(super) at: String,
}

/// One whom a `Model` may ask.
#[derive(Clone, Copy, Debug)]
pub(super) struct Asked<'a> {
    pub(super) preset: Preset,
    /// What the source says for its requests; none for one that stands in, and is asked what others were.
    pub(super) said: Option<&'a [Parameter]>,
}

/// A parameter as its provider reads it.
struct Told<'a> {
    name: String,
    value: Value,
    preset: Preset,
    from: &'a Parameter,
}

/// The parameters that are right for all targets; the others are noted, each place once.
pub(super) fn common(asked: &[Asked<'_>], notes: &mut Notes) -> Map<String, Value> {
    let mut noted = BTreeSet::new();
    let all: Vec<(Preset, Option<Vec<Told<'_>>>)> =
        asked.iter().map(|one| (one.preset, one.said.map(|said| told(one.preset, said, &mut noted, notes)))).collect();
    let mut common = Map::new();
    for one in all.iter().filter_map(|(_, told)| told.as_ref()).flatten() {
        match all.iter().find_map(|(preset, told)| against(one, *preset, told.as_deref())) {
            None => {
                common.insert(one.name.clone(), one.value.clone());
            }
            Some(why) => note(one.from, why, &mut noted, notes),
        }
    }
    common
}

/// What a parameter is called in the API of a provider.
///
/// # Errors
/// Why it is not called anything there.
pub(super) fn name_at(preset: Preset, name: &str) -> Result<String, String> {
    if !NAMES.contains(&name) {
        return match quorate_config::check_parameter(name).is_ok() && !name.contains('[') {
            true => Ok(name.to_owned()),
            false => Err("it is no parameter that a Model changes".to_owned()),
        };
    }
    let family = family(preset);
    let found = match (family, name) {
        (Family::OpenAi, _) => Some(name),
        (Family::Anthropic, "max_tokens" | "temperature" | "top_p" | "top_k" | "thinking") => Some(name),
        (Family::Anthropic, "max_completion_tokens") => Some("max_tokens"),
        (Family::Anthropic, "stop") => Some("stop_sequences"),
        (Family::Gemini, "temperature") => Some("generationConfig.temperature"),
        (Family::Gemini, "top_p") => Some("generationConfig.topP"),
        (Family::Gemini, "top_k") => Some("generationConfig.topK"),
        (Family::Gemini, "max_tokens" | "max_completion_tokens") => Some("generationConfig.maxOutputTokens"),
        (Family::Gemini, "stop") => Some("generationConfig.stopSequences"),
        (Family::Gemini, "seed") => Some("generationConfig.seed"),
        (Family::Gemini, "presence_penalty") => Some("generationConfig.presencePenalty"),
        (Family::Gemini, "frequency_penalty") => Some("generationConfig.frequencyPenalty"),
        (Family::Gemini, "n") => Some("generationConfig.candidateCount"),
        (Family::Anthropic | Family::Gemini, _) => None,
    };
    let api = if family == Family::Anthropic { "Anthropic" } else { "Gemini" };
    let missing = || format!("the API of {api} has no such parameter: write what it has instead into the Model");
    found.map(str::to_owned).ok_or_else(missing)
}

/// What a provider reads of parameters; what it has no name for is noted, and what has the name of another one.
fn told<'a>(preset: Preset, said: &'a [Parameter], noted: &mut BTreeSet<&'a str>, notes: &mut Notes) -> Vec<Told<'a>> {
    let mut all = Vec::<Told<'a>>::new();
    for from in said {
        match called(preset, from) {
            Err(why) => note(from, &why, noted, notes),
            Ok((name, value)) => match all.iter().find(|one| one.name == name) {
                Some(one) if one.value == value => {}
                Some(one) => {
                    note(from, &format!("{} says the same parameter: that is written", one.from.name), noted, notes)
                }
                None => all.push(Told { name, value, preset, from }),
            },
        }
    }
    all
}

/// The name and value that a parameter has at a provider.
fn called(preset: Preset, from: &Parameter) -> Result<(String, Value), String> {
    let name = name_at(preset, &from.name)?;
    let is_list = from.name == "stop" && family(preset) != Family::OpenAi;
    let value = if is_list && from.value.is_string() { json!([from.value]) } else { from.value.clone() };
    Ok((name, value))
}

/// Why a parameter is not right for a target; none where it is.
fn against(one: &Told<'_>, preset: Preset, told: Option<&[Told<'_>]>) -> Option<&'static str> {
    let Some(told) = told else {
        let is_own = NAMES.contains(&&*one.from.name) || preset == one.preset;
        let is_taken = preset.known().quirks.takes_top_k
            || family(preset) != Family::OpenAi
            || !OF_ENGINES.contains(&&*one.from.name);
        let is_same = called(preset, one.from).is_ok_and(|(name, value)| name == one.name && value == one.value);
        return (!is_own || !is_taken || !is_same).then_some(STANDS_IN);
    };
    if told.iter().any(|other| other.name == one.name && other.value == one.value) {
        return None;
    }
    let is_said = told.iter().any(|other| other.from.name == one.from.name && other.from.value == one.from.value);
    Some(if is_said { NAMED_OTHERWISE } else { DIFFER })
}

fn note<'a>(from: &'a Parameter, why: &str, noted: &mut BTreeSet<&'a str>, notes: &mut Notes) {
    if noted.insert(&from.at) {
        notes.add(&from.at, &from.value, why);
    }
}

/// Whose shape the requests of a provider have.
fn family(preset: Preset) -> Family {
    preset.known().apis.first().map_or(Family::OpenAi, |api| api.family())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn said(values: Value) -> Vec<Parameter> {
        let members = values.as_object().unwrap().clone();
        members.into_iter().map(|(name, value)| Parameter { at: format!("at.{name}"), name, value }).collect()
    }

    #[test]
    fn each_api_has_its_own_names() {
        let given = json!({
            "temperature": 0.2, "top_p": 0.9, "top_k": 20, "n": 2, "max_tokens": 1000, "presence_penalty": 0.1,
            "frequency_penalty": 0.3, "seed": 7, "stop": "END", "user": "me", "thinking": { "type": "disabled" },
            "service_tier": "auto", "own.name": 1, "model": "x", "tools[*].strict": true,
        });
        let anthropic = json!({
            "temperature": 0.2, "top_p": 0.9, "top_k": 20, "max_tokens": 1000, "stop_sequences": ["END"],
            "thinking": { "type": "disabled" }, "own.name": 1,
        });
        let gemini = json!({
            "generationConfig.temperature": 0.2, "generationConfig.topP": 0.9, "generationConfig.topK": 20,
            "generationConfig.candidateCount": 2, "generationConfig.maxOutputTokens": 1000,
            "generationConfig.presencePenalty": 0.1, "generationConfig.frequencyPenalty": 0.3,
            "generationConfig.seed": 7, "generationConfig.stopSequences": ["END"], "own.name": 1,
        });
        let mut openai = given.clone();
        openai.as_object_mut().unwrap().retain(|name, _| !matches!(name.as_str(), "model" | "tools[*].strict"));
        let cases = [
            (Preset::Vllm, openai),
            (Preset::Anthropic, anthropic),
            (Preset::Gemini, gemini.clone()),
            (Preset::Vertex, gemini),
        ];

        for (preset, expected) in cases {
            let (said, mut notes) = (said(given.clone()), Notes::default());
            let found = common(&[Asked { preset, said: Some(&said) }], &mut notes);
            assert_eq!(Value::Object(found.clone()), expected, "{preset:?}");
            assert_eq!(notes.len() + found.len(), said.len(), "{preset:?}: {}", notes.text());
        }
    }

    #[test]
    fn one_value_goes_to_one_name() {
        let (said, mut notes) = (said(json!({ "max_tokens": 1, "max_completion_tokens": 2 })), Notes::default());

        let found = common(&[Asked { preset: Preset::Gemini, said: Some(&said) }], &mut notes);

        assert_eq!(Value::Object(found), json!({ "generationConfig.maxOutputTokens": 1 }));
        assert!(notes.covers("at.max_completion_tokens") && notes.len() == 1, "{}", notes.text());
    }

    #[test]
    fn only_what_is_right_for_all_targets_is_taken() {
        let (openai, claude, gemini, groq, vllm) =
            (Preset::OpenAi, Preset::Anthropic, Preset::Gemini, Preset::Groq, Preset::Vllm);
        let cool = json!({ "temperature": 0.2 });
        let cases = [
            (cool.clone(), vec![(openai, Some(cool.clone())), (claude, Some(cool.clone()))], true),
            (cool.clone(), vec![(openai, Some(cool.clone())), (gemini, Some(cool.clone()))], false),
            (cool.clone(), vec![(openai, Some(cool.clone())), (claude, Some(json!({})))], false),
            (cool.clone(), vec![(openai, Some(cool.clone())), (claude, None)], true),
            (cool.clone(), vec![(openai, Some(cool.clone())), (gemini, None)], false),
            (json!({ "stop": "x" }), vec![(openai, Some(json!({ "stop": "x" }))), (claude, None)], false),
            (json!({ "stop": ["x"] }), vec![(openai, Some(json!({ "stop": ["x"] }))), (groq, None)], true),
            (json!({ "top_k": 20 }), vec![(vllm, Some(json!({ "top_k": 20 }))), (groq, None)], false),
            (json!({ "top_k": 20 }), vec![(vllm, Some(json!({ "top_k": 20 }))), (claude, None)], true),
            (json!({ "own": 1 }), vec![(vllm, Some(json!({ "own": 1 }))), (groq, None)], false),
            (json!({ "own": 1 }), vec![(vllm, Some(json!({ "own": 1 }))), (vllm, None)], true),
        ];
        for (expected, targets, is_taken) in cases {
            let said: Vec<_> = targets.iter().map(|(preset, given)| (*preset, given.clone().map(said))).collect();
            let asked: Vec<_> =
                said.iter().map(|(preset, said)| Asked { preset: *preset, said: said.as_deref() }).collect();
            let mut notes = Notes::default();

            let found = common(&asked, &mut notes);

            assert_eq!(found == *expected.as_object().unwrap(), is_taken, "{targets:?}: {found:?}");
            assert_eq!(notes.len(), usize::from(!is_taken), "{targets:?}: {}", notes.text());
        }
    }
}
