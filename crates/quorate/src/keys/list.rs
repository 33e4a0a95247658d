//! `quorate keys list`: the API keys of a running node, from its admin address, page by page.
//!
//! What a node says goes in, a table or one JSON object comes out. When a key was last used is known since the node was
//! started, which is said with it: a key that looks unused may be one that nobody has used since.

use std::net::SocketAddr;
use std::time::Duration;

use bytes::Bytes;
use http::{Request, StatusCode};
use http_body_util::Full;
use quorate_http::client::{self, Client};
use quorate_identity::api_key::{Id, KEYS_MAX, PREFIX};
use quorate_tls::{ClientOptions, ClientTls};
use serde::{Deserialize, Serialize};

use crate::cli::keys::ListArgs;
use crate::exit::{Exit, Failure};
use crate::output;

/// The largest page: twice the most that a node makes of the longest scopes.
const PAGE_BYTES_MAX: usize = 8 << 20;
/// How long a page may take.
const PATIENCE: Duration = Duration::from_secs(10);

/// Where `quorate up` has its admin address.
const ADMIN: SocketAddr = SocketAddr::new(std::net::IpAddr::V4(std::net::Ipv4Addr::LOCALHOST), 4291);

const TITLES: [&str; 7] = ["NAME", "TENANT", "AGENT", "KEY", "SCOPES", "EXPIRES", "LAST USED"];

/// A page of a node, and all of them together.
#[derive(Debug, Deserialize, Serialize)]
struct Page {
    since: String,
    keys: Vec<Key>,
    #[serde(skip_serializing_if = "Option::is_none")]
    next: Option<String>,
}

#[derive(Debug, Deserialize, Serialize)]
#[serde(rename_all = "camelCase")]
struct Key {
    id: String,
    name: String,
    tenant: String,
    agent: String,
    scopes: Vec<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    not_before: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    expires: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    last_used: Option<String>,
}

/// Runs the command.
///
/// # Errors
/// [`Failure`] when no node answers at the address, or not with keys.
pub(super) async fn run(args: &ListArgs) -> Result<(), Failure> {
    let mut all = fetch(args.admin.unwrap_or(ADMIN)).await?;
    all.keys.sort_by(|a, b| (&a.tenant, &a.name, &a.id).cmp(&(&b.tenant, &b.name, &b.id)));
    if args.json {
        let json = serde_json::to_string(&all).expect("texts and lists are JSON");
        return output::print(&json);
    }
    output::note(&format!("last use is known since {}, when the node was started", output::visible(&all.since)));
    output::print(&output::visible(&table(&all.keys)))
}

/// Asks for all pages.
async fn fetch(admin: SocketAddr) -> Result<Page, Failure> {
    let nobody = ClientOptions { native_roots: false, extra_roots: None };
    let tls = ClientTls::load(&nobody).map_err(|error| Failure::new(Exit::Failure, error.to_string()))?;
    let client = Client::new(&client::Config { head_timeout: PATIENCE, ..client::DEFAULTS }, tls);
    let mut all = page(&client, admin, None).await?;
    while let Some(after) = all.next.take() {
        let next = page(&client, admin, Some(&after)).await?;
        // Ids are not in the order of their letters.
        let first = next.keys.first().and_then(|key| key.id.parse::<Id>().ok());
        let goes_on = first.zip(after.parse().ok()).is_some_and(|(first, after)| first > after);
        if !goes_on || all.keys.len() > KEYS_MAX {
            return Err(Failure::new(Exit::Failure, format!("http://{admin}/keys does not come to an end")));
        }
        all.keys.extend(next.keys);
        all.next = next.next;
    }
    Ok(all)
}

async fn page(client: &Client, admin: SocketAddr, after: Option<&str>) -> Result<Page, Failure> {
    let query = after.map(|after| format!("?after={after}")).unwrap_or_default();
    let url = format!("http://{admin}/keys{query}");
    let failed = |exit, what: &str| {
        Failure::new(exit, format!("{url}: {what}")).advise("name the node's `--admin` address, on its own machine")
    };
    let request = Request::get(&url).body(Full::<Bytes>::default());
    let request = request.map_err(|error| failed(Exit::Usage, &error.to_string()))?;
    let response = client.send(request).await.map_err(|error| failed(Exit::Unreachable, &error.to_string()))?;
    let status = response.status();
    let body = quorate_http::collect(response.into_body(), PAGE_BYTES_MAX, PATIENCE).await;
    let body = body.map_err(|error| failed(Exit::Failure, &error.to_string()))?;
    if status != StatusCode::OK {
        let said = output::first_line(&String::from_utf8_lossy(&body), 200);
        return Err(failed(Exit::Refused, &format!("{status}: {said}")));
    }
    serde_json::from_slice(&body).map_err(|error| failed(Exit::Failure, &format!("no list of keys: {error}")))
}

/// Writes a line per key, in columns.
fn table(keys: &[Key]) -> String {
    let optional = |text: &Option<String>, none: &str| text.clone().unwrap_or_else(|| none.to_owned());
    let row = |key: &Key| {
        let scopes = if key.scopes.is_empty() { "-".to_owned() } else { key.scopes.join(" ") };
        let id = format!("{PREFIX}{}", key.id);
        let (expires, last_used) = (optional(&key.expires, "never"), optional(&key.last_used, "-"));
        [key.name.clone(), key.tenant.clone(), key.agent.clone(), id, scopes, expires, last_used]
    };
    let rows: Vec<[String; TITLES.len()]> =
        std::iter::once(TITLES.map(str::to_owned)).chain(keys.iter().map(row)).collect();
    let width = |at: usize| rows.iter().map(|row| row[at].chars().count()).max().unwrap_or_default();
    let widths: [usize; TITLES.len()] = std::array::from_fn(width);
    let line = |row: &[String; TITLES.len()]| {
        let cells = row.iter().zip(widths).map(|(cell, width)| format!("{cell:<width$}")).collect::<Vec<_>>();
        format!("{}\n", cells.join("  ").trim_end())
    };
    rows.iter().map(line).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_are_a_table_for_people() {
        let page = r#"{"since":"S","keys":[
            {"id":"aaaaaaaaaaaa","name":"ci","tenant":"acme","agent":"builder","scopes":["a","b"],"expires":"E","lastUsed":"L"},
            {"id":"bbbbbbbbbbbb","name":"nightly","tenant":"default","agent":"nightly","scopes":[]}]}"#;
        let page: Page = serde_json::from_str(page).unwrap();

        let expected = "\
NAME     TENANT   AGENT    KEY              SCOPES  EXPIRES  LAST USED
ci       acme     builder  qk_aaaaaaaaaaaa  a b     E        L
nightly  default  nightly  qk_bbbbbbbbbbbb  -       never    -
";
        assert_eq!(table(&page.keys), expected);
    }
}
