//! `quorate cluster rotate-authority`: another authority for the cluster's certificates, step by step.
//!
//! Without `--step` it looks, and says what comes next; steps say the same afterwards. The certificate of a context is of an
//! authority, too: the step after which nobody would take it is refused here, before it is asked for.

use std::path::Path;

use quorate_client::Context;
use quorate_proto::admin::v1 as proto;
use quorate_proto::admin::v1::{GetStatusRequest, GetStatusResponse, RotationPhase};

use super::start;
use crate::answer::{self, shown_time};
use crate::cli::cluster::{RotateAuthorityArgs, StepArg};
use crate::exit::{Exit, Failure};
use crate::table::Table;
use crate::{output, target};

/// How the command is called.
const STEP: &str = "quorate cluster rotate-authority --step";
/// How operators get certificates of the new authority.
const OPERATOR: &str = "quorate cluster operator new --name NAME --role ROLE --out DIR";

pub(super) async fn rotate(context: Option<&Path>, args: &RotateAuthorityArgs) -> Result<(), Failure> {
    let client = target::client(context, &args.target)?;
    let authority = start::authority(args.authority_certificate.as_deref(), args.authority_key.as_deref())?;
    let request = GetStatusRequest { linearizable: true };
    let mut status = client.call(request).await.map_err(target::of_client)?;
    target::learn_as(context, &args.target, &status);
    if let Some(step) = args.step {
        if let Some(told) = status.authority.as_ref().filter(|_| args.target.data_dir.is_none()) {
            outlives(&target::context(context)?, told, step)?;
        }
        let request = proto::RotateAuthorityRequest { step: to_proto(step).into(), authority };
        status.authority = client.call(request).await.map_err(target::of_client)?.authority;
        target::learn_as(context, &args.target, &status);
    }
    if status.certificates_from_files {
        return Err(Failure::new(
            Exit::Refused,
            "the certificates of this cluster come from files, and so do its authorities",
        )
        .advise("write the next authority beside the old one into the file of `--peer-authorities` of every node"));
    }
    let Some(told) = &status.authority else {
        return Err(Failure::new(Exit::Refused, "the asked node knows no authority of the cluster")
            .advise("`quorate check` tells whether the node is ill"));
    };
    let answer = proto::RotateAuthorityResponse { authority: Some(told.clone()) };
    answer::print::<proto::RotateAuthorityRequest>(args.output.output, &answer, |_| text(told, &status))
}

fn to_proto(step: StepArg) -> proto::RotationStep {
    match step {
        StepArg::Announce => proto::RotationStep::Announce,
        StepArg::Switch => proto::RotationStep::Switch,
        StepArg::Retire => proto::RotationStep::Retire,
        StepArg::Cancel => proto::RotationStep::Cancel,
    }
}

/// Refuses a step after which the context would be of no use: nobody would take its certificate, or it would trust nobody.
fn outlives(context: &Context, told: &proto::AuthorityStatus, step: StepArg) -> Result<(), Failure> {
    let signing = target::authorities(told, |one| one.signs);
    if step == StepArg::Retire && !context.is_taken_by(&signing).map_err(target::of_context)? {
        let message =
            "the certificate of this context is of the authority that would be retired: no node would take it";
        return Err(Failure::new(Exit::Refused, message).advise(format!(
            "make another one first, and use its context: {OPERATOR}\nor retire on a node: --data-dir DIR"
        )));
    }
    let all = target::authorities(told, |_| true);
    if step == StepArg::Switch && !context.trusts(&all).map_err(target::of_context)? {
        let message = "this context does not trust the announced authority: it would take no node after the step";
        let ca = context.ca.display();
        return Err(Failure::new(Exit::Refused, message).advise(format!(
            "add it to {ca}: its certificate is `certificatePem` in `quorate cluster rotate-authority -o json`"
        )));
    }
    Ok(())
}

/// Where the rotation is, for people.
fn text(told: &proto::AuthorityStatus, status: &GetStatusResponse) -> String {
    let mut table = Table::new(["AUTHORITY", "DOES", "ENDS"]);
    for one in &told.trusted {
        let does = match (one.signs, told.phase()) {
            (true, _) => "signs",
            (false, RotationPhase::Announced) => "is announced",
            (false, _) => "signed before",
        };
        table.row([one.id.clone(), does.to_owned(), shown_time(one.expires.as_ref())]);
    }
    let since = shown_time(told.since.as_ref());
    let (step, then) = match told.phase() {
        RotationPhase::Announced => ("switch", "the announced one signs, and nodes renew their certificates at once"),
        RotationPhase::Switched => ("retire", "nobody trusts the old one any more, and its key is thrown away"),
        RotationPhase::Steady | RotationPhase::Unspecified => {
            ("announce", "nodes trust another one, which signs nothing yet")
        }
    };
    let mut text = format!("{}\nas it is since {since}\nnext: {STEP} {step}\n      {then}\n", table.render());
    if told.phase() == RotationPhase::Announced {
        text.push_str(&format!("or:   {STEP} cancel\n"));
    }
    if told.phase() == RotationPhase::Switched {
        text.push_str(&format!("before that, each operator needs a certificate of the new one: {OPERATOR}\n"));
    }
    if !told.behind.is_empty() {
        let named = |id: &u64| {
            let name = status.nodes.iter().find(|node| node.id == *id).map_or("", |node| node.name.as_str());
            answer::node(*id, name)
        };
        let nodes: Vec<String> = told.behind.iter().map(named).collect();
        text.push_str(&format!("not yet: waiting for nodes {}: {}\n", nodes.join(", "), told.behind_reason));
    }
    output::visible(&text).into_owned()
}

#[cfg(test)]
mod tests {
    use quorate_client::context::{Draft, Material};
    use quorate_membership::authority::{Authority, MemberKey, OPERATOR_LIFETIME_MIN};
    use quorate_membership::identity::Role;
    use quorate_membership::pem::of_certificates;
    use quorate_types::{ClusterId, ResourceName};

    use super::*;

    fn status(phase: RotationPhase, behind: &[u64]) -> GetStatusResponse {
        let one = |id: &str, signs| proto::TrustedAuthority {
            id: id.repeat(16),
            signs,
            expires: Some(prost_types::Timestamp { seconds: 1_800_000_000, nanos: 0 }),
            ..proto::TrustedAuthority::default()
        };
        let mut trusted = vec![one("0a", true)];
        if phase != RotationPhase::Steady {
            trusted.push(one("0b", false));
        }
        let authority = proto::AuthorityStatus {
            phase: phase.into(),
            since: Some(prost_types::Timestamp { seconds: 1_700_000_000, nanos: 0 }),
            trusted,
            behind: behind.to_vec(),
            behind_reason: "they have not said it".to_owned(),
            ..proto::AuthorityStatus::default()
        };
        let node = proto::Node { id: 3, name: "ber-3".to_owned(), ..proto::Node::default() };
        GetStatusResponse { authority: Some(authority), nodes: vec![node], ..GetStatusResponse::default() }
    }

    /// What a cluster says in which one authority signs and another one is trusted beside it.
    fn told(signs: &Authority, other: &Authority) -> proto::AuthorityStatus {
        let one = |authority: &Authority, signs| proto::TrustedAuthority {
            id: authority.id().to_string(),
            signs,
            certificate_pem: of_certificates([authority.anchor()]),
            ..proto::TrustedAuthority::default()
        };
        proto::AuthorityStatus { trusted: vec![one(signs, true), one(other, false)], ..Default::default() }
    }

    #[test]
    fn no_step_is_taken_with_a_context_that_would_be_of_no_use_after_it() {
        let (cluster, now) = (ClusterId([7; 16]), quorate_runtime::clock::now());
        let [mine, next] = [(); 2].map(|()| Authority::mint(cluster, now).unwrap());
        let (key, name) = (MemberKey::draw(), ResourceName::new("ana").unwrap());
        let issued = mine.issue_operator(name, Role::Admin, OPERATOR_LIFETIME_MIN, &key.public(), now).unwrap();
        let material = Material {
            cluster,
            endpoints: &["127.0.0.1:4191".parse().unwrap()],
            ca_pem: &of_certificates([mine.anchor()]),
            // Without those above it, which nobody needs.
            certificate_pem: &of_certificates(&issued.chain[..1]),
            key_pem: &key.to_pem(),
        };
        let folder = tempfile::tempdir().unwrap();
        let context = Draft::new(&folder.path().join("context.yaml")).unwrap().write(&material).unwrap();
        let (announced, switched) = (told(&mine, &next), told(&next, &mine));

        let refused = outlives(&context, &switched, StepArg::Retire).unwrap_err();
        assert_eq!(refused.exit, Exit::Refused);
        assert!(refused.advice.unwrap().contains("operator new"), "{}", refused.message);
        assert!(
            outlives(&context, &announced, StepArg::Retire).is_ok(),
            "mine signs: the cluster refuses the step itself"
        );
        let refused = outlives(&context, &announced, StepArg::Switch).unwrap_err();
        assert!(refused.message.contains("does not trust"), "{}", refused.message);

        context.learn_authorities(&target::authorities(&announced, |_| true)).unwrap();
        assert!(outlives(&context, &announced, StepArg::Switch).is_ok());
        assert!(outlives(&context, &announced, StepArg::Cancel).is_ok());
    }

    fn shown(status: &GetStatusResponse) -> String {
        text(status.authority.as_ref().unwrap(), status)
    }

    #[test]
    fn each_phase_says_what_comes_next_and_who_is_waited_for() {
        let expected = "\
AUTHORITY                         DOES          ENDS
0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a  signs         2027-01-15T08:00:00Z
0b0b0b0b0b0b0b0b0b0b0b0b0b0b0b0b  is announced  2027-01-15T08:00:00Z

as it is since 2023-11-14T22:13:20Z
next: quorate cluster rotate-authority --step switch
      the announced one signs, and nodes renew their certificates at once
or:   quorate cluster rotate-authority --step cancel
not yet: waiting for nodes 3 (ber-3): they have not said it
";
        assert_eq!(shown(&status(RotationPhase::Announced, &[3])), expected);
        assert!(shown(&status(RotationPhase::Steady, &[])).contains("--step announce\n"));
        let switched = shown(&status(RotationPhase::Switched, &[]));
        assert!(switched.contains("signed before") && switched.contains("--step retire\n"), "{switched}");
        assert!(switched.contains("operator new") && !switched.contains("not yet"), "{switched}");
    }
}
