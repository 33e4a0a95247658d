//! The service `Resources`: the declarative documents of the cluster.
//!
//! Whatever changes documents is made by [`change`], which compiles the whole set that it would make before it proposes it,
//! so that a document that is not valid never gets into the log. What is read comes from the copy of the asked node, whose
//! revision is said. Secrets are shown only to who may change them; a secret that was masked cannot be applied.

mod change;
mod show;
mod watch;
pub(crate) mod withheld;

use std::collections::BTreeMap;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use futures_util::Stream;
use quorate_catalog::{Catalog, DOCUMENT_BYTES_MAX, DocumentKey, HIDDEN, PAGE_MAX, Query, Revision, Version, proto};
use quorate_config::{Document, Errors};
use quorate_follow::Sets;
use quorate_policy::AdminAction;
use quorate_proto::admin::v1 as wire;
use tokio::sync::Semaphore;
use tonic::{Code, Request, Response, Status, async_trait};

pub(crate) use self::change::{Changer, Wanted};
pub(crate) use self::show::key;
use super::caller::{Caller, Note};
use super::node::{Documents, Membership, Wish};
use super::paging::Paging;
use super::service::resources_server::ResourcesServer;
use super::{Node, errors, service};

/// Bytes of a request: as many as a file of resources may have.
const REQUEST_BYTES_MAX: usize = 32 << 20;
/// Watches at once: each is woken by every change.
const WATCHES_MAX: usize = 64;
/// The label that says where a document comes from.
const SOURCE: &str = "source";

/// The service.
pub struct Resources {
    node: Node,
    sets: Sets,
    watches: Arc<Semaphore>,
}

/// Makes the service; `sets` is the compiler that the node's follower has, too.
#[must_use]
pub fn server(node: Node, sets: Sets) -> ResourcesServer<Resources> {
    ResourcesServer::new(Resources { node, sets, watches: Arc::new(Semaphore::new(WATCHES_MAX)) })
        .max_decoding_message_size(REQUEST_BYTES_MAX)
}

/// The first documents of a cluster: checked and applied as all others are.
pub struct First {
    sets: Sets,
}

/// Documents of a request.
struct Taken {
    upserts: Vec<proto::Upsert>,
    origins: BTreeMap<DocumentKey, String>,
}

// === impl First ===

impl First {
    /// `sets` is the compiler that the node's follower has, too.
    #[must_use]
    pub fn new(sets: Sets) -> Self {
        Self { sets }
    }
}

#[async_trait]
impl Documents for First {
    async fn check(&self, documents: &[wire::Document]) -> Result<(), Status> {
        let taken = taken(documents.to_vec(), String::new()).await?;
        let apply = proto::Apply { upserts: taken.upserts, ..proto::Apply::default() };
        change::check(&self.sets, change::empty()?, Wanted::Apply(apply), &taken.origins).await.map(drop)
    }

    async fn apply(&self, member: &dyn Membership, documents: Vec<wire::Document>, author: &str) -> Result<(), Status> {
        let taken = taken(documents, String::new()).await?;
        let message = "the first resources".to_owned();
        let author = author.to_owned();
        let apply = proto::Apply { upserts: taken.upserts, author, message, ..proto::Apply::default() };
        // Whoever makes a cluster has everything of it.
        let (control, sets) = (Arc::clone(member.control()), self.sets.clone());
        let changer = Changer { control, sets, origins: taken.origins, keys: Ok(()) };
        changer.make(Wanted::Apply(apply), &|_| Ok(())).await.map(drop)
    }

    async fn change(&self, member: &dyn Membership, wish: Wish<'_>) -> Result<proto::Applied, Status> {
        let (control, sets) = (Arc::clone(member.control()), self.sets.clone());
        let keys =
            Err(errors::error(Code::Internal, "KEYS", "a change that follows from documents changes no API keys"));
        let changer = Changer { control, sets, origins: BTreeMap::new(), keys };
        let preview = changer.make_of(&|now| Wanted::Apply(wish(now)), &|_| Ok(())).await?;
        let mut applied = proto::Applied { revision: preview.after.revision(), ..proto::Applied::default() };
        for change in show::changed(&preview.before, &preview.after) {
            match change.action() {
                wire::change::Action::Add => applied.added += 1,
                wire::change::Action::Change => applied.changed += 1,
                wire::change::Action::Delete => applied.deleted += 1,
                wire::change::Action::Unspecified => {}
            }
        }
        Ok(applied)
    }
}

// === impl Taken ===

impl Taken {
    fn of(documents: Vec<wire::Document>, source: &str) -> Result<Self, Status> {
        let mut taken = Self { upserts: Vec::with_capacity(documents.len()), origins: BTreeMap::new() };
        let mut wrong: Vec<Errors> = Vec::new();
        for (index, document) in documents.into_iter().enumerate() {
            let at = || format!("documents[{index}]");
            match Document::of_json(&document.json, &document.origin) {
                Ok(one) => {
                    same(&at(), &document, &one.key)?;
                    check_shown(&at(), &one)?;
                    check_size(&at(), &one)?;
                    if taken.origins.insert(one.key.clone(), one.origin).is_some() {
                        return Err(errors::invalid(&at(), &one.key, "each document once"));
                    }
                    taken.upserts.push(proto::Upsert {
                        key: Some(one.key.to_proto()),
                        labels: labels(source),
                        content: one.content,
                    });
                }
                Err(errors) => wrong.push(errors),
            }
        }
        change::all(wrong).map_or(Ok(taken), Err)
    }
}

/// Takes the documents of a request, off the threads that serve requests.
async fn taken(documents: Vec<wire::Document>, source: String) -> Result<Taken, Status> {
    blocking(move || Taken::of(documents, &source)).await
}

async fn blocking<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> T {
    let done = tokio::task::spawn_blocking(work).await;
    done.unwrap_or_else(|panic| std::panic::resume_unwind(panic.into_panic()))
}

fn labels(source: &str) -> Vec<proto::Label> {
    let label = |value: &str| proto::Label { name: SOURCE.to_owned(), value: value.to_owned() };
    Some(source).filter(|source| !source.is_empty()).map(label).into_iter().collect()
}

/// Whether what a request says of a document is what the document says.
fn same(at: &str, said: &wire::Document, is: &DocumentKey) -> Result<(), Status> {
    let parts = [
        ("kind", &said.kind, is.kind()),
        ("tenant", &said.tenant, is.tenant().as_str()),
        ("name", &said.name, is.name().as_str()),
    ];
    for (part, said, is) in parts {
        if !said.is_empty() && said != is {
            let allowed = format_args!("{is:?}, as the document says, or nothing");
            return Err(errors::invalid(&format!("{at}.{part}"), format_args!("{said:?}"), allowed));
        }
    }
    Ok(())
}

/// Whether a document was read without its secrets: applied, it would lose them.
fn check_shown(at: &str, document: &Document) -> Result<(), Status> {
    let hidden = serde_json::Value::String(HIDDEN.to_owned()).to_string();
    let found = document.content.windows(hidden.len()).any(|window| window == hidden.as_bytes());
    if !found {
        return Ok(());
    }
    let allowed = "the secret, or where it is (env:NAME, file:PATH): the document was read by who may not see secrets";
    Err(errors::invalid(at, format_args!("{} with {HIDDEN}", document.key), allowed))
}

/// Whether a document can be kept: it is told by its name, which the catalog's own refusal does not have.
fn check_size(at: &str, document: &Document) -> Result<(), Status> {
    let bytes = document.content.len();
    if bytes <= DOCUMENT_BYTES_MAX {
        return Ok(());
    }
    let value = format_args!("{} with {bytes} bytes", document.key);
    Err(errors::invalid(at, value, format_args!("at most {DOCUMENT_BYTES_MAX} bytes")))
}

// === impl Resources ===

impl Resources {
    fn changer(&self, caller: &Caller, origins: BTreeMap<DocumentKey, String>) -> Result<Changer, Status> {
        let keys = caller.may(AdminAction::Keys, &self.cluster()?);
        Ok(Changer { control: self.node.member()?.control().clone(), sets: self.sets.clone(), origins, keys })
    }

    fn catalog(&self) -> Result<Catalog, Status> {
        Ok(self.node.member()?.control().catalog())
    }

    fn cluster(&self) -> Result<String, Status> {
        Ok(self.catalog()?.cluster().map(|cluster| cluster.id.to_string()).unwrap_or_default())
    }

    /// Whether a caller sees secrets: who may change them.
    fn is_open(&self, caller: &Caller) -> Result<bool, Status> {
        Ok(caller.may(AdminAction::Apply, &self.cluster()?).is_ok())
    }
}

#[async_trait]
impl service::resources_server::Resources for Resources {
    async fn apply(&self, request: Request<wire::ApplyRequest>) -> Result<Response<wire::ApplyResponse>, Status> {
        let (caller, note) = (Caller::of(&request), Note::of(&request));
        let wire::ApplyRequest { documents, source, expected_revision, message, dry_run } = request.into_inner();
        if dry_run {
            note.only_reads();
        } else {
            caller.may(AdminAction::Apply, &self.cluster()?)?;
        }
        let count = documents.len();
        let taken = taken(documents, source.clone()).await?;
        let apply = proto::Apply {
            expected_revision,
            upserts: taken.upserts,
            deletes: Vec::new(),
            prune_source: Some(source.clone()).filter(|source| !source.is_empty()),
            author: caller.to_string(),
            message,
        };
        let changer = self.changer(&caller, taken.origins)?;
        let preview = match dry_run {
            true => changer.preview(Wanted::Apply(apply)).await?,
            false => changer.make(Wanted::Apply(apply), &|_| Ok(())).await?,
        };
        let (keys, touches_keys) = (changer.keys, withheld::touched(&preview) > 0);
        let raises = preview.raises();
        let revision = if dry_run { preview.before.revision() } else { preview.after.revision() };
        note.about(format_args!("{count} documents, revision {revision}"));
        let mut changes = match dry_run {
            true => blocking(move || show::changes(&preview.before, &preview.after)).await,
            false => show::changed(&preview.before, &preview.after),
        };
        if !dry_run {
            note.documents(&changes);
        }
        let mut warnings = Vec::from_iter(raises);
        if dry_run
            && touches_keys
            && let Err(refused) = &keys
        {
            warnings.push(format!("this changes API keys: {}", refused.message()));
        }
        if changes.len() > show::CHANGES_MAX {
            warnings.push(format!("{} changes, of which {} are shown", changes.len(), show::CHANGES_MAX));
            changes.truncate(show::CHANGES_MAX);
        }
        Ok(Response::new(wire::ApplyResponse { revision, changes, warnings }))
    }

    async fn diff(&self, request: Request<wire::DiffRequest>) -> Result<Response<wire::DiffResponse>, Status> {
        let caller = Caller::of(&request);
        let wire::DiffRequest { documents, source } = request.into_inner();
        let taken = taken(documents, source.clone()).await?;
        let apply = proto::Apply {
            upserts: taken.upserts,
            prune_source: Some(source).filter(|source| !source.is_empty()),
            ..proto::Apply::default()
        };
        let preview = self.changer(&caller, taken.origins)?.preview(Wanted::Apply(apply)).await?;
        let revision = preview.before.revision();
        let mut changes = blocking(move || show::changes(&preview.before, &preview.after)).await;
        changes.truncate(show::CHANGES_MAX);
        Ok(Response::new(wire::DiffResponse { revision, changes }))
    }

    async fn get(&self, request: Request<wire::GetRequest>) -> Result<Response<wire::Resource>, Status> {
        let open = self.is_open(&Caller::of(&request))?;
        let wire::GetRequest { kind, tenant, name, revision } = request.into_inner();
        let key = key(&kind, &tenant, &name)?;
        let catalog = self.catalog()?;
        let version = match revision {
            None => catalog.document(&key).cloned(),
            Some(revision) => at(&catalog, revision)?.get(&key).cloned(),
        };
        let version = version.ok_or_else(|| errors::not_found("name", &key, "a document that there is"))?;
        Ok(Response::new(show::resource(&catalog, &key, &version, open)))
    }

    async fn list(&self, request: Request<wire::ListRequest>) -> Result<Response<wire::ListResponse>, Status> {
        let open = self.is_open(&Caller::of(&request))?;
        let wire::ListRequest { kind, tenant, page_size, page_token } = request.into_inner();
        let paging = Paging::read(page_size, &page_token, PAGE_MAX)?;
        let query = Query {
            kind: Some(kind).filter(|kind| !kind.is_empty()),
            tenant: Some(tenant).filter(|tenant| !tenant.is_empty()),
            labels: Vec::new(),
            after: paging.after().map(key_of_token).transpose()?,
            limit: paging.size(),
        };
        let catalog = self.catalog()?;
        let page = catalog.list(&query);
        let mut next = page.next;
        let (mut resources, mut bytes) = (Vec::new(), 0);
        for (key, version) in &page.documents {
            let one = show::resource(&catalog, key, version, open);
            bytes += one.document.as_ref().map_or(0, |document| document.json.len()) + 128;
            // Documents may be large: then a page is shorter.
            if bytes > show::ANSWER_BYTES_MAX && !resources.is_empty() {
                next = page.documents.get(resources.len() - 1).map(|(key, _)| key.clone());
                break;
            }
            resources.push(one);
        }
        let next_page_token = next.map(|key| key.to_string()).unwrap_or_default();
        Ok(Response::new(wire::ListResponse { resources, next_page_token, revision: page.revision }))
    }

    async fn delete(&self, request: Request<wire::DeleteRequest>) -> Result<Response<wire::DeleteResponse>, Status> {
        let (caller, note) = (Caller::of(&request), Note::of(&request));
        let wire::DeleteRequest { kind, tenant, name, expected_revision, message } = request.into_inner();
        let key = key(&kind, &tenant, &name)?;
        note.about(&key);
        let revision =
            delete(&self.changer(&caller, BTreeMap::new())?, &key, expected_revision, &caller, message).await?;
        Ok(Response::new(wire::DeleteResponse { revision }))
    }

    async fn list_revisions(
        &self,
        request: Request<wire::ListRevisionsRequest>,
    ) -> Result<Response<wire::ListRevisionsResponse>, Status> {
        let wire::ListRevisionsRequest { kind, tenant, name, page_size, page_token } = request.into_inner();
        let paging = Paging::read(page_size, &page_token, PAGE_MAX)?;
        let below = paging.after().map(|token| {
            token
                .parse::<u64>()
                .map_err(|_| errors::invalid("page_token", format_args!("{token:?}"), "what the page before gave"))
        });
        let below = below.transpose()?;
        let catalog = self.catalog()?;
        let of = match (kind.is_empty(), name.is_empty()) {
            (true, true) => None,
            _ => Some(key(&kind, &tenant, &name)?),
        };
        let (mut revisions, mut changes, mut last, mut more) = (Vec::new(), 0, None, false);
        // One more says whether there are others.
        let limit = paging.size() + 1;
        let found: Vec<&Revision> = match &of {
            None => catalog.revisions(below, limit).collect(),
            Some(key) => catalog.history(key, below, limit).map(|(revision, _)| revision).collect(),
        };
        for one in found {
            let mut shown = show::revision(one);
            if let Some(key) = &of {
                let key = key.to_proto();
                let is_it =
                    |one: &wire::Change| (&one.kind, &one.tenant, &one.name) == (&key.kind, &key.tenant, &key.name);
                shown.changes.retain(is_it);
            }
            changes += shown.changes.len();
            if revisions.len() == paging.size() || changes > show::CHANGES_MAX && !revisions.is_empty() {
                more = true;
                break;
            }
            last = Some(one.number);
            revisions.push(shown);
        }
        let next_page_token = last.filter(|_| more).map(|last| last.to_string()).unwrap_or_default();
        let oldest = catalog.oldest_revision();
        Ok(Response::new(wire::ListRevisionsResponse { revisions, next_page_token, oldest }))
    }

    async fn rollback(
        &self,
        request: Request<wire::RollbackRequest>,
    ) -> Result<Response<wire::RollbackResponse>, Status> {
        let (caller, note) = (Caller::of(&request), Note::of(&request));
        let wire::RollbackRequest { to, expected_revision, message } = request.into_inner();
        note.about(format_args!("to revision {to}"));
        let rollback = proto::Rollback { to_revision: to, expected_revision, author: caller.to_string(), message };
        let changer = self.changer(&caller, BTreeMap::new())?;
        let made = changer.make_of(&|now| withheld::rollback(now, &rollback), &|_| Ok(())).await;
        let preview = made.map_err(|refused| {
            let (now, then) = (changer.control.catalog(), format!("revision {to}"));
            let differing = now.at_revision(to).map_or(0, |then| withheld::differing(now.documents(), &then));
            withheld::explained(refused, differing, &then)
        })?;
        let (revision, changes) = (preview.after.revision(), show::changed(&preview.before, &preview.after));
        note.documents(&changes);
        let then = preview.before.at_revision(to);
        let differing = then.map_or(0, |then| withheld::differing(preview.after.documents(), &then));
        let warnings = withheld::warning(differing, &format!("revision {to}")).into_iter().collect();
        Ok(Response::new(wire::RollbackResponse { revision, changes, warnings }))
    }

    type WatchStream = Pin<Box<dyn Stream<Item = Result<wire::WatchResponse, Status>> + Send>>;

    async fn watch(&self, request: Request<wire::WatchRequest>) -> Result<Response<Self::WatchStream>, Status> {
        let control = self.node.member()?.control().clone();
        let Ok(place) = Arc::clone(&self.watches).try_acquire_owned() else {
            let message =
                format!("{WATCHES_MAX} watches are open, the most allowed on a node: ask another, or close some");
            return Err(errors::retry(Code::ResourceExhausted, "WATCHES", message, Duration::from_secs(5)));
        };
        Ok(Response::new(Box::pin(watch::stream(control, request.into_inner().after, place))))
    }
}

/// Deletes a document.
pub(crate) async fn delete(
    changer: &Changer,
    key: &DocumentKey,
    expected_revision: Option<u64>,
    caller: &Caller,
    message: String,
) -> Result<u64, Status> {
    let apply = proto::Apply {
        expected_revision,
        deletes: vec![key.to_proto()],
        author: caller.to_string(),
        message,
        ..proto::Apply::default()
    };
    Ok(changer.make(Wanted::Apply(apply), &|_| Ok(())).await?.after.revision())
}

/// The documents as they were.
fn at(catalog: &Catalog, revision: u64) -> Result<Arc<BTreeMap<DocumentKey, Version>>, Status> {
    let (oldest, latest) = (catalog.oldest_revision(), catalog.revision());
    let found = catalog.at_revision(revision);
    found.ok_or_else(|| errors::not_found("revision", revision, format_args!("{oldest} to {latest}")))
}

/// Reads the token of a page: the last key before it.
pub(crate) fn key_of_token(token: &str) -> Result<DocumentKey, Status> {
    let parts: Vec<&str> = token.split('/').collect();
    let key = match parts[..] {
        [kind, tenant, name] => DocumentKey::new(kind, tenant, name).ok(),
        _ => None,
    };
    key.ok_or_else(|| errors::invalid("page_token", format_args!("{token:?}"), "what the page before gave"))
}
