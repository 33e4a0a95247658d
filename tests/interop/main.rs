//! Interoperability: clients that nobody here wrote call servers that nobody here wrote, directly and through the
//! gateway.
//!
//! All servers are started, then one node that has a tool server and a toolset for each. A server has one client at a
//! time, since servers keep state, and so has each driver; otherwise everything runs beside each other, each client
//! directly where it can meet the server without a gateway, and through the gateway. What comes of it is a table in the
//! user guide:
//!
//! - `--check` (the default) fails when the committed page is not the generated one;
//! - `--write` writes the page;
//! - `--direct` runs no gateway and makes no page (to look at drivers and servers alone).
//!
//! A red cell without an upstream reference in `known.json` fails in every form. `--only SERVER` looks at one server.

mod backends;
mod rmcp;
mod site;

use std::{
    env, fs,
    io::Write as _,
    path::{Path, PathBuf},
    process::ExitCode,
    thread,
};

use anyhow::{Context as _, bail, ensure};
use backends::{Backend, Running};
use quorate_tests::{
    interop::{self, Client, Drivers, Job, Known, Matrix, Mode, Target, Way},
    paths,
    servers::{self, Gateway},
};
use serde_json::{Value, json};

/// The page that the table is on.
const PAGE: &str = "docs/src/compatibility.md";

/// The list of upstream faults.
const KNOWN: &str = "tests/interop/known.json";

/// What the program was asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Task {
    /// Everything, and the page must be the committed one.
    Check,
    /// Everything, and the page is written.
    Write,
    /// Nothing through the gateway.
    Direct,
    /// One server; its part of the page is printed.
    Look,
}

/// One client's visit to a server: what it is asked, and where.
#[derive(Debug)]
struct Visit {
    client: Client,
    way: Way,
    asked: Vec<&'static str>,
    job: Job,
}

/// A visit and what the driver printed.
type Visited = (Visit, Vec<String>);

fn main() -> ExitCode {
    let arguments: Vec<String> = env::args().skip(1).collect();
    let ended = match arguments.iter().map(String::as_str).collect::<Vec<_>>().as_slice() {
        ["drive-rmcp"] => rmcp::drive(),
        [] | ["--check"] => run(Task::Check, &backends::ALL),
        ["--write"] => run(Task::Write, &backends::ALL),
        ["--direct"] => run(Task::Direct, &backends::ALL),
        ["--only", name] => match backends::ALL.iter().find(|backend| backend.name == *name) {
            Some(backend) => run(Task::Look, &[*backend]),
            None => Err(anyhow::anyhow!("there is no server {name}")),
        },
        _ => Err(anyhow::anyhow!("unknown arguments: {arguments:?}")),
    };
    match ended {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("interop: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run(task: Task, backends: &[Backend]) -> anyhow::Result<()> {
    install_scripts()?;
    let known = Known::parse(&fs::read_to_string(paths::repository().join(KNOWN))?)?;
    let matrix = try_all(task, backends)?;
    if task == Task::Direct {
        ensure!(tell(&matrix) == 0, "a client and a server do not meet without the gateway");
        return Ok(());
    }
    let sections = backends.iter().map(|backend| backend.section()).collect::<anyhow::Result<Vec<_>>>()?;
    let page = interop::render(&matrix, &sections, &known)?;
    writeln!(std::io::stdout(), "{page}")?;
    tell(&matrix);
    let wrong = matrix.unexplained(&known);
    ensure!(wrong.is_empty(), "{}", wrong.join("\n"));
    match task {
        Task::Write => fs::write(paths::repository().join(PAGE), page).context("cannot write the page"),
        Task::Check => compare(&page),
        Task::Direct | Task::Look => Ok(()),
    }
}

/// Says what failed, where it is seen: at the end. Gives back how many.
fn tell(matrix: &Matrix) -> usize {
    let failures = matrix.failures();
    for failure in &failures {
        eprintln!("failed: {failure}");
    }
    eprintln!("{} features tried, {} failed", matrix.tried(), failures.len());
    failures.len()
}

/// Every server in a thread of its own, behind one gateway.
fn try_all(task: Task, backends: &[Backend]) -> anyhow::Result<Matrix> {
    let results = paths::results("interop")?;
    let running = start(backends, &results)?;
    let gateway = (task != Task::Direct).then(|| put_behind(&running, &results)).transpose()?;
    let drivers = Drivers::new(results.join("home"))?;
    let mut matrix = Matrix::default();
    thread::scope(|scope| {
        let (gateway, drivers) = (gateway.as_ref(), &drivers);
        let visit = |server| scope.spawn(move || receive(server, gateway, drivers));
        let threads: Vec<_> = running.iter().map(|server| (server, visit(server))).collect();
        for (server, thread) in threads {
            let name = server.backend.name;
            let Ok(visited) = thread.join() else {
                bail!("the test of {name} panicked");
            };
            for (visit, lines) in visited.with_context(|| name)? {
                matrix.add(name, visit.client, visit.way, &visit.asked, &lines);
            }
        }
        Ok(())
    })?;
    if let Some(gateway) = gateway {
        fs::write(results.join("gateway.log"), gateway.process.output().join("\n"))?;
    }
    Ok(matrix)
}

/// Starts the servers, all at once.
fn start(backends: &[Backend], results: &Path) -> anyhow::Result<Vec<Running>> {
    thread::scope(|scope| {
        let start = |backend: Backend| scope.spawn(move || backend.start(&results.join(backend.name)));
        let threads: Vec<_> = backends.iter().map(|backend| (backend.name, start(*backend))).collect();
        let joined = threads.into_iter().map(|(name, thread)| match thread.join() {
            Ok(started) => started.with_context(|| name),
            Err(_) => bail!("the start of {name} panicked"),
        });
        joined.collect()
    })
}

/// Starts one node with a tool server and a toolset for each server.
fn put_behind(running: &[Running], results: &Path) -> anyhow::Result<Gateway> {
    let mut documents = vec![json!({ "kind": "Listener", "name": "data", "spec": { "address": "127.0.0.1:0" } })];
    for server in running {
        let name = server.backend.name;
        documents.push(json!({ "kind": "ToolServer", "name": name, "spec": server.spec }));
        documents.push(json!({ "kind": "Toolset", "name": name, "spec": { "servers": [name], "naming": "bare" } }));
    }
    // JSON is YAML, and documents are separated as in YAML.
    let text = documents.iter().map(Value::to_string).collect::<Vec<_>>().join("\n---\n");
    let file = results.join("resources.yaml");
    fs::write(&file, text).with_context(|| format!("cannot write {}", file.display()))?;
    servers::serve(&file)
}

/// Has every client visit one server: directly, and then through the gateway, which would not hear of what a direct
/// visitor changes, and rightly shows lists for a while.
fn receive(server: &Running, gateway: Option<&Gateway>, drivers: &Drivers) -> anyhow::Result<Vec<Visited>> {
    let (direct, through) = visits(server, gateway)?.into_iter().partition(|visit| visit.way == Way::Direct);
    let mut visited = receive_all(direct, drivers)?;
    visited.extend(receive_all(through, drivers)?);
    Ok(visited)
}

/// One visit after the other, first those whose driver has nothing to do.
fn receive_all(mut waiting: Vec<Visit>, drivers: &Drivers) -> anyhow::Result<Vec<Visited>> {
    let mut visited = Vec::with_capacity(waiting.len());
    while !waiting.is_empty() {
        let mut each = waiting.iter().enumerate();
        let free = each.find_map(|(at, visit)| Some((at, drivers.free(visit.client.library)?)));
        let (at, driver) = free.unwrap_or_else(|| (0, drivers.wait(waiting[0].client.library)));
        let visit = waiting.remove(at);
        let lines = driver.run(&visit.job)?;
        visited.push((visit, lines));
    }
    Ok(visited)
}

fn visits(server: &Running, gateway: Option<&Gateway>) -> anyhow::Result<Vec<Visit>> {
    let mut visits = Vec::new();
    for client in interop::clients().into_iter().filter(|client| server.backend.receives(*client, &server.plan)) {
        if server.backend.meets(client, &server.plan) {
            visits.push(visit(server, client, Way::Direct, server.target.clone())?);
        }
        if let Some(gateway) = gateway {
            let endpoint = if client.mode == Mode::Sse { "sse" } else { "mcp" };
            let url = format!("http://{}/{endpoint}/{}", gateway.address, server.backend.name);
            visits.push(visit(server, client, Way::Through, Target::Url(url))?);
        }
    }
    Ok(visits)
}

fn visit(server: &Running, client: Client, way: Way, target: Target) -> anyhow::Result<Visit> {
    let asked: Vec<_> = server.plan.features(client).iter().map(|feature| feature.key).collect();
    let plan = server.steps(&format!("{}-{}-{way:?}", client.library.name(), client.mode.name()))?;
    let features = asked.iter().map(|feature| (*feature).to_owned()).collect();
    Ok(Visit { client, way, asked, job: Job { plan, target, mode: client.mode, features } })
}

fn compare(page: &str) -> anyhow::Result<()> {
    let path = paths::repository().join(PAGE);
    let committed = fs::read_to_string(&path).unwrap_or_default();
    if committed == page {
        return Ok(());
    }
    let differs = committed.lines().zip(page.lines()).find(|(committed, generated)| committed != generated);
    let (committed, generated) = differs.unwrap_or(("the end", "more lines, or fewer"));
    bail!(
        "{PAGE} is not the generated page; write it with `cargo test -p quorate-tests --test interop -- --write`\n\
         committed: {committed}\ngenerated: {generated}"
    )
}

/// Node resolves packages from where a script lies, so the drivers have to lie beside theirs.
fn install_scripts() -> anyhow::Result<()> {
    let installation = env::var_os(paths::INTEROP).map(PathBuf::from);
    let installation =
        installation.with_context(|| format!("{} is not set: run `cargo xtask test`", paths::INTEROP))?;
    let folder = paths::repository().join("tests/interop/ts");
    for entry in fs::read_dir(&folder).with_context(|| format!("cannot read {}", folder.display()))? {
        let script = entry?.path();
        if script.extension().is_some_and(|extension| extension == "mjs") {
            let name = script.file_name().context("a file has a name")?;
            fs::copy(&script, installation.join(name)).with_context(|| format!("cannot copy {}", script.display()))?;
        }
    }
    Ok(())
}
