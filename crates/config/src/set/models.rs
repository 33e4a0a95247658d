//! What has to fit together between models and their providers.
//!
//! A target's provider has to be there, and to be one that the model's tenant may use. A name by which clients ask leads to one model:
//! one that two models of tenants who see both claim leads nowhere, and is refused.

use std::collections::BTreeMap;

use quorate_llm::Dialect;
use quorate_types::{ResourceName, TenantId};

use super::Links;
use crate::error::Reason;
use crate::node::Path;
use crate::resource::{Kind, Model, Provider};

// === impl Links ===

impl Links<'_> {
    /// Checks models against each other and against the providers that they name.
    pub(super) fn models(&mut self, models: &[Model], providers: &[Provider]) {
        for model in models {
            for (index, target) in model.targets.iter().enumerate() {
                let path = Path::default().key("spec").key("targets").index(index);
                self.reference(&super::Reference {
                    from: (Kind::Model, &model.name),
                    tenant: &model.tenant,
                    to: (Kind::Provider, &target.provider),
                    path: path.key("provider"),
                });
            }
            self.answers(model, providers);
        }
        self.claims(models);
    }

    /// Checks that some target can answer at all: not all of what providers have is asked for an answer.
    fn answers(&mut self, model: &Model, providers: &[Provider]) {
        let of = |name: &ResourceName| providers.iter().find(|provider| provider.name == *name);
        let mut known = model.targets.iter().filter_map(|target| of(&target.provider)).peekable();
        let is_known = known.peek().is_some();
        let is_one = |provider: &Provider| {
            let dialects = provider.apis.iter().any(|api| Dialect::of(*api).is_some());
            dialects || provider.apis.contains(&quorate_llm::Api::Embeddings)
        };
        if is_known && !known.any(is_one) {
            let message =
                "none of its providers has an API that answers: spec.apis of a provider says which it has".to_owned();
            self.push(
                (Kind::Model, &model.name),
                &Path::default().key("spec").key("targets"),
                Reason::Conflict { message },
            );
        }
    }

    /// Checks that each name leads to one model.
    fn claims(&mut self, models: &[Model]) {
        let mut claimed: BTreeMap<&str, Vec<(&Model, &TenantId)>> = BTreeMap::new();
        for model in models {
            for (index, name) in model.names.iter().enumerate() {
                let others = claimed.entry(name.as_str()).or_default();
                if let Some((first, _)) = others.iter().find(|(_, tenant)| tenant.meets(&model.tenant)) {
                    let message = if std::ptr::eq(*first, model) {
                        format!("{:?} is there twice", name.as_str())
                    } else {
                        format!(
                            "model `{}` has the name {:?}, too: a name leads to one model",
                            first.name,
                            name.as_str()
                        )
                    };
                    let path = Path::default().key("spec").key("names").index(index);
                    self.push((Kind::Model, &model.name), &path, Reason::Conflict { message });
                }
                others.push((model, &model.tenant));
            }
        }
    }
}
