//! Texts of the document that a model will read.
//!
//! Descriptions are written by strangers. Characters that do not show are taken out, because they can carry
//! instructions that no reviewer sees, and the length is bounded, because every character costs context.

/// Cleans a text and cuts it to `chars_max` characters, the ellipsis included.
pub(crate) fn clean(text: &str, chars_max: usize) -> String {
    let visible = text.trim().chars().filter(|c| !is_hidden(*c));
    let mut cleaned: String = visible.clone().take(chars_max).collect();
    if visible.count() > chars_max {
        cleaned.pop();
        cleaned.push('…');
    }
    cleaned
}

/// Cuts a text to `chars_max` characters, and returns what shows that it was cut.
pub(crate) fn cut(text: &str, chars_max: usize) -> (&str, &'static str) {
    text.char_indices().nth(chars_max).map_or((text, ""), |(end, _)| (&text[..end], "…"))
}

/// Tells whether a character does not show: controls but line ends and tabs, zero-width and direction marks, tags.
fn is_hidden(c: char) -> bool {
    let format = matches!(c, '\u{ad}' | '\u{61c}' | '\u{180e}' | '\u{200b}'..='\u{200f}' | '\u{202a}'..='\u{202e}'
        | '\u{2060}'..='\u{206f}' | '\u{feff}' | '\u{fff9}'..='\u{fffb}' | '\u{e0000}'..='\u{e0fff}');
    format || (c.is_control() && c != '\n' && c != '\t')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_does_not_show_is_taken_out_and_what_is_long_is_cut() {
        let cases = [
            ("  plain\ntext\t", 50, "plain\ntext"),
            ("a\u{200b}b\u{202e}c\u{7}d\u{e0041}e\r", 50, "abcde"),
            ("häßlich", 50, "häßlich"),
            ("abcdef", 6, "abcdef"),
            ("abcdefg", 6, "abcde…"),
            ("", 6, ""),
        ];
        for (text, max, expected) in cases {
            assert_eq!(clean(text, max), expected, "{text:?}");
        }
    }
}
