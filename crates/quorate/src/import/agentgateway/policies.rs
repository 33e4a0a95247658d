//! Policies of listeners, routes and backends, as far as resources have a place for what they say.
//!
//! In: one object of policies. Out: what providers, tool servers and models are told of it, and an `Issuer` for tokens. The nearer policy
//! comes first ([`Policies::within`]). What expressions decide is never guessed at. Policies hold for whatever is within them, so that each
//! is a doubt ([`Notes::doubt`]) until something uses it.

use serde_json::{Map, Value, json};

use super::super::Import;
use super::super::notes::Notes;
use super::super::source::Part;
use super::super::spans::{self, TOTAL};
use super::model_policies::ModelPolicies;

/// What is said of a key that nobody uses.
const UNSHOWN: &str = "no provider or tool server here is shown it";
/// What is said of settings of connections that nobody uses.
const UNREACHED: &str = "no provider or tool server here is reached with it";
/// What is said of a limit that nobody uses.
const UNLIMITED: &str = "no provider or tool server here is limited by it";

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

/// Something that is said, and where.
#[derive(Clone, Debug)]
pub(super) struct Said<T> {
    pub(super) value: T,
    pub(super) at: String,
}

/// What resources have of policies.
#[derive(Clone, Debug, Default)]
pub(super) struct Policies {
    /// What a backend is shown, as resources write it.
    pub(super) key: Option<Said<String>>,
    /// What holds for TLS to a backend; none where it is not spoken.
    pub(super) tls: Option<Said<Map<String, Value>>>,
    total: Option<Said<String>>,
    /// Whether callers must show a token.
    pub(super) needs_user: bool,
    pub(super) models: ModelPolicies,
}

// === impl Said ===

impl<T> Said<T> {
    /// Its value, for one that uses it.
    pub(super) fn used(&self, notes: &mut Notes) -> &T {
        notes.settle(&self.at);
        &self.value
    }
}

// === impl Policies ===

impl Policies {
    /// Takes policies apart; what has no place is noted.
    pub(super) fn take(mut part: Part, import: &mut Import<'_>) -> Self {
        let mut policies = Self { key: key(&mut part, "backendAuth", import), ..Self::default() };
        for name in ["backendTLS", "backendTls"] {
            policies.tls = tls(&mut part, name, import).or(policies.tls);
        }
        if let Some(mut timeout) = part.part("timeout", &mut import.notes) {
            for name in ["backendRequestTimeout", "requestTimeout"] {
                let at = timeout.path(name);
                let Some(text) = timeout.text(name, &mut import.notes) else { continue };
                let Some(span) = spans::of_text(&text) else {
                    import.notes.add(&at, &text.into(), "expected a span of time");
                    continue;
                };
                let value = spans::seconds(span, &at, TOTAL, &mut import.notes);
                import.notes.doubt(&at, &text.into(), UNLIMITED);
                policies.total = Some(Said { value, at });
            }
            timeout.end(&[], &mut import.notes);
        }
        if let Some(retry) = part.part("retry", &mut import.notes) {
            policies.models.take_retry(retry, import);
        }
        for name in ["jwtAuth", "mcpAuthentication"] {
            if let Some(auth) = part.part(name, &mut import.notes) {
                policies.needs_user |= issuer(auth, import);
            }
        }
        if let Some(ai) = part.part("ai", &mut import.notes) {
            policies.models.take_ai(ai, import);
        }
        part.end(ROWS, &mut import.notes);
        policies
    }

    /// What holds where both hold; the nearer ones come first.
    pub(super) fn within(&self, outer: &Self) -> Self {
        Self {
            key: self.key.clone().or_else(|| outer.key.clone()),
            tls: self.tls.clone().or_else(|| outer.tls.clone()),
            total: self.total.clone().or_else(|| outer.total.clone()),
            needs_user: self.needs_user || outer.needs_user,
            models: self.models.within(&outer.models),
        }
    }

    /// The limits of a provider or tool server.
    pub(super) fn limits(&self, notes: &mut Notes) -> Map<String, Value> {
        self.total.iter().map(|total| ("total".to_owned(), total.used(notes).as_str().into())).collect()
    }
}

/// Takes what a backend is shown, where that is a key: a text, or an object that says where it is.
pub(super) fn key(part: &mut Part, name: &str, import: &mut Import<'_>) -> Option<Said<String>> {
    let mut auth = part.part(name, &mut import.notes)?;
    let at = auth.path("key");
    let key = match auth.peek("key") {
        Some(Value::Object(_)) => auth.part("key", &mut import.notes).and_then(|key| located(key, import)),
        _ => {
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
    key.map(|value| said_key(value, at, import))
}

/// A key that nobody is shown yet.
pub(super) fn said_key(value: String, at: String, import: &mut Import<'_>) -> Said<String> {
    import.notes.doubt(&at, &Value::Null, UNSHOWN);
    Said { value, at }
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
    if value.is_some() && file.is_some() {
        import.notes.say(&file_at, "the key is said beside it: that is written");
    }
    value.or(file)
}

/// Takes how TLS is spoken to a backend.
pub(super) fn tls(part: &mut Part, name: &str, import: &mut Import<'_>) -> Option<Said<Map<String, Value>>> {
    let at = part.path(name);
    let mut part = part.part(name, &mut import.notes)?;
    let mut value = Map::new();
    for (key, name) in [("cert", "certificate"), ("key", "key"), ("root", "ca")] {
        let file = part.text(key, &mut import.notes);
        value.extend(file.map(|file| (name.to_owned(), file.into())));
    }
    let checked = "certificates are always checked: `tls.ca` names an authority of your own";
    let rows = [("insecure", checked), ("insecureHost", checked), ("hostname", "it is the host of the address")];
    part.end(&rows, &mut import.notes);
    import.notes.doubt(&at, &Value::Object(value.clone()), UNREACHED);
    Some(Said { value, at })
}

/// Makes an issuer of tokens; returns whether callers must show one.
fn issuer(mut part: Part, import: &mut Import<'_>) -> bool {
    let mode = part.text("mode", &mut import.notes).unwrap_or_else(|| "strict".to_owned());
    let at = part.at().to_owned();
    let mut oidc = Map::new();
    if let Some(issuer) = part.text("issuer", &mut import.notes) {
        oidc.insert("issuer".to_owned(), issuer.into());
    }
    let mut audiences = part.texts("audiences", &mut import.notes);
    audiences.extend(part.texts("audience", &mut import.notes));
    if !audiences.is_empty() {
        oidc.insert("audiences".to_owned(), json!(audiences));
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
