//! Tokens for joining: a text that is shown once, and with which one node may be taken in.
//!
//! ```text
//! qj1_ ‖ base64url( version ‖ id(16) ‖ secret(32) ‖ n ‖ n × pin(32) ‖ m ‖ m × (length ‖ address) ‖ crc32 )
//! ```
//!
//! It says where members are (admin addresses) and how to know them (pins: SHA-256 of the public keys of the authorities
//! that the cluster trusts), so that who has it needs nothing else. There is one text for each token; the checksum finds a
//! slip of the keyboard before anybody is asked.
//!
//! **Invariants:** the text leaves by [`JoinToken::reveal`] alone; the cluster keeps the hash of the secret and never it.

mod pinned;

use std::fmt;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use ring::digest::{SHA256, digest};
use zeroize::Zeroizing;

use crate::address::Address;
use crate::entropy;
use crate::trust::{ANCHORS_MAX, AuthorityId};

/// Addresses of members in a token: so many may be down, and the text is still copied by hand.
pub const ADDRESSES_MAX: usize = 3;
/// The longest text that is looked at.
pub const TOKEN_BYTES_MAX: usize = 1400;

const PREFIX: &str = "qj1_";
const VERSION: u8 = 1;
const ID_BYTES: usize = 16;
const SECRET_BYTES: usize = 32;
const CHECKSUM_BYTES: usize = 4;

/// The public part of a token.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TokenId(pub [u8; ID_BYTES]);

/// A token.
#[derive(Clone)]
pub struct JoinToken {
    id: TokenId,
    secret: Zeroizing<[u8; SECRET_BYTES]>,
    /// In ascending order.
    pins: Vec<AuthorityId>,
    addresses: Vec<Address>,
}

/// A text is no token, and which part of it is not. Nothing of it is repeated.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum InvalidToken {
    /// It begins otherwise.
    #[error("a join token begins with `{PREFIX}`")]
    Prefix,
    /// It is longer than any.
    #[error("a join token has at most {TOKEN_BYTES_MAX} characters, this one has {bytes}")]
    TooLong {
        /// Its length.
        bytes: usize,
    },
    /// It has a character that none has.
    #[error("character {position} of the join token is not one of `A-Z a-z 0-9 - _`")]
    Character {
        /// Which one, from 1.
        position: usize,
    },
    /// A part is missing at its end.
    #[error("the join token is cut off")]
    Cut,
    /// A character is wrong, missing or too many.
    #[error("the join token has a typing error: its checksum does not fit")]
    Checksum,
    /// A newer program made it.
    #[error("the join token has version {found}, and this program knows {VERSION}")]
    Version {
        /// Its version.
        found: u8,
    },
    /// Its pins are none.
    #[error("the join token does not say in one way which authorities to trust (1 to {ANCHORS_MAX} pins, ascending)")]
    Pins,
    /// Its addresses are none.
    #[error("address {position} of the join token is not of the form HOST:PORT")]
    Address {
        /// Which one, from 1.
        position: usize,
    },
    /// It has no address, or too many.
    #[error("the join token has {count} addresses, and must have 1 to {ADDRESSES_MAX}")]
    Addresses {
        /// How many.
        count: usize,
    },
    /// Something follows its last part.
    #[error("the join token goes on after its end")]
    Continued,
}

// === impl TokenId ===

/// What operators call it, as 32 hexadecimal digits.
impl fmt::Display for TokenId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl fmt::Debug for TokenId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

// === impl JoinToken ===

impl JoinToken {
    /// Draws a token of a cluster that trusts `authorities` and whose members are reached at `addresses`.
    ///
    /// # Errors
    /// [`InvalidToken`] when there are none of either, or too many.
    pub fn draw(
        authorities: impl IntoIterator<Item = AuthorityId>,
        addresses: Vec<Address>,
    ) -> Result<Self, InvalidToken> {
        let mut pins: Vec<_> = authorities.into_iter().collect();
        pins.sort_unstable();
        let secret = Zeroizing::new(entropy::draw());
        let token = Self { id: TokenId(entropy::draw()), secret, pins, addresses };
        token.check()?;
        Ok(token)
    }

    /// Reads a token.
    ///
    /// # Errors
    /// [`InvalidToken`] says which part is wrong.
    pub fn parse(text: &str) -> Result<Self, InvalidToken> {
        if text.len() > TOKEN_BYTES_MAX {
            return Err(InvalidToken::TooLong { bytes: text.len() });
        }
        let encoded = text.strip_prefix(PREFIX).ok_or(InvalidToken::Prefix)?;
        let is_foreign = |c: char| !(c.is_ascii_alphanumeric() || matches!(c, '-' | '_'));
        if let Some(at) = encoded.chars().position(is_foreign) {
            return Err(InvalidToken::Character { position: PREFIX.len() + at + 1 });
        }
        // What is left to be wrong is its length, or bits beyond the last byte.
        let bytes = Zeroizing::new(URL_SAFE_NO_PAD.decode(encoded).map_err(|_| InvalidToken::Checksum)?);
        let (body, checksum) = bytes.split_last_chunk::<CHECKSUM_BYTES>().ok_or(InvalidToken::Cut)?;
        if crc32fast::hash(body).to_be_bytes() != *checksum {
            return Err(InvalidToken::Checksum);
        }
        let token = Parts(body).token()?;
        token.check()?;
        Ok(token)
    }

    /// What is the same for tokens that are made and read.
    fn check(&self) -> Result<(), InvalidToken> {
        let is_ascending = self.pins.windows(2).all(|pair| pair[0] < pair[1]);
        if !(1..=ANCHORS_MAX).contains(&self.pins.len()) || !is_ascending {
            return Err(InvalidToken::Pins);
        }
        match self.addresses.len() {
            1..=ADDRESSES_MAX => Ok(()),
            count => Err(InvalidToken::Addresses { count }),
        }
    }

    /// Writes it, for the one operator who asked for it.
    #[must_use]
    pub fn reveal(&self) -> Zeroizing<String> {
        let mut bytes = Zeroizing::new(Vec::with_capacity(TOKEN_BYTES_MAX));
        bytes.push(VERSION);
        bytes.extend_from_slice(&self.id.0);
        bytes.extend_from_slice(self.secret.as_slice());
        bytes.push(length(self.pins.len()));
        self.pins.iter().for_each(|pin| bytes.extend_from_slice(&pin.0));
        bytes.push(length(self.addresses.len()));
        for address in self.addresses.iter().map(ToString::to_string) {
            bytes.extend_from_slice(&u16::try_from(address.len()).expect("an address is short").to_be_bytes());
            bytes.extend_from_slice(address.as_bytes());
        }
        let checksum = crc32fast::hash(&bytes);
        bytes.extend_from_slice(&checksum.to_be_bytes());
        let mut text = Zeroizing::new(String::with_capacity(TOKEN_BYTES_MAX));
        text.push_str(PREFIX);
        URL_SAFE_NO_PAD.encode_string(bytes.as_slice(), &mut text);
        text
    }

    /// The part that the cluster looks it up by.
    #[must_use]
    pub fn id(&self) -> TokenId {
        self.id
    }

    /// What the cluster keeps: the SHA-256 of the secret. As good as the secret to who has it, until the token is used or
    /// ended; it is in the catalog only, which members alone read.
    #[must_use]
    pub fn secret_hash(&self) -> [u8; 32] {
        digest(&SHA256, self.secret.as_slice()).as_ref().try_into().expect("SHA-256 has 32 bytes")
    }

    /// The authorities that vouch for members.
    #[must_use]
    pub fn pins(&self) -> &[AuthorityId] {
        &self.pins
    }

    /// Where members take requests.
    #[must_use]
    pub fn addresses(&self) -> &[Address] {
        &self.addresses
    }
}

impl fmt::Debug for JoinToken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("JoinToken").field("id", &self.id).field("addresses", &self.addresses).finish_non_exhaustive()
    }
}

/// What is left of a token that is read.
struct Parts<'a>(&'a [u8]);

// === impl Parts ===

impl Parts<'_> {
    fn token(mut self) -> Result<JoinToken, InvalidToken> {
        let version = self.byte()?;
        if version != VERSION {
            return Err(InvalidToken::Version { found: version });
        }
        let id = TokenId(self.array()?);
        let secret = Zeroizing::new(self.array()?);
        let pins = (0..self.byte()?).map(|_| self.array().map(AuthorityId)).collect::<Result<Vec<_>, _>>()?;
        let count = self.byte()?;
        let addresses = (1..=count.into()).map(|position| self.address(position)).collect::<Result<Vec<_>, _>>()?;
        if !self.0.is_empty() {
            return Err(InvalidToken::Continued);
        }
        Ok(JoinToken { id, secret, pins, addresses })
    }

    fn byte(&mut self) -> Result<u8, InvalidToken> {
        self.array().map(|[byte]| byte)
    }

    fn array<const N: usize>(&mut self) -> Result<[u8; N], InvalidToken> {
        let (array, rest) = self.0.split_first_chunk().ok_or(InvalidToken::Cut)?;
        self.0 = rest;
        Ok(*array)
    }

    fn address(&mut self, position: usize) -> Result<Address, InvalidToken> {
        let length = u16::from_be_bytes(self.array()?);
        let (text, rest) = self.0.split_at_checked(length.into()).ok_or(InvalidToken::Cut)?;
        self.0 = rest;
        let text = std::str::from_utf8(text).ok();
        text.and_then(|text| text.parse().ok()).ok_or(InvalidToken::Address { position })
    }
}

fn length(count: usize) -> u8 {
    u8::try_from(count).expect("pins and addresses are few")
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const ALPHABET: &[u8] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";

    fn token() -> JoinToken {
        let addresses = vec!["node-1.example.com:7443".parse().unwrap(), "[2001:db8::1]:7443".parse().unwrap()];
        JoinToken::draw([AuthorityId([2; 32]), AuthorityId([1; 32])], addresses).unwrap()
    }

    /// The text of what has these bytes, with the checksum that belongs to them.
    fn text(body: &[u8]) -> String {
        let checksum = crc32fast::hash(body).to_be_bytes();
        format!("{PREFIX}{}", URL_SAFE_NO_PAD.encode([body, &checksum].concat()))
    }

    #[test]
    fn a_token_is_read_as_it_was_written() {
        let token = token();
        let read = JoinToken::parse(&token.reveal()).unwrap();

        assert_eq!((read.id(), read.secret_hash()), (token.id(), token.secret_hash()));
        assert_eq!((read.pins(), read.addresses()), (token.pins(), token.addresses()));
        assert_eq!(read.pins()[0], AuthorityId([1; 32]));
        assert_eq!(*read.reveal(), *token.reveal());
    }

    #[test]
    fn no_form_of_debug_shows_the_secret() {
        let token = token();
        let hex = |bytes: &[u8]| bytes.iter().map(|byte| format!("{byte:02x}")).collect::<String>();
        let shown = format!("{token:?} {token:#?}");

        assert!(shown.contains(&token.id().to_string()));
        for secret in [hex(token.secret.as_slice()), format!("{:?}", *token.secret), token.reveal()[30..60].to_owned()]
        {
            assert!(!shown.contains(&secret));
        }
    }

    #[test]
    fn the_longest_token_fits() {
        let pins = (0..4).map(|number| AuthorityId([number; 32]));
        let label = "a".repeat(63);
        let host = format!("{label}.{label}.{label}.{}", "a".repeat(61));
        let addresses = vec![format!("{host}:65535").parse().unwrap(); ADDRESSES_MAX];
        let token = JoinToken::draw(pins, addresses).unwrap();

        assert!(token.reveal().len() <= TOKEN_BYTES_MAX);
        assert!(JoinToken::parse(&token.reveal()).is_ok());
    }

    #[test]
    fn what_is_wrong_with_a_text_is_said() {
        use InvalidToken as Bad;

        let whole = token().reveal();
        let bytes = URL_SAFE_NO_PAD.decode(&whole[PREFIX.len()..]).unwrap();
        let body = &bytes[..bytes.len() - CHECKSUM_BYTES];
        let changed = |at: usize, to: u8| {
            let mut body = body.to_vec();
            body[at] = to;
            text(&body)
        };
        let pins_at = 1 + ID_BYTES + SECRET_BYTES;
        let addresses_at = pins_at + 1 + 64;
        let cases = [
            (String::new(), Bad::Prefix),
            (whole.replacen("qj1_", "qj2_", 1), Bad::Prefix),
            (format!(" {}", *whole), Bad::Prefix),
            (format!("{}=", *whole), Bad::Character { position: whole.len() + 1 }),
            (format!("{}\n", *whole), Bad::Character { position: whole.len() + 1 }),
            (whole.replacen("qj1_", "qj1_é", 1), Bad::Character { position: 5 }),
            (PREFIX.to_owned(), Bad::Cut),
            (whole[..whole.len() - 4].to_owned(), Bad::Checksum),
            (format!("{}AAAA", *whole), Bad::Checksum),
            (text(&body[..30]), Bad::Cut),
            (text(&[body, &[0]].concat()), Bad::Continued),
            (changed(0, 2), Bad::Version { found: 2 }),
            // The second pin is the first again, and there is none.
            (changed(pins_at + 1, 9), Bad::Pins),
            (text(&[&body[..pins_at], &[0, 0]].concat()), Bad::Pins),
            (text(&[&body[..addresses_at], &[0]].concat()), Bad::Addresses { count: 0 }),
            (text(&[&body[..addresses_at], &[1, 0, 1, b'a']].concat()), Bad::Address { position: 1 }),
            ("qj1_".to_owned() + &"A".repeat(TOKEN_BYTES_MAX), Bad::TooLong { bytes: TOKEN_BYTES_MAX + 4 }),
        ];
        for (text, error) in cases {
            assert_eq!(JoinToken::parse(&text).map(drop), Err(error), "{text}");
        }
        assert_eq!(JoinToken::draw([], vec!["a:1".parse().unwrap()]).map(drop), Err(Bad::Pins));
        assert_eq!(JoinToken::draw([AuthorityId([1; 32])], vec![]).map(drop), Err(Bad::Addresses { count: 0 }));
    }

    #[test]
    fn each_character_that_is_another_is_found() {
        let whole = token().reveal();
        for at in 0..whole.len() {
            for other in ALPHABET.iter().filter(|other| whole.as_bytes()[at] != **other) {
                let mut bytes = whole.as_bytes().to_vec();
                bytes[at] = *other;
                let error = JoinToken::parse(std::str::from_utf8(&bytes).unwrap()).map(drop);
                let expected = if at < PREFIX.len() { InvalidToken::Prefix } else { InvalidToken::Checksum };
                assert_eq!(error, Err(expected), "character {at}");
            }
        }
    }

    proptest! {
        #[test]
        fn a_token_with_one_bit_changed_is_refused(bit: prop::sample::Index) {
            let mut bytes = token().reveal().as_bytes().to_vec();
            let bit = bit.index(bytes.len() * 8);
            bytes[bit / 8] ^= 1 << (bit % 8);
            let is_read = std::str::from_utf8(&bytes).is_ok_and(|text| JoinToken::parse(text).is_ok());
            prop_assert!(!is_read);
        }

        #[test]
        fn two_characters_that_changed_places_are_found(at: prop::sample::Index) {
            let mut bytes = token().reveal().as_bytes().to_vec();
            let at = at.index(bytes.len() - 1);
            prop_assume!(bytes[at] != bytes[at + 1]);
            bytes.swap(at, at + 1);
            prop_assert!(JoinToken::parse(std::str::from_utf8(&bytes).unwrap()).is_err());
        }

        #[test]
        fn what_is_read_of_any_bytes_is_written_the_same(body in prop::collection::vec(any::<u8>(), 0..200), raw: String) {
            let _ = JoinToken::parse(&raw);
            let _ = JoinToken::parse(&format!("{PREFIX}{raw}"));
            for text in [text(&body), text(&[&[VERSION], body.as_slice()].concat())] {
                if let Ok(token) = JoinToken::parse(&text) {
                    let written = token.reveal();
                    prop_assert_eq!(written.as_str(), text);
                }
            }
        }
    }
}
