//! Writes msgpack as notepack does: always the smallest marker.

use rmp::encode;

// Writing into a `Vec` can't fail, so the results of `rmp` say nothing.

pub(crate) fn text(out: &mut Vec<u8>, text: &str) {
    let _ = encode::write_str(out, text);
}

pub(crate) fn unsigned(out: &mut Vec<u8>, value: u64) {
    let _ = encode::write_uint(out, value);
}

pub(crate) fn signed(out: &mut Vec<u8>, value: i64) {
    let _ = encode::write_sint(out, value);
}

/// Whole numbers as integers, as far as integers reach; all else as a double.
pub(crate) fn number(out: &mut Vec<u8>, value: f64) {
    const TWO_POW_63: f64 = 9_223_372_036_854_775_808.0;
    // The bounds make the casts exact.
    if value.fract() == 0.0 && (0.0..2.0 * TWO_POW_63).contains(&value) {
        unsigned(out, value as u64);
    } else if value.fract() == 0.0 && (-TWO_POW_63..0.0).contains(&value) {
        signed(out, value as i64);
    } else {
        let _ = encode::write_f64(out, value);
    }
}

pub(crate) fn boolean(out: &mut Vec<u8>, value: bool) {
    out.push(if value { 0xc3 } else { 0xc2 });
}

pub(crate) fn nil(out: &mut Vec<u8>) {
    out.push(0xc0);
}

pub(crate) fn binary(out: &mut Vec<u8>, bytes: &[u8]) {
    let _ = encode::write_bin(out, bytes);
}

pub(crate) fn array(out: &mut Vec<u8>, length: usize) {
    let _ = encode::write_array_len(out, u32::try_from(length).unwrap_or(u32::MAX));
}

pub(crate) fn map(out: &mut Vec<u8>, length: usize) {
    let _ = encode::write_map_len(out, u32::try_from(length).unwrap_or(u32::MAX));
}

/// A container whose length is known only when its elements are written.
///
/// One byte is kept free for the header, which is all that up to 15 elements need; for more the
/// elements are moved aside once.
pub(crate) struct Container {
    start: usize,
}

impl Container {
    pub(crate) fn open(out: &mut Vec<u8>) -> Self {
        out.push(0);
        Self { start: out.len() - 1 }
    }

    pub(crate) fn close_array(self, out: &mut Vec<u8>, length: usize) {
        self.close(out, |header| array(header, length));
    }

    pub(crate) fn close_map(self, out: &mut Vec<u8>, length: usize) {
        self.close(out, |header| map(header, length));
    }

    fn close(self, out: &mut Vec<u8>, write: impl FnOnce(&mut Vec<u8>)) {
        // The header is written at the end and brought to its place.
        let end = out.len();
        write(out);
        if let [marker] = *out.get(end..).unwrap_or_default() {
            out.truncate(end);
            if let Some(reserved) = out.get_mut(self.start) {
                *reserved = marker;
            }
        } else {
            let header = out.split_off(end);
            out.splice(self.start..=self.start, header);
        }
    }

    /// Takes back the container and all that was written into it.
    pub(crate) fn discard(self, out: &mut Vec<u8>) {
        out.truncate(self.start);
    }
}
