//! The official conformance suite, directly and through the gateway.
//!
//! For each requirement set five ways are run: against the fixture itself, and through a gateway in front of the whole
//! fixture, of its two halves, of a fixture that speaks the era of the set alone, and of one that speaks the other era
//! alone; these two cut their lists into pages and (where they may choose) answer in plain JSON. The first way is the
//! measure: it must pass everything, and each other way must come to the same verdict in every check. What the last way
//! cannot do by the specification is in a baseline file, which must be exact. The comparison is printed for each set;
//! the program fails after all of them, so that one run shows everything.
//!
//! Two more ways go through three nodes behind a load balancer, round robin: while all nodes stay, and, in several runs, while the
//! node that owns the sessions is lost every few seconds ([`nodes`]).
//!
//! `DIRECT_ONLY=1` in the environment runs the first way alone (to look at the fixture without a gateway).

mod nodes;

use std::{env, io::Write as _, path::Path, process::ExitCode, slice, sync::mpsc, thread};

use anyhow::{bail, ensure};
use nodes::Nodes;
use quorate_tests::{
    baseline::Baseline,
    paths,
    servers::{self, Gateway, Server},
    suite::{Report, Revision, Status, Suite},
    table::{self, Difference},
};

/// The toolset must expose the names that the suite knows.
const NAMING: [&str; 2] = ["--naming", "bare"];

/// The fixture of one era, different from the others in all that a client must not notice.
const LEGACY: [&str; 4] = ["--era", "legacy", "--page-items", "7"];
const MODERN: [&str; 5] = ["--era", "modern", "--page-items", "7", "--json"];

/// The way through three nodes that stay.
const THREE_NODES: &str = "three nodes";

/// The runs of a requirement set while owners are lost: it takes seconds, and each time something else is under way.
const LOSSES: [&str; 3] = ["lost owners 1", "lost owners 2", "lost owners 3"];

/// What has no verdict where the owner is lost just as the server ends its stream to be polled: nobody asks the client to come
/// again, and it gets its answer on the stream that it has.
const POLLED: (&str, &str) = ("server-sse-polling", "server-sse-disconnect-resume");

/// Owners that are lost meanwhile at least.
const KILLS_MIN: usize = 4;

/// The servers behind each way; they live as long as the run.
struct Ways {
    fixture: Server,
    through: Vec<Way>,
    nodes: Option<Nodes>,
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
    let mut ways = Ways::start(env::var_os("DIRECT_ONLY").is_some())?;
    let results = paths::results("conformance")?;
    let mut failures = Vec::new();
    for revision in Revision::ALL {
        let reports = ways.run(&suite, revision, &results)?;
        let compared: Vec<_> = reports.iter().map(|(way, report)| (*way, report)).collect();
        print(&table::render(&format!("Passed checks, requirements of {}", revision.date()), &compared))?;
        let races = Baseline::of(&format!("{}-through-nodes", revision.date()))?;
        failures.extend(verdict(revision, &compared, ways.baselines(revision), &races)?);
    }
    ensure!(failures.is_empty(), "{} failures:\n{}", failures.len(), failures.join("\n"));
    Ok(())
}

/// What is wrong with one requirement set, one line each.
fn verdict<'a>(
    revision: Revision,
    ways: &[(&str, &Report)],
    baselines: impl Iterator<Item = (&'a str, &'a Baseline)>,
    races: &Baseline,
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
    // What depends on which node is faster comes now and then: an entry that excuses nothing this time is not stale.
    let is_race = |found: &Difference| {
        let loses = LOSSES.contains(&found.way.as_str());
        let is_unpolled =
            loses && (&*found.scenario, found.id()) == POLLED && matches!(found.found, Some(Status::Info));
        is_unpolled || ((loses || found.way == THREE_NODES) && races.judge(slice::from_ref(found)).0.is_empty())
    };
    let (raced, differences): (Vec<_>, Vec<_>) = differences.into_iter().partition(is_race);
    for Difference { way, scenario, check, measure, found, message } in differences {
        wrong.push(format!(
            "{} {way}: {scenario} {check}: {found:?} instead of {measure:?}: {message}",
            revision.date()
        ));
    }
    if wrong.is_empty() && ways.len() > 1 {
        print(&format!(
            "Every check came to the same verdict on every way, but for {excused} that are in a baseline, and {} of what \
             depends on which node is faster.\n\n",
            raced.len()
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
        let nodes = if direct_only { None } else { Some(Nodes::start()?) };
        Ok(Self { fixture, through, nodes })
    }

    fn run(
        &mut self,
        suite: &Suite,
        revision: Revision,
        results: &Path,
    ) -> anyhow::Result<Vec<(&'static str, Report)>> {
        let mut urls = vec![("direct", &self.fixture.url, None)];
        urls.extend(self.of(revision).map(|way| (way.name, &way.gateway.url, way.baseline.as_ref())));
        let mut reports = Vec::new();
        let run = |way: &str, url: &str, baseline: Option<&Baseline>| {
            let folder = results.join(format!("{}-{}", revision.date(), way.replace(' ', "-")));
            std::fs::create_dir_all(&folder)?;
            suite.run(url, revision, &folder, baseline.map(Baseline::path))
        };
        for (way, url, baseline) in urls {
            reports.push((way, run(way, url, baseline)?));
        }
        if let Some(nodes) = &mut self.nodes {
            let url = nodes.url.clone();
            reports.push((THREE_NODES, run(THREE_NODES, &url, None)?));
            let logs = results.join(format!("{}-nodes", revision.date()));
            let runs = || LOSSES.iter().map(|way| Ok((*way, run(way, &url, None)?))).collect();
            reports.extend(while_owners_are_lost::<Vec<_>>(nodes, &logs, runs)?);
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

/// Runs something while the owner of all sessions is lost again and again.
fn while_owners_are_lost<T>(
    nodes: &mut Nodes,
    logs: &Path,
    run: impl FnOnce() -> anyhow::Result<T>,
) -> anyhow::Result<T> {
    let (runs, has_ended) = mpsc::sync_channel(0);
    let (done, kills) = thread::scope(move |scope| {
        let kills = scope.spawn(move || nodes.lose_owners(&has_ended, logs));
        let done = run();
        drop(runs);
        (done, kills.join())
    });
    let Ok(kills) = kills else { bail!("what loses owners panicked") };
    let kills = kills?;
    ensure!(kills >= KILLS_MIN, "the owner was lost {kills} times only");
    print(&format!("The owner of all sessions was lost {kills} times."))?;
    done
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
