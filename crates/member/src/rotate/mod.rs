//! How operators have another authority take the place of the cluster's, step by step.
//!
//! ```text
//! announce: its key into a free place ─▶ the state      cancel, retire: the state ─▶ the key that went is emptied
//! ```
//!
//! The state of the rotation is one key of the catalog, so that a step is taken or not. What is before it and behind it may
//! be left undone by a node that ends: a key that no state names. Whoever leads the cluster finds that and puts it away, when
//! no step can be at it any more.
//!
//! **Invariant:** an authority is emptied only after the state was written once more. A step that began before that, and
//! whose key this is, is refused then: it expects the state that was.

use std::collections::BTreeSet;
use std::time::Duration;

use quorate_catalog::proto::command::Kind as Command;
use quorate_catalog::{Catalog, Key};
use quorate_control::Control;
use quorate_membership::authority::{Authority, AuthorityPem};
use quorate_membership::rotation::{Behind, Phase, Step};
use quorate_membership::trust::AuthorityId;
use quorate_types::{NodeId, Timestamp};
use rustls::pki_types::CertificateDer;

use crate::authorities::{Authorities, retiring};
use crate::clock::now;
use crate::error::AdmitError;
use crate::member::Member;
use crate::upkeep;

/// How long a step may take between the key that it puts and the state that names it: many commits. One that took longer
/// loses its key, and is refused.
const STEP: Duration = Duration::from_secs(10);

/// A step of replacing the authority.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum RotationStep {
    /// Has another authority be trusted from now on: this one, or a new one of the cluster's own.
    Announce(Option<AuthorityPem>),
    /// Does not, after all.
    Cancel,
    /// Signs with it.
    Switch,
    /// Trusts the old one no more, and throws its key away.
    Retire,
}

/// Where a cluster is on the way from one authority to another.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RotationStatus {
    /// Which authorities there are.
    pub phase: Phase,
    /// How many steps were ever taken.
    pub revision: u64,
    /// Since when it is there.
    pub since: Option<Timestamp>,
    /// Whom nodes trust: who signs, then the other one.
    pub trusted: Vec<TrustedAuthority>,
    /// Who is waited for before the next step, as this node heard it.
    pub behind: Option<Behind>,
}

/// An authority that nodes trust.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TrustedAuthority {
    /// Who it is.
    pub id: AuthorityId,
    /// The certificate that is trusted.
    pub certificate: CertificateDer<'static>,
    /// When it ends, and all that it signed.
    pub not_after: Timestamp,
}

// === impl Member ===

impl Member {
    /// Takes the next step of replacing the cluster's authority, when all members are ready for it: announce, switch,
    /// retire; or cancels what was announced. Returns where the rotation is then.
    ///
    /// # Errors
    /// [`AdmitError::Rotation`] names the nodes that are waited for, or says which step is the next one;
    /// [`AdmitError::Given`] what is wrong with an authority that was given; [`AdmitError::Issue`] that the one which would
    /// sign has ended; [`AdmitError::Command`] with a conflict, or [`AdmitError::Rotating`], when somebody else takes a step at
    /// the same time.
    pub async fn rotate_authority(&self, step: RotationStep) -> Result<RotationStatus, AdmitError> {
        if self.0.has_files() {
            return Err(AdmitError::NoAuthority);
        }
        let (control, authorities) = (self.control(), &self.0.authorities);
        let (step, next) = self.read(step)?;
        if next.is_some() {
            // A place that is not empty may be another announcement's, whose state is not written yet. It is refused from here
            // on, as what a step left is; only then its key is thrown away.
            control.latest().await?;
            settle(control, authorities, |_, _| true).await?;
        }
        let catalog = control.latest().await?;
        let before = authorities.rotation(&catalog)?.ok_or(AdmitError::NoAuthority)?;
        let mut rotation = before;
        let members = members(&catalog);
        rotation.step(step, &members, &upkeep::reports(control, &members))?;
        if step == Step::Switch {
            // Nodes do not come back from one that cannot sign.
            authorities.get(&catalog, rotation.signing())?.lives(now())?;
        }
        if let Some(next) = &next {
            control.command(Command::RotateKey(authorities.put_next(&catalog, next)?)).await?;
        }
        control.command(Command::RotateKey(authorities.put_rotation(&catalog, &rotation))).await?;
        tracing::info!(%step, phase = %rotation.phase, "a step of replacing the cluster's authority");
        let gone: BTreeSet<AuthorityId> = before.trusted().difference(&rotation.trusted()).copied().collect();
        if let Err(error) = settle(control, authorities, |id, _| gone.contains(&id)).await {
            // The step is taken. Whoever leads the cluster finds it again.
            tracing::debug!(%error, "what the step left is not put away yet");
        }
        let catalog = control.latest().await.unwrap_or_else(|_| control.catalog());
        self.rotation(&catalog)?.ok_or(AdmitError::NoAuthority)
    }

    /// What a step is, and the authority that it brings.
    fn read(&self, step: RotationStep) -> Result<(Step, Option<Authority>), AdmitError> {
        let cluster = self.identity().cluster;
        let next = match step {
            RotationStep::Announce(Some(given)) => {
                Authority::of_pem(cluster, &given, now()).map_err(AdmitError::Given)?
            }
            RotationStep::Announce(None) => Authority::mint(cluster, now())?,
            RotationStep::Cancel => return Ok((Step::Cancel, None)),
            RotationStep::Switch => return Ok((Step::Switch, None)),
            RotationStep::Retire => return Ok((Step::Retire, None)),
        };
        Ok((Step::Announce(next.id()), Some(next)))
    }

    /// Where the rotation is, as a catalog has it; none in a cluster without an authority of its own.
    ///
    /// # Errors
    /// [`AdmitError`] when an authority cannot be opened.
    pub fn rotation(&self, catalog: &Catalog) -> Result<Option<RotationStatus>, AdmitError> {
        let authorities = &self.0.authorities;
        let Some(rotation) = authorities.rotation(catalog)? else { return Ok(None) };
        let (signing, members) = (rotation.signing(), members(catalog));
        let others = rotation.trusted().into_iter().filter(|id| *id != signing);
        let trusted = [signing].into_iter().chain(others).map(|id| {
            let authority = authorities.get(catalog, id)?;
            let (certificate, not_after) = (authority.anchor().clone(), authority.not_after());
            Ok::<_, AdmitError>(TrustedAuthority { id, certificate, not_after })
        });
        Ok(Some(RotationStatus {
            phase: rotation.phase,
            revision: rotation.revision,
            since: Authorities::since(catalog),
            trusted: trusted.collect::<Result<_, _>>()?,
            behind: rotation.ready(&members, &upkeep::reports(self.control(), &members)).err(),
        }))
    }
}

/// Puts away what steps left that no step is at any more: for whoever leads the cluster.
pub(crate) async fn settle_left(control: &Control, authorities: &Authorities) -> Result<(), AdmitError> {
    settle(control, authorities, |_, key| now() >= key.created_at + STEP).await
}

/// Puts away those keys of authorities that nobody trusts which `is_left` says, and versions of keys that open nothing any
/// more.
async fn settle(
    control: &Control,
    authorities: &Authorities,
    is_left: impl Fn(AuthorityId, &Key) -> bool,
) -> Result<(), AdmitError> {
    // First of all: a key that has too many of them takes no new version.
    retire(control, &control.catalog()).await?;
    let catalog = control.catalog();
    let Some(rotation) = authorities.rotation(&catalog)? else { return Ok(()) };
    let left = authorities.left(&catalog, &rotation)?;
    let left: Vec<Key> = left.into_iter().filter(|(id, key)| is_left(*id, key)).map(|(_, key)| key).collect();
    if left.is_empty() {
        return Ok(());
    }
    control.command(Command::RotateKey(authorities.put_rotation(&catalog, &rotation))).await?;
    for key in &left {
        tracing::info!(key = key.id.as_str(), "the key of an authority that nobody trusts is thrown away");
        control.command(Command::RotateKey(authorities.empty(key))).await?;
    }
    retire(control, &control.latest().await?).await
}

async fn retire(control: &Control, catalog: &Catalog) -> Result<(), AdmitError> {
    for version in retiring(catalog) {
        control.command(Command::RetireKey(version)).await?;
    }
    Ok(())
}

/// The nodes that a step waits for.
fn members(catalog: &Catalog) -> BTreeSet<NodeId> {
    catalog.nodes().filter(|node| node.lives()).map(|node| node.id).collect()
}

#[cfg(test)]
mod tests;
