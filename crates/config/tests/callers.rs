//! What documents say of issuers, keys, tenants and policies, as it comes out; and tenants as large as they may be.
//!
//! The refusals are in `documents`, word for word; here are the values, the defaults, and the laws of groups.

use std::path::{Path, PathBuf};
use std::time::Duration;

use proptest::prelude::*;
use quorate_config::identity::{
    Algorithm, ArgumentType, ClientAuthentication, Introspection, KeySource, Mode, Oidc, Subject, Vouching,
};
use quorate_config::{Denied, Errors, Issuer, ResourceSet, SecretSource, Source, TrustedIssuers, load, parse};
use quorate_types::rfc3339;

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/documents/accepted")
}

fn everything() -> ResourceSet {
    load(&[folder().join("everything.yaml")]).unwrap_or_else(|errors| panic!("{errors}"))
}

fn read(text: &str) -> Result<ResourceSet, Errors> {
    parse(&[Source { file: "test.yaml".into(), text: text.to_owned() }])
}

fn issuer<'a>(set: &'a ResourceSet, name: &str) -> &'a Issuer {
    set.issuers().iter().find(|one| one.name.as_str() == name).expect("it is there")
}

fn oidc(issuer: &Issuer) -> &Oidc {
    let Vouching::Oidc(oidc) = &issuer.method else { panic!("it signs") };
    oidc
}

fn introspection(issuer: &Issuer) -> &Introspection {
    let Vouching::Introspection(asked) = &issuer.method else { panic!("it is asked") };
    asked
}

#[test]
fn an_issuer_of_signed_tokens_is_what_its_document_says() {
    let set = everything();
    let oidc = oidc(issuer(&set, "corp"));

    assert_eq!(oidc.issuer, "https://id.example/realms/corp");
    let KeySource::Url(url) = &oidc.keys else { panic!("it has a URL") };
    assert_eq!(url.as_str(), "https://id.example/realms/corp/keys");
    assert_eq!(oidc.algorithms, [Algorithm::Es256, Algorithm::EdDsa]);
    let minutes = |count: u64| Duration::from_secs(60 * count);
    assert_eq!((oidc.clock_skew, oidc.outage_max), (Duration::from_secs(30), minutes(120)));
    assert_eq!((oidc.age_max, oidc.access_tokens_only), (Some(minutes(720)), true));
    assert_eq!(oidc.ca, Some(folder().join("tls/corp.pem")), "relative to the file");
    let tokens = &oidc.tokens;
    assert_eq!(tokens.audiences, ["https://mesh.example", "quorate"]);
    assert_eq!(tokens.required["email_verified"], ["true"]);
    assert!(tokens.required["org"].is_empty(), "any value");
    assert_eq!((tokens.subject, tokens.agent_claim.as_deref()), (Subject::User, Some("azp")));
    assert_eq!((tokens.groups_claim.as_deref(), tokens.scopes_claim.as_str()), (Some("realm_access.roles"), "scp"));
    let tenants = tokens.tenants.as_ref().expect("it has tenants");
    assert_eq!((tenants.claim.as_str(), tenants.values["Other Ltd"].as_str()), ("org", "other"));
    assert!(tokens.bound && !tokens.advertised);
}

#[test]
fn what_an_issuer_leaves_out_has_its_default() {
    let set = everything();
    let oidc = oidc(issuer(&set, "offline"));
    let asked = introspection(issuer(&set, "opaque"));

    assert_eq!(oidc.keys, KeySource::File(folder().join("keys/jwks.json")));
    assert_eq!(oidc.algorithms, Algorithm::ALL);
    assert_eq!((oidc.clock_skew, oidc.age_max), (Duration::from_secs(60), None));
    assert_eq!((oidc.outage_max, oidc.access_tokens_only), (Duration::from_secs(86_400), false));
    assert!(oidc.tokens.audiences.is_empty() && oidc.tokens.required.is_empty() && oidc.tokens.tenants.is_none());
    assert_eq!((oidc.tokens.subject, oidc.tokens.scopes_claim.as_str()), (Subject::User, "scope"));
    assert!(oidc.tokens.advertised && !oidc.tokens.bound);
    assert_eq!((asked.tokens.subject, asked.authentication), (Subject::Agent, ClientAuthentication::Post));
    assert_eq!(asked.token_prefix.as_deref(), Some("acme_"));
    assert_eq!(asked.client_secret, SecretSource::File(folder().join("secrets/introspection")));
    let set = read("{kind: Issuer, name: a, spec: {oidc: {issuer: 'https://id.example'}}}").expect("it is valid");
    assert_eq!(self::oidc(issuer(&set, "a")).keys, KeySource::Discovery);
}

#[test]
fn certificates_are_trusted_where_a_listener_says_so() {
    let set = everything();
    let Vouching::Spiffe(domain) = &issuer(&set, "prod").method else { panic!("it certifies") };
    let public = set.listeners().iter().find(|one| one.name.as_str() == "public").expect("it is there");
    let clients = public.tls.as_ref().and_then(|tls| tls.clients.as_ref()).expect("it asks for certificates");

    assert_eq!((domain.domain.as_str(), domain.bundles.len(), domain.crls.len()), ("prod.example", 2, 1));
    assert!(domain.crl_required);
    assert!(matches!(&clients.issuers, TrustedIssuers::Only(names) if names.len() == 1) && clients.required);
    assert_eq!(public.public_url.as_ref().map(|url| url.as_str()), Some("https://mesh.example/"));
    let named = set.named_files();
    for file in ["tls/prod.pem", "tls/prod-next.pem", "tls/prod.crl", "tls/corp.pem", "keys/jwks.json"] {
        assert!(named.contains(&folder().join(file)), "{file} is not watched");
    }
    assert!(named.contains(&folder().join("secrets/introspection")));
}

#[test]
fn keys_groups_policies_and_demands_are_what_their_documents_say() {
    let set = everything();

    let [nightly] = set.api_keys() else { panic!("one document") };
    assert_eq!((nightly.tenant.as_str(), nightly.agent.as_str()), ("acme", "reporter"));
    assert!(nightly.scopes.contains("files:read") && nightly.scopes.len() == 2);
    let [first, second] = &nightly.secrets[..] else { panic!("two keys") };
    assert_eq!((first.id.as_str(), first.mac[0], first.mac[31]), ("abcdefgh2345", 0, 31));
    assert_eq!(first.expires, rfc3339::parse("2027-01-31T23:59:59Z").ok());
    assert_eq!(first.not_before, rfc3339::parse("2026-11-01T00:00:00Z").ok());
    assert_eq!((second.expires, second.not_before), (None, None));
    assert!(!format!("{nightly:?}").contains("255"), "Debug shows an HMAC");

    let [acme] = set.tenants() else { panic!("one tenant") };
    let [_, platform] = &acme.groups[..] else { panic!("two groups") };
    assert_eq!((acme.name.as_str(), platform.name.as_str()), ("acme", "platform"));
    assert_eq!(platform.within, ["engineering"]);
    assert_eq!((platform.agents.len(), platform.users.len()), (3, 2));

    let [policy] = set.policies() else { panic!("one policy") };
    assert_eq!((policy.tenant.as_str(), policy.mode), ("acme", Mode::DryRun));
    assert!(policy.cedar.starts_with("// Engineers"));
    let compiled = set.compiled_policies();
    assert!(compiled.len() == 1 && !compiled.allows_all());
    assert_eq!((policy.arguments["ratio"], policy.arguments["tags"]), (ArgumentType::Number, ArgumentType::Strings));

    let access = &set.toolsets()[0].access;
    assert!(access.requires.agent && !access.requires.user && access.scopes.contains("research:use"));
    assert_eq!(access.denied, Denied::Forbidden);
}

#[test]
fn a_listener_needs_a_name_of_its_own_only_where_tokens_are_made_for_it() {
    let listener = "{kind: Listener, name: data, spec: {address: '0.0.0.0:1', plaintext: true KEYS}}";
    let issuer = "{kind: Issuer, name: id, tenant: TENANT, spec: {oidc: {issuer: 'https://id.example' KEYS}}}";
    let cases = [
        ("", "default", "", false),
        (", publicUrl: 'http://mesh.example'", "default", "", true),
        (", hosts: [mesh.example]", "default", "", true),
        (", hosts: ['*']", "default", "", false),
        ("", "default", ", audiences: [mesh]", true),
        // The operator's listener serves every tenant.
        ("", "acme", "", false),
    ];
    for (of_listener, tenant, of_issuer, expected) in cases {
        let issuer = issuer.replace("TENANT", tenant).replace(" KEYS", of_issuer);
        let text = format!("{}\n---\n{issuer}", listener.replace(" KEYS", of_listener));
        assert_eq!(read(&text).is_ok(), expected, "{text}");
    }
    let theirs = listener.replace(" KEYS", "").replace("name: data", "name: data, tenant: other");
    let issuer = issuer.replace("TENANT", "acme").replace(" KEYS", "");
    // Every tenant's callers reach the operator's toolsets there.
    assert!(read(&format!("{theirs}\n---\n{issuer}")).is_err());
}

#[test]
fn one_issuer_may_sign_some_tokens_and_be_asked_about_others() {
    let signed = "{kind: Issuer, name: jwt, spec: {oidc: {issuer: 'https://id.example', audiences: [a]}}}";
    let asked = "{kind: Issuer, name: opaque, spec: {introspection: {issuer: 'https://id.example', \
                 url: 'https://id.example/i', clientId: q, clientSecret: s, audiences: [a]}}}";
    assert!(read(&format!("{signed}\n---\n{asked}")).is_ok());
    let twice = signed.replace("name: jwt", "name: again");
    assert!(read(&format!("{signed}\n---\n{twice}")).is_err());
    // A name that is there twice is one problem, not two.
    let errors = read(&format!("{signed}\n---\n{signed}")).expect_err("the name is taken");
    assert_eq!(errors.problems().len(), 1, "{errors}");
}

#[test]
fn the_largest_group_is_read_without_delay() {
    let members: Vec<String> = (0..10_000).map(|index| format!("id/{index}")).collect();
    let issuer = "{kind: Issuer, name: id, spec: {oidc: {issuer: 'https://id.example'}}}";
    let tenant =
        |members: &str| format!("{{kind: Tenant, name: acme, spec: {{groups: {{all: {{users: [{members}]}}}}}}}}");
    let started = std::time::Instant::now();

    let set = read(&format!("{issuer}\n---\n{}", tenant(&members.join(", ")))).expect("it is valid");

    assert_eq!(set.tenants()[0].groups[0].users.len(), 10_000);
    // Comparing each with each takes more than this in a build for tests.
    assert!(started.elapsed() < Duration::from_secs(5), "it took {:?}", started.elapsed());
    let errors = read(&tenant(&format!("{}, id/x", members.join(", ")))).expect_err("one is too many");
    assert!(errors.to_string().contains("10001 entries, the most allowed is 10000"), "{errors}");
}

/// Groups by number, each within others, as a document.
fn groups(within: &[Vec<usize>]) -> String {
    let lines: Vec<String> = within
        .iter()
        .enumerate()
        .map(|(index, outer)| {
            let names: Vec<String> = outer.iter().map(|outer| format!("g{outer}")).collect();
            format!("    g{index}: {{ within: [{}] }}\n", names.join(", "))
        })
        .collect();
    format!("kind: Tenant\nname: acme\nspec:\n  groups:\n{}", lines.concat())
}

/// Whether some group leads back to itself, found by taking away those that lead nowhere, again and again.
fn has_cycle(within: &[Vec<usize>]) -> bool {
    let mut left: Vec<usize> = (0..within.len()).collect();
    loop {
        let before = left.len();
        let rest = left.clone();
        left.retain(|group| within[*group].iter().any(|outer| rest.contains(outer)));
        if left.len() == before {
            return !left.is_empty();
        }
    }
}

proptest! {
    #[test]
    fn groups_are_refused_exactly_when_one_is_within_itself(
        within in proptest::collection::vec(proptest::collection::btree_set(0_usize..10, 0..3), 10),
    ) {
        let within: Vec<Vec<usize>> = within.into_iter().map(|outer| outer.into_iter().collect()).collect();
        let result = read(&groups(&within));

        prop_assert_eq!(result.is_err(), has_cycle(&within));
        if let Err(errors) = result {
            // The way that is told is one: each group is within the next, and the last is the first.
            let text = errors.problems()[0].reason.to_string();
            let way = text.strip_prefix("the group is within itself: ").expect("it is about a cycle");
            let way: Vec<usize> = way.split(" → ").map(|name| name[1..].parse().expect("it is a group")).collect();
            prop_assert_eq!(way.first(), way.last());
            for step in way.windows(2) {
                prop_assert!(within[step[0]].contains(&step[1]), "{} of {:?}", text, within);
            }
        }
    }
}
