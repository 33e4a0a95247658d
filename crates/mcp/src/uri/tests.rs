//! Routing of resource URIs, and its law with the way back.

use bytes::Bytes;
use proptest::prelude::*;
use quorate_types::Timestamp;

use super::*;
use crate::listing::{Collector, Config, Merge, ServerList, Source, merge};
use crate::naming::HiddenReason;

const NOW: Timestamp = Timestamp::from_millis(1_000);
const NAMES: [&str; 3] = ["docs", "files", "web"];

/// What a server lists: resources and templates.
type Listed = (Vec<String>, Vec<String>);

fn list(kind: ListKind, uris: &[String]) -> Arc<ServerList> {
    let items: Vec<String> = uris.iter().map(|uri| serde_json::json!({ kind.item_key(): uri }).to_string()).collect();
    let result = format!("{{\"{}\":[{}]}}", kind.result_key(), items.join(","));
    let config = Config::default();
    let mut collector = Collector::new(kind, &config);
    collector.push(NOW, &Bytes::from(result)).expect("a valid page");
    Arc::new(collector.finish())
}

/// A router of up to three servers, given what each lists: resources and templates.
fn router(naming: Naming, servers: &[(&[&str], &[&str])]) -> Router {
    let owned = |texts: &[&str]| texts.iter().map(|text| (*text).to_owned()).collect::<Vec<_>>();
    let servers: Vec<_> = servers.iter().map(|(uris, templates)| (owned(uris), owned(templates))).collect();
    router_of(naming, &servers)
}

fn router_of(naming: Naming, servers: &[Listed]) -> Router {
    let merged = |kind, texts: fn(&Listed) -> &[String]| {
        let source = |(index, server): (usize, &Listed)| Source {
            server: server_index(index),
            name: ResourceName::new(NAMES[index]).expect("a valid name"),
            list: list(kind, texts(server)),
        };
        let sources: Vec<Source> = servers.iter().enumerate().map(source).collect();
        let until = Timestamp::from_millis(u64::MAX);
        Arc::new(merge(&Merge {
            kind,
            naming,
            sources: &sources,
            fresh_until_max: until,
            router: None,
            curation: None,
            is_private: false,
        }))
    };
    let names: Vec<_> = (0..servers.len())
        .map(|index| (server_index(index), ResourceName::new(NAMES[index]).expect("a valid name")))
        .collect();
    let resources = merged(ListKind::Resources, |server| &server.0);
    let templates = merged(ListKind::ResourceTemplates, |server| &server.1);
    Router::new(naming, &names, resources, templates)
}

fn server_index(index: usize) -> ServerIndex {
    ServerIndex(u16::try_from(index).expect("a few servers"))
}

fn to(server: u16, uri: &str) -> Result<Route<'_>, UriTooLong> {
    Ok(Route::To { server: ServerIndex(server), uri })
}

fn ask(servers: &[u16]) -> Result<Route<'static>, UriTooLong> {
    Ok(Route::Ask(servers.iter().copied().map(ServerIndex).collect()))
}

#[test]
fn a_uri_goes_to_whoever_lists_it_then_matches_it_then_knows_its_kind() {
    let router = router(
        Naming::OnCollision,
        &[
            (&["test://static/a", "file:///a"], &["test://template/{id}/data"]),
            (&["test://other/b", "file:///b"], &["db://{table}/rows{?limit}", "note:{id}"]),
            (&["https://example.com/x"], &[]),
        ],
    );

    for (uri, expected) in [
        ("test://static/a", to(0, "test://static/a")),
        ("test://template/5/data", to(0, "test://template/5/data")),
        ("db://users/rows?limit=3", to(1, "db://users/rows?limit=3")),
        ("note:7", to(1, "note:7")),
        // Not listed, but of an authority that one server has, or of a scheme.
        ("test://other/c", to(1, "test://other/c")),
        ("test://template/5", to(0, "test://template/5")),
        ("test://third/x", ask(&[0, 1])),
        ("db://users/x", to(1, "db://users/x")),
        ("file:///c", ask(&[0, 1])),
        ("https://example.com/y", to(2, "https://example.com/y")),
        ("quorate://web/gopher://x", to(2, "gopher://x")),
        // Nobody knows.
        ("gopher://x", ask(&[0, 1, 2])),
        ("quorate://nobody/gopher://x", ask(&[0, 1, 2])),
        ("no uri at all", ask(&[0, 1, 2])),
        ("", ask(&[0, 1, 2])),
    ] {
        assert_eq!(router.route(uri), expected, "{uri}");
    }
    assert_eq!(router.route(&"x".repeat(URI_BYTES_MAX + 1)), Err(UriTooLong));
}

#[test]
fn a_uri_that_two_servers_list_is_reached_through_their_names() {
    let shared = "test://shared?a=b%20c#d";
    let router = router(Naming::Prefix, &[(&[shared, "test://own"], &[]), (&[shared], &[])]);
    let of_docs = format!("quorate://docs/{shared}");
    let of_files = format!("quorate://files/{shared}");

    assert_eq!(router.route(shared), Ok(Route::Ambiguous { alternatives: vec![&of_docs, &of_files] }));
    assert_eq!(router.route(&of_docs), to(0, shared));
    assert_eq!(router.route(&of_files), to(1, shared));
    assert_eq!(router.expose(ServerIndex(1), shared), of_files);
    assert_eq!(router.expose(ServerIndex(0), "test://own"), "test://own");
}

#[test]
fn expansions_of_a_template_that_two_servers_list_keep_their_server() {
    let template = "test://template/{id}/data";
    let router = router(Naming::OnCollision, &[(&[], &[template]), (&[], &[template])]);

    // What a client makes of the exposed template, with escapes of its own.
    let expanded = "quorate://files/test://template/a%20b/data";
    assert_eq!(router.route(expanded), to(1, "test://template/a%20b/data"));
    assert_eq!(router.route_reference("quorate://files/test://template/{id}/data"), to(1, template));
    assert_eq!(router.expose(ServerIndex(1), "test://template/5/data"), "quorate://files/test://template/5/data");
    assert_eq!(router.route("test://template/5/data"), ask(&[0, 1]));
    let ambiguous = router.route_reference(template);
    assert!(matches!(&ambiguous, Ok(Route::Ambiguous { alternatives }) if alternatives.len() == 2), "{ambiguous:?}");
}

#[test]
fn a_server_cannot_name_another_in_its_uris() {
    let victim = "quorate://docs/secret://x";
    let router = router(Naming::OnCollision, &[(&["secret://x"], &[]), (&[victim], &[])]);

    assert_eq!(router.route(victim), to(0, "secret://x"));
    assert_eq!(router.expose(ServerIndex(1), victim), format!("quorate://files/{victim}"));
    assert_eq!(router.route(&format!("quorate://files/{victim}")), to(1, victim));
}

#[test]
fn no_uri_of_a_server_takes_anothers_away() {
    // Found by `what_is_exposed_for_a_server_never_routes_to_one_other`: look-alikes of one server.
    let router =
        router(Naming::OnCollision, &[(&["a:x"], &[]), (&["a:\u{200b}x", "a:x", "quor\u{200b}ate://docs/a:x"], &[])]);

    let exposed: Vec<&str> = router.resources.entries().iter().map(|entry| &*entry.exposed).collect();
    let expected = [
        "quorate://docs/a:x",
        "quorate://files/a:\u{200b}x",
        "quorate://files/a:x",
        "quorate://files/quor\u{200b}ate://docs/a:x",
    ];
    assert_eq!(exposed, expected);
    assert_eq!(router.route("quorate://docs/a:x"), to(0, "a:x"));
}

#[test]
fn bare_rewrites_nothing_and_gives_a_uri_to_the_first_server() {
    let router = router(Naming::Bare, &[(&["test://x", "quorate://files/y"], &[]), (&["test://x"], &[])]);

    assert_eq!(router.route("test://x"), to(0, "test://x"));
    assert_eq!(router.route("quorate://files/y"), to(0, "quorate://files/y"));
    assert_eq!(router.expose(ServerIndex(1), "test://x"), "test://x");
    assert_eq!(router.expose(ServerIndex(0), "quorate://files/y"), "quorate://files/y");
}

#[test]
fn links_that_nobody_lists_stay_as_they_are() {
    let router = router(Naming::OnCollision, &[(&["https://a.example/x"], &[]), (&["https://b.example/x"], &[])]);

    assert_eq!(router.expose(ServerIndex(0), "https://c.example/x"), "https://c.example/x");
    assert_eq!(router.expose(ServerIndex(0), "https://b.example/y"), "https://b.example/y");
    // One that another server lists would be read there.
    assert_eq!(router.expose(ServerIndex(0), "https://b.example/x"), "quorate://docs/https://b.example/x");
}

#[test]
fn templates_that_cannot_be_matched_are_counted_and_harm_nobody() {
    let hostile = "{+a}x{+b}x{+c}x{+d}x{+e}x{+f}x{+g}x{+h}x{+i}x{+j}x";
    let router = router(Naming::OnCollision, &[(&[], &["bad{", hostile]), (&[], &["t://{id}"])]);

    assert_eq!(router.unmatchable(), 1);
    let uri = format!("t://{}", "x".repeat(8000));
    let route = router.route(&uri).expect("not too long");
    assert!(matches!(&route, Route::To { server: ServerIndex(1), .. }), "{route:?}");
}

#[test]
fn a_toolset_without_resources_asks_nobody() {
    assert_eq!(router(Naming::OnCollision, &[]).route("test://x"), ask(&[]));
}

fn servers() -> impl Strategy<Value = Vec<Listed>> {
    let uri = prop_oneof![
        "[ab]:[xy]",
        "[ab]://[xy]/[xy]",
        "(quorate|quor\u{200b}ate|QUORATE)://(docs|files)/[ab]:[xy]",
        "a:\u{200b}?x",
    ];
    let template =
        prop_oneof!["[ab]:\\{v\\}", "[ab]://\\{v\\}/[xy]", "\\{\\+v\\}y", "quorate://docs/\\{v\\}", "[ab]:x"];
    let server = (prop::collection::vec(uri, 0..5), prop::collection::vec(template, 0..3));
    prop::collection::vec(server, 0..3)
}

proptest! {
    #[test]
    fn rewriting_modes_hide_only_repetitions(servers in servers()) {
        for naming in [Naming::Prefix, Naming::OnCollision] {
            let router = router_of(naming, &servers);
            let hidden = router.resources.hidden().iter().chain(router.templates.hidden());
            prop_assert!(hidden.into_iter().all(|hidden| hidden.reason == HiddenReason::Duplicate));
        }
    }

    #[test]
    fn every_exposed_uri_routes_to_its_origin(servers in servers()) {
        for naming in [Naming::Bare, Naming::Prefix, Naming::OnCollision] {
            let router = router_of(naming, &servers);
            for entry in router.resources.entries() {
                let route = Route::To { server: entry.server, uri: &entry.upstream };
                prop_assert_eq!(router.route(&entry.exposed), Ok(route));
                prop_assert_eq!(router.listed(ListKind::Resources, entry.server, &entry.upstream), Some(entry));
                prop_assert_eq!(router.expose(entry.server, &entry.upstream), &*entry.exposed);
            }
            for entry in router.templates.entries() {
                let route = Route::To { server: entry.server, uri: &entry.upstream };
                prop_assert_eq!(router.route_reference(&entry.exposed), Ok(route));
                prop_assert_eq!(router.listed(ListKind::ResourceTemplates, entry.server, &entry.upstream), Some(entry));
            }
        }
    }

    #[test]
    fn what_is_exposed_for_a_server_never_routes_to_one_other(
        servers in servers(),
        uri in prop_oneof!["[ab]:[xy]", "[ab]://[xy]/[xy]", "quorate://(docs|files)/[ab]:[xy]", "[a-z:/]{0,9}"],
    ) {
        for naming in [Naming::Prefix, Naming::OnCollision] {
            let router = router_of(naming, &servers);
            for (index, _) in servers.iter().enumerate() {
                let exposed = router.expose(server_index(index), &uri);
                let listed = router.resources.entries().iter().any(|entry| entry.server == server_index(index) && *entry.upstream == *uri);
                match router.route(&exposed) {
                    Ok(Route::To { server, uri: routed }) if server == server_index(index) => prop_assert_eq!(routed, &uri),
                    // Of an authority or scheme that another server knows, and nobody lists or matches it.
                    Ok(Route::To { .. } | Route::Ask(_)) => {
                        prop_assert!(!listed && exposed == uri.as_str(), "{} {}", index, exposed);
                        prop_assert!(router.matching(&uri).is_empty());
                        prop_assert_eq!(router.resources.resolve(&uri), Resolution::Unknown);
                    }
                    other => prop_assert!(false, "{} {} {:?}", index, exposed, other),
                }
            }
        }
    }
}
