//! What an introspection endpoint says of a token (RFC 7662 §2.2); pure.
//!
//! In: the text of its answer. Out: a checked token, or why not, or that the text is no answer, which is the endpoint's
//! fault and not the token's. The endpoint answers as the issuer, so that its members count as claims do.

use quorate_types::Timestamp;
use serde_json::Value;

use crate::issuer::rules;
use crate::issuer::{Config, Introspected};
use crate::json;
use crate::refused::Why;
use crate::verified::Verified;

/// A text is not an introspection answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct NoAnswer;

/// Reads an answer that came at `now`.
pub(crate) fn read(
    text: &[u8],
    config: &Config,
    check: &Introspected,
    now: Timestamp,
) -> Result<Result<Verified, Why>, NoAnswer> {
    let claims = json::object(text).map_err(|_| NoAnswer)?;
    match claims.get("active") {
        Some(Value::Bool(true)) => {}
        Some(Value::Bool(false)) => return Ok(Err(Why::Inactive)),
        _ => return Err(NoAnswer),
    }
    // Endpoints answer for refresh tokens too, and say so in one of these.
    let says = |name: &str| claims.get(name).and_then(Value::as_str);
    if says("token_use").is_some_and(|kind| kind != "access_token" && kind != "access") {
        return Ok(Err(Why::Kind));
    }
    match says("token_type") {
        Some(kind) if kind.eq_ignore_ascii_case("DPoP") => return Ok(Err(Why::UnsupportedBinding)),
        Some(kind) if kind.eq_ignore_ascii_case("refresh_token") => return Ok(Err(Why::Kind)),
        _ => {}
    }
    if claims.get("iss").is_some_and(|iss| *iss != *config.iss) {
        return Ok(Err(Why::claim("iss")));
    }
    Ok(rules::judge(config, &claims, now, Some(now + check.cache_max)))
}
