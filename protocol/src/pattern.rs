//! Two patterns that several rooms share: texts with a grammar, and stable numbers with names.

/// Lets a type with `FromStr` and `as_str` travel as a text, and be shown as one.
macro_rules! text_conversions {
    ($error:ty: $($name:ident),*) => {$(
        impl TryFrom<String> for $name {
            type Error = $error;

            fn try_from(text: String) -> Result<Self, $error> {
                text.parse()
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
