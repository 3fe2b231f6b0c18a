//! What one admission review costs in the server (processor time), from the bytes of the request to the answer, with 10,000 managed Secrets in the
//! index. Each line: the median, the 99th percentile, what the design allows, and the median as a multiple of a baseline that is
//! measured in the same run (decoding a review of 1 KiB, which every webhook does), since machines differ. It fails if a line
//! is over what the design allows.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a bench")]

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use jiff::Timestamp;
use kube::core::DynamicObject;
use kube::core::admission::{AdmissionRequest, AdmissionResponse};
use scoped_secrets::admission::review::{Review, Route, answer, decode};
use scoped_secrets::admission::rules::{claims, copies, other_operators, policies, rbac};
use scoped_secrets::admission::unread::Unread;
use scoped_secrets::api::SegmentationPolicySpec;
use scoped_secrets::controller::foreign::record_of;
use scoped_secrets::controller::index::{Index, PolicyFacts};

use scoped_secrets::segmentation::access::RbacName;
use scoped_secrets::segmentation::access::written::{Bound, Rules};
use scoped_secrets::segmentation::foreign::{ForeignKind, ForeignName, store};
use scoped_secrets::segmentation::key::Realm;
use scoped_secrets::segmentation::policy::Policy;
use scoped_secrets::segmentation::seal::{Generation, SealKeys};
use scoped_secrets::segmentation::world::{Holding, KeyVersion, ObjectName, StoreState};
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::process::ExitCode;
use std::sync::{Arc, RwLock};
use std::time::Duration;

const COUNT: u32 = 10_000;
const SEGMENTS: u32 = 100;

struct Cluster {
    index: RwLock<Index>,
    keys: SealKeys,
    limit: copies::Limit,
}

fn value(i: u32) -> String {
    let mut state = u64::from(i).wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    let mut digit = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        char::from(b'!' + (state % 94) as u8)
    };
    (0..32).map(|_| digit()).collect()
}

fn claim(namespace: &str, name: &str, key: &str) -> Value {
    json!({
        "apiVersion": "scopedsecrets.io/v1alpha1", "kind": "ScopedSecret",
        "metadata": {"name": name, "namespace": namespace, "uid": format!("uid-{name}"), "creationTimestamp": "2026-01-01T00:00:00Z"},
        "spec": {
            "storeRef": {"name": "aws"}, "consumers": [{"serviceAccountName": "orders"}],
            "data": [{"secretKey": "password", "remoteRef": {"key": key, "property": "password"}}],
        },
    })
}

fn spec(more: &Value) -> Value {
    let mut spec = json!({
        "segment": {"labels": ["tenant", "environment"]},
        "allow": [{"storeRef": {"name": "aws"}, "keys": ["${label:tenant}/${label:environment}/**"]}],
        "rules": {"governs": ["ExternalSecrets"]},
    });
    spec.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    spec
}

/// What is in it beside policies and roles.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Filled {
    /// Each claim with a key and a value of its own.
    Apart,
    /// Likewise, and objects of other operators.
    Beside,
    /// All claims of one namespace, on one key.
    AtOne,
}

fn cluster(filled: Filled) -> Cluster {
    let keys = SealKeys::new(Generation::from_random(&[7; 36], Timestamp::UNIX_EPOCH).unwrap());
    let mut index = Index::default();
    index.secrets_synced = true;
    let policy: SegmentationPolicySpec = serde_json::from_value(spec(&json!({}))).unwrap();
    let policy = Policy::compile("tenants", &policy).map_err(|e| e.to_string());
    index.put_policy("tenants", policy, PolicyFacts::default(), false);
    index.set_policies_synced(true);
    let realm = Realm::Aws { account: "123456789012".into(), region: "eu-west-1".into() };
    index.put_store("aws", Some(StoreState::Known(realm)));
    for segment in 0..SEGMENTS {
        let labels =
            [("tenant".to_owned(), format!("tenant-{segment}")), ("environment".to_owned(), "prod".to_owned())];
        index.put_namespace(&format!("tenant-{segment}-prod"), labels.into(), false, "1", Timestamp::MIN);
    }
    for i in 0..COUNT {
        let name = format!("orders-{i}");
        let (segment, i) = if filled == Filled::AtOne { (1, 1) } else { (i % SEGMENTS, i) };
        let namespace = format!("tenant-{segment}-prod");
        let object = claim(&namespace, &name, &format!("tenant-{segment}/prod/orders-{i}"));
        index.put_claim(&serde_json::from_value(object).unwrap());
        let secret = ObjectName::new(&namespace, &name);
        let claim = index.world.claim(&secret).unwrap();
        let (fingerprints, marks) = keys.sealed_prints(&[keys.print(value(i).as_bytes())]);
        let versions =
            index.world.canonical_keys(claim).into_iter().map(|key| KeyVersion::undated(key, "v1")).collect();
        let held_since = Timestamp::UNIX_EPOCH;
        let holding = Holding { versions, fingerprints, marks, held_since, ..Holding::of_claim(claim, Vec::new()) };
        index.world.put_holding(secret, holding.into());
    }
    fill_rbac(&mut index);
    if filled == Filled::Beside {
        fill_foreign(&mut index);
    }
    Cluster { index: RwLock::new(index), keys, limit: copies::Limit::default() }
}

const RBAC: &str = "rbac.authorization.k8s.io";

fn role(kind: &str, name: &str, resource: &str) -> Value {
    let rules = json!([{"apiGroups": [""], "resources": [resource], "verbs": ["get", "list"]}]);
    json!({"apiVersion": format!("{RBAC}/v1"), "kind": kind, "metadata": {"name": name}, "rules": rules})
}

fn making(name: &str) -> Value {
    let rules = json!([{"apiGroups": [""], "resources": ["secrets"], "verbs": ["create"]}]);
    json!({"apiVersion": format!("{RBAC}/v1"), "kind": "ClusterRole", "metadata": {"name": name}, "rules": rules})
}

/// Reads Secrets of sixty names, and lets roles of sixty be bound.
fn naming(name: &str) -> Value {
    let names = |what: &str| (0..60).map(|i| format!("{what}-{i}")).collect::<Vec<_>>();
    let rules = json!([
        {"apiGroups": [""], "resources": ["secrets"], "verbs": ["get"], "resourceNames": names("chart")},
        {"apiGroups": [RBAC], "resources": ["roles"], "verbs": ["bind"], "resourceNames": names("orders")},
    ]);
    json!({"apiVersion": format!("{RBAC}/v1"), "kind": "ClusterRole", "metadata": {"name": name}, "rules": rules})
}

fn binding(kind: &str, name: &str, role: &str, namespace: &str) -> Value {
    json!({
        "apiVersion": format!("{RBAC}/v1"), "kind": kind, "metadata": {"name": name},
        "roleRef": {"apiGroup": RBAC, "kind": "ClusterRole", "name": role},
        "subjects": [{"kind": "ServiceAccount", "name": "orders", "namespace": namespace}],
    })
}

/// A Role and a RoleBinding for each managed Secret. One in a hundred binds an account of another segment to a role that reads no
/// Secrets: those count if it ever does.
fn fill_rbac(index: &mut Index) {
    let rules = |object: &Value| -> Rules { serde_json::from_value(object.clone()).unwrap() };
    for (name, object) in [
        ("reader", role("ClusterRole", "reader", "secrets")),
        ("viewer", role("ClusterRole", "viewer", "configmaps")),
        ("maker", making("maker")),
    ] {
        let rules = rules(&object);
        index.access.put_cluster_role(RbacName::new(None, name), rules.role().clone(), rules.aggregation(None));
    }
    // One who may create Secrets in every segment, and is a stranger in each.
    for i in 0..SEGMENTS {
        let bound: Bound = serde_json::from_value(binding("RoleBinding", "makes", "maker", "builder")).unwrap();
        let namespace = format!("tenant-{i}-prod");
        index.access.put_binding(RbacName::new(Some(&namespace), "makes"), bound.binding(Some(&namespace)));
    }
    let names = rules(&naming("names"));
    index.access.put_cluster_role(RbacName::new(None, "names"), names.role().clone(), names.aggregation(None));
    let bound: Bound = serde_json::from_value(binding("ClusterRoleBinding", "names", "names", "elsewhere")).unwrap();
    index.access.put_binding(RbacName::new(None, "names"), bound.binding(None));
    for i in 0..COUNT {
        let (namespace, name) = (format!("tenant-{}-prod", i % SEGMENTS), format!("orders-{i}"));
        let own = rules(&role("Role", &name, "secrets"));
        index.access.put_role(RbacName::new(Some(&namespace), &name), own.role().clone());
        let (role, whom) = if i % 100 == 0 { ("viewer", "tenant-1-prod") } else { ("reader", &*namespace) };
        let bound: Bound = serde_json::from_value(binding("RoleBinding", &name, role, whom)).unwrap();
        index.access.put_binding(RbacName::new(Some(&namespace), &name), bound.binding(Some(&namespace)));
    }
}

fn external_secret(name: &str, namespace: &str, store: &str, key: &str) -> Value {
    json!({
        "apiVersion": "external-secrets.io/v1", "kind": "ExternalSecret",
        "metadata": {"name": name, "namespace": namespace, "uid": format!("uid-{name}"), "creationTimestamp": "2026-01-01T00:00:00Z"},
        "spec": {"secretStoreRef": {"name": store}, "data": [{"secretKey": "password", "remoteRef": {"key": key}}]},
    })
}

/// A ClusterExternalSecret of a key, for every namespace.
fn spreading(key: &str) -> Value {
    let data = json!([{"secretKey": "password", "remoteRef": {"key": key}}]);
    json!({
        "apiVersion": "external-secrets.io/v1", "kind": "ClusterExternalSecret",
        "metadata": {"name": "new", "uid": "uid-new", "creationTimestamp": "2026-01-01T00:00:00Z"},
        "spec": {"namespaceSelectors": [{}], "externalSecretSpec": {"secretStoreRef": {"name": "aws"}, "data": data}},
    })
}

fn secret_store(region: &str) -> Value {
    json!({
        "apiVersion": "external-secrets.io/v1", "kind": "SecretStore", "metadata": {"name": "aws", "namespace": "tenant-1-prod"},
        "spec": {"provider": {"aws": {"service": "SecretsManager", "region": region}}},
    })
}

/// A store and ten ExternalSecrets in each segment.
fn fill_foreign(index: &mut Index) {
    let foreign = &mut index.world.foreign;
    ForeignKind::ALL.iter().for_each(|kind| foreign.set_read(*kind, true));
    for i in 0..SEGMENTS {
        let namespace = format!("tenant-{i}-prod");
        let name = ForeignName::new(ForeignKind::SecretStore, Some(&namespace), "aws");
        foreign.put_store(name, store(&secret_store("eu-west-1")["spec"]));
        for n in 0..10 {
            let name = format!("external-{n}");
            let object = external_secret(&name, &namespace, "aws", &format!("tenant-{i}/prod/external-{n}"));
            let record = record_of(ForeignKind::ExternalSecret, &serde_json::from_value(object).unwrap());
            foreign.put(ForeignName::new(ForeignKind::ExternalSecret, Some(&namespace), &name), record);
        }
    }
}

/// A rule over the cluster, at a time that goes on by a minute with each review: nobody comes to the limit.
struct Rule<F>(F);

impl<F: Fn(&AdmissionRequest<DynamicObject>) -> AdmissionResponse + Send + Sync> Review for Rule<F> {
    fn review(&self, request: &AdmissionRequest<DynamicObject>) -> AdmissionResponse {
        (self.0)(request)
    }

    fn refuses_unread(&self, _: &Unread<'_>) -> bool {
        true
    }
}

fn route(
    kinds: &'static [(&'static str, &'static str)],
    rule: impl Fn(&AdmissionRequest<DynamicObject>) -> AdmissionResponse + Send + Sync + 'static,
) -> Route {
    Route { path: "/", rule: "", kinds, review: Arc::new(Rule(rule)) }
}

fn review(
    group: &str,
    version: &str,
    kind: &str,
    namespace: Option<&str>,
    object: &Value,
    old: Option<&Value>,
) -> Vec<u8> {
    json!({
        "apiVersion": "admission.k8s.io/v1", "kind": "AdmissionReview",
        "request": {
            "uid": "7f0b", "operation": if old.is_some() { "UPDATE" } else { "CREATE" }, "name": object["metadata"]["name"],
            "namespace": namespace, "dryRun": false, "kind": {"group": group, "version": version, "kind": kind},
            "resource": {"group": group, "version": version, "resource": "things"},
            "userInfo": {"username": "ada", "groups": ["system:authenticated"]}, "object": object, "oldObject": old,
        }
    })
    .to_string()
    .into_bytes()
}

fn config_map(text: &[u8]) -> Vec<u8> {
    let data = match std::str::from_utf8(text) {
        Ok(text) => json!({"data": {"a": text}}),
        Err(_) => json!({"binaryData": {"a": BASE64_STANDARD.encode(text)}}),
    };
    let mut object =
        json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "a", "namespace": "tenant-1-prod"}});
    object.as_object_mut().unwrap().extend(data.as_object().unwrap().clone());
    review("", "v1", "ConfigMap", Some("tenant-1-prod"), &object, None)
}

/// Bytes without a pattern.
fn noise(length: usize) -> Vec<u8> {
    let mut state = 0x9e37_79b9_7f4a_7c15u64;
    let mut next = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        (state >> 32) as u8
    };
    (0..length).map(|_| next()).collect()
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn filled(with: &[u8], length: usize) -> Vec<u8> {
    with.iter().copied().cycle().take(length).collect()
}

/// Time that this thread has had a processor: what others on the machine do does not count.
fn busy() -> Duration {
    let time = rustix::time::clock_gettime(rustix::time::ClockId::ThreadCPUTime);
    Duration::new(time.tv_sec.try_into().unwrap(), time.tv_nsec.try_into().unwrap())
}

/// Median and 99th percentile.
fn measure(runs: usize, mut once: impl FnMut()) -> (Duration, Duration) {
    (0..runs / 10 + 1).for_each(|_| once());
    let mut took: Vec<Duration> = (0..runs)
        .map(|_| {
            let start = busy();
            once();
            busy() - start
        })
        .collect();
    took.sort();
    (took[runs / 2], took[runs * 99 / 100])
}

/// What a line needs.
struct Bench {
    baseline: Duration,
    over: usize,
    /// What is in the names of the lines that are wanted (`cargo bench --bench admission -- YAML`): all.
    only: Vec<String>,
}

impl Bench {
    fn line(&mut self, rule: &str, what: &str, allowed: Duration, runs: usize, route: &Route, body: &[u8]) {
        if self.only.iter().any(|part| !what.contains(part.as_str())) {
            return;
        }
        let (median, p99) = measure(runs, || drop(answer(route, &decode(body).unwrap())));
        let ms = |time: Duration| format!("{:.3} ms", time.as_secs_f64() * 1e3);
        let is_over = p99 > allowed;
        self.over += usize::from(is_over);
        let over = if is_over { "  OVER BUDGET" } else { "" };
        let ratio = median.as_secs_f64() / self.baseline.as_secs_f64();
        println!("{rule:<14} {what:<44} {:>9} {:>9} {:>9} {ratio:>10.1}{over}", ms(median), ms(p99), ms(allowed));
    }
}

fn main() -> ExitCode {
    // A thousand objects of other operators are judged as well where a policy changes.
    let [alone, cluster, at_one] =
        [Filled::Apart, Filled::Beside, Filled::AtOne].map(|filled| Arc::new(cluster(filled)));
    let now = Timestamp::from_second(1_767_225_600).unwrap();
    let small = config_map(&noise(700));
    let (baseline, _) = measure(2_000, || drop(decode(&small).unwrap()));
    println!(
        "{COUNT} managed Secrets in {SEGMENTS} segments; baseline: decoding 1 KiB, {:.1} us",
        baseline.as_secs_f64() * 1e6
    );
    println!("{:<14} {:<44} {:>9} {:>9} {:>9} {:>10}", "rule", "review", "median", "p99", "allowed", "baselines");
    // cargo itself says --bench.
    let only = std::env::args().skip(1).filter(|word| !word.starts_with("--")).collect();
    let mut bench = Bench { baseline, over: 0, only };
    let (one, large) = (Duration::from_millis(1), Duration::from_millis(25));

    let shared = cluster.clone();
    let rule =
        route(&[("scopedsecrets.io", "ScopedSecret")], move |r| claims::judge(r, &shared.index.read().unwrap(), now));
    for (what, key) in
        [("allowed", "tenant-1/prod/new"), ("taken", "tenant-1/prod/orders-1"), ("another's", "tenant-2/prod/orders-2")]
    {
        let object = claim("tenant-1-prod", "new", key);
        let body = review("scopedsecrets.io", "v1alpha1", "ScopedSecret", Some("tenant-1-prod"), &object, None);
        bench.line(claims::RULE, what, one, 2_000, &rule, &body);
    }
    let rule =
        route(&[("scopedsecrets.io", "ScopedSecret")], move |r| claims::judge(r, &at_one.index.read().unwrap(), now));
    for (what, namespace) in
        [("one key of 10,000 beside it", "tenant-1-prod"), ("that key, from elsewhere", "tenant-2-prod")]
    {
        let object = claim(namespace, "new", "tenant-1/prod/orders-1");
        let body = review("scopedsecrets.io", "v1alpha1", "ScopedSecret", Some(namespace), &object, None);
        bench.line(claims::RULE, what, one, 2_000, &rule, &body);
    }

    let judged = |world: &Arc<Cluster>| {
        let world = world.clone();
        route(&[("scopedsecrets.io", "SegmentationPolicy")], move |r| {
            policies::judge(r, &world.index.read().unwrap(), now)
        })
    };
    let (rule, beside) = (judged(&alone), judged(&cluster));
    let policy = |more| json!({"apiVersion": "scopedsecrets.io/v1alpha1", "kind": "SegmentationPolicy", "metadata": {"name": "tenants"}, "spec": spec(&more)});
    let old = policy(json!({}));
    let keys = |keys: &[&str]| policy(json!({"allow": [{"storeRef": {"name": "aws"}, "keys": keys}]}));
    let all = "${label:tenant}/${label:environment}/**";
    let mut annotated = old.clone();
    annotated["metadata"]["annotations"] = json!({"example.com/owner": "platform"});
    for (what, new, runs) in [
        ("an annotation", annotated, 500),
        ("the mode", policy(json!({"mode": "Warn"})), 500),
        ("another key", keys(&[all, "shared/*"]), 500),
        (
            "selects one of a hundred less",
            policy(json!({"namespaceSelector": {"matchExpressions": [
            {"key": "tenant", "operator": "NotIn", "values": ["tenant-1"]}]}})),
            500,
        ),
        ("judges every claim, none lost", keys(&["${label:tenant}/*/*"]), 50),
        ("judges every claim, all lost", keys(&["${label:tenant}/${label:environment}/*/x"]), 50),
    ] {
        let body = review("scopedsecrets.io", "v1alpha1", "SegmentationPolicy", None, &new, Some(&old));
        bench.line(policies::RULE, what, one, runs, &rule, &body);
        bench.line(policies::RULE, &format!("{what}; 1,000 foreign"), one, runs, &beside, &body);
    }

    let shared = cluster.clone();
    let rule = route(rbac::KINDS, move |r| rbac::judge(r, &shared.index.read().unwrap(), now));
    for (what, namespace, object) in [
        ("a binding in its segment", Some("tenant-1-prod"), binding("RoleBinding", "new", "reader", "tenant-1-prod")),
        (
            "a binding across a boundary",
            Some("tenant-2-prod"),
            binding("RoleBinding", "new", "reader", "tenant-1-prod"),
        ),
        ("a role that reads Secrets", Some("tenant-0-prod"), role("Role", "new", "secrets")),
        ("a cluster role that 10,000 bind", None, role("ClusterRole", "reader", "secrets")),
        ("a cluster role that 100 strangers have", None, role("ClusterRole", "viewer", "secrets")),
        ("a binding across the cluster", None, binding("ClusterRoleBinding", "new", "reader", "tenant-1-prod")),
        ("one of who makes Secrets everywhere", None, binding("ClusterRoleBinding", "new", "names", "builder")),
        ("a cluster role of names", None, naming("names")),
    ] {
        let body = review(RBAC, "v1", object["kind"].as_str().unwrap(), namespace, &object, None);
        bench.line(rbac::RULE, what, one, 500, &rule, &body);
    }

    let shared = cluster.clone();
    let rule = route(other_operators::KINDS, move |r| other_operators::judge(r, &shared.index.read().unwrap(), now));
    let external = |key| external_secret("new", "tenant-1-prod", "aws", key);
    for (what, object, old) in [
        ("an ExternalSecret, allowed", external("tenant-1/prod/new"), None),
        ("one of a taken key", external("tenant-1/prod/orders-1"), None),
        ("one of another's key", external("tenant-2/prod/orders-2"), None),
        ("one of a hundred namespaces", spreading("tenant-2/prod/new"), None),
        ("a store that ten ask", secret_store("us-east-1"), Some(secret_store("eu-west-1"))),
    ] {
        let kind = object["kind"].as_str().unwrap();
        let body = review("external-secrets.io", "v1", kind, Some("tenant-1-prod"), &object, old.as_ref());
        bench.line(other_operators::RULE, what, one, 500, &rule, &body);
    }

    let shared = cluster.clone();
    let minute = std::sync::atomic::AtomicI64::new(0);
    let rule = route(&[("", "Secret"), ("", "ConfigMap")], move |r| {
        let minute = minute.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
        let now = Timestamp::from_second(1_767_225_600 + 60 * minute).unwrap();
        copies::judge(r, Some(&shared.keys), || shared.index.read().unwrap(), &shared.limit, now)
    });
    let prose = b"{\"name\": \"The quick brown fox\", \"path\": \"/usr/share/fox%20trot\\n\"},\n";
    let own = value(1);
    for (what, size, allowed, runs) in
        [("1 KiB", 1 << 10, one, 2_000), ("16 KiB", 16 << 10, one, 1_000), ("1 MiB", 1 << 20, large, 120)]
    {
        let base64 = BASE64_STANDARD.encode(noise(size * 3 / 4));
        // Of these six, three of four alignments are base64 again.
        let threefold: Vec<u8> = noise(size * 3 / 4).iter().map(|byte| b"RSTUVW"[usize::from(*byte % 6)]).collect();
        let pem = filled(b"MIIDXTCCAkWgAwIBAgIJAJC1HiIAZAiIMA0GCSqGSIb3DQEBBQUAMEUxCzAJBgNV\n", 1_500);
        let kubernetes = format!("\"data\": {{\"tls.crt\": \"{}\"}}\n", BASE64_STANDARD.encode(pem));
        let sums: String =
            noise(size * 32 / 83).chunks(32).map(|sum| format!("{}  path/of/file.txt\n", hex(sum))).collect();
        let copy = [&filled(prose, size - 64)[..], value(2).as_bytes()].concat();
        for (kind, text) in [
            ("of noise", noise(size)),
            ("of JSON", filled(prose, size)),
            ("of base64", base64.into_bytes()),
            ("of YAML that quotes JSON", filled(b"a: '{\"it''s\": \"\", \"b\": \"x\\n&amp; y+z\"}'\n", size)),
            ("with a copy at its end", copy),
            ("of one's own value", filled(own.as_bytes(), size)),
            ("of decoys: its first 31 bytes", filled(&own.as_bytes()[..31], size)),
            ("of base64 of base64 at every alignment", filled(b"V", size)),
            ("made slow: base64 at three alignments", BASE64_STANDARD.encode(threefold).into_bytes()),
            ("made slow: short runs at each", filled(&[&[b'V'; 33][..], b"W"].concat(), size)),
            ("made slow: short runs, escaped", filled(&[b"%56", &[b'V'; 42][..], b"W "].concat(), size)),
            ("made slow: lines", [&b"'' \\\\\\\\n \n \n"[..], &filled(b"\n", size - 20)].concat()),
            ("made slow: words", [&b"'' \\\\\\\\n "[..], &filled(b"a ", size - 20)].concat()),
            ("made slow: returns", [&b"'' \\\\\\\\n"[..], &filled(b"!\r", size - 20)].concat()),
            ("made slow: surrogates", [&b"''\n%41 "[..], &filled(b"\\ud83d", size - 20)].concat()),
            ("made slow: percents", [&b"''%25252541+x"[..], &filled(b"%", size - 20)].concat()),
            ("of PEM in base64 in JSON", filled(kubernetes.as_bytes(), size)),
            ("of checksums in JSON", serde_json::to_vec(&sums).unwrap()),
            ("of checksums", sums.into_bytes()),
        ] {
            bench.line(copies::RULE, &format!("{what} {kind}"), allowed, runs, &rule, &config_map(&text));
        }
    }
    let entries = |first: &str| {
        let line = String::from_utf8(filled(prose, 90)).unwrap();
        let others = (1..10_000).map(|i| (format!("entry-{i:05}"), line.clone()));
        others.chain([("entry-00000".to_owned(), first.to_owned())]).collect::<BTreeMap<_, _>>()
    };
    let map = |data: BTreeMap<String, String>| json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "a"}, "data": data});
    let copied = |more: &str| {
        let text = [&filled(prose, (1 << 20) - 128)[..], value(2).as_bytes(), more.as_bytes()].concat();
        map([("a".to_owned(), String::from_utf8(text).unwrap())].into())
    };
    for (what, new, old) in [
        ("10,000 entries", map(entries("a")), None),
        ("10,000 entries, of which one is new", map(entries(&own)), Some(map(entries("a")))),
        ("1 MiB changed, with a copy as before", copied("a"), Some(copied("b"))),
    ] {
        let body = review("", "v1", "ConfigMap", Some("tenant-1-prod"), &new, old.as_ref());
        bench.line(copies::RULE, what, large, 120, &rule, &body);
    }
    if bench.over > 0 {
        println!("{} lines are over budget: they cost more than the design allows", bench.over);
        return ExitCode::FAILURE;
    }
    ExitCode::SUCCESS
}
