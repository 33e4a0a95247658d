//! The `Model` of the entries that have one name.
//!
//! In: targets in the order of the source, each with its order, weight, price and the parameters that its requests have. Out: one document.
//! Parameters and retries are a model's and not a target's, so that those in which targets differ are noted instead.

use std::collections::BTreeSet;

use quorate_llm::preset::Preset;
use serde_json::{Map, Value, json};

use super::super::Import;
use super::super::notes::Notes;
use super::super::parameters::{self, Asked, Parameter};
use super::router::{RETRIES, Router};

/// The highest weight of a target.
const WEIGHT_MAX: f64 = 1_000.0;
/// The highest number of a priority.
const PRIORITY_MAX: usize = 15;
/// The retries of a model where nothing is said (`spec.limits.retries`).
const RETRIES_DEFAULT: u32 = 2;

/// The entries of one name.
#[derive(Debug)]
pub(super) struct Group {
    pub(super) name: String,
    pub(super) aliases: Vec<String>,
    pub(super) at: String,
    pub(super) targets: Vec<Target>,
}

/// One entry.
#[derive(Clone, Debug)]
pub(super) struct Target {
    pub(super) at: String,
    pub(super) preset: Preset,
    pub(super) provider: String,
    /// The model's name there; none for the one that is asked for.
    pub(super) model: Option<String>,
    pub(super) weight: Option<f64>,
    pub(super) order: Option<u32>,
    pub(super) retries: Option<u32>,
    pub(super) price: Option<Value>,
    pub(super) parameters: Vec<Parameter>,
    /// Parameters that are taken away: where that is said, and by what name.
    pub(super) removed: Vec<(String, String)>,
    /// As which of those that stand in, from 1; 0 for the group's own.
    pub(super) step: usize,
    /// Made of step and order.
    pub(super) priority: usize,
}

// === impl Group ===

impl Group {
    pub(super) fn new(name: &str, at: &str) -> Self {
        Self { name: name.to_owned(), aliases: Vec::new(), at: at.to_owned(), targets: Vec::new() }
    }

    /// Makes the document.
    pub(super) fn document(mut self, router: &Router, import: &mut Import<'_>) {
        if self.targets.is_empty() {
            return;
        }
        self.order(import);
        let parameters = self.parameters(import);
        let retries = self.retries(router, import);
        let weights = self.weights();
        let mut names = vec![self.name.clone()];
        names.append(&mut self.aliases);
        let targets = self.targets.iter().zip(weights).map(|(target, weight)| target.spec(weight));
        let mut spec = json!({ "names": names, "targets": targets.collect::<Vec<_>>() });
        if let Some(parameters) = parameters {
            spec["parameters"] = parameters;
        }
        if let Some(cache) = &router.cache {
            spec["cache"] = cache.clone();
        }
        let breaker = router.breaker();
        if !breaker.is_empty() {
            spec["breaker"] = Value::Object(breaker);
        }
        if let Some(retries) = retries {
            spec["limits"] = json!({ "retries": retries });
        }
        import.documents.add("Model", &self.name, spec, &self.at);
    }

    /// Makes priorities of orders: the lowest is 0, those without one come last, then those that stand in.
    fn order(&mut self, import: &mut Import<'_>) {
        let orders: BTreeSet<(usize, u32)> = self.targets.iter().map(Target::rank).collect();
        let orders: Vec<(usize, u32)> = orders.into_iter().collect();
        self.targets.retain_mut(|target| {
            let rank = target.rank();
            target.priority = orders.iter().position(|order| *order == rank).unwrap_or(0);
            if target.priority > PRIORITY_MAX {
                import
                    .notes
                    .say(&target.at, format!("there are {} priorities at most: it is left out", PRIORITY_MAX + 1));
            }
            target.priority <= PRIORITY_MAX
        });
    }

    /// Whole weights in the same proportions; none where all are 1.
    fn weights(&self) -> Vec<Option<u32>> {
        let given: Vec<f64> = self.targets.iter().filter_map(|target| target.weight).collect();
        let max = given.iter().copied().fold(1.0, f64::max);
        let is_whole = given.iter().all(|weight| weight.fract() == 0.0) && max <= WEIGHT_MAX;
        let factor = if is_whole { 1.0 } else { 100.0_f64.min(WEIGHT_MAX / max) };
        let whole = |weight: f64| {
            let scaled = (weight * factor).round().clamp(0.0, WEIGHT_MAX);
            // What gets calls there gets some here.
            let scaled = if weight > 0.0 { scaled.max(1.0) } else { scaled };
            #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "it is from 0 to 1000")]
            (scaled as u32)
        };
        let is_scaled = factor.to_bits() != 1.0_f64.to_bits();
        let of = |target: &Target| match target.weight {
            Some(weight) => Some(whole(weight)),
            None => is_scaled.then(|| whole(1.0)),
        };
        self.targets.iter().map(of).collect()
    }

    /// The targets that do not stand in.
    fn own(&self) -> impl Iterator<Item = &Target> {
        self.targets.iter().filter(|target| target.step == 0)
    }

    /// How often a call is tried again. There they count within a group, and those that stand in are asked as well; here they are all
    /// attempts but the first, of which each target gets one before it gets another: so there are enough to reach the last priority.
    fn retries(&self, router: &Router, import: &mut Import<'_>) -> Option<u32> {
        let own = self.own().filter_map(|target| target.retries).max();
        for target in self.own().filter(|target| target.retries.is_some_and(|said| Some(said) != own)) {
            import
                .notes
                .say(&target.at, "retries are of a Model, not of a target: the most that an entry says are written");
        }
        let given = own.or(router.retries);
        let asked = || self.targets.iter().filter(|target| target.weight != Some(0.0));
        let last = asked().map(|target| target.priority).max().unwrap_or(0);
        let before = asked().filter(|target| target.priority < last).count();
        let needed = u32::try_from(before).unwrap_or(u32::MAX).min(RETRIES.1);
        if needed <= given.unwrap_or(RETRIES_DEFAULT) {
            return given;
        }
        if let Some(given) = given {
            let why = "retries are all attempts but the first, so that those that stand in would not be reached";
            import.notes.say(&self.at, format!("{why} with {given}: {needed} is written"));
        }
        Some(needed)
    }

    /// The parameters that are right for all targets; the others are noted.
    fn parameters(&self, import: &mut Import<'_>) -> Option<Value> {
        let asked: Vec<Asked<'_>> = self.targets.iter().map(Target::asked).collect();
        let defaults = parameters::common(&asked, &mut import.notes);
        let removed = self.removed(&mut import.notes);
        let mut parameters = Map::new();
        if !removed.is_empty() {
            parameters.insert("remove".to_owned(), json!(removed));
        }
        if !defaults.is_empty() {
            parameters.insert("defaults".to_owned(), Value::Object(defaults));
        }
        (!parameters.is_empty()).then_some(Value::Object(parameters))
    }

    /// What is taken away for any target, since nothing else keeps a provider from refusing it. No default is among it: a target that takes
    /// a parameter away does not say it.
    fn removed(&self, notes: &mut Notes) -> BTreeSet<String> {
        let mut removed = BTreeSet::new();
        for (target, (at, name)) in self.own().flat_map(|target| target.removed.iter().map(move |one| (target, one))) {
            match parameters::name_at(target.preset, name) {
                Err(why) => notes.add(at, &name.as_str().into(), why),
                Ok(name) => {
                    if !self.own().all(|other| other.removes(&name)) {
                        let why = format!(
                            "parameters are of a Model, not of a target: {name} is taken away for all its targets"
                        );
                        notes.say(at, why);
                    }
                    removed.insert(name);
                }
            }
        }
        removed
    }
}

// === impl Target ===

impl Target {
    fn rank(&self) -> (usize, u32) {
        (self.step, self.order.unwrap_or(u32::MAX))
    }

    fn asked(&self) -> Asked<'_> {
        Asked { preset: self.preset, said: (self.step == 0).then_some(&self.parameters) }
    }

    /// Whether it takes a parameter away that its provider calls so.
    fn removes(&self, wanted: &str) -> bool {
        self.removed.iter().any(|(_, name)| parameters::name_at(self.preset, name).is_ok_and(|name| name == wanted))
    }

    fn spec(&self, weight: Option<u32>) -> Value {
        let mut spec = json!({ "provider": self.provider });
        if let Some(model) = &self.model {
            spec["model"] = model.as_str().into();
        }
        if let Some(weight) = weight {
            spec["weight"] = weight.into();
        }
        if self.priority > 0 {
            spec["priority"] = self.priority.into();
        }
        if let Some(price) = &self.price {
            spec["price"] = price.clone();
        }
        spec
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::import::Kind;

    #[test]
    fn retries_are_enough_to_reach_those_that_stand_in() {
        // The retries of the router, how many entries there are of the name, who stands in; the retries of the model, and whether it is noted.
        let cases = [
            (Some(0), 1, vec![], Some(0), false),
            (Some(0), 3, vec![], Some(0), false),
            (Some(0), 1, vec!["x"], Some(1), true),
            (Some(0), 1, vec!["x", "y"], Some(2), true),
            (Some(0), 2, vec!["x"], Some(2), true),
            (Some(5), 1, vec!["x", "y"], Some(5), false),
            (None, 1, vec!["x", "y"], None, false),
            (None, 1, vec!["x", "y", "z"], Some(3), false),
            (Some(10), 16, vec!["x"], Some(10), false),
            (Some(0), 16, vec!["x"], Some(10), true),
        ];
        for (retries, count, by, expected, is_noted) in cases {
            let entry = |name: &str, number: usize| json!({ "model_name": name, "litellm_params": { "model": format!("groq/{name}-{number}") } });
            let own = (0..count).map(|number| entry("m", number));
            let entries: Vec<Value> = own.chain(["x", "y", "z"].map(|name| entry(name, 0))).collect();
            let mut router = json!({ "fallbacks": [{ "m": by }] });
            if let Some(retries) = retries {
                router["num_retries"] = retries.into();
            }
            let source = json!({ "model_list": entries, "router_settings": router });

            let (text, notes) =
                crate::import::import(Kind::Litellm, &source.to_string(), "x", false, &|_| None).unwrap();

            let model = text.split("---").find(|document| document.contains("name: m\n")).unwrap();
            let found = model.split_once("retries: ").map(|(_, rest)| rest.trim().parse::<u32>().unwrap());
            assert_eq!(found, expected, "{retries:?} {count} {by:?}: {model}");
            assert_eq!(notes.len() > 0, is_noted, "{retries:?} {count} {by:?}: {}", notes.text());
        }
    }
}
