//! `quorate keys` and `quorate audit` as a shell sees them: output, files, messages and exit codes.
//!
//! Keys are looked up as a node would do it, in a table made of the document that was printed; logs are written by the
//! log of a node.
#![expect(clippy::unwrap_used, reason = "a step that fails in a helper is a failed test")]

use std::collections::BTreeSet;
use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt, chown, symlink};
use std::path::Path;
use std::process::{Command, Output};
use std::time::Duration;

use quorate_audit::{Audit, Config as LogConfig, Decision, Event, Origin, Who};
use quorate_identity::api_key::{Config, Keys, MacKey, Refused, Secret};
use quorate_types::{ResourceName, TenantId, Timestamp, rfc3339};

/// Before every end that a test gives a key.
const NOW: Timestamp = Timestamp::from_millis(1_000_000_000_000);

fn quorate(dir: &Path, arguments: &[&str]) -> Output {
    // No context of whoever runs this.
    Command::new(env!("CARGO_BIN_EXE_quorate"))
        .current_dir(dir)
        .env("HOME", dir)
        .env_remove("QUORATE_CONTEXT")
        .args(arguments)
        .output()
        .unwrap()
}

fn succeed(dir: &Path, arguments: &[&str]) -> (String, String) {
    let output = quorate(dir, arguments);
    let (stdout, stderr) = (text(&output.stdout), text(&output.stderr));
    assert!(output.status.success(), "{arguments:?}: {stderr}");
    (stdout, stderr)
}

fn fail(dir: &Path, arguments: &[&str], code: i32, message: &str) {
    let output = quorate(dir, arguments);
    let stderr = text(&output.stderr);
    assert_eq!(output.status.code(), Some(code), "{arguments:?}: {stderr}");
    assert!(stderr.contains(message), "{stderr}");
    assert!(output.stdout.is_empty() && !stderr.contains("qk_"), "nothing is handed out: {stderr}");
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8(bytes.to_vec()).unwrap()
}

/// The last line, which is the key.
fn key_of(stderr: &str) -> String {
    stderr.lines().find(|line| line.starts_with("qk_")).unwrap().to_owned()
}

/// The values of all lines that begin with a name, without quotes.
fn values<'a>(document: &'a str, name: &str) -> Vec<&'a str> {
    let lines = document.lines().filter_map(|line| line.trim_start_matches([' ', '-']).strip_prefix(name));
    lines.map(|value| value.trim_start_matches(": ").trim_matches('"')).collect()
}

/// The table that a node with the root key of `dir/data` would make of a document.
fn table(dir: &Path, document: &str) -> Keys {
    let name = ResourceName::new(values(document, "name")[0]).unwrap();
    let mut expires = values(document, "expires").into_iter();
    let secrets = values(document, "id").into_iter().zip(values(document, "hmac")).map(|(id, hmac)| Secret {
        id: id.parse().unwrap(),
        mac: hmac.parse().unwrap(),
        not_before: None,
        // Keys without an end stand last in these documents.
        expires: expires.next().map(|text| rfc3339::parse(text).unwrap()),
    });
    let (tenant, scopes, groups) = (TenantId::default(), BTreeSet::new(), BTreeSet::new());
    let config = Config { agent: name.clone(), name, tenant, scopes, groups, secrets: secrets.collect() };
    Keys::new(&[config], MacKey::of_root(&root(dir))).unwrap()
}

fn root(dir: &Path) -> [u8; 32] {
    let digits = fs::read_to_string(dir.join("data/root.key")).unwrap();
    let byte = |at: usize| u8::from_str_radix(&digits[2 * at..2 * at + 2], 16).unwrap();
    std::array::from_fn(byte)
}

#[test]
fn a_new_key_is_known_by_its_document_and_is_in_no_file() {
    let dir = tempfile::tempdir().unwrap();
    let arguments = ["keys", "new", "--name=ci", "--tenant=acme", "--agent=builder", "--scope=tools:read", "--scope=b"];
    let (document, stderr) = succeed(dir.path(), &[&arguments[..], &["--data-dir=data"]].concat());

    let key = key_of(&stderr);
    let id = &key[3..15];
    let hmac = values(&document, "hmac")[0];
    let expected = format!(
        "kind: ApiKey\nname: \"ci\"\ntenant: \"acme\"\nspec:\n  agent: \"builder\"\n  scopes: [\"tools:read\", \"b\"]\n  keys:\n    - id: \"{id}\"\n      hmac: \"{hmac}\"\n"
    );
    assert_eq!(document, expected);
    assert_eq!(table(dir.path(), &document).lookup(&key, NOW).map(|known| known.name), Ok("ci"));
    assert!(!document.contains(&key[16..]), "the secret is not in the document");
    assert_eq!(fs::read_dir(dir.path().join("data")).unwrap().count(), 1, "only the root key is there");
}

#[test]
fn a_key_goes_into_a_file_of_its_owner_that_was_not_there() {
    let dir = tempfile::tempdir().unwrap();
    let arguments = ["keys", "new", "--name=ci", "--data-dir=data", "--secret-out=key", "--expires=1h"];
    let (document, stderr) = succeed(dir.path(), &arguments);

    let key = fs::read_to_string(dir.path().join("key")).unwrap();
    assert_eq!(fs::metadata(dir.path().join("key")).unwrap().permissions().mode() & 0o777, 0o600);
    assert!(!stderr.contains("qk_"), "{stderr}");
    let keys = table(dir.path(), &document);
    assert!(keys.lookup(key.trim_end(), NOW).is_ok());
    assert_eq!(keys.lookup(key.trim_end(), Timestamp::from_millis(4_000_000_000_000)), Err(Refused::Expired));

    fail(dir.path(), &arguments, 1, "key is there already and is not replaced");
    assert_eq!(fs::read_to_string(dir.path().join("key")).unwrap(), key);
}

#[test]
fn rotation_keeps_the_old_key_for_a_while_and_its_file_whole() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("ci.yaml");
    let (document, stderr) = succeed(dir.path(), &["keys", "new", "--name=ci", "--data-dir=data"]);
    fs::write(&file, document).unwrap();
    fs::set_permissions(&file, fs::Permissions::from_mode(0o640)).unwrap();
    let old = key_of(&stderr);

    let arguments = ["keys", "rotate", "ci.yaml", "--key-file=data/root.key", "--overlap=1h", "--write"];
    let (stdout, stderr) = succeed(dir.path(), &arguments);
    let new = key_of(&stderr);

    assert_eq!(stdout, "");
    let document = fs::read_to_string(&file).unwrap();
    assert_eq!(fs::metadata(&file).unwrap().permissions().mode() & 0o777, 0o640);
    let keys = table(dir.path(), &document);
    assert!(keys.lookup(&old, NOW).is_ok() && keys.lookup(&new, NOW).is_ok());
    let later = Timestamp::from_millis(4_000_000_000_000);
    assert_eq!(keys.lookup(&old, later), Err(Refused::Expired));
    assert!(keys.lookup(&new, later).is_ok());
    assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 2, "no draft is left");
}

#[test]
fn rotation_keeps_the_owner_of_the_file_and_the_link_to_it() {
    let dir = tempfile::tempdir().unwrap();
    let (document, _) = succeed(dir.path(), &["keys", "new", "--name=ci", "--data-dir=data"]);
    fs::create_dir(dir.path().join("of-git")).unwrap();
    let file = dir.path().join("of-git/ci.yaml");
    fs::write(&file, &document).unwrap();
    symlink("of-git/ci.yaml", dir.path().join("ci.yaml")).unwrap();
    // Only root may give a file away; anybody else sees that it stays theirs.
    let is_root = fs::metadata(&file).unwrap().uid() == 0;
    if is_root {
        chown(&file, Some(4242), Some(4243)).unwrap();
    }
    fs::set_permissions(&file, fs::Permissions::from_mode(0o640)).unwrap();
    let before = fs::metadata(&file).unwrap();

    succeed(dir.path(), &["keys", "rotate", "ci.yaml", "--data-dir=data", "--write"]);

    assert!(fs::symlink_metadata(dir.path().join("ci.yaml")).unwrap().is_symlink());
    assert_ne!(fs::read_to_string(&file).unwrap(), document, "what the link points to has the new key");
    let after = fs::metadata(&file).unwrap();
    let whose = |file: &fs::Metadata| (file.uid(), file.gid(), file.mode() & 0o777);
    assert_eq!(whose(&after), whose(&before));
    assert_eq!(fs::read_dir(dir.path().join("of-git")).unwrap().count(), 1, "no draft is left");
}

#[test]
fn a_root_key_is_made_aloud_for_a_new_key_and_never_for_a_rotated_one() {
    let dir = tempfile::tempdir().unwrap();
    let (document, stderr) = succeed(dir.path(), &["keys", "new", "--name=ci", "--data-dir=data"]);
    let uid = fs::metadata(dir.path().join("data/root.key")).unwrap().uid();
    let said = format!("there was no root key: data/root.key was made and is that of user {uid} alone");
    assert!(stderr.contains(&said), "{stderr}");
    let (_, stderr) = succeed(dir.path(), &["keys", "new", "--name=cd", "--data-dir=data"]);
    assert!(!stderr.contains("root key"), "{stderr}");

    fs::write(dir.path().join("ci.yaml"), &document).unwrap();
    fail(
        dir.path(),
        &["keys", "rotate", "ci.yaml", "--write", "--data-dir=dta"],
        1,
        "there is no root key dta/root.key",
    );
    assert!(!dir.path().join("dta").exists());
    assert_eq!(fs::read_to_string(dir.path().join("ci.yaml")).unwrap(), document);
}

#[test]
fn a_file_with_more_than_the_document_is_not_replaced() {
    let dir = tempfile::tempdir().unwrap();
    let (document, _) = succeed(dir.path(), &["keys", "new", "--name=ci", "--data-dir=data"]);
    let commented = format!("# for the nightly build\n{document}");
    fs::write(dir.path().join("ci.yaml"), &commented).unwrap();

    let rotate = ["keys", "rotate", "ci.yaml", "--data-dir=data"];
    fail(dir.path(), &[&rotate[..], &["--write"]].concat(), 3, "ci.yaml: the file has comments");
    assert_eq!(fs::read_to_string(dir.path().join("ci.yaml")).unwrap(), commented);

    let (stdout, _) = succeed(dir.path(), &rotate);
    assert_eq!(values(&stdout, "id").len(), 2);
}

#[test]
fn what_makes_no_good_key_hands_out_none() {
    let dir = tempfile::tempdir().unwrap();
    fs::write(dir.path().join("open.key"), "ab".repeat(32)).unwrap();
    fs::set_permissions(dir.path().join("open.key"), fs::Permissions::from_mode(0o644)).unwrap();
    fs::write(dir.path().join("other.yaml"), "kind: Toolset\nname: ci\nspec: {servers: []}\n").unwrap();
    let cases: [(&[&str], i32, &str); 9] = [
        (&["new", "--name=ci"], 2, "name one with `--data-dir` or `--key-file`"),
        (&["new", "--name=CI", "--data-dir=data"], 2, "is not allowed"),
        (&["new", "--name=ci", "--data-dir=data", "--scope=a b"], 2, "a scope has 1 to 256"),
        (&["new", "--name=ci", "--data-dir=data", "--expires=0s"], 2, "must be longer than 0"),
        (&["new", "--name=ci", "--data-dir=data", "--expires=99999d"], 3, "is too late"),
        (
            &["new", "--name=ci", "--data-dir=data", "--expires=10ms"],
            3,
            "the key would be of no use: the API key is expired",
        ),
        (&["new", "--name=ci", "--key-file=none"], 1, "cannot read none"),
        (&["new", "--name=ci", "--key-file=open.key"], 1, "can be read by others"),
        (&["rotate", "other.yaml", "--data-dir=data"], 3, "there is no document of kind ApiKey"),
    ];
    for (arguments, code, message) in cases {
        fail(dir.path(), &[&["keys"], arguments].concat(), code, message);
    }
}

#[test]
fn documents_of_new_and_rotated_keys_are_valid_for_a_node() {
    let dir = tempfile::tempdir().unwrap();
    let new = ["keys", "new", "--name=ci", "--tenant=acme", "--agent=builder", "--scope=a", "--data-dir=data"];
    let (document, _) = succeed(dir.path(), &[&new[..], &["--expires=90d"]].concat());
    fs::write(dir.path().join("ci.yaml"), document).unwrap();
    succeed(dir.path(), &["validate", "-f", "ci.yaml"]);

    succeed(dir.path(), &["keys", "rotate", "ci.yaml", "--data-dir=data", "--write"]);
    succeed(dir.path(), &["validate", "-f", "ci.yaml"]);
}

/// A log of a node with some denials.
fn log(folder: &Path) {
    let (audit, _) = Audit::open(&LogConfig::new(folder.to_owned(), "n1")).unwrap();
    for tool in ["read", "\u{1b}[31mwrite"] {
        audit.record(Event::Denied(Decision {
            who: Who { tenant: Some(TenantId::default()), agent: Some("ci".into()), user: None },
            credential: None,
            action: "mcp:call".into(),
            resource: format!("tool files/{tool}").into(),
            policy: None,
            reason: "no policy allows it".into(),
            origin: Origin::default(),
        }));
    }
    assert!(audit.close(Duration::from_secs(20)));
}

#[test]
fn a_log_verifies_until_it_is_changed() {
    let dir = tempfile::tempdir().unwrap();
    log(&dir.path().join("audit"));

    let (stdout, _) = succeed(dir.path(), &["audit", "verify", "audit"]);
    assert!(stdout.starts_with("intact: 3 records in 1 file\n"), "{stdout}");
    assert!(stdout.contains("              2  denied\n"), "{stdout}");
    let last = stdout.lines().find(|line| line.trim_start().starts_with("last")).unwrap();
    let hash = last.split_whitespace().last().unwrap();
    succeed(dir.path(), &["audit", "verify", "audit", "--from", hash]);
    fail(dir.path(), &["audit", "verify", "audit", "--from", &"0a".repeat(32)], 8, "no record has the hash 0a0a");

    let segment = dir.path().join("audit/audit-00000000000000000001.jsonl");
    let changed = fs::read_to_string(&segment).unwrap().replacen("files/read", "files/list", 1);
    fs::write(&segment, changed).unwrap();
    fail(
        dir.path(),
        &["audit", "verify", "audit"],
        8,
        "the audit log is broken at audit/audit-00000000000000000001.jsonl:2: the record was changed",
    );
}

#[test]
fn what_is_no_log_does_not_verify() {
    let dir = tempfile::tempdir().unwrap();
    fail(dir.path(), &["audit", "verify", "."], 1, "there is no audit log in .");
    fail(dir.path(), &["audit", "verify", "none"], 1, "cannot read none");
    fail(dir.path(), &["audit", "verify", ".", "--from=ab"], 2, "64 hexadecimal digits");
}

#[test]
fn records_are_shown_without_steering_the_terminal() {
    let dir = tempfile::tempdir().unwrap();
    log(dir.path());

    let (stdout, _) = succeed(dir.path(), &["audit", "show", ".", "--last=1"]);
    let expected = "denied                tenant=default agent=ci action=mcp:call resource='tool files/\\u{1b}[31mwrite' reason='no policy allows it'\n";
    assert!(stdout.ends_with(expected), "{stdout}");
    let (stdout, _) = succeed(dir.path(), &["audit", "show", ".", "--kind=begun", "--kind=admin_change"]);
    assert!(stdout.lines().count() == 1 && stdout.contains("begun"), "{stdout}");
    fail(dir.path(), &["audit", "show", ".", "--kind=other"], 2, "possible values: denied");
    let (stdout, _) = succeed(dir.path(), &["audit", "show", ".", "--json"]);
    assert_eq!(stdout, fs::read_to_string(dir.path().join("audit-00000000000000000001.jsonl")).unwrap());
}
