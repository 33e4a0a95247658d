//! Streams end with what let them be opened: a token that expires, a key that is withdrawn, a policy that is taken back.
//!
//! The streams are those that say nothing by themselves, so that a caller who had the right once would hear of changes for
//! ever: the stream of a session, that of a client of HTTP+SSE, and `subscriptions/listen`.

use std::{sync::mpsc, thread};

use anyhow::{Context as _, ensure};
use quorate_tests::{
    raw::{
        PATIENCE,
        backend::Backend,
        client,
        gateway::{Gateway, modern_request},
        mcp::Mcp,
    },
    wait,
};
use serde_json::{Value, json};

use crate::{caller::Caller, idp::Idp, keys, sessions::Session, site::Site};

const PATH: &str = "/mcp/tools";

/// How long what is shown is good: longer than it takes to open streams in a debug build on a loaded machine.
const LIFE_SECONDS: u32 = 8;

const EVERYBODY: &str = "permit(principal, action, resource);";

/// A clock, and a toolset of it.
fn site(clock: &Backend, cedar: &str) -> Site {
    Site::new()
        .with("ToolServer", "clock", json!({ "urls": [clock.url()] }))
        .with("Toolset", "tools", json!({ "servers": ["clock"], "naming": "bare" }))
        .policy(cedar)
}

/// The same for the people of a provider, whose clock is ours.
fn site_of(idp: &Idp, clock: &Backend, cedar: &str) -> Site {
    let oidc = json!({ "issuer": idp.issuer, "clockSkew": "0ms" });
    site(clock, cedar).with("Issuer", "people", json!({ "oidc": oidc }))
}

fn clock() -> anyhow::Result<Backend> {
    Mcp::new("clock").tools(&["now"]).listens().start()
}

/// Opens a listen of a stateless client, and reads its acknowledgement.
fn listen(gateway: &Gateway, credential: &str) -> anyhow::Result<client::Answer> {
    let filter = json!({ "notifications": { "toolsListChanged": true } });
    let (headers, body) = modern_request(&json!(1), "subscriptions/listen", filter);
    let bearer = format!("Bearer {credential}");
    let mut all = vec![("authorization", bearer.as_str())];
    all.extend(headers.iter().map(|(name, value)| (*name, value.as_str())));
    let mut stream = client::send(gateway.address, "POST", PATH, &all, body.to_string().as_bytes())?;
    let told = stream.next_message()?.context("a listen is acknowledged")?;
    ensure!(told["params"]["notifications"]["toolsListChanged"] == true, "{told}");
    Ok(stream)
}

/// Opens a session of a client of HTTP+SSE.
fn open_sse(gateway: &Gateway, credential: &str) -> anyhow::Result<client::Answer> {
    let bearer = format!("Bearer {credential}");
    let headers = [("accept", "text/event-stream"), ("authorization", bearer.as_str())];
    let mut stream = client::send(gateway.address, "GET", "/sse/tools", &headers, b"")?;
    let first = stream.next_event()?.context("the stream tells where to post")?;
    ensure!(first.name.as_deref() == Some("endpoint"), "{first:?}");
    Ok(stream)
}

/// Reads a stream to its end, which has to come: the last message, if there was one.
fn end_of(what: &str, mut stream: client::Answer) -> anyhow::Result<Option<Value>> {
    // Comments keep a stream that does not end from being silent, so that no deadline of a read would end it.
    let (ended, end) = mpsc::sync_channel(1);
    thread::spawn(move || {
        let mut last = None;
        let end = loop {
            match stream.next_message() {
                Ok(Some(message)) => last = Some(message),
                Ok(None) => break Ok(last),
                Err(error) => break Err(error),
            }
        };
        // Nobody waits any more for what comes too late.
        let _late = ended.send(end);
    });
    end.recv_timeout(PATIENCE).with_context(|| format!("{what} goes on"))?
}

/// That a listen ends, and as the protocol wants it.
fn check_listen_ends(stream: client::Answer) -> anyhow::Result<()> {
    let last = end_of("the listen", stream)?.context("a listen ends with a result")?;
    ensure!(last.get("result").is_some(), "it ends with {last}");
    Ok(())
}

fn status(gateway: &Gateway, credential: &str) -> anyhow::Result<u16> {
    Ok(Caller::stranger().token(credential).call(gateway.address, PATH, "now", &json!({}))?.status)
}

/// Waits until the gateway has read its files again, and says this to a credential.
fn until_answered(gateway: &Gateway, credential: &str, expected: u16) -> anyhow::Result<()> {
    wait::until("the resources", PATIENCE, || {
        let status = status(gateway, credential)?;
        ensure!(status == expected, "answered {status}");
        Ok(())
    })
}

#[test]
fn streams_end_with_the_token_that_opened_them_and_the_session_goes_on_with_the_next() -> anyhow::Result<()> {
    let (idp, clock) = (Idp::start()?, clock()?);
    let gateway = site_of(&idp, &clock, EVERYBODY).start()?;
    let resource = format!("http://{}{PATH}", gateway.address);
    idp.set(&json!({ "ttlSeconds": LIFE_SECONDS }))?;
    let token = idp.token_of("alice", &resource, "mcp")?;
    let session = Session::open(&gateway, &token)?;
    let (stream, listening) = (session.stream(&token)?, listen(&gateway, &token)?);
    session.check_call(&token).context("it is good as long as its streams are opened")?;

    end_of("the stream of the session", stream)?;
    check_listen_ends(listening)?;

    ensure!(status(&gateway, &token)? == 401, "its streams ended before the token");
    let next = idp.token_of("alice", &resource, "mcp")?;
    session.check_call(&next)?;
    session.stream(&next).map(drop)
}

#[test]
fn streams_end_with_the_key_that_opened_them() -> anyhow::Result<()> {
    let (clock, folder) = (clock()?, tempfile::tempdir()?);
    let gateway = keys::start(folder, &site(&clock, EVERYBODY).text())?;
    let life = format!("{LIFE_SECONDS}s");
    let (key, document) = keys::make(&gateway.folder, "builder", &["--expires", &life])?;
    gateway.rewrite(&[site(&clock, EVERYBODY).text(), document].join("\n---\n"))?;
    until_answered(&gateway, &key, 200)?;
    let session = Session::open(&gateway, &key)?;
    let (stream, sse, listening) = (session.stream(&key)?, open_sse(&gateway, &key)?, listen(&gateway, &key)?);
    session.check_call(&key).context("it is good as long as its streams are opened")?;

    end_of("the stream of the session", stream)?;
    end_of("the stream of HTTP+SSE", sse)?;
    check_listen_ends(listening)?;

    ensure!(status(&gateway, &key)? == 401, "its streams ended before the key");
    Ok(())
}

#[test]
fn streams_end_when_their_key_is_withdrawn_and_sessions_of_others_go_on() -> anyhow::Result<()> {
    let (clock, folder) = (clock()?, tempfile::tempdir()?);
    let (leaked, of_leaked) = keys::make(&folder, "builder", &[])?;
    let (other, of_other) = keys::make(&folder, "other", &[])?;
    let text = site(&clock, EVERYBODY).text();
    let gateway = keys::start(folder, &[&text, &of_leaked, &of_other].map(String::as_str).join("\n---\n"))?;
    let (session, others) = (Session::open(&gateway, &leaked)?, Session::open(&gateway, &other)?);
    let stream = session.stream(&leaked)?;
    let (sse, listening) = (open_sse(&gateway, &leaked)?, listen(&gateway, &leaked)?);

    gateway.rewrite(&[&text, &of_other].map(String::as_str).join("\n---\n"))?;

    end_of("the stream of the session", stream)?;
    end_of("the stream of HTTP+SSE", sse)?;
    check_listen_ends(listening)?;
    until_answered(&gateway, &leaked, 401)?;
    others.check_call(&other)?;
    others.stream(&other).map(drop)
}

#[test]
fn a_policy_that_lets_somebody_in_no_more_ends_their_sessions_and_streams_alone() -> anyhow::Result<()> {
    let (idp, clock) = (Idp::start()?, clock()?);
    let gateway = site_of(&idp, &clock, EVERYBODY).start()?;
    let resource = format!("http://{}{PATH}", gateway.address);
    let [alice, bob] = [idp.token_of("alice", &resource, "mcp")?, idp.token_of("bob", &resource, "mcp")?];
    let [of_alice, of_bob] = [Session::open(&gateway, &alice)?, Session::open(&gateway, &bob)?];
    let (ending, mut staying) = (of_alice.stream(&alice)?, of_bob.stream(&bob)?);
    let listening = [listen(&gateway, &alice)?, listen(&gateway, &bob)?];
    of_alice.check_call(&alice)?;

    let bob_alone = r#"permit(principal in User::"people/bob", action, resource);"#;
    gateway.rewrite(&site_of(&idp, &clock, bob_alone).text())?;

    end_of("the stream of alice's session", ending)?;
    clock.wait_for("the end of the session at the server", |seen| (seen.http == "DELETE").then_some(()))?;
    let refused = of_alice.call(&alice)?;
    ensure!([403, 404].contains(&refused.status), "alice's session is there: {}", refused.status);
    // Who may listen is decided anew: whoever still may comes again.
    for stream in listening {
        check_listen_ends(stream)?;
    }
    listen(&gateway, &bob)?;
    let told = staying.next_message()?.context("bob's stream ended")?;
    ensure!(told["method"].as_str().is_some_and(|method| method.ends_with("/list_changed")), "{told}");
    of_bob.check_call(&bob)
}
