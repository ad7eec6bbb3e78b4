//! Who is online: a user is, from the first socket on any node until a grace after the last one is gone.

use std::{sync::Arc, time::Duration};

use futures_util::{StreamExt, TryStreamExt, stream};
use trunkline_hub::{Hub, RoomName, Socket, Targets};
use trunkline_protocol::{Code, Failure, ids, limits, native};
use trunkline_store::{Connected, GoneOffline, Lease, UserPresence};

use super::{
    Chain, Domain, Effect, Session,
    announcements::News,
    audience::Hearers,
    session::{Registration, store_id},
    store_failure, unheard, user_room,
};
use crate::{
    metrics,
    time::{iso, now_ms},
};

/// Between attempts to tell the store what it could not be told.
const RETRY: Duration = Duration::from_secs(1);

/// How often is looked whether somebody who comes back got in.
const SUCCESSION_CHECK: Duration = Duration::from_millis(50);

/// Whether a registration is news.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Tell {
    /// The user came, and so did the socket.
    Others,
    /// The user came back; the socket was there all the time.
    OnlineOnly,
    Nobody,
}

/// The store did not take a report.
struct StoreAway;

/// Sockets that are reported again at once.
const REPORTED_AT_ONCE: usize = 64;

impl Domain {
    /// A socket is in: it counts, and the others hear of it. When the store is away, that happens as soon as it is back.
    pub async fn arrive(self: &Arc<Self>, socket: &Socket) {
        self.watch_token(socket);
        if self.register(socket, Tell::Others).await {
            return;
        }
        let (domain, socket) = (Arc::clone(self), socket.clone());
        self.tasks
            .spawn(async move { while domain.wait(RETRY).await && !domain.register(&socket, Tell::Others).await {} });
    }

    /// Whether there is nothing left to do.
    async fn register(self: &Arc<Self>, socket: &Socket, tell: Tell) -> bool {
        let Some(session) = Session::of(socket) else { return true };
        let user = &session.identity.user;
        let mut registration = session.registration.lock().await;
        if *registration != Registration::Pending {
            return true;
        }
        match self.store.presence.connect(user, &store_id(socket)).await {
            Ok(connected) => {
                *registration = Registration::Known;
                self.announce_arrival(socket, user, connected, tell);
                true
            }
            Err(error) if error.retryable() => {
                tracing::warn!(error = %Chain(&error), "could not register a socket yet");
                false
            }
            Err(error) => {
                tracing::error!(error = %Chain(&error), "could not register a socket");
                true
            }
        }
    }

    fn announce_arrival(self: &Arc<Self>, socket: &Socket, user: &str, connected: Connected, tell: Tell) {
        if tell == Tell::Nobody {
            return;
        }
        if connected.first {
            self.online_changed(user, true);
        }
        if tell == Tell::Others {
            self.tell_online(socket);
        }
        let (online, mut news) = (connected.online_users, Vec::new());
        if connected.first && self.tells_everyone(user, Effect::Online { user }, online) {
            news.push(News::Came);
        }
        if tell == Tell::Others && self.audience.reaches_everyone(online) {
            news.push(News::Joined { socket: socket.id().room(), at_ms: now_ms() });
        }
        self.tell_everyone(user, news, online);
    }

    /// Whether everybody is to hear of a change. If only those who watch the user are, they have been told.
    fn tells_everyone(&self, user: &str, change: Effect<'_>, online_users: u64) -> bool {
        let hearers = self.audience.of_presence(online_users);
        let came = matches!(change, Effect::Online { .. });
        if hearers == Some(Hearers::Watchers) && !self.undoes_untold(user, came) {
            metrics::presence_announced(Hearers::Watchers, 1);
            self.announce(change, &Targets::room(ids::watchers_room(user)).except(user_room(user)), false);
        }
        hearers == Some(Hearers::Everyone)
    }

    /// The store may not know this node's sockets any more (it restarted, lost its data, or took the node for dead):
    /// tells it again. If it took the node for dead, so did the others, who hear that its users are back. False when the store
    /// is away: then some are not reported, and all are to be once more.
    pub async fn report_again(hub: &Hub, lease: Lease) -> bool {
        let namespaces = hub.namespaces();
        let sockets: Vec<_> = namespaces.iter().flat_map(|each| each.sockets(&Targets::everyone())).collect();
        if sockets.is_empty() {
            return true;
        }
        tracing::info!(sockets = sockets.len(), "reporting this node's sockets to the store again");
        let tell = if lease == Lease::Lapsed { Tell::OnlineOnly } else { Tell::Nobody };
        let reports = stream::iter(&sockets).map(Ok).try_for_each_concurrent(REPORTED_AT_ONCE, async |socket| {
            let Some(session) = Session::of(socket) else { return Ok(()) };
            {
                let mut registration = session.registration.lock().await;
                if *registration == Registration::Known {
                    *registration = Registration::Pending;
                }
            }
            let known = session.domain.register(socket, tell).await
                && session.domain.enter_again(socket, &session.identity.user).await;
            // The store that fails one will hardly take the others.
            known.then_some(()).ok_or(StoreAway)
        });
        reports.await.is_ok()
    }

    /// A socket is gone: after the grace it no longer counts. When this node shuts down, that is left to the nodes
    /// which remain, and the user may turn up there before anybody noticed.
    pub fn depart(self: &Arc<Self>, socket: &Socket) {
        self.forget_token(socket);
        let (domain, socket) = (Arc::clone(self), socket.clone());
        self.tasks.spawn(async move {
            let Some(session) = Session::of(&socket) else { return };
            *session.registration.lock().await = Registration::Gone;
            if !domain.wait(domain.policy.presence.grace).await {
                return;
            }
            // Asked before each attempt: somebody may have come back while the store was away.
            while !domain.has_successor(&socket).await
                && !domain.deregister(&session.identity.user, &store_id(&socket)).await
                && domain.wait(RETRY).await
            {}
        });
    }

    /// Whether somebody came back to this node under the name of a socket that is gone, and answers for what the store has under
    /// it. One who is on the way in may not get there: that is waited for.
    pub(super) async fn has_successor(&self, socket: &Socket) -> bool {
        loop {
            let other = socket.namespace().socket(socket.id()).filter(|other| !other.is(socket));
            let Some(other) = other else { return false };
            let registration = match Session::of(&other) {
                Some(session) => *session.registration.lock().await,
                None => Registration::Pending,
            };
            if registration != Registration::Pending || !self.wait(SUCCESSION_CHECK).await {
                return true;
            }
        }
    }

    /// Whether there is nothing left to do.
    async fn deregister(self: &Arc<Self>, user: &str, socket: &str) -> bool {
        match self.store.presence.disconnect(user, socket).await {
            Ok(gone) => {
                if gone.last {
                    self.announce_offline(user, gone.last_seen_ms).await;
                }
                true
            }
            Err(error) => !error.retryable(),
        }
    }

    async fn announce_offline(self: &Arc<Self>, user: &str, last_seen_ms: i64) {
        self.online_changed(user, false);
        let online = self.store.presence.recent_count().await.unwrap_or(0);
        if self.tells_everyone(user, Effect::Offline { user, last_seen_ms }, online) {
            self.tell_everyone(user, vec![News::Went { last_seen_ms }], online);
        }
    }

    /// Users of any realm whose node died, to be announced in their realm. Called every few seconds; one node of the
    /// cluster gets to do it.
    pub async fn sweep(&self) -> Vec<GoneOffline> {
        match self.store.presence.sweep().await {
            Ok(gone) => gone,
            Err(error) => {
                tracing::debug!(error = %Chain(&error), "could not look for users of dead nodes");
                Vec::new()
            }
        }
    }

    /// Announces a user of this realm whose node died.
    pub async fn announce_gone(self: &Arc<Self>, gone: &GoneOffline) {
        self.announce_offline(&gone.user_id, gone.last_seen_ms).await;
    }

    /// False when the node began to shut down meanwhile.
    pub(super) async fn wait(&self, time: Duration) -> bool {
        tokio::select! {
            () = tokio::time::sleep(time) => true,
            () = self.leaving.cancelled() => false,
        }
    }

    /// How many users are online on all nodes.
    ///
    /// # Errors
    /// The store is away.
    pub async fn online_count(&self) -> Result<native::OnlineCount, Failure> {
        let count = self.store.presence.count().await.map_err(|error| store_failure(&error))?;
        Ok(native::OnlineCount { count })
    }

    /// The presence of these users, in the order asked.
    ///
    /// # Errors
    /// `invalid`, `too_large` or `unavailable`.
    pub async fn presence_of(&self, users: &[String]) -> Result<native::PresenceUsers, Failure> {
        check_users(users)?;
        let users = self.store.presence.get(users).await.map_err(|error| store_failure(&error))?;
        Ok(native::PresenceUsers { users: users.into_iter().map(wire).collect() })
    }

    /// From here on the socket hears when these users come and go, however many are online. Answers how it is now.
    ///
    /// # Errors
    /// `invalid`, `too_large` beyond what one socket can watch, or `unavailable`: then it watches none of them.
    pub async fn watch(&self, socket: &Socket, users: &[String]) -> Result<native::PresenceUsers, Failure> {
        check_users(users)?;
        let rooms: Vec<RoomName> = users.iter().map(|user| ids::watchers_room(user).into()).collect();
        let watched = socket.rooms().iter().filter(|room| ids::is_watchers_room(room)).count();
        if watched + rooms.len() > limits::WATCHES {
            let text = format!("this connection would watch more than {} users", limits::WATCHES);
            return Err(Failure::new(Code::TooLarge, text));
        }
        // Watched before asked: a change in between is heard.
        let fresh: Vec<_> = rooms.iter().filter(|room| socket.join(RoomName::clone(room))).collect();
        let answer = match socket.namespace().heard(&rooms).await {
            true => self.presence_of(users).await,
            false => Err(unheard()),
        };
        if answer.is_err() {
            fresh.into_iter().for_each(|room| {
                socket.leave(room);
            });
        }
        answer
    }

    /// The socket no longer wants to hear of these users. Answers how it is now.
    ///
    /// # Errors
    /// `too_large` or `unavailable`; they are no longer watched in any case.
    pub async fn unwatch(&self, socket: &Socket, users: &[String]) -> Result<native::PresenceUsers, Failure> {
        for user in users {
            socket.leave(&ids::watchers_room(user));
        }
        self.presence_of(users).await
    }

    /// A page of the users who are online.
    ///
    /// # Errors
    /// The store is away.
    pub async fn online_users(&self, ask: &native::PresenceList) -> Result<native::PresencePage, Failure> {
        let limit = ask.limit.unwrap_or(limits::PAGE).clamp(1, limits::PAGE_MAX);
        let page =
            self.store.presence.list(limit, ask.cursor.as_deref()).await.map_err(|error| store_failure(&error))?;
        Ok(native::PresencePage {
            users: page.users.into_iter().map(wire).collect(),
            count: page.count,
            cursor: page.cursor,
        })
    }
}

/// Checks users that are asked about together.
fn check_users(users: &[String]) -> Result<(), Failure> {
    if users.len() > limits::PRESENCE_IDS {
        let text = format!("userIds has more than {} entries", limits::PRESENCE_IDS);
        return Err(Failure::new(Code::TooLarge, text));
    }
    users.iter().try_for_each(|user| ids::check_user("userIds", user))
}

fn wire(user: UserPresence) -> native::UserPresence {
    native::UserPresence {
        user_id: user.user_id,
        online: user.online,
        last_seen: user.last_seen_ms.map(iso),
        sockets: user.sockets,
    }
}
