//! Leases.

use crate::bench::Bench;
use std::time::Duration;
use trunkline_store::{Lease, NodeInfo, NodeLoad, SECRETS};

pub(crate) async fn a_node_is_alive_from_its_first_heartbeat_until_it_leaves(bench: Bench) {
    let nodes = &bench.store.nodes;
    assert_eq!(nodes.alive().await.unwrap(), []);
    assert_eq!(nodes.heartbeat(NodeLoad { sockets: 1 }).await.unwrap(), Lease::Started);
    assert_eq!(nodes.heartbeat(NodeLoad { sockets: 7 }).await.unwrap(), Lease::Renewed);
    let info = NodeInfo {
        id: "node-1".into(),
        epoch: "e1".into(),
        advertise: Some("127.0.0.1:1".into()),
        version: "1.2.3".into(),
        sockets: 7,
    };
    assert_eq!(nodes.alive().await.unwrap(), [info]);

    nodes.leave(Duration::ZERO).await.unwrap();
    assert_eq!(nodes.alive().await.unwrap(), []);
    assert_eq!(nodes.heartbeat(NodeLoad::default()).await.unwrap(), Lease::Started);
}

pub(crate) async fn nodes_that_start_agree_on_one_secret_and_keep_those_in_use(bench: Bench) {
    let nodes = &bench.store.nodes;
    let own = |secret: &str| [secret.to_owned()];
    assert_eq!(nodes.shared_secrets(&own("2"), false).await.unwrap(), ["2"]);
    assert_eq!(nodes.shared_secrets(&own("1"), false).await.unwrap(), ["2"]);
    assert_eq!(nodes.shared_secrets(&own("1"), true).await.unwrap(), ["1", "2"]);
    let many: Vec<String> = (3..20).map(|n| format!("{n:02}")).collect();
    assert_eq!(nodes.shared_secrets(&many, true).await.unwrap().len(), SECRETS);
}
