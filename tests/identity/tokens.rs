//! Tokens that are not good, each wrong in one way: all are refused alike, and nothing of them reaches a tool server.
//!
//! The good one is made by the same means, so that each refusal is for the flaw and for nothing else.

use std::time::{SystemTime, UNIX_EPOCH};

use anyhow::ensure;
use quorate_tests::raw::{
    backend::Backend,
    client,
    gateway::{Gateway, modern_request},
    mcp::Mcp,
};
use serde_json::{Value, json};

use crate::{
    caller::{Answer, Caller},
    idp::Idp,
    site::Site,
};

const PATH: &str = "/mcp/tools";

/// Longer than the default tolerance of clocks, of one minute.
const LONG_SECONDS: i64 = 600;

/// A provider, a tool server that says `clock:now`, and a gateway with two toolsets of it that need no scope.
struct Ground {
    idp: Idp,
    clock: Backend,
    gateway: Gateway,
    resource: String,
}

// === impl Ground ===

impl Ground {
    fn new() -> anyhow::Result<Self> {
        let idp = Idp::start()?;
        let clock = Mcp::new("clock").tools(&["now"]).start()?;
        let toolset = json!({ "servers": ["clock"], "naming": "bare" });
        let site = Site::new()
            .signed_by(&idp)
            .with("ToolServer", "clock", json!({ "urls": [clock.url()] }))
            .with("Toolset", "tools", toolset.clone())
            .with("Toolset", "other", toolset)
            .policy("permit(principal, action, resource);");
        let gateway = site.start()?;
        let resource = format!("http://{}{PATH}", gateway.address);
        Ok(Self { idp, clock, gateway, resource })
    }

    fn call(&self, caller: &Caller) -> anyhow::Result<Answer> {
        caller.call(self.gateway.address, PATH, "now", &json!({}))
    }

    /// A good payload, changed.
    fn payload(&self, change: &Value) -> Value {
        let now = seconds();
        let mut payload = json!({
            "iss": self.idp.issuer, "sub": "alice", "aud": self.resource, "client_id": "desk", "jti": "1",
            "iat": now, "exp": now + LONG_SECONDS, "scope": "mcp", "groups": ["engineers"],
        });
        for (key, value) in change.as_object().into_iter().flatten() {
            // Null stands for a claim that is not there.
            if value.is_null() {
                payload.as_object_mut().expect("a payload is an object").remove(key);
            } else {
                payload[key] = value.clone();
            }
        }
        payload
    }

    fn mint(&self, key: &str, header: &Value, change: &Value) -> anyhow::Result<Caller> {
        Ok(Caller::stranger().token(&self.idp.mint(key, header, &self.payload(change))?))
    }
}

/// The time, in seconds since 1970.
pub(crate) fn seconds() -> i64 {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).expect("it is after 1970");
    i64::try_from(now.as_secs()).expect("the time fits")
}

/// That a refusal is one, and says only what a client needs.
fn check_refused(what: &str, answer: &Answer, error: Option<&str>) -> anyhow::Result<()> {
    let challenge = answer.challenge.as_deref().unwrap_or_default();
    ensure!(answer.status == 401, "{what}: answered {}: {}", answer.status, answer.message);
    ensure!(challenge.starts_with("Bearer "), "{what}: challenged with {challenge:?}");
    let metadata = format!("/.well-known/oauth-protected-resource{PATH}\"");
    ensure!(challenge.contains("resource_metadata=\"http://") && challenge.contains(&metadata), "{what}: {challenge}");
    let named = challenge.contains("error=\"").then_some("invalid_token");
    ensure!(named == error, "{what}: challenged with {challenge:?}");
    ensure!(error.is_none() || challenge.contains("error=\"invalid_token\""), "{what}: {challenge}");
    for secret in ["kid", "signature", "audience", "expired", "alice"] {
        ensure!(!challenge.contains(secret), "{what}: the challenge tells of {secret}: {challenge}");
    }
    Ok(())
}

#[test]
fn each_flaw_of_a_token_is_refused_without_a_word_of_what_it_was() -> anyhow::Result<()> {
    let ground = Ground::new()?;
    let (now, none) = (seconds(), json!({}));
    let other = ground.resource.replace(PATH, "/mcp/other");
    let flaws = [
        ("expired", "ES256", none.clone(), json!({ "exp": now - LONG_SECONDS })),
        ("without an end", "ES256", none.clone(), json!({ "exp": null })),
        ("with an end that is a text", "ES256", none.clone(), json!({ "exp": "tomorrow" })),
        ("not valid yet", "ES256", none.clone(), json!({ "nbf": now + LONG_SECONDS })),
        ("issued in the future", "ES256", none.clone(), json!({ "iat": now + LONG_SECONDS })),
        ("for nobody", "ES256", none.clone(), json!({ "aud": null })),
        ("for another toolset", "ES256", none.clone(), json!({ "aud": other })),
        ("for another server", "ES256", none.clone(), json!({ "aud": "https://example.org/mcp/tools" })),
        ("for the whole gateway", "ES256", none.clone(), json!({ "aud": ground.resource.replace(PATH, "") })),
        ("from another issuer", "ES256", none.clone(), json!({ "iss": "https://example.org" })),
        (
            "from an issuer with a slash more",
            "ES256",
            none.clone(),
            json!({ "iss": format!("{}/", ground.idp.issuer) }),
        ),
        ("without an issuer", "ES256", none.clone(), json!({ "iss": null })),
        ("about nobody", "ES256", none.clone(), json!({ "sub": null })),
        ("unsigned", "none", none.clone(), none.clone()),
        ("signed by a stranger", "stranger", none.clone(), none.clone()),
        ("signed with a key that is not there", "ES256", json!({ "kid": "../../key" }), none.clone()),
        ("of another type", "ES256", json!({ "typ": "dpop+jwt" }), none.clone()),
        ("bound to a certificate", "ES256", none.clone(), json!({ "cnf": { "x5t#S256": "A" } })),
        ("bound to a key", "ES256", none.clone(), json!({ "cnf": { "jkt": "A" } })),
        ("of 64 KiB", "ES256", none.clone(), json!({ "padding": "x".repeat(64 * 1024) })),
    ];

    for algorithm in ["ES256", "RS256"] {
        let good = ground.mint(algorithm, &none, &none)?;
        let answer = ground.call(&good)?;
        ensure!(answer.text() == Some("clock:now"), "{algorithm}: {} {}", answer.status, answer.message);
    }
    for (what, key, header, change) in &flaws {
        let answer = ground.call(&ground.mint(key, header, change)?)?;
        if *what == "of 64 KiB" && answer.status == 431 {
            continue;
        }
        check_refused(what, &answer, Some("invalid_token"))?;
    }

    assert_eq!(ground.clock.count("tools/call"), 2, "only the good ones came through");
    Ok(())
}

#[test]
fn what_is_no_token_is_refused_too() -> anyhow::Result<()> {
    let ground = Ground::new()?;
    let good = ground.idp.token_of("alice", &ground.resource, "mcp")?;
    let (head, signature) = good.rsplit_once('.').expect("a token has parts");
    let broken = [
        ("cut", head.to_owned()),
        ("with another signature", format!("{head}.{}", signature.chars().rev().collect::<String>())),
        ("with a part more", format!("{good}.{signature}")),
        ("nothing", String::new()),
        ("no token", "let me in".to_owned()),
        ("dots", "....".to_owned()),
        ("padded", format!("{good}=")),
    ];

    assert_eq!(ground.call(&Caller::stranger().token(&good))?.text(), Some("clock:now"));
    check_refused("nothing shown", &ground.call(&Caller::stranger())?, None)?;
    for (what, token) in &broken {
        let answer = ground.call(&Caller::stranger().token(token))?;
        ensure!(answer.status == 401 || answer.status == 400, "{what}: {} {}", answer.status, answer.message);
    }
    let twice = ground.call(&Caller::stranger().token(&good).token(&good))?;
    ensure!([400, 401].contains(&twice.status), "two tokens: {} {}", twice.status, twice.message);
    let path = format!("{PATH}?access_token={good}");
    let in_url = Caller::stranger().call(ground.gateway.address, &path, "now", &json!({}))?;
    ensure!([400, 401].contains(&in_url.status), "a token in the URL: {} {}", in_url.status, in_url.message);
    let basic = Caller::stranger().header("authorization", "Basic YWxpY2U6c2VjcmV0");
    let basic = ground.call(&basic)?;
    ensure!([400, 401].contains(&basic.status), "basic credentials: {} {}", basic.status, basic.message);

    assert_eq!(ground.clock.count("tools/call"), 1, "only the good one came through");
    let log = ground.gateway.process.output().join("\n");
    ensure!(!log.contains(signature) && !log.contains("YWxpY2U6c2VjcmV0"), "a credential is in the log");
    Ok(())
}

#[test]
fn a_toolset_says_where_its_tokens_come_from() -> anyhow::Result<()> {
    let ground = Ground::new()?;

    let path = format!("/.well-known/oauth-protected-resource{PATH}");
    let metadata = Caller::stranger().get(ground.gateway.address, &path)?;

    ensure!(metadata.status == 200, "{} {}", metadata.status, metadata.message);
    assert_eq!(metadata.message["resource"], ground.resource.as_str());
    assert_eq!(metadata.message["authorization_servers"], json!([ground.idp.issuer]));
    assert_eq!(metadata.message["bearer_methods_supported"], json!(["header"]));
    let unknown = Caller::stranger().get(ground.gateway.address, &path.replace("tools", "nothing"))?;
    assert_eq!(unknown.status, 404, "no toolset, no metadata");
    Ok(())
}

#[test]
fn the_port_of_a_resource_is_the_listener_s_own_whatever_host_a_caller_names() -> anyhow::Result<()> {
    let ground = Ground::new()?;
    let (to, own) = (ground.gateway.address, ground.gateway.address.to_string());
    let other = "127.0.0.1:1";
    let elsewhere = ground.idp.token_of("alice", &format!("http://{other}{PATH}"), "mcp")?;
    let here = ground.idp.token_of("alice", &ground.resource, "mcp")?;
    let (headers, body) = modern_request(&json!(1), "tools/call", json!({ "name": "now", "arguments": {} }));
    let call = |host: &str, token: &str| {
        let bearer = format!("Bearer {token}");
        let mut all = vec![("host", host), ("authorization", bearer.as_str())];
        all.extend(headers.iter().map(|(name, value)| (*name, value.as_str())));
        client::send(to, "POST", PATH, &all, body.to_string().as_bytes())
    };

    let refused = call(other, &elsewhere)?;
    assert_eq!(refused.status, 401, "a token for what is at another port of the host");
    let challenge = refused.header("www-authenticate").unwrap_or_default();
    ensure!(challenge.contains(&own) && !challenge.contains(other), "{challenge}");
    for host in [own.as_str(), other, "127.0.0.1"] {
        assert_eq!(call(host, &here)?.status, 200, "{host}");
    }
    let path = format!("/.well-known/oauth-protected-resource{PATH}");
    let metadata = client::send(to, "GET", &path, &[("host", other)], b"")?.message()?;
    assert_eq!(metadata["resource"], ground.resource.as_str());
    Ok(())
}

#[test]
fn pages_may_ask_where_a_toolset_s_tokens_come_from() -> anyhow::Result<()> {
    let ground = Ground::new()?;
    let ask = |path: &str, origin: &str| {
        let headers = [("origin", origin), ("access-control-request-method", "GET")];
        client::send(ground.gateway.address, "OPTIONS", path, &headers, b"")
    };
    let page = "http://localhost:6274";

    for known in ["oauth-protected-resource", "oauth-authorization-server"] {
        let path = format!("/.well-known/{known}{PATH}");
        let allowed = ask(&path, page)?;
        assert_eq!(allowed.status, 204, "{path}");
        assert_eq!(allowed.header("access-control-allow-origin"), Some(page), "{path}");
        assert_eq!(allowed.header("access-control-allow-methods"), Some("GET, OPTIONS"), "{path}");
        assert_eq!(ask(&path, "https://example.org")?.status, 403, "a page that may not call");
    }
    assert_eq!(ask("/.well-known/nothing", page)?.status, 404);
    Ok(())
}

#[test]
fn clients_that_ask_the_server_itself_for_its_provider_are_sent_there() -> anyhow::Result<()> {
    let ground = Ground::new()?;
    let path = "/.well-known/oauth-authorization-server";

    for asked in [path.to_owned(), format!("{path}{PATH}")] {
        let answer = Caller::stranger().get(ground.gateway.address, &asked)?;
        // Of a toolset `default` there is nothing here.
        let expected = if asked == path { 404 } else { 307 };
        assert_eq!(answer.status, expected, "{asked}");
        if expected == 307 {
            let location = answer.headers.get("location").and_then(|value| value.to_str().ok());
            assert_eq!(location, Some(format!("{}{path}", ground.idp.issuer).as_str()));
        }
    }
    Ok(())
}

#[test]
fn the_endpoint_of_older_clients_is_a_resource_of_its_own() -> anyhow::Result<()> {
    let ground = Ground::new()?;
    let (to, path) = (ground.gateway.address, "/sse/tools");
    let resource = ground.resource.replace(PATH, path);
    let metadata = Caller::stranger().get(to, &format!("/.well-known/oauth-protected-resource{path}"))?;
    let elsewhere = ground.idp.token_of("alice", &ground.resource, "mcp")?;
    let own = ground.idp.token_of("alice", &resource, "mcp")?;
    let open = |token: &str| {
        let bearer = format!("Bearer {token}");
        client::send(to, "GET", path, &[("accept", "text/event-stream"), ("authorization", &bearer)], b"")
    };

    assert_eq!(metadata.message["resource"], resource.as_str());
    assert_eq!(open(&elsewhere)?.status, 401, "a token of the other endpoint");
    let mut opened = open(&own)?;
    assert_eq!(opened.status, 200);
    let first = opened.next_event()?.expect("the stream tells where to post");
    assert_eq!(first.name.as_deref(), Some("endpoint"));
    Ok(())
}

#[test]
fn headers_that_name_a_caller_are_no_identity_and_go_nowhere() -> anyhow::Result<()> {
    let ground = Ground::new()?;
    let names =
        ["x-forwarded-user", "x-user", "x-forwarded-client-cert", "x-tenant", "x-quorate-principal", "forwarded"];
    let good = ground.idp.token_of("alice", &ground.resource, "mcp")?;

    for name in names {
        let answer = ground.call(&Caller::stranger().header(name, "alice"))?;
        check_refused(name, &answer, None)?;
        let both = ground.call(&Caller::stranger().header(name, "bob").token(&good))?;
        ensure!(both.text() == Some("clock:now"), "{name}: {} {}", both.status, both.message);
    }

    let seen = ground.clock.seen();
    let smuggled = seen.iter().flat_map(|request| &request.headers).find(|(name, _)| names.contains(&name.as_str()));
    ensure!(smuggled.is_none(), "{smuggled:?} went on");
    Ok(())
}
