//! What everybody is told of others coming and going, gathered so that it costs the same however many come.
//!
//! To tell everybody takes a write to each connection, whether of one user or of a hundred. So a single change is told at once, and
//! those that follow are told together, one event each, when the [`window`] is over: a connection is then written to once for
//! all of them. The window is as long as the writes of this node's tellings stay below a number a second. A user who comes
//! and goes within it is not mentioned.
//!
//! What waits may be overtaken by another node: a user goes here, comes there, and is told of there at once. So what has waited is
//! held against the store before it is told.

use std::{sync::Arc, time::Duration};

use ahash::AHashMap;
use parking_lot::Mutex;
use tokio::{sync::Notify, time::Instant};
use trunkline_hub::RoomName;

use super::{Chain, Domain, Effect, audience::Hearers, user_room};
use crate::metrics;

/// Between two tellings at the least: four a second.
const WINDOW: Duration = Duration::from_millis(250);

/// Writes a second that the tellings of a node may cause in the cluster: one to each user online, each time.
const WRITES: u64 = 1000;

/// Announcements that wait for the end of the window at the most; then it ends early.
const GATHERED: usize = 1000;

/// Announcements that are handed out in one go. Each recipient is visited once for all of them, but for those whom one is
/// about, who get the others one by one: so many cost the least where hundreds hear of hundreds.
const TURN: usize = 32;

/// The time between two tellings of so many: at most four a second, and at most [`WRITES`] writes a second.
pub(super) fn window(recipients: u64) -> Duration {
    WINDOW.max(Duration::from_millis(recipients.saturating_mul(1000) / WRITES))
}

/// What happened to a user since the last telling.
#[derive(Debug, Default)]
struct User {
    /// Puts users in the order of what happened first.
    since: u64,
    /// With its own number.
    changed: Option<(u64, Change)>,
    /// Sockets that came, and when.
    sockets: Vec<(RoomName, i64)>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Change {
    Came,
    Went { last_seen_ms: i64 },
}

/// Something that happened to a user.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum News {
    /// The first socket came.
    Came,
    /// The last one is gone.
    Went {
        /// When.
        last_seen_ms: i64,
    },
    /// A socket came.
    Joined {
        /// Its own room: it need not hear it.
        socket: RoomName,
        /// When.
        at_ms: i64,
    },
}

/// One announcement to everybody.
#[derive(Debug, PartialEq, Eq)]
struct Announcement {
    user: Arc<str>,
    news: News,
}

/// Who tells what was noted.
#[derive(Debug, PartialEq, Eq)]
enum Turn {
    /// The one who noted it, now.
    Now,
    /// A task that is to be made for it, then.
    Task(Instant),
    /// Somebody will, or there is nothing to tell.
    Taken,
}

/// What is to be told.
#[derive(Debug, Default)]
struct Waiting {
    users: AHashMap<Arc<str>, User>,
    /// Numbers what happens.
    noted: u64,
    announcements: usize,
    /// How many will hear it, as far as we know.
    recipients: u64,
    /// When the window of the last telling ends.
    not_before: Option<Instant>,
    /// A task will tell.
    awaited: bool,
}

impl Waiting {
    fn note(&mut self, user: &str, news: News) {
        match news {
            News::Came => self.change(user, Change::Came),
            News::Went { last_seen_ms } => {
                self.forget_sockets(user);
                self.change(user, Change::Went { last_seen_ms });
            }
            News::Joined { socket, at_ms } => {
                self.user(user).sockets.push((socket, at_ms));
                self.announcements += 1;
            }
        }
    }

    fn change(&mut self, user: &str, change: Change) {
        if self.annul(user, change == Change::Came, u64::MAX) {
            return;
        }
        self.noted += 1;
        let number = self.noted;
        if self.user(user).changed.replace((number, change)).is_none() {
            self.announcements += 1;
        }
    }

    /// The user is online or is not: forgets, if a change up to this number says otherwise, the change. Whether one did.
    fn annul(&mut self, user: &str, online: bool, up_to: u64) -> bool {
        let Some(known) = self.users.get_mut(user) else { return false };
        let is_wrong = |&(number, change): &(u64, Change)| number <= up_to && (change == Change::Came) != online;
        let annulled = known.changed.take_if(|changed| is_wrong(changed)).is_some();
        if annulled {
            self.announcements -= 1;
            self.tidy(user);
        }
        annulled
    }

    /// That they came is over.
    fn forget_sockets(&mut self, user: &str) {
        if let Some(known) = self.users.get_mut(user) {
            self.announcements -= std::mem::take(&mut known.sockets).len();
            self.tidy(user);
        }
    }

    fn tidy(&mut self, user: &str) {
        if self.users.get(user).is_some_and(|known| known.changed.is_none() && known.sockets.is_empty()) {
            self.users.remove(user);
        }
    }

    fn user(&mut self, user: &str) -> &mut User {
        self.noted += 1;
        let since = self.noted;
        self.users.entry(user.into()).or_insert_with(|| User { since, ..User::default() })
    }

    fn is_full(&self) -> bool {
        self.announcements >= GATHERED
    }

    /// Who tells what was noted by `now`.
    fn turn(&mut self, now: Instant) -> Turn {
        if self.awaited || self.announcements == 0 {
            return Turn::Taken;
        }
        match self.not_before {
            Some(then) if then > now => {
                self.awaited = true;
                Turn::Task(then)
            }
            _ => Turn::Now,
        }
    }

    /// When a task that has just told goes on, if there is more.
    fn next(&mut self, now: Instant) -> Option<Instant> {
        self.awaited = self.announcements > 0;
        self.awaited.then(|| self.not_before.unwrap_or(now))
    }

    /// Users whose coming or going is to be told, and the number of the latest change.
    fn changed(&self) -> (Vec<String>, u64) {
        let changed = self.users.iter().filter(|(_, user)| user.changed.is_some());
        (changed.map(|(name, _)| name.as_ref().to_owned()).collect(), self.noted)
    }

    /// Takes what is to be told, in the order of happening, and begins a window.
    fn take(&mut self, now: Instant) -> Vec<Announcement> {
        if self.announcements == 0 {
            return Vec::new();
        }
        self.not_before = Some(now + window(self.recipients));
        self.announcements = 0;
        let mut users: Vec<_> = std::mem::take(&mut self.users).into_iter().collect();
        users.sort_unstable_by_key(|(_, user)| user.since);
        users.into_iter().flat_map(|(name, user)| user.announcements(name)).collect()
    }
}

impl User {
    fn announcements(self, user: Arc<str>) -> impl Iterator<Item = Announcement> {
        let changed = self.changed.map(|(_, change)| match change {
            Change::Came => News::Came,
            Change::Went { last_seen_ms } => News::Went { last_seen_ms },
        });
        let joined = self.sockets.into_iter().map(|(socket, at_ms)| News::Joined { socket, at_ms });
        changed.into_iter().chain(joined).map(move |news| Announcement { user: Arc::clone(&user), news })
    }
}

/// Part of a [`Domain`].
#[derive(Debug, Default)]
pub(super) struct Announcements {
    waiting: Mutex<Waiting>,
    full: Notify,
}

impl Domain {
    /// Tells everybody, of whom there are so many, news of a user: now, or with what else happens in the window.
    pub(super) fn tell_everyone(self: &Arc<Self>, user: &str, news: Vec<News>, recipients: u64) {
        let now = Instant::now();
        let mut waiting = self.announcements.waiting.lock();
        waiting.recipients = recipients;
        for each in news {
            waiting.note(user, each);
        }
        if waiting.is_full() {
            self.announcements.full.notify_one();
        }
        match waiting.turn(now) {
            Turn::Taken => {}
            Turn::Now => {
                let told = waiting.take(now);
                drop(waiting);
                metrics::presence_told(false);
                self.announce_all(&told);
            }
            Turn::Task(then) => {
                let domain = Arc::clone(self);
                self.tasks.spawn(async move { domain.tell_gathered(then).await });
            }
        }
    }

    /// Only those who watch the user are to be told of a change. Whether they are not either, because it undoes one that
    /// waited to be told to everybody.
    pub(super) fn undoes_untold(&self, user: &str, came: bool) -> bool {
        let mut waiting = self.announcements.waiting.lock();
        if !came {
            waiting.forget_sockets(user);
        }
        waiting.annul(user, came, u64::MAX)
    }

    /// Tells what waits at the end of each window, until there is nothing left.
    async fn tell_gathered(&self, mut then: Instant) {
        loop {
            tokio::select! {
                () = tokio::time::sleep_until(then) => {}
                () = self.announcements.full.notified() => {}
                () = self.leaving.cancelled() => {}
            }
            self.drop_overtaken().await;
            let told = self.announcements.waiting.lock().take(Instant::now());
            if !told.is_empty() {
                metrics::presence_told(false);
            }
            for some in told.chunks(TURN) {
                self.announce_all(some);
                tokio::task::yield_now().await;
            }
            match self.announcements.waiting.lock().next(Instant::now()) {
                Some(next) => then = next,
                None => return,
            }
        }
    }

    /// Forgets what is no longer so, as the store says. While that is away, what waits is told as it is.
    async fn drop_overtaken(&self) {
        let (changed, number) = self.announcements.waiting.lock().changed();
        if changed.is_empty() {
            return;
        }
        match self.store.presence.get(&changed).await {
            Ok(users) => {
                let mut waiting = self.announcements.waiting.lock();
                for user in users {
                    waiting.annul(&user.user_id, user.online, number);
                }
            }
            Err(error) => tracing::debug!(error = %Chain(&error), "could not check who is still online"),
        }
    }

    /// Namespace by namespace, so that what goes to the same connections is queued together.
    fn announce_all(&self, announcements: &[Announcement]) {
        for speaker in &self.speakers {
            let worded = announcements.iter().filter_map(|Announcement { user, news }| {
                let (effect, except) = match news {
                    News::Came => (Effect::Online { user }, user_room(user)),
                    News::Went { last_seen_ms } => {
                        (Effect::Offline { user, last_seen_ms: *last_seen_ms }, user_room(user))
                    }
                    News::Joined { socket, at_ms } => {
                        (Effect::UserJoined { user, at_ms: *at_ms }, RoomName::clone(socket))
                    }
                };
                Some((speaker.dialect.words(effect)?, vec![except]))
            });
            self.cluster.emit_run(&speaker.namespace, worded.collect());
        }
        let changes = announcements.iter().filter(|each| !matches!(each.news, News::Joined { .. })).count();
        metrics::presence_announced(Hearers::Everyone, changes);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn went(at: i64) -> News {
        News::Went { last_seen_ms: at }
    }

    fn joined(socket: &str) -> News {
        News::Joined { socket: socket.into(), at_ms: 7 }
    }

    fn told(waiting: &mut Waiting) -> Vec<(String, News)> {
        let taken = waiting.take(Instant::now());
        assert_eq!((waiting.announcements, waiting.users.len()), (0, 0));
        taken.into_iter().map(|each| (each.user.as_ref().to_owned(), each.news)).collect()
    }

    fn of(user: &str, news: News) -> (String, News) {
        (user.to_owned(), news)
    }

    /// What would be told, of `count` users who come one every `pace`: how many at each telling.
    fn tellings(waiting: &mut Waiting, count: usize, pace: Duration) -> Vec<usize> {
        let (mut now, mut due, mut told) = (Instant::now(), None, Vec::new());
        for number in 0..count {
            now += pace;
            while let Some(then) = due.filter(|then| *then <= now) {
                told.push(waiting.take(then).len());
                due = waiting.next(then);
            }
            waiting.note(&format!("user-{number}"), News::Came);
            match waiting.turn(now) {
                Turn::Now => told.push(waiting.take(now).len()),
                Turn::Task(then) => due = Some(then),
                Turn::Taken => {}
            }
        }
        told.extend(due.map(|then| waiting.take(then).len()));
        told
    }

    #[test]
    fn the_first_is_told_at_once_and_those_who_follow_together() {
        let mut waiting = Waiting { recipients: 50, ..Waiting::default() };
        assert_eq!(tellings(&mut waiting, 200, Duration::from_millis(5)), [1, 49, 50, 50, 50]);
        let mut alone = Waiting { recipients: 50, ..Waiting::default() };
        assert_eq!(tellings(&mut alone, 4, 2 * WINDOW), [1, 1, 1, 1], "whoever comes alone");
    }

    #[test]
    fn the_window_grows_with_those_who_hear_it_so_that_the_writes_stay_bounded() {
        assert_eq!(window(0), WINDOW);
        for recipients in [250, 1000, 10_000, 100_000] {
            assert_eq!(recipients as f64 / window(recipients).as_secs_f64(), WRITES as f64);
        }
        let mut waiting = Waiting { recipients: 1000, ..Waiting::default() };
        assert_eq!(tellings(&mut waiting, 200, Duration::from_millis(10)), [1, 99, 100]);
    }

    #[test]
    fn who_comes_and_goes_in_between_is_not_mentioned() {
        let mut waiting = Waiting::default();
        waiting.note("ada", News::Came);
        waiting.note("ada", joined("s1"));
        waiting.note("ada", went(1));
        assert_eq!((waiting.turn(Instant::now()), told(&mut waiting)), (Turn::Taken, vec![]));
        waiting.note("ada", went(1));
        waiting.note("ada", News::Came);
        waiting.note("ada", joined("s2"));
        assert_eq!(told(&mut waiting), [of("ada", joined("s2"))], "she was never away");
    }

    #[test]
    fn only_where_a_user_is_in_the_end_is_told() {
        let mut waiting = Waiting::default();
        for news in [went(1), News::Came, went(2)] {
            waiting.note("ada", news);
        }
        for news in [News::Came, joined("s1"), went(3), News::Came, joined("s2")] {
            waiting.note("bob", news);
        }
        assert_eq!(told(&mut waiting), [of("ada", went(2)), of("bob", News::Came), of("bob", joined("s2"))]);
    }

    #[test]
    fn users_are_told_in_the_order_in_which_something_happened_to_them() {
        let mut waiting = Waiting::default();
        for user in ["c", "a", "b"] {
            waiting.note(user, News::Came);
        }
        waiting.note("c", joined("s"));
        let order: Vec<_> = told(&mut waiting).into_iter().map(|(user, _)| user).collect();
        assert_eq!(order, ["c", "c", "a", "b"]);
    }

    #[test]
    fn what_another_node_overtook_is_not_told() {
        let mut waiting = Waiting::default();
        waiting.note("ada", went(1));
        waiting.note("bob", went(1));
        let (mut asked, number) = waiting.changed();
        asked.sort_unstable();
        assert_eq!(asked, ["ada", "bob"]);
        // Meanwhile: what was asked before says nothing of it.
        waiting.note("eve", News::Came);
        for (user, online) in [("ada", true), ("bob", false), ("eve", false)] {
            waiting.annul(user, online, number);
        }
        assert_eq!(told(&mut waiting), [of("bob", went(1)), of("eve", News::Came)]);
    }

    #[test]
    fn what_waits_is_bounded() {
        let mut waiting = Waiting { not_before: Some(Instant::now() + WINDOW), ..Waiting::default() };
        for number in 0..GATHERED {
            assert!(!waiting.is_full());
            waiting.note("ada", joined(&number.to_string()));
        }
        assert!(waiting.is_full());
        waiting.note("ada", went(1));
        assert!(!waiting.is_full());
        assert_eq!(told(&mut waiting).len(), 1);
    }
}
