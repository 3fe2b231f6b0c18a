//! Paged lists, one page in memory at a time.

use super::ScanError;
use crate::client::errors::brief;
use crate::controller::context::Context;
use crate::controller::served::Place;
use kube::Resource;
use kube::api::ListParams;
use kube::core::{ObjectList, Request};
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::value::RawValue;
use std::fmt::Debug;
use std::future::Future;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

/// So many objects a page.
const PAGE: u32 = 100;
/// The rest between two pages: what waits for the API server goes first.
const REST: Duration = Duration::from_millis(100);

/// Of what may be a mebibyte each.
const SMALL_PAGE: u32 = 5;
/// A page that was larger is followed by a smaller one.
const PAGE_BYTES: usize = 2 * 1024 * 1024;

/// Shows every object of a kind in these places, a page at a time; none, if there is no such kind.
pub async fn each<K>(
    cx: &Context,
    what: &str,
    places: &[Place<K>],
    mut see: impl FnMut(Vec<K>),
) -> Result<(), ScanError>
where
    K: Clone + DeserializeOwned + Debug,
{
    for place in places.iter().filter(|place| is_there(cx, place.namespace.as_deref())) {
        let list = |token: Option<String>| async move {
            let params = ListParams { limit: Some(PAGE), continue_token: token, ..ListParams::default() };
            place.api.list(&params).await
        };
        turn(what, list, || cx.leads(), REST, &mut see).await?;
    }
    Ok(())
}

/// Whether there is anything to list: a served namespace may not be there.
fn is_there(cx: &Context, namespace: Option<&str>) -> bool {
    namespace.is_none_or(|namespace| cx.index().world.namespaces.contains_key(namespace))
}

/// Likewise wherever the operator serves, of objects that may be large: each as it came, to be read one after the other. A page is then in memory as its
/// bytes, and no more; what is large comes one by one.
pub async fn each_large<K>(cx: &Context, what: &str, mut see: impl FnMut(Vec<Unread>)) -> Result<(), ScanError>
where
    K: Resource<DynamicType = ()>,
{
    let limit = AtomicU32::new(SMALL_PAGE);
    let mut see = |page: Vec<Unread>| {
        let bytes = page.iter().map(|object| object.0.get().len()).sum();
        limit.store(next_limit(limit.load(Ordering::Relaxed), bytes), Ordering::Relaxed);
        see(page);
    };
    let places = cx.served.places();
    for place in places.iter().map(Option::as_deref).filter(|place| is_there(cx, *place)) {
        let list = |token: Option<String>| {
            let limit = Some(limit.load(Ordering::Relaxed));
            let params = ListParams { limit, continue_token: token, ..ListParams::default() };
            let request = Request::new(K::url_path(&(), place)).list(&params).map_err(kube::Error::BuildRequest);
            async { cx.client.request::<ObjectList<Unread>>(request?).await }
        };
        turn(what, list, || cx.leads(), REST, &mut see).await?;
    }
    Ok(())
}

/// How many objects the next page has, after one of so many that had so many bytes.
fn next_limit(limit: u32, bytes: usize) -> u32 {
    if bytes > PAGE_BYTES { (limit / 2).max(1) } else { (limit * 2).min(SMALL_PAGE) }
}

/// An object as it came.
#[derive(Debug, Clone, Deserialize)]
#[serde(transparent)]
pub struct Unread(Box<RawValue>);

impl Unread {
    /// Reads as much of it as the type has.
    pub fn read<T: DeserializeOwned>(&self) -> Result<T, serde_json::Error> {
        serde_json::from_str(self.0.get())
    }
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
            Err(kube::Error::Api(status)) if status.code == 404 => return Ok(()),
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
    async fn a_kind_that_is_not_there_has_no_objects() {
        assert_eq!(seen(&[("", || refused(404, None))], 9).await, (vec![], Ok(())));
    }

    #[test]
    fn what_is_large_comes_one_by_one() {
        let after = |limit: u32, pages: &[usize]| pages.iter().fold(limit, |limit, bytes| next_limit(limit, *bytes));
        assert_eq!(after(SMALL_PAGE, &[10_000; 3]), SMALL_PAGE);
        assert_eq!(after(SMALL_PAGE, &[5 << 20, 3 << 20, 3 << 20]), 1);
        assert_eq!(after(1, &[3 << 20]), 1);
        assert_eq!(after(1, &[10_000; 3]), SMALL_PAGE);
    }

    #[test]
    fn objects_of_a_list_stay_as_they_came() {
        let list = r#"{"kind": "ConfigMapList", "apiVersion": "v1", "metadata": {"continue": "x"}, "items": [{"data": {"a":  "b"}}]}"#;
        let list: ObjectList<Unread> = serde_json::from_str(list).unwrap();
        assert_eq!(list.metadata.continue_.as_deref(), Some("x"));
        assert_eq!(list.items[0].0.get(), r#"{"data": {"a":  "b"}}"#);
        assert!(list.items[0].read::<Vec<u8>>().is_err());
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
