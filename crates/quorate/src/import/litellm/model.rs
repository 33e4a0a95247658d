//! The `Model` of the entries that have one name.
//!
//! In: targets in the order of the source, each with its order, weight, price and the parameters that its requests have. Out: one document.
//! Parameters are a model's and not a target's, so that those in which targets differ are noted instead.

use std::collections::BTreeSet;

use serde_json::{Map, Value, json};

use super::super::Import;
use super::router::Router;

/// The highest weight of a target.
const WEIGHT_MAX: f64 = 1_000.0;
/// The highest number of a priority.
const PRIORITY_MAX: usize = 15;

/// The entries of one name.
#[derive(Debug)]
pub(super) struct Group {
    pub(super) name: String,
    pub(super) aliases: Vec<String>,
    pub(super) at: String,
    pub(super) targets: Vec<Target>,
    pub(super) removed: BTreeSet<String>,
    pub(super) retries: Option<u32>,
}

/// One entry.
#[derive(Clone, Debug)]
pub(super) struct Target {
    pub(super) at: String,
    pub(super) provider: String,
    /// The model's name there; none for the one that is asked for.
    pub(super) model: Option<String>,
    pub(super) weight: Option<f64>,
    pub(super) order: Option<u32>,
    pub(super) price: Option<Value>,
    /// Parameters, and where they stand.
    pub(super) parameters: Vec<(String, Value, String)>,
    /// For which failed group it stands in, from 1.
    pub(super) step: usize,
}

// === impl Group ===

impl Group {
    pub(super) fn new(name: &str, at: &str) -> Self {
        let (name, at) = (name.to_owned(), at.to_owned());
        Self { name, aliases: Vec::new(), at, targets: Vec::new(), removed: BTreeSet::new(), retries: None }
    }

    /// Makes the document.
    pub(super) fn document(mut self, router: &Router, import: &mut Import<'_>) {
        if self.targets.is_empty() {
            return;
        }
        let parameters = self.parameters(import);
        self.order(import);
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
        if !router.breaker.is_empty() {
            spec["breaker"] = Value::Object(router.breaker.clone());
        }
        if let Some(retries) = self.retries.or(router.retries) {
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
            target.step = orders.iter().position(|order| *order == rank).unwrap_or(0);
            if target.step > PRIORITY_MAX {
                import
                    .notes
                    .say(&target.at, format!("there are {} priorities at most: it is left out", PRIORITY_MAX + 1));
            }
            target.step <= PRIORITY_MAX
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

    /// The parameters in which all targets agree but those that stand in; the others are noted.
    fn parameters(&self, import: &mut Import<'_>) -> Option<Value> {
        let own: Vec<&Target> = self.targets.iter().filter(|target| target.step == 0).collect();
        let mut defaults = Map::new();
        for target in &own {
            for (name, value, at) in &target.parameters {
                let has = |other: &&Target| other.parameters.iter().any(|(key, said, _)| key == name && said == value);
                if own.iter().all(has) {
                    defaults.insert(name.clone(), value.clone());
                } else {
                    let why = "parameters are of a Model, not of a target, and its targets differ in it: make Models of their own";
                    import.notes.add(at, value, why);
                }
            }
        }
        let mut parameters = Map::new();
        let removed: Vec<&String> = self.removed.iter().filter(|name| !defaults.contains_key(*name)).collect();
        if !removed.is_empty() {
            parameters.insert("remove".to_owned(), json!(removed));
        }
        if !defaults.is_empty() {
            parameters.insert("defaults".to_owned(), Value::Object(defaults));
        }
        (!parameters.is_empty()).then_some(Value::Object(parameters))
    }
}

// === impl Target ===

impl Target {
    fn rank(&self) -> (usize, u32) {
        (self.step, self.order.unwrap_or(u32::MAX))
    }

    fn spec(&self, weight: Option<u32>) -> Value {
        let mut spec = json!({ "provider": self.provider });
        if let Some(model) = &self.model {
            spec["model"] = model.as_str().into();
        }
        if let Some(weight) = weight {
            spec["weight"] = weight.into();
        }
        if self.step > 0 {
            spec["priority"] = self.step.into();
        }
        if let Some(price) = &self.price {
            spec["price"] = price.clone();
        }
        spec
    }
}
