//! What a bridged leg is told of changes: its subscriptions, and what waits for its reader.
//!
//! One task per leg, started when the client first listens or subscribes. It joins the backend's
//! hub, whose upstream listen all subscribers share, and keeps the place that it has until a new one
//! with another interest is acknowledged, so that nothing is missed between them. What changed
//! waits, each change once, for the leg's one reader; without a reader it is dropped, as a server of
//! sessions drops what nobody listens for.
//!
//! A subscription is confirmed when the server honours it, which may be after the place at the hub
//! is had: a listen that is slow, or fails once, is no refusal. Whoever does not wait for that has not
//! subscribed.
//!
//! | Command | Effect | Reply | Overload |
//! |---|---|---|---|
//! | `Subscribe` | adds a resource | when it is live upstream, or why not | the session's `subscriptions_max` |
//! | `Unsubscribe` | removes one, and what of it was not read | at once | as above |
//! | `Listen` | adds the lists | none | once per listen of the session |

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use futures_util::stream;
use quorate_jsonrpc::{Frame, Limits};
use quorate_mcp::dialect::onto_modern;
use quorate_mcp::subscription::{Change, Interest, Notification};
use quorate_telemetry::Throttle;
use quorate_types::PrincipalDigest;
use tokio::sync::mpsc::error::TryRecvError;
use tokio::sync::{Notify, mpsc, oneshot};
use tokio::time::{Instant, sleep, sleep_until, timeout};

use crate::backend::{Handle, Notice, Subscription, lock};
use crate::upstream::{Awaits, FrameStream};

/// Commands that wait for the task: it takes each at once, but for a moment at the hub.
const COMMANDS_MAX: usize = 16;
/// Changes that wait for the reader, each once: the lists, and as many resources as a session may
/// subscribe to; more come only from below subscribed ones.
const CHANGES_MAX: usize = 2048;
/// Longest wait for a subscription: 15 s, in which a hub has opened a listen, or has given one up (10 s)
/// and tried again.
const SUBSCRIBE_TIMEOUT: Duration = Duration::from_secs(15);
/// Pause before the hub is joined again after it cut us off or refused: 1 s.
const REJOIN_AFTER: Duration = Duration::from_secs(1);
/// Bounds lines about refused subscribers: each bridged session may be one.
static REFUSED: Throttle = Throttle::new();

/// The commands of a leg's watch. Clones share it; the last one ends it.
#[derive(Clone)]
pub(super) struct Watch {
    commands: mpsc::Sender<Command>,
    pending: Arc<Pending>,
}

/// Why a resource is not subscribed to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Refused {
    /// The server does not honour it.
    NotHonoured,
    /// The hub has all that it may have, of all clients or of this principal's.
    TooMany {
        /// Of what, as a label.
        limit: &'static str,
        /// The bound.
        max: usize,
    },
    /// Nothing was heard in time.
    TooLate,
    /// The leg is gone.
    Gone,
}

enum Command {
    Subscribe { uri: Arc<str>, reply: Reply },
    Unsubscribe { uri: Arc<str>, reply: oneshot::Sender<()> },
    Listen,
}

type Reply = oneshot::Sender<Result<(), Refused>>;

/// What changed and was not read.
#[derive(Default)]
struct Pending {
    changes: Mutex<Changes>,
    some: Notify,
}

#[derive(Default)]
struct Changes {
    readers: usize,
    /// The server's own notification where there is one.
    waiting: BTreeMap<Change, Option<Arc<Notification>>>,
}

/// The leg's stream; without one, changes are dropped.
struct Reader {
    pending: Arc<Pending>,
    /// Keeps the watch alive.
    _watch: Watch,
}

struct Watcher {
    server: Handle,
    /// Whose place at the hub it is.
    principal: PrincipalDigest,
    pending: Arc<Pending>,
    wanted: Interest,
    live: Option<Place>,
    joining: Option<Place>,
    subscribing: Vec<(Arc<str>, Reply)>,
    /// What its client was told to be subscribed.
    confirmed: BTreeSet<Arc<str>>,
    /// The hub is not joined before.
    rejoin_at: Option<Instant>,
    /// Changes may have been missed, and are announced once a place is live.
    has_missed: bool,
}

/// A place at the hub.
struct Place {
    interest: Interest,
    subscription: Subscription,
}

// === impl Watch ===

impl Watch {
    pub(super) fn start(server: Handle, principal: PrincipalDigest) -> Self {
        let (commands, queue) = mpsc::channel(COMMANDS_MAX);
        let pending = Arc::new(Pending::default());
        let watcher = Watcher {
            server,
            principal,
            pending: Arc::clone(&pending),
            wanted: Interest::default(),
            live: None,
            joining: None,
            subscribing: Vec::new(),
            confirmed: BTreeSet::new(),
            rejoin_at: None,
            has_missed: false,
        };
        tokio::spawn(watcher.run(queue));
        Self { commands, pending }
    }

    /// Subscribes to a resource, and returns when the server tells of its changes.
    pub(super) async fn subscribe(&self, uri: Arc<str>) -> Result<(), Refused> {
        let (reply, subscribed) = oneshot::channel();
        let subscribing = async {
            self.commands.send(Command::Subscribe { uri, reply }).await.map_err(|_| Refused::Gone)?;
            subscribed.await.map_err(|_| Refused::Gone)?
        };
        timeout(SUBSCRIBE_TIMEOUT, subscribing).await.unwrap_or(Err(Refused::TooLate))
    }

    /// Ends a subscription: what changes from now on is not told.
    pub(super) async fn unsubscribe(&self, uri: Arc<str>) {
        let (reply, done) = oneshot::channel();
        if self.commands.send(Command::Unsubscribe { uri, reply }).await.is_ok() {
            // A watch that has ended tells of nothing.
            let _ended = done.await;
        }
    }

    /// Opens the stream of what changes from now on.
    pub(super) fn listen(&self) -> FrameStream {
        lock(&self.pending.changes).readers += 1;
        let reader = Reader { pending: Arc::clone(&self.pending), _watch: self.clone() };
        let commands = self.commands.clone();
        let frames = stream::unfold((reader, Some(commands)), |(reader, commands)| async move {
            if let Some(commands) = commands {
                // As above.
                let _ended = commands.send(Command::Listen).await;
            }
            let frame = reader.pending.next().await;
            Some((Ok(frame), (reader, None)))
        });
        FrameStream::of_frames(Box::pin(frames), Awaits::Nothing)
    }
}

// === impl Pending ===

impl Pending {
    /// Keeps a change for the reader; the same change twice is one.
    fn add(&self, server: &Handle, change: &Change, notification: Option<&Arc<Notification>>) {
        let mut changes = lock(&self.changes);
        if changes.readers == 0 {
            return;
        }
        if changes.waiting.len() >= CHANGES_MAX && !changes.waiting.contains_key(change) {
            server.limit_hit("bridge_changes");
            return;
        }
        changes.waiting.insert(change.clone(), notification.cloned());
        drop(changes);
        self.some.notify_one();
    }

    /// Forgets what is not wanted any more.
    fn keep(&self, wanted: &Interest) {
        lock(&self.changes).waiting.retain(|change, _| wanted.wants(change));
    }

    /// Waits for a change and returns it as a session is told.
    async fn next(&self) -> Frame {
        loop {
            let first = lock(&self.changes).waiting.pop_first();
            match first.map(|(change, notification)| told(&change, notification.as_deref())) {
                Some(Some(frame)) => return frame,
                Some(None) => {}
                None => self.some.notified().await,
            }
        }
    }
}

impl Drop for Reader {
    fn drop(&mut self) {
        let mut changes = lock(&self.pending.changes);
        changes.readers -= 1;
        if changes.readers == 0 {
            changes.waiting.clear();
        }
    }
}

// === impl Watcher ===

impl Watcher {
    /// Runs until the last [`Watch`] is dropped.
    async fn run(mut self, mut commands: mpsc::Receiver<Command>) {
        loop {
            self.forget_gone();
            self.join().await;
            let rejoin_at = self.rejoin_at;
            tokio::select! {
                command = commands.recv() => match command {
                    Some(command) => self.command(command),
                    None => return,
                },
                notice = next(&mut self.joining) => self.joined(notice),
                notice = next(&mut self.live) => self.heard(notice),
                () = sleep_until(rejoin_at.unwrap_or_else(Instant::now)), if rejoin_at.is_some() => {
                    self.rejoin_at = None;
                }
                // By then whoever subscribes has given up.
                () = sleep(SUBSCRIBE_TIMEOUT), if !self.subscribing.is_empty() => {}
            }
        }
    }

    fn command(&mut self, command: Command) {
        match command {
            Command::Subscribe { uri, reply } => {
                let is_live = self.live.as_ref().is_some_and(|place| place.interest.uris.contains(&uri));
                if is_live && self.confirmed.contains(&uri) {
                    self.answer(uri, reply, Ok(()));
                    return;
                }
                self.wanted.uris.insert(Arc::clone(&uri));
                self.subscribing.push((uri, reply));
                self.rejoin_at = None;
            }
            Command::Unsubscribe { uri, reply } => {
                self.wanted.uris.remove(&uri);
                self.confirmed.remove(&uri);
                self.pending.keep(&self.wanted);
                for (_, reply) in self.subscribing.extract_if(.., |(subscribing, _)| *subscribing == uri) {
                    // It did subscribe, until now. Whoever asked may have gone.
                    let _gone = reply.send(Ok(()));
                }
                // As above.
                let _gone = reply.send(());
            }
            Command::Listen => {
                self.wanted.tools = true;
                self.wanted.prompts = true;
                self.wanted.resources = true;
            }
        }
    }

    /// Joins the hub when the place that is had, or to be had, is not the one that is wanted.
    async fn join(&mut self) {
        if self.wanted.is_empty() {
            self.live = None;
        }
        let place = self.joining.as_ref().or(self.live.as_ref());
        let is_wanted = place.map_or(self.wanted.is_empty(), |place| place.interest == self.wanted);
        if is_wanted || self.joining.is_some() || self.rejoin_at.is_some() {
            return;
        }
        match self.server.subscribe(self.principal, self.wanted.clone()).await {
            Ok(subscription) => self.joining = Some(Place { interest: self.wanted.clone(), subscription }),
            // The backend's actor is being started again, or was removed: then this ends with the leg.
            Err(None) => self.rejoin_at = Some(Instant::now() + REJOIN_AFTER),
            Err(Some(rejection)) => {
                let refused = match rejection.limit() {
                    Some((limit, max)) => Refused::TooMany { limit, max },
                    None => {
                        if REFUSED.admits() {
                            tracing::error!(server = %self.server.name(), %rejection, "the hub refused a new subscriber");
                        }
                        Refused::TooLate
                    }
                };
                self.refuse(refused);
                self.rejoin_at = Some(Instant::now() + REJOIN_AFTER);
            }
        }
    }

    /// A notice of the place that is to be had: its acknowledgement.
    fn joined(&mut self, notice: Option<Notice>) {
        let Some(mut place) = self.joining.take() else { return };
        let (honoured, is_settled) = match notice {
            Some(Notice::Acknowledged { honoured, is_settled }) => (honoured, is_settled),
            // The hub says nothing before.
            Some(Notice::Changed(_) | Notice::Announced(_)) => {
                self.joining = Some(place);
                return;
            }
            None => {
                self.rejoin_at = Some(Instant::now() + REJOIN_AFTER);
                return;
            }
        };
        self.leave_live();
        for (uri, reply) in std::mem::take(&mut self.subscribing) {
            let is_asked_for = place.interest.uris.contains(&uri);
            match honoured.uris.contains(&uri) {
                true => self.answer(uri, reply, Ok(())),
                false if is_asked_for && is_settled => {
                    self.wanted.uris.remove(&uri);
                    self.confirmed.remove(&uri);
                    place.interest.uris.remove(&uri);
                    self.answer(uri, reply, Err(Refused::NotHonoured));
                }
                // It is late, or asked for by the next place.
                false => self.subscribing.push((uri, reply)),
            }
        }
        if std::mem::take(&mut self.has_missed) {
            for change in place.interest.as_changes() {
                self.changed(&change, None);
            }
        }
        self.live = Some(place);
    }

    /// Takes what the place that is had was told, since another replaces it.
    fn leave_live(&mut self) {
        let Some(mut place) = self.live.take() else { return };
        loop {
            match place.subscription.notices.try_recv() {
                Ok(notice) => self.heard(Some(notice)),
                Err(TryRecvError::Empty) => return,
                Err(TryRecvError::Disconnected) => {
                    self.has_missed = true;
                    return;
                }
            }
        }
    }

    /// A notice of the place that is had.
    fn heard(&mut self, notice: Option<Notice>) {
        match notice {
            Some(Notice::Changed(notification)) => self.changed(notification.change(), Some(&notification)),
            Some(Notice::Announced(change)) => self.announced(&change),
            Some(Notice::Acknowledged { .. }) => {}
            None => {
                self.live = None;
                self.has_missed = true;
                self.rejoin_at = Some(Instant::now() + REJOIN_AFTER);
            }
        }
    }

    /// A change that may have been missed, or what was asked for is honoured at last.
    fn announced(&mut self, change: &Change) {
        if let Change::Resource { uri } = change
            && !self.confirmed.contains(uri)
        {
            let honoured: Vec<_> = self.subscribing.extract_if(.., |(subscribing, _)| subscribing == uri).collect();
            for (uri, reply) in honoured {
                self.answer(uri, reply, Ok(()));
            }
            return;
        }
        self.changed(change, None);
    }

    fn changed(&self, change: &Change, notification: Option<&Arc<Notification>>) {
        if *change == Change::Tools {
            self.server.schemas().invalidate();
        }
        // A place that is being replaced may still be told of what is not wanted any more.
        if self.wanted.wants(change) {
            self.pending.add(&self.server, change, notification);
        }
    }

    fn refuse(&mut self, refused: Refused) {
        for (uri, reply) in std::mem::take(&mut self.subscribing) {
            self.answer(uri, reply, Err(refused));
        }
    }

    /// Answers whoever subscribes to a resource. Who was refused has not subscribed, and neither has
    /// who is gone, unless somebody was told before.
    fn answer(&mut self, uri: Arc<str>, reply: Reply, answer: Result<(), Refused>) {
        if reply.send(answer).is_ok() && answer.is_ok() {
            self.wanted.uris.insert(Arc::clone(&uri));
            self.confirmed.insert(uri);
        } else if !self.confirmed.contains(&uri) {
            self.wanted.uris.remove(&uri);
        }
    }

    /// Forgets those who do not wait any more.
    fn forget_gone(&mut self) {
        let gone: Vec<_> = self.subscribing.extract_if(.., |(_, reply)| reply.is_closed()).collect();
        for (uri, reply) in gone {
            self.answer(uri, reply, Err(Refused::Gone));
        }
        // Another may wait for the same.
        self.wanted.uris.extend(self.subscribing.iter().map(|(uri, _)| Arc::clone(uri)));
    }
}

/// Waits for the next notice of a place; for ever where there is none.
async fn next(place: &mut Option<Place>) -> Option<Notice> {
    match place {
        Some(place) => place.subscription.notices.recv().await,
        None => std::future::pending().await,
    }
}

/// Writes a change as a session is told; none for what sessions do not know.
fn told(change: &Change, notification: Option<&Notification>) -> Option<Frame> {
    if matches!(change, Change::Task { .. }) {
        return None;
    }
    let own = notification.and_then(|notification| onto_modern::notification(notification.frame()).ok());
    own.or_else(|| Frame::parse(change.to_session()?, &Limits::ANSWER).ok())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::backend::support::{actor, backend};

    /// A watcher whose client reads, and wants the lists of tools and this resource.
    fn watcher() -> Watcher {
        let pending = Arc::new(Pending::default());
        lock(&pending.changes).readers = 1;
        Watcher {
            server: backend(),
            principal: PrincipalDigest([1; 16]),
            pending,
            wanted: interest(),
            live: None,
            joining: None,
            subscribing: Vec::new(),
            confirmed: BTreeSet::new(),
            rejoin_at: None,
            has_missed: false,
        }
    }

    fn uri() -> Arc<str> {
        "t://x".into()
    }

    fn resource() -> Change {
        Change::Resource { uri: uri() }
    }

    fn interest() -> Interest {
        Interest { tools: true, uris: [uri()].into(), ..Interest::default() }
    }

    async fn place() -> (mpsc::Sender<Notice>, Place) {
        let (sender, notices) = mpsc::channel(8);
        let (actor, _probes) = actor().await;
        (sender, Place { interest: interest(), subscription: Subscription::of(notices, actor) })
    }

    fn acknowledged(honoured: Interest, is_settled: bool) -> Option<Notice> {
        Some(Notice::Acknowledged { honoured, is_settled })
    }

    /// Subscribes while a place is joined.
    async fn subscribing() -> (Watcher, oneshot::Receiver<Result<(), Refused>>) {
        let mut watcher = watcher();
        let (reply, subscribed) = oneshot::channel();
        watcher.command(Command::Subscribe { uri: uri(), reply });
        watcher.joining = Some(place().await.1);
        (watcher, subscribed)
    }

    fn waiting(watcher: &Watcher) -> Vec<Change> {
        lock(&watcher.pending.changes).waiting.keys().cloned().collect()
    }

    #[tokio::test]
    async fn what_was_told_at_a_place_that_is_left_is_not_lost() {
        let mut watcher = watcher();
        watcher.confirmed.insert(uri());
        let (told, live) = place().await;
        told.try_send(Notice::Announced(Change::Tools)).expect("room");
        (watcher.live, watcher.joining) = (Some(live), Some(place().await.1));

        watcher.joined(acknowledged(interest(), true));
        assert_eq!(waiting(&watcher), [Change::Tools]);

        // One that was cut off may have missed everything.
        let (told, live) = place().await;
        drop(told);
        (watcher.live, watcher.joining) = (Some(live), Some(place().await.1));
        watcher.joined(acknowledged(interest(), true));
        assert_eq!(waiting(&watcher).len(), interest().as_changes().len());
    }

    #[tokio::test]
    async fn a_listen_that_is_late_is_no_refusal() {
        let (mut watcher, mut subscribed) = subscribing().await;
        watcher.joined(acknowledged(Interest::default(), false));
        assert!(subscribed.try_recv().is_err(), "it may still come");
        assert_eq!(watcher.live.as_ref().map(|place| &place.interest), Some(&watcher.wanted), "nothing is joined anew");

        watcher.heard(Some(Notice::Announced(resource())));

        assert_eq!(subscribed.await, Ok(Ok(())));
        assert_eq!(waiting(&watcher), [], "nothing has changed since");
        watcher.heard(Some(Notice::Announced(resource())));
        assert_eq!(waiting(&watcher), [resource()], "it may have changed unseen");
    }

    #[tokio::test]
    async fn what_a_server_leaves_out_is_refused() {
        let (mut watcher, subscribed) = subscribing().await;

        watcher.joined(acknowledged(Interest { tools: true, ..Interest::default() }, true));

        assert_eq!(subscribed.await, Ok(Err(Refused::NotHonoured)));
        assert!(watcher.wanted.uris.is_empty() && watcher.confirmed.is_empty());
    }

    #[tokio::test]
    async fn who_does_not_wait_has_not_subscribed() {
        let (mut watcher, subscribed) = subscribing().await;
        drop(subscribed);
        watcher.joined(acknowledged(interest(), true));
        assert!(watcher.wanted.uris.is_empty());

        // Others who wait, or were told, keep their subscription.
        let (mut watcher, subscribed) = subscribing().await;
        let (reply, gone) = oneshot::channel();
        watcher.command(Command::Subscribe { uri: uri(), reply });
        drop(gone);
        watcher.forget_gone();
        watcher.joined(acknowledged(interest(), true));
        assert_eq!(subscribed.await, Ok(Ok(())));
        assert!(watcher.wanted.uris.contains(&uri()));
    }
}
