package main

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// lockName marks a folder as ours. A live testcluster holds the lock on it, and its process id is
// inside: unlike a bare pid file, that cannot name a stranger that was given the same id later.
const lockName = "testcluster.lock"

var errRunning = errors.New("a test cluster runs in this folder already")

// claim is the right to use a folder, for as long as this process lives.
type claim struct {
	dir  string
	lock *os.File
}

// claimDir takes the folder, and empties it of an earlier cluster's remains. A folder that has
// anything else in it is refused: it would be removed in the end.
func claimDir(dir string) (*claim, error) {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, err
	}
	path := filepath.Join(dir, lockName)
	if _, err := os.Lstat(path); errors.Is(err, os.ErrNotExist) {
		entries, err := os.ReadDir(dir)
		if err != nil {
			return nil, err
		}
		if len(entries) > 0 {
			return nil, fmt.Errorf("%s holds files that are not a test cluster's: give an empty or a new folder", dir)
		}
	}
	lock, err := os.OpenFile(path, os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return nil, err
	}
	// More than one try: `holder` takes the lock for a moment to see whether it is free.
	for try := 1; syscall.Flock(int(lock.Fd()), syscall.LOCK_EX|syscall.LOCK_NB) != nil; try++ {
		if try == 5 {
			lock.Close()
			return nil, fmt.Errorf("%s: %w", dir, errRunning)
		}
		time.Sleep(pollPause)
	}
	if err := emptyDir(dir); err != nil {
		lock.Close()
		return nil, err
	}
	if err := lock.Truncate(0); err == nil {
		_, err = lock.WriteString(strconv.Itoa(os.Getpid()) + "\n")
	}
	if err != nil {
		lock.Close()
		return nil, err
	}
	return &claim{dir, lock}, nil
}

// release gives the folder back. While the lock is held nobody else uses it, so the folder goes first.
func (c *claim) release(remove bool) {
	if remove {
		if err := os.RemoveAll(c.dir); err != nil {
			fmt.Fprintln(os.Stderr, "testcluster:", err)
		}
	}
	c.lock.Close()
}

// emptyDir removes a cluster's files, but not the lock and not what the process in it writes to.
func emptyDir(dir string) error {
	entries, err := os.ReadDir(dir)
	if err != nil {
		return err
	}
	for _, entry := range entries {
		if strings.HasPrefix(entry.Name(), "testcluster.") {
			continue
		}
		if err := os.RemoveAll(filepath.Join(dir, entry.Name())); err != nil {
			return err
		}
	}
	return nil
}

// holder is the process id of the testcluster that runs in dir; 0 if none does.
func holder(dir string) (int, error) {
	lock, err := os.Open(filepath.Join(dir, lockName))
	if errors.Is(err, os.ErrNotExist) {
		return 0, nil
	}
	if err != nil {
		return 0, err
	}
	defer lock.Close()
	for try := 1; ; try++ {
		if syscall.Flock(int(lock.Fd()), syscall.LOCK_SH|syscall.LOCK_NB) == nil {
			return 0, nil
		}
		content, err := os.ReadFile(lock.Name())
		if err != nil {
			return 0, err
		}
		// Empty for the moment between taking the lock and writing the id.
		pid, err := strconv.Atoi(strings.TrimSpace(string(content)))
		if err == nil || try == 5 {
			return pid, err
		}
		time.Sleep(pollPause)
	}
}
