//! Names of declarative resources and of tenants.
//!
//! A name is a label that may stand in a URL path, a metric label and an MCP tool name prefix
//! without escaping: `^[a-z0-9][a-z0-9_-]{0,62}$`. The constructor checks it, so whoever holds a
//! [`ResourceName`] or [`TenantId`] need not check again. Clones are cheap: names are shared.

use std::fmt;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

/// The longest name in bytes: a DNS label (RFC 1035 §2.3.4), so that a name can become one.
pub const NAME_BYTES_MAX: usize = 63;

/// A text is not a name.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum InvalidName {
    /// It is empty.
    #[error("a name must not be empty")]
    Empty,
    /// It is longer than [`NAME_BYTES_MAX`].
    #[error("a name has at most {NAME_BYTES_MAX} characters, this one has {length}")]
    TooLong {
        /// Its length in bytes.
        length: usize,
    },
    /// It has a character that is not allowed where it stands.
    #[error(
        "character {found:?} at position {position} is not allowed: a name is lower-case letters, digits, `-` and `_`, and starts with a letter or digit"
    )]
    Character {
        /// The offending character.
        found: char,
        /// Its byte offset.
        position: usize,
    },
}

/// The name of a declarative resource, unique per kind in the cluster.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct ResourceName(Arc<str>);

/// The tenant that a resource, principal or session belongs to.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct TenantId(Arc<str>);

// === impl ResourceName ===

impl ResourceName {
    /// Checks `text` and makes it a name.
    ///
    /// # Errors
    /// [`InvalidName`] says what is wrong and where.
    pub fn new(text: &str) -> Result<Self, InvalidName> {
        check(text)?;
        Ok(Self(Arc::from(text)))
    }

    /// Returns the name's text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

// === impl TenantId ===

impl TenantId {
    /// The tenant of everything that names none.
    pub const DEFAULT: &'static str = "default";

    /// Checks `text` and makes it a tenant id.
    ///
    /// # Errors
    /// [`InvalidName`] says what is wrong and where.
    pub fn new(text: &str) -> Result<Self, InvalidName> {
        check(text)?;
        Ok(Self(Arc::from(text)))
    }

    /// Returns the id's text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Whether it is the operator's own: [`TenantId::DEFAULT`].
    #[must_use]
    pub fn is_operator(&self) -> bool {
        &*self.0 == Self::DEFAULT
    }

    /// The wall between tenants: whether this one uses what `owner` has, which is its own and what the operator has.
    #[must_use]
    pub fn reaches(&self, owner: &Self) -> bool {
        self == owner || owner.is_operator()
    }

    /// Whether callers of one of the two use what the other has: what somebody serves or trusts for a tenant is for
    /// the tenant's own, and for everybody where it is the operator's.
    #[must_use]
    pub fn meets(&self, other: &Self) -> bool {
        self.reaches(other) || other.reaches(self)
    }
}

impl Default for TenantId {
    fn default() -> Self {
        Self(Arc::from(Self::DEFAULT))
    }
}

macro_rules! text_newtype {
    ($name:ident) => {
        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, "{:?}", &*self.0)
            }
        }

        impl TryFrom<String> for $name {
            type Error = InvalidName;

            fn try_from(text: String) -> Result<Self, InvalidName> {
                Self::new(&text)
            }
        }

        impl From<$name> for String {
            fn from(name: $name) -> Self {
                name.0.as_ref().to_owned()
            }
        }
    };
}

text_newtype!(ResourceName);
text_newtype!(TenantId);

fn check(text: &str) -> Result<(), InvalidName> {
    if text.is_empty() {
        return Err(InvalidName::Empty);
    }
    if text.len() > NAME_BYTES_MAX {
        return Err(InvalidName::TooLong { length: text.len() });
    }
    let allowed = |position: usize, c: char| {
        c.is_ascii_lowercase() || c.is_ascii_digit() || (position > 0 && (c == '-' || c == '_'))
    };
    match text.char_indices().find(|&(position, c)| !allowed(position, c)) {
        Some((position, found)) => Err(InvalidName::Character { found, position }),
        None => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_checked_where_they_are_made() {
        let accepted = ["a", "0", "files", "my-files_2", &"x".repeat(63)];
        for text in accepted {
            assert_eq!(ResourceName::new(text).map(String::from), Ok(text.to_owned()));
        }

        assert_eq!(ResourceName::new(""), Err(InvalidName::Empty));
        assert_eq!(ResourceName::new(&"x".repeat(64)), Err(InvalidName::TooLong { length: 64 }));
        for (text, found, position) in [("-a", '-', 0), ("aB", 'B', 1), ("a.b", '.', 1), ("é", 'é', 0)] {
            assert_eq!(ResourceName::new(text), Err(InvalidName::Character { found, position }));
        }
    }

    #[test]
    fn a_tenant_reaches_its_own_and_the_operators_and_meets_whom_it_or_who_reaches_it() {
        let tenant = |text| TenantId::new(text).expect("a name");
        let table = [
            ("default", "default", true, true),
            ("acme", "acme", true, true),
            ("acme", "default", true, true),
            ("default", "acme", false, true),
            ("acme", "globex", false, false),
        ];
        for (one, other, reaches, meets) in table {
            assert_eq!(tenant(one).reaches(&tenant(other)), reaches, "{one} {other}");
            assert_eq!(tenant(one).meets(&tenant(other)), meets, "{one} {other}");
            assert_eq!(tenant(other).meets(&tenant(one)), meets, "{other} {one}");
        }
        assert!(TenantId::default().is_operator() && !tenant("acme").is_operator());
    }
}
