//! The parameters of an operation: where each goes, and in which style.
//!
//! Those of the path item hold for all its operations; an operation replaces one by giving the same name and place.
//! Headers that belong to HTTP itself or to security are passed over, as OpenAPI asks for some of them (3.1.1
//! "Parameter Object") and safety for the others.

use serde_json::Value;

use crate::document::Document;
use crate::node::Node;
use crate::operation::Operation;
use crate::problem::{Fault, Reason, shown};

/// The most parameters of one operation.
const PARAMETERS_MAX: usize = 200;

/// Headers that no argument sets: those that OpenAPI excludes, and those that frame, route or authenticate a request.
const HEADERS_NOT_SET: [&str; 16] = [
    "accept",
    "accept-encoding",
    "authorization",
    "connection",
    "content-length",
    "content-type",
    "cookie",
    "expect",
    "host",
    "keep-alive",
    "proxy-authorization",
    "te",
    "trailer",
    "transfer-encoding",
    "upgrade",
    "proxy-connection",
];

/// Where a parameter goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Location {
    Path,
    Query,
    Header,
    Cookie,
}

/// How a value that is not a scalar is written (OpenAPI 3.1.1 "Style Values").
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Style {
    Simple,
    Label,
    Matrix,
    Form,
    SpaceDelimited,
    PipeDelimited,
    DeepObject,
}

/// How a parameter or a field of a form is written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Wire {
    pub(crate) name: Box<str>,
    pub(crate) style: Style,
    pub(crate) explode: bool,
    /// Whether reserved characters stay as they are.
    pub(crate) reserved: bool,
    pub(crate) json: Json,
}

/// Which values are written as JSON text.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Json {
    /// None, since a style says how they are written.
    Never,
    /// Objects, since no style is asked for (OpenAPI 3.1.1 "Encoding Object").
    Objects,
    /// All, since a media type is asked for.
    Always,
}

/// One parameter.
#[derive(Clone, Debug)]
pub(crate) struct Parameter<'d> {
    pub(crate) location: Location,
    pub(crate) wire: Wire,
    pub(crate) required: bool,
    pub(crate) node: Node<'d>,
    pub(crate) schema: Option<Node<'d>>,
}

// === impl Location ===

impl Location {
    pub(crate) const fn as_str(self) -> &'static str {
        match self {
            Self::Path => "path",
            Self::Query => "query",
            Self::Header => "header",
            Self::Cookie => "cookie",
        }
    }

    fn parse(text: &str) -> Option<Self> {
        [Self::Path, Self::Query, Self::Header, Self::Cookie].into_iter().find(|one| one.as_str() == text)
    }

    /// The styles that values have there, the default first.
    const fn styles(self) -> &'static [(&'static str, Style)] {
        match self {
            Self::Path => &[("simple", Style::Simple), ("label", Style::Label), ("matrix", Style::Matrix)],
            Self::Query => &[
                ("form", Style::Form),
                ("spaceDelimited", Style::SpaceDelimited),
                ("pipeDelimited", Style::PipeDelimited),
                ("deepObject", Style::DeepObject),
            ],
            Self::Header => &[("simple", Style::Simple)],
            Self::Cookie => &[("form", Style::Form)],
        }
    }
}

// === impl Wire ===

impl Wire {
    /// Reads style, explode and allowReserved of a parameter, or of an encoding of a form's field.
    pub(crate) fn read(node: &Node<'_>, name: &str, location: Location) -> Result<Self, Fault> {
        let styles = location.styles();
        let style = match node.text_of("style")? {
            None => styles[0].1,
            Some(text) => {
                styles.iter().find(|(known, _)| *known == text).map(|(_, style)| *style).ok_or_else(|| {
                    let allowed = styles.iter().map(|(known, _)| (*known).to_owned()).collect();
                    node.fault(Reason::NotAChoice { value: format!("the style {}", shown(text)), allowed })
                })?
            }
        };
        let explode = node.flag_of("explode")?.unwrap_or(style == Style::Form);
        let reserved = node.flag_of("allowReserved")?.unwrap_or(false) && location == Location::Query;
        Ok(Self { name: Box::from(name), style, explode, reserved, json: Json::Never })
    }

    /// The way of a field of a form that says nothing else.
    pub(crate) fn form(name: &str) -> Self {
        Self { name: Box::from(name), style: Style::Form, explode: true, reserved: false, json: Json::Objects }
    }
}

/// Lists the parameters of an operation, and what was passed over.
///
/// # Errors
/// A fault of a parameter that cannot be understood: the operation cannot be offered without it.
pub(crate) fn all<'d>(
    document: &'d Document,
    operation: &Operation<'d>,
) -> Result<(Vec<Parameter<'d>>, Vec<Fault>), Fault> {
    let mut parameters: Vec<Parameter<'d>> = Vec::new();
    let mut notes = Vec::new();
    for list in [operation.item.get("parameters"), operation.node.get("parameters")].into_iter().flatten() {
        for (index, node) in list.items()?.enumerate() {
            if index >= PARAMETERS_MAX {
                let found = format!("more than {PARAMETERS_MAX} parameters");
                let max = PARAMETERS_MAX.to_string();
                return Err(list.fault(Reason::TooMuch { what: "the operation", found, max }));
            }
            match one(document, document.resolve(node)?)? {
                Ok(parameter) => {
                    let same = |known: &Parameter<'_>| {
                        known.location == parameter.location && known.wire.name == parameter.wire.name
                    };
                    parameters.retain(|known| !same(known));
                    parameters.push(parameter);
                }
                Err(note) => notes.push(note),
            }
        }
    }
    Ok((parameters, notes))
}

fn one<'d>(document: &'d Document, node: Node<'d>) -> Result<Result<Parameter<'d>, Fault>, Fault> {
    let missing = |what: &str| node.fault(Reason::Missing { what: format!("the key {what}") });
    let name = node.text_of("name")?.ok_or_else(|| missing("name"))?;
    let place = node.text_of("in")?.ok_or_else(|| missing("in"))?;
    let Some(location) = Location::parse(place) else {
        let allowed = ["path", "query", "header", "cookie"].map(str::to_owned).to_vec();
        return Err(node.fault(Reason::NotAChoice { value: shown(place), allowed }));
    };
    if location == Location::Header {
        if HEADERS_NOT_SET.iter().any(|known| known.eq_ignore_ascii_case(name)) {
            let what = format!("the parameter {}", shown(name));
            return Ok(Err(node.fault(Reason::PassedOver { what, why: "this header is set otherwise" })));
        }
        if http::HeaderName::from_bytes(name.as_bytes()).is_err() {
            let message = "it is not a header name".to_owned();
            return Err(node.fault(Reason::Invalid { value: shown(name), message }));
        }
    }
    let mut wire = Wire::read(&node, name, location)?;
    let mut schema = node.get("schema");
    if let Some(content) = node.get("content") {
        let Some((media, value)) = content.members()?.next() else {
            return Err(content.fault(Reason::Missing { what: "a media type".to_owned() }));
        };
        wire.json = if is_json(media) { Json::Always } else { Json::Never };
        schema = document.resolve(value)?.get("schema");
    }
    // A path without one of its parameters is another path.
    let required = node.flag_of("required")?.unwrap_or(false) || location == Location::Path;
    Ok(Ok(Parameter { location, wire, required, node, schema }))
}

/// Tells whether a media type is JSON: `application/json`, `text/json`, or anything that ends in `+json`.
pub(crate) fn is_json(media: &str) -> bool {
    let essence = media.split(';').next().unwrap_or_default().trim();
    let ends_with =
        |end: &str| essence.len() >= end.len() && essence[essence.len() - end.len()..].eq_ignore_ascii_case(end);
    essence.is_ascii() && (ends_with("/json") || ends_with("+json"))
}

/// Returns the one example of a node, or the first of several.
pub(crate) fn example<'d>(document: &'d Document, node: &Node<'d>) -> Option<&'d Value> {
    if let Some(example) = node.get("example") {
        return Some(example.value);
    }
    let (_, first) = node.get("examples")?.members().ok()?.next()?;
    document.resolve(first).ok()?.get("value").map(|value| value.value)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::document::Format;
    use crate::limits::DEFAULTS;
    use crate::operation;

    fn read(parameters: &str) -> Result<(Vec<String>, Vec<String>), String> {
        let text = format!(
            "openapi: 3.0.0\npaths:\n  /a:\n    parameters: [{{name: a, in: query, required: true}}, {{name: b, in: query}}]\n    get: {{parameters: [{parameters}]}}\ncomponents: {{parameters: {{p: {{name: p, in: path}}}}}}"
        );
        let document = Document::read(&text, Format::Yaml, &DEFAULTS).expect("is read");
        let (operations, _) = operation::all(&document).expect("has paths");
        let (found, notes) = all(&document, &operations[0]).map_err(|fault| fault.refused().to_string())?;
        let shown = |one: &Parameter<'_>| {
            let Wire { name, style, explode, reserved, json } = &one.wire;
            let flags = [(one.required, "!"), (*explode, "*"), (*reserved, "+"), (*json == Json::Always, "json")];
            let flags: String = flags.iter().filter(|(on, _)| *on).map(|(_, flag)| *flag).collect();
            format!("{}:{name}:{style:?}{flags}", one.location.as_str())
        };
        let notes = notes.into_iter().map(|note| note.noted().to_string()).collect();
        Ok((found.iter().map(shown).collect(), notes))
    }

    #[test]
    fn an_operation_adds_to_and_replaces_what_its_path_says() {
        let (found, notes) = read(
            "{name: b, in: query, style: deepObject}, {name: b, in: header}, {$ref: '#/components/parameters/p'}, \
             {name: c, in: cookie}, {name: d, in: query, explode: false, allowReserved: true}, \
             {name: e, in: query, content: {application/vnd.x+json: {schema: {type: object}}}}, {name: Accept, in: header}",
        )
        .expect("is valid");
        assert_eq!(
            found,
            [
                "query:a:Form!*",
                "query:b:DeepObject",
                "header:b:Simple",
                "path:p:Simple!",
                "cookie:c:Form*",
                "query:d:Form+",
                "query:e:Form*json",
            ]
        );
        assert_eq!(
            notes,
            ["#/paths/~1a/get/parameters/6: the parameter \"Accept\" is passed over: this header is set otherwise"]
        );
    }

    #[test]
    fn what_cannot_be_understood_is_a_fault_with_what_is_allowed() {
        let at = "#/paths/~1a/get/parameters/0";
        let cases = [
            ("{name: x, in: body}", format!("{at}: \"body\" is not a choice; allowed: path, query, header, cookie")),
            ("{in: query}", format!("{at}: the key name is missing")),
            ("{name: x}", format!("{at}: the key in is missing")),
            (
                "{name: x, in: path, style: form}",
                format!("{at}: the style \"form\" is not a choice; allowed: simple, label, matrix"),
            ),
            ("{name: 'a b', in: header}", format!("{at}: \"a b\" is not valid: it is not a header name")),
            ("{name: x, in: query, content: {}}", format!("{at}/content: a media type is missing")),
            (
                "{name: x, in: query, required: maybe}",
                format!("{at}/required: expected true or false, found \"maybe\""),
            ),
        ];
        for (parameter, expected) in cases {
            assert_eq!(read(parameter), Err(expected));
        }
    }

    #[test]
    fn json_media_types_are_known_in_any_spelling() {
        for media in ["application/json", "Application/JSON; charset=utf-8", "application/problem+json", "text/json"] {
            assert!(is_json(media), "{media}");
        }
        for media in ["application/jsonl", "text/plain", "", "é/json+x", "json"] {
            assert!(!is_json(media), "{media}");
        }
    }
}
