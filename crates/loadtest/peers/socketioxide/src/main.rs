//! A Socket.IO server on socketioxide with the Redis adapter that understands what the load generator says. It stores nothing,
//! and keeps no order: the comparison is in its favour. `TCP_NODELAY` is on, which its default listener leaves off.
//!
//!   REDIS_URL=redis://127.0.0.1:6379 trunkline-loadtest-socketioxide-peer      prints its port

use axum::serve::ListenerExt;
use serde_json::{Value, json};
use socketioxide::{
    SocketIo,
    adapter::Adapter,
    extract::{AckSender, Data, Extension, SocketRef},
};
use socketioxide_redis::{RedisAdapter, RedisAdapterCtr, drivers::redis::redis_client};
use tokio::{net::TcpListener, signal::unix};

type Failure = Box<dyn std::error::Error>;

#[derive(Clone)]
struct User(String);

#[tokio::main]
async fn main() -> Result<(), Failure> {
    let url = std::env::var("REDIS_URL").map_err(|_| "REDIS_URL is not set")?;
    let client = redis_client::Client::open(format!("{url}?protocol=resp3"))?;
    let adapter = RedisAdapterCtr::new_with_redis(&client).await?;
    let (layer, io) = SocketIo::builder().with_adapter::<RedisAdapter<_>>(adapter).build_layer();
    io.ns("/", connected).await?;
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    println!("{}", listener.local_addr()?.port());
    let listener = listener.tap_io(|stream| {
        let _ = stream.set_nodelay(true);
    });
    let server = axum::serve(listener, axum::Router::new().layer(layer));
    let mut terminated = unix::signal(unix::SignalKind::terminate())?;
    tokio::select! {
        served = server => served?,
        _ = terminated.recv() => {}
    }
    Ok(())
}

async fn connected<A: Adapter>(socket: SocketRef<A>) {
    let query = socket.req_parts().uri.query().unwrap_or_default();
    let user = query.split('&').find_map(|pair| pair.strip_prefix("userId=")).unwrap_or_default().to_owned();
    socket.join(format!("user:{user}"));
    socket.extensions.insert(User(user));
    socket.on("conversation:join", join::<A>);
    socket.on("message:send", send::<A>);
    socket.on("private:message", direct::<A>);
    socket.on("call:signal", call::<A>);
}

async fn join<A: Adapter>(socket: SocketRef<A>, Data(conversation): Data<String>, ack: AckSender<A>) {
    socket.join(conversation);
    let _ = ack.send(&json!({"success": true}));
}

async fn send<A: Adapter>(
    socket: SocketRef<A>,
    Data(message): Data<Value>,
    Extension(User(user)): Extension<User>,
    ack: AckSender<A>,
) {
    let room = field(&message, "conversationId");
    deliver(&socket, room, "message:new", with(message, [("senderId", &user)]), ack).await;
}

async fn direct<A: Adapter>(
    socket: SocketRef<A>,
    Data(message): Data<Value>,
    Extension(User(user)): Extension<User>,
    ack: AckSender<A>,
) {
    let recipient = field(&message, "recipientUserId");
    let (one, other) = if user < recipient { (&user, &recipient) } else { (&recipient, &user) };
    let conversation = format!("dm:{one}:{other}");
    let message = with(message, [("conversationId", &conversation), ("senderId", &user)]);
    deliver(&socket, format!("user:{recipient}"), "message:new", message, ack).await;
}

async fn call<A: Adapter>(
    socket: SocketRef<A>,
    Data(signal): Data<Value>,
    Extension(User(user)): Extension<User>,
    ack: AckSender<A>,
) {
    let message = json!({"from": user, "data": signal.get("data")});
    deliver(&socket, format!("user:{}", field(&signal, "userId")), "call:signal", message, ack).await;
}

async fn deliver<A: Adapter>(socket: &SocketRef<A>, room: String, event: &str, message: Value, ack: AckSender<A>) {
    let delivered = socket.to(room).emit(event, &message).await;
    let _ = ack.send(&json!({"success": delivered.is_ok()}));
}

fn field(message: &Value, name: &str) -> String {
    message.get(name).and_then(Value::as_str).unwrap_or_default().to_owned()
}

fn with<const N: usize>(mut message: Value, fields: [(&str, &String); N]) -> Value {
    for (name, value) in fields {
        message[name] = json!(value);
    }
    message
}
