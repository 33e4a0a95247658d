//! Which calls the admin API has: the path of each, what it takes and gives, and whether it may be sent twice.
//!
//! A request's type is its method, so that a call is `client.call(request)`. The tables below are held against `admin.proto`
//! by a test: a call that is missing, or takes something else, fails it.

use prost::Message;
use quorate_proto::admin::v1 as proto;

/// Whether a call may be sent again when nobody knows what became of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Safety {
    /// It changes nothing.
    Reads,
    /// It may have been done already.
    Changes,
}

/// A call with one request and one answer.
pub trait Method: Message + Default + Clone + 'static {
    /// What is answered.
    type Answer: Message + Default + 'static;
    /// Its path, with a slash in front.
    const PATH: &'static str;
    /// The full name of the answer's message.
    const ANSWER: &'static str;
    /// Whether it may be sent again.
    const SAFETY: Safety;
}

/// A call with one request and many answers.
pub trait Watch: Message + Default + Clone + 'static {
    /// What is answered, each time.
    type Answer: Message + Default + 'static;
    /// Its path.
    const PATH: &'static str;
    /// The full name of the answer's message.
    const ANSWER: &'static str;
}

/// A call with many requests and one answer.
pub trait Upload: Message + Default + 'static {
    /// What is answered at the end.
    type Answer: Message + Default + 'static;
    /// Its path.
    const PATH: &'static str;
    /// The full name of the answer's message.
    const ANSWER: &'static str;
}

macro_rules! methods {
    ($($safety:ident $service:ident $name:ident $request:ident => $answer:ident;)*) => {
        $(impl Method for proto::$request {
            type Answer = proto::$answer;
            const PATH: &'static str = concat!("/quorate.admin.v1.", stringify!($service), "/", stringify!($name));
            const ANSWER: &'static str = concat!("quorate.admin.v1.", stringify!($answer));
            const SAFETY: Safety = Safety::$safety;
        })*
        #[cfg(test)]
        const METHODS: &[[&str; 4]] =
            &[$([stringify!($service), stringify!($name), stringify!($request), stringify!($answer)],)*];
    };
}

macro_rules! watches {
    ($($service:ident $name:ident $request:ident => $answer:ident;)*) => {
        $(impl Watch for proto::$request {
            type Answer = proto::$answer;
            const PATH: &'static str = concat!("/quorate.admin.v1.", stringify!($service), "/", stringify!($name));
            const ANSWER: &'static str = concat!("quorate.admin.v1.", stringify!($answer));
        })*
        #[cfg(test)]
        const WATCHES: &[[&str; 4]] =
            &[$([stringify!($service), stringify!($name), stringify!($request), stringify!($answer)],)*];
    };
}

methods! {
    Reads Cluster GetStatus GetStatusRequest => GetStatusResponse;
    Changes Cluster Bootstrap BootstrapRequest => BootstrapResponse;
    Changes Cluster JoinCluster JoinClusterRequest => JoinClusterResponse;
    Changes Cluster CreateJoinToken CreateJoinTokenRequest => CreateJoinTokenResponse;
    Reads Cluster ListJoinTokens ListJoinTokensRequest => ListJoinTokensResponse;
    Changes Cluster RevokeJoinToken RevokeJoinTokenRequest => RevokeJoinTokenResponse;
    Changes Cluster Join JoinRequest => JoinResponse;
    Changes Cluster DrainNode DrainNodeRequest => DrainNodeResponse;
    Changes Cluster UndrainNode UndrainNodeRequest => UndrainNodeResponse;
    Changes Cluster RemoveNode RemoveNodeRequest => RemoveNodeResponse;
    Changes Cluster ReplaceNode ReplaceNodeRequest => ReplaceNodeResponse;
    Changes Cluster TransferLeader TransferLeaderRequest => TransferLeaderResponse;
    Changes Cluster Snapshot SnapshotRequest => SnapshotResponse;
    Changes Cluster CreateOperator CreateOperatorRequest => CreateOperatorResponse;
    Changes Cluster RotateAuthority RotateAuthorityRequest => RotateAuthorityResponse;
    Reads Cluster ListOperators ListOperatorsRequest => ListOperatorsResponse;
    Changes Cluster RevokeOperator RevokeOperatorRequest => RevokeOperatorResponse;
    Changes Resources Apply ApplyRequest => ApplyResponse;
    Reads Resources Diff DiffRequest => DiffResponse;
    Reads Resources Get GetRequest => Resource;
    Reads Resources List ListRequest => ListResponse;
    Changes Resources Delete DeleteRequest => DeleteResponse;
    Reads Resources ListRevisions ListRevisionsRequest => ListRevisionsResponse;
    Changes Resources Rollback RollbackRequest => RollbackResponse;
    Changes Keys Create CreateKeyRequest => CreateKeyResponse;
    Reads Keys List ListKeysRequest => ListKeysResponse;
    Changes Keys Revoke RevokeKeyRequest => RevokeKeyResponse;
    Reads Sessions ListSessions ListSessionsRequest => ListSessionsResponse;
    Reads Sessions GetSession GetSessionRequest => GetSessionResponse;
    Changes Sessions EndSession EndSessionRequest => EndSessionResponse;
    Changes Sessions TransferSession TransferSessionRequest => TransferSessionResponse;
    Reads Audit Verify VerifyAuditRequest => VerifyAuditResponse;
}

watches! {
    Cluster WatchStatus WatchStatusRequest => GetStatusResponse;
    Cluster Backup BackupRequest => BackupChunk;
    Resources Watch WatchRequest => WatchResponse;
    Sessions WatchSessions WatchSessionsRequest => WatchSessionsResponse;
    Audit Read ReadAuditRequest => AuditRecord;
}

impl Upload for proto::RestoreChunk {
    type Answer = proto::RestoreResponse;
    const PATH: &'static str = "/quorate.admin.v1.Cluster/Restore";
    const ANSWER: &'static str = "quorate.admin.v1.RestoreResponse";
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;
    use crate::json::descriptors;

    #[test]
    fn the_tables_have_what_the_proto_file_has() {
        let pool = descriptors();
        let row = |service: &prost_reflect::ServiceDescriptor, method: &prost_reflect::MethodDescriptor| {
            let (input, output) = (method.input(), method.output());
            [service.name(), method.name(), input.name(), output.name()].map(str::to_owned)
        };
        let of_file = |client: bool, server: bool| -> BTreeSet<[String; 4]> {
            let mut rows = BTreeSet::new();
            for service in pool.services() {
                let wanted = service.methods();
                let wanted = wanted.filter(|m| m.is_client_streaming() == client && m.is_server_streaming() == server);
                rows.extend(wanted.map(|method| row(&service, &method)));
            }
            rows
        };
        let of_table =
            |table: &[[&str; 4]]| -> BTreeSet<[String; 4]> { table.iter().map(|row| row.map(str::to_owned)).collect() };

        assert_eq!(of_table(METHODS), of_file(false, false));
        assert_eq!(of_table(WATCHES), of_file(false, true));
        assert_eq!(of_table(&[["Cluster", "Restore", "RestoreChunk", "RestoreResponse"]]), of_file(true, false));
        assert!(of_file(true, true).is_empty());
    }
}
