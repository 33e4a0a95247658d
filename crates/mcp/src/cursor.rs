//! Pagination cursors that we hand out: sealed positions in a merged list.
//!
//! In and out: a [`Position`] and its sealed text. A cursor says at which item of which content the
//! next page starts and binds that to the list, the toolset and the principal it was made for, so
//! that nobody can use another's, and a changed list is noticed instead of skipping items. Content
//! is named by its hash: a refresh with equal content, on any node, keeps cursors valid.
//!
//! Every error answers `-32602`; the variants are for logs and metrics.

use quorate_types::seal::{NONCE_BYTES, Purpose};
use quorate_types::{PrincipalDigest, ResourceName, Sealer};

use crate::message::ListKind;

/// The hash of a merged list's content.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Epoch(pub [u8; 16]);

/// Where a page starts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Position {
    /// The content that the offset counts in.
    pub epoch: Epoch,
    /// The first item of the page.
    pub offset: u32,
}

/// What a cursor is bound to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Binding<'a> {
    /// The list.
    pub kind: ListKind,
    /// The toolset whose list it is.
    pub toolset: &'a ResourceName,
    /// Who may use it.
    pub principal: PrincipalDigest,
}

/// A cursor cannot be used.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CursorError {
    /// It is not one that we made, or it was altered.
    #[error("the cursor is not valid")]
    Forged,
    /// It was made for another list, toolset or principal.
    #[error("the cursor belongs to another list")]
    Foreign,
    /// The list has changed since.
    #[error("the cursor has expired: the list has changed")]
    Stale,
}

/// The form of the plaintext; another form gets another number.
const FORM: u8 = 1;
/// Form, kind, epoch, offset, principal; the toolset's name follows.
const FIXED_BYTES: usize = 1 + 1 + 16 + 4 + 16;

// === impl CursorError ===

impl CursorError {
    /// Returns the label of this error in logs and metrics.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Forged => "forged",
            Self::Foreign => "foreign",
            Self::Stale => "stale",
        }
    }
}

/// Makes the cursor text of a position.
///
/// `nonce` must be random and used once.
#[must_use]
pub fn seal(sealer: &Sealer, position: Position, binding: &Binding<'_>, nonce: &[u8; NONCE_BYTES]) -> String {
    let mut plaintext = Vec::with_capacity(FIXED_BYTES + binding.toolset.as_str().len());
    plaintext.push(FORM);
    plaintext.push(tag(binding.kind));
    plaintext.extend_from_slice(&position.epoch.0);
    plaintext.extend_from_slice(&position.offset.to_be_bytes());
    plaintext.extend_from_slice(&binding.principal.0);
    plaintext.extend_from_slice(binding.toolset.as_str().as_bytes());
    sealer.seal(Purpose::Cursor, &plaintext, nonce)
}

/// Reads a cursor text that a client presents for `binding`.
///
/// # Errors
/// [`CursorError::Forged`] or [`CursorError::Foreign`]; whether the position is stale shows where
/// it is used.
pub fn open(sealer: &Sealer, cursor: &str, binding: &Binding<'_>) -> Result<Position, CursorError> {
    let plaintext = sealer.open(Purpose::Cursor, cursor).map_err(|_| CursorError::Forged)?;
    let (fixed, toolset) = plaintext.split_at_checked(FIXED_BYTES).ok_or(CursorError::Forged)?;
    let (&[form, kind], fixed) = fixed.split_first_chunk().ok_or(CursorError::Forged)?;
    let (&epoch, fixed) = fixed.split_first_chunk().ok_or(CursorError::Forged)?;
    let (&offset, principal) = fixed.split_first_chunk().ok_or(CursorError::Forged)?;
    if form != FORM {
        return Err(CursorError::Forged);
    }
    let bound = (kind, principal, toolset);
    if bound != (tag(binding.kind), &binding.principal.0[..], binding.toolset.as_str().as_bytes()) {
        return Err(CursorError::Foreign);
    }
    Ok(Position { epoch: Epoch(epoch), offset: u32::from_be_bytes(offset) })
}

const fn tag(kind: ListKind) -> u8 {
    match kind {
        ListKind::Tools => 1,
        ListKind::Prompts => 2,
        ListKind::Resources => 3,
        ListKind::ResourceTemplates => 4,
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const NONCE: [u8; NONCE_BYTES] = [5; NONCE_BYTES];

    fn sealer() -> Sealer {
        Sealer::new(&[1; 32])
    }

    fn toolset(name: &str) -> ResourceName {
        ResourceName::new(name).expect("a valid name")
    }

    #[test]
    fn a_cursor_is_of_use_only_where_it_was_made_for() {
        let own = toolset("default");
        let other = toolset("default2");
        let binding = Binding { kind: ListKind::Tools, toolset: &own, principal: PrincipalDigest([1; 16]) };
        let position = Position { epoch: Epoch([2; 16]), offset: 1000 };

        let cursor = seal(&sealer(), position, &binding, &NONCE);

        assert_eq!(open(&sealer(), &cursor, &binding), Ok(position));
        for foreign in [
            Binding { kind: ListKind::Prompts, ..binding },
            Binding { toolset: &other, ..binding },
            Binding { principal: PrincipalDigest([3; 16]), ..binding },
        ] {
            assert_eq!(open(&sealer(), &cursor, &foreign), Err(CursorError::Foreign), "{foreign:?}");
        }
        assert_eq!(open(&Sealer::new(&[2; 32]), &cursor, &binding), Err(CursorError::Forged));
    }

    #[test]
    fn what_is_no_cursor_of_ours_is_forged() {
        let own = toolset("default");
        let binding = Binding { kind: ListKind::Tools, toolset: &own, principal: PrincipalDigest([1; 16]) };
        let session = sealer().seal(Purpose::Session, &[1; FIXED_BYTES + 7], &NONCE);
        let short = sealer().seal(Purpose::Cursor, &[FORM; FIXED_BYTES - 1], &NONCE);
        let other_form = sealer().seal(Purpose::Cursor, &[FORM + 1; FIXED_BYTES], &NONCE);
        for text in ["", "2", "eyJvZmZzZXQiOjJ9", &session, &short, &other_form] {
            assert_eq!(open(&sealer(), text, &binding), Err(CursorError::Forged), "{text}");
        }
    }

    proptest! {
        #[test]
        fn every_position_survives_the_round_trip(epoch: [u8; 16], offset: u32, principal: [u8; 16], name in "[a-z0-9][a-z0-9_-]{0,62}", nonce: [u8; 24]) {
            let toolset = toolset(&name);
            for kind in ListKind::ALL {
                let binding = Binding { kind, toolset: &toolset, principal: PrincipalDigest(principal) };
                let position = Position { epoch: Epoch(epoch), offset };
                let cursor = seal(&sealer(), position, &binding, &nonce);
                prop_assert_eq!(open(&sealer(), &cursor, &binding), Ok(position));
            }
        }

        #[test]
        fn a_cursor_with_one_character_changed_or_cut_is_forged(at: prop::sample::Index, with in "[A-Za-z0-9_-]?") {
            let own = toolset("default");
            let binding = Binding { kind: ListKind::Tools, toolset: &own, principal: PrincipalDigest([1; 16]) };
            let cursor = seal(&sealer(), Position { epoch: Epoch([2; 16]), offset: 3 }, &binding, &NONCE);
            let at = at.index(cursor.len());
            let forged = format!("{}{with}{}", &cursor[..at], &cursor[at + 1..]);
            prop_assume!(forged != cursor);
            prop_assert_eq!(open(&sealer(), &forged, &binding), Err(CursorError::Forged));
        }
    }
}
