//! `quorate validate` and `quorate schema`: resource files without a node.
//!
//! Both use the same code that a node loads its files with, so what is valid here is valid there.
//! Nothing is bound, connected to or written, but by `--probe`, which asks tool servers for their
//! lists ([`probe`]); documents, prices and secrets that resources name are read.

use quorate_config::{
    ApiKey, Connection, Issuer, Kind, Listener, Model, Policy, Provider, ResourceSet, Tenant, ToolServer, Toolset,
};
use quorate_mcp::curate::pattern::Pattern;
use quorate_openapi::Compiled;

use crate::cli::{SchemaArgs, ValidateArgs};
use crate::exit::{Exit, Failure};
use crate::output;
use crate::probe;
use crate::run::load_files;

/// The most notes on one document that are printed.
const NOTES_MAX: usize = 50;

/// Checks resource files and says what they contain.
///
/// # Errors
/// [`Failure`] with every problem of every file.
pub(crate) async fn run(args: &ValidateArgs) -> Result<(), Failure> {
    let resources = load_files(&args.files)?;
    let apis = apis(&resources)?;
    prices(&resources)?;
    output::print(&format!("{}{apis}", summary(&resources)))?;
    if args.probe { probe::run(resources).await } else { Ok(()) }
}

/// Compiles the documents of APIs, as a node would, and says what becomes of them.
fn apis(resources: &ResourceSet) -> Result<String, Failure> {
    let mut text = String::new();
    let mut refused = Vec::new();
    for server in resources.tool_servers() {
        let Connection::OpenApi(connection) = &server.connection else { continue };
        match connection.load() {
            Ok(compiled) => text.push_str(&notes(server, &compiled)),
            Err(error) => refused.push(format!("ToolServer/{}: {error}", server.name)),
        }
    }
    if refused.is_empty() { Ok(text) } else { Err(Failure::new(Exit::Config, refused.join("\n"))) }
}

/// Reads the files with prices, as a node would.
fn prices(resources: &ResourceSet) -> Result<(), Failure> {
    let read = |one: &Provider| {
        let error = quorate_config::prices::load(one.prices.as_deref()?).err()?;
        Some(format!("Provider/{}: {error}", one.name))
    };
    let refused: Vec<String> = resources.providers().iter().filter_map(read).collect();
    if refused.is_empty() { Ok(()) } else { Err(Failure::new(Exit::Config, refused.join("\n"))) }
}

fn notes(server: &ToolServer, compiled: &Compiled) -> String {
    let problems = &compiled.problems;
    let (tools, found) = (counted(compiled.api.tools().len(), "tool"), counted(problems.len(), "note"));
    let mut text = format!("\n{}: {tools}, {found}\n", server.name);
    for problem in problems.iter().take(NOTES_MAX) {
        text.push_str(&format!("  {problem}\n"));
    }
    if let Some(more) = problems.len().checked_sub(NOTES_MAX).filter(|more| *more > 0) {
        text.push_str(&format!("  and {more} more\n"));
    }
    text
}

fn counted(count: usize, what: &str) -> String {
    if count == 1 { format!("1 {what}") } else { format!("{count} {what}s") }
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
        let servers: Vec<&str> = toolset.servers().map(quorate_types::ResourceName::as_str).collect();
        format!("  Toolset     {}  {} ({})\n", toolset.name, servers.join(" "), toolset.naming.as_str())
    };
    let named = |kind: Kind, name: &str, about: &str| format!("  {:<10}  {name}  {about}\n", kind.as_str());
    let provider = |one: &Provider| {
        named(Kind::Provider, one.name.as_str(), &format!("{} ({})", one.url, one.preset.known().name))
    };
    let model = |one: &Model| {
        let names: Vec<&str> = one.names.iter().map(Pattern::as_str).collect();
        let targets: Vec<&str> = one.targets.iter().map(|target| target.provider.as_str()).collect();
        named(Kind::Model, one.name.as_str(), &format!("{} ({})", names.join(" "), targets.join(" ")))
    };
    let issuer = |issuer: &Issuer| named(Kind::Issuer, issuer.name.as_str(), &issuer.method.to_string());
    let api_key = |key: &ApiKey| {
        named(Kind::ApiKey, key.name.as_str(), &format!("{} ({})", key.agent, counted(key.secrets.len(), "key")))
    };
    let tenant = |tenant: &Tenant| named(Kind::Tenant, tenant.name.as_str(), &counted(tenant.groups.len(), "group"));
    let policy = |policy: &Policy| named(Kind::Policy, policy.name.as_str(), policy.mode.as_str());
    let mut text = String::from("valid:\n");
    text.extend(resources.listeners().iter().map(listener));
    text.extend(resources.tool_servers().iter().map(server));
    text.extend(resources.toolsets().iter().map(toolset));
    text.extend(resources.providers().iter().map(provider));
    text.extend(resources.models().iter().map(model));
    text.extend(resources.issuers().iter().map(issuer));
    text.extend(resources.api_keys().iter().map(|one| api_key(one)));
    text.extend(resources.tenants().iter().map(tenant));
    text.extend(resources.policies().iter().map(policy));
    text
}
