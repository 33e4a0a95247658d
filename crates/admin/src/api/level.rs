//! The feature level of the cluster, raised by what needs it.
//!
//! What an earlier program does not know is not asked of a cluster before all of its nodes know it: the first use raises the
//! level, and a node of an earlier program is in the way of that. From then on such programs cannot join, and nothing lowers
//! the level again.

use quorate_catalog::proto::Reason;
use quorate_catalog::proto::command::Kind as Command;
use quorate_catalog::{Refusal, proto};
use quorate_control::{CommandError, Control};
use tonic::Status;

use super::errors;
use super::latest::latest;

/// Raises the cluster to a feature level, where it is lower; what comes next is written as commands of that level.
///
/// # Errors
/// What the caller is told: what `told` makes of a refusal, which has the node that is in the way in what it allows.
pub(super) async fn raise(control: &Control, to: u32, told: impl FnOnce(&Refusal) -> Status) -> Result<(), Status> {
    if control.catalog().cluster().is_some_and(|cluster| cluster.level >= to) {
        return Ok(());
    }
    match control.command(Command::RaiseLevel(proto::RaiseLevel { to })).await {
        Ok(_) => tracing::info!(level = to, "the cluster's feature level is raised: earlier programs cannot join it"),
        // Another node did it.
        Err(CommandError::Refused(refusal)) if refusal.reason() == Reason::Invalid => {}
        Err(CommandError::Refused(refusal)) => return Err(told(&refusal)),
        Err(error) => return Err(errors::command(&error)),
    }
    latest(control).await.map(drop).map_err(|error| errors::read(&error))
}
