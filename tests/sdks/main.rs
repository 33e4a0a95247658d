//! SDKs of models ask a gateway, as they ask whom they were made for.
//!
//! One provider and one gateway are started ([`ground`]), then one driver after the other, a process per client
//! ([`clients`]), which tries each feature on each API behind. One after the other, since drivers look into the
//! provider's ledger for what came of their own request. What comes of it is a page of the user guide ([`page`]):
//!
//! - `--check` (the default) fails when the committed page is not the generated one;
//! - `--write` writes the page;
//! - `--only CLIENT` looks at one client and makes no page.
//!
//! A red cell fails in every form.

mod clients;
mod ground;
mod page;

use std::{
    env, fs,
    io::Write as _,
    path::{Path, PathBuf},
    process::ExitCode,
    time::{Duration, Instant},
};

use anyhow::{Context as _, ensure};
use clients::{CLIENTS, Client};
use ground::{BEHIND, Behind, Ground};
use page::{Outcome, Outcomes};
use quorate_tests::{page::Page, paths, process::Process};
use serde_json::{Value, json};

/// The page that the tables are on.
const PAGE: Page = Page { path: "docs/src/model-clients.md", test: "sdks" };

/// How long one client may take with all features on one API.
const JOB: Duration = Duration::from_secs(180);

/// What the program was asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Task {
    /// Everything, and the page must be the committed one.
    Check,
    /// Everything, and the page is written.
    Write,
    /// Some clients, and no page.
    Look,
}

fn main() -> ExitCode {
    let arguments: Vec<String> = env::args().skip(1).collect();
    let ended = match arguments.iter().map(String::as_str).collect::<Vec<_>>().as_slice() {
        [] | ["--check"] => run(Task::Check, &CLIENTS),
        ["--write"] => run(Task::Write, &CLIENTS),
        ["--only", name] => match CLIENTS.iter().find(|client| client.name == *name) {
            Some(client) => run(Task::Look, &[*client]),
            None => Err(anyhow::anyhow!("there is no client {name}")),
        },
        _ => Err(anyhow::anyhow!("unknown arguments: {arguments:?}")),
    };
    match ended {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("sdks: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run(task: Task, clients: &[Client]) -> anyhow::Result<()> {
    install_scripts()?;
    let outcomes = try_all(clients)?;
    let failures = page::failures(&outcomes);
    if task != Task::Look {
        let page = page::render(&outcomes)?;
        writeln!(std::io::stdout(), "{page}")?;
        eprintln!("{} features tried, {} failed", outcomes.len(), failures.len());
        ensure!(failures.is_empty(), "{}", failures.join("\n"));
        return if task == Task::Write { PAGE.write(&page) } else { PAGE.compare(&page) };
    }
    eprintln!("{} features tried, {} failed", outcomes.len(), failures.len());
    ensure!(failures.is_empty(), "{}", failures.join("\n"));
    Ok(())
}

fn try_all(clients: &[Client]) -> anyhow::Result<Outcomes> {
    let results = paths::results("models")?;
    let home = results.join("home");
    fs::create_dir_all(&home).with_context(|| format!("cannot make {}", home.display()))?;
    let ground = Ground::start(&results)?;
    let mut outcomes = Outcomes::new();
    for client in clients {
        let began = Instant::now();
        let tried = visit(*client, &ground, &home, &mut outcomes);
        tried.with_context(|| format!("the driver {}", client.name))?;
        eprintln!("{}: {:.1?}", client.name, began.elapsed());
    }
    fs::write(results.join("gateway.log"), ground.gateway.process.output().join("\n"))?;
    Ok(outcomes)
}

/// Has one client try its features on every API behind.
fn visit(client: Client, ground: &Ground, home: &Path, outcomes: &mut Outcomes) -> anyhow::Result<()> {
    let mut driver = Process::converse(format!("the driver {}", client.name), &mut client.driver(home)?)?;
    for behind in BEHIND {
        let printed = job(&mut driver, client, behind, ground).with_context(|| behind.name)?;
        for feature in client.features() {
            let outcome = printed.iter().find(|outcome| outcome.feature == feature.key);
            let outcome = outcome.with_context(|| format!("it said nothing of {}{}", feature.key, driver.said()))?;
            outcomes.insert((behind.name, client.name, feature.key), outcome.clone());
        }
    }
    Ok(())
}

/// Tells a job and listens to its end.
fn job(driver: &mut Process, client: Client, behind: Behind, ground: &Ground) -> anyhow::Result<Vec<Outcome>> {
    let features: Vec<&str> = client.features().map(|feature| feature.key).collect();
    let url = format!("http://{}", ground.gateway.address);
    let job = json!({ "url": url, "behind": behind.name, "mock": ground.mock, "features": features });
    driver.tell(&job.to_string())?;
    let deadline = Instant::now() + JOB;
    let mut outcomes = Vec::new();
    loop {
        let left = deadline.checked_duration_since(Instant::now()).with_context(|| format!("no end in {JOB:?}"))?;
        let line = driver.hear(left)?;
        // What libraries print besides is nobody's.
        let Ok(said) = serde_json::from_str::<Value>(&line) else { continue };
        if said.get("end").is_some() {
            return Ok(outcomes);
        }
        outcomes.extend(serde_json::from_value::<Outcome>(said).ok());
    }
}

/// Node resolves packages from where a script lies, so the drivers have to lie beside theirs.
fn install_scripts() -> anyhow::Result<()> {
    let installation = env::var_os(paths::MODELS).map(PathBuf::from);
    let installation = installation.with_context(|| format!("{} is not set: run `cargo xtask test`", paths::MODELS))?;
    let folder = paths::repository().join("tests/sdks/ts");
    for entry in fs::read_dir(&folder).with_context(|| format!("cannot read {}", folder.display()))? {
        let script = entry?.path();
        if script.extension().is_some_and(|extension| extension == "mjs") {
            let name = script.file_name().context("a file has a name")?;
            fs::copy(&script, installation.join(name)).with_context(|| format!("cannot copy {}", script.display()))?;
        }
    }
    Ok(())
}
