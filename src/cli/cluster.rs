//! A live cluster, read with the reader's own permissions: whoever the kubeconfig says, or `--as`.
//!
//! What the reader may not see is a [`Gap`], which the caller need not handle: it becomes a finding of its own, so that nothing
//! that was not looked at passes for well. What else goes wrong is a [`Failure`], and ends the verb.

use super::names::read_name;
use super::report::{Finding, Rule, Severity, Subject};
use crate::api::Reason;
use crate::client::connect_and_hear;
use crate::client::warnings::Warnings;
use k8s_openapi::api::authorization::v1::{ResourceAttributes, SelfSubjectAccessReview, SelfSubjectAccessReviewSpec};
use kube::api::{Api, ListParams, PostParams};
use kube::config::{KubeConfigOptions, Kubeconfig, KubeconfigError};
use kube::core::{NamespaceResourceScope, ObjectList, PartialObjectMeta, Status};
use kube::{Client, Config, Error, Resource};
use serde::de::DeserializeOwned;
use std::cell::RefCell;
use std::collections::BTreeSet;
use std::ffi::OsStr;
use std::fmt::Debug;
use std::future::Future;
use std::path::PathBuf;
use std::time::Duration;

/// Which cluster, as whom, and where in it.
#[derive(Debug, Clone, Default, clap::Args)]
#[command(next_help_heading = "Cluster")]
pub struct ClusterArgs {
    /// The namespace [default: that of the kubeconfig's context; of audit, check and init: every one].
    #[arg(short, long, value_name = "NAMESPACE", value_parser = read_name)]
    pub namespace: Option<String>,
    /// Every namespace.
    #[arg(short = 'A', long, conflicts_with = "namespace")]
    pub all_namespaces: bool,
    /// The kubeconfig's context.
    #[arg(long, value_name = "CONTEXT")]
    pub context: Option<String>,
    /// The kubeconfig [default: $KUBECONFIG, else ~/.kube/config].
    #[arg(long, value_name = "FILE")]
    pub kubeconfig: Option<PathBuf>,
    /// The user to impersonate, such as system:serviceaccount:NAMESPACE:NAME.
    #[arg(long = "as", value_name = "USER")]
    pub as_user: Option<String>,
    /// A group to impersonate; may be repeated.
    #[arg(long = "as-group", value_name = "GROUP", requires = "as_user")]
    pub as_group: Vec<String>,
}

/// Why a verb ends.
#[derive(Debug, thiserror::Error)]
#[allow(missing_docs)]
pub enum Failure {
    #[error("the kubeconfig cannot be used: {0}")]
    Kubeconfig(String),
    #[error("{what}: {why}")]
    Request { what: String, why: String },
    #[error("{0}")]
    Usage(String),
}

/// Something that the reader may not look at.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Gap {
    /// The verb that RBAC refuses.
    pub verb: &'static str,
    /// On what, such as `leases.coordination.k8s.io`.
    pub resource: String,
    /// Where; None: in the whole cluster.
    pub namespace: Option<String>,
    /// Of one object.
    pub name: Option<String>,
}

impl Gap {
    /// Of a request by its URL.
    pub fn of(verb: &'static str, url: &str, name: Option<&str>) -> Self {
        let (resource, namespace) = target(url);
        Self { verb, resource, namespace, name: name.map(str::to_owned) }
    }

    /// As a finding.
    pub fn finding(&self) -> Finding {
        let Self { verb, resource, namespace, name } = self;
        let place = match namespace {
            Some(namespace) => format!(" in namespace {namespace}"),
            None => " in the whole cluster".to_owned(),
        };
        let named = name.as_ref().map(|name| format!(" {name}")).unwrap_or_default();
        let subject =
            Subject { kind: resource.clone(), namespace: namespace.clone(), name: name.clone().unwrap_or_default() };
        let message = format!("this could not be looked at: you may not {verb} {resource}{named}{place}");
        let mend = format!("ask for the verb {verb} on {resource}{place}, or run this as who has it (--as, --context)");
        Finding::live(Severity::Warning, Rule::Permissions, Reason::CannotLook, subject, message).mend(mend)
    }
}

/// What a look shows.
#[derive(Debug, Clone, PartialEq)]
pub enum Seen<T> {
    /// This.
    There(T),
    /// No such object, or no such kind.
    Absent,
    /// The reader may not look; the gap is noted.
    Barred,
}

impl<T> Seen<T> {
    /// What is there.
    pub fn found(self) -> Option<T> {
        if let Self::There(found) = self { Some(found) } else { None }
    }

    /// Likewise, by reference.
    pub fn get(&self) -> Option<&T> {
        if let Self::There(found) = self { Some(found) } else { None }
    }

    /// Whether it is known not to be there.
    pub fn is_absent(&self) -> bool {
        matches!(self, Self::Absent)
    }

    /// Something made from what is there.
    pub fn map<U>(self, make: impl FnOnce(T) -> U) -> Seen<U> {
        match self {
            Self::There(found) => Seen::There(make(found)),
            Self::Absent => Seen::Absent,
            Self::Barred => Seen::Barred,
        }
    }
}

/// How far a look went.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Reach {
    /// The reader may not look at all; the gap is noted.
    Nowhere,
    /// In the reader's namespace; the gap is noted.
    Here,
    /// In the whole cluster.
    Everywhere,
}

/// A connection, and what could not be looked at through it.
pub struct Cluster {
    /// Requests go out here.
    pub client: Client,
    /// What the API server warned of.
    pub warnings: Warnings,
    /// The namespace that was named, or that of the context.
    pub namespace: String,
    /// Whether a namespace was named.
    pub named: bool,
    /// Whether every namespace was asked for.
    pub all: bool,
    server: String,
    gaps: RefCell<BTreeSet<Gap>>,
    /// The resources of which something was seen.
    seen: RefCell<BTreeSet<String>>,
}

const PAGE: u32 = 250;

impl Cluster {
    /// Reads the kubeconfig; the first request connects.
    pub async fn connect(args: &ClusterArgs) -> Result<Self, Failure> {
        // Another one may be installed already, in tests.
        let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
        let mut config = config(args).await?;
        if let Some(user) = &args.as_user {
            config.auth_info.impersonate = Some(user.clone());
            config.auth_info.impersonate_groups = Some(args.as_group.clone()).filter(|groups| !groups.is_empty());
        }
        config.connect_timeout = Some(Duration::from_secs(10));
        config.read_timeout = Some(Duration::from_secs(60));
        config.reset_reader_on_write = true;
        let server = config.cluster_url.to_string();
        let namespace = args.namespace.clone().unwrap_or_else(|| config.default_namespace.clone());
        let warnings = Warnings::default();
        let client = connect_and_hear(config, &warnings).map_err(|error| Failure::Kubeconfig(told(&error)))?;
        let (named, all) = (args.namespace.is_some(), args.all_namespaces);
        Ok(Self { client, warnings, namespace, named, all, server, gaps: RefCell::default(), seen: RefCell::default() })
    }

    /// What could not be looked at so far, each a finding.
    pub fn gaps(&self) -> Vec<Finding> {
        told_once(&self.gaps.borrow(), self.named).into_iter().map(Gap::finding).collect()
    }

    /// Likewise for an answer about one namespace: that it was not seen everywhere, only here, is a note.
    pub fn gaps_here(&self) -> Vec<Finding> {
        let (gaps, seen) = (self.gaps.borrow(), self.seen.borrow());
        let told = |gap: &Gap| {
            let partly = gap.namespace.is_none() && gap.name.is_none() && seen.contains(&gap.resource);
            let severity = if partly { Severity::Note } else { Severity::Warning };
            Finding { severity, ..gap.finding() }
        };
        told_once(&gaps, self.named).into_iter().map(told).collect()
    }

    /// Forgets what could not be looked at.
    pub fn forget_gaps(&self) {
        self.gaps.borrow_mut().clear();
        self.seen.borrow_mut().clear();
    }

    /// One object.
    pub async fn get<K>(&self, api: &Api<K>, name: &str) -> Result<Seen<K>, Failure>
    where
        K: Resource + Clone + DeserializeOwned + Debug,
    {
        let answer = api.get(name).await;
        self.see(answer, "get", api.resource_url(), Some(name))
    }

    /// One object that an answer is better with, and an answer without: who may not look at it is not told so.
    pub async fn peek<K>(&self, api: &Api<K>, name: &str) -> Result<Option<K>, Failure>
    where
        K: Resource + Clone + DeserializeOwned + Debug,
    {
        match api.get(name).await {
            Ok(found) => Ok(Some(found)),
            Err(Error::Api(status)) if [403, 404].contains(&status.code) => Ok(None),
            Err(error) => Err(self.failure(&error, "get", api.resource_url())),
        }
    }

    /// The metadata of one object.
    pub async fn get_metadata<K>(&self, api: &Api<K>, name: &str) -> Result<Seen<PartialObjectMeta<K>>, Failure>
    where
        K: Resource + Clone + DeserializeOwned + Debug,
    {
        let answer = api.get_metadata(name).await;
        self.see(answer, "get", api.resource_url(), Some(name))
    }

    /// Every object, page by page.
    pub async fn list<K>(&self, api: &Api<K>, params: ListParams) -> Result<Seen<Vec<K>>, Failure>
    where
        K: Resource + Clone + DeserializeOwned + Debug,
    {
        let mut all = Vec::new();
        Ok(self.each_page(api, params, |page| all.extend(page)).await?.map(|()| all))
    }

    /// Every object, a page in memory at a time. Nothing of it is kept but what `take` keeps.
    pub async fn each_page<K>(
        &self,
        api: &Api<K>,
        params: ListParams,
        take: impl FnMut(Vec<K>),
    ) -> Result<Seen<()>, Failure>
    where
        K: Resource + Clone + DeserializeOwned + Debug,
    {
        self.pages(api.resource_url(), params, async |params| api.list(&params).await, take).await
    }

    /// The metadata of every object, page by page.
    pub async fn list_metadata<K>(
        &self,
        api: &Api<K>,
        params: ListParams,
    ) -> Result<Seen<Vec<PartialObjectMeta<K>>>, Failure>
    where
        K: Resource + Clone + DeserializeOwned + Debug,
    {
        let mut all = Vec::new();
        let asked = async |params| api.list_metadata(&params).await;
        Ok(self.pages(api.resource_url(), params, asked, |page| all.extend(page)).await?.map(|()| all))
    }

    /// Every object that may be listed, a page in memory at a time: of the whole cluster, else of the reader's namespace.
    pub async fn each_page_in_reach<K>(
        &self,
        api: impl Fn(Option<&str>) -> Api<K>,
        params: ListParams,
        mut take: impl FnMut(Vec<K>),
    ) -> Result<Reach, Failure>
    where
        K: Resource + Clone + DeserializeOwned + Debug,
    {
        if self.each_page(&api(None), params.clone(), &mut take).await? != Seen::Barred {
            return Ok(Reach::Everywhere);
        }
        match self.each_page(&api(Some(&self.namespace)), params, take).await? {
            Seen::Barred => Ok(Reach::Nowhere),
            Seen::There(()) | Seen::Absent => Ok(Reach::Here),
        }
    }

    async fn pages<K: Clone>(
        &self,
        url: &str,
        params: ListParams,
        ask: impl AsyncFn(ListParams) -> kube::Result<ObjectList<K>>,
        mut take: impl FnMut(Vec<K>),
    ) -> Result<Seen<()>, Failure> {
        let mut next: Option<String> = None;
        loop {
            let page = ListParams { limit: params.limit.or(Some(PAGE)), continue_token: next, ..params.clone() };
            let answer = match ask(page).await {
                // Older than the API server keeps revisions: it offers to go on with what is there now.
                Err(Error::Api(status)) if status.code == 410 && offered(&status).is_some() => {
                    next = offered(&status);
                    continue;
                }
                answer => answer,
            };
            let list = match self.see(answer, "list", url, None)? {
                Seen::There(list) => list,
                Seen::Absent => return Ok(Seen::Absent),
                Seen::Barred => return Ok(Seen::Barred),
            };
            next = list.metadata.continue_.clone().filter(|token| !token.is_empty());
            take(list.items);
            if next.is_none() {
                return Ok(Seen::There(()));
            }
        }
    }

    /// Whether the reader may do something, to the object of that name if one is given.
    pub async fn may(
        &self,
        verb: &str,
        group: &str,
        resource: &str,
        namespace: Option<&str>,
        name: Option<&str>,
    ) -> Result<bool, Failure> {
        let attributes = ResourceAttributes {
            verb: Some(verb.to_owned()),
            group: Some(group.to_owned()),
            resource: Some(resource.to_owned()),
            namespace: namespace.map(str::to_owned),
            name: name.map(str::to_owned),
            ..ResourceAttributes::default()
        };
        let spec = SelfSubjectAccessReviewSpec { resource_attributes: Some(attributes), ..Default::default() };
        let review = SelfSubjectAccessReview { spec, ..Default::default() };
        let api: Api<SelfSubjectAccessReview> = Api::all(self.client.clone());
        let answer = api.create(&PostParams::default(), &review).await;
        let seen = self.see(answer, "create", api.resource_url(), None)?.found();
        Ok(seen.and_then(|review| review.status).is_some_and(|status| status.allowed))
    }

    /// Sorts an answer, and notes what the reader may not look at.
    pub fn see<T>(
        &self,
        answer: kube::Result<T>,
        verb: &'static str,
        url: &str,
        name: Option<&str>,
    ) -> Result<Seen<T>, Failure> {
        let seen = self.sort(answer, verb, url)?;
        match &seen {
            Seen::There(_) => drop(self.seen.borrow_mut().insert(target(url).0)),
            Seen::Absent => {}
            Seen::Barred => drop(self.gaps.borrow_mut().insert(Gap::of(verb, url, name))),
        }
        Ok(seen)
    }

    /// Sorts an answer.
    pub fn sort<T>(&self, answer: kube::Result<T>, verb: &str, url: &str) -> Result<Seen<T>, Failure> {
        match answer {
            Ok(found) => Ok(Seen::There(found)),
            Err(Error::Api(status)) if status.code == 404 => Ok(Seen::Absent),
            Err(Error::Api(status)) if status.code == 403 && !status.message.contains("cannot impersonate") => {
                Ok(Seen::Barred)
            }
            Err(error) => Err(self.failure(&error, verb, url)),
        }
    }

    /// What went wrong with a request.
    pub fn failure(&self, error: &Error, verb: &str, url: &str) -> Failure {
        let why = match error {
            Error::Api(status) if status.code == 401 => {
                "the API server does not know who you are (401): log in again, or correct the kubeconfig's user"
                    .to_owned()
            }
            Error::Api(status) if status.code == 410 => {
                "the list changed too much while it was read page by page: try again".to_owned()
            }
            Error::Api(status) => status.message.clone(),
            other => told(other),
        };
        Failure::Request { what: format!("{verb} {} at {}", target(url).0, self.server), why }
    }
}

/// The gaps, of which one is told where the reader may look neither everywhere nor in his namespace: that of the namespace, if he
/// named it.
fn told_once(gaps: &BTreeSet<Gap>, named: bool) -> Vec<&Gap> {
    let twin = |gap: &Gap, wider: bool| {
        let alike = |other: &&Gap| (other.verb, &other.resource, &other.name) == (gap.verb, &gap.resource, &gap.name);
        gaps.iter().filter(alike).any(|other| other.namespace.is_none() == wider)
    };
    let told = |gap: &&Gap| match gap.namespace {
        Some(_) => named || !twin(gap, true),
        None => !named || !twin(gap, false),
    };
    gaps.iter().filter(told).collect()
}

fn offered(status: &Status) -> Option<String> {
    status.metadata.as_ref()?.continue_.clone().filter(|token| !token.is_empty())
}

/// An API of a kind with a namespace: in one of them, or in all.
pub fn within<K>(client: &Client) -> impl Fn(Option<&str>) -> Api<K>
where
    K: Resource<DynamicType = (), Scope = NamespaceResourceScope>,
{
    |namespace| match namespace {
        Some(namespace) => Api::namespaced(client.clone(), namespace),
        None => Api::all(client.clone()),
    }
}

async fn config(args: &ClusterArgs) -> Result<Config, Failure> {
    let read = match &args.kubeconfig {
        Some(path) => Kubeconfig::read_from(path),
        None => match there(std::env::var_os("KUBECONFIG").as_deref()).as_slice() {
            // An error, if they were named, says which.
            [] => Kubeconfig::read(),
            paths => merged(paths),
        },
    };
    match read {
        Ok(kubeconfig) => {
            let options = KubeConfigOptions { context: args.context.clone(), ..KubeConfigOptions::default() };
            let config = Config::from_custom_kubeconfig(kubeconfig, &options).await;
            config.map_err(|error| Failure::Kubeconfig(told(&error)))
        }
        // Inside a pod there is none.
        Err(error) if args.kubeconfig.is_none() && args.context.is_none() => {
            let hint = "name one with --kubeconfig or $KUBECONFIG";
            Config::incluster().map_err(|_| Failure::Kubeconfig(format!("{}; {hint}", told(&error))))
        }
        Err(error) => Err(Failure::Kubeconfig(told(&error))),
    }
}

/// Of a list of kubeconfigs, those that are there: as for kubectl, one that is not is as if it were not named.
fn there(listed: Option<&OsStr>) -> Vec<PathBuf> {
    let all = listed.into_iter().flat_map(std::env::split_paths);
    all.filter(|path| !path.as_os_str().is_empty() && !matches!(path.try_exists(), Ok(false))).collect()
}

/// All of them as one, of which the first that says something is right.
fn merged(paths: &[PathBuf]) -> Result<Kubeconfig, KubeconfigError> {
    paths.iter().try_fold(Kubeconfig::default(), |all, path| all.merge(Kubeconfig::read_from(path)?))
}

/// An error with its causes, each said once.
fn told(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(next) = cause {
        let more = next.to_string();
        if !text.contains(&more) {
            text.push_str(": ");
            text.push_str(&more);
        }
        cause = next.source();
    }
    text
}

/// The resource and namespace of a URL such as `/apis/apps/v1/namespaces/a/deployments`.
fn target(url: &str) -> (String, Option<String>) {
    let parts: Vec<&str> = url.trim_matches('/').split('/').collect();
    let (group, rest) = match parts.as_slice() {
        ["api", _, rest @ ..] => ("", rest),
        ["apis", group, _, rest @ ..] => (*group, rest),
        _ => return (url.to_owned(), None),
    };
    let (namespace, resource) = match rest {
        ["namespaces", namespace, resource, ..] => (Some((*namespace).to_owned()), *resource),
        [resource, ..] => (None, *resource),
        [] => return (url.to_owned(), None),
    };
    let resource = if group.is_empty() { resource.to_owned() } else { format!("{resource}.{group}") };
    (resource, namespace)
}

/// Runs what asks a cluster, on this thread.
pub fn run<T>(work: impl Future<Output = Result<T, Failure>>) -> Result<T, Failure> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let runtime = runtime.map_err(|error| Failure::Usage(format!("no runtime: {error}")))?;
    runtime.block_on(work)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_url_names_its_resource() {
        for (url, resource, namespace) in [
            ("/api/v1/secrets", "secrets", None),
            ("/api/v1/namespaces", "namespaces", None),
            ("/api/v1/namespaces/a/pods", "pods", Some("a")),
            ("/apis/apps/v1/namespaces/a/deployments", "deployments.apps", Some("a")),
            ("/apis/scopedsecrets.io/v1alpha1/segmentationpolicies", "segmentationpolicies.scopedsecrets.io", None),
        ] {
            assert_eq!(target(url), (resource.to_owned(), namespace.map(str::to_owned)), "{url}");
        }
    }

    #[test]
    fn of_a_list_of_kubeconfigs_those_that_are_there_are_read() {
        let folder = tempfile::tempdir().unwrap();
        let path = |name: &str| folder.path().join(name);
        let write = |name: &str, context: &str| {
            std::fs::write(path(name), format!("apiVersion: v1\nkind: Config\ncurrent-context: {context}\n")).unwrap();
        };
        write("a", "first");
        write("b", "second");
        let context = |names: &[&str]| {
            let listed = std::env::join_paths(names.iter().map(|name| path(name))).unwrap();
            let there = there(Some(listed.as_os_str()));
            (there.len(), merged(&there).unwrap().current_context)
        };
        let table: [(&[&str], usize, Option<&str>); 4] = [
            (&["a"], 1, Some("first")),
            (&["gone", "b", "a"], 2, Some("second")),
            (&["a", "gone"], 1, Some("first")),
            (&["gone"], 0, None),
        ];
        for (names, number, first) in table {
            assert_eq!(context(names), (number, first.map(str::to_owned)), "{names:?}");
        }
        assert!(there(None).is_empty() && there(Some(OsStr::new(""))).is_empty());
        write("b", "[");
        assert!(merged(&[path("a"), path("b")]).is_err(), "what is there must be readable");
    }

    #[test]
    fn what_may_be_looked_at_nowhere_is_told_once() {
        let gap = |resource: &str, namespace: Option<&str>, name: Option<&str>| Gap {
            verb: "list",
            resource: resource.into(),
            namespace: namespace.map(str::to_owned),
            name: name.map(str::to_owned),
        };
        let gaps = [
            gap("pods", None, None),
            gap("pods", Some("a"), None),
            gap("secrets", Some("a"), None),
            gap("secrets", Some("a"), Some("b")),
            gap("stores", None, None),
        ];
        let gaps: BTreeSet<Gap> = gaps.into();
        let told = |named| {
            told_once(&gaps, named)
                .into_iter()
                .map(|g| (g.resource.as_str(), g.namespace.is_some()))
                .collect::<Vec<_>>()
        };
        assert_eq!(told(false), [("pods", false), ("secrets", true), ("secrets", true), ("stores", false)]);
        assert_eq!(told(true), [("pods", true), ("secrets", true), ("secrets", true), ("stores", false)]);
    }

    #[test]
    fn a_gap_says_which_verb_on_what() {
        let gap = Gap { verb: "list", resource: "secrets".into(), namespace: Some("a".into()), name: None };
        let finding = gap.finding();
        assert_eq!(finding.message, "this could not be looked at: you may not list secrets in namespace a");
        assert!(finding.fix.unwrap().starts_with("ask for the verb list on secrets in namespace a"));
    }
}
