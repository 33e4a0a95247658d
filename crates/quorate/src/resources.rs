//! `quorate apply|diff|get|delete|history|rollback`: the resources of a cluster, as a client of the admin API.
//!
//! Documents come from the same files that a single node is started with. What was changed is shown by [`changes`], in one
//! form for all commands.

mod apply;
mod changes;
mod follow;
mod get;
mod history;

use std::path::Path;

use quorate_config::Kind;
use quorate_proto::admin::v1 as proto;

pub(crate) use self::apply::{apply, diff, warn};
pub(crate) use self::get::get;
pub(crate) use self::history::{history, rollback};
use crate::cli::cluster::Output;
use crate::cli::resources::DeleteArgs;
use crate::exit::{Exit, Failure};
use crate::{answer, output, target};

/// Documents or revisions of a page: as many as a node gives.
const PAGE: i32 = 1_000;

/// Deletes a document.
///
/// # Errors
/// [`Failure`] when there is none, or others need it.
pub(crate) async fn delete(context: Option<&Path>, args: &DeleteArgs) -> Result<(), Failure> {
    let client = target::client(context, &args.target)?;
    let kind = kind(&args.kind)?;
    let request = proto::DeleteRequest {
        kind: kind.as_str().to_owned(),
        tenant: args.tenant.to_string(),
        name: args.name.to_string(),
        expected_revision: args.expected_revision,
        message: args.message.clone(),
    };
    let answer = client.call(request).await.map_err(target::of_client)?;
    match args.output.output {
        Output::Table => output::print(&format!(
            "- {} deleted\nrevision {}\n",
            changes::called(kind.as_str(), args.tenant.as_str(), args.name.as_str()),
            answer.revision
        )),
        output => answer::print::<proto::DeleteRequest>(output, &answer, |_| String::new()),
    }
}

/// Reads a kind; capitals do not matter, and neither does an `s` at its end.
fn kind(text: &str) -> Result<Kind, Failure> {
    let is = |kind: &Kind| {
        let name = kind.as_str();
        text.eq_ignore_ascii_case(name)
            || text.strip_suffix(['s', 'S']).is_some_and(|text| text.eq_ignore_ascii_case(name))
            || (name == "Policy" && text.eq_ignore_ascii_case("policies"))
    };
    Kind::ALL.into_iter().find(is).ok_or_else(|| {
        let kinds: Vec<&str> = Kind::ALL.iter().map(|kind| kind.as_str()).collect();
        Failure::new(Exit::Usage, format!("there is no kind {text:?}"))
            .advise(format!("kinds are {}", kinds.join(", ")))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_kind_is_read_as_people_write_it() {
        for (text, expected) in [
            ("ToolServer", Kind::ToolServer),
            ("toolservers", Kind::ToolServer),
            ("APIKEYS", Kind::ApiKey),
            ("policies", Kind::Policy),
            ("policy", Kind::Policy),
        ] {
            assert_eq!(kind(text).unwrap(), expected, "{text}");
        }
        let unknown = kind("pod").unwrap_err();
        assert!(unknown.advice.unwrap().contains("ToolServer, Toolset"));
        assert_eq!(unknown.exit, Exit::Usage);
    }
}
