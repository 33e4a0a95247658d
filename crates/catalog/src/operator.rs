//! A certificate of somebody who operates the cluster: that it was issued, and whether it was taken back.
//!
//! Its private key is nowhere. One that ended is kept for a while, and longer when it was taken back, because clocks differ: it
//! is good wherever a clock is behind, and must stay refused there. What certificates say beside this, and what a role may do, is not known here.

use std::fmt;

use bytes::Bytes;
use quorate_types::{ResourceName, Timestamp};

use crate::check::{self, Checked, Hex};
use crate::limits::{AUTHOR_BYTES_MAX, OPERATORS_KEPT_FOR, SERIAL_BYTES_MAX};
use crate::proto;
use crate::refusal::Refusal;

/// Which certificate: the SHA-256 of its public key (SubjectPublicKeyInfo in DER). Each has a key of its own; and not of the
/// certificate, whose signature anybody can make another one of that is as good (ECDSA).
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct OperatorId(pub [u8; 32]);

/// A certificate of an operator.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Operator {
    /// Which one.
    pub id: OperatorId,
    /// Its serial number; empty for one that was taken back and never listed.
    pub serial: Bytes,
    /// Whose it is; none for one that was never listed.
    pub name: Option<ResourceName>,
    /// What its holder may do; none for one that was never listed.
    pub role: Option<ResourceName>,
    /// When it ends, at the latest.
    pub expires_at: Timestamp,
    /// Who asked for it, or took it back where it was never listed.
    pub created_by: String,
    /// Since when it is listed.
    pub created_at: Timestamp,
    /// When it was taken back.
    pub revoked_at: Option<Timestamp>,
}

// === impl Operator ===

impl Operator {
    pub(crate) fn issued(issue: &proto::IssueOperator, now: Timestamp) -> Checked<Self> {
        let named = |field: &str, text: &str| check::name(field, text).map(Some);
        Ok(Self {
            id: OperatorId(check::array("fingerprint", &issue.fingerprint)?),
            serial: serial(&issue.serial)?,
            name: named("name", &issue.name)?,
            role: named("role", &issue.role)?,
            expires_at: ends(issue.expires_at, now)?,
            created_by: check::line("created_by", &issue.created_by, AUTHOR_BYTES_MAX)?,
            created_at: now,
            revoked_at: None,
        })
    }

    /// One that was never listed, as it is taken back.
    pub(crate) fn unlisted(id: OperatorId, revoke: &proto::RevokeOperator, now: Timestamp) -> Checked<Self> {
        Ok(Self {
            id,
            serial: Bytes::new(),
            name: None,
            role: None,
            expires_at: ends(revoke.expires_at, now)?,
            created_by: check::line("revoked_by", &revoke.revoked_by, AUTHOR_BYTES_MAX)?,
            created_at: now,
            revoked_at: Some(now),
        })
    }

    pub(crate) fn from_proto(operator: &proto::Operator) -> Checked<Self> {
        let named = |field: &str, text: &str| {
            Some(text).filter(|text| !text.is_empty()).map(|text| check::name(field, text)).transpose()
        };
        Ok(Self {
            id: OperatorId(check::array("fingerprint", &operator.fingerprint)?),
            serial: serial(&operator.serial)?,
            name: named("name", &operator.name)?,
            role: named("role", &operator.role)?,
            expires_at: Timestamp::from_millis(operator.expires_at),
            created_by: check::line("created_by", &operator.created_by, AUTHOR_BYTES_MAX)?,
            created_at: Timestamp::from_millis(operator.created_at),
            revoked_at: operator.revoked_at.map(Timestamp::from_millis),
        })
    }

    pub(crate) fn to_proto(&self) -> proto::Operator {
        let text = |name: &Option<ResourceName>| name.as_ref().map(ToString::to_string).unwrap_or_default();
        proto::Operator {
            fingerprint: self.id.0.to_vec().into(),
            serial: self.serial.clone(),
            name: text(&self.name),
            role: text(&self.role),
            expires_at: self.expires_at.as_millis(),
            created_by: self.created_by.clone(),
            created_at: self.created_at.as_millis(),
            revoked_at: self.revoked_at.map(Timestamp::as_millis),
        }
    }

    /// Whether it is kept no more: not what was taken back, which would be good again by a clock that is behind.
    pub(crate) fn is_forgotten(&self, now: Timestamp) -> bool {
        self.revoked_at.is_none() && self.has_ended_everywhere(now)
    }

    /// Whether it has ended by every clock that is not far off.
    pub(crate) fn has_ended_everywhere(&self, now: Timestamp) -> bool {
        self.expires_at + OPERATORS_KEPT_FOR <= now
    }

    /// Whether its holder is taken.
    pub(crate) fn is_good(&self, now: Timestamp) -> bool {
        self.revoked_at.is_none() && self.expires_at > now
    }
}

fn serial(bytes: &[u8]) -> Checked<Bytes> {
    if bytes.len() > SERIAL_BYTES_MAX {
        return Err(Refusal::limit("serial", format_args!("{} bytes", bytes.len()), SERIAL_BYTES_MAX));
    }
    Ok(Bytes::copy_from_slice(bytes))
}

fn ends(expires_at: u64, now: Timestamp) -> Checked<Timestamp> {
    let at = Timestamp::from_millis(expires_at);
    if at > now {
        return Ok(at);
    }
    let allowed = format_args!("later than {}, the time of the log", now.as_millis());
    Err(Refusal::invalid("expires_at", expires_at, allowed))
}

// === impl OperatorId ===

impl fmt::Display for OperatorId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        Hex(&self.0).fmt(f)
    }
}

impl fmt::Debug for OperatorId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "OperatorId({self})")
    }
}
