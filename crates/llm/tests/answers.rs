//! Whole answers of each shape, said in each: what a client reads is what the provider said.

use proptest::prelude::*;
use quorate_llm::answer::{Answer, Choice};
use quorate_llm::codec::{read_answer, write_answer};
use quorate_llm::dialect::Mint;
use quorate_llm::exchange::Asked;
use quorate_llm::message::{Content, Part, Signature, ToolCall};
use quorate_llm::{Dialect, Stop, Usage};

const MINT: Mint<'static> = Mint { id: "minted", now_s: 1_764_000_000 };

fn asked(client: Dialect) -> Asked<'static> {
    Asked { client, body: "{}", wants_usage: false }
}

/// What a client makes of an answer: texts that follow each other are one, and a thought is its text.
fn said(answer: &Answer) -> Vec<(String, String)> {
    let mut said: Vec<(String, String)> = Vec::new();
    for part in &answer.choices[0].parts {
        let (kind, text) = match &part.content {
            Content::Text(text) | Content::Refusal(text) => ("text".to_owned(), text.clone()),
            Content::Thought { text, .. } => ("thought".to_owned(), text.clone()),
            Content::ToolCall(call) => (format!("call {} {}", call.id, call.name), call.arguments.clone()),
            other => panic!("no answer has it: {other:?}"),
        };
        match said.last_mut().filter(|(last, _)| *last == kind && !kind.starts_with("call")) {
            Some((_, last)) => last.push_str(&text),
            None => said.push((kind, text)),
        }
    }
    said
}

/// Chat completions have one text and one thought, and calls behind both.
fn in_order_of_chat(answer: &Answer) -> Vec<(String, String)> {
    let mut ordered: Vec<(String, String)> = Vec::new();
    for wanted in ["thought", "text", "call"] {
        let texts: Vec<_> = said(answer).into_iter().filter(|(kind, _)| kind.starts_with(wanted)).collect();
        match (wanted, texts.is_empty()) {
            (_, true) => {}
            ("call", false) => ordered.extend(texts),
            (_, false) => ordered.push((wanted.to_owned(), texts.into_iter().map(|(_, text)| text).collect())),
        }
    }
    ordered
}

fn part() -> impl Strategy<Value = Part> {
    let text = prop_oneof!["[a-z ]{1,12}", Just("\"\\\n\u{2028}é".to_owned())];
    prop_oneof![
        text.clone().prop_map(Part::text),
        text.clone().prop_map(|text| Content::Thought { text, signature: None }.into()),
        ("[a-z_]{1,8}", text, any::<u32>()).prop_map(|(name, value, id)| {
            let arguments = format!(r#"{{"value":{}}}"#, quorate_jsonrpc::quote(&value));
            Content::ToolCall(ToolCall { id: format!("call-{id}"), name, arguments, signature: None }).into()
        }),
    ]
}

prop_compose! {
    fn answer()(parts in prop::collection::vec(part(), 0..5), length in any::<bool>(), input in 0_u64..9_999, output in 0_u64..9_999) -> Answer {
        let calls = parts.iter().any(|part| matches!(part.content, Content::ToolCall(_)));
        let stop = match (length, calls) {
            (true, _) => Stop::Length,
            (false, true) => Stop::ToolCalls,
            (false, false) => Stop::End,
        };
        let usage = Some(Usage { input, output, ..Usage::default() });
        Answer { id: "id-1".to_owned(), model: "m-1".to_owned(), created_s: Some(1_764_000_001), choices: vec![Choice { parts, stop }], usage }
    }
}

proptest! {
    #[test]
    fn a_client_reads_what_the_provider_said(answer in answer()) {
        for provider in Dialect::ALL {
            let body = write_answer(&answer, &asked(provider), &MINT).expect("it can be said");
            let heard = read_answer(provider, &body).expect("it is an answer");
            for client in Dialect::ALL {
                let body = write_answer(&heard, &asked(client), &MINT).expect("it can be said");
                let read = read_answer(client, &body).expect("it is an answer");
                let pair = format!("{provider:?} to {client:?}");
                prop_assert_eq!(&read.choices[0].stop, &answer.choices[0].stop, "{}", pair);
                prop_assert_eq!(read.usage, answer.usage, "{}", pair);
                prop_assert_eq!(&read.model, "m-1", "{}", pair);
                prop_assert_eq!(&read.id, "id-1", "{}", pair);
                if [provider, client].contains(&Dialect::Chat) {
                    prop_assert_eq!(in_order_of_chat(&read), in_order_of_chat(&answer), "{}", pair);
                } else {
                    prop_assert_eq!(said(&read), said(&answer), "{}", pair);
                }
            }
        }
    }
}

#[test]
fn an_answer_without_an_id_gets_one() {
    let choices = vec![Choice { parts: vec![Part::text("Hi")], stop: Stop::End }];
    let answer = Answer { choices, ..Answer::default() };
    for client in Dialect::ALL {
        let body = write_answer(&answer, &asked(client), &MINT).expect("it can be said");
        assert_eq!(read_answer(client, &body).expect("it is an answer").id, "minted", "{client:?}");
    }
}

#[test]
fn a_thought_that_is_signed_comes_back_to_its_provider() {
    let signature = Some(Signature { of: Dialect::Messages, text: "c2ln".to_owned() });
    let thought = Content::Thought { text: "hm".to_owned(), signature };
    let parts = vec![thought.clone().into(), Part::text("Hi")];
    let answer = Answer { choices: vec![Choice { parts, stop: Stop::End }], ..Answer::default() };
    for client in [Dialect::Responses, Dialect::Messages, Dialect::Generate] {
        let body = write_answer(&answer, &asked(client), &MINT).expect("it can be said");
        let read = read_answer(client, &body).expect("it is an answer");
        assert_eq!(read.choices[0].parts[0].content, thought, "{client:?}");
    }
}

#[test]
fn arguments_that_are_no_object_are_the_providers_fault_where_an_object_is_needed() {
    let call = ToolCall { id: "c".to_owned(), name: "t".to_owned(), arguments: r#"{"a":"#.to_owned(), signature: None };
    let parts = vec![Content::ToolCall(call).into()];
    let answer = Answer { choices: vec![Choice { parts, stop: Stop::ToolCalls }], ..Answer::default() };
    for client in Dialect::ALL {
        let written = write_answer(&answer, &asked(client), &MINT);
        assert_eq!(written.is_err(), matches!(client, Dialect::Messages | Dialect::Generate), "{client:?}");
    }
}

#[test]
fn what_is_no_answer_is_the_providers_fault() {
    for provider in Dialect::ALL {
        for body in ["", "<html>10.0.0.1</html>", "[]", "{\"a\":", "\u{1}"] {
            let fault = read_answer(provider, body.as_bytes()).map(drop).expect_err("it is none");
            assert_eq!(fault.kind, quorate_llm::error::Kind::Provider);
            assert!(!fault.message.contains("10.0.0.1"));
        }
    }
}
