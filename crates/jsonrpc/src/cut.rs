//! Finds what to remove so that members or elements are gone and the rest is still JSON.
//!
//! In: the raw text of an object or array and the offset at which it stands in its frame. Out:
//! spans in frame offsets for [`Splice::remove`](crate::Splice::remove), in order and without
//! overlap: each removed item with the comma that belongs to it. What stays keeps its bytes.

use crate::members::{MembersError, elements, walk};
use crate::span::Span;

/// Finds the bytes of the members named `keys` of the object `raw`, however often each occurs.
///
/// # Errors
/// [`MembersError::Type`] when it is no object, [`MembersError::Syntax`] when it is no JSON.
pub fn cut_members(raw: &str, base: usize, keys: &[&str]) -> Result<Vec<Span>, MembersError> {
    let mut items = Vec::new();
    walk(raw, base, |name, key, value| {
        items.push((Span::new(key.start, value.end), keys.contains(&name)));
        Ok(())
    })?;
    Ok(cuts(&items))
}

/// Finds the bytes of the elements of the array `raw` for which `unwanted` holds.
///
/// # Errors
/// As [`cut_members`].
pub fn cut_elements(raw: &str, base: usize, mut unwanted: impl FnMut(Span) -> bool) -> Result<Vec<Span>, MembersError> {
    let mut items = Vec::new();
    elements(raw, base, |span| items.push((span, unwanted(span))))?;
    Ok(cuts(&items))
}

/// Removes an item with the comma before it where something stays before it, else with the comma
/// after it.
fn cuts(items: &[(Span, bool)]) -> Vec<Span> {
    let mut cuts = Vec::new();
    let mut stays_before = false;
    for (index, (item, goes)) in items.iter().enumerate() {
        match (goes, stays_before) {
            (false, _) => stays_before = true,
            (true, true) => cuts.push(Span::new(items[index - 1].0.end, item.end)),
            (true, false) => {
                let end = items.get(index + 1).map_or(item.end, |(next, _)| next.start);
                cuts.push(Span::new(item.start, end));
            }
        }
    }
    cuts
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use proptest::prelude::*;

    use super::*;
    use crate::{Splice, quote};

    fn applied(raw: &str, cuts: &[Span]) -> String {
        let bytes = Bytes::copy_from_slice(raw.as_bytes());
        let mut splice = Splice::new(&bytes);
        for cut in cuts {
            splice.remove(*cut);
        }
        String::from_utf8(splice.finish().to_vec()).expect("cut at boundaries")
    }

    fn without(raw: &str, keys: &[&str]) -> String {
        applied(raw, &cut_members(raw, 0, keys).expect("an object"))
    }

    #[test]
    fn members_go_with_their_comma_and_the_rest_keeps_its_bytes() {
        let cases = [
            (r#"{"a":1,"b":2,"c":3}"#, r#"{"b":2,"c":3}"#),
            (r#"{"b":2,"a":1,"c":3}"#, r#"{"b":2,"c":3}"#),
            (r#"{"b":2 , "a" : 1 }"#, r#"{"b":2 }"#),
            (r#"{ "a":1, "b": 2.0}"#, r#"{ "b": 2.0}"#),
            (r#"{"a":1,"x":{"a":5},"b":2}"#, r#"{"b":2}"#),
            (r#"{"a":1,"x":0}"#, "{}"),
            (r#"{"b":2,"a":1,"x":0,"c":3,"a":4}"#, r#"{"b":2,"c":3}"#),
            (r#"{"\u0061":1,"b":"a"}"#, r#"{"b":"a"}"#),
            ("{}", "{}"),
        ];
        for (raw, expected) in cases {
            assert_eq!(without(raw, &["a", "x"]), expected, "{raw}");
        }
        assert_eq!(cut_members("[]", 0, &["a"]), Err(MembersError::Type));
    }

    #[test]
    fn spans_are_in_the_offsets_of_the_frame() {
        let frame = r#"{"params":{"a":1,"b":2}}"#;
        let params = Span::new(10, frame.len() - 1);

        let cuts = cut_members(params.of(frame), params.start, &["a"]).expect("an object");

        assert_eq!(applied(frame, &cuts), r#"{"params":{"b":2}}"#);
    }

    #[test]
    fn elements_go_with_their_comma() {
        let drop_ones = |raw: &str| applied(raw, &cut_elements(raw, 0, |span| span.of(raw) == "1").expect("an array"));
        for (raw, expected) in
            [("[1,2,1,1,3,1]", "[2,3]"), ("[ 1 , 2 ]", "[ 2 ]"), ("[1]", "[]"), ("[1,1]", "[]"), ("[]", "[]")]
        {
            assert_eq!(drop_ones(raw), expected, "{raw}");
        }
    }

    proptest! {
        #[test]
        fn what_is_left_is_the_object_without_the_members(
            members in prop::collection::vec(("[a-d]{1,2}", any::<i32>()), 0..8),
            keys in prop::collection::vec("[a-d]{1,2}", 0..4),
        ) {
            let render = |members: &[&(String, i32)]| {
                let members: Vec<String> = members.iter().map(|(key, value)| format!("{}:{value}", quote(key))).collect();
                format!("{{{}}}", members.join(","))
            };
            let keys: Vec<&str> = keys.iter().map(String::as_str).collect();
            let all: Vec<&(String, i32)> = members.iter().collect();
            let kept: Vec<&(String, i32)> = members.iter().filter(|(key, _)| !keys.contains(&key.as_str())).collect();

            prop_assert_eq!(without(&render(&all), &keys), render(&kept));
        }
    }
}
