//! Kubernetes events: told where those who may read the object can read them.

use super::context::Context;
use super::store::brief;
use crate::api::Reason;
use crate::segmentation::violation::ObjectRef;
use jiff::Timestamp;
use k8s_openapi::api::core::v1::ObjectReference;
use k8s_openapi::api::events::v1 as events;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::MicroTime;
use kube::Api;
use kube::api::{ObjectMeta, PostParams};
use kube::runtime::events::{Event, EventType};

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
    let event = Event {
        type_: told.type_,
        reason: told.reason.to_owned(),
        note: Some(cut(told.message).to_owned()),
        action: told.action.to_owned(),
        secondary: None,
    };
    if let Some(reason) = Reason::from_text(told.reason) {
        cx.metrics.event(reason);
    }
    let written = match told.about.namespace {
        Some(_) => cx.recorder.publish(&event, &about).await,
        None => of_the_cluster(cx, event, about).await,
    };
    if let Err(error) = written {
        tracing::debug!(error = %brief(&error), "an event was not written");
    }
}

async fn of_the_cluster(cx: &Context, event: Event, about: ObjectReference) -> Result<(), kube::Error> {
    let object = events::Event {
        metadata: ObjectMeta {
            // A valid name by itself, so that it cannot end in a dot.
            generate_name: Some(format!("{}-", crate::api::FIELD_MANAGER)),
            ..ObjectMeta::default()
        },
        event_time: Some(MicroTime(Timestamp::now())),
        action: Some(event.action),
        reason: Some(event.reason),
        note: event.note,
        type_: Some(if event.type_ == EventType::Normal { "Normal" } else { "Warning" }.to_owned()),
        regarding: Some(about),
        reporting_controller: Some(cx.reporter.controller.clone()),
        reporting_instance: cx.reporter.instance.clone(),
        ..events::Event::default()
    };
    let api: Api<events::Event> = Api::namespaced(cx.client.clone(), OF_THE_CLUSTER);
    api.create(&PostParams::default(), &object).await.map(drop)
}

fn cut(message: &str) -> &str {
    &message[..message.floor_char_boundary(NOTE_LIMIT)]
}
