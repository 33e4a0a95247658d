//! `quorate keys new|list|revoke` with a context: the API keys of a cluster.
//!
//! The cluster makes the key under its own root key and applies the document; the key comes back once. Where it goes is
//! made sure of before it is asked for.

use std::fs;
use std::time::Duration;

use quorate_client::{Client, Context, Method as _, json};
use quorate_config::Document;
use quorate_proto::admin::v1 as proto;

use super::hand_out;
use crate::answer::{self, shown_time, to_proto};
use crate::cli::cluster::Output;
use crate::cli::keys::{ListArgs, NewArgs, RevokeArgs};
use crate::exit::{Exit, Failure};
use crate::run::shown;
use crate::table::Table;
use crate::{output, target};

/// How long an answer may take.
const PATIENCE: Duration = Duration::from_secs(30);
/// The most keys that are listed: as many as a set has.
const KEYS_MAX: usize = quorate_config::API_KEYS_MAX;
const PAGE: i32 = 1_000;

pub(super) async fn new(context: &Context, args: &NewArgs) -> Result<(), Failure> {
    if let Some(path) = args.key.secret_out.as_deref().filter(|path| fs::symlink_metadata(path).is_ok()) {
        return Err(Failure::new(Exit::Failure, format!("{} is there already and is not replaced", shown(path)))
            .advise("name another file with `--secret-out`"));
    }
    let client = Client::of_context(context, PATIENCE).map_err(target::of_context)?;
    let request = proto::CreateKeyRequest {
        name: args.name.to_string(),
        tenant: args.tenant.to_string(),
        agent: args.agent.as_ref().map(ToString::to_string).unwrap_or_default(),
        scopes: args.scopes.clone(),
        valid_for: args.key.expires.map(to_proto),
    };
    let made = client.call(request).await.map_err(target::of_client)?;
    hand_out(&made.key, args.key.secret_out.as_deref())?;
    output::note(&format!("its document is applied, at revision {}", made.revision));
    let content = made.document.as_ref().map(|document| document.json.as_ref()).unwrap_or_default();
    let tree = Document::for_people(content)
        .map_err(|error| Failure::new(Exit::Failure, format!("the cluster sent a document that is none: {error}")))?;
    output::print(&answer::yaml(&tree)?)
}

pub(super) async fn list(context: &Context, args: &ListArgs) -> Result<(), Failure> {
    let client = Client::of_context(context, PATIENCE).map_err(target::of_context)?;
    let mut all = proto::ListKeysResponse::default();
    loop {
        let page_token = std::mem::take(&mut all.next_page_token);
        let request = proto::ListKeysRequest { tenant: String::new(), page_size: PAGE, page_token };
        let page = client.call(request).await.map_err(target::of_client)?;
        all.keys.extend(page.keys);
        all.next_page_token = page.next_page_token;
        if all.next_page_token.is_empty() {
            break;
        }
        if all.keys.len() > KEYS_MAX {
            return Err(Failure::new(Exit::Failure, "the list of keys does not come to an end"));
        }
    }
    if args.json {
        let mut value = json::of(proto::ListKeysRequest::ANSWER, &all);
        if let Some(members) = value.as_object_mut() {
            members.shift_remove("nextPageToken");
        }
        return answer::print_value(Output::Json, &value);
    }
    output::note("last use is that on the node that answered, since it was started");
    output::print(&table(&all.keys))
}

fn table(keys: &[proto::Key]) -> String {
    let mut table = Table::new(["NAME", "TENANT", "AGENT", "KEY", "SCOPES", "EXPIRES", "LAST USED"]);
    for key in keys {
        let scopes = if key.scopes.is_empty() { "-".to_owned() } else { key.scopes.join(" ") };
        let expires = if key.expires.is_none() { "never".to_owned() } else { shown_time(key.expires.as_ref()) };
        let used = shown_time(key.last_used.as_ref());
        table.row([key.name.clone(), key.tenant.clone(), key.agent.clone(), key.prefix.clone(), scopes, expires, used]);
    }
    if table.is_empty() { "no keys\n".to_owned() } else { table.render() }
}

pub(super) async fn revoke(context: &Context, args: &RevokeArgs) -> Result<(), Failure> {
    let client = Client::of_context(context, args.timeout).map_err(target::of_context)?;
    let request = proto::RevokeKeyRequest { name: args.name.to_string(), tenant: args.tenant.to_string() };
    let answer = client.call(request).await.map_err(target::of_client)?;
    output::note(&format!(
        "{} is revoked by revision {}: each node refuses it from the moment on which it has that active \
         (`quorate cluster status`)",
        args.name, answer.revision
    ));
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_of_a_cluster_are_a_table_without_secrets() {
        let key = proto::Key {
            name: "ci".into(),
            tenant: "acme".into(),
            agent: "builder".into(),
            prefix: "qk_aaaaaaaaaaaa".into(),
            scopes: vec!["a".into(), "b".into()],
            ..proto::Key::default()
        };

        let expected = "\
NAME  TENANT  AGENT    KEY              SCOPES  EXPIRES  LAST USED
ci    acme    builder  qk_aaaaaaaaaaaa  a b     never    -
";
        assert_eq!(table(&[key]), expected);
    }
}
