//! Each call, by everybody who may not make it, on each node: refused with the role that it takes.

use anyhow::{Context as _, ensure};
use quorate_cluster::{Cluster, Options};
use tonic::{Code, Status};
use tonic_types::StatusExt as _;

use crate::callers::Caller;
use crate::proto::{Least, calls};
use crate::verbs::{contexts, other};

/// The roles, from below.
const ROLES: [Least; 3] = [Least::Viewer, Least::Operator, Least::Admin];

/// The word for programs of a refusal, and what goes with it.
fn reason(status: &Status) -> (String, String) {
    let info = status.get_details_error_info();
    let role = info.as_ref().and_then(|info| info.metadata.get("role").cloned());
    (info.map(|info| info.reason).unwrap_or_default(), role.unwrap_or_default())
}

fn holds(status: &Status, code: Code, word: &str, role: &str, who: &str) -> anyhow::Result<()> {
    let (found, of_role) = reason(status);
    ensure!(
        status.code() == code && found == word && of_role == role,
        "{who}: {:?} {found:?} {of_role:?} instead of {code:?} {word:?} {role:?}: {}",
        status.code(),
        status.message(),
    );
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn every_call_is_refused_to_every_caller_who_may_not_make_it_on_every_node() -> anyhow::Result<()> {
    let cluster = Cluster::start(Options { shards: 2, ..Options::default() })?;
    let callers = contexts(&cluster)?;
    let calls = calls()?;
    let mut refusals = 0;
    for place in cluster.places() {
        let address = cluster.admin(place);
        let mut nobody = Caller::nobody()?.connect(address).await?;
        for (path, call) in &calls {
            let who = format!("nobody calls {path}");
            match call.weakest {
                Least::Anyone => continue,
                Least::Local => {
                    let status = nobody.call(path, true).await?;
                    holds(&status, Code::PermissionDenied, "LOCAL_ONLY", "", &who)?;
                }
                least @ (Least::Viewer | Least::Operator | Least::Admin) => {
                    let status = nobody.call(path, true).await?;
                    holds(&status, Code::Unauthenticated, "NO_CERTIFICATE", least.word(), &who)?;
                }
            }
            refusals += 1;
        }
        for (role, folder) in ROLES.into_iter().zip(&callers) {
            let mut caller = Caller::of_folder(folder)?.connect(address).await?;
            for (path, call) in calls.iter().filter(|(_, call)| call.least > role) {
                let status = caller.call(path, true).await?;
                let who = format!("{} calls {path}", role.word());
                let (word, needed) = match call.least {
                    Least::Local => ("LOCAL_ONLY", ""),
                    least => ("ROLE", least.word()),
                };
                holds(&status, Code::PermissionDenied, word, needed, &who)?;
                refusals += 1;
            }
        }
    }
    ensure!(refusals > 3 * 60, "only {refusals} calls were refused");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn an_admin_of_another_cluster_is_refused_before_the_first_call() -> anyhow::Result<()> {
    let mut cluster = Cluster::start(Options { nodes: 1, shards: 1, ..Options::default() })?;
    let stranger = other(&mut cluster).await?;
    let caller = Caller::of_pem(&stranger.operator_certificate_pem, &stranger.operator_key_pem)?;
    for path in calls()?.keys() {
        let called = async { caller.connect(cluster.admin(0)).await?.call(path, true).await };
        let answered = called.await.map(|status| format!("{status}"));
        ensure!(answered.is_err(), "{path} is answered: {answered:?}");
    }
    Caller::of_folder(&contexts(&cluster)?[0])?
        .connect(cluster.admin(0))
        .await?
        .call("/quorate.admin.v1.Cluster/GetStatus", true)
        .await
        .map(|status| status.code())
        .and_then(|code| (code == Code::Ok).then_some(()).context("its own viewer is served"))
}
