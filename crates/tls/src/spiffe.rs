//! SPIFFE ids: the names of workloads, `spiffe://trust-domain/path`.
//!
//! In flows text of a stranger, out flow names that are safe to log, to compare byte by byte and to look up. Strict where
//! the standard is: what is not exactly its character set is refused, and nothing is normalised, so that two spellings
//! are never one workload. Knows nothing of certificates.
//!
//! SPIFFE-ID §2: a trust domain has the letters `a-z`, digits, `.`, `-` and `_`; path segments have capitals as well,
//! are not empty and not `.` or `..`; there is no port, user, query, fragment, percent-encoding or trailing slash.

use std::borrow::Borrow;
use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

/// Longest id in bytes, its scheme included (SPIFFE-ID §2.3).
pub const SPIFFE_ID_BYTES_MAX: usize = 2048;
/// Longest trust domain in bytes (SPIFFE-ID §2.3, RFC 3986 §3.2.2).
pub const TRUST_DOMAIN_BYTES_MAX: usize = 255;

/// How each id begins. Another scheme, also `SPIFFE:`, is another name.
const PREFIX: &str = "spiffe://";

/// The name of a workload, or with an empty path of a trust domain itself; cheap to clone.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct SpiffeId {
    text: Arc<str>,
    /// Where the path begins in the text.
    path_at: usize,
}

/// The name of a trust domain, as it stands in ids; cheap to clone.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct TrustDomain(Arc<str>);

/// Why a text is no SPIFFE id or no trust domain.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum InvalidSpiffeId {
    /// It is longer than any id.
    #[error("has {bytes} bytes, more than {SPIFFE_ID_BYTES_MAX}")]
    TooLong {
        /// Its length.
        bytes: usize,
    },
    /// It begins otherwise.
    #[error("does not begin with `{PREFIX}`")]
    Scheme,
    /// It has no trust domain.
    #[error("has no trust domain")]
    NoTrustDomain,
    /// Its trust domain is longer than any host.
    #[error("has a trust domain of {bytes} bytes, more than {TRUST_DOMAIN_BYTES_MAX}")]
    TrustDomainTooLong {
        /// The trust domain's length.
        bytes: usize,
    },
    /// The trust domain has a character that it must not have: capitals, a port and a user among them.
    #[error("has {character:?} in its trust domain, which consists of a-z, 0-9, `.`, `-` and `_`")]
    TrustDomainCharacter {
        /// The first such character.
        character: char,
    },
    /// The path has a character that it must not have: a query, a fragment and percent-encoding among them.
    #[error("has {character:?} in its path, whose segments consist of a-z, A-Z, 0-9, `.`, `-` and `_`")]
    PathCharacter {
        /// The first such character.
        character: char,
    },
    /// The path has `//` or ends with `/`.
    #[error("has an empty path segment or a trailing slash")]
    EmptySegment,
    /// The path has a segment that means a step and no name.
    #[error("has a path segment that is `.` or `..`")]
    DotSegment,
}

// === impl SpiffeId ===

impl SpiffeId {
    /// Reads an id.
    ///
    /// # Errors
    /// [`InvalidSpiffeId`] says what the standard does not allow.
    pub fn parse(text: &str) -> Result<Self, InvalidSpiffeId> {
        if text.len() > SPIFFE_ID_BYTES_MAX {
            return Err(InvalidSpiffeId::TooLong { bytes: text.len() });
        }
        let rest = text.strip_prefix(PREFIX).ok_or(InvalidSpiffeId::Scheme)?;
        let (domain, path) = rest.find('/').map_or((rest, ""), |at| rest.split_at(at));
        check_trust_domain(domain)?;
        check_path(path)?;
        Ok(Self { text: text.into(), path_at: PREFIX.len() + domain.len() })
    }

    /// Returns the whole id.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// Returns the trust domain.
    #[must_use]
    pub fn trust_domain(&self) -> &str {
        &self.text[PREFIX.len()..self.path_at]
    }

    /// Returns the path with its leading slash; empty when the id names the trust domain itself.
    #[must_use]
    pub fn path(&self) -> &str {
        &self.text[self.path_at..]
    }
}

impl FromStr for SpiffeId {
    type Err = InvalidSpiffeId;

    fn from_str(text: &str) -> Result<Self, InvalidSpiffeId> {
        Self::parse(text)
    }
}

impl fmt::Display for SpiffeId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl fmt::Debug for SpiffeId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

// === impl TrustDomain ===

impl TrustDomain {
    /// Reads the name of a trust domain, without a scheme.
    ///
    /// # Errors
    /// [`InvalidSpiffeId`] when it is empty, too long, or has a character that it must not have.
    pub fn parse(text: &str) -> Result<Self, InvalidSpiffeId> {
        check_trust_domain(text)?;
        Ok(Self(text.into()))
    }

    /// Returns the name.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for TrustDomain {
    type Err = InvalidSpiffeId;

    fn from_str(text: &str) -> Result<Self, InvalidSpiffeId> {
        Self::parse(text)
    }
}

impl Borrow<str> for TrustDomain {
    fn borrow(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for TrustDomain {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for TrustDomain {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

fn check_trust_domain(text: &str) -> Result<(), InvalidSpiffeId> {
    let is_allowed = |c: char| matches!(c, 'a'..='z' | '0'..='9' | '.' | '-' | '_');
    match text.chars().find(|c| !is_allowed(*c)) {
        Some(character) => Err(InvalidSpiffeId::TrustDomainCharacter { character }),
        None if text.is_empty() => Err(InvalidSpiffeId::NoTrustDomain),
        None if text.len() > TRUST_DOMAIN_BYTES_MAX => Err(InvalidSpiffeId::TrustDomainTooLong { bytes: text.len() }),
        None => Ok(()),
    }
}

/// Checks a path that is empty or begins with a slash.
fn check_path(path: &str) -> Result<(), InvalidSpiffeId> {
    for segment in path.split('/').skip(1) {
        let is_allowed = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '-' | '_');
        match segment {
            "" => return Err(InvalidSpiffeId::EmptySegment),
            "." | ".." => return Err(InvalidSpiffeId::DotSegment),
            _ => {}
        }
        if let Some(character) = segment.chars().find(|c| !is_allowed(*c)) {
            return Err(InvalidSpiffeId::PathCharacter { character });
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn ids_that_the_standard_allows_are_taken_apart() {
        let long = format!("spiffe://d/{}", "p".repeat(SPIFFE_ID_BYTES_MAX - "spiffe://d/".len()));
        let wide = format!("spiffe://{}/p", "d".repeat(TRUST_DOMAIN_BYTES_MAX));
        let cases = [
            ("spiffe://staging.example.com/payments/mysql", "staging.example.com", "/payments/mysql"),
            ("spiffe://k8s-west.example.com/ns/staging/sa/default", "k8s-west.example.com", "/ns/staging/sa/default"),
            (
                "spiffe://example.com/9eebccd2-12bf-40a6-b262-65fe0487d453",
                "example.com",
                "/9eebccd2-12bf-40a6-b262-65fe0487d453",
            ),
            ("spiffe://example.com", "example.com", ""),
            ("spiffe://under_score-1.example/A.b_c-9", "under_score-1.example", "/A.b_c-9"),
            ("spiffe://1.2.3.4/service", "1.2.3.4", "/service"),
            ("spiffe://d/...", "d", "/..."),
            ("spiffe://d/..a/.b/c.", "d", "/..a/.b/c."),
            (long.as_str(), "d", &long["spiffe://d".len()..]),
            (wide.as_str(), &wide["spiffe://".len()..wide.len() - 2], "/p"),
        ];
        for (text, domain, path) in cases {
            let id = SpiffeId::parse(text).unwrap();
            assert_eq!((id.as_str(), id.trust_domain(), id.path()), (text, domain, path));
            assert_eq!(TrustDomain::parse(domain).unwrap().as_str(), domain);
        }
    }

    #[test]
    fn texts_that_are_no_ids_are_refused_with_the_reason() {
        use InvalidSpiffeId as Bad;

        let long = format!("spiffe://d/{}", "p".repeat(SPIFFE_ID_BYTES_MAX));
        let wide = format!("spiffe://{}/p", "d".repeat(TRUST_DOMAIN_BYTES_MAX + 1));
        let cases = [
            ("", Bad::Scheme),
            ("d/p", Bad::Scheme),
            ("https://d/p", Bad::Scheme),
            ("spiffe:d/p", Bad::Scheme),
            ("spiffe:/d/p", Bad::Scheme),
            ("SPIFFE://d/p", Bad::Scheme),
            ("Spiffe://d/p", Bad::Scheme),
            (" spiffe://d/p", Bad::Scheme),
            ("spiffes://d/p", Bad::Scheme),
            ("spiffe://", Bad::NoTrustDomain),
            ("spiffe:///p", Bad::NoTrustDomain),
            ("spiffe://D/p", Bad::TrustDomainCharacter { character: 'D' }),
            ("spiffe://user@d/p", Bad::TrustDomainCharacter { character: '@' }),
            ("spiffe://d:8443/p", Bad::TrustDomainCharacter { character: ':' }),
            ("spiffe://d:/p", Bad::TrustDomainCharacter { character: ':' }),
            ("spiffe://[::1]/p", Bad::TrustDomainCharacter { character: '[' }),
            ("spiffe://d?q", Bad::TrustDomainCharacter { character: '?' }),
            ("spiffe://d#f", Bad::TrustDomainCharacter { character: '#' }),
            ("spiffe://d%2e/p", Bad::TrustDomainCharacter { character: '%' }),
            ("spiffe://dömain/p", Bad::TrustDomainCharacter { character: 'ö' }),
            ("spiffe://d\0/p", Bad::TrustDomainCharacter { character: '\0' }),
            ("spiffe://d/", Bad::EmptySegment),
            ("spiffe://d/p/", Bad::EmptySegment),
            ("spiffe://d//p", Bad::EmptySegment),
            ("spiffe://d/.", Bad::DotSegment),
            ("spiffe://d/p/../q", Bad::DotSegment),
            ("spiffe://d/p/./q", Bad::DotSegment),
            ("spiffe://d/p?q=1", Bad::PathCharacter { character: '?' }),
            ("spiffe://d/p#f", Bad::PathCharacter { character: '#' }),
            ("spiffe://d/%70", Bad::PathCharacter { character: '%' }),
            ("spiffe://d/p p", Bad::PathCharacter { character: ' ' }),
            ("spiffe://d/p\n", Bad::PathCharacter { character: '\n' }),
            ("spiffe://d/a*", Bad::PathCharacter { character: '*' }),
            ("spiffe://d/ä", Bad::PathCharacter { character: 'ä' }),
            (long.as_str(), Bad::TooLong { bytes: long.len() }),
            (wide.as_str(), Bad::TrustDomainTooLong { bytes: TRUST_DOMAIN_BYTES_MAX + 1 }),
        ];
        for (text, reason) in cases {
            assert_eq!(SpiffeId::parse(text), Err(reason), "{text:?}");
        }
        assert_eq!(TrustDomain::parse(""), Err(Bad::NoTrustDomain));
        assert_eq!(TrustDomain::parse("d/p"), Err(Bad::TrustDomainCharacter { character: '/' }));
    }

    proptest! {
        #[test]
        fn parsing_what_was_built_gives_the_parts(
            domain in "[a-z0-9._-]{1,40}",
            segments in proptest::collection::vec("[a-zA-Z0-9_-][a-zA-Z0-9._-]{0,20}", 0..6),
        ) {
            let path: String = segments.iter().map(|segment| format!("/{segment}")).collect();
            let id = SpiffeId::parse(&format!("spiffe://{domain}{path}")).unwrap();
            prop_assert_eq!((id.trust_domain(), id.path()), (domain.as_str(), path.as_str()));
        }

        #[test]
        fn what_parses_is_its_parts_and_safe_to_print(text in "(spiffe://)?[a-zA-Z./:@?#%_ é-]{0,40}") {
            if let Ok(id) = SpiffeId::parse(&text) {
                prop_assert_eq!(format!("spiffe://{}{}", id.trust_domain(), id.path()), text.clone());
                prop_assert!(text.bytes().all(|byte| byte.is_ascii_graphic()));
                prop_assert!(TrustDomain::parse(id.trust_domain()).is_ok());
                prop_assert!(!id.path().ends_with('/') && !id.path().contains("//"));
            }
        }
    }
}
