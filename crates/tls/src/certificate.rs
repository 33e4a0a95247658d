//! Reads from certificates and revocation lists what rustls-webpki checks or skips without telling.
//!
//! In flow the bytes of one certificate, out flow its validity, its usages and its URI names. Decides nothing but that
//! the bytes can be read: one name that cannot makes the whole certificate unreadable, because a name that is skipped
//! is a name that is not counted. RFC 5280 §4.1 (fields), §4.2.1 (extensions), §5.1 (lists).

use quorate_types::Timestamp;

use crate::der::{self, Malformed, Reader};

/// Object identifiers of extensions: `id-ce` is 2.5.29.
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
pub(crate) struct Facts<'a> {
    /// The content of the serial number.
    pub(crate) serial: &'a [u8],
    pub(crate) not_before: Timestamp,
    pub(crate) not_after: Timestamp,
    /// Whether it may sign certificates, by its basic constraints.
    pub(crate) is_authority: bool,
    pub(crate) key_usage: Option<KeyUsage>,
    /// The URI names, as they are; they need not be text.
    pub(crate) uris: Vec<&'a [u8]>,
}

/// The usages of a key (RFC 5280 §4.2.1.3).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct KeyUsage(u8);

// === impl Facts ===

impl<'a> Facts<'a> {
    /// Reads a certificate in DER.
    pub(crate) fn read(certificate: &'a [u8]) -> Result<Self, Malformed> {
        let mut fields = signed_fields(certificate)?;
        if fields.optional(VERSION)?.is_some_and(|version| version != V3) {
            return Err(Malformed);
        }
        let serial = fields.expect(der::INTEGER)?;
        fields.expect(der::SEQUENCE)?; // The algorithm of the signature.
        fields.expect(der::SEQUENCE)?; // The issuer.
        let mut validity = Reader::new(fields.expect(der::SEQUENCE)?);
        let (not_before, not_after) = (validity.time()?, validity.time()?);
        fields.expect(der::SEQUENCE)?; // The subject.
        fields.expect(der::SEQUENCE)?; // The public key.
        let mut facts = Self { serial, not_before, not_after, ..Self::default() };
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
                BASIC_CONSTRAINTS => self.is_authority = read_authority(value)?,
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
    pub(crate) fn signs_handshakes(self) -> bool {
        self.0 & DIGITAL_SIGNATURE != 0
    }

    /// May sign certificates.
    pub(crate) fn signs_certificates(self) -> bool {
        self.0 & KEY_CERT_SIGN != 0
    }

    /// May sign lists of revoked certificates.
    pub(crate) fn signs_lists(self) -> bool {
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

fn read_authority(value: &[u8]) -> Result<bool, Malformed> {
    match Reader::new(Reader::new(value).expect(der::SEQUENCE)?).optional(der::BOOLEAN)? {
        None | Some([0x00]) => Ok(false),
        Some([0xff]) => Ok(true),
        Some(_) => Err(Malformed),
    }
}
