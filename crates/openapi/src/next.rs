//! What a model has to do for the rest of a list that comes in pages.
//!
//! APIs say it in a `Link` header with `rel=next` (RFC 8288), or in a member of the answer: a cursor, a page number, a
//! URL. Where that can be told as arguments of the same tool, the hint says which; else it gives the value as it is.
//! A hint is an offer: it never changes the answer.

use http::HeaderMap;
use http::header::LINK;
use quorate_jsonrpc::{members, quote, text};
use url::form_urlencoded;

use crate::argument::{Argument, Target};
use crate::kind::Kind;
use crate::parameter::Location;

/// Members that hold what comes next, in any spelling (see [`folded`]).
const FIELDS: [&str; 12] = [
    "nextcursor",
    "nextpagetoken",
    "nextpage",
    "nexttoken",
    "nextpageurl",
    "nexturl",
    "nextlink",
    "odatanextlink",
    "continuationtoken",
    "nextmarker",
    "nextoffset",
    "next",
];
/// Members that hold those.
const HOLDERS: [&str; 8] = ["meta", "pagination", "paging", "pageinfo", "responsemetadata", "links", "cursors", "page"];
/// Arguments that take a cursor or page, the likeliest first.
const ARGUMENTS: [&str; 15] = [
    "cursor",
    "pagetoken",
    "nextcursor",
    "nextpagetoken",
    "nexttoken",
    "continuationtoken",
    "pagecursor",
    "startingafter",
    "after",
    "startcursor",
    "marker",
    "token",
    "pageafter",
    "offset",
    "start",
];
/// Arguments that take a page number.
const PAGES: [&str; 4] = ["page", "pagenumber", "pageno", "p"];
/// The longest value that is passed on, in bytes.
const VALUE_BYTES_MAX: usize = 2048;
/// The longest `Link` header that is read, in bytes.
const LINK_BYTES_MAX: usize = 8192;

/// What comes next.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Next {
    /// The same tool, with these arguments beside the others: JSON text of an object.
    Arguments(String),
    /// A value that is no argument of the tool.
    Value(String),
}

/// Finds what comes next, of an answer's headers and its JSON text.
pub(crate) fn find(arguments: &[Argument], headers: &HeaderMap, json: Option<&str>) -> Option<Next> {
    let from_link = || {
        let target = headers.get_all(LINK).iter().filter_map(|value| next_link(value.to_str().ok()?)).next()?;
        Some(of_url(arguments, target))
    };
    from_link().or_else(|| of_json(arguments, json?))
}

/// Returns the target of the link whose relation is `next`.
fn next_link(header: &str) -> Option<&str> {
    let mut rest = header.get(..header.len().min(LINK_BYTES_MAX))?;
    while let Some((_, after)) = rest.split_once('<') {
        let (target, after) = after.split_once('>')?;
        // A target may hold commas, so the next link begins at the next `<`.
        let parameters = after.split('<').next().unwrap_or_default();
        let is_next = parameters.split(';').skip(1).any(|parameter| {
            let (name, value) = parameter.split_once('=').unwrap_or_default();
            let value = value.trim().trim_end_matches(',').trim().trim_matches('"');
            name.trim().eq_ignore_ascii_case("rel") && value.split(' ').any(|one| one.eq_ignore_ascii_case("next"))
        });
        if is_next {
            return Some(target).filter(|target| target.len() <= VALUE_BYTES_MAX);
        }
        rest = after;
    }
    None
}

fn of_json(arguments: &[Argument], json: &str) -> Option<Next> {
    if !json.starts_with('{') {
        return None;
    }
    let mut found = None;
    let mut holders = Vec::new();
    // An answer with a member twice has no certain meaning, and so no hint.
    members(json, 0, |name, span| {
        let (name, raw) = (folded(name), span.of(json));
        if HOLDERS.contains(&name.as_str()) && raw.starts_with('{') {
            holders.push(raw);
        }
        found = found.take().or_else(|| of_field(arguments, &name, raw));
    })
    .ok()?;
    for raw in holders {
        if found.is_some() {
            break;
        }
        members(raw, 0, |name, span| {
            found = found.take().or_else(|| of_field(arguments, &folded(name), span.of(raw)));
        })
        .ok()?;
    }
    found
}

fn of_field(arguments: &[Argument], name: &str, raw: &str) -> Option<Next> {
    if !FIELDS.contains(&name) || raw.len() > VALUE_BYTES_MAX {
        return None;
    }
    let value = match Kind::of_raw(raw) {
        Kind::String => text(raw)?.into_owned(),
        Kind::Integer => raw.to_owned(),
        Kind::Null | Kind::Boolean | Kind::Number | Kind::Array | Kind::Object => return None,
    };
    if value.is_empty() {
        return None;
    }
    if value.contains("://") || value.starts_with(['/', '?']) {
        return Some(of_url(arguments, &value));
    }
    let is_page = name == "nextpage" || (name == "next" && value.bytes().all(|byte| byte.is_ascii_digit()));
    let (first, second): (&[&str], &[&str]) = if is_page { (&PAGES, &ARGUMENTS) } else { (&ARGUMENTS, &[]) };
    let taker = first
        .iter()
        .chain(second)
        .find_map(|wanted| arguments.iter().find(|one| is_query(one) && folded(&one.name) == **wanted));
    Some(match taker {
        Some(argument) => Next::Arguments(format!("{{{}}}", member(argument, &value))),
        None => Next::Value(value),
    })
}

/// The query of a URL as arguments, else the URL itself.
fn of_url(arguments: &[Argument], url: &str) -> Next {
    let query = url.split_once('?').map_or("", |(_, query)| query.split('#').next().unwrap_or_default());
    let mut given: Vec<String> = Vec::new();
    for (name, value) in form_urlencoded::parse(query.as_bytes()) {
        let taker = arguments
            .iter()
            .find(|one| matches!(&one.target, Target::Parameter(Location::Query, wire) if *wire.name == *name));
        // Lists come as several pairs; they are the caller's own and stay as they are.
        let scalar = taker.filter(|one| !one.kinds.contains(Kind::Array));
        given.extend(scalar.map(|argument| member(argument, &value)));
    }
    if given.is_empty() { Next::Value(url.to_owned()) } else { Next::Arguments(format!("{{{}}}", given.join(","))) }
}

fn member(argument: &Argument, value: &str) -> String {
    let text = argument.kinds.contains(Kind::String);
    let number = !text && serde_json::from_str::<serde_json::Number>(value).is_ok();
    let flag = !text && matches!(value, "true" | "false");
    let value = if number || flag { value.to_owned() } else { quote(value) };
    format!("{}:{value}", quote(&argument.name))
}

fn is_query(argument: &Argument) -> bool {
    matches!(argument.target, Target::Parameter(Location::Query, _))
}

/// Drops case and separators: `next_cursor`, `nextCursor` and `@odata.nextLink` by one spelling.
fn folded(name: &str) -> String {
    name.chars().filter(char::is_ascii_alphanumeric).map(|c| c.to_ascii_lowercase()).take(64).collect()
}
