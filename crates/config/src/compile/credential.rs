//! What makes `spec.credential` of a `ToolServer` valid.
//!
//! A token endpoint gets a secret, so that it is reached over TLS, or on this machine. Texts that are sent to it are held
//! against the characters that OAuth allows (RFC 6749, appendix A). Whether a file or variable exists is not judged here.

use url::Url;

use super::{Site, content, parsed, secret, trusted_url};
use crate::credential::{ClientCredentials, Credential, HeaderSource};
use crate::error::{Reason, shown};
use crate::form::credential::{
    ClientCredentialsForm, CredentialForm, HeaderCredentialForm, NoCredentialForm, SomeCredentialForm,
};
use crate::node::Path;
use crate::report::Report;

use super::tool_server::check_url;

/// The longest text that is sent to a token endpoint, in characters: longer ones are pasted by mistake.
const TEXT_CHARS_MAX: usize = 512;

/// Compiles a credential; `headers` are those that go with each request anyway.
pub(super) fn compile(
    form: &CredentialForm,
    headers: &[HeaderSource],
    site: &Site<'_>,
    report: &mut Report<'_>,
) -> Option<Credential> {
    let at = site.at.key("credential");
    let form = match form {
        CredentialForm::None(NoCredentialForm::None) => return Some(Credential::None),
        CredentialForm::Some(form) => form,
    };
    let credential = one_of(form, &at, site, report)?;
    let name = match &credential {
        Credential::None => None,
        Credential::Header(header) => Some(&header.name),
        Credential::ClientCredentials(_) => Some(&http::header::AUTHORIZATION),
    };
    if let Some(name) = name.filter(|name| headers.iter().any(|header| header.name == **name)) {
        let message = format!("the header {name} is in spec.headers, too: keep one of them");
        report.push(&at, Reason::Conflict { message });
    }
    Some(credential)
}

fn one_of(form: &SomeCredentialForm, at: &Path, site: &Site<'_>, report: &mut Report<'_>) -> Option<Credential> {
    match (&form.header, &form.client_credentials) {
        (Some(given), None) => header(given, &at.key("header"), site, report).map(Credential::Header),
        (None, Some(given)) => client(given, &at.key("clientCredentials"), site, report)
            .map(|client| Credential::ClientCredentials(Box::new(client))),
        (Some(_), Some(_)) => {
            let message = "header and clientCredentials contradict each other: keep one of them".to_owned();
            report.push(at, Reason::Conflict { message });
            None
        }
        (None, None) => {
            let description = "A header, or clientCredentials for a token; or none instead of the object.".to_owned();
            report.push(&at.key("header"), Reason::Missing { description });
            None
        }
    }
}

fn header(form: &HeaderCredentialForm, at: &Path, site: &Site<'_>, report: &mut Report<'_>) -> Option<HeaderSource> {
    let scheme = match &form.scheme {
        Some(given) => Some(report.accept(&at.key("scheme"), parsed(given, scheme))?),
        None => None,
    };
    let name = report.accept(&at.key("name"), secret::header_name(form.name.as_deref()?))?;
    let value = secret::header(name.as_str(), scheme.as_deref(), form.value.as_deref()?, site);
    report.accept(&at.key("value"), value)
}

/// Checks the scheme of a credential: a token (RFC 9110 §5.6.2).
fn scheme(text: &str) -> Result<String, &'static str> {
    let is_token = |byte: u8| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte);
    match !text.is_empty() && text.chars().count() <= TEXT_CHARS_MAX && text.bytes().all(is_token) {
        true => Ok(text.to_owned()),
        false => Err("a scheme is one word, such as Bearer, without the space that follows it"),
    }
}

fn client(
    form: &ClientCredentialsForm,
    at: &Path,
    site: &Site<'_>,
    report: &mut Report<'_>,
) -> Option<ClientCredentials> {
    let token_url = form.token_url.as_deref().and_then(|given| report.accept(&at.key("tokenUrl"), token_url(given)));
    let client_id = form.client_id.as_deref().map(|given| report.accept(&at.key("clientId"), parsed(given, text)));
    let client_secret =
        form.client_secret.as_deref().map(|given| report.accept(&at.key("clientSecret"), secret::source(given, site)));
    let given = form.scopes.iter().flatten().enumerate().filter_map(|(index, given)| Some((index, given.as_deref()?)));
    let scopes = given.filter_map(|(index, given)| report.accept(&at.key("scopes").index(index), parsed(given, scope)));
    let scopes: Vec<String> = scopes.collect();
    let audience = form.audience.as_deref().and_then(|given| report.accept(&at.key("audience"), parsed(given, text)));
    let resource =
        form.resource.as_deref().and_then(|given| report.accept(&at.key("resource"), parsed(given, resource)));
    let tls_ca = form.tls_ca.as_deref().and_then(|given| report.accept(&at.key("tlsCa"), content(given, site)));
    let token_url = token_url?;
    if tls_ca.is_some() && token_url.scheme() != "https" {
        let message = "tlsCa is for a tokenUrl that is https".to_owned();
        report.push(&at.key("tlsCa"), Reason::Conflict { message });
    }
    Some(ClientCredentials {
        token_url,
        client_id: client_id??,
        client_secret: client_secret??,
        scopes,
        audience,
        resource,
        auth: form.auth.map(Into::into).unwrap_or_default(),
        tls_ca,
    })
}

/// Checks where a secret is sent to.
fn token_url(text: &str) -> Result<Url, Reason> {
    let url = check_url(text)?;
    if url.scheme() == "https" || trusted_url::is_loopback(&url) {
        return Ok(url);
    }
    let message = "a secret is sent there: it must be https, unless it is on this machine".to_owned();
    Err(Reason::Invalid { value: shown(text), message })
}

/// Checks a text of visible ASCII characters and spaces (`VSCHAR`, RFC 6749 §A.1).
fn text(given: &str) -> Result<String, String> {
    let fits = (1..=TEXT_CHARS_MAX).contains(&given.chars().count());
    match fits && given.bytes().all(|byte| (b' '..=b'~').contains(&byte)) {
        true => Ok(given.to_owned()),
        false => Err(format!("it has 1 to {TEXT_CHARS_MAX} visible ASCII characters and spaces")),
    }
}

/// Checks one scope (`scope-token`, RFC 6749 §3.3).
fn scope(given: &str) -> Result<String, String> {
    let given = text(given)?;
    match given.bytes().any(|byte| matches!(byte, b' ' | b'"' | b'\\')) {
        true => Err("a scope is one word without \" and \\; several are items of the list".to_owned()),
        false => Ok(given),
    }
}

/// Checks a resource indicator (RFC 8707 §2); it is sent as it is written.
fn resource(given: &str) -> Result<String, String> {
    let given = text(given)?;
    match Url::parse(&given) {
        Ok(url) if url.fragment().is_none() => Ok(given),
        Ok(_) => Err("a resource has no fragment (#)".to_owned()),
        Err(error) => Err(format!("a resource is an absolute URI: {error}")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_secret_leaves_this_machine_over_tls_only() {
        for url in [
            "https://id.example/token",
            "http://127.0.0.1:1/t",
            "http://127.8.9.1/t",
            "http://[::1]:1/t",
            "http://localhost/t?p=1",
        ] {
            token_url(url).unwrap_or_else(|reason| panic!("{url}: {reason}"));
        }
        for url in [
            "http://id.example/token",
            "http://localhost.evil.example/t",
            "http://127.0.0.1.evil.example/t",
            "http://0.0.0.0/t",
            "http://[::ffff:7f00:1]/t",
            "ftp://127.0.0.1/t",
            "https://user:s3cret@id.example/token",
            "https://id.example/token#x",
        ] {
            let reason = token_url(url).expect_err(url).to_string();
            assert!(!reason.contains("s3cret"), "{reason}");
        }
    }

    #[test]
    fn what_is_sent_has_the_characters_that_oauth_allows() {
        assert!(scope("files:read").is_ok() && scope("https://x.example/.default").is_ok());
        for given in ["", "a b", "a\"b", "a\\b", "\u{e4}", "a\n", &"a".repeat(TEXT_CHARS_MAX + 1)] {
            assert!(scope(given).is_err(), "{given:?}");
        }
        assert!(resource("https://mcp.example/mcp").is_ok() && resource("urn:x:y").is_ok());
        for given in ["mcp.example", "/mcp", "https://mcp.example/#a", ""] {
            assert!(resource(given).is_err(), "{given:?}");
        }
        assert!(scheme("Bearer").is_ok() && scheme("X-Token").is_ok());
        for given in ["", "Bearer ", "a b", "a,b", "\u{e4}"] {
            assert!(scheme(given).is_err(), "{given:?}");
        }
    }
}
