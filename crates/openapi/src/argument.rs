//! The arguments of a tool: what they are called, what they take, and where each goes.
//!
//! Parameters and the properties of the body share one object. A name that stands in one place only is the argument's
//! name as it is; a name that stands in several is, in each of them, prefixed with its place (`path_id`, `body_id`).
//! What is no character of an argument name becomes `_`, since model APIs refuse other names; a name that is still
//! taken gets a number.
//!
//! At a call the raw arguments are cut into raw values here, and checked: unknown and missing ones, kinds, choices.

use std::collections::{HashMap, HashSet};

use quorate_jsonrpc::members;
use serde_json::{Map, Value, json};

use crate::body::{Body, BodyField, Content, Form, Way};
use crate::document::Document;
use crate::kind::{self, Kind, Kinds};
use crate::name;
use crate::node::Node;
use crate::parameter::{self, Location, Parameter, Wire};
use crate::problem::{Fault, Reason};
use crate::refusal::{ArgumentProblem, Problems, Refusal, shown};
use crate::schema::{self, Direction};
use crate::text::clean;

/// What a parameter without a schema takes.
static ANYTHING: Value = Value::Bool(true);
/// The most bytes of an example that is shown.
const EXAMPLE_BYTES_MAX: usize = 200;
/// How long descriptions may be when the input is too large with whole ones.
const SHORT_NOTE_CHARS: usize = 80;
/// The characters of a number at the end of a name, with the separator before it: fields have up to four digits.
const NUMBER_CHARS: usize = 5;
/// What is said of a file.
const FILE_NOTE: &str = "The file's content in base64, or a data: URI such as data:image/png;name=a.png;base64,…";

/// One argument.
#[derive(Clone, Debug)]
pub(crate) struct Argument {
    pub(crate) name: Box<str>,
    pub(crate) required: bool,
    /// Whether it is required as soon as another argument of the body is given.
    pub(crate) required_in_body: bool,
    pub(crate) kinds: Kinds,
    /// The texts that are allowed, when only some are.
    choices: Option<Box<[Box<str>]>>,
    pub(crate) target: Target,
}

/// Where an argument goes.
#[derive(Clone, Debug)]
pub(crate) enum Target {
    Parameter(Location, Wire),
    /// A property of the body.
    Field(Way),
    /// The whole body.
    Body,
}

/// The arguments of a tool and the schema that describes them.
#[derive(Clone, Debug)]
pub(crate) struct Arguments {
    pub(crate) list: Vec<Argument>,
    /// The tool's `inputSchema`.
    pub(crate) schema: Value,
    pub(crate) notes: Vec<Fault>,
}

/// An argument before it has a name and a schema.
struct Draft<'d> {
    wanted: &'d str,
    place: &'static str,
    required: bool,
    required_in_body: bool,
    schema: Option<Node<'d>>,
    /// Where description, example and deprecation stand, when beside the schema.
    about: Option<Node<'d>>,
    target: Target,
    /// How the value is written in JSON, when not as its schema says.
    written: Written,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Written {
    AsIs,
    Text,
    Base64,
    /// A list of texts in base64.
    ListOfBase64,
}

/// Makes the arguments of an operation.
///
/// # Errors
/// A fault when a schema cannot be translated, or all of it is too large.
pub(crate) fn of<'d>(
    document: &'d Document,
    parameters: Vec<Parameter<'d>>,
    body: Option<&Body<'d>>,
) -> Result<Arguments, Fault> {
    let mut drafts: Vec<Draft<'d>> = parameters.into_iter().map(of_parameter).collect();
    if let Some(body) = body {
        drafts.extend(of_body(document, body)?);
    }
    let names = names(&drafts);
    let anything = Node::root(&ANYTHING);
    let nodes: Vec<Node<'_>> =
        drafts.iter().map(|draft| draft.schema.clone().unwrap_or_else(|| anything.clone())).collect();
    let translated = schema::translate(document, Direction::Input, &nodes, document.limits.input_bytes_max)?;
    let definitions = translated.definitions;
    let mut list = Vec::with_capacity(drafts.len());
    let mut properties = Map::new();
    let mut kinds_of = kind::Reader::new(&definitions);
    for ((draft, name), part) in drafts.into_iter().zip(names).zip(translated.parts) {
        let part = described(document, &draft, part);
        let kinds = match draft.written {
            Written::AsIs => kinds_of.read(&part),
            Written::Text | Written::Base64 | Written::ListOfBase64 => kinds_of.read(&json!({"type": part["type"]})),
        };
        let choices = choices(&part);
        list.push(Argument {
            name: Box::from(name.as_str()),
            required: draft.required,
            required_in_body: draft.required_in_body,
            kinds,
            choices,
            target: draft.target,
        });
        properties.insert(name, part);
    }
    let schema = assemble(document, &list, properties, definitions)?;
    Ok(Arguments { list, schema, notes: translated.notes })
}

fn of_parameter(parameter: Parameter<'_>) -> Draft<'_> {
    let name = parameter.node.value.get("name").and_then(Value::as_str).unwrap_or_default();
    Draft {
        wanted: name,
        place: parameter.location.as_str(),
        required: parameter.required,
        required_in_body: false,
        schema: parameter.schema,
        about: Some(parameter.node),
        target: Target::Parameter(parameter.location, parameter.wire),
        written: Written::AsIs,
    }
}

fn of_body<'d>(document: &'d Document, body: &Body<'d>) -> Result<Vec<Draft<'d>>, Fault> {
    match &body.content {
        Content::Fields(fields) => fields.iter().map(|one| of_field(document, body.required, one)).collect(),
        Content::Whole(schema) => {
            let written = match body.form {
                Form::Json => Written::AsIs,
                // Members become the fields.
                Form::UrlEncoded | Form::Multipart => {
                    let object = schema.as_ref().map_or(Ok(false), |schema| schema::is_object(document, schema))?;
                    if !object {
                        let what =
                            format!("a body of {} that is no object", String::from_utf8_lossy(body.media.as_bytes()));
                        return Err(body.node.fault(Reason::Unsupported { what, hint: "" }));
                    }
                    Written::AsIs
                }
                Form::Text => Written::Text,
                Form::Binary => Written::Base64,
            };
            Ok(vec![Draft {
                wanted: "body",
                place: "body",
                required: body.required,
                required_in_body: false,
                schema: schema.clone(),
                about: Some(body.node.clone()),
                target: Target::Body,
                written,
            }])
        }
    }
}

fn of_field<'d>(document: &'d Document, in_required: bool, one: &BodyField<'d>) -> Result<Draft<'d>, Fault> {
    let written = match &one.way {
        Way::Part(part) if part.file && schema::is_list(document, &one.field.node)? => Written::ListOfBase64,
        Way::Part(part) if part.file => Written::Base64,
        Way::Part(_) | Way::Pair(_) | Way::Member(_) => Written::AsIs,
    };
    Ok(Draft {
        wanted: one.field.name,
        place: "body",
        required: in_required && one.field.required,
        required_in_body: one.field.required,
        schema: Some(one.field.node.clone()),
        about: None,
        target: Target::Field(one.way.clone()),
        written,
    })
}

/// Names the drafts.
fn names(drafts: &[Draft<'_>]) -> Vec<String> {
    let bare = |draft: &Draft<'_>| Some(name::sanitised(draft.wanted)).filter(|name| !name.is_empty());
    let bare: Vec<String> = drafts.iter().map(|draft| bare(draft).unwrap_or_else(|| draft.place.to_owned())).collect();
    let mut uses: HashMap<&str, usize> = HashMap::new();
    for name in &bare {
        *uses.entry(name).or_default() += 1;
    }
    let mut names = Vec::with_capacity(drafts.len());
    let mut taken: HashSet<String> = HashSet::with_capacity(drafts.len());
    // The last number that each beginning got: all before it are taken.
    let mut counts: HashMap<String, usize> = HashMap::new();
    for (draft, bare) in drafts.iter().zip(&bare) {
        let shared = uses.get(bare.as_str()).is_some_and(|count| *count > 1);
        let base = if shared { name::sanitised(&format!("{}_{bare}", draft.place)) } else { bare.clone() };
        let is_free = |name: &str, taken: &HashSet<String>| {
            !taken.contains(name) && (name == bare.as_str() || !uses.contains_key(name))
        };
        let mut name = base.clone();
        let beginning = &base[..base.len().min(name::NAME_CHARS_MAX - NUMBER_CHARS)];
        while !is_free(&name, &taken) {
            let count = counts.entry(beginning.to_owned()).or_insert(1);
            *count += 1;
            name = format!("{beginning}_{count}");
        }
        taken.insert(name.clone());
        names.push(name);
    }
    names
}

/// Adds to an argument's schema what stands beside it, and how its value is written.
fn described(document: &Document, draft: &Draft<'_>, part: Value) -> Value {
    let mut part = match (part, draft.written) {
        (Value::Object(part), Written::AsIs) => part,
        (part, Written::Base64) => files(&part, false),
        (part, Written::ListOfBase64) => files(&part, true),
        (part, _) => {
            let mut text = Map::from_iter([("type".to_owned(), json!("string"))]);
            text.extend(part.get("description").map(|note| ("description".to_owned(), note.clone())));
            text
        }
    };
    let Some(about) = &draft.about else { return Value::Object(part) };
    let note = about.value.get("description").and_then(Value::as_str);
    let note = note.map(|note| clean(note, document.limits.note_chars_max)).filter(|note| !note.is_empty());
    part.extend(note.map(|note| ("description".to_owned(), Value::String(note))));
    if about.value.get("deprecated").and_then(Value::as_bool) == Some(true) {
        part.insert("deprecated".to_owned(), Value::Bool(true));
    }
    let example = parameter::example(document, about).filter(|one| one.to_string().len() <= EXAMPLE_BYTES_MAX);
    if let (Some(example), false) = (example, part.contains_key("examples")) {
        part.insert("examples".to_owned(), json!([example]));
    }
    Value::Object(part)
}

/// The schema of a file, or of a list of files.
fn files(part: &Value, list: bool) -> Map<String, Value> {
    let note = part["description"].as_str().map_or_else(|| FILE_NOTE.to_owned(), |note| format!("{note}\n{FILE_NOTE}"));
    let file = json!({"type": "string", "contentEncoding": "base64"});
    let mut schema = Map::new();
    if list {
        schema.insert("type".to_owned(), json!("array"));
        schema.insert("items".to_owned(), file);
    } else if let Value::Object(file) = file {
        schema = file;
    }
    schema.insert("description".to_owned(), Value::String(note));
    schema
}

fn choices(part: &Value) -> Option<Box<[Box<str>]>> {
    let listed = part["enum"].as_array()?;
    listed.iter().filter(|one| !one.is_null()).map(|one| one.as_str().map(Box::from)).collect()
}

fn assemble(
    document: &Document,
    list: &[Argument],
    mut properties: Map<String, Value>,
    definitions: Map<String, Value>,
) -> Result<Value, Fault> {
    let max = document.limits.input_bytes_max;
    let written = |properties: &Map<String, Value>| {
        let mut schema = json!({"type": "object", "properties": properties});
        let required: Vec<&str> = list.iter().filter(|one| one.required).map(|one| &*one.name).collect();
        if !required.is_empty() {
            schema["required"] = json!(required);
        }
        schema["additionalProperties"] = Value::Bool(false);
        if !definitions.is_empty() {
            schema["$defs"] = Value::Object(definitions.clone());
        }
        schema
    };
    let schema = written(&properties);
    if schema.to_string().len() <= max {
        return Ok(schema);
    }
    for property in properties.values_mut() {
        if let Some(Value::String(note)) = property.get_mut("description") {
            *note = clean(note, SHORT_NOTE_CHARS);
        }
    }
    let schema = written(&properties);
    let found = schema.to_string().len();
    if found <= max {
        return Ok(schema);
    }
    let pointer = "#/paths".to_owned();
    let reason = Reason::TooMuch { what: "the input schema", found: format!("{found} bytes"), max: max.to_string() };
    Err(Fault { pointer, reason })
}

// === impl Arguments ===

/// Cuts the raw arguments of a call into raw values, one place for each argument, and checks them.
///
/// # Errors
/// A [`Refusal`] with everything that is wrong.
pub(crate) fn cut<'a>(list: &[Argument], arguments: &'a str) -> Result<Vec<Option<&'a str>>, Refusal> {
    let mut values: Vec<Option<&'a str>> = vec![None; list.len()];
    let mut problems = Problems::default();
    members(arguments, 0, |name, span| match list.iter().position(|one| &*one.name == name) {
        Some(index) => values[index] = Some(span.of(arguments)),
        None => problems.add(|| {
            let allowed = list.iter().map(|one| one.name.to_string()).collect();
            ArgumentProblem::Unknown { name: shown(name), allowed }
        }),
    })
    .map_err(|error| ArgumentProblem::Malformed { message: error.to_string() })?;
    for (argument, value) in list.iter().zip(&mut values) {
        if let Some(problem) = argument.check(value) {
            problems.add(|| problem);
        }
    }
    let body = |one: &Argument| matches!(one.target, Target::Field(_));
    if list.iter().zip(&values).any(|(one, value)| body(one) && value.is_some()) {
        let missing =
            list.iter().zip(&values).filter(|(one, value)| one.required_in_body && !one.required && value.is_none());
        missing.for_each(|(one, _)| problems.add(|| one.missing()));
    }
    problems.refuse().map(|()| values)
}

// === impl Argument ===

impl Argument {
    /// Checks a value; a null that stands for nothing becomes nothing.
    fn check(&self, value: &mut Option<&str>) -> Option<ArgumentProblem> {
        let Some(raw) = *value else { return self.required.then(|| self.missing()) };
        let kind = Kind::of_raw(raw);
        if kind == Kind::Null && !self.kinds.contains(Kind::Null) && !self.required {
            // Models often say so when they mean to leave an argument out.
            *value = None;
            return None;
        }
        if !self.kinds.contains(kind) {
            let found = format!("{} {}", kind.as_str(), shown(raw));
            let found = if kind == Kind::Null { kind.as_str().to_owned() } else { found };
            return Some(ArgumentProblem::WrongType {
                name: self.name.to_string(),
                expected: self.kinds.to_string(),
                found,
            });
        }
        let choices = self.choices.as_ref().filter(|_| kind == Kind::String)?;
        let text = quorate_jsonrpc::text(raw).unwrap_or_default();
        (!choices.iter().any(|choice| **choice == *text)).then(|| ArgumentProblem::NotAChoice {
            name: self.name.to_string(),
            value: shown(raw),
            allowed: choices.iter().map(ToString::to_string).collect(),
        })
    }

    fn missing(&self) -> ArgumentProblem {
        ArgumentProblem::Missing { name: self.name.to_string(), expected: self.kinds.to_string() }
    }
}
