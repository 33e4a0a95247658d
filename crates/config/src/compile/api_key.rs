//! What makes the spec of an `ApiKey` valid.
//!
//! A document keeps no key, only its visible id and an HMAC, which is not shown in errors all the same: what stands
//! there by mistake may be the key itself. That ids are unique over all documents is for the whole set to say (see
//! [`crate::set`]).

use quorate_types::{ResourceName, Timestamp, rfc3339};

use super::{Head, Site, parsed, scopes};
use crate::error::{Reason, shown};
use crate::form::ApiKeyForm;
use crate::form::identity::KeyForm;
use crate::node::Path;
use crate::report::Report;
use crate::resource::ApiKey;
use crate::resource::identity::KeySecret;

/// Agents that are no keys' but the node's own: who calls a development listener, and who asks tool servers for lists.
const RESERVED: [&str; 2] = ["development", "survey"];
/// The characters of an id: 60 bits in base 32 (RFC 4648 §6, in lower case).
const ID_CHARS: usize = 12;
/// The bytes of HMAC-SHA256.
const MAC_BYTES: usize = 32;
/// The last second that the table of keys holds, in milliseconds: that of an unsigned 32-bit number of seconds.
const TIME_MAX: Timestamp = Timestamp::from_millis((u32::MAX as u64 - 1) * 1000);

pub(super) fn compile(head: Head, form: &ApiKeyForm, site: &Site<'_>, report: &mut Report<'_>) -> Option<ApiKey> {
    let at = &site.at;
    let scopes = scopes::compile(form.scopes.as_deref(), &at.key("scopes"), report);
    let agent = match form.agent.as_deref() {
        Some(text) => report.accept(&at.key("agent"), parsed(text, ResourceName::new)),
        None => Some(head.name.clone()),
    };
    if let Some(agent) = agent.as_ref().filter(|agent| RESERVED.contains(&agent.as_str())) {
        let message = "this agent is the node's own: give the key's agent another name (spec.agent)".to_owned();
        report.push(&at.key("agent"), Reason::Invalid { value: shown(agent.as_str()), message });
    }
    let secrets = secrets(form.keys.as_deref()?, &at.key("keys"), report);
    Some(ApiKey { name: head.name, tenant: head.tenant, agent: agent?, scopes, secrets })
}

fn secrets(given: &[Option<KeyForm>], at: &Path, report: &mut Report<'_>) -> Vec<KeySecret> {
    let mut secrets: Vec<(usize, KeySecret)> = Vec::with_capacity(given.len());
    for (index, form) in given.iter().enumerate() {
        let at = at.index(index);
        let Some(secret) = form.as_ref().and_then(|form| secret(form, &at, report)) else { continue };
        if let Some((first, _)) = secrets.iter().find(|(_, other)| other.id == secret.id) {
            let first = format!("spec.keys[{first}].id");
            report.push(&at.key("id"), Reason::Repeated { value: shown(&secret.id), first });
        }
        secrets.push((index, secret));
    }
    secrets.into_iter().map(|(_, secret)| secret).collect()
}

fn secret(form: &KeyForm, at: &Path, report: &mut Report<'_>) -> Option<KeySecret> {
    let id = form.id.as_deref().and_then(|text| report.accept(&at.key("id"), id(text)));
    let mac = form.hmac.as_deref().and_then(|text| report.accept(&at.key("hmac"), mac(text)));
    let mut time = |key: &str, text: &Option<String>| report.accept(&at.key(key), time(text.as_deref()?));
    let (not_before, expires) = (time("notBefore", &form.not_before), time("expires", &form.expires));
    if let (Some(begin), Some(end)) = (not_before, expires)
        && end.as_millis() < begin.as_millis() + 1000
    {
        let message = "the key is never good: expires must be at least a second after notBefore".to_owned();
        report.push(&at.key("expires"), Reason::Conflict { message });
    }
    Some(KeySecret { id: id?, mac: mac?, expires, not_before })
}

fn id(text: &str) -> Result<String, Reason> {
    if text.len() == ID_CHARS && text.bytes().all(|byte| matches!(byte, b'a'..=b'z' | b'2'..=b'7')) {
        return Ok(text.to_owned());
    }
    // Whoever puts the whole key here should not find it in a log.
    let value = if text.len() > ID_CHARS { "the value (hidden)".to_owned() } else { shown(text) };
    let message = format!("the id of a key has {ID_CHARS} characters of a-z and 2-7: `quorate keys new` prints it");
    Err(Reason::Invalid { value, message })
}

fn mac(text: &str) -> Result<[u8; MAC_BYTES], Reason> {
    read_mac(text).ok_or_else(|| Reason::Invalid {
        value: "the value (hidden)".to_owned(),
        message: format!("an HMAC has {} digits of 0-9 and a-f: `quorate keys new` prints it", 2 * MAC_BYTES),
    })
}

fn read_mac(text: &str) -> Option<[u8; MAC_BYTES]> {
    let digit = |byte: u8| match byte {
        b'0'..=b'9' => Some(byte - b'0'),
        b'a'..=b'f' => Some(byte - b'a' + 10),
        _ => None,
    };
    let (pairs, []) = text.as_bytes().as_chunks::<2>() else { return None };
    let bytes: Option<Vec<u8>> = pairs.iter().map(|&[high, low]| Some((digit(high)? << 4) | digit(low)?)).collect();
    bytes?.try_into().ok()
}

fn time(text: &str) -> Result<Timestamp, Reason> {
    let time = parsed(text, rfc3339::parse)?;
    if time > TIME_MAX {
        let (value, min) = (text.to_owned(), rfc3339::format(Timestamp::default()));
        return Err(Reason::OutOfRange { value, min, max: rfc3339::format(TIME_MAX) });
    }
    Ok(time)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_hmac_is_64_digits_and_never_shown() {
        let text = format!("{}ff", "01".repeat(31));
        let bytes = mac(&text).expect("it is one");
        assert_eq!((bytes[0], bytes[31]), (1, 255));
        for text in ["", "s3cret", &"0".repeat(63), &"0".repeat(66), &"F".repeat(64), &"é".repeat(32)] {
            let error = mac(text).expect_err("it is none").to_string();
            assert_eq!(
                error,
                "the value (hidden) is not valid: an HMAC has 64 digits of 0-9 and a-f: `quorate keys new` prints it"
            );
        }
    }

    #[test]
    fn a_key_in_place_of_its_id_is_not_shown() {
        assert!(id("abcdefgh2345").is_ok());
        let key = format!("qk_abcdefgh2345_{}", "x".repeat(49));
        assert!(!id(&key).expect_err("it is no id").to_string().contains("qk_"));
        for text in ["", "abcdefgh234", "ABCDEFGH2345", "abcdefgh2341"] {
            assert!(id(text).is_err(), "{text}");
        }
    }

    #[test]
    fn times_end_where_the_table_ends() {
        assert_eq!(time("2106-02-07T06:28:14Z"), Ok(TIME_MAX));
        let error = time("2106-02-07T06:28:15Z").expect_err("it is too late").to_string();
        assert_eq!(
            error,
            "2106-02-07T06:28:15Z is out of range: allowed is 1970-01-01T00:00:00Z to 2106-02-07T06:28:14Z"
        );
    }
}
