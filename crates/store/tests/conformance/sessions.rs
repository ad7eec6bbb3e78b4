//! Sessions.

use crate::bench::Bench;
use futures_util::future::join_all;
use std::collections::HashSet;
use std::time::Duration;
use trunkline_store::{Limits, MAX_SESSION_ROOMS, Position, Session, Sessions};
use trunkline_testkit::eventually;

fn position(seq: u64) -> Position {
    Position { epoch: "e".into(), seq }
}

fn session(rooms: &[(&str, u64)]) -> Session {
    let rooms = rooms.iter().map(|(room, seq)| ((*room).to_owned(), position(*seq))).collect();
    Session { socket: "s1".into(), user: "alice".into(), namespace: "/".into(), rooms }
}

async fn take(sessions: &dyn Sessions, id: &str) -> Option<Session> {
    let mut taken = sessions.take(id).await.unwrap();
    if let Some(session) = &mut taken {
        session.rooms.sort_by(|a, b| a.0.cmp(&b.0));
    }
    taken
}

pub(crate) async fn a_session_is_taken_once_with_the_rooms_it_was_in(bench: Bench) {
    let sessions = &*bench.store.sessions;
    let id = sessions.new_id();
    sessions.begin(&id, &session(&[("a", 1)])).await.unwrap();
    sessions.enter(&id, "b", &position(2)).await.unwrap();
    sessions.enter(&id, "c", &Position::default()).await.unwrap();
    sessions.enter(&id, "a", &position(5)).await.unwrap();
    sessions.leave(&id, "c").await.unwrap();
    sessions.leave(&id, "never").await.unwrap();
    assert_eq!(take(sessions, &id).await, Some(session(&[("a", 5), ("b", 2)])));
    assert_eq!(take(sessions, &id).await, None);
    sessions.enter(&id, "a", &position(5)).await.unwrap();
    assert_eq!(take(sessions, &id).await, None, "nothing comes back by entering a room");

    sessions.begin(&id, &session(&[])).await.unwrap();
    let racing = join_all((0..10).map(|_| sessions.take(&id))).await;
    assert_eq!(racing.into_iter().filter(|taken| taken.as_ref().unwrap().is_some()).count(), 1);
}

pub(crate) async fn a_session_whose_connection_is_lost_can_be_taken_within_the_window(bench: Bench) {
    let sessions = &*bench.store.sessions;
    let (first, second) = (sessions.new_id(), sessions.new_id());
    sessions.begin(&first, &session(&[("a", 1)])).await.unwrap();
    sessions.detach(&first).await.unwrap();
    assert_eq!(take(sessions, &first).await, Some(session(&[("a", 1)])));
    sessions.begin(&first, &session(&[])).await.unwrap();
    assert_eq!(take(sessions, &first).await, Some(session(&[])), "it goes on under the same id");
    sessions.detach(&second).await.unwrap();
    assert_eq!(take(sessions, &second).await, None);

    let window = Duration::from_millis(50);
    let store = bench.with_limits(Limits { recovery_window: window, ..Limits::default() });
    let lost = |id: String| {
        let sessions = &store.sessions;
        async move {
            sessions.begin(&id, &session(&[])).await.unwrap();
            sessions.detach(&id).await.unwrap();
            tokio::time::sleep(2 * window).await;
            sessions.take(&id).await.unwrap().is_none()
        }
    };
    eventually(Duration::from_secs(10), "the end of the window", || lost(first.clone())).await;
}

pub(crate) async fn a_session_that_ended_cannot_be_taken(bench: Bench) {
    let sessions = &*bench.store.sessions;
    let id = sessions.new_id();
    sessions.begin(&id, &session(&[])).await.unwrap();
    sessions.end(&id).await.unwrap();
    assert_eq!(take(sessions, &id).await, None);
    assert_eq!(take(sessions, "").await, None);
    assert_eq!(take(sessions, &"x".repeat(10_000)).await, None);
}

pub(crate) async fn a_session_in_too_many_rooms_is_not_recovered(bench: Bench) {
    let sessions = &*bench.store.sessions;
    let id = sessions.new_id();
    let names: Vec<String> = (0..MAX_SESSION_ROOMS).map(|n| n.to_string()).collect();
    let rooms: Vec<(&str, u64)> = names.iter().map(|name| (name.as_str(), 1)).collect();
    sessions.begin(&id, &session(&rooms)).await.unwrap();
    assert_eq!(take(sessions, &id).await.unwrap().rooms.len(), MAX_SESSION_ROOMS);
    sessions.begin(&id, &session(&rooms)).await.unwrap();
    sessions.enter(&id, "one more", &position(1)).await.unwrap();
    sessions.leave(&id, "one more").await.unwrap();
    assert_eq!(take(sessions, &id).await, None, "what may be missing rooms is not whole");
}

pub(crate) async fn session_ids_do_not_repeat(bench: Bench) {
    let ids: HashSet<String> = (0..1_000).map(|_| bench.store.sessions.new_id()).collect();
    assert_eq!(ids.len(), 1_000);
    assert!(ids.iter().all(|id| id.len() >= 32 && id.chars().all(|c| c.is_ascii_alphanumeric())));
}
