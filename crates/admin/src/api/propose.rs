//! A change of documents, whatever its size: one command where it fits, else a stage of them.
//!
//! A stage that is refused is taken back, so that it holds no room for ten minutes.

use quorate_catalog::proto::command::Kind as Command;
use quorate_catalog::proto::outcome::Kind as Outcome;
use quorate_catalog::{StageId, commands, proto};
use quorate_control::{CommandError, Control};

/// Applies a change, at once and as a whole.
///
/// # Errors
/// [`CommandError`]; nothing of it was applied when it is refused.
///
/// # Panics
/// When the operating system has no randomness.
pub async fn apply(control: &Control, apply: proto::Apply) -> Result<proto::Applied, CommandError> {
    let mut id = [0; 16];
    getrandom::fill(&mut id).expect("the operating system has randomness");
    let level = control.catalog().cluster().map_or(1, |cluster| cluster.level);
    let mut staged = false;
    let mut last = None;
    for command in commands(level, apply, StageId(id)) {
        let Some(kind) = command.kind else { return Err(CommandError::Outcome) };
        let begins = matches!(kind, Command::StageBegin(_));
        match control.command(kind).await {
            Ok(outcome) => last = Some(outcome),
            Err(error) => {
                if staged {
                    let abort = proto::StageAbort { stage: id.to_vec().into() };
                    if let Err(error) = control.command(Command::StageAbort(abort)).await {
                        tracing::debug!(%error, "a stage is left to be dropped after its time");
                    }
                }
                return Err(error);
            }
        }
        staged |= begins;
    }
    match last {
        Some(Outcome::Applied(applied)) => Ok(applied),
        Some(_) | None => Err(CommandError::Outcome),
    }
}
