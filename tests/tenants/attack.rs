//! What one can try with what belongs to another: every operation that clients have, in both eras, on every toolset.

use proptest::prelude::*;
use serde_json::{Value, json};

use crate::{
    party::{Party, Reply},
    victim::{Loot, asked},
    world::{COMMON, WIDE},
};

/// One who tries, with sessions of its own.
pub(crate) struct Attacker<'a> {
    pub(crate) party: &'a Party,
    /// On the common toolset, and on its own.
    pub(crate) common: String,
    pub(crate) own: String,
}

/// Where it is tried.
#[derive(Clone, Copy, Debug)]
pub(crate) enum At {
    Common,
    /// The toolset of who tries.
    Own,
    /// That of the other tenant.
    Theirs,
    Wide,
}

/// In which era.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Era {
    Session,
    Stateless,
}

/// Whose session it goes into.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Stolen {
    Common,
    Own,
    Sse,
}

/// What is done with somebody's session.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Join {
    Post(&'static str),
    Cancel,
    Get,
    Resume(&'static str),
    Delete,
    /// Over the endpoint of 2024-11-05.
    Sse,
}

/// What is tried.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Attempt {
    /// Something with a session.
    Join(Stolen, Join, At),
    /// Something with a task: of the extension or not.
    Task(bool, &'static str, Era, At),
    /// A retry with a state: of the other's call, or of one's own.
    Retry(bool, At),
    /// A page of a list.
    Page(&'static str, Era, At),
    /// A method with a name that ends so: a tool, a prompt, or a URI.
    Name(&'static str, &'static str, Era, At),
    /// A call as a task.
    Begin(&'static str, At),
    /// News of lists, resources and tasks.
    Listen(bool, bool, At),
    /// A search.
    Find(&'static str, Era),
    /// A list, or what is offered at all.
    Look(&'static str, Era, At),
    /// A handshake.
    Open(At),
    /// A page that clients read before they sign in.
    Metadata(At),
    /// A notification or an answer about a request of the other, in one's own session.
    Meddle(&'static str, u8),
}

const TOOLS: [&str; 5] = ["-job", "-say", "-ask", "-work", "-read"];
const URIS: [&str; 3] = ["://doc", "-desk://doc", "-own://doc"];
const LISTS: [&str; 4] = ["tools/list", "prompts/list", "resources/list", "resources/templates/list"];

/// Attempts of every kind.
pub(crate) fn attempts() -> impl Strategy<Value = Attempt> {
    let at = || prop::sample::select(vec![At::Common, At::Own, At::Theirs, At::Wide]);
    let era = || prop::sample::select(vec![Era::Session, Era::Stateless]);
    let stolen = prop::sample::select(vec![Stolen::Common, Stolen::Own, Stolen::Sse]);
    let posted = prop::sample::select(vec!["ping", "tools/list", "tasks/list", "initialize", "logging/setLevel"]);
    let join = prop_oneof![
        3 => posted.prop_map(Join::Post),
        1 => Just(Join::Cancel),
        1 => Just(Join::Get),
        1 => event().prop_map(Join::Resume),
        1 => Just(Join::Delete),
        1 => Just(Join::Sse),
    ];
    let verb = prop::sample::select(vec!["tasks/get", "tasks/result", "tasks/cancel", "tasks/update"]);
    let name = prop_oneof![
        prop::sample::select(TOOLS.to_vec()).prop_map(|name| ("tools/call", name)),
        prop::sample::select(vec!["-prompt", "-plan"]).prop_map(|name| ("prompts/get", name)),
        (
            prop::sample::select(vec!["resources/read", "resources/subscribe", "resources/unsubscribe"]),
            prop::sample::select(URIS.to_vec())
        ),
        prop::sample::select(vec!["-prompt", "-plan", "://doc", "-own://doc"])
            .prop_map(|name| ("completion/complete", name)),
    ];
    prop_oneof![
        4 => (stolen, join, at()).prop_map(|(stolen, join, at)| Attempt::Join(stolen, join, at)),
        4 => (any::<bool>(), verb, era(), at()).prop_map(|(new, verb, era, at)| Attempt::Task(new, verb, era, at)),
        3 => (any::<bool>(), at()).prop_map(|(theirs, at)| Attempt::Retry(theirs, at)),
        1 => (prop::sample::select(LISTS.to_vec()), era(), at()).prop_map(|(list, era, at)| Attempt::Page(list, era, at)),
        5 => (name, era(), at()).prop_map(|((method, name), era, at)| Attempt::Name(method, name, era, at)),
        1 => (prop::sample::select(TOOLS.to_vec()), at()).prop_map(|(tool, at)| Attempt::Begin(tool, at)),
        2 => (any::<bool>(), any::<bool>(), at()).prop_map(|(lists, items, at)| Attempt::Listen(lists, items, at)),
        1 => (prop::sample::select(vec!["", " job", " ask work"]), era()).prop_map(|(of, era)| Attempt::Find(of, era)),
        2 => (prop::sample::select([&LISTS[..], &["tasks/list", "server/discover"]].concat()), era(), at())
            .prop_map(|(list, era, at)| Attempt::Look(list, era, at)),
        1 => at().prop_map(Attempt::Open),
        1 => at().prop_map(Attempt::Metadata),
        2 => (prop::sample::select(vec!["cancel", "progress", "answer", "roots"]), any::<u8>())
            .prop_map(|(how, id)| Attempt::Meddle(how, id)),
    ]
}

/// Ids of events, as every session counts them.
fn event() -> impl Strategy<Value = &'static str> {
    prop::sample::select(vec!["0.0", "0.1", "1.0", "1.1", "2.1", "7.7"])
}

// === impl Attacker ===

impl<'a> Attacker<'a> {
    pub(crate) fn new(party: &'a Party) -> anyhow::Result<Self> {
        let (common, own) = (party.open(COMMON)?, party.open(&format!("/mcp/{}-tools", party.tenant))?);
        Ok(Self { party, common, own })
    }

    /// Ends its sessions.
    pub(crate) fn leave(&self) -> anyhow::Result<()> {
        self.party.delete(COMMON, &self.common)?;
        self.party.delete(&format!("/mcp/{}-tools", self.party.tenant), &self.own)?;
        Ok(())
    }

    fn path(&self, at: At, loot: &Loot) -> String {
        match at {
            At::Common => COMMON.to_owned(),
            At::Own => format!("/mcp/{}-tools", self.party.tenant),
            At::Theirs => format!("/mcp/{}-tools", loot.tenant),
            At::Wide => WIDE.to_owned(),
        }
    }

    /// Sends a request in an era, with the session that it has where it tries, or some session.
    fn ask(&self, era: Era, at: At, loot: &Loot, method: &str, params: Value) -> anyhow::Result<Reply> {
        let path = self.path(at, loot);
        match (era, at) {
            (Era::Stateless, _) => Reply::first_of(self.party.begin(&path, method, params)?),
            (Era::Session, At::Own) => self.party.ask(&path, &self.own, method, params),
            (Era::Session, _) => self.party.ask(&path, &self.common, method, params),
        }
    }

    /// Makes an attempt with this loot.
    pub(crate) fn tries(&self, attempt: Attempt, loot: &Loot) -> anyhow::Result<Reply> {
        match attempt {
            Attempt::Join(stolen, join, at) => self.joins(stolen, join, at, loot),
            Attempt::Task(new, verb, era, at) => {
                let task = if new { &loot.task } else { &loot.work };
                let mut params = json!({ "taskId": task });
                if verb == "tasks/update" {
                    params["inputResponses"] = json!({});
                }
                self.ask(era, at, loot, verb, params)
            }
            Attempt::Retry(theirs, at) => {
                let mut params = asked(if theirs { &loot.tenant } else { self.party.tenant });
                params["requestState"] = json!(loot.state);
                params["inputResponses"] = json!({ "1": { "action": "accept", "content": { "word": "stolen" } } });
                self.ask(Era::Stateless, at, loot, "tools/call", params)
            }
            Attempt::Page(list, era, at) => self.ask(era, at, loot, list, json!({ "cursor": loot.cursor })),
            Attempt::Name(method, name, era, at) => {
                self.ask(era, at, loot, method, params_of(method, &loot.tenant, name))
            }
            Attempt::Begin(tool, at) => {
                let params = json!({ "name": format!("{}{tool}", loot.tenant), "task": { "ttl": 1000 } });
                self.ask(Era::Session, at, loot, "tools/call", params)
            }
            Attempt::Listen(lists, items, at) => {
                let uris = URIS.map(|uri| format!("{}{uri}", loot.tenant));
                let (uris, tasks) =
                    if items { (json!(uris), json!([loot.task, loot.work])) } else { (json!([]), json!([])) };
                let params = json!({ "notifications": {
                    "toolsListChanged": lists, "resourcesListChanged": lists, "resourceSubscriptions": uris, "taskIds": tasks,
                }});
                self.ask(Era::Stateless, at, loot, "subscriptions/listen", params)
            }
            Attempt::Find(of, era) => {
                let params = json!({ "name": "find_tools", "arguments": { "query": format!("{}{of}", loot.tenant) } });
                self.ask(era, At::Common, loot, "tools/call", params)
            }
            Attempt::Look(list, era, at) => self.ask(era, at, loot, list, json!({})),
            Attempt::Open(at) => self.opens(&self.path(at, loot)),
            Attempt::Metadata(at) => {
                let path = format!("/.well-known/oauth-protected-resource{}", self.path(at, loot));
                Reply::of(self.party.send("GET", &path, &[], "")?)
            }
            Attempt::Meddle(how, id) => self.party.post(COMMON, &self.common, &about(how, id)),
        }
    }

    fn joins(&self, stolen: Stolen, join: Join, at: At, loot: &Loot) -> anyhow::Result<Reply> {
        let id = match stolen {
            Stolen::Common => &loot.session,
            Stolen::Own => &loot.own_session,
            Stolen::Sse => &loot.sse,
        };
        let (party, path) = (self.party, self.path(at, loot));
        match join {
            Join::Post(method) => party.ask(&path, id, method, json!({})),
            Join::Cancel => party.post(&path, id, &about("cancel", 0)),
            Join::Get => Reply::first_of(party.listen(&path, id, None)?),
            Join::Resume(after) => Reply::first_of(party.listen(&path, id, Some(after))?),
            Join::Delete => party.delete(&path, id),
            Join::Sse => {
                let path = format!("{}?sessionId={id}", path.replace("/mcp/", "/sse/"));
                let body = json!({ "jsonrpc": "2.0", "id": "q", "method": "ping" }).to_string();
                Reply::of(party.send("POST", &path, &[("content-type", "application/json")], &body)?)
            }
        }
    }

    /// Opens a session, if it may, and ends it again; tells how it was answered.
    fn opens(&self, path: &str) -> anyhow::Result<Reply> {
        let headers = [("content-type", "application/json"), ("accept", "application/json, text/event-stream")];
        let body = quorate_tests::raw::session::initialize_message(crate::party::VERSION).to_string();
        let mut reply = Reply::of(self.party.send("POST", path, &headers, &body)?)?;
        if let Some(place) = reply.headers.iter().position(|(name, _)| name == "mcp-session-id") {
            let (_, id) = reply.headers.remove(place);
            self.party.delete(path, &id)?;
        }
        Ok(reply)
    }
}

/// The parameters of a request about a name.
fn params_of(method: &str, tenant: &str, ending: &str) -> Value {
    let name = format!("{tenant}{ending}");
    match method {
        "resources/read" | "resources/subscribe" | "resources/unsubscribe" => json!({ "uri": name }),
        "completion/complete" => {
            let of = if name.contains("://") {
                json!({ "type": "ref/resource", "uri": name })
            } else {
                json!({ "type": "ref/prompt", "name": name })
            };
            json!({ "ref": of, "argument": { "name": "a", "value": "b" } })
        }
        _ => json!({ "name": name, "arguments": {} }),
    }
}

/// A message about a request that somebody else may have in progress.
fn about(how: &str, id: u8) -> Value {
    match how {
        "cancel" => {
            let request = if id.is_multiple_of(2) { json!("q") } else { json!(id) };
            json!({ "jsonrpc": "2.0", "method": "notifications/cancelled", "params": { "requestId": request } })
        }
        "progress" => {
            let params = json!({ "progressToken": id, "progress": 1 });
            json!({ "jsonrpc": "2.0", "method": "notifications/progress", "params": params })
        }
        "answer" => {
            let word = json!({ "action": "accept", "content": { "word": "stolen" } });
            json!({ "jsonrpc": "2.0", "id": id, "result": word })
        }
        _ => json!({ "jsonrpc": "2.0", "method": "notifications/roots/list_changed" }),
    }
}
