//! The page of the user guide about OAuth clients names what these tests try, in the versions that they try.

use std::fs;

use anyhow::{Context as _, ensure};
use quorate_tests::paths;
use serde_json::Value;

const PAGE: &str = "docs/src/oauth-clients.md";

/// Where versions of npm packages are asked for, and how the page names them.
const NPM: [(&str, &str, &str); 3] = [
    ("tests/identity/idp/package.json", "oidc-provider", "`oidc-provider`"),
    ("tests/interop/ts/package.json", "@modelcontextprotocol/sdk", "| TypeScript"),
    ("tests/interop/ts/package.json", "@modelcontextprotocol/client", "| TypeScript"),
];

/// The same of PyPI packages.
const PYPI: [&str; 2] = ["tests/interop/python/requirements-v1.txt", "tests/interop/python/requirements.txt"];

fn read(file: &str) -> anyhow::Result<String> {
    let path = paths::repository().join(file);
    fs::read_to_string(&path).with_context(|| format!("cannot read {}", path.display()))
}

#[test]
fn the_page_names_the_versions_that_are_tried() -> anyhow::Result<()> {
    let page = read(PAGE)?;
    let mut expected = Vec::new();
    for (file, package, shown) in NPM {
        let manifest: Value = serde_json::from_str(&read(file)?)?;
        let version = manifest["dependencies"][package].as_str().with_context(|| format!("{file} has no {package}"))?;
        expected.push(format!("{shown} {version}"));
    }
    for file in PYPI {
        let requirements = read(file)?;
        let version = requirements.lines().find_map(|line| line.strip_prefix("mcp=="));
        expected.push(format!("| Python {}", version.with_context(|| format!("{file} has no mcp"))?));
    }

    for text in expected {
        ensure!(page.contains(&text), "{PAGE} does not name {text:?}");
    }
    Ok(())
}
