//! What each command of the page must answer.
//!
//! Rows are in the page's order. Commands that show how something goes on are asked again until they show it.

use std::fs;

use anyhow::{Context as _, bail, ensure};
use quorate_cluster::{free_address, nothing_is_wrong, paths, wait};

use crate::page;
use crate::shell::Shell;
use crate::{HERE, PATIENCE, alone};

/// Where the page is, in the repository.
const PAGE: &str = "docs/src/cluster.md";

/// A command, and what comes of it.
struct Row(&'static str, Answer);

/// What comes of a command.
enum Answer {
    /// It sets a variable of the shell.
    Sets,
    /// It ends with this exit code, having said this.
    Ends(i32, &'static str),
    /// It ends so when it is asked often enough: it shows what goes on.
    Comes(i32, &'static str),
    /// It is a check that finds nothing wrong when it is asked often enough.
    Fine,
    /// It stays, and says this when it is ready; if it ran before, it is ended first.
    Stays(&'static str),
    /// It ends well, and then what stays says this.
    Heard(&'static str, &'static str),
    /// It ends well, and then what stays ends, too.
    EndsOther(&'static str),
    /// As [`Answer::Ends`], on a machine with another data directory.
    On(&'static str, &'static str),
    /// As [`Answer::Stays`], on a machine with another data directory.
    StaysOn(&'static str, &'static str),
}

use Answer::{Comes, Ends, EndsOther, Fine, Heard, On, Sets, Stays, StaysOn};

const UP: &str = "quorate up --nodes 3 --data-dir trial";
const SERVE_4: &str =
    "quorate serve --data-dir node-4 --node-name node-4 --peer-listen 127.0.0.1:4392 --admin 127.0.0.1:4391";
const JOIN_4: &str = "quorate cluster token new | quorate cluster join --data-dir node-4 -";
const STATUS: &str = "quorate cluster status";
const DIFF: &str = "quorate diff -f resources/";
const WAITS: &str = "this node is in no cluster and waits";

const ROWS: &[Row] = &[
    Row(UP, Stays("a cluster of 3 nodes is up")),
    Row("export QUORATE_CONTEXT=trial/context.yaml", Sets),
    Row(STATUS, Ends(0, "node-3")),
    Row("quorate check", Fine),
    Row("mkdir resources", Ends(0, "")),
    Row(
        "cat > resources/files.yaml <<'END'\nkind: ToolServer\nname: files\nspec:\n  urls: [http://127.0.0.1:9000/mcp]\nEND",
        Ends(0, ""),
    ),
    Row(DIFF, Ends(1, "against revision 1: 1 added")),
    Row("quorate apply -f resources/ -m 'new tool server' --wait", Ends(0, "revision 2 is active on all nodes")),
    Row(DIFF, Ends(0, "")),
    Row("quorate get all", Ends(0, "files")),
    Row("quorate get ToolServer files -o yaml", Ends(0, "http://127.0.0.1:9000/mcp")),
    Row("quorate history", Ends(0, "new tool server")),
    Row("quorate rollback 1 -m 'not yet'", Ends(0, "revision 3")),
    Row("quorate apply -f resources/ --source shop --prune --dry-run", Ends(0, "dry run at revision 3: 1 added")),
    Row("quorate apply --watch -f resources/ --source shop --prune", Stays("revision 4")),
    Row("quorate sessions list", Ends(0, "no sessions")),
    Row("quorate top --once", Ends(0, "3 nodes, as node")),
    Row(
        "kill -9 $(pgrep -f \"$PWD/trial/node-3\")",
        Heard(UP, "node-3 ended (signal: 9 (SIGKILL)); the others go on, and it is started again"),
    ),
    Row(STATUS, Ends(0, "node-3")),
    Row("quorate check", Fine),
    Row(UP, Stays("a cluster of 3 nodes is up")),
    Row("quorate get ToolServer files", Comes(0, "files")),
    Row("quorate cluster backup catalog.backup", Ends(0, "catalog.backup has the catalog in")),
    Row("quorate delete ToolServer files", Ends(0, "revision")),
    Row("quorate cluster restore catalog.backup", Ends(0, "added")),
    Row("quorate cluster rotate-authority", Ends(0, "next: quorate cluster rotate-authority --step announce")),
    Row("quorate cluster rotate-authority --step announce", Ends(0, "is announced")),
    Row("quorate cluster rotate-authority --step switch", Comes(0, "signed before")),
    Row("quorate cluster operator new --name root --role admin --out renewed", Ends(0, "is the context of root")),
    Row("export QUORATE_CONTEXT=renewed/context.yaml", Sets),
    Row("quorate cluster rotate-authority --step retire", Comes(0, "--step announce")),
    Row(STATUS, Ends(0, "node-3")),
    Row(SERVE_4, Stays(WAITS)),
    Row(JOIN_4, Ends(0, "this is node 4 of cluster")),
    Row(STATUS, Ends(0, "node-4")),
    Row("quorate cluster drain node-4", Ends(0, "is being drained")),
    Row("quorate cluster undrain node-4", Ends(0, "takes work again")),
    Row("quorate cluster leave node-4", EndsOther(SERVE_4)),
    Row("rm -r node-4", Ends(0, "")),
    Row(SERVE_4, Stays(WAITS)),
    Row(JOIN_4, Ends(0, "this is node 5 of cluster")),
    Row("quorate cluster replace node-3 --by node-4", Heard(UP, "node-3 is no node of the cluster any more")),
    Row(STATUS, Ends(0, "node-4")),
    Row("kill -9 $(pgrep -f \"data-dir node-4 .*127.0.0.1:4391\")", EndsOther(SERVE_4)),
    Row("quorate cluster remove node-4 --force", Ends(0, "is removed")),
    Row(STATUS, Ends(0, "node-2")),
    Row("unset QUORATE_CONTEXT", Sets),
    Row(
        "quorate serve --data-dir /var/lib/quorate --node-name node-1 --peer-listen 10.0.0.1:4192 --admin 10.0.0.1:4191",
        StaysOn("machine-1", WAITS),
    ),
    Row("quorate cluster init --data-dir /var/lib/quorate", On("machine-1", "is made, of node 1 alone")),
    Row("quorate cluster token new > token", Ends(0, "")),
    Row(
        "quorate serve --data-dir /var/lib/quorate --node-name node-2 --peer-listen 10.0.0.2:4192 --admin 10.0.0.2:4191",
        StaysOn("machine-2", WAITS),
    ),
    Row("quorate cluster join --data-dir /var/lib/quorate - < token", On("machine-2", "this is node 2 of cluster")),
    Row("quorate cluster operator new --name ana --role operator --out ana", Ends(0, "is the context of ana")),
    Row("quorate --context ana/context.yaml cluster status", Ends(0, "node-2")),
    Row("quorate cluster operator list", Ends(0, "ana")),
    Row("quorate cluster operator revoke ana", Ends(0, "1 certificate of ana revoked")),
];

/// What of the page is otherwise here: addresses that are free, ports that nobody else has, and few shards.
struct Here(Vec<(&'static str, String)>);

// === impl Here ===

impl Here {
    fn new() -> anyhow::Result<Self> {
        let mut otherwise = vec![
            (UP, format!("{UP} {HERE}")),
            ("quorate cluster init ", "quorate cluster init --shards 4 ".to_owned()),
        ];
        for address in
            ["127.0.0.1:4391", "127.0.0.1:4392", "10.0.0.1:4191", "10.0.0.1:4192", "10.0.0.2:4191", "10.0.0.2:4192"]
        {
            otherwise.push((address, free_address()?.to_string()));
        }
        Ok(Self(otherwise))
    }

    fn command(&self, text: &str) -> String {
        self.0.iter().fold(text.to_owned(), |text, (there, here)| text.replace(there, here))
    }
}

#[test]
fn every_command_of_the_page_does_what_the_page_says() -> anyhow::Result<()> {
    let text = fs::read_to_string(paths::repository().join(PAGE)).with_context(|| format!("there is {PAGE}"))?;
    let commands = page::commands(&text)?;
    for (command, Row(known, _)) in commands.iter().zip(ROWS) {
        ensure!(
            command.text == *known,
            "{PAGE}:{}: {:?} comes where the table has {known:?}",
            command.line,
            command.text
        );
    }
    ensure!(commands.len() == ROWS.len(), "{PAGE} has {} commands, and the table {}", commands.len(), ROWS.len());

    let _alone = alone();
    let (folder, here) = (tempfile::tempdir()?, Here::new()?);
    let mut shell = Shell::new(folder.path())?;
    for (command, Row(_, answer)) in commands.iter().zip(ROWS) {
        let done = follow(&mut shell, &here, &command.text, answer);
        done.with_context(|| format!("{PAGE}:{}: `{}`{}", command.line, command.text, shell.said()))?;
    }
    Ok(())
}

fn follow(shell: &mut Shell<'_>, here: &Here, text: &str, answer: &Answer) -> anyhow::Result<()> {
    let command = here.command(text);
    match answer {
        Sets => ensure!(shell.sets(&command), "it sets nothing"),
        Ends(code, says) => ends(shell, &command, *code, says)?,
        Comes(code, says) => wait::until("what it shall say", PATIENCE, || ends(shell, &command, *code, says))?,
        Fine => wait::until("a cluster with which nothing is wrong", PATIENCE, || {
            let (ended, said) = shell.run(&command)?;
            nothing_is_wrong(ended, &said)
        })?,
        Stays(says) => shell.start(&command, says)?,
        Heard(other, says) => {
            ends(shell, &command, 0, "")?;
            shell.hears(&here.command(other), says)?;
        }
        EndsOther(other) => {
            ends(shell, &command, 0, "")?;
            shell.ends(&here.command(other))?;
        }
        On(machine, says) => ends(shell, &command.replace("/var/lib/quorate", machine), 0, says)?,
        StaysOn(machine, says) => shell.start(&command.replace("/var/lib/quorate", machine), says)?,
    }
    Ok(())
}

fn ends(shell: &Shell<'_>, command: &str, code: i32, says: &str) -> anyhow::Result<()> {
    let (ended, said) = shell.run(command)?;
    if ended != Some(code) || !said.contains(says) {
        bail!("it ended with {ended:?} and not {code}, or did not say {says:?}:\n{said}");
    }
    Ok(())
}
