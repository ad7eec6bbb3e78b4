//! Redis Cluster: a server in cluster mode refuses a script that touches keys of two slots, declared or not.

use crate::{entry, members, node, within_deadline};
use std::time::Duration;
use trunkline_store::{NodeLoad, ReadRange};
use trunkline_testkit::{RedisServer, eventually};

/// A cluster of one server, which has all slots.
async fn cluster() -> RedisServer {
    let server = RedisServer::start_with(&["--cluster-enabled", "yes"]).await;
    let mut connection = server.connection().await;
    let _: () = redis::cmd("CLUSTER")
        .arg("ADDSLOTS")
        .arg((0..16_384).collect::<Vec<u32>>())
        .query_async(&mut connection)
        .await
        .unwrap();
    eventually(Duration::from_secs(10), "the cluster being up", async || {
        let info: String = redis::cmd("CLUSTER").arg("INFO").query_async(&mut connection.clone()).await.unwrap();
        info.contains("cluster_state:ok")
    })
    .await;
    server
}

#[tokio::test]
async fn every_operation_keeps_to_one_slot_at_a_time() {
    within_deadline(async {
        let server = cluster().await;
        let (one, two) = (node(&server, "one"), node(&server, "two"));
        one.nodes.heartbeat(NodeLoad::default()).await.unwrap();
        two.nodes.heartbeat(NodeLoad::default()).await.unwrap();
        assert_eq!(one.nodes.alive().await.unwrap().len(), 2);

        let users: Vec<String> = (0..100).map(|n| format!("{{user}}-{n}")).collect();
        for user in &users {
            one.presence.connect(user, user).await.unwrap();
            one.presence.join(&format!("}}{user}"), user, user, &[]).await.unwrap();
        }
        assert_eq!(two.presence.count().await.unwrap(), 100);
        assert!(two.presence.get(&users).await.unwrap().iter().all(|user| user.online));
        assert_eq!(two.presence.list(1_000, None).await.unwrap().users.len(), 100);
        assert!(one.presence.disconnect(&users[0], &users[0]).await.unwrap().last);
        one.presence.leave(&format!("}}{}", users[0]), &users[0], &users[0]).await.unwrap();
        one.nodes.leave(Duration::ZERO).await.unwrap();
        assert_eq!(two.presence.sweep().await.unwrap().len(), 99);
        assert_eq!(members(&two, &format!("}}{}", users[1])).await, []);

        one.log.append(entry(Some("{m}")), &[]).await.unwrap();
        let page = one.log.read("general", ReadRange { limit: 10, ..ReadRange::default() }).await.unwrap();
        assert_eq!(page.entries.len(), 1);
    })
    .await;
}
