//! What toolsets make of their servers now, for whoever writes them.
//!
//! In: a running gateway. Out: one [`Survey`] per toolset and combination of versions: its lists as
//! a stateless client without capabilities gets them, what of its servers' lists is not exposed and
//! why, patterns that match nothing, and servers that could not be asked. It asks servers for lists
//! and calls nothing.

use std::sync::Arc;

use quorate_mcp::ListKind;
use quorate_mcp::curate::Watched;
use quorate_mcp::listing::Merged;
use quorate_runtime::listing::{Audience, View};
use quorate_types::ResourceName;

use crate::behalf::Behalf;
use crate::fetch::Fetcher;
use crate::resolve::probed;
use crate::snapshot::{Services, ToolsetTable};

/// What one toolset makes of its servers, with one combination of their versions.
pub struct Survey {
    /// The toolset.
    pub toolset: ResourceName,
    /// Its members, each with the tool server that stands for it, in order of precedence.
    pub members: Vec<(ResourceName, ResourceName)>,
    /// Its lists.
    pub lists: Vec<Arc<Merged>>,
    /// The patterns of the toolset that match nothing in any combination: of the last one alone, after
    /// which that is known.
    pub unmatched: Vec<Watched>,
    /// The servers that could not be asked, and why.
    pub unreached: Vec<(ResourceName, String)>,
}

/// Surveys every toolset of `services`, in order of their names.
pub(crate) async fn all(services: &Arc<Services>) -> Vec<Survey> {
    let toolsets = services.toolsets.load_full();
    let mut toolsets: Vec<_> = toolsets.values().collect();
    toolsets.sort_by(|one, other| one.name().cmp(other.name()));
    let behalf = Behalf::of_nobody(services);
    let mut surveys = Vec::new();
    for toolset in toolsets {
        for table in toolset.tables() {
            surveys.push(survey(table, &behalf).await);
        }
        if let (Some(last), Some(table)) = (surveys.last_mut(), toolset.tables().last()) {
            last.unmatched = table.listing.unmatched();
        }
    }
    surveys
}

async fn survey(table: &ToolsetTable, behalf: &Behalf) -> Survey {
    let listing = &table.listing;
    probed(listing).await;
    let view = View { principal: behalf.principal(), audience: Audience::Modern(0) };
    let failed = listing.servers().iter().filter_map(|server| Some((server.name().clone(), server.support().failure?)));
    let mut unreached: Vec<(ResourceName, String)> = failed.collect();
    let mut lists = Vec::with_capacity(ListKind::ALL.len());
    for kind in ListKind::ALL {
        lists.push(listing.merged(view, kind, &Fetcher::Modern(behalf)).await);
        for server in listing.undecided(view, kind) {
            if !unreached.iter().any(|(name, _)| name == server.name()) {
                unreached.push((server.name().clone(), format!("its answer to {} is no list", kind.method().as_str())));
            }
        }
    }
    Survey {
        toolset: table.name.clone(),
        members: listing.members().map(|(name, server)| (name.clone(), server.name().clone())).collect(),
        lists,
        unmatched: Vec::new(),
        unreached,
    }
}
