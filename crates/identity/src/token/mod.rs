//! A signed token in the compact form (RFC 7515 §3.1), read and not yet believed.
//!
//! In: what stands after `Bearer`. Out: its header, its claims and what the signature is over, or a refusal. Read
//! strictly: exactly three parts of base64url without padding, JSON objects in which every name stands once. Keys that
//! come with the token (`jwk`, `jku`, `x5u`, `x5c`) are never looked at. Who signed it, and what it allows, is for others.

pub(crate) mod algorithm;
pub(crate) mod claims;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use ring::digest;
use serde_json::{Map, Value};

use crate::json::{self, Fault};
use crate::jwks::KID_BYTES_MAX;
use crate::refused::Why;

/// The most bytes of a token: half of what fits the header fields of a request, and twenty times a common one. Tokens
/// that carry hundreds of groups reach 8 KiB.
pub const TOKEN_BYTES_MAX: usize = 16 << 10;

/// What a token is called in caches: its SHA-256, so that no cache holds a token that could be used.
pub(crate) type TokenId = [u8; digest::SHA256_OUTPUT_LEN];

/// Makes the id of a token.
pub(crate) fn id(text: &str) -> TokenId {
    let hash = digest::digest(&digest::SHA256, text.as_bytes());
    hash.as_ref().try_into().expect("a SHA-256 has 32 bytes")
}

/// What a text looks like, before anything of it is decoded as a whole.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Shape {
    /// A JWT, signed or not (RFC 7519 §6).
    Signed,
    /// An encrypted JWT (RFC 7516 §3.1).
    Encrypted,
    /// Something else, which only its issuer can read.
    Opaque,
}

/// A token as it says of itself.
#[derive(Debug)]
pub(crate) struct Token<'a> {
    pub(crate) header: Header,
    pub(crate) claims: Map<String, Value>,
    /// What the signature is over.
    pub(crate) signed: &'a [u8],
    pub(crate) signature: Vec<u8>,
}

/// What is looked at of a token's header.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Header {
    /// The algorithm's name.
    pub(crate) alg: String,
    /// The key's name.
    pub(crate) kid: Option<String>,
    /// What kind of token it is.
    pub(crate) typ: Option<String>,
}

// === impl Shape ===

impl Shape {
    /// Looks at a text: a JWT has two dots (an encrypted one four), and a first part that decodes to the beginning of a
    /// JSON object.
    pub(crate) fn of(text: &str) -> Self {
        let (head, _) = text.split_once('.').unwrap_or((text, ""));
        // The bytes decode alone, without what follows them.
        let is_object = head.get(..4).is_some_and(|start| {
            URL_SAFE_NO_PAD.decode(start).is_ok_and(|bytes| bytes.trim_ascii_start().first() == Some(&b'{'))
        });
        match (is_object, memchr::memchr_iter(b'.', text.as_bytes()).count()) {
            (true, 2) => Self::Signed,
            (true, 4) => Self::Encrypted,
            _ => Self::Opaque,
        }
    }
}

// === impl Token ===

impl<'a> Token<'a> {
    /// Reads a token of at most [`TOKEN_BYTES_MAX`].
    pub(crate) fn read(text: &'a str) -> Result<Self, Why> {
        if text.len() > TOKEN_BYTES_MAX {
            return Err(Why::Oversized { bytes: text.len(), max: TOKEN_BYTES_MAX });
        }
        let mut parts = text.split('.');
        let (Some(header), Some(claims), Some(signature), None) =
            (parts.next(), parts.next(), parts.next(), parts.next())
        else {
            return Err(Why::Malformed("it has not three parts"));
        };
        let signed = &text.as_bytes()[..header.len() + 1 + claims.len()];
        let header = Header::of(&object(header, "header")?)?;
        let claims = object(claims, "claims")?;
        let signature =
            URL_SAFE_NO_PAD.decode(signature).map_err(|_| Why::Malformed("its signature is not base64url"))?;
        Ok(Self { header, claims, signed, signature })
    }
}

// === impl Header ===

impl Header {
    fn of(members: &Map<String, Value>) -> Result<Self, Why> {
        let text = |name: &str| match members.get(name) {
            None => Ok(None),
            Some(Value::String(text)) => Ok(Some(text.clone())),
            Some(_) => Err(Why::Malformed("a member of its header is not a text")),
        };
        // RFC 7515 §4.1.11: what is critical must be understood, and no extension is. `b64` (RFC 7797) changes what is
        // signed and must be critical; a sender who forgot that is refused as well.
        if members.contains_key("crit") || members.contains_key("b64") {
            return Err(Why::Critical);
        }
        if members.contains_key("enc") || text("cty")?.is_some_and(|cty| is_media_type(&cty, "jwt")) {
            return Err(Why::Nested);
        }
        let alg = text("alg")?.ok_or(Why::Malformed("its header has no alg"))?;
        let kid = text("kid")?;
        if kid.as_ref().is_some_and(|kid| kid.len() > KID_BYTES_MAX) {
            return Err(Why::Malformed("its kid is too long"));
        }
        Ok(Self { alg, kid, typ: text("typ")? })
    }
}

/// RFC 7515 §4.1.9: media types are compared without case, and may leave `application/` out.
pub(crate) fn is_media_type(text: &str, expected: &str) -> bool {
    const PREFIX: &str = "application/";
    let short = match text.get(..PREFIX.len()) {
        Some(start) if start.eq_ignore_ascii_case(PREFIX) => &text[PREFIX.len()..],
        _ => text,
    };
    short.eq_ignore_ascii_case(expected)
}

fn object(part: &str, name: &'static str) -> Result<Map<String, Value>, Why> {
    let bytes = URL_SAFE_NO_PAD.decode(part).map_err(|_| Why::Malformed("a part of it is not base64url"))?;
    json::object(&bytes).map_err(|fault| match fault {
        Fault::Syntax => Why::Malformed("a part of it is not a JSON object"),
        Fault::Depth => Why::Malformed("a part of it nests too deep"),
        Fault::Duplicate => Why::Duplicate(name),
    })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn encode(text: &str) -> String {
        URL_SAFE_NO_PAD.encode(text)
    }

    fn read(header: &str, claims: &str) -> Result<(), Why> {
        Token::read(&format!("{}.{}.c2ln", encode(header), encode(claims))).map(|_| ())
    }

    #[test]
    fn a_token_is_three_parts_and_nothing_else() {
        let (header, claims) =
            (encode(r#"{"alg":"ES256","kid":"../k","typ":"at+jwt","jku":"https://evil"}"#), encode("{}"));
        let text = format!("{header}.{claims}.c2ln");
        let token = Token::read(&text).expect("a token");
        assert_eq!(token.signed, format!("{header}.{claims}").as_bytes());
        assert_eq!(token.signature, b"sig");
        let expected = Header { alg: "ES256".into(), kid: Some("../k".into()), typ: Some("at+jwt".into()) };
        assert_eq!(token.header, expected);

        for text in [
            String::new(),
            "..".into(),
            ".".repeat(TOKEN_BYTES_MAX),
            format!("{header}.{claims}"),
            format!("{header}.{claims}.c2ln.c2ln"),
            format!("{header}.{claims}.c2ln="),
            format!("{header}=.{claims}.c2ln"),
            format!("{header}.{claims}.c2l"),
            format!("{header}.{claims}.c2+n"),
            format!(" {header}.{claims}.c2ln"),
            format!("{header}.{claims}\n.c2ln"),
            format!("{header}.{header}x.c2ln"),
            format!("{{}}.{claims}.c2ln"),
        ] {
            assert!(matches!(Token::read(&text), Err(Why::Malformed(_))), "{text:.80}");
        }
        let long = format!("{header}.{claims}.{}", "A".repeat(TOKEN_BYTES_MAX));
        assert!(matches!(Token::read(&long), Err(Why::Oversized { .. })));
    }

    #[test]
    fn headers_and_claims_are_read_strictly() {
        let (alg, kid) = (r#"{"alg":"ES256"}"#, "k".repeat(KID_BYTES_MAX + 1));
        let deep = format!("{{\"a\":{}{}}}", "[".repeat(500), "]".repeat(500));
        for (header, claims, reason) in [
            (alg, r#"{"sub":"a","sub":"b"}"#, "duplicate_claim"),
            (alg, r#"{"act":{"sub":"a","sub":"a"}}"#, "duplicate_claim"),
            (r#"{"alg":"none","alg":"ES256"}"#, "{}", "duplicate_claim"),
            (alg, &deep, "malformed"),
            (alg, r#"{"exp":1e400}"#, "malformed"),
            (alg, "[]", "malformed"),
            (alg, "{}{}", "malformed"),
            (r#"{"typ":"JWT"}"#, "{}", "malformed"),
            (r#"{"alg":null}"#, "{}", "malformed"),
            (r#"{"alg":["ES256"]}"#, "{}", "malformed"),
            (r#"{"alg":"ES256","kid":7}"#, "{}", "malformed"),
            (&format!(r#"{{"alg":"ES256","kid":"{kid}"}}"#), "{}", "malformed"),
            (r#"{"alg":"ES256","crit":[]}"#, "{}", "critical"),
            (r#"{"alg":"ES256","crit":["b64"],"b64":false}"#, "{}", "critical"),
            (r#"{"alg":"ES256","b64":false}"#, "{}", "critical"),
            (r#"{"alg":"ES256","cty":"JWT"}"#, "{}", "nested"),
            (r#"{"alg":"ES256","cty":"Application/jwt"}"#, "{}", "nested"),
            (r#"{"alg":"dir","enc":"A256GCM"}"#, "{}", "nested"),
        ] {
            assert_eq!(read(header, claims).map_err(|why| why.reason()), Err(reason), "{header} {claims:.60}");
        }
    }

    #[test]
    fn what_only_its_issuer_can_read_is_told_from_a_jwt() {
        let header = encode(r#"{"alg":"none"}"#);
        for (text, expected) in [
            (format!("{header}.e30."), Shape::Signed),
            (format!("{}.e30.x", encode(" {\"alg\":1}")), Shape::Signed),
            (format!("{header}...."), Shape::Encrypted),
            (header.clone(), Shape::Opaque),
            (format!("{header}."), Shape::Opaque),
            ("a.b.c".into(), Shape::Opaque),
            ("gho_0123456789".into(), Shape::Opaque),
            ("é.é.é".into(), Shape::Opaque),
            (String::new(), Shape::Opaque),
        ] {
            assert_eq!(Shape::of(&text), expected, "{text}");
        }
    }

    #[test]
    fn media_types_are_compared_as_rfc_7515_has_it() {
        assert!(is_media_type("at+jwt", "at+jwt") && is_media_type("APPLICATION/AT+JWT", "at+jwt"));
        assert!(!is_media_type("application/application/jwt", "jwt") && !is_media_type("é", "jwt"));
    }

    proptest! {
        #[test]
        fn arbitrary_text_never_panics(text: String, a in "[A-Za-z0-9_-]{0,40}", b in "\\PC{0,40}", c: Vec<u8>) {
            let _ = (Shape::of(&text), Token::read(&text).map(|_| ()));
            let jwt = format!("{a}.{}.{}", encode(&b), URL_SAFE_NO_PAD.encode(c));
            let _ = (Shape::of(&jwt), Token::read(&jwt).map(|_| ()));
        }
    }
}
