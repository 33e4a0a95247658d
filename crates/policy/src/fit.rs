//! Whether policies fit the tools that there are now: what only live servers know.
//!
//! In: the tools and prompts that toolsets have, with the input schemas of the tools. Out: doubts: a policy about a tool
//! that nobody has, or that reads an argument which the tool does not have, or has with another type. Nothing depends on
//! it: a policy that does not fit is decided as any other, and an argument that is not of its declared type cannot be
//! evaluated, so that forbids deny. It is told where it is sure; a schema that leaves it open (`$ref`, `allOf`, no types)
//! raises no doubt.
//! Spec: JSON Schema 2020-12, §9.3, §10.3.2 and §6.1.1 of its validation.

use std::collections::BTreeSet;
use std::fmt;

use serde_json::{Map, Value};

use crate::action::Action;
use crate::arguments::Reads;
use crate::document::{ArgumentType, PolicyRef};
use crate::policies::Policies;
use crate::resource::{Kind, Object, Resource};
use crate::rule::{Rule, What};

/// The most names of arguments that a doubt lists.
const NAMES_SHOWN_MAX: usize = 10;

/// Something that a toolset has.
#[derive(Clone, Debug)]
pub struct Offered<'a> {
    /// What it is.
    pub resource: Resource<'a>,
    /// The input schema of a tool, as JSON text; without one nothing is known of its arguments.
    pub schema: Option<&'a str>,
    /// Arguments that the toolset fixes: calls have them, and the schema does not show them.
    pub fixed: BTreeSet<&'a str>,
}

/// A policy that does not fit what there is.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Doubt {
    /// The policy.
    pub policy: PolicyRef,
    /// What it is about, as policies write it.
    pub about: String,
    /// What does not fit.
    pub what: Misfit,
}

/// What does not fit.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Misfit {
    /// No toolset has it.
    Nowhere,
    /// It has no such argument: a comparison with it never holds.
    NoArgument {
        /// The argument.
        name: String,
        /// Those that it has.
        has: Vec<String>,
    },
    /// The argument has another type: calls that have it are denied where the policy reads it.
    OtherType {
        /// The argument.
        name: String,
        /// As the document declares it.
        declared: ArgumentType,
        /// As the schema has it.
        has: Vec<String>,
    },
}

/// What a schema says of an argument.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Said {
    /// It fits, or nothing sure is said.
    Fits,
    Absent(Vec<String>),
    Other(Vec<String>),
}

// === impl Policies ===

impl Policies {
    /// Holds the policies against everything that toolsets have.
    #[must_use]
    pub fn doubts(&self, offered: &[Offered<'_>]) -> Vec<Doubt> {
        let schemas: Vec<Option<Value>> =
            offered.iter().map(|one| one.schema.and_then(|text| serde_json::from_str(text).ok())).collect();
        let mut doubts = BTreeSet::new();
        for rule in self.rules() {
            let about: Vec<usize> = (0..offered.len()).filter(|at| is_about(rule, &offered[*at].resource)).collect();
            if let Some((kind, id)) = exact(rule)
                && about.is_empty()
            {
                let about = format!("{}::{id:?}", kind.as_str());
                doubts.insert(Doubt { policy: rule.name.clone(), about, what: Misfit::Nowhere });
            }
            let Some(reading) = rule.reading.as_ref().filter(|_| rule.actions.contains(&Action::Call)) else {
                continue;
            };
            for (name, declared) in reading.declared.types() {
                if matches!(&reading.reads, Reads::Names(names) if !names.contains(name)) {
                    continue;
                }
                let tools = about.iter().map(|at| (&offered[*at], schemas[*at].as_ref()));
                doubts.extend(of_argument(rule, (name, declared), tools.collect()));
            }
        }
        doubts.into_iter().collect()
    }
}

/// The doubts about one argument that a policy reads, over the tools that it is about.
fn of_argument(
    rule: &Rule,
    (name, declared): (&str, ArgumentType),
    tools: Vec<(&Offered<'_>, Option<&Value>)>,
) -> Vec<Doubt> {
    let said: Vec<(&Offered<'_>, Said)> = tools
        .into_iter()
        .filter(|(one, _)| one.resource.kind() == Kind::Tool)
        .map(|(one, schema)| {
            (one, if one.fixed.contains(name) { Said::Fits } else { of_schema(schema, name, declared) })
        })
        .collect();
    // A policy about many tools reads what some of them have.
    let is_nowhere = exact(rule).is_some() || said.iter().all(|(_, said)| matches!(said, Said::Absent(_)));
    let doubt = |(one, said): (&Offered<'_>, Said)| {
        let name = name.to_owned();
        let what = match said {
            Said::Other(has) => Misfit::OtherType { name, declared, has },
            Said::Absent(has) if is_nowhere => Misfit::NoArgument { name, has },
            Said::Absent(_) | Said::Fits => return None,
        };
        let about = format!("Tool::{:?}", one.resource.id());
        Some(Doubt { policy: rule.name.clone(), about, what })
    };
    said.into_iter().filter_map(doubt).collect()
}

/// Whether a policy may be asked about a tool or a prompt, whoever asks.
fn is_about(rule: &Rule, resource: &Resource<'_>) -> bool {
    rule.tenant.meets(resource.tenant)
        && rule.actions.iter().any(|action| action.applies_to().contains(&resource.kind()))
        && rule.what.matches(&Object { resource: *resource, id: resource.id(), templates: Vec::new() })
}

/// The one tool or prompt that a policy is about; resources may be there without being listed.
fn exact(rule: &Rule) -> Option<(Kind, &str)> {
    match &rule.what {
        What::Equal(kind @ (Kind::Tool | Kind::Prompt), id) | What::In(kind @ (Kind::Tool | Kind::Prompt), id, _) => {
            Some((*kind, id))
        }
        What::Anything | What::Is(_) | What::Equal(..) | What::In(..) => None,
    }
}

fn of_schema(schema: Option<&Value>, name: &str, declared: ArgumentType) -> Said {
    let Some(schema) = schema.and_then(Value::as_object) else { return Said::Fits };
    let empty = Map::new();
    let properties = match schema.get("properties") {
        Some(Value::Object(properties)) => properties,
        Some(_) => return Said::Fits,
        None => &empty,
    };
    match properties.get(name) {
        Some(property) => of_property(property, declared),
        None if is_open(schema) => Said::Fits,
        None => {
            let names: BTreeSet<&String> = properties.keys().collect();
            Said::Absent(names.into_iter().take(NAMES_SHOWN_MAX).cloned().collect())
        }
    }
}

/// Whether arguments may be described elsewhere, or need no description.
fn is_open(schema: &Map<String, Value>) -> bool {
    const ELSEWHERE: &[&str] =
        &["$ref", "$dynamicRef", "allOf", "anyOf", "oneOf", "if", "dependentSchemas", "patternProperties"];
    let extra = schema.get("additionalProperties");
    ELSEWHERE.iter().any(|key| schema.contains_key(*key)) || extra.is_some_and(|extra| *extra != Value::Bool(false))
}

fn of_property(property: &Value, declared: ArgumentType) -> Said {
    let Some(allowed) = types(property) else { return Said::Fits };
    let fits: &[&str] = match declared {
        ArgumentType::String => &["string"],
        ArgumentType::Integer | ArgumentType::Number => &["integer", "number"],
        ArgumentType::Boolean => &["boolean"],
        ArgumentType::Strings => &["array"],
    };
    if !allowed.iter().any(|of| fits.contains(of)) {
        return Said::Other(allowed.into_iter().map(str::to_owned).collect());
    }
    let elements = property.get("items").filter(|_| declared == ArgumentType::Strings).and_then(types);
    match elements {
        Some(elements) if !elements.contains(&"string") => {
            Said::Other(elements.into_iter().map(|of| format!("array of {of}")).collect())
        }
        Some(_) | None => Said::Fits,
    }
}

/// The types that a schema allows by its own word; none where it says nothing of them.
fn types(schema: &Value) -> Option<Vec<&str>> {
    match schema.get("type")? {
        Value::String(one) => Some(vec![one]),
        Value::Array(several) => several.iter().map(Value::as_str).collect(),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::Object(_) => None,
    }
}

// === impl Doubt ===

impl fmt::Display for Doubt {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}: {}", self.policy, self.about, self.what)
    }
}

impl fmt::Display for Misfit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Nowhere => f.write_str("no toolset has it"),
            Self::NoArgument { name, has } if has.is_empty() => write!(f, "has no argument {name:?}, and no other"),
            Self::NoArgument { name, has } => write!(f, "has no argument {name:?}; it has {}", has.join(", ")),
            Self::OtherType { name, declared, has } => write!(
                f,
                "its argument {name:?} is {} and not {}: calls that have it are denied",
                has.join(" or "),
                declared.as_str()
            ),
        }
    }
}
