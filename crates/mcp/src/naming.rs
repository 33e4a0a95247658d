//! Decides under which name each tool and prompt of a toolset is exposed.
//!
//! In: the naming mode and one [`Claim`] per listed item, in exposed order. Out: an [`Assignment`]
//! from claims to exposed names, the names that are refused because they would be ambiguous, and
//! what stays hidden. Invariants: exposed names are unique and depend on the claims alone, not on
//! history or node; in the modes that prefix they have at most [`NAME_BYTES_MAX`] bytes, and a name
//! that two servers claim belongs to neither, so that no server takes over a name by claiming it.
//!
//! It does not know what a name stands for: resource URIs settle by the same rules with
//! another ladder (see [`crate::uri`]).

use std::borrow::Cow;
use std::collections::{HashMap, HashSet};
use std::fmt;

use sha2::{Digest, Sha256};

use crate::listing::ServerIndex;

pub mod skeleton;

/// The longest exposed name in bytes, in the modes that prefix.
///
/// Many hosts cap tool names at 64 characters; bytes are never fewer than characters, whichever
/// way a host counts them.
pub const NAME_BYTES_MAX: usize = 64;
/// What stands between the server's name and the item's own name.
pub const SEPARATOR: char = '_';

/// Hexadecimal digits of SHA-256 at the end of a cut or contested name.
const HASH_DIGITS: usize = 8;
/// The same when even those collide: finding 32 equal bits is cheap for a hostile server, 64 are not.
const HASH_DIGITS_CONTESTED: usize = 16;
const _: () = assert!(HASH_DIGITS_CONTESTED + 1 < NAME_BYTES_MAX);

/// How items of several servers get their exposed names.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Naming {
    /// Names stay as the servers gave them, of any length; of several equal names the first
    /// server's is exposed and the others are hidden.
    Bare,
    /// Every name gets its server's name in front.
    Prefix,
    /// A name gets its server's name in front when another server claims it too, or when it
    /// is too long.
    OnCollision,
}

/// One item that wants a name.
#[derive(Clone, Copy, Debug)]
pub struct Claim<'a> {
    /// The server that listed it.
    pub server: ServerIndex,
    /// The server's configured name, unique in the toolset.
    pub server_name: &'a str,
    /// The item's name as the server gave it.
    pub name: &'a str,
    /// The name that the operator gives it: it has this one or none.
    pub given: Option<&'a str>,
}

/// Names that items do not choose for themselves.
#[derive(Clone, Copy, Debug, Default)]
pub struct Names<'a> {
    /// Those of the toolset itself, which are nobody's.
    pub reserved: &'a [&'a str],
    /// Those that the operator gives, whether what they are for is listed now or not: nobody else
    /// has one of them while its server is away.
    pub given: &'a [&'a str],
}

/// Which claim got which name.
#[derive(Clone, Debug, Default)]
pub struct Assignment<'a> {
    /// The exposed name of each claim, by the claim's position; `None` when it is hidden.
    pub exposed: Vec<Option<Cow<'a, str>>>,
    /// Names that several claims wanted, by skeleton, with the positions of those claims.
    pub contested: HashMap<String, Vec<usize>>,
    /// Further names that lead to a claim without being listed: the prefixed form of items that
    /// [`Naming::OnCollision`] exposes bare. A client that learned the prefixed name while
    /// another server was listed keeps its tool, and nobody else can have that name.
    pub aliases: HashMap<String, usize>,
    /// The claims without a name, in the order of the claims.
    pub hidden: Vec<Hidden>,
}

/// A claim that is not exposed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Hidden {
    /// The claim's position.
    pub claim: usize,
    /// Why.
    pub reason: HiddenReason,
}

/// Why a claim is not exposed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum HiddenReason {
    /// Its server listed the same name before.
    Duplicate,
    /// A server earlier in the toolset has the name ([`Naming::Bare`] only).
    TakenBy(ServerIndex),
    /// Every form of its name is contested.
    Contested,
    /// The operator gives its name to another item ([`Naming::Bare`] only).
    GivenAway,
    /// Its name is one of the toolset itself: [`Naming::Bare`], or a name that the operator gives.
    Reserved,
    /// The operator gives its name to several items, so that none of them has it.
    GivenTwice,
    /// The name that the operator gives it is longer than [`NAME_BYTES_MAX`].
    TooLong,
    /// Its definition cannot be changed as the operator says.
    Unchangeable,
    /// The operator hides an argument that its calls must have.
    RequiredHidden,
}

// === impl Naming ===

impl Naming {
    /// Returns the mode's name in resources, flags and logs.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Bare => "bare",
            Self::Prefix => "prefix",
            Self::OnCollision => "on-collision",
        }
    }
}

impl fmt::Display for HiddenReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Duplicate => "its server lists the name twice",
            Self::TakenBy(_) => "an earlier server has the name",
            Self::Contested => "every form of its name is contested",
            Self::GivenAway => "a rule gives its name to another one",
            Self::Reserved => "its name is the one of the toolset's search",
            Self::GivenTwice => "rules give its name to several",
            Self::TooLong => "the name that a rule gives it is too long",
            Self::Unchangeable => "its definition cannot be changed as a rule says",
            Self::RequiredHidden => "a rule hides an argument that it requires",
        })
    }
}

// === impl HiddenReason ===

impl HiddenReason {
    /// Returns the label of this reason in logs and metrics.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Duplicate => "duplicate",
            Self::TakenBy(_) => "taken",
            Self::Contested => "contested",
            Self::GivenAway => "given_away",
            Self::Reserved => "reserved",
            Self::GivenTwice => "given_twice",
            Self::TooLong => "too_long",
            Self::Unchangeable => "unchangeable",
            Self::RequiredHidden => "required_hidden",
        }
    }
}

/// Assigns exposed names to tools or prompts.
///
/// The cost is linear in the number of claims, whatever names a hostile server chooses.
#[must_use]
pub fn assign<'a>(naming: Naming, claims: &[Claim<'a>], names: Names<'_>) -> Assignment<'a> {
    let given = Given::of(claims, names);
    match naming {
        Naming::Bare => first_wins(claims, given),
        Naming::Prefix => settle(claims, given, |_| None, |claim, level| name_at(claim, level + 1)),
        Naming::OnCollision => settle(claims, given, prefixed, name_at),
    }
}

/// Assigns by a ladder of candidates: a claim stands on the first rung whose name nobody contests.
///
/// `candidate(claim, level)` is the name at a level. `reserved(claim)` is a name that the claim
/// wants from the start, as an alias while it stands on another. All claims of a contested name
/// climb, and the name is not given to anybody else. Whether a name is contested only ever changes
/// from no to yes, so the result is the least fixed point and does not depend on the order in which
/// claims are looked at; and claims that are added can make a name contested, but never give it to
/// another server.
pub(crate) fn settle<'a>(
    claims: &[Claim<'a>],
    given: Given<'a>,
    reserved: impl Fn(&Claim<'a>) -> Option<String>,
    candidate: impl Fn(&Claim<'a>, usize) -> Rung<'a>,
) -> Assignment<'a> {
    let Given { taken, waiting, assignment, .. } = given;
    let holders = HashMap::with_capacity(claims.len());
    let mut settling = Settling { claims, level: vec![0; claims.len()], taken, holders, waiting, assignment };
    // What a server itself calls a tool precedes what we would call another tool of that server.
    let own: HashSet<(ServerIndex, &str)> = claims.iter().map(|claim| (claim.server, claim.name)).collect();
    let reservations = settling.waiting.iter().filter_map(|&claim| Some((reserved(&claims[claim])?, claim)));
    let reservations: Vec<(String, usize)> =
        reservations.filter(|(name, claim)| !own.contains(&(claims[*claim].server, name.as_str()))).collect();
    for (name, claim) in &reservations {
        settling.hold(skeleton::of(name), Holder { claim: *claim, own: false });
    }
    while let Some(claim) = settling.waiting.pop() {
        match candidate(&claims[claim], settling.level[claim]) {
            Rung::Own(name) => settling.place(claim, name, true),
            Rung::Made(name) => settling.place(claim, name, false),
            Rung::Skip => settling.climb(claim),
            Rung::End => settling.assignment.hidden.push(Hidden { claim, reason: HiddenReason::Contested }),
        }
    }
    settling.finish(reservations)
}

/// The names that the operator gives, before anybody else gets one.
#[derive(Debug, Default)]
pub(crate) struct Given<'a> {
    /// The given and reserved names by skeleton: they are nobody else's, whoever claims them.
    taken: HashSet<String>,
    /// Those among them that are reserved.
    reserved: HashSet<String>,
    /// The claims that have to find a name.
    waiting: Vec<usize>,
    /// What is settled already.
    assignment: Assignment<'a>,
}

// === impl Given ===

impl<'a> Given<'a> {
    pub(crate) fn of(claims: &[Claim<'a>], names: Names<'_>) -> Self {
        let skeletons = |names: &[&str]| names.iter().map(|name| skeleton::of(name).into_owned()).collect();
        let mut given = Self { taken: skeletons(names.given), reserved: skeletons(names.reserved), ..Self::default() };
        given.assignment.exposed = vec![None; claims.len()];
        let unique = unique(claims, &mut given.assignment.hidden);
        let mut holders: HashMap<String, Vec<usize>> = HashMap::new();
        for claim in unique {
            match claims[claim].given {
                Some(name) => holders.entry(skeleton::of(name).into_owned()).or_default().push(claim),
                None => given.waiting.push(claim),
            }
        }
        for (key, claims_of_name) in holders {
            let reason = match claims_of_name[..] {
                _ if given.reserved.contains(&key) => HiddenReason::Reserved,
                [only] => {
                    given.assignment.exposed[only] = claims[only].given.map(Cow::Borrowed);
                    given.taken.insert(key);
                    continue;
                }
                _ => HiddenReason::GivenTwice,
            };
            given.assignment.hidden.extend(claims_of_name.iter().map(|&claim| Hidden { claim, reason }));
            given.taken.insert(key);
        }
        given.taken.extend(given.reserved.iter().cloned());
        given.assignment.hidden.sort_unstable_by_key(|hidden| hidden.claim);
        given
    }
}

/// A step of a claim's ladder of candidate names.
pub(crate) enum Rung<'a> {
    /// The server's own name, or a form of it that no other name of that server has.
    Own(Cow<'a, str>),
    /// A name that we made and that may be anything.
    Made(Cow<'a, str>),
    /// No name at this level, but perhaps at the next.
    Skip,
    /// No name at this or any later level.
    End,
}

/// The state of [`settle`].
struct Settling<'c, 'a> {
    claims: &'c [Claim<'a>],
    /// The rung that each claim stands on or is about to try.
    level: Vec<usize>,
    /// The names that the operator has given away, by skeleton.
    taken: HashSet<String>,
    /// Who wants a name, by its skeleton.
    holders: HashMap<String, Vec<Holder>>,
    /// Claims that stand nowhere.
    waiting: Vec<usize>,
    assignment: Assignment<'a>,
}

/// A claim that wants a name.
#[derive(Clone, Copy)]
struct Holder {
    claim: usize,
    /// Whether no other name of the claim's server is the same ([`Rung::Own`]).
    own: bool,
}

// === impl Settling ===

impl<'a> Settling<'_, 'a> {
    /// Puts a claim on a name, or makes everybody who stands on it climb.
    fn place(&mut self, claim: usize, name: Cow<'a, str>, own: bool) {
        if self.hold(skeleton::of(&name), Holder { claim, own }) {
            self.assignment.exposed[claim] = Some(name);
        } else {
            self.climb(claim);
        }
    }

    /// Registers that a claim wants a name, and tells whether it may have it.
    fn hold(&mut self, key: Cow<'_, str>, holder: Holder) -> bool {
        if self.taken.contains(key.as_ref()) {
            return false;
        }
        if let Some(contenders) = self.assignment.contested.get_mut(key.as_ref()) {
            contenders.push(holder.claim);
            return false;
        }
        // Those who hold one name peacefully are alike, so the first speaks for all.
        let first = self.holders.get(key.as_ref()).and_then(|holders| holders.first()).copied();
        if first.is_none_or(|first| self.may_share(first, holder)) {
            self.holders.entry(key.into_owned()).or_default().push(holder);
            return true;
        }
        let holders = self.holders.remove(key.as_ref()).unwrap_or_default();
        for holder in &holders {
            let standing = self.assignment.exposed[holder.claim].take_if(|name| skeleton::of(name) == key);
            if standing.is_some() {
                self.climb(holder.claim);
            }
        }
        let contenders = holders.iter().map(|holder| holder.claim).chain([holder.claim]).collect();
        self.assignment.contested.insert(key.into_owned(), contenders);
        false
    }

    fn climb(&mut self, claim: usize) {
        self.level[claim] += 1;
        self.waiting.push(claim);
    }

    /// Whether two may hold one skeleton: a claim shares with its own reservation, and that
    /// different names of one server look alike is that server's affair.
    fn may_share(&self, one: Holder, other: Holder) -> bool {
        one.claim == other.claim
            || (one.own && other.own && self.claims[one.claim].server == self.claims[other.claim].server)
    }

    /// Puts the result in order; reservations that nobody contests become aliases.
    fn finish(self, reservations: Vec<(String, usize)>) -> Assignment<'a> {
        let mut assignment = self.assignment;
        for (name, claim) in reservations {
            let key = skeleton::of(&name);
            let contested = assignment.contested.contains_key(key.as_ref()) || self.taken.contains(key.as_ref());
            if !contested && assignment.exposed[claim].as_deref() != Some(&name) {
                assignment.aliases.insert(name, claim);
            }
        }
        for contenders in assignment.contested.values_mut() {
            contenders.sort_unstable();
            contenders.dedup();
        }
        assignment.hidden.sort_unstable_by_key(|hidden| hidden.claim);
        assignment
    }
}

/// The ladder of tools and prompts: bare, prefixed, prefixed with a hash, with a longer hash.
fn name_at<'a>(claim: &Claim<'a>, level: usize) -> Rung<'a> {
    match level {
        0 if claim.name.len() <= NAME_BYTES_MAX => Rung::Own(Cow::Borrowed(claim.name)),
        1 => prefixed(claim).map_or(Rung::Skip, |name| Rung::Made(Cow::Owned(name))),
        0 => Rung::Skip,
        2 => Rung::Made(Cow::Owned(hashed(claim, HASH_DIGITS))),
        3 => Rung::Made(Cow::Owned(hashed(claim, HASH_DIGITS_CONTESTED))),
        _ => Rung::End,
    }
}

/// `server_name`, when that fits and shows everything it contains.
fn prefixed(claim: &Claim<'_>) -> Option<String> {
    let fits = claim.server_name.len() + SEPARATOR.len_utf8() + claim.name.len() <= NAME_BYTES_MAX;
    (fits && skeleton::is_plain(claim.name)).then(|| format!("{}{SEPARATOR}{}", claim.server_name, claim.name))
}

/// `server_name` cut to make room for `_` and `digits` of a hash.
///
/// The hash is over server and name with NUL between them: `a` with `b_c` and `a_b` with `c`
/// join to the same text, and must not hash to the same digits.
fn hashed(claim: &Claim<'_>, digits: usize) -> String {
    let mut hash = Sha256::new();
    hash.update(claim.server_name.as_bytes());
    hash.update([0]);
    hash.update(claim.name.as_bytes());
    let digest = hash.finalize();

    let mut name = format!("{}{SEPARATOR}{}", claim.server_name, skeleton::of(claim.name));
    let mut end = name.len().min(NAME_BYTES_MAX - SEPARATOR.len_utf8() - digits);
    while !name.is_char_boundary(end) {
        end -= 1;
    }
    name.truncate(end);
    name.push(SEPARATOR);
    for byte in &digest[..digits / 2] {
        for nibble in [byte >> 4, byte & 0xf] {
            name.push(char::from_digit(u32::from(nibble), 16).expect("a nibble is a hexadecimal digit"));
        }
    }
    name
}

/// The rule of [`Naming::Bare`]: claims are in toolset order, and the first server has the name.
fn first_wins<'a>(claims: &[Claim<'a>], given: Given<'a>) -> Assignment<'a> {
    let Given { taken, reserved, waiting, mut assignment } = given;
    let mut holders: HashMap<Cow<'a, str>, ServerIndex> = HashMap::new();
    for claim in waiting {
        let Claim { server, name, .. } = claims[claim];
        let key = skeleton::of(name);
        if taken.contains(key.as_ref()) {
            let is_reserved = reserved.contains(key.as_ref());
            let reason = if is_reserved { HiddenReason::Reserved } else { HiddenReason::GivenAway };
            assignment.hidden.push(Hidden { claim, reason });
            continue;
        }
        let holder = *holders.entry(key).or_insert(server);
        if holder == server {
            assignment.exposed[claim] = Some(Cow::Borrowed(name));
        } else {
            assignment.hidden.push(Hidden { claim, reason: HiddenReason::TakenBy(holder) });
        }
    }
    assignment.hidden.sort_unstable_by_key(|hidden| hidden.claim);
    assignment
}

/// The positions of claims whose server did not claim the same name before.
fn unique(claims: &[Claim<'_>], hidden: &mut Vec<Hidden>) -> Vec<usize> {
    let mut seen = HashSet::with_capacity(claims.len());
    let mut kept = Vec::with_capacity(claims.len());
    for (claim, Claim { server, name, .. }) in claims.iter().enumerate() {
        if seen.insert((*server, *name)) {
            kept.push(claim);
        } else {
            hidden.push(Hidden { claim, reason: HiddenReason::Duplicate });
        }
    }
    kept
}

#[cfg(test)]
mod tests;
