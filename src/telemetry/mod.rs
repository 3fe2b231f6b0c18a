//! What the operator tells its operators: logs, the record of what happened, metrics, and traces. None ever holds a value or a fingerprint;
//! metrics, which others may read, no key and no tenant either.

pub mod logs;
pub mod metrics;
pub mod record;
pub mod traces;
