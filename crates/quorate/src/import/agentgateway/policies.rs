//! Policies of listeners, routes and backends, as far as resources have a place for what they say.
//!
//! In: one object of policies. Out: what providers, tool servers and models are told of it, and an `Issuer` for tokens. The nearer policy
//! comes first ([`Policies::within`]). What expressions decide is never guessed at.

use serde_json::{Map, Value, json};

use super::super::Import;
use super::super::source::Part;
use super::super::spans::{self, TOTAL};

/// The fewest and most retries of a model.
const RETRIES: (u32, u32) = (0, 10);

/// What is said of policies.
const ROWS: &[(&str, &str)] = &[
    ("cors", "pages of browsers are let in by `spec.origins` of the Listener"),
    ("localRateLimit", "there are no limits by time: `spec.limits.concurrency` bounds calls in progress"),
    ("remoteRateLimit", "there are no limits by time: `spec.limits.concurrency` bounds calls in progress"),
    ("mcpAuthorization", "write a Policy: Cedar decides by caller, tool and arguments"),
    ("authorization", "write a Policy: Cedar decides by caller, tool and arguments"),
    ("networkAuthorization", "addresses are not checked: use a firewall, or client certificates"),
    ("extAuthz", "write a Policy: nobody else is asked"),
    ("extProc", "requests are not handed to others"),
    ("mcpGuardrails", "write a Policy: nobody else is asked"),
    ("apiKey", "make keys with `quorate keys new`"),
    ("basicAuth", "make keys with `quorate keys new`"),
    ("oidc", "pages of browsers are not logged in: callers show tokens of an Issuer"),
    ("csrf", "pages of browsers are let in by `spec.origins` of the Listener"),
    ("transformations", "requests are changed by `parameters` and `prompt` of a Model, and by `tools` of a Toolset"),
    ("requestHeaderModifier", "see `headers` of a Provider or ToolServer"),
    ("responseHeaderModifier", "headers of answers are not changed"),
    ("requestRedirect", "requests are not redirected"),
    ("urlRewrite", "write the address into the Provider or ToolServer"),
    ("requestMirror", "requests are not mirrored"),
    ("directResponse", "there are no answers of the gateway's own"),
    ("a2a", "agents are not served"),
    ("promptGuard", "there are no guardrails for texts of models"),
    ("guardrails", "there are no guardrails for texts of models"),
    ("health", "targets are judged by `breaker` of a Model, tool servers by `health`"),
    ("backendTunnel", "connections to providers and tool servers are direct"),
];

/// What is said of policies for models.
const AI: &[(&str, &str)] = &[
    ("promptGuard", "there are no guardrails for texts of models"),
    ("promptCaching", "clients mark what providers keep; nothing is added"),
    ("routes", "which API a request is of is told from its path"),
];

/// What resources have of policies.
#[derive(Clone, Debug, Default)]
pub(super) struct Policies {
    /// What a backend is shown, as resources write it.
    pub(super) key: Option<String>,
    /// What holds for TLS to a backend; none where it is not spoken.
    pub(super) tls: Option<Map<String, Value>>,
    pub(super) total: Option<String>,
    pub(super) retries: Option<u32>,
    /// Whether callers must show a token.
    pub(super) needs_user: bool,
    pub(super) defaults: Map<String, Value>,
    pub(super) overrides: Map<String, Value>,
    pub(super) prompt: Map<String, Value>,
    /// Names of models, and what they are at the provider.
    pub(super) aliases: Vec<(String, String)>,
}

// === impl Policies ===

impl Policies {
    /// Takes policies apart; what has no place is noted.
    pub(super) fn take(mut part: Part, import: &mut Import<'_>) -> Self {
        let mut policies = Self { key: key(&mut part, "backendAuth", import), ..Self::default() };
        for name in ["backendTLS", "backendTls"] {
            if let Some(tls) = part.part(name, &mut import.notes) {
                policies.tls = Some(self::tls(tls, import));
            }
        }
        if let Some(mut timeout) = part.part("timeout", &mut import.notes) {
            for name in ["backendRequestTimeout", "requestTimeout"] {
                let at = timeout.path(name);
                let Some(text) = timeout.text(name, &mut import.notes) else { continue };
                match spans::of_text(&text) {
                    Some(span) => policies.total = Some(spans::seconds(span, &at, TOTAL, &mut import.notes)),
                    None => import.notes.add(&at, &text.into(), "expected a span of time"),
                }
            }
            timeout.end(&[], &mut import.notes);
        }
        if let Some(mut retry) = part.part("retry", &mut import.notes) {
            let at = retry.path("attempts");
            let attempts = retry.count("attempts", &mut import.notes);
            policies.retries = attempts.map(|count| spans::count(count, &at, RETRIES, &mut import.notes));
            retry.end_with(&[], "what is tried again, and when, is decided by the kind of failure", &mut import.notes);
        }
        for name in ["jwtAuth", "mcpAuthentication"] {
            if let Some(auth) = part.part(name, &mut import.notes) {
                policies.needs_user |= issuer(auth, import);
            }
        }
        if let Some(ai) = part.part("ai", &mut import.notes) {
            policies.ai(ai, import);
        }
        part.end(ROWS, &mut import.notes);
        policies
    }

    /// What holds where both hold; the nearer ones come first.
    pub(super) fn within(&self, outer: &Self) -> Self {
        let mut all = self.clone();
        all.key = all.key.or_else(|| outer.key.clone());
        all.tls = all.tls.or_else(|| outer.tls.clone());
        all.total = all.total.or_else(|| outer.total.clone());
        all.retries = all.retries.or(outer.retries);
        all.needs_user |= outer.needs_user;
        for (own, outer) in [(&mut all.defaults, &outer.defaults), (&mut all.overrides, &outer.overrides)] {
            for (name, value) in outer {
                own.entry(name.clone()).or_insert_with(|| value.clone());
            }
        }
        if all.prompt.is_empty() {
            all.prompt = outer.prompt.clone();
        }
        all.aliases.extend(outer.aliases.iter().cloned());
        all
    }

    /// The limits of a provider or tool server.
    pub(super) fn limits(&self) -> Map<String, Value> {
        self.total.iter().map(|total| ("total".to_owned(), total.as_str().into())).collect()
    }

    /// Adds what a model has of policies to its spec.
    pub(super) fn of_model(&self, spec: &mut Value) {
        let mut parameters = Map::new();
        // A parameter is in one of both lists only.
        let defaults: Map<_, _> =
            self.defaults.clone().into_iter().filter(|(name, _)| !self.overrides.contains_key(name)).collect();
        for (name, values) in [("defaults", defaults), ("overrides", self.overrides.clone())] {
            if !values.is_empty() {
                parameters.insert(name.to_owned(), Value::Object(values));
            }
        }
        if !parameters.is_empty() {
            spec["parameters"] = Value::Object(parameters);
        }
        if !self.prompt.is_empty() {
            spec["prompt"] = Value::Object(self.prompt.clone());
        }
        if let Some(retries) = self.retries {
            spec["limits"] = json!({ "retries": retries });
        }
    }

    fn ai(&mut self, mut part: Part, import: &mut Import<'_>) {
        for (key, values) in [("defaults", &mut self.defaults), ("overrides", &mut self.overrides)] {
            let Some(mut given) = part.part(key, &mut import.notes) else { continue };
            for name in given.keys() {
                values.extend(given.take(&name).map(|value| (name, value)));
            }
        }
        if let Some(mut given) = part.part("modelAliases", &mut import.notes) {
            for alias in given.keys() {
                self.aliases.extend(given.text(&alias, &mut import.notes).map(|model| (alias, model)));
            }
        }
        if let Some(mut prompts) = part.part("prompts", &mut import.notes) {
            for (key, place) in [("prepend", "before"), ("append", "after")] {
                let texts: Vec<String> = prompts
                    .parts(key, &mut import.notes)
                    .into_iter()
                    .filter_map(|message| instructions(message, import))
                    .collect();
                if !texts.is_empty() {
                    self.prompt.insert(place.to_owned(), texts.join("\n\n").into());
                }
            }
            prompts.end(&[], &mut import.notes);
        }
        part.end(AI, &mut import.notes);
    }
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

/// Takes what a backend is shown, where that is a key: a text, or an object that says where it is.
pub(super) fn key(part: &mut Part, name: &str, import: &mut Import<'_>) -> Option<String> {
    let mut auth = part.part(name, &mut import.notes)?;
    let key = match auth.peek("key") {
        Some(Value::Object(_)) => auth.part("key", &mut import.notes).and_then(|key| located(key, import)),
        _ => {
            let at = auth.path("key");
            let text = auth.text("key", &mut import.notes);
            text.map(|text| import.secrets.write(&text, &at, "backend key", &mut import.notes))
        }
    };
    auth.end(
        &[
            ("passthrough", "what callers show is not handed on: the provider is shown a key of its own"),
            ("gcp", "nothing fetches tokens of Google: `keys` of the Provider, from a file that is renewed"),
            ("aws", "requests are not signed"),
            ("azure", "see `credential.clientCredentials` of the Provider"),
        ],
        &mut import.notes,
    );
    key
}

fn located(mut key: Part, import: &mut Import<'_>) -> Option<String> {
    let (path, file_at) = (key.path("value"), key.path("file"));
    let value = key.text("value", &mut import.notes);
    let value = value.map(|text| import.secrets.write(&text, &path, "backend key", &mut import.notes));
    let file = key.text("file", &mut import.notes).map(|file| {
        import.notes.say(&file_at, "a relative path begins at the folder of the resource file");
        format!("file:{file}")
    });
    let rows = [("location", "a key is shown as the provider's preset says: see `credential.header`")];
    key.end(&rows, &mut import.notes);
    value.or(file)
}

pub(super) fn tls(mut part: Part, import: &mut Import<'_>) -> Map<String, Value> {
    let mut tls = Map::new();
    for (key, name) in [("cert", "certificate"), ("key", "key"), ("root", "ca")] {
        let file = part.text(key, &mut import.notes);
        tls.extend(file.map(|file| (name.to_owned(), file.into())));
    }
    let checked = "certificates are always checked: `tls.ca` names an authority of your own";
    let rows = [("insecure", checked), ("insecureHost", checked), ("hostname", "it is the host of the address")];
    part.end(&rows, &mut import.notes);
    tls
}

/// Makes an issuer of tokens; returns whether callers must show one.
fn issuer(mut part: Part, import: &mut Import<'_>) -> bool {
    let mode = part.text("mode", &mut import.notes).unwrap_or_else(|| "strict".to_owned());
    let at = part.at().to_owned();
    let mut oidc = Map::new();
    if let Some(issuer) = part.text("issuer", &mut import.notes) {
        oidc.insert("issuer".to_owned(), issuer.into());
    }
    for key in ["audiences", "audience"] {
        let audiences = part.texts(key, &mut import.notes);
        if !audiences.is_empty() {
            oidc.insert("audiences".to_owned(), json!(audiences));
        }
    }
    let jwks_at = part.path("jwks");
    match part.take("jwks") {
        Some(Value::Object(members)) => {
            if let Some(mut jwks) = Part::of(Value::Object(members), &jwks_at, &mut import.notes) {
                for (key, name) in [("url", "jwksUrl"), ("file", "jwksFile")] {
                    let text = jwks.text(key, &mut import.notes);
                    oidc.extend(text.map(|text| (name.to_owned(), text.into())));
                }
                jwks.end(&[], &mut import.notes);
            }
        }
        Some(_) => import.notes.say(&jwks_at, "write the keys into a file, and its name into `jwksFile` of the Issuer"),
        None => {}
    }
    part.end(
        &[
            ("providers", "make an Issuer for each"),
            ("provider", "an issuer is taken as it is: clients find it by the metadata of the toolset"),
            ("resourceMetadata", "the metadata of a toolset is made of its resources"),
            ("scopes", "see `scopes` of a Toolset"),
            ("clientId", "clients register with the issuer"),
            ("clientSecret", "clients register with the issuer"),
            ("relaySigningKey", "clients register with the issuer"),
        ],
        &mut import.notes,
    );
    if oidc.contains_key("issuer") {
        import.documents.share("Issuer", "tokens", json!({ "oidc": oidc }), &at);
        return mode == "strict";
    }
    import.notes.say(&at, "it names no issuer: none is made");
    false
}
