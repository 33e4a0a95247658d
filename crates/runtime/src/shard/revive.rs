//! Sessions made of their records, on a node that did not open them or had put them to rest.
//!
//! Whoever asks for one first makes it, and others that ask meanwhile get the same. What a session needs beside its record
//! (what its toolset is now, and what its owner may do) is the configuration's of the moment.

use std::sync::{Arc, PoisonError};

use quorate_mcp::Version;
use quorate_session::record::{Record, proto};
use quorate_session::{Delivery, Durability};
use quorate_types::principal::{Actor, User};
use quorate_types::{Principal, ResourceName, TenantId};
use tokio::sync::OnceCell;

use super::{Error, Open, Sessions, Unknown};
use crate::backend;
use crate::clock;
use crate::session::{Begins, Client, Handle, Keeping, Scope};
use crate::shards::Owned;

// === impl Sessions ===

impl Sessions {
    /// Returns a session of a shard of the cluster, if this node owns it.
    pub(super) async fn owned(&self, shard: u16, key: u128) -> Result<Handle, Unknown> {
        let shard = u32::from(shard);
        let owned = self.shared.shards.owned(shard).ok_or(Unknown::Elsewhere(shard))?;
        if let Some(session) = self.live(key) {
            return Ok(session);
        }
        if self.is_ending(key) {
            return Err(Unknown::Ended);
        }
        self.revive(owned, key).await
    }

    /// Makes a session of its record.
    pub(super) async fn revive(&self, owned: Owned, key: u128) -> Result<Handle, Unknown> {
        let cell = {
            let mut reviving = self.shared.reviving.lock().unwrap_or_else(PoisonError::into_inner);
            Arc::clone(reviving.entry(key).or_insert_with(|| Arc::new(OnceCell::new())))
        };
        let shard = owned.shard;
        let revived = cell.get_or_try_init(|| self.make(owned, key)).await.cloned();
        let mut reviving = self.shared.reviving.lock().unwrap_or_else(PoisonError::into_inner);
        if reviving.get(&key).is_some_and(|known| Arc::ptr_eq(known, &cell)) {
            reviving.remove(&key);
        }
        drop(reviving);
        match revived {
            Ok(session) if session.is_moved() => Err(Unknown::Elsewhere(shard)),
            Ok(session) if session.is_ended() => Err(Unknown::Ended),
            other => other,
        }
    }

    async fn make(&self, owned: Owned, key: u128) -> Result<Handle, Unknown> {
        // Whoever made it before this one came has taken its cell away.
        if let Some(session) = self.live(key) {
            return Ok(session);
        }
        let (version, record) = owned.record(key).ok_or(Unknown::Ended)?;
        let shard = owned.shard;
        let (open, servers) = self.open_of(&record).ok_or(Unknown::Ended)?;
        let place = self.place_of(record.principal());
        let is_moved = record.last_owner().is_some_and(|node| node != owned.node.0);
        let keeping = Keeping { owned, begins: Begins::Record { version, record, servers } };
        let opening = self.opening(key, open, Some(keeping), &place);
        let made = self.start_actor(opening, place).await;
        if is_moved {
            self.shared.metrics.session_taken_over(made.is_ok());
        }
        self.shared.asleep.lock().unwrap_or_else(PoisonError::into_inner).remove(&key);
        made.map_err(|error| match error {
            Error::Spawn { reason } => {
                tracing::error!(session = %key, shard, reason, "a session cannot be made of its record");
                Unknown::Ended
            }
            _ => Unknown::Elsewhere(shard),
        })
    }

    /// What a record says of how its session was opened, and the backends of its scope.
    fn open_of(&self, record: &Record) -> Option<(Open, Arc<Vec<backend::Handle>>)> {
        let charter = record.charter();
        let revived = self.shared.revive.get()?(charter)?;
        let client = match &charter.client {
            Some(client) => Some(Client {
                version: Version::parse(&client.version)?,
                initialize_params: client.initialize_params.as_str().into(),
                view: client.view,
            }),
            None => None,
        };
        let open = Open {
            principal: record.principal(),
            tenant: TenantId::new(&charter.tenant).ok()?,
            scope: scope(charter)?,
            delivery: match charter.delivery() {
                proto::Delivery::Streams => Delivery::Streams,
                proto::Delivery::Single => Delivery::Single,
                proto::Delivery::Calls => Delivery::Calls,
                proto::Delivery::Unspecified => return None,
            },
            client,
            translate: revived.translate,
            memory: revived.memory,
            durability: match charter.durability() {
                proto::Durability::Ephemeral => Durability::Ephemeral,
                proto::Durability::Strict | proto::Durability::Unspecified => Durability::Strict,
            },
            owner: Arc::new(owner(charter)?),
        };
        Some((open, revived.servers))
    }
}

/// What a session's record is opened with.
pub(super) fn charter(open: &Open) -> proto::Charter {
    let version = |(member, server): &(ResourceName, ResourceName)| proto::Version {
        member: member.as_str().to_owned(),
        server: server.as_str().to_owned(),
    };
    let delivery = match open.delivery {
        Delivery::Streams => proto::Delivery::Streams,
        Delivery::Single => proto::Delivery::Single,
        Delivery::Calls => proto::Delivery::Calls,
    };
    let durability = match open.durability {
        Durability::Strict => proto::Durability::Strict,
        Durability::Ephemeral => proto::Durability::Ephemeral,
    };
    proto::Charter {
        principal: open.principal.0.to_vec().into(),
        tenant: open.tenant.as_str().to_owned(),
        scope: Some(match &open.scope {
            Scope::Toolset(name) => proto::charter::Scope::Toolset(name.as_str().to_owned()),
            Scope::Server(name) => proto::charter::Scope::Server(name.as_str().to_owned()),
        }),
        delivery: delivery.into(),
        durability: durability.into(),
        client: open.client.as_ref().map(Client::to_proto),
        versions: open.memory.versions().iter().map(version).collect(),
        opened_ms: clock::now().as_millis(),
        owner: Some(owner_of(&open.owner)),
    }
}

/// The scope of a session; none where no version has written it.
#[must_use]
pub fn scope(charter: &proto::Charter) -> Option<Scope> {
    match charter.scope.as_ref()? {
        proto::charter::Scope::Toolset(name) => ResourceName::new(name).ok().map(Scope::Toolset),
        proto::charter::Scope::Server(name) => ResourceName::new(name).ok().map(Scope::Server),
    }
}

/// Who owns a session, as it was known last; none where no version has written it.
#[must_use]
pub fn owner(charter: &proto::Charter) -> Option<Principal> {
    let owner = charter.owner.as_ref()?;
    let user = match &owner.user {
        Some(user) => Some(User {
            source: ResourceName::new(&user.source).ok()?,
            issuer: user.issuer.clone(),
            subject: user.subject.clone(),
        }),
        None => None,
    };
    let actor = |actor: &proto::Actor| Actor { issuer: actor.issuer.clone(), subject: actor.subject.clone() };
    Some(Principal {
        tenant: TenantId::new(&charter.tenant).ok()?,
        agent: owner.agent.clone(),
        user,
        delegation: owner.delegation.iter().map(actor).collect(),
        groups: owner.groups.iter().cloned().collect(),
        scopes: owner.scopes.iter().cloned().collect(),
    })
}

/// The same, written down.
#[must_use]
pub fn owner_of(principal: &Principal) -> proto::Owner {
    let actor = |actor: &Actor| proto::Actor { issuer: actor.issuer.clone(), subject: actor.subject.clone() };
    proto::Owner {
        agent: principal.agent.clone(),
        user: principal.user.as_ref().map(|user| proto::User {
            source: user.source.as_str().to_owned(),
            issuer: user.issuer.clone(),
            subject: user.subject.clone(),
        }),
        delegation: principal.delegation.iter().map(actor).collect(),
        groups: principal.groups.iter().cloned().collect(),
        scopes: principal.scopes.iter().cloned().collect(),
    }
}
