//! `quorate serve`: a node that serves exactly what its resource files say.
//!
//! Nothing is assumed or opened that a resource or a flag does not ask for. Without an identity
//! source and a policy every request is refused, and the log says at start which flag would
//! change that.

use quorate_gateway::authenticate::Identity;
use quorate_gateway::authorize::Policy;

use crate::cli::ServeArgs;
use crate::exit::Failure;
use crate::run::{Plan, load_files, start, until_stopped};

/// Runs the command.
///
/// # Errors
/// [`Failure`] with what to do about it.
pub(crate) async fn run(args: ServeArgs) -> Result<(), Failure> {
    let identity = if args.development_identity { Identity::development() } else { Identity::None };
    let policy = if args.allow_all { Policy::AllowAll } else { Policy::DenyAll };
    let files = args.files.clone();
    let load = move || load_files(&files);
    let plan = Plan { node: args.node, identity, policy, admin: args.admin, files: args.files };
    let running = start(plan, &load).await?;
    if !args.development_identity {
        tracing::warn!("every request is refused: no identity source (`--development-identity` gives one on loopback)");
    }
    if !args.allow_all {
        tracing::warn!("every request is denied: no policy (`--allow-all` installs one that allows everything)");
    }
    for (listener, address) in running.gateway.addresses().await {
        tracing::info!(%listener, %address, "serving");
    }
    if let Some(address) = running.admin {
        tracing::info!(%address, "serving health, readiness and metrics");
    }
    until_stopped(running, &load).await
}
