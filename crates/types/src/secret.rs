//! A text that nobody sees.
//!
//! Tokens, passwords and keys travel as a [`Secret`]: neither `Debug` nor a serializer shows it, there is no `Display`,
//! and its memory is overwritten when it is dropped. Whoever needs the text says so by [`Secret::expose`].
//!
//! Copies that others make of the exposed text (a header, a request's body) are theirs to keep short. Equality is for
//! configurations: it takes as long as the texts agree, so that it is no check of what a stranger presents.

use std::fmt;

use zeroize::Zeroizing;

/// A text that is never shown.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(Zeroizing<Box<str>>);

// === impl Secret ===

impl Secret {
    /// Hides a text.
    #[must_use]
    pub fn new(text: impl Into<Box<str>>) -> Self {
        Self(Zeroizing::new(text.into()))
    }

    /// Returns the text, for the one place that needs it.
    #[must_use]
    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("(hidden)")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_secret_is_shown_by_no_form_of_debug() {
        let secret = Secret::new("hunter2");
        for shown in [format!("{secret:?}"), format!("{secret:#?}"), format!("{:?}", Some(&secret))] {
            assert!(shown.contains("(hidden)") && !shown.contains("hunter2"), "{shown}");
        }
        assert_eq!(secret.expose(), "hunter2");
    }

    #[test]
    fn secrets_are_equal_when_their_texts_are() {
        assert_eq!(Secret::new("a"), Secret::new("a".to_owned()));
        assert_ne!(Secret::new("a"), Secret::new("b"));
    }
}
