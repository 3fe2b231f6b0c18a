//! Whom a binding names, in one form however it is written.

use crate::api::policy::{SubjectKind, SubjectRef};
use crate::digest;
use crate::segmentation::world::ObjectName;
use k8s_openapi::api::rbac::v1;
use std::borrow::Cow;
use std::fmt;
use std::sync::Arc;

/// The namespace of the control plane's own ServiceAccounts. Whoever runs pods there owns the cluster.
pub(super) const CONTROL_PLANE: &str = "kube-system";
/// Users that are parts of the control plane; only the cluster's own authority makes certificates for them.
const CONTROL_PLANE_USERS: [&str; 4] =
    ["system:apiserver", "system:kube-controller-manager", "system:kube-scheduler", "system:cloud-controller-manager"];
/// Groups that RBAC refuses nothing anyway, or that kubeadm makes for its own admin.
const ADMIN_GROUPS: [&str; 2] = ["system:masters", "kubeadm:cluster-admins"];
/// Groups that every tenant is in, or whoever asks at all.
const EVERYBODY: [&str; 3] = [AUTHENTICATED, UNAUTHENTICATED, SERVICE_ACCOUNTS];
const AUTHENTICATED: &str = "system:authenticated";
const UNAUTHENTICATED: &str = "system:unauthenticated";
const SERVICE_ACCOUNTS: &str = "system:serviceaccounts";
const ANONYMOUS: &str = "system:anonymous";

/// So many subjects of a binding are looked at, of people and of ServiceAccounts each.
pub const MOST_SUBJECTS: usize = 64;

/// A subject of a binding.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Subject {
    /// A person, or a part of the control plane.
    User(Arc<str>),
    /// A group.
    Group(Arc<str>),
    /// A ServiceAccount, as such or by its user name.
    Account(ObjectName),
    /// Every ServiceAccount of a namespace: the group `system:serviceaccounts:NAMESPACE`.
    AccountsOf(Arc<str>),
    /// Those of a binding that has more subjects than are looked at: somebody, so that it counts as everybody.
    Others,
}

/// A ServiceAccount that a policy names in a form that cannot be understood.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "the ServiceAccount {0:?} is not of the form NAMESPACE:NAME, as in kubectl create rolebinding --serviceaccount=NAMESPACE:NAME"
)]
pub struct InvalidAccount(pub String);

impl Subject {
    /// As a binding in a namespace names it; None for a kind that RBAC does not have.
    pub fn of(subject: &v1::Subject, namespace: Option<&str>) -> Option<Self> {
        match subject.kind.as_str() {
            "User" => Some(Self::user(&subject.name)),
            "Group" => Some(Self::group(&subject.name)),
            "ServiceAccount" => {
                let own = subject.namespace.as_deref().filter(|given| !given.is_empty()).or(namespace);
                Some(Self::Account(ObjectName::new(own.unwrap_or_default(), &subject.name)))
            }
            _ => None,
        }
    }

    /// As a policy names it.
    pub fn declared(subject: &SubjectRef) -> Result<Self, InvalidAccount> {
        match subject.kind {
            SubjectKind::User => Ok(Self::user(&subject.name)),
            SubjectKind::Group => Ok(Self::group(&subject.name)),
            SubjectKind::ServiceAccount => {
                account(&subject.name).ok_or_else(|| InvalidAccount(subject.name.clone())).map(Self::Account)
            }
        }
    }

    /// As a policy would name it; None: that cannot be named.
    pub fn declaration(&self) -> Option<SubjectRef> {
        let (kind, name) = match self {
            Self::User(name) => (SubjectKind::User, name.to_string()),
            Self::Group(name) => (SubjectKind::Group, name.to_string()),
            Self::Account(account) => (SubjectKind::ServiceAccount, format!("{}:{}", account.namespace, account.name)),
            Self::AccountsOf(namespace) => (SubjectKind::Group, format!("system:serviceaccounts:{namespace}")),
            Self::Others => return None,
        };
        Some(SubjectRef { kind, name })
    }

    fn user(name: &str) -> Self {
        let account = name.strip_prefix("system:serviceaccount:").and_then(account);
        account.map_or_else(|| Self::User(name.into()), Self::Account)
    }

    fn group(name: &str) -> Self {
        match name.strip_prefix("system:serviceaccounts:") {
            Some(namespace) if !namespace.is_empty() => Self::AccountsOf(namespace.into()),
            _ => Self::Group(name.into()),
        }
    }

    /// The namespace whose ServiceAccounts it is.
    pub fn namespace(&self) -> Option<&Arc<str>> {
        match self {
            Self::Account(name) => Some(&name.namespace),
            Self::AccountsOf(namespace) => Some(namespace),
            Self::User(_) | Self::Group(_) | Self::Others => None,
        }
    }

    /// Whether every tenant is among them.
    pub fn is_everybody(&self) -> bool {
        match self {
            Self::Group(name) => EVERYBODY.contains(&&**name),
            Self::User(name) => &**name == ANONYMOUS,
            Self::Others => true,
            Self::Account(_) | Self::AccountsOf(_) => false,
        }
    }

    /// Whether it is a person, or an ordinary group: of no segment that is known.
    pub fn is_a_person(&self) -> bool {
        self.namespace().is_none() && !self.is_everybody()
    }

    /// Whether it is a part of the control plane, or the platform itself. No tenant can be one of these: their names are given
    /// by the cluster's own authority, and whoever is given `kube-system` has the cluster already.
    pub fn is_the_platform(&self) -> bool {
        match self {
            Self::User(name) => CONTROL_PLANE_USERS.contains(&&**name),
            Self::Group(name) => ADMIN_GROUPS.contains(&&**name),
            Self::Others => false,
            Self::Account(_) | Self::AccountsOf(_) => self.namespace().is_some_and(|n| &**n == CONTROL_PLANE),
        }
    }

    /// Whether who is allowed as `self` is allowed as `other`, too.
    pub fn covers(&self, other: &Self) -> bool {
        self == other || matches!((self, other), (Self::AccountsOf(all), Self::Account(one)) if *all == one.namespace)
    }

    /// Who else is meant wherever this one is: groups of which it is a member for certain. None: it is many itself, so that others
    /// have to be asked with [`Self::may_be`].
    pub(super) fn also(&self) -> Option<Vec<Self>> {
        let group = |name: &str| Self::Group(name.into());
        match self {
            _ if self.is_everybody() && *self != Self::User(ANONYMOUS.into()) => None,
            Self::AccountsOf(_) => None,
            Self::Account(account) => Some(vec![
                Self::AccountsOf(account.namespace.clone()),
                group(SERVICE_ACCOUNTS),
                group(AUTHENTICATED),
                Self::Others,
            ]),
            Self::User(name) if &**name == ANONYMOUS => Some(vec![group(UNAUTHENTICATED), Self::Others]),
            Self::User(_) | Self::Group(_) | Self::Others => Some(vec![group(AUTHENTICATED), Self::Others]),
        }
    }

    /// Whether somebody may be both.
    pub(super) fn may_be(&self, other: &Self) -> bool {
        let among = |many: &Self, one: &Self| match many {
            Self::Others => true,
            Self::AccountsOf(_) => many.covers(one),
            Self::Group(name) if &**name == SERVICE_ACCOUNTS => one.namespace().is_some(),
            Self::Group(name) if &**name == AUTHENTICATED => {
                ![Self::User(ANONYMOUS.into()), Self::Group(UNAUTHENTICATED.into())].contains(one)
            }
            Self::Group(name) if &**name == UNAUTHENTICATED => *one == Self::User(ANONYMOUS.into()),
            _ => false,
        };
        self == other || among(self, other) || among(other, self)
    }

    /// Whether a RoleBinding that names it can carry anything across a boundary: people's segments are not known.
    pub(super) fn may_be_foreign(&self, namespace: &str) -> bool {
        self.is_everybody() || self.namespace().is_some_and(|own| &**own != namespace)
    }
}

/// `namespace:name`.
fn account(text: &str) -> Option<ObjectName> {
    let (namespace, name) = text.split_once(':')?;
    let sound = !namespace.is_empty() && !name.is_empty() && !name.contains(':');
    sound.then(|| ObjectName::new(namespace, name))
}

/// As it is, if it can be a name of an object; else quoted: bindings may say anything.
fn shown(name: &str) -> Cow<'_, str> {
    let plain = name.bytes().all(|b| b.is_ascii_graphic() && b != b'"');
    if plain { Cow::Borrowed(name) } else { Cow::Owned(format!("{name:?}")) }
}

impl fmt::Display for Subject {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::User(name) => write!(f, "User {:?}", digest::shown(name)),
            Self::Group(name) => write!(f, "Group {:?}", digest::shown(name)),
            Self::Account(name) => write!(f, "ServiceAccount {}", shown(&name.to_string())),
            Self::AccountsOf(namespace) => {
                write!(f, "Group {:?}", digest::shown(&format!("system:serviceaccounts:{namespace}")))
            }
            Self::Others => write!(
                f,
                "more subjects than are looked at ({MOST_SUBJECTS} of a kind; divide them among several bindings)"
            ),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bound(kind: &str, name: &str, namespace: Option<&str>) -> Option<Subject> {
        let namespace = namespace.map(str::to_owned);
        let subject = v1::Subject { api_group: None, kind: kind.into(), name: name.into(), namespace };
        Subject::of(&subject, Some("here"))
    }

    #[test]
    fn one_form_however_it_is_written() {
        let account = Subject::Account(ObjectName::new("there", "app"));
        let declared = |kind, name: &str| Subject::declared(&SubjectRef { kind, name: name.into() });
        assert_eq!(bound("ServiceAccount", "app", Some("there")).unwrap(), account);
        assert_eq!(bound("User", "system:serviceaccount:there:app", None).unwrap(), account);
        assert_eq!(declared(SubjectKind::ServiceAccount, "there:app").unwrap(), account);
        assert_eq!(declared(SubjectKind::User, "system:serviceaccount:there:app").unwrap(), account);
        assert_eq!(bound("ServiceAccount", "app", None).unwrap(), Subject::Account(ObjectName::new("here", "app")));
        assert_eq!(bound("ServiceAccount", "app", Some("")).unwrap(), Subject::Account(ObjectName::new("here", "app")));
        assert_eq!(bound("Group", "system:serviceaccounts:there", None).unwrap(), Subject::AccountsOf("there".into()));
        for subject in [account.clone(), Subject::User("ada".into()), Subject::AccountsOf("there".into())] {
            let declared = subject.declaration().unwrap();
            assert_eq!(Subject::declared(&declared).unwrap(), subject);
        }
        for name in ["system:serviceaccount:", "system:serviceaccount:a", "system:serviceaccount:a:b:c", "ada"] {
            assert_eq!(bound("User", name, None).unwrap(), Subject::User(name.into()), "{name}");
        }
        for name in ["app", ":app", "there:", "there:app:more", ""] {
            let error = declared(SubjectKind::ServiceAccount, name).unwrap_err();
            assert!(error.to_string().contains("NAMESPACE:NAME"), "{error}");
        }
        assert_eq!(bound("Robot", "x", None), None);
    }

    #[test]
    fn who_is_whom() {
        let is = |kind: &str, name: &str, namespace: Option<&str>| {
            let subject = bound(kind, name, namespace).unwrap();
            (subject.is_everybody(), subject.is_the_platform(), subject.may_be_foreign("here"))
        };
        for group in EVERYBODY {
            assert_eq!(is("Group", group, None), (true, false, true), "{group}");
        }
        assert_eq!(is("User", "system:anonymous", None), (true, false, true));
        assert_eq!(is("Group", "system:masters", None), (false, true, false));
        assert_eq!(is("User", "system:masters", None), (false, false, false), "a user of that name is nobody");
        assert_eq!(is("User", "system:kube-controller-manager", None), (false, true, false));
        assert_eq!(is("ServiceAccount", "job-controller", Some("kube-system")), (false, true, true));
        assert_eq!(is("Group", "system:serviceaccounts:kube-system", None), (false, true, true));
        assert_eq!(is("ServiceAccount", "job-controller", Some("kube-systems")), (false, false, true));
        assert_eq!(is("Group", "system:serviceaccounts:here", None), (false, false, false));
        assert_eq!(is("User", "ada", None), (false, false, false));
    }

    #[test]
    fn what_is_no_name_is_quoted() {
        for (kind, name, namespace, shown) in [
            ("ServiceAccount", "app", Some("there"), "ServiceAccount there/app"),
            ("User", "system:serviceaccount:there:app", None, "ServiceAccount there/app"),
            ("User", "system:serviceaccount:a:b\nadmitted", None, r#"ServiceAccount "a/b\nadmitted""#),
            ("ServiceAccount", "b, which is fine", Some("a"), r#"ServiceAccount "a/b, which is fine""#),
            ("ServiceAccount", "b", Some("a\u{202e}"), r#"ServiceAccount "a\u{202e}/b""#),
            ("Group", "system:serviceaccounts:there", None, r#"Group "system:serviceaccounts:there""#),
            ("Group", "system:serviceaccounts:a\"\r\nb", None, r#"Group "system:serviceaccounts:a\"\r\nb""#),
        ] {
            assert_eq!(bound(kind, name, namespace).unwrap().to_string(), shown);
        }
    }

    #[test]
    fn all_accounts_of_a_namespace_cover_each() {
        let (all, one) = (Subject::group("system:serviceaccounts:a"), Subject::user("system:serviceaccount:a:b"));
        assert!(all.covers(&one) && all.covers(&all) && one.covers(&one) && !one.covers(&all));
        assert!(!all.covers(&Subject::user("system:serviceaccount:ab:b")));
    }
}
