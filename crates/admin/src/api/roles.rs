//! Which call needs what: one table, from the path of a call to its action and how it runs.
//!
//! Roles are decided by policies ([`quorate_policy::Operators`]); the table says which action a call is. A call that has no
//! row is not served. **Invariant:** every method of the descriptor set has one row, and a test walks them.

use std::sync::LazyLock;
use std::time::Duration;

use quorate_membership::identity::Role;
use quorate_policy::{AdminAction, OperatorRole, Operators};
use tonic::{Code, Status};

use super::caller::Caller;
use super::errors;

/// How long a call may take whose caller does not say: longer than an election and a commit by far.
pub(crate) const CALL_PATIENCE: Duration = Duration::from_secs(30);
/// How long one may take that moves much: snapshots of all groups, a backup of 1 GiB.
pub(crate) const LONG_PATIENCE: Duration = Duration::from_secs(600);

/// Who may call a method.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Access {
    /// Everybody, also without a certificate.
    Anyone,
    /// Who opened the Unix socket of the node.
    Local,
    /// Whom policies permit the action.
    Permitted(AdminAction),
}

/// How a call runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Pace {
    /// One answer, within [`CALL_PATIENCE`].
    Call,
    /// Much of it, within [`LONG_PATIENCE`].
    Long,
    /// As long as the caller stays.
    Watch,
}

/// A method.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Method {
    /// Its path in HTTP/2: `/PACKAGE.SERVICE/METHOD`.
    pub path: &'static str,
    /// Who may call it.
    pub access: Access,
    /// How it runs.
    pub pace: Pace,
    /// Whether it changes something, so that it is recorded.
    pub changes: bool,
}

const fn reads(path: &'static str, pace: Pace) -> Method {
    Method { path, access: Access::Permitted(AdminAction::View), pace, changes: false }
}

const fn changes(path: &'static str, action: AdminAction, pace: Pace) -> Method {
    Method { path, access: Access::Permitted(action), pace, changes: true }
}

const fn open(path: &'static str, access: Access, pace: Pace, changes: bool) -> Method {
    Method { path, access, pace, changes }
}

/// Every method that is served.
pub const METHODS: &[Method] = &[
    reads("/quorate.admin.v1.Cluster/GetStatus", Pace::Call),
    reads("/quorate.admin.v1.Cluster/WatchStatus", Pace::Watch),
    open("/quorate.admin.v1.Cluster/Bootstrap", Access::Local, Pace::Long, true),
    open("/quorate.admin.v1.Cluster/JoinCluster", Access::Local, Pace::Long, true),
    changes("/quorate.admin.v1.Cluster/CreateJoinToken", AdminAction::Nodes, Pace::Call),
    Method {
        path: "/quorate.admin.v1.Cluster/ListJoinTokens",
        access: Access::Permitted(AdminAction::Nodes),
        pace: Pace::Call,
        changes: false,
    },
    changes("/quorate.admin.v1.Cluster/RevokeJoinToken", AdminAction::Nodes, Pace::Call),
    open("/quorate.admin.v1.Cluster/Join", Access::Anyone, Pace::Call, true),
    changes("/quorate.admin.v1.Cluster/DrainNode", AdminAction::Move, Pace::Call),
    changes("/quorate.admin.v1.Cluster/UndrainNode", AdminAction::Move, Pace::Call),
    changes("/quorate.admin.v1.Cluster/RemoveNode", AdminAction::Nodes, Pace::Call),
    changes("/quorate.admin.v1.Cluster/ReplaceNode", AdminAction::Nodes, Pace::Call),
    changes("/quorate.admin.v1.Cluster/TransferLeader", AdminAction::Move, Pace::Call),
    changes("/quorate.admin.v1.Cluster/Snapshot", AdminAction::Move, Pace::Long),
    changes("/quorate.admin.v1.Cluster/CreateOperator", AdminAction::Operators, Pace::Call),
    // Whoever says which authority is believed says who is an operator.
    changes("/quorate.admin.v1.Cluster/RotateAuthority", AdminAction::Operators, Pace::Call),
    Method {
        path: "/quorate.admin.v1.Cluster/ListOperators",
        access: Access::Permitted(AdminAction::Operators),
        pace: Pace::Call,
        changes: false,
    },
    changes("/quorate.admin.v1.Cluster/RevokeOperator", AdminAction::Operators, Pace::Call),
    changes("/quorate.admin.v1.Cluster/Backup", AdminAction::Backup, Pace::Long),
    changes("/quorate.admin.v1.Cluster/Restore", AdminAction::Backup, Pace::Long),
    // A dry run is for viewers: the service asks for admin:apply itself, when it is none.
    Method {
        path: "/quorate.admin.v1.Resources/Apply",
        access: Access::Permitted(AdminAction::View),
        pace: Pace::Long,
        changes: true,
    },
    reads("/quorate.admin.v1.Resources/Diff", Pace::Call),
    reads("/quorate.admin.v1.Resources/Get", Pace::Call),
    reads("/quorate.admin.v1.Resources/List", Pace::Call),
    changes("/quorate.admin.v1.Resources/Delete", AdminAction::Apply, Pace::Call),
    reads("/quorate.admin.v1.Resources/ListRevisions", Pace::Call),
    changes("/quorate.admin.v1.Resources/Rollback", AdminAction::Apply, Pace::Call),
    reads("/quorate.admin.v1.Resources/Watch", Pace::Watch),
    changes("/quorate.admin.v1.Keys/Create", AdminAction::Keys, Pace::Call),
    reads("/quorate.admin.v1.Keys/List", Pace::Call),
    changes("/quorate.admin.v1.Keys/Revoke", AdminAction::Keys, Pace::Call),
    reads("/quorate.admin.v1.Sessions/ListSessions", Pace::Call),
    reads("/quorate.admin.v1.Sessions/GetSession", Pace::Call),
    reads("/quorate.admin.v1.Sessions/WatchSessions", Pace::Watch),
    changes("/quorate.admin.v1.Sessions/EndSession", AdminAction::Sessions, Pace::Call),
    changes("/quorate.admin.v1.Sessions/TransferSession", AdminAction::Move, Pace::Call),
    reads("/quorate.admin.v1.Audit/Read", Pace::Watch),
    reads("/quorate.admin.v1.Audit/Verify", Pace::Long),
    open("/grpc.health.v1.Health/Check", Access::Anyone, Pace::Call, false),
    // Whoever watches holds a stream for as long as it likes: not for strangers.
    reads("/grpc.health.v1.Health/Watch", Pace::Watch),
    reads("/grpc.reflection.v1.ServerReflection/ServerReflectionInfo", Pace::Watch),
];

static OPERATORS: LazyLock<Operators> = LazyLock::new(Operators::built_in);

/// The row of a path; none for what is not served.
#[must_use]
pub fn method(path: &str) -> Option<&'static Method> {
    METHODS.iter().find(|method| method.path == path)
}

/// Decides whether a caller may call a method of a cluster (its id, or nothing where there is none).
///
/// # Errors
/// UNAUTHENTICATED for who shows nothing and has to, else PERMISSION_DENIED, which says the role that it takes.
pub fn permit(caller: &Caller, method: &Method, cluster: &str) -> Result<(), Status> {
    match method.access {
        Access::Anyone => Ok(()),
        Access::Local => match caller {
            Caller::Local { .. } => Ok(()),
            Caller::Nobody | Caller::Node(_) | Caller::Operator { .. } => {
                let how = "this is done on the node itself: through the Unix socket `admin.sock` in its data folder";
                Err(errors::error(Code::PermissionDenied, "LOCAL_ONLY", how))
            }
        },
        Access::Permitted(action) => decide(caller, action, cluster),
    }
}

/// Decides whether a caller may do something to a cluster.
///
/// # Errors
/// As [`permit`].
pub fn decide(caller: &Caller, action: AdminAction, cluster: &str) -> Result<(), Status> {
    let (name, role) = match caller {
        // It has the data folder, and with it whatever the node has.
        Caller::Local { .. } => return Ok(()),
        Caller::Nobody => return Err(nobody(action)),
        Caller::Operator { name, role } => (name.as_str(), of_certificate(*role)),
        Caller::Node(_) => return Err(denied(caller, action)),
    };
    match OPERATORS.decide(name, role, action, cluster) {
        Some(_policy) => Ok(()),
        None => Err(denied(caller, action)),
    }
}

fn nobody(action: AdminAction) -> Status {
    let message = format!("{} takes an operator's certificate of role `{}`", action.as_str(), action.least().as_str());
    let metadata = [("action", action.as_str().to_owned()), ("role", action.least().as_str().to_owned())];
    errors::with(Code::Unauthenticated, message, errors::details("NO_CERTIFICATE", metadata))
}

fn denied(caller: &Caller, action: AdminAction) -> Status {
    let (action, least) = (action.as_str(), action.least().as_str());
    let message = format!("{action} takes role `{least}`, and {caller} does not have it");
    let metadata = [("action", action.to_owned()), ("role", least.to_owned())];
    errors::with(Code::PermissionDenied, message, errors::details("ROLE", metadata))
}

fn of_certificate(role: Role) -> OperatorRole {
    match role {
        Role::Viewer => OperatorRole::Viewer,
        Role::Operator => OperatorRole::Operator,
        Role::Admin => OperatorRole::Admin,
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use prost::Message as _;
    use quorate_types::{NodeId, ResourceName};

    use super::*;

    fn operator(role: Role) -> Caller {
        Caller::Operator { name: ResourceName::new("ana").expect("it is a name"), role }
    }

    #[test]
    fn every_method_of_the_descriptor_set_has_one_row() {
        let set = prost_types::FileDescriptorSet::decode(super::super::service::DESCRIPTORS).expect("it is one");
        let mut described = BTreeSet::new();
        for file in &set.file {
            for service in &file.service {
                let name = format!("{}.{}", file.package(), service.name());
                described.extend(service.method.iter().map(|method| format!("/{name}/{}", method.name())));
            }
        }
        let rows: Vec<&str> = METHODS.iter().map(|method| method.path).collect();
        let ours: BTreeSet<String> =
            rows.iter().filter(|path| path.starts_with("/quorate.")).map(|path| (*path).to_owned()).collect();

        assert_eq!(ours, described);
        assert_eq!(rows.iter().collect::<BTreeSet<_>>().len(), rows.len(), "each once");
    }

    #[test]
    fn a_call_is_permitted_to_its_least_role_and_those_above_and_to_nobody_else() {
        for method in METHODS {
            for role in [Role::Viewer, Role::Operator, Role::Admin] {
                let expected = match method.access {
                    Access::Anyone => true,
                    Access::Local => false,
                    Access::Permitted(action) => of_certificate(role) >= action.least(),
                };
                let permitted = permit(&operator(role), method, "00ff");
                assert_eq!(permitted.is_ok(), expected, "{} for {role}", method.path);
                let code = permitted.err().map(|status| status.code());
                assert!(code.is_none_or(|code| code == Code::PermissionDenied), "{}", method.path);
            }
            let open = method.access == Access::Anyone;
            assert_eq!(permit(&Caller::Nobody, method, "00ff").is_ok(), open, "{} for nobody", method.path);
            assert_eq!(permit(&Caller::Node(NodeId(1)), method, "00ff").is_ok(), open, "{} for a node", method.path);
            assert!(permit(&Caller::Local { uid: Some(0) }, method, "").is_ok(), "{} on the node", method.path);
        }
    }
}
