//! A cluster of real nodes: processes of the binary under test, each with a data directory, behind a network that can be cut.
//!
//! A cluster is driven as an operator drives one: by the command line, over each node's Unix socket or by a context. What a
//! node did in its earlier lives stays in its log here, which is shown when a test fails. Everything ends with the cluster:
//! no process outlives it.

use std::{
    ffi::OsString,
    net::SocketAddr,
    os::unix::{net::UnixStream, process::CommandExt as _},
    path::{Path, PathBuf},
    process::{Command, ExitStatus, Output, Stdio},
    time::Duration,
};

use anyhow::{Context as _, ensure};
use serde_json::Value;
use tempfile::TempDir;

use crate::{
    net::{Net, Place},
    options::Options,
    paths,
    ports::free_address,
    process::Process,
    wait,
};

/// Longer than anything that a cluster does takes on a loaded machine.
const PATIENCE: Duration = Duration::from_secs(120);

/// Replicas of a shard where there are nodes enough.
const REPLICAS: usize = 3;

/// How long a node may take to end when it is asked to.
const END: Duration = Duration::from_secs(60);

/// Nodes that run, and those that do not.
#[derive(Debug)]
pub struct Cluster {
    // Before the folder: nodes end first.
    nodes: Vec<Node>,
    net: Option<Net>,
    options: Options,
    folder: TempDir,
    program: PathBuf,
    context: PathBuf,
    /// Contexts that were made.
    contexts: usize,
}

/// One node, in any of its lives.
#[derive(Debug)]
struct Node {
    name: String,
    process: Option<Process>,
    data: PathBuf,
    listen: SocketAddr,
    advertise: SocketAddr,
    admin: SocketAddr,
    environment: Vec<(String, OsString)>,
}

/// Runs commands as an operator of a cluster, also while others have the cluster.
#[derive(Clone, Debug)]
pub struct Operator {
    program: PathBuf,
    context: PathBuf,
}

/// What a command said.
#[derive(Debug)]
pub struct Said {
    /// How it ended.
    pub status: ExitStatus,
    /// Its standard output.
    pub output: String,
    /// Its standard error.
    pub errors: String,
}

// === impl Said ===

impl Said {
    /// The output of a command that succeeded.
    ///
    /// # Errors
    ///
    /// It did not.
    pub fn success(self) -> anyhow::Result<String> {
        ensure!(self.status.success(), "{}: {}{}", self.status, self.output, self.errors);
        Ok(self.output)
    }

    /// What a command that failed said on standard error.
    ///
    /// # Errors
    ///
    /// It did not fail.
    pub fn failure(self) -> anyhow::Result<String> {
        ensure!(!self.status.success(), "it succeeded: {}{}", self.output, self.errors);
        Ok(self.errors)
    }
}

// === impl Operator ===

impl Operator {
    /// Runs a command.
    ///
    /// # Errors
    ///
    /// It cannot be run.
    pub fn run(&self, args: &[&str]) -> anyhow::Result<Said> {
        said(&self.program, &[&["--context", path(&self.context)?], args].concat())
    }
}

// === impl Cluster ===

impl Cluster {
    /// Makes a cluster and waits until all of its nodes are active, and everything is placed: until then the loss of a node
    /// can be the loss of a quorum.
    ///
    /// # Errors
    ///
    /// A node does not start, or does not become active; the error shows its log.
    pub fn start(options: Options) -> anyhow::Result<Self> {
        let mut cluster = Self::waiting(options)?;
        cluster.init(0)?;
        for place in 1..cluster.nodes.len() {
            cluster.join(place)?;
        }
        cluster.settled(0)?;
        // The first context knows the first node alone.
        cluster.operate_from(0)?;
        Ok(cluster)
    }

    /// Takes a new context, which knows all nodes that a node knows, for what is operated from now on.
    ///
    /// # Errors
    ///
    /// The node gives none.
    pub fn operate_from(&mut self, place: Place) -> anyhow::Result<()> {
        self.contexts += 1;
        let out = self.folder.path().join(format!("operator-{}", self.contexts));
        let new = ["cluster", "operator", "new", "--name", "harness", "--role", "admin", "--out", path(&out)?];
        self.local(place, &new)?.success()?;
        self.context = out.join("context.yaml");
        Ok(())
    }

    /// Takes a context that somebody else wrote for what is operated from now on.
    pub fn operate_with(&mut self, context: PathBuf) {
        self.context = context;
    }

    /// Gives the later lives of a node other flags of its own.
    pub fn set_own_flags(&mut self, place: Place, flags: Vec<String>) {
        let all = &mut self.options.own_flags;
        all.resize(all.len().max(place + 1), Vec::new());
        all[place] = flags;
    }

    /// Starts nodes that wait to be told what to do.
    ///
    /// # Errors
    ///
    /// A node does not start; the error shows its log.
    pub fn waiting(options: Options) -> anyhow::Result<Self> {
        let folder = match &options.place {
            Some(place) => tempfile::tempdir_in(place).with_context(|| place.display().to_string())?,
            None => tempfile::tempdir().context("there is no folder for temporary files")?,
        };
        let net = if options.net { Some(Net::new(options.nodes)?) } else { None };
        let program = match &options.program {
            Some(program) => program.clone(),
            None => paths::binary("quorate")?,
        };
        let count = options.nodes;
        let context = folder.path().join("context.yaml");
        let mut cluster = Self { nodes: Vec::new(), net, options, folder, program, context, contexts: 0 };
        for _ in 0..count {
            cluster.grow()?;
        }
        Ok(cluster)
    }

    /// Adds a node, which waits, and returns its place.
    ///
    /// # Errors
    ///
    /// It does not start.
    pub fn add(&mut self) -> anyhow::Result<Place> {
        if let Some(net) = &mut self.net {
            net.add()?;
        }
        self.grow()
    }

    fn grow(&mut self) -> anyhow::Result<Place> {
        let place = self.nodes.len();
        let (listen, advertise) = match &self.net {
            Some(net) => (net.port(place).listen, net.port(place).advertise),
            None => {
                let address = free_address()?;
                (address, address)
            }
        };
        let name = format!("node-{}", place + 1);
        let data = self.folder.path().join(&name);
        let environment = Vec::new();
        self.nodes.push(Node { name, process: None, data, listen, advertise, admin: free_address()?, environment });
        self.begin(place)?;
        Ok(place)
    }

    /// Starts a node on what is in its data directory.
    ///
    /// # Errors
    ///
    /// It runs, or does not answer; the error shows its log.
    pub fn begin(&mut self, place: Place) -> anyhow::Result<()> {
        let mut process = self.launch(place)?;
        process.ready("answer on its socket", PATIENCE, || {
            UnixStream::connect(self.nodes[place].data.join("admin.sock"))?;
            self.local(place, &["cluster", "status", "-o", "json"])?.success()
        })?;
        self.nodes[place].process = Some(process);
        Ok(())
    }

    /// Gives the later lives of a node a variable of the environment.
    pub fn set_environment(&mut self, place: Place, name: &str, value: impl Into<OsString>) {
        self.nodes[place].environment.push((name.to_owned(), value.into()));
    }

    /// Starts a node that does not start on what is in its data directory, and returns what it says.
    ///
    /// # Errors
    ///
    /// It runs already, or it does not end, or it ends as if all were well.
    pub fn refused(&mut self, place: Place) -> anyhow::Result<String> {
        let mut process = self.launch(place)?;
        let status = process.end(PATIENCE)?;
        if let Some(net) = &mut self.net {
            net.down(place);
        }
        ensure!(!status.success(), "it ended well{}", process.said());
        Ok(process.said())
    }

    fn launch(&mut self, place: Place) -> anyhow::Result<Process> {
        if let Some(net) = &mut self.net {
            net.up(place)?;
        }
        let mut command = Command::new(&self.program);
        let node = &self.nodes[place];
        ensure!(node.process.is_none(), "{} runs", node.name);
        command.args(["serve", "--node-name", &node.name]).arg("--data-dir").arg(&node.data);
        command.args(["--peer-listen", &node.listen.to_string(), "--peer-advertise", &node.advertise.to_string()]);
        command.args(["--admin", &node.admin.to_string()]).args(["--election-timeout", self.options.election_timeout]);
        command.args(&self.options.flags).args(self.options.own_flags.get(place).into_iter().flatten());
        command.envs(node.environment.iter().map(|(name, value)| (name, value)));
        for file in self.options.files.iter().filter(|_| place == 0) {
            command.arg("-f").arg(file);
        }
        if self.options.is_apart {
            command.process_group(0);
        }
        Process::start(&node.name, &mut command)
    }

    /// Makes a cluster of a node alone.
    ///
    /// # Errors
    ///
    /// It is refused, or the node does not become active.
    pub fn init(&mut self, place: Place) -> anyhow::Result<()> {
        let (shards, context) = (self.options.shards.to_string(), self.context());
        let mut args = vec!["cluster", "init", "--shards", &shards, "--context-out", path(&context)?];
        for file in &self.options.files {
            args.extend(["-f", path(file)?]);
        }
        args.extend(self.options.init.iter().map(String::as_str));
        self.local(place, &args)?.success()?;
        self.is_active(place)
    }

    /// Has a node join with a new token.
    ///
    /// # Errors
    ///
    /// It is refused, or the node does not become active.
    pub fn join(&mut self, place: Place) -> anyhow::Result<()> {
        let token = self.token()?;
        self.local(place, &["cluster", "join", &token])?.success()?;
        self.is_active(place)
    }

    /// Waits until a node says that the meta group and every shard have three voters, or one on each node of a smaller
    /// cluster, and that nothing is on its way.
    ///
    /// # Errors
    ///
    /// It takes too long; the error has the last status.
    pub fn settled(&self, place: Place) -> anyhow::Result<()> {
        let count = |list: &Value| list.as_array().map_or(0, Vec::len);
        self.until("everything is placed", place, |status| {
            let active = nodes(status).filter(|node| node["state"] == "active").count().min(REPLICAS);
            let shards = status["shards"].as_array().map_or(&[][..], Vec::as_slice);
            let is_placed = |shard: &Value| {
                count(&shard["voters"]) == active && count(&shard["learners"]) == 0 && count(&shard["target"]) == 0
            };
            !shards.is_empty() && shards.iter().all(is_placed) && count(&status["meta"]["voters"]) >= active
        })
    }

    /// Makes a token with which one node can join.
    ///
    /// # Errors
    ///
    /// The cluster gives none.
    pub fn token(&self) -> anyhow::Result<String> {
        let said = self.operate(&["cluster", "token", "new", "-o", "json"])?.success()?;
        let token: Value = serde_json::from_str(&said).context("a token is told as JSON")?;
        token["token"].as_str().map(str::to_owned).with_context(|| format!("there is no token in {token}"))
    }

    fn is_active(&self, place: Place) -> anyhow::Result<()> {
        let name = self.nodes[place].name.clone();
        self.until(&format!("{name} is active"), place, |status| {
            nodes(status).any(|node| node["name"] == name.as_str() && node["state"] == "active")
        })
    }

    /// Ends a node at once, as a lost machine does (SIGKILL).
    ///
    /// # Panics
    ///
    /// It does not run.
    pub fn kill(&mut self, place: Place) {
        drop(self.nodes[place].process.take().expect("it runs"));
        if let Some(net) = &mut self.net {
            net.down(place);
        }
    }

    /// Asks a node to end (SIGTERM), and waits for it.
    ///
    /// # Errors
    ///
    /// It does not end well.
    pub fn stop(&mut self, place: Place) -> anyhow::Result<()> {
        let node = &mut self.nodes[place];
        let mut process = node.process.take().with_context(|| format!("{} does not run", node.name))?;
        let status = process.terminate(END)?;
        ensure!(status.success(), "{} ended with {status}{}", node.name, process.said());
        if let Some(net) = &mut self.net {
            net.down(place);
        }
        Ok(())
    }

    /// Holds a node still (SIGSTOP), until it is let go.
    ///
    /// # Errors
    ///
    /// It does not run.
    pub fn hold(&self, place: Place) -> anyhow::Result<()> {
        self.signal(place, "-STOP")
    }

    /// Lets a node go on that is held (SIGCONT).
    ///
    /// # Errors
    ///
    /// It does not run.
    pub fn let_go(&self, place: Place) -> anyhow::Result<()> {
        self.signal(place, "-CONT")
    }

    fn signal(&self, place: Place, signal: &str) -> anyhow::Result<()> {
        let node = &self.nodes[place];
        let process = node.process.as_ref().with_context(|| format!("{} does not run", node.name))?;
        let status =
            Command::new("kill").args([signal, &process.id().to_string()]).status().context("cannot run kill")?;
        ensure!(status.success(), "{} cannot be sent {signal}", node.name);
        Ok(())
    }

    /// The network, of a cluster that has one.
    ///
    /// # Panics
    ///
    /// It has none.
    #[must_use]
    pub fn net(&self) -> &Net {
        self.net.as_ref().expect("the options ask for one")
    }

    /// Places of nodes, in any state.
    pub fn places(&self) -> std::ops::Range<Place> {
        0..self.nodes.len()
    }

    /// Places of nodes that run.
    pub fn running(&self) -> impl Iterator<Item = Place> {
        self.nodes.iter().enumerate().filter(|(_, node)| node.process.is_some()).map(|(place, _)| place)
    }

    /// The data directory of a node.
    #[must_use]
    pub fn data(&self, place: Place) -> &Path {
        &self.nodes[place].data
    }

    /// The process of a node that runs.
    ///
    /// # Panics
    ///
    /// It does not.
    #[must_use]
    pub fn process(&mut self, place: Place) -> &mut Process {
        self.nodes[place].process.as_mut().expect("it runs")
    }

    /// The context of an operator, an admin, which knows all nodes that were there at the start.
    #[must_use]
    pub fn context(&self) -> PathBuf {
        self.context.clone()
    }

    /// A folder for what a test writes; it ends with the cluster.
    #[must_use]
    pub fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// The first operator, an admin.
    #[must_use]
    pub fn operator(&self) -> Operator {
        Operator { program: self.program.clone(), context: self.context() }
    }

    /// Runs a command as the first operator.
    ///
    /// # Errors
    ///
    /// It cannot be run.
    pub fn operate(&self, args: &[&str]) -> anyhow::Result<Said> {
        self.operator().run(args)
    }

    /// Runs a command as it is.
    ///
    /// # Errors
    ///
    /// It cannot be run.
    pub fn quorate(&self, args: &[&str]) -> anyhow::Result<Said> {
        said(&self.program, args)
    }

    /// The admin address of a node.
    #[must_use]
    pub fn admin(&self, place: Place) -> SocketAddr {
        self.nodes[place].admin
    }

    /// Runs a command over a node's Unix socket.
    ///
    /// # Errors
    ///
    /// It cannot be run.
    pub fn local(&self, place: Place, args: &[&str]) -> anyhow::Result<Said> {
        said(&self.program, &[args, &["--data-dir", path(&self.nodes[place].data)?]].concat())
    }

    /// What a node says of the cluster.
    ///
    /// # Errors
    ///
    /// It does not answer.
    pub fn status(&self, place: Place) -> anyhow::Result<Value> {
        let said = self.local(place, &["cluster", "status", "-o", "json"])?.success()?;
        serde_json::from_str(&said).with_context(|| format!("a status is JSON: {said}"))
    }

    /// Waits until what a node says fits.
    ///
    /// # Errors
    ///
    /// It takes too long; the error has the last status, and the node's log.
    pub fn until(&self, what: &str, place: Place, fits: impl Fn(&Value) -> bool) -> anyhow::Result<()> {
        let looked = wait::until(what, PATIENCE, || {
            let status = self.status(place)?;
            ensure!(fits(&status), "{status:#}");
            Ok(())
        });
        let node = &self.nodes[place];
        looked.map_err(|error| match &node.process {
            Some(process) => error.context(format!("{}{}", node.name, process.said())),
            None => error,
        })
    }

    /// Waits until all these nodes say the same leader of the meta group, one of them, and returns its place.
    ///
    /// # Errors
    ///
    /// It takes too long.
    pub fn leader_among(&self, places: &[Place]) -> anyhow::Result<Place> {
        wait::until("a leader that all know", PATIENCE, || {
            let mut found = None;
            for place in places.iter().copied() {
                let status = self.status(place)?;
                let name = leader(&status).context("no leader is known")?.to_owned();
                ensure!(found.get_or_insert(name.clone()) == &name, "{found:?} and {name}");
            }
            let name = found.context("no node is asked")?;
            let place = places.iter().copied().find(|place| self.nodes[*place].name == name);
            place.with_context(|| format!("{name} leads, which is not one of {places:?}"))
        })
    }

    /// Waits until all nodes that run say the same leader of the meta group, one of them, and returns its place.
    ///
    /// # Errors
    ///
    /// It takes too long.
    pub fn leader(&self) -> anyhow::Result<Place> {
        self.leader_among(&self.running().collect::<Vec<_>>())
    }
}

fn said(program: &Path, args: &[&str]) -> anyhow::Result<Said> {
    let output = Command::new(program).args(args).stdin(Stdio::null()).output();
    let Output { status, stdout, stderr } = output.with_context(|| format!("cannot run {}", program.display()))?;
    let text = |bytes| String::from_utf8(bytes).context("the program says text");
    Ok(Said { status, output: text(stdout)?, errors: text(stderr)? })
}

/// The nodes of a status.
pub fn nodes(status: &Value) -> impl Iterator<Item = &Value> {
    status["nodes"].as_array().into_iter().flatten()
}

/// The name of the meta group's leader, in a status.
#[must_use]
pub fn leader(status: &Value) -> Option<&str> {
    let leader = &status["meta"]["leader"];
    nodes(status).find(|node| node["id"] == *leader)?["name"].as_str()
}

fn path(path: &Path) -> anyhow::Result<&str> {
    path.to_str().with_context(|| format!("{} is not UTF-8", path.display()))
}
