//! The service `Audit`: the audit log of the node that is asked, from its files.
//!
//! Each node has a chain of its own, so that who wants all asks all. Records are read a page at a time, as fast as the
//! caller takes them; verifying reads everything once, on a thread that may block.

use std::path::PathBuf;
use std::pin::Pin;
use std::sync::Arc;

use bytes::Bytes;
use futures_util::{Stream, stream};
use quorate_audit::{Unverified, records, verify};
use quorate_proto::admin::v1 as wire;
use tokio::sync::Semaphore;
use tokio::task::spawn_blocking;
use tonic::{Code, Request, Response, Status, async_trait};

use super::service::audit_server::AuditServer;
use super::{errors, service};

/// Records that are read at once: 16 MiB at most, usually 400 KB.
const PAGE_RECORDS: usize = 1_000;
/// Records of an answer where nobody says how many.
const LIMIT_DEFAULT: usize = 1_000;
/// Logs that are verified at the same time: each reads the whole log.
const VERIFIERS_MAX: usize = 1;

/// The service.
pub struct Audit {
    /// The folder of the log; none on a node that keeps none.
    folder: Option<Arc<PathBuf>>,
    verifiers: Arc<Semaphore>,
}

/// Makes the service of the log in a folder.
#[must_use]
pub fn server(folder: Option<PathBuf>) -> AuditServer<Audit> {
    AuditServer::new(Audit { folder: folder.map(Arc::new), verifiers: Arc::new(Semaphore::new(VERIFIERS_MAX)) })
}

/// Where a reader is.
struct Reading {
    folder: Arc<PathBuf>,
    after: u64,
    left: usize,
    /// What was read and not given out, the next one last.
    read: Vec<wire::AuditRecord>,
}

// === impl Audit ===

impl Audit {
    fn folder(&self) -> Result<Arc<PathBuf>, Status> {
        let none = || errors::precondition("NO_LOG", "node", "this node keeps no audit log: it has no data directory");
        self.folder.clone().ok_or_else(none)
    }
}

#[async_trait]
impl service::audit_server::Audit for Audit {
    type ReadStream = Pin<Box<dyn Stream<Item = Result<wire::AuditRecord, Status>> + Send>>;

    async fn read(&self, request: Request<wire::ReadAuditRequest>) -> Result<Response<Self::ReadStream>, Status> {
        let wire::ReadAuditRequest { after, limit } = request.into_inner();
        let left = if limit == 0 { LIMIT_DEFAULT } else { usize::try_from(limit).unwrap_or(usize::MAX) };
        let reading = Reading { folder: self.folder()?, after, left, read: Vec::new() };
        Ok(Response::new(Box::pin(stream::try_unfold(reading, |mut reading| async move {
            Ok::<_, Status>(reading.next().await?.map(|record| (record, reading)))
        }))))
    }

    async fn verify(
        &self,
        _request: Request<wire::VerifyAuditRequest>,
    ) -> Result<Response<wire::VerifyAuditResponse>, Status> {
        let folder = self.folder()?;
        let turn = Arc::clone(&self.verifiers).acquire_owned().await;
        let turn = turn.map_err(|_| Status::unavailable("the node ends"))?;
        let report = spawn_blocking(move || {
            // It goes on when its caller has left, and takes its turn for as long.
            let _turn = turn;
            verify(&folder, None)
        });
        let report = report.await;
        let report = report.unwrap_or_else(|panic| std::panic::resume_unwind(panic.into_panic()));
        let answer = match report {
            Ok(report) => wire::VerifyAuditResponse { whole: true, records: report.records, finding: String::new() },
            Err(broken @ (Unverified::Broken(_) | Unverified::NotThere { .. })) => {
                wire::VerifyAuditResponse { whole: false, records: 0, finding: broken.to_string() }
            }
            Err(error @ Unverified::Io { .. }) => {
                return Err(errors::error(Code::Unavailable, "DISK", error.to_string()));
            }
        };
        Ok(Response::new(answer))
    }
}

// === impl Reading ===

impl Reading {
    async fn next(&mut self) -> Result<Option<wire::AuditRecord>, Status> {
        if self.read.is_empty() && self.left > 0 {
            let (folder, after, count) = (Arc::clone(&self.folder), self.after, self.left.min(PAGE_RECORDS));
            let page = spawn_blocking(move || records(&folder, after, count)).await;
            let page = page.unwrap_or_else(|panic| std::panic::resume_unwind(panic.into_panic()));
            let page = page.map_err(|error| errors::error(Code::Unavailable, "DISK", error.to_string()))?;
            self.read = page
                .into_iter()
                .rev()
                .map(|(number, line)| wire::AuditRecord { number, json: Bytes::from(line) })
                .collect();
        }
        let Some(record) = self.read.pop() else { return Ok(None) };
        self.after = record.number;
        self.left -= 1;
        Ok(Some(record))
    }
}
