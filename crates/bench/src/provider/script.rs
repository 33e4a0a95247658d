//! What is done to an answer on its way out: where its bytes are cut, when they come, and how it ends.
//!
//! In: a whole answer or the events of a stream, and a plan. Out: a [`Script`], which [`Body`](super::body::Body) plays. Pure, so that
//! every fault can be told byte by byte. **Invariant:** splitting and pace change no byte, only when each comes.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use bytes::Bytes;
use memchr::memmem;

use super::event::Event;
use super::plan::{Ending, Fault, Plan, STAMP, Wire};
use super::refusal;
use super::route::Api;
use super::{chat, responses};

/// What a slow body has at once, and the pause behind it: 320 bytes per second.
const SLOW_BYTES: usize = 16;
const SLOW_PAUSE: Duration = Duration::from_millis(50);
/// The sizes of the pieces of a body that is split: odd, and none a multiple of another.
const SPLIT_BYTES: [usize; 4] = [3, 7, 1, 11];
/// The shortest pause of a stream without an end.
const ENDLESS_GAP_MIN: Duration = Duration::from_millis(1);
const COMMENT: &str = ": keep-alive";
const WRONG_JSON: &str = r#"{"id":"mock","choices":[{]}"#;
const WRONG_SHAPE: &str = r#"{"hello":"world"}"#;

/// What a body does.
#[derive(Debug)]
pub(super) struct Script {
    /// In this order.
    pub(super) steps: Vec<Step>,
    /// How many bytes the head says, if it says any.
    pub(super) length: Option<u64>,
    /// Whether the end of it is not the end of the answer.
    pub(super) is_cut: bool,
}

/// One thing that a body does.
#[derive(Debug)]
pub(super) enum Step {
    /// Bytes go out.
    Send(Bytes),
    /// What went out before goes to the socket on its own.
    Part,
    /// Nothing happens.
    Wait(Duration),
    /// The connection is closed, when all before is written.
    Cut,
    /// Nothing happens any more.
    Silence,
    /// Goes on until the client leaves.
    Forever(Forever),
}

/// What comes again and again.
#[derive(Debug)]
pub(super) struct Forever {
    /// The pause before each.
    pub(super) gap: Duration,
    again: Again,
}

#[derive(Debug)]
enum Again {
    /// Bytes that are the same each time.
    Same(Bytes),
    /// Bytes that say when they are sent, from this place on.
    Stamped { bytes: Bytes, place: usize },
    /// An event whose number grows.
    Numbered { event: Event, framing: Framing, number: u64 },
}

/// How events become bytes.
#[derive(Clone, Copy, Debug)]
struct Framing {
    line_end: &'static str,
    /// The elements of one array instead of events.
    is_array: bool,
}

/// Writes what becomes of the events of a stream.
pub(super) fn stream(api: Api, has_events: bool, mut events: Vec<Event>, plan: &Plan) -> Script {
    let framing = Framing::new(api, has_events, plan.wire);
    if plan.wire.no_done && events.last().is_some_and(|last| last.data == chat::DONE) {
        events.pop();
    }
    if let Some(ending) = plan.ending {
        shorten(api, &mut events, ending);
    }
    let broken = plan.fault.map(|fault| (fault, events.iter().position(|event| event.is_chunk).unwrap_or(0)));
    if plan.wire.reorder && events.len() > 2 {
        events.swap(1, 2);
    }
    let mut steps = Vec::with_capacity(events.len() + 2);
    push_wait(&mut steps, plan.first);
    let mut has_chunk = false;
    for (index, event) in events.iter().enumerate() {
        if event.is_chunk && std::mem::replace(&mut has_chunk, true) {
            push_wait(&mut steps, plan.gap);
        }
        for copy in 0..=usize::from(plan.wire.repeat) {
            let is_first = index == 0 && copy == 0;
            let bytes = match broken {
                Some((fault, place)) if place == index => framing.break_one(event, is_first, fault),
                _ => framing.frame(event, is_first).into(),
            };
            steps.push(Step::Send(bytes.into()));
            if plan.wire.comments && !framing.is_array {
                steps.push(Step::Send(format!("{COMMENT}{0}{0}", framing.line_end).into()));
            }
        }
    }
    end(&mut steps, plan, framing, &events);
    Script { steps: spread(steps, plan.wire), length: None, is_cut: plan.ending.is_some() }
}

/// Writes what becomes of a whole answer, whatever it is.
pub(super) fn whole(body: Bytes, plan: &Plan) -> Script {
    let mut steps = Vec::with_capacity(2);
    push_wait(&mut steps, plan.first);
    let half = body.slice(..body.len() / 2);
    let mut length = Some(body.len() as u64);
    match plan.ending {
        None | Some(Ending::ErrorEvent(_)) => steps.push(Step::Send(body)),
        Some(Ending::Cut(_)) => steps.extend([Step::Send(half), Step::Cut]),
        Some(Ending::Stall(_)) => steps.extend([Step::Send(half), Step::Silence]),
        Some(Ending::HalfClose(_)) => {
            length = Some(half.len() as u64);
            steps.push(Step::Send(half));
        }
        Some(Ending::Endless) => {
            // White space may stand before JSON, and providers send it while they think.
            let again = Again::Same(Bytes::from_static(b" "));
            length = None;
            steps.push(Step::Forever(Forever { gap: plan.gap.max(ENDLESS_GAP_MIN), again }));
        }
    }
    let is_cut = !matches!(plan.ending, None | Some(Ending::ErrorEvent(_)));
    Script { steps: spread(steps, plan.wire), length, is_cut }
}

/// Breaks a whole answer.
pub(super) fn broken(body: String, fault: Option<Fault>) -> Bytes {
    match fault {
        Some(Fault::WrongJson) => Bytes::from_static(WRONG_JSON.as_bytes()),
        Some(Fault::WrongShape) => Bytes::from_static(WRONG_SHAPE.as_bytes()),
        Some(Fault::NotUtf8) => not_utf8(&body).into(),
        None | Some(Fault::Html | Fault::ErrorHtml | Fault::CutHead) => body.into(),
    }
}

// === impl Forever ===

impl Forever {
    /// The next bytes, which are sent now.
    pub(super) fn next(&mut self, now: SystemTime) -> Bytes {
        match &mut self.again {
            Again::Same(bytes) => bytes.clone(),
            Again::Stamped { bytes, place } => {
                let now = now.duration_since(UNIX_EPOCH).unwrap_or_default().as_nanos();
                let stamp = format!("@{now:0>width$}", width = STAMP.len() - 1);
                [&bytes[..*place], stamp.as_bytes(), &bytes[*place + STAMP.len()..]].concat().into()
            }
            Again::Numbered { event, framing, number } => {
                if let Some(data) = responses::renumbered(&event.data, *number) {
                    event.data = data;
                }
                *number += 1;
                framing.frame(event, false).into()
            }
        }
    }
}

// === impl Again ===

impl Again {
    fn of(bytes: Bytes, is_stamped: bool) -> Self {
        match memmem::find(&bytes, STAMP.as_bytes()).filter(|_| is_stamped) {
            Some(place) => Self::Stamped { bytes, place },
            None => Self::Same(bytes),
        }
    }
}

// === impl Framing ===

impl Framing {
    fn new(api: Api, has_events: bool, wire: Wire) -> Self {
        // Gemini's lines end so without being asked.
        let line_end = if wire.crlf || api == Api::Generate { "\r\n" } else { "\n" };
        Self { line_end, is_array: !has_events }
    }

    fn frame(self, event: &Event, is_first: bool) -> String {
        self.around(event, &event.data, is_first)
    }

    fn around(self, event: &Event, data: &str, is_first: bool) -> String {
        let end = self.line_end;
        match event.name {
            _ if self.is_array => format!("{}{data}", if is_first { "[" } else { ",\r\n" }),
            Some(name) => format!("event: {name}{end}data: {data}{end}{end}"),
            None => format!("data: {data}{end}{end}"),
        }
    }

    fn break_one(self, event: &Event, is_first: bool, fault: Fault) -> Vec<u8> {
        match fault {
            Fault::WrongJson => self.around(event, WRONG_JSON, is_first).into(),
            Fault::WrongShape => self.around(event, WRONG_SHAPE, is_first).into(),
            Fault::NotUtf8 => not_utf8(&self.frame(event, is_first)),
            Fault::Html | Fault::ErrorHtml | Fault::CutHead => self.frame(event, is_first).into(),
        }
    }
}

/// Takes away what does not come any more, and adds the error that comes instead.
fn shorten(api: Api, events: &mut Vec<Event>, ending: Ending) {
    let chunks = match ending {
        Ending::Cut(chunks) | Ending::HalfClose(chunks) | Ending::Stall(chunks) | Ending::ErrorEvent(chunks) => chunks,
        Ending::Endless => usize::MAX,
    };
    let places = || events.iter().enumerate().filter(|(_, event)| event.is_chunk).map(|(place, _)| place);
    // A stream that has fewer chunks ends behind the last one: it never gets to its last word.
    let kept = match chunks {
        0 => places().next(),
        _ => places().take(chunks).last().map(|place| place + 1),
    };
    events.truncate(kept.unwrap_or(1));
    if let Ending::ErrorEvent(_) = ending {
        events.push(refusal::event(api, events.len()));
    }
}

/// Adds what comes behind the last event.
fn end(steps: &mut Vec<Step>, plan: &Plan, framing: Framing, events: &[Event]) {
    match plan.ending {
        None | Some(Ending::ErrorEvent(_)) if framing.is_array => steps.push(Step::Send(Bytes::from_static(b"]"))),
        None | Some(Ending::ErrorEvent(_) | Ending::HalfClose(_)) => {}
        Some(Ending::Cut(_)) => steps.push(Step::Cut),
        Some(Ending::Stall(_)) => steps.push(Step::Silence),
        Some(Ending::Endless) => {
            let Some(event) = events.last().cloned() else { return };
            let again = match responses::renumbered(&event.data, 0) {
                Some(_) => Again::Numbered { event, framing, number: events.len() as u64 },
                None => Again::of(framing.frame(&event, false).into(), plan.wire.stamped),
            };
            steps.push(Step::Forever(Forever { gap: plan.gap.max(ENDLESS_GAP_MIN), again }));
        }
    }
}

/// Cuts what is sent into the pieces in which it comes.
fn spread(steps: Vec<Step>, wire: Wire) -> Vec<Step> {
    if !wire.split && !wire.slow_body {
        return steps;
    }
    let mut spread = Vec::new();
    let mut sizes = SPLIT_BYTES.iter().copied().cycle();
    for step in steps {
        let Step::Send(mut bytes) = step else {
            spread.push(step);
            continue;
        };
        while !bytes.is_empty() {
            let size = if wire.slow_body { SLOW_BYTES } else { sizes.next().unwrap_or(1) };
            spread.push(Step::Send(bytes.split_to(size.min(bytes.len()))));
            spread.push(if wire.slow_body { Step::Wait(SLOW_PAUSE) } else { Step::Part });
        }
    }
    // Nothing is waited for behind the end.
    if matches!(spread.last(), Some(Step::Part | Step::Wait(_))) {
        spread.pop();
    }
    spread
}

fn push_wait(steps: &mut Vec<Step>, pause: Duration) {
    if !pause.is_zero() {
        steps.push(Step::Wait(pause));
    }
}

/// The same with two bytes within its first text that no text has.
fn not_utf8(text: &str) -> Vec<u8> {
    let place = text.find(r#"":""#).map_or(text.len(), |place| place + 3);
    [&text.as_bytes()[..place], b"\xff\xfe", &text.as_bytes()[place..]].concat()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// Opening, so many chunks, and a last word.
    fn events(chunks: usize) -> Vec<Event> {
        let mut events = vec![Event::plain("open".to_owned())];
        events.extend((0..chunks).map(|number| Event::plain(format!(r#"{{"t":"c{number}"}}"#)).chunk()));
        events.push(Event::plain("[DONE]".to_owned()));
        events
    }

    fn play(api: Api, model: &str, chunks: usize) -> Script {
        stream(api, true, events(chunks), &Plan::parse(model).unwrap())
    }

    fn bytes(script: &Script) -> Vec<u8> {
        let sent = script.steps.iter().filter_map(|step| match step {
            Step::Send(bytes) => Some(bytes.to_vec()),
            Step::Part | Step::Wait(_) | Step::Cut | Step::Silence | Step::Forever(_) => None,
        });
        sent.flatten().collect()
    }

    /// The data of the events of a stream of two chunks.
    fn data(model: &str) -> Vec<String> {
        let text = String::from_utf8(bytes(&play(Api::Chat, model, 2))).unwrap();
        text.lines().filter_map(|line| line.strip_prefix("data: ")).map(str::to_owned).collect()
    }

    #[test]
    fn each_ending_comes_where_the_plan_says() {
        let (c0, c1) = (r#"{"t":"c0"}"#, r#"{"t":"c1"}"#);
        for (options, expected) in [
            ("cut=0", vec!["open"]),
            ("cut=1", vec!["open", c0]),
            ("half-close=2", vec!["open", c0, c1]),
            ("stall=9", vec!["open", c0, c1]),
            ("endless", vec!["open", c0, c1]),
            ("no-done", vec!["open", c0, c1]),
            ("reorder", vec!["open", c1, c0, "[DONE]"]),
            ("repeat,half-close=1", vec!["open", "open", c0, c0]),
            ("wrong-shape", vec!["open", WRONG_SHAPE, c1, "[DONE]"]),
            ("wrong-json", vec!["open", WRONG_JSON, c1, "[DONE]"]),
        ] {
            assert_eq!(data(&format!("mock,{options}")), expected, "{options}");
        }
        let error = data("mock,error-event=1");
        assert_eq!((error.len(), error[2].contains("server_error")), (3, true));
    }

    #[test]
    fn an_ending_is_told_from_the_end_of_an_answer() {
        for (options, is_cut, last) in [
            ("text=a", false, "Send"),
            ("cut=1", true, "Cut"),
            ("half-close=1", true, "Send"),
            ("stall=1", true, "Silence"),
            ("endless", true, "Forever"),
        ] {
            let script = play(Api::Chat, &format!("mock,{options}"), 2);
            let found = format!("{:?}", script.steps.last().unwrap());
            assert!(script.is_cut == is_cut && found.starts_with(last), "{options}: {found}");
        }
    }

    #[test]
    fn lines_end_as_the_shape_or_the_plan_says() {
        let text = |api, model| String::from_utf8(bytes(&play(api, model, 0))).unwrap();

        assert_eq!(text(Api::Chat, "mock"), "data: open\n\ndata: [DONE]\n\n");
        assert_eq!(text(Api::Chat, "mock,event-crlf"), "data: open\r\n\r\ndata: [DONE]\r\n\r\n");
        assert_eq!(text(Api::Generate, "mock"), "data: open\r\n\r\ndata: [DONE]\r\n\r\n");
        assert_eq!(text(Api::Chat, "mock,comments,no-done"), "data: open\n\n: keep-alive\n\n");
    }

    #[test]
    fn a_stream_without_an_end_counts_on() {
        let event = Event::named("a", r#"{"type":"a","sequence_number":4,"x":1}"#.to_owned()).chunk();
        let mut script = stream(Api::Responses, true, vec![event], &Plan::parse("mock,endless").unwrap());
        let Some(Step::Forever(mut again)) = script.steps.pop() else { panic!("{:?}", script.steps) };

        assert_eq!(again.gap, ENDLESS_GAP_MIN);
        for number in 1..4 {
            let expected = format!("event: a\ndata: {{\"type\":\"a\",\"sequence_number\":{number},\"x\":1}}\n\n");
            assert_eq!(again.next(UNIX_EPOCH), expected.as_bytes());
        }
    }

    #[test]
    fn a_stream_that_is_stamped_says_when_each_chunk_is_sent() {
        let event = Event::plain(format!(r#"{{"t":"{STAMP}"}}"#)).chunk();
        let mut script = stream(Api::Chat, true, vec![event], &Plan::parse("mock,endless,stamped").unwrap());
        let Some(Step::Forever(mut again)) = script.steps.pop() else { panic!("{:?}", script.steps) };

        for (at, expected) in [(7, "@0000000007000000000"), (1_790_000_000, "@1790000000000000000")] {
            let expected = format!("data: {{\"t\":\"{expected}\"}}\n\n");
            assert_eq!(again.next(UNIX_EPOCH + Duration::from_secs(at)), expected.as_bytes());
        }
    }

    #[test]
    fn a_whole_answer_that_is_cut_says_more_bytes_than_it_has() {
        let play = |model| whole(Bytes::from_static(b"0123456789"), &Plan::parse(model).unwrap());

        for (model, sent, length) in [
            ("mock", "0123456789", Some(10)),
            ("mock,cut=1", "01234", Some(10)),
            ("mock,stall=0", "01234", Some(10)),
            ("mock,half-close=0", "01234", Some(5)),
            ("mock,endless", "", None),
        ] {
            let script = play(model);
            assert_eq!((bytes(&script).as_slice(), script.length), (sent.as_bytes(), length), "{model}");
        }
    }

    proptest! {
        #[test]
        fn splitting_and_pace_change_no_byte(
            chunks in 0_usize..40,
            gap in 0_u64..100,
            split in any::<bool>(),
            slow in any::<bool>(),
            rest in prop::sample::select(vec!["", ",repeat", ",comments", ",event-crlf", ",cut=3", ",not-utf8"]),
        ) {
            let flags = [split.then_some(",split"), slow.then_some(",slow-body")];
            let flags: String = flags.into_iter().flatten().collect();
            let plain = play(Api::Chat, &format!("mock,chunks=4{rest}"), chunks);
            let paced = play(Api::Chat, &format!("mock,chunks=4{rest},gap={gap}ms,first=3ms{flags}"), chunks);

            prop_assert_eq!(bytes(&plain), bytes(&paced));
            if split && !slow {
                let odd = |step: &Step| !matches!(step, Step::Send(bytes) if bytes.len() > 11);
                prop_assert!(paced.steps.iter().all(odd));
            }
        }
    }
}
