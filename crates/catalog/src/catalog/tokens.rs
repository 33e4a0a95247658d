//! Commands about join tokens.
//!
//! A token is used in the same command that adds the node, so it is used at most once whoever asks at the same time.

use std::sync::Arc;

use quorate_types::{NodeId, Timestamp};

use super::{Answer, Catalog, DONE, Step};
use crate::check::{self, Checked};
use crate::effect::Effect;
use crate::limits::{TOKENS_KEPT_MAX, TOKENS_MAX};
use crate::node::Node;
use crate::proto::{self, Reason};
use crate::refusal::Refusal;
use crate::token::{self, Token, TokenId, TokenState};

// === impl Catalog ===

impl Catalog {
    pub(super) fn issue_token(&mut self, issue: &proto::IssueToken, step: &mut Step) -> Answer {
        let token = Token::new(issue, step.now)?;
        if token.expires_at <= step.now {
            let allowed = format_args!("later than {}, the time of the log", step.now.as_millis());
            return Err(Refusal::invalid("expires_at", token.expires_at.as_millis(), allowed));
        }
        if self.tokens.contains_key(&token.id) {
            return Err(Refusal::new(Reason::Exists, "token", token.id, "an id that no token has"));
        }
        if self.tokens.values().filter(|token| token.is_usable(step.now)).count() >= TOKENS_MAX {
            return Err(Refusal::limit("token", "one more", format_args!("{TOKENS_MAX} usable tokens")));
        }
        self.put_token(token, step);
        DONE
    }

    pub(super) fn revoke_token(&mut self, revoke: &proto::RevokeToken, step: &mut Step) -> Answer {
        let id = TokenId(check::array("token", &revoke.token)?);
        let token = self.known_token(id, step.now)?;
        let token = match token.state {
            TokenState::Usable | TokenState::Revoked => Token { state: TokenState::Revoked, ..token.clone() },
            TokenState::Used(node) => {
                let allowed = format_args!("a token that was not used: node {node} joined by it");
                return Err(Refusal::new(Reason::TokenUsed, "token", id, allowed));
            }
        };
        self.put_token(token, step);
        DONE
    }

    /// The token that lets a node join.
    pub(super) fn usable_token(&self, add: &proto::AddNode, node: &Node, now: Timestamp) -> Checked<TokenId> {
        let id = TokenId(check::array("token", &add.token)?);
        let secret_hash: [u8; 32] = check::array("secret_hash", &add.secret_hash)?;
        let token = self.known_token(id, now)?;
        // Whoever does not know the secret is not told what became of the token.
        if secret_hash != token.secret_hash {
            return Err(Refusal::new(Reason::TokenForged, "secret_hash", "another", "the hash of the token's secret"));
        }
        let refuse = |reason, allowed: std::fmt::Arguments<'_>| Err(Refusal::new(reason, "token", id, allowed));
        match token.state {
            TokenState::Used(by) => {
                return refuse(Reason::TokenUsed, format_args!("a token that was not used: node {by} joined by it"));
            }
            TokenState::Revoked => return refuse(Reason::TokenRevoked, format_args!("a token that was not revoked")),
            TokenState::Usable if token.is_usable(now) => {}
            TokenState::Usable => {
                let (ended, now) = (token.expires_at.as_millis(), now.as_millis());
                return refuse(
                    Reason::TokenExpired,
                    format_args!("one that ends after {now} ms, this one at {ended} ms"),
                );
            }
        }
        if let Some(name) = token.node_name.as_ref().filter(|name| **name != node.name) {
            return Err(Refusal::new(Reason::TokenMismatch, "node.name", &node.name, name));
        }
        if let Some(rack) = token.rack.as_ref().filter(|rack| node.rack.as_ref() != Some(rack)) {
            let given = node.rack.as_deref().unwrap_or_default();
            return Err(Refusal::new(Reason::TokenMismatch, "node.rack", given, rack));
        }
        Ok(id)
    }

    /// The node that joined when the same was asked before: an answer may be lost, and its asker asks again.
    pub(super) fn added_before(&self, add: &proto::AddNode, now: Timestamp) -> Checked<Option<NodeId>> {
        let Some(application) = token::application(&add.application)? else { return Ok(None) };
        let token = self.known_token(TokenId(check::array("token", &add.token)?), now)?;
        let is_same = token.application == Some(application) && add.secret_hash == token.secret_hash.as_slice();
        match token.state {
            TokenState::Used(by) if is_same => self.living_node("token", by.0).map(|node| Some(node.id)),
            TokenState::Used(_) | TokenState::Usable | TokenState::Revoked => Ok(None),
        }
    }

    /// Uses a token up that was found usable.
    pub(super) fn use_token(
        &mut self,
        id: TokenId,
        add: &proto::AddNode,
        node: NodeId,
        step: &mut Step,
    ) -> Checked<()> {
        let token = self.tokens.get(&id).expect("it was found usable").clone();
        let application = token::application(&add.application)?;
        self.put_token(Token { state: TokenState::Used(node), application, ..token }, step);
        Ok(())
    }

    fn known_token(&self, id: TokenId, now: Timestamp) -> Checked<&Token> {
        let token = self.tokens.get(&id).filter(|token| !token.is_forgotten(now));
        token.ok_or_else(|| Refusal::new(Reason::TokenUnknown, "token", id, "a token that was issued"))
    }

    fn put_token(&mut self, token: Token, step: &mut Step) {
        Arc::make_mut(&mut self.tokens).insert(token.id, token);
        step.effects.push(Effect::Tokens);
    }

    pub(super) fn sweep_tokens(&mut self, step: &mut Step) {
        let forgotten = |token: &Token| token.is_forgotten(step.now);
        let surplus = self.tokens.len().saturating_sub(TOKENS_KEPT_MAX);
        if surplus == 0 && !self.tokens.values().any(forgotten) {
            return;
        }
        let tokens = Arc::make_mut(&mut self.tokens);
        tokens.retain(|_, token| !forgotten(token));
        let surplus = tokens.len().saturating_sub(TOKENS_KEPT_MAX);
        let useless = tokens.values().filter(|token| !token.is_usable(step.now));
        let mut oldest: Vec<_> = useless.map(|token| (token.created_at, token.id)).collect();
        oldest.sort_unstable();
        for (_, id) in oldest.iter().take(surplus) {
            tokens.remove(id);
        }
        if !step.effects.contains(&Effect::Tokens) {
            step.effects.push(Effect::Tokens);
        }
    }
}
