//! Many commands in one round trip per node.

use std::sync::Arc;

use futures_util::future::join_all;
use redis::{Cmd, Value};
use tokio::time::{Instant, sleep, timeout_at};

use super::{Again, Commands, Route};
use crate::{
    dial::Link,
    error::{Error, Meaning, Result, timed_out},
    limits::RETRY_PAUSE,
    node::Node,
    slots::slot_of,
};

pub(super) async fn run(commands: &Commands, batch: &[Cmd], deadline: Instant) -> Vec<Result<Value>> {
    let mut answers: Vec<Option<Result<Value>>> = batch.iter().map(|_| None).collect();
    // In order throughout, so that what is offered again keeps its place among those of its slot.
    let mut waiting: Vec<usize> = (0..batch.len()).collect();
    let mut last = None;
    while !waiting.is_empty() && Instant::now() < deadline {
        let round = send_all(commands, batch, &waiting, deadline).await;
        let mut still = Vec::new();
        for (position, outcome) in round {
            match outcome {
                Outcome::Answer(answer) => set(&mut answers, position, answer),
                Outcome::NotYet(error) => {
                    last = Some(error);
                    still.push(position);
                }
                Outcome::Ask => {
                    let Some(command) = batch.get(position) else { continue };
                    let answer = commands.dispatch(command, slot_of(command), Again::Never, deadline).await;
                    set(&mut answers, position, answer);
                }
            }
        }
        still.sort_unstable();
        waiting = still;
        if !waiting.is_empty() {
            commands.doubt();
            sleep(RETRY_PAUSE).await;
        }
    }
    let late = last.unwrap_or_else(|| Error::unreachable("redis", timed_out()));
    answers.into_iter().map(|answer| answer.unwrap_or_else(|| Err(late.clone()))).collect()
}

fn set(answers: &mut [Option<Result<Value>>], position: usize, answer: Result<Value>) {
    if let Some(place) = answers.get_mut(position) {
        *place = Some(answer);
    }
}

enum Outcome {
    Answer(Result<Value>),
    /// Not carried out.
    NotYet(Error),
    /// Not carried out: its slot is being moved, and the way has to be asked for it alone.
    Ask,
}

/// Each command of `waiting` once.
async fn send_all(commands: &Commands, batch: &[Cmd], waiting: &[usize], deadline: Instant) -> Vec<(usize, Outcome)> {
    let groups = match &commands.0.route {
        Route::Server(node) | Route::Master(node) => return send_group(commands, node, batch, waiting, deadline).await,
        Route::Cluster(cluster) => {
            let mut groups: Vec<(Arc<Node>, Vec<usize>)> = Vec::new();
            for position in waiting {
                let slot = batch.get(*position).and_then(slot_of);
                let found = timeout_at(deadline, cluster.node_of(slot)).await;
                match found.unwrap_or_else(|_| Err(Error::unreachable("the cluster", timed_out()))) {
                    Ok(node) => match groups.iter_mut().find(|(known, _)| Arc::ptr_eq(known, &node)) {
                        Some((_, positions)) => positions.push(*position),
                        None => groups.push((node, vec![*position])),
                    },
                    Err(error) => return waiting.iter().map(|p| (*p, Outcome::NotYet(error.clone()))).collect(),
                }
            }
            groups
        }
    };
    let sent = groups.iter().map(|(node, positions)| send_group(commands, node, batch, positions, deadline));
    join_all(sent).await.into_iter().flatten().collect()
}

async fn send_group(
    commands: &Commands,
    node: &Node,
    batch: &[Cmd],
    positions: &[usize],
    deadline: Instant,
) -> Vec<(usize, Outcome)> {
    let all = |outcome: &dyn Fn() -> Outcome| positions.iter().map(|position| (*position, outcome())).collect();
    let link = match timeout_at(deadline, node.link()).await {
        Ok(Ok(link)) => link,
        Ok(Err(error)) if commands.waits_for(&error) => return all(&|| Outcome::NotYet(error.clone())),
        Ok(Err(error)) => return all(&|| Outcome::Answer(Err(error.clone()))),
        Err(_) => return all(&|| Outcome::NotYet(Error::unreachable("redis", timed_out()))),
    };
    let mut pipeline = redis::Pipeline::with_capacity(positions.len());
    for command in positions.iter().filter_map(|position| batch.get(*position)) {
        pipeline.add_command(command.clone());
    }
    let mut connection = link.commands();
    let sent = timeout_at(deadline, connection.send_packed_commands(&pipeline, 0, positions.len())).await;
    match sent.unwrap_or_else(|_| Err(timed_out())) {
        Ok(values) => {
            positions.iter().zip(values).map(|(position, value)| (*position, outcome(commands, &link, value))).collect()
        }
        Err(error) => {
            if Meaning::of(&error) == Meaning::Lost {
                commands.lost(&link);
            }
            all(&|| Outcome::Answer(Err(Error::answered(link.address(), error.clone()))))
        }
    }
}

fn outcome(commands: &Commands, link: &Link, value: Value) -> Outcome {
    let error = match value.extract_error() {
        Ok(value) => return Outcome::Answer(Ok(value)),
        Err(error) => error,
    };
    let meaning = Meaning::of(&error);
    let error = Error::answered(link.address(), error);
    match meaning {
        Meaning::NotMaster => {
            commands.lost(link);
            Outcome::NotYet(error)
        }
        Meaning::Ask => Outcome::Ask,
        Meaning::Moved | Meaning::Later => Outcome::NotYet(error),
        Meaning::Lost | Meaning::Shape | Meaning::Full | Meaning::No => Outcome::Answer(Err(error)),
    }
}
