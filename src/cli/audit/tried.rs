//! Policies and stores of files, to be tried as if they were applied. Pure.

use crate::cli::cluster::Failure;
use crate::cli::simulate::crd::Crds;
use crate::cli::simulate::object::{Source, gather};
use crate::cli::simulate::schema::Weight;
use kube::api::DynamicObject;

/// What is tried, in the order of the files; whatever else they hold is left aside.
pub fn read(sources: &[Source]) -> Result<Vec<DynamicObject>, Failure> {
    let crds = Crds::default();
    let gathered = gather(sources, "default", &crds);
    let at = |location: &crate::cli::report::Location, message: &str| {
        format!("{}:{}:{}: {message}", location.file, location.at.line, location.at.column)
    };
    let mut faults: Vec<String> =
        gathered.input_errors.iter().map(|error| at(&error.location, &error.message)).collect();
    let mut tried = Vec::new();
    for object in &gathered.objects {
        let kind = object.kind.as_str();
        if !matches!(kind, "SegmentationPolicy" | "ScopedSecretStore") {
            continue;
        }
        let breaches = crds.check(kind, &object.node).into_iter().filter(|breach| breach.weight != Weight::Unsure);
        faults.extend(breaches.map(|breach| at(&object.location(breach.at), &breach.message)));
        let decoded = serde_json::from_value(object.node.to_json());
        tried.extend(decoded.map_err(|error| faults.push(at(&object.location(object.node.at), &error.to_string()))));
    }
    if let Some(first) = faults.first() {
        let more = if faults.len() > 1 { format!(" (and {} more errors)", faults.len() - 1) } else { String::new() };
        return Err(Failure::Usage(format!("{first}{more}")));
    }
    let is_policy = |object: &DynamicObject| object.types.as_ref().is_some_and(|t| t.kind == "SegmentationPolicy");
    if !sources.is_empty() && !tried.iter().any(is_policy) {
        return Err(Failure::Usage("there is no SegmentationPolicy in what --file names".to_owned()));
    }
    Ok(tried)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tried(text: &str) -> Result<Vec<String>, String> {
        let source = Source { name: "p.yaml".into(), bytes: text.as_bytes().to_vec(), found: false };
        let names = |objects: Vec<DynamicObject>| objects.into_iter().filter_map(|o| o.metadata.name).collect();
        read(&[source]).map(names).map_err(|error| error.to_string())
    }

    const POLICY: &str = "apiVersion: scopedsecrets.io/v1alpha1
kind: SegmentationPolicy
metadata: {name: tenants}
spec:
  segment: {labels: [tenant]}
  namespaceSelector: {matchExpressions: [{key: tenant, operator: Exists}]}
  allow: [{storeRef: {name: main}, keys: ['${label:tenant}/**']}]
";

    #[test]
    fn policies_and_stores_are_taken_and_the_rest_is_left_aside() {
        let store = "apiVersion: scopedsecrets.io/v1alpha1\nkind: ScopedSecretStore\nmetadata: {name: main}\nspec: {aws: {region: eu-west-1}}\n";
        let rest = "apiVersion: v1\nkind: Namespace\nmetadata: {name: a}\n";
        assert_eq!(tried(&format!("{POLICY}---\n{store}---\n{rest}")), Ok(vec!["tenants".into(), "main".into()]));
        assert_eq!(read(&[]).map(|tried| tried.len()).map_err(|e| e.to_string()), Ok(0));
        assert!(tried(rest).unwrap_err().contains("no SegmentationPolicy"));
    }

    #[test]
    fn what_is_wrong_is_told_with_its_place() {
        let misspelt = tried(&POLICY.replace("segment:", "segmnt:")).unwrap_err();
        assert!(misspelt.starts_with("p.yaml:5:3: ") && misspelt.contains("segmnt"), "{misspelt}");
        assert!(tried("a: [").unwrap_err().starts_with("p.yaml:"));
    }
}
