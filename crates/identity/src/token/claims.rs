//! Reads what claims say: times, names, lists, who acts for whom, and what a token is bound to.
//!
//! In: the claims of a token whose signature was checked, or an introspection answer, which has the same members
//! (RFC 7662 §2.2). Out: values within limits, or the name of the claim that is not one. Names of people and programs
//! have no control characters, so that they can stand in a log, and nothing is cut short: a list that lost a group could
//! lose the one that a policy forbids.

use std::collections::BTreeSet;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use quorate_types::{Actor, Timestamp};
use serde_json::{Map, Value};

use crate::refused::Why;
use crate::verified::THUMBPRINT_BYTES;

/// The longest name in a claim (a subject, group, scope, audience), in bytes. OpenID Connect Core §2 allows subjects of
/// 255 ASCII characters; workloads have longer ones, and audiences are URLs.
pub const NAME_BYTES_MAX: usize = 1024;
/// The most groups, scopes or audiences of a token each: what fits the largest one with names of a usual length.
pub const LIST_MAX: usize = 1024;
/// The most actors of a delegation chain: each is a service that called the next, and a chain that long is a loop.
pub const DELEGATION_MAX: usize = 8;
/// The end of the year 9999, in seconds: what comes later is not a time but a mistake, such as milliseconds.
const SECONDS_MAX: f64 = 253_402_300_799.0;

/// Where a claim is: `groups`, or `realm_access.roles` for a member of a claim.
///
/// A claim whose name has dots (`https://example.com/roles`) is found by its whole name first.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct ClaimPath(String);

/// A text does not say where a claim is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a claim's path has 1 to {PATH_BYTES_MAX} characters, no control characters and no empty part between dots")]
pub struct InvalidPath;

/// The longest path of a claim, in bytes: names of claims are short, or URLs.
pub const PATH_BYTES_MAX: usize = 256;

// === impl ClaimPath ===

impl ClaimPath {
    /// Checks a path.
    ///
    /// # Errors
    /// [`InvalidPath`] when it is empty, too long, has control characters or an empty part.
    pub fn new(text: &str) -> Result<Self, InvalidPath> {
        let is_valid = (1..=PATH_BYTES_MAX).contains(&text.len())
            && !text.contains(char::is_control)
            && text.split('.').all(|part| !part.is_empty());
        if is_valid { Ok(Self(text.to_owned())) } else { Err(InvalidPath) }
    }

    /// Returns the path's text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Finds the claim; null is as good as none (OpenID Connect Core §5.3.2).
    pub(crate) fn find<'a>(&self, claims: &'a Map<String, Value>) -> Option<&'a Value> {
        let found = claims.get(&self.0).or_else(|| {
            let mut parts = self.0.split('.');
            let first = claims.get(parts.next()?)?;
            parts.try_fold(first, |value, part| value.as_object()?.get(part))
        });
        found.filter(|value| !value.is_null())
    }

    pub(crate) fn refuse(&self) -> Why {
        Why::claim(self.as_str())
    }
}

/// Reads a time: seconds since the epoch, with or without a fraction (RFC 7519 §2, `NumericDate`).
pub(crate) fn time(claims: &Map<String, Value>, name: &str) -> Result<Option<Timestamp>, Why> {
    let Some(value) = claims.get(name) else { return Ok(None) };
    let seconds = value.as_f64().filter(|seconds| (0.0..=SECONDS_MAX).contains(seconds));
    let seconds = seconds.ok_or_else(|| Why::claim(name))?;
    // Within the range a double holds milliseconds exactly enough, and the cast cannot wrap.
    Ok(Some(Timestamp::from_millis((seconds * 1000.0) as u64)))
}

/// Reads a name: not empty, not too long, without control characters.
pub(crate) fn name(value: &Value) -> Option<&str> {
    let text = value.as_str()?;
    is_name(text).then_some(text)
}

/// Reads a list of names: an array, or one name alone.
pub(crate) fn names(value: &Value) -> Option<BTreeSet<String>> {
    match value {
        Value::String(_) => name(value).map(|name| BTreeSet::from([name.to_owned()])),
        Value::Array(elements) if elements.len() <= LIST_MAX => {
            elements.iter().map(|element| name(element).map(str::to_owned)).collect()
        }
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::Array(_) | Value::Object(_) => None,
    }
}

/// Reads scopes: names in one text with spaces between (RFC 8693 §4.2), or an array of names.
pub(crate) fn scopes(value: &Value) -> Option<BTreeSet<String>> {
    let Some(text) = value.as_str() else { return names(value) };
    let scopes: Option<BTreeSet<_>> = text
        .split(' ')
        .filter(|scope| !scope.is_empty())
        .map(|scope| is_name(scope).then(|| scope.to_owned()))
        .collect();
    scopes.filter(|scopes| scopes.len() <= LIST_MAX)
}

/// Reads for whom a token is (RFC 7519 §4.1.3); nothing said is an empty list.
pub(crate) fn audiences(claims: &Map<String, Value>) -> Result<BTreeSet<String>, Why> {
    match claims.get("aud") {
        None => Ok(BTreeSet::new()),
        Some(value) => names(value).ok_or_else(|| Why::claim("aud")),
    }
}

/// Reads who acts for the subject, the present actor first (RFC 8693 §4.1).
pub(crate) fn delegation(claims: &Map<String, Value>, issuer: &str) -> Result<Vec<Actor>, Why> {
    let refuse = || Why::claim("act");
    let (mut chain, mut next) = (Vec::new(), claims.get("act"));
    while let Some(act) = next {
        let act = act.as_object().filter(|_| chain.len() < DELEGATION_MAX).ok_or_else(refuse)?;
        let subject = act.get("sub").and_then(name).ok_or_else(refuse)?;
        let issuer = act.get("iss").map_or(Some(issuer), name).ok_or_else(refuse)?;
        chain.push(Actor { issuer: issuer.to_owned(), subject: subject.to_owned() });
        next = act.get("act");
    }
    Ok(chain)
}

/// Reads which certificate a token is bound to (`x5t#S256`, RFC 8705 §3.1). Every other binding is refused, also beside
/// that one: whoever bound it did not mean it to be used without.
pub(crate) fn binding(claims: &Map<String, Value>) -> Result<Option<[u8; THUMBPRINT_BYTES]>, Why> {
    let Some(confirmation) = claims.get("cnf") else { return Ok(None) };
    let members = confirmation.as_object().ok_or_else(|| Why::claim("cnf"))?;
    let Some(thumbprint) = members.get("x5t#S256").filter(|_| members.len() == 1) else {
        return Err(Why::UnsupportedBinding);
    };
    let bytes = thumbprint.as_str().and_then(|text| URL_SAFE_NO_PAD.decode(text).ok());
    bytes.and_then(|bytes| bytes.try_into().ok()).map(Some).ok_or_else(|| Why::claim("cnf"))
}

fn is_name(text: &str) -> bool {
    (1..=NAME_BYTES_MAX).contains(&text.len()) && !text.contains(char::is_control)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn map(value: Value) -> Map<String, Value> {
        value.as_object().expect("an object").clone()
    }

    #[test]
    fn a_path_finds_a_claim_by_its_whole_name_or_step_by_step() {
        let claims = map(json!({"a": {"b": {"c": 1}}, "x.y": 2, "x": {"y": 3}, "https://e.com/r": 4, "n": null}));
        for (path, expected) in [
            ("a.b.c", Some(json!(1))),
            ("x.y", Some(json!(2))),
            ("https://e.com/r", Some(json!(4))),
            ("a.b.d", None),
            ("a.b.c.d", None),
            ("n", None),
            ("A", None),
        ] {
            let path = ClaimPath::new(path).expect("a path");
            assert_eq!(path.find(&claims), expected.as_ref(), "{path:?}");
        }
        for text in ["", ".", "a.", ".a", "a..b", "a\n", &"x".repeat(PATH_BYTES_MAX + 1)] {
            assert_eq!(ClaimPath::new(text), Err(InvalidPath), "{text:?}");
        }
    }

    #[test]
    fn times_are_numbers_of_this_era() {
        for (value, expected) in [
            (json!(0), Some(0)),
            (json!(1_700_000_000), Some(1_700_000_000_000)),
            (json!(1_700_000_000.5), Some(1_700_000_000_500)),
            (json!(253_402_300_799_u64), Some(253_402_300_799_000)),
            (json!(253_402_300_800_u64), None),
            (json!(u64::MAX), None),
            (json!(1e300), None),
            (json!(-1), None),
            (json!(-0.5), None),
            (json!("1700000000"), None),
            (json!(null), None),
            (json!([1]), None),
        ] {
            let read = time(&map(json!({"exp": value})), "exp");
            let expected = expected.map(Timestamp::from_millis).map(Some).ok_or(Why::claim("exp"));
            assert_eq!(read, expected, "{value}");
        }
        assert_eq!(time(&Map::new(), "exp"), Ok(None));
    }

    #[test]
    fn lists_are_whole_or_refused() {
        let set = |names: &[&str]| Some(names.iter().map(|name| (*name).to_owned()).collect());
        assert_eq!(names(&json!(["b", "a", "b"])), set(&["a", "b"]));
        assert_eq!(names(&json!("a b")), set(&["a b"]));
        assert_eq!(names(&json!([])), set(&[]));
        assert_eq!(scopes(&json!(" a  b ")), set(&["a", "b"]));
        assert_eq!(scopes(&json!("")), set(&[]));
        assert_eq!(scopes(&json!(["a", "b"])), set(&["a", "b"]));
        for value in [
            json!(7),
            json!({"a": 1}),
            json!(["a", 7]),
            json!(["a", ""]),
            json!(["a\u{0}"]),
            json!(["x".repeat(NAME_BYTES_MAX + 1)]),
            json!((0..=LIST_MAX).map(|number| number.to_string()).collect::<Vec<_>>()),
        ] {
            assert_eq!(names(&value), None, "{value:.60}");
            assert_eq!(scopes(&value), None, "{value:.60}");
        }
        assert_eq!(scopes(&json!("a\tb")), None);
    }

    #[test]
    fn a_chain_of_actors_is_read_from_the_present_one_on_and_bounded() {
        let actor = |issuer: &str, subject: &str| Actor { issuer: issuer.into(), subject: subject.into() };
        let claims = map(json!({"act": {"sub": "a", "act": {"sub": "b", "iss": "other"}}}));
        assert_eq!(delegation(&claims, "own"), Ok(vec![actor("own", "a"), actor("other", "b")]));
        assert_eq!(delegation(&Map::new(), "own"), Ok(vec![]));

        let chain = |length: usize| {
            (0..length).fold(None, |act: Option<Value>, _| {
                let mut outer = json!({"sub": "a"});
                if let Some(act) = act {
                    outer["act"] = act;
                }
                Some(outer)
            })
        };
        let longest = map(json!({"act": chain(DELEGATION_MAX)}));
        assert_eq!(delegation(&longest, "own").map(|chain| chain.len()), Ok(DELEGATION_MAX));
        for act in [
            chain(DELEGATION_MAX + 1).expect("a chain"),
            json!("a"),
            json!(null),
            json!({}),
            json!({"sub": ""}),
            json!({"sub": "a", "iss": 7}),
            json!({"sub": "a", "act": {"iss": "x"}}),
        ] {
            assert_eq!(delegation(&map(json!({"act": act})), "own"), Err(Why::claim("act")), "{act}");
        }
    }

    #[test]
    fn only_the_binding_to_a_certificate_is_known() {
        let thumbprint = URL_SAFE_NO_PAD.encode([7; 32]);
        assert_eq!(binding(&map(json!({"cnf": {"x5t#S256": thumbprint}}))), Ok(Some([7; 32])));
        assert_eq!(binding(&Map::new()), Ok(None));
        for (confirmation, expected) in [
            (json!({"jkt": "x"}), Why::UnsupportedBinding),
            (json!({"jkt": "x", "x5t#S256": thumbprint}), Why::UnsupportedBinding),
            (json!({"jwk": {"kty": "EC"}}), Why::UnsupportedBinding),
            (json!({"jku": "https://idp/keys", "kid": "1"}), Why::UnsupportedBinding),
            (json!({"X5T#S256": thumbprint}), Why::UnsupportedBinding),
            (json!({"x5t": thumbprint}), Why::UnsupportedBinding),
            (json!({}), Why::UnsupportedBinding),
            (json!({"x5t#S256": "AA"}), Why::claim("cnf")),
            (json!({"x5t#S256": format!("{thumbprint}=")}), Why::claim("cnf")),
            (json!({"x5t#S256": "+/".repeat(21) + "8"}), Why::claim("cnf")),
            (json!({"x5t#S256": "07".repeat(32)}), Why::claim("cnf")),
            (json!({"x5t#S256": ""}), Why::claim("cnf")),
            (json!({"x5t#S256": 7}), Why::claim("cnf")),
            (json!({"x5t#S256": null}), Why::claim("cnf")),
            (json!({"x5t#S256": [thumbprint]}), Why::claim("cnf")),
            (json!([{"x5t#S256": thumbprint}]), Why::claim("cnf")),
            (json!("x"), Why::claim("cnf")),
            (json!(null), Why::claim("cnf")),
        ] {
            assert_eq!(binding(&map(json!({"cnf": confirmation}))), Err(expected), "{confirmation}");
        }
    }
}
