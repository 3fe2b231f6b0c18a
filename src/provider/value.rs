//! Secret bytes: zeroed when dropped, and impossible to print, compare or serialise by accident.

use std::fmt;

use zeroize::Zeroizing;

/// Bytes that must not be seen by anyone but the workload they are for.
///
/// Zeroed on drop. There is no `Display`, `Serialize`, `Hash`, `PartialEq` or `Clone`, and `Debug` prints a
/// placeholder that does not even give the length. Copies that an HTTP client or a parser made before the bytes got
/// here are outside of this type's reach.
pub struct SecretBytes(Zeroizing<Vec<u8>>);

impl SecretBytes {
    /// Takes the bytes over without copying them.
    pub fn new(bytes: Vec<u8>) -> Self {
        Self(Zeroizing::new(bytes))
    }

    /// The bytes themselves. Every caller of this is a place where a value could leak.
    pub fn expose(&self) -> &[u8] {
        &self.0
    }
}

impl From<String> for SecretBytes {
    fn from(text: String) -> Self {
        Self::new(text.into_bytes())
    }
}

impl fmt::Debug for SecretBytes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("<secret>")
    }
}

/// A value as a secrets manager keeps it.
#[derive(Debug)]
pub enum RemoteValue {
    /// Valid UTF-8: a plain text, or a JSON object whose properties are picked by name.
    Text(SecretBytes),
    /// Anything else.
    Binary(SecretBytes),
}

impl RemoteValue {
    /// `Text` if the bytes are UTF-8, else `Binary`.
    pub fn from_bytes(bytes: Vec<u8>) -> Self {
        match std::str::from_utf8(&bytes) {
            Ok(_) => Self::Text(SecretBytes::new(bytes)),
            Err(_) => Self::Binary(SecretBytes::new(bytes)),
        }
    }

    /// The bytes of either form.
    pub fn expose(&self) -> &[u8] {
        match self {
            Self::Text(bytes) | Self::Binary(bytes) => bytes.expose(),
        }
    }

    /// The text; `None` for a binary value.
    pub fn expose_text(&self) -> Option<&str> {
        match self {
            Self::Text(bytes) => std::str::from_utf8(bytes.expose()).ok(),
            Self::Binary(_) => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn debug_shows_neither_content_nor_length() {
        let shown = [RemoteValue::from_bytes(b"hunter2".to_vec()), RemoteValue::from_bytes(vec![0xff; 300])]
            .map(|value| format!("{value:?}"));
        assert_eq!(shown, ["Text(<secret>)", "Binary(<secret>)"]);
    }

    #[test]
    fn text_is_what_is_utf8() {
        assert_eq!(RemoteValue::from_bytes("å".into()).expose_text(), Some("å"));
        assert_eq!(RemoteValue::from_bytes(vec![0xff]).expose_text(), None);
        assert_eq!(RemoteValue::from_bytes(vec![0xff]).expose(), [0xff]);
    }
}
