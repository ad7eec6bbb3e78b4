//! A master that Sentinels watch.

use trunkline_redis::{Error, Event};
use trunkline_testkit::RedisSentinel;

use crate::support::{cmd, heard_again, lost, next, start, within_deadline, written};

#[tokio::test]
async fn a_killed_master_is_replaced_for_commands_and_subscriptions() {
    within_deadline(async {
        let mut set = RedisSentinel::start().await;
        let (commands, pubsub, mut events) = start(&set.url());
        pubsub.subscribe(&["c"]).await.unwrap();
        assert_eq!(next(&mut events).await, Event::Restored);
        assert_eq!(written(&commands, "k").await, 0);
        let old = set.kill_master().await;
        let killed = std::time::Instant::now();
        lost(&mut events).await;
        let refused = written(&commands, "k").await;
        println!("written again after {:?}, refused {refused} times", killed.elapsed());
        heard_again(&commands, &mut events, "PUBLISH", "c").await;
        println!("heard again after {:?}", killed.elapsed());
        // Back, it believes to be master for a moment.
        set.restart(old).await;
        for _ in 0..20 {
            written(&commands, "k").await;
        }
        let new = set.master().await;
        assert_ne!(new, old);
        let value: String = cmd(&["GET", "k"]).query_async(&mut set.servers()[new].connection().await).await.unwrap();
        assert_eq!(value, "x", "the new master has it");
    })
    .await;
}

#[tokio::test]
async fn a_demoted_master_is_left_by_commands_and_subscriptions() {
    within_deadline(async {
        let set = RedisSentinel::start().await;
        let (commands, pubsub, mut events) = start(&set.url());
        pubsub.subscribe(&["c"]).await.unwrap();
        assert_eq!(written(&commands, "k").await, 0);
        let new = set.fail_over().await;
        written(&commands, "after").await;
        heard_again(&commands, &mut events, "PUBLISH", "c").await;
        let there: bool =
            cmd(&["EXISTS", "after"]).query_async(&mut set.servers()[new].connection().await).await.unwrap();
        assert!(there, "written to the new master");
        let heard: (String, i64) =
            cmd(&["PUBSUB", "NUMSUB", "c"]).query_async(&mut set.servers()[new].connection().await).await.unwrap();
        assert_eq!(heard.1, 1, "subscribed there");
    })
    .await;
}

#[tokio::test]
async fn a_frozen_master_is_replaced_and_not_written_to_when_it_thaws() {
    within_deadline(async {
        let set = RedisSentinel::start().await;
        let (commands, pubsub, mut events) = start(&set.url());
        pubsub.subscribe(&["c"]).await.unwrap();
        assert_eq!(written(&commands, "k").await, 0);
        let frozen = set.master().await;
        set.servers()[frozen].pause();
        let new = set.another_master_than(frozen).await;
        set.servers()[frozen].resume();
        written(&commands, "after").await;
        heard_again(&commands, &mut events, "PUBLISH", "c").await;
        let there: bool =
            cmd(&["EXISTS", "after"]).query_async(&mut set.servers()[new].connection().await).await.unwrap();
        assert!(there, "written to the new master");
    })
    .await;
}

#[tokio::test]
async fn one_dead_sentinel_is_not_missed_and_a_wrong_name_is_told() {
    within_deadline(async {
        let mut set = RedisSentinel::start().await;
        set.kill_a_sentinel();
        let (commands, _, _) = start(&set.url());
        assert_eq!(written(&commands, "k").await, 0);
        let (commands, _, _) = start(&set.url().replace("/main", "/other"));
        let error = commands.command::<()>(&cmd(&["PING"])).await.unwrap_err();
        assert!(matches!(error, Error::Refused { .. }), "{error:?}");
    })
    .await;
}
