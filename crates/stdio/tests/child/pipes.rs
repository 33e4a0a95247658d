//! Messages in, lines out, and what children do to both.

use std::cell::Cell;
use std::time::Instant;

use quorate_stdio::{Limits, Line, Program, SendError, Status};

use crate::support::*;

#[tokio::test]
async fn messages_go_in_and_come_out_in_order() {
    let (child, mut lines) = start(program(&["cat"])).await;
    for index in 0..1_000 {
        child.send(message(&format!("[{index}]"))).await.expect("it is sent");
    }
    for index in 0..1_000 {
        assert_eq!(said(&mut lines).await, index.to_string());
    }
}

#[tokio::test]
async fn large_messages_of_many_senders_stay_whole() {
    let (child, mut lines) = start(program(&["cat"])).await;
    let senders = (0..8_u32).map(|sender| {
        let child = child.clone();
        tokio::spawn(async move {
            for index in 0..20_u32 {
                let text = format!("[\"{sender} {index} {}\"]", "x".repeat(200_000));
                child.send(message(&text)).await.expect("it is sent");
            }
        })
    });
    let senders: Vec<_> = senders.collect();
    let mut next = [0; 8];
    for _ in 0..160 {
        let line = said(&mut lines).await;
        let mut words = line.trim_matches('"').split(' ').map(str::to_owned);
        let mut number = || words.next().and_then(|word| word.parse::<usize>().ok()).expect("a number");
        let (sender, index) = (number(), number());
        assert_eq!(index, next[sender], "in the sender's order");
        next[sender] += 1;
        assert_eq!(words.next().map(|pad| pad.len()), Some(200_000));
    }
    for sender in senders {
        sender.await.expect("the sender ends");
    }
}

#[tokio::test]
async fn garbage_is_reported_and_the_messages_around_it_arrive() {
    let text = r#"
        printf '{"a":1}\n'; printf 'Server ready\n'; printf '\000\001\377\n'
        head -c 100000 /dev/zero | tr '\000' x; printf '\n'; printf '{"b":2}\n'"#;
    let mut noisy = script(text);
    noisy.limits.line_bytes_max = 50_000;
    let (_child, mut lines) = start(noisy).await;

    assert_eq!(said(&mut lines).await, r#"{"a":1}"#);
    let next = within(lines.next()).await;
    assert_eq!(next, Some(Line::Garbage { bytes: 12, shown: "Server ready".to_owned() }));
    assert!(matches!(within(lines.next()).await, Some(Line::Garbage { bytes: 3, .. })));
    assert_eq!(within(lines.next()).await, Some(Line::TooLong { bytes: 100_000 }));
    assert_eq!(said(&mut lines).await, r#"{"b":2}"#);
    assert_eq!(within(lines.next()).await, None);
}

#[tokio::test]
async fn a_child_that_never_reads_makes_senders_wait_and_then_fail() {
    let mut deaf = program(&["sleep", "1000"]);
    deaf.limits = Limits {
        outgoing_bytes_max: 100_000,
        outgoing_stall: std::time::Duration::from_millis(200),
        ..Limits::default()
    };
    let (child, _lines) = start(deaf).await;
    let large = format!("[\"{}\"]", "x".repeat(50_000));

    let mut sent = 0;
    let refused = loop {
        match within(child.send(message(&large))).await {
            Ok(()) => sent += 1,
            Err(refused) => break refused,
        }
    };

    assert!(matches!(refused, SendError::Stalled { .. }), "{refused}");
    assert!((1..=8).contains(&sent), "{sent} messages wait in the queue and the pipe, which are bounded");
    child.end();
    assert_eq!(child.send(message("[]")).await, Err(SendError::Ended));
}

#[tokio::test]
async fn a_child_that_floods_its_output_is_read_at_the_readers_pace() {
    let (child, mut lines, _) = started("while :; do echo '[1]'; done").await;
    let pid = child.guard_id();
    for _ in 0..10_000 {
        said(&mut lines).await;
    }
    // Nobody reads now: the pipe is full, and the child sleeps in its write.
    until(|| {
        let children = std::fs::read_to_string(format!("/proc/{pid}/task/{pid}/children")).unwrap_or_default();
        let stat = std::fs::read_to_string(format!("/proc/{}/stat", children.trim())).unwrap_or_default();
        stat.contains(") S ")
    })
    .await;
    child.end();
    assert!(exited(&child).await.asked);
}

#[tokio::test]
async fn a_child_that_floods_its_output_leaves_the_thread_to_other_tasks() {
    let (_child, mut lines) = start(program(&["yes", "[1]"])).await;
    let (in_one_turn, most) = (Cell::new(0), Cell::new(0));
    let reading = async {
        for _ in 0..200_000 {
            said(&mut lines).await;
            in_one_turn.set(in_one_turn.get() + 1);
            most.set(most.get().max(in_one_turn.get()));
        }
    };
    let turning = async {
        loop {
            in_one_turn.set(0);
            tokio::task::yield_now().await;
        }
    };

    tokio::select! {
        () = reading => {}
        () = turning => {}
    }
    // One read brings thousands of them.
    assert!(most.get() < 1_000, "{} lines were read before another task had its turn", most.get());
}

#[tokio::test]
async fn a_child_that_floods_its_output_with_what_is_no_message_is_slowed_down() {
    let flood = r#"
        yes "a line that says nothing at all" | head -c 3000000
        echo '[0]'"#;
    let (_child, mut lines) = start(script(flood)).await;
    let (began, cpu_before) = (Instant::now(), own_cpu());
    let mut garbage = 0;
    while let Some(Line::Garbage { bytes, .. }) = within(lines.next()).await {
        garbage += bytes + 1;
    }
    let share = (own_cpu() - cpu_before) / began.elapsed().as_secs_f64();

    assert!(garbage >= 2_999_000, "{garbage} bytes");
    assert!(began.elapsed() > std::time::Duration::from_secs(2), "a mebibyte takes a second: {:?}", began.elapsed());
    assert!(share < 0.5, "reading the flood takes {share:.2} of a core");
}

#[tokio::test]
async fn a_child_that_floods_its_error_output_is_slowed_down_and_works_on() {
    let flood = r#"
        yes "a line that says nothing at all" >&2 &
        echo '[0]'; while read line; do echo "$line"; done"#;
    let (child, mut lines, _) = started(flood).await;
    let (began, cpu_before) = (Instant::now(), own_cpu());
    for index in 0..200 {
        child.send(message(&format!("[{index}]"))).await.expect("it is sent");
        assert_eq!(said(&mut lines).await, index.to_string());
        tokio::time::sleep(std::time::Duration::from_millis(5)).await;
    }
    let share = (own_cpu() - cpu_before) / began.elapsed().as_secs_f64();

    assert!(share < 0.5, "reading the flood takes {share:.2} of a core");
    child.end();
    let exit = exited(&child).await;
    assert!(exit.last_words.iter().any(|line| line == "a line that says nothing at all"), "{exit}");
    assert!(exit.last_words.len() <= 10, "{exit}");
}

/// The processor time of this process in seconds.
fn own_cpu() -> f64 {
    let stat = std::fs::read_to_string("/proc/self/stat").expect("Linux");
    let (_, rest) = stat.rsplit_once(')').expect("a name in brackets");
    let ticks: Vec<f64> =
        rest.split_ascii_whitespace().skip(11).take(2).map(|ticks| ticks.parse().expect("a number")).collect();
    (ticks[0] + ticks[1]) / 100.0
}

#[tokio::test]
async fn a_program_that_does_not_exist_says_so_in_its_exit() {
    let (child, mut lines) = start(program(&["no-such-program", "argument"])).await;
    assert_eq!(within(lines.next()).await, None);

    let exit = exited(&child).await;
    assert_eq!(exit.status, Status::Code(127));
    assert!(!exit.asked);
    assert!(exit.to_string().contains("cannot run \"no-such-program\": No such file"), "{exit}");
}

#[tokio::test]
async fn a_folder_that_does_not_exist_says_so_in_its_exit() {
    let lost = Program { folder: quorate_stdio::Folder::At("/no/such/folder".into()), ..program(&["cat"]) };
    let (child, _lines) = start(lost).await;

    let exit = exited(&child).await;
    assert!(matches!(exit.status, Status::NotStarted(_)), "{exit}");
    assert!(exit.to_string().contains("No such file"), "{exit}");
}

#[tokio::test]
async fn an_exit_shows_the_code_and_the_last_words() {
    let (child, mut lines) = start(script("echo starting >&2; printf '\\033[1mno database\\033[0m' >&2; exit 3")).await;
    assert_eq!(within(lines.next()).await, None);

    let exit = exited(&child).await;
    assert_eq!(exit.status, Status::Code(3));
    assert_eq!(exit.last_words, ["starting", "no database"]);
}
