//! A client's request becomes the one that a target is asked.
//!
//! In: a classified call, and the target. Out: [`Written`]: path, headers and body. Where the provider has the client's API, the body
//! keeps its bytes but for what the model's document changes; where it has another, it is translated, and what cannot be said there is
//! named. Parameters that a document changes are those of the provider's API: that is what its author knows.

use std::borrow::Cow;

use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue};
use quorate_config::{Model, Provider, Target as TargetConfig, TargetModel};
use quorate_llm::classify::Path;
use quorate_llm::dialect::Target;
use quorate_llm::edit::{self, Change, Edit};
use quorate_llm::error::Kind;
use quorate_llm::prompt::{self, Added};
use quorate_llm::{Api, Call, Dialect, Family, Fault, Losses, classify, codec};

/// Most tokens of an answer where nobody says: what the smallest of the models takes whose providers have to be told.
const OUTPUT_TOKENS_DEFAULT: u64 = 4_096;

/// The version of Anthropic's API that is asked for where the client does not say.
const ANTHROPIC_VERSION: HeaderName = HeaderName::from_static("anthropic-version");
const ANTHROPIC_VERSION_DEFAULT: HeaderValue = HeaderValue::from_static("2023-06-01");
/// What a client may ask for beyond the API as it is documented.
const ANTHROPIC_BETA: HeaderName = HeaderName::from_static("anthropic-beta");

/// What a target is asked.
#[derive(Debug)]
pub(super) struct Written {
    /// Below the provider's address.
    pub(super) path: String,
    /// The call's own.
    pub(super) headers: HeaderMap,
    /// The body.
    pub(super) body: Bytes,
    /// What the provider is not told.
    pub(super) losses: Losses,
}

/// Writes a call for a target that is asked by way of `api`; `model` is what it is called there.
///
/// # Errors
/// [`Fault`] for what the provider's API cannot say, or what the document cannot change.
pub(super) fn write(
    call: &Call,
    client_headers: &HeaderMap,
    config: &Model,
    (provider, api, model): (&Provider, Api, &str),
) -> Result<Written, Fault> {
    let path = provider.path(api, model, call.is_streamed);
    let path =
        path.ok_or_else(|| Fault::new(Kind::Internal, "the provider for this model has no path for this API"))?;
    let mut losses = Losses::default();
    let call = &*with_prompt(call, config)?;
    let body = match api == call.api {
        true => edit::rewrite(call, model, provider.preset.known().quirks, parameters(api, config))?,
        false => translate(call, config, (provider, api, model), &mut losses)?,
    };
    Ok(Written { path, headers: headers(call.api, api, client_headers), body, losses })
}

/// The call with the instructions that the document adds, as its client could have sent it.
fn with_prompt<'a>(call: &'a Call, config: &Model) -> Result<Cow<'a, Call>, Fault> {
    let added = Added { before: config.prompt.before.as_deref(), after: config.prompt.after.as_deref() };
    let is_of_path = call.model_span.is_none();
    let Some(dialect) = Dialect::of(call.api).filter(|_| !added.is_nothing()) else { return Ok(Cow::Borrowed(call)) };
    let body = prompt::add(dialect, &call.body, &added)?;
    let path = Path { api: call.api, model: is_of_path.then_some(&*call.model), is_streamed: call.is_streamed };
    classify(&path, body).map(Cow::Owned)
}

fn translate(
    call: &Call,
    config: &Model,
    (provider, api, model): (&Provider, Api, &str),
    losses: &mut Losses,
) -> Result<Bytes, Fault> {
    let untranslatable =
        || Fault::new(Kind::Internal, "the provider for this model has no API that this can be translated to");
    let (client, target) = Dialect::of(call.api).zip(Dialect::of(api)).ok_or_else(untranslatable)?;
    let text = std::str::from_utf8(&call.body).expect("it was classified");
    let request = codec::read(client, text, call.is_streamed, losses)?;
    let quirks = provider.preset.known().quirks;
    let target_of = Target { model, quirks, output_tokens_default: output_tokens_default(config) };
    let body = Bytes::from(codec::write(target, &request, &target_of, losses)?);
    if parameters(api, config).is_empty() {
        return Ok(body);
    }
    let path = Path { api, model: (api == Api::Generate).then_some(model), is_streamed: call.is_streamed };
    edit::rewrite(&classify(&path, body)?, model, quirks, parameters(api, config))
}

/// What a document says of parameters, which are those of answers: a question for a number of tokens has none of them.
fn parameters(api: Api, config: &Model) -> &[Edit] {
    if api == Api::CountTokens { &[] } else { &config.parameters }
}

/// What a document says of the most tokens of an answer, which has to be known before it is changed: else a default would find another
/// one there.
fn output_tokens_default(config: &Model) -> u64 {
    let said = config.parameters.iter().filter(|edit| edit.name == "max_tokens").find_map(|edit| match &edit.change {
        Change::Set(value) | Change::Default(value) => value.parse().ok(),
        Change::Remove => None,
    });
    said.filter(|tokens| *tokens > 0).unwrap_or(OUTPUT_TOKENS_DEFAULT)
}

/// The headers that a call has beside its credentials: what of the client's is about the API, where it is the provider's as well.
fn headers(asked: Api, api: Api, client: &HeaderMap) -> HeaderMap {
    let mut headers = HeaderMap::new();
    if api.family() == Family::Anthropic {
        let own = client.get(ANTHROPIC_VERSION).filter(|_| asked.family() == Family::Anthropic);
        headers.insert(ANTHROPIC_VERSION, own.cloned().unwrap_or(ANTHROPIC_VERSION_DEFAULT));
        if asked.family() == Family::Anthropic {
            for value in client.get_all(ANTHROPIC_BETA) {
                headers.append(ANTHROPIC_BETA, value.clone());
            }
        }
    }
    headers
}

/// What of a client's headers its provider may be told, as text.
pub(super) fn told_headers(api: Api, client: &HeaderMap) -> String {
    if api.family() != Family::Anthropic {
        return String::new();
    }
    let told = [ANTHROPIC_VERSION, ANTHROPIC_BETA].map(|name| client.get_all(name).iter().cloned().collect::<Vec<_>>());
    format!("{told:?}")
}

/// What the model that a client asks for is called at a target.
pub(super) fn name_at(config: &Model, target: &TargetConfig, asked: &str) -> String {
    match &target.model {
        TargetModel::AsAsked => asked.to_owned(),
        TargetModel::Named(name) => name.clone(),
        TargetModel::Renamed(renaming) => {
            // The one that counts is the one that led here.
            let fitting = config.names.iter().filter(|name| name.matches(asked));
            let name = fitting.max_by_key(|name| (name.wildcards() == 0, name.as_str().len()));
            renaming.apply(&name.and_then(|name| name.captures(asked)).unwrap_or_default())
        }
    }
}

#[cfg(test)]
mod tests {
    use quorate_config::Source;

    use super::*;

    fn set(model: &str) -> quorate_config::ResourceSet {
        let text = format!(
            "kind: Provider\nname: claude\nspec: {{ preset: anthropic, keys: [k] }}\n---\n\
             kind: Provider\nname: own\nspec: {{ preset: vllm, url: \"http://127.0.0.1:1/v1\" }}\n---\n\
             kind: Model\nname: m\nspec: {{ {model} }}\n"
        );
        quorate_config::parse(&[Source { file: "models.yaml".into(), text }]).expect("good documents")
    }

    fn call(body: &str) -> Call {
        let path = Path { api: Api::Chat, model: None, is_streamed: false };
        classify(&path, Bytes::copy_from_slice(body.as_bytes())).expect("it is one")
    }

    fn written(set: &quorate_config::ResourceSet, call: &Call, api: Api) -> serde_json::Value {
        let (model, provider) = (&set.models()[0], &set.providers()[usize::from(api == Api::Chat)]);
        let written = write(call, &HeaderMap::new(), model, (provider, api, "there")).expect("it can be written");
        serde_json::from_slice(&written.body).expect("JSON")
    }

    #[test]
    fn a_name_at_a_target_is_made_of_the_name_that_led_there() {
        let set = set(
            "names: [\"acme/*\", \"acme/fast/*\"], targets: [{ provider: own, model: \"*-instruct\" }, { provider: own }]",
        );
        let model = &set.models()[0];
        let name = |target: usize, asked: &str| name_at(model, &model.targets[target], asked);

        assert_eq!(name(0, "acme/llama"), "llama-instruct");
        assert_eq!(name(0, "acme/fast/llama"), "llama-instruct", "the longer pattern counts");
        assert_eq!(name(1, "acme/llama"), "acme/llama");
    }

    #[test]
    fn the_same_api_keeps_its_bytes_and_another_gets_what_it_needs() {
        let set = set("names: [m, there], targets: [{ provider: own }, { provider: claude }]");
        let asked =
            call("{ \"model\": \"there\",  \"messages\": [{\"role\":\"user\",\"content\":\"hi\"}], \"x\": 1.50 }");

        let model = &set.models()[0];
        let same =
            write(&asked, &HeaderMap::new(), model, (&set.providers()[1], Api::Chat, "there")).expect("it can be");
        assert_eq!(same.body, asked.body);
        assert!(same.losses.is_empty() && same.headers.is_empty());

        let other =
            write(&asked, &HeaderMap::new(), model, (&set.providers()[0], Api::Messages, "there")).expect("it can be");
        assert_eq!(other.path, "v1/messages");
        assert_eq!(other.headers[ANTHROPIC_VERSION], "2023-06-01");
        assert!(other.losses.iter().any(|loss| loss.name() == "x"), "{:?}", other.losses);
        let body: serde_json::Value = serde_json::from_slice(&other.body).expect("JSON");
        assert_eq!((&body["model"], &body["max_tokens"]), (&"there".into(), &4_096.into()));
    }

    #[test]
    fn instructions_of_a_document_are_said_to_providers_of_every_shape() {
        let set =
            set("targets: [{ provider: own }, { provider: claude }], prompt: { before: Be brief., after: Be kind. }");
        let asked =
            call(r#"{"model":"m","messages":[{"role":"system","content":"own"},{"role":"user","content":"hi"}]}"#);

        let said = written(&set, &asked, Api::Chat)["messages"].to_string();
        assert!(said.contains("Be brief.") && said.find("Be brief.") < said.find("own"), "{said}");
        let said = written(&set, &asked, Api::Messages)["system"].to_string();
        assert!(said.contains("Be brief.") && said.find("own") < said.find("Be kind."), "{said}");
    }

    #[test]
    fn what_a_document_says_of_parameters_is_said_to_providers_of_every_shape() {
        let set = set("targets: [{ provider: own }, { provider: claude }], \
             parameters: { defaults: { max_tokens: 9000, temperature: 0.5 }, overrides: { metadata: { a: b } }, remove: [top_p] }");
        let asked = call(r#"{"model":"m","messages":[{"role":"user","content":"hi"}],"top_p":0.9,"temperature":1}"#);

        for api in [Api::Chat, Api::Messages] {
            let body = written(&set, &asked, api);
            assert_eq!(body["max_tokens"], 9_000, "{api:?}: {body}");
            assert_eq!(body["temperature"], 1, "{api:?}: {body}");
            assert_eq!(body["metadata"]["a"], "b", "{api:?}: {body}");
            assert_eq!(body.get("top_p"), None, "{api:?}: {body}");
        }
    }
}
