//! Reads records by their sequence, some at a time, beside the node that writes.
//!
//! Segments are named after their first record, so that what is before the wanted ones is not read. Nothing is verified
//! here; a line that is no record is left out, and so is one that is being written.

use std::io::{self, BufRead as _, Read as _};
use std::path::Path;

use crate::folder::{list, open};
use crate::record::{LINE_BYTES_MAX, Record};

/// Times that a log is listed anew because its node deleted a segment meanwhile.
const TRIES_MAX: usize = 3;

/// Returns the first records after a sequence, at most so many, with their sequences; the oldest first.
///
/// # Errors
/// What the system says.
pub fn records(folder: &Path, after: u64, count: usize) -> io::Result<Vec<(u64, String)>> {
    let mut tries = 1;
    loop {
        match read(folder, after, count) {
            Err(error) if error.kind() == io::ErrorKind::NotFound && tries < TRIES_MAX && folder.is_dir() => tries += 1,
            result => return result,
        }
    }
}

fn read(folder: &Path, after: u64, count: usize) -> io::Result<Vec<(u64, String)>> {
    let segments = list(folder)?;
    let mut records = Vec::new();
    for (index, segment) in segments.iter().enumerate() {
        // What the next one begins after ends here.
        let is_before = segments.get(index + 1).is_some_and(|next| next.first <= after.saturating_add(1));
        if is_before {
            continue;
        }
        let mut reader = open(folder, segment.first)?;
        let mut line = Vec::new();
        loop {
            if records.len() == count {
                return Ok(records);
            }
            line.clear();
            if (&mut reader).take(LINE_BYTES_MAX as u64).read_until(b'\n', &mut line)? == 0 {
                break;
            }
            let Some((b'\n', text)) = line.split_last() else { continue };
            let Ok(record) = Record::read(text) else { continue };
            if record.sequence > after {
                records.push((record.sequence, String::from_utf8_lossy(text).into_owned()));
            }
        }
    }
    Ok(records)
}

#[cfg(test)]
mod tests {
    use std::fs::OpenOptions;
    use std::io::Write as _;

    use super::*;
    use crate::config::SEGMENT_BYTES_MIN;
    use crate::testing::{config, fill};

    #[test]
    fn records_are_read_on_from_any_sequence_across_segments() {
        let folder = tempfile::tempdir().expect("a folder");
        let config = crate::Config { segment_bytes: SEGMENT_BYTES_MIN, ..config(folder.path()) };
        fill(&config, 400);
        let segments = list(folder.path()).expect("it is readable");
        assert!(segments.len() > 2, "{segments:?}");
        let last = records(folder.path(), 0, usize::MAX).expect("it is readable").len() as u64;

        let edges = segments.iter().flat_map(|one| [one.first.saturating_sub(2), one.first - 1, one.first]);
        for after in edges.chain([last - 1, last, last + 9]) {
            let numbers =
                records(folder.path(), after, 5).expect("it is readable").into_iter().map(|(number, line)| {
                    assert!(line.contains(&format!("\"sequence\":{number},")), "{line}");
                    number
                });
            let expected: Vec<u64> = (after + 1..=last.min(after + 5)).collect();
            assert_eq!(numbers.collect::<Vec<_>>(), expected, "after {after}");
        }
    }

    #[test]
    fn what_is_being_written_and_what_is_no_record_is_left_out() {
        let folder = tempfile::tempdir().expect("a folder");
        fill(&config(folder.path()), 3);
        let whole = records(folder.path(), 0, 100).expect("it is readable");
        let first = list(folder.path()).expect("it is readable")[0].first;
        let path = folder.path().join(crate::folder::name(first));
        let mut file = OpenOptions::new().append(true).open(path).expect("it is there");
        file.write_all(b"no record\n{\"sequence\":").expect("writes");

        assert_eq!(records(folder.path(), 0, 100).expect("it is readable"), whole);
        assert!(records(&folder.path().join("absent"), 0, 1).is_err());
    }
}
