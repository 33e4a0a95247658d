//! The calls of `admin.proto`, and the least role of each, as its comments tell.

use std::collections::BTreeMap;

use anyhow::{Context as _, bail, ensure};

const TEXT: &str = include_str!("../../proto/quorate/admin/v1/admin.proto");

/// Who may make a call.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Least {
    /// Everybody, also without a certificate.
    Anyone,
    /// An operator of this role, or of one above it.
    Viewer,
    /// As above.
    Operator,
    /// As above.
    Admin,
    /// Who is on the node's machine and has its data folder.
    Local,
}

/// A call.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Call {
    /// Who may make it.
    pub(crate) least: Least,
    /// Who may make it in its weakest form, such as a dry run.
    pub(crate) weakest: Least,
}

/// All calls by their paths (`/quorate.admin.v1.Cluster/GetStatus`), those of health and reflection too.
pub(crate) fn calls() -> anyhow::Result<BTreeMap<String, Call>> {
    let calls = [
        ("/grpc.health.v1.Health/Check".to_owned(), Least::Anyone),
        ("/grpc.health.v1.Health/Watch".to_owned(), Least::Viewer),
        ("/grpc.reflection.v1.ServerReflection/ServerReflectionInfo".to_owned(), Least::Viewer),
    ];
    let mut calls: BTreeMap<_, _> =
        calls.into_iter().map(|(path, least)| (path, Call { least, weakest: least })).collect();
    let (mut service, mut comment) = (None, String::new());
    for line in TEXT.lines().map(str::trim) {
        if let Some(text) = line.strip_prefix("//") {
            comment.push_str(text);
            continue;
        }
        if let Some(name) = line.strip_prefix("service ") {
            service = name.split_whitespace().next();
        } else if let Some(rest) = line.strip_prefix("rpc ") {
            let name = rest.split('(').next().context("a call has a name")?;
            let service = service.with_context(|| format!("{name} is in no service"))?;
            let of_comment = of_comment(comment.trim()).with_context(|| format!("the comment of {service}.{name}"))?;
            calls.insert(format!("/quorate.admin.v1.{service}/{name}"), of_comment);
        }
        comment.clear();
    }
    ensure!(calls.len() > 30, "{} has calls that were not read: {calls:?}", "admin.proto");
    Ok(calls)
}

/// What the comment of a call begins with: a role, and perhaps another one for a weaker form (`operator; viewer with …`).
fn of_comment(comment: &str) -> anyhow::Result<Call> {
    let begins = [
        ("viewer", Least::Viewer),
        ("operator", Least::Operator),
        ("admin", Least::Admin),
        ("Anyone", Least::Anyone),
        ("On a node that waits, through its Unix socket", Least::Local),
    ];
    let Some((begin, least)) = begins.into_iter().find(|(begin, _)| comment.starts_with(begin)) else {
        bail!("begins with none of the roles: {comment:?}");
    };
    let weaker = comment[begin.len()..].strip_prefix("; ").unwrap_or_default();
    let weakest = begins.into_iter().find(|(begin, _)| weaker.starts_with(&format!("{begin} with ")));
    Ok(Call { least, weakest: weakest.map_or(least, |(_, least)| least) })
}

// === impl Least ===

impl Least {
    /// The word for it in errors.
    pub(crate) fn word(self) -> &'static str {
        match self {
            Self::Anyone => "anyone",
            Self::Viewer => "viewer",
            Self::Operator => "operator",
            Self::Admin => "admin",
            Self::Local => "local",
        }
    }
}
