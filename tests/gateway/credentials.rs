//! Tool servers that want a credential of ours: tokens that are fetched, renewed and replaced, secrets that rotate.
//!
//! A token endpoint is a scripted server as well. What counts besides the answers: how often it was asked, what clients
//! are told when it fails (never 401), and that no secret is in a log line or an answer.

use std::{
    fs,
    process::Command,
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering},
    },
    time::Instant,
};

use quorate_tests::{paths, process::Process, wait};
use serde_json::{Value, json};

use crate::support::{
    PATIENCE,
    backend::{Backend, Out, Seen},
    gateway::{Documents, Gateway, OPEN, replace},
    mcp::{Era, Mcp},
    session::Session,
};

const BACKEND_FAILED: i64 = -31001;
const SECRET: &str = "s3cret-of-the-client";

/// A token endpoint that gives `token-1`, `token-2` and so on.
struct Issuer {
    backend: Backend,
    given: Arc<AtomicUsize>,
}

impl Issuer {
    fn start(life: Value) -> anyhow::Result<Self> {
        let given = Arc::new(AtomicUsize::new(0));
        let count = Arc::clone(&given);
        let backend = Backend::start(move |_, out| {
            let token = format!("token-{}", count.fetch_add(1, Ordering::SeqCst) + 1);
            out.json(&json!({ "access_token": token, "token_type": "Bearer", "expires_in": life }));
        })?;
        Ok(Self { backend, given })
    }

    fn given(&self) -> usize {
        self.given.load(Ordering::SeqCst)
    }

    /// The `credential` of a server that asks here.
    fn credential(&self) -> Value {
        of_endpoint(&self.backend)
    }
}

fn of_endpoint(endpoint: &Backend) -> Value {
    let url = format!("http://{}/token", endpoint.address);
    json!({ "clientCredentials": { "tokenUrl": url, "clientId": "quorate", "clientSecret": SECRET, "scopes": ["a", "b"] } })
}

/// A tool server with the tool `fine` that lets in who shows `authorization`, which a test may change.
fn guarded(name: &str, era: Era, authorization: &Arc<Mutex<String>>) -> anyhow::Result<Backend> {
    let wanted = Arc::clone(authorization);
    let refuse = move |seen: &Seen, out: &mut Out| {
        let refused = seen.header("authorization") != Some(wanted.lock().expect("no test panics here").as_str());
        if refused {
            out.answer(401, &[("www-authenticate", "Bearer resource_metadata=\"http://elsewhere\"")], b"");
        }
        refused
    };
    Mcp::new(name).era(era).tools(&["fine"]).rule(refuse).start()
}

fn wanted(text: &str) -> Arc<Mutex<String>> {
    Arc::new(Mutex::new(text.to_owned()))
}

fn server(backend: &Backend, credential: &Value) -> Value {
    json!({ "urls": [backend.url()], "credential": credential })
}

/// Nothing that the gateway has said shows a secret or a token.
fn hides_secrets(gateway: &Gateway) {
    let said = gateway.process.output().join("\n");
    for secret in [SECRET, "token-1", "token-2", "cXVvcmF0ZT"] {
        assert!(!said.contains(secret), "{secret} is in the log:\n{said}");
    }
}

#[test]
fn a_server_that_wants_a_token_is_served_in_both_eras_with_one() -> anyhow::Result<()> {
    let issuer = Issuer::start(json!(3600))?;
    for era in [Era::Modern, Era::Legacy] {
        let before = issuer.given();
        let authorization = wanted(&format!("Bearer token-{}", before + 1));
        let backend = guarded("files", era, &authorization)?;
        let gateway = Documents::new().server_with("files", server(&backend, &issuer.credential())).start()?;

        assert_eq!(gateway.call("fine")?, "files:fine", "{era:?}");
        let session = Session::open(&gateway, "2025-11-25")?;
        assert_eq!(session.call(1, "fine")?["result"]["content"][0]["text"], "files:fine", "{era:?}");

        assert_eq!(issuer.given() - before, 1, "{era:?}: one token serves all");
        let refused = backend.seen().into_iter().filter(|seen| seen.header("authorization").is_none()).count();
        assert_eq!(refused, 0, "{era:?}: nothing goes without it");
        assert_eq!(gateway.metric("quorate_upstream_token_refreshes_total", "quorate_result=\"fetched\"")?, 1.0);
        hides_secrets(&gateway);
    }
    let asked = issuer.backend.seen().remove(0);
    assert_eq!(asked.header("authorization"), Some("Basic cXVvcmF0ZTpzM2NyZXQtb2YtdGhlLWNsaWVudA=="));
    assert_eq!(asked.body, "grant_type=client_credentials&scope=a+b");
    Ok(())
}

#[test]
fn two_servers_never_share_a_token() -> anyhow::Result<()> {
    let issuer = Issuer::start(json!(3600))?;
    let open = |name| Mcp::new(name).tools(&[name]).start();
    let (one, other) = (open("one")?, open("other")?);
    let gateway = Documents::new()
        .server_with("one", server(&one, &issuer.credential()))
        .server_with("other", server(&other, &issuer.credential()))
        .start()?;
    gateway.call("one")?;
    gateway.call("other")?;

    let shown = |backend: &Backend| backend.seen()[0].header("authorization").map(str::to_owned);
    assert_eq!(issuer.given(), 2);
    assert_ne!(shown(&one), shown(&other));
    Ok(())
}

#[test]
fn a_revoked_token_is_replaced_and_the_call_succeeds() -> anyhow::Result<()> {
    let issuer = Issuer::start(json!(3600))?;
    let authorization = wanted("Bearer token-1");
    let backend = guarded("files", Era::Dual, &authorization)?;
    let mut gateway = Documents::new().server_with("files", server(&backend, &issuer.credential())).start()?;
    let session = Session::open(&gateway, "2025-11-25")?;
    assert_eq!(gateway.call("fine")?, "files:fine");

    "Bearer token-2".clone_into(&mut authorization.lock().expect("no test panics here"));

    assert_eq!(gateway.call("fine")?, "files:fine");
    assert_eq!(session.call(1, "fine")?["result"]["content"][0]["text"], "files:fine");
    assert_eq!(issuer.given(), 2);
    gateway.logged("the tool server refuses its token (401)")?;
    assert_eq!(gateway.metric("quorate_upstream_token_refusals_total", "files")?, 1.0);
    hides_secrets(&gateway);
    Ok(())
}

#[test]
fn a_short_lived_token_is_renewed_before_it_ends() -> anyhow::Result<()> {
    let issuer = Issuer::start(json!(3))?;
    let backend = Mcp::new("files").tools(&["fine"]).start()?;
    let gateway = Documents::new().server_with("files", server(&backend, &issuer.credential())).start()?;

    wait::until("three renewals", PATIENCE, || {
        assert_eq!(gateway.call("fine")?, "files:fine");
        anyhow::ensure!(issuer.given() > 3, "{} tokens", issuer.given());
        Ok(())
    })?;

    assert_eq!(gateway.metric("quorate_upstream_token_refusals_total", "files")?, 0.0);
    Ok(())
}

/// Calls `fine` of the server without a token, and `other` of its neighbour; returns what the client is told.
fn told(endpoint: &Backend, class: &str) -> anyhow::Result<()> {
    let (backend, good) = (Mcp::new("files").tools(&["fine"]).start()?, Mcp::new("good").tools(&["other"]).start()?);
    let mut gateway = Documents::new()
        .server_with("files", server(&backend, &of_endpoint(endpoint)))
        .server("good", &good.url())
        .toolset(json!({ "servers": ["files", "good"] }))
        .start()?;
    gateway.logged("a tool server's token cannot be had")?;

    assert_eq!(gateway.call("other")?, "good:other", "{class}: the neighbour goes on");
    let answer = gateway.modern(1, "tools/list", json!({}))?;
    assert_eq!(answer.status, 200, "{class}");
    let session = Session::open(&gateway, "2025-11-25")?;
    assert_eq!(session.call(2, "other")?["result"]["content"][0]["text"], "good:other", "{class}");

    let metric = gateway.metric("quorate_upstream_token_refreshes_total", &format!("quorate_result=\"{class}\""))?;
    assert!(metric >= 1.0, "{class} is not counted");
    assert_eq!(backend.seen().len(), 0, "{class}: nothing was sent without a token");
    hides_secrets(&gateway);
    Ok(())
}

#[test]
fn an_endpoint_that_misbehaves_is_a_failure_of_its_server_alone() -> anyhow::Result<()> {
    let echo = |status: u16, body: &'static str| {
        Backend::start(move |_, out| out.answer(status, &[("content-type", "application/json")], body.as_bytes()))
    };
    told(&echo(401, r#"{"error":"invalid_client","error_description":"s3cret-of-the-client is wrong"}"#)?, "refused")?;
    told(&echo(500, "s3cret-of-the-client")?, "trouble")?;
    told(&echo(200, "<html>s3cret-of-the-client")?, "malformed")?;
    told(&Backend::start(|_, out| out.answer(200, &[], &vec![b' '; 1 << 20]))?, "too_large")?;
    told(&Backend::start(|_, _| {})?, "unreachable")
}

#[test]
fn a_redirect_of_a_token_endpoint_gets_no_secret() -> anyhow::Result<()> {
    let trap = Issuer::start(json!(3600))?;
    let target = format!("http://{}/token", trap.backend.address);
    let redirecting = Backend::start(move |_, out| out.answer(307, &[("location", &target)], b""))?;

    told(&redirecting, "redirect")?;

    assert_eq!(trap.given(), 0);
    Ok(())
}

#[test]
fn a_call_that_gets_no_token_is_an_error_of_the_backend_and_never_401() -> anyhow::Result<()> {
    let issuer = Issuer::start(json!(1))?;
    let address = issuer.backend.address;
    let backend = Mcp::new("files").tools(&["fine"]).start()?;
    let gateway = Documents::new().server_with("files", server(&backend, &issuer.credential())).start()?;
    let session = Session::open(&gateway, "2025-11-25")?;
    assert_eq!(gateway.call("fine")?, "files:fine");

    drop(issuer);
    let failed = wait::until("the end of the last token", PATIENCE, || {
        let answer = gateway.modern("m", "tools/call", json!({ "name": "fine", "arguments": {} }))?;
        let (status, challenge) = (answer.status, answer.header("www-authenticate").map(str::to_owned));
        let message = answer.message()?;
        anyhow::ensure!(message.get("error").is_some(), "{message}");
        Ok((status, challenge, message))
    })?;

    let (status, challenge, message) = failed;
    assert!(status != 401 && status != 403 && challenge.is_none(), "{status} {challenge:?}");
    assert_eq!((&message["id"], &message["error"]["code"]), (&json!("m"), &json!(BACKEND_FAILED)), "{message}");
    let text = message["error"]["message"].as_str().unwrap_or_default();
    assert!(text.contains("files") && text.contains("token") && text.contains("unreachable"), "{text}");
    assert!(!message.to_string().contains(&address.to_string()), "an address is told to a client: {message}");
    let in_session = session.call("s", "fine")?;
    assert_eq!(
        (&in_session["id"], &in_session["error"]["code"]),
        (&json!("s"), &json!(BACKEND_FAILED)),
        "{in_session}"
    );
    let began = Instant::now();
    for _ in 0..20 {
        gateway.modern(1, "tools/call", json!({ "name": "fine", "arguments": {} }))?;
    }
    assert!(began.elapsed() < PATIENCE / 2, "calls fail at once while there is no token: {:?}", began.elapsed());

    let again = Backend::start_at(address, |_, out| {
        out.json(&json!({ "access_token": "token-9", "token_type": "Bearer", "expires_in": 3600 }));
    })?;
    wait::until("the endpoint's return", PATIENCE * 4, || {
        let _: () = assert_eq!(gateway.call("fine")?, "files:fine");
        Ok(())
    })?;
    drop(again);
    hides_secrets(&gateway);
    Ok(())
}

/// A gateway whose server wants `X-Key` from a file, beside a header from another one.
fn with_files(backend: &Backend) -> anyhow::Result<Gateway> {
    let folder = tempfile::tempdir()?;
    fs::write(folder.path().join("key"), "key-1\n")?;
    fs::write(folder.path().join("team"), "team-1")?;
    let spec = json!({
        "urls": [backend.url()],
        "credential": { "header": { "name": "Authorization", "scheme": "Key", "value": "file:key" } },
        "headers": { "x-team": "file:team", "x-fixed": "1" },
    });
    fs::write(folder.path().join("resources.yaml"), Documents::new().server_with("files", spec).text())?;
    Gateway::start_in(folder, OPEN)
}

#[test]
fn a_secret_in_a_file_is_rotated_without_a_restart() -> anyhow::Result<()> {
    let authorization = wanted("Key key-1");
    let backend = guarded("files", Era::Dual, &authorization)?;
    let gateway = with_files(&backend)?;
    let session = Session::open(&gateway, "2025-11-25")?;
    assert_eq!(gateway.call("fine")?, "files:fine");

    // The old one is refused from the moment on in which the new one is there.
    replace(&gateway.folder.path().join("key"), "key-2\n")?;
    "Key key-2".clone_into(&mut authorization.lock().expect("no test panics here"));

    assert_eq!(gateway.call("fine")?, "files:fine", "the very next call");
    assert_eq!(session.call(1, "fine")?["result"]["content"][0]["text"], "files:fine", "the session lives on");
    replace(&gateway.folder.path().join("team"), "team-2")?;
    wait::until("the other file", PATIENCE, || {
        gateway.call("fine")?;
        let seen = backend.seen().pop().expect("it was called");
        anyhow::ensure!(seen.header("x-team") == Some("team-2"), "{:?}", seen.header("x-team"));
        assert_eq!(seen.header("x-fixed"), Some("1"));
        Ok(())
    })
}

#[test]
fn a_secret_that_vanishes_leaves_the_one_before_in_use() -> anyhow::Result<()> {
    let backend = guarded("files", Era::Dual, &wanted("Key key-1"))?;
    let mut gateway = with_files(&backend)?;
    assert_eq!(gateway.call("fine")?, "files:fine");

    fs::remove_file(gateway.folder.path().join("key"))?;

    wait::until("the complaint", PATIENCE, || {
        assert_eq!(gateway.call("fine")?, "files:fine");
        anyhow::ensure!(gateway.process.output().iter().any(|line| line.contains("cannot be read again")), "none yet");
        Ok(())
    })?;
    let said = gateway.logged("cannot be read again")?;
    assert!(said.contains("files") && said.contains("spec.credential.header") && !said.contains("key-1"), "{said}");
    Ok(())
}

#[test]
fn a_changed_credential_is_shown_by_the_next_request() -> anyhow::Result<()> {
    let issuer = Issuer::start(json!(2))?;
    let authorization = wanted("Basic b25l");
    let backend = guarded("files", Era::Dual, &authorization)?;
    let fixed = |value: &str| {
        let header = json!({ "header": { "name": "Authorization", "scheme": "Basic", "value": value } });
        Documents::new().server_with("files", server(&backend, &header))
    };
    let mut gateway = fixed("b25l").start()?;
    assert_eq!(gateway.call("fine")?, "files:fine");

    gateway.rewrite(&Documents::new().server_with("files", server(&backend, &issuer.credential())).text())?;
    wait::until("a token", PATIENCE, || {
        let token = format!("Bearer token-{}", issuer.given());
        token.clone_into(&mut authorization.lock().expect("no test panics here"));
        let _: () = assert_eq!(gateway.call("fine")?, "files:fine");
        Ok(())
    })?;
    gateway.logged("in force")?;

    "Basic dHdv".clone_into(&mut authorization.lock().expect("no test panics here"));
    gateway.rewrite(&fixed("dHdv").text())?;
    wait::until("the second header", PATIENCE, || {
        let _: () = assert_eq!(gateway.call("fine")?, "files:fine");
        Ok(())
    })?;

    // A token of two seconds that nobody renews any more: what was under way when it was removed has ended.
    let mut before = issuer.given();
    wait::until("the end of renewals", PATIENCE, || {
        let began = Instant::now();
        wait::until("three lives of a token", PATIENCE, || {
            anyhow::ensure!(began.elapsed().as_secs() >= 6, "not yet");
            Ok(())
        })?;
        let given = std::mem::replace(&mut before, issuer.given());
        anyhow::ensure!(given == before, "{given} tokens, then {before}");
        Ok(())
    })
}

#[test]
fn a_set_whose_secrets_are_not_there_is_refused_whole() -> anyhow::Result<()> {
    let backend = Mcp::new("files").tools(&["fine"]).start()?;
    let absent = |value: &str| {
        let header = json!({ "header": { "name": "X-Key", "value": value } });
        Documents::new().server_with("files", server(&backend, &header)).text()
    };
    let folder = tempfile::tempdir()?;
    for (value, named) in [("file:absent", "absent"), ("env:QUORATE_TEST_ABSENT", "QUORATE_TEST_ABSENT")] {
        let file = folder.path().join("resources.yaml");
        fs::write(&file, absent(value))?;
        let mut command = Command::new(paths::binary("quorate")?);
        let mut process = Process::start("quorate", command.args(["serve", "-f"]).arg(&file))?;
        assert!(!process.end(PATIENCE)?.success());
        let said = process.output().join("\n");
        assert!(said.contains("files") && said.contains("spec.credential.header") && said.contains(named), "{said}");
    }

    let mut gateway = Documents::new().server("files", &backend.url()).start()?;
    gateway.rewrite(&absent("file:absent"))?;
    let refused = gateway.logged("refused; the running set stays")?;
    assert!(refused.contains("absent"), "{refused}");
    assert_eq!(gateway.call("fine")?, "files:fine");
    Ok(())
}
