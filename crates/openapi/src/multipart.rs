//! Bodies of forms with files: `multipart/form-data` (RFC 7578).
//!
//! The boundary is chosen so that it stands nowhere in the content; with no randomness at hand it is counted up until
//! that is so. Names are escaped as browsers do (WHATWG HTML, "multipart/form-data encoding algorithm"), so that no
//! name can add a header or a part.

use base64::Engine as _;
use base64::alphabet;
use base64::engine::general_purpose::{GeneralPurpose, GeneralPurposeConfig};
use base64::engine::{DecodePaddingMode, DecodePaddingMode::Indifferent};
use percent_encoding::percent_decode_str;

/// What is sent for a file of which no media type is known.
const BYTES: &str = "application/octet-stream";
const PADDING: DecodePaddingMode = Indifferent;
const STANDARD: GeneralPurpose =
    GeneralPurpose::new(&alphabet::STANDARD, GeneralPurposeConfig::new().with_decode_padding_mode(PADDING));
const URL_SAFE: GeneralPurpose =
    GeneralPurpose::new(&alphabet::URL_SAFE, GeneralPurposeConfig::new().with_decode_padding_mode(PADDING));

/// One part.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Part<'a> {
    pub(crate) name: &'a str,
    /// The name of a file; none for a value.
    pub(crate) file_name: Option<String>,
    pub(crate) media: Option<String>,
    pub(crate) content: Vec<u8>,
}

/// A file as an argument carries it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct File {
    pub(crate) content: Vec<u8>,
    pub(crate) media: Option<String>,
    pub(crate) name: Option<String>,
}

/// Writes the parts; returns the content type with the boundary, and the body.
pub(crate) fn write(parts: &[Part<'_>]) -> (String, Vec<u8>) {
    let boundary = boundary(parts);
    let size: usize = parts.iter().map(|part| part.content.len() + part.name.len() + 200).sum();
    let mut body = Vec::with_capacity(size);
    for part in parts {
        let mut head = format!("--{boundary}\r\nContent-Disposition: form-data; name=\"{}\"", escaped(part.name));
        if let Some(file_name) = &part.file_name {
            head.push_str(&format!("; filename=\"{}\"", escaped(file_name)));
        }
        let media = part.media.as_deref().or_else(|| part.file_name.as_ref().map(|_| BYTES));
        if let Some(media) = media {
            head.push_str("\r\nContent-Type: ");
            head.push_str(media);
        }
        head.push_str("\r\n\r\n");
        body.extend_from_slice(head.as_bytes());
        body.extend_from_slice(&part.content);
        body.extend_from_slice(b"\r\n");
    }
    body.extend_from_slice(format!("--{boundary}--\r\n").as_bytes());
    (format!("multipart/form-data; boundary={boundary}"), body)
}

/// Finds a boundary that no part contains. Each part can contain only finitely many, so the search ends.
fn boundary(parts: &[Part<'_>]) -> String {
    (0_u64..)
        .map(|count| format!("quorate-form-{count:016x}"))
        .find(|candidate| parts.iter().all(|part| memchr::memmem::find(&part.content, candidate.as_bytes()).is_none()))
        .unwrap_or_default()
}

fn escaped(name: &str) -> String {
    name.replace('"', "%22").replace('\r', "%0D").replace('\n', "%0A").replace('\0', "%00")
}

/// Reads a file: base64 in either alphabet, or a `data:` URI (RFC 2397) that may name its media type and, as `name=`,
/// its file name.
///
/// # Errors
/// Says what is wrong.
pub(crate) fn file(text: &str) -> Result<File, &'static str> {
    let Some(rest) = text.strip_prefix("data:") else {
        return Ok(File { content: decoded(text)?, media: None, name: None });
    };
    let (head, data) = rest.split_once(',').ok_or("a data: URI has a comma before its data")?;
    let mut pieces = head.split(';');
    let media = pieces.next().filter(|media| !media.is_empty()).map(str::to_owned);
    if media.as_ref().is_some_and(|media| http::HeaderValue::from_str(media).is_err() || !media.contains('/')) {
        return Err("the media type of the data: URI is none");
    }
    let (mut name, mut base64) = (None, false);
    for piece in pieces {
        match piece.split_once('=') {
            None if piece.eq_ignore_ascii_case("base64") => base64 = true,
            Some(("name", value)) => name = Some(percent_decode_str(value).decode_utf8_lossy().into_owned()),
            _ => {}
        }
    }
    let content = if base64 { decoded(data)? } else { percent_decode_str(data).collect() };
    Ok(File { content, media, name })
}

fn decoded(text: &str) -> Result<Vec<u8>, &'static str> {
    let compact: String = text.chars().filter(|c| !c.is_ascii_whitespace()).collect();
    STANDARD.decode(&compact).or_else(|_| URL_SAFE.decode(&compact)).map_err(|_| "it is not base64")
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn value<'a>(name: &'a str, content: &[u8]) -> Part<'a> {
        Part { name, file_name: None, media: None, content: content.to_vec() }
    }

    #[test]
    fn parts_are_written_as_browsers_do() {
        let file =
            Part { name: "f\"\r\nX: 1", file_name: Some("a\".txt".to_owned()), media: None, content: vec![0, 255] };
        let (media, body) = write(&[value("a", b"1"), file]);

        assert_eq!(media, "multipart/form-data; boundary=quorate-form-0000000000000000");
        let expected = b"--quorate-form-0000000000000000\r\nContent-Disposition: form-data; name=\"a\"\r\n\r\n1\r\n\
            --quorate-form-0000000000000000\r\nContent-Disposition: form-data; name=\"f%22%0D%0AX: 1\"; filename=\"a%22.txt\"\r\n\
            Content-Type: application/octet-stream\r\n\r\n\x00\xff\r\n--quorate-form-0000000000000000--\r\n";
        assert_eq!(String::from_utf8_lossy(&body), String::from_utf8_lossy(expected));
    }

    #[test]
    fn a_boundary_stands_in_no_part() {
        let (media, _) =
            write(&[value("a", b"x quorate-form-0000000000000000 y"), value("b", b"--quorate-form-0000000000000001")]);
        assert!(media.ends_with("quorate-form-0000000000000002"), "{media}");
    }

    #[test]
    fn files_come_in_base64_or_as_data_uris() {
        let cases = [
            ("aGk=", Ok((b"hi".to_vec(), None, None))),
            ("aGk", Ok((b"hi".to_vec(), None, None))),
            ("a\nGk", Ok((b"hi".to_vec(), None, None))),
            ("-_8=", Ok((vec![0xfb, 0xff], None, None))),
            ("data:text/plain;name=a%20b.txt;base64,aGk=", Ok((b"hi".to_vec(), Some("text/plain"), Some("a b.txt")))),
            ("data:,a%20b", Ok((b"a b".to_vec(), None, None))),
            ("data:text/plain", Err("a data: URI has a comma before its data")),
            ("data:a\r\nb/c,x", Err("the media type of the data: URI is none")),
            ("hello world!", Err("it is not base64")),
        ];
        for (text, expected) in cases {
            let found = file(text).map(|file| (file.content, file.media, file.name));
            let expected =
                expected.map(|(content, media, name)| (content, media.map(str::to_owned), name.map(str::to_owned)));
            assert_eq!(found, expected, "{text:?}");
        }
    }

    proptest! {
        #[test]
        fn content_is_carried_unchanged_and_ends_where_it_ends(content: Vec<u8>) {
            let (media, body) = write(&[value("a", &content)]);
            let boundary = media.rsplit('=').next().expect("has a boundary");
            let start = memchr::memmem::find(&body, b"\r\n\r\n").expect("has a head") + 4;
            let end = memchr::memmem::find(&body[start..], format!("\r\n--{boundary}").as_bytes()).expect("ends");
            prop_assert_eq!(&body[start..start + end], &content[..]);
        }
    }
}
