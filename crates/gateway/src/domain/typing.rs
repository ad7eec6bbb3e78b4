//! Typing: heard by the others, never stored, and it stops by itself.

use std::{sync::Arc, time::Duration};

use tokio::time::Instant;
use trunkline_hub::{Socket, Targets};
use trunkline_protocol::{Code, Failure, ids, limits};

use super::{Caller, Domain, Effect, Session, others_of_direct, user_room};

/// Conversations that one socket can be typing in at once.
const PLACES: usize = 32;

/// Where a socket is typing, and until when that holds unless it says so again.
#[derive(Debug, Default)]
pub(super) struct Typing(Vec<Place>);

#[derive(Debug)]
struct Place {
    conversation: String,
    /// For a direct conversation: to whom.
    recipient: Option<String>,
    until: Instant,
}

impl Place {
    fn hearers(&self, socket: &Socket) -> Targets {
        let targets = match &self.recipient {
            Some(recipient) => Targets::room(user_room(recipient)),
            None => Targets::room(&*self.conversation),
        };
        targets.except(socket.id().room())
    }
}

impl Domain {
    /// The user behind `socket` types in a conversation, or to `recipient`; or stopped.
    ///
    /// # Errors
    /// `forbidden`, `invalid`, or `too_large` when typing in too many places.
    pub async fn typing(
        self: &Arc<Self>,
        socket: &Socket,
        conversation: Option<&str>,
        recipient: Option<&str>,
        started: bool,
    ) -> Result<(), Failure> {
        let caller = Caller::of(socket)?;
        let user = caller.id();
        let conversation = match (conversation, recipient) {
            (Some(conversation), _) => conversation.to_owned(),
            (None, Some(recipient)) => {
                ids::check_user("recipientUserId", recipient)?;
                ids::direct_conversation(user, recipient)
            }
            (None, None) => return Err(Failure::invalid("missing field `conversationId` or `recipientUserId`")),
        };
        self.may_address(caller, &conversation).await?;
        // In a direct conversation the other one hears it wherever they are, joined or not.
        let recipient = others_of_direct(user, &conversation);
        if started {
            let until = Instant::now() + Duration::from_millis(limits::TYPING_MS);
            let place = Place { conversation, recipient, until };
            self.say(socket, &place, true);
            self.keep_typing(socket, place)
        } else {
            let place = Session::of(socket).and_then(|session| self.forget_typing(session, &conversation));
            let place = place.unwrap_or(Place { conversation, recipient, until: Instant::now() });
            self.say(socket, &place, false);
            Ok(())
        }
    }

    /// The socket is gone: wherever it was typing, it stopped.
    pub(super) fn stop_typing(&self, socket: &Socket) {
        let Some(session) = Session::of(socket) else { return };
        let places = std::mem::take(&mut session.typing.lock().0);
        places.iter().for_each(|place| self.say(socket, place, false));
    }

    fn say(&self, socket: &Socket, place: &Place, started: bool) {
        let Some(session) = Session::of(socket) else { return };
        let (user, name) = (&session.identity.user, session.name());
        let effect = Effect::Typing { conversation: &place.conversation, user, name: name.as_deref(), started };
        self.announce(effect, &place.hearers(socket), true);
    }

    fn forget_typing(&self, session: &Session, conversation: &str) -> Option<Place> {
        let mut typing = session.typing.lock();
        let at = typing.0.iter().position(|place| place.conversation == conversation)?;
        Some(typing.0.swap_remove(at))
    }

    /// Notes where, and sees to it that it ends. One task per place, however often it is said again.
    fn keep_typing(self: &Arc<Self>, socket: &Socket, place: Place) -> Result<(), Failure> {
        let Some(session) = Session::of(socket) else { return Ok(()) };
        let conversation = place.conversation.clone();
        {
            let mut typing = session.typing.lock();
            if let Some(known) = typing.0.iter_mut().find(|known| known.conversation == conversation) {
                known.until = place.until;
                return Ok(());
            }
            if typing.0.len() >= PLACES {
                return Err(Failure::new(Code::TooLarge, format!("typing in more than {PLACES} conversations")));
            }
            typing.0.push(place);
        }
        let (domain, socket) = (Arc::clone(self), socket.clone());
        self.tasks.spawn(async move { domain.end_typing(&socket, &conversation).await });
        Ok(())
    }

    async fn end_typing(&self, socket: &Socket, conversation: &str) {
        let Some(session) = Session::of(socket) else { return };
        loop {
            let until = {
                let typing = session.typing.lock();
                typing.0.iter().find(|place| place.conversation == conversation).map(|place| place.until)
            };
            let Some(until) = until else { return };
            let left = until.saturating_duration_since(Instant::now());
            if left.is_zero() {
                if let Some(place) = self.forget_typing(session, conversation) {
                    self.say(socket, &place, false);
                }
                return;
            }
            if !self.wait(left).await {
                return;
            }
        }
    }
}
