//! What holds for the calls of one exposed tool or prompt.
//!
//! In: a client's frame with the arguments that it gives. Out: the frame as the server gets it,
//! under the server's name for the tool and with the fixed arguments, or the argument that the
//! client must not give. Invariant: a fixed argument has its value in every frame that goes out;
//! a hidden one is in none. Arguments are told apart as the most lenient JSON parsers do, without
//! regard to case, so that no spelling gets one past.

use std::borrow::Cow;
use std::fmt;
use std::time::Duration;

use http::{HeaderName, HeaderValue};
use quorate_jsonrpc::{Frame, MembersError, Span, Splice, keyed_members, pick, quote, text};

use super::edit;

/// What holds for the calls of one tool or prompt.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Terms {
    /// How long a call may take.
    pub timeout: Option<Duration>,
    /// How many calls may be in progress at once.
    pub concurrency: Option<u32>,
    /// Whether a call that may have run may be sent again: the operator's word, never the server's.
    pub replayable: bool,
    /// The arguments that clients do not give.
    pub(super) withheld: Vec<Withheld>,
    /// The `Mcp-Param-*` headers of withheld arguments, which clients do not send either.
    pub(super) headers_withheld: Vec<HeaderName>,
    /// Those that go to the server instead, for fixed arguments.
    pub(super) headers_fixed: Vec<(HeaderName, HeaderValue)>,
}

/// An argument that clients do not give. `Debug` hides its value, which may be a credential.
#[derive(Clone, PartialEq, Eq)]
pub(super) struct Withheld {
    pub(super) name: Box<str>,
    /// The JSON text of the value that the server gets; nothing where the argument is hidden or
    /// the definition does not have it.
    pub(super) value: Option<Box<str>>,
}

/// A client gives an argument that it must not give, or its arguments cannot be told apart.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refused {
    /// The toolset hides it or has fixed it.
    #[error("argument `{argument}` cannot be given: the toolset sets it, or leaves it to the server")]
    Withheld {
        /// Its name as the toolset has it.
        argument: String,
    },
    /// The arguments are no object.
    #[error("arguments must be an object, with nothing in it twice")]
    NotAnObject,
}

/// Where the parts of a request stand that are rewritten.
#[derive(Clone, Copy, Debug)]
pub struct Place {
    /// The name, quotes included.
    pub name: Span,
    /// The arguments, an object, where there are some.
    pub arguments: Option<Span>,
}

// === impl Terms ===

impl Terms {
    /// Tells whether they change nothing.
    #[must_use]
    pub fn is_plain(&self) -> bool {
        *self == Self::default()
    }

    /// Returns the request for the server, which knows the tool or prompt as `upstream`.
    ///
    /// # Errors
    /// [`Refused`] names the argument that the client must not give.
    pub fn apply(&self, frame: &Frame, place: Place, upstream: &str) -> Result<Frame, Refused> {
        self.check(frame, place.arguments)?;
        let mut splice = named(frame, place.name, upstream);
        let fixed = self.fixed();
        match (place.arguments, frame.params_span()) {
            _ if fixed.is_empty() => {}
            (Some(arguments), _) => edit::prepend(&mut splice, frame.text(), arguments, &fixed),
            (None, Some(params)) => {
                let object = format!("{{{}}}", fixed.join(","));
                edit::set(&mut splice, frame.text(), params, "arguments", None, &object);
            }
            // A request without parameters has no name that it could be routed by.
            (None, None) => {}
        }
        Ok(if splice.is_empty() { frame.clone() } else { frame.spliced(&splice) })
    }

    /// Returns the arguments of a call as the server gets them, as JSON text: with the fixed ones. Where the client gives
    /// some that it must not, they are the client's alone, since such a call goes nowhere ([`Terms::apply`]).
    #[must_use]
    pub fn arguments<'f>(&self, frame: &'f Frame, given: Option<Span>) -> Option<Cow<'f, str>> {
        let text = given.map(|span| frame.text_of(span));
        let fixed = self.fixed();
        if fixed.is_empty() || self.check(frame, given).is_err() {
            return text.map(Cow::Borrowed);
        }
        let fixed = fixed.join(",");
        let rest = text.and_then(|text| text.strip_prefix('{'));
        Some(Cow::Owned(match rest {
            None => format!("{{{fixed}}}"),
            Some(rest) if rest.trim_start().starts_with('}') => format!("{{{fixed}{rest}"),
            Some(rest) => format!("{{{fixed},{rest}"),
        }))
    }

    /// Returns the completion of an argument of this prompt for the server, which knows the prompt as
    /// `upstream`. What the client has filled in so far is held to the terms as a call's arguments are.
    ///
    /// # Errors
    /// [`Refused`] names the argument that the client must not complete or give.
    pub fn complete(&self, frame: &Frame, name: Span, upstream: &str) -> Result<Frame, Refused> {
        let Some(params) = frame.params_span() else { return Ok(frame.clone()) };
        let [argument, context] = members(frame, Some(params), ["argument", "context"])?;
        let [completed] = members(frame, argument, ["name"])?;
        if let Some(completed) = completed.and_then(|span| text(frame.text_of(span)))
            && let Some(one) = self.withheld.iter().find(|one| is_same(&one.name, &completed))
        {
            return Err(Refused::Withheld { argument: one.name.to_string() });
        }
        let [arguments] = members(frame, context, ["arguments"])?;
        self.check(frame, arguments)?;
        let mut splice = named(frame, name, upstream);
        let fixed = self.fixed();
        let object = format!("{{{}}}", fixed.join(","));
        match (arguments, context) {
            _ if fixed.is_empty() => {}
            (Some(arguments), _) => edit::prepend(&mut splice, frame.text(), arguments, &fixed),
            (None, Some(context)) => edit::set(&mut splice, frame.text(), context, "arguments", None, &object),
            (None, None) => {
                let context = format!("{{\"arguments\":{object}}}");
                edit::set(&mut splice, frame.text(), params, "context", None, &context);
            }
        }
        Ok(if splice.is_empty() { frame.clone() } else { frame.spliced(&splice) })
    }

    /// The fixed arguments, as `"name":value` texts.
    fn fixed(&self) -> Vec<String> {
        let fixed = |one: &Withheld| one.value.as_ref().map(|value| format!("{}:{value}", quote(&one.name)));
        self.withheld.iter().filter_map(fixed).collect()
    }

    /// Looks through the arguments that a client gives.
    ///
    /// # Errors
    /// As [`Terms::apply`].
    pub fn check(&self, frame: &Frame, arguments: Option<Span>) -> Result<(), Refused> {
        let Some(arguments) = arguments.filter(|_| !self.withheld.is_empty()) else { return Ok(()) };
        let mut refused = None;
        keyed_members(frame.text_of(arguments), arguments.start, |given, _, _| {
            if refused.is_none() {
                refused = self.withheld.iter().find(|one| is_same(&one.name, given));
            }
        })
        .map_err(|error| match error {
            MembersError::Type | MembersError::Syntax { .. } | MembersError::Duplicate { .. } => Refused::NotAnObject,
        })?;
        refused.map_or(Ok(()), |one| Err(Refused::Withheld { argument: one.name.to_string() }))
    }

    /// Tells whether a header of a client must not reach the server.
    #[must_use]
    pub fn withholds_header(&self, name: &HeaderName) -> bool {
        self.headers_withheld.contains(name)
    }

    /// Returns the headers that the server gets for fixed arguments.
    #[must_use]
    pub fn headers(&self) -> &[(HeaderName, HeaderValue)] {
        &self.headers_fixed
    }

    /// Returns the names of the arguments that clients do not give, and whether each has a value.
    pub fn withheld(&self) -> impl Iterator<Item = (&str, bool)> {
        self.withheld.iter().map(|one| (&*one.name, one.value.is_some()))
    }
}

// === impl Withheld ===

impl fmt::Debug for Withheld {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Withheld").field("name", &self.name).finish_non_exhaustive()
    }
}

/// Starts the edits of a frame with that of the name at `place`.
fn named<'a>(frame: &'a Frame, place: Span, upstream: &str) -> Splice<'a> {
    let mut splice = Splice::new(frame.bytes());
    let name = quote(upstream);
    if frame.text_of(place) != name {
        splice.replace(place, name.into_bytes());
    }
    splice
}

/// Finds members of an object of a frame, where it is there.
fn members<const N: usize>(frame: &Frame, object: Option<Span>, keys: [&str; N]) -> Result<[Option<Span>; N], Refused> {
    let Some(object) = object else { return Ok([None; N]) };
    pick(frame.text_of(object), object.start, keys).map_err(|_| Refused::NotAnObject)
}

/// Whether a parser that ignores case takes `given` for `wanted`.
fn is_same(wanted: &str, given: &str) -> bool {
    if wanted.is_ascii() && given.is_ascii() {
        return wanted.eq_ignore_ascii_case(given);
    }
    // Upper case first: `ſ` and the Kelvin sign fold to `s` and `k` only by way of it.
    let fold = |text: &str| text.to_uppercase().to_lowercase();
    wanted == given || fold(wanted) == fold(given)
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use proptest::prelude::*;
    use quorate_jsonrpc::{Limits, pick};
    use serde_json::{Value, json};

    use super::*;

    fn terms(withheld: &[(&str, Option<&str>)]) -> Terms {
        let one =
            |(name, value): &(&str, Option<&str>)| Withheld { name: (*name).into(), value: value.map(Into::into) };
        Terms { withheld: withheld.iter().map(one).collect(), ..Terms::default() }
    }

    fn request(params: &str) -> (Frame, Place) {
        let text = format!(r#"{{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{params}}}"#);
        let frame = Frame::parse(Bytes::from(text), &Limits::REQUEST).expect("a request");
        let span = frame.params_span().expect("it has parameters");
        let [name, arguments] = pick(frame.text_of(span), span.start, ["name", "arguments"]).expect("an object");
        let place = Place { name: name.expect("it has a name"), arguments };
        (frame, place)
    }

    fn applied(terms: &Terms, params: &str) -> Result<String, Refused> {
        let (frame, place) = request(params);
        let out = terms.apply(&frame, place, "up")?;
        let span = out.params_span().expect("it has parameters");
        let [sent] = pick(out.text_of(span), span.start, ["arguments"]).expect("an object");
        let told = terms.arguments(&frame, place.arguments);
        assert_eq!(told.as_deref(), sent.map(|span| out.text_of(span)), "what is told is what is sent");
        Ok(out.text_of(span).to_owned())
    }

    #[test]
    fn fixed_arguments_are_added_and_all_other_bytes_stay() {
        let terms = terms(&[("tenant", Some("\"acme\"")), ("limit", Some("1.0")), ("debug", None)]);
        let fixed = r#""tenant":"acme","limit":1.0"#;
        for (params, expected) in [
            (r#"{"name":"x"}"#, format!(r#"{{"name":"up","arguments":{{{fixed}}}}}"#)),
            (r#"{"name":"x","arguments":{}}"#, format!(r#"{{"name":"up","arguments":{{{fixed}}}}}"#)),
            (
                r#"{ "arguments":{ "q" : 1.50 },"name":"up"}"#,
                format!(r#"{{ "arguments":{{{fixed}, "q" : 1.50 }},"name":"up"}}"#),
            ),
        ] {
            assert_eq!(applied(&terms, params).as_deref(), Ok(expected.as_str()), "{params}");
        }
    }

    #[test]
    fn a_withheld_argument_is_refused_however_it_is_spelled() {
        let terms = terms(&[("task_id", Some("1")), ("größe", None)]);
        for given in ["task_id", "TASK_ID", "ta\u{17f}\u{212a}_id", r"task\u005fid", "GRÖSSE", "GRÖßE"] {
            let refused = applied(&terms, &format!(r#"{{"name":"x","arguments":{{"q":1,"{given}":2}}}}"#));
            assert!(matches!(refused, Err(Refused::Withheld { .. })), "{given}: {refused:?}");
        }
        assert!(applied(&terms, r#"{"name":"x","arguments":{"task":1,"nested":{"task_id":2}}}"#).is_ok());
        assert!(applied(&Terms::default(), r#"{"name":"x","arguments":{"task_id":2}}"#).is_ok());
    }

    fn completed(terms: &Terms, params: &str) -> Result<String, Refused> {
        let text = format!(r#"{{"jsonrpc":"2.0","id":1,"method":"completion/complete","params":{params}}}"#);
        let frame = Frame::parse(Bytes::from(text), &Limits::REQUEST).expect("a request");
        let span = frame.params_span().expect("it has parameters");
        let [reference] = pick(frame.text_of(span), span.start, ["ref"]).expect("an object");
        let reference = reference.expect("it has a reference");
        let [name] = pick(frame.text_of(reference), reference.start, ["name"]).expect("an object");
        let out = terms.complete(&frame, name.expect("it has a name"), "up")?;
        Ok(out.text_of(out.params_span().expect("it has parameters")).to_owned())
    }

    #[test]
    fn a_completion_is_held_to_the_terms_in_what_it_completes_and_what_it_has() {
        let terms = terms(&[("tenant", Some("\"acme\"")), ("debug", None)]);
        let fixed = r#""tenant":"acme""#;
        let asked = r#""ref":{"name":"x"},"argument":{"name":"city","value":"p"}"#;
        let named = r#""ref":{"name":"up"},"argument":{"name":"city","value":"p"}"#;
        for (given, expected) in [
            (String::new(), format!(r#","context":{{"arguments":{{{fixed}}}}}"#)),
            (r#","context":{}"#.to_owned(), format!(r#","context":{{"arguments":{{{fixed}}}}}"#)),
            (
                r#","context":{ "arguments":{"a":"b"} }"#.to_owned(),
                format!(r#","context":{{ "arguments":{{{fixed},"a":"b"}} }}"#),
            ),
        ] {
            let out = completed(&terms, &format!("{{{asked}{given}}}"));
            assert_eq!(out.as_deref(), Ok(format!("{{{named}{expected}}}").as_str()), "{given}");
        }
        for refused in [
            r#""argument":{"name":"Tenant","value":"a"}"#,
            r#""argument":{"name":"city","value":"p"},"context":{"arguments":{"TENANT":"other"}}"#,
            r#""argument":{"name":"city","value":"p"},"context":{"arguments":{"debug":"1"}}"#,
        ] {
            let out = completed(&terms, &format!(r#"{{"ref":{{"name":"x"}},{refused}}}"#));
            assert!(matches!(out, Err(Refused::Withheld { .. })), "{refused}: {out:?}");
        }
        for broken in [r#""argument":1"#, r#""context":[]"#, r#""context":{"arguments":[]}"#] {
            let out = completed(&terms, &format!(r#"{{"ref":{{"name":"x"}},{broken}}}"#));
            assert_eq!(out, Err(Refused::NotAnObject), "{broken}");
        }
    }

    #[test]
    fn a_request_that_needs_no_change_is_the_same_bytes() {
        let (frame, place) = request(r#"{"name":"up","arguments":{"q":1}}"#);
        let out = terms(&[("debug", None)]).apply(&frame, place, "up").expect("nothing is withheld from it");
        assert_eq!(out.bytes().as_ptr(), frame.bytes().as_ptr());
    }

    proptest! {
        #[test]
        fn fixed_arguments_always_win(
            fixed in prop::collection::btree_map("[a-c]{1,2}", 0u8..9, 0..4),
            given in prop::collection::btree_map("[a-cA-C]{1,2}", 10u8..19, 0..4),
            has_arguments: bool,
        ) {
            let withheld: Vec<(String, String)> =
                fixed.iter().map(|(name, value)| (name.clone(), value.to_string())).collect();
            let withheld: Vec<(&str, Option<&str>)> =
                withheld.iter().map(|(name, value)| (name.as_str(), Some(value.as_str()))).collect();
            let arguments = if has_arguments { json!(given) } else { Value::Null };
            let params = if has_arguments { json!({"name": "x", "arguments": arguments}) } else { json!({"name": "x"}) };

            let out = applied(&terms(&withheld), &params.to_string());

            let clashes = has_arguments
                && given.keys().any(|given| fixed.keys().any(|fixed| fixed.eq_ignore_ascii_case(given)));
            match out {
                Err(Refused::Withheld { .. }) => prop_assert!(clashes),
                Err(Refused::NotAnObject) => prop_assert!(false, "arguments are an object"),
                Ok(out) => {
                    prop_assert!(!clashes);
                    let out: Value = serde_json::from_str(&out).expect("valid JSON");
                    for (name, value) in &fixed {
                        prop_assert_eq!(&out["arguments"][name], &json!(value));
                    }
                    if has_arguments {
                        for (name, value) in &given {
                            prop_assert_eq!(&out["arguments"][name], &json!(value));
                        }
                    }
                }
            }
        }
    }
}
