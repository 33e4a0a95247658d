//! What an open stream stands on: who opened it, and that this still holds.
//!
//! A request is decided once; a stream goes on for hours. What let its caller in is asked again, by the present
//! configuration, when that has other rules than the one before and every half minute: a certificate may be revoked, a
//! token too, a key may leave its issuer's set, and no file of ours changes. A caller that is known and allowed as before
//! notices nothing; any other stream ends, and its client is told why when it comes again.
//!
//! ```text
//! open ─▶ good ─▶ half a minute, or other rules ─▶ known? allowed? ─▶ good
//!           │                                        │       └─▶ nobody can judge: good, ten times in a row
//!           └─▶ what was shown ends ─▶ over          └─▶ over
//! ```
//!
//! Holds no snapshot: a stream must not keep what a configuration before had, its tasks and connections among it.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures_util::stream::{self, Stream, StreamExt};
use quorate_http::sse;
use quorate_mcp::Version;
use quorate_runtime::{clock, session};
use quorate_types::{Principal, PrincipalDigest, ResourceName, Secret, Timestamp};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::authenticate::Caller;
use crate::classify::{Received, Request};
use crate::credentials::Shown;
use crate::listener::{AcceptedHead, Connection};
use crate::snapshot::Services;
use crate::{audit, authenticate, authorize, protected};

/// Time between two looks at what a caller showed: what a revocation may take beyond what its source is cached for. A
/// look costs as much as authenticating a request, so that 100,000 streams cost as much as 3,300 requests a second.
const CHECK_INTERVAL: Duration = Duration::from_secs(30);
/// Looks in a row at which nobody can judge, because an issuer is away: five minutes, as keys of issuers survive longer
/// outages by themselves. A revoked caller gains no more by making its issuer unreachable.
const UNJUDGED_MAX: u32 = 10;
/// How long a call that cannot be resumed may go on after what its caller showed has ended: ten minutes, more than most
/// tools take, because its answer would be lost and a caller with short-lived tokens could never have it.
const EXPIRED_CALL_MAX: Duration = Duration::from_secs(10 * 60);

/// What a stream of a caller stands on. `Debug` is not there: it has credentials.
pub struct Standing {
    services: Arc<Services>,
    connection: Arc<Connection>,
    toolset: ResourceName,
    /// The URL that tokens have to be for.
    resource: String,
    token: Option<Secret>,
    key: Option<Secret>,
    /// Who it is, by what was last found.
    principal: Arc<Principal>,
    digest: PrincipalDigest,
    ends: Option<Timestamp>,
    /// Of the configuration that last judged it.
    superseded: CancellationToken,
    /// The session that the stream is of.
    session: Option<session::Handle>,
    cut: Cut,
    /// Another node owns its session.
    is_relayed: bool,
}

/// What a client loses with a stream.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Cut {
    /// Nothing: it comes again, and goes on where it was.
    Resumed,
    /// The answer to its call.
    Lost,
}

/// Why a stream is over.
#[derive(Debug, thiserror::Error)]
enum Over {
    /// Its caller is not known any more.
    #[error("the caller is not known any more: {0}")]
    Unknown(#[from] authenticate::Error),
    /// What it shows is somebody else's now.
    #[error("the credentials are those of another caller now")]
    Another,
    /// The caller may not be a client of the toolset any more.
    #[error("the caller may not connect any more")]
    Denied,
    /// What it showed has ended.
    #[error("the credentials have ended")]
    Ended,
    /// The toolset, or the node, goes away.
    #[error("the toolset is gone")]
    Gone,
}

// === impl Cut ===

impl Cut {
    /// What a client of a session loses with the stream of a call. Since 2025-11-25 such a stream begins with an event
    /// that it can be resumed from; before, a client has nothing to name until the first message is there.
    pub(crate) fn of_call(session: &session::Handle) -> Self {
        let is_primed = session.client().is_some_and(|client| client.version >= Version::V2025_11_25);
        if is_primed { Self::Resumed } else { Self::Lost }
    }
}

// === impl Over ===

impl Over {
    /// The label in metrics.
    fn reason(&self) -> &'static str {
        match self {
            Self::Unknown(error) => error.reason(),
            Self::Another => "another_caller",
            Self::Denied => "denied",
            Self::Ended | Self::Gone => "ended",
        }
    }
}

// === impl Standing ===

impl Standing {
    /// What a stream of `request` stands on.
    pub(crate) fn of(request: &Request, session: Option<&session::Handle>, cut: Cut) -> Box<Self> {
        let (accepted, caller) = (&request.accepted, request.caller());
        // What cannot be read here identified nobody: the development identity looks at no credential.
        Self::on(accepted, caller, session, cut, false)
    }

    /// What a stream of a caller stands on whose request another node answers.
    pub(crate) fn relayed(received: &Received, cut: Cut) -> Box<Self> {
        Self::on(&received.accepted, &received.caller, None, cut, true)
    }

    fn on(
        accepted: &AcceptedHead,
        caller: &Caller,
        session: Option<&session::Handle>,
        cut: Cut,
        is_relayed: bool,
    ) -> Box<Self> {
        let shown = Shown::read(&accepted.head).unwrap_or_default();
        Box::new(Self {
            services: Arc::clone(&accepted.snapshot.services),
            connection: Arc::clone(&accepted.connection),
            toolset: accepted.toolset.name().clone(),
            resource: protected::resource_of(accepted).unwrap_or_default(),
            token: shown.token.map(Secret::new),
            key: shown.key.map(Secret::new),
            principal: Arc::clone(&caller.principal),
            digest: caller.digest,
            ends: caller.ends,
            superseded: accepted.snapshot.superseded.clone(),
            session: session.cloned(),
            cut,
            is_relayed,
        })
    }

    /// Ends a stream with this.
    pub(crate) fn bound<S>(self: Box<Self>, stream: S) -> impl Stream<Item = S::Item> + Send
    where
        S: Stream + Send,
    {
        stream.take_until(self.over())
    }

    /// Ends a stream with this, and says `last` then: a call never ends without an answer.
    pub(crate) fn bound_with<S>(self: Box<Self>, events: S, last: Bytes) -> impl Stream<Item = sse::Event> + Send
    where
        S: Stream<Item = sse::Event> + Send + 'static,
    {
        let bound = events.boxed().take_until(Box::pin(self.over()));
        stream::unfold(Some((bound, last)), |state| async move {
            let (mut bound, last) = state?;
            match bound.next().await {
                Some(event) => Some((event, Some((bound, last)))),
                None => bound.take_result().map(|()| (sse::Event::new(last), None)),
            }
        })
    }

    /// Waits until the stream is over.
    pub(crate) async fn over(mut self: Box<Self>) {
        let over = self.watch().await;
        let Connection { listener, peer, .. } = &*self.connection;
        match over {
            Over::Ended | Over::Gone => tracing::debug!(%listener, %peer, %over, "a stream ends"),
            Over::Unknown(_) | Over::Another | Over::Denied => {
                audit::stream_refused(&self.services, listener, *peer, over.reason(), &over);
            }
        }
    }

    async fn watch(&mut self) -> Over {
        let mut unjudged = 0;
        loop {
            let check = Instant::now() + CHECK_INTERVAL;
            let ends = self.until();
            tokio::select! {
                () = self.superseded.cancelled() => {}
                () = tokio::time::sleep_until(ends.map_or(check, |ends| ends.min(check))) => {
                    if ends.is_some_and(|ends| ends <= Instant::now()) {
                        return Over::Ended;
                    }
                }
            }
            match self.judge().await {
                Ok(()) => unjudged = 0,
                Err(Over::Unknown(error)) if error.is_unjudged() && unjudged < UNJUDGED_MAX => unjudged += 1,
                Err(over) => return over,
            }
        }
    }

    /// When the stream is over at the latest.
    fn until(&self) -> Option<Instant> {
        let more = match self.cut {
            Cut::Resumed => Duration::ZERO,
            Cut::Lost => EXPIRED_CALL_MAX,
        };
        Instant::now().checked_add((self.ends? + more).since(clock::now()))
    }

    /// Asks by the present configuration whether the caller is known, and may be here.
    async fn judge(&mut self) -> Result<(), Over> {
        let snapshot = self.services.present().ok_or(Over::Gone)?;
        // From here on it is this configuration that a change supersedes, also one that comes while it judges.
        self.superseded = snapshot.superseded.clone();
        let met = authenticate::Met { snapshot: &snapshot, connection: &self.connection, toolset: Some(&self.toolset) };
        let shown =
            Shown { token: self.token.as_ref().map(Secret::expose), key: self.key.as_ref().map(Secret::expose) };
        let caller = match met.again(shown, &self.resource).await {
            Ok(caller) if caller.digest != self.digest => return Err(Over::Another),
            Ok(caller) => Some(caller),
            Err(error) if self.outlives(&error) => None,
            Err(error) => return Err(error.into()),
        };
        if let Some(caller) = caller {
            self.ends = caller.ends;
            if *self.principal != *caller.principal {
                // What the same credentials say has changed.
                match &self.session {
                    // A session that was shown others since knows better.
                    Some(session) => session.known_instead(&self.principal, &caller.principal),
                    // What a listen tells was chosen by what its caller was.
                    None if self.cut == Cut::Resumed && !self.is_relayed => return Err(Over::Another),
                    // Its owner hears of that with the next request.
                    None => {}
                }
                self.principal = caller.principal;
            }
        }
        let listener = snapshot.listener(&self.connection.listener).ok_or(Over::Gone)?;
        let toolset = snapshot.toolset(listener, self.toolset.as_str()).ok_or(Over::Gone)?;
        let table = toolset.of_principal(self.digest);
        let is_allowed = authorize::may_stay(&snapshot, &self.principal, table);
        is_allowed.then_some(()).ok_or(Over::Denied)
    }

    /// Tells whether a refusal is only that what was shown has ended meanwhile, which a call whose answer would be lost
    /// outlives for a while.
    fn outlives(&self, error: &authenticate::Error) -> bool {
        let has_ended = self.ends.is_some_and(|ends| ends <= clock::now());
        self.cut == Cut::Lost && has_ended && error.is_end()
    }
}

#[cfg(test)]
mod tests {
    use std::net::{Ipv4Addr, SocketAddr};

    use quorate_identity::api_key::Fresh;

    use super::*;
    use crate::ground::{self, Ground, Rules, TOOLSET, key};

    const ALLOWED: &str = "permit(principal, action, resource);";

    fn rules<'a>(keys: &'a [(&'a Fresh, Option<Timestamp>)]) -> Rules<'a> {
        Rules { keys, cedar: ALLOWED, scopes: &[] }
    }

    /// What a stream stands on that was opened by a key, with the present snapshot.
    fn standing(ground: &Ground, key: &Fresh, cut: Cut, ends: Option<Timestamp>) -> Box<Standing> {
        let local = SocketAddr::from((Ipv4Addr::LOCALHOST, 1));
        let connection = Connection {
            listener: ground::name(ground::LISTENER),
            local,
            peer: local,
            is_encrypted: false,
            certificate: None,
        };
        let principal = Principal::agent(quorate_types::TenantId::default(), ground::agent(key).as_str());
        Box::new(Standing {
            services: Arc::clone(&ground.services),
            connection: Arc::new(connection),
            toolset: ground::name(TOOLSET),
            resource: String::new(),
            token: None,
            key: Some(Secret::new(key.expose())),
            digest: principal.digest(),
            principal: Arc::new(principal),
            ends,
            superseded: ground.present().superseded.clone(),
            session: None,
            cut,
            is_relayed: false,
        })
    }

    /// Whether it is over within this time, which passes at once.
    async fn is_over(standing: Box<Standing>, within: Duration) -> bool {
        tokio::time::timeout(within, standing.over()).await.is_ok()
    }

    #[tokio::test(start_paused = true)]
    async fn a_stream_ends_when_the_key_that_let_it_in_is_removed() {
        let (removed, stays) = (key(1), key(2));
        let ground = Ground::new(&rules(&[(&removed, None), (&stays, None)]));
        let one = standing(&ground, &removed, Cut::Resumed, None);
        let call = standing(&ground, &removed, Cut::Lost, None);
        let other = standing(&ground, &stays, Cut::Resumed, None);

        ground.change(&rules(&[(&stays, None)])).superseded.cancel();

        assert!(is_over(one, Duration::from_secs(1)).await, "it goes on");
        assert!(is_over(call, Duration::from_secs(1)).await, "its call goes on");
        assert!(!is_over(other, Duration::from_secs(3_600)).await, "a stream of a good caller was cut");
    }

    #[tokio::test(start_paused = true)]
    async fn a_stream_ends_when_its_caller_may_not_connect_any_more() {
        let own = key(1);
        let keys = [(&own, None)];
        for denied in
            [Rules { keys: &keys, cedar: "", scopes: &[] }, Rules { keys: &keys, cedar: ALLOWED, scopes: &["files"] }]
        {
            let ground = Ground::new(&rules(&keys));
            let stream = standing(&ground, &own, Cut::Resumed, None);

            ground.change(&denied).superseded.cancel();

            assert!(is_over(stream, Duration::from_secs(1)).await, "{:?}", (denied.cedar, denied.scopes));
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_stream_that_opens_just_after_a_change_is_held_against_the_present_rules() {
        let own = key(1);
        let ground = Ground::new(&rules(&[(&own, None)]));
        let before = ground.change(&rules(&[]));
        before.superseded.cancel();

        let stream = Standing { superseded: before.superseded.clone(), ..*standing(&ground, &own, Cut::Resumed, None) };

        assert!(is_over(Box::new(stream), Duration::from_secs(1)).await);
    }

    #[tokio::test(start_paused = true)]
    async fn what_is_taken_back_without_a_change_of_ours_ends_a_stream_within_half_a_minute() {
        let own = key(1);
        let ground = Ground::new(&rules(&[(&own, None)]));
        let stream = standing(&ground, &own, Cut::Resumed, None);
        let call = standing(&ground, &own, Cut::Lost, None);

        // As a list of revoked certificates or an issuer does it: nobody cancels anything.
        let _before = ground.change(&rules(&[]));

        assert!(is_over(stream, CHECK_INTERVAL + Duration::from_secs(1)).await);
        assert!(is_over(call, CHECK_INTERVAL + Duration::from_secs(1)).await);
    }

    #[tokio::test(start_paused = true)]
    async fn a_stream_ends_with_what_was_shown_and_a_call_that_cannot_be_resumed_a_while_later() {
        let own = key(1);
        let ground = Ground::new(&rules(&[(&own, None)]));
        let soon = Some(clock::now() + Duration::from_secs(5));

        assert!(is_over(standing(&ground, &own, Cut::Resumed, soon), Duration::from_secs(6)).await);
        assert!(!is_over(standing(&ground, &own, Cut::Lost, soon), Duration::from_secs(6)).await);
        let until = standing(&ground, &own, Cut::Lost, soon).until().expect("it has an end");
        let left = until - Instant::now();
        assert!(left > EXPIRED_CALL_MAX && left <= EXPIRED_CALL_MAX + Duration::from_secs(5), "{left:?}");
    }

    #[tokio::test]
    async fn only_the_end_of_a_key_is_outlived_and_not_its_removal() {
        let own = key(1);
        let ended = Some(Timestamp::from_millis(clock::now().as_millis() - 2_000));
        let ground = Ground::new(&rules(&[(&own, ended)]));

        let judged = standing(&ground, &own, Cut::Resumed, ended).judge().await;
        assert!(matches!(judged, Err(Over::Unknown(_))), "{judged:?}");
        let mut call = standing(&ground, &own, Cut::Lost, ended);
        assert!(call.judge().await.is_ok());

        ground.change(&Rules { keys: &[(&own, ended)], cedar: "", scopes: &[] });
        assert!(matches!(call.judge().await, Err(Over::Denied)), "an ended caller is not held against policies");
        ground.change(&rules(&[]));
        assert!(matches!(call.judge().await, Err(Over::Unknown(_))));
    }

    #[tokio::test(start_paused = true)]
    async fn a_call_that_is_cut_says_so_and_one_that_ends_says_nothing_more() {
        let own = key(1);
        let ground = Ground::new(&rules(&[(&own, None)]));
        let answer = || stream::iter([sse::Event::new("answer")]);
        let whole = standing(&ground, &own, Cut::Lost, None).bound_with(answer(), Bytes::from_static(b"cut"));
        assert_eq!(whole.count().await, 1);

        let cut = standing(&ground, &own, Cut::Lost, None);
        let cut = cut.bound_with(answer().chain(stream::pending()), Bytes::from_static(b"cut"));
        ground.change(&rules(&[])).superseded.cancel();
        assert_eq!(cut.count().await, 1, "the end comes before what was not yet read");
    }
}
