//! Who hears of others coming and going, and what that may cost.
//!
//! An announcement to everybody costs as much as there are users. Most of that is the writing, which [`announcements`](super::announcements)
//! bound by gathering; what is left is an event to encode, queue and send for each recipient. So it is made only up to a
//! number of users, and only up to so many deliveries a second; beyond either, those hear of it who watch the user.

use std::{num::NonZeroU32, time::Duration};

use governor::{DefaultDirectRateLimiter, Quota};

use crate::config::{PresenceBroadcast, Rate};

/// Who hears of users coming and going, and when somebody counts as gone.
#[derive(Clone, Copy, Debug)]
pub struct PresencePolicy {
    /// Who hears of it.
    pub broadcast: PresenceBroadcast,
    /// Deliveries that the announcements of this node to everybody may cause in the cluster; `None`: any number.
    pub rate: Option<Rate>,
    /// Members of a conversation on one node up to which the others hear of each who joins or leaves.
    pub members_max: u64,
    /// How long a user without a connection still counts as online, so that a reload does not flicker.
    pub grace: Duration,
}

/// Who but the user hears that one came online or went offline.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Hearers {
    /// Everybody.
    Everyone,
    /// Those who watch the user.
    Watchers,
}

/// Decides who hears of an announcement; keeps count of what the announcements of this node cost.
#[derive(Debug)]
pub(super) struct Audience {
    broadcast: PresenceBroadcast,
    members_max: u64,
    deliveries: Option<DefaultDirectRateLimiter>,
}

impl Audience {
    pub(super) fn new(policy: PresencePolicy) -> Self {
        let quota = |rate: Rate| Quota::per_second(rate.per_second).allow_burst(rate.burst);
        let deliveries = policy.rate.map(|rate| DefaultDirectRateLimiter::direct(quota(rate)));
        Self { broadcast: policy.broadcast, members_max: policy.members_max, deliveries }
    }

    /// Who hears that a user came online or went offline, with so many online. It counts as told.
    pub(super) fn of_presence(&self, online_users: u64) -> Option<Hearers> {
        match self.broadcast {
            PresenceBroadcast::Off => None,
            _ if self.reaches_everyone(online_users) => Some(Hearers::Everyone),
            _ => Some(Hearers::Watchers),
        }
    }

    /// Whether everybody is to be told something, with so many users online. It counts as told.
    pub(super) fn reaches_everyone(&self, online_users: u64) -> bool {
        let PresenceBroadcast::All { max } = self.broadcast else { return false };
        online_users <= max && self.affords(online_users)
    }

    /// Whether the members of a conversation, so many on this node, hear who joins and leaves.
    pub(super) fn tells_members(&self, members_here: usize) -> bool {
        u64::try_from(members_here).is_ok_and(|members| members <= self.members_max)
    }

    fn affords(&self, deliveries: u64) -> bool {
        let Some(limiter) = &self.deliveries else { return true };
        // Nobody but the user is online: it costs nothing.
        let Some(deliveries) = u32::try_from(deliveries).ok().and_then(NonZeroU32::new) else { return deliveries == 0 };
        matches!(limiter.check_n(deliveries), Ok(Ok(())))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn audience(broadcast: PresenceBroadcast, burst: u32) -> Audience {
        let number = |n| NonZeroU32::new(n).unwrap();
        let rate = Some(Rate { per_second: number(1), burst: number(burst) });
        Audience::new(PresencePolicy { broadcast, rate, members_max: 10, grace: Duration::ZERO })
    }

    #[test]
    fn everybody_hears_of_it_until_they_are_too_many_or_it_costs_too_much() {
        let audience = audience(PresenceBroadcast::All { max: 100 }, 250);
        assert_eq!(audience.of_presence(101), Some(Hearers::Watchers), "too many");
        assert_eq!([(); 2].map(|()| audience.of_presence(100)), [Some(Hearers::Everyone); 2]);
        assert_eq!(audience.of_presence(100), Some(Hearers::Watchers), "200 of 250 are spent");
        assert_eq!(audience.of_presence(50), Some(Hearers::Everyone), "what is left is enough for fewer");
    }

    #[test]
    fn an_announcement_that_is_never_affordable_goes_to_watchers() {
        let audience = audience(PresenceBroadcast::All { max: u64::MAX }, 10);
        assert_eq!([11, u64::MAX].map(|online| audience.of_presence(online)), [Some(Hearers::Watchers); 2]);
    }

    #[test]
    fn nobody_hears_anything_when_it_is_off_and_watchers_when_they_are_to() {
        assert_eq!(audience(PresenceBroadcast::Off, 10).of_presence(1), None);
        assert_eq!(audience(PresenceBroadcast::Watch, 10).of_presence(1), Some(Hearers::Watchers));
        assert!(!audience(PresenceBroadcast::Watch, 10).reaches_everyone(1));
    }

    #[test]
    fn a_crowd_is_not_told_who_joins_it() {
        let audience = audience(PresenceBroadcast::Watch, 10);
        assert_eq!([audience.tells_members(10), audience.tells_members(11)], [true, false]);
    }
}
