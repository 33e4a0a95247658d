//! An identity provider in a process of its own, which the test steers: other keys, other tokens, no answer.
//!
//! What it does is in `idp/`; here is its remote control. It issues real tokens by the flows of OAuth, and mints what no
//! provider would issue.

use std::{
    fs,
    net::SocketAddr,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context as _, ensure};
use quorate_tests::{
    paths,
    process::Process,
    raw::{PATIENCE, client, gateway},
};
use serde::Deserialize;
use serde_json::{Value, json};

/// A running identity provider.
pub(crate) struct Idp {
    /// Its process.
    _process: Process,
    /// Its issuer, which is its address.
    pub(crate) issuer: String,
    control: SocketAddr,
}

/// How a provider does not answer.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Outage {
    /// It answers.
    None,
    /// It takes no connection.
    Refuse,
    /// It takes requests, and never answers.
    Hang,
    /// It answers 500.
    Error,
}

/// Where it listens, as it says.
#[derive(Deserialize)]
struct Addresses {
    issuer: String,
    control: String,
}

// === impl Idp ===

impl Idp {
    /// Starts one with keys of its own.
    pub(crate) fn start() -> anyhow::Result<Self> {
        let folder = installed_scripts()?;
        let mut command = Command::new(paths::node(paths::INTEROP)?);
        let mut process = Process::start("the identity provider", command.arg(folder.join("idp.mjs")))?;
        let said = process.line(PATIENCE, |line| line.strip_prefix("listening on ").map(str::to_owned))?;
        let Addresses { issuer, control } = serde_json::from_str(&said)?;
        let control = control.strip_prefix("http://").context("the control address is a URL")?.parse()?;
        Ok(Self { _process: process, issuer, control })
    }

    /// Starts a protected server that takes its tokens, and is not the gateway.
    pub(crate) fn reference(&self) -> anyhow::Result<(Process, String)> {
        let mut command = Command::new(paths::node(paths::INTEROP)?);
        command.arg(installed_scripts()?.join("reference.mjs")).arg(&self.issuer);
        let mut process = Process::start("the reference", &mut command)?;
        let url = process.line(PATIENCE, |line| line.strip_prefix("listening on ").map(str::to_owned))?;
        Ok((process, url))
    }

    /// Changes what its tokens are like from now on: `format`, `algorithm`, `ttlSeconds`, `claims`.
    pub(crate) fn set(&self, settings: &Value) -> anyhow::Result<()> {
        self.ask("/settings", settings).map(drop)
    }

    /// Takes new signing keys; the last ones stay published where `keeps` says so.
    pub(crate) fn rotate(&self, keeps: bool) -> anyhow::Result<()> {
        self.ask("/rotate", &json!({ "keep": keeps })).map(drop)
    }

    /// Begins or ends an outage.
    pub(crate) fn outage(&self, outage: Outage) -> anyhow::Result<()> {
        let mode = match outage {
            Outage::None => "none",
            Outage::Refuse => "refuse",
            Outage::Hang => "hang",
            Outage::Error => "error",
        };
        self.ask("/outage", &json!({ "mode": mode })).map(drop)
    }

    /// Signs a token with this payload; `key` is an algorithm, `stranger` or `none`.
    pub(crate) fn mint(&self, key: &str, header: &Value, payload: &Value) -> anyhow::Result<String> {
        let minted = self.ask("/mint", &json!({ "key": key, "header": header, "payload": payload }))?;
        text(&minted, "token")
    }

    /// The access token of a person who signs in at the program `desk` and consents.
    pub(crate) fn token_of(&self, person: &str, resource: &str, scope: &str) -> anyhow::Result<String> {
        let asked = json!({ "person": person, "resource": resource, "scope": scope });
        text(&self.ask("/authorize", &asked)?, "access_token")
    }

    /// The access token that a program gets for itself.
    pub(crate) fn own_token(&self, client: &str, resource: &str, scope: &str) -> anyhow::Result<String> {
        let parameters = json!({ "grant_type": "client_credentials", "resource": resource, "scope": scope });
        text(&self.ask("/grant", &json!({ "client": client, "parameters": parameters }))?, "access_token")
    }

    /// The access token that a program gets for a person whose token it holds (RFC 8693).
    pub(crate) fn exchange(&self, client: &str, held: &str, resource: &str, scope: &str) -> anyhow::Result<String> {
        let parameters = json!({
            "grant_type": "urn:ietf:params:oauth:grant-type:token-exchange",
            "subject_token": held, "subject_token_type": "urn:ietf:params:oauth:token-type:access_token",
            "resource": resource, "scope": scope,
        });
        text(&self.ask("/grant", &json!({ "client": client, "parameters": parameters }))?, "access_token")
    }

    /// Takes a token of a program without a secret back (RFC 7009).
    pub(crate) fn revoke(&self, client: &str, token: &str) -> anyhow::Result<()> {
        self.ask("/revoke", &json!({ "client": client, "token": token })).map(drop)
    }

    /// Says what is found at a URL that is a program's id.
    pub(crate) fn publish(&self, url: &str, document: &Value) -> anyhow::Result<()> {
        self.ask("/documents", &json!({ "url": url, "document": document })).map(drop)
    }

    /// The requests since the last time: method, path and the parameters that matter.
    pub(crate) fn requests(&self) -> anyhow::Result<Vec<Value>> {
        let requests = self.ask("/requests", &json!({}))?;
        Ok(requests.as_array().context("requests are a list")?.clone())
    }

    fn ask(&self, path: &str, body: &Value) -> anyhow::Result<Value> {
        let answer = client::send(self.control, "POST", path, &[], body.to_string().as_bytes())?;
        let status = answer.status;
        let said = answer.text()?;
        ensure!(status == 200, "{path} is answered {status}: {said}");
        serde_json::from_str(&said).with_context(|| format!("{path} is answered with {said}"))
    }
}

/// The member of an answer that is a text.
pub(crate) fn text(answer: &Value, key: &str) -> anyhow::Result<String> {
    Ok(answer[key].as_str().with_context(|| format!("no {key}: {answer}"))?.to_owned())
}

fn installed_scripts() -> anyhow::Result<PathBuf> {
    let modules = paths::installed(paths::IDENTITY, "node_modules/oidc-provider/package.json")?;
    let folder = modules.ancestors().nth(3).context("a package lies three folders deep")?.to_owned();
    install(&["idp"], &folder)?;
    Ok(folder)
}

/// Puts the scripts of these folders into another, where Node finds their packages beside them. Tests that run beside
/// each other may do it at the same time, so a file is there or not, and never half of one.
pub(crate) fn install(sources: &[&str], folder: &Path) -> anyhow::Result<()> {
    fs::create_dir_all(folder).with_context(|| format!("cannot make {}", folder.display()))?;
    for source in sources {
        let source = paths::repository().join("tests/identity").join(source);
        for entry in fs::read_dir(&source).with_context(|| format!("cannot read {}", source.display()))? {
            let script = entry?.path();
            if script.extension().is_some_and(|extension| extension == "mjs") {
                let text = fs::read_to_string(&script)?;
                let to = folder.join(script.file_name().context("a file has a name")?);
                if fs::read_to_string(&to).ok().as_deref() != Some(&text) {
                    gateway::replace(&to, &text)?;
                }
            }
        }
    }
    Ok(())
}
