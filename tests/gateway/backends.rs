//! Backends that misbehave: their calls fail with an error that names them, and everything else goes on.
//!
//! Each case puts one bad server beside a good one in a toolset. What counts: the bad call is answered with the
//! request's id, within the limits; the good server's tools stay listed and callable throughout.

use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::support::{
    PATIENCE,
    backend::{Backend, Out, Seen},
    gateway::{Documents, Gateway},
    mcp::{Era, Mcp, said, tool},
    session::Session,
};

/// What an answer of ours says when a backend failed: no backend's own code is among them.
const BACKEND_FAILED: i64 = -31001;
const OUTCOME_UNKNOWN: i64 = -31002;
const DEADLINE_EXCEEDED: i64 = -31006;

/// A good server `good` with the tool `fine`, and a bad one `bad` with the tool `broken` that misbehaves.
struct Pair {
    good: Backend,
    bad: Backend,
    gateway: Gateway,
}

impl Pair {
    fn start(bad: Mcp) -> anyhow::Result<Self> {
        let (good, bad) = (Mcp::new("good").tools(&["fine"]).start()?, bad.start()?);
        let gateway = Documents::new()
            .server("good", &good.url())
            .server_with("bad", json!({ "urls": [bad.url()], "limits": { "answer": "64KiB", "event": "64KiB", "firstByte": "2s", "total": "3s" } }))
            .start()?;
        Ok(Self { good, bad, gateway })
    }

    /// The good server works, and its tools are listed.
    fn goes_on(&self, what: &str) -> anyhow::Result<()> {
        assert_eq!(self.gateway.call("fine")?, "good:fine", "{what}");
        assert!(self.gateway.tools()?.contains(&"fine".to_owned()), "{what}");
        let session = Session::open(&self.gateway, "2025-11-25")?;
        assert_eq!(session.call(1, "fine")?["result"]["content"][0]["text"], "good:fine", "{what}");
        Ok(())
    }
}

fn bad(answer: impl Fn(&Seen, &mut Out) + Send + Sync + 'static) -> Mcp {
    Mcp::new("bad").tools(&["broken"]).on("tools/call", answer)
}

/// Calls `broken` in both eras: the error codes.
fn codes(pair: &Pair, what: &str) -> anyhow::Result<[i64; 2]> {
    let message = pair.gateway.modern("m", "tools/call", json!({ "name": "broken" }))?.message()?;
    assert_eq!(message["id"], "m", "{what}: {message}");
    let session = Session::open(&pair.gateway, "2025-11-25")?;
    let in_session = session.call("s", "broken")?;
    assert_eq!(in_session["id"], "s", "{what}: {in_session}");
    let code = |message: &Value| message["error"]["code"].as_i64().unwrap_or_else(|| panic!("{what}: {message}"));
    for message in [&message, &in_session] {
        assert!(message["error"]["message"].as_str().is_some_and(|text| text.contains("bad")), "{what}: {message}");
    }
    Ok([code(&message), code(&in_session)])
}

fn check(what: &str, answer: impl Fn(&Seen, &mut Out) + Send + Sync + 'static, expected: &[i64]) -> anyhow::Result<()> {
    let pair = Pair::start(bad(answer))?;
    let started = Instant::now();
    for code in codes(&pair, what)? {
        assert!(expected.contains(&code), "{what}: {code} is not among {expected:?}");
    }
    assert!(started.elapsed() < PATIENCE, "{what} took {:?}", started.elapsed());
    // A session that is answered 404 is over, and nothing was executed: the call is sent once more in a new one.
    let sent = if what == "status 404" { 3 } else { 2 };
    assert_eq!(pair.bad.count("tools/call"), sent, "{what}: a call is never sent twice");
    pair.goes_on(what)
}

#[test]
fn an_answer_that_is_no_json_rpc_is_a_failure_of_its_backend() -> anyhow::Result<()> {
    let json = [("content-type", "application/json")];
    let rubbish: &[(&str, &[u8])] = &[
        ("text", b"hello"),
        ("half an object", br#"{"jsonrpc":"2.0","id":1,"resu"#),
        ("nothing", b""),
        ("binary", b"\x00\xff\xfe"),
        ("a list", b"[1,2,3]"),
        ("null", b"null"),
    ];
    for (what, body) in rubbish {
        let body = body.to_vec();
        check(what, move |_, out| out.answer(200, &json, &body), &[BACKEND_FAILED, OUTCOME_UNKNOWN])?;
    }
    let html = [("content-type", "text/html")];
    check("a web page", move |_, out| out.answer(200, &html, b"<html>"), &[BACKEND_FAILED, OUTCOME_UNKNOWN])
}

#[test]
fn an_answer_with_another_id_is_not_given_to_the_client() -> anyhow::Result<()> {
    let foreign = |id: Value| {
        move |_: &Seen, out: &mut Out| out.json(&json!({ "jsonrpc": "2.0", "id": id, "result": said("stolen") }))
    };
    check("another number", foreign(json!(987_654)), &[BACKEND_FAILED, OUTCOME_UNKNOWN])?;
    check("the client's own id", foreign(json!("m")), &[BACKEND_FAILED, OUTCOME_UNKNOWN])?;
    check("null", foreign(json!(null)), &[BACKEND_FAILED, OUTCOME_UNKNOWN])?;
    let in_stream = |_: &Seen, out: &mut Out| {
        out.message(&json!({ "jsonrpc": "2.0", "id": 987_654, "result": said("stolen") }));
        out.end_events();
    };
    check("another number in a stream", in_stream, &[BACKEND_FAILED, OUTCOME_UNKNOWN])
}

#[test]
fn half_a_stream_is_an_error_and_never_a_clean_end() -> anyhow::Result<()> {
    let progress =
        json!({ "jsonrpc": "2.0", "method": "notifications/message", "params": { "level": "info", "data": "x" } });
    let begun = progress.clone();
    let cut = move |_: &Seen, out: &mut Out| {
        out.message(&begun);
    };
    check("a cut stream", cut, &[BACKEND_FAILED, OUTCOME_UNKNOWN])?;
    let ended = move |_: &Seen, out: &mut Out| {
        out.message(&progress);
        out.end_events();
    };
    check("a stream that ends before its answer", ended, &[BACKEND_FAILED, OUTCOME_UNKNOWN])?;
    let rubbish = |_: &Seen, out: &mut Out| {
        out.event("data: {oops");
        out.end_events();
    };
    check("rubbish in a stream", rubbish, &[BACKEND_FAILED, OUTCOME_UNKNOWN])?;
    let half = |_: &Seen, out: &mut Out| {
        out.raw(b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: 100\r\n\r\n{\"jsonrpc\":");
    };
    check("half a body", half, &[BACKEND_FAILED, OUTCOME_UNKNOWN])?;
    check("a closed connection", |_, _| {}, &[BACKEND_FAILED, OUTCOME_UNKNOWN])
}

#[test]
fn silence_ends_with_the_deadline() -> anyhow::Result<()> {
    check("nothing at all", |_, out| out.wait_for_close(), &[DEADLINE_EXCEEDED, OUTCOME_UNKNOWN])?;
    let head_only = |_: &Seen, out: &mut Out| {
        out.begin_events(&[]);
        out.wait_for_close();
    };
    check("a stream without events", head_only, &[DEADLINE_EXCEEDED, OUTCOME_UNKNOWN])?;
    // Progress for ever does not move the deadline of the whole call.
    let endless = |_: &Seen, out: &mut Out| {
        let note =
            json!({ "jsonrpc": "2.0", "method": "notifications/message", "params": { "level": "info", "data": "x" } });
        let closed = Duration::from_millis(50);
        while out.message(&note) && !out.closes_within(closed) {}
    };
    check("progress for ever", endless, &[DEADLINE_EXCEEDED, OUTCOME_UNKNOWN])
}

#[test]
fn errors_and_redirects_of_http_are_failures_of_their_backend() -> anyhow::Result<()> {
    for status in [500, 502, 503, 404, 401, 403, 429, 204] {
        let what = format!("status {status}");
        check(&what, move |_, out| out.answer(status, &[], b"secret detail"), &[BACKEND_FAILED, OUTCOME_UNKNOWN])?;
    }
    for status in [301, 302, 307, 308] {
        let trap = Backend::start(|_, out| out.answer(200, &[], b""))?;
        let target = format!("http://{}/mcp", trap.address);
        let what = format!("redirect {status}");
        let redirect = move |_: &Seen, out: &mut Out| out.answer(status, &[("location", &target)], b"");
        check(&what, redirect, &[BACKEND_FAILED, OUTCOME_UNKNOWN])?;
        assert_eq!(trap.seen().len(), 0, "{what}: it must not be followed");
    }
    Ok(())
}

#[test]
fn an_answer_over_the_limit_is_a_failure_of_its_backend() -> anyhow::Result<()> {
    let large = |seen: &Seen, out: &mut Out| out.result(seen, &said(&"x".repeat(300 * 1024)));
    check("a large body", large, &[BACKEND_FAILED, OUTCOME_UNKNOWN])?;
    let event = |seen: &Seen, out: &mut Out| {
        out.message(&json!({ "jsonrpc": "2.0", "id": seen.id(), "result": said(&"x".repeat(300 * 1024)) }));
        out.end_events();
    };
    check("a large event", event, &[BACKEND_FAILED, OUTCOME_UNKNOWN])?;
    let endless = |_: &Seen, out: &mut Out| {
        out.raw(b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\n\r\ndata: ");
        while out.raw(&[b'x'; 4096]) {}
    };
    check("an endless line", endless, &[BACKEND_FAILED, OUTCOME_UNKNOWN])
}

#[test]
fn errors_that_a_backend_answers_itself_pass_unchanged() -> anyhow::Result<()> {
    let refusing = bad(|seen, out| {
        let data = json!({ "z": 1.0, "a": [1, 2] });
        let error = json!({ "code": -32099, "message": "mine", "data": data });
        out.json(&json!({ "jsonrpc": "2.0", "id": seen.id(), "error": error }));
    });
    let pair = Pair::start(refusing)?;

    let text = pair.gateway.modern("m", "tools/call", json!({ "name": "broken" }))?.text()?;

    assert!(text.contains(r#""data":{"z":1.0,"a":[1,2]}"#) && text.contains("-32099"), "{text}");
    Ok(())
}

/// A server whose discovery works and whose list does what `answer` does.
fn bad_list(answer: impl Fn(&Seen, &mut Out) + Send + Sync + 'static) -> Mcp {
    Mcp::new("bad").on("tools/list", answer)
}

#[test]
fn a_list_that_fails_leaves_the_other_lists() -> anyhow::Result<()> {
    type Answer = fn(&Seen, &mut Out);
    let cases: &[(&str, Answer)] = &[
        ("an error", |seen, out| out.error(seen, 200, -32603, "no")),
        ("status 500", |_, out| out.answer(500, &[], b"")),
        ("rubbish", |_, out| out.answer(200, &[("content-type", "application/json")], b"{")),
        ("no list", |seen, out| out.result(seen, &json!({ "resultType": "complete" }))),
        ("a list of the wrong type", |seen, out| out.result(seen, &json!({ "tools": {}, "resultType": "complete" }))),
        ("tools without names", |seen, out| out.result(seen, &json!({ "tools": [{}, 7, null] }))),
        ("silence", |_, out| out.wait_for_close()),
    ];
    for (what, answer) in cases {
        let pair = Pair::start(bad_list(answer))?;
        assert_eq!(pair.gateway.tools()?, ["fine"], "{what}");
        pair.goes_on(what)?;
    }
    Ok(())
}

#[test]
fn pages_without_end_are_cut() -> anyhow::Result<()> {
    let cycling = bad_list(|seen, out| {
        out.result(seen, &json!({ "tools": [tool("again")], "nextCursor": "same", "resultType": "complete", "ttlMs": 60_000, "cacheScope": "public" }))
    });
    let pair = Pair::start(cycling)?;
    pair.goes_on("a cursor that comes back")?;
    assert!(pair.bad.count("tools/list") < 100, "{} pages were asked for", pair.bad.count("tools/list"));

    let next = std::sync::atomic::AtomicUsize::new(0);
    let endless = bad_list(move |seen, out| {
        let page = next.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
        let cursor = format!("page-{page}");
        out.result(seen, &json!({ "tools": [tool(&format!("t{page}"))], "nextCursor": cursor, "resultType": "complete", "ttlMs": 60_000, "cacheScope": "public" }));
    });
    let pair = Pair::start(endless)?;
    pair.goes_on("pages for ever")?;
    Ok(())
}

#[test]
fn a_list_over_the_limit_is_refused_or_cut_and_the_others_stay() -> anyhow::Result<()> {
    let many = |seen: &Seen, out: &mut Out| {
        let tools: Vec<Value> = (0..10_500).map(|at| tool(&format!("t{at}"))).collect();
        out.result(seen, &json!({ "tools": tools, "resultType": "complete", "ttlMs": 60_000, "cacheScope": "public" }));
    };
    let (good, bad) = (Mcp::new("good").tools(&["fine"]).start()?, bad_list(many).start()?);
    let gateway = Documents::new().server("good", &good.url()).server("bad", &bad.url()).start()?;

    let tools = gateway.tools()?;

    assert_eq!(tools.first().map(String::as_str), Some("fine"), "{} tools", tools.len());
    assert!(tools.len() <= 10_001, "{} tools", tools.len());
    assert_eq!(gateway.call("fine")?, "good:fine");
    Ok(())
}

#[test]
fn a_server_that_refuses_connections_is_named_and_the_others_go_on() -> anyhow::Result<()> {
    let good = Mcp::new("good").tools(&["fine"]).start()?;
    // Nobody listens on a port that was just given back.
    let gone = Backend::start(|_, _| {})?;
    let url = gone.url();
    drop(gone);
    let gateway = Documents::new().server("good", &good.url()).server("gone", &url).start()?;

    assert_eq!(gateway.tools()?, ["fine"]);
    assert_eq!(gateway.call("fine")?, "good:fine");
    let session = Session::open(&gateway, "2025-11-25")?;
    assert_eq!(session.call(1, "fine")?["result"]["content"][0]["text"], "good:fine");
    Ok(())
}

#[test]
fn a_lone_server_that_is_away_gives_errors_until_it_comes_back() -> anyhow::Result<()> {
    let gone = Backend::start(|_, _| {})?;
    let (url, address) = (gone.url(), gone.address);
    drop(gone);
    let spec = json!({ "urls": [url], "health": { "interval": "500ms", "timeout": "500ms", "ejectBase": "100ms", "ejectMax": "1s" } });
    let gateway = Documents::new().server_with("late", spec).start()?;

    let message = gateway.modern(7, "tools/call", json!({ "name": "echo" }))?.message()?;
    assert_eq!((&message["id"], &message["error"]["code"]), (&json!(7), &json!(BACKEND_FAILED)), "{message}");

    let _late = Backend::start_at(address, Mcp::new("late").script())?;
    quorate_tests::wait::until("the server's return", PATIENCE, || {
        let said = gateway.call("echo")?;
        anyhow::ensure!(said == "late:echo", "{said}");
        Ok(())
    })?;
    Ok(())
}

#[test]
fn a_legacy_server_that_breaks_in_a_session_fails_that_call_only() -> anyhow::Result<()> {
    let fails = Mcp::new("bad").era(Era::Legacy).tools(&["broken", "well"]).rule(|seen, out| {
        let breaks = seen.method() == "tools/call" && seen.params()["name"] == "broken";
        if breaks {
            out.message(&json!({ "jsonrpc": "2.0", "method": "notifications/message", "params": { "level": "info", "data": "x" } }));
        }
        breaks
    });
    let pair = Pair::start(fails)?;
    let session = Session::open(&pair.gateway, "2025-11-25")?;

    let failed = session.call(1, "broken")?;

    assert_eq!((&failed["id"], failed["error"]["code"].as_i64()), (&json!(1), Some(OUTCOME_UNKNOWN)), "{failed}");
    assert_eq!(session.call(2, "well")?["result"]["content"][0]["text"], "bad:well");
    assert_eq!(pair.good.count("tools/call"), 0);
    Ok(())
}

#[test]
fn a_session_that_cannot_be_opened_upstream_is_an_error_of_each_call() -> anyhow::Result<()> {
    type Answer = fn(&Seen, &mut Out);
    let cases: &[(&str, Answer)] = &[
        ("an error", |seen, out| out.error(seen, 200, -32603, "no")),
        ("status 500", |_, out| out.answer(500, &[], b"")),
        ("rubbish", |_, out| out.answer(200, &[("content-type", "application/json")], b"{")),
        ("silence", |_, out| out.wait_for_close()),
        ("a revision of nobody", |seen, out| {
            out.result(seen, &json!({ "protocolVersion": "1999-01-01", "capabilities": {}, "serverInfo": {} }));
        }),
    ];
    for (what, answer) in cases {
        // The era is set, so that the probe cannot find out and decide.
        let (good, bad) = (
            Mcp::new("good").tools(&["fine"]).start()?,
            Mcp::new("bad").era(Era::Legacy).on("initialize", answer).start()?,
        );
        let spec = json!({ "urls": [bad.url()], "era": "legacy", "limits": { "firstByte": "1s", "total": "2s" } });
        let second = json!({ "kind": "Toolset", "name": "alone", "spec": { "servers": ["bad"] } });
        let text = Documents::new().server("good", &good.url()).server_with("bad", spec).text();
        let gateway = Gateway::start(&format!("{text}\n---\n{second}"), crate::support::gateway::OPEN)?;
        let session = Session::open(&gateway, "2025-11-25")?;
        assert_eq!(session.call(1, "fine")?["result"]["content"][0]["text"], "good:fine", "{what}");
        let alone = Session::open_at(&gateway, "/mcp/alone", "2025-11-25")?;

        let failed = alone.call("q", "broken")?;

        assert_eq!(failed["id"], "q", "{what}: {failed}");
        let code = failed["error"]["code"].as_i64();
        assert!(
            [Some(BACKEND_FAILED), Some(DEADLINE_EXCEEDED)].contains(&code),
            "{what}: nothing was executed: {failed}"
        );
    }
    Ok(())
}

#[test]
fn a_server_that_sends_nonsense_on_its_own_stream_disturbs_nobody() -> anyhow::Result<()> {
    let noisy = Mcp::new("bad").era(Era::Legacy).tools(&["well"]).rule(|seen, out| {
        let is_stream = seen.http == "GET";
        if is_stream {
            for event in [
                "data: {",
                "data: {\"jsonrpc\":\"2.0\",\"id\":1,\"result\":{}}",
                "data: {\"jsonrpc\":\"2.0\",\"id\":null,\"error\":{\"code\":1,\"message\":\"\"}}",
                "event: other\ndata: x",
                "data: {\"jsonrpc\":\"2.0\",\"method\":\"notifications/progress\",\"params\":{\"progressToken\":\"nobody\",\"progress\":1}}",
                "data: {\"jsonrpc\":\"2.0\",\"method\":\"notifications/cancelled\",\"params\":{\"requestId\":\"nobody\"}}",
            ] {
                out.event(event);
            }
            out.wait_for_close();
        }
        is_stream
    });
    let pair = Pair::start(noisy)?;
    let session = Session::open(&pair.gateway, "2025-11-25")?;
    let _listening = session.get(None)?;
    for id in 0..5 {
        assert_eq!(session.call(id, "well")?["result"]["content"][0]["text"], "bad:well");
        assert_eq!(session.call(id, "fine")?["result"]["content"][0]["text"], "good:fine");
    }
    pair.bad.wait_for("the noisy stream", |seen| (seen.http == "GET").then_some(()))?;
    assert_eq!(session.call(9, "well")?["result"]["content"][0]["text"], "bad:well");
    Ok(())
}
