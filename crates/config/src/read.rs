//! From files and folders to a checked set.
//!
//! Files are read in the order in which they were named, a folder's files by name, without its
//! subfolders and hidden entries (Kubernetes keeps the real files of a mounted `ConfigMap` in
//! such). Each file is read once, however many ways lead to it. Every size and number is bounded.
//!
//! A hundred thousand API keys are a usual set. So the tree of a document is gone when the next one is read; to tell the
//! line of a problem that only the whole set shows, its file is parsed again. And whoever loads again and again has a
//! [`Loader`], which reads every file and looks only at documents of those that changed.

use std::cell::RefCell;
use std::collections::{HashMap, HashSet};
use std::fmt;
use std::hash::{BuildHasher, RandomState};
use std::io::Read as _;
use std::path::{Path as FilePath, PathBuf};
use std::sync::Arc;

use quorate_types::{ByteSize, TenantId};

use crate::compile::{self, Compiled, Home, Resource};
use crate::error::{Errors, Place, Problem, Reason};
use crate::node::{self, Format, Node, SyntaxError};
use crate::resource::Kind;
use crate::set::{Declared, LineOf, ResourceSet, Resources};

/// The largest file: one with the most API keys, each as `quorate keys new` writes it (230 to 320 bytes).
pub const FILE_BYTES_MAX: ByteSize = ByteSize::mib(32);
/// The most files of a set; all are looked at every two seconds.
pub const FILES_MAX: usize = 1_000;
/// All files of a set together: they are held in memory while they are read. Enough for the most API keys while each is
/// exchanged, which takes 400 bytes, and for 16 MiB of everything else.
pub const TOTAL_BYTES_MAX: ByteSize = ByteSize::mib(56);
/// The most documents of a set beside API keys.
pub const DOCUMENTS_MAX: usize = 10_000;
/// The most documents with API keys of a set.
pub const API_KEYS_MAX: usize = 100_000;

/// A text with resources, and where it is from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Source {
    /// Its file name; the extension `.json` makes it JSON, anything else YAML. Relative paths
    /// within begin at its folder.
    pub file: PathBuf,
    /// Its text.
    pub text: String,
}

/// Loads a set again and again: documents of files that are as they were are not looked at anew.
#[derive(Default)]
pub struct Loader {
    /// Files without problems of their own, as they were read last.
    known: HashMap<PathBuf, Known>,
    hasher: RandomState,
}

/// Reads and checks all resources of these files and folders.
///
/// # Errors
/// [`Errors`] has every problem of every file.
pub fn load(paths: &[PathBuf]) -> Result<ResourceSet, Errors> {
    Loader::default().load(paths)
}

/// Checks texts that were read already.
///
/// # Errors
/// [`Errors`] has every problem of every text.
pub fn parse(sources: &[Source]) -> Result<ResourceSet, Errors> {
    let mut read = Read::default();
    for source in sources {
        read.source(source);
    }
    read.finish(sources)
}

/// A file as it was read.
struct Known {
    /// Of its text: length and hash.
    fingerprint: (usize, u64),
    documents: Documents,
}

/// The documents of a file, or of all.
#[derive(Clone, Default)]
pub(crate) struct Documents {
    pub(crate) resources: Resources,
    declared: Vec<Declared>,
    /// How many there are, those beyond the bounds included.
    api_keys: usize,
    others: usize,
}

/// What has been read of a set.
#[derive(Default)]
pub(crate) struct Read {
    pub(crate) documents: Documents,
    pub(crate) problems: Vec<Problem>,
}

/// Finds lines in the files of a set.
struct Lines<'a> {
    sources: &'a [Source],
    /// The file that was asked about last, by its place in `sources`, and its documents: problems come file by file.
    parsed: RefCell<Option<(usize, Vec<Option<Node>>)>>,
}

/// Brings the problems of a document's links beside those of its values.
fn order(problem: &Problem, sources: &[Source]) -> (usize, usize, usize) {
    let file = sources.iter().position(|source| Some(&source.file) == problem.place.file.as_ref());
    (file.map_or(0, |index| index + 1), problem.place.document.unwrap_or(0), problem.place.line.unwrap_or(0))
}

// === impl Loader ===

impl Loader {
    /// Reads and checks all resources of these files and folders, as [`load`] does.
    ///
    /// # Errors
    /// [`Errors`] has every problem of every file.
    pub fn load(&mut self, paths: &[PathBuf]) -> Result<ResourceSet, Errors> {
        let mut problems = Vec::new();
        let sources = read_all(paths, &mut problems);
        let mut read = Read { problems, ..Read::default() };
        // Files that are gone are forgotten.
        let mut before = std::mem::take(&mut self.known);
        for source in &sources {
            let fingerprint = (source.text.len(), self.hasher.hash_one(&source.text));
            let known = before.remove(&source.file).filter(|known| known.fingerprint == fingerprint);
            let known = match known {
                Some(known) => {
                    read.documents.append(known.documents.clone());
                    Some(known)
                }
                None => read.source(source).map(|documents| Known { fingerprint, documents }),
            };
            self.known.extend(known.map(|known| (source.file.clone(), known)));
        }
        read.finish(&sources)
    }
}

impl fmt::Debug for Loader {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Loader").field("known", &self.known.len()).finish_non_exhaustive()
    }
}

// === impl Documents ===

impl Documents {
    pub(crate) fn append(&mut self, other: Self) {
        self.resources.append(other.resources);
        self.declared.extend(other.declared);
        self.api_keys += other.api_keys;
        self.others += other.others;
    }
}

// === impl Read ===

impl Read {
    /// Reads the documents of a text, and returns them where nothing is wrong with them.
    fn source(&mut self, source: &Source) -> Option<Documents> {
        let (problems, mut documents) = (self.problems.len(), Documents::default());
        let mut count = 0;
        let folder = source.file.parent().unwrap_or(FilePath::new(""));
        node::each(&source.text, format_of(&source.file), |document| {
            count += 1;
            let place = Place { file: Some(source.file.clone()), document: Some(count), ..Place::default() };
            self.document(document, place, Home::Folder(folder), &mut documents);
        });
        // What was counted only is not known: with fewer documents elsewhere there may be room for it.
        let read = (self.fits(&documents) && self.problems.len() == problems).then(|| documents.clone());
        self.documents.append(documents);
        read
    }

    /// Whether these, too, are within the bounds.
    pub(crate) fn fits(&self, documents: &Documents) -> bool {
        self.documents.api_keys + documents.api_keys <= API_KEYS_MAX
            && self.documents.others + documents.others <= DOCUMENTS_MAX
    }

    /// Reads one document, where it is one.
    fn document(
        &mut self,
        document: Result<Node, SyntaxError>,
        place: Place,
        home: Home<'_>,
        documents: &mut Documents,
    ) {
        match document {
            Ok(node) => self.node(&node, place, home, documents),
            Err(error) => {
                let place = Place { document: Some(error.document), line: error.line, ..place };
                self.problems.push(problem(place, Reason::Syntax { message: error.message }));
            }
        }
    }

    /// Adds what is in a tree to the documents.
    pub(crate) fn node(&mut self, node: &Node, place: Place, home: Home<'_>, documents: &mut Documents) {
        let is_api_key = node.get("kind").and_then(Node::as_text) == Some(Kind::ApiKey.as_str());
        let (count, before, max) = if is_api_key {
            (&mut documents.api_keys, self.documents.api_keys, API_KEYS_MAX)
        } else {
            (&mut documents.others, self.documents.others, DOCUMENTS_MAX)
        };
        *count += 1;
        // Those beyond are counted only: the set is refused.
        if before + *count > max {
            return;
        }
        let compiled = compile::compile(node, place, home, &mut self.problems);
        documents.declared.extend(declared(&compiled));
        if let Some(resource) = compiled.resource {
            put(&mut documents.resources, resource);
        }
    }

    /// Checks the whole set.
    fn finish(self, sources: &[Source]) -> Result<ResourceSet, Errors> {
        let lines = Lines { sources, parsed: RefCell::default() };
        let line_of = |place: &Place, path: &node::Path, within: Option<usize>| lines.find(place, path, within);
        self.finish_by(&line_of, |problem| order(problem, sources))
    }

    /// Checks the whole set, and tells of its problems in an order.
    pub(crate) fn finish_by<K: Ord>(
        mut self,
        line_of: &LineOf<'_>,
        order: impl FnMut(&Problem) -> K,
    ) -> Result<ResourceSet, Errors> {
        self.check_counts();
        let Self { documents: Documents { resources, declared, .. }, mut problems } = self;
        let mut checked = resources.check(&declared, line_of);
        problems.append(&mut checked.problems);
        problems.sort_by_cached_key(order);
        checked.problems = problems;
        ResourceSet::of_checked(resources, checked)
    }

    fn check_counts(&mut self) {
        for (count, max, what) in [
            (self.documents.others, DOCUMENTS_MAX, "documents beside API keys"),
            (self.documents.api_keys, API_KEYS_MAX, "documents with API keys"),
        ] {
            if count > max {
                let reason =
                    Reason::TooMuch { what: "the set", found: format!("{count} {what}"), max: max.to_string() };
                self.problems.push(problem(Place::default(), reason));
            }
        }
    }
}

// === impl Lines ===

impl Lines<'_> {
    /// Returns the line of a key path in the document at a place; or of a line of the text that is there.
    fn find(&self, place: &Place, path: &node::Path, within: Option<usize>) -> Option<usize> {
        let index = self.sources.iter().position(|source| Some(&source.file) == place.file.as_ref())?;
        let source = &self.sources[index];
        let mut parsed = self.parsed.borrow_mut();
        if parsed.as_ref().is_none_or(|(of, _)| *of != index) {
            let documents = node::parse(&source.text, format_of(&source.file));
            *parsed = Some((index, documents.into_iter().map(Result::ok).collect()));
        }
        let (_, documents) = parsed.as_ref()?;
        let node = documents.get(place.document?.checked_sub(1)?)?.as_ref()?;
        match within {
            None => node.line_at(path),
            Some(line) => node.line_within(path, line, &source.text),
        }
    }
}

fn declared(compiled: &Compiled) -> Option<Declared> {
    let (kind, name) = compiled.identity.clone()?;
    let tenant = compiled.resource.as_ref().map(|resource| match resource {
        Resource::Listener(one) => one.tenant.clone(),
        Resource::ToolServer(one) => one.tenant.clone(),
        Resource::Toolset(one) => one.tenant.clone(),
        Resource::Provider(one) => one.tenant.clone(),
        Resource::Model(one) => one.tenant.clone(),
        Resource::Issuer(one) => one.tenant.clone(),
        Resource::ApiKey(one) => one.tenant.clone(),
        Resource::Tenant(_) => TenantId::default(),
        Resource::Policy(one) => one.tenant.clone(),
    });
    Some(Declared { kind, name, tenant, place: compiled.place.clone() })
}

fn put(resources: &mut Resources, resource: Resource) {
    match resource {
        Resource::Listener(one) => resources.listeners.push(one),
        Resource::ToolServer(one) => resources.tool_servers.push(one),
        Resource::Toolset(one) => resources.toolsets.push(one),
        Resource::Provider(one) => resources.providers.push(*one),
        Resource::Model(one) => resources.models.push(*one),
        Resource::Issuer(one) => resources.issuers.push(one),
        Resource::ApiKey(one) => resources.api_keys.push(Arc::new(one)),
        Resource::Tenant(one) => resources.tenants.push(one),
        Resource::Policy(one) => resources.policies.push(one),
    }
}

/// Reads what the paths lead to; what cannot be read is reported.
pub(crate) fn read_all(paths: &[PathBuf], problems: &mut Vec<Problem>) -> Vec<Source> {
    let files = find_files(paths, problems);
    let mut total = 0;
    let mut sources = Vec::new();
    for file in files {
        match read_file(&file) {
            Ok(text) => {
                total += text.len() as u64;
                sources.push(Source { file, text });
            }
            Err(reason) => problems.push(problem(Place { file: Some(file), ..Place::default() }, reason)),
        }
        if total > TOTAL_BYTES_MAX.0 {
            let found = format!("more than {TOTAL_BYTES_MAX}");
            let reason = Reason::TooMuch { what: "the set", found, max: TOTAL_BYTES_MAX.to_string() };
            problems.push(problem(Place::default(), reason));
            break;
        }
    }
    sources
}

/// Lists the files that the paths lead to, each once.
pub(crate) fn find_files(paths: &[PathBuf], problems: &mut Vec<Problem>) -> Vec<PathBuf> {
    let mut files = Vec::new();
    let mut seen = HashSet::new();
    for path in paths {
        let found = if path.is_dir() { list_folder(path) } else { named_file(path) };
        match found {
            Ok(found) => files.extend(found.into_iter().filter(|file| {
                // A file that vanished meanwhile has no real path; reading it will say so.
                seen.insert(std::fs::canonicalize(file).unwrap_or_else(|_| file.clone()))
            })),
            Err(reason) => problems.push(problem(Place { file: Some(path.clone()), ..Place::default() }, reason)),
        }
    }
    if files.len() > FILES_MAX {
        let reason =
            Reason::TooMuch { what: "the set", found: format!("{} files", files.len()), max: FILES_MAX.to_string() };
        problems.push(problem(Place::default(), reason));
        files.truncate(FILES_MAX);
    }
    files
}

fn named_file(path: &FilePath) -> Result<Vec<PathBuf>, Reason> {
    if is_resource_file(path) { Ok(vec![path.to_path_buf()]) } else { Err(Reason::Extension) }
}

fn list_folder(folder: &FilePath) -> Result<Vec<PathBuf>, Reason> {
    let mut files = Vec::new();
    for entry in std::fs::read_dir(folder).map_err(unreadable)? {
        let path = entry.map_err(unreadable)?.path();
        let hidden = path.file_name().is_some_and(|name| name.as_encoded_bytes().starts_with(b"."));
        if !hidden && is_resource_file(&path) && !path.is_dir() {
            files.push(path);
        }
    }
    if files.is_empty() {
        return Err(Reason::EmptyFolder);
    }
    files.sort();
    Ok(files)
}

fn is_resource_file(path: &FilePath) -> bool {
    path.extension().is_some_and(|extension| extension == "yaml" || extension == "yml" || extension == "json")
}

/// Reads a file up to its bound; what has no end, such as a device, is not read to it.
pub(crate) fn read_file(path: &FilePath) -> Result<String, Reason> {
    let file = std::fs::File::open(path).map_err(unreadable)?;
    let mut text = String::new();
    let mut bounded = file.take(FILE_BYTES_MAX.0 + 1);
    bounded.read_to_string(&mut text).map_err(unreadable)?;
    if text.len() as u64 > FILE_BYTES_MAX.0 {
        let found = format!("more than {FILE_BYTES_MAX}");
        return Err(Reason::TooMuch { what: "the file", found, max: FILE_BYTES_MAX.to_string() });
    }
    Ok(text)
}

pub(crate) fn format_of(path: &FilePath) -> Format {
    if path.extension().is_some_and(|extension| extension == "json") { Format::Json } else { Format::Yaml }
}

#[expect(clippy::needless_pass_by_value, reason = "it is the argument of map_err")]
fn unreadable(error: std::io::Error) -> Reason {
    Reason::Unreadable { message: error.to_string() }
}

pub(crate) fn problem(place: Place, reason: Reason) -> Problem {
    Problem { place, path: String::new(), reason }
}
