//! Splits the text of a command into words, without a shell.
//!
//! Words are separated by white space; single quotes, double quotes and a backslash keep it together, as in a shell. What
//! a shell would expand or act upon is not passed on as if it were meant: outside of quotes it is an error that says
//! so. Nothing is ever run to find out what a word means.

/// What a shell acts upon: expansion, pipes, lists, redirection, patterns.
const ACTIVE: &str = "$`|&;<>()*?[]{}~#!";

/// Splits a command into its words.
///
/// # Errors
/// What is wrong: a quote that does not end, or a character that only a shell knows.
pub(crate) fn split(text: &str) -> Result<Vec<String>, String> {
    let mut words = Vec::new();
    let mut word: Option<String> = None;
    let mut chars = text.chars();
    while let Some(char) = chars.next() {
        match char {
            char if char.is_whitespace() => words.extend(word.take()),
            '\'' => word.get_or_insert_default().push_str(&quoted(&mut chars)?),
            '"' => double_quoted(&mut chars, word.get_or_insert_default())?,
            '\\' => word.get_or_insert_default().push(chars.next().ok_or("a backslash stands before nothing")?),
            char if ACTIVE.contains(char) && acts(char, word.as_deref()) => {
                return Err(format!("there is no shell that knows {char:?}: put it into single quotes if it is meant"));
            }
            char => word.get_or_insert_default().push(char),
        }
    }
    words.extend(word);
    Ok(words)
}

/// Some characters mean something to a shell only where a word begins.
fn acts(char: char, word: Option<&str>) -> bool {
    match char {
        '~' | '#' | '!' => word.is_none(),
        _ => true,
    }
}

/// Reads up to a single quote; nothing in between is special.
fn quoted(chars: &mut std::str::Chars<'_>) -> Result<String, String> {
    let rest = chars.as_str();
    let (inside, after) = rest.split_once('\'').ok_or("a single quote does not end")?;
    *chars = after.chars();
    Ok(inside.to_owned())
}

/// Reads up to a double quote; a backslash takes the special meaning from what follows, and the rest has none.
fn double_quoted(chars: &mut std::str::Chars<'_>, word: &mut String) -> Result<(), String> {
    while let Some(char) = chars.next() {
        match char {
            '"' => return Ok(()),
            '$' | '`' => {
                return Err(format!("there is no shell that knows {char:?}: put it into single quotes if it is meant"));
            }
            '\\' => match chars.next() {
                Some(next @ ('"' | '\\' | '$' | '`')) => word.push(next),
                Some(next) => word.extend(['\\', next]),
                None => break,
            },
            char => word.push(char),
        }
    }
    Err("a double quote does not end".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_are_split_as_a_shell_would() {
        let cases: [(&str, &[&str]); 12] = [
            ("npx -y server /srv", &["npx", "-y", "server", "/srv"]),
            ("  a\t b ", &["a", "b"]),
            ("a 'b c' d", &["a", "b c", "d"]),
            ("a \"b c\" d", &["a", "b c", "d"]),
            (r"a b\ c", &["a", "b c"]),
            ("--key='x y'z", &["--key=x yz"]),
            ("a ''", &["a", ""]),
            ("'$HOME' '*'", &["$HOME", "*"]),
            (r#""\"q\" \$ \n""#, &[r#""q" $ \n"#]),
            ("a~b c#d @scope/package", &["a~b", "c#d", "@scope/package"]),
            ("ä 'ö ü'", &["ä", "ö ü"]),
            ("", &[]),
        ];
        for (text, expected) in cases {
            assert_eq!(
                split(text).as_deref(),
                Ok(expected.iter().map(ToString::to_string).collect::<Vec<_>>().as_slice()),
                "{text}"
            );
        }
    }

    #[test]
    fn what_needs_a_shell_is_an_error() {
        for text in
            ["a $HOME", "a | b", "a && b", "a; b", "a > b", "a `b`", "a \"$B\"", "ls *", "~/server", "(a)", "a{b,c}"]
        {
            assert!(split(text).is_err_and(|error| error.contains("shell")), "{text}");
        }
        for text in ["a 'b", "a \"b", "a \\", "\"a\\"] {
            assert!(split(text).is_err(), "{text}");
        }
    }
}
