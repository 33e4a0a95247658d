//! Commands about documents, and about the stages in which large changes come.
//!
//! A change is planned on what there is, checked as a whole, and then committed. One that leaves everything as it was makes
//! no revision, so that whoever applies the same set again and again fills no history.

use std::collections::BTreeMap;
use std::sync::Arc;

use prost::Message as _;

use super::{Answer, Catalog, DONE, Step};
use crate::check::{self, Checked};
use crate::document::{self, DocumentKey, Labels, SOURCE, Version};
use crate::effect::Effect;
use crate::limits::{LABEL_VALUE_BYTES_MAX, STAGE_PART_BYTES_MAX, STAGE_PARTS_MAX, STAGED_BYTES_MAX, STAGES_MAX};
use crate::plan::StageId;
use crate::proto::{self, Reason, outcome};
use crate::refusal::Refusal;
use crate::revision::{Change, Stamp};
use crate::stage::Stage;

/// What documents shall be: none for what shall not be there.
type Wanted = BTreeMap<DocumentKey, Option<Version>>;

// === impl Catalog ===

impl Catalog {
    pub(super) fn apply_documents(&mut self, apply: &proto::Apply, step: &mut Step) -> Answer {
        self.check_expected(apply.expected_revision)?;
        let stamp = Stamp::check(step.now, &apply.author, &apply.message, None)?;
        let wanted = self.wanted(apply)?;
        self.change(wanted, stamp, step)
    }

    pub(super) fn rollback(&mut self, rollback: &proto::Rollback, step: &mut Step) -> Answer {
        self.check_expected(rollback.expected_revision)?;
        let to = rollback.to_revision;
        let stamp = Stamp::check(step.now, &rollback.author, &rollback.message, Some(to))?;
        let target = self.documents.at(to).ok_or_else(|| {
            let (oldest, latest) = (self.documents.oldest(), self.documents.revision());
            Refusal::unknown("to_revision", to, format_args!("{oldest} to {latest}"))
        })?;
        let current = self.documents.current();
        let gone = current.keys().filter(|key| !target.contains_key(*key)).map(|key| (key.clone(), None));
        let there = target.iter().map(|(key, version)| (key.clone(), Some(version.clone())));
        let wanted: Wanted = gone.chain(there).collect();
        self.change(wanted, stamp, step)
    }

    pub(super) fn begin_stage(&mut self, begin: &proto::StageBegin, step: &mut Step) -> Answer {
        let stage = Stage::new(begin, step.now)?;
        let open = || self.stages.values().filter(|stage| !stage.is_forgotten(step.now));
        if open().any(|other| other.id == stage.id) {
            return Err(Refusal::new(Reason::Exists, "stage", stage.id, "an id that no stage has"));
        }
        if open().count() >= STAGES_MAX {
            return Err(Refusal::limit("stage", "one more", format_args!("{STAGES_MAX} stages")));
        }
        let free = STAGED_BYTES_MAX - open().map(|stage| stage.bytes).sum::<u64>();
        if stage.bytes > free {
            return Err(Refusal::limit("bytes", stage.bytes, format_args!("{free}, with the other stages")));
        }
        Arc::make_mut(&mut self.stages).insert(stage.id, stage);
        Ok(outcome::Kind::Stage(proto::StageGrown { received: 0 }))
    }

    pub(super) fn grow_stage(&mut self, part: &proto::StagePart, step: &mut Step) -> Answer {
        let stage = self.open_stage(&part.stage, step)?;
        let data = &part.data[..];
        if data.is_empty() || data.len() > STAGE_PART_BYTES_MAX {
            let given = format_args!("{} bytes", data.len());
            return Err(Refusal::invalid("data", given, format_args!("1 to {STAGE_PART_BYTES_MAX} bytes")));
        }
        let (id, received) = (stage.id, stage.received);
        let again = part.offset < received && stage.has(part.offset, data);
        if !again && part.offset != received {
            return Err(Refusal::new(Reason::Conflict, "offset", part.offset, received));
        }
        if !again && data.len() as u64 > stage.bytes - received {
            let rest = stage.bytes - received;
            return Err(Refusal::invalid("data", format_args!("{} bytes", data.len()), format_args!("{rest} bytes")));
        }
        if !again && stage.parts.len() >= STAGE_PARTS_MAX {
            return Err(Refusal::limit("data", "one more", format_args!("{STAGE_PARTS_MAX} parts: send larger ones")));
        }
        let stage = Arc::make_mut(&mut self.stages).get_mut(&id).expect("it is open");
        if !again {
            stage.push(data);
        }
        stage.touched_at = step.now;
        Ok(outcome::Kind::Stage(proto::StageGrown { received: stage.received }))
    }

    pub(super) fn commit_stage(&mut self, commit: &proto::StageCommit, step: &mut Step) -> Answer {
        let stage = self.open_stage(&commit.stage, step)?;
        let id = stage.id;
        if stage.received != stage.bytes {
            let allowed = format_args!("a stage of which everything came: {} of {}", stage.received, stage.bytes);
            return Err(Refusal::new(Reason::State, "stage", id, allowed));
        }
        if stage.hash() != stage.sha256 {
            return Err(Refusal::invalid("stage", id, "what has the hash that was announced"));
        }
        let refuse = |_| Refusal::new(Reason::Malformed, "stage", id, "an encoded Apply");
        let apply = proto::Apply::decode(stage.rope()).map_err(refuse)?;
        let answer = self.apply_documents(&apply, step)?;
        Arc::make_mut(&mut self.stages).remove(&id);
        Ok(answer)
    }

    pub(super) fn abort_stage(&mut self, abort: &proto::StageAbort) -> Answer {
        let id = StageId(check::array("stage", &abort.stage)?);
        if !self.stages.contains_key(&id) {
            return Err(unknown_stage(id));
        }
        Arc::make_mut(&mut self.stages).remove(&id);
        DONE
    }

    fn open_stage(&self, id: &[u8], step: &Step) -> Checked<&Stage> {
        let id = StageId(check::array("stage", id)?);
        let stage = self.stages.get(&id).filter(|stage| !stage.is_forgotten(step.now));
        stage.ok_or_else(|| unknown_stage(id))
    }

    /// Whether nobody else was faster.
    fn check_expected(&self, expected: Option<u64>) -> Checked<()> {
        let revision = self.documents.revision();
        let Some(expected) = expected.filter(|expected| *expected != revision) else { return Ok(()) };
        let refusal = Refusal::new(Reason::Conflict, "expected_revision", expected, revision);
        let Some(last) = self.documents.history().back() else { return Err(refusal) };
        let (author, at) = (last.author().to_owned(), last.at().as_millis());
        Err(refusal.because_of(proto::Conflict { revision, author, at }))
    }

    /// What documents an apply is about, and what it wants them to be.
    fn wanted(&self, apply: &proto::Apply) -> Checked<Wanted> {
        let source = apply.prune_source.as_deref();
        let mut wanted = Wanted::new();
        for (index, upsert) in apply.upserts.iter().enumerate() {
            let within = |refusal: Refusal| refusal.within(format_args!("upserts[{index}]"));
            let key = DocumentKey::from_proto(upsert.key.as_ref()).map_err(within)?;
            let version = self.wanted_version(upsert, source).map_err(within)?;
            if wanted.insert(key.clone(), Some(version)).is_some() {
                return Err(within(Refusal::invalid("key", &key, "each document once")));
            }
        }
        for (index, key) in apply.deletes.iter().enumerate() {
            let within = |refusal: Refusal| refusal.within(format_args!("deletes[{index}]"));
            let key = DocumentKey::from_proto(Some(key)).map_err(within)?;
            if !self.documents.current().contains_key(&key) {
                return Err(Refusal::unknown(&format!("deletes[{index}]"), &key, "a document that there is"));
            }
            if wanted.insert(key.clone(), None).is_some() {
                return Err(Refusal::invalid(&format!("deletes[{index}]"), &key, "each document once"));
            }
        }
        if let Some(source) = source {
            check::line("prune_source", source, LABEL_VALUE_BYTES_MAX)?;
            let from_there = |version: &Version| version.labels.get(SOURCE) == Some(source);
            for (key, _) in self.documents.current().iter().filter(|(_, version)| from_there(version)) {
                wanted.entry(key.clone()).or_insert(None);
            }
        }
        Ok(wanted)
    }

    fn wanted_version(&self, upsert: &proto::Upsert, source: Option<&str>) -> Checked<Version> {
        let labels = Labels::from_proto(&upsert.labels)?;
        if let Some(source) = source.filter(|source| labels.get(SOURCE) != Some(source)) {
            let given = labels.get(SOURCE).unwrap_or_default().to_owned();
            return Err(Refusal::invalid("labels.source", given, format_args!("{source:?}, as prune_source")));
        }
        Ok(Version { revision: 0, labels, content: document::content(&upsert.content)? })
    }

    /// Makes documents what they shall be, in a revision of its own when that changes something.
    fn change(&mut self, wanted: Wanted, stamp: Stamp, step: &mut Step) -> Answer {
        let revision = self.documents.revision() + 1;
        let current = self.documents.current();
        let mut applied = proto::Applied::default();
        let mut bytes = self.documents.bytes();
        let mut changes = Vec::new();
        for (key, after) in wanted {
            let before = current.get(&key).cloned();
            let same = match (&before, &after) {
                (Some(before), Some(after)) => before.says_the_same(after),
                (None, None) => true,
                (Some(_), None) | (None, Some(_)) => false,
            };
            if same {
                applied.unchanged += 1;
                continue;
            }
            let counter = match (&before, &after) {
                (None, _) => &mut applied.added,
                (Some(_), Some(_)) => &mut applied.changed,
                (Some(_), None) => &mut applied.deleted,
            };
            *counter += 1;
            let after = after.map(|after| Version { revision, ..after });
            bytes += after.as_ref().map_or(0, |after| after.bytes(&key));
            bytes -= before.as_ref().map_or(0, |before| before.bytes(&key));
            changes.push(Change { key, before, after });
        }
        let documents = current.len() as u64 + u64::from(applied.added) - u64::from(applied.deleted);
        let limits = self.this_cluster().limits;
        if documents > limits.documents_max {
            return Err(Refusal::limit("upserts", format_args!("{documents} documents"), limits.documents_max));
        }
        if bytes > limits.documents_bytes_max {
            return Err(Refusal::limit("upserts", format_args!("{bytes} bytes"), limits.documents_bytes_max));
        }

        applied.revision = self.documents.revision();
        if !changes.is_empty() {
            self.documents.commit(changes, stamp, &limits);
            applied.revision = revision;
            step.effects.push(Effect::Documents(revision));
        }
        Ok(outcome::Kind::Applied(applied))
    }
}

fn unknown_stage(id: StageId) -> Refusal {
    Refusal::unknown("stage", id, "a stage that is open; one to which nothing comes is dropped after ten minutes")
}
