//! What is there of the External Secrets Operator, as plain values: from files here, from a cluster by `look`.

use crate::cli::simulate::around::pods;
use crate::cli::simulate::kind::{Kind, Native};
use crate::cli::simulate::object::Object;
use crate::segmentation::foreign::ForeignKind;
use crate::segmentation::references::{account_of, of_account, of_pods};
use k8s_openapi::api::core::v1::{PodSpec, ServiceAccount};
use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet};

/// Namespaces and their labels.
pub type Namespaces = BTreeMap<String, BTreeMap<String, String>>;

/// An object of the External Secrets Operator.
#[derive(Debug, Clone, PartialEq)]
pub struct Foreign {
    /// Its kind.
    pub kind: ForeignKind,
    /// Its namespace; empty if its kind has none.
    pub namespace: String,
    /// Its name.
    pub name: String,
    /// Its spec.
    pub spec: Value,
}

/// What a migration is made from.
#[derive(Debug, Default)]
pub struct Found {
    /// The namespaces that are known.
    pub namespaces: Namespaces,
    /// ExternalSecrets, their stores, and what is beside them; by kind, namespace and name.
    pub objects: Vec<Foreign>,
    /// Who uses a Secret (namespace, name): ServiceAccounts.
    pub users: BTreeMap<(String, String), BTreeSet<String>>,
}

/// Whether objects of this kind are of the External Secrets Operator.
pub fn is_meant(kind: ForeignKind) -> bool {
    kind.group() == "external-secrets.io"
}

impl Found {
    /// From files, in any order.
    pub fn of_files(objects: &[Object]) -> Self {
        let mut found = Self::default();
        for object in objects {
            let namespace = object.namespace.clone().unwrap_or_default();
            match object.kind {
                Kind::Namespace => drop(found.namespaces.insert(object.name.clone(), object.labels())),
                Kind::Foreign(kind) if is_meant(kind) => {
                    let spec = object.node.get("spec").map(|spec| spec.to_stored_json()).unwrap_or_default();
                    found.objects.push(Foreign { kind, namespace, name: object.name.clone(), spec });
                }
                Kind::Native(kind) => found.native(kind, object, &namespace),
                _ => {}
            }
        }
        found.in_order()
    }

    /// In an order that does not depend on who listed them; of what is there twice the last, as kubectl has it.
    pub fn in_order(mut self) -> Self {
        let all = std::mem::take(&mut self.objects).into_iter();
        let last: BTreeMap<_, _> =
            all.map(|object| ((object.kind, object.namespace.clone(), object.name.clone()), object)).collect();
        self.objects = last.into_values().collect();
        self
    }

    fn native(&mut self, kind: Native, object: &Object, namespace: &str) {
        if kind == Native::ServiceAccount {
            let account = serde_json::from_value::<ServiceAccount>(object.node.to_stored_json()).unwrap_or_default();
            return of_account(&account).iter().for_each(|named| self.uses(namespace, named.secret, &object.name));
        }
        let spec = pods::spec(kind, object).and_then(|spec| serde_json::from_value::<PodSpec>(spec).ok());
        let Some(spec) = spec else { return };
        of_pods(&spec).iter().for_each(|named| self.uses(namespace, named.secret, account_of(&spec)));
    }

    /// Notes that pods of an account use a Secret.
    pub fn uses(&mut self, namespace: &str, secret: &str, account: &str) {
        self.users.entry((namespace.to_owned(), secret.to_owned())).or_default().insert(account.to_owned());
    }
}
