//! Certificates of operators: made, listed, and taken back before they end.
//!
//! A certificate is listed in the catalog before it is handed out; its key goes into an answer and nowhere else. One that is
//! taken back is refused on a node from the moment on which the node hears of it, with what it has open. A cluster that is at a
//! lower feature level than that takes is raised when the first one is taken back, which a node of an earlier program is in the
//! way of.

use std::time::Duration;

use quorate_catalog::proto::command::Kind as Command;
use quorate_catalog::{OPERATORS_LEVEL, Operator, OperatorId, PAGE_MAX, proto};
use quorate_membership::authority::{OPERATOR_LIFETIME_MAX, OPERATOR_LIFETIME_MIN};
use quorate_membership::identity::Role;
use quorate_proto::admin::v1;
use tonic::{Request, Status};

use super::super::caller::{self, Caller, Note};
use super::super::errors;
use super::super::latest::latest;
use super::super::level::raise;
use super::super::node::{Membership, Node};
use super::super::paging::{self, Paging};
use super::super::server::now;
use super::nodes::command;
use super::status::timestamp;
use super::tokens::lifetime;

const LIFETIME: Duration = Duration::from_secs(90 * 86_400);
/// Hexadecimal digits of an id.
const DIGITS: usize = 64;
/// Digits of one that tell it from all others that are listed.
const DIGITS_MIN: usize = 16;

/// Makes the certificate of an operator.
pub(super) async fn create(
    node: &Node,
    request: Request<v1::CreateOperatorRequest>,
) -> Result<v1::CreateOperatorResponse, Status> {
    let member = node.member()?;
    let (caller, note) = (Caller::of(&request), Note::of(&request));
    let request = request.into_inner();
    let name = caller::name("name", &request.name)?;
    let role = match request.role() {
        v1::Role::Viewer => Role::Viewer,
        v1::Role::Operator => Role::Operator,
        v1::Role::Admin => Role::Admin,
        v1::Role::Unspecified => return Err(errors::invalid("role", request.role, "viewer, operator or admin")),
    };
    let bounds = OPERATOR_LIFETIME_MIN..=OPERATOR_LIFETIME_MAX;
    let valid_for = lifetime("valid_for", request.valid_for, LIFETIME, bounds)?;
    note.about(format_args!("operator {} ({role})", name.as_str()));
    let issued = member.issue_operator(name, role, valid_for, &caller.to_string()).await?;
    Ok(v1::CreateOperatorResponse {
        certificate_pem: issued.certificate_pem,
        key_pem: issued.key_pem.to_string(),
        trust_bundle_pem: issued.trust_bundle_pem,
        expires: Some(timestamp(issued.expires)),
        id: issued.id,
    })
}

/// Lists the certificates that have not ended, by their ids.
pub(super) fn list(node: &Node, request: &v1::ListOperatorsRequest) -> Result<v1::ListOperatorsResponse, Status> {
    let catalog = node.member()?.control().catalog();
    let paging = Paging::read(request.page_size, &request.page_token, PAGE_MAX)?;
    let living = catalog.operators(now()).filter(|operator| operator.expires_at > now());
    let after = living.filter(|operator| paging.after().is_none_or(|after| operator.id.to_string().as_str() > after));
    let mut operators: Vec<v1::Operator> = after.take(paging.size() + 1).map(told).collect();
    let next_page_token = paging::next(&mut operators, paging.size(), |operator| operator.id.clone());
    Ok(v1::ListOperatorsResponse { operators, next_page_token })
}

/// Takes certificates back: one, or all that are listed for a name.
pub(super) async fn revoke(
    node: &Node,
    request: Request<v1::RevokeOperatorRequest>,
) -> Result<v1::RevokeOperatorResponse, Status> {
    let member = node.member()?;
    let (caller, note) = (Caller::of(&request), Note::of(&request));
    let v1::RevokeOperatorRequest { id, name } = request.into_inner();
    let ids = match (id.as_str(), name.as_str()) {
        (id, "") if !id.is_empty() => {
            note.about(format_args!("certificate {id:.64}"));
            vec![by_id(&*member, id).await?]
        }
        ("", name) if !name.is_empty() => {
            let name = caller::name("name", name)?;
            note.about(format_args!("operator {}", name.as_str()));
            let catalog = latest(member.control()).await.map_err(|error| errors::read(&error))?;
            let theirs = catalog.operators(now()).filter(|operator| operator.name.as_ref() == Some(&name));
            let ids: Vec<OperatorId> = theirs.map(|operator| operator.id).collect();
            if ids.is_empty() {
                let allowed = "a name of which a certificate is listed; one that is not can be taken back by its id";
                return Err(errors::not_found("name", &name, allowed));
            }
            ids
        }
        (_, _) => return Err(errors::invalid("id", format_args!("{id:?}"), "an id, or a name: one of them")),
    };
    raise(member.control(), OPERATORS_LEVEL, errors::refusal).await?;
    // Only of what is not listed is it asked when it ends: no certificate lives longer.
    let expires_at = (now().max(member.control().catalog().time()) + OPERATOR_LIFETIME_MAX).as_millis();
    for id in &ids {
        let (fingerprint, revoked_by) = (id.0.to_vec().into(), caller.to_string());
        let revoke = proto::RevokeOperator { fingerprint, expires_at, revoked_by };
        command(&*member, Command::RevokeOperator(revoke)).await?;
    }
    Ok(v1::RevokeOperatorResponse { ids: ids.iter().map(ToString::to_string).collect() })
}

/// The certificate of an id, or of the beginning of one that is listed.
async fn by_id(member: &dyn Membership, id: &str) -> Result<OperatorId, Status> {
    if let Some(whole) = id_of(id) {
        return Ok(whole);
    }
    let is_hex = id.bytes().all(|byte| byte.is_ascii_hexdigit() && !byte.is_ascii_uppercase());
    if !is_hex || !(DIGITS_MIN..DIGITS).contains(&id.len()) {
        let allowed = format_args!("{DIGITS_MIN} to {DIGITS} hexadecimal digits");
        return Err(errors::invalid("id", format_args!("{id:?}"), allowed));
    }
    let catalog = latest(member.control()).await.map_err(|error| errors::read(&error))?;
    let mut found = catalog.operators(now()).map(|operator| operator.id).filter(|one| one.to_string().starts_with(id));
    match (found.next(), found.next()) {
        (Some(only), None) => Ok(only),
        (Some(_), Some(_)) => Err(errors::invalid("id", id, "the beginning of one id: give more digits")),
        (None, _) => {
            let allowed =
                format_args!("the beginning of an id that is listed, or all {DIGITS} digits of one that is not");
            Err(errors::not_found("id", id, allowed))
        }
    }
}

fn told(operator: &Operator) -> v1::Operator {
    let text = |name: &Option<quorate_types::ResourceName>| name.as_ref().map(ToString::to_string).unwrap_or_default();
    let role = match operator.role.as_ref().map(|role| role.as_str().parse()) {
        Some(Ok(Role::Viewer)) => v1::Role::Viewer,
        Some(Ok(Role::Operator)) => v1::Role::Operator,
        Some(Ok(Role::Admin)) => v1::Role::Admin,
        Some(Err(_)) | None => v1::Role::Unspecified,
    };
    v1::Operator {
        id: operator.id.to_string(),
        serial: operator.serial.iter().map(|byte| format!("{byte:02x}")).collect(),
        name: text(&operator.name),
        role: role.into(),
        expires: Some(timestamp(operator.expires_at)),
        created_by: operator.created_by.clone(),
        created_at: Some(timestamp(operator.created_at)),
        revoked_at: operator.revoked_at.map(timestamp),
    }
}

fn id_of(text: &str) -> Option<OperatorId> {
    let is_hex = text.len() == DIGITS && text.bytes().all(|byte| byte.is_ascii_hexdigit());
    let (high, low) = is_hex.then(|| text.split_at(32))?;
    let half = |text: &str| u128::from_str_radix(text, 16).ok().map(u128::to_be_bytes);
    let both = [half(high)?, half(low)?].concat();
    both.try_into().ok().map(OperatorId)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_is_64_hexadecimal_digits_and_is_shown_as_it_is_read() {
        let text = "00".repeat(31) + "ff";
        assert_eq!(id_of(&text).map(|id| id.to_string()), Some(text));
        for text in ["", "00", &("+0".to_owned() + &"00".repeat(31)), &"zz".repeat(32), &"00".repeat(33)] {
            assert_eq!(id_of(text), None, "{text:?}");
        }
    }
}
