//! Security schemes, and the credentials that requests carry for them.
//!
//! The configuration has one credential per scheme. Each operation lists alternatives, each of them schemes that are
//! needed together; the first alternative whose schemes all have a credential is used, and what it adds to a request
//! is made once, when the document is compiled. Where a document never says which operations need credentials, all
//! requests carry them: whoever configures one means it to be sent. Secrets are never shown: `Debug` hides them, header values are marked
//! sensitive.

use std::collections::{BTreeMap, HashSet};
use std::fmt;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use http::header::AUTHORIZATION;
use http::{HeaderName, HeaderValue};
use percent_encoding::utf8_percent_encode;
use quorate_types::Secret;

use crate::document::Document;
use crate::encode;
use crate::node::Node;
use crate::operation::Operation;
use crate::problem::{Fault, Reason, shown};

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

/// The schemes for which there is a credential.
#[derive(Clone, Debug)]
pub(crate) struct Proofs {
    by_name: BTreeMap<String, Proof>,
    /// Whether the document never says which operation needs what, so that every request carries all of them.
    everywhere: bool,
}

/// What the requests of one operation carry.
#[derive(Debug)]
pub(crate) struct Chosen<'a> {
    /// By the names of their schemes.
    pub(crate) proofs: Vec<(&'a str, Proof)>,
    /// Says that no alternative is complete.
    pub(crate) note: Option<Fault>,
}

// === impl Chosen ===

impl Chosen<'_> {
    /// What is left of it for an operation at another server than the document's, where nothing says that it is for
    /// that one, too.
    pub(crate) fn elsewhere(self, operation: &Operation<'_>) -> Self {
        let what = || "a configured credential".to_owned();
        let why = "the document does not say that this other server gets it";
        let note = (!self.proofs.is_empty()).then(|| operation.node.fault(Reason::PassedOver { what: what(), why }));
        Self { proofs: Vec::new(), note: note.or(self.note) }
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
    /// A document that declares no scheme takes a token, or a user name and a password, under any name.
    ///
    /// # Errors
    /// A fault when a scheme does not exist, needs another credential, or the credential cannot be sent.
    pub(crate) fn new(
        document: &Document,
        operations: &[Operation<'_>],
        credentials: &BTreeMap<String, Credential>,
    ) -> Result<Self, Fault> {
        let root = document.node();
        let schemes = root.get("components").and_then(|components| components.get("securitySchemes"));
        let schemes = schemes.filter(|schemes| schemes.value.as_object().is_none_or(|known| !known.is_empty()));
        let mut by_name = BTreeMap::new();
        for (name, credential) in credentials {
            let Some(schemes) = &schemes else {
                by_name.insert(name.clone(), undeclared(&root, name, credential)?);
                continue;
            };
            let Some(scheme) = schemes.get(name) else {
                let known = schemes.value.as_object();
                let allowed = known.into_iter().flat_map(|known| known.keys().cloned()).collect();
                return Err(schemes.fault(Reason::NotAChoice { value: shown(name), allowed }));
            };
            let scheme = document.resolve(scheme)?;
            by_name.insert(name.clone(), proof(&scheme, credential)?);
        }
        let says = |node: &Node<'_>| node.get("security").is_some();
        let everywhere = !says(&root) && !operations.iter().any(|operation| says(&operation.node));
        let headers = by_name.values().filter(|proof| matches!(proof, Proof::Header(name, _) if name == AUTHORIZATION));
        if everywhere && headers.count() > 1 {
            let value = "more than one credential for the header Authorization".to_owned();
            let message = "the document does not say which operation needs which: configure one".to_owned();
            return Err(root.fault(Reason::Invalid { value, message }));
        }
        Ok(Self { by_name, everywhere })
    }

    /// Tells whether the document never says which operation needs what.
    pub(crate) const fn are_everywhere(&self) -> bool {
        self.everywhere
    }

    /// Chooses what an operation's requests carry: the first alternative that is complete.
    ///
    /// # Errors
    /// A fault when `security` is no list of objects.
    pub(crate) fn of_operation(&self, document: &Document, operation: &Operation<'_>) -> Result<Chosen<'_>, Fault> {
        if self.everywhere {
            let proofs = self.by_name.iter().map(|(name, proof)| (name.as_str(), proof.clone())).collect();
            return Ok(Chosen { proofs, note: None });
        }
        let nothing = Chosen { proofs: Vec::new(), note: None };
        let Some(security) = operation.node.get("security").or_else(|| document.node().get("security")) else {
            return Ok(nothing);
        };
        let mut wanted = Vec::new();
        let mut optional = false;
        for alternative in security.items()? {
            let schemes: Vec<&String> = alternative.object()?.keys().collect();
            if schemes.is_empty() {
                // What has credentials is better, whatever the order.
                optional = true;
                continue;
            }
            let found =
                |name: &&String| self.by_name.get_key_value(*name).map(|(name, proof)| (name.as_str(), proof.clone()));
            match schemes.iter().map(found).collect() {
                Some(proofs) => return Ok(Chosen { proofs, note: None }),
                None => wanted.push(join(&schemes)),
            }
        }
        if optional || wanted.is_empty() {
            return Ok(nothing);
        }
        Ok(Chosen { proofs: Vec::new(), note: Some(security.fault(Reason::NoCredential { schemes: wanted })) })
    }

    /// Says of each credential that no request of these operations carries that it goes nowhere.
    pub(crate) fn unused<'o, 'd: 'o>(
        &self,
        document: &Document,
        operations: impl Iterator<Item = &'o Operation<'d>>,
    ) -> Vec<Fault> {
        let chosen = operations.filter_map(|operation| self.of_operation(document, operation).ok());
        let used: HashSet<&str> = chosen.flat_map(|chosen| chosen.proofs).map(|(name, _)| name).collect();
        let unused = self.by_name.keys().filter(|name| !used.contains(name.as_str()));
        let pointer =
            |name: &str| format!("#/components/securitySchemes/{}", name.replace('~', "~0").replace('/', "~1"));
        unused
            .map(|name| Fault { pointer: pointer(name), reason: Reason::UnusedCredential { scheme: name.clone() } })
            .collect()
    }
}

/// Makes what a credential adds that no scheme describes: what a token is, and a user name with a password, is known.
fn undeclared(root: &Node<'_>, name: &str, credential: &Credential) -> Result<Proof, Fault> {
    match credential {
        Credential::Token(token) => authorization(root, &format!("Bearer {}", token.expose())),
        Credential::Basic { username, password } => basic(root, username, password),
        Credential::Value(_) => {
            let what = format!("a value for {}, of which the document does not say where it goes,", shown(name));
            let hint = "; use a token, a user name and a password, or a fixed header";
            Err(root.fault(Reason::Unsupported { what, hint }))
        }
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
        ("oauth2" | "openIdConnect", Credential::Token(token)) => {
            authorization(scheme, &format!("Bearer {}", token.expose()))
        }
        ("oauth2" | "openIdConnect", _) => needs("a token"),
        ("http", _) => {
            let name = scheme.text_of("scheme")?.unwrap_or_default();
            match (name.to_ascii_lowercase().as_str(), credential) {
                ("bearer", Credential::Token(token)) => authorization(scheme, &format!("Bearer {}", token.expose())),
                ("bearer", _) => needs("a token"),
                ("basic", Credential::Basic { username, password }) => basic(scheme, username, password),
                ("basic", _) => needs("a user name and password"),
                (_, Credential::Value(value)) => authorization(scheme, &format!("{name} {}", value.expose())),
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
        let value = utf8_percent_encode(value.expose(), encode::STRICT);
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
            Ok(Proof::Header(header, secret_value(scheme, value.expose())?))
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
    authorization(scheme, &format!("Basic {}", STANDARD.encode(format!("{username}:{}", password.expose()))))
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
        let (operations, _) = operation::all(&document).expect("has paths");
        let proofs = Proofs::new(&document, &operations, &credentials).map_err(|fault| fault.refused().to_string())?;
        let shown = operations.iter().map(|operation| {
            let Chosen { proofs, note } = proofs.of_operation(&document, operation).expect("is well-formed");
            let parts = proofs.iter().map(|(_, proof)| match proof {
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
