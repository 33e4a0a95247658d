//! How children end, by themselves or not, and that nothing of them is left.

use std::process::{Command, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

use quorate_stdio::{Child, ENDING_MAX, Program, Status};

use crate::support::*;

#[tokio::test]
async fn a_child_that_follows_the_protocol_ends_when_its_input_does() {
    let (child, mut lines) = start(program(&["cat"])).await;
    let began = Instant::now();
    child.end();

    let exit = exited(&child).await;
    assert_eq!((exit.status, exit.asked), (Status::Code(0), true));
    assert!(began.elapsed() < Duration::from_secs(2), "without the grace");
    assert_eq!(within(lines.next()).await, None);
}

#[tokio::test]
async fn a_child_that_hangs_on_its_end_is_killed_within_the_bound() {
    let stubborn = "trap '' TERM INT HUP; echo \"[$$]\"; while :; do sleep 1000; done";
    let (child, _lines, pid) = started(stubborn).await;
    let began = Instant::now();
    child.end();

    let exit = exited(&child).await;
    assert_eq!(exit.status, Status::Signal(9));
    assert!(began.elapsed() < ENDING_MAX, "{:?}", began.elapsed());
    assert!(!lives(&pid));
}

#[tokio::test]
async fn a_dropped_child_is_ended() {
    let (child, lines, pid) = started("echo \"[$$]\"; sleep 1000").await;
    let clone = child.clone();
    drop((child, lines));
    assert!(lives(&pid), "a clone is left");
    drop(clone);
    gone(&pid).await;
}

/// Forks twice and makes a session of its own, as daemons do; the program itself reads on.
const FORKING: &str = r#"
    sh -c 'setsid sh -c "trap \"\" HUP TERM; echo \$\$ > daemon; exec sleep 1000" & exit' &
    wait; until [ -s daemon ]; do sleep 0.01; done; echo "[$(cat daemon)]"; "#;

#[tokio::test]
async fn what_a_child_has_put_into_the_background_ends_with_it() {
    let (child, _lines, daemon) = started(&format!("{FORKING} cat")).await;
    assert!(lives(&daemon));

    child.end();
    exited(&child).await;
    assert!(!lives(&daemon), "nothing is left when the end is told");
}

#[tokio::test]
async fn a_child_that_exits_takes_what_it_started_with_it() {
    let (child, _lines, daemon) = started(&format!("{FORKING} exit 5")).await;

    assert_eq!(exited(&child).await.status, Status::Code(5));
    assert!(!lives(&daemon));
}

#[tokio::test]
async fn a_child_that_never_stops_forking_is_caught() {
    // Each one starts its successor and ends: no process id stays valid for long.
    let comet = r#"
        f() { trap '' TERM; echo x >> sparks; (f) & exit; }
        (f) & until [ -s sparks ]; do sleep 0.01; done; echo "[$PWD/sparks]"; cat"#;
    let (child, _lines, sparks) = started(comet).await;
    assert!(std::path::Path::new(&sparks).exists());

    child.end();
    exited(&child).await;
    assert!(!std::path::Path::new(&sparks).exists(), "nobody is left to write there");
}

#[tokio::test]
async fn a_child_that_forks_fast_is_ended_within_the_bound_and_nothing_is_left() {
    // Each one starts two that go on, until there are sixty-four, and then starts its successor and ends: without
    // the guard that ends by itself after some generations. All are deaf to polite signals.
    let bomb = r#"
        trap '' TERM HUP
        f() {
            [ $1 -lt 3000 ] || exit
            if [ $1 -lt 6 ]; then (f $(($1 + 1))) & fi
            (f $(($1 + 1))) & exit
        }
        (f 0) & echo "[$$]"; while :; do sleep 1 & wait; done"#;
    let mut bomb = script(bomb);
    bomb.limits.grace = Duration::ZERO;
    let (child, mut lines) = start(bomb).await;
    let pid = said(&mut lines).await;
    let guard = child.guard_id().to_string();
    until(|| descendants(&guard).len() > 30).await;
    let began = Instant::now();
    child.end();

    let exit = exited(&child).await;
    assert_eq!(exit.status, Status::Signal(9), "the guard told how it ended");
    assert!(began.elapsed() < ENDING_MAX, "{:?}", began.elapsed());
    assert!(!lives(&pid) && !lives(&guard), "a guard ends when nothing is left");
}

#[tokio::test]
async fn a_guard_that_is_late_is_left_to_its_work_and_told_of() {
    let (child, _lines, daemon) = started(&format!("{FORKING} exec sleep 1000")).await;
    let guard = child.guard_id();
    // It cannot do anything for as long as it is stopped.
    kill("STOP", guard);
    child.end();

    let exit = exited(&child).await;
    assert_eq!((exit.status, exit.asked), (Status::Unfinished, true));
    assert!(lives(&daemon) && lives(&guard.to_string()));

    kill("CONT", guard);
    gone(&daemon).await;
    // Not a zombie either: somebody waits for it.
    until(|| !std::path::Path::new(&format!("/proc/{guard}")).exists()).await;
}

#[tokio::test]
async fn a_crash_that_takes_long_to_clear_up_is_no_end_that_was_asked_for() {
    // What it leaves ignores SIGTERM, so that the guard is at work for a second, and has the output closed.
    let (child, mut lines, _) =
        started("(trap '' TERM; echo '[0]'; exec sleep 1000 <&- >&- 2>&-) & sleep 0.1; exit 7").await;
    assert_eq!(within(lines.next()).await, None);
    child.watch().discard();
    drop(lines);
    let watch = child.watch();
    drop(child);

    let exit = within(watch.exited()).await;
    assert_eq!((exit.status, exit.asked), (Status::Code(7), false));
}

#[tokio::test]
async fn a_child_that_breaks_its_input_is_not_open_and_whoever_gives_it_up_has_not_asked_for_its_end() {
    let (child, _lines, _) = started("exec <&-; echo '[0]'; exec sleep 1000").await;
    assert!(child.is_open(), "it does not show before something is sent");
    // Written now, or by the attendant; and as long as its guard has the other end, too, it is taken.
    until_sent_in_vain(&child).await;
    assert_eq!(child.send(message("[]")).await, Err(quorate_stdio::SendError::Ended));
    child.end();
    assert!(!exited(&child).await.asked);
}

/// Sends until it shows that nobody reads any more.
async fn until_sent_in_vain(child: &Child) {
    let deadline = Instant::now() + PATIENCE;
    while child.is_open() {
        assert!(Instant::now() < deadline, "it is still open");
        let _taken_or_not = child.send(message("[]")).await;
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

#[tokio::test]
async fn a_child_whose_start_nobody_waits_for_is_ended_and_waited_for() {
    // The name stands in the guard's arguments.
    let left = Arc::new(Program { name: "left-while-it-starts".into(), ..program(&["cat"]) });
    for _ in 0..20 {
        let guard = guard();
        let start = Child::start(&left, &guard);
        tokio::select! {
            biased;
            _ = start => unreachable!("a start takes longer than this"),
            () = std::future::ready(()) => {}
        }
    }
    // Started behind them.
    let (child, _lines) = start(program(&["cat"])).await;
    child.end();
    exited(&child).await;

    let of_all = |file: &str| {
        let processes = std::fs::read_dir("/proc").expect("Linux").flatten();
        let text = |process: std::fs::DirEntry| std::fs::read_to_string(process.path().join(file)).ok();
        processes.filter_map(text).collect::<Vec<String>>()
    };
    let zombie = format!(") Z {} ", std::process::id());
    until(|| !of_all("cmdline").iter().any(|arguments| arguments.contains("left-while-it-starts"))).await;
    until(|| !of_all("stat").iter().any(|stat| stat.contains(&zombie))).await;
}

#[tokio::test]
async fn a_child_dies_with_its_guard() {
    let (child, _lines, pid) = started("echo \"[$$]\"; sleep 1000; :").await;
    kill("KILL", child.guard_id());

    assert_eq!(exited(&child).await.status, Status::Unknown);
    gone(&pid).await;
}

#[tokio::test]
async fn a_guard_that_is_told_to_end_takes_its_child_along() {
    let (child, _lines, daemon) = started(&format!("{FORKING} exec sleep 1000")).await;
    kill("TERM", child.guard_id());

    let exit = exited(&child).await;
    assert_eq!((exit.status, exit.asked), (Status::Signal(15), false));
    assert!(!lives(&daemon));
}

#[tokio::test]
async fn a_stopped_child_is_ended_too() {
    let (child, _lines, pid) = started("echo \"[$$]\"; kill -STOP $$").await;
    until(|| std::fs::read_to_string(format!("/proc/{pid}/stat")).is_ok_and(|stat| stat.contains(") T "))).await;
    child.end();

    assert_eq!(exited(&child).await.status, Status::Signal(9));
}

#[tokio::test]
async fn a_child_that_kills_its_process_group_leaves_the_guard_alive_to_tell() {
    let (child, _lines, _) = started("echo '[]'; kill -KILL 0").await;
    assert_eq!(exited(&child).await.status, Status::Signal(9));
}

#[tokio::test]
async fn a_hundred_children_start_and_end_at_once() {
    let cat = Arc::new(program(&["cat"]));
    let started: Vec<_> = (0..100)
        .map(|_| {
            let cat = Arc::clone(&cat);
            tokio::spawn(async move { Child::start(&cat, &guard()).await.expect("it starts") })
        })
        .collect();
    let mut children = Vec::new();
    for child in started {
        children.push(within(child).await.expect("no panic"));
    }
    for (child, _) in &children {
        child.end();
    }
    for (child, _) in &children {
        assert_eq!(exited(child).await.status, Status::Code(0));
        assert!(!lives(&child.guard_id().to_string()));
    }
}

/// The node of the test below, which starts it as a process of its own.
#[tokio::test]
#[ignore = "it waits to be killed"]
async fn node_to_be_killed() {
    let (child, _lines, daemon) = started(&format!("{FORKING} trap '' TERM; while :; do sleep 1000; done")).await;
    println!("daemon {daemon}, guard {}", child.guard_id());
    std::future::pending().await
}

#[tokio::test]
async fn nothing_outlives_a_node_that_is_killed() {
    let folders = tempfile::tempdir().expect("a folder");
    let mut node = Command::new(std::env::current_exe().expect("this test"))
        .env("TMPDIR", folders.path())
        .args(["--exact", "ending::node_to_be_killed", "--ignored", "--nocapture"])
        .stdout(Stdio::piped())
        .spawn()
        .expect("the node starts");
    let mut output = std::io::BufReader::new(node.stdout.take().expect("it is piped"));
    let (daemon, guard) = loop {
        let mut line = String::new();
        assert!(std::io::BufRead::read_line(&mut output, &mut line).expect("it is read") > 0, "the node says nothing");
        if let Some((_, said)) = line.trim().split_once("daemon ") {
            let (daemon, guard) = said.split_once(", guard ").expect("both");
            break (daemon.to_owned(), guard.to_owned());
        }
    };
    let left = || std::fs::read_dir(folders.path()).expect("it is there").count();
    assert_eq!(left(), 1, "the program's own folder");
    // The system's list of children may lack some while one of them ends.
    let mut below = Vec::new();
    until(|| {
        below = descendants(&guard);
        lives(&daemon) && below.contains(&daemon) && below.len() >= 3
    })
    .await;

    node.kill().expect("it is killed");
    node.wait().expect("it ends");

    for pid in below.iter().chain([&guard]) {
        gone(pid).await;
    }
    assert_eq!(left(), 0, "its folder is gone, too");
}

fn kill(signal: &str, pid: u32) {
    let status = Command::new("kill").args(["-s", signal, &pid.to_string()]).status().expect("kill runs");
    assert!(status.success());
}

/// All processes below one.
fn descendants(of: &str) -> Vec<String> {
    let mut found = Vec::new();
    let mut open = vec![of.to_owned()];
    while let Some(pid) = open.pop() {
        let list = std::fs::read_to_string(format!("/proc/{pid}/task/{pid}/children")).unwrap_or_default();
        let below = list.split_ascii_whitespace().map(str::to_owned);
        for child in below {
            found.push(child.clone());
            open.push(child);
        }
    }
    found
}
