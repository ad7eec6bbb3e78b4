//! A stream among sockets that come and go, a link that loses messages and a log that is trimmed or lost.

use std::collections::{BTreeMap, VecDeque};

use proptest::prelude::*;

use super::*;

#[derive(Clone, Debug)]
enum Step {
    /// Somebody writes; the link may lose it.
    Append {
        lost: bool,
    },
    /// One of the sockets writes.
    AppendOwn(u8),
    /// The next live message arrives.
    Receive,
    /// The repairer reads its page, or applies the one it has read.
    Repair(Server),
    /// The periodic look at the log.
    Look(Server),
    Join(u8),
    Leave(u8),
    /// A reader reads its page, or ends.
    Read(u8, Server),
    Trim,
    LoseLog,
    /// Redis crashes and loses the last entries; the log goes on under another name.
    Crash {
        lost: u64,
    },
    /// A replica without the last entries takes over; the old master goes on by itself.
    Promote {
        lost: u64,
    },
    /// Somebody writes to the old master.
    AppendOld,
    /// The old master is no more.
    EndOld,
}

/// Whom a node asks that may not have heard of a promotion.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Server {
    Master,
    Old,
}

/// A log; entries before `first` are trimmed.
#[derive(Clone, Debug)]
struct Log {
    epoch: Arc<str>,
    first: u64,
    newest: u64,
    ancestors: Vec<Position>,
    /// Which socket wrote each of its entries.
    senders: Vec<Option<u8>>,
    crashed: bool,
}

const PAGE: u64 = 3;

/// A page of the log, and the numbers of the entries on it.
type Page = (Log, Vec<u64>);

impl Log {
    fn none() -> Self {
        let (ancestors, senders) = (Vec::new(), Vec::new());
        Self { epoch: "".into(), first: 1, newest: 0, ancestors, senders, crashed: false }
    }

    fn page(&self, after: u64) -> Page {
        let from = after.saturating_add(1).max(self.first);
        (self.clone(), (from..=self.newest).take(PAGE as usize).collect())
    }

    fn head(&self, entries: &[u64]) -> PageHead<'_> {
        PageHead {
            epoch: &self.epoch,
            newest: self.newest,
            first: entries.first().copied(),
            ancestors: &self.ancestors,
        }
    }

    fn sender(&self, seq: u64) -> Option<u8> {
        self.senders[seq as usize - 1]
    }
}

/// What a socket has, and whether it is whole.
#[derive(Debug)]
struct Has {
    at: Position,
    /// The number of its reader, and the page that it has read.
    reading: Option<(u64, Option<Page>)>,
    own: Vec<Position>,
}

impl Has {
    /// `log` is the log as it was when the message was written, or read.
    fn message(&mut self, log: &Log, seq: u64) {
        self.skip_own(log, seq - 1);
        let head = log.head(&[]);
        assert!(head.honours(&self.at), "{:?} got {}:{seq}", self.at, log.epoch);
        assert_eq!(seq, self.at.seq + 1, "at {:?} of {}", self.at, log.epoch);
        self.at = Position::new(Arc::clone(&log.epoch), seq);
    }

    /// Its own messages, up to number `last`, it has from the acknowledgement.
    fn skip_own(&mut self, log: &Log, last: u64) {
        let head = log.head(&[]);
        let next = |at: &Position, own: &Position| {
            own.seq == at.seq + 1 && own.seq <= last && head.honours(at) && head.honours(own)
        };
        while let Some(own) = self.own.iter().find(|own| next(&self.at, own)) {
            self.at = own.clone();
        }
    }

    fn reset(&mut self, to: &Position) {
        self.at = to.clone();
    }
}

#[derive(Debug)]
struct World {
    log: Log,
    /// As the old master has it.
    old: Option<Log>,
    logs: u32,
    link: VecDeque<(Log, u64, Option<u8>)>,
    stream: Stream<u8, (Log, Option<u8>)>,
    sockets: BTreeMap<u8, Has>,
    /// What those who left had sent: it was acknowledged to them, also if they come back.
    gone: BTreeMap<u8, Vec<Position>>,
    repairing: bool,
    page: Option<Page>,
}

impl World {
    fn new() -> Self {
        let (stream, sockets) = (Stream::default(), BTreeMap::new());
        let (link, gone) = (VecDeque::new(), BTreeMap::new());
        Self { log: Log::none(), old: None, logs: 0, link, stream, sockets, gone, repairing: false, page: None }
    }

    fn append(&mut self, lost: bool, own: Option<u8>) {
        let own = own.filter(|own| self.sockets.contains_key(own));
        let position = self.append_at(Server::Master, lost, own);
        let Some(sender) = own else { return };
        self.sockets.get_mut(&sender).unwrap().own.push(position);
    }

    fn append_at(&mut self, server: Server, lost: bool, own: Option<u8>) -> Position {
        let log = match (server, &mut self.old) {
            (Server::Old, Some(old)) => old,
            _ => &mut self.log,
        };
        if log.epoch.is_empty() || log.crashed {
            self.logs += 1;
            if log.newest > 0 {
                for ancestor in &mut log.ancestors {
                    ancestor.seq = ancestor.seq.min(log.newest);
                }
                log.ancestors.insert(0, Position::new(Arc::clone(&log.epoch), log.newest));
            }
            log.epoch = format!("e{}", self.logs).into();
            log.crashed = false;
        }
        log.newest += 1;
        log.senders.push(own);
        let position = Position::new(Arc::clone(&log.epoch), log.newest);
        if !lost {
            self.link.push_back((log.clone(), log.newest, own));
        }
        position
    }

    /// What a server says.
    fn log_at(&self, server: Server) -> &Log {
        self.old.as_ref().filter(|_| server == Server::Old).unwrap_or(&self.log)
    }

    fn deliver(&mut self, log: &Log, seq: u64, except: Option<u8>) {
        let message = (log.clone(), except);
        self.stream.announce(seq, log.sender(seq));
        for (socket, has) in &mut self.sockets {
            if Some(*socket) != except && self.stream.admit(socket, seq, &message) {
                has.message(log, seq);
            }
        }
        self.stream.advance(seq);
    }

    fn receive(&mut self) {
        let Some((log, seq, own)) = self.link.pop_front() else { return };
        let heard = self.sockets.keys().any(|socket| Some(*socket) != own);
        if !heard && self.stream.pass(&log.epoch, seq) {
            return;
        }
        match self.stream.live(&log.epoch.clone(), seq, (log, own)) {
            Live::Deliver((log, own)) => self.deliver(&log, seq, own),
            Live::Held(begin) => self.repairing |= begin,
            Live::Repeat => {}
        }
    }

    fn look(&mut self, server: Server) {
        let log = self.log_at(server);
        let end = Position::new(Arc::clone(&log.epoch), log.newest);
        if let Some(before) = self.stream.furthest() {
            self.repairing |= self.stream.overtook(&before, &end);
        }
        self.repairing |= self.stream.behind(&end.epoch, end.seq);
    }

    fn repair(&mut self, server: Server) {
        if !self.repairing {
            return;
        }
        let Some((log, entries)) = self.page.take() else {
            let at = self.stream.ask_page().map_or(0, |at| at.seq);
            self.page = Some(self.log_at(server).page(at));
            return;
        };
        let repair = self.stream.begin_page(&log.head(&entries));
        if let Repair::Reset(reset) | Repair::Restart(reset) = &repair {
            for (socket, has) in &mut self.sockets {
                if self.stream.admit_reset(socket, reset) {
                    has.reset(&reset.to);
                }
            }
            self.stream.reset_told();
        }
        if matches!(repair, Repair::Restart(_)) {
            return;
        }
        for seq in &entries {
            if self.stream.position().is_some_and(|at| at.seq < *seq) {
                self.deliver(&log, *seq, None);
            }
        }
        let last = self.stream.position().is_none_or(|at| at.seq >= log.newest || log.epoch.is_empty());
        if let Some(held) = self.stream.end_page(last) {
            self.repairing = false;
            for (seq, (log, own)) in held {
                self.deliver(&log, seq, own);
            }
        }
    }

    fn join(&mut self, socket: u8) {
        if self.sockets.contains_key(&socket) {
            return;
        }
        let reader = self.stream.begin_reading(&socket);
        // It comes from a page of the log, and wants to know what follows.
        let at = Position::new(Arc::clone(&self.log.epoch), self.log.newest);
        self.sockets.insert(
            socket,
            Has { at, reading: Some((reader, None)), own: self.gone.remove(&socket).unwrap_or_default() },
        );
    }

    fn leave(&mut self, socket: u8) {
        let Some(has) = self.sockets.remove(&socket) else { return };
        self.gone.insert(socket, has.own);
        if let Some((reader, _)) = has.reading {
            self.stream.abandon(&socket, reader);
        }
    }

    fn read(&mut self, socket: u8, server: Server) {
        let now = self.log_at(server).clone();
        let Some(has) = self.sockets.get_mut(&socket) else { return };
        let Some((reader, page)) = &mut has.reading else { return };
        let reader = *reader;
        let Some((log, entries)) = page.take() else {
            *page = Some(now.page(has.at.seq));
            return;
        };
        match follow(&has.at, &log.head(&entries)) {
            Continue::Whole => has.at.epoch = Arc::clone(&log.epoch),
            Continue::Trimmed(seq) => has.reset(&Position::new(Arc::clone(&log.epoch), seq)),
            Continue::Lost(seq) => return has.reset(&Position::new(Arc::clone(&log.epoch), seq)),
        }
        for seq in entries.into_iter().filter(|seq| *seq > has.at.seq).collect::<Vec<_>>() {
            // Its own may be among them: what it reads it gets besides the acknowledgement.
            has.message(&log, seq);
        }
        if has.at.seq < log.newest {
            return;
        }
        let at = has.at.clone();
        match self.stream.end_reading(&socket, reader, &at) {
            Some(Ended::Whole { messages, .. }) => {
                has.reading = None;
                for (seq, (log, _)) in messages {
                    has.message(&log, seq);
                }
            }
            Some(Ended::Short) => self.repairing |= self.stream.doubt(&at),
            None => panic!("nobody took over"),
        }
    }

    fn crash(&mut self, lost: u64) {
        let log = &mut self.log;
        log.newest = log.newest.saturating_sub(lost);
        log.senders.truncate(log.newest as usize);
        if log.newest == 0 {
            *log = Log::none();
        } else {
            log.crashed = true;
        }
    }

    fn step(&mut self, step: &Step) {
        match *step {
            Step::Append { lost } => self.append(lost, None),
            Step::AppendOwn(socket) => self.append(false, Some(socket)),
            Step::Receive => self.receive(),
            Step::Repair(server) => self.repair(server),
            Step::Look(server) => self.look(server),
            Step::Join(socket) => self.join(socket),
            Step::Leave(socket) => self.leave(socket),
            Step::Read(socket, server) => self.read(socket, server),
            Step::Trim => self.log.first = self.log.first.max(self.log.newest.saturating_sub(1)),
            Step::LoseLog => self.log = Log::none(),
            Step::Crash { lost } => self.crash(lost),
            Step::Promote { lost } => {
                self.old = Some(self.log.clone());
                self.crash(lost);
                self.log.crashed = true;
            }
            Step::AppendOld if self.old.is_some() => drop(self.append_at(Server::Old, false, None)),
            Step::AppendOld => {}
            Step::EndOld => self.old = None,
        }
    }

    /// Nothing new happens, and everyone comes to rest.
    fn settle(&mut self) {
        self.old = None;
        for _ in 0..300 {
            let quiet =
                self.link.is_empty() && !self.repairing && self.sockets.values().all(|has| has.reading.is_none());
            let at_end = |at: &Position| at.seq == self.log.newest && at.epoch == self.log.epoch;
            if quiet && self.stream.is_even() && self.stream.position().is_none_or(at_end) {
                return;
            }
            self.receive();
            if self.link.is_empty() {
                self.look(Server::Master);
            }
            self.repair(Server::Master);
            for socket in 0..4 {
                self.read(socket, Server::Master);
            }
        }
    }
}

impl World {
    /// All have what is in the log, once it has settled.
    fn check(&mut self) -> Result<(), TestCaseError> {
        for (socket, has) in &mut self.sockets {
            has.skip_own(&self.log, self.log.newest);
            prop_assert!(has.reading.is_none(), "{socket} still reads");
            prop_assert!(self.log.head(&[]).honours(&has.at), "{has:?}");
            prop_assert_eq!(has.at.seq, self.log.newest, "{} in {:?}", socket, self.log.epoch);
        }
        prop_assert!(self.stream.apart.is_empty(), "somebody is apart when all is quiet");
        Ok(())
    }
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let socket = || 0u8..4;
    let server = || prop_oneof![2 => Just(Server::Master), 1 => Just(Server::Old)];
    let step = prop_oneof![
        6 => any::<bool>().prop_map(|lost| Step::Append { lost }),
        2 => socket().prop_map(Step::AppendOwn),
        8 => Just(Step::Receive),
        6 => server().prop_map(Step::Repair),
        1 => server().prop_map(Step::Look),
        3 => socket().prop_map(Step::Join),
        1 => socket().prop_map(Step::Leave),
        6 => (socket(), server()).prop_map(|(socket, server)| Step::Read(socket, server)),
        1 => Just(Step::Trim),
        1 => Just(Step::LoseLog),
        1 => (0u64..3).prop_map(|lost| Step::Crash { lost }),
        1 => (0u64..3).prop_map(|lost| Step::Promote { lost }),
        2 => Just(Step::AppendOld),
        1 => Just(Step::EndOld),
    ];
    proptest::collection::vec(step, 0..120)
}

#[test]
fn who_has_what_a_silent_log_lost_is_told_by_a_look() {
    let mut world = World::new();
    for _ in 0..3 {
        world.append(false, None);
        world.receive();
    }
    world.join(1);
    (0..4).for_each(|_| world.read(1, Server::Master));
    world.crash(2);
    world.look(Server::Master);
    (0..4).for_each(|_| world.repair(Server::Master));
    assert_eq!(world.sockets[&1].at, Position::new("e1", 1));
    assert!(!world.repairing, "and that was all");
}

#[test]
fn who_read_ahead_of_its_stream_what_a_silent_log_lost_is_told_by_a_look() {
    let mut world = World::new();
    world.append(false, None);
    world.receive();
    (0..2).for_each(|_| world.append(true, None));
    world.join(1);
    (0..2).for_each(|_| world.read(1, Server::Master));
    assert_eq!(world.stream.furthest(), Some(Position::new("e1", 3)));
    world.crash(2);
    world.look(Server::Master);
    (0..2).for_each(|_| world.repair(Server::Master));
    assert_eq!(world.sockets[&1].at, Position::new("e1", 1));
    assert!(world.stream.is_even() && !world.repairing, "and that was all");
}

#[test]
fn a_reader_is_not_handed_what_waited_for_it_and_is_lost() {
    let mut world = World::new();
    world.append(false, None);
    world.receive();
    world.join(1);
    world.append(false, None);
    world.receive();
    world.crash(1);
    world.look(Server::Master);
    (0..4).for_each(|_| world.repair(Server::Master));
    (0..4).for_each(|_| world.read(1, Server::Master));
    assert_eq!(world.sockets[&1].at, Position::new("e1", 1));
    assert!(world.stream.is_even() && !world.repairing, "and that was all");
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(5_000))]

    #[test]
    fn every_socket_gets_every_message_once_in_order_or_is_told_that_some_are_missing(steps in steps()) {
        let mut world = World::new();
        steps.iter().for_each(|step| world.step(step));
        world.append(false, None);
        world.settle();
        world.check()?;
    }

    #[test]
    fn so_it_is_when_nobody_writes_any_more(steps in steps()) {
        let mut world = World::new();
        steps.iter().for_each(|step| world.step(step));
        // Nobody is told of an empty log before somebody writes.
        if world.log.epoch.is_empty() {
            world.append(false, None);
        }
        world.settle();
        world.check()?;
    }
}
