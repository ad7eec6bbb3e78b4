//! Leases, seen by other nodes.

use crate::{node, within_deadline};
use std::time::Duration;
use trunkline_store::{LogLimits, NodeIdentity, NodeLoad, Store};
use trunkline_testkit::{RedisServer, eventually};

#[tokio::test]
async fn nodes_see_each_other() {
    within_deadline(async {
        let server = RedisServer::start().await;
        let (two, one) = (node(&server, "two"), node(&server, "one"));
        two.nodes.heartbeat(NodeLoad { sockets: 2 }).await.unwrap();
        one.nodes.heartbeat(NodeLoad { sockets: 1 }).await.unwrap();
        let seen = one.nodes.alive().await.unwrap();
        assert_eq!(seen, two.nodes.alive().await.unwrap());
        let loads: Vec<(&str, u64)> = seen.iter().map(|node| (node.id.as_str(), node.sockets)).collect();
        assert_eq!(loads, [("one", 1), ("two", 2)]);
    })
    .await;
}

#[tokio::test]
async fn of_a_node_that_restarted_the_newer_boot_is_seen() {
    within_deadline(async {
        let server = RedisServer::start().await;
        let boot = |epoch: &str| {
            let identity = NodeIdentity {
                id: "one".into(),
                epoch: epoch.into(),
                advertise: Some(epoch.into()),
                version: String::new(),
            };
            Store::redis(&server.url().parse().unwrap(), identity, LogLimits::default())
        };
        let (old, new) = (boot("old"), boot("new"));
        old.nodes.heartbeat(NodeLoad::default()).await.unwrap();
        eventually(Duration::from_secs(5), "the newer boot being seen", async || {
            new.nodes.heartbeat(NodeLoad::default()).await.unwrap();
            old.nodes.alive().await.unwrap()[0].epoch == "new"
        })
        .await;
        let seen = old.nodes.alive().await.unwrap();
        assert_eq!(seen.iter().map(|node| node.epoch.as_str()).collect::<Vec<_>>(), ["new"]);
    })
    .await;
}
