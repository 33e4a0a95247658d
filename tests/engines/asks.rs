//! What is asked, in each shape, and what came of it: the text, why it ended, and what it cost.
//!
//! The model takes the likeliest token (`temperature` 0), so that the same request has the same answer in every shape,
//! whole and streamed. Each shape has its own word for a reason to end; they are compared as two ([`Ending`]).

use anyhow::{Context as _, bail, ensure};
use quorate_tests::raw::{client::Answer, shape::Shape};
use serde_json::{Value, json};

use crate::ground::Ground;

/// A request.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Ask<'a> {
    /// In which shape.
    pub(crate) shape: Shape,
    /// The model's name at the gateway.
    pub(crate) model: &'a str,
    /// What is said to it.
    pub(crate) text: &'a str,
    /// How many tokens it may say.
    pub(crate) tokens_max: u64,
    /// A text at which it stops.
    pub(crate) stop: Option<&'a str>,
}

/// Why an answer ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Ending {
    /// It has as many tokens as it may have.
    Limit,
    /// The model stopped, or was stopped at a text.
    Stop,
}

/// A whole answer, or what a stream came to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Told {
    /// Its text.
    pub(crate) text: String,
    /// Why it ended.
    pub(crate) ending: Ending,
    /// Tokens of the request.
    pub(crate) input: u64,
    /// Tokens of the answer.
    pub(crate) output: u64,
}

// === impl Ask ===

impl Ask<'_> {
    /// Its path and body.
    pub(crate) fn request(self, is_streamed: bool) -> (String, Value) {
        let (path, mut body) = self.shape.request(self.model, self.text, is_streamed);
        let stop = self.stop.map(|stop| json!([stop]));
        match self.shape {
            Shape::Chat => {
                body["max_tokens"] = json!(self.tokens_max);
                body["temperature"] = json!(0);
                if is_streamed {
                    body["stream_options"] = json!({ "include_usage": true });
                }
                stop.into_iter().for_each(|stop| body["stop"] = stop);
            }
            Shape::Responses => {
                body["max_output_tokens"] = json!(self.tokens_max);
                body["temperature"] = json!(0);
            }
            Shape::Messages => {
                body["max_tokens"] = json!(self.tokens_max);
                body["temperature"] = json!(0);
                stop.into_iter().for_each(|stop| body["stop_sequences"] = stop);
            }
            Shape::Generate => {
                body["generationConfig"] = json!({ "maxOutputTokens": self.tokens_max, "temperature": 0 });
                stop.into_iter().for_each(|stop| body["generationConfig"]["stopSequences"] = stop);
            }
        }
        (path, body)
    }

    /// Sends it to the gateway.
    ///
    /// # Errors
    ///
    /// The gateway does not answer.
    pub(crate) fn send(self, ground: &Ground, is_streamed: bool) -> anyhow::Result<Answer> {
        let (path, body) = self.request(is_streamed);
        ground.post(&path, &body)
    }

    /// Asks for a whole answer.
    ///
    /// # Errors
    ///
    /// It is not one of the shape.
    pub(crate) fn whole(self, ground: &Ground) -> anyhow::Result<Told> {
        let answer = self.send(ground, false)?;
        let (status, answer) = (answer.status, answer.message()?);
        ensure!(status == 200, "{status} {answer}");
        told(self.shape, &answer)
    }

    /// Asks for a stream; gives back what it came to, and in how many pieces its text came.
    ///
    /// # Errors
    ///
    /// It is not one of the shape, or does not end as one.
    pub(crate) fn streamed(self, ground: &Ground) -> anyhow::Result<(Told, usize)> {
        let said = self.shape.read(self.send(ground, true)?)?;
        ensure!(said.is_whole && said.error.is_none(), "{}", said.raw);
        let is_done = said.raw.trim_end().ends_with("[DONE]");
        ensure!(is_done == (self.shape == Shape::Chat), "it ends as another shape: {}", said.raw);
        let lines = said.raw.lines().filter(|line| *line != "[DONE]");
        let events = lines.map(serde_json::from_str).collect::<Result<Vec<Value>, _>>()?;
        let pieces = events.iter().filter(|event| piece(self.shape, event).is_some()).count();
        let told = summed(self.shape, &events, said.text).with_context(|| said.raw)?;
        Ok((told, pieces))
    }
}

/// What a whole answer says.
pub(crate) fn told(shape: Shape, answer: &Value) -> anyhow::Result<Told> {
    let text = shape.text(answer).with_context(|| format!("no text: {answer}"))?;
    // What the engine still had of an earlier request is a part of the input, but for Anthropic's shape, which has it apart.
    let mut kept = 0;
    let (ending, input, output) = match shape {
        Shape::Chat => {
            let usage = &answer["usage"];
            (&answer["choices"][0]["finish_reason"], &usage["prompt_tokens"], &usage["completion_tokens"])
        }
        Shape::Responses => {
            let (usage, reason) = (&answer["usage"], &answer["incomplete_details"]["reason"]);
            let ending = if answer["status"] == "incomplete" { reason } else { &answer["status"] };
            (ending, &usage["input_tokens"], &usage["output_tokens"])
        }
        Shape::Messages => {
            let usage = &answer["usage"];
            kept = usage["cache_read_input_tokens"].as_u64().unwrap_or(0);
            (&answer["stop_reason"], &usage["input_tokens"], &usage["output_tokens"])
        }
        Shape::Generate => {
            let usage = &answer["usageMetadata"];
            let ending = &answer["candidates"][0]["finishReason"];
            (ending, &usage["promptTokenCount"], &usage["candidatesTokenCount"])
        }
    };
    let number = |value: &Value| value.as_u64().with_context(|| format!("no usage: {answer}"));
    Ok(Told { text, ending: self::ending(ending)?, input: number(input)? + kept, output: number(output)? })
}

/// What the events of a stream come to: what of a whole answer is in several of them is put together.
fn summed(shape: Shape, events: &[Value], text: String) -> anyhow::Result<Told> {
    let last = |pointer: &str| {
        let found = events.iter().rev().find_map(|event| event.pointer(pointer).filter(|value| !value.is_null()));
        found.cloned().unwrap_or(Value::Null)
    };
    let whole = match shape {
        Shape::Chat => json!({
            "choices": [{ "message": { "content": text }, "finish_reason": last("/choices/0/finish_reason") }],
            "usage": last("/usage"),
        }),
        Shape::Responses => last("/response"),
        Shape::Messages => {
            let mut usage = last("/message/usage");
            for (key, value) in last("/usage").as_object().into_iter().flatten() {
                usage[key] = value.clone();
            }
            json!({ "content": [{ "text": text }], "stop_reason": last("/delta/stop_reason"), "usage": usage })
        }
        Shape::Generate => json!({
            "candidates": [{
                "content": { "parts": [{ "text": text }] },
                "finishReason": last("/candidates/0/finishReason"),
            }],
            "usageMetadata": last("/usageMetadata"),
        }),
    };
    let told = told(shape, &whole)?;
    ensure!(told.text == text, "its end says another text than its pieces: {} {text}", told.text);
    Ok(told)
}

/// The text of an event that has some.
fn piece(shape: Shape, event: &Value) -> Option<&str> {
    let text = match shape {
        Shape::Chat => &event["choices"][0]["delta"]["content"],
        Shape::Responses if event["type"] == "response.output_text.delta" => &event["delta"],
        Shape::Responses => &Value::Null,
        Shape::Messages => &event["delta"]["text"],
        Shape::Generate => &event["candidates"][0]["content"]["parts"][0]["text"],
    };
    text.as_str().filter(|text| !text.is_empty())
}

fn ending(word: &Value) -> anyhow::Result<Ending> {
    match word.as_str().unwrap_or_default() {
        "length" | "max_output_tokens" | "max_tokens" | "MAX_TOKENS" => Ok(Ending::Limit),
        "stop" | "completed" | "end_turn" | "stop_sequence" | "STOP" => Ok(Ending::Stop),
        _ => bail!("it does not say why it ended: {word}"),
    }
}
