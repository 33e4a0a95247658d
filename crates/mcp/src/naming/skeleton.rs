//! The part of a name that a reader sees.
//!
//! Two names with the same skeleton look the same to a person and often to a model, so names of
//! different servers collide by skeleton. Removed are control characters, Unicode's
//! Default_Ignorable_Code_Point (UAX #44; zero-width, bidirectional and tag characters are among
//! them) and white space at the ends; other white space counts as one kind. Letters that merely
//! resemble each other (UTS #39 confusables) stay apart: that judgement belongs to inspection of
//! definitions.

use std::borrow::Cow;

/// Returns the skeleton of `name`; borrowed when the name is its own skeleton.
#[must_use]
pub fn of(name: &str) -> Cow<'_, str> {
    if is_plain(name) {
        return Cow::Borrowed(name);
    }
    let seen: String =
        name.chars().filter(|&c| !is_invisible(c)).map(|c| if c.is_whitespace() { ' ' } else { c }).collect();
    Cow::Owned(seen.trim().to_owned())
}

/// Whether `name` is its own skeleton.
#[must_use]
pub fn is_plain(name: &str) -> bool {
    if name.bytes().all(|byte| byte.is_ascii_graphic()) {
        return true;
    }
    !name.starts_with(char::is_whitespace)
        && !name.ends_with(char::is_whitespace)
        && name.chars().all(|c| !is_invisible(c) && (c == ' ' || !c.is_whitespace()))
}

/// Whether `c` shows nothing of itself (Default_Ignorable_Code_Point of Unicode 17) or is a control.
fn is_invisible(c: char) -> bool {
    if c.is_control() {
        return true;
    }
    matches!(
        c,
        '\u{ad}' | '\u{34f}' | '\u{61c}' | '\u{115f}'..='\u{1160}' | '\u{17b4}'..='\u{17b5}' | '\u{180b}'..='\u{180f}'
            | '\u{200b}'..='\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2060}'..='\u{206f}' | '\u{3164}'
            | '\u{fe00}'..='\u{fe0f}' | '\u{feff}' | '\u{ffa0}' | '\u{fff0}'..='\u{fff8}'
            | '\u{1bca0}'..='\u{1bca3}' | '\u{1d173}'..='\u{1d17a}' | '\u{e0000}'..='\u{e0fff}'
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_skeleton_is_what_a_reader_sees() {
        for (name, expected) in [
            ("read_file", "read_file"),
            ("Résumé v2", "Résumé v2"),
            ("read\u{200b}_file", "read_file"),
            ("\u{202e}read_file", "read_file"),
            (" read_file\t", "read_file"),
            ("read\u{a0}file", "read file"),
            ("read\u{0}", "read"),
            ("\u{e0041}read", "read"),
            ("\u{200b} read", "read"),
            ("", ""),
        ] {
            assert_eq!(of(name), expected, "{name:?}");
            assert_eq!(is_plain(name), name == expected, "{name:?}");
        }
    }

    #[test]
    fn letters_of_other_scripts_that_look_alike_stay_apart() {
        assert_ne!(of("re\u{430}d"), of("read"));
    }
}
