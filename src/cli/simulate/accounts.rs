//! Whose AWS account a store reaches, as far as that can be told offline.

use crate::api::ScopedSecretStoreSpec;
use crate::segmentation::key::Realm;
use crate::segmentation::world::StoreState;
use std::collections::BTreeMap;

/// The account of a store of which nothing tells another.
pub const ASSUMED: &str = "000000000000";

/// Accounts that the user gave.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Accounts {
    /// For every store that is not named.
    pub default: Option<String>,
    /// By the store's name.
    pub by_store: BTreeMap<String, String>,
}

/// How a store's account was told.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Told {
    /// By the store, or the user; or it has none.
    Known,
    /// By the role that the store assumes.
    ByRole(String),
    /// By nothing.
    Assumed,
}

impl Accounts {
    /// Reads `STORE=123456789012` or `123456789012`.
    pub fn read(flags: &[String]) -> Result<Self, String> {
        let mut accounts = Self::default();
        for flag in flags {
            let (store, account) = match flag.split_once('=') {
                Some((store, account)) => (Some(store), account),
                None => (None, flag.as_str()),
            };
            if account.len() != 12 || !account.bytes().all(|b| b.is_ascii_digit()) || store == Some("") {
                return Err(format!("{flag:?}: write STORE=ACCOUNT or ACCOUNT, an account being twelve digits"));
            }
            let before = match store {
                Some(store) => accounts.by_store.insert(store.to_owned(), account.to_owned()),
                None => accounts.default.replace(account.to_owned()),
            };
            if before.is_some_and(|before| before != account) {
                return Err(format!("{flag:?}: another account was given for the same store"));
            }
        }
        Ok(accounts)
    }

    /// The realm of a store. What the store itself says comes first, then what the user says.
    pub fn realm(&self, name: &str, spec: &ScopedSecretStoreSpec) -> Option<(StoreState, Told)> {
        if let Some(file) = &spec.file {
            let path = file.path.trim_end_matches('/').to_owned();
            return Some((StoreState::Known(Realm::File { path }), Told::Known));
        }
        let aws = spec.aws.as_ref()?;
        let given = aws.account_id.as_ref().or_else(|| self.by_store.get(name)).or(self.default.as_ref());
        let role = aws.auth.as_ref().and_then(|a| a.assume_role.as_ref()).map(|r| r.role_arn.as_str());
        let (account, told) = match (given, role.and_then(|arn| arn.split(':').nth(4))) {
            (Some(account), _) => (account.clone(), Told::Known),
            (None, Some(account)) => (account.to_owned(), Told::ByRole(account.to_owned())),
            (None, None) => (ASSUMED.to_owned(), Told::Assumed),
        };
        Some((StoreState::Known(Realm::Aws { account, region: aws.region.clone() }), told))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn account(flags: &[&str], yaml: &str) -> (String, Told) {
        let flags: Vec<String> = flags.iter().map(|f| (*f).to_owned()).collect();
        let spec: ScopedSecretStoreSpec = serde_saphyr::from_str(yaml).unwrap();
        let (state, told) = Accounts::read(&flags).unwrap().realm("aws", &spec).unwrap();
        match state {
            StoreState::Known(Realm::Aws { account, .. }) => (account, told),
            other => (format!("{other:?}"), told),
        }
    }

    #[test]
    fn the_store_says_it_first_then_the_user_then_the_role() {
        let role = "{aws: {region: eu-west-1, auth: {assumeRole: {roleArn: \"arn:aws:iam::222222222222:role/x-${namespace}\"}}}}";
        let own = "{aws: {region: eu-west-1, accountId: \"111111111111\"}}";
        let bare = "{aws: {region: eu-west-1}}";
        for (flags, yaml, expected, told) in [
            (&["333333333333"][..], own, "111111111111", Told::Known),
            (&["aws=333333333333", "444444444444"], role, "333333333333", Told::Known),
            (&["other=333333333333", "444444444444"], bare, "444444444444", Told::Known),
            (&[], role, "222222222222", Told::ByRole("222222222222".into())),
            (&["other=333333333333"], bare, ASSUMED, Told::Assumed),
        ] {
            assert_eq!(account(flags, yaml), (expected.to_owned(), told), "{flags:?} {yaml}");
        }
    }

    #[test]
    fn refuses_what_is_no_account() {
        for flags in [&["123"][..], &["=123456789012"], &["a=12345678901x"], &["a=111111111111", "a=222222222222"]] {
            let flags: Vec<String> = flags.iter().map(|f| (*f).to_owned()).collect();
            assert!(Accounts::read(&flags).is_err(), "{flags:?}");
        }
    }
}
