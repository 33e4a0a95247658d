//! A complete set of resources whose links resolve.
//!
//! [`ResourceSet::new`] checks what no single document can show: names unique per kind, addresses
//! bound once, references to resources that exist and that their tenant may use. Resources are
//! kept sorted by name, so a set does not depend on the order of files.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;

use quorate_policy::Policies;
use quorate_types::{ResourceName, TenantId};

use crate::error::{Errors, Place, Problem, Reason};
use crate::node::Path;
use crate::resource::{ApiKey, Issuer, Kind, Listener, Model, Policy, Provider, Tenant, ToolServer, Toolset, Toolsets};
use crate::suggest::nearest;

mod difference;
mod identity;
mod models;
mod named;
mod policies;

pub use difference::Difference;

/// The most names that an error lists.
const NAMES_SHOWN_MAX: usize = 10;
/// The most problems of a set that come with a name that may have been meant: each is compared with all that there are.
const SUGGESTIONS_MAX: usize = 100;

/// Resources that fit together.
#[derive(Clone, Debug)]
pub struct ResourceSet {
    resources: Resources,
    /// The policies among them, with the groups of all tenants: compiled when the set was checked.
    compiled: Policies,
}

/// Resources of every kind, before anybody has checked whether they fit together.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Resources {
    /// Addresses that clients connect to.
    pub listeners: Vec<Listener>,
    /// MCP servers behind the mesh.
    pub tool_servers: Vec<ToolServer>,
    /// Virtual MCP endpoints over them.
    pub toolsets: Vec<Toolset>,
    /// Where answers of models come from.
    pub providers: Vec<Provider>,
    /// The models that clients ask for.
    pub models: Vec<Model>,
    /// Those that vouch for callers.
    pub issuers: Vec<Issuer>,
    /// What lets agents in by themselves. Shared, because there are many, and few of them change from set to set.
    pub api_keys: Vec<Arc<ApiKey>>,
    /// What operators say of tenants.
    pub tenants: Vec<Tenant>,
    /// What callers may do.
    pub policies: Vec<Policy>,
}

/// What a name refers to, and whether the document behind it was usable.
#[derive(Clone, Debug)]
pub(crate) struct Declared {
    pub(crate) kind: Kind,
    pub(crate) name: ResourceName,
    /// The tenant, when the document was valid; a broken one is not judged twice.
    pub(crate) tenant: Option<TenantId>,
    pub(crate) place: Place,
}

/// Finds the line of a key path in the document of a resource; or of a line, from 1, of the text that is there.
pub(crate) type LineOf<'a> = dyn Fn(&Place, &Path, Option<usize>) -> Option<usize> + 'a;

// === impl ResourceSet ===

impl ResourceSet {
    /// Puts resources made in code together.
    ///
    /// # Errors
    /// [`Errors`] has every name or address that is taken and every reference that does not
    /// resolve.
    pub fn new(resources: Resources) -> Result<Self, Errors> {
        let checked = resources.check(&resources.declared(), &|_, _, _| None);
        Self::of_checked(resources, checked)
    }

    /// Takes resources over that were checked ([`Resources::check`]).
    ///
    /// # Errors
    /// [`Errors`] has the problems that were found.
    pub(crate) fn of_checked(resources: Resources, checked: Checked) -> Result<Self, Errors> {
        let Checked { problems, compiled } = checked;
        Errors::of(problems).map_or_else(|| Ok(Self { resources: resources.sorted(), compiled }), Err)
    }

    /// Returns the policies as they decide.
    #[must_use]
    pub fn compiled_policies(&self) -> &Policies {
        &self.compiled
    }

    /// Returns the resources, to make another set of them.
    #[must_use]
    pub fn into_resources(self) -> Resources {
        self.resources
    }

    /// Returns the same set without listeners: of a node that only looks.
    #[must_use]
    pub fn without_listeners(mut self) -> Self {
        self.resources.listeners.clear();
        self
    }

    /// Returns the listeners, sorted by name.
    #[must_use]
    pub fn listeners(&self) -> &[Listener] {
        &self.resources.listeners
    }

    /// Lists the files that resources name and are made of, each once, sorted.
    #[must_use]
    pub fn named_files(&self) -> Vec<PathBuf> {
        let servers = self.resources.tool_servers.iter();
        let of_servers = servers.flat_map(|server| server.connection.files().chain(server.tls.files()));
        let of_providers = self.resources.providers.iter().flat_map(Provider::files);
        let of_issuers = self.resources.issuers.iter().flat_map(Issuer::files);
        let mut files: Vec<PathBuf> = of_servers.chain(of_providers).chain(of_issuers).map(PathBuf::from).collect();
        files.sort();
        files.dedup();
        files
    }

    /// Returns the tool servers, sorted by name.
    #[must_use]
    pub fn tool_servers(&self) -> &[ToolServer] {
        &self.resources.tool_servers
    }

    /// Returns the toolsets, sorted by name.
    #[must_use]
    pub fn toolsets(&self) -> &[Toolset] {
        &self.resources.toolsets
    }

    /// Returns the providers of models, sorted by name.
    #[must_use]
    pub fn providers(&self) -> &[Provider] {
        &self.resources.providers
    }

    /// Returns the models, sorted by name.
    #[must_use]
    pub fn models(&self) -> &[Model] {
        &self.resources.models
    }

    /// Returns the issuers, sorted by name.
    #[must_use]
    pub fn issuers(&self) -> &[Issuer] {
        &self.resources.issuers
    }

    /// Returns the API keys, sorted by name.
    #[must_use]
    pub fn api_keys(&self) -> &[Arc<ApiKey>] {
        &self.resources.api_keys
    }

    /// Returns what operators say of tenants, sorted by name; a tenant needs no such resource.
    #[must_use]
    pub fn tenants(&self) -> &[Tenant] {
        &self.resources.tenants
    }

    /// Returns the policies, sorted by name.
    #[must_use]
    pub fn policies(&self) -> &[Policy] {
        &self.resources.policies
    }

    /// Returns the tool server of a name.
    #[must_use]
    pub fn tool_server(&self, name: &ResourceName) -> Option<&ToolServer> {
        self.resources.tool_servers.iter().find(|server| server.name == *name)
    }

    /// Returns the toolsets that a listener serves: those it names, else all that its tenant may
    /// use. A listener of the default tenant serves every tenant's.
    pub fn toolsets_of<'a>(&'a self, listener: &'a Listener) -> impl Iterator<Item = &'a Toolset> + 'a {
        self.resources.toolsets.iter().filter(move |toolset| match &listener.toolsets {
            Toolsets::All => listener.tenant.meets(&toolset.tenant),
            Toolsets::Only(names) => names.contains(&toolset.name),
        })
    }
}

impl Default for ResourceSet {
    fn default() -> Self {
        Self { resources: Resources::default(), compiled: Policies::deny_all() }
    }
}

impl PartialEq for ResourceSet {
    /// Equal resources have equal policies.
    fn eq(&self, other: &Self) -> bool {
        self.resources == other.resources
    }
}

// === impl Resources ===

impl Resources {
    /// Checks names, addresses and references. `declared` has every document's name, also of
    /// those that did not compile.
    pub(crate) fn check(&self, declared: &[Declared], line_of: &LineOf<'_>) -> Checked {
        let mut links = Links::new(declared, line_of);
        links.names();
        links.addresses(&self.listeners);
        for listener in &self.listeners {
            links.toolsets(listener);
            links.clients(listener, &self.issuers);
            links.audience(listener, &self.issuers);
        }
        for toolset in &self.toolsets {
            links.servers(toolset);
        }
        links.models(&self.models, &self.providers);
        links.judges(&self.issuers);
        links.bound_tokens(&self.issuers, &self.listeners);
        links.key_ids(&self.api_keys);
        for tenant in &self.tenants {
            links.members(tenant, &self.issuers);
        }
        let compiled = links.policies(self);
        Checked { problems: links.problems, compiled }
    }

    /// Adds those of another set. Whether they fit together is found out when a set is made of them ([`ResourceSet::new`]).
    pub fn append(&mut self, other: Self) {
        self.listeners.extend(other.listeners);
        self.tool_servers.extend(other.tool_servers);
        self.toolsets.extend(other.toolsets);
        self.providers.extend(other.providers);
        self.models.extend(other.models);
        self.issuers.extend(other.issuers);
        self.api_keys.extend(other.api_keys);
        self.tenants.extend(other.tenants);
        self.policies.extend(other.policies);
    }

    fn sorted(mut self) -> Self {
        self.listeners.sort_by(|left, right| left.name.cmp(&right.name));
        self.tool_servers.sort_by(|left, right| left.name.cmp(&right.name));
        self.toolsets.sort_by(|left, right| left.name.cmp(&right.name));
        self.providers.sort_by(|left, right| left.name.cmp(&right.name));
        self.models.sort_by(|left, right| left.name.cmp(&right.name));
        self.issuers.sort_by(|left, right| left.name.cmp(&right.name));
        self.api_keys.sort_by(|left, right| left.name.cmp(&right.name));
        self.tenants.sort_by(|left, right| left.name.cmp(&right.name));
        self.policies.sort_by(|left, right| left.name.cmp(&right.name));
        self
    }

    fn declared(&self) -> Vec<Declared> {
        let of = |kind: Kind, name: &ResourceName, tenant: &TenantId| {
            let place = Place { kind: Some(kind), name: Some(name.to_string()), ..Place::default() };
            Declared { kind, name: name.clone(), tenant: Some(tenant.clone()), place }
        };
        let listeners = self.listeners.iter().map(|one| of(Kind::Listener, &one.name, &one.tenant));
        let tool_servers = self.tool_servers.iter().map(|one| of(Kind::ToolServer, &one.name, &one.tenant));
        let toolsets = self.toolsets.iter().map(|one| of(Kind::Toolset, &one.name, &one.tenant));
        let providers = self.providers.iter().map(|one| of(Kind::Provider, &one.name, &one.tenant));
        let models = self.models.iter().map(|one| of(Kind::Model, &one.name, &one.tenant));
        let issuers = self.issuers.iter().map(|one| of(Kind::Issuer, &one.name, &one.tenant));
        let api_keys = self.api_keys.iter().map(|one| of(Kind::ApiKey, &one.name, &one.tenant));
        let operator = TenantId::default();
        let tenants = self.tenants.iter().map(|one| of(Kind::Tenant, &one.name, &operator));
        let policies = self.policies.iter().map(|one| of(Kind::Policy, &one.name, &one.tenant));
        let plain = listeners.chain(tool_servers).chain(toolsets).chain(providers).chain(models);
        plain.chain(issuers).chain(api_keys).chain(tenants).chain(policies).collect()
    }
}

/// What a check found, and the policies that it compiled: none where they have problems.
pub(crate) struct Checked {
    pub(crate) problems: Vec<Problem>,
    compiled: Policies,
}

/// The check of what links documents.
struct Links<'a> {
    declared: &'a [Declared],
    /// The first document of each name, by kind.
    named: BTreeMap<Kind, BTreeMap<&'a ResourceName, &'a Declared>>,
    line_of: &'a LineOf<'a>,
    problems: Vec<Problem>,
}

/// Who refers to something, from where.
struct Reference<'a> {
    from: (Kind, &'a ResourceName),
    tenant: &'a TenantId,
    to: (Kind, &'a ResourceName),
    path: Path,
}

// === impl Links ===

impl<'a> Links<'a> {
    fn new(declared: &'a [Declared], line_of: &'a LineOf<'a>) -> Self {
        let mut named: BTreeMap<Kind, BTreeMap<&ResourceName, &Declared>> = BTreeMap::new();
        for one in declared {
            named.entry(one.kind).or_default().entry(&one.name).or_insert(one);
        }
        Self { declared, named, line_of, problems: Vec::new() }
    }

    fn names(&mut self) {
        for declared in self.declared {
            let Some(before) = self.find(declared.kind, &declared.name) else { continue };
            if !std::ptr::eq(before, declared) {
                let reason = Reason::NameTaken {
                    kind: declared.kind,
                    name: declared.name.to_string(),
                    first: before.place.to_string(),
                };
                let path = Path::default().key("name");
                self.problems.push(at(&declared.place, &path, reason, self.line_of));
            }
        }
    }

    fn addresses(&mut self, listeners: &[Listener]) {
        for (index, listener) in listeners.iter().enumerate() {
            let taken = listeners[..index].iter().find(|other| overlap(listener, other));
            if let Some(other) = taken {
                let (address, first) = (listener.address.to_string(), other.name.to_string());
                let path = Path::default().key("spec").key("address");
                self.push((Kind::Listener, &listener.name), &path, Reason::AddressTaken { address, first });
            }
        }
    }

    fn toolsets(&mut self, listener: &Listener) {
        let Toolsets::Only(names) = &listener.toolsets else { return };
        for (index, name) in names.iter().enumerate() {
            self.reference(&Reference {
                from: (Kind::Listener, &listener.name),
                tenant: &listener.tenant,
                to: (Kind::Toolset, name),
                path: Path::default().key("spec").key("toolsets").index(index),
            });
        }
    }

    fn servers(&mut self, toolset: &Toolset) {
        for (index, member) in toolset.members.iter().enumerate() {
            let at = Path::default().key("spec").key("servers").index(index);
            for (place, version) in member.versions.iter().enumerate() {
                let path = match &member.versions[..] {
                    [only] if only.server == member.name => at.clone(),
                    [_] => at.key("server"),
                    _ => at.key("versions").index(place).key("server"),
                };
                self.reference(&Reference {
                    from: (Kind::Toolset, &toolset.name),
                    tenant: &toolset.tenant,
                    to: (Kind::ToolServer, &version.server),
                    path,
                });
            }
        }
    }

    fn reference(&mut self, reference: &Reference<'_>) {
        let (kind, name) = reference.to;
        let Some(target) = self.find(kind, name) else {
            let known = self.named.get(&kind).into_iter().flatten().map(|(name, _)| name.as_str());
            // Of a set whose servers were forgotten thousands lead nowhere, and nobody reads on.
            let is_read = self.problems.len() < SUGGESTIONS_MAX;
            let suggestion = is_read.then(|| nearest(name.as_str(), known.clone())).flatten().map(str::to_owned);
            let known = known.take(NAMES_SHOWN_MAX).map(str::to_owned).collect();
            let reason = Reason::UnknownReference { kind, name: name.to_string(), suggestion, known };
            return self.push(reference.from, &reference.path, reason);
        };
        let Some(owner) = &target.tenant else { return };
        let allowed = match reference.from.0 {
            // The operator's listeners serve every tenant.
            Kind::Listener => reference.tenant.meets(owner),
            Kind::ToolServer
            | Kind::Toolset
            | Kind::Provider
            | Kind::Model
            | Kind::Issuer
            | Kind::ApiKey
            | Kind::Tenant
            | Kind::Policy => reference.tenant.reaches(owner),
        };
        if !allowed {
            let (owner, tenant) = (owner.to_string(), reference.tenant.to_string());
            let reason = Reason::ForeignReference { kind, name: name.to_string(), owner, tenant };
            self.push(reference.from, &reference.path, reason);
        }
    }

    /// Where the document of a resource is.
    fn place(&self, kind: Kind, name: &ResourceName) -> Place {
        self.find(kind, name).map(|one| one.place.clone()).unwrap_or_default()
    }

    /// The first document of a name.
    fn find(&self, kind: Kind, name: &ResourceName) -> Option<&'a Declared> {
        self.named.get(&kind)?.get(name).copied()
    }

    fn push(&mut self, (kind, name): (Kind, &ResourceName), path: &Path, reason: Reason) {
        let place = self.place(kind, name);
        self.problems.push(at(&place, path, reason, self.line_of));
    }
}

fn at(place: &Place, path: &Path, reason: Reason, line_of: &LineOf<'_>) -> Problem {
    let line = line_of(place, path, None).or(place.line);
    Problem { place: Place { line, ..place.clone() }, path: path.to_string(), reason }
}

/// Tells whether two listeners cannot both be bound: the same port on the same address, or on
/// all addresses of the family. Port 0 is a different port each time.
fn overlap(left: &Listener, right: &Listener) -> bool {
    let (left, right) = (left.address, right.address);
    let same_ip = left.ip() == right.ip()
        || left.is_ipv4() == right.is_ipv4() && (left.ip().is_unspecified() || right.ip().is_unspecified());
    left.port() != 0 && left.port() == right.port() && same_ip
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::resource::Connection;

    fn name(text: &str) -> ResourceName {
        ResourceName::new(text).expect("is a name")
    }

    fn listener(text: &str, address: &str) -> Listener {
        Listener::new(name(text), address.parse().expect("is an address"))
    }

    fn server(text: &str) -> ToolServer {
        {
            let url = crate::check_url("http://127.0.0.1:9001/mcp").expect("is a URL");
            ToolServer::new(name(text), Connection::http(vec![url]))
        }
    }

    fn toolset(text: &str, servers: &[&str]) -> Toolset {
        Toolset::new(name(text), servers.iter().map(|server| name(server)).collect())
    }

    fn owned(mut toolset: Toolset, tenant: &str) -> Toolset {
        toolset.tenant = TenantId::new(tenant).expect("is a tenant");
        toolset
    }

    #[test]
    fn resources_made_in_code_are_sorted_and_checked_like_documents() {
        let set = ResourceSet::new(Resources {
            listeners: vec![listener("data", "127.0.0.1:0")],
            tool_servers: vec![server("b"), server("a")],
            toolsets: vec![toolset("default", &["b", "a"])],
            ..Resources::default()
        })
        .expect("they fit together");
        assert_eq!(set.tool_servers()[0].name, name("a"));
        assert_eq!(set.tool_server(&name("b")).map(|one| &one.name), Some(&name("b")));
        assert_eq!(set.toolsets()[0].naming, crate::Naming::OnCollision);

        let errors = ResourceSet::new(Resources {
            listeners: vec![listener("data", "127.0.0.1:4290"), listener("more", "0.0.0.0:4290")],
            tool_servers: vec![server("a"), server("a")],
            toolsets: vec![toolset("default", &["b"])],
            ..Resources::default()
        })
        .expect_err("they do not fit");
        assert_eq!(
            errors.to_string(),
            "ToolServer/a: name: there is already a ToolServer named \"a\", in ToolServer/a\n\
             Listener/more: spec.address: 0.0.0.0:4290 is already the address of Listener \"data\"\n\
             Toolset/default: spec.servers[0]: there is no ToolServer \"b\" (did you mean \"a\"?); there are: a"
        );
    }

    #[test]
    fn two_listeners_share_a_port_only_where_the_system_lets_them() {
        let overlap = |left: &str, right: &str| overlap(&listener("l", left), &listener("r", right));
        assert!(overlap("127.0.0.1:1", "127.0.0.1:1"));
        assert!(overlap("127.0.0.1:1", "0.0.0.0:1"));
        assert!(overlap("[::]:1", "[::1]:1"));
        assert!(!overlap("127.0.0.1:1", "127.0.0.1:2"));
        assert!(!overlap("127.0.0.1:1", "127.0.0.2:1"));
        assert!(!overlap("127.0.0.1:0", "127.0.0.1:0"));
        assert!(!overlap("0.0.0.0:1", "[::1]:1"));
    }

    #[test]
    fn a_listener_serves_its_tenants_toolsets_and_the_operators_all() {
        let toolsets = vec![
            toolset("shared", &["a"]),
            owned(toolset("acme", &["a"]), "acme"),
            owned(toolset("other", &["a"]), "other"),
        ];
        let resources = Resources { tool_servers: vec![server("a")], toolsets, ..Resources::default() };
        let set = ResourceSet::new(resources).expect("they fit together");
        let served = |tenant: Option<&str>| {
            let mut listener = listener("data", "127.0.0.1:0");
            listener.tenant =
                tenant.map_or_else(TenantId::default, |tenant| TenantId::new(tenant).expect("is a tenant"));
            set.toolsets_of(&listener).map(|one| one.name.to_string()).collect::<Vec<_>>()
        };
        assert_eq!(served(None), ["acme", "other", "shared"]);
        assert_eq!(served(Some("acme")), ["acme", "shared"]);
        assert_eq!(served(Some("nobody")), ["shared"]);
    }
}
