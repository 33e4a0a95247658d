//! Toolsets of a configuration become toolsets that run.
//!
//! What did not change is kept, with its lists; a changed one keeps the counts of calls in progress.

use std::collections::HashMap;
use std::sync::Arc;

use quorate_config::{Member, Naming, ResourceSet, ToolServer, Toolset as Config};
use quorate_mcp::curate::{self, Curation};
use quorate_runtime::backend;
use quorate_runtime::listing::{self, Listing, Watch};
use quorate_telemetry::Metrics;
use quorate_types::ResourceName;

use crate::snapshot::{Instructions, ToolsetTable};
use crate::toolset::Toolset;

/// Toolsets by name, with the configuration that they were made of.
pub(super) type Toolsets = HashMap<ResourceName, (Config, Arc<Toolset>)>;

/// What toolsets are made of.
pub(super) struct Making<'a> {
    pub(super) backends: &'a HashMap<ResourceName, (ToolServer, backend::Handle)>,
    /// The toolsets that run.
    pub(super) running: &'a Toolsets,
    pub(super) metrics: &'a Metrics,
}

// === impl Making ===

impl Making<'_> {
    pub(super) fn all(&self, resources: &ResourceSet) -> Toolsets {
        let made = |config: &Config| (config.name.clone(), (config.clone(), self.toolset(config)));
        resources.toolsets().iter().map(made).collect()
    }

    fn toolset(&self, config: &Config) -> Arc<Toolset> {
        let servers: Vec<backend::Handle> = config.servers().filter_map(|name| self.backend(name)).collect();
        let before = self.running.get(&config.name);
        if let Some((known, toolset)) = before
            && known == config
            && toolset.servers().len() == servers.len()
            && toolset.servers().iter().zip(&servers).all(|(one, other)| one.is_same(other))
        {
            return Arc::clone(toolset);
        }
        let servers = Arc::new(servers);
        let gates = before.and_then(|(_, toolset)| Some(Arc::clone(&toolset.tables().first()?.gates)));
        let gates = gates.unwrap_or_default();
        let combinations = config.members.iter().map(|member| member.versions.len().max(1)).product();
        let watch = Arc::new(Watch::new(config.name.clone(), combinations, self.metrics.clone()));
        let table = |combination: usize, places: &[usize]| ToolsetTable {
            name: config.name.clone(),
            tenant: config.tenant.clone(),
            listing: self.listing(config, places, (combination, combinations), Arc::clone(&watch)),
            servers: Arc::clone(&servers),
            gates: Arc::clone(&gates),
            instructions: Instructions {
                own: config.instructions.clone(),
                kept: config.members.iter().map(|member| member.keeps_instructions).collect(),
            },
            durability: config.durability,
        };
        Arc::new(Toolset::new(config.name.clone(), config.members.clone(), Arc::clone(&servers), table))
    }

    /// The lists of one combination of versions, given as its number among all.
    fn listing(
        &self,
        config: &Config,
        places: &[usize],
        (combination, combinations): (usize, usize),
        watch: Arc<Watch>,
    ) -> Listing {
        let chosen = |(member, place): (&Member, &usize)| member.versions.get(*place).map(|one| one.server.clone());
        let servers: Vec<Option<ResourceName>> = config.members.iter().zip(places).map(chosen).collect();
        let members = config.members.iter().zip(&servers);
        let (members, handles): (Vec<_>, Vec<_>) = members
            .filter_map(|(member, server)| {
                let server = server.as_ref()?;
                let curated = curate::Member { name: &member.name, server, selections: &member.selections };
                Some((curated, (member.name.clone(), self.backend(server)?)))
            })
            .unzip();
        let config = listing::Config {
            toolset: config.name.clone(),
            curation: Curation::compile(&members, &config.rules).map(Arc::new),
            members: handles,
            naming: naming(config.naming),
            combinations,
            combination,
            watch,
        };
        Listing::new(config, self.metrics.clone())
    }

    fn backend(&self, name: &ResourceName) -> Option<backend::Handle> {
        self.backends.get(name).map(|(_, backend)| backend.clone())
    }
}

const fn naming(naming: Naming) -> quorate_mcp::naming::Naming {
    match naming {
        Naming::Bare => quorate_mcp::naming::Naming::Bare,
        Naming::Prefix => quorate_mcp::naming::Naming::Prefix,
        Naming::OnCollision => quorate_mcp::naming::Naming::OnCollision,
    }
}

#[cfg(test)]
mod tests {
    use quorate_config::Source;
    use quorate_session::Durability;

    use super::*;

    fn set(spec: &str) -> ResourceSet {
        let text = format!(
            "kind: ToolServer\nname: files\nspec: {{ urls: [http://127.0.0.1:1/mcp] }}\n---\n\
             kind: ToolServer\nname: files-next\nspec: {{ urls: [http://127.0.0.1:2/mcp] }}\n---\n\
             kind: Toolset\nname: tools\nspec: {{ {spec} }}\n"
        );
        quorate_config::parse(&[Source { file: "resources.yaml".into(), text }]).expect("good documents")
    }

    fn made(spec: &str, running: &Toolsets) -> Toolsets {
        Making { backends: &HashMap::new(), running, metrics: &Metrics::new("0") }.all(&set(spec))
    }

    fn only(toolsets: &Toolsets) -> Arc<Toolset> {
        let (_, toolset) = toolsets.values().next().expect("there is one");
        Arc::clone(toolset)
    }

    #[test]
    fn every_combination_of_versions_keeps_what_the_toolset_says() {
        let versions = "servers: [{ name: a, versions: [{ server: files }, { server: files-next }] }]";
        for (spec, durability) in [
            ("servers: [files]".to_owned(), Durability::Strict),
            ("servers: [files], durability: strict".to_owned(), Durability::Strict),
            ("servers: [files], durability: ephemeral".to_owned(), Durability::Ephemeral),
            (format!("{versions}, durability: ephemeral"), Durability::Ephemeral),
        ] {
            let toolset = only(&made(&spec, &Toolsets::new()));
            assert!(toolset.tables().iter().all(|table| table.durability == durability), "{spec}");
            assert_eq!(toolset.tables().len(), if spec.contains("versions") { 2 } else { 1 }, "{spec}");
        }
    }

    #[test]
    fn another_durability_is_for_those_who_come_and_not_for_those_who_are_there() {
        let before = made("servers: [files]", &Toolsets::new());

        let same = made("servers: [files], durability: strict", &before);
        let now = made("servers: [files], durability: ephemeral", &before);

        assert!(Arc::ptr_eq(&only(&before), &only(&same)), "the default is no change");
        assert_eq!(only(&now).tables()[0].durability, Durability::Ephemeral);
        assert_eq!(only(&before).tables()[0].durability, Durability::Strict, "what is held stays as it was");
        let gates = |toolsets| Arc::clone(&only(toolsets).tables()[0].gates);
        assert!(Arc::ptr_eq(&gates(&before), &gates(&now)), "calls in progress go on to count");
    }
}
