//! Writing JSON objects straight into a `String`.
//!
//! Names and strings are escaped as needed; values given as JSON text are taken as they are and must be valid.

use alloc::string::String;

use super::text::push_escaped;

/// Writes the members of one object. [`ObjectWriter::end`] closes it.
///
/// Member names must differ; nothing checks that.
#[derive(Debug)]
#[must_use = "an object that is not ended is not JSON"]
pub struct ObjectWriter<'b> {
    out: &'b mut String,
    any: bool,
}

impl<'b> ObjectWriter<'b> {
    /// Appends the beginning of an object to `out`.
    pub fn begin(out: &'b mut String) -> Self {
        out.push('{');
        Self { out, any: false }
    }

    /// Closes the object.
    pub fn end(self) {
        self.out.push('}');
    }

    /// A string.
    pub fn str(&mut self, name: &str, value: &str) -> &mut Self {
        push_string(self.name(name), value);
        self
    }

    /// A string, if there is one.
    pub fn optional_str(&mut self, name: &str, value: Option<&str>) -> &mut Self {
        if let Some(value) = value {
            self.str(name, value);
        }
        self
    }

    /// A natural number.
    pub fn u64(&mut self, name: &str, value: u64) -> &mut Self {
        push_u64(self.name(name), value);
        self
    }

    /// A natural number, if there is one.
    pub fn optional_u64(&mut self, name: &str, value: Option<u64>) -> &mut Self {
        if let Some(value) = value {
            self.u64(name, value);
        }
        self
    }

    /// An integer.
    pub fn i64(&mut self, name: &str, value: i64) -> &mut Self {
        push_i64(self.name(name), value);
        self
    }

    /// `true` or `false`.
    pub fn bool(&mut self, name: &str, value: bool) -> &mut Self {
        self.name(name).push_str(if value { "true" } else { "false" });
        self
    }

    /// A value given as valid JSON text.
    pub fn raw(&mut self, name: &str, json: &str) -> &mut Self {
        self.name(name).push_str(json);
        self
    }

    /// `null`.
    pub fn null(&mut self, name: &str) -> &mut Self {
        self.raw(name, "null")
    }

    /// An object, whose members `members` writes.
    pub fn object(&mut self, name: &str, members: impl FnOnce(&mut ObjectWriter<'_>)) -> &mut Self {
        push_object(self.name(name), members);
        self
    }

    /// An array, whose values `values` writes.
    pub fn array(&mut self, name: &str, values: impl FnOnce(&mut ArrayWriter<'_>)) -> &mut Self {
        push_array(self.name(name), values);
        self
    }

    /// An array of strings.
    pub fn strings<'s>(&mut self, name: &str, values: impl IntoIterator<Item = &'s str>) -> &mut Self {
        self.array(name, |array| {
            for value in values {
                array.str(value);
            }
        })
    }

    fn name(&mut self, name: &str) -> &mut String {
        if self.any {
            self.out.push(',');
        }
        self.any = true;
        push_string(self.out, name);
        self.out.push(':');
        self.out
    }
}

/// Writes the values of one array.
#[derive(Debug)]
pub struct ArrayWriter<'b> {
    out: &'b mut String,
    any: bool,
}

impl ArrayWriter<'_> {
    /// A string.
    pub fn str(&mut self, value: &str) -> &mut Self {
        push_string(self.next(), value);
        self
    }

    /// A natural number.
    pub fn u64(&mut self, value: u64) -> &mut Self {
        push_u64(self.next(), value);
        self
    }

    /// A value given as valid JSON text.
    pub fn raw(&mut self, json: &str) -> &mut Self {
        self.next().push_str(json);
        self
    }

    /// An object, whose members `members` writes.
    pub fn object(&mut self, members: impl FnOnce(&mut ObjectWriter<'_>)) -> &mut Self {
        push_object(self.next(), members);
        self
    }

    /// An array, whose values `values` writes.
    pub fn array(&mut self, values: impl FnOnce(&mut ArrayWriter<'_>)) -> &mut Self {
        push_array(self.next(), values);
        self
    }

    fn next(&mut self) -> &mut String {
        if self.any {
            self.out.push(',');
        }
        self.any = true;
        self.out
    }
}

/// A whole object, whose members `members` writes.
#[must_use]
pub fn object_text(members: impl FnOnce(&mut ObjectWriter<'_>)) -> String {
    // Room for most payloads, so that they are written without growing.
    let mut out = String::with_capacity(128);
    push_object(&mut out, members);
    out
}

/// Appends an object, whose members `members` writes.
pub fn push_object(out: &mut String, members: impl FnOnce(&mut ObjectWriter<'_>)) {
    let mut writer = ObjectWriter::begin(out);
    members(&mut writer);
    writer.end();
}

fn push_array(out: &mut String, values: impl FnOnce(&mut ArrayWriter<'_>)) {
    out.push('[');
    values(&mut ArrayWriter { out, any: false });
    out.push(']');
}

/// Appends `text` as a JSON string literal.
pub fn push_string(out: &mut String, text: &str) {
    out.push('"');
    push_escaped(out, text);
    out.push('"');
}

/// Appends `value` in decimal.
pub fn push_u64(out: &mut String, mut value: u64) {
    // 2^64 - 1 has twenty digits.
    let mut digits = [b'0'; 20];
    let mut start = digits.len();
    for digit in digits.iter_mut().rev() {
        *digit = b'0' + u8::try_from(value % 10).unwrap_or_default();
        value /= 10;
        start -= 1;
        if value == 0 {
            break;
        }
    }
    let digits = digits.get(start..).unwrap_or_default();
    // ASCII digits are UTF-8.
    out.push_str(core::str::from_utf8(digits).unwrap_or_default());
}

/// Appends `value` in decimal.
pub fn push_i64(out: &mut String, value: i64) {
    if value < 0 {
        out.push('-');
    }
    push_u64(out, value.unsigned_abs());
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::scan::{ScanLimits, check_value};
    use crate::wire::testing::Random;
    use alloc::string::ToString;

    #[test]
    fn members_of_every_kind() {
        let text = object_text(|object| {
            object
                .str("s", "a\"\n")
                .optional_str("absent", None)
                .u64("u", u64::MAX)
                .optional_u64("ou", Some(0))
                .i64("i", i64::MIN)
                .bool("b", true)
                .raw("r", "[1]")
                .null("n\\")
                .object("o", |_| {})
                .strings("t", ["x", "y"])
                .array("a", |array| {
                    array.u64(1).str("é").raw("null").object(|object| {
                        object.bool("f", false);
                    });
                    array.array(|_| {});
                });
        });
        assert_eq!(
            text,
            "{\"s\":\"a\\\"\\n\",\"u\":18446744073709551615,\"ou\":0,\"i\":-9223372036854775808,\"b\":true,\"r\":[1],\
             \"n\\\\\":null,\"o\":{},\"t\":[\"x\",\"y\"],\"a\":[1,\"é\",null,{\"f\":false},[]]}"
        );
        assert_eq!(check_value(&text, &ScanLimits::RUNTIME, 0), Ok(()));
    }

    #[test]
    fn numbers_are_written_as_the_standard_library_does() {
        let mut random = Random::new(3);
        for _ in 0..10_000 {
            let value = random.next() >> random.below(64);
            let mut out = String::new();
            push_u64(&mut out, value);
            assert_eq!(out, value.to_string());
        }
        for value in [i64::MIN, -1, 0, 1, i64::MAX] {
            let mut out = String::new();
            push_i64(&mut out, value);
            assert_eq!(out, value.to_string());
        }
    }
}
