//! What makes the spec of a `Policy` valid, as far as it can be said of one document.
//!
//! Whether its text is Cedar that fits our schema is for all policies together to say (see [`crate::set`]), because they
//! are compiled as one.

use std::collections::BTreeMap;

use super::{Head, Site};
use crate::error::{Reason, shown};
use crate::form::PolicyForm;
use crate::form::identity::ArgumentTypeForm;
use crate::node::Path;
use crate::report::Report;
use crate::resource::Policy;
use crate::resource::identity::ArgumentType;

/// The longest text of one document.
const CEDAR_BYTES_MAX: usize = quorate_policy::limits::DOCUMENT_BYTES_MAX;
/// The longest name of an argument in bytes.
const ARGUMENT_BYTES_MAX: usize = 128;

pub(super) fn compile(head: Head, form: PolicyForm, site: &Site<'_>, report: &mut Report<'_>) -> Option<Policy> {
    let at = &site.at;
    let arguments = arguments(form.arguments.unwrap_or_default(), &at.key("arguments"), report);
    let cedar = report.accept(&at.key("cedar"), check_text(form.cedar?))?;
    let mode = form.mode.map(Into::into).unwrap_or_default();
    Some(Policy { name: head.name, tenant: head.tenant, cedar, arguments, mode })
}

fn check_text(text: String) -> Result<String, Reason> {
    let message = match text.len() {
        _ if text.trim().is_empty() => "it must not be empty: remove the document to have no policy".to_owned(),
        bytes if bytes > CEDAR_BYTES_MAX => {
            format!("it has {bytes} bytes, the most allowed is {CEDAR_BYTES_MAX}: use several documents")
        }
        _ => return Ok(text),
    };
    Err(Reason::Invalid { value: shown(&text), message })
}

fn arguments(
    given: BTreeMap<String, ArgumentTypeForm>,
    at: &Path,
    report: &mut Report<'_>,
) -> BTreeMap<String, ArgumentType> {
    for name in given.keys() {
        if !(1..=ARGUMENT_BYTES_MAX).contains(&name.len()) || name.contains(char::is_control) {
            let message = format!("an argument's name has 1 to {ARGUMENT_BYTES_MAX} bytes, without control characters");
            report.push(&at.key(name), Reason::Invalid { value: shown(name), message });
        }
    }
    given.into_iter().map(|(name, form)| (name, form.into())).collect()
}
