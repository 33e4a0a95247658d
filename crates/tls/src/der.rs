//! Reads the distinguished encoding of ASN.1, as far as certificates need it.
//!
//! In flow bytes of a stranger, out flow slices of them; nothing is copied and nothing recurses. Only what DER allows:
//! one-byte tags, definite lengths in their shortest form (X.690 §10.1). Knows no certificates.

use quorate_types::Timestamp;

/// The tag of a BOOLEAN.
pub const BOOLEAN: u8 = 0x01;
/// The tag of an INTEGER.
pub const INTEGER: u8 = 0x02;
/// The tag of a BIT STRING.
pub const BIT_STRING: u8 = 0x03;
/// The tag of an OCTET STRING.
pub const OCTET_STRING: u8 = 0x04;
/// The tag of an OBJECT IDENTIFIER.
pub const OID: u8 = 0x06;
pub(crate) const UTC_TIME: u8 = 0x17;
pub(crate) const GENERALIZED_TIME: u8 = 0x18;
/// The tag of a SEQUENCE.
pub const SEQUENCE: u8 = 0x30;
/// The tag of a SET.
pub const SET: u8 = 0x31;

/// Low bits of a tag that say that more bytes of it follow; no certificate has such tags.
const LONG_TAG: u8 = 0x1f;
/// Bytes that a length may have: enough for 4 GiB.
const LENGTH_BYTES_MAX: u8 = 4;
const DAY_SECONDS: u64 = 86_400;

/// The bytes are not the encoding that they should be.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("an encoding is invalid")]
pub struct Malformed;

/// Reads one value after the other.
#[derive(Clone, Copy, Debug)]
pub struct Reader<'a>(&'a [u8]);

// === impl Reader ===

impl<'a> Reader<'a> {
    /// Begins at the first byte.
    #[must_use]
    pub fn new(bytes: &'a [u8]) -> Self {
        Self(bytes)
    }

    /// Tells whether nothing is left.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Reads the next value, whatever it is: its tag and content.
    ///
    /// # Errors
    /// [`Malformed`] when it is cut or not in its shortest form.
    #[expect(clippy::should_implement_trait, reason = "it fails, and an iterator of results goes on after an error")]
    pub fn next(&mut self) -> Result<(u8, &'a [u8]), Malformed> {
        let (&tag, rest) = self.0.split_first().ok_or(Malformed)?;
        if tag & LONG_TAG == LONG_TAG {
            return Err(Malformed);
        }
        let (length, rest) = read_length(rest)?;
        let (content, rest) = rest.split_at_checked(length).ok_or(Malformed)?;
        self.0 = rest;
        Ok((tag, content))
    }

    /// Reads the next value with its tag and length, as it is signed and hashed.
    ///
    /// # Errors
    /// [`Malformed`] when it is malformed.
    pub fn whole(&mut self) -> Result<&'a [u8], Malformed> {
        let before = self.0;
        self.next()?;
        Ok(&before[..before.len() - self.0.len()])
    }

    /// Reads a value that must have this tag, and returns its content.
    ///
    /// # Errors
    /// [`Malformed`] when it is something else, or malformed.
    pub fn expect(&mut self, tag: u8) -> Result<&'a [u8], Malformed> {
        match self.next()? {
            (found, content) if found == tag => Ok(content),
            _ => Err(Malformed),
        }
    }

    /// Reads the next value when it has this tag.
    ///
    /// # Errors
    /// [`Malformed`] when it is malformed.
    pub fn optional(&mut self, tag: u8) -> Result<Option<&'a [u8]>, Malformed> {
        if self.0.first() == Some(&tag) { self.expect(tag).map(Some) } else { Ok(None) }
    }

    /// Reads a time (RFC 5280 §4.1.2.5).
    ///
    /// # Errors
    /// [`Malformed`] when it is no time.
    pub fn time(&mut self) -> Result<Timestamp, Malformed> {
        match self.next()? {
            (UTC_TIME, text) => {
                let (year, rest) = two_digits(text)?;
                // Two digits mean 1950 to 2049.
                read_time(if year < 50 { 2000 + year } else { 1900 + year }, rest)
            }
            (GENERALIZED_TIME, text) => {
                let (century, rest) = two_digits(text)?;
                let (year, rest) = two_digits(rest)?;
                read_time(century * 100 + year, rest)
            }
            _ => Err(Malformed),
        }
    }
}

fn read_length(bytes: &[u8]) -> Result<(usize, &[u8]), Malformed> {
    let (&first, rest) = bytes.split_first().ok_or(Malformed)?;
    if first < 0x80 {
        return Ok((first.into(), rest));
    }
    let count = first & 0x7f;
    if count == 0 || count > LENGTH_BYTES_MAX {
        return Err(Malformed);
    }
    let (digits, rest) = rest.split_at_checked(count.into()).ok_or(Malformed)?;
    let length = digits.iter().fold(0_u64, |length, digit| length << 8 | u64::from(*digit));
    // Shortest form: no leading zero, and none of these bytes when one were enough.
    if digits[0] == 0 || length < 0x80 {
        return Err(Malformed);
    }
    Ok((usize::try_from(length).map_err(|_| Malformed)?, rest))
}

/// Reads `MMDDhhmmssZ`: the only form that certificates may have.
fn read_time(year: u64, text: &[u8]) -> Result<Timestamp, Malformed> {
    let (month, text) = two_digits(text)?;
    let (day, text) = two_digits(text)?;
    let (hour, text) = two_digits(text)?;
    let (minute, text) = two_digits(text)?;
    let (second, text) = two_digits(text)?;
    let is_valid = (1..=12).contains(&month) && (1..=days_of_month(year, month)).contains(&day);
    if text != b"Z" || year < 1970 || !is_valid || hour > 23 || minute > 59 || second > 59 {
        return Err(Malformed);
    }
    let days = (year - 1970) * 365 + leap_days_before(year) - leap_days_before(1970);
    let days = days + (1..month).map(|month| days_of_month(year, month)).sum::<u64>() + day - 1;
    Ok(Timestamp::from_millis((days * DAY_SECONDS + hour * 3600 + minute * 60 + second) * 1000))
}

fn two_digits(text: &[u8]) -> Result<(u64, &[u8]), Malformed> {
    match text {
        [tens @ b'0'..=b'9', ones @ b'0'..=b'9', rest @ ..] => {
            Ok((u64::from(tens - b'0') * 10 + u64::from(ones - b'0'), rest))
        }
        _ => Err(Malformed),
    }
}

/// The 29ths of February in all years before this one.
fn leap_days_before(year: u64) -> u64 {
    let year = year - 1;
    year / 4 - year / 100 + year / 400
}

fn is_leap(year: u64) -> bool {
    year.is_multiple_of(4) && (!year.is_multiple_of(100) || year.is_multiple_of(400))
}

fn days_of_month(year: u64, month: u64) -> u64 {
    match month {
        2 => 28 + u64::from(is_leap(year)),
        4 | 6 | 9 | 11 => 30,
        _ => 31,
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn lengths_are_read_in_their_shortest_form_only() {
        let cases: [(&[u8], Result<usize, Malformed>); 12] = [
            (&[0x00], Ok(0)),
            (&[0x7f], Ok(0x7f)),
            (&[0x81, 0x80], Ok(0x80)),
            (&[0x82, 0x01, 0x00], Ok(0x100)),
            (&[0x84, 0x01, 0x00, 0x00, 0x00], Ok(0x0100_0000)),
            // Longer than need be, indefinite, too many bytes, cut.
            (&[0x81, 0x7f], Err(Malformed)),
            (&[0x82, 0x00, 0x80], Err(Malformed)),
            (&[0x80], Err(Malformed)),
            (&[0x85, 0x01, 0x00, 0x00, 0x00, 0x00], Err(Malformed)),
            (&[0xff], Err(Malformed)),
            (&[0x82, 0x01], Err(Malformed)),
            (&[], Err(Malformed)),
        ];
        for (bytes, expected) in cases {
            assert_eq!(read_length(bytes).map(|(length, _)| length), expected, "{bytes:x?}");
        }
    }

    #[test]
    fn values_are_read_in_order_and_never_beyond_the_end() {
        let mut reader = Reader::new(&[INTEGER, 1, 7, SEQUENCE, 2, BOOLEAN, 0]);
        assert_eq!(reader.optional(BOOLEAN), Ok(None));
        assert_eq!({ reader }.whole(), Ok(&[INTEGER, 1, 7][..]));
        assert_eq!(reader.optional(INTEGER), Ok(Some(&[7][..])));
        assert_eq!(reader.expect(SEQUENCE), Ok(&[BOOLEAN, 0][..]));
        assert!(reader.is_empty());
        assert_eq!(reader.next(), Err(Malformed));
        assert_eq!(Reader::new(&[INTEGER, 2, 7]).next(), Err(Malformed));
        assert_eq!(Reader::new(&[0x1f, 0x20, 0]).next(), Err(Malformed), "a tag of several bytes");
        assert_eq!(Reader::new(&[INTEGER, 0]).expect(SEQUENCE), Err(Malformed));
    }

    fn time(tag: u8, text: &str) -> Result<u64, Malformed> {
        let mut bytes = vec![tag, u8::try_from(text.len()).unwrap()];
        bytes.extend_from_slice(text.as_bytes());
        Reader::new(&bytes).time().map(|time| time.as_millis() / 1000)
    }

    #[test]
    fn times_are_seconds_since_1970_in_both_encodings() {
        // Expected numbers by `date -u -d … +%s`.
        let cases = [
            (UTC_TIME, "700101000000Z", Ok(0)),
            (UTC_TIME, "000229120000Z", Ok(951_825_600)),
            (UTC_TIME, "491231235959Z", Ok(2_524_607_999)),
            (GENERALIZED_TIME, "20500101000000Z", Ok(2_524_608_000)),
            (GENERALIZED_TIME, "20261126061057Z", Ok(1_795_673_457)),
            (GENERALIZED_TIME, "99991231235959Z", Ok(253_402_300_799)),
            (UTC_TIME, "690101000000Z", Err(Malformed)),
            (UTC_TIME, "010229000000Z", Err(Malformed)),
            (GENERALIZED_TIME, "21000229000000Z", Err(Malformed)),
            (UTC_TIME, "701301000000Z", Err(Malformed)),
            (UTC_TIME, "700001000000Z", Err(Malformed)),
            (UTC_TIME, "700100000000Z", Err(Malformed)),
            (UTC_TIME, "700101240000Z", Err(Malformed)),
            (UTC_TIME, "700101006000Z", Err(Malformed)),
            (UTC_TIME, "700101000060Z", Err(Malformed)),
            (UTC_TIME, "700101000000", Err(Malformed)),
            (UTC_TIME, "7001010000Z", Err(Malformed)),
            (UTC_TIME, "700101000000+0100", Err(Malformed)),
            (GENERALIZED_TIME, "20261126061057.5Z", Err(Malformed)),
            (UTC_TIME, "7001010000 0Z", Err(Malformed)),
            (OCTET_STRING, "700101000000Z", Err(Malformed)),
        ];
        for (tag, text, expected) in cases {
            assert_eq!(time(tag, text), expected, "{text}");
        }
    }

    proptest! {
        #[test]
        fn reading_ends_and_every_value_lies_in_the_input(bytes in proptest::collection::vec(any::<u8>(), 0..64)) {
            let mut reader = Reader::new(&bytes);
            let mut read = 0;
            while let Ok((_, content)) = reader.next() {
                // A value costs two bytes at least.
                read += content.len() + 2;
                prop_assert!(read <= bytes.len());
            }
        }
    }
}
