//! The request of one call: arguments go in, method, URI, headers and body come out.
//!
//! Everything that does not vary between calls was made when the document was compiled. Invariant: scheme, host and
//! port are those of the plan; an argument changes neither them nor the number of path segments, and adds no header
//! line, query pair or form part of its own.

use std::fmt::Write as _;

use bytes::Bytes;
use http::header::{ACCEPT, CONTENT_LENGTH, CONTENT_TYPE, COOKIE};
use http::{HeaderMap, HeaderName, HeaderValue, Method, Request, Uri};
use percent_encoding::{percent_decode_str, utf8_percent_encode};
use quorate_jsonrpc::{elements, members, quote};
use quorate_types::Secret;
use url::form_urlencoded;

use crate::argument::{Argument, Target, cut};
use crate::body::{Form, Part as FormPart, Way, Ways};
use crate::credential::Proof;
use crate::echo::Echo;
use crate::encode;
use crate::limits::Limits;
use crate::multipart::{self, Part};
use crate::parameter::{Location, Wire};
use crate::refusal::{ArgumentProblem, Refusal, shown};
use crate::server::Base;
use crate::style::{self, Taken, Unwritable};

/// A piece of a path template.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Piece {
    /// Text as it stands, encoded.
    Literal(Box<str>),
    /// The argument at this index.
    Argument(usize),
}

/// How the body is made.
#[derive(Clone, Debug)]
pub(crate) struct BodyPlan {
    pub(crate) form: Form,
    pub(crate) media: HeaderValue,
    pub(crate) required: bool,
    /// Whether the properties are arguments of their own.
    pub(crate) opened: bool,
    /// How members are written when they are not.
    pub(crate) ways: Ways,
}

/// Names by the place where they mean something.
#[derive(Clone, Debug, Default)]
struct Names {
    path: Vec<Box<str>>,
    query: Vec<Box<str>>,
    cookies: Vec<Box<str>>,
    /// Fields of a URL-encoded body.
    fields: Vec<Box<str>>,
}

/// Everything of an operation's requests that does not vary.
#[derive(Clone, Debug)]
pub(crate) struct Plan {
    pub(crate) method: Method,
    pub(crate) base: Base,
    pub(crate) path: Vec<Piece>,
    pub(crate) body: Option<BodyPlan>,
    /// `Accept`, the fixed headers, and what credentials add.
    headers: HeaderMap,
    /// Pairs that credentials add, encoded.
    query: Secret,
    /// Fixed cookies, and those that credentials add.
    cookies: Secret,
    /// The names of those, and of parameters (see [`Plan::reserve`]).
    taken: Names,
    /// What credentials add to URLs, to be taken out of answers.
    pub(crate) echo: Echo,
    pub(crate) uri_bytes_max: usize,
    pub(crate) header_bytes_max: usize,
}

/// Cuts a path template into its pieces; `find` gives the index of the argument of a name.
///
/// # Errors
/// The name of a placeholder that is no parameter, or what is left of one that is not closed.
pub(crate) fn pieces(template: &str, find: impl Fn(&str) -> Option<usize>) -> Result<Vec<Piece>, String> {
    let mut pieces = Vec::new();
    let literal = |text: &str| Piece::Literal(utf8_percent_encode(text, encode::TEMPLATE).to_string().into());
    let mut rest = template;
    while let Some((before, after)) = rest.split_once('{') {
        let (name, after) = after.split_once('}').ok_or_else(|| rest.to_owned())?;
        if !before.is_empty() {
            pieces.push(literal(before));
        }
        pieces.push(Piece::Argument(find(name).ok_or_else(|| name.to_owned())?));
        rest = after;
    }
    if !rest.is_empty() {
        pieces.push(literal(rest));
    }
    Ok(pieces)
}

// === impl Plan ===

impl Plan {
    /// Makes the part that does not depend on arguments; a credential is nearer than a `fixed` header.
    pub(crate) fn new(
        method: Method,
        base: Base,
        accept: HeaderValue,
        fixed: &HeaderMap,
        proofs: Vec<Proof>,
        limits: &Limits,
    ) -> Self {
        let mut headers = fixed.clone();
        let fixed_cookies = headers.remove(COOKIE);
        headers.insert(ACCEPT, accept);
        let (mut query, mut cookies) = (Vec::new(), Vec::new());
        cookies.extend(fixed_cookies.map(|value| Box::from(String::from_utf8_lossy(value.as_bytes()))));
        for proof in proofs {
            match proof {
                Proof::Header(name, value) => {
                    headers.insert(name, value);
                }
                Proof::Query(pair) => query.push(pair),
                Proof::Cookie(pair) => cookies.push(pair),
            }
        }
        let (query, cookies) = (query.join("&"), cookies.join("; "));
        let cookie_name = |pair: &str| {
            percent_decode_str(pair.split('=').next()?.trim()).decode_utf8().ok().map(|name| Box::from(&*name))
        };
        Self {
            method,
            base,
            path: Vec::new(),
            body: None,
            headers,
            echo: Echo::of(&query),
            query: Secret::new(query.as_str()),
            taken: Names {
                query: form_urlencoded::parse(query.as_bytes()).map(|(name, _)| Box::from(&*name)).collect(),
                cookies: cookies.split(';').filter_map(cookie_name).collect(),
                ..Names::default()
            },
            cookies: Secret::new(cookies.as_str()),
            uri_bytes_max: limits.uri_bytes_max,
            header_bytes_max: limits.header_bytes_max,
        }
    }

    /// Tells whether a credential or a fixed header sets this parameter, so that no argument may.
    pub(crate) fn sets(&self, location: Location, name: &str) -> bool {
        match location {
            Location::Path => false,
            Location::Query => self.taken.query.iter().any(|known| **known == *name),
            Location::Header => self.headers.contains_key(name),
            Location::Cookie => self.taken.cookies.iter().any(|known| **known == *name),
        }
    }

    /// Takes the names of the arguments, and those of a query in the path, from what members of a value may be called.
    pub(crate) fn reserve(&mut self, list: &[Argument]) {
        for argument in list {
            match &argument.target {
                Target::Parameter(Location::Path, wire) => self.taken.path.push(wire.name.clone()),
                Target::Parameter(Location::Query, wire) => self.taken.query.push(wire.name.clone()),
                Target::Parameter(Location::Cookie, wire) => self.taken.cookies.push(wire.name.clone()),
                Target::Field(Way::Pair(wire)) => self.taken.fields.push(wire.name.clone()),
                Target::Parameter(Location::Header, _)
                | Target::Field(Way::Member(_) | Way::Part(_))
                | Target::Body => {}
            }
        }
        let literal = |piece: &Piece| match piece {
            Piece::Literal(text) => text.split_once('?').map(|(_, query)| query.to_owned()),
            Piece::Argument(_) => None,
        };
        for query in self.path.iter().filter_map(literal) {
            self.taken.query.extend(form_urlencoded::parse(query.as_bytes()).map(|(name, _)| Box::from(&*name)));
        }
    }

    /// Makes the request of a call; `arguments` is the JSON text of an object.
    ///
    /// # Errors
    /// A [`Refusal`] that says what is wrong with the arguments.
    pub(crate) fn request(&self, list: &[Argument], arguments: &str) -> Result<Request<Bytes>, Refusal> {
        let values = cut(list, arguments)?;
        let given: Vec<Given<'_>> =
            list.iter().zip(&values).filter_map(|(argument, value)| Some(Given { argument, raw: (*value)? })).collect();
        let uri = self.uri(list, &values, &given)?;
        let mut headers = self.headers.clone();
        self.put_headers(&mut headers, &given)?;
        let body = match &self.body {
            Some(plan) => plan.write(&given, Taken(&self.taken.fields))?,
            None => None,
        };
        let mut request = Request::new(Bytes::new());
        if let Some((media, body)) = body {
            headers.insert(CONTENT_TYPE, media);
            *request.body_mut() = body;
        }
        // RFC 9110 §8.6: where content is expected, its absence is said; servers answer 411 without.
        if request.body().is_empty() && matches!(self.method, Method::POST | Method::PUT | Method::PATCH) {
            headers.insert(CONTENT_LENGTH, HeaderValue::from_static("0"));
        }
        *request.method_mut() = self.method.clone();
        *request.uri_mut() = uri;
        *request.headers_mut() = headers;
        Ok(request)
    }

    fn uri(&self, list: &[Argument], values: &[Option<&str>], given: &[Given<'_>]) -> Result<Uri, Refusal> {
        let mut uri = String::with_capacity(256);
        uri.push_str(self.base.as_str());
        let path_from = uri.len();
        for piece in &self.path {
            match piece {
                Piece::Literal(text) => uri.push_str(text),
                Piece::Argument(index) => {
                    let (Some(argument), Some(Some(raw))) = (list.get(*index), values.get(*index)) else { continue };
                    let given = Given { argument, raw };
                    if let Target::Parameter(_, wire) = &argument.target {
                        let before = uri.len();
                        style::path(&mut uri, wire, raw, Taken(&self.taken.path))
                            .map_err(|error| given.unwritable(error))?;
                        if style::has_dot_segment(&uri[before..]) {
                            return Err(given.unwritable(Unwritable::DotSegment));
                        }
                    }
                }
            }
        }
        // A literal beside a value could still make a segment that means another path.
        let path = uri[path_from..].split('?').next().unwrap_or_default();
        if style::has_dot_segment(path) {
            let message = Unwritable::DotSegment.to_string();
            return Err(ArgumentProblem::Invalid { name: "path".to_owned(), value: shown(path), message }.into());
        }
        let mut query = self.query.expose().to_owned();
        for given in given {
            if let Target::Parameter(Location::Query, wire) = &given.argument.target {
                style::query(&mut query, wire, given.raw, Taken(&self.taken.query))
                    .map_err(|error| given.unwritable(error))?;
            }
        }
        if !query.is_empty() {
            // Some documents have a query in their paths.
            uri.push(if uri[path_from..].contains('?') { '&' } else { '?' });
            uri.push_str(&query);
        }
        if uri.len() > self.uri_bytes_max {
            let (found, max) = (uri.len(), self.uri_bytes_max);
            return Err(ArgumentProblem::TooLarge { what: "the request's URI", found, max }.into());
        }
        uri.parse().map_err(|_| {
            let message = "it makes no URI".to_owned();
            ArgumentProblem::Invalid { name: "path".to_owned(), value: shown(&uri[path_from..]), message }.into()
        })
    }

    fn put_headers(&self, headers: &mut HeaderMap, given: &[Given<'_>]) -> Result<(), Refusal> {
        let mut cookies = self.cookies.expose().to_owned();
        for given in given {
            match &given.argument.target {
                Target::Parameter(Location::Header, wire) => {
                    let text = style::header(wire, given.raw).map_err(|error| given.unwritable(error))?;
                    self.check_header("a header", text.len())?;
                    let value =
                        HeaderValue::from_bytes(text.as_bytes()).map_err(|_| given.unwritable(Unwritable::Header))?;
                    let name = HeaderName::from_bytes(wire.name.as_bytes())
                        .map_err(|_| given.unwritable(Unwritable::Header))?;
                    headers.insert(name, value);
                }
                Target::Parameter(Location::Cookie, wire) => {
                    style::cookie(&mut cookies, wire, given.raw, Taken(&self.taken.cookies))
                        .map_err(|error| given.unwritable(error))?;
                }
                Target::Parameter(..) | Target::Field(_) | Target::Body => {}
            }
        }
        if !cookies.is_empty() {
            self.check_header("the cookies", cookies.len())?;
            // What arguments add is percent-encoded, and the rest was a header's value before.
            let mut value =
                HeaderValue::from_bytes(cookies.as_bytes()).expect("a header's text with ASCII is a header's");
            value.set_sensitive(true);
            headers.insert(COOKIE, value);
        }
        Ok(())
    }

    fn check_header(&self, what: &'static str, found: usize) -> Result<(), Refusal> {
        let max = self.header_bytes_max;
        if found > max { Err(ArgumentProblem::TooLarge { what, found, max }.into()) } else { Ok(()) }
    }
}

/// An argument with its raw value.
struct Given<'a> {
    argument: &'a Argument,
    raw: &'a str,
}

// === impl Given ===

impl Given<'_> {
    fn unwritable(&self, error: Unwritable) -> Refusal {
        self.invalid(&error.to_string())
    }

    fn invalid(&self, message: &str) -> Refusal {
        let (name, value) = (self.argument.name.to_string(), shown(self.raw));
        ArgumentProblem::Invalid { name, value, message: message.to_owned() }.into()
    }
}

// === impl BodyPlan ===

impl BodyPlan {
    /// Writes the body; none when it is optional and nothing of it is given.
    fn write(&self, given: &[Given<'_>], taken: Taken<'_>) -> Result<Option<(HeaderValue, Bytes)>, Refusal> {
        if !self.opened {
            let whole = given.iter().find(|given| matches!(given.argument.target, Target::Body));
            return whole.map(|given| self.whole(given)).transpose();
        }
        let fields: Vec<(&Given<'_>, &Way)> = given
            .iter()
            .filter_map(|given| match &given.argument.target {
                Target::Field(way) => Some((given, way)),
                Target::Parameter(..) | Target::Body => None,
            })
            .collect();
        if fields.is_empty() && !self.required {
            return Ok(None);
        }
        match self.form {
            Form::UrlEncoded => {
                let mut body = String::new();
                for (given, way) in &fields {
                    if let Way::Pair(wire) = way {
                        style::query(&mut body, wire, given.raw, taken).map_err(|error| given.unwritable(error))?;
                    }
                }
                Ok(Some((self.media.clone(), body.into())))
            }
            Form::Multipart => {
                let mut parts = Vec::new();
                for (given, way) in &fields {
                    if let Way::Part(part) = way {
                        push_parts(&mut parts, part, given.raw, given)?;
                    }
                }
                Ok(Some(multipart(&parts)))
            }
            Form::Json | Form::Text | Form::Binary => Ok(Some((self.media.clone(), json_object(&fields).into()))),
        }
    }

    fn whole(&self, given: &Given<'_>) -> Result<(HeaderValue, Bytes), Refusal> {
        let ambiguous = |_| given.unwritable(Unwritable::Ambiguous);
        let body = match self.form {
            Form::Json => Bytes::copy_from_slice(given.raw.as_bytes()),
            Form::Text => {
                let text = style::plain(given.raw).map_err(|error| given.unwritable(error))?;
                Bytes::from(text.into_owned())
            }
            Form::Binary => {
                let text = style::plain(given.raw).map_err(|error| given.unwritable(error))?;
                let file = multipart::file(&text).map_err(|message| given.invalid(message))?;
                Bytes::from(file.content)
            }
            Form::UrlEncoded => {
                let mut body = String::new();
                let mut result = Ok(());
                members(given.raw, 0, |name, span| {
                    if result.is_ok() {
                        result = style::query(&mut body, &self.ways.pair(name), span.of(given.raw), Taken(&[]));
                    }
                })
                .map_err(ambiguous)?;
                result.map_err(|error| given.unwritable(error))?;
                Bytes::from(body)
            }
            Form::Multipart => {
                let mut fields = Vec::new();
                members(given.raw, 0, |name, span| fields.push((self.ways.part(name), span.of(given.raw))))
                    .map_err(ambiguous)?;
                let mut parts = Vec::new();
                for (part, raw) in &fields {
                    push_parts(&mut parts, part, raw, given)?;
                }
                return Ok(multipart(&parts));
            }
        };
        Ok((self.media.clone(), body))
    }
}

// === impl Ways ===

impl Ways {
    fn pair(&self, name: &str) -> Wire {
        match self.named.get(name) {
            Some(Way::Pair(wire)) => wire.clone(),
            _ => Wire::form(name),
        }
    }

    fn part(&self, name: &str) -> FormPart {
        match self.named.get(name) {
            Some(Way::Part(part)) => part.clone(),
            _ => FormPart { name: Box::from(name), file: self.files, media: None },
        }
    }
}

fn json_object(fields: &[(&Given<'_>, &Way)]) -> String {
    let size: usize = fields.iter().map(|(given, _)| given.raw.len() + 32).sum();
    let mut body = String::with_capacity(size);
    body.push('{');
    for (given, way) in fields {
        if let Way::Member(name) = way {
            // Writing to a String cannot fail.
            let _ = write!(body, "{}{}:{}", if body.len() > 1 { "," } else { "" }, quote(name), given.raw);
        }
    }
    body.push('}');
    body
}

fn multipart(parts: &[Part<'_>]) -> (HeaderValue, Bytes) {
    let (media, body) = multipart::write(parts);
    (HeaderValue::from_str(&media).expect("the boundary is ASCII"), body.into())
}

/// Adds the parts of one field: one, or one for each item of a list.
fn push_parts<'p>(parts: &mut Vec<Part<'p>>, plan: &'p FormPart, raw: &str, given: &Given<'_>) -> Result<(), Refusal> {
    let mut items = Vec::new();
    if raw.starts_with('[') {
        elements(raw, 0, |span| items.push(span.of(raw))).map_err(|_| given.unwritable(Unwritable::Ambiguous))?;
    } else {
        items.push(raw);
    }
    for item in items {
        let text = style::plain(item).map_err(|error| given.unwritable(error))?;
        let media = plan.media.as_deref().map(str::to_owned);
        if plan.file {
            let file = multipart::file(&text).map_err(|message| given.invalid(message))?;
            let file_name = Some(file.name.unwrap_or_else(|| plan.name.to_string()));
            parts.push(Part { name: &plan.name, file_name, media: file.media.or(media), content: file.content });
        } else {
            let json = item.starts_with(['{', '[']).then(|| "application/json".to_owned());
            let content = text.into_owned().into_bytes();
            parts.push(Part { name: &plan.name, file_name: None, media: media.or(json), content });
        }
    }
    Ok(())
}
