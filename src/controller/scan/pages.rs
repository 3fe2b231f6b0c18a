//! Paged lists, one page in memory at a time.

use super::ScanError;
use crate::controller::context::Context;
use crate::controller::store::brief;
use kube::api::{Api, ListParams};
use kube::core::ObjectList;
use serde::de::DeserializeOwned;
use std::fmt::Debug;
use std::future::Future;
use std::time::Duration;

/// So many objects a page.
const PAGE: u32 = 100;
/// The rest between two pages: what waits for the API server goes first.
const REST: Duration = Duration::from_millis(100);

/// Of what may be a mebibyte each.
const SMALL_PAGE: u32 = 10;

/// Shows every object of a kind, a page at a time.
pub async fn each<K>(cx: &Context, what: &str, api: &Api<K>, see: impl FnMut(Vec<K>)) -> Result<(), ScanError>
where
    K: Clone + DeserializeOwned + Debug,
{
    paged(cx, what, api, PAGE, see).await
}

/// Likewise, of objects that may be large.
pub async fn each_large<K>(cx: &Context, what: &str, api: &Api<K>, see: impl FnMut(Vec<K>)) -> Result<(), ScanError>
where
    K: Clone + DeserializeOwned + Debug,
{
    paged(cx, what, api, SMALL_PAGE, see).await
}

async fn paged<K>(cx: &Context, what: &str, api: &Api<K>, limit: u32, see: impl FnMut(Vec<K>)) -> Result<(), ScanError>
where
    K: Clone + DeserializeOwned + Debug,
{
    let list = |token: Option<String>| async move {
        let params = ListParams { limit: Some(limit), continue_token: token, ..ListParams::default() };
        api.list(&params).await
    };
    turn(what, list, || cx.leads(), REST, see).await
}

/// Turns the pages of a list. One that takes longer than the API server keeps old revisions goes on with newer ones, as its
/// answer offers.
async fn turn<K, F>(
    what: &str,
    list: impl Fn(Option<String>) -> F,
    leads: impl Fn() -> bool,
    rest: Duration,
    mut see: impl FnMut(Vec<K>),
) -> Result<(), ScanError>
where
    K: Clone,
    F: Future<Output = Result<ObjectList<K>, kube::Error>>,
{
    let mut token = None;
    loop {
        if !leads() {
            return Err(ScanError::LeaseLost);
        }
        token = match list(token).await {
            Ok(page) => {
                let next = page.metadata.continue_;
                see(page.items);
                next
            }
            Err(kube::Error::Api(status)) if status.code == 410 && offered(&status).is_some() => offered(&status),
            Err(error) => return Err(ScanError::List { what: what.to_owned(), why: brief(&error) }),
        };
        if token.as_ref().is_none_or(String::is_empty) {
            return Ok(());
        }
        tokio::time::sleep(rest).await;
    }
}

fn offered(status: &kube::core::Status) -> Option<String> {
    status.metadata.as_ref()?.continue_.clone().filter(|token| !token.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;
    use k8s_openapi::apimachinery::pkg::apis::meta::v1::ListMeta;
    use kube::core::Status;
    use std::cell::{Cell, RefCell};

    fn page(items: &[u32], next: Option<&str>) -> Result<ObjectList<u32>, kube::Error> {
        let metadata = ListMeta { continue_: next.map(str::to_owned), ..ListMeta::default() };
        Ok(ObjectList { types: kube::core::TypeMeta::default(), metadata, items: items.to_vec() })
    }

    fn refused(code: u16, next: Option<&str>) -> Result<ObjectList<u32>, kube::Error> {
        let metadata = next.map(|next| ListMeta { continue_: Some(next.to_owned()), ..ListMeta::default() });
        Err(kube::Error::Api(Box::new(Status { code, metadata, ..Status::default() })))
    }

    type Answer = fn() -> Result<ObjectList<u32>, kube::Error>;

    async fn seen(answers: &[(&str, Answer)], pages_led: usize) -> (Vec<u32>, Result<(), String>) {
        let (seen, asked, left) = (RefCell::new(Vec::new()), Cell::new(0), Cell::new(pages_led));
        let list = |token: Option<String>| {
            let (expected, answer) = answers[asked.get()];
            asked.set(asked.get() + 1);
            assert_eq!(token.unwrap_or_default(), expected);
            std::future::ready(answer())
        };
        let leads = || left.replace(left.get().saturating_sub(1)) > 0;
        let ended = turn("things", list, leads, Duration::ZERO, |page| seen.borrow_mut().extend(page)).await;
        (seen.into_inner(), ended.map_err(|e| e.to_string()))
    }

    #[tokio::test]
    async fn pages_are_turned_to_the_end() {
        let table: [(&str, Answer); 3] =
            [("", || page(&[1, 2], Some("a"))), ("a", || page(&[3], Some("b"))), ("b", || page(&[4], None))];
        assert_eq!(seen(&table, 9).await, (vec![1, 2, 3, 4], Ok(())));
        let (some, ended) = seen(&table, 2).await;
        assert_eq!((some, ended.is_err()), (vec![1, 2, 3], true), "the lease was lost");
        assert_eq!(seen(&[("", || page(&[], Some("")))], 9).await, (vec![], Ok(())));
    }

    #[tokio::test]
    async fn one_that_takes_too_long_goes_on_as_it_is_offered() {
        let table: [(&str, Answer); 3] =
            [("", || page(&[1], Some("old"))), ("old", || refused(410, Some("new"))), ("new", || page(&[2], None))];
        assert_eq!(seen(&table, 9).await, (vec![1, 2], Ok(())));
        for answer in [|| refused(410, None), || refused(403, Some("new")), || refused(500, None)] as [Answer; 3] {
            let (_, ended) = seen(&[("", answer)], 9).await;
            assert!(ended.unwrap_err().contains("things could not be listed"));
        }
    }
}
