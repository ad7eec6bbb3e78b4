//! Who is master, who has which slot.

use futures_util::{StreamExt, stream::FuturesUnordered};
use redis::{ErrorKind, RedisError, Value, from_redis_value};
use tokio::time::timeout;

use crate::{
    dial::{self, Link, OnPush},
    error::{Error, Result, timed_out},
    limits::DISCOVERY,
    slots::{Range, SlotMap},
    topology::{Address, Topology},
};

/// Connects to the server that the Sentinels name, and makes sure that it is a master: it may just have come back as a
/// replica.
pub(crate) async fn dial_master(topology: &Topology, on_push: Option<OnPush>) -> Result<Link> {
    let Some(sentinels) = topology.sentinels() else {
        return Err(Error::unreachable("the master", (ErrorKind::EmptySentinelList, "there are no sentinels")));
    };
    let address = sentinels.master().await?;
    let link = dial::dial(topology, &address, on_push).await?;
    match link.ask::<Value>(&redis::cmd("ROLE"), DISCOVERY).await {
        Ok(role) if is_master(&role) => Ok(link),
        Ok(_) => Err(Error::unreachable(
            "the master",
            (ErrorKind::Client, "the server that the sentinels name is a replica", address.to_string()),
        )),
        // A user that may not ask for the role finds out when it writes.
        Err(Error::Refused { .. }) => Ok(link),
        Err(error) => Err(error),
    }
}

fn is_master(role: &Value) -> bool {
    matches!(role, Value::Array(parts) if parts.first().is_some_and(|name| match name {
        Value::BulkString(name) => name == b"master",
        Value::SimpleString(name) => name == "master",
        _ => false,
    }))
}

/// Asks all of `nodes` at once who has which slots, and believes the first that knows anything.
pub(crate) async fn slot_map(topology: &Topology, nodes: &[Address]) -> Result<SlotMap> {
    first(nodes, |node| async move {
        let link = dial::dial(topology, node, None).await?;
        slots_known_to(&link).await
    })
    .await
}

/// What this server knows of the slots.
pub(crate) async fn slots_known_to(link: &Link) -> Result<SlotMap> {
    let slots: Value = link.ask(redis::cmd("CLUSTER").arg("SLOTS"), DISCOVERY).await?;
    let map = parse_slots(slots, link.address()).map_err(|source| Error::Unexpected { source })?;
    if map.is_empty() {
        let source = (ErrorKind::ClusterConnectionNotFound, "this node of the cluster knows no slots").into();
        return Err(Error::Busy { what: link.address().to_string(), source });
    }
    Ok(map)
}

/// The answer of `CLUSTER SLOTS`: `[[first, last, [host, port, …], replicas…], …]`. An empty or unknown host (`?`, null) is
/// that of the node that was asked.
fn parse_slots(slots: Value, asked: &Address) -> std::result::Result<SlotMap, RedisError> {
    let rows: Vec<Vec<Value>> = from_redis_value(slots)?;
    let mut ranges = Vec::with_capacity(rows.len());
    for row in rows {
        let mut row = row.into_iter();
        let (Some(first), Some(last)) = (row.next(), row.next()) else { continue };
        let (first, last): (u16, u16) = (from_redis_value(first)?, from_redis_value(last)?);
        let mut nodes = row.filter_map(|node| parse_node(node, asked));
        if let Some(master) = nodes.next() {
            ranges.push(Range { first, last, master, replicas: nodes.collect() });
        }
    }
    Ok(SlotMap::new(ranges))
}

fn parse_node(node: Value, asked: &Address) -> Option<Address> {
    let mut parts = from_redis_value::<Vec<Value>>(node).ok()?.into_iter();
    let host: Option<String> = from_redis_value(parts.next()?).ok()?;
    let port: u16 = from_redis_value(parts.next()?).ok()?;
    match host.as_deref() {
        None | Some("" | "?") => match asked {
            Address::Tcp { host, .. } => Some(Address::Tcp { host: host.clone(), port }),
            Address::Unix(_) => None,
        },
        Some(host) => Some(Address::tcp(host, port)),
    }
}

/// The first success; if there is none, the last error, or rather one that says more than that nobody is there.
async fn first<'a, T, F: Future<Output = Result<T>>>(
    addresses: &'a [Address],
    ask: impl Fn(&'a Address) -> F,
) -> Result<T> {
    let mut asked: FuturesUnordered<_> = addresses
        .iter()
        .map(|address| {
            let asking = timeout(DISCOVERY, ask(address));
            async move { asking.await.unwrap_or_else(|_| Err(Error::unreachable(address, timed_out()))) }
        })
        .collect();
    let mut worst = None;
    while let Some(answer) = asked.next().await {
        match answer {
            Ok(found) => return Ok(found),
            Err(error) if worst.is_none() || !matches!(error, Error::Unreachable { .. }) => worst = Some(error),
            Err(_) => {}
        }
    }
    Err(worst.unwrap_or_else(|| Error::unreachable("redis", timed_out())))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bulk(text: &str) -> Value {
        Value::BulkString(text.as_bytes().to_vec())
    }

    #[test]
    fn nodes_without_a_host_are_where_we_asked() {
        let node = |host: Value, port| Value::Array(vec![host, Value::Int(port), bulk("id"), Value::Array(vec![])]);
        let row = vec![Value::Int(0), Value::Int(9), node(bulk(""), 1), node(Value::Nil, 2), node(bulk("::1"), 3)];
        let map = parse_slots(Value::Array(vec![Value::Array(row)]), &Address::tcp("here", 5)).unwrap();
        let here = |port| Address::tcp("here", port);
        assert_eq!(map.nodes(), [here(1), here(2), Address::tcp("::1", 3)]);
    }

    #[test]
    fn answers_of_another_shape_are_no_panic() {
        let asked = Address::tcp("h", 1);
        for odd in [
            Value::Int(1),
            Value::Array(vec![Value::Int(1)]),
            Value::Array(vec![Value::Array(vec![bulk("x"), bulk("y")])]),
        ] {
            assert!(parse_slots(odd.clone(), &asked).is_err(), "{odd:?}");
        }
        let short = Value::Array(vec![Value::Array(vec![Value::Int(1)]), Value::Array(vec![])]);
        assert!(parse_slots(short, &asked).unwrap().is_empty());
    }
}
