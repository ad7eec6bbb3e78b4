//! How far messages have come: delivered to a device, read.

use trunkline_hub::Targets;
use trunkline_protocol::{
    Failure, ids,
    native::{DeliveryStatus, MessageStatus},
};
use trunkline_store::{Kind, Receipt};

use super::{
    Caller, Domain, Effect,
    revisions::{Named, named, no_message},
    store_failure, user_room,
};
use crate::time::now_ms;

impl Domain {
    /// Everything up to `seq` is on a device of the caller's. The sender of that entry hears of it.
    ///
    /// # Errors
    /// `forbidden`, `invalid`, `not_found` when there is no such entry, or `unavailable`.
    pub async fn delivered(&self, caller: Caller<'_>, conversation: &str, seq: u64) -> Result<(), Failure> {
        caller.may_enter(conversation)?;
        let entry = self.entry(conversation, seq).await?.ok_or_else(no_message)?;
        self.mark(caller, conversation, Receipt::Delivered, seq).await?;
        if entry.sender != caller.id() {
            let effect = Effect::Delivered { conversation, seq, user: caller.id() };
            self.announce(effect, &Targets::room(user_room(&entry.sender)), false);
        }
        Ok(())
    }

    /// The caller has read a message, and all before it. Its sender hears of it: whom the log names, whatever a client
    /// believes.
    ///
    /// # Errors
    /// As [`Domain::delivered`].
    pub async fn read(
        &self,
        caller: Caller<'_>,
        message_id: &str,
        conversation_id: Option<&str>,
    ) -> Result<(), Failure> {
        let Named { conversation, position } = named(message_id)?;
        if conversation_id.is_some_and(|id| id != conversation) {
            return Err(no_message());
        }
        caller.may_enter(conversation)?;
        let entry = self.entry(conversation, position.seq).await?;
        let entry = entry.filter(|entry| entry.message_id == message_id).ok_or_else(no_message)?;
        self.mark(caller, conversation, Receipt::Read, position.seq).await?;
        if entry.sender != caller.id() {
            let effect = Effect::Read { conversation, message_id, reader: caller.id(), at_ms: now_ms() };
            self.announce(effect, &Targets::room(user_room(&entry.sender)), false);
        }
        Ok(())
    }

    pub(super) async fn mark(
        &self,
        caller: Caller<'_>,
        conversation: &str,
        receipt: Receipt,
        seq: u64,
    ) -> Result<(), Failure> {
        let marked = self.store.receipts.mark(conversation, caller.id(), receipt, seq).await;
        marked.map(|_| ()).map_err(|error| store_failure(&error))
    }

    /// Who has a message, and who has read it; up to the largest number that the store answers at once.
    ///
    /// # Errors
    /// As [`Domain::delivered`].
    pub async fn status(
        &self,
        caller: Caller<'_>,
        conversation: &str,
        message_id: &str,
    ) -> Result<MessageStatus, Failure> {
        ids::check("conversationId", conversation)?;
        caller.may_enter(conversation)?;
        let Named { conversation: home, position } = named(message_id)?;
        if home != conversation {
            return Err(no_message());
        }
        let (entry, seen) =
            tokio::join!(self.entry(conversation, position.seq), self.store.receipts.seen(conversation, position.seq));
        let is_it = |entry: &trunkline_store::Entry| entry.message_id == message_id && entry.kind == Kind::Message;
        let entry = entry?.filter(is_it).ok_or_else(no_message)?;
        let seen = seen.map_err(|error| store_failure(&error))?;
        // What somebody wrote they have and know.
        let others = |users: Vec<String>| users.into_iter().filter(|user| *user != entry.sender).collect::<Vec<_>>();
        let (delivered_to, read_by) = (others(seen.delivered_to), others(seen.read_by));
        let status = match (read_by.is_empty(), delivered_to.is_empty()) {
            (false, _) => DeliveryStatus::Read,
            (true, false) => DeliveryStatus::Delivered,
            (true, true) => DeliveryStatus::Sent,
        };
        Ok(MessageStatus { status, delivered_to, read_by })
    }
}
