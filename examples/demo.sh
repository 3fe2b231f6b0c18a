#!/usr/bin/env bash
# The main job, told step by step on a cluster; every step is checked, and the first that does not come true ends it.
#
#   examples/demo.sh           tells it, and cleans up (make demo)
#   examples/demo.sh down      stops what earlier runs left running (make demo-down)
#
# STORE=aws|file      the secrets manager: an emulator of AWS (default), or a directory of JSON files, without Python
# KEEP=1              leaves everything running, and says how to reach it
# KUBECONFIG          a cluster to use instead of one of its own; what the demo makes there it takes away again
# YES=1               does not ask before it touches that cluster
# WEBHOOK_HOST        how that cluster's API server reaches this machine; without it, that cluster has no webhook
# KUBECTL             another kubectl than the one on the PATH
#
# It never prints a value: it compares them, and shows versions.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
root=$PWD

STORE=${STORE:-aws} KEEP=${KEEP:-} YES=${YES:-} WEBHOOK_HOST=${WEBHOOK_HOST:-}
KUBECTL=${KUBECTL:-kubectl}
operator_namespace=scoped-secrets
chart=charts/scoped-secrets
# No pods: the operator runs on this machine. What the demo brings it takes away again, the kinds, too.
chart_values=replicaCount=0,crds.keep=false,restart.enabled=true
patience=60 # seconds for anything that must come true; it is looked at five times a second

dir=       # of this run: kubeconfigs, logs, process ids; below .demo/, for the owner's eyes
suffix=    # of the namespaces' names, in a cluster that is not the demo's own
child=     # the process group of a long command
admission= # whether the API server asks the operator
played=()  # what adds a node to the demo's own cluster
rotated=   # the version that the operator made
finished=
is_ours=  # whether the processes of $dir are this process's children

main() {
  case "${1:-}" in
    "") tell ;;
    down) stop_all ;;
    *)
      sed -n '2,/^set /{/^set /d;s/^# \{0,1\}//p;}' "${BASH_SOURCE[0]}" >&2
      exit 2
      ;;
  esac
}

tell() {
  [[ $STORE == aws || $STORE == file ]] || fail "STORE is aws or file, not $STORE"
  local program
  for program in cargo "$KUBECTL"; do
    type -P "$program" >/dev/null || fail "$program is needed and not on the PATH"
  done
  make_dir
  [[ -z ${KUBECONFIG:-} ]] || look_at_existing_cluster

  step "Build"
  build
  step "Start a cluster, a secrets manager and the operator"
  start_cluster
  start_manager
  start_operator
  step "The platform team: one store, one policy"
  set_up_platform
  step "Two tenants, each with prod and staging: every workload gets its own Secret"
  set_up_tenants
  step "A value changes in the secrets manager, and arrives"
  change_value
  step "A key is rotated, and who runs with it is rolled out"
  rotate_key
  step "Somebody may look at one Secret, for ten seconds"
  lend_secret
  step "A key leaks: its Secrets go, until it has a new value"
  revoke_key
  step "A namespace asks for another tenant's key, and is refused"
  ask_for_foreign_key
  step "The policy is narrowed to prod, and staging's Secrets are withdrawn"
  narrow_policy
  look_for_denials

  finished=yes
  printf '\n%sAll of it came true%s, in %s s.\n' "$bold" "$plain" "$SECONDS"
}

# --- the story ---

build() {
  say "The operator, from source. The first time it takes about 5 min on two cores, afterwards a few seconds."
  local loud=--quiet # a terminal gets cargo's own bar
  [[ ! -t 2 ]] || loud=--color=auto
  long 300 cargo build --locked "$loud"
  operator=${CARGO_TARGET_DIR:-target}/debug/scoped-secrets
  [[ -x $operator ]] || fail "cargo build made no $operator"
  say "Helm, for the chart. The first time about 70 s."
  ensure helm3 && helm=$built/helm
  if [[ ! -f $dir/existing ]]; then
    say "A control plane: etcd, kube-apiserver, kube-controller-manager. The first time about 5 min, then none."
    ensure testcluster && testcluster=$built/testcluster
    ensure control-plane && control_plane=$built
    if [[ $STORE == aws ]]; then
      say "And a node that is played (kwok), for workloads to roll out on. The first time about 2 min."
      ensure kwok && played=(--kwok "$built")
    fi
  fi
  if [[ $STORE == aws ]]; then
    say "An emulator of AWS Secrets Manager. The first time about 20 s."
    ensure emulator && python=$built/python
  fi
}

start_cluster() {
  if [[ -f $dir/existing ]]; then
    say "Using the cluster of $KUBECONFIG"
    return
  fi
  say "A cluster of its own: no container engine, only this machine's loopback address."
  local cluster=$dir/cluster
  if [[ -n $KEEP ]]; then
    "$testcluster" up --audit-log --dir "$cluster" --bin "$control_plane" ${played[@]+"${played[@]}"} >/dev/null
  else
    start cluster "$testcluster" run --until-stdin-closes --audit-log --remove-dir --dir "$cluster" --bin "$control_plane" ${played[@]+"${played[@]}"}
    eventually "cluster" is_said cluster kubeconfig
  fi
  cp "$cluster/kubeconfig" "$dir/kubeconfig"
  admission=yes
  show kubectl version
}

start_manager() {
  local values=examples/file-store tenant
  mkdir "$dir/values"
  for tenant in payments billing; do cp -R "$values/$tenant" "$dir/values/"; done
  if [[ $STORE == file ]]; then
    say "The secrets manager is a directory of JSON files: a copy of $values."
    return
  fi
  say "The secrets manager is an emulator that speaks AWS Secrets Manager's protocol."
  start emulator "$python" tests/cluster/emulator.py --calls "$dir/calls" $lifeline_flag
  eventually "emulator" is_said emulator endpoint
  endpoint=$(said emulator endpoint)
  local file
  (cd "$dir/values" && find . -name '*.json' | sed 's/^\.\///; s/\.json$//' | sort) >"$dir/keys"
  while read -r file; do put "$file"; done <"$dir/keys"
  come_true "$(wc -l <"$dir/keys" | tr -d ' ') secrets are in it, under names such as $(head -1 "$dir/keys")"
}

start_operator() {
  say "By the chart: CRDs, permissions, rules and the webhook's registration, but no pods: the operator runs on this machine."
  command_line helm install scoped-secrets "$chart" --namespace "$operator_namespace" --create-namespace --set "$chart_values"
  quietly helm install scoped-secrets "$chart" --namespace "$operator_namespace" --create-namespace --set "$chart_values"
  printf '    %s objects\n' "$(helm get manifest scoped-secrets --namespace "$operator_namespace" | grep -c '^kind: ')"
  quietly kubectl wait --for=condition=Established --timeout="${patience}s" crd/scopedsecrets.scopedsecrets.io \
    crd/scopedsecretstores.scopedsecrets.io crd/segmentationpolicies.scopedsecrets.io \
    crd/keyrevocations.scopedsecrets.io crd/secretgrants.scopedsecrets.io
  if [[ -z $admission ]]; then
    say "This API server cannot reach a webhook on this machine (WEBHOOK_HOST says how it could), so it has none:"
    say "refusals are then read on the objects, as the operator does not depend on its webhook."
    show kubectl delete validatingwebhookconfiguration scoped-secrets
  fi

  say "It gets the token of its ServiceAccount, and so exactly the permissions that the chart gives it."
  write_operator_kubeconfig
  local metrics webhook address=127.0.0.1
  metrics=$(free_port)
  webhook=$(free_port)
  while [[ $webhook == "$metrics" ]]; do webhook=$(free_port); done
  [[ -z $WEBHOOK_HOST ]] || address=0.0.0.0
  # Whatever credentials and endpoints of AWS the caller has are not the demo's.
  start operator env -u AWS_PROFILE -u AWS_SESSION_TOKEN -u AWS_ENDPOINT_URL -u AWS_ENDPOINT_URL_SECRETS_MANAGER \
    -u AWS_ENDPOINT_URL_STS AWS_CONFIG_FILE=/dev/null AWS_SHARED_CREDENTIALS_FILE=/dev/null \
    AWS_EC2_METADATA_DISABLED=true AWS_ACCESS_KEY_ID=AKIADEMO AWS_SECRET_ACCESS_KEY=any \
    NO_PROXY="127.0.0.1${NO_PROXY:+,$NO_PROXY}" KUBECONFIG="$dir/operator.kubeconfig" \
    "$operator" --namespace "$operator_namespace" --service-account scoped-secrets --pod-name "${dir##*/}" \
    --webhook-address "$address:$webhook" --webhook-url "https://${WEBHOOK_HOST:-127.0.0.1}:$webhook" \
    --metrics-address "127.0.0.1:$metrics" --log-level info --shutdown-delay 0s
  [[ -n $KEEP ]] || start watcher bash -c 'cat >/dev/null; kill "$1"' watcher "$(cat "$dir/operator.pid")"
  printf '%s\n' "$metrics" >"$dir/metrics"
  eventually "operator that is ready (/readyz)" is_ready "$metrics"
  [[ -z $admission ]] || eventually "registered webhook" is_registered
  come_true "the operator is ready${admission:+, and the API server asks it about every claim and policy}"
}

set_up_platform() {
  local store patch
  case $STORE in
    aws)
      store=examples/platform/store.yaml patch='{"spec":{"aws":{"endpoint":"'$endpoint'"}}}'
      say "How to reach the secrets manager. (The demo adds the emulator's address to it.)"
      ;;
    file)
      store=examples/file-store/store.yaml patch='{"spec":{"file":{"path":"'$dir/values'"}}}'
      say "Where the JSON files are. (The demo puts its copy's path into it.)"
      ;;
  esac
  excerpt "$store"
  command_line "kubectl patch --local -f $store --type merge -p '$patch' -o yaml | kubectl apply --server-side -f -"
  kubectl patch --local -f "$store" --type merge -p "$patch" -o yaml | apply_stdin
  say "Who may claim what:"
  excerpt examples/platform/policy.yaml
  apply_example examples/platform/policy.yaml
  show kubectl wait --for=condition=Ready --timeout="${patience}s" scopedsecretstore/main segmentationpolicy/tenants
  come_true "a namespace with the labels tenant and environment may claim its own part of the manager, and no other"
}

set_up_tenants() {
  say "The claim of one workload; the others are alike:"
  excerpt examples/payments/orders-prod.yaml
  local folder claim namespace name key
  for folder in payments billing; do
    # Namespaces first, whatever the files are called.
    apply_example "examples/$folder/namespaces.yaml"
    for claim in "examples/$folder"/*-prod.yaml "examples/$folder"/*-staging.yaml; do apply_example "$claim"; done
  done
  while read -r namespace name key; do
    quietly kubectl wait -n "$namespace" --for=condition=Ready --timeout="${patience}s" "scopedsecret/$name"
  done < <(claims)
  show kubectl get scopedsecrets -A
  show kubectl get secrets -A -l app.kubernetes.io/managed-by=scoped-secrets
  while read -r namespace name key; do
    holds_own_value "$namespace" "$name" "$key" || fail "Secret $namespace/$name does not hold the value of $key"
  done < <(claims)
  come_true "each of the four Secrets holds the value of its own key (compared, not shown)"
}

change_value() {
  local namespace=payments-prod$suffix key=payments/prod/orders-db before after other
  before=$(version_of "$namespace")
  other=$(version_of "payments-staging$suffix")
  say "Somebody gives $key a new password, made at random."
  change_password "$key"
  say "It would be found at the next refresh (refreshInterval: 1h). Now, on demand:"
  show kubectl annotate --overwrite -n "$namespace" scopedsecret/orders-db "scopedsecrets.io/refresh-at=$(date -u +%FT%TZ)"
  eventually "new value in the Secret" holds_own_value "$namespace" orders-db "$key"
  eventually "new version in the status" version_differs "$namespace" "$before"
  after=$(version_of "$namespace")
  printf '    version %s → %s\n' "${before:0:16}" "${after:0:16}"
  [[ $(version_of "payments-staging$suffix") == "$other" ]] || fail "staging changed, too"
  come_true "prod's Secret has the new value; staging's is as it was"
}

rotate_key() {
  local namespace=billing-prod$suffix key=billing/prod/invoices-api before other
  if [[ $STORE == file ]]; then
    say "A directory of files is only read: STORE=aws shows it."
    return
  fi
  before=$(version_of "$namespace" invoices-api)
  other=$(version_of "billing-staging$suffix" invoices-api)
  excerpt examples/rotated/workload.yaml
  apply_example examples/rotated/workload.yaml
  quietly kubectl rollout status -n "$namespace" deployment/invoices --timeout="${patience}s"
  apply_example examples/rotated/invoices-prod.yaml
  eventually "claim that rotates" condition_is "$namespace" invoices-api Rotated True RotationIdle
  show kubectl get -n "$namespace" scopedsecret/invoices-api -o 'jsonpath=next rotation: {.status.nextRotationTime}{"\n"}'
  say "That is Sunday, a little after three. Now, on demand:"
  show kubectl annotate --overwrite -n "$namespace" scopedsecret/invoices-api "scopedsecrets.io/rotate-at=$(date -u +%FT%TZ)"
  eventually "new version in the status" version_differs "$namespace" "$before" invoices-api
  rotated=$(version_of "$namespace" invoices-api)
  printf '    version %s → %s\n' "${before:0:16}" "${rotated:0:16}"
  eventually "rollout for that version" rolled_out "$namespace" "$rotated"
  quietly kubectl rollout status -n "$namespace" deployment/invoices --timeout="${patience}s"
  eventually "end of the rotation" condition_is "$namespace" invoices-api Rotated True Verified
  show kubectl get -n "$namespace" deployments,pods
  [[ $(version_of "billing-staging$suffix" invoices-api) == "$other" ]] || fail "staging changed, too"
  come_true "the operator made a new value of $key, and the pods run with it; staging's is as it was"
}

# rolled_out NAMESPACE VERSION
rolled_out() {
  local found
  found=$(kubectl get -n "$1" deployment/invoices \
    -o 'jsonpath={.spec.template.metadata.annotations.scopedsecrets\.io/restarted-for}') || return
  [[ $found == "$2" ]] || {
    echo "its pods were rolled out for ${found:-no version}"
    return 1
  }
}

lend_secret() {
  local namespace=payments-prod$suffix file=examples/lent/grant.yaml
  may_read "$namespace" >/dev/null && fail "she may read it before anybody said so"
  excerpt "$file"
  apply_example "$file"
  eventually "access" may_read "$namespace"
  show kubectl get -n "$namespace" secretgrants
  come_true "she may read this Secret, and no other"
  may_read "payments-staging$suffix" >/dev/null && fail "she may read staging's, too"
  eventually "end of the access" may_not_read "$namespace"
  eventually "reason on the grant" grant_has_ended "$namespace"
  show kubectl get -n "$namespace" secretgrants
  come_true "and no longer"
}

revoke_key() {
  local namespace=payments-prod$suffix key=payments/prod/orders-db file=examples/leaked/revocation.yaml
  excerpt "$file"
  apply_example "$file"
  eventually "withdrawal of the Secret" no_such secret "$namespace" orders-db
  eventually "reason on the claim" condition_is "$namespace" orders-db Authorized False KeyRevoked
  show kubectl get keyrevocation/orders-db-leak
  holds_own_value "payments-staging$suffix" orders-db payments/staging/orders-db || fail "staging's Secret went, too"
  say "Whoever keeps the key stores a new value. Versions are dated in whole seconds, so not in the same one."
  sleep 2
  change_password "$key"
  show kubectl annotate --overwrite -n "$namespace" scopedsecret/orders-db "scopedsecrets.io/refresh-at=$(date -u +%FT%TZ)"
  eventually "new value in the Secret" holds_own_value "$namespace" orders-db "$key"
  quietly kubectl delete keyrevocation/orders-db-leak
  come_true "the Secret is back, with a value that nobody has seen"
}

ask_for_foreign_key() {
  local file=examples/refused/billing-asks-for-payments.yaml namespace=billing-prod$suffix
  excerpt "$file"
  if [[ -n $admission ]]; then
    refused_for KeyNotAllowed "$file"
    no_such scopedsecret "$namespace" reporting || fail "the refused claim is there nevertheless"
  else
    apply_example "$file"
    eventually "refusal on the object" condition_is "$namespace" reporting Authorized False KeyNotAllowed
    show kubectl get -n "$namespace" scopedsecret/reporting \
      -o 'jsonpath={.status.conditions[?(@.type=="Authorized")].message}{"\n"}'
  fi
  no_such secret "$namespace" reporting || fail "there is a Secret for the refused claim"
  [[ -n $admission ]] || show kubectl delete -n "$namespace" scopedsecret/reporting
  come_true "no Secret; the message names the label that decides, and what to do"

  local inputs=(examples/platform examples/payments examples/billing examples/refused) result=0
  say "The same question offline, as in a pull request, from the files alone:"
  command_line kubectl scoped-secrets simulate --account-id 123456789012 "${inputs[@]}"
  "${operator%/*}/kubectl-scoped_secrets" simulate --account-id 123456789012 "${inputs[@]}" >"$dir/simulated" 2>&1 || result=$?
  fold -s -w 112 "$dir/simulated" | indented
  ((result == 1)) && grep -q 'billing-asks-for-payments.yaml.*KeyNotAllowed' "$dir/simulated" ||
    fail "simulate does not say the same (exit code $result)"
  come_true "one finding, the same as the cluster's"
}

narrow_policy() {
  local file=examples/narrowed/policy.yaml number=2
  say "Staging moves elsewhere: the policy now governs namespaces with environment: prod only."
  if [[ -n $admission ]]; then
    refused_for ViolationsNotAccepted "$file"
    number=$(sed -n 's/.*accept-violations: "\([0-9]*\)".*/\1/p' "$dir/refusal")
    [[ $number == 2 ]] || fail "two claims would lose their Secret, and the refusal says ${number:-no number}"
    come_true "refused: it would take $number Secrets away, and says which"
    holds_own_value "payments-staging$suffix" orders-db payments/staging/orders-db || fail "staging's Secret is gone"
    say "Whoever means it repeats the number, in the same change:"
  else
    say "Without a webhook nothing refuses this change. The operator takes up to ten Secrets away for it; more would wait."
  fi
  command_line "kubectl annotate --local -f $file scopedsecrets.io/accept-violations=$number -o yaml | kubectl apply --server-side -f -"
  kubectl annotate --local -f "$file" "scopedsecrets.io/accept-violations=$number" -o yaml | apply_stdin
  eventually "withdrawal of payments' Secret" no_such secret "payments-staging$suffix" orders-db
  eventually "withdrawal of billing's Secret" no_such secret "billing-staging$suffix" invoices-api
  eventually "reason on the claim" condition_is "payments-staging$suffix" orders-db Authorized False NoPolicy
  show kubectl get scopedsecrets -A
  show kubectl get secrets -A -l app.kubernetes.io/managed-by=scoped-secrets
  holds_own_value "payments-prod$suffix" orders-db payments/prod/orders-db || fail "prod's Secret went, too"
  if [[ -n $rotated ]]; then
    [[ $(version_of "billing-prod$suffix" invoices-api) == "$rotated" ]] || fail "prod's Secret is another"
    quietly kubectl get -n "billing-prod$suffix" secret/invoices-api
  else
    holds_own_value "billing-prod$suffix" invoices-api billing/prod/invoices-api || fail "prod's Secret went, too"
  fi
  come_true "staging's Secrets are gone, prod's are untouched"
}

# namespace, ScopedSecret and Secret, key
claims() {
  local environment
  for environment in prod staging; do
    echo "payments-$environment$suffix orders-db payments/$environment/orders-db"
    echo "billing-$environment$suffix invoices-api billing/$environment/invoices-api"
  done
}

# --- the secrets manager's side ---

# put KEY: gives the emulator the value that stands in our file.
put() {
  "$python" - "$endpoint" "$1" "$dir/values/$1.json" <<'PYTHON'
import json, sys, urllib.error, urllib.request

endpoint, key, path = sys.argv[1:]
value = open(path, encoding="utf-8").read()
# Signed by nobody: the emulator reads only the region of a signature.
signature = "AWS4-HMAC-SHA256 Credential=AKIAOWNER/20260101/eu-west-1/secretsmanager/aws4_request, SignedHeaders=host, Signature=0"
direct = urllib.request.build_opener(urllib.request.ProxyHandler({}))

def call(operation, **fields):
    headers = {"Content-Type": "application/x-amz-json-1.1", "X-Amz-Target": "secretsmanager." + operation, "Authorization": signature}
    direct.open(urllib.request.Request(endpoint, json.dumps(fields).encode(), headers), timeout=10).close()

try:
    call("PutSecretValue", SecretId=key, SecretString=value)
except urllib.error.HTTPError as refused:
    if json.load(refused)["__type"] != "ResourceNotFoundException":
        raise
    call("CreateSecret", Name=key, SecretString=value)
PYTHON
}

change_password() {
  local file=$dir/values/$1.json random
  random=$(od -An -N18 -tx1 /dev/urandom | tr -d ' \n')
  # Exchanged whole: nobody reads half a file.
  printf '{"username": "orders", "password": "%s"}\n' "$random" >"$file.new"
  mv "$file.new" "$file"
  [[ $STORE == file ]] || put "$1"
}

# holds_own_value NAMESPACE SECRET KEY: what the Secret holds is what the manager has. Compared by the shell itself,
# so that no value is in the list of processes.
holds_own_value() {
  local property=password held wanted
  [[ $2 == orders-db ]] || property=clientSecret
  wanted=$(sed -n 's/.*"'$property'": "\([^"]*\)".*/\1/p' "$dir/values/$3.json")
  held=$(kubectl get secret -n "$1" "$2" -o "go-template={{index .data \"$property\" | base64decode}}") || return
  [[ -n $wanted && $held == "$wanted" ]] || {
    echo "another value, of ${#held} characters"
    return 1
  }
}

# --- the cluster's side ---

kubectl() {
  command "$KUBECTL" --kubeconfig "$dir/kubeconfig" --cache-dir "$dir/cache" "$@"
}

helm() {
  HELM_CACHE_HOME=$dir/helm HELM_CONFIG_HOME=$dir/helm HELM_DATA_HOME=$dir/helm \
    command "$helm" --kubeconfig "$dir/kubeconfig" "$@"
}

apply_stdin() { kubectl apply --server-side -f - 2>&1 | indented || fail "the API server did not take it"; }

apply_example() {
  command_line kubectl apply --server-side -f "$1"
  render "$1" | apply_stdin
}

# In a cluster that is not the demo's own the namespaces get this run's suffix, and the policy governs no others.
render() {
  if [[ -z $suffix ]]; then
    cat "$1"
    return
  fi
  local own="payments-prod$suffix, payments-staging$suffix, billing-prod$suffix, billing-staging$suffix"
  sed -E "s/(payments|billing)-(prod|staging)/&$suffix/g" "$1" | awk -v own="$own" '{ print }
    /{key: tenant, operator: Exists}/ { print "    - {key: kubernetes.io/metadata.name, operator: In, values: [" own "]}" }'
}

# version_of NAMESPACE [NAME]
version_of() { kubectl get -n "$1" "scopedsecret/${2:-orders-db}" -o 'jsonpath={.status.remoteVersions[0].versionId}'; }

version_differs() {
  local now
  now=$(version_of "$1" "${3:-orders-db}")
  [[ -n $now && $now != "$2" ]] || {
    echo "still ${now:0:16}"
    return 1
  }
}

no_such() {
  local found
  found=$(kubectl get "$1" -n "$2" "$3" --ignore-not-found -o name) || return
  [[ -z $found ]] || {
    echo "$found is there"
    return 1
  }
}

# may_read NAMESPACE: whether the user of the grant may read its Secret.
may_read() {
  [[ $(kubectl auth can-i get secret/orders-db -n "$1" --as ada@example.com 2>&1) == yes ]] || {
    echo "she may not"
    return 1
  }
}

may_not_read() {
  ! may_read "$1" >/dev/null || {
    echo "she may"
    return 1
  }
}

grant_has_ended() {
  local found
  found=$(kubectl get -n "$1" secretgrant/ada -o 'jsonpath={.status.conditions[?(@.type=="Ready")].reason}') || return
  [[ $found == GrantEnded || $found == Expired ]] || {
    echo "it is $found"
    return 1
  }
}

# condition_is NAMESPACE NAME TYPE STATUS REASON
condition_is() {
  local found
  found=$(kubectl get -n "$1" "scopedsecret/$2" \
    -o "jsonpath={.status.conditions[?(@.type==\"$3\")].status} {.status.conditions[?(@.type==\"$3\")].reason}") || return
  [[ $found == "$4 $5" ]] || {
    echo "$3 is $found"
    return 1
  }
}

# refused_for REASON FILE: applying it must fail, for that reason; what was said is shown, and kept in $dir/refusal.
refused_for() {
  command_line kubectl apply --server-side -f "$2"
  if render "$2" | kubectl apply --server-side -f - >"$dir/refusal" 2>&1; then
    fail "the API server took it, and should have refused it"
  fi
  fold -s -w 112 "$dir/refusal" | indented
  grep -q "$1" "$dir/refusal" || fail "it was refused, but not for the reason $1"
}

is_registered() {
  local bundles
  bundles=$(kubectl get validatingwebhookconfiguration scoped-secrets -o 'jsonpath={.webhooks[*].clientConfig.caBundle}')
  [[ $bundles == *" "* ]] || {
    echo "the configuration has no entries yet"
    return 1
  }
}

# A kubeconfig with the ServiceAccount's token and nothing else. The token never is a command's argument.
write_operator_kubeconfig() {
  local duration=2h cluster token
  [[ -z $KEEP ]] || duration=24h
  cluster=$(kubectl config view --raw --minify --flatten -o 'jsonpath={.clusters[0].cluster}')
  token=$(kubectl create token scoped-secrets -n "$operator_namespace" --duration="$duration")
  cat >"$dir/operator.kubeconfig" <<JSON
{"apiVersion": "v1", "kind": "Config", "current-context": "operator",
 "clusters": [{"name": "demo", "cluster": $cluster}],
 "users": [{"name": "operator", "user": {"token": "$token"}}],
 "contexts": [{"name": "operator", "context": {"cluster": "demo", "user": "operator", "namespace": "$operator_namespace"}}]}
JSON
  local user
  user=$(command "$KUBECTL" --kubeconfig "$dir/operator.kubeconfig" auth whoami -o 'jsonpath={.status.userInfo.username}')
  [[ $user == "system:serviceaccount:$operator_namespace:scoped-secrets" ]] || fail "the operator would be $user"
  printf '    it is %s\n' "$user"
}

# A cluster that is somebody's: its context is pinned, what the demo would make must not be there, and it asks.
look_at_existing_cluster() {
  local server found answer
  command "$KUBECTL" config view --raw --minify --flatten >"$dir/kubeconfig" || fail "KUBECONFIG=$KUBECONFIG cannot be read"
  server=$(kubectl config view -o 'jsonpath={.clusters[0].cluster.server}')
  kubectl get --raw /readyz --request-timeout=10s >/dev/null || fail "the cluster of KUBECONFIG, $server, does not answer"
  found=$(kubectl get -k deploy --ignore-not-found -o name) || fail "it cannot be told what $server holds already"
  [[ -z $found ]] || fail "Scoped Secrets, or a part of it, is in $server already, and stays as it is: $(echo $found)"
  suffix=-${dir##*-}
  cat <<TEXT
${bold}KUBECONFIG is set, so the demo uses that cluster:${plain} $server
It makes there, and takes away in the end, the objects of $chart (CRDs, the namespace $operator_namespace,
ClusterRoles and a binding, a webhook configuration, and ValidatingAdmissionPolicies with their bindings), a store and a policy,
and the namespaces payments-prod$suffix, payments-staging$suffix, billing-prod$suffix and billing-staging$suffix: the policy
governs no others. The operator runs on this machine.
TEXT
  if [[ -z $YES ]]; then
    [[ -t 0 ]] || fail "there is no terminal to ask on: set YES=1 if this is the cluster you mean, or unset KUBECONFIG"
    read -r -p "Go on? [y/N] " answer
    [[ $answer == [yY]* ]] || fail "nothing was done"
  fi
  [[ -z $WEBHOOK_HOST ]] || admission=yes
  printf '%s\n' "$suffix" >"$dir/existing"
}

remove_from_existing_cluster() {
  local suffix
  suffix=$(cat "$dir/existing")
  # Without it the names would be somebody's own.
  [[ $suffix == -[0-9]* ]] || return
  kubectl delete validatingwebhookconfiguration scoped-secrets --ignore-not-found >/dev/null || true
  kubectl delete namespace --ignore-not-found --timeout=60s \
    "payments-prod$suffix" "payments-staging$suffix" "billing-prod$suffix" "billing-staging$suffix" >/dev/null || return
  # Its kinds are gone if the installation never came so far.
  kubectl delete segmentationpolicy/tenants scopedsecretstore/main keyrevocation/orders-db-leak --ignore-not-found >/dev/null 2>&1 || true
  stop operator
  ensure helm3 && helm=$built/helm
  helm uninstall scoped-secrets --namespace "$operator_namespace" --ignore-not-found --timeout 60s >/dev/null || return
  kubectl delete namespace "$operator_namespace" --ignore-not-found --timeout=60s >/dev/null
}

# What the chart's roles give the operator was enough for all of it.
look_for_denials() {
  local log=$dir/cluster/audit.log account=system:serviceaccount:$operator_namespace:scoped-secrets denied
  [[ ! -f $dir/existing ]] || return 0
  grep -qF "\"username\":\"$account\"" "$log" || fail "the cluster's audit log has nothing of the operator's"
  denied=$(grep -F "\"username\":\"$account\"" "$log" | grep -F '"authorization.k8s.io/decision":"forbid"' | head -n 3) || true
  [[ -z $denied ]] || fail "the operator was denied what it asked for: $denied"
}

# --- processes ---

make_dir() {
  local run
  mkdir -p .demo
  # Of a run that was killed: its processes ended with it.
  for run in "$root"/.demo/*-*; do
    if [[ -d $run && ! -f $run/kept && ! -f $run/existing ]] && ! kill -0 "${run##*-}" 2>/dev/null; then rm -rf "$run"; fi
  done
  dir=$root/.demo/$(date +%m%d%H%M%S)-$$
  (umask 077 && mkdir "$dir")
  umask 077
  lifeline=/dev/null lifeline_flag=
  if [[ -z $KEEP ]]; then
    # Only this process holds its other end: if it is killed, what reads here sees the end, and ends.
    lifeline=$dir/lifeline lifeline_flag=--until-stdin-closes
    mkfifo "$lifeline"
    exec 9<>"$lifeline"
  fi
}

# start NAME COMMAND...: in the background, in a process group of its own, so that Ctrl-C comes to it through us.
start() {
  local name=$1
  shift
  set -m
  if [[ -z $KEEP ]]; then
    "$@" <"$lifeline" >"$dir/$name.out" 2>"$dir/$name.log" 9>&- &
  else
    nohup "$@" </dev/null >"$dir/$name.out" 2>"$dir/$name.log" &
  fi
  echo $! >"$dir/$name.pid"
  set +m
}

stop() {
  local pid tries=0
  [[ -f $dir/$1.pid ]] || return 0
  pid=$(cat "$dir/$1.pid")
  # A process id may be somebody else's by now, unless it is our child: every command line has this run's name.
  if [[ -z $is_ours && $(ps -o args= -p "$pid") != *"${dir##*/}"* ]]; then return; fi
  kill "$pid" 2>/dev/null || true
  while kill -0 "$pid" 2>/dev/null; do
    ((tries += 1))
    ((tries < 150)) || kill -KILL -- "-$pid" 2>/dev/null || true
    sleep 0.1
  done
  rm -f "$dir/$1.pid"
}

# Takes away everything of the run in $dir.
stop_run() {
  [[ -z $child ]] || kill -- "-$child" 2>/dev/null || true
  stop watcher
  if [[ -f $dir/existing ]]; then
    echo "Taking away what the demo made in the cluster (up to a minute)."
    if ! remove_from_existing_cluster; then
      stop operator
      stop emulator
      echo "demo: something may be left in that cluster; examples/demo.sh down tries again" >&2
      return 1
    fi
  fi
  stop operator
  stop emulator
  stop cluster
  [[ ! -d $dir/cluster ]] || tests_cluster_down
  rm -rf "$dir"
  rmdir .demo 2>/dev/null || true
}

# One that was started with KEEP=1.
tests_cluster_down() {
  local folder
  folder=$(tests/cluster/tools ensure testcluster) && "$folder/testcluster" down --dir "$dir/cluster"
}

stop_all() {
  local run
  for run in "$root"/.demo/*-*; do
    [[ -d $run ]] || continue
    # A run that goes on cleans up for itself.
    if [[ ! -f $run/kept ]] && kill -0 "${run##*-}" 2>/dev/null; then continue; fi
    dir=$run
    echo "Stopping $run"
    stop_run
  done
}

clean_up() {
  local status=$?
  trap '' INT TERM HUP PIPE
  set +e
  if [[ -n $dir && -d $dir ]]; then
    is_ours=yes
    if [[ -n $KEEP && -f $dir/operator.pid && ($finished || $status == 1) ]]; then
      touch "$dir/kept"
      say_how_to_reach
    else
      stop_run
      [[ -d $dir ]] || echo "Nothing is left running."
    fi
  fi
  exit "$status"
}

say_how_to_reach() {
  cat <<TEXT

It is left running.
  export KUBECONFIG=$dir/kubeconfig
  kubectl get scopedsecrets -A
  metrics: http://127.0.0.1:$(cat "$dir/metrics" 2>/dev/null)/metrics    log: $dir/operator.log
TEXT
  if [[ $STORE == file ]]; then
    echo "  secrets manager: the files below $dir/values"
  else
    echo "  secrets manager: $endpoint, AWS's protocol; any credentials, region eu-west-1"
  fi
  echo "The operator's token ends in a day. To stop all of it: make demo-down"
}

# ensure TOOL: builds it unless it is there; its folder is in $built.
ensure() {
  long "" tests/cluster/tools ensure "$1" >"$dir/built"
  built=$(cat "$dir/built")
}

# long SECONDS COMMAND...: bash hears no signal while a command is in the foreground, so it is not. SECONDS: about how
# long it may take; empty for a command that says so itself.
long() {
  local seconds=$1 started=$SECONDS told=0 elapsed result=0
  shift
  set -m
  "$@" </dev/null 9>&- &
  child=$!
  set +m
  while kill -0 "$child" 2>/dev/null; do
    elapsed=$((SECONDS - started))
    if [[ -n $seconds && ! -t 2 ]] && ((elapsed >= told + 30)); then
      told=$elapsed
      printf '    %s s of about %s s\n' "$elapsed" "$seconds"
    fi
    sleep 0.1
  done
  wait "$child" || result=$?
  child=
  ((result == 0)) || fail "$1 failed; the reason is above"
}

# said NAME FIELD: a field of the line of JSON that a program says when it is ready.
said() { sed -n 's/.*"'"$2"'": *"\([^"]*\)".*/\1/p' "$dir/$1.out"; }

is_said() {
  runs "$1" || return
  [[ -n $(said "$1" "$2") ]]
}

is_ready() {
  local answer
  runs operator || return
  exec 3<>"/dev/tcp/127.0.0.1/$1" || return
  printf 'GET /readyz HTTP/1.1\r\nHost: operator\r\nConnection: close\r\n\r\n' >&3
  answer=$(cat <&3)
  [[ $answer == "HTTP/1.1 200 "* ]] || {
    printf '%s\n' "$answer" | tail -n 3
    return 1
  }
}

# 3: waiting is in vain.
runs() {
  kill -0 "$(cat "$dir/$1.pid")" 2>/dev/null || {
    echo "it has ended; the end of its log:"
    tail -n 20 "$dir/$1.log"
    return 3
  }
}

free_port() {
  local port
  while :; do
    # Below the ports that the system gives away by itself.
    port=$((20000 + RANDOM % 10000))
    (exec 3<>"/dev/tcp/127.0.0.1/$port") 2>/dev/null || break
  done
  echo "$port"
}

# --- words ---

# eventually WHAT COMMAND...: looks until COMMAND succeeds; in vain once $patience is over, or if it returns 3.
eventually() {
  local what=$1 started=$SECONDS seen result
  shift
  while :; do
    result=0
    seen=$("$@" 2>&1) || result=$?
    ((result != 0)) || return 0
    if ((result == 3)) || ((SECONDS - started >= patience)); then
      if [[ -s $dir/operator.log ]]; then
        say "The end of the operator's log:"
        tail -n 8 "$dir/operator.log" | indented
      fi >&2
      fail "no $what after $((SECONDS - started)) s; seen last: ${seen:-nothing}"
    fi
    sleep 0.2
  done
}

steps=0
step() {
  steps=$((steps + 1))
  printf '\n%s%s/10  %s%s\n' "$bold" "$steps" "$1" "$plain"
}

say() { printf '  %s\n' "$*"; }

command_line() { printf '  %s$ %s%s\n' "$blue" "$*" "$plain"; }

# show COMMAND...: what a reader could type, and what it says.
show() {
  command_line "$@"
  "$@" 2>&1 | indented || fail "that failed"
}

quietly() { "$@" >/dev/null || fail "this failed: $*"; }

indented() { sed 's/^/    /'; }

excerpt() {
  printf '  %s%s%s\n' "$dim" "$1" "$plain"
  render "$1" | sed "s/^/    /"
}

come_true() { printf '  %s✓ %s%s\n' "$green" "$*" "$plain"; }

fail() {
  printf '%sdemo: %s%s\n' "$red" "$*" "$plain" >&2
  exit 1
}

bold='' dim='' blue='' green='' red='' plain=''
if [[ -t 1 && -z ${NO_COLOR:-} && ${TERM:-dumb} != dumb ]]; then
  bold=$'\e[1m' dim=$'\e[2m' blue=$'\e[36m' green=$'\e[32m' red=$'\e[31m' plain=$'\e[0m'
fi

trap clean_up EXIT
trap 'exit 129' HUP
trap 'exit 130' INT
trap 'exit 141' PIPE
trap 'exit 143' TERM
main "$@"
