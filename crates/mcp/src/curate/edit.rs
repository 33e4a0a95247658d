//! Edits of JSON objects and arrays as splices: set a member, take members or elements out.
//!
//! In: the text of a definition or frame, and spans in it. Out: edits of one [`Splice`], so that
//! every byte that is not edited stays. Removing takes one comma with each part and leaves valid
//! JSON also where parts at the ends, or all, are taken.

use quorate_jsonrpc::{Span, Splice, quote};

/// Sets member `key` of the object at `object` to the JSON text `value`: where `present` is its
/// value's span, instead of it, else as the last member.
pub(super) fn set(splice: &mut Splice<'_>, text: &str, object: Span, key: &str, present: Option<Span>, value: &str) {
    match present {
        Some(span) => {
            splice.replace(span, value.as_bytes().to_vec());
        }
        None => {
            let comma = if is_empty(text, object) { "" } else { "," };
            splice.insert(object.end - 1, format!("{comma}{}:{value}", quote(key)).into_bytes());
        }
    }
}

/// Puts members, as `"key":value` texts, in front of those of the object at `object`.
pub(super) fn prepend(splice: &mut Splice<'_>, text: &str, object: Span, members: &[String]) {
    if !members.is_empty() {
        let comma = if is_empty(text, object) { "" } else { "," };
        splice.insert(object.start + 1, format!("{}{comma}", members.join(",")).into_bytes());
    }
}

/// Takes parts of an object or array out: `parts` are all of them in order (for a member, from
/// its key to the end of its value), each with whether it goes.
pub(super) fn remove(splice: &mut Splice<'_>, parts: &[(Span, bool)]) {
    let Some(first_kept) = parts.iter().position(|(_, goes)| !goes) else {
        if let (Some((first, _)), Some((last, _))) = (parts.first(), parts.last()) {
            splice.remove(Span::new(first.start, last.end));
        }
        return;
    };
    if first_kept > 0 {
        splice.remove(Span::new(parts[0].0.start, parts[first_kept].0.start));
    }
    let mut kept_end = parts[first_kept].0.end;
    let mut gone_end = None;
    for (span, goes) in &parts[first_kept + 1..] {
        if *goes {
            gone_end = Some(span.end);
            continue;
        }
        if let Some(end) = gone_end.take() {
            splice.remove(Span::new(kept_end, end));
        }
        kept_end = span.end;
    }
    if let Some(end) = gone_end {
        splice.remove(Span::new(kept_end, end));
    }
}

/// Whether the object at `object`, braces included, has no member.
fn is_empty(text: &str, object: Span) -> bool {
    text[object.start + 1..object.end - 1].trim_ascii().is_empty()
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use proptest::prelude::*;
    use quorate_jsonrpc::{elements, keyed_members};
    use serde_json::{Map, Value};

    use super::*;

    fn without(text: &str, goes: impl Fn(usize) -> bool) -> String {
        let mut parts = Vec::new();
        if text.starts_with('[') {
            elements(text, 0, |span| parts.push((span, goes(parts.len())))).expect("an array");
        } else {
            let member =
                |_: &str, key: Span, value: Span| parts.push((Span::new(key.start, value.end), goes(parts.len())));
            keyed_members(text, 0, member).expect("an object");
        }
        let bytes = Bytes::copy_from_slice(text.as_bytes());
        let mut splice = Splice::new(&bytes);
        remove(&mut splice, &parts);
        String::from_utf8(splice.finish().to_vec()).expect("text")
    }

    #[test]
    fn parts_go_with_one_comma_each_and_the_rest_stays_as_it_is() {
        let text = r#"{ "a" :1, "b":[2 ,3],"c": 4 }"#;
        for (goes, expected) in [
            (vec![], text),
            (vec![0], r#"{ "b":[2 ,3],"c": 4 }"#),
            (vec![1], r#"{ "a" :1,"c": 4 }"#),
            (vec![2], r#"{ "a" :1, "b":[2 ,3] }"#),
            (vec![0, 1], r#"{ "c": 4 }"#),
            (vec![1, 2], r#"{ "a" :1 }"#),
            (vec![0, 2], r#"{ "b":[2 ,3] }"#),
            (vec![0, 1, 2], r"{  }"),
        ] {
            assert_eq!(without(text, |index| goes.contains(&index)), expected, "{goes:?}");
        }
        assert_eq!(without("[1, 2 ,3]", |index| index == 1), "[1 ,3]");
        assert_eq!(without("[]", |_| true), "[]");
    }

    #[test]
    fn a_member_is_set_where_it_is_or_at_the_end() {
        let set_in = |text: &str, present: Option<Span>| {
            let bytes = Bytes::copy_from_slice(text.as_bytes());
            let mut splice = Splice::new(&bytes);
            set(&mut splice, text, Span::new(0, text.len()), "k\"", present, "2");
            String::from_utf8(splice.finish().to_vec()).expect("text")
        };
        assert_eq!(set_in("{}", None), r#"{"k\"":2}"#);
        assert_eq!(set_in("{ }", None), r#"{ "k\"":2}"#);
        assert_eq!(set_in(r#"{"a":1}"#, None), r#"{"a":1,"k\"":2}"#);
        assert_eq!(set_in(r#"{"k":1}"#, Some(Span::new(5, 6))), r#"{"k":2}"#);
    }

    proptest! {
        #[test]
        fn what_is_left_is_exactly_what_was_not_removed(
            keys in prop::collection::btree_set("[a-z]{1,3}", 0..8),
            going in prop::collection::vec(any::<bool>(), 8),
            pretty: bool,
        ) {
            let object: Map<String, Value> =
                keys.into_iter().enumerate().map(|(index, key)| (key, Value::from(index))).collect();
            let text = if pretty { serde_json::to_string_pretty(&object) } else { serde_json::to_string(&object) };

            let left = without(&text.expect("plain data"), |index| going[index]);

            let expected: Map<String, Value> =
                object.into_iter().enumerate().filter(|(index, _)| !going[*index]).map(|(_, member)| member).collect();
            prop_assert_eq!(serde_json::from_str::<Map<String, Value>>(&left).expect("valid JSON"), expected);
        }
    }
}
