//! Laws of the bridge from a session to a modern server, over generated messages and histories.

use std::collections::HashSet;
use std::sync::Arc;

use bytes::Bytes;
use proptest::prelude::*;
use quorate_jsonrpc::{Frame, Id, Kind, Limits, cut_members, quote};
use quorate_mcp::Method;
use quorate_mcp::dialect::onto_modern::{self, Asked, Caller, DEFAULTS, Rounds, Step};

const CLIENT: &str = r#"{"protocolVersion":"2025-11-25","capabilities":{"elicitation":{},"sampling":{},"roots":{}},"clientInfo":{"name":"c","version":"1"}}"#;

fn frame(text: &str) -> Frame {
    Frame::parse(Bytes::copy_from_slice(text.as_bytes()), &Limits::ANSWER).expect(text)
}

fn caller() -> Arc<Caller> {
    Arc::new(Caller::of_initialize(CLIENT).expect("the parameters of initialize"))
}

/// Numbers from 1 on.
fn mint(minted: &mut u64) -> impl FnMut() -> u64 {
    || {
        *minted += 1;
        *minted
    }
}

/// Begins a call whose parameters are these members.
fn begin(method: &str, members: &str, minted: &mut u64) -> (Rounds, Frame) {
    let text = format!(r#"{{"jsonrpc":"2.0","id":"c","method":"{method}","params":{{{members}}}}}"#);
    let Ok(Asked::Upstream(call)) = onto_modern::read(frame(&text)) else { panic!("{text}") };
    Rounds::new(caller(), &call, None, DEFAULTS, &mut mint(minted)).expect("a valid request")
}

/// A member that neither era gives a meaning, with a value whose text a re-serialisation would change.
fn extra() -> impl Strategy<Value = String> {
    let value =
        prop_oneof![Just("1.0"), Just("1e2"), Just("\"\\u0041\""), Just("[ 1 ,2 ]"), Just("{\"resultType\": \"x\"}")];
    ("[a-z]{1,6}", value).prop_map(|(key, value)| format!("\"x-{key}\": {value}"))
}

/// Members with names of their own, in any order.
fn extras() -> impl Strategy<Value = Vec<String>> {
    prop::collection::vec(extra(), 0..5).prop_map(|mut members| {
        let mut seen = HashSet::new();
        members.retain(|member| seen.insert(member.split(':').next().map(str::to_owned)));
        members
    })
}

/// Puts `own` members among `extras`, where `places` say.
fn mixed(extras: &[String], own: &[&str], places: &[prop::sample::Index]) -> Vec<String> {
    let mut all = extras.to_vec();
    for (member, place) in own.iter().zip(places) {
        all.insert(place.index(all.len() + 1), (*member).to_owned());
    }
    all
}

/// What happens next in a history.
#[derive(Clone, Debug)]
enum Next {
    Notification,
    Complete,
    Failed,
    StateOnly,
    Requests(u8),
    Response(prop::sample::Index),
    Refusal(prop::sample::Index),
}

fn next() -> impl Strategy<Value = Next> {
    prop_oneof![
        2 => Just(Next::Notification),
        1 => Just(Next::Complete),
        1 => Just(Next::Failed),
        2 => Just(Next::StateOnly),
        4 => (0_u8..20).prop_map(Next::Requests),
        8 => any::<prop::sample::Index>().prop_map(Next::Response),
        1 => any::<prop::sample::Index>().prop_map(Next::Refusal),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(512))]

    #[test]
    fn a_request_keeps_everything_but_its_meta(extras in extras(), places: [prop::sample::Index; 2], name: String) {
        let name = format!("\"name\":{}", quote(&name));
        let members = mixed(&extras, &[&name, r#""arguments":{"task": 1.0}"#], &places).join(",");

        let (_, sent) = begin("tools/call", &members, &mut 0);

        let params = sent.params().expect("parameters");
        let params = std::str::from_utf8(&params).expect("text");
        let cuts = cut_members(params, 0, &["_meta"]).expect("an object");
        prop_assert_eq!(cuts.len(), 1);
        prop_assert_eq!(&params[cuts[0].end..], format!("{members}}}"));
    }

    #[test]
    fn what_only_sessions_or_retries_have_is_not_sent(extras in extras(), places: [prop::sample::Index; 4]) {
        let foreign = [r#""task":{"ttl":1}"#, r#""inputResponses":{}"#, r#""requestState":"s""#];
        let with = mixed(&extras, &[r#""uri":"u""#, foreign[0], foreign[1], foreign[2]], &places);
        let without: Vec<String> = with.iter().filter(|member| !foreign.contains(&member.as_str())).cloned().collect();

        let (_, sent) = begin("resources/read", &with.join(","), &mut 0);
        let (_, expected) = begin("resources/read", &without.join(","), &mut 0);

        prop_assert_eq!(sent.text(), expected.text());
    }

    #[test]
    fn a_result_keeps_everything_that_both_eras_have(extras in extras(), places: [prop::sample::Index; 4]) {
        let own = [r#""resultType":"complete""#, r#""ttlMs":1"#, r#""cacheScope":"public""#, r#""contents":[ ]"#];
        let with = mixed(&extras, &own, &places);
        let without: Vec<String> =
            with.iter().filter(|member| !own[..3].contains(&member.as_str())).cloned().collect();
        let answer = frame(&format!(r#"{{"jsonrpc":"2.0","id":1,"result":{{{}}}}}"#, with.join(",")));

        let rewritten = onto_modern::result(&answer, Method::ReadResource).expect("a result").frame;

        let expected = format!(r#"{{"jsonrpc":"2.0","id":1,"result":{{{}}}}}"#, without.join(","));
        prop_assert_eq!(rewritten.text(), expected);
    }

    #[test]
    fn arbitrary_results_never_panic_and_stay_frames(raw in "[\\[\\]{}:,\"a-z0-9 ]{0,40}", method in 0..Method::ALL.len()) {
        let text = format!(r#"{{"jsonrpc":"2.0","id":1,"result":{raw}}}"#);
        let Ok(answer) = Frame::parse(Bytes::from(text), &Limits::ANSWER) else { return Ok(()) };
        if let Ok(rewritten) = onto_modern::result(&answer, Method::ALL[method]) {
            prop_assert!(Frame::parse(rewritten.frame.bytes().clone(), &Limits::ANSWER).is_ok());
        }
    }

    /// A call ends once, its ids are all new, and what is asked of the client is bounded.
    #[test]
    fn a_call_ends_once_within_its_bounds(history in prop::collection::vec(next(), 0..80)) {
        let mut minted = 0;
        let (mut rounds, mut sent) = begin("tools/call", r#""name":"t""#, &mut minted);
        let mut ids = HashSet::from([sent.id().cloned()]);
        let (mut ended, mut asked_rounds) = (false, 0);
        for next in history {
            let waiting: Vec<u64> = rounds.asks().map(|(id, _)| id).collect();
            let step = match answer_of(&next, &sent, &waiting) {
                Message::Server(frame) => rounds.answered(frame, &mut mint(&mut minted)),
                Message::Client(frame) => rounds.responded(&frame, &mut mint(&mut minted)),
            };
            match step {
                Ok(Step::Pass(frame)) => prop_assert!(!ended && frame.kind() == Kind::Notification),
                Ok(Step::Wait) => {}
                Ok(Step::Ask(frames)) => {
                    prop_assert!(!ended && waiting.is_empty() && frames.len() <= DEFAULTS.requests_max);
                    asked_rounds += 1;
                    for frame in &frames {
                        prop_assert!(ids.insert(frame.id().cloned()));
                    }
                    prop_assert_eq!(rounds.asks().count(), frames.len());
                }
                Ok(Step::Send { frame, .. } | Step::Refresh { frame }) => {
                    prop_assert!(!ended && ids.insert(frame.id().cloned()));
                    sent = frame;
                }
                Ok(Step::Done { answer, .. }) => {
                    prop_assert!(!std::mem::replace(&mut ended, true));
                    prop_assert_eq!(answer.id().map(Id::as_json), Some("\"c\""));
                }
                Err(_) if rounds.asks().next().is_some() => {
                    let open = rounds.asks().count();
                    prop_assert_eq!(rounds.retractions("over").len(), open);
                    ended = true;
                }
                // A frame that comes while the client is asked belongs to no open request.
                Err(_) if !waiting.is_empty() => {}
                Err(_) => ended = true,
            }
            prop_assert!(asked_rounds <= DEFAULTS.rounds_max);
            prop_assert!(!ended || rounds.asks().next().is_none());
        }
    }
}

enum Message {
    Server(Frame),
    Client(Frame),
}

fn answer_of(next: &Next, sent: &Frame, waiting: &[u64]) -> Message {
    let id = sent.id().expect("a request");
    let result = |result: &str| Message::Server(frame(&format!(r#"{{"jsonrpc":"2.0","id":{id},"result":{result}}}"#)));
    let waiting = |index: &prop::sample::Index| if waiting.is_empty() { 0 } else { *index.get(waiting) };
    match next {
        Next::Notification => {
            Message::Server(frame(r#"{"jsonrpc":"2.0","method":"notifications/message","params":{"level":"info"}}"#))
        }
        Next::Complete => result(r#"{"resultType":"complete","content":[]}"#),
        Next::Failed => {
            Message::Server(frame(&format!(r#"{{"jsonrpc":"2.0","id":{id},"error":{{"code":-32020,"message":"m"}}}}"#)))
        }
        Next::StateOnly => result(r#"{"resultType":"input_required","requestState":"s"}"#),
        Next::Requests(count) => {
            let requests: Vec<String> =
                (0..*count).map(|key| format!(r#""{key}":{{"method":"elicitation/create","params":{{}}}}"#)).collect();
            result(&format!(
                r#"{{"resultType":"input_required","inputRequests":{{{}}},"requestState":"s"}}"#,
                requests.join(",")
            ))
        }
        Next::Response(index) => {
            Message::Client(frame(&format!(r#"{{"jsonrpc":"2.0","id":{},"result":{{}}}}"#, waiting(index))))
        }
        Next::Refusal(index) => Message::Client(frame(&format!(
            r#"{{"jsonrpc":"2.0","id":{},"error":{{"code":-1,"message":"no"}}}}"#,
            waiting(index)
        ))),
    }
}
