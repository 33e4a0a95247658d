//! `quorate sessions list|get|watch|end|transfer`: the sessions of a cluster's clients.
//!
//! What is listed is what nodes have that answer; a session is ended and handed over by the node that owns it, which another
//! one names when it is asked. Names of sessions are whole in every table: they are what the other commands take.

mod list;
pub(crate) mod show;
mod watch;

use std::path::Path;
use std::time::Duration;

use quorate_client::{Client, Error, Method};
use quorate_membership::address::Address;
use quorate_proto::admin::v1 as proto;
use tokio::time::Instant;

use crate::answer;
use crate::cli::sessions::{EndArgs, OneArgs, SessionsCommand, TransferArgs};
use crate::exit::Failure;
use crate::{cluster, output, target};

/// How long the owner of a session is looked for: longer than an election takes.
const PATIENCE: Duration = Duration::from_secs(15);
/// Between looks.
const PAUSE: Duration = Duration::from_millis(200);
/// How often it is asked that a session ends whose owner changes meanwhile.
const ENDS_MAX: usize = 3;

/// Runs the command.
///
/// # Errors
/// [`Failure`] when nobody answers, or a session is not there.
pub(crate) async fn run(context: Option<&Path>, command: &SessionsCommand) -> Result<(), Failure> {
    match command {
        SessionsCommand::List(args) => list::run(&target::client(context, &args.target)?, args).await,
        SessionsCommand::Get(args) => get(&target::client(context, &args.target)?, args).await,
        SessionsCommand::Watch(args) => watch::run(&target::client(context, &args.target)?, args).await,
        SessionsCommand::End(args) => end(&target::client(context, &args.target)?, args).await,
        SessionsCommand::Transfer(args) => transfer(&target::client(context, &args.target)?, args).await,
    }
}

async fn get(client: &Client, args: &OneArgs) -> Result<(), Failure> {
    let request = proto::GetSessionRequest { name: args.name.clone() };
    let answer = at_owner(client, request).await.map_err(target::of_client)?;
    answer::print::<proto::GetSessionRequest>(args.output.output, &answer, show::details)
}

async fn end(client: &Client, args: &EndArgs) -> Result<(), Failure> {
    let request = proto::EndSessionRequest { name: args.name.clone() };
    let mut is_unsure = false;
    for attempt in 1.. {
        match at_owner(client, request.clone()).await {
            Ok(_) => break,
            // Nothing is lost where it is ended twice.
            Err(Error::OutcomeUnknown { .. }) if attempt < ENDS_MAX => is_unsure = true,
            Err(error) if is_unsure && reason(&error) == "UNKNOWN" => break,
            Err(error) => return Err(target::of_client(error)),
        }
    }
    output::note(&format!("{} has ended: its client gets 404", output::visible(&args.name)));
    Ok(())
}

async fn transfer(client: &Client, args: &TransferArgs) -> Result<(), Failure> {
    let node = cluster::node(client, &args.to).await?;
    let request = proto::TransferSessionRequest { name: args.name.clone(), to: node.id };
    let moved = at_owner(client, request).await.map_err(target::of_client)?;
    let shard = args.name.split_once('-').map_or("", |(shard, _)| shard);
    let said = format!("node {} owns it now, with all sessions of shard {shard}", answer::node(moved.node, &node.name));
    output::note(&output::visible(&said));
    Ok(())
}

/// Asks a node, and then the one that it names, as long as sessions move or nobody leads.
async fn at_owner<M: Method>(client: &Client, request: M) -> Result<M::Answer, Error> {
    let deadline = Instant::now() + PATIENCE;
    let mut named: Option<Client> = None;
    loop {
        let error = match named.as_ref().unwrap_or(client).call(request.clone()).await {
            Ok(answer) => return Ok(answer),
            Err(error) => error,
        };
        match reason(&error) {
            _ if Instant::now() >= deadline || client.is_local() => return Err(error),
            "LED_ELSEWHERE" => match owner(&error) {
                Some(address) => named = Some(client.at(&address)),
                None => return Err(error),
            },
            "NO_LEADER" => {}
            _ => return Err(error),
        }
        tokio::time::sleep(PAUSE).await;
    }
}

fn reason(error: &Error) -> &str {
    if let Error::Refused { refused, .. } = error { &refused.reason } else { "" }
}

/// The node that owns a session, where another one says so.
fn owner(error: &Error) -> Option<Address> {
    let Error::Refused { refused, .. } = error else { return None };
    refused.metadata.get("admin_address")?.parse().ok()
}
