//! The connection to the API server, of the operator and of the plugin.
//!
//! Whoever may update an object may write the times in its managedFields, and Kubernetes takes some that nothing here can reckon with
//! (the last day of the year 9999). One such object would make every list that it is in unreadable, for everybody: so what is no time
//! is taken out of managedFields as it comes.

pub mod readable;

use http_body_util::BodyExt;
use kube::client::ClientBuilder;
use kube::{Client, Config};
use readable::Readable;
use tower::util::MapResponseLayer;

/// Connects with the first request.
pub fn connect(config: Config) -> Result<Client, kube::Error> {
    let readable = MapResponseLayer::new(|response: http::Response<_>| {
        response.map(|body: Box<kube::client::DynBody>| {
            let mut readable = Readable::default();
            body.map_frame(move |frame| frame.map_data(|data| readable.feed(data)))
        })
    });
    Ok(ClientBuilder::try_from(config)?.with_layer(&readable).build())
}
