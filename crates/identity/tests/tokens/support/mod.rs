//! An issuer that the tests control: keys, tokens, and a server that may misbehave.

pub(crate) mod frozen;
pub(crate) mod server;
pub(crate) mod signer;

use std::sync::{Arc, Mutex};

use quorate_http::client::Client;
use quorate_identity::issuer::{Check, Config, Keys, Rules, Signed, TenantRule};
use quorate_identity::{FetchError, Issuers, Observer, Presented};
use quorate_tls::{ClientOptions, ClientTls};
use quorate_types::{ResourceName, TenantId, Timestamp};
use serde_json::{Map, Value, json};

/// The resource that requests are for.
pub(crate) const RESOURCE: &str = "https://mesh.example.com/mcp/files";

/// The time of all requests, in seconds.
pub(crate) const NOW_SECONDS: u64 = 1_700_000_000;

/// The time of all requests.
pub(crate) const NOW: Timestamp = Timestamp::from_millis(NOW_SECONDS * 1000);

/// A client that trusts nobody, which is enough for plain HTTP on loopback.
pub(crate) fn client() -> Client {
    let options = ClientOptions { native_roots: false, extra_roots: None };
    Client::new(&quorate_http::client::DEFAULTS, ClientTls::load(&options).expect("no roots to load"))
}

/// An issuer with every default.
pub(crate) fn config(name: &str, iss: &str, keys: Keys) -> Config {
    Config {
        name: ResourceName::new(name).expect("a name"),
        iss: iss.to_owned(),
        check: Check::Signed(Signed::new(keys)),
        rules: Rules::new(TenantRule::Fixed(TenantId::default())),
    }
}

/// Makes issuers that nobody listens to.
pub(crate) fn issuers(configs: impl IntoIterator<Item = Config>) -> Issuers {
    let configs = configs.into_iter().map(|config| (config, client())).collect();
    Issuers::new(configs, Arc::new(())).expect("they can stand beside each other")
}

/// Claims of a token that is valid now, with changes; a null takes a claim away.
pub(crate) fn claims(iss: &str, changes: Value) -> Value {
    let mut claims = json!({
        "iss": iss, "sub": "ada", "aud": RESOURCE, "exp": NOW_SECONDS + 600, "iat": NOW_SECONDS - 5,
    });
    let changes: Map<String, Value> = changes.as_object().expect("an object").clone();
    let members = claims.as_object_mut().expect("an object");
    for (name, value) in changes {
        if value.is_null() {
            members.remove(&name)
        } else {
            members.insert(name, value)
        };
    }
    claims
}

/// A request with a token.
pub(crate) fn presented(token: &str) -> Presented<'_> {
    Presented { token, resource: RESOURCE, certificate: None, now: NOW }
}

/// Checks a token; who calls, or the reason of the refusal.
pub(crate) async fn verify(issuers: &Issuers, token: &str) -> Result<String, &'static str> {
    match issuers.verify(presented(token)).await {
        Ok(verified) => Ok(verified.principal.user.as_ref().map_or("nobody", |user| &user.subject).to_owned()),
        Err(refused) => Err(refused.reason()),
    }
}

/// Writes down what is heard.
#[derive(Default)]
pub(crate) struct Heard(Mutex<Vec<String>>);

// === impl Heard ===

impl Heard {
    /// Returns what was heard so far.
    pub(crate) fn lines(&self) -> Vec<String> {
        self.0.lock().expect("nobody panicked").clone()
    }

    fn say(&self, line: String) {
        self.0.lock().expect("nobody panicked").push(line);
    }
}

impl Observer for Heard {
    fn keys_fetched(&self, issuer: &ResourceName, keys: usize, skipped: usize) {
        self.say(format!("{issuer} fetched {keys} skipped {skipped}"));
    }

    fn keys_failed(&self, issuer: &ResourceName, failures: u32, error: &FetchError) {
        self.say(format!("{issuer} failed {failures}: {error}"));
    }

    fn keys_forgotten(&self, issuer: &ResourceName) {
        self.say(format!("{issuer} forgotten"));
    }

    fn introspection_failed(&self, issuer: &ResourceName, error: &FetchError) {
        self.say(format!("{issuer} introspection: {error}"));
    }
}
