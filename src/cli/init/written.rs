//! What is written: YAML with comments.

use crate::cli::report::text::one_line;
use serde_json::Value;

/// One document of a file.
#[derive(Debug, Clone, PartialEq)]
pub enum Document {
    /// As it is.
    Text(String),
    /// An object (or none), and what is said of it, a comment each.
    Object(Vec<String>, Option<Value>),
}

/// A file of a few objects.
#[derive(Debug, Clone, PartialEq)]
pub struct File {
    /// Below the folder.
    pub path: String,
    /// What is in it.
    pub documents: Vec<Document>,
}

impl File {
    /// As it is written.
    pub fn text(&self) -> String {
        self.documents.iter().map(Document::text).collect::<Vec<_>>().join("---\n")
    }
}

impl Document {
    fn text(&self) -> String {
        match self {
            Self::Text(text) => text.clone(),
            Self::Object(comments, object) => {
                // A name or a key may have anything in it; none of it ends a comment.
                let comments: String = comments.iter().map(|line| wrapped(&one_line(line))).collect();
                comments + &object.as_ref().map(yaml).unwrap_or_default()
            }
        }
    }
}

/// An object as YAML.
pub fn yaml(object: &Value) -> String {
    // A JSON value has a text in YAML, always; and is YAML itself.
    serde_saphyr::to_string(object).unwrap_or_else(|_| format!("{object}\n"))
}

/// So wide is a comment.
const WIDTH: usize = 110;

fn wrapped(text: &str) -> String {
    let (mut out, mut line) = (String::new(), String::from("#"));
    for word in text.split(' ') {
        if line.chars().count() + word.chars().count() >= WIDTH && line.len() > 4 {
            out.push_str(&line);
            out.push('\n');
            line = String::from("#  ");
        }
        line.push(' ');
        line.push_str(word);
    }
    out + &line + "\n"
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_comment_stays_one() {
        let long = "word ".repeat(40);
        let document = Document::Object(vec!["a\n- b: c".into(), long], Some(serde_json::json!({"a": 1})));
        let text = File { path: String::new(), documents: vec![document] }.text();
        assert!(text.starts_with("# a\\n- b: c\n# word"), "{text}");
        let outside: Vec<&str> = text.lines().filter(|line| !line.starts_with('#')).collect();
        assert_eq!(outside, ["a: 1"]);
        assert!(text.lines().all(|line| line.len() <= WIDTH + 5));
    }
}
