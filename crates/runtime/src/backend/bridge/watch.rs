//! What a bridged leg is told of changes: its subscriptions, and what waits for its reader.
//!
//! One task per leg, started when the client first listens or subscribes. It joins the backend's
//! hub, whose upstream listen all subscribers share, and keeps the place that it has until a new one
//! with another interest is acknowledged, so that nothing is missed between them. What changed
//! waits, each change once, for the leg's one reader; without a reader it is dropped, as a server of
//! sessions drops what nobody listens for.
//!
//! | Command | Effect | Reply | Overload |
//! |---|---|---|---|
//! | `Subscribe` | adds a resource | when it is live upstream, or why not | the session's `subscriptions_max` |
//! | `Unsubscribe` | removes one, and what of it was not read | at once | as above |
//! | `Listen` | adds the lists | none | once per listen of the session |

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use futures_util::stream;
use quorate_jsonrpc::{Frame, Limits};
use quorate_mcp::dialect::onto_modern;
use quorate_mcp::subscription::{Change, Interest, Notification, Rejection};
use tokio::sync::{Notify, mpsc, oneshot};
use tokio::time::{Instant, sleep_until, timeout};

use crate::backend::{Handle, Notice, Subscription, lock};
use crate::upstream::{Awaits, FrameStream};

/// Commands that wait for the task: it takes each at once, but for a moment at the hub.
const COMMANDS_MAX: usize = 16;
/// Changes that wait for the reader, each once: the lists, and as many resources as a session may
/// subscribe to; more come only from below subscribed ones.
const CHANGES_MAX: usize = 2048;
/// Longest wait for a subscription: 15 s, in which a hub has opened a listen, or given up.
const SUBSCRIBE_TIMEOUT: Duration = Duration::from_secs(15);
/// Pause before the hub is joined again after it cut us off or refused: 1 s.
const REJOIN_AFTER: Duration = Duration::from_secs(1);

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
    /// The hub has all that it may have.
    TooMany {
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
    pending: Arc<Pending>,
    wanted: Interest,
    live: Option<Place>,
    joining: Option<Place>,
    subscribing: Vec<(Arc<str>, Reply)>,
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
    pub(super) fn start(server: Handle) -> Self {
        let (commands, queue) = mpsc::channel(COMMANDS_MAX);
        let pending = Arc::new(Pending::default());
        let watcher = Watcher {
            server,
            pending: Arc::clone(&pending),
            wanted: Interest::default(),
            live: None,
            joining: None,
            subscribing: Vec::new(),
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
            }
        }
    }

    fn command(&mut self, command: Command) {
        match command {
            Command::Subscribe { uri, reply } => {
                let is_live = self.live.as_ref().is_some_and(|place| place.interest.uris.contains(&uri));
                if is_live && self.wanted.uris.contains(&uri) {
                    // Whoever asked may have gone.
                    let _gone = reply.send(Ok(()));
                    return;
                }
                self.wanted.uris.insert(Arc::clone(&uri));
                self.subscribing.push((uri, reply));
                self.rejoin_at = None;
            }
            Command::Unsubscribe { uri, reply } => {
                self.wanted.uris.remove(&uri);
                self.pending.keep(&self.wanted);
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
        match self.server.subscribe(self.wanted.clone()).await {
            Ok(subscription) => self.joining = Some(Place { interest: self.wanted.clone(), subscription }),
            // The backend's actor is being started again, or was removed: then this ends with the leg.
            Err(None) => self.rejoin_at = Some(Instant::now() + REJOIN_AFTER),
            Err(Some(Rejection::TooManySubscribers { max } | Rejection::TooManyItems { max })) => {
                self.refuse(Refused::TooMany { max });
                self.rejoin_at = Some(Instant::now() + REJOIN_AFTER);
            }
            Err(Some(rejection)) => {
                tracing::error!(server = %self.server.name(), %rejection, "the hub refused a new subscriber");
                self.refuse(Refused::TooLate);
                self.rejoin_at = Some(Instant::now() + REJOIN_AFTER);
            }
        }
    }

    /// A notice of the place that is to be had: its acknowledgement.
    fn joined(&mut self, notice: Option<Notice>) {
        let Some(mut place) = self.joining.take() else { return };
        let honoured = match notice {
            Some(Notice::Acknowledged(honoured)) => honoured,
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
        for (uri, reply) in std::mem::take(&mut self.subscribing) {
            if !place.interest.uris.contains(&uri) {
                self.subscribing.push((uri, reply));
                continue;
            }
            let is_honoured = honoured.uris.contains(&uri);
            if !is_honoured {
                self.wanted.uris.remove(&uri);
                place.interest.uris.remove(&uri);
            }
            // Whoever asked may have gone.
            let _gone = reply.send(if is_honoured { Ok(()) } else { Err(Refused::NotHonoured) });
        }
        if std::mem::take(&mut self.has_missed) {
            for change in place.interest.as_changes() {
                self.changed(&change, None);
            }
        }
        self.live = Some(place);
    }

    /// A notice of the place that is had.
    fn heard(&mut self, notice: Option<Notice>) {
        match notice {
            Some(Notice::Changed(notification)) => self.changed(notification.change(), Some(&notification)),
            Some(Notice::Announced(change)) => self.changed(&change, None),
            Some(Notice::Acknowledged(_)) => {}
            None => {
                self.live = None;
                self.has_missed = true;
                self.rejoin_at = Some(Instant::now() + REJOIN_AFTER);
            }
        }
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
        for (uri, reply) in self.subscribing.drain(..) {
            self.wanted.uris.remove(&uri);
            // Whoever asked may have gone.
            let _gone = reply.send(Err(refused));
        }
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
