//! A child's standard output: cut into any pieces it has the same lines, each within the bound, and the bytes of all
//! lines are accounted for. Input: the size of the pieces as the first byte, then the output.
#![no_main]

use libfuzzer_sys::fuzz_target;
use quorate_stdio::lines::{Line, Splitter};

/// Small, so that an input of the fuzzer can reach it.
const LINE_BYTES_MAX: usize = 256;

fuzz_target!(|input: &[u8]| {
    let Some((piece, output)) = input.split_first() else { return };
    let whole = split(output, output.len().max(1));
    assert_eq!(whole, split(output, usize::from(*piece).max(1)));

    for line in &whole {
        match line {
            Line::Message(bytes) => {
                assert!(bytes.len() <= LINE_BYTES_MAX && matches!(bytes[0], b'{' | b'['));
                assert!(!bytes.contains(&b'\n') && std::str::from_utf8(bytes).is_ok());
            }
            Line::Garbage { bytes, shown } => {
                assert!(*bytes <= LINE_BYTES_MAX && !shown.chars().any(char::is_control));
            }
            Line::TooLong { bytes } => assert!(*bytes > LINE_BYTES_MAX),
        }
    }
    let lines =
        output.split(|byte| *byte == b'\n').filter(|line| line.len() > LINE_BYTES_MAX || !line.trim_ascii().is_empty());
    assert_eq!(whole.len(), lines.count());
});

fn split(output: &[u8], piece: usize) -> Vec<Line> {
    let mut splitter = Splitter::new(LINE_BYTES_MAX);
    let mut lines = Vec::new();
    for piece in output.chunks(piece) {
        splitter.room().extend_from_slice(piece);
        lines.extend(std::iter::from_fn(|| splitter.next()));
    }
    lines.extend(splitter.finish());
    lines
}
