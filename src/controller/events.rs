//! Kubernetes events: told where those who may read the object can read them. Each by itself: kube's Recorder counts those of one object
//! and reason as one, with the text of the first, and a second grant, or a second end, would not be told.

use super::context::Context;
use crate::api::Reason;
use crate::client::errors::brief;
use crate::digest::sha256_hex;
use crate::segmentation::violation::ObjectRef;
use jiff::Timestamp;
use k8s_openapi::api::core::v1::ObjectReference;
use k8s_openapi::api::events::v1::Event;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::MicroTime;
use kube::Api;
use kube::api::{ObjectMeta, PostParams};
use kube::runtime::events::EventType;

/// Kubernetes allows an event's note 1 kB.
const NOTE_LIMIT: usize = 1000;
/// Where events of cluster-scoped objects are: the API server takes them there and in `default`, where a tenant may be.
const OF_THE_CLUSTER: &str = "kube-system";

/// An event.
pub struct Told<'a> {
    /// What it is about.
    pub about: &'a ObjectRef,
    /// The uid of that, if it is known.
    pub uid: Option<&'a str>,
    /// Normal or Warning.
    pub type_: EventType,
    /// Of the registry of reasons, or a condition's.
    pub reason: &'a str,
    /// What the operator was doing, such as `Reconcile`.
    pub action: &'a str,
    /// For people. It is cut at 1 kB.
    pub message: &'a str,
}

impl Told<'_> {
    /// Whether to tell the same but once, by whichever process, for as long as the API server keeps events: each looks at an end anew.
    fn is_told_once(&self) -> bool {
        self.reason == Reason::ExpiresSoon.as_str()
    }

    /// What makes it the same.
    fn digest(&self) -> String {
        let uid = self.uid.unwrap_or_default();
        let text = [&*self.about.kind, &*self.about.name, uid, self.reason, self.message].join("\n");
        sha256_hex(text.as_bytes())[..20].to_owned()
    }
}

/// Writes an event. One that fails is not tried again: it repeats what is told elsewhere.
pub async fn publish(cx: &Context, told: Told<'_>) {
    let about = ObjectReference {
        api_version: Some(told.about.api_version.clone()),
        kind: Some(told.about.kind.clone()),
        namespace: told.about.namespace.as_deref().map(str::to_owned),
        name: Some(told.about.name.clone()),
        uid: told.uid.map(str::to_owned),
        ..ObjectReference::default()
    };
    // A valid name by itself, so that it cannot end in a dot.
    let name = format!("{}-", crate::api::FIELD_MANAGER);
    let event = Event {
        metadata: match told.is_told_once() {
            true => ObjectMeta { name: Some(name + &told.digest()), ..ObjectMeta::default() },
            false => ObjectMeta { generate_name: Some(name), ..ObjectMeta::default() },
        },
        event_time: Some(MicroTime(Timestamp::now())),
        action: Some(told.action.to_owned()),
        reason: Some(told.reason.to_owned()),
        note: Some(cut(told.message).to_owned()),
        type_: Some(if told.type_ == EventType::Normal { "Normal" } else { "Warning" }.to_owned()),
        regarding: Some(about),
        reporting_controller: Some(cx.reporter.controller.clone()),
        reporting_instance: cx.reporter.instance.clone(),
        ..Event::default()
    };
    let namespace = told.about.namespace.as_deref().unwrap_or(OF_THE_CLUSTER);
    let api: Api<Event> = Api::namespaced(cx.client.clone(), namespace);
    match api.create(&PostParams::default(), &event).await {
        Err(kube::Error::Api(status)) if status.code == 409 && told.is_told_once() => return,
        Err(error) => tracing::debug!(error = %brief(&error), "an event was not written"),
        Ok(_) => {}
    }
    if let Some(reason) = Reason::from_text(told.reason) {
        cx.metrics.event(reason);
    }
}

fn cut(message: &str) -> &str {
    &message[..message.floor_char_boundary(NOTE_LIMIT)]
}
