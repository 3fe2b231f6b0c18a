//! Asks one replica's webhook itself, as the API server would: over TLS, trusting the given authorities only.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::sync::Arc;
use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, ClientConnection, RootCertStore, StreamOwned};
use serde_json::{Value, json};

use super::cluster::Cluster;
use super::operator::Operator;

fn entries(cluster: &Cluster) -> Result<Vec<Value>, String> {
    let live = cluster.get_json("validatingwebhookconfiguration", None, "scoped-secrets").ok_or("no configuration")?;
    let entries = live["webhooks"].as_array().filter(|all| !all.is_empty()).ok_or("not filled in yet")?;
    Ok(entries.clone())
}

/// The first part of the path at which the API server asks.
pub fn door(cluster: &Cluster) -> Result<String, String> {
    let entries = entries(cluster)?;
    let url = entries[0]["clientConfig"]["url"].as_str().ok_or("no url")?;
    Ok(url.split('/').nth(3).ok_or("no path")?.to_owned())
}

/// The authorities that the API server trusts (PEM), the same for every entry.
pub fn ca_bundle(cluster: &Cluster) -> Result<String, String> {
    let entries = entries(cluster)?;
    let mut bundles: Vec<&str> = entries.iter().filter_map(|e| e["clientConfig"]["caBundle"].as_str()).collect();
    bundles.dedup();
    let [bundle] = bundles[..] else { return Err(format!("{} different bundles", bundles.len())) };
    let pem = STANDARD.decode(bundle).map_err(|e| e.to_string())?;
    String::from_utf8(pem).map_err(|e| e.to_string())
}

/// The answer to the creation of this ScopedSecret, asked at a door: Ok if it may be, else what was said. An outer Err: nobody
/// answered.
pub fn ask(
    operator: &Operator,
    ca_bundle: &str,
    door: &str,
    namespace: &str,
    spec: Value,
) -> Result<Result<(), String>, String> {
    let path = format!("/{door}/admission/scopedsecrets");
    let review = json!({
        "apiVersion": "admission.k8s.io/v1", "kind": "AdmissionReview",
        "request": {
            "uid": "00000000-0000-4000-8000-000000000001", "operation": "CREATE", "name": "asked", "namespace": namespace,
            "kind": {"group": "scopedsecrets.io", "version": "v1alpha1", "kind": "ScopedSecret"},
            "resource": {"group": "scopedsecrets.io", "version": "v1alpha1", "resource": "scopedsecrets"},
            "userInfo": {"username": "somebody"},
            "object": {
                "apiVersion": "scopedsecrets.io/v1alpha1", "kind": "ScopedSecret",
                "metadata": {"name": "asked", "namespace": namespace}, "spec": spec,
            },
        },
    });
    let answer = post(&operator.webhook, ca_bundle, &path, &review.to_string())?;
    let response = &answer["response"];
    match response["allowed"].as_bool() {
        Some(true) => Ok(Ok(())),
        Some(false) => Ok(Err(response["status"]["message"].as_str().unwrap_or_default().to_owned())),
        None => Err(answer.to_string()),
    }
}

fn post(address: &str, ca_bundle: &str, path: &str, body: &str) -> Result<Value, String> {
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let mut roots = RootCertStore::empty();
    for authority in CertificateDer::pem_slice_iter(ca_bundle.as_bytes()) {
        roots.add(authority.map_err(|e| e.to_string())?).map_err(|e| e.to_string())?;
    }
    let config = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(|e| e.to_string())?
        .with_root_certificates(roots)
        .with_no_client_auth();
    let name = ServerName::try_from("127.0.0.1").map_err(|e| e.to_string())?;
    let session = ClientConnection::new(Arc::new(config), name).map_err(|e| e.to_string())?;
    let socket = TcpStream::connect(address).map_err(|e| e.to_string())?;
    socket.set_read_timeout(Some(Duration::from_secs(5))).map_err(|e| e.to_string())?;
    let mut stream = StreamOwned::new(session, socket);
    write!(
        stream,
        "POST {path} HTTP/1.1\r\nHost: {address}\r\nContent-Type: application/json\r\nContent-Length: {}\r\nConnection: close\r\n\r\n{body}",
        body.len()
    )
    .map_err(|e| e.to_string())?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer).map_err(|e| e.to_string())?;
    let (head, body) = answer.split_once("\r\n\r\n").unwrap_or((&answer, ""));
    serde_json::from_str(body).map_err(|_| format!("{head}: {body}"))
}
