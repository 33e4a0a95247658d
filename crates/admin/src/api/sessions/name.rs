//! How operators name a session: `SHARD-KEY`.
//!
//! The shard is a decimal number, as the status of a cluster has it; the key has 32 hexadecimal digits. Names have the order
//! of lists: by shard, then by key. Whoever has a name has no session: clients hold it sealed, with whose it is.

use std::fmt;

use tonic::Status;

use super::super::errors;

/// Digits of a key.
const KEY_DIGITS: usize = 32;
/// The most digits of a shard's number.
const SHARD_DIGITS_MAX: usize = 5;

/// The name of a session.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Name {
    pub(super) shard: u32,
    pub(super) key: u128,
}

// === impl Name ===

impl Name {
    /// Reads a name of a request.
    ///
    /// # Errors
    /// INVALID_ARGUMENT, with the form of names.
    pub(super) fn read(field: &str, text: &str) -> Result<Self, Status> {
        let allowed = "a session's name as it is listed: its shard's number, a hyphen, and 32 hexadecimal digits";
        Self::parse(text).ok_or_else(|| errors::invalid(field, format_args!("{text:?}"), allowed))
    }

    fn parse(text: &str) -> Option<Self> {
        let (shard, key) = text.split_once('-')?;
        let is_shard = (1..=SHARD_DIGITS_MAX).contains(&shard.len()) && shard.bytes().all(|byte| byte.is_ascii_digit());
        let is_key = key.len() == KEY_DIGITS && key.bytes().all(|byte| byte.is_ascii_hexdigit());
        if !is_shard || !is_key {
            return None;
        }
        Some(Self { shard: shard.parse().ok()?, key: u128::from_str_radix(key, 16).ok()? })
    }
}

impl fmt::Display for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}-{:032x}", self.shard, self.key)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_is_read_as_it_is_written() {
        for name in [Name { shard: 0, key: 0 }, Name { shard: 256, key: u128::MAX }, Name { shard: 7, key: 0xab }] {
            assert_eq!(Name::read("name", &name.to_string()).expect("it is one"), name);
        }
    }

    #[test]
    fn what_is_no_name_is_told_by_its_field_and_with_what_is_allowed() {
        let key = "0".repeat(32);
        let others = [
            String::new(),
            key.clone(),
            format!("-{key}"),
            format!("+1-{key}"),
            format!("999999-{key}"),
            format!("1-{key}0"),
            format!("1-+{}", &key[1..]),
            "1-ab".to_owned(),
        ];
        for text in others {
            let refused = Name::read("name", &text).expect_err(&text);
            assert!(
                refused.message().starts_with("name ") && refused.message().contains("32 hexadecimal"),
                "{refused}"
            );
        }
    }
}
