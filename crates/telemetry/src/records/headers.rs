//! What a collector wants to be told with each request: `OTEL_EXPORTER_OTLP_HEADERS`, as the SDK reads it for traces and metrics.
//!
//! The form is that of W3C Baggage without properties (OTLP exporter configuration): `name=value,name=value`, values percent-encoded.
//! A value is often a key, so that no error has one in it.

use http::header::{HeaderMap, HeaderName, HeaderValue};
use percent_encoding::percent_decode_str;
use tonic::metadata::MetadataMap;

use crate::setup::Error;

/// The variable of records alone wins over that of all signals.
const VARIABLES: [&str; 2] = ["OTEL_EXPORTER_OTLP_LOGS_HEADERS", "OTEL_EXPORTER_OTLP_HEADERS"];

/// Reads the headers of this process.
pub(super) fn of_environment() -> Result<MetadataMap, Error> {
    let set = VARIABLES.into_iter().find_map(|name| Some((name, std::env::var(name).ok()?)));
    let Some((variable, text)) = set else { return Ok(MetadataMap::new()) };
    let headers = parse(&text).map_err(|number| Error::Header { variable, number })?;
    Ok(MetadataMap::from_headers(headers))
}

/// Reads a list; the error is the number of the first entry that is no header, from 1.
fn parse(list: &str) -> Result<HeaderMap, usize> {
    let entries = list.split(',').map(str::trim).enumerate().filter(|(_, entry)| !entry.is_empty());
    entries.map(|(index, entry)| header(entry).ok_or(index + 1)).collect()
}

fn header(entry: &str) -> Option<(HeaderName, HeaderValue)> {
    let (name, value) = entry.split_once('=')?;
    let value = percent_decode_str(value.trim()).decode_utf8().ok()?;
    let mut value = HeaderValue::from_str(&value).ok()?;
    value.set_sensitive(true);
    Some((name.trim().parse().ok()?, value))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn told(list: &str) -> Result<Vec<(String, String)>, usize> {
        let text = |value: &HeaderValue| value.to_str().expect("it was text").to_owned();
        parse(list).map(|headers| headers.iter().map(|(name, value)| (name.to_string(), text(value))).collect())
    }

    #[test]
    fn a_list_is_read_as_the_specification_says() {
        let header = |name: &str, value: &str| (name.to_owned(), value.to_owned());

        assert_eq!(told(""), Ok(vec![]));
        assert_eq!(told("api-key=k1"), Ok(vec![header("api-key", "k1")]));
        let two = vec![header("authorization", "Bearer a=b"), header("x-scope", "t1")];
        assert_eq!(told(" Authorization = Bearer%20a=b , x-scope=t1,"), Ok(two));
        for (list, number) in [("novalue", 1), ("a=1,b c=2", 2), ("a=1,,b=%0a", 3), ("a=%ff", 1), ("=1", 1)] {
            assert_eq!(told(list), Err(number), "{list}");
        }
    }
}
