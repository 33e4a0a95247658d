//! Join tokens: shown to one caller, once.
//!
//! The text of a token goes into an answer and nowhere else; records name tokens by their ids.

use std::time::Duration;

use quorate_catalog::proto::command::Kind as Command;
use quorate_catalog::{PAGE_MAX, Token, proto};
use quorate_proto::admin::v1;
use tonic::{Request, Status};

use super::super::caller::{Caller, Note};
use super::super::errors;
use super::super::node::{Node, TokenOrder};
use super::super::paging::{self, Paging};
use super::super::server::now;
use super::nodes::{command, optional_name};
use super::status::timestamp;

const TOKEN_LIFETIME: Duration = Duration::from_secs(3600);
const TOKEN_LIFETIME_MIN: Duration = Duration::from_secs(60);
const TOKEN_LIFETIME_MAX: Duration = Duration::from_secs(7 * 86_400);
/// What a rack may be called, as the catalog has it.
const RACK_BYTES_MAX: usize = 63;
const COMMENT_BYTES_MAX: usize = 160;

/// Issues a token.
pub(super) async fn create(
    node: &Node,
    request: Request<v1::CreateJoinTokenRequest>,
) -> Result<v1::CreateJoinTokenResponse, Status> {
    let member = node.member()?;
    let (caller, note) = (Caller::of(&request), Note::of(&request));
    let v1::CreateJoinTokenRequest { valid_for, comment, node_name, rack } = request.into_inner();
    let valid_for = lifetime("valid_for", valid_for, TOKEN_LIFETIME, TOKEN_LIFETIME_MIN..=TOKEN_LIFETIME_MAX)?;
    if comment.len() > COMMENT_BYTES_MAX || comment.chars().any(char::is_control) {
        let allowed = format_args!("one line of at most {COMMENT_BYTES_MAX} bytes");
        return Err(errors::invalid("comment", format_args!("{comment:?}"), allowed));
    }
    if rack.len() > RACK_BYTES_MAX {
        return Err(errors::invalid("rack", rack, format_args!("at most {RACK_BYTES_MAX} bytes")));
    }
    let order = TokenOrder {
        valid_for,
        node_name: optional_name("node_name", &node_name)?,
        rack: Some(rack).filter(|rack| !rack.is_empty()),
        comment,
        by: caller.to_string(),
    };
    let issued = member.issue_token(order).await?;
    note.about(format_args!("token {}", issued.id));
    let expires = Some(timestamp(issued.expires));
    Ok(v1::CreateJoinTokenResponse { token: issued.text.to_string(), id: issued.id, expires })
}

/// Lists the tokens that can be used, by their ids.
pub(super) fn list(node: &Node, request: &v1::ListJoinTokensRequest) -> Result<v1::ListJoinTokensResponse, Status> {
    let catalog = node.member()?.control().catalog();
    let paging = Paging::read(request.page_size, &request.page_token, PAGE_MAX)?;
    let usable = catalog.tokens(now()).filter(|token| token.is_usable(now()));
    let after = usable.filter(|token| paging.after().is_none_or(|after| token.id.to_string().as_str() > after));
    let mut tokens: Vec<v1::JoinToken> = after.take(paging.size() + 1).map(told).collect();
    let next_page_token = paging::next(&mut tokens, paging.size(), |token| token.id.clone());
    Ok(v1::ListJoinTokensResponse { tokens, next_page_token })
}

/// Takes a token back.
pub(super) async fn revoke(
    node: &Node,
    request: Request<v1::RevokeJoinTokenRequest>,
) -> Result<v1::RevokeJoinTokenResponse, Status> {
    let member = node.member()?;
    let id = &request.get_ref().id;
    let token = id_of(id).ok_or_else(|| errors::invalid("id", format_args!("{id:?}"), "32 hexadecimal digits"))?;
    Note::of(&request).about(format_args!("token {id}"));
    command(&*member, Command::RevokeToken(proto::RevokeToken { token: token.to_vec().into() })).await?;
    Ok(v1::RevokeJoinTokenResponse {})
}

fn told(token: &Token) -> v1::JoinToken {
    let (created_by, comment) = TokenOrder::creator_and_comment(&token.created_by);
    v1::JoinToken {
        id: token.id.to_string(),
        expires: Some(timestamp(token.expires_at)),
        created_by: created_by.to_owned(),
        comment: comment.to_owned(),
        node_name: token.node_name.as_ref().map(|name| name.as_str().to_owned()).unwrap_or_default(),
        rack: token.rack.clone().unwrap_or_default(),
        created_at: Some(timestamp(token.created_at)),
    }
}

fn id_of(text: &str) -> Option<[u8; 16]> {
    let is_hex = text.len() == 32 && text.bytes().all(|byte| byte.is_ascii_hexdigit());
    let number = is_hex.then(|| u128::from_str_radix(text, 16).ok()).flatten()?;
    Some(number.to_be_bytes())
}

/// Reads how long something is to live.
pub(super) fn lifetime(
    field: &str,
    given: Option<prost_types::Duration>,
    default: Duration,
    bounds: std::ops::RangeInclusive<Duration>,
) -> Result<Duration, Status> {
    let Some(given) = given else { return Ok(default) };
    let read = Duration::try_from(given).ok().filter(|read| bounds.contains(read));
    read.ok_or_else(|| {
        let (least, most) = (bounds.start().as_secs(), bounds.end().as_secs());
        errors::invalid(field, format_args!("{} s", given.seconds), format_args!("{least} s to {most} s"))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_is_32_hexadecimal_digits() {
        assert_eq!(id_of("000102030405060708090a0b0c0d0eff").map(|id| (id[1], id[15])), Some((1, 255)));
        for text in ["", "00", "+00102030405060708090a0b0c0d0eff", "000102030405060708090a0b0c0d0efg"] {
            assert_eq!(id_of(text), None, "{text:?}");
        }
    }

    #[test]
    fn a_life_is_the_default_or_within_bounds() {
        let read = |seconds: Option<i64>| {
            let given = seconds.map(|seconds| prost_types::Duration { seconds, nanos: 0 });
            lifetime("valid_for", given, TOKEN_LIFETIME, TOKEN_LIFETIME_MIN..=TOKEN_LIFETIME_MAX)
        };
        assert_eq!(read(None).expect("it is absent"), TOKEN_LIFETIME);
        assert_eq!(read(Some(60)).expect("it is the least"), TOKEN_LIFETIME_MIN);
        for seconds in [0, 59, 7 * 86_400 + 1, -1, i64::MAX] {
            let refused = read(Some(seconds)).expect_err("it is out of bounds");
            assert_eq!(refused.code(), tonic::Code::InvalidArgument, "{seconds}");
            assert!(refused.message().contains("60 s to 604800 s"), "{refused}");
        }
    }
}
