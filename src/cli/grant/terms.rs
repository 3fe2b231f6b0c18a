//! What the policies say of grants in a namespace, as its SegmentGuard tells it; unknown where the reader may not look.

use crate::cli::change::look::kind;
use crate::cli::cluster::{Cluster, Failure};
use kube::api::{Api, DynamicObject};
use serde_json::Value;

/// The terms.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Terms {
    /// The longest ttl, if that is known.
    pub max_ttl: Option<String>,
    /// Whether an approval is required, if that is known.
    pub approval: Option<bool>,
}

/// Looks.
pub async fn look(cluster: &Cluster) -> Result<Terms, Failure> {
    let of = kind("SegmentGuard");
    let api: Api<DynamicObject> = Api::namespaced_with(cluster.client.clone(), &cluster.namespace, &of);
    let guard = cluster.get(&api, "scoped-secrets").await?.found();
    Ok(guard.as_ref().and_then(|guard| guard.data.pointer("/spec/grants")).map(read).unwrap_or_default())
}

fn read(grants: &Value) -> Terms {
    let text = |key: &str| grants.get(key).and_then(Value::as_str);
    Terms { max_ttl: text("maxTTL").map(str::to_owned), approval: Some(text("approval") == Some("Required")) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn a_guard_tells_the_terms() {
        let told = |grants| read(&grants);
        assert_eq!(
            told(json!({"maxTTL": "8h", "approval": "Required"})),
            Terms { max_ttl: Some("8h".into()), approval: Some(true) }
        );
        assert_eq!(told(json!({"approval": "None"})), Terms { max_ttl: None, approval: Some(false) });
    }
}
