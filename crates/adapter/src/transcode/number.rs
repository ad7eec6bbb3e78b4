//! Numbers as JavaScript prints them.

use std::fmt::Write;

/// Appends `value` as `JSON.stringify` would: whole numbers without a fraction, exponents only outside
/// 1e-6..1e21, and `null` for what JSON can't say.
pub(crate) fn write_number(text: &mut String, value: f64) {
    let size = value.abs();
    // Writing into a `String` can't fail.
    let _ = if !value.is_finite() {
        text.write_str("null")
    } else if size == 0.0 {
        text.write_str("0")
    } else if (1e-6..1e21).contains(&size) {
        write!(text, "{value}")
    } else if size < 1.0 {
        write!(text, "{value:e}")
    } else {
        // Rust leaves out the plus sign of an exponent.
        text.write_str(&format!("{value:e}").replacen('e', "e+", 1))
    };
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_read_as_javascript_prints_them() {
        for (value, expected) in [
            (1.0, "1"),
            (-0.0, "0"),
            (1.5, "1.5"),
            (-2.25, "-2.25"),
            (0.1 + 0.2, "0.30000000000000004"),
            (1e-6, "0.000001"),
            (1e-7, "1e-7"),
            (1.5e-10, "1.5e-10"),
            (1e20, "100000000000000000000"),
            (1e21, "1e+21"),
            (1e300, "1e+300"),
            (f64::MAX, "1.7976931348623157e+308"),
            (5e-324, "5e-324"),
            (f64::NAN, "null"),
            (f64::INFINITY, "null"),
        ] {
            let mut text = String::new();
            write_number(&mut text, value);
            assert_eq!(text, expected);
        }
    }
}
