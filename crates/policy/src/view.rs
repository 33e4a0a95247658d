//! How documents see a caller: by plain names in those of its own tenant, by qualified names in the operator's.
//!
//! Each tenant names its own agents, users and groups, so the same name may be somebody else elsewhere. The operator's
//! documents are about everybody; there a caller of another tenant is seen as `TENANT::NAME`, in `principal in …` and in
//! its attributes, so that `Group::"admins"` there is the operator's group and never a tenant's that is called so. A
//! group that an issuer of the operator's own gives a name of that form is not seen at all.

use std::collections::BTreeSet;

use quorate_types::{Principal, TenantId};

use crate::group::Groups;

/// What stands between tenant and name. No agent or user of the operator's own has it there: their ids are names, SPIFFE
/// ids, or begin with a name and `/`.
pub(crate) const SEPARATOR: &str = "::";

/// A caller, as the documents of one tenant see it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct View {
    pub(crate) tenant: TenantId,
    pub(crate) agent: Option<String>,
    pub(crate) user: Option<String>,
    pub(crate) groups: BTreeSet<String>,
}

// === impl View ===

impl View {
    /// Returns how documents of `document` see `principal`; those of third tenants do not see it.
    pub(crate) fn new(principal: &Principal, groups: &Groups, document: &TenantId) -> Option<Self> {
        let tenant = &principal.tenant;
        let own = document == tenant;
        if !tenant.reaches(document) {
            return None;
        }
        let agent = principal.agent.clone();
        let user = principal.user.as_ref().map(|user| format!("{}/{}", user.source, user.subject));
        let said = principal.groups.iter().map(String::as_str);
        let said = said.filter(|group| !tenant.is_operator() || !is_qualified(group));
        let groups = groups.of(tenant, agent.as_deref(), user.as_deref(), said);
        let qualify = |name: &str| if own { name.to_owned() } else { format!("{tenant}{SEPARATOR}{name}") };
        Some(Self {
            tenant: tenant.clone(),
            agent: agent.as_deref().map(qualify),
            user: user.as_deref().map(qualify),
            groups: groups.into_iter().map(qualify).collect(),
        })
    }
}

/// Whether a name has a tenant in front.
pub(crate) fn is_qualified(name: &str) -> bool {
    name.split_once(SEPARATOR).is_some_and(|(tenant, _)| TenantId::new(tenant).is_ok())
}

#[cfg(test)]
mod tests {
    use quorate_types::{ResourceName, User};

    use super::*;

    #[test]
    fn the_operator_sees_others_with_their_tenant_in_front() {
        let [acme, other, operator] = ["acme", "other", "default"].map(|name| TenantId::new(name).expect("a name"));
        let mut principal = Principal::agent(acme.clone(), "bot");
        let source = ResourceName::new("corp").expect("a name");
        principal.user = Some(User { source, issuer: "https://idp".into(), subject: "ann/x".into() });
        principal.groups.insert("role::admin".into());
        let of = |document| View::new(&principal, &Groups::default(), document);

        let own = of(&acme).expect("is seen");
        assert_eq!((own.agent.as_deref(), own.user.as_deref()), (Some("bot"), Some("corp/ann/x")));
        assert_eq!(own.groups, BTreeSet::from(["role::admin".to_owned()]));

        let seen = of(&operator).expect("is seen");
        assert_eq!((seen.agent.as_deref(), seen.user.as_deref()), (Some("acme::bot"), Some("acme::corp/ann/x")));
        assert_eq!(seen.groups, BTreeSet::from(["acme::role::admin".to_owned()]));
        assert_eq!(seen.tenant, acme);

        assert_eq!(of(&other), None);
    }

    #[test]
    fn a_group_of_the_operators_issuers_cannot_pass_for_a_tenants() {
        let mut principal = Principal::agent(TenantId::default(), "bot");
        principal.groups.extend(["acme::admins", "role:admin", "https://x::y", "::x"].map(str::to_owned));

        let view = View::new(&principal, &Groups::default(), &TenantId::default()).expect("is seen");

        assert_eq!(view.groups, ["role:admin", "https://x::y", "::x"].map(str::to_owned).into());
    }
}
