//! Who is in which room, in Redis.
//!
//! A room and a node's list of its rooms lie in different slots. Both are written at once; if only one of the two is
//! reached, the caller hears of it and the node makes up for it with a later heartbeat (see `RedisNodes::vacate`). Should
//! it crash before that, a seat may stay behind that no list names: it counts for nobody, since its node is dead.

use super::nodes::{Vacated, lease_ms};
use super::presence::RedisPresence;
use super::scripts::{ENTER, SEAT};
use crate::keys::{self, BUCKETS, Seat};
use crate::{Joined, MAX_USERS, Member, MembersPage, Result, StoreError};

/// Seats read at once. More than users on a page, since users may have several.
const SEATS_PER_READ: usize = 2 * MAX_USERS;

/// What cursors start with, so that those of other stores are recognised.
const CURSOR_PREFIX: &str = "r:";

/// Takes a seat, and answers whether the user had none, and the first `read` seats of the room.
pub(super) async fn enter(
    presence: &RedisPresence,
    room: &str,
    user: &str,
    socket: &str,
    read: usize,
) -> Result<(bool, Vec<String>)> {
    let (link, nodes) = (&presence.link, &presence.nodes);
    let seat = vacated(presence, room, user, socket);
    let _not_settling = nodes.settling.read().await;
    nodes.occupy(&seat);
    let mut noted = ENTER.key(keys::bucket_leases(keys::bucket(room)));
    noted.key(&seat.node_rooms).arg(nodes.instance()).arg(lease_ms()).arg(&seat.entry);
    let mut seated = SEAT.key(&seat.room);
    seated.arg(&seat.seat).arg(read);
    seated.arg(format!("[{}", Seat::first_of(user))).arg(format!("({}", Seat::after(user)));
    let outcome = tokio::try_join!(link.script::<bool>(&noted), link.script::<(bool, Vec<String>)>(&seated));
    match outcome {
        Ok((held, seated)) => {
            nodes.note_lease(held);
            Ok(seated)
        }
        Err(error) => {
            // Perhaps one half took place.
            nodes.owe(seat);
            Err(error)
        }
    }
}

pub(super) async fn join(
    presence: &RedisPresence,
    room: &str,
    user: &str,
    socket: &str,
    guard: &[String],
) -> Result<Joined> {
    let others: Vec<&String> = guard.iter().filter(|name| *name != socket).collect();
    let (seats, taken) =
        tokio::join!(enter(presence, room, user, socket, SEATS_PER_READ + 1), any_socket(presence, &others),);
    let (_, seats) = seats?;
    let joined = match taken {
        Ok(false) => page(presence, room, seats, MAX_USERS).await.map(Joined::In),
        Ok(true) => Ok(Joined::NameTaken),
        Err(error) => Err(error),
    };
    match &joined {
        Ok(Joined::In(_)) => {}
        // What fails here is made up for later.
        Ok(Joined::NameTaken) => drop(leave(presence, room, user, socket).await),
        Err(_) => presence.nodes.owe(vacated(presence, room, user, socket)),
    }
    joined
}

pub(super) async fn leave(presence: &RedisPresence, room: &str, user: &str, socket: &str) -> Result<()> {
    presence.nodes.vacate(vacated(presence, room, user, socket)).await
}

pub(super) async fn any_socket(presence: &RedisPresence, names: &[&String]) -> Result<bool> {
    if names.is_empty() {
        return Ok(false);
    }
    let scoped: Vec<String> = names.iter().map(|name| presence.realm.scoped(name)).collect();
    let ask = |bucket| {
        let mut command = redis::cmd("HMGET");
        command.arg(keys::socket_names(bucket)).arg(&scoped);
        command
    };
    let answers = presence.link.batch(&(0..BUCKETS).map(ask).collect::<Vec<_>>()).await?;
    let are_there = |answer| {
        redis::from_redis_value(answer)
            .map_err(|error| StoreError::corrupt(format!("whether sockets are there: {error}")))
    };
    let in_buckets: Vec<Vec<Option<u64>>> = answers.into_iter().map(are_there).collect::<Result<_>>()?;
    Ok(in_buckets.into_iter().flatten().any(|count| count.is_some()))
}

pub(super) async fn members(
    presence: &RedisPresence,
    room: &str,
    limit: usize,
    cursor: Option<&str>,
) -> Result<MembersPage> {
    let after = cursor.map(|cursor| cursor.strip_prefix(CURSOR_PREFIX).ok_or(StoreError::InvalidCursor));
    let start = after.transpose()?.map_or_else(|| "-".to_owned(), |user| format!("[{}", Seat::after(user)));
    let mut command = redis::cmd("ZRANGEBYLEX");
    command.arg(presence.realm.room(room)).arg(start).arg("+").arg("LIMIT").arg(0).arg(SEATS_PER_READ + 1);
    let seats = presence.link.command(&command).await?;
    page(presence, room, seats, limit.clamp(1, MAX_USERS)).await
}

/// A page from the next seats, one more than [`SEATS_PER_READ`] if there are so many.
async fn page(presence: &RedisPresence, room: &str, seats: Vec<String>, limit: usize) -> Result<MembersPage> {
    let more_seats = seats.len() > SEATS_PER_READ;
    let seat =
        |text: &String| Seat::parse(text).ok_or_else(|| StoreError::corrupt(format!("seat {text:?} in room {room:?}")));
    let seats: Vec<Seat> = seats.iter().map(seat).collect::<Result<_>>()?;
    let dead = presence.nodes.dead_among(seats.iter().map(|seat| seat.instance.as_str()).collect()).await?;

    // By user, with everybody whose seats were read, also if none of them counts.
    let mut members: Vec<Member> = Vec::new();
    for seat in seats {
        let counts = u32::from(!dead.contains(&seat.instance));
        match members.last_mut().filter(|member| member.user_id == seat.user) {
            Some(member) => member.sockets += counts,
            None => members.push(Member { user_id: seat.user, sockets: counts }),
        }
    }
    if more_seats {
        finish_last(presence, room, &mut members).await?;
    }
    let more = more_seats || members.len() > limit;
    members.truncate(limit);
    let cursor = members.last().filter(|_| more).map(|last| format!("{CURSOR_PREFIX}{}", last.user_id));
    members.retain(|member| member.sockets > 0);
    Ok(MembersPage { members, cursor })
}

/// The last user may have more seats than were read. They come with the next page, unless they alone fill this one: then
/// they are counted, those of dead nodes too until the sweep.
async fn finish_last(presence: &RedisPresence, room: &str, members: &mut Vec<Member>) -> Result<()> {
    if members.len() > 1 {
        members.pop();
        return Ok(());
    }
    let Some(member) = members.first_mut() else { return Ok(()) };
    let mut count = redis::cmd("ZLEXCOUNT");
    count.arg(presence.realm.room(room)).arg(format!("[{}", Seat::first_of(&member.user_id)));
    member.sockets = presence.link.command(count.arg(format!("({}", Seat::after(&member.user_id)))).await?;
    Ok(())
}

fn vacated(presence: &RedisPresence, room: &str, user: &str, socket: &str) -> Vacated {
    let instance = presence.nodes.instance();
    let seat = Seat { user: user.to_owned(), instance: instance.to_owned(), socket: socket.to_owned() };
    Vacated {
        room: presence.realm.room(room),
        seat: seat.to_text(),
        node_rooms: keys::node_rooms(keys::bucket(room), instance),
        entry: keys::node_room(user, socket, &presence.realm.scoped(room)),
    }
}
