//! The door at `kubectl apply`: an HTTPS server that answers the API server's reviews from memory.
//!
//! ```text
//!   API server ──HTTPS──► server ──► review ──► rules: dyn Review (pure: request + index -> answer)
//!       ▲                   │ tls: the certificate of this moment
//!       │                   │
//!       │ caBundle, rules   └── certificate_keeper: Secret scoped-secrets-webhook-tls (watched by every replica,
//!       └───────────────────────written by the leader) and ValidatingWebhookConfiguration scoped-secrets
//! ```
//!
//! `server` knows nothing of Kubernetes, `review` nothing of sockets, `lanes` keeps large reviews out of the way of small ones,
//! `certificates` and `webhook_configuration` decide without doing, `certificate_keeper` does. What needs no index the API
//! server decides on its own, with the operator gone, too: [`guard`]. Both are in [`rules`], one file a rule.

mod answer;
pub mod breaches;
pub mod bundle;
pub mod certificate_keeper;
pub mod certificates;
mod connections;
pub mod doors;
pub mod guard;
pub mod health;
pub mod identities;
mod lanes;
pub mod recorded;
pub mod review;
pub mod rules;
pub mod server;
pub mod tls;
pub mod unread;
pub mod webhook_configuration;

use std::net::SocketAddr;

/// Where the operator serves, and how the API server reaches it.
#[derive(Debug, Clone, clap::Args)]
pub struct ServingArgs {
    /// Address of the HTTPS server that answers the API server's admission reviews. The default takes IPv6 and IPv4.
    #[arg(long, env = "SCOPED_SECRETS_WEBHOOK_ADDRESS", default_value = "[::]:9443")]
    pub webhook_address: SocketAddr,
    /// How the API server reaches that server if not through the Service: an https URL without path, such as
    /// https://127.0.0.1:9443. For an operator that runs outside the cluster.
    #[arg(long, env = "SCOPED_SECRETS_WEBHOOK_URL", value_parser = webhook_configuration::WebhookUrl::parse)]
    pub webhook_url: Option<webhook_configuration::WebhookUrl>,
    /// Name of the Service, in the operator's namespace, through which the API server reaches that server (port 443).
    #[arg(long, env = "SCOPED_SECRETS_WEBHOOK_SERVICE", default_value = "scoped-secrets-webhook")]
    pub webhook_service: String,
    /// How long the API server waits for an answer of that server (1s to 30s).
    #[arg(long, env = "SCOPED_SECRETS_WEBHOOK_TIMEOUT", default_value = "2s", value_parser = webhook_configuration::read_timeout)]
    pub webhook_timeout: u8,
    /// Address of the HTTP server for /healthz, /readyz and /metrics.
    #[arg(long, env = "SCOPED_SECRETS_METRICS_ADDRESS", default_value = "[::]:8080")]
    pub metrics_address: SocketAddr,
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::leader::LeaderArgs;
    use crate::telemetry::logs::LogArgs;
    use clap::{CommandFactory, Parser};

    #[derive(Parser)]
    struct Shell {
        #[command(flatten)]
        serving: ServingArgs,
        #[command(flatten)]
        leader: LeaderArgs,
        #[command(flatten)]
        log: LogArgs,
    }

    #[test]
    fn arguments_have_sound_defaults() {
        Shell::command().debug_assert();
        let shell = Shell::parse_from(["scoped-secrets", "--webhook-url", "https://127.0.0.1:9443"]);
        assert!(shell.leader.terms().is_ok());
        assert_eq!(shell.serving.webhook_address.to_string(), "[::]:9443");
        assert_eq!(shell.serving.metrics_address.to_string(), "[::]:8080");
        assert_eq!(shell.log.log_level.as_str(), "info");
        assert_eq!(shell.serving.webhook_timeout, webhook_configuration::TIMEOUT_SECONDS);
        assert!(Shell::try_parse_from(["scoped-secrets", "--webhook-url", "http://a"]).is_err());
        for timeout in ["0s", "31s", "1500ms", "2"] {
            assert!(Shell::try_parse_from(["scoped-secrets", "--webhook-timeout", timeout]).is_err(), "{timeout}");
        }
        assert!(Shell::try_parse_from(["scoped-secrets", "--log-level", "scoped_secrets=loud"]).is_err());
    }
}
