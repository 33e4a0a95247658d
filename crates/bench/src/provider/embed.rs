//! What asks for no answer in words: vectors, the list of models, and a count of tokens.
//!
//! In: a request, or nothing. Out: JSON in the shape of its provider. Vectors depend on nothing but the text, so that a test can compare
//! them; they are floats, or their bytes in base64 as OpenAI's own SDKs ask for.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use quorate_jsonrpc::quote;
use serde_json::{Value, json};

use super::asked::Asked;
use super::route::Family;
use super::said::Cost;

/// Length of a vector, unless the request says.
const DIMENSIONS: u64 = 16;
/// Longest vector.
const DIMENSIONS_MAX: u64 = 4096;
/// Most texts in a request, as OpenAI documents.
const INPUTS_MAX: usize = 2048;
/// When every model was made.
const CREATED: u64 = 1_790_000_000;

/// Writes vectors.
///
/// # Errors
/// For a person, what cannot be embedded.
pub(super) fn vectors(asked: &Asked<'_>, model: &str, cost: Option<Cost>) -> Result<String, String> {
    let input: Value = serde_json::from_str(asked.said.unwrap_or("null")).map_err(|error| error.to_string())?;
    let inputs = match &input {
        Value::String(_) => vec![&input],
        // Tokens are a text; texts, and lists of tokens, are each their own.
        Value::Array(elements) if elements.iter().all(Value::is_number) && !elements.is_empty() => vec![&input],
        Value::Array(elements) if (1..=INPUTS_MAX).contains(&elements.len()) => elements.iter().collect(),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::Array(_) | Value::Object(_) => {
            return Err(format!("input: a string, or 1 to {INPUTS_MAX} of them, or tokens"));
        }
    };
    let length = asked.dimensions.unwrap_or(DIMENSIONS);
    if !(1..=DIMENSIONS_MAX).contains(&length) {
        return Err(format!("dimensions: 1 to {DIMENSIONS_MAX}"));
    }
    let is_base64 = asked.encoding.as_deref() == Some("base64");
    let element = |(index, input): (usize, &Value)| {
        let vector = vector(&input.to_string(), length);
        let vector = if is_base64 {
            let bytes: Vec<u8> = vector.iter().flat_map(|number| number.to_le_bytes()).collect();
            quote(&STANDARD.encode(bytes))
        } else {
            json!(vector).to_string()
        };
        format!(r#"{{"object":"embedding","index":{index},"embedding":{vector}}}"#)
    };
    let data = inputs.into_iter().enumerate().map(element).collect::<Vec<_>>().join(",");
    let usage = cost.map_or_else(String::new, |Cost { input, .. }| {
        format!(r#","usage":{{"prompt_tokens":{input},"total_tokens":{input}}}"#)
    });
    Ok(format!(r#"{{"object":"list","data":[{data}],"model":{}{usage}}}"#, quote(model)))
}

/// Writes the list of models.
pub(super) fn models(family: Family) -> String {
    let list = match family {
        Family::OpenAi => json!({ "object": "list", "data": [
            { "id": "mock", "object": "model", "created": CREATED, "owned_by": "quorate-bench" },
        ]}),
        Family::Anthropic => json!({ "data": [
            { "type": "model", "id": "mock", "display_name": "Mock", "created_at": "2026-11-01T00:00:00Z", "lifecycle": "active" },
        ], "has_more": false, "first_id": "mock", "last_id": "mock" }),
        Family::Gemini => json!({ "models": [
            { "name": "models/mock", "version": "1", "displayName": "Mock", "inputTokenLimit": 1_048_576,
              "outputTokenLimit": 65_536, "supportedGenerationMethods": ["generateContent"] },
        ]}),
    };
    list.to_string()
}

/// A vector of length 1 that only this text has.
fn vector(text: &str, length: u64) -> Vec<f32> {
    // FNV-1a over the text, and xorshift from there (Marsaglia 2003): any that mixes would do.
    let hash = text
        .bytes()
        .fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3));
    let mut state = hash | 1;
    let numbers = (0..length).map(|_| {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        f32::from(u8::try_from(state >> 56).expect("8 bits")) - 127.5
    });
    let numbers: Vec<f32> = numbers.collect();
    let norm = numbers.iter().map(|number| number * number).sum::<f32>().sqrt();
    numbers.into_iter().map(|number| number / norm).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::provider::route::Api;

    fn answer(body: &Value) -> Result<Value, String> {
        let body = body.to_string();
        let asked = Asked::read(Api::Embeddings, body.as_bytes())?;
        vectors(&asked, "mock", None).map(|answer| serde_json::from_str(&answer).unwrap())
    }

    #[test]
    fn both_encodings_are_the_same_vector() {
        let plain = answer(&json!({ "input": "a", "dimensions": 3 })).unwrap();
        let encoded = answer(&json!({ "input": ["b", "a"], "dimensions": 3, "encoding_format": "base64" })).unwrap();

        let bytes = STANDARD.decode(encoded["data"][1]["embedding"].as_str().unwrap()).unwrap();
        let decoded: Vec<f32> = bytes.chunks(4).map(|four| f32::from_le_bytes(four.try_into().unwrap())).collect();
        // Read as what they are: as a double, a float has more digits than it was written with.
        let plain: Vec<f32> = serde_json::from_value(plain["data"][0]["embedding"].clone()).unwrap();
        assert_eq!(plain, decoded);
        assert_ne!(encoded["data"][0]["embedding"], encoded["data"][1]["embedding"]);
    }

    #[test]
    fn what_is_no_text_is_refused() {
        for input in [json!(null), json!([]), json!({}), json!(7)] {
            assert!(answer(&json!({ "input": input })).is_err(), "{input}");
        }
        assert!(answer(&json!({ "input": "a", "dimensions": 0 })).is_err());
        assert_eq!(answer(&json!({ "input": [1, 2] })).unwrap()["data"].as_array().unwrap().len(), 1);
    }
}
