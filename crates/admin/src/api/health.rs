//! `grpc.health.v1`: whether the node works, for probes that speak gRPC.
//!
//! Two names are told: the empty one (the process, which serves as long as it answers) and that of the service `Cluster`, which
//! serves when the node is a member without findings that stop it from working.

use std::time::Duration;

use tonic_health::ServingStatus;
use tonic_health::server::HealthReporter;

use super::node::{Node, Standing};

/// How often the node is looked at: as often as a probe asks.
const LOOK: Duration = Duration::from_secs(1);

/// The name under which being a member is told.
pub const CLUSTER: &str = "quorate.admin.v1.Cluster";

/// Tells how the node does, until it is dropped.
pub(crate) async fn report(node: Node, reporter: HealthReporter) {
    let mut watch = node.watch();
    loop {
        let status = match &*watch.borrow_and_update() {
            Standing::Member(member) if member.findings().keys().all(|kind| kind.lets_serve()) => {
                ServingStatus::Serving
            }
            Standing::Member(_) | Standing::Waiting(_) | Standing::Alone => ServingStatus::NotServing,
        };
        reporter.set_service_status(CLUSTER, status).await;
        // A change is looked at at once; its sender lives as long as the node that is looked at.
        let _is_over = tokio::time::timeout(LOOK, watch.changed()).await;
    }
}
