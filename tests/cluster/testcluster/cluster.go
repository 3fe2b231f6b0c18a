package main

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"time"
)

const (
	etcd              = "etcd"
	apiserver         = "kube-apiserver"
	controllerManager = "kube-controller-manager"
	scheduler         = "kube-scheduler"
	kwok              = "kwok"
)

// startPatience is for a loaded machine; an idle one needs a few seconds.
const startPatience = 2 * time.Minute

// pollPause is how often a condition is looked at while waiting for it.
const pollPause = 50 * time.Millisecond

// errPortTaken: another process took a port between our choosing and our using it.
var errPortTaken = errors.New("a chosen port was taken")

// cluster is one running control plane. One goroutine owns it.
type cluster struct {
	options options
	ports   ports
	pki     *pki
	api     *api
	running map[string]*process
	order   []string      // of starting; stopping goes backwards
	deaths  chan *process // every program that ended, wanted or not
}

// startCluster starts everything and returns when it can be used. On an error nothing is left running.
func startCluster(ctx context.Context, o options) (*cluster, error) {
	const attempts = 5
	for attempt := 1; ; attempt++ {
		c := &cluster{options: o, running: map[string]*process{}, deaths: make(chan *process, 16)}
		err := c.start(ctx)
		if err == nil {
			return c, nil
		}
		c.stopAll()
		if !errors.Is(err, errPortTaken) || attempt == attempts {
			return nil, err
		}
		fmt.Fprintln(os.Stderr, "testcluster: a port was taken by somebody else meanwhile; trying others")
		if err := emptyDir(o.dir); err != nil {
			return nil, err
		}
	}
}

func (c *cluster) start(ctx context.Context) (err error) {
	if err = c.prepare(); err != nil {
		return err
	}
	if err = c.launch(etcd); err != nil {
		return err
	}
	if err = c.await(ctx, "etcd", c.etcdHealthy); err != nil {
		return err
	}
	if err = c.startAPIServer(ctx); err != nil {
		return err
	}
	// These exit if the API server is not there within seconds, so they come after it.
	rest := []string{controllerManager}
	if c.options.kwok != "" {
		rest = append(rest, scheduler, kwok)
	}
	for _, program := range rest {
		if err = c.launch(program); err != nil {
			return err
		}
	}
	if c.options.kwok != "" {
		if err = c.addNode(ctx); err != nil {
			return err
		}
	}
	// The last thing that a first `kubectl run` needs, and it takes the controller manager.
	if err = c.await(ctx, "the default ServiceAccount", func() error {
		return c.api.get("/api/v1/namespaces/default/serviceaccounts/default", nil)
	}); err != nil {
		return err
	}
	return writeKubeconfig(c.kubeconfig(), c.ports.server(), c.pki.authority.pem, "test-admin", c.pki.admin)
}

// prepare makes what the programs read: ports, keys, kubeconfigs, the audit policy.
func (c *cluster) prepare() (err error) {
	if c.ports, err = freePorts(); err != nil {
		return err
	}
	if c.pki, err = newPKI(filepath.Join(c.options.dir, "pki")); err != nil {
		return err
	}
	if c.api, err = newAPI(c.ports.server(), c.pki); err != nil {
		return err
	}
	for program, identity := range map[string][2]string{
		controllerManager: {"system:kube-controller-manager", ""},
		scheduler:         {"system:kube-scheduler", ""},
		kwok:              {"kwok", "system:masters"},
	} {
		credentials, err := c.pki.authority.client(identity[0], identity[1])
		if err != nil {
			return err
		}
		if err := writeKubeconfig(c.userKubeconfig(program), c.ports.server(), c.pki.authority.pem, identity[0], credentials); err != nil {
			return err
		}
	}
	return os.WriteFile(c.auditPolicy(), []byte(auditPolicy), 0o600)
}

// launch starts one program of the cluster; it does not wait for it.
func (c *cluster) launch(program string) error {
	folder, args := c.options.bin, []string(nil)
	switch program {
	case etcd:
		args = c.etcdArgs()
	case apiserver:
		args = c.apiserverArgs()
	case controllerManager:
		args = c.controllerManagerArgs()
	case scheduler:
		args = c.schedulerArgs()
	case kwok:
		var err error
		if args, err = c.kwokArgs(); err != nil {
			return err
		}
		folder = c.options.kwok
	default:
		return fmt.Errorf("no program is called %q", program)
	}
	path, err := executable(folder, program)
	if err != nil {
		return err
	}
	p, err := launch(c.options.dir, path, args...)
	if err != nil {
		return err
	}
	c.running[program] = p
	c.order = append(c.order, program)
	go func() {
		<-p.exited
		c.deaths <- p
	}()
	return nil
}

func (c *cluster) startAPIServer(ctx context.Context) error {
	if err := c.launch(apiserver); err != nil {
		return err
	}
	return c.await(ctx, "the API server to be ready", func() error {
		if err := c.api.get("/readyz", nil); err != nil {
			return err
		}
		return c.api.get("/api/v1/namespaces/default", nil)
	})
}

func (c *cluster) etcdHealthy() error {
	client := http.Client{Timeout: time.Second, Transport: &http.Transport{Proxy: nil, DisableKeepAlives: true}}
	response, err := client.Get(fmt.Sprintf("http://%s:%d/health", loopback, c.ports.etcd))
	if err != nil {
		return err
	}
	defer response.Body.Close()
	if response.StatusCode != http.StatusOK {
		return fmt.Errorf("its /health says %s", response.Status)
	}
	return nil
}

// await looks until seen returns no error. The death of any program of the cluster ends the wait.
func (c *cluster) await(ctx context.Context, what string, seen func() error) error {
	deadline := time.After(startPatience)
	for {
		last := seen()
		if last == nil {
			return nil
		}
		select {
		case <-ctx.Done():
			return errInterrupted
		case p := <-c.deaths:
			if err := c.unexpected(p); err != nil {
				return err
			}
		case <-deadline:
			return fmt.Errorf("waited %s for %s; last seen: %w (logs are in %s)", startPatience, what, last, c.options.dir)
		case <-time.After(pollPause):
		}
	}
}

// unexpected is nil for a program that we stopped ourselves, and an error for any other that ended.
func (c *cluster) unexpected(p *process) error {
	if c.running[p.name] != p {
		return nil
	}
	if p.portTaken() {
		return fmt.Errorf("%w: %w", errPortTaken, p.died())
	}
	return p.died()
}

// take forgets a running program, so that its end is no surprise, and returns it.
func (c *cluster) take(program string) (*process, error) {
	p := c.running[program]
	if p == nil {
		return nil, fmt.Errorf("%s is not running", program)
	}
	delete(c.running, program)
	return p, nil
}

// stopAll ends every program, last started first: a client before its server, so that none complains.
func (c *cluster) stopAll() {
	for i := len(c.order) - 1; i >= 0; i-- {
		p, err := c.take(c.order[i])
		if err != nil {
			continue
		}
		if c.options.removeDir {
			p.kill()
		} else {
			p.stop()
		}
	}
}

func (c *cluster) kubeconfig() string { return filepath.Join(c.options.dir, "kubeconfig") }
