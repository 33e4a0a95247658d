//! AI backends: providers become `Provider`s, those of a route the targets of a `Model`.
//!
//! A route there answers for all models that clients name; the first one does so here, and further ones have names of their own, since
//! models are told apart by their names.

use quorate_llm::preset::Preset;
use serde_json::{Value, json};

use super::super::Import;
use super::super::provider::{self, Given};
use super::super::source::Part;
use super::Made;
use super::policies::{self, Policies};

/// What is said of providers.
const ROWS: &[(&str, &str)] = &[
    ("tokenize", "tokens are counted by providers"),
    ("routes", "which API a request is of is told from its path"),
    ("outlierDetection", "see `breaker` of a Model"),
];

/// A provider of a route.
#[derive(Debug)]
pub(super) struct Target {
    name: String,
    provider: String,
    model: Option<String>,
    weight: Option<u32>,
    priority: usize,
    policies: Policies,
}

/// Where a provider is, as far as that is said beside it.
#[derive(Debug, Default)]
pub(super) struct Place {
    pub(super) host: Option<String>,
    pub(super) path: Option<String>,
    pub(super) url: Option<String>,
}

/// Takes a backend.
pub(super) fn import(
    mut part: Part,
    weight: Option<u32>,
    policies: &Policies,
    targets: &mut Vec<Target>,
    import: &mut Import<'_>,
) {
    let before = targets.len();
    for (priority, mut group) in part.parts("groups", &mut import.notes).into_iter().enumerate() {
        for mut one in group.parts("providers", &mut import.notes) {
            let own = one.count("weight", &mut import.notes);
            targets.extend(target(one, own, priority, policies, import));
        }
        group.end(&[], &mut import.notes);
    }
    if part.has("provider") {
        targets.extend(target(part, weight, 0, policies, import));
        return;
    }
    if let (Some(weight), true) = (weight, targets.len() > before) {
        import.notes.add(&part.path("weight"), &weight.into(), "weights are those of the targets in the groups");
    }
    part.end(ROWS, &mut import.notes);
}

fn target(
    mut part: Part,
    weight: Option<u32>,
    priority: usize,
    outer: &Policies,
    import: &mut Import<'_>,
) -> Option<Target> {
    let at = part.at().to_owned();
    let name = part.text("name", &mut import.notes);
    let given = part.part("policies", &mut import.notes);
    let mut policies = given.map_or_else(|| outer.clone(), |given| Policies::take(given, import).within(outer));
    policies.key = policies::key(&mut part, "backendAuth", import).or(policies.key);
    let place = place(&mut part, import);
    let provider_at = part.path("provider");
    let provider = part.take("provider");
    part.end(ROWS, &mut import.notes);
    // `anthropic: null` and `anthropic` say as much as `anthropic: {}`.
    let (word, config) = match provider {
        Some(Value::String(word)) => (word, Value::Object(serde_json::Map::new())),
        Some(Value::Object(members)) if members.len() == 1 => members.into_iter().next()?,
        Some(other) => {
            import.notes.add(&provider_at, &other, "expected one provider: it is left out");
            return None;
        }
        None => {
            import.notes.say(&at, "it names no provider: it is left out");
            return None;
        }
    };
    let config = if config.is_null() { json!({}) } else { config };
    let config = Part::of(config, &format!("{provider_at}.{word}"), &mut import.notes)?;
    let (provider, model) = document(&word, config, place, &policies, name.as_deref(), &at, import)?;
    Some(Target { name: name.unwrap_or(word), provider, model, weight, priority, policies })
}

/// Takes what says where a provider is.
pub(super) fn place(part: &mut Part, import: &mut Import<'_>) -> Place {
    let at = part.path("hostOverride");
    let host = match part.take("hostOverride") {
        Some(Value::String(host)) => Some(import.address(host, &at)),
        Some(other) => {
            import.notes.add(&at, &other, "expected a text");
            None
        }
        None => None,
    };
    let path = part.text("pathOverride", &mut import.notes).or(part.text("pathPrefix", &mut import.notes));
    let at = part.path("baseUrl");
    let url = part.text("baseUrl", &mut import.notes).map(|url| import.address(url, &at));
    Place { host, path, url }
}

/// Makes the provider; returns its name and that of the model there.
pub(super) fn document(
    word: &str,
    mut config: Part,
    place: Place,
    policies: &Policies,
    wanted: Option<&str>,
    at: &str,
    import: &mut Import<'_>,
) -> Option<(String, Option<String>)> {
    let mut model = None;
    let known = provider::known(if word == "azure" { "azureOpenAI" } else { word });
    let Some(known) = known else {
        import.notes.say(config.at(), format!("{}: it is left out", provider::missing(word)));
        config.end_with(&[], "goes with its provider", &mut import.notes);
        return None;
    };
    if let Some(text) = config.text("model", &mut import.notes) {
        model = Some(text).filter(|text| text != "*");
    }
    let mut given = Given { limits: policies.limits(), key: policies.key.clone(), ..Given::default() };
    let is_own = |url: &String| url.contains("://api.openai.com");
    let is_elsewhere = place.host.is_some() || place.url.as_ref().is_some_and(|url| !is_own(url));
    let preset = if known.preset == Preset::OpenAi && is_elsewhere { Preset::Compatible } else { known.preset };
    match preset {
        Preset::Vertex => vertex(&mut given, &mut config, import),
        Preset::AzureOpenAi => azure(&mut given, &mut config, import),
        _ => {}
    }
    if let Some(url) = url(&place, policies) {
        given.url = Some(provider::address(preset, &url));
    }
    given.url = given.url.or_else(|| known.url.map(|url| provider::address(preset, url)));
    if let Some(tls) = &policies.tls {
        given.tls.clone_from(tls);
    }
    if let (None, true, Some(variable)) = (&given.key, preset.known().needs_key, known.variable) {
        import
            .notes
            .say(at, format!("it is shown no key, which the provider wants: {variable} of the node is named for it"));
        given.key = Some(format!("env:{variable}"));
    }
    config.end(
        &[
            ("region", "it is for Vertex and Bedrock only"),
            ("projectName", "the address of an Azure resource is enough"),
            ("resourceType", "the address of an Azure resource is enough"),
        ],
        &mut import.notes,
    );
    Some((given.document(preset, wanted.unwrap_or(word), at, import), model))
}

/// The address of a place, which is below a version where no path is said.
fn url(place: &Place, policies: &Policies) -> Option<String> {
    if let Some(url) = &place.url {
        return Some(url.clone());
    }
    let host = place.host.as_deref()?;
    let path = place.path.as_deref().unwrap_or("/v1").trim_start_matches('/');
    if host.contains("://") {
        return Some(format!("{}/{path}", host.trim_end_matches('/')));
    }
    let is_tls = policies.tls.is_some() || host.ends_with(":443");
    let host = host.strip_suffix(":443").unwrap_or(host);
    let scheme = if is_tls { "https" } else { "http" };
    Some(format!("{scheme}://{host}/{path}"))
}

fn vertex(given: &mut Given, config: &mut Part, import: &mut Import<'_>) {
    let mut text = |keys: [&str; 2]| {
        let key = keys.into_iter().find(|key| config.has(key))?;
        let (at, text) = (config.path(key), config.text(key, &mut import.notes)?);
        let Some(name) = import.secrets.variable(&text) else { return Some(text) };
        import
            .notes
            .say(&at, format!("an address has no variables: what {name} is has to be written into the Provider's"));
        (import.environment)(name)
    };
    let project = text(["projectId", "vertexProject"]).unwrap_or_else(|| "PROJECT".to_owned());
    let region = text(["region", "vertexRegion"]).unwrap_or_else(|| "global".to_owned());
    given.url = Some(provider::vertex(&project, &region));
    import.notes.say(
        config.at(),
        "Vertex is shown a token, which nothing fetches: `keys` of the Provider, from a file that is renewed",
    );
}

fn azure(given: &mut Given, config: &mut Part, import: &mut Import<'_>) {
    let host = ["host", "azureHost"].into_iter().find_map(|key| config.text(key, &mut import.notes));
    let resource =
        ["resourceName", "azureResourceName"].into_iter().find_map(|key| config.text(key, &mut import.notes));
    let host = host.or_else(|| resource.map(|name| format!("{name}.openai.azure.com")));
    let version = ["apiVersion", "azureApiVersion"].into_iter().find_map(|key| config.text(key, &mut import.notes));
    let host = host.unwrap_or_else(|| {
        import
            .notes
            .say(config.at(), "the host of the Azure resource is missing: write it into the Provider's address");
        "azure-resource.invalid".to_owned()
    });
    let address = if host.contains("://") { host } else { format!("https://{host}") };
    provider::azure(given, &address, version);
}

/// Makes the model of a route.
pub(super) fn model(
    targets: Vec<Target>,
    route: Option<&str>,
    path: Option<&str>,
    at: &str,
    made: &mut Made,
    import: &mut Import<'_>,
) {
    let first = &targets[0];
    let wanted = route.unwrap_or(&first.name).to_owned();
    let policies = first.policies.clone();
    let is_first = made.models == 0;
    made.models += 1;
    let is_fixed = targets.iter().all(|target| target.model.is_some());
    let (name, model) = match (is_first, is_fixed) {
        (true, _) => ("*".to_owned(), None),
        (false, true) => (wanted.clone(), None),
        (false, false) => (format!("{wanted}/*"), Some("*")),
    };
    if !is_first {
        import.notes.say(at, format!("models are told apart by their names: clients ask for {name:?}"));
    }
    if let Some(path) = path.filter(|path| !matches!(*path, "/" | "/v1") && !path.starts_with("/v1/")) {
        import.notes.add(at, &path.into(), "clients find models below /v1 and /v1beta");
    }
    if policies.needs_user {
        import
            .notes
            .say(at, "callers of models are held to tokens by policies, or by `requires: [user]` of the Listener");
    }
    let spec = |names: Vec<&str>, asked: Option<&str>| {
        let targets: Vec<Value> = targets.iter().map(|target| target.spec(asked)).collect();
        let mut spec = json!({ "names": names, "targets": targets });
        policies.of_model(&mut spec);
        spec
    };
    let whole = spec(vec![&name], model);
    let aliases: Vec<(String, Value)> =
        policies.aliases.iter().map(|(alias, model)| (alias.clone(), spec(vec![alias], Some(model)))).collect();
    import.documents.add("Model", &wanted, whole, at);
    for (alias, spec) in aliases {
        import.documents.add("Model", &alias, spec, at);
    }
}

// === impl Target ===

impl Target {
    /// Its spec; `asked` is what is asked for where the provider does not say another model.
    fn spec(&self, asked: Option<&str>) -> Value {
        let mut spec = json!({ "provider": self.provider });
        if let Some(model) = self.model.as_deref().or(asked) {
            spec["model"] = model.into();
        }
        if let Some(weight) = self.weight {
            spec["weight"] = weight.into();
        }
        if self.priority > 0 {
            spec["priority"] = self.priority.into();
        }
        spec
    }
}
