//! `cargo xtask test`: all tests, or some areas of them.
//!
//! | area        | what runs                                                        | what it installs |
//! |-------------|------------------------------------------------------------------|------------------|
//! | unit        | every test of the workspace but the suites below, doc tests  | Debian's faketime |
//! | chaos       | 100 kills of nodes under sessions, within six minutes             | |
//! | survival    | SDK clients that keep one session through ten kills              | npm and PyPI packages |
//! | fuzz        | each fuzz target for some seconds                                | cargo-fuzz |
//! | interop     | clients and servers that nobody here wrote                       | npm and PyPI packages |
//! | conformance | the official suite, directly and through the gateway             | npm packages |
//! | openapi     | APIs as tool servers, with documents of public APIs              | npm packages |
//! | identity    | OAuth clients of SDKs, with an identity provider that nobody here wrote | npm and PyPI packages |
//! | models      | SDKs of models, on a provider that is none                       | npm and PyPI packages |
//!
//! Not among them, since its build takes minutes: `--engines`, an engine that nobody here wrote behind the gateway, built from
//! the source that its PyPI package has.
//!
//! All areas build with the features of the whole workspace, so that no crate is compiled twice. A step whose ground
//! is missing is reported as not run and fails the run.

use std::{collections::BTreeSet, path::PathBuf};

use anyhow::Result;
use clap::{Args, ValueEnum};

use crate::{
    chaos, fuzz, packages,
    repo::Repo,
    run::Cmd,
    steps::Steps,
    system::{self, FAKETIME},
};

/// The integration tests that are areas of their own: they need installed packages and running binaries.
const SUITES: [&str; 7] = ["interop", "conformance", "openapi", "identity", "survival", "sdks", "engines"];

/// The binaries that tests start.
const BINARIES: [&str; 6] = ["quorate", "mcp-fixture", "mcp-child", "mcp-counter", "quorate-bench", "quorate-chaos"];

/// What a suite needs: the variable that tells it where that is, and what installs it.
type Ground = (&'static str, fn(&Repo) -> Result<PathBuf>);

const INTEROP: Ground = ("QUORATE_INTEROP_DIR", packages::interop);
const CONFORMANCE: Ground = ("QUORATE_CONFORMANCE_DIR", packages::conformance);
const OPENAPI: Ground = ("QUORATE_OPENAPI_DIR", packages::openapi);
const IDENTITY: Ground = ("QUORATE_IDENTITY_DIR", packages::identity);
const MODELS: Ground = ("QUORATE_MODELS_DIR", packages::models);
const ENGINES: Ground = ("QUORATE_ENGINES_DIR", packages::engines);

/// What to test.
#[derive(Debug, Clone, Args)]
pub(crate) struct Options {
    /// Runs these areas only (repeatable); all of them when not given.
    #[arg(long, value_enum, value_name = "AREA")]
    only: Vec<Area>,

    /// Runs the tests with a real engine of models, llama.cpp's server, and nothing else. It is built from source the first
    /// time, which takes minutes and wants a C++ compiler, so that no other choice runs them.
    #[arg(long, conflicts_with = "only")]
    engines: bool,
}

/// An area of tests.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Area {
    /// Unit, property, loopback and doc tests.
    Unit,
    /// Kills of nodes under sessions.
    Chaos,
    /// SDK clients through kills of nodes.
    Survival,
    /// Fuzz targets, some seconds each.
    Fuzz,
    /// Clients and servers that nobody here wrote.
    Interop,
    /// The official conformance suite.
    Conformance,
    /// APIs as tool servers.
    Openapi,
    /// OAuth clients of SDKs and a real identity provider.
    Identity,
    /// SDKs of models: the test `sdks`, since crates have tests called `models`.
    Models,
}

pub(crate) fn run(repo: &Repo, options: &Options) -> Result<()> {
    let mut steps = Steps::new();
    if options.engines {
        let name = SUITES[6];
        if steps.run("build of the binaries", || build(repo)) {
            suite(repo, name, &[ENGINES], &mut steps);
        } else {
            steps.not_run(name, "the binaries could not be built");
        }
        return steps.finish("test");
    }
    let areas: Vec<Area> = Area::value_variants().iter().copied().filter(|area| options.runs(*area)).collect();
    // Tests start the binaries that stand beside them, so those must be of this source.
    let built = areas == [Area::Fuzz] || steps.run("build of the binaries", || build(repo));
    for area in areas {
        match area {
            Area::Fuzz => fuzz::smoke(repo, &mut steps),
            _ if !built => steps.not_run(area.name(), "the binaries could not be built"),
            Area::Unit => unit(repo, &mut steps),
            Area::Chaos => drop(steps.run(area.name(), || chaos::smoke(repo))),
            Area::Survival => suite(repo, area.name(), &[INTEROP], &mut steps),
            Area::Interop => suite(repo, area.name(), &[INTEROP], &mut steps),
            Area::Conformance => suite(repo, area.name(), &[CONFORMANCE], &mut steps),
            Area::Openapi => suite(repo, area.name(), &[OPENAPI], &mut steps),
            Area::Identity => suite(repo, area.name(), &[INTEROP, IDENTITY], &mut steps),
            Area::Models => suite(repo, area.name(), &[MODELS], &mut steps),
        }
    }
    steps.finish("test")
}

// === impl Options ===

impl Options {
    fn runs(&self, area: Area) -> bool {
        self.only.is_empty() || self.only.contains(&area)
    }
}

// === impl Area ===

impl Area {
    fn name(self) -> &'static str {
        match self {
            Self::Unit => "unit",
            Self::Chaos => "chaos",
            Self::Fuzz => "fuzz",
            Self::Interop => SUITES[0],
            Self::Conformance => SUITES[1],
            Self::Openapi => SUITES[2],
            Self::Identity => SUITES[3],
            Self::Survival => SUITES[4],
            Self::Models => SUITES[5],
        }
    }
}

fn build(repo: &Repo) -> Result<()> {
    let bins = BINARIES.iter().flat_map(|name| ["--bin", name]);
    repo.cargo("build").args(["--locked", "--workspace"]).args(bins).run()
}

fn unit(repo: &Repo, steps: &mut Steps) {
    let tests = integration_tests(repo);
    steps.run("unit: a clock for tests", || system::ensure(FAKETIME));
    steps.run("unit: tests", || {
        let named = tests.iter().flat_map(|test| ["--test", test]);
        cargo_test(repo).args(["--lib", "--bins", "--examples"]).args(named).run()
    });
    steps.run("unit: doc tests", || cargo_test(repo).arg("--doc").run());
}

/// The names of all integration tests of the workspace but the suites, which need installed packages.
fn integration_tests(repo: &Repo) -> BTreeSet<&str> {
    let tests = repo.metadata().packages.iter().flat_map(|package| package.targets_of("test"));
    tests.filter(|name| !SUITES.contains(name)).collect()
}

/// Installs what a suite needs and runs it.
fn suite(repo: &Repo, name: &str, grounds: &[Ground], steps: &mut Steps) {
    let mut folders = Vec::new();
    let installed = steps.run(&format!("{name}: packages"), || {
        for (variable, install) in grounds {
            folders.push((variable, install(repo)?));
        }
        Ok(())
    });
    if !installed {
        steps.not_run(name, "its packages could not be installed");
        return;
    }
    steps.run(name, || {
        let test = cargo_test(repo).args(["--test", name]);
        folders.iter().fold(test, |test, (variable, folder)| test.env(variable, folder)).run()
    });
}

fn cargo_test(repo: &Repo) -> Cmd {
    let test = repo.cargo("test").args(["--locked", "--workspace", "--no-fail-fast"]);
    test.env("QUORATE_TEST_BIN_DIR", repo.binaries())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn without_a_choice_every_area_runs_and_with_one_only_that() {
        let all = Options { only: Vec::new(), engines: false };
        let one = Options { only: vec![Area::Fuzz], engines: false };

        assert!(Area::value_variants().iter().all(|area| all.runs(*area)));
        assert!(one.runs(Area::Fuzz) && !one.runs(Area::Unit));
    }

    #[test]
    fn the_suites_are_where_the_areas_look_for_them() -> Result<()> {
        let repo = Repo::find()?;
        let packages = &repo.metadata().packages;

        for suite in SUITES {
            let found = packages.iter().flat_map(|package| package.targets_of("test")).filter(|name| *name == suite);
            assert_eq!(found.count(), 1, "{suite}");
        }
        assert!(SUITES.iter().all(|suite| !integration_tests(&repo).contains(suite)));
        Ok(())
    }
}
