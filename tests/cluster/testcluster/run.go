package main

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/signal"
	"strings"
	"syscall"
)

var errInterrupted = errors.New("stopped before the cluster was ready")

// ready is the line that says how to reach the cluster.
type ready struct {
	Kubeconfig string `json:"kubeconfig"`
	Server     string `json:"server"`
	Dir        string `json:"dir"`
	AuditLog   string `json:"auditLog,omitempty"`
}

// run starts a cluster and serves commands from stdin until it is told to end.
func run(o options) error {
	ctx, cancel := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM, syscall.SIGHUP)
	defer cancel()
	claim, err := claimDir(o.dir)
	if err != nil {
		return err
	}
	defer claim.release(o.removeDir)

	commands := make(chan string)
	go func() {
		lines := bufio.NewScanner(os.Stdin)
		for lines.Scan() {
			commands <- lines.Text()
		}
		if o.untilStdinCloses {
			cancel()
		}
	}()

	c, err := startCluster(ctx, o)
	if err != nil {
		return err
	}
	defer c.stopAll()
	say := json.NewEncoder(os.Stdout)
	line := ready{Kubeconfig: c.kubeconfig(), Server: c.ports.server(), Dir: o.dir}
	if o.auditLog {
		line.AuditLog = c.auditLog()
	}
	if err := say.Encode(line); err != nil {
		return err
	}
	for {
		select {
		case <-ctx.Done():
			return nil
		case p := <-c.deaths:
			if err := c.unexpected(p); err != nil {
				return err
			}
		case command := <-commands:
			if err := say.Encode(c.answer(ctx, command)); err != nil {
				return err
			}
		}
	}
}

// answer carries out one line of stdin: faults, and their end.
func (c *cluster) answer(ctx context.Context, command string) map[string]string {
	verb, program, _ := strings.Cut(strings.TrimSpace(command), " ")
	done, err := c.fault(ctx, verb, program)
	if err != nil {
		return map[string]string{"error": err.Error()}
	}
	return map[string]string{done: program}
}

func (c *cluster) fault(ctx context.Context, verb, program string) (done string, err error) {
	switch verb {
	case "stop", "kill":
		p, err := c.take(program)
		if err != nil {
			return "", err
		}
		if verb == "kill" {
			p.kill()
			return "killed", nil
		}
		p.stop()
		return "stopped", nil
	case "start":
		if c.running[program] != nil {
			return "", fmt.Errorf("%s is running", program)
		}
		if program == apiserver {
			return "started", c.startAPIServer(ctx)
		}
		return "started", c.launch(program)
	}
	return "", fmt.Errorf("%q is not `stop`, `kill` or `start` and the name of a program", verb)
}
