//! What this node missed: it reads it from the log and hands it to its sockets, in order, before anything newer.
//!
//! A gap shows when the next message's number jumps. The last message before a silence shows to nobody: so after every
//! loss of the link, and every [`LOOK`] in any case, the positions of all streams are compared with the ends of their
//! logs, many in one round trip. That shows too when a log has lost its end, as after a failover to a replica that had not
//! received it: who had it is told.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use tokio::{
    sync::{mpsc::UnboundedReceiver, watch},
    task::JoinSet,
    time::{MissedTickBehavior, interval},
};
use tokio_util::sync::CancellationToken;
use trunkline_adapter::LinkState;
use trunkline_hub::{Hub, Targets};

use crate::{
    domain::{Chain, Domain},
    metrics,
    realms::Realms,
    resume::{Doubt, Entry, Position, Recoverable, Repair, Streams, reset, with_head},
};

/// Between looks at the ends of all logs.
const LOOK: Duration = Duration::from_secs(15);

/// Between attempts to look, when the store is away after the link was lost.
const LOOK_SOON: Duration = Duration::from_millis(500);

/// Logs whose ends are asked for in one round trip.
const LOOK_AT: usize = 256;

/// Streams that are repaired at the same time.
const AT_ONCE: usize = 16;

/// Between attempts to read a log that can't be read.
const RETRY: Duration = Duration::from_millis(250);

/// Rounds in which a log has nothing of what is held back: then what is held belongs to no log that exists.
const FRUITLESS: u32 = 20;

/// Repairs the streams of this node until `stop`.
pub(crate) async fn run(
    realms: Arc<Realms>,
    streams: Arc<Streams>,
    hub: Hub,
    mut behind: UnboundedReceiver<Doubt>,
    mut link: watch::Receiver<LinkState>,
    stop: CancellationToken,
) {
    let mut looks = interval(LOOK);
    looks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut running = JoinSet::new();
    let mut link_alive = true;
    let mut last_link = *link.borrow();
    loop {
        tokio::select! {
            () = stop.cancelled() => return,
            Some(doubt) = behind.recv(), if running.len() < AT_ONCE => {
                if let Some(domain) = realms.domain(doubt.entry.namespace.name()) {
                    running.spawn(async move { repair(&domain, &doubt.entry).await });
                }
            }
            Some(_) = running.join_next() => {}
            _ = looks.tick() => {
                // As it is before: what is lost from now on is for another look to find.
                let state = *link.borrow();
                if state != last_link {
                    // Before any offset proves anything again.
                    doubt_all(&hub);
                    last_link = state;
                }
                if look(&realms, &streams, &hub).await {
                    streams.looked(state);
                } else {
                    looks.reset_after(LOOK_SOON);
                }
            }
            changed = link.changed(), if link_alive => {
                link_alive = changed.is_ok();
                if matches!(*link.borrow_and_update(), LinkState::Connected { .. }) {
                    looks.reset_immediately();
                }
            }
        }
    }
}

/// Whoever is here lived through a loss of the link.
fn doubt_all(hub: &Hub) {
    let sockets = hub.namespaces().into_iter().flat_map(|namespace| namespace.sockets(&Targets::everyone()));
    sockets.filter_map(|socket| Recoverable::of(&socket).map(Recoverable::doubt)).for_each(drop);
}

/// Compares all streams with their logs. False when the store did not answer.
async fn look(realms: &Realms, streams: &Streams, hub: &Hub) -> bool {
    let mut by_realm: BTreeMap<String, Vec<(Arc<Entry>, Position)>> = BTreeMap::new();
    for (entry, at) in streams.tidy(hub) {
        by_realm.entry(realms.realm_of(entry.namespace.name()).to_owned()).or_default().push((entry, at));
    }
    for entries in by_realm.values() {
        let domain = entries.first().and_then(|(entry, _)| realms.domain(entry.namespace.name()));
        let Some(domain) = domain else { continue };
        for some in entries.chunks(LOOK_AT) {
            let conversations: Vec<String> = some.iter().map(|(entry, _)| entry.conversation.to_string()).collect();
            match domain.store.log.ends(&conversations).await {
                Ok(ends) => {
                    for ((entry, before), end) in some.iter().zip(ends) {
                        streams.look(entry, before, &Position::new(end.epoch, end.seq));
                    }
                }
                Err(error) => {
                    tracing::debug!(error = %Chain(&error), "could not look whether messages are missing");
                    return false;
                }
            }
        }
    }
    true
}

/// Reads on from where a stream stands until nothing is missing.
async fn repair(domain: &Domain, entry: &Entry) {
    let mut fruitless = 0;
    loop {
        let Some(at) = entry.repairing(|repairing| repairing.stream.ask_page()) else { return };
        let Ok(page) = domain.read_after(&entry.conversation, at.seq).await else {
            tokio::time::sleep(RETRY).await;
            continue;
        };
        domain.streams.read_up_to(page.entries.last().and_then(|entry| entry.stamp.as_ref()));
        let heard = |of| domain.heard(entry.namespace.name(), &entry.room, &entry.conversation, of);
        let done = entry.repairing(|repairing| {
            let (next, newest) = (with_head(&page, |head| repairing.stream.begin_page(head)), page.seq);
            if let Repair::Reset(told) | Repair::Restart(told) = &next {
                let event = domain.words(entry.namespace.name(), reset(&entry.conversation, &told.to, told.reason));
                repairing.tell(told, event);
                metrics::conversation_reset();
            }
            if matches!(next, Repair::Restart(_)) {
                return false;
            }
            for found in page.entries {
                if repairing.stream.position().is_some_and(|at| at.seq < found.seq) {
                    metrics::message_repaired();
                    repairing.deliver(found.seq, heard(found));
                }
            }
            let last = page.epoch.is_empty() || repairing.stream.position().is_some_and(|at| at.seq >= newest);
            match repairing.stream.end_page(last) {
                Some(held) => {
                    repairing.release(held);
                    true
                }
                None => false,
            }
        });
        if done {
            return;
        }
        let moved = entry.repairing(|repairing| repairing.stream.position() != Some(&at));
        fruitless = if moved { 0 } else { fruitless + 1 };
        if fruitless == FRUITLESS {
            tracing::warn!(conversation = &*entry.conversation, "dropped live messages that are in no log");
            return entry.repairing(|repairing| repairing.stream.give_up());
        }
        if !moved {
            tokio::time::sleep(RETRY / 10 * fruitless).await;
        }
    }
}
