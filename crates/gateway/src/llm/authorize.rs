//! Stage 4: may this principal ask this of this model.
//!
//! In: a classified request. Out: [`Permitted`], without which nothing is routed, with the model that its name leads to. A model of
//! another tenant does not exist; one that policy denies does, and its caller is told that it is denied (`llm:invoke`), with the scopes
//! that would turn it where those are all that is missing.

use std::sync::Arc;

use quorate_llm::Call;
use quorate_policy::{Decision, Denial, Item, ModelRequest, Resource, Verdict};
use quorate_runtime::clock;

use super::classify::Classified;
use super::refusal::{Denied, Refusal};
use super::table::ModelTable;
use crate::audit;

/// A request that policy allows.
pub(super) struct Permitted {
    classified: Classified,
    model: Arc<ModelTable>,
    decision: Arc<Decision>,
}

// === impl Permitted ===

impl Permitted {
    /// The request that may go on.
    pub(super) const fn classified(&self) -> &Classified {
        &self.classified
    }

    /// The model that it asks.
    pub(super) const fn model(&self) -> &Arc<ModelTable> {
        &self.model
    }

    /// The policy that allows it.
    pub(super) fn policy(&self) -> String {
        self.decision.by.iter().map(|by| format!("{}/{}", by.document, by.id)).collect()
    }
}

/// Finds the model that `classified` asks, and decides whether it may.
///
/// # Errors
/// [`Refusal::Unknown`], [`Refusal::Denied`], or [`Refusal::TooLarge`] for a body that this model does not take.
pub(super) fn decide(classified: Classified) -> Result<Permitted, Refusal> {
    let (accepted, caller, call) = (classified.accepted(), classified.caller(), classified.call());
    let unknown = || Refusal::Unknown { model: call.model.clone() };
    let listener = accepted.listener().ok_or_else(unknown)?;
    let found = accepted.snapshot.models.find(&call.model, &caller.principal.tenant, &listener.config.tenant);
    let model = Arc::clone(found.ok_or_else(unknown)?);
    let resource = resource_of(&model, &call.model);
    let decision = accepted.snapshot.judge().decide_model(&caller.rights, resource, request_of(call));
    audit::model_decided(accepted, caller, &resource, &decision);
    match &decision.verdict {
        Verdict::Allow => {}
        Verdict::Deny(Denial::MissingScopes(scopes)) => {
            let scopes = scopes.union(&caller.principal.scopes).cloned().collect();
            return Err(Refusal::Denied(Denied { model: call.model.clone(), scopes }));
        }
        Verdict::Deny(_) => {
            return Err(Refusal::Denied(Denied { model: call.model.clone(), scopes: Default::default() }));
        }
    }
    let (bytes, bytes_max) = (call.body.len(), model.config.limits.body.as_usize());
    if bytes > bytes_max {
        accepted.snapshot.services.metrics.limit_hit("body");
        return Err(Refusal::TooLarge { max: bytes_max });
    }
    Ok(Permitted { classified, model, decision })
}

/// A model as policies see it.
pub(super) fn resource_of<'a>(model: &'a ModelTable, asked: &'a str) -> Resource<'a> {
    let item = Item::Model { name: model.config.name.as_str(), asked };
    Resource { tenant: &model.config.tenant, toolset: "", item }
}

fn request_of(call: &Call) -> ModelRequest<'_> {
    ModelRequest {
        api: call.api.word(),
        bytes: call.body.len() as u64,
        output_tokens_max: call.output_tokens_max,
        streamed: call.is_streamed,
        tools: call.has.tools,
        images: call.has.images,
        audio: call.has.audio,
        documents: call.has.documents,
        now: clock::now(),
    }
}
