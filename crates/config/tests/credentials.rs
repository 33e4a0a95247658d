//! Credentials of tool servers as documents say them: what comes out, and that a secret is shown nowhere.
//!
//! What is refused, and with which words, is in `documents/refused/credentials.yaml`.

use std::path::{Path, PathBuf};

use quorate_config::{ClientAuth, Connection, Credential, HttpConnection, ResourceSet, SecretSource, load};

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/documents/accepted")
}

fn set() -> ResourceSet {
    load(&[folder().join("credentials.yaml")]).unwrap_or_else(|errors| panic!("{errors}"))
}

fn http(set: &ResourceSet, name: &str) -> HttpConnection {
    let server = set.tool_servers().iter().find(|server| server.name.as_str() == name).expect("it is there");
    let Connection::Http(http) = &server.connection else { panic!("it has URLs") };
    http.clone()
}

#[test]
fn a_server_has_no_credential_unless_its_document_says_so() {
    let set = set();
    assert_eq!(http(&set, "open").credential, Credential::None);
    assert_eq!(HttpConnection { ..http(&set, "open") }, {
        let Connection::Http(default) = Connection::http(http(&set, "open").urls) else { panic!("it has URLs") };
        default
    });
}

#[test]
fn a_header_names_where_its_secret_is() {
    let set = set();

    let keyed = http(&set, "keyed");
    let Credential::Header(header) = &keyed.credential else { panic!("it is a header") };
    assert_eq!((header.name.as_str(), &header.scheme), ("x-api-key", &None));
    assert_eq!(header.value, SecretSource::Env("KEYED_API_KEY".to_owned()));
    let [team, agent] = &keyed.headers[..] else { panic!("two headers") };
    assert_eq!(team.value, SecretSource::File(folder().join("secrets/team")), "relative to the file");
    assert_eq!(agent.read().expect("it is there"), "agents-of-acme");

    let Credential::Header(token) = http(&set, "static-token").credential else { panic!("it is a header") };
    assert_eq!(token.read().expect("it is there"), "Bearer not-a-real-token");
}

#[test]
fn a_token_is_asked_for_as_the_document_says() {
    let set = set();

    let Credential::ClientCredentials(client) = http(&set, "files").credential else { panic!("it is a client") };
    assert_eq!((client.token_url.as_str(), client.client_id.as_str()), ("https://id.example/token", "quorate"));
    assert_eq!(client.client_secret, SecretSource::File(folder().join("secrets/files")));
    assert_eq!(client.scopes, ["files:read", "https://files.example/.default"]);
    assert_eq!(
        (client.audience.as_deref(), client.resource.as_deref()),
        (Some("files"), Some("https://files.example/mcp"))
    );
    assert_eq!((client.auth, client.tls_ca), (ClientAuth::Post, Some(folder().join("ca.pem"))));

    let Credential::ClientCredentials(local) = http(&set, "local-issuer").credential else { panic!("it is a client") };
    assert_eq!((local.auth, local.scopes.len(), local.tls_ca), (ClientAuth::Basic, 0, None));
}

#[test]
fn files_with_secrets_are_named_so_that_a_change_of_them_is_seen() {
    let named = set().named_files();
    for file in ["ca.pem", "secrets/files", "secrets/team"] {
        assert!(named.contains(&folder().join(file)), "{file} is not among {named:?}");
    }
}

#[test]
fn no_secret_is_shown_by_debug() {
    let shown = format!("{:#?}", set());
    assert!(!shown.contains("not-a-real"), "{shown}");
}
