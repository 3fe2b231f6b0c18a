//! What the operator tells its operators: logs and metrics. Neither ever holds a value, a fingerprint, a key or a tenant.

pub mod logs;
pub mod metrics;
