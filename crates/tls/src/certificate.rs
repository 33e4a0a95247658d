//! Reads from certificates and revocation lists what rustls-webpki checks or skips without telling.
//!
//! In flow the bytes of one certificate, out flow its validity, its usages and its URI names. Decides nothing but that
//! the bytes can be read: one name that cannot makes the whole certificate unreadable, because a name that is skipped
//! is a name that is not counted. RFC 5280 §4.1 (fields), §4.2.1 (extensions), §5.1 (lists).

use quorate_types::Timestamp;

use crate::der::{self, Malformed, Reader};

/// Object identifiers of extensions: `id-ce` is 2.5.29.
const SUBJECT_KEY_ID: &[u8] = &[0x55, 0x1d, 14];
const KEY_USAGE: &[u8] = &[0x55, 0x1d, 15];
const SUBJECT_ALT_NAME: &[u8] = &[0x55, 0x1d, 17];
const BASIC_CONSTRAINTS: &[u8] = &[0x55, 0x1d, 19];
/// Extensions that a certificate may have: real ones have about ten, and each is compared with those before it.
const EXTENSIONS_MAX: usize = 64;

/// The field of a certificate that holds its version: `[0]`, constructed.
const VERSION: u8 = 0xa0;
/// The field of a certificate that holds its extensions: `[3]`, constructed.
const EXTENSIONS: u8 = 0xa3;
/// The numbers of the version fields: v3 of certificates.
const V3: [u8; 3] = [der::INTEGER, 1, 2];
/// A name that is a URI: `[6]`, primitive.
const URI_NAME: u8 = 0x86;
/// The other names: other, mail, DNS, X.400, directory, EDI, address, registered id (RFC 5280 §4.2.1.6).
const OTHER_NAMES: [u8; 8] = [0xa0, 0x81, 0x82, 0xa3, 0xa4, 0xa5, 0x87, 0x88];

const DIGITAL_SIGNATURE: u8 = 0x80;
const KEY_CERT_SIGN: u8 = 0x04;
const CRL_SIGN: u8 = 0x02;

/// What a certificate says of itself.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Facts<'a> {
    /// The content of the serial number.
    pub serial: &'a [u8],
    /// The first second in which it is valid.
    pub not_before: Timestamp,
    /// The last second in which it is valid.
    pub not_after: Timestamp,
    /// The content of its subject, a sequence of sets of attributes.
    pub subject: &'a [u8],
    /// Its public key with algorithm, as a whole value.
    pub public_key: &'a [u8],
    /// Whether it may sign certificates, by its basic constraints.
    pub is_authority: bool,
    /// How many authorities may stand between it and a leaf, when that is limited.
    pub path_length: Option<u64>,
    /// What those below it call its key by.
    pub subject_key_id: Option<&'a [u8]>,
    /// What its key may be used for; `None` when it does not say.
    pub key_usage: Option<KeyUsage>,
    /// The URI names, as they are; they need not be text.
    pub uris: Vec<&'a [u8]>,
}

/// The usages of a key (RFC 5280 §4.2.1.3).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct KeyUsage(u8);

// === impl Facts ===

impl<'a> Facts<'a> {
    /// Reads a certificate in DER.
    ///
    /// # Errors
    /// [`Malformed`] when any of it cannot be read.
    pub fn read(certificate: &'a [u8]) -> Result<Self, Malformed> {
        let mut fields = signed_fields(certificate)?;
        if fields.optional(VERSION)?.is_some_and(|version| version != V3) {
            return Err(Malformed);
        }
        let serial = fields.expect(der::INTEGER)?;
        fields.expect(der::SEQUENCE)?; // The algorithm of the signature.
        fields.expect(der::SEQUENCE)?; // The issuer.
        let mut validity = Reader::new(fields.expect(der::SEQUENCE)?);
        let (not_before, not_after) = (validity.time()?, validity.time()?);
        let subject = fields.expect(der::SEQUENCE)?;
        let public_key = fields.whole()?;
        Reader::new(public_key).expect(der::SEQUENCE)?;
        let mut facts = Self { serial, not_before, not_after, subject, public_key, ..Self::default() };
        if let Some(tagged) = fields.optional(EXTENSIONS)? {
            facts.read_extensions(tagged)?;
        }
        if fields.is_empty() { Ok(facts) } else { Err(Malformed) }
    }

    fn read_extensions(&mut self, tagged: &'a [u8]) -> Result<(), Malformed> {
        let mut extensions = Reader::new(Reader::new(tagged).expect(der::SEQUENCE)?);
        // The extensions that stood already; a second one would be a second opinion.
        let mut seen = Vec::new();
        while !extensions.is_empty() {
            let mut extension = Reader::new(extensions.expect(der::SEQUENCE)?);
            let id = extension.expect(der::OID)?;
            extension.optional(der::BOOLEAN)?;
            let value = extension.expect(der::OCTET_STRING)?;
            if !extension.is_empty() || seen.contains(&id) || seen.len() == EXTENSIONS_MAX {
                return Err(Malformed);
            }
            seen.push(id);
            match id {
                KEY_USAGE => self.key_usage = Some(KeyUsage::read(value)?),
                SUBJECT_ALT_NAME => self.uris = read_uris(value)?,
                SUBJECT_KEY_ID => self.subject_key_id = Some(Reader::new(value).expect(der::OCTET_STRING)?),
                BASIC_CONSTRAINTS => (self.is_authority, self.path_length) = read_authority(value)?,
                _ => {}
            }
        }
        Ok(())
    }
}

// === impl KeyUsage ===

impl KeyUsage {
    fn read(value: &[u8]) -> Result<Self, Malformed> {
        let bits = Reader::new(value).expect(der::BIT_STRING)?;
        match bits {
            [unused @ 0..=7, first] => Ok(Self(first & (0xff << unused))),
            [0..=7, first, _decipher_only] => Ok(Self(*first)),
            _ => Err(Malformed),
        }
    }

    /// May sign what proves its holder in a handshake.
    #[must_use]
    pub fn signs_handshakes(self) -> bool {
        self.0 & DIGITAL_SIGNATURE != 0
    }

    /// May sign certificates.
    #[must_use]
    pub fn signs_certificates(self) -> bool {
        self.0 & KEY_CERT_SIGN != 0
    }

    /// May sign lists of revoked certificates.
    #[must_use]
    pub fn signs_lists(self) -> bool {
        self.0 & CRL_SIGN != 0
    }
}

/// Reads when the next list is due of a revocation list in DER.
pub(crate) fn next_update(list: &[u8]) -> Result<Timestamp, Malformed> {
    let mut fields = signed_fields(list)?;
    fields.optional(der::INTEGER)?; // The version.
    fields.expect(der::SEQUENCE)?; // The algorithm of the signature.
    fields.expect(der::SEQUENCE)?; // The issuer.
    fields.time()?; // When it was made.
    fields.time()
}

/// Returns a reader of the fields that are signed; the algorithm and the signature follow them.
fn signed_fields(bytes: &[u8]) -> Result<Reader<'_>, Malformed> {
    let mut whole = Reader::new(bytes);
    let mut parts = Reader::new(whole.expect(der::SEQUENCE)?);
    if whole.is_empty() { parts.expect(der::SEQUENCE).map(Reader::new) } else { Err(Malformed) }
}

fn read_uris(value: &[u8]) -> Result<Vec<&[u8]>, Malformed> {
    let mut names = Reader::new(Reader::new(value).expect(der::SEQUENCE)?);
    let mut uris = Vec::new();
    while !names.is_empty() {
        match names.next()? {
            (URI_NAME, uri) => uris.push(uri),
            (tag, _) if OTHER_NAMES.contains(&tag) => {}
            _ => return Err(Malformed),
        }
    }
    Ok(uris)
}

fn read_authority(value: &[u8]) -> Result<(bool, Option<u64>), Malformed> {
    let mut fields = Reader::new(Reader::new(value).expect(der::SEQUENCE)?);
    let is_authority = match fields.optional(der::BOOLEAN)? {
        None | Some([0x00]) => false,
        Some([0xff]) => true,
        Some(_) => return Err(Malformed),
    };
    let path_length = fields.optional(der::INTEGER)?.map(read_count).transpose()?;
    if fields.is_empty() { Ok((is_authority, path_length)) } else { Err(Malformed) }
}

/// Reads a number that is not negative; what has more bytes than a number of this machine is as good as the largest.
fn read_count(digits: &[u8]) -> Result<u64, Malformed> {
    match digits {
        [] | [0x80..=0xff, ..] => Err(Malformed),
        digits => {
            Ok(digits.iter().fold(0_u64, |count, digit| count.saturating_mul(256).saturating_add((*digit).into())))
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use rcgen::{CertificateParams, CustomExtension, IsCa, KeyPair, KeyUsagePurpose, SanType, SerialNumber};

    use super::*;

    const SAN_OID: [u64; 4] = [2, 5, 29, 17];

    fn make(change: impl FnOnce(&mut CertificateParams)) -> Vec<u8> {
        let mut params = CertificateParams::default();
        params.serial_number = Some(SerialNumber::from_slice(&[0x5a, 1]));
        change(&mut params);
        params.self_signed(&KeyPair::generate().unwrap()).unwrap().der().to_vec()
    }

    /// A certificate whose alternative names have this content.
    fn named(content: &[u8]) -> Vec<u8> {
        let extension = CustomExtension::from_oid_content(&SAN_OID, content.to_vec());
        make(|params| params.custom_extensions = vec![extension])
    }

    #[test]
    fn what_a_certificate_says_is_read() {
        let plain = make(|params| {
            params.not_before = rcgen::date_time_ymd(2026, 1, 2);
            params.not_after = rcgen::date_time_ymd(2050, 1, 1);
        });
        let facts = Facts::read(&plain).unwrap();
        assert_eq!(facts.serial, [0x5a, 1]);
        // Expected numbers by `date -u -d … +%s`; the second year is the first that needs the long encoding.
        assert_eq!(facts.not_before, Timestamp::from_millis(1_767_312_000_000));
        assert_eq!(facts.not_after, Timestamp::from_millis(2_524_608_000_000));
        assert!(!facts.is_authority && facts.key_usage.is_none() && facts.uris.is_empty());

        let rich = make(|params| {
            params.is_ca = IsCa::Ca(rcgen::BasicConstraints::Constrained(3));
            params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::DecipherOnly];
            params.subject_alt_names = vec![
                SanType::DnsName("a.test".try_into().unwrap()),
                SanType::URI("spiffe://a/b".try_into().unwrap()),
                SanType::IpAddress([127, 0, 0, 1].into()),
                SanType::URI("https://a/".try_into().unwrap()),
            ];
        });
        let facts = Facts::read(&rich).unwrap();
        assert_eq!(facts.uris, [&b"spiffe://a/b"[..], b"https://a/"]);
        let usage = facts.key_usage.unwrap();
        assert!(facts.is_authority && usage.signs_certificates());
        assert_eq!((facts.path_length, facts.subject_key_id.map(<[u8]>::len)), (Some(3), Some(20)));
        assert!(!usage.signs_handshakes() && !usage.signs_lists());
    }

    #[test]
    fn names_that_cannot_be_read_make_the_certificate_unreadable() {
        let readable: [(&[u8], &[&[u8]]); 4] = [
            (&[der::SEQUENCE, 0], &[]),
            (&[der::SEQUENCE, 3, URI_NAME, 1, 0xff], &[b"\xff"]),
            (&[der::SEQUENCE, 4, 0x82, 0, URI_NAME, 0], &[b""]),
            (&[der::SEQUENCE, 6, URI_NAME, 1, b'a', URI_NAME, 1, b'a'], &[b"a", b"a"]),
        ];
        for (content, uris) in readable {
            assert_eq!(Facts::read(&named(content)).map(|facts| facts.uris), Ok(uris.to_vec()), "{content:x?}");
        }
        let unreadable: [&[u8]; 7] = [
            &[],
            &[der::OCTET_STRING, 0],
            // A URI in pieces, a name of no kind, a plain integer, one that is longer than the list.
            &[der::SEQUENCE, 5, 0xa6, 3, 0x16, 1, b'a'],
            &[der::SEQUENCE, 2, 0x89, 0],
            &[der::SEQUENCE, 3, der::INTEGER, 1, 0],
            &[der::SEQUENCE, 3, URI_NAME, 2, b'a'],
            &[der::SEQUENCE, 2, 0x82, 0x80],
        ];
        for content in unreadable {
            assert_eq!(Facts::read(&named(content)), Err(Malformed), "{content:x?}");
        }
    }

    #[test]
    fn an_extension_that_stands_twice_or_too_many_make_the_certificate_unreadable() {
        let san = |name: u8| CustomExtension::from_oid_content(&SAN_OID, vec![der::SEQUENCE, 3, URI_NAME, 1, name]);
        let twice = make(|params| params.custom_extensions = vec![san(b'a'), san(b'b')]);
        assert_eq!(Facts::read(&twice), Err(Malformed));
        let many = |count| {
            make(|params| {
                let extension = |number| CustomExtension::from_oid_content(&[1, 2, 3, number], Vec::new());
                params.custom_extensions = (0..count).map(extension).collect();
                params.use_authority_key_identifier_extension = false;
            })
        };
        assert!(Facts::read(&many(EXTENSIONS_MAX as u64)).is_ok());
        assert_eq!(Facts::read(&many(EXTENSIONS_MAX as u64 + 1)), Err(Malformed));
    }

    #[test]
    fn bits_beyond_the_last_one_are_no_usage() {
        let cases: [(&[u8], Option<u8>); 7] = [
            (&[der::BIT_STRING, 2, 7, 0x80], Some(0x80)),
            (&[der::BIT_STRING, 2, 5, 0xff], Some(0xe0)),
            (&[der::BIT_STRING, 3, 7, 0x01, 0x80], Some(0x01)),
            (&[der::BIT_STRING, 1, 0], None),
            (&[der::BIT_STRING, 2, 8, 0x80], None),
            (&[der::BIT_STRING, 4, 0, 0x80, 0x80, 0x80], None),
            (&[der::INTEGER, 2, 0, 0x80], None),
        ];
        for (value, expected) in cases {
            assert_eq!(KeyUsage::read(value).ok().map(|usage| usage.0), expected, "{value:x?}");
        }
    }

    #[test]
    fn a_certificate_that_is_cut_or_continued_is_unreadable() {
        let whole = make(|params| params.key_usages = vec![KeyUsagePurpose::DigitalSignature]);
        for length in 0..whole.len() {
            assert_eq!(Facts::read(&whole[..length]), Err(Malformed), "{length} bytes");
        }
        assert_eq!(Facts::read(&[whole.as_slice(), &[0]].concat()), Err(Malformed));
    }

    proptest! {
        #[test]
        fn a_damaged_certificate_is_read_or_refused(at in 0_usize..400, to in any::<u8>(), cut in 0_usize..400) {
            let mut bytes = named(&[der::SEQUENCE, 3, URI_NAME, 1, b'a']);
            let (at, cut) = (at % bytes.len(), cut % bytes.len());
            bytes[at] = to;
            // Neither may panic.
            let _ = Facts::read(&bytes);
            let _ = (Facts::read(&bytes[cut..]), next_update(&bytes[..cut]));
        }
    }
}
