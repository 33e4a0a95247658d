//! The service `Keys`: API keys of agents, as documents of the cluster.
//!
//! A key is drawn on the node that is asked, and is in its answer and nowhere else; its document has an HMAC under a key
//! that every node derives from the root key. A key is refused on a node from the moment on which the node runs the revision
//! without it: that is when it has caught up, whether or not there is a quorum.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use quorate_catalog::{Catalog, DocumentKey, PAGE_MAX, Query, proto};
use quorate_follow::Sets;
use quorate_identity::api_key::{Fresh, Id, MacKey, PREFIX};
use quorate_proto::admin::v1 as wire;
use quorate_types::{Timestamp, rfc3339};
use serde_json::{Value, json};
use tonic::{Code, Request, Response, Status, async_trait};

use super::caller::{Caller, Note};
use super::paging::Paging;
use super::resources::withheld::KIND;
use super::resources::{Changer, Wanted, delete, key, key_of_token};
use super::service::keys_server::KeysServer;
use super::{Node, errors, service, timestamp};

/// How long a key can be good for: longer means that nobody will remember it.
const VALID_FOR_MAX: Duration = Duration::from_secs(10 * 366 * 24 * 3_600);

/// When keys were used last on this node, by the visible part of each.
pub type LastUsed = Arc<dyn Fn() -> HashMap<Id, Timestamp> + Send + Sync>;

/// The service.
pub struct Keys {
    node: Node,
    sets: Sets,
    last_used: LastUsed,
}

/// Makes the service; `sets` is the compiler that the node's follower has, too.
#[must_use]
pub fn server(node: Node, sets: Sets, last_used: LastUsed) -> KeysServer<Keys> {
    KeysServer::new(Keys { node, sets, last_used })
}

// === impl Keys ===

impl Keys {
    fn changer(&self) -> Result<Changer, Status> {
        let control = self.node.member()?.control().clone();
        // Each call that changes keys is permitted by its row.
        Ok(Changer { control, sets: self.sets.clone(), origins: BTreeMap::new(), keys: Ok(()) })
    }
}

#[async_trait]
impl service::keys_server::Keys for Keys {
    async fn create(
        &self,
        request: Request<wire::CreateKeyRequest>,
    ) -> Result<Response<wire::CreateKeyResponse>, Status> {
        let (caller, note) = (Caller::of(&request), Note::of(&request));
        let request = request.into_inner();
        let key = key(KIND, &request.tenant, &request.name)?;
        note.about(&key);
        let expires = expires(request.valid_for.as_ref())?;
        let fresh = Fresh::new(draw(), draw());
        let mac = MacKey::of_root(self.node.member()?.root_key().expose()).mac(&fresh);
        let document = document(&request, &key, &fresh, &mac.to_string(), expires);
        let content = quorate_catalog::canonical(&document)
            .map_err(|error| errors::error(Code::Internal, "DOCUMENT", error.to_string()))?;
        let upsert = proto::Upsert { key: Some(key.to_proto()), labels: Vec::new(), content: content.clone() };
        let apply = proto::Apply {
            upserts: vec![upsert],
            author: caller.to_string(),
            message: format!("API key {}", fresh.id),
            ..proto::Apply::default()
        };
        let is_free = |catalog: &Catalog| match catalog.document(&key) {
            None => Ok(()),
            Some(_) => Err(errors::error(
                Code::AlreadyExists,
                "EXISTS",
                format!("{key} is there: name another one, or revoke it first"),
            )),
        };
        let made = self.changer()?.make(Wanted::Apply(apply), &is_free).await?;
        let named = key.to_proto();
        let document = wire::Document {
            kind: named.kind,
            tenant: named.tenant,
            name: named.name,
            json: content,
            origin: String::new(),
        };
        Ok(Response::new(wire::CreateKeyResponse {
            key: fresh.expose().to_owned(),
            document: Some(document),
            revision: made.after.revision(),
        }))
    }

    async fn list(&self, request: Request<wire::ListKeysRequest>) -> Result<Response<wire::ListKeysResponse>, Status> {
        let wire::ListKeysRequest { tenant, page_size, page_token } = request.into_inner();
        let paging = Paging::read(page_size, &page_token, PAGE_MAX)?;
        let query = Query {
            kind: Some(KIND.to_owned()),
            tenant: Some(tenant).filter(|tenant| !tenant.is_empty()),
            labels: Vec::new(),
            after: paging.after().map(key_of_token).transpose()?,
            limit: paging.size(),
        };
        let page = self.node.member()?.control().catalog().list(&query);
        let used = (self.last_used)();
        let keys = page.documents.iter().flat_map(|(key, version)| shown(key, version.content.data(), &used)).collect();
        let next_page_token = page.next.map(|key| key.to_string()).unwrap_or_default();
        Ok(Response::new(wire::ListKeysResponse { keys, next_page_token }))
    }

    async fn revoke(
        &self,
        request: Request<wire::RevokeKeyRequest>,
    ) -> Result<Response<wire::RevokeKeyResponse>, Status> {
        let (caller, note) = (Caller::of(&request), Note::of(&request));
        let wire::RevokeKeyRequest { name, tenant } = request.into_inner();
        let key = key(KIND, &tenant, &name)?;
        note.about(&key);
        let revision = delete(&self.changer()?, &key, None, &caller, "API key revoked".to_owned()).await?;
        Ok(Response::new(wire::RevokeKeyResponse { revision }))
    }
}

fn document(
    request: &wire::CreateKeyRequest,
    key: &DocumentKey,
    fresh: &Fresh,
    mac: &str,
    expires: Option<Timestamp>,
) -> Value {
    let mut kept = json!({ "id": fresh.id.to_string(), "hmac": mac });
    if let Some(expires) = expires {
        kept["expires"] = rfc3339::format(expires).into();
    }
    let mut spec = json!({ "keys": [kept] });
    if !request.agent.is_empty() {
        spec["agent"] = request.agent.as_str().into();
    }
    if !request.scopes.is_empty() {
        spec["scopes"] = request.scopes.clone().into();
    }
    let mut document = json!({ "kind": KIND, "name": key.name().as_str(), "spec": spec });
    if !key.tenant().is_operator() {
        document["tenant"] = key.tenant().as_str().into();
    }
    document
}

/// When a key ends that is good for so long; never when nobody says. Documents have whole seconds.
fn expires(valid_for: Option<&prost_types::Duration>) -> Result<Option<Timestamp>, Status> {
    let Some(given) = valid_for else { return Ok(None) };
    let seconds = u64::try_from(given.seconds).ok().filter(|seconds| (1..=VALID_FOR_MAX.as_secs()).contains(seconds));
    let Some(seconds) = seconds else {
        let allowed = format_args!("1 second to {} days", VALID_FOR_MAX.as_secs() / 86_400);
        return Err(errors::invalid("valid_for", format_args!("{} s", given.seconds), allowed));
    };
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs();
    Ok(Some(Timestamp::from_millis((now + seconds) * 1_000)))
}

fn draw<const BYTES: usize>() -> [u8; BYTES] {
    let mut drawn = [0; BYTES];
    getrandom::fill(&mut drawn).expect("the operating system has randomness");
    drawn
}

/// The keys of a document, without what only nodes have.
fn shown(key: &DocumentKey, content: &[u8], used: &HashMap<Id, Timestamp>) -> Vec<wire::Key> {
    let document: Value = serde_json::from_slice(content).unwrap_or_default();
    let spec = &document["spec"];
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let scopes: BTreeSet<String> = spec["scopes"].as_array().into_iter().flatten().map(text).collect();
    let agent = spec["agent"].as_str().unwrap_or(key.name().as_str());
    let of = |kept: &Value| wire::Key {
        name: key.name().to_string(),
        tenant: key.tenant().to_string(),
        agent: agent.to_owned(),
        prefix: format!("{PREFIX}{}", text(&kept["id"])),
        scopes: scopes.iter().cloned().collect(),
        expires: kept["expires"].as_str().and_then(|text| rfc3339::parse(text).ok()).map(timestamp),
        last_used: text(&kept["id"]).parse().ok().and_then(|id: Id| used.get(&id).copied()).map(timestamp),
    };
    spec["keys"].as_array().into_iter().flatten().map(of).collect()
}
