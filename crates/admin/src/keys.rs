//! `/keys`: the API keys of the node and when each was used last, for `quorate keys list`.
//!
//! A page of JSON per request, in the order of ids: `{"since", "keys": [{"id", "name", "tenant", "agent", "scopes",
//! "notBefore", "expires", "lastUsed"}], "next"}`. `since` is when the process began to look; `next` is there where more
//! keys are, and is asked for as `?after=NEXT`. No secret and no HMAC is in it.
//!
//! The admin address asks nobody who they are, and is often open to whoever scrapes metrics. Who holds which key is told to
//! programs of the node's own machine alone, by its address: a web page that was led here by a name of its own
//! (DNS rebinding) has that name in `Host`.

use std::net::IpAddr;

use http::header::HOST;
use http::uri::Authority;
use http::{HeaderMap, Uri};
use quorate_gateway::node::KeyObserved;
use quorate_identity::api_key::Id;
use quorate_types::{Timestamp, rfc3339};
use serde_json::{Value, json};

/// Keys of one page: with the most and longest scopes 4 MiB, usually 50 KB.
pub(crate) const PAGE_KEYS_MAX: usize = 256;

/// Tells whether a request comes from this machine, to an address of it.
pub(crate) fn is_local(peer: IpAddr, uri: &Uri, headers: &HeaderMap) -> bool {
    let host = || headers.get(HOST)?.to_str().ok()?.parse::<Authority>().ok();
    // HTTP/2 carries the host in `:authority`, which hyper puts into the URI.
    let authority = uri.authority().cloned().or_else(host);
    let is_address = |authority: Authority| {
        let host = authority.host();
        let literal = host.strip_prefix('[').and_then(|host| host.strip_suffix(']')).unwrap_or(host);
        literal.parse::<IpAddr>().is_ok() || host.eq_ignore_ascii_case("localhost")
    };
    peer.to_canonical().is_loopback() && authority.is_some_and(is_address)
}

/// Reads the query: the id after which to go on.
///
/// # Errors
/// What to say when it is another one.
pub(crate) fn after(query: Option<&str>) -> Result<Option<Id>, &'static str> {
    match query {
        None | Some("") => Ok(None),
        Some(query) => {
            let id = query.strip_prefix("after=").and_then(|id| id.parse().ok());
            id.map(Some).ok_or("the query may be after=ID, with the id of a key (12 characters of a-z and 2-7)\n")
        }
    }
}

/// Writes a page of keys, of which there is one more than fits if others follow.
pub(crate) fn page(mut keys: Vec<KeyObserved>, since: Timestamp) -> String {
    let has_more = keys.len() > PAGE_KEYS_MAX;
    keys.truncate(PAGE_KEYS_MAX);
    let mut page = json!({ "since": rfc3339::format(since), "keys": keys.iter().map(entry).collect::<Vec<_>>() });
    if let Some(last) = keys.last().filter(|_| has_more) {
        page["next"] = json!(last.id.to_string());
    }
    page.to_string()
}

fn entry(key: &KeyObserved) -> Value {
    let mut entry = json!({
        "id": key.id.to_string(), "name": key.name, "tenant": key.tenant.as_str(), "agent": key.agent, "scopes": key.scopes,
    });
    for (name, time) in [("notBefore", key.not_before), ("expires", key.expires), ("lastUsed", key.last_used)] {
        if let Some(time) = time {
            entry[name] = json!(rfc3339::format(time));
        }
    }
    entry
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use http::HeaderValue;
    use quorate_types::TenantId;

    use super::*;

    fn key(index: usize) -> KeyObserved {
        let digits = [index / 32, index % 32].map(|digit| char::from(b"abcdefghijklmnopqrstuvwxyz234567"[digit]));
        KeyObserved {
            id: format!("aaaaaaaaaa{}{}", digits[0], digits[1]).parse().expect("an id"),
            name: format!("key-{index}"),
            tenant: TenantId::default(),
            agent: "ci".to_owned(),
            scopes: BTreeSet::from(["tools:read".to_owned()]),
            not_before: None,
            expires: Some(Timestamp::from_millis(1_800_000_000_000)),
            last_used: (index == 0).then_some(Timestamp::from_millis(1_700_000_000_000)),
        }
    }

    #[test]
    fn only_programs_of_this_machine_see_keys_and_only_by_its_address() {
        let cases = [
            ("127.0.0.1", Some("127.0.0.1:4291"), true),
            ("127.0.0.9", Some("localhost:4291"), true),
            ("::1", Some("[::1]:4291"), true),
            ("::ffff:127.0.0.1", Some("127.0.0.1"), true),
            ("127.0.0.1", Some("rebound.example:4291"), false),
            ("127.0.0.1", Some("localhost.rebound.example"), false),
            ("127.0.0.1", Some("user@127.0.0.1"), true),
            ("127.0.0.1", Some(""), false),
            ("127.0.0.1", None, false),
            ("192.0.2.1", Some("127.0.0.1:4291"), false),
            ("::ffff:192.0.2.1", Some("localhost"), false),
        ];
        for (peer, host, expected) in cases {
            let mut headers = HeaderMap::new();
            headers.extend(host.map(|host| (HOST, HeaderValue::from_str(host).expect("a header"))));
            let peer = peer.parse().expect("an address");
            assert_eq!(is_local(peer, &Uri::from_static("/keys"), &headers), expected, "{peer} {host:?}");
        }
        let rebound = Uri::from_static("http://rebound.example/keys");
        assert!(!is_local("127.0.0.1".parse().expect("an address"), &rebound, &HeaderMap::new()));
    }

    #[test]
    fn a_page_says_where_the_next_begins_and_the_last_one_does_not() {
        let since = Timestamp::from_millis(1_600_000_000_000);
        let read = |page: String| serde_json::from_str::<Value>(&page).expect("JSON");

        let first = read(page((0..=PAGE_KEYS_MAX).map(key).collect(), since));
        assert_eq!(first["keys"].as_array().map(Vec::len), Some(PAGE_KEYS_MAX));
        assert_eq!(first["next"], first["keys"][PAGE_KEYS_MAX - 1]["id"]);
        assert_eq!(after(first["next"].as_str().map(|next| format!("after={next}")).as_deref()), Ok(Some(key(255).id)));

        let last = read(page(vec![key(0)], since));
        let expected = json!({ "since": "2020-09-13T12:26:40Z", "keys": [{
            "id": "aaaaaaaaaaaa", "name": "key-0", "tenant": "default", "agent": "ci", "scopes": ["tools:read"],
            "expires": "2027-01-15T08:00:00Z", "lastUsed": "2023-11-14T22:13:20Z",
        }]});
        assert_eq!(last, expected);
    }

    #[test]
    fn another_query_is_refused() {
        assert_eq!((after(None), after(Some(""))), (Ok(None), Ok(None)));
        for query in ["after=", "after=AAAAAAAAAAAA", "before=aaaaaaaaaaaa", "after=aaaaaaaaaaaa&x=1"] {
            assert!(after(Some(query)).is_err(), "{query}");
        }
    }
}
