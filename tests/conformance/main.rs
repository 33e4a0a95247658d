//! The official conformance suite, directly and through the gateway.
//!
//! For each requirement set five ways are run: against the fixture itself, and through a gateway in front of the whole
//! fixture, of its two halves, of a fixture that speaks the era of the set alone, and of one that speaks the other era
//! alone; these two cut their lists into pages and (where they may choose) answer in plain JSON. The first way is the
//! measure: it must pass everything, and each other way must come to the same verdict in every check. What the last way
//! cannot do by the specification is in a baseline file, which must be exact. The comparison is printed for each set;
//! the program fails after all of them, so that one run shows everything.
//!
//! `DIRECT_ONLY=1` in the environment runs the first way alone (to look at the fixture without a gateway).

use std::{env, io::Write as _, path::Path, process::ExitCode};

use anyhow::ensure;
use quorate_tests::{
    baseline::Baseline,
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
    /// What it cannot do.
    baseline: Option<Baseline>,
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
        let compared: Vec<_> = reports.iter().map(|(way, report)| (*way, report)).collect();
        print(&table::render(&format!("Passed checks, requirements of {}", revision.date()), &compared))?;
        failures.extend(verdict(revision, &compared, ways.baselines(revision))?);
    }
    ensure!(failures.is_empty(), "{} failures:\n{}", failures.len(), failures.join("\n"));
    Ok(())
}

/// What is wrong with one requirement set, one line each.
fn verdict<'a>(
    revision: Revision,
    ways: &[(&str, &Report)],
    baselines: impl Iterator<Item = (&'a str, &'a Baseline)>,
) -> anyhow::Result<Vec<String>> {
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
    let (mut differences, mut excused) = (table::differences(ways), 0);
    for (way, baseline) in baselines {
        let (of_way, others): (Vec<_>, Vec<_>) = differences.into_iter().partition(|found| found.way == way);
        let (unexcused, stale) = baseline.judge(&of_way);
        excused += of_way.len() - unexcused.len();
        let file = baseline.path().display();
        wrong.extend(stale.into_iter().map(|entry| format!("{} {way}: {entry} in {file} is stale", revision.date())));
        differences = unexcused.into_iter().cloned().chain(others).collect();
    }
    for Difference { way, scenario, check, measure, found, message } in differences {
        wrong.push(format!(
            "{} {way}: {scenario} {check}: {found:?} instead of {measure:?}: {message}",
            revision.date()
        ));
    }
    if wrong.is_empty() && ways.len() > 1 {
        print(&format!(
            "Every check came to the same verdict on every way, but for {excused} that are in a baseline.\n\n"
        ))?;
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
                Way::bridged(Revision::V2025_11_25, &MODERN, "2025-11-25-on-modern")?,
                Way::bridged(Revision::V2026_07_28, &LEGACY, "2026-07-28-on-legacy")?,
            ]
        };
        Ok(Self { fixture, through })
    }

    fn run(&self, suite: &Suite, revision: Revision, results: &Path) -> anyhow::Result<Vec<(&'static str, Report)>> {
        let mut urls = vec![("direct", &self.fixture.url, None)];
        urls.extend(self.of(revision).map(|way| (way.name, &way.gateway.url, way.baseline.as_ref())));
        let mut reports = Vec::new();
        for (way, url, baseline) in urls {
            let folder = results.join(format!("{}-{}", revision.date(), way.replace(' ', "-")));
            std::fs::create_dir_all(&folder)?;
            reports.push((way, suite.run(url, revision, &folder, baseline.map(Baseline::path))?));
        }
        Ok(reports)
    }

    fn of(&self, revision: Revision) -> impl Iterator<Item = &Way> {
        self.through.iter().filter(move |way| way.only.is_none_or(|only| only == revision))
    }

    fn baselines(&self, revision: Revision) -> impl Iterator<Item = (&str, &Baseline)> {
        self.of(revision).filter_map(|way| Some((way.name, way.baseline.as_ref()?)))
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
        Ok(Self { name, only, baseline: None, gateway, _backends: backends })
    }

    /// Starts a gateway in front of a fixture of the other era, with the baseline of that pairing.
    fn bridged(set: Revision, flags: &[&str], baseline: &str) -> anyhow::Result<Self> {
        let way = Self::start("other era", Some(set), &[flags])?;
        Ok(Self { baseline: Some(Baseline::of(baseline)?), ..way })
    }
}
