//! `quorate apply --watch`: the files of a folder are what the cluster has, for as long as this runs (GitOps).
//!
//! Files are watched and polled, and a burst of changes is one (`quorate_config::Watcher`). Each change is applied whole; one
//! that is refused leaves the cluster as it is, is told once, and stays wrong until it is mended. What fails for want of a
//! node is tried again, slower and slower. From time to time the set is applied without a change, because others may have
//! changed the cluster, and documents may name files that are not watched.
//!
//! An empty or unreadable folder never deletes anything: it is an error like any other.

use std::time::Duration;

use quorate_client::Client;
use quorate_config::watch::{Timing, Watcher};
use quorate_proto::admin::v1 as proto;
use quorate_runtime::clock;
use quorate_types::rfc3339;
use serde_json::json;
use tokio::signal::unix::{SignalKind, signal};

use super::apply;
use super::changes::{self, Counts, Style};
use crate::cli::cluster::Output;
use crate::cli::resources::ApplyArgs;
use crate::exit::{Exit, Failure};
use crate::{documents, output, target};

/// How long nothing changes before the set is applied all the same.
const RESYNC: Duration = Duration::from_secs(60);
/// The waits between tries when no node answers: the first, and the longest.
const RETRY: (Duration, Duration) = (Duration::from_secs(1), Duration::from_secs(30));

/// What became of one round, as it is told.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Told {
    /// The cluster has the set, at this revision.
    Applied(u64),
    /// It has not; in these words.
    Failed(String),
}

/// Runs until a signal.
///
/// # Errors
/// [`Failure`] when signals cannot be watched for, or stdout cannot be written.
pub(super) async fn run(client: &Client, args: &ApplyArgs) -> Result<(), Failure> {
    if args.set.files.iter().any(|file| file.as_os_str() == "-") {
        return Err(Failure::new(Exit::Usage, "standard input cannot be watched: name files or a folder with `-f`"));
    }
    let failed = |error: std::io::Error| Failure::new(Exit::Failure, format!("cannot watch for signals: {error}"));
    let mut interrupt = signal(SignalKind::interrupt()).map_err(failed)?;
    let mut terminate = signal(SignalKind::terminate()).map_err(failed)?;
    tokio::select! {
        ended = follow(client, args) => ended,
        _ = interrupt.recv() => Ok(()),
        _ = terminate.recv() => Ok(()),
    }
}

async fn follow(client: &Client, args: &ApplyArgs) -> Result<(), Failure> {
    let mut watcher = Watcher::new(&args.set.files, Timing::DEFAULTS);
    let mut told = None;
    let mut retry = RETRY.0;
    loop {
        let round = round(client, args).await;
        let is_passing = round.as_ref().is_err_and(is_passing);
        tell(args.output.output, &round, &mut told)?;
        let pause = if is_passing { retry } else { RESYNC };
        retry = if is_passing { (retry * 2).min(RETRY.1) } else { RETRY.0 };
        // A change is looked at at once; otherwise the set is applied again after the pause.
        let _paused = tokio::time::timeout(pause, watcher.changed()).await;
    }
}

/// Reads the files and applies them.
async fn round(client: &Client, args: &ApplyArgs) -> Result<(proto::ApplyResponse, Vec<proto::Document>), Failure> {
    let set = apply::check(documents::read(&args.set.files)?, &args.set)?;
    let request = proto::ApplyRequest {
        documents: set.clone(),
        source: apply::source(&args.set),
        expected_revision: None,
        message: args.message.clone(),
        dry_run: false,
    };
    let answer = client.call(request).await.map_err(target::of_client)?;
    Ok((answer, set))
}

/// Tells whether a failure may pass without a change of the files: applying again what was perhaps applied is no harm.
fn is_passing(failure: &Failure) -> bool {
    matches!(failure.exit, Exit::Unreachable | Exit::OutcomeUnknown)
}

/// Tells what became of a round, unless it is what was told last.
fn tell(
    output: Output,
    round: &Result<(proto::ApplyResponse, Vec<proto::Document>), Failure>,
    told: &mut Option<Told>,
) -> Result<(), Failure> {
    let now = rfc3339::format(clock::now());
    let (next, changes) = match round {
        Ok((answer, _)) => (Told::Applied(answer.revision), answer.changes.as_slice()),
        Err(failure) => (Told::Failed(output::visible(&failure.message).into_owned()), &[][..]),
    };
    if told.as_ref() == Some(&next) && changes.is_empty() {
        return Ok(());
    }
    if let Ok((answer, _)) = round {
        apply::warn(&answer.warnings);
    }
    let text = match output {
        Output::Table => line(&now, &next, changes),
        Output::Json | Output::Yaml => object(&now, &next, changes),
    };
    *told = Some(next);
    output::print(&text)
}

fn line(now: &str, told: &Told, changes: &[proto::Change]) -> String {
    match told {
        Told::Applied(revision) => {
            let style = Style { has_fields: false, is_coloured: false };
            let lines: String = changes::lines(changes, &[], style).lines().map(|line| format!("\n  {line}")).collect();
            format!("{now} revision {revision}: {}{lines}", Counts::of(changes).words())
        }
        Told::Failed(message) => {
            format!("{now} not applied, the cluster stays as it is: {}", message.replace('\n', "\n  "))
        }
    }
}

/// One JSON object on a line, which is YAML, too.
fn object(now: &str, told: &Told, changes: &[proto::Change]) -> String {
    let Counts { added, changed, deleted } = Counts::of(changes);
    let (revision, error) = match told {
        Told::Applied(revision) => (Some(revision), None),
        Told::Failed(message) => (None, Some(message)),
    };
    json!({
        "time": now,
        "revision": revision,
        "added": added,
        "changed": changed,
        "deleted": deleted,
        "error": error,
    })
    .to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn added(name: &str) -> proto::Change {
        let action = proto::change::Action::Add.into();
        proto::Change { action, kind: "Policy".into(), name: name.into(), ..proto::Change::default() }
    }

    #[test]
    fn what_was_applied_is_a_line_with_its_changes() {
        let text = line("T", &Told::Applied(7), &[added("a")]);

        assert_eq!(text, "T revision 7: 1 added\n  + Policy/a added");
        assert_eq!(line("T", &Told::Applied(7), &[]), "T revision 7: nothing changed");
        assert_eq!(line("T", &Told::Failed("a\nb".into()), &[]), "T not applied, the cluster stays as it is: a\n  b");
    }

    #[test]
    fn for_programs_it_is_an_object_on_a_line() {
        let text = object("T", &Told::Applied(7), &[added("a")]);

        let value: serde_json::Value = serde_json::from_str(&text).unwrap();
        let expected = json!({"time": "T", "revision": 7, "added": 1, "changed": 0, "deleted": 0, "error": null});
        assert_eq!(value, expected);
        assert!(!text.contains('\n'));
    }

    #[test]
    fn only_what_may_pass_is_tried_again_soon() {
        for (exit, expected) in
            [(Exit::Unreachable, true), (Exit::OutcomeUnknown, true), (Exit::Config, false), (Exit::Refused, false)]
        {
            assert_eq!(is_passing(&Failure::new(exit, "x")), expected, "{exit:?}");
        }
    }

    #[test]
    fn the_same_failure_is_told_once() {
        let mut told = None;
        let failed = |message: &str| Err(Failure::new(Exit::Config, message));

        tell(Output::Table, &failed("a"), &mut told).unwrap();
        assert_eq!(told, Some(Told::Failed("a".into())));
        let before = told.clone();
        tell(Output::Table, &failed("a"), &mut told).unwrap();
        assert_eq!(told, before);
        tell(Output::Table, &failed("b"), &mut told).unwrap();
        assert_eq!(told, Some(Told::Failed("b".into())));
    }
}
