//! Checks bearer tokens of several issuers.
//!
//! In: a token, the resource that the request is for, the client certificate, the time. Out: [`Verified`], or
//! [`Refused`]. In this order: size, what is known of the token, form, issuer, kind, algorithm, key, signature, claims,
//! then what depends on the request (time, binding, audience). A token that was checked is known by its SHA-256 for a
//! minute at most, and no longer than its issuer's keys stay as they are; one that will be refused again is known for as
//! long. Nothing is waited for but keys that must be fetched and answers of introspection endpoints, each within limits
//! and only by tokens of that issuer.
//!
//! A bearer token may be used again and again by design: single use (`jti`) is not checked here.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::Arc;
use std::time::Duration;

use quorate_http::client::Client;
use quorate_types::{ResourceName, Timestamp};
use serde_json::Value;

use crate::cache::Cache;
use crate::endpoint::{Endpoint, InvalidEndpoint};
use crate::introspect::{self, Asker};
use crate::issuer::{Check, Config, Keys, Signed, rules};
use crate::jwks::{Found, Keeper, KeySet, Place, Snapshot, Source};
use crate::observe::Observer;
use crate::refused::{Refused, Why};
use crate::token::algorithm::Algorithm;
use crate::token::{self, Shape, TOKEN_BYTES_MAX, Token, TokenId, is_media_type};
use crate::verified::{THUMBPRINT_BYTES, Verified};

/// The most issuers of a node: each may be a task, a connection and a set of keys.
pub const ISSUERS_MAX: usize = 256;
/// How many checked tokens are known. Each takes about 2 KiB (measured: 1.8 with four groups and scopes each), so that
/// 20 MiB hold those of as many callers.
const ACCEPTED_MAX: usize = 10_000;
/// How many tokens that will be refused again are known, so that a client that sends the same bad token for ever costs
/// a lookup. Each takes about 200 bytes.
const REFUSED_MAX: usize = 4_096;
/// How long a token is known at most.
const KNOWN_FOR: Duration = Duration::from_secs(60);

/// A token as a request brings it.
#[derive(Clone, Copy)]
pub struct Presented<'a> {
    /// What stands after `Bearer`.
    pub token: &'a str,
    /// The URL of the resource that the request is for, as protected resource metadata names it (RFC 9728 §1.2).
    pub resource: &'a str,
    /// The SHA-256 of the client certificate (DER) of the connection, where there is one that was checked.
    pub certificate: Option<&'a [u8; THUMBPRINT_BYTES]>,
    /// The time of the wall clock.
    pub now: Timestamp,
}

/// The issuers whose tokens are accepted. Dropping it ends their tasks.
pub struct Issuers {
    all: Vec<Arc<Issuer>>,
    /// Who judges JWTs, by their `iss`.
    by_iss: HashMap<String, Arc<Issuer>>,
    /// Those that are asked about opaque tokens, by how these begin, the longest beginning first.
    opaque: Vec<(String, Arc<Issuer>)>,
    accepted: Cache<TokenId, Known<Arc<Verified>>>,
    refused: Cache<TokenId, Known<Why>>,
    observer: Arc<dyn Observer>,
}

/// Issuers that cannot stand beside each other.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Invalid {
    /// There are too many.
    #[error("at most {ISSUERS_MAX} issuers can be configured, these are {count}")]
    TooMany {
        /// How many there are.
        count: usize,
    },
    /// Two have one name.
    #[error("issuer {name} stands twice")]
    Name {
        /// The name.
        name: ResourceName,
    },
    /// Two of one kind have one `iss`. An issuer may be there once for signed tokens and once for opaque ones.
    #[error("issuers {first} and {second} have the same iss: whose rules hold for a token could not be told")]
    Iss {
        /// One of them.
        first: ResourceName,
        /// The other.
        second: ResourceName,
    },
    /// Two take the same opaque tokens.
    #[error("issuers {first} and {second} take the same opaque tokens: give them prefixes that differ")]
    Opaque {
        /// One of them.
        first: ResourceName,
        /// The other.
        second: ResourceName,
    },
    /// Its metadata cannot be asked for.
    #[error("issuer {name}: its iss {iss:?} is no URL under which metadata can be: {problem}")]
    Url {
        /// The issuer.
        name: ResourceName,
        /// Its `iss`.
        iss: String,
        /// What is wrong with it.
        problem: InvalidEndpoint,
    },
}

/// How an issuer is doing, for status pages.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize)]
pub struct State {
    /// The `Issuer` resource.
    pub name: String,
    /// How many keys are trusted; none when they could not be fetched, or for introspection.
    pub keys: Option<usize>,
    /// How many fetches of keys failed since the last good one.
    pub failures: u32,
    /// How many fetches of keys ended.
    pub fetches: u64,
    /// How many introspection answers are kept.
    pub answers: usize,
}

struct Issuer {
    config: Config,
    checker: Checker,
}

enum Checker {
    Keys(Keeper, Box<Signed>),
    Asker(Asker),
}

/// Where an issuer's keys come from.
enum Origin<'a> {
    /// From the configuration.
    Given(&'a KeySet),
    /// From a server.
    Server(Place),
}

#[derive(Clone)]
struct Known<T> {
    what: T,
    issuer: Arc<Issuer>,
    /// Of the issuer's keys.
    generation: u64,
    at: Timestamp,
}

// === impl Issuers ===

impl Issuers {
    /// Makes a set of issuers, each with the client that asks its server (whom that client trusts is the issuer's
    /// business). Fetching keys begins at once. Must be called within a runtime.
    ///
    /// # Errors
    /// [`Invalid`] when they cannot stand beside each other.
    pub fn new(configs: Vec<(Config, Client)>, observer: Arc<dyn Observer>) -> Result<Self, Invalid> {
        Self::make(configs, observer, &[])
    }

    /// Makes the set that follows this one after a change of configuration. An issuer whose keys come from where they
    /// came from begins with those that this set has, and one whose configuration is the same knows its answers; its
    /// server is asked by the new client. This set stays as it is, so that it can serve on when the change fails.
    ///
    /// # Errors
    /// As [`Self::new`].
    pub fn renewed(&self, configs: Vec<(Config, Client)>) -> Result<Self, Invalid> {
        Self::make(configs, Arc::clone(&self.observer), &self.all)
    }

    fn make(
        configs: Vec<(Config, Client)>,
        observer: Arc<dyn Observer>,
        previous: &[Arc<Issuer>],
    ) -> Result<Self, Invalid> {
        check(&configs)?;
        let mut all = Vec::new();
        for (config, client) in configs {
            let before = previous.iter().find(|issuer| issuer.config.name == config.name);
            all.push(Arc::new(Issuer::new(config, client, &observer, before.map(|issuer| &**issuer))?));
        }
        let opaque =
            all.iter().filter_map(|issuer| Some((opaque_prefix(&issuer.config)?.to_owned(), Arc::clone(issuer))));
        let mut opaque: Vec<_> = opaque.collect();
        opaque.sort_by_key(|(prefix, _)| std::cmp::Reverse(prefix.len()));
        // Where an issuer is there for both kinds of tokens, JWTs are judged by their signature.
        let (asked, signed): (Vec<_>, Vec<_>) =
            all.iter().partition(|issuer| matches!(issuer.checker, Checker::Asker(_)));
        let of_iss = |issuer: &Arc<Issuer>| (issuer.config.iss.clone(), Arc::clone(issuer));
        let by_iss = asked.into_iter().chain(signed).map(of_iss).collect();
        Ok(Self { all, by_iss, opaque, accepted: Cache::new(ACCEPTED_MAX), refused: Cache::new(REFUSED_MAX), observer })
    }

    /// Checks a token. Must be polled within a runtime.
    ///
    /// # Errors
    /// [`Refused`]; its [`Refused::code`] tells a bad token from an issuer that cannot be asked.
    pub async fn verify(&self, presented: Presented<'_>) -> Result<Arc<Verified>, Refused> {
        let Presented { token, now, .. } = presented;
        if token.len() > TOKEN_BYTES_MAX {
            let why = Why::Oversized { bytes: token.len(), max: TOKEN_BYTES_MAX };
            return Err(Refused { issuer: None, why });
        }
        let id = token::id(token);
        if let Some(known) = self.known(&id, now) {
            return known.issuer.admit(known.what, &presented);
        }
        if let Some(refused) = current(self.refused.get(&id), now) {
            return Err(refused.issuer.refuse(refused.what));
        }
        let nobody = |why| Refused { issuer: None, why };
        let shape = Shape::of(token);
        if shape != Shape::Signed {
            let asked = self.opaque.iter().find(|(prefix, _)| token.starts_with(prefix));
            return match (asked, shape) {
                (Some((_, issuer)), _) => issuer.introspect(id, &presented).await,
                (None, Shape::Encrypted) => Err(nobody(Why::Nested)),
                (None, Shape::Opaque | Shape::Signed) => Err(nobody(Why::unknown_issuer(""))),
            };
        }
        let read = Token::read(token).map_err(nobody)?;
        let iss = match read.claims.get("iss") {
            Some(Value::String(iss)) => iss,
            Some(_) => return Err(nobody(Why::claim("iss"))),
            None => return Err(nobody(Why::unknown_issuer(""))),
        };
        let issuer = self.by_iss.get(iss).ok_or_else(|| nobody(Why::unknown_issuer(iss)))?;
        match &issuer.checker {
            Checker::Asker(_) => issuer.introspect(id, &presented).await,
            Checker::Keys(keeper, check) => self.check(issuer, (keeper, check), id, &read, &presented).await,
        }
    }

    /// Whether both judge every token by the same rules and from the same sources, keys among them that a configuration
    /// gives. Keys that servers give change under both.
    #[must_use]
    pub fn has_same_rules(&self, other: &Self) -> bool {
        self.all.iter().map(|issuer| &issuer.config).eq(other.all.iter().map(|issuer| &issuer.config))
    }

    /// Whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.by_iss.is_empty()
    }

    /// Returns how each issuer is doing, in the order of their names.
    #[must_use]
    pub fn observe(&self) -> Vec<State> {
        let states: BTreeMap<_, _> =
            self.all.iter().map(|issuer| (issuer.config.name.clone(), issuer.state())).collect();
        states.into_values().collect()
    }

    /// Returns how many checked tokens are known, and how many that are refused again.
    #[must_use]
    pub fn cached(&self) -> (usize, usize) {
        (self.accepted.len(), self.refused.len())
    }

    fn known(&self, id: &TokenId, now: Timestamp) -> Option<Known<Arc<Verified>>> {
        current(self.accepted.get(id), now)
    }

    /// Checks a signed token by its issuer's keys, and remembers what came of it.
    async fn check(
        &self,
        issuer: &Arc<Issuer>,
        (keeper, check): (&Keeper, &Signed),
        id: TokenId,
        token: &Token<'_>,
        presented: &Presented<'_>,
    ) -> Result<Arc<Verified>, Refused> {
        let known = |generation| Known { what: (), issuer: Arc::clone(issuer), generation, at: presented.now };
        let refuse = |why: Why, generation| {
            if why.is_lasting() {
                self.refused.put(id, known(generation).of(why.clone()));
            }
            issuer.refuse(why)
        };
        let generation = keeper.generation();
        let algorithm = algorithm(check, token).map_err(|why| refuse(why, generation))?;
        let kid = token.header.kid.as_deref();
        let found = match keeper.find(kid, algorithm) {
            Ok(None) => keeper.wait(kid, algorithm).await,
            Ok(Some(found)) => Ok(found),
            Err(why) => Err(why),
        };
        let Found { key, generation } = found.map_err(|why| refuse(why, generation))?;
        if !key.checks(algorithm, token.signed, &token.signature) {
            return Err(refuse(Why::Signature, generation));
        }
        let verified = rules::judge(&issuer.config, &token.claims, presented.now, None);
        let verified = Arc::new(verified.map_err(|why| refuse(why, generation))?);
        self.accepted.put(id, known(generation).of(Arc::clone(&verified)));
        issuer.admit(verified, presented)
    }
}

impl std::fmt::Debug for Issuers {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Issuers").field("state", &self.observe()).finish_non_exhaustive()
    }
}

// === impl Issuer ===

impl Issuer {
    /// Makes an issuer; `before` is the one of its name until now.
    fn new(
        config: Config,
        client: Client,
        observer: &Arc<dyn Observer>,
        before: Option<&Self>,
    ) -> Result<Self, Invalid> {
        let observer = Arc::clone(observer);
        let checker = match &config.check {
            Check::Introspected(check) => {
                let before = before.filter(|before| before.config == config).and_then(Self::asker);
                Checker::Asker(Asker::new(config.clone(), check.clone(), client, observer, before))
            }
            Check::Signed(check) => {
                let keeper = match origin(&config, &check.keys)? {
                    Origin::Given(keys) => Keeper::given(keys.clone()),
                    Origin::Server(place) => {
                        let is_same =
                            |before: &&Self| before.config.iss == config.iss && before.keys() == Some(&check.keys);
                        let before = before.filter(is_same).and_then(Self::keeper);
                        let source = Source::new(client, config.iss.clone(), place);
                        Keeper::start(config.name.clone(), source, check.outage_tolerance, observer, before)
                    }
                };
                Checker::Keys(keeper, Box::new(check.clone()))
            }
        };
        Ok(Self { config, checker })
    }

    fn keeper(&self) -> Option<&Keeper> {
        match &self.checker {
            Checker::Keys(keeper, _) => Some(keeper),
            Checker::Asker(_) => None,
        }
    }

    fn keys(&self) -> Option<&Keys> {
        match &self.checker {
            Checker::Keys(_, check) => Some(&check.keys),
            Checker::Asker(_) => None,
        }
    }

    fn asker(&self) -> Option<&Asker> {
        match &self.checker {
            Checker::Keys(..) => None,
            Checker::Asker(asker) => Some(asker),
        }
    }

    fn refuse(&self, why: Why) -> Refused {
        Refused { issuer: Some(self.config.name.clone()), why }
    }

    /// Checks what depends on the request.
    fn admit(&self, verified: Arc<Verified>, presented: &Presented<'_>) -> Result<Arc<Verified>, Refused> {
        let Presented { resource, certificate, now, .. } = *presented;
        match rules::admits(&self.config, &verified, resource, certificate, now) {
            Ok(()) => Ok(verified),
            Err(why) => Err(self.refuse(why)),
        }
    }

    async fn introspect(&self, id: TokenId, presented: &Presented<'_>) -> Result<Arc<Verified>, Refused> {
        // Only issuers that are asked are looked up for it.
        let asker = self.asker().ok_or_else(|| self.refuse(Why::Malformed("it is no JWT")))?;
        let Presented { token, now, .. } = *presented;
        let verdict = match asker.known(&id, now) {
            introspect::Known::Verdict(verdict) => verdict,
            introspect::Known::Regular => asker.ask(id, token, true, now).await,
            introspect::Known::Stranger => asker.ask(id, token, false, now).await,
        };
        self.admit(verdict.map_err(|why| self.refuse(why))?, presented)
    }

    /// Returns the generation of its keys.
    fn generation(&self) -> u64 {
        self.keeper().map_or(0, Keeper::generation)
    }

    fn state(&self) -> State {
        let name = self.config.name.as_str().to_owned();
        match &self.checker {
            Checker::Keys(keeper, _) => {
                let Snapshot { keys, failures, fetches } = keeper.snapshot();
                State { name, keys, failures, fetches, answers: 0 }
            }
            Checker::Asker(asker) => State { name, keys: None, failures: 0, fetches: 0, answers: asker.len() },
        }
    }
}

// === impl Known ===

impl Known<()> {
    fn of<T>(self, what: T) -> Known<T> {
        Known { what, issuer: self.issuer, generation: self.generation, at: self.at }
    }
}

/// Tells whether what is known is still true: not too old, and of the keys as they are.
fn current<T>(known: Option<Known<T>>, now: Timestamp) -> Option<Known<T>> {
    // A clock that stepped back makes nothing younger.
    known.filter(|known| {
        known.at <= now && now.since(known.at) < KNOWN_FOR && known.generation == known.issuer.generation()
    })
}

/// Tells by what the signature is to be checked, if the kind of token and the algorithm are accepted at all.
fn algorithm(check: &Signed, token: &Token<'_>) -> Result<Algorithm, Why> {
    let is = |expected| token.header.typ.as_deref().is_some_and(|typ| is_media_type(typ, expected));
    let is_accepted = is("at+jwt") || !check.access_tokens_only && (token.header.typ.is_none() || is("jwt"));
    if !is_accepted {
        return Err(Why::Kind);
    }
    let algorithm = Algorithm::from_name(&token.header.alg);
    algorithm.filter(|algorithm| check.algorithms.contains(algorithm)).ok_or(Why::Algorithm)
}

fn check(configs: &[(Config, Client)]) -> Result<(), Invalid> {
    if configs.len() > ISSUERS_MAX {
        return Err(Invalid::TooMany { count: configs.len() });
    }
    let (mut names, mut by_iss, mut by_prefix) = (HashSet::new(), HashMap::new(), HashMap::new());
    for (config, _) in configs {
        let name = || config.name.clone();
        if !names.insert(&config.name) {
            return Err(Invalid::Name { name: name() });
        }
        let kind = matches!(config.check, Check::Signed(_));
        if let Some(first) = by_iss.insert((kind, &config.iss), &config.name) {
            return Err(Invalid::Iss { first: first.clone(), second: name() });
        }
        let first = opaque_prefix(config).and_then(|prefix| by_prefix.insert(prefix, &config.name));
        if let Some(first) = first {
            return Err(Invalid::Opaque { first: first.clone(), second: name() });
        }
    }
    Ok(())
}

fn opaque_prefix(config: &Config) -> Option<&str> {
    match &config.check {
        Check::Introspected(check) => check.opaque_prefix.as_deref(),
        Check::Signed(_) => None,
    }
}

fn origin<'a>(config: &Config, keys: &'a Keys) -> Result<Origin<'a>, Invalid> {
    Ok(match keys {
        Keys::Given(keys) => Origin::Given(keys),
        Keys::Metadata => Origin::Server(Place::Metadata(url(config)?)),
        Keys::OpenId => Origin::Server(Place::OpenId(url(config)?)),
        Keys::OAuth => Origin::Server(Place::OAuth(url(config)?)),
        Keys::Url(endpoint) => Origin::Server(Place::Url(endpoint.clone())),
    })
}

fn url(config: &Config) -> Result<Endpoint, Invalid> {
    Endpoint::new(&config.iss).map_err(|problem| Invalid::Url {
        name: config.name.clone(),
        iss: config.iss.clone(),
        problem,
    })
}
