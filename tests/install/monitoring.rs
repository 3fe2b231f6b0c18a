//! Alerts, runbooks and the dashboard: that their queries ask for what is served, that promtool takes them and the alerts fire and
//! stay silent as they should, and that the chart has the same.

use super::helm::{by_name, ensure, objects, template};
use super::promql::{self, Query};
use scoped_secrets::api::condition::ConditionType;
use scoped_secrets::api::reason::Reason;
use scoped_secrets::telemetry::metrics::{Format, Metrics, Served, catalogue};
use serde_json::{Value, json};
use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// What the API server serves: its name, and the labels that we ask for.
const THEIRS: [(&str, &[&str]); 2] = [
    ("apiserver_admission_webhook_rejection_count", &["name", "error_type"]),
    ("apiserver_admission_webhook_fail_open_count", &["name"]),
];
/// Labels that Prometheus adds to whatever it scrapes, or to whatever it sends elsewhere.
const TARGET: [&str; 5] = ["cluster", "instance", "job", "namespace", "pod"];

fn file(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(path)
}

fn read(path: &str) -> String {
    fs::read_to_string(file(path)).unwrap_or_else(|error| panic!("{path}: {error}"))
}

fn alerts() -> Vec<Value> {
    let rules: Value = serde_saphyr::from_str(&read("deploy/monitoring/alerts.yaml")).unwrap();
    let groups = rules["groups"].as_array().unwrap();
    groups.iter().flat_map(|group| group["rules"].as_array().unwrap()).cloned().collect()
}

fn text(value: &Value) -> &str {
    value.as_str().unwrap_or_else(|| panic!("{value} is no text"))
}

/// The dashboard's queries: title, query, and the labels that its legend names.
fn panels() -> Vec<(String, String, Vec<String>)> {
    let dashboard: Value = serde_json::from_str(&read("deploy/monitoring/dashboard.json")).unwrap();
    let mut all = Vec::new();
    for panel in dashboard["panels"].as_array().unwrap() {
        for target in panel["targets"].as_array().into_iter().flatten() {
            let legend = text(&target["legendFormat"]).split("{{").skip(1);
            let labels = legend.map(|part| part.split("}}").next().unwrap().to_owned()).collect();
            let query = text(&target["expr"]).replace("$__rate_interval", "5m").replace("$cluster", "");
            assert!(!query.contains('$'), "{query}: a variable that this test does not know");
            all.push((text(&panel["title"]).to_owned(), query, labels));
        }
    }
    all
}

/// Every query, by where it stands.
fn queries() -> Vec<(String, String, Vec<String>)> {
    let alerts = alerts()
        .into_iter()
        .map(|alert| (text(&alert["alert"]).to_owned(), text(&alert["expr"]).to_owned(), Vec::new()));
    alerts.chain(panels()).collect()
}

/// The names that queries use of our metrics.
fn asked_for() -> BTreeSet<String> {
    let selectors = queries().into_iter().flat_map(|(_, query, _)| promql::read(&query).selectors);
    selectors.map(|(name, _)| name).filter(|name| name.starts_with("scoped_secrets_")).collect()
}

/// Of our metrics that queries use, those that are not in this answer of the operator.
pub fn not_served(answer: &str) -> Vec<String> {
    let there = |name: &String| {
        answer.lines().any(|line| line.strip_prefix(name.as_str()).is_some_and(|rest| rest.starts_with(['{', ' '])))
    };
    asked_for().into_iter().filter(|name| !there(name)).collect()
}

/// The labels that a metric has.
fn labels_of(name: &str, known: &BTreeMap<String, Served>) -> Result<BTreeSet<String>, String> {
    let target = TARGET.iter().map(|label| (*label).to_owned());
    if let Some((_, labels)) = THEIRS.iter().find(|(theirs, _)| *theirs == name) {
        return Ok(labels.iter().map(|label| (*label).to_owned()).chain(target).collect());
    }
    if let Some(one) = known.get(name).filter(|one| one.kind != "histogram") {
        return Ok(one.labels.iter().cloned().chain(target).collect());
    }
    let (base, end) = name.rsplit_once('_').unwrap_or_default();
    let histogram = known.get(base).filter(|one| one.kind == "histogram" && ["bucket", "sum", "count"].contains(&end));
    let one = histogram.ok_or_else(|| format!("nobody serves {name}"))?;
    let le = (end == "bucket").then(|| "le".to_owned());
    Ok(one.labels.iter().cloned().chain(target).chain(le).collect())
}

/// Whether a word can be the value of a label.
fn is_possible(label: &str, word: &str) -> bool {
    let reason = Reason::from_text(word).is_some();
    match label {
        "reason" => reason || word == "Other",
        "outcome" => reason || ["Ok", "Rotated", "Skipped"].contains(&word),
        "condition" => ConditionType::from_text(word).is_some(),
        "mode" | "answer" => ["Enforce", "Warn", "Audit", "Unknown"].contains(&word),
        "status" => ["True", "False", "Unknown"].contains(&word),
        _ => true,
    }
}

fn faults(query: &Query, legend: &[String], known: &BTreeMap<String, Served>) -> Vec<String> {
    let (mut faults, mut labels) = (Vec::new(), BTreeSet::new());
    for (name, matchers) in &query.selectors {
        match labels_of(name, known) {
            Err(fault) => faults.push(fault),
            Ok(its) => {
                for (label, _, value) in matchers {
                    if !its.contains(label) {
                        faults.push(format!("{name} has no label {label}"));
                    }
                    let words = value.split('|').filter(|word| !is_possible(label, word));
                    faults.extend(words.map(|word| format!("{label} is never {word}")));
                }
                labels.extend(its);
            }
        }
    }
    faults.extend(query.grouped.iter().filter(|label| !labels.contains(*label)).map(|label| format!("by {label}")));
    faults
        .extend(legend.iter().filter(|l| !query.grouped.contains(*l)).map(|label| format!("the legend names {label}")));
    if query.selectors.is_empty() {
        faults.push("it asks for nothing".to_owned());
    }
    faults
}

fn known() -> BTreeMap<String, Served> {
    catalogue().into_iter().map(|one| (one.name.clone(), one)).collect()
}

#[test]
fn every_query_asks_for_what_is_served() {
    let known = known();
    for (place, query, legend) in queries() {
        let faults = faults(&promql::read(&query), &legend, &known);
        assert!(faults.is_empty(), "{place}: {query}: {faults:?}");
    }
    // And whatever is served, somebody asks for.
    let asked = asked_for();
    for name in known.keys() {
        assert!(asked.iter().any(|used| used.starts_with(name.as_str())), "nobody looks at {name}");
    }
}

#[test]
fn a_query_that_asks_for_something_else_is_found() {
    let known = known();
    for (query, legend, fault) in [
        ("scoped_secrets_leaders", "", "nobody serves scoped_secrets_leaders"),
        ("rate(scoped_secrets_provider_calls[5m])", "", "nobody serves scoped_secrets_provider_calls"),
        ("scoped_secrets_reconcile_duration_seconds", "", "nobody serves scoped_secrets_reconcile_duration_seconds"),
        ("scoped_secrets_claims{rule=\"A\"}", "", "scoped_secrets_claims has no label rule"),
        ("scoped_secrets_claims{reason=~\"Stale|Old\"}", "", "reason is never Old"),
        ("sum by (le) (scoped_secrets_leader)", "", "by le"),
        ("sum by (reason) (scoped_secrets_claims)", "rule", "the legend names rule"),
        ("vector(1)", "", "it asks for nothing"),
    ] {
        let legend: Vec<String> = Some(legend.to_owned()).filter(|l| !l.is_empty()).into_iter().collect();
        let faults = faults(&promql::read(query), &legend, &known);
        assert_eq!(faults, [fault], "{query}");
    }
}

fn promtool(arguments: &[&str]) -> Result<String, String> {
    let output = Command::new(ensure("promtool").join("promtool")).args(arguments).output().unwrap();
    let said = format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    if output.status.success() { Ok(said) } else { Err(said) }
}

#[test]
fn promtool_reads_every_query_and_each_alert_fires_and_stays_silent() {
    let records: Vec<Value> = panels()
        .iter()
        .map(|(_, query, _)| json!({"record": "a:panel", "expr": query, "labels": {"query": query}}))
        .collect();
    let path = Path::new(env!("CARGO_TARGET_TMPDIR")).join("panels.yaml");
    let rules = |records: Vec<Value>| json!({"groups": [{"name": "dashboard", "rules": records}]}).to_string();
    fs::write(&path, rules(records)).unwrap();
    let alerts_file = file("deploy/monitoring/alerts.yaml");
    promtool(&["check", "rules", path.to_str().unwrap(), alerts_file.to_str().unwrap()])
        .unwrap_or_else(|said| panic!("{said}"));
    fs::write(&path, rules(vec![json!({"record": "a:panel", "expr": "sum by (a (b)"})])).unwrap();
    assert!(promtool(&["check", "rules", path.to_str().unwrap()]).is_err(), "it reads anything");

    let cases = file("deploy/monitoring/alerts_test.yaml");
    promtool(&["test", "rules", cases.to_str().unwrap()]).unwrap_or_else(|said| panic!("{said}"));
    let cases: Value = serde_saphyr::from_str(&read("deploy/monitoring/alerts_test.yaml")).unwrap();
    let mut tried: BTreeSet<(String, bool)> = BTreeSet::new();
    for case in cases["tests"].as_array().unwrap() {
        for expected in case["alert_rule_test"].as_array().unwrap() {
            let fires = !expected["exp_alerts"].as_array().unwrap().is_empty();
            tried.insert((text(&expected["alertname"]).to_owned(), fires));
        }
    }
    let all =
        alerts().into_iter().flat_map(|alert| [true, false].map(|fires| (text(&alert["alert"]).to_owned(), fires)));
    assert_eq!(tried, all.collect());
}

/// What `curl .../metrics | promtool check metrics` says, and what the registry has in the other format.
#[test]
fn promtool_reads_what_is_served() {
    let lint = |text: &str| {
        let mut promtool = Command::new(ensure("promtool").join("promtool"));
        promtool.args(["check", "metrics"]).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut linter = promtool.spawn().unwrap();
        linter.stdin.take().unwrap().write_all(text.as_bytes()).unwrap();
        let output = linter.wait_with_output().unwrap();
        format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr))
    };
    let served = Metrics::with_one_of_each().encode();
    assert_eq!(lint(&Format::Text.of(served.clone())), "");
    assert!(lint(&served).contains("info"), "it reads anything");
}

#[test]
fn every_alert_has_a_runbook_and_every_runbook_an_alert() {
    let index = read("docs/runbooks/README.md");
    let mut pages: BTreeSet<String> = fs::read_dir(file("docs/runbooks"))
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .filter(|name| name != "README.md")
        .collect();
    for alert in alerts() {
        let (name, annotations) = (text(&alert["alert"]), &alert["annotations"]);
        let url = text(&annotations["runbook_url"]);
        let page =
            url.strip_prefix("https://github.com/scoped-secrets/scoped-secrets/blob/main/docs/runbooks/").expect(url);
        assert!(pages.remove(page), "{name}: {url} is no page, or another alert's");
        let runbook = read(&format!("docs/runbooks/{page}"));
        assert!(runbook.starts_with(&format!("# {name}\n")), "{page}");
        for part in ["## What it means for others\n", "## Look\n", "## Do\n"] {
            assert!(runbook.contains(part), "{page} has no {part}");
        }
        assert!(index.contains(&format!("[{name}]({page})")), "{name} is not in the index");
        assert!(["critical", "warning"].contains(&text(&alert["labels"]["severity"])), "{name}");
        assert!(!text(&annotations["summary"]).is_empty() && !text(&annotations["description"]).is_empty(), "{name}");
    }
    assert!(pages.is_empty(), "no alert leads to {pages:?}");
}

#[test]
fn the_chart_has_the_same_alerts_and_dashboard() {
    let api = "monitoring.coreos.com/v1/PrometheusRule";
    let rendered = |more: &[&str]| template("watched", more).map(|yaml| by_name(objects(&yaml)));
    let refusal = rendered(&["--set", "prometheusRule.enabled=true"]).unwrap_err();
    assert!(refusal.contains(api) && refusal.contains("prometheusRule.onMissingCRD=Skip"), "{refusal}");
    let plain = rendered(&[]).unwrap();
    assert_eq!(rendered(&["--set", "prometheusRule.enabled=true,prometheusRule.onMissingCRD=Skip"]).unwrap(), plain);

    let sets = "prometheusRule.enabled=true,prometheusRule.labels.release=kps,grafanaDashboard.enabled=true,grafanaDashboard.annotations.grafana_folder=Security";
    let all = rendered(&["--set", sets, "--api-versions", api]).unwrap();
    assert_eq!(all.len(), plain.len() + 2);
    let rule = &all["PrometheusRule watched/scoped-secrets"];
    let source: Value = serde_saphyr::from_str(&read("deploy/monitoring/alerts.yaml")).unwrap();
    assert_eq!(rule["spec"], super::helm::plain(source));
    assert_eq!(rule["metadata"]["labels"]["release"], "kps");
    let map = &all["ConfigMap watched/scoped-secrets-dashboard"];
    assert_eq!(text(&map["data"]["scoped-secrets.json"]), read("deploy/monitoring/dashboard.json"));
    assert_eq!(map["metadata"]["labels"]["grafana_dashboard"], "1");
    assert_eq!(map["metadata"]["annotations"]["grafana_folder"], "Security");
    let elsewhere =
        rendered(&["--set", "grafanaDashboard.enabled=true,grafanaDashboard.namespace=monitoring"]).unwrap();
    assert!(elsewhere.contains_key("ConfigMap monitoring/scoped-secrets-dashboard"));
}

/// One cluster at a time, or one without a name: of several, a green one hides none that is red.
#[test]
fn the_dashboard_reads_one_cluster() {
    let dashboard: Value = serde_json::from_str(&read("deploy/monitoring/dashboard.json")).unwrap();
    let variables = dashboard["templating"]["list"].as_array().unwrap();
    let variable = variables.iter().find(|one| one["name"] == "cluster").unwrap();
    assert_eq!((&variable["includeAll"], &variable["multi"]), (&json!(false), &json!(false)));
    assert_eq!(variable["query"]["query"], "label_values(scoped_secrets_build_info, cluster)");
    for (title, query, _) in panels() {
        for (metric, matchers) in promql::read(&query).selectors {
            let chosen = |(label, operator, value): &(String, String, String)| {
                (label.as_str(), operator.as_str(), value.as_str()) == ("cluster", "=", "")
            };
            assert!(matchers.iter().any(chosen), "{title}: {metric}");
        }
    }
}

/// A counter begins with its first value: that counts, too.
#[test]
fn what_was_refused_first_is_on_the_dashboard() {
    let all = panels();
    let (_, query, _) = all.iter().find(|(_, query, _)| query.contains("answer=\"Enforce\"}[24h]")).unwrap();
    let series = |labels: &str, values: &str| json!({"series": format!("scoped_secrets_admission_breaches_total{{{labels},answer=\"Enforce\"}}"), "values": values});
    let leader = json!({"series": "scoped_secrets_leader{pod=\"a\"}", "values": "1x1000"});
    let told = |breaches: &[Value], expected: u32| {
        let series: Vec<Value> = breaches.iter().cloned().chain([leader.clone()]).collect();
        let case = json!({"interval": "1m", "input_series": series, "promql_expr_test": [
            {"expr": query, "eval_time": "10h", "exp_samples": [{"labels": "{}", "value": expected}]}
        ]});
        let path = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("refused-{expected}.yaml"));
        fs::write(&path, json!({"tests": [case]}).to_string()).unwrap();
        promtool(&["test", "rules", path.to_str().unwrap()]).unwrap_or_else(|said| panic!("{said}"));
    };
    told(&[], 0);
    told(&[series("rule=\"Claims\",pod=\"a\"", "_x10 1x600"), series("rule=\"Copies\",pod=\"b\"", "_x10 40x600")], 41);
}

/// Likewise what a replica has counted that was replaced since, within the hour.
#[test]
fn what_is_counted_over_an_hour_outlives_the_replica() {
    let all = panels();
    let over_an_hour: Vec<&String> =
        all.iter().map(|(_, query, _)| query).filter(|query| query.contains("last_over_time(")).collect();
    assert_eq!(over_an_hour.len(), 3, "{over_an_hour:?}");
    let cases = over_an_hour.into_iter().map(|query| {
        let metric = query.split(['(', '{']).find(|part| part.starts_with("scoped_secrets_")).unwrap();
        // Thirty came in half an hour, then its replica went; another one's begins with two.
        let series =
            |pod: &str, values: &str| json!({"series": format!("{metric}{{pod=\"{pod}\"}}"), "values": values});
        let sample = |value: u32| json!([{"labels": "{}", "value": value}]);
        json!({
            "interval": "1m",
            "input_series": [series("a", "0x60 1+1x29 _ stale"), series("b", "_x110 2x100")],
            "promql_expr_test": [
                {"expr": format!("round({query})"), "eval_time": "95m", "exp_samples": sample(30)},
                {"expr": format!("round({query})"), "eval_time": "115m", "exp_samples": sample(32)},
            ],
        })
    });
    let path = Path::new(env!("CARGO_TARGET_TMPDIR")).join("over-an-hour.yaml");
    fs::write(&path, json!({"tests": cases.collect::<Vec<_>>()}).to_string()).unwrap();
    promtool(&["test", "rules", path.to_str().unwrap()]).unwrap_or_else(|said| panic!("{said}"));
}
