//! The name of an authority, copied from its certificate into those that it issues.
//!
//! A path is found by comparing the bytes of names, so that the copy must be the same bytes. rcgen writes names from its
//! own form, which has one attribute per set and each kind of attribute once; what does not fit it is refused, and that the
//! copy is right is checked with the first certificate that is issued.

use quorate_tls::x509::{Malformed, OID, Reader, SEQUENCE, SET};
use rcgen::string::{BmpString, Ia5String, PrintableString, TeletexString, UniversalString};
use rcgen::{DistinguishedName, DnType, DnValue};

const UTF8_STRING: u8 = 0x0c;
const PRINTABLE_STRING: u8 = 0x13;
const TELETEX_STRING: u8 = 0x14;
const IA5_STRING: u8 = 0x16;
const UNIVERSAL_STRING: u8 = 0x1c;
const BMP_STRING: u8 = 0x1e;

/// Attributes that a name may have: real ones have up to ten.
const ATTRIBUTES_MAX: usize = 32;

/// Copies the content of a subject.
pub(super) fn copy(subject: &[u8]) -> Result<DistinguishedName, &'static str> {
    let mut name = DistinguishedName::new();
    let mut sets = Reader::new(subject);
    for _ in 0..ATTRIBUTES_MAX {
        if sets.is_empty() {
            return Ok(name);
        }
        let (kind, value) = read_attribute(&mut sets).map_err(|Malformed| "it cannot be read")?;
        let kind = DnType::from_oid(&kind);
        if name.get(&kind).is_some() {
            return Err("it has an attribute twice (such as two `DC` or `OU`)");
        }
        name.push(kind, value.ok_or("it has an attribute that is no text")?);
    }
    Err("it has too many attributes")
}

/// Reads the one attribute of the next set: its identifier, and its value if that is text.
fn read_attribute(sets: &mut Reader<'_>) -> Result<(Vec<u64>, Option<DnValue>), Malformed> {
    let mut set = Reader::new(sets.expect(SET)?);
    let mut attribute = Reader::new(set.expect(SEQUENCE)?);
    let kind = read_identifier(attribute.expect(OID)?)?;
    let (tag, value) = attribute.next()?;
    if set.is_empty() && attribute.is_empty() { Ok((kind, read_text(tag, value))) } else { Err(Malformed) }
}

fn read_text(tag: u8, value: &[u8]) -> Option<DnValue> {
    let text = || std::str::from_utf8(value).ok();
    match tag {
        UTF8_STRING => text().map(|text| DnValue::Utf8String(text.to_owned())),
        PRINTABLE_STRING => PrintableString::try_from(text()?).ok().map(DnValue::PrintableString),
        TELETEX_STRING => TeletexString::try_from(text()?).ok().map(DnValue::TeletexString),
        IA5_STRING => Ia5String::try_from(text()?).ok().map(DnValue::Ia5String),
        UNIVERSAL_STRING => UniversalString::from_utf32be(value.to_vec()).ok().map(DnValue::UniversalString),
        BMP_STRING => BmpString::from_utf16be(value.to_vec()).ok().map(DnValue::BmpString),
        _ => None,
    }
}

/// Reads an object identifier (X.690 §8.19).
fn read_identifier(bytes: &[u8]) -> Result<Vec<u64>, Malformed> {
    let mut numbers = Vec::new();
    let mut number = 0_u64;
    for byte in bytes {
        if number > u64::MAX >> 7 {
            return Err(Malformed);
        }
        number = number << 7 | u64::from(byte & 0x7f);
        if byte & 0x80 == 0 {
            numbers.push(number);
            number = 0;
        }
    }
    // The first number holds two.
    match (numbers.first_mut(), bytes.last()) {
        (Some(first), Some(0..0x80)) => {
            let root = (*first / 40).min(2);
            *first -= 40 * root;
            numbers.insert(0, root);
            Ok(numbers)
        }
        _ => Err(Malformed),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use quorate_tls::x509::Facts;
    use rcgen::{CertificateParams, KeyPair};

    use super::*;

    #[test]
    fn a_copied_name_is_the_same_name() {
        let mut name = DistinguishedName::new();
        name.push(DnType::CountryName, DnValue::PrintableString("DE".try_into().unwrap()));
        name.push(DnType::OrganizationName, "Bäcker & Söhne");
        name.push(
            DnType::CustomDnType(vec![0, 9, 2342, 19200300, 100, 1, 25]),
            DnValue::Ia5String("corp".try_into().unwrap()),
        );
        name.push(DnType::CommonName, DnValue::BmpString("Issuing 1".try_into().unwrap()));
        let mut params = CertificateParams::default();
        params.distinguished_name = name.clone();
        let certificate = params.self_signed(&KeyPair::generate().unwrap()).unwrap();

        assert_eq!(copy(Facts::read(certificate.der()).unwrap().subject), Ok(name));
    }

    #[test]
    fn names_that_cannot_be_copied_are_refused_with_the_reason() {
        let unit = |text: u8| [SET, 10, SEQUENCE, 8, OID, 3, 0x55, 4, 11, UTF8_STRING, 1, text];
        assert!(copy(&unit(b'a')).is_ok());
        assert!(copy(&[]).is_ok());

        assert!(copy(&[unit(b'a'), unit(b'b')].concat()).unwrap_err().contains("twice"));
        let number = [SET, 10, SEQUENCE, 8, OID, 3, 0x55, 4, 11, 0x02, 1, 1];
        assert!(copy(&number).unwrap_err().contains("no text"));
        assert!(copy(&[SET, 0]).unwrap_err().contains("cannot be read"));
        let both = [&[SET, 20], &unit(b'a')[2..], &unit(b'b')[2..]].concat();
        assert!(copy(&both).unwrap_err().contains("cannot be read"));
    }

    proptest! {
        #[test]
        fn arbitrary_bytes_never_panic(bytes in proptest::collection::vec(any::<u8>(), 0..100)) {
            let _ = copy(&bytes);
            let _ = read_identifier(&bytes);
        }
    }
}
