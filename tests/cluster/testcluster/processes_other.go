//go:build !linux

package main

import "syscall"

// dieWithParent has no equivalent here: a testcluster that is killed (SIGKILL) leaves its programs.
func dieWithParent(*syscall.SysProcAttr) {}
