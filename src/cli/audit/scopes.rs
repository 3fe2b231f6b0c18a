//! Which namespaces belong together: by policy, else by the labels that the reader named, else each for itself.

use crate::cli::observed::Observed;
use crate::segmentation::authorize::segment_of;
use std::fmt;

/// What a Secret must not leave.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum Scope {
    /// A segment.
    Segment(String),
    /// A namespace in none.
    Namespace(String),
}

impl fmt::Display for Scope {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Segment(name) => write!(f, "segment {name}"),
            Self::Namespace(name) => write!(f, "namespace {name}"),
        }
    }
}

/// Tells scopes.
pub struct Scopes<'a> {
    observed: &'a Observed,
    labels: &'a [String],
}

impl<'a> Scopes<'a> {
    /// With labels for where no policy governs.
    pub fn new(observed: &'a Observed, labels: &'a [String]) -> Self {
        Self { observed, labels }
    }

    /// Of a namespace.
    pub fn of(&self, namespace: &str) -> Scope {
        if let Ok(segment) = segment_of(namespace, &self.observed.world) {
            return Scope::Segment(segment.to_string());
        }
        let labels = self.observed.world.namespaces.get(namespace);
        let value = |label: &String| labels.and_then(|all| all.get(label)).filter(|value| !value.is_empty()).cloned();
        let values: Option<Vec<String>> = self.labels.iter().map(value).collect();
        match values.filter(|values| !values.is_empty()) {
            Some(values) => Scope::Segment(values.join("/")),
            None => Scope::Namespace(namespace.to_owned()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::cluster::Seen;
    use crate::cli::observed::tests::facts;
    use crate::cli::observed::{Facts, build};

    #[test]
    fn by_policy_by_labels_or_alone() {
        let segment = |name: &str| Scope::Segment(name.into());
        let governed = build(facts(&[]));
        assert_eq!(Scopes::new(&governed, &[]).of("payments-prod"), segment("payments/prod"));
        assert_eq!(Scopes::new(&governed, &[]).of("plain"), Scope::Namespace("plain".into()));
        let bare = build(Facts { policies: Seen::Absent, claims: Seen::Absent, ..facts(&[]) });
        assert_eq!(Scopes::new(&bare, &[]).of("payments-prod"), Scope::Namespace("payments-prod".into()));
        let labels = ["tenant".to_owned()];
        let scopes = Scopes::new(&bare, &labels);
        assert_eq!(
            (scopes.of("payments-prod"), scopes.of("payments-staging")),
            (segment("payments"), segment("payments"))
        );
        assert_eq!(scopes.of("plain"), Scope::Namespace("plain".into()));
    }
}
