//! Conversations: who is in them, and what was said before.

use std::sync::Arc;

use trunkline_hub::{RoomName, Socket, Targets};
use trunkline_protocol::{Code, Failure, limits, native};
use trunkline_store::{Joined, Member, ReadRange};

use super::{Caller, Domain, Effect, Session, effect, messages, session::store_id, store_failure, user_room};
use crate::{
    resume::{CatchUp, Position},
    time::now_ms,
};

impl Domain {
    /// Puts `socket` into a conversation and answers its latest messages, or those after a position.
    ///
    /// # Errors
    /// `forbidden`, `invalid`, or `unavailable`: then the socket is not in it.
    pub async fn join(&self, socket: &Socket, ask: &native::Join) -> Result<native::Joined, Failure> {
        let conversation = ask.conversation_id.as_str();
        let caller = Caller::of(socket)?;
        caller.may_enter(conversation)?;
        let user = caller.id();
        // In the room before the log is read, and what comes live waits until the answer is out. Whoever is in it already hears
        // it all along. And heard: what other nodes send there arrives.
        let reader = (!socket.is_in(conversation))
            .then(|| self.streams.read(socket, &caller.heard_by(conversation), conversation));
        let fresh = socket.join(conversation);
        let joined = match socket.namespace().heard(&[conversation.into()]).await {
            true => self.join_in_store(socket, user, ask).await,
            false => Err(Failure::new(Code::Unavailable, "the other nodes can't be heard now, try again")),
        };
        match &joined {
            Ok(_) if fresh => self.announce_member(socket, user, conversation, true),
            Err(_) if fresh => drop(socket.leave(conversation)),
            _ => {}
        }
        if let (Ok(joined), Some(reader), Some(session)) = (&joined, reader, Session::of(socket)) {
            session.answered(CatchUp::answered(reader, Position::new(joined.epoch.as_str(), joined.seq)));
        }
        joined
    }

    async fn join_in_store(&self, socket: &Socket, user: &str, ask: &native::Join) -> Result<native::Joined, Failure> {
        let conversation = ask.conversation_id.as_str();
        let (id, after) = (store_id(socket), ask.after.as_ref().map(|after| after.seq));
        let (joined, page, ()) = tokio::try_join!(
            self.store.presence.join(conversation, user, &id, &[]),
            self.store.log.read(conversation, range(after, None, ask.limit)),
            self.store.conversations.take_part(conversation, user),
        )
        .map_err(|error| store_failure(&error))?;
        let Joined::In(members) = joined else {
            return Err(Failure::forbidden("this name is another connection's"));
        };
        // A position in another log says nothing about this one; before the first message there was no log.
        let same_log = ask.after.as_ref().is_none_or(|after| {
            page.honours(&trunkline_store::Position { epoch: after.epoch.clone(), seq: after.seq })
        });
        let page = if same_log {
            page
        } else {
            let latest = self.store.log.read(conversation, range(None, None, ask.limit)).await;
            latest.map(|page| trunkline_store::LogPage { complete: false, ..page }).map_err(|e| store_failure(&e))?
        };
        Ok(native::Joined {
            conversation_id: conversation.to_owned(),
            messages: messages::from_entries(conversation, page.entries, &page.epoch),
            epoch: page.epoch,
            seq: page.seq,
            complete: page.complete,
            members: members.members.into_iter().map(member).collect(),
        })
    }

    /// Takes `socket` out of a conversation. Leaving one that it isn't in changes nothing.
    ///
    /// # Errors
    /// `invalid`.
    pub async fn leave_conversation(
        self: &Arc<Self>,
        socket: &Socket,
        conversation: &str,
    ) -> Result<native::Left, Failure> {
        let caller = Caller::of(socket)?;
        caller.may_enter(conversation)?;
        if socket.leave(conversation) {
            self.announce_member(socket, caller.id(), conversation, false);
            // Members are told by the event already; the list in the store may follow when the store is back.
            if let Err(error) = self.store.presence.leave(conversation, caller.id(), &store_id(socket)).await {
                let _ = store_failure(&error);
            }
        }
        Ok(native::Left { conversation_id: conversation.to_owned() })
    }

    /// The socket is gone: so it is from its conversations.
    pub async fn leave_all_conversations(&self, socket: &Socket) {
        self.stop_typing(socket);
        let Ok(caller) = Caller::of(socket) else { return };
        for room in conversations(socket, caller.id()) {
            self.announce_member(socket, caller.id(), &room, false);
            let _ = self.store.presence.leave(&room, caller.id(), &store_id(socket)).await;
        }
    }

    /// Tells the store once more which conversations a socket is in.
    pub(super) async fn enter_again(&self, socket: &Socket, user: &str) {
        for room in conversations(socket, user) {
            if let Err(error) = self.store.presence.enter(&room, user, &store_id(socket)).await {
                let _ = store_failure(&error);
                return;
            }
        }
    }

    pub(crate) fn announce_member(&self, socket: &Socket, user: &str, conversation: &str, joined: bool) {
        let name = Session::of(socket).and_then(Session::name);
        let member = effect::Member { conversation, user, socket: socket.id(), name: name.as_deref(), at_ms: now_ms() };
        let others = Targets::room(conversation).except(socket.id().room());
        self.announce(if joined { Effect::MemberJoined(member) } else { Effect::MemberLeft(member) }, &others, false);
    }

    /// Who is in a conversation, on all nodes.
    ///
    /// # Errors
    /// `forbidden`, `invalid`, or `unavailable`.
    pub async fn members(&self, caller: Caller<'_>, conversation: &str) -> Result<native::Members, Failure> {
        caller.may_enter(conversation)?;
        let members = self.store.presence.members(conversation, trunkline_store::MAX_USERS, None).await;
        let members = members.map_err(|error| store_failure(&error))?.members;
        Ok(native::Members { members: members.into_iter().map(member).collect() })
    }

    /// A page of what was said.
    ///
    /// # Errors
    /// `forbidden`, `invalid`, or `unavailable`.
    pub async fn history(&self, caller: Caller<'_>, ask: &native::History) -> Result<native::HistoryPage, Failure> {
        let conversation = ask.conversation_id.as_str();
        caller.may_enter(conversation)?;
        let page = self.store.log.read(conversation, range(ask.after, ask.before, ask.limit)).await;
        let page = page.map_err(|error| store_failure(&error))?;
        Ok(native::HistoryPage {
            messages: messages::from_entries(conversation, page.entries, &page.epoch),
            epoch: page.epoch,
            seq: page.seq,
            complete: page.complete,
        })
    }
}

/// The rooms of a socket that are conversations: all but its own and its user's.
fn conversations(socket: &Socket, user: &str) -> impl Iterator<Item = RoomName> {
    let own = [socket.id().room(), user_room(user)];
    socket.rooms().into_iter().filter(move |room| !own.contains(room))
}

fn range(after: Option<u64>, before: Option<u64>, limit: Option<usize>) -> ReadRange {
    ReadRange { after, before, limit: limit.unwrap_or(limits::PAGE).clamp(1, limits::PAGE_MAX) }
}

fn member(member: Member) -> native::Member {
    native::Member { user_id: member.user_id, sockets: member.sockets }
}
