//! Looks a document over before it is parsed: how deep and how long its policies are.
//!
//! Whoever walks an expression (Cedar's validator, its evaluator, we) goes as deep as it is nested, and a chain of
//! operators is nested as deep as it is long. So both are bounded here, on the text, in one pass without recursion. The
//! scan knows strings and comments and nothing else of the grammar; what it lets pass may still be no policy.
//! Grammar: <https://docs.cedarpolicy.com/policies/syntax-grammar.html>.

use crate::limits::{NESTING_MAX, OPERATORS_MAX};

/// Words that make an expression deeper.
const WORDS: &[&str] = &["if", "in", "is", "has", "like"];

/// Where a document is too much, as a byte of its text, and what is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Excess {
    pub(crate) at: usize,
    pub(crate) message: String,
    pub(crate) help: &'static str,
}

/// Checks depth and length of each policy in `text`.
///
/// # Errors
/// [`Excess`] at the first bracket or operator that is one too many.
pub(crate) fn check(text: &str) -> Result<(), Excess> {
    let bytes = text.as_bytes();
    let (mut at, mut depth, mut operators) = (0, 0_usize, 0_usize);
    while let Some(&byte) = bytes.get(at) {
        let mut length = 1;
        match byte {
            b'"' => length = string(&bytes[at..]),
            b'/' if bytes.get(at + 1) == Some(&b'/') => length = comment(&bytes[at..]),
            b';' => (depth, operators) = (0, 0),
            b'(' | b'[' | b'{' => (depth, operators) = (depth + 1, operators + usize::from(byte == b'[')),
            b')' | b']' | b'}' => depth = depth.saturating_sub(1),
            b'&' | b'|' | b'=' => {
                length = bytes[at..].iter().take(2).take_while(|&&next| next == byte).count();
                operators += 1;
            }
            b'!' | b'-' | b'+' | b'*' | b'.' | b'<' | b'>' => operators += 1,
            _ if byte.is_ascii_alphabetic() || byte == b'_' => {
                length = bytes[at..].iter().take_while(|next| next.is_ascii_alphanumeric() || **next == b'_').count();
                operators += usize::from(WORDS.iter().any(|word| word.as_bytes() == &bytes[at..at + length]));
            }
            _ => {}
        }
        if depth > NESTING_MAX {
            let message = format!("brackets are nested {depth} deep, at most {NESTING_MAX}");
            return Err(Excess { at, message, help: "write two policies" });
        }
        if operators > OPERATORS_MAX {
            let message = format!("a policy has more than {OPERATORS_MAX} operators");
            return Err(Excess {
                at, message, help: "write several policies, or a set: `[\"a\", \"b\"].contains(…)`"
            });
        }
        at += length;
    }
    Ok(())
}

/// The length of a string literal, quotes included; to the end when it is not closed.
fn string(bytes: &[u8]) -> usize {
    let mut at = 1;
    while let Some(&byte) = bytes.get(at) {
        match byte {
            b'\\' => at += 2,
            b'"' => return at + 1,
            _ => at += 1,
        }
    }
    bytes.len()
}

fn comment(bytes: &[u8]) -> usize {
    bytes.iter().position(|&byte| byte == b'\n').unwrap_or(bytes.len())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check_at(text: &str) -> Option<usize> {
        check(text).err().map(|excess| excess.at)
    }

    #[test]
    fn depth_and_length_are_counted_per_policy_outside_strings_and_comments() {
        let deep = "(".repeat(NESTING_MAX);
        let chain = "a&&".repeat(OPERATORS_MAX);

        assert_eq!(check_at(&deep), None);
        assert_eq!(check_at(&format!("{deep};{deep}")), None);
        assert_eq!(check_at(&format!("{deep}\"(\\\"(\"//((\n")), None);
        assert_eq!(check_at(&format!("{deep}(")), Some(NESTING_MAX));
        assert_eq!(check_at(&format!("{deep}//\n[")), Some(NESTING_MAX + 3));

        assert_eq!(check_at(&chain), None);
        assert_eq!(check_at(&format!("{chain};{chain}")), None);
        assert_eq!(check_at(&format!("{chain}iffy \"!\"")), None);
        for one in ["&&", "||", "==", "!", "-", ".", "[", "if ", "has"] {
            assert_eq!(check_at(&format!("{chain}{one}")), Some(chain.len()), "{one}");
        }
    }

    #[test]
    fn an_open_string_ends_with_the_text() {
        assert_eq!(check_at("\"((("), None);
        assert_eq!(check_at("\"\\"), None);
    }
}
