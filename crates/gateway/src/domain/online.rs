//! The users online, told to sockets of dialects that want to know all of them.
//!
//! A list costs as much as there are users, so it is not made for each who comes or goes: what changed is gathered, and
//! told to everybody at most once in a [`list_window`]. A socket that just came is given the list at the end of a [`window`], with all
//! who came meanwhile. Where users are more than `--presence-broadcast-max`, no list is told but the changes.

use std::{sync::Arc, time::Duration};

use parking_lot::Mutex;
use tokio::time::Instant;
use trunkline_hub::{Socket, Targets};
use trunkline_store::MAX_USERS;

use super::{Chain, Domain, Effect, announcements::window};
use crate::{config::PresenceBroadcast, metrics};

/// What claims the turn to tell everyone, in the whole cluster.
const TURN: &str = "online-users";

/// Names a second that lists to everybody may have in the cluster, counted for each recipient.
const NAMES: u64 = 500_000;

/// Changes that wait to be told; beyond, the later ones are only counted.
const GATHERED: usize = 1000;

/// The time between two lists to everybody, of so many users to as many: there a list costs its length for each who gets it, so the
/// window grows with the square of the users and what is told in a second stays the same.
fn list_window(users: u64) -> Duration {
    window(users).max(Duration::from_millis(users.saturating_mul(users).saturating_mul(1000) / NAMES))
}

/// What is to be told.
#[derive(Debug, Default)]
pub(super) struct News {
    came: Vec<String>,
    went: Vec<String>,
    /// Sockets that came and have not been given the list.
    newcomers: Vec<Socket>,
    /// The set changed.
    changed: bool,
    /// A task is about to tell.
    awaited: bool,
}

impl News {
    fn is_empty(&self) -> bool {
        !self.changed && self.newcomers.is_empty()
    }

    /// Somebody came; whoever went and came back in between did neither.
    fn note(&mut self, user: &str, came: bool) {
        self.changed = true;
        let (this, other) = if came { (&mut self.came, &mut self.went) } else { (&mut self.went, &mut self.came) };
        if let Some(at) = other.iter().position(|known| known == user) {
            other.remove(at);
        } else if this.len() < GATHERED {
            this.push(user.to_owned());
        }
    }

    /// What could not be told goes back.
    fn put_back(&mut self, untold: Self) {
        self.changed |= untold.changed;
        self.newcomers.extend(untold.newcomers);
        untold.came.iter().for_each(|user| self.note(user, true));
        untold.went.iter().for_each(|user| self.note(user, false));
    }
}

impl Domain {
    /// A user came online, or went offline.
    pub(super) fn online_changed(self: &Arc<Self>, user: &str, came: bool) {
        if self.wants_online_users(None) {
            self.gather(|news| news.note(user, came));
        }
    }

    /// A socket came, and is to be told who is online.
    pub(super) fn tell_online(self: &Arc<Self>, socket: &Socket) {
        if self.wants_online_users(Some(socket.namespace().name())) {
            self.gather(|news| news.newcomers.push(socket.clone()));
        }
    }

    fn wants_online_users(&self, namespace: Option<&str>) -> bool {
        self.policy.presence.broadcast != PresenceBroadcast::Off
            && self.speakers.iter().any(|speaker| {
                namespace.is_none_or(|only| speaker.namespace == only) && speaker.dialect.wants_online_users()
            })
    }

    fn gather(self: &Arc<Self>, note: impl FnOnce(&mut News)) {
        let mut news = self.news.lock();
        note(&mut news);
        if !std::mem::replace(&mut news.awaited, true) {
            let domain = Arc::clone(self);
            self.tasks.spawn(async move { domain.tell_news().await });
        }
    }

    /// Tells until there is nothing left to tell.
    async fn tell_news(&self) {
        loop {
            let mut news = {
                let mut waiting = self.news.lock();
                // The place stays taken while this task runs.
                std::mem::replace(&mut *waiting, News { awaited: true, ..News::default() })
            };
            let pause = self.tell_once(&mut news).await.unwrap_or_else(|error| {
                tracing::warn!(error = %Chain(&error), "could not tell who is online yet");
                window(0)
            });
            if !news.is_empty() {
                self.news.lock().put_back(news);
            }
            if !self.wait(pause).await {
                return;
            }
            let mut waiting = self.news.lock();
            if waiting.is_empty() {
                waiting.awaited = false;
                return;
            }
        }
    }

    /// Tells what it may and takes it out of `news`: the set to everyone when it is this node's turn, to newcomers in any case.
    /// Answers how long to wait then.
    async fn tell_once(&self, news: &mut News) -> trunkline_store::Result<Duration> {
        let begun = Instant::now();
        let count = self.store.presence.count().await?;
        let pause = window(count);
        let listed = matches!(self.policy.presence.broadcast, PresenceBroadcast::All { max } if count <= max);
        let turn = if listed { list_window(count) } else { pause };
        let mine = news.changed && self.store.memos.claim(TURN, "", turn).await?.is_none();
        if !mine && news.newcomers.is_empty() {
            return Ok(pause);
        }
        let users = if listed { Some(self.all_online().await?) } else { None };
        let all = Effect::OnlineUsers { users: users.as_deref(), count };
        if mine {
            metrics::presence_told(true);
            let changes = Effect::OnlineChanges { came: &news.came, went: &news.went, count };
            let told = if users.is_some() { all } else { changes };
            for speaker in self.speakers.iter().filter(|speaker| speaker.dialect.wants_online_users()) {
                if let Some(event) = speaker.dialect.words(told) {
                    self.cluster.emit(&speaker.namespace, event, &Targets::everyone(), false);
                }
            }
            (news.came, news.went) = (Vec::new(), Vec::new());
            // A telling that outlasts its claim may come after a newer one of another node: then everyone is told once more.
            news.changed = users.is_some() && begun.elapsed() >= turn;
        }
        // Everyone has been told the list, newcomers too.
        let newcomers = std::mem::take(&mut news.newcomers);
        if !(mine && users.is_some()) {
            newcomers.iter().for_each(|socket| self.tell(socket, all));
        }
        Ok(pause)
    }

    async fn all_online(&self) -> trunkline_store::Result<Vec<String>> {
        let (mut users, mut cursor) = (Vec::new(), None);
        loop {
            let page = self.store.presence.list(MAX_USERS, cursor.as_deref()).await?;
            users.extend(page.users.into_iter().map(|user| user.user_id));
            cursor = page.cursor;
            if cursor.is_none() {
                users.sort_unstable();
                return Ok(users);
            }
        }
    }
}

/// Part of a [`Domain`].
pub(super) type Gathered = Mutex<News>;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_told_in_a_second_do_not_grow_with_the_users() {
        assert_eq!(list_window(100), window(100), "short lists are told as often as single changes");
        for users in [500, 1000, 5000] {
            assert_eq!((users * users) as f64 / list_window(users).as_secs_f64(), NAMES as f64);
        }
    }

    #[test]
    fn who_comes_back_before_it_was_told_never_went() {
        let mut news = News::default();
        news.note("ada", false);
        news.note("bob", true);
        news.note("ada", true);
        assert_eq!((news.came.as_slice(), news.went.len()), (["bob".to_owned()].as_slice(), 0));
        assert!(!news.is_empty());
    }

    #[test]
    fn what_could_not_be_told_is_told_later() {
        let mut news = News::default();
        news.note("bob", false);
        let mut untold = News::default();
        untold.note("ada", true);
        news.put_back(untold);
        assert_eq!(
            (news.came.as_slice(), news.went.as_slice()),
            (["ada".to_owned()].as_slice(), ["bob".to_owned()].as_slice())
        );
    }
}
