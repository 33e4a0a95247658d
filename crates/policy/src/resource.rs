//! What something is done to: a toolset, a tool server, or one of its tools, prompts and resources; or a model.
//!
//! A [`Resource`] borrows what the gateway knows already; nothing is made of it until a policy has to be evaluated.
//! Policies name a thing by its server and the name that the server gives it (`Tool::"SERVER/NAME"`), whatever the
//! toolset calls it, so that a rename in a toolset opens and closes nothing.

use quorate_types::TenantId;

/// What something is done to.
#[derive(Clone, Copy, Debug)]
pub struct Resource<'a> {
    /// The tenant that the toolset or the model belongs to.
    pub tenant: &'a TenantId,
    /// The toolset through which it is reached; empty for a model, which is reached through none.
    pub toolset: &'a str,
    /// What it is.
    pub item: Item<'a>,
}

/// What is reached through a toolset, or a model.
#[derive(Clone, Copy, Debug)]
pub enum Item<'a> {
    /// The toolset itself.
    Toolset,
    /// A tool server behind it.
    Server {
        /// Its name.
        server: &'a str,
    },
    /// A tool.
    Tool(Named<'a>),
    /// A prompt.
    Prompt(Named<'a>),
    /// A resource or a resource template; its name is the URI.
    Resource(Named<'a>),
    /// A model.
    Model {
        /// The name of the resource.
        name: &'a str,
        /// The name by which the client asks for it.
        asked: &'a str,
    },
}

/// One entry of a server's lists.
#[derive(Clone, Copy, Debug)]
pub struct Named<'a> {
    /// The server that has it.
    pub server: &'a str,
    /// The name, or the URI, as the server has it.
    pub name: &'a str,
    /// The name, or the URI, as the toolset exposes it.
    pub exposed: &'a str,
    /// The tags that the toolset gives it.
    pub tags: &'a [String],
}

/// A resource as policies look at it.
#[derive(Debug)]
pub(crate) struct Object<'a> {
    pub(crate) resource: Resource<'a>,
    /// The id of its entity.
    pub(crate) id: String,
    /// The ids of the templates that policies name and that it is of.
    pub(crate) templates: Vec<&'a str>,
}

/// The entity type of a resource.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Kind {
    /// `Toolset::"TOOLSET"`.
    Toolset,
    /// `ToolServer::"SERVER"`.
    ToolServer,
    /// `Tool::"SERVER/NAME"`.
    Tool,
    /// `Prompt::"SERVER/NAME"`.
    Prompt,
    /// `Resource::"SERVER/URI"`.
    Resource,
    /// `Model::"NAME"`.
    Model,
}

// === impl Resource ===

impl<'a> Resource<'a> {
    /// Returns its entity type.
    #[must_use]
    pub const fn kind(&self) -> Kind {
        match self.item {
            Item::Toolset => Kind::Toolset,
            Item::Server { .. } => Kind::ToolServer,
            Item::Tool(_) => Kind::Tool,
            Item::Prompt(_) => Kind::Prompt,
            Item::Resource(_) => Kind::Resource,
            Item::Model { .. } => Kind::Model,
        }
    }

    /// Returns the id of its entity, as policies write it.
    #[must_use]
    pub fn id(&self) -> String {
        match self.item {
            Item::Toolset => self.toolset.to_owned(),
            Item::Server { server } => server.to_owned(),
            Item::Model { name, .. } => name.to_owned(),
            Item::Tool(named) | Item::Prompt(named) | Item::Resource(named) => {
                let mut id = String::with_capacity(named.server.len() + 1 + named.name.len());
                id.push_str(named.server);
                id.push('/');
                id.push_str(named.name);
                id
            }
        }
    }

    /// Returns where it is.
    fn around(&self) -> impl Iterator<Item = (Kind, &'a str)> {
        let toolset = (Kind::Toolset, self.toolset);
        let (toolset, server) = match self.item {
            Item::Toolset | Item::Model { .. } => (None, None),
            Item::Server { .. } => (Some(toolset), None),
            Item::Tool(named) | Item::Prompt(named) | Item::Resource(named) => {
                (Some(toolset), Some((Kind::ToolServer, named.server)))
            }
        };
        toolset.into_iter().chain(server)
    }
}

// === impl Object ===

impl Object<'_> {
    /// Returns what `resource in …` finds it in, besides itself.
    pub(crate) fn parents(&self) -> impl Iterator<Item = (Kind, &str)> {
        let templates = self.templates.iter().map(|id| (Kind::Resource, *id));
        self.resource.around().chain(templates)
    }
}

// === impl Kind ===

impl Kind {
    /// All kinds, in the order of the schema.
    pub const ALL: [Self; 6] = [Self::Toolset, Self::ToolServer, Self::Tool, Self::Prompt, Self::Resource, Self::Model];

    /// Returns the entity type's name in policies.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Toolset => "Toolset",
            Self::ToolServer => "ToolServer",
            Self::Tool => "Tool",
            Self::Prompt => "Prompt",
            Self::Resource => "Resource",
            Self::Model => "Model",
        }
    }

    /// Returns the kind of this name.
    #[must_use]
    pub fn parse(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| kind.as_str() == name)
    }
}
