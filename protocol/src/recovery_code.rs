//! The recovery code: what a person writes on paper to open a vault when everything else is lost.
//!
//! 160 random bits as eight groups of five characters, such as `7K3QF-…`: four digits of Crockford's base 32 (no I, L,
//! O, U) and a fifth that checks them. The check is a sum over GF(32), `x⁵ + x² + 1`, of the digits with the weights 2, 4, 8
//! and 16 and the group's number from 1 to 8, so any one wrong digit, any two exchanged ones, and two exchanged groups
//! are noticed, and the group is named. It is no cryptography: how a key comes of the code is the vault's affair.

use secrecy::{ExposeSecret, SecretString};
use serde::de::Error as _;
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use thiserror::Error;
use zeroize::Zeroizing;

/// A recovery code, in groups as it is shown.
#[derive(Debug)]
pub struct RecoveryCode(SecretString);

impl RecoveryCode {
    /// The code of 20 random bytes.
    pub fn from_bytes(bytes: &[u8; CODE_LEN]) -> Self {
        let mut text = Zeroizing::new(String::with_capacity(TEXT_LEN));
        let digits = digits_of(bytes);
        for (number, group) in (1..).zip(digits.chunks_exact(DATA)) {
            if number > 1 {
                text.push('-');
            }
            for digit in group.iter().copied().chain([check(number, group)]) {
                text.push(char::from(ALPHABET[usize::from(digit)]));
            }
        }
        Self(SecretString::from(text.as_str()))
    }

    /// Reads what a person typed: case, spaces and dashes do not matter, `O` is read as 0, `I` and `L` as 1.
    ///
    /// # Errors
    /// [`RecoveryCodeError`], which names the group that is wrong and never shows it.
    #[expect(
        clippy::disallowed_methods,
        reason = "the grammar and the checks of the code are looked at here"
    )]
    pub fn parse(typed: &SecretString) -> Result<Self, RecoveryCodeError> {
        let text = typed.expose_secret();
        let mut digits = Zeroizing::new([0_u8; GROUPS * GROUP]);
        let mut count = 0;
        for character in text.chars().filter(|c| !c.is_whitespace() && *c != '-') {
            let group = count / GROUP + 1;
            let digit = digit(character).ok_or(RecoveryCodeError::Character { group })?;
            *digits.get_mut(count).ok_or(RecoveryCodeError::Length { found: count + 1 })? = digit;
            count += 1;
        }
        if count != GROUPS * GROUP {
            return Err(RecoveryCodeError::Length { found: count });
        }
        let mut shown = Zeroizing::new(String::with_capacity(TEXT_LEN));
        for (number, group) in (1..).zip(digits.chunks_exact(GROUP)) {
            if check(number, &group[..DATA]) != group[DATA] {
                return Err(RecoveryCodeError::Group { group: number.into() });
            }
            if number > 1 {
                shown.push('-');
            }
            shown.extend(group.iter().map(|digit| char::from(ALPHABET[usize::from(*digit)])));
        }
        Ok(Self(SecretString::from(shown.as_str())))
    }

    /// Whether a text is meant as a recovery code, be it mistyped: nobody's passphrase looks like this.
    #[expect(clippy::disallowed_methods, reason = "only the form is looked at")]
    pub fn is_meant(typed: &SecretString) -> bool {
        let text = typed.expose_secret().trim();
        let is_group = |group: &str| (GROUP - 1..=GROUP + 1).contains(&group.len());
        let groups: Vec<_> = text.split(['-', ' ']).filter(|group| !group.is_empty()).collect();
        let is_plain = text.chars().all(|c| c.is_ascii_alphanumeric() || c == '-' || c == ' ');
        is_plain && (GROUPS - 1..=GROUPS + 1).contains(&groups.len()) && groups.into_iter().all(is_group)
            || is_plain && text.len() == GROUPS * GROUP
    }

    /// The 20 bytes that it stands for.
    #[expect(clippy::disallowed_methods, reason = "the code becomes the bytes that a key is derived from")]
    pub fn to_bytes(&self) -> Zeroizing<[u8; CODE_LEN]> {
        let mut bytes = Zeroizing::new([0; CODE_LEN]);
        let groups = self.0.expose_secret().split('-').flat_map(|group| group.chars().take(DATA));
        let mut pending = Zeroizing::new(0_u16);
        let (mut bits, mut filled) = (0, 0);
        for digit in groups.filter_map(digit) {
            *pending = *pending << 5 | u16::from(digit);
            bits += 5;
            if bits >= 8 {
                bits -= 8;
                bytes[filled] = (*pending >> bits).to_le_bytes()[0];
                filled += 1;
            }
        }
        bytes
    }

    /// The code as it is shown, once.
    pub fn secret(&self) -> &SecretString {
        &self.0
    }
}

/// Why a text is not a recovery code. None of them repeats the text.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum RecoveryCodeError {
    /// Too short or too long.
    #[error("a recovery code has 8 groups of 5 characters, 40 in all, and this has {found}")]
    Length {
        /// How many characters there are; of one that is too long, no more than one beyond were counted.
        found: usize,
    },
    /// A character that no code has.
    #[error(
        "group {group} of the recovery code has a character that no code has; there is no U in any of them"
    )]
    Character {
        /// From 1 to 8.
        group: usize,
    },
    /// The group does not fit its check.
    #[error("group {group} of the recovery code is mistyped")]
    Group {
        /// From 1 to 8.
        group: usize,
    },
}

impl Serialize for RecoveryCode {
    #[expect(clippy::disallowed_methods, reason = "the codec is how the code crosses the wire")]
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.0.expose_secret())
    }
}

/// What travels is taken only as it would be written.
impl<'de> Deserialize<'de> for RecoveryCode {
    #[expect(clippy::disallowed_methods, reason = "only the form is looked at")]
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = SecretString::deserialize(deserializer)?;
        let read = Self::parse(&text).map_err(D::Error::custom)?;
        let is_as_written = read.0.expose_secret() == text.expose_secret();
        if is_as_written { Ok(read) } else { Err(D::Error::custom("not in the form in which it is shown")) }
    }
}

fn digits_of(bytes: &[u8; CODE_LEN]) -> Zeroizing<[u8; GROUPS * DATA]> {
    let mut digits = Zeroizing::new([0; GROUPS * DATA]);
    for (at, digit) in digits.iter_mut().enumerate() {
        let (byte, bit) = (at * 5 / 8, at * 5 % 8);
        let pair = u16::from_be_bytes([bytes[byte], bytes.get(byte + 1).copied().unwrap_or_default()]);
        *digit = (pair >> (11 - bit)).to_le_bytes()[0] & 31;
    }
    digits
}

fn check(number: u8, data: &[u8]) -> u8 {
    let mut weighted = [0_u8; DATA];
    weighted.copy_from_slice(data);
    let mut sum = number;
    for (at, digit) in weighted.iter_mut().enumerate() {
        for _ in 0..=at {
            *digit = doubled(*digit);
        }
        sum ^= *digit;
    }
    sum
}

/// Times x in GF(32).
fn doubled(digit: u8) -> u8 {
    let shifted = digit << 1;
    if shifted & 32 == 0 { shifted } else { (shifted ^ 0b10_0101) & 31 }
}

fn digit(character: char) -> Option<u8> {
    let upper = match character.to_ascii_uppercase() {
        'O' => '0',
        'I' | 'L' => '1',
        other => other,
    };
    let at = ALPHABET.iter().position(|digit| char::from(*digit) == upper)?;
    u8::try_from(at).ok()
}

/// How many bytes a code stands for.
pub const CODE_LEN: usize = 20;
const GROUPS: usize = 8;
const GROUP: usize = 5;
const DATA: usize = GROUP - 1;
const TEXT_LEN: usize = GROUPS * (GROUP + 1) - 1;
const ALPHABET: &[u8; 32] = b"0123456789ABCDEFGHJKMNPQRSTVWXYZ";

#[cfg(test)]
#[expect(clippy::disallowed_methods, reason = "tests look at codes that protect nothing")]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn text(code: &RecoveryCode) -> String {
        code.secret().expose_secret().to_owned()
    }

    fn parse(typed: &str) -> Result<RecoveryCode, RecoveryCodeError> {
        RecoveryCode::parse(&typed.into())
    }

    #[test]
    fn a_code_is_shown_in_eight_groups_of_five() {
        let counting: [u8; CODE_LEN] = std::array::from_fn(|at| u8::try_from(at * 13).unwrap());
        let shown = text(&RecoveryCode::from_bytes(&counting));
        assert_eq!(shown, "006H9-M9SMZ-85750-PT3N5-GA7SS-SADPS-RF8DF-VTQQ7");
    }

    #[test]
    fn what_people_do_to_a_code_does_not_matter() {
        let shown = text(&RecoveryCode::from_bytes(&[7; CODE_LEN]));
        for typed in [
            shown.to_lowercase(),
            shown.replace('-', ""),
            shown.replace('-', " "),
            format!("  {shown}\n"),
            shown.replace('0', "O").replace('1', "l"),
        ] {
            assert_eq!(text(&parse(&typed).unwrap()), shown, "{typed}");
            assert!(RecoveryCode::is_meant(&typed.into()));
        }
        assert!(!RecoveryCode::is_meant(&"correct horse battery staple".into()));
    }

    #[test]
    fn a_wrong_length_and_a_wrong_letter_are_told_apart() {
        let shown = text(&RecoveryCode::from_bytes(&[7; CODE_LEN]));
        assert_eq!(parse(&shown[1..]).unwrap_err(), RecoveryCodeError::Length { found: 39 });
        assert_eq!(parse(&format!("{shown}0")).unwrap_err(), RecoveryCodeError::Length { found: 41 });
        let wrong = format!("{}U{}", &shown[..13], &shown[14..]);
        assert_eq!(parse(&wrong).unwrap_err(), RecoveryCodeError::Character { group: 3 });
        assert!(!format!("{:?}", parse(&shown).unwrap()).contains(&shown));
    }

    proptest! {
        #[test]
        fn a_code_stands_for_its_bytes(bytes: [u8; CODE_LEN]) {
            let code = RecoveryCode::from_bytes(&bytes);
            prop_assert_eq!(&*code.to_bytes(), &bytes);
            prop_assert_eq!(&*parse(&text(&code)).unwrap().to_bytes(), &bytes);
        }

        #[test]
        fn one_wrong_character_names_its_group(bytes: [u8; CODE_LEN], at in 0..40_usize, by in 1..32_usize) {
            let shown = text(&RecoveryCode::from_bytes(&bytes)).replace('-', "");
            let right = ALPHABET.iter().position(|digit| *digit == shown.as_bytes()[at]).unwrap();
            let wrong = char::from(ALPHABET[(right + by) % 32]);
            let typed = format!("{}{wrong}{}", &shown[..at], &shown[at + 1..]);
            prop_assert_eq!(parse(&typed).unwrap_err(), RecoveryCodeError::Group { group: at / GROUP + 1 });
        }

        #[test]
        fn two_exchanged_neighbours_name_their_group(bytes: [u8; CODE_LEN], group in 0..8_usize, at in 0..4_usize) {
            let mut typed = text(&RecoveryCode::from_bytes(&bytes)).replace('-', "").into_bytes();
            let at = group * GROUP + at;
            prop_assume!(typed[at] != typed[at + 1]);
            typed.swap(at, at + 1);
            let typed = String::from_utf8(typed).unwrap();
            prop_assert_eq!(parse(&typed).unwrap_err(), RecoveryCodeError::Group { group: group + 1 });
        }

        #[test]
        fn two_exchanged_groups_are_noticed(bytes: [u8; CODE_LEN], one in 0..8_usize, other in 0..8_usize) {
            let shown = text(&RecoveryCode::from_bytes(&bytes));
            let mut groups: Vec<&str> = shown.split('-').collect();
            prop_assume!(one != other);
            groups.swap(one, other);
            prop_assert!(parse(&groups.join("-")).is_err());
        }
    }
}
