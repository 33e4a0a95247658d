//! `quorate sessions watch`: a line for each session that is there, opened, moved, busy with something else, or ended.
//!
//! Lines for people have the columns of the list, as wide as they may be, since nobody knows what comes; JSON and YAML have
//! each answer of the node as it is, one after the other.

use std::time::Duration;

use quorate_client::{Client, Error, Watch as _, json};
use quorate_proto::admin::v1 as proto;
use quorate_proto::admin::v1::session_change::Kind;
use quorate_runtime::clock;
use quorate_types::rfc3339;

use super::{list, show};
use crate::answer;
use crate::cli::cluster::Output;
use crate::cli::sessions::WatchArgs;
use crate::exit::Failure;
use crate::{output, target};

/// Before a watch goes on at another node: an election takes less.
const AGAIN: Duration = Duration::from_secs(1);

/// Runs the command: to Ctrl-C, or for as long as nodes answer.
///
/// # Errors
/// [`Failure`] when nobody answers, or a node refuses to go on.
pub(super) async fn run(client: &Client, args: &WatchArgs) -> Result<(), Failure> {
    tokio::select! {
        watched = watch(client, args) => watched,
        _ = tokio::signal::ctrl_c() => Ok(()),
    }
}

async fn watch(client: &Client, args: &WatchArgs) -> Result<(), Failure> {
    let proto::ListSessionsRequest { tenant, toolset, server, agent, busy, .. } = list::request(&args.wanted, false);
    let request = proto::WatchSessionsRequest { tenant, toolset, server, agent, busy, shards: Vec::new() };
    let mut is_first = true;
    loop {
        let mut answers = client.watch(request.clone()).await.map_err(target::of_client)?;
        loop {
            match answers.next().await {
                Ok(Some(said)) => {
                    tell(&said, is_first, args.output.output)?;
                    is_first = false;
                }
                Ok(None) => break,
                // The node is gone: another one tells everything anew.
                Err(Error::Unreachable { .. }) => break,
                Err(error) => return Err(target::of_client(error)),
            }
        }
        output::note("the node ended the watch: another one is asked");
        tokio::time::sleep(AGAIN).await;
    }
}

fn tell(said: &proto::WatchSessionsResponse, is_first: bool, output: Output) -> Result<(), Failure> {
    if said.resync && !is_first {
        output::note("told anew from here on: more has changed than was remembered, or the node has other shards");
    }
    if said.resync && !said.elsewhere.is_empty() {
        output::note(&format!("{} not watched: this node has no replica", list::shards(&said.elsewhere)));
    }
    let value = || json::of(proto::WatchSessionsRequest::ANSWER, said);
    match output {
        Output::Table if said.changes.is_empty() => Ok(()),
        Output::Table => {
            let now = rfc3339::format(clock::now());
            let time = now.get(11..19).unwrap_or_default();
            output::print(&said.changes.iter().map(|change| line(time, change)).collect::<String>())
        }
        Output::Json => output::print(&value().to_string()),
        Output::Yaml => output::print(&format!("---\n{}", answer::yaml(&value())?)),
    }
}

fn line(time: &str, change: &proto::SessionChange) -> String {
    let nothing = proto::Session::default();
    let session = change.session.as_ref().unwrap_or(&nothing);
    let calls = || answer::counted(usize::try_from(session.calls).unwrap_or(usize::MAX), "call");
    let (what, how) = match change.kind() {
        Kind::Unspecified => ("?", String::new()),
        Kind::Present => ("there", calls()),
        Kind::Opened => ("opened", calls()),
        Kind::Changed => ("changed", calls()),
        Kind::Moved => ("moved", calls()),
        Kind::Ended => ("ended", session.end.as_ref().map_or_else(String::new, |end| format!("by {}", show::by(end)))),
        Kind::Left => ("left", String::new()),
    };
    let scope = output::first_line(&show::scope(session), 13);
    let whose = output::first_line(&format!("{}/{}", session.tenant, show::or_dash(&session.agent)), 20);
    let node = if session.node == 0 { String::new() } else { format!("node {}", session.node) };
    let line = format!("{time} {what:<7} {:<36} {whose:<20} {scope:<13} {node:<7} {how}", session.name);
    format!("{}\n", output::visible(line.trim_end()))
}

#[cfg(test)]
mod tests {
    use super::super::show::tests::{ended, session};
    use super::*;

    #[test]
    fn a_line_has_what_became_of_a_session() {
        let change = |kind: Kind, session| proto::SessionChange { kind: kind.into(), session: Some(session) };
        let name = session().name;

        let opened = line("10:00:00", &change(Kind::Opened, session()));
        assert_eq!(opened, format!("10:00:00 opened  {name} acme/ci              all           node 2  1 call\n"));
        let ended = line("10:00:01", &change(Kind::Ended, proto::Session { node: 0, ..ended() }));
        assert!(ended.ends_with("by operator ci (operator)\n"), "{ended}");
        let left = line("10:00:01", &change(Kind::Left, proto::Session { name: name.clone(), ..Default::default() }));
        assert!(left.starts_with(&format!("10:00:01 left    {name}")), "{left}");
    }
}
