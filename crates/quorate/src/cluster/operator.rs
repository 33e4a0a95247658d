//! `quorate cluster operator new`: a certificate and key for somebody, as a context with its files.
//!
//! The folder is looked at before the certificate is made, because its key is shown once.

use std::path::Path;

use quorate_client::context::{Draft, Material};
use quorate_membership::address::Address;
use quorate_proto::admin::v1 as proto;
use quorate_types::ClusterId;

use crate::answer::{shown_time, to_proto};
use crate::cli::cluster::{OperatorCommand, OperatorNewArgs, RoleArg};
use crate::exit::{Exit, Failure};
use crate::run::shown;
use crate::{output, target};

/// The context in the folder.
const FILE: &str = "context.yaml";

pub(super) async fn run(context: Option<&Path>, command: &OperatorCommand) -> Result<(), Failure> {
    match command {
        OperatorCommand::New(args) => new(context, args).await,
    }
}

async fn new(context: Option<&Path>, args: &OperatorNewArgs) -> Result<(), Failure> {
    let client = target::client(context, &args.target)?;
    let file = args.out.join(FILE);
    let draft = Draft::new(&file).map_err(target::of_context)?;
    let status = client.call(proto::GetStatusRequest::default()).await.map_err(target::of_client)?;
    let cluster: ClusterId = status
        .cluster_id
        .parse()
        .map_err(|_| Failure::new(Exit::Refused, "the asked node is in no cluster, so that nobody can operate one"))?;
    let endpoints = endpoints(&status.nodes);
    let role = match args.role {
        RoleArg::Viewer => proto::Role::Viewer,
        RoleArg::Operator => proto::Role::Operator,
        RoleArg::Admin => proto::Role::Admin,
    };
    let name = args.name.to_string();
    let request = proto::CreateOperatorRequest { name, role: role.into(), valid_for: Some(to_proto(args.valid_for)) };
    let made = client.call(request).await.map_err(target::of_client)?;
    let material = Material {
        cluster,
        endpoints: &endpoints,
        ca_pem: &made.trust_bundle_pem,
        certificate_pem: &made.certificate_pem,
        key_pem: &made.key_pem,
    };
    draft.write(&material).map_err(target::of_context)?;
    output::note(&format!(
        "{} is the context of {} until {}; its key is in that folder and nowhere else",
        shown(&file),
        args.name,
        shown_time(made.expires.as_ref())
    ));
    Ok(())
}

/// The admin addresses of the nodes, as far as they have some.
pub(super) fn endpoints(nodes: &[proto::Node]) -> Vec<Address> {
    let members = nodes.iter().filter(|node| node.state() != proto::NodeState::Removed);
    let addresses = members.filter_map(|node| node.admin_address.parse().ok());
    addresses.take(quorate_client::context::ENDPOINTS_MAX).collect()
}
