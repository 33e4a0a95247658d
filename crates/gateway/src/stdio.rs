//! A configured program becomes an endpoint.
//!
//! Plain translation of units and choices: what a document says in `spec.stdio` is what the runtime is given. Nothing is
//! started here.

use std::ffi::OsString;

use quorate_config::{Isolation, StdioConnection, ToolServer};
use quorate_runtime::restarts::Policy;
use quorate_runtime::upstream::stdio::{self, Config, Recipe, StdioEndpoint, Value};
use quorate_runtime::upstream::{Endpoint, Limits};
use quorate_stdio::{Folder, Guard, INHERITED, Resources};
use quorate_telemetry::Metrics;

/// Makes the endpoint of a server that is a program.
pub(crate) fn endpoint(
    server: &ToolServer,
    connection: &StdioConnection,
    guard: &Guard,
    limits: Limits,
    metrics: &Metrics,
) -> Endpoint {
    let given = &connection.limits;
    let config = Config {
        recipe: recipe(server, connection, &limits),
        isolation: match connection.isolation {
            Isolation::Session => stdio::Isolation::Session,
            Isolation::Shared => stdio::Isolation::Shared,
        },
        spares: count(given.spares),
        children_max: count(given.children),
        start_timeout: given.start,
        restarts: Policy {
            failures_max: count(given.failures),
            window: given.window,
            delay: given.backoff,
            delay_max: given.backoff_max,
        },
        guard: guard.clone(),
    };
    Endpoint::Stdio(StdioEndpoint::new(config, limits, metrics.stdio(server.name.as_str())))
}

fn recipe(server: &ToolServer, connection: &StdioConnection, limits: &Limits) -> Recipe {
    let texts = connection.env.iter().map(|(name, value)| (name.into(), Value::Text(value.expose().into())));
    let files = connection.env_files.iter().map(|(name, file)| (name.into(), Value::File(file.clone())));
    Recipe {
        name: server.name.as_str().into(),
        argv: connection.command.iter().map(OsString::from).collect(),
        inherit: match &connection.inherit {
            Some(names) => names.iter().map(OsString::from).collect(),
            None => INHERITED.iter().map(OsString::from).collect(),
        },
        environment: texts.chain(files).collect(),
        folder: connection.folder.clone().map_or(Folder::Private, Folder::At),
        resources: Resources {
            // A limit below a second is none; the configuration allows no such.
            cpu_seconds: connection.cpu.map(|cpu| cpu.as_secs().max(1)),
            memory_bytes: connection.memory.map(|memory| memory.as_usize() as u64),
            files: Some(connection.limits.files.into()),
        },
        limits: quorate_stdio::Limits {
            line_bytes_max: limits.event_bytes_max,
            stderr_lines_per_second: connection.limits.log_lines,
            ..quorate_stdio::Limits::default()
        },
    }
}

fn count(count: u32) -> usize {
    usize::try_from(count).unwrap_or(usize::MAX)
}
