//! Held against what `VisitPodSecretNames` and `VisitPVSecretNames` of Kubernetes 1.36 visit.

use super::*;
use crate::segmentation::filled::{filled, secrets_in};
use k8s_openapi::api::core::v1::PersistentVolumeSpec;
use serde_json::{Value, json};

fn pods(more: &Value) -> PodSpec {
    let mut spec = json!({"containers": [{"name": "web", "image": "web"}]});
    spec.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    serde_json::from_value(spec).unwrap()
}

#[test]
fn every_way_that_a_pod_names_a_secret() {
    let container = |more: Value| {
        let mut container = json!({"name": "more"});
        container.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        container
    };
    let env = json!({"env": [{"name": "A", "value": "b"}, {"name": "V", "valueFrom": {"secretKeyRef": {"name": "orders", "key": "k"}}}]});
    let from = json!({"envFrom": [{"configMapRef": {"name": "settings"}}, {"secretRef": {"name": "orders"}}]});
    let reference = json!({"name": "orders"});
    let volume = |more: Value| {
        let mut volume = json!({"name": "v"});
        volume.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        json!({"volumes": [{"name": "empty", "emptyDir": {}}, volume]})
    };
    let mut forms = vec![
        json!({"imagePullSecrets": [{"name": ""}, reference]}),
        volume(json!({"secret": {"secretName": "orders"}})),
        volume(json!({"projected": {"sources": [{"configMap": {"name": "c"}}, {"secret": reference}]}})),
        volume(json!({"csi": {"driver": "d", "nodePublishSecretRef": reference}})),
        volume(json!({"azureFile": {"secretName": "orders", "shareName": "s"}})),
        volume(json!({"cephfs": {"monitors": ["m"], "secretRef": reference}})),
        volume(json!({"cinder": {"volumeID": "i", "secretRef": reference}})),
        volume(json!({"flexVolume": {"driver": "d", "secretRef": reference}})),
        volume(json!({"iscsi": {"targetPortal": "t", "iqn": "i", "lun": 0, "secretRef": reference}})),
        volume(json!({"rbd": {"monitors": ["m"], "image": "i", "secretRef": reference}})),
        volume(json!({"scaleIO": {"gateway": "g", "system": "s", "volumeName": "v", "secretRef": reference}})),
        volume(json!({"storageos": {"volumeName": "v", "secretRef": reference}})),
    ];
    for kind in ["containers", "initContainers", "ephemeralContainers"] {
        forms.push(json!({kind: [container(env.clone())]}));
        forms.push(json!({kind: [container(from.clone())]}));
    }
    for form in forms {
        assert_eq!(names(&of_pods(&pods(&form))), ["orders"].into(), "{form}");
    }
    let none = json!({
        "imagePullSecrets": [{}],
        "volumes": [{"name": "c", "configMap": {"name": "orders"}}, {"name": "p", "persistentVolumeClaim": {"claimName": "orders"}}],
    });
    assert_eq!(of_pods(&pods(&none)), []);
}

/// By the lists of fields of Kubernetes' own types, whatever comes to them.
#[test]
fn no_field_that_names_a_secret_is_left_out() {
    let spec: PodSpec = filled();
    let expected = secrets_in(&spec);
    let found: BTreeSet<String> = names(&of_pods(&spec)).into_iter().map(str::to_owned).collect();
    assert_eq!(found, expected);
    assert!(expected.contains("ephemeralContainers[].env[].valueFrom.secretKeyRef.name"), "{expected:?}");
    let spec: PersistentVolumeSpec = filled();
    // A namespace is called as the name beside it.
    let place = |name: String| (format!("{}amespace", name.strip_suffix("ame").unwrap()), name);
    let expected: BTreeSet<(String, String)> = secrets_in(&spec).into_iter().map(place).collect();
    let volume = PersistentVolume { spec: Some(spec), ..PersistentVolume::default() };
    let (names, _) = of_persistent_volume(&volume);
    let found = names.into_iter().map(|(namespace, name)| (namespace.to_owned(), name.to_owned()));
    assert_eq!(found.collect::<BTreeSet<_>>(), expected);
}

#[test]
fn the_account_of_a_pod_and_what_an_account_gives_its_pods() {
    for (written, account) in [(json!({}), "default"), (json!({"serviceAccountName": ""}), "default")] {
        assert_eq!(account_of(&pods(&written)), account);
    }
    assert_eq!(account_of(&pods(&json!({"serviceAccountName": "orders"}))), "orders");
    let account = json!({"secrets": [{"name": "a"}, {}], "imagePullSecrets": [{"name": "b"}, {"name": ""}]});
    let account: ServiceAccount = serde_json::from_value(account).unwrap();
    let told: Vec<_> = of_account(&account).into_iter().map(|r| (r.secret, r.by, r.by.is_pull())).collect();
    assert_eq!(told, [("a", By::AccountSecret, false), ("b", By::AccountPull, true)]);
}

#[test]
fn each_place_is_told_with_how() {
    let spec = pods(&json!({
        "imagePullSecrets": [{"name": "pull"}],
        "initContainers": [{"name": "i", "envFrom": [{"secretRef": {"name": "init"}}]}],
        "containers": [{"name": "c", "env": [
            {"name": "P", "valueFrom": {"secretKeyRef": {"name": "env", "key": "k", "optional": true}}},
            {"name": "Q", "valueFrom": {"secretKeyRef": {"name": "env", "key": "k"}}},
        ]}],
        "volumes": [{"name": "v", "secret": {"secretName": "volume"}}],
    }));
    let told: Vec<String> = of_pods(&spec)
        .iter()
        .map(|r| format!("{} by {}{}", r.secret, r.by, if r.optional { "?" } else { "" }))
        .collect();
    assert_eq!(
        told,
        [
            "pull by imagePullSecrets?",
            "init by envFrom of container i",
            "env by env P of container c?",
            "env by env Q of container c",
            "volume by volume v",
        ]
    );
}

#[test]
fn every_way_that_a_volume_names_a_secret() {
    let there = json!({"namespace": "vault", "name": "orders"});
    let csi = |field: &str| json!({"csi": {"driver": "d", "volumeHandle": "h", field: there}});
    let fields = [
        "controllerPublishSecretRef",
        "controllerExpandSecretRef",
        "nodePublishSecretRef",
        "nodeStageSecretRef",
        "nodeExpandSecretRef",
    ];
    let mut sources: Vec<Value> = fields.into_iter().map(csi).collect();
    sources.extend([
        json!({"azureFile": {"secretName": "orders", "secretNamespace": "vault", "shareName": "s"}}),
        json!({"cephfs": {"monitors": ["m"], "secretRef": there}}),
        json!({"cinder": {"volumeID": "i", "secretRef": there}}),
        json!({"flexVolume": {"driver": "d", "secretRef": there}}),
        json!({"iscsi": {"targetPortal": "t", "iqn": "i", "lun": 0, "secretRef": there}}),
        json!({"rbd": {"monitors": ["m"], "image": "i", "secretRef": there}}),
        json!({"scaleIO": {"gateway": "g", "system": "s", "secretRef": there}}),
        json!({"storageos": {"volumeName": "v", "secretRef": there}}),
    ]);
    let named = |spec: &Value| {
        let volume: PersistentVolume = serde_json::from_value(json!({"spec": spec})).unwrap();
        let (names, bound) = of_persistent_volume(&volume);
        let names: Vec<String> = names.into_iter().map(|(namespace, name)| format!("{namespace}/{name}")).collect();
        (names, bound.map(str::to_owned))
    };
    for mut spec in sources {
        assert_eq!(named(&spec), (vec!["vault/orders".to_owned()], None), "{spec}");
        spec["claimRef"] = json!({"namespace": "shop", "name": "c"});
        assert_eq!(named(&spec), (vec!["vault/orders".to_owned()], Some("shop".to_owned())), "{spec}");
    }
    // Without a namespace it is the claim's, and without a claim none.
    let mut spec = json!({"azureFile": {"secretName": "orders", "shareName": "s"}});
    assert_eq!(named(&spec), (vec![], None));
    spec["claimRef"] = json!({"namespace": "shop", "name": "c"});
    assert_eq!(named(&spec), (vec!["shop/orders".to_owned()], Some("shop".to_owned())));
}

#[test]
fn every_way_that_a_class_names_a_secret() {
    let named = |parameters: &[(&str, &str)]| {
        let parameters = parameters.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect();
        let names = of_parameters(&parameters);
        names.into_iter().map(|(namespace, name)| format!("{namespace:?} {name:?}")).collect::<Vec<_>>()
    };
    for step in ["provisioner", "controller-publish", "node-stage", "node-publish", "controller-expand", "node-expand"]
    {
        let (name, namespace) =
            (format!("csi.storage.k8s.io/{step}-secret-name"), format!("csi.storage.k8s.io/{step}-secret-namespace"));
        assert_eq!(named(&[(&name, "orders"), (&namespace, "vault")]), ["Some(\"vault\") Some(\"orders\")"], "{step}");
    }
    for (name, namespace) in [
        ("secretName", "secretNamespace"),
        ("adminSecretName", "adminSecretNamespace"),
        ("userSecretName", "usersecretnamespace"),
    ] {
        assert_eq!(named(&[(name, "orders"), (namespace, "vault")]), ["Some(\"vault\") Some(\"orders\")"], "{name}");
    }
    let (name, namespace) =
        ("csi.storage.k8s.io/provisioner-secret-name", "csi.storage.k8s.io/provisioner-secret-namespace");
    assert_eq!(named(&[(name, "${pvc.name}"), (namespace, "vault")]), ["Some(\"vault\") None"]);
    assert_eq!(named(&[(name, "orders"), (namespace, "${pvc.namespace}")]), ["None Some(\"orders\")"]);
    assert_eq!(named(&[(name, "orders")]), ["None Some(\"orders\")"], "in the claim's namespace");
    assert_eq!(named(&[("fsType", "ext4")]), [""; 0]);
}
