//! Patterns that several rooms share: texts with a grammar, durations with one encoding, and stable numbers with names.

use std::time::Duration;

use serde::de::Error as _;
use serde::{Deserialize, Deserializer};

/// Lets a type with `FromStr` and `as_str` travel as a text, and be shown as one. `FromStr` is for people, and may mend what they
/// type; a text that travels is taken only as it would be written.
macro_rules! text_conversions {
    ($error:ty: $($name:ident),*) => {$(
        impl TryFrom<String> for $name {
            type Error = $error;

            fn try_from(text: String) -> Result<Self, $error> {
                let read: Self = text.parse()?;
                if read.as_str() == text { Ok(read) } else { Err(<$error>::Untidy) }
            }
        }

        impl From<$name> for String {
            fn from(text: $name) -> Self {
                text.as_str().to_owned()
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.pad(self.as_str())
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, "{}({:?})", stringify!($name), self.as_str())
            }
        }
    )*};
}

/// Reads a duration whose nanoseconds are less than a second; of any other there would be two encodings.
pub(crate) fn duration<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Duration, D::Error> {
    Exact::deserialize(deserializer).map(|Exact(duration)| duration)
}

/// The same for one that may be missing.
pub(crate) fn optional_duration<'de, D: Deserializer<'de>>(
    deserializer: D,
) -> Result<Option<Duration>, D::Error> {
    let read = Option::<Exact>::deserialize(deserializer)?;
    Ok(read.map(|Exact(duration)| duration))
}

struct Exact(Duration);

impl<'de> Deserialize<'de> for Exact {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        match Deserialize::deserialize(deserializer)? {
            (seconds, nanoseconds @ 0..1_000_000_000) => Ok(Self(Duration::new(seconds, nanoseconds))),
            _ => Err(D::Error::custom("nanoseconds of a second or more")),
        }
    }
}

/// Names the known numbers of a code; others travel all the same.
macro_rules! stable_codes {
    ($code:ident: $($(#[$doc:meta])* $name:ident = $number:literal, $label:literal;)*) => {
        impl $code {
            $($(#[$doc])* pub const $name: Self = Self($number);)*

            /// Every code of this version, for documentation and completeness checks.
            pub const ALL: &'static [Self] = &[$(Self($number)),*];

            /// The stable short name that `--json` shows.
            pub fn label(self) -> &'static str {
                match self.0 {
                    $($number => $label,)*
                    _ => "unknown",
                }
            }

            /// The code as sent.
            pub fn number(self) -> u16 {
                self.0
            }
        }

        impl fmt::Debug for $code {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, "{}({} {})", stringify!($code), self.0, self.label())
            }
        }
    };
}

pub(crate) use {stable_codes, text_conversions};
