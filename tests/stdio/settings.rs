//! What a process gets: the environment, the folder and the limits of its configuration, and nothing else.

use std::{env, fs};

use anyhow::Context as _;
use quorate_tests::paths;
use serde_json::json;

use crate::{
    process::{about, child, documents, gone, pid, start, text},
    support::session::Session,
};

#[test]
fn the_environment_is_an_allow_list_and_what_is_configured() -> anyhow::Result<()> {
    assert!(env::var_os("CARGO_MANIFEST_DIR").is_some(), "the node has variables that no process may have");
    let folder = tempfile::tempdir()?;
    let secret = folder.path().join("secret");
    fs::write(&secret, "from a file\n")?;
    let mut stdio = child(&[])?;
    stdio["env"] = json!({ "MODE": "a b\"c", "HOME": "/nowhere" });
    stdio["envFiles"] = json!({ "TOKEN": secret });
    let gateway = documents(stdio).start()?;
    let session = Session::open(&gateway, "2025-11-25")?;

    let variables = about(&session)?["variables"].clone();
    let value = |name: &str| variables[name].as_str().map(str::to_owned);
    assert_eq!(value("MODE").as_deref(), Some("a b\"c"));
    assert_eq!(value("HOME").as_deref(), Some("/nowhere"), "what is configured wins");
    assert_eq!(value("TOKEN").as_deref(), Some("from a file"));
    assert_eq!(value("PATH"), env::var("PATH").ok());
    let known = ["HOME", "LANG", "LC_ALL", "LC_CTYPE", "LOGNAME", "MODE", "PATH", "TMPDIR", "TOKEN", "TZ", "USER"];
    let found: Vec<&String> = variables.as_object().context("variables")?.keys().collect();
    assert!(found.iter().all(|name| known.contains(&name.as_str())), "{found:?}");
    let output = gateway.process.output().join("\n");
    assert!(!output.contains("from a file") && !output.contains("a b\"c"), "a secret is logged");
    Ok(())
}

#[test]
fn only_what_is_listed_is_inherited() -> anyhow::Result<()> {
    let mut stdio = child(&[])?;
    stdio["inherit"] = json!(["CARGO_MANIFEST_DIR"]);
    let gateway = documents(stdio).start()?;
    let variables = about(&Session::open(&gateway, "2025-11-25")?)?["variables"].clone();

    assert_eq!(variables["CARGO_MANIFEST_DIR"].as_str(), env::var("CARGO_MANIFEST_DIR").ok().as_deref());
    assert!(variables["HOME"].is_null(), "{variables}");
    Ok(())
}

#[test]
fn a_private_folder_goes_with_its_process() -> anyhow::Result<()> {
    let gateway = start(&[])?;
    let sessions = [Session::open(&gateway, "2025-11-25")?, Session::open(&gateway, "2025-11-25")?];
    let abouts = [about(&sessions[0])?, about(&sessions[1])?];
    let folders =
        [abouts[0]["folder"].as_str().context("a folder")?, abouts[1]["folder"].as_str().context("a folder")?];
    assert_ne!(folders[0], folders[1]);
    assert_eq!(fs::read_dir(folders[0])?.count(), 0, "it is empty");

    let process = pid(&sessions[0])?;
    sessions[0].delete()?;
    gone(&[process])?;
    quorate_tests::wait::until("the folder's end", crate::support::PATIENCE, || {
        anyhow::ensure!(fs::metadata(folders[0]).is_err(), "it is there");
        Ok(())
    })?;
    assert!(fs::metadata(folders[1]).is_ok());
    Ok(())
}

#[test]
fn folder_and_limits_are_those_of_the_configuration() -> anyhow::Result<()> {
    let folder = tempfile::tempdir()?;
    let mut stdio = child(&[])?;
    stdio["folder"] = json!(folder.path());
    stdio["memory"] = json!("256MiB");
    stdio["cpu"] = json!("100s");
    stdio["limits"] = json!({ "files": 77 });
    let gateway = documents(stdio).start()?;
    let about = about(&Session::open(&gateway, "2025-11-25")?)?;

    assert_eq!(about["folder"], json!(folder.path()));
    let limits = about["limits"].as_str().context("Linux shows limits")?;
    let limit = |name: &str| {
        let line = limits.lines().find_map(|line| line.strip_prefix(name)).unwrap_or_default();
        line.split_whitespace().take(2).map(str::to_owned).collect::<Vec<_>>().join(" ")
    };
    assert_eq!(limit("Max open files"), "77 77");
    assert_eq!(limit("Max data size"), "268435456 268435456");
    assert_eq!(limit("Max cpu time"), "100 101");
    assert_eq!(limit("Max core file size"), "0 0");
    Ok(())
}

#[test]
fn arguments_reach_the_program_and_no_shell() -> anyhow::Result<()> {
    let folder = tempfile::tempdir()?;
    let file = folder.path().join("$(touch hacked); echo *");
    let gateway = start(&["--roll", &file.display().to_string()])?;
    let session = Session::open(&gateway, "2025-11-25")?;
    text(&session, "echo", json!({}))?;

    assert!(file.exists(), "the argument is a file name like any other");
    assert_eq!(fs::read_dir(folder.path())?.count(), 1);
    Ok(())
}

#[test]
fn the_command_line_starts_a_program_in_its_own_folder() -> anyhow::Result<()> {
    let program = paths::binary("mcp-child")?;
    let flag = format!("here='{}' --era legacy", program.display());
    let fixture = quorate_tests::servers::fixture(&["--era", "modern"])?;
    let gateway = quorate_tests::servers::gateway(&[("other", &fixture.url)], &["--stdio", &flag])?;

    let called = std::process::Command::new(paths::binary("quorate")?)
        .args(["call", "about", "--url", &gateway.url, "--json"])
        .output()?;
    let printed = String::from_utf8_lossy(&called.stdout);
    assert!(called.status.success(), "{printed} {}", String::from_utf8_lossy(&called.stderr));
    let here = env::current_dir()?;
    assert!(printed.contains(&here.display().to_string()), "{printed}");
    Ok(())
}
