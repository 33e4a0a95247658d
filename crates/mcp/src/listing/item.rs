//! Reads one page of a backend's list into items, without changing a byte.
//!
//! In: the JSON text of a list result. Out: each item's raw bytes, where in them its name (`uri`,
//! `uriTemplate`) stands, and the page's own members. An item that has no usable name, or two, is
//! dropped and counted: one broken definition must not take its server's others away. What is
//! wrong with the page itself is an error, since then nothing in it can be trusted.

use std::borrow::Cow;

use bytes::Bytes;
use quorate_jsonrpc::{MembersError, Span, elements, pick, text};

use super::{CacheScope, NAME_BYTES_MAX};
use crate::message::ListKind;

/// One listed thing: its raw definition and its name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Item {
    bytes: Bytes,
    name: Box<str>,
    name_span: Span,
    links: Vec<Link>,
}

/// A resource URI inside a definition that must follow the resource when that is renamed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Link {
    /// Where its JSON string stands in the item, quotes included.
    pub(super) span: Span,
    /// The URI as the server gave it.
    pub(super) uri: Box<str>,
}

/// A page of a backend's list.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Page {
    pub(super) items: Vec<Item>,
    /// The cursor of the next page; the empty string is one.
    pub(super) next_cursor: Option<String>,
    /// Fresh for this many milliseconds; `None` when the server did not say.
    pub(super) ttl_ms: Option<u64>,
    /// `None` when the server did not say.
    pub(super) scope: Option<CacheScope>,
    /// Items without a usable name.
    pub(super) dropped: usize,
}

/// A backend's answer is not a page of the expected list.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PageError {
    /// The result is not a JSON object whose deciding members occur once.
    #[error("the list result cannot be read")]
    Malformed(#[source] MembersError),
    /// The result has no array of items.
    #[error("the list result has no array `{key}`")]
    NoItems {
        /// The member that should hold it.
        key: &'static str,
    },
    /// `nextCursor` is neither a string nor null.
    #[error("`nextCursor` is not a string")]
    Cursor,
    /// `resultType` says that this is no finished result.
    #[error("the list result is of type {found:?}")]
    Incomplete {
        /// The type given.
        found: String,
    },
}

// === impl Item ===

impl Item {
    /// Returns the definition's raw JSON text.
    #[must_use]
    pub const fn bytes(&self) -> &Bytes {
        &self.bytes
    }

    /// Returns the name (or URI, or URI template) as its server gave it, decoded.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Returns where the name's JSON string stands in [`Item::bytes`], quotes included.
    pub(super) const fn name_span(&self) -> Span {
        self.name_span
    }

    /// Returns the resource URIs that the definition refers to.
    pub(super) fn links(&self) -> &[Link] {
        &self.links
    }

    /// Reads one element of a list; `None` when it has no usable name.
    fn parse(kind: ListKind, bytes: Bytes) -> Option<Self> {
        let raw = std::str::from_utf8(&bytes).ok()?;
        let [name_span] = pick(raw, 0, [kind.item_key()]).ok()?;
        let name_span = name_span?;
        let name = text(name_span.of(raw))?;
        if name.is_empty() || name.len() > NAME_BYTES_MAX {
            return None;
        }
        let name = name.into();
        let links = match kind {
            ListKind::Tools => ui_links(raw),
            ListKind::Prompts | ListKind::Resources | ListKind::ResourceTemplates => Vec::new(),
        };
        Some(Self { bytes, name, name_span, links })
    }
}

// === impl Page ===

impl Page {
    /// Reads the result of a list request.
    pub(super) fn parse(kind: ListKind, result: &Bytes) -> Result<Self, PageError> {
        let raw = std::str::from_utf8(result)
            .map_err(|error| PageError::Malformed(MembersError::Syntax { at: error.valid_up_to() }))?;
        let keys = [kind.result_key(), "nextCursor", "ttlMs", "cacheScope", "resultType"];
        let [items, next_cursor, ttl_ms, scope, result_type] = pick(raw, 0, keys).map_err(PageError::Malformed)?;

        if let Some(found) = result_type.map(|span| span.of(raw)) {
            let found = text(found).unwrap_or(Cow::Borrowed(found));
            if found != "complete" {
                return Err(PageError::Incomplete { found: found.into_owned() });
            }
        }
        let no_items = PageError::NoItems { key: kind.result_key() };
        let array = items.ok_or_else(|| no_items.clone())?;
        let mut page = Self {
            items: Vec::new(),
            next_cursor: next_cursor.map_or(Ok(None), |span| cursor(span.of(raw)))?,
            // A number that is no count of milliseconds is one that nobody can rely on.
            ttl_ms: ttl_ms.map(|span| span.of(raw).parse().unwrap_or(0)),
            scope: scope
                .map(|span| if span.of(raw) == "\"public\"" { CacheScope::Public } else { CacheScope::Private }),
            dropped: 0,
        };
        elements(array.of(raw), array.start, |span| match Item::parse(kind, result.slice(span.range())) {
            Some(item) => page.items.push(item),
            None => page.dropped += 1,
        })
        .map_err(|error| match error {
            MembersError::Type => no_items,
            MembersError::Syntax { .. } | MembersError::Duplicate { .. } => PageError::Malformed(error),
        })?;
        Ok(page)
    }
}

fn cursor(raw: &str) -> Result<Option<String>, PageError> {
    if raw == "null" {
        return Ok(None);
    }
    text(raw).map(|cursor| Some(cursor.into_owned())).ok_or(PageError::Cursor)
}

/// The UI resource of an MCP Apps tool: `_meta.ui.resourceUri`, and the form before it,
/// `_meta["ui/resourceUri"]`.
fn ui_links(raw: &str) -> Vec<Link> {
    if !raw.contains("esourceUri") {
        return Vec::new();
    }
    let Ok([Some(meta)]) = pick(raw, 0, ["_meta"]) else { return Vec::new() };
    let Ok([ui, flat]) = pick(meta.of(raw), meta.start, ["ui", "ui/resourceUri"]) else { return Vec::new() };
    let nested = ui.and_then(|ui| match pick(ui.of(raw), ui.start, ["resourceUri"]) {
        Ok([uri]) => uri,
        Err(_) => None,
    });
    [nested, flat]
        .into_iter()
        .flatten()
        .filter_map(|span| text(span.of(raw)).map(|uri| Link { span, uri: uri.into() }))
        .collect()
}
