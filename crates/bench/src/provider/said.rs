//! What an answer says, before it has a shape: a text in pieces, calls of tools, or a refusal, and what it costs.
//!
//! In: a plan and what is asked. Out: a [`Said`], which each shape writes as a whole and as a stream; both say the same. Pure but for
//! the serial number and the time, which are given. **Invariant:** the pieces of a text, joined, are the text.

use super::asked::{Asked, Choice, Structure, Tool};
use super::plan::{Content, Stop, Usage};
use super::schema;

/// What stands before what the user said.
const ECHO: &str = "echo: ";
/// What a refusal says.
pub(super) const REFUSAL: &str = "I cannot help with that.";
/// What reasoning says.
pub(super) const REASONING: [&str; 2] = ["The user asks. ", "I answer."];
/// What shapes sign their reasoning with: base64 of nothing that anybody can read.
pub(super) const SIGNATURE: &str = "bW9jay1zaWduYXR1cmU=";
/// What a text is made of that has to be large.
const FILLER: &str = "0123456789abcdefghijklmnopqrstuvwxyz ABCDEFGHIJKLMNOPQRSTUVWXYZ\n";
/// Bytes of a token, about.
const TOKEN_BYTES: u64 = 4;

/// An answer before it has a shape.
#[derive(Clone, Debug)]
pub(super) struct Said {
    /// The model as it was asked for.
    pub(super) model: String,
    /// What makes ids differ.
    pub(super) serial: u64,
    /// Seconds since 1970.
    pub(super) created: u64,
    /// Whether there is reasoning before it.
    pub(super) thinks: bool,
    /// What is said.
    pub(super) what: What,
    /// Why it stops; none is what its content means.
    pub(super) stop: Option<Stop>,
    /// What it costs, if that is told.
    pub(super) cost: Option<Cost>,
}

/// What is said.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum What {
    /// A text, in the pieces in which a stream says it.
    Text(Vec<String>),
    /// A refusal, in pieces.
    Refusal(Vec<String>),
    /// Tools are to be called.
    Calls(Vec<Call>),
}

/// A tool that is to be called.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Call {
    /// Its name.
    pub(super) name: String,
    /// Its arguments, a JSON object, in pieces.
    pub(super) arguments: Vec<String>,
}

/// What an answer costs, in tokens.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Cost {
    /// The input, cached tokens included.
    pub(super) input: u64,
    /// Those of the input that came from a cache.
    pub(super) cached: u64,
    /// The output, reasoning included.
    pub(super) output: u64,
    /// Those of the output that were reasoning.
    pub(super) reasoning: u64,
}

// === impl Said ===

impl Said {
    /// Decides what is said.
    pub(super) fn new(content: &Content, asked: &Asked<'_>, model: &str) -> Self {
        let what = What::new(content, asked);
        let output_bytes = match &what {
            What::Text(pieces) | What::Refusal(pieces) => bytes(pieces),
            What::Calls(calls) => calls.iter().map(|call| call.name.len() + bytes(&call.arguments)).sum(),
        };
        let cost = Cost::new(content, asked.input_bytes(), output_bytes);
        let model = model.to_owned();
        Self { model, serial: 0, created: 0, thinks: content.think, what, stop: content.stop, cost }
    }
}

// === impl What ===

impl What {
    fn new(content: &Content, asked: &Asked<'_>) -> Self {
        if content.refuse {
            return Self::Refusal(cut(REFUSAL, content.chunks));
        }
        if let Some(calls) = calls(content, asked) {
            return Self::Calls(calls);
        }
        let structure = asked.structure().or(content.json.then_some(Structure::Object));
        match structure {
            Some(Structure::Schema(schema)) => Self::Text(cut(&schema::sample(&schema).to_string(), content.chunks)),
            Some(Structure::Object) => {
                let text = serde_json::json!({ "echo": text(content, asked) });
                Self::Text(cut(&text.to_string(), content.chunks))
            }
            None => Self::Text(pieces(content, text(content, asked))),
        }
    }

    /// What is said, joined; nothing where tools are called.
    pub(super) fn text(&self) -> String {
        match self {
            Self::Text(pieces) | Self::Refusal(pieces) => pieces.concat(),
            Self::Calls(_) => String::new(),
        }
    }
}

// === impl Call ===

impl Call {
    /// The arguments, joined.
    pub(super) fn arguments(&self) -> String {
        self.arguments.concat()
    }
}

// === impl Cost ===

impl Cost {
    /// Counts, or takes what is said; none where nothing is told.
    pub(super) fn new(content: &Content, input_bytes: usize, output_bytes: usize) -> Option<Self> {
        let tokens = |bytes: usize| u64::try_from(bytes).unwrap_or(u64::MAX).div_ceil(TOKEN_BYTES).max(1);
        let (input, output) = match content.usage {
            Usage::Untold => return None,
            Usage::Said { input, output } => (input, output),
            Usage::Counted => (tokens(input_bytes).max(content.cached), tokens(output_bytes)),
        };
        let reasoning = if content.think { output / 2 } else { 0 };
        Some(Self { input, cached: content.cached, output, reasoning })
    }
}

/// What is to be called, if anything is.
fn calls(content: &Content, asked: &Asked<'_>) -> Option<Vec<Call>> {
    if content.tools == 0 && asked.tool_choice.is_none() || asked.tools.is_none() || asked.has_results() {
        return None;
    }
    let mut tools = asked.callable();
    let wanted = match asked.choice() {
        Choice::Nothing => 0,
        Choice::Free => content.tools,
        Choice::Any => content.tools.max(1),
        Choice::Named(name) => {
            tools.retain(|tool| tool.name == name);
            content.tools.max(1)
        }
    };
    tools.truncate(if asked.may_be_parallel() { wanted } else { wanted.min(1) });
    let call = |tool: Tool| {
        let arguments = match schema::sample(&tool.schema) {
            object @ serde_json::Value::Object(_) => object.to_string(),
            _ => "{}".to_owned(),
        };
        Call { name: tool.name, arguments: cut(&arguments, content.chunks) }
    };
    let calls: Vec<_> = tools.into_iter().map(call).collect();
    (!calls.is_empty()).then_some(calls)
}

fn text(content: &Content, asked: &Asked<'_>) -> String {
    match &content.text {
        Some(text) => text.clone(),
        None => format!("{ECHO}{}", asked.last_text()),
    }
}

/// A text in pieces, as many and as large as the plan says.
fn pieces(content: &Content, mut text: String) -> Vec<String> {
    if let Some(bytes) = content.big_answer {
        text = FILLER.bytes().cycle().take(bytes).map(char::from).collect();
    }
    if content.has_chunks && text.chars().count() < content.chunks {
        let again = format!(" {text}");
        while text.chars().count() < content.chunks {
            text.push_str(&again.repeat((content.chunks / again.chars().count()).max(1)));
        }
    }
    let mut pieces = cut(&text, content.chunks);
    if let Some(bytes) = content.big_event {
        let large: String = FILLER.bytes().cycle().take(bytes).map(char::from).collect();
        let place = pieces.len() / 2;
        pieces[place] = large;
    }
    pieces
}

/// Cuts a text into so many pieces, of about the same size; fewer where it has fewer characters, and never none.
fn cut(text: &str, count: usize) -> Vec<String> {
    let mut pieces = Vec::with_capacity(count.min(text.len()).max(1));
    let mut begin = 0;
    for index in 1..=count {
        // In this order, so that a large text times many pieces does not overflow.
        let goal = text.len() / count * index + text.len() % count * index / count;
        let end = text.floor_char_boundary(goal);
        if end > begin {
            pieces.push(text[begin..end].to_owned());
            begin = end;
        }
    }
    if pieces.is_empty() {
        pieces.push(String::new());
    }
    pieces
}

fn bytes(pieces: &[String]) -> usize {
    pieces.iter().map(String::len).sum()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::provider::plan::Plan;
    use crate::provider::route::Api;

    const TOOLS: &str = r#""tools":[{"type":"function","function":{"name":"a","parameters":{"type":"object",
        "properties":{"city":{"type":"string"},"days":{"type":"integer"}},"required":["city"]}}},
        {"type":"function","function":{"name":"b"}}]"#;

    fn said(model: &str, members: &str) -> Said {
        let body = format!(r#"{{"messages":[{{"role":"user","content":"hello"}}]{members}}}"#);
        let asked = Asked::read(Api::Chat, body.as_bytes()).unwrap();
        Said::new(&Plan::parse(model).unwrap().content, &asked, model)
    }

    fn calls(model: &str, members: &str) -> Vec<(String, String)> {
        match said(model, members).what {
            What::Calls(calls) => calls.iter().map(|call| (call.name.clone(), call.arguments())).collect(),
            What::Text(_) | What::Refusal(_) => Vec::new(),
        }
    }

    #[test]
    fn the_plain_answer_is_what_the_user_said_in_four_pieces() {
        let said = said("gpt-5", "");

        assert_eq!(said.what.text(), "echo: hello");
        assert!(matches!(&said.what, What::Text(pieces) if pieces.len() == 4));
        assert_eq!(said.cost, Some(Cost { input: 9, cached: 0, output: 3, reasoning: 0 }));
    }

    #[test]
    fn tools_are_called_when_the_plan_or_the_request_says() {
        let (a, b) = (("a".to_owned(), r#"{"city":"Rome"}"#.to_owned()), ("b".to_owned(), "{}".to_owned()));
        for (model, members, expected) in [
            ("mock", format!(",{TOOLS}"), vec![]),
            ("mock,tool", format!(",{TOOLS}"), vec![a.clone()]),
            ("mock,tools=9", format!(",{TOOLS}"), vec![a.clone(), b.clone()]),
            ("mock,tools=2", format!(",{TOOLS},\"parallel_tool_calls\":false"), vec![a.clone()]),
            ("mock", format!(",{TOOLS},\"tool_choice\":\"required\""), vec![a.clone()]),
            (
                "mock",
                format!(",{TOOLS},\"tool_choice\":{{\"type\":\"function\",\"function\":{{\"name\":\"b\"}}}}"),
                vec![b],
            ),
            ("mock,tool", format!(",{TOOLS},\"tool_choice\":\"none\""), vec![]),
            ("mock,tool", String::new(), vec![]),
        ] {
            assert_eq!(calls(model, &members), expected, "{model} {members}");
        }
    }

    #[test]
    fn a_text_has_as_many_pieces_and_bytes_as_the_plan_says() {
        for (model, pieces, bytes) in [
            ("mock,text=ok", 2, 2),
            ("mock,text=ok,chunks=3", 3, 5),
            ("mock,chunks=1000", 1000, 1007),
            ("mock,big-answer=1000", 4, 1000),
            ("mock,text=abcdefgh,big-event=100", 4, 106),
        ] {
            let said = said(model, "");
            assert!(matches!(&said.what, What::Text(found) if found.len() == pieces), "{model}: {:?}", said.what);
            assert!(said.what.text().len() >= bytes, "{model}: {}", said.what.text().len());
        }
    }

    proptest! {
        #[test]
        fn pieces_joined_are_the_text(text in ".{0,200}", count in 1_usize..300) {
            let pieces = cut(&text, count);

            prop_assert_eq!(pieces.concat(), text);
            prop_assert!(pieces.len() <= count);
        }
    }
}
