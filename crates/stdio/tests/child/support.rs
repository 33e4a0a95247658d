//! Programs to start, and a look at the machine's processes.

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use quorate_stdio::{Child, Exit, Folder, Guard, INHERITED, Limits, Line, Lines, Program, Resources, environment};

/// How long a test waits for anything: far beyond what it takes.
pub(crate) const PATIENCE: Duration = Duration::from_secs(20);

/// A guard that is the binary of this crate.
pub(crate) fn guard() -> Guard {
    Guard::at(PathBuf::from(env!("CARGO_BIN_EXE_quorate-stdio-guard")))
}

/// A program with defaults.
pub(crate) fn program(argv: &[&str]) -> Program {
    Program {
        name: "test".into(),
        argv: argv.iter().map(OsString::from).collect(),
        environment: environment(INHERITED, []),
        folder: Folder::Private,
        resources: Resources::default(),
        limits: Limits::default(),
    }
}

/// A script of `sh`.
pub(crate) fn script(text: &str) -> Program {
    program(&["sh", "-c", text])
}

pub(crate) async fn start(program: Program) -> (Child, Lines) {
    Child::start(&Arc::new(program), &guard()).await.expect("the child starts")
}

/// Starts a script and waits for its first line, a message, which tells what the test wants to know.
pub(crate) async fn started(text: &str) -> (Child, Lines, String) {
    let (child, mut lines) = start(script(text)).await;
    let said = said(&mut lines).await;
    (child, lines, said)
}

/// The next line, which has to be a message: without the brackets that make it one.
pub(crate) async fn said(lines: &mut Lines) -> String {
    match within(lines.next()).await {
        Some(Line::Message(bytes)) => {
            let text = String::from_utf8(bytes.to_vec()).expect("text");
            text.trim_start_matches('[').trim_end_matches(']').to_owned()
        }
        other => panic!("a message is expected, not {other:?}"),
    }
}

pub(crate) async fn exited(child: &Child) -> Arc<Exit> {
    within(child.exited()).await
}

pub(crate) async fn within<T>(future: impl Future<Output = T>) -> T {
    tokio::time::timeout(PATIENCE, future).await.expect("it takes no such time")
}

pub(crate) fn message(text: &str) -> Bytes {
    Bytes::copy_from_slice(text.as_bytes())
}

/// Tells whether a process exists and has not ended (a zombie has).
pub(crate) fn lives(pid: &str) -> bool {
    let stat = std::fs::read_to_string(Path::new("/proc").join(pid).join("stat"));
    stat.is_ok_and(|stat| !stat.rsplit_once(')').is_some_and(|(_, rest)| rest.trim_start().starts_with('Z')))
}

/// Waits until a process is gone.
pub(crate) async fn gone(pid: &str) {
    until(|| !lives(pid)).await;
}

pub(crate) async fn until(mut holds: impl FnMut() -> bool) {
    let deadline = Instant::now() + PATIENCE;
    while !holds() {
        assert!(Instant::now() < deadline, "it does not become true");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}
