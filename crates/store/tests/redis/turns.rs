//! How often an operation waits for Redis: what it sends without waiting for an answer is one round trip, on a cluster too.

use crate::{entry, within_deadline};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;
use trunkline_store::{
    InboxItem, Joined, Keep, LogLimits, NewEntry, NodeIdentity, NodeLoad, Position, Receipt, Result, Session, Store,
    Waiting,
};
use trunkline_testkit::RedisServer;

/// Answers are held back so long that whatever does not depend on them is sent by then.
const HELD_BACK: Duration = Duration::from_millis(100);

/// A way to Redis that counts how often somebody asks after having been answered.
#[derive(Default)]
struct Turns {
    count: AtomicU32,
    answered: AtomicBool,
}

impl Turns {
    fn asked(&self) {
        if self.answered.swap(false, Ordering::SeqCst) {
            self.count.fetch_add(1, Ordering::SeqCst);
        }
    }

    async fn of<T>(&self, operation: impl Future<Output = Result<T>>) -> (T, u32) {
        self.count.store(0, Ordering::SeqCst);
        self.answered.store(true, Ordering::SeqCst);
        let done = operation.await.unwrap();
        (done, self.count.load(Ordering::SeqCst))
    }
}

async fn questions(mut from: OwnedReadHalf, mut to: OwnedWriteHalf, turns: Arc<Turns>) {
    let mut buffer = vec![0; 64 * 1024];
    while let Ok(read) = from.read(&mut buffer).await
        && read > 0
    {
        turns.asked();
        if to.write_all(&buffer[..read]).await.is_err() {
            return;
        }
    }
}

async fn answers(mut from: OwnedReadHalf, mut to: OwnedWriteHalf, turns: Arc<Turns>) {
    let mut buffer = vec![0; 1024 * 1024];
    while let Ok(read) = from.read(&mut buffer).await
        && read > 0
    {
        tokio::time::sleep(HELD_BACK).await;
        turns.answered.store(true, Ordering::SeqCst);
        if to.write_all(&buffer[..read]).await.is_err() {
            return;
        }
    }
}

/// The store of a node behind such a way.
async fn counted(server: &RedisServer) -> (Store, Arc<Turns>, JoinSet<()>) {
    let (turns, listener) = (Arc::new(Turns::default()), TcpListener::bind("127.0.0.1:0").await.unwrap());
    let url = format!("redis://{}", listener.local_addr().unwrap());
    let (counter, redis) = (Arc::clone(&turns), format!("127.0.0.1:{}", server.port()));
    let mut proxy = JoinSet::new();
    proxy.spawn(async move {
        let mut ways = JoinSet::new();
        while let Ok((client, _)) = listener.accept().await {
            let (from_client, to_client) = client.into_split();
            let (from_redis, to_redis) = TcpStream::connect(&redis).await.unwrap().into_split();
            ways.spawn(questions(from_client, to_redis, Arc::clone(&counter)));
            ways.spawn(answers(from_redis, to_client, Arc::clone(&counter)));
        }
    });
    let identity = NodeIdentity { id: "one".into(), epoch: "e".into(), advertise: None, version: String::new() };
    (Store::redis(&url.parse().unwrap(), identity, LogLimits::default()), turns, proxy)
}

/// Everything that a connect, a join or a send asks of the store, once before the count so that scripts are known.
#[tokio::test]
async fn a_connect_a_join_and_a_send_are_one_round_trip_each() {
    within_deadline(async {
        let server = RedisServer::start().await;
        let (store, turns, _proxy) = counted(&server).await;
        store.nodes.heartbeat(NodeLoad::default()).await.unwrap();
        for (n, expected) in [("0", None), ("1", Some(1)), ("2", Some(1))] {
            let is_one = |what: &str, counted: u32| {
                assert!(expected.is_none_or(|expected| expected == counted), "{what} took {counted} round trips");
            };
            let (user, socket, room) = (format!("u{n}"), format!("s{n}"), format!("r{n}"));
            store.nodes.alive().await.unwrap();

            let id = store.sessions.new_id();
            let session =
                Session { socket: socket.clone(), user: user.clone(), namespace: "/".into(), rooms: Vec::new() };
            let connect =
                async { tokio::try_join!(store.presence.connect(&user, &socket), store.sessions.begin(&id, &session)) };
            is_one("a connect", turns.of(connect).await.1);

            let (guard, seen) = ([room.clone()], Position::default());
            let join = async {
                tokio::try_join!(
                    store.presence.join(&room, &user, &socket, &guard),
                    store.conversations.take_part(&room, &user),
                    store.sessions.enter(&id, &room, &seen),
                )
            };
            let ((joined, ..), counted) = turns.of(join).await;
            assert!(matches!(joined, Joined::In(page) if page.members.len() == 1));
            is_one("a join", counted);

            let message = NewEntry { conversation: room.clone(), participants: vec![user.clone()], ..entry(Some(n)) };
            is_one("a send", turns.of(store.log.append(message, &[])).await.1);
            let direct = NewEntry { conversation: format!("dm:{user}:x"), ..entry(Some(n)) };
            let waiting = Waiting { user: "x", body: "{}" };
            let direct = turns.of(store.log.append_for(direct, &[], &waiting)).await;
            is_one("a direct message to somebody who is offline", direct.1);
            is_one("a receipt", turns.of(store.receipts.mark(&room, &user, Receipt::Read, 1)).await.1);
            let item = InboxItem { id: n.into(), body: "{}".into() };
            is_one("a notification", turns.of(store.inbox.push(&user, &item, Keep::IfOffline)).await.1);
            is_one("a document", turns.of(store.documents.write(&room, "text", None, &[])).await.1);
            is_one("the count", turns.of(store.presence.count()).await.1);
            let rooms: Vec<String> = (0..100).map(|n| format!("r{n}")).collect();
            is_one("the ends of logs", turns.of(store.log.ends(&rooms)).await.1);
            is_one("members", turns.of(store.presence.members(&room, 10, None)).await.1);
            is_one("leaving", turns.of(store.presence.leave(&room, &user, &socket)).await.1);
            is_one("a disconnect", turns.of(store.presence.disconnect(&user, &socket)).await.1);
            is_one("taking a session", turns.of(store.sessions.take(&id)).await.1);
        }
    })
    .await;
}
