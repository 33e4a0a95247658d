//! Tokens that their issuer is asked about, by an endpoint that may be slow, gone, wrong, or hostile.

use std::sync::Arc;
use std::time::Duration;

use crate::support::frozen::{Frozen, until};
use crate::support::server::{Answer, Server};
use crate::support::signer::{Signer, jwks};
use crate::support::{Heard, NOW, NOW_SECONDS, RESOURCE, claims, client, config, issuers, presented, verify};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use futures_util::future::join_all;
use quorate_identity::issuer::{Check, ClientAuthentication, Config, Introspected, Keys};
use quorate_identity::{Endpoint, Issuers, KeySet, Presented};
use quorate_types::{Code, Secret};
use serde_json::{Value, json};

const ISS: &str = "https://opaque.example.com";
const SECRET: &str = "s3cr&t:with/odd+characters";
/// The questions about strangers' tokens that are open at once, and those of them that the endpoint is asked.
const OPEN_MAX: usize = 256;
const ASKED_MAX: usize = 32;

fn asked(name: &str, iss: &str, server: &Server, change: impl FnOnce(&mut Introspected)) -> Config {
    let endpoint = Endpoint::new(&server.url("/introspect")).expect("a URL on loopback");
    let mut check = Introspected::new(endpoint, "mesh", Secret::new(SECRET));
    change(&mut check);
    Config { check: Check::Introspected(check), ..config(name, iss, Keys::Given(KeySet::default())) }
}

fn active(changes: Value) -> Answer {
    Answer::Json(
        claims(ISS, {
            let mut changes = changes;
            changes["active"] = json!(true);
            changes
        })
        .to_string(),
    )
}

async fn answers(answer: Answer) -> (Server, Issuers, Arc<Heard>) {
    let server = Server::start(move |_| answer.clone()).await;
    let heard = Arc::new(Heard::default());
    let config = asked("opaque", ISS, &server, |_| {});
    let issuers = Issuers::new(vec![(config, client())], Arc::clone(&heard) as _).expect("valid");
    (server, issuers, heard)
}

#[tokio::test]
async fn an_opaque_token_is_asked_about_once_with_our_own_credentials() {
    let (server, issuers, _) = answers(active(json!({"scope": "tools:read", "username": "Ada"}))).await;
    for _ in 0..3 {
        let verified = issuers.verify(presented("opaque token+1")).await.expect("it is active");
        assert!(verified.principal.scopes.contains("tools:read"));
        assert_eq!(verified.principal.user.as_ref().map(|user| user.subject.as_str()), Some("ada"));
    }
    let requests = server.requests();
    assert_eq!(requests.len(), 1);
    assert_eq!(requests[0].line, "POST /introspect");
    assert_eq!(requests[0].body, "token=opaque+token%2B1&token_type_hint=access_token");
    let basic = STANDARD.encode("mesh:s3cr%26t%3Awith%2Fodd%2Bcharacters");
    assert!(requests[0].head.contains(&format!("authorization: Basic {basic}")), "{}", requests[0].head);
}

#[tokio::test]
async fn credentials_may_be_in_the_body_instead() {
    let server = Server::start(|_| active(json!({}))).await;
    let config = asked("opaque", ISS, &server, |check| check.authentication = ClientAuthentication::Post);
    assert!(!format!("{config:?}").contains("s3cr"));
    let issuers = issuers([config]);
    assert_eq!(verify(&issuers, "token").await, Ok("ada".to_owned()));
    let request = &server.requests()[0];
    assert!(!request.head.contains("authorization"), "{}", request.head);
    assert!(request.body.ends_with("client_id=mesh&client_secret=s3cr%26t%3Awith%2Fodd%2Bcharacters"));
}

#[tokio::test]
async fn answers_are_believed_for_a_time_and_refusals_for_a_shorter_one() {
    for (answer, expected, last) in [
        (active(json!({})), None, 59),
        (Answer::Json("{\"active\":false}".to_owned()), Some("inactive"), 4),
        (active(json!({"sub": 7})), Some("claim"), 4),
    ] {
        let (server, issuers, _) = answers(answer).await;
        let at = async |seconds| {
            let now = NOW + Duration::from_secs(seconds);
            issuers.verify(Presented { now, ..presented("token") }).await.map_err(|refused| refused.reason()).err()
        };
        for (seconds, count) in [(0, 1), (last, 1), (last + 1, 2)] {
            assert_eq!(at(seconds).await, expected);
            assert_eq!(server.count(), count, "{expected:?} after {seconds} s");
        }
    }
}

#[tokio::test]
async fn what_the_issuer_says_is_held_against_the_rules() {
    for (changes, expected) in [
        (json!({}), None),
        (json!({"iss": null}), None),
        (json!({"exp": null}), None),
        (json!({"token_type": "Bearer", "token_use": "access_token"}), None),
        (json!({"exp": NOW_SECONDS - 61}), Some("expired")),
        (json!({"nbf": NOW_SECONDS + 61}), Some("not_yet_valid")),
        (json!({"iss": "https://other.example.com"}), Some("claim")),
        (json!({"iss": [ISS]}), Some("claim")),
        (json!({"aud": "https://other"}), Some("audience")),
        (json!({"aud": null}), Some("audience")),
        (json!({"sub": null}), Some("claim")),
        (json!({"token_type": "DPoP"}), Some("unsupported_binding")),
        (json!({"cnf": {"jkt": "x"}}), Some("unsupported_binding")),
        (json!({"cnf": {"x5t#S256": "AQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQE"}}), Some("binding")),
        (json!({"token_type": "refresh_token"}), Some("kind")),
        (json!({"token_use": "refresh_token"}), Some("kind")),
    ] {
        let (_server, issuers, heard) = answers(active(changes.clone())).await;
        let refused = verify(&issuers, "token").await.err();
        assert_eq!(refused, expected, "{changes}");
        assert_eq!(heard.lines(), Vec::<String>::new());
    }
}

#[tokio::test]
async fn a_token_ends_when_its_issuer_says_although_its_answer_is_kept() {
    let (server, issuers, _) = answers(active(json!({"exp": NOW_SECONDS + 10}))).await;
    assert_eq!(verify(&issuers, "token").await, Ok("ada".to_owned()));
    server.answer(|_| Answer::Json("{\"active\":false}".to_owned()));
    // The end and the skew of a minute are over before the answer is too old.
    let now = NOW + Duration::from_secs(70);
    let refused = issuers.verify(Presented { now, ..presented("token") }).await.expect_err("it has ended");
    assert_eq!(refused.reason(), "inactive");
}

#[tokio::test]
async fn an_endpoint_that_does_not_answer_is_an_outage_and_its_words_are_not_believed() {
    for (name, answer, told) in [
        ("error", Answer::Status("500 Oops"), "answered 500"),
        ("our credentials", Answer::Status("401 No"), "answered 401"),
        ("elsewhere", Answer::Status("307 There\r\nlocation: https://evil.example.com/"), "redirects are not followed"),
        ("garbage", Answer::Json("<html>".to_owned()), "\"active\""),
        ("nothing said", Answer::Json("{}".to_owned()), "\"active\""),
        ("a text", Answer::Json("{\"active\":\"true\"}".to_owned()), "\"active\""),
        ("twice", Answer::Json("{\"active\":false,\"active\":true}".to_owned()), "\"active\""),
        ("endless", Answer::Endless, "cannot be read"),
        ("no HTTP", Answer::Raw("220 smtp\r\n"), "did not answer"),
    ] {
        let (_server, issuers, heard) = answers(answer).await;
        let refused = issuers.verify(presented("secret-token")).await.expect_err(name);
        assert_eq!((refused.reason(), refused.code()), ("keys_unavailable", Code::Unavailable), "{name}");
        let lines = heard.lines();
        assert!(lines.len() == 1 && lines[0].contains(told), "{name}: {lines:?}");
        assert!(!lines[0].contains("secret-token") && !lines[0].contains("s3cr"), "{name}: {lines:?}");
    }
}

#[tokio::test]
async fn requests_with_one_token_ask_once_also_when_the_first_goes_away() {
    let frozen = Frozen::new();
    let (server, issuers, _) = answers(Answer::Silence).await;
    let issuers = Arc::new(issuers);
    let caller = || {
        let issuers = Arc::clone(&issuers);
        tokio::spawn(async move { verify(&issuers, "token").await })
    };
    let first = caller();
    until("the endpoint is asked", || server.count() == 1).await;
    let others: Vec<_> = (0..50).map(|_| caller()).collect();
    first.abort();
    for _ in 0..100 {
        tokio::task::yield_now().await;
    }
    assert!(others.iter().all(|task| !task.is_finished()));
    assert_eq!(server.count(), 1);

    frozen.pass(Duration::from_secs(10)).await;
    for ended in join_all(others).await {
        assert_eq!(ended.expect("no panic"), Err("keys_unavailable"));
    }
    // The question is closed: the next is a new one.
    server.answer(|_| active(json!({})));
    assert_eq!(verify(&issuers, "token").await, Ok("ada".to_owned()));
    assert_eq!(server.count(), 2);
}

#[tokio::test]
async fn strangers_questions_are_bounded_and_keep_no_good_caller_waiting() {
    let frozen = Frozen::new();
    let (server, issuers, _) = answers(active(json!({}))).await;
    let issuers = Arc::new(issuers);
    assert_eq!(verify(&issuers, "known").await, Ok("ada".to_owned()));
    server.answer(|request| match request.body.contains("stranger") {
        true => Answer::Silence,
        false => active(json!({})),
    });
    let caller = |number: usize| {
        let issuers = Arc::clone(&issuers);
        tokio::spawn(async move { verify(&issuers, &format!("stranger {number}")).await })
    };
    let open: Vec<_> = (0..OPEN_MAX).map(caller).collect();
    until("the endpoint has its fill", || server.count() == 1 + ASKED_MAX).await;

    assert_eq!(verify(&issuers, "stranger too many").await, Err("keys_unavailable"));
    assert_eq!(verify(&issuers, "known").await, Ok("ada".to_owned()));
    assert_eq!(server.count(), 1 + ASKED_MAX);
    // Also when what is known of it is too old, it need not wait behind strangers.
    let now = NOW + Duration::from_secs(61);
    let verified = issuers.verify(Presented { now, ..presented("known") }).await;
    assert!(verified.is_ok(), "{verified:?}");
    assert_eq!(server.count(), 2 + ASKED_MAX);
    frozen.pass(Duration::from_secs(10)).await;
    for ended in join_all(open).await {
        assert_eq!(ended.expect("no panic"), Err("keys_unavailable"));
    }
}

#[tokio::test]
async fn bad_tokens_however_many_do_not_push_good_ones_out() {
    let (server, issuers, _) = answers(active(json!({}))).await;
    assert_eq!(verify(&issuers, "good").await, Ok("ada".to_owned()));
    server.answer(|_| Answer::Json("{\"active\":false}".to_owned()));
    for chunk in 0..50 {
        let tokens: Vec<_> = (0..100).map(|number| format!("bad {chunk} {number}")).collect();
        let refused = join_all(tokens.iter().map(|token| verify(&issuers, token))).await;
        assert!(refused.iter().all(|verdict| *verdict == Err("inactive")));
    }
    assert_eq!(verify(&issuers, "good").await, Ok("ada".to_owned()));
    let kept = issuers.observe()[0].answers;
    assert!(kept <= 1 + 4_096, "{kept}");
}

#[tokio::test]
async fn a_token_that_was_taken_back_is_a_strangers_again() {
    let (server, issuers, _) = answers(active(json!({}))).await;
    let at = async |seconds| {
        let now = NOW + Duration::from_secs(seconds);
        issuers.verify(Presented { now, ..presented("token") }).await.map_err(|refused| refused.reason()).err()
    };
    assert_eq!(at(0).await, None);
    server.answer(|_| Answer::Json("{\"active\":false}".to_owned()));
    assert_eq!(at(60).await, Some("inactive"));
    // Not even a clock that steps back brings it to life.
    assert_eq!(at(30).await, Some("inactive"));
    assert_eq!(server.count(), 3);
}

#[tokio::test]
async fn each_token_goes_to_its_own_issuer_and_to_no_other() {
    let (signer, signed_iss) = (Signer::new("k1"), "https://signed.example.com");
    let keys = KeySet::parse(jwks(&[&signer]).to_string().as_bytes()).expect("a key set");
    let say = |subject: &'static str, iss: &'static str| {
        Server::start(move |_| {
            Answer::Json(json!({"active": true, "sub": subject, "aud": RESOURCE, "iss": iss}).to_string())
        })
    };
    let (any, prefixed, longer) =
        (say("any", "urn:any").await, say("prefixed", "urn:p").await, say("longer", "urn:l").await);
    let by_jwt = say("by-jwt", "urn:j").await;
    let prefix = |text: &str| Some(text.to_owned());
    let issuers = issuers([
        config("signed", signed_iss, Keys::Given(keys)),
        asked("any", "urn:any", &any, |_| {}),
        asked("prefixed", "urn:p", &prefixed, |check| check.opaque_prefix = prefix("gh")),
        asked("longer", "urn:l", &longer, |check| check.opaque_prefix = prefix("gho_")),
        asked("by-jwt", "urn:j", &by_jwt, |check| check.opaque_prefix = None),
    ]);
    let jwt = |iss: &str| signer.sign(&claims(iss, json!({})));
    for (token, expected) in [
        ("gho_1".to_owned(), Ok("longer")),
        ("ghp_1".to_owned(), Ok("prefixed")),
        ("a.b.c".to_owned(), Ok("any")),
        (jwt("urn:j"), Ok("by-jwt")),
        (jwt(signed_iss), Ok("ada")),
        (jwt("urn:unknown"), Err("unknown_issuer")),
        ("x".repeat(20_000), Err("oversized")),
    ] {
        assert_eq!(verify(&issuers, &token).await, expected.map(str::to_owned), "{token:.40}");
    }
    assert_eq!([&any, &prefixed, &longer, &by_jwt].map(Server::count), [1, 1, 1, 1]);
}

#[tokio::test]
async fn an_issuer_may_be_there_for_signed_and_for_opaque_tokens() {
    let signer = Signer::new("k1");
    let keys = KeySet::parse(jwks(&[&signer]).to_string().as_bytes()).expect("a key set");
    let server = Server::start(|_| active(json!({"sub": "opaque"}))).await;
    let issuers = issuers([asked("opaque", ISS, &server, |_| {}), config("signed", ISS, Keys::Given(keys))]);
    assert_eq!(verify(&issuers, &signer.sign(&claims(ISS, json!({})))).await, Ok("ada".to_owned()));
    assert_eq!(server.count(), 0);
    assert_eq!(verify(&issuers, "opaque").await, Ok("opaque".to_owned()));

    // After a change of something else its answers are still known.
    let same = vec![(asked("opaque", ISS, &server, |_| {}), client())];
    assert_eq!(verify(&issuers.renewed(same).expect("valid"), "opaque").await, Ok("opaque".to_owned()));
    assert_eq!(server.count(), 1);
    let secret = |check: &mut Introspected| check.client_secret = Secret::new("another");
    let changed = vec![(asked("opaque", ISS, &server, secret), client())];
    assert_eq!(verify(&issuers.renewed(changed).expect("valid"), "opaque").await, Ok("opaque".to_owned()));
    assert_eq!(server.count(), 2);
}

#[tokio::test]
async fn two_issuers_cannot_take_the_same_opaque_tokens() {
    let server = Server::start(|_| Answer::Silence).await;
    let configs = [asked("a", "urn:a", &server, |_| {}), asked("b", "urn:b", &server, |_| {})];
    let configs = configs.into_iter().map(|config| (config, client())).collect();
    let error = Issuers::new(configs, Arc::new(())).expect_err("they take the same").to_string();
    assert_eq!(error, "issuers a and b take the same opaque tokens: give them prefixes that differ");
}
