//! Requests of models: whatever a client sends is refused in its own shape, or becomes a request of each provider that is JSON and
//! asks for nothing that policies have not seen. Input: the client's API and `stream` or nothing; then the body.
#![no_main]

use bytes::Bytes;
use libfuzzer_sys::fuzz_target;
use quorate_fuzz::two_parts;
use quorate_llm::classify::Path;
use quorate_llm::dialect::{Quirks, Target};
use quorate_llm::edit::{self, Change, Edit};
use quorate_llm::prompt::{self, Added};
use quorate_llm::{Call, Dialect, Family, Fault, Has, Losses, canonical, classify, codec};
use serde_json::{Value, value::RawValue};

/// What the model is called at its provider.
const NAMED: &str = "pro\"vider/m";
const ADDED: Added<'static> = Added { before: Some("Say \"yes\"."), after: Some("\u{e9}\n") };

fuzz_target!(|input: &str| {
    let (head, body) = two_parts(input);
    let (word, is_streamed) = head.split_once(' ').map_or((head, false), |(word, rest)| (word, rest == "stream"));
    let Some(client) = Dialect::ALL.into_iter().find(|dialect| dialect.api().label() == word) else { return };
    let call = match classify(&path(client, is_streamed), Bytes::copy_from_slice(body.as_bytes())) {
        Ok(call) => call,
        Err(fault) => return told(&fault),
    };
    let scope = ["tenant", "policy"];
    assert_eq!(canonical::digest(&scope, body), canonical::digest(&scope, body));
    same_shape(client, &call);
    translated(client, &call);
});

fn path(dialect: Dialect, is_streamed: bool) -> Path<'static> {
    Path { api: dialect.api(), model: (dialect == Dialect::Generate).then_some("m"), is_streamed }
}

/// Whoever asks is told what is wrong.
fn told(fault: &Fault) {
    for family in [Family::OpenAi, Family::Anthropic, Family::Gemini] {
        let body = fault.body(family);
        let body: Value = serde_json::from_str(&body).expect("an error is JSON");
        assert!(body["error"].is_object(), "{body}");
    }
}

/// What stays in its shape is a request after any change of it.
fn same_shape(client: Dialect, call: &Call) {
    let edit = |name: &str, change| Edit { name: name.to_owned(), change };
    let edits = [
        edit("temperature", Change::Set("0.5".to_owned())),
        edit("max_tokens", Change::Default("7".to_owned())),
        edit("top_p", Change::Remove),
        edit("generationConfig.topK", Change::Set("3".to_owned())),
    ];
    match edit::rewrite(call, NAMED, Quirks::default(), &edits) {
        Ok(body) => {
            let again = understood(client, call.is_streamed, &body);
            assert_eq!((again.is_streamed, again.has), (call.is_streamed, call.has));
            assert!(client == Dialect::Generate || again.model == NAMED, "{}", again.model);
        }
        Err(fault) => told(&fault),
    }
    match prompt::add(client, &call.body, &ADDED) {
        Ok(body) => assert_eq!(understood(client, call.is_streamed, &body).model, call.model),
        Err(fault) => told(&fault),
    }
}

fn translated(client: Dialect, call: &Call) {
    let mut losses = Losses::default();
    let text = std::str::from_utf8(&call.body).expect("it was classified");
    let request = match codec::read(client, text, call.is_streamed, &mut losses) {
        Ok(request) => request,
        Err(fault) => return told(&fault),
    };
    for provider in Dialect::ALL {
        let target = Target { model: NAMED, quirks: Quirks::default(), output_tokens_default: 4_096 };
        match codec::write(provider, &request, &target, &mut losses) {
            Ok(body) => {
                let written = understood(provider, call.is_streamed, &Bytes::from(body));
                assert_eq!(written.is_streamed, call.is_streamed, "for {provider:?}");
                assert!(
                    covers(call.has, written.has),
                    "{provider:?} is asked for more than was seen: {:?}",
                    written.has
                );
            }
            Err(fault) => told(&fault),
        }
    }
}

fn understood(dialect: Dialect, is_streamed: bool, body: &Bytes) -> Call {
    serde_json::from_slice::<&RawValue>(body).expect("it is JSON");
    classify(&path(dialect, is_streamed), body.clone()).expect("what is written is a request")
}

/// Whether nothing is asked for of which nothing was seen. What kind of medium a link leads to is not said in every shape.
fn covers(seen: Has, asked: Has) -> bool {
    let has_media = |has: Has| has.images || has.audio || has.documents;
    (seen.tools || !asked.tools) && (has_media(seen) || !has_media(asked))
}
