//! `cargo xtask fuzz`: the parsers that read the network, each for some time.
//!
//! Targets are the binaries of `tests/fuzz`, a package outside the workspace. A run starts from the committed seeds and
//! the corpus that earlier runs grew below the target folder; a crash fails the run, and its input stays in
//! `tests/fuzz/artifacts/TARGET` with the command that repeats it.
//!
//! By default the targets are built by the toolchain of the repository with coverage and debug assertions and without
//! a sanitizer: unsafe code is forbidden here, so a sanitizer finds faults of dependencies only. `--sanitizer address`
//! looks for those and needs a nightly toolchain.

use std::{fs, num::NonZero, path::PathBuf, thread};

use anyhow::{Context as _, Result, bail, ensure};
use clap::{Args, ValueEnum};

use crate::{
    lockfile, metadata, output,
    repo::Repo,
    run::Cmd,
    steps::Steps,
    system::{self, CXX},
    tools::{self, FUZZ},
};

/// The folder of the targets.
const FOLDER: &str = "tests/fuzz";

/// Seconds for each target in `cargo xtask test`.
const SMOKE_SECONDS: u64 = 20;

/// Seconds of one core for all targets together in `cargo xtask test`, so that more targets do not make it ever longer; with
/// their starts they stay below three minutes, and half of that where there are two cores. What takes longer to find is for `cargo xtask fuzz`.
const SMOKE_SECONDS_TOTAL: u64 = 120;

/// An input that takes longer than this many seconds is a fault: every parser is linear.
const INPUT_SECONDS_MAX: u64 = 5;

/// Most megabytes that a target may use: none keeps more than a small multiple of its input.
const MEMORY_MB_MAX: u64 = 1024;

/// Most bytes of an input: enough for nesting, batches and long names; larger ones only make a run slower.
const INPUT_BYTES_MAX: u64 = 16 * 1024;

/// How to fuzz.
#[derive(Debug, Clone, Args)]
pub(crate) struct Options {
    /// Targets to run; all of them when none is given.
    targets: Vec<String>,

    /// Seconds for each target.
    #[arg(long, default_value_t = 60)]
    seconds: u64,

    /// What watches memory.
    #[arg(long, value_enum, default_value_t = Sanitizer::None)]
    sanitizer: Sanitizer,
}

/// What watches memory while a target runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Sanitizer {
    /// Nothing: twice as fast, any toolchain.
    None,
    /// `AddressSanitizer`; needs a nightly toolchain.
    Address,
}

/// A built fuzzer.
#[derive(Debug)]
struct Fuzzer<'a> {
    repo: &'a Repo,
    tool: PathBuf,
    sanitizer: Sanitizer,
}

pub(crate) fn run(repo: &Repo, options: &Options) -> Result<()> {
    let all = targets(repo)?;
    for target in &options.targets {
        ensure!(all.contains(target), "there is no fuzz target `{target}`; there are: {}", all.join(", "));
    }
    let chosen = if options.targets.is_empty() { &all } else { &options.targets };
    let mut steps = Steps::new();
    run_targets(repo, chosen, options.seconds, options.sanitizer, &mut steps);
    steps.finish("fuzz")
}

/// The short form that is part of `cargo xtask test`.
pub(crate) fn smoke(repo: &Repo, steps: &mut Steps) {
    match targets(repo) {
        Ok(targets) => {
            let seconds = smoke_seconds(targets.len());
            output::line(&format!("\n{} fuzz targets, {seconds} s each", targets.len()));
            run_targets(repo, &targets, seconds, Sanitizer::None, steps);
        }
        Err(error) => steps.not_run("fuzz", &format!("{error:#}")),
    }
}

fn run_targets(repo: &Repo, targets: &[String], seconds: u64, sanitizer: Sanitizer, steps: &mut Steps) {
    let mut fuzzer = None;
    let built = steps.run("fuzz: build", || {
        let built = Fuzzer { repo, tool: tools::ensure(repo, FUZZ)?, sanitizer };
        built.build()?;
        fuzzer = Some(built);
        Ok(())
    });
    let Some(fuzzer) = fuzzer.filter(|_| built) else {
        for target in targets {
            steps.not_run(&format!("fuzz: {target}"), "the targets could not be built");
        }
        return;
    };
    let cores = thread::available_parallelism().map_or(1, NonZero::get);
    steps.run_together("fuzz", targets, cores, |target| fuzzer.run(target, seconds));
}

/// The names of all targets, sorted.
fn targets(repo: &Repo) -> Result<Vec<String>> {
    let manifest = repo.root().join(lockfile::FUZZ_MANIFEST);
    let metadata = metadata::read(&manifest)?;
    let bins = metadata.packages.iter().flat_map(|package| package.targets_of("bin"));
    let mut names: Vec<String> = bins.map(str::to_owned).collect();
    names.sort();
    if names.is_empty() {
        bail!("{} has no targets", manifest.display());
    }
    Ok(names)
}

fn smoke_seconds(targets: usize) -> u64 {
    let targets = u64::try_from(targets).expect("a number of targets fits").max(1);
    SMOKE_SECONDS.min(SMOKE_SECONDS_TOTAL / targets).max(1)
}

/// What a run did, from the statistics that it ends with; a run that executed nothing found nothing out.
fn summary(said: &str) -> Result<String> {
    let statistic = |name: &str| {
        let line = said.lines().find_map(|line| line.strip_prefix("stat::")?.strip_prefix(name));
        line.and_then(|rest| rest.trim_start_matches(':').trim().parse::<u64>().ok())
    };
    let executed = statistic("number_of_executed_units").unwrap_or_default();
    ensure!(executed > 0, "the fuzzer executed no input:\n{said}");
    let found = statistic("new_units_added").unwrap_or_default();
    let memory = statistic("peak_rss_mb").unwrap_or_default();
    Ok(format!("{executed} inputs, {found} of them new to the corpus, {memory} MB"))
}

// === impl Fuzzer ===

impl Fuzzer<'_> {
    fn build(&self) -> Result<()> {
        system::ensure(CXX)?;
        self.cargo_fuzz("build").run().context("cannot build the fuzz targets")
    }

    fn run(&self, target: &str, seconds: u64) -> Result<()> {
        let corpus = self.repo.target().join("fuzz/corpus").join(target);
        fs::create_dir_all(&corpus).with_context(|| format!("cannot make {}", corpus.display()))?;
        let seeds = self.repo.root().join(FOLDER).join("seeds").join(target);
        ensure!(seeds.is_dir(), "{} is missing: a target needs seeds", seeds.display());
        let said = self
            .cargo_fuzz("run")
            .arg(target)
            .args([corpus, seeds])
            .arg("--")
            .arg(format!("-max_total_time={seconds}"))
            .arg(format!("-timeout={INPUT_SECONDS_MAX}"))
            .arg(format!("-rss_limit_mb={MEMORY_MB_MAX}"))
            .arg(format!("-max_len={INPUT_BYTES_MAX}"))
            .args(["-verbosity=0", "-print_final_stats=1"])
            .transcript()
            .with_context(|| format!("see {FOLDER}/artifacts/{target} for the input, if it crashed"))?;
        output::line(&format!("{target}: {}", summary(&said)?));
        Ok(())
    }

    fn cargo_fuzz(&self, subcommand: &str) -> Cmd {
        let cmd = Cmd::new(&self.tool).dir(self.repo.root()).args([subcommand, "--fuzz-dir", FOLDER, "--target-dir"]);
        let cmd = cmd.arg(self.repo.target().join("fuzz"));
        match self.sanitizer {
            Sanitizer::None => cmd.args(["--sanitizer", "none"]),
            Sanitizer::Address => cmd.args(["--sanitizer", "address"]).env("RUSTUP_TOOLCHAIN", "nightly"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_run_is_summed_up_and_one_that_executed_nothing_is_an_error() -> Result<()> {
        let said =
            "INFO: …\nstat::number_of_executed_units: 7\nstat::new_units_added:          2\nstat::peak_rss_mb:  68\n";

        assert_eq!(summary(said)?, "7 inputs, 2 of them new to the corpus, 68 MB");
        assert!(summary("INFO: …").is_err());
        Ok(())
    }

    #[test]
    fn many_targets_share_the_time_of_a_smoke_run() {
        assert_eq!(smoke_seconds(0), SMOKE_SECONDS);
        assert_eq!(smoke_seconds(6), SMOKE_SECONDS);
        assert_eq!(smoke_seconds(30), 4);
        assert_eq!(smoke_seconds(10_000), 1);
    }
}
