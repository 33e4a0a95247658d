//! Limits of a listener, slow clients, and the end of the process.

use std::{
    io::{Read as _, Write as _},
    process::Command,
    sync::{
        Arc, Mutex,
        atomic::{AtomicU64, Ordering},
        mpsc::{SyncSender, sync_channel},
    },
    thread,
    time::{Duration, Instant},
};

use quorate_tests::{http as plain, wait};
use serde_json::json;

use crate::support::{
    PATIENCE,
    backend::Backend,
    client,
    gateway::{Documents, Gateway, modern_request},
    mcp::{Mcp, said},
    session::Session,
};

/// A server whose tool `slow` answers when the test says so, once per message.
fn gated() -> anyhow::Result<(Backend, SyncSender<()>)> {
    let (release, gate) = sync_channel::<()>(64);
    let gate = Mutex::new(gate);
    let mcp = Mcp::new("a").tools(&["slow", "echo"]).rule(move |seen, out| {
        let is_slow = seen.method() == "tools/call" && seen.params()["name"] == "slow";
        if is_slow {
            gate.lock().expect("no holder panics").recv().ok();
            out.result(seen, &said("at last"));
        }
        is_slow
    });
    Ok((mcp.start()?, release))
}

fn calls(backend: &Backend, count: usize) -> anyhow::Result<()> {
    wait::until("the calls at the server", PATIENCE, || {
        let seen = backend.count("tools/call");
        anyhow::ensure!(seen >= count, "{seen} of {count}");
        Ok(())
    })
}

#[test]
fn requests_over_the_concurrency_limit_are_shed_with_503_and_a_hint() -> anyhow::Result<()> {
    let (backend, release) = gated()?;
    let gateway = Arc::new(Documents::new().server("a", &backend.url()).limit("concurrency", 2).start()?);
    let waiting: Vec<_> = (0..2)
        .map(|_| {
            let gateway = Arc::clone(&gateway);
            thread::spawn(move || gateway.call("slow"))
        })
        .collect();
    calls(&backend, 2)?;

    let shed = gateway.modern("third", "tools/call", json!({ "name": "echo" }))?;

    assert_eq!((shed.status, shed.header("retry-after")), (503, Some("1")));
    assert_eq!(shed.message()?["id"], "third");
    release.send(())?;
    release.send(())?;
    for one in waiting {
        assert_eq!(one.join().expect("the thread does not panic")?, "at last");
    }
    assert_eq!(gateway.call("echo")?, "a:echo");
    gateway.metric_until("quorate_limit", "concurrency", |hits| hits >= 1.0)?;
    Ok(())
}

#[test]
fn connections_over_the_limit_wait_until_one_ends() -> anyhow::Result<()> {
    let backend = Mcp::new("a").start()?;
    let gateway = Documents::new().server("a", &backend.url()).limit("connections", 2).start()?;
    // A connection counts once it is accepted; an answered request proves that.
    let hold = || -> anyhow::Result<_> {
        let mut socket = client::connect(gateway.address)?;
        socket.write_all(b"GET /nothing HTTP/1.1\r\nhost: localhost\r\n\r\n")?;
        assert_eq!(client::read_head(&mut socket)?.status, 404);
        Ok(socket)
    };
    let (first, second) = (hold()?, hold()?);

    let mut third = client::connect(gateway.address)?;
    third.write_all(b"GET /nothing HTTP/1.1\r\nhost: localhost\r\n\r\n")?;
    third.set_read_timeout(Some(Duration::from_millis(300)))?;
    let early = third.read(&mut [0; 1]);
    assert!(early.is_err(), "a third connection is served: {early:?}");

    drop(first);
    third.set_read_timeout(Some(PATIENCE))?;
    assert_eq!(client::read_head(&mut third)?.status, 404);
    drop(second);
    Ok(())
}

#[test]
fn a_client_that_sends_slowly_loses_its_connection() -> anyhow::Result<()> {
    let backend = Mcp::new("a").start()?;
    let gateway = Documents::new().server("a", &backend.url()).limit("receive", "1s").limit("idle", "1s").start()?;
    let started = Instant::now();

    let mut headless = client::connect(gateway.address)?;
    headless.write_all(b"POST /mcp HTTP/1.1\r\nhost: localhost\r\nx-slow: ")?;
    let mut bodyless = client::connect(gateway.address)?;
    bodyless.write_all(
        b"POST /mcp HTTP/1.1\r\nhost: localhost\r\ncontent-length: 100\r\ncontent-type: application/json\r\n\r\n{",
    )?;
    let mut idle = client::connect(gateway.address)?;
    idle.write_all(b"GET /nothing HTTP/1.1\r\nhost: localhost\r\n\r\n")?;

    assert_eq!(client::read_head(&mut bodyless)?.status, 408);
    let mut rest = Vec::new();
    // What matters is that both end: with an error status or without one.
    headless.read_to_end(&mut rest)?;
    idle.read_to_end(&mut rest)?;
    assert!(started.elapsed() < PATIENCE, "{:?}", started.elapsed());
    assert_eq!(gateway.call("echo")?, "a:echo");
    Ok(())
}

#[test]
fn a_request_over_its_total_time_is_504_with_its_id() -> anyhow::Result<()> {
    let (backend, _release) = gated()?;
    let gateway = Documents::new().server("a", &backend.url()).limit("receive", "1s").limit("total", "1s").start()?;

    let late = gateway.modern("late", "tools/call", json!({ "name": "slow" }))?;

    assert_eq!(late.status, 504);
    let message = late.message()?;
    assert_eq!((&message["id"], &message["error"]["code"]), (&json!("late"), &json!(-31006)), "{message}");
    Ok(())
}

/// A server whose tool streams messages of 64 KiB as fast as they are taken, and how many bytes it got rid of.
fn flood() -> anyhow::Result<(Backend, Arc<AtomicU64>)> {
    let sent = Arc::new(AtomicU64::new(0));
    let counting = Arc::clone(&sent);
    let note = json!({ "jsonrpc": "2.0", "method": "notifications/message", "params": { "level": "info", "data": "x".repeat(64 * 1024) } });
    let backend = Mcp::new("a").on("tools/call", move |seen, out| {
        while counting.load(Ordering::Relaxed) < 1 << 30 {
            if !out.message(&note) {
                return;
            }
            counting.fetch_add(64 * 1024, Ordering::Relaxed);
        }
        out.message(&json!({ "jsonrpc": "2.0", "id": seen.id(), "result": said("done") }));
        out.end_events();
    });
    Ok((backend.start()?, sent))
}

/// Waits until nothing more is sent, and returns how much was.
fn standstill(sent: &AtomicU64) -> anyhow::Result<u64> {
    let (mut last, mut since) = (0, Instant::now());
    wait::until("the flood to stand still", PATIENCE, || {
        let now = sent.load(Ordering::Relaxed);
        if now != last {
            (last, since) = (now, Instant::now());
        }
        anyhow::ensure!(now > 0 && since.elapsed() > Duration::from_secs(1), "{now} bytes were sent");
        Ok(now)
    })
}

/// What may be under way: buffers of two sockets (Linux: up to 6 MiB and 4 MiB each way), rings and windows.
const UNDER_WAY_MAX: u64 = 48 * 1024 * 1024;

#[test]
fn a_client_that_reads_nothing_stops_its_backend_and_grows_no_memory() -> anyhow::Result<()> {
    for era in ["2025-11-25", "2026-07-28"] {
        let (backend, sent) = flood()?;
        let gateway = Documents::new().server("a", &backend.url()).limit("stall", "10m").start()?;
        let session = Session::open(&gateway, "2025-11-25")?;
        gateway.tools()?;
        let before = gateway.memory()?;
        let params = json!({ "name": "echo", "arguments": {} });

        let unread = if era == "2025-11-25" {
            session.request(1, "tools/call", params)?
        } else {
            gateway.modern(1, "tools/call", params)?
        };
        assert_eq!(unread.status, 200, "{era}");
        let taken = standstill(&sent)?;

        let grown = gateway.memory()?.saturating_sub(before);
        assert!(taken < UNDER_WAY_MAX, "{era}: {taken} bytes were taken from the server");
        assert!(grown < UNDER_WAY_MAX, "{era}: memory grew by {grown} bytes");
        let quick = Documents::new().server("a", &Mcp::new("b").start()?.url());
        drop(quick);
        assert!(gateway.tools()?.contains(&"echo".to_owned()), "{era}: others are served");
    }
    Ok(())
}

#[test]
fn a_client_that_reads_nothing_for_too_long_loses_its_connection() -> anyhow::Result<()> {
    let (backend, sent) = flood()?;
    let gateway = Documents::new().server("a", &backend.url()).limit("stall", "1s").start()?;

    let mut unread = gateway.modern(1, "tools/call", json!({ "name": "echo" }))?;
    standstill(&sent)?;

    // What was on its way still comes, and then the connection has ended without an answer.
    wait::until("the end of the connection", PATIENCE, || match unread.next_message() {
        Ok(Some(message)) => anyhow::bail!("{}", message["method"]),
        Ok(None) => panic!("a stream that was cut must not look complete"),
        Err(_) => Ok(()),
    })?;
    Ok(())
}

#[test]
fn a_stateless_client_that_leaves_cancels_its_call() -> anyhow::Result<()> {
    let (left, gone) = sync_channel::<()>(1);
    let backend = Mcp::new("a")
        .on("tools/call", move |_, out| {
            out.message(&json!({ "jsonrpc": "2.0", "method": "notifications/message", "params": { "level": "info", "data": 1 } }));
            out.wait_for_close();
            left.send(()).ok();
        })
        .start()?;
    let gateway = Documents::new().server("a", &backend.url()).start()?;
    let mut answer = gateway.modern(1, "tools/call", json!({ "name": "echo" }))?;
    assert!(answer.next_message()?.is_some());

    drop(answer);

    gone.recv_timeout(PATIENCE)?;
    Ok(())
}

#[test]
fn sigterm_finishes_open_calls_ends_streams_and_exits_with_0() -> anyhow::Result<()> {
    let (backend, release) = gated()?;
    let mut gateway = Documents::new().server("a", &backend.url()).start()?;
    let session = Session::open(&gateway, "2025-11-25")?;
    let mut listening = session.get(None)?;
    let mut idle = Session::open(&gateway, "2025-11-25")?.get(None)?;
    let (headers, body) = modern_request(&json!("m"), "tools/call", json!({ "name": "slow", "arguments": {} }));
    let address = gateway.address;
    let modern = thread::spawn(move || {
        let headers: Vec<_> = headers.iter().map(|(name, value)| (*name, value.as_str())).collect();
        client::send(address, "POST", "/mcp", &headers, body.to_string().as_bytes())?.message()
    });
    let in_session = session.clone();
    let legacy = thread::spawn(move || in_session.call("l", "slow"));
    calls(&backend, 2)?;

    let id = gateway.process.id().to_string();
    assert!(Command::new("kill").args(["-TERM", &id]).status()?.success());
    wait::until("draining", PATIENCE, || {
        let answer = plain::get(gateway.admin, "/readyz")?;
        anyhow::ensure!(answer.status == 503 && answer.body.contains("draining"), "{}", answer.body);
        Ok(())
    })?;
    wait::until("a closed port", PATIENCE, || {
        anyhow::ensure!(std::net::TcpStream::connect(address).is_err(), "it accepts");
        Ok(())
    })?;
    // A session without calls is ended first; one with calls goes on.
    while idle.next_event()?.is_some() {}
    release.send(())?;
    release.send(())?;

    for answered in [modern, legacy] {
        let answered = answered.join().expect("the thread does not panic")?;
        assert_eq!(answered["result"]["content"][0]["text"], "at last", "{answered}");
    }
    while listening.next_event()?.is_some() {}
    let status = gateway.process.end(PATIENCE)?;
    assert!(status.success(), "{status}{}", gateway.process.said());
    Ok(())
}

#[test]
fn a_session_has_a_limit_of_open_calls() -> anyhow::Result<()> {
    let (backend, release) = gated()?;
    let documents = Documents::new()
        .server_with("a", json!({ "urls": [backend.url()], "limits": { "concurrency": 1000 } }))
        .limit("concurrency", 1000);
    let gateway: Gateway = documents.start()?;
    let session = Session::open(&gateway, "2025-03-26")?;
    let call = |id: usize| {
        let params = json!({ "name": "slow", "arguments": {} });
        json!({ "jsonrpc": "2.0", "id": id, "method": "tools/call", "params": params }).to_string()
    };
    let mut open = Vec::new();
    for id in 0..256 {
        let mut socket = client::connect(gateway.address)?;
        let body = call(id);
        let head = format!(
            "POST /mcp HTTP/1.1\r\nhost: localhost\r\ncontent-type: application/json\r\n\
             accept: application/json, text/event-stream\r\nmcp-session-id: {}\r\ncontent-length: {}\r\n\r\n",
            session.id,
            body.len()
        );
        socket.write_all(format!("{head}{body}").as_bytes())?;
        open.push(socket);
    }
    calls(&backend, 256)?;

    let refused = session.post_text(&call(256))?;

    assert_eq!(refused.status, 429);
    assert_eq!(refused.message()?["id"], 256);
    drop(release);
    for mut socket in open {
        let answer = client::read_head(&mut socket)?;
        assert_eq!(answer.message()?["result"]["content"][0]["text"], "at last");
    }
    assert_eq!(session.call(256, "echo")?["id"], 256, "there is room again");
    Ok(())
}
