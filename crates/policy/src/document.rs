//! What is compiled: documents of policies, and what each says of the arguments that it reads.
//!
//! A document is one `Policy` resource: Cedar text of a tenant, with the types of the tool arguments that its policies
//! read. Whether it is enforced or only watched is the document's, not the policy's: a rule is tried in a document of
//! its own before it counts.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

use quorate_types::{ResourceName, TenantId};

/// A document of policies.
#[derive(Clone, Debug)]
pub struct Document {
    /// The resource's name, unique among all documents.
    pub name: ResourceName,
    /// Whose callers it is about: those of this tenant, or everybody for the operator's own, `default`.
    pub tenant: TenantId,
    /// The policies, as Cedar text.
    pub text: String,
    /// The arguments of tools that the policies read, as `context.arguments`.
    pub arguments: BTreeMap<String, ArgumentType>,
    /// Whether it counts.
    pub mode: Mode,
}

/// Whether a document counts.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Mode {
    /// Its policies decide.
    #[default]
    Enforce,
    /// Its policies decide nothing; what its `forbid`s would deny is told ([`Decision::would_deny`]).
    ///
    /// [`Decision::would_deny`]: crate::Decision::would_deny
    DryRun,
}

/// The type of an argument of a tool, as a policy sees it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum ArgumentType {
    /// A text.
    String,
    /// A whole number of 64 bits.
    Integer,
    /// A number with at most 4 decimal digits, as Cedar's `decimal`.
    Number,
    /// True or false.
    Boolean,
    /// A list of texts, as a set.
    Strings,
}

/// A policy, as it is named in decisions, logs and audit records.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct PolicyRef {
    /// The document that it is in.
    pub document: ResourceName,
    /// Its `@id`, or `policyN` when it has none and is the Nth of its document.
    pub id: Arc<str>,
}

// === impl Mode ===

impl Mode {
    /// Returns the mode's name in documents.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Enforce => "enforce",
            Self::DryRun => "dry-run",
        }
    }
}

// === impl ArgumentType ===

impl ArgumentType {
    /// All types.
    pub const ALL: [Self; 5] = [Self::String, Self::Integer, Self::Number, Self::Boolean, Self::Strings];

    /// Returns the type's name in documents.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::String => "string",
            Self::Integer => "integer",
            Self::Number => "number",
            Self::Boolean => "boolean",
            Self::Strings => "strings",
        }
    }

    /// The type in Cedar.
    pub(crate) const fn cedar(self) -> &'static str {
        match self {
            Self::String => "String",
            Self::Integer => "Long",
            Self::Number => "decimal",
            Self::Boolean => "Bool",
            Self::Strings => "Set<String>",
        }
    }

    /// What a call has to send, for the schema's page.
    pub(crate) const fn meaning(self) -> &'static str {
        match self {
            Self::String => "a string",
            Self::Integer => "a number without a fraction, of 64 bits",
            Self::Number => "a number with at most 4 decimal digits",
            Self::Boolean => "`true` or `false`",
            Self::Strings => "an array of strings; order and repetition are not seen",
        }
    }
}

// === impl PolicyRef ===

impl fmt::Display for PolicyRef {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.document, self.id)
    }
}

impl fmt::Debug for PolicyRef {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{self}")
    }
}
