//! Which operations of a document are offered.
//!
//! A [`Rule`] holds for an operation when each of its lists that is not empty has a pattern that matches. An operation
//! is offered when an `include` rule holds for it (or there is none) and no `exclude` rule does. A pattern that matches
//! nothing in the whole document is a problem, because it is a slip of the pen or of memory.

use http::Method;

use crate::operation::Operation;
use crate::problem::{Fault, Reason};

/// What is offered.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Selection {
    /// Rules of which one must hold; when there are none, everything is in.
    pub include: Vec<Rule>,
    /// Rules of which none may hold.
    pub exclude: Vec<Rule>,
}

/// A description of operations. Empty lists do not restrict.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Rule {
    /// One of the operation's tags matches one of these.
    pub tags: Vec<Pattern>,
    /// The operation's id, or the name of its tool, matches one of these.
    pub operations: Vec<Pattern>,
    /// The operation's path, as written in the document, matches one of these.
    pub paths: Vec<Pattern>,
    /// The operation's method is one of these.
    pub methods: Vec<Method>,
}

/// A text in which `*` stands for any characters, `/` and none included. Case matters.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pattern(Box<str>);

// === impl Pattern ===

impl Pattern {
    /// Makes a pattern of its text.
    #[must_use]
    pub fn new(text: &str) -> Self {
        Self(Box::from(text))
    }

    /// Returns its text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Tells whether `text` matches.
    #[must_use]
    pub fn matches(&self, text: &str) -> bool {
        let mut parts = self.0.split('*');
        let first = parts.next().unwrap_or_default();
        let Some(mut rest) = text.strip_prefix(first) else { return false };
        let Some(last) = parts.next_back() else { return rest.is_empty() };
        for part in parts {
            // The leftmost place leaves the most for what follows.
            let Some(at) = rest.find(part) else { return false };
            rest = &rest[at + part.len()..];
        }
        rest.ends_with(last)
    }
}

// === impl Rule ===

impl Rule {
    fn holds(&self, operation: &Operation<'_>, name: &str) -> bool {
        let any = |patterns: &[Pattern], texts: &[&str]| {
            patterns.is_empty() || patterns.iter().any(|pattern| texts.iter().any(|text| pattern.matches(text)))
        };
        any(&self.tags, &operation.tags)
            && any(&self.operations, &[name, operation.id.unwrap_or(name)])
            && any(&self.paths, &[operation.path])
            && (self.methods.is_empty() || self.methods.contains(&operation.method))
    }
}

// === impl Selection ===

impl Selection {
    /// Tells for each operation whether it is offered; `names` are those of their tools.
    ///
    /// # Errors
    /// One fault for each pattern that matches nothing.
    pub(crate) fn apply(&self, operations: &[Operation<'_>], names: &[String]) -> Result<Vec<bool>, Vec<Fault>> {
        let faults: Vec<Fault> =
            self.include.iter().chain(&self.exclude).flat_map(|rule| unmatched(rule, operations, names)).collect();
        if !faults.is_empty() {
            return Err(faults);
        }
        let offered = operations.iter().zip(names).map(|(operation, name)| {
            let included = self.include.is_empty() || self.include.iter().any(|rule| rule.holds(operation, name));
            included && !self.exclude.iter().any(|rule| rule.holds(operation, name))
        });
        Ok(offered.collect())
    }
}

/// Finds the patterns of a rule that match nothing in the document.
fn unmatched(rule: &Rule, operations: &[Operation<'_>], names: &[String]) -> Vec<Fault> {
    let tags = || operations.iter().flat_map(|operation| operation.tags.iter().copied());
    let ids = || names.iter().map(String::as_str).chain(operations.iter().filter_map(|operation| operation.id));
    let paths = || operations.iter().map(|operation| operation.path);
    let methods = || operations.iter().map(|operation| operation.method.as_str());
    let mut faults = Vec::new();
    for pattern in rule.tags.iter().filter(|pattern| !tags().any(|tag| pattern.matches(tag))) {
        faults.push(no_match("tag", pattern.as_str(), tags()));
    }
    for pattern in rule.operations.iter().filter(|pattern| !ids().any(|id| pattern.matches(id))) {
        faults.push(no_match("operation", pattern.as_str(), ids()));
    }
    for pattern in rule.paths.iter().filter(|pattern| !paths().any(|path| pattern.matches(path))) {
        faults.push(no_match("path", pattern.as_str(), paths()));
    }
    for method in rule.methods.iter().filter(|method| !methods().any(|known| known == method.as_str())) {
        faults.push(no_match("method", method.as_str(), methods()));
    }
    faults
}

fn no_match<'a>(what: &'static str, pattern: &str, known: impl Iterator<Item = &'a str>) -> Fault {
    let mut known: Vec<String> = known.map(str::to_owned).collect();
    known.sort_unstable();
    known.dedup();
    // What begins like the pattern is what was probably meant.
    let likeness =
        |name: &str| name.bytes().zip(pattern.bytes()).take_while(|(a, b)| a.eq_ignore_ascii_case(b)).count();
    known.sort_by_key(|name| std::cmp::Reverse(likeness(name)));
    let pointer = if what == "tag" { "#/tags" } else { "#/paths" };
    Fault { pointer: pointer.to_owned(), reason: Reason::NoMatch { what, pattern: pattern.to_owned(), known } }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::document::{Document, Format};
    use crate::limits::DEFAULTS;
    use crate::{name, operation};

    const PETS: &str = "
openapi: 3.0.0
paths:
  /pets: {get: {operationId: listPets, tags: [pets]}, post: {operationId: makePet, tags: [pets, write]}}
  /pets/{id}: {get: {operationId: getPet, tags: [pets]}, delete: {tags: [write]}}
  /users: {get: {operationId: listUsers, tags: [users]}}
";

    fn patterns(texts: &[&str]) -> Vec<Pattern> {
        texts.iter().copied().map(Pattern::new).collect()
    }

    fn check(selection: &Selection, expected: &[&str]) {
        let document = Document::read(PETS, Format::Yaml, &DEFAULTS).expect("is read");
        let (operations, _) = operation::all(&document).expect("has paths");
        let (names, _) = name::of_operations(&operations);
        let offered = selection.apply(&operations, &names).expect("every pattern matches");
        let found: Vec<&str> = names.iter().zip(offered).filter(|(_, offered)| *offered).map(|(n, _)| &**n).collect();
        assert_eq!(found, expected, "{selection:?}");
    }

    #[test]
    fn a_pattern_matches_whole_texts() {
        let cases = [
            ("a", "a", true),
            ("a", "ab", false),
            ("a*", "ab", true),
            ("*b", "ab", true),
            ("*", "", true),
            ("a*a", "a", false),
            ("a*b*c", "axbxbxc", true),
            ("a*b*c", "acb", false),
            ("/pets/*", "/pets/{id}/x", true),
            ("", "", true),
            ("", "a", false),
        ];
        for (pattern, text, expected) in cases {
            assert_eq!(Pattern::new(pattern).matches(text), expected, "{pattern:?} on {text:?}");
        }
    }

    #[test]
    fn keys_of_a_rule_restrict_and_rules_add_up() {
        let all = ["listPets", "makePet", "getPet", "delete_pets_id", "listUsers"];
        check(&Selection::default(), &all);
        let pets = Rule { tags: patterns(&["pets"]), ..Rule::default() };
        let reading = Rule { methods: vec![Method::GET], ..pets.clone() };
        let users = Rule { operations: patterns(&["*Users"]), ..Rule::default() };
        check(&Selection { include: vec![pets.clone()], exclude: vec![] }, &["listPets", "makePet", "getPet"]);
        check(&Selection { include: vec![reading.clone()], exclude: vec![] }, &["listPets", "getPet"]);
        check(&Selection { include: vec![reading, users], exclude: vec![] }, &["listPets", "getPet", "listUsers"]);
        let one = Rule { paths: patterns(&["/pets/{id}"]), ..Rule::default() };
        check(&Selection { include: vec![pets], exclude: vec![one] }, &["listPets", "makePet"]);
        let by_name = Rule { operations: patterns(&["delete_*"]), ..Rule::default() };
        check(&Selection { include: vec![by_name], exclude: vec![] }, &["delete_pets_id"]);
    }

    #[test]
    fn a_pattern_that_matches_nothing_is_a_fault_with_what_there_is() {
        let document = Document::read(PETS, Format::Yaml, &DEFAULTS).expect("is read");
        let (operations, _) = operation::all(&document).expect("has paths");
        let (names, _) = name::of_operations(&operations);
        let rule = Rule { tags: patterns(&["pest"]), methods: vec![Method::PATCH], ..Rule::default() };

        let faults = Selection { include: vec![], exclude: vec![rule] }.apply(&operations, &names);

        let found: Vec<String> =
            faults.expect_err("nothing matches").into_iter().map(|fault| fault.refused().to_string()).collect();
        assert_eq!(
            found,
            [
                "#/tags: \"pest\" matches no tag of the document; there are: pets, users, write",
                "#/paths: \"PATCH\" matches no method of the document; there are: POST, DELETE, GET",
            ]
        );
    }

    proptest! {
        #[test]
        fn a_text_matches_itself_and_what_surrounds_it(before in "[a-c]{0,5}", text in "[a-c/]{0,5}", after in "[a-c]{0,5}") {
            prop_assert!(Pattern::new(&text).matches(&text));
            let whole = format!("{before}{text}{after}");
            let pattern = format!("*{text}*");
            prop_assert!(Pattern::new(&pattern).matches(&whole));
        }
    }
}
