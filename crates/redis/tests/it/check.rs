//! What `check` says of servers that are well, and of those that are not.

use trunkline_redis::{Finding, Needs, Verdict, check};
use trunkline_testkit::{RedisCluster, RedisSentinel, RedisServer, RedisTls};

use crate::support::{topology, within_deadline};

const NEEDS: Needs<'static> = Needs { sharded: true, key_prefix: "app:", channel_prefix: "chat" };

async fn findings(url: &str) -> Vec<Finding> {
    let findings = check(&topology(url), NEEDS).await;
    findings.iter().for_each(|finding| println!("{finding}"));
    findings
}

fn worst(findings: &[Finding]) -> Verdict {
    findings.iter().map(|finding| finding.verdict).max().unwrap()
}

/// The findings that are as bad as they get must have these words.
#[track_caller]
fn assert_bad(findings: &[Finding], words: &[&str]) {
    let bad: Vec<&Finding> = findings.iter().filter(|finding| finding.verdict == Verdict::Bad).collect();
    for word in words {
        assert!(bad.iter().any(|finding| finding.text.contains(word)), "{word:?} is not in {bad:?}");
    }
}

#[tokio::test]
async fn what_is_well_is_good() {
    within_deadline(async {
        let server = RedisServer::start_with_aof().await;
        assert_eq!(worst(&findings(&server.url()).await), Verdict::Good);
        let keys: Vec<String> = redis::cmd("KEYS").arg("*").query_async(&mut server.connection().await).await.unwrap();
        assert!(keys.is_empty(), "{keys:?} were left behind");
        let cluster = RedisCluster::start().await;
        assert_eq!(worst(&findings(&cluster.url()).await), Verdict::Good);
        let set = RedisSentinel::start().await;
        assert_eq!(worst(&findings(&set.url()).await), Verdict::Good);
    })
    .await;
}

#[tokio::test]
async fn what_is_risky_is_said() {
    within_deadline(async {
        let server = RedisServer::start_with(&["--maxmemory-policy", "allkeys-lru"]).await;
        let findings = findings(&server.url()).await;
        assert_eq!(worst(&findings), Verdict::Doubtful);
        for word in ["allkeys-lru", "append-only"] {
            assert!(findings.iter().any(|finding| finding.text.contains(word)), "{word}");
        }
    })
    .await;
}

#[tokio::test]
async fn servers_of_the_wrong_kind_are_named() {
    within_deadline(async {
        let mut set = RedisSentinel::start().await;
        let replica = set.servers()[1].url();
        assert_bad(&findings(&replica).await, &["is a replica"]);
        assert_bad(&findings(&set.url().replace("/main", "/other")).await, &["\"other\" can't be reached"]);
        assert_bad(
            &findings(&format!("redis+cluster://127.0.0.1:{}", set.servers()[0].port())).await,
            &["no node of a Redis Cluster"],
        );
        let place = set.master().await;
        set.server_mut(place).kill();
        let killed = set.servers()[1 - place].url();
        assert!(!findings(&killed).await.is_empty());

        let cluster = RedisCluster::start().await;
        assert_bad(&findings(&cluster.servers()[0].url()).await, &["redis+cluster://"]);
    })
    .await;
}

#[tokio::test]
async fn what_a_user_may_not_do_is_named() {
    within_deadline(async {
        let server = RedisServer::start().await;
        let at = |user: &str, password: &str| format!("redis://{user}:{password}@127.0.0.1:{}", server.port());
        server.create_user("good", "pw-1", &["~app:*", "&chat#*", "+@all", "-@admin", "-@dangerous", "+info"]).await;
        assert!(worst(&findings(&at("good", "pw-1")).await) < Verdict::Bad);
        server.create_user("keys", "pw-2", &["~other:*", "&chat#*", "+@all"]).await;
        assert_bad(
            &findings(&at("keys", "pw-2")).await,
            &["may not run scripts that write keys", "may not run scripts that publish"],
        );
        server.create_user("channels", "pw-3", &["~app:*", "&other#*", "+@all"]).await;
        assert_bad(
            &findings(&at("channels", "pw-3")).await,
            &["may not publish", "may not subscribe to channels", "sharded"],
        );
        let wrong = findings(&at("good", "pw-9")).await;
        assert_bad(&wrong, &["check user and password"]);
        assert!(wrong.iter().all(|finding| !finding.text.contains("pw-9")), "{wrong:?}");
        server.create_user("default", "pw-4", &["~*", "&*", "+@all"]).await;
    })
    .await;
}

#[tokio::test]
async fn a_server_that_is_not_there_is_said_to_be() {
    within_deadline(async {
        let mut server = RedisServer::start().await;
        let url = server.url();
        server.stop().await;
        assert_bad(&findings(&url).await, &["nobody listens there"]);
        let tls = RedisTls::start().await;
        assert_bad(&findings(&format!("rediss://127.0.0.1:{}", tls.port())).await, &["certificate"]);
    })
    .await;
}
