//! Documents as people write them: what is accepted, and what exactly the refusal of others says.
//!
//! Each file of `documents/refused` has a `.txt` beside it with the errors that it gives, word for
//! word: they are what users read, so a change of wording is a change to review. Run with
//! `UPDATE=1` to write them anew.

use std::path::{Path, PathBuf};

use quorate_config::{
    Connection, Draw, Era, Hosts, Isolation, Naming, Origins, ResourceSet, Toolset, Toolsets, Transport, load, parse,
    schema,
};
use quorate_mcp::curate::{ArgumentChange, Listed};
use quorate_openapi::Server;
use quorate_session::Durability;
use serde_json::Value;

fn folder(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/documents").join(name)
}

/// The resource files of a folder, which must not be empty.
fn files(name: &str) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(folder(name)).expect("the folder is there");
    let mut files: Vec<PathBuf> = entries.map(|entry| entry.expect("is readable").path()).collect();
    files.retain(|file| file.extension().is_some_and(|extension| extension != "txt"));
    files.sort();
    assert!(!files.is_empty(), "no documents in {name}");
    files
}

fn accepted(name: &str) -> ResourceSet {
    load(&[folder("accepted").join(name)]).unwrap_or_else(|errors| panic!("{name}: {errors}"))
}

#[test]
fn every_example_is_accepted() {
    for file in files("accepted") {
        let set = load(std::slice::from_ref(&file)).unwrap_or_else(|errors| panic!("{errors}"));
        assert!(!set.tool_servers().is_empty() || !set.models().is_empty(), "{}", file.display());
    }
}

#[test]
fn every_refusal_says_what_was_agreed() {
    for file in files("refused") {
        let errors = load(std::slice::from_ref(&file)).expect_err("it is refused").to_string();
        let prefix = format!("{}/", folder("refused").display());
        let errors = errors.replace(&prefix, "") + "\n";

        let expected = file.with_added_extension("txt");
        if std::env::var_os("UPDATE").is_some() {
            std::fs::write(&expected, &errors).expect("writes");
        }
        let expected = std::fs::read_to_string(&expected).unwrap_or_default();
        assert_eq!(errors, expected, "{}", file.display());
        assert!(!errors.contains("s3cret"), "a secret is shown by {}", file.display());
    }
}

#[test]
fn yaml_and_json_documents_mean_the_same() {
    assert_eq!(accepted("first-steps.yaml"), accepted("first-steps.json"));
}

#[test]
fn what_a_document_leaves_out_has_its_default() {
    let set = accepted("first-steps.yaml");
    let listener = &set.listeners()[0];
    assert_eq!(listener, &quorate_config::Listener::new(listener.name.clone(), listener.address));
    assert_eq!(listener.hosts, Hosts::default_for(true));
    let server = &set.tool_servers()[0];
    assert_eq!(server, &quorate_config::ToolServer::new(server.name.clone(), server.connection.clone()));
    assert_eq!((set.toolsets()[0].naming, set.toolsets()[0].durability), (Naming::Prefix, Durability::Strict));
}

#[test]
fn what_a_document_says_is_what_comes_out() {
    let set = accepted("everything.yaml");
    let [proxied, public] = set.listeners() else { panic!("two listeners, sorted by name") };

    assert_eq!(public.tenant.as_str(), "acme");
    let tls = public.tls.as_ref().expect("it has TLS");
    assert_eq!(tls.certificate, folder("accepted").join("tls/server.pem"), "relative to the file");
    assert_eq!(tls.key, Path::new("/etc/quorate/server.key"));
    assert!(public.requires.agent && public.requires.user);
    assert!(public.hosts.allows("mesh.example:1") && !public.hosts.allows("localhost"));
    assert!(public.origins.allows("https://console.example") && !public.origins.allows("http://console.example"));
    assert!(matches!(&public.toolsets, Toolsets::Only(names) if names.len() == 1));
    assert_eq!(public.limits.json_depth, 32);
    assert_eq!((&proxied.hosts, &proxied.origins), (&Hosts::Any, &Origins::Any));

    let search = set.tool_servers().iter().find(|server| server.name.as_str() == "search").expect("it is there");
    let Connection::Http(http) = &search.connection else { panic!("it has URLs") };
    assert_eq!((http.urls.len(), search.era, http.transport), (2, Era::Legacy, Transport::StreamableHttp));
    assert_eq!(search.health.unhealthy_after, 2);
    assert_eq!(search.limits.items, 500);
    assert_eq!(http.headers[0].read().expect("it is there"), "not-a-real-key");
    let tls = |file: &str| folder("accepted").join("tls").join(file);
    assert_eq!(search.tls.certificate, Some((tls("search.pem"), tls("search.key"))), "relative to the file");
    assert_eq!(search.tls.ca, Some(tls("search-ca.pem")));
    assert!(!format!("{search:?}").contains("not-a-real-key"), "Debug shows a secret");

    let local = set.tool_servers().iter().find(|server| server.name.as_str() == "local").expect("it is there");
    let Connection::Stdio(stdio) = &local.connection else { panic!("it is a process") };
    let program = folder("accepted").join("tools/server");
    assert_eq!(Path::new(&stdio.command[0]), program, "relative to the file");
    assert_eq!(stdio.command[1..], ["--root", "/srv"], "arguments are left alone");
    assert_eq!(stdio.env_files["API_KEY"], folder("accepted").join("secrets/key"));
    assert_eq!(stdio.folder, Some(folder("accepted").join("work")));
    assert_eq!((stdio.env["MODE"].expose(), stdio.isolation), ("read-only", Isolation::Shared));
    assert!(!format!("{local:?}").contains("read-only"), "Debug shows a secret");
    assert_eq!(local.connection.to_string(), format!("stdio:{}", program.display()));
    let shop = set.tool_servers().iter().find(|server| server.name.as_str() == "shop").expect("it is there");
    let Connection::OpenApi(api) = &shop.connection else { panic!("it has a document") };
    assert_eq!(shop.era, Era::Modern, "we are the server");
    assert_eq!((&api.server, api.strict, api.variables["region"].as_str()), (&Server::Index(1), true, "eu"));
    assert_eq!((api.selection.include.len(), api.selection.include[0].methods.len()), (1, 2));
    let files: Vec<&Path> = api.files().collect();
    assert_eq!(files, [folder("accepted").join("shop.yaml"), folder("accepted").join("secrets/key")]);
    assert!(!format!("{shop:?}").contains("not-a-real-word"), "Debug shows a secret");
    assert_eq!(set.named_files().len(), 16, "with those of issuers and providers");

    let toolset = &set.toolsets()[0];
    assert_eq!(toolset.naming, Naming::OnCollision, "the default with two servers");
    curated(toolset);
    assert_eq!(set.toolsets_of(public).count(), 1);
    assert_eq!(set.toolsets_of(proxied).count(), 1, "the operator's listener serves every tenant");
}

fn curated(toolset: &Toolset) {
    let [search, weather] = &toolset.members[..] else { panic!("two members") };
    let shares: Vec<_> = search.versions.iter().map(|one| (one.server.as_str(), one.weight)).collect();
    assert_eq!((search.draw, shares), (Draw::Session, vec![("search", 90), ("search-next", 10)]));
    assert!(search.selections.tools.has("search_web") && !search.selections.tools.has("search_debug"));
    assert!(search.selections.prompts.is_everything() && weather.selections.prompts.is_nothing());
    assert!((search.keeps_instructions, weather.keeps_instructions) == (false, true) && toolset.instructions.is_some());
    let [rule, of_version] = &toolset.rules.tools[..] else { panic!("two rules") };
    let fixed = &rule.changes.arguments["options"];
    assert_eq!(fixed, &ArgumentChange::Fix(r#"{"list":[1],"none":null,"ratio":1.5,"safe":true}"#.to_owned()));
    assert_eq!((rule.changes.concurrency, rule.changes.replayable), (Some(4), Some(true)));
    assert_eq!((of_version.changes.concurrency, of_version.changes.replayable), (None, None));
    assert_eq!(toolset.durability, Durability::Ephemeral);
    assert_eq!(of_version.subject.version.as_ref().map(|name| name.as_str()), Some("search-next"));
    assert_eq!(toolset.rules.resources[0].changes.annotations["audience"], r#"["user","assistant"]"#);
    let searched = toolset.rules.search.as_ref().expect("it has a search");
    assert!(searched.results_max == 8 && matches!(&searched.listed, Listed::Pinned(pinned) if pinned.len() == 1));
    assert!(!format!("{toolset:?}").contains("acme\\\""), "Debug shows a fixed argument");
}

#[test]
fn no_default_is_left_in_the_example_that_sets_everything() {
    let set = accepted("everything.yaml");
    let public = set.listeners().iter().find(|one| one.name.as_str() == "public").expect("it is there");
    let search = set.tool_servers().iter().find(|one| one.name.as_str() == "search").expect("it is there");
    let local = set.tool_servers().iter().find(|one| one.name.as_str() == "local").expect("it is there");
    let Connection::Stdio(stdio) = &local.connection else { panic!("it is a process") };
    let model = &set.models()[0];
    let cache = model.cache.expect("it keeps answers");
    let values = [
        (format!("{:?}", stdio.limits), format!("{:?}", quorate_config::StdioLimits::DEFAULTS)),
        (format!("{:?}", public.limits), format!("{:?}", quorate_config::ListenerLimits::DEFAULTS)),
        (format!("{:?}", search.limits), format!("{:?}", quorate_config::ToolServerLimits::DEFAULTS)),
        (format!("{:?}", search.health), format!("{:?}", quorate_config::HealthConfig::DEFAULTS)),
        (format!("{:?}", set.providers()[0].limits), format!("{:?}", quorate_config::ProviderLimits::DEFAULTS)),
        (format!("{:?}", model.limits), format!("{:?}", quorate_config::ModelLimits::DEFAULTS)),
        (format!("{:?}", model.breaker), format!("{:?}", quorate_config::BreakerConfig::DEFAULTS)),
        (format!("{:?}", cache), format!("{:?}", quorate_config::CacheConfig::DEFAULTS)),
    ];
    for (given, defaults) in values {
        for (given, default) in given.split(", ").zip(defaults.split(", ")) {
            assert_ne!(given, default, "the example does not set it");
        }
    }
}

#[test]
fn the_example_that_sets_everything_uses_every_key_of_the_schema() {
    let text = std::fs::read_to_string(folder("accepted").join("everything.yaml")).expect("is readable");
    let mut missing = Vec::new();
    keys(&schema(), &mut |key| {
        if !text.contains(&format!("{key}:")) {
            missing.push(key.to_owned());
        }
    });
    missing.retain(|key| key != "naming");
    assert!(missing.is_empty(), "not in the example: {missing:?}");
}

fn keys(schema: &Value, visit: &mut impl FnMut(&str)) {
    match schema {
        Value::Object(object) => {
            object
                .get("properties")
                .and_then(Value::as_object)
                .into_iter()
                .flat_map(|one| one.keys())
                .for_each(|key| visit(key));
            object.values().for_each(|value| keys(value, visit));
        }
        Value::Array(items) => items.iter().for_each(|item| keys(item, visit)),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
    }
}

#[test]
fn a_set_of_text_is_checked_like_files() {
    let source = quorate_config::Source {
        file: PathBuf::from("inline.yaml"),
        text: "kind: Toolset\nname: default\nspec: { servers: [files] }\n".to_owned(),
    };
    let errors = parse(&[source]).expect_err("there is no server");
    assert_eq!(
        errors.to_string(),
        "inline.yaml:3 (document 1) Toolset/default: spec.servers[0]: there is no ToolServer \"files\"; there are: none"
    );
    assert_eq!(parse(&[]).map(|set| set.listeners().len()), Ok(0));
}
