//! Sessions of real clients of a cluster, as those see and do it who operate it: listed, followed, handed over, ended.
//!
//! A part of what [`super::verbs`] goes through, with requests of the same roles.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use anyhow::{Context as _, ensure};
use quorate_client::{Answers, Error, Method};
use quorate_cluster::Cluster;
use quorate_proto::admin::v1;
use quorate_proto::admin::v1::session_change::Kind;
use quorate_tests::raw::mcp::{Era, Mcp};
use quorate_tests::raw::session::Session;
use tonic::Code;

use crate::verbs::{PATIENCE, Roles, document, is_refused, refused};

/// The revision that clients speak.
const REVISION: &str = "2025-11-25";
const LOOK: Duration = Duration::from_millis(50);

/// Opens sessions on nodes that serve clients at these addresses, and makes each call about them.
pub(crate) async fn all(roles: &Roles, cluster: &Cluster, listens: &[SocketAddr]) -> anyhow::Result<()> {
    let server = Mcp::new("files").era(Era::Legacy).start()?;
    let toolset = v1::Document {
        kind: "Toolset".to_owned(),
        name: "default".to_owned(),
        json: serde_json::json!({ "kind": "Toolset", "name": "default", "spec": { "servers": ["files"] } })
            .to_string()
            .into_bytes()
            .into(),
        origin: "default.yaml:1".to_owned(),
        ..v1::Document::default()
    };
    let documents = vec![document("files", &server.url()), toolset];
    let applied =
        roles.call(v1::ApplyRequest { documents, message: "sessions".to_owned(), ..Default::default() }).await?;
    let clients = open(listens, 3).await?;

    let names = listed(roles).await?;
    loaded(roles).await?;
    filtered(roles, &names).await?;
    moved(roles, cluster, &names[0], &clients).await?;
    ended(roles, cluster, &names[1], &clients).await?;

    let delete = |kind: &str, name: &str| v1::DeleteRequest {
        kind: kind.to_owned(),
        name: name.to_owned(),
        ..v1::DeleteRequest::default()
    };
    // Sessions that are their record alone would end when they have been idle for long enough.
    for client in &clients {
        client.request(4, "ping", serde_json::json!({}))?;
    }
    roles.call(delete("Toolset", "default")).await?;
    let last = roles.call(delete("ToolServer", "files")).await?;
    ensure!(last.revision > applied.revision, "{last:?}");
    gone(roles, &names).await
}

/// Opens sessions, each at another node, as soon as these have what was applied.
async fn open(listens: &[SocketAddr], count: usize) -> anyhow::Result<Vec<Session>> {
    let mut clients = Vec::new();
    for listen in listens.iter().cycle().take(count) {
        let deadline = Instant::now() + PATIENCE;
        let client = loop {
            match Session::open_on(*listen, "/mcp", REVISION) {
                Ok(client) => break client,
                Err(error) => ensure!(Instant::now() < deadline, "no session is opened: {error:#}"),
            }
            tokio::time::sleep(LOOK).await;
        };
        let answer = client.call(1, "echo")?;
        ensure!(answer["result"]["content"].is_array(), "{answer}");
        clients.push(client);
    }
    Ok(clients)
}

/// The names of all sessions, page by page.
async fn listed(roles: &Roles) -> anyhow::Result<Vec<String>> {
    // A replica may be behind by what is under way.
    let deadline = Instant::now() + PATIENCE;
    let all = loop {
        let all = roles.call(v1::ListSessionsRequest::default()).await?;
        if all.sessions.len() == 3 {
            break all;
        }
        ensure!(Instant::now() < deadline, "{all:?}");
        tokio::time::sleep(LOOK).await;
    };
    ensure!(all.next_page_token.is_empty() && all.elsewhere.is_empty(), "{all:?}");
    let session = &all.sessions[0];
    ensure!(
        session.tenant == "default" && session.revision == REVISION && session.client_name == "tests",
        "{session:?}"
    );
    ensure!(
        session.scope == Some(v1::session::Scope::Toolset("default".to_owned())) && session.node > 0,
        "{session:?}"
    );

    let (mut names, mut page_token) = (Vec::new(), String::new());
    loop {
        let page = v1::ListSessionsRequest { page_size: 2, page_token, ..v1::ListSessionsRequest::default() };
        let page = roles.call(page).await?;
        ensure!(page.sessions.len() <= 2, "{page:?}");
        names.extend(page.sessions.into_iter().map(|session| session.name));
        page_token = page.next_page_token;
        if page_token.is_empty() {
            break;
        }
    }
    ensure!(names.iter().eq(all.sessions.iter().map(|session| &session.name)), "{names:?}");
    Ok(names)
}

/// Each node tells what it has and does, to the one that is asked, too.
async fn loaded(roles: &Roles) -> anyhow::Result<()> {
    let deadline = Instant::now() + PATIENCE;
    loop {
        let status = roles.status().await?;
        let loads: Vec<_> = status.nodes.iter().filter_map(|node| node.load.as_ref()).collect();
        let sum = |of: fn(&v1::NodeLoad) -> u64| loads.iter().map(|load| of(load)).sum::<u64>();
        // Each client has asked for three things, of another node each.
        let is_known = loads.len() == 3 && loads.iter().all(|load| load.requests > 0 && load.incarnation == 1);
        if is_known && sum(|load| load.sessions) == 3 && sum(|load| load.requests) >= 9 {
            return Ok(());
        }
        ensure!(Instant::now() < deadline, "{loads:?}");
        tokio::time::sleep(LOOK).await;
    }
}

/// What sessions are chosen by, and what is refused.
async fn filtered(roles: &Roles, names: &[String]) -> anyhow::Result<()> {
    let request = v1::ListSessionsRequest::default;
    let shard: u32 = names[0].split_once('-').context("a name has its shard")?.0.parse()?;
    let of_shard = roles.call(v1::ListSessionsRequest { shards: vec![shard], ..request() }).await?;
    let prefix = format!("{shard}-");
    ensure!(of_shard.sessions.iter().any(|session| session.name == names[0]), "{of_shard:?}");
    ensure!(of_shard.sessions.iter().all(|session| session.name.starts_with(&prefix)), "{of_shard:?}");
    for none in [
        v1::ListSessionsRequest { tenant: "acme".to_owned(), ..request() },
        v1::ListSessionsRequest { server: "files".to_owned(), ..request() },
        v1::ListSessionsRequest { agent: "nobody".to_owned(), ..request() },
        v1::ListSessionsRequest { ended: true, ..request() },
    ] {
        let found = roles.call(none.clone()).await?;
        ensure!(found.sessions.is_empty(), "{none:?}: {found:?}");
    }
    roles.wrong("page_size", v1::ListSessionsRequest { page_size: 1_001, ..request() }).await?;
    roles.wrong("page_token", v1::ListSessionsRequest { page_token: "x".to_owned(), ..request() }).await?;
    roles.wrong("tenant", v1::ListSessionsRequest { tenant: "No Name".to_owned(), ..request() }).await?;
    roles.wrong("busy", v1::ListSessionsRequest { busy: true, ended: true, ..request() }).await?;
    roles.wrong("shards", v1::ListSessionsRequest { shards: vec![99], ..request() }).await?;
    roles.wrong("name", v1::GetSessionRequest { name: "1".to_owned() }).await?;
    roles.wrong("name", v1::EndSessionRequest { name: String::new() }).await?;
    roles.wrong("name", v1::TransferSessionRequest { name: String::new(), to: 1 }).await?;
    roles.refused("UNKNOWN", v1::GetSessionRequest { name: format!("{shard}-{}", "0".repeat(32)) }).await?;
    roles.refused("UNKNOWN", v1::GetSessionRequest { name: format!("99-{}", "0".repeat(32)) }).await
}

/// Makes a call at the node that owns a session, wherever that is by now, after the role below was refused it.
async fn at_owner<M: Method>(roles: &Roles, cluster: &Cluster, request: M) -> anyhow::Result<M::Answer> {
    let deadline = Instant::now() + PATIENCE;
    let mut place = 0;
    loop {
        let at = cluster.admin(place).to_string().parse()?;
        roles.lacks(M::PATH, roles.viewer.at(&at).call(request.clone()).await)?;
        match roles.operator.at(&at).call(request.clone()).await {
            Ok(answer) => {
                roles.made(M::PATH);
                return Ok(answer);
            }
            Err(Error::Refused { refused, .. })
                if ["LED_ELSEWHERE", "NO_LEADER"].contains(&refused.reason.as_str())
                    || refused.message.contains("is behind") =>
            {
                if refused.reason == "LED_ELSEWHERE" {
                    let named = refused.metadata.get("admin_address").context("it says who")?;
                    let owner = cluster.places().find(|place| cluster.admin(*place).to_string() == *named);
                    place = owner.with_context(|| format!("{named} is a node"))?;
                }
            }
            Err(error) => return Err(error).context(M::PATH),
        }
        ensure!(Instant::now() < deadline, "{} at the owner takes too long", M::PATH);
        tokio::time::sleep(LOOK).await;
    }
}

/// A session is handed to another node, which its client does not notice, and its timeline does.
///
/// Levelling may hand its shard back before its client asks for anything, in which case it never moved. It is handed over
/// again then.
async fn moved(roles: &Roles, cluster: &Cluster, name: &str, clients: &[Session]) -> anyhow::Result<()> {
    let get = v1::GetSessionRequest { name: name.to_owned() };
    let deadline = Instant::now() + PATIENCE;
    loop {
        let seen = roles.call(get.clone()).await?;
        let happened = |what| seen.timeline.iter().any(|moment| moment.happening() == what && moment.node > 0);
        if happened(v1::SessionHappening::Opened) && happened(v1::SessionHappening::Moved) {
            break;
        }
        ensure!(Instant::now() < deadline, "{seen:?}");
        let to = seen.session.context("it is there")?.node % 3 + 1;
        let request = v1::TransferSessionRequest { name: name.to_owned(), to };
        let moved = at_owner(roles, cluster, request.clone()).await?;
        ensure!(moved.node == to, "{moved:?}");
        let again = at_owner(roles, cluster, request).await?;
        ensure!(again.node == to, "it is there, or is handed over once more: {again:?}");
        for client in clients {
            let answer = client.call(2, "echo")?;
            ensure!(answer["result"]["content"].is_array(), "{answer}");
        }
        // The replica that is asked may be behind by what is under way.
        tokio::time::sleep(LOOK).await;
    }
    let unknown = v1::TransferSessionRequest { name: name.to_owned(), to: 99 };
    let owner = roles.call(get).await?.session.context("it is there")?.node;
    let at = cluster.admin(usize::try_from(owner)? - 1).to_string().parse()?;
    is_refused("UNKNOWN", roles.operator.at(&at).call(unknown).await)
}

/// A session is ended by an operator: its client gets 404, a watch is told, and it stays known who ended it.
async fn ended(roles: &Roles, cluster: &Cluster, name: &str, clients: &[Session]) -> anyhow::Result<()> {
    let mut watch = roles.watch(v1::WatchSessionsRequest::default()).await?;
    let first = watch.next().await?.context("a watch begins at once")?;
    let is_told = |change: &v1::SessionChange| change.session.as_ref().is_some_and(|session| session.name == name);
    ensure!(first.resync && first.complete && first.changes.iter().any(is_told), "{first:?}");

    at_owner(roles, cluster, v1::EndSessionRequest { name: name.to_owned() }).await?;

    let end = told(&mut watch, name, Kind::Ended).await?.end.context("it says how")?;
    let is_right = |end: &v1::SessionEnd| {
        end.reason() == v1::SessionEndReason::Operator && end.by == "operator operator (operator)" && end.node > 0
    };
    ensure!(is_right(&end), "{end:?}");
    let lost: Vec<u16> = clients
        .iter()
        .map(|client| anyhow::Ok(client.request(3, "ping", serde_json::json!({}))?.status))
        .collect::<anyhow::Result<_>>()?;
    ensure!(lost.iter().filter(|status| **status == 404).count() == 1, "{lost:?}");
    let seen = roles.call(v1::GetSessionRequest { name: name.to_owned() }).await?;
    let last = seen.timeline.last().context("it has a timeline")?;
    ensure!(last.happening() == v1::SessionHappening::Ended && last.node == end.node, "{seen:?}");
    ensure!(seen.session.and_then(|session| session.end).is_some_and(|end| is_right(&end)));
    let listed = roles.call(v1::ListSessionsRequest { ended: true, ..Default::default() }).await?;
    ensure!(listed.sessions.len() == 1 && listed.sessions[0].name == name, "{listed:?}");
    let twice = at_owner(roles, cluster, v1::EndSessionRequest { name: name.to_owned() }).await;
    let twice = twice.err().and_then(|error| error.downcast::<Error>().ok()).context("it has ended")?;
    let twice = refused(Err::<(), _>(twice))?;
    ensure!(twice.code == Code::NotFound && twice.message.contains("has ended"), "{twice:?}");
    Ok(())
}

/// Waits for what a watch says of a session.
async fn told(watch: &mut Answers<v1::WatchSessionsResponse>, name: &str, kind: Kind) -> anyhow::Result<v1::Session> {
    loop {
        let said = tokio::time::timeout(PATIENCE, watch.next()).await.context("the watch says nothing")??;
        for change in said.context("the watch goes on")?.changes {
            let session = change.session.clone().context("it is of a session")?;
            if session.name == name && change.kind() == kind {
                return Ok(session);
            }
        }
    }
}

/// What sessions were for is not there any more: they end, and it is told why. One whose shard has just moved stays, at rest.
async fn gone(roles: &Roles, names: &[String]) -> anyhow::Result<()> {
    let deadline = Instant::now() + PATIENCE;
    loop {
        let ended = roles.call(v1::ListSessionsRequest { ended: true, ..Default::default() }).await?.sessions;
        let live = roles.call(v1::ListSessionsRequest::default()).await?.sessions;
        let why = |session: &v1::Session| session.end.as_ref().map(v1::SessionEnd::reason);
        let changed = ended.iter().filter(|session| why(session) == Some(v1::SessionEndReason::Shutdown)).count();
        if changed > 0 && ended.len() == changed + 1 && ended.len() + live.len() == names.len() {
            return Ok(());
        }
        ensure!(Instant::now() < deadline, "{ended:?} {live:?}");
        tokio::time::sleep(LOOK).await;
    }
}
