//! `quorate history` and `quorate rollback`: what was changed when and by whom, and the way back.
//!
//! Going back is a new revision like any other: the history is never rewritten.

use std::path::Path;

use quorate_client::{Method as _, json};
use quorate_proto::admin::v1 as proto;

use super::apply;
use super::changes::{self, Counts, Style};
use super::{PAGE, kind};
use crate::answer::{self, counted, shown_time};
use crate::cli::cluster::Output;
use crate::cli::resources::{HistoryArgs, RollbackArgs};
use crate::exit::Failure;
use crate::table::Table;
use crate::{output, target};

/// Documents that a line of the history names.
const NAMED_MAX: usize = 2;

/// Runs `quorate history`.
///
/// # Errors
/// [`Failure`] when no node answers.
pub(crate) async fn history(context: Option<&Path>, args: &HistoryArgs) -> Result<(), Failure> {
    let client = target::client(context, &args.target)?;
    let of = args.kind.as_deref().map(kind).transpose()?;
    let (kind, tenant) = match of {
        Some(kind) => (kind.as_str().to_owned(), args.tenant.to_string()),
        None => (String::new(), String::new()),
    };
    let name = args.name.as_ref().map(ToString::to_string).unwrap_or_default();
    let limit = usize::try_from(args.limit).unwrap_or(usize::MAX);
    let mut all = proto::ListRevisionsResponse::default();
    loop {
        let left = limit.saturating_sub(all.revisions.len());
        let request = proto::ListRevisionsRequest {
            kind: kind.clone(),
            tenant: tenant.clone(),
            name: name.clone(),
            page_size: i32::try_from(left).unwrap_or(i32::MAX).min(PAGE),
            page_token: std::mem::take(&mut all.next_page_token),
        };
        let page = client.call(request).await.map_err(target::of_client)?;
        all.revisions.extend(page.revisions);
        (all.oldest, all.next_page_token) = (page.oldest, page.next_page_token);
        if all.next_page_token.is_empty() || all.revisions.len() >= limit {
            break;
        }
    }
    let has_more = !all.next_page_token.is_empty();
    match args.output.output {
        Output::Table => {
            output::print(&table(&all))?;
            if has_more {
                output::note("there are older ones: raise `--limit`");
            } else if all.oldest > 1 {
                output::note(&format!("revisions before {} are forgotten", all.oldest));
            }
            Ok(())
        }
        output => {
            let mut value = json::of(proto::ListRevisionsRequest::ANSWER, &all);
            if let Some(members) = value.as_object_mut() {
                members.shift_remove("nextPageToken");
            }
            answer::print_value(output, &value)
        }
    }
}

fn table(answer: &proto::ListRevisionsResponse) -> String {
    let mut table = Table::new(["REVISION", "TIME", "BY", "CHANGES", "MESSAGE"]);
    for revision in &answer.revisions {
        let message = output::first_line(&revision.message, crate::table::WIDTH);
        let time = shown_time(revision.time.as_ref());
        table.row([revision.number.to_string(), time, revision.author.clone(), summary(&revision.changes), message]);
    }
    if table.is_empty() { "no revisions\n".to_owned() } else { table.render() }
}

/// The names of few changes, the number of many.
fn summary(changes: &[proto::Change]) -> String {
    use proto::change::Action;

    if changes.len() > NAMED_MAX {
        return format!("{} ({})", counted(changes.len(), "document"), Counts::of(changes).words());
    }
    let sign = |action: Action| match action {
        Action::Add => "+",
        Action::Change => "~",
        Action::Delete => "-",
        Action::Unspecified => "?",
    };
    let named = changes.iter().map(|change| {
        format!("{}{}", sign(change.action()), changes::called(&change.kind, &change.tenant, &change.name))
    });
    named.collect::<Vec<_>>().join(" ")
}

/// Runs `quorate rollback`.
///
/// # Errors
/// [`Failure`] when the revision is forgotten, or what it had cannot be any more.
pub(crate) async fn rollback(context: Option<&Path>, args: &RollbackArgs) -> Result<(), Failure> {
    let client = target::client(context, &args.target)?;
    let request = proto::RollbackRequest {
        to: args.to,
        expected_revision: args.expected_revision,
        message: args.message.clone(),
    };
    let answer = client.call(request).await.map_err(target::of_client)?;
    apply::warn(&answer.warnings);
    answer::print::<proto::RollbackRequest>(args.output.output, &answer, |answer| {
        let lines = changes::lines(&answer.changes, &[], Style::of_stdout(false));
        let words = Counts::of(&answer.changes).words();
        format!("{lines}revision {} is as revision {} was: {words}\n", answer.revision, args.to)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_revision_says_who_did_what() {
        let change = |name: &str| proto::Change {
            action: proto::change::Action::Add.into(),
            kind: "Policy".into(),
            name: name.into(),
            ..proto::Change::default()
        };
        let revision = |number, changes: &[&str]| proto::Revision {
            number,
            author: "ana".into(),
            message: "first\nsecond".into(),
            changes: changes.iter().map(|name| change(name)).collect(),
            ..proto::Revision::default()
        };
        let answer = proto::ListRevisionsResponse {
            revisions: vec![revision(3, &["a", "b", "c"]), revision(2, &["a"])],
            ..proto::ListRevisionsResponse::default()
        };

        let expected = "\
REVISION  TIME  BY   CHANGES                MESSAGE
3         -     ana  3 documents (3 added)  first
2         -     ana  +Policy/a              first
";
        assert_eq!(table(&answer), expected);
    }
}
