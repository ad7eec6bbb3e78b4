//! What waits for users who have no device connected: direct messages and notifications.

use std::{sync::Arc, time::Duration};

use serde::{Deserialize, Serialize};
use trunkline_hub::Targets;
use trunkline_protocol::{
    Code, Failure, ids, limits,
    native::{Message, Missed, MissedItem, Notification, NotificationSend, NotificationSent, Stored},
};
use trunkline_store::{
    Appended, AppendedFor, InboxItem, Keep, NewEntry, Publication, Receipt, StoreError, Waiting, parse_message_id,
};

use super::{Caller, Chain, Domain, Effect, Session, internal, store_failure, user_room};
use crate::{
    config::Notify,
    time::{iso, now_ms},
};

/// Attempts to put a message that is stored already into its recipient's inbox, and the pause between two.
const ATTEMPTS: u32 = 5;
const PAUSE: Duration = Duration::from_secs(1);

/// Says what kind of thing an item of an inbox is.
#[derive(Deserialize)]
struct Tag {
    kind: Tagged,
}

#[derive(Deserialize)]
#[serde(rename_all = "snake_case")]
enum Tagged {
    Message,
    Notification,
}

/// What is read back as a [`MissedItem`]: the same without a copy of the message.
#[derive(Serialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
enum Waits<'a> {
    Message(&'a Message),
}

impl Domain {
    /// Appends a direct message, and puts it where its recipient finds it if they have no device connected. It is in the log
    /// in any case: an inbox that can't be reached is tried again, and costs no more than the hint that it is there.
    pub(super) async fn append_for(
        self: &Arc<Self>,
        recipient: &str,
        message: &Message,
        entry: NewEntry,
        publications: &[Publication],
    ) -> Result<Appended, StoreError> {
        let Ok(body) = serde_json::to_string(&Waits::Message(message)) else {
            return self.store.log.append(entry, publications).await;
        };
        let waiting = Waiting { user: recipient, body: &body };
        let AppendedFor { appended, owed } = self.store.log.append_for(entry, publications, &waiting).await?;
        if owed {
            self.push_later(recipient.to_owned(), InboxItem { id: appended.message_id.clone(), body });
        }
        Ok(appended)
    }

    fn push_later(self: &Arc<Self>, recipient: String, item: InboxItem) {
        let domain = Arc::clone(self);
        self.tasks.spawn(async move {
            for _ in 1..ATTEMPTS {
                if !domain.wait(PAUSE).await
                    || domain.store.inbox.push(&recipient, &item, Keep::IfOffline).await.is_ok()
                {
                    return;
                }
            }
            tracing::warn!(message = item.id, "could not put a message into its recipient's inbox; it is in the log");
        });
    }

    /// Sends a notification to a user: to all devices, or to their inbox when there is none.
    ///
    /// # Errors
    /// `forbidden` for users who may notify only themselves; `invalid`, `too_large`, `unavailable`.
    pub async fn notify(&self, caller: Caller<'_>, ask: NotificationSend) -> Result<NotificationSent, Failure> {
        let permitted = match self.policy.notify {
            Notify::All => true,
            Notify::Permitted => caller.socket().and_then(Session::of).is_some_and(|session| session.identity.notifies),
            Notify::Nobody => false,
        };
        if !permitted && ask.user_id != caller.id() {
            return Err(Failure::forbidden("this user may not send notifications to others"));
        }
        self.notify_as(Some(caller.id()), ask).await
    }

    /// Sends a notification for a back end, which may.
    ///
    /// # Errors
    /// As [`Domain::notify`], but for `forbidden`.
    pub async fn notify_as(&self, sender: Option<&str>, ask: NotificationSend) -> Result<NotificationSent, Failure> {
        ids::check_user("userId", &ask.user_id)?;
        for (field, text) in [("title", &ask.title), ("message", &ask.message)] {
            if text.chars().count() > limits::CONTENT_CHARS {
                let text = format!("{field} is longer than {} characters", limits::CONTENT_CHARS);
                return Err(Failure::new(Code::TooLarge, text));
            }
        }
        if ask.data.as_ref().is_some_and(|data| data.get().len() > limits::DATA_BYTES) {
            return Err(Failure::new(Code::TooLarge, format!("data is longer than {} bytes", limits::DATA_BYTES)));
        }
        let kind = ask.kind.unwrap_or_else(|| "info".to_owned());
        ids::check("type", &kind)?;
        let notification = Notification {
            id: format!("{:016x}{:016x}", rand::random::<u64>(), rand::random::<u64>()),
            sender_id: sender.map(str::to_owned),
            kind,
            title: ask.title,
            message: ask.message,
            data: ask.data,
            timestamp: iso(now_ms()),
        };
        let id = notification.id.clone();
        let item = MissedItem::Notification(notification);
        let body = serde_json::to_string(&item).map_err(|_| internal())?;
        // Kept first: a user who connects in between finds it there.
        let kept = InboxItem { id: id.clone(), body };
        self.store.inbox.push(&ask.user_id, &kept, Keep::IfOffline).await.map_err(|error| store_failure(&error))?;
        if let MissedItem::Notification(notification) = &item {
            self.announce(Effect::Notification(notification), &Targets::room(user_room(&ask.user_id)), false);
        }
        Ok(NotificationSent { id })
    }

    /// What arrived for the caller while they had no device connected, the oldest first. It stays until
    /// [`took`](Self::took) is told.
    ///
    /// # Errors
    /// The store is away.
    pub async fn missed(&self, caller: Caller<'_>, limit: Option<usize>) -> Result<Missed, Failure> {
        let limit = limit.unwrap_or(limits::PAGE).clamp(1, limits::PAGE_MAX);
        let page = self.store.inbox.pending(caller.id(), limit).await.map_err(|error| store_failure(&error))?;
        let messages = page.items.iter().filter_map(read).collect();
        Ok(Missed { messages, complete: page.complete })
    }

    /// These items are out: they need not be kept any more, and senders hear that their messages were delivered.
    pub async fn took(&self, caller: Caller<'_>, missed: &Missed) {
        let id = |item: &MissedItem| match item {
            MissedItem::Message(message) => message.stored.as_ref().map(|stored| stored.id.clone()),
            MissedItem::Notification(notification) => Some(notification.id.clone()),
        };
        let ids: Vec<_> = missed.messages.iter().filter_map(id).collect();
        if ids.is_empty() {
            return;
        }
        if let Err(error) = self.store.inbox.acknowledge(caller.id(), &ids).await {
            // They come again, and their ids tell that they do.
            tracing::warn!(error = %Chain(&error), "could not empty an inbox");
            return;
        }
        for id in &ids {
            if let Some((conversation, _, seq)) = parse_message_id(id)
                && self.mark(caller, conversation, Receipt::Delivered, seq).await.is_ok()
                && let Some(sender) = super::others_of_direct(caller.id(), conversation)
            {
                let effect = Effect::Delivered { conversation, seq, user: caller.id() };
                self.announce(effect, &Targets::room(user_room(&sender)), false);
            }
        }
    }
}

/// An item as it was put in.
fn read(item: &InboxItem) -> Option<MissedItem> {
    let read = || -> serde_json::Result<MissedItem> {
        Ok(match serde_json::from_str::<Tag>(&item.body)?.kind {
            Tagged::Message => MissedItem::Message(placed(item, serde_json::from_str(&item.body)?)),
            Tagged::Notification => MissedItem::Notification(serde_json::from_str(&item.body)?),
        })
    };
    read().inspect_err(|error| tracing::error!(%error, id = item.id, "an item of an inbox is unreadable")).ok()
}

/// The store names the item after the place that it gave the message.
fn placed(item: &InboxItem, message: Box<Message>) -> Box<Message> {
    let stored = parse_message_id(&item.id);
    let stored = stored.map(|(_, epoch, seq)| Stored { id: item.id.clone(), seq, epoch: epoch.to_owned() });
    Box::new(Message { stored, ..*message })
}

// The tag is read here and written by the protocol's type: they must agree.
#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_kept_is_read_back() {
        let notification = Notification {
            id: "n".into(),
            sender_id: None,
            kind: "info".into(),
            title: "t".into(),
            message: "m".into(),
            data: serde_json::value::to_raw_value(&[1, 2]).ok(),
            timestamp: iso(0),
        };
        let body = serde_json::to_string(&MissedItem::Notification(notification)).unwrap();
        let item = read(&InboxItem { id: "n".into(), body: body.clone() }).unwrap();
        assert_eq!(serde_json::to_string(&item).unwrap(), body);
    }

    #[test]
    fn a_message_is_where_its_item_is_named_after() {
        let body = r#"{"kind":"message","conversationId":"dm:a:b","senderId":"a","content":"hi","type":"text","timestamp":"t"}"#;
        let item = InboxItem { id: "dm:a:b:0af3:7".into(), body: body.into() };
        let Some(MissedItem::Message(message)) = read(&item) else { panic!("not read as a message") };
        let stored = Stored { id: item.id, seq: 7, epoch: "0af3".into() };
        assert_eq!((message.stored, message.content.content.as_str()), (Some(stored), "hi"));
    }
}
