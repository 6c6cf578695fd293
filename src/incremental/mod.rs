//! What need not be built: the outputs of rules by content, and what earlier runs made of which inputs.
//!
//! Nothing in here runs a command or decides that one runs: it says what is there, and whether that is what the
//! command would make.

use std::fmt;
use std::str::FromStr;

pub mod cache;
pub mod ledger;
pub mod outputs;
pub mod recipe;
pub mod reuse;

/// The number of everything that the command of a rule depends on: the command itself, its environment, its tools,
/// the contents of its inputs, and the globs of its outputs. Whoever makes one puts all of that in: two runs with
/// the same key are taken to leave the same outputs.
///
/// Written as 32 hexadecimal digits, in lower case.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Key(pub u128);

/// The text is not the one way in which a [`Key`] is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NotAKey;

impl fmt::Display for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:032x}", self.0)
    }
}

impl FromStr for Key {
    type Err = NotAKey;

    fn from_str(text: &str) -> Result<Key, NotAKey> {
        from_hex(text).map(Key).ok_or(NotAKey)
    }
}

impl fmt::Display for NotAKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a key is 32 hexadecimal digits in lower case")
    }
}

impl std::error::Error for NotAKey {}

/// Exactly 32 digits in lower case: one number has one text, so that it can name a file.
fn from_hex(text: &str) -> Option<u128> {
    let digit = |byte: u8| matches!(byte, b'0'..=b'9' | b'a'..=b'f');
    let exact = text.len() == 32 && text.bytes().all(digit);
    exact.then(|| u128::from_str_radix(text, 16).ok()).flatten()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_has_one_text() {
        for number in [0, 1, u128::MAX, 0xab << 64] {
            let text = Key(number).to_string();
            assert_eq!((text.len(), text.parse()), (32, Ok(Key(number))));
        }
        let capital = Key(0xab).to_string().to_uppercase();
        let signed = format!("+{}", &Key(1).to_string()[1..]);
        for text in ["", "1", &capital, &signed, &format!("0{}", Key(1))] {
            assert_eq!(text.parse::<Key>(), Err(NotAKey), "{text:?}");
        }
    }
}
