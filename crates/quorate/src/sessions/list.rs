//! `quorate sessions list`: page by page, and what the first node has no replica of from the others.
//!
//! A node that does not answer takes away nothing but the shards that it alone was asked for, and those are told.

use quorate_client::{Client, Method as _, json};
use quorate_proto::admin::v1 as proto;
use quorate_runtime::clock;

use super::show;
use crate::answer;
use crate::cli::cluster::Output;
use crate::cli::sessions::{ListArgs, WantedArgs};
use crate::exit::Failure;
use crate::{output, target};

const PAGE_MAX: usize = 1_000;
/// Shards that a note names.
const NAMED_MAX: usize = 8;

/// Runs the command.
///
/// # Errors
/// [`Failure`] when the first node does not answer.
pub(super) async fn run(client: &Client, args: &ListArgs) -> Result<(), Failure> {
    let limit = usize::try_from(args.limit).unwrap_or(usize::MAX);
    let request = request(&args.wanted, args.ended);
    let mut all = pages(client, &request, limit).await.map_err(target::of_client)?;
    if !all.elsewhere.is_empty() && !client.is_local() && all.next_page_token.is_empty() {
        others(client, &request, limit, &mut all).await?;
    }
    if !all.next_page_token.is_empty() {
        output::note(&format!("there may be more: these are the first {} (`--limit`)", all.sessions.len()));
    }
    if !all.elsewhere.is_empty() {
        output::note(&format!("{} not listed: no node that was asked has a replica", shards(&all.elsewhere)));
    }
    match args.output.output {
        Output::Table if args.ended => {
            all.sessions.sort_by_key(|session| std::cmp::Reverse(show::ended_at(session)));
            output::print(&show::ended_table(&all.sessions, clock::now()))
        }
        Output::Table => output::print(&show::table(&all.sessions, clock::now())),
        format @ (Output::Json | Output::Yaml) => {
            let mut value = json::of(proto::ListSessionsRequest::ANSWER, &all);
            if let Some(members) = value.as_object_mut() {
                members.shift_remove("nextPageToken");
            }
            answer::print_value(format, &value)
        }
    }
}

/// What the flags ask for.
pub(super) fn request(args: &WantedArgs, ended: bool) -> proto::ListSessionsRequest {
    let text = |name: Option<&dyn ToString>| name.map(ToString::to_string).unwrap_or_default();
    proto::ListSessionsRequest {
        tenant: text(args.tenant.as_ref().map(|tenant| tenant as &dyn ToString)),
        toolset: text(args.toolset.as_ref().map(|name| name as &dyn ToString)),
        server: text(args.server.as_ref().map(|name| name as &dyn ToString)),
        agent: args.agent.clone().unwrap_or_default(),
        busy: args.busy,
        ended,
        ..proto::ListSessionsRequest::default()
    }
}

/// `shard 3 is`, `shards 3, 4 are`: so that a sentence goes on behind it.
pub(super) fn shards(shards: &[u32]) -> String {
    let numbers: Vec<String> = shards.iter().take(NAMED_MAX).map(ToString::to_string).collect();
    let more = shards.len().saturating_sub(NAMED_MAX);
    let more = if more == 0 { String::new() } else { format!(" and {more} more") };
    let (word, is) = if shards.len() == 1 { ("shard", "is") } else { ("shards", "are") };
    format!("{word} {}{more} {is}", numbers.join(", "))
}

/// All pages of one node, at most `limit` sessions.
async fn pages(
    client: &Client,
    request: &proto::ListSessionsRequest,
    limit: usize,
) -> Result<proto::ListSessionsResponse, quorate_client::Error> {
    let mut all = proto::ListSessionsResponse::default();
    loop {
        let room = limit.saturating_sub(all.sessions.len()).min(PAGE_MAX);
        let page = proto::ListSessionsRequest {
            page_size: i32::try_from(room).unwrap_or(i32::MAX),
            page_token: std::mem::take(&mut all.next_page_token),
            ..request.clone()
        };
        let page = client.call(page).await?;
        all.sessions.extend(page.sessions);
        (all.next_page_token, all.elsewhere) = (page.next_page_token, page.elsewhere);
        if all.next_page_token.is_empty() || all.sessions.len() >= limit {
            return Ok(all);
        }
    }
}

/// Asks the other nodes for the shards that nobody has told of yet.
async fn others(
    client: &Client,
    request: &proto::ListSessionsRequest,
    limit: usize,
    all: &mut proto::ListSessionsResponse,
) -> Result<(), Failure> {
    let status = client.call(proto::GetStatusRequest::default()).await.map_err(target::of_client)?;
    for node in status.nodes.iter().filter(|node| node.id != status.node) {
        let Ok(address) = node.admin_address.parse() else { continue };
        if all.elsewhere.is_empty() || all.sessions.len() >= limit {
            break;
        }
        let request = proto::ListSessionsRequest { shards: all.elsewhere.clone(), ..request.clone() };
        match pages(&client.at(&address), &request, limit - all.sessions.len()).await {
            Ok(more) => {
                all.sessions.extend(more.sessions);
                (all.next_page_token, all.elsewhere) = (more.next_page_token, more.elsewhere);
            }
            Err(error) => output::note(&format!("node {} tells nothing: {error}", answer::node(node.id, &node.name))),
        }
    }
    all.sessions.sort_by_key(|session| {
        let shard = session.name.split_once('-').and_then(|(shard, _)| shard.parse::<u32>().ok());
        (shard, session.name.clone())
    });
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shards_are_named_in_a_sentence() {
        assert_eq!(shards(&[3]), "shard 3 is");
        assert_eq!(shards(&[3, 14]), "shards 3, 14 are");
        let many: Vec<u32> = (1..=10).collect();
        assert_eq!(shards(&many), "shards 1, 2, 3, 4, 5, 6, 7, 8 and 2 more are");
    }
}
