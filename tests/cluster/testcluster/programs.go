package main

import (
	"fmt"
	"math/rand/v2"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"strings"
)

const (
	loopback     = "127.0.0.1"    // nothing here listens on any other address
	serviceRange = "10.96.0.0/24" // apart from the pods', which kwok takes from 10.0.0.0/24
	serviceIP    = "10.96.0.1"    // the first of serviceRange; the `kubernetes` Service gets it
)

// controllers are those that the stories need; each further one is more to start and more audit noise.
var controllers = []string{
	"namespace-controller",
	"garbage-collector-controller",
	"serviceaccount-controller",
	"deployment-controller",
	"replicaset-controller",
	"statefulset-controller",
	"daemonset-controller",
	"job-controller",
	"cronjob-controller",
	"root-ca-certificate-publisher-controller",
	"clusterrole-aggregation-controller",
}

// auditPolicy: who asked for what, and the answer; no bodies, so no Secret's value. What stays open (a watch) is there when it begins,
// too.
const auditPolicy = `apiVersion: audit.k8s.io/v1
kind: Policy
omitStages: [RequestReceived]
rules:
- level: None
  nonResourceURLs: ["/healthz*", "/livez*", "/readyz*"]
- level: Metadata
`

// ports are the cluster's listeners; the other programs listen nowhere.
type ports struct{ etcd, etcdPeer, apiserver int }

func (p ports) server() string { return fmt.Sprintf("https://%s:%d", loopback, p.apiserver) }

func freePorts() (ports, error) {
	var found [3]int
	for i := range found {
		port, listener, err := freePort()
		if err != nil {
			return ports{}, err
		}
		// Held until all are found, so that they differ.
		defer listener.Close()
		found[i] = port
	}
	return ports{found[0], found[1], found[2]}, nil
}

// freePort looks below the range that Linux and macOS take outgoing ports from. In it, a client that
// keeps dialling a stopped API server could be given that very port, and keep it.
func freePort() (int, net.Listener, error) {
	const low, high = 20000, 30000
	var err error
	for range 100 {
		port := low + rand.IntN(high-low)
		var listener net.Listener
		if listener, err = net.Listen("tcp4", net.JoinHostPort(loopback, strconv.Itoa(port))); err == nil {
			return port, listener, nil
		}
	}
	return 0, nil, fmt.Errorf("no free port between %d and %d on %s: %w", low, high, loopback, err)
}

func (c *cluster) etcdArgs() []string {
	client := fmt.Sprintf("http://%s:%d", loopback, c.ports.etcd)
	peer := fmt.Sprintf("http://%s:%d", loopback, c.ports.etcdPeer)
	return []string{
		"--name=default",
		"--data-dir=" + c.etcdData(),
		"--listen-client-urls=" + client,
		"--advertise-client-urls=" + client,
		"--listen-peer-urls=" + peer,
		"--initial-advertise-peer-urls=" + peer,
		"--initial-cluster=default=" + peer,
		"--log-level=warn",
		// The data ends with the cluster: durability would only cost time.
		"--unsafe-no-fsync",
		// Room for load tests.
		"--quota-backend-bytes=8589934592",
	}
}

func (c *cluster) etcdData() string { return filepath.Join(c.options.dir, "etcd") }

func (c *cluster) apiserverArgs() []string {
	args := []string{
		fmt.Sprintf("--etcd-servers=http://%s:%d", loopback, c.ports.etcd),
		"--bind-address=" + loopback,
		"--advertise-address=" + loopback,
		"--secure-port=" + strconv.Itoa(c.ports.apiserver),
		"--tls-cert-file=" + c.pki.file("serving.crt"),
		"--tls-private-key-file=" + c.pki.file("serving.key"),
		"--cert-dir=" + c.pki.dir,
		"--client-ca-file=" + c.pki.file("ca.crt"),
		"--service-account-issuer=https://kubernetes.default.svc",
		"--service-account-key-file=" + c.pki.file("sa.pub"),
		"--service-account-signing-key-file=" + c.pki.file("sa.key"),
		"--service-cluster-ip-range=" + serviceRange,
		"--authorization-mode=RBAC",
		// There is no endpoint to publish: loopback addresses are not allowed in one.
		"--endpoint-reconciler-type=none",
		"--profiling=false",
	}
	if c.options.auditLog {
		args = append(args,
			"--audit-policy-file="+c.auditPolicy(),
			"--audit-log-path="+c.auditLog(),
			"--audit-log-maxsize=1048576", // MB; never rotated, so that readers see all of it
		)
	}
	return args
}

func (c *cluster) auditLog() string { return filepath.Join(c.options.dir, "audit.log") }

func (c *cluster) auditPolicy() string { return filepath.Join(c.options.dir, "audit-policy.yaml") }

func (c *cluster) controllerManagerArgs() []string {
	return []string{
		"--kubeconfig=" + c.userKubeconfig(controllerManager),
		"--controllers=" + strings.Join(controllers, ","),
		"--use-service-account-credentials",
		"--service-account-private-key-file=" + c.pki.file("sa.key"),
		"--root-ca-file=" + c.pki.file("ca.crt"),
		"--leader-elect=false",
		"--secure-port=0",
		"--bind-address=" + loopback,
		// Tests wait for these controllers: let none of them wait for its own rate limit.
		"--kube-api-qps=500",
		"--kube-api-burst=1000",
	}
}

func (c *cluster) schedulerArgs() []string {
	return []string{
		"--kubeconfig=" + c.userKubeconfig(scheduler),
		"--leader-elect=false",
		"--secure-port=0",
		"--bind-address=" + loopback,
		"--kube-api-qps=500",
		"--kube-api-burst=1000",
	}
}

func (c *cluster) kwokArgs() ([]string, error) {
	args := []string{"--kubeconfig=" + c.userKubeconfig(kwok), "--manage-all-nodes"}
	// Naming its files also keeps kwok from reading the user's own ~/.kwok.
	stages, err := filepath.Glob(filepath.Join(c.options.kwok, "stages", "*.yaml"))
	if err != nil {
		return nil, err
	}
	if len(stages) == 0 {
		return nil, fmt.Errorf("%s: no stages/*.yaml, without which kwok plays nothing; %s", c.options.kwok,
			"`tests/cluster/tools ensure kwok` makes such a folder")
	}
	for _, stage := range stages {
		args = append(args, "--config="+stage)
	}
	return args, nil
}

// userKubeconfig is the kubeconfig of one of the cluster's own programs.
func (c *cluster) userKubeconfig(program string) string {
	return filepath.Join(c.options.dir, program+".kubeconfig")
}

func executable(folder, name string) (string, error) {
	path := filepath.Join(folder, name)
	found, err := os.Stat(path)
	if err != nil || found.IsDir() || found.Mode()&0o111 == 0 {
		return "", fmt.Errorf("%s: not there, or not executable; `tests/cluster/tools ensure ...` prints the right folder", path)
	}
	return path, nil
}
