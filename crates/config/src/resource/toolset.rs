//! A toolset as plain, already valid data.
//!
//! Its members are what it is made of: a tool server each, or several versions of one. What it makes
//! of their lists is data of `quorate_mcp::curate`, whose patterns are parsed already.

use std::collections::BTreeSet;

use quorate_mcp::curate::{Rules, Selections};
use quorate_session::Durability;
use quorate_types::{ResourceName, TenantId};

use super::{Naming, Requires};

/// A virtual MCP endpoint.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Toolset {
    /// Its name, unique among toolsets; `default` is served at `/mcp`, any other at `/mcp/NAME`.
    pub name: ResourceName,
    /// The tenant it belongs to.
    pub tenant: TenantId,
    /// What it is made of, in order of precedence; at least one, with different names.
    pub members: Vec<Member>,
    /// How exposed names are made.
    pub naming: Naming,
    /// What it tells clients itself, before its servers do.
    pub instructions: Option<String>,
    /// What it changes of its members' lists.
    pub rules: Rules,
    /// What it demands of callers, and what those are told that may not do something.
    pub access: Access,
    /// What a cluster keeps of what is in flight in its sessions.
    pub durability: Durability,
}

/// What a toolset demands of callers, and what those are told that may not do something.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Access {
    /// What must be known of a caller.
    pub requires: Requires,
    /// The OAuth scopes that a caller must have for anything here; clients are told to ask for them.
    pub scopes: BTreeSet<String>,
    /// What a denied caller is told.
    pub denied: Denied,
}

/// What a denied caller is told of a tool, prompt or resource.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Denied {
    /// That it does not exist, so that nobody learns what there is.
    #[default]
    Unknown,
    /// That it is denied.
    Forbidden,
}

/// A part of a toolset: one tool server, or one of several versions of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Member {
    /// Its name in the toolset, which exposed names have in front of them.
    pub name: ResourceName,
    /// The tool servers that may stand for it; at least one, and no other member has them.
    pub versions: Vec<Version>,
    /// How versions are drawn.
    pub draw: Draw,
    /// What of it the toolset has.
    pub selections: Selections,
    /// Whether clients are told what the server tells its clients.
    pub keeps_instructions: bool,
}

/// A tool server that may stand for a member.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Version {
    /// The tool server.
    pub server: ResourceName,
    /// Its share of new sessions and of stateless principals; of a member's versions at least one
    /// has some.
    pub weight: u32,
}

/// How a version is drawn for a session. Stateless clients always have their principal's.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Draw {
    /// By its principal: whoever calls has one version, in sessions and without.
    #[default]
    Principal,
    /// For each session anew.
    Session,
}

// === impl Toolset ===

impl Toolset {
    /// The toolset that is served at `/mcp` itself.
    pub const DEFAULT_NAME: &'static str = "default";

    /// Makes a toolset of the default tenant that exposes all of these tool servers as they are,
    /// with the default naming of their number.
    #[must_use]
    pub fn new(name: ResourceName, servers: Vec<ResourceName>) -> Self {
        let naming = Naming::default_for(servers.len());
        let members = servers.into_iter().map(Member::new).collect();
        Self {
            name,
            tenant: TenantId::default(),
            members,
            naming,
            instructions: None,
            rules: Rules::default(),
            access: Access::default(),
            durability: Durability::default(),
        }
    }

    /// Returns the tool servers of all members and versions.
    pub fn servers(&self) -> impl Iterator<Item = &ResourceName> {
        self.members.iter().flat_map(|member| member.versions.iter().map(|version| &version.server))
    }

    /// Tells whether some member has several versions.
    #[must_use]
    pub fn is_versioned(&self) -> bool {
        self.members.iter().any(|member| member.versions.len() > 1)
    }
}

// === impl Member ===

impl Member {
    /// Makes the member that a tool server is as a whole, under its own name.
    #[must_use]
    pub fn new(server: ResourceName) -> Self {
        Self {
            name: server.clone(),
            versions: vec![Version { server, weight: 1 }],
            draw: Draw::default(),
            selections: Selections::default(),
            keeps_instructions: true,
        }
    }
}
