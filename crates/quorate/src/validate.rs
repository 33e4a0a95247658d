//! `quorate validate` and `quorate schema`: resource files without a node.
//!
//! Both use the same code that a node loads its files with, so what is valid here is valid there.
//! Nothing is bound, connected to or written.

use quorate_config::{Listener, ResourceSet, ToolServer, Toolset};

use crate::cli::{SchemaArgs, ValidateArgs};
use crate::exit::{Exit, Failure};
use crate::output;
use crate::run::load_files;

/// Checks resource files and says what they contain.
///
/// # Errors
/// [`Failure`] with every problem of every file.
pub(crate) fn run(args: &ValidateArgs) -> Result<(), Failure> {
    let resources = load_files(&args.files)?;
    output::print(&summary(&resources))
}

/// Prints the JSON schema of resource files.
///
/// # Errors
/// [`Failure`] when it cannot be printed.
pub(crate) fn schema(_args: &SchemaArgs) -> Result<(), Failure> {
    let text = serde_json::to_string_pretty(&quorate_config::schema());
    let text = text.map_err(|error| Failure::new(Exit::Failure, format!("cannot write the schema: {error}")))?;
    output::print(&format!("{text}\n"))
}

fn summary(resources: &ResourceSet) -> String {
    let listener = |listener: &Listener| format!("  Listener    {}  {}\n", listener.name, listener.address);
    let server = |server: &ToolServer| format!("  ToolServer  {}  {}\n", server.name, server.connection);
    let toolset = |toolset: &Toolset| {
        let servers: Vec<&str> = toolset.servers.iter().map(quorate_types::ResourceName::as_str).collect();
        format!("  Toolset     {}  {} ({})\n", toolset.name, servers.join(" "), toolset.naming.as_str())
    };
    let mut text = String::from("valid:\n");
    text.extend(resources.listeners().iter().map(listener));
    text.extend(resources.tool_servers().iter().map(server));
    text.extend(resources.toolsets().iter().map(toolset));
    text
}
