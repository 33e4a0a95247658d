//! Which models there are, for whoever may ask them.
//!
//! A list has the names by which clients ask, and of patterns nothing, since what they stand for is not known here. It is filtered by
//! the decision that guards the call: what a caller may ask with some request is there.

use http::{Response, StatusCode};
use quorate_http::ResponseBody;
use quorate_llm::Family;
use quorate_policy::Action;
use serde_json::{Value, json};

use super::authenticate::Authenticated;
use super::authorize::resource_of;
use super::refusal::Refusal;
use super::respond;
use crate::listener::shortened;

/// Who has the models, as far as clients are told.
const OWNER: &str = "quorate";

/// Answers with all models that the caller may ask.
pub(super) fn all(authenticated: &Authenticated, family: Family) -> Response<ResponseBody> {
    let accepted = authenticated.accepted();
    let models = accepted.listener().into_iter().flat_map(|listener| {
        let tenant = &listener.config.tenant;
        accepted
            .snapshot
            .models
            .iter()
            .filter(move |model| model.is_for(&authenticated.caller().principal.tenant, tenant))
    });
    let names = models.flat_map(|model| {
        let own = model.config.names.iter().filter(|name| name.wildcards() == 0);
        own.map(move |name| (model, name.as_str()))
    });
    let may = |(model, name): &(&std::sync::Arc<super::ModelTable>, &str)| {
        let rights = &authenticated.caller().rights;
        accepted.snapshot.judge().may(rights, Action::Invoke, resource_of(model, name))
    };
    let mut names: Vec<&str> = names.filter(may).map(|(_, name)| name).collect();
    names.sort_unstable();
    let body = match family {
        Family::OpenAi => {
            json!({ "object": "list", "data": names.iter().map(|name| openai(name)).collect::<Vec<_>>() })
        }
        Family::Anthropic => json!({
            "data": names.iter().map(|name| anthropic(name)).collect::<Vec<_>>(),
            "first_id": names.first(),
            "last_id": names.last(),
            "has_more": false,
        }),
        Family::Gemini => json!({ "models": names.iter().map(|name| gemini(name)).collect::<Vec<_>>() }),
    };
    respond::json(StatusCode::OK, ResponseBody::Full(body.to_string().into()))
}

/// Answers with what there is to say of one model, which may be one that a pattern stands for.
///
/// # Errors
/// [`Refusal::Unknown`] where the caller could not ask it.
pub(super) fn one(
    authenticated: &Authenticated,
    family: Family,
    name: &str,
) -> Result<Response<ResponseBody>, Refusal> {
    let (accepted, caller) = (authenticated.accepted(), authenticated.caller());
    let unknown = || Refusal::Unknown { model: shortened(name) };
    let listener = accepted.listener().ok_or_else(unknown)?;
    let found = accepted.snapshot.models.find(name, &caller.principal.tenant, &listener.config.tenant);
    let model = found.ok_or_else(unknown)?;
    if !accepted.snapshot.judge().may(&caller.rights, Action::Invoke, resource_of(model, name)) {
        return Err(unknown());
    }
    let body = match family {
        Family::OpenAi => openai(name),
        Family::Anthropic => anthropic(name),
        Family::Gemini => gemini(name),
    };
    Ok(respond::json(StatusCode::OK, ResponseBody::Full(body.to_string().into())))
}

fn openai(name: &str) -> Value {
    json!({ "id": name, "object": "model", "created": 0, "owned_by": OWNER })
}

fn anthropic(name: &str) -> Value {
    json!({ "type": "model", "id": name, "display_name": name, "created_at": "1970-01-01T00:00:00Z" })
}

fn gemini(name: &str) -> Value {
    let methods = ["generateContent"];
    json!({ "name": format!("models/{name}"), "displayName": name, "supportedGenerationMethods": methods })
}
