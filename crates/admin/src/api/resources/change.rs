//! A change of the documents, from what is wanted to what became of it.
//!
//! ```text
//! latest catalog ─▶ preview (the change, applied to a copy) ─▶ compile the whole set ─▶ propose, expecting that revision
//!       ▲                                                                                │
//!       └── somebody was faster, and nobody asked for a certain revision ◀───────────────┤
//!       └── it is not known whether it was committed: is it there? else once more ◀──────┘
//! ```
//!
//! A set that not every earlier program can read raises the cluster's feature level before it is proposed.
//!
//! What is committed is exactly what was compiled: each proposal expects the revision that it was compiled against. For the
//! same reason doing it again is safe: of two equal proposals one is refused, and then the revision after the expected one
//! is looked at, whether it is this change.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use prost::Message as _;
use quorate_catalog::proto::command::Kind as Command;
use quorate_catalog::proto::outcome::Kind as Outcome;
use quorate_catalog::{Catalog, DocumentKey, Refusal, Revision, StageId, commands, outcome, proto};
use quorate_config::error::Place;
use quorate_config::{Compiled, Errors, Kind, Needed};
use quorate_control::{CommandError, Control};
use quorate_follow::{CompileError, Sets};
use quorate_raft::ProposeError;
use tonic::{Code, Status};

use super::{show, withheld};
use crate::api::errors;
use crate::api::latest::latest;
use crate::api::level::raise;

/// How often a change is tried: more operators than that do not apply at the same moment.
const TRIES: usize = 8;

/// What is wanted.
#[derive(Clone)]
pub(crate) enum Wanted {
    /// These documents, and others no longer.
    Apply(proto::Apply),
    /// What was at a revision.
    Rollback(proto::Rollback),
}

/// A change before and after, when the whole set is valid.
pub(crate) struct Preview {
    pub(crate) before: Catalog,
    pub(crate) after: Catalog,
    /// What in it takes the highest feature level.
    needed: Option<Needed>,
}

/// Who makes changes.
pub(crate) struct Changer {
    pub(crate) control: Arc<Control>,
    pub(crate) sets: Sets,
    /// Where the documents of a change are from, for messages.
    pub(crate) origins: BTreeMap<DocumentKey, String>,
    /// Whether they may change documents of API keys, and what they are told when they may not.
    pub(crate) keys: Result<(), Status>,
}

/// What a change has to find, beside valid documents.
pub(crate) type Condition<'a> = &'a (dyn Fn(&Catalog) -> Result<(), Status> + Send + Sync);

/// What is wanted, of the documents that there are.
pub(crate) type Wish<'a> = &'a (dyn Fn(&Catalog) -> Wanted + Send + Sync);

// === impl Preview ===

impl Preview {
    /// What the change does to the cluster's feature level, where it does something.
    pub(crate) fn raises(&self) -> Option<String> {
        if self.before.revision() == self.after.revision() {
            return None;
        }
        let level = self.before.cluster().map_or(1, |cluster| cluster.level);
        let Needed { level: to, document, path } = self.needed.as_ref().filter(|needed| needed.level > level)?;
        Some(format!(
            "{document}: {path} raises the cluster's feature level from {level} to {to}: earlier programs cannot join it"
        ))
    }
}

// === impl Wanted ===

impl Wanted {
    fn expected(&self) -> Option<u64> {
        match self {
            Self::Apply(apply) => apply.expected_revision,
            Self::Rollback(rollback) => rollback.expected_revision,
        }
    }

    fn expecting(&self, revision: Option<u64>) -> Self {
        let mut wanted = self.clone();
        match &mut wanted {
            Self::Apply(apply) => apply.expected_revision = revision,
            Self::Rollback(rollback) => rollback.expected_revision = revision,
        }
        wanted
    }

    fn author(&self) -> &str {
        match self {
            Self::Apply(apply) => &apply.author,
            Self::Rollback(rollback) => &rollback.author,
        }
    }

    fn commands(self, level: u32, id: StageId) -> Vec<proto::Command> {
        match self {
            Self::Apply(apply) => commands(level, apply, id),
            Self::Rollback(rollback) => vec![proto::Command { level, kind: Some(Command::Rollback(rollback)) }],
        }
    }

    /// Makes the change in a copy of a catalog.
    fn on(self, before: &Catalog) -> Result<Catalog, Refusal> {
        let level = before.cluster().map_or(1, |cluster| cluster.level);
        let mut after = before.clone();
        for command in self.commands(level, StageId([0; 16])) {
            outcome(&after.apply(before.time(), &command.encode_to_vec()).outcome)?;
        }
        Ok(after)
    }
}

// === impl Changer ===

impl Changer {
    /// Shows what a change would make of the documents that this node has.
    ///
    /// # Errors
    /// What the caller is told: a document that is not valid, or what the catalog would refuse.
    pub(crate) async fn preview(&self, wanted: Wanted) -> Result<Preview, Status> {
        self.preview_on(self.control.catalog(), wanted).await
    }

    /// Makes a change.
    ///
    /// # Errors
    /// What the caller is told; then nothing has changed, unless it says that this is not known.
    pub(crate) async fn make(&self, wanted: Wanted, condition: Condition<'_>) -> Result<Preview, Status> {
        self.make_of(&|_| wanted.clone(), condition).await
    }

    /// Makes a change that follows from what there is: when somebody else was faster, it is another one.
    ///
    /// # Errors
    /// As [`Self::make`].
    pub(crate) async fn make_of(&self, wish: Wish<'_>, condition: Condition<'_>) -> Result<Preview, Status> {
        // What was proposed, and is not known to be committed.
        let mut pending: Option<Preview> = None;
        for _ in 0..TRIES {
            let before = latest(&self.control).await.map_err(|error| {
                let unknown = || errors::command(&CommandError::Proposal(ProposeError::Unknown));
                pending.as_ref().map_or_else(|| errors::read(&error), |_| unknown())
            })?;
            if let Some(made) = pending.take_if(|preview| is_made(&before, preview)) {
                return Ok(made);
            }
            let wanted = wish(&before);
            if let Some(made) = was_made(&before, &wanted) {
                return Ok(made);
            }
            condition(&before)?;
            let preview = self.preview_on(before, wanted.clone()).await?;
            let now = preview.before.revision();
            if now == preview.after.revision() {
                return Ok(preview);
            }
            if withheld::touched(&preview) > 0 {
                self.keys.clone()?;
            }
            if let Some(needed) = &preview.needed {
                raise(&self.control, needed.level, |refusal| in_the_way(needed, refusal)).await?;
            }
            match self.propose(wanted.expecting(Some(now))).await {
                Ok(()) => return Ok(preview),
                Err(CommandError::Refused(refusal)) if is_conflict(&refusal) => {
                    let now = latest(&self.control).await.map_err(|error| errors::read(&error))?;
                    if is_made(&now, &preview) {
                        return Ok(preview);
                    }
                    if wanted.expected().is_some() {
                        return Err(errors::refusal(&refusal));
                    }
                }
                Err(CommandError::Proposal(ProposeError::Unknown)) => pending = Some(preview),
                Err(error) => return Err(errors::command(&error)),
            }
        }
        let message = "others change the documents all the time";
        Err(errors::retry(Code::Aborted, "CONFLICT", message, Duration::from_secs(1)))
    }

    async fn preview_on(&self, before: Catalog, wanted: Wanted) -> Result<Preview, Status> {
        check(&self.sets, before, wanted, &self.origins).await
    }

    /// Proposes a change, in as many commands as it takes. A stage that was refused is taken back, so that it holds no room.
    async fn propose(&self, wanted: Wanted) -> Result<(), CommandError> {
        let mut id = [0; 16];
        getrandom::fill(&mut id).expect("the operating system has randomness");
        let level = self.control.catalog().cluster().map_or(1, |cluster| cluster.level);
        let mut staged = false;
        for command in wanted.commands(level, StageId(id)) {
            let Some(kind) = command.kind else { continue };
            let begins = matches!(kind, Command::StageBegin(_));
            match self.control.command(kind).await {
                Ok(Outcome::Refusal(refusal)) => return Err(CommandError::Refused(refusal.into())),
                Ok(_) => staged |= begins,
                Err(error) => {
                    if staged || begins {
                        let abort = proto::StageAbort { stage: id.to_vec().into() };
                        if let Err(error) = self.control.command(Command::StageAbort(abort)).await {
                            tracing::debug!(%error, "a stage is left to be dropped after its time");
                        }
                    }
                    return Err(error);
                }
            }
        }
        Ok(())
    }
}

/// Makes a change in a copy of a catalog, and checks the whole set that comes of it.
pub(crate) async fn check(
    sets: &Sets,
    before: Catalog,
    wanted: Wanted,
    origins: &BTreeMap<DocumentKey, String>,
) -> Result<Preview, Status> {
    let made = tokio::task::spawn_blocking(move || wanted.on(&before).map(|after| (before, after))).await;
    let made = made.unwrap_or_else(|panic| std::panic::resume_unwind(panic.into_panic()));
    let (before, after) = made.map_err(|refusal| errors::refusal(&refusal))?;
    match sets.preview(after.clone()).await {
        Ok(Compiled { needed, .. }) => Ok(Preview { before, after, needed }),
        Err(error @ CompileError::Panicked) => Err(errors::error(Code::Internal, "PANIC", error.to_string())),
        Err(CompileError::Documents(problems)) => {
            Err(show::problems(&problems.from_origins(|place| origin(place, origins))))
        }
    }
}

/// The catalog of a cluster that has nothing but its first node.
pub(crate) fn empty() -> Result<Catalog, Status> {
    let node = proto::NewNode {
        name: "first".to_owned(),
        peer_address: "127.0.0.1:1".to_owned(),
        level_min: 1,
        level_max: 1,
        ..proto::NewNode::default()
    };
    let cluster = vec![1; 16].into();
    let bootstrap = proto::Bootstrap { cluster, level: 1, node: Some(node), ..proto::Bootstrap::default() };
    let command = proto::Command { level: 1, kind: Some(Command::Bootstrap(bootstrap)) };
    let mut catalog = Catalog::default();
    let made = outcome(&catalog.apply(catalog.time(), &command.encode_to_vec()).outcome);
    made.map_err(|refusal| errors::refusal(&refusal)).map(|_| catalog)
}

/// A node is in the way of the feature level that a document takes.
fn in_the_way(needed: &Needed, refusal: &Refusal) -> Status {
    let Needed { level, document, path } = needed;
    let (subject, allowed) = (format!("{document}: {path}"), refusal.allowed());
    let message =
        format!("{subject} takes feature level {level}; allowed: {allowed}: start that node with a newer program");
    errors::precondition("LEVEL", &subject, message)
}

fn origin(place: &Place, origins: &BTreeMap<DocumentKey, String>) -> Option<PathBuf> {
    let is_it =
        |key: &DocumentKey| place.kind == Kind::of(key.kind()) && place.name.as_deref() == Some(key.name().as_str());
    let (_, origin) = origins.iter().find(|(key, _)| is_it(key))?;
    Some(origin).filter(|origin| !origin.is_empty()).map(PathBuf::from)
}

/// Whether a caller who asked for a certain revision asks again for what it has made: the revision after is its own, and
/// there is nothing left to change.
fn was_made(now: &Catalog, wanted: &Wanted) -> Option<Preview> {
    let expected = wanted.expected()?;
    let last = now.revisions(None, 1).next()?;
    if last.number != expected + 1 || last.author() != wanted.author() {
        return None;
    }
    let after = wanted.expecting(None).on(now).ok()?;
    (after.revision() == now.revision()).then(|| Preview { before: now.clone(), after, needed: None })
}

/// Whether the revision after the one that was expected is this change: it was proposed twice, or its outcome got lost.
fn is_made(now: &Catalog, preview: &Preview) -> bool {
    let number = preview.after.revision();
    let of = |catalog: &Catalog| -> Option<Revision> {
        catalog.revisions(Some(number + 1), 1).next().filter(|found| found.number == number).cloned()
    };
    let (Some(there), Some(wanted)) = (of(now), of(&preview.after)) else { return false };
    there.changes == wanted.changes
        && there.author() == wanted.author()
        && there.message() == wanted.message()
        && there.rollback_to() == wanted.rollback_to()
}

fn is_conflict(refusal: &Refusal) -> bool {
    refusal.reason() == proto::Reason::Conflict && refusal.field() == "expected_revision"
}

/// Puts the errors of several documents together.
pub(crate) fn all(errors: Vec<Errors>) -> Option<Status> {
    let mut errors = errors.into_iter();
    let first = errors.next()?;
    Some(show::problems(&errors.fold(first, Errors::and)))
}
