//! What is done for others who ask for too much.

use std::sync::Arc;

use async_trait::async_trait;
use serde_json::json;
use trunkline_hub::Encoded;

use super::{client::Client, member, published};
use crate::{
    core::Core,
    limits::AWAITED,
    serve::{Listener, ServerEvents},
};

fn receive(core: &Arc<Core>, request: &serde_json::Value) {
    core.receive_one(b"socket.io-request#/#", request.to_string().as_bytes());
}

#[tokio::test]
async fn with_too_much_awaited_clients_get_the_event_and_their_acks_stay() {
    let core = member();
    let (client, socket) = Client::of(&core, "a", "r").await;
    let packet = json!({ "type": 2, "data": ["q"], "nsp": "/" });
    let ask = json!({ "uid": "other", "requestId": "1", "type": 7, "packet": packet, "opts": { "rooms": ["r"] } });
    let count =
        ("socket.io-response#/#".to_owned(), json!({ "type": 8, "requestId": "1", "clientCount": 1 }).to_string());

    let held = core.awaited.room(AWAITED).expect("nothing is awaited");
    receive(&core, &ask);
    assert_eq!((client.heard(), published(&core).len()), (vec![r#"["q"]"#.to_owned()], 1));
    socket.acked(0, Encoded::new("[]", vec![]));
    assert_eq!(core.tasks.len(), 0, "nobody waits for it");

    drop(held);
    receive(&core, &ask);
    assert_eq!((core.tasks.len(), published(&core)), (1, vec![count]));
}

struct Deaf;

#[async_trait]
impl ServerEvents for Deaf {
    async fn event(&self, _: &str, _: Encoded) -> Option<String> {
        std::future::pending().await
    }
}

#[tokio::test]
async fn with_too_much_awaited_an_event_between_servers_is_answered_unheard() {
    let core = member();
    core.listener.set(Listener(Arc::new(Deaf))).expect("the first");
    let ask = json!({ "uid": "other", "requestId": "1", "type": 6, "data": ["hello"] });
    receive(&core, &ask);
    assert_eq!((core.tasks.len(), published(&core)), (1, vec![]));
    let held = core.awaited.room(AWAITED - 1).expect("one is awaited");
    receive(&core, &ask);
    assert_eq!((core.tasks.len(), published(&core).len()), (1, 1));
    drop(held);
}
