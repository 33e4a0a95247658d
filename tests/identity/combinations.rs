//! Two tenants, three agents, two people, an identity provider and four tool servers: who may do what, as one table.
//!
//! Each row is tried by a client of the stateless revision and by one with a session, as far as the revision has such a
//! request, and must end the same. A denied call is held against one of a tool that does not exist, and a toolset of another
//! tenant against one that does not exist: the answers may not differ. What runs is in [`crate::ground`].

use std::{fmt, io::Write as _};

use anyhow::ensure;
use serde_json::{Value, json};

use crate::ground::{Ground, MISSING, check_audit};

/// Who tries.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Who {
    /// Shows nothing.
    Nobody,
    /// An agent, by an API key.
    Builder,
    /// An agent, by a client certificate with a SPIFFE id.
    Runner,
    /// An agent, by a token that it gets with its own credentials.
    Robot,
    /// A person of `acme`.
    Alice,
    /// A person of `globex`.
    Bob,
    AliceThroughBuilder,
    BobThroughRunner,
    BobThroughBuilder,
}

/// By which kind of client.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Era {
    /// Of 2026-07-28.
    Stateless,
    /// Of 2025-11-25.
    Session,
}

/// What is tried.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Try {
    /// Being there at all.
    Connect,
    Tools,
    Prompts,
    Resources,
    Templates,
    /// Listing one's tasks, of sessions alone.
    Tasks,
    Call(&'static str),
    Write(&'static str),
    /// Searching for tools.
    Find(&'static str),
    Prompt(&'static str),
    Read(&'static str),
    /// Completing an argument of a prompt.
    Complete(&'static str),
    /// The same of a resource.
    CompleteOf(&'static str),
    /// Subscribing to a resource: `resources/subscribe`, or by `subscriptions/listen`.
    Subscribe(&'static str),
    /// Subscribing to changes of these lists, which a session need not ask for.
    Watch(&'static [&'static str]),
    /// Calling a tool as a task.
    Begin(&'static str),
    /// Asking for the task that somebody began; that of nobody is none.
    Follow(Who),
}

/// How it must end.
#[derive(Clone, Copy, Debug)]
enum End {
    /// A list with exactly these entries.
    Lists(&'static [&'static str]),
    /// The tool server answers, or the subscription is taken.
    Allowed,
    /// As if there were no such tool, prompt, resource or task, or as if no change had been asked for.
    Unknown,
    /// As if there were no such toolset.
    Absent,
    /// 403, which names the action.
    Denied,
    /// 401.
    Challenged,
}

use End::{Absent, Allowed, Challenged, Denied, Lists, Unknown};
use Try::{
    Begin, Call, Complete, CompleteOf, Connect, Find, Follow, Prompt, Prompts, Read, Resources, Subscribe, Tasks,
    Templates, Tools, Watch, Write,
};
use Who::{Alice, AliceThroughBuilder, Bob, BobThroughBuilder, BobThroughRunner, Builder, Nobody, Robot, Runner};

const README: &str = "file:///readme";
const LISTS: &[&str] = &["toolsListChanged", "resourcesListChanged"];
const ALL: &str = "read write plan release";

const TABLE: &[(Who, &str, Try, End)] = &[
    (Nobody, "work", Connect, Challenged),
    (Nobody, "work", Tools, Challenged),
    (Nobody, "work", Call("read"), Challenged),
    (Nobody, "work", Complete("review"), Challenged),
    (Nobody, "work", Subscribe(README), Challenged),
    (Nobody, "work", Watch(LISTS), Challenged),
    (Nobody, "work", Follow(Robot), Challenged),
    (Nobody, "desk", Find(ALL), Challenged),
    (Nobody, "books", Call("balance"), Challenged),
    (Nobody, "common", Call("hour"), Challenged),
    (Builder, "work", Connect, Allowed),
    (Builder, "work", Tools, Lists(&["read"])),
    (Builder, "work", Prompts, Lists(&[])),
    (Builder, "work", Resources, Lists(&[])),
    (Builder, "work", Templates, Lists(&[])),
    (Builder, "work", Call("read"), Allowed),
    (Builder, "work", Write("notes"), Unknown),
    (Builder, "work", Call("release"), Unknown),
    (Builder, "work", Read(README), Unknown),
    (Builder, "work", Complete("review"), Unknown),
    (Builder, "work", CompleteOf(README), Unknown),
    (Builder, "work", Subscribe(README), Unknown),
    (Builder, "work", Watch(LISTS), Unknown),
    (Builder, "work", Begin("release"), Unknown),
    (Builder, "work", Follow(AliceThroughBuilder), Unknown),
    (Builder, "work", Tasks, Lists(&[])),
    (Builder, "desk", Connect, Allowed),
    (Builder, "desk", Tools, Denied),
    (Builder, "desk", Find(ALL), Denied),
    (Builder, "desk", Call("read"), Allowed),
    (Builder, "books", Connect, Absent),
    (Builder, "books", Tools, Absent),
    (Builder, "books", Call("balance"), Absent),
    (Builder, "common", Tools, Lists(&[])),
    (Builder, "common", Call("hour"), Unknown),
    (Robot, "work", Tools, Lists(&["plan"])),
    (Robot, "work", Call("plan"), Allowed),
    (Robot, "work", Call("release"), Unknown),
    (Robot, "work", Call("read"), Unknown),
    (Robot, "work", Prompt("review"), Unknown),
    (Robot, "work", Complete("review"), Allowed),
    (Robot, "work", CompleteOf(README), Unknown),
    (Robot, "work", Read(README), Unknown),
    (Robot, "work", Subscribe(README), Allowed),
    (Robot, "work", Watch(LISTS), Unknown),
    (Robot, "work", Begin("plan"), Allowed),
    (Robot, "work", Follow(Robot), Allowed),
    (Robot, "work", Tasks, Lists(&["plan"])),
    (Robot, "desk", Connect, Denied),
    (Robot, "desk", Tools, Denied),
    (Robot, "desk", Find(ALL), Denied),
    (Robot, "desk", Call("plan"), Denied),
    (Robot, "books", Call("balance"), Absent),
    (Robot, "common", Call("hour"), Unknown),
    (Robot, "common", Follow(Robot), Unknown),
    (Runner, "books", Tools, Lists(&["balance"])),
    (Runner, "books", Call("balance"), Allowed),
    (Runner, "books", Call("post"), Unknown),
    (Runner, "books", Watch(LISTS), Allowed),
    (Runner, "work", Tools, Absent),
    (Runner, "work", Call("read"), Absent),
    (Runner, "work", Complete("review"), Absent),
    (Runner, "common", Call("hour"), Unknown),
    (Alice, "work", Tools, Lists(&["read", "write"])),
    (Alice, "work", Call("read"), Allowed),
    (Alice, "work", Write("notes"), Allowed),
    (Alice, "work", Write("/etc/passwd"), Unknown),
    (Alice, "work", Call("release"), Unknown),
    (Alice, "work", Prompts, Lists(&["review"])),
    (Alice, "work", Prompt("review"), Allowed),
    (Alice, "work", Complete("review"), Allowed),
    (Alice, "work", Resources, Lists(&[README])),
    (Alice, "work", Templates, Lists(&["file:///docs/{page}"])),
    (Alice, "work", Read(README), Allowed),
    (Alice, "work", CompleteOf(README), Allowed),
    (Alice, "work", Subscribe(README), Allowed),
    (Alice, "work", Watch(LISTS), Allowed),
    (Alice, "work", Begin("plan"), Unknown),
    (Alice, "work", Follow(Robot), Unknown),
    (Alice, "work", Follow(AliceThroughBuilder), Unknown),
    (Alice, "work", Tasks, Lists(&[])),
    (Alice, "desk", Tools, Lists(&["find_tools", "read", "write"])),
    (Alice, "desk", Find(ALL), Lists(&["read", "write"])),
    (Alice, "books", Tools, Absent),
    (Alice, "books", Watch(LISTS), Absent),
    (Alice, "common", Tools, Lists(&["hour"])),
    (Alice, "common", Call("hour"), Allowed),
    (Bob, "books", Tools, Lists(&["balance"])),
    (Bob, "books", Call("balance"), Allowed),
    (Bob, "books", Call("post"), Unknown),
    (Bob, "books", Watch(LISTS), Unknown),
    (Bob, "work", Call("read"), Absent),
    (Bob, "work", Subscribe(README), Absent),
    (Bob, "work", Follow(Robot), Absent),
    (Bob, "work", Tasks, Absent),
    (Bob, "desk", Find(ALL), Absent),
    (Bob, "common", Call("hour"), Allowed),
    (AliceThroughBuilder, "work", Tools, Lists(&["read", "release", "write"])),
    (AliceThroughBuilder, "work", Call("release"), Allowed),
    (AliceThroughBuilder, "work", Call("plan"), Unknown),
    (AliceThroughBuilder, "work", Read(README), Allowed),
    (AliceThroughBuilder, "work", Complete("review"), Unknown),
    (AliceThroughBuilder, "work", CompleteOf(README), Unknown),
    (AliceThroughBuilder, "work", Subscribe(README), Unknown),
    (AliceThroughBuilder, "work", Watch(LISTS), Unknown),
    (AliceThroughBuilder, "work", Begin("release"), Allowed),
    (AliceThroughBuilder, "work", Follow(AliceThroughBuilder), Allowed),
    (AliceThroughBuilder, "work", Follow(Robot), Unknown),
    (AliceThroughBuilder, "work", Tasks, Lists(&["release"])),
    (AliceThroughBuilder, "desk", Find(ALL), Lists(&["read", "release", "write"])),
    (BobThroughRunner, "books", Tools, Lists(&["balance", "post"])),
    (BobThroughRunner, "books", Call("post"), Allowed),
    (BobThroughBuilder, "work", Call("read"), Challenged),
    (BobThroughBuilder, "books", Call("balance"), Challenged),
];

// === impl Era ===

impl Era {
    /// Both.
    const ALL: [Self; 2] = [Self::Stateless, Self::Session];
}

// === impl Try ===

impl Try {
    /// Method and parameters, where this era has such a request; `task` is the id of the task that is asked for.
    pub(crate) fn request(self, era: Era, task: &str) -> Option<(&'static str, Value)> {
        let of_prompt = |name| json!({ "type": "ref/prompt", "name": name });
        let of_resource = |uri| json!({ "type": "ref/resource", "uri": uri });
        let complete = |of: Value| json!({ "ref": of, "argument": { "name": "a", "value": "" } });
        let listen = |filter: Value| ("subscriptions/listen", json!({ "notifications": filter }));
        Some(match (self, era) {
            (Connect, Era::Stateless) => ("server/discover", json!({})),
            (Connect, Era::Session) => ("ping", json!({})),
            (Tools, _) => ("tools/list", json!({})),
            (Prompts, _) => ("prompts/list", json!({})),
            (Resources, _) => ("resources/list", json!({})),
            (Templates, _) => ("resources/templates/list", json!({})),
            (Tasks, Era::Session) => ("tasks/list", json!({})),
            (Tasks, Era::Stateless) | (Watch(_), Era::Session) => return None,
            (Call(tool), _) => ("tools/call", json!({ "name": tool, "arguments": {} })),
            (Write(path), _) => ("tools/call", json!({ "name": "write", "arguments": { "path": path } })),
            (Find(query), _) => ("tools/call", json!({ "name": "find_tools", "arguments": { "query": query } })),
            (Prompt(name), _) => ("prompts/get", json!({ "name": name })),
            (Read(uri), _) => ("resources/read", json!({ "uri": uri })),
            (Complete(name), _) => ("completion/complete", complete(of_prompt(name))),
            (CompleteOf(uri), _) => ("completion/complete", complete(of_resource(uri))),
            (Subscribe(uri), Era::Session) => ("resources/subscribe", json!({ "uri": uri })),
            (Subscribe(uri), Era::Stateless) => listen(json!({ "resourceSubscriptions": [uri] })),
            (Watch(lists), Era::Stateless) => {
                listen(lists.iter().map(|list| ((*list).to_owned(), json!(true))).collect::<Value>())
            }
            (Begin(tool), Era::Session) => ("tools/call", json!({ "name": tool, "arguments": {}, "task": {} })),
            (Begin(tool), Era::Stateless) => {
                ("tools/call", json!({ "name": tool, "arguments": {}, "_meta": takes_tasks() }))
            }
            (Follow(_), Era::Session) => ("tasks/get", json!({ "taskId": task })),
            (Follow(_), Era::Stateless) => ("tasks/get", json!({ "taskId": task, "_meta": takes_tasks() })),
        })
    }

    /// Whether the answer is a stream without an end.
    pub(crate) const fn is_stream(self, era: Era) -> bool {
        matches!((self, era), (Subscribe(_) | Watch(_), Era::Stateless))
    }

    /// What it names, and the same with the name of what is nowhere.
    pub(crate) fn missing(self) -> Option<(&'static str, Self)> {
        match self {
            Connect | Tools | Prompts | Resources | Templates | Tasks | Find(_) => None,
            Call(tool) => Some((tool, Call(MISSING))),
            Begin(tool) => Some((tool, Begin(MISSING))),
            Write(_) => Some(("write", Call(MISSING))),
            Prompt(name) => Some((name, Prompt(MISSING))),
            Complete(name) => Some((name, Complete(MISSING))),
            Read(uri) => Some((uri, Read(MISSING))),
            CompleteOf(uri) => Some((uri, CompleteOf(MISSING))),
            Subscribe(uri) => Some((uri, Subscribe(MISSING))),
            // Neither has a name that is told.
            Watch(_) => Some((MISSING, Watch(&[]))),
            Follow(_) => Some((MISSING, Follow(Nobody))),
        }
    }

    /// The names in a list, in order; of tasks those of their tools, each once.
    pub(crate) fn names(self, result: &Value) -> Option<Vec<String>> {
        let (items, key) = match self {
            Tools => (&result["tools"], "name"),
            Find(_) => (&result["structuredContent"]["tools"], "name"),
            Prompts => (&result["prompts"], "name"),
            Resources => (&result["resources"], "uri"),
            Templates => (&result["resourceTemplates"], "uriTemplate"),
            Tasks => (&result["tasks"], "statusMessage"),
            _ => return None,
        };
        let mut names: Vec<_> =
            items.as_array()?.iter().filter_map(|item| Some(item[key].as_str()?.to_owned())).collect();
        names.sort();
        names.dedup();
        Some(names)
    }
}

/// What a stateless client says that takes tasks.
fn takes_tasks() -> Value {
    json!({ "io.modelcontextprotocol/clientCapabilities": { "extensions": { "io.modelcontextprotocol/tasks": {} } } })
}

impl fmt::Display for Try {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Connect => f.write_str("connect"),
            Tools => f.write_str("list tools"),
            Prompts => f.write_str("list prompts"),
            Resources => f.write_str("list resources"),
            Templates => f.write_str("list templates"),
            Tasks => f.write_str("list tasks"),
            Call(tool) => write!(f, "call {tool}"),
            Write(path) => write!(f, "call write {path}"),
            Find(_) => f.write_str("find tools"),
            Prompt(name) => write!(f, "get {name}"),
            Read(uri) => write!(f, "read {uri}"),
            Complete(name) | CompleteOf(name) => write!(f, "complete {name}"),
            Subscribe(uri) => write!(f, "subscribe {uri}"),
            Watch(_) => f.write_str("subscribe lists"),
            Begin(tool) => write!(f, "task {tool}"),
            Follow(whose) => write!(f, "task of {whose:?}"),
        }
    }
}

impl fmt::Display for End {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Lists(names) => write!(f, "lists [{}]", names.join(", ")),
            Allowed => f.write_str("allowed"),
            Unknown => f.write_str("unknown"),
            Absent => f.write_str("absent"),
            Denied => f.write_str("denied"),
            Challenged => f.write_str("challenged"),
        }
    }
}

#[test]
fn each_caller_may_do_what_policy_says_and_nothing_else() -> anyhow::Result<()> {
    let ground = Ground::new()?;

    let mut page = String::from("\nclient    | caller              | toolset | tried                       | ends\n");
    let (mut wrong, mut tried) = (Vec::new(), 0);
    for (who, toolset, tries, expected) in TABLE {
        for era in Era::ALL.into_iter().filter(|era| tries.request(*era, MISSING).is_some()) {
            let ends = ground.ends(era, *who, toolset, *tries).unwrap_or_else(|error| format!("{error:#}"));
            let (era, who) = (format!("{era:?}"), format!("{who:?}"));
            let line = format!("{era:<9} | {who:<19} | {toolset:<7} | {:<27} | {ends}", tries.to_string());
            if ends != expected.to_string() {
                wrong.push(format!("{line}, not {expected}"));
            }
            page.push_str(&format!("{line}\n"));
            tried += 1;
        }
    }

    std::io::stdout().write_all(page.as_bytes())?;
    ensure!(wrong.is_empty(), "{} of {tried} end otherwise:\n{}", wrong.len(), wrong.join("\n"));
    check_audit(ground)
}
