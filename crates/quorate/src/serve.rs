//! `quorate serve`: a node that serves exactly what its resource files say.
//!
//! Nothing is assumed or opened that a resource or a flag does not ask for. Without an identity
//! source and a policy every request is refused, and the log says at start which flag would
//! change that. With `--peer-listen` the node is, or can become, a member of a cluster ([`peers`]).

use std::sync::{Mutex, PoisonError};

use quorate_config::Loader;
use quorate_gateway::authenticate::Development;

use crate::cli::ServeArgs;
use crate::exit::{Exit, Failure};
use crate::peers;
use crate::run::{Plan, Stop, of_config, start, until_stopped, with_listener};

/// Runs the command.
///
/// # Errors
/// [`Failure`] with what to do about it.
pub(crate) async fn run(args: ServeArgs) -> Result<(), Failure> {
    if let Some(listen) = args.listen.filter(|listen| !listen.ip().is_loopback()) {
        return Err(Failure::new(
            Exit::Usage,
            format!("--listen {listen} is not on loopback, and would be plain text"),
        )
        .advise("write a Listener document with `tls` for an address that others reach"));
    }
    if args.peers.peer_listen.is_none() && args.peers.certificates.files().is_some() {
        return Err(Failure::new(Exit::Usage, "--peer-certificate is for nodes with peers, and this one has none")
            .advise("name the address for other nodes with `--peer-listen ADDRESS`"));
    }
    let development = if args.development_identity { Development::Loopback } else { Development::Off };
    let (files, listen, loader) = (args.files.clone(), args.listen, Mutex::new(Loader::default()));
    let load = move || {
        // A loader that somebody panicked over only knows fewer files.
        let mut loader = loader.lock().unwrap_or_else(PoisonError::into_inner);
        let set = loader.load(&files).map_err(|errors| of_config(&errors))?;
        match listen {
            Some(listen) => with_listener(set, listen),
            None => Ok(set),
        }
    };
    if args.peers.peer_listen.is_some() {
        return peers::run(args, development, &load).await;
    }
    let plan = Plan { node: args.node, development, allow_all: args.allow_all, admin: args.admin, files: args.files };
    let running = start(plan, &load).await?;
    let resources = load()?;
    if !args.development_identity && resources.issuers().is_empty() && resources.api_keys().is_empty() {
        tracing::warn!(
            "every request is refused: there is no Issuer and no ApiKey (`quorate keys new` makes one; \
             `--development-identity` gives an identity on loopback)"
        );
    }
    if !args.allow_all && resources.policies().is_empty() {
        tracing::warn!("every request is denied: there is no Policy (`--allow-all` allows everything)");
    }
    for (listener, address) in running.gateway.addresses().await {
        tracing::info!(%listener, %address, "serving");
    }
    if let Some(address) = running.admin {
        tracing::info!(%address, "serving health, readiness and metrics");
    }
    until_stopped(running, &load, Stop::new()?).await
}

#[cfg(test)]
mod tests {
    use clap::Parser as _;

    use super::*;
    use crate::cli::{Cli, Command};

    #[tokio::test]
    async fn files_of_a_certificate_without_peers_are_refused_and_not_left_unused() {
        let flags = ["--peer-certificate", "a", "--peer-key", "b", "--peer-authorities", "c"];
        let parsed = Cli::try_parse_from(["quorate", "serve", "-f", "d"].iter().chain(&flags)).unwrap();
        let Command::Serve(args) = parsed.command else { panic!("it serves") };

        let refused = run(args).await.unwrap_err();

        assert_eq!(refused.exit, Exit::Usage);
        assert!(refused.message.contains("--peer-certificate"), "{}", refused.message);
        assert!(refused.advice.unwrap().contains("--peer-listen"));
    }
}
