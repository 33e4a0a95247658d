//! OpenAI responses: a whole response, and its typed events, each with its number.
//!
//! In: a [`Said`], and what of the request is said again. Out: JSON, and events. The number stands second in each event, so that a
//! stream without an end can go on counting ([`renumbered`]). <https://platform.openai.com/docs/api-reference/responses-streaming>.

use quorate_jsonrpc::quote;

use super::asked::Asked;
use super::chat::call_id;
use super::event::Event;
use super::plan::Stop;
use super::said::{Call, Cost, REASONING, Said, What};

const NUMBER: &str = r#""sequence_number":"#;

/// Writes events and counts them.
struct Writer {
    events: Vec<Event>,
}

/// A part of the answer: where it is in a stream, and what it is called.
struct Item {
    index: usize,
    id: String,
}

/// Writes the whole response.
pub(super) fn whole(said: &Said, asked: &Asked<'_>) -> String {
    response(said, asked, status(said), &outputs(said))
}

/// Writes the stream.
pub(super) fn events(said: &Said, asked: &Asked<'_>) -> Vec<Event> {
    let mut writer = Writer { events: Vec::new() };
    let begun = format!(r#""response":{}"#, response(said, asked, "in_progress", ""));
    writer.push("response.created", &begun);
    writer.push("response.in_progress", &begun);
    let mut items = items(said).into_iter();
    if said.thinks {
        writer.reasoning(&items.next().expect("reasoning is the first item"));
    }
    match &said.what {
        What::Text(pieces) => writer.message(said, &items.next().expect("the message is an item"), pieces),
        What::Refusal(pieces) => writer.message(said, &items.next().expect("the message is an item"), pieces),
        What::Calls(calls) => {
            for (number, (call, item)) in calls.iter().zip(items).enumerate() {
                writer.call(said, number, call, &item);
            }
        }
    }
    let last = if status(said) == "completed" { "response.completed" } else { "response.incomplete" };
    writer.push(last, &format!(r#""response":{}"#, whole(said, asked)));
    writer.events
}

/// The same event under another number.
pub(super) fn renumbered(data: &str, number: u64) -> Option<String> {
    let (before, after) = data.split_once(NUMBER)?;
    let end = after.find(|character: char| !character.is_ascii_digit())?;
    Some(format!("{before}{NUMBER}{number}{}", &after[end..]))
}

// === impl Writer ===

impl Writer {
    fn push(&mut self, kind: &'static str, members: &str) {
        let number = self.events.len();
        self.events.push(Event::named(kind, format!(r#"{{"type":"{kind}",{NUMBER}{number},{members}}}"#)));
    }

    fn chunk(&mut self, kind: &'static str, members: &str) {
        self.push(kind, members);
        self.events.last_mut().expect("one was pushed").is_chunk = true;
    }

    fn reasoning(&mut self, item: &Item) {
        let (at, text) = (item.at(), REASONING.concat());
        let part =
            |text: &str| format!(r#"{at},"summary_index":0,"part":{{"type":"summary_text","text":{}}}"#, quote(text));
        self.push("response.output_item.added", &item.member(&reasoning(item, "in_progress", "")));
        self.push("response.reasoning_summary_part.added", &part(""));
        for piece in REASONING {
            let delta = format!(r#"{at},"summary_index":0,"delta":{}"#, quote(piece));
            self.push("response.reasoning_summary_text.delta", &delta);
        }
        let done = format!(r#"{at},"summary_index":0,"text":{}"#, quote(&text));
        self.push("response.reasoning_summary_text.done", &done);
        self.push("response.reasoning_summary_part.done", &part(&text));
        self.push("response.output_item.done", &item.member(&reasoning(item, "completed", &text)));
    }

    /// A message, which is a text or a refusal.
    fn message(&mut self, said: &Said, item: &Item, pieces: &[String]) {
        let refuses = matches!(said.what, What::Refusal(_));
        let (delta, done, member, logprobs) = if refuses {
            ("response.refusal.delta", "response.refusal.done", "refusal", "")
        } else {
            ("response.output_text.delta", "response.output_text.done", "text", r#","logprobs":[]"#)
        };
        let at = format!(r#"{},"content_index":0"#, item.at());
        let text = said.what.text();
        self.push("response.output_item.added", &item.member(&message(item, "in_progress", "")));
        self.push("response.content_part.added", &format!(r#"{at},"part":{}"#, part(refuses, "")));
        for piece in pieces {
            self.chunk(delta, &format!(r#"{at},"delta":{}{logprobs}"#, quote(piece)));
        }
        self.push(done, &format!(r#"{at},"{member}":{}{logprobs}"#, quote(&text)));
        self.push("response.content_part.done", &format!(r#"{at},"part":{}"#, part(refuses, &text)));
        let whole = message(item, status(said), &part(refuses, &text));
        self.push("response.output_item.done", &item.member(&whole));
    }

    fn call(&mut self, said: &Said, number: usize, call: &Call, item: &Item) {
        let (at, id) = (item.at(), call_id(said, number));
        let begun = function_call(item, &id, "in_progress", &call.name, "");
        self.push("response.output_item.added", &item.member(&begun));
        for piece in &call.arguments {
            self.chunk("response.function_call_arguments.delta", &format!(r#"{at},"delta":{}"#, quote(piece)));
        }
        let arguments = call.arguments();
        let done = format!(r#"{at},"name":{},"arguments":{}"#, quote(&call.name), quote(&arguments));
        self.push("response.function_call_arguments.done", &done);
        let whole = function_call(item, &id, "completed", &call.name, &arguments);
        self.push("response.output_item.done", &item.member(&whole));
    }
}

// === impl Item ===

impl Item {
    fn at(&self) -> String {
        format!(r#""item_id":"{}","output_index":{}"#, self.id, self.index)
    }

    fn member(&self, item: &str) -> String {
        format!(r#""output_index":{},"item":{item}"#, self.index)
    }
}

/// What the output has, in its order.
fn items(said: &Said) -> Vec<Item> {
    let serial = said.serial;
    let mut ids = Vec::new();
    if said.thinks {
        ids.push(format!("rs_mock{serial}"));
    }
    match &said.what {
        What::Text(_) | What::Refusal(_) => ids.push(format!("msg_mock{serial}")),
        What::Calls(calls) => ids.extend((0..calls.len()).map(|number| format!("fc_mock{serial}x{number}"))),
    }
    ids.into_iter().enumerate().map(|(index, id)| Item { index, id }).collect()
}

fn outputs(said: &Said) -> String {
    let mut items = items(said).into_iter();
    let mut outputs = Vec::new();
    if said.thinks {
        outputs.extend(items.next().map(|item| reasoning(&item, "completed", &REASONING.concat())));
    }
    match &said.what {
        What::Text(_) | What::Refusal(_) => {
            let content = part(matches!(said.what, What::Refusal(_)), &said.what.text());
            outputs.extend(items.next().map(|item| message(&item, status(said), &content)));
        }
        What::Calls(calls) => outputs.extend(calls.iter().zip(items).enumerate().map(|(number, (call, item))| {
            function_call(&item, &call_id(said, number), "completed", &call.name, &call.arguments())
        })),
    }
    outputs.join(",")
}

fn reasoning(item: &Item, status: &str, text: &str) -> String {
    let summary =
        if text.is_empty() { String::new() } else { format!(r#"{{"type":"summary_text","text":{}}}"#, quote(text)) };
    format!(r#"{{"id":"{}","type":"reasoning","summary":[{summary}],"status":"{status}"}}"#, item.id)
}

fn message(item: &Item, status: &str, content: &str) -> String {
    format!(r#"{{"id":"{}","type":"message","status":"{status}","role":"assistant","content":[{content}]}}"#, item.id)
}

fn part(refuses: bool, text: &str) -> String {
    let text = quote(text);
    if refuses {
        return format!(r#"{{"type":"refusal","refusal":{text}}}"#);
    }
    format!(r#"{{"type":"output_text","annotations":[],"logprobs":[],"text":{text}}}"#)
}

fn function_call(item: &Item, call: &str, status: &str, name: &str, arguments: &str) -> String {
    let (name, arguments) = (quote(name), quote(arguments));
    format!(
        r#"{{"id":"{}","type":"function_call","status":"{status}","call_id":"{call}","name":{name},"arguments":{arguments}}}"#,
        item.id
    )
}

fn status(said: &Said) -> &'static str {
    match said.stop {
        Some(Stop::Length | Stop::Filter) => "incomplete",
        Some(Stop::End) | None => "completed",
    }
}

/// The response with everything that the documentation names.
fn response(said: &Said, asked: &Asked<'_>, status: &str, output: &str) -> String {
    let Said { serial, created, .. } = said;
    let is_over = status != "in_progress";
    let details = match said.stop.filter(|_| is_over) {
        Some(Stop::Length) => r#"{"reason":"max_output_tokens"}"#,
        Some(Stop::Filter) => r#"{"reason":"content_filter"}"#,
        Some(Stop::End) | None => "null",
    };
    let usage = said.cost.filter(|_| is_over).map_or_else(|| "null".to_owned(), usage);
    let completed_at = if status == "completed" { created.to_string() } else { "null".to_owned() };
    let choice = asked.tool_choice.unwrap_or(r#""auto""#);
    format!(
        r#"{{"id":"resp_mock{serial}","object":"response","created_at":{created},"status":"{status}","background":false,"completed_at":{completed_at},"error":null,"incomplete_details":{details},"instructions":null,"max_output_tokens":null,"max_tool_calls":null,"model":{},"output":[{output}],"parallel_tool_calls":{},"previous_response_id":null,"prompt_cache_key":null,"reasoning":{{"effort":null,"summary":null}},"safety_identifier":null,"service_tier":"default","store":true,"temperature":1.0,"text":{{"format":{{"type":"text"}},"verbosity":"medium"}},"tool_choice":{choice},"tools":{},"top_logprobs":0,"top_p":1.0,"truncation":"disabled","usage":{usage},"user":null,"metadata":{{}}}}"#,
        quote(&said.model),
        asked.may_be_parallel(),
        asked.tools.unwrap_or("[]")
    )
}

fn usage(cost: Cost) -> String {
    let Cost { input, cached, output, reasoning } = cost;
    let total = input + output;
    format!(
        r#"{{"input_tokens":{input},"input_tokens_details":{{"cached_tokens":{cached},"cache_write_tokens":0}},"output_tokens":{output},"output_tokens_details":{{"reasoning_tokens":{reasoning}}},"total_tokens":{total}}}"#
    )
}
