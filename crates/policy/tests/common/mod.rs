//! What the tests of this crate share: short ways to say documents, callers and questions.
//!
//! Each test file uses its part; nothing here decides anything.
#![allow(dead_code, reason = "each test program uses another part of it")]

use std::collections::BTreeMap;

use quorate_policy::{
    Action, ArgumentType, Decision, Document, Group, Item, Mode, Named, Policies, Question, Resource,
};
use quorate_types::{Principal, ResourceName, TenantId, User};

pub(crate) fn name(text: &str) -> ResourceName {
    ResourceName::new(text).expect("a name")
}

pub(crate) fn tenant(text: &str) -> TenantId {
    TenantId::new(text).expect("a tenant")
}

/// The operator's document of this name.
pub(crate) fn document(of: &str, text: &str) -> Document {
    let arguments = BTreeMap::new();
    Document { name: name(of), tenant: TenantId::default(), text: text.to_owned(), arguments, mode: Mode::Enforce }
}

/// A document that reads arguments, given as `(name, type)`.
pub(crate) fn reading(of: &str, arguments: &[(&str, ArgumentType)], text: &str) -> Document {
    let arguments = arguments.iter().map(|(name, of)| ((*name).to_owned(), *of)).collect();
    Document { arguments, ..document(of, text) }
}

pub(crate) fn group(of: &str, name: &str, within: &[&str], agents: &[&str]) -> Group {
    let texts = |list: &[&str]| list.iter().map(|text| (*text).to_owned()).collect();
    Group { tenant: tenant(of), name: name.to_owned(), within: texts(within), agents: texts(agents), users: Vec::new() }
}

pub(crate) fn compile(documents: &[Document]) -> Policies {
    Policies::compile(documents, &[]).unwrap_or_else(|problems| panic!("{}", lines(&problems)))
}

pub(crate) fn lines<T: ToString>(list: &[T]) -> String {
    list.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n")
}

/// A caller, as `TENANT AGENT [ISSUER/SUBJECT] [+GROUP]… [*SCOPE]…`; an agent `-` is none.
pub(crate) fn caller(text: &str) -> Principal {
    let mut words = text.split(' ');
    let of = tenant(words.next().expect("a tenant"));
    let mut principal = Principal::agent(of, words.next().expect("an agent"));
    principal.agent = principal.agent.filter(|agent| agent != "-");
    for word in words {
        if let Some(group) = word.strip_prefix('+') {
            principal.groups.insert(group.to_owned());
        } else if let Some(scope) = word.strip_prefix('*') {
            principal.scopes.insert(scope.to_owned());
        } else {
            let (issuer, subject) = word.split_once('/').expect("ISSUER/SUBJECT");
            let user = User { source: name(issuer), issuer: format!("https://{issuer}"), subject: subject.to_owned() };
            principal.user = Some(user);
        }
    }
    principal
}

/// What is done to what, owned: `ACTION TENANT TOOLSET [SERVER[/NAME]]`.
pub(crate) struct Asked {
    action: Action,
    tenant: TenantId,
    toolset: String,
    server: String,
    name: String,
    exposed: String,
    tags: Vec<String>,
}

pub(crate) fn asked(text: &str) -> Asked {
    let mut words = text.split(' ');
    let mut word = || words.next().unwrap_or_default().to_owned();
    let (action, of, toolset, thing) = (word(), word(), word(), word());
    let (server, name) = thing.split_once('/').unwrap_or((&thing, ""));
    Asked {
        action: Action::parse(&format!("mcp:{action}")).expect("an action"),
        tenant: tenant(&of),
        toolset,
        server: server.to_owned(),
        name: name.to_owned(),
        exposed: format!("{server}_{name}"),
        tags: Vec::new(),
    }
}

impl Asked {
    pub(crate) fn tagged(mut self, tags: &[&str]) -> Self {
        self.tags = tags.iter().map(|tag| (*tag).to_owned()).collect();
        self
    }

    pub(crate) fn resource(&self) -> Resource<'_> {
        let named = Named { server: &self.server, name: &self.name, exposed: &self.exposed, tags: &self.tags };
        let item = match self.action {
            Action::Call => Item::Tool(named),
            Action::Get => Item::Prompt(named),
            Action::Read => Item::Resource(named),
            Action::Complete => Item::Prompt(named),
            Action::Sample | Action::Elicit | Action::Roots => Item::Server { server: &self.server },
            Action::Subscribe if !self.name.is_empty() => Item::Resource(named),
            Action::Connect | Action::List | Action::Subscribe => Item::Toolset,
            Action::Invoke => Item::Model { name: &self.server, asked: &self.name },
        };
        Resource { tenant: &self.tenant, toolset: &self.toolset, item }
    }

    pub(crate) fn question<'a>(&'a self, arguments: Option<&'a str>) -> Question<'a> {
        Question { action: self.action, resource: self.resource(), arguments, request: None }
    }
}

pub(crate) fn decide(policies: &Policies, who: &str, what: &str, arguments: Option<&str>) -> Decision {
    policies.decide(&policies.subject(&caller(who)), &asked(what).question(arguments))
}

/// `REASON[ by POLICY…]`, with what would deny after `but`.
pub(crate) fn said(decision: &Decision) -> String {
    let mut text = decision.verdict.reason().to_owned();
    for (word, policies) in [("by", &decision.by), ("but", &decision.would_deny)] {
        for policy in policies {
            text.push_str(&format!(" {word} {policy}"));
        }
    }
    text
}

pub(crate) fn says(policies: &Policies, who: &str, what: &str, arguments: Option<&str>) -> String {
    said(&decide(policies, who, what, arguments))
}

pub(crate) fn may(policies: &Policies, who: &str, what: &str) -> &'static str {
    let asked = asked(what);
    policies.may(&policies.subject(&caller(who)), asked.action, asked.resource()).reason()
}
