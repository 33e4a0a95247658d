//! Edits of JSON objects as splices: set a member, put members in front.
//!
//! In: the text of a definition or frame, and spans in it. Out: edits of one [`Splice`], so that
//! every byte that is not edited stays.

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

/// Whether the object at `object`, braces included, has no member.
fn is_empty(text: &str, object: Span) -> bool {
    text[object.start + 1..object.end - 1].trim_ascii().is_empty()
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use super::*;

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

    #[test]
    fn members_are_put_in_front_of_those_that_are_there() {
        let prepended = |text: &str, members: &[&str]| {
            let bytes = Bytes::copy_from_slice(text.as_bytes());
            let mut splice = Splice::new(&bytes);
            let members: Vec<String> = members.iter().map(|member| (*member).to_owned()).collect();
            prepend(&mut splice, text, Span::new(0, text.len()), &members);
            String::from_utf8(splice.finish().to_vec()).expect("text")
        };
        assert_eq!(prepended("{ }", &[r#""a":1"#, r#""b":2"#]), r#"{"a":1,"b":2 }"#);
        assert_eq!(prepended(r#"{"c":3}"#, &[r#""a":1"#]), r#"{"a":1,"c":3}"#);
        assert_eq!(prepended(r#"{"c":3}"#, &[]), r#"{"c":3}"#);
    }
}
