//! `quorate cluster init|join`: what a node that waits becomes.
//!
//! Both go through the node's Unix socket, which is the only way into a node that waits. The context of a new cluster's
//! first operator is prepared before the cluster is made: its key is shown once. Where certificates come from files nobody gets
//! one, and nothing is prepared.

use std::fs::File;
use std::io::Read as _;
use std::path::{Path, PathBuf};

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
    let documents = documents::read(&args.files)?;
    let client = target::local(&args.data_dir, args.timeout);
    let request = proto::BootstrapRequest {
        node_name: String::new(),
        shards: args.shards,
        replicas: args.replicas,
        documents,
        authority: authority(args.authority_certificate.as_deref(), args.authority_key.as_deref())?,
    };
    let status = expect_waiting(&client).await?;
    let draft = draft(&status, || match &args.context_out {
        Some(file) => Ok(file.clone()),
        None => target::context_file(context),
    })?;
    let made = init_node(&client, request, draft, &args.data_dir).await?;
    if let (None, Some(file)) = (&made.context, &args.context_out) {
        output::note(&format!("{} is not written: `init` makes no certificate for an operator here", shown(file)));
    }
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

/// Where the first operator's context will be written, which must be free; nowhere where nobody gets a certificate.
fn draft(
    status: &proto::GetStatusResponse,
    file: impl FnOnce() -> Result<PathBuf, Failure>,
) -> Result<Option<Draft>, Failure> {
    if status.certificates_from_files {
        return Ok(None);
    }
    Draft::new(&file()?).map(Some).map_err(target::of_context)
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
                "Its certificates come from files, also those of operators. Its id is that of the node's certificate, and good for \
                 this one cluster:\nan `init` after this one needs certificates with another id. With a certificate that has the \
                 uri\nquorate://{cluster_id}/operator/NAME/admin:\n\n  \
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

/// Makes a cluster of the node behind a socket, which waits, and writes the first operator's context where there is a draft of it.
///
/// # Errors
/// [`Failure`] when the node does not wait, or refuses; and when the cluster is made but its context cannot be written, with
/// the way to another one.
pub(crate) async fn init_node(
    client: &Client,
    request: proto::BootstrapRequest,
    draft: Option<Draft>,
    data_dir: &Path,
) -> Result<Initialized, Failure> {
    let answer = client.call(request).await.map_err(target::of_client)?;
    let written = async {
        let status = client.call(proto::GetStatusRequest::default()).await.map_err(target::of_client)?;
        let endpoints = endpoints(&status.nodes);
        match draft.filter(|_| !answer.operator_certificate_pem.is_empty()) {
            Some(draft) => write(draft, &answer, &endpoints).map(|context| (Some(context), endpoints)),
            None => Ok((None, endpoints)),
        }
    };
    match written.await {
        Ok((context, endpoints)) => Ok(Initialized { answer, context, endpoints }),
        Err(failure) => Err(half_made(&answer, &failure, data_dir)),
    }
}

/// The failure of what comes after a cluster is made.
fn half_made(answer: &proto::BootstrapResponse, failure: &Failure, data_dir: &Path) -> Failure {
    let (cluster, message, dir) = (&answer.cluster_id, &failure.message, shown(data_dir));
    if answer.operator_certificate_pem.is_empty() {
        return Failure::new(failure.exit, format!("cluster {cluster} is made, but does not say how it is: {message}"))
            .advise(format!("quorate cluster status --data-dir {dir}"));
    }
    Failure::new(failure.exit, format!("cluster {cluster} is made, but its context is not written: {message}"))
        .advise(format!("quorate cluster operator new --name NAME --role admin --out DIR --data-dir {dir}"))
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

/// Refuses a node that is something already, and returns what one that waits says.
async fn expect_waiting(client: &Client) -> Result<proto::GetStatusResponse, Failure> {
    let status = client.call(proto::GetStatusRequest::default()).await.map_err(target::of_client)?;
    match status.mode() {
        proto::NodeMode::Waiting | proto::NodeMode::Unspecified => Ok(status),
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_context_is_prepared_only_where_somebody_gets_a_certificate() {
        let folder = tempfile::tempdir().unwrap();
        let (file, new) = (folder.path().join("context.yaml"), folder.path().join("new/context.yaml"));
        std::fs::write(&file, "of another cluster").unwrap();
        let from_files = proto::GetStatusResponse { certificates_from_files: true, ..Default::default() };
        let signing = proto::GetStatusResponse::default();

        assert!(draft(&from_files, || Ok(file.clone())).unwrap().is_none());
        assert!(draft(&from_files, || Ok(new.clone())).unwrap().is_none() && !folder.path().join("new").exists());
        let refused = draft(&signing, || Ok(file.clone())).unwrap_err();
        assert!(refused.message.contains("is there already"), "{}", refused.message);
        assert!(draft(&signing, || Ok(new)).unwrap().is_some());
    }

    #[test]
    fn what_failed_after_a_cluster_was_made_is_told_with_what_can_be_done_there() {
        let failure = Failure::new(Exit::Failure, "it is full");
        let of_files = proto::BootstrapResponse { cluster_id: "07".repeat(16), ..Default::default() };
        let signing = proto::BootstrapResponse { operator_certificate_pem: "a certificate".into(), ..of_files.clone() };

        for (answer, message, advice) in [
            (of_files, "does not say how it is", "cluster status"),
            (signing, "context is not written", "operator new"),
        ] {
            let told = half_made(&answer, &failure, Path::new("d"));
            assert!(told.message.contains(message) && told.message.ends_with("it is full"), "{}", told.message);
            let shown = told.advice.unwrap();
            assert!(shown.contains(advice) && shown.ends_with("--data-dir d"), "{shown}");
        }
    }

    #[test]
    fn a_cluster_without_operators_certificates_says_how_to_get_one_and_that_its_id_is_used_up() {
        let answer = proto::BootstrapResponse { cluster_id: "07".repeat(16), node: 7, ..Default::default() };
        let made = Initialized { answer, context: None, endpoints: vec!["10.0.0.1:4191".parse().unwrap()] };

        let text = text(&made, false);

        assert!(text.contains("an `init` after this one needs certificates with another id"), "{text}");
        assert!(text.contains("quorate://07") && text.contains("operator context") && text.contains("10.0.0.1:4191"));
    }
}
