//! One call's answer: from a provider's events, or its whole body, to what its client gets.
//!
//! ```text
//!            event ─▶ pass or translate                    end, before everything was said
//!   Open ───────────────────────────────┐    Open, Begun ───────────────────────────────▶ Failed (told in the client's shape)
//!    └─▶ Begun ─▶ … ─▶ End ─▶ Done       │         └─ what is no event, an error event ──▶ Failed
//! ```
//!
//! Where both sides speak one shape, events pass as they came, but for a usage that the client did not ask for. Invariant: a client's
//! stream ends as its shape ends a whole answer, or with an error, and never with an end that looks whole and is not. It does not know
//! sockets or time: whoever drives it says when the provider's stream has ended.

use bytes::Bytes;
use serde::de::IgnoredAny;

use crate::answer::{Delta, Stop, Usage};
use crate::api::Dialect;
use crate::dialect::{Mint, SentEvent, chat, generate, messages, responses};
use crate::error::{Fault, Kind};
use crate::meter::Outcome;
use crate::order::Order;
use crate::tokens::Sample;

/// The most bytes that a client is sent for one event of a provider, which may be short and have much to say: each of its pieces becomes
/// an event that names the answer.
const MADE_BYTES_MAX: usize = 64 << 20;

/// An answer that comes in pieces.
#[derive(Debug)]
pub struct Exchange {
    reader: Reader,
    writer: Option<Writer>,
    order: Order,
    client: Dialect,
    /// Whether the usage of chat completions was asked for by the gateway alone.
    hides_usage: bool,
    state: State,
    /// Whether anything of the answer itself was said.
    has_said: bool,
    /// The provider's id of the answer, and the model that answers.
    begun: Option<(String, String)>,
    usage: Option<Usage>,
    stop: Option<Stop>,
    /// Whether some answer was not ended by the model itself.
    is_cut: bool,
    /// What the answer says, for where its provider does not count.
    said: Sample,
    deltas: Vec<Delta>,
}

/// How far it has come.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum State {
    /// Nothing was said.
    Open,
    /// Something was: the client has to be told if it goes wrong.
    Begun,
    /// Everything was.
    Done,
    /// It went wrong, and the client was told if anything was said to it.
    Failed(Fault),
}

/// Who asks, and how.
#[derive(Clone, Copy, Debug)]
pub struct Asked<'a> {
    /// In which shape.
    pub client: Dialect,
    /// The body of the request.
    pub body: &'a str,
    /// Whether the client wants to know what a stream costs (chat completions: `stream_options.include_usage`).
    pub wants_usage: bool,
}

/// An event of a provider.
#[derive(Clone, Debug)]
pub struct Received {
    /// Its name, where it has one.
    pub name: Option<Bytes>,
    /// Its data.
    pub data: Bytes,
}

/// What the client gets of an event.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Sent {
    /// The event as it came.
    Same,
    /// These, which may be none.
    Events(Vec<SentEvent>),
}

#[derive(Debug)]
enum Reader {
    Chat(chat::Reader),
    Responses(responses::Reader),
    Messages(messages::Reader),
    Generate(generate::Reader),
}

#[derive(Debug)]
enum Writer {
    Chat(chat::Writer),
    Responses(Box<responses::Writer>),
    Messages(messages::Writer),
    Generate(generate::Writer),
}

// === impl Exchange ===

impl Exchange {
    /// Begins with a provider's first event, of a stream in this shape.
    #[must_use]
    pub fn new(provider: Dialect, asked: &Asked<'_>) -> Self {
        Self {
            reader: Reader::new(provider),
            writer: (provider != asked.client).then(|| Writer::new(asked)),
            order: Order::default(),
            client: asked.client,
            hides_usage: provider == Dialect::Chat && !asked.wants_usage,
            state: State::Open,
            has_said: false,
            begun: None,
            usage: None,
            stop: None,
            is_cut: false,
            said: Sample::default(),
            deltas: Vec::new(),
        }
    }

    /// How far it has come.
    #[must_use]
    pub const fn state(&self) -> &State {
        &self.state
    }

    /// Whether anything of the answer itself was said, so that nobody else can be asked for it any more; that it begins says nothing.
    #[must_use]
    pub const fn has_said(&self) -> bool {
        self.has_said
    }

    /// The provider's id of the answer, and the model that answers, once it has begun.
    #[must_use]
    pub fn begun(&self) -> Option<(&str, &str)> {
        self.begun.as_ref().map(|(id, model)| (id.as_str(), model.as_str()))
    }

    /// What it costs, as far as the provider has said.
    #[must_use]
    pub const fn usage(&self) -> Option<&Usage> {
        self.usage.as_ref()
    }

    /// Takes out what the answer says, as far as it came.
    pub fn take_said(&mut self) -> Sample {
        std::mem::take(&mut self.said)
    }

    /// Why the first answer stopped.
    #[must_use]
    pub const fn stop(&self) -> Option<&Stop> {
        self.stop.as_ref()
    }

    /// Whether some answer was not ended by the model itself.
    #[must_use]
    pub const fn is_cut(&self) -> bool {
        self.is_cut
    }

    /// Takes an event.
    pub fn take(&mut self, event: &Received, mint: &Mint<'_>) -> Sent {
        if matches!(self.state, State::Done | State::Failed(_)) {
            return Sent::Events(Vec::new());
        }
        self.deltas.clear();
        let read = self.reader.read(&event.data, &mut self.deltas);
        match (read, &self.writer) {
            (Ok(()), Some(_)) => self.translate(mint),
            (Ok(()), None) => match self.failure() {
                // What a provider says of its machines and of the gateway's account is not passed on, whatever its shape.
                Some(fault) => self.fail(fault, mint),
                None => self.pass(event),
            },
            (Err(fault), Some(_)) => self.fail(fault, mint),
            // What the view has no words for may still mean something to the client; what is no JSON does to nobody.
            (Err(_), None) if is_json(&event.data) => {
                self.begin();
                self.has_said = true;
                Sent::Same
            }
            (Err(fault), None) => self.fail(fault, mint),
        }
    }

    /// Takes the end of the provider's stream.
    pub fn end(&mut self, mint: &Mint<'_>) -> Vec<SentEvent> {
        if matches!(self.state, State::Done | State::Failed(_)) {
            return Vec::new();
        }
        self.deltas.clear();
        self.reader.end(&mut self.deltas);
        let sent = if self.deltas.is_empty() {
            self.fail(Fault::new(Kind::Provider, "the provider's stream ended in the midst of the answer"), mint)
        } else if self.writer.is_some() {
            self.translate(mint)
        } else {
            self.note();
            Sent::Events(self.closing())
        };
        sent.into_events()
    }

    /// Gives it up for a reason of the gateway's own, such as a timeout.
    pub fn give_up(&mut self, fault: Fault, mint: &Mint<'_>) -> Vec<SentEvent> {
        match self.state {
            State::Done | State::Failed(_) => Vec::new(),
            State::Open | State::Begun => self.fail(fault, mint).into_events(),
        }
    }

    fn translate(&mut self, mint: &Mint<'_>) -> Sent {
        if let Err(fault) = self.order.check(&mut self.deltas) {
            return self.fail(fault, mint);
        }
        let is_told = self.state == State::Begun;
        self.note();
        // A client that was told nothing gets a whole answer that says it, with its status.
        if !is_told && matches!(self.state, State::Failed(_)) {
            return Sent::Events(Vec::new());
        }
        let Some(writer) = &mut self.writer else { return Sent::Same };
        let (mut out, mut bytes) = (Vec::new(), 0_usize);
        for delta in self.deltas.drain(..) {
            let known = out.len();
            let written = writer.write(&delta, mint, &mut out);
            bytes += out[known..].iter().map(|event| event.data.len()).sum::<usize>();
            let written = match written {
                Ok(()) if bytes > MADE_BYTES_MAX => {
                    Err(Fault::new(Kind::Provider, "the provider said too much at once"))
                }
                written => written,
            };
            if let Err(fault) = written {
                // What was said before stays said.
                let _told = writer.write(&Delta::Failed(fault.clone()), mint, &mut out);
                self.state = State::Failed(fault);
                break;
            }
        }
        Sent::Events(out)
    }

    fn pass(&mut self, event: &Received) -> Sent {
        let tells_nothing_else = self.deltas.iter().all(|delta| matches!(delta, Delta::Usage(_)));
        let is_hidden = self.hides_usage && tells_nothing_else && !self.deltas.is_empty();
        self.note();
        self.deltas.clear();
        if is_hidden && is_usage_alone(&event.data) {
            return Sent::Events(Vec::new());
        }
        // What says nothing of the answer is said all the same.
        self.begin();
        Sent::Same
    }

    /// The failure among the pieces at hand, if there is one.
    fn failure(&self) -> Option<Fault> {
        self.deltas.iter().find_map(|delta| if let Delta::Failed(fault) = delta { Some(fault.clone()) } else { None })
    }

    /// What a provider left out that has said everything: its shape's last word.
    fn closing(&self) -> Vec<SentEvent> {
        match self.client {
            Dialect::Chat => vec![SentEvent { name: None, data: Bytes::from_static(b"[DONE]") }],
            Dialect::Responses | Dialect::Messages | Dialect::Generate => Vec::new(),
        }
    }

    fn begin(&mut self) {
        if self.state == State::Open {
            self.state = State::Begun;
        }
    }

    /// Notes what the pieces at hand say of the call.
    fn note(&mut self) {
        for delta in &self.deltas {
            self.said.note(delta);
            match delta {
                Delta::Usage(usage) => self.usage.get_or_insert_default().update(usage),
                Delta::Stop { choice, stop } => {
                    self.is_cut |= Outcome::of(&State::Done, Some(stop)) != Outcome::Ok;
                    if *choice == 0 {
                        self.stop = Some(stop.clone());
                    }
                }
                Delta::End => self.state = State::Done,
                Delta::Failed(fault) => self.state = State::Failed(fault.clone()),
                Delta::Begin { id, model, .. } => self.begun = Some((id.clone(), model.clone())),
                Delta::Text { .. }
                | Delta::Thought { .. }
                | Delta::Signature { .. }
                | Delta::SealedThought { .. }
                | Delta::Refusal { .. }
                | Delta::ToolBegin { .. }
                | Delta::Arguments { .. } => {}
            }
            self.has_said |= !matches!(delta, Delta::Begin { .. } | Delta::Usage(_) | Delta::Failed(_));
        }
        if !self.deltas.is_empty() {
            self.begin();
        }
    }

    fn fail(&mut self, fault: Fault, mint: &Mint<'_>) -> Sent {
        let has_begun = self.state == State::Begun;
        self.state = State::Failed(fault.clone());
        let mut out = Vec::new();
        // A client that was told nothing gets a whole answer that says it, with its status.
        if has_begun {
            let writer = self
                .writer
                .get_or_insert_with(|| Writer::new(&Asked { client: self.client, body: "{}", wants_usage: false }));
            let _told = writer.write(&Delta::Failed(fault), mint, &mut out);
        }
        Sent::Events(out)
    }
}

// === impl Sent ===

impl Sent {
    /// What is sent of what is no event of a provider.
    fn into_events(self) -> Vec<SentEvent> {
        match self {
            Self::Events(events) => events,
            Self::Same => Vec::new(),
        }
    }
}

fn is_json(data: &[u8]) -> bool {
    std::str::from_utf8(data).is_ok_and(|text| serde_json::from_str::<IgnoredAny>(text).is_ok())
}

/// Whether a chunk of chat completions says what the answer costs and nothing else.
fn is_usage_alone(data: &[u8]) -> bool {
    let text = std::str::from_utf8(data).unwrap_or_default();
    let found = quorate_jsonrpc::pick(text, 0, ["choices", "usage"]);
    matches!(found, Ok([Some(choices), Some(_)]) if choices.of(text).trim_matches(['[', ']', ' ']).is_empty())
}

// === impl Reader ===

impl Reader {
    fn new(provider: Dialect) -> Self {
        match provider {
            Dialect::Chat => Self::Chat(chat::Reader::default()),
            Dialect::Responses => Self::Responses(responses::Reader::default()),
            Dialect::Messages => Self::Messages(messages::Reader::default()),
            Dialect::Generate => Self::Generate(generate::Reader::default()),
        }
    }

    fn read(&mut self, data: &[u8], out: &mut Vec<Delta>) -> Result<(), Fault> {
        match self {
            Self::Chat(reader) => reader.read(data, out),
            Self::Responses(reader) => reader.read(data, out),
            Self::Messages(reader) => reader.read(data, out),
            Self::Generate(reader) => reader.read(data, out),
        }
    }

    /// Reads the end, in shapes whose streams have no last word.
    fn end(&mut self, out: &mut Vec<Delta>) {
        match self {
            Self::Chat(reader) => reader.end(out),
            Self::Generate(reader) => reader.end(out),
            Self::Responses(_) | Self::Messages(_) => {}
        }
    }
}

// === impl Writer ===

impl Writer {
    fn new(asked: &Asked<'_>) -> Self {
        match asked.client {
            Dialect::Chat => Self::Chat(chat::Writer::new(asked.wants_usage)),
            Dialect::Responses => Self::Responses(Box::new(responses::Writer::new(asked.body))),
            Dialect::Messages => Self::Messages(messages::Writer::default()),
            Dialect::Generate => Self::Generate(generate::Writer::default()),
        }
    }

    fn write(&mut self, delta: &Delta, mint: &Mint<'_>, out: &mut Vec<SentEvent>) -> Result<(), Fault> {
        match self {
            Self::Chat(writer) => writer.write(delta, mint, out),
            Self::Responses(writer) => writer.write(delta, mint, out),
            Self::Messages(writer) => writer.write(delta, mint, out),
            Self::Generate(writer) => return writer.write(delta, mint, out),
        }
        Ok(())
    }
}
