//! What passes between clients and is not kept: signals that set up calls, and progress of uploads.

use trunkline_hub::Targets;
use trunkline_protocol::{
    Code, Failure, ids, limits,
    native::{CallSignal, UploadProgress},
};

use super::{Caller, Domain, Effect, user_room};

impl Domain {
    /// Passes a signal to all sockets of a user.
    ///
    /// # Errors
    /// `invalid` or `too_large`.
    pub fn signal(&self, caller: Caller<'_>, signal: &CallSignal) -> Result<(), Failure> {
        ids::check_user("userId", &signal.user_id)?;
        if signal.data.get().len() > limits::SIGNAL_BYTES {
            return Err(Failure::new(Code::TooLarge, format!("data is longer than {} bytes", limits::SIGNAL_BYTES)));
        }
        let targets = caller.others(Targets::room(user_room(&signal.user_id)));
        self.announce(Effect::Call { from: caller.id(), data: &signal.data }, &targets, false);
        Ok(())
    }

    /// Tells the others in a conversation how far an upload is. Volatile.
    ///
    /// # Errors
    /// `forbidden` or `invalid`.
    pub async fn upload_progress(&self, caller: Caller<'_>, progress: &UploadProgress) -> Result<(), Failure> {
        let UploadProgress { conversation_id: conversation, upload_id, file_name, percent } = progress;
        self.may_address(caller, conversation).await?;
        ids::check("uploadId", upload_id)?;
        ids::check("fileName", file_name)?;
        if !(0.0..=100.0).contains(percent) {
            return Err(Failure::invalid("percent must be from 0 to 100"));
        }
        let effect =
            Effect::Upload { conversation, user: caller.id(), upload: upload_id, file_name, percent: *percent };
        self.announce(effect, &caller.others(Targets::room(conversation.as_str())), true);
        Ok(())
    }
}
