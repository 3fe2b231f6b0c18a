//! The one registry of reasons: verdicts, conditions, events, metrics and the docs all use it.
//!
//! A reason is stable once released. Each has a page in `docs/reasons/`, generated from here.

/// What a reason means for whoever waits for the object.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Nature {
    /// All is well.
    Fine,
    /// It will be retried and may mend itself.
    Waiting,
    /// Somebody must change something.
    Refused,
}

macro_rules! reasons {
    ($($name:ident $nature:ident: $meaning:literal, $cause:literal, $fix:literal;)*) => {
        /// A stable word for why something is as it is.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub enum Reason { $(#[doc = $meaning] $name,)* }

        impl Reason {
            /// Every reason, in the order of the registry.
            pub const ALL: &'static [Reason] = &[$(Reason::$name,)*];
            /// The word as it stands in conditions, events, metrics and denials.
            pub fn as_str(self) -> &'static str { match self { $(Reason::$name => stringify!($name),)* } }
            /// The reason of this name.
            pub fn from_text(text: &str) -> Option<Self> { Self::ALL.iter().copied().find(|r| r.as_str() == text) }
            /// Whether it is fine, will be retried, or needs somebody.
            pub fn nature(self) -> Nature { match self { $(Reason::$name => Nature::$nature,)* } }
            /// What it means, in a sentence.
            pub fn meaning(self) -> &'static str { match self { $(Reason::$name => $meaning,)* } }
            /// What usually causes it.
            pub fn cause(self) -> &'static str { match self { $(Reason::$name => $cause,)* } }
            /// What to do.
            pub fn fix(self) -> &'static str { match self { $(Reason::$name => $fix,)* } }
        }
    };
}

impl Reason {
    /// Whether it ends access whatever else is known: it waits for nobody's word, for no policy and for no number.
    pub fn is_an_end(self) -> bool {
        matches!(self, Self::Expired | Self::KeyRevoked)
    }

    /// Whether it says that a namespace may not have a key at all.
    pub fn is_of_scope(self) -> bool {
        matches!(self, Self::NoPolicy | Self::SegmentLabelMissing | Self::KeyNotAllowed)
    }
}

reasons! {
    // ---- all is well
    Ready Fine: "The Secret is there and current.", "The claim is allowed and its values were projected.", "Nothing to do.";
    Allowed Fine: "A policy allows every key of this claim.", "An allow entry matches, and nobody else owns the keys.", "Nothing to do.";
    Synced Fine: "The secrets manager answered and the Secret is up to date.", "The last refresh succeeded.", "Nothing to do.";
    NoSharedValues Fine: "No other segment holds one of these values.", "Fingerprints of hard-to-guess values were compared.", "Nothing to do.";
    Disjoint Fine: "Every pattern of the policy keeps segments apart.", "Each has ${namespace} or every segment label.", "Nothing to do.";
    Reachable Fine: "The store's account is known.", "It was given, or sts:GetCallerIdentity told it.", "Nothing to do.";
    PolicyActive Fine: "The policy is understood and in force.", "It was decoded and every part of it is valid.", "Nothing to do.";
    Reported Fine: "The report says what is known.", "The operator has written it.", "Nothing to do.";
    NothingFound Fine: "No violation is known in this segment.", "What is watched is in order, and the last scan found nothing.", "Nothing to do.";
    Guarded Fine: "Every rule that the API server keeps is in force.", "The policies, their bindings and the webhook configuration are as deploy/ has them.", "Nothing to do.";
    Pending Waiting: "The operator has work under way.", "The object is new or was changed.", "Wait.";

    // ---- authorisation
    NoPolicy Refused: "No SegmentationPolicy governs this namespace, so nothing in it may claim a key.", "No policy selects the namespace, or the namespace lacks the segment labels.", "Ask the platform team to label the namespace or to write a policy for it.";
    NamespaceNotServed Refused: "The operator does not serve this namespace, so nothing in it is ever projected.", "The operator runs with a list of namespaces (--namespaces; the chart's value namespaces), and this one is not on it.", "Use a namespace that is served, or ask the platform team to add this one to the list.";
    SegmentLabelMissing Refused: "The namespace lacks a segment label, or has it empty, so it belongs to no segment.", "The namespace was made without the labels that the policy names.", "Ask the platform team to set the label that the message names.";
    SegmentConflict Refused: "Policies disagree on what names a segment: several over one namespace, or so that two segments have one name.", "Their segment.labels differ.", "Make segment.labels of the policies alike, or narrow a namespaceSelector.";
    KeyNotAllowed Refused: "No allow entry of the policy covers a key of this claim.", "The key belongs to another scope, or the policy does not list it.", "Claim a key that the policy's patterns give this namespace, or ask the platform team to allow it.";
    ActionNotAllowed Refused: "The key may be read, but not in this way.", "versionStage and versionId need the action ReadAnyVersion, rotation the action Rotate or Generate: without it the key is read, and not rotated (`Rotated=False`).", "Remove versionStage and versionId, or rotation; or ask the platform team for the action that the message names.";
    InvalidKey Refused: "A key is not one exact name that Secrets Manager allows.", "A wildcard, an empty part, '.' or '..', a character outside the allowed set, or an incomplete ARN.", "Write the exact name as the manager shows it.";
    WrongRegion Refused: "A key's ARN is of another region than the store.", "A store reaches one region.", "Use a store of that region.";
    KeyClaimed Refused: "Another scope already owns a key of this claim.", "exclusiveKeys lets one scope own a key.", "Give this workload its own key in the manager, or delete the claim that owns this one.";
    ConsumersRequired Refused: "The claim names no consumers, and the policy requires them.", "spec.consumers is empty.", "List the ServiceAccounts whose pods use the Secret in spec.consumers.";
    TargetTypeNotAllowed Refused: "The policy does not allow this type of Secret.", "spec.target.type is none of the built-in types and not in targetTypes.", "Use one of the types in the message, or ask the platform team to add it to targetTypes.";
    RetainNotAllowed Refused: "The policy does not allow deletionPolicy Retain.", "allowRetain is not true.", "Remove deletionPolicy, or ask the platform team for allowRetain.";
    PolicyUnknown Waiting: "A policy cannot be read now, so nothing new is granted and nothing is withdrawn.", "It is not synced, cannot be decoded, or its CRD is gone.", "Platform team: look at the policies' status and the operator's log.";
    AccountUnknown Waiting: "The store's account is not known, so nothing new is granted and nothing is withdrawn.", "sts:GetCallerIdentity failed and the store has no accountId.", "Platform team: set accountId on the store, or mend its credentials.";
    WithdrawalPaused Refused: "This claim is no longer allowed, but so many would be withdrawn for the same cause that the operator waits.", "A policy was changed past admission, or a namespace's labels or a store were changed: admission asks for no number there.", "Platform team: revert the change, or set the annotation scopedsecrets.io/accept-violations, on a policy or on the segment's SegmentationReport, to the number in the message.";
    ViolationsNotAccepted Refused: "The change of this policy would take Secrets away from live claims, or enforce a rule while violations of it are open or not known yet.", "Keys that are claimed now would no longer be allowed; or the mode, reportOnly, the selector, rules.governs, rules.readers or an exception changes in namespaces whose SegmentationReport lists violations, or of which it cannot say yet what is open.", "Change or delete those ScopedSecrets first, mend what the reports list, or wait for the scan; or set the annotation scopedsecrets.io/accept-violations to the number in the message.";
    InvalidException Refused: "An exception of the policy would lift nothing.", "It has no reason, a pattern, or an expirationTime that is in the past or more than 90 days ahead, or does not name one list of keys, namespaces or subjects.", "Correct what the message names.";
    SharedPattern Refused: "A pattern lets several segments claim one key.", "It has neither ${namespace} nor every segment label.", "Add the missing placeholders to the pattern that the message names.";
    PolicyInvalid Refused: "A part of the policy cannot be understood; the policy counts as unknown.", "It got past admission.", "Correct the part that the message names.";
    SpecInvalid Refused: "A part of the spec cannot be understood.", "It got past the CRD's checks.", "Correct the part that the message names.";

    // ---- what the API server keeps on its own
    SecretManaged Refused: "Only the operator writes or deletes a Secret that a ScopedSecret projects.", "Somebody changed or deleted it by hand, or by a tool.", "Change or delete the ScopedSecret. To be rid of a retained Secret whose ScopedSecret is gone, apply one with the same target without deletionPolicy, and delete that; if that says TargetConflict, its seal cannot be read any more, and a cluster-admin deletes it in the operator's name (--as=system:serviceaccount:NAMESPACE:NAME, as the denial says).";
    ReservedMetadata Refused: "A Secret that the operator did not write may not look as if it had.", "It has the label app.kubernetes.io/managed-by: scoped-secrets, the annotation scopedsecrets.io/seal, or a ScopedSecret as controller: a copy or a restore.", "Leave these out, or write a ScopedSecret: it projects its Secret itself, after a restore, too. To delete one whose seal cannot be read any more, see SecretManaged.";
    OperatorOnly Refused: "Only the operator writes this: a status, its findings, its seal key and its certificate.", "Somebody wrote it by hand, or by a tool.", "Change what the operator makes it from. Its two Secrets may be deleted, and are made anew.";
    ReviewFailed Refused: "The operator could not review a request, which is therefore refused.", "There was no room or time for it, as many large objects are written at once; or it is larger than 19 MiB, or of a form that the operator cannot read; or the operator has just started and has not read the cluster yet; or it failed over it. The message says which.", "Write fewer large objects at once, leave managedFields out, and try again. Where the operator failed: platform team: its log has the fault; report it with the object, without its values.";
    OperatorPinned Refused: "The operator's own account may write only what the operator writes.", "Somebody else uses its token, or its binding to a broader role.", "Find out who; delete and create the operator's ServiceAccount again, which ends its tokens.";
    JoinNotAllowed Refused: "This would make the namespace part of a segment, which needs the verb join on it.", "The namespace would get all labels that name a segment.", "Ask the platform team for join on segments.scopedsecrets.io with the segment as resourceName, or write another segment's labels.";
    LeaveNotAllowed Refused: "This would make the namespace leave its segment, which needs the verb leave on it.", "A label that names its segment would be changed or removed.", "Keep the labels, or ask the platform team for leave on segments.scopedsecrets.io with the segment as resourceName.";
    GuardMissing Refused: "A rule is not kept at admission: its policy, binding or webhook configuration is gone, or is not as it was installed.", "Somebody deleted or changed it, to break glass or to get around it, or deploy/ is of another version than the operator.", "Platform team: while an upgrade is under way wait, or roll it back. Else delete first what was changed, then install again as it was done: helm upgrade with the same values, or kubectl apply --server-side -k deploy/. The operator never puts it back itself. What came in meanwhile is found by the scan.";
    ViolationsFound Refused: "Something in this segment breaks a rule.", "It was there before the rule, came in while admission was away, or is only reported.", "Platform team: mend what the report lists; each entry says how.";
    ForeignConsumer Refused: "A pod, a workload or a ServiceAccount that is no consumer's references a projected Secret; or a PersistentVolume, StorageClass or VolumeSnapshotClass references a Secret of a governed namespace.", "Its ServiceAccount is not in spec.consumers of the ScopedSecret; what a storage driver reads, it reads past the consumers.", "Run the pod or workload under a consumer's ServiceAccount, or add its own to spec.consumers, or write a ScopedSecret with a key of its own for it. For a PersistentVolume, StorageClass or VolumeSnapshotClass, keep the storage driver's credentials in a namespace of its own that no policy governs.";
    ReplicatedOut Refused: "A replicator would carry a projected Secret into another namespace.", "A label or annotation of a replicator was written on it; the operator takes it off again, in every mode and under every exception.", "Leave it out; the other namespace claims a key of its own, with a ScopedSecret.";
    ValueCopied Refused: "A Secret or ConfigMap carries a value that another segment's ScopedSecret projects.", "The value was pasted, or copied by a tool: whole, in a longer text, or base64-coded.", "Leave the value out. Who needs that access gets a credential of its own, under a key of its own, with a ScopedSecret. To let it be for a while, the platform team writes an exception of rule Copies, for the key or for the namespace that the copy is in, in each policy over the segment that owns the value.";
    WeakValueCopied Refused: "A Secret or ConfigMap has an entry that is the same as a value of another segment's ScopedSecret which is easy to guess.", "The value was copied, or both chose the same; it has eight bytes at least, and is no word that anybody may write by chance. It is refused nowhere, and told to nobody but the platform: else it could be found out by trying.", "Platform team: if it was copied, have it removed; have a value set in the manager that is hard to guess. If it is no secret, list the name of its property in rules.uniqueValues.ignore of the policy.";
    TooManyCopies Refused: "So many writes with copied values came from one user within a minute that new values of that user are not taken for the rest of it.", "A tool that retries, or somebody who tries values out.", "Remove the copied values, and try again in a minute.";
    ComparisonPaused Waiting: "So many texts with values of another segment came by the ScopedSecrets of this namespace within a minute that no other text of theirs is looked at for the rest of it; the last good value stays.", "Templates (target.template) of this namespace that have such values in them, or somebody who tries values out.", "Wait a minute; if it comes again, take those values out of the templates that are ValueShared.";
    NotCompared Refused: "What is written could not be compared with the values of other segments, so it was not taken.", "The operator has just started, or the object is made so that comparing it takes too long: the same part of a managed value many times over, or layers of escapes and base64.", "Try again in a moment; if it is refused again, write less into one object, or leave the repetitions or layers out.";
    ReplicatedIn Refused: "A replicator would fill this Secret from another namespace, and the namespace is governed.", "An annotation names a Secret of another namespace as its source, or takes what any other namespace offers.", "Write a ScopedSecret with a key of this namespace's own.";
    CrossSegmentAccess Refused: "A role would let somebody of another segment, or everybody, at this namespace's Secrets.", "A RoleBinding gives it to a ServiceAccount of another segment or to a group such as system:authenticated, or the role it names gains such a power.", "Bind a ServiceAccount of this namespace's segment, or a role without that power. The platform team may list who has to read across segments in rules.readers of the policy.";
    ClusterWideAccess Refused: "A role would let somebody at the Secrets of every namespace.", "A ClusterRoleBinding gives it to somebody who is not in rules.readers of the policies.", "Bind the role in the namespaces that need it, or list the subject in rules.readers of every policy.";
    GrantNotAllowed Refused: "Access to the Secret of this ScopedSecret is not yours to give, or the namespace has none to give.", "Whoever creates a SecretGrant needs the verb grant on the ScopedSecret, in a namespace that a policy governs; in another the API server says `no params found for policy binding`.", "Ask the platform team for the verb grant on scopedsecrets.scopedsecrets.io with the ScopedSecret as resourceName, or have somebody create it who has it.";
    GrantTooLong Refused: "The access would last longer than the policy allows.", "spec.ttl is longer than rules.grants.maxTTL of the policies over the namespace, the shortest of them.", "Write a ttl within what the message says, or ask the platform team.";
    RequesterNotNamed Refused: "A grant that needs an approval says who asks for it, and nobody else; one that needs none says neither who asks nor who approves.", "requestedBy is not the user name of who creates it, approvedBy is there from the start, or one of them is there although the policy requires no approval.", "Write requestedBy as the message says, and leave approvedBy out: who approves sets it.";
    ApprovalNotAllowed Refused: "This grant is not yours to approve.", "approvedBy is not the user name of who sets it, who sets it asked for the grant or is its subject, or lacks the verb approve on the ScopedSecret.", "Have somebody else approve it who has the verb approve on scopedsecrets.scopedsecrets.io with the ScopedSecret as resourceName.";
    RoleUnknown Waiting: "A role that a binding names is not known, so that what it would give cannot be told.", "It does not exist, or was created a moment ago.", "Create the role first, then the binding; try again.";

    // ---- objects of other operators
    KeyNotExact Refused: "An object of another operator does not name one exact key, or names too many, so that it cannot be judged.", "It takes whatever keys match (find), rewrites what it takes, uses a generator, asks for more keys in more namespaces than are judged at once, or is not written as that operator documents it.", "Name each key exactly, or divide it, as the message says; or write a ScopedSecret instead.";
    StoreUnresolved Refused: "The store that an object of another operator asks cannot be resolved to one account and region.", "It does not exist, is of another provider than AWS Secrets Manager, or names neither a role nor a region.", "Create or correct the store as the message says, or write the key as a full ARN.";
    WriteNotAllowed Refused: "An object of another operator would write a remote key.", "A PushSecret: reading a key never implies writing it.", "Remove it, or ask the platform team for an exception to OtherOperators.";

    // ---- the end
    Expired Refused: "The claim has ended, and its Secret was taken away.", "spec.ttl or spec.expirationTime is over. A SecretGrant tells by this word that its ttl is over: no Secret is taken away for that; create another if the access is still needed.", "Set a later end if the workload still needs the Secret, or delete the ScopedSecret.";
    ExpiresSoon Waiting: "The claim ends soon; its Secret is then taken away.", "spec.ttl or spec.expirationTime is nearly over.", "Set a later end if the workload still needs the Secret; else move it to another in time.";
    InvalidEnd Refused: "The end of the claim cannot be.", "ttl stands beside expirationTime, or the end that is written is in the past.", "Write either ttl or expirationTime, and an end that is ahead.";

    KeyRevoked Refused: "The key was revoked, and no newer version of it is known; its Secret was taken away.", "A KeyRevocation is for it, and the manager's current version was created before, or the manager could not be asked since (see the message). An event of the KeyRevocation itself tells by this word that it has begun.", "Store a new value under the key; where the ScopedSecret rotates, `kubectl scoped-secrets rotate` makes one. To lift the revocation early, the platform team deletes the KeyRevocation.";
    RevocationNotAllowed Refused: "The annotation revoke is not yours to set, or was set before anybody could be asked; it revokes nothing.", "Others claim a key of this ScopedSecret, too, so that whoever sets it needs the verb revoke; or its value is not \"true\".", "Take it off, and have it set anew by who has the verb revoke on scopedsecrets.scopedsecrets.io with the ScopedSecret as resourceName; or ask the platform team for a KeyRevocation.";
    RevokedBefore Fine: "The annotation revoke came with a ScopedSecret that was made anew, and was answered before; it revokes nothing.", "A restore, kubectl replace --force or GitOps made the ScopedSecret again with the annotation of the one before, for which each of its keys was revoked (a KeyRevocation says so).", "Take the annotation off. If what is there now has leaked, too, set it again then, or have a KeyRevocation made.";
    RevocationComplete Fine: "Nothing holds a revoked version of the key any more.", "Its Secrets were taken away or have a newer version, and no pod runs that was started with an old one.", "Nothing to do.";
    RevocationLifted Fine: "The revocation of the key was lifted.", "Its KeyRevocation was deleted.", "Nothing to do: what it was for is projected again. If the key has leaked, write another KeyRevocation.";
    SecretsRemain Waiting: "Secrets hold a revoked version of the key and are being taken away.", "The KeyRevocation is new, or the API server does not let a Secret be deleted.", "Wait; if it stays, see the ScopedSecrets and the operator's log.";
    PodsRemain Waiting: "Pods may still hold a revoked value.", "They were started while the Secret was there.", "Restart the workloads of the pods that status lists.";

    // ---- grants
    Granted Fine: "The subject may read the Secret.", "The grant is allowed, approved where that is required, and its time is not over.", "Nothing to do. To take the access back before its end, delete the SecretGrant.";
    GrantEnded Fine: "The subject may no longer read the Secret.", "The grant's time is over, it was deleted, its key was revoked, or what it needs is gone.", "Create another SecretGrant if the access is still needed.";
    GrantInvalid Refused: "The grant cannot be honoured as it is written.", "It got past admission: its subject, its ttl or who asked and approved cannot be.", "Delete it and create another; the message says what must be otherwise.";
    GrantOutdated Refused: "The access was given to something else than what the ScopedSecret is now, so it has ended.", "The ScopedSecret was deleted, or its keys were changed, while the grant was open.", "Create another SecretGrant, so that who may give access is asked again; where the ScopedSecret was deleted, once it is there again.";
    RotationOwed Refused: "A value that somebody has seen by a grant with rotateAfter is still to be rotated, and its ScopedSecret does not do that.", "The ScopedSecret's key was changed while the grant was open, or before its value was rotated; or it no longer has spec.rotation, time left, or the right to rotate; or it is not in sync. On the record alone: the ScopedSecret was deleted before, and then the grant; made anew it owes nothing.", "Do what the message says, such as to name the key in the ScopedSecret again until it has been rotated; or store a new value in the manager, and delete the ScopedSecret and create it anew.";
    AwaitsApproval Waiting: "The grant gives no access before somebody approves it.", "The policy requires that another user with the verb approve sets approvedBy.", "Have that user approve it: kubectl scoped-secrets approve NAME.";
    ApprovalRequired Refused: "The policy requires an approval by now, and this grant was made without one.", "rules.grants.approval was changed after the grant was created.", "Delete it and create another, with requestedBy.";
    SecretNotProjected Waiting: "There is no Secret to give access to, or of which a pod asks for the values.", "The ScopedSecret does not exist, or has no Secret now.", "See the ScopedSecret; once its Secret is there and the grant's time is not over, the access is given. Where no ScopedSecret has that target, write one, or create the Secret.";
    RotationNotDeclared Refused: "The value cannot be rotated after the access, so none is given.", "rotateAfter is true, and the ScopedSecret has no spec.rotation.", "Add spec.rotation to the ScopedSecret, or create another grant without rotateAfter.";

    // ---- rotation
    RotationIdle Fine: "No rotation is due.", "The schedule's next time is ahead, and none was asked for.", "Nothing to do.";
    Verified Fine: "The key was rotated, and what uses its Secret has the new value.", "The manager's current version is the one in the Secret, and the consumers run with it.", "Nothing to do.";
    Requested Waiting: "A rotation has begun: the manager was asked for it.", "The schedule, rotate-at, a rollout, a change of a role or a grant asked for it.", "Wait; the manager makes the new value.";
    Stored Waiting: "The new value is in the manager, and is about to be current there.", "A rotation is under way.", "Wait.";
    Projected Waiting: "The Secret has the new value; its consumers do not run with it yet.", "A rotation is under way.", "Wait; the message says what the rollout waits for.";
    RolledOut Waiting: "The consumers run with the new value, which is about to be looked at once more.", "A rotation is under way.", "Wait.";
    RotationWaits Waiting: "A rotation is due, and waits.", "The key was rotated less than ten minutes ago, the manager rotates it at this moment, or the claim is not in sync.", "Wait; see the message.";
    RotationFailed Waiting: "A rotation failed so far; it is tried again.", "The manager, or the function that it rotates the key by, did not do it.", "See the message, and the log of the manager's rotation function. The Secret keeps the value that the manager has as current.";
    RotationTimedOut Waiting: "The manager has not finished a rotation in time.", "The function that it rotates the key by fails, or never finishes: the new version is still AWSPENDING.", "See that function's log. Once it is mended, the manager tries again by itself, or the message's command ends the attempt.";
    PendingStuck Refused: "A version that is not this rotation's is AWSPENDING, so that none can begin.", "An earlier rotation, the manager's own, the other strategy's or somebody's by hand, was never finished.", "Finish it, or take the label off it by the command in the message.";
    RotationOwnedElsewhere Refused: "The key is not this claim's to rotate.", "Another claim rotates it, other claims read it (strategy Generate), or the manager rotates it by itself (strategy Generate).", "Rotate it in one place: remove spec.rotation here or there, or use strategy Provider where the manager rotates it.";
    InvalidRotation Refused: "spec.rotation cannot be kept.", "It asks for what contradicts itself: several keys, a pinned version, an immutable Secret, an overlap that is longer than the schedule's interval.", "Correct what the message names.";
    InvalidSchedule Refused: "The schedule of the rotation cannot be kept.", "The cron line cannot be read, never fires, or fires more often than every ten minutes; or the time zone is unknown.", "Write a schedule as the message says.";

    // ---- the store
    StoreNotFound Waiting: "The ScopedSecretStore does not exist.", "storeRef.name is misspelt, or the store is not there yet.", "Create the store, or correct storeRef.name.";
    StoreInvalid Refused: "The store cannot be used as it is written.", "Its path, endpoint or role is wrong, or its credentials Secret lacks a key.", "Platform team: correct the store as its message says.";
    CredentialsMissing Waiting: "The store's credentials Secret is missing or incomplete.", "secretRef names a Secret of the operator's namespace with accessKeyId and secretAccessKey.", "Platform team: create or complete that Secret.";
    CredentialsInvalid Waiting: "The secrets manager does not accept the credentials.", "They are wrong, expired or revoked.", "Platform team: renew the store's credentials.";
    AccessDenied Waiting: "The secrets manager does not let the operator read this key.", "IAM, a resource policy or an endpoint policy denies it.", "Platform team: allow secretsmanager:GetSecretValue on the key, and BatchGetSecretValue on every resource (*): IAM cannot narrow it to a key.";
    Throttled Waiting: "The secrets manager asks to slow down.", "Too many requests in its account and region.", "Wait; the operator backs off.";
    ProviderUnavailable Waiting: "The secrets manager cannot be reached.", "A network, DNS, TLS or service fault.", "Wait, or platform team: check the endpoint in the store.";

    // ---- the remote key
    RemoteMissing Waiting: "The key does not exist in the secrets manager, or is marked for deletion.", "It was never created, is misspelt, or was deleted.", "Create or restore it, or correct the key. The last good Secret stays.";
    RemoteVersionMissing Waiting: "The key has no such version or stage.", "versionStage or versionId names a version that is gone.", "Correct it, or remove it to read AWSCURRENT.";
    RemoteIdentityMismatch Waiting: "The manager's answer is not the secret that was authorised; it was thrown away.", "A look-alike name, a wrong endpoint, or a faulty proxy.", "Check the key's exact name and the store's endpoint.";
    RemoteIncomplete Waiting: "The manager's answer left this key out.", "A partial answer.", "Wait; it is asked again.";
    RemoteTooLarge Refused: "The remote value is larger than Secrets Manager allows (64 KiB).", "The emulator or directory holds a larger one.", "Split it.";
    DecryptionFailed Waiting: "The manager could not decrypt the value.", "The KMS key is disabled, deleted, or not allowed.", "Platform team: check the KMS key.";
    RemoteInvalid Refused: "The manager refused the request as invalid.", "The name or version is of a form that it does not accept.", "Correct the key as the message says.";

    RemoteChanged Waiting: "Somebody else changed which version of the key is current, while the operator rotated it.", "Two rotate one key: another cluster, a rotation function, or a person.", "Wait: the key is looked at again. Let only one rotate it.";
    RemoteNotWritable Refused: "The key takes no new value through this store.", "It is a replica of another region's, or another AWS service keeps it.", "Rotate it where the message says.";
    WriteDenied Waiting: "The secrets manager does not let the operator rotate this key.", "IAM, a resource policy, an endpoint policy or the rotation function's own policy denies it.", "Platform team: allow the action that the message names on the key.";
    EncryptionFailed Waiting: "The manager could not encrypt the new value.", "The KMS key is disabled, deleted, or not allowed.", "Platform team: check the KMS key.";
    VersionLimit Waiting: "The key has as many versions as the manager keeps.", "It was rotated very often.", "Wait until the manager has removed old versions, and rotate less often.";
    RotationInProgress Waiting: "The manager's own rotation of the key is under way.", "It was begun by its schedule, by a person, or by the operator.", "Wait; if it does not end, see the logs of the key's rotation function.";
    RotationNotConfigured Refused: "The manager has no rotation of its own for the key.", "No rotation function is configured there, and no AWS service keeps the key.", "Configure rotation in the manager, or use rotation.strategy: Generate.";
    StoreReadOnly Refused: "Nothing can be rotated through this store.", "A file store is only read.", "Use a store of a secrets manager.";

    // ---- the projection
    PropertyMissing Refused: "The remote value has no such property; nothing was written.", "The property is misspelt or was removed.", "Correct the property of the secretKey that the message names.";
    PropertyInvalid Refused: "The property is an object, a list or null; nothing was written.", "Only strings, numbers and booleans become a value.", "Point at a value inside it, with a JSON pointer such as /database/password.";
    NotJson Refused: "The remote value is not a JSON object; nothing was written.", "property and dataFrom need one.", "Remove property to take the whole value, or store JSON.";
    EmptyValue Refused: "The remote value is empty; nothing was written.", "The key or the property holds an empty string.", "Store a value, or remove the entry.";
    DuplicateSecretKey Refused: "Two sources give the same key of the Secret; nothing was written.", "data, dataFrom and template.data overlap.", "Rename or remove one of them.";
    InvalidSecretKey Refused: "A key is not one that a Secret can have; nothing was written.", "A property's or template's name has other characters than letters, digits, '-', '_' and '.'.", "Take it by data with a secretKey of your own.";
    TemplateFailed Refused: "A template cannot be rendered; nothing was written.", "It has an error, asks for an unknown variable, or runs or grows too far.", "Correct the template of the key that the message names.";
    TemplateMetadataNotAllowed Refused: "A label or annotation of the template is reserved; nothing was written.", "Other controllers act on it.", "Remove it.";
    TargetTypeInvalid Refused: "The Secret lacks a key that its type requires; nothing was written.", "Such as tls.crt and tls.key for kubernetes.io/tls.", "Add the key that the message names, or change target.type.";
    SecretTooLarge Refused: "The Secret would be larger than Kubernetes allows (1 MiB); nothing was written.", "Too many or too large values.", "Claim less in one ScopedSecret.";
    ValueShared Refused: "Another segment holds the same value, or one that stands inside what is projected; the last good value stays.", "One credential was stored under keys of two segments: as it is, in a larger text, or base64-coded; or it was written into a template.", "Give each segment a credential of its own in the manager.";

    // ---- the Secret
    TargetConflict Refused: "A Secret of that name exists and is not ours; it is untouched.", "Somebody else made it, or another ScopedSecret owns it. Or it is a retained one of the operator's (it has the label app.kubernetes.io/managed-by: scoped-secrets and no owner) whose seal cannot be read any more, since the seal key was lost.", "Choose another target.name, or delete that Secret first; it is then projected anew. One with the operator's own label and no owner a cluster-admin deletes in the operator's name: kubectl delete secret NAME -n NAMESPACE --as=system:serviceaccount:scoped-secrets:scoped-secrets (the operator's namespace and account). docs/operations.md (The seal key) says how all of these are found.";
    TargetImmutable Refused: "The Secret is immutable and its content would change; nothing was written.", "target.immutable was true when it was written.", "Delete this ScopedSecret and create it again under another target.name.";
    TargetReleasing Waiting: "The Secret still belongs to a deleted ScopedSecret of the same name.", "The garbage collector has not taken it yet.", "Wait.";
    NamespaceTerminating Refused: "The namespace is being deleted.", "Nothing can be created in it.", "Nothing to do.";
    Stale Waiting: "The Secret could not be refreshed for three intervals; it holds its last good value.", "The condition Synced says why.", "See the reason of Synced.";
    GuardFull Waiting: "The SegmentGuard of the namespace has no room for this ScopedSecret.", "It names every projected Secret of the namespace with its consumers, and holds about a megabyte of such names, 10,000 Secrets at most.", "Have fewer ScopedSecrets in the namespace, fewer consumers in them, or shorter names; what has its Secret already keeps it.";
    WriteFailed Waiting: "Kubernetes did not take a write.", "A conflict, a quota, another webhook, or a fault of the API server.", "See the message; it is retried.";
    Withdrawn Refused: "The Secret was taken away, because the claim is no longer allowed.", "A policy, a label or a store changed.", "See the reason of Authorized.";
    Restored Fine: "A managed Secret had been changed, set back to an earlier state, or deleted, and was put right.", "Somebody wrote to it past the guard.", "Change the ScopedSecret instead.";
    Updated Fine: "A new value was projected.", "The manager has a new version, or the spec changed.", "Nothing to do.";

    // ---- restarts
    Restarted Fine: "Every workload of a consumer runs with the value that the Secret holds.", "Nothing was to be restarted, or that is over.", "Nothing to do.";
    RollingOut Waiting: "The Secret has a new value, and the workloads of its consumers are being restarted.", "spec.restart is Consumers, and the value has changed.", "Wait.";
    RolloutWaits Waiting: "The Secret has a new value, and some workloads of its consumers are not restarted by themselves.", "A Deployment is paused, pods are replaced only when they are deleted (OnDelete, a partition), or somebody takes the annotation off again.", "Do what the message says of each workload, or leave it: pods that start later have the new value.";
    RolloutStuck Waiting: "The Secret has a new value, and a workload that was restarted for it does not come to its end; some pods still run with the old value.", "Its new pods do not become available: they do not fit on a node, crash, or the new value does not work.", "kubectl rollout status and the events of the workload that the message names say why. It is looked at again by itself.";
    MaxAgeExceeded Refused: "The current version of a key is older than the policy allows.", "It was not rotated in time: there is no rotation, or it fails.", "Store a new value under the key, or have it rotated (spec.rotation). Nothing is taken away for it.";
    RestartNotAllowed Refused: "The Secret has a new value, and the operator may not restart workloads.", "That permission is off by default.", "Platform team: restart.enabled=true where it is installed by Helm, else kubectl apply -f deploy/components/restart/rbac.yaml (in a namespace of another name the component deploy/components/restart in your overlay). Or restart by kubectl rollout restart, or set spec.restart: None.";

    // ---- what the plugin finds: check
    CannotLook Refused: "Something could not be looked at, so nothing is said of it.", "RBAC does not let the reader of the plugin look at it.", "Ask for the verb and resource that the message names, or run the plugin as who has them.";
    KubernetesTooOld Refused: "The cluster is older than Kubernetes 1.33.", "This version is made for 1.33 and newer, and tested on none that is older.", "Upgrade the cluster first.";
    ApiMissing Refused: "The API server does not serve an API that the operator needs.", "It is turned off, or the cluster is too old.", "Turn it on (--runtime-config of the API server).";
    PermissionMissing Refused: "A permission is missing.", "RBAC does not give it: to whoever would install, or to the operator.", "Install, or install again, as a cluster-admin and as it was done: helm upgrade with the same values, or kubectl apply --server-side -k deploy/";
    KindMissing Refused: "A CustomResourceDefinition of Scoped Secrets is missing or not served.", "crds/ was not applied, or somebody deleted it.", "helm upgrade with the same values, or kubectl apply --server-side -k crds/";
    KindOutdated Refused: "A CustomResourceDefinition is of another version than the plugin.", "An upgrade left out crds/, or the plugin is older or newer than what is installed.", "Use the plugin of the installed version, or bring what is installed to this one as it was installed: helm upgrade with the same values, or kubectl apply --server-side -k deploy/ (crds/ for the kinds alone).";
    Leftover Refused: "Something that an installation would make is there already and is not what it would make.", "Another operator, or an installation that was not taken away whole.", "Look at it, and delete it if nobody needs it.";
    OperatorDown Refused: "The operator does not run as it should.", "Its Deployment is missing, has fewer pods than it should, or no replica leads.", "Look at the Deployment, its pods and the Lease in the operator's namespace; the pods' logs say why.";
    SealKeyMissing Refused: "The operator's seal key is missing.", "Somebody deleted the Secret scoped-secrets-keys, or no operator has led yet.", "Restore it from a backup with the operator stopped, or start the operator: it makes a new one, and reads each managed Secret once.";

    // ---- what the plugin finds: audit
    SecretShared Refused: "Pods or workloads under several ServiceAccounts use one Secret.", "Workloads share a credential.", "Give each workload a credential and a ScopedSecret of its own.";
    ValueRepeated Refused: "The same hard-to-guess value stands in Secrets or ConfigMaps of several segments, by itself or inside a text.", "One credential was copied; a leak of one opens the others.", "Make a credential of its own for each, and rotate this one.";
    KeyShared Refused: "Several segments take the same key from the secrets manager.", "Their ExternalSecrets, or objects of another operator, name one key.", "Store a credential of its own for each under another key.";
    SecretInDefault Refused: "A Secret is in the namespace default.", "That namespace has no owner, and belongs to no segment.", "Move it to the namespace of the workload that uses it.";

    // ---- what the plugin finds: files
    NotJudged Refused: "Something of a folder of files is not judged, or not as it will be applied.", "A kustomization makes something else of the files than they say, or takes what is not among them; or a link leads to another folder, which is not entered.", "Instead of the folder, name what is built of it: kubectl kustomize FOLDER | kubectl scoped-secrets simulate PLATFORM -, where PLATFORM is the folder of policies, stores and namespaces. Name the folder that a link leads to as well.";

    // ---- what init finds
    NotCarriedOver Refused: "Something that the External Secrets Operator was told has no match here, or only one that does not do quite the same.", "A find, a rewrite, a generator, a template function, another provider, a way to authenticate.", "Do what the message says, in the file that init wrote; the same stands there as a comment.";

    // ---- what verify-log finds
    RecordAltered Refused: "A line of the operator's record was altered or made up, or cannot be read.", "Somebody edited the log; or a collector cut, split, wrapped or escaped its lines.", "Take the log from where the operator wrote it (kubectl logs) and check that. If it says the same, treat it as tampering.";
    RecordMoved Refused: "A line of the operator's record stands twice, or after later ones.", "Two logs were put together in the wrong order or with an overlap, or somebody edited the log.", "Give each log once, the oldest first.";
    RecordMissing Refused: "Lines of the operator's record are missing.", "The log was rotated and an older part was not given, the log was full or gone while the operator wrote, or somebody removed them.", "Give the older logs too, the oldest first. If the lines are in none, treat it as tampering.";
    RecordEndMissing Refused: "The operator's record stops without a closing line.", "The process was killed (a node that failed, memory, SIGKILL), the log was taken at another time than now, its clock was wrong, or its end was cut off.", "Say with --until when the log was taken; compare with the restarts that Kubernetes tells of the pod.";
    RecordKeyUnknown Refused: "Lines of the operator's record were signed under a generation of the seal key that is not at hand.", "The seal key was rotated twice or made anew since, or the lines are of another cluster, or made up.", "Give the key that was kept of that time with --key-file (verify-log --print-key prints it while it is there).";
}

impl std::fmt::Display for Reason {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.as_str())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_reason_is_a_condition_reason() {
        for reason in Reason::ALL {
            assert!(reason.as_str().chars().all(|c| c.is_ascii_alphanumeric()), "{reason}");
            assert!(!reason.meaning().is_empty() && !reason.cause().is_empty() && !reason.fix().is_empty());
        }
    }
}
