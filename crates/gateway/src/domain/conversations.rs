//! Conversations: who is in them, and what was said before.

use std::sync::Arc;

use trunkline_hub::{RoomName, Socket, Targets};
use trunkline_protocol::{Failure, ids, limits, native};
use trunkline_store::{Joined, Listed, MAX_LISTED, Member, ReadRange};

use super::{
    Caller, Domain, Effect, Session, caller, effect,
    messages::{self, Contents},
    session::store_id,
    store_failure, unheard,
};
use crate::{
    resume::{CatchUp, Position, Seen},
    time::now_ms,
};

impl Domain {
    /// Puts `socket` into a conversation and answers its latest messages, or those after a position.
    ///
    /// # Errors
    /// `forbidden`, `invalid`, or `unavailable`: then the socket is not in it.
    pub async fn join(self: &Arc<Self>, socket: &Socket, ask: &native::Join) -> Result<native::Joined, Failure> {
        let conversation = ask.conversation_id.as_str();
        let caller = Caller::of(socket)?;
        caller.may_enter(conversation)?;
        let user = caller.id();
        // In the room before the log is read, and what comes live waits until the answer is out. Whoever is in it already hears
        // it all along. And heard: what other nodes send there arrives.
        let reader = (!socket.is_in(conversation))
            .then(|| self.streams.read(socket, &caller.heard_by(conversation), conversation));
        let fresh = socket.join(conversation);
        if fresh {
            self.note_joining(socket, conversation);
        }
        let joined = match socket.namespace().heard(&[conversation.into()]).await {
            true => self.join_in_store(socket, user, ask).await,
            false => Err(unheard()),
        };
        match &joined {
            Ok(_) if fresh => self.announce_member(socket, user, conversation, true),
            Err(_) if fresh => drop(socket.leave(conversation)),
            _ => {}
        }
        if let (Ok(joined), Some(reader), Some(session)) = (&joined, reader, Session::of(socket)) {
            let at = Position::new(joined.epoch.as_str(), joined.seq);
            self.note_seen(socket, conversation, Seen::At(at.clone()));
            session.answered(CatchUp::answered(reader, at));
        }
        joined
    }

    async fn join_in_store(&self, socket: &Socket, user: &str, ask: &native::Join) -> Result<native::Joined, Failure> {
        let conversation = ask.conversation_id.as_str();
        let (id, after) = (store_id(socket), ask.after.as_ref().map(|after| after.seq));
        let guard = self.socket_names(conversation);
        let (joined, page, (), ()) = tokio::try_join!(
            self.store.presence.join(conversation, user, &id, &guard),
            self.store.log.read(conversation, range(after, None, ask.limit)),
            self.store.conversations.take_part(conversation, user),
            self.session_is_written(socket),
        )
        .map_err(|error| store_failure(&error))?;
        let Joined::In(members) = joined else {
            return Err(caller::others_socket());
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
        let Contents { messages, changes } = Contents::read(conversation, page.entries);
        Ok(native::Joined {
            conversation_id: conversation.to_owned(),
            messages,
            changes,
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
            let id = store_id(socket);
            let left = self.store.presence.leave(conversation, caller.id(), &id);
            let (left, written) = tokio::join!(left, self.session_is_written(socket));
            for error in left.err().into_iter().chain(written.err()) {
                let _ = store_failure(&error);
            }
        }
        Ok(native::Left { conversation_id: conversation.to_owned() })
    }

    /// The socket is gone: so it is from its conversations.
    pub async fn leave_all_conversations(&self, socket: &Socket) {
        self.stop_typing(socket);
        let Ok(caller) = Caller::of(socket) else { return };
        if self.has_successor(socket).await {
            return;
        }
        for room in conversations(socket) {
            self.announce_member(socket, caller.id(), &room, false);
            let _ = self.store.presence.leave(&room, caller.id(), &store_id(socket)).await;
        }
    }

    /// Tells the store once more which conversations a socket is in. False when that is to be tried again.
    pub(super) async fn enter_again(&self, socket: &Socket, user: &str) -> bool {
        for room in conversations(socket) {
            if let Err(error) = self.store.presence.enter(&room, user, &store_id(socket)).await {
                return !store_failure(&error).code.retryable();
            }
        }
        true
    }

    /// Tells the others in a conversation, unless they are a crowd.
    pub(crate) fn announce_member(&self, socket: &Socket, user: &str, conversation: &str, joined: bool) {
        if !self.audience.tells_members(socket.namespace().members(conversation)) {
            return;
        }
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
        self.may_address(caller, conversation).await?;
        let members = self.store.presence.members(conversation, trunkline_store::MAX_USERS, None).await;
        let members = members.map_err(|error| store_failure(&error))?.members;
        Ok(native::Members { members: members.into_iter().map(member).collect() })
    }

    /// The conversations that the caller takes part in, the latest first.
    ///
    /// # Errors
    /// `invalid` for a cursor that isn't ours, or `unavailable`.
    pub async fn conversations(
        &self,
        caller: Caller<'_>,
        ask: &native::ConversationList,
    ) -> Result<native::ConversationPage, Failure> {
        let limit = ask.limit.unwrap_or(limits::PAGE).clamp(1, MAX_LISTED);
        let page = self.store.conversations.list(caller.id(), limit, ask.cursor.as_deref()).await;
        let page = page.map_err(|error| store_failure(&error))?;
        let summary = |listed: Listed| native::ConversationSummary {
            last_message: listed.last_message.and_then(|entry| messages::as_message(&listed.conversation, entry)),
            conversation_id: listed.conversation,
            unread: listed.unread,
        };
        Ok(native::ConversationPage {
            conversations: page.conversations.into_iter().map(summary).collect(),
            cursor: page.cursor,
        })
    }

    /// A page of what was said.
    ///
    /// # Errors
    /// `forbidden`, `invalid`, or `unavailable`.
    pub async fn history(&self, caller: Caller<'_>, ask: &native::History) -> Result<native::HistoryPage, Failure> {
        let conversation = ask.conversation_id.as_str();
        self.may_address(caller, conversation).await?;
        let page = self.store.log.read(conversation, range(ask.after, ask.before, ask.limit)).await;
        let page = page.map_err(|error| store_failure(&error))?;
        let Contents { messages, changes } = Contents::read(conversation, page.entries);
        Ok(native::HistoryPage { messages, changes, epoch: page.epoch, seq: page.seq, complete: page.complete })
    }
}

/// The rooms of a socket that are conversations.
fn conversations(socket: &Socket) -> impl Iterator<Item = RoomName> {
    let own = socket.id().room();
    socket.rooms().into_iter().filter(move |room| *room != own && ids::is_conversation(room))
}

fn range(after: Option<u64>, before: Option<u64>, limit: Option<usize>) -> ReadRange {
    ReadRange { after, before, limit: limit.unwrap_or(limits::PAGE).clamp(1, limits::PAGE_MAX) }
}

fn member(member: Member) -> native::Member {
    native::Member { user_id: member.user_id, sockets: member.sockets }
}
