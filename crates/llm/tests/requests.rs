//! Requests of each shape, said in each and back: what the client asked is what it would have asked there.
//!
//! A conversation is said in the client's shape, read, said in the provider's, read, and said in the client's again. What is said, what is
//! called and what tools answered has to be the same at each station; ids are compared by their order, since one shape has none.

use proptest::prelude::*;
use quorate_llm::dialect::{Quirks, Target};
use quorate_llm::message::{Content, Part, Request, Role, Source, Tool, ToolCall, Turn};
use quorate_llm::{Dialect, Losses, codec};

/// What is said, by whom, as far as every shape says it.
fn said(request: &Request) -> Vec<(Role, String)> {
    let mut ids: Vec<String> = Vec::new();
    let mut said: Vec<(Role, String)> = Vec::new();
    let system = request.system.iter().map(|part| (Role::System, part));
    let turns = request.turns.iter().flat_map(|turn| turn.parts.iter().map(|part| (turn.role, part)));
    for (role, part) in system.chain(turns) {
        let item = match &part.content {
            Content::Text(text) => format!("text {text}"),
            Content::Image { source: Source::Inline { data, .. }, .. } => format!("image {data}"),
            Content::ToolCall(call) => {
                ids.push(call.id.clone());
                format!("call {} {} {}", ids.len() - 1, call.name, call.arguments)
            }
            Content::ToolResult { id, parts, .. } => {
                let number = ids.iter().rposition(|known| known == id).expect("it answers a call");
                format!("result {number} {:?}", parts.iter().map(|part| &part.content).collect::<Vec<_>>())
            }
            other => panic!("nobody said it: {other:?}"),
        };
        said.push((role, item));
    }
    said
}

fn say(dialect: Dialect, request: &Request) -> Request {
    let target = Target { model: "m", quirks: Quirks::default(), output_tokens_default: 4_096 };
    let body = codec::write(dialect, request, &target, &mut Losses::default()).expect("every shape says it");
    let text = String::from_utf8(body).expect("it is text");
    codec::read(dialect, &text, false, &mut Losses::default()).unwrap_or_else(|fault| panic!("{fault:?} in {text}"))
}

fn text() -> impl Strategy<Value = Part> {
    prop_oneof!["[a-z ]{0,8}[a-z]", Just("\"\\\n\u{2028}é".to_owned())].prop_map(Part::text)
}

fn image() -> impl Strategy<Value = Part> {
    "[A-Za-z0-9]{4}".prop_map(|data| {
        let source = Source::Inline { media_type: "image/png".to_owned(), data };
        Content::Image { source, detail: None }.into()
    })
}

fn asked() -> impl Strategy<Value = Vec<Turn>> {
    prop::collection::vec(prop_oneof![3 => text(), 1 => image()], 1..4)
        .prop_map(|parts| vec![Turn { role: Role::User, parts }])
}

fn answered() -> impl Strategy<Value = Vec<Turn>> {
    prop::collection::vec(text(), 1..3).prop_map(|parts| vec![Turn { role: Role::Assistant, parts }])
}

/// Calls at once, their results in any order, and what the user says with them.
fn called() -> impl Strategy<Value = Vec<Turn>> {
    let result = prop_oneof![
        Just("sun".to_owned()),
        Just(r#"{"sky": "rain", "degrees": 1.50}"#.to_owned()),
        Just("[1]".to_owned())
    ];
    let calls = prop::collection::vec(("[a-z]{1,6}", text(), result, any::<u32>()), 1..4);
    (prop::collection::vec(text(), 0..2), calls, prop::collection::vec(text(), 0..2), any::<bool>()).prop_map(
        |(before, calls, after, is_turned)| {
            let mut parts = before;
            let mut results = Vec::new();
            for (number, (name, value, result, id)) in calls.into_iter().enumerate() {
                let id = format!("call-{number}-{id}");
                // Without ids, results are known by the order of calls of one name.
                let name = format!("{name}_{number}");
                let value = value.content.as_text().map(quorate_jsonrpc::quote).expect("it is text");
                let arguments = format!(r#"{{"value":{value}}}"#);
                let call = ToolCall { id: id.clone(), name, arguments, signature: None };
                parts.push(Content::ToolCall(call).into());
                results.push(Content::ToolResult { id, parts: vec![Part::text(result)], is_error: false }.into());
            }
            if is_turned {
                results.reverse();
            }
            results.extend(after);
            vec![Turn { role: Role::Assistant, parts }, Turn { role: Role::User, parts: results }]
        },
    )
}

prop_compose! {
    fn request()(
        system in prop::collection::vec(text(), 0..3),
        first in asked(),
        rest in prop::collection::vec(prop_oneof![asked(), answered(), called()], 0..5),
    ) -> Request {
        let tool = Tool { name: "weather".to_owned(), description: None, schema: None, strict: None, cache: None };
        let turns = first.into_iter().chain(rest.into_iter().flatten()).collect();
        Request { system, turns, tools: vec![tool], ..Request::default() }
    }
}

proptest! {
    #[test]
    fn a_provider_reads_what_the_client_asked_and_so_does_the_client(request in request()) {
        let expected = said(&request);
        for client in Dialect::ALL {
            let asked = say(client, &request);
            prop_assert_eq!(said(&asked), expected.clone(), "{:?}", client);
            for provider in Dialect::ALL {
                let told = say(provider, &asked);
                prop_assert_eq!(said(&told), expected.clone(), "{:?} to {:?}", client, provider);
                prop_assert_eq!(said(&say(client, &told)), expected.clone(), "{:?} to {:?} and back", client, provider);
                prop_assert_eq!(&told.tools[0].name, "weather");
            }
        }
    }

    /// What is written is read, whatever is left of a body: a client's mistake is told, and never a panic.
    #[test]
    fn any_part_of_a_request_is_read_or_refused(request in request(), cut in any::<prop::sample::Index>(), with in "[\\[\\]{}\",:0a]{0,2}") {
        let target = Target { model: "m", quirks: Quirks::default(), output_tokens_default: 4_096 };
        for client in Dialect::ALL {
            let body = codec::write(client, &request, &target, &mut Losses::default()).expect("it can be said");
            let text = String::from_utf8(body).expect("it is text");
            let letters: Vec<char> = text.chars().collect();
            let at = cut.index(letters.len());
            let harmed: String = letters[..at].iter().copied().chain(with.chars()).chain(letters[at + 1..].iter().copied()).collect();
            if let Ok(read) = codec::read(client, &harmed, false, &mut Losses::default()) {
                for provider in Dialect::ALL {
                    let _written = codec::write(provider, &read, &target, &mut Losses::default());
                }
            }
        }
    }
}
