//! Claims become a principal, by the rules of their issuer; pure.
//!
//! In: claims that the issuer vouches for (a checked signature, or its own answer), and the time. Out: [`Verified`], or
//! the first rule that is broken, in this order: issuer, times, binding, required claims, audience's form, subject,
//! agent, delegation, groups, scopes, tenant. Whether the token is for the resource at hand is asked each time
//! ([`admits`]), because one token may be used for several.

use std::collections::BTreeSet;

use quorate_types::{Principal, TenantId, Timestamp, User};
use serde_json::{Map, Value};

use super::config::{Check, Config, Rules, Subject, TenantRule};
use crate::refused::Why;
use crate::token::claims;
use crate::verified::{THUMBPRINT_BYTES, Terms, Verified};

/// The claims of a token.
type Claims = Map<String, Value>;

/// Makes claims a checked token. `expires_default` is for issuers that may leave `exp` out (RFC 7662); without it a
/// token without `exp` is refused.
pub(crate) fn judge(
    config: &Config,
    claims: &Claims,
    now: Timestamp,
    expires_default: Option<Timestamp>,
) -> Result<Verified, Why> {
    let rules = &config.rules;
    let expires = claims::time(claims, "exp")?.or(expires_default).ok_or_else(|| Why::claim("exp"))?;
    let mut terms = terms(rules, claims)?;
    terms.check_time(expires, now)?;
    terms.certificate = claims::binding(claims)?;
    if rules.bound_only && terms.certificate.is_none() {
        return Err(Why::Unbound);
    }
    for (path, allowed) in &rules.required {
        let value = path.find(claims).filter(|value| allowed.is_empty() || is_among(value, allowed));
        value.ok_or_else(|| path.refuse())?;
    }
    let audiences = claims::audiences(claims)?;
    let (agent, user) = caller(config, claims)?;
    let delegation = claims::delegation(claims, &config.iss)?;
    let (groups, scopes) = (groups(rules, claims)?, scopes(rules, claims)?);
    let principal = Principal { tenant: tenant(rules, claims)?, agent, user, delegation, groups, scopes };
    Ok(Verified { issuer: config.name.clone(), principal, audiences, expires, terms })
}

/// Checks what depends on the request: the time, the resource that it is for, and the certificate that it came with.
pub(crate) fn admits(
    config: &Config,
    verified: &Verified,
    resource: &str,
    certificate: Option<&[u8; THUMBPRINT_BYTES]>,
    now: Timestamp,
) -> Result<(), Why> {
    verified.terms.check_time(verified.expires, now)?;
    verified.terms.check_binding(certificate)?;
    let own = &config.rules.audiences;
    let is_for_us = match own.is_empty() {
        true => verified.audiences.contains(resource),
        false => !own.is_disjoint(&verified.audiences),
    };
    match is_for_us {
        true => Ok(()),
        false => Err(Why::Audience { expected: own.first().map_or(resource, String::as_str).to_owned() }),
    }
}

/// Reads when the token holds.
fn terms(rules: &Rules, claims: &Claims) -> Result<Terms, Why> {
    let issued = claims::time(claims, "iat")?;
    let too_old_at = match rules.age_max {
        None => None,
        Some(age_max) => Some(issued.ok_or_else(|| Why::claim("iat"))? + age_max),
    };
    // A token that was issued in the future is of a wrong clock, or prepared for later.
    let not_before = claims::time(claims, "nbf")?.max(issued);
    Ok(Terms { not_before, too_old_at, clock_skew: rules.clock_skew, certificate: None })
}

/// Tells the agent and the user.
fn caller(config: &Config, claims: &Claims) -> Result<(Option<String>, Option<User>), Why> {
    let rules = &config.rules;
    let qualified = |name: &str| format!("{}/{name}", config.name);
    // The program that the token was issued to (RFC 9068 §2.2, OpenID Connect Core §2).
    let own = claims.get("client_id").or_else(|| claims.get("azp")).and_then(claims::name);
    let subject = match (rules.subject.find(claims), &config.check) {
        (Some(subject), _) => claims::name(subject),
        // An answer about a program's own token may name no subject (RFC 7662 §2.2).
        (None, Check::Introspected(_)) => own,
        (None, Check::Signed(_)) => None,
    };
    let subject = subject.ok_or_else(|| rules.subject.refuse())?;
    let client = match rules.agent.as_ref().and_then(|path| Some((path, path.find(claims)?))) {
        None => None,
        Some((path, value)) => Some(claims::name(value).ok_or_else(|| path.refuse())?),
    };
    // A token whose subject is its program is the program's own: it must not pass for a person.
    let is_agent = rules.subject_is == Subject::Agent || client == Some(subject) || own == Some(subject);
    if is_agent {
        return Ok((Some(qualified(subject)), None));
    }
    let user = User { source: config.name.clone(), issuer: config.iss.clone(), subject: subject.to_owned() };
    Ok((client.map(qualified), Some(user)))
}

fn groups(rules: &Rules, claims: &Claims) -> Result<BTreeSet<String>, Why> {
    let Some(path) = &rules.groups else { return Ok(BTreeSet::new()) };
    match path.find(claims) {
        Some(value) => claims::names(value).ok_or_else(|| path.refuse()),
        // OpenID Connect Core §5.6.2: too many to list, they are elsewhere. To go on without would be to go on without
        // the group that a policy forbids.
        None if claims.get("_claim_names").is_some_and(|names| names.get(path.as_str()).is_some()) => {
            Err(path.refuse())
        }
        None => Ok(BTreeSet::new()),
    }
}

fn scopes(rules: &Rules, claims: &Claims) -> Result<BTreeSet<String>, Why> {
    let (name, value) = match &rules.scopes {
        Some(path) => (path.as_str(), path.find(claims)),
        None if claims.contains_key("scope") => ("scope", claims.get("scope")),
        None => ("scp", claims.get("scp")),
    };
    value.map_or(Some(BTreeSet::new()), claims::scopes).ok_or_else(|| Why::claim(name))
}

fn tenant(rules: &Rules, claims: &Claims) -> Result<TenantId, Why> {
    match &rules.tenant {
        TenantRule::Fixed(tenant) => Ok(tenant.clone()),
        TenantRule::Claim { path, tenants } => {
            let named = path.find(claims).and_then(Value::as_str).and_then(|value| tenants.get(value));
            named.cloned().ok_or_else(|| Why::Tenant { name: path.as_str().to_owned() })
        }
    }
}

fn is_among(value: &Value, allowed: &BTreeSet<String>) -> bool {
    match value {
        Value::String(text) => allowed.contains(text),
        Value::Bool(flag) => allowed.contains(if *flag { "true" } else { "false" }),
        Value::Number(number) => allowed.contains(&number.to_string()),
        // Arrays within arrays are no values.
        Value::Array(elements) => elements.iter().any(|element| !element.is_array() && is_among(element, allowed)),
        Value::Null | Value::Object(_) => false,
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;
    use std::time::Duration;

    use quorate_types::{Actor, ResourceName};
    use serde_json::json;

    use super::*;
    use crate::issuer::{Keys, Signed};
    use crate::jwks::KeySet;
    use crate::token::claims::ClaimPath;

    const NOW: Timestamp = Timestamp::from_millis(1_700_000_000_000);
    const RESOURCE: &str = "https://mesh/mcp/a";

    fn path(text: &str) -> ClaimPath {
        ClaimPath::new(text).expect("a path")
    }

    fn tenant_id(text: &str) -> TenantId {
        TenantId::new(text).expect("a tenant")
    }

    fn config(change: impl FnOnce(&mut Rules)) -> Config {
        let mut rules = Rules::new(TenantRule::Fixed(tenant_id("acme")));
        change(&mut rules);
        Config {
            name: ResourceName::new("corp").expect("a name"),
            iss: "https://idp".to_owned(),
            check: Check::Signed(Signed::new(Keys::Given(KeySet::default()))),
            rules,
        }
    }

    fn claims(changes: Value) -> Claims {
        let mut claims = json!({"iss": "https://idp", "sub": "ada", "aud": RESOURCE, "exp": 1_700_000_600});
        let changes = changes.as_object().expect("an object").clone();
        let claims = claims.as_object_mut().expect("an object");
        for (name, value) in changes {
            // A null takes a claim away.
            if value.is_null() {
                claims.remove(&name)
            } else {
                claims.insert(name, value)
            };
        }
        claims.clone()
    }

    fn judged(config: &Config, changes: Value) -> Result<Verified, Why> {
        judge(config, &claims(changes), NOW, None)
    }

    #[test]
    fn a_token_becomes_a_principal_of_its_tenant() {
        let config = config(|rules| {
            rules.agent = Some(path("azp"));
            rules.groups = Some(path("realm_access.roles"));
        });
        let verified = judged(
            &config,
            json!({
                "azp": "desktop", "scope": "tools:read tools:call", "realm_access": {"roles": ["dev", "ops"]},
                "act": {"sub": "robot"}, "aud": ["x", RESOURCE],
            }),
        );

        let set = |texts: &[&str]| texts.iter().map(|text| (*text).to_owned()).collect::<BTreeSet<_>>();
        let user = User { source: config.name.clone(), issuer: "https://idp".to_owned(), subject: "ada".to_owned() };
        let principal = Principal {
            tenant: tenant_id("acme"),
            agent: Some("corp/desktop".to_owned()),
            user: Some(user),
            delegation: vec![Actor { issuer: "https://idp".to_owned(), subject: "robot".to_owned() }],
            groups: set(&["dev", "ops"]),
            scopes: set(&["tools:call", "tools:read"]),
        };
        let verified = verified.expect("it is valid");
        assert_eq!(verified.principal, principal);
        assert_eq!(verified.audiences, set(&["x", RESOURCE]));
        assert_eq!(verified.expires, Timestamp::from_millis(1_700_000_600_000));
        assert_eq!(admits(&config, &verified, RESOURCE, None, NOW), Ok(()));
    }

    #[test]
    fn who_calls_depends_on_what_the_subject_is() {
        let user = |config: &Config, changes| {
            let principal = judged(config, changes).expect("it is valid").principal;
            (principal.agent, principal.user.map(|user| user.subject))
        };
        let agent = |text: &str| Some(format!("corp/{text}"));
        let (plain, program) = (config(|_| {}), config(|rules| rules.subject_is = Subject::Agent));
        let with_client = config(|rules| rules.agent = Some(path("client_id")));
        assert_eq!(user(&plain, json!({"azp": "x"})), (None, Some("ada".to_owned())));
        assert_eq!(user(&program, json!({})), (agent("ada"), None));
        assert_eq!(user(&with_client, json!({})), (None, Some("ada".to_owned())));
        assert_eq!(user(&with_client, json!({"client_id": "x"})), (agent("x"), Some("ada".to_owned())));
        // Client credentials: the client acts for nobody.
        assert_eq!(user(&with_client, json!({"client_id": "ada"})), (agent("ada"), None));
    }

    #[test]
    fn the_first_rule_that_is_broken_refuses() {
        let strict = config(|rules| {
            rules.age_max = Some(Duration::from_secs(3600));
            rules.agent = Some(path("azp"));
            rules.groups = Some(path("groups"));
            rules.required = BTreeMap::from([
                (path("email_verified"), BTreeSet::from(["true".to_owned()])),
                (path("amr"), BTreeSet::from(["mfa".to_owned(), "hwk".to_owned()])),
                (path("acr"), BTreeSet::new()),
            ]);
        });
        let fine = json!({"iat": 1_700_000_000, "email_verified": true, "amr": ["pwd", "mfa"], "acr": 1});
        assert_eq!(judged(&strict, fine.clone()).map(|verified| verified.principal.groups.len()), Ok(0));

        let claim = Why::claim;
        for (change, expected) in [
            (json!({"exp": null}), claim("exp")),
            (json!({"exp": "soon"}), claim("exp")),
            (json!({"exp": 1e19}), claim("exp")),
            (json!({"exp": 1_699_999_940}), Why::Expired),
            (json!({"exp": 0}), Why::Expired),
            (json!({"nbf": 1_700_000_061}), Why::NotYetValid),
            (json!({"nbf": true}), claim("nbf")),
            (json!({"iat": 1_700_000_061}), Why::NotYetValid),
            (json!({"iat": null}), claim("iat")),
            (json!({"iat": 1_699_996_300}), Why::TooOld),
            (json!({"email_verified": false}), claim("email_verified")),
            (json!({"email_verified": null}), claim("email_verified")),
            (json!({"amr": ["pwd", ["mfa"]]}), claim("amr")),
            (json!({"amr": {"mfa": "mfa"}}), claim("amr")),
            (json!({"acr": null}), claim("acr")),
            (json!({"aud": 7}), claim("aud")),
            (json!({"aud": [RESOURCE, 7]}), claim("aud")),
            (json!({"sub": null}), claim("sub")),
            (json!({"sub": ""}), claim("sub")),
            (json!({"sub": 7}), claim("sub")),
            (json!({"sub": "a\nb"}), claim("sub")),
            (json!({"sub": "x".repeat(1025)}), claim("sub")),
            (json!({"azp": 7}), claim("azp")),
            (json!({"groups": 7}), claim("groups")),
            (json!({"_claim_names": {"groups": "src1"}}), claim("groups")),
            (json!({"scope": 7}), claim("scope")),
            (json!({"scp": {}}), claim("scp")),
            (json!({"act": "robot"}), claim("act")),
            (json!({"cnf": {"jkt": "x"}}), Why::UnsupportedBinding),
        ] {
            let mut all = fine.as_object().expect("an object").clone();
            all.extend(change.as_object().expect("an object").clone());
            assert_eq!(judged(&strict, Value::Object(all)), Err(expected), "{change}");
        }
    }

    #[test]
    fn an_issuer_speaks_only_for_its_tenants() {
        let tenants = [("org-1", "one"), ("org-2", "two")].map(|(value, id)| (value.to_owned(), tenant_id(id)));
        let config = config(|rules| {
            rules.tenant = TenantRule::Claim { path: path("org"), tenants: tenants.into() };
        });
        let of = |org: Value| judged(&config, json!({"org": org})).map(|verified| verified.principal.tenant);
        assert_eq!(of(json!("org-2")), Ok(tenant_id("two")));
        for org in [json!("org-3"), json!("one"), json!("default"), json!(["org-1"]), json!(1), json!(null)] {
            assert_eq!(of(org.clone()), Err(Why::Tenant { name: "org".to_owned() }), "{org}");
        }
    }

    #[test]
    fn a_token_is_for_the_resource_at_hand_or_a_listed_audience() {
        let (by_resource, by_list) = (config(|_| {}), config(|rules| rules.audiences = ["api".to_owned()].into()));
        for (config, audience, resource, expected) in [
            (&by_resource, json!(RESOURCE), RESOURCE, Ok(())),
            (&by_resource, json!(RESOURCE), "https://mesh/mcp/b", Err("https://mesh/mcp/b")),
            (&by_resource, json!("https://mesh/mcp/a/"), RESOURCE, Err(RESOURCE)),
            (&by_resource, json!("https://MESH/mcp/a"), RESOURCE, Err(RESOURCE)),
            (&by_resource, json!([]), RESOURCE, Err(RESOURCE)),
            (&by_resource, json!(null), RESOURCE, Err(RESOURCE)),
            (&by_list, json!(["x", "api"]), RESOURCE, Ok(())),
            (&by_list, json!(RESOURCE), RESOURCE, Err("api")),
            (&by_list, json!(null), RESOURCE, Err("api")),
        ] {
            let verified = judged(config, json!({"aud": audience})).expect("it is valid");
            let expected = expected.map_err(|text| Why::Audience { expected: text.to_owned() });
            assert_eq!(admits(config, &verified, resource, None, NOW), expected, "{audience} {resource}");
        }
    }

    #[test]
    fn an_issuer_may_demand_that_tokens_are_bound() {
        let (any, strict) = (config(|_| {}), config(|rules| rules.bound_only = true));
        let bound = json!({"x5t#S256": "AQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQE"});
        for (confirmation, by_default, strictly) in [
            (bound, None, None),
            (json!(null), None, Some(Why::Unbound)),
            (json!({"jkt": "x"}), Some(Why::UnsupportedBinding), Some(Why::UnsupportedBinding)),
            (json!({}), Some(Why::UnsupportedBinding), Some(Why::UnsupportedBinding)),
            (json!({"x5t#S256": "AQE"}), Some(Why::claim("cnf")), Some(Why::claim("cnf"))),
        ] {
            assert_eq!(judged(&any, json!({"cnf": confirmation})).err(), by_default, "{confirmation}");
            assert_eq!(judged(&strict, json!({"cnf": confirmation})).err(), strictly, "{confirmation}");
        }
    }

    #[test]
    fn time_and_certificate_are_asked_each_time() {
        let config = config(|_| {});
        let bound = judged(&config, json!({"cnf": {"x5t#S256": "AQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQE"}}));
        let bound = bound.expect("it is valid");
        let later = NOW + Duration::from_secs(660);
        assert_eq!(admits(&config, &bound, RESOURCE, Some(&[1; 32]), NOW), Ok(()));
        assert_eq!(admits(&config, &bound, RESOURCE, Some(&[2; 32]), NOW), Err(Why::Binding));
        assert_eq!(admits(&config, &bound, RESOURCE, None, NOW), Err(Why::Binding));
        assert_eq!(admits(&config, &bound, RESOURCE, Some(&[1; 32]), later), Err(Why::Expired));
    }
}
