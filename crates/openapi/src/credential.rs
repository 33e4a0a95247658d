//! Security schemes, and the credentials that requests carry for them.
//!
//! The configuration has one credential per scheme. Each operation lists alternatives, each of them schemes that are
//! needed together; the first alternative whose schemes all have a credential is used, and what it adds to a request
//! is made once, when the document is compiled. Secrets are never shown: `Debug` hides them, header values are marked
//! sensitive.

use std::collections::BTreeMap;
use std::fmt;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use http::header::AUTHORIZATION;
use http::{HeaderName, HeaderValue};
use percent_encoding::utf8_percent_encode;

use crate::document::Document;
use crate::encode;
use crate::node::Node;
use crate::operation::Operation;
use crate::problem::{Fault, Reason, shown};

/// A text that is never shown.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(Box<str>);

/// What is known for one security scheme.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Credential {
    /// A bearer token: `http` bearer, `oauth2` and `openIdConnect` schemes.
    Token(Secret),
    /// A user name and a password: `http` basic schemes.
    Basic {
        /// The user name, without a colon.
        username: String,
        /// The password.
        password: Secret,
    },
    /// A value as it is sent: `apiKey` schemes, and what follows the scheme's name for other `http` schemes.
    Value(Secret),
}

/// What one scheme adds to a request.
#[derive(Clone, PartialEq, Eq)]
pub(crate) enum Proof {
    Header(HeaderName, HeaderValue),
    /// `name=value`, encoded.
    Query(Box<str>),
    /// `name=value`, encoded.
    Cookie(Box<str>),
}

/// The schemes for which there is a credential, by their names.
#[derive(Clone, Debug)]
pub(crate) struct Proofs(BTreeMap<String, Proof>);

// === impl Secret ===

impl Secret {
    /// Hides a text.
    #[must_use]
    pub fn new(text: &str) -> Self {
        Self(Box::from(text))
    }

    /// Returns the text, for the request that it belongs to.
    #[must_use]
    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("(hidden)")
    }
}

// === impl Credential ===

impl Credential {
    fn kind(&self) -> &'static str {
        match self {
            Self::Token(_) => "a token",
            Self::Basic { .. } => "a user name and password",
            Self::Value(_) => "a value",
        }
    }
}

// === impl Proof ===

impl fmt::Debug for Proof {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Header(..) => "Header(hidden)",
            Self::Query(_) => "Query(hidden)",
            Self::Cookie(_) => "Cookie(hidden)",
        })
    }
}

// === impl Proofs ===

impl Proofs {
    /// Makes what each configured scheme adds to requests.
    ///
    /// # Errors
    /// A fault when a scheme does not exist, needs another credential, or the credential cannot be sent.
    pub(crate) fn new(document: &Document, credentials: &BTreeMap<String, Credential>) -> Result<Self, Fault> {
        let root = document.node();
        let schemes = root.get("components").and_then(|components| components.get("securitySchemes"));
        let mut proofs = BTreeMap::new();
        for (name, credential) in credentials {
            let Some(scheme) = schemes.as_ref().and_then(|schemes| schemes.get(name)) else {
                let known = schemes.as_ref().and_then(|schemes| schemes.value.as_object());
                let allowed = known.into_iter().flat_map(|known| known.keys().cloned()).collect();
                let pointer = "#/components/securitySchemes".to_owned();
                return Err(Fault { pointer, reason: Reason::NotAChoice { value: shown(name), allowed } });
            };
            let scheme = document.resolve(scheme)?;
            proofs.insert(name.clone(), proof(&scheme, credential)?);
        }
        Ok(Self(proofs))
    }

    /// Chooses what an operation's requests carry: the first alternative that is complete.
    ///
    /// When none is, the second part says so.
    ///
    /// # Errors
    /// A fault when `security` is no list of objects.
    pub(crate) fn of_operation(
        &self,
        document: &Document,
        operation: &Operation<'_>,
    ) -> Result<(Vec<Proof>, Option<Fault>), Fault> {
        let Some(security) = operation.node.get("security").or_else(|| document.node().get("security")) else {
            return Ok((Vec::new(), None));
        };
        let mut wanted = Vec::new();
        let mut anonymous = true;
        for alternative in security.items()? {
            let schemes: Vec<&String> = alternative.object()?.keys().collect();
            anonymous = false;
            if schemes.is_empty() {
                // Optional: what has credentials is better, whatever the order.
                wanted.push(None);
                continue;
            }
            let proofs: Option<Vec<Proof>> = schemes.iter().map(|name| self.0.get(*name).cloned()).collect();
            match proofs {
                Some(proofs) => return Ok((proofs, None)),
                None => wanted.push(Some(join(&schemes))),
            }
        }
        if anonymous || wanted.contains(&None) {
            return Ok((Vec::new(), None));
        }
        let schemes = wanted.into_iter().flatten().collect();
        Ok((Vec::new(), Some(security.fault(Reason::NoCredential { schemes }))))
    }
}

fn join(schemes: &[&String]) -> String {
    schemes.iter().map(|name| name.as_str()).collect::<Vec<_>>().join(" with ")
}

fn proof(scheme: &Node<'_>, credential: &Credential) -> Result<Proof, Fault> {
    let kind = scheme.text_of("type")?.unwrap_or_default();
    let needs = |what: &str| {
        let allowed = vec![what.to_owned()];
        Err(scheme.fault(Reason::NotAChoice { value: credential.kind().to_owned(), allowed }))
    };
    match (kind, credential) {
        ("apiKey", Credential::Value(value)) => api_key(scheme, value),
        ("apiKey", _) => needs("a value"),
        ("oauth2" | "openIdConnect", Credential::Token(token)) => authorization(scheme, &format!("Bearer {}", token.0)),
        ("oauth2" | "openIdConnect", _) => needs("a token"),
        ("http", _) => {
            let name = scheme.text_of("scheme")?.unwrap_or_default();
            match (name.to_ascii_lowercase().as_str(), credential) {
                ("bearer", Credential::Token(token)) => authorization(scheme, &format!("Bearer {}", token.0)),
                ("bearer", _) => needs("a token"),
                ("basic", Credential::Basic { username, password }) => basic(scheme, username, password),
                ("basic", _) => needs("a user name and password"),
                (_, Credential::Value(value)) => authorization(scheme, &format!("{name} {}", value.0)),
                (_, _) => needs("a value"),
            }
        }
        (other, _) => {
            let what = format!("the security scheme type {}", shown(other));
            Err(scheme.fault(Reason::Unsupported { what, hint: "; allowed: apiKey, http, oauth2, openIdConnect" }))
        }
    }
}

fn api_key(scheme: &Node<'_>, value: &Secret) -> Result<Proof, Fault> {
    let missing = |what: &str| scheme.fault(Reason::Missing { what: what.to_owned() });
    let name = scheme.text_of("name")?.ok_or_else(|| missing("the key name"))?;
    let pair = || {
        let value = utf8_percent_encode(&value.0, encode::STRICT);
        Box::from(format!("{}={value}", utf8_percent_encode(name, encode::STRICT)))
    };
    match scheme.text_of("in")? {
        Some("query") => Ok(Proof::Query(pair())),
        Some("cookie") => Ok(Proof::Cookie(pair())),
        Some("header") => {
            let invalid = |_| {
                let message = "it is not a header name".to_owned();
                scheme.fault(Reason::Invalid { value: shown(name), message })
            };
            let header = HeaderName::from_bytes(name.as_bytes()).map_err(invalid)?;
            Ok(Proof::Header(header, secret_value(scheme, &value.0)?))
        }
        other => {
            let allowed = ["header", "query", "cookie"].map(str::to_owned).to_vec();
            Err(scheme.fault(Reason::NotAChoice { value: shown(other.unwrap_or_default()), allowed }))
        }
    }
}

fn basic(scheme: &Node<'_>, username: &str, password: &Secret) -> Result<Proof, Fault> {
    if username.contains(':') {
        let message = "a user name has no colon".to_owned();
        return Err(scheme.fault(Reason::Invalid { value: shown(username), message }));
    }
    authorization(scheme, &format!("Basic {}", STANDARD.encode(format!("{username}:{}", password.0))))
}

fn authorization(scheme: &Node<'_>, value: &str) -> Result<Proof, Fault> {
    Ok(Proof::Header(AUTHORIZATION, secret_value(scheme, value)?))
}

fn secret_value(scheme: &Node<'_>, value: &str) -> Result<HeaderValue, Fault> {
    let mut value = HeaderValue::from_str(value).map_err(|_| {
        let message = "a header's value has visible ASCII characters, spaces and tabs only".to_owned();
        scheme.fault(Reason::Invalid { value: "the credential (hidden)".to_owned(), message })
    })?;
    value.set_sensitive(true);
    Ok(value)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::document::Format;
    use crate::limits::DEFAULTS;
    use crate::operation;

    const DOCUMENT: &str = "
openapi: 3.0.0
security: [{key: []}, {token: [], cookie: []}]
paths:
  /default: {get: {}}
  /none: {get: {security: []}}
  /optional: {get: {security: [{}, {basic: []}]}}
  /many: {get: {security: [{oauth: [read]}, {query: [], token: []}]}}
components:
  securitySchemes:
    key: {type: apiKey, in: header, name: X-Key}
    query: {type: apiKey, in: query, name: 'api key'}
    cookie: {type: apiKey, in: cookie, name: sid}
    token: {type: http, scheme: Bearer}
    basic: {type: http, scheme: basic}
    digest: {type: http, scheme: Token}
    oauth: {type: oauth2}
    tls: {type: mutualTLS}
";

    fn secret(text: &str) -> Secret {
        Secret::new(text)
    }

    fn chosen(credentials: &[(&str, Credential)]) -> Result<Vec<String>, String> {
        let credentials = credentials.iter().map(|(name, one)| ((*name).to_owned(), one.clone())).collect();
        let document = Document::read(DOCUMENT, Format::Yaml, &DEFAULTS).expect("is read");
        let proofs = Proofs::new(&document, &credentials).map_err(|fault| fault.refused().to_string())?;
        let (operations, _) = operation::all(&document).expect("has paths");
        let shown = operations.iter().map(|operation| {
            let (proofs, note) = proofs.of_operation(&document, operation).expect("is well-formed");
            let parts = proofs.iter().map(|proof| match proof {
                Proof::Header(name, value) => format!("{name}: {}", value.to_str().expect("is ASCII")),
                Proof::Query(pair) => format!("?{pair}"),
                Proof::Cookie(pair) => format!("cookie {pair}"),
            });
            let mut parts: Vec<String> = parts.collect();
            parts.extend(note.map(|note| note.noted().to_string()));
            parts.join(", ")
        });
        Ok(shown.collect())
    }

    #[test]
    fn the_first_complete_alternative_is_used() {
        let token = ("token", Credential::Token(secret("t0")));
        let key = ("key", Credential::Value(secret("k0")));
        let query = ("query", Credential::Value(secret("q 0&x")));
        let basic = ("basic", Credential::Basic { username: "ann".to_owned(), password: secret("pw") });

        let found = chosen(&[token.clone(), query, basic]).expect("are valid");
        assert_eq!(
            found,
            [
                "#/security: calls go without credentials: none is configured for key, token with cookie",
                "",
                "authorization: Basic YW5uOnB3",
                "?api%20key=q%200%26x, authorization: Bearer t0",
            ]
        );
        let cookie = ("cookie", Credential::Value(secret("c;0")));
        assert_eq!(chosen(&[token, cookie]).expect("are valid")[0], "authorization: Bearer t0, cookie sid=c%3B0");
        assert_eq!(chosen(&[key]).expect("are valid")[0], "x-key: k0");
    }

    #[test]
    fn a_credential_must_fit_its_scheme() {
        let token = || Credential::Token(secret("s3cret"));
        let value = || Credential::Value(secret("s3cret"));
        let at = "#/components/securitySchemes";
        let cases = [
            (
                "gone",
                token(),
                format!(
                    "{at}: \"gone\" is not a choice; allowed: key, query, cookie, token, basic, digest, oauth, tls"
                ),
            ),
            ("key", token(), format!("{at}/key: a token is not a choice; allowed: a value")),
            ("oauth", value(), format!("{at}/oauth: a value is not a choice; allowed: a token")),
            ("basic", token(), format!("{at}/basic: a token is not a choice; allowed: a user name and password")),
            (
                "tls",
                token(),
                format!(
                    "{at}/tls: the security scheme type \"mutualTLS\" is not supported; allowed: apiKey, http, oauth2, openIdConnect"
                ),
            ),
            (
                "token",
                Credential::Token(secret("s3\ncret")),
                format!(
                    "{at}/token: the credential (hidden) is not valid: a header's value has visible ASCII characters, spaces and tabs only"
                ),
            ),
        ];
        for (name, credential, expected) in cases {
            assert_eq!(chosen(&[(name, credential)]), Err(expected));
        }
        assert!(chosen(&[("digest", value())]).is_ok());
    }

    #[test]
    fn secrets_do_not_show_in_debug_output() {
        let shown = format!("{:?} {:?}", Credential::Value(secret("s3cret")), Proof::Query(Box::from("k=s3cret")));
        assert!(!shown.contains("s3cret"), "{shown}");
    }
}
