//! What the keys and the values of labels and annotations may be, as the API server has it
//! (https://kubernetes.io/docs/concepts/overview/working-with-objects/labels/#syntax-and-character-set).

/// The name part of a key: `([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9]`, at most 63.
pub fn is_name(text: &str) -> bool {
    let bytes = text.as_bytes();
    let inner = |b: &u8| b.is_ascii_alphanumeric() || b"-_.".contains(b);
    bytes.len() <= 63
        && bytes.iter().all(inner)
        && bytes.first().is_some_and(u8::is_ascii_alphanumeric)
        && bytes.last().is_some_and(u8::is_ascii_alphanumeric)
}

/// A label's value: like the name, or empty.
pub fn is_value(text: &str) -> bool {
    text.is_empty() || is_name(text)
}

/// A DNS subdomain (RFC 1123): the part of a key before its slash, and the name of most objects.
pub fn is_subdomain(text: &str) -> bool {
    let label_ok = |label: &str| {
        let bytes = label.as_bytes();
        bytes.iter().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || *b == b'-')
            && bytes.first().is_some_and(u8::is_ascii_alphanumeric)
            && bytes.last().is_some_and(u8::is_ascii_alphanumeric)
    };
    text.len() <= 253 && text.split('.').all(label_ok)
}
