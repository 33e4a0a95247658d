//! Interoperability: clients that nobody here wrote call servers that nobody here wrote, directly and through the
//! gateway.
//!
//! For each server, one after the other: every client that can meet it directly, then every client through a
//! gateway in front of it. The servers run beside each other. What comes of it is a table in the user guide:
//!
//! - `--check` (the default) fails when the committed page is not the generated one;
//! - `--write` writes the page;
//! - `--direct` runs no gateway and makes no page (to look at drivers and servers alone).
//!
//! A red cell without an upstream reference in `known.json` fails in every form.

mod backends;
mod rmcp;

use std::{
    env, fs,
    io::Write as _,
    path::{Path, PathBuf},
    process::ExitCode,
    thread,
    time::Duration,
};

use anyhow::{Context as _, bail, ensure};
use backends::Backend;
use quorate_tests::{
    interop::{self, Client, Known, Matrix, Mode, Plan, Way},
    paths,
    process::Process,
    servers,
};

/// How long one driver may take for all its features.
const DRIVER: Duration = Duration::from_secs(300);

/// The page that the table is on.
const PAGE: &str = "docs/src/compatibility.md";

/// The list of upstream faults.
const KNOWN: &str = "tests/interop/known.json";

/// Scripts that have to lie beside their packages.
const SCRIPTS: [&str; 3] = ["driver.mjs", "v1.mjs", "v2.mjs"];

/// What the program was asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Task {
    Check,
    Write,
    Direct,
}

/// One driver's run: client, way, what was asked, what was printed.
type Run = (Client, Way, Vec<&'static str>, Vec<String>);

fn main() -> ExitCode {
    let arguments: Vec<String> = env::args().skip(1).collect();
    let ended = match arguments.iter().map(String::as_str).collect::<Vec<_>>().as_slice() {
        ["drive-rmcp", plan, url, mode, features] => drive(plan, url, mode, features),
        [] | ["--check"] => run(Task::Check),
        ["--write"] => run(Task::Write),
        ["--direct"] => run(Task::Direct),
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

fn drive(plan: &str, url: &str, mode: &str, features: &str) -> anyhow::Result<()> {
    let mode = Mode::named(mode).with_context(|| format!("unknown mode {mode}"))?;
    rmcp::drive(Path::new(plan), url, mode, features)
}

fn run(task: Task) -> anyhow::Result<()> {
    install_scripts()?;
    let known = Known::parse(&fs::read_to_string(paths::repository().join(KNOWN))?)?;
    let matrix = try_all(task)?;
    let failures = matrix.failures();
    for failure in &failures {
        eprintln!("failed: {failure}");
    }
    eprintln!("{} features tried, {} failed", matrix.tried(), failures.len());
    if task == Task::Direct {
        ensure!(failures.is_empty(), "a client and a server do not meet without the gateway");
        return Ok(());
    }
    let titles = backends::ALL.iter().map(|backend| Ok((backend.name(), backend.title()?)));
    let titles = titles.collect::<anyhow::Result<Vec<_>>>()?;
    let page = interop::render(&matrix, &titles, &known)?;
    writeln!(std::io::stdout(), "{page}")?;
    let wrong = matrix.unexplained(&known);
    ensure!(wrong.is_empty(), "{}", wrong.join("\n"));
    match task {
        Task::Write => fs::write(paths::repository().join(PAGE), page).context("cannot write the page"),
        Task::Check | Task::Direct => compare(&page),
    }
}

/// Every backend in a thread of its own.
fn try_all(task: Task) -> anyhow::Result<Matrix> {
    let mut matrix = Matrix::default();
    let results = thread::scope(|scope| {
        let started = backends::ALL.map(|backend| (backend, scope.spawn(move || try_backend(backend, task))));
        started.map(|(backend, thread)| (backend, thread.join()))
    });
    for (backend, result) in results {
        let Ok(result) = result else {
            bail!("the test of {} panicked", backend.name());
        };
        for (client, way, asked, lines) in result.with_context(|| backend.name())? {
            matrix.add(backend.name(), client, way, &asked, &lines);
        }
    }
    Ok(matrix)
}

fn try_backend(backend: Backend, task: Task) -> anyhow::Result<Vec<Run>> {
    let path = backend.plan();
    let plan = Plan::read(&path)?;
    let server = backend.start()?;
    let mut runs = Vec::new();
    for client in interop::clients().into_iter().filter(|client| backend.meets(*client, &plan)) {
        runs.push(drive_client(client, Way::Direct, &path, &plan, &server.url)?);
    }
    if task == Task::Direct {
        return Ok(runs);
    }
    let gateway = servers::gateway(&[(backend.name(), &server.url)], &["--naming", "bare"])?;
    for client in interop::clients().into_iter().filter(|client| plan.speaks(client.mode)) {
        let url = match client.mode {
            Mode::Sse => gateway.url.replace("/mcp", "/sse"),
            Mode::Modern | Mode::Legacy => gateway.url.clone(),
        };
        runs.push(drive_client(client, Way::Through, &path, &plan, &url)?);
    }
    // The server and its gateway live until the last client was driven.
    drop((gateway, server));
    Ok(runs)
}

fn drive_client(client: Client, way: Way, path: &Path, plan: &Plan, url: &str) -> anyhow::Result<Run> {
    let asked: Vec<_> = plan.features(client).iter().map(|feature| feature.key).collect();
    let mut command = client.command(path, url, &asked)?;
    let mut process = Process::start(format!("{client:?}"), &mut command)?;
    let ended = process.end(DRIVER);
    let mut lines = process.output();
    // Features without a line are red, and this is why.
    lines.push(ended.map_or_else(|error| format!("{error:#}"), |status| status.to_string()));
    Ok((client, way, asked, lines))
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

fn install_scripts() -> anyhow::Result<()> {
    let installation = env::var_os(paths::INTEROP).map(PathBuf::from);
    let installation =
        installation.with_context(|| format!("{} is not set: run `cargo xtask test`", paths::INTEROP))?;
    for script in SCRIPTS {
        let source = paths::repository().join("tests/interop/ts").join(script);
        fs::copy(&source, installation.join(script)).with_context(|| format!("cannot copy {}", source.display()))?;
    }
    Ok(())
}
