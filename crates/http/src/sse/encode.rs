//! Writes an event as a client's decoder reads it back.
//!
//! Fields in the order `id`, `event`, `retry`, `data`, each followed by one space (a decoder
//! drops exactly one, so a value that starts with a space survives). Every line of the data
//! becomes a `data` field; CR and CRLF within the data arrive as LF, as the format has it.

use std::time::Duration;

use bytes::{BufMut, Bytes, BytesMut};

use super::Event;

/// Bytes that the fields beside the data usually need: one allocation for most events.
const FIELDS_BYTES_USUAL: usize = 128;

/// Writes one event, with the empty line that ends it.
#[must_use]
pub fn encode(event: &Event) -> Bytes {
    let mut out = BytesMut::with_capacity(event.data.len() + FIELDS_BYTES_USUAL);
    write_event(event, &mut out);
    out.freeze()
}

/// Appends one event, with the empty line that ends it.
pub(super) fn write_event(event: &Event, out: &mut BytesMut) {
    write_fields(event, out);
    let mut rest = &event.data[..];
    loop {
        out.put_slice(b"data: ");
        let Some(end) = memchr::memchr2(b'\r', b'\n', rest) else { break };
        out.put_slice(&rest[..end]);
        out.put_u8(b'\n');
        let width = if rest[end..].starts_with(b"\r\n") { 2 } else { 1 };
        rest = &rest[end + width..];
    }
    out.put_slice(rest);
    out.put_slice(b"\n\n");
}

/// Appends all fields except the data.
pub(super) fn write_fields(event: &Event, out: &mut BytesMut) {
    if let Some(id) = &event.id {
        write_field(b"id: ", id.as_str().as_bytes(), out);
    }
    if let Some(name) = &event.name {
        write_field(b"event: ", name.as_str().as_bytes(), out);
    }
    if let Some(retry) = event.retry {
        write_field(b"retry: ", millis(retry).to_string().as_bytes(), out);
    }
}

fn write_field(name: &[u8], value: &[u8], out: &mut BytesMut) {
    out.put_slice(name);
    out.put_slice(value);
    out.put_u8(b'\n');
}

fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sse::Line;

    #[test]
    fn fields_are_written_in_a_fixed_order() {
        let event = Event::new("{}")
            .with_id(Line::new("0.1").unwrap())
            .with_name(Line::new("endpoint").unwrap())
            .with_retry(Duration::from_secs(3));
        assert_eq!(encode(&event), "id: 0.1\nevent: endpoint\nretry: 3000\ndata: {}\n\n");
    }

    #[test]
    fn every_line_of_the_data_is_a_field() {
        for (data, expected) in [
            ("", "data: \n\n"),
            ("a", "data: a\n\n"),
            ("a\nb", "data: a\ndata: b\n\n"),
            ("a\r\nb\rc", "data: a\ndata: b\ndata: c\n\n"),
            ("a\n", "data: a\ndata: \n\n"),
            ("\r\n\r\n", "data: \ndata: \ndata: \n\n"),
        ] {
            assert_eq!(encode(&Event::new(data)), expected, "{data:?}");
        }
    }
}
