//! What the operator makes of the environment and the arguments that the Deployment gives it, without a cluster. A variable that it
//! does not know it passes over in silence, and then serves all namespaces, or on another port.

use super::helm::{by_name, objects, template};
use clap::{Arg, CommandFactory, Parser};
use scoped_secrets::admission::webhook_configuration::WebhookUrl;
use scoped_secrets::operator::Settings;
use scoped_secrets::telemetry::logs::LogFormat;
use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet};
use std::net::Ipv6Addr;
use std::process::Command;
use std::time::Duration;

const PROGRAM: &str = env!("CARGO_BIN_EXE_scoped-secrets");
const NAMESPACE: &str = "elsewhere";
const POD: &str = "scoped-secrets-5d8f-x2x9q";
/// The one variable here that is not the chart's own.
const EXTRA: &str = "AWS_REGION";

const SETS: [&[&str]; 6] = [
    &[],
    &["webhook.url=https://10.0.0.1:9443,webhook.port=9444,webhook.timeoutSeconds=7"],
    &["namespaces={payments-prod,billing-prod},serviceAccount.name=keeper,restart.enabled=true"],
    &["otlp.endpoint=http://collector.monitoring:4318", "extraEnv[0].name=AWS_REGION,extraEnv[0].value=eu-west-1"],
    &["extraArgs={--log-level=debug,--scan-interval=12h,--log-format=text}"],
    &["demo.enabled=true,replicaCount=1"],
];

/// The flags of the program, without its other tasks.
#[derive(Parser)]
#[command(args_override_self = true)]
struct Program {
    #[command(flatten)]
    settings: Settings,
}

/// What is rendered, and what the kubelet starts the operator with.
struct Given {
    all: BTreeMap<String, Value>,
    env: Vec<(String, String)>,
    args: Vec<String>,
}

impl Given {
    fn by(sets: &[&str]) -> Self {
        let mut flags: Vec<&str> = sets.iter().flat_map(|set| ["--set", set]).collect();
        flags.push("--no-hooks");
        let yaml = template(NAMESPACE, &flags).unwrap_or_else(|error| panic!("{sets:?}: {error}"));
        let mut given = Self { all: by_name(objects(&yaml)), env: Vec::new(), args: Vec::new() };
        let container = given.container().clone();
        for variable in container["env"].as_array().unwrap() {
            let value = given.value(variable);
            given.env.push((variable["name"].as_str().unwrap().to_owned(), value));
        }
        for argument in container["args"].as_array().into_iter().flatten() {
            given.args.push(argument.as_str().unwrap().to_owned());
        }
        given
    }

    fn deployment(&self) -> &Value {
        &self.all["Deployment elsewhere/scoped-secrets"]
    }

    fn pod(&self) -> &Value {
        &self.deployment()["spec"]["template"]["spec"]
    }

    fn container(&self) -> &Value {
        &self.pod()["containers"][0]
    }

    /// As the kubelet fills it in.
    fn value(&self, variable: &Value) -> String {
        let field = match variable["valueFrom"]["fieldRef"]["fieldPath"].as_str() {
            Some("metadata.name") => Some(POD),
            Some("metadata.namespace") => self.deployment()["metadata"]["namespace"].as_str(),
            Some("spec.serviceAccountName") => self.pod()["serviceAccountName"].as_str(),
            Some(_) => None,
            None => variable["value"].as_str(),
        };
        field.unwrap_or_else(|| panic!("{variable} has no value")).to_owned()
    }

    /// The variables that the chart sets for the operator: all but what a user adds.
    fn own(&self) -> impl Iterator<Item = &(String, String)> {
        self.env.iter().filter(|(name, _)| name != EXTRA)
    }

    /// A variable is the flag that it stands for; the arguments come after, and decide.
    fn settings(&self) -> Settings {
        let command = Program::command();
        let mut line = vec!["scoped-secrets".to_owned()];
        for (name, value) in self.own() {
            let read = |argument: &&Arg| argument.get_env().is_some_and(|env| env.to_str() == Some(name.as_str()));
            let flag = command.get_arguments().find(read).and_then(Arg::get_long);
            line.push(format!("--{}={value}", flag.unwrap_or_else(|| panic!("no flag is set by {name}"))));
        }
        line.extend(self.args.iter().cloned());
        Program::try_parse_from(&line).unwrap_or_else(|error| panic!("{line:?}: {error}")).settings
    }

    /// The number of a port that may be a container port's name.
    fn port(&self, port: &Value) -> u64 {
        let mut named = self.container()["ports"].as_array().unwrap().iter();
        let number = port.as_u64().or_else(|| named.find(|one| one["name"] == *port)?["containerPort"].as_u64());
        number.unwrap_or_else(|| panic!("the container has no port {port}"))
    }
}

/// Its help says what the program has read, and from which variable.
#[test]
fn the_program_reads_every_variable_of_the_deployment() {
    for sets in SETS {
        let given = Given::by(sets);
        let mut asked = Command::new(PROGRAM);
        asked.args(&given.args).arg("--help").env_clear().envs(given.env.iter().cloned());
        let said = asked.output().unwrap();
        assert!(said.status.success(), "{sets:?}: {}", String::from_utf8_lossy(&said.stderr));
        let help = String::from_utf8(said.stdout).unwrap();
        assert!(given.own().count() > 6, "{sets:?}: {:?}", given.env);
        for (name, value) in given.own() {
            assert!(help.contains(&format!("[env: {name}={value}]")), "{sets:?}: {name} is not read:\n{help}");
        }
    }
}

/// Where it listens is where it is asked, who it is has the permissions, and what it serves is what they are for.
#[test]
fn the_settings_agree_with_the_other_objects() {
    for sets in SETS {
        let given = Given::by(sets);
        let operator = given.settings().operator;
        let (webhook, metrics) = (operator.serving.webhook_address, operator.serving.metrics_address);
        // A pod may have addresses of one family only.
        for listened in [webhook, metrics] {
            assert_eq!(listened.ip(), Ipv6Addr::UNSPECIFIED, "{sets:?}");
        }
        let (webhook, metrics) = (u64::from(webhook.port()), u64::from(metrics.port()));
        for (probe, path) in [("livenessProbe", "/healthz"), ("readinessProbe", "/readyz")] {
            let asked = &given.container()[probe]["httpGet"];
            assert_eq!(given.port(&asked["port"]), metrics, "{sets:?}: {probe}");
            assert_eq!(asked["path"], path, "{sets:?}: {probe}");
        }
        let service = &given.all[&format!("Service {NAMESPACE}/{}", operator.serving.webhook_service)]["spec"];
        let port = &service["ports"][0];
        assert_eq!((given.port(&port["targetPort"]), port["port"].as_u64()), (webhook, Some(443)), "{sets:?}");
        let policy = &given.all["NetworkPolicy elsewhere/scoped-secrets"]["spec"];
        let rules = policy["ingress"].as_array().unwrap().iter();
        let open: Vec<u64> = rules.map(|rule| given.port(&rule["ports"][0]["port"])).collect();
        assert_eq!(open, [webhook, metrics], "{sets:?}");

        assert_eq!(operator.namespace, NAMESPACE, "{sets:?}");
        assert_eq!(operator.pod_name.as_deref(), Some(POD), "{sets:?}");
        let account = format!("ServiceAccount {NAMESPACE}/{}", operator.service_account);
        assert!(given.all.contains_key(&account), "{sets:?}: no {account}");
        let bound = |name: &String| {
            let namespace = name.strip_prefix("RoleBinding ")?.strip_suffix("/scoped-secrets-namespace")?;
            Some(namespace.to_owned())
        };
        let bound: BTreeSet<String> = given.all.keys().filter_map(bound).collect();
        assert_eq!(operator.namespaces.iter().cloned().collect::<BTreeSet<String>>(), bound, "{sets:?}");

        let grace = given.pod()["terminationGracePeriodSeconds"].as_u64().unwrap();
        assert!(operator.shutdown_delay.as_secs() < grace, "{sets:?}: it is killed after {grace} s");
        assert!(operator.leader.terms().is_ok(), "{sets:?}");
    }
}

#[test]
fn each_value_arrives_at_the_operator() {
    let settings = |sets: &[&str]| Given::by(sets).settings();
    let plain = settings(SETS[0]);
    assert!(plain.operator.namespaces.is_empty() && plain.operator.serving.webhook_url.is_none());
    assert_eq!(plain.logs.log_format, LogFormat::Json);
    assert!(plain.traces.otlp_endpoint.is_none(), "nothing is traced unless somebody asks");

    let serving = settings(SETS[1]).operator.serving;
    assert_eq!(serving.webhook_url, Some(WebhookUrl::parse("https://10.0.0.1:9443").unwrap()));
    assert_eq!((serving.webhook_address.port(), serving.webhook_timeout), (9444, 7));

    let listed = settings(SETS[2]).operator;
    assert_eq!(listed.namespaces, ["payments-prod", "billing-prod"]);
    assert_eq!(listed.service_account, "keeper");

    let traced = format!("{:?}", settings(SETS[3]).traces.otlp_endpoint);
    assert!(traced.contains("http://collector.monitoring:4318"), "{traced}");

    let loud = settings(SETS[4]);
    assert_eq!((loud.logs.log_level.as_str(), loud.logs.log_format), ("debug", LogFormat::Text));
    assert_eq!(loud.operator.scan_interval, Duration::from_secs(12 * 3600));
}
