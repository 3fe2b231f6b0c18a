//! Which namespaces the operator serves: all, or those of a list (`--namespaces`). Of the others it sees nothing and asks nothing,
//! so that its account needs no permission there.

use kube::api::{Api, ApiResource, DynamicObject};
use kube::core::NamespaceResourceScope;
use kube::{Client, Resource};
use std::collections::BTreeSet;
use std::sync::Arc;

/// The namespaces that are served.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Served(Option<BTreeSet<Arc<str>>>);

/// One place to list or watch a kind: a namespace, or (None) the whole cluster.
#[derive(Debug)]
pub struct Place<K> {
    /// The namespace.
    pub namespace: Option<Arc<str>>,
    /// The kind there.
    pub api: Api<K>,
}

impl<K> Place<K> {
    /// The whole cluster.
    pub fn everywhere(api: Api<K>) -> Vec<Self> {
        vec![Self { namespace: None, api }]
    }
}

impl Served {
    /// Those of a list; an empty one: all.
    pub fn of(namespaces: &[String]) -> Self {
        Self((!namespaces.is_empty()).then(|| namespaces.iter().map(|name| name.as_str().into()).collect()))
    }

    /// Whether a namespace is served.
    pub fn holds(&self, namespace: &str) -> bool {
        self.0.as_ref().is_none_or(|listed| listed.contains(namespace))
    }

    /// The list, if there is one.
    pub fn listed(&self) -> Option<impl Iterator<Item = &str>> {
        self.0.as_ref().map(|listed| listed.iter().map(|name| &**name))
    }

    /// Where to look for what is namespaced: one place a namespace, or the whole cluster at once.
    pub fn places(&self) -> Vec<Option<Arc<str>>> {
        match &self.0 {
            None => vec![None],
            Some(listed) => listed.iter().cloned().map(Some).collect(),
        }
    }

    /// Where to look for a namespaced kind.
    pub fn namespaced<K>(&self, client: &Client) -> Vec<Place<K>>
    where
        K: Resource<DynamicType = (), Scope = NamespaceResourceScope>,
    {
        let api = |namespace: Option<&str>| match namespace {
            None => Api::all(client.clone()),
            Some(namespace) => Api::namespaced(client.clone(), namespace),
        };
        self.places().into_iter().map(|namespace| Place { api: api(namespace.as_deref()), namespace }).collect()
    }

    /// Likewise for a kind that is known by its name alone.
    pub fn namespaced_with(&self, client: &Client, resource: &ApiResource) -> Vec<Place<DynamicObject>> {
        let api = |namespace: Option<&str>| match namespace {
            None => Api::all_with(client.clone(), resource),
            Some(namespace) => Api::namespaced_with(client.clone(), namespace, resource),
        };
        self.places().into_iter().map(|namespace| Place { api: api(namespace.as_deref()), namespace }).collect()
    }
}

/// Reads the name of a namespace (a DNS label).
pub fn read_namespace(text: &str) -> Result<String, String> {
    let letters =
        |text: &str| text.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-');
    let ends = !text.starts_with('-') && !text.ends_with('-');
    if text.is_empty() || text.len() > 63 || !letters(text) || !ends {
        return Err("write names of namespaces with a comma between, such as payments-prod,billing-prod; leave it out to serve all".to_owned());
    }
    Ok(text.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn without_a_list_all_are_served() {
        let all = Served::of(&[]);
        assert!(all.holds("any") && all.listed().is_none());
        assert_eq!(all.places(), [None]);
        let some = Served::of(&["b".into(), "a".into(), "b".into()]);
        assert!(some.holds("a") && !some.holds("any"));
        assert_eq!(some.listed().unwrap().collect::<Vec<_>>(), ["a", "b"]);
        assert_eq!(some.places(), [Some("a".into()), Some("b".into())]);
    }

    #[test]
    fn only_names_of_namespaces_are_read() {
        for good in ["a", "payments-prod", "0", &"a".repeat(63)] {
            assert_eq!(read_namespace(good).as_deref(), Ok(good));
        }
        for bad in ["", "*", "A", "-a", "a-", "a.b", "a b", &"a".repeat(64)] {
            assert!(read_namespace(bad).is_err(), "{bad}");
        }
    }
}
