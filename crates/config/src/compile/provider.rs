//! What makes the spec of a `Provider` valid.
//!
//! A preset fills in what the document does not say. What contradicts itself (a key beside another credential, an API that has no place
//! below the address) is refused here; whether a key is taken is the provider's to say.

use std::collections::BTreeMap;

use http::{HeaderName, HeaderValue};
use quorate_llm::Api;
use quorate_llm::preset::{Known, Preset};
use url::Url;

use super::tool_server::{self, check_url};
use super::{Head, Order, Site, content, credential, secret};
use crate::credential::{Credential, HEADER_BYTES_MAX, HeaderSource};
use crate::error::{Reason, shown};
use crate::form::ProviderForm;
use crate::limits::ProviderLimits;
use crate::node::Path;
use crate::report::Report;
use crate::resource::Provider;
use crate::secret::SecretSource;

/// The longest version of an API in characters; Azure's have 18.
const VERSION_CHARS_MAX: usize = 64;

pub(super) fn compile(head: Head, form: &ProviderForm, site: &Site<'_>, report: &mut Report<'_>) -> Option<Provider> {
    let at = &site.at;
    let limits = limits(form, &at.key("limits"), report);
    let preset = form.preset?.0;
    let known = preset.known();
    let headers = secret::headers(form.headers.as_ref().unwrap_or(&BTreeMap::new()), &at.key("headers"), site, report);
    let tls = form.tls.as_ref().map(|given| tool_server::tls(given, site, report)).unwrap_or_default();
    let url = url(form, &known, at, report);
    let apis = apis(form, &known, at, report);
    let api_version = version(form, preset, at, report);
    let keys = keys(form, &known, &headers, site, report);
    let prices = form.prices.as_deref().and_then(|text| report.accept(&at.key("prices"), content(text, site)));
    let credential = match &form.credential {
        Some(given) => credential::compile(given, &headers, site, report)?,
        None => Credential::None,
    };
    check_shown(form, &known, &credential, at, report);
    let url = url?;
    if form.tls.is_some() && url.scheme() != "https" {
        let message = "tls is for providers over https".to_owned();
        report.push(&at.key("tls"), Reason::Conflict { message });
    }
    Some(Provider {
        name: head.name,
        tenant: head.tenant,
        preset,
        url,
        apis,
        api_version,
        keys,
        credential,
        headers,
        prices,
        tls,
        limits,
    })
}

fn url(form: &ProviderForm, known: &Known, at: &Path, report: &mut Report<'_>) -> Option<Url> {
    let at = at.key("url");
    let Some(text) = form.url.as_deref().or(known.url) else {
        let description = format!("The address of this provider: {} has none of its own.", known.name);
        report.push(&at, Reason::Missing { description });
        return None;
    };
    let mut url = report.accept(&at, check_url(text))?;
    if url.query().is_some() {
        let message = "what comes behind the path of an API has keys of its own: leave ? away".to_owned();
        report.push(&at, Reason::Invalid { value: shown(text), message });
    }
    let path = url.path().trim_end_matches('/').to_owned();
    // The whole path of an API is what people have at hand.
    if let Some(whole) =
        ["/chat/completions", "/v1/messages", "/embeddings", "/responses"].iter().find(|one| path.ends_with(*one))
    {
        let message = format!("it is the address of one API: leave {whole} away");
        report.push(&at, Reason::Invalid { value: shown(text), message });
    }
    url.set_path(&path);
    Some(url)
}

fn apis(form: &ProviderForm, known: &Known, at: &Path, report: &mut Report<'_>) -> Vec<Api> {
    let Some(given) = &form.apis else { return known.apis.to_vec() };
    let at = at.key("apis");
    let mut apis = Vec::with_capacity(given.len());
    for (index, api) in given.iter().enumerate() {
        let Some(api) = api.map(|api| api.0) else { continue };
        if known.layout.path(api, "", false).is_none() {
            let message = format!("{} has no such API", known.name);
            report.push(&at.index(index), Reason::Invalid { value: api.word().to_owned(), message });
        }
        apis.push(api);
    }
    apis
}

fn version(form: &ProviderForm, preset: Preset, at: &Path, report: &mut Report<'_>) -> Option<String> {
    let text = form.api_version.as_deref()?;
    let at = at.key("apiVersion");
    let is_one = |text: &str| {
        let is_word = text.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-._".contains(&byte));
        !text.is_empty() && text.len() <= VERSION_CHARS_MAX && is_word
    };
    if preset != Preset::AzureOpenAi {
        let message = "only azure-openai is asked for a version".to_owned();
        report.push(&at, Reason::Conflict { message });
    } else if !is_one(text) {
        let message = format!("a version has letters, digits, -, . and _, and {VERSION_CHARS_MAX} characters at most");
        report.push(&at, Reason::Invalid { value: shown(text), message });
    }
    Some(text.to_owned())
}

fn keys(
    form: &ProviderForm,
    known: &Known,
    headers: &[HeaderSource],
    site: &Site<'_>,
    report: &mut Report<'_>,
) -> Vec<SecretSource> {
    let at = site.at.key("keys");
    let mut keys: Vec<SecretSource> = Vec::new();
    for (index, text) in form.keys.iter().flatten().enumerate() {
        let Some(text) = text else { continue };
        let Some(key) = report.accept(&at.index(index), secret::source(text, site)) else { continue };
        if let Some(first) = keys.iter().position(|other| *other == key) {
            let first = at.index(first).to_string();
            report.push(&at.index(index), Reason::Repeated { value: "(hidden)".to_owned(), first });
        }
        if matches!(key, SecretSource::Literal(_)) && HeaderValue::from_str(text).is_err()
            || text.len() > HEADER_BYTES_MAX
        {
            let message = format!("a key has 1 to {HEADER_BYTES_MAX} visible ASCII characters");
            report.push(&at.index(index), Reason::Invalid { value: "the value (hidden)".to_owned(), message });
        }
        keys.push(key);
    }
    let name = HeaderName::from_static(known.key.name());
    if !keys.is_empty() && headers.iter().any(|header| header.name == name) {
        let message = format!("keys are sent in the header {name}, which is in spec.headers, too: keep one of them");
        report.push(&at, Reason::Conflict { message });
    }
    keys
}

/// Checks that there is one thing at most that the provider is shown, and one where it answers nothing without.
fn check_shown(form: &ProviderForm, known: &Known, credential: &Credential, at: &Path, report: &mut Report<'_>) {
    let has_keys = form.keys.is_some();
    if has_keys && *credential != Credential::None {
        let message = "keys and credential contradict each other: keep one of them".to_owned();
        report.push(&at.key("credential"), Reason::Conflict { message });
    }
    // Whoever says that there is no credential means it: a proxy may add it.
    let is_said = has_keys || form.credential.is_some() || form.headers.is_some();
    if known.needs_key && form.url.is_none() && !is_said {
        let description = format!(
            "The API keys of {}, such as [\"env:NAME\"]; or credential, if it is shown something else.",
            known.name
        );
        report.push(&at.key("keys"), Reason::Missing { description });
    }
}

fn limits(form: &ProviderForm, at: &Path, report: &mut Report<'_>) -> ProviderLimits {
    let Some(given) = &form.limits else { return ProviderLimits::DEFAULTS };
    let mut limits = ProviderLimits::compile(given, at, report);
    for (lesser, time, given) in [
        ("firstToken", &mut limits.first_token, given.first_token.is_some()),
        ("betweenTokens", &mut limits.between_tokens, given.between_tokens.is_some()),
    ] {
        Order { lesser, greater: "total", at }.check(time, given, limits.total, report);
    }
    let order = Order { lesser: "connect", greater: "firstToken", at };
    order.check(&mut limits.connect, given.connect.is_some(), limits.first_token, report);
    limits
}
