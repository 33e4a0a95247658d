//! A declarative resource as the cluster keeps it: a key, labels, and bytes.
//!
//! What the bytes mean is known where documents are compiled; here they are one canonical JSON object.

use std::fmt;
use std::sync::Arc;

use bytes::Bytes;
use quorate_types::{ResourceName, TenantId};

use crate::check::{self, Checked};
use crate::content::Content;
use crate::json;
use crate::limits::{DOCUMENT_BYTES_MAX, LABEL_VALUE_BYTES_MAX, LABELS_MAX, OVERHEAD_BYTES};
use crate::proto;
use crate::refusal::Refusal;

/// The longest name of a kind or label.
const NAME_BYTES_MAX: usize = 63;
/// The label that says where a document comes from.
pub(crate) const SOURCE: &str = "source";

/// Which document it is. Keys are ordered by kind, then tenant, then name. Clones are cheap.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct DocumentKey {
    kind: Arc<str>,
    tenant: TenantId,
    name: ResourceName,
}

/// The labels of a document, sorted by name. Clones are cheap.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Labels(Option<Arc<[(String, String)]>>);

/// A document at one revision.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Version {
    /// The revision that made it so.
    pub revision: u64,
    /// Its labels.
    pub labels: Labels,
    /// What it says.
    pub content: Content,
}

// === impl DocumentKey ===

impl DocumentKey {
    /// Checks the parts of a key.
    ///
    /// # Errors
    /// A [`Refusal`] names the part that is not valid.
    pub fn new(kind: &str, tenant: &str, name: &str) -> Result<Self, Refusal> {
        let capital = kind.as_bytes().first().is_some_and(u8::is_ascii_uppercase);
        if !capital || kind.len() > NAME_BYTES_MAX || !kind.bytes().all(|byte| byte.is_ascii_alphanumeric()) {
            let allowed = "1 to 63 letters and digits, the first a capital letter";
            return Err(Refusal::invalid("kind", kind.escape_debug(), allowed));
        }
        let (tenant, name) = (check::tenant("tenant", tenant)?, check::name("name", name)?);
        Ok(Self { kind: Arc::from(kind), tenant, name })
    }

    pub(crate) fn from_proto(key: Option<&proto::DocumentKey>) -> Checked<Self> {
        let key = key.ok_or_else(|| Refusal::invalid("key", "nothing", "a key"))?;
        Self::new(&key.kind, &key.tenant, &key.name)
    }

    /// Returns the message that says the same.
    #[must_use]
    pub fn to_proto(&self) -> proto::DocumentKey {
        proto::DocumentKey {
            kind: self.kind.as_ref().to_owned(),
            tenant: self.tenant.as_str().to_owned(),
            name: self.name.as_str().to_owned(),
        }
    }

    /// The kind of document.
    #[must_use]
    pub fn kind(&self) -> &str {
        &self.kind
    }

    /// Whose it is.
    #[must_use]
    pub const fn tenant(&self) -> &TenantId {
        &self.tenant
    }

    /// Its name, unique for kind and tenant.
    #[must_use]
    pub const fn name(&self) -> &ResourceName {
        &self.name
    }

    /// What it takes.
    pub(crate) fn bytes(&self) -> u64 {
        (self.kind.len() + self.tenant.as_str().len() + self.name.as_str().len()) as u64
    }
}

impl fmt::Display for DocumentKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}/{}", self.kind, self.tenant, self.name)
    }
}

impl fmt::Debug for DocumentKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "DocumentKey({self})")
    }
}

// === impl Labels ===

impl Labels {
    pub(crate) fn from_proto(labels: &[proto::Label]) -> Checked<Self> {
        if labels.len() > LABELS_MAX {
            return Err(Refusal::limit("labels", labels.len(), LABELS_MAX));
        }
        let mut all: Vec<(String, String)> = Vec::with_capacity(labels.len());
        for label in labels {
            check_name(&label.name)?;
            let value = check::line("labels.value", &label.value, LABEL_VALUE_BYTES_MAX)?;
            if all.last().is_some_and(|(last, _)| *last >= label.name) {
                return Err(Refusal::invalid("labels.name", &label.name, "a name after the one before it"));
            }
            all.push((label.name.clone(), value));
        }
        Ok(Self(Some(all).filter(|all| !all.is_empty()).map(Arc::from)))
    }

    pub(crate) fn to_proto(&self) -> Vec<proto::Label> {
        let label = |(name, value): (&str, &str)| proto::Label { name: name.to_owned(), value: value.to_owned() };
        self.iter().map(label).collect()
    }

    /// Names and values, sorted by name.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &str)> {
        self.0.iter().flat_map(|all| all.iter()).map(|(name, value)| (name.as_str(), value.as_str()))
    }

    /// The value of a label.
    #[must_use]
    pub fn get(&self, name: &str) -> Option<&str> {
        self.iter().find(|(there, _)| *there == name).map(|(_, value)| value)
    }

    fn bytes(&self) -> u64 {
        self.iter().map(|(name, value)| (name.len() + value.len()) as u64).sum()
    }
}

fn check_name(name: &str) -> Checked<()> {
    let first = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit();
    let allowed = |byte: u8| first(byte) || matches!(byte, b'.' | b'_' | b'/' | b'-');
    let good = name.as_bytes().first().is_some_and(|byte| first(*byte));
    if !good || name.len() > NAME_BYTES_MAX || !name.bytes().all(allowed) {
        let allowed = "1 to 63 lower-case letters, digits, `.`, `_`, `/` and `-`, the first a letter or digit";
        return Err(Refusal::invalid("labels.name", name.escape_debug(), allowed));
    }
    Ok(())
}

// === impl Version ===

impl Version {
    /// Whether two versions say the same.
    #[must_use]
    pub fn says_the_same(&self, other: &Self) -> bool {
        self.content == other.content && self.labels == other.labels
    }

    pub(crate) fn to_proto(&self) -> proto::Version {
        proto::Version {
            revision: self.revision,
            sha256: self.content.digest().0.to_vec().into(),
            labels: self.labels.to_proto(),
        }
    }

    /// What a document with this key takes.
    pub(crate) fn bytes(&self, key: &DocumentKey) -> u64 {
        OVERHEAD_BYTES + key.bytes() + self.labels.bytes() + self.content.len()
    }

    /// What a change takes beside the text.
    pub(crate) fn change_bytes(&self) -> u64 {
        self.labels.bytes()
    }
}

/// Checks what a document says, and takes bytes of its own of it.
pub(crate) fn content(data: &[u8]) -> Checked<Content> {
    if data.len() > DOCUMENT_BYTES_MAX {
        return Err(Refusal::limit("content", format_args!("{} bytes", data.len()), DOCUMENT_BYTES_MAX));
    }
    let refuse = |error: json::NotCanonical| {
        let value = format_args!("byte {}", error.at).to_string();
        Refusal::invalid("content", value, format_args!("canonical JSON: here {}", error.expected))
    };
    json::check(data).map_err(refuse)?;
    Ok(Content::new(Bytes::copy_from_slice(data)))
}
