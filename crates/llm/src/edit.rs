//! Changes to a request that stays in its shape: everything else keeps its bytes.
//!
//! In: a [`Call`] and what a `Model` says of it. Out: the provider's body. What is replaced is the model's name, parameters that an
//! operator sets, defaults or takes away, and the question for what a stream costs. A parameter is named as in the body; one within
//! another is named with a dot (`generationConfig.temperature`).

use bytes::Bytes;
use quorate_jsonrpc::{MembersError, Splice, cut_members, keyed_members, quote};

use crate::api::Api;
use crate::classify::Call;
use crate::error::Fault;

/// What an operator does with a parameter.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Change {
    /// It has this value, whatever the client says. JSON text.
    Set(String),
    /// It has this value where the client says none. JSON text.
    Default(String),
    /// It is taken away.
    Remove,
}

/// A parameter and what is done with it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Edit {
    /// Its name.
    pub name: String,
    /// What is done.
    pub change: Change,
}

/// Writes a request for a provider of its own shape.
///
/// # Errors
/// [`Kind::Invalid`](crate::error::Kind::Invalid) where a parameter is to be changed within one that is no object.
pub fn rewrite(call: &Call, model: &str, edits: &[Edit]) -> Result<Bytes, Fault> {
    let body = std::str::from_utf8(&call.body).expect("it was classified");
    let asked = Change::Set("true".to_owned());
    let mut splice = Splice::new(&call.body);
    let mut added = Vec::new();
    if let Some(span) = call.model_span.filter(|_| model != call.model) {
        splice.replace(span, quote(model).into_bytes());
    }
    if call.api == Api::Chat && call.is_streamed && !call.wants_usage {
        match call.stream_options.filter(|span| span.of(body) == "null") {
            Some(span) => drop(splice.replace(span, r#"{"include_usage":true}"#.as_bytes())),
            // Beside whatever else the client wants of its stream.
            None => {
                change_within(body, "stream_options", "include_usage", &asked, &mut splice, &mut added)?;
            }
        }
    }
    for edit in edits {
        match edit.name.split_once('.') {
            None => change(body, 0, &edit.name, &edit.change, &mut splice, &mut added)?,
            Some((outer, inner)) => change_within(body, outer, inner, &edit.change, &mut splice, &mut added)?,
        }
    }
    if !added.is_empty() {
        insert(body, 0, &added, &mut splice);
    }
    Ok(if splice.is_empty() { call.body.clone() } else { splice.finish() })
}

fn change<'a>(
    object: &str,
    base: usize,
    name: &str,
    change: &'a Change,
    splice: &mut Splice<'a>,
    added: &mut Vec<String>,
) -> Result<(), Fault> {
    let mut found = None;
    // The first is the only one: what stands there twice was refused.
    keyed_members(object, base, |key, _, value| {
        if key == name {
            found = Some(value);
        }
    })
    .map_err(|error| no_object(name, &error))?;
    match (change, found) {
        (Change::Set(value), Some(span)) => drop(splice.replace(span, value.as_bytes())),
        (Change::Set(value) | Change::Default(value), None) => added.push(format!("{}:{value}", quote(name))),
        (Change::Default(_), Some(_)) | (Change::Remove, None) => {}
        (Change::Remove, Some(_)) => {
            let cuts = cut_members(object, base, &[name]).map_err(|error| no_object(name, &error))?;
            for cut in cuts {
                splice.remove(cut);
            }
        }
    }
    Ok(())
}

fn change_within<'a>(
    body: &str,
    outer: &str,
    inner: &str,
    to: &'a Change,
    splice: &mut Splice<'a>,
    added: &mut Vec<String>,
) -> Result<(), Fault> {
    let mut found = None;
    keyed_members(body, 0, |key, _, value| {
        if key == outer {
            found = Some(value);
        }
    })
    .map_err(|error| no_object(outer, &error))?;
    match (found, to) {
        (None, Change::Remove) => {}
        (None, Change::Set(value) | Change::Default(value)) => {
            added.push(format!("{}:{{{}:{value}}}", quote(outer), quote(inner)));
        }
        (Some(span), _) => {
            let mut within = Vec::new();
            change(span.of(body), span.start, inner, to, splice, &mut within)?;
            if !within.is_empty() {
                insert(span.of(body), span.start, &within, splice);
            }
        }
    }
    Ok(())
}

/// Adds members behind the brace that opens an object.
fn insert(object: &str, base: usize, added: &[String], splice: &mut Splice<'_>) {
    let open = object.find('{').unwrap_or(0) + 1;
    let is_empty = object[open..].trim_start().starts_with('}');
    let members = added.join(",") + if is_empty { "" } else { "," };
    splice.insert(base + open, members.into_bytes());
}

fn no_object(name: &str, error: &MembersError) -> Fault {
    Fault::invalid(name, format!("{name} cannot be changed: {error}"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::classify::{Path, classify};

    fn rewritten(body: &str, model: &str, edits: &[Edit]) -> String {
        let path = Path { api: Api::Chat, model: None, is_streamed: false };
        let call = classify(&path, Bytes::copy_from_slice(body.as_bytes())).expect("it is one");
        let bytes = rewrite(&call, model, edits).expect("it can be changed");
        String::from_utf8(bytes.to_vec()).expect("it is text")
    }

    fn edit(name: &str, change: Change) -> Edit {
        Edit { name: name.to_owned(), change }
    }

    #[test]
    fn what_is_not_changed_keeps_its_bytes() {
        let body = "{ \"model\" : \"m\",\n\"x\": 1.50, \"messages\":[ ] }";

        assert_eq!(rewritten(body, "m", &[]), body);
        assert_eq!(rewritten(body, "n", &[]), "{ \"model\" : \"n\",\n\"x\": 1.50, \"messages\":[ ] }");
    }

    #[test]
    fn what_a_stream_costs_is_asked_for_beside_what_the_client_wants() {
        let cases = [
            (
                r#"{"model":"m","stream":true}"#,
                r#"{"stream_options":{"include_usage":true},"model":"m","stream":true}"#,
            ),
            (
                r#"{"model":"m","stream":true,"stream_options":{}}"#,
                r#"{"model":"m","stream":true,"stream_options":{"include_usage":true}}"#,
            ),
            (
                r#"{"model":"m","stream":true,"stream_options":{"include_usage":false,"a":[1]}}"#,
                r#"{"model":"m","stream":true,"stream_options":{"include_usage":true,"a":[1]}}"#,
            ),
            // What is within another lost its braces.
            (
                r#"{"model":"m","stream":true,"stream_options":{"a":{"b":{}}}}"#,
                r#"{"model":"m","stream":true,"stream_options":{"include_usage":true,"a":{"b":{}}}}"#,
            ),
            (
                r#"{"model":"m","stream":true,"stream_options":null}"#,
                r#"{"model":"m","stream":true,"stream_options":{"include_usage":true}}"#,
            ),
            (
                r#"{"model":"m","stream":true,"stream_options":{"include_usage":true}}"#,
                r#"{"model":"m","stream":true,"stream_options":{"include_usage":true}}"#,
            ),
            (r#"{"model":"m"}"#, r#"{"model":"m"}"#),
        ];
        for (body, expected) in cases {
            assert_eq!(rewritten(body, "m", &[]), expected);
        }
    }

    #[test]
    fn parameters_are_set_defaulted_and_taken_away() {
        let set = edit("temperature", Change::Set("0.5".to_owned()));
        let default = edit("top_p", Change::Default("0.9".to_owned()));
        let remove = edit("user", Change::Remove);
        let edits = [set, default, remove];

        let body = r#"{"model":"m","temperature":1,"top_p":1,"user":"ana"}"#;
        assert_eq!(rewritten(body, "m", &edits), r#"{"model":"m","temperature":0.5,"top_p":1}"#);
        assert_eq!(rewritten(r#"{"model":"m"}"#, "m", &edits), r#"{"temperature":0.5,"top_p":0.9,"model":"m"}"#);
    }

    #[test]
    fn a_parameter_within_another_is_changed_there() {
        let set = |value: &str| edit("thinking.type", Change::Set(value.to_owned()));

        let body = r#"{"model":"m","thinking":{"a":1}}"#;
        assert_eq!(rewritten(body, "m", &[set("\"off\"")]), r#"{"model":"m","thinking":{"type":"off","a":1}}"#);
        let body = r#"{"model":"m","thinking":{"type":"on"}}"#;
        assert_eq!(rewritten(body, "m", &[set("\"off\"")]), r#"{"model":"m","thinking":{"type":"off"}}"#);
        assert_eq!(rewritten(r#"{"model":"m"}"#, "m", &[set("1")]), r#"{"thinking":{"type":1},"model":"m"}"#);
    }
}
