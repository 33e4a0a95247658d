//! Bearer tokens: a text that our issuer did not sign is refused whatever it is, and one that it did sign is accepted only
//! when it says what a reader of its own finds in it. Input: a header on the first line, claims after it; both are signed
//! as they are by a key that is made anew for each process.
#![no_main]

use std::sync::{Arc, OnceLock};

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use libfuzzer_sys::fuzz_target;
use quorate_fuzz::two_parts;
use quorate_http::client::{self, Client};
use quorate_identity::issuer::{Check, Config, Keys, Rules, Signed, TenantRule};
use quorate_identity::{ClaimPath, DELEGATION_MAX, Issuers, KeySet, Presented, Verified};
use quorate_tls::{ClientOptions, ClientTls};
use quorate_types::{ResourceName, TenantId, Timestamp};
use ring::rand::SystemRandom;
use ring::signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, KeyPair};
use serde_json::Value;
use tokio::runtime::{Builder, Runtime};

const ISS: &str = "https://idp.example.com";
const RESOURCE: &str = "https://mesh.example.com/mcp";
const NOW_SECONDS: u64 = 1_700_000_000;
const SKEW_SECONDS: f64 = 60.0;

struct Bench {
    runtime: Runtime,
    issuers: Issuers,
    pair: EcdsaKeyPair,
    random: SystemRandom,
}

fuzz_target!(|input: &str| {
    static BENCH: OnceLock<Bench> = OnceLock::new();
    let bench = BENCH.get_or_init(Bench::new);
    assert!(bench.verify(input).is_none(), "a text that nobody signed is accepted");
    let _ = KeySet::parse(input.as_bytes());

    let (header, claims) = two_parts(input);
    let token = bench.sign(header, claims);
    let verified = bench.verify(&token);
    // What is refused once is refused again, and what is accepted is the same.
    assert_eq!(bench.verify(&token), verified);
    if let Some(verified) = verified {
        holds(header, claims, &verified);
        let changed = format!("{}A", &token[..token.len() - 1]);
        assert!(changed == token || bench.verify(&changed).is_none(), "a changed signature is accepted");
    }
});

/// Holds what was made of a token against what it says.
fn holds(header: &str, claims: &str, verified: &Verified) {
    let header: Value = serde_json::from_str(header).expect("an accepted header is JSON");
    let claims: Value = serde_json::from_str(claims).expect("accepted claims are JSON");
    assert_eq!(header["alg"], "ES256");
    assert!(header.get("crit").is_none());
    assert_eq!(claims["iss"], ISS);
    assert!(claims["exp"].as_f64().expect("it ends") > NOW_SECONDS as f64 - SKEW_SECONDS);
    assert!(claims["nbf"].as_f64().is_none_or(|begins| begins <= NOW_SECONDS as f64 + SKEW_SECONDS));
    let audience = &claims["aud"];
    assert!(audience == RESOURCE || audience.as_array().is_some_and(|list| list.iter().any(|one| one == RESOURCE)));
    assert!(claims.get("cnf").is_none(), "no certificate was presented");

    let principal = &verified.principal;
    let user = principal.user.as_ref().map(|user| user.subject.as_str());
    let agent = principal.agent.as_deref().and_then(|agent| agent.strip_prefix("corp/"));
    assert_eq!(user.or(agent), claims["sub"].as_str());
    assert!(principal.delegation.len() <= DELEGATION_MAX);
    let names = principal.groups.iter().chain(&principal.scopes).map(String::as_str).chain(user).chain(agent);
    let actors = principal.delegation.iter().flat_map(|actor| [actor.issuer.as_str(), actor.subject.as_str()]);
    assert!(names.chain(actors).all(|name| !name.is_empty() && !name.contains(char::is_control)));
}

// === impl Bench ===

impl Bench {
    fn new() -> Self {
        let (random, scheme) = (SystemRandom::new(), &ECDSA_P256_SHA256_FIXED_SIGNING);
        let document = EcdsaKeyPair::generate_pkcs8(scheme, &random).expect("a key can be made");
        let pair = EcdsaKeyPair::from_pkcs8(scheme, document.as_ref(), &random).expect("it is a key");
        let runtime = Builder::new_current_thread().enable_all().build().expect("a runtime");
        let guard = runtime.enter();
        let issuers = issuers(pair.public_key().as_ref());
        drop(guard);
        Self { runtime, issuers, pair, random }
    }

    fn sign(&self, header: &str, claims: &str) -> String {
        let signed = format!("{}.{}", URL_SAFE_NO_PAD.encode(header), URL_SAFE_NO_PAD.encode(claims));
        let signature = self.pair.sign(&self.random, signed.as_bytes()).expect("it can sign");
        format!("{signed}.{}", URL_SAFE_NO_PAD.encode(signature))
    }

    fn verify(&self, token: &str) -> Option<Arc<Verified>> {
        let now = Timestamp::from_millis(NOW_SECONDS * 1000);
        let presented = Presented { token, resource: RESOURCE, certificate: None, now };
        match self.runtime.block_on(self.issuers.verify(presented)) {
            Ok(verified) => Some(verified),
            Err(refused) => {
                assert!(!refused.reason().is_empty() && refused.to_string().len() < 2048);
                None
            }
        }
    }
}

fn issuers(point: &[u8]) -> Issuers {
    let (x, y) = point[1..].split_at(32);
    let (x, y) = (URL_SAFE_NO_PAD.encode(x), URL_SAFE_NO_PAD.encode(y));
    let keys = format!(r#"{{"keys":[{{"kty":"EC","crv":"P-256","kid":"k1","x":"{x}","y":"{y}"}}]}}"#);
    let path = |text| ClaimPath::new(text).expect("a path");
    let mut rules = Rules::new(TenantRule::Fixed(TenantId::default()));
    (rules.agent, rules.groups) = (Some(path("azp")), Some(path("realm_access.roles")));
    let config = Config {
        name: ResourceName::new("corp").expect("a name"),
        iss: ISS.to_owned(),
        check: Check::Signed(Signed::new(Keys::Given(KeySet::parse(keys.as_bytes()).expect("a key set")))),
        rules,
    };
    let tls = ClientTls::load(&ClientOptions { native_roots: false, extra_roots: None }).expect("no roots to load");
    Issuers::new(vec![(config, Client::new(&client::DEFAULTS, tls))], Arc::new(())).expect("one issuer is valid")
}
