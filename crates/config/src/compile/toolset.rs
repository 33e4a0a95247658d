//! What makes the spec of a `Toolset` valid.
//!
//! Whether its servers exist is for the whole set to say (see [`crate::set`]).

use super::{Head, Site, names};
use crate::form::ToolsetForm;
use crate::report::Report;
use crate::resource::{Naming, Toolset};

pub(super) fn compile(head: Head, form: &ToolsetForm, site: &Site<'_>, report: &mut Report<'_>) -> Option<Toolset> {
    let servers = names(form.servers.as_ref()?, &site.at.key("servers"), report);
    let naming = form.naming.map_or_else(|| Naming::default_for(servers.len()), Into::into);
    Some(Toolset { name: head.name, tenant: head.tenant, servers, naming })
}
