//! /healthz, /readyz and /metrics.

use crate::telemetry::metrics::{Format, Metrics};
use axum::Router;
use axum::http::{HeaderMap, StatusCode, header};
use axum::routing::get;
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

/// What must be in place before this replica can answer. Made of gates; open when all are.
#[derive(Debug, Clone, Default)]
pub struct Readiness(Arc<Mutex<BTreeMap<&'static str, bool>>>);

/// One thing that must be in place.
#[derive(Debug, Clone)]
pub struct Gate {
    name: &'static str,
    readiness: Readiness,
}

impl Readiness {
    /// Adds a gate, closed.
    pub fn gate(&self, name: &'static str) -> Gate {
        let gate = Gate { name, readiness: self.clone() };
        gate.set(false);
        gate
    }

    /// The gates that are closed.
    pub fn missing(&self) -> Vec<&'static str> {
        let gates = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        gates.iter().filter(|(_, open)| !**open).map(|(name, _)| *name).collect()
    }
}

impl Gate {
    /// Whether it is open.
    pub fn is_open(&self) -> bool {
        self.readiness.0.lock().unwrap_or_else(PoisonError::into_inner).get(self.name).copied().unwrap_or(false)
    }

    /// Opens or closes it.
    pub fn set(&self, open: bool) {
        self.readiness.0.lock().unwrap_or_else(PoisonError::into_inner).insert(self.name, open);
    }
}

/// The routes of the plain server.
pub fn router(readiness: Readiness, metrics: Arc<Metrics>) -> Router {
    let ready = move || async move {
        match readiness.missing() {
            missing if missing.is_empty() => (StatusCode::OK, "ok\n".to_owned()),
            missing => (StatusCode::SERVICE_UNAVAILABLE, format!("waiting for: {}\n", missing.join(", "))),
        }
    };
    let measured = move |headers: HeaderMap| async move {
        let format = Format::accepted(headers.get(header::ACCEPT).and_then(|v| v.to_str().ok()).unwrap_or_default());
        ([(header::CONTENT_TYPE, format.content_type())], format.of(metrics.encode()))
    };
    Router::new()
        .route("/healthz", get(|| async { "ok\n" }))
        .route("/readyz", get(ready))
        .route("/metrics", get(measured))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ready_when_every_gate_is_open() {
        let readiness = Readiness::default();
        let (caches, certificate) = (readiness.gate("caches"), readiness.gate("certificate"));
        assert_eq!(readiness.missing(), ["caches", "certificate"]);
        caches.set(true);
        certificate.set(true);
        assert!(readiness.missing().is_empty());
        caches.set(false);
        assert_eq!(readiness.missing(), ["caches"]);
    }
}
