//! One entry of `model_list`: a target of a model, and the provider that it is at.
//!
//! In: one entry. Out: a target in the group of its name, and a `Provider`, if there is one for it. The provider is told from what is before
//! the slash of its model, or from names that only one has.

use quorate_llm::preset::Preset;
use serde_json::{Map, Value, json};

use super::super::Import;
use super::super::notes::Notes;
use super::super::parameters::{self, Parameter};
use super::super::provider::{self, Given, Known};
use super::super::source::Part;
use super::super::spans::{self, TOTAL, WAIT};
use super::super::tool_server;
use super::model::{Group, Target};
use super::router::{RETRIES, Router, dropped};

/// What prices of tokens are called, and what here.
const PRICES: [(&str, &str); 7] = [
    ("input_cost_per_token", "input"),
    ("output_cost_per_token", "output"),
    ("cache_read_input_token_cost", "cachedInput"),
    ("cache_creation_input_token_cost", "cacheWrite"),
    ("input_cost_per_audio_token", "inputAudio"),
    ("output_cost_per_audio_token", "outputAudio"),
    ("output_cost_per_reasoning_token", "reasoning"),
];

/// What is said of keys of `litellm_params`.
const PARAMS: &[(&str, &str)] = &[
    ("rpm", "targets have no limits by the minute: `spec.limits.concurrency` of the Provider bounds calls in progress"),
    ("tpm", "targets have no limits by the minute: `spec.limits.concurrency` of the Provider bounds calls in progress"),
    ("max_budget", "there are no budgets of targets"),
    ("budget_duration", "there are no budgets of targets"),
    ("tags", "calls are told apart by their headers: see `when` of a target"),
    ("mock_response", "`quorate up` has a demo model"),
    ("vertex_credentials", "show Vertex a token: `keys` of the Provider, from a file that is renewed, or `credential`"),
    ("aws_access_key_id", "bedrock is not supported"),
    ("aws_secret_access_key", "bedrock is not supported"),
    ("aws_region_name", "bedrock is not supported"),
    ("azure_ad_token", "show Azure a token with `credential` of the Provider"),
    ("client_id", "show Azure a token with `credential.clientCredentials` of the Provider"),
    ("client_secret", "show Azure a token with `credential.clientCredentials` of the Provider"),
    ("tenant_id", "show Azure a token with `credential.clientCredentials` of the Provider"),
    ("ssl_verify", "certificates are always checked: `tls.ca` of the Provider names an authority of your own"),
    ("guardrails", "there are no guardrails for texts of models"),
    ("cache_control_injection_points", "clients mark what providers keep; nothing is added"),
];
/// What is said of what an entry says that no target is made of.
const WITH_ENTRY: &str = "goes with its entry";
/// What is written as a key where there is none, which libraries of OpenAI ask for.
const NO_KEYS: [&str; 6] = ["", "none", "None", "EMPTY", "not-needed", "dummy"];

/// What is said of keys of `model_info`.
const INFO: &[(&str, &str)] = &[
    ("id", "targets have no ids: they are named by their provider and model"),
    (
        "base_model",
        "prices are found by the name at the provider: write `price` at the target where that is another one",
    ),
    ("max_tokens", "what a model can is not declared: the provider says so"),
    ("max_input_tokens", "what a model can is not declared: the provider says so"),
    ("max_output_tokens", "what a model can is not declared: the provider says so"),
    ("access_groups", "who may use a model is said by a Policy"),
    ("health_check_model", "targets are judged by the calls that they get"),
];

/// Makes a target of an entry, if it can be one.
pub(super) fn import(mut entry: Part, router: &Router, groups: &mut Vec<Group>, import: &mut Import<'_>) {
    let name = entry.text("model_name", &mut import.notes);
    let params = entry.part("litellm_params", &mut import.notes);
    let mut info = entry.part("model_info", &mut import.notes);
    let at = entry.at().to_owned();
    entry.end(&[], &mut import.notes);
    let mode = info.as_mut().and_then(|info| info.text("mode", &mut import.notes));
    let is_served = |mode: &String| matches!(mode.as_str(), "chat" | "completion" | "embedding" | "responses");
    let mut otherwise = WITH_ENTRY;
    match (name, params) {
        (_, Some(params)) if mode.as_ref().is_some_and(|mode| !is_served(mode)) => {
            let why = "only chat, responses, messages and embeddings are served: the entry is left out";
            import.notes.add(&format!("{at}.model_info.mode"), &mode.into(), why);
            params.end_with(&[], WITH_ENTRY, &mut import.notes);
        }
        (Some(name), Some(params)) => {
            if let Some(target) = target(&name, params, info.as_mut(), router, &at, import) {
                group(groups, &name, &at).targets.push(target);
                otherwise = "what a model can is not declared: the provider says so";
            }
        }
        _ => import.notes.say(&at, "an entry needs model_name and litellm_params: it is left out"),
    }
    if let Some(info) = info {
        info.end_with(INFO, otherwise, &mut import.notes);
    }
}

fn group<'g>(groups: &'g mut Vec<Group>, name: &str, at: &str) -> &'g mut Group {
    let found = groups.iter().position(|group| group.name == name).unwrap_or_else(|| {
        groups.push(Group::new(name, at));
        groups.len() - 1
    });
    &mut groups[found]
}

fn target(
    name: &str,
    mut params: Part,
    info: Option<&mut Part>,
    router: &Router,
    at: &str,
    import: &mut Import<'_>,
) -> Option<Target> {
    let Some((preset, provider, model)) = place(name, &mut params, router, at, import) else {
        params.end_with(PARAMS, WITH_ENTRY, &mut import.notes);
        return None;
    };
    let notes = &mut import.notes;
    let (weight, order) = (weight(&mut params, notes), params.count("order", notes));
    let retries = retries(&mut params, notes);
    let price = price(&mut params, info, import);
    let removed = params.texts_at("additional_drop_params", &mut import.notes);
    let parameters = parameters(&mut params, preset, &removed, &mut import.notes);
    dropped(&mut params, import);
    params.end(PARAMS, &mut import.notes);
    let at = at.to_owned();
    Some(Target {
        at,
        preset,
        provider,
        model,
        weight,
        order,
        retries,
        price,
        parameters,
        removed,
        step: 0,
        priority: 0,
    })
}

/// How often a call is tried again: the library's own retries, or those of the proxy.
fn retries(params: &mut Part, notes: &mut Notes) -> Option<u32> {
    let mut found = None;
    for key in ["max_retries", "num_retries"] {
        let Some(count) = params.count(key, notes) else { continue };
        let count = spans::count(count, &params.path(key), RETRIES, notes);
        match found {
            Some(first) if first != count => {
                notes.add(&params.path(key), &count.into(), "max_retries says how often: that is written");
            }
            _ => found = Some(count),
        }
    }
    found
}

/// The weight of an entry, which a number below 0 is none of.
fn weight(params: &mut Part, notes: &mut Notes) -> Option<f64> {
    let weight = params.number("weight", notes)?;
    if weight < 0.0 {
        notes.add(&params.path("weight"), &json!(weight), "a weight is 0 at least: none is written");
        return None;
    }
    Some(weight)
}

/// The provider of an entry, what it is like, and the model's name there.
fn place(
    name: &str,
    params: &mut Part,
    router: &Router,
    at: &str,
    import: &mut Import<'_>,
) -> Option<(Preset, String, Option<String>)> {
    let asked = params.path("model");
    let Some(whole) = params.text("model", &mut import.notes) else {
        import.notes.say(at, "it names no model: it is left out");
        return None;
    };
    let custom = params.text("custom_llm_provider", &mut import.notes);
    let (word, model) = split(&whole, custom.as_deref(), params.has("api_base") || params.has("base_url"));
    let found = word.and_then(provider::known);
    let is_foreign =
        word.is_some_and(|word| word.starts_with("vertex")) && !model.starts_with("gemini") && model != "*";
    let (Some(word), Some(known)) = (word, found.filter(|_| !is_foreign)) else {
        let why = match word {
            Some(word) if is_foreign => format!("of {word} only Gemini is supported: it is left out"),
            Some(word) => format!("{}: it is left out", provider::missing(word)),
            None => "the provider cannot be told from it: write it as PROVIDER/MODEL. It is left out".to_owned(),
        };
        import.notes.add(&asked, &whole.into(), why);
        return None;
    };
    let Some(model) = renamed(name, model) else {
        let why = format!("each `*` stands for what a `*` of {name:?} is: it is left out");
        import.notes.add(&asked, &whole.into(), why);
        return None;
    };
    let (preset, given) = given(word, known, params, router, import);
    // Of all that speak as OpenAI does, the host says more than the word.
    let host = given.url.as_deref().filter(|_| preset != known.preset).and_then(|url| url.split("://").nth(1));
    let wanted = host.and_then(|host| host.split(['/', ':']).next()).unwrap_or(word).to_owned();
    Some((preset, given.document(preset, &wanted, at, import), model))
}

/// The word for the provider, and the model's name there.
fn split<'t>(whole: &'t str, custom: Option<&'t str>, has_address: bool) -> (Option<&'t str>, &'t str) {
    if let Some(word) = custom {
        let rest = whole.strip_prefix(word).and_then(|rest| rest.strip_prefix('/'));
        return (Some(word), rest.unwrap_or(whole));
    }
    if let Some((word, model)) = whole.split_once('/')
        && (provider::known(word).is_some() || !has_address)
    {
        return (Some(word), model);
    }
    let begins = |words: &[&str]| words.iter().any(|word| whole.starts_with(word));
    let word = if has_address || begins(&["gpt-", "o1", "o3", "o4", "chatgpt-", "text-embedding-", "ft:gpt"]) {
        Some("openai")
    } else if begins(&["claude-"]) {
        Some("anthropic")
    } else if begins(&["gemini-"]) {
        Some("vertex_ai")
    } else {
        None
    };
    (word, whole)
}

/// The model of a target: none for the one that is asked for. Outer none: it has other wildcards than the name.
fn renamed(name: &str, model: &str) -> Option<Option<String>> {
    let stars = |text: &str| text.bytes().filter(|byte| *byte == b'*').count();
    match (stars(name), stars(model)) {
        (_, 0) => Some(Some(model.to_owned()).filter(|model| model != name)),
        (0, 1) if model == "*" => Some(None),
        (names, models) if names == models => Some(Some(model.to_owned()).filter(|model| model != name)),
        _ => None,
    }
}

/// What is said of the provider.
fn given(word: &str, known: Known, params: &mut Part, router: &Router, import: &mut Import<'_>) -> (Preset, Given) {
    let mut given = Given::default();
    let mut preset = known.preset;
    let key_at = if params.has("api_base") { "api_base" } else { "base_url" };
    let address_at = params.path(key_at);
    let address = params.text(key_at, &mut import.notes).map(|text| import.address(text, &address_at));
    let is_elsewhere = address.as_deref().is_some_and(|address| !known.is_at(address));
    if preset == Preset::OpenAi && is_elsewhere {
        preset = Preset::Compatible;
    }
    let mut version = params.text("api_version", &mut import.notes);
    match preset {
        Preset::AzureOpenAi => azure(&mut given, address, version.take(), params, import),
        Preset::Vertex => {
            if let Some(address) = address {
                let why = "the address of Vertex is made of the project and location: write `url` of the Provider";
                import.notes.add(&address_at, &address.into(), why);
            }
            vertex(&mut given, params, import);
        }
        _ => {
            given.url = address.map(|url| provider::address(preset, &url));
            given.url = given.url.or_else(|| known.url.map(|url| provider::address(preset, url)));
            if given.url.is_none() && preset.known().url.is_none() {
                let why = format!("{word} has no address of its own: api_base is missing");
                import.notes.say(params.at(), why);
            }
        }
    }
    if let Some(version) = version {
        import.notes.add(&params.path("api_version"), &version.into(), "only Azure is asked for a version");
    }
    given.key = key(word, known, params, Some(address_at).filter(|_| is_elsewhere), import);
    headers(&mut given.headers, word, params, import);
    limits(&mut given.limits, params, router, import);
    (preset, given)
}

/// The key that a provider is shown. At an address of somebody else, which is where `elsewhere` says, it is shown none but what is named for it.
fn key(
    word: &str,
    known: Known,
    params: &mut Part,
    elsewhere: Option<String>,
    import: &mut Import<'_>,
) -> Option<String> {
    let at = params.path("api_key");
    if let Some(key) = params.text("api_key", &mut import.notes) {
        let is_one = !NO_KEYS.contains(&key.as_str());
        if is_one {
            return Some(import.secrets.write(&key, &at, &format!("{word} key"), &mut import.notes));
        }
        if elsewhere.is_some() {
            return None;
        }
    }
    let variable = known.variable?;
    let Some(elsewhere) = elsewhere else { return Some(format!("env:{variable}")) };
    import.notes.say(&elsewhere, provider::unshown(word, variable));
    None
}

fn azure(given: &mut Given, address: Option<String>, version: Option<String>, params: &Part, import: &mut Import<'_>) {
    let address = address.unwrap_or_else(|| {
        let why = "an Azure resource has an address of its own: api_base is missing, write it into the Provider";
        import.notes.say(params.at(), why);
        "https://azure-resource.invalid".to_owned()
    });
    provider::azure(given, &address, version);
}

fn vertex(given: &mut Given, params: &mut Part, import: &mut Import<'_>) {
    let mut word = |key: &str, other: &str| {
        let at = params.path(key);
        let text = params.text(key, &mut import.notes)?;
        let Some(name) = import.secrets.variable(&text) else { return Some(text) };
        let value = (import.environment)(name);
        let why = match value {
            Some(_) => format!("it is what {name} was when this was made: an address has no variables"),
            None => {
                format!("{name} is not set here: set it and import again, or write {other} into the Provider's address")
            }
        };
        import.notes.say(&at, why);
        value
    };
    let project = word("vertex_project", "the project");
    let location = word("vertex_location", "the location").unwrap_or_else(|| "us-central1".to_owned());
    if project.is_none() {
        import.notes.say(params.at(), "the project of Vertex is not known: write it into the Provider's address");
    }
    given.url = Some(provider::vertex(&project.unwrap_or_else(|| "PROJECT".to_owned()), &location));
    import.notes.say(
        params.at(),
        "Vertex is shown a token, which nothing fetches: `keys` of the Provider, from a file that is renewed",
    );
}

fn headers(headers: &mut Map<String, Value>, word: &str, params: &mut Part, import: &mut Import<'_>) {
    if let Some(organization) = params.text("organization", &mut import.notes) {
        let at = params.path("organization");
        let value = import.secrets.write(&organization, &at, &format!("{word} organization"), &mut import.notes);
        headers.insert("openai-organization".to_owned(), value.into());
    }
    for key in ["extra_headers", "headers"] {
        let at = params.path(key);
        for (name, value) in tool_server::headers(params, key, word, import) {
            if headers.contains_key(&name) {
                import.notes.say(&at, format!("{name} is said twice: the first one is written"));
                continue;
            }
            headers.insert(name, value);
        }
    }
}

fn limits(limits: &mut Map<String, Value>, params: &mut Part, router: &Router, import: &mut Import<'_>) {
    let own = [
        ("timeout", "total", TOTAL, router.timeout.as_ref()),
        ("stream_timeout", "betweenTokens", WAIT, router.stream_timeout.as_ref()),
    ];
    for (key, limit, bounds, general) in own {
        let at = params.path(key);
        let given = params.number(key, &mut import.notes);
        let span = given.map(|given| spans::seconds(given, &at, bounds, &mut import.notes));
        if let Some(span) = span.or_else(|| general.cloned()) {
            limits.insert(limit.to_owned(), span.into());
        }
    }
    let at = params.path("max_parallel_requests");
    if let Some(count) = params.count("max_parallel_requests", &mut import.notes) {
        let count = spans::count(count, &at, (1, 100_000), &mut import.notes);
        limits.insert("concurrency".to_owned(), count.into());
    }
    // A stream cannot be silent for longer than a call may take.
    let span = |key: &str| limits.get(key).and_then(Value::as_str).and_then(spans::of_text);
    if let (Some(silent), Some(total)) = (span("betweenTokens"), span("total"))
        && silent > total
    {
        let total = limits["total"].clone();
        let why = "a stream cannot be silent for longer than a call may take";
        import.notes.say(&params.path("stream_timeout"), format!("{why}: {total} is written"));
        limits.insert("betweenTokens".to_owned(), total);
    }
}

fn price(params: &mut Part, mut info: Option<&mut Part>, import: &mut Import<'_>) -> Option<Value> {
    let (mut price, mut places) = (Map::new(), Vec::new());
    for (key, name) in PRICES {
        // What is said at the entry itself comes before what is said about it.
        let of_info = info.as_mut().and_then(|info| Some((info.path(key), info.number(key, &mut import.notes)?)));
        let own = params.number(key, &mut import.notes).map(|number| (params.path(key), number));
        if let (Some((_, own)), Some((at, other))) = (&own, &of_info)
            && own.to_bits() != other.to_bits()
        {
            import.notes.add(at, &json!(other), "litellm_params says another price: that is written");
        }
        let Some((path, number)) = own.or(of_info) else { continue };
        price.insert(name.to_owned(), json!(spans::per_million(number)));
        places.push(path);
    }
    let is_whole = price.contains_key("input") && price.contains_key("output");
    if !is_whole {
        let given = price.keys().cloned().collect::<Vec<_>>().join(", ");
        for at in places {
            import
                .notes
                .say(&at, format!("a price is of input and output, and there is only {given}: none is written"));
        }
    }
    is_whole.then_some(Value::Object(price))
}

/// Takes the parameters of an entry, but for those that it takes away itself.
fn parameters(params: &mut Part, preset: Preset, removed: &[(String, String)], notes: &mut Notes) -> Vec<Parameter> {
    let mut found = Vec::<Parameter>::new();
    for name in parameters::NAMES {
        if let Some(value) = params.take(name) {
            found.push(Parameter { name: name.to_owned(), value, at: params.path(name) });
        }
    }
    if let Some(mut extra) = params.part("extra_body", notes) {
        for name in extra.keys() {
            let at = extra.path(&name);
            let Some(value) = extra.take(&name) else { continue };
            match found.iter().find(|one| one.name == name) {
                Some(one) if one.value == value => {}
                Some(_) => notes.add(&at, &value, "litellm_params says another value: that is taken"),
                None => found.push(Parameter { name, value, at }),
            }
        }
    }
    let name_at = |name: &str| parameters::name_at(preset, name).ok();
    let gone: Vec<String> = removed.iter().filter_map(|(_, name)| name_at(name)).collect();
    found.retain(|one| {
        let is_gone = name_at(&one.name).is_some_and(|name| gone.contains(&name));
        if is_gone {
            notes.add(&one.at, &one.value, "additional_drop_params takes it away");
        }
        !is_gone
    });
    found
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::import::Kind;

    #[test]
    fn the_provider_is_told_from_the_model() {
        let cases = [
            ("openai/gpt-4o", None, false, Some("openai"), "gpt-4o"),
            ("openrouter/anthropic/claude", None, false, Some("openrouter"), "anthropic/claude"),
            ("gpt-4o", None, false, Some("openai"), "gpt-4o"),
            ("claude-haiku-4-5", None, false, Some("anthropic"), "claude-haiku-4-5"),
            ("meta/llama", None, true, Some("openai"), "meta/llama"),
            ("meta/llama", None, false, Some("meta"), "llama"),
            ("meta/llama", Some("hosted_vllm"), true, Some("hosted_vllm"), "meta/llama"),
            ("groq/llama", Some("groq"), false, Some("groq"), "llama"),
            ("*", None, false, None, "*"),
        ];
        for (whole, custom, has_address, word, model) in cases {
            assert_eq!(split(whole, custom, has_address), (word, model), "{whole}");
        }
    }

    #[test]
    fn what_an_entry_says_and_is_not_taken_is_noted() {
        let cases = [
            (json!({ "weight": -1 }), Some("weight")),
            (json!({ "weight": 0 }), None),
            (json!({ "drop_params": false }), Some("drop_params")),
            (json!({ "drop_params": true }), None),
            (json!({ "timeout": 30, "stream_timeout": 60 }), Some("stream_timeout")),
            (json!({ "timeout": 60, "stream_timeout": 30 }), None),
        ];
        for (more, noted) in cases {
            let mut params = json!({ "model": "openai/gpt-4o", "api_key": "os.environ/KEY" });
            params.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
            let source = json!({ "model_list": [{ "model_name": "m", "litellm_params": params }] });

            let (_, notes) =
                crate::import::import(Kind::Litellm, &source.to_string(), "config.yaml", false, &|_| None).unwrap();

            for key in ["weight", "drop_params", "stream_timeout"] {
                let at = format!("model_list[0].litellm_params.{key}");
                assert_eq!(notes.covers(&at), noted == Some(key), "{more}: {}", notes.text());
            }
        }
    }

    #[test]
    fn wildcards_stand_for_those_of_the_name() {
        let some = |model: &str| Some(Some(model.to_owned()));
        let cases = [
            ("fast", "gpt-4o", some("gpt-4o")),
            ("gpt-4o", "gpt-4o", Some(None)),
            ("openai/*", "*", some("*")),
            ("*", "*", Some(None)),
            ("gpt-4o", "*", Some(None)),
            ("gpt-4o", "ft:*", None),
            ("*/*", "*", None),
        ];
        for (name, model, expected) in cases {
            assert_eq!(renamed(name, model), expected, "{name} {model}");
        }
    }
}
