//! What holds for all models: `router_settings`, and what of `litellm_settings` is about calls.
//!
//! Fallbacks of a model are targets of a higher priority: they are asked in their order when those before them cannot answer. Other names
//! of a model are names of it. Timeouts are limits of each provider, retries of each model.

use serde_json::{Map, Value, json};

use super::super::Import;
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
    pub(super) breaker: Map<String, Value>,
    pub(super) cache: Option<Value>,
    aliases: Vec<(String, String, String)>,
    fallbacks: Vec<Fallback>,
    defaults: Option<Fallback>,
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
        let retries = part
            .count("num_retries", notes)
            .map(|count| spans::count(count, &part.path("num_retries"), RETRIES, notes));
        self.retries = self.retries.or(retries);
        let span = part.number(timeout, notes).map(|span| spans::seconds(span, &part.path(timeout), TOTAL, notes));
        self.timeout = self.timeout.take().or(span);
        let key = "stream_timeout";
        let span = part.number(key, notes).map(|span| spans::seconds(span, &part.path(key), WAIT, notes));
        self.stream_timeout = self.stream_timeout.take().or(span);
        if let Some(fails) = part.count("allowed_fails", notes) {
            // So many are borne; one more takes the target out.
            let failures = spans::count(fails.saturating_add(1), &part.path("allowed_fails"), FAILURES, notes);
            self.breaker.entry("failures").or_insert_with(|| failures.into());
        }
        if let Some(cooldown) = part.number("cooldown_time", notes) {
            let base = spans::seconds(cooldown, &part.path("cooldown_time"), EJECT, notes);
            if cooldown > EJECT_MAX_SECONDS {
                self.breaker.entry("ejectMax").or_insert_with(|| base.clone().into());
            }
            self.breaker.entry("ejectBase").or_insert_with(|| base.into());
        }
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
            self.defaults.get_or_insert(Fallback { at, of: "*".to_owned(), by });
        }
        self.named(part, "model_group_alias", import);
        self.named(part, "model_alias_map", import);
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
        let kind = params.text("type", &mut import.notes).unwrap_or_else(|| "local".to_owned());
        let is_exact = !kind.contains("semantic");
        if !is_exact {
            let why = "answers are kept for requests that are the same, not for those that are alike: none are kept";
            import.notes.add(&params.path("type"), &kind.into(), why);
        } else if is_on && kind != "local" {
            import.notes.add(&params.path("type"), &kind.into(), "each node keeps its own answers in memory");
        }
        let ttl = params.number("ttl", &mut import.notes);
        let ttl = ttl.map(|ttl| spans::seconds(ttl, &params.path("ttl"), KEPT, &mut import.notes));
        if is_on && is_exact {
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
        let general = self.fallbacks.iter().find(|fallback| fallback.of == "*").or(self.defaults.as_ref());
        let Some(general) = general else { return };
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
                if !is_there && !model.contains('*') {
                    let step = index + 1;
                    group.targets.push(Target { model: Some(model), parameters: Vec::new(), step, ..target.clone() });
                }
            }
        }
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
}
