//! Segments that bear one name by other labels: where one policy's segment.labels are `[tenant]` and another's are `[team]`, both may
//! have a segment `payments`. `join` and `leave`, SegmentationReports and accept-violations know a segment by its name alone, so
//! that two of one name would be taken for each other. Pure.

use super::policy::Policy;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

/// By each name that several segments bear: the labels that make each of them, with one of its namespaces.
pub type Namesakes<'w> = BTreeMap<String, BTreeMap<&'w [String], &'w Arc<str>>>;

/// The segments of these policies that bear one name. A value of a label has no slash, so that only lists of one length can meet:
/// where every policy has the same labels, no namespace is looked at.
pub fn namesakes<'w>(
    policies: impl Iterator<Item = &'w Policy> + Clone,
    namespaces: impl Iterator<Item = (&'w Arc<str>, &'w BTreeMap<String, String>)> + Clone,
) -> Namesakes<'w> {
    let lists: BTreeSet<&[String]> = policies.clone().map(|policy| &*policy.segment_labels).collect();
    let meets = |list: &[String]| lists.iter().any(|other| *other != list && other.len() == list.len());
    let mut all = Namesakes::new();
    for policy in policies.filter(|policy| meets(&policy.segment_labels)) {
        for (namespace, labels) in namespaces.clone().filter(|(name, labels)| policy.selects(name, labels)) {
            let Ok(segment) = policy.segment(labels) else { continue };
            let bearers = all.entry(segment.name().to_owned()).or_default();
            let first = bearers.entry(&policy.segment_labels).or_insert(namespace);
            *first = (*first).min(namespace);
        }
    }
    all.retain(|_, bearers| bearers.len() > 1);
    all
}

/// What is wrong with two segments of one name.
pub fn told(name: &str, bearers: &BTreeMap<&[String], &Arc<str>>) -> String {
    let each = bearers.iter().map(|(labels, namespace)| format!("[{}] in namespace {namespace:?}", labels.join(", ")));
    format!(
        "the one name {name:?} is that of {} segments, by the segment.labels {}, and join, leave and SegmentationReports know a segment by its name alone: make the policies' segment.labels alike, or narrow a namespaceSelector",
        bearers.len(),
        each.collect::<Vec<_>>().join(" and "),
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::segmentation::fixtures::policy;
    use crate::segmentation::world::{PolicyState, World};

    /// The names that several segments bear under these policies, each given as its segment labels and selector.
    fn found(policies: &[(&str, &str)]) -> Vec<String> {
        let mut world = World::default();
        world.namespace("a", &[("tenant", "red"), ("environment", "blue")]);
        world.namespace("b", &[("tenant", "blue"), ("environment", "red"), ("team", "red")]);
        let compiled: Vec<Arc<Policy>> = policies
            .iter()
            .map(|(labels, selector)| {
                let yaml = format!("segment: {{labels: {labels}}}\nnamespaceSelector: {selector}\n");
                let PolicyState::Known(policy) = policy("p", &yaml).1 else { unreachable!() };
                policy
            })
            .collect();
        let found = namesakes(compiled.iter().map(|policy| &**policy), world.namespaces.iter());
        found.iter().map(|(name, bearers)| told(name, bearers)).collect()
    }

    #[test]
    fn two_segments_of_one_name() {
        let everywhere = "{}";
        let told = found(&[("[tenant]", everywhere), ("[team]", everywhere)]);
        assert_eq!(
            told,
            [
                "the one name \"red\" is that of 2 segments, by the segment.labels [team] in namespace \"b\" and [tenant] in namespace \"a\", and join, leave and SegmentationReports know a segment by its name alone: make the policies' segment.labels alike, or narrow a namespaceSelector"
            ]
        );
        for (what, policies, count) in [
            ("the same labels twice", [("[tenant]", everywhere), ("[tenant]", everywhere)], 0),
            ("more labels make a longer name", [("[tenant]", everywhere), ("[tenant, environment]", everywhere)], 0),
            ("turned around", [("[tenant, environment]", everywhere), ("[environment, tenant]", everywhere)], 2),
            ("other values", [("[tenant]", "{matchLabels: {tenant: blue}}"), ("[team]", everywhere)], 0),
            ("nobody's", [("[tenant]", "{matchLabels: {tenant: green}}"), ("[team]", everywhere)], 0),
        ] {
            assert_eq!(found(&policies).len(), count, "{what}");
        }
    }
}
