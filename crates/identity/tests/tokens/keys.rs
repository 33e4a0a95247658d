//! Keys that are fetched from a server of the issuer, which may be slow, gone, wrong, or hostile.

use std::sync::Arc;
use std::time::Duration;

use crate::support::frozen::{Frozen, until};
use crate::support::server::{Answer, Request, Server};
use crate::support::signer::{Signer, jwks};
use crate::support::{Heard, claims, client, config, issuers, presented, verify};
use futures_util::future::join_all;
use quorate_identity::issuer::{Check, Config, Keys};
use quorate_identity::{Endpoint, Issuers, Observer};
use quorate_types::{Code, ResourceName};
use serde_json::json;

const SECOND: Duration = Duration::from_secs(1);

/// The tokens that wait for keys of one issuer at once, at most.
const WAITING_MAX: usize = 256;

fn serves(signers: &[&Signer]) -> impl FnMut(&Request) -> Answer + Send + 'static {
    let text = jwks(signers).to_string();
    move |_| Answer::Json(text.clone())
}

fn at(server: &Server) -> Keys {
    Keys::Url(Endpoint::new(&server.url("/keys")).expect("a URL on loopback"))
}

fn token(signer: &Signer, iss: &str) -> String {
    signer.sign(&claims(iss, json!({})))
}

fn heard(configs: Vec<Config>) -> (Issuers, Arc<Heard>) {
    let heard = Arc::new(Heard::default());
    let configs = configs.into_iter().map(|config| (config, client())).collect();
    (Issuers::new(configs, Arc::clone(&heard) as _).expect("valid"), heard)
}

#[tokio::test]
async fn keys_are_found_by_the_metadata_of_either_kind() {
    for (keys, path, place) in [
        (Keys::OpenId, "/realms/a", "GET /realms/a/.well-known/openid-configuration"),
        (Keys::OpenId, "/realms/a/", "GET /realms/a/.well-known/openid-configuration"),
        (Keys::OAuth, "/realms/a", "GET /.well-known/oauth-authorization-server/realms/a"),
    ] {
        let signer = Signer::new("k1");
        let server = Server::start(|_| Answer::Silence).await;
        let (iss, keys_url, set) = (server.url(path), server.url("/certs?x=1"), jwks(&[&signer]).to_string());
        let metadata = json!({"issuer": iss, "jwks_uri": keys_url, "grant_types_supported": []}).to_string();
        server.answer(move |request| match request.line.contains("well-known") {
            true => Answer::Json(metadata.clone()),
            false => Answer::Json(set.clone()),
        });
        let issuers = issuers([config("corp", &iss, keys)]);

        assert_eq!(verify(&issuers, &token(&signer, &iss)).await, Ok("ada".to_owned()));

        let lines: Vec<_> = server.requests().into_iter().map(|request| request.line).collect();
        assert_eq!(lines, [place, "GET /certs?x=1"]);
    }
}

#[tokio::test]
async fn metadata_of_oauth_is_asked_for_where_there_is_none_of_openid_connect() {
    let signer = Signer::new("k1");
    let server = Server::start(|_| Answer::Silence).await;
    let (iss, set) = (server.url("/a"), jwks(&[&signer]).to_string());
    let metadata = json!({"issuer": iss, "jwks_uri": server.url("/keys")}).to_string();
    let other = json!({"issuer": "https://other", "jwks_uri": server.url("/keys")}).to_string();
    for (openid, expected) in [
        (Answer::Status("404 Not Found"), Ok("ada".to_owned())),
        (Answer::Json(metadata.clone()), Ok("ada".to_owned())),
        (Answer::Status("500 Oops"), Err("keys_unavailable")),
        (Answer::Json(other), Err("keys_unavailable")),
    ] {
        let (metadata, set, openid) = (metadata.clone(), set.clone(), openid.clone());
        server.answer(move |request| match request.line.as_str() {
            "GET /a/.well-known/openid-configuration" => openid.clone(),
            "GET /.well-known/oauth-authorization-server/a" => Answer::Json(metadata.clone()),
            _ => Answer::Json(set.clone()),
        });
        let issuers = issuers([config("corp", &iss, Keys::Metadata)]);
        assert_eq!(verify(&issuers, &token(&signer, &iss)).await, expected);
    }
}

#[tokio::test]
async fn a_server_that_gives_no_keys_is_an_outage_and_is_told_of() {
    let large = format!("{{\"keys\":[],\"x\":\"{}\"}}", "x".repeat(1 << 20));
    for (name, answer, told) in [
        ("garbage", Answer::Json("<html>login</html>".to_owned()), "cannot be read"),
        ("not a set", Answer::Json("{\"keys\":7}".to_owned()), "cannot be read"),
        ("doubled", Answer::Json("{\"keys\":[],\"keys\":[]}".to_owned()), "cannot be read"),
        ("huge", Answer::Json(large), "cannot be read"),
        ("endless", Answer::Endless, "cannot be read"),
        ("no HTTP", Answer::Raw("SSH-2.0-OpenSSH_9.9\r\n"), "did not answer"),
        ("cut", Answer::Raw("HTTP/1.1 200 OK\r\ncontent-length: 100\r\n\r\n{\"keys\":"), "cannot be read"),
        ("error", Answer::Status("500 Oops"), "answered 500"),
        ("elsewhere", Answer::Status("302 Found\r\nlocation: /keys2"), "redirects are not followed"),
        ("gone for good", Answer::Status("308 Moved\r\nlocation: https://evil.example.com/"), "redirects are not"),
    ] {
        let (signer, iss) = (Signer::new("k1"), "https://idp.example.com");
        let server = Server::start(move |_| answer.clone()).await;
        let (issuers, heard) = heard(vec![config("corp", iss, at(&server))]);
        let refused = issuers.verify(presented(&token(&signer, iss))).await.expect_err(name);
        assert_eq!((refused.reason(), refused.code()), ("keys_unavailable", Code::Unavailable), "{name}");
        let lines = heard.lines();
        assert!(lines[0].starts_with("corp failed 1: ") && lines[0].contains(told), "{name}: {lines:?}");
        assert_eq!(issuers.observe()[0].failures, 1, "{name}");
    }
}

#[tokio::test]
async fn metadata_of_another_issuer_or_that_leads_astray_is_not_believed() {
    let signer = Signer::new("k1");
    let server = Server::start(|_| Answer::Silence).await;
    let iss = server.url("/a");
    for (metadata, told) in [
        (json!({"issuer": server.url("/a/"), "jwks_uri": server.url("/keys")}), "is not of the issuer"),
        (json!({"issuer": "https://evil.example.com", "jwks_uri": server.url("/keys")}), "is not of the issuer"),
        (json!({"issuer": iss, "jwks_uri": "http://keys.example.com/"}), "jwks_uri"),
        (json!({"issuer": iss}), "jwks_uri"),
    ] {
        let (metadata, set) = (metadata.to_string(), jwks(&[&signer]).to_string());
        server.answer(move |request| match request.line.contains("well-known") {
            true => Answer::Json(metadata.clone()),
            false => Answer::Json(set.clone()),
        });
        let (issuers, heard) = heard(vec![config("corp", &iss, Keys::OpenId)]);
        assert_eq!(verify(&issuers, &token(&signer, &iss)).await, Err("keys_unavailable"));
        assert!(heard.lines()[0].contains(told), "{:?}", heard.lines());
    }
}

#[tokio::test]
async fn a_server_that_is_gone_is_not_asked_by_every_token() {
    let signer = Signer::new("k1");
    let server = Server::start(|_| Answer::Status("503 Busy")).await;
    let iss = "https://idp.example.com";
    let issuers = issuers([config("corp", iss, at(&server))]);
    for _ in 0..500 {
        assert_eq!(verify(&issuers, &token(&signer, iss)).await, Err("keys_unavailable"));
    }
    // The first pause is a second; should the machine be slow, the next is two.
    assert!(server.count() <= 3, "{}", server.count());
}

#[tokio::test]
async fn callers_who_come_together_make_one_fetch() {
    let signer = Signer::new("k1");
    let server = Server::start(serves(&[&signer])).await;
    let iss = "https://idp.example.com";
    let issuers = issuers([config("corp", iss, at(&server))]);
    let tokens: Vec<_> = (0..100).map(|number| signer.sign(&claims(iss, json!({"jti": number})))).collect();
    let verified = join_all(tokens.iter().map(|token| verify(&issuers, token))).await;
    assert!(verified.iter().all(Result::is_ok), "{verified:?}");
    assert_eq!(server.count(), 1);
}

#[tokio::test]
async fn a_slow_server_delays_only_tokens_of_its_own_issuer() {
    let frozen = Frozen::new();
    let (good, slow) = (Signer::new("k1"), Signer::new("k1"));
    let (good_server, slow_server) = (Server::start(serves(&[&good])).await, Server::start(|_| Answer::Silence).await);
    let (good_iss, slow_iss) = ("https://good.example.com", "https://slow.example.com");
    let issuers =
        Arc::new(issuers([config("good", good_iss, at(&good_server)), config("slow", slow_iss, at(&slow_server))]));
    let waits = |number: usize| {
        let (issuers, token) = (Arc::clone(&issuers), slow.sign(&claims(slow_iss, json!({"jti": number}))));
        tokio::spawn(async move { verify(&issuers, &token).await })
    };
    let waiting: Vec<_> = (0..WAITING_MAX).map(waits).collect();
    until("the slow server is asked", || slow_server.count() == 1).await;

    assert_eq!(verify(&issuers, &token(&good, good_iss)).await, Ok("ada".to_owned()));
    // No more wait than there is room for.
    assert_eq!(verify(&issuers, &slow.sign(&claims(slow_iss, json!({})))).await, Err("keys_unavailable"));
    assert!(waiting.iter().all(|task| !task.is_finished()));
    frozen.pass(5 * SECOND).await;
    for ended in join_all(waiting).await {
        assert_eq!(ended.expect("no panic"), Err("keys_unavailable"));
    }
    assert_eq!(slow_server.count(), 1);
}

#[tokio::test]
async fn a_new_key_is_found_at_once_and_a_key_that_vanished_is_no_longer_accepted() {
    let (old, new) = (Signer::new("2023"), Signer::new("2024"));
    let server = Server::start(serves(&[&old])).await;
    let iss = "https://idp.example.com";
    let issuers = issuers([config("corp", iss, at(&server))]);
    let (old_token, new_token) = (token(&old, iss), token(&new, iss));
    assert_eq!(verify(&issuers, &old_token).await, Ok("ada".to_owned()));

    server.answer(serves(&[&new]));

    assert_eq!(verify(&issuers, &new_token).await, Ok("ada".to_owned()));
    assert_eq!(server.count(), 2);
    // Although it was known a moment ago, and the clock has not moved.
    assert_eq!(verify(&issuers, &old_token).await, Err("unknown_key"));
}

#[tokio::test]
async fn strangers_with_unknown_keys_cause_one_fetch_per_interval() {
    let frozen = Frozen::new();
    let (signer, iss) = (Signer::new("k1"), "https://idp.example.com");
    let server = Server::start(serves(&[&signer])).await;
    let issuers = issuers([config("corp", iss, at(&server))]);
    assert_eq!(verify(&issuers, &token(&signer, iss)).await, Ok("ada".to_owned()));
    let stranger = |number: usize| {
        let header = json!({"alg": "ES256", "kid": format!("stranger-{number}")}).to_string();
        signer.sign_text(&header, &claims(iss, json!({})).to_string())
    };
    for number in 0..1_000 {
        assert_eq!(verify(&issuers, &stranger(number)).await, Err("unknown_key"));
    }
    assert_eq!(server.count(), 2);

    frozen.pass(31 * SECOND).await;
    // What was looked for in vain is not looked for again, what was not is.
    assert_eq!(verify(&issuers, &stranger(0)).await, Err("unknown_key"));
    assert_eq!(server.count(), 2);
    assert_eq!(verify(&issuers, &stranger(1_000)).await, Err("unknown_key"));
    assert_eq!(server.count(), 3);
    frozen.pass(300 * SECOND).await;
    assert_eq!(verify(&issuers, &stranger(0)).await, Err("unknown_key"));
    assert_eq!(server.count(), 4);
}

#[tokio::test]
async fn keys_outlive_an_outage_for_a_time_and_are_then_forgotten() {
    let frozen = Frozen::new();
    let (signer, iss) = (Signer::new("k1"), "https://idp.example.com");
    let server = Server::start(serves(&[&signer])).await;
    let mut config = config("corp", iss, at(&server));
    let Check::Signed(check) = &mut config.check else { panic!("it is signed") };
    check.outage_tolerance = 3600 * SECOND;
    let (issuers, heard) = heard(vec![config]);
    let fresh = |number: usize| signer.sign(&claims(iss, json!({"jti": number})));
    assert_eq!(verify(&issuers, &fresh(0)).await, Ok("ada".to_owned()));

    server.answer(|_| Answer::Status("502 Bad Gateway"));
    // Step by step, so that every fetch can end before the next is due.
    for minute in 1..60 {
        frozen.pass(60 * SECOND).await;
        assert_eq!(verify(&issuers, &fresh(minute)).await, Ok("ada".to_owned()), "after {minute} min");
        until("no fetch is under way", || heard.lines().len() == server.count()).await;
    }
    let asked = server.count();
    assert!((10..=25).contains(&asked), "{asked} requests");
    frozen.pass(60 * SECOND).await;
    until("the keys are forgotten", || heard.lines().contains(&"corp forgotten".to_owned())).await;
    assert_eq!(verify(&issuers, &fresh(0)).await, Err("keys_unavailable"));
    assert_eq!(verify(&issuers, &fresh(60)).await, Err("keys_unavailable"));

    server.answer(serves(&[&signer]));
    let is_back = || heard.lines().iter().filter(|line| line.contains("fetched")).count() == 2;
    for _ in 0..300 {
        frozen.pass(SECOND).await;
    }
    until("the keys are back", is_back).await;
    assert_eq!(verify(&issuers, &fresh(61)).await, Ok("ada".to_owned()));
}

#[tokio::test]
async fn keys_are_fetched_anew_as_their_server_says_within_bounds() {
    for (head, seconds) in [("cache-control: max-age=1200\r\n", 600), ("cache-control: no-store\r\n", 150), ("", 450)] {
        let frozen = Frozen::new();
        let (signer, iss) = (Signer::new("k1"), "https://idp.example.com");
        let text = jwks(&[&signer]).to_string();
        let server = Server::start(move |_| Answer::With(head, text.clone())).await;
        let issuers = issuers([config("corp", iss, at(&server))]);
        assert_eq!(verify(&issuers, &token(&signer, iss)).await, Ok("ada".to_owned()));
        frozen.pass((seconds - 1) * SECOND).await;
        assert_eq!(server.count(), 1, "{head}");
        frozen.pass(SECOND).await;
        until("the keys are fetched anew", || server.count() == 2).await;
        tokio::time::resume();
    }
}

#[tokio::test]
async fn a_set_without_keys_means_that_none_is_trusted() {
    let frozen = Frozen::new();
    let (signer, iss) = (Signer::new("k1"), "https://idp.example.com");
    let server = Server::start(serves(&[&signer])).await;
    let (issuers, heard) = heard(vec![config("corp", iss, at(&server))]);
    let good = token(&signer, iss);
    assert_eq!(verify(&issuers, &good).await, Ok("ada".to_owned()));
    server.answer(|_| Answer::Json("{\"keys\":[{\"kty\":\"oct\",\"k\":\"AAAA\"}]}".to_owned()));
    frozen.pass(450 * SECOND).await;
    until("the set is fetched", || heard.lines().contains(&"corp fetched 0 skipped 1".to_owned())).await;
    assert_eq!(verify(&issuers, &good).await, Err("unknown_key"));
}

#[tokio::test]
async fn unchanged_issuers_keep_their_keys_and_dropped_ones_ask_nobody() {
    let frozen = Frozen::new();
    let (signer, iss) = (Signer::new("k1"), "https://idp.example.com");
    let server = Server::start(serves(&[&signer])).await;
    let (first, heard) = heard(vec![config("corp", iss, at(&server))]);
    assert_eq!(verify(&first, &token(&signer, iss)).await, Ok("ada".to_owned()));

    // Other rules, the same keys.
    let mut changed = config("corp", iss, at(&server));
    changed.rules.audiences.insert("https://another".to_owned());
    let other = first.renewed(vec![(changed, client())]).expect("valid");
    assert_eq!(verify(&other, &token(&signer, iss)).await, Err("audience"));
    let second = other.renewed(vec![(config("corp", iss, at(&server)), client())]).expect("valid");
    drop((first, other));
    assert_eq!(verify(&second, &token(&signer, iss)).await, Ok("ada".to_owned()));
    assert_eq!(server.count(), 1);
    frozen.pass(450 * SECOND).await;
    until("the keys are fetched by the set that stays", || server.count() == 2).await;

    drop(second);
    until("nobody holds the observer", || Arc::strong_count(&heard) == 1).await;
    frozen.pass(3600 * SECOND).await;
    assert_eq!(server.count(), 2);
}

/// An observer that breaks the task that tells it.
struct Breaking;

impl Observer for Breaking {
    fn keys_fetched(&self, _: &ResourceName, _: usize, _: usize) {
        panic!("this is meant to happen");
    }
}

#[tokio::test]
async fn keys_that_nobody_keeps_are_not_trusted_for_ever() {
    let (signer, iss) = (Signer::new("k1"), "https://idp.example.com");
    let server = Server::start(serves(&[&signer])).await;
    let configs = vec![(config("corp", iss, at(&server)), client())];
    let issuers = Issuers::new(configs, Arc::new(Breaking)).expect("valid");
    until("the keys are fetched, and gone", || issuers.observe()[0].keys.is_none() && server.count() == 1).await;
    let started = std::time::Instant::now();
    for _ in 0..10 {
        assert_eq!(verify(&issuers, &token(&signer, iss)).await, Err("keys_unavailable"));
    }
    assert!(started.elapsed() < 4 * SECOND, "each waited for nobody");
}

#[tokio::test]
async fn a_token_without_a_kid_means_the_only_key_that_fits() {
    let (one, two, iss) = (Signer::new("k1"), Signer::new("k2"), "https://idp.example.com");
    let server = Server::start(serves(&[&one])).await;
    let issuers = issuers([config("corp", iss, at(&server))]);
    let without_kid =
        |number: usize| one.sign_text("{\"alg\":\"ES256\"}", &claims(iss, json!({"jti": number})).to_string());
    assert_eq!(verify(&issuers, &without_kid(1)).await, Ok("ada".to_owned()));

    server.answer(serves(&[&one, &two]));
    assert_eq!(verify(&issuers, &token(&two, iss)).await, Ok("ada".to_owned()));
    assert_eq!(verify(&issuers, &without_kid(2)).await, Err("ambiguous_key"));
}

#[test]
fn issuers_that_cannot_be_told_apart_are_refused() {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    let _guard = runtime.enter();
    let given = || Keys::Given(quorate_identity::KeySet::default());
    let refused = |configs: Vec<Config>| {
        let configs = configs.into_iter().map(|config| (config, client())).collect();
        Issuers::new(configs, Arc::new(())).map(drop).map_err(|invalid| invalid.to_string())
    };
    for (configs, told) in [
        (vec![config("a", "https://a", given()), config("a", "https://b", given())], "issuer a stands twice"),
        (vec![config("a", "https://a", given()), config("b", "https://a", given())], "a and b have the same iss"),
        (vec![config("a", "not a url", Keys::OpenId)], "\"not a url\" is no URL"),
        (vec![config("a", "http://idp.example.com", Keys::OAuth)], "only https"),
        ((0..257).map(|n| config(&format!("i{n}"), &format!("https://{n}"), given())).collect(), "at most 256"),
    ] {
        let error = refused(configs).expect_err(told);
        assert!(error.contains(told), "{error}");
    }
    assert_eq!(refused(vec![config("a", "urn:any", given()), config("b", "https://b/", given())]), Ok(()));
}
