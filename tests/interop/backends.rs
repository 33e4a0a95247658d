//! The servers of the interoperability test: ours with everything, and those that nobody here wrote.
//!
//! Each says where it comes from, how it is started, which plan it follows, and which clients can meet it without a
//! gateway. A server on standard input and output is started by whoever calls it: by a driver of the Python SDK to see
//! it alone, by the gateway otherwise. What such a server works on is in a folder of its own.

use std::{
    collections::BTreeMap,
    env, fs,
    path::{Path, PathBuf},
    process::Command,
    time::Duration,
};

use anyhow::{Context as _, bail, ensure};
use quorate_tests::{
    http,
    interop::{self, Child, Client, Library, Mode, Plan, Section, Target},
    paths,
    process::Process,
    servers::{self, Server},
};
use serde_json::{Value, json};

use crate::site::Site;

/// How long a server may take to start.
const START: Duration = Duration::from_secs(30);

/// The file that pins the servers from PyPI.
const REQUIREMENTS: &str = "tests/interop/python/requirements.txt";

/// What the reference server does not show to clients of 2026-07-28.
const SESSIONS: &str = "It logs, and tells changes of resources, for a session and outside of calls: clients without sessions have no part \
     in that.";

/// A server.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Backend {
    /// Its name in `known.json`, as a tool server and as a toolset.
    pub(crate) name: &'static str,
    /// The file with its plan.
    plan: &'static str,
    /// What is started.
    origin: Origin,
    /// With which arguments; `$FOLDER` is its folder.
    arguments: &'static [&'static str],
    /// Where it serves.
    transport: Transport,
    /// What a reader of the page has to know.
    note: &'static str,
}

/// Where a server comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Origin {
    /// Our fixture on rmcp.
    Fixture,
    /// `python/server.py`.
    Script,
    /// A package of the scope `@modelcontextprotocol` from npm.
    Npm(&'static str),
    /// A package from PyPI.
    PyPi(&'static str),
}

/// Where a server serves.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Transport {
    /// On a port, over streamable HTTP.
    Http,
    /// On a port, over HTTP+SSE.
    Sse,
    /// On its standard output; with what the gateway is told of its process: `shared` by sessions, or one for each
    /// `session`.
    Stdio(&'static str),
}

/// A server that can be called.
#[derive(Debug)]
pub(crate) struct Running {
    /// Which one.
    pub(crate) backend: Backend,
    /// With what it shows its features.
    pub(crate) plan: Plan,
    /// Where a client finds it without the gateway.
    pub(crate) target: Target,
    /// The `spec` of the tool server that it is for the gateway.
    pub(crate) spec: Value,
    /// Values for the variables of the plan.
    variables: Vec<(&'static str, String)>,
    /// Its process, when it is not started by its callers.
    _process: Option<Process>,
    /// What it fetches.
    _site: Option<Site>,
}

/// Every server, in the order of the page.
pub(crate) const ALL: [Backend; 13] = [
    Backend {
        name: "fixture",
        plan: "fixture.json",
        origin: Origin::Fixture,
        arguments: &[],
        transport: Transport::Http,
        note: "It has every feature there is.",
    },
    Backend {
        name: "fixture-legacy",
        plan: "fixture.json",
        origin: Origin::Fixture,
        arguments: &["--era", "legacy"],
        transport: Transport::Http,
        note: "It refuses requests of 2026-07-28, so that what its clients see is translated. Its log messages belong to \
               no call, and may come after the answer.",
    },
    Backend {
        name: "fixture-modern",
        plan: "fixture.json",
        origin: Origin::Fixture,
        arguments: &["--era", "modern"],
        transport: Transport::Http,
        note: "It refuses `initialize`, so that what its clients see is translated.",
    },
    Backend {
        name: "python",
        plan: "python.json",
        origin: Origin::Script,
        arguments: &["0"],
        transport: Transport::Http,
        note: "It is written as the SDK's documentation says, in both eras.",
    },
    Backend {
        name: "everything",
        plan: "everything.json",
        origin: Origin::Npm("server-everything"),
        arguments: &["streamableHttp"],
        transport: Transport::Http,
        note: SESSIONS,
    },
    Backend {
        name: "everything-sse",
        plan: "everything.json",
        origin: Origin::Npm("server-everything"),
        arguments: &["sse"],
        transport: Transport::Sse,
        note: SESSIONS,
    },
    Backend {
        name: "everything-stdio",
        plan: "everything.json",
        origin: Origin::Npm("server-everything"),
        arguments: &["stdio"],
        transport: Transport::Stdio("session"),
        note: SESSIONS,
    },
    Backend {
        name: "filesystem",
        plan: "filesystem.json",
        origin: Origin::Npm("server-filesystem"),
        arguments: &["$FOLDER"],
        transport: Transport::Stdio("shared"),
        note: "",
    },
    Backend {
        name: "memory",
        plan: "memory.json",
        origin: Origin::Npm("server-memory"),
        arguments: &[],
        transport: Transport::Stdio("shared"),
        note: "",
    },
    Backend {
        name: "thinking",
        plan: "thinking.json",
        origin: Origin::Npm("server-sequential-thinking"),
        arguments: &[],
        transport: Transport::Stdio("shared"),
        note: "",
    },
    Backend {
        name: "fetch",
        plan: "fetch.json",
        origin: Origin::PyPi("mcp-server-fetch"),
        arguments: &["--allow-private-ips"],
        transport: Transport::Stdio("shared"),
        note: "Started without Node in its `PATH`: where it finds one, it runs `npm install` with its first page. Pages of \
               private addresses, such as the test's own, are refused without `--allow-private-ips`.",
    },
    Backend {
        name: "git",
        plan: "git.json",
        origin: Origin::PyPi("mcp-server-git"),
        arguments: &["--repository", "$FOLDER"],
        transport: Transport::Stdio("shared"),
        note: "",
    },
    Backend {
        name: "time",
        plan: "time.json",
        origin: Origin::PyPi("mcp-server-time"),
        arguments: &["--local-timezone", "Etc/UTC"],
        transport: Transport::Stdio("shared"),
        note: "",
    },
];

// === impl Backend ===

impl Backend {
    /// What the page says of it before its table.
    pub(crate) fn section(self) -> anyhow::Result<Section> {
        let what = match self.origin {
            Origin::Fixture => match self.era() {
                None => "Our conformance fixture (Rust `rmcp`)".to_owned(),
                Some(era) => format!("Our conformance fixture (Rust `rmcp`), {era} era alone"),
            },
            Origin::Script => format!("A server on Python `mcp` {}", interop::version(REQUIREMENTS, "mcp")?),
            Origin::Npm(package) => format!("`{package}` {}", npm_version(package)?),
            Origin::PyPi(package) => format!("`{package}` {}", interop::version(REQUIREMENTS, package)?),
        };
        let transport = match self.transport {
            Transport::Http => "streamable HTTP",
            Transport::Sse => "HTTP+SSE",
            Transport::Stdio(_) => "stdio",
        };
        Ok(Section { server: self.name, title: format!("{what}, {transport}"), note: self.note })
    }

    /// Whether this client visits it. One that speaks a single era where it could speak both is there for the clients
    /// of the other.
    pub(crate) fn receives(self, client: Client, plan: &Plan) -> bool {
        self.era().is_none() || !plan.speaks(client.mode)
    }

    /// Whether this client can call it without a gateway. A server on standard output is called by one SDK, to see
    /// what it does alone.
    pub(crate) fn meets(self, client: Client, plan: &Plan) -> bool {
        let way = match self.transport {
            Transport::Http => client.mode != Mode::Sse,
            Transport::Sse => client.mode == Mode::Sse,
            Transport::Stdio(_) => client.library == Library::PythonV2 && client.mode != Mode::Sse,
        };
        plan.speaks(client.mode) && way
    }

    /// Starts it, or prepares what its callers start; `folder` is its own.
    pub(crate) fn start(self, folder: &Path) -> anyhow::Result<Running> {
        fs::create_dir_all(folder)?;
        let plan = Plan::read(&paths::repository().join("tests/interop/plans").join(self.plan))?;
        let plan = match self.era() {
            Some(era) => plan.limited_to(era),
            None => plan,
        };
        let site = (self.name == "fetch").then(Site::start).transpose()?;
        let mut variables = vec![("$FOLDER", text(folder)?)];
        variables.extend(site.iter().map(|site| ("$SITE", site.url())));
        self.furnish(folder)?;
        let (process, target, spec) = match self.transport {
            Transport::Stdio(isolation) => {
                let child = self.child(folder)?;
                let Child { command, env, folder } = &child;
                let spec = json!({ "stdio": {
                    "command": command, "env": env, "inherit": [], "folder": folder, "isolation": isolation,
                } });
                (None, Target::Child(child), spec)
            }
            Transport::Http | Transport::Sse => {
                let Server { process, url } = self.serve(folder)?;
                let spec = json!({ "urls": [url] });
                (Some(process), Target::Url(url), spec)
            }
        };
        Ok(Running { backend: self, plan, target, spec, variables, _process: process, _site: site })
    }

    /// The only era that it speaks, where it could speak both.
    fn era(self) -> Option<&'static str> {
        match self.arguments {
            ["--era", era] => Some(era),
            _ => None,
        }
    }

    /// Puts into the folder what the plan expects to be there.
    fn furnish(self, folder: &Path) -> anyhow::Result<()> {
        match self.name {
            "filesystem" => fs::write(folder.join("hello.txt"), "Hello from a file\n")?,
            "memory" => {
                let ada = json!({
                    "type": "entity", "name": "Ada", "entityType": "person", "observations": ["writes programs"],
                });
                fs::write(folder.join("memory.jsonl"), format!("{ada}\n"))?;
            }
            "git" => {
                fs::write(folder.join("hello.txt"), "Hello from a repository\n")?;
                git(folder, &["init", "--quiet", "--initial-branch", "main"])?;
                git(folder, &["add", "."])?;
                git(folder, &["commit", "--quiet", "--message", "Say hello"])?;
            }
            _ => {}
        }
        Ok(())
    }

    /// How it is started on standard input and output. It finds no program but what it needs.
    fn child(self, folder: &Path) -> anyhow::Result<Child> {
        let path = match self.name {
            // GitPython runs `git`.
            "git" => env::var("PATH").context("there is a PATH")?,
            _ => text(folder)?,
        };
        let mut env = BTreeMap::from([("PATH".to_owned(), path), ("HOME".to_owned(), text(folder)?)]);
        if self.name == "memory" {
            env.insert("MEMORY_FILE_PATH".to_owned(), text(&folder.join("memory.jsonl"))?);
        }
        Ok(Child { command: self.command(folder)?, env, folder: folder.to_owned() })
    }

    /// Starts it as a server on a port.
    fn serve(self, folder: &Path) -> anyhow::Result<Server> {
        if self.origin == Origin::Fixture {
            return servers::fixture(self.arguments);
        }
        let port = http::free_port()?;
        let [program, arguments @ ..] = &self.command(folder)?[..] else {
            bail!("{} has no command", self.name);
        };
        let mut command = Command::new(program);
        command.args(arguments).env("PORT", port.to_string());
        let mut process = Process::start(self.name, &mut command)?;
        if self.origin == Origin::Script {
            let url = process.line(START, |line| Some(line.strip_prefix("listening on ")?.to_owned()))?;
            return Ok(Server { process, url });
        }
        // The transports of the reference server say it in different words, each with the port at the end.
        process.line(START, |line| line.ends_with(&format!("on port {port}")).then_some(()))?;
        let path = if self.transport == Transport::Sse { "sse" } else { "mcp" };
        Ok(Server { process, url: format!("http://127.0.0.1:{port}/{path}") })
    }

    fn command(self, folder: &Path) -> anyhow::Result<Vec<String>> {
        let mut command = match self.origin {
            Origin::Fixture => vec![text(&paths::binary("mcp-fixture")?)?],
            Origin::Script => {
                vec![python()?, text(&paths::repository().join("tests/interop/python/server.py"))?]
            }
            Origin::Npm(package) => vec![text(&paths::node(paths::INTEROP)?)?, text(&npm(package, "dist/index.js")?)?],
            Origin::PyPi(package) => vec![python()?, "-m".to_owned(), package.replace('-', "_")],
        };
        let folder = text(folder)?;
        command.extend(self.arguments.iter().map(|argument| argument.replace("$FOLDER", &folder)));
        Ok(command)
    }
}

// === impl Running ===

impl Running {
    /// The plan's steps for one run; `run` is a text that no other run has.
    pub(crate) fn steps(&self, run: &str) -> anyhow::Result<serde_json::Map<String, Value>> {
        let variables = self.variables.iter().map(|(name, value)| (*name, value.as_str()));
        self.plan.steps(&variables.chain([("$RUN", run)]).collect::<Vec<_>>())
    }
}

fn git(folder: &Path, arguments: &[&str]) -> anyhow::Result<()> {
    let identity = ["-c", "user.name=Ada", "-c", "user.email=ada@example.com", "-c", "commit.gpgsign=false"];
    let status = Command::new("git").arg("-C").arg(folder).args(identity).args(arguments).status();
    ensure!(status.context("git runs")?.success(), "git {arguments:?} failed");
    Ok(())
}

fn python() -> anyhow::Result<String> {
    text(&paths::installed(paths::INTEROP, "venv/bin/python")?)
}

fn npm(package: &str, file: &str) -> anyhow::Result<PathBuf> {
    paths::installed(paths::INTEROP, &format!("node_modules/@modelcontextprotocol/{package}/{file}"))
}

fn npm_version(package: &str) -> anyhow::Result<String> {
    let manifest: Value = serde_json::from_str(&fs::read_to_string(npm(package, "package.json")?)?)?;
    Ok(manifest["version"].as_str().context("a package has a version")?.to_owned())
}

fn text(path: &Path) -> anyhow::Result<String> {
    Ok(path.to_str().with_context(|| format!("{} is not UTF-8", path.display()))?.to_owned())
}
