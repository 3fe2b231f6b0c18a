//! What a report lists for the first time, where nobody else has told it: breaches of the rules that the API server keeps without
//! asking anybody. In mode Warn or Audit, with `reportOnly` and under an exception it lets them through without an event.

use super::plan::Observed;
use crate::admission::rules::{consumers, replication};
use crate::api::Reason;
use crate::api::policy::Mode;
use crate::api::segmentation_report::{ReportedViolation, SegmentationReportStatus, ViolatingObject};
use crate::controller::context::Context;
use crate::controller::events::{self, Told};
use crate::segmentation::authorize::{Governance, governance};
use crate::segmentation::violation::ObjectRef;
use crate::segmentation::world::World;
use jiff::Timestamp;
use kube::runtime::events::EventType;
use std::collections::HashSet;

/// So many events come of one write of a report; the others are in the report alone.
const AT_ONCE: usize = 32;

/// The rules that the API server keeps alone and that follow the mode.
const RULES: [&str; 2] = [consumers::RULE, replication::RULE];

/// One event of each object that breaks such a rule and was not listed before, and one count.
pub(super) async fn tell(
    cx: &Context,
    before: &SegmentationReportStatus,
    after: &SegmentationReportStatus,
    observed: &Observed,
) {
    let news = news(before, after);
    {
        let index = cx.index();
        for (rule, violation) in &news {
            if let Some(answer) = answer(rule, &violation.object, &index.world, cx.now()) {
                cx.metrics.breached(rule, &violation.reason, answer);
            }
        }
    }
    for (rule, violation) in news.into_iter().take(AT_ONCE) {
        let object = &violation.object;
        let about = ObjectRef {
            api_version: object.api_version.clone(),
            kind: object.kind.clone(),
            namespace: object.namespace.as_deref().map(Into::into),
            name: object.name.clone(),
        };
        let (type_, message) =
            (EventType::Warning, format!("rule {rule}, {}: {}", violation.reason, violation.message));
        let (reason, uid) = (violation.reason.as_str(), observed.uid(violation));
        events::publish(cx, Told { about: &about, uid, type_, reason, action: "Report", message: &message }).await;
    }
}

fn news<'s>(
    before: &SegmentationReportStatus,
    after: &'s SegmentationReportStatus,
) -> Vec<(&'static str, &'s ReportedViolation)> {
    let known: HashSet<_> = before.violations.iter().map(|v| (&*v.rule, &*v.reason, &v.object)).collect();
    let told = |violation: &'s ReportedViolation| {
        let rule = RULES.into_iter().find(|rule| *rule == violation.rule)?;
        // Of a ScopedSecret that a foreign pod stops its own status tells.
        let told = violation.object.kind == "ScopedSecret" || Reason::from_text(&violation.reason).is_none();
        let new = !known.contains(&(&*violation.rule, &*violation.reason, &violation.object));
        (new && !told).then_some((rule, violation))
    };
    after.violations.iter().filter_map(told).collect()
}

/// How the API server answered it, if it let it through.
fn answer(rule: &str, object: &ViolatingObject, world: &World, now: Timestamp) -> Option<&'static str> {
    let Governance::Governed { consumers, replication, .. } = governance(object.namespace.as_deref()?, world, now)
    else {
        return None;
    };
    match if rule == self::consumers::RULE { consumers } else { replication } {
        Mode::Enforce => None,
        Mode::Warn => Some("Warn"),
        Mode::Audit => Some("Audit"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::api::segmentation_report::FoundBy;
    use crate::segmentation::fixtures::*;
    use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;

    fn violation(rule: &str, reason: Reason, kind: &str, name: &str) -> ReportedViolation {
        let namespace = Some("payments-prod".to_owned());
        let object = ViolatingObject { api_version: "v1".into(), kind: kind.into(), namespace, name: name.into() };
        let since = Time(Timestamp::UNIX_EPOCH);
        let (rule, reason) = (rule.to_owned(), reason.as_str().to_owned());
        ReportedViolation { rule, reason, object, since, message: "mend it".into(), found_by: FoundBy::Scan }
    }

    #[test]
    fn what_is_listed_for_the_first_time_and_told_by_nobody_else() {
        let status = |violations: &[ReportedViolation]| SegmentationReportStatus {
            violations: violations.to_vec(),
            ..SegmentationReportStatus::default()
        };
        let pod = |name| violation("Consumers", Reason::ForeignConsumer, "Pod", name);
        let all = [
            pod("old"),
            pod("new"),
            violation("Replication", Reason::ReplicatedIn, "Secret", "pulled"),
            violation("Copies", Reason::ValueCopied, "Secret", "copy"),
            violation("Copies", Reason::WeakValueCopied, "Secret", "guessed"),
            violation("Consumers", Reason::ForeignConsumer, "ScopedSecret", "stopped"),
        ];
        let (before, after) = (status(&all[..1]), status(&all));
        let names: Vec<_> = news(&before, &after).iter().map(|(_, violation)| &*violation.object.name).collect();
        assert_eq!(names, ["new", "pulled"]);
        assert!(news(&after, &after).is_empty() && news(&after, &before).is_empty());
    }

    #[test]
    fn it_is_counted_as_the_guard_answered_it() {
        let object = violation("Consumers", Reason::ForeignConsumer, "Pod", "p").object;
        for (rules, consumers, replication) in [
            ("", None, None),
            ("mode: Warn", Some("Warn"), Some("Warn")),
            ("mode: Audit", Some("Audit"), Some("Audit")),
            ("reportOnly: [Consumers]", Some("Audit"), None),
        ] {
            let world = World::with_tenants().under([policy("tenants", &format!("{TENANTS}{rules}"))]);
            let answers = RULES.map(|rule| answer(rule, &object, &world, now()));
            assert_eq!(answers, [consumers, replication], "{rules}");
        }
        let elsewhere = ViolatingObject { namespace: Some("plain".into()), ..object.clone() };
        let cluster = ViolatingObject { namespace: None, ..object };
        let world = World::with_tenants();
        assert_eq!([elsewhere, cluster].map(|object| answer("Consumers", &object, &world, now())), [None, None]);
    }
}
