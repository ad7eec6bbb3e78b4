//! What should be subscribed to, and how far that has come.

use std::sync::Arc;

use ahash::AHashMap;

use super::session::Refusal;
use crate::error::{Error, Result};

/// The kinds of subscription, each with names of its own.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::pubsub) enum Sort {
    Channel,
    Pattern,
    Sharded,
}

/// What should be subscribed to. Changed at the call; the task makes it so.
#[derive(Default)]
pub(super) struct Wanted {
    channels: AHashMap<Arc<str>, Standing>,
    patterns: AHashMap<Arc<str>, Standing>,
    sharded: AHashMap<Arc<str>, Standing>,
}

/// How far it has come with a name.
pub(super) enum Standing {
    /// Never confirmed yet.
    New,
    /// Confirmed, now or on a connection before.
    Confirmed,
    /// Refused when it was new, and whoever asked does not know yet.
    Refused(Error),
}

impl Wanted {
    pub(super) fn of(&mut self, sort: Sort) -> &mut AHashMap<Arc<str>, Standing> {
        match sort {
            Sort::Channel => &mut self.channels,
            Sort::Pattern => &mut self.patterns,
            Sort::Sharded => &mut self.sharded,
        }
    }

    pub(super) fn add(&mut self, sort: Sort, name: &Arc<str>) {
        let standing = self.of(sort).entry(Arc::clone(name)).or_insert(Standing::New);
        if matches!(standing, Standing::Refused(_)) {
            *standing = Standing::New;
        }
    }

    /// Those to subscribe to.
    pub(super) fn names(&mut self, sort: Sort) -> Vec<Arc<str>> {
        let wanted = self.of(sort).iter().filter(|(_, standing)| !matches!(standing, Standing::Refused(_)));
        wanted.map(|(name, _)| Arc::clone(name)).collect()
    }

    /// Takes note of what Redis answered to `asked`. A name that was confirmed before is still wanted: that it is refused now
    /// is an error.
    pub(super) fn answered(&mut self, sort: Sort, asked: &[Arc<str>], refused: Vec<Refusal>) -> Result<()> {
        let names = self.of(sort);
        let mut outcome = Ok(());
        for (name, error) in refused {
            match names.get_mut(&name) {
                Some(Standing::Confirmed) => outcome = Err(error),
                Some(standing) => {
                    tracing::warn!(channel = &*name, cause = %error.cause(), "not allowed to subscribe");
                    *standing = Standing::Refused(error);
                }
                None => {}
            }
        }
        for name in asked {
            if let Some(standing @ Standing::New) = names.get_mut(name) {
                *standing = Standing::Confirmed;
            }
        }
        outcome
    }

    /// What was said to the first of `names` that was refused.
    pub(super) fn refusal(&mut self, sort: Sort, names: &[Arc<str>]) -> Option<Error> {
        let known = self.of(sort);
        names.iter().find_map(|name| match known.get(name) {
            Some(Standing::Refused(error)) => Some(error.clone()),
            _ => None,
        })
    }

    /// Those that asked know by now.
    pub(super) fn forget_refused(&mut self, sort: Sort, names: &[Arc<str>]) {
        let known = self.of(sort);
        for name in names {
            if let Some(Standing::Refused(_)) = known.get(name) {
                known.remove(name);
            }
        }
    }
}
