//! Documents of a cluster: files make the same set with and without a catalog in between, and the same errors.
//!
//! The catalog in between is a real one: commands are applied to it, and its documents are compiled.

use std::path::{Path, PathBuf};

use proptest::prelude::*;
use prost::Message as _;
use quorate_catalog::{Catalog, StageId, commands, outcome, proto};
use quorate_config::{Compiler, Document, Errors, Reason, ResourceSet, Source, document, load, parse};
use quorate_types::Timestamp;

const NOW: Timestamp = Timestamp::from_millis(1_800_000_000_000);
/// Where nodes put the files that documents bring with them.
const FOLDER: &str = "/var/lib/quorate/inline";

/// An API that can be offered.
const API: &str = r#"{"openapi": "3.1.0", "info": {"title": "b", "version": "1"}, "paths": {"/a": {"get": {
    "operationId": "a", "responses": {"200": {"description": "fine"}}}}}}"#;

/// A catalog of a cluster of one node.
fn catalog() -> Catalog {
    let node = proto::NewNode {
        name: "one".to_owned(),
        peer_address: "one.example:4192".to_owned(),
        level_min: 1,
        level_max: 1,
        ..proto::NewNode::default()
    };
    let bootstrap = proto::Bootstrap { cluster: vec![7; 16].into(), level: 1, node: Some(node), ..Default::default() };
    let mut catalog = Catalog::default();
    let command = proto::Command { level: 1, kind: Some(proto::command::Kind::Bootstrap(bootstrap)) };
    outcome(&catalog.apply(NOW, &command.encode_to_vec()).outcome).expect("there was no cluster");
    catalog
}

/// Puts documents into a catalog.
fn put(catalog: &mut Catalog, documents: &[Document]) {
    let upsert = |document: &Document| proto::Upsert {
        key: Some(document.key.to_proto()),
        labels: Vec::new(),
        content: document.content.clone(),
    };
    let apply = proto::Apply { upserts: documents.iter().map(upsert).collect(), ..proto::Apply::default() };
    for command in commands(1, apply, StageId([1; 16])) {
        outcome(&catalog.apply(NOW, &command.encode_to_vec()).outcome).unwrap_or_else(|refusal| panic!("{refusal}"));
    }
}

fn compiled(documents: &[Document]) -> Result<ResourceSet, Errors> {
    let mut catalog = catalog();
    put(&mut catalog, documents);
    Compiler::new(FOLDER.into()).compile(catalog.documents()).map(|compiled| compiled.resources)
}

fn texts(errors: &Errors) -> Vec<String> {
    errors.problems().iter().map(ToString::to_string).collect()
}

/// Documents of a text that names no files beside it.
fn documents(text: &str) -> Result<Vec<Document>, Errors> {
    document::of_sources(&[Source { file: "mesh.yaml".into(), text: text.to_owned() }])
}

#[test]
fn every_example_makes_the_same_set_in_a_cluster() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/documents/accepted");
    let mut seen = 0;
    for entry in std::fs::read_dir(folder).expect("the folder is there") {
        let file = entry.expect("is readable").path();
        // Absolute paths, and no texts of files: what is left is the same in both.
        let folder = file.parent().expect("it is in one").display().to_string();
        let text = std::fs::read_to_string(&file).expect("it is readable");
        let absolute = absolute(&text, &folder);
        let source = Source { file: file.clone(), text: absolute };
        let expected = parse(std::slice::from_ref(&source)).unwrap_or_else(|errors| panic!("{errors}"));

        let documents = document::of_sources(&[source]).unwrap_or_else(|errors| panic!("{}: {errors}", file.display()));
        let compiled = compiled(&documents).unwrap_or_else(|errors| panic!("{}: {errors}", file.display()));

        assert!(compiled == expected, "{}: {:?}", file.display(), expected.difference(&compiled));
        seen += 1;
    }
    assert!(seen >= 5, "{seen}");
}

/// Makes the relative paths of the examples absolute.
fn absolute(text: &str, folder: &str) -> String {
    let paths = ["tls/", "secrets/", "tools/", "keys/jwks", "ca.pem", "shop.yaml", "work\n"];
    let mut text = text.to_owned();
    for path in paths {
        for before in [" ", "[", "file:"] {
            text = text.replace(&format!("{before}{path}"), &format!("{before}{folder}/{path}"));
        }
    }
    text
}

#[test]
fn what_files_name_beside_them_is_taken_along() {
    let folder = tempfile::tempdir().expect("a folder");
    let write = |name: &str, text: &str| std::fs::write(folder.path().join(name), text).expect("writes");
    write("ca.pem", "the authority");
    write("api.json", API);
    write("prod.pem", "the bundle");
    write(
        "mesh.yaml",
        "{kind: ToolServer, name: a, spec: {urls: [\"https://a.example/mcp\"], tls: {ca: ca.pem}}}\n---\n\
         {kind: ToolServer, name: b, spec: {openapi: {document: api.json, server: \"https://b.example\"}}}\n---\n\
         {kind: Issuer, name: c, spec: {spiffe: {trustDomain: prod.example, bundle: [prod.pem, /etc/other.pem]}}}\n",
    );
    let files = load(&[folder.path().join("mesh.yaml")]).unwrap_or_else(|errors| panic!("{errors}"));
    let documents = document::read(&[folder.path().join("mesh.yaml")]).unwrap_or_else(|errors| panic!("{errors}"));
    drop(folder);

    let mut catalog = catalog();
    put(&mut catalog, &documents);
    let mut compiler = Compiler::new(FOLDER.into());
    let compiled = compiler.compile(catalog.documents()).unwrap_or_else(|errors| panic!("{errors}"));

    assert_eq!(compiled.resources.named_files().len(), files.named_files().len());
    let texts: Vec<(&str, &str)> = compiled
        .files
        .iter()
        .map(|file| (file.path.to_str().expect("it is text").split_once('-').expect("its name").1, file.text.as_str()))
        .collect();
    for expected in [("ca.pem", "the authority"), ("api.json", API), ("prod.pem", "the bundle")] {
        assert!(texts.contains(&expected), "{expected:?} of {texts:?}");
    }
    assert_eq!(texts.len(), 3);
    let named = compiled.resources.named_files();
    assert!(compiled.files.iter().all(|file| named.contains(&file.path)), "{named:?}");
    assert!(named.contains(&PathBuf::from("/etc/other.pem")), "what is absolute stays a path on each node");
    // Known documents bring the same.
    let again = compiler.compile(catalog.documents()).unwrap_or_else(|errors| panic!("{errors}"));
    assert_eq!((again.files, again.resources), (compiled.files, compiled.resources));
}

#[test]
fn what_only_one_node_has_is_refused_with_its_line() {
    let refused = |spec: &str, line: usize, path: &str| {
        let errors = documents(spec).expect_err(spec);
        let found = errors.problems().iter().find(|problem| problem.path == path);
        let found = found.unwrap_or_else(|| panic!("{path}: {errors}"));
        assert_eq!(found.place.line, Some(line), "{errors}");
        assert!(found.reason.to_string().contains("in a cluster a path must be absolute"), "{errors}");
    };
    let listener =
        "kind: Listener\nname: a\nspec:\n  address: 127.0.0.1:1\n  tls:\n    certificate: /a\n    key: key.pem\n";
    refused(listener, 7, "spec.tls.key");
    let server =
        "kind: ToolServer\nname: a\nspec:\n  urls: [\"http://127.0.0.1/\"]\n  headers:\n    x-key: file:token\n";
    refused(server, 6, "spec.headers[\"x-key\"]");
    refused("kind: ToolServer\nname: a\nspec:\n  stdio:\n    command: [./run]\n", 5, "spec.stdio.command[0]");
    refused("kind: ToolServer\nname: a\nspec:\n  stdio:\n    command: [run]\n    folder: x\n", 6, "spec.stdio.folder");
    for fine in [
        "{kind: ToolServer, name: a, spec: {urls: [\"http://127.0.0.1/\"], headers: {x-key: \"env:TOKEN\"}}}",
        "{kind: ToolServer, name: a, spec: {stdio: {command: [run, ./relative]}}}",
    ] {
        documents(fine).unwrap_or_else(|errors| panic!("{errors}"));
    }
}

#[test]
fn a_file_that_is_not_there_or_too_large_is_told_where_it_is_named() {
    let folder = tempfile::tempdir().expect("a folder");
    std::fs::write(folder.path().join("large.yaml"), "a".repeat(quorate_config::inline::TEXT_BYTES_MAX + 1))
        .expect("writes");
    let of = |name: &str| {
        let text = format!("kind: ToolServer\nname: a\nspec:\n  openapi:\n    document: {name}\n");
        let errors = document::of_sources(&[Source { file: folder.path().join("mesh.yaml"), text }]).expect_err(name);
        let problem = errors.problems()[0].clone();
        assert_eq!((problem.place.line, problem.path.as_str()), (Some(5), "spec.openapi.document"), "{errors}");
        problem.reason
    };

    assert!(matches!(of("absent.yaml"), Reason::Unreadable { .. }));
    assert!(matches!(of("large.yaml"), Reason::TooMuch { max, .. } if max == "229376 bytes"));
}

#[test]
fn an_api_that_cannot_be_offered_is_found_before_anybody_runs_it() {
    let with = |text: &str| {
        let text = serde_json::to_string(&format!("inline:api.json\n{text}")).expect("it is text");
        format!("{{kind: ToolServer, name: b, spec: {{openapi: {{document: {text}, server: \"https://b.example\"}}}}}}")
    };
    assert!(compiled(&documents(&with(API)).expect("it is one")).is_ok());

    let errors = compiled(&documents(&with("{\"openapi\": \"2.0\"}")).expect("it is one")).expect_err("it is no API");

    let first = &errors.problems()[0];
    assert_eq!((first.path.as_str(), first.place.name.as_deref()), ("spec.openapi.document", Some("b")), "{errors}");
}

#[test]
fn errors_name_the_document_and_what_is_allowed_also_across_documents() {
    let text = "{kind: Toolset, name: t, spec: {servers: [filse]}}\n---\n\
                {kind: ToolServer, name: files, spec: {urls: [\"http://127.0.0.1/\"]}}\n---\n\
                {kind: ToolServer, name: files, tenant: acme, spec: {urls: [\"http://127.0.0.1/\"]}}";
    let documents = documents(text).unwrap_or_else(|errors| panic!("{errors}"));
    let errors = compiled(&documents).expect_err("a link leads nowhere");

    assert_eq!(
        texts(&errors),
        [
            "ToolServer/files: name: there is already a ToolServer named \"files\", in ToolServer/files",
            "Toolset/t: spec.servers[0]: there is no ToolServer \"filse\" (did you mean \"files\"?); there are: files",
        ]
    );
    let from = errors.from_origins(|place| (place.name.as_deref() == Some("t")).then(|| "mesh.yaml:1".into()));
    assert!(texts(&from)[1].starts_with("mesh.yaml:1 Toolset/t: spec.servers[0]: "), "{from}");
}

#[test]
fn what_arrives_is_one_document_or_refused_with_what_is_wrong() {
    let of = |json: &str| Document::of_json(json.as_bytes(), "mesh.yaml:7");
    let document = of(r#"{"spec": {"servers": ["a"]}, "tenant": "default", "kind": "Toolset", "name": "t"}"#);
    let document = document.unwrap_or_else(|errors| panic!("{errors}"));
    assert_eq!(document.key.to_string(), "Toolset/default/t");
    assert_eq!(&document.content[..], br#"{"kind":"Toolset","name":"t","spec":{"servers":["a"]}}"#);
    let shown = Document::for_people(&document.content).expect("it is JSON").to_string();
    assert_eq!(shown, r#"{"kind":"Toolset","name":"t","spec":{"servers":["a"]}}"#);

    for (json, expected) in [
        ("", "has 0 JSON values"),
        ("{} {}", "has 2 JSON values"),
        ("[", "is not valid JSON"),
        ("[]", "kind: is missing"),
        (r#"{"kind": "Tolset", "name": "t", "spec": {}}"#, "did you mean \"Toolset\"?"),
        (r#"{"kind": "Toolset", "name": "T", "spec": {}}"#, "name: \"T\" is not valid"),
        (r#"{"kind": "Toolset", "name": "t", "tenant": 7, "spec": {}}"#, "tenant: expected a text, found 7"),
        (r#"{"kind": "Toolset", "kind": "Toolset", "name": "t", "spec": {}}"#, "kind"),
    ] {
        let errors = of(json).expect_err(json);
        let text = errors.to_string();
        assert!(text.contains(expected) && text.starts_with("mesh.yaml:7"), "{json}: {text}");
    }
}

#[test]
fn a_document_under_another_key_is_refused() {
    let mut documents = documents("{kind: Toolset, name: t, spec: {servers: [a]}}").expect("it is one");
    documents[0].key = quorate_catalog::DocumentKey::new("Toolset", "acme", "t").expect("it is a key");
    let errors = compiled(&documents).expect_err("the key is another");
    assert!(
        errors.to_string().contains("the document of Toolset/acme/t says that it is Toolset/default/t"),
        "{errors}"
    );
}

#[test]
fn a_change_of_one_document_is_seen_and_one_that_is_gone_is_forgotten() {
    let of = |text: &str| documents(text).unwrap_or_else(|errors| panic!("{errors}"));
    let server = |name: &str, port: u16| {
        format!("{{kind: ToolServer, name: {name}, spec: {{urls: [\"http://127.0.0.1:{port}/\"]}}}}")
    };
    let mut compiler = Compiler::new(FOLDER.into());
    let mut catalog = catalog();
    put(&mut catalog, &of(&format!("{}\n---\n{}", server("a", 1), server("b", 1))));
    let first = compiler.compile(catalog.documents()).expect("it is valid").resources;

    put(&mut catalog, &of(&server("a", 2)));
    let second = compiler.compile(catalog.documents()).expect("it is valid").resources;

    assert_eq!(first.difference(&second).changed, ["ToolServer/a"]);
    let none = compiler.compile(&std::collections::BTreeMap::new()).expect("nothing is valid").resources;
    assert!(none.tool_servers().is_empty());
    assert_eq!(compiler.compile(catalog.documents()).expect("it is valid").resources, second);
}

/// Servers, toolsets over them, keys and policies: links resolve, spellings differ.
fn sets() -> impl Strategy<Value = String> {
    let server = (0..4_u8, 1..5_u16, prop::bool::ANY, prop::option::of("[ -~\u{e4}\u{1f600}]{1,20}"));
    let servers = prop::collection::vec(server, 1..6);
    (servers, prop::bool::ANY, prop::collection::vec(0..100_u64, 0..4)).prop_map(|(servers, json, keys)| {
        let mut documents = Vec::new();
        let count = servers.len();
        for (index, (era, port, tenant, header)) in servers.into_iter().enumerate() {
            let era = ["auto", "legacy", "modern", "auto"][usize::from(era)];
            let mut spec = serde_json::json!({ "urls": [format!("http://127.0.0.1:{port}/")], "era": era });
            if let Some(header) = header.filter(|text| text.is_ascii() && !text.starts_with(['e', 'f', ' '])) {
                spec["headers"] = serde_json::json!({ "x-key": header });
            }
            let mut document = serde_json::json!({ "kind": "ToolServer", "name": format!("s{index}"), "spec": spec });
            if tenant {
                document["tenant"] = "default".into();
            }
            documents.push(document);
        }
        let members: Vec<String> = (0..count).map(|index| format!("s{index}")).collect();
        documents.push(serde_json::json!({ "spec": { "servers": members }, "name": "all", "kind": "Toolset" }));
        for (index, key) in keys.into_iter().enumerate() {
            let id: String = (0..12)
                .map(|place| char::from(b'a' + u8::try_from((key + place + index as u64) % 26).expect("small")))
                .collect();
            let keys = serde_json::json!([{ "id": id, "hmac": format!("{key:064x}") }]);
            documents
                .push(serde_json::json!({ "kind": "ApiKey", "name": format!("k{index}"), "spec": { "keys": keys } }));
        }
        let texts = documents.iter().map(|document| {
            if json { serde_json::to_string_pretty(document) } else { serde_json::to_string(document) }
                .expect("it is JSON")
        });
        texts.collect::<Vec<_>>().join("\n---\n")
    })
}

proptest! {
    // Each case has a catalog of its own.
    #![proptest_config(ProptestConfig::with_cases(48))]

    #[test]
    fn files_and_documents_make_the_same_set(text in sets()) {
        let source = Source { file: "mesh.yaml".into(), text };
        let expected = parse(std::slice::from_ref(&source)).map_err(|errors| errors.problems().len());
        let documents = document::of_sources(std::slice::from_ref(&source));

        match (expected, documents) {
            (Ok(expected), Ok(documents)) => {
                prop_assert_eq!(&compiled(&documents).expect("files were valid"), &expected);
                // What is read back from documents is the same again.
                for document in &documents {
                    let shown = Document::for_people(&document.content).expect("it is JSON");
                    let back = Document::of_json(shown.to_string().as_bytes(), "").expect("it was one");
                    prop_assert_eq!((&back.key, &back.content), (&document.key, &document.content));
                }
            }
            (Err(_), Err(_)) => {}
            // Two documents of one name are each valid.
            (Err(_), Ok(documents)) => prop_assert!(compiled(&documents).is_err()),
            (Ok(_), Err(errors)) => prop_assert!(false, "{}", errors),
        }
    }
}

#[test]
fn what_takes_a_level_is_told_of_the_whole_set_also_of_documents_that_are_as_they_were() {
    let server = "kind: ToolServer\nname: a\nspec: { urls: [\"http://127.0.0.1:1/\"] }\n";
    let toolset = |name: &str, more: &str| format!("kind: Toolset\nname: {name}\nspec: {{ servers: [a]{more} }}\n");
    let of = |texts: &[String]| documents(&texts.join("---\n")).expect("they are good");
    let (mut catalog, mut compiler) = (catalog(), Compiler::new(FOLDER.into()));
    let needed = |catalog: &Catalog, compiler: &mut Compiler| {
        let compiled = compiler.compile(catalog.documents()).expect("it is good");
        compiled.needed.map(|needed| format!("{}: {} {}", needed.document, needed.path, needed.level))
    };
    let durable = Some("Toolset/default/b: spec.durability 3".to_owned());

    put(&mut catalog, &of(&[server.to_owned(), toolset("a", ""), toolset("b", ", durability: strict")]));
    assert_eq!(needed(&catalog, &mut compiler), durable);
    put(&mut catalog, &of(&[server.to_owned(), toolset("a", ", naming: bare")]));
    assert_eq!(needed(&catalog, &mut compiler), durable);
    put(&mut catalog, &of(&[server.to_owned(), toolset("b", "")]));
    assert_eq!(needed(&catalog, &mut compiler), None);
}

#[test]
fn a_file_with_prices_that_came_along_has_prices() {
    let provider = |prices: &str| {
        let text = format!("inline:prices.yaml\n{prices}");
        let spec = serde_json::json!({ "preset": "openai", "keys": ["k"], "prices": text });
        let document = serde_json::json!({ "kind": "Provider", "name": "openai", "spec": spec }).to_string();
        compiled(&documents(&document).expect("it is a document"))
    };

    let files = provider("gpt-5: { input: 1, output: 2 }").expect("they are prices").named_files();
    assert!(files.iter().any(|file| file.to_string_lossy().ends_with("-prices.yaml")), "{files:?}");
    let refused = provider("gpt-5: { input: -1, output: 2 }").expect_err("one is none").to_string();
    assert!(
        refused.contains("-prices.yaml:1: [\"gpt-5\"].input: -1 is out of range: allowed is 0 to 100000"),
        "{refused}"
    );
}
