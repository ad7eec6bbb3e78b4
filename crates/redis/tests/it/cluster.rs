//! Six processes that are one cluster.

use trunkline_redis::{Error, Event, Script, slot};
use trunkline_testkit::RedisCluster;

use crate::support::{cmd, heard_again, lost, next, next_message, restored, start, within_deadline, written};

/// Sharded channels and keys on all three masters.
const SPREAD: [&str; 3] = ["a", "b", "c"];

#[tokio::test]
async fn commands_find_the_node_that_has_the_slot() {
    within_deadline(async {
        let cluster = RedisCluster::start().await;
        let (commands, _, _) = start(&cluster.url());
        let script = Script::new("redis.call('SET', KEYS[1], ARGV[1]) return redis.call('GET', KEYS[1])");
        for n in 0..100 {
            let key = format!("k{n}");
            let value: String = commands.script(script.key(&key).arg(n)).await.unwrap();
            assert_eq!(value, n.to_string());
            assert_eq!(commands.command::<String>(&cmd(&["GET", &key])).await.unwrap(), value);
        }
        let sizes: Vec<u64> = commands.every_node(&cmd(&["DBSIZE"])).await.unwrap();
        assert_eq!(sizes.len(), 6);
        assert!(sizes.iter().sum::<u64>() >= 100);

        let batch: Vec<_> = (0..100).map(|n| cmd(&["GET", &format!("k{n}")])).collect();
        let answers = commands.batch(&batch).await;
        for (n, answer) in answers.into_iter().enumerate() {
            assert_eq!(redis::from_redis_value::<usize>(answer.unwrap()).unwrap(), n);
        }
        let two_slots = Script::new("return 1");
        let error = commands.script::<i64>(two_slots.key("a").key("b")).await.unwrap_err();
        assert!(matches!(error, Error::Refused { .. }), "{error:?}");
    })
    .await;
}

#[tokio::test]
async fn classic_and_sharded_messages_arrive_whichever_node_they_are_published_on() {
    within_deadline(async {
        let cluster = RedisCluster::start().await;
        let (commands, pubsub, mut events) = start(&cluster.url());
        pubsub.subscribe(&["classic"]).await.unwrap();
        pubsub.psubscribe(&["pattern*"]).await.unwrap();
        pubsub.ssubscribe(&SPREAD).await.unwrap();
        for server in cluster.servers() {
            for (channel, pattern) in [("classic", None), ("pattern1", Some("pattern*"))] {
                let _: () = cmd(&["PUBLISH", channel, "x"]).query_async(&mut server.connection().await).await.unwrap();
                let message = next_message(&mut events).await;
                assert_eq!(&message.channel[..], channel.as_bytes());
                assert_eq!(message.pattern.as_deref(), pattern.map(str::as_bytes));
            }
        }
        for channel in SPREAD {
            assert_eq!(commands.command::<i64>(&cmd(&["SPUBLISH", channel, "x"])).await.unwrap(), 1);
            assert_eq!(&next_message(&mut events).await.channel[..], channel.as_bytes());
        }
        // In order, from one publisher.
        let batch: Vec<_> = (0..500).map(|n| cmd(&["PUBLISH", "classic", &n.to_string()])).collect();
        assert!(commands.batch(&batch).await.iter().all(Result::is_ok));
        for n in 0..500 {
            assert_eq!(&next_message(&mut events).await.payload[..], n.to_string().as_bytes());
        }
        pubsub.sunsubscribe(&SPREAD).await.unwrap();
        for channel in SPREAD {
            assert_eq!(commands.command::<i64>(&cmd(&["SPUBLISH", channel, "x"])).await.unwrap(), 0);
        }
        assert_eq!(events.try_next(), None, "what we asked for is no loss");
    })
    .await;
}

#[tokio::test]
async fn a_slot_that_moves_takes_commands_and_subscriptions_along() {
    within_deadline(async {
        let cluster = RedisCluster::start().await;
        let (commands, pubsub, mut events) = start(&cluster.url());
        pubsub.ssubscribe(&SPREAD).await.unwrap();
        assert_eq!(next(&mut events).await, Event::Restored);
        let _: Option<String> = commands.command(&cmd(&["GET", "a"])).await.unwrap();
        cluster.move_slot_of("a").await;
        lost(&mut events).await;
        restored(&mut events).await;
        // Redirected within the call.
        let _: () = commands.command(&cmd(&["SET", "a", "x"])).await.unwrap();
        assert_eq!(commands.command::<i64>(&cmd(&["SPUBLISH", "a", "x"])).await.unwrap(), 1);
        assert_eq!(&next_message(&mut events).await.channel[..], b"a");
    })
    .await;
}

#[tokio::test]
async fn an_orderly_failover_refuses_nobody() {
    within_deadline(async {
        let cluster = RedisCluster::start().await;
        let (commands, pubsub, mut events) = start(&cluster.url());
        pubsub.subscribe(&["classic"]).await.unwrap();
        pubsub.ssubscribe(&SPREAD).await.unwrap();
        let script = Script::new("return redis.call('INCR', KEYS[1])");
        assert_eq!(commands.script::<i64>(&script.key("a")).await.unwrap(), 1);
        cluster.fail_over("a").await;
        assert_eq!(written(&commands, "a2").await, 0);
        assert_eq!(commands.script::<i64>(&script.key("a")).await.unwrap(), 2, "loaded there too, and run once");
        for channel in SPREAD {
            heard_again(&commands, &mut events, "SPUBLISH", channel).await;
        }
        heard_again(&commands, &mut events, "PUBLISH", "classic").await;
    })
    .await;
}

#[tokio::test]
async fn a_killed_master_is_replaced_for_commands_and_subscriptions() {
    within_deadline(async {
        let mut cluster = RedisCluster::start().await;
        let (commands, pubsub, mut events) = start(&cluster.url());
        pubsub.subscribe(&["classic"]).await.unwrap();
        pubsub.ssubscribe(&SPREAD).await.unwrap();
        assert_eq!(written(&commands, "a").await, 0);
        let old = cluster.kill_master_of("a").await;
        let killed = std::time::Instant::now();
        lost(&mut events).await;
        let refused = written(&commands, "a").await;
        println!("written again after {:?}, refused {refused} times", killed.elapsed());
        for channel in SPREAD {
            heard_again(&commands, &mut events, "SPUBLISH", channel).await;
        }
        heard_again(&commands, &mut events, "PUBLISH", "classic").await;
        println!("heard again after {:?}", killed.elapsed());
        // Back, it is a replica: nothing is written to it.
        cluster.restart(old).await;
        assert_eq!(written(&commands, "a").await, 0);
        assert_eq!(slot("a"), slot("{a}b"));
    })
    .await;
}

#[tokio::test]
async fn a_frozen_master_is_replaced_and_may_come_back() {
    within_deadline(async {
        let cluster = RedisCluster::start().await;
        let (commands, pubsub, mut events) = start(&cluster.url());
        pubsub.subscribe(&["classic"]).await.unwrap();
        pubsub.ssubscribe(&SPREAD).await.unwrap();
        assert_eq!(written(&commands, "a").await, 0);
        let frozen = cluster.master_of("a").await;
        cluster.servers()[frozen].pause();
        written(&commands, "a").await;
        for channel in SPREAD {
            heard_again(&commands, &mut events, "SPUBLISH", channel).await;
        }
        cluster.servers()[frozen].resume();
        for _ in 0..20 {
            written(&commands, "a").await;
        }
        heard_again(&commands, &mut events, "PUBLISH", "classic").await;
    })
    .await;
}

#[tokio::test]
async fn batches_keep_their_order_through_a_failover_and_nothing_is_done_twice() {
    within_deadline(async {
        let cluster = RedisCluster::start().await;
        let (commands, _, _) = start(&cluster.url());
        let writing = async {
            let mut confirmed = 0;
            for round in 0..200 {
                let batch: Vec<_> =
                    (0..20).map(|n| cmd(&["RPUSH", SPREAD[n % 3], &(round * 20 + n).to_string()])).collect();
                let answers = commands.batch(&batch).await;
                for answer in &answers {
                    match answer {
                        Ok(_) => confirmed += 1,
                        // Perhaps done, so it must not be done again; or for certain not done.
                        Err(error) => assert!(error.retryable(), "{error:?}"),
                    }
                }
                tokio::time::sleep(std::time::Duration::from_millis(5)).await;
            }
            confirmed
        };
        let (confirmed, ()) = tokio::join!(writing, cluster.fail_over(SPREAD[0]));
        let mut stored = 0;
        for key in SPREAD {
            let list: Vec<u64> = commands.command(&cmd(&["LRANGE", key, "0", "-1"])).await.unwrap();
            assert!(list.is_sorted_by(|a, b| a < b), "{key} is out of order, or has something twice: {list:?}");
            stored += list.len();
        }
        assert!(stored >= confirmed, "{confirmed} confirmed, {stored} stored");
    })
    .await;
}

#[tokio::test]
async fn killed_connections_are_replaced_on_every_node() {
    within_deadline(async {
        let cluster = RedisCluster::start().await;
        let (commands, pubsub, mut events) = start(&cluster.url());
        pubsub.subscribe(&["classic"]).await.unwrap();
        pubsub.ssubscribe(&SPREAD).await.unwrap();
        for kind in ["pubsub", "normal"] {
            for server in cluster.servers() {
                let kill = cmd(&["CLIENT", "KILL", "TYPE", kind]);
                let _: i64 = kill.query_async(&mut server.connection().await).await.unwrap();
            }
        }
        for channel in SPREAD {
            written(&commands, channel).await;
            heard_again(&commands, &mut events, "SPUBLISH", channel).await;
        }
        heard_again(&commands, &mut events, "PUBLISH", "classic").await;
    })
    .await;
}
