//! Changes to a request that stays in its shape: everything else keeps its bytes.
//!
//! In: a [`Call`] and what a `Model` says of it. Out: the provider's body. What is replaced is the model's name, parameters that an
//! operator sets, defaults or takes away, and the question for what a stream costs. A parameter is named as in the body; one within
//! another is named with a dot (`generationConfig.temperature`).
//!
//! Some parameters can be said in two ways: Gemini's in either case (`top_p` for `topP`), and the most tokens of a chat completion by an
//! old name and a young one. Whichever the client takes, a default does not stand beside it and a value that is set is the only one.

use std::borrow::Cow;

use bytes::Bytes;
use quorate_jsonrpc::{MembersError, Span, Splice, cut_members, keyed_members, pick, quote};

use crate::api::Api;
use crate::classify::Call;
use crate::dialect::Quirks;
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

/// What becomes of a member of the body.
struct Plan<'a> {
    name: Cow<'a, str>,
    /// Where its value stands now, if it does.
    was: Option<Span>,
    /// Its value in the end; none where there is none.
    becomes: Option<Cow<'a, str>>,
}

/// Another way to say a parameter.
struct Twin {
    name: String,
    /// Whether it is the same name in another case; else another name, which a provider may know instead.
    is_spelling: bool,
}

/// The members that are changed, each once: several edits of one member are done in their order.
struct Plans<'a> {
    body: &'a str,
    plans: Vec<Plan<'a>>,
}

/// Writes a request for a provider of its own shape.
///
/// # Errors
/// [`Kind::Invalid`](crate::error::Kind::Invalid) where a parameter is to be changed within one that is no object, or that stands
/// there twice, also in another case.
pub fn rewrite(call: &Call, model: &str, quirks: Quirks, edits: &[Edit]) -> Result<Bytes, Fault> {
    let asked = Change::Set("true".to_owned());
    let mut plans = Plans { body: std::str::from_utf8(&call.body).expect("it was classified"), plans: Vec::new() };
    if call.api == Api::Chat && quirks.no_stream_options {
        plans.change("stream_options", None, &Change::Remove)?;
    } else if call.api == Api::Chat && call.is_streamed && !call.wants_usage {
        // Beside whatever else the client wants of its stream.
        plans.change("stream_options", Some("include_usage"), &asked)?;
    }
    // Who edits both names of a parameter knows what each of them shall be.
    let twin = |name: &str| Twin::of(call.api, name);
    let is_edited = |name: &str| edits.iter().any(|edit| edit.name == name);
    for Edit { name, change } in edits {
        match name.split_once('.') {
            None => plans.edit((name, twin(name).filter(|twin| !is_edited(&twin.name))), change)?,
            Some((outer, inner)) => {
                let spelling = |name: &str| twin(name).filter(|twin| twin.is_spelling);
                let within = spelling(inner).filter(|twin| !is_edited(&format!("{outer}.{}", twin.name)));
                plans.edit_within((outer, spelling(outer)), (inner, within), change)?;
            }
        }
    }
    // Which model answers is decided by the route.
    if call.model_span.is_some() && (model != call.model || plans.has("model")) {
        plans.change("model", None, &Change::Set(quote(model)))?;
    }
    plans.finish(&call.body)
}

// === impl Plans ===

impl<'a> Plans<'a> {
    fn has(&self, name: &str) -> bool {
        self.plans.iter().any(|plan| plan.name == name)
    }

    /// Does an edit of a parameter, however the client says it.
    fn edit<'b: 'a>(&mut self, (name, twin): (&'b str, Option<Twin>), change: &Change) -> Result<(), Fault> {
        let Some(twin) = twin else { return self.change(name, None, change) };
        match change {
            Change::Default(_) if self.says(&twin.name)? => return Ok(()),
            Change::Remove if !twin.is_spelling => {}
            Change::Set(_) | Change::Remove => self.change(twin.name, None, &Change::Remove)?,
            Change::Default(_) => {}
        }
        self.change(name, None, change)
    }

    /// The same of one within another.
    fn edit_within<'b: 'a>(
        &mut self,
        (outer, other): (&'b str, Option<Twin>),
        (inner, twin): (&str, Option<Twin>),
        change: &Change,
    ) -> Result<(), Fault> {
        let said = match &other {
            Some(other) if self.says(&other.name)? => Some(&other.name),
            _ => None,
        };
        let outer: Cow<'a, str> = match (said, self.says(outer)?) {
            // One of them would be changed, and a provider may take the other one.
            (Some(other), true) => {
                let message = format!("{outer} and {other} are one parameter: say it once");
                return Err(Fault::invalid(other.clone(), message));
            }
            (Some(other), false) => other.clone().into(),
            (None, _) => outer.into(),
        };
        let Some(twin) = twin else { return self.change(outer, Some(inner), change) };
        match change {
            Change::Default(_) if self.says_within(&outer, &twin.name)? => return Ok(()),
            Change::Default(_) => {}
            Change::Set(_) | Change::Remove => self.change(outer.clone(), Some(&twin.name), &Change::Remove)?,
        }
        self.change(outer, Some(inner), change)
    }

    /// Whether a parameter has a value, as far as it is changed.
    fn says(&self, name: &str) -> Result<bool, Fault> {
        Ok(self.value(name)?.is_some_and(|value| value != "null"))
    }

    fn says_within(&self, outer: &str, inner: &str) -> Result<bool, Fault> {
        let Some(object) = self.value(outer)?.filter(|value| *value != "null") else { return Ok(false) };
        let found = find(object, inner).map_err(|error| cannot(&format!("{outer}.{inner}"), &error))?;
        Ok(found.is_some_and(|span| span.of(object) != "null"))
    }

    fn value(&self, name: &str) -> Result<Option<&str>, Fault> {
        if let Some(plan) = self.plans.iter().find(|plan| plan.name == name) {
            return Ok(plan.becomes.as_deref());
        }
        Ok(find(self.body, name).map_err(|error| cannot(name, &error))?.map(|span| span.of(self.body)))
    }

    fn change(&mut self, name: impl Into<Cow<'a, str>>, inner: Option<&str>, change: &Change) -> Result<(), Fault> {
        let name = name.into();
        let at = match self.plans.iter().position(|plan| plan.name == name) {
            Some(at) => at,
            None => {
                let was = find(self.body, &name).map_err(|error| cannot(&name, &error))?;
                let becomes = was.map(|span| Cow::Borrowed(span.of(self.body)));
                self.plans.push(Plan { name: name.clone(), was, becomes });
                self.plans.len() - 1
            }
        };
        let plan = &mut self.plans[at];
        match (inner, change) {
            (None, Change::Remove) => plan.becomes = None,
            (None, Change::Set(value)) => plan.becomes = Some(value.clone().into()),
            // One that is null says nothing.
            (None, Change::Default(value)) if plan.becomes.as_deref().is_none_or(|said| said == "null") => {
                plan.becomes = Some(value.clone().into());
            }
            (None, Change::Default(_)) => {}
            (Some(inner), change) => {
                // One that is null is as good as none.
                let object = plan.becomes.as_deref().filter(|value| *value != "null").unwrap_or("{}");
                let changed =
                    changed(object, inner, change).map_err(|error| cannot(&format!("{name}.{inner}"), &error))?;
                plan.becomes = changed.map(Cow::Owned).or(plan.becomes.take());
            }
        }
        Ok(())
    }

    fn finish(self, bytes: &Bytes) -> Result<Bytes, Fault> {
        let mut splice = Splice::new(bytes);
        let (mut removed, mut added) = (Vec::new(), Vec::new());
        for plan in &self.plans {
            match (plan.was, &plan.becomes) {
                (Some(span), Some(value)) if span.of(self.body) != value => {
                    splice.replace(span, value.as_bytes());
                }
                (Some(_), None) => removed.push(&*plan.name),
                (None, Some(value)) => added.push(format!("{}:{value}", quote(&plan.name))),
                (Some(_), Some(_)) | (None, None) => {}
            }
        }
        if !removed.is_empty() {
            // All at once: each takes a comma with it, and which one depends on its neighbours.
            let cuts = cut_members(self.body, 0, &removed).map_err(|error| cannot(removed[0], &error))?;
            for cut in cuts {
                splice.remove(cut);
            }
        }
        if !added.is_empty() {
            let mut stays = false;
            keyed_members(self.body, 0, |key, _, _| stays |= !removed.contains(&key))
                .map_err(|error| cannot("", &error))?;
            insert(self.body, &added, stays, &mut splice);
        }
        Ok(if splice.is_empty() { bytes.clone() } else { splice.finish() })
    }
}

// === impl Twin ===

impl Twin {
    fn of(api: Api, name: &str) -> Option<Self> {
        match (api, name) {
            (Api::Chat, "max_tokens") => Some(Self { name: "max_completion_tokens".to_owned(), is_spelling: false }),
            (Api::Chat, "max_completion_tokens") => Some(Self { name: "max_tokens".to_owned(), is_spelling: false }),
            (Api::Generate, name) => Some(Self { name: other_case(name)?, is_spelling: true }),
            _ => None,
        }
    }
}

/// `topP` for `top_p`, and the other way round (Protocol Buffers, JSON mapping); none for a name of one word.
fn other_case(name: &str) -> Option<String> {
    let mut other = String::with_capacity(name.len() + 4);
    let mut begins_word = false;
    for letter in name.chars() {
        match letter {
            '_' => begins_word = true,
            letter if begins_word => {
                other.push(letter.to_ascii_uppercase());
                begins_word = false;
            }
            letter if letter.is_ascii_uppercase() => {
                other.push('_');
                other.push(letter.to_ascii_lowercase());
            }
            letter => other.push(letter),
        }
    }
    (other != name).then_some(other)
}

/// An object with one of its members changed; none where it stays as it is.
fn changed(object: &str, name: &str, change: &Change) -> Result<Option<String>, MembersError> {
    let bytes = Bytes::copy_from_slice(object.as_bytes());
    let mut splice = Splice::new(&bytes);
    let found = find(object, name)?;
    match (change, found) {
        (Change::Set(value), Some(span)) => {
            splice.replace(span, value.as_bytes());
        }
        (Change::Default(value), Some(span)) if span.of(object) == "null" => {
            splice.replace(span, value.as_bytes());
        }
        (Change::Set(value) | Change::Default(value), None) => {
            let mut stays = false;
            keyed_members(object, 0, |_, _, _| stays = true)?;
            insert(object, &[format!("{}:{value}", quote(name))], stays, &mut splice);
        }
        (Change::Remove, Some(_)) => {
            for cut in cut_members(object, 0, &[name])? {
                splice.remove(cut);
            }
        }
        (Change::Default(_), Some(_)) | (Change::Remove, None) => return Ok(None),
    }
    Ok(Some(String::from_utf8(splice.finish().to_vec()).expect("texts were put into a text")))
}

/// Where the value of a member stands. A second one of its name, in whatever case, is an error: providers take the first or the last.
fn find(object: &str, name: &str) -> Result<Option<Span>, MembersError> {
    pick(object, 0, [name]).map(|[found]| found)
}

/// Adds members behind the brace that opens an object, before those that stay.
fn insert(object: &str, added: &[String], stays: bool, splice: &mut Splice<'_>) {
    let open = object.find('{').unwrap_or(0) + 1;
    let members = added.join(",") + if stays { "," } else { "" };
    splice.insert(open, members.into_bytes());
}

fn cannot(name: &str, error: &MembersError) -> Fault {
    Fault::invalid(name, format!("{name} cannot be changed: {error}"))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::classify::{Path, classify};

    fn rewritten(body: &str, model: &str, edits: &[Edit]) -> String {
        let path = Path { api: Api::Chat, model: None, is_streamed: false };
        let call = classify(&path, Bytes::copy_from_slice(body.as_bytes())).expect("it is one");
        let bytes = rewrite(&call, model, Quirks::default(), edits).expect("it can be changed");
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
    fn the_other_name_of_a_limit_is_no_way_around_it() {
        let set = edit("max_tokens", Change::Set("9".to_owned()));
        let default = edit("max_tokens", Change::Default("9".to_owned()));
        let young = r#"{"model":"m","max_completion_tokens":8000}"#;
        let null = r#"{"model":"m","max_completion_tokens":null}"#;

        assert_eq!(rewritten(young, "m", &[set]), r#"{"max_tokens":9,"model":"m"}"#);
        let default = [default];
        assert_eq!(rewritten(young, "m", &default), young, "the client has said it");
        assert_eq!(
            rewritten(null, "m", &default),
            r#"{"max_tokens":9,"model":"m","max_completion_tokens":null}"#,
            "null says nothing"
        );
        // A provider may know one of them only, and its operator take the other away.
        assert_eq!(rewritten(young, "m", &[edit("max_tokens", Change::Remove)]), young);
        let old = r#"{"model":"m","max_tokens":10}"#;
        let of_young =
            [edit("max_completion_tokens", Change::Default("7".to_owned())), edit("max_tokens", Change::Remove)];
        assert_eq!(rewritten(old, "m", &of_young), r#"{"max_completion_tokens":7,"model":"m"}"#, "there is a limit");
        let both = ["max_completion_tokens", "max_tokens"].map(|name| edit(name, Change::Set("7".to_owned())));
        assert_eq!(rewritten(old, "m", &both), r#"{"max_completion_tokens":7,"model":"m","max_tokens":7}"#);
    }

    #[test]
    fn a_parameter_that_is_null_gets_its_default() {
        let default = [edit("top_p", Change::Default("1".to_owned())), edit("a.b", Change::Default("2".to_owned()))];

        let body = r#"{"model":"m","top_p":null,"a":{"b":null}}"#;
        assert_eq!(rewritten(body, "m", &default), r#"{"model":"m","top_p":1,"a":{"b":2}}"#);
    }

    #[test]
    fn the_options_of_a_stream_are_kept_from_who_does_not_take_them() {
        let quirks = Quirks { no_stream_options: true, ..Quirks::default() };
        for options in ["", r#","stream_options":{"include_usage":true}"#] {
            let body = format!(r#"{{"model":"m","stream":true{options}}}"#);
            let path = Path { api: Api::Chat, model: None, is_streamed: false };
            let call = classify(&path, Bytes::from(body)).expect("it is one");
            assert_eq!(rewrite(&call, "m", quirks, &[]).expect("it can be"), r#"{"model":"m","stream":true}"#);
        }
    }

    #[test]
    fn a_parameter_that_is_said_in_two_ways_is_refused() {
        let set = |name: &str| [edit(name, Change::Set("1".to_owned()))];
        for (api, body, name, field) in [
            (Api::Chat, r#"{"model":"m","temperature":1,"Temperature":2}"#, "temperature", "temperature"),
            (Api::Chat, "{\"model\":\"m\",\"max_to\u{212a}ens\":2}", "max_tokens", "max_tokens"),
            (Api::Generate, r#"{"toolConfig":{},"tool_config":{"a":1}}"#, "toolConfig.a", "tool_config"),
        ] {
            let path = Path { api, model: (api == Api::Generate).then_some("m"), is_streamed: false };
            let Ok(call) = classify(&path, Bytes::copy_from_slice(body.as_bytes())) else { continue };
            let refused = rewrite(&call, "m", Quirks::default(), &set(name)).expect_err("one of both would count");
            assert_eq!(refused.field.as_deref(), Some(field), "{body}");
        }
    }

    #[test]
    fn a_parameter_of_gemini_is_one_in_either_case() {
        let generate = |body: &str, edits: &[Edit]| {
            let path = Path { api: Api::Generate, model: Some("m"), is_streamed: false };
            let call = classify(&path, Bytes::copy_from_slice(body.as_bytes())).expect("it is one");
            String::from_utf8(rewrite(&call, "m", Quirks::default(), edits).expect("it can be changed").to_vec())
                .expect("it is text")
        };
        let tokens = |change: Change| [edit("generationConfig.maxOutputTokens", change)];
        let set = tokens(Change::Set("9".to_owned()));
        let default = tokens(Change::Default("9".to_owned()));
        let cases = [
            (r#"{"generationConfig":{"max_output_tokens":8}}"#, r#"{"generationConfig":{"maxOutputTokens":9}}"#),
            (r#"{"generation_config":{"max_output_tokens":8}}"#, r#"{"generation_config":{"maxOutputTokens":9}}"#),
            (r#"{"generation_config":{"maxOutputTokens":8}}"#, r#"{"generation_config":{"maxOutputTokens":9}}"#),
            (r#"{"generation_config":null}"#, r#"{"generationConfig":{"maxOutputTokens":9},"generation_config":null}"#),
        ];
        for (body, expected) in &cases[..3] {
            assert_eq!(&generate(body, &set), expected);
            assert_eq!(&generate(body, &default), body, "the client has said it");
            let removed = generate(body, &tokens(Change::Remove));
            assert!(removed.ends_with(":{}}"), "{removed}");
        }
        assert_eq!(generate(cases[3].0, &default), cases[3].1);

        let safety = [edit("safetySettings", Change::Set("[]".to_owned()))];
        assert_eq!(generate(r#"{"safety_settings":[1]}"#, &safety), r#"{"safetySettings":[]}"#);
        assert_eq!(generate(r#"{"safetySettings":[1],"safety_settings":[2]}"#, &safety), r#"{"safetySettings":[]}"#);
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

    #[test]
    fn two_edits_within_one_absent_parameter_make_it_once() {
        let edits = [
            edit("generationConfig.topP", Change::Default("0.9".to_owned())),
            edit("generationConfig.topK", Change::Default("40".to_owned())),
        ];

        let expected = r#"{"generationConfig":{"topK":40,"topP":0.9},"model":"m"}"#;
        assert_eq!(rewritten(r#"{"model":"m"}"#, "m", &edits), expected);
        let null = r#"{"model":"m","generationConfig":null}"#;
        assert_eq!(rewritten(null, "m", &edits), r#"{"model":"m","generationConfig":{"topK":40,"topP":0.9}}"#);
    }

    #[test]
    fn neighbours_are_taken_away_together() {
        let remove = |names: &[&str]| names.iter().map(|name| edit(name, Change::Remove)).collect::<Vec<_>>();

        let body = r#"{"a":1,"b":2,"model":"m","c":3,"d":4}"#;
        assert_eq!(rewritten(body, "m", &remove(&["a", "b", "c", "d"])), r#"{"model":"m"}"#);
        assert_eq!(rewritten(body, "m", &remove(&["d", "b", "c", "a"])), r#"{"model":"m"}"#);
        let body = r#"{"model":"m","t":{"a":1,"b":2,"c":3}}"#;
        assert_eq!(rewritten(body, "m", &remove(&["t.c", "t.b"])), r#"{"model":"m","t":{"a":1}}"#);
        assert_eq!(rewritten(body, "m", &remove(&["t.a", "t.b", "t.c"])), r#"{"model":"m","t":{}}"#);
    }

    #[test]
    fn edits_of_one_parameter_are_done_in_their_order() {
        let set = |name: &str, value: &str| edit(name, Change::Set(value.to_owned()));
        let cases = [
            (vec![set("a", "1"), set("a", "2")], r#"{"a":2,"model":"m"}"#),
            (vec![set("a", "{}"), set("a.b", "1")], r#"{"a":{"b":1},"model":"m"}"#),
            (vec![set("a", "1"), edit("a", Change::Remove)], r#"{"model":"m"}"#),
            (vec![edit("a", Change::Remove), edit("a", Change::Default("1".to_owned()))], r#"{"a":1,"model":"m"}"#),
            (vec![set("model", "\"other\"")], r#"{"model":"m"}"#),
        ];
        for (edits, expected) in cases {
            assert_eq!(rewritten(r#"{"model":"m"}"#, "m", &edits), expected, "{edits:?}");
        }
    }

    #[test]
    fn a_parameter_that_stands_twice_within_another_is_refused() {
        let path = Path { api: Api::Chat, model: None, is_streamed: false };
        let body = Bytes::from_static(br#"{"model":"m","thinking":{"type":"on","type":"off"}}"#);
        let call = classify(&path, body).expect("what is deeper is not looked at");

        let refused = rewrite(&call, "m", Quirks::default(), &[edit("thinking.type", Change::Set("1".to_owned()))]);

        assert_eq!(refused.expect_err("one of both would count").field.as_deref(), Some("thinking.type"));
    }

    /// A body as its parts are told: names with their values, some of which are objects.
    fn members() -> impl Strategy<Value = Vec<(String, String)>> {
        let flat = prop_oneof![Just("1.50"), Just("\"x,}\""), Just("[ {} ]"), Just("null")].prop_map(str::to_owned);
        let space = prop_oneof![Just(""), Just(" "), Just("\n\t")];
        let inner = prop::collection::btree_map("[ab]", (flat.clone(), space), 0..3).prop_map(|members| {
            let members: Vec<String> =
                members.into_iter().map(|(name, (value, space))| format!("{space}\"{name}\":{value}{space}")).collect();
            format!("{{{}}}", members.join(","))
        });
        prop::collection::btree_map("[a-e]", prop_oneof![flat, inner], 0..5)
            .prop_map(|members| members.into_iter().collect())
    }

    fn edits() -> impl Strategy<Value = Vec<Edit>> {
        let value = prop_oneof![Just("7"), Just("{\"a\":7}"), Just("\"set\"")];
        let change = prop_oneof![
            value.clone().prop_map(|value| Change::Set(value.to_owned())),
            value.prop_map(|value| Change::Default(value.to_owned())),
            Just(Change::Remove),
        ];
        prop::collection::vec(("[a-f](\\.[ab])?", change), 0..6)
            .prop_map(|edits| edits.into_iter().map(|(name, change)| Edit { name, change }).collect())
    }

    proptest! {
        #[test]
        fn what_is_edited_is_json_and_what_is_not_keeps_its_bytes(
            members in members(), edits in edits(), space in prop_oneof![Just(""), Just("\r\n  ")], place in 0_usize..5,
        ) {
            let mut all = members;
            all.insert(place.min(all.len()), ("model".to_owned(), "\"m\"".to_owned()));
            let texts: Vec<String> = all.iter().map(|(name, value)| format!("{space}\"{name}\"{space}:{space}{value}")).collect();
            let body = format!("{{{}{space}}}", texts.join(","));
            let path = Path { api: Api::Chat, model: None, is_streamed: false };
            let call = classify(&path, Bytes::from(body)).expect("it is one");
            // What is no object has nothing within it.
            let Ok(bytes) = rewrite(&call, "n", Quirks::default(), &edits) else { return Ok(()) };

            let text = std::str::from_utf8(&bytes).expect("it is text");
            let mut found = Vec::new();
            quorate_jsonrpc::members(text, 0, |key, span| found.push((key.to_owned(), span.of(text).to_owned()))).expect("each once");
            serde_json::from_str::<serde_json::Value>(text).expect("it is JSON");
            prop_assert!(found.contains(&("model".to_owned(), "\"n\"".to_owned())));
            for (name, value) in &found {
                prop_assert!(!value.starts_with('{') || quorate_jsonrpc::members(value, 0, |_, _| {}).is_ok(), "{}: {}", name, value);
            }
            let is_touched = |name: &str| edits.iter().any(|edit| edit.name.split('.').next() == Some(name));
            for (member, text_of) in all.iter().zip(&texts).filter(|((name, _), _)| name != "model" && !is_touched(name)) {
                prop_assert!(found.contains(member));
                prop_assert!(text.contains(text_of.trim_start()), "{}", text_of);
            }
        }
    }
}
