//! Whom the commands of a cluster talk to, and what their failures mean.
//!
//! A data directory is talked to through its socket; without one the context decides, which is a file: named by `--context`,
//! by `QUORATE_CONTEXT`, or the one in the home folder. A failure of a call becomes an exit code and what to do: whether it
//! was done is never left open.

use std::path::{Path, PathBuf};
use std::time::Duration;

use quorate_client::{Client, Context, ContextError, Error};
use quorate_membership::address::Address;
use quorate_proto::admin::v1 as proto;
use tonic::Code;

use crate::cli::cluster::TargetArgs;
use crate::exit::{Exit, Failure};
use crate::output;
use crate::run::shown;

/// The socket of a node in its data directory.
pub(crate) const SOCKET: &str = "admin.sock";
/// How old what a node knows may be, for a context to learn from it whom to trust: it hears of a leader every half second.
const STALE: Duration = Duration::from_secs(5);
/// The context in the home folder.
const DEFAULT: &str = ".config/quorate/context.yaml";

/// Returns the client of a command.
///
/// # Errors
/// [`Failure`] when there is no context, or its files cannot be used.
pub(crate) fn client(context: Option<&Path>, args: &TargetArgs) -> Result<Client, Failure> {
    match &args.data_dir {
        Some(dir) => Ok(local(dir, args.timeout)),
        None => Client::of_context(&self::context(context)?, args.timeout).map_err(of_context),
    }
}

/// Returns a client of the node with this data directory.
pub(crate) fn local(dir: &Path, timeout: Duration) -> Client {
    Client::of_socket(&dir.join(SOCKET), timeout)
}

/// Reads the context that is named, or the one in the home folder.
///
/// # Errors
/// [`Failure`] when there is none, or it is invalid.
pub(crate) fn context(named: Option<&Path>) -> Result<Context, Failure> {
    let file = context_file(named)?;
    Context::read(&file).map_err(of_context)
}

/// Where the context is.
///
/// # Errors
/// [`Failure`] when none is named and there is no home folder.
pub(crate) fn context_file(named: Option<&Path>) -> Result<PathBuf, Failure> {
    let home = || std::env::home_dir().map(|home| home.join(DEFAULT));
    named.map(Path::to_owned).or_else(home).ok_or_else(|| {
        Failure::new(Exit::Usage, "there is no context: the home folder is unknown")
            .advise("name a context with `--context FILE`, or a node on this machine with `--data-dir DIR`")
    })
}

/// The context of commands that can do without one: none where none is named and none is in the home folder.
pub(crate) fn context_if_any(named: Option<&Path>) -> Result<Option<Context>, Failure> {
    match context_file(named) {
        Ok(file) if named.is_some() || file.exists() => Context::read(&file).map_err(of_context).map(Some),
        Ok(_) | Err(_) => Ok(None),
    }
}

/// Has the context, where a command is for one, know the nodes of the cluster, and whom they trust.
pub(crate) fn learn_as(named: Option<&Path>, args: &TargetArgs, status: &proto::GetStatusResponse) {
    if args.data_dir.is_none()
        && let Ok(file) = context_file(named)
    {
        learn(&file, status);
    }
}

/// Has a context know the nodes of its cluster, and whom they trust; one that cannot be written stays as it is, which is told.
pub(crate) fn learn(file: &Path, status: &proto::GetStatusResponse) {
    let of = |is_wanted: &dyn Fn(proto::NodeState) -> bool| -> Vec<Address> {
        let nodes = status.nodes.iter().filter(|node| is_wanted(node.state()));
        nodes.filter_map(|node| node.admin_address.parse().ok()).collect()
    };
    let is_member = |state| matches!(state, proto::NodeState::Active | proto::NodeState::Draining);
    let learned = Context::read(file).and_then(|context| {
        // What answers is of the context's cluster over TLS; a status could be of another one all the same.
        if context.cluster.to_string() != status.cluster_id {
            return Ok(());
        }
        context.learn(&of(&is_member), &of(&|state| state == proto::NodeState::Removed))?;
        match &status.authority {
            Some(authority) if is_fresh(status) => context.learn_authorities(&authorities(authority, |_| true)),
            Some(_) | None => Ok(()),
        }
    });
    if let Err(error) = learned {
        output::note(&format!("the context does not know all nodes, or whom they trust: {error}"));
    }
}

/// Whether who answered hears of the leader: one that is cut off, or was removed, may trust who was retired long ago.
fn is_fresh(status: &proto::GetStatusResponse) -> bool {
    let age = status.staleness.and_then(|age| Duration::try_from(age).ok());
    age.is_some_and(|age| age < STALE)
}

/// Authorities of an answer, in PEM.
pub(crate) fn authorities(
    told: &proto::AuthorityStatus,
    is_wanted: impl Fn(&proto::TrustedAuthority) -> bool,
) -> String {
    told.trusted.iter().filter(|one| is_wanted(one)).map(|one| one.certificate_pem.as_str()).collect()
}

/// Makes the failure of a context.
pub(crate) fn of_context(error: ContextError) -> Failure {
    let message = error.to_string();
    let failure = |exit| Failure::new(exit, message.clone());
    match error {
        ContextError::Missing { .. } => failure(Exit::Usage).advise(
            "name a context with `--context FILE` (`quorate cluster init` and `cluster operator new` write one),\nor a \
             node on this machine with `--data-dir DIR`",
        ),
        ContextError::Exposed { file, .. } => failure(Exit::Config).advise(format!("chmod 600 {}", shown(&file))),
        ContextError::Files { are_own: true, .. } => failure(Exit::Config).advise(
            "an admin makes a new certificate with `quorate cluster operator new --name NAME --role ROLE --out DIR`",
        ),
        ContextError::Files { are_own: false, .. } => failure(Exit::Config).advise(
            "the context names files that were not written with it: whoever makes certificates for this cluster puts a new one, \
             its key and the authorities there",
        ),
        ContextError::LivesTooLong { .. } => failure(Exit::Config).advise(
            "have it made for a shorter time, and renewed: what an operator revokes is remembered for so long",
        ),
        ContextError::Exists { .. } => {
            failure(Exit::Failure).advise("name another place for the context and its files")
        }
        ContextError::Invalid { .. } | ContextError::Read { .. } => failure(Exit::Config),
        ContextError::Write { .. } => failure(Exit::Failure),
    }
}

/// Makes the failure of a call.
pub(crate) fn of_client(error: Error) -> Failure {
    let message = error.to_string();
    let failure = |exit| Failure::new(exit, message.clone());
    match error {
        Error::Unreachable { tried } if tried.iter().all(|(endpoint, _)| endpoint.ends_with(SOCKET)) => {
            failure(Exit::Unreachable)
                .advise("start the node with this data directory: `quorate serve --data-dir DIR --peer-listen ADDRESS`")
        }
        Error::Unreachable { .. } => failure(Exit::Unreachable).advise(
            "start the nodes, or put addresses of nodes that run into `endpoints` of the context;\n\
             `--data-dir DIR` asks a node on this machine without TLS",
        ),
        Error::Refused { refused, .. } => of_refusal(failure(Exit::Refused), refused.code, refused.retry_after),
        Error::OutcomeUnknown { .. } => failure(Exit::OutcomeUnknown)
            .advise("look before it is repeated: `quorate cluster status`, `quorate history`"),
        Error::TimedOut { .. } => {
            failure(Exit::Unreachable).advise("raise `--timeout`; `quorate check` tells whether the cluster is ill")
        }
        Error::OtherCluster { .. } => failure(Exit::Config).advise("use the context of that cluster"),
    }
}

fn of_refusal(failure: Failure, code: Code, retry_after: Option<Duration>) -> Failure {
    match code {
        Code::InvalidArgument => Failure { exit: Exit::Config, ..failure },
        Code::Unauthenticated => {
            failure.advise("this call needs the certificate of an operator: name a context with `--context FILE`")
        }
        Code::PermissionDenied => failure.advise("ask an admin, or for a certificate with another role"),
        Code::Unavailable if retry_after.is_some() => Failure { exit: Exit::Unreachable, ..failure }
            .advise("`quorate check` tells why; try again when the meta group has a leader"),
        Code::Unavailable => Failure { exit: Exit::Unreachable, ..failure }.advise("`quorate check` tells why"),
        Code::Unimplemented => {
            failure.advise("the node is of another version than this command: upgrade the older one")
        }
        Code::Aborted => failure.advise("look at what changed (`quorate history`), and apply it again"),
        Code::Ok
        | Code::Cancelled
        | Code::Unknown
        | Code::DeadlineExceeded
        | Code::NotFound
        | Code::AlreadyExists
        | Code::ResourceExhausted
        | Code::FailedPrecondition
        | Code::OutOfRange
        | Code::Internal
        | Code::DataLoss => failure,
    }
}

#[cfg(test)]
mod tests {
    use quorate_membership::handshake::FilesError;
    use quorate_membership::trust::Refusal;

    use super::*;

    #[test]
    fn a_failure_tells_whether_something_was_done() {
        let tried = |endpoint: &str| vec![(endpoint.to_owned(), "connection refused".to_owned())];
        let cases = [
            (Error::Unreachable { tried: tried("a:1") }, Exit::Unreachable, "endpoints"),
            (Error::Unreachable { tried: tried("/d/admin.sock") }, Exit::Unreachable, "quorate serve --data-dir"),
            (Error::OutcomeUnknown { endpoint: "a:1".into(), reason: "x".into() }, Exit::OutcomeUnknown, "history"),
            (Error::TimedOut { endpoint: "a:1".into(), after: Duration::from_secs(1) }, Exit::Unreachable, "--timeout"),
        ];
        for (error, exit, advice) in cases {
            let failure = of_client(error);
            assert_eq!(failure.exit, exit, "{}", failure.message);
            assert!(failure.advice.unwrap().contains(advice), "{advice}");
        }
    }

    #[test]
    fn who_makes_an_operators_certificate_is_told_by_whose_its_files_are() {
        let source = || FilesError::Refused(Refusal::Chain { count: 0 });
        for (are_own, advice) in [(true, "operator new"), (false, "whoever makes certificates")] {
            let failure = of_context(ContextError::Files { are_own, source: source() });
            assert_eq!(failure.exit, Exit::Config);
            let told = failure.advice.unwrap();
            assert!(told.contains(advice) && told.contains("operator new") == are_own, "{told}");
        }
    }

    #[test]
    fn what_is_wrong_with_a_request_is_a_matter_of_configuration_and_not_of_permission() {
        let refused = |code| of_refusal(Failure::new(Exit::Refused, "x"), code, None).exit;

        assert_eq!(refused(Code::InvalidArgument), Exit::Config);
        assert_eq!(refused(Code::PermissionDenied), Exit::Refused);
        assert_eq!(refused(Code::Unavailable), Exit::Unreachable);
    }

    #[test]
    fn a_missing_context_says_where_it_was_looked_for_and_how_to_get_one() {
        let missing = context(Some(Path::new("/nowhere/context.yaml"))).unwrap_err();

        assert!(missing.message.contains("/nowhere/context.yaml"), "{}", missing.message);
        assert!(missing.advice.unwrap().contains("cluster init"));
        assert!(context_if_any(Some(Path::new("/nowhere/context.yaml"))).is_err(), "a named one must be there");
    }
}
