//! Warnings that come with the API server's answers, which kubectl prints.

use http::HeaderMap;
use std::sync::{Arc, Mutex, PoisonError};

/// Those that came since they were last asked for.
#[derive(Debug, Clone, Default)]
pub struct Warnings(Arc<Mutex<Vec<String>>>);

impl Warnings {
    /// Takes note of an answer's.
    pub(super) fn note(&self, headers: &HeaderMap) {
        let told = headers.get_all(http::header::WARNING).iter();
        let texts = told.filter_map(|header| text(std::str::from_utf8(header.as_bytes()).ok()?));
        self.0.lock().unwrap_or_else(PoisonError::into_inner).extend(texts);
    }

    /// What came, which is told once.
    pub fn take(&self) -> Vec<String> {
        std::mem::take(&mut *self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

/// The text of `299 - "TEXT"`, in which a backslash stands before a quote and before itself.
fn text(header: &str) -> Option<String> {
    let (_, quoted) = header.split_once('"')?;
    let mut rest = quoted.chars();
    let mut text = String::new();
    loop {
        match rest.next()? {
            '"' => return Some(text),
            '\\' => text.push(rest.next()?),
            other => text.push(other),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_warning_is_told_once_without_its_quotes() {
        let (warnings, mut headers) = (Warnings::default(), HeaderMap::new());
        for header in [r#"299 - "rule Rbac: \"edit\" and a \\""#, r#"299 - "another""#, "299 - none", r#"299 - "cut"#] {
            headers.append(http::header::WARNING, header.parse().unwrap());
        }
        warnings.note(&headers);
        assert_eq!(warnings.take(), [r#"rule Rbac: "edit" and a \"#, "another"]);
        assert!(warnings.take().is_empty());
    }
}
