//! URLs that callers or issuers are trusted by: whoever can answer in their place can lie.
//!
//! Such a URL is `https`, or `http` where nobody is in between: on this machine. Beyond that it is held to what holds
//! for every URL that is requested ([`check_url`]).

use url::{Host, Url};

use super::tool_server::check_url;
use crate::error::{Reason, shown};

/// Parses a URL of either scheme.
pub(super) fn any(text: &str) -> Result<Url, Reason> {
    // Its own message, because the general one tells of a key that these resources do not have.
    if let Ok(url) = Url::parse(text)
        && (!url.username().is_empty() || url.password().is_some())
    {
        let message = "credentials do not belong into a URL".to_owned();
        return Err(Reason::Invalid { value: "the URL (hidden)".to_owned(), message });
    }
    check_url(text)
}

/// Parses a URL that nobody on the way can answer.
pub(super) fn confidential(text: &str) -> Result<Url, Reason> {
    let url = any(text)?;
    if url.scheme() == "https" || is_loopback(&url) {
        return Ok(url);
    }
    let message = "the scheme must be https, because others could answer in its place; http is for loopback addresses";
    Err(Reason::Invalid { value: shown(text), message: message.to_owned() })
}

/// Parses the URL of an issuer. Tokens name it as a text, so that its text is what counts; a query or fragment is not
/// allowed in it (RFC 8414 §2).
pub(super) fn issuer(text: &str) -> Result<String, Reason> {
    let url = confidential(text)?;
    if url.query().is_some() {
        let message = "an issuer has no query (?)".to_owned();
        return Err(Reason::Invalid { value: shown(text), message });
    }
    if text.contains(char::is_whitespace) {
        let message = "an issuer has no spaces".to_owned();
        return Err(Reason::Invalid { value: shown(text), message });
    }
    Ok(text.to_owned())
}

/// Whether a URL leads to this machine.
pub(super) fn is_loopback(url: &Url) -> bool {
    match url.host() {
        // Reserved for loopback (RFC 6761 §6.3).
        Some(Host::Domain(name)) => name == "localhost",
        Some(Host::Ipv4(address)) => address.is_loopback(),
        Some(Host::Ipv6(address)) => address.is_loopback(),
        None => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_trusted_is_https_or_on_this_machine() {
        for text in ["https://id.example", "http://localhost:1", "http://127.0.0.9:1/x", "http://[::1]:1/"] {
            assert!(confidential(text).is_ok(), "{text}");
        }
        for text in ["http://id.example", "http://localhost.example", "http://10.0.0.1", "http://[::2]", "ftp://a", ""]
        {
            assert!(confidential(text).is_err(), "{text}");
        }
    }

    #[test]
    fn an_issuer_stays_the_text_that_it_is() {
        for text in ["https://id.example", "https://id.example/", "https://id.example:443/Realm"] {
            assert_eq!(issuer(text).as_deref(), Ok(text));
        }
        for text in ["https://id.example?a", "https://id.example#a", " https://id.example", "https://id.example/a b"] {
            assert!(issuer(text).is_err(), "{text}");
        }
    }

    #[test]
    fn a_password_in_a_url_is_not_shown() {
        let error = issuer("https://ann:s3cret@id.example").expect_err("it has credentials").to_string();
        assert_eq!(error, "the URL (hidden) is not valid: credentials do not belong into a URL");
    }
}
