//! An engine that nobody here wrote answers through a gateway.
//!
//! One engine, one more for embeddings and one gateway are started ([`ground`]); then everything is looked at in one
//! order, since the last looks take the engine away ([`answers`], [`losses`]). What comes of it is a page of the user
//! guide ([`page`]):
//!
//! - `--check` (the default) fails when the committed page is not the generated one;
//! - `--write` writes the page.

mod answers;
mod asks;
mod ground;
mod losses;
mod page;

use std::{env, io::Write as _, process::ExitCode, time::Instant};

use anyhow::bail;
use ground::Ground;
use page::Seen;
use quorate_tests::{page::Page, paths};

/// The page that the run is on.
const PAGE: Page = Page { path: "docs/src/model-engines.md", test: "engines" };

/// Something to look at: gives back what was seen.
type Look = fn(&mut Ground) -> anyhow::Result<String>;

/// Everything that is looked at, in this order.
const LOOKS: [(&str, Look); 17] = [
    ("Lists of models", answers::lists),
    ("Whole answers", answers::whole),
    ("Streams", answers::streams),
    ("The engine's own APIs", answers::native),
    ("Tokens of a request", answers::counts),
    ("A limit of tokens", answers::limits),
    ("A text to stop at", answers::stops),
    ("A schema", answers::schemas),
    ("A tool that must be called", answers::tools),
    ("Embeddings", answers::embeddings),
    ("More clients than slots", answers::crowd),
    ("Wrong requests", answers::refusals),
    ("Clients leave their streams", losses::leaving_streams),
    ("A client leaves before its answer", losses::leaving_whole),
    ("The engine is killed under four streams", losses::killed),
    ("The engine is not there", losses::gone),
    ("The engine is started again", losses::back),
];

fn main() -> ExitCode {
    let arguments: Vec<String> = env::args().skip(1).collect();
    let ended = match arguments.iter().map(String::as_str).collect::<Vec<_>>().as_slice() {
        [] | ["--check"] => run().and_then(|page| PAGE.compare(&page)),
        ["--write"] => run().and_then(|page| PAGE.write(&page)),
        _ => Err(anyhow::anyhow!("unknown arguments: {arguments:?}")),
    };
    match ended {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("engines: {error:#}");
            ExitCode::FAILURE
        }
    }
}

/// Looks at everything; gives back the page.
fn run() -> anyhow::Result<String> {
    let results = paths::results("engines")?;
    let mut ground = Ground::start(&results)?;
    let mut seen = Vec::new();
    let mut failures = Vec::new();
    for (title, look) in LOOKS {
        let began = Instant::now();
        match look(&mut ground) {
            Ok(said) => {
                eprintln!("{title}: {said} ({:.1?})", began.elapsed());
                seen.push(Seen { title, said });
            }
            Err(error) => {
                eprintln!("{title}: FAILED: {error:#}");
                failures.push(title);
            }
        }
    }
    ground.keep_logs(&results)?;
    if !failures.is_empty() {
        bail!(
            "{} of {} failed: {}; logs are in {}",
            failures.len(),
            LOOKS.len(),
            failures.join(", "),
            results.display()
        );
    }
    let page = page::render(&seen)?;
    writeln!(std::io::stdout(), "{page}")?;
    Ok(page)
}
