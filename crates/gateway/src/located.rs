//! What policies decide on where a resource of a server is asked for.
//!
//! In: a server's URI, and the router of what the caller is listed. Out: one decision. What the server lists is decided on
//! as its list has it. Any other URI is a text that its server may read in many ways, and a policy knows texts only: it
//! has to be allowed in each certain reading, and no reading may be forbidden ([`Spelled`]). `resource.exposed` is always
//! what the toolset would show for the URI, never what the caller has typed. Knows no session and no request.

use std::borrow::Cow;
use std::sync::Arc;

use quorate_mcp::ListKind;
use quorate_mcp::curate::Spelled;
use quorate_mcp::listing::{Entry, ServerIndex};
use quorate_mcp::uri::Router;
use quorate_policy::{Action, Decision, Denial, Item, Named, Resource, Verdict};
use quorate_types::ResourceName;

use crate::judge::{Judge, Rights};
use crate::snapshot::ToolsetTable;

/// A resource of a server of a toolset.
#[derive(Clone, Copy)]
pub(crate) struct Located<'a> {
    toolset: &'a ToolsetTable,
    server: &'a ResourceName,
    uri: &'a str,
    /// None where the toolset's only server has URIs of its own, which are not rewritten.
    router: Option<&'a Router>,
    /// Its place in the toolset, which a server has as long as it is of it.
    index: Option<ServerIndex>,
    /// What it is listed as.
    entry: Option<&'a Entry>,
}

// === impl Located ===

impl<'a> Located<'a> {
    /// The resource that `server` knows as `uri`.
    pub(crate) fn resource(
        toolset: &'a ToolsetTable,
        router: Option<&'a Router>,
        server: &'a ResourceName,
        uri: &'a str,
    ) -> Self {
        let index = toolset.listing.index_of(server);
        let entry = router.zip(index).and_then(|(router, index)| router.listed(ListKind::Resources, index, uri));
        Self { toolset, server, uri, router, index, entry }
    }

    /// The template of resources that `server` lists as `uri`, or else the resource.
    pub(crate) fn reference(
        toolset: &'a ToolsetTable,
        router: Option<&'a Router>,
        server: &'a ResourceName,
        uri: &'a str,
    ) -> Self {
        let known = Self::resource(toolset, router, server, uri);
        let template =
            router.zip(known.index).and_then(|(router, index)| router.listed(ListKind::ResourceTemplates, index, uri));
        Self { entry: template.or(known.entry), ..known }
    }

    /// Tells whether `uri` can be decided on without a look whether anybody lists it.
    pub(crate) fn needs_no_list(judge: &Judge, uri: &str) -> bool {
        judge.allows_all() || Spelled::is_plain(uri)
    }

    /// Its URI as the toolset exposes it.
    pub(crate) fn exposed(&self) -> Cow<'a, str> {
        self.entry.map_or_else(|| self.expose(self.uri), |entry| Cow::Borrowed(&*entry.exposed))
    }

    /// What it is called in records and answers.
    pub(crate) fn named<'n>(&self, exposed: &'n str) -> Named<'n>
    where
        'a: 'n,
    {
        Named { server: self.server.as_str(), name: self.uri, exposed, tags: &[] }
    }

    /// Decides whether a caller may do something with it.
    pub(crate) fn decide(&self, judge: &Judge, rights: &Rights, action: Action) -> Arc<Decision> {
        if let Some(entry) = self.entry {
            return self.ask(judge, rights, action, (self.uri, &entry.exposed), entry.tags());
        }
        if judge.allows_all() {
            return self.ask(judge, rights, action, (self.uri, &self.exposed()), &[]);
        }
        let Some(spelled) = Spelled::of(self.uri) else { return Arc::new(Decision::misspelled()) };
        let mut kept: Option<Arc<Decision>> = None;
        let touching = self.tags_touching(&spelled);
        for text in spelled.certain() {
            let exposed = self.expose(text);
            let own = self.tags(text);
            // With its own tags for permits that want a tag, and with all for those that do not want one.
            for tags in [Some(&own), (own != touching).then_some(&touching)].into_iter().flatten() {
                if let Some(denied) = keep(&mut kept, self.ask(judge, rights, action, (text, &exposed), tags)) {
                    return denied;
                }
            }
        }
        for text in spelled.lenient() {
            let decision = self.ask(judge, rights, action, (text, &self.expose(text)), &touching);
            if !matches!(decision.verdict, Verdict::Deny(Denial::NoPermit | Denial::MissingScopes(_)))
                && let Some(denied) = keep(&mut kept, decision)
            {
                return denied;
            }
        }
        kept.unwrap_or_else(|| Arc::new(Decision::misspelled()))
    }

    fn ask(
        &self,
        judge: &Judge,
        rights: &Rights,
        action: Action,
        (name, exposed): (&str, &str),
        tags: &[String],
    ) -> Arc<Decision> {
        let item = Item::Resource(Named { server: self.server.as_str(), name, exposed, tags });
        let resource = Resource { tenant: &self.toolset.tenant, toolset: self.toolset.name.as_str(), item };
        judge.decide(rights, action, resource, None)
    }

    fn expose<'t>(&self, uri: &'t str) -> Cow<'t, str> {
        match (self.router, self.index) {
            (Some(router), Some(index)) => router.expose(index, uri),
            (None, _) | (_, None) => Cow::Borrowed(uri),
        }
    }

    /// The tags that the toolset gives what is listed under exactly this URI.
    fn tags(&self, uri: &str) -> Vec<String> {
        let curation = self.toolset.listing.curation().zip(self.index);
        curation.map_or_else(Vec::new, |(curation, index)| curation.tags(ListKind::Resources, index, uri))
    }

    fn tags_touching(&self, spelled: &Spelled) -> Vec<String> {
        let curation = self.toolset.listing.curation().zip(self.index);
        curation.map_or_else(Vec::new, |(curation, index)| curation.tags_touching(index, spelled))
    }
}

/// Puts the decision on one more reading to the one that is kept of those before, and returns it where it settles all: what
/// only lacks scopes may still be denied in another reading, and what is allowed may be lacking, or be told of a policy on
/// trial.
fn keep(kept: &mut Option<Arc<Decision>>, decision: Arc<Decision>) -> Option<Arc<Decision>> {
    let weight = |decision: &Decision| match &decision.verdict {
        Verdict::Allow => usize::from(!decision.would_deny.is_empty()),
        Verdict::Deny(Denial::MissingScopes(_)) => 2,
        Verdict::Deny(_) => 3,
    };
    if weight(&decision) == 3 {
        return Some(decision);
    }
    if kept.as_ref().is_none_or(|kept| weight(kept) < weight(&decision)) {
        *kept = Some(decision);
    }
    None
}
