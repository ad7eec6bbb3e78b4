//! Any sequence of operations: the store in memory is the model, and the one in Redis answers as it does.

use crate::bench::{Bench, Published};
use proptest::collection::vec;
use proptest::option;
use proptest::prelude::{Just, Strategy, any, prop_oneof};
use proptest::sample::select;
use proptest::test_runner::{Config, TestCaseError, TestRunner};
use std::cell::RefCell;
use std::collections::HashMap;
use std::fmt::Debug;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};
use trunkline_store::{
    Fill, InboxItem, Keep, Kind, LogLimits, NewEntry, NodeLoad, Part, Position, Publication, ReadRange, Receipt,
    Session, Store,
};

/// Few names, so that operations meet; among them what could break a key, a seat or a script.
const NAMES: [&str; 5] = ["alice", "bob", "", "a{b}:%\u{0}\u{1}ä", "\u{1}\u{2}"];

/// So few that logs are trimmed.
const LIMITS: LogLimits = LogLimits { max_entries: 6, max_age: Duration::from_secs(3_600) };

const SEQUENCES: u32 = 64;
const LONGEST: usize = 60;

/// Well within a lease.
const HEARTBEAT: Duration = Duration::from_secs(2);

type Name = &'static str;

#[derive(Debug, Clone)]
enum Operation {
    Connect { user: Name, socket: u8 },
    Disconnect { user: Name, socket: u8 },
    Enter { room: Name, user: Name, socket: u8 },
    Join { room: Name, user: Name, socket: u8, guard: Option<(Name, u8)> },
    Leave { room: Name, user: Name, socket: u8 },
    WhoIsOnline { limit: usize },
    WhoIsIn { room: Name, limit: usize },
    Append { conversation: Name, sender: Name, change: Option<(bool, u64)>, client_id: Option<Name> },
    Read { conversation: Name, after: Option<u64>, before: Option<u64>, limit: usize },
    Mark { conversation: Name, user: Name, is_read: bool, seq: u64 },
    Seen { conversation: Name, seq: u64 },
    TakePart { conversation: Name, user: Name },
    List { user: Name, limit: usize },
    Push { user: Name, item: u8, always: bool },
    Pending { user: Name, limit: usize },
    Acknowledge { user: Name, items: Vec<u8> },
    Write { document: Name, content: Name, base: Option<u64> },
    Begin { session: u8, user: Name, room: Name },
    Move { session: u8, room: Name, seq: Option<u64> },
    Detach { session: u8 },
    End { session: u8 },
    Take { session: u8 },
}

fn operation() -> impl Strategy<Value = Operation> {
    use Operation::*;
    let name = || select(&NAMES[..]);
    let (few, seq) = (|| 0..3_u8, || 0..9_u64);
    let limit = || prop_oneof![Just(1_usize), Just(2), Just(100)];
    let present = prop_oneof![
        (name(), few()).prop_map(|(user, socket)| Connect { user, socket }),
        (name(), few()).prop_map(|(user, socket)| Disconnect { user, socket }),
        (name(), name(), few()).prop_map(|(room, user, socket)| Enter { room, user, socket }),
        (name(), name(), few(), option::of((name(), few()))).prop_map(|(room, user, socket, guard)| Join {
            room,
            user,
            socket,
            guard
        }),
        (name(), name(), few()).prop_map(|(room, user, socket)| Leave { room, user, socket }),
        limit().prop_map(|limit| WhoIsOnline { limit }),
        (name(), limit()).prop_map(|(room, limit)| WhoIsIn { room, limit }),
    ];
    let written = prop_oneof![
        3 => (name(), name(), option::of((any::<bool>(), seq())), option::of(name())).prop_map(
            |(conversation, sender, change, client_id)| Append { conversation, sender, change, client_id }
        ),
        1 => (name(), option::of(seq()), option::of(seq()), 0..9_usize)
            .prop_map(|(conversation, after, before, limit)| Read { conversation, after, before, limit }),
        1 => (name(), name(), any::<bool>(), seq())
            .prop_map(|(conversation, user, is_read, seq)| Mark { conversation, user, is_read, seq }),
        1 => (name(), seq()).prop_map(|(conversation, seq)| Seen { conversation, seq }),
        1 => (name(), name()).prop_map(|(conversation, user)| TakePart { conversation, user }),
        1 => (name(), limit()).prop_map(|(user, limit)| List { user, limit }),
    ];
    let waiting = prop_oneof![
        (name(), few(), any::<bool>()).prop_map(|(user, item, always)| Push { user, item, always }),
        (name(), limit()).prop_map(|(user, limit)| Pending { user, limit }),
        (name(), vec(few(), 1..3)).prop_map(|(user, items)| Acknowledge { user, items }),
        (name(), name(), option::of(0..4_u64)).prop_map(|(document, content, base)| Write { document, content, base }),
    ];
    let sessions = prop_oneof![
        (few(), name(), name()).prop_map(|(session, user, room)| Begin { session, user, room }),
        (few(), name(), option::of(seq())).prop_map(|(session, room, seq)| Move { session, room, seq }),
        few().prop_map(|session| Detach { session }),
        few().prop_map(|session| End { session }),
        few().prop_map(|session| Take { session }),
    ];
    prop_oneof![3 => present, 3 => written, 1 => waiting, 1 => sessions]
}

#[test]
fn redis_answers_as_memory_does_whatever_is_asked() {
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let redis = RefCell::new(runtime.block_on(Bench::redis()));
    let config = Config { cases: SEQUENCES, max_shrink_iters: 1_000, failure_persistence: None, ..Config::default() };
    let outcome = TestRunner::new(config).run(&vec(operation(), 1..LONGEST), |operations| {
        runtime.block_on(crate::within_deadline(compare(&mut redis.borrow_mut(), &operations)))
    });
    if let Err(error) = outcome {
        panic!("{error}");
    }
}

async fn compare(redis: &mut Bench, operations: &[Operation]) -> Result<(), TestCaseError> {
    let mut memory = Bench::memory();
    let mut model = World::new(memory.with_limits(LIMITS));
    let mut tested = World::new(redis.with_limits(LIMITS));
    // What a sequence published that ended with a difference.
    tested.published(redis).await;
    redis.empty().await;
    for (n, operation) in operations.iter().enumerate() {
        let (expected, found) = (model.carry_out(n, operation).await, tested.carry_out(n, operation).await);
        if expected != found {
            let text = format!("operation {n}, {operation:?}:\nmemory answers {expected}\n redis answers {found}");
            return Err(TestCaseError::fail(text));
        }
    }
    let (expected, found) = (model.published(&mut memory).await, tested.published(redis).await);
    if expected != found {
        return Err(TestCaseError::fail(format!("memory published {expected:?}\n redis published {found:?}")));
    }
    Ok(())
}

/// A store, and what is needed to compare it with another: epochs are random, times are not the same.
struct World {
    store: Store,
    started_ms: i64,
    beaten: Option<Instant>,
    /// In order of their appearance.
    epochs: Vec<String>,
    by_conversation: HashMap<Name, String>,
}

impl World {
    fn new(store: Store) -> Self {
        let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
        let started_ms = i64::try_from(since.as_millis()).unwrap();
        Self { store, started_ms, beaten: None, epochs: Vec::new(), by_conversation: HashMap::new() }
    }

    /// The answer as text, with names in place of what can't be equal.
    async fn carry_out(&mut self, n: usize, operation: &Operation) -> String {
        if self.beaten.is_none_or(|beaten| beaten.elapsed() > HEARTBEAT) {
            self.store.nodes.heartbeat(NodeLoad::default()).await.unwrap();
            self.beaten = Some(Instant::now());
        }
        let answer = self.answer(n, operation).await;
        self.epochs.iter().enumerate().fold(answer, |text, (n, epoch)| text.replace(epoch, &format!("<epoch {n}>")))
    }

    async fn answer(&mut self, n: usize, operation: &Operation) -> String {
        let store = self.store.clone();
        match operation.clone() {
            Operation::Connect { user, socket } => {
                shown(store.presence.connect(user, &socket_of(user, socket)).await.unwrap())
            }
            Operation::Disconnect { user, socket } => {
                shown(store.presence.disconnect(user, &socket_of(user, socket)).await.unwrap().last)
            }
            Operation::Enter { room, user, socket } => {
                shown(store.presence.enter(room, user, &socket_of(user, socket)).await)
            }
            Operation::Join { room, user, socket, guard } => {
                let guard = guard.map(|(user, socket)| vec![socket_of(user, socket)]).unwrap_or_default();
                shown(store.presence.any_socket(&guard).await.unwrap())
                    + &shown(store.presence.join(room, user, &socket_of(user, socket), &guard).await.unwrap())
            }
            Operation::Leave { room, user, socket } => {
                shown(store.presence.leave(room, user, &socket_of(user, socket)).await)
            }
            Operation::WhoIsOnline { limit } => self.online(limit).await,
            Operation::WhoIsIn { room, limit } => self.members(room, limit).await,
            Operation::Append { conversation, sender, change, client_id } => {
                self.append(n, conversation, sender, change, client_id).await
            }
            Operation::Read { conversation, after, before, limit } => {
                let ends = store.log.ends(&[conversation.into(), "nowhere".into()]).await.unwrap();
                let page = store.log.read(conversation, ReadRange { after, before, limit }).await.unwrap();
                let times: Vec<i64> = page.entries.iter().map(|entry| entry.timestamp_ms - self.started_ms).collect();
                let entries: Vec<_> =
                    page.entries.iter().map(|e| (e.seq, &e.message_id, &e.kind, &e.standing)).collect();
                let texts: Vec<_> = page.entries.iter().map(|e| (&e.sender, &e.client_message_id, &e.body)).collect();
                shown((ends, page.seq, &page.epoch, page.complete, &page.ancestors, entries, texts, times))
            }
            Operation::Mark { conversation, user, is_read, seq } => {
                let receipt = if is_read { Receipt::Read } else { Receipt::Delivered };
                let moved = store.receipts.mark(conversation, user, receipt, seq).await.unwrap();
                shown((moved, store.receipts.marks(conversation, user).await.unwrap()))
            }
            Operation::Seen { conversation, seq } => shown(store.receipts.seen(conversation, seq).await.unwrap()),
            Operation::TakePart { conversation, user } => {
                shown(store.conversations.take_part(conversation, user).await)
            }
            Operation::List { user, limit } => self.list(user, limit).await,
            Operation::Push { user, item, always } => {
                let keep = if always { Keep::Always } else { Keep::IfOffline };
                let item = InboxItem { id: item.to_string(), body: format!("{{\"n\":{n}}}") };
                shown(store.inbox.push(user, &item, keep).await.unwrap())
            }
            Operation::Pending { user, limit } => shown(store.inbox.pending(user, limit).await.unwrap()),
            Operation::Acknowledge { user, items } => {
                let ids: Vec<String> = items.iter().map(u8::to_string).collect();
                shown(store.inbox.acknowledge(user, &ids).await.unwrap())
            }
            Operation::Write { document, content, base } => {
                let written = store.documents.write(document, content, base, &[publication("document")]).await;
                shown((written.unwrap(), store.documents.get(document).await.unwrap()))
            }
            Operation::Begin { session, user, room } => {
                let rooms = vec![(room.to_owned(), position(1))];
                let begun = Session { socket: "s".into(), user: user.into(), namespace: "/".into(), rooms };
                shown(store.sessions.begin(&session.to_string(), &begun).await)
            }
            Operation::Move { session, room, seq } => {
                let id = session.to_string();
                match seq {
                    Some(seq) => shown(store.sessions.enter(&id, room, &position(seq)).await),
                    None => shown(store.sessions.leave(&id, room).await),
                }
            }
            Operation::Detach { session } => shown(store.sessions.detach(&session.to_string()).await),
            Operation::End { session } => shown(store.sessions.end(&session.to_string()).await),
            Operation::Take { session } => {
                let mut taken = store.sessions.take(&session.to_string()).await.unwrap();
                if let Some(session) = &mut taken {
                    session.rooms.sort_by(|a, b| a.0.cmp(&b.0));
                }
                shown(taken)
            }
        }
    }

    /// All pages, in the order of the names: that of the pages is each store's own.
    async fn online(&self, limit: usize) -> String {
        let (mut users, mut cursor) = (Vec::new(), None::<String>);
        loop {
            let page = self.store.presence.list(limit, cursor.as_deref()).await.unwrap();
            assert!(page.users.len() <= limit);
            users.extend(page.users.into_iter().map(|user| (user.user_id, user.sockets)));
            cursor = page.cursor;
            if cursor.is_none() {
                break;
            }
        }
        users.sort();
        let names = NAMES.map(str::to_owned);
        let each = self.store.presence.get(&names).await.unwrap();
        let each: Vec<_> =
            each.iter().map(|one| (&one.user_id, one.online, one.sockets, one.last_seen_ms.is_some())).collect();
        shown((users, self.store.presence.count().await.unwrap(), each))
    }

    async fn members(&self, room: Name, limit: usize) -> String {
        let (mut members, mut cursor) = (Vec::new(), None::<String>);
        loop {
            let page = self.store.presence.members(room, limit, cursor.as_deref()).await.unwrap();
            assert!(page.members.len() <= limit);
            members.extend(page.members);
            cursor = page.cursor;
            if cursor.is_none() {
                return shown(members);
            }
        }
    }

    async fn append(
        &mut self,
        n: usize,
        conversation: Name,
        sender: Name,
        change: Option<(bool, u64)>,
        client_id: Option<Name>,
    ) -> String {
        let epoch = self.by_conversation.get(conversation).cloned().unwrap_or_default();
        let entry = NewEntry {
            conversation: conversation.into(),
            kind: match change {
                None => Kind::Message,
                Some((true, seq)) => Kind::Edit(Position { epoch, seq }),
                Some((false, seq)) => Kind::Deletion(Position { epoch, seq }),
            },
            sender: sender.into(),
            participants: vec![sender.into()],
            client_message_id: client_id.map(str::to_owned),
            timestamp_ms: self.started_ms + i64::try_from(n).unwrap(),
            body: format!("{{\"n\":{n}}}"),
        };
        let appended = self.store.log.append(entry, &[publication("message")]).await;
        appended.map_or_else(
            |error| error.to_string(),
            |appended| {
                if !self.epochs.contains(&appended.epoch) {
                    self.epochs.push(appended.epoch.clone());
                }
                self.by_conversation.insert(conversation, appended.epoch.clone());
                let at = appended.timestamp_ms - self.started_ms;
                shown((appended.seq, &appended.epoch, &appended.message_id, at, appended.duplicate))
            },
        )
    }

    async fn list(&self, user: Name, limit: usize) -> String {
        let (mut listed, mut cursor) = (Vec::new(), None::<String>);
        loop {
            let page = self.store.conversations.list(user, limit, cursor.as_deref()).await.unwrap();
            assert!(page.conversations.len() <= limit);
            listed.extend(page.conversations.into_iter().map(|one| {
                let last = one.last_message.map(|last| (last.seq, last.standing, last.body));
                let active_ms = if one.active_ms == 0 { None } else { Some(one.active_ms - self.started_ms) };
                (one.conversation, last, one.unread, one.seq, active_ms)
            }));
            cursor = page.cursor;
            if cursor.is_none() {
                return shown(listed);
            }
        }
    }

    /// All that was published, up to here.
    async fn published(&self, bench: &mut Bench) -> Vec<Published> {
        self.store.documents.write("the end", "", None, &[publication("end")]).await.unwrap();
        let mut all = Vec::new();
        loop {
            let next = bench.published(1).await;
            if next.iter().any(|(channel, _)| channel == b"end") {
                return all;
            }
            all.extend(next.into_iter().map(|(channel, payload)| (channel, self.named(&payload))));
        }
    }

    /// With names in place of epochs.
    fn named(&self, payload: &[u8]) -> Vec<u8> {
        let text: String = payload.iter().copied().map(char::from).collect();
        let named =
            self.epochs.iter().enumerate().fold(text, |text, (n, epoch)| text.replace(epoch, &format!("<{n}>")));
        named.into_bytes()
    }
}

fn publication(channel: &str) -> Publication {
    let literal = |bytes: &'static [u8]| Part::Literal(bytes.into());
    let (seq, id) = (Part::Fill(Fill::Seq), Part::Fill(Fill::MessageId));
    let parts = vec![literal(b"\xff\0"), seq, literal(b""), id, Part::Fill(Fill::Epoch), literal(b"\r\n")];
    Publication { channel: channel.into(), parts }
}

/// Sockets have one user.
fn socket_of(user: Name, socket: u8) -> String {
    format!("socket {socket} of {user}")
}

fn position(seq: u64) -> Position {
    Position { epoch: "e".into(), seq }
}

fn shown(answer: impl Debug) -> String {
    format!("{answer:?}")
}
