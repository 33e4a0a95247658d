//! The tool `find_tools`: searches the tools of its toolset, the listed and the others.
//!
//! In: a call's arguments and the merged list. Out: the result, with the full definitions of what
//! was found, so that a client can call a tool that it has never seen in a list. Results are
//! bounded in number and bytes; what is left out is counted.

use quorate_jsonrpc::{elements, keyed_members, pick_exact, quote, text};

use super::define::META_TAGS;
use super::rule::{Listed, Search};
use super::search::{Builder, Described, QUERY_CHARS_MAX};
use crate::listing::{Entry, Merged};
use crate::version::Era;

/// The tool's name, which no tool of a server has in a toolset with a search.
pub const NAME: &str = "find_tools";

/// The most bytes of definitions in one result: what models can take in. The best one is always
/// there.
const RESULT_BYTES_MAX: usize = 256 << 10;

/// What is searched for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Query {
    text: String,
    limit: usize,
}

/// Arguments that say nothing to search for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum InvalidQuery {
    /// There is no `query`, it is no text, or it is empty or too long.
    #[error("`query` must be a text of 1 to {QUERY_CHARS_MAX} characters that says what the tool should do")]
    Text,
    /// The `limit` is none of the numbers allowed.
    #[error("`limit` must be a whole number from 1 to {max}")]
    Limit {
        /// The most tools of one result.
        max: usize,
    },
    /// There are other arguments, or one is there twice.
    #[error("the arguments are `query` and `limit`, each once")]
    Arguments,
}

/// Returns the tool's definition.
pub(crate) fn definition(search: &Search) -> String {
    let about = match search.listed {
        Listed::All => "Searches the tools of this server and returns the definitions of those that fit best.",
        Listed::Pinned(_) => {
            "Searches the tools of this server, most of which are not listed, and returns the definitions of those \
             that fit best. Call a tool that was found by its name, like a listed one."
        }
    };
    let max = search.results_max;
    format!(
        "{{\"name\":\"{NAME}\",\"title\":\"Find tools\",\"description\":{about},\"inputSchema\":{{\"type\":\"object\",\
         \"properties\":{{\"query\":{{\"type\":\"string\",\"description\":\"What the tool should do, in a few words.\",\
         \"minLength\":1,\"maxLength\":{QUERY_CHARS_MAX}}},\"limit\":{{\"type\":\"integer\",\"description\":\
         \"The most tools to return.\",\"minimum\":1,\"maximum\":{max},\"default\":{max}}}}},\"required\":[\"query\"],\
         \"additionalProperties\":false}},\"outputSchema\":{{\"type\":\"object\",\"properties\":{{\"tools\":{{\"type\":\
         \"array\",\"description\":\"The definitions, best first.\",\"items\":{{\"type\":\"object\"}}}},\"omitted\":\
         {{\"type\":\"integer\",\"description\":\"Tools that fit, too, and were too large to return.\"}}}},\"required\":\
         [\"tools\",\"omitted\"]}},\"annotations\":{{\"readOnlyHint\":true,\"idempotentHint\":true,\
         \"openWorldHint\":false}}}}",
        about = quote(about),
    )
}

// === impl Query ===

impl Query {
    /// Reads the arguments of a call; `arguments` is the JSON text of an object.
    ///
    /// # Errors
    /// [`InvalidQuery`] says what is allowed.
    pub fn read(arguments: Option<&str>, search: &Search) -> Result<Self, InvalidQuery> {
        let arguments = arguments.unwrap_or("{}");
        let (mut asked, mut limit, mut others) = (None, None, false);
        keyed_members(arguments, 0, |name, _, value| {
            let place = match name {
                "query" => &mut asked,
                "limit" => &mut limit,
                _ => return others = true,
            };
            others |= place.replace(value).is_some();
        })
        .map_err(|_| InvalidQuery::Arguments)?;
        if others {
            return Err(InvalidQuery::Arguments);
        }
        let asked = asked.and_then(|span| text(span.of(arguments)));
        let asked = asked.filter(|asked| !asked.trim().is_empty() && asked.chars().count() <= QUERY_CHARS_MAX);
        let max = search.results_max;
        let limit = limit.map_or(Some(max), |span| span.of(arguments).parse().ok());
        Ok(Self {
            text: asked.ok_or(InvalidQuery::Text)?.into_owned(),
            limit: limit.filter(|limit| (1..=max).contains(limit)).ok_or(InvalidQuery::Limit { max })?,
        })
    }

    /// Returns the places of the entries that fit best among those that are shown, best first.
    #[must_use]
    pub fn run(&self, tools: &Merged, is_shown: impl Fn(&Entry) -> bool) -> Vec<usize> {
        let is_shown = |place: usize| tools.entries().get(place).is_some_and(&is_shown);
        tools.index().map_or_else(Vec::new, |index| index.search(&self.text, self.limit, is_shown))
    }
}

/// Writes the result of a search: `found` are places of entries of `tools`.
#[must_use]
pub fn result(tools: &Merged, found: &[usize], era: Era) -> String {
    let mut definitions = String::new();
    let mut omitted = 0;
    for entry in found.iter().filter_map(|place| tools.entries().get(*place)) {
        let definition = tools.definition(entry);
        if !definitions.is_empty() && definitions.len() + definition.len() > RESULT_BYTES_MAX {
            omitted += 1;
            continue;
        }
        if !definitions.is_empty() {
            definitions.push(',');
        }
        definitions
            .push_str(std::str::from_utf8(&definition).expect("definitions are text, from pages that were read"));
    }
    let content = format!("{{\"tools\":[{definitions}],\"omitted\":{omitted}}}");
    // The text is for clients that know no structured content (2025-06-18 `server/tools`).
    tool_result(&quote(&content), Some(&content), era)
}

/// Writes a result that tells the model what is wrong with its call.
#[must_use]
pub fn refusal(message: &str, era: Era) -> String {
    tool_result(&quote(message), None, era)
}

/// The result of a tool: `text` as JSON, and structured content, without which it is an error.
fn tool_result(text: &str, structured: Option<&str>, era: Era) -> String {
    let kind = match era {
        Era::Modern => "\"resultType\":\"complete\",",
        Era::Legacy => "",
    };
    let rest = match structured {
        Some(content) => format!("\"structuredContent\":{content},\"isError\":false"),
        None => "\"isError\":true".to_owned(),
    };
    format!("{{{kind}\"content\":[{{\"type\":\"text\",\"text\":{text}}}],{rest}}}")
}

/// Adds the words of an exposed tool to what is searched.
pub(crate) fn describe(builder: &mut Builder, exposed: &str, definition: &str) {
    let keys = ["title", "description", "_meta", "inputSchema"];
    let [title, description, meta, schema] = pick_exact(definition, 0, keys).unwrap_or_default();
    let decoded = |span: Option<quorate_jsonrpc::Span>| span.and_then(|span| text(span.of(definition)));
    let (title, description) = (decoded(title), decoded(description));
    let tags =
        meta.and_then(|meta| pick_exact(meta.of(definition), meta.start, [META_TAGS]).ok()).and_then(|[tags]| tags);
    let mut words = Vec::new();
    if let Some(tags) = tags {
        // Tags of a server's own making may be anything, and then are none.
        let _unread = elements(tags.of(definition), tags.start, |span| words.extend(decoded(Some(span))));
    }
    let tags_count = words.len();
    let properties = schema
        .and_then(|schema| pick_exact(schema.of(definition), schema.start, ["properties"]).ok())
        .and_then(|[one]| one);
    if let Some(properties) = properties {
        // As above.
        let _unread = keyed_members(properties.of(definition), properties.start, |name, _, _| {
            words.push(name.to_owned().into());
        });
    }
    let (tags, arguments) = words.split_at(tags_count);
    let described = Described {
        name: exposed,
        title: title.as_deref().unwrap_or_default(),
        description: description.as_deref().unwrap_or_default(),
    };
    builder.add(described, tags.iter().map(AsRef::as_ref), arguments.iter().map(AsRef::as_ref));
}
