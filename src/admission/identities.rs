//! Whose requests are whose: the operator's own account, and the parts of the control plane that clean up.

/// Where the operator is installed, and as whom it asks. Admission objects name both.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Installation {
    /// Its namespace.
    pub namespace: String,
    /// Its ServiceAccount in it.
    pub service_account: String,
}

impl Default for Installation {
    /// As `deploy/` installs it.
    fn default() -> Self {
        Self { namespace: "scoped-secrets".to_owned(), service_account: "scoped-secrets".to_owned() }
    }
}

impl Installation {
    /// The operator's user name.
    pub fn user(&self) -> String {
        format!("system:serviceaccount:{}:{}", self.namespace, self.service_account)
    }

    /// The operator, and those of the control plane that must never be held up: the API server itself, and the controllers
    /// that take objects away. These ask under their own accounts (`--use-service-account-credentials`) or all as the
    /// controller manager. Nodes are not among them: they write nothing that a guard or the webhook's rules about our kinds
    /// could hold up, and the webhook leaves them out by their group.
    pub fn trusted_users(&self) -> Vec<String> {
        let control_plane = [
            "system:apiserver",
            "system:kube-controller-manager",
            "system:serviceaccount:kube-system:generic-garbage-collector",
            "system:serviceaccount:kube-system:namespace-controller",
        ];
        [self.user()].into_iter().chain(control_plane.map(str::to_owned)).collect()
    }
}
