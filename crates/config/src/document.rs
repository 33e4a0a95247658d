//! Documents as a cluster keeps them: what an operator wrote, as one canonical JSON object with a key.
//!
//! [`read()`] makes documents of resource files where the files are, [`Document::of_json`] takes one over where it arrives,
//! and [`crate::Compiler`] makes a set of all that there are. The whole document is kept (kind, name, tenant, spec), so
//! that what comes back is what was written; only the tenant `default`, which nobody has to write, is left out.
//!
//! Invariant: files make the same set as the documents that are made of them, but for files that were taken along
//! ([`crate::inline`]), which are elsewhere then and have the same text.

use std::path::{Path as FilePath, PathBuf};

use bytes::Bytes;
use quorate_catalog::{DocumentKey, canonical};
use quorate_types::TenantId;
use serde_json::Value as Json;

use crate::compile::{self, Home};
use crate::error::{Errors, Place, Problem, Reason};
use crate::inline;
use crate::node::{self, Format, Node};
use crate::read::{self, Documents, Read, Source, problem};
use crate::resource::Kind;
use crate::{schema, shape};

/// The tenant of documents that name none.
pub const TENANT_DEFAULT: &str = TenantId::DEFAULT;

/// A document of a cluster.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Document {
    /// Which one it is.
    pub key: DocumentKey,
    /// What it says: canonical JSON.
    pub content: Bytes,
    /// Where it is from, for messages: `FILE:LINE`, or whatever was said; may be empty.
    pub origin: String,
}

/// Reads the documents of files and folders, with what they name by relative paths. Each is checked by itself; what links
/// documents is checked where all of them are.
///
/// # Errors
/// [`Errors`] has every problem of every file.
pub fn read(paths: &[PathBuf]) -> Result<Vec<Document>, Errors> {
    let mut problems = Vec::new();
    let sources = read::read_all(paths, &mut problems);
    read_sources(&sources, problems)
}

/// Makes documents of texts that were read already.
///
/// # Errors
/// [`Errors`] has every problem of every text.
pub fn of_sources(sources: &[Source]) -> Result<Vec<Document>, Errors> {
    read_sources(sources, Vec::new())
}

fn read_sources(sources: &[Source], problems: Vec<Problem>) -> Result<Vec<Document>, Errors> {
    let mut all = Read { problems, ..Read::default() };
    let mut documents = Vec::new();
    for source in sources {
        let folder = source.file.parent().unwrap_or(FilePath::new(""));
        let mut count = 0;
        node::each(&source.text, read::format_of(&source.file), |parsed| {
            count += 1;
            let place = Place { file: Some(source.file.clone()), document: Some(count), ..Place::default() };
            match parsed {
                Ok(node) => documents.extend(one(node, place, folder, &mut all)),
                Err(error) => {
                    let place = Place { document: Some(error.document), line: error.line, ..place };
                    all.problems.push(problem(place, Reason::Syntax { message: error.message }));
                }
            }
        });
    }
    Errors::of(all.problems).map_or(Ok(documents), Err)
}

/// Makes a document of a tree, where nothing is wrong with it.
fn one(mut node: Node, place: Place, folder: &FilePath, all: &mut Read) -> Option<Document> {
    let before = all.problems.len();
    if let Some(kind) = node.get("kind").and_then(Node::as_text).and_then(Kind::of) {
        let named = node.get("name").and_then(Node::as_text).map(str::to_owned);
        let place = Place { kind: Some(kind), name: named, line: node.line, ..place.clone() };
        let mut refused = Vec::new();
        inline::take_along(&mut node, schema::of_kind(kind), folder, &mut |at, reason| {
            refused.push((at.clone(), reason));
        });
        for (at, reason) in refused {
            let line = node.line_at(&at).or(place.line);
            all.problems.push(Problem { place: Place { line, ..place.clone() }, path: at.to_string(), reason });
        }
    }
    let line = node.line.map(|line| format!(":{line}")).unwrap_or_default();
    let origin = place.file.as_ref().map(|file| format!("{}{line}", file.display())).unwrap_or_default();
    let mut read = Documents::default();
    all.node(&node, place, Home::Cluster(FilePath::new("/")), &mut read);
    all.documents.append(read);
    if all.problems.len() > before {
        return None;
    }
    let key = key_of(&node)?;
    Some(Document { key, content: content_of(&node)?, origin })
}

// === impl Document ===

impl Document {
    /// Takes over what arrives as JSON; `origin` says where it is from. Only what makes it a document is checked: that it
    /// is one object, and of what kind, tenant and name.
    ///
    /// # Errors
    /// [`Errors`] has every problem of the document, when it is none.
    pub fn of_json(json: &[u8], origin: &str) -> Result<Self, Errors> {
        let file = Some(origin).filter(|origin| !origin.is_empty()).map(PathBuf::from);
        let place = Place { file, ..Place::default() };
        let none = |problems| Errors::of(problems).expect("something is wrong with it");
        let node = node_of(json).map_err(|reason| none(vec![problem(place.clone(), reason)]))?;
        if let (Some(key), Some(content)) = (key_of(&node), content_of(&node)) {
            return Ok(Self { key, content, origin: origin.to_owned() });
        }
        let mut problems = Vec::new();
        compile::compile(&node, place.clone(), Home::Cluster(FilePath::new("/")), &mut problems);
        if problems.is_empty() {
            problems.push(problem(place, Reason::Syntax { message: "is not a document".to_owned() }));
        }
        Err(none(problems))
    }

    /// Returns the document as a tree, for people: kind, name and tenant first, then the spec.
    ///
    /// # Errors
    /// The content is not one JSON object; of a document that was checked it is.
    pub fn for_people(content: &[u8]) -> Result<Json, serde_json::Error> {
        let Json::Object(mut members) = serde_json::from_slice::<Json>(content)? else {
            return Err(serde::de::Error::custom("a document is an object"));
        };
        let mut sorted = serde_json::Map::new();
        for key in ["kind", "name", "tenant", "spec"] {
            sorted.extend(members.shift_remove(key).map(|value| (key.to_owned(), value)));
        }
        sorted.extend(members);
        Ok(Json::Object(sorted))
    }
}

/// Reads the tree of exactly one JSON document.
pub(crate) fn node_of(json: &[u8]) -> Result<Node, Reason> {
    let syntax = |message: String| Reason::Syntax { message };
    let text = std::str::from_utf8(json).map_err(|error| syntax(format!("is not valid JSON: {error}")))?;
    let mut parsed = node::parse(text, Format::Json);
    match (parsed.len(), parsed.pop()) {
        (1, Some(node)) => node.map_err(|error| syntax(error.message)),
        (count, _) => Err(syntax(format!("has {count} JSON values; a document is one"))),
    }
}

/// The key of a document, where its kind, tenant and name can be ones.
pub(crate) fn key_of(node: &Node) -> Option<DocumentKey> {
    let text = |key: &str| node.get(key).map(Node::as_text);
    let kind = Kind::of(text("kind")??)?;
    let tenant = text("tenant").unwrap_or(Some(TenantId::DEFAULT))?;
    DocumentKey::new(kind.as_str(), tenant, text("name")??).ok()
}

/// The canonical form of a document.
fn content_of(node: &Node) -> Option<Bytes> {
    let mut json = shape::as_it_is(node);
    let members = json.as_object_mut()?;
    if members.get("tenant").is_some_and(|tenant| tenant == TenantId::DEFAULT) {
        members.shift_remove("tenant");
    }
    canonical(&json).ok()
}
