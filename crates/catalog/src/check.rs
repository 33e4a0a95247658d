//! The rules for single fields, of commands and of snapshots alike.
//!
//! Each takes the field's path and its value and gives back what is known to be right, or a refusal that says what would
//! have been.

use std::fmt::{self, Write as _};
use std::ops::RangeInclusive;

use quorate_types::{NodeId, ResourceName, TenantId};

use crate::refusal::Refusal;

/// What was checked, or why not.
pub(crate) type Checked<T> = Result<T, Refusal>;

/// The longest host: a name of DNS (RFC 1035 §2.3.4).
const HOST_BYTES_MAX: usize = 253;
const ADDRESS: &str =
    "HOST:PORT, a name of at most 253 letters, digits, `-`, `.` and `_` or an IP address, and 1 to 65535";
const NAME: &str = "1 to 63 lower-case letters, digits, `-` and `_`, the first a letter or digit";

pub(crate) fn name(field: &str, text: &str) -> Checked<ResourceName> {
    ResourceName::new(text).map_err(|_| Refusal::invalid(field, text, NAME))
}

pub(crate) fn tenant(field: &str, text: &str) -> Checked<TenantId> {
    TenantId::new(text).map_err(|_| Refusal::invalid(field, text, NAME))
}

pub(crate) fn within(field: &str, value: u64, allowed: &RangeInclusive<u64>) -> Checked<u64> {
    if allowed.contains(&value) {
        return Ok(value);
    }
    Err(Refusal::invalid(field, value, format_args!("{} to {}", allowed.start(), allowed.end())))
}

pub(crate) fn small(field: &str, value: u32, allowed: RangeInclusive<u32>) -> Checked<u32> {
    if allowed.contains(&value) {
        return Ok(value);
    }
    Err(Refusal::invalid(field, value, format_args!("{} to {}", allowed.start(), allowed.end())))
}

/// Bytes of a fixed length. They are not shown: they may be a hash of a secret.
pub(crate) fn array<const N: usize>(field: &str, bytes: &[u8]) -> Checked<[u8; N]> {
    bytes
        .try_into()
        .map_err(|_| Refusal::invalid(field, format_args!("{} bytes", bytes.len()), format_args!("{N} bytes")))
}

/// A text of one line without control characters, which terminals would obey.
pub(crate) fn line(field: &str, text: &str, bytes_max: usize) -> Checked<String> {
    if text.len() > bytes_max || text.chars().any(char::is_control) {
        let allowed = format_args!("at most {bytes_max} bytes, no control characters");
        return Err(Refusal::invalid(field, text.escape_debug(), allowed));
    }
    Ok(text.to_owned())
}

/// A text of several lines.
pub(crate) fn prose(field: &str, text: &str, bytes_max: usize) -> Checked<String> {
    let obeyed = |c: char| c.is_control() && c != '\n' && c != '\t';
    if text.len() > bytes_max || text.chars().any(obeyed) {
        let allowed = format_args!("at most {bytes_max} bytes, no control characters but line ends and tabs");
        return Err(Refusal::invalid(field, text.escape_debug(), allowed));
    }
    Ok(text.to_owned())
}

pub(crate) fn address(field: &str, text: &str) -> Checked<String> {
    let refuse = || Refusal::invalid(field, text.escape_debug(), ADDRESS);
    let (host, port) = text.rsplit_once(':').ok_or_else(refuse)?;
    let bracketed = host.strip_prefix('[').and_then(|host| host.strip_suffix(']'));
    let good_host = match bracketed {
        Some(host) => host.parse::<std::net::Ipv6Addr>().is_ok(),
        None => {
            let allowed = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_');
            !host.is_empty() && host.len() <= HOST_BYTES_MAX && host.bytes().all(allowed)
        }
    };
    let plain = port.bytes().all(|byte| byte.is_ascii_digit());
    let good_port = plain && port.parse::<u16>().is_ok_and(|port| port > 0);
    if good_host && good_port { Ok(text.to_owned()) } else { Err(refuse()) }
}

pub(crate) fn address_or_none(field: &str, text: &str) -> Checked<Option<String>> {
    if text.is_empty() { Ok(None) } else { address(field, text).map(Some) }
}

/// A number of a node; 0 stands for none.
pub(crate) const fn node_or_none(id: u64) -> Option<NodeId> {
    if id == 0 { None } else { Some(NodeId(id)) }
}

/// Writes bytes as hexadecimal digits.
pub(crate) struct Hex<'a>(pub(crate) &'a [u8]);

// === impl Hex ===

impl fmt::Display for Hex<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl fmt::Debug for Hex<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_char('"')?;
        fmt::Display::fmt(self, f)?;
        f.write_char('"')
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_has_a_host_and_a_port() {
        for good in ["a:1", "node-1.example:4192", "127.0.0.1:65535", "[::1]:4192", "my_host:80"] {
            assert_eq!(address("a", good).as_deref(), Ok(good));
        }
        for bad in ["", "a", ":1", "a:", "a:0", "a:65536", "a:+1", "::1:80", "[::1:80", "[x]:80", "a b:80", "a/b:80"] {
            assert!(address("a", bad).is_err(), "{bad}");
        }
        assert!(address("a", &format!("{}:80", "x".repeat(254))).is_err());
    }

    #[test]
    fn a_refusal_names_field_value_and_what_is_allowed() {
        let refusal = small("level", 0, 1..=9).expect_err("it is too small");
        assert_eq!(refusal.to_string(), "level \"0\": not valid: 1 to 9");

        let refusal = line("author", &"é\u{7}".repeat(100), 256).expect_err("it rings");
        assert!(refusal.value().len() < 130 && refusal.value().ends_with('…'), "{refusal}");
        assert!(!refusal.to_string().contains('\u{7}'));
    }

    #[test]
    fn prose_may_have_lines_and_a_line_may_not() {
        assert!(prose("m", "a\n\tb", 10).is_ok() && line("m", "a\nb", 10).is_err());
        assert!(prose("m", "\u{1b}[2J", 10).is_err() && prose("m", "12345678901", 10).is_err());
    }
}
