//! Why a folder cannot be opened, begun, or taken into a cluster, with the way out.
//!
//! One enum per operation. Readers are operators: each message says what was found and what can be done. Nothing here has
//! anything of a key or a token.

use std::io;
use std::path::PathBuf;
use std::time::Duration;

use quorate_catalog::{NUMBERS_LEVEL, Refusal};
use quorate_control::{CommandError, SurveyError};
use quorate_membership::authority::{AuthorityError, IssueError};
use quorate_membership::handshake::{FilesError, InvalidCredentials};
use quorate_membership::home::{self, BeginError, ForeignCluster};
use quorate_membership::identity::{InvalidIdentity, PeerIdentity};
use quorate_membership::join::{self, GrantError, InvalidApplication, JoinRefusal};
use quorate_membership::kept::KeptError;
use quorate_membership::root::{FileError, NotOpened};
use quorate_membership::token::InvalidToken;
use quorate_membership::trust::{AuthorityId, InvalidBundle, Refusal as NotTaken};
use quorate_raft::{ProposeError, ReadIndexError};
use quorate_types::{ClusterId, Code, NodeId};

use crate::known::KnownError;
use crate::settings::InvalidSettings;

/// A data folder cannot be opened.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// A setting is not allowed.
    #[error(transparent)]
    Settings(#[from] InvalidSettings),
    /// Another process has the folder.
    #[error("another process uses the data folder {}: end it, or name another folder", path.display())]
    Locked {
        /// The folder.
        path: PathBuf,
    },
    /// The folder cannot be used.
    #[error("the data folder {} cannot be used: {source}", path.display())]
    Folder {
        /// The folder.
        path: PathBuf,
        /// What the system says.
        #[source]
        source: io::Error,
    },
    /// Whose the folder is cannot be told.
    #[error(transparent)]
    Home(#[from] home::OpenError),
    /// The folder is another cluster's.
    #[error(transparent)]
    Foreign(#[from] ForeignCluster),
    /// A part of the folder is not there.
    #[error(
        "the data folder is a node's and has no `{name}`: restore the folder whole, or start the node with an empty one \
         and let it replace this node"
    )]
    Incomplete {
        /// What it lacks.
        name: &'static str,
    },
    /// Parts of the folder are of different nodes.
    #[error(
        "the data folder has parts of different nodes: `{name}` is of {found}, and the folder of {expected}. Restore the \
         folder whole, or start the node with an empty one and let it replace this node"
    )]
    Mixed {
        /// Which part.
        name: &'static str,
        /// Whose it is.
        found: String,
        /// Whose the folder is.
        expected: String,
    },
    /// The node of the folder has its certificate from files, and none are named.
    #[error(
        "the data folder is of a cluster whose certificates come from files, and none are named: start the node with \
         `--peer-certificate`, `--peer-key` and `--peer-authorities`"
    )]
    FilesMissing,
    /// The node of the folder has its certificate from its cluster, and files are named.
    #[error(
        "the data folder is of a cluster that signs its certificates itself, and {} is named as the certificate of the \
         node: start it without `--peer-certificate`, `--peer-key` and `--peer-authorities`, or with an empty data folder",
        file.display()
    )]
    FilesUnused {
        /// The certificate that is named.
        file: PathBuf,
    },
    /// The files are of another node than the folder.
    #[error(
        "{} is of {found}, and the data folder of {expected}: name the files of that node, or an empty data folder and let \
         the node of the files join",
        file.display()
    )]
    OthersFiles {
        /// The certificate.
        file: PathBuf,
        /// Whose it is.
        found: Box<PeerIdentity>,
        /// Whose the folder is.
        expected: Box<PeerIdentity>,
    },
    /// The files cannot be used.
    #[error("the files of the node's certificate: {0}")]
    Files(#[from] FilesError),
    /// The certificate cannot be used.
    #[error(transparent)]
    Kept(#[from] KeptError),
    /// The certificate does not say whose it is.
    #[error("the certificate of the data folder: {0}")]
    Certificate(#[from] InvalidIdentity),
    /// The certificate and its key do not belong together.
    #[error("the certificate of the data folder: {0}")]
    Credentials(#[from] InvalidCredentials),
    /// The root key cannot be used.
    #[error(transparent)]
    Root(#[from] FileError),
    /// What is known of the cluster cannot be used.
    #[error(transparent)]
    Known(#[from] KnownError),
    /// The log cannot be used.
    #[error("the log of the data folder cannot be used: {0}")]
    Log(#[from] quorate_wal::OpenError),
    /// The log was there and is not.
    #[error(
        "the data folder is a node's that was started before, and its log (`wal`) is gone: restore the folder whole, or \
         start the node with an empty one and let it replace this node. A node without its log must not vote"
    )]
    LogMissing,
    /// A recovery was begun and not finished.
    #[error(
        "the data folder is being made a new cluster's, which was not finished (`{name}`): run `quorate recover --unsafe` \
         again, which goes on with it"
    )]
    Recovering {
        /// What is left of it.
        name: String,
    },
    /// The next life of the node could not begin.
    #[error(transparent)]
    Start(#[from] home::StartError),
    /// The groups cannot be run.
    #[error("{what}: {source}")]
    Host {
        /// What was tried.
        what: &'static str,
        /// Why not, with its causes.
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// The cluster that was begun here cannot be finished.
    #[error("the cluster that was begun in the data folder is not finished: {0}")]
    Beginning(#[from] CommandError),
}

/// A folder that waits was not made a new cluster.
#[derive(Debug, thiserror::Error)]
pub enum BootstrapError {
    /// It is a member by now.
    #[error("this node is a member of a cluster already")]
    Member,
    /// Somebody asked for something else, which goes on.
    #[error("this node is being bootstrapped, or is joining, right now")]
    Busy,
    /// A value is not allowed.
    #[error(transparent)]
    Settings(#[from] InvalidSettings),
    /// There is no authority.
    #[error("the authority of the cluster cannot be made: {0}")]
    Authority(#[from] AuthorityError),
    /// An authority was given, and nothing is to be signed.
    #[error("the certificates of this node come from files, so that the cluster signs none: no authority can be given")]
    AuthorityGiven,
    /// The program cannot make a cluster whose nodes come with their numbers.
    #[error("this program makes clusters at feature level {level}, and certificates from files need {NUMBERS_LEVEL}")]
    Level {
        /// The program's.
        level: u32,
    },
    /// The folder did not take it.
    #[error(transparent)]
    Begin(#[from] BeginError),
    /// The cluster is there, and its first operator has no certificate.
    #[error(
        "the cluster is there, and the certificate of its first operator could not be made: {0}. Ask for another one"
    )]
    Operator(#[from] AdmitError),
    /// It could not be opened.
    #[error(transparent)]
    Open(#[from] OpenError),
}

/// What may be the matter when a node and the members of a cluster do not trust each other.
pub(crate) const OWN_FILES: &str = "Where the certificates of a cluster come from files, a node that joins needs its own \
    (`--peer-certificate`), and where they do not, none";

/// A folder that waits was not taken into a cluster.
#[derive(Debug, thiserror::Error)]
pub enum JoinError {
    /// It is a member by now.
    #[error("this node is a member of a cluster already")]
    Member,
    /// Somebody asked for something else, which goes on.
    #[error("this node is being bootstrapped, or is joining, right now")]
    Busy,
    /// The folder has the root key of somebody else.
    #[error(
        "the data folder has a root key (`root.key`) of its own, and a node has its cluster's: name an empty folder, or \
         move the file away if nothing that was sealed under it is needed"
    )]
    RootKey,
    /// The files of the node trust none of the authorities that the token names.
    #[error(
        "the token is of a cluster that trusts {}, and the file of authorities of this node (`--peer-authorities`) has none of \
         them. {OWN_FILES}",
        of_token.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ")
    )]
    Authorities {
        /// Whom the cluster trusts.
        of_token: Vec<AuthorityId>,
    },
    /// The certificates of the node do not fit into a request, or their key does not sign it.
    #[error(transparent)]
    Application(#[from] InvalidApplication),
    /// No member could be asked.
    #[error("no member of the cluster answers: {}", tried.join("; "))]
    Unreachable {
        /// Each address of the token, and what happened there.
        tried: Vec<String>,
    },
    /// The cluster says no.
    #[error("the cluster does not take this node: {reason}")]
    Refused {
        /// What it says.
        reason: String,
    },
    /// The answer is none.
    #[error(transparent)]
    Answer(#[from] join::JoinError),
    /// The folder did not take it.
    #[error(
        "the node was taken in, and its folder does not take it: {0}. Make a new token, and remove the node that never came"
    )]
    Begin(#[from] BeginError),
    /// It could not be opened.
    #[error(transparent)]
    Open(#[from] OpenError),
    /// It is a node of the cluster, and does not serve yet.
    #[error("the node is in the cluster, and is not active after {} s: it goes on; `quorate cluster status` tells", waited.as_secs())]
    Inactive {
        /// How long it was waited for.
        waited: Duration,
    },
}

/// No new cluster was made of what a folder has.
#[derive(Debug, thiserror::Error)]
pub enum RecoverError {
    /// The folder is nobody's.
    #[error("{} is not the data folder of a node of a cluster: there is nothing to recover in it", path.display())]
    NotMember {
        /// The folder.
        path: PathBuf,
    },
    /// Its certificates come from files, and none are named for the new cluster.
    #[error(
        "the certificates of this cluster come from files: name those of node {node} of the new one, whose id you choose, with \
         `--peer-certificate`, `--peer-key` and `--peer-authorities`. Nothing was changed"
    )]
    FilesMissing {
        /// The node that is left.
        node: NodeId,
    },
    /// Its cluster makes its certificates itself, as the new one will, and files are named.
    #[error(
        "the cluster of this folder signs its certificates itself, and so will the new one, but {} is named as the certificate of \
         the node: leave `--peer-certificate`, `--peer-key` and `--peer-authorities` out. Nothing was changed",
        file.display()
    )]
    FilesUnused {
        /// The certificate that is named.
        file: PathBuf,
    },
    /// The files that are named are not those of this node in a new cluster.
    #[error(
        "{} is of {found}, and must be of node {node} of a new cluster: one with another id than {old}. Nothing was changed",
        file.display()
    )]
    OtherFiles {
        /// The certificate.
        file: PathBuf,
        /// Whose it is.
        found: Box<PeerIdentity>,
        /// The node that is left.
        node: NodeId,
        /// The cluster that was lost.
        old: ClusterId,
    },
    /// Its cluster was never finished.
    #[error(
        "the cluster that was begun in the data folder is not finished, and lost nothing: start the node, which goes on"
    )]
    Unfinished,
    /// The folder, or a part of it, cannot be used or trusted.
    #[error(transparent)]
    Open(#[from] OpenError),
    /// What the node has of its groups cannot be recovered.
    #[error(transparent)]
    Survey(#[from] SurveyError),
    /// The cluster is at a level that this program cannot work at.
    #[error("the cluster is at feature level {level}, and this program can work at {} to {}: use a newer one", known.0, known.1)]
    Level {
        /// The cluster's.
        level: u32,
        /// The program's.
        known: (u32, u32),
    },
    /// The node has an address that cannot be in a certificate.
    #[error("the catalog has {address} as an address of this node, for which no certificate can be made")]
    Address {
        /// What it has.
        address: String,
    },
    /// The new cluster has no authority.
    #[error("the authority of the new cluster cannot be made: {0}")]
    Authority(#[from] AuthorityError),
    /// The new folder did not take it.
    #[error(transparent)]
    Begin(#[from] BeginError),
    /// Something has the place where the old data is to be kept.
    #[error("{} is in the way: move it elsewhere, and run the command again", path.display())]
    InTheWay {
        /// What it is.
        path: PathBuf,
    },
    /// The disk does not take it.
    #[error("cannot {action} {}: {source}", path.display())]
    System {
        /// What was tried.
        action: &'static str,
        /// With what.
        path: PathBuf,
        /// What the system says.
        #[source]
        source: io::Error,
    },
}

/// A member does not do what it is asked.
#[derive(Debug, thiserror::Error)]
pub enum AdmitError {
    /// The request cannot be read.
    #[error("the request to join cannot be read")]
    Malformed,
    /// The request is refused.
    #[error(transparent)]
    Join(#[from] JoinRefusal),
    /// The catalog refuses it.
    #[error(transparent)]
    Command(#[from] CommandError),
    /// The catalog cannot be read with what was changed last.
    #[error(transparent)]
    Read(#[from] ReadIndexError),
    /// A token is not allowed.
    #[error(transparent)]
    Terms(#[from] InvalidSettings),
    /// A token cannot be made.
    #[error(transparent)]
    Token(#[from] InvalidToken),
    /// The authority cannot be opened.
    #[error("the key of the cluster's authority: {0}")]
    NotOpened(#[from] NotOpened),
    /// There is no authority.
    #[error(
        "the cluster has no authority of its own: its certificates come from files, and are made by who makes those"
    )]
    NoAuthority,
    /// A node that joins brings no certificate.
    #[error(
        "the certificates of this cluster come from files: start the node with `--peer-certificate`, `--peer-key` and \
         `--peer-authorities`"
    )]
    NoCertificate,
    /// A node that joins brings a certificate, and would get another one.
    #[error(
        "this cluster signs the certificates of its nodes itself: start the node without `--peer-certificate`, `--peer-key` \
         and `--peer-authorities`"
    )]
    OwnCertificate,
    /// A node that joins brings a certificate that members do not take.
    #[error("members would not take the certificate of the node: {0}")]
    NotTaken(NotTaken),
    /// The authorities of the catalog are none.
    #[error(transparent)]
    Bundle(#[from] InvalidBundle),
    /// The authority does not issue a certificate.
    #[error(transparent)]
    Issue(#[from] IssueError),
    /// There is no authority to be made.
    #[error(transparent)]
    Authority(#[from] AuthorityError),
    /// An authority that was given to the cluster cannot sign for it.
    #[error(transparent)]
    Given(AuthorityError),
    /// The answer cannot be made.
    #[error(transparent)]
    Grant(#[from] GrantError),
    /// The certificate cannot be kept.
    #[error("{0}")]
    Keep(String),
    /// The rotation names an authority of which the catalog has no key.
    #[error("the catalog has no key of the authority {authority}, which the cluster trusts: cancel its announcement")]
    NoKey {
        /// Which one.
        authority: AuthorityId,
    },
    /// Somebody else announces an authority.
    #[error("another authority is being announced at this moment: look where that is, and take the step again")]
    Rotating,
    /// A token that is not known here may be one that was just made.
    #[error("the token is not known on this node yet: ask another one, or again")]
    NotYet,
    /// A step of a rotation is not taken.
    #[error(transparent)]
    Rotation(#[from] quorate_membership::rotation::Rejected),
}

// === impl BootstrapError ===

impl BootstrapError {
    /// What kind of failure it is.
    #[must_use]
    pub fn code(&self) -> Code {
        match self {
            Self::Member | Self::Begin(_) | Self::AuthorityGiven | Self::Level { .. } => Code::FailedPrecondition,
            Self::Open(OpenError::Files(_)) => Code::FailedPrecondition,
            Self::Busy => Code::Unavailable,
            Self::Operator(error) => error.code(),
            Self::Open(OpenError::Beginning(error)) => of_command(error),
            Self::Authority(AuthorityError::Issue(_)) | Self::Open(_) => Code::Internal,
            Self::Settings(_) | Self::Authority(_) => Code::InvalidArgument,
        }
    }
}

// === impl JoinError ===

impl JoinError {
    /// What kind of failure it is.
    #[must_use]
    pub fn code(&self) -> Code {
        match self {
            Self::Member | Self::RootKey | Self::Refused { .. } | Self::Begin(_) => Code::FailedPrecondition,
            Self::Authorities { .. } | Self::Application(_) | Self::Open(OpenError::Files(_)) => {
                Code::FailedPrecondition
            }
            Self::Busy | Self::Unreachable { .. } => Code::Unavailable,
            Self::Inactive { .. } => Code::DeadlineExceeded,
            Self::Answer(_) | Self::Open(_) => Code::Internal,
        }
    }
}

// === impl AdmitError ===

impl AdmitError {
    /// What kind of failure it is.
    #[must_use]
    pub fn code(&self) -> Code {
        match self {
            Self::Malformed | Self::Terms(_) | Self::Given(_) => Code::InvalidArgument,
            Self::Join(refusal) => refusal.code(),
            Self::Command(error) => of_command(error),
            Self::Read(_) | Self::NotYet | Self::Rotating => Code::Unavailable,
            Self::NoAuthority | Self::NoKey { .. } | Self::Rotation(_) | Self::Issue(IssueError::Ended { .. }) => {
                Code::FailedPrecondition
            }
            Self::NoCertificate | Self::OwnCertificate | Self::NotTaken(_) => Code::FailedPrecondition,
            Self::Issue(IssueError::Lifetime { .. } | IssueError::Hosts { .. }) => Code::InvalidArgument,
            Self::Grant(error) => error.code(),
            Self::Keep(_)
            | Self::Token(_)
            | Self::NotOpened(_)
            | Self::Bundle(_)
            | Self::Issue(_)
            | Self::Authority(_) => Code::Internal,
        }
    }

    /// What the catalog says, when it is the catalog that refuses.
    #[must_use]
    pub fn refusal(&self) -> Option<&Refusal> {
        match self {
            Self::Command(CommandError::Refused(refusal)) => Some(refusal),
            _ => None,
        }
    }
}

fn of_command(error: &CommandError) -> Code {
    match error {
        CommandError::Refused(refusal) => refusal.code(),
        CommandError::Proposal(ProposeError::Overloaded { .. } | ProposeError::DiskFull) => Code::ResourceExhausted,
        CommandError::Proposal(ProposeError::TooLarge(_)) => Code::InvalidArgument,
        CommandError::Proposal(ProposeError::Unknown) => Code::Aborted,
        CommandError::Proposal(ProposeError::NotLeader { .. } | ProposeError::Stopped { .. }) => Code::Unavailable,
        CommandError::Outcome => Code::Internal,
    }
}
