//! The official conformance suite, directly and through the gateway.
//!
//! For each requirement set four ways are run: against the fixture itself, and through a gateway in front of the whole
//! fixture, of its two halves, and of a fixture that speaks the era of the set alone, cuts its lists into pages and
//! (where it may choose) answers in plain JSON. The first way is the measure: it must pass everything, and each other
//! way must come to the same verdict in every check. The comparison is printed for each set; the program fails after
//! all of them, so that one run shows everything.
//!
//! `DIRECT_ONLY=1` in the environment runs the first way alone (to look at the fixture without a gateway).

use std::{env, io::Write as _, path::Path, process::ExitCode};

use anyhow::ensure;
use quorate_tests::{
    paths,
    servers::{self, Gateway, Server},
    suite::{Report, Revision, Suite},
    table::{self, Difference},
};

/// The toolset must expose the names that the suite knows.
const NAMING: [&str; 2] = ["--naming", "bare"];

/// The fixture of one era, different from the others in all that a client must not notice.
const LEGACY: [&str; 4] = ["--era", "legacy", "--page-items", "7"];
const MODERN: [&str; 5] = ["--era", "modern", "--page-items", "7", "--json"];

/// The servers behind each way; they live as long as the run.
struct Ways {
    fixture: Server,
    through: Vec<Way>,
}

/// A gateway in front of something.
struct Way {
    name: &'static str,
    /// The one requirement set that the backends can answer, or all of them.
    only: Option<Revision>,
    gateway: Gateway,
    _backends: Vec<Server>,
}

fn main() -> ExitCode {
    match run() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("conformance: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run() -> anyhow::Result<()> {
    let suite = Suite::installed()?;
    let ways = Ways::start(env::var_os("DIRECT_ONLY").is_some())?;
    let results = paths::results("conformance")?;
    let mut failures = Vec::new();
    for revision in Revision::ALL {
        let reports = ways.run(&suite, revision, &results)?;
        let ways: Vec<_> = reports.iter().map(|(way, report)| (*way, report)).collect();
        print(&table::render(&format!("Passed checks, requirements of {}", revision.date()), &ways))?;
        failures.extend(verdict(revision, &ways)?);
    }
    ensure!(failures.is_empty(), "{} failures:\n{}", failures.len(), failures.join("\n"));
    Ok(())
}

/// What is wrong with one requirement set, one line each.
fn verdict(revision: Revision, ways: &[(&str, &Report)]) -> anyhow::Result<Vec<String>> {
    let mut wrong = Vec::new();
    if let Some((way, report)) = ways.first() {
        if report.passed() < revision.passed_min() {
            let (passed, least) = (report.passed(), revision.passed_min());
            wrong.push(format!("{} {way}: {passed} checks passed, at least {least} must", revision.date()));
        }
        for (scenario, check) in report.violations() {
            let message = check.error_message.as_deref().unwrap_or_default();
            wrong.push(format!("{} {way}: {} {}: {message}", revision.date(), scenario.name, check.id));
        }
    }
    for Difference { way, scenario, check, measure, found, message } in table::differences(ways) {
        wrong.push(format!(
            "{} {way}: {scenario} {check}: {found:?} instead of {measure:?}: {message}",
            revision.date()
        ));
    }
    if wrong.is_empty() && ways.len() > 1 {
        print("Every check came to the same verdict on every way.\n\n")?;
    }
    Ok(wrong)
}

fn print(text: &str) -> anyhow::Result<()> {
    writeln!(std::io::stdout(), "{text}")?;
    Ok(())
}

// === impl Ways ===

impl Ways {
    fn start(direct_only: bool) -> anyhow::Result<Self> {
        let fixture = servers::fixture(&[])?;
        let through = if direct_only {
            Vec::new()
        } else {
            vec![
                Way::start("whole", None, &[&[]])?,
                Way::start("split", None, &[&["--part", "1/2"], &["--part", "2/2"]])?,
                Way::start("own era", Some(Revision::V2025_11_25), &[&LEGACY])?,
                Way::start("own era", Some(Revision::V2026_07_28), &[&MODERN])?,
            ]
        };
        Ok(Self { fixture, through })
    }

    fn run(&self, suite: &Suite, revision: Revision, results: &Path) -> anyhow::Result<Vec<(&'static str, Report)>> {
        let mut urls = vec![("direct", &self.fixture.url)];
        let through = self.through.iter().filter(|way| way.only.is_none_or(|only| only == revision));
        urls.extend(through.map(|way| (way.name, &way.gateway.url)));
        let mut reports = Vec::new();
        for (way, url) in urls {
            let folder = results.join(format!("{}-{}", revision.date(), way.replace(' ', "-")));
            std::fs::create_dir_all(&folder)?;
            reports.push((way, suite.run(url, revision, &folder)?));
        }
        Ok(reports)
    }
}

// === impl Way ===

impl Way {
    /// Starts one fixture for each set of flags, and a gateway in front of them.
    fn start(name: &'static str, only: Option<Revision>, flags: &[&[&str]]) -> anyhow::Result<Self> {
        let backends = flags.iter().map(|flags| servers::fixture(flags)).collect::<anyhow::Result<Vec<_>>>()?;
        let named: Vec<_> = backends.iter().enumerate().map(|(at, server)| (format!("part{at}"), server)).collect();
        let named: Vec<_> = named.iter().map(|(name, server)| (name.as_str(), server.url.as_str())).collect();
        let gateway = servers::gateway(&named, &NAMING)?;
        Ok(Self { name, only, gateway, _backends: backends })
    }
}
