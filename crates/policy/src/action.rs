//! What a principal wants to do, as policies, logs and metrics name it.
//!
//! One table says it all: each action's name, what it is done to, and what it means; the Cedar schema and its page in
//! the user guide are made from it. Names are `PROTOCOL:VERB`; those of agents (`a2a:`) and operators (`admin:`) get their
//! rows here when they come. The vocabulary is final: policies are written against it.

use crate::resource::Kind;

/// What a principal wants to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Action {
    /// Be a client at all: open, listen on, or end a session, discover what is served, follow a task.
    Connect,
    /// List tools, prompts, resources or templates.
    List,
    /// Call a tool.
    Call,
    /// Read a resource.
    Read,
    /// Get a prompt.
    Get,
    /// Complete an argument.
    Complete,
    /// Subscribe to changes.
    Subscribe,
    /// Ask the client's model for a completion; a server's wish, as the next two.
    Sample,
    /// Ask the person behind the client.
    Elicit,
    /// Learn the client's folders.
    Roots,
    /// Have a model answer.
    Invoke,
}

/// The actions of one protocol: `action in Action::"mcp"`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Group {
    /// MCP.
    Mcp,
    /// Models.
    Llm,
}

/// What is known beside who, what and to what.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Knows {
    /// Nothing.
    Nothing,
    /// The arguments of a tool, `context.arguments`, as a document declares them.
    Arguments,
    /// What a model is asked, `context.request`.
    Request,
}

// === impl Action ===

impl Action {
    /// All actions, in the order of the schema.
    pub const ALL: [Self; 11] = [
        Self::Connect,
        Self::List,
        Self::Call,
        Self::Read,
        Self::Get,
        Self::Complete,
        Self::Subscribe,
        Self::Sample,
        Self::Elicit,
        Self::Roots,
        Self::Invoke,
    ];

    /// Returns the action's name in policies, logs and metrics.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Connect => "mcp:connect",
            Self::List => "mcp:list",
            Self::Call => "mcp:call",
            Self::Read => "mcp:read",
            Self::Get => "mcp:get",
            Self::Complete => "mcp:complete",
            Self::Subscribe => "mcp:subscribe",
            Self::Sample => "mcp:sample",
            Self::Elicit => "mcp:elicit",
            Self::Roots => "mcp:roots",
            Self::Invoke => "llm:invoke",
        }
    }

    /// Returns the action of this name.
    #[must_use]
    pub fn parse(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|action| action.as_str() == name)
    }

    /// Returns what the action is done to. A question about anything else is denied: no policy can be about it.
    #[must_use]
    pub const fn applies_to(self) -> &'static [Kind] {
        match self {
            Self::Connect | Self::List => &[Kind::Toolset],
            Self::Call => &[Kind::Tool],
            Self::Read => &[Kind::Resource],
            Self::Get => &[Kind::Prompt],
            Self::Complete => &[Kind::Prompt, Kind::Resource],
            Self::Subscribe => &[Kind::Toolset, Kind::Resource],
            Self::Sample | Self::Elicit | Self::Roots => &[Kind::ToolServer],
            Self::Invoke => &[Kind::Model],
        }
    }

    /// The group that it is in.
    pub(crate) const fn group(self) -> Group {
        match self {
            Self::Connect
            | Self::List
            | Self::Call
            | Self::Read
            | Self::Get
            | Self::Complete
            | Self::Subscribe
            | Self::Sample
            | Self::Elicit
            | Self::Roots => Group::Mcp,
            Self::Invoke => Group::Llm,
        }
    }

    /// What a policy may read beside its scope.
    pub(crate) const fn knows(self) -> Knows {
        match self {
            Self::Call => Knows::Arguments,
            Self::Invoke => Knows::Request,
            Self::Connect
            | Self::List
            | Self::Read
            | Self::Get
            | Self::Complete
            | Self::Subscribe
            | Self::Sample
            | Self::Elicit
            | Self::Roots => Knows::Nothing,
        }
    }

    /// What the action means, for the schema's page.
    pub(crate) const fn meaning(self) -> &'static str {
        match self {
            Self::Connect => "be a client of the toolset at all, which every other action needs as well",
            Self::List => "list tools, prompts, resources or templates; each entry is then held against its own use",
            Self::Call => "call a tool; follow the tasks that its calls began",
            Self::Read => "read a resource",
            Self::Get => "get a prompt",
            Self::Complete => "have an argument of a prompt or of a resource template completed",
            Self::Subscribe => "be told of changes: of lists (the toolset), or of one resource",
            Self::Sample => "let the tool server ask the caller's model",
            Self::Elicit => "let the tool server ask the person behind the caller",
            Self::Roots => "let the tool server learn the caller's folders",
            Self::Invoke => {
                "have a model answer, or count or embed what it is given; lists have the models for which that is allowed"
            }
        }
    }
}

// === impl Group ===

impl Group {
    /// All groups, in the order of the schema.
    pub(crate) const ALL: [Self; 2] = [Self::Mcp, Self::Llm];

    /// Its name in policies.
    pub(crate) const fn as_str(self) -> &'static str {
        match self {
            Self::Mcp => "mcp",
            Self::Llm => "llm",
        }
    }

    /// The group of this name.
    pub(crate) fn parse(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|group| group.as_str() == name)
    }

    /// The actions that are in it.
    pub(crate) fn actions(self) -> impl Iterator<Item = Action> {
        Action::ALL.into_iter().filter(move |action| action.group() == self)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_unique_and_read_back() {
        for action in Action::ALL {
            assert_eq!(Action::parse(action.as_str()), Some(action));
            assert!(!action.applies_to().is_empty() && !action.meaning().is_empty());
        }
        assert_eq!(Action::parse("mcp:Call"), None);
        for group in Group::ALL {
            assert_eq!((Group::parse(group.as_str()), Action::parse(group.as_str())), (Some(group), None));
            assert!(group.actions().all(|action| action.as_str().starts_with(&format!("{}:", group.as_str()))));
        }
    }
}
