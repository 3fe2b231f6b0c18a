package main

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"
	"time"
)

// up runs a cluster in the background and prints its kubeconfig's path. If one runs already in that
// folder, it is that one's.
func up(o options) error {
	kubeconfig := filepath.Join(o.dir, "kubeconfig")
	pid, err := holder(o.dir)
	if err != nil {
		return err
	}
	var ended chan struct{} // nil, which is never ready, for one that somebody else started
	logPath := filepath.Join(o.dir, "testcluster.log")
	if pid == 0 {
		// Refuses a folder that is not ours, and takes an old kubeconfig away, which would look like ready.
		old, err := claimDir(o.dir)
		if err == nil {
			old.release(false)
			ended, err = detach(o, logPath)
		}
		// Running by now: another `up` was quicker.
		if err != nil && !errors.Is(err, errRunning) {
			return err
		}
	}
	deadline := time.After(startPatience)
	for {
		if _, err := os.Stat(kubeconfig); err == nil {
			fmt.Println(kubeconfig)
			return nil
		}
		select {
		case <-ended:
			// It may have found that another `up` was quicker.
			if pid, err := holder(o.dir); err == nil && pid != 0 {
				ended = nil
				continue
			}
			said, _ := os.ReadFile(logPath)
			return fmt.Errorf("the cluster did not start:\n%s", said)
		case <-deadline:
			return fmt.Errorf("waited %s for %s; logs are beside it", startPatience, kubeconfig)
		case <-time.After(pollPause):
		}
	}
}

// detach starts `testcluster run` in a session of its own, which outlives this process and its terminal.
func detach(o options, logPath string) (ended chan struct{}, err error) {
	log, err := os.Create(logPath)
	if err != nil {
		return nil, err
	}
	defer log.Close()
	self, err := os.Executable()
	if err != nil {
		return nil, err
	}
	args := []string{"run", "--dir=" + o.dir, "--bin=" + o.bin}
	if o.kwok != "" {
		args = append(args, "--kwok="+o.kwok)
	}
	if o.auditLog {
		args = append(args, "--audit-log")
	}
	cmd := exec.Command(self, args...)
	cmd.Dir, cmd.Stdout, cmd.Stderr = o.dir, log, log
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
	if err := cmd.Start(); err != nil {
		return nil, err
	}
	ended = make(chan struct{})
	go func() {
		_ = cmd.Wait()
		close(ended)
	}()
	return ended, nil
}

// down ends the cluster in dir, if one runs, and removes the folder.
func down(dir string) error {
	const patience = 30 * time.Second // five programs, stopPatience each, and some room
	if _, err := os.Stat(dir); os.IsNotExist(err) {
		return nil
	}
	deadline := time.Now().Add(patience)
	for asked := false; ; time.Sleep(pollPause) {
		pid, err := holder(dir)
		if err != nil {
			return err
		}
		if pid == 0 {
			break
		}
		if !asked {
			if err := syscall.Kill(pid, syscall.SIGTERM); err != nil {
				return fmt.Errorf("process %d, which runs the cluster, cannot be stopped: %w", pid, err)
			}
			asked = true
		}
		if time.Now().After(deadline) {
			return fmt.Errorf("process %d did not end within %s", pid, patience)
		}
	}
	// The claim checks that the folder is a cluster's before it is removed.
	claim, err := claimDir(dir)
	if err != nil {
		return err
	}
	claim.release(true)
	return nil
}
