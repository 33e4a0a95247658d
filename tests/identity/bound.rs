//! Tokens that are bound to the client certificate of their caller (RFC 8705 §3): nobody else can use one that it found.
//!
//! The provider signs them, the caller shows them over connections with one certificate, another, or none.

use anyhow::ensure;
use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use quorate_tests::raw::{backend::Backend, gateway::Gateway, mcp::Mcp};
use serde_json::{Value, json};

use crate::{
    caller::{Answer, Caller},
    certificates::{Authority, Identity},
    idp::Idp,
    site::Site,
    tokens::seconds,
};

const PATH: &str = "/mcp/tools";
const RUNNER: &str = "spiffe://mesh.test/runner";

/// A provider, a tool server that says `clock:now`, and a gateway that takes certificates and tokens.
struct Ground {
    idp: Idp,
    authority: Authority,
    clock: Backend,
    gateway: Gateway,
}

// === impl Ground ===

impl Ground {
    /// With `bound`, the gateway takes only tokens that are bound.
    fn new(bound: bool) -> anyhow::Result<Self> {
        let idp = Idp::start()?;
        let clock = Mcp::new("clock").tools(&["now"]).start()?;
        let folder = tempfile::tempdir()?;
        let file = |name: &str| folder.path().join(name);
        let authority = Authority::new()?;
        authority.write_bundle(&file("mesh.pem"))?;
        authority.write_server(&file("cert.pem"), &file("key.pem"))?;
        let tls = json!({ "certificate": "cert.pem", "key": "key.pem", "clients": {} });
        let mesh = json!({ "trustDomain": "mesh.test", "bundle": ["mesh.pem"] });
        let site = Site::default()
            .with("Listener", "data", json!({ "address": "127.0.0.1:0", "tls": tls }))
            .with("Issuer", "mesh", json!({ "spiffe": mesh }))
            .with("Issuer", "people", json!({ "oidc": { "issuer": idp.issuer, "bound": bound } }))
            .with("ToolServer", "clock", json!({ "urls": [clock.url()] }))
            .with("Toolset", "tools", json!({ "servers": ["clock"], "naming": "bare" }))
            .policy(r#"permit(principal in User::"people/alice", action, resource);"#);
        std::fs::write(file("resources.yaml"), site.text())?;
        let gateway = Gateway::start_in(folder, &[])?;
        Ok(Self { idp, authority, clock, gateway })
    }

    /// A token of alice with this `cnf`; null for none.
    fn token(&self, confirmation: &Value) -> anyhow::Result<String> {
        let now = seconds();
        let mut payload = json!({
            "iss": self.idp.issuer, "sub": "alice", "aud": format!("https://{}{PATH}", self.gateway.address),
            "client_id": "desk", "jti": "1", "iat": now, "exp": now + 600,
        });
        if !confirmation.is_null() {
            payload["cnf"] = confirmation.clone();
        }
        self.idp.mint("ES256", &json!({}), &payload)
    }

    fn call(&self, token: &str, own: Option<Identity>) -> anyhow::Result<Answer> {
        let caller = Caller::stranger().token(token).tls(self.authority.certificate(), own)?;
        caller.call(self.gateway.address, PATH, "now", &json!({}))
    }

    fn check(&self, what: &str, token: &str, own: Option<Identity>, is_served: bool) -> anyhow::Result<()> {
        let answer = self.call(token, own)?;
        let (status, text) = if is_served { (200, Some("clock:now")) } else { (401, None) };
        ensure!(answer.status == status && answer.text() == text, "{what}: {} {}", answer.status, answer.message);
        Ok(())
    }
}

/// The same certificate once more.
fn again(identity: &Identity) -> Option<Identity> {
    Some(Identity { certificate: identity.certificate.clone(), key: identity.key.clone_key() })
}

fn bound_to(identity: &Identity) -> Value {
    let thumbprint = ring::digest::digest(&ring::digest::SHA256, &identity.certificate);
    json!({ "x5t#S256": URL_SAFE_NO_PAD.encode(thumbprint) })
}

#[test]
fn a_replayed_token_is_refused_without_the_certificate_that_it_is_bound_to() -> anyhow::Result<()> {
    let ground = Ground::new(false)?;
    let runner = ground.authority.workload(RUNNER)?;
    let token = ground.token(&bound_to(&runner))?;

    // Before anybody knows the token, and again when it is known.
    ground.check("nobody's certificate", &token, None, false)?;
    ground.check("its own certificate", &token, again(&runner), true)?;
    ground.check("another one of the same workload", &token, Some(ground.authority.workload(RUNNER)?), false)?;
    ground.check("another workload", &token, Some(ground.authority.workload("spiffe://mesh.test/eve")?), false)?;
    ground.check("nobody's certificate, once it is known", &token, None, false)?;
    ground.check("its own certificate again", &token, again(&runner), true)?;

    assert_eq!(ground.clock.count("tools/call"), 2, "only with its own certificate");
    Ok(())
}

#[test]
fn a_token_that_is_bound_in_another_way_is_refused_and_a_bearer_token_is_not() -> anyhow::Result<()> {
    let ground = Ground::new(false)?;
    let runner = ground.authority.workload(RUNNER)?;
    let thumbprint = bound_to(&runner)["x5t#S256"].clone();
    let refused = [
        ("to a DPoP key", json!({ "jkt": "0ZcOCORZNYy-DWpqq30jZyJGHTN0d2HglBV3uiguA4I" })),
        ("to both", json!({ "jkt": "0ZcOCORZNYy-DWpqq30jZyJGHTN0d2HglBV3uiguA4I", "x5t#S256": thumbprint })),
        ("to nothing", json!({})),
        ("to what is no thumbprint", json!({ "x5t#S256": "AA" })),
        ("by a list", json!([bound_to(&runner)])),
        ("by a text", thumbprint.clone()),
    ];
    for (what, confirmation) in refused {
        ground.check(what, &ground.token(&confirmation)?, again(&runner), false)?;
    }
    let bearer = ground.token(&json!(null))?;
    ground.check("a bearer token", &bearer, again(&runner), true)?;
    ground.check("a bearer token without a certificate", &bearer, None, true)
}

#[test]
fn an_operator_can_demand_bound_tokens_and_clients_are_told_that_they_are_taken() -> anyhow::Result<()> {
    let ground = Ground::new(true)?;
    let runner = ground.authority.workload(RUNNER)?;
    let (bound, bearer) = (ground.token(&bound_to(&runner))?, ground.token(&json!(null))?);

    ground.check("bound", &bound, again(&runner), true)?;
    ground.check("bound, without its certificate", &bound, None, false)?;
    ground.check("a bearer token", &bearer, again(&runner), false)?;
    ground.check("a bearer token without a certificate", &bearer, None, false)?;

    let at = format!("/.well-known/oauth-protected-resource{PATH}");
    let metadata = Caller::stranger().tls(ground.authority.certificate(), None)?.get(ground.gateway.address, &at)?;
    assert_eq!(metadata.message["tls_client_certificate_bound_access_tokens"], json!(true), "{}", metadata.message);
    Ok(())
}
