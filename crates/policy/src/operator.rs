//! What somebody who operates a cluster may do: Cedar policies by role, deny by default.
//!
//! ```text
//!  Operator {role} ─in─▶ Role::"admin" ─in─▶ Role::"operator" ─in─▶ Role::"viewer"
//!  decide(operator, "admin:drain", Cluster) ─▶ the policy that permits it, or nothing
//! ```
//!
//! Operators are another kind of principal than callers of tools, and a cluster another kind of resource, so this is a
//! schema and a set of its own; one table says which actions there are, what they mean, and the least role that has them.
//! Unknown here: certificates, sockets, and which call is which action.

use std::collections::HashSet;
use std::fmt::Write as _;

use cedar_policy::{Authorizer, Context, Decision, Entities, Entity, EntityId, EntityTypeName, EntityUid, PolicySet};
use cedar_policy::{Request, RestrictedExpression};

/// What an operator wants to do, as policies, logs and errors name it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum AdminAction {
    /// Look at the cluster, its resources, keys and records.
    View,
    /// Change resources.
    Apply,
    /// Move work and leadership between nodes, and have them snapshot.
    Move,
    /// End sessions of clients.
    Sessions,
    /// Decide which nodes are in the cluster: tokens, removal, replacement.
    Nodes,
    /// Make and revoke API keys of agents.
    Keys,
    /// Decide who operates the cluster.
    Operators,
    /// Take all of the catalog out, or put it back.
    Backup,
}

/// What an operator may be, from less to more: each has what those before it have.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum OperatorRole {
    /// Looks.
    Viewer,
    /// Works with resources, and moves what nodes have.
    Operator,
    /// Changes who is in the cluster and who may do what.
    Admin,
}

/// The policies about operators; immutable, to be shared.
#[derive(Debug)]
pub struct Operators {
    policies: PolicySet,
    authorizer: Authorizer,
}

// === impl AdminAction ===

impl AdminAction {
    /// All actions.
    pub const ALL: [Self; 8] =
        [Self::View, Self::Apply, Self::Move, Self::Sessions, Self::Nodes, Self::Keys, Self::Operators, Self::Backup];

    /// Its name in policies, logs and errors.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::View => "admin:view",
            Self::Apply => "admin:apply",
            Self::Move => "admin:move",
            Self::Sessions => "admin:sessions",
            Self::Nodes => "admin:nodes",
            Self::Keys => "admin:keys",
            Self::Operators => "admin:operators",
            Self::Backup => "admin:backup",
        }
    }

    /// The least role that has it by the built-in policies.
    #[must_use]
    pub const fn least(self) -> OperatorRole {
        match self {
            Self::View => OperatorRole::Viewer,
            Self::Apply | Self::Move | Self::Sessions => OperatorRole::Operator,
            Self::Nodes | Self::Keys | Self::Operators | Self::Backup => OperatorRole::Admin,
        }
    }
}

// === impl OperatorRole ===

impl OperatorRole {
    /// All roles, from less to more.
    pub const ALL: [Self; 3] = [Self::Viewer, Self::Operator, Self::Admin];

    /// Its name, as it stands in certificates.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Viewer => "viewer",
            Self::Operator => "operator",
            Self::Admin => "admin",
        }
    }
}

// === impl Operators ===

impl Operators {
    /// The built-in policies: one for each role.
    ///
    /// # Panics
    /// Never: their text is made of names that are valid.
    #[must_use]
    pub fn built_in() -> Self {
        let policies = built_in_text().parse().expect("names of roles and actions are plain");
        Self { policies, authorizer: Authorizer::new() }
    }

    /// Decides whether an operator may do something to a cluster: returns the policy that permits it, or nothing.
    ///
    /// # Panics
    /// Never: every value is a literal.
    #[must_use]
    pub fn decide(&self, name: &str, role: OperatorRole, action: AdminAction, cluster: &str) -> Option<String> {
        let (operator, on) = (uid("Operator", name), uid("Cluster", cluster));
        let request =
            Request::new(operator.clone(), uid("Action", action.as_str()), on.clone(), Context::empty(), None);
        let request = request.expect("without a schema nothing is checked");
        let entities = entities(operator, role, on);
        let response = self.authorizer.is_authorized(&request, &self.policies, &entities);
        // What cannot be evaluated denies: a forbid may be what could not be.
        if response.decision() != Decision::Allow || response.diagnostics().errors().next().is_some() {
            return None;
        }
        let decided = response.diagnostics().reason().next()?;
        let named = self.policies.annotation(decided, "id").unwrap_or("built-in");
        Some(named.to_owned())
    }
}

/// The schema as Cedar text.
#[must_use]
pub fn operator_schema_text() -> String {
    let mut text = String::from(
        "entity Role in [Role];\nentity Operator in [Role] {\n    name: String,\n    role: String,\n};\n\
         entity Cluster;\n\naction \"admin\";\n",
    );
    for action in AdminAction::ALL {
        let line = format_args!(
            "action {:?} in [\"admin\"] appliesTo {{ principal: [Operator], resource: [Cluster] }};\n",
            action.as_str()
        );
        text.write_fmt(line).expect("a string takes everything");
    }
    text
}

/// The built-in policies as Cedar text.
fn built_in_text() -> String {
    let mut text = String::new();
    for role in OperatorRole::ALL {
        let own = AdminAction::ALL.into_iter().filter(|action| action.least() == role);
        let own: Vec<String> = own.map(|action| format!("Action::{:?}", action.as_str())).collect();
        let name = role.as_str();
        let line = format_args!(
            "@id(\"built-in/{name}\")\npermit (principal in Role::{name:?}, action in [{}], resource);\n",
            own.join(", ")
        );
        text.write_fmt(line).expect("a string takes everything");
    }
    text
}

/// An operator with the roles that it is in, and a cluster.
fn entities(operator: EntityUid, role: OperatorRole, cluster: EntityUid) -> Entities {
    let roles = OperatorRole::ALL.into_iter().filter(|each| *each <= role);
    let roles: HashSet<EntityUid> = roles.map(|role| uid("Role", role.as_str())).collect();
    let text = |text: &str| RestrictedExpression::new_string(text.to_owned());
    let name = operator.id().unescaped().to_owned();
    let attributes = [("name".to_owned(), text(&name)), ("role".to_owned(), text(role.as_str()))];
    let operator = Entity::new(operator, attributes.into(), roles).expect("attributes are literals");
    Entities::from_entities([operator, Entity::new_no_attrs(cluster, HashSet::new())], None).expect("their ids differ")
}

fn uid(kind: &str, id: &str) -> EntityUid {
    let kind: EntityTypeName = kind.parse().expect("it is an identifier");
    EntityUid::from_type_name_and_id(kind, EntityId::new(id))
}

#[cfg(test)]
mod tests {
    use cedar_policy::{Schema, ValidationMode, Validator};

    use super::*;

    #[test]
    fn a_role_may_what_is_listed_for_it_and_what_lesser_roles_may() {
        let operators = Operators::built_in();
        for action in AdminAction::ALL {
            for role in OperatorRole::ALL {
                let decided = operators.decide("ana", role, action, "00ff");
                let expected = (role >= action.least()).then(|| format!("built-in/{}", action.least().as_str()));
                assert_eq!(decided, expected, "{} for {}", action.as_str(), role.as_str());
            }
        }
    }

    #[test]
    fn the_built_in_policies_fit_the_schema() {
        let (schema, _) = Schema::from_cedarschema_str(&operator_schema_text()).expect("it is a schema");
        let policies = built_in_text().parse().expect("they are policies");
        let result = Validator::new(schema).validate(&policies, ValidationMode::Strict);
        assert!(result.validation_passed_without_warnings(), "{result}");
    }

    #[test]
    fn names_of_operators_are_data_and_never_text_of_policies() {
        let operators = Operators::built_in();
        for name in ["\"", "Role::\"admin\"", "x\n permit(principal, action, resource);"] {
            assert_eq!(operators.decide(name, OperatorRole::Viewer, AdminAction::Backup, "00ff"), None);
        }
    }
}
