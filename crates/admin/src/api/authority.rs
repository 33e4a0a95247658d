//! The authority of a cluster and its rotation, as the API tells them and takes the steps.
//!
//! Certificates of authorities are no secret: whoever is trusted by a cluster may know whom it trusts, and contexts of
//! operators learn it from here. What was given to be announced is in no error and no record.

use quorate_member::{RotationStatus, RotationStep, TrustedAuthority};
use quorate_membership::authority::AuthorityPem;
use quorate_membership::pem;
use quorate_membership::rotation::Phase;
use quorate_proto::admin::v1;
use tonic::Status;

use super::errors;
use super::timestamp;

/// Reads a step.
///
/// # Errors
/// INVALID_ARGUMENT when it is none, or brings an authority that it has no use for.
pub(crate) fn step(request: v1::RotateAuthorityRequest) -> Result<RotationStep, Status> {
    let asked = request.step();
    let given = request.authority.map(|given| AuthorityPem { chain: given.chain, key: given.key.into() });
    match (asked, given) {
        (v1::RotationStep::Announce, given) => Ok(RotationStep::Announce(given)),
        (v1::RotationStep::Unspecified, _) => {
            Err(errors::invalid("step", request.step, "announce, switch, retire or cancel"))
        }
        (_, Some(_)) => Err(errors::invalid("authority", "(not shown)", "nothing, unless the step is announce")),
        (v1::RotationStep::Switch, None) => Ok(RotationStep::Switch),
        (v1::RotationStep::Retire, None) => Ok(RotationStep::Retire),
        (v1::RotationStep::Cancel, None) => Ok(RotationStep::Cancel),
    }
}

/// The word for a step.
pub(crate) fn word(step: v1::RotationStep) -> &'static str {
    match step {
        v1::RotationStep::Unspecified => "nothing",
        v1::RotationStep::Announce => "announce",
        v1::RotationStep::Switch => "switch",
        v1::RotationStep::Retire => "retire",
        v1::RotationStep::Cancel => "cancel",
    }
}

/// Tells where a rotation is.
pub(crate) fn told(status: &RotationStatus) -> v1::AuthorityStatus {
    let RotationStatus { phase, revision, since, trusted, behind } = status;
    let (phase, signing) = match *phase {
        Phase::Steady { signing } => (v1::RotationPhase::Steady, signing),
        Phase::Announced { signing, .. } => (v1::RotationPhase::Announced, signing),
        Phase::Switched { signing, .. } => (v1::RotationPhase::Switched, signing),
    };
    let authority = |one: &TrustedAuthority| v1::TrustedAuthority {
        id: one.id.to_string(),
        signs: one.id == signing,
        expires: Some(timestamp(one.not_after)),
        certificate_pem: pem::of_certificates([&one.certificate]),
    };
    v1::AuthorityStatus {
        phase: phase.into(),
        since: since.map(timestamp),
        revision: *revision,
        trusted: trusted.iter().map(authority).collect(),
        behind: behind.iter().flat_map(|behind| &behind.nodes).map(|node| node.0).collect(),
        behind_reason: behind.as_ref().map(|behind| behind.what.to_owned()).unwrap_or_default(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_step_is_named_and_only_an_announcement_brings_an_authority() {
        let request = |step: v1::RotationStep, is_given: bool| v1::RotateAuthorityRequest {
            step: step.into(),
            authority: is_given.then(|| v1::AuthorityPem { chain: "chain".to_owned(), key: "key".to_owned() }),
        };
        let announced = step(request(v1::RotationStep::Announce, true)).expect("it brings one");
        assert!(matches!(announced, RotationStep::Announce(Some(given)) if given.chain == "chain"));
        assert_eq!(step(request(v1::RotationStep::Announce, false)).expect("of its own"), RotationStep::Announce(None));
        assert_eq!(step(request(v1::RotationStep::Retire, false)).expect("it is one"), RotationStep::Retire);

        for (asked, is_given, field) in [
            (v1::RotationStep::Unspecified, false, "step"),
            (v1::RotationStep::Switch, true, "authority"),
            (v1::RotationStep::Cancel, true, "authority"),
        ] {
            let refused = step(request(asked, is_given)).expect_err("it is refused");
            assert_eq!(refused.code(), tonic::Code::InvalidArgument);
            assert!(refused.message().starts_with(field), "{refused}");
        }
    }
}
