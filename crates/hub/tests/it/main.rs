//! The promises of the hub, checked through a lane that records what it is given.

mod delivery;
mod inbox;
mod lane;
mod namespaces;
mod rooms;
mod websocket;
