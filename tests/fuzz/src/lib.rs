//! How inputs of fuzz targets are cut into the arguments of what they fuzz.
//!
//! Inputs are kept readable, so that a seed can be written and a crash be read by a person: text, with parts divided
//! by lines. Nothing here may panic for any input.

use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue};

/// Cuts an input at its first empty line into header lines and a body, as in HTTP. Lines that are no header are left
/// out, as hyper would have refused them.
#[must_use]
pub fn head_and_body(input: &[u8]) -> (HeaderMap, Bytes) {
    let cut = input.windows(2).position(|pair| pair == b"\n\n");
    let (head, body) = match cut {
        Some(at) => (&input[..at], &input[at + 2..]),
        None => (&input[..0], input),
    };
    let mut headers = HeaderMap::new();
    for line in head.split(|byte| *byte == b'\n').take(HEADERS_MAX) {
        let Some(colon) = line.iter().position(|byte| *byte == b':') else { continue };
        let (Ok(name), Ok(value)) =
            (HeaderName::from_bytes(&line[..colon]), HeaderValue::from_bytes(line[colon + 1..].trim_ascii()))
        else {
            continue;
        };
        headers.append(name, value);
    }
    (headers, Bytes::copy_from_slice(body))
}

/// Cuts a text at its first line end; the second part is empty when there is none.
#[must_use]
pub fn two_parts(input: &str) -> (&str, &str) {
    input.split_once('\n').unwrap_or((input, ""))
}

/// As many headers as the server accepts.
const HEADERS_MAX: usize = 100;
