//! A document and what is wanted of it become an API: its tools, ready to be listed and called.
//!
//! An operation that cannot be offered is left out with its reason, and the others live on, unless `strict` asks for
//! all or nothing. The order of the tools is the document's; so are their names, whatever is selected.

use std::collections::{BTreeMap, HashMap, HashSet};

use http::HeaderMap;
use serde_json::Value;

use crate::credential::{Credential, Proofs};
use crate::document::Document;
use crate::name;
use crate::operation::{self, Operation};
use crate::problem::{Effect, Fault, Problem, Reason};
use crate::select::Selection;
use crate::server::{Choice, Server};
use crate::text::clean;
use crate::tool::{Setting, Tool};

/// The most characters of the API's title.
const TITLE_CHARS_MAX: usize = 200;

/// What is wanted of a document.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Config {
    /// Where requests go.
    pub server: Server,
    /// Values of the variables in servers' URLs, by name; those that are not given have the document's default.
    pub variables: BTreeMap<String, String>,
    /// Which operations become tools.
    pub selection: Selection,
    /// Credentials by the names of the document's security schemes; any name where it declares none.
    pub credentials: BTreeMap<String, Credential>,
    /// Headers that go with every request, unless a credential sets them; nothing that they set is an argument.
    pub headers: HeaderMap,
    /// Whether an operation that is selected and cannot be offered refuses the whole document.
    pub strict: bool,
}

/// A document's operations as tools.
#[derive(Debug)]
pub struct Api {
    title: String,
    version: String,
    description: String,
    tools: Vec<Tool>,
    by_name: HashMap<Box<str>, usize>,
}

/// What a compilation gives.
#[derive(Debug)]
pub struct Compiled {
    /// The tools.
    pub api: Api,
    /// What was left out or decided, in the order of the document.
    pub problems: Vec<Problem>,
}

/// Compiles a document.
///
/// # Errors
/// The problems that refuse it; with `strict` also those of operations that cannot be offered. There is at least one.
pub fn compile(document: &Document, config: &Config) -> Result<Compiled, Vec<Problem>> {
    let refused = |fault: Fault| vec![fault.refused()];
    let choice = Choice { server: &config.server, variables: &config.variables };
    let base = choice.of_document(document).map_err(refused)?;
    let (operations, broken) = operation::all(document).map_err(refused)?;
    let proofs = Proofs::new(document, &operations, &config.credentials).map_err(refused)?;
    let (names, shared) = name::of_operations(&operations);
    let selected = config.selection.apply(&operations, &names);
    let selected = selected.map_err(|faults| faults.into_iter().map(Fault::refused).collect::<Vec<_>>())?;
    let count = selected.iter().filter(|selected| **selected).count();
    let max = document.limits.operations_max;
    if count > max {
        let reason =
            Reason::TooMuch { what: "the selection", found: format!("{count} operations"), max: max.to_string() };
        return Err(refused(Fault { pointer: "#/paths".to_owned(), reason }));
    }
    let mut problems: Vec<Problem> = broken.into_iter().map(|(label, fault)| fault.left_out(&label)).collect();
    problems.extend(shared.into_iter().map(Fault::noted));
    let setting = Setting { document, choice, base: &base, fixed: &config.headers, proofs: &proofs };
    let chosen = operations.iter().zip(&names).zip(&selected).filter(|(_, selected)| **selected);
    let unused = proofs.unused(document, chosen.clone().map(|((operation, _), _)| operation));
    let tools = tools(&setting, chosen.map(|(one, _)| one), &mut problems);
    problems.extend(unused.into_iter().map(Fault::noted));
    let is_left_out = |problem: &Problem| matches!(problem.effect, Effect::LeftOut { .. });
    if config.strict && problems.iter().any(is_left_out) {
        problems.retain(is_left_out);
        return Err(problems);
    }
    if tools.is_empty() {
        let reason = Reason::Nothing { found: operations.len(), selected: count };
        problems.retain(is_left_out);
        problems.insert(0, Fault { pointer: "#/paths".to_owned(), reason }.refused());
        return Err(problems);
    }
    Ok(Compiled { api: Api::new(document, tools), problems })
}

fn tools<'o, 'd: 'o>(
    setting: &Setting<'_>,
    operations: impl Iterator<Item = (&'o Operation<'d>, &'o String)>,
    problems: &mut Vec<Problem>,
) -> Vec<Tool> {
    let mut tools = Vec::new();
    let mut bytes = 0;
    let max = setting.document.limits.tools_bytes_max;
    // What is true of most operations is told once.
    let mut without: HashSet<Vec<String>> = HashSet::new();
    let mut is_new = |reason: &Reason| {
        if let Reason::NoCredential { schemes } = reason { without.insert(schemes.clone()) } else { true }
    };
    for (operation, name) in operations {
        match Tool::new(setting, operation, name) {
            Ok((tool, _)) if bytes + tool.definition().len() > max => {
                let found = format!("more than {max} bytes");
                let reason = Reason::TooMuch { what: "all tools together", found, max: max.to_string() };
                problems.push(operation.node.fault(reason).left_out(&operation.label()));
            }
            Ok((tool, notes)) => {
                bytes += tool.definition().len();
                problems.extend(notes.into_iter().filter(|note| is_new(&note.reason)).map(Fault::noted));
                tools.push(tool);
            }
            Err(fault) => problems.push(fault.left_out(&operation.label())),
        }
    }
    tools
}

// === impl Api ===

impl Api {
    fn new(document: &Document, tools: Vec<Tool>) -> Self {
        let info = document.root.get("info");
        let text = |key: &str, chars_max: usize| {
            let text = info.and_then(|info| info.get(key)).and_then(Value::as_str);
            text.map(|text| clean(text, chars_max)).unwrap_or_default()
        };
        let by_name = tools.iter().enumerate().map(|(index, tool)| (Box::from(tool.name()), index)).collect();
        Self {
            title: text("title", TITLE_CHARS_MAX),
            version: text("version", TITLE_CHARS_MAX),
            description: text("description", document.limits.description_chars_max),
            tools,
            by_name,
        }
    }

    /// Returns the API's title; empty when the document has none.
    #[must_use]
    pub fn title(&self) -> &str {
        &self.title
    }

    /// Returns the API's own version; empty when the document has none.
    #[must_use]
    pub fn version(&self) -> &str {
        &self.version
    }

    /// Returns what the document says about the API as a whole; empty when it says nothing.
    #[must_use]
    pub fn description(&self) -> &str {
        &self.description
    }

    /// Returns the tools, in the document's order. There is at least one.
    #[must_use]
    pub fn tools(&self) -> &[Tool] {
        &self.tools
    }

    /// Returns the tool of a name.
    #[must_use]
    pub fn tool(&self, name: &str) -> Option<&Tool> {
        self.by_name.get(name).and_then(|index| self.tools.get(*index))
    }

    /// Lists where requests can go: every scheme, host, port and path prefix, each once, sorted.
    #[must_use]
    pub fn bases(&self) -> Vec<&str> {
        let mut bases: Vec<&str> = self.tools.iter().map(Tool::base).collect();
        bases.sort_unstable();
        bases.dedup();
        bases
    }
}
