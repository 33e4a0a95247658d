//! From the documents of a cluster to a checked set, again and again.
//!
//! In: all documents of a revision. Out: the same set that files with them would make, with every check and every error
//! of files, and the files that a node needs for it ([`crate::inline`]). A document that is as it was is not looked at
//! anew, so that what a change costs is the change, and the links of the whole.

use std::collections::{BTreeMap, HashMap};
use std::fmt;
use std::path::{Path as FilePath, PathBuf};

use quorate_catalog::{Digest, DocumentKey, Version};

use crate::compile::Home;
use crate::document::{key_of, node_of};
use crate::error::{Errors, Place, Problem, Reason};
use crate::inline::{self, File};
use crate::level::Needed;
use crate::read::{Documents, Read, problem};
use crate::resource::{Connection, Kind};
use crate::set::ResourceSet;
use crate::{prices, schema};

/// The most problems of an API that are told: of a document of another kind everything is wrong.
const API_PROBLEMS_MAX: usize = 20;

/// Compiles the documents of a cluster again and again.
pub struct Compiler {
    /// Where the files are that documents bring with them.
    folder: PathBuf,
    /// Documents without problems of their own, as they were read last.
    known: HashMap<DocumentKey, Known>,
}

/// A set, and what it needs.
#[derive(Debug)]
pub struct Compiled {
    /// The set.
    pub resources: ResourceSet,
    /// Files that have to be there before it is run, each once.
    pub files: Vec<File>,
    /// What in it takes the highest feature level of a cluster; none where every program reads all of it.
    pub needed: Option<Needed>,
}

struct Known {
    content: Digest,
    documents: Documents,
    files: Vec<File>,
    needed: Option<Needed>,
}

// === impl Compiler ===

impl Compiler {
    /// Makes a compiler that has seen nothing yet; files that documents bring with them are named in this folder, which is
    /// an absolute path.
    #[must_use]
    pub fn new(folder: PathBuf) -> Self {
        Self { folder, known: HashMap::new() }
    }

    /// Returns the folder of the files that documents bring with them.
    #[must_use]
    pub fn folder(&self) -> &FilePath {
        &self.folder
    }

    /// Compiles and checks a whole set of documents.
    ///
    /// # Errors
    /// [`Errors`] has every problem of every document.
    pub fn compile(&mut self, documents: &BTreeMap<DocumentKey, Version>) -> Result<Compiled, Errors> {
        let mut read = Read::default();
        let (mut files, mut needed) = (Vec::new(), None::<Needed>);
        // What is not in this set is forgotten.
        let mut before = std::mem::take(&mut self.known);
        for (key, version) in documents {
            let content = version.content.digest();
            let known = before.remove(key).filter(|known| known.content == content);
            let known = known.or_else(|| look(key, version, &self.folder, &mut read));
            if let Some(known) = known {
                read.documents.append(known.documents.clone());
                files.extend_from_slice(&known.files);
                let level = |needed: &Option<Needed>| needed.as_ref().map(|needed| needed.level);
                if level(&known.needed) > level(&needed) {
                    needed.clone_from(&known.needed);
                }
                self.known.insert(key.clone(), known);
            }
        }
        files.sort_by(|one, other| one.path.cmp(&other.path));
        files.dedup();
        let resources = read.finish_by(&|_, _, _| None, order)?;
        Ok(Compiled { resources, files, needed })
    }
}

/// Looks at a document; where something is wrong with it, what can be said of it is added to what was read.
fn look(key: &DocumentKey, version: &Version, folder: &FilePath, read: &mut Read) -> Option<Known> {
    let place = Place { kind: Kind::of(key.kind()), name: Some(key.name().to_string()), ..Place::default() };
    let node = match node_of(version.content.data()) {
        Ok(node) => node,
        Err(reason) => {
            read.problems.push(problem(place, reason));
            return None;
        }
    };
    let (found, before) = (key_of(&node), read.problems.len());
    let mut documents = Documents::default();
    read.node(&node, Place::default(), Home::Cluster(folder), &mut documents);
    if let Some(found) = found.filter(|found| found != key) {
        let message = format!("the document of {key} says that it is {found}");
        read.problems.push(Problem { place: place.clone(), path: String::new(), reason: Reason::Conflict { message } });
    }
    let files =
        Kind::of(key.kind()).map(|kind| inline::files(&node, schema::of_kind(kind), folder)).unwrap_or_default();
    check_apis(&documents, &files, &place, &mut read.problems);
    check_prices(&documents, &files, &mut read.problems);
    if read.problems.len() > before || !read.fits(&documents) {
        read.documents.append(documents);
        return None;
    }
    let needed = Needed::of(key, &node);
    Some(Known { content: version.content.digest(), documents, files, needed })
}

/// Whether APIs can be made of the documents that came along: nobody has to run them to know.
fn check_apis(documents: &Documents, files: &[File], place: &Place, problems: &mut Vec<Problem>) {
    for server in &documents.resources.tool_servers {
        let Connection::OpenApi(api) = &server.connection else { continue };
        let Some(file) = files.iter().find(|file| file.path == api.document) else { continue };
        for found in api.check(&file.text).err().into_iter().flatten().take(API_PROBLEMS_MAX) {
            let path = "spec.openapi.document".to_owned();
            let reason = Reason::Conflict { message: found.to_string() };
            problems.push(Problem { place: place.clone(), path, reason });
        }
    }
}

/// Whether files with prices that came along have prices.
fn check_prices(documents: &Documents, files: &[File], problems: &mut Vec<Problem>) {
    let named = documents.resources.providers.iter().filter_map(|provider| provider.prices.as_ref());
    for file in named.filter_map(|path| files.iter().find(|file| file.path == *path)) {
        problems.extend(prices::parse(&file.path, &file.text).err().into_iter().flat_map(Errors::into_problems));
    }
}

/// Tells of problems by kind and name, those of the whole set first.
fn order(problem: &Problem) -> (Option<Kind>, Option<String>) {
    (problem.place.kind, problem.place.name.clone())
}

impl fmt::Debug for Compiler {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Compiler").field("folder", &self.folder).field("known", &self.known.len()).finish()
    }
}
