//! The revisions of the protocol and the two eras they fall into.
//!
//! A revision is named by its date. *Legacy* revisions open a session with `initialize`; *modern*
//! ones (2026-07-28) carry version, identity and capabilities in every request. What differs
//! between revisions in detail is in [`crate::dialect`].
//!
//! Specification: `basic/versioning` of 2026-07-28, `basic/lifecycle` of the earlier ones.

use std::fmt;

/// A revision that Quorate speaks, oldest first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Version {
    /// 2024-11-05: HTTP+SSE.
    V2024_11_05,
    /// 2025-03-26: streamable HTTP, batches.
    V2025_03_26,
    /// 2025-06-18: no batches, the version header, elicitation.
    V2025_06_18,
    /// 2025-11-25: resumable polling, core tasks.
    V2025_11_25,
    /// 2026-07-28: stateless.
    V2026_07_28,
}

/// How a revision treats state.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Era {
    /// A session, opened by `initialize` (2025-11-25 and earlier).
    Legacy,
    /// Every request stands alone (2026-07-28 and later).
    Modern,
}

// === impl Version ===

impl Version {
    /// All revisions, newest first: the order in which they are offered.
    pub const ALL: [Self; 5] =
        [Self::V2026_07_28, Self::V2025_11_25, Self::V2025_06_18, Self::V2025_03_26, Self::V2024_11_05];
    /// The newest revision that is opened by `initialize`.
    pub const LATEST_LEGACY: Self = Self::V2025_11_25;
    /// The newest revision.
    pub const LATEST: Self = Self::V2026_07_28;
    /// What a request in a session without the version header speaks (2025-06-18 `basic/transports`).
    pub const ASSUMED: Self = Self::V2025_03_26;

    /// Returns the revision that `text` names, if it is one of ours.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|version| version.as_str() == text)
    }

    /// Returns the revision's name.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::V2024_11_05 => "2024-11-05",
            Self::V2025_03_26 => "2025-03-26",
            Self::V2025_06_18 => "2025-06-18",
            Self::V2025_11_25 => "2025-11-25",
            Self::V2026_07_28 => "2026-07-28",
        }
    }

    /// Returns the revision's era.
    #[must_use]
    pub const fn era(self) -> Era {
        match self {
            Self::V2024_11_05 | Self::V2025_03_26 | Self::V2025_06_18 | Self::V2025_11_25 => Era::Legacy,
            Self::V2026_07_28 => Era::Modern,
        }
    }

    /// Decides what an `initialize` that asks for `requested` gets: the same revision when it is a
    /// legacy one of ours, else the newest legacy one, which the client may decline.
    #[must_use]
    pub fn negotiate(requested: &str) -> Self {
        Self::parse(requested).filter(|version| version.era() == Era::Legacy).unwrap_or(Self::LATEST_LEGACY)
    }

    /// Returns the names of all revisions, newest first, as a JSON array: what `server/discover`
    /// and an unsupported-version error list.
    #[must_use]
    pub const fn supported_json() -> &'static str {
        r#"["2026-07-28","2025-11-25","2025-06-18","2025-03-26","2024-11-05"]"#
    }
}

impl fmt::Display for Version {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

// === impl Era ===

impl Era {
    /// Returns the era's name in labels and messages.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Legacy => "legacy",
            Self::Modern => "modern",
        }
    }
}

impl fmt::Display for Era {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_revision_parses_from_its_name_and_nothing_else_does() {
        for version in Version::ALL {
            assert_eq!(Version::parse(version.as_str()), Some(version));
        }
        for text in ["", "2024-10-07", "2026-07-28 ", "v2026-07-28", "DRAFT", "2025-06-17"] {
            assert_eq!(Version::parse(text), None, "{text:?}");
        }
    }

    #[test]
    fn negotiation_answers_with_a_legacy_revision() {
        let cases = [
            ("2024-11-05", Version::V2024_11_05),
            ("2025-11-25", Version::V2025_11_25),
            ("2026-07-28", Version::V2025_11_25),
            ("2024-10-07", Version::V2025_11_25),
            ("", Version::V2025_11_25),
        ];
        for (requested, expected) in cases {
            assert_eq!(Version::negotiate(requested), expected, "{requested}");
        }
    }

    #[test]
    fn the_listed_versions_are_all_of_them() {
        let listed: Vec<String> = serde_json::from_str(Version::supported_json()).expect("a JSON array");
        assert_eq!(listed, Version::ALL.map(|version| version.as_str().to_owned()));
    }
}
