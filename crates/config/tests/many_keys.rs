//! As many API keys as a set may have: they are read, told apart, and refused with their lines.

use std::fs;
use std::sync::Arc;

use quorate_config::{API_KEYS_MAX, Errors, FILE_BYTES_MAX, Loader, ResourceSet, Source, load, parse};

/// Documents of one file of a folder.
const PER_FILE: usize = 50;

/// An id that is another for each number.
fn id(number: usize) -> String {
    let digit = |place: u32| char::from(b"abcdefghijklmnopqrstuvwxyz234567"[(number >> (5 * place)) % 32]);
    (0..12).rev().map(digit).collect()
}

/// What `quorate keys new` writes, with all that it can say.
fn document(number: usize) -> String {
    let (id, hmac) = (id(number), format!("{number:064x}"));
    format!(
        "kind: ApiKey\nname: \"key-{number}\"\ntenant: \"tenant-{}\"\nspec:\n  agent: \"agent-{number}\"\n  \
         scopes: [\"tools:read\", \"tools:call\"]\n  keys:\n    - id: \"{id}\"\n      hmac: \"{hmac}\"\n      \
         expires: \"2027-02-24T07:02:04Z\"\n",
        number % 100,
    )
}

/// The same in JSON, which is read faster, without what may be left out.
fn short_document(number: usize) -> String {
    let (id, hmac) = (id(number), format!("{number:064x}"));
    format!(r#"{{"kind":"ApiKey","name":"key-{number}","spec":{{"keys":[{{"id":"{id}","hmac":"{hmac}"}}]}}}}"#)
}

fn read(text: String) -> Result<ResourceSet, Errors> {
    parse(&[Source { file: "keys.json".into(), text }])
}

#[test]
fn a_file_with_the_most_api_keys_beside_others_is_read() {
    let longest = document(API_KEYS_MAX - 1).len() + "---\n".len();
    assert!((longest * API_KEYS_MAX) as u64 <= FILE_BYTES_MAX.0, "{longest} bytes each");
    let mut text: String = (0..API_KEYS_MAX).map(short_document).collect();
    text.push_str(r#"{"kind": "ToolServer", "name": "a", "spec": {"urls": ["http://127.0.0.1/"]}}"#);

    let set = read(text).expect("it is accepted");

    assert_eq!((set.api_keys().len(), set.tool_servers().len()), (API_KEYS_MAX, 1));
    let last = set.api_keys().iter().find(|one| one.name.as_str() == "key-99999").expect("it is there");
    assert_eq!((&*last.secrets[0].id, last.secrets[0].mac[30..].to_vec()), (&*id(99_999), vec![0x86, 0x9f]));
}

#[test]
fn one_api_key_more_is_refused_and_not_looked_at() {
    // Each of them is wrong, too.
    let errors = read(r#"{"kind":"ApiKey"}"#.repeat(API_KEYS_MAX + 1)).expect_err("it is refused");

    let first = errors.problems()[0].to_string();
    assert_eq!(first, "the set has 100001 documents with API keys, the most allowed is 100000");
    let of = |document| errors.problems().iter().filter(|one| one.place.document == Some(document)).count();
    assert_eq!((of(API_KEYS_MAX) > 0, of(API_KEYS_MAX + 1)), (true, 0));
}

#[test]
fn what_is_wrong_with_a_few_of_many_keys_in_a_folder_is_told_with_their_lines() {
    let folder = tempfile::tempdir().expect("a folder");
    for file in 0..10 {
        let numbers = file * PER_FILE..(file + 1) * PER_FILE;
        let mut text: String = numbers.map(|number| format!("---\n{}", document(number))).collect();
        if file == 7 {
            // A name, and the id of a key, that the first file has.
            text = text.replacen("name: \"key-370\"", "name: \"key-3\"", 1).replacen(&id(380), &id(4), 1);
        }
        fs::write(folder.path().join(format!("{file}.yaml")), text).expect("writes");
    }

    let errors = load(&[folder.path().to_path_buf()]).expect_err("it is refused").to_string();

    let at = |file: usize| folder.path().join(format!("{file}.yaml")).display().to_string();
    let expected = [
        format!(
            "{}:223 (document 21) ApiKey/key-3: name: there is already a ApiKey named \"key-3\", in {}:35 (document 4) \
             ApiKey/key-3",
            at(7),
            at(0)
        ),
        format!(
            "{}:339 (document 31) ApiKey/key-380: spec.keys[0].id: {:?} is already at spec.keys[0].id of ApiKey \
             \"key-4\"",
            at(7),
            id(4)
        ),
    ];
    assert_eq!(errors.lines().collect::<Vec<_>>(), expected);
}

#[test]
fn a_loader_says_what_a_first_load_would_and_looks_only_at_files_that_changed() {
    let folder = tempfile::tempdir().expect("a folder");
    let paths = [folder.path().to_path_buf()];
    let write = |name: &str, numbers: std::ops::Range<usize>| {
        let text: String = numbers.map(|number| format!("---\n{}", document(number))).collect();
        fs::write(folder.path().join(name), text).expect("writes");
    };
    let mut loader = Loader::default();
    let mut check = |what: &str| {
        let loaded = loader.load(&paths);
        assert_eq!(loaded, load(&paths), "{what}");
        loaded
    };
    write("a.yaml", 0..20);
    write("b.yaml", 20..40);
    let first = check("at first").expect("it is valid");

    write("b.yaml", 20..39);
    let second = check("a key less").expect("it is valid");
    let kept = |key: &Arc<_>| first.api_keys().iter().any(|other| Arc::ptr_eq(key, other));
    assert_eq!((second.api_keys().len(), second.api_keys().iter().filter(|key| kept(key)).count()), (39, 20));
    assert_eq!(first.difference(&second).removed, ["ApiKey/key-39"]);

    write("b.yaml", 19..39);
    check("a name twice, in one file that is known and one that is not").expect_err("it is refused");
    check("the same again, both files known").expect_err("it is refused");
    fs::write(folder.path().join("b.yaml"), "kind: ApiKey\nname: Wrong\n").expect("writes");
    check("a file with a problem").expect_err("it is refused");
    check("the same again").expect_err("it is refused");
    fs::rename(folder.path().join("a.yaml"), folder.path().join("c.yaml")).expect("renames");
    write("b.yaml", 40..60);
    let last = check("a file under another name").expect("it is valid");
    assert_eq!(last.api_keys().len(), 40);
    fs::remove_file(folder.path().join("c.yaml")).expect("removes");
    check("a file less").expect("it is valid");
}

/// Documents beyond the bound are counted only. A file of them was taken as known without them once there was room.
#[test]
fn what_was_counted_only_is_read_once_there_is_room_for_it() {
    const EACH: usize = 6_000;
    let folder = tempfile::tempdir().expect("a folder");
    let write = |file: &str, names: std::ops::Range<usize>| {
        let documents = names.map(|number| format!(r#"{{"kind":"Tenant","name":"t-{number}","spec":{{}}}}"#));
        fs::write(folder.path().join(file), documents.collect::<String>()).expect("writes");
    };
    let (mut loader, paths) = (Loader::default(), [folder.path().to_path_buf()]);
    write("a.json", 0..EACH);
    write("b.json", EACH..2 * EACH);
    loader.load(&paths).expect_err("there are too many");

    write("a.json", 0..1);

    assert_eq!(loader.load(&paths).expect("they fit").tenants().len(), EACH + 1);
}
