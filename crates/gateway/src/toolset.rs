//! A toolset as a whole: which versions of its servers a caller or a session has.
//!
//! In: who asks. Out: the one [`ToolsetTable`] that is a toolset's to that caller. A toolset has a
//! table for each combination of its members' versions, mostly one. A session keeps the versions
//! that it was opened on as long as the configuration has them; a stateless caller's follow from
//! its principal and the weights alone, so that every node draws the same.

use std::sync::Arc;

use quorate_config::{Draw, Member};
use quorate_mcp::ListKind;
use quorate_mcp::curate::version::{Weighted, draw};
use quorate_runtime::session::Memory;
use quorate_runtime::session::memory::Versions;
use quorate_runtime::{backend, entropy};
use quorate_types::{PrincipalDigest, ResourceName};
use tokio_util::sync::CancellationToken;

use crate::snapshot::ToolsetTable;
use crate::tasks::Task;

/// One toolset, with all versions of its servers.
pub struct Toolset {
    name: ResourceName,
    members: Vec<Member>,
    /// By the combination of versions: the last member's version counts fastest.
    tables: Vec<Arc<ToolsetTable>>,
    servers: Arc<Vec<backend::Handle>>,
    retired: CancellationToken,
}

// === impl Toolset ===

impl Toolset {
    /// Puts a toolset together: `table` makes the table of one combination, given as its number and
    /// as the place of the version of each member.
    pub(crate) fn new(
        name: ResourceName,
        members: Vec<Member>,
        servers: Arc<Vec<backend::Handle>>,
        table: impl Fn(usize, &[usize]) -> ToolsetTable,
    ) -> Self {
        let mut places = vec![0; members.len()];
        let mut tables = Vec::new();
        loop {
            tables.push(Arc::new(table(tables.len(), &places)));
            let next = places.iter().zip(&members).rposition(|(place, member)| place + 1 < member.versions.len());
            let Some(next) = next else { break };
            places[next] += 1;
            places[next + 1..].fill(0);
        }
        Self { name, members, tables, servers, retired: CancellationToken::new() }
    }

    /// Its name.
    #[must_use]
    pub fn name(&self) -> &ResourceName {
        &self.name
    }

    /// Its tables, one for each combination of versions.
    #[must_use]
    pub fn tables(&self) -> &[Arc<ToolsetTable>] {
        &self.tables
    }

    /// The servers of all versions.
    #[must_use]
    pub fn servers(&self) -> &Arc<Vec<backend::Handle>> {
        &self.servers
    }

    /// Is cancelled when another toolset, or none, has taken its name: what goes on for long by this
    /// one ends then.
    #[must_use]
    pub fn retired(&self) -> &CancellationToken {
        &self.retired
    }

    /// Ends what goes on by this toolset.
    pub(crate) fn retire(&self) {
        self.retired.cancel();
    }

    /// Makes every view of every combination of versions ask `server` again for its list of `kind`.
    pub fn invalidate(&self, server: &ResourceName, kind: ListKind) {
        for table in &self.tables {
            table.listing.invalidate(server, kind);
        }
    }

    /// The table of a caller without a session.
    #[must_use]
    pub fn of_principal(&self, caller: PrincipalDigest) -> &Arc<ToolsetTable> {
        self.table(|member| drawn(member, caller))
    }

    /// The table of a session of `caller` that has this memory. A version that the configuration no
    /// longer has gives way to the caller's own.
    #[must_use]
    pub fn of_session(&self, caller: PrincipalDigest, memory: &Memory) -> &Arc<ToolsetTable> {
        self.table(|member| {
            let kept = memory.versions().iter().find(|(name, _)| *name == member.name);
            let kept = kept.and_then(|(_, server)| member.versions.iter().position(|one| one.server == *server));
            kept.unwrap_or_else(|| drawn(member, caller))
        })
    }

    /// The tags of the tool that began a task; none where the toolset does not choose it, or its server, any more.
    ///
    /// A task stays with its server, also where that is of a version that its caller no longer has.
    #[must_use]
    pub fn tags_of(&self, task: &Task) -> Option<Vec<String>> {
        let place = |table: &Arc<ToolsetTable>| Some((Arc::clone(table), table.listing.index_of(&task.server)?));
        let (table, index) = self.tables.iter().find_map(place)?;
        match table.listing.curation() {
            None => Some(Vec::new()),
            Some(curation) if curation.has_tool(index, &task.tool.upstream) => {
                Some(curation.tags(ListKind::Tools, index, &task.tool.upstream))
            }
            Some(_) => None,
        }
    }

    /// Draws the versions of a new session of `caller`: of every member, since one that has a single
    /// version now may have several before the session ends.
    #[must_use]
    pub fn draw(&self, caller: PrincipalDigest) -> Versions {
        let version = |member: &Member| {
            let place = match (&member.versions[..], member.draw) {
                ([_], _) => 0,
                (_, Draw::Principal) => drawn(member, caller),
                (_, Draw::Session) => drawn(member, PrincipalDigest(entropy::secret())),
            };
            Some((member.name.clone(), member.versions.get(place)?.server.clone()))
        };
        self.members.iter().filter_map(version).collect()
    }

    fn table(&self, place: impl Fn(&Member) -> usize) -> &Arc<ToolsetTable> {
        if let [only] = &self.tables[..] {
            return only; // Most toolsets draw nothing.
        }
        let combination = self.members.iter().fold(0, |before, member| match member.versions.len() {
            0 | 1 => before,
            count => before * count + place(member),
        });
        &self.tables[combination]
    }
}

/// The place of the version that is drawn for `by`.
fn drawn(member: &Member, by: PrincipalDigest) -> usize {
    let weighted = member.versions.iter().map(|one| Weighted { server: one.server.as_str(), weight: one.weight });
    let weighted: Vec<Weighted<'_>> = weighted.collect();
    // A document's versions have a weight; those made in code may have none, and then the first.
    draw(&by.0, member.name.as_str(), &weighted).unwrap_or(0)
}
