//! Who the Sentinels say is master, followed as long as anybody wants to know.
//!
//! A master that is frozen or cut off does not know that it has been replaced, and takes writes that will be lost. So we
//! listen to what the Sentinels announce, instead of asking only after a loss. During a failover they don't all
//! know at the same moment: the newest configuration (`config-epoch`) counts.

use std::{collections::HashMap, sync::Arc};

use ahash::AHashMap;
use redis::{PushKind, RedisError};
use tokio::{
    sync::{Notify, watch},
    task::JoinSet,
    time::{sleep, timeout},
};

use crate::{
    backoff::Backoff,
    dial::{self, Link, OnPush},
    error::{Error, Result, timed_out},
    limits::{DEADLINE, DISCOVERY, PROBE},
    topology::{Access, Address},
};

/// What is published after a failover.
const ANNOUNCEMENT: &str = "+switch-master";

/// One connection to each Sentinel, held by tasks that end with this value.
pub(crate) struct Sentinels {
    known: watch::Receiver<Known>,
    _followers: JoinSet<()>,
}

/// What is known at the time.
#[derive(Debug, Default, Clone)]
struct Known {
    /// What each Sentinel that is there says. What one said that is gone does not count: if all are made anew, they
    /// begin with the first epoch again.
    said: AHashMap<Address, Said>,
    /// Why the last one that could not be asked could not.
    failed: Option<Error>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
struct Said {
    epoch: u64,
    master: Address,
}

impl Known {
    fn master(&self) -> Option<&Address> {
        self.said.values().max_by_key(|said| said.epoch).map(|said| &said.master)
    }
}

impl Sentinels {
    /// # Panics
    /// Outside of a Tokio runtime.
    pub(crate) fn follow(sentinels: &[Address], access: &Access, name: &str) -> Self {
        let (known, receiver) = watch::channel(Known::default());
        let known = Arc::new(known);
        let mut followers = JoinSet::new();
        for sentinel in sentinels {
            let follower = Follower {
                sentinel: sentinel.clone(),
                access: access.clone(),
                name: name.to_owned(),
                known: Arc::clone(&known),
            };
            followers.spawn(follower.run());
        }
        Self { known: receiver, _followers: followers }
    }

    /// The master. Waits for the first answer.
    pub(crate) async fn master(&self) -> Result<Address> {
        let mut known = self.known.clone();
        let first = timeout(DISCOVERY, known.wait_for(|known| known.master().is_some())).await;
        if let Ok(Ok(known)) = first
            && let Some(master) = known.master()
        {
            return Ok(master.clone());
        }
        let failed = self.known.borrow().failed.clone();
        Err(failed.unwrap_or_else(|| Error::unreachable("the sentinels", timed_out())))
    }

    /// Whether another master than `address` is known. If no Sentinel is there, no.
    pub(crate) fn is_replaced(&self, address: &Address) -> bool {
        self.known.borrow().master().is_some_and(|master| master != address)
    }

    /// Returns when another master than `address` is known.
    pub(crate) fn replaced(&self, address: Address) -> impl Future<Output = ()> + use<> {
        let mut known = self.known.clone();
        async move {
            let by_another = |known: &Known| known.master().is_some_and(|master| *master != address);
            let followed = known.wait_for(by_another).await.is_ok();
            if !followed {
                std::future::pending::<()>().await;
            }
        }
    }
}

/// Follows one Sentinel.
struct Follower {
    sentinel: Address,
    access: Access,
    name: String,
    known: Arc<watch::Sender<Known>>,
}

impl Follower {
    async fn run(self) {
        let mut backoff = Backoff::new();
        loop {
            let error = self.follow(&mut backoff).await;
            tracing::debug!(%error, cause = %error.cause(), "lost a sentinel");
            self.known.send_modify(|known| {
                known.said.remove(&self.sentinel);
                // That nobody is there says less than what somebody said.
                let says_more = known.failed.is_none() || !matches!(error, Error::Unreachable { .. });
                if says_more {
                    known.failed = Some(error);
                }
            });
            sleep(backoff.next()).await;
        }
    }

    /// Over one connection, until it is lost.
    async fn follow(&self, backoff: &mut Backoff) -> Error {
        let announced = Arc::new(Notify::new());
        let on_push: OnPush = {
            let announced = Arc::clone(&announced);
            Arc::new(move |push| {
                if matches!(push.kind, PushKind::Message | PushKind::Disconnection) {
                    announced.notify_one();
                }
            })
        };
        let connecting = timeout(DEADLINE, dial::connect(&self.sentinel, &self.access, 0, Some(on_push)));
        let link = match connecting.await {
            Ok(Ok(link)) => link,
            Ok(Err(error)) => return error,
            Err(_) => return Error::unreachable(&self.sentinel, timed_out()),
        };
        // Without it, asking now and then has to do.
        let _ = link.ask::<redis::Value>(redis::cmd("SUBSCRIBE").arg(ANNOUNCEMENT), DISCOVERY).await;
        loop {
            match self.ask(&link).await {
                Ok(said) => self.heard(said),
                Err(error) => return error,
            }
            backoff.reset();
            // The announcement says who, but not since which epoch.
            let _ = timeout(PROBE, announced.notified()).await;
        }
    }

    async fn ask(&self, link: &Link) -> Result<Said> {
        let mut about = redis::cmd("SENTINEL");
        about.arg("MASTER").arg(&self.name);
        let facts: HashMap<String, String> = link.ask(&about, DISCOVERY).await?;
        said(&facts).map_err(|source| Error::Unexpected { source })
    }

    fn heard(&self, said: Said) {
        self.known.send_if_modified(|known| {
            known.failed = None;
            let before = known.master().cloned();
            known.said.insert(self.sentinel.clone(), said);
            before.as_ref() != known.master()
        });
    }
}

fn said(facts: &HashMap<String, String>) -> std::result::Result<Said, RedisError> {
    let read = || {
        let port = facts.get("port")?.parse().ok()?;
        let epoch = facts.get("config-epoch")?.parse().ok()?;
        Some(Said { epoch, master: Address::tcp(facts.get("ip")?, port) })
    };
    read().ok_or_else(|| (redis::ErrorKind::UnexpectedReturnType, "a sentinel described no master").into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_newest_configuration_counts() {
        let at = |port| Address::tcp("h", port);
        let mut known = Known::default();
        assert_eq!(known.master(), None);
        known.said.insert(at(1), Said { epoch: 3, master: at(10) });
        known.said.insert(at(2), Said { epoch: 4, master: at(11) });
        known.said.insert(at(3), Said { epoch: 3, master: at(10) });
        assert_eq!(known.master(), Some(&at(11)));
        known.said.remove(&at(2));
        assert_eq!(known.master(), Some(&at(10)));
    }

    #[test]
    fn a_description_without_a_master_is_no_panic() {
        let facts = |pairs: &[(&str, &str)]| -> HashMap<String, String> {
            pairs.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect()
        };
        assert!(said(&facts(&[])).is_err());
        assert!(said(&facts(&[("ip", "h"), ("port", "x"), ("config-epoch", "1")])).is_err());
        assert!(said(&facts(&[("ip", "h"), ("port", "1"), ("config-epoch", "1")])).is_ok());
    }
}
