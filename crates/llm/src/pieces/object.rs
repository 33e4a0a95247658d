//! An object of raw JSON whose members can be set and taken away.
//!
//! In: the text of an object. Out: the same text but for what was changed: the order of members stays, and so does each value that
//! nobody has set.

use std::borrow::Cow;

use quorate_jsonrpc::{elements, keyed_members, quote, text};

use crate::dialect::no_answer;
use crate::error::Fault;

/// An object.
#[derive(Clone, Debug)]
pub(super) struct Object<'a> {
    /// Names, decoded, and values.
    members: Vec<(String, Cow<'a, str>)>,
}

// === impl Object ===

impl<'a> Object<'a> {
    /// Reads one.
    ///
    /// # Errors
    /// [`Kind::Provider`](crate::error::Kind::Provider) for what is none.
    pub(super) fn read(raw: &'a str) -> Result<Self, Fault> {
        let mut members = Vec::new();
        keyed_members(raw, 0, |name, _, value| members.push((name.to_owned(), Cow::Borrowed(value.of(raw)))))
            .map_err(|_| no_answer())?;
        Ok(Self { members })
    }

    /// The value of a member, where there is one that is not null.
    pub(super) fn get(&self, name: &str) -> Option<&str> {
        let found = self.members.iter().find(|(known, _)| known == name);
        found.map(|(_, value)| &**value).filter(|value| *value != "null")
    }

    /// The text of a member, where it is one.
    pub(super) fn text(&self, name: &str) -> Option<Cow<'_, str>> {
        text(self.get(name)?)
    }

    /// The elements of a member, none where it is missing or null.
    ///
    /// # Errors
    /// [`Kind::Provider`](crate::error::Kind::Provider) where it is no array.
    pub(super) fn list(&self, name: &str) -> Result<Vec<&str>, Fault> {
        let mut found = Vec::new();
        if let Some(raw) = self.get(name) {
            elements(raw, 0, |span| found.push(span.of(raw))).map_err(|_| no_answer())?;
        }
        Ok(found)
    }

    /// The same with another value of a member, which is added where it is missing.
    pub(super) fn with(mut self, name: &str, value: impl Into<Cow<'a, str>>) -> Self {
        let value = value.into();
        match self.members.iter_mut().find(|(known, _)| known == name) {
            Some((_, was)) => *was = value,
            None => self.members.push((name.to_owned(), value)),
        }
        self
    }

    /// The same with this value where a member is missing or null.
    pub(super) fn or(self, name: &str, value: impl Into<Cow<'a, str>>) -> Self {
        if self.get(name).is_some() { self } else { self.with(name, value) }
    }

    /// The same without a member.
    pub(super) fn without(mut self, name: &str) -> Self {
        self.members.retain(|(known, _)| known != name);
        self
    }

    /// The same with another name of a member.
    pub(super) fn renamed(mut self, name: &str, other: &str) -> Self {
        self.members.iter_mut().filter(|(known, _)| known == name).for_each(|(known, _)| other.clone_into(known));
        self
    }

    /// Its text.
    pub(super) fn write(&self) -> String {
        let members: Vec<String> =
            self.members.iter().map(|(name, value)| format!("{}:{value}", quote(name))).collect();
        format!("{{{}}}", members.join(","))
    }
}

/// Writes an array.
pub(super) fn array(elements: &[String]) -> String {
    format!("[{}]", elements.join(","))
}
