//! The names of tools and arguments.
//!
//! A tool is called by its `operationId` as far as that is a name, else by method and path. A name that several
//! operations claim stands for none of them: each is then called by method and path, and by a hash where even that is
//! shared, so that what one is called depends on no order. Names are given to all operations of a document before any
//! is selected, so that they do not depend on the selection either.
//!
//! Names have 1 to 64 characters of `[A-Za-z0-9_.-]`: MCP (2025-11-25) allows 128, and hosts allow 64.

use std::collections::HashMap;

use crate::operation::Operation;
use crate::problem::{Fault, Reason};

/// The longest name in characters.
pub(crate) const NAME_CHARS_MAX: usize = 64;
/// The characters of a hash in a name, with the separator before it.
const HASH_CHARS: usize = 9;

/// Names every operation; what had to be decided comes out as notes.
pub(crate) fn of_operations(operations: &[Operation<'_>]) -> (Vec<String>, Vec<Fault>) {
    let by_id = |operation: &Operation<'_>| operation.id.map(sanitised).filter(|name| !name.is_empty());
    let mut names: Vec<String> =
        operations.iter().map(|operation| by_id(operation).unwrap_or_else(|| by_path(operation))).collect();
    let wanted = names.clone();
    for instead in [by_path, by_hash] {
        let shared = shared(&names);
        for (name, operation) in names.iter_mut().zip(operations) {
            if shared.contains_key(name) {
                *name = instead(operation);
            }
        }
    }
    let counts = shared(&wanted);
    let notes = operations.iter().zip(&names).zip(&wanted).filter(|((_, name), wanted)| name != wanted);
    let notes = notes.map(|((operation, name), wanted)| {
        let count = counts.get(wanted).copied().unwrap_or(1);
        let at = operation.node.get("operationId").unwrap_or_else(|| operation.node.clone());
        at.fault(Reason::NameShared { name: wanted.clone(), count, instead: name.clone() })
    });
    let notes = notes.collect();
    (names, notes)
}

/// Makes a text a name: what is no character of a name becomes `_`. Empty when nothing of it is a letter or digit.
pub(crate) fn sanitised(text: &str) -> String {
    let mut name = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            'A'..='Z' | 'a'..='z' | '0'..='9' | '_' | '.' | '-' => name.push(c),
            _ if name.ends_with('_') => {}
            _ => name.push('_'),
        }
    }
    let name = name.trim_matches('_');
    if !name.contains(|c: char| c.is_ascii_alphanumeric()) {
        return String::new();
    }
    shortened(name, text)
}

/// Cuts a name that is too long, and makes it unique again by a hash of what it was made of.
fn shortened(name: &str, of: &str) -> String {
    if name.len() <= NAME_CHARS_MAX {
        return name.to_owned();
    }
    // It is ASCII, so that every byte is a character.
    format!("{}_{}", &name[..NAME_CHARS_MAX - HASH_CHARS], hash(of))
}

fn by_path(operation: &Operation<'_>) -> String {
    let path = sanitised(operation.path);
    let method = operation.method.as_str().to_ascii_lowercase();
    let joined = if path.is_empty() { method } else { format!("{method}_{path}") };
    shortened(&joined, &operation.label())
}

fn by_hash(operation: &Operation<'_>) -> String {
    let name = by_path(operation);
    let kept = name.len().min(NAME_CHARS_MAX - HASH_CHARS);
    format!("{}_{}", &name[..kept], hash(&operation.label()))
}

/// The names that stand there more than once, with how often.
fn shared(names: &[String]) -> HashMap<String, usize> {
    let mut counts: HashMap<String, usize> = HashMap::with_capacity(names.len());
    for name in names {
        *counts.entry(name.clone()).or_default() += 1;
    }
    counts.retain(|_, count| *count > 1);
    counts
}

/// FNV-1a in 32 bits, as 8 hexadecimal digits: the same on every machine and in every version.
fn hash(text: &str) -> String {
    let hash = text.bytes().fold(0x811c_9dc5_u32, |hash, byte| (hash ^ u32::from(byte)).wrapping_mul(0x0100_0193));
    format!("{hash:08x}")
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::document::{Document, Format};
    use crate::limits::DEFAULTS;
    use crate::operation;

    fn names(paths: &str) -> (Vec<String>, Vec<Fault>) {
        let text = format!("openapi: 3.0.0\npaths:\n{paths}");
        let document = Document::read(&text, Format::Yaml, &DEFAULTS).expect("is read");
        let (operations, _) = operation::all(&document).expect("has paths");
        of_operations(&operations)
    }

    #[test]
    fn a_tool_is_called_by_its_id_else_by_method_and_path() {
        let paths = "
  /: {get: {}}
  /pets/{petId}: {get: {operationId: 'pets/get-one'}, delete: {}, put: {operationId: '???'}}
  /é: {get: {operationId: ' list  pets (all) '}}
";
        let (names, notes) = names(paths);
        assert_eq!(names, ["get", "pets_get-one", "put_pets_petId", "delete_pets_petId", "list_pets_all"]);
        assert_eq!(notes, []);
    }

    #[test]
    fn a_name_that_several_claim_stands_for_none_of_them_in_any_order() {
        let first = "  /a: {get: {operationId: list}}\n";
        let second = "  /b: {get: {operationId: list}, post: {operationId: make}}\n";
        let (names_one, notes) = names(&format!("{first}{second}"));
        let (names_two, _) = names(&format!("{second}{first}"));

        assert_eq!(names_one, ["get_a", "get_b", "make"]);
        assert_eq!(names_two, ["get_b", "make", "get_a"]);
        assert_eq!(
            notes[0].clone().noted().to_string(),
            "#/paths/~1a/get/operationId: \"list\" is the name of 2 operations: this one is called \"get_a\""
        );
    }

    #[test]
    fn paths_that_read_alike_are_told_apart_by_a_hash() {
        let (names, notes) = names("  /a/b: {get: {}}\n  /a_b: {get: {}}\n  /x: {get: {operationId: get_a_b}}\n");
        assert_eq!(names[0].len(), "get_a_b".len() + HASH_CHARS);
        assert_ne!(names[0], names[1]);
        assert_eq!(names[2], "get_x");
        assert_eq!(notes.len(), 3);
    }

    #[test]
    fn a_long_name_is_cut_and_stays_unique() {
        let long = "x".repeat(200);
        let (names, _) =
            names(&format!("  /a: {{get: {{operationId: {long}1}}}}\n  /b: {{get: {{operationId: {long}2}}}}\n"));
        assert!(names.iter().all(|name| name.len() == NAME_CHARS_MAX), "{names:?}");
        assert_ne!(names[0], names[1]);
    }

    proptest! {
        #[test]
        fn a_sanitised_name_is_a_name_or_empty(text: String) {
            let name = sanitised(&text);
            prop_assert!(name.len() <= NAME_CHARS_MAX);
            prop_assert!(name.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"_.-".contains(&byte)));
        }

        #[test]
        fn sanitising_a_name_changes_nothing(text in "[a-z][A-Za-z0-9.-]{0,40}") {
            prop_assert_eq!(sanitised(&text), text);
        }
    }
}
