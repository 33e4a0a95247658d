//! `quorate cluster token new|list|revoke`: what nodes join with.
//!
//! A token goes to stdout alone, so that it can be piped to where it is used; everything about it goes to stderr.

use std::path::Path;

use quorate_client::Client;
use quorate_proto::admin::v1 as proto;

use crate::answer::{self, shown_time, to_proto};
use crate::cli::cluster::{Output, TokenCommand, TokenListArgs, TokenNewArgs, TokenRevokeArgs};
use crate::exit::Failure;
use crate::table::Table;
use crate::{output, target};

/// The most tokens that are listed: more than a cluster keeps.
const TOKENS_MAX: usize = 100_000;
const PAGE: i32 = 1_000;

pub(super) async fn run(context: Option<&Path>, command: &TokenCommand) -> Result<(), Failure> {
    match command {
        TokenCommand::New(args) => new(context, args).await,
        TokenCommand::List(args) => list(context, args).await,
        TokenCommand::Revoke(args) => revoke(context, args).await,
    }
}

async fn new(context: Option<&Path>, args: &TokenNewArgs) -> Result<(), Failure> {
    let client = target::client(context, &args.target)?;
    let name = |name: &Option<quorate_types::ResourceName>| name.as_ref().map(ToString::to_string).unwrap_or_default();
    let request = proto::CreateJoinTokenRequest {
        valid_for: Some(to_proto(args.valid_for)),
        comment: args.comment.clone(),
        node_name: name(&args.node_name),
        rack: name(&args.rack),
    };
    let made = client.call(request).await.map_err(target::of_client)?;
    // Whoever makes a cluster grow asks for tokens: so its context comes to know more than the first node.
    if let Ok(status) = client.call(proto::GetStatusRequest::default()).await {
        target::learn_as(context, &args.target, &status);
    }
    if args.output.output == Output::Table {
        output::note(&format!(
            "token {} lets one node join, once, until {}; it is shown this once. On the node that waits:\n  \
             quorate cluster join --data-dir DIR TOKEN",
            made.id,
            shown_time(made.expires.as_ref())
        ));
    }
    answer::print::<proto::CreateJoinTokenRequest>(args.output.output, &made, |made| made.token.clone())
}

async fn list(context: Option<&Path>, args: &TokenListArgs) -> Result<(), Failure> {
    let client = target::client(context, &args.target)?;
    let tokens = all(&client).await?;
    let answer = proto::ListJoinTokensResponse { tokens, next_page_token: String::new() };
    answer::print::<proto::ListJoinTokensRequest>(args.output.output, &answer, |answer| table(&answer.tokens))
}

async fn all(client: &Client) -> Result<Vec<proto::JoinToken>, Failure> {
    let mut tokens = Vec::new();
    let mut page_token = String::new();
    loop {
        let request = proto::ListJoinTokensRequest { page_size: PAGE, page_token };
        let page = client.call(request).await.map_err(target::of_client)?;
        tokens.extend(page.tokens);
        if page.next_page_token.is_empty() || tokens.len() >= TOKENS_MAX {
            return Ok(tokens);
        }
        page_token = page.next_page_token;
    }
}

fn table(tokens: &[proto::JoinToken]) -> String {
    let mut table = Table::new(["ID", "EXPIRES", "NODE", "RACK", "BY", "COMMENT"]);
    let any = |text: &str| if text.is_empty() { "any".to_owned() } else { text.to_owned() };
    for token in tokens {
        let expires = shown_time(token.expires.as_ref());
        let (node, rack) = (any(&token.node_name), any(&token.rack));
        table.row([token.id.clone(), expires, node, rack, token.created_by.clone(), token.comment.clone()]);
    }
    if table.is_empty() { "no token can be used\n".to_owned() } else { table.render() }
}

async fn revoke(context: Option<&Path>, args: &TokenRevokeArgs) -> Result<(), Failure> {
    let client = target::client(context, &args.target)?;
    client.call(proto::RevokeJoinTokenRequest { id: args.id.clone() }).await.map_err(target::of_client)?;
    output::note(&format!("token {} lets nobody join any more", output::visible(&args.id)));
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tokens_are_a_table_that_says_what_they_are_for() {
        let token = proto::JoinToken {
            id: "jt1".into(),
            created_by: "ana".into(),
            rack: "b".into(),
            expires: Some(prost_types::Timestamp { seconds: 1_800_000_000, nanos: 0 }),
            ..proto::JoinToken::default()
        };

        let expected = "\
ID   EXPIRES               NODE  RACK  BY   COMMENT
jt1  2027-01-15T08:00:00Z  any   b     ana
";
        assert_eq!(table(&[token]), expected);
        assert_eq!(table(&[]), "no token can be used\n");
    }
}
