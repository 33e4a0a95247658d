//! `quorate cluster init|join`: what a node that waits becomes.
//!
//! Both go through the node's Unix socket, which is the only way into a node that waits. The context of a new cluster's
//! first operator is prepared before the cluster is made: its key is shown once.

use std::fs::File;
use std::io::Read as _;
use std::path::Path;

use quorate_client::context::{Draft, Material};
use quorate_client::{Client, Context};
use quorate_membership::address::Address;
use quorate_proto::admin::v1 as proto;
use quorate_types::ClusterId;

use super::operator::endpoints;
use crate::answer;
use crate::cli::cluster::{InitArgs, JoinArgs, Output};
use crate::exit::{Exit, Failure};
use crate::run::shown;
use crate::{documents, output, target};

/// Bytes of a token; one has some hundred.
const TOKEN_BYTES_MAX: u64 = 16 << 10;
/// Bytes of a file with certificates or a key: a chain of six large certificates has 100 KiB.
const PEM_BYTES_MAX: u64 = 256 << 10;

/// A cluster that was just made.
pub(crate) struct Initialized {
    pub(crate) answer: proto::BootstrapResponse,
    /// The first operator's; none where certificates come from files, and nobody has one yet.
    pub(crate) context: Option<Context>,
    /// Where operators reach the node.
    endpoints: Vec<Address>,
}

pub(super) async fn init(context: Option<&Path>, args: &InitArgs) -> Result<(), Failure> {
    let file = match &args.context_out {
        Some(file) => file.clone(),
        None => target::context_file(context)?,
    };
    let draft = Draft::new(&file).map_err(target::of_context)?;
    let documents = documents::read(&args.files)?;
    let client = target::local(&args.data_dir, args.timeout);
    let request = proto::BootstrapRequest {
        node_name: String::new(),
        shards: args.shards,
        replicas: args.replicas,
        documents,
        authority: authority(args.authority_certificate.as_deref(), args.authority_key.as_deref())?,
    };
    let made = init_node(&client, request, draft, &args.data_dir).await?;
    match args.output.output {
        Output::Table => output::print(&text(&made, args.context_out.is_some())),
        output => {
            // The certificate and its key are in the context's files, and nowhere else.
            let value = serde_json::json!({
                "clusterId": made.answer.cluster_id,
                "node": made.answer.node,
                "context": made.context.as_ref().map(|context| shown(&context.file)),
            });
            answer::print_value(output, &value)
        }
    }
}

/// What was made, and what comes next.
fn text(made: &Initialized, is_named: bool) -> String {
    let proto::BootstrapResponse { cluster_id, node, .. } = &made.answer;
    let next = match &made.context {
        Some(context) => {
            let file = shown(&context.file);
            let flag = if is_named { format!(" --context {file}") } else { String::new() };
            format!(
                "Its first operator's context is {file}; with it:\n\n  quorate{flag} cluster status\n  \
                 quorate{flag} cluster token new    # then, on another node:\n"
            )
        }
        None => {
            let endpoint = made.endpoints.first().map_or_else(|| "HOST:PORT".to_owned(), ToString::to_string);
            format!(
                "Its certificates come from files, also those of operators. With one that has the uri\n\
                 quorate://{cluster_id}/operator/NAME/admin:\n\n  \
                 quorate cluster operator context --certificate FILE --key FILE --authorities FILE --endpoint {endpoint} \
                 --out DIR\n  quorate --context DIR/context.yaml cluster token new    # then, on another node:\n"
            )
        }
    };
    format!("cluster {cluster_id} is made, of node {node} alone\n\n{next}  quorate cluster join --data-dir DIR TOKEN\n")
}

/// The authority of the command line, if it has one. What it must be is for the node to say.
pub(super) fn authority(
    certificate: Option<&Path>,
    key: Option<&Path>,
) -> Result<Option<proto::AuthorityPem>, Failure> {
    let (Some(certificate), Some(key)) = (certificate, key) else { return Ok(None) };
    Ok(Some(proto::AuthorityPem { chain: pem(certificate)?, key: pem(key)? }))
}

fn pem(file: &Path) -> Result<String, Failure> {
    let mut text = String::new();
    let read = File::open(file).and_then(|file| file.take(PEM_BYTES_MAX + 1).read_to_string(&mut text));
    read.map_err(|error| Failure::new(Exit::Config, format!("cannot read {}: {error}", shown(file))))?;
    if text.len() as u64 > PEM_BYTES_MAX {
        return Err(Failure::new(Exit::Config, format!("{} has more than 256 KiB", shown(file))));
    }
    Ok(text)
}

/// Makes a cluster of the node behind a socket, and writes the first operator's context.
///
/// # Errors
/// [`Failure`] when the node does not wait, or refuses; and when the cluster is made but its context cannot be written, with
/// the way to another one.
pub(crate) async fn init_node(
    client: &Client,
    request: proto::BootstrapRequest,
    draft: Draft,
    data_dir: &Path,
) -> Result<Initialized, Failure> {
    expect_waiting(client).await?;
    let answer = client.call(request).await.map_err(target::of_client)?;
    let written = async {
        let status = client.call(proto::GetStatusRequest::default()).await.map_err(target::of_client)?;
        let endpoints = endpoints(&status.nodes);
        if answer.operator_certificate_pem.is_empty() {
            return Ok((None, endpoints));
        }
        write(draft, &answer, &endpoints).map(|context| (Some(context), endpoints))
    };
    match written.await {
        Ok((context, endpoints)) => Ok(Initialized { answer, context, endpoints }),
        Err(failure) => Err(Failure::new(
            failure.exit,
            format!("cluster {} is made, but its context is not written: {}", answer.cluster_id, failure.message),
        )
        .advise(format!(
            "quorate cluster operator new --name NAME --role admin --out DIR --data-dir {}",
            shown(data_dir)
        ))),
    }
}

fn write(draft: Draft, answer: &proto::BootstrapResponse, endpoints: &[Address]) -> Result<Context, Failure> {
    let cluster: ClusterId = answer
        .cluster_id
        .parse()
        .map_err(|_| Failure::new(Exit::Failure, format!("the node names its cluster {:?}", answer.cluster_id)))?;
    if endpoints.is_empty() {
        return Err(Failure::new(Exit::Failure, "the node has no admin address (`--admin`)"));
    }
    let material = Material {
        cluster,
        endpoints,
        ca_pem: &answer.trust_bundle_pem,
        certificate_pem: &answer.operator_certificate_pem,
        key_pem: &answer.operator_key_pem,
    };
    draft.write(&material).map_err(target::of_context)
}

pub(super) async fn join(args: &JoinArgs) -> Result<(), Failure> {
    let token = token(&args.token)?;
    let client = target::local(&args.data_dir, args.timeout);
    let answer = join_node(&client, token).await?;
    answer::print::<proto::JoinClusterRequest>(args.output.output, &answer, |answer| {
        format!("this is node {} of cluster {} now\n", answer.node, answer.cluster_id)
    })
}

/// Has the node behind a socket join the cluster of a token.
///
/// # Errors
/// [`Failure`] when the node does not wait, or the cluster refuses it.
pub(crate) async fn join_node(client: &Client, token: String) -> Result<proto::JoinClusterResponse, Failure> {
    expect_waiting(client).await?;
    client.call(proto::JoinClusterRequest { token }).await.map_err(target::of_client)
}

/// Refuses a node that is something already.
async fn expect_waiting(client: &Client) -> Result<(), Failure> {
    let status = client.call(proto::GetStatusRequest::default()).await.map_err(target::of_client)?;
    match status.mode() {
        proto::NodeMode::Waiting | proto::NodeMode::Unspecified => Ok(()),
        proto::NodeMode::Member => {
            let message = format!("this is node {} of cluster {} already", status.node, status.cluster_id);
            Err(Failure::new(Exit::Refused, message)
                .advise("for another cluster give the node an empty data directory; this one's is not reused"))
        }
        proto::NodeMode::Alone => Err(Failure::new(Exit::Refused, "the node runs alone, without peers")
            .advise("start it with `--peer-listen ADDRESS` to make it one of a cluster")),
    }
}

/// The token of the command line, or of standard input.
fn token(text: &str) -> Result<String, Failure> {
    if text != "-" {
        return Ok(text.to_owned());
    }
    let mut token = String::new();
    let read = std::io::stdin().lock().take(TOKEN_BYTES_MAX).read_to_string(&mut token);
    read.map_err(|error| Failure::new(Exit::Failure, format!("cannot read the token: {error}")))?;
    let token = token.trim();
    if token.is_empty() {
        return Err(Failure::new(Exit::Usage, "standard input has no token")
            .advise("quorate cluster token new | ssh NODE quorate cluster join --data-dir DIR -"));
    }
    Ok(token.to_owned())
}
