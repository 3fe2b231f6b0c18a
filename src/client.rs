//! The connection to the API server, of the operator and of the plugin.
//!
//! Whoever may write an object may write what Kubernetes keeps and nothing here can decode: into managedFields, bytes that are no text
//! and thousands of levels; for a time, moments outside of the years that there are, there or in the template of a Deployment. One such
//! object would make every list that it is in unreadable, for everybody: so that is put right as it comes ([`readable`]). And no request
//! waits for ever ([`patience`]), nor do all begin at once ([`turns`]), and no error quotes an object ([`errors`]).

pub mod errors;
pub mod patience;
pub mod readable;
pub mod turns;
pub mod warnings;

use http_body_util::BodyExt;
use kube::client::ClientBuilder;
use kube::{Client, Config};
use patience::Patience;
use readable::Readable;
use std::sync::Arc;
use std::time::Duration;
use tower::util::MapResponseLayer;
use warnings::Warnings;

/// How long the API server may take for an answer. Its webhooks have ten seconds by default.
const LIMIT: Duration = Duration::from_secs(30);

/// Connects with the first request.
pub fn connect(config: Config) -> Result<Client, kube::Error> {
    connect_within(config, LIMIT, None)
}

/// Likewise for who asks for the warnings that come with answers.
pub fn connect_and_hear(config: Config, warnings: &Warnings) -> Result<Client, kube::Error> {
    connect_within(config, LIMIT, Some(warnings.clone()))
}

fn connect_within(config: Config, limit: Duration, warnings: Option<Warnings>) -> Result<Client, kube::Error> {
    let patience = Patience { limit, turns: Arc::default() };
    let readable = MapResponseLayer::new(move |response: http::Response<_>| {
        warnings.iter().for_each(|warnings| warnings.note(response.headers()));
        response.map(|body: Box<kube::client::DynBody>| {
            let mut readable = Readable::default();
            body.map_frame(move |frame| frame.map_data(|data| readable.feed(data)))
        })
    });
    Ok(ClientBuilder::try_from(config)?.with_layer(&readable).with_layer(&patience).build())
}
