//! What policies say of models: retries, parameters, instructions and further names.
//!
//! In: parts of policies. Out: what one `Model` has of those of its targets. Policies there may be of a target, here they are of a `Model`:
//! what all its targets have alike is taken over, and the rest is noted. Each key is a doubt ([`Notes::doubt`]) until a `Model` has looked at
//! it, so that what is said where there is no model is noted as well.

use std::collections::BTreeSet;

use quorate_llm::preset::Preset;
use serde_json::{Map, Value, json};

use super::super::Import;
use super::super::notes::Notes;
use super::super::parameters::{self, Asked, Parameter};
use super::super::source::Part;
use super::super::spans;
use super::policies::Said;

/// The fewest and most retries of a model.
const RETRIES: (u32, u32) = (0, 10);

/// What is said of keys for models where there is none.
const UNUSED: &str = "it is for models, and none here has it";
/// What is said of what the targets of a model have differently.
const DIFFER: &str = "it is of a Model, not of a target, and its targets differ in it: make Models of their own";

/// What is said of policies for models.
const AI: &[(&str, &str)] = &[
    ("promptGuard", "there are no guardrails for texts of models"),
    ("promptCaching", "clients mark what providers keep; nothing is added"),
    ("routes", "which API a request is of is told from its path"),
];

/// What policies say of models.
#[derive(Clone, Debug, Default)]
pub(super) struct ModelPolicies {
    retries: Option<Said<u32>>,
    defaults: Vec<Parameter>,
    overrides: Vec<Parameter>,
    prompt: Option<Said<Map<String, Value>>>,
    /// Names of models, and what they are at the provider.
    aliases: Vec<(String, Said<String>)>,
}

/// What one model has of them.
#[derive(Debug)]
pub(super) struct Common {
    retries: Option<u32>,
    parameters: Map<String, Value>,
    prompt: Option<Map<String, Value>>,
}

// === impl ModelPolicies ===

impl ModelPolicies {
    /// Takes what is said of retries.
    pub(super) fn take_retry(&mut self, mut retry: Part, import: &mut Import<'_>) {
        let at = retry.path("attempts");
        if let Some(count) = retry.count("attempts", &mut import.notes) {
            let value = spans::count(count, &at, RETRIES, &mut import.notes);
            import.notes.doubt(&at, &value.into(), UNUSED);
            self.retries = Some(Said { value, at });
        }
        retry.end_with(&[], "what is tried again, and when, is decided by the kind of failure", &mut import.notes);
    }

    /// Takes what is said of requests.
    pub(super) fn take_ai(&mut self, mut part: Part, import: &mut Import<'_>) {
        self.take_parameters(&mut part, import);
        if let Some(mut given) = part.part("modelAliases", &mut import.notes) {
            for alias in given.keys() {
                let at = given.path(&alias);
                let Some(value) = given.text(&alias, &mut import.notes) else { continue };
                import.notes.doubt(&at, &value.as_str().into(), UNUSED);
                self.aliases.push((alias, Said { value, at }));
            }
        }
        if let Some(prompts) = part.part("prompts", &mut import.notes) {
            self.prompt = prompt(prompts, import);
        }
        part.end(AI, &mut import.notes);
    }

    /// Takes parameters; they come before those that were taken before.
    pub(super) fn take_parameters(&mut self, part: &mut Part, import: &mut Import<'_>) {
        for (key, values) in [("defaults", &mut self.defaults), ("overrides", &mut self.overrides)] {
            let Some(mut given) = part.part(key, &mut import.notes) else { continue };
            let mut own = Vec::new();
            for name in given.keys() {
                let at = given.path(&name);
                let Some(value) = given.take(&name) else { continue };
                import.notes.doubt(&at, &value, UNUSED);
                own.push(Parameter { name, value, at });
            }
            *values = nearer(own, values, |one| &one.name);
        }
    }

    /// What holds where both hold; the nearer ones come first.
    pub(super) fn within(&self, outer: &Self) -> Self {
        let nearer_of = |own: &[Parameter], outer: &[Parameter]| nearer(own.to_vec(), outer, |one| &one.name);
        Self {
            retries: self.retries.clone().or_else(|| outer.retries.clone()),
            defaults: nearer_of(&self.defaults, &outer.defaults),
            overrides: nearer_of(&self.overrides, &outer.overrides),
            prompt: self.prompt.clone().or_else(|| outer.prompt.clone()),
            aliases: nearer(self.aliases.clone(), &outer.aliases, |(alias, _)| alias),
        }
    }

    /// What a model has of what is said of its targets; the rest is noted.
    pub(super) fn common(targets: &[(Preset, &Self)], notes: &mut Notes) -> Common {
        let mut noted = BTreeSet::new();
        for (_, one) in targets {
            one.settle(notes);
        }
        let said: Vec<Asked<'_>> =
            targets.iter().map(|(preset, one)| Asked { preset: *preset, said: Some(&one.overrides) }).collect();
        let overrides = parameters::common(&said, notes);
        let own: Vec<(Preset, Vec<Parameter>)> =
            targets.iter().map(|(preset, one)| (*preset, one.needed(*preset, &overrides, &mut noted, notes))).collect();
        let said: Vec<Asked<'_>> = own.iter().map(|(preset, own)| Asked { preset: *preset, said: Some(own) }).collect();
        let defaults = parameters::common(&said, notes);
        let mut parameters = Map::new();
        for (name, values) in [("defaults", defaults), ("overrides", overrides)] {
            if !values.is_empty() {
                parameters.insert(name.to_owned(), Value::Object(values));
            }
        }
        let retries = alike(targets, |one| one.retries.as_ref(), &mut noted, notes);
        let prompt = alike(targets, |one| one.prompt.as_ref(), &mut noted, notes);
        Common { retries, parameters, prompt }
    }

    /// Further names of a model and what each is at the providers, where that is said of all its targets; the rest is noted.
    pub(super) fn aliases(targets: &[(Preset, &Self)], notes: &mut Notes) -> Vec<(String, String)> {
        let (mut aliases, mut seen, mut noted) = (Vec::new(), BTreeSet::new(), BTreeSet::new());
        for (alias, said) in targets.iter().flat_map(|(_, one)| &one.aliases) {
            notes.settle(&said.at);
            if seen.insert(alias) {
                let found = alike(targets, |one| one.alias(alias), &mut noted, notes);
                aliases.extend(found.map(|model| (alias.clone(), model)));
            }
        }
        aliases
    }

    /// The defaults that a parameter may need: what is always said needs none, and is in one of both lists only.
    fn needed<'a>(
        &'a self,
        preset: Preset,
        overrides: &Map<String, Value>,
        noted: &mut BTreeSet<&'a str>,
        notes: &mut Notes,
    ) -> Vec<Parameter> {
        let mut needed = Vec::new();
        for one in &self.defaults {
            match parameters::name_at(preset, &one.name) {
                Ok(name) if overrides.contains_key(&name) => {
                    if noted.insert(&one.at) {
                        notes.add(&one.at, &one.value, "an override of it holds always");
                    }
                }
                _ => needed.push(one.clone()),
            }
        }
        needed
    }

    fn alias(&self, wanted: &str) -> Option<&Said<String>> {
        self.aliases.iter().find(|(alias, _)| alias == wanted).map(|(_, said)| said)
    }

    /// Takes the doubts back, but for names: a model says what becomes of all else.
    fn settle(&self, notes: &mut Notes) {
        let parameters = self.defaults.iter().chain(&self.overrides).map(|one| &one.at);
        let retries = self.retries.iter().map(|said| &said.at);
        for at in parameters.chain(retries).chain(self.prompt.iter().map(|said| &said.at)) {
            notes.settle(at);
        }
    }
}

// === impl Common ===

impl Common {
    /// Adds it to the spec of a model.
    pub(super) fn write(&self, spec: &mut Value) {
        if !self.parameters.is_empty() {
            spec["parameters"] = Value::Object(self.parameters.clone());
        }
        if let Some(prompt) = &self.prompt {
            spec["prompt"] = Value::Object(prompt.clone());
        }
        if let Some(retries) = self.retries {
            spec["limits"] = json!({ "retries": retries });
        }
    }
}

/// The nearer ones, and those of the outer ones that have other names.
fn nearer<T: Clone>(mut own: Vec<T>, outer: &[T], name: fn(&T) -> &String) -> Vec<T> {
    let is_new = |one: &&T| !own.iter().any(|known| name(known) == name(one));
    let others: Vec<T> = outer.iter().filter(is_new).cloned().collect();
    own.extend(others);
    own
}

/// What all targets have alike; else each place where it is said is noted, once.
fn alike<'a, T: Clone + PartialEq + Into<Value> + 'a>(
    targets: &[(Preset, &'a ModelPolicies)],
    said: impl Fn(&'a ModelPolicies) -> Option<&'a Said<T>>,
    noted: &mut BTreeSet<&'a str>,
    notes: &mut Notes,
) -> Option<T> {
    let all: Vec<Option<&Said<T>>> = targets.iter().map(|(_, one)| said(one)).collect();
    let first = all.first().copied().flatten();
    if all.iter().all(|one| one.map(|said| &said.value) == first.map(|said| &said.value)) {
        return first.map(|said| said.value.clone());
    }
    for said in all.into_iter().flatten() {
        if noted.insert(&said.at) {
            notes.add(&said.at, &said.value.clone().into(), DIFFER);
        }
    }
    None
}

/// Instructions before and after those of clients.
fn prompt(mut prompts: Part, import: &mut Import<'_>) -> Option<Said<Map<String, Value>>> {
    let at = prompts.at().to_owned();
    let mut value = Map::new();
    for (key, place) in [("prepend", "before"), ("append", "after")] {
        let texts: Vec<String> = prompts
            .parts(key, &mut import.notes)
            .into_iter()
            .filter_map(|message| instructions(message, import))
            .collect();
        if !texts.is_empty() {
            value.insert(place.to_owned(), texts.join("\n\n").into());
        }
    }
    prompts.end(&[], &mut import.notes);
    if value.is_empty() {
        return None;
    }
    import.notes.doubt(&at, &Value::Object(value.clone()), UNUSED);
    Some(Said { value, at })
}

/// The text of a message that is instructions.
fn instructions(mut message: Part, import: &mut Import<'_>) -> Option<String> {
    let role = message.text("role", &mut import.notes).unwrap_or_default();
    let content = message.text("content", &mut import.notes);
    let at = message.at().to_owned();
    message.end(&[], &mut import.notes);
    if role.eq_ignore_ascii_case("system") || role.eq_ignore_ascii_case("developer") {
        return content;
    }
    import.notes.add(&at, &role.into(), "only instructions are added, and no messages of others");
    None
}
