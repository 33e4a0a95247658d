//! The servers that tests start: our fixture, and the gateway in front of backends.
//!
//! Each is a [`Process`] on a port of its own with the URL of its MCP endpoint, returned when it is ready: the
//! fixture when it says where it listens, the gateway when `/readyz` on its admin address answers 200.

use std::{net::SocketAddr, path::Path, process::Command, time::Duration};

use anyhow::{Context as _, bail, ensure};

use crate::{http, paths, process::Process};

/// How long a server may take to be ready; a debug build on a loaded machine needs some seconds.
const READY: Duration = Duration::from_secs(30);

/// How often the start of a gateway is tried anew because another process took its port first.
const PORT_ATTEMPTS_MAX: usize = 3;

/// A running server with one MCP endpoint.
#[derive(Debug)]
pub struct Server {
    /// Its process.
    pub process: Process,
    /// Its MCP endpoint, such as `http://127.0.0.1:4290/mcp`.
    pub url: String,
}

/// A running gateway.
#[derive(Debug)]
pub struct Gateway {
    /// Its process.
    pub process: Process,
    /// Where it serves MCP.
    pub address: SocketAddr,
    /// The MCP endpoint of its toolset `default`.
    pub url: String,
    /// Where it serves health, readiness and metrics.
    pub admin: SocketAddr,
}

/// Starts `mcp-fixture` with these flags on a free port.
///
/// # Errors
///
/// It was not built, or does not start; the error shows its log.
pub fn fixture(flags: &[&str]) -> anyhow::Result<Server> {
    let mut command = Command::new(paths::binary("mcp-fixture")?);
    command.args(["--port", "0"]).args(flags);
    let name = format!("mcp-fixture {}", flags.join(" "));
    let mut process = Process::start(name, &mut command)?;
    let url = process.line(READY, |line| Some(line.strip_prefix("listening on ")?.to_owned()))?;
    Ok(Server { process, url })
}

/// Starts `quorate up` in front of these backends (name and URL) with these further flags.
///
/// # Errors
///
/// It was not built, or does not become ready; the error shows its log.
pub fn gateway(backends: &[(&str, &str)], flags: &[&str]) -> anyhow::Result<Gateway> {
    ensure!(!backends.is_empty(), "a gateway without backends would serve its demo");
    let binary = paths::binary("quorate")?;
    let mut refused = None;
    for _ in 0..PORT_ATTEMPTS_MAX {
        let (listen, admin) = (address()?, address()?);
        let mut command = Command::new(&binary);
        command.args(["up", "--listen", &listen.to_string(), "--admin", &admin.to_string()]);
        for (name, url) in backends {
            command.args(["--mcp", &format!("{name}={url}")]);
        }
        command.args(flags);
        let mut process = Process::start("quorate up", &mut command)?;
        match process.ready("readiness", READY, || is_ready(admin)) {
            Ok(()) => return Ok(Gateway { process, address: listen, url: format!("http://{listen}/mcp"), admin }),
            Err(error) if error.to_string().contains("in use") => refused = Some(error),
            Err(error) => return Err(error),
        }
    }
    Err(refused.context("no attempt was made")?)
}

/// Starts `quorate serve` with this resource file, for everybody on loopback; ports are those that the system chose.
///
/// # Errors
///
/// It was not built, or does not become ready; the error shows its log.
pub fn serve(file: &Path) -> anyhow::Result<Gateway> {
    let mut command = Command::new(paths::binary("quorate")?);
    command.args(["serve", "--admin", "127.0.0.1:0", "--development-identity", "--allow-all", "-f"]).arg(file);
    let mut process = Process::start("quorate serve", &mut command)?;
    let address = process.line(READY, |line| line.contains("listener=").then(|| address_in(line))?)?;
    let admin = process.line(READY, |line| line.contains("serving health").then(|| address_in(line))?)?;
    process.ready("readiness", READY, || is_ready(admin))?;
    Ok(Gateway { process, address, url: format!("http://{address}/mcp"), admin })
}

fn address_in(line: &str) -> Option<SocketAddr> {
    line.split_whitespace().find_map(|word| word.strip_prefix("address=")?.parse().ok())
}

fn address() -> anyhow::Result<SocketAddr> {
    Ok(SocketAddr::from(([127, 0, 0, 1], http::free_port()?)))
}

fn is_ready(admin: SocketAddr) -> anyhow::Result<()> {
    let answer = http::get(admin, "/readyz")?;
    if answer.status != 200 {
        bail!("/readyz answers {}: {}", answer.status, answer.body);
    }
    Ok(())
}
