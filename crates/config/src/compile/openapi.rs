//! What makes `spec.openapi` of a `ToolServer` valid.
//!
//! Everything that can be judged without the document is judged here; what the document has to say (servers, tags,
//! security schemes) when it is read (see [`crate::openapi`]).

use std::collections::BTreeMap;

use http::Method;
use quorate_openapi::{Pattern, Rule, Selection, Server};

use super::tool_server::check_url;
use super::{Site, content, secret};
use crate::credential::HeaderSource;
use crate::error::Reason;
use crate::form::{AuthForm, MethodForm, OpenApiForm, RuleForm, SERVER_INDEX_MAX};
use crate::node::Path;
use crate::openapi::{Auth, OpenApiConnection};
use crate::report::Report;

pub(super) fn compile(
    form: &OpenApiForm,
    headers: Vec<HeaderSource>,
    site: &Site<'_>,
    report: &mut Report<'_>,
) -> Option<OpenApiConnection> {
    let at = site.at.key("openapi");
    let server = server(form, &at, report);
    let selection = Selection {
        include: rules(form.include.as_deref(), &at.key("include"), report),
        exclude: rules(form.exclude.as_deref(), &at.key("exclude"), report),
    };
    let auth = auth(form.auth.as_ref(), site, &at.key("auth"), report);
    let document = report.accept(&at.key("document"), content(form.document.as_deref()?, site))?;
    let variables = form.variables.clone().unwrap_or_default();
    let strict = form.strict.unwrap_or(false);
    Some(OpenApiConnection { document, server, variables, selection, auth, strict, headers })
}

fn server(form: &OpenApiForm, at: &Path, report: &mut Report<'_>) -> Server {
    if form.server.is_some() && form.server_index.is_some() {
        let message = "server and serverIndex contradict each other: keep one of them".to_owned();
        report.push(&at.key("serverIndex"), Reason::Conflict { message });
    }
    if let Some(index) = form.server_index.filter(|index| *index > SERVER_INDEX_MAX) {
        let (value, min, max) = (index.to_string(), "0".to_owned(), SERVER_INDEX_MAX.to_string());
        report.push(&at.key("serverIndex"), Reason::OutOfRange { value, min, max });
    }
    let url = form.server.as_deref().and_then(|text| report.accept(&at.key("server"), check_url(text)));
    match (url, form.server_index) {
        (Some(url), _) => Server::Url(url),
        (None, Some(index)) => Server::Index(usize::try_from(index).unwrap_or(usize::MAX)),
        (None, None) => Server::First,
    }
}

fn rules(given: Option<&[Option<RuleForm>]>, at: &Path, report: &mut Report<'_>) -> Vec<Rule> {
    let mut rules = Vec::new();
    for (index, form) in given.into_iter().flatten().enumerate() {
        let Some(form) = form else { continue };
        let patterns = |given: &Option<Vec<Option<String>>>| -> Vec<Pattern> {
            given.iter().flatten().flatten().map(|text| Pattern::new(text)).collect()
        };
        let rule = Rule {
            tags: patterns(&form.tags),
            operations: patterns(&form.operations),
            paths: patterns(&form.paths),
            methods: form.methods.iter().flatten().flatten().map(|method| Method::from(*method)).collect(),
        };
        if rule == Rule::default() {
            let message = "a rule without tags, operations, paths or methods would hold for everything".to_owned();
            report.push(&at.index(index), Reason::Invalid { value: "{}".to_owned(), message });
        }
        rules.push(rule);
    }
    rules
}

fn auth(
    given: Option<&BTreeMap<String, AuthForm>>,
    site: &Site<'_>,
    at: &Path,
    report: &mut Report<'_>,
) -> BTreeMap<String, Auth> {
    let mut all = BTreeMap::new();
    for (scheme, form) in given.into_iter().flatten() {
        let at = at.key(scheme);
        let mut secret = |key: &str, text: &Option<String>| {
            text.as_deref().and_then(|text| report.accept(&at.key(key), secret::source(text, site)))
        };
        let (token, value) = (secret("token", &form.token), secret("value", &form.value));
        let (username, password) = (secret("username", &form.username), secret("password", &form.password));
        let given = [&form.token, &form.value, &form.username, &form.password].map(Option::is_some);
        let auth = match given {
            [true, false, false, false] => token.map(Auth::Token),
            [false, true, false, false] => value.map(Auth::Value),
            [false, false, true, true] => username.zip(password).map(|(name, word)| Auth::Basic(name, word)),
            _ => {
                let message = "a credential is a token, or a value, or a username and a password".to_owned();
                report.push(&at, Reason::Conflict { message });
                None
            }
        };
        all.extend(auth.map(|auth| (scheme.clone(), auth)));
    }
    all
}

// === impl MethodForm ===

impl From<MethodForm> for Method {
    fn from(form: MethodForm) -> Self {
        match form {
            MethodForm::Get => Self::GET,
            MethodForm::Put => Self::PUT,
            MethodForm::Post => Self::POST,
            MethodForm::Delete => Self::DELETE,
            MethodForm::Options => Self::OPTIONS,
            MethodForm::Head => Self::HEAD,
            MethodForm::Patch => Self::PATCH,
        }
    }
}
