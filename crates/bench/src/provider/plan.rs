//! What the name of a model asks the provider to do: `mock`, and options behind it, each after a comma, or each after a semicolon.
//!
//! In: a name. Out: a [`Plan`], or which option is wrong and what is allowed. Pure. A name that does not begin with `mock,` or `mock;` has
//! no options, so that any name works; a name is all that every gateway passes on, so that the provider is steered through it. LiteLLM
//! takes a name with commas for several models, hence semicolons.
//!
//! **Invariant:** a plan has one way to end and one way to be broken, and every number in it has a bound.

use std::time::Duration;

use super::option::{Given, NAME_BYTES_MAX, OPTIONS, PlanError};

/// Most deltas of an answer.
const CHUNKS_MAX: u64 = 100_000;
/// Largest answer, and largest event: 64 MiB.
const BYTES_MAX: u64 = 64 << 20;
/// Most tokens.
const TOKENS_MAX: u64 = 1_000_000_000;
/// Most tools that are called at once.
const TOOLS_MAX: u64 = 128;
/// The text of an answer whose chunks say when they are sent: nanoseconds since 1970 take the place of the digits.
pub(super) const STAMP: &str = "@0000000000000000000";
/// Deltas of an answer, unless the name says.
const CHUNKS: usize = 4;

/// What the provider does with a request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Plan {
    /// What is said.
    pub(super) content: Content,
    /// The pause between two chunks.
    pub(super) gap: Duration,
    /// The time before the first chunk.
    pub(super) first: Duration,
    /// The time before the head of the response.
    pub(super) head: Duration,
    /// The status instead of an answer.
    pub(super) failure: Option<Failure>,
    /// When to come again, beside a failure.
    pub(super) retry: Option<Retry>,
    /// What is broken.
    pub(super) fault: Option<Fault>,
    /// How the answer ends, other than well.
    pub(super) ending: Option<Ending>,
    /// How the bytes come.
    pub(super) wire: Wire,
}

/// What is said.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Content {
    /// The text; none is what the user said.
    pub(super) text: Option<String>,
    /// The number of deltas.
    pub(super) chunks: usize,
    /// Whether the name says the number of deltas: then a short text is repeated for it.
    pub(super) has_chunks: bool,
    /// How many of the request's tools are called.
    pub(super) tools: usize,
    /// Whether the answer is JSON even where no schema is asked for.
    pub(super) json: bool,
    /// Whether reasoning comes before the answer.
    pub(super) think: bool,
    /// Whether the answer is a refusal.
    pub(super) refuse: bool,
    /// Why the answer stops; none is what its content means.
    pub(super) stop: Option<Stop>,
    /// What it costs.
    pub(super) usage: Usage,
    /// How many of the input's tokens came from a cache.
    pub(super) cached: u64,
    /// The size of one delta.
    pub(super) big_event: Option<usize>,
    /// The size of the text.
    pub(super) big_answer: Option<usize>,
}

/// Why an answer stops.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Stop {
    /// It reached the most tokens.
    Length,
    /// A filter stopped it.
    Filter,
    /// It is at its end.
    End,
}

/// What an answer costs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Usage {
    /// As many tokens as the bytes make.
    Counted,
    /// It is said how many.
    Said {
        /// Of the input, cached ones included.
        input: u64,
        /// Of the output, reasoning included.
        output: u64,
    },
    /// Nothing is said of it.
    Untold,
}

/// A status instead of an answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Failure {
    /// The status.
    pub(super) status: u16,
    /// Only so many requests of this exact name, from the first.
    pub(super) times: Option<u64>,
}

/// How a failure says when to come again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Retry {
    /// `retry-after: SECONDS`.
    Seconds(u64),
    /// `retry-after-ms: MILLISECONDS`.
    Milliseconds(u64),
    /// `retry-after: DATE`, so many seconds from now.
    Date(u64),
}

/// What is broken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Fault {
    /// 200 with a page.
    Html,
    /// 502 with a page.
    ErrorHtml,
    /// JSON that is none; in a stream, one event.
    WrongJson,
    /// JSON that is no answer; in a stream, one event.
    WrongShape,
    /// Bytes that are no text; in a stream, in one event.
    NotUtf8,
    /// The connection is closed before a head.
    CutHead,
}

/// How an answer ends, other than well.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Ending {
    /// The connection is closed after so many chunks; a whole answer, after half of it.
    Cut(usize),
    /// The response ends after so many chunks, without its last word.
    HalfClose(usize),
    /// Nothing comes any more after so many chunks.
    Stall(usize),
    /// An error comes after so many chunks.
    ErrorEvent(usize),
    /// Chunks come until the client leaves.
    Endless,
}

/// How the bytes come.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Wire {
    /// The head comes byte by byte.
    pub(super) slow_headers: bool,
    /// The body comes in few bytes at a time.
    pub(super) slow_body: bool,
    /// Each event comes twice.
    pub(super) repeat: bool,
    /// The second and the third event change places.
    pub(super) reorder: bool,
    /// Lines of events end with CR and LF.
    pub(super) crlf: bool,
    /// Writes end where events do not.
    pub(super) split: bool,
    /// There are comments between the events.
    pub(super) comments: bool,
    /// `data: [DONE]` is missing.
    pub(super) no_done: bool,
    /// What is asked as a stream is answered whole.
    pub(super) whole: bool,
    /// What comes again and again says when it is sent, in place of [`STAMP`].
    pub(super) stamped: bool,
}

// === impl Plan ===

impl Default for Plan {
    fn default() -> Self {
        let content = Content {
            text: None,
            chunks: CHUNKS,
            has_chunks: false,
            tools: 0,
            json: false,
            think: false,
            refuse: false,
            stop: None,
            usage: Usage::Counted,
            cached: 0,
            big_event: None,
            big_answer: None,
        };
        Self {
            content,
            gap: Duration::ZERO,
            first: Duration::ZERO,
            head: Duration::ZERO,
            failure: None,
            retry: None,
            fault: None,
            ending: None,
            wire: Wire::default(),
        }
    }
}

impl Plan {
    /// Reads the name of a model.
    ///
    /// # Errors
    /// [`PlanError`], of the first option that is wrong.
    pub(super) fn parse(model: &str) -> Result<Self, PlanError> {
        if model.len() > NAME_BYTES_MAX {
            return Err(PlanError::Length);
        }
        let mut plan = Self::default();
        let apart = |mark| Some((model.strip_prefix("mock")?.strip_prefix(mark)?, mark));
        let Some((options, mark)) = apart(',').or_else(|| apart(';')) else { return Ok(plan) };
        let mut seen = [false; OPTIONS.len()];
        for text in options.split(mark) {
            let (name, value) = text.split_once('=').map_or((text, None), |(name, value)| (name, Some(value)));
            let index = OPTIONS.iter().position(|(known, _)| *known == name);
            let index = index.ok_or_else(|| PlanError::Unknown { option: name.to_owned() })?;
            let given = Given { option: OPTIONS[index].0, value, allowed: OPTIONS[index].1 };
            if std::mem::replace(&mut seen[index], true) {
                return Err(given.excluded());
            }
            plan.set(&given)?;
        }
        plan.check(seen)?;
        Ok(plan)
    }

    fn set(&mut self, given: &Given<'_>) -> Result<(), PlanError> {
        match given.option {
            "gap" => self.gap = given.duration()?,
            "first" => self.first = given.duration()?,
            "head" => self.head = given.duration()?,
            "status" | "status-once" => {
                let once = (given.option == "status-once").then_some(1);
                let times = self.failure.and_then(|failure| failure.times).or(once);
                let status = u16::try_from(given.number(400, 599)?).expect("599 fits");
                self.failure = Some(Failure { status, times });
            }
            "fail" => {
                let times = Some(given.number(1, 1_000_000)?);
                self.failure = Some(Failure { status: self.failure.map_or(503, |failure| failure.status), times });
            }
            "retry-after" => given.once(&mut self.retry, Retry::Seconds(given.number(0, 86_400)?))?,
            "retry-after-ms" => given.once(&mut self.retry, Retry::Milliseconds(given.number(0, 86_400_000)?))?,
            "retry-date" => {
                let seconds = if given.value.is_none() { 2 } else { given.number(0, 86_400)? };
                given.once(&mut self.retry, Retry::Date(seconds))?;
            }
            "html" => given.only(&mut self.fault, Fault::Html)?,
            "error-html" => given.only(&mut self.fault, Fault::ErrorHtml)?,
            "wrong-json" => given.only(&mut self.fault, Fault::WrongJson)?,
            "wrong-shape" => given.only(&mut self.fault, Fault::WrongShape)?,
            "not-utf8" => given.only(&mut self.fault, Fault::NotUtf8)?,
            "cut-head" => given.only(&mut self.fault, Fault::CutHead)?,
            "cut" => given.once(&mut self.ending, Ending::Cut(given.count(0, CHUNKS_MAX)?))?,
            "half-close" => given.once(&mut self.ending, Ending::HalfClose(given.count(0, CHUNKS_MAX)?))?,
            "stall" => given.once(&mut self.ending, Ending::Stall(given.count(0, CHUNKS_MAX)?))?,
            "error-event" => given.once(&mut self.ending, Ending::ErrorEvent(given.count(0, CHUNKS_MAX)?))?,
            "endless" => given.only(&mut self.ending, Ending::Endless)?,
            "stamped" => {
                self.wire.stamped = given.nothing()?;
                self.content.text = Some(STAMP.to_owned());
            }
            "slow-headers" | "slow-body" | "repeat" | "reorder" | "event-crlf" | "split" | "comments" | "no-done"
            | "whole" => *self.wire.flag(given.option) = given.nothing()?,
            _ => self.content.set(given)?,
        }
        Ok(())
    }

    /// Judges what options mean together.
    fn check(&self, seen: [bool; OPTIONS.len()]) -> Result<(), PlanError> {
        let has = |name: &str| OPTIONS.iter().zip(seen).any(|((known, _), seen)| *known == name && seen);
        let excluded = |option| Err(PlanError::Excluded { option });
        if has("status") && has("status-once") {
            return excluded("status-once");
        }
        if has("text") && has("stamped") {
            return excluded("text");
        }
        if has("tool") && has("tools") {
            return excluded("tools");
        }
        if has("big-event") && has("big-answer") {
            return excluded("big-answer");
        }
        match self.content.usage {
            Usage::Said { input, .. } if self.content.cached > input => {
                let value = self.content.cached.to_string();
                Err(PlanError::Value { option: "cached", value, allowed: "TOKENS, no more than IN" })
            }
            Usage::Said { .. } | Usage::Counted | Usage::Untold => Ok(()),
        }
    }
}

// === impl Content ===

impl Content {
    fn set(&mut self, given: &Given<'_>) -> Result<(), PlanError> {
        match given.option {
            "text" => {
                self.text = Some(given.value.filter(|text| !text.is_empty()).ok_or_else(|| given.wrong())?.into())
            }
            "chunks" => (self.chunks, self.has_chunks) = (given.count(1, CHUNKS_MAX)?, true),
            "tool" => self.tools = usize::from(given.nothing()?),
            "tools" => self.tools = given.count(1, TOOLS_MAX)?,
            "json" => self.json = given.nothing()?,
            "think" => self.think = given.nothing()?,
            "refuse" => self.refuse = given.nothing()?,
            "stop" => {
                self.stop = Some(match given.value {
                    Some("length") => Stop::Length,
                    Some("filter") => Stop::Filter,
                    Some("end") => Stop::End,
                    _ => return Err(given.wrong()),
                });
            }
            "usage" if given.value == Some("none") => self.usage = Usage::Untold,
            "usage" => {
                let tokens = |text: &str| text.parse().ok().filter(|tokens| *tokens <= TOKENS_MAX);
                let said = given.value.and_then(|value| value.split_once('/'));
                let said = said.and_then(|(input, output)| tokens(input).zip(tokens(output)));
                let (input, output) = said.ok_or_else(|| given.wrong())?;
                self.usage = Usage::Said { input, output };
            }
            "cached" => self.cached = given.number(0, TOKENS_MAX)?,
            "big-event" => self.big_event = Some(given.count(1, BYTES_MAX)?),
            "big-answer" => self.big_answer = Some(given.count(1, BYTES_MAX)?),
            option => unreachable!("{option} is in the table, and nobody takes it"),
        }
        Ok(())
    }
}

// === impl Wire ===

impl Wire {
    fn flag(&mut self, option: &str) -> &mut bool {
        match option {
            "slow-headers" => &mut self.slow_headers,
            "slow-body" => &mut self.slow_body,
            "repeat" => &mut self.repeat,
            "reorder" => &mut self.reorder,
            "event-crlf" => &mut self.crlf,
            "split" => &mut self.split,
            "comments" => &mut self.comments,
            "whole" => &mut self.whole,
            _ => &mut self.no_done,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn plan(change: impl FnOnce(&mut Plan)) -> Plan {
        let mut plan = Plan::default();
        change(&mut plan);
        plan
    }

    #[test]
    fn each_option_says_one_thing() {
        let ms = Duration::from_millis;
        let said = |input, output| Usage::Said { input, output };
        let failure = |status, times| Some(Failure { status, times });
        for (options, expected) in [
            ("text=Rome", plan(|plan| plan.content.text = Some("Rome".to_owned()))),
            ("text=a b=c/d", plan(|plan| plan.content.text = Some("a b=c/d".to_owned()))),
            ("chunks=16", plan(|plan| (plan.content.chunks, plan.content.has_chunks) = (16, true))),
            ("gap=50ms,first=2s", plan(|plan| (plan.gap, plan.first) = (ms(50), ms(2000)))),
            ("head=100us", plan(|plan| plan.head = Duration::from_micros(100))),
            ("tool", plan(|plan| plan.content.tools = 1)),
            ("tools=3", plan(|plan| plan.content.tools = 3)),
            (
                "json,think,refuse",
                plan(|plan| (plan.content.json, plan.content.think, plan.content.refuse) = (true, true, true)),
            ),
            ("stop=length", plan(|plan| plan.content.stop = Some(Stop::Length))),
            ("stop=filter", plan(|plan| plan.content.stop = Some(Stop::Filter))),
            ("usage=12/34,cached=5", plan(|plan| (plan.content.usage, plan.content.cached) = (said(12, 34), 5))),
            ("usage=none", plan(|plan| plan.content.usage = Usage::Untold)),
            ("status=429", plan(|plan| plan.failure = failure(429, None))),
            ("status-once=429", plan(|plan| plan.failure = failure(429, Some(1)))),
            ("fail=3", plan(|plan| plan.failure = failure(503, Some(3)))),
            ("status=500,fail=3", plan(|plan| plan.failure = failure(500, Some(3)))),
            ("fail=3,status-once=500", plan(|plan| plan.failure = failure(500, Some(3)))),
            ("fail=3,status=500", plan(|plan| plan.failure = failure(500, Some(3)))),
            ("retry-after=7", plan(|plan| plan.retry = Some(Retry::Seconds(7)))),
            ("retry-after-ms=70", plan(|plan| plan.retry = Some(Retry::Milliseconds(70)))),
            ("retry-date", plan(|plan| plan.retry = Some(Retry::Date(2)))),
            ("retry-date=9", plan(|plan| plan.retry = Some(Retry::Date(9)))),
            ("html", plan(|plan| plan.fault = Some(Fault::Html))),
            ("error-html", plan(|plan| plan.fault = Some(Fault::ErrorHtml))),
            ("wrong-json", plan(|plan| plan.fault = Some(Fault::WrongJson))),
            ("wrong-shape", plan(|plan| plan.fault = Some(Fault::WrongShape))),
            ("not-utf8", plan(|plan| plan.fault = Some(Fault::NotUtf8))),
            ("cut-head", plan(|plan| plan.fault = Some(Fault::CutHead))),
            ("cut=2", plan(|plan| plan.ending = Some(Ending::Cut(2)))),
            ("half-close=2", plan(|plan| plan.ending = Some(Ending::HalfClose(2)))),
            ("stall=0", plan(|plan| plan.ending = Some(Ending::Stall(0)))),
            ("error-event=1", plan(|plan| plan.ending = Some(Ending::ErrorEvent(1)))),
            ("endless", plan(|plan| plan.ending = Some(Ending::Endless))),
            ("big-event=9", plan(|plan| plan.content.big_event = Some(9))),
            ("big-answer=9", plan(|plan| plan.content.big_answer = Some(9))),
            (
                "slow-headers,slow-body,repeat,reorder,event-crlf,split,comments,no-done,whole",
                plan(|plan| {
                    plan.wire = Wire {
                        slow_headers: true,
                        slow_body: true,
                        repeat: true,
                        reorder: true,
                        crlf: true,
                        split: true,
                        comments: true,
                        no_done: true,
                        whole: true,
                        stamped: false,
                    };
                }),
            ),
            (
                "stamped",
                plan(|plan| {
                    plan.content.text = Some(STAMP.to_owned());
                    plan.wire.stamped = true;
                }),
            ),
        ] {
            assert_eq!(Plan::parse(&format!("mock,{options}")), Ok(expected), "{options}");
        }
    }

    #[test]
    fn semicolons_part_options_as_commas_do() {
        let options = "gap=50ms,first=2s,chunks=16";

        let semicolons = Plan::parse(&format!("mock;{}", options.replace(',', ";")));

        assert_eq!(semicolons, Plan::parse(&format!("mock,{options}")));
        assert_ne!(semicolons, Ok(Plan::default()));
        assert!(Plan::parse("mock;chunks=16,gap=1s").is_err(), "not both in one name");
    }

    #[test]
    fn a_name_without_options_is_the_plain_plan() {
        for name in ["mock", "gpt-5", "mock-large", "openai/gpt,oss", ""] {
            assert_eq!(Plan::parse(name), Ok(Plan::default()), "{name}");
        }
    }

    #[test]
    fn a_wrong_option_is_named_with_what_is_allowed() {
        for (options, expected) in [
            ("chunk=2", r#"mock: unknown option "chunk"; allowed are text=WORD, chunks=1..100000, gap=DURATION"#),
            ("", r#"mock: unknown option """#),
            ("chunks=0", r#"mock: option chunks takes "1..100000", not "0""#),
            ("chunks", r#"mock: option chunks takes "1..100000", not """#),
            ("gap=5", r#"mock: option gap takes "DURATION such as 50ms, up to 600s", not "5""#),
            ("gap=601s", "mock: option gap takes"),
            ("tool=1", r#"mock: option tool takes "", not "1""#),
            ("stop=now", r#"mock: option stop takes "length|filter|end", not "now""#),
            ("usage=1", r#"mock: option usage takes "IN/OUT|none", not "1""#),
            ("usage=1/2,cached=3", "mock: option cached takes"),
            ("status=200", r#"mock: option status takes "400..599", not "200""#),
            ("text=", "mock: option text takes"),
            ("html,wrong-json", "mock: option wrong-json is there twice, or beside one that excludes it"),
            ("cut=1,stall=1", "mock: option stall is there twice"),
            ("cut=1,cut=1", "mock: option cut is there twice"),
            ("status=500,status-once=500", "mock: option status-once is there twice"),
            ("status-once=500,status=500", "mock: option status-once is there twice"),
            ("retry-after=1,retry-date", "mock: option retry-date is there twice"),
            ("tool,tools=2", "mock: option tools is there twice"),
        ] {
            let error = Plan::parse(&format!("mock,{options}")).unwrap_err().to_string();
            assert!(error.starts_with(expected), "{options}: {error}");
        }
        assert_eq!(Plan::parse(&"m".repeat(513)), Err(PlanError::Length));
    }
}
