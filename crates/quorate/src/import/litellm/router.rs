//! What holds for all models: `router_settings`, and what of `litellm_settings` is about calls.
//!
//! Fallbacks of a model are targets of a higher priority: they are asked in their order when those before them cannot answer. Other names
//! of a model are names of it. Timeouts are limits of each provider, retries of each model.

use serde_json::{Map, Value, json};

use super::super::Import;
use super::super::notes::Notes;
use super::super::source::Part;
use super::super::spans::{self, TOTAL, WAIT};
use super::SETTING;
use super::model::{Group, Target};

/// The fewest and most retries of a model.
pub(super) const RETRIES: (u32, u32) = (0, 10);
/// The fewest and most failures in a row that take a target out.
const FAILURES: (u32, u32) = (1, 1_000);
/// The shortest and longest time that a target stays out at first.
const EJECT: (std::time::Duration, std::time::Duration) =
    (std::time::Duration::from_millis(100), std::time::Duration::from_secs(600));
/// The longest time that answers are kept.
const KEPT: (std::time::Duration, std::time::Duration) =
    (std::time::Duration::from_secs(1), std::time::Duration::from_secs(30 * 24 * 3600));
/// The time that a target stays out at most, if the first time is not longer.
const EJECT_MAX_SECONDS: f64 = 300.0;

/// What is said of settings of the router.
const ROUTER: &[(&str, &str)] = &[
    ("redis_host", "no Redis is needed: nodes are a cluster by themselves"),
    ("redis_port", "no Redis is needed: nodes are a cluster by themselves"),
    ("redis_password", "no Redis is needed: nodes are a cluster by themselves"),
    ("redis_url", "no Redis is needed: nodes are a cluster by themselves"),
    (
        "context_window_fallbacks",
        "a request that is too long is refused by its provider: `when.bodyMax` of a target keeps it away",
    ),
    ("content_policy_fallbacks", "what a provider refuses is not asked of another one"),
    ("enable_pre_call_checks", "requests are not measured: `when.bodyMax` of a target keeps long ones away"),
    ("routing_strategy_args", "calls are spread by weight"),
    ("enable_tag_filtering", "calls are told apart by their headers: see `when` of a target"),
    ("retry_after", "retries wait as `Retry-After` says, up to `spec.limits.retryDelayMax` of a Model"),
    ("retry_policy", "what is tried again is decided by the kind of failure"),
    ("model_group_retry_policy", "what is tried again is decided by the kind of failure"),
    ("allowed_fails_policy", "`spec.breaker` of a Model counts failures of all kinds"),
    ("disable_cooldowns", "`spec.breaker.failures` of a Model may be as high as 1000"),
    ("provider_budget_config", "there are no budgets of providers"),
    ("optional_pre_call_checks", "targets are chosen by weight"),
];

/// What is said of settings of the library.
const LIBRARY: &[(&str, &str)] = &[
    ("callbacks", "calls are told by traces and metrics: `--otlp-endpoint` of `quorate serve`"),
    ("success_callback", "calls are told by traces and metrics: `--otlp-endpoint` of `quorate serve`"),
    ("failure_callback", "calls are told by traces and metrics: `--otlp-endpoint` of `quorate serve`"),
    ("service_callback", "calls are told by traces and metrics: `--otlp-endpoint` of `quorate serve`"),
    ("set_verbose", "`--log` of `quorate serve` says what is logged"),
    ("json_logs", "use `--log-format json` of `quorate serve`"),
    ("turn_off_message_logging", "messages are never logged"),
    ("redact_user_api_key_info", "keys are never logged"),
    (
        "context_window_fallbacks",
        "a request that is too long is refused by its provider: `when.bodyMax` of a target keeps it away",
    ),
    ("content_policy_fallbacks", "what a provider refuses is not asked of another one"),
    ("max_budget", "there are no budgets"),
    ("budget_duration", "there are no budgets"),
    ("default_internal_user_params", "there are no users but those of an Issuer"),
    ("ssl_verify", "certificates are always checked: `tls.ca` of a Provider names an authority of your own"),
    ("modify_params", "requests are translated as the tables of the documentation say"),
    ("forward_traceparent_to_llm_provider", "providers are not shown traces"),
];

/// Takes what is said of parameters that a provider does not take.
pub(super) fn dropped(part: &mut Part, import: &mut Import<'_>) {
    // They are not sent to it, which is what true asks for.
    if part.flag("drop_params", &mut import.notes) == Some(false) {
        let why = "what a provider does not take is left away by translation, and named in a header of the answer";
        import.notes.add(&part.path("drop_params"), &false.into(), why);
    }
}

/// What holds for all models.
#[derive(Debug, Default)]
pub(super) struct Router {
    pub(super) retries: Option<u32>,
    pub(super) timeout: Option<String>,
    pub(super) stream_timeout: Option<String>,
    pub(super) cache: Option<Value>,
    failures: Option<u32>,
    eject_base: Option<String>,
    aliases: Vec<(String, String, String)>,
    fallbacks: Vec<Fallback>,
    defaults: Vec<Fallback>,
}

/// Who stands in for a model.
#[derive(Debug)]
struct Fallback {
    at: String,
    of: String,
    by: Vec<String>,
}

// === impl Router ===

impl Router {
    /// Takes both sections out of a source.
    pub(super) fn take(source: &mut Part, import: &mut Import<'_>) -> Self {
        let mut router = Self::default();
        if let Some(mut part) = source.part("router_settings", &mut import.notes) {
            router.calls(&mut part, "timeout", import);
            router.strategy(&mut part, import);
            part.end_with(ROUTER, SETTING, &mut import.notes);
        }
        if let Some(mut part) = source.part("litellm_settings", &mut import.notes) {
            router.calls(&mut part, "request_timeout", import);
            router.cached(&mut part, import);
            dropped(&mut part, import);
            part.end_with(LIBRARY, SETTING, &mut import.notes);
        }
        router
    }

    /// What both sections may say of calls; the router's own comes first.
    fn calls(&mut self, part: &mut Part, timeout: &str, import: &mut Import<'_>) {
        let notes = &mut import.notes;
        let (at, value) = said(part, "num_retries");
        let retries = part.count("num_retries", notes).map(|count| spans::count(count, &at, RETRIES, notes));
        first(&mut self.retries, retries, &at, value, notes);
        for (key, bounds, kept) in
            [(timeout, TOTAL, &mut self.timeout), ("stream_timeout", WAIT, &mut self.stream_timeout)]
        {
            let (at, value) = said(part, key);
            let span = part.number(key, notes).map(|span| spans::seconds(span, &at, bounds, notes));
            first(kept, span, &at, value, notes);
        }
        self.broken(part, notes);
        for (at, item) in part.items("fallbacks") {
            let Some(mut pairs) = Part::of(item, &at, notes) else { continue };
            for of in pairs.keys() {
                let at = pairs.path(&of);
                let by = pairs.texts(&of, notes);
                self.fallbacks.push(Fallback { at, of, by });
            }
        }
        let at = part.path("default_fallbacks");
        let by = part.texts("default_fallbacks", notes);
        if !by.is_empty() {
            self.defaults.push(Fallback { at, of: "*".to_owned(), by });
        }
        self.named(part, "model_group_alias", import);
        self.named(part, "model_alias_map", import);
    }

    /// When a target is left out that fails.
    fn broken(&mut self, part: &mut Part, notes: &mut Notes) {
        let (at, value) = said(part, "allowed_fails");
        // So many are borne; one more takes the target out.
        let fails = part.count("allowed_fails", notes).map(|fails| fails.saturating_add(1));
        let failures = fails.map(|fails| spans::count(fails, &at, FAILURES, notes));
        first(&mut self.failures, failures, &at, value, notes);
        let (at, value) = said(part, "cooldown_time");
        let base = part.number("cooldown_time", notes).map(|span| spans::seconds(span, &at, EJECT, notes));
        first(&mut self.eject_base, base, &at, value, notes);
    }

    /// The breaker of all models, as far as something is said of it.
    pub(super) fn breaker(&self) -> Map<String, Value> {
        let mut breaker = Map::new();
        breaker.extend(self.failures.map(|failures| ("failures".to_owned(), failures.into())));
        if let Some(base) = &self.eject_base {
            if spans::of_text(base).is_some_and(|base| base > EJECT_MAX_SECONDS) {
                breaker.insert("ejectMax".to_owned(), base.as_str().into());
            }
            breaker.insert("ejectBase".to_owned(), base.as_str().into());
        }
        breaker
    }

    /// Other names of models: by the name that is asked for, or an object with more about it.
    fn named(&mut self, part: &mut Part, key: &str, import: &mut Import<'_>) {
        let Some(mut names) = part.part(key, &mut import.notes) else { return };
        for alias in names.keys() {
            let at = names.path(&alias);
            let model = match names.take(&alias) {
                Some(Value::String(model)) => Some(model),
                Some(other) => Part::of(other, &at, &mut import.notes).and_then(|mut full| {
                    let model = full.text("model", &mut import.notes);
                    full.end(&[("hidden", "all names are listed")], &mut import.notes);
                    model
                }),
                None => None,
            };
            self.aliases.extend(model.map(|model| (at, alias, model)));
        }
    }

    fn strategy(&self, part: &mut Part, import: &mut Import<'_>) {
        let Some(strategy) = part.text("routing_strategy", &mut import.notes) else { return };
        if strategy != "simple-shuffle" {
            let why = "calls are spread by weight over the targets of the lowest priority that can answer";
            import.notes.add(&part.path("routing_strategy"), &strategy.into(), why);
        }
    }

    fn cached(&mut self, part: &mut Part, import: &mut Import<'_>) {
        let is_on = part.flag("cache", &mut import.notes).unwrap_or(false);
        let Some(mut params) = part.part("cache_params", &mut import.notes) else {
            self.cache = is_on.then(|| json!({}));
            return;
        };
        if !is_on {
            params.end_with(&[], "`cache` is not on: no answers are kept", &mut import.notes);
            return;
        }
        let kind = params.text("type", &mut import.notes).unwrap_or_else(|| "local".to_owned());
        if kind.contains("semantic") {
            let why = "answers are kept for requests that are the same, not for those that are alike: none are kept";
            import.notes.add(&params.path("type"), &kind.into(), why);
        } else {
            if kind != "local" {
                import.notes.add(&params.path("type"), &kind.into(), "each node keeps its own answers in memory");
            }
            let ttl = params.number("ttl", &mut import.notes);
            let ttl = ttl.map(|ttl| spans::seconds(ttl, &params.path("ttl"), KEPT, &mut import.notes));
            self.cache = Some(ttl.map_or_else(|| json!({}), |ttl| json!({ "ttl": ttl })));
        }
        params.end_with(&[], "answers are kept in the memory of a node, by `spec.cache` of a Model", &mut import.notes);
    }

    /// Gives models their other names, and those that stand in for them.
    pub(super) fn apply(&self, groups: &mut [Group], import: &mut Import<'_>) {
        for (at, alias, model) in &self.aliases {
            let is_taken = groups.iter().any(|group| group.name == *alias || group.aliases.contains(alias));
            let group = groups.iter_mut().find(|group| group.name == *model);
            match group {
                _ if is_taken => import.notes.say(at, "another model has this name"),
                None => import.notes.add(at, &model.as_str().into(), "there is no such model"),
                Some(group) => {
                    if group.name.contains('*') {
                        import
                            .notes
                            .say(at, "a model with `*` in its name cannot have another name: make a Model of its own");
                        continue;
                    }
                    group.aliases.push(alias.clone());
                    // Asked for by another name, it would be asked for by that at the provider.
                    for target in &mut group.targets {
                        target.model.get_or_insert_with(|| group.name.clone());
                    }
                }
            }
        }
        let before: Vec<(String, Vec<Target>)> =
            groups.iter().map(|group| (group.name.clone(), group.targets.clone())).collect();
        for fallback in &self.fallbacks {
            match groups.iter_mut().find(|group| group.name == fallback.of) {
                Some(group) => fallback.stand_in(group, &before, import),
                None if fallback.of == "*" => {}
                None => import.notes.say(&fallback.at, "there is no such model"),
            }
        }
        let mut general = self.fallbacks.iter().filter(|fallback| fallback.of == "*").chain(&self.defaults);
        let first = general.next();
        for other in general.filter(|other| first.is_some_and(|first| first.by != other.by)) {
            import.notes.say(&other.at, "others stand in for all models already, and come first");
        }
        let Some(general) = first else { return };
        for group in groups {
            let is_named = general.by.contains(&group.name) || self.fallbacks.iter().any(|one| one.of == group.name);
            if !is_named {
                general.stand_in(group, &before, import);
            }
        }
    }
}

// === impl Fallback ===

impl Fallback {
    /// Adds targets of other models behind those of a model.
    fn stand_in(&self, group: &mut Group, before: &[(String, Vec<Target>)], import: &mut Import<'_>) {
        for (index, name) in self.by.iter().enumerate() {
            let exact = before.iter().find(|(known, _)| known == name).map(|(_, targets)| (targets, name.as_str()));
            let found =
                exact.or_else(|| before.iter().find_map(|(known, targets)| Some((targets, rest(known, name)?))));
            let Some((targets, rest)) = found else {
                import.notes.add(&self.at, &name.as_str().into(), "there is no such model to stand in");
                continue;
            };
            for target in targets {
                let model = target.model.as_deref().map_or_else(|| name.clone(), |model| model.replacen('*', rest, 1));
                let is_there = group
                    .targets
                    .iter()
                    .any(|one| one.provider == target.provider && one.model.as_deref() == Some(&model));
                if model.contains('*') {
                    import.notes.add(
                        &self.at,
                        &name.as_str().into(),
                        "no name stands for its `*`: it does not stand in",
                    );
                } else if !is_there {
                    // What its own requests have is said by its own Model.
                    let (parameters, removed) = (Vec::new(), Vec::new());
                    let (model, step) = (Some(model), index + 1);
                    group.targets.push(Target { model, retries: None, parameters, removed, step, ..target.clone() });
                }
            }
        }
    }
}

/// Where a key stands, and what is said there.
fn said(part: &Part, key: &str) -> (String, Value) {
    (part.path(key), part.peek(key).cloned().unwrap_or_default())
}

/// Keeps what is said first; a value that is said later is noted where something else is made of it.
fn first<T: PartialEq>(kept: &mut Option<T>, said: Option<T>, at: &str, value: Value, notes: &mut Notes) {
    match (&kept, said) {
        (None, said) => *kept = said,
        (Some(kept), Some(said)) if *kept != said => {
            notes.add(at, &value, "router_settings say it as well, and come first");
        }
        (Some(_), _) => {}
    }
}

/// What the `*` of a pattern stands for in a name, where it is one of it.
fn rest<'n>(pattern: &str, name: &'n str) -> Option<&'n str> {
    let (begin, end) = pattern.split_once('*')?;
    name.strip_prefix(begin)?.strip_suffix(end).filter(|_| !end.contains('*'))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::import::Kind;

    #[test]
    fn a_star_stands_for_what_is_left() {
        let cases = [
            ("openai/*", "openai/gpt-4o", Some("gpt-4o")),
            ("*", "x", Some("x")),
            ("a*b", "ab", Some("")),
            ("a*a", "a", None),
            ("plain", "plain", None),
            ("*/*", "a/b", None),
        ];
        for (pattern, name, expected) in cases {
            assert_eq!(rest(pattern, name), expected, "{pattern} {name}");
        }
    }

    #[test]
    fn those_that_stand_in_for_all_models_are_said_once() {
        let cases = [
            (json!([{ "*": ["a"] }]), json!(["b"]), true),
            (json!([{ "*": ["a"] }]), json!(["a"]), false),
            (json!([{ "b": ["a"] }]), json!(["b"]), false),
        ];
        for (fallbacks, defaults, is_noted) in cases {
            let params = json!({ "model": "groq/x" });
            let entries = ["a", "b", "c"].map(|name| json!({ "model_name": name, "litellm_params": params }));
            let source = json!({
                "model_list": entries,
                "router_settings": { "fallbacks": fallbacks },
                "litellm_settings": { "default_fallbacks": defaults },
            });

            let (_, notes) = crate::import::import(Kind::Litellm, &source.to_string(), "x", false, &|_| None).unwrap();

            let text = notes.text();
            assert_eq!(notes.covers("litellm_settings.default_fallbacks"), is_noted, "{fallbacks}: {text}");
        }
    }
}
