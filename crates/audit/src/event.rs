//! What is recorded: who did or tried what, and what decided.
//!
//! Every text is bounded ([`Text`]), so an event has a largest size. There is no place in it for payloads, arguments,
//! tokens or keys: a credential is named by its visible id or its issuer.

use std::net::SocketAddr;

use quorate_types::{Principal, TenantId};
use serde::Serialize;

use crate::text::Text;

/// Names of resources that one change lists; the rest is counted.
pub const NAMES_MAX: usize = 16;

/// Something that happened and is to be recorded.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum Event {
    /// A known caller was not allowed something.
    Denied(Decision),
    /// A policy on trial would have denied something that was allowed.
    WouldDeny(Decision),
    /// Nobody was identified, although a credential was presented or asked for.
    AuthenticationFailed(Failure),
    /// What the node runs with was changed (resources, certificates, trust, keys), or a change was refused.
    AdminChange(Change),
    /// A definition or content was held back.
    Quarantined(Decision),
}

/// The kind of an event, for rates and counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Class {
    /// [`Event::Denied`].
    Denied,
    /// [`Event::WouldDeny`].
    WouldDeny,
    /// [`Event::AuthenticationFailed`].
    AuthenticationFailed,
    /// [`Event::AdminChange`].
    AdminChange,
    /// [`Event::Quarantined`].
    Quarantined,
}

/// A caller.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Who {
    /// Its tenant.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tenant: Option<TenantId>,
    /// The agent, as policies name it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub agent: Option<Text>,
    /// The user, as policies name it: `ISSUER/SUBJECT`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub user: Option<Text>,
}

/// From where something came.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Origin {
    /// The address at the other end of the connection.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub peer: Option<SocketAddr>,
    /// The id of the trace (32 hexadecimal digits), by which logs and spans are found.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub trace: Option<Text>,
}

/// What was decided about one operation.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Decision {
    /// Who asked.
    #[serde(flatten)]
    pub who: Who,
    /// What names the credentials that said so without being them, as in [`Failure::credential`].
    #[serde(skip_serializing_if = "Option::is_none")]
    pub credential: Option<Text>,
    /// The operation, as policies name it (`mcp:call`).
    pub action: Text,
    /// What it was to be done to (`Tool::"files/read"`).
    pub resource: Text,
    /// The policy that decided; none where nothing allowed it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub policy: Option<Text>,
    /// Why, as a label or a short sentence of ours.
    pub reason: Text,
    /// From where it was asked.
    #[serde(flatten)]
    pub origin: Origin,
}

/// A caller that was not identified.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Failure {
    /// The class of the failure: the label that metrics have.
    pub reason: &'static str,
    /// What was presented: `api_key`, `token`, `certificate`, `several`, `none`.
    pub method: &'static str,
    /// What names the credential without being it: the document and id of an API key, the issuer of a token, the SPIFFE
    /// id that a certificate claims. None where it is of nobody that the node knows.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub credential: Option<Text>,
    /// The listener or toolset that it was presented to.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub at: Option<Text>,
    /// From where.
    #[serde(flatten)]
    pub origin: Origin,
}

/// A change of what the node runs with.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Change {
    /// Where it came from: an operator, or the kind of files.
    pub by: Text,
    /// What became of it: `applied`, `refused`.
    pub outcome: &'static str,
    /// Which file, or files, where it is about these and not about a set of resources.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub file: Option<Text>,
    /// What is different in it, or why it was refused.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub detail: Option<Text>,
    /// Resources that were not there before.
    #[serde(skip_serializing_if = "Names::is_empty")]
    pub added: Names,
    /// Resources that are there with another content.
    #[serde(skip_serializing_if = "Names::is_empty")]
    pub changed: Names,
    /// Resources that are there no longer.
    #[serde(skip_serializing_if = "Names::is_empty")]
    pub removed: Names,
}

/// Some names of many, and how many there are.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Names {
    /// How many there are.
    pub total: usize,
    /// The first [`NAMES_MAX`], as `Kind/name`.
    names: Vec<Text>,
}

/// Within a class, who shares a rate.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) enum Lane {
    /// The events of a tenant.
    Tenant(TenantId),
    /// Events without a tenant, by their reason.
    Reason(&'static str),
    /// All others.
    Others,
}

// === impl Event ===

impl Event {
    /// Returns the class of this event.
    #[must_use]
    pub const fn class(&self) -> Class {
        match self {
            Self::Denied(_) => Class::Denied,
            Self::WouldDeny(_) => Class::WouldDeny,
            Self::AuthenticationFailed(_) => Class::AuthenticationFailed,
            Self::AdminChange(_) => Class::AdminChange,
            Self::Quarantined(_) => Class::Quarantined,
        }
    }

    pub(crate) fn lane(&self) -> Lane {
        match self {
            Self::Denied(decision) | Self::WouldDeny(decision) | Self::Quarantined(decision) => {
                decision.who.tenant.clone().map_or(Lane::Others, Lane::Tenant)
            }
            Self::AuthenticationFailed(failure) => Lane::Reason(failure.reason),
            Self::AdminChange(_) => Lane::Others,
        }
    }
}

// === impl Class ===

impl Class {
    /// All classes.
    pub const ALL: [Self; 5] =
        [Self::Denied, Self::WouldDeny, Self::AuthenticationFailed, Self::AdminChange, Self::Quarantined];

    /// Returns the label in metrics and records.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Denied => "denied",
            Self::WouldDeny => "would_deny",
            Self::AuthenticationFailed => "authentication_failed",
            Self::AdminChange => "admin_change",
            Self::Quarantined => "quarantined",
        }
    }

    /// Returns the most bytes that the record of such an event takes: what its texts may take, rounded up, and 1 KiB for
    /// all else (keys, hashes, the node, the time, the tenant, the address).
    #[must_use]
    pub const fn record_bytes_max(self) -> u64 {
        match self {
            Self::Denied | Self::WouldDeny | Self::Quarantined => 3 * 1024,
            Self::AuthenticationFailed => 2 * 1024,
            Self::AdminChange => 14 * 1024,
        }
    }
}

// === impl Who ===

impl Who {
    /// Names a principal.
    #[must_use]
    pub fn of(principal: &Principal) -> Self {
        Self {
            tenant: Some(principal.tenant.clone()),
            agent: principal.agent.as_deref().map(Text::from),
            user: principal.user.as_ref().map(|user| format!("{}/{}", user.source, user.subject).into()),
        }
    }
}

// === impl Names ===

impl Names {
    /// Whether there are none.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.total == 0
    }
}

impl<T: Into<Text>> FromIterator<T> for Names {
    fn from_iter<I: IntoIterator<Item = T>>(names: I) -> Self {
        let mut listed = Self::default();
        for name in names {
            listed.total += 1;
            if listed.names.len() < NAMES_MAX {
                listed.names.push(name.into());
            }
        }
        listed
    }
}

#[cfg(test)]
mod tests {
    use std::net::{Ipv6Addr, SocketAddrV6};

    use quorate_types::{ResourceName, Timestamp, User};

    use super::*;
    use crate::record::{self, Hash, LINE_BYTES_MAX, SEQUENCE_MAX};

    /// As long as a text can be, of characters that JSON makes six bytes of.
    fn long() -> Text {
        "\u{1}".repeat(1_000).into()
    }

    fn largest() -> [Event; 5] {
        let peer = SocketAddrV6::new(Ipv6Addr::from([0xffff; 8]), u16::MAX, u32::MAX, u32::MAX);
        let origin = Origin { peer: Some(peer.into()), trace: Some(long()) };
        let tenant = TenantId::new(&"t".repeat(63)).expect("a valid name");
        let who = Who { tenant: Some(tenant), agent: Some(long()), user: Some(long()) };
        let decision = Decision {
            who,
            credential: Some(long()),
            action: long(),
            resource: long(),
            policy: Some(long()),
            reason: long(),
            origin: origin.clone(),
        };
        let failure = Failure {
            reason: "a_reason_that_is_much_longer_than_any_that_there_is",
            method: "certificate",
            credential: Some(long()),
            at: Some(long()),
            origin,
        };
        let names: Names = std::iter::repeat_with(long).take(1_000).collect();
        let change = Change {
            by: long(),
            outcome: "refused",
            file: Some(long()),
            detail: Some(long()),
            added: names.clone(),
            changed: names.clone(),
            removed: names,
        };
        [
            Event::Denied(decision.clone()),
            Event::WouldDeny(decision.clone()),
            Event::AuthenticationFailed(failure),
            Event::AdminChange(change),
            Event::Quarantined(decision),
        ]
    }

    #[test]
    fn the_largest_record_of_each_class_is_as_large_as_is_said() {
        for (event, class) in largest().into_iter().zip(Class::ALL) {
            assert_eq!(event.class(), class);
            let mut line = Vec::new();
            let time = (Timestamp::from_millis(u64::MAX), long());
            record::write(&mut line, (SEQUENCE_MAX, Hash::NONE), (time.0, time.1.as_str()), &event);
            let (bytes, max) = (line.len() as u64, class.record_bytes_max());
            assert!(bytes <= max && max <= LINE_BYTES_MAX as u64, "{}: {bytes} of {max}", class.as_str());
        }
    }

    #[test]
    fn kinds_in_records_are_the_labels_of_classes() {
        for event in largest() {
            let json = serde_json::to_value(&event).expect("an event");
            assert_eq!(json["kind"], event.class().as_str());
        }
    }

    #[test]
    fn callers_are_named_as_policies_name_them() {
        let mut principal = Principal::agent(TenantId::default(), "spiffe://example.org/ci");
        principal.user = Some(User {
            source: ResourceName::new("corp").expect("a valid name"),
            issuer: "https://id.example".into(),
            subject: "anna".into(),
        });
        let json = serde_json::to_string(&Who::of(&principal)).expect("a caller");
        assert_eq!(json, r#"{"tenant":"default","agent":"spiffe://example.org/ci","user":"corp/anna"}"#);
    }

    #[test]
    fn a_change_of_many_resources_lists_some_and_counts_all() {
        let names: Names = (0..100).map(|index| format!("Toolset/t{index}")).collect();
        let json = serde_json::to_value(names).expect("names");
        assert_eq!((json["total"].as_u64(), json["names"].as_array().map(Vec::len)), (Some(100), Some(NAMES_MAX)));
    }
}
