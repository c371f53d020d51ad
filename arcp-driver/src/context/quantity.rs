//! Numbers as agents have them.

use arcp_proto::error::ApiMisuse;
use arcp_proto::wire::number::NumberText;

/// A number an agent reports. Made from every integer and float by `Into`, and from a [`NumberText`] where digits must
/// not be lost, as with money.
#[derive(Debug, Clone, PartialEq)]
pub enum Quantity {
    /// Something counted.
    Count(u64),
    /// Something below zero.
    Negative(i64),
    /// Any other number.
    Real(f64),
    /// A number by its digits.
    Exact(NumberText),
}

impl Quantity {
    pub(super) fn to_f64(&self) -> f64 {
        match self {
            // A count that a double cannot hold is beside a real number, so the nearest one serves.
            Self::Count(value) => NumberText::from(*value).to_f64(),
            Self::Negative(value) => NumberText::from(*value).to_f64(),
            Self::Real(value) => *value,
            Self::Exact(text) => text.to_f64(),
        }
    }

    pub(super) fn into_text(self, name: &str) -> Result<NumberText, ApiMisuse> {
        match self {
            Self::Count(value) => Ok(value.into()),
            Self::Negative(value) => Ok(value.into()),
            Self::Real(value) => NumberText::from_f64(value)
                .ok_or_else(|| ApiMisuse::OutOfRange(format!("`{name}` must be finite").into())),
            Self::Exact(text) => Ok(text),
        }
    }
}

macro_rules! from {
    ($variant:ident($wide:ty): $($narrow:ty),*) => {
        $(impl From<$narrow> for Quantity {
            fn from(value: $narrow) -> Self {
                Self::$variant(<$wide>::from(value))
            }
        })*
    };
}

from!(Count(u64): u8, u16, u32, u64);
from!(Real(f64): f32, f64);
from!(Exact(NumberText): NumberText);

impl From<usize> for Quantity {
    fn from(value: usize) -> Self {
        // No platform has a wider one.
        Self::Count(u64::try_from(value).unwrap_or(u64::MAX))
    }
}

impl From<i64> for Quantity {
    fn from(value: i64) -> Self {
        u64::try_from(value).map_or(Self::Negative(value), Self::Count)
    }
}

impl From<i32> for Quantity {
    fn from(value: i32) -> Self {
        i64::from(value).into()
    }
}
