//! What works: lists, whole answers and streams in every shape, limits, stops, embeddings, and requests that are wrong.
//!
//! Each check asks through the gateway, compares with what the engine says itself, and gives back what was seen, in
//! numbers that are the same wherever it runs.

use std::{collections::BTreeSet, thread};

use anyhow::{Context as _, ensure};
use quorate_tests::raw::{
    client,
    shape::{SHAPES, Shape},
};
use serde_json::{Value, json};

use crate::{
    asks::{Ask, Ending, Told, told},
    ground::{ENGINE_MODEL, Ground},
};

/// How many tokens the model may say, where it is compared.
const TOKENS: u64 = 24;

/// How many, where the engine holds it to a form.
const HELD: u64 = 400;

/// More clients than the engine has slots.
const CLIENTS: usize = 8;

/// The dimensions of an embedding: the width of the model.
const DIMENSIONS: usize = 64;

/// The shapes that the engine has itself.
const NATIVE: [Shape; 3] = [Shape::Chat, Shape::Responses, Shape::Messages];

const fn ask(shape: Shape, model: &str) -> Ask<'_> {
    Ask { shape, model, text: "What is a quorum?", tokens_max: TOKENS, stop: None }
}

/// What the engine says itself, by chat completions.
fn expected(ground: &Ground) -> anyhow::Result<Told> {
    let (path, mut body) = ask(Shape::Chat, "tiny").request(false);
    body["model"] = json!(ENGINE_MODEL);
    let expected = told(Shape::Chat, &ground.engine.ask(&path, &body)?)?;
    ensure!(expected.output == TOKENS && expected.ending == Ending::Limit, "{expected:?}");
    ensure!(expected.text.chars().count() as u64 == TOKENS, "a character is a token: {expected:?}");
    Ok(expected)
}

/// Lists of models, in the forms of three families.
pub(crate) fn lists(ground: &mut Ground) -> anyhow::Result<String> {
    let wanted = BTreeSet::from(["native", "tiny", "vectors"].map(str::to_owned));
    for (path, header, items, key) in [
        ("/v1/models", ("accept", "*/*"), "data", "id"),
        ("/v1/models", ("anthropic-version", "2023-06-01"), "data", "id"),
        ("/v1beta/models", ("accept", "*/*"), "models", "name"),
    ] {
        let list = client::send(ground.gateway.address, "GET", path, &[header], b"")?.message()?;
        let names = list[items].as_array().with_context(|| format!("no list: {list}"))?;
        let names = names.iter().filter_map(|item| Some(item[key].as_str()?.trim_start_matches("models/").to_owned()));
        ensure!(names.collect::<BTreeSet<_>>() == wanted, "{list}");
    }
    Ok(format!("{} models, by the names of the gateway, in three forms", wanted.len()))
}

/// Whole answers in every shape, which the gateway translates but for one.
pub(crate) fn whole(ground: &mut Ground) -> anyhow::Result<String> {
    let expected = expected(ground)?;
    for shape in SHAPES {
        let told = ask(shape, "tiny").whole(ground)?;
        ensure!(told == expected, "{shape:?}: {told:?} instead of {expected:?}");
    }
    let Told { input, output, .. } = expected;
    Ok(format!("the engine's own text in four shapes, {input} tokens in and {output} out in each"))
}

/// Streams in every shape.
pub(crate) fn streams(ground: &mut Ground) -> anyhow::Result<String> {
    let expected = expected(ground)?;
    let mut seen = Vec::new();
    for shape in SHAPES {
        let (told, pieces) = ask(shape, "tiny").streamed(ground)?;
        ensure!(told == expected, "{shape:?}: {told:?} instead of {expected:?}");
        ensure!(pieces > 1, "{shape:?}: all of it came at once");
        seen.push(pieces.to_string());
    }
    Ok(format!("the same text in {} pieces, the same usage, each shape's own end", seen.join(", ")))
}

/// The APIs that the engine has itself, by which nothing is translated.
pub(crate) fn native(ground: &mut Ground) -> anyhow::Result<String> {
    let mut seen = Vec::new();
    for shape in NATIVE {
        let whole = ask(shape, "native").whole(ground)?;
        ensure!(whole.output == TOKENS, "{shape:?}: {whole:?}");
        let (streamed, pieces) = ask(shape, "native").streamed(ground)?;
        ensure!(streamed.text == whole.text && streamed.output == TOKENS, "{shape:?}: {streamed:?} and {whole:?}");
        seen.push(pieces.to_string());
    }
    Ok(format!("three shapes, whole and in {} pieces, {TOKENS} tokens each", seen.join(", ")))
}

/// Counts of tokens, by the engine that has them.
pub(crate) fn counts(ground: &mut Ground) -> anyhow::Result<String> {
    let (_, mut body) = ask(Shape::Messages, "native").request(false);
    body.as_object_mut().context("it is an object")?.remove("max_tokens");
    let counted = ground.post("/v1/messages/count_tokens", &body)?.message()?;
    let used = ask(Shape::Messages, "native").whole(ground)?.input;
    ensure!(counted["input_tokens"] == used, "{counted} and {used}");
    Ok(format!("{used} tokens, as the answer's usage says"))
}

/// How many tokens the model may say.
pub(crate) fn limits(ground: &mut Ground) -> anyhow::Result<String> {
    for shape in SHAPES {
        for tokens_max in [1, 7, 40] {
            let asked = Ask { tokens_max, ..ask(shape, "tiny") };
            for told in [asked.whole(ground)?, asked.streamed(ground)?.0] {
                ensure!(told.output == tokens_max && told.ending == Ending::Limit, "{shape:?}: {told:?}");
            }
        }
    }
    Ok("1, 7 and 40 tokens, and the reason in each shape's word".to_owned())
}

/// A text at which the model stops.
pub(crate) fn stops(ground: &mut Ground) -> anyhow::Result<String> {
    let all = expected(ground)?.text;
    let characters: Vec<char> = all.chars().collect();
    // Three characters from the middle are a place that comes but once.
    let stop: String = characters[10..13].iter().collect();
    let before = all.split(&stop).next().unwrap_or_default();
    for shape in [Shape::Chat, Shape::Messages, Shape::Generate] {
        let asked = Ask { stop: Some(&stop), ..ask(shape, "tiny") };
        for told in [asked.whole(ground)?, asked.streamed(ground)?.0] {
            ensure!(told.text == before && told.ending == Ending::Stop, "{shape:?}, {stop:?} in {all:?}: {told:?}");
        }
    }
    Ok("the text before it, and the reason, in the three shapes that know such texts".to_owned())
}

/// Answers that the engine holds to a schema.
pub(crate) fn schemas(ground: &mut Ground) -> anyhow::Result<String> {
    let (path, mut body) = Ask { tokens_max: HELD, ..ask(Shape::Chat, "tiny") }.request(false);
    let format = json!({ "name": "paint", "schema": paint(), "strict": true });
    body["response_format"] = json!({ "type": "json_schema", "json_schema": format });
    let answer = ground.post(&path, &body)?.message()?;
    let told = told(Shape::Chat, &answer)?;
    ensure!(told.ending == Ending::Stop && is_paint(&serde_json::from_str(&told.text)?), "{answer}");
    Ok("an answer of the schema, which ends by itself".to_owned())
}

/// A tool that the engine has to have called. The model calls it as long as it may say something, and its limit cuts off the
/// last call: what it has called before is what every shape has.
pub(crate) fn tools(ground: &mut Ground) -> anyhow::Result<String> {
    let mut seen = Vec::new();
    for shape in SHAPES {
        let (path, mut body) = Ask { tokens_max: HELD, ..ask(shape, "tiny") }.request(false);
        let (name, description) = ("paint", "Paints.");
        let function = json!({ "name": name, "description": description, "parameters": paint() });
        match shape {
            Shape::Chat => {
                body["tools"] = json!([{ "type": "function", "function": function }]);
                body["tool_choice"] = json!("required");
            }
            Shape::Responses => {
                body["tools"] = json!([function]);
                body["tools"][0]["type"] = json!("function");
                body["tool_choice"] = json!("required");
            }
            Shape::Messages => {
                body["tools"] = json!([{ "name": name, "description": description, "input_schema": paint() }]);
                body["tool_choice"] = json!({ "type": "any" });
            }
            Shape::Generate => {
                let function = json!({ "name": name, "description": description, "parametersJsonSchema": paint() });
                body["tools"] = json!([{ "functionDeclarations": [function] }]);
                body["toolConfig"] = json!({ "functionCallingConfig": { "mode": "ANY" } });
            }
        }
        let answer = ground.post(&path, &body)?.message()?;
        let called = calls(shape, &answer).with_context(|| format!("{shape:?}: no calls: {answer}"))?;
        let is_one = |(called, input): &(String, Value)| called == name && is_paint(input);
        ensure!(!called.is_empty() && called.iter().all(is_one), "{shape:?}: {answer}");
        seen.push(called.len());
    }
    ensure!(seen.iter().all(|count| *count == seen[0]), "{seen:?}");
    Ok("the same calls in four shapes, and none that the limit of tokens has cut off".to_owned())
}

/// The names and arguments of the calls that an answer has, but for one that is cut off.
fn calls(shape: Shape, answer: &Value) -> Option<Vec<(String, Value)>> {
    let read =
        |name: &Value, text: &Value| Some((name.as_str()?.to_owned(), serde_json::from_str(text.as_str()?).ok()?));
    let own = |name: &Value, input: &Value| Some((name.as_str()?.to_owned(), input.clone()));
    Some(match shape {
        Shape::Chat => {
            let calls = answer["choices"][0]["message"]["tool_calls"].as_array()?;
            let calls = calls.iter().map(|call| &call["function"]);
            calls.filter_map(|call| read(&call["name"], &call["arguments"])).collect()
        }
        Shape::Responses => {
            let calls = answer["output"].as_array()?.iter().filter(|item| item["type"] == "function_call");
            calls.filter_map(|call| read(&call["name"], &call["arguments"])).collect()
        }
        Shape::Messages => {
            let calls = answer["content"].as_array()?.iter().filter(|block| block["type"] == "tool_use");
            calls.filter_map(|call| own(&call["name"], &call["input"])).collect()
        }
        Shape::Generate => {
            let parts = answer["candidates"][0]["content"]["parts"].as_array()?;
            let calls = parts.iter().filter_map(|part| part.get("functionCall"));
            calls.filter_map(|call| own(&call["name"], &call["args"])).collect()
        }
    })
}

/// A schema of which there are two values.
fn paint() -> Value {
    json!({
        "type": "object",
        "properties": { "colour": { "enum": ["red", "green"] } },
        "required": ["colour"],
        "additionalProperties": false,
    })
}

fn is_paint(value: &Value) -> bool {
    ["red", "green"].map(Value::from).contains(&value["colour"])
}

/// Embeddings.
pub(crate) fn embeddings(ground: &mut Ground) -> anyhow::Result<String> {
    let body = json!({ "model": "vectors", "input": ["a quorum", "a crowd", "a quorum"] });
    let answer = ground.post("/v1/embeddings", &body)?.message()?;
    let own = ground.vectors.ask("/v1/embeddings", &body)?;
    let vectors = |answer: &Value| -> anyhow::Result<Vec<Value>> {
        let rows = answer["data"].as_array().with_context(|| format!("no embeddings: {answer}"))?;
        Ok(rows.iter().map(|row| row["embedding"].clone()).collect())
    };
    let (got, own) = (vectors(&answer)?, vectors(&own)?);
    ensure!(got.len() == 3 && got.iter().all(|row| row.as_array().map(Vec::len) == Some(DIMENSIONS)), "{answer}");
    ensure!(got == own && got[0] == got[2] && got[0] != got[1], "{answer}");
    ensure!(answer["usage"]["prompt_tokens"].as_u64() > Some(0), "{answer}");
    Ok(format!("{} vectors of {DIMENSIONS} numbers, the engine's own", got.len()))
}

/// More clients at once than the engine has slots.
pub(crate) fn crowd(ground: &mut Ground) -> anyhow::Result<String> {
    let ground = &*ground;
    let told: Vec<_> = thread::scope(|scope| {
        let clients = (0..CLIENTS).map(|number| {
            let asked = Ask { tokens_max: 200, ..ask(SHAPES[number % SHAPES.len()], "tiny") };
            scope.spawn(move || Ok(asked.streamed(ground)?.0))
        });
        let clients: Vec<_> = clients.collect();
        clients.into_iter().map(|client| client.join().expect("it does not panic")).collect::<anyhow::Result<_>>()
    })?;
    ensure!(told.iter().all(|told| told.output == 200 && told.ending == Ending::Limit), "{told:?}");
    ground.engine.busy_until(0)?;
    Ok(format!("{CLIENTS} streams of 200 tokens, all whole"))
}

/// Requests that the engine, or the gateway, refuses.
pub(crate) fn refusals(ground: &mut Ground) -> anyhow::Result<String> {
    let long = "long ".repeat(20_000);
    for shape in SHAPES {
        for is_streamed in [false, true] {
            let too_long = Ask { text: &long, ..ask(shape, "tiny") }.send(ground, is_streamed)?;
            let (status, answer) = (too_long.status, too_long.message()?);
            let (_, message) = shape.error(&answer).with_context(|| format!("{shape:?}: no error: {answer}"))?;
            ensure!(status == 400 && message.contains("context"), "{shape:?}: {status} {answer}");

            let unknown = Ask { model: "nobody", ..ask(shape, "tiny") }.send(ground, is_streamed)?;
            let (status, answer) = (unknown.status, unknown.message()?);
            ensure!(status == 404 && shape.error(&answer).is_some(), "{shape:?}: {status} {answer}");
        }
    }
    Ok("400 in each shape for a text that is longer than the context, in the engine's words; 404 for a model that is none"
        .to_owned())
}
