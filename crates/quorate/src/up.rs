//! `quorate up`: `serve` with development defaults on loopback, which it prints.
//!
//! Without arguments it starts the embedded demo tool server and model and puts them behind the endpoint, so
//! that a first call needs nothing else. The identity, the policy and the addresses that it
//! assumes are said in its output, together with what to try.

use std::net::SocketAddr;

use quorate_config::{
    Connection, Naming, OpenApiConnection, ResourceSet, Resources, Source, StdioConnection, ToolServer, Toolset,
};
use quorate_gateway::authenticate::{DEVELOPMENT_AGENT, Development};
use quorate_types::ResourceName;
use serde_json::Value;
use tokio_util::sync::CancellationToken;
use url::Url;

use crate::cli::{NamedCommand, NamingArg, UpArgs};
use crate::demo_server::DemoServer;
use crate::exit::{Exit, Failure};
use crate::output;
use crate::run::{Plan, Running, Stop, load_files, of_config, start, until_stopped, with_listener};

pub(crate) mod models;

pub(crate) const DEMO: &str = "demo";

/// Runs the command.
///
/// # Errors
/// [`Failure`] with what to do about it.
pub(crate) async fn run(args: UpArgs) -> Result<(), Failure> {
    expect_loopback(args.listen)?;
    let stop = CancellationToken::new();
    let _stop_demo = stop.clone().drop_guard();
    let mut servers = servers(&args)?;
    let demo = if args.is_plain() { Some(DemoServer::start(stop)?) } else { None };
    if let Some(demo) = &demo {
        servers.push(ToolServer::new(name(DEMO), Connection::http(vec![demo_url(demo)?])));
    }
    let models = models_of(&models::documents(&args.llm, demo.as_ref().map(DemoServer::model_url).as_deref()))?;
    let (listen, naming, files) = (args.listen, args.naming, args.files.clone());
    let load = move || resources(listen, &servers, &models, naming, &files);
    let plan = Plan {
        node: args.node,
        development: Development::Loopback,
        allow_all: true,
        admin: Some(args.admin),
        files: args.files,
    };
    let running = start(plan, &load).await?;
    output::print(&greeting(&running, listen, &load()?, demo.is_some()).await)?;
    until_stopped(running, &load, Stop::new()?).await
}

/// Refuses an address that others than this machine reach.
pub(crate) fn expect_loopback(listen: SocketAddr) -> Result<(), Failure> {
    if listen.ip().is_loopback() {
        return Ok(());
    }
    Err(Failure::new(Exit::Usage, format!("{listen} is not on loopback"))
        .advise("`up` gives every caller a development identity; use `quorate serve -f` for other addresses"))
}

/// The tool servers of the flags. Programs work in the present folder, as if they had been started there by hand.
fn servers(args: &UpArgs) -> Result<Vec<ToolServer>, Failure> {
    let folder = std::env::current_dir()
        .map_err(|error| Failure::new(Exit::Failure, format!("there is no current folder: {error}")))?;
    let mcp = args.mcp.iter().map(|(name, url)| (name, Connection::http(vec![url.clone()])));
    let apis = args
        .openapi
        .iter()
        .map(|(name, document)| (name, Connection::OpenApi(Box::new(OpenApiConnection::new(document.clone())))));
    let programs = args.stdio.iter().map(|NamedCommand { name, command }| {
        let mut stdio = StdioConnection::new(command.clone());
        stdio.folder = Some(folder.clone());
        (name, Connection::Stdio(Box::new(stdio)))
    });
    let all = mcp.chain(apis).chain(programs);
    Ok(all.map(|(name, connection)| ToolServer::new(name.clone(), connection)).collect())
}

/// The providers and models of documents that flags were made of.
fn models_of(documents: &[Value]) -> Result<Resources, Failure> {
    let text: Vec<String> = documents.iter().map(Value::to_string).collect();
    let source = Source { file: "flags".into(), text: text.join("\n---\n") };
    let set = quorate_config::parse(&[source]).map_err(|errors| of_config(&errors))?;
    Ok(set.into_resources())
}

/// The resources of the flags and of the files, together.
fn resources(
    listen: SocketAddr,
    servers: &[ToolServer],
    models: &Resources,
    naming: Option<NamingArg>,
    files: &[std::path::PathBuf],
) -> Result<ResourceSet, Failure> {
    let of_files = if files.is_empty() { ResourceSet::default() } else { load_files(files)? };
    let mut resources = with_listener(of_files, listen)?.into_resources();
    resources.append(models.clone());
    if !servers.is_empty() {
        resources.tool_servers.extend(servers.iter().cloned());
        let names = servers.iter().map(|server| server.name.clone()).collect();
        let mut toolset = Toolset::new(name(Toolset::DEFAULT_NAME), names);
        if let Some(naming) = naming {
            toolset.naming = match naming {
                NamingArg::Bare => Naming::Bare,
                NamingArg::Prefix => Naming::Prefix,
                NamingArg::OnCollision => Naming::OnCollision,
            };
        }
        resources.toolsets.push(toolset);
    }
    ResourceSet::new(resources).map_err(|errors| of_config(&errors))
}

/// Says what is served, under which assumptions, and what to try.
async fn greeting(running: &Running, listen: SocketAddr, resources: &ResourceSet, is_demo: bool) -> String {
    let addresses = running.gateway.addresses().await;
    // The files may have others: the one that was asked for is told, with the port it really has.
    let listener = resources.listeners().iter().find(|listener| listener.address == listen);
    let of_listener = addresses.iter().find(|(name, _)| listener.is_some_and(|listener| listener.name == *name));
    let address = of_listener.map_or(listen, |(_, address)| *address);
    let scheme = if listener.is_some_and(|listener| listener.tls.is_some()) { "https" } else { "http" };
    let base = format!("{scheme}://{address}");
    let mut text = format!(
        "quorate {} is up (development defaults: loopback only, every caller is `{DEVELOPMENT_AGENT}`, \
         a policy allows everything)\n\n",
        env!("CARGO_PKG_VERSION"),
    );
    let has_tools = !resources.toolsets().is_empty();
    if has_tools {
        text += &format!("  MCP       {base}/mcp  (and {base}/sse for clients of 2024)\n");
    }
    let model = resources.models().iter().flat_map(|model| &model.names).find(|name| name.wildcards() == 0);
    if !resources.models().is_empty() {
        text += &format!("  models    {base}/v1  (OpenAI, Anthropic), {base}/v1beta  (Gemini)\n");
    }
    if let Some(admin) = running.admin {
        text += &format!("  admin     http://{admin}  /healthz /readyz /metrics\n");
    }
    text += "\nTry:\n";
    if has_tools {
        text += &tools_to_try(&format!("{base}/mcp"), is_demo);
    }
    if !resources.models().is_empty() {
        text += &models_to_try(&base, model.map_or("MODEL", |name| name.as_str()));
    }
    if has_tools {
        let hosts = "In an MCP host (Claude, Cursor, VS Code, …)";
        text += &format!(
            "\n{hosts}:\n\n  {{\"mcpServers\": {{\"quorate\": {{\"type\": \"http\", \"url\": \"{base}/mcp\"}}}}}}\n"
        );
    }
    text + "\nCtrl-C drains and stops.\n"
}

fn tools_to_try(endpoint: &str, is_demo: bool) -> String {
    let tool = if is_demo { "echo --arg text=hello" } else { "TOOL --arg KEY=VALUE" };
    let url = if endpoint == crate::cli::DEFAULT_URL { String::new() } else { format!(" --url {endpoint}") };
    let list_url = if url.is_empty() { String::new() } else { format!(" {endpoint}") };
    format!(
        "\n  quorate tools{list_url}\n  \
         quorate call {tool}{url}\n\n  \
         curl -s {endpoint} -H 'content-type: application/json' \\\n    \
         -H 'accept: application/json, text/event-stream' \\\n    \
         -H 'mcp-protocol-version: 2026-07-28' -H 'mcp-method: tools/list' \\\n    \
         -d '{{\"jsonrpc\":\"2.0\",\"id\":1,\"method\":\"tools/list\",\"params\":{{\"_meta\":{{\
         \"io.modelcontextprotocol/protocolVersion\":\"2026-07-28\",\
         \"io.modelcontextprotocol/clientCapabilities\":{{}}}}}}}}'\n"
    )
}

fn models_to_try(base: &str, model: &str) -> String {
    format!(
        "\n  curl -s {base}/v1/chat/completions -H 'content-type: application/json' \\\n    \
         -d '{{\"model\":\"{model}\",\"messages\":[{{\"role\":\"user\",\"content\":\"hello\"}}]}}'\n  \
         curl -sN {base}/v1/messages -H 'content-type: application/json' \\\n    \
         -d '{{\"model\":\"{model}\",\"max_tokens\":100,\"stream\":true,\"messages\":[{{\"role\":\"user\",\"content\":\"hello\"}}]}}'\n"
    )
}

pub(crate) fn demo_url(demo: &DemoServer) -> Result<Url, Failure> {
    demo.url().parse().map_err(|error| Failure::new(Exit::Failure, format!("the demo server's address: {error}")))
}

/// A name that is written in this file.
fn name(text: &str) -> ResourceName {
    ResourceName::new(text).expect("the names in this file are valid")
}
