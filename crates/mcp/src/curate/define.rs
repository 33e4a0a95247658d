//! Changes a definition as the rules of its toolset say.
//!
//! In: a listed item's raw JSON and its [`Treatment`]. Out: edits of it, and the [`Terms`] of its
//! calls. Key order, unknown members and number text stay. A definition that cannot be changed as
//! a rule says is not exposed: what was to be hidden must not show. An argument counts as the
//! definition's where it is a property of its own (or, of a prompt, a listed argument): what a
//! schema takes from `$ref` or `allOf` is not changed, and withheld from calls all the same.

use quorate_jsonrpc::{
    MembersError, Span, Splice, cut_elements, cut_members, elements, keyed_members, pick_exact, quote, text,
};

use super::edit;
use super::rule::ArgumentChange;
use super::terms::{Terms, Withheld};
use super::treatment::{Treated, Treatment};
use crate::message::ListKind;
use crate::param::ParamRules;

/// The `_meta` key of tags that a toolset adds.
pub const META_TAGS: &str = "quorate/tags";

/// A definition cannot be changed as the rules say.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Unusable {
    /// A member that is changed stands there twice, or is of the wrong type.
    #[error("its definition cannot be changed as the toolset says")]
    Definition,
    /// An argument is hidden that every call must have.
    #[error("the toolset hides an argument that it requires: fix it instead")]
    RequiredHidden,
}

/// What became of a definition.
#[derive(Debug, Default)]
pub(crate) struct Defined {
    /// What holds for calls.
    pub(crate) terms: Terms,
    /// Which of the treatment's arguments the definition has.
    pub(crate) declared: Vec<bool>,
}

/// Adds the changes of a definition to `splice`.
///
/// # Errors
/// [`Unusable`]; the edits made so far are of no use then.
pub(crate) fn define(
    splice: &mut Splice<'_>,
    raw: &str,
    kind: ListKind,
    treatment: &Treatment<'_>,
) -> Result<Defined, Unusable> {
    let whole = Span::new(0, raw.len());
    let keys = ["title", "description", "annotations", "_meta", "inputSchema", "arguments"];
    let [title, description, annotations, meta, schema, arguments] = pick(raw, whole, keys)?;
    if let Some(text) = treatment.title {
        edit::set(splice, raw, whole, "title", title, &quote(text));
    }
    if let Some(text) = treatment.description {
        edit::set(splice, raw, whole, "description", description, &quote(text));
    }
    annotate(splice, raw, annotations, treatment)?;
    if !treatment.tags.is_empty() {
        let tags = treatment.tags.iter().map(|tag| quote(tag)).collect::<Vec<_>>().join(",");
        nest(splice, raw, ("_meta", meta), &[(META_TAGS, format!("[{tags}]"))])?;
    }

    let mut terms = treatment.terms();
    let mut changing =
        Arguments { raw, treated: &treatment.arguments, declared: vec![false; treatment.arguments.len()] };
    match (kind, schema, something(raw, arguments)) {
        (ListKind::Tools, Some(schema), _) => changing.of_tool(splice, schema)?,
        (ListKind::Prompts, _, Some(arguments)) => changing.of_prompt(splice, arguments)?,
        (ListKind::Tools | ListKind::Prompts | ListKind::Resources | ListKind::ResourceTemplates, _, _) => {}
    }
    terms.withheld = changing.withheld();
    if let (ListKind::Tools, Some(schema), false) = (kind, schema, terms.withheld.is_empty()) {
        withhold_headers(&mut terms, schema.of(raw));
    }
    Ok(Defined { terms, declared: changing.declared })
}

/// Sets members of `annotations`, and the title that older clients read there.
fn annotate(
    splice: &mut Splice<'_>,
    raw: &str,
    annotations: Option<Span>,
    treatment: &Treatment<'_>,
) -> Result<(), Unusable> {
    let mut members: Vec<(&str, String)> =
        treatment.annotations.iter().map(|(key, value)| (*key, (*value).to_owned())).collect();
    if let (Some(title), Some(annotations)) = (treatment.title, something(raw, annotations))
        && let [Some(_)] = pick(raw, annotations, ["title"])?
    {
        members.push(("title", quote(title)));
    }
    if members.is_empty() {
        return Ok(());
    }
    nest(splice, raw, ("annotations", annotations), &members)
}

/// Sets members of an object that is a member itself; it is made where it is missing or null.
fn nest(
    splice: &mut Splice<'_>,
    raw: &str,
    (key, present): (&str, Option<Span>),
    members: &[(&str, String)],
) -> Result<(), Unusable> {
    let Some(object) = something(raw, present) else {
        let members: Vec<String> = members.iter().map(|(key, value)| format!("{}:{value}", quote(key))).collect();
        let object = format!("{{{}}}", members.join(","));
        edit::set(splice, raw, Span::new(0, raw.len()), key, present, &object);
        return Ok(());
    };
    let mut added = Vec::new();
    for (key, value) in members {
        match pick(raw, object, [key])? {
            [Some(span)] => drop(splice.replace(span, value.as_bytes().to_vec())),
            [None] => added.push(format!("{}:{value}", quote(key))),
        }
    }
    edit::prepend(splice, raw, object, &added);
    Ok(())
}

/// Keeps the headers of withheld arguments between us and the server (2026-07-28,
/// `x-mcp-header`). A schema whose annotations are invalid has none.
fn withhold_headers(terms: &mut Terms, schema: &str) {
    let Ok(rules) = ParamRules::of(schema) else { return };
    if rules.is_empty() {
        return;
    }
    let withheld = |name: &str| terms.withheld.iter().any(|one| &*one.name == name);
    terms.headers_withheld = rules.of_arguments(withheld).cloned().collect();
    let fixed = terms.withheld.iter().filter_map(|one| Some(format!("{}:{}", quote(&one.name), one.value.as_ref()?)));
    let fixed = format!("{{{}}}", fixed.collect::<Vec<_>>().join(","));
    terms.headers_fixed = rules.headers(Some(&fixed));
}

/// The change of one definition's arguments.
struct Arguments<'a> {
    raw: &'a str,
    treated: &'a [Treated<'a>],
    /// Which of them the definition has.
    declared: Vec<bool>,
}

// === impl Arguments ===

impl<'a> Arguments<'a> {
    fn of_tool(&mut self, splice: &mut Splice<'_>, schema: Span) -> Result<(), Unusable> {
        let [properties, required] = pick(self.raw, schema, ["properties", "required"])?;
        if let Some(properties) = something(self.raw, properties) {
            let mut members = Vec::new();
            keyed_members(properties.of(self.raw), properties.start, |name, _, value| {
                members.push((self.find(name), value));
            })
            .map_err(|_| Unusable::Definition)?;
            for (change, value) in members {
                self.describe(splice, change, value)?;
            }
            let withheld = self.treated.iter().filter(|treated| withholds(Some(treated.change)));
            let withheld: Vec<&str> = withheld.map(|treated| treated.name).collect();
            let cuts = cut_members(properties.of(self.raw), properties.start, &withheld);
            self.cut(splice, cuts)?;
        }
        something(self.raw, required).map_or(Ok(()), |required| self.unrequire(splice, required))
    }

    /// Takes withheld arguments off the list of required ones.
    fn unrequire(&self, splice: &mut Splice<'_>, required: Span) -> Result<(), Unusable> {
        let mut is_hidden = false;
        let cuts = cut_elements(required.of(self.raw), required.start, |span| {
            let change = text(span.of(self.raw)).and_then(|name| self.change(&name)).map(|(_, change)| change);
            is_hidden |= matches!(change, Some(ArgumentChange::Hide));
            withholds(change)
        });
        if is_hidden {
            return Err(Unusable::RequiredHidden);
        }
        self.cut(splice, cuts)
    }

    fn of_prompt(&mut self, splice: &mut Splice<'_>, arguments: Span) -> Result<(), Unusable> {
        let mut spans = Vec::new();
        elements(arguments.of(self.raw), arguments.start, |span| spans.push(span)).map_err(|_| Unusable::Definition)?;
        let mut going = Vec::with_capacity(spans.len());
        for span in spans {
            let [name, required] = pick(self.raw, span, ["name", "required"])?;
            let change = name.and_then(|name| text(name.of(self.raw))).and_then(|name| self.find(&name));
            let is_required = required.is_some_and(|required| required.of(self.raw) == "true");
            if is_required && matches!(change, Some(ArgumentChange::Hide)) {
                return Err(Unusable::RequiredHidden);
            }
            self.describe(splice, change, span)?;
            if withholds(change) {
                going.push(span);
            }
        }
        let cuts = cut_elements(arguments.of(self.raw), arguments.start, |span| going.contains(&span));
        self.cut(splice, cuts)
    }

    fn cut(&self, splice: &mut Splice<'_>, cuts: Result<Vec<Span>, MembersError>) -> Result<(), Unusable> {
        for cut in cuts.map_err(|_| Unusable::Definition)? {
            splice.remove(cut);
        }
        Ok(())
    }

    /// Describes the argument whose schema, or entry, is at `value`, where that is its change.
    fn describe(&self, splice: &mut Splice<'_>, change: Option<&ArgumentChange>, value: Span) -> Result<(), Unusable> {
        let Some(ArgumentChange::Describe(text)) = change else { return Ok(()) };
        if value.of(self.raw) == "true" {
            // The schema that allows everything.
            splice.replace(value, format!("{{\"description\":{}}}", quote(text)).into_bytes());
            return Ok(());
        }
        let [present] = pick(self.raw, value, ["description"])?;
        edit::set(splice, self.raw, value, "description", present, &quote(text));
        Ok(())
    }

    /// Finds the change of an argument, which the definition thereby has.
    fn find(&mut self, name: &str) -> Option<&'a ArgumentChange> {
        let (index, change) = self.change(name)?;
        self.declared[index] = true;
        Some(change)
    }

    fn change(&self, name: &str) -> Option<(usize, &'a ArgumentChange)> {
        let index = self.treated.iter().position(|treated| treated.name == name)?;
        Some((index, self.treated[index].change))
    }

    fn withheld(&self) -> Vec<Withheld> {
        let changes = self.treated.iter().zip(&self.declared);
        let withheld = changes.filter_map(|(treated, declared)| {
            let value = match treated.change {
                ArgumentChange::Hide => None,
                ArgumentChange::Fix(value) => declared.then(|| value.as_str().into()),
                ArgumentChange::Describe(_) => return None,
            };
            Some(Withheld { name: treated.name.into(), value })
        });
        withheld.collect()
    }
}

/// The value of a member, where it is not null: many servers write what they do not have as that.
fn something(raw: &str, member: Option<Span>) -> Option<Span> {
    member.filter(|span| span.of(raw) != "null")
}

fn withholds(change: Option<&ArgumentChange>) -> bool {
    matches!(change, Some(ArgumentChange::Hide | ArgumentChange::Fix(_)))
}

fn pick<const N: usize>(raw: &str, object: Span, keys: [&str; N]) -> Result<[Option<Span>; N], Unusable> {
    pick_exact(object.of(raw), object.start, keys).map_err(|_| Unusable::Definition)
}

#[cfg(test)]
mod tests;
