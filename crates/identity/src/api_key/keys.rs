//! The table of all API keys of a node, and the lookup of a presented one.
//!
//! Made whole from documents and replaced whole; only the time of last use changes in place. Arrays sorted by id keep a
//! key in less than 100 bytes (one secret, names of up to 20 characters, tenants and scopes that others share) and a
//! search among 100,000 below a microsecond, without one allocation per key. Ids are random, so their leading bits lead to
//! the few that a search is left with: it touches three places in memory.
//!
//! Nobody learns from an answer, or from its time, whether an id exists: an unknown id costs the same HMAC as a known
//! one, and that a key is expired is only said to who has it. What has no right checksum costs no HMAC at all.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::sync::atomic::{AtomicU32, Ordering};

use quorate_types::{Principal, TenantId, Timestamp};

use super::config::{Config, Invalid, SECONDS_MAX, SECRETS_MAX, Secret};
use super::mac::{MAC_BYTES, Mac, MacKey};
use super::text::{Id, Parts};

/// Keys of one table: ten times what was measured, and the most that an index here counts well below 2^32.
pub const KEYS_MAX: usize = 1_000_000;

/// Ids with the same leading bits, as a rule: one to two cache lines of them.
const IDS_PER_BEGIN: usize = 8;
/// Stands for a key that does not expire.
const NEVER: u32 = u32::MAX;
const _: () = assert!(SECONDS_MAX < NEVER as u64);

/// All API keys of a node.
pub struct Keys {
    mac_key: MacKey,
    /// Sorted; each has its slot at the same index.
    ids: Box<[Id]>,
    /// Where the ids with the same leading bits begin; one more at the end.
    begins: Box<[u32]>,
    leading_bits: u32,
    slots: Box<[Slot]>,
    documents: Box<[Document]>,
    /// The names of all documents and agents, one after the other.
    names: Box<str>,
    /// What documents have in common.
    grants: Box<[Grant]>,
}

/// A caller with a good key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Known<'a> {
    /// The key that was presented.
    pub id: Id,
    /// The document that has it.
    pub name: &'a str,
    /// The agent.
    pub agent: &'a str,
    /// Its tenant.
    pub tenant: &'a TenantId,
    /// Its scopes.
    pub scopes: &'a BTreeSet<String>,
    /// Its groups.
    pub groups: &'a BTreeSet<String>,
    /// When the key ends.
    pub expires: Option<Timestamp>,
}

/// Why a presented key identifies nobody.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, thiserror::Error)]
pub enum Refused {
    /// It has not the form of a key, or its checksum is wrong.
    #[error("the API key is malformed")]
    Malformed,
    /// No document has it.
    #[error("the API key is unknown")]
    Unknown,
    /// It was good until some time ago.
    #[error("the API key is expired")]
    Expired,
    /// It will be good from some time on.
    #[error("the API key is not valid yet")]
    NotYetValid,
}

/// What is known of one key, for operators.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Observed<'a> {
    /// The key.
    pub id: Id,
    /// The document that has it.
    pub name: &'a str,
    /// Its tenant.
    pub tenant: &'a TenantId,
    /// Its agent.
    pub agent: &'a str,
    /// The scopes of its caller.
    pub scopes: &'a BTreeSet<String>,
    /// From when on it is good.
    pub not_before: Option<Timestamp>,
    /// When it ends.
    pub expires: Option<Timestamp>,
    /// When it was last good for a request of this process, to the second.
    pub last_used: Option<Timestamp>,
}

/// What is kept of one key: 48 bytes.
struct Slot {
    mac: Mac,
    document: u32,
    /// Seconds since the Unix epoch.
    not_before: u32,
    /// Seconds since the Unix epoch, or [`NEVER`].
    expires: u32,
    /// Seconds since the Unix epoch; 0 when it was not used.
    last_used: AtomicU32,
}

/// What is kept of one document: 16 bytes.
struct Document {
    name_at: u32,
    agent_at: u32,
    grant: u32,
    name_bytes: u8,
    agent_bytes: u8,
}

#[derive(Clone, PartialEq, Eq, PartialOrd, Ord)]
struct Grant {
    tenant: TenantId,
    scopes: BTreeSet<String>,
    groups: BTreeSet<String>,
}

// === impl Keys ===

impl Keys {
    /// Makes the table of `configs`, whose HMACs were made with `mac_key`.
    ///
    /// # Errors
    /// [`Invalid`] names the first document that cannot be in it.
    pub fn new(configs: &[Config], mac_key: MacKey) -> Result<Self, Invalid> {
        let found = configs.iter().map(|config| config.secrets.len()).sum();
        if found > KEYS_MAX {
            return Err(Invalid::TooMany { found });
        }
        let mut slots = Vec::with_capacity(found);
        let mut documents = Vec::with_capacity(configs.len());
        let mut names = String::new();
        let mut grants = BTreeMap::new();
        for (config, index) in configs.iter().zip(0..) {
            if !(1..=SECRETS_MAX).contains(&config.secrets.len()) {
                return Err(Invalid::Secrets { name: config.name.clone(), found: config.secrets.len() });
            }
            for secret in &config.secrets {
                slots.push((secret.id, Slot::of(config, secret, index)?));
            }
            let grant = Grant::of(config);
            let next = u32::try_from(grants.len()).expect("there are no more grants than keys");
            documents.push(Document::of(config, *grants.entry(grant).or_insert(next), &mut names));
        }
        slots.sort_by_key(|(id, _)| *id);
        if let Some([(id, first), (_, second)]) = slots.array_windows().find(|[left, right]| left.0 == right.0) {
            let name = |slot: &Slot| configs[slot.document as usize].name.clone();
            return Err(Invalid::Duplicate { name: name(second), other: name(first), id: *id });
        }
        let (ids, slots): (Vec<Id>, Vec<Slot>) = slots.into_iter().unzip();
        let leading_bits = (ids.len() / IDS_PER_BEGIN).max(1).ilog2();
        let begin = |leading: usize| ids.partition_point(|id| id.leading(leading_bits) < leading);
        let begins = (0..=1 << leading_bits).map(|leading| u32::try_from(begin(leading)).expect("few enough keys"));
        let mut by_index: Vec<(u32, Grant)> = grants.into_iter().map(|(grant, index)| (index, grant)).collect();
        by_index.sort_by_key(|(index, _)| *index);
        Ok(Self {
            mac_key,
            begins: begins.collect(),
            leading_bits,
            ids: ids.into(),
            slots: slots.into(),
            documents: documents.into(),
            names: names.into(),
            grants: by_index.into_iter().map(|(_, grant)| grant).collect(),
        })
    }

    /// Finds out whose key `presented` is, and notes that it was used at `now`.
    ///
    /// # Errors
    /// [`Refused`] when it is nobody's, or not at this time.
    pub fn lookup(&self, presented: &str, now: Timestamp) -> Result<Known<'_>, Refused> {
        const NOBODYS: Mac = Mac([0; MAC_BYTES]);

        let parts = Parts::read(presented).ok_or(Refused::Malformed)?;
        let found = self.index_of(parts.id).map(|index| &self.slots[index]);
        // Without a slot too, so that the time is the same.
        let is_right = self.mac_key.is_mac_of(&parts, found.map_or(&NOBODYS, |slot| &slot.mac));
        let slot = found.filter(|_| is_right).ok_or(Refused::Unknown)?;
        let second = u32::try_from(now.as_millis() / 1_000).unwrap_or(NEVER - 1);
        if second < slot.not_before {
            return Err(Refused::NotYetValid);
        }
        if second >= slot.expires {
            return Err(Refused::Expired);
        }
        // A busy key is written once a second, so that cores do not take its memory from each other.
        if slot.last_used.load(Ordering::Relaxed) < second {
            slot.last_used.fetch_max(second, Ordering::Relaxed);
        }
        Ok(self.known(parts.id, slot))
    }

    /// Returns the id that `presented` shows, and the name of the document that has a key with it, whatever its secret:
    /// to name a key in records that [`Self::lookup`] found to be right at another time.
    #[must_use]
    pub fn named(&self, presented: &str) -> Option<(Id, &str)> {
        let id = Parts::read(presented)?.id;
        let index = self.index_of(id)?;
        Some((id, self.known(id, &self.slots[index]).name))
    }

    /// Takes over when keys were last used from the table that this one replaces.
    pub fn take_over(&self, previous: &Self) {
        let mut old = previous.ids.iter().zip(&previous.slots).peekable();
        for (id, slot) in self.ids.iter().zip(&self.slots) {
            while old.next_if(|(old, _)| *old < id).is_some() {}
            if let Some((_, before)) = old.next_if(|(old, _)| *old == id) {
                slot.last_used.fetch_max(before.last_used.load(Ordering::Relaxed), Ordering::Relaxed);
            }
        }
    }

    /// Returns what is known of each key, in the order of their ids.
    pub fn observe(&self) -> impl Iterator<Item = Observed<'_>> {
        self.observe_after(None)
    }

    /// As [`Self::observe`], of those whose ids come after one: to go on with a part of many.
    pub fn observe_after(&self, after: Option<Id>) -> impl Iterator<Item = Observed<'_>> {
        let begin = after.map_or(0, |after| self.ids.partition_point(|id| *id <= after));
        self.ids[begin..].iter().zip(&self.slots[begin..]).map(|(id, slot)| {
            let known = self.known(*id, slot);
            let time = |second: u32| (second != 0).then(|| Timestamp::from_millis(u64::from(second) * 1_000));
            Observed {
                id: *id,
                name: known.name,
                tenant: known.tenant,
                agent: known.agent,
                scopes: known.scopes,
                not_before: time(slot.not_before),
                expires: known.expires,
                last_used: time(slot.last_used.load(Ordering::Relaxed)),
            }
        })
    }

    /// Returns how many keys there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.ids.len()
    }

    /// Whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.ids.is_empty()
    }

    /// Returns the bytes that the table has on the heap for its keys and documents, without what documents share.
    #[must_use]
    pub fn heap_bytes(&self) -> usize {
        size_of_val(&*self.ids)
            + size_of_val(&*self.begins)
            + size_of_val(&*self.slots)
            + size_of_val(&*self.documents)
            + self.names.len()
    }

    fn index_of(&self, id: Id) -> Option<usize> {
        let leading = id.leading(self.leading_bits);
        let (begin, end) = (self.begins[leading] as usize, self.begins[leading + 1] as usize);
        // Halved also here: whoever writes documents may have chosen ids that are all alike.
        self.ids[begin..end].binary_search(&id).ok().map(|index| begin + index)
    }

    fn known(&self, id: Id, slot: &Slot) -> Known<'_> {
        let document = &self.documents[slot.document as usize];
        let grant = &self.grants[document.grant as usize];
        let text = |at: u32, bytes: u8| &self.names[at as usize..at as usize + usize::from(bytes)];
        Known {
            id,
            name: text(document.name_at, document.name_bytes),
            agent: text(document.agent_at, document.agent_bytes),
            tenant: &grant.tenant,
            scopes: &grant.scopes,
            groups: &grant.groups,
            expires: (slot.expires != NEVER).then(|| Timestamp::from_millis(u64::from(slot.expires) * 1_000)),
        }
    }
}

impl fmt::Debug for Keys {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Keys").field("len", &self.len()).finish_non_exhaustive()
    }
}

// === impl Known ===

impl Known<'_> {
    /// Makes the principal that the caller is.
    #[must_use]
    pub fn principal(&self) -> Principal {
        Principal {
            groups: self.groups.clone(),
            scopes: self.scopes.clone(),
            ..Principal::agent(self.tenant.clone(), self.agent)
        }
    }
}

// === impl Refused ===

impl Refused {
    /// Returns the label of this refusal in metrics and logs.
    #[must_use]
    pub const fn reason(self) -> &'static str {
        match self {
            Self::Malformed => "malformed",
            Self::Unknown => "unknown",
            Self::Expired => "expired",
            Self::NotYetValid => "not_yet_valid",
        }
    }
}

// === impl Slot ===

impl Slot {
    fn of(config: &Config, secret: &Secret, document: u32) -> Result<Self, Invalid> {
        let second = |time: Timestamp, second: u64| match u32::try_from(second) {
            Ok(second) if u64::from(second) <= SECONDS_MAX => Ok(second),
            Ok(_) | Err(_) => Err(Invalid::Late { name: config.name.clone(), id: secret.id, time }),
        };
        let not_before = secret.not_before.map_or(Ok(0), |time| second(time, time.as_millis().div_ceil(1_000)))?;
        let expires = secret.expires.map_or(Ok(NEVER), |time| second(time, time.as_millis() / 1_000))?;
        if not_before >= expires {
            return Err(Invalid::Never { name: config.name.clone(), id: secret.id });
        }
        Ok(Self { mac: secret.mac, document, not_before, expires, last_used: AtomicU32::new(0) })
    }
}

// === impl Document ===

impl Document {
    /// Puts the names of `config` into `names`; an agent that is called as its document is there once.
    fn of(config: &Config, grant: u32, names: &mut String) -> Self {
        let mut put = |name: &str| {
            let at = u32::try_from(names.len()).expect("names of the most keys fit 2^32 bytes");
            names.push_str(name);
            (at, u8::try_from(name.len()).expect("a name has at most 63 bytes"))
        };
        let (name_at, name_bytes) = put(config.name.as_str());
        let (agent_at, agent_bytes) =
            if config.agent == config.name { (name_at, name_bytes) } else { put(config.agent.as_str()) };
        Self { name_at, agent_at, grant, name_bytes, agent_bytes }
    }
}

// === impl Grant ===

impl Grant {
    fn of(config: &Config) -> Self {
        Self { tenant: config.tenant.clone(), scopes: config.scopes.clone(), groups: config.groups.clone() }
    }
}

#[cfg(test)]
mod tests;
