//! `quorate cluster operator new|context|list|revoke`: certificates of those who operate a cluster.
//!
//! A new one becomes a context with its files. The folder is looked at before it is made, because its key is shown once. One that
//! somebody else made stays where it is, and a context names it.

use std::path::Path;

use quorate_client::context::{Draft, Material, OperatorFiles};
use quorate_client::{Context, ContextError};
use quorate_membership::address::Address;
use quorate_membership::handshake::FilesError;
use quorate_proto::admin::v1 as proto;
use quorate_types::ClusterId;

use crate::answer::{self, counted, shown_time, to_proto};
use crate::cli::cluster::{
    OperatorCommand, OperatorContextArgs, OperatorListArgs, OperatorNewArgs, OperatorRevokeArgs, Output, RoleArg,
};
use crate::exit::{Exit, Failure};
use crate::run::shown;
use crate::table::Table;
use crate::{output, target};

/// The context in the folder.
const FILE: &str = "context.yaml";
/// The most certificates that are listed: more than a cluster keeps.
const OPERATORS_MAX: usize = 100_000;
const PAGE: i32 = 1_000;
/// Digits of an id that are shown in a table: as few as a node takes.
const ID_DIGITS: usize = 16;
/// What a list cannot say of certificates that the cluster did not make.
const FROM_FILES: &str = "\
the certificates of this cluster come from files, so that those which are revoked alone are listed. The id of another one:
  openssl x509 -in FILE -noout -pubkey | openssl pkey -pubin -outform der | sha256sum
";

pub(super) async fn run(context: Option<&Path>, command: &OperatorCommand) -> Result<(), Failure> {
    match command {
        OperatorCommand::New(args) => new(context, args).await,
        OperatorCommand::Context(args) => context_of_files(args),
        OperatorCommand::List(args) => list(context, args).await,
        OperatorCommand::Revoke(args) => revoke(context, args).await,
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

fn context_of_files(args: &OperatorContextArgs) -> Result<(), Failure> {
    let OperatorContextArgs { certificate, key, authorities, endpoints, out } = args;
    let file = out.join(FILE);
    let files = OperatorFiles { ca: authorities, certificate, key };
    let made = Context::naming(&file, files, endpoints).and_then(|context| context.who());
    let who = made.map_err(|error| match error {
        // The certificate may be right.
        ContextError::Files { source: FilesError::Pem(_) | FilesError::Bundle(_), .. } => {
            Failure::new(Exit::Config, error.to_string())
        }
        // It is not the cluster that makes another one.
        ContextError::Files { .. } => Failure::new(Exit::Config, error.to_string())
            .advise("an operator's certificate has the uri quorate://CLUSTER/operator/NAME/ROLE, and is for clients"),
        error => target::of_context(error),
    })?;
    output::note(&format!("{} is the context of {who}: its files stay where they are", shown(&file)));
    Ok(())
}

async fn list(context: Option<&Path>, args: &OperatorListArgs) -> Result<(), Failure> {
    let client = target::client(context, &args.target)?;
    let mut answer = proto::ListOperatorsResponse::default();
    loop {
        let page_token = std::mem::take(&mut answer.next_page_token);
        let request = proto::ListOperatorsRequest { page_size: PAGE, page_token };
        let page = client.call(request).await.map_err(target::of_client)?;
        answer.operators.extend(page.operators);
        if page.next_page_token.is_empty() || answer.operators.len() >= OPERATORS_MAX {
            break;
        }
        answer.next_page_token = page.next_page_token;
    }
    let from_files = match args.output.output {
        Output::Table => {
            let status = client.call(proto::GetStatusRequest::default()).await.map_err(target::of_client)?;
            status.certificates_from_files
        }
        Output::Json | Output::Yaml => false,
    };
    answer::print::<proto::ListOperatorsRequest>(args.output.output, &answer, |answer| {
        told(&answer.operators, from_files)
    })
}

/// The list for people: where somebody else makes certificates, what is not on it may be as good.
fn told(operators: &[proto::Operator], from_files: bool) -> String {
    let table = table(operators);
    if from_files { format!("{table}\n{FROM_FILES}") } else { table }
}

fn table(operators: &[proto::Operator]) -> String {
    let mut table = Table::new(["ID", "NAME", "ROLE", "EXPIRES", "REVOKED", "BY"]);
    let known = |text: &str| if text.is_empty() { "-".to_owned() } else { text.to_owned() };
    for operator in operators {
        let role = match operator.role() {
            proto::Role::Unspecified => "-",
            proto::Role::Viewer => "viewer",
            proto::Role::Operator => "operator",
            proto::Role::Admin => "admin",
        };
        let (expires, revoked) = (shown_time(operator.expires.as_ref()), shown_time(operator.revoked_at.as_ref()));
        let (id, by) = (operator.id.chars().take(ID_DIGITS).collect(), operator.created_by.clone());
        table.row([id, known(&operator.name), role.to_owned(), expires, revoked, by]);
    }
    if table.is_empty() { "no certificate is listed\n".to_owned() } else { table.render() }
}

async fn revoke(context: Option<&Path>, args: &OperatorRevokeArgs) -> Result<(), Failure> {
    let client = target::client(context, &args.target)?;
    let (id, name) =
        (args.id.clone().unwrap_or_default(), args.name.as_ref().map(ToString::to_string).unwrap_or_default());
    let which = format!("{name}{id}");
    let revoked = client.call(proto::RevokeOperatorRequest { id, name }).await.map_err(target::of_client)?;
    let count = counted(revoked.ids.len(), "certificate");
    output::note(&format!("{count} of {} revoked: each node refuses what it hears of", output::visible(&which)));
    Ok(())
}

/// The admin addresses of the nodes, as far as they have some.
pub(super) fn endpoints(nodes: &[proto::Node]) -> Vec<Address> {
    let members = nodes.iter().filter(|node| node.state() != proto::NodeState::Removed);
    let addresses = members.filter_map(|node| node.admin_address.parse().ok());
    addresses.take(quorate_client::context::ENDPOINTS_MAX).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn certificates_are_a_table_that_says_which_are_revoked() {
        let time = |seconds| Some(prost_types::Timestamp { seconds, nanos: 0 });
        let listed = proto::Operator {
            id: "0a".repeat(32),
            name: "ana".into(),
            role: proto::Role::Admin.into(),
            expires: time(1_800_000_000),
            created_by: "bootstrap".into(),
            ..proto::Operator::default()
        };
        let unlisted = proto::Operator {
            id: "0b".repeat(32),
            expires: time(1_800_000_000),
            revoked_at: time(1_700_000_000),
            created_by: "operator ana (admin)".into(),
            ..proto::Operator::default()
        };

        let expected = "\
ID                NAME  ROLE   EXPIRES               REVOKED               BY
0a0a0a0a0a0a0a0a  ana   admin  2027-01-15T08:00:00Z  -                     bootstrap
0b0b0b0b0b0b0b0b  -     -      2027-01-15T08:00:00Z  2023-11-14T22:13:20Z  operator ana (admin)
";
        assert_eq!(table(&[listed, unlisted]), expected);
        assert_eq!(table(&[]), "no certificate is listed\n");
        assert_eq!(told(&[], false), table(&[]));
        assert!(told(&[], true).contains("come from files") && told(&[], true).contains("sha256sum"));
    }
}
