package main

import (
	"bytes"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"syscall"
	"time"
)

// stopPatience is how long a program may take to end by itself.
const stopPatience = 3 * time.Second

// process is one running program of the cluster.
type process struct {
	name   string
	log    string
	cmd    *exec.Cmd
	exited chan struct{} // closed when the program has ended; state is set then
	state  error
}

// launch starts a program whose output goes to DIR/NAME.log.
func launch(dir, program string, args ...string) (*process, error) {
	name := filepath.Base(program)
	logPath := filepath.Join(dir, name+".log")
	// Appended to: after a restart, the story before it is still there.
	log, err := os.OpenFile(logPath, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		return nil, err
	}
	defer log.Close()
	cmd := exec.Command(program, args...)
	cmd.Dir, cmd.Stdout, cmd.Stderr = dir, log, log
	// A group of its own: Ctrl-C in a terminal reaches testcluster alone, which stops them in order.
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	dieWithParent(cmd.SysProcAttr)
	if err := spawn(cmd); err != nil {
		return nil, fmt.Errorf("%s cannot be started: %w", name, err)
	}
	p := &process{name: name, log: logPath, cmd: cmd, exited: make(chan struct{})}
	go func() {
		p.state = cmd.Wait()
		close(p.exited)
	}()
	return p, nil
}

// spawnRequests go to one goroutine that holds its thread for ever. Linux sends the parent-death
// signal when the *thread* that started a child ends, and Go may end any other thread at any time.
var spawnRequests = func() chan func() {
	requests := make(chan func())
	go func() {
		runtime.LockOSThread()
		for request := range requests {
			request()
		}
	}()
	return requests
}()

func spawn(cmd *exec.Cmd) error {
	started := make(chan error)
	spawnRequests <- func() { started <- cmd.Start() }
	return <-started
}

// stop asks the program to end, and makes it end when it does not in time.
func (p *process) stop() {
	_ = p.cmd.Process.Signal(syscall.SIGTERM)
	select {
	case <-p.exited:
	case <-time.After(stopPatience):
		p.kill()
	}
}

func (p *process) kill() {
	_ = p.cmd.Process.Kill()
	<-p.exited
}

// died is the error of a program that ended when it should not have, with the end of its log.
func (p *process) died() error {
	state := "exit status 0"
	if p.state != nil {
		state = p.state.Error()
	}
	return fmt.Errorf("%s ended (%s); the end of %s:\n%s", p.name, state, p.log, p.logTail(20))
}

// portTaken tells a lost race for a port from every other failure.
func (p *process) portTaken() bool {
	return strings.Contains(p.logTail(50), "address already in use")
}

func (p *process) logTail(lines int) string {
	content, err := os.ReadFile(p.log)
	if err != nil {
		return err.Error()
	}
	all := bytes.Split(bytes.TrimSpace(content), []byte("\n"))
	tail := all[max(0, len(all)-lines):]
	return "  " + string(bytes.Join(tail, []byte("\n  ")))
}
