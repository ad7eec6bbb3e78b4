//! One server.

use trunkline_redis::{Commands, Error, Event, Limits, Lost, PubSub, Script};
use trunkline_testkit::{Data, RedisServer, eventually};

use crate::support::{
    DEADLINE, cmd, heard_again, lost, next, next_message, restored, start, topology, within_deadline,
};

#[tokio::test]
async fn commands_and_scripts_are_answered() {
    within_deadline(async {
        let server = RedisServer::start().await;
        let (commands, _, _) = start(&server.url());
        let _: () = commands.command(&cmd(&["SET", "a", "1"])).await.unwrap();
        let script = Script::new("return redis.call('INCR', KEYS[1])");
        assert_eq!(commands.script::<i64>(&script.key("a")).await.unwrap(), 2);
        let _: () = commands.command(&cmd(&["SCRIPT", "FLUSH"])).await.unwrap();
        assert_eq!(commands.script::<i64>(&script.key("a")).await.unwrap(), 3, "loaded again");
        assert_eq!(commands.connects(), 1);

        let wrong = commands.command::<()>(&cmd(&["LPUSH", "a", "1"])).await.unwrap_err();
        assert!(matches!(wrong, Error::Refused { .. }) && !wrong.retryable(), "{wrong:?}");
        let shape = commands.command::<Vec<String>>(&cmd(&["INCR", "a"])).await.unwrap_err();
        assert!(matches!(shape, Error::Unexpected { .. }), "{shape:?}");
    })
    .await;
}

#[tokio::test]
async fn an_error_in_a_batch_costs_one_command_and_the_rest_keeps_its_order() {
    within_deadline(async {
        let server = RedisServer::start().await;
        let (commands, _, _) = start(&server.url());
        let batch = [
            cmd(&["RPUSH", "l", "1"]),
            cmd(&["INCR", "l"]),
            cmd(&["RPUSH", "l", "2"]),
            cmd(&["LRANGE", "l", "0", "-1"]),
        ];
        let answers = commands.batch(&batch).await;
        assert!(matches!(answers[1], Err(Error::Refused { .. })), "{answers:?}");
        let list: Vec<String> = redis::from_redis_value(answers[3].clone().unwrap()).unwrap();
        assert_eq!(list, ["1", "2"]);
        assert!(commands.batch(&[]).await.is_empty());
    })
    .await;
}

#[tokio::test]
async fn what_was_sent_and_not_confirmed_is_not_sent_again() {
    within_deadline(async {
        let server = RedisServer::start().await;
        let (commands, _, _) = start(&server.url());
        assert_eq!(commands.command::<i64>(&cmd(&["INCR", "n"])).await.unwrap(), 1);
        server.pause();
        let error = commands.command::<i64>(&cmd(&["INCR", "n"])).await.unwrap_err();
        assert!(matches!(error, Error::Unconfirmed { .. }) && error.retryable(), "{error:?}");
        server.resume();
        let n = eventually(DEADLINE, "the server answering again", async || {
            commands.command::<i64>(&cmd(&["INCR", "n"])).await.ok()
        })
        .await;
        assert_eq!(n, 3, "the unconfirmed one was carried out, once");
    })
    .await;
}

#[tokio::test]
async fn a_server_that_is_away_is_found_again() {
    within_deadline(async {
        let mut server = RedisServer::start().await;
        let (commands, pubsub, mut events) = start(&server.url());
        pubsub.subscribe(&["c"]).await.unwrap();
        assert_eq!(next(&mut events).await, Event::Restored);
        server.stop().await;
        lost(&mut events).await;
        let error = commands.command::<()>(&cmd(&["PING"])).await.unwrap_err();
        assert!(matches!(error, Error::Unreachable { .. }) && error.retryable(), "{error:?}");
        // Wanted from now on, whether or not it can be confirmed.
        let unconfirmed = pubsub.subscribe(&["d"]).await.unwrap_err();
        assert!(unconfirmed.retryable());

        server.restart(Data::Lose).await;
        restored(&mut events).await;
        for channel in ["c", "d"] {
            assert_eq!(commands.command::<i64>(&cmd(&["PUBLISH", channel, "x"])).await.unwrap(), 1);
            assert_eq!(&next_message(&mut events).await.channel[..], channel.as_bytes());
        }
    })
    .await;
}

#[tokio::test]
async fn every_sort_of_subscription_brings_messages_until_it_is_undone() {
    within_deadline(async {
        let server = RedisServer::start().await;
        let (commands, pubsub, mut events) = start(&server.url());
        pubsub.subscribe(&["c1", "c2"]).await.unwrap();
        pubsub.psubscribe(&["p*"]).await.unwrap();
        pubsub.ssubscribe(&["s1", "s2"]).await.unwrap();
        let publish = [
            ("PUBLISH", "c1", None),
            ("PUBLISH", "c2", None),
            ("PUBLISH", "p1", Some("p*")),
            ("SPUBLISH", "s1", None),
            ("SPUBLISH", "s2", None),
        ];
        for (verb, channel, pattern) in publish {
            assert_eq!(commands.command::<i64>(&cmd(&[verb, channel, "hello"])).await.unwrap(), 1, "{channel}");
            let message = next_message(&mut events).await;
            assert_eq!((&message.channel[..], &message.payload[..]), (channel.as_bytes(), b"hello".as_slice()));
            assert_eq!(message.pattern.as_deref(), pattern.map(str::as_bytes));
        }
        pubsub.unsubscribe(&["c1", "c2"]).await.unwrap();
        pubsub.punsubscribe(&["p*"]).await.unwrap();
        pubsub.sunsubscribe(&["s1", "s2"]).await.unwrap();
        for (verb, channel, _) in publish {
            assert_eq!(commands.command::<i64>(&cmd(&[verb, channel, "x"])).await.unwrap(), 0, "{channel}");
        }
        assert_eq!(events.try_next(), None);
    })
    .await;
}

#[tokio::test]
async fn a_killed_subscription_comes_back_with_everything_that_was_wanted() {
    within_deadline(async {
        let server = RedisServer::start().await;
        let (commands, pubsub, mut events) = start(&server.url());
        let channels: Vec<String> = (0..2_000).map(|n| format!("c{n}")).collect();
        pubsub.subscribe(&channels).await.unwrap();
        pubsub.unsubscribe(&channels[1_000..]).await.unwrap();
        pubsub.ssubscribe(&["s"]).await.unwrap();
        let _: i64 = commands.command(&cmd(&["CLIENT", "KILL", "TYPE", "pubsub"])).await.unwrap();
        lost(&mut events).await;
        restored(&mut events).await;
        let count = async |channel: &str| {
            commands.command::<(String, i64)>(&cmd(&["PUBSUB", "NUMSUB", channel])).await.unwrap().1
        };
        assert_eq!(count("c0").await, 1);
        assert_eq!(count("c999").await, 1);
        assert_eq!(count("c1000").await, 0);
        assert_eq!(commands.command::<i64>(&cmd(&["SPUBLISH", "s", "x"])).await.unwrap(), 1);
        assert_eq!(&next_message(&mut events).await.channel[..], b"s");
    })
    .await;
}

#[tokio::test]
async fn a_server_that_does_not_answer_is_noticed_and_left() {
    within_deadline(async {
        let server = RedisServer::start().await;
        let (commands, pubsub, mut events) = start(&server.url());
        pubsub.subscribe(&["c"]).await.unwrap();
        assert_eq!(next(&mut events).await, Event::Restored);
        server.pause();
        assert_eq!(next(&mut events).await, Event::Lost(Lost::Unresponsive));
        server.resume();
        restored(&mut events).await;
        let heard = eventually(DEADLINE, "the publish being taken", async || {
            commands.command::<i64>(&cmd(&["PUBLISH", "c", "x"])).await.ok()
        });
        assert!(heard.await >= 1);
        assert_eq!(&next_message(&mut events).await.payload[..], b"x");
    })
    .await;
}

#[tokio::test]
async fn a_denied_channel_is_refused_and_the_others_stay() {
    within_deadline(async {
        let server = RedisServer::start().await;
        let (admin, _, _) = start(&server.url());
        let user =
            ["ACL", "SETUSER", "app", "on", ">s3cret", "~app:*", "resetchannels", "&app:*", "+@all", "-@dangerous"];
        let _: () = admin.command(&cmd(&user)).await.unwrap();
        let (commands, pubsub, mut events) = start(&format!("redis://app:s3cret@127.0.0.1:{}", server.port()));

        let denied = commands.command::<()>(&cmd(&["SET", "other", "1"])).await.unwrap_err();
        assert!(matches!(denied, Error::Refused { .. }) && !denied.retryable(), "{denied:?}");
        let _: () = commands.command(&cmd(&["SET", "app:a", "1"])).await.unwrap();
        pubsub.subscribe(&["app:c"]).await.unwrap();
        let (good, bad) = tokio::join!(pubsub.subscribe(&["app:d"]), pubsub.subscribe(&["app:e", "other"]));
        good.unwrap();
        assert!(matches!(bad, Err(Error::Refused { .. })), "{bad:?}");
        for channel in ["app:c", "app:d", "app:e"] {
            assert_eq!(commands.command::<i64>(&cmd(&["PUBLISH", channel, "x"])).await.unwrap(), 1, "{channel}");
            assert_eq!(&next_message(&mut events).await.channel[..], channel.as_bytes());
        }
        let (intruder, _, _) = start(&format!("redis://app:wrong@127.0.0.1:{}", server.port()));
        let refused = intruder.command::<()>(&cmd(&["PING"])).await.unwrap_err();
        assert!(matches!(refused, Error::Refused { .. }) && !refused.retryable(), "{refused:?}");
        assert!(!format!("{refused} {refused:?}").contains("wrong"));
    })
    .await;
}

#[tokio::test]
async fn a_reader_that_falls_behind_is_told_what_it_lost_and_goes_on() {
    within_deadline(async {
        let server = RedisServer::start().await;
        let topology = topology(&server.url());
        let commands = Commands::new(&topology);
        let (pubsub, mut events) = PubSub::start(&topology, Limits { messages: 100, bytes: 1 << 20 });
        pubsub.subscribe(&["c"]).await.unwrap();
        assert_eq!(next(&mut events).await, Event::Restored);
        let batch: Vec<_> = (0..1_000).map(|n| cmd(&["PUBLISH", "c", &n.to_string()])).collect();
        assert!(commands.batch(&batch).await.iter().all(Result::is_ok));

        // What came before the hole, in order, then the news of it.
        for n in 0..100 {
            assert_eq!(&next_message(&mut events).await.payload[..], n.to_string().as_bytes());
        }
        assert_eq!(next(&mut events).await, Event::Lost(Lost::Lagging));
        restored(&mut events).await;
        heard_again(&commands, &mut events, "PUBLISH", "c").await;
    })
    .await;
}

#[tokio::test]
async fn what_nobody_holds_any_more_ends() {
    within_deadline(async {
        let server = RedisServer::start().await;
        let (commands, pubsub, mut events) = start(&server.url());
        pubsub.subscribe(&["c"]).await.unwrap();
        drop(pubsub);
        while events.next().await.is_some() {}
        let count = async || commands.command::<(String, i64)>(&cmd(&["PUBSUB", "NUMSUB", "c"])).await.unwrap().1;
        eventually(DEADLINE, "the connection ending with its handle", async || count().await == 0).await;

        let (pubsub, events) = PubSub::start(&topology(&server.url()), Limits::default());
        pubsub.subscribe(&["c"]).await.unwrap();
        drop(events);
        eventually(DEADLINE, "the connection ending with its reader", async || count().await == 0).await;
    })
    .await;
}
