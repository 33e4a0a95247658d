//! What a child gets: its environment, its folder, its limits.

use std::os::unix::fs::PermissionsExt;

use quorate_stdio::{Folder, Program, Resources, Status, environment};

use crate::support::*;

#[tokio::test]
async fn the_environment_is_what_was_given_and_nothing_else() {
    let set = [("MY_KEY".into(), "a b\"c".into())];
    let bare = Program { environment: environment(["PATH"], set), ..program(&["env", "-0"]) };
    let (child, mut lines) = start(bare).await;

    let Some(quorate_stdio::Line::Garbage { shown, .. }) = within(lines.next()).await else {
        panic!("a list of variables is no message")
    };
    assert!(shown.contains("MY_KEY=a b\"c"), "{shown}");
    let path = std::env::var("PATH").unwrap();
    let rest = shown.replace("MY_KEY=a b\"c", "").replace(&format!("PATH={path}"), "");
    assert_eq!(rest, "", "there is nothing else");
    drop(child);
}

#[tokio::test]
async fn a_file_that_this_process_has_inherited_reaches_no_program() {
    // As one that whoever started the node has left open for it.
    let file = tempfile::tempfile().expect("a file");
    let inherited = rustix::io::fcntl_dupfd_cloexec(&file, 100).expect("a copy");
    rustix::io::fcntl_setfd(&inherited, rustix::io::FdFlags::empty()).expect("it stays open on exec");
    let number = std::os::fd::AsRawFd::as_raw_fd(&inherited);

    let look = format!("if [ -e /proc/$$/fd/{number} ]; then echo '[there]'; else echo '[gone]'; fi");
    let (_child, _lines, said) = started(&look).await;

    assert_eq!(said, "gone");
}

#[tokio::test]
async fn arguments_arrive_as_they_are_and_no_shell_sees_them() {
    let arguments = ["printf", "[\"%s %s %s\"]\n", "$HOME", "; echo x", "*"];
    let (_child, mut lines) = start(program(&arguments)).await;
    assert_eq!(said(&mut lines).await, "\"$HOME ; echo x *\"");
}

#[tokio::test]
async fn a_private_folder_is_empty_the_users_own_and_gone_in_the_end() {
    let (child, _lines, said) = started("touch here; mkdir -p a/b; echo \"[$(pwd)]\"; cat").await;
    let folder = std::path::PathBuf::from(said);
    let mode = std::fs::metadata(&folder).expect("it is there").permissions().mode();
    assert_eq!(mode & 0o777, 0o700);
    assert!(folder.join("here").exists());

    child.end();
    exited(&child).await;
    assert!(!folder.exists());
}

#[tokio::test]
async fn a_folder_that_was_given_stays() {
    let folder = tempfile::tempdir().expect("a folder");
    let at = Program { folder: Folder::At(folder.path().to_owned()), ..script("touch here; echo '[]'; cat") };
    let (child, mut lines) = start(at).await;
    said(&mut lines).await;

    child.end();
    exited(&child).await;
    assert!(folder.path().join("here").exists());
}

#[tokio::test]
async fn limits_are_set_for_good() {
    let resources = Resources { cpu_seconds: Some(100), memory_bytes: Some(64 << 20), files: Some(50) };
    let limited = Program { resources, ..script("echo \"[$(ulimit -t) $(ulimit -Hn) $(ulimit -d) $(ulimit -Hc)]\"") };
    let (_child, mut lines) = start(limited).await;
    assert_eq!(said(&mut lines).await, "100 50 65536 0");
}

#[tokio::test]
async fn a_child_without_limits_still_writes_no_core_dump() {
    let (_child, _lines, said) = started("echo \"[$(ulimit -Hc)]\"").await;
    assert_eq!(said, "0");
}

#[tokio::test]
async fn a_child_beyond_its_processor_time_is_killed() {
    let resources = Resources { cpu_seconds: Some(1), ..Resources::default() };
    let (child, _lines) = start(Program { resources, ..script("while :; do :; done") }).await;

    let exit = exited(&child).await;
    assert!(matches!(exit.status, Status::Signal(24 | 9)), "SIGXCPU, or SIGKILL a second later: {exit}");
}

#[tokio::test]
async fn a_child_beyond_its_memory_gets_no_more() {
    let eater = "x=$(head -c 100000000 /dev/zero | tr '\\000' x); echo '[too much]'";
    let resources = Resources { memory_bytes: Some(32 << 20), ..Resources::default() };
    let (child, mut lines) = start(Program { resources, ..script(eater) }).await;

    assert_eq!(within(lines.next()).await, None, "it does not get that far");
    assert_ne!(exited(&child).await.status, Status::Code(0));
}

#[tokio::test]
async fn a_child_can_gain_no_privileges() {
    let (_child, _lines, said) = started("grep NoNewPrivs /proc/self/status | sed 's/.*/[&]/'").await;
    assert!(said.ends_with('1'), "{said}");
}
