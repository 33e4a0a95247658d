//! Signed tokens against issuers with given keys: who is known, and everything that is refused.

use std::collections::BTreeSet;
use std::time::Duration;

use crate::support::signer::{Signer, jwks};
use crate::support::{NOW, NOW_SECONDS, RESOURCE, claims, config, issuers, presented, verify};
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use proptest::prelude::*;
use quorate_identity::issuer::{Check, Config, Keys};
use quorate_identity::{Algorithm, Issuers, KeySet, Presented, TOKEN_BYTES_MAX};
use quorate_types::Code;
use ring::hmac;
use serde_json::{Value, json};

const ISS: &str = "https://idp.example.com";

fn keys(signers: &[&Signer]) -> Keys {
    Keys::Given(KeySet::parse(jwks(signers).to_string().as_bytes()).expect("a key set"))
}

fn encode(text: impl AsRef<[u8]>) -> String {
    URL_SAFE_NO_PAD.encode(text)
}

fn with(base: &Value, member: &str, value: Value) -> String {
    let mut changed = base.clone();
    changed[member] = value;
    changed.to_string()
}

#[tokio::test]
async fn the_rules_are_others_with_other_given_keys_though_their_file_has_the_same_name() {
    let (one, other) = (Signer::new("k1"), Signer::new("k2"));
    let before = issuers([config("corp", ISS, keys(&[&one]))]);

    assert!(before.has_same_rules(&issuers([config("corp", ISS, keys(&[&one]))])));
    assert!(!before.has_same_rules(&issuers([config("corp", ISS, keys(&[&other]))])));
    assert!(!before.has_same_rules(&issuers([])));
}

#[tokio::test]
async fn a_good_token_is_known_again_without_a_look_at_its_signature() {
    let signer = Signer::new("k1");
    let issuers = issuers([config("corp", ISS, keys(&[&signer]))]);
    let token = signer.sign(&claims(ISS, json!({})));

    let first = issuers.verify(presented(&token)).await.expect("it is good");
    let second = issuers.verify(presented(&token)).await.expect("it still is");

    assert!(std::sync::Arc::ptr_eq(&first, &second), "the second was checked anew");
    assert_eq!(first.issuer.as_str(), "corp");
    assert_eq!(first.principal.user.as_ref().map(|user| user.subject.as_str()), Some("ada"));
    assert_eq!(issuers.cached(), (1, 0));
    // What is known has an end: a minute, and a clock that stepped back.
    for now in [NOW + Duration::from_secs(60), quorate_types::Timestamp::from_millis(NOW.as_millis() - 1)] {
        let anew = issuers.verify(Presented { now, ..presented(&token) }).await.expect("it is good");
        assert!(!std::sync::Arc::ptr_eq(&first, &anew), "at {now}");
    }
}

#[tokio::test]
async fn what_depends_on_the_request_is_asked_of_known_tokens_too() {
    let signer = Signer::new("k1");
    let issuers = issuers([config("corp", ISS, keys(&[&signer]))]);
    let bound = claims(ISS, json!({"cnf": {"x5t#S256": encode([7; 32])}}));
    let (token, bound) = (signer.sign(&claims(ISS, json!({}))), signer.sign(&bound));
    let reason = async |presented| issuers.verify(presented).await.map_err(|refused| refused.reason()).err();

    for _ in 0..2 {
        assert_eq!(reason(presented(&token)).await, None);
        assert_eq!(reason(Presented { resource: "https://mesh/other", ..presented(&token) }).await, Some("audience"));
        let after = NOW + Duration::from_secs(660);
        assert_eq!(reason(Presented { now: after, ..presented(&token) }).await, Some("expired"));
        assert_eq!(reason(presented(&bound)).await, Some("binding"));
        assert_eq!(reason(Presented { certificate: Some(&[8; 32]), ..presented(&bound) }).await, Some("binding"));
        assert_eq!(reason(Presented { certificate: Some(&[7; 32]), ..presented(&bound) }).await, None);
    }
}

/// A name, a token that nobody may get in with, and the class that it is refused with.
type Hostile = (&'static str, String, &'static str);

/// Tokens that were not signed as they should be.
fn forged(signer: &Signer, stranger: &Signer) -> Vec<Hostile> {
    let (header, good) = (signer.header(), claims(ISS, json!({})));
    let head = |member: &str, value: Value| signer.sign_text(&with(&header, member, value), &good.to_string());
    let token = signer.sign(&good);
    let (signed, signature) = token.rsplit_once('.').expect("three parts");
    let (_, body) = signed.split_once('.').expect("two parts");
    let unsigned = |alg: &str| format!("{}.{body}.", encode(with(&header, "alg", json!(alg))));
    // The confusion of RFC 8725 §2.1: the public key as the secret of an HMAC.
    let hs256 = format!("{}.{body}", encode(with(&header, "alg", json!("HS256"))));
    let mac = hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, signer.point()), hs256.as_bytes());
    let own_key = with(&stranger.header(), "jwk", stranger.jwk()).replace("\"k2\"", "\"k1\"");
    let eve = signer.sign(&claims(ISS, json!({"sub": "eve"})));
    let (eve, _) = eve.rsplit_once('.').expect("three parts");
    let encrypted = encode("{\"alg\":\"dir\",\"enc\":\"A256GCM\"}");
    vec![
        ("empty", String::new(), "unknown_issuer"),
        ("opaque", "gho_16C7e42F292c6912E7710c838347Ae178B4a".to_owned(), "unknown_issuer"),
        ("unsigned", format!("{signed}."), "signature"),
        ("signed by zeros", format!("{signed}.{}", encode([0; 64])), "signature"),
        ("signature of another token", format!("{eve}.{signature}"), "signature"),
        ("alg none", unsigned("none"), "algorithm"),
        ("alg None", unsigned("None"), "algorithm"),
        ("alg empty", unsigned(""), "algorithm"),
        ("alg of another key", head("alg", json!("RS256")), "unknown_key"),
        ("HS256 with the public key", format!("{hs256}.{}", encode(mac)), "algorithm"),
        ("wrong key", stranger.sign_text(&header.to_string(), &good.to_string()), "signature"),
        ("own key in the header", stranger.sign_text(&own_key, &good.to_string()), "signature"),
        ("unknown key", stranger.sign(&good), "unknown_key"),
        ("kid with path characters", head("kid", json!("../../etc/passwd")), "unknown_key"),
        ("kid with a quote", head("kid", json!("k1' OR '1'='1")), "unknown_key"),
        ("kid too long", head("kid", json!("k".repeat(300))), "malformed"),
        ("crit", head("crit", json!(["exp"])), "critical"),
        ("nested", head("cty", json!("JWT")), "nested"),
        ("encrypted", format!("{encrypted}.a.b.c.d"), "nested"),
        ("logout token", head("typ", json!("logout+jwt")), "kind"),
        ("two tokens", format!("{token} {token}"), "nested"),
        ("space before", format!(" {token}"), "unknown_issuer"),
        ("line break after", format!("{token}\n"), "malformed"),
        ("padding", format!("{token}="), "malformed"),
        ("fourth part", format!("{token}."), "unknown_issuer"),
    ]
}

/// Tokens that their issuer signed, and that say what is not accepted.
fn unfit(signer: &Signer) -> Vec<Hostile> {
    let good = claims(ISS, json!({})).to_string();
    let of = |change: Value| signer.sign(&claims(ISS, change));
    let text = |claims: &str| signer.sign_text(&signer.header().to_string(), claims);
    let deep = format!("{{\"iss\":\"{ISS}\",\"a\":{}{}}}", "[".repeat(200), "]".repeat(200));
    let other = |iss: &str| signer.sign(&claims(iss, json!({})));
    let jkt = "0ZcOCORZNYy-DWpqq30jZyJGHTN0d2HglBV3uiguA4I";
    vec![
        ("expired", of(json!({"exp": NOW_SECONDS - 60})), "expired"),
        ("without an end", of(json!({"exp": null})), "claim"),
        ("future", of(json!({"nbf": NOW_SECONDS + 61})), "not_yet_valid"),
        ("issued in the future", of(json!({"iat": NOW_SECONDS + 61})), "not_yet_valid"),
        ("wrong audience", of(json!({"aud": "https://other"})), "audience"),
        ("no audience", of(json!({"aud": null})), "audience"),
        ("wrong issuer", other("https://evil.example.com"), "unknown_issuer"),
        ("iss with a slash", other("https://idp.example.com/"), "unknown_issuer"),
        ("iss in capitals", other("https://IDP.example.com"), "unknown_issuer"),
        ("no iss", of(json!({"iss": null})), "unknown_issuer"),
        ("iss a list", of(json!({"iss": [ISS]})), "claim"),
        ("sub a list", of(json!({"sub": ["ada"]})), "claim"),
        ("huge number", text(&format!("{{\"iss\":\"{ISS}\",\"sub\":\"a\",\"exp\":1e308}}")), "claim"),
        ("larger number", text(&format!("{{\"iss\":\"{ISS}\",\"sub\":\"a\",\"exp\":1e309}}")), "malformed"),
        ("digits", text(&format!("{{\"iss\":\"{ISS}\",\"exp\":{}}}", "9".repeat(5000))), "malformed"),
        ("negative time", of(json!({"exp": -1})), "claim"),
        ("exp a text", of(json!({"exp": "1800000000"})), "claim"),
        ("doubled claim", text(&good.replacen('{', "{\"sub\":\"eve\",", 1)), "duplicate_claim"),
        ("doubled iss", text(&good.replacen('{', "{\"iss\":\"https://evil\",", 1)), "duplicate_claim"),
        ("deep", text(&deep), "malformed"),
        ("bound to DPoP", of(json!({"cnf": {"jkt": jkt}})), "unsupported_binding"),
        ("bound to a certificate", of(json!({"cnf": {"x5t#S256": encode([1; 32])}})), "binding"),
        ("long", of(json!({"padding": "x".repeat(TOKEN_BYTES_MAX)})), "oversized"),
    ]
}

#[tokio::test]
async fn hostile_tokens_are_refused_with_their_class_each_time() {
    let (signer, stranger) = (Signer::new("k1"), Signer::new("k2"));
    let issuers = issuers([config("corp", ISS, keys(&[&signer]))]);
    for (name, token, expected) in forged(&signer, &stranger).into_iter().chain(unfit(&signer)) {
        for round in 0..2 {
            let refused = issuers.verify(presented(&token)).await.expect_err(name);
            assert_eq!(refused.reason(), expected, "{name}, round {round}");
            assert_eq!(refused.code(), Code::Unauthenticated, "{name}");
            let said = refused.to_string();
            assert!(!said.contains("ada") && !said.contains("eve"), "{name}: {said}");
        }
    }
    let good = signer.sign(&claims(ISS, json!({})));
    assert_eq!(verify(&issuers, &good).await, Ok("ada".to_owned()), "after all of them");
}

#[tokio::test]
async fn an_issuer_may_demand_access_tokens_and_fewer_algorithms() {
    let signer = Signer::new("k1");
    let change = |change: fn(&mut quorate_identity::issuer::Signed)| -> Issuers {
        let mut config: Config = config("corp", ISS, keys(&[&signer]));
        let Check::Signed(check) = &mut config.check else { panic!("it is signed") };
        change(check);
        issuers([config])
    };
    let typed = |typ: Option<&str>| {
        let header = with(&json!({"alg": "ES256"}), "typ", json!(typ.unwrap_or("")));
        let header = if typ.is_some() { header } else { "{\"alg\":\"ES256\"}".to_owned() };
        signer.sign_text(&header, &claims(ISS, json!({})).to_string())
    };
    let (any, strict) = (change(|_| {}), change(|check| check.access_tokens_only = true));
    for (typ, by_default, strictly) in [
        (Some("at+jwt"), Ok(()), Ok(())),
        (Some("application/AT+JWT"), Ok(()), Ok(())),
        (Some("JWT"), Ok(()), Err("kind")),
        (None, Ok(()), Err("kind")),
        (Some(""), Err("kind"), Err("kind")),
        (Some("dpop+jwt"), Err("kind"), Err("kind")),
    ] {
        assert_eq!(verify(&any, &typed(typ)).await.map(drop), by_default, "{typ:?}");
        assert_eq!(verify(&strict, &typed(typ)).await.map(drop), strictly, "{typ:?}");
    }
    let others = change(|check| check.algorithms = BTreeSet::from([Algorithm::EdDsa]));
    assert_eq!(verify(&others, &typed(None)).await, Err("algorithm"));
}

#[tokio::test]
async fn tokens_of_one_issuer_are_not_checked_by_the_keys_of_another() {
    let (one, two) = (Signer::new("k"), Signer::new("k"));
    let other = "https://other.example.com";
    let issuers = issuers([config("one", ISS, keys(&[&one])), config("two", other, keys(&[&two]))]);
    assert_eq!(verify(&issuers, &one.sign(&claims(ISS, json!({})))).await, Ok("ada".to_owned()));
    assert_eq!(verify(&issuers, &two.sign(&claims(other, json!({})))).await, Ok("ada".to_owned()));
    assert_eq!(verify(&issuers, &one.sign(&claims(other, json!({})))).await, Err("signature"));
    assert_eq!(verify(&issuers, &two.sign(&claims(ISS, json!({})))).await, Err("signature"));
}

#[tokio::test]
async fn a_changed_issuer_forgets_what_it_allowed() {
    let (old, new) = (Signer::new("k1"), Signer::new("k1"));
    let before = issuers([config("corp", ISS, keys(&[&old]))]);
    let token = old.sign(&claims(ISS, json!({})));
    assert_eq!(verify(&before, &token).await, Ok("ada".to_owned()));

    let after =
        before.renewed(vec![(config("corp", ISS, keys(&[&new])), crate::support::client())]).expect("it is valid");

    assert_eq!(verify(&after, &token).await, Err("signature"));
}

#[tokio::test]
async fn what_is_known_is_bounded() {
    let signer = Signer::new("k1");
    let issuers = issuers([config("corp", ISS, keys(&[&signer]))]);
    let token = signer.sign(&claims(ISS, json!({})));
    let (signed, _) = token.rsplit_once('.').expect("three parts");
    for number in 0_u64..6_000 {
        let mut signature = [0; 64];
        signature[..8].copy_from_slice(&number.to_be_bytes());
        assert_eq!(verify(&issuers, &format!("{signed}.{}", encode(signature))).await, Err("signature"));
    }
    let (accepted, refused) = issuers.cached();
    assert_eq!(accepted, 0);
    assert!((2_000..=4_096).contains(&refused), "{refused}");
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(512))]

    #[test]
    fn no_text_that_was_not_signed_is_accepted(
        text in prop_oneof![any::<String>(), "[A-Za-z0-9_-]{0,80}\\.[A-Za-z0-9_-]{0,80}\\.[A-Za-z0-9_-]{0,90}"],
        at: prop::sample::Index,
        byte: u8,
    ) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
        runtime.block_on(async {
            let signer = Signer::new("k1");
            let issuers = issuers([config("corp", ISS, keys(&[&signer]))]);
            prop_assert!(verify(&issuers, &text).await.is_err());

            // One byte of a good token is another.
            let good = signer.sign(&claims(ISS, json!({"aud": RESOURCE})));
            let mut bytes = good.clone().into_bytes();
            let at = at.index(bytes.len());
            bytes[at] = byte & 0x7f;
            let changed = String::from_utf8(bytes).expect("it is ASCII");
            prop_assert_eq!(verify(&issuers, &changed).await.is_ok(), changed == good, "{} at {}", byte, at);
            Ok(())
        })?;
    }
}
