//! The text of an API key: how one is made, and how a presented one is taken apart.
//!
//! `qk_` id (12 of `a-z2-7`, 60 bits) `_` secret (43 of `0-9A-Za-z`, 256 bits) checksum (6 of the same): 65 characters
//! that a double click selects whole, and that a scanner for leaked secrets finds by
//! `\bqk_[a-z2-7]{12}_[0-9A-Za-z]{49}\b`. The checksum is CRC-32 (IEEE 802.3) of all before it, so that a key can be
//! told from a random text, also by a scanner, without asking a node.
//!
//! Pure: the random bytes come from the caller.

use std::fmt;
use std::str::FromStr;

/// What every API key begins with.
pub const PREFIX: &str = "qk_";

const ID_CHARS: usize = 12;
/// 43 digits of base 62 hold 256.03 bits.
pub(super) const SECRET_CHARS: usize = 43;
const CHECK_CHARS: usize = 6;
const SECRET_AT: usize = PREFIX.len() + ID_CHARS + 1;
const CHECK_AT: usize = SECRET_AT + SECRET_CHARS;
const KEY_CHARS: usize = CHECK_AT + CHECK_CHARS;

const ID_BITS_PER_CHAR: u32 = 5;
/// RFC 4648 §6, in lower case.
const ID_ALPHABET: &[u8; 32] = b"abcdefghijklmnopqrstuvwxyz234567";
const BASE62: &[u8; 62] = b"0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz";

/// The visible part of an API key, by which documents and logs name it.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Id(u64);

/// A text is not the id of an API key.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the id of an API key has {ID_CHARS} characters of a-z and 2-7")]
pub struct InvalidId;

/// An API key that was just made, the only time that all of it is known.
pub struct Fresh {
    /// Its id.
    pub id: Id,
    text: String,
}

/// The parts of a presented key whose form and checksum are right.
#[derive(Clone, Copy)]
pub(super) struct Parts<'a> {
    pub(super) id: Id,
    pub(super) secret: &'a [u8; SECRET_CHARS],
}

/// Whether a credential means to be an API key, whatever becomes of it.
#[must_use]
pub fn looks_like(credential: &str) -> bool {
    credential.starts_with(PREFIX)
}

// === impl Id ===

impl Id {
    /// Returns the first `bits` of its 60, which are spread evenly over all keys.
    pub(super) const fn leading(self, bits: u32) -> usize {
        (self.0 >> (ID_BITS_PER_CHAR * ID_CHARS as u32 - bits)) as usize
    }

    pub(super) fn to_bytes(self) -> [u8; 8] {
        self.0.to_be_bytes()
    }

    fn read(text: &[u8]) -> Option<Self> {
        if text.len() != ID_CHARS {
            return None;
        }
        let digit = |byte: &u8| match byte {
            b'a'..=b'z' => Some(u64::from(byte - b'a')),
            b'2'..=b'7' => Some(u64::from(byte - b'2') + 26),
            _ => None,
        };
        text.iter().try_fold(0, |id, byte| Some((id << ID_BITS_PER_CHAR) | digit(byte)?)).map(Self)
    }
}

impl FromStr for Id {
    type Err = InvalidId;

    fn from_str(text: &str) -> Result<Self, InvalidId> {
        Self::read(text.as_bytes()).ok_or(InvalidId)
    }
}

impl fmt::Display for Id {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for place in (0..ID_CHARS as u32).rev() {
            let digit = (self.0 >> (place * ID_BITS_PER_CHAR)) & 31;
            write!(f, "{}", char::from(ID_ALPHABET[digit as usize]))?;
        }
        Ok(())
    }
}

impl fmt::Debug for Id {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

// === impl Fresh ===

impl Fresh {
    /// Makes a key of random bytes, which must come from the operating system's generator and be used once.
    #[must_use]
    pub fn new(id_entropy: [u8; 8], secret_entropy: [u8; 32]) -> Self {
        let id = Id(u64::from_be_bytes(id_entropy) >> (64 - ID_BITS_PER_CHAR * ID_CHARS as u32));
        let mut text = format!("{PREFIX}{id}_");
        text.extend(base62(secret_entropy).map(char::from));
        text.extend(check(text.as_bytes()).map(char::from));
        Self { id, text }
    }

    /// Returns the key itself: a secret, to be shown once to whom it is for.
    #[must_use]
    pub fn expose(&self) -> &str {
        &self.text
    }

    pub(super) fn parts(&self) -> Parts<'_> {
        Parts::read(&self.text).expect("a key that was just made has the form of one")
    }
}

impl fmt::Debug for Fresh {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Fresh({}, …)", self.id)
    }
}

// === impl Parts ===

impl<'a> Parts<'a> {
    /// Takes a key apart; `None` when its form or its checksum is wrong.
    pub(super) fn read(text: &'a str) -> Option<Self> {
        let bytes = text.as_bytes();
        if bytes.len() != KEY_CHARS || !bytes.starts_with(PREFIX.as_bytes()) || bytes[SECRET_AT - 1] != b'_' {
            return None;
        }
        let (checked, checksum) = bytes.split_at(CHECK_AT);
        let id = Id::read(&checked[PREFIX.len()..SECRET_AT - 1])?;
        let secret: &[u8; SECRET_CHARS] = checked[SECRET_AT..].try_into().ok()?;
        let intact = secret.iter().all(u8::is_ascii_alphanumeric) && check(checked) == checksum;
        intact.then_some(Self { id, secret })
    }
}

/// Writes 256 bits as digits of base 62, the most significant first.
fn base62(mut number: [u8; 32]) -> [u8; SECRET_CHARS] {
    let mut digits = [0; SECRET_CHARS];
    for digit in digits.iter_mut().rev() {
        let mut remainder = 0_u16;
        for byte in &mut number {
            let value = (remainder << 8) | u16::from(*byte);
            *byte = (value / 62) as u8;
            remainder = value % 62;
        }
        *digit = BASE62[usize::from(remainder)];
    }
    digits
}

/// Writes the checksum of `bytes`; 62^6 is above 2^32.
fn check(bytes: &[u8]) -> [u8; CHECK_CHARS] {
    let mut rest = crc32(bytes);
    let mut digits = [0; CHECK_CHARS];
    for digit in digits.iter_mut().rev() {
        *digit = BASE62[(rest % 62) as usize];
        rest /= 62;
    }
    digits
}

/// CRC-32 of IEEE 802.3, reflected. It keeps nobody out; it finds slips, and costs a fraction of a hash.
fn crc32(bytes: &[u8]) -> u32 {
    !bytes.iter().fold(u32::MAX, |crc, byte| CRC_TABLE[((crc ^ u32::from(*byte)) & 0xff) as usize] ^ (crc >> 8))
}

const CRC_TABLE: [u32; 256] = {
    let mut table = [0; 256];
    let mut byte = 0;
    while byte < 256 {
        let mut crc = byte as u32;
        let mut bit = 0;
        while bit < 8 {
            crc = if crc & 1 == 1 { (crc >> 1) ^ 0xEDB8_8320 } else { crc >> 1 };
            bit += 1;
        }
        table[byte] = crc;
        byte += 1;
    }
    table
};

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// Documented in docs/src/keys.md: scanners look for this form.
    const EXAMPLE: &str = "qk_aaaaaaaaaaba_0000000000000000000000000000000000000000001";

    fn example() -> Fresh {
        let mut secret = [0; 32];
        secret[31] = 1;
        Fresh::new([0, 0, 0, 0, 0, 0, 2, 0x0f], secret)
    }

    #[test]
    fn a_key_has_the_form_that_scanners_look_for() {
        let key = example();

        assert!(key.expose().starts_with(EXAMPLE), "{}", key.expose());
        assert_eq!(key.expose().len(), 65);
        assert_eq!(key.id.to_string(), "aaaaaaaaaaba");
        assert_eq!("aaaaaaaaaaba".parse(), Ok(key.id));
        assert_eq!(format!("{key:?}"), "Fresh(aaaaaaaaaaba, …)");
    }

    #[test]
    fn the_checksum_is_the_published_one() {
        // The check value of CRC-32/ISO-HDLC in the catalogue of parametrised CRC algorithms.
        assert_eq!(crc32(b"123456789"), 0xCBF4_3926);
    }

    #[test]
    fn the_largest_secret_fits_its_digits() {
        // 2^256 - 1 in base 62, calculated apart from this code.
        assert_eq!(&base62([0xff; 32]), b"yhjskwdA6OZ1AL1YmHWZWm8LLG7HjnuCA2j5rOw8Xp1");
    }

    #[test]
    fn other_forms_are_no_keys() {
        let key = example().expose().to_owned();
        let cases = [
            String::new(),
            PREFIX.to_owned(),
            key[..64].to_owned(),
            format!("{key}0"),
            format!(" {}", &key[..64]),
            key.replacen("qk_", "QK_", 1),
            key.replacen("_00", "-00", 1),
            key.to_uppercase(),
            "ü".repeat(32) + "a",
            "q".repeat(65),
        ];
        for text in cases {
            assert!(Parts::read(&text).is_none(), "{text}");
        }
        for text in ["", "aaaaaaaaaab", "aaaaaaaaaabaa", "aaaaaaaaaab1", "AAAAAAAAAABA", "aaaaaaaaaaé"] {
            assert_eq!(text.parse::<Id>(), Err(InvalidId), "{text}");
        }
    }

    proptest! {
        #[test]
        fn every_key_is_taken_apart_into_what_it_was_made_of(id: [u8; 8], secret: [u8; 32]) {
            let key = Fresh::new(id, secret);
            let parts = Parts::read(key.expose());
            prop_assert!(parts.is_some_and(|parts| parts.id == key.id && parts.secret == &base62(secret)));
            prop_assert_eq!(key.id.to_string().parse(), Ok(key.id));
            prop_assert!(looks_like(key.expose()));
        }

        #[test]
        fn different_secrets_have_different_texts(left: [u8; 32], right: [u8; 32]) {
            prop_assert_eq!(left == right, base62(left) == base62(right));
        }

        #[test]
        fn a_key_with_one_or_two_characters_changed_is_no_key(
            secret: [u8; 32], at: prop::sample::Index, other in "[0-9A-Za-z_]", swap: bool,
        ) {
            let key = Fresh::new([9; 8], secret).expose().to_owned();
            let at = at.index(key.len() - 1);
            let changed = if swap {
                format!("{}{}{}{}", &key[..at], &key[at + 1..at + 2], &key[at..=at], &key[at + 2..])
            } else {
                format!("{}{other}{}", &key[..at], &key[at + 1..])
            };
            prop_assume!(changed != key);
            prop_assert!(Parts::read(&changed).is_none());
        }

        #[test]
        fn arbitrary_text_never_panics(text: String) {
            prop_assert!(Parts::read(&text).is_none());
        }
    }
}
