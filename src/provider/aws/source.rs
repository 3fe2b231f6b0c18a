//! The calls to Secrets Manager.

use std::sync::Arc;

use aws_sdk_secretsmanager::Client;
use aws_sdk_secretsmanager::config::Builder;
use aws_sdk_secretsmanager::primitives::{Blob, DateTime};
use aws_sdk_secretsmanager::types::{ApiErrorType, SecretValueEntry};
use futures::FutureExt;
use futures::future::BoxFuture;

use super::errors;
use super::session::Session;
use crate::provider::batcher::{BatchSource, Page};
use crate::provider::{Answer, Ask, FetchError, RemoteValue, SecretBytes, VersionRef};

/// Secrets Manager, seen by one identity in one region.
#[derive(Clone)]
pub(super) struct Source {
    pub(super) client: Client,
    pub(super) session: Arc<Session>,
}

impl BatchSource for Source {
    fn batch<'a>(&'a self, ids: &'a [String], next: Option<String>) -> BoxFuture<'a, Result<Page, FetchError>> {
        async move {
            let identity = self.identity().await?;
            let call = self.client.batch_get_secret_value().set_secret_id_list(Some(ids.to_vec())).set_next_token(next);
            let call = async {
                let output = call.customize().config_override(identity).send().await;
                let output = output.map_err(|error| errors::of_call(&error, "secretsmanager:BatchGetSecretValue"))?;
                let mut page = Page { next: output.next_token, ..Page::default() };
                for error in output.errors.unwrap_or_default() {
                    page.failures.extend(failure(error, ids));
                }
                for entry in output.secret_values.unwrap_or_default() {
                    match answer(Entry::from(entry)) {
                        Ok(answer) => page.answers.push(answer),
                        Err(Unusable::Nameless) => page.nameless += 1,
                        Err(Unusable::Empty) => {}
                    }
                }
                Ok(page)
            };
            self.session.observed_as("BatchGetSecretValue", ids.len(), call, outcome).await
        }
        .boxed()
    }

    fn single<'a>(&'a self, ask: &'a Ask) -> BoxFuture<'a, Result<Answer, FetchError>> {
        async move {
            let identity = self.identity().await?;
            let call = self.client.get_secret_value().secret_id(&ask.id);
            let call = match &ask.version {
                VersionRef::Current => call,
                VersionRef::Stage(stage) => call.version_stage(stage),
                VersionRef::Id(id) => call.version_id(id),
            };
            let call = async {
                let output = call.customize().config_override(identity).send().await;
                output.map_err(|error| errors::of_call(&error, "secretsmanager:GetSecretValue"))
            };
            let output = self.session.observed("GetSecretValue", 1, call).await?;
            let entry = Entry {
                arn: output.arn,
                name: output.name,
                version_id: output.version_id,
                stages: output.version_stages,
                created: output.created_date,
                text: output.secret_string,
                binary: output.secret_binary,
            };
            answer(entry).map_err(|unusable| match unusable {
                Unusable::Nameless => FetchError::IdentityMismatch,
                Unusable::Empty => FetchError::Incomplete,
            })
        }
        .boxed()
    }
}

impl Source {
    /// An assumed role's credentials are given to each call; others are the client's own.
    pub(super) async fn identity(&self) -> Result<Builder, FetchError> {
        let mut identity = Builder::new();
        if let Some(credentials) = self.session.assumed().await? {
            identity = identity.credentials_provider(credentials);
        }
        Ok(identity)
    }
}

/// What both calls return, in two types.
struct Entry {
    arn: Option<String>,
    name: Option<String>,
    version_id: Option<String>,
    stages: Option<Vec<String>>,
    created: Option<DateTime>,
    text: Option<String>,
    binary: Option<Blob>,
}

impl From<SecretValueEntry> for Entry {
    fn from(entry: SecretValueEntry) -> Self {
        Self {
            arn: entry.arn,
            name: entry.name,
            version_id: entry.version_id,
            stages: entry.version_stages,
            created: entry.created_date,
            text: entry.secret_string,
            binary: entry.secret_binary,
        }
    }
}

/// Why an entry is no answer.
enum Unusable {
    /// It does not say whose it is.
    Nameless,
    /// It has no version or no value.
    Empty,
}

fn answer(entry: Entry) -> Result<Answer, Unusable> {
    // Taken over first, so that they are zeroed whatever becomes of the entry.
    let text = entry.text.map(SecretBytes::from);
    let binary = entry.binary.map(|blob| SecretBytes::new(blob.into_inner()));
    let (Some(id), Some(name)) = (entry.arn, entry.name) else {
        return Err(Unusable::Nameless);
    };
    let Some(version_id) = entry.version_id else {
        return Err(Unusable::Empty);
    };
    let value = match (text, binary) {
        (Some(text), _) => RemoteValue::Text(text),
        (None, Some(binary)) => RemoteValue::Binary(binary),
        (None, None) => return Err(Unusable::Empty),
    };
    let (stages, created) = (entry.stages.unwrap_or_default(), timestamp(entry.created));
    Ok(Answer { id, name, version_id, stages, created, value })
}

/// A date of AWS's; `None` if it is none that there can be.
pub(super) fn timestamp(at: Option<DateTime>) -> Option<jiff::Timestamp> {
    let at = at?;
    jiff::Timestamp::new(at.secs(), i32::try_from(at.subsec_nanos()).ok()?).ok()
}

/// How a batch ended: where nothing came, and each of its keys failed alike, as one whose caller may read none.
fn outcome(page: &Page) -> &'static str {
    let mut reasons = page.failures.iter().map(|(_, error)| error.reason());
    match reasons.next() {
        Some(first) if page.answers.is_empty() && page.nameless == 0 && reasons.all(|reason| reason == first) => first,
        _ => "Ok",
    }
}

/// The key, as it was asked, and why it failed on its own.
fn failure(error: ApiErrorType, ids: &[String]) -> Option<(String, FetchError)> {
    let named = error.secret_id.unwrap_or_default();
    let asked = ids.iter().find(|id| **id == named).or_else(|| ids.iter().find(|id| same_secret(id, &named)))?;
    let error =
        errors::of_code(error.error_code.as_deref(), error.message.as_deref(), None, "secretsmanager:GetSecretValue");
    Some((asked.clone(), error))
}

/// Whether one of them is a name and the other an ARN of it. Good enough for an error, which carries no value: the
/// six characters that AWS adds to the name are not checked.
fn same_secret(one: &str, other: &str) -> bool {
    let name_of = |arn: &str| -> Option<String> {
        let (_, resource) = arn.strip_prefix("arn:")?.split_once(":secret:")?;
        resource.rsplit_once('-').map(|(name, _)| name.to_owned())
    };
    name_of(one).as_deref() == Some(other) || name_of(other).as_deref() == Some(one)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_batch_of_which_nothing_came_failed() {
        let denied = || ("a".to_owned(), FetchError::AccessDenied { action: "secretsmanager:GetSecretValue" });
        let of = |failures| outcome(&Page { failures, ..Page::default() });
        assert_eq!(of(vec![]), "Ok");
        assert_eq!(of(vec![denied(), denied()]), "AccessDenied");
        assert_eq!(of(vec![denied(), ("b".to_owned(), FetchError::Missing)]), "Ok");
        let page = Page { failures: vec![denied()], nameless: 1, ..Page::default() };
        assert_eq!(outcome(&page), "Ok", "something came");
    }

    #[test]
    fn an_error_finds_its_key_by_name_or_arn() {
        let arn = "arn:aws:secretsmanager:eu-west-1:123456789012:secret:payments/prod/db-two-A1b2C3";
        for (one, other, same) in [
            (arn, "payments/prod/db-two", true),
            ("payments/prod/db-two", arn, true),
            (arn, "payments/prod/db", false),
            ("payments/prod/db", "payments/prod/db", false),
            ("db-two", arn, false),
        ] {
            assert_eq!(same_secret(one, other), same, "{one} {other}");
        }
    }
}
