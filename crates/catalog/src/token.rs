//! A token that lets one node join.
//!
//! Of its secret only the hash is known here. One that cannot be used any more is kept for a while, so that operators are
//! told why and not only that.

use std::fmt;

use bytes::Bytes;
use quorate_types::{NodeId, ResourceName, Timestamp};

use crate::check::{self, Checked, Hex};
use crate::limits::{AUTHOR_BYTES_MAX, TOKENS_TOLD_FOR};
use crate::node;
use crate::proto;
use crate::refusal::Refusal;

/// The random id of a token.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TokenId(pub [u8; 16]);

/// A token.
#[derive(Clone, PartialEq, Eq)]
pub struct Token {
    /// Its id.
    pub id: TokenId,
    /// SHA-256 of its secret: as good as that to who wants to join, so it is shown to nobody.
    pub secret_hash: [u8; 32],
    /// From when on it cannot be used.
    pub expires_at: Timestamp,
    /// Who asked for it.
    pub created_by: String,
    /// When.
    pub created_at: Timestamp,
    /// The name that the node must have.
    pub node_name: Option<ResourceName>,
    /// The rack that the node must be in.
    pub rack: Option<String>,
    /// What became of it.
    pub state: TokenState,
    /// SHA-256 of what the node that used it asked with.
    pub application: Option<[u8; 32]>,
}

/// What became of a token.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TokenState {
    /// It can be used, until it expires.
    Usable,
    /// A node has joined by it.
    Used(NodeId),
    /// Somebody took it back.
    Revoked,
}

// === impl Token ===

impl Token {
    pub(crate) fn new(issue: &proto::IssueToken, now: Timestamp) -> Checked<Self> {
        Self::from_proto(&proto::Token {
            id: issue.token.clone(),
            secret_hash: issue.secret_hash.clone(),
            expires_at: issue.expires_at,
            created_by: issue.created_by.clone(),
            created_at: now.as_millis(),
            node_name: issue.node_name.clone(),
            rack: issue.rack.clone(),
            state: proto::TokenState::Usable.into(),
            used_by: 0,
            application: Bytes::new(),
        })
    }

    pub(crate) fn from_proto(token: &proto::Token) -> Checked<Self> {
        let named = Some(token.node_name.as_str()).filter(|name| !name.is_empty());
        Ok(Self {
            id: TokenId(check::array("token", &token.id)?),
            secret_hash: check::array("secret_hash", &token.secret_hash)?,
            expires_at: Timestamp::from_millis(token.expires_at),
            created_by: check::line("created_by", &token.created_by, AUTHOR_BYTES_MAX)?,
            created_at: Timestamp::from_millis(token.created_at),
            node_name: named.map(|name| check::name("node_name", name)).transpose()?,
            rack: node::rack(&token.rack)?,
            state: match (token.state(), check::node_or_none(token.used_by)) {
                (proto::TokenState::Usable, None) => TokenState::Usable,
                (proto::TokenState::Used, Some(node)) => TokenState::Used(node),
                (proto::TokenState::Revoked, None) => TokenState::Revoked,
                (state, _) => return Err(Refusal::invalid("state", state.as_str_name(), "a state of tokens")),
            },
            application: application(&token.application)?,
        })
    }

    pub(crate) fn to_proto(&self) -> proto::Token {
        let (state, used_by) = match self.state {
            TokenState::Usable => (proto::TokenState::Usable, 0),
            TokenState::Used(node) => (proto::TokenState::Used, node.0),
            TokenState::Revoked => (proto::TokenState::Revoked, 0),
        };
        proto::Token {
            id: self.id.0.to_vec().into(),
            secret_hash: self.secret_hash.to_vec().into(),
            expires_at: self.expires_at.as_millis(),
            created_by: self.created_by.clone(),
            created_at: self.created_at.as_millis(),
            node_name: self.node_name.as_ref().map(|name| name.as_str().to_owned()).unwrap_or_default(),
            rack: self.rack.clone().unwrap_or_default(),
            state: state.into(),
            used_by,
            application: self.application.map(|hash| hash.to_vec().into()).unwrap_or_default(),
        }
    }

    /// Whether a node could join by it.
    #[must_use]
    pub fn is_usable(&self, now: Timestamp) -> bool {
        self.state == TokenState::Usable && now < self.expires_at
    }

    /// Whether it is not told of any more.
    pub(crate) fn is_forgotten(&self, now: Timestamp) -> bool {
        self.expires_at + TOKENS_TOLD_FOR <= now
    }
}

impl fmt::Debug for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Token")
            .field("id", &self.id)
            .field("expires_at", &self.expires_at)
            .field("created_by", &self.created_by)
            .field("state", &self.state)
            .finish_non_exhaustive()
    }
}

/// Reads what a node asked with; nothing when it is empty.
pub(crate) fn application(hash: &[u8]) -> Checked<Option<[u8; 32]>> {
    if hash.is_empty() { Ok(None) } else { check::array("application", hash).map(Some) }
}

// === impl TokenId ===

impl fmt::Display for TokenId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        Hex(&self.0).fmt(f)
    }
}

impl fmt::Debug for TokenId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "TokenId({self})")
    }
}
