//! AI backends: providers become `Provider`s, those of a route the targets of a `Model`.
//!
//! A route there answers for all models that clients name; the first one does so here, and further ones have names of their own, since
//! models are told apart by their names.

use quorate_llm::preset::{Layout, Preset};
use serde_json::{Value, json};

use super::super::Import;
use super::super::provider::{self, Given, Known};
use super::super::source::Part;
use super::Made;
use super::model_policies::ModelPolicies;
use super::policies::{self, Policies, Said};

/// What is said of providers.
const ROWS: &[(&str, &str)] = &[
    ("tokenize", "tokens are counted by providers"),
    ("routes", "which API a request is of is told from its path"),
    ("outlierDetection", "see `breaker` of a Model"),
];

/// What is said of models whose callers must show a token.
pub(super) const NEEDS_USER: &str =
    "callers of models are held to tokens by policies, or by `requires: [user]` of the Listener";

/// A provider of a route.
#[derive(Debug)]
pub(super) struct Target {
    name: String,
    preset: Preset,
    provider: String,
    model: Option<String>,
    weight: Option<u32>,
    priority: usize,
    policies: Policies,
}

/// Where a provider is, as far as that is said beside it.
#[derive(Debug, Default)]
pub(super) struct Place {
    /// Where that is said.
    at: String,
    host: Option<String>,
    path: Option<String>,
    url: Option<String>,
}

/// A provider that there is a document for, and what its model is called there.
#[derive(Debug)]
pub(super) struct Placed {
    pub(super) preset: Preset,
    pub(super) provider: String,
    pub(super) model: Option<String>,
}

/// Takes a backend.
pub(super) fn import(
    mut part: Part,
    weight: Option<&Said<u32>>,
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
        let one = target(part, None, 0, policies, import);
        targets.extend(one.map(|one| Target { weight: weight.map(|weight| *weight.used(&mut import.notes)), ..one }));
        return;
    }
    if targets.len() == before {
        import.notes.say(part.at(), "it has no provider: nothing is made of it");
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
        Some(Value::String(word)) => (word, json!({})),
        Some(Value::Object(members)) if members.len() == 1 => members.into_iter().next()?,
        Some(other) => {
            import.notes.add(&provider_at, &other, "expected one provider");
            import.notes.say(&at, "it names no provider: it is left out");
            return None;
        }
        None => {
            import.notes.say(&at, "it names no provider: it is left out");
            return None;
        }
    };
    let config = if config.is_null() { json!({}) } else { config };
    let Some(config) = Part::of(config, &format!("{provider_at}.{word}"), &mut import.notes) else {
        import.notes.say(&at, "its provider is not known: it is left out");
        return None;
    };
    let Placed { preset, provider, model } = document(&word, config, place, &policies, name.as_deref(), &at, import)?;
    Some(Target { name: name.unwrap_or(word), preset, provider, model, weight, priority, policies })
}

/// Takes what says where a provider is.
pub(super) fn place(part: &mut Part, import: &mut Import<'_>) -> Place {
    let url_at = part.path("baseUrl");
    let url = part.text("baseUrl", &mut import.notes).map(|url| import.address(url, &url_at));
    let at = part.path("hostOverride");
    let host = part.text("hostOverride", &mut import.notes).map(|host| (import.address(host, &at), at));
    let mut path = None;
    for key in ["pathOverride", "pathPrefix"] {
        let Some(text) = part.text(key, &mut import.notes) else { continue };
        let why = match (&url, &host, &path) {
            (Some(_), ..) => "baseUrl is the whole address",
            (None, None, _) => "without a host it is not known what it is below: write `url` of the Provider",
            (None, Some(_), Some(_)) => "the other path beside it is taken",
            (None, Some(_), None) => {
                path = Some(text);
                continue;
            }
        };
        import.notes.add(&part.path(key), &text.into(), why);
    }
    if let (Some(_), Some((host, at))) = (&url, &host) {
        import.notes.add(at, &host.as_str().into(), "baseUrl is the whole address");
    }
    let at = if url.is_some() { url_at } else { part.path("hostOverride") };
    Place { at, host: host.map(|(host, _)| host), path, url }
}

/// Makes the provider.
pub(super) fn document(
    word: &str,
    mut config: Part,
    place: Place,
    policies: &Policies,
    wanted: Option<&str>,
    at: &str,
    import: &mut Import<'_>,
) -> Option<Placed> {
    let known = provider::known(if word == "azure" { "azureOpenAI" } else { word });
    let Some(known) = known else {
        import.notes.say(at, format!("{}: it is left out", provider::missing(word)));
        config.end_with(&[], "goes with its provider", &mut import.notes);
        return None;
    };
    let model = config.text("model", &mut import.notes).filter(|text| text != "*");
    let mut given = Given { limits: policies.limits(&mut import.notes), ..Given::default() };
    let url = url(&place, known.preset, policies);
    let is_elsewhere = url.as_deref().is_some_and(|url| !known.is_at(url));
    let preset = if known.preset == Preset::OpenAi && is_elsewhere { Preset::Compatible } else { known.preset };
    match (preset, url) {
        (Preset::AzureOpenAi, url) => azure(&mut given, &mut config, url, import),
        (Preset::Vertex, url) => vertex(&mut given, &mut config, (&place.at, url), import),
        (_, Some(url)) => given.url = Some(provider::address(preset, &url)),
        (_, None) => given.url = known.url.map(|url| provider::address(preset, url)),
    }
    if let Some(tls) = &policies.tls {
        given.tls.clone_from(tls.used(&mut import.notes));
    }
    given.key = match &policies.key {
        Some(key) => Some(key.used(&mut import.notes).clone()),
        None => by_custom(word, known, given.url.as_deref(), at, import),
    };
    let address = "the whole address is said beside it";
    config.end(
        &[
            ("region", "it is for Vertex and Bedrock only"),
            ("host", address),
            ("azureHost", address),
            ("resourceName", address),
            ("azureResourceName", address),
            ("projectName", "the address of an Azure resource is enough"),
            ("resourceType", "the address of an Azure resource is enough"),
        ],
        &mut import.notes,
    );
    Some(Placed { preset, provider: given.document(preset, wanted.unwrap_or(word), at, import), model })
}

/// The variable of the node that the key of a provider is in by custom, if it wants one and is at no address of somebody else.
fn by_custom(word: &str, known: Known, url: Option<&str>, at: &str, import: &mut Import<'_>) -> Option<String> {
    let variable = known.variable?;
    if url.is_some_and(|url| !known.is_at(url)) {
        import.notes.say(at, provider::unshown(word, variable));
        return None;
    }
    if !known.preset.known().needs_key {
        return None;
    }
    let why = format!("it is shown no key, which the provider wants: {variable} of the node is named for it");
    import.notes.say(at, why);
    Some(format!("env:{variable}"))
}

/// The address of a place, which for those who speak as OpenAI does is below a version where no path is said.
fn url(place: &Place, preset: Preset, policies: &Policies) -> Option<String> {
    if let Some(url) = &place.url {
        return Some(url.clone());
    }
    let host = place.host.as_deref()?;
    let has_version = preset.known().layout == Layout::OpenAi && preset != Preset::AzureOpenAi;
    let path = place.path.as_deref().unwrap_or(if has_version { "/v1" } else { "" }).trim_start_matches('/');
    if host.contains("://") {
        return Some(format!("{}/{path}", host.trim_end_matches('/')));
    }
    let is_tls = policies.tls.is_some() || host.ends_with(":443");
    let host = host.strip_suffix(":443").unwrap_or(host);
    let scheme = if is_tls { "https" } else { "http" };
    Some(format!("{scheme}://{host}/{path}"))
}

/// Sets the project and location, which are the address; another address that is said at a place is noted.
fn vertex(given: &mut Given, config: &mut Part, (at, url): (&str, Option<String>), import: &mut Import<'_>) {
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
    if let Some(url) = url {
        let why = "the address of Vertex is made of the project and location: write `url` of the Provider";
        import.notes.add(at, &url.into(), why);
    }
    let why = "Vertex is shown a token, which nothing fetches: `keys` of the Provider, from a file that is renewed";
    import.notes.say(config.at(), why);
}

/// Sets where an Azure resource is: at the address, if there is one, else by what its configuration says.
fn azure(given: &mut Given, config: &mut Part, address: Option<String>, import: &mut Import<'_>) {
    let version = ["apiVersion", "azureApiVersion"].into_iter().find_map(|key| config.text(key, &mut import.notes));
    if let Some(address) = address {
        provider::azure(given, &address, version);
        return;
    }
    let host = ["host", "azureHost"].into_iter().find_map(|key| config.text(key, &mut import.notes));
    let mut resource =
        || ["resourceName", "azureResourceName"].into_iter().find_map(|key| config.text(key, &mut import.notes));
    let host = host.or_else(|| resource().map(|name| format!("{name}.openai.azure.com")));
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
    path: Option<&Said<String>>,
    at: &str,
    made: &mut Made,
    import: &mut Import<'_>,
) {
    let first = &targets[0];
    let wanted = route.unwrap_or(&first.name).to_owned();
    let needs_user = targets.iter().any(|target| target.policies.needs_user);
    let said: Vec<(Preset, &ModelPolicies)> =
        targets.iter().map(|target| (target.preset, &target.policies.models)).collect();
    let common = ModelPolicies::common(&said, &mut import.notes);
    let aliases = ModelPolicies::aliases(&said, &mut import.notes);
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
    if let Some(Said { value, at }) = path
        && !matches!(value.as_str(), "/" | "/v1")
        && !value.starts_with("/v1/")
    {
        import.notes.add(at, &value.as_str().into(), "clients find models below /v1 and /v1beta");
    }
    if needs_user {
        import.notes.say(at, NEEDS_USER);
    }
    let spec = |names: Vec<&str>, asked: Option<&str>| {
        let targets: Vec<Value> = targets.iter().map(|target| target.spec(asked)).collect();
        let mut spec = json!({ "names": names, "targets": targets });
        common.write(&mut spec);
        spec
    };
    let whole = spec(vec![&name], model);
    let aliases: Vec<(String, Value)> =
        aliases.iter().map(|(alias, model)| (alias.clone(), spec(vec![alias], Some(model)))).collect();
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
