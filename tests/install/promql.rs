//! As much of PromQL as tells what a query asks for: metrics with their matchers, and the labels that it groups by. Whether it is
//! PromQL at all, promtool says.

/// A label, how it is compared, and with what.
pub type Matcher = (String, String, String);

/// What a query asks for.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Query {
    /// Each metric, with its matchers.
    pub selectors: Vec<(String, Vec<Matcher>)>,
    /// The labels in `by (...)`, `on (...)` and the like.
    pub grouped: Vec<String>,
}

const GROUPS: [&str; 6] = ["by", "without", "on", "ignoring", "group_left", "group_right"];
const WORDS: [&str; 7] = ["and", "or", "unless", "bool", "offset", "inf", "nan"];

/// Reads a query.
pub fn read(text: &str) -> Query {
    let mut query = Query::default();
    let mut rest = text;
    while let Some(first) = rest.chars().next() {
        if first == '[' {
            rest = rest.split_once(']').expect("a range ends").1;
        } else if first.is_ascii_digit() {
            rest = rest.trim_start_matches(|c: char| c.is_ascii_alphanumeric() || c == '.');
        } else if first.is_ascii_alphabetic() || first == '_' {
            let end = rest.find(|c: char| !(c.is_ascii_alphanumeric() || c == '_' || c == ':')).unwrap_or(rest.len());
            let (word, after) = rest.split_at(end);
            rest = after.trim_start();
            if GROUPS.contains(&word) {
                let Some((labels, after)) = rest.strip_prefix('(').and_then(|list| list.split_once(')')) else {
                    continue;
                };
                query.grouped.extend(labels.split(',').map(|label| label.trim().to_owned()).filter(|l| !l.is_empty()));
                rest = after;
            } else if !WORDS.contains(&word) && !is_applied(rest) {
                let (matchers, after) = matchers(rest);
                query.selectors.push((word.to_owned(), matchers));
                rest = after;
            }
        } else {
            rest = &rest[first.len_utf8()..];
        }
    }
    query
}

/// Whether what stands before this is a function or an aggregation.
fn is_applied(rest: &str) -> bool {
    let word = rest.split(|c: char| !c.is_ascii_alphabetic()).next().unwrap_or_default();
    rest.starts_with('(') || ["by", "without"].contains(&word)
}

fn matchers(text: &str) -> (Vec<Matcher>, &str) {
    let mut found = Vec::new();
    let Some(mut rest) = text.strip_prefix('{') else { return (found, text) };
    loop {
        rest = rest.trim_start_matches([',', ' ']);
        if let Some(after) = rest.strip_prefix('}') {
            return (found, after);
        }
        let (label, after) = rest.split_once('"').expect("a matcher has a value");
        let (value, after) = after.split_once('"').expect("a value ends");
        let end = label.find(['=', '!']).expect("a matcher compares");
        found.push((label[..end].trim().to_owned(), label[end..].trim().to_owned(), value.to_owned()));
        rest = after;
    }
}

#[test]
fn what_a_query_asks_for() {
    let query = read(
        "sum by (le, rule) (rate(a_bucket{rule=~\"A|B\", x!=\"}\"}[5m])) / on (rule) group_left b or vector(0) > 0.5 * 1e3",
    );
    let matcher = |label: &str, op: &str, value: &str| (label.to_owned(), op.to_owned(), value.to_owned());
    let bucket = ("a_bucket".to_owned(), vec![matcher("rule", "=~", "A|B"), matcher("x", "!=", "}")]);
    assert_eq!(query.selectors, [bucket, ("b".to_owned(), Vec::new())]);
    assert_eq!(query.grouped, ["le", "rule", "rule"]);
}
