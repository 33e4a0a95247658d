//! Text of a child made fit to be shown: short, on one line, and without power over a terminal.
//!
//! What a program writes ends up in logs and in errors that people read in terminals. Escape sequences, other control
//! characters and marks that turn the direction of text are left out, not escaped: they carry colour, or deceit.

/// Returns the beginning of `bytes` as text without control characters, escape sequences and direction marks;
/// what is left out at the end is an ellipsis.
pub(crate) fn shown(bytes: &[u8], chars_max: usize) -> String {
    // A character has at most four bytes, and what is stripped is bounded too: the rest cannot be shown.
    let head = &bytes[..bytes.len().min(chars_max.saturating_mul(8))];
    let text = String::from_utf8_lossy(head);
    let mut shown = String::with_capacity(text.len().min(chars_max));
    let mut chars = text.chars();
    let mut count = 0;
    while let Some(char) = chars.next() {
        if char == '\u{1b}' {
            skip_sequence(&mut chars);
        } else if char == '\t' || !is_forbidden(char) {
            if count == chars_max {
                shown.push('…');
                return shown;
            }
            shown.push(if char == '\t' { ' ' } else { char });
            count += 1;
        }
    }
    if head.len() < bytes.len() {
        shown.push('…');
    }
    shown
}

/// Skips the rest of an escape sequence (ECMA-48): `[` parameters and a final character, or one character.
fn skip_sequence(chars: &mut std::str::Chars<'_>) {
    if chars.next() != Some('[') {
        return;
    }
    for char in chars.by_ref() {
        if ('\u{40}'..='\u{7e}').contains(&char) {
            return;
        }
    }
}

/// Control characters, line separators, and marks that change the direction of what follows.
fn is_forbidden(char: char) -> bool {
    char.is_control()
        || matches!(char, '\u{200e}' | '\u{200f}' | '\u{2028}' | '\u{2029}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_shown_is_short_and_harmless() {
        let cases: [(&[u8], &str); 8] = [
            (b"plain", "plain"),
            (b"a\tb\r\n", "a b"),
            (b"\x1b[1;31mred\x1b[0m", "red"),
            (b"\x1b]0;title\x07x", "0;titlex"),
            ("a\u{202e}b\u{9b}".as_bytes(), "ab"),
            (b"\xff\xfe", "\u{fffd}\u{fffd}"),
            ("ääääääääää".as_bytes(), "ääääääää…"),
            (b"12345678", "12345678"),
        ];
        for (bytes, expected) in cases {
            assert_eq!(shown(bytes, 8), expected);
        }
    }

    #[test]
    fn what_is_only_control_characters_is_shown_as_cut() {
        assert_eq!(shown(&[0; 1_000], 8), "…");
    }
}
