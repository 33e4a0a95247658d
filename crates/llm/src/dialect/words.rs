//! Content that is one text or a list of parts: most shapes take both.
//!
//! Read without a copy of what is read, which an untagged enum would make, and with an error that says what is allowed.

use std::fmt;
use std::marker::PhantomData;

use serde::de::{self, Deserialize, Deserializer, SeqAccess, Visitor};

/// One text, or parts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Words<P> {
    /// One text.
    Text(String),
    /// Parts.
    Parts(Vec<P>),
}

struct WordsVisitor<P>(PhantomData<P>);

impl<'de, P: Deserialize<'de>> Deserialize<'de> for Words<P> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(WordsVisitor(PhantomData))
    }
}

impl<'de, P: Deserialize<'de>> Visitor<'de> for WordsVisitor<P> {
    type Value = Words<P>;

    fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("a string or an array of parts")
    }

    fn visit_str<E: de::Error>(self, text: &str) -> Result<Self::Value, E> {
        Ok(Words::Text(text.to_owned()))
    }

    fn visit_string<E: de::Error>(self, text: String) -> Result<Self::Value, E> {
        Ok(Words::Text(text))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut sequence: A) -> Result<Self::Value, A::Error> {
        let mut parts = Vec::new();
        while let Some(part) = sequence.next_element()? {
            parts.push(part);
        }
        Ok(Words::Parts(parts))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_forms_are_read_and_others_are_named() {
        let read = |text| serde_json::from_str::<Words<u8>>(text);

        assert_eq!(read("\"a\\n\"").expect("it is text"), Words::Text("a\n".to_owned()));
        assert_eq!(read("[1, 2]").expect("it is parts"), Words::Parts(vec![1, 2]));
        let error = read("{}").expect_err("it is neither").to_string();
        assert!(error.starts_with("invalid type: map, expected a string or an array of parts"), "{error}");
    }
}
