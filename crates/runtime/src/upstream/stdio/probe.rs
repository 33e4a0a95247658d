//! Finds out which era a process speaks.
//!
//! `server/discover` goes to a process that is started (or spare) for it: servers of before 2026 may end at a request
//! that comes before `initialize`. A result, or an error that only the modern era has, proves modern, and that process
//! stays as the one for stateless calls. Any other error, silence, or its end means legacy, and `initialize` is tried
//! at another process (2026-07-28, "Versioning"; mcp.md, "Era probe").
//!
//! A modern server that was too slow to answer (a package that is being installed) refuses `initialize` by naming its
//! versions: then it is asked once more.

use std::sync::Arc;
use std::time::Duration;

use http::{HeaderMap, StatusCode};
use quorate_jsonrpc::Frame;
use quorate_mcp::error::UNSUPPORTED_VERSION;

use super::super::endpoint::Endpoint;
use super::super::error::{self, Error, Phase};
use super::super::probe::{
    self, Discovered, EraSetting, LegacySupport, Probe, TransportSetting, discover_request, judge,
};
use super::StdioEndpoint;
use super::calls::Calls;
use super::server::Use;

/// How long a process may take to answer `server/discover` where silence may mean the legacy era: 10 s, a slow start of
/// an interpreter with a large server.
const DISCOVER_TIMEOUT: Duration = Duration::from_secs(10);

/// Probes a process; see [`probe::probe`].
pub(in super::super) async fn probe(endpoint: &StdioEndpoint, era: EraSetting) -> Result<Probe, Error> {
    let modern = |info| {
        let legacy = if era == EraSetting::Modern { LegacySupport::Unsupported } else { LegacySupport::Unknown };
        Probe { modern: Some(info), legacy }
    };
    if era != EraSetting::Legacy {
        match discover(endpoint, era).await? {
            Discovered::Modern(info) => return Ok(modern(info)),
            Discovered::NotModern(refusal) if era == EraSetting::Modern => return Err(refusal),
            Discovered::NotModern(refusal) => tracing::debug!(%endpoint, %refusal, "probe.discover: not modern"),
        }
    }
    match probe::probe_legacy(&Endpoint::Stdio(endpoint.clone()), TransportSetting::Auto).await {
        Ok(legacy) => Ok(Probe { modern: None, legacy }),
        Err(Error::Fault { frame, .. }) if era == EraSetting::Auto && names_versions(&frame) => {
            match discover(endpoint, era).await? {
                Discovered::Modern(info) => Ok(modern(info)),
                Discovered::NotModern(_) => Err(Error::fault(StatusCode::BAD_REQUEST, *frame)),
            }
        }
        Err(error) => Err(error),
    }
}

/// Asks a process what it is in the modern era, and keeps it when it is. One that is not is ended; where it is the last
/// that there may be, its end is waited for, because another one is to be tried.
pub(in super::super) async fn discover(endpoint: &StdioEndpoint, era: EraSetting) -> Result<Discovered, Error> {
    let server = endpoint.server();
    let patience = patience(era, server.start_timeout());
    let calls = Calls::start(server, Use::Probe).await?;
    let (headers, sent) = (HeaderMap::new(), Arc::clone(&calls));
    let asked = async { sent.send(&headers, discover_request()).await?.finish(drop).await };
    let judged = match tokio::time::timeout(patience, asked).await {
        // There is no status: the error alone has to prove it.
        Ok(Ok(frame)) => judge(StatusCode::BAD_REQUEST, frame),
        Ok(Err(error)) => Discovered::NotModern(error),
        Err(_) => Discovered::NotModern(Error::Timeout { phase: Phase::FirstByte, after: patience }),
    };
    if matches!(judged, Discovered::Modern(_)) {
        calls.employ();
        server.keep_calls(calls);
    } else {
        drop(calls);
        server.room().await;
    }
    Ok(judged)
}

/// How long a process may take to answer `server/discover`: where it can only be modern, all the time of a start.
fn patience(era: EraSetting, start: Duration) -> Duration {
    match era {
        EraSetting::Modern => start,
        EraSetting::Auto | EraSetting::Legacy => start.min(DISCOVER_TIMEOUT),
    }
}

/// Tells whether a refusal of `initialize` is that of a modern server.
fn names_versions(frame: &Frame) -> bool {
    error::fault_code(frame) == Some(UNSUPPORTED_VERSION)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_can_only_be_modern_has_the_time_of_a_start() {
        let [short, long] = [5, 60].map(Duration::from_secs);
        assert_eq!(patience(EraSetting::Modern, long), long);
        assert_eq!(patience(EraSetting::Auto, long), DISCOVER_TIMEOUT, "it may be legacy, and silent for ever");
        assert_eq!(patience(EraSetting::Auto, short), short);
    }
}
