//! Every promise in every kind of Redis. One test a kind, since a cluster of six processes takes a while to start.

use crate::everything_at;
use redis::cmd;
use trunkline_testkit::{RedisCluster, RedisSentinel, RedisServer, RedisTls, valkey_server};

/// Forgets all data. A replica refuses, and forgets what its master does.
async fn empty(servers: &[RedisServer]) {
    for server in servers {
        let _: redis::RedisResult<()> = cmd("FLUSHALL").query_async(&mut server.connection().await).await;
    }
}

#[tokio::test]
async fn a_cluster_keeps_every_promise() {
    let cluster = RedisCluster::start_steady().await;
    everything_at(&cluster.url(), async || empty(cluster.servers()).await).await;
}

#[tokio::test]
async fn a_master_with_sentinels_keeps_every_promise() {
    let set = RedisSentinel::start().await;
    everything_at(&set.url(), async || empty(set.servers()).await).await;
}

/// A user that may do no more than the README says is needed.
#[tokio::test]
async fn a_limited_user_over_tls_keeps_every_promise() {
    let tls = RedisTls::start().await;
    tls.server()
        .create_user(
            "app",
            "s3cret",
            &["~trunkline:*", "allchannels", "+@all", "-@admin", "-@dangerous", "+info", "+role"],
        )
        .await;
    everything_at(&tls.url("app", "s3cret"), async || empty(std::slice::from_ref(tls.server())).await).await;
}

#[tokio::test]
async fn valkey_keeps_every_promise() {
    let Some(program) = valkey_server() else {
        return println!("not tested: there is no valkey-server; put one into the PATH or name it in VALKEY_SERVER");
    };
    let server = RedisServer::start_as(&program, &[]).await;
    everything_at(&server.url(), async || empty(std::slice::from_ref(&server)).await).await;
}
