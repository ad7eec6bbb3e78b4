//! Which node of a cluster has which key.

use redis::{Arg, Cmd};

use crate::topology::Address;

/// Slots of a cluster.
pub(crate) const SLOTS: u16 = 16_384;

/// The slot of a key or of a sharded channel: CRC16 (XMODEM) of what stands in the first pair of braces, if anything
/// does, else of the whole, modulo 16384 (Redis cluster specification, "Key distribution model").
pub fn slot(key: impl AsRef<[u8]>) -> u16 {
    let key = key.as_ref();
    let tag = key.iter().position(|byte| *byte == b'{').and_then(|open| {
        let rest = key.get(open + 1..)?;
        let close = rest.iter().position(|byte| *byte == b'}')?;
        rest.get(..close).filter(|tag| !tag.is_empty())
    });
    crc16(tag.unwrap_or(key)) % SLOTS
}

fn crc16(bytes: &[u8]) -> u16 {
    bytes.iter().fold(0, |crc, byte| {
        (0..8).fold(
            crc ^ (u16::from(*byte) << 8),
            |crc, _| {
                if crc & 0x8000 == 0 { crc << 1 } else { (crc << 1) ^ 0x1021 }
            },
        )
    })
}

/// The slot that a command is about, by its first key; `None` if it has no key. A pattern of a command that is not in use
/// here may be missing: those of containers (`XREAD`, `ZUNION`, …) name their keys elsewhere.
pub(crate) fn slot_of(command: &Cmd) -> Option<u16> {
    let mut args = command.args_iter().map(|arg| match arg {
        Arg::Simple(bytes) => bytes,
        _ => b"",
    });
    let name = args.next()?.to_ascii_uppercase();
    match name.as_slice() {
        b"PING" | b"ECHO" | b"TIME" | b"ROLE" | b"INFO" | b"PUBLISH" | b"SCRIPT" | b"CLUSTER" | b"CONFIG"
        | b"CLIENT" | b"ACL" | b"SCAN" | b"DBSIZE" | b"WAIT" | b"FLUSHALL" | b"FLUSHDB" | b"COMMAND" => None,
        b"PUBSUB" => {
            args.next().filter(|sub| sub.eq_ignore_ascii_case(b"SHARDNUMSUB")).and_then(|_| args.next()).map(slot)
        }
        b"EVAL" | b"EVALSHA" | b"EVAL_RO" | b"EVALSHA_RO" | b"FCALL" | b"FCALL_RO" => {
            args.nth(1).filter(|keys| *keys != b"0").and_then(|_| args.next()).map(slot)
        }
        _ => args.next().map(slot),
    }
}

/// Who has which slots, as one node saw it.
#[derive(Debug, Clone, Default)]
pub(crate) struct SlotMap {
    /// Sorted by first slot, without overlap.
    ranges: Vec<Range>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Range {
    pub(crate) first: u16,
    pub(crate) last: u16,
    pub(crate) master: Address,
    pub(crate) replicas: Vec<Address>,
}

impl SlotMap {
    pub(crate) fn new(mut ranges: Vec<Range>) -> Self {
        ranges.sort_by_key(|range| range.first);
        Self { ranges }
    }

    /// The node to send what is about `slot` to.
    pub(crate) fn master(&self, slot: u16) -> Option<&Address> {
        let after = self.ranges.partition_point(|range| range.first <= slot);
        let range = self.ranges.get(after.checked_sub(1)?)?;
        (slot <= range.last).then_some(&range.master)
    }

    /// Every master once.
    pub(crate) fn masters(&self) -> Vec<Address> {
        unique(self.ranges.iter().map(|range| &range.master))
    }

    /// Every master and replica once, masters first.
    pub(crate) fn nodes(&self) -> Vec<Address> {
        let masters = self.ranges.iter().map(|range| &range.master);
        unique(masters.chain(self.ranges.iter().flat_map(|range| &range.replicas)))
    }

    /// How many of the slots are served.
    pub(crate) fn covered(&self) -> usize {
        self.ranges.iter().map(|range| usize::from(range.last.saturating_sub(range.first)) + 1).sum()
    }

    /// Masters whose end would be that of their slots.
    pub(crate) fn masters_without_replica(&self) -> Vec<Address> {
        unique(self.ranges.iter().filter(|range| range.replicas.is_empty()).map(|range| &range.master))
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.ranges.is_empty()
    }
}

fn unique<'a>(addresses: impl Iterator<Item = &'a Address>) -> Vec<Address> {
    let mut found: Vec<Address> = Vec::new();
    for address in addresses {
        if !found.contains(address) {
            found.push(address.clone());
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_have_the_slots_that_redis_gives_them() {
        // From the cluster specification, and from CLUSTER KEYSLOT.
        assert_eq!(crc16(b"123456789"), 0x31C3);
        assert_eq!(slot("foo"), 12_182);
        assert_eq!(slot("{user1000}.following"), slot("{user1000}.followers"));
        assert_eq!(slot("foo{}{bar}"), slot(b"foo{}{bar}".as_slice()));
        assert_ne!(slot("foo{}{bar}"), slot("bar"), "empty braces are no tag");
        assert_eq!(slot("foo{{bar}}zap"), slot("{bar"));
        assert_eq!(slot("foo{bar}{zap}"), slot("bar"));
        assert_eq!(slot(""), 0);
    }

    #[test]
    fn a_command_goes_where_its_first_key_is() {
        assert_eq!(slot_of(redis::cmd("GET").arg("foo")), Some(slot("foo")));
        assert_eq!(slot_of(redis::cmd("evalsha").arg("abc").arg(2).arg("foo").arg("bar")), Some(slot("foo")));
        assert_eq!(slot_of(redis::cmd("EVALSHA").arg("abc").arg(0).arg("foo")), None);
        assert_eq!(slot_of(redis::cmd("PUBLISH").arg("foo").arg("x")), None);
        assert_eq!(slot_of(redis::cmd("SPUBLISH").arg("foo").arg("x")), Some(slot("foo")));
        assert_eq!(slot_of(redis::cmd("PUBSUB").arg("SHARDNUMSUB").arg("foo")), Some(slot("foo")));
        assert_eq!(slot_of(redis::cmd("PUBSUB").arg("NUMSUB").arg("foo")), None);
        assert_eq!(slot_of(&redis::cmd("PING")), None);
        assert_eq!(slot_of(&redis::cmd("GET")), None);
    }

    #[test]
    fn a_slot_that_nobody_serves_has_no_master() {
        let at = |port| Address::tcp("127.0.0.1", port);
        let range = |first, last, port| Range { first, last, master: at(port), replicas: vec![at(port + 10)] };
        let map = SlotMap::new(vec![range(100, 200, 2), range(0, 50, 1), range(201, 201, 1)]);
        assert_eq!(map.master(0), Some(&at(1)));
        assert_eq!(map.master(50), Some(&at(1)));
        assert_eq!(map.master(51), None);
        assert_eq!(map.master(150), Some(&at(2)));
        assert_eq!(map.master(201), Some(&at(1)));
        assert_eq!(map.master(202), None);
        assert_eq!(map.masters(), [at(1), at(2)]);
        assert_eq!(map.nodes().len(), 4);
        assert_eq!(map.covered(), 153);
        assert!(map.masters_without_replica().is_empty());
        assert_eq!(SlotMap::default().master(0), None);
    }
}
