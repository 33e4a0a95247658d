//! What a session needs beside its record, on a node that did not open it: its toolset as it is configured now, and who its
//! owner is known as.
//!
//! In: what the session was opened with. Out: nothing where its toolset or server is not configured any more; then it ends.

use std::sync::Arc;

use quorate_runtime::session::{Memory, Scope, Translate};
use quorate_runtime::shard::{self, Revived};
use quorate_session::record::proto::Charter;
use quorate_types::ResourceName;

use crate::authenticate::Caller;
use crate::behalf;
use crate::snapshot::Services;
use crate::translate::Translator;

/// Makes it; none where the scope of the session is not configured any more.
pub(crate) fn revive(services: &Arc<Services>, charter: &Charter) -> Option<Revived> {
    match shard::scope(charter)? {
        Scope::Toolset(name) => of_toolset(services, charter, name),
        Scope::Server(name) => {
            let toolsets = services.toolsets.load();
            let servers = toolsets.values().flat_map(|toolset| toolset.servers().iter());
            let server = servers.into_iter().find(|server| *server.name() == name)?.clone();
            let translate = behalf::passing(services);
            Some(Revived { translate, memory: Arc::default(), servers: Arc::new(vec![server]) })
        }
    }
}

fn of_toolset(services: &Arc<Services>, charter: &Charter, name: ResourceName) -> Option<Revived> {
    let toolset = services.toolset(&name)?;
    let caller = Caller::new(shard::owner(charter)?, &services.judge.load(), &services.metrics);
    let version = |version: &quorate_session::record::proto::Version| {
        Some((ResourceName::new(&version.member).ok()?, ResourceName::new(&version.server).ok()?))
    };
    let memory = Arc::new(Memory::new(charter.versions.iter().filter_map(version).collect()));
    let view = charter.client.as_ref().map(|client| client.view);
    let translator = Translator::new(Arc::clone(services), name, &caller, Arc::clone(&memory), view);
    let translate: Arc<dyn Translate> = Arc::new(translator);
    Some(Revived { translate, memory, servers: Arc::clone(toolset.servers()) })
}
