//! Secrets of a source, as resources name them.
//!
//! A source says where a secret is, which is said in the way of resources; or it has the secret itself, which is not written unless that was
//! asked for: then a variable is named for it, the same for the same secret, and noted.

use std::collections::BTreeMap;

use super::notes::Notes;

/// What comes before the name of a variable that is made up: no source has it.
const PREFIX: &str = "QUORATE_";

/// How a source names a variable.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Syntax {
    /// `os.environ/NAME`.
    OsEnviron,
    /// `$NAME` or `${NAME}`.
    Dollar,
}

/// How secrets are written, and the variables that stand for those that are not.
#[derive(Debug)]
pub(super) struct Secrets {
    syntax: Syntax,
    are_kept: bool,
    /// The variables, by the secrets that they stand for.
    variables: BTreeMap<String, String>,
}

// === impl Syntax ===

impl Syntax {
    /// The variable that a text stands for.
    pub(super) fn variable(self, text: &str) -> Option<&str> {
        let name = match self {
            Self::OsEnviron => text.strip_prefix("os.environ/")?,
            Self::Dollar => {
                let rest = text.strip_prefix('$')?;
                rest.strip_prefix('{').and_then(|rest| rest.strip_suffix('}')).unwrap_or(rest)
            }
        };
        let is_one = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'_';
        (!name.is_empty() && name.bytes().all(is_one)).then_some(name)
    }
}

// === impl Secrets ===

impl Secrets {
    pub(super) const fn new(syntax: Syntax, are_kept: bool) -> Self {
        Self { syntax, are_kept, variables: BTreeMap::new() }
    }

    /// The variable that a text stands for.
    pub(super) fn variable<'t>(&self, text: &'t str) -> Option<&'t str> {
        self.syntax.variable(text)
    }

    /// Whether secrets are written in clear.
    pub(super) const fn are_kept(&self) -> bool {
        self.are_kept
    }

    /// What is written for the secret at a place; `wanted` is what a variable would be called like.
    pub(super) fn write(&mut self, text: &str, at: &str, wanted: &str, notes: &mut Notes) -> String {
        if let Some(name) = self.syntax.variable(text) {
            return format!("env:{name}");
        }
        if self.are_kept {
            if text.starts_with("env:") || text.starts_with("file:") {
                notes
                    .say(at, "it begins as the name of a place does, and would be read as one: put it into a variable");
            }
            return text.to_owned();
        }
        if let Some(name) = self.variables.get(text) {
            return format!("env:{name}");
        }
        let wanted: String = wanted
            .chars()
            .map(|each| if each.is_ascii_alphanumeric() { each.to_ascii_uppercase() } else { '_' })
            .collect();
        let names = (1_u32..).map(|number| match number {
            1 => format!("{PREFIX}{wanted}"),
            _ => format!("{PREFIX}{wanted}_{number}"),
        });
        let mut names = names.into_iter();
        let name = names.find(|name| !self.variables.values().any(|taken| taken == name)).expect("numbers have no end");
        notes.say(
            at,
            format!(
                "a secret in clear is not written: put it into the variable {name} of the node, or use `--with-secrets`"
            ),
        );
        self.variables.insert(text.to_owned(), name.clone());
        format!("env:{name}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_secret_is_named_and_not_written() {
        let (mut secrets, mut notes) = (Secrets::new(Syntax::OsEnviron, false), Notes::default());

        assert_eq!(secrets.write("os.environ/A_1", "a", "x", &mut notes), "env:A_1");
        assert_eq!(notes.len(), 0);
        assert_eq!(secrets.write("s3cret", "b", "groq key", &mut notes), "env:QUORATE_GROQ_KEY");
        assert_eq!(secrets.write("s3cret", "c", "other", &mut notes), "env:QUORATE_GROQ_KEY");
        assert_eq!(secrets.write("s3cret 2", "d", "groq key", &mut notes), "env:QUORATE_GROQ_KEY_2");
        assert_eq!(secrets.write("os.environ/no name", "e", "x", &mut notes), "env:QUORATE_X");
        assert!(!notes.text().contains("s3cret") && notes.len() == 3, "{}", notes.text());
    }

    #[test]
    fn a_secret_is_written_where_that_was_asked_for() {
        let (mut secrets, mut notes) = (Secrets::new(Syntax::Dollar, true), Notes::default());

        assert_eq!(secrets.write("s3cret", "a", "x", &mut notes), "s3cret");
        assert_eq!(secrets.write("${KEY}", "a", "x", &mut notes), "env:KEY");
        assert_eq!(secrets.write("$KEY", "a", "x", &mut notes), "env:KEY");
        assert_eq!(notes.len(), 0);
        secrets.write("env:KEY", "a", "x", &mut notes);
        assert_eq!(notes.len(), 1);
    }
}
