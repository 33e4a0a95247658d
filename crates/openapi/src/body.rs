//! The request body of an operation: which of its media types is used, and how arguments become it.
//!
//! An object that is described by its properties alone becomes one argument per property; anything else is one
//! argument called `body`. JSON is preferred, then forms, then text and bytes.

use std::collections::HashMap;

use http::HeaderValue;
use serde_json::Value;

use crate::document::Document;
use crate::node::Node;
use crate::operation::Operation;
use crate::parameter::{Json, Location, Wire, is_json};
use crate::problem::{Fault, Reason, shown};
use crate::schema::{self, Field};

/// How a body is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Form {
    /// JSON, spliced from the raw arguments.
    Json,
    /// `application/x-www-form-urlencoded`.
    UrlEncoded,
    /// `multipart/form-data`.
    Multipart,
    /// Text as it is.
    Text,
    /// Bytes, given in base64.
    Binary,
}

/// How one field of a form is written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Way {
    /// A member of the JSON object.
    Member(Box<str>),
    /// Pairs of a URL-encoded form.
    Pair(Wire),
    /// A part of a multipart form, or one for each item of a list.
    Part(Part),
}

/// A part of a multipart form.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Part {
    pub(crate) name: Box<str>,
    /// Whether the value is a file in base64.
    pub(crate) file: bool,
    /// The media type that the document asks for.
    pub(crate) media: Option<Box<str>>,
}

/// A field that becomes an argument of its own.
#[derive(Clone, Debug)]
pub(crate) struct BodyField<'d> {
    pub(crate) field: Field<'d>,
    pub(crate) way: Way,
}

/// What becomes arguments.
#[derive(Clone, Debug)]
pub(crate) enum Content<'d> {
    /// Each property.
    Fields(Vec<BodyField<'d>>),
    /// The whole body.
    Whole(Option<Node<'d>>),
}

/// How the members of a form are written when the form is one argument.
#[derive(Clone, Debug, Default)]
pub(crate) struct Ways {
    /// Those that the document describes.
    pub(crate) named: HashMap<Box<str>, Way>,
    /// Whether all others are files.
    pub(crate) files: bool,
}

/// The body of an operation.
#[derive(Clone, Debug)]
pub(crate) struct Body<'d> {
    pub(crate) form: Form,
    /// The media type, as the document writes it.
    pub(crate) media: HeaderValue,
    pub(crate) required: bool,
    pub(crate) content: Content<'d>,
    /// Empty unless it is a form that is one argument.
    pub(crate) ways: Ways,
    pub(crate) node: Node<'d>,
}

/// Finds the body of an operation, if it has one.
///
/// # Errors
/// A fault when the body cannot be understood.
pub(crate) fn of<'d>(document: &'d Document, operation: &Operation<'d>) -> Result<Option<Body<'d>>, Fault> {
    let Some(node) = operation.node.get("requestBody") else { return Ok(None) };
    let node = document.resolve(node)?;
    let required = node.flag_of("required")?.unwrap_or(false);
    let Some(content) = node.get("content") else {
        return Err(node.fault(Reason::Missing { what: "the key content".to_owned() }));
    };
    let mut media_types: Vec<(&str, Node<'d>)> = content.members()?.collect();
    // The sort is stable: among equals the document's order decides.
    media_types.sort_by_key(|(media, _)| preference(media));
    let Some((media, value)) = media_types.into_iter().next() else { return Ok(None) };
    let value = document.resolve(value)?;
    let schema = value.get("schema");
    let form = form_of(document, media, schema.as_ref())?;
    let media = match (form, media) {
        (Form::Json, media) if !is_json(media) => "application/json",
        (Form::Binary, media) if media.contains('*') => "application/octet-stream",
        (Form::Text, media) if media.contains('*') => "text/plain",
        (_, media) => media,
    };
    let media = HeaderValue::from_str(media).map_err(|_| {
        let message = "it is not a media type".to_owned();
        content.fault(Reason::Invalid { value: shown(media), message })
    })?;
    let content = content_of(document, form, &value, schema)?;
    let ways = match (&content, form) {
        (Content::Whole(Some(schema)), Form::UrlEncoded | Form::Multipart) => ways(document, form, &value, schema)?,
        _ => Ways::default(),
    };
    Ok(Some(Body { form, media, required, content, ways, node }))
}

/// What comes first is taken.
fn preference(media: &str) -> usize {
    let essence = essence(media);
    match essence.as_str() {
        "application/json" => 0,
        _ if is_json(media) => 1,
        "multipart/form-data" => 2,
        "application/x-www-form-urlencoded" => 3,
        "*/*" | "application/*" => 4,
        "text/plain" => 5,
        _ => 6,
    }
}

fn essence(media: &str) -> String {
    media.split(';').next().unwrap_or_default().trim().to_ascii_lowercase()
}

fn form_of(document: &Document, media: &str, schema: Option<&Node<'_>>) -> Result<Form, Fault> {
    let essence = essence(media);
    let binary = schema.map_or(Ok(false), |schema| schema::is_binary(document, schema))?;
    Ok(match essence.as_str() {
        "multipart/form-data" => Form::Multipart,
        "application/x-www-form-urlencoded" => Form::UrlEncoded,
        _ if is_json(media) => Form::Json,
        "*/*" | "application/*" if !binary => Form::Json,
        _ if binary => Form::Binary,
        _ if is_text(&essence) => Form::Text,
        _ => Form::Binary,
    })
}

/// Tells whether a media type, in lower case and without parameters, is text.
pub(crate) fn is_text(essence: &str) -> bool {
    let named = ["xml", "yaml", "x-yaml", "javascript", "ecmascript", "graphql", "sql", "toml", "x-ndjson", "jsonl"];
    let application = essence.strip_prefix("application/").is_some_and(|rest| named.contains(&rest));
    application || essence.starts_with("text/") || essence.ends_with("+xml") || essence.ends_with("+yaml")
}

fn content_of<'d>(
    document: &'d Document,
    form: Form,
    value: &Node<'d>,
    schema: Option<Node<'d>>,
) -> Result<Content<'d>, Fault> {
    let (Form::Json | Form::UrlEncoded | Form::Multipart, Some(schema)) = (form, &schema) else {
        return Ok(Content::Whole(schema));
    };
    let Some(fields) = schema::fields(document, schema)? else { return Ok(Content::Whole(Some(schema.clone()))) };
    let way = |field: Field<'d>| Ok(BodyField { way: way(document, form, value, &field)?, field });
    fields.into_iter().map(way).collect::<Result<_, _>>().map(Content::Fields)
}

/// Finds how the members of a form are written that is one argument.
fn ways(document: &Document, form: Form, value: &Node<'_>, schema: &Node<'_>) -> Result<Ways, Fault> {
    let described = schema::described(document, schema)?;
    let way = |field: &Field<'_>| Ok((Box::from(field.name), way(document, form, value, field)?));
    let named = described.fields.iter().map(way).collect::<Result<_, _>>()?;
    let files = described.others.map_or(Ok(false), |others| is_file(document, &others))?;
    Ok(Ways { named, files })
}

fn way(document: &Document, form: Form, value: &Node<'_>, field: &Field<'_>) -> Result<Way, Fault> {
    let encoding = value.get("encoding").and_then(|encodings| encodings.get(field.name));
    Ok(match form {
        Form::Json => Way::Member(Box::from(field.name)),
        Form::UrlEncoded => Way::Pair(pair(field.name, encoding.as_ref())?),
        Form::Multipart | Form::Text | Form::Binary => Way::Part(part(document, field, encoding.as_ref())?),
    })
}

fn pair(name: &str, encoding: Option<&Node<'_>>) -> Result<Wire, Fault> {
    let Some(encoding) = encoding else { return Ok(Wire::form(name)) };
    if ["style", "explode", "allowReserved"].iter().any(|key| encoding.get(key).is_some()) {
        return Wire::read(encoding, name, Location::Query);
    }
    let json = match encoding.text_of("contentType")? {
        Some(media) if is_json(media) => Json::Always,
        Some(_) => Json::Never,
        None => Json::Objects,
    };
    Ok(Wire { json, ..Wire::form(name) })
}

/// Tells whether a field is a file, or a list of files.
fn is_file(document: &Document, node: &Node<'_>) -> Result<bool, Fault> {
    let items = schema::target(document, node)?.get("items");
    Ok(schema::is_binary(document, node)?
        || items.as_ref().map_or(Ok(false), |items| schema::is_binary(document, items))?)
}

fn part(document: &Document, field: &Field<'_>, encoding: Option<&Node<'_>>) -> Result<Part, Fault> {
    let file = is_file(document, &field.node)?;
    let meant = schema::target(document, &field.node)?;
    let asked = encoding.map_or(Ok(None), |encoding| encoding.text_of("contentType"))?;
    // Several media types, or a range of them, leave the choice to the sender.
    let media = asked
        .filter(|media| !media.contains([',', '*']))
        .or_else(|| meant.value.get("contentMediaType").and_then(Value::as_str).filter(|_| file));
    let media = media.filter(|media| HeaderValue::from_str(media).is_ok()).map(Box::from);
    Ok(Part { name: Box::from(field.name), file, media })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::document::Format;
    use crate::limits::DEFAULTS;
    use crate::operation;

    fn read(content: &str) -> String {
        let text = format!(
            "openapi: 3.1.0\npaths: {{/a: {{post: {{requestBody: {{required: true, content: {content}}}}}}}}}\ncomponents: {{schemas: {{Pet: {{type: object, required: [id, name], properties: {{id: {{type: integer, readOnly: true}}, name: {{type: string}}}}}}}}}}"
        );
        let document = Document::read(&text, Format::Yaml, &DEFAULTS).expect("is read");
        let (operations, _) = operation::all(&document).expect("has paths");
        match of(&document, &operations[0]) {
            Err(fault) => fault.refused().to_string(),
            Ok(None) => "none".to_owned(),
            Ok(Some(body)) => {
                let fields = match &body.content {
                    Content::Whole(_) => "whole".to_owned(),
                    Content::Fields(fields) => {
                        let shown = |one: &BodyField<'_>| {
                            let required = if one.field.required { "!" } else { "" };
                            let way = match &one.way {
                                Way::Member(_) => String::new(),
                                Way::Pair(wire) => format!(
                                    ":{:?}{}",
                                    wire.style,
                                    if wire.json == Json::Objects { " or json" } else { "" }
                                ),
                                Way::Part(part) => {
                                    let file = if part.file { " file" } else { "" };
                                    format!(":{}{file}", part.media.as_deref().unwrap_or("-"))
                                }
                            };
                            format!("{}{required}{way}", one.field.name)
                        };
                        fields.iter().map(shown).collect::<Vec<_>>().join(" ")
                    }
                };
                format!("{:?} {} [{fields}]", body.form, body.media.to_str().expect("is text"))
            }
        }
    }

    #[test]
    fn the_most_useful_media_type_is_taken_and_objects_are_opened() {
        let pet = "{schema: {$ref: '#/components/schemas/Pet'}}";
        let cases = [
            (format!("{{text/plain: {{}}, application/json: {pet}}}"), "Json application/json [name!]"),
            (format!("{{application/xml: {pet}, application/vnd.a+json: {pet}}}"), "Json application/vnd.a+json [name!]"),
            (format!("{{'*/*': {pet}}}"), "Json application/json [name!]"),
            ("{application/json: {schema: {type: array}}}".to_owned(), "Json application/json [whole]"),
            ("{application/json: {}}".to_owned(), "Json application/json [whole]"),
            (
                "{application/json: {schema: {allOf: [{$ref: '#/components/schemas/Pet'}, {properties: {age: {}}, required: [age]}]}}}".to_owned(),
                "Json application/json [name! age!]",
            ),
            (
                "{application/json: {schema: {type: object, properties: {a: {}}, additionalProperties: {type: string}}}}".to_owned(),
                "Json application/json [whole]",
            ),
            ("{application/json: {schema: {oneOf: [{type: object}]}}}".to_owned(), "Json application/json [whole]"),
            ("{text/csv: {schema: {type: string}}}".to_owned(), "Text text/csv [whole]"),
            ("{image/png: {}}".to_owned(), "Binary image/png [whole]"),
            ("{application/xml: {schema: {type: object}}}".to_owned(), "Text application/xml [whole]"),
            ("{}".to_owned(), "none"),
        ];
        for (content, expected) in cases {
            assert_eq!(read(&content), expected, "{content}");
        }
    }

    #[test]
    fn fields_of_forms_know_their_way() {
        let form = "{application/x-www-form-urlencoded: {schema: {type: object, properties: {a: {type: string}, b: {type: object}, c: {type: object}, d: {type: array}}}, encoding: {c: {style: deepObject, explode: true}}}}";
        assert_eq!(
            read(form),
            "UrlEncoded application/x-www-form-urlencoded [a:Form or json b:Form or json c:DeepObject d:Form or json]"
        );
        let form = "{multipart/form-data: {schema: {type: object, required: [f], properties: {f: {type: string, format: binary}, g: {type: array, items: {type: string, contentMediaType: image/png}}, h: {type: string, contentMediaType: image/png, contentEncoding: base64}, i: {}}}, encoding: {f: {contentType: application/pdf}, i: {contentType: 'image/*'}}}}";
        assert_eq!(read(form), "Multipart multipart/form-data [f!:application/pdf file g:- file h:- i:-]");
    }

    #[test]
    fn a_body_without_content_is_a_fault() {
        let text = "openapi: 3.0.0\npaths: {/a: {post: {requestBody: {description: x}}}}";
        let document = Document::read(text, Format::Yaml, &DEFAULTS).expect("is read");
        let (operations, _) = operation::all(&document).expect("has paths");
        let fault = of(&document, &operations[0]).expect_err("has no content");
        assert_eq!(fault.refused().to_string(), "#/paths/~1a/post/requestBody: the key content is missing");
    }
}
