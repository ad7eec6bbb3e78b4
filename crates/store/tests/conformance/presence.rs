//! Online, offline, rooms.

use crate::bench::Bench;
use futures_util::future::join_all;
use std::collections::BTreeSet;
use trunkline_store::{Connected, Joined, MAX_USERS, Member, MembersPage, Presence, StoreError, UserPresence};

/// Who is in a room right after joining it.
async fn join(presence: &dyn Presence, room: &str, user: &str, socket: &str) -> Vec<Member> {
    match presence.join(room, user, socket, &[]).await.unwrap() {
        Joined::In(MembersPage { members, cursor: None }) => members,
        other => panic!("{other:?}"),
    }
}

async fn members(presence: &dyn Presence, room: &str) -> Vec<Member> {
    presence.members(room, MAX_USERS, None).await.unwrap().members
}

fn strings(of: &[&str]) -> Vec<String> {
    of.iter().map(ToString::to_string).collect()
}

fn member(user_id: &str, sockets: u32) -> Member {
    Member { user_id: user_id.into(), sockets }
}

pub(crate) async fn only_the_first_socket_of_a_user_comes_online(bench: Bench) {
    let presence = &*bench.store.presence;
    let connected = |first, online_users| Connected { first, online_users };
    assert_eq!(presence.connect("alice", "s1").await.unwrap(), connected(true, 1));
    assert_eq!(presence.connect("alice", "s2").await.unwrap(), connected(false, 1));
    assert_eq!(presence.connect("bob", "s3").await.unwrap(), connected(true, 2));
    assert_eq!(presence.count().await.unwrap(), 2);
}

pub(crate) async fn only_the_last_socket_of_a_user_goes_offline(bench: Bench) {
    let presence = &*bench.store.presence;
    presence.connect("alice", "s1").await.unwrap();
    presence.connect("alice", "s2").await.unwrap();
    assert!(!presence.disconnect("alice", "s1").await.unwrap().last);
    assert_eq!(presence.count().await.unwrap(), 1);
    let disconnected = presence.disconnect("alice", "s2").await.unwrap();
    assert!(disconnected.last);
    assert_eq!(presence.count().await.unwrap(), 0);

    let alice = presence.get(&strings(&["alice"])).await.unwrap().remove(0);
    assert_eq!((alice.online, alice.sockets), (false, 0));
    assert_eq!(alice.last_seen_ms, Some(disconnected.last_seen_ms));
    assert!(disconnected.last_seen_ms > 1_600_000_000_000, "milliseconds since 1970");
    assert!(presence.connect("alice", "s3").await.unwrap().first, "she comes online again");
}

pub(crate) async fn reporting_a_socket_again_changes_nothing(bench: Bench) {
    let presence = &*bench.store.presence;
    assert!(presence.connect("alice", "s1").await.unwrap().first);
    assert!(!presence.connect("alice", "s1").await.unwrap().first);
    assert_eq!(presence.get(&strings(&["alice"])).await.unwrap()[0].sockets, 1);
    assert!(presence.disconnect("alice", "s1").await.unwrap().last);
    assert!(!presence.disconnect("alice", "s1").await.unwrap().last);
    assert!(!presence.disconnect("nobody", "s9").await.unwrap().last);

    presence.connect("alice", "s1").await.unwrap();
    presence.disconnect("alice", "never-there").await.unwrap();
    assert!(presence.get(&strings(&["alice"])).await.unwrap()[0].online);
}

pub(crate) async fn racing_sockets_of_one_user_come_and_go_once(bench: Bench) {
    let presence = &*bench.store.presence;
    let sockets: Vec<String> = (0..50).map(|n| format!("s{n}")).collect();
    let connected = join_all(sockets.iter().map(|socket| presence.connect("alice", socket))).await;
    assert_eq!(connected.into_iter().filter(|c| c.as_ref().unwrap().first).count(), 1);
    assert_eq!(presence.get(&strings(&["alice"])).await.unwrap()[0].sockets, 50);
    let disconnected = join_all(sockets.iter().map(|socket| presence.disconnect("alice", socket))).await;
    assert_eq!(disconnected.into_iter().filter(|d| d.as_ref().unwrap().last).count(), 1);
    assert_eq!(presence.count().await.unwrap(), 0);
}

pub(crate) async fn presence_answers_in_the_order_of_the_question(bench: Bench) {
    let presence = &*bench.store.presence;
    for n in (0..300).step_by(2) {
        presence.connect(&format!("user-{n}"), &format!("s{n}")).await.unwrap();
    }
    let asked: Vec<String> = (0..300).rev().map(|n| format!("user-{n}")).collect();
    let answered = presence.get(&asked).await.unwrap();
    assert_eq!(answered.iter().map(|user| user.user_id.clone()).collect::<Vec<_>>(), asked);
    for (user, n) in answered.iter().zip((0..300).rev()) {
        assert_eq!((user.online, user.sockets), (n % 2 == 0, u32::from(n % 2 == 0)), "{user:?}");
        assert_eq!(user.last_seen_ms, None);
    }
    assert_eq!(presence.get(&[]).await.unwrap(), []);
    let twice = presence.get(&strings(&["user-2", "user-2"])).await.unwrap();
    assert!(twice.len() == 2 && twice.iter().all(|user| user.online));
}

pub(crate) async fn pages_show_each_user_once(bench: Bench) {
    let presence = &*bench.store.presence;
    let users: BTreeSet<String> = (0..57).map(|n| format!("user-{n}")).collect();
    for user in &users {
        presence.connect(user, &format!("socket of {user}")).await.unwrap();
    }
    for limit in [1, 7, 57, 1_000] {
        let mut seen: Vec<UserPresence> = Vec::new();
        let mut cursor = None;
        loop {
            let page = presence.list(limit, cursor.as_deref()).await.unwrap();
            assert!(page.users.len() <= limit);
            assert_eq!(page.count, 57);
            seen.extend(page.users);
            cursor = page.cursor;
            if cursor.is_none() {
                break;
            }
        }
        assert_eq!(seen.len(), 57, "pages of {limit}");
        assert!(seen.iter().all(|user| user.online && user.sockets == 1));
        assert_eq!(seen.into_iter().map(|user| user.user_id).collect::<BTreeSet<_>>(), users);
    }
}

pub(crate) async fn a_foreign_cursor_is_refused(bench: Bench) {
    for cursor in ["", "x", "99:alice", "-1:alice", "{}"] {
        let refused = bench.store.presence.list(10, Some(cursor)).await.unwrap_err();
        assert!(matches!(refused, StoreError::InvalidCursor), "{cursor}: {refused:?}");
    }
}

pub(crate) async fn a_room_has_whoever_joined_and_did_not_leave(bench: Bench) {
    let presence = &*bench.store.presence;
    assert_eq!(join(presence, "room", "bob", "s1").await, [member("bob", 1)]);
    assert!(presence.enter("room", "alice", "s2").await.unwrap(), "alice was not there");
    assert!(!presence.enter("room", "alice", "s2").await.unwrap(), "she was");
    assert!(!presence.enter("room", "bob", "s1").await.unwrap(), "nor is bob new");
    let all = [member("alice", 2), member("bob", 1)];
    assert_eq!(join(presence, "room", "alice", "s3").await, all);
    assert_eq!(join(presence, "room", "alice", "s3").await, all, "joining again changes nothing");
    assert_eq!(members(presence, "other room").await, []);

    presence.leave("room", "alice", "s2").await.unwrap();
    presence.leave("room", "alice", "s2").await.unwrap();
    presence.leave("room", "alice", "never-there").await.unwrap();
    assert_eq!(members(presence, "room").await, [member("alice", 1), member("bob", 1)]);
    presence.leave("room", "bob", "s1").await.unwrap();
    presence.leave("room", "alice", "s3").await.unwrap();
    assert_eq!(members(presence, "room").await, []);
}

pub(crate) async fn ids_of_any_text_are_kept_apart(bench: Bench) {
    let presence = &*bench.store.presence;
    let ids = strings(&["", "a", "A", "a}", "{a}", "{", "a:b", "a b", "a%7Db", "ä\u{0}\n☎", "*"]);
    for (id, n) in ids.iter().zip(1..) {
        assert!(presence.connect(id, "s").await.unwrap().first, "{id:?}");
        assert_eq!(presence.count().await.unwrap(), n);
        assert_eq!(join(presence, id, id, id).await, [member(id, 1)]);
    }
    assert!(presence.get(&ids).await.unwrap().iter().all(|user| user.sockets == 1));
    for id in &ids {
        presence.leave(id, id, id).await.unwrap();
        assert_eq!(members(presence, id).await, []);
        assert!(presence.disconnect(id, "s").await.unwrap().last, "{id:?}");
    }
    assert_eq!(presence.count().await.unwrap(), 0);
}

pub(crate) async fn a_sweep_among_the_living_finds_nobody(bench: Bench) {
    let presence = &*bench.store.presence;
    presence.connect("alice", "s1").await.unwrap();
    presence.enter("room", "alice", "s1").await.unwrap();
    assert_eq!(presence.sweep().await.unwrap(), []);
    assert_eq!(presence.count().await.unwrap(), 1);
    assert_eq!(members(presence, "room").await, [member("alice", 1)]);
}

pub(crate) async fn nobody_joins_what_is_called_like_another_socket(bench: Bench) {
    let presence = &*bench.store.presence;
    let guard = strings(&["s2", "s2@/chat"]);
    presence.connect("alice", "s1").await.unwrap();
    assert!(matches!(presence.join("s2", "alice", "s1", &guard).await.unwrap(), Joined::In(_)), "nobody has the name");
    presence.leave("s2", "alice", "s1").await.unwrap();

    presence.connect("bob", "s2@/chat").await.unwrap();
    assert_eq!(presence.join("s2", "alice", "s1", &guard).await.unwrap(), Joined::NameTaken);
    assert_eq!(members(presence, "s2").await, [], "she is not in it");
    assert!(matches!(presence.join("s2", "bob", "s2@/chat", &guard).await.unwrap(), Joined::In(_)), "it is his own");
    assert!(presence.any_socket(&guard).await.unwrap());
    assert!(!presence.any_socket(&strings(&["s3"])).await.unwrap());
    assert!(!presence.any_socket(&[]).await.unwrap());
    let elsewhere = bench.store.realm("elsewhere");
    assert!(!elsewhere.presence.any_socket(&guard).await.unwrap());

    presence.disconnect("bob", "s2@/chat").await.unwrap();
    presence.leave("s2", "bob", "s2@/chat").await.unwrap();
    assert!(matches!(presence.join("s2", "alice", "s1", &guard).await.unwrap(), Joined::In(_)), "the name is free");
}

pub(crate) async fn pages_of_a_room_show_each_user_once_with_all_sockets(bench: Bench) {
    let presence = &*bench.store.presence;
    let names: Vec<String> = (0..41).map(|n| format!("{}\u{1}{n}", "u".repeat(n % 3))).collect();
    for (n, user) in names.iter().enumerate() {
        for socket in 0..=n % 3 {
            presence.enter("room", user, &format!("s{socket}")).await.unwrap();
        }
    }
    for limit in [1, 7, 41, 1_000] {
        let (mut all, mut cursor) = (Vec::new(), None);
        loop {
            let page = presence.members("room", limit, cursor.as_deref()).await.unwrap();
            assert!(page.members.len() <= limit);
            all.extend(page.members);
            cursor = page.cursor;
            if cursor.is_none() {
                break;
            }
        }
        let mut expected: Vec<Member> =
            names.iter().enumerate().map(|(n, user)| member(user, 1 + n as u32 % 3)).collect();
        expected.sort_by(|a, b| a.user_id.cmp(&b.user_id));
        assert_eq!(all, expected, "pages of {limit}");
    }
    for cursor in ["", "x"] {
        let refused = presence.members("room", 10, Some(cursor)).await.unwrap_err();
        assert!(matches!(refused, StoreError::InvalidCursor), "{cursor}: {refused:?}");
    }
}

pub(crate) async fn a_room_with_more_sockets_than_a_page_is_read_whole(bench: Bench) {
    let presence = &*bench.store.presence;
    // One user fills more than a page of sockets by herself.
    for (user, sockets) in [("alice", 10), ("bob", 2_100), ("carol", 1)] {
        join_all((0..sockets).map(async |n| presence.enter("room", user, &format!("{user}{n}")).await.unwrap())).await;
    }
    let (mut all, mut cursor) = (Vec::new(), None);
    loop {
        let page = presence.members("room", MAX_USERS, cursor.as_deref()).await.unwrap();
        all.extend(page.members);
        cursor = page.cursor;
        if cursor.is_none() {
            break;
        }
    }
    assert_eq!(all, [member("alice", 10), member("bob", 2_100), member("carol", 1)]);
}

pub(crate) async fn huge_ids_are_ids(bench: Bench) {
    let huge = |c: char| c.to_string().repeat(10_000 / c.len_utf8());
    let (user, room, socket) = (huge('ü'), huge('{'), huge('\u{1}'));
    let store = &bench.store;
    assert!(store.presence.connect(&user, &socket).await.unwrap().first);
    assert_eq!(join(&*store.presence, &room, &user, &socket).await, [member(&user, 1)]);
    store.conversations.take_part(&room, &user).await.unwrap();
    assert_eq!(store.conversations.list(&user, 1, None).await.unwrap().conversations[0].conversation, room);
    store.presence.leave(&room, &user, &socket).await.unwrap();
    assert!(store.presence.disconnect(&user, &socket).await.unwrap().last);
}
